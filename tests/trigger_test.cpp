// The scenario language at work: when a fault begins, on whom, and which messages it strikes. What
// a run did is read off its trace.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <set>
#include <sstream>

#include "sim/plan.h"
#include "sim/scenario.h"

namespace tally::sim {
namespace {

struct Told {
  RunResult result;
  std::vector<std::string> lines;  // of the trace

  // The first line with all of these in it; empty: none.
  std::string line_with(const std::vector<std::string>& parts) const {
    for (const std::string& line : lines) {
      bool all = true;
      for (const std::string& part : parts) all &= line.find(part) != std::string::npos;
      if (all) return line;
    }
    return {};
  }
  size_t count_of(const std::string& part) const {
    size_t count = 0;
    for (const std::string& line : lines) count += line.find(part) != std::string::npos ? 1 : 0;
    return count;
  }
};

double ms_of(const std::string& line) { return std::atof(line.c_str()); }

RunSpec spec_of(const std::string& text, uint64_t seed = 1) {
  Scenario scenario;
  EXPECT_EQ(parse_scenario(text, "test", scenario), "");
  if (!scenario.params().has_duration_ms()) scenario.mutable_params()->set_duration_ms(2000);
  RunSpec spec;
  EXPECT_EQ(make_run_spec(scenario, seed, {}, spec), "");
  return spec;
}

Told told(const std::string& text, uint64_t seed = 1) {
  RunSpec spec = spec_of(text, seed);
  char* buffer = nullptr;
  size_t size = 0;
  spec.trace = open_memstream(&buffer, &size);
  Told all{run(spec), {}};
  std::fclose(spec.trace);
  std::istringstream trace(std::string(buffer, size));
  std::free(buffer);
  for (std::string line; std::getline(trace, line);) all.lines.push_back(line);
  EXPECT_NE(all.result.verdict, RunResult::Verdict::kViolation) << all.result.violation->message;
  return all;
}

std::string kill(const std::string& target, const std::string& trigger) {
  return "fault { kind: KILL target { " + target + " } trigger { " + trigger +
         " } duration_ms: 100 } ";
}

const std::string kJumpOfN1 =
    "fault { kind: CLOCK_JUMP trigger { at_ms: 20 } target { node: 1 } by_ms: 1000 } ";

// ---- when

TEST(Trigger, WaitsForANote) {
  const Told all = told(kill("role: SUBJECT", "when { note { name: 'became_leader' } }"));
  const std::string elected = all.line_with({"elected leader"});
  const std::string fault = all.line_with({"fault 1: kill that node"});
  EXPECT_EQ(ms_of(fault), ms_of(elected));
  // The one that made it: "... n2  ..." and "(n2)".
  const std::string who = elected.substr(elected.find('n'), 2);
  EXPECT_NE(fault.find("(" + who + ")"), std::string::npos) << elected << "\n" << fault;
}

TEST(Trigger, CountsNotesAndOnlyThoseOfItsNode) {
  const Told all =
      told(kJumpOfN1 + kill("node: 1", "when { note { name: 'committed' node: 3 count: 5 } }"));
  const std::string fault = all.line_with({"fault 2: kill n1"});
  size_t before = 0;
  for (const std::string& line : all.lines) {
    if (line == fault) break;
    const bool of_n3 = line.find("ms  n3 ") != std::string::npos;
    before += of_n3 && line.find("committed up to") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(before, 5u);
}

TEST(Trigger, WaitsForAnEntryThatIsAppendedAndNotCommitted) {
  const Told all =
      told(kJumpOfN1 + kill("role: SUBJECT", "when { appended { index: 20 node: 2 } }"));
  const std::string fault = all.line_with({"fault 2: kill that node", "(n2)"});
  ASSERT_FALSE(fault.empty());
  std::string before;
  for (const std::string& line : all.lines) {
    if (line == fault) break;
    if (line.find("appended up to 20 from n1") != std::string::npos) before = line;
    EXPECT_EQ(line.find("committed up to 20"), std::string::npos) << line;
  }
  EXPECT_NE(before.find("ms  n2 "), std::string::npos) << before;
}

TEST(Trigger, ComesLaterByAsMuchAsItSays) {
  const Told all = told(kill("node: 2", "when { committed: 20 } after_ms: 30") +
                        kill("node: 2", "when { committed: 20 }"));
  EXPECT_NEAR(ms_of(all.line_with({"fault 1: kill"})) - ms_of(all.line_with({"fault 2: kill"})), 30,
              0.01);
}

TEST(Trigger, FiresOnce) {
  const Told all = told("params { duration_ms: 4000 } " +
                        kill("role: LEADER", "when { note { name: 'became_leader' } }"));
  EXPECT_GT(all.count_of("elected leader"), 1u);
  EXPECT_EQ(all.result.faults_fired[KILL], 1u);
}

TEST(Trigger, ThatNeverFiresIsCountedAndTold) {
  const Told all =
      told(kill("node: 1", "at_ms: 900") + kill("node: 1", "when { committed: 5 } deadline_ms: 1") +
           kill("node: 1", "when { note { name: 'snapshot_installed' } }"));
  EXPECT_EQ(all.result.faults_idle, 2u);
  EXPECT_EQ(all.result.faults_fired[KILL], 1u);
  EXPECT_FALSE(all.line_with({"fault 2: kill n1", "never comes", "entry 5", "deadline"}).empty());
  EXPECT_FALSE(all.line_with({"fault 3: kill n1", "never comes", "snapshot installed"}).empty());
}

TEST(Trigger, ComesAsOftenAsItSays) {
  const Told all = told(
      "fault { kind: KILL target { node: 2 } trigger { at_ms: 500 } duration_ms: 10 times: 3 "
      "every_ms: 100 } "
      "fault { kind: KILL target { node: 3 } trigger { when { leader_elected: true } } "
      "duration_ms: 10 times: 2 every_ms: 50 }");
  EXPECT_EQ(all.result.faults_fired[KILL], 5u);
  EXPECT_EQ(ms_of(all.line_with({"fault 3: kill n2"})), 700);
  EXPECT_NEAR(ms_of(all.line_with({"fault 5: kill n3"})) - ms_of(all.line_with({"fault 4: kill"})),
              50, 0.01);
}

// ---- on whom

std::string cut(const std::string& target) {
  return "params { nodes: 5 } " + kJumpOfN1 + "fault { kind: PARTITION target { " + target +
         " } trigger { at_ms: 900 } duration_ms: 100 }";
}

TEST(Role, SidesOfTheLeader) {
  EXPECT_FALSE(told(cut("role: LEADER_MAJORITY")).line_with({"quorum", "(n1, n2, n3)"}).empty());
  EXPECT_FALSE(told(cut("role: LEADER_MINORITY")).line_with({"less", "(n1, n2)"}).empty());
  EXPECT_FALSE(told(cut("role: FOLLOWER")).line_with({"a follower", "(n2)"}).empty());
}

TEST(Role, RandomFollowersAreDrawnBeforeTheRun) {
  std::set<int64_t> picks;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const RunSpec spec = spec_of(cut("role: RANDOM_FOLLOWER"), seed);
    ASSERT_TRUE(spec.plan[1].target(0).has_pick());
    picks.insert(spec.plan[1].target(0).pick());
    EXPECT_EQ(spec_of(scenario_text(spelled_out(spec)), 77).plan[1].target(0).pick(),
              spec.plan[1].target(0).pick());
  }
  EXPECT_EQ(picks, (std::set<int64_t>{0, 1, 2, 3}));
  EXPECT_FALSE(told(cut("role: RANDOM_FOLLOWER pick: 2")).line_with({"(n4)"}).empty());
  EXPECT_FALSE(told(cut("role: RANDOM_FOLLOWER pick: 6")).line_with({"(n4)"}).empty());
}

// ---- messages

std::string strike(const std::string& fields) {
  return kJumpOfN1 + "fault { kind: MESSAGES trigger { at_ms: 0 } " + fields + " } ";
}

TEST(Messages, TheNextOfATypeOnALinkAreLost) {
  const Told all =
      told(strike("message: APPEND effect: LOSE count: 2 target { node: 1 } peer { node: 3 }"));
  EXPECT_EQ(all.count_of("fault 2 strikes APPEND from n1 to n3"), 2u);
  EXPECT_EQ(all.count_of("strikes"), 2u);
  EXPECT_EQ(all.result.faults_fired[MESSAGES], 1u);
  EXPECT_GT(all.result.notes[static_cast<size_t>(NoteKind::append_refused_log_short)], 0u);
}

TEST(Messages, WithoutVoteRepliesNobodyLeadsUntilTheFaultEnds) {
  const Told all = told("params { duration_ms: 3000 } " +
                        strike("message: VOTE_REPLY effect: LOSE duration_ms: 1500"));
  EXPECT_GT(all.count_of("strikes VOTE_REPLY"), 1u);
  EXPECT_GT(ms_of(all.line_with({"elected leader"})), 1500);
}

TEST(Messages, ComeLateByAsMuchAsItSays) {
  const Told all =
      told("params { network { latency_us_min: 1000 latency_us_max: 1000 } } " +
           strike("message: PRE_VOTE_REQUEST effect: DELAY by_ms: 30 count: 1 peer { node: 2 }"));
  const double sent = ms_of(all.line_with({"strikes PRE_VOTE_REQUEST from n1 to n2"}));
  EXPECT_NEAR(ms_of(all.line_with({"ms  n2", "pre-vote for n1"})), sent + 31, 0.01);
}

TEST(Messages, ComeAgain) {
  const Told all =
      told("params { network { latency_us_min: 1000 latency_us_max: 1000 } } " +
           strike("message: VOTE_REQUEST effect: DUPLICATE by_ms: 1 count: 1 peer { node: 2 }"));
  const double first = ms_of(all.line_with({"ms  n2", "vote for n1 granted in term"}));
  EXPECT_NEAR(ms_of(all.line_with({"ms  n2", "vote for n1", "repeated"})), first + 1, 0.01);
}

TEST(Messages, ThatNeverComeLeaveTheFaultIdle) {
  const Told all = told(strike("message: SNAPSHOT_PIECE effect: LOSE"));
  EXPECT_EQ(all.result.faults_fired[MESSAGES], 0u);
  EXPECT_EQ(all.result.faults_idle, 1u);
}

// ---- grouped inputs

TEST(Trace, TellsAllThatAStepTookTogether) {
  const Told all = told("params { raft { grouping_us: 20000 } workload { clients: 8 } }");
  EXPECT_FALSE(all.line_with({" + ", "->"}).empty());
  EXPECT_EQ(all.count_of("takes what has arrived"), 0u);
}

}  // namespace
}  // namespace tally::sim
