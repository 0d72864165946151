// A handful of Raft nodes moved by hand: the fixture of the transcript, paper and property tests.
//
// Everything that the world could decide is decided by the caller: which message arrives and when,
// which disk write completes, whose clock moves, who crashes and what its disk keeps. Nothing moves
// by itself except a write on a node with `sync_at_once`. Each node has a clock of its own, far
// from the others', so that comparing two nodes' times shows. After every step the invariants of
// tests/raft_harness_invariants.h are checked, and every message passes through the wire codec.
//
// It refuses to be a simulator: no probabilities, no scheduling, no state machine, no clients.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/raft.h"
#include "tests/raft_harness_invariants.h"

namespace tally {

// Plain numbers make short tests: node 1 is NodeId(1), written n1.
using NodeNumber = uint64_t;

// A message on its way.
struct Flight {
  uint64_t number;  // in the order of sending, from 1
  Envelope envelope;
};

class RaftCluster {
 public:
  struct Options {
    uint64_t node_count = 3;
    uint64_t seed = 1;
    bool sync_at_once = true;  // each write completes right after the step that asked for it
    uint64_t append_entry_count_max = 256;
    uint64_t append_bytes_max = 256 << 10;
    uint64_t inflight_append_count_max = 16;
    Duration spare_delay = Duration(0);
  };
  enum class Keep : uint8_t { kDurable, kAll };  // what a crash leaves of unfinished writes

  explicit RaftCluster(const Options& options);
  RaftCluster() : RaftCluster(Options{}) {}

  // ---- nodes and disks

  // Starts `node` from a disk with this term and vote and one entry per term given, as if it had
  // lived before.
  void boot(NodeNumber node, HardState hard_state, const std::vector<uint64_t>& terms);
  // Stops it; of its unfinished writes the first `writes_kept` are on disk.
  void crash(NodeNumber node, size_t writes_kept = 0);
  void start(NodeNumber node);
  void restart(NodeNumber node, Keep keep = Keep::kDurable);
  bool is_up(NodeNumber node) const { return find(node).raft != nullptr; }

  void hold_syncs(NodeNumber node) { find(node).sync_at_once = false; }
  void sync_at_once(NodeNumber node);
  // Completes the oldest `count` writes of `node`, reported in one Synced.
  void sync(NodeNumber node, size_t count = SIZE_MAX);
  size_t unfinished_writes(NodeNumber node) const { return find(node).writes.size(); }

  // ---- time; each node's own

  // Moves the clock on, waking the node at each deadline that it asked for.
  void advance(NodeNumber node, Duration duration);
  void advance_all(Duration duration);
  // Moves the clock to the next deadline and wakes the node there: an election timeout, unless it
  // leads.
  void timeout(NodeNumber node);
  // The node has heard nobody for the minimal election timeout, but does not campaign yet.
  void lapse(NodeNumber node);
  // Time passes while messages arrive at once and in order.
  void run(Duration duration);

  // ---- messages

  // Delivers what is in flight, and what that causes, until nothing moves.
  void deliver_all();
  // Delivers what is in flight from one node to another now, not what that causes. 0: any node.
  void deliver(NodeNumber from, NodeNumber to);
  void drop(NodeNumber from, NodeNumber to);
  // Messages of a cut link are lost at sending. 0: any node.
  void cut(NodeNumber from, NodeNumber to) { set_cut(from, to, true); }
  void isolate(NodeNumber node);
  void heal() { cuts_.clear(); }
  // Messages in flight from one node to another, oldest first.
  std::vector<Envelope> in_flight(NodeNumber from, NodeNumber to) const;
  std::deque<Flight>& flights() { return flights_; }
  // Brings in a message that is not, or no longer, in flight: a late or repeated one.
  void inject(const Envelope& envelope) { arrive(envelope); }
  // Everything ever sent, newest last, up to a bound.
  const std::deque<Envelope>& history() const { return history_; }

  // ---- clients

  // False when refused at once.
  bool propose(NodeNumber node, const std::string& data);
  // Returns the read's context; see reads_ready and reads_refused.
  uint64_t read(NodeNumber node);
  std::optional<LogIndex> read_ready(uint64_t context) const;
  bool read_refused(uint64_t context) const;

  // One step of one node with inputs of the caller's choice.
  void step(NodeNumber node, std::vector<Input> inputs);

  // ---- shortcuts

  // Nobody stands in its way and everything is delivered: elects `node`.
  // REQUIRES: it can reach a quorum, and its log is good enough.
  void elect(NodeNumber node);

  // ---- looking

  const Raft& raft(NodeNumber node) const { return *find(node).raft; }
  const Media& media(NodeNumber node) const { return find(node).media; }
  Time clock(NodeNumber node) const { return find(node).clock; }
  uint64_t node_count() const { return nodes_.size(); }
  const RaftConfig& config() const { return base_config_; }
  // The node that leads the highest term led; 0 when none does.
  NodeNumber leader() const;
  Raft::Role role(NodeNumber node) const { return raft(node).role(); }
  uint64_t term(NodeNumber node) const { return raft(node).term().value(); }
  uint64_t commit(NodeNumber node) const { return raft(node).commit_index().value(); }
  // Terms of the entries in the log, in order.
  std::vector<uint64_t> log_terms(NodeNumber node) const;
  std::string data_at(NodeNumber node, uint64_t index) const;
  // How often `node` noted this since the last forget_notes.
  size_t noted(NodeNumber node, NoteKind kind) const;
  void forget_notes();
  // What happened since the last call, a line each.
  std::vector<std::string> take_narration();
  // First broken invariant; empty when all hold.
  std::string violation() const { return invariants_.violation(); }
  const RaftInvariants& invariants() const { return invariants_; }

 private:
  struct Write {
    uint64_t number;
    bool hard_state_changed;
    HardState hard_state;
    LogIndex first_index;  // 0: no entries
    std::vector<Entry> entries;
  };
  struct Held {
    uint64_t persist_number;
    Envelope envelope;
  };
  struct Node {
    NodeId id;
    std::unique_ptr<Raft> raft;  // null: down
    Time clock;
    Time deadline = kNever;
    Media media;
    std::deque<Write> writes;  // handed out, unfinished, oldest first
    std::deque<Held> held;     // wait for their write
    bool sync_at_once = true;
    std::vector<Note> notes;
  };

  Node& find(NodeNumber node);
  const Node& find(NodeNumber node) const;
  void arrive(Envelope envelope);
  void step_once(Node& node, std::vector<Input> inputs);
  void take_output(Node& node);
  void take_persist(Node& node);
  uint64_t finish_writes(Node& node, size_t count);
  void apply_to_media(Node& node, const Write& write);
  void transmit(Node& node, const Envelope& envelope);
  void set_cut(NodeNumber from, NodeNumber to, bool cut);
  bool is_cut(NodeId from, NodeId to) const;
  std::vector<const Media*> all_media() const;
  void narrate_sends(const Node& node, const std::vector<Envelope>& envelopes,
                     const std::string& verb);
  void narrate(std::string line) { narration_.push_back(std::move(line)); }

  RaftConfig base_config_;
  std::vector<Node> nodes_;  // nodes_[i] is node i + 1
  std::deque<Flight> flights_;
  uint64_t flight_count_ = 0;
  std::deque<Envelope> history_;
  struct Link {
    NodeNumber from, to;
  };
  std::vector<Link> cuts_;
  Output output_;
  uint64_t context_count_ = 0;
  std::vector<Output::ReadReady> reads_ready_;
  std::vector<uint64_t> reads_refused_;
  RaftInvariants invariants_;
  std::vector<std::string> narration_;
};

// ---- words (raft_harness_words.cpp)

std::string describe(const Message& message);
std::string describe(const Note& note);
std::string describe(const HardState& hard_state);
// "3: term 2, \"x\"", a line per entry.
std::vector<std::string> describe_log(const Raft& raft);
// "n1 leader of term 2, log 1..3 of terms 1 2, commit 3, durable 3"
std::string describe_state(const Raft& raft);

}  // namespace tally
