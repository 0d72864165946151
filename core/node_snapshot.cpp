// The driver's part in snapshots: takes them without stalling apply, hands out their pieces, takes
// in those of a leader.
#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/node.h"

namespace tally {
namespace {

// How much of a piece is read out of the state in one step, at most about.
constexpr size_t kFillBytes = 2 << 10;
// On a full disk: until the next snapshot is tried, in election timeouts.
constexpr int64_t kRoomSnapshotTimeouts = 10;

}  // namespace

void Node::on_snapshot_written(bool ok, const std::string& error) {
  if (!running()) return;
  CHECK(write_unanswered_ && !snapshot_written_);
  write_unanswered_ = false;
  snapshot_written_ = ok;
  if (!ok) message_ = error;
}

// Before Raft's step: what the storage said, and what it means to Raft.
void Node::take_snapshot_events(Time now) {
  // One that appends have made needless while it came in.
  if (incoming_ && incoming_->id.last.index <= raft_->commit_index() && !write_unanswered_) {
    note(NoteKind::snapshot_abandoned, kNoNode, incoming_->id.last.index.value(),
         raft_->commit_index().value());
    drop_incoming();
  }
  if (snapshot_written_) {
    const bool ok = *snapshot_written_;
    snapshot_written_.reset();
    if (!ok) {
      note(NoteKind::snapshot_failed);
      // The log is untouched, and keeps what the snapshot would have covered.
      if (writing_ == Writing::kOwn) state_.end_capture();
      incoming_.reset();
      writing_ = Writing::kNothing;
    } else if (writing_ == Writing::kOwn) {
      on_own_written();
    } else if (writing_ == Writing::kLeaders) {
      on_incoming_written();
    }
  }
  if (is_filling_piece()) fill_own_piece();
  maybe_adopt();
  maybe_begin_snapshot(now);
}

// A durable snapshot of what is applied lets Raft's log, and the one on disk, begin later.
void Node::maybe_adopt() {
  const std::optional<SnapshotId>& held = storage_.snapshot();
  if (!held || held->last.index > state_.applied_index()) return;
  if (raft_->snapshot() && raft_->snapshot()->last.index >= held->last.index) return;
  const LogIndex base = log_base_after(held->last.index);
  inputs_.emplace_back(SnapshotSaved{*held, base});
  storage_.compact(base);
}

// ---- An own snapshot

void Node::maybe_begin_snapshot(Time now) {
  const bool for_room = full_ && now >= room_snapshot_due_at_;
  const bool due = for_room || snapshot_requested_ || snapshot_unreadable_ ||
                   now >= snapshot_due_at_ || applied_bytes_ >= config_.snapshot_log_bytes;
  // A leader's that is ready is about to replace the state.
  if (!due || writing_ != Writing::kNothing || incoming_) return;
  // The pieces that a follower is getting must not vanish under it, unless they are of no use.
  const bool again = std::exchange(snapshot_unreadable_, false);
  if (!again && raft_->is_sending_snapshot()) return;
  snapshot_requested_ = false;
  snapshot_due_at_ = now + config_.snapshot_interval;
  room_snapshot_due_at_ = now + kRoomSnapshotTimeouts * config_.raft.election_timeout_min;
  applied_bytes_ = 0;
  const LogIndex held = storage_.snapshot() ? storage_.snapshot()->last.index : LogIndex(0);
  if (state_.applied_index() < held) return;
  if (again) note(NoteKind::snapshot_unreadable, kNoNode, held.value());
  if (!again && state_.applied_index() == held) return;
  // One that found no room may find some now.
  if (!again && !for_room && state_.applied_index() <= snapshot_tried_at_) return;
  snapshot_tried_at_ = state_.applied_index();
  note(NoteKind::snapshot_begun, kNoNode, state_.applied_index().value());
  writing_ = Writing::kOwn;
  last_piece_written_ = false;
  state_.begin_capture();
  storage_.begin_snapshot(raft_->log().mark_at(state_.applied_index()));
  fill_own_piece();
}

bool Node::is_filling_piece() const {
  return writing_ == Writing::kOwn && !write_unanswered_ && state_.is_capturing();
}

// A part of it in each step; the next step comes at once.
void Node::fill_own_piece() {
  if (!state_.fill_piece(config_.snapshot_piece_bytes, kFillBytes)) return;
  last_piece_written_ = state_.read_piece(config_.snapshot_piece_bytes, own_piece_);
  write_unanswered_ = true;
  storage_.write_piece(own_piece_);
}

void Node::on_own_written() {
  if (state_.is_capturing()) return;
  if (last_piece_written_) {
    last_piece_written_ = false;
    write_unanswered_ = true;
    storage_.finish_snapshot();
    return;
  }
  writing_ = Writing::kNothing;
}

// Up to where the log may go, when a snapshot covers it up to `last`.
LogIndex Node::log_base_after(LogIndex last) const {
  const Log& log = raft_->log();
  LogIndex base = std::min(last, raft_->durable_index());
  if (base <= log.base_index()) return log.base_index();
  uint64_t kept_bytes = 0;
  while (base > log.base_index()) {
    kept_bytes += log.at(base).data.size();
    if (kept_bytes > config_.kept_log_bytes) break;
    base = base - 1;
  }
  return base;
}

// ---- Pieces for a follower

void Node::on_snapshot_read(const SnapshotId& id, uint64_t piece, std::string data) {
  if (!running()) return;
  const auto found = std::find_if(
      piece_reads_.begin(), piece_reads_.end(),
      [&](const PieceRead& read) { return read.request.id == id && read.request.piece == piece; });
  if (found == piece_reads_.end()) return;
  // Not readable any more: the follower asks again, and gets what is there then.
  if (data.empty() && storage_.snapshot() == id) snapshot_unreadable_ = true;
  if (!data.empty()) {
    found->request.data = Bytes(data);
    network_.send(
        {endpoint_of(config_.raft.id), endpoint_of(found->to), std::move(found->request)});
  }
  piece_reads_.erase(found);
}

// ---- A leader's snapshot

void Node::receive_pieces() {
  for (Output::SnapshotSend& send : output_.snapshot_sends) {
    const SnapshotRequest& request = send.request;
    storage_.read_piece(request.id, request.piece);
    piece_reads_.push_back({send.to, std::move(send.request)});
  }
  for (SnapshotRequest& request : output_.snapshot_pieces) receive_piece(std::move(request));
}

void Node::receive_piece(SnapshotRequest&& request) {
  if (storage_.is_full()) return;  // the leader asks again
  // The very step that let it through may have installed a newer one.
  if (request.id.last.index <= raft_->commit_index()) return;
  if (write_unanswered_ && writing_ == Writing::kLeaders) return;  // its answer says what is next
  if (incoming_ && incoming_->ready) return;                       // Raft is about to take it
  if (incoming_ && incoming_->id != request.id && request.piece == 0) drop_incoming();
  if (!incoming_ && request.piece == 0) {
    if (writing_ == Writing::kOwn) state_.end_capture();
    write_unanswered_ = false;
    snapshot_written_.reset();
    writing_ = Writing::kLeaders;
    incoming_.emplace(request.id);
    storage_.begin_snapshot(request.id.last);
  }
  const bool wanted = incoming_ && incoming_->id == request.id &&
                      incoming_->next_piece == request.piece && !incoming_->ready;
  if (!wanted) {
    const bool known = incoming_ && incoming_->id == request.id;
    if (known && incoming_->next_piece > 0) {
      note(NoteKind::snapshot_resumed, kNoNode, incoming_->next_piece, request.id.piece_count);
    }
    if (known && incoming_->ready) return;
    reply_to_piece(request.id, request.term, known ? incoming_->next_piece : 0, request.round,
                   request.sent_at);
    return;
  }
  const std::string error = incoming_->state.load_piece(request.data.view());
  if (!error.empty()) {
    message_ = fmt::format("a snapshot up to {} from the leader: {}", request.id.last.index.value(),
                           error);
    drop_incoming();
    return;
  }
  incoming_->term = request.term;
  incoming_->round = request.round;
  incoming_->sent_at = request.sent_at;
  write_unanswered_ = true;
  storage_.write_piece(request.data.view());
}

// The leader asks again when this does not reach it.
void Node::reply_to_piece(const SnapshotId& id, Term term, uint64_t next_piece, uint64_t round,
                          Time sent_at) {
  const bool follows = term == raft_->term() && !raft_->is_leader() && raft_->leader() != kNoNode;
  if (!follows || !raft_->is_term_durable()) return;
  network_.send(
      {endpoint_of(config_.raft.id), endpoint_of(raft_->leader()),
       SnapshotReply{
           .term = term, .id = id, .next_piece = next_piece, .round = round, .sent_at = sent_at}});
}

void Node::on_incoming_written() {
  Incoming& incoming = *incoming_;
  if (incoming.next_piece < incoming.id.piece_count) ++incoming.next_piece;
  const bool all = incoming.next_piece == incoming.id.piece_count;
  if (!all) {
    reply_to_piece(incoming.id, incoming.term, incoming.next_piece, incoming.round,
                   incoming.sent_at);
    return;
  }
  if (storage_.snapshot() != incoming.id) {
    if (!incoming.state.is_loaded()) return drop_incoming();  // it ended early
    write_unanswered_ = true;
    storage_.finish_snapshot();
    return;
  }
  incoming.ready = true;
  writing_ = Writing::kNothing;
  inputs_.emplace_back(SnapshotInstalled{incoming.id});
}

void Node::drop_incoming() {
  incoming_.reset();
  write_unanswered_ = false;
  snapshot_written_.reset();
  if (writing_ == Writing::kLeaders) writing_ = Writing::kNothing;
}

// Raft has taken the snapshot for its log's beginning.
void Node::restore() {
  CHECK(incoming_ && incoming_->ready);
  state_ = std::move(incoming_->state);
  incoming_.reset();
  snapshot_tried_at_ = state_.applied_index();
  applied_bytes_ = 0;
  storage_.compact(raft_->log().base_index());
}

}  // namespace tally
