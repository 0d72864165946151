#include "core/node.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/draw.h"

namespace tally {
namespace {

// Entries. Should a follower have no moment for itself, it falls no further behind.
constexpr uint64_t kPutOffMax = 4096;

// The waiting request of this context; end() when it was answered already. `waiting` is in order of
// context, and mostly without gaps.
template <class Waiting>
auto find_context(std::deque<Waiting>& waiting, uint64_t context) {
  const size_t place = waiting.empty() ? 0 : context - waiting.front().context;
  if (place < waiting.size() && waiting[place].context == context) {
    return waiting.begin() + static_cast<ptrdiff_t>(place);
  }
  const auto found = std::lower_bound(
      waiting.begin(), waiting.end(), context,
      [](const Waiting& request, uint64_t wanted) { return request.context < wanted; });
  return found != waiting.end() && found->context == context ? found : waiting.end();
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
  handle_output();
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
  const uint64_t context = next_context_++;
  const Time deadline = now + config_.request_timeout;
  if (is_read(request)) {
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
  writes_.push_back({context, client, request.request_id, deadline, LogIndex(0)});
  const auto* close = std::get_if<CloseSessionRequest>(&request.operation);
  Bytes command = increment != nullptr ? encode_increment(*increment)
                  : close != nullptr   ? encode_close_session(close->session)
                                       : encode_open_session(config_.session_limits);
  inputs_.emplace_back(Propose{context, std::move(command)});
}

void Node::forward(Endpoint client, ClientRequest&& request, Time now) {
  const NodeId leader = raft_->leader();
  if (leader == kNoNode || request.forwarded || !request.forward) {
    answer_refused(client, request.request_id);
    return;
  }
  note(NoteKind::request_forwarded, leader);
  const bool write = !is_read(request);
  forwards_.push_back({client, request.request_id, now + config_.request_timeout, write});
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

void Node::handle_output() {
  for (Envelope& envelope : output_.send_now) network_.send(std::move(envelope));
  for (Envelope& envelope : output_.send_after) {
    send_after_.push_back({output_.persist_number, std::move(envelope)});
  }
  if (output_.restored) restore();
  owe_writes();
  maybe_write();
  settle_proposals();
  if (!puts_off_apply()) apply_committed();
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
    const auto write = find_context(writes_, accepted.context);
    if (write != writes_.end()) write->index = accepted.index;
  }
  for (const uint64_t context : output_.refused) {
    const auto write = find_context(writes_, context);
    CHECK(write != writes_.end());
    answer_refused(write->client, write->request_id);
    writes_.erase(write);
  }
  for (const Output::ReadReady& ready : output_.reads_ready) {
    const auto read = find_context(reads_, ready.context);
    if (read != reads_.end()) read->index = ready.index;
  }
  for (const uint64_t context : output_.reads_refused) {
    const auto read = find_context(reads_, context);
    if (read != reads_.end()) read->refused = true;
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
// write has begun by then, it is applied beside that one.
bool Node::puts_off_apply() const {
  return !raft_->is_leader() && reads_.empty() && write_in_flight_ != synced_news_ &&
         raft_->commit_index() - state_.applied_index() <= kPutOffMax;
}

void Node::apply_committed() {
  while (state_.applied_index() < raft_->commit_index()) {
    const Entry& entry = raft_->log().at(state_.applied_index() + 1);
    const ApplyResult result = state_.apply(entry);
    applied_bytes_ += entry.data.size();
    if (entry.type == EntryType::kNoop) continue;
    note_apply(result);
    if (writes_.empty() || writes_.front().index != entry.index) continue;
    answer(writes_.front().client, writes_.front().request_id, result.outcome, result.reason,
           result.value);
    writes_.pop_front();
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
