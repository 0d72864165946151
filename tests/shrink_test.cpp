// Shrinking: lists lose what they do not need, times become readable, and a failing run becomes a
// story that fails by the same fingerprint, is minimal, and says so truly.
#include "sim/shrink.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <numeric>

#include "sim/plan.h"
#include "sim/shrink_list.h"
#include "sim/shrink_times.h"

namespace tally::sim {
namespace {

// ---- lists

std::vector<int> numbers(int count) {
  std::vector<int> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

bool contains(const std::vector<int>& items, const std::vector<int>& needed) {
  return std::all_of(needed.begin(), needed.end(), [&](int item) {
    return std::find(items.begin(), items.end(), item) != items.end();
  });
}

TEST(ReduceList, KeepsWhatIsNeeded) {
  std::vector<int> items = numbers(1000);
  int tries = 0;
  EXPECT_TRUE(reduce_list(items, [&](const std::vector<int>& rest) {
    ++tries;
    return contains(rest, {3, 500, 501, 999});
  }));
  EXPECT_EQ(items, (std::vector<int>{3, 500, 501, 999}));
  EXPECT_LT(tries, 200);
}

TEST(ReduceList, LeavesNothingWhenNothingIsNeeded) {
  std::vector<int> items = numbers(100);
  int tries = 0;
  EXPECT_TRUE(reduce_list(items, [&](const std::vector<int>&) { return ++tries > 0; }));
  EXPECT_TRUE(items.empty());
  EXPECT_EQ(tries, 1);
}

TEST(ReduceList, LeavesAllWhenAllIsNeeded) {
  std::vector<int> items = numbers(9);
  EXPECT_FALSE(reduce_list(items, [](const std::vector<int>& rest) { return rest.size() == 9; }));
  EXPECT_EQ(items, numbers(9));
}

TEST(ReduceList, OfNothingTriesNothing) {
  std::vector<int> items;
  EXPECT_FALSE(reduce_list(items, [](const std::vector<int>&) {
    ADD_FAILURE();
    return true;
  }));
}

RC_GTEST_PROP(ReduceList, EndsOneMinimal, (std::vector<uint8_t> wanted)) {
  // Fails while it holds all that is wanted, or half of it and an even number of items.
  const auto serves = [&](const std::vector<int>& items) {
    size_t found = 0;
    for (const uint8_t item : wanted) found += contains(items, {item});
    return found == wanted.size() || (found * 2 >= wanted.size() && items.size() % 2 == 0);
  };
  std::vector<int> items = numbers(256);
  reduce_list(items, serves);
  RC_ASSERT(serves(items));
  for (size_t i = 0; i < items.size(); ++i) {
    std::vector<int> rest = items;
    rest.erase(rest.begin() + static_cast<ptrdiff_t>(i));
    RC_ASSERT(!serves(rest));
  }
}

// ---- times

TEST(RounderValues, TheRoundestFirst) {
  const std::vector<int64_t> values = rounder_values(1234, 1);
  ASSERT_FALSE(values.empty());
  EXPECT_EQ(values.front(), 1000);
  EXPECT_NE(std::find(values.begin(), values.end(), 1230), values.end());
  EXPECT_EQ(std::find(values.begin(), values.end(), 1234), values.end());
}

TEST(RounderValues, OfRoundOnesAreNone) {
  EXPECT_TRUE(rounder_values(3000, 1).empty());
  EXPECT_TRUE(rounder_values(3'000'000, 1000).empty());
}

TEST(RounderValues, NeverZero) {
  for (int64_t value = 1; value < 3000; ++value) {
    for (const int64_t rounded : rounder_values(value, 1)) EXPECT_GT(rounded, 0);
  }
}

RunSpec spec_of(const std::string& text) {
  Scenario scenario;
  EXPECT_EQ(parse_scenario(text, "test", scenario), "");
  RunSpec spec;
  EXPECT_EQ(make_run_spec(scenario, static_cast<uint64_t>(scenario.seed()), {}, spec), "");
  return spec;
}

constexpr const char* kTimes =
    "fault { kind: CRASH trigger { at_ms: 1000 } target { node: 1 } duration_ms: 500 } "
    "fault { kind: CRASH trigger { at_ms: 3000 } target { node: 2 } duration_ms: 100 } "
    "operation { client: 0 at_us: 2500000 counter: 'a' add: 1 } ";

TEST(Times, MoveUpTogether) {
  RunSpec spec = spec_of(kTimes);
  EXPECT_EQ(time_points(spec), (std::vector<int64_t>{1000, 1500, 2500, 3000, 3100}));
  move_up(spec, 2500, 900);
  EXPECT_EQ(time_points(spec), (std::vector<int64_t>{1000, 1500, 1600, 2100, 2200}));
  EXPECT_EQ(spec.params.duration_ms(), 10000 - 900);
  move_up(spec, 1500, 300);  // the end of the first fault moves, its beginning does not
  EXPECT_EQ(time_points(spec), (std::vector<int64_t>{1000, 1200, 1300, 1800, 1900}));
}

TEST(Times, NoiseMovesAlong) {
  RunSpec spec = spec_of(
      "operation { client: 0 at_us: 1000000 counter: 'a' add: 1 } "
      "noise { from: 1 to: 2 at_us: 1500250 message: APPEND ordinal: 1 effect: LOSE }");
  EXPECT_EQ(time_points(spec), (std::vector<int64_t>{1000, 1500}));
  move_up(spec, 1500, 300);
  EXPECT_EQ(spec.noise[0].at_us(), 1200250);
  scale_times(spec, 1, 10);
  EXPECT_EQ(spec.noise[0].at_us(), 120025);
}

TEST(Times, ScaleTogether) {
  RunSpec spec = spec_of(kTimes);
  scale_times(spec, 1, 10);
  EXPECT_EQ(time_points(spec), (std::vector<int64_t>{100, 150, 250, 300, 310}));
  EXPECT_EQ(spec.params.duration_ms(), 1000);
}

// ---- whole runs, with a failure of our own making

SeedReport report(const std::string& verdict, const std::string& clause) {
  SeedReport report;
  report.set_verdict(verdict);
  report.set_oracle(verdict == "violation" ? "gravity" : "");
  report.set_clause(clause);
  report.set_events(100);
  report.set_sim_ns(5'000'000'000);
  return report;
}

// Runs nothing: "fails" while n1 crashes during a loss of a message, and an increment is made.
SeedReport pretend(const RunSpec& spec) {
  const bool crash = std::any_of(spec.plan.begin(), spec.plan.end(), [](const Fault& fault) {
    return fault.kind() == CRASH && fault.target(0).node() == 1;
  });
  const bool loss = std::any_of(spec.noise.begin(), spec.noise.end(),
                                [](const NoiseEvent& noise) { return noise.ordinal() == 77; });
  const bool drawn_loss = spec.params.network().loss_ppm() > 0;
  const bool drawn_operations = spec.operations.empty() && spec.params.workload().clients() > 0;
  const bool operation =
      drawn_operations || std::any_of(spec.operations.begin(), spec.operations.end(),
                                      [](const ClientOperation& one) { return one.add() == 42; });
  const bool fails = crash && operation && (loss || drawn_loss) && spec.params.nodes() > 1;
  SeedReport made = report(fails ? "violation" : "ok", fails ? "things fall up" : "");
  if (spec.record) {
    for (int i = 1; i <= 200; ++i) {
      NoiseEvent& noise = *made.mutable_record()->add_noise();
      noise.set_from(1);
      noise.set_to(2);
      noise.set_ordinal(i);
      noise.set_effect(NoiseEvent::LOSE);
      ClientOperation& one = *made.mutable_record()->add_operation();
      one.set_client(i % 3);
      one.set_at_us(i * 10'000);
      one.set_counter("a");
      one.set_add(i);
    }
    for (size_t i = 0; i < spec.plan.size(); ++i)
      made.mutable_record()->add_begun_ns(1'500'000'000);
  }
  return made;
}

constexpr const char* kPretended =
    "seed: 9 params { nodes: 5 raft { heartbeat_ms: 7 } network { loss_ppm: 5000 } } "
    "fault { kind: RING trigger { at_ms: 50 } } "
    "fault { kind: CRASH trigger { when { committed: 7 } } target { node: 1 } duration_ms: 333 } "
    "fault { kind: PAUSE trigger { at_ms: 2000 } target { node: 5 } } ";

TEST(Shrink, EndsWithWhatTheFailureNeeds) {
  ShrinkHooks hooks;
  hooks.run = pretend;
  const ShrinkResult result = shrink(spec_of(kPretended), "", hooks);
  EXPECT_EQ(result.error, "");
  EXPECT_TRUE(result.minimal);
  EXPECT_EQ(fingerprint(result.after), "gravity: things fall up");
  ASSERT_EQ(result.spec.plan.size(), 1u);
  EXPECT_EQ(result.spec.plan[0].kind(), CRASH);
  EXPECT_TRUE(result.spec.plan[0].trigger().has_at_ms()) << "the condition became a time";
  EXPECT_EQ(result.spec.params.nodes(), 3);
  ASSERT_EQ(result.spec.operations.size(), 1u);
  EXPECT_EQ(result.spec.operations[0].add(), 42);
  ASSERT_EQ(result.spec.noise.size(), 1u);
  EXPECT_EQ(result.spec.params.network().loss_ppm(), 0);
  EXPECT_EQ(result.spec.params.raft().heartbeat_ms(), 20) << "parameters are calm again";
  ASSERT_EQ(result.without.size(), 2u);
  EXPECT_EQ(result.without[0].outcome, "passes");
  EXPECT_EQ(result.without[1].outcome, "passes");
}

TEST(Shrink, WritesAStoryThatReadsBackAsTheSameRun) {
  ShrinkHooks hooks;
  hooks.run = pretend;
  const ShrinkResult result = shrink(spec_of(kPretended), "", hooks);
  const std::string text = story_text(result, "things-fall-up", "seed 9");
  Scenario scenario;
  ASSERT_EQ(parse_scenario(text, "story", scenario), "") << text;
  // Its expectation names an oracle of ours, which is none.
  scenario.clear_expect();
  RunSpec read;
  ASSERT_EQ(make_run_spec(scenario, static_cast<uint64_t>(scenario.seed()), {}, read), "");
  EXPECT_EQ(scenario_text(spelled_out(read)), scenario_text(spelled_out(result.spec)));
  EXPECT_EQ(scenario.name(), "things-fall-up");
  EXPECT_NE(text.find("#   without fault 1: crash n1 for "), std::string::npos) << text;
  EXPECT_NE(text.find(": passes\n"), std::string::npos);
  ShrinkResult steady = result;
  steady.spec.params.set_steady_ms(0);
  EXPECT_EQ(story_text(steady, "x", "y").find("# steady_ms"), std::string::npos);
  steady.spec.params.set_steady_ms(7);
  EXPECT_NE(story_text(steady, "x", "y").find("\n# steady_ms: 7: what a link, disk or node drew"),
            std::string::npos);
}

// Fails as `pretend` does, but whatever the operations.
SeedReport pretend_without_operations(const RunSpec& spec) {
  RunSpec any = spec;
  any.operations.clear();
  any.params.mutable_workload()->set_clients(1);
  return pretend(any);
}

TEST(Shrink, LeavesNoClientsThatDrawOperationsWhereNoneIsNeeded) {
  ShrinkHooks hooks;
  hooks.run = pretend_without_operations;
  const ShrinkResult result = shrink(spec_of(kPretended), "", hooks);
  EXPECT_EQ(result.error, "");
  EXPECT_TRUE(result.spec.operations.empty());
  EXPECT_EQ(result.spec.params.workload().clients(), 0);
  EXPECT_EQ(result.spec.params.raft().heartbeat_ms(), 20) << "parameters are calm again";
  const std::string text = story_text(result, "x", "y");
  EXPECT_NE(text.find("clients: 0"), std::string::npos) << text;
  EXPECT_EQ(text.find("drawn"), std::string::npos) << text;
}

TEST(Shrink, SaysWhereOperationsStayDrawn) {
  ShrinkHooks hooks;
  hooks.run = [](const RunSpec& spec) {
    return spec.operations.empty() ? pretend(spec) : report("ok", "");
  };
  const ShrinkResult result = shrink(spec_of(kPretended), "", hooks);
  EXPECT_EQ(result.error, "");
  EXPECT_GT(result.spec.params.workload().clients(), 0);
  const std::string text = story_text(result, "x", "y");
  EXPECT_NE(text.find("whose operations are drawn"), std::string::npos) << text;
  EXPECT_EQ(text.find("no fault, operation or"), std::string::npos) << text;
}

TEST(Shrink, LeavesOutNoOperationThatTheViolationNames) {
  ShrinkResult result;
  result.spec = spec_of("seed: 1");
  result.after = report("violation", "things fall up");
  result.after.set_message("client 0's get of c25 (answered 1) came first");
  for (int i = 1; i <= 26; ++i) {
    ClientOperation operation;
    operation.set_at_us(i * 1000);
    operation.set_counter("c" + std::to_string(i));
    if (i == 25) operation.set_get(true);
    if (i != 25) operation.set_add(1);
    result.spec.operations.push_back(operation);
  }
  const auto told = [&] {
    std::string text = story_text(result, "x", "y");
    text = text.substr(0, text.find("\nname:"));
    for (size_t at = text.find("\n#"); at != std::string::npos; at = text.find("\n#")) {
      text.erase(at, 2);
    }
    return text;
  };
  EXPECT_NE(told().find("client 0 reads c25"), std::string::npos) << told();
  EXPECT_NE(told().find("And 5 more operations."), std::string::npos) << told();
  result.spec.operations.resize(22);
  result.after.set_message("client 0's increment of c22 by 1 came first");
  EXPECT_NE(told().find("And 1 more operation."), std::string::npos) << told();
  result.spec.operations.resize(20);
  EXPECT_NE(told().find("client 0 increments c20 by 1"), std::string::npos) << told();
  EXPECT_EQ(told().find("more operation"), std::string::npos) << told();
}

TEST(FaultText, IsInWords) {
  for (int kind = FaultKind_MIN; kind <= FaultKind_MAX; ++kind) {
    Fault fault;
    fault.set_id(1);
    fault.set_kind(static_cast<FaultKind>(kind));
    fault.add_target()->set_node(1);
    fault.set_point(BEFORE_SYNC);
    const std::string text = fault_text(fault);
    EXPECT_EQ(text.find('_'), std::string::npos) << text;
    EXPECT_NE(text.find(' ', sizeof "fault 1:"), std::string::npos) << text;
  }
}

TEST(Shrink, RefusesWhatDoesNotFailOrFailsOtherwise) {
  ShrinkHooks hooks;
  hooks.run = pretend;
  EXPECT_NE(shrink(spec_of("seed: 1"), "", hooks).error.find("ends ok"), std::string::npos);
  EXPECT_NE(shrink(spec_of(kPretended), "gravity: off", hooks).error.find("not by gravity: off"),
            std::string::npos);
}

TEST(Shrink, TakesNothingThatFailsOtherwise) {
  // Without the pause it is another clause: the pause has to stay.
  ShrinkHooks hooks;
  hooks.run = [](const RunSpec& spec) {
    SeedReport made = pretend(spec);
    const bool pause = std::any_of(spec.plan.begin(), spec.plan.end(),
                                   [](const Fault& fault) { return fault.kind() == PAUSE; });
    if (made.verdict() == "violation" && !pause) made.set_clause("things fall sideways");
    return made;
  };
  const ShrinkResult result = shrink(spec_of(kPretended), "", hooks);
  EXPECT_EQ(result.spec.plan.size(), 2u);
  ASSERT_GE(result.without.size(), 2u);
  EXPECT_EQ(result.without[1].outcome, "ends otherwise: gravity: things fall sideways");
}

TEST(Shrink, OutOfTimeGivesWhatThereIsAndSaysSo) {
  ShrinkHooks hooks;
  int left = 5;
  hooks.run = pretend;
  hooks.out_of_time = [&] { return left-- <= 0; };
  const ShrinkResult result = shrink(spec_of(kPretended), "", hooks);
  EXPECT_FALSE(result.minimal);
  EXPECT_EQ(fingerprint(result.after), "gravity: things fall up");
  EXPECT_NE(story_text(result, "x", "y").find("Not minimal"), std::string::npos);
}

TEST(Shrink, OfARealRunKeepsItsFingerprint) {
  // Eight increments at most are answered in so few events; the budget is the failure.
  Scenario scenario = swarm_scenario();
  RunSpec spec;
  ASSERT_EQ(make_run_spec(scenario, 3, {"event_count_max=1000"}, spec), "");
  ShrinkHooks hooks;
  hooks.run = [](const RunSpec& candidate) {
    RunResult result = run(candidate);
    SeedReport made;
    made.set_verdict(to_string(result.verdict));
    if (result.violation) {
      made.set_oracle(result.violation->oracle);
      made.set_clause(result.violation->clause);
    }
    made.set_events(static_cast<int64_t>(result.event_count));
    made.set_sim_ns(result.sim_time.count());
    *made.mutable_record() = result.record;
    return made;
  };
  int runs = 0;
  hooks.out_of_time = [&] { return ++runs > 150; };
  const ShrinkResult result = shrink(spec, "", hooks);
  ASSERT_EQ(result.error, "");
  const RunResult again = run(result.spec);
  ASSERT_TRUE(again.violation.has_value());
  EXPECT_EQ(again.violation->oracle, "hang");
  EXPECT_LT(result.spec.plan.size(), spec.plan.size());
}

}  // namespace
}  // namespace tally::sim
