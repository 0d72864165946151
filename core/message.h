// Everything that travels: Raft's messages between nodes, and clients' requests and answers.
//
// Plain structs; core/codec.h turns them into bytes and back. Every message between nodes carries
// cluster id, group id and protocol version in its frame (core/codec.h), not here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/entry.h"
#include "core/types.h"

namespace tally {

// RequestVote (thesis §3.4) and, with `pre_vote`, the question that costs no term (§9.6).
struct VoteRequest {
  Term term;  // the candidate's; for a pre-vote the term it would campaign in
  bool pre_vote = false;
  LogIndex last_log_index;
  Term last_log_term;
  bool transfer = false;  // asked by the leader to campaign: voters that hear it may still vote
};

struct VoteReply {
  // Granted: the term of the request. Refused: the voter's own term, so that a candidate that is
  // behind learns of it.
  Term term;
  bool pre_vote = false;
  bool granted = false;
};

// AppendEntries (thesis §3.5); without entries it is the heartbeat.
struct AppendRequest {
  Term term;
  LogIndex prev_log_index;
  Term prev_log_term;
  LogIndex commit_index;
  // Echoed in the reply. `round` counts the leader's read confirmations of this term (§6.4); an
  // answer to round r shows that its sender still followed this leader after every read that
  // waits for r. `sent_at` is the leader's clock at sending: its quorum contact is as old as that.
  uint64_t round = 0;
  Time sent_at;
  // To a damaged node: the number of its repair, as it said; and the index that it must hold before
  // it counts again: what was committed when it asked, confirmed by a quorum after that. 0: not
  // confirmed yet.
  uint64_t repair = 0;
  LogIndex repair_index;
  std::vector<Entry> entries;
};

struct AppendReply {
  Term term;
  bool success = false;
  // success: everything up to here matches the leader's log and is durable at the follower.
  LogIndex match_index;
  // refused for prev_log: the follower's log cannot match above conflict_index; the terms there
  // let the leader skip a whole term per round trip (§3.5). conflict_term 0: the log ends there.
  LogIndex conflict_index;
  Term conflict_term;
  LogIndex prev_log_index;  // of the request this answers: tells a stale refusal
  uint64_t round = 0;
  Time sent_at;
  bool full = false;  // its disk is full: it takes no entries for now, only asks whether it may
  // Not 0: the follower has lost entries that it once acknowledged. This is no acknowledgement: it
  // says where to go on, and counts for nothing. The number is that of this start of this node.
  uint64_t repair = 0;
};

// InstallSnapshot (thesis §5.2), one piece at a time: for a follower that needs entries which the
// leader has compacted. A piece that the follower has already, or cannot use yet, is answered with
// the one that it lacks; so a transfer goes on where it stopped, also under another leader, as long
// as the snapshot is the same.
struct SnapshotRequest {
  Term term;
  SnapshotId id;
  uint64_t piece = 0;  // its number, from 0; below id.piece_count
  uint64_t round = 0;  // as in AppendRequest
  Time sent_at;
  Bytes data;
};

// The whole snapshot, once it is installed, is acknowledged by an AppendReply.
struct SnapshotReply {
  Term term;
  SnapshotId id;
  uint64_t next_piece = 0;  // the first that the follower lacks
  uint64_t round = 0;
  Time sent_at;
};

// A leader that hands over asks the one it chose to campaign at once (thesis §3.10).
struct TimeoutNow {
  Term term;
};

// What became of a request. The three failures differ in what the client may believe.
enum class Outcome : uint8_t {
  kOk = 0,
  kNotApplied = 1,  // this attempt never was and never will be applied: safe to try again
  kUnknown = 2,     // may have been applied, may yet be: ask, or retry with the same id
  kRejected = 3,    // refused for good, with a reason; changed nothing
};

enum class Reason : uint8_t {
  kNone = 0,
  kNotLeader = 1,       // kNotApplied: see leader_hint
  kBusy = 2,            // kNotApplied: too much waiting; try later
  kTimedOut = 3,        // kUnknown: no answer within the node's limit
  kLeadershipLost = 4,  // kUnknown for writes, kNotApplied for reads
  kBounds = 5,          // kRejected: the result would leave [lower, upper]
  kOverflow = 6,        // kRejected: the result would leave 64 bits
  kExpired = 7,         // kRejected: unknown or expired session; executed nothing now
  kSessionsFull = 8,    // kRejected: the session table is full
  kStaleSequence = 9,   // kRejected: below the session's first outstanding sequence
  kWindow = 10,         // kRejected: too far above the session's first outstanding sequence
  kBadRequest = 11,     // kRejected: bad name or arguments; error_msg says which
  kStopping = 12,       // kNotApplied: the node is shutting down or its disk has failed
  kDiskFull = 13,       // kNotApplied: no room for entries; it goes on by itself when there is
  kTransfer = 14,       // kNotApplied: leadership is being handed over; try again soon
};
std::string_view to_string(Outcome outcome);
std::string_view to_string(Reason reason);

// Opens an exactly-once session through the log; answered with its id in ValueResponse.value.
struct OpenSessionRequest {};

struct IncrementAndGetRequest {
  Bytes name;  // Bytes::passing
  int64_t delta = 0;
  std::optional<int64_t> lower;  // inclusive bounds on the new value
  std::optional<int64_t> upper;
  SessionId session;
  uint64_t sequence = 0;           // the request's own number within the session, from 1
  uint64_t first_outstanding = 0;  // the client has an answer for every sequence below this one
};

struct GetValueRequest {
  std::string name;
};

// Answered with an index: a state that has applied the log up to it shows every increment that was
// acknowledged before this was asked (ReadIndex, thesis §6.4). So whoever holds a replica reads as
// much as it likes for one question, all of it at one index.
struct ReadIndexRequest {};

// Ends a session through the log, so that others find room: whoever has no answer to come gives it
// back. What comes of it later is kExpired. kOk also when there is no such session.
struct CloseSessionRequest {
  SessionId session;
};

struct ClientRequest {
  uint64_t request_id = 0;  // chosen by the sender, echoed in the answer; names one attempt
  bool forward = true;      // a node that does not lead passes it on; false: answers with a hint
  bool forwarded = false;   // set by the node that passed it on; never passed on twice
  std::variant<OpenSessionRequest, IncrementAndGetRequest, GetValueRequest, ReadIndexRequest,
               CloseSessionRequest>
      operation;
};

// Whether it changes nothing, whatever becomes of it.
inline bool is_read(const ClientRequest& request) {
  return std::holds_alternative<GetValueRequest>(request.operation) ||
         std::holds_alternative<ReadIndexRequest>(request.operation);
}

struct ValueResponse {
  uint64_t request_id = 0;
  Outcome outcome = Outcome::kOk;
  Reason reason = Reason::kNone;
  int64_t value = 0;
  NodeId leader_hint;     // where to go next; kNoNode when not known
  std::string error_msg;  // for people; empty when ok
};

using Message = std::variant<VoteRequest, VoteReply, AppendRequest, AppendReply, ClientRequest,
                             ValueResponse, SnapshotRequest, SnapshotReply, TimeoutNow>;

struct Envelope {
  Endpoint from;
  Endpoint to;
  Message message;
};

}  // namespace tally
