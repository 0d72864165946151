// What must hold after every step of a Raft group, whatever the network, the disks and the clocks
// did: thesis figure 3.2, and the durability rules of §3.8 and §10.2.1.
//
// Knows all nodes and their media at once. The first broken one is kept; later ones are mostly its
// consequences.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/raft.h"

namespace tally {

std::string name(NodeId node);

// What a node's disk holds for sure.
struct Media {
  HardState hard_state;
  std::vector<Entry> entries;  // entries[i] has index i + 1
};

class RaftInvariants {
 public:
  explicit RaftInvariants(size_t node_count) : node_count_(node_count) {}

  // A node starts (again): what it knew of commitment and leadership is gone, its disk is not.
  void on_start(const Raft& raft, const Media& media);
  void on_receive(NodeId node, const Received& received);
  void on_read_request(uint64_t context);
  // `media` holds all nodes' disks, by id.
  void on_step(const Raft& raft, const Output& output, Time now,
               const std::vector<const Media*>& media);
  // `envelope` leaves its node now.
  void on_send(const Envelope& envelope, const Media& media);
  void fail(std::string what);

  const std::string& violation() const { return violation_; }
  // Every entry that was ever committed.
  const std::vector<Entry>& committed() const { return committed_; }
  size_t election_count() const { return leaders_.size(); }

 private:
  struct Seen {
    HardState hard_state;
    LogIndex commit_index;
    bool leader = false;
    std::vector<Entry> log;
  };
  struct Known {
    Entry entry;
    Term previous_term;
  };
  struct Echo {
    uint64_t round_max = 0;
    Time sent_at_max = Time::min();
  };

  bool leads(NodeId node, Term term) const;  // was elected in it
  void check_progress(const Raft& raft, Seen& seen);
  void check_elections(const Raft& raft, const Output& output);
  void check_log_matching(const Raft& raft);
  void check_commitment(const Raft& raft, const Seen& seen, const std::vector<const Media*>& media);
  void check_reads(const Output& output);
  void check_vote_given(NodeId voter, Term term, NodeId candidate);
  void check_append_reply(NodeId from, NodeId to, const AppendReply& reply, const Media& media);

  const size_t node_count_;
  std::string violation_;
  std::map<NodeId, Seen> seen_;  // after the last step of the running incarnation
  std::map<Term, NodeId> leaders_;
  std::map<Term, std::vector<Entry>> leader_logs_;   // as long as it led
  std::map<std::pair<NodeId, Term>, NodeId> votes_;  // as others were told
  std::map<std::pair<LogIndex, Term>, Known> entries_;
  std::vector<Entry> committed_;
  std::map<uint64_t, LogIndex> reads_;  // what was committed anywhere when the read came
  std::map<std::pair<NodeId, Term>, Echo> echoes_;  // newest append received, by receiver and term
};

}  // namespace tally
