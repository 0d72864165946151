#include "core/node.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/draw.h"

namespace tally {
namespace {

// Entries. What is more is no batch that just came, but a follower that catches up.
constexpr uint64_t kPutOffMax = 64;
// Bytes. An increment that makes an entry so large is its last.
constexpr size_t kEntryBytes = 16 << 10;

// The waiting requests of this context; none when they were answered already. `waiting` is in order
// of context.
template <class Waiting>
auto find_context(std::deque<Waiting>& waiting, uint64_t context) {
  struct Before {
    bool operator()(const Waiting& request, uint64_t wanted) { return request.context < wanted; }
    bool operator()(uint64_t wanted, const Waiting& request) { return wanted < request.context; }
  };
  return std::equal_range(waiting.begin(), waiting.end(), context, Before());
}

}  // namespace

std::string config_error(const NodeConfig& config) {
  std::string error = config_error(config.raft);
  if (!error.empty()) return error;
  if (config.identity.node_id != config.raft.id) return "identity and Raft id name two nodes";
  if (config.waiting_count_max == 0) return "at least one request must be allowed to wait";
  if (config.request_timeout <= Duration(0)) return "the request timeout must be above 0";
  if (config.session_limits.timeout <= Duration(0)) return "the session timeout must be above 0";
  if (config.session_limits.session_count_max == 0) return "at least one session must be allowed";
  if (config.snapshot_interval <= Duration(0)) return "the snapshot interval must be above 0";
  if (config.snapshot_piece_bytes == 0 || config.snapshot_piece_bytes > kSnapshotPieceBytesMax) {
    return fmt::format("a snapshot's pieces must have 1 to {} bytes, not {}",
                       kSnapshotPieceBytesMax, config.snapshot_piece_bytes);
  }
  if (config.entry_increment_count_max == 0 ||
      config.entry_increment_count_max > kEntryIncrementCountMax) {
    return fmt::format("an entry may have 1 to {} increments, not {}", kEntryIncrementCountMax,
                       config.entry_increment_count_max);
  }
  return {};
}

Node::Node(const NodeConfig& config, Clock& clock, Network& network, Storage& storage)
    : config_(config),
      clock_(clock),
      network_(network),
      storage_(storage),
      forward_id_front_(draw(config.raft.seed, config.raft.id.value(), config.incarnation)) {
  const std::string error = config_error(config_);
  CHECK(error.empty(), "{}", error);
}

Recovered::Outcome Node::start() {
  CHECK(!raft_.has_value());
  Recovered recovered = storage_.recover(config_.identity, this);
  message_ = recovered.message;
  if (recovered.repairing && config_.raft.voters.size() == 1) {
    message_ +=
        ". This group has no others: only its data directory as it was when the node last ran, "
        "from a copy, brings it back";
  }
  const bool lost = recovered.outcome == Recovered::Outcome::kDamaged && !recovered.repairing;
  if (lost || recovered.outcome == Recovered::Outcome::kRefused) return recovered.outcome;
  if (recovered.outcome == Recovered::Outcome::kEmpty && !config_.first_start) {
    message_ = fmt::format(
        "node {} has been here before and its directory is empty: a wiped disk must not vote as if "
        "it had no past. It comes back by being removed from the group and added as a learner",
        config_.raft.id.value());
    return recovered.outcome;
  }
  for (const std::string& piece : recovered.pieces) {
    const std::string error = state_.load_piece(piece);
    // Its hash is right, so it was written like this.
    CHECK(error.empty(), "the snapshot up to {}: {}", recovered.snapshot->last.index.value(),
          error);
  }
  CHECK(!recovered.snapshot ||
            (state_.is_loaded() && state_.applied_index() == recovered.snapshot->last.index),
        "a snapshot that ends early");
  const Time now = clock_.now();
  snapshot_due_at_ = now + config_.snapshot_interval;
  snapshot_tried_at_ = state_.applied_index();
  raft_.emplace(config_.raft, recovered.hard_state,
                Log(recovered.base, std::move(recovered.entries)), recovered.snapshot, now,
                recovered.repairing ? config_.incarnation | 1 : 0);
  wake();
  note(NoteKind::recovered, kNoNode, raft_->term().value(), raft_->log().last_index().value());
  if (recovered.repairing) note(NoteKind::repair_begun);
  if (recovered.torn_bytes > 0) {
    note(NoteKind::recovered_torn_tail, kNoNode, recovered.torn_bytes);
  }
  return recovered.outcome;
}

void Node::set_limits(const NodeConfig& config) {
  config_.session_limits = config.session_limits;
  config_.snapshot_log_bytes = config.snapshot_log_bytes;
  config_.snapshot_interval = config.snapshot_interval;
  config_.kept_log_bytes = config.kept_log_bytes;
  config_.waiting_count_max = config.waiting_count_max;
  config_.request_timeout = config.request_timeout;
  snapshot_due_at_ = std::min(snapshot_due_at_, clock_.now() + config_.snapshot_interval);
}

void Node::receive(Envelope&& envelope) {
  if (running()) inbox_.push_back(std::move(envelope));
}

void Node::on_storage_done(bool durable, const std::string& error) {
  CHECK(write_in_flight_ || !durable);
  write_in_flight_ = false;
  if (!durable) {
    // Fail-stop: what the disk holds now is not known, so nothing more may be promised.
    failed_ = true;
    message_ = error;
    clock_.set_deadline(kNever);
    return;
  }
  durable_number_ = in_flight_number_;
  synced_news_ = true;
}

void Node::wake() {
  if (!running()) return;
  const Time now = clock_.now();
  notes_.clear();
  inputs_.clear();
  if (synced_news_) {
    release_sends();
    inputs_.emplace_back(Synced{durable_number_});
  }
  look_for_room(now);
  take_inbox(now);
  take_snapshot_events(now);
  if (transfer_requested_) inputs_.emplace_back(Transfer{*transfer_requested_});
  transfer_requested_.reset();
  raft_->step(now, inputs_, output_);
  notes_.insert(notes_.end(), output_.notes.begin(), output_.notes.end());
  handle_output(now);
  give_up_forwards();
  expire_waiting(now);
  update_deadline(now);
  synced_news_ = false;
}

// A full disk is looked at as often as a follower is. What a snapshot covers goes first, also what
// would be kept for followers: they are served from memory, and get the snapshot after a restart.
void Node::look_for_room(Time now) {
  if (storage_.is_full() && now >= room_due_at_) {
    room_due_at_ = now + config_.raft.heartbeat_interval;
    if (raft_->snapshot()) {
      storage_.compact(std::min(raft_->snapshot()->last.index, raft_->durable_index()));
    }
    storage_.try_again();
  }
  if (storage_.is_full() == full_) return;
  full_ = !full_;
  room_snapshot_due_at_ = now;
  note(full_ ? NoteKind::disk_full : NoteKind::disk_has_room);
  inputs_.emplace_back(StorageFull{full_});
}

void Node::take_inbox(Time now) {
  const bool followers_full = raft_->lacks_room();
  for (Envelope& envelope : inbox_) {
    if (std::holds_alternative<ClientRequest>(envelope.message)) {
      admit(std::move(envelope), now, followers_full);
    } else if (auto* response = std::get_if<ValueResponse>(&envelope.message)) {
      on_forward_answer(*response);
    } else if (!is_client(envelope.from)) {
      inputs_.emplace_back(Received{node_of(envelope.from), std::move(envelope.message)});
    }
  }
  inbox_.clear();
  propose_increments();
}

// Turns a client's request into an input of Raft, passes it on, or refuses it.
void Node::admit(Envelope&& envelope, Time now, bool followers_full) {
  auto& request = std::get<ClientRequest>(envelope.message);
  const Endpoint client = envelope.from;
  auto* increment = std::get_if<IncrementAndGetRequest>(&request.operation);
  auto* get = std::get_if<GetValueRequest>(&request.operation);
  if (increment != nullptr || get != nullptr) {
    const std::string error =
        counter_name_error(increment != nullptr ? increment->name.view() : get->name);
    if (!error.empty()) {
      network_.send({endpoint_of(config_.raft.id), client,
                     ValueResponse{.request_id = request.request_id,
                                   .outcome = Outcome::kRejected,
                                   .reason = Reason::kBadRequest,
                                   .value = 0,
                                   .leader_hint = kNoNode,
                                   .error_msg = error}});
      return;
    }
  }
  if (waiting_count() >= config_.waiting_count_max) {
    note(NoteKind::request_refused_busy, kNoNode, waiting_count());
    answer(client, request.request_id, Outcome::kNotApplied, Reason::kBusy);
    return;
  }
  if (!raft_->is_leader()) {
    forward(client, std::move(request), now);
    return;
  }
  if (!is_read(request) && storage_.is_full()) {
    note(NoteKind::request_refused_disk_full);
    answer(client, request.request_id, Outcome::kNotApplied, Reason::kDiskFull);
    return;
  }
  if (!is_read(request) && followers_full) {
    note(NoteKind::request_refused_followers_full);
    answer(client, request.request_id, Outcome::kNotApplied, Reason::kDiskFull);
    return;
  }
  const Time deadline = now + config_.request_timeout;
  if (is_read(request)) {
    const uint64_t context = next_context_++;
    reads_.push_back({.context = context,
                      .client = client,
                      .request_id = request.request_id,
                      .deadline = deadline,
                      .index = LogIndex(0),
                      .index_only = get == nullptr,
                      .name = get == nullptr ? std::string() : std::move(get->name)});
    inputs_.emplace_back(ReadRequest{context});
    return;
  }
  if (increment != nullptr) {
    if (increment_count_ == 0) increments_context_ = next_context_++;
    writes_.push_back({increments_context_, client, request.request_id, deadline, LogIndex(0)});
    append_increment(*increment, increments_);
    const bool full = ++increment_count_ >= config_.entry_increment_count_max;
    if (full || increments_.size() >= kEntryBytes) propose_increments();
    return;
  }
  propose_increments();
  const uint64_t context = next_context_++;
  writes_.push_back({context, client, request.request_id, deadline, LogIndex(0)});
  const auto* close = std::get_if<CloseSessionRequest>(&request.operation);
  Bytes command = close != nullptr ? encode_close_session(close->session)
                                   : encode_open_session(config_.session_limits);
  inputs_.emplace_back(Propose{context, std::move(command)});
}

// They share an entry: what an entry costs on its way through the logs of all nodes is more than
// what most increments do.
void Node::propose_increments() {
  if (increment_count_ == 0) return;
  if (increment_count_ > 1) note(NoteKind::increments_share_entry, kNoNode, increment_count_);
  inputs_.emplace_back(Propose{increments_context_, Bytes(increments_)});
  increments_.clear();
  increment_count_ = 0;
}

void Node::forward(Endpoint client, ClientRequest&& request, Time now) {
  const NodeId leader = raft_->leader();
  if (leader == kNoNode || request.forwarded || !request.forward) {
    answer_refused(client, request.request_id);
    return;
  }
  note(NoteKind::request_forwarded, leader);
  const bool write = !is_read(request);
  const bool index_only = std::holds_alternative<ReadIndexRequest>(request.operation);
  forwards_.push_back(
      {client, request.request_id, now + config_.request_timeout, write, index_only});
  forward_leader_ = leader;
  ++forward_count_;
  request.request_id = forward_id_front_ + forwards_.size() - 1;
  request.forwarded = true;
  network_.send({endpoint_of(config_.raft.id), endpoint_of(leader), std::move(request)});
}

void Node::on_forward_answer(const ValueResponse& response) {
  const uint64_t position = response.request_id - forward_id_front_;
  if (position >= forwards_.size() || forwards_[position].client == Endpoint(0)) {
    note(NoteKind::forward_answer_late);
    return;
  }
  Forward& forward = forwards_[position];
  ValueResponse relayed = response;
  relayed.request_id = forward.request_id;
  if (forward.index_only && relayed.outcome == Outcome::kOk) {
    apply_wanted_ = std::max(apply_wanted_, LogIndex(static_cast<uint64_t>(relayed.value)));
  }
  // The answer speaks of one copy; the network may hold others, or have brought one before, and
  // lost its answer. Only a node that never sent a write on may say that it never will be applied.
  const bool of_this_copy =
      relayed.outcome == Outcome::kNotApplied ||
      (relayed.outcome == Outcome::kRejected &&
       (relayed.reason == Reason::kExpired || relayed.reason == Reason::kStaleSequence ||
        relayed.reason == Reason::kWindow));
  if (forward.write && of_this_copy) relayed.outcome = Outcome::kUnknown;
  network_.send({endpoint_of(config_.raft.id), forward.client, std::move(relayed)});
  forward.client = Endpoint(0);
  --forward_count_;
  drop_answered_forwards();
}

void Node::drop_answered_forwards() {
  while (!forwards_.empty() && forwards_.front().client == Endpoint(0)) {
    forwards_.pop_front();
    ++forward_id_front_;
  }
}

// Another node leads by now: the one that they were passed on to may be gone, and whoever waits
// does better to ask again than to wait for the end of the time.
void Node::give_up_forwards() {
  const NodeId leader = raft_->leader();
  if (leader == kNoNode || leader == forward_leader_ || forward_count_ == 0) return;
  note(NoteKind::forwards_given_up, forward_leader_, forward_count_, leader.value());
  for (Forward& forward : forwards_) {
    if (forward.client == Endpoint(0)) continue;
    answer(forward.client, forward.request_id,
           forward.write ? Outcome::kUnknown : Outcome::kNotApplied, Reason::kLeadershipLost);
    forward.client = Endpoint(0);
  }
  forward_count_ = 0;
  drop_answered_forwards();
}

void Node::release_sends() {
  while (!send_after_.empty() && send_after_.front().number <= durable_number_) {
    network_.send(std::move(send_after_.front().envelope));
    send_after_.pop_front();
  }
}

void Node::handle_output(Time now) {
  for (Envelope& envelope : output_.send_now) network_.send(std::move(envelope));
  for (Envelope& envelope : output_.send_after) {
    send_after_.push_back({output_.persist_number, std::move(envelope)});
  }
  if (output_.restored) restore();
  owe_writes();
  maybe_write();
  settle_proposals();
  if (!puts_off_apply(now)) apply_committed();
  serve_reads();
  receive_pieces();
}

void Node::owe_writes() {
  owed_number_ = output_.persist_number;
  hard_state_owed_ |= output_.persist.hard_state;
  whole_owed_ |= output_.persist.whole;
  if (output_.persist.reset) {
    reset_owed_ = true;
    entries_owed_from_ = LogIndex(0);
  }
  const LogIndex first = output_.persist.first_index;
  if (first != LogIndex(0) && (entries_owed_from_ == LogIndex(0) || first < entries_owed_from_)) {
    entries_owed_from_ = first;
  }
}

void Node::maybe_write() {
  const bool owed =
      hard_state_owed_ || reset_owed_ || whole_owed_ || entries_owed_from_ != LogIndex(0);
  if (write_in_flight_ || !owed) return;
  write_.hard_state.reset();
  write_.reset.reset();
  write_.whole = std::exchange(whole_owed_, false);
  write_.entries.clear();
  if (hard_state_owed_) write_.hard_state = raft_->hard_state();
  if (reset_owed_) write_.reset = raft_->log().base();
  if (entries_owed_from_ != LogIndex(0)) {
    const Log& log = raft_->log();
    for (LogIndex i = entries_owed_from_; i <= log.last_index(); ++i) {
      write_.entries.push_back(log.at(i));
    }
  }
  hard_state_owed_ = false;
  reset_owed_ = false;
  entries_owed_from_ = LogIndex(0);
  write_in_flight_ = true;
  in_flight_number_ = owed_number_;
  storage_.write(write_);
}

// Proposals and reads that Raft took, refused or gave up.
void Node::settle_proposals() {
  for (const Output::Accepted& accepted : output_.accepted) {
    const auto [first, end] = find_context(writes_, accepted.context);
    for (auto write = first; write != end; ++write) write->index = accepted.index;
    proposed_count_ += static_cast<uint64_t>(end - first);
  }
  for (const uint64_t context : output_.refused) {
    const auto [first, end] = find_context(writes_, context);
    for (auto write = first; write != end; ++write) {
      answer_refused(write->client, write->request_id);
    }
    writes_.erase(first, end);
  }
  for (const Output::ReadReady& ready : output_.reads_ready) {
    const auto [read, end] = find_context(reads_, ready.context);
    if (read != end) read->index = ready.index;
  }
  for (const uint64_t context : output_.reads_refused) {
    const auto [read, end] = find_context(reads_, context);
    if (read != end) read->refused = true;
  }
  if (!output_.lost_leadership || writes_.empty()) return;
  // Their entries may yet be committed by the next leader, or never.
  note(NoteKind::request_lost_leadership, kNoNode, writes_.size());
  for (const WaitingWrite& write : writes_) {
    answer(write.client, write.request_id, Outcome::kUnknown, Reason::kLeadershipLost);
  }
  writes_.clear();
}

// A follower that nobody waits for acknowledges first: what it learns to be committed is applied
// once its write is durable and what that released has left, in a wake-up of its own. When the next
// write has begun by then, it is applied beside that one; and it never waits long for a disk.
bool Node::puts_off_apply(Time now) {
  const uint64_t behind = raft_->commit_index() - state_.applied_index();
  const bool waited_for =
      raft_->is_leader() || apply_wanted_ > state_.applied_index() || storage_.is_full();
  if (waited_for || behind == 0 || behind > kPutOffMax || write_in_flight_ == synced_news_) {
    apply_put_off_at_ = kNever;
    return false;
  }
  apply_put_off_at_ = std::min(apply_put_off_at_, now);
  return now - apply_put_off_at_ < config_.raft.heartbeat_interval;
}

void Node::apply_committed() {
  while (state_.applied_index() < raft_->commit_index()) {
    const Entry& entry = raft_->log().at(state_.applied_index() + 1);
    const std::span<const ApplyResult> results = state_.apply(entry);
    applied_bytes_ += entry.data.size();
    applied_count_ += results.size();
    for (const ApplyResult& result : results) {
      note_apply(result);
      if (writes_.empty() || writes_.front().index != entry.index) continue;
      const WaitingWrite& write = writes_.front();
      answer(write.client, write.request_id, result.outcome, result.reason, result.value);
      writes_.pop_front();
    }
  }
}

void Node::note_apply(const ApplyResult& result) {
  if (result.duplicate) note(NoteKind::retry_answered_from_session);
  switch (result.reason) {
    case Reason::kExpired: return note(NoteKind::session_unknown);
    case Reason::kSessionsFull: return note(NoteKind::session_table_full);
    case Reason::kStaleSequence: return note(NoteKind::stale_sequence_refused);
    case Reason::kBounds: return note(NoteKind::rejected_bounds);
    case Reason::kOverflow: return note(NoteKind::rejected_overflow);
    default: return;
  }
}

// Reads wait for the state machine to reach the index that Raft named.
void Node::serve_reads() {
  while (!reads_.empty()) {
    const WaitingRead& read = reads_.front();
    if (read.refused) {
      answer(read.client, read.request_id, Outcome::kNotApplied, Reason::kLeadershipLost);
    } else if (read.index != LogIndex(0) && read.index <= state_.applied_index()) {
      answer(read.client, read.request_id, Outcome::kOk, Reason::kNone,
             read.index_only ? static_cast<int64_t>(read.index.value()) : state_.value(read.name));
    } else {
      return;
    }
    reads_.pop_front();
  }
}

void Node::expire_waiting(Time now) {
  while (!writes_.empty() && writes_.front().deadline <= now) {
    note(NoteKind::request_timed_out);
    answer(writes_.front().client, writes_.front().request_id, Outcome::kUnknown,
           Reason::kTimedOut);
    writes_.pop_front();
  }
  while (!reads_.empty() && reads_.front().deadline <= now) {
    note(NoteKind::request_timed_out);
    answer(reads_.front().client, reads_.front().request_id, Outcome::kNotApplied,
           Reason::kTimedOut);
    reads_.pop_front();
  }
  // The one at the front waits for an answer.
  while (!forwards_.empty() && forwards_.front().deadline <= now) {
    Forward& forward = forwards_.front();
    note(NoteKind::request_timed_out);
    answer(forward.client, forward.request_id,
           forward.write ? Outcome::kUnknown : Outcome::kNotApplied, Reason::kTimedOut);
    forward.client = Endpoint(0);
    --forward_count_;
    drop_answered_forwards();
  }
}

void Node::update_deadline(Time now) {
  Time deadline = output_.deadline;
  // One that is due and cannot begin yet is looked at again whenever something happens.
  if (snapshot_due_at_ > now) deadline = std::min(deadline, snapshot_due_at_);
  if (storage_.is_full()) deadline = std::min(deadline, std::max(room_due_at_, now));
  if (is_filling_piece()) deadline = std::min(deadline, now);
  const bool applies_next = state_.applied_index() < raft_->commit_index() && !write_in_flight_;
  if (applies_next) deadline = std::min(deadline, now);
  if (!writes_.empty()) deadline = std::min(deadline, writes_.front().deadline);
  if (!reads_.empty()) deadline = std::min(deadline, reads_.front().deadline);
  if (!forwards_.empty()) deadline = std::min(deadline, forwards_.front().deadline);
  clock_.set_deadline(deadline);
}

void Node::answer(Endpoint client, uint64_t request_id, Outcome outcome, Reason reason,
                  int64_t value) {
  ValueResponse response;
  response.request_id = request_id;
  response.outcome = outcome;
  response.reason = reason;
  response.value = value;
  if (outcome != Outcome::kOk) {
    response.leader_hint = raft_->leader();
    response.error_msg = to_string(reason);
  }
  network_.send({endpoint_of(config_.raft.id), client, std::move(response)});
}

// For a request that this node neither proposed nor passed on.
void Node::answer_refused(Endpoint client, uint64_t request_id) {
  if (raft_->transfer_to() != kNoNode) {
    note(NoteKind::request_refused_transfer, raft_->transfer_to());
    answer(client, request_id, Outcome::kNotApplied, Reason::kTransfer);
    return;
  }
  if (raft_->leader() == kNoNode || raft_->is_leader()) {
    note(NoteKind::request_refused_no_leader);
  } else {
    note(NoteKind::request_refused_redirect, raft_->leader());
  }
  answer(client, request_id, Outcome::kNotApplied, Reason::kNotLeader);
}

}  // namespace tally
