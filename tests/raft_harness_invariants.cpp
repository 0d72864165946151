#include "tests/raft_harness_invariants.h"

#include <fmt/format.h>

#include <algorithm>
#include <variant>

namespace tally {
namespace {

std::vector<Entry> copy_of(const Log& log) {
  std::vector<Entry> entries;
  for (LogIndex i = log.base_index() + 1; i <= log.last_index(); ++i) entries.push_back(log.at(i));
  return entries;
}

bool starts_with(const std::vector<Entry>& whole, const std::vector<Entry>& part, size_t count) {
  return whole.size() >= count && part.size() >= count &&
         std::equal(part.begin(), part.begin() + static_cast<ptrdiff_t>(count), whole.begin());
}

}  // namespace

std::string name(NodeId node) { return fmt::format("n{}", node.value()); }

void RaftInvariants::fail(std::string what) {
  if (violation_.empty()) violation_ = std::move(what);
}

bool RaftInvariants::leads(NodeId node, Term term) const {
  const auto leader = leaders_.find(term);
  return leader != leaders_.end() && leader->second == node;
}

void RaftInvariants::on_start(const Raft& raft, const Media& media) {
  seen_[raft.id()] = Seen{media.hard_state, LogIndex(0), false, copy_of(raft.log())};
}

void RaftInvariants::on_receive(NodeId node, const Received& received) {
  const auto* append = std::get_if<AppendRequest>(&received.message);
  if (append == nullptr) return;
  Echo& echo = echoes_[{node, append->term}];
  echo.round_max = std::max(echo.round_max, append->round);
  echo.sent_at_max = std::max(echo.sent_at_max, append->sent_at);
}

void RaftInvariants::on_read_request(uint64_t context) {
  reads_[context] = LogIndex(committed_.size());
}

void RaftInvariants::on_step(const Raft& raft, const Output& output, Time now,
                             const std::vector<const Media*>& media) {
  Seen& seen = seen_[raft.id()];
  check_progress(raft, seen);
  check_elections(raft, output);
  check_log_matching(raft);
  check_commitment(raft, seen, media);
  check_reads(output);
  if (output.deadline <= now) fail(name(raft.id()) + " asks to be woken in the past");

  // What it believes durable is on its disk, entry by entry.
  const Media& own = *media[raft.id().value() - 1];
  const std::vector<Entry> log = copy_of(raft.log());
  if (!starts_with(own.entries, log, raft.durable_index().value())) {
    fail(fmt::format("{} believes {} durable, its disk does not hold that", name(raft.id()),
                     raft.durable_index().value()));
  }
  seen = Seen{raft.hard_state(), raft.commit_index(), raft.is_leader(), log};
  if (raft.is_leader()) leader_logs_[raft.term()] = log;
}

// Term, vote and commit index of one incarnation only move forward; a leader only appends.
void RaftInvariants::check_progress(const Raft& raft, Seen& seen) {
  const HardState& before = seen.hard_state;
  const HardState& after = raft.hard_state();
  const std::string who = name(raft.id());
  if (after.term < before.term) fail(who + ": the term went back");
  if (after.term == before.term && before.voted_for != kNoNode &&
      after.voted_for != before.voted_for) {
    fail(fmt::format("{}: the vote of term {} changed", who, after.term.value()));
  }
  if (raft.commit_index() < seen.commit_index) fail(who + ": the commit index went back");
  const bool led_on = seen.leader && raft.is_leader() && before.term == after.term;
  if (led_on && !starts_with(copy_of(raft.log()), seen.log, seen.log.size())) {
    fail(who + ": a leader changed its own log");
  }
}

// Election safety and leader completeness (figure 3.2).
void RaftInvariants::check_elections(const Raft& raft, const Output& output) {
  for (const Note& note : output.notes) {
    if (note.kind != NoteKind::became_leader) continue;
    const auto [known, is_new] = leaders_.emplace(Term(note.a), raft.id());
    if (!is_new && known->second != raft.id()) {
      fail(
          fmt::format("{} and {} both lead term {}", name(known->second), name(raft.id()), note.a));
    }
    if (!is_new) fail(fmt::format("{} leads term {} for the second time", name(raft.id()), note.a));
    if (!starts_with(copy_of(raft.log()), committed_, committed_.size())) {
      fail(fmt::format("{} leads term {} without a committed entry", name(raft.id()), note.a));
    }
  }
  if (raft.is_leader() && !leads(raft.id(), raft.term())) {
    fail(name(raft.id()) + " leads without having been elected");
  }
}

// Log matching: index and term name one entry, and one entry before it, for ever and everywhere.
void RaftInvariants::check_log_matching(const Raft& raft) {
  const Log& log = raft.log();
  for (LogIndex i = log.base_index() + 1; i <= log.last_index(); ++i) {
    const Entry& entry = log.at(i);
    const Known here{entry, log.term_at(i - 1)};
    const Known& known = entries_.emplace(std::pair{i, entry.term}, here).first->second;
    if (!(known.entry == entry) || known.previous_term != here.previous_term) {
      fail(fmt::format("{}: entry {} of term {} differs from another node's", name(raft.id()),
                       i.value(), entry.term.value()));
    }
    if (entry.term < here.previous_term || entry.term > raft.term()) {
      fail(fmt::format("{}: entry {} has an impossible term", name(raft.id()), i.value()));
    }
    if (i > LogIndex(1) && entry.log_time < log.at(i - 1).log_time) {
      fail(fmt::format("{}: log time goes back at {}", name(raft.id()), i.value()));
    }
  }
}

// State machine safety; what is committed is durable on a quorum; only a leader commits, and only
// up to an entry of its own term (§3.6.2).
void RaftInvariants::check_commitment(const Raft& raft, const Seen& seen,
                                      const std::vector<const Media*>& media) {
  const size_t commit = raft.commit_index().value();
  const std::vector<Entry> log = copy_of(raft.log());
  const std::string who = name(raft.id());
  if (commit > log.size()) return fail(who + ": committed beyond its log");
  const size_t known = std::min(commit, committed_.size());
  if (!starts_with(log, committed_, known)) {
    return fail(fmt::format("{}: committed up to {}, but not what others did", who, commit));
  }
  if (commit <= committed_.size()) return;
  // One step may commit as the leader and then be deposed.
  if (!raft.is_leader() && !seen.leader) fail(who + ": a follower commits what no leader has");
  if (log[commit - 1].term != (raft.is_leader() ? raft.term() : seen.hard_state.term)) {
    fail(fmt::format("{}: commits {} of an older term by counting", who, commit));
  }
  for (size_t i = committed_.size(); i < commit; ++i) {
    const auto holds = [&](const Media* disk) {
      return disk->entries.size() > i && disk->entries[i] == log[i];
    };
    const auto holders = std::count_if(media.begin(), media.end(), holds);
    if (static_cast<size_t>(holders) * 2 <= node_count_) {
      fail(fmt::format("{}: committed {}, which only {} disks hold", who, i + 1, holders));
    }
    committed_.push_back(log[i]);
  }
}

// A read sees everything that was committed anywhere when it came (§6.4).
void RaftInvariants::check_reads(const Output& output) {
  for (const Output::ReadReady& ready : output.reads_ready) {
    const auto read = reads_.find(ready.context);
    if (read == reads_.end()) {
      fail(fmt::format("read {} answered twice or never asked", ready.context));
    } else if (ready.index < read->second) {
      fail(fmt::format("read {} would miss committed entry {}", ready.context,
                       read->second.value()));
    }
    if (read != reads_.end()) reads_.erase(read);
  }
  for (uint64_t context : output.reads_refused) {
    if (reads_.erase(context) == 0) fail(fmt::format("read {} refused twice", context));
  }
}

void RaftInvariants::check_vote_given(NodeId voter, Term term, NodeId candidate) {
  const auto [vote, is_new] = votes_.emplace(std::pair{voter, term}, candidate);
  if (!is_new && vote->second != candidate) {
    fail(fmt::format("{} voted for {} and {} in term {}", name(voter), name(vote->second),
                     name(candidate), term.value()));
  }
}

// Nothing leaves that a crash could make untrue (§3.8).
void RaftInvariants::on_send(const Envelope& envelope, const Media& media) {
  const NodeId from = node_of(envelope.from);
  const NodeId to = node_of(envelope.to);
  const HardState& disk = media.hard_state;
  const auto show_term = [&](Term term) {
    if (term > disk.term) {
      fail(fmt::format("{} shows term {}, on its disk is {}", name(from), term.value(),
                       disk.term.value()));
    }
  };
  const auto show_vote = [&](Term term, NodeId candidate) {
    show_term(term);
    check_vote_given(from, term, candidate);
    if (disk.term == term && disk.voted_for != candidate) {
      fail(fmt::format("{} shows a vote in term {} that is not on its disk", name(from),
                       term.value()));
    }
  };
  if (const auto* request = std::get_if<VoteRequest>(&envelope.message)) {
    if (request->pre_vote) show_term(request->term - 1);
    if (!request->pre_vote) show_vote(request->term, from);
  } else if (const auto* vote = std::get_if<VoteReply>(&envelope.message)) {
    if (!vote->granted) show_term(vote->term);
    if (vote->granted && !vote->pre_vote) show_vote(vote->term, to);
  } else if (const auto* append = std::get_if<AppendRequest>(&envelope.message)) {
    show_term(append->term);
    if (!leads(from, append->term)) {
      fail(fmt::format("{} appends in term {}, which it does not lead", name(from),
                       append->term.value()));
    }
    if (append->commit_index.value() > committed_.size()) {
      fail(name(from) + " announces a commit that never was");
    }
  } else if (const auto* reply = std::get_if<AppendReply>(&envelope.message)) {
    show_term(reply->term);
    check_append_reply(from, to, *reply, media);
  }
}

void RaftInvariants::check_append_reply(NodeId from, NodeId to, const AppendReply& reply,
                                        const Media& media) {
  if (!leads(to, reply.term)) {
    if (reply.success) fail(name(from) + " acknowledges to a node that does not lead");
    return;
  }
  // The echoes come from an append of this very leader and term: no other clock, no other round,
  // or are none at all.
  const auto found = echoes_.find({from, reply.term});
  const Echo echo = found == echoes_.end() ? Echo{} : found->second;
  if (reply.round > echo.round_max || reply.sent_at > echo.sent_at_max) {
    fail(
        fmt::format("{} answers {} with a round or time that it never sent", name(from), name(to)));
  }
  if (!reply.success) return;
  const size_t match = reply.match_index.value();
  if (!starts_with(media.entries, leader_logs_[reply.term], match)) {
    fail(fmt::format("{} acknowledges {} to {}, its disk does not hold that", name(from), match,
                     name(to)));
  }
}

}  // namespace tally
