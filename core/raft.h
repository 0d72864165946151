// Raft as a pure step function: state and a batch of inputs in, everything to be done out.
//
// Thesis: Ongaro, "Consensus: Bridging Theory and Practice" (2014). Implemented: elections with
// pre-vote (§9.6), check-quorum (§6.2), leader stickiness (§4.2.3), leadership transfer (§3.10),
// log replication with probe and pipeline states (§3.5, §10.2.1), disk in parallel with the network
// (§10.2.1), commitment by own term (§3.6.2), ReadIndex (§6.4). The class touches no clock, network
// or disk, keeps no thread and draws its timeouts from a seed by key: same state and same inputs
// give the same outputs.
//
// It refuses to know: what a command means, who the clients are, how bytes travel or are stored.
//
// Durability: Output::persist says what must become durable, each with a number; the driver
// answers with Synced{number}. Messages that show a term, vote or entry not yet durable leave only
// after that: votes through Output::send_after, acknowledgements by being made when Synced arrives.
// Deviation from figure 3.1: a leader's appends leave at once, in parallel with its own write; it
// counts itself only up to its own durable index (§10.2.1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "core/log.h"
#include "core/message.h"
#include "core/note.h"
#include "core/types.h"

namespace tally {

struct RaftConfig {
  NodeId id;
  std::vector<NodeId> voters;  // all members, this node included
  // Election timeouts are drawn from [election_timeout_min, 2 * election_timeout_min).
  Duration election_timeout_min = std::chrono::milliseconds(1000);
  Duration heartbeat_interval = std::chrono::milliseconds(100);
  uint64_t seed = 0;                        // of the election timeouts
  uint64_t append_entry_count_max = 256;    // entries in one append message
  uint64_t append_bytes_max = 256 << 10;    // their data; one entry always fits
  uint64_t inflight_append_count_max = 16;  // unanswered appends per follower
  // How long entries may wait before they are sent to a follower without which there is a quorum.
  // It gets several batches at once then, for one sync. A commit waits so much longer, once, when
  // one that was needed fails or its disk is late. At most the heartbeat interval; 0: nobody waits.
  Duration spare_delay = Duration(0);
};

// Empty when the options fit together, else what is wrong with which one.
std::string config_error(const RaftConfig& config);

// ---- inputs

struct Received {
  NodeId from;
  Message message;  // one of Raft's own
};
struct Propose {
  uint64_t context;  // the driver's own number, given back in Output
  Bytes data;
};
struct ReadRequest {
  uint64_t context;
};
// Everything in Output::persist up to and including the one of this number is durable.
struct Synced {
  uint64_t persist_number;
};
// An own snapshot is durable; the log up to and including `base` is no longer needed on disk.
// REQUIRES: base <= id.last.index <= commit_index(), base <= durable_index().
struct SnapshotSaved {
  SnapshotId id;
  LogIndex base;
};
// A leader's snapshot is durable here, and the state it holds is ready to replace the state
// machine's.
struct SnapshotInstalled {
  SnapshotId id;
};
// The storage has no room for entries, or has it again.
struct StorageFull {
  bool full;
};
// Leadership is to go to `to`, or with kNoNode to the follower that holds most of the log (§3.10).
// Until it has gone, or an election timeout has passed in vain, the leader takes no proposals.
// Ignored, with a note, by a node that does not lead or whose follower `to` is not, or is damaged.
struct Transfer {
  NodeId to;
};
// A step with no inputs at all is the wake-up at Output::deadline.
using Input = std::variant<Received, Propose, ReadRequest, Synced, SnapshotSaved, SnapshotInstalled,
                           StorageFull, Transfer>;

// ---- outputs

struct Output {
  // Leave at once.
  std::vector<Envelope> send_now;
  // Leave once everything up to and including `persist_number` is durable.
  std::vector<Envelope> send_after;

  // What this step changed and must be made durable, hard state before entries.
  struct Persist {
    bool hard_state = false;  // Raft::hard_state()
    bool reset = false;       // the stored log goes; the next entry follows Raft::log().base()
    LogIndex first_index;     // 0: no entries; else the log from here to its end, replacing
                              // whatever is stored from here on
    bool whole = false;       // the repair is complete: the node counts again
    bool empty() const { return !hard_state && !reset && !whole && first_index == LogIndex(0); }
  } persist;
  uint64_t persist_number = 0;  // of the newest persist so far, this step's included

  struct Accepted {
    uint64_t context;
    LogIndex index;
  };
  std::vector<Accepted> accepted;  // proposals now in the log, in order
  std::vector<uint64_t>
      refused;  // proposals that never enter the log: not the leader, or handing over

  struct ReadReady {
    uint64_t context;
    LogIndex index;  // answer from the state machine once it has applied this
  };
  std::vector<ReadReady> reads_ready;   // in the order of their requests
  std::vector<uint64_t> reads_refused;  // not the leader, or no longer

  // Read this piece of the newest own snapshot and send it, in this term.
  struct SnapshotSend {
    NodeId to;
    SnapshotRequest request;  // complete but for the data
  };
  std::vector<SnapshotSend> snapshot_sends;
  // Pieces that a leader sent, of a snapshot that this node needs.
  std::vector<SnapshotRequest> snapshot_pieces;
  // The state machine's state is to be replaced by that of the snapshot just installed, before
  // anything is applied.
  bool restored = false;

  bool lost_leadership = false;  // was leader when the step began or during it, and is not now
  Time deadline = kNever;        // step again at this time at the latest
  std::vector<Note> notes;

  void clear();
};

inline constexpr size_t kVotersMax = 16;

class Raft {
 public:
  enum class Role : uint8_t { kFollower, kPreCandidate, kCandidate, kLeader };

  // Starts as a follower from what was recovered. The first step persists the hard state, so
  // nothing recovered is shown to others before one sync has proven it durable.
  // REQUIRES: config_error(config) is empty.
  // `snapshot`, if there is one, covers at least all up to the log's base.
  // `repair`, when not 0, says that the log lacks entries which this node once held durably; term
  // and vote are intact. It is another number at each such start. Such a node neither votes nor
  // acknowledges nor campaigns, until a leader has brought it past an index that was committed when
  // it asked, confirmed by an intact quorum after that. (The idea is protocol-aware recovery:
  // Alagappan et al., FAST'18.)
  Raft(const RaftConfig& config, HardState hard_state, Log log, std::optional<SnapshotId> snapshot,
       Time now, uint64_t repair = 0);

  // Takes one batch of inputs in order, then looks at the time. `inputs` is consumed; `out` is
  // cleared first and reused. `now` never goes back between steps.
  void step(Time now, std::span<Input> inputs, Output& out);

  NodeId id() const { return config_.id; }
  Role role() const { return role_; }
  bool is_leader() const { return role_ == Role::kLeader; }
  Term term() const { return hard_state_.term; }
  const HardState& hard_state() const { return hard_state_; }
  // Whom this node believes to lead its term; kNoNode when it knows none.
  NodeId leader() const { return leader_; }
  const Log& log() const { return log_; }
  LogIndex commit_index() const { return commit_index_; }
  // Whom this leader is handing over to; kNoNode when it leads on, or does not lead.
  NodeId transfer_to() const { return transfer_to_; }
  // The newest durable snapshot of this node, own or installed.
  const std::optional<SnapshotId>& snapshot() const { return snapshot_; }
  // Whether this node may show its term to others.
  bool is_term_durable() const { return durable_hard_state_.term == hard_state_.term; }
  // Leads, and some follower that was heard of lately is getting the snapshot.
  bool is_sending_snapshot() const;
  bool is_repairing() const { return repair_ != 0; }
  // What it must hold to be whole; 0 while no leader has said so, and when it is whole.
  LogIndex repair_index() const { return is_repairing() ? repair_index_ : LogIndex(0); }
  // Leads, and a quorum answers, but none whose disks take entries: what is proposed now would wait
  // for room. A no-op needs none, and nor do reads.
  bool lacks_room() const;
  // Up to here so many followers hold the log durably that a quorum does once this node does, too.
  // REQUIRES: is_leader()
  LogIndex replicated_index() const;
  // How this leader sees its followers, ascending by id; empty when it does not lead.
  struct Follower {
    NodeId id;
    std::string_view state;  // probe, pipeline, snapshot (is being sent one) or repair (of damage)
    LogIndex match_index;    // durable there and equal to ours; 0: not known
    Time contact_at;         // when the newest message that it answered left, by this node's clock
  };
  std::vector<Follower> followers() const;
  // How far this node's own log is durable (lowered when a conflict truncates the log).
  LogIndex durable_index() const { return durable_index_; }

 private:
  // Where a leader stands with one follower (§3.5, §10.2.1).
  struct Progress {
    NodeId id;
    enum class State : uint8_t {
      kProbe,     // its log is not known to match: one append at a time
      kPipeline,  // it matches: entries leave without waiting for answers
      kSnapshot,  // it needs what is compacted: gets the snapshot, a piece at a time
    } state = State::kProbe;
    LogIndex match_index;             // durable there and equal to ours; only rises within a term
    LogIndex next_index;              // the next entry to send; always above match_index
    bool probe_outstanding = false;   // kProbe: an append is unanswered
    std::deque<LogIndex> inflight;    // kPipeline: last index of each unanswered append
    Time appended_at;                 // kPipeline: when the newest of them left
    Time pipeline_since;              // kPipeline: refusals of what left earlier are old news
    bool spare = false;               // the last commit did without it
    Time entries_due_at = kNever;     // spare, in kPipeline: when what waits for it is to be sent
    SnapshotId sending;               // kSnapshot: which
    uint64_t next_piece = 0;          // kSnapshot: of that one
    Time piece_sent_at = kNever;      // kSnapshot: kNever when no piece is unanswered
    uint64_t round_acknowledged = 0;  // newest read confirmation it answered
    Time contact_at;    // when the newest message it answered was *sent*, by this node's clock
    bool full = false;  // its disk takes no entries, as it said last
    // A damaged follower counts for nothing. 0: it is whole.
    uint64_t repair = 0;              // its number, as it says
    Time repair_since = Time::min();  // what answers something older is from before the damage
    uint64_t repair_round = 0;        // the read confirmation that it waits for...
    LogIndex repair_asked;            // ...and the index that is confirmed with it
    LogIndex repair_index;            // that index, once it is; 0 before
  };
  struct Persisting {
    uint64_t number;
    LogIndex last_index;  // durable up to here once synced; lowered by truncation
    HardState hard_state;
    Time since;
    bool whole;
  };
  struct PendingRead {
    uint64_t context;
    LogIndex index;
    uint64_t round;
  };

  // raft.cpp: common
  void on_received(Received& received);
  void on_synced(uint64_t persist_number);
  void on_snapshot_saved(const SnapshotSaved& saved);
  void on_storage_full(bool full);
  void on_time();
  void finish_step();
  void become_follower(Term term, NodeId leader);
  void set_hard_state(Term term, NodeId voted_for);
  void reset_election_deadline();
  Time next_deadline() const;
  bool persist_owed() const {
    return hard_state_owed_ || reset_owed_ || whole_owed_ || entries_owed_from_ != LogIndex(0);
  }
  void send(NodeId to, Message message);          // at once
  void send_durable(NodeId to, Message message);  // once term and vote are durable
  void note(NoteKind kind, NodeId peer = kNoNode, uint64_t a = 0, uint64_t b = 0) {
    out_->notes.push_back(Note{kind, peer, a, b});
  }
  size_t quorum() const { return config_.voters.size() / 2 + 1; }

  // raft_election.cpp
  void start_pre_vote();
  void start_election(bool transfer);
  void request_votes(bool pre_vote, bool transfer);
  void maybe_win();
  void on_vote_request(NodeId from, const VoteRequest& request);
  void on_vote_reply(NodeId from, const VoteReply& reply);
  bool is_up_to_date(const VoteRequest& request) const;
  bool hears_other_leader(NodeId candidate) const;
  void become_leader();
  void on_timeout_now(NodeId from, const TimeoutNow& timeout_now);

  // raft_follower.cpp
  void on_append_request(NodeId from, AppendRequest& request);
  void follow(NodeId leader, Term term);
  void skip_compacted(AppendRequest& request) const;
  void leave_new_entries(NodeId from, AppendRequest& request);
  bool append_entries(AppendRequest& request);
  void refuse_append(NodeId from, const AppendRequest& request);
  void refuse_stale_term(NodeId from, Term stale);
  void acknowledge(const AppendRequest& request, LogIndex verified);
  void send_success(LogIndex match, LogIndex prev, uint64_t round, Time sent_at);
  void on_snapshot_request(NodeId from, SnapshotRequest& request);
  void on_snapshot_installed(const SnapshotInstalled& installed);
  void maybe_acknowledge_synced();
  void hear_of_repair(NodeId from, const AppendRequest& request);
  void maybe_be_whole();
  void advance_commit(LogIndex index);

  // raft_leader.cpp
  void on_propose(Propose& propose);
  void on_transfer(const Transfer& transfer);
  void maybe_transfer();
  void on_read_request(const ReadRequest& request);
  void on_append_reply(NodeId from, const AppendReply& reply);
  void on_snapshot_reply(NodeId from, const SnapshotReply& reply);
  Progress* find_contact(NodeId from, Term term, uint64_t round, Time sent_at);
  void on_append_success(Progress& progress, const AppendReply& reply);
  void on_append_refusal(Progress& progress, const AppendReply& reply);
  void wait_for_room(Progress& progress);
  bool is_from_before_damage(Progress& progress, const AppendReply& reply);
  void begin_repair(Progress& progress, const AppendReply& reply);
  void confirm_repairs();
  void append_to_log(EntryType type, Bytes data);
  void replicate();
  void replicate_to(Progress& progress, bool heartbeat_due);
  bool hold_back(Progress& progress, bool heartbeat_due);
  void send_append(Progress& progress, LogIndex prev, bool with_entries);
  void send_snapshot_piece(Progress& progress);
  void maybe_commit();
  void choose_spares();
  void confirm_reads();
  void fail_reads();
  void check_quorum_contact();
  uint64_t round_confirmed() const;
  Time quorum_contact_at() const;
  LogTime log_time_now() const;
  Progress* find_progress(NodeId id);
  // The value that a quorum has reached: the quorum-th largest of `own`, one per whole follower,
  // and `least` for a damaged one.
  template <class Value, class Get>
  Value quorum_value(Value own, Value least, Get get) const;

  const RaftConfig config_;
  Time now_;
  Output* out_ = nullptr;  // valid during step only

  // Common to all roles.
  HardState hard_state_;
  Log log_;
  LogIndex commit_index_;  // highest entry known committed; only rises
  std::optional<SnapshotId> snapshot_;
  Role role_ = Role::kFollower;
  NodeId leader_;         // of the current term; kNoNode when not known
  Time leader_heard_at_;  // when its newest append arrived; meaningless without leader_
  Time election_deadline_;
  uint64_t election_attempt_ = 0;  // timeouts drawn in this term
  bool full_ = false;              // the storage takes no entries; see StorageFull

  // Durability: what was handed out to be made durable, and how far that has come.
  bool hard_state_owed_ = true;  // to be put into this step's persist
  bool reset_owed_ = false;      // likewise
  bool whole_owed_ = false;      // likewise
  LogIndex entries_owed_from_;   // likewise; 0 when none
  uint64_t persist_number_ = 0;
  std::deque<Persisting> persisting_;  // handed out, not yet synced, oldest first
  LogIndex durable_index_;
  HardState durable_hard_state_;

  // Damaged (0: whole), and the index that makes it whole; 0 as long as no leader has said one.
  uint64_t repair_;
  LogIndex repair_index_;

  // Follower.
  LogIndex verified_index_;        // log equals the leader's up to here, this term; 0 when unknown
  bool acknowledge_owed_ = false;  // an append waits for its sync to be acknowledged
  uint64_t owed_round_ = 0;        // echoes of the newest append that waits
  Time owed_sent_at_;
  uint64_t snapshot_round_ = 0;  // echoes of the newest piece of a snapshot
  Time snapshot_sent_at_;

  // Pre-candidate and candidate: who said yes, this node included.
  std::vector<NodeId> votes_;

  // Leader.
  std::vector<Progress> followers_;
  Time heartbeat_due_at_;
  LogIndex term_start_index_;  // of the no-op of this leadership
  uint64_t read_round_ = 0;
  bool read_round_new_ = false;  // reads joined in this step: broadcast
  std::deque<PendingRead> pending_reads_;
  NodeId transfer_to_;          // kNoNode: leads on
  Time transfer_until_;         // then it is given up
  bool transfer_sent_ = false;  // transfer_to_ was asked to campaign
  LogTime log_time_base_;       // log time when this leadership began...
  Time log_time_anchor_;        // ...at this time of the own clock
};

std::string_view to_string(Raft::Role role);

}  // namespace tally
