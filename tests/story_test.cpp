// What led to what: the past of an event holds its causes and nothing that happened elsewhere.
#include "sim/story.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "core/check.h"
#include "sim/checker.h"
#include "sim/explain.h"
#include "sim/scenario.h"
#include "sim/sim_clients.h"

namespace tally::sim {
namespace {

Event event(EventKind kind, uint32_t who, int64_t at_ms) {
  return Event{VirtualTime(std::chrono::milliseconds(at_ms)), 0, kind, who, 0};
}

std::vector<std::string> texts(const std::vector<Story::Line>& lines) {
  std::vector<std::string> all;
  for (const Story::Line& line : lines) all.push_back(line.text);
  return all;
}

using Texts = std::vector<std::string>;

TEST(Story, ThePastHoldsCausesOnly) {
  Story story(3, 1);
  story.begin_event(event(EventKind::kTimer, 0, 1), 0);  // 1: n1
  story.add_line(VirtualTime(), "n1", "n1 sends", false);
  story.begin_event(event(EventKind::kTimer, 1, 2), 0);  // 2: n2, elsewhere
  story.add_line(VirtualTime(), "n2", "n2 alone", false);
  story.begin_event(event(EventKind::kDeliver, 2, 3), 1);  // 3: at n3, of n1
  story.add_line(VirtualTime(), "n3", "n3 receives", false);
  story.begin_event(event(EventKind::kTimer, 2, 4), 0);  // 4: n3, later
  story.add_line(VirtualTime(), "n3", "n3 goes on", false);
  EXPECT_EQ(texts(story.past_of({4})), (Texts{"n1 sends", "n3 receives", "n3 goes on"}));
  EXPECT_EQ(texts(story.past_of({3})), (Texts{"n1 sends", "n3 receives"}));
  EXPECT_EQ(texts(story.past_of({2})), (Texts{"n2 alone"}));
  EXPECT_EQ(texts(story.past_of({})), Texts{});
  EXPECT_EQ(texts(story.past_of({99})), Texts{});
}

TEST(Story, AFaultIsAnEventOfItsTargets) {
  Story story(2, 0);
  story.begin_event(event(EventKind::kFault, 0, 1), 0);
  story.touch(1);
  story.add_line(VirtualTime(), "fault", "crash n2", true);
  story.begin_event(event(EventKind::kTimer, 0, 2), 0);
  story.begin_event(event(EventKind::kTimer, 1, 3), 0);
  EXPECT_EQ(texts(story.past_of({2})), Texts{});
  EXPECT_EQ(texts(story.past_of({3})), (Texts{"crash n2"}));
}

TEST(Explain, TellsThePastAndTheOracleAndChangesNothing) {
  Scenario scenario;
  ASSERT_EQ(parse_scenario("params { event_count_max: 1500 } fault { kind: CRASH trigger { at_ms: "
                           "400 } target { role: LEADER } duration_ms: 200 }",
                           "test", scenario),
            "");
  RunSpec spec;
  ASSERT_EQ(make_run_spec(scenario, 1, {}, spec), "");
  const RunResult plain = run(spec);
  spec.explain = true;
  World world(spec);
  const RunResult result = world.run();
  EXPECT_EQ(result.digest, plain.digest);
  ASSERT_TRUE(result.violation.has_value());
  const std::string text = explain_text(spec, result, world.story(), 10);
  for (const char* told :
       {"elected leader", "fault 1: crash the leader for 200 ms", "lines in between",
        "oracle     hang", "promised   a run ends within", "happened   1500 events"}) {
    EXPECT_NE(text.find(told), std::string::npos) << told << "\n" << text;
  }
  EXPECT_EQ(explain_text(spec, result, world.story(), 0).find("in between"), std::string::npos);
}

TEST(Story, OfManyFaultsTellsTheLast) {
  RunSpec spec;
  Scenario scenario;
  ASSERT_EQ(parse_scenario("params { duration_ms: 60000 event_count_max: 4000 workload { clients: "
                           "1 } } fault { kind: CLOCK_JUMP target { node: 1 } by_ms: 1 trigger { "
                           "at_ms: 300 } times: 50 every_ms: 5 }",
                           "test", scenario),
            "");
  ASSERT_EQ(make_run_spec(scenario, 1, {}, spec), "");
  spec.explain = true;
  World world(spec);
  RunResult result = world.run();
  ASSERT_TRUE(result.violation.has_value());
  result.violation->oracle = "durability";  // whose story is the past of one event
  const std::string text = explain_text(spec, result, world.story(), 10);
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 40) << text;
  EXPECT_NE(text.find("fault 50: "), std::string::npos) << text;
  EXPECT_EQ(text.find("fault 1: "), std::string::npos) << text;
  const std::string all = explain_text(spec, result, world.story(), 0);
  EXPECT_NE(all.find("fault 1: "), std::string::npos);
}

// ---- what explain tells of each kind of failure

RunSpec explained(const std::string& text) {
  Scenario scenario;
  EXPECT_EQ(parse_scenario(text, "test", scenario), "");
  RunSpec spec;
  const auto seed = static_cast<uint64_t>(scenario.seed());
  EXPECT_EQ(make_run_spec(scenario, seed, {}, spec), "");
  spec.explain = true;
  return spec;
}

std::string explained_as(const RunSpec& spec, Violation violation) {
  World world(spec);
  RunResult result = world.run();
  violation.event = result.event_count;
  result.violation = violation;
  return explain_text(spec, result, world.story(), 60);
}

void expect_all(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

World* checked_world = nullptr;

TEST(Explain, EndsWithTheStepInWhichACheckFailed) {
  RunSpec spec = explained("seed: 1 params { duration_ms: 1000 }");
  spec.params.mutable_raft()->set_append_entries(0);  // which no scenario may
  const auto explain_failure = [](const std::string& message) {
    const RunResult result = checked_world->result_of_failed_check(message);
    fmt::print(stderr, "{}", explain_text(RunSpec(), result, checked_world->story(), 0));
    _exit(1);
  };
  EXPECT_EXIT(
      {
        World world(spec);
        checked_world = &world;
        set_check_handler(explain_failure);
        world.run();
      },
      testing::ExitedWithCode(1), "n1 +starts -> CHECK.* failed");
}

TEST(Explain, TellsWhyNobodyServesWithoutRepeatingIt) {
  RunSpec spec = explained("seed: 1 params { duration_ms: 300 workload { clients: 0 } }");
  // No answer to a vote comes in time.
  spec.params.mutable_network()->set_latency_us_min(3'000'000);
  spec.params.mutable_network()->set_latency_us_max(3'000'000);
  World world(spec);
  const RunResult result = world.run();
  ASSERT_TRUE(result.violation.has_value());
  EXPECT_EQ(result.violation->oracle, "liveness");
  const std::string text = explain_text(spec, result, world.story(), 60);
  expect_all(text, {"liveness: the core", "asks for pre-votes for term 1", "pre-vote for n",
                    "more like those above"});
  EXPECT_EQ(text.find("lines in between"), std::string::npos) << "few enough lines\n" << text;
  EXPECT_NE(explain_text(spec, result, world.story(), 20).find("lines in between"),
            std::string::npos);
}

constexpr const char* kLostAnswer =
    "seed: 700192 params { duration_ms: 1000 workload { clients: 1 } steady_ms: 1 } "
    "noise { from: 3 to: 2 ordinal: 1 effect: LOSE at_us: 500000 message: FORWARDED_ANSWER } "
    "operation { client: 0 at_us: 400000 counter: 'c0' add: 100 } "
    "operation { client: 0 at_us: 450000 counter: 'c1' add: 1 } "
    "operation { client: 0 at_us: 500000 counter: 'c0' add: 10 } ";

TEST(Explain, FollowsARequestThroughLossAndRetry) {
  const std::string text =
      explained_as(explained(kLostAnswer), {"exactly-once", "a clause", "a message", 0, {0, 2}});
  // The first increment was before the loss, and is told nevertheless.
  expect_all(text, {"asks n2: increment c0 by 100 (session 2, sequence 1)",
                    "increment c0 by 100 (session 2, sequence 1) of n2 -> proposes entry 3",
                    "answers n2: 100", "to increment c0 by 100 (session 2, sequence 1)",
                    "asks n2: increment c0 by 10 (session 2, sequence 3)",
                    "lost on the way to n2: answer: 110",
                    "asks n3 again: increment c0 by 10 (session 2, sequence 3)",
                    "retry answered from its session", "answer: 110 to increment c0 by 10 ("});
  EXPECT_EQ(text.find("increment c1"), std::string::npos) << text;
  EXPECT_EQ(text.find("increment liveness"), std::string::npos) << text;
}

TEST(Explain, TellsWhatAReadIsAnsweredAndHowOldThatStateIs) {
  const RunSpec spec = explained(
      "seed: 1 params { duration_ms: 1000 workload { clients: 1 } } "
      "operation { client: 0 at_us: 500000 counter: 'c0' add: 1 } "
      "operation { client: 0 at_us: 600000 counter: 'c0' get: true } "
      "fault { trigger { at_ms: 550 } kind: CLOCK_JUMP target { node: 1 } by_ms: 1 }");
  const std::string text =
      explained_as(spec, {"linearizability", "a clause", "a message", 0, {0, 1}});
  expect_all(text, {"asks n", ": increment c0 by 1 (session 2, sequence 1)", "fault 1", ": get c0",
                    "from its state after entry 3", "answer: 1 to get c0"});
}

TEST(Explain, NamesOperationsAsClientsKnowThem) {
  History history(2);
  history[0].client = 1;
  history[0].sequence = 1;
  history[0].kind = Operation::Kind::kGet;
  history[0].counter = "c0";
  history[0].invoke_ns = 885'000'000;
  history[0].return_ns = 902'033'160;
  history[1] = history[0];
  history[1].client = 1 + kLanesPerClient;
  history[1].kind = Operation::Kind::kAdd;
  history[1].delta = history[1].value = 1;
  history[1].upper = 50;
  history[1].invoke_ns = 502'528'470;
  history[1].return_ns = 505'923'557;
  const CheckResult checked = check_history(history, CheckOptions{});
  ASSERT_EQ(checked.verdict, CheckResult::Verdict::kViolation);
  const std::string text = in_words(checked.reason, history, checked.culprits);
  expect_all(text, {"client 0's get of c0 (answered 0, 885.000 to 902.033 ms)",
                    "client 1's increment of c0 by 1, not above 50 (answered 1, 502.528 to "});
  EXPECT_EQ(text.find("seq"), std::string::npos) << text;
}

}  // namespace
}  // namespace tally::sim
