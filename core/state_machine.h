// The replicated state machine: named 64-bit counters and the exactly-once sessions beside them.
//
// Deterministic: apply() sees the entry and the state and nothing else, no clock, no randomness, no
// option of this node (limits that matter travel inside the commands). Counters and sessions are
// one state: neither is ever saved, hashed or restored without the other.
//
// A counter that is 0 and a counter that never was are the same thing, everywhere: value(),
// counter_count() and state_hash() see only counters other than 0, and none is kept for a 0. So a
// zero delta, a refused increment and an increment back to 0 leave no trace among the counters.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <memory_resource>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/entry.h"
#include "core/message.h"
#include "core/types.h"

namespace tally {

namespace command {
class Command;  // core/command.proto
class CloseSession;
class Increment;
class OpenSession;
}  // namespace command
namespace state {
class Piece;  // core/state.proto
class Session;
}  // namespace state

// Limits the proposer puts into the commands, so that every replica applies the same ones.
struct SessionLimits {
  Duration timeout = std::chrono::minutes(10);  // a session idle longer than this in log time ends
  uint64_t session_count_max = 100'000;         // a full table refuses to open, never evicts
};

// A request may be at most this far above its session's first outstanding sequence, so a session
// never keeps more results than this. Part of the replicated semantics: never an option.
inline constexpr uint64_t kSessionWindow = 64;
inline constexpr size_t kCounterNameBytesMax = 255;

// Empty when `name` is a valid counter name (1 to 255 bytes of UTF-8), else what is wrong with it.
std::string counter_name_error(std::string_view name);

// Encodes a command once, at proposal. REQUIRES: limits.timeout >= 0.
Bytes encode_open_session(const SessionLimits& limits);
Bytes encode_close_session(SessionId session);
// REQUIRES: counter_name_error(request.name).empty(); answer kBadRequest to a user before this.
Bytes encode_increment(const IncrementAndGetRequest& request);
// The same behind what `out` holds: several one after the other are the data of one entry.
void append_increment(const IncrementAndGetRequest& request, std::string& out);

// What one command answered to whoever proposed it.
struct ApplyResult {
  Outcome outcome = Outcome::kOk;
  Reason reason = Reason::kNone;
  int64_t value = 0;       // the new value, or the opened session's id; 0 when refused
  bool duplicate = false;  // answered from the session, executed nothing

  friend bool operator==(const ApplyResult&, const ApplyResult&) = default;
};

class StateMachine {
 public:
  StateMachine();
  ~StateMachine();
  StateMachine(StateMachine&&) noexcept;
  StateMachine& operator=(StateMachine&&) noexcept;

  // Applies the next entry: first advances log time and expires sessions, then executes its
  // commands in order (thesis §6.3): none, one, or several increments. One result for each, valid
  // until the next call. REQUIRES: entry.index == applied_index() + 1. Data that does not decode is
  // a failed CHECK: it is never applied as something else.
  //
  // An increment answers, by the first line that fits (every one that finds its session alive
  // counts as a use: it renews the session and may raise its first outstanding sequence):
  //   session unknown or expired                    kRejected, kExpired
  //   sequence below first outstanding              kRejected, kStaleSequence
  //   kSessionWindow or more above it               kRejected, kWindow
  //   sequence answered before                      that answer, `duplicate`; executes nothing
  //   value + delta outside 64 bits                 kRejected, kOverflow; remembered
  //   value + delta outside [lower, upper]          kRejected, kBounds; remembered
  //   otherwise                                     kOk, the new value; remembered
  // The closing of a session answers kOk, whether there was one or not.
  std::span<const ApplyResult> apply(const Entry& entry);

  LogIndex applied_index() const { return applied_index_; }
  LogTime log_time() const { return log_time_; }
  // 0 when absent.
  int64_t value(std::string_view name) const;
  // Counters other than 0.
  size_t counter_count() const { return counters_.size(); }
  size_t session_count() const { return sessions_.size(); }

  // ---- snapshots (core/state_machine_snapshot.cpp)

  // From here on the state as it is now can be read out piece by piece while apply() goes on: what
  // an apply changes before its turn came is copied first, so the longest delay of an apply is one
  // such copy. REQUIRES: no capture is under way.
  void begin_capture();
  bool is_capturing() const { return capture_ != nullptr; }
  LogIndex captured_index() const;  // REQUIRES: is_capturing()
  // Sets `piece` to the next one, about `bytes_max` large (one counter or session always fits). The
  // capture ends with the last piece; true when this is it. REQUIRES: is_capturing()
  bool read_piece(size_t bytes_max, std::string& piece);
  // Does a part of read_piece()'s work ahead, about `work_bytes` of it, so that apply() never waits
  // for a whole piece. True when the piece is full, and only has to be read. REQUIRES:
  // is_capturing(), work_bytes > 0, and the same `bytes_max` for all of a piece.
  bool fill_piece(size_t bytes_max, size_t work_bytes);
  void end_capture();

  // Adds the next piece to a state that is being loaded. Empty, or what is wrong with the piece;
  // then the state is of no use any more. REQUIRES: nothing was applied or loaded to the end.
  std::string load_piece(std::string_view piece);
  // All pieces are there, and add up to the hash that the capture had.
  bool is_loaded() const { return loading_ == Loading::kDone; }

  // A hash of the whole state (counters, sessions, log time), kept incrementally: equal states have
  // equal hashes on every replica and in every build.
  uint64_t state_hash() const { return state_hash_; }
  // A chain over state_hash() after every entry applied: equal iff all states on the way were.
  uint64_t history_hash() const { return history_hash_; }

 private:
  struct Counter {
    int64_t value = 0;       // never 0 between two applies
    uint64_t name_hash = 0;  // XXH3 of the name
    uint64_t hash = 0;       // this counter's share of hash_sum_
  };
  // In order of name: a capture reads them in that order on every replica.
  using Counters = std::map<std::string, Counter, std::less<>>;

  // A remembered answer to one sequence.
  struct Answer {
    uint64_t sequence = 0;
    int64_t value = 0;
    Outcome outcome = Outcome::kOk;
    Reason reason = Reason::kNone;
  };
  struct Session {
    uint64_t first_outstanding = 1;  // only rises; answers below it are forgotten
    uint64_t timeout_ns = 0;
    LogTime expires_at;           // last use plus timeout; ends once log time is above it
    std::vector<Answer> answers;  // ascending by sequence; at most kSessionWindow
    uint64_t answers_hash = 0;    // sum over the answers' hashes
    uint64_t hash = 0;            // this session's share of hash_sum_
  };
  using Sessions = std::map<uint64_t, Session>;
  // A capture under way: how far it has been read, and the former values of what was changed since
  // it began and has yet to be read.
  struct Capture {
    enum class Stage : uint8_t { kStart, kCounters, kSessions, kEnd } stage = Stage::kStart;
    size_t piece_bytes = 0;  // about, of what is in piece_
    std::string last_name;   // counters up to here are read; "" when none is
    uint64_t last_session = 0;
    // The copies live in chunks of their own: freed one by one they would be tidied up by whichever
    // allocation comes next, some 50 ms for 100,000 of them.
    std::pmr::unsynchronized_pool_resource memory;
    std::pmr::map<std::pmr::string, int64_t, std::less<>> counters_before{&memory};  // 0: absent
    std::map<uint64_t, std::optional<Session>> sessions_before;  // nothing: it was absent
    LogIndex applied_index;
    LogTime log_time;
    uint64_t history_hash = 0;
    uint64_t state_hash = 0;
    uint64_t counter_count = 0;
    uint64_t session_count = 0;
  };
  enum class Loading : uint8_t { kNothing, kCounters, kSessions, kDone };
  // When a session has to be looked at again: at or before it expires.
  struct Deadline {
    LogTime at;
    uint64_t session = 0;
    auto operator<=>(const Deadline&) const = default;
  };

  static uint64_t answer_hash(const Answer& answer);
  void update_state_hash();
  void advance_log_time(LogTime time);
  void expire_sessions();
  void end_session(Sessions::iterator session);
  void schedule_expiry(uint64_t id, const Session& session);
  void execute(const Entry& entry);
  ApplyResult open_session(const command::OpenSession& open, LogIndex index);
  ApplyResult close_session(const command::CloseSession& close);
  ApplyResult increment(const command::Increment& request);
  ApplyResult answer_increment(const command::Increment& request, Session& session);
  ApplyResult add_to_counter(const command::Increment& request);
  void store_counter(std::string_view name, Counters::iterator found, int64_t value);
  void raise_first_outstanding(uint64_t first_outstanding, Session& session);
  void rehash_session(uint64_t id, Session& session);
  void add_session(uint64_t id, Session&& session);

  // state_machine_snapshot.cpp
  void keep_counter(std::string_view name, int64_t value);
  void keep_session(uint64_t id, const Session* session);
  bool read_counters(size_t bytes_max, size_t& work_bytes);
  bool read_session(size_t& work_bytes);
  static size_t write_session(uint64_t id, const Session& session, state::Session& out);
  std::string load_start(const state::Piece& piece);
  std::string load_counters(const state::Piece& piece);
  std::string load_sessions(const state::Piece& piece);
  std::string load_end(const state::Piece& piece);

  LogIndex applied_index_;  // of the last entry applied; 0 before the first
  LogTime log_time_;        // highest stamp applied; never goes back
  Counters counters_;
  Sessions sessions_;  // by id
  // Min-heap with exactly one item per session. Lazy: uses of a session leave it where it is, and
  // an item that comes up early goes back with the session's present deadline. Those of sessions
  // that were closed stay, too, until they come up or are most of them.
  std::vector<Deadline> deadlines_;
  // Nodes of counters that became 0, to be used again: a counter swinging around 0 allocates
  // nothing. At most kSpareCountersMax.
  std::vector<Counters::node_type> spare_counters_;

  uint64_t hash_sum_ = 0;  // sum (mod 2^64) of the hashes of all counters and sessions
  uint64_t state_hash_ = 0;
  uint64_t history_hash_ = 0;

  std::unique_ptr<Capture> capture_;
  Loading loading_ = Loading::kNothing;
  std::vector<ApplyResult> results_;           // of the entry applied last
  std::unique_ptr<command::Command> command_;  // decoded into, over and over
  std::unique_ptr<state::Piece> piece_;        // a capture's present piece; empty without one
};

}  // namespace tally
