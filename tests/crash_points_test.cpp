// Every crash point of a life: in a fixed scenario with small segments, snapshots, a repair and an
// installed snapshot, n1 loses power before and after each single disk call in turn and starts
// again; every run must be fine by all oracles and the checker.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "sim/params.h"
#include "sim/plan.h"
#include "sim/scenario.h"
#include "sim/world.h"
#include "tests/effort.h"

namespace tally::sim {
namespace {

RunResult life(const std::string& crash) {
  Scenario scenario;
  EXPECT_EQ(parse_scenario(R"(
params {
  duration_ms: 1900
  raft { snapshot_bytes: 300 snapshot_piece_bytes: 200 kept_log_bytes: 50 }
  disk { segment_bytes: 1024 }
  workload { clients: 3 names: 6 think_us_max: 15000 }
}
fault { id: 1 kind: BIT_ROT file: "wal-" place: 700 target { node: 1 } restart: true
        trigger { at_ms: 600 } duration_ms: 50 }
fault { id: 2 kind: PARTITION target { node: 1 } trigger { at_ms: 1000 } duration_ms: 450 }
)" + crash,
                           "test", scenario),
            "");
  RunSpec spec;
  EXPECT_EQ(make_run_spec(scenario, 1, {}, spec), "");
  return run(spec);
}

uint64_t seen(const RunResult& result, NoteKind kind) {
  return result.notes[static_cast<size_t>(kind)];
}

TEST(CrashPoints, TheLifeHasAllThatWritesToADisk) {
  const RunResult result = life("");
  EXPECT_EQ(result.verdict, RunResult::Verdict::kOk);
  EXPECT_EQ(seen(result, NoteKind::repair_complete), 1u);
  EXPECT_GT(seen(result, NoteKind::snapshot_begun), 5u);
  EXPECT_GT(seen(result, NoteKind::snapshot_installed), 0u);
}

// In a sanitizer build each fortieth.
class EveryDiskCall : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryDiskCall, CanBeTheLast) {
  constexpr uint64_t kStep = kSanitized ? 40 : 1;
  uint64_t count = 0;
  for (uint64_t ordinal = 1;; ordinal += kStep) {
    const RunResult result = life(
        fmt::format("fault {{ id: 3 kind: CRASH_POINT point: {} ordinal: {} target {{ node: 1 }} "
                    "trigger {{ at_ms: 0 }} }}",
                    GetParam(), ordinal));
    if (result.faults_fired[CRASH_POINT] == 0) break;
    ++count;
    ASSERT_EQ(result.verdict, RunResult::Verdict::kOk)
        << GetParam() << " " << ordinal << ": "
        << (result.violation ? result.violation->message : result.reason);
  }
  RecordProperty("crash_points", static_cast<int>(count));
  fmt::print("{}: {} crash points\n", GetParam(), count);
  EXPECT_GE(count, 100 / kStep);
}

INSTANTIATE_TEST_SUITE_P(CrashPoints, EveryDiskCall,
                         ::testing::Values("BEFORE_WRITE", "AFTER_WRITE", "BEFORE_SYNC",
                                           "AFTER_SYNC"),
                         [](const auto& point) {
                           std::string name;
                           for (const char c : std::string(point.param)) {
                             if (c != '_') name += c;
                           }
                           return name;
                         });

}  // namespace
}  // namespace tally::sim
