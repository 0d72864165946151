// Scenarios: every file in scenarios/ shows its story, runs the same twice, and what is wrong with
// one is said with its place or by its name.
#include "sim/scenario.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <utility>

#include "sim/params.h"
#include "sim/plan.h"
#include "tests/effort.h"

namespace tally::sim {
namespace {

namespace fs = std::filesystem;
using ::testing::ValuesIn;
using RunVerdict = RunResult::Verdict;

// ---- the files in scenarios/

std::vector<std::string> scenario_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(fs::path(TALLY_SOURCE_DIR) / "scenarios")) {
    if (entry.path().extension() == ".txtpb") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Scenario load(const std::string& name) {
  const fs::path path = fs::path(TALLY_SOURCE_DIR) / "scenarios" / (name + ".txtpb");
  std::ifstream file(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  Scenario scenario;
  EXPECT_EQ(parse_scenario(text, path.string(), scenario), "");
  return scenario;
}

RunResult run_as_told(const Scenario& scenario, uint64_t seed) {
  RunSpec spec;
  const std::string error = make_run_spec(scenario, seed, {}, spec);
  EXPECT_EQ(error, "");
  if (!error.empty()) return {};
  RunResult result = run(spec);
  apply_expectations(scenario, result);
  return result;
}

std::string why(const RunResult& result) {
  if (!result.violation) return to_string(result.verdict) + " " + result.reason;
  return result.violation->oracle + ": " + result.violation->message;
}

class ScenarioFile : public ::testing::TestWithParam<std::string> {};

TEST_P(ScenarioFile, IsNamedAsItsFileAndTellsAStory) {
  const Scenario scenario = load(GetParam());
  EXPECT_EQ(scenario.name(), GetParam());
  EXPECT_FALSE(scenario.story().empty());
  EXPECT_TRUE(scenario.has_seed());
  EXPECT_GT(scenario.expect_size(), 0) << "nothing would show that the story did not happen";
}

TEST_P(ScenarioFile, RunsOkTwiceWithOneDigest) {
  const Scenario scenario = load(GetParam());
  const auto seed = static_cast<uint64_t>(scenario.seed());
  const RunResult first = run_as_told(scenario, seed);
  EXPECT_EQ(first.faults_idle, 0u) << "a fault of the story does nothing (--trace text says which)";
  EXPECT_EQ(first.verdict, RunVerdict::kOk) << why(first);
  if (kSanitized) return;  // release sees whether both are the same
  const RunResult second = run_as_told(scenario, seed);
  EXPECT_EQ(first.digest, second.digest);
  EXPECT_EQ(first.checkpoints, second.checkpoints);
}

TEST_P(ScenarioFile, BreaksNothingOnAnotherSeed) {
  // Expectations are promised for the scenario's own seed only; the oracles always hold.
  const Scenario scenario = load(GetParam());
  RunSpec spec;
  ASSERT_EQ(make_run_spec(scenario, static_cast<uint64_t>(scenario.seed()) + 1000, {}, spec), "");
  const RunResult result = run(spec);
  EXPECT_EQ(result.verdict, RunVerdict::kOk) << why(result);
}

std::string test_name(const ::testing::TestParamInfo<std::string>& file) {
  std::string name = file.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Files, ScenarioFile, ValuesIn(scenario_names()), test_name);

// What a story is there for: a planted bug that it catches (`./dev bugs --stories` shows it), or a
// note that it is the only one to light.
TEST(Scenarios, EachEarnsItsPlace) {
  if (kSanitized) GTEST_SKIP() << "runs what ScenarioFile runs; release sees what it is about";
  std::vector<std::vector<uint64_t>> notes;
  std::vector<uint64_t> lit(kNoteCount, 0);  // by how many stories
  for (const std::string& name : scenario_names()) {
    const Scenario scenario = load(name);
    notes.push_back(run_as_told(scenario, static_cast<uint64_t>(scenario.seed())).notes);
    for (size_t i = 0; i < kNoteCount; ++i) lit[i] += notes.back()[i] > 0 ? 1 : 0;
  }
  size_t story = 0;
  for (const std::string& name : scenario_names()) {
    const Scenario scenario = load(name);
    EXPECT_TRUE(scenario.has_group()) << name;
    for (const std::string& bug : scenario.catches()) {
      EXPECT_TRUE(fs::exists(fs::path(TALLY_SOURCE_DIR) / "tests" / "bugs" / (bug + ".patch")))
          << name << " catches " << bug;
    }
    bool only_one = false;
    for (size_t i = 0; i < kNoteCount; ++i) only_one |= notes[story][i] > 0 && lit[i] == 1;
    EXPECT_TRUE(scenario.catches_size() > 0 || only_one) << name << " shows nothing of its own";
    ++story;
  }
}

TEST(Scenarios, CoverTheFaultsThatTheDesignNames) {
  const std::vector<std::string> names = scenario_names();
  for (const char* name :
       {"leader-isolated-with-uncommitted-tail", "minority-rejoins-with-higher-term", "bridge-node",
        "whole-cluster-crash", "slow-disk-on-leader", "one-way-cut-from-leader", "flapping-link",
        "hung-disk-on-leader", "failed-sync-stops-the-node", "full-disk-on-all",
        "start-up-order"}) {
    EXPECT_TRUE(std::binary_search(names.begin(), names.end(), name)) << name;
  }
}

// ---- what is wrong with a text

std::string parse_error(const std::string& text) {
  Scenario scenario;
  return parse_scenario(text, "file.txtpb", scenario);
}

TEST(ScenarioText, ErrorsNameTheLineAndTheColumn) {
  EXPECT_EQ(parse_error("name: \"x\"\nfault { kind: NO_SUCH_FAULT }\n").rfind("file.txtpb:2:", 0),
            0u);
  EXPECT_EQ(parse_error("params { nodes: 3\n").rfind("file.txtpb:2:1: ", 0), 0u);
  EXPECT_EQ(parse_error("\n\n  storey: \"x\"\n").rfind("file.txtpb:3:", 0), 0u);
  EXPECT_EQ(parse_error("params { nodes: three }").rfind("file.txtpb:1:17: ", 0), 0u);
}

TEST(ScenarioText, ErrorsSayWhatIsUnknown) {
  EXPECT_NE(parse_error("params { raft { heartbeat: 3 } }").find("heartbeat"), std::string::npos);
  EXPECT_NE(parse_error("fault { kind: MELTDOWN }").find("MELTDOWN"), std::string::npos);
}

TEST(ScenarioText, EmptyTextIsACalmRun) { EXPECT_EQ(parse_error(""), ""); }

// ---- what does not fit together

std::string spec_error(const std::string& text, std::vector<std::string> assignments = {}) {
  Scenario scenario;
  EXPECT_EQ(parse_scenario(text, "test", scenario), "");
  RunSpec spec;
  return make_run_spec(scenario, 1, assignments, spec);
}

struct Misfit {
  const char* text;
  const char* named;  // what the message must name
};

constexpr const char* kAt = "trigger { at_ms: 5 }";

const Misfit kMisfits[] = {
    {"fault { kind: CRASH target { node: 4 } trigger { at_ms: 5 } }", "node 4"},
    {"fault { kind: CRASH target { node: 0 } trigger { at_ms: 5 } }", "node 0"},
    {"fault { kind: CRASH target { node: 1 } target { node: 1 } trigger { at_ms: 5 } }", "twice"},
    {"fault { kind: CRASH trigger { at_ms: 5 } }", "targets"},
    {"fault { kind: RING target { node: 1 } trigger { at_ms: 5 } }", "ring takes 0"},
    {"fault { kind: CRASH target { } trigger { at_ms: 5 } }", "without node or role"},
    {"fault { target { node: 1 } trigger { at_ms: 5 } }", "kind"},
    {"fault { kind: CRASH target { node: 1 } }", "trigger"},
    {"fault { kind: CRASH target { node: 1 } trigger { } }", "at_ms and when"},
    {"fault { kind: CRASH target { node: 1 } trigger { at_ms: 5 when { committed: 1 } } }",
     "at_ms and when"},
    {"fault { kind: CRASH target { node: 1 } trigger { when { } } }", "empty condition"},
    {"fault { kind: CRASH target { node: 1 } trigger { when { node_leads: 9 } } }", "node 9"},
    {"fault { kind: CRASH target { node: 1 } trigger { when { leader_elected: false } } }",
     "leader_elected"},
    {"fault { kind: CRASH target { node: 1 } trigger { when { uncommitted_tail: -1 } } }",
     "uncommitted_tail"},
    {"fault { kind: CRASH target { node: 1 } trigger { at_ms: -5 } }", "at_ms within 0 .."},
    {"fault { kind: CRASH target { node: 1 } trigger { at_ms: 5 after_ms: 7 } }", "after_ms"},
    {"fault { kind: CRASH target { node: 1 } trigger { at_ms: 10000 } }", "safety phase"},
    {"fault { kind: CRASH target { node: 1 } trigger { at_ms: 5 } duration_ms: -1 }",
     "duration_ms within 0 .."},
    {"fault { kind: CRASH target { node: 1 } trigger { at_ms: 5 } clients: true }", "clients"},
    {"fault { kind: FLAP target { node: 1 } trigger { at_ms: 5 } }", "period_ms"},
    {"fault { kind: SLOW_DISK target { node: 1 } trigger { at_ms: 5 } }", "factor"},
    {"fault { kind: CLOCK_JUMP target { node: 1 } trigger { at_ms: 5 } }", "by_ms"},
    {"fault { kind: SLOW_LINK target { node: 1 } trigger { at_ms: 5 } }", "by_ms"},
    {"fault { kind: CRASH_POINT target { node: 1 } trigger { at_ms: 5 } }", "point"},
    {"fault { kind: DISK_FULL target { node: 1 } room_bytes: -1 trigger { at_ms: 5 } }",
     "room_bytes"},
    {"fault { kind: DISK_STALL trigger { at_ms: 5 } }",
     "fault 1 has 0 targets, and disk_stall takes 1 to 9"},
    {"fault { kind: BIT_ROT target { node: 1 } place: -1 trigger { at_ms: 5 } }", "place"},
    {"fault { kind: WIPE target { node: 1 } place: 1 trigger { at_ms: 5 } }", "wipe does not take"},
    {"fault { kind: CRASH target { node: 1 } restart: true trigger { at_ms: 5 } }",
     "crash does not"},
    {"fault { kind: CRASH target { node: 1 } point: AFTER_SYNC trigger { at_ms: 5 } }",
     "has point, which crash does not take"},
    {"fault { kind: KILL target { node: 1 } ordinal: 1 trigger { at_ms: 5 } }",
     "has ordinal, which kill does not take"},
    {"fault { kind: CRASH_POINT point: AFTER_SYNC target { node: 1 } ordinal: 0 "
     "trigger { at_ms: 5 } }",
     "needs an ordinal of at least 1"},
    {"fault { kind: PAUSE target { node: 1 } peer { node: 2 } trigger { at_ms: 5 } }", "has peer"},
    {"fault { kind: RING by_ms: 5 trigger { at_ms: 5 } }", "has by_ms"},
    {"fault { kind: CRASH target { node: 1 } factor: 5 trigger { at_ms: 5 } }", "has factor"},
    {"fault { kind: ONE_WAY target { node: 1 } period_ms: 5 trigger { at_ms: 5 } }", "period_ms"},
    {"fault { kind: KILL target { node: 1 } room_bytes: 5 trigger { at_ms: 5 } }", "room_bytes"},
    {"fault { kind: MESSAGES trigger { at_ms: 5 } }", "effect"},
    {"fault { kind: MESSAGES effect: CORRUPT trigger { at_ms: 5 } }", "takes LOSE, DELAY"},
    {"fault { kind: MESSAGES effect: DELAY trigger { at_ms: 5 } }", "by_ms within"},
    {"fault { kind: MESSAGES effect: LOSE by_ms: 5 trigger { at_ms: 5 } }", "by_ms"},
    {"fault { kind: MESSAGES effect: LOSE count: 0 trigger { at_ms: 5 } }", "count"},
    {"fault { kind: MESSAGES effect: LOSE message: APPEND message: APPEND trigger { at_ms: 5 } }",
     "APPEND twice"},
    {"fault { kind: RING effect: LOSE trigger { at_ms: 5 } }", "has effect"},
    {"fault { kind: RING message: APPEND trigger { at_ms: 5 } }", "has message"},
    {"fault { kind: RING count: 2 trigger { at_ms: 5 } }", "has count"},
    {"fault { kind: CRASH target { node: 1 } trigger { when { appended { index: 0 } } } }",
     "its index is below 1"},
    {"fault { kind: CRASH target { node: 1 } trigger { when { appended { index: 3 node: 4 } } } }",
     "node 4"},
    {"fault { kind: CRASH target { node: 1 } trigger { when { note { name: 'fog' } } } }", "'fog'"},
    {"fault { kind: CRASH target { node: 1 } trigger { when { note { name: 'committed' node: 8 } } "
     "} }",
     "node 8"},
    {"fault { kind: CRASH target { node: 1 } trigger { when { note { name: 'committed' count: 0 } "
     "} } }",
     "count below 1"},
    {"fault { kind: CRASH target { role: SUBJECT } trigger { at_ms: 5 } }", "SUBJECT"},
    {"fault { kind: CRASH target { role: SUBJECT } trigger { when { committed: 3 } } }", "SUBJECT"},
    {"fault { kind: CRASH target { role: LEADER pick: 1 } trigger { at_ms: 5 } }", "pick"},
    {"fault { kind: PARTITION target { role: LEADER } peer { role: LEADER } trigger { at_ms: 5 } }",
     "names LEADER twice"},
    {"fault { kind: PARTITION target { role: LEADER_MAJORITY } peer { role: LEADER } trigger { "
     "at_ms: 5 } }",
     "LEADER_MAJORITY and LEADER, which have the leader in common"},
    {"fault { kind: RING times: 3 trigger { at_ms: 5 } }", "both of times and every_ms"},
    {"fault { kind: RING times: 0 every_ms: 5 trigger { at_ms: 5 } }", "times within"},
    {"fault { kind: RING times: 2 every_ms: 0 trigger { at_ms: 5 } }", "every_ms within"},
    {"fault { id: 4 kind: RING times: 2 every_ms: 9 trigger { at_ms: 5 } }", "has an id"},
    {"fault { kind: RING times: 2 every_ms: 9999 trigger { at_ms: 5 } }",
     "fault 2 begins at 10004"},
    {"operation { client: 0 counter: '\xff' add: 1 }", "UTF-8"},
    {"expect { value { counter: 'a' } }", "counter and equals"},
    {"params { faults { damage_majority: 2 } }", "faults.damage_majority is 2"},
    {"fault { id: 3 kind: RING trigger { at_ms: 5 } } fault { id: 3 kind: RING trigger { at_ms: 6 "
     "} }",
     "id 3"},
    {"core: 1 core: 4", "node 4"},
    {"core: 1 core: 1", "node 1 twice"},
    {"core: 2", "a quorum of 3 is 2"},
    {"seed: -1", "seed is -1"},
    {"seed: 9007199254740992", "seed is 9007199254740992"},
    {"expect { }", "nothing that must hold"},
    {"expect { seen: \"moon_landing\" }", "'moon_landing'"},
    {"expect { never_seen: \"moon_landing\" }", "'moon_landing'"},
    {"expect { violation: \"gravity\" }", "'gravity'"},
    {"expect { leader_among: 7 }", "node 7"},
    {"expect { leader_within_ms: -1 }", "leader_within_ms"},
    {"expect { clause: \"x\" }", "expect.violation"},
    {"expect { violation: 'hang' clause: 'the core elects nobody' }", "which hang never says"},
    {"expect { seen: 'became_leader' never_seen: 'became_leader' }", "both in seen and"},
    {"expect { never_seen: 'became_leader' } expect { seen: 'became_leader' }", "both in seen and"},
    {"noise { from: 1 to: 4 ordinal: 1 effect: LOSE }", "noise 1 names node 4"},
    {"noise { from: 1 to: 1 ordinal: 1 effect: LOSE }", "noise 1 goes from node 1 to itself"},
    {"noise { from: 1 to: 2 ordinal: 0 effect: LOSE }", "ordinal"},
    {"noise { from: 1 to: 2 ordinal: 1 }", "effect"},
    {"noise { from: 1 to: 2 ordinal: 1 effect: LOSE at_us: -5 }", "at_us within 0 .."},
    {"noise { from: 1 to: 2 client: 0 ordinal: 1 effect: DELAY }", "needs one of from and to"},
    {"noise { from: 1 client: 3 ordinal: 1 effect: DELAY }", "names client 3; clients are 0 .. 2"},
    {"noise { from: 1 client: 0 ordinal: 1 effect: LOSE }", "so its effect is DELAY"},
    {"operation { client: 3 counter: 'a' add: 1 }", "operation 1 is of client 3"},
    {"operation { client: 0 lane: 1 counter: 'a' add: 1 }", "workload.pipeline"},
    {"operation { client: 0 counter: 'a' add: 1 at_us: -1 }", "at_us"},
    {"operation { client: 0 counter: 'a' add: 1 plus_ns: 1000 }", "plus_ns beyond 0 .. 999"},
    {"operation { client: 0 add: 1 }", "counter"},
    {"operation { client: 0 counter: 'a' }", "one of get: true and add"},
    {"operation { client: 0 counter: 'a' get: true add: 1 }", "one of get: true and add"},
    {"operation { client: 0 counter: 'a' get: true upper: 1 }", "bounds a read"},
    {"operation { client: 0 counter: 'a' add: 1 lower: 10 upper: 2 }", "lower 10 above upper 2"},
    {"fault { kind: PARTITION target { node: 1 } target { node: 2 } target { node: 3 } "
     "trigger { at_ms: 5 } }",
     "names all nodes"},
    {"fault { kind: FLAP target { node: 1 } target { node: 2 } target { node: 3 } period_ms: 5 "
     "trigger { at_ms: 5 } }",
     "names all nodes"},
    {"operation { client: 0 counter: 'liveness' add: 1 }", "liveness"},
    {"operation { client: 0 counter: 'a' add: 1 } operation { client: 0 counter: 'a' add: -1 }",
     "operation 2 adds -1"},
    {"params { nodes: 0 }", "nodes is 0"},
    {"params { network { loss_ppm: 900001 } }", "network.loss_ppm is 900001"},
    {"params { raft { heartbeat_ms: 101 } }", "raft.heartbeat_ms"},
    {"params { network { latency_us_min: 2000 } }", "network.latency_us_min"},
    {"params { disk { sync_us_min: 9000 } }", "disk.sync_us_min"},
};

TEST(ScenarioText, WhatDoesNotFitIsRefusedByName) {
  for (const Misfit& misfit : kMisfits) {
    const std::string error = spec_error(misfit.text);
    EXPECT_NE(error.find(misfit.named), std::string::npos)
        << misfit.text << "\n  gives: '" << error << "'";
  }
}

TEST(ScenarioText, ValuesAtTheEdgeOfTheirRangeFit) {
  EXPECT_EQ(spec_error("seed: 9007199254740991"), "");
  EXPECT_EQ(spec_error("params { raft { heartbeat_ms: 100 election_timeout_ms: 200 } }"), "");
  EXPECT_EQ(spec_error("params { nodes: 9 network { loss_ppm: 900000 } }"), "");
  EXPECT_EQ(spec_error(std::string("fault { kind: CRASH target { node: 3 } ") + kAt + " }"), "");
  EXPECT_EQ(spec_error("core: 3 core: 2"), "");
  EXPECT_EQ(spec_error("operation { client: 0 counter: 'a' add: 1 lower: 2 upper: 2 }"), "");
  // All nodes from all clients; and a cluster of one has no other side.
  EXPECT_EQ(spec_error("fault { kind: PARTITION target { node: 1 } target { node: 2 } "
                       "target { node: 3 } clients: true trigger { at_ms: 5 } }"),
            "");
  EXPECT_EQ(spec_error("params { nodes: 1 } core: 1 "
                       "fault { kind: PARTITION target { node: 1 } trigger { at_ms: 5 } }"),
            "");
}

// Far beyond any run, and far below where nanoseconds overflow: the last value and the one after
// it.
TEST(ScenarioText, EachTimeOfAPlanHasABound) {
  struct Timed {
    const char* before;
    const char* field;
    const char* after;
    int64_t max;
  };
  const Timed all[] = {
      {"fault { kind: CRASH target { node: 1 } trigger { at_ms: 5 } ", "duration_ms", "}",
       kPlanMsMax},
      {"fault { kind: FLAP target { node: 1 } trigger { at_ms: 5 } ", "period_ms", "}", kPlanMsMax},
      {"fault { kind: SLOW_LINK target { node: 1 } trigger { at_ms: 5 } ", "by_ms", "}",
       kPlanMsMax},
      {"fault { kind: MESSAGES effect: DELAY trigger { at_ms: 5 } ", "by_ms", "}", kPlanMsMax},
      {"fault { kind: RING trigger { when { committed: 1 } ", "after_ms", "} }", kPlanMsMax},
      {"fault { kind: RING trigger { when { committed: 1 } ", "deadline_ms", "} }", kPlanMsMax},
      {"noise { from: 1 to: 2 ordinal: 1 effect: LOSE ", "at_us", "}", kPlanMsMax * 1000},
      {"operation { client: 0 counter: 'a' add: 1 ", "at_us", "}", kPlanMsMax * 1000},
  };
  for (const Timed& timed : all) {
    const auto error_at = [&](int64_t value) {
      return spec_error(fmt::format("{} {}: {} {}", timed.before, timed.field, value, timed.after));
    };
    EXPECT_EQ(error_at(timed.max), "");
    for (const int64_t beyond : {int64_t{-1}, timed.max + 1, 9'000'000'000'000'000}) {
      EXPECT_NE(error_at(beyond).find(std::string("needs ") + timed.field + " within"),
                std::string::npos)
          << timed.before << error_at(beyond);
    }
  }
  // Of faults that come several times, the last one counts.
  EXPECT_NE(spec_error("fault { kind: RING times: 2 every_ms: 5 "
                       "trigger { when { committed: 1 } after_ms: 999999996 } }")
                .find("fault 2 needs after_ms within"),
            std::string::npos);
}

TEST(ScenarioText, ClockJumpsTogetherHaveABound) {
  const std::string jumps =
      "fault { kind: CLOCK_JUMP target { node: 1 } by_ms: 1000000000 times: 1000 every_ms: 1 "
      "trigger { at_ms: 5 } }";
  EXPECT_EQ(spec_error(jumps), "");
  EXPECT_NE(spec_error(jumps + " fault { kind: CLOCK_JUMP target { node: 2 } by_ms: 1 "
                               "trigger { at_ms: 5 } }")
                .find("fault 1001 brings all clock jumps together"),
            std::string::npos);
}

TEST(ScenarioText, TheLongestTimesRun) {
  Scenario scenario;
  ASSERT_EQ(parse_scenario("params { duration_ms: 2000 } "
                           "fault { kind: CRASH target { node: 1 } trigger { at_ms: 500 } "
                           "duration_ms: 1000000000 } "
                           "fault { kind: FLAP target { node: 2 } trigger { at_ms: 600 } "
                           "period_ms: 1000000000 duration_ms: 300 } "
                           "fault { kind: CLOCK_JUMP target { node: 3 } trigger { at_ms: 700 } "
                           "by_ms: 1000000000 } "
                           "fault { kind: RING trigger { when { committed: 1 } "
                           "after_ms: 1000000000 deadline_ms: 1000000000 } }",
                           "test", scenario),
            "");
  RunSpec spec;
  ASSERT_EQ(make_run_spec(scenario, 1, {}, spec), "");
  const RunResult result = run(spec);
  EXPECT_FALSE(result.violation) << result.violation->message;
}

TEST(ScenarioText, WhatDoesNotFitIsToldInPlace) {
  const std::string text =
      "name: 'x'\n"
      "fault { kind: RING trigger { at_ms: 5 } }\n"
      "  fault {\n    kind: CRASH trigger { at_ms: 5 } target { node: 8 } }\n"
      "expect { seen: 'moon_landing' }\n";
  Scenario scenario;
  TextPlaces places;
  ASSERT_EQ(parse_scenario(text, "f", scenario, &places), "");
  RunSpec spec;
  ScenarioPart part;
  EXPECT_NE(make_run_spec(scenario, 1, {}, spec, &part), "");
  EXPECT_EQ(place_of(part, places), "f:4:47: ");
  EXPECT_NE(make_run_spec(scenario, 1, {"nodes=9"}, spec, &part), "");
  EXPECT_EQ(place_of(part, places), "f:5:1: ");
  part = ScenarioPart();  // a flag is not of the text
  EXPECT_NE(make_run_spec(scenario, 1, {"nodes=x"}, spec, &part), "");
  EXPECT_EQ(place_of(part, places), "");
}

TEST(ScenarioText, AFaultsMistakeIsToldAtItsField) {
  const auto place = [](const std::string& text) {
    Scenario scenario;
    TextPlaces places;
    EXPECT_EQ(parse_scenario(text, "f", scenario, &places), "");
    RunSpec spec;
    ScenarioPart part;
    EXPECT_NE(make_run_spec(scenario, 1, {}, spec, &part), "");
    return place_of(part, places);
  };
  const std::string start = "fault { kind: RING trigger { at_ms: 5 } }\nfault { kind: CRASH\n";
  EXPECT_EQ(place(start + "target { node: 1 }\n target { node: 1 } trigger { at_ms: 5 } }"),
            "f:4:11: ");
  EXPECT_EQ(place(start + "target { role: LEADER pick: 1 } trigger { at_ms: 5 } }"), "f:3:23: ");
  EXPECT_EQ(place(start + "target { node: 1 } trigger { at_ms: 5\n  after_ms: 1 } }"), "f:4:3: ");
  EXPECT_EQ(place(start + "target { node: 1 } trigger { when { note { name: 'fog' } } } }"),
            "f:3:44: ");
  EXPECT_EQ(place(start + "target { node: 1 } trigger { at_ms: 5 }\nby_ms: 3 }"), "f:4:1: ");
  EXPECT_EQ(place(start + "target { node: 1 } trigger { at_ms: 5 } times: 3 }"), "f:3:41: ");
  // What is not there is told where it belongs.
  EXPECT_EQ(place(start + "target { node: 1 } trigger { when { appended { } } } }"), "f:3:37: ");
  EXPECT_EQ(place(start + "target { node: 1 } }"), "f:2:1: ");
}

std::string source_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// What a scenario may expect is what an oracle can say.
TEST(ScenarioText, KnowsEveryClauseOfEveryOracle) {
  const std::regex literal("\"([^\"]*)\"");
  int clauses = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TALLY_SOURCE_DIR "/sim")) {
    const std::string source = source_of(entry.path());
    const std::regex call("violate\\(\\s*\"([^\"]*)\",");
    for (std::sregex_iterator one(source.begin(), source.end(), call), end; one != end; ++one) {
      // Up to the message, which is formatted or a variable.
      const auto rest = one->suffix().first;
      std::string arguments(rest, std::min(source.end(), rest + 300));
      arguments = arguments.substr(0, std::min(arguments.find("fmt::"), arguments.find(';')));
      for (std::sregex_iterator word(arguments.begin(), arguments.end(), literal); word != end;
           ++word) {
        ++clauses;
        EXPECT_EQ(spec_error(fmt::format("expect {{ violation: \"{}\" clause: \"{}\" }}",
                                         (*one)[1].str(), (*word)[1].str())),
                  "");
      }
    }
  }
  EXPECT_GE(clauses, 33);
}

// ---- --set

TEST(SetParam, SetsByPath) {
  Params params = calm_params();
  EXPECT_EQ(set_param(params, "network.loss_ppm=1000"), "");
  EXPECT_EQ(set_param(params, "network.fifo=true"), "");
  EXPECT_EQ(set_param(params, "nodes=5"), "");
  EXPECT_EQ(params.network().loss_ppm(), 1000);
  EXPECT_TRUE(params.network().fifo());
  EXPECT_EQ(params.nodes(), 5);
}

TEST(SetParam, NamesWhatDoesNotFit) {
  const Misfit cases[] = {
      {"nodes", "no path=value"},
      {"nodes=", "nodes is an integer"},
      {"nodes=three", "'three'"},
      {"nodes=3 ", "'3 '"},
      {"nodes=99", "within 1 .. 9"},
      {"nodes=99999999999999999999", "integer"},
      {"notes=3", "'notes'"},
      {"network=3", "'network'"},
      {"net.loss_ppm=3", "'net'"},
      {"network.fifo=1", "'true' or 'false'"},
      {"network.fifo.x=1", "'network.fifo'"},
      {"=3", "''"},
  };
  for (const Misfit& misfit : cases) {
    Params params = calm_params();
    const std::string error = set_param(params, misfit.text);
    EXPECT_NE(error.find(misfit.named), std::string::npos) << misfit.text << ": " << error;
  }
}

TEST(SetParam, ComesAfterTheScenario) {
  Scenario scenario;
  scenario.mutable_params()->set_nodes(5);
  RunSpec spec;
  EXPECT_EQ(make_run_spec(scenario, 1, {"nodes=4", "nodes=2"}, spec), "");
  EXPECT_EQ(spec.params.nodes(), 2);
  EXPECT_NE(make_run_spec(scenario, 1, {"raft.heartbeat_ms=200"}, spec).find("heartbeat"),
            std::string::npos);
}

// ---- expectations

RunResult outcome(const std::string& text) {
  Scenario scenario;
  EXPECT_EQ(parse_scenario(text, "test", scenario), "");
  scenario.mutable_params()->set_duration_ms(1000);
  return run_as_told(scenario, 1);
}

void expect_unmet(const std::string& text, const std::string& named) {
  const RunResult result = outcome(text);
  ASSERT_EQ(result.verdict, RunVerdict::kViolation) << text;
  EXPECT_EQ(result.violation->oracle, "expectation");
  EXPECT_NE(result.violation->message.find(named), std::string::npos) << result.violation->message;
}

TEST(Expectations, ThatHoldAreOk) {
  const RunResult result = outcome(
      "expect { seen: 'became_leader' never_seen: 'log_truncated' "
      "leader_within_ms: 900 "
      "leader_among: 1 leader_among: 2 leader_among: 3 committed_min: 1 }");
  EXPECT_EQ(result.verdict, RunVerdict::kOk) << why(result);
}

TEST(Expectations, ThatDoNotHoldAreViolations) {
  expect_unmet("expect { seen: 'log_truncated' }", "log_truncated");
  expect_unmet("expect { never_seen: 'became_leader' }", "became_leader was seen 1 times");
  expect_unmet("expect { leader_within_ms: 10 }", "not within 10 ms");
  expect_unmet("expect { committed_min: 1000000 }", "not 1000000");
  expect_unmet("expect { never_seen: 'disk_full' } expect { seen: 'log_truncated' }",
               "log_truncated");
}

TEST(Expectations, OfACountersValue) {
  const std::string operations =
      "operation { client: 0 counter: 'a' add: 3 } operation { client: 1 counter: 'a' add: 4 } ";
  const RunResult result = outcome(operations +
                                   "expect { value { counter: 'a' equals: 7 } "
                                   "value { counter: 'unused' equals: 0 } }");
  EXPECT_EQ(result.verdict, RunVerdict::kOk) << why(result);
  expect_unmet(operations + "expect { value { counter: 'a' equals: 8 } }",
               "counter a is 7 at the end, not 8");
}

TEST(Expectations, OfALeaderNameWhoLedInstead) {
  const uint64_t leader = outcome("").safety_leader.value();
  const uint64_t other = leader % 3 + 1;
  expect_unmet("expect { leader_among: " + std::to_string(other) + " }",
               "n" + std::to_string(leader) + " led");
}

constexpr const char* kHangs = "params { event_count_max: 1000 } ";

TEST(Expectations, AnExpectedViolationIsOk) {
  const RunResult result = outcome(std::string(kHangs) + "expect { violation: 'hang' }");
  EXPECT_EQ(result.verdict, RunVerdict::kOk) << why(result);
  EXPECT_FALSE(result.violation.has_value());
}

TEST(Expectations, AnExpectedViolationThatDoesNotComeIsOne) {
  expect_unmet("expect { violation: 'durability' }", "durability did not fire");
}

TEST(Expectations, AnotherViolationThanTheExpectedStands) {
  const RunResult result = outcome(std::string(kHangs) + "expect { violation: 'durability' }");
  ASSERT_EQ(result.verdict, RunVerdict::kViolation);
  EXPECT_EQ(result.violation->oracle, "hang");
}

// ---- a run spelled out

TEST(SpelledOut, RepeatsTheRunWithoutDrawingIt) {
  for (uint64_t seed = 1; seed <= effort(5); ++seed) {
    RunSpec drawn;
    ASSERT_EQ(make_run_spec(swarm_scenario(), seed, {}, drawn), "");
    Scenario read;
    ASSERT_EQ(parse_scenario(scenario_text(spelled_out(drawn)), "spelled", read), "");
    RunSpec spelled;
    ASSERT_EQ(make_run_spec(read, seed, {}, spelled), "");
    EXPECT_EQ(spelled.plan.size(), drawn.plan.size());
    EXPECT_EQ(run(spelled).digest, run(drawn).digest) << "seed " << seed;
  }
}

// ---- a run of data alone

// The same run with its noise, operations and fault times as lists.
RunSpec recorded(const RunSpec& drawn) {
  RunSpec asking = drawn;
  asking.record = true;
  const RunResult result = run(asking);
  RunSpec spec = drawn;
  auto& network = *spec.params.mutable_network();
  for (const auto set : {&Params::Network::set_heavy_tail_ppm, &Params::Network::set_loss_ppm,
                         &Params::Network::set_duplicate_ppm, &Params::Network::set_replay_ppm,
                         &Params::Network::set_corrupt_ppm, &Params::Network::set_codec_ppm}) {
    (network.*set)(0);
  }
  spec.noise.assign(result.record.noise().begin(), result.record.noise().end());
  spec.operations.assign(result.record.operation().begin(), result.record.operation().end());
  EXPECT_EQ(static_cast<size_t>(result.record.begun_ns_size()), drawn.plan.size());
  return spec;
}

TEST(Recorded, NoiseAsAListGivesTheSameRun) {
  size_t compared = 0;
  for (uint64_t seed = 1; seed <= effort(12); ++seed) {
    RunSpec drawn;
    ASSERT_EQ(make_run_spec(swarm_scenario(), seed, {}, drawn), "");
    RunSpec listed = recorded(drawn);
    compared += listed.noise.size();
    listed.operations.clear();
    EXPECT_EQ(run(listed).digest, run(drawn).digest) << "seed " << seed;
  }
  EXPECT_GT(compared, effort(1000));
}

TEST(Recorded, OperationsAsAListGiveTheSameRunUntilTheLastHasBegun) {
  for (uint64_t seed = 1; seed <= effort(6); ++seed) {
    RunSpec drawn;
    ASSERT_EQ(make_run_spec(swarm_scenario(), seed, {}, drawn), "");
    drawn.record = true;
    const RunResult as_drawn = run(drawn);
    RunSpec listed = recorded(drawn);
    listed.record = true;
    const RunResult as_listed = run(listed);
    EXPECT_EQ(as_listed.record.SerializeAsString(), as_drawn.record.SerializeAsString()) << seed;
    // After it, events of operations that would have come next are missing.
    ASSERT_GT(as_drawn.checkpoints.size(), 2u);
    const size_t half = as_drawn.checkpoints.size() / 2;
    EXPECT_TRUE(std::equal(as_drawn.checkpoints.begin(),
                           as_drawn.checkpoints.begin() + static_cast<ptrdiff_t>(half),
                           as_listed.checkpoints.begin()))
        << "seed " << seed;
  }
}

// How many operations end at the same time in both.
size_t same_ends(const RunResult& a, const RunResult& b) {
  std::set<std::pair<uint64_t, int64_t>> ends;
  for (const Operation& operation : a.history) {
    if (operation.return_ns) ends.emplace(operation.client, *operation.return_ns);
  }
  size_t same = 0;
  for (const Operation& operation : b.history) {
    if (operation.return_ns) same += ends.count({operation.client, *operation.return_ns});
  }
  return same;
}

TEST(Recorded, WithSteadyDelaysAnOperationLeftOutChangesLittleElse) {
  const auto same_without_the_first = [](const std::string& steady_ms) {
    RunSpec drawn;
    EXPECT_EQ(
        make_run_spec(Scenario(), 1, {"raft.grouping_us=500", "steady_ms=" + steady_ms}, drawn),
        "");
    RunSpec all = recorded(drawn);
    RunSpec fewer = all;
    fewer.operations.erase(fewer.operations.begin());
    return same_ends(run(all), run(fewer)) * 100 / all.operations.size();
  };
  EXPECT_GT(same_without_the_first("1"), 40u);  // percent
  EXPECT_LT(same_without_the_first("0"), 10u);
}

TEST(Recorded, OneListedLossLosesOneMessage) {
  RunSpec spec;
  ASSERT_EQ(make_run_spec(Scenario(), 1, {"duration_ms=1000"}, spec), "");
  NoiseEvent noise;
  noise.set_from(1);
  noise.set_to(2);
  noise.set_ordinal(3);
  noise.set_effect(NoiseEvent::LOSE);
  spec.noise.push_back(noise);
  spec.record = true;
  const RunResult result = run(spec);
  ASSERT_EQ(result.record.noise_size(), 1);
  // What is recorded names the same message by its time and type.
  const NoiseEvent& named = result.record.noise(0);
  EXPECT_GT(named.at_us(), 0);
  spec.noise = {named};
  const RunResult again = run(spec);
  ASSERT_EQ(again.record.noise_size(), 1);
  EXPECT_EQ(again.record.noise(0).SerializeAsString(), named.SerializeAsString());
  EXPECT_EQ(again.digest, result.digest);
}

}  // namespace
}  // namespace tally::sim
