// The client state machine: sessions, ids, retries, redirects, and what to believe in the end. The
// same code drives simulated clients and tallyctl.
//
// Pure: time and answers in, requests out. It opens an exactly-once session before its first
// increment and retries every request by the same (session, sequence), at other nodes too, until
// an answer is definite or the operation's time is up. Then it says which it is: kOk, kRejected,
// kNotApplied (no attempt can ever be applied) or kUnknown.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/bytes.h"
#include "core/message.h"
#include "core/state_machine.h"
#include "core/types.h"

namespace tally {

struct ClientConfig {
  std::vector<NodeId> nodes;                              // where the service is; at least one
  uint64_t seed = 0;                                      // of the choice of nodes and of backoff
  NodeId first{};                                         // where to begin; kNoNode: drawn
  Duration attempt_timeout = std::chrono::seconds(1);     // then the next node is tried
  Duration operation_timeout = std::chrono::seconds(10);  // then the operation ends
  // Before trying again what was refused; doubled with each attempt, to 16 times this.
  Duration backoff = std::chrono::milliseconds(50);
  // A session not used for so long is left, and a new one opened: an increment that finds its
  // session expired may have to end as unknown. Well below the servers' SessionLimits.timeout.
  Duration session_idle_max = std::chrono::minutes(5);
  bool retry = true;            // false: an operation ends with the first NOT_APPLIED
  bool forward = true;          // let nodes pass requests on; otherwise follow redirects
  uint64_t operations_max = 8;  // in flight at once; at most kSessionWindow
};

// A request id names one attempt: the request's number, then, in so many bits, the attempt's, from
// 1.
inline constexpr uint64_t kAttemptBits = 24;

class Client {
 public:
  struct Increment {
    Bytes name;  // Bytes::passing
    int64_t delta = 0;
    std::optional<int64_t> lower = {};
    std::optional<int64_t> upper = {};
    // The caller's own id for it, in a session that the caller has opened. Empty: one of this
    // client's.
    struct Id {
      SessionId session;
      uint64_t sequence = 0;
      uint64_t first_outstanding = 0;
    };
    std::optional<Id> id = {};
  };
  struct Get {
    std::string name;
  };
  // A session for the caller's own use; Done::value is its id.
  struct OpenSession {};
  using Operation = std::variant<Increment, Get, OpenSession>;

  struct Send {
    NodeId to;
    ClientRequest request;
  };
  struct Done {
    uint64_t operation_id;
    Outcome outcome;
    Reason reason;
    int64_t value;                      // kOk only
    std::optional<Time> first_sent_at;  // empty when no request of the operation ever left
  };

  explicit Client(const ClientConfig& config);
  Client(Client&&) = default;
  Client(const Client&) = delete;

  // Begins an operation at `now`. REQUIRES: open_count() < operations_max.
  void start(Time now, uint64_t operation_id, Operation operation);
  // An answer arrived from `from`. Answers to attempts given up earlier are welcome.
  void on_response(Time now, NodeId from, const ValueResponse& response);
  // The connection to `node` broke: its attempts have no answer to come.
  void on_broken(Time now, NodeId node);
  // No connection to `node` came about, or it refused the handshake: the attempts under way there
  // were certainly not applied.
  void on_unreached(Time now, NodeId node);
  // Timeouts. Call at deadline() or later.
  void wake(Time now);

  // For attempts and operations that begin from now on.
  void set_timeouts(Duration attempt_timeout, Duration operation_timeout) {
    config_.attempt_timeout = attempt_timeout;
    config_.operation_timeout = operation_timeout;
  }

  // Gives the session back, if one is open, so that others find room; nobody waits for an answer,
  // and if it does not arrive, the session expires. REQUIRES: open_count() == 0.
  void leave_session();

  // Filled by the calls above; the caller empties them.
  std::vector<Send>& sends() { return sends_; }
  std::vector<Done>& dones() { return dones_; }

  Time deadline() const;
  // At least as early as deadline(), at once, and early for nothing now and then: for those who
  // have many.
  Time due() const { return due_; }
  // Whether one more increment would be within the session's window. (An increment that gets no
  // answer for long blocks those 64 after it.)
  bool has_room() const {
    return open_count_ < config_.operations_max &&
           (session_ == SessionId(0) || next_sequence_ - first_outstanding() < kSessionWindow);
  }
  // Operations begun and not done.
  size_t open_count() const { return open_count_; }
  SessionId session() const { return session_; }
  // When the first request of an open operation left; empty when none has.
  std::optional<Time> first_sent_at(uint64_t operation_id) const;

 private:
  struct Request {
    uint64_t number = 0;  // never used twice by this client
    uint64_t operation_id = 0;
    std::optional<Operation> operation;  // empty: this opens the session
    Time ends_at;
    uint64_t sequence = 0;  // of an increment, from its first sending on in this session
    uint64_t attempt_count = 0;
    bool in_flight = false;      // an attempt is unanswered
    NodeId target;               // of that attempt
    Time wake_at;                // end of the attempt's time, or of a backoff
    bool maybe_applied = false;  // an earlier attempt may have been, or may yet be, applied
    bool finished = false;       // answered; dropped before the call returns
    std::optional<Time> first_sent_at;
  };

  using Requests = std::vector<std::unique_ptr<Request>>;

  Request& add_request();
  Requests::iterator find(uint64_t number);
  void forget_finished();
  void settle(Time now);
  void send_due(Time now);
  void be_due(Time at) { due_ = std::min(due_, at); }
  bool waits_for_session(const Request& request) const {
    return needs_session(request) && session_ == SessionId(0);
  }
  void on_lost(Time now, NodeId node, bool maybe_arrived);
  void maybe_leave_session(Time now);
  void maybe_open_session();
  void send(Time now, Request& request);
  void try_again(Time now, Request& request, bool at_once);
  void prefer(NodeId node);
  void on_rejection(Time now, Request& request, Reason reason);
  void lose_session();
  void finish(Request& request, Outcome outcome, Reason reason, int64_t value = 0);
  void finish_undecided(Request& request, Reason reason);
  uint64_t first_outstanding() const;
  static bool is_write(const Request& request);
  static bool needs_session(const Request& request);

  ClientConfig config_;
  size_t node_ = 0;             // index of the node that requests go to
  SessionId session_;           // 0: none open
  Time session_used_at_;        // when the newest request that it answered was first sent
  uint64_t next_sequence_ = 1;  // within the session
  uint64_t request_count_ = 0;
  size_t open_count_ = 0;
  Requests requests_;                       // open ones, oldest first
  Requests spare_;                          // to be used again
  size_t finished_count_ = 0;               // of those in requests_
  bool opening_ = false;                    // one of them opens the session
  bool table_full_ = false;                 // ... and was refused, last, because there are so many
  Time due_ = kNever;                       // nothing has to be done before
  mutable uint64_t first_outstanding_ = 0;  // 0: to be found anew
  std::vector<Send> sends_;
  std::vector<Done> dones_;
};

}  // namespace tally
