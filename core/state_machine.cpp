#include "core/state_machine.h"

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <limits>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/check.h"
#include "core/command.pb.h"
#include "core/known_fields.h"
#include "core/little_endian.h"
#include "core/state.pb.h"

namespace tally {
namespace {

constexpr size_t kSpareCountersMax = 64;
// Deadlines of sessions that are closed, beyond one for each that is open.
constexpr size_t kClosedDeadlinesMax = 64;

// What a hash is of, so that no two kinds of things can stand for one another.
enum class HashKind : uint64_t { kCounter = 1, kAnswer, kSession, kState, kHistory };

// XXH3 over the words as little-endian bytes.
template <size_t kWordCount>
uint64_t hash_words(HashKind kind, const std::array<uint64_t, kWordCount>& words) {
  std::array<char, 8 * (kWordCount + 1)> bytes;
  put_little_endian(static_cast<uint64_t>(kind), bytes.data());
  for (size_t i = 0; i < kWordCount; ++i) {
    put_little_endian(words[i], bytes.data() + 8 * (i + 1));
  }
  return XXH3_64bits(bytes.data(), bytes.size());
}

// A counter of value 0 is an absent one and weighs nothing.
uint64_t counter_hash(uint64_t name_hash, int64_t value) {
  if (value == 0) return 0;
  return hash_words<2>(HashKind::kCounter, {name_hash, static_cast<uint64_t>(value)});
}

uint64_t state_hash_of(uint64_t hash_sum, LogTime log_time) {
  return hash_words<2>(HashKind::kState, {hash_sum, log_time.value()});
}

LogTime add_saturated(LogTime time, uint64_t duration_ns) {
  const uint64_t sum = time.value() + duration_ns;
  return LogTime(sum < duration_ns ? std::numeric_limits<uint64_t>::max() : sum);
}

constexpr ApplyResult rejected(Reason reason) {
  return {.outcome = Outcome::kRejected, .reason = reason};
}

bool is_complete(const command::OpenSession& open) {
  return open.has_timeout_ns() && open.has_session_count_max() && has_only_known_fields(open);
}

bool is_complete(const command::CloseSession& close) {
  return close.has_session() && has_only_known_fields(close);
}

bool is_complete(const command::Increment& request) {
  return request.has_name() && request.has_delta() && request.has_session() &&
         request.has_sequence() && request.has_first_outstanding() &&
         has_only_known_fields(request);
}

}  // namespace

StateMachine::StateMachine()
    : state_hash_(state_hash_of(0, LogTime{})), command_(std::make_unique<command::Command>()) {}
StateMachine::~StateMachine() = default;
StateMachine::StateMachine(StateMachine&&) noexcept = default;
StateMachine& StateMachine::operator=(StateMachine&&) noexcept = default;

std::span<const ApplyResult> StateMachine::apply(const Entry& entry) {
  CHECK(entry.index == applied_index_ + 1, "applying entry {} after entry {}", entry.index.value(),
        applied_index_.value());
  advance_log_time(entry.log_time);

  results_.clear();
  switch (entry.type) {
    case EntryType::kNoop:
      CHECK(entry.data.empty(), "entry {}: a no-op with {} bytes of data", entry.index.value(),
            entry.data.size());
      break;
    case EntryType::kCommand: execute(entry); break;
    default:
      CHECK(false, "entry {}: unknown type {}; written by a newer build?", entry.index.value(),
            static_cast<unsigned>(entry.type));
  }
  applied_index_ = entry.index;
  update_state_hash();
  history_hash_ = hash_words<2>(HashKind::kHistory, {history_hash_, state_hash_});
  return results_;
}

void StateMachine::update_state_hash() { state_hash_ = state_hash_of(hash_sum_, log_time_); }

int64_t StateMachine::value(std::string_view name) const {
  const auto found = counters_.find(name);
  return found == counters_.end() ? 0 : found->second.value;
}

void StateMachine::advance_log_time(LogTime time) {
  // Leaders never stamp backwards; max() keeps the promise even if one did.
  log_time_ = std::max(log_time_, time);
  expire_sessions();
}

void StateMachine::expire_sessions() {
  while (!deadlines_.empty() && deadlines_.front().at < log_time_) {
    std::pop_heap(deadlines_.begin(), deadlines_.end(), std::greater<>());
    Deadline& due = deadlines_.back();
    const auto found = sessions_.find(due.session);
    const bool open = found != sessions_.end();
    if (open && found->second.expires_at >= log_time_) {
      // Used since: look again when it could expire now.
      due.at = found->second.expires_at;
      std::push_heap(deadlines_.begin(), deadlines_.end(), std::greater<>());
      continue;
    }
    if (open) end_session(found);
    deadlines_.pop_back();
  }
}

void StateMachine::end_session(Sessions::iterator session) {
  if (capture_) keep_session(session->first, &session->second);
  hash_sum_ -= session->second.hash;
  sessions_.erase(session);
}

void StateMachine::schedule_expiry(uint64_t id, const Session& session) {
  deadlines_.push_back({.at = session.expires_at, .session = id});
  std::push_heap(deadlines_.begin(), deadlines_.end(), std::greater<>());
}

void StateMachine::execute(const Entry& entry) {
  const std::string_view data = entry.data.view();
  CHECK(command_->ParseFromArray(data.data(), static_cast<int>(data.size())) &&
            has_only_known_fields(*command_),
        "entry {}: a command of {} bytes that does not decode", entry.index.value(), data.size());
  CHECK(int{command_->has_open_session()} + int{command_->increment_size() > 0} +
                int{command_->has_close_session()} ==
            1,
        "entry {}: not exactly one known kind of command", entry.index.value());
  if (command_->has_open_session()) {
    CHECK(is_complete(command_->open_session()), "entry {}: open_session lacks fields or has more",
          entry.index.value());
    results_.push_back(open_session(command_->open_session(), entry.index));
  }
  if (command_->has_close_session()) {
    CHECK(is_complete(command_->close_session()),
          "entry {}: close_session lacks fields or has more", entry.index.value());
    results_.push_back(close_session(command_->close_session()));
  }
  for (const command::Increment& request : command_->increment()) {
    CHECK(is_complete(request), "entry {}: increment lacks fields or has more",
          entry.index.value());
    const std::string name_error = counter_name_error(request.name());
    CHECK(name_error.empty(), "entry {}: {}", entry.index.value(), name_error);
    results_.push_back(increment(request));
  }
}

ApplyResult StateMachine::open_session(const command::OpenSession& open, LogIndex index) {
  if (sessions_.size() >= open.session_count_max()) return rejected(Reason::kSessionsFull);
  Session session;
  session.timeout_ns = open.timeout_ns();
  session.expires_at = add_saturated(log_time_, session.timeout_ns);
  if (capture_) keep_session(index.value(), nullptr);
  add_session(index.value(), std::move(session));
  return {.value = static_cast<int64_t>(index.value())};
}

void StateMachine::add_session(uint64_t id, Session&& session) {
  rehash_session(id, session);
  schedule_expiry(id, session);
  sessions_.emplace(id, std::move(session));
}

// Its id is never used again, so nothing that was sent in it is executed any more.
ApplyResult StateMachine::close_session(const command::CloseSession& close) {
  const auto found = sessions_.find(close.session());
  if (found == sessions_.end()) return {};
  end_session(found);
  if (deadlines_.size() > 2 * sessions_.size() + kClosedDeadlinesMax) {
    deadlines_.clear();
    for (const auto& [id, session] : sessions_) schedule_expiry(id, session);
  }
  return {};
}

ApplyResult StateMachine::increment(const command::Increment& request) {
  const auto found = sessions_.find(request.session());
  if (found == sessions_.end()) return rejected(Reason::kExpired);
  Session& session = found->second;
  if (capture_) keep_session(found->first, &session);
  session.expires_at = add_saturated(log_time_, session.timeout_ns);
  raise_first_outstanding(request.first_outstanding(), session);
  const ApplyResult result = answer_increment(request, session);
  rehash_session(request.session(), session);
  return result;
}

ApplyResult StateMachine::answer_increment(const command::Increment& request, Session& session) {
  const uint64_t sequence = request.sequence();
  if (sequence < session.first_outstanding) return rejected(Reason::kStaleSequence);
  if (sequence - session.first_outstanding >= kSessionWindow) return rejected(Reason::kWindow);

  // New sequences mostly come last.
  auto place = session.answers.end();
  while (place != session.answers.begin() && std::prev(place)->sequence >= sequence) --place;
  if (place != session.answers.end() && place->sequence == sequence) {
    return {.outcome = place->outcome,
            .reason = place->reason,
            .value = place->value,
            .duplicate = true};
  }
  const ApplyResult result = add_to_counter(request);
  const Answer answer{.sequence = sequence,
                      .value = result.value,
                      .outcome = result.outcome,
                      .reason = result.reason};
  session.answers.insert(place, answer);
  session.answers_hash += answer_hash(answer);
  return result;
}

ApplyResult StateMachine::add_to_counter(const command::Increment& request) {
  const std::string_view name = request.name();
  const auto found = counters_.find(name);
  const int64_t old_value = found == counters_.end() ? 0 : found->second.value;
  int64_t new_value = 0;
  if (__builtin_add_overflow(old_value, request.delta(), &new_value)) {
    return rejected(Reason::kOverflow);
  }
  if ((request.has_lower() && new_value < request.lower()) ||
      (request.has_upper() && new_value > request.upper())) {
    return rejected(Reason::kBounds);
  }
  store_counter(name, found, new_value);
  return {.value = new_value};
}

void StateMachine::store_counter(std::string_view name, Counters::iterator found, int64_t value) {
  if (capture_) keep_counter(name, found == counters_.end() ? 0 : found->second.value);
  if (found == counters_.end()) {
    if (value == 0) return;
    if (spare_counters_.empty()) {
      found = counters_.emplace(std::string(name), Counter{}).first;
    } else {
      Counters::node_type node = std::move(spare_counters_.back());
      spare_counters_.pop_back();
      node.key().assign(name);
      node.mapped() = Counter{};
      found = counters_.insert(std::move(node)).position;
    }
    found->second.name_hash = XXH3_64bits(name.data(), name.size());
  }
  Counter& counter = found->second;
  hash_sum_ -= counter.hash;
  counter.value = value;
  counter.hash = counter_hash(counter.name_hash, value);
  hash_sum_ += counter.hash;
  if (value == 0) {
    Counters::node_type node = counters_.extract(found);
    if (spare_counters_.size() < kSpareCountersMax) spare_counters_.push_back(std::move(node));
  }
}

uint64_t StateMachine::answer_hash(const Answer& answer) {
  return hash_words<4>(HashKind::kAnswer, {answer.sequence, static_cast<uint64_t>(answer.value),
                                           static_cast<uint64_t>(answer.outcome),
                                           static_cast<uint64_t>(answer.reason)});
}

void StateMachine::raise_first_outstanding(uint64_t first_outstanding, Session& session) {
  if (first_outstanding <= session.first_outstanding) return;
  session.first_outstanding = first_outstanding;
  auto kept = session.answers.begin();
  for (; kept != session.answers.end() && kept->sequence < first_outstanding; ++kept) {
    session.answers_hash -= answer_hash(*kept);
  }
  session.answers.erase(session.answers.begin(), kept);
}

void StateMachine::rehash_session(uint64_t id, Session& session) {
  hash_sum_ -= session.hash;
  session.hash =
      hash_words<5>(HashKind::kSession, {id, session.first_outstanding, session.timeout_ns,
                                         session.expires_at.value(), session.answers_hash});
  hash_sum_ += session.hash;
}

}  // namespace tally
