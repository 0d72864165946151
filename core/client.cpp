#include "core/client.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/check.h"
#include "core/draw.h"

namespace tally {
namespace {

constexpr uint64_t kBackoffDoublingsMax = 4;

}  // namespace

Client::Client(const ClientConfig& config) : config_(config) {
  CHECK(!config_.nodes.empty());
  CHECK(config_.operations_max > 0 && config_.operations_max <= kSessionWindow);
  node_ = scale(draw(config_.seed, 0), config_.nodes.size());
  prefer(config_.first);
}

void Client::start(Time now, uint64_t operation_id, Operation operation) {
  CHECK(open_count_ < config_.operations_max);
  ++open_count_;
  Request& request = add_request();
  request.operation_id = operation_id;
  request.operation = std::move(operation);
  request.ends_at = now + config_.operation_timeout;
  request.wake_at = now;
  if (now < due_) {
    // Nothing else to do, as a rule: then the others need not be looked at.
    maybe_leave_session(now);
    maybe_open_session();
    if (now < due_) {
      be_due(request.ends_at);
      if (!waits_for_session(request)) send(now, request);
      return;
    }
  }
  be_due(now);
  settle(now);
}

Client::Request& Client::add_request() {
  if (spare_.empty()) {
    requests_.push_back(std::make_unique<Request>());
  } else {
    requests_.push_back(std::move(spare_.back()));
    spare_.pop_back();
    *requests_.back() = Request{};
  }
  requests_.back()->number = ++request_count_;
  return *requests_.back();
}

// Numbers rise, mostly without gaps.
Client::Requests::iterator Client::find(uint64_t number) {
  const uint64_t place = requests_.empty() ? 0 : number - requests_.front()->number;
  if (place < requests_.size() && requests_[place]->number == number) {
    return requests_.begin() + static_cast<ptrdiff_t>(place);
  }
  const auto found = std::lower_bound(
      requests_.begin(), requests_.end(), number,
      [](const auto& request, uint64_t wanted) { return request->number < wanted; });
  return found != requests_.end() && (*found)->number == number ? found : requests_.end();
}

void Client::forget_finished() {
  if (finished_count_ == 0) return;
  const auto kept = std::stable_partition(requests_.begin(), requests_.end(),
                                          [](const auto& request) { return !request->finished; });
  std::move(kept, requests_.end(), std::back_inserter(spare_));
  requests_.erase(kept, requests_.end());
  finished_count_ = 0;
}

void Client::on_response(Time now, NodeId from, const ValueResponse& response) {
  const auto found = find(response.request_id >> kAttemptBits);
  if (found == requests_.end()) return;  // decided already, or given up
  Request& request = **found;
  const uint64_t attempt = response.request_id & ((uint64_t{1} << kAttemptBits) - 1);
  const bool newest = attempt == request.attempt_count && request.in_flight;
  switch (response.outcome) {
    case Outcome::kOk: finish(request, Outcome::kOk, Reason::kNone, response.value); break;
    case Outcome::kRejected: on_rejection(now, request, response.reason); break;
    case Outcome::kUnknown:
    case Outcome::kNotApplied:
      if (response.reason == Reason::kExpired) {
        // A node that passed it on: another copy may have been applied before the session ended.
        request.maybe_applied = true;
        on_rejection(now, request, Reason::kExpired);
        break;
      }
      // An older attempt's failure tells nothing new: it counted as unknown when given up.
      if (!newest) return;
      if (!request.operation) table_full_ = false;
      if (response.outcome == Outcome::kUnknown) request.maybe_applied = true;
      if (response.leader_hint != kNoNode) {
        prefer(response.leader_hint);
      } else if (config_.nodes[node_] == from) {
        node_ = (node_ + 1) % config_.nodes.size();
      }
      if (!config_.retry && request.operation && !request.maybe_applied) {
        request.in_flight = false;
        finish(request, Outcome::kNotApplied, response.reason);
        break;
      }
      try_again(now, request, /*at_once=*/false);
      break;
  }
  if (finished_count_ == 1 && request.finished) {
    spare_.push_back(std::move(*found));
    requests_.erase(found);
    finished_count_ = 0;
  }
  settle(now);
}

void Client::on_rejection(Time now, Request& request, Reason reason) {
  switch (reason) {
    case Reason::kBounds:
    case Reason::kOverflow: finish(request, Outcome::kRejected, reason); return;
    case Reason::kExpired:
      if (!needs_session(request)) {  // the session is the caller's
        request.in_flight = false;
        finish(request, request.maybe_applied ? Outcome::kUnknown : Outcome::kRejected, reason);
        return;
      }
      // This attempt executed nothing and, the session being gone, none of its kind ever will;
      // an earlier one may have been executed before the session ended.
      request.in_flight = false;
      request.wake_at = now;  // sent again as soon as the next session is open
      be_due(now);
      lose_session();
      if (request.maybe_applied && !request.finished) finish_undecided(request, reason);
      return;
    case Reason::kSessionsFull:
      if (request.operation) return finish(request, Outcome::kRejected, reason);
      table_full_ = true;
      try_again(now, request, /*at_once=*/false);
      return;
    default:
      request.in_flight = false;
      finish_undecided(request, reason);
      return;
  }
}

// Increments that may have been applied under the lost session can be repeated under no other one.
void Client::lose_session() {
  session_ = SessionId(0);
  next_sequence_ = 1;
  first_outstanding_ = 0;
  for (const auto& request : requests_) {
    if (request->finished || request->sequence == 0) continue;
    if (request->in_flight || request->maybe_applied) {
      finish_undecided(*request, Reason::kExpired);
    } else {
      request->sequence = 0;
    }
  }
}

void Client::on_broken(Time now, NodeId node) { on_lost(now, node, /*maybe_arrived=*/true); }

void Client::on_unreached(Time now, NodeId node) { on_lost(now, node, /*maybe_arrived=*/false); }

void Client::on_lost(Time now, NodeId node, bool maybe_arrived) {
  for (const auto& request : requests_) {
    if (!request->in_flight || request->target != node) continue;
    if (maybe_arrived) request->maybe_applied = true;
    try_again(now, *request, /*at_once=*/false);
  }
  if (config_.nodes[node_] == node) node_ = (node_ + 1) % config_.nodes.size();
  settle(now);
}

void Client::wake(Time now) { settle(now); }

// Ends what is overdue, sends what is due, forgets what is finished.
void Client::settle(Time now) {
  if (now >= due_) {
    for (const auto& request : requests_) {
      if (request->finished || !request->operation || now < request->ends_at) continue;
      const bool no_session = waits_for_session(*request) && table_full_;
      finish_undecided(*request, no_session ? Reason::kSessionsFull : Reason::kTimedOut);
    }
  }
  maybe_leave_session(now);
  maybe_open_session();
  if (now >= due_) send_due(now);
  forget_finished();
}

// Looks at all of them, and finds when that has to be done again.
void Client::send_due(Time now) {
  due_ = kNever;
  for (const auto& each : requests_) {
    Request& request = *each;
    if (request.finished) continue;
    if (now >= request.wake_at) {
      if (request.in_flight) {
        request.maybe_applied = true;
        if (config_.nodes[node_] == request.target) node_ = (node_ + 1) % config_.nodes.size();
        try_again(now, request, /*at_once=*/true);
      }
      if (!waits_for_session(request)) send(now, request);
    }
    be_due(request.ends_at);
    if (!waits_for_session(request)) be_due(request.wake_at);
  }
}

// Only while nothing was sent in it that may still count.
void Client::maybe_leave_session(Time now) {
  if (session_ == SessionId(0) || now - session_used_at_ < config_.session_idle_max) return;
  const bool in_use = std::any_of(requests_.begin(), requests_.end(), [](const auto& request) {
    return !request->finished && request->sequence != 0;
  });
  if (!in_use) leave_session();
}

// Asked of one node, which passes it on; a request of its own that nobody remembers.
void Client::leave_session() {
  if (session_ == SessionId(0)) return;
  Send out;
  out.to = config_.nodes[node_];
  out.request.request_id = ++request_count_ << kAttemptBits | 1;
  out.request.operation = CloseSessionRequest{std::exchange(session_, SessionId(0))};
  sends_.push_back(std::move(out));
}

// One request without an operation stands for the opening of the session, for as long as an
// increment waits for it.
void Client::maybe_open_session() {
  if (session_ != SessionId(0) && !opening_) return;
  const bool wanted = session_ == SessionId(0) &&
                      std::any_of(requests_.begin(), requests_.end(), [](const auto& request) {
                        return !request->finished && needs_session(*request);
                      });
  if (wanted == opening_) return;
  opening_ = wanted;
  table_full_ = false;
  if (!wanted) {
    const auto opener = std::find_if(requests_.begin(), requests_.end(), [](const auto& request) {
      return !request->finished && !request->operation;
    });
    (*opener)->finished = true;
    ++finished_count_;
    return;
  }
  add_request().ends_at = kNever;
  due_ = Time::min();
}

void Client::send(Time now, Request& request) {
  ++request.attempt_count;
  CHECK(request.attempt_count < uint64_t{1} << kAttemptBits);
  Send out;
  out.to = config_.nodes[node_];
  out.request.request_id = (request.number << kAttemptBits) | request.attempt_count;
  out.request.forward = config_.forward;
  if (!request.operation) {
    out.request.operation = OpenSessionRequest{};
  } else if (const auto* get = std::get_if<Get>(&*request.operation)) {
    out.request.operation = GetValueRequest{get->name};
  } else if (std::holds_alternative<OpenSession>(*request.operation)) {
    out.request.operation = OpenSessionRequest{};
  } else {
    const auto& increment = std::get<Increment>(*request.operation);
    if (!increment.id && request.sequence == 0) request.sequence = next_sequence_++;
    const Increment::Id id = increment.id.value_or(
        Increment::Id{session_, request.sequence, increment.id ? 0 : first_outstanding()});
    out.request.operation = IncrementAndGetRequest{.name = increment.name,
                                                   .delta = increment.delta,
                                                   .lower = increment.lower,
                                                   .upper = increment.upper,
                                                   .session = id.session,
                                                   .sequence = id.sequence,
                                                   .first_outstanding = id.first_outstanding};
  }
  request.in_flight = true;
  request.target = out.to;
  request.wake_at = now + config_.attempt_timeout;
  be_due(request.wake_at);
  if (!request.first_sent_at) request.first_sent_at = now;
  sends_.push_back(std::move(out));
}

void Client::try_again(Time now, Request& request, bool at_once) {
  request.in_flight = false;
  request.wake_at = now;
  be_due(now);
  if (at_once) return;
  // Doubled with each attempt, so that many clients do not hold a group down that has just elected
  // its leader.
  const uint64_t doublings = std::min<uint64_t>(request.attempt_count - 1, kBackoffDoublingsMax);
  const auto backoff = static_cast<uint64_t>(config_.backoff.count()) << doublings;
  const uint64_t bits = draw(config_.seed, 1, request.number, request.attempt_count);
  request.wake_at += Duration(static_cast<int64_t>(backoff / 2 + scale(bits, backoff)));
}

void Client::prefer(NodeId node) {
  const auto found = std::find(config_.nodes.begin(), config_.nodes.end(), node);
  if (found != config_.nodes.end()) node_ = static_cast<size_t>(found - config_.nodes.begin());
}

void Client::finish(Request& request, Outcome outcome, Reason reason, int64_t value) {
  if (request.finished) return;
  request.finished = true;
  ++finished_count_;
  if (request.sequence == first_outstanding_) first_outstanding_ = 0;
  const bool answered = outcome == Outcome::kOk || outcome == Outcome::kRejected;
  if (answered && (!request.operation || request.sequence != 0)) {
    session_used_at_ = std::max(session_used_at_, *request.first_sent_at);
  }
  if (!request.operation) {
    session_ = SessionId(static_cast<uint64_t>(value));
    next_sequence_ = 1;
    first_outstanding_ = 0;
    opening_ = false;
    table_full_ = false;
    due_ = Time::min();  // for those who waited for it
    return;
  }
  --open_count_;
  dones_.push_back({request.operation_id, outcome, reason, value, request.first_sent_at});
}

// Ends a request without an answer: unknown when any attempt may count, else not applied.
void Client::finish_undecided(Request& request, Reason reason) {
  const bool unknown = is_write(request) && (request.in_flight || request.maybe_applied);
  finish(request, unknown ? Outcome::kUnknown : Outcome::kNotApplied, reason);
}

uint64_t Client::first_outstanding() const {
  if (first_outstanding_ != 0) return first_outstanding_;
  first_outstanding_ = next_sequence_;
  for (const auto& request : requests_) {
    if (request->finished || request->sequence == 0) continue;
    first_outstanding_ = std::min(first_outstanding_, request->sequence);
  }
  return first_outstanding_;
}

bool Client::is_write(const Request& request) {
  return request.operation && !std::holds_alternative<Get>(*request.operation);
}

bool Client::needs_session(const Request& request) {
  const auto* increment = request.operation ? std::get_if<Increment>(&*request.operation) : nullptr;
  return increment != nullptr && !increment->id;
}

std::optional<Time> Client::first_sent_at(uint64_t operation_id) const {
  for (const auto& request : requests_) {
    if (request->operation && request->operation_id == operation_id) return request->first_sent_at;
  }
  return {};
}

Time Client::deadline() const {
  Time deadline = kNever;
  for (const auto& request : requests_) {
    deadline = std::min(deadline, request->ends_at);
    if (!waits_for_session(*request)) deadline = std::min(deadline, request->wake_at);
  }
  return deadline;
}

}  // namespace tally
