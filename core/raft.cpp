#include "core/raft.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/draw.h"

namespace tally {

std::string config_error(const RaftConfig& config) {
  const auto is_member = std::find(config.voters.begin(), config.voters.end(), config.id);
  if (config.id == kNoNode) return "node id 0 is reserved: ids count from 1";
  if (is_member == config.voters.end()) {
    return fmt::format("node {} is not among the voters", config.id.value());
  }
  // As many as Raft::quorum_value holds.
  if (config.voters.size() > kVotersMax) {
    return fmt::format("{} voters, at most {} are supported", config.voters.size(), kVotersMax);
  }
  for (size_t i = 0; i < config.voters.size(); ++i) {
    if (config.voters[i] == kNoNode) return "voter id 0 is reserved: ids count from 1";
    for (size_t j = 0; j < i; ++j) {
      if (config.voters[i] == config.voters[j]) {
        return fmt::format("voter {} is named twice", config.voters[i].value());
      }
    }
  }
  if (config.heartbeat_interval <= Duration(0)) return "the heartbeat interval must be above 0";
  if (config.election_timeout_min < 2 * config.heartbeat_interval) {
    return fmt::format(
        "the minimal election timeout ({} us) must be at least twice the heartbeat interval ({} "
        "us)",
        config.election_timeout_min.count() / 1000, config.heartbeat_interval.count() / 1000);
  }
  if (config.spare_delay < Duration(0) || config.spare_delay > config.heartbeat_interval) {
    return fmt::format(
        "the delay of spare followers ({} us) must be from 0 to the heartbeat interval ({} us)",
        config.spare_delay.count() / 1000, config.heartbeat_interval.count() / 1000);
  }
  if (config.append_entry_count_max == 0) return "an append must be allowed at least one entry";
  if (config.inflight_append_count_max == 0) return "at least one append must be allowed in flight";
  return {};
}

std::string_view to_string(Raft::Role role) {
  switch (role) {
    case Raft::Role::kFollower: return "follower";
    case Raft::Role::kPreCandidate: return "pre-candidate";
    case Raft::Role::kCandidate: return "candidate";
    case Raft::Role::kLeader: return "leader";
  }
  return "?";
}

void Output::clear() {
  send_now.clear();
  send_after.clear();
  persist = {};
  persist_number = 0;
  accepted.clear();
  refused.clear();
  reads_ready.clear();
  reads_refused.clear();
  snapshot_sends.clear();
  snapshot_pieces.clear();
  restored = false;
  lost_leadership = false;
  deadline = kNever;
  notes.clear();
}

Raft::Raft(const RaftConfig& config, HardState hard_state, Log log,
           std::optional<SnapshotId> snapshot, Time now, uint64_t repair)
    : config_(config),
      now_(now),
      hard_state_(hard_state),
      log_(std::move(log)),
      snapshot_(snapshot),
      repair_(repair) {
  const std::string error = config_error(config_);
  CHECK(error.empty(), "{}", error);
  if (snapshot_) commit_index_ = snapshot_->last.index;
  CHECK(commit_index_ >= log_.base_index() && commit_index_ <= log_.last_index(),
        "a snapshot up to {} beside a log of {}..{}", commit_index_.value(),
        log_.base_index().value() + 1, log_.last_index().value());
  reset_election_deadline();
}

void Raft::step(Time now, std::span<Input> inputs, Output& out) {
  CHECK(now >= now_, "time went back by {} ns", (now_ - now).count());
  now_ = now;
  out_ = &out;
  out.clear();
  for (Input& input : inputs) {
    if (auto* received = std::get_if<Received>(&input)) {
      on_received(*received);
    } else if (auto* propose = std::get_if<Propose>(&input)) {
      on_propose(*propose);
    } else if (auto* read = std::get_if<ReadRequest>(&input)) {
      on_read_request(*read);
    } else if (auto* synced = std::get_if<Synced>(&input)) {
      on_synced(synced->persist_number);
    } else if (auto* saved = std::get_if<SnapshotSaved>(&input)) {
      on_snapshot_saved(*saved);
    } else if (auto* installed = std::get_if<SnapshotInstalled>(&input)) {
      on_snapshot_installed(*installed);
    } else if (auto* storage = std::get_if<StorageFull>(&input)) {
      on_storage_full(storage->full);
    } else if (auto* transfer = std::get_if<Transfer>(&input)) {
      on_transfer(*transfer);
    }
  }
  on_time();
  if (is_leader()) {
    maybe_transfer();
    replicate();
  }
  finish_step();
  out_ = nullptr;
}

void Raft::on_received(Received& received) {
  if (auto* append = std::get_if<AppendRequest>(&received.message)) {
    on_append_request(received.from, *append);
  } else if (auto* append_reply = std::get_if<AppendReply>(&received.message)) {
    on_append_reply(received.from, *append_reply);
  } else if (auto* vote = std::get_if<VoteRequest>(&received.message)) {
    on_vote_request(received.from, *vote);
  } else if (auto* vote_reply = std::get_if<VoteReply>(&received.message)) {
    on_vote_reply(received.from, *vote_reply);
  } else if (auto* snapshot = std::get_if<SnapshotRequest>(&received.message)) {
    on_snapshot_request(received.from, *snapshot);
  } else if (auto* snapshot_reply = std::get_if<SnapshotReply>(&received.message)) {
    on_snapshot_reply(received.from, *snapshot_reply);
  } else if (auto* timeout_now = std::get_if<TimeoutNow>(&received.message)) {
    on_timeout_now(received.from, *timeout_now);
  } else {
    CHECK(false, "not a Raft message");
  }
}

void Raft::on_synced(uint64_t persist_number) {
  while (!persisting_.empty() && persisting_.front().number <= persist_number) {
    durable_index_ = persisting_.front().last_index;
    durable_hard_state_ = persisting_.front().hard_state;
    if (persisting_.front().whole) {
      note(NoteKind::repair_complete, kNoNode, durable_index_.value());
      repair_ = 0;
      reset_election_deadline();
    }
    persisting_.pop_front();
  }
  maybe_be_whole();
  maybe_acknowledge_synced();
  if (role_ == Role::kCandidate) maybe_win();
  if (is_leader()) maybe_commit();
}

void Raft::on_snapshot_saved(const SnapshotSaved& saved) {
  const SnapshotId& id = saved.id;
  CHECK(id.last.index <= commit_index_ && saved.base <= id.last.index &&
            saved.base <= std::max(durable_index_, log_.base_index()),
        "a snapshot up to {}, committed is {}, durable {}", id.last.index.value(),
        commit_index_.value(), durable_index_.value());
  if (snapshot_ && snapshot_->last.index >= id.last.index) return;  // a newer one was installed
  snapshot_ = id;
  if (saved.base > log_.base_index()) log_.compact(saved.base);
  note(NoteKind::snapshot_saved, kNoNode, id.last.index.value(), log_.base_index().value() + 1);
}

// A leader that takes no entries makes way for a node that does. When there is none, it may be
// elected again, and then serves reads.
void Raft::on_storage_full(bool full) {
  full_ = full;
  if (!full || !is_leader()) return;
  note(NoteKind::stepped_down_full_disk, kNoNode, term().value());
  become_follower(term(), kNoNode);
}

void Raft::on_time() {
  if (!is_leader()) {
    if (now_ < election_deadline_) return;
    if (is_repairing()) {
      leader_ = kNoNode;
      note(NoteKind::repair_waits);
      reset_election_deadline();
    } else {
      start_pre_vote();
    }
    return;
  }
  check_quorum_contact();
  if (is_leader() && !persisting_.empty() &&
      now_ - persisting_.front().since >= config_.election_timeout_min) {
    // A leader that cannot write serves nobody; its heartbeats must not hide that.
    note(NoteKind::stepped_down_slow_disk, kNoNode, term().value());
    become_follower(term(), kNoNode);
  }
}

void Raft::finish_step() {
  if (persist_owed()) {
    out_->persist.hard_state = hard_state_owed_;
    out_->persist.reset = reset_owed_;
    out_->persist.whole = whole_owed_;
    out_->persist.first_index = entries_owed_from_;
    ++persist_number_;
    persisting_.push_back({persist_number_, log_.last_index(), hard_state_, now_, whole_owed_});
    hard_state_owed_ = false;
    reset_owed_ = false;
    whole_owed_ = false;
    entries_owed_from_ = LogIndex(0);
  }
  out_->persist_number = persist_number_;
  out_->deadline = next_deadline();
}

Time Raft::next_deadline() const {
  if (!is_leader()) return election_deadline_;
  Time deadline = heartbeat_due_at_;
  if (transfer_to_ != kNoNode) deadline = std::min(deadline, transfer_until_);
  for (const Progress& progress : followers_) {
    if (progress.entries_due_at > now_) deadline = std::min(deadline, progress.entries_due_at);
  }
  if (!followers_.empty()) {
    deadline = std::min(deadline, quorum_contact_at() + config_.election_timeout_min);
  }
  if (!persisting_.empty()) {
    deadline = std::min(deadline, persisting_.front().since + config_.election_timeout_min);
  }
  return deadline;
}

// Follows `leader` (or nobody yet) in `term`. REQUIRES: term >= this node's.
void Raft::become_follower(Term term, NodeId leader) {
  CHECK(term >= hard_state_.term);
  if (is_leader()) {
    fail_reads();
    out_->lost_leadership = true;
    followers_.clear();
    transfer_to_ = kNoNode;
    reset_election_deadline();
  }
  if (term > hard_state_.term) set_hard_state(term, kNoNode);
  role_ = Role::kFollower;
  leader_ = leader;
  votes_.clear();
}

void Raft::set_hard_state(Term term, NodeId voted_for) {
  if (term > hard_state_.term) {
    // What was learned of the old term's leader says nothing about the new one's log.
    verified_index_ = LogIndex(0);
    acknowledge_owed_ = false;
    owed_round_ = 0;
    snapshot_round_ = 0;
    snapshot_sent_at_ = Time::min();
    election_attempt_ = 0;
  }
  hard_state_ = {term, voted_for};
  hard_state_owed_ = true;
}

// §3.4: timeouts are drawn anew each time so that split votes do not repeat.
void Raft::reset_election_deadline() {
  const auto span = static_cast<uint64_t>(config_.election_timeout_min.count());
  const uint64_t bits =
      draw(config_.seed, config_.id.value(), hard_state_.term.value(), ++election_attempt_);
  election_deadline_ =
      now_ + config_.election_timeout_min + Duration(static_cast<int64_t>(scale(bits, span)));
  // Nodes that can take entries come first.
  if (full_) election_deadline_ += 2 * config_.election_timeout_min;
}

void Raft::send(NodeId to, Message message) {
  out_->send_now.push_back(Envelope{endpoint_of(config_.id), endpoint_of(to), std::move(message)});
}

// Answers show a term and a vote, never an entry: those that do are made when its sync is done.
void Raft::send_durable(NodeId to, Message message) {
  if (durable_hard_state_ == hard_state_ && !hard_state_owed_) {
    send(to, std::move(message));
  } else {
    out_->send_after.push_back(
        Envelope{endpoint_of(config_.id), endpoint_of(to), std::move(message)});
  }
}

}  // namespace tally
