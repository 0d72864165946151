// Every clause of sim/oracles.h: a history that breaks it is caught, by that clause; its right twin
// is not.
//
// No node of ours would make such a history. So each actor here is a real machine alone with a
// script of messages, consistent for itself; the judge is told of several of them as if they had
// lived in one cluster, or of two lives of one node as if they were one.
//
// Out of reach from here, for planted bugs only: `two states after the same entries` (apply would
// have to depend on something else than the entries) and `applied out of step with commit` (a node
// applies within the step that commits).
#include "sim/oracles.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sim/machine.h"
#include "sim/params.h"
#include "storage/log_format.h"

namespace tally::sim {
namespace {

constexpr GroupId kGroup{.cluster_id = 1, .group_id = 1};

Entry entry(uint64_t index, uint64_t term, uint64_t log_time = 7) {
  return Entry{LogIndex(index), Term(term), LogTime(log_time), EntryType::kNoop, Bytes()};
}

// One machine of three, alone with what the test brings it.
class Actor {
 public:
  explicit Actor(uint32_t node) : network_(1, params_.network(), 0, 3, 1, kGroup, queue_) {
    machine_ = std::make_unique<Machine>(env_, node - 1);
    machine_->start();
  }

  const Machine& machine() const { return *machine_; }
  const Raft& raft() const { return machine_->node().raft(); }

  Actor& receive(uint64_t from, Message message) {
    machine_->on_deliver(
        {endpoint_of(NodeId(from)), endpoint_of(machine_->id()), std::move(message)});
    return *this;
  }
  // An append of `leader`, from the log's beginning.
  Actor& takes(uint64_t leader, uint64_t term, std::vector<Entry> entries, uint64_t commit = 0) {
    AppendRequest append;
    append.term = Term(term);
    append.commit_index = LogIndex(commit);
    append.entries = std::move(entries);
    return receive(leader, append);
  }
  // The same when it holds the first `prev` entries, the last of them of `prev_term`.
  Actor& hears(uint64_t leader, uint64_t term, uint64_t prev, uint64_t prev_term, uint64_t commit) {
    AppendRequest heartbeat;
    heartbeat.term = Term(term);
    heartbeat.prev_log_index = LogIndex(prev);
    heartbeat.prev_log_term = Term(prev_term);
    heartbeat.commit_index = LogIndex(commit);
    return receive(leader, heartbeat);
  }
  Actor& votes_for(uint64_t candidate, uint64_t term) {
    VoteRequest request;
    request.term = Term(term);
    return receive(candidate, request);
  }
  // Campaigns and wins by the vote of `voter`. Its last step is the one that made it leader.
  Actor& leads(uint64_t voter) {
    while (raft().role() != Raft::Role::kPreCandidate) next_event();
    const Term term = raft().term() + 1;
    receive(voter, VoteReply{.term = term, .pre_vote = true, .granted = true});
    while (machine().node().durable_number() < machine().node().last_output().persist_number) {
      next_event();
    }
    receive(voter, VoteReply{.term = term, .pre_vote = false, .granted = true});
    EXPECT_TRUE(raft().is_leader());
    return *this;
  }
  // A bit of its log rots, and it starts again: under repair, with nothing but term and vote.
  Actor& rots() {
    while (queue_.now() < VirtualTime(std::chrono::milliseconds(100))) next_event();
    Fault rot;
    rot.set_kind(BIT_ROT);
    rot.set_place(200);
    EXPECT_NE(machine_->damage(rot), "");
    machine_->crash();
    machine_->start();
    EXPECT_TRUE(raft().is_repairing());
    return *this;
  }
  // Its disk is another one, and it starts again: it stays out.
  Actor& is_wiped() {
    while (queue_.now() < VirtualTime(std::chrono::milliseconds(100))) next_event();
    machine_->crash();
    Fault wipe;
    wipe.set_kind(WIPE);
    EXPECT_NE(machine_->damage(wipe), "");
    machine_->start();
    EXPECT_NE(machine_->refusal(), "");
    return *this;
  }
  Actor& appends_one() {
    machine_->on_deliver({kFirstClient, endpoint_of(machine_->id()), ClientRequest{}});
    return *this;
  }

 private:
  void next_event() {
    const Event event = queue_.pop();
    if (event.kind == EventKind::kDisk) machine_->on_disk(event.a);
    if (event.kind == EventKind::kTimer) machine_->on_timer(event.a);
    if (event.kind == EventKind::kDeliver) network_.drop(event.a);
  }

  const Params params_ = calm_params();
  EventQueue queue_;
  SimNetwork network_;
  Oracles its_own_{3};  // of no interest here
  const MachineEnv env_{1, params_, queue_, network_, its_own_};
  std::unique_ptr<Machine> machine_;
};

class OraclesTest : public ::testing::Test {
 protected:
  // What reached the media of a node: the hard state, then entries.
  void media(uint32_t node, HardState hard_state, const std::vector<Entry>& entries = {}) {
    std::string bytes;
    append_hard_state_record(hard_state, bytes);
    for (const Entry& one : entries) append_entry_record(one, bytes);
    judge_.on_media(node - 1, bytes);
  }
  void quorum_media(uint64_t term, const std::vector<Entry>& entries) {
    media(1, {Term(term), kNoNode}, entries);
    media(2, {Term(term), kNoNode}, entries);
  }
  void step(const Actor& actor) { judge_.after_step(actor.machine()); }
  void start(const Actor& actor) { judge_.on_start(actor.machine()); }
  void send(const Actor& actor, uint64_t to, Message message) {
    judge_.on_send(actor.machine(), {endpoint_of(actor.machine().id()), endpoint_of(NodeId(to)),
                                     std::move(message)});
  }

  void expect_silent() {
    EXPECT_FALSE(judge_.violation().has_value())
        << judge_.violation()->oracle << ": " << judge_.violation()->message;
  }
  void expect_fires(const std::string& oracle, const std::string& clause) {
    ASSERT_TRUE(judge_.violation().has_value()) << "nothing fired; wanted " << clause;
    EXPECT_EQ(judge_.violation()->oracle, oracle);
    EXPECT_EQ(judge_.violation()->clause, clause);
    EXPECT_FALSE(judge_.violation()->message.empty());
  }

  Oracles judge_{3};
};

VoteReply vote(uint64_t term) { return {.term = Term(term), .pre_vote = false, .granted = true}; }

AppendReply acknowledgement(uint64_t term, uint64_t match) {
  AppendReply reply;
  reply.term = Term(term);
  reply.success = true;
  reply.match_index = LogIndex(match);
  return reply;
}

// ---- election safety

TEST_F(OraclesTest, TwoLeadersInOneTerm) {
  step(Actor(1).leads(3));
  expect_silent();
  step(Actor(2).leads(3));
  expect_fires("election safety", "two leaders in one term");
}

TEST_F(OraclesTest, LeadersOfDifferentTermsAreFine) {
  step(Actor(1).leads(3));
  step(Actor(2).hears(1, 1, 0, 0, 0).leads(3));
  expect_silent();
}

TEST_F(OraclesTest, TwoVotesOfOneNodeInOneTerm) {
  const Actor voter(1);
  media(1, {Term(1), NodeId(2)});
  send(voter, 2, vote(1));
  send(voter, 2, vote(1));  // repeated: fine
  expect_silent();
  send(voter, 3, vote(1));
  expect_fires("election safety", "two votes of one node in one term");
}

TEST_F(OraclesTest, AVoteForItselfCounts) {
  const Actor voter(1);
  media(1, {Term(1), NodeId(1)});
  send(voter, 2,
       VoteRequest{.term = Term(1),
                   .pre_vote = false,
                   .last_log_index = LogIndex(0),
                   .last_log_term = Term(0)});
  expect_silent();
  send(voter, 2, vote(1));
  expect_fires("election safety", "two votes of one node in one term");
}

TEST_F(OraclesTest, VotesAreRememberedOverARestart) {
  const Actor voter(1);
  media(1, {Term(1), NodeId(2)});
  send(voter, 2, vote(1));
  judge_.on_down(voter.machine());
  start(Actor(1).votes_for(2, 1));
  expect_silent();
  send(voter, 3, vote(1));
  expect_fires("election safety", "two votes of one node in one term");
}

TEST_F(OraclesTest, VotesInDifferentTermsAreFine) {
  const Actor voter(1);
  media(1, {Term(1), NodeId(2)});
  send(voter, 2, vote(1));
  media(1, {Term(2), NodeId(3)});
  send(voter, 3, vote(2));
  expect_silent();
}

// ---- log matching

TEST_F(OraclesTest, SameIndexAndTermWithAnotherContent) {
  step(Actor(1).takes(3, 1, {entry(1, 1, 10)}));
  expect_silent();
  step(Actor(2).takes(3, 1, {entry(1, 1, 20)}));
  expect_fires("log matching", "same index and term, different past");
}

TEST_F(OraclesTest, SameIndexAndTermWithAnotherPast) {
  step(Actor(1).takes(3, 3, {entry(1, 1), entry(2, 3)}));
  expect_silent();
  step(Actor(2).takes(3, 3, {entry(1, 2), entry(2, 3)}));
  expect_fires("log matching", "same index and term, different past");
}

TEST_F(OraclesTest, EqualLogsAndDifferentTermsAreFine) {
  step(Actor(1).takes(3, 2, {entry(1, 1), entry(2, 1)}));
  step(Actor(2).takes(3, 2, {entry(1, 1), entry(2, 2)}));
  step(Actor(3).takes(1, 2, {entry(1, 1), entry(2, 1)}));
  expect_silent();
}

// ---- leader completeness

TEST_F(OraclesTest, ALeaderWithoutACommittedEntry) {
  quorum_media(1, {entry(1, 1)});
  step(Actor(1).takes(2, 1, {entry(1, 1)}, 1));
  expect_silent();
  step(Actor(3).hears(2, 1, 0, 0, 0).leads(2));
  expect_fires("leader completeness", "a leader lacks a committed entry");
}

TEST_F(OraclesTest, ALeaderWithAllCommittedEntriesIsFine) {
  quorum_media(1, {entry(1, 1)});
  step(Actor(1).takes(2, 1, {entry(1, 1)}, 1));
  Actor next(3);
  step(next.takes(2, 1, {entry(1, 1)}));
  step(next.leads(2));
  expect_silent();
}

// ---- leader append-only

TEST_F(OraclesTest, ALeaderReplacesAnEntry) {
  Actor first(1);
  step(first.leads(3));
  step(first.appends_one());
  expect_silent();
  // Another life of n1 that leads the same term and writes its log anew from entry 1.
  step(Actor(1).leads(3));
  expect_fires("leader append-only", "a leader replaced an entry of its log");
}

TEST_F(OraclesTest, AFollowerMayReplaceEntries) {
  Actor follower(1);
  step(follower.takes(2, 1, {entry(1, 1), entry(2, 1)}));
  step(follower.takes(3, 2, {entry(1, 2)}));
  expect_silent();
  EXPECT_EQ(follower.raft().log().last_index(), LogIndex(1));
}

// ---- state machine safety

TEST_F(OraclesTest, TwoEntriesCommittedAtOneIndex) {
  quorum_media(1, {entry(1, 1)});
  step(Actor(1).takes(2, 1, {entry(1, 1)}, 1));
  expect_silent();
  step(Actor(3).takes(2, 2, {entry(1, 2)}, 1));
  expect_fires("state machine safety", "two entries committed at one index");
}

TEST_F(OraclesTest, TheSameEntryCommittedByAllIsFine) {
  quorum_media(1, {entry(1, 1)});
  for (const uint32_t node : {1u, 2u, 3u}) step(Actor(node).takes(2, 1, {entry(1, 1)}, 1));
  expect_silent();
  EXPECT_EQ(judge_.committed_index(), LogIndex(1));
}

TEST_F(OraclesTest, CommittedBeyondTheLog) {
  // The judge never hears of the append, only of the commit.
  quorum_media(1, {entry(1, 1)});
  step(Actor(1).takes(2, 1, {entry(1, 1)}).hears(2, 1, 1, 1, 1));
  expect_fires("state machine safety", "committed beyond the log");
}

// ---- monotone

TEST_F(OraclesTest, ATermGoesBack) {
  step(Actor(1).hears(2, 5, 0, 0, 0));
  step(Actor(1).hears(2, 6, 0, 0, 0));
  expect_silent();
  step(Actor(1).hears(2, 3, 0, 0, 0));
  expect_fires("monotone", "a term went back");
}

TEST_F(OraclesTest, AVoteChangesWithinItsTerm) {
  step(Actor(1).votes_for(2, 1));
  step(Actor(1).votes_for(2, 1));
  expect_silent();
  step(Actor(1).votes_for(3, 1));
  expect_fires("monotone", "a vote changed within its term");
}

TEST_F(OraclesTest, ACommitIndexGoesBack) {
  const std::vector<Entry> entries = {entry(1, 1), entry(2, 1)};
  quorum_media(1, entries);
  step(Actor(1).takes(2, 1, entries, 1));
  step(Actor(1).takes(2, 1, entries, 2));
  expect_silent();
  step(Actor(1).takes(2, 1, entries, 1));
  expect_fires("monotone", "a commit index went back");
}

// ---- durability

TEST_F(OraclesTest, ACommitWithoutAQuorumOfMedia) {
  media(1, {Term(1), kNoNode}, {entry(1, 1)});
  step(Actor(1).takes(2, 1, {entry(1, 1)}, 1));
  expect_fires("durability", "a committed entry is not on the media of a quorum");
}

TEST_F(OraclesTest, MediaWithAnotherTermDoNotCount) {
  media(1, {Term(2), kNoNode}, {entry(1, 2)});
  media(2, {Term(1), kNoNode}, {entry(1, 1)});
  step(Actor(1).takes(2, 2, {entry(1, 2)}, 1));
  expect_fires("durability", "a committed entry is not on the media of a quorum");
}

TEST_F(OraclesTest, AnAcknowledgementOfWhatIsNotOnTheMedia) {
  Actor follower(1);
  media(1, {Term(1), kNoNode}, {entry(1, 1)});
  step(follower.takes(2, 1, {entry(1, 1), entry(2, 1)}));
  send(follower, 2, acknowledgement(1, 0));
  send(follower, 2, acknowledgement(1, 1));
  expect_silent();
  send(follower, 2, acknowledgement(1, 2));
  expect_fires("durability", "an acknowledged entry is not durable");
}

TEST_F(OraclesTest, AnAcknowledgementOfWhatTheMediaHaveOfAnotherTerm) {
  Actor follower(1);
  media(1, {Term(2), kNoNode}, {entry(1, 1)});
  step(follower.takes(2, 2, {entry(1, 2)}));
  send(follower, 2, acknowledgement(2, 1));
  expect_fires("durability", "an acknowledged entry is not durable");
}

// One step may take an append of term 1, acknowledge it, and then take a newer leader's entries
// that replace what it acknowledged. The acknowledgement was true, and binds nobody in the newer
// term.
TEST_F(OraclesTest, AnAcknowledgementOfAnEarlierTermIsJudgedByTheLogBeforeTheStep) {
  Actor follower(1);
  media(1, {Term(1), kNoNode}, {entry(1, 1), entry(2, 1)});
  step(follower.takes(2, 1, {entry(1, 1), entry(2, 1)}));
  follower.takes(3, 2, {entry(1, 1), entry(2, 2)});  // the judge has yet to see this step
  send(follower, 2, acknowledgement(1, 2));
  expect_silent();
  step(follower);
  media(1, {Term(2), kNoNode});
  send(follower, 3, acknowledgement(2, 2));  // of this term: the media still hold the old entry
  expect_fires("durability", "an acknowledged entry is not durable");
}

TEST_F(OraclesTest, AnAcknowledgementOfAnEarlierTermMustHaveBeenTrueBeforeTheStep) {
  Actor follower(1);
  media(1, {Term(1), kNoNode}, {entry(1, 1)});
  step(follower.takes(2, 1, {entry(1, 1), entry(2, 1)}));
  follower.takes(3, 2, {entry(1, 2)});
  send(follower, 2, acknowledgement(1, 1));
  expect_silent();
  send(follower, 2, acknowledgement(1, 2));  // never reached the media
  expect_fires("durability", "an acknowledged entry is not durable");
}

TEST_F(OraclesTest, AVoteBeforeItIsDurable) {
  const Actor voter(1);
  media(1, {Term(1), kNoNode});
  send(voter, 2, vote(1));
  expect_fires("durability", "a vote leaves before it is durable");
}

TEST_F(OraclesTest, ACandidacyBeforeItIsDurable) {
  VoteRequest request;
  request.term = Term(1);
  send(Actor(1), 2, request);
  expect_fires("durability", "a vote leaves before it is durable");
}

TEST_F(OraclesTest, ATermBeforeItIsDurable) {
  AppendRequest append;
  append.term = Term(3);
  const Message shows_term[] = {append, acknowledgement(3, 0),
                                VoteReply{.term = Term(3), .pre_vote = false, .granted = false},
                                VoteReply{.term = Term(3), .pre_vote = true, .granted = false}};
  for (const Message& message : shows_term) {
    judge_ = Oracles(3);
    media(1, {Term(3), kNoNode});
    send(Actor(1), 2, message);
    expect_silent();
    judge_ = Oracles(3);
    media(1, {Term(2), kNoNode});
    send(Actor(1), 2, message);
    expect_fires("durability", "a message shows a term that is not durable");
  }
}

TEST_F(OraclesTest, APreVoteShowsNoTermOfItsOwn) {
  VoteRequest request;
  request.term = Term(9);
  request.pre_vote = true;
  send(Actor(1), 2, request);
  send(Actor(1), 2, VoteReply{.term = Term(9), .pre_vote = true, .granted = true});
  expect_silent();
}

TEST_F(OraclesTest, ARestartForgetsItsTerm) {
  media(1, {Term(5), kNoNode});
  start(Actor(1));
  expect_fires("durability", "a restart forgot the term or the vote");
}

TEST_F(OraclesTest, ARestartForgetsItsVote) {
  media(1, {Term(1), NodeId(2)});
  start(Actor(1).votes_for(2, 1));
  expect_silent();
  start(Actor(1).hears(2, 1, 0, 0, 0));
  expect_fires("durability", "a restart forgot the term or the vote");
}

TEST_F(OraclesTest, ARestartLosesACommittedEntry) {
  quorum_media(0, {entry(1, 1)});
  step(Actor(3).takes(2, 1, {entry(1, 1)}, 1));
  start(Actor(2).takes(1, 1, {entry(1, 1)}));
  expect_silent();
  start(Actor(1));
  expect_fires("durability", "a restart lost a committed entry");
}

TEST_F(OraclesTest, ARestartMayLoseWhatWasNotCommitted) {
  quorum_media(0, {entry(1, 1)});
  start(Actor(1));
  expect_silent();
}

TEST_F(OraclesTest, ARefusedStartOfAnUndamagedDisk) {
  judge_.on_start_refused(Actor(1).machine(), Recovered::Outcome::kDamaged);
  expect_fires("durability", "recovery calls an undamaged disk damaged");
  judge_ = Oracles(3);
  judge_.on_start_refused(Actor(1).machine(), Recovered::Outcome::kRefused);
  expect_fires("durability", "recovery refuses its own directory");
}

TEST_F(OraclesTest, ARefusedStartOfADamagedDiskThatStillTellsItsVote) {
  Actor actor(1);
  actor.takes(2, 1, {entry(1, 1)}).takes(2, 1, {entry(1, 1), entry(2, 1)}).rots();
  judge_.on_start_refused(actor.machine(), Recovered::Outcome::kDamaged);
  expect_fires("durability", "recovery calls term and vote lost that are whole");
}

TEST_F(OraclesTest, ARefusedStartOfAWipedDiskIsFine) {
  Actor actor(1);
  actor.takes(2, 1, {entry(1, 1)}).is_wiped();
  judge_.on_start_refused(actor.machine(), Recovered::Outcome::kEmpty);
  expect_silent();
}

// ---- repair

TEST_F(OraclesTest, ADamagedNodeVotes) {
  Actor actor(1);
  start(actor.takes(2, 1, {entry(1, 1)}).rots());
  send(actor, 2, VoteReply{.term = Term(1), .pre_vote = true, .granted = false});
  expect_silent();
  send(actor, 2, VoteReply{.term = Term(1), .pre_vote = true, .granted = true});
  expect_fires("durability", "a damaged node votes");
}

TEST_F(OraclesTest, ADamagedNodeAcknowledges) {
  Actor actor(1);
  media(1, {Term(1), kNoNode});
  start(actor.takes(2, 1, {entry(1, 1)}).rots());
  AppendReply reply = acknowledgement(1, 0);
  reply.repair = 7;
  send(actor, 2, reply);
  expect_silent();
  send(actor, 2, acknowledgement(1, 0));
  expect_fires("durability", "a damaged node acknowledges");
}

TEST_F(OraclesTest, ARepairThatEndsTooEarly) {
  quorum_media(0, {entry(1, 1)});
  step(Actor(3).takes(2, 1, {entry(1, 1)}, 1));
  Actor damaged(1);
  start(damaged.takes(2, 1, {entry(1, 1)}).rots());
  expect_silent();
  step(Actor(1).hears(2, 1, 0, 0, 0));
  expect_fires("durability", "a node calls itself whole and lacks a committed entry");
}

TEST_F(OraclesTest, ARepairThatEndsWithAllThatWasCommittedIsFine) {
  quorum_media(0, {entry(1, 1)});
  step(Actor(3).takes(2, 1, {entry(1, 1)}, 1));
  Actor damaged(1);
  start(damaged.takes(2, 1, {entry(1, 1)}).rots());
  step(Actor(1).takes(2, 1, {entry(1, 1)}));
  expect_silent();
}

// ---- reports

TEST_F(OraclesTest, TheFirstViolationIsKeptWithItsEvent) {
  judge_.set_event(41);
  judge_.violate("hang", "first", "a");
  judge_.set_event(42);
  judge_.violate("codec", "second", "b");
  EXPECT_EQ(judge_.violation()->clause, "first");
  EXPECT_EQ(judge_.violation()->event, 41u);
}

}  // namespace
}  // namespace tally::sim
