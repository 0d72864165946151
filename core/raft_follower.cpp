// A follower's side of log replication (thesis §3.5).
#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/raft.h"

namespace tally {

void Raft::on_append_request(NodeId from, AppendRequest& request) {
  if (request.term < term()) {
    refuse_stale_term(from, request.term);
    return;
  }
  follow(from, request.term);
  hear_of_repair(from, request);
  skip_compacted(request);
  const LogIndex prev = request.prev_log_index;
  const bool compacted = prev < log_.base_index();  // all of it, and committed therefore
  if (!compacted && (prev > log_.last_index() || log_.term_at(prev) != request.prev_log_term)) {
    refuse_append(from, request);
    return;
  }
  if (full_) leave_new_entries(from, request);
  const LogIndex verified = prev + request.entries.size();
  const LogIndex leader_commit = request.commit_index;
  if (append_entries(request)) {
    note(NoteKind::entries_appended, from, entries_owed_from_.value(), log_.last_index().value());
  } else if (!request.entries.empty()) {
    note(NoteKind::entries_already_held, from, verified.value());
  }
  verified_index_ = std::max(verified_index_, verified);
  maybe_be_whole();
  // Figure 3.1: never past the last entry that this very message has verified.
  advance_commit(std::min(leader_commit, verified));
  acknowledge(request, verified);
}

// Answered, so that a deposed leader learns of the term that deposed it. It echoes nothing: the
// sender may lead this node's term by now, and rounds and times of its earlier leadership would
// pass for ones of this term and confirm reads that nobody confirmed.
void Raft::refuse_stale_term(NodeId from, Term stale) {
  note(NoteKind::append_refused_stale_term, from, stale.value(), term().value());
  send_durable(from, AppendReply{.term = term(),
                                 .success = false,
                                 .match_index = LogIndex(0),
                                 .conflict_index = LogIndex(0),
                                 .conflict_term = Term(0),
                                 .prev_log_index = LogIndex(0),
                                 .round = 0,
                                 .sent_at = Time::min(),
                                 .full = false,
                                 .repair = repair_});
}

// A leader of this term or a higher one has spoken.
void Raft::follow(NodeId leader, Term term) {
  CHECK(!(is_leader() && term == hard_state_.term), "node {} also leads term {}", leader.value(),
        term.value());
  if (term > hard_state_.term || leader_ != leader) {
    const bool campaigns = role_ == Role::kPreCandidate || role_ == Role::kCandidate;
    if (is_leader()) {
      note(NoteKind::stepped_down_higher_term, leader, term.value(), hard_state_.term.value());
    }
    note(campaigns ? NoteKind::candidate_yields : NoteKind::leader_found, leader, term.value());
  }
  if (term > hard_state_.term || role_ != Role::kFollower) become_follower(term, leader);
  leader_ = leader;
  leader_heard_at_ = now_;
  reset_election_deadline();
}

// What lies at or before the base is committed here, and so the same in every leader's log
// (§3.6.3): those entries are taken for held.
void Raft::skip_compacted(AppendRequest& request) const {
  const LogIndex base = log_.base_index();
  if (request.prev_log_index >= base) return;
  const uint64_t skipped =
      std::min<uint64_t>(base - request.prev_log_index, request.entries.size());
  request.entries.erase(request.entries.begin(),
                        request.entries.begin() + static_cast<std::ptrdiff_t>(skipped));
  request.prev_log_index = request.prev_log_index + skipped;
  if (request.prev_log_index == base) request.prev_log_term = log_.term_at(base);
}

// With a full disk: what is held already is fine, the rest is not taken, but for a no-op: that
// has a place in the log's reserve, and without it a new leader would commit nothing and serve no
// reads.
void Raft::leave_new_entries(NodeId from, AppendRequest& request) {
  const auto is_new = [&](const Entry& entry) {
    return entry.index > log_.last_index() || log_.term_at(entry.index) != entry.term;
  };
  const auto takes_room = [&](const Entry& entry) {
    return is_new(entry) && entry.type != EntryType::kNoop;
  };
  const auto first = std::find_if(request.entries.begin(), request.entries.end(), takes_room);
  if (first == request.entries.end()) return;
  note(NoteKind::entries_not_taken, from, first->index.value() - 1);
  request.entries.erase(first, request.entries.end());
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
  reply.full = full_;
  reply.repair = repair_;
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
  send_success(std::min(durable_index_, verified), request.prev_log_index, request.round,
               request.sent_at);
}

void Raft::send_success(LogIndex match, LogIndex prev, uint64_t round, Time sent_at) {
  send(leader_, AppendReply{.term = term(),
                            .success = true,
                            .match_index = match,
                            .conflict_index = LogIndex(0),
                            .conflict_term = Term(0),
                            .prev_log_index = prev,
                            .round = round,
                            .sent_at = sent_at,
                            .full = full_,
                            .repair = repair_});
}

// Only what answers this very start's question: an earlier one's says nothing about what is lost
// now.
void Raft::hear_of_repair(NodeId from, const AppendRequest& request) {
  if (!is_repairing() || request.repair != repair_ || request.repair_index == LogIndex(0)) return;
  if (repair_index_ != request.repair_index) {
    note(NoteKind::repair_index_known, from, request.repair_index.value());
  }
  repair_index_ = request.repair_index;
}

// It equals a leader's log up to what makes it whole, and that is on the disk.
void Raft::maybe_be_whole() {
  if (!is_repairing() || repair_index_ == LogIndex(0) || whole_owed_) return;
  if (verified_index_ < repair_index_ || durable_index_ < repair_index_) return;
  const bool under_way = std::any_of(persisting_.begin(), persisting_.end(),
                                     [](const Persisting& write) { return write.whole; });
  whole_owed_ = !under_way;
}

void Raft::maybe_acknowledge_synced() {
  if (!acknowledge_owed_ || role_ != Role::kFollower || leader_ == kNoNode) return;
  if (durable_hard_state_.term != term()) return;
  const LogIndex match = std::min(durable_index_, verified_index_);
  if (match == verified_index_) acknowledge_owed_ = false;
  send_success(match, match, owed_round_, owed_sent_at_);
}

// ---- snapshots (§5.2)

void Raft::on_snapshot_request(NodeId from, SnapshotRequest& request) {
  if (request.term < term()) {
    refuse_stale_term(from, request.term);
    return;
  }
  follow(from, request.term);
  snapshot_round_ = std::max(snapshot_round_, request.round);
  snapshot_sent_at_ = std::max(snapshot_sent_at_, request.sent_at);
  const LogIndex end = request.id.last.index;
  if (end <= commit_index_) {
    note(NoteKind::snapshot_piece_not_wanted, from, end.value(), commit_index_.value());
    // What is committed here is the same there: as good as an append that verified it.
    verified_index_ = std::max(verified_index_, end);
    AppendRequest held;
    held.prev_log_index = end;
    held.round = request.round;
    held.sent_at = request.sent_at;
    acknowledge(held, end);
    return;
  }
  note(NoteKind::snapshot_piece_received, from, request.piece + 1, request.id.piece_count);
  out_->snapshot_pieces.push_back(std::move(request));
}

// §5.2: a log that holds the snapshot's last entry goes on behind it; any other is dropped.
void Raft::on_snapshot_installed(const SnapshotInstalled& installed) {
  const EntryMark& last = installed.id.last;
  if (!snapshot_ || snapshot_->last.index < last.index) snapshot_ = installed.id;
  if (last.index <= commit_index_) {
    note(NoteKind::snapshot_abandoned, kNoNode, last.index.value(), commit_index_.value());
    return;
  }
  note(NoteKind::snapshot_installed, kNoNode, last.index.value(), log_.base_index().value() + 1);
  if (log_.holds(last) && durable_index_ >= last.index) {
    log_.compact(last.index);
  } else {
    CHECK(!is_leader(), "a leader without entry {}, which is committed", last.index.value());
    log_.reset(last);
    durable_index_ = last.index;
    for (Persisting& write : persisting_) write.last_index = last.index;
    entries_owed_from_ = LogIndex(0);
    reset_owed_ = true;
  }
  commit_index_ = last.index;
  verified_index_ = std::max(verified_index_, last.index);
  maybe_be_whole();
  out_->restored = true;
  if (role_ != Role::kFollower || leader_ == kNoNode) return;
  AppendRequest held;
  held.prev_log_index = last.index;
  held.round = snapshot_round_;
  held.sent_at = snapshot_sent_at_;
  acknowledge(held, last.index);
}

// Monotone: a lower index changes nothing.
void Raft::advance_commit(LogIndex index) {
  if (index <= commit_index_) return;
  CHECK(index <= log_.last_index());
  commit_index_ = index;
  note(NoteKind::committed, kNoNode, index.value());
}

}  // namespace tally
