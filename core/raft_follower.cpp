// A follower's side of log replication (thesis §3.5).
#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/raft.h"

namespace tally {

void Raft::on_append_request(NodeId from, AppendRequest& request) {
  if (request.term < term()) {
    // Answered, so that a deposed leader learns of the term that deposed it.
    note(NoteKind::append_refused_stale_term, from, request.term.value(), term().value());
    // It echoes nothing: the sender may lead this node's term by now, and rounds and times of its
    // earlier leadership would pass for ones of this term and confirm reads that nobody confirmed.
    send_durable(from, AppendReply{.term = term(),
                                   .success = false,
                                   .match_index = LogIndex(0),
                                   .conflict_index = LogIndex(0),
                                   .conflict_term = Term(0),
                                   .prev_log_index = LogIndex(0),
                                   .round = 0,
                                   .sent_at = Time::min()});
    return;
  }
  CHECK(!(is_leader() && request.term == term()), "node {} also leads term {}", from.value(),
        term().value());
  if (request.term > term() || leader_ != from) {
    const bool campaigns = role_ == Role::kPreCandidate || role_ == Role::kCandidate;
    if (is_leader()) {
      note(NoteKind::stepped_down_higher_term, from, request.term.value(), term().value());
    }
    note(campaigns ? NoteKind::candidate_yields : NoteKind::leader_found, from,
         request.term.value());
  }
  if (request.term > term() || role_ != Role::kFollower) become_follower(request.term, from);
  leader_ = from;
  leader_heard_at_ = now_;
  reset_election_deadline();

  const LogIndex prev = request.prev_log_index;
  if (prev > log_.last_index() || log_.term_at(prev) != request.prev_log_term) {
    refuse_append(from, request);
    return;
  }
  const LogIndex verified = prev + request.entries.size();
  const LogIndex leader_commit = request.commit_index;
  if (append_entries(request)) {
    note(NoteKind::entries_appended, from, entries_owed_from_.value(), log_.last_index().value());
  } else if (!request.entries.empty()) {
    note(NoteKind::entries_already_held, from, verified.value());
  }
  verified_index_ = std::max(verified_index_, verified);
  // Figure 3.1: never past the last entry that this very message has verified.
  advance_commit(std::min(leader_commit, verified));
  acknowledge(request, verified);
}

// Appends what is missing; entries that are there already stay untouched, so that a late or
// repeated append never cuts what came after it. True when the log changed.
bool Raft::append_entries(AppendRequest& request) {
  bool changed = false;
  LogIndex expected = request.prev_log_index + 1;
  for (Entry& entry : request.entries) {
    CHECK(entry.index == expected, "append with a hole before index {}", entry.index.value());
    ++expected;
    if (entry.index <= log_.last_index()) {
      if (log_.term_at(entry.index) == entry.term) continue;
      CHECK(entry.index > commit_index_, "conflict at committed index {}", entry.index.value());
      note(NoteKind::log_truncated, kNoNode, entry.index.value(),
           log_.last_index() - entry.index + 1);
      log_.truncate_from(entry.index);
      const LogIndex kept = log_.last_index();
      durable_index_ = std::min(durable_index_, kept);
      verified_index_ = std::min(verified_index_, kept);
      for (Persisting& write : persisting_) write.last_index = std::min(write.last_index, kept);
      if (entries_owed_from_ > kept) entries_owed_from_ = LogIndex(0);
    }
    if (entries_owed_from_ == LogIndex(0)) entries_owed_from_ = entry.index;
    log_.append(std::move(entry));
    changed = true;
  }
  return changed;
}

// §3.5: tells the leader where the two logs may at best agree, so that it skips a whole term per
// round trip instead of an entry.
void Raft::refuse_append(NodeId from, const AppendRequest& request) {
  const LogIndex prev = request.prev_log_index;
  AppendReply reply;
  reply.term = term();
  reply.success = false;
  reply.prev_log_index = prev;
  reply.round = request.round;
  reply.sent_at = request.sent_at;
  if (prev > log_.last_index()) {
    note(NoteKind::append_refused_log_short, from, prev.value(), log_.last_index().value());
  } else {
    note(NoteKind::append_refused_term_differs, from, prev.value());
  }
  reply.conflict_index = log_.last_index_not_above(prev, request.prev_log_term);
  reply.conflict_term = log_.term_at(reply.conflict_index);
  send_durable(from, reply);
}

// Answers at once when all that the answer shows is durable; otherwise when the sync says so. An
// append without entries never waits for entries: slow disks must not look like dead nodes.
void Raft::acknowledge(const AppendRequest& request, LogIndex verified) {
  const bool term_durable = durable_hard_state_.term == term();
  if (durable_index_ < verified || !term_durable) {
    // The newest of the waiting ones, never what an earlier leader sent: its clock is another one.
    owed_round_ = acknowledge_owed_ ? std::max(owed_round_, request.round) : request.round;
    owed_sent_at_ = acknowledge_owed_ ? std::max(owed_sent_at_, request.sent_at) : request.sent_at;
    acknowledge_owed_ = true;
    if (!term_durable || !request.entries.empty()) return;
  }
  send(leader_, AppendReply{.term = term(),
                            .success = true,
                            .match_index = std::min(durable_index_, verified),
                            .conflict_index = LogIndex(0),
                            .conflict_term = Term(0),
                            .prev_log_index = request.prev_log_index,
                            .round = request.round,
                            .sent_at = request.sent_at});
}

void Raft::maybe_acknowledge_synced() {
  if (!acknowledge_owed_ || role_ != Role::kFollower || leader_ == kNoNode) return;
  if (durable_hard_state_.term != term()) return;
  const LogIndex match = std::min(durable_index_, verified_index_);
  if (match == verified_index_) acknowledge_owed_ = false;
  send(leader_, AppendReply{.term = term(),
                            .success = true,
                            .match_index = match,
                            .conflict_index = LogIndex(0),
                            .conflict_term = Term(0),
                            .prev_log_index = match,
                            .round = owed_round_,
                            .sent_at = owed_sent_at_});
}

// Monotone: a lower index changes nothing.
void Raft::advance_commit(LogIndex index) {
  if (index <= commit_index_) return;
  CHECK(index <= log_.last_index());
  commit_index_ = index;
  note(NoteKind::committed, kNoNode, index.value());
}

}  // namespace tally
