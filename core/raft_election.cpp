// Elections: pre-vote, vote, and how a candidate becomes the leader (thesis §3.4, §3.6.1, §4.2.3,
// §9.6).
#include <algorithm>

#include "core/check.h"
#include "core/raft.h"

namespace tally {

// §9.6: before it raises its term, a node asks whether a quorum would vote for it. A node that is
// cut off or behind thus never disturbs a group that has a leader.
void Raft::start_pre_vote() {
  role_ = Role::kPreCandidate;
  leader_ = kNoNode;
  votes_.assign(1, config_.id);
  reset_election_deadline();
  note(NoteKind::election_timeout, kNoNode, term().value() + 1);
  if (votes_.size() >= quorum()) {
    start_election(/*transfer=*/false);
  } else {
    request_votes(/*pre_vote=*/true, /*transfer=*/false);
  }
}

void Raft::start_election(bool transfer) {
  role_ = Role::kCandidate;
  set_hard_state(term() + 1, config_.id);
  votes_.clear();  // the own vote counts once it is durable, see maybe_win
  reset_election_deadline();
  note(NoteKind::became_candidate, kNoNode, term().value());
  request_votes(/*pre_vote=*/false, transfer);
}

void Raft::request_votes(bool pre_vote, bool transfer) {
  VoteRequest request;
  request.term = pre_vote ? term() + 1 : term();
  request.pre_vote = pre_vote;
  request.last_log_index = log_.last_index();
  request.last_log_term = log_.last_term();
  request.transfer = transfer;
  for (NodeId voter : config_.voters) {
    if (voter != config_.id) send_durable(voter, request);
  }
}

void Raft::maybe_win() {
  // A vote counts when it can no longer be forgotten, the own one too (§3.8).
  const bool own_vote_durable = durable_hard_state_ == hard_state_;
  const bool own_vote_counted = std::find(votes_.begin(), votes_.end(), config_.id) != votes_.end();
  if (own_vote_durable && !own_vote_counted) votes_.push_back(config_.id);
  if (votes_.size() >= quorum() && own_vote_durable) become_leader();
}

// §3.6.1: a log is up to date when its last term is higher, or equal with at least the length.
bool Raft::is_up_to_date(const VoteRequest& request) const {
  if (request.last_log_term != log_.last_term()) return request.last_log_term > log_.last_term();
  return request.last_log_index >= log_.last_index();
}

// §4.2.3: whoever heard a leader within the minimal election timeout votes for nobody else. The
// leader itself counts (check-quorum keeps it honest). A leader that asks for votes has lost its
// leadership, so its own followers need not protect it.
bool Raft::hears_other_leader(NodeId candidate) const {
  if (is_leader()) return true;
  return leader_ != kNoNode && leader_ != candidate &&
         now_ - leader_heard_at_ < config_.election_timeout_min;
}

void Raft::on_vote_request(NodeId from, const VoteRequest& request) {
  const bool pre_vote = request.pre_vote;
  const auto refuse = [&](NoteKind why, uint64_t a, uint64_t b) {
    note(why, from, a, b);
    send_durable(from, VoteReply{.term = term(), .pre_vote = pre_vote, .granted = false});
  };
  const bool stale = pre_vote ? request.term <= term() : request.term < term();
  if (stale) {
    return refuse(
        pre_vote ? NoteKind::pre_vote_refused_stale_term : NoteKind::vote_refused_stale_term,
        request.term.value(), term().value());
  }
  if (is_repairing()) return refuse(NoteKind::vote_refused_damaged, 0, 0);
  if (!request.transfer && hears_other_leader(from)) {
    return refuse(
        pre_vote ? NoteKind::pre_vote_refused_leader_alive : NoteKind::vote_refused_leader_alive, 0,
        0);
  }
  if (!pre_vote && request.term > term()) {
    note(NoteKind::higher_term_seen, from, request.term.value(), term().value());
    become_follower(request.term, kNoNode);
  }
  if (!is_up_to_date(request)) {
    return refuse(
        pre_vote ? NoteKind::pre_vote_refused_log_behind : NoteKind::vote_refused_log_behind,
        request.last_log_index.value(), log_.last_index().value());
  }
  if (pre_vote) {
    // Promises nothing: no term, no vote, no timer changes. The reply carries the term asked for.
    note(NoteKind::pre_vote_granted, from, request.term.value());
    send_durable(from, VoteReply{.term = request.term, .pre_vote = true, .granted = true});
    return;
  }
  const NodeId voted_for = hard_state_.voted_for;
  if (voted_for != kNoNode && voted_for != from) {
    return refuse(NoteKind::vote_refused_already_voted, voted_for.value(), term().value());
  }
  if (voted_for == from) {
    note(NoteKind::vote_granted_again, from, term().value());
  } else {
    note(NoteKind::vote_granted, from, term().value());
    set_hard_state(term(), from);
  }
  // Whoever backs a candidate no longer asks for votes of its own, or it would campaign against it.
  if (role_ == Role::kPreCandidate) become_follower(term(), kNoNode);
  reset_election_deadline();
  send_durable(from, VoteReply{.term = term(), .pre_vote = false, .granted = true});
}

void Raft::on_vote_reply(NodeId from, const VoteReply& reply) {
  if (!reply.granted && reply.term > term()) {
    note(is_leader() ? NoteKind::stepped_down_higher_term : NoteKind::higher_term_seen, from,
         reply.term.value(), term().value());
    become_follower(reply.term, kNoNode);
    return;
  }
  const auto& voters = config_.voters;
  if (std::find(voters.begin(), voters.end(), from) == voters.end()) return;
  const bool awaited = reply.pre_vote ? role_ == Role::kPreCandidate && reply.term == term() + 1
                                      : role_ == Role::kCandidate && reply.term == term();
  if (!reply.granted) return;
  if (!awaited) {
    note(NoteKind::vote_reply_ignored, from, reply.term.value(), term().value());
    return;
  }
  if (std::find(votes_.begin(), votes_.end(), from) == votes_.end()) votes_.push_back(from);
  if (!reply.pre_vote) {
    maybe_win();
  } else if (votes_.size() >= quorum()) {
    start_election(/*transfer=*/false);
  }
}

// §3.10: without a pre-vote, which those who hear the leader would refuse. The log is as long as
// the leader's and durable, or the leader would not have asked.
void Raft::on_timeout_now(NodeId from, const TimeoutNow& timeout_now) {
  const bool follows = role_ == Role::kFollower && leader_ == from && timeout_now.term == term();
  if (!follows || is_repairing() || full_) {
    note(NoteKind::transfer_ignored, from, timeout_now.term.value(), term().value());
    return;
  }
  note(NoteKind::transfer_received, from);
  start_election(/*transfer=*/true);
}

void Raft::become_leader() {
  CHECK(role_ == Role::kCandidate && durable_hard_state_ == hard_state_);
  role_ = Role::kLeader;
  leader_ = config_.id;
  votes_.clear();
  followers_.clear();
  for (NodeId voter : config_.voters) {
    if (voter == config_.id) continue;
    Progress progress;
    progress.id = voter;
    progress.next_index = log_.last_index() + 1;
    progress.contact_at = now_;  // its time to answer begins now
    followers_.push_back(std::move(progress));
  }
  read_round_ = 0;
  heartbeat_due_at_ = now_;
  log_time_base_ = log_.last_log_time();
  log_time_anchor_ = now_;
  note(NoteKind::became_leader, kNoNode, term().value(), log_.last_index().value());
  // §6.4: an entry of the own term must commit before the leader knows what is committed.
  append_to_log(EntryType::kNoop, Bytes());
  term_start_index_ = log_.last_index();
}

}  // namespace tally
