// A leader's side: proposals, replication, commitment, reads (thesis §3.5, §3.6.2, §6.2, §6.4,
// §10.2.1).
#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "core/check.h"
#include "core/raft.h"

namespace tally {

template <class Value, class Get>
Value Raft::quorum_value(Value own, Value least, Get get) const {
  std::array<Value, kVotersMax> values;
  CHECK(followers_.size() < values.size());
  size_t count = 0;
  values[count++] = own;
  for (const Progress& progress : followers_) {
    values[count++] = progress.repair == 0 ? get(progress) : least;
  }
  std::sort(values.begin(), values.begin() + static_cast<ptrdiff_t>(count), std::greater<>());
  return values[quorum() - 1];
}

void Raft::on_propose(Propose& propose) {
  if (!is_leader() || transfer_to_ != kNoNode) {
    out_->refused.push_back(propose.context);
    return;
  }
  append_to_log(EntryType::kCommand, std::move(propose.data));
  out_->accepted.push_back({propose.context, log_.last_index()});
}

// §3.10. Of one that is under way already, another one changes nothing.
void Raft::on_transfer(const Transfer& transfer) {
  if (is_leader() && transfer_to_ != kNoNode) return;
  const Progress* chosen = nullptr;
  for (const Progress& progress : followers_) {
    if (progress.repair != 0) continue;
    if (transfer.to == progress.id) chosen = &progress;
    if (transfer.to != kNoNode) continue;
    // One that was not heard of lately may be gone.
    const bool alive = now_ - progress.contact_at < config_.election_timeout_min;
    if (alive && (chosen == nullptr || progress.match_index > chosen->match_index)) {
      chosen = &progress;
    }
  }
  if (chosen == nullptr) {
    note(NoteKind::transfer_refused, transfer.to);
    return;
  }
  transfer_to_ = chosen->id;
  transfer_until_ = now_ + config_.election_timeout_min;
  transfer_sent_ = false;
  note(NoteKind::transfer_begun, transfer_to_, log_.last_index().value());
}

// Once all of the log is committed and durable at the chosen one, nothing that a client waits for
// can be lost, and nobody's log is better than its own.
void Raft::maybe_transfer() {
  if (transfer_to_ == kNoNode) return;
  if (now_ >= transfer_until_) {
    note(NoteKind::transfer_given_up, transfer_to_);
    transfer_to_ = kNoNode;
    return;
  }
  const Progress* chosen = find_progress(transfer_to_);
  const LogIndex last = log_.last_index();
  if (transfer_sent_ || chosen->match_index < last || commit_index_ < last) return;
  transfer_sent_ = true;
  note(NoteKind::transfer_sent, transfer_to_);
  send(transfer_to_, TimeoutNow{term()});
}

void Raft::append_to_log(EntryType type, Bytes data) {
  Entry entry;
  entry.index = log_.last_index() + 1;
  entry.term = term();
  entry.log_time = log_time_now();
  entry.type = type;
  entry.data = std::move(data);
  if (entries_owed_from_ == LogIndex(0)) entries_owed_from_ = entry.index;
  log_.append(std::move(entry));
}

// Log time goes on from the last entry's stamp by this leader's own elapsed time; clocks of
// different nodes are never compared.
LogTime Raft::log_time_now() const {
  const auto elapsed = static_cast<uint64_t>((now_ - log_time_anchor_).count());
  return std::max(log_.last_log_time(), log_time_base_ + elapsed);
}

// §6.4: the read waits for what was committed when it came, and for the own no-op, before which a
// new leader cannot know that; and for a quorum to confirm, later, that it still leads.
void Raft::on_read_request(const ReadRequest& request) {
  if (!is_leader()) {
    out_->reads_refused.push_back(request.context);
    return;
  }
  if (!read_round_new_) ++read_round_;
  read_round_new_ = true;
  pending_reads_.push_back(
      {request.context, std::max(commit_index_, term_start_index_), read_round_});
}

Raft::Progress* Raft::find_progress(NodeId id) {
  for (Progress& progress : followers_) {
    if (progress.id == id) return &progress;
  }
  return nullptr;
}

// An answer came. Success or not, whoever answers in this term follows this leader: contact, and
// confirmation of reads. Null when the answer is of no use.
Raft::Progress* Raft::find_contact(NodeId from, Term reply_term, uint64_t round, Time sent_at) {
  if (reply_term > term()) {
    note(is_leader() ? NoteKind::stepped_down_higher_term : NoteKind::higher_term_seen, from,
         reply_term.value(), term().value());
    become_follower(reply_term, kNoNode);
    return nullptr;
  }
  Progress* progress = is_leader() ? find_progress(from) : nullptr;
  if (reply_term < term() || progress == nullptr) {
    note(NoteKind::append_reply_ignored_stale, from, reply_term.value(), term().value());
    return nullptr;
  }
  progress->contact_at = std::max(progress->contact_at, sent_at);
  progress->round_acknowledged = std::max(progress->round_acknowledged, round);
  return progress;
}

void Raft::on_append_reply(NodeId from, const AppendReply& reply) {
  Progress* progress = find_contact(from, reply.term, reply.round, reply.sent_at);
  if (progress == nullptr) return;
  // Not what an older answer says that was overtaken.
  if (reply.sent_at == progress->contact_at) progress->full = reply.full;
  if (is_from_before_damage(*progress, reply)) return;
  if (reply.repair != progress->repair) begin_repair(*progress, reply);
  if (reply.success) {
    on_append_success(*progress, reply);
  } else {
    on_append_refusal(*progress, reply);
  }
  confirm_reads();
}

// What a follower held before it was damaged must not count again, however late it is told. So
// nothing counts that answers what left before the damage was known here.
bool Raft::is_from_before_damage(Progress& progress, const AppendReply& reply) {
  if (reply.sent_at >= progress.repair_since) return false;
  note(NoteKind::reply_before_damage, progress.id);
  return true;
}

// The follower has lost what it once acknowledged (or, with 0, has it again). From now on it counts
// for nothing, and a quorum of the others is asked what is committed, as for a read (§6.4).
void Raft::begin_repair(Progress& progress, const AppendReply& reply) {
  progress.repair = reply.repair;
  progress.repair_index = LogIndex(0);
  if (reply.repair == 0) {
    note(NoteKind::follower_whole, progress.id);
    return;
  }
  note(NoteKind::follower_damaged, progress.id);
  progress.repair_since = now_;
  if (!read_round_new_) ++read_round_;
  read_round_new_ = true;
  progress.repair_round = read_round_;
  progress.repair_asked = std::max(commit_index_, term_start_index_);
  progress.match_index = LogIndex(0);
  progress.state = Progress::State::kProbe;
  progress.inflight.clear();
  progress.probe_outstanding = false;
  const LogIndex held = reply.success ? reply.match_index : reply.conflict_index;
  progress.next_index = std::min(held, log_.last_index()) + 1;
}

void Raft::confirm_repairs() {
  for (Progress& progress : followers_) {
    if (progress.repair == 0 || progress.repair_index != LogIndex(0)) continue;
    if (progress.repair_round > round_confirmed()) continue;
    progress.repair_index = progress.repair_asked;
    note(NoteKind::follower_repair_index, progress.id, progress.repair_index.value());
  }
}

void Raft::on_append_success(Progress& progress, const AppendReply& reply) {
  CHECK(reply.match_index <= log_.last_index(), "n{} acknowledges {}, log ends at {}",
        progress.id.value(), reply.match_index.value(), log_.last_index().value());
  if (progress.state == Progress::State::kSnapshot && reply.match_index < log_.base_index()) return;
  const bool advanced = reply.match_index > progress.match_index;
  if (advanced) progress.match_index = reply.match_index;
  if (reply.full) {
    progress.next_index = std::max(progress.match_index, reply.prev_log_index) + 1;
    wait_for_room(progress);
    if (advanced) maybe_commit();
    return;
  }
  while (!progress.inflight.empty() && progress.inflight.front() <= progress.match_index) {
    progress.inflight.pop_front();
  }
  if (progress.state != Progress::State::kPipeline) {
    progress.state = Progress::State::kPipeline;
    progress.pipeline_since = now_;
    progress.probe_outstanding = false;
    progress.next_index = std::max(progress.match_index, reply.prev_log_index) + 1;
    note(NoteKind::pipelining, progress.id, progress.match_index.value());
  }
  progress.next_index = std::max(progress.next_index, progress.match_index + 1);
  if (advanced) maybe_commit();
}

void Raft::on_append_refusal(Progress& progress, const AppendReply& reply) {
  if (progress.state == Progress::State::kSnapshot) return;  // of a heartbeat: no news
  const bool probe = progress.state == Progress::State::kProbe;
  const bool stale = probe ? reply.prev_log_index + 1 != progress.next_index
                           : reply.prev_log_index <= progress.match_index ||
                                 reply.sent_at < progress.pipeline_since;
  if (stale) {
    note(NoteKind::refusal_ignored_stale, progress.id, reply.prev_log_index.value(),
         progress.match_index.value());
    return;
  }
  LogIndex agree = log_.last_index_not_above(reply.conflict_index, reply.conflict_term);
  // Where they agree is compacted here, then: the snapshot it is.
  if (agree == log_.base_index() && log_.term_at(agree) > reply.conflict_term) agree = agree - 1;
  progress.state = Progress::State::kProbe;
  progress.probe_outstanding = false;
  progress.inflight.clear();
  progress.next_index = std::max(agree, progress.match_index) + 1;
  if (reply.full) return wait_for_room(progress);
  note(NoteKind::probing, progress.id, progress.next_index.value());
}

// A follower without room gets heartbeats, which ask whether it has some; entries would be sent
// over and over.
void Raft::wait_for_room(Progress& progress) {
  note(NoteKind::follower_full, progress.id, progress.next_index.value());
  progress.state = Progress::State::kProbe;
  progress.probe_outstanding = true;
  progress.inflight.clear();
}

void Raft::on_snapshot_reply(NodeId from, const SnapshotReply& reply) {
  Progress* progress = find_contact(from, reply.term, reply.round, reply.sent_at);
  if (progress == nullptr) return;
  confirm_reads();
  if (progress->state != Progress::State::kSnapshot || reply.id != progress->sending) return;
  progress->next_piece = std::min(reply.next_piece, reply.id.piece_count - 1);
  progress->piece_sent_at = kNever;
}

bool Raft::is_sending_snapshot() const {
  return std::any_of(followers_.begin(), followers_.end(), [&](const Progress& progress) {
    return progress.state == Progress::State::kSnapshot &&
           now_ - progress.contact_at < config_.election_timeout_min;
  });
}

void Raft::replicate() {
  const bool heartbeat_due = now_ >= heartbeat_due_at_;
  if (heartbeat_due) heartbeat_due_at_ = now_ + config_.heartbeat_interval;
  for (Progress& progress : followers_) replicate_to(progress, heartbeat_due || read_round_new_);
  if (read_round_new_) {
    read_round_new_ = false;
    confirm_reads();  // a quorum of one has nobody to ask
  }
}

void Raft::replicate_to(Progress& progress, bool heartbeat_due) {
  const bool held_back = hold_back(progress, heartbeat_due);
  if (progress.state != Progress::State::kSnapshot && progress.next_index <= log_.base_index()) {
    CHECK(snapshot_, "the log begins at {} and there is no snapshot",
          log_.base_index().value() + 1);
    note(NoteKind::snapshot_needed, progress.id, snapshot_->last.index.value());
    progress.state = Progress::State::kSnapshot;
    progress.inflight.clear();
    progress.sending = SnapshotId{};
  }
  if (progress.state == Progress::State::kSnapshot) {
    send_snapshot_piece(progress);
    // The pieces wait for disks on both sides; heartbeats do not.
    if (heartbeat_due) send_append(progress, log_.base_index(), /*with_entries=*/false);
    return;
  }
  if (progress.state == Progress::State::kProbe) {
    // The first probe carries entries; its repetitions only ask, in case nobody is there.
    if (!progress.probe_outstanding || heartbeat_due) {
      send_append(progress, progress.next_index - 1, !progress.probe_outstanding);
      progress.probe_outstanding = true;
    }
    return;
  }
  if (held_back) return;
  bool sent = false;
  while (progress.next_index <= log_.last_index()) {
    if (progress.inflight.size() >= config_.inflight_append_count_max) {
      if (sent) note(NoteKind::pipeline_full, progress.id, progress.inflight.size());
      break;
    }
    send_append(progress, progress.next_index - 1, /*with_entries=*/true);
    progress.appended_at = now_;
    sent = true;
  }
  if (progress.next_index > log_.last_index()) progress.entries_due_at = kNever;
  if (!heartbeat_due) return;
  // A heartbeat never waits for a follower's disk, as the answer to entries does. While appends are
  // fresh it names what is known to match: overtaking them must not look like a loss. Later it
  // names the entry before next_index, and a lost append is noticed.
  const bool fresh =
      !progress.inflight.empty() && now_ - progress.appended_at < config_.heartbeat_interval;
  const LogIndex known = fresh ? progress.match_index : progress.next_index - 1;
  send_append(progress, std::max(known, log_.base_index()), /*with_entries=*/false);
}

// A spare follower gets entries late, but with every heartbeat: that of a read may go to the one
// that is to serve it. What is due stays so while the window is full.
bool Raft::hold_back(Progress& progress, bool heartbeat_due) {
  if (!progress.spare || progress.state != Progress::State::kPipeline ||
      progress.next_index > log_.last_index()) {
    progress.entries_due_at = kNever;
    return false;
  }
  if (progress.entries_due_at == kNever) progress.entries_due_at = now_ + config_.spare_delay;
  return now_ < progress.entries_due_at && !heartbeat_due && transfer_to_ == kNoNode;
}

// One piece is unanswered at a time, so that a transfer never holds up anything else. A piece that
// gets no answer is sent again, after the time in which a follower must be heard of.
void Raft::send_snapshot_piece(Progress& progress) {
  if (progress.sending != *snapshot_) {
    progress.sending = *snapshot_;
    progress.next_piece = 0;
    progress.piece_sent_at = kNever;
  }
  const bool waits = progress.piece_sent_at != kNever &&
                     now_ - progress.piece_sent_at < config_.election_timeout_min;
  if (waits) return;
  progress.piece_sent_at = now_;
  note(NoteKind::snapshot_piece_sent, progress.id, progress.next_piece + 1,
       progress.sending.piece_count);
  SnapshotRequest request;
  request.term = term();
  request.id = progress.sending;
  request.piece = progress.next_piece;
  request.round = read_round_;
  request.sent_at = now_;
  out_->snapshot_sends.push_back({progress.id, std::move(request)});
}

// Some of those that answer must be full: without a quorum that answers, it would not lead. Every
// heartbeat asks again, so that it ends by itself.
bool Raft::lacks_room() const {
  if (!is_leader()) return false;
  const Time silent_since = now_ - config_.election_timeout_min;
  const Time heard_with_room = quorum_value(
      full_ ? silent_since : now_, silent_since,
      [&](const Progress& progress) { return progress.full ? silent_since : progress.contact_at; });
  return heard_with_room <= silent_since;
}

// Sends the entries after `prev`, as many as one message may hold, or none.
void Raft::send_append(Progress& progress, LogIndex prev, bool with_entries) {
  AppendRequest request;
  request.term = term();
  request.prev_log_index = prev;
  request.prev_log_term = log_.term_at(request.prev_log_index);
  request.commit_index = commit_index_;
  request.round = read_round_;
  request.sent_at = now_;
  request.repair = progress.repair;
  request.repair_index = progress.repair_index;
  if (with_entries) {
    uint64_t bytes = 0;
    LogIndex index = prev + 1;
    request.entries.reserve(std::min(log_.last_index() - prev, config_.append_entry_count_max));
    while (index <= log_.last_index() && request.entries.size() < config_.append_entry_count_max) {
      const Entry& entry = log_.at(index);
      bytes += entry.data.size();
      if (!request.entries.empty() && bytes > config_.append_bytes_max) break;
      request.entries.push_back(entry);
      ++index;
    }
    if (progress.state == Progress::State::kPipeline) {
      progress.next_index = index;
      progress.inflight.push_back(index - 1);
    }
  }
  send(progress.id, std::move(request));
}

// §3.6.2: an entry is committed once a quorum holds it durably, but only entries of the own term
// are counted; older ones are committed with them.
void Raft::maybe_commit() {
  const LogIndex reached = quorum_value(
      durable_index_, LogIndex(0), [](const Progress& progress) { return progress.match_index; });
  if (reached <= commit_index_) return;
  if (log_.term_at(reached) != term()) {
    note(NoteKind::commit_waits_for_own_term, kNoNode, reached.value(),
         log_.term_at(reached).value());
    return;
  }
  advance_commit(reached);
  choose_spares();
}

// A commit needs a quorum, and whoever made one is asked first again; a follower that was needed
// before stays so while it keeps up. The others are spare: as soon as one of them is ahead, because
// a needed one is slow or gone, it takes its place.
void Raft::choose_spares() {
  if (config_.spare_delay == Duration(0)) return;
  // A leader whose own disk was too late was not in that quorum.
  size_t wanted = quorum() - (durable_index_ >= commit_index_ ? 1 : 0);
  const auto choose = [&](Progress& progress) {
    const bool made_it = progress.repair == 0 && progress.match_index >= commit_index_;
    progress.spare = wanted == 0 || !made_it;
    if (!progress.spare) --wanted;
  };
  for (Progress& progress : followers_) {
    if (!progress.spare) choose(progress);
  }
  for (Progress& progress : followers_) {
    if (progress.spare) choose(progress);
  }
}

LogIndex Raft::replicated_index() const {
  return quorum_value(log_.last_index(), LogIndex(0),
                      [](const Progress& progress) { return progress.match_index; });
}

std::vector<Raft::Follower> Raft::followers() const {
  std::vector<Follower> result;
  if (!is_leader()) return result;
  for (const Progress& progress : followers_) {
    std::string_view state = "probe";
    if (progress.state == Progress::State::kPipeline) state = "pipeline";
    if (progress.state == Progress::State::kSnapshot) state = "snapshot";
    if (progress.repair != 0) state = "repair";
    result.push_back({progress.id, state, progress.match_index, progress.contact_at});
  }
  return result;
}

void Raft::confirm_reads() {
  confirm_repairs();
  if (pending_reads_.empty()) return;
  const uint64_t confirmed = round_confirmed();
  uint64_t count = 0;
  while (!pending_reads_.empty() && pending_reads_.front().round <= confirmed) {
    out_->reads_ready.push_back({pending_reads_.front().context, pending_reads_.front().index});
    pending_reads_.pop_front();
    ++count;
  }
  if (count > 0) {
    note(NoteKind::read_confirmed, kNoNode, count, out_->reads_ready.back().index.value());
  }
}

void Raft::fail_reads() {
  read_round_new_ = false;
  if (pending_reads_.empty()) return;
  note(NoteKind::read_failed, kNoNode, pending_reads_.size());
  for (const PendingRead& read : pending_reads_) out_->reads_refused.push_back(read.context);
  pending_reads_.clear();
}

uint64_t Raft::round_confirmed() const {
  return quorum_value<uint64_t>(
      read_round_, 0, [](const Progress& progress) { return progress.round_acknowledged; });
}

Time Raft::quorum_contact_at() const {
  return quorum_value(now_, now_ - config_.election_timeout_min,
                      [](const Progress& progress) { return progress.contact_at; });
}

// §6.2: a leader that no quorum answers steps down, so that its clients look elsewhere. The age of
// contact is counted from the sending, not from the answer.
void Raft::check_quorum_contact() {
  if (now_ - quorum_contact_at() < config_.election_timeout_min) return;
  note(NoteKind::stepped_down_no_quorum, kNoNode, term().value());
  become_follower(term(), kNoNode);
}

}  // namespace tally
