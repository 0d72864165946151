// The driver (core/node): one node of three over a clock, a network and a storage in memory; the
// test plays the other two and the clients. What is written when, what leaves when, what every
// client is told.
#include "core/node.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tally {
namespace {

using std::chrono::milliseconds;

class MemoryClock final : public Clock {
 public:
  Time now() override { return now_; }
  void set_deadline(Time deadline) override { deadline_ = deadline; }

  Time now_{std::chrono::hours(5)};
  Time deadline_ = kNever;
};

class MemoryNetwork final : public Network {
 public:
  void send(Envelope&& envelope) override { sent_.push_back(std::move(envelope)); }
  std::vector<Envelope> sent_;
};

class MemoryStorage final : public Storage {
 public:
  Recovered recover(const Identity&, StorageClient* client) override {
    client_ = client;
    return recovered_;
  }
  void write(const StorageWrite& write) override {
    ASSERT_FALSE(in_flight_) << "two writes in flight";
    in_flight_ = true;
    writes_.push_back(write);
  }
  void complete(bool durable, const std::string& error = {}) {
    ASSERT_TRUE(in_flight_);
    in_flight_ = false;
    client_->on_storage_done(durable, error);
  }

  void begin_snapshot(const EntryMark& last) override {
    writing_ = SnapshotId{last, 0, 0};
    writing_pieces_.clear();
    snapshot_call_ = false;
  }
  void write_piece(std::string_view piece) override {
    ASSERT_FALSE(snapshot_call_) << "two calls on a snapshot";
    snapshot_call_ = true;
    ++writing_.piece_count;
    writing_.hash = snapshot_hash(writing_.hash, piece);
    writing_pieces_.emplace_back(piece);
  }
  void finish_snapshot() override {
    ASSERT_FALSE(snapshot_call_) << "two calls on a snapshot";
    snapshot_call_ = true;
    finishing_ = true;
  }
  void complete_snapshot(bool ok = true) {
    ASSERT_TRUE(snapshot_call_);
    snapshot_call_ = false;
    if (finishing_ && ok) {
      snapshot_ = writing_;
      pieces_ = writing_pieces_;
    }
    finishing_ = false;
    client_->on_snapshot_written(ok, ok ? "" : "disk full");
  }
  const std::optional<SnapshotId>& snapshot() const override { return snapshot_; }
  void read_piece(const SnapshotId& id, uint64_t piece) override { reads_.emplace_back(id, piece); }
  void complete_reads() {
    for (const auto& [id, piece] : std::exchange(reads_, {})) {
      client_->on_snapshot_read(id, piece, snapshot_ == id ? pieces_[piece] : "");
    }
  }
  void compact(LogIndex base) override { compacted_ = base; }
  bool is_full() const override { return full_; }
  void try_again() override { ++tries_; }

  bool full_ = false;
  int tries_ = 0;

  SnapshotId writing_;
  std::vector<std::string> writing_pieces_;
  bool snapshot_call_ = false;
  bool finishing_ = false;
  std::optional<SnapshotId> snapshot_;
  std::vector<std::string> pieces_;
  std::vector<std::pair<SnapshotId, uint64_t>> reads_;
  LogIndex compacted_;

  Recovered recovered_;
  StorageClient* client_ = nullptr;
  bool in_flight_ = false;
  std::vector<StorageWrite> writes_;
};

constexpr Endpoint kClient = kFirstClient;

class NodeTest : public ::testing::Test {
 protected:
  NodeTest() {
    config_.identity.node_id = NodeId(1);
    config_.raft.id = NodeId(1);
    config_.raft.voters = {NodeId(1), NodeId(2), NodeId(3)};
    config_.request_timeout = milliseconds(300);
    config_.incarnation = 1;
  }

  void start() {
    node_.emplace(config_, clock_, network_, storage_);
    node_->start();
  }
  void restart() {
    ++config_.incarnation;
    storage_.in_flight_ = false;
    network_.sent_.clear();
    start();
  }

  // ---- what comes

  void receive(Endpoint from, Message message) {
    node_->receive({from, endpoint_of(NodeId(1)), std::move(message)});
    node_->wake();
  }
  void receive(uint64_t from, Message message) {
    receive(endpoint_of(NodeId(from)), std::move(message));
  }
  void request(uint64_t id, decltype(ClientRequest::operation) operation, bool forward = true) {
    receive(kClient, ClientRequest{id, forward, false, std::move(operation)});
  }
  void increment(uint64_t id, int64_t delta = 1, uint64_t sequence = 1, bool forward = true) {
    request(id, IncrementAndGetRequest{Bytes("hits"), delta, {}, {}, SessionId(2), sequence, 1},
            forward);
  }
  // For the next wake().
  void request_later(uint64_t id, decltype(ClientRequest::operation) operation) {
    node_->receive(
        {kClient, endpoint_of(NodeId(1)), ClientRequest{id, true, false, std::move(operation)}});
  }
  // Its sequence is its number.
  void queue_increment(uint64_t id, int64_t delta) {
    request_later(id, IncrementAndGetRequest{Bytes("hits"), delta, {}, {}, SessionId(2), id, 1});
  }
  void get(uint64_t id, bool forward = true) { request(id, GetValueRequest{"hits"}, forward); }

  void sync() {
    storage_.complete(true);
    node_->wake();
  }
  void sync_all() {
    while (storage_.in_flight_) sync();
  }
  // A follower acknowledges first.
  void apply_all() {
    sync_all();
    node_->wake();
  }
  void pass(Duration time) {
    clock_.now_ += time;
    node_->wake();
  }

  // ---- roles

  void follow(uint64_t leader, uint64_t term = 1) {
    AppendRequest heartbeat;
    heartbeat.term = Term(term);
    receive(leader, heartbeat);
    sync_all();
    network_.sent_.clear();
  }
  // Elected by n2; its no-op is entry 1, not committed yet.
  void become_leader() {
    sync_all();
    clock_.now_ = clock_.deadline_;
    node_->wake();
    receive(2, VoteReply{.term = Term(1), .pre_vote = true, .granted = true});
    sync_all();
    receive(2, VoteReply{.term = Term(1), .pre_vote = false, .granted = true});
    ASSERT_TRUE(node_->raft().is_leader());
  }
  // n2 holds everything up to `match`, and has heard the newest append.
  struct Says {
    bool full = false;
  };
  void acknowledge(uint64_t match, Says says = {.full = false}) {
    const auto* append = last_to<AppendRequest>(2);
    ASSERT_NE(append, nullptr);
    AppendReply reply;
    reply.term = append->term;
    reply.success = true;
    reply.match_index = LogIndex(match);
    reply.round = append->round;
    reply.sent_at = append->sent_at;
    reply.full = says.full;
    receive(2, reply);
  }
  // Leads with an open session: entries 1 (no-op) and 2 (the session, so its id is 2).
  void lead_with_session() {
    start();
    become_leader();
    request(100, OpenSessionRequest{});
    sync_all();
    acknowledge(2);
    ASSERT_EQ(answer(100)->value, 2);
    network_.sent_.clear();
    storage_.writes_.clear();
  }

  void increment_until(uint64_t last);
  void finish_snapshot();
  void append_and_commit(uint64_t index, uint64_t commit);
  // n2 answers the newest heartbeat.
  void keep_leading() { acknowledge(node_->raft().log().last_index().value()); }

  // ---- what left

  template <class Kind>
  const Kind* last_to(uint64_t node) const {
    for (auto it = network_.sent_.rbegin(); it != network_.sent_.rend(); ++it) {
      if (it->to != endpoint_of(NodeId(node))) continue;
      if (const auto* message = std::get_if<Kind>(&it->message)) return message;
    }
    return nullptr;
  }
  const ValueResponse* answer(uint64_t id) const {
    const ValueResponse* found = nullptr;
    for (const Envelope& envelope : network_.sent_) {
      const auto* response = std::get_if<ValueResponse>(&envelope.message);
      if (response == nullptr || envelope.to != kClient || response->request_id != id) continue;
      EXPECT_EQ(found, nullptr) << "request " << id << " has two answers";
      found = response;
    }
    return found;
  }
  void expect_answer(uint64_t id, Outcome outcome, Reason reason) {
    const ValueResponse* response = answer(id);
    ASSERT_NE(response, nullptr) << "request " << id << " has no answer";
    EXPECT_EQ(to_string(response->outcome), to_string(outcome));
    EXPECT_EQ(to_string(response->reason), to_string(reason));
  }
  bool noted(NoteKind kind) const {
    for (const Note& note : node_->last_notes()) {
      if (note.kind == kind) return true;
    }
    return false;
  }

  NodeConfig config_;
  MemoryClock clock_;
  MemoryNetwork network_;
  MemoryStorage storage_;
  std::optional<Node> node_;
};

// ---- durability

TEST_F(NodeTest, AVoteLeavesOnlyWhenItIsDurable) {
  start();
  sync_all();
  receive(2, VoteRequest{.term = Term(1),
                         .pre_vote = false,
                         .last_log_index = LogIndex(0),
                         .last_log_term = Term(0)});
  EXPECT_EQ(last_to<VoteReply>(2), nullptr);
  ASSERT_EQ(storage_.writes_.back().hard_state, (HardState{Term(1), NodeId(2)}));
  sync();
  ASSERT_NE(last_to<VoteReply>(2), nullptr);
  EXPECT_TRUE(last_to<VoteReply>(2)->granted);
}

TEST_F(NodeTest, AFollowerAcknowledgesOnlyWhatIsDurable) {
  start();
  follow(2);
  AppendRequest append;
  append.term = Term(1);
  append.entries = {Entry{LogIndex(1), Term(1), LogTime(1), EntryType::kNoop, Bytes()}};
  receive(2, append);
  EXPECT_EQ(last_to<AppendReply>(2), nullptr);
  sync();
  ASSERT_NE(last_to<AppendReply>(2), nullptr);
  EXPECT_EQ(last_to<AppendReply>(2)->match_index, LogIndex(1));
}

TEST_F(NodeTest, ALeadersAppendsDoNotWaitForItsDisk) {
  lead_with_session();
  increment(1);
  EXPECT_TRUE(storage_.in_flight_);
  ASSERT_NE(last_to<AppendRequest>(2), nullptr);
  EXPECT_EQ(last_to<AppendRequest>(2)->entries.back().index, LogIndex(3));
}

TEST_F(NodeTest, WhatComesDuringAWriteJoinsTheNextOne) {
  lead_with_session();
  for (const uint64_t id : {1u, 2u, 3u}) increment(id, 1, id);
  ASSERT_EQ(storage_.writes_.size(), 1u);
  EXPECT_EQ(storage_.writes_[0].entries.size(), 1u);
  sync();
  ASSERT_EQ(storage_.writes_.size(), 2u);
  EXPECT_EQ(storage_.writes_[1].entries.size(), 2u);
  sync();
  EXPECT_EQ(storage_.writes_.size(), 2u);
}

TEST_F(NodeTest, AFailedWriteStopsTheNode) {
  lead_with_session();
  increment(1);
  network_.sent_.clear();
  storage_.complete(false, "wal-1: input/output error at 4096");
  EXPECT_FALSE(node_->running());
  EXPECT_EQ(node_->message(), "wal-1: input/output error at 4096");
  EXPECT_EQ(clock_.deadline_, kNever);
  increment(2, 1, 2);
  pass(std::chrono::seconds(9));
  EXPECT_TRUE(network_.sent_.empty()) << "a stopped node says nothing";
}

TEST_F(NodeTest, AFullDiskRefusesWritesServesReadsAndGoesOn) {
  lead_with_session();
  storage_.full_ = true;
  pass(std::chrono::milliseconds(1));
  EXPECT_TRUE(noted(NoteKind::disk_full));
  EXPECT_TRUE(noted(NoteKind::stepped_down_full_disk));
  network_.sent_.clear();
  const int tries = storage_.tries_;
  pass(std::chrono::seconds(1));
  EXPECT_GT(storage_.tries_, tries) << "looks for room by itself";
  storage_.full_ = false;
  pass(std::chrono::seconds(1));
  EXPECT_TRUE(noted(NoteKind::disk_has_room));
}

// A snapshot is taken, and all that it covers goes, also what would be kept for followers.
TEST_F(NodeTest, AFullDiskMakesItsLogAsShortAsItCan) {
  lead_with_session();
  increment_until(5);
  storage_.full_ = true;
  pass(milliseconds(1));
  ASSERT_TRUE(storage_.snapshot_call_) << "begun by itself";
  finish_snapshot();
  EXPECT_EQ(storage_.snapshot_->last.index, LogIndex(5));
  pass(config_.raft.heartbeat_interval);
  EXPECT_EQ(storage_.compacted_, LogIndex(5));
  EXPECT_EQ(node_->raft().log().base_index(), LogIndex(0)) << "memory serves the followers";
  pass(std::chrono::minutes(1));
  EXPECT_FALSE(storage_.snapshot_call_) << "nothing was applied since";
}

TEST_F(NodeTest, AFullDiskThatTakesNoSnapshotIsAskedAgainNowAndThen) {
  lead_with_session();
  storage_.full_ = true;
  pass(milliseconds(1));
  ASSERT_TRUE(storage_.snapshot_call_);
  storage_.complete_snapshot(false);
  pass(milliseconds(1));
  pass(config_.raft.election_timeout_min);
  EXPECT_FALSE(storage_.snapshot_call_) << "not at once";
  pass(10 * config_.raft.election_timeout_min);
  EXPECT_TRUE(storage_.snapshot_call_);
}

TEST_F(NodeTest, ALeaderWithAFullDiskSaysThatNothingWasApplied) {
  lead_with_session();
  // Full by the time the request is taken; Raft hears of it in the same step.
  storage_.full_ = true;
  increment(1);
  expect_answer(1, Outcome::kNotApplied, Reason::kDiskFull);
}

TEST_F(NodeTest, WhenNoQuorumHasRoomWritesAreRefusedAndReadsAreNot) {
  lead_with_session();
  // n3 is silent, and counts as one with room for as long as it may be.
  for (int i = 0; i < 10; ++i) {
    pass(config_.raft.heartbeat_interval);
    acknowledge(2, {.full = true});
  }
  increment(1);
  expect_answer(1, Outcome::kNotApplied, Reason::kDiskFull);
  EXPECT_TRUE(noted(NoteKind::request_refused_followers_full));
  request(2, OpenSessionRequest{});
  expect_answer(2, Outcome::kNotApplied, Reason::kDiskFull);
  get(3);
  request(5, ReadIndexRequest{});
  acknowledge(2, {.full = true});
  ASSERT_TRUE(node_->raft().is_leader());
  expect_answer(3, Outcome::kOk, Reason::kNone);
  expect_answer(5, Outcome::kOk, Reason::kNone);
  EXPECT_TRUE(storage_.writes_.empty()) << "nothing was proposed";
  pass(config_.raft.heartbeat_interval);
  acknowledge(2);
  increment(4);
  EXPECT_EQ(answer(4), nullptr) << "taken: n2 has room";
  EXPECT_EQ(storage_.writes_.size(), 1u);
}

TEST_F(NodeTest, ALeaderThatHandsOverSaysThatNothingWasApplied) {
  lead_with_session();
  node_->request_transfer(NodeId(2));
  pass(std::chrono::milliseconds(1));
  increment(1);
  expect_answer(1, Outcome::kNotApplied, Reason::kTransfer);
}

TEST_F(NodeTest, LimitsMayChangeWhileTheNodeRuns) {
  lead_with_session();
  NodeConfig limits = config_;
  limits.request_timeout = std::chrono::milliseconds(200);
  limits.waiting_count_max = 1;
  node_->set_limits(limits);
  increment(1);
  increment(2);
  expect_answer(2, Outcome::kNotApplied, Reason::kBusy);
  pass(std::chrono::milliseconds(200));
  expect_answer(1, Outcome::kUnknown, Reason::kTimedOut);
}

TEST_F(NodeTest, AStorageThatFailsBetweenWritesStopsTheNode) {
  lead_with_session();
  storage_.client_->on_storage_done(false, "sync of a snapshot failed");
  EXPECT_FALSE(node_->running());
  EXPECT_EQ(node_->message(), "sync of a snapshot failed");
}

TEST_F(NodeTest, ADamagedDiskKeepsTheNodeOut) {
  for (const auto outcome : {Recovered::Outcome::kDamaged, Recovered::Outcome::kRefused}) {
    storage_.recovered_.outcome = outcome;
    storage_.recovered_.message = "wal-1: damaged at 4096";
    start();
    EXPECT_FALSE(node_->running());
    EXPECT_EQ(node_->message(), "wal-1: damaged at 4096");
    increment(1);
    EXPECT_TRUE(network_.sent_.empty());
  }
}

TEST_F(NodeTest, ADamagedNodeThatIsAloneIsNotToldToWaitForOthers) {
  for (const bool alone : {false, true}) {
    if (alone) config_.raft.voters = {config_.raft.id};
    storage_.recovered_.outcome = Recovered::Outcome::kDamaged;
    storage_.recovered_.repairing = true;
    storage_.in_flight_ = false;
    start();
    EXPECT_EQ(node_->message().find("no others") != std::string::npos, alone);
  }
}

TEST_F(NodeTest, AnEmptyDirectoryThatShouldNotBeKeepsTheNodeOut) {
  config_.first_start = false;
  start();
  EXPECT_FALSE(node_->running());
  EXPECT_NE(node_->message().find("added as a learner"), std::string::npos);
}

// It stores and follows, and says which repair it is in; nothing of it counts before it holds what
// a leader has confirmed for this very repair.
TEST_F(NodeTest, ADamagedNodeIsSilentUntilItHoldsWhatWasCommittedWhenItAsked) {
  storage_.recovered_.outcome = Recovered::Outcome::kDamaged;
  storage_.recovered_.repairing = true;
  storage_.recovered_.hard_state = {Term(4), NodeId(3)};
  start();
  EXPECT_TRUE(noted(NoteKind::repair_begun));
  sync_all();
  receive(2, VoteRequest{.term = Term(5),
                         .pre_vote = false,
                         .last_log_index = LogIndex(9),
                         .last_log_term = Term(4)});
  sync_all();
  EXPECT_FALSE(last_to<VoteReply>(2)->granted);
  EXPECT_EQ(node_->raft().term(), Term(4));

  AppendRequest append;
  append.term = Term(4);
  append.entries = {Entry{LogIndex(1), Term(4), LogTime(1), EntryType::kNoop, Bytes()}};
  receive(3, append);
  sync_all();
  const AppendReply stored = *last_to<AppendReply>(3);
  EXPECT_EQ(stored.match_index, LogIndex(1));
  EXPECT_NE(stored.repair, 0u);

  append.entries.clear();
  append.prev_log_index = LogIndex(1);
  append.prev_log_term = Term(4);
  append.repair_index = LogIndex(1);
  append.repair = stored.repair + 2;  // an answer to an earlier start
  receive(3, append);
  sync_all();
  EXPECT_TRUE(node_->raft().is_repairing());
  append.repair = stored.repair;
  receive(3, append);
  ASSERT_TRUE(storage_.writes_.back().whole);
  EXPECT_NE(last_to<AppendReply>(3)->repair, 0u) << "not before it is durable";
  sync_all();
  EXPECT_FALSE(node_->raft().is_repairing());
  receive(3, append);
  EXPECT_EQ(last_to<AppendReply>(3)->repair, 0u);
}

TEST_F(NodeTest, ADamagedNodeThatHearsNobodyWaitsAndSaysSo) {
  storage_.recovered_.outcome = Recovered::Outcome::kDamaged;
  storage_.recovered_.repairing = true;
  start();
  sync_all();
  network_.sent_.clear();
  pass(std::chrono::seconds(3));
  EXPECT_TRUE(noted(NoteKind::repair_waits));
  EXPECT_TRUE(network_.sent_.empty());
}

TEST_F(NodeTest, WhatWasRecoveredIsThere) {
  storage_.recovered_.outcome = Recovered::Outcome::kWhole;
  storage_.recovered_.hard_state = {Term(4), NodeId(3)};
  storage_.recovered_.entries = {
      Entry{LogIndex(1), Term(4), LogTime(1), EntryType::kNoop, Bytes()}};
  storage_.recovered_.torn_bytes = 12;
  start();
  EXPECT_EQ(node_->raft().term(), Term(4));
  EXPECT_EQ(node_->raft().log().last_index(), LogIndex(1));
  EXPECT_TRUE(noted(NoteKind::recovered));
  EXPECT_TRUE(noted(NoteKind::recovered_torn_tail));
}

// ---- writes and reads at the leader

TEST_F(NodeTest, AnIncrementIsAnsweredWhenItIsCommitted) {
  lead_with_session();
  increment(1, 5);
  sync();
  EXPECT_EQ(answer(1), nullptr);
  acknowledge(3);
  expect_answer(1, Outcome::kOk, Reason::kNone);
  EXPECT_EQ(answer(1)->value, 5);
}

TEST_F(NodeTest, ARetryIsAnsweredAndNotExecuted) {
  lead_with_session();
  increment(1, 5);
  increment(2, 5);  // the same session and sequence
  sync_all();
  acknowledge(4);
  EXPECT_EQ(answer(1)->value, 5);
  EXPECT_EQ(answer(2)->value, 5);
  EXPECT_TRUE(noted(NoteKind::retry_answered_from_session));
}

TEST_F(NodeTest, AReadWaitsForTheLeadersFirstCommitAndForAQuorum) {
  start();
  become_leader();
  get(1);
  EXPECT_EQ(answer(1), nullptr);
  sync_all();
  EXPECT_EQ(answer(1), nullptr) << "nobody else has confirmed the leader";
  acknowledge(1);  // commits the no-op of this term; only now a read's index is known
  pass(config_.raft.heartbeat_interval);
  acknowledge(1);
  expect_answer(1, Outcome::kOk, Reason::kNone);
}

TEST_F(NodeTest, AReadSeesAllThatWasAnsweredBefore) {
  lead_with_session();
  increment(1, 5);
  sync_all();
  acknowledge(3);
  get(2);
  EXPECT_EQ(answer(2), nullptr);
  acknowledge(3);
  expect_answer(2, Outcome::kOk, Reason::kNone);
  EXPECT_EQ(answer(2)->value, 5);
}

TEST_F(NodeTest, AReadIndexCoversAllThatWasAnsweredBefore) {
  lead_with_session();
  increment(1, 5);
  sync_all();
  acknowledge(3);
  request(2, ReadIndexRequest{});
  EXPECT_EQ(answer(2), nullptr) << "nobody else has confirmed the leader";
  acknowledge(3);
  expect_answer(2, Outcome::kOk, Reason::kNone);
  EXPECT_EQ(answer(2)->value, 3);
}

TEST_F(NodeTest, AClosedSessionExecutesNothingMore) {
  lead_with_session();
  increment_until(3);
  request(1, CloseSessionRequest{SessionId(2)});
  sync_all();
  acknowledge(4);
  expect_answer(1, Outcome::kOk, Reason::kNone);
  increment(2, 1, 2);
  sync_all();
  acknowledge(5);
  expect_answer(2, Outcome::kRejected, Reason::kExpired);
  EXPECT_EQ(node_->state().value("hits"), 1);
  EXPECT_EQ(node_->state().session_count(), 0u);
}

TEST_F(NodeTest, ABadNameIsRejectedAtOnce) {
  lead_with_session();
  request(1, GetValueRequest{""});
  request(2, IncrementAndGetRequest{Bytes(std::string(256, 'x')), 1, {}, {}, SessionId(2), 1, 1});
  expect_answer(1, Outcome::kRejected, Reason::kBadRequest);
  expect_answer(2, Outcome::kRejected, Reason::kBadRequest);
  EXPECT_TRUE(storage_.writes_.empty());
}

TEST_F(NodeTest, WaitingIsBounded) {
  config_.waiting_count_max = 2;
  lead_with_session();
  increment(1, 1, 1);
  get(2);
  EXPECT_EQ(node_->waiting_count(), 2u);
  increment(3, 1, 2);
  get(4);
  expect_answer(3, Outcome::kNotApplied, Reason::kBusy);
  expect_answer(4, Outcome::kNotApplied, Reason::kBusy);
  EXPECT_EQ(node_->raft().log().last_index(), LogIndex(3)) << "refused means not proposed";
}

TEST_F(NodeTest, WhoWaitsTooLongIsToldTheTruth) {
  lead_with_session();
  increment(1);
  get(2);
  EXPECT_LE(clock_.deadline_, clock_.now_ + config_.request_timeout);
  pass(config_.request_timeout - milliseconds(1));
  EXPECT_EQ(answer(1), nullptr);
  pass(milliseconds(1));
  expect_answer(1, Outcome::kUnknown, Reason::kTimedOut);
  expect_answer(2, Outcome::kNotApplied, Reason::kTimedOut);
  sync_all();
  acknowledge(3);  // committed after all: nobody is told again
  EXPECT_EQ(node_->state().applied_index(), LogIndex(3));
  EXPECT_EQ(node_->waiting_count(), 0u);
  expect_answer(1, Outcome::kUnknown, Reason::kTimedOut);
}

TEST_F(NodeTest, WhoLosesTheLeaderIsToldTheTruth) {
  lead_with_session();
  increment(1);
  get(2);
  AppendRequest heartbeat;
  heartbeat.term = Term(2);
  receive(3, heartbeat);
  expect_answer(1, Outcome::kUnknown, Reason::kLeadershipLost);
  expect_answer(2, Outcome::kNotApplied, Reason::kLeadershipLost);
  EXPECT_EQ(node_->waiting_count(), 0u);
}

// ---- at a follower

TEST_F(NodeTest, WithoutALeaderARequestIsRefused) {
  start();
  increment(1);
  expect_answer(1, Outcome::kNotApplied, Reason::kNotLeader);
  EXPECT_EQ(answer(1)->leader_hint, kNoNode);
}

TEST_F(NodeTest, AFollowerRedirectsWhoAsksForIt) {
  start();
  follow(3);
  increment(1, 1, 1, /*forward=*/false);
  expect_answer(1, Outcome::kNotApplied, Reason::kNotLeader);
  EXPECT_EQ(answer(1)->leader_hint, NodeId(3));
  EXPECT_EQ(last_to<ClientRequest>(3), nullptr);
}

TEST_F(NodeTest, AFollowerPassesARequestOnAndTheAnswerBack) {
  start();
  follow(3);
  increment(77);
  const ClientRequest passed = *last_to<ClientRequest>(3);
  EXPECT_TRUE(passed.forwarded);
  EXPECT_EQ(answer(77), nullptr);
  receive(3, ValueResponse{passed.request_id, Outcome::kOk, Reason::kNone, 9, kNoNode, ""});
  expect_answer(77, Outcome::kOk, Reason::kNone);
  EXPECT_EQ(answer(77)->value, 9);
  EXPECT_EQ(node_->waiting_count(), 0u);
}

TEST_F(NodeTest, ARequestIsNeverPassedOnTwice) {
  start();
  follow(3);
  receive(2, ClientRequest{5, true, /*forwarded=*/true, GetValueRequest{"hits"}});
  EXPECT_EQ(last_to<ClientRequest>(3), nullptr);
  ASSERT_NE(last_to<ValueResponse>(2), nullptr);
  EXPECT_EQ(last_to<ValueResponse>(2)->outcome, Outcome::kNotApplied);
}

TEST_F(NodeTest, AForwardedWriteIsNeverSaidToBeNotApplied) {
  start();
  follow(3);
  increment(1);
  const uint64_t write = last_to<ClientRequest>(3)->request_id;
  get(2);
  const uint64_t read = last_to<ClientRequest>(3)->request_id;
  for (const uint64_t id : {write, read}) {
    receive(3, ValueResponse{id, Outcome::kNotApplied, Reason::kBusy, 0, NodeId(2), "busy"});
  }
  expect_answer(1, Outcome::kUnknown, Reason::kBusy);
  expect_answer(2, Outcome::kNotApplied, Reason::kBusy);
  EXPECT_EQ(answer(1)->leader_hint, NodeId(2));
}

// What the leader refused for good is the copy that it got; another one may have been applied, and
// its answer lost. Bounds and overflow are remembered answers of the request itself.
TEST_F(NodeTest, ARefusalOfAForwardedWriteSpeaksOfOneCopyOnly) {
  start();
  follow(3);
  uint64_t id = 0;
  for (const Reason reason : {Reason::kExpired, Reason::kStaleSequence, Reason::kWindow,
                              Reason::kBounds, Reason::kOverflow}) {
    increment(++id);
    const uint64_t passed = last_to<ClientRequest>(3)->request_id;
    receive(3, ValueResponse{passed, Outcome::kRejected, reason, 0, kNoNode, ""});
    const bool of_request = reason == Reason::kBounds || reason == Reason::kOverflow;
    expect_answer(id, of_request ? Outcome::kRejected : Outcome::kUnknown, reason);
  }
}

TEST_F(NodeTest, AnsweredForwardsDoNotCountAsWaiting) {
  config_.waiting_count_max = 3;
  start();
  follow(3);
  get(1);  // its answer never comes
  for (uint64_t id = 2; id <= 20; ++id) {
    get(id);
    receive(3, ValueResponse{last_to<ClientRequest>(3)->request_id, Outcome::kOk, Reason::kNone, 7,
                             kNoNode, ""});
    expect_answer(id, Outcome::kOk, Reason::kNone);
  }
  EXPECT_EQ(node_->waiting_count(), 1u);
  pass(config_.request_timeout);
  EXPECT_EQ(node_->waiting_count(), 0u);
}

TEST_F(NodeTest, AForwardedRequestTimesOut) {
  start();
  follow(3);
  increment(1);
  const uint64_t passed = last_to<ClientRequest>(3)->request_id;
  get(2);
  pass(config_.request_timeout);
  expect_answer(1, Outcome::kUnknown, Reason::kTimedOut);
  expect_answer(2, Outcome::kNotApplied, Reason::kTimedOut);
  receive(3, ValueResponse{passed, Outcome::kOk, Reason::kNone, 9, kNoNode, ""});
  EXPECT_TRUE(noted(NoteKind::forward_answer_late));
  expect_answer(1, Outcome::kUnknown, Reason::kTimedOut);
}

// Whoever waits asks again at once, not when the time is up: the old leader may be gone.
TEST_F(NodeTest, ForwardedRequestsAreGivenUpWhenAnotherLeads) {
  start();
  follow(3);
  increment(1);
  const uint64_t passed = last_to<ClientRequest>(3)->request_id;
  get(2);
  follow(3);
  EXPECT_EQ(answer(1), nullptr);  // still the same
  AppendRequest heartbeat;
  heartbeat.term = node_->raft().term() + 1;
  receive(2, heartbeat);
  EXPECT_TRUE(noted(NoteKind::forwards_given_up));
  expect_answer(1, Outcome::kUnknown, Reason::kLeadershipLost);
  expect_answer(2, Outcome::kNotApplied, Reason::kLeadershipLost);
  EXPECT_EQ(answer(1)->leader_hint, NodeId(2));
  EXPECT_EQ(node_->waiting_count(), 0u);
  receive(3, ValueResponse{passed, Outcome::kOk, Reason::kNone, 9, kNoNode, ""});
  EXPECT_TRUE(noted(NoteKind::forward_answer_late));
  increment(3);
  EXPECT_NE(last_to<ClientRequest>(2), nullptr);
}

TEST_F(NodeTest, AnswersMayComeInAnyOrderAndTwice) {
  start();
  follow(3);
  std::vector<uint64_t> passed;
  for (const uint64_t id : {1u, 2u, 3u}) {
    get(id);
    passed.push_back(last_to<ClientRequest>(3)->request_id);
  }
  for (const size_t i : {2u, 0u, 0u, 1u, 2u}) {
    receive(3, ValueResponse{passed[i], Outcome::kOk, Reason::kNone, static_cast<int64_t>(i),
                             kNoNode, ""});
  }
  for (const uint64_t id : {1u, 2u, 3u}) {
    ASSERT_NE(answer(id), nullptr);  // which also counts them
    EXPECT_EQ(answer(id)->value, static_cast<int64_t>(id) - 1);
  }
  EXPECT_EQ(node_->waiting_count(), 0u);
}

TEST_F(NodeTest, AnAnswerFromBeforeARestartIsNobodys) {
  start();
  follow(3);
  increment(1);
  const uint64_t old = last_to<ClientRequest>(3)->request_id;
  restart();
  follow(3);
  increment(1);
  EXPECT_NE(last_to<ClientRequest>(3)->request_id, old);
  receive(3, ValueResponse{old, Outcome::kOk, Reason::kNone, 9, kNoNode, ""});
  EXPECT_TRUE(noted(NoteKind::forward_answer_late));
  EXPECT_EQ(answer(1), nullptr);
}

// ---- options

// ---- snapshots

// Increments of `hits` until entry `last` is committed and applied.
void NodeTest::increment_until(uint64_t last) {
  while (node_->state().applied_index() < LogIndex(last)) {
    const uint64_t next = node_->raft().log().last_index().value() + 1;
    increment(1000 + next, 1, next - 2);
    sync_all();
    acknowledge(next);
  }
}

// All pieces and the end are written; each call of the storage answered in a wake-up of its own.
void NodeTest::finish_snapshot() {
  while (storage_.snapshot_call_) {
    storage_.complete_snapshot();
    node_->wake();
  }
}

TEST_F(NodeTest, TakesASnapshotAfterSoManyBytesAndCompactsItsLog) {
  config_.snapshot_log_bytes = 100;
  config_.snapshot_piece_bytes = 1;
  config_.kept_log_bytes = 0;
  lead_with_session();
  EXPECT_FALSE(storage_.snapshot_call_);
  increment_until(12);
  EXPECT_TRUE(storage_.snapshot_call_) << "begun";
  increment_until(14);  // apply goes on meanwhile
  EXPECT_FALSE(storage_.snapshot_);
  finish_snapshot();
  ASSERT_TRUE(storage_.snapshot_);
  const LogIndex last = storage_.snapshot_->last.index;
  EXPECT_LT(last, LogIndex(12));
  EXPECT_EQ(node_->raft().snapshot(), storage_.snapshot_);
  EXPECT_EQ(node_->raft().log().base_index(), last);
  EXPECT_EQ(storage_.compacted_, last);
  EXPECT_GT(storage_.pieces_.size(), 1u);

  // A restart is the snapshot and the rest of the log.
  const uint64_t hash = node_->state().state_hash();
  storage_.recovered_.outcome = Recovered::Outcome::kWhole;
  storage_.recovered_.hard_state = node_->raft().hard_state();
  storage_.recovered_.base = node_->raft().log().base();
  storage_.recovered_.snapshot = storage_.snapshot_;
  storage_.recovered_.pieces = storage_.pieces_;
  for (LogIndex i = last + 1; i <= node_->raft().log().last_index(); ++i) {
    storage_.recovered_.entries.push_back(node_->raft().log().at(i));
  }
  restart();
  EXPECT_EQ(node_->state().applied_index(), last);
  AppendRequest heartbeat;
  heartbeat.term = Term(2);
  heartbeat.prev_log_index = LogIndex(14);
  heartbeat.prev_log_term = Term(1);
  heartbeat.commit_index = LogIndex(14);
  receive(3, heartbeat);
  apply_all();
  EXPECT_EQ(node_->state().applied_index(), LogIndex(14));
  EXPECT_EQ(node_->state().state_hash(), hash);
}

// Apply waits for a part of a piece, never for the reading of a whole one.
TEST_F(NodeTest, APieceIsFilledOverSeveralStepsThatComeAtOnce) {
  lead_with_session();
  for (char name = 'a'; name < 'a' + 20; ++name) {
    const uint64_t next = node_->raft().log().last_index().value() + 1;
    request(next, IncrementAndGetRequest{
                      Bytes(std::string(200, name)), 1, {}, {}, SessionId(2), next - 2, next - 2});
    sync_all();
    acknowledge(next);
  }
  node_->request_snapshot();
  node_->wake();
  EXPECT_FALSE(storage_.snapshot_call_) << "some 4 KiB are not read in one step";
  EXPECT_EQ(clock_.deadline_, clock_.now_);
  increment_until(24);  // a few steps; what they apply is not in the snapshot
  ASSERT_TRUE(storage_.snapshot_call_);
  EXPECT_GT(clock_.deadline_, clock_.now_);
  EXPECT_EQ(storage_.writing_pieces_.size(), 1u);
  finish_snapshot();
  EXPECT_EQ(storage_.snapshot_->last.index, LogIndex(22));
  StateMachine loaded;
  EXPECT_EQ(loaded.load_piece(storage_.pieces_[0]), "");
  EXPECT_TRUE(loaded.is_loaded());
}

TEST_F(NodeTest, TakesASnapshotByTimeAndOnRequestIfAnythingWasApplied) {
  config_.snapshot_interval = std::chrono::seconds(10);
  lead_with_session();
  node_->request_snapshot();
  node_->wake();
  ASSERT_TRUE(storage_.snapshot_call_);
  finish_snapshot();
  EXPECT_EQ(storage_.snapshot_->last.index, LogIndex(2));
  node_->request_snapshot();
  node_->wake();
  EXPECT_FALSE(storage_.snapshot_call_) << "nothing was applied since";
  EXPECT_EQ(node_->raft().log().base_index(), LogIndex(0)) << "the rest is within the bound";
}

TEST_F(NodeTest, ASnapshotThatItsDiskDoesNotTakeIsGivenUp) {
  lead_with_session();
  node_->request_snapshot();
  node_->wake();
  storage_.complete_snapshot(false);
  node_->wake();
  EXPECT_TRUE(noted(NoteKind::snapshot_failed));
  EXPECT_TRUE(node_->running());
  EXPECT_FALSE(node_->raft().snapshot());
  increment_until(3);
  node_->request_snapshot();
  node_->wake();
  finish_snapshot();
  EXPECT_EQ(storage_.snapshot_->last.index, LogIndex(3));
}

// A state after entry 9, in pieces, as a leader sends it.
struct Sent {
  SnapshotId id;
  std::vector<std::string> pieces;
  uint64_t state_hash = 0;

  Sent() {
    StateMachine state;
    for (uint64_t i = 1; i <= 9; ++i) {
      Entry entry{LogIndex(i), Term(1), LogTime(i), EntryType::kCommand, Bytes()};
      entry.data = i == 1 ? encode_open_session({})
                          : encode_increment({.name = Bytes("c" + std::to_string(i % 4)),
                                              .delta = 5,
                                              .lower = {},
                                              .upper = {},
                                              .session = SessionId(1),
                                              .sequence = i,
                                              .first_outstanding = 2});
      state.apply(entry);
    }
    state_hash = state.state_hash();
    state.begin_capture();
    bool last = false;
    while (!last) last = state.read_piece(1, pieces.emplace_back());
    id.last = {LogIndex(9), Term(1), LogTime(9)};
    id.piece_count = pieces.size();
    for (const std::string& piece : pieces) id.hash = snapshot_hash(id.hash, piece);
  }
  SnapshotRequest piece(uint64_t number, uint64_t term = 1) const {
    SnapshotRequest request;
    request.term = Term(term);
    request.id = id;
    request.piece = number;
    request.round = 3;
    request.sent_at = Time(Duration(77));
    request.data = Bytes(std::string_view(pieces[number]));
    return request;
  }
};

TEST_F(NodeTest, ALeadersSnapshotReplacesLogAndState) {
  start();
  follow(2);
  const Sent sent;
  ASSERT_GE(sent.pieces.size(), 3u);
  for (uint64_t number = 0; number < sent.pieces.size(); ++number) {
    receive(2, sent.piece(number));
    EXPECT_EQ(node_->state().applied_index(), LogIndex(0));
    storage_.complete_snapshot();
    node_->wake();
    if (number + 1 == sent.pieces.size()) break;
    const auto* reply = last_to<SnapshotReply>(2);
    ASSERT_NE(reply, nullptr);
    EXPECT_EQ(reply->next_piece, number + 1);
    EXPECT_EQ(reply->id, sent.id);
    EXPECT_EQ(reply->round, 3u);
    EXPECT_EQ(reply->sent_at, Time(Duration(77)));
  }
  network_.sent_.clear();
  ASSERT_TRUE(storage_.finishing_) << "all is written: made durable now";
  EXPECT_EQ(last_to<AppendReply>(2), nullptr) << "not acknowledged before it is durable";
  finish_snapshot();
  EXPECT_TRUE(noted(NoteKind::snapshot_installed));
  EXPECT_EQ(node_->state().applied_index(), LogIndex(9));
  EXPECT_EQ(node_->state().state_hash(), sent.state_hash);
  EXPECT_EQ(node_->raft().commit_index(), LogIndex(9));
  EXPECT_EQ(storage_.writes_.back().reset, sent.id.last);
  ASSERT_NE(last_to<AppendReply>(2), nullptr);
  EXPECT_EQ(last_to<AppendReply>(2)->match_index, LogIndex(9));
  // The log goes on behind it.
  AppendRequest append;
  append.term = Term(1);
  append.prev_log_index = LogIndex(9);
  append.prev_log_term = Term(1);
  append.commit_index = LogIndex(10);
  append.entries = {Entry{LogIndex(10), Term(1), LogTime(10), EntryType::kNoop, Bytes()}};
  receive(2, append);
  apply_all();
  EXPECT_EQ(node_->state().applied_index(), LogIndex(10));
}

// ---- increments of one step share an entry

TEST_F(NodeTest, IncrementsOfOneStepShareAnEntryAndHaveAnAnswerEach) {
  lead_with_session();
  queue_increment(1, 5);
  queue_increment(2, 7);
  queue_increment(3, 11);
  node_->wake();
  EXPECT_TRUE(noted(NoteKind::increments_share_entry));
  EXPECT_EQ(node_->raft().log().last_index(), LogIndex(3));
  EXPECT_EQ(node_->waiting_count(), 3u);
  sync_all();
  acknowledge(3);
  EXPECT_EQ(answer(1)->value, 5);
  EXPECT_EQ(answer(2)->value, 12);
  EXPECT_EQ(answer(3)->value, 23);
  EXPECT_EQ(node_->waiting_count(), 0u);
  EXPECT_EQ(node_->applied_count(), 4u);
}

TEST_F(NodeTest, AnEntryHasSoManyIncrementsAtTheMost) {
  config_.entry_increment_count_max = 2;
  lead_with_session();
  for (uint64_t i = 1; i <= 5; ++i) queue_increment(i, 1);
  node_->wake();
  EXPECT_EQ(node_->raft().log().last_index(), LogIndex(5));
  sync_all();
  acknowledge(5);
  for (uint64_t i = 1; i <= 5; ++i) EXPECT_EQ(answer(i)->value, static_cast<int64_t>(i));
}

// However long their names are: a segment of the log holds a few of the largest entries.
TEST_F(NodeTest, AnEntryHasSoManyBytesAtTheMost) {
  lead_with_session();
  for (uint64_t i = 1; i <= 64; ++i) {
    request_later(
        i, IncrementAndGetRequest{Bytes(std::string(255, 'x')), 1, {}, {}, SessionId(2), i, 1});
  }
  node_->wake();
  const Log& log = node_->raft().log();
  EXPECT_EQ(log.last_index(), LogIndex(4));
  EXPECT_LT(log.at(LogIndex(3)).data.size(), (16u << 10) + 512);
  EXPECT_EQ(node_->proposed_count(), 65u);
}

TEST_F(NodeTest, WhatIsNoIncrementHasAnEntryOfItsOwnInItsPlace) {
  lead_with_session();
  queue_increment(1, 5);
  request_later(2, OpenSessionRequest{});
  queue_increment(3, 7);
  node_->wake();
  EXPECT_EQ(node_->raft().log().last_index(), LogIndex(5));
  sync_all();
  acknowledge(5);
  EXPECT_EQ(answer(1)->value, 5);
  EXPECT_EQ(answer(2)->value, 4) << "a session's id is the index of its entry";
  EXPECT_EQ(answer(3)->value, 12);
}

TEST_F(NodeTest, AllIncrementsOfAnEntryAreGivenUpTogether) {
  lead_with_session();
  queue_increment(1, 5);
  queue_increment(2, 7);
  node_->wake();
  sync_all();
  pass(milliseconds(200));
  acknowledge(2);
  queue_increment(3, 11);
  node_->wake();
  sync_all();
  pass(milliseconds(100));
  expect_answer(1, Outcome::kUnknown, Reason::kTimedOut);
  expect_answer(2, Outcome::kUnknown, Reason::kTimedOut);
  acknowledge(4);
  EXPECT_EQ(answer(3)->value, 23);
}

TEST_F(NodeTest, AllIncrementsOfAnEntryThatIsRefusedAreToldSo) {
  lead_with_session();
  node_->request_transfer(NodeId(3));
  node_->wake();
  queue_increment(1, 5);
  queue_increment(2, 7);
  node_->wake();
  expect_answer(1, Outcome::kNotApplied, Reason::kTransfer);
  expect_answer(2, Outcome::kNotApplied, Reason::kTransfer);
  EXPECT_EQ(node_->waiting_count(), 0u);
}

// ---- a follower acknowledges before it applies

// One entry more, and that all are committed; as a leader says it with the next batch.
void NodeTest::append_and_commit(uint64_t index, uint64_t commit) {
  AppendRequest append;
  append.term = Term(1);
  append.prev_log_index = LogIndex(index - 1);
  append.prev_log_term = Term(index > 1 ? 1 : 0);
  append.commit_index = LogIndex(commit);
  append.entries = {Entry{LogIndex(index), Term(1), LogTime(index), EntryType::kNoop, Bytes()}};
  receive(2, append);
}

TEST_F(NodeTest, AFollowerAcknowledgesBeforeItAppliesWhatItLearnsToBeCommitted) {
  start();
  follow(2);
  append_and_commit(1, 1);
  EXPECT_EQ(node_->state().applied_index(), LogIndex(0)) << "its write comes first";
  pass(milliseconds(1));
  EXPECT_EQ(node_->state().applied_index(), LogIndex(0));
  EXPECT_GT(clock_.deadline_, clock_.now_) << "nothing to be done meanwhile";
  sync();
  ASSERT_NE(last_to<AppendReply>(2), nullptr);
  EXPECT_EQ(last_to<AppendReply>(2)->match_index, LogIndex(1));
  EXPECT_EQ(node_->state().applied_index(), LogIndex(0)) << "the answer leaves first";
  EXPECT_EQ(clock_.deadline_, clock_.now_) << "then it is applied at once";
  node_->wake();
  EXPECT_EQ(node_->state().applied_index(), LogIndex(1));
  EXPECT_GT(clock_.deadline_, clock_.now_);
}

TEST_F(NodeTest, AFollowerThatNeverRestsAppliesBesideItsWrites) {
  start();
  follow(2);
  append_and_commit(1, 1);
  append_and_commit(2, 1);
  EXPECT_EQ(node_->state().applied_index(), LogIndex(0));
  sync();
  ASSERT_TRUE(storage_.in_flight_) << "the next write has begun";
  EXPECT_EQ(node_->state().applied_index(), LogIndex(1));
}

TEST_F(NodeTest, AFollowerWithNothingToWriteAppliesAtOnce) {
  start();
  follow(2);
  append_and_commit(1, 0);
  sync();
  AppendRequest heartbeat;
  heartbeat.term = Term(1);
  heartbeat.prev_log_index = LogIndex(1);
  heartbeat.prev_log_term = Term(1);
  heartbeat.commit_index = LogIndex(1);
  receive(2, heartbeat);
  EXPECT_EQ(node_->state().applied_index(), LogIndex(1));
}

TEST_F(NodeTest, ALeaderAppliesAtOnceForSomebodyWaits) {
  lead_with_session();
  increment(1);
  acknowledge(3);
  AppendReply reply;
  reply.term = Term(1);
  reply.success = true;
  reply.match_index = LogIndex(3);
  reply.sent_at = clock_.now_;
  receive(3, reply);
  ASSERT_TRUE(storage_.in_flight_) << "the others are a quorum without it";
  expect_answer(1, Outcome::kOk, Reason::kNone);
}

// A client of Redis, say, asks for an index and then looks into this node's state.
TEST_F(NodeTest, AFollowerWhoseStateIsReadAppliesAtOnce) {
  start();
  follow(2);
  append_and_commit(1, 0);
  sync();
  request(7, ReadIndexRequest{});
  const auto* asked = last_to<ClientRequest>(2);
  ASSERT_NE(asked, nullptr);
  receive(2, ValueResponse{.request_id = asked->request_id,
                           .outcome = Outcome::kOk,
                           .reason = Reason::kNone,
                           .value = 1,
                           .leader_hint = kNoNode,
                           .error_msg = {}});
  append_and_commit(2, 1);
  ASSERT_TRUE(storage_.in_flight_);
  EXPECT_EQ(node_->state().applied_index(), LogIndex(1));
  append_and_commit(3, 2);
  EXPECT_EQ(node_->state().applied_index(), LogIndex(1)) << "nobody asked for more";
}

TEST_F(NodeTest, AFollowersApplyDoesNotWaitForADiskThatHangs) {
  start();
  follow(2);
  append_and_commit(1, 1);
  pass(config_.raft.heartbeat_interval - milliseconds(1));
  EXPECT_EQ(node_->state().applied_index(), LogIndex(0));
  pass(milliseconds(1));
  EXPECT_EQ(node_->state().applied_index(), LogIndex(1));
}

TEST_F(NodeTest, AFollowerWithAFullDiskAppliesAtOnceForItsSnapshotMakesRoom) {
  start();
  follow(2);
  storage_.full_ = true;
  append_and_commit(1, 1);
  ASSERT_TRUE(storage_.in_flight_) << "a no-op uses the reserve";
  EXPECT_EQ(node_->state().applied_index(), LogIndex(1));
}

TEST_F(NodeTest, AFollowerThatCatchesUpAppliesAtOnce) {
  start();
  follow(2);
  AppendRequest append;
  append.term = Term(1);
  append.commit_index = LogIndex(65);
  for (uint64_t index = 1; index <= 65; ++index) {
    append.entries.push_back({LogIndex(index), Term(1), LogTime(index), EntryType::kNoop, Bytes()});
  }
  receive(2, append);
  ASSERT_TRUE(storage_.in_flight_);
  EXPECT_EQ(node_->state().applied_index(), LogIndex(65));
}

// Otherwise the older one would replace the newer one on disk, whose log is compacted already.
TEST_F(NodeTest, ALatePieceOfAnOlderSnapshotIsNothingOnceANewerOneIsInstalled) {
  start();
  follow(2);
  const Sent sent;
  SnapshotRequest older = sent.piece(0);
  older.id.last.index = LogIndex(5);
  for (uint64_t number = 0; number < sent.pieces.size(); ++number) {
    receive(2, sent.piece(number));
    storage_.complete_snapshot();
    if (number + 1 < sent.pieces.size()) node_->wake();
  }
  node_->wake();
  ASSERT_TRUE(storage_.finishing_);
  storage_.complete_snapshot();
  receive(2, older);  // in the step that installs
  EXPECT_TRUE(noted(NoteKind::snapshot_installed));
  EXPECT_FALSE(storage_.snapshot_call_);
  EXPECT_EQ(storage_.snapshot_, sent.id);
}

TEST_F(NodeTest, ATransferGoesOnUnderAnotherLeader) {
  start();
  follow(2);
  const Sent sent;
  receive(2, sent.piece(0));
  storage_.complete_snapshot();
  node_->wake();
  follow(3, 2);
  receive(3, sent.piece(0, 2));
  EXPECT_TRUE(storage_.writing_pieces_.size() == 1) << "it has that one";
  ASSERT_NE(last_to<SnapshotReply>(3), nullptr);
  EXPECT_EQ(last_to<SnapshotReply>(3)->next_piece, 1u);
  receive(3, sent.piece(1, 2));
  storage_.complete_snapshot();
  node_->wake();
  EXPECT_EQ(last_to<SnapshotReply>(3)->next_piece, 2u);
}

TEST_F(NodeTest, APieceOfAnUnknownSnapshotAsksForTheFirst) {
  start();
  follow(2);
  receive(2, Sent().piece(1));
  EXPECT_FALSE(storage_.snapshot_call_);
  ASSERT_NE(last_to<SnapshotReply>(2), nullptr);
  EXPECT_EQ(last_to<SnapshotReply>(2)->next_piece, 0u);
}

TEST_F(NodeTest, ASnapshotOfWhatIsCommittedIsNotNeeded) {
  start();
  AppendRequest append;
  append.term = Term(1);
  append.commit_index = LogIndex(9);
  for (uint64_t i = 1; i <= 9; ++i) {
    append.entries.push_back({LogIndex(i), Term(1), LogTime(i), EntryType::kNoop, Bytes()});
  }
  receive(2, append);
  sync_all();
  network_.sent_.clear();
  receive(2, Sent().piece(0));
  EXPECT_TRUE(noted(NoteKind::snapshot_piece_not_wanted));
  ASSERT_NE(last_to<AppendReply>(2), nullptr);
  EXPECT_EQ(last_to<AppendReply>(2)->match_index, LogIndex(9));
  EXPECT_FALSE(storage_.snapshot_call_);
}

TEST_F(NodeTest, AFollowerThatNeedsCompactedEntriesGetsTheSnapshotPieceByPiece) {
  config_.kept_log_bytes = 0;
  config_.snapshot_piece_bytes = 1;
  lead_with_session();
  increment_until(6);
  node_->request_snapshot();
  node_->wake();
  finish_snapshot();
  ASSERT_EQ(node_->raft().log().base_index(), LogIndex(6));
  // n3 has nothing, and what it lacks is gone.
  while (storage_.reads_.empty()) pass(config_.raft.heartbeat_interval);
  EXPECT_EQ(last_to<SnapshotRequest>(3), nullptr) << "not before it is read";
  storage_.complete_reads();
  for (uint64_t piece = 0; piece < storage_.pieces_.size(); ++piece) {
    const auto* sent = last_to<SnapshotRequest>(3);
    ASSERT_NE(sent, nullptr);
    EXPECT_EQ(sent->piece, piece);
    EXPECT_EQ(sent->data.view(), storage_.pieces_[piece]);
    if (piece + 1 == storage_.pieces_.size()) break;
    pass(milliseconds(10));
    EXPECT_TRUE(storage_.reads_.empty()) << "one at a time";
    receive(3, SnapshotReply{Term(1), sent->id, piece + 1, sent->round, sent->sent_at});
    ASSERT_EQ(storage_.reads_.size(), 1u);
    storage_.complete_reads();
  }
  // No answer: the last one again.
  network_.sent_.clear();
  pass(config_.raft.election_timeout_min / 2);
  keep_leading();
  pass(config_.raft.election_timeout_min / 2 + milliseconds(1));
  storage_.complete_reads();
  ASSERT_NE(last_to<SnapshotRequest>(3), nullptr);
  EXPECT_EQ(last_to<SnapshotRequest>(3)->piece, storage_.pieces_.size() - 1);
  // It has it now: entries again.
  AppendReply done;
  done.term = Term(1);
  done.success = true;
  done.match_index = LogIndex(6);
  done.prev_log_index = LogIndex(6);
  done.sent_at = clock_.now_;
  receive(3, done);
  EXPECT_TRUE(noted(NoteKind::pipelining));
  increment(7777, 1, 50);
  EXPECT_EQ(last_to<AppendRequest>(3)->entries.size(), 1u);
}

TEST_F(NodeTest, ALeadersSnapshotThatCannotBeReadIsTakenAgain) {
  config_.kept_log_bytes = 0;
  lead_with_session();
  increment_until(6);
  node_->request_snapshot();
  node_->wake();
  finish_snapshot();
  while (storage_.reads_.empty()) pass(config_.raft.heartbeat_interval);
  storage_.pieces_[0].clear();  // n3 needs it, and it has rotted
  storage_.complete_reads();
  node_->wake();
  EXPECT_TRUE(noted(NoteKind::snapshot_unreadable));
  EXPECT_EQ(last_to<SnapshotRequest>(3), nullptr);
  ASSERT_TRUE(storage_.snapshot_call_) << "another one";
  finish_snapshot();
  while (storage_.reads_.empty()) {
    pass(config_.raft.heartbeat_interval);
    keep_leading();
  }
  storage_.complete_reads();
  ASSERT_NE(last_to<SnapshotRequest>(3), nullptr);
  EXPECT_FALSE(last_to<SnapshotRequest>(3)->data.view().empty());
}

TEST_F(NodeTest, OptionsThatDoNotFitAreNamed) {
  EXPECT_EQ(config_error(config_), "");
  NodeConfig config = config_;
  config.waiting_count_max = 0;
  EXPECT_NE(config_error(config).find("wait"), std::string::npos);
  config = config_;
  config.request_timeout = Duration(0);
  EXPECT_NE(config_error(config).find("request timeout"), std::string::npos);
  config = config_;
  config.identity.node_id = NodeId(2);
  EXPECT_NE(config_error(config).find("two nodes"), std::string::npos);
  config = config_;
  config.session_limits.session_count_max = 0;
  EXPECT_NE(config_error(config).find("session"), std::string::npos);
}

}  // namespace
}  // namespace tally
