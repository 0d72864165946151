// Snapshots of the state machine: a capture read out in pieces while apply() goes on, and a state
// loaded from pieces (core/state.proto).
#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/known_fields.h"
#include "core/state.pb.h"
#include "core/state_machine.h"

namespace tally {
namespace {

constexpr uint64_t kStateFormat = 1;
// What a counter, a session or an answer takes in a piece beside its name, at most about.
constexpr size_t kCounterBytes = 16;
constexpr size_t kSessionBytes = 48;
constexpr size_t kAnswerBytes = 28;

bool is_complete(const state::Start& start) {
  return start.has_format() && start.has_applied_index() && start.has_log_time_ns() &&
         start.has_history_hash() && has_only_known_fields(start);
}

bool is_complete(const state::Counter& counter) {
  return counter.has_name() && counter.has_value() && has_only_known_fields(counter);
}

bool is_complete(const state::Answer& answer) {
  return answer.has_sequence() && answer.has_value() && answer.has_outcome() &&
         answer.has_reason() && has_only_known_fields(answer);
}

bool is_complete(const state::Session& session) {
  return session.has_id() && session.has_first_outstanding() && session.has_timeout_ns() &&
         session.has_expires_at_ns() && has_only_known_fields(session) &&
         std::all_of(session.answers().begin(), session.answers().end(),
                     [](const state::Answer& answer) { return is_complete(answer); });
}

bool is_complete(const state::End& end) {
  return end.has_counter_count() && end.has_session_count() && end.has_state_hash() &&
         has_only_known_fields(end);
}

}  // namespace

// ---- Capture: copy what is changed before its turn came ----

void StateMachine::begin_capture() {
  CHECK(!capture_, "a second capture at entry {}", applied_index_.value());
  capture_ = std::make_unique<Capture>();
  if (!piece_) piece_ = std::make_unique<state::Piece>();
  capture_->applied_index = applied_index_;
  capture_->log_time = log_time_;
  capture_->history_hash = history_hash_;
  capture_->state_hash = state_hash_;
  capture_->counter_count = counters_.size();
  capture_->session_count = sessions_.size();
}

LogIndex StateMachine::captured_index() const {
  CHECK(capture_);
  return capture_->applied_index;
}

void StateMachine::keep_counter(std::string_view name, int64_t value) {
  const bool read = capture_->stage > Capture::Stage::kCounters || name <= capture_->last_name;
  if (read || capture_->counters_before.find(name) != capture_->counters_before.end()) return;
  capture_->counters_before.emplace(name, value);
}

void StateMachine::keep_session(uint64_t id, const Session* session) {
  const bool read = capture_->stage > Capture::Stage::kSessions || id <= capture_->last_session;
  if (read || capture_->sessions_before.count(id) > 0) return;
  capture_->sessions_before.emplace(
      id, session == nullptr ? std::nullopt : std::optional<Session>(*session));
}

void StateMachine::end_capture() {
  capture_.reset();
  if (piece_) piece_->Clear();
}

bool StateMachine::fill_piece(size_t bytes_max, size_t work_bytes) {
  CHECK(capture_ && work_bytes > 0);
  using Stage = Capture::Stage;
  while (capture_->stage != Stage::kEnd && capture_->piece_bytes < bytes_max) {
    if (work_bytes == 0) return false;
    switch (capture_->stage) {
      case Stage::kStart: {
        state::Start& start = *piece_->mutable_start();
        start.set_format(kStateFormat);
        start.set_applied_index(capture_->applied_index.value());
        start.set_log_time_ns(capture_->log_time.value());
        start.set_history_hash(capture_->history_hash);
        capture_->stage = Stage::kCounters;
        break;
      }
      case Stage::kCounters:
        if (!read_counters(bytes_max, work_bytes)) capture_->stage = Stage::kSessions;
        break;
      case Stage::kSessions:
        if (!read_session(work_bytes)) capture_->stage = Stage::kEnd;
        break;
      case Stage::kEnd: break;
    }
  }
  return true;
}

bool StateMachine::read_piece(size_t bytes_max, std::string& piece) {
  while (!fill_piece(bytes_max, bytes_max)) {
  }
  const bool last = capture_->stage == Capture::Stage::kEnd;
  if (last) {
    piece_->mutable_end()->set_counter_count(capture_->counter_count);
    piece_->mutable_end()->set_session_count(capture_->session_count);
    piece_->mutable_end()->set_state_hash(capture_->state_hash);
  }
  piece.clear();
  CHECK(piece_->SerializeToString(&piece));
  // Cleared, it keeps what it has allocated: the next piece costs a part of what this one did.
  piece_->Clear();
  capture_->piece_bytes = 0;
  if (last) end_capture();
  return last;
}

// The next counters by name, of those now and those before. False when there is none left. The
// place is found once: nothing is applied in between.
bool StateMachine::read_counters(size_t bytes_max, size_t& work_bytes) {
  auto now = counters_.upper_bound(capture_->last_name);
  auto& before = capture_->counters_before;
  while (capture_->piece_bytes < bytes_max && work_bytes > 0) {
    if (now == counters_.end() && before.empty()) return false;
    int64_t value = 0;
    const auto first = before.begin();
    const std::string_view first_name = before.empty() ? std::string_view() : first->first;
    if (!before.empty() && (now == counters_.end() || first_name <= now->first)) {
      value = first->second;
      capture_->last_name = first_name;
      if (now != counters_.end() && now->first == first_name) ++now;
      before.erase(first);
    } else {
      value = now->second.value;
      capture_->last_name = now->first;
      ++now;
    }
    const size_t bytes = capture_->last_name.size() + kCounterBytes;
    work_bytes -= std::min(work_bytes, bytes);
    if (value == 0) continue;  // it came after the capture began
    state::Counter& counter = *piece_->add_counters();
    counter.set_name(capture_->last_name);
    counter.set_value(value);
    capture_->piece_bytes += bytes;
  }
  return true;
}

// The next session by id, of those now and those before. False when there is none left.
bool StateMachine::read_session(size_t& work_bytes) {
  const auto now = sessions_.upper_bound(capture_->last_session);
  const auto before = capture_->sessions_before.begin();
  const bool has_before = before != capture_->sessions_before.end();
  if (now == sessions_.end() && !has_before) return false;
  size_t bytes = 0;
  if (has_before && (now == sessions_.end() || before->first <= now->first)) {
    capture_->last_session = before->first;
    const std::optional<Session> session = std::move(before->second);
    capture_->sessions_before.erase(before);
    // Nothing: it was opened after the capture began.
    if (session) bytes = write_session(capture_->last_session, *session, *piece_->add_sessions());
  } else {
    capture_->last_session = now->first;
    bytes = write_session(now->first, now->second, *piece_->add_sessions());
  }
  capture_->piece_bytes += bytes;
  work_bytes -= std::min(work_bytes, std::max(bytes, kSessionBytes));
  return true;
}

size_t StateMachine::write_session(uint64_t id, const Session& session, state::Session& out) {
  out.set_id(id);
  out.set_first_outstanding(session.first_outstanding);
  out.set_timeout_ns(session.timeout_ns);
  out.set_expires_at_ns(session.expires_at.value());
  for (const Answer& answer : session.answers) {
    state::Answer& one = *out.add_answers();
    one.set_sequence(answer.sequence);
    one.set_value(answer.value);
    one.set_outcome(static_cast<uint32_t>(answer.outcome));
    one.set_reason(static_cast<uint32_t>(answer.reason));
  }
  return kSessionBytes + session.answers.size() * kAnswerBytes;
}

// ---- Loading ----

std::string StateMachine::load_piece(std::string_view bytes) {
  CHECK(loading_ != Loading::kDone, "a piece after the last one");
  state::Piece piece;
  if (!piece.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      !has_only_known_fields(piece)) {
    return "a piece that does not decode";
  }
  std::string error = load_start(piece);
  if (error.empty()) error = load_counters(piece);
  if (error.empty()) error = load_sessions(piece);
  if (error.empty() && piece.has_end()) error = load_end(piece);
  return error;
}

std::string StateMachine::load_start(const state::Piece& piece) {
  const bool first = loading_ == Loading::kNothing;
  if (piece.has_start() != first)
    return first ? "the first piece is missing" : "a second beginning";
  if (!first) return {};
  CHECK(applied_index_ == LogIndex(0), "loading into a state that has applied entries");
  const state::Start& start = piece.start();
  if (start.has_format() && start.format() > kStateFormat) {
    return fmt::format("state format {}, this program knows up to {}: start a newer one",
                       start.format(), kStateFormat);
  }
  if (!is_complete(start)) return "a beginning that lacks fields or has more";
  applied_index_ = LogIndex(start.applied_index());
  log_time_ = LogTime(start.log_time_ns());
  history_hash_ = start.history_hash();
  loading_ = Loading::kCounters;
  return {};
}

std::string StateMachine::load_counters(const state::Piece& piece) {
  for (const state::Counter& counter : piece.counters()) {
    const bool in_order = loading_ == Loading::kCounters &&
                          (counters_.empty() || counters_.rbegin()->first < counter.name());
    if (!is_complete(counter) || counter.value() == 0 ||
        !counter_name_error(counter.name()).empty() || !in_order) {
      return "a counter that is incomplete or out of order";
    }
    store_counter(counter.name(), counters_.end(), counter.value());
  }
  return {};
}

std::string StateMachine::load_sessions(const state::Piece& piece) {
  for (const state::Session& session : piece.sessions()) {
    loading_ = Loading::kSessions;
    const bool in_order = sessions_.empty() || sessions_.rbegin()->first < session.id();
    if (!is_complete(session) || session.id() == 0 || !in_order ||
        session.answers_size() > static_cast<int>(kSessionWindow)) {
      return "a session that is incomplete or out of order";
    }
    Session loaded;
    loaded.first_outstanding = session.first_outstanding();
    loaded.timeout_ns = session.timeout_ns();
    loaded.expires_at = LogTime(session.expires_at_ns());
    for (const state::Answer& answer : session.answers()) {
      const bool follows =
          loaded.answers.empty() || loaded.answers.back().sequence < answer.sequence();
      if (!follows || answer.outcome() > static_cast<uint32_t>(Outcome::kRejected) ||
          answer.reason() > static_cast<uint32_t>(Reason::kStopping)) {
        return "an answer that is out of order or unknown";
      }
      loaded.answers.push_back({.sequence = answer.sequence(),
                                .value = answer.value(),
                                .outcome = static_cast<Outcome>(answer.outcome()),
                                .reason = static_cast<Reason>(answer.reason())});
      loaded.answers_hash += answer_hash(loaded.answers.back());
    }
    add_session(session.id(), std::move(loaded));
  }
  return {};
}

std::string StateMachine::load_end(const state::Piece& piece) {
  const state::End& end = piece.end();
  if (!is_complete(end)) return "an end that lacks fields or has more";
  update_state_hash();
  if (end.counter_count() != counters_.size() || end.session_count() != sessions_.size() ||
      end.state_hash() != state_hash_) {
    return fmt::format("{} counters and {} sessions with hash {:016x} came; {}, {}, {:016x} left",
                       counters_.size(), sessions_.size(), state_hash_, end.counter_count(),
                       end.session_count(), end.state_hash());
  }
  loading_ = Loading::kDone;
  return {};
}

}  // namespace tally
