// Node: the thin driver that joins Raft, the state machine and the seam. Identical in both worlds.
//
// One increment's way: a ClientRequest is received, becomes a proposal, one Raft step takes it with
// all else that the wake-up brought, its append messages leave while the log write is in flight
// (one at a time, what comes meanwhile joins the next: group commit), acknowledgements commit it,
// the state machine applies it, the waiting client is answered.
//
// Everything that waits is bounded in count and time, and every request gets one answer that tells
// the truth about what became of it (Outcome in core/message.h).
//
// It refuses to know how bytes travel or are stored, and it never reads a clock but its own.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "core/env.h"
#include "core/message.h"
#include "core/note.h"
#include "core/raft.h"
#include "core/state_machine.h"
#include "core/storage.h"

namespace tally {

struct NodeConfig {
  Identity identity;  // identity.node_id is raft.id
  RaftConfig raft;
  SessionLimits session_limits;  // put into the sessions this node opens as leader
  // A snapshot is taken when this much was applied since the last one, counted as data bytes of
  // entries; or after this time, if anything was applied.
  uint64_t snapshot_log_bytes = uint64_t{64} << 20;
  Duration snapshot_interval = std::chrono::minutes(30);
  // About; at most kSnapshotPieceBytesMax. A piece is filled over several steps, but encoded and
  // written in one, for which apply waits (snapshot_bench).
  uint64_t snapshot_piece_bytes = 16 << 10;
  // Behind a snapshot, so much of the log is kept for followers that are a little late.
  uint64_t kept_log_bytes = uint64_t{16} << 20;
  // Increments that one step proposes share entries, so many each; at most kEntryIncrementCountMax.
  uint64_t entry_increment_count_max = 256;
  uint64_t waiting_count_max = 10'000;  // requests waiting at this node; more are refused as busy
  Duration request_timeout = std::chrono::seconds(5);  // then the client hears kUnknown
  // False: this node has run before, wherever that is known from; an empty directory is then a
  // wiped one, and the node stays out.
  bool first_start = true;
  // Differs between any two starts of any node, so that an answer to a request forwarded before a
  // restart is never taken for the answer to one forwarded after it, nor one to a damaged node.
  uint64_t incarnation = 0;
};

// Empty when the options fit together, else what is wrong with which one.
std::string config_error(const NodeConfig& config);

inline constexpr uint64_t kSnapshotPieceBytesMax = 512 << 10;
inline constexpr uint64_t kEntryIncrementCountMax = 1024;  // they fit a record

class Node final : public StorageClient {
 public:
  // The seam's objects outlive the node. REQUIRES: config_error(config) is empty.
  Node(const NodeConfig& config, Clock& clock, Network& network, Storage& storage);

  // Recovers from storage (blocking) and, when that is possible, takes part from here on. Call
  // once, first. A node whose log is damaged takes part as one that is being repaired. It stays out
  // when term and vote are lost, when its directory is refused, or is empty and should not be:
  // running() is then false, and message() says why and what can be done.
  Recovered::Outcome start();

  // Queues what has arrived. Nothing happens before the next wake().
  void receive(Envelope&& envelope);
  void on_storage_done(bool durable, const std::string& error) override;
  void on_snapshot_written(bool ok, const std::string& error) override;
  void on_snapshot_read(const SnapshotId& id, uint64_t piece, std::string data) override;

  // Takes a snapshot at the next wake(), unless one is under way or nothing was applied since the
  // last one.
  void request_snapshot() { snapshot_requested_ = true; }

  // At the next wake(), begins to hand leadership over to `to`, or with kNoNode to the follower
  // that holds most of the log. Raft::transfer_to() then says whether; it tries for one election
  // timeout. A node that does not lead ignores it.
  void request_transfer(NodeId to) { transfer_requested_ = to; }

  // From now on: the limits and intervals of `config`. Its identity, its Raft options, first_start,
  // incarnation and snapshot_piece_bytes are ignored. REQUIRES: config_error(config) is empty.
  void set_limits(const NodeConfig& config);

  // Takes everything that is queued, and the time, in one step. Call after a callback brought
  // something and when the clock's deadline has come; spurious calls are harmless.
  void wake();

  // False before start(), after a failed start, and after storage failed (fail-stop): a node that
  // does not run sends and answers nothing.
  bool running() const { return raft_.has_value() && !failed_; }
  // What stopped it, or what recovery had to say; empty when nothing.
  const std::string& message() const { return message_; }

  // For oracles, metrics and the trace. REQUIRES: running() or stopped after running.
  const Raft& raft() const { return *raft_; }
  const StateMachine& state() const { return state_; }
  // What happened in the last wake(): Raft's output of that step, and all notes in order.
  const Output& last_output() const { return output_; }
  const std::vector<Note>& last_notes() const { return notes_; }
  // Everything handed to storage up to this persist number is durable.
  uint64_t durable_number() const { return durable_number_; }
  size_t waiting_count() const { return writes_.size() + reads_.size() + forward_count_; }
  // Commands proposed, and applied, since the start.
  uint64_t proposed_count() const { return proposed_count_; }
  uint64_t applied_count() const { return applied_count_; }

 private:
  // A command whose client waits. In log order; those of one entry have one context, and one
  // deadline: all of them wait, or none.
  struct WaitingWrite {
    uint64_t context;
    Endpoint client;
    uint64_t request_id;
    Time deadline;
    LogIndex index;  // 0 until Raft accepted it
  };
  struct WaitingRead {
    uint64_t context;
    Endpoint client;
    uint64_t request_id;
    Time deadline;
    LogIndex index;  // 0 until Raft confirmed it
    bool refused = false;
    bool index_only = false;  // asks for the index, not for the value of `name`
    std::string name;
  };
  // A request passed on to the leader.
  struct Forward {
    Endpoint client;  // 0 once answered
    uint64_t request_id;
    Time deadline;
    bool write;
    bool index_only;  // whoever asked waits for this node's own state to reach the index
  };

  // Whose snapshot the storage is writing. One at a time: a leader's goes before an own one.
  enum class Writing : uint8_t { kNothing, kOwn, kLeaders };
  // A leader's snapshot on its way in.
  struct Incoming {
    explicit Incoming(const SnapshotId& wanted) : id(wanted) {}

    SnapshotId id;
    uint64_t next_piece = 0;
    bool ready = false;  // all of it is durable
    // Of the newest piece that came, for the reply.
    Term term;
    uint64_t round = 0;
    Time sent_at;
    StateMachine state;
  };

  // node_snapshot.cpp
  void take_snapshot_events(Time now);
  void maybe_adopt();
  void maybe_begin_snapshot(Time now);
  bool is_filling_piece() const;
  void fill_own_piece();
  void on_own_written();
  LogIndex log_base_after(LogIndex last) const;
  void receive_pieces();
  void receive_piece(SnapshotRequest&& request);
  void on_incoming_written();
  void reply_to_piece(const SnapshotId& id, Term term, uint64_t next_piece, uint64_t round,
                      Time sent_at);
  void drop_incoming();
  void restore();

  void look_for_room(Time now);
  void take_inbox(Time now);
  void admit(Envelope&& envelope, Time now, bool followers_full);
  void propose_increments();
  void forward(Endpoint client, ClientRequest&& request, Time now);
  void on_forward_answer(const ValueResponse& response);
  void drop_answered_forwards();
  void give_up_forwards();
  void release_sends();
  void handle_output(Time now);
  void settle_proposals();
  void owe_writes();
  void maybe_write();
  bool puts_off_apply(Time now);
  void apply_committed();
  void note_apply(const ApplyResult& result);
  void serve_reads();
  void expire_waiting(Time now);
  void update_deadline(Time now);

  void answer(Endpoint client, uint64_t request_id, Outcome outcome, Reason reason,
              int64_t value = 0);
  void answer_refused(Endpoint client, uint64_t request_id);
  void note(NoteKind kind, NodeId peer = kNoNode, uint64_t a = 0, uint64_t b = 0) {
    notes_.push_back(Note{kind, peer, a, b});
  }

  NodeConfig config_;
  Clock& clock_;
  Network& network_;
  Storage& storage_;

  std::optional<Raft> raft_;  // empty until started
  StateMachine state_;
  bool failed_ = false;
  std::string message_;

  std::vector<Envelope> inbox_;
  std::vector<Input> inputs_;  // reused
  Output output_;              // reused
  std::vector<Note> notes_;    // of the last wake()

  // Durability. Raft numbers what must persist; a write covers everything up to its number.
  struct SendAfter {
    uint64_t number;
    Envelope envelope;
  };
  std::deque<SendAfter> send_after_;
  bool hard_state_owed_ = false;
  bool reset_owed_ = false;
  bool whole_owed_ = false;
  LogIndex entries_owed_from_;  // 0: none
  uint64_t owed_number_ = 0;    // newest number handed out by Raft
  bool write_in_flight_ = false;
  uint64_t in_flight_number_ = 0;  // what the write in flight covers
  uint64_t durable_number_ = 0;
  bool synced_news_ = false;   // a sync completed since the last wake()
  bool full_ = false;          // what Raft was told last of the storage
  Time room_due_at_;           // full: when to look for room again
  Time room_snapshot_due_at_;  // ... and to take a snapshot, so that the log may go
  StorageWrite write_;         // reused

  // Snapshots.
  Writing writing_ = Writing::kNothing;
  bool write_unanswered_ = false;  // a piece or the end is with the storage
  bool last_piece_written_ = false;
  std::optional<bool> snapshot_written_;  // the storage's answer, since the last step
  std::string own_piece_;                 // reused
  std::optional<Incoming> incoming_;
  std::optional<NodeId> transfer_requested_;
  bool snapshot_requested_ = false;
  bool snapshot_unreadable_ = false;  // the storage's newest: another one must replace it
  uint64_t applied_bytes_ = 0;        // since the last snapshot
  LogIndex snapshot_tried_at_;        // applied index when the last one was begun
  Time snapshot_due_at_;
  // Pieces asked of the storage, and whom they are for.
  struct PieceRead {
    NodeId to;
    SnapshotRequest request;
  };
  std::vector<PieceRead> piece_reads_;

  // The increments of this step that are not proposed yet, as the data of an entry.
  std::string increments_;
  uint64_t increments_context_ = 0;
  uint64_t increment_count_ = 0;
  uint64_t proposed_count_ = 0;
  uint64_t applied_count_ = 0;
  LogIndex apply_wanted_;           // somebody reads this node's state once it is there
  Time apply_put_off_at_ = kNever;  // kNever: it is not

  // In order of context, which counts up.
  std::deque<WaitingWrite> writes_;
  std::deque<WaitingRead> reads_;
  uint64_t next_context_ = 1;
  // Forward ids count up, so position = number - that of the front.
  std::deque<Forward> forwards_;
  size_t forward_count_ = 0;  // of those, not answered yet
  NodeId forward_leader_;     // all that are not answered were passed on to this one
  uint64_t forward_id_front_;
};

}  // namespace tally
