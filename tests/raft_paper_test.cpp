// One test per claim of Ongaro's thesis ("Consensus: Bridging Theory and Practice", 2014) that the
// Raft step function makes true, in the order of its sections. Each reads given / when / then; the
// invariants of the harness hold after every step of every test.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "tests/raft_harness.h"

namespace tally {
namespace {

using namespace std::chrono_literals;
using Terms = std::vector<uint64_t>;
using Role = Raft::Role;

class RaftPaper : public ::testing::Test {
 protected:
  // The cluster of most tests: three empty nodes.
  RaftCluster three;
  RaftCluster five{{.node_count = 5}};

  void TearDown() override {
    EXPECT_EQ(three.violation(), "");
    EXPECT_EQ(five.violation(), "");
  }

  static HardState at_term(uint64_t term, NodeNumber vote = 0) {
    return {Term(term), NodeId(vote)};
  }
  // The newest message on its way, as its kind; fails the test when there is none.
  template <class Kind>
  static Kind newest(const RaftCluster& cluster, NodeNumber from, NodeNumber to) {
    const std::vector<Envelope> envelopes = cluster.in_flight(from, to);
    const auto* message =
        envelopes.empty() ? nullptr : std::get_if<Kind>(&envelopes.back().message);
    EXPECT_NE(message, nullptr) << "no such message from n" << from << " to n" << to;
    return message == nullptr ? Kind{} : *message;
  }
  static void send(RaftCluster& cluster, NodeNumber from, NodeNumber to, Message message) {
    cluster.inject({endpoint_of(NodeId(from)), endpoint_of(NodeId(to)), std::move(message)});
  }
  // A position in a log: index and term of an entry.
  struct At {
    uint64_t index;
    uint64_t term;
  };
  static VoteRequest vote_request(uint64_t term, At last) {
    VoteRequest request;
    request.term = Term(term);
    request.last_log_index = LogIndex(last.index);
    request.last_log_term = Term(last.term);
    return request;
  }
  static AppendRequest append_request(uint64_t term, At prev, uint64_t commit = 0) {
    AppendRequest request;
    request.term = Term(term);
    request.prev_log_index = LogIndex(prev.index);
    request.prev_log_term = Term(prev.term);
    request.commit_index = LogIndex(commit);
    return request;
  }
  // `node` has asked for votes, and the requests are on their way.
  static void campaign(RaftCluster& cluster, NodeNumber node) {
    cluster.timeout(node);
    cluster.deliver(node, 0);
    cluster.deliver(0, node);
  }
};

// ---- §3.3: terms

TEST_F(RaftPaper, ServersStartAsFollowers) {
  EXPECT_EQ(three.role(1), Role::kFollower);
  EXPECT_EQ(three.term(1), 0u);
  EXPECT_EQ(three.raft(1).leader(), kNoNode);
}

TEST_F(RaftPaper, AServerThatSeesAHigherTermAdoptsIt) {
  three.boot(2, at_term(5), {});
  three.timeout(1);
  three.deliver_all();
  EXPECT_EQ(three.term(1), 5u);
  EXPECT_EQ(three.role(1), Role::kFollower);
}

TEST_F(RaftPaper, ALeaderThatSeesAHigherTermStepsDown) {
  three.elect(1);
  three.isolate(1);
  three.elect(2);
  three.heal();
  three.advance(1, 100ms);
  three.deliver(1, 2);
  three.deliver(2, 1);
  EXPECT_EQ(three.role(1), Role::kFollower);
  EXPECT_EQ(three.term(1), 2u);
}

TEST_F(RaftPaper, RequestsOfAnOldTermAreRefused) {
  three.boot(2, at_term(5), {});
  send(three, 1, 2, vote_request(4, {0, 0}));
  EXPECT_EQ(three.noted(2, NoteKind::vote_refused_stale_term), 1u);
  send(three, 1, 2, append_request(4, {0, 0}));
  EXPECT_EQ(three.noted(2, NoteKind::append_refused_stale_term), 1u);
  EXPECT_EQ(three.raft(2).leader(), kNoNode);
}

// A deposed leader must learn of the newer term even when the new leader cannot reach it.
TEST_F(RaftPaper, AnAppendOfAnOldTermIsAnsweredWithTheNewOne) {
  three.boot(2, at_term(5), {});
  send(three, 1, 2, append_request(4, {0, 0}));
  EXPECT_EQ(newest<AppendReply>(three, 2, 1).term, Term(5));
}

// ---- §3.4: leader election

TEST_F(RaftPaper, AFollowerThatHearsNobodyAsksForVotes) {
  three.timeout(1);
  EXPECT_EQ(three.role(1), Role::kPreCandidate);
  EXPECT_EQ(three.in_flight(1, 0).size(), 2u);
}

TEST_F(RaftPaper, ACandidateRaisesItsTermAndVotesForItself) {
  campaign(three, 1);
  EXPECT_EQ(three.role(1), Role::kCandidate);
  EXPECT_EQ(three.raft(1).hard_state(), at_term(1, 1));
}

TEST_F(RaftPaper, ACandidateWithAMajorityLeads) {
  campaign(five, 1);
  five.deliver(1, 2);
  five.deliver(2, 1);
  EXPECT_EQ(five.role(1), Role::kCandidate);
  five.deliver(1, 3);
  five.deliver(3, 1);
  EXPECT_EQ(five.role(1), Role::kLeader);
}

TEST_F(RaftPaper, AVoteRepeatedCountsOnce) {
  campaign(five, 1);
  five.deliver(1, 2);
  const VoteReply vote = newest<VoteReply>(five, 2, 1);
  for (int i = 0; i < 3; ++i) send(five, 2, 1, vote);
  EXPECT_EQ(five.role(1), Role::kCandidate);
}

TEST_F(RaftPaper, AVoteOfAnEarlierTermDoesNotCount) {
  campaign(three, 1);
  three.deliver(1, 2);
  const VoteReply late = newest<VoteReply>(three, 2, 1);
  three.drop(0, 0);
  campaign(three, 1);
  ASSERT_EQ(three.term(1), 2u);
  send(three, 2, 1, late);
  EXPECT_EQ(three.role(1), Role::kCandidate);
}

TEST_F(RaftPaper, AServerVotesForOneCandidatePerTerm) {
  three.timeout(1);
  three.timeout(2);
  three.drop(1, 2);
  three.drop(2, 1);
  three.deliver(0, 3);
  three.deliver(3, 0);
  three.deliver(1, 3);
  three.deliver(2, 3);
  EXPECT_EQ(three.noted(3, NoteKind::vote_granted), 1u);
  EXPECT_EQ(three.noted(3, NoteKind::vote_refused_already_voted), 1u);
}

TEST_F(RaftPaper, ALostVoteIsGivenAgainToTheSameCandidate) {
  campaign(three, 1);
  const VoteRequest request = newest<VoteRequest>(three, 1, 2);
  three.deliver(1, 2);
  three.drop(2, 1);
  send(three, 1, 2, request);
  three.deliver(2, 1);
  EXPECT_EQ(three.role(1), Role::kLeader);
}

TEST_F(RaftPaper, ACandidateFollowsTheLeaderOfItsTerm) {
  five.cut(1, 2);
  five.cut(2, 1);
  campaign(five, 1);
  five.drop(1, 0);
  campaign(five, 2);
  five.heal();
  five.deliver_all();
  ASSERT_EQ(five.role(2), Role::kLeader);
  EXPECT_EQ(five.noted(1, NoteKind::candidate_yields), 1u);
  EXPECT_EQ(five.raft(1).leader(), NodeId(2));
}

TEST_F(RaftPaper, HeartbeatsKeepTheLeaderInOffice) {
  three.elect(1);
  three.run(30s);
  EXPECT_EQ(three.leader(), 1u);
  EXPECT_EQ(three.term(3), 1u);
}

TEST_F(RaftPaper, ElectionTimeoutsAreRandomBetweenTheMinimumAndTwice) {
  std::set<Duration> drawn;
  three.isolate(1);
  for (int i = 0; i < 20; ++i) {
    const Time before = three.clock(1);
    three.timeout(1);
    drawn.insert(three.clock(1) - before);
  }
  EXPECT_GE(*drawn.begin(), 1000ms);
  EXPECT_LT(*drawn.rbegin(), 2000ms);
  EXPECT_EQ(drawn.size(), 20u);
}

TEST_F(RaftPaper, ASplitVoteIsResolvedByAnotherElection) {
  three.crash(3);
  three.timeout(1);
  three.timeout(2);
  three.deliver_all();
  three.run(20s);
  EXPECT_NE(three.leader(), 0u);
}

// ---- §3.5: log replication

TEST_F(RaftPaper, ALeaderReplicatesAndCommitsWhatItIsGiven) {
  three.elect(1);
  EXPECT_TRUE(three.propose(1, "a"));
  three.run(200ms);
  for (NodeNumber node : {1u, 2u, 3u}) {
    EXPECT_EQ(three.data_at(node, 2), "a");
    EXPECT_EQ(three.commit(node), 2u);
  }
}

TEST_F(RaftPaper, AFollowerRefusesProposals) {
  three.elect(1);
  EXPECT_FALSE(three.propose(2, "a"));
  EXPECT_EQ(three.log_terms(2), Terms({1}));
}

TEST_F(RaftPaper, AnAppendIsRefusedWhereTheEntryBeforeItIsMissing) {
  three.boot(2, at_term(1), {1});
  send(three, 1, 2, append_request(2, {2, 1}));
  EXPECT_EQ(three.noted(2, NoteKind::append_refused_log_short), 1u);
}

TEST_F(RaftPaper, AnAppendIsRefusedWhereTheEntryBeforeItHasAnotherTerm) {
  three.boot(2, at_term(1), {1});
  send(three, 1, 2, append_request(3, {1, 2}));
  EXPECT_EQ(three.noted(2, NoteKind::append_refused_term_differs), 1u);
  EXPECT_EQ(three.log_terms(2), Terms({1}));
}

TEST_F(RaftPaper, TheLeadersLogReplacesWhatConflicts) {
  three.boot(1, at_term(3), {1, 3});
  three.boot(2, at_term(2), {1, 2, 2, 2});
  three.boot(3, at_term(3), {1, 3});
  three.elect(1);
  three.run(300ms);
  EXPECT_EQ(three.log_terms(2), Terms({1, 3, 4}));
  EXPECT_EQ(three.commit(2), 3u);
}

TEST_F(RaftPaper, AnAppendThatArrivesTwiceOrLateChangesNothing) {
  three.elect(1);
  three.propose(1, "a");
  const auto late = newest<AppendRequest>(three, 1, 2);
  three.deliver_all();
  three.propose(1, "b");
  three.deliver_all();
  send(three, 1, 2, late);
  EXPECT_EQ(three.log_terms(2), Terms({1, 1, 1}));
  EXPECT_EQ(newest<AppendReply>(three, 2, 1).match_index, LogIndex(2));
}

TEST_F(RaftPaper, ALeaderSendsAgainUntilAllFollowersStore) {
  three.elect(1);
  three.propose(1, "a");
  three.drop(1, 0);
  three.run(100ms);
  EXPECT_EQ(three.data_at(2, 2), "a");
  EXPECT_EQ(three.data_at(3, 2), "a");
}

// Figure 3.1, AppendEntries 5: min(leaderCommit, index of last new entry).
TEST_F(RaftPaper, AHeartbeatCommitsNoMoreThanItVerifies) {
  three.boot(1, at_term(2), {1, 2});
  three.boot(3, at_term(2), {1, 2});
  three.boot(2, at_term(1), {1, 1, 1});
  three.cut(1, 2);
  three.elect(1);
  ASSERT_EQ(three.commit(1), 3u);
  send(three, 1, 2, append_request(3, {1, 1}, 3));
  EXPECT_EQ(three.commit(2), 1u);
}

TEST_F(RaftPaper, AnEmptyAppendAcknowledgesOnlyWhatItVerifies) {
  three.boot(1, at_term(2), {1, 2});
  three.boot(2, at_term(1), {1, 1, 1});
  three.boot(3, at_term(2), {1, 2});
  three.cut(1, 2);
  three.elect(1);
  send(three, 1, 2, append_request(3, {1, 1}));
  EXPECT_EQ(newest<AppendReply>(three, 2, 1).match_index, LogIndex(1));
}

// What an earlier leader verified says nothing about the log of this one.
TEST_F(RaftPaper, ASyncAcknowledgesOnlyWhatThisLeaderVerified) {
  five.elect(3);
  five.propose(3, "a");
  five.deliver(3, 2);
  five.isolate(3);
  five.isolate(2);
  five.elect(1);
  five.hold_syncs(2);
  send(five, 1, 2, append_request(2, {1, 1}));
  five.heal();
  five.sync(2);
  EXPECT_EQ(five.log_terms(2), Terms({1, 1}));
  EXPECT_EQ(newest<AppendReply>(five, 2, 1).match_index, LogIndex(1));
}

TEST_F(RaftPaper, AnAnswerToAnEarlierLeadershipIsNotCounted) {
  three.elect(1);
  three.isolate(1);
  three.propose(1, "a");
  three.elect(2);
  three.heal();
  three.run(200ms);
  three.cut(1, 2);
  three.cut(1, 3);
  AppendReply late;
  late.term = Term(1);
  late.success = true;
  late.match_index = LogIndex(3);
  late.sent_at = three.clock(2);
  three.propose(2, "b");
  send(three, 1, 2, late);
  EXPECT_EQ(three.commit(2), 2u);
  EXPECT_EQ(three.noted(2, NoteKind::append_reply_ignored_stale), 1u);
}

TEST_F(RaftPaper, ARefusalSkipsAWholeTerm) {
  three.boot(1, at_term(5), {1, 4, 4, 4, 4, 5});
  three.boot(2, at_term(3), {1, 2, 2, 2, 2, 2, 3});
  three.boot(3, at_term(5), {1, 4, 4, 4, 4, 5});
  three.elect(1);
  three.run(100ms);
  EXPECT_EQ(three.log_terms(2), Terms({1, 4, 4, 4, 4, 5, 6}));
  EXPECT_LE(three.noted(1, NoteKind::probing), 2u);
}

// ---- §3.6: safety

TEST_F(RaftPaper, AVoterRefusesALogThatEndsInAnEarlierTerm) {
  three.boot(1, at_term(3), {1, 1, 1, 1});
  three.boot(2, at_term(3), {1, 2});
  send(three, 1, 2, vote_request(4, {4, 1}));
  EXPECT_EQ(three.noted(2, NoteKind::vote_refused_log_behind), 1u);
}

TEST_F(RaftPaper, AVoterRefusesAShorterLogOfTheSameTerm) {
  three.boot(2, at_term(3), {1, 2, 2});
  send(three, 1, 2, vote_request(4, {2, 2}));
  EXPECT_EQ(three.noted(2, NoteKind::vote_refused_log_behind), 1u);
  EXPECT_EQ(three.term(2), 4u);
}

TEST_F(RaftPaper, AVoterAcceptsAShorterLogOfALaterTermAndAnEqualOne) {
  three.boot(2, at_term(3), {1, 2, 2});
  send(three, 1, 2, vote_request(4, {2, 3}));
  send(three, 3, 2, vote_request(5, {3, 2}));
  EXPECT_EQ(three.noted(2, NoteKind::vote_granted), 2u);
}

// §3.6.2; the whole story is tests/transcripts/figure-8.txt.
TEST_F(RaftPaper, EntriesOfOlderTermsAreNotCommittedByCounting) {
  RaftCluster cluster({.append_entry_count_max = 1});
  cluster.boot(1, at_term(1), {1, 1});
  cluster.boot(2, at_term(1), {});
  cluster.crash(3);
  campaign(cluster, 1);
  for (int i = 0; i < 3; ++i) {
    cluster.deliver(1, 2);
    cluster.deliver(2, 1);
  }
  EXPECT_EQ(cluster.log_terms(2), Terms({1}));
  EXPECT_EQ(cluster.commit(1), 0u);
  cluster.deliver_all();
  EXPECT_EQ(cluster.commit(1), 3u);
  EXPECT_EQ(cluster.violation(), "");
}

// ---- §3.8: persisted state

TEST_F(RaftPaper, AVoteIsToldOnlyOnceItIsDurable) {
  three.hold_syncs(2);
  campaign(three, 1);
  three.deliver(1, 2);
  EXPECT_TRUE(three.in_flight(2, 1).empty());
  three.sync(2);
  EXPECT_TRUE(newest<VoteReply>(three, 2, 1).granted);
}

TEST_F(RaftPaper, ACandidateAsksOnlyOnceItsOwnVoteIsDurable) {
  three.hold_syncs(1);
  campaign(three, 1);
  EXPECT_TRUE(three.in_flight(1, 2).empty());
  three.sync(1);
  EXPECT_EQ(newest<VoteRequest>(three, 1, 2).term, Term(1));
}

TEST_F(RaftPaper, TermAndVoteSurviveARestart) {
  campaign(three, 1);
  three.deliver(1, 2);
  three.restart(2);
  EXPECT_EQ(three.raft(2).hard_state(), at_term(1, 1));
}

TEST_F(RaftPaper, AnEntryIsAcknowledgedOnlyOnceItIsDurable) {
  three.elect(1);
  three.hold_syncs(2);
  three.propose(1, "a");
  three.deliver(1, 2);
  EXPECT_TRUE(three.in_flight(2, 1).empty());
  three.sync(2);
  EXPECT_EQ(newest<AppendReply>(three, 2, 1).match_index, LogIndex(2));
}

TEST_F(RaftPaper, AGroupOfOneCommitsOnlyWhatItsDiskHolds) {
  RaftCluster one({.node_count = 1, .sync_at_once = false});
  one.sync(1);
  one.timeout(1);
  EXPECT_EQ(one.role(1), Role::kCandidate);
  one.sync(1);
  EXPECT_EQ(one.commit(1), 0u);
  one.sync(1);
  EXPECT_EQ(one.commit(1), 1u);
  EXPECT_EQ(one.violation(), "");
}

// Losing a minority's disks, unsynced, loses nothing acknowledged.
TEST_F(RaftPaper, CommittedEntriesSurviveARestartOfAll) {
  three.elect(1);
  three.propose(1, "a");
  three.deliver_all();
  for (NodeNumber node : {1u, 2u, 3u}) three.crash(node);
  for (NodeNumber node : {1u, 2u, 3u}) three.start(node);
  three.run(10s);
  EXPECT_EQ(three.data_at(three.leader(), 2), "a");
  EXPECT_GE(three.commit(three.leader()), 3u);
}

// ---- §4.2.3: disruptive servers

TEST_F(RaftPaper, AServerThatHearsALeaderIgnoresVoteRequests) {
  three.elect(1);
  send(three, 3, 2, vote_request(9, {9, 1}));
  EXPECT_EQ(three.term(2), 1u);
  EXPECT_EQ(three.noted(2, NoteKind::vote_refused_leader_alive), 1u);
}

TEST_F(RaftPaper, TheProtectionEndsWithTheMinimalTimeout) {
  three.elect(1);
  three.isolate(1);
  three.lapse(2);
  send(three, 3, 2, vote_request(9, {9, 1}));
  EXPECT_EQ(three.noted(2, NoteKind::vote_granted), 2u);
}

// ---- §3.10: leadership transfer

TEST_F(RaftPaper, LeadershipGoesToAServerOnceItHoldsAllOfTheLog) {
  three.elect(1);
  three.cut(1, 2);
  three.propose(1, "a");
  three.deliver_all();
  three.step(1, {Transfer{NodeId(2)}});
  EXPECT_FALSE(three.propose(1, "b")) << "what is not in the log yet would only keep it waiting";
  EXPECT_EQ(three.noted(1, NoteKind::transfer_sent), 0u);
  three.heal();
  three.run(500ms);
  EXPECT_EQ(three.leader(), 2u);
  EXPECT_EQ(three.data_at(2, 2), "a");
  EXPECT_EQ(three.role(1), Role::kFollower);
  EXPECT_EQ(three.violation(), "");
}

TEST_F(RaftPaper, ATransferGoesToTheServerThatHoldsMostWhenNoneIsNamed) {
  three.elect(1);
  three.cut(1, 2);
  three.propose(1, "a");
  three.deliver_all();
  three.step(1, {Transfer{kNoNode}});
  EXPECT_EQ(three.raft(1).transfer_to(), NodeId(3));
  three.deliver_all();
  EXPECT_EQ(three.leader(), 3u);
}

// No clock moves: those who just heard the leader vote all the same, and nobody is asked before.
TEST_F(RaftPaper, ATransferDisregardsTheProtectionOfTheLeader) {
  three.elect(1);
  three.forget_notes();
  three.step(1, {Transfer{NodeId(2)}});
  three.deliver_all();
  EXPECT_EQ(three.leader(), 2u);
  EXPECT_EQ(three.term(2), 2u);
  EXPECT_EQ(three.noted(3, NoteKind::vote_granted), 1u);
  EXPECT_EQ(three.noted(3, NoteKind::pre_vote_granted), 0u);
  EXPECT_TRUE(three.propose(2, "b"));
}

TEST_F(RaftPaper, ATransferToAServerThatIsGoneEndsAfterTheMinimalTimeout) {
  three.elect(1);
  three.crash(2);
  three.step(1, {Transfer{NodeId(2)}});
  three.run(950ms);
  EXPECT_FALSE(three.propose(1, "a"));
  three.run(100ms);
  EXPECT_EQ(three.noted(1, NoteKind::transfer_given_up), 1u);
  EXPECT_TRUE(three.propose(1, "a"));
  EXPECT_EQ(three.leader(), 1u);
}

TEST_F(RaftPaper, ATransferThatCannotBeIsRefused) {
  three.elect(1);
  three.step(1, {Transfer{NodeId(1)}});
  three.step(1, {Transfer{NodeId(9)}});
  three.step(2, {Transfer{NodeId(3)}});
  EXPECT_EQ(three.noted(1, NoteKind::transfer_refused), 2u);
  EXPECT_EQ(three.noted(2, NoteKind::transfer_refused), 1u);
  EXPECT_TRUE(three.propose(1, "a"));
}

TEST_F(RaftPaper, OnlyTheLeaderOfItsTermMakesAServerCampaign) {
  three.elect(1);
  send(three, 3, 2, TimeoutNow{Term(1)});
  send(three, 1, 2, TimeoutNow{Term(0)});
  send(three, 1, 2, TimeoutNow{Term(7)});
  EXPECT_EQ(three.noted(2, NoteKind::transfer_ignored), 3u);
  EXPECT_EQ(three.role(2), Role::kFollower);
  EXPECT_EQ(three.term(2), 1u);
}

// ---- full disks: no entries are taken but no-ops, so that a leader can serve reads

TEST_F(RaftPaper, WithAllDisksFullANewLeaderCommitsItsNoOpAndServesReads) {
  three.elect(1);
  three.propose(1, "a");
  three.deliver_all();
  for (NodeNumber node : {1u, 2u, 3u}) three.step(node, {StorageFull{true}});
  EXPECT_EQ(three.role(1), Role::kFollower);
  three.run(20s);
  const NodeNumber leader = three.leader();
  ASSERT_NE(leader, 0u);
  EXPECT_EQ(three.commit(leader), three.log_terms(leader).size());
  const uint64_t read = three.read(leader);
  three.run(1s);
  EXPECT_TRUE(three.read_ready(read).has_value());
  EXPECT_EQ(three.violation(), "");
}

TEST_F(RaftPaper, AFullFollowerTakesNoEntryThatIsNoNoOp) {
  three.elect(1);
  three.deliver_all();
  three.step(2, {StorageFull{true}});
  three.propose(1, "a");
  three.deliver_all();
  EXPECT_EQ(three.log_terms(2).size(), 1u);
  EXPECT_GE(three.noted(2, NoteKind::entries_not_taken), 1u);
}

TEST_F(RaftPaper, ALeaderWithRoomKnowsThatNoQuorumHasItAndWhenOneHasItAgain) {
  three.elect(1);
  three.step(2, {StorageFull{true}});
  three.run(200ms);
  EXPECT_FALSE(three.raft(1).lacks_room()) << "n1 and n3 are a quorum";
  three.step(3, {StorageFull{true}});
  EXPECT_FALSE(three.raft(1).lacks_room()) << "nobody has said so yet";
  three.run(200ms);
  EXPECT_TRUE(three.raft(1).lacks_room());
  EXPECT_FALSE(three.raft(2).lacks_room()) << "it does not lead";
  const uint64_t read = three.read(1);
  three.run(20s);
  EXPECT_TRUE(three.read_ready(read).has_value());
  EXPECT_EQ(three.role(1), Role::kLeader);
  EXPECT_TRUE(three.raft(1).lacks_room());
  three.step(3, {StorageFull{false}});
  three.run(200ms);
  EXPECT_FALSE(three.raft(1).lacks_room());
}

TEST_F(RaftPaper, WhatWasAppendedBeforeTheLeaderKnewIsCommittedOnceThereIsRoom) {
  three.elect(1);
  three.step(2, {StorageFull{true}});
  three.step(3, {StorageFull{true}});
  three.propose(1, "a");
  three.run(20s);
  EXPECT_EQ(three.commit(1), 1u);
  EXPECT_TRUE(three.raft(1).lacks_room());
  three.step(2, {StorageFull{false}});
  three.run(200ms);
  EXPECT_EQ(three.commit(1), 2u);
}

TEST_F(RaftPaper, AFollowerThatIsSilentOrDamagedTakesNothingEither) {
  five.elect(1);
  five.step(2, {StorageFull{true}});
  five.step(3, {StorageFull{true}});
  five.run(200ms);
  EXPECT_FALSE(five.raft(1).lacks_room());
  five.crash(4);
  five.run(900ms);
  EXPECT_FALSE(five.raft(1).lacks_room()) << "it may have an answer under way";
  five.run(200ms);
  EXPECT_TRUE(five.raft(1).lacks_room());
  EXPECT_EQ(five.role(1), Role::kLeader);
  five.start(4);
  five.run(200ms);
  EXPECT_FALSE(five.raft(1).lacks_room());
  AppendReply damaged;
  damaged.term = Term(1);
  damaged.sent_at = five.clock(1);
  damaged.repair = 7;
  send(five, 5, 1, damaged);
  EXPECT_TRUE(five.raft(1).lacks_room());
}

TEST_F(RaftPaper, AnOlderAnswerDoesNotMakeAFollowerFullAgain) {
  three.elect(1);
  three.step(2, {StorageFull{true}});
  three.isolate(3);
  three.advance(1, 100ms);
  three.deliver(1, 2);
  const AppendReply full = newest<AppendReply>(three, 2, 1);
  ASSERT_TRUE(full.full);
  three.deliver(2, 1);
  three.step(2, {StorageFull{false}});
  three.run(1500ms);
  ASSERT_EQ(three.role(1), Role::kLeader);
  send(three, 2, 1, full);
  EXPECT_FALSE(three.raft(1).lacks_room());
}

// ---- §6.2: a leader without a quorum

TEST_F(RaftPaper, ALeaderWithoutAQuorumStepsDownWithinTheTimeout) {
  three.elect(1);
  three.isolate(1);
  three.advance(1, 999ms);
  EXPECT_EQ(three.role(1), Role::kLeader);
  three.advance(1, 1ms);
  EXPECT_EQ(three.role(1), Role::kFollower);
}

TEST_F(RaftPaper, ALeaderWithAQuorumStays) {
  five.elect(1);
  five.crash(4);
  five.crash(5);
  five.run(10s);
  EXPECT_EQ(five.leader(), 1u);
  EXPECT_EQ(five.term(1), 1u);
}

// ---- §6.4: reads without the log

TEST_F(RaftPaper, AReadWaitsForAQuorumOfItsOwnRound) {
  three.elect(1);
  const uint64_t read = three.read(1);
  EXPECT_FALSE(three.read_ready(read).has_value());
  three.deliver(1, 2);
  three.deliver(2, 1);
  EXPECT_EQ(three.read_ready(read), LogIndex(1));
}

TEST_F(RaftPaper, AReadDoesNotCountAnswersFromBeforeIt) {
  three.elect(1);
  three.advance(1, 100ms);
  three.deliver(1, 0);
  const uint64_t read = three.read(1);
  three.deliver(0, 1);
  EXPECT_FALSE(three.read_ready(read).has_value());
}

// Rounds count anew in each term. A late heartbeat of an earlier term is refused with the term of
// now, which its sender leads again: the refusal must not pass for an answer to a round of now.
TEST_F(RaftPaper, AReadIsNotConfirmedByAnswersToAnEarlierLeadership) {
  three.elect(1);
  three.read(1);
  three.read(1);
  const auto late = newest<AppendRequest>(three, 1, 2);
  three.deliver_all();
  three.elect(2);
  three.elect(1);
  send(three, 1, 2, late);
  three.deliver_all();
  three.isolate(1);
  EXPECT_FALSE(three.read_ready(three.read(1)).has_value());
}

TEST_F(RaftPaper, AReadOfANewLeaderWaitsForItsNoop) {
  three.boot(1, at_term(1), {1, 1});
  campaign(three, 1);
  three.deliver(1, 2);
  three.deliver(2, 1);
  ASSERT_EQ(three.role(1), Role::kLeader);
  const uint64_t read = three.read(1);
  three.deliver_all();
  EXPECT_EQ(three.read_ready(read), LogIndex(3));
}

TEST_F(RaftPaper, AReadFailsWithItsLeader) {
  three.elect(1);
  three.isolate(1);
  const uint64_t read = three.read(1);
  three.advance(1, 1000ms);
  EXPECT_TRUE(three.read_refused(read));
  EXPECT_TRUE(three.read_refused(three.read(2)));
}

// ---- §9.6: pre-vote

TEST_F(RaftPaper, ACutOffServerDoesNotRaiseItsTerm) {
  three.elect(1);
  three.isolate(3);
  three.advance(3, 60s);
  EXPECT_EQ(three.term(3), 1u);
  three.heal();
  three.run(1s);
  EXPECT_EQ(three.leader(), 1u);
  EXPECT_EQ(three.term(1), 1u);
}

TEST_F(RaftPaper, APreVotePromisesNothing) {
  three.timeout(1);
  three.timeout(2);
  three.deliver(1, 3);
  three.deliver(2, 3);
  EXPECT_EQ(three.noted(3, NoteKind::pre_vote_granted), 2u);
  EXPECT_EQ(three.raft(3).hard_state(), HardState{});
}

TEST_F(RaftPaper, APreVoteChecksTheLog) {
  three.boot(1, at_term(1), {});
  three.boot(2, at_term(1), {1});
  three.timeout(1);
  three.deliver(1, 2);
  EXPECT_EQ(three.noted(2, NoteKind::pre_vote_refused_log_behind), 1u);
}

// hashicorp/raft #605: the leader itself may ask again.
TEST_F(RaftPaper, FollowersGrantThePreVoteOfTheirOwnLeader) {
  three.elect(1);
  three.crash(3);
  three.isolate(1);
  three.advance(1, 1000ms);
  three.heal();
  three.timeout(1);
  three.deliver(1, 2);
  EXPECT_EQ(three.noted(2, NoteKind::pre_vote_granted), 2u);
}

// A server that votes stops asking for pre-votes of its own.
TEST_F(RaftPaper, AServerThatGrantsAVoteBacksItsCandidate) {
  three.boot(2, at_term(1), {});
  three.timeout(2);
  ASSERT_EQ(three.role(2), Role::kPreCandidate);
  send(three, 1, 2, vote_request(1, {0, 0}));
  EXPECT_EQ(three.role(2), Role::kFollower);
}

// ---- §10.2: writing in parallel, pipelining

TEST_F(RaftPaper, AppendsLeaveWhileTheLeadersDiskStillWrites) {
  three.elect(1);
  three.hold_syncs(1);
  three.propose(1, "a");
  EXPECT_EQ(newest<AppendRequest>(three, 1, 2).entries.size(), 1u);
  three.deliver(1, 2);
  three.deliver(2, 1);
  EXPECT_EQ(three.commit(1), 1u);
  three.sync(1);
  EXPECT_EQ(three.commit(1), 2u);
}

TEST_F(RaftPaper, AnEntryCommitsWithoutTheLeadersDisk) {
  three.elect(1);
  three.hold_syncs(1);
  three.propose(1, "a");
  three.deliver_all();
  EXPECT_EQ(three.commit(1), 2u);
}

TEST_F(RaftPaper, AppendsDoNotWaitForAnswers) {
  three.elect(1);
  for (int i = 0; i < 5; ++i) three.propose(1, "x");
  EXPECT_EQ(three.in_flight(1, 2).size(), 5u);
  three.deliver_all();
  EXPECT_EQ(three.commit(1), 6u);
}

TEST_F(RaftPaper, AFollowerWithASlowDiskIsNotADeadOne) {
  three.elect(1);
  three.crash(3);
  three.hold_syncs(2);
  three.propose(1, "a");
  three.run(5s);
  EXPECT_EQ(three.leader(), 1u);
  EXPECT_EQ(three.commit(1), 1u);
}

// Not in the thesis: such a leader would hold its clients up for as long as its disk likes.
TEST_F(RaftPaper, ALeaderWithASlowDiskStepsDown) {
  three.elect(1);
  three.hold_syncs(1);
  three.propose(1, "a");
  three.run(999ms);
  EXPECT_EQ(three.role(1), Role::kLeader);
  three.run(1ms);
  EXPECT_EQ(three.role(1), Role::kFollower);
}

TEST(RaftConfigError, NamesWhatDoesNotFit) {
  RaftConfig config{.id = NodeId(1), .voters = {NodeId(1), NodeId(2)}};
  EXPECT_EQ(config_error(config), "");
  config.voters.push_back(NodeId(2));
  EXPECT_EQ(config_error(config), "voter 2 is named twice");
  config.voters.pop_back();
  config.spare_delay = config.heartbeat_interval;
  EXPECT_EQ(config_error(config), "");
  config.spare_delay += 1us;
  EXPECT_EQ(config_error(config),
            "the delay of spare followers (100001 us) must be from 0 to the heartbeat interval "
            "(100000 us)");
  config.spare_delay = Duration(0);
  config.voters.clear();
  for (uint64_t i = 1; i <= 17; ++i) config.voters.push_back(NodeId(i));
  EXPECT_EQ(config_error(config), "17 voters, at most 16 are supported");
}

}  // namespace
}  // namespace tally
