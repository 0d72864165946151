// The oracles that watch every step of every node (DESIGN: safety of Raft, durability).
//
// They see what no node sees: all logs, all media, all messages. After each step they look only at
// what that step changed; logs are compared by hash chains, never rescanned. The first violation is
// kept and ends the run. What clients may believe is judged at the end, by sim/checker.h.
//
// Clauses, by oracle:
//   election safety        at most one leader per term; one vote per node and term, also across
//                          restarts
//   log matching           entries with the same index and term have the same past
//   leader completeness    a new leader holds every entry committed in an earlier term
//   leader append-only     a leader never replaces an entry of its log
//   state machine safety   one sequence of committed entries; one state after each of them, whether
//                          its entries or a snapshot made it
//   monotone               term, vote within a term, commit index and applied index never go back
//   durability             what is committed is on the media of a quorum; a message that shows a
//                          term, vote or entry comes from media that hold it; a restart finds it;
//                          a node under repair neither votes nor acknowledges, and ends its repair
//                          only with all that was committed when it began; a node stays out only
//                          if what tells its term and vote can have been damaged
//
// Damage of the media is the plan's doing, and what it has taken is taken. Then a restart must
// either find everything, or say that something is gone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/entry.h"
#include "core/message.h"
#include "core/storage.h"
#include "core/types.h"

namespace tally::sim {

class Machine;

struct Violation {
  std::string oracle;
  std::string clause;   // which of its promises, in fixed words: the failure's fingerprint
  std::string message;  // what happened, with names and numbers
  uint64_t event = 0;
  std::vector<size_t> operations = {};  // indexes into the history of those that it is about
};

class Oracles {
 public:
  explicit Oracles(uint32_t node_count);

  // The first violation, or nothing.
  const std::optional<Violation>& violation() const { return violation_; }
  // Others report here, too (the checker, liveness).
  void violate(std::string_view oracle, std::string_view clause, std::string message,
               std::vector<size_t> operations = {});
  void set_event(uint64_t event) { event_ = event; }

  void on_start(const Machine& machine);
  void on_start_refused(const Machine& machine, Recovered::Outcome outcome);
  void on_down(const Machine& machine);
  void on_send(const Machine& machine, const Envelope& envelope);
  // These bytes are now on the machine's media, after all before them.
  void on_media(uint32_t machine, std::string_view bytes);
  // The machine's node has just taken a step.
  void after_step(const Machine& machine);

  LogIndex committed_index() const { return LogIndex(ledger_.size()); }

 private:
  struct Placed {  // an entry as some log held it
    Term term;
    uint64_t chain;  // hash of it and of all before it
  };
  struct Committed {
    Term term;
    uint64_t chain;
    Term committed_in;  // term of the node that committed it first
  };
  // What the machine's media hold, as its completed syncs put it there.
  struct Media {
    HardState hard_state;
    std::vector<Term> terms;  // of entries, from index 1
  };
  struct Watched {
    bool running = false;
    HardState hard_state;
    LogIndex commit_index;
    LogIndex applied_index;
    Term leads_term;               // the term it was last seen leading in; 0: does not lead
    std::vector<uint64_t> chains;  // of its log, from index 1
    std::vector<Term> terms;       // likewise
    Media media;
    std::map<Term, NodeId> votes;  // granted, as shown to others; survives restarts
    bool repairing = false;
    uint64_t repair_needs = 0;  // entries that were committed when the repair began
    // What the media held before the damage. Leaders that cannot know better may count on it, as
    // long as the node has no part in anything.
    std::vector<Term> lost;
  };

  // Judges one that recovery found damaged.
  void undamaged(const Machine& machine, const std::string& message);
  void check_lost(const Machine& machine);
  void check_kept(const Machine& machine, const Media& before);
  void check_repair(const Machine& machine, Watched& watched);
  void check_terms(const Machine& machine, Watched& watched);
  void begin_log(const Machine& machine, Watched& watched);
  void check_log(const Machine& machine, Watched& watched, LogIndex first);
  void check_leader(const Machine& machine, Watched& watched);
  void check_commit(const Machine& machine, Watched& watched);
  void check_applied(const Machine& machine, Watched& watched);
  void check_silence(const Machine& machine, const Message& message);
  void check_vote_shown(const Machine& machine, Watched& watched, Term term, NodeId candidate);
  void check_acknowledged(const Machine& machine, const Watched& watched, const AppendReply& reply);
  uint32_t media_holders(LogIndex index, Term term) const;
  std::vector<Term> committed_terms(LogIndex last) const;
  static std::string name_of(const Machine& machine);

  std::optional<Violation> violation_;
  uint64_t event_ = 0;
  std::vector<Watched> nodes_;
  std::map<Term, NodeId> leaders_;
  std::vector<std::vector<Placed>> placed_;  // by index, from 1: every (index, term) ever in a log
  std::vector<Committed> ledger_;            // the one sequence of committed entries, from index 1
  std::vector<uint64_t> states_;  // hash of state and history after each index; 0: not seen
};

}  // namespace tally::sim
