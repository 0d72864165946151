// The state machine against an independent model under random commands. The model has the same
// rules, written with ordered maps, full scans and no shortcuts.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/state_machine.h"
#include "tests/apply_results.h"

namespace tally {
namespace {

struct Step {
  enum class Kind { kNoop, kOpen, kAdd, kClose } kind = Kind::kNoop;
  uint64_t advance = 0;    // of log time
  int64_t timeout_ns = 0;  // kOpen
  uint64_t count_max = 0;
  // kAdd; `session`, also of kClose, counts back from the newest opened
  IncrementAndGetRequest request;
};

void showValue(const Step& step, std::ostream& out) {
  out << fmt::format(
      "{{kind {} advance {} timeout {} max {} name {} delta {} lower {} upper {} "
      "session {} sequence {} first {}}}",
      static_cast<int>(step.kind), step.advance, step.timeout_ns, step.count_max,
      step.request.name.view(), step.request.delta, step.request.lower.value_or(kLowest),
      step.request.upper.value_or(kHighest), step.request.session.value(), step.request.sequence,
      step.request.first_outstanding);
}

class Model {
 public:
  ApplyResult apply(const Step& step, uint64_t now, uint64_t index) {
    now_ = std::max(now_, now);
    std::erase_if(sessions_, [&](const auto& item) {
      return now_ - item.second.last_use > item.second.timeout;
    });
    if (step.kind == Step::Kind::kNoop) return {};
    if (step.kind == Step::Kind::kAdd) return add(step.request);
    if (step.kind == Step::Kind::kClose) {
      sessions_.erase(step.request.session.value());
      return {};
    }
    if (sessions_.size() >= step.count_max) return kRefused(Reason::kSessionsFull);
    sessions_[index].last_use = now_;
    sessions_[index].timeout = static_cast<uint64_t>(step.timeout_ns);
    return kOkValue(static_cast<int64_t>(index));
  }

  // The whole state, spelled out.
  std::string text() const {
    std::string out = fmt::format("time {}\n", now_);
    for (const auto& [name, value] : counters_) {
      if (value != 0) out += fmt::format("{} = {}\n", name, value);
    }
    for (const auto& [id, session] : sessions_) {
      out += fmt::format("session {} first {} used {} timeout {}\n", id, session.first,
                         session.last_use, session.timeout);
      for (const auto& [sequence, result] : session.answers) {
        out += fmt::format("  {} -> {} {} {}\n", sequence, to_string(result.outcome),
                           to_string(result.reason), result.value);
      }
    }
    return out;
  }
  int64_t value(const std::string& name) const {
    const auto found = counters_.find(name);
    return found == counters_.end() ? 0 : found->second;
  }
  size_t session_count() const { return sessions_.size(); }

 private:
  struct Session {
    uint64_t first = 1;
    uint64_t last_use = 0;
    uint64_t timeout = 0;
    std::map<uint64_t, ApplyResult> answers;
  };

  ApplyResult add(const IncrementAndGetRequest& request) {
    const auto found = sessions_.find(request.session.value());
    if (found == sessions_.end()) return kRefused(Reason::kExpired);
    Session& session = found->second;
    session.last_use = now_;
    session.first = std::max(session.first, request.first_outstanding);
    std::erase_if(session.answers, [&](const auto& item) { return item.first < session.first; });
    if (request.sequence < session.first) return kRefused(Reason::kStaleSequence);
    if (request.sequence > session.first + kSessionWindow - 1) return kRefused(Reason::kWindow);
    if (session.answers.contains(request.sequence)) {
      return repeated(session.answers[request.sequence]);
    }
    const ApplyResult result = execute(request);
    session.answers[request.sequence] = result;
    return result;
  }

  ApplyResult execute(const IncrementAndGetRequest& request) {
    const __int128_t sum =
        static_cast<__int128_t>(value(std::string(request.name.view()))) + request.delta;
    if (sum < kLowest || sum > kHighest) return kRefused(Reason::kOverflow);
    if (request.lower && sum < *request.lower) return kRefused(Reason::kBounds);
    if (request.upper && sum > *request.upper) return kRefused(Reason::kBounds);
    counters_[std::string(request.name.view())] = static_cast<int64_t>(sum);
    return kOkValue(static_cast<int64_t>(sum));
  }

  uint64_t now_ = 0;
  std::map<std::string, int64_t> counters_;
  std::map<uint64_t, Session> sessions_;
};

rc::Gen<int64_t> deltas() {
  return rc::gen::weightedOneOf<int64_t>(
      {{8, rc::gen::inRange<int64_t>(-3, 4)},
       {1, rc::gen::element(kLowest, kLowest + 1, kHighest - 1, kHighest)}});
}

rc::Gen<std::optional<int64_t>> bounds() {
  return rc::gen::weightedOneOf<std::optional<int64_t>>(
      {{3, rc::gen::just(std::optional<int64_t>())},
       {2, rc::gen::map(rc::gen::inRange<int64_t>(-6, 7),
                        [](int64_t bound) { return std::optional(bound); })}});
}

rc::Gen<IncrementAndGetRequest> requests() {
  return rc::gen::build<IncrementAndGetRequest>(
      rc::gen::set(
          &IncrementAndGetRequest::name,
          rc::gen::element(Bytes("a"), Bytes("b"), Bytes("a longer name than fits inline"))),
      rc::gen::set(&IncrementAndGetRequest::delta, deltas()),
      rc::gen::set(&IncrementAndGetRequest::lower, bounds()),
      rc::gen::set(&IncrementAndGetRequest::upper, bounds()),
      rc::gen::set(&IncrementAndGetRequest::session,
                   rc::gen::map(rc::gen::inRange<uint64_t>(0, 3),
                                [](uint64_t back) { return SessionId(back); })),
      rc::gen::set(&IncrementAndGetRequest::sequence,
                   rc::gen::weightedOneOf<uint64_t>({{9, rc::gen::inRange<uint64_t>(0, 8)},
                                                     {1, rc::gen::inRange<uint64_t>(60, 75)}})),
      rc::gen::set(&IncrementAndGetRequest::first_outstanding,
                   rc::gen::weightedOneOf<uint64_t>({{9, rc::gen::inRange<uint64_t>(0, 4)},
                                                     {1, rc::gen::inRange<uint64_t>(4, 12)}})));
}

rc::Gen<Step> steps() {
  return rc::gen::build<Step>(
      rc::gen::set(&Step::kind, rc::gen::weightedElement<Step::Kind>({{1, Step::Kind::kNoop},
                                                                      {3, Step::Kind::kOpen},
                                                                      {16, Step::Kind::kAdd},
                                                                      {1, Step::Kind::kClose}})),
      rc::gen::set(&Step::advance,
                   rc::gen::weightedOneOf<uint64_t>(
                       {{8, rc::gen::just(uint64_t{0})}, {2, rc::gen::inRange<uint64_t>(0, 8)}})),
      rc::gen::set(&Step::timeout_ns, rc::gen::inRange<int64_t>(0, 60)),
      rc::gen::set(&Step::count_max, rc::gen::inRange<uint64_t>(0, 5)),
      rc::gen::set(&Step::request, requests()));
}

Bytes encode(const Step& step) {
  if (step.kind == Step::Kind::kNoop) return {};
  if (step.kind == Step::Kind::kAdd) return encode_increment(step.request);
  if (step.kind == Step::Kind::kClose) return encode_close_session(step.request.session);
  return encode_open_session(
      {.timeout = Duration(step.timeout_ns), .session_count_max = step.count_max});
}

RC_GTEST_PROP(StateMachineProperty, AgreesWithTheModel, ()) {
  const auto script = *rc::gen::scale(3.0, rc::gen::container<std::vector<Step>>(steps()));
  Model model;
  StateMachine machine;
  StateMachine replica;
  std::vector<uint64_t> opened = {0};
  std::map<std::string, uint64_t> hash_of_state;
  std::map<uint64_t, std::string> state_of_hash;
  std::set<std::string> seen;  // kinds of results
  uint64_t now = 0;
  uint64_t index = 0;
  for (Step step : script) {
    now += step.advance;
    ++index;
    const uint64_t back = std::min<uint64_t>(step.request.session.value(), opened.size() - 1);
    step.request.session = SessionId(opened[opened.size() - 1 - back]);
    const Entry entry{LogIndex(index), Term(1), LogTime(now),
                      step.kind == Step::Kind::kNoop ? EntryType::kNoop : EntryType::kCommand,
                      encode(step)};
    const ApplyResult expected = model.apply(step, now, index);
    const std::span<const ApplyResult> results = machine.apply(entry);
    RC_ASSERT(results.size() == (step.kind == Step::Kind::kNoop ? 0u : 1u));
    const ApplyResult result = results.empty() ? ApplyResult{} : results.front();
    seen.insert(std::string(to_string(result.reason)) + (result.duplicate ? " again" : ""));
    RC_ASSERT(result == expected);
    RC_ASSERT(std::ranges::equal(replica.apply(entry), results));
    if (step.kind == Step::Kind::kOpen && result.outcome == Outcome::kOk) opened.push_back(index);

    RC_ASSERT(machine.value(step.request.name.view()) ==
              model.value(std::string(step.request.name.view())));
    RC_ASSERT(machine.session_count() == model.session_count());
    RC_ASSERT(machine.history_hash() == replica.history_hash());
    // Equal states have equal hashes, however they came about, and different ones different.
    const std::string state = model.text();
    const uint64_t hash = machine.state_hash();
    RC_ASSERT(hash_of_state.emplace(state, hash).first->second == hash);
    RC_ASSERT(state_of_hash.emplace(hash, state).first->second == state);
  }
  RC_CLASSIFY(seen.size() >= 6, "six kinds of results or more");
  RC_CLASSIFY(seen.contains("none again"), "repeated success");
  RC_CLASSIFY(seen.contains("bounds again") || seen.contains("overflow again"), "repeated refusal");
}

// Increments that share an entry do what they do in entries of their own.
RC_GTEST_PROP(StateMachineProperty, IncrementsThatShareAnEntry, ()) {
  auto asked = *rc::gen::container<std::vector<IncrementAndGetRequest>>(requests());
  StateMachine apart;
  StateMachine together;
  const auto entry_of = [](const StateMachine& machine, Bytes data) {
    return Entry{machine.applied_index() + 1, Term(1), LogTime(7), EntryType::kCommand,
                 std::move(data)};
  };
  for (int i = 0; i < 3; ++i) {
    const Bytes open = encode_open_session({});
    apart.apply(entry_of(apart, open));
    together.apply(entry_of(together, open));
  }
  std::vector<ApplyResult> wanted;
  std::string data;
  for (IncrementAndGetRequest& request : asked) {
    request.session = request.session + 1;
    wanted.push_back(apart.apply(entry_of(apart, encode_increment(request))).front());
    append_increment(request, data);
  }
  if (asked.empty()) return;
  const auto results = together.apply(entry_of(together, Bytes(data)));
  RC_ASSERT(std::ranges::equal(results, wanted));
  RC_ASSERT(together.state_hash() == apart.state_hash());
  RC_CLASSIFY(asked.size() > 5, "more than five");
}

}  // namespace
}  // namespace tally
