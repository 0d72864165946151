// Capsules: what a failing run leaves behind says tomorrow whether it still fails, also after
// changes of the code that have nothing to do with it; and what is wrong with one is said in place.
#include "sim/capsule.h"

#include <gtest/gtest.h>

#include "sim/params.h"
#include "sim/plan.h"
#include "tests/effort.h"

namespace tally::sim {
namespace {

using RunVerdict = RunResult::Verdict;

// Fails by its event budget, after the first fault.
constexpr const char* kFailing =
    "seed: 5 params { duration_ms: 3000 event_count_max: 2000 network { loss_ppm: 10000 } } "
    "fault { kind: CRASH trigger { at_ms: 300 } target { node: 1 } duration_ms: 100 }";

RunSpec spec_of(const std::string& text) {
  Scenario scenario;
  EXPECT_EQ(parse_scenario(text, "test", scenario), "");
  RunSpec spec;
  EXPECT_EQ(make_run_spec(scenario, static_cast<uint64_t>(scenario.seed()), {}, spec), "");
  return spec;
}

SeedReport report_of(const RunResult& result) {
  SeedReport report;
  report.set_verdict(to_string(result.verdict));
  if (result.violation) {
    report.set_oracle(result.violation->oracle);
    report.set_clause(result.violation->clause);
    report.set_violation_event(static_cast<int64_t>(result.violation->event));
  }
  report.set_events(static_cast<int64_t>(result.event_count));
  report.set_digest(result.digest);
  report.set_first_fault_event(static_cast<int64_t>(result.first_fault_event));
  for (const uint64_t checkpoint : result.checkpoints) report.add_checkpoint(checkpoint);
  for (const uint16_t mark : result.marks) report.add_mark(mark);
  return report;
}

Capsule capsule_of(const RunSpec& spec) {
  return make_capsule(spec, report_of(run(spec)), "abc123");
}

Capsule read_back(const Capsule& capsule) {
  Capsule read;
  EXPECT_EQ(parse_capsule(capsule_text(capsule), "test", read), "");
  return read;
}

RunResult run_of(const Capsule& capsule) {
  RunSpec spec;
  EXPECT_EQ(
      make_run_spec(capsule.scenario(), static_cast<uint64_t>(capsule.scenario().seed()), {}, spec),
      "");
  return run(spec);
}

ReplayOutcome replay(const Capsule& capsule, const RunResult& result) {
  Parting parting;
  return judge_replay(capsule, result, parting);
}

TEST(Capsule, ReproducesEventForEvent) {
  const Capsule capsule = read_back(capsule_of(spec_of(kFailing)));
  Parting parting;
  EXPECT_EQ(judge_replay(capsule, run_of(capsule), parting), ReplayOutcome::kReproduced);
  EXPECT_TRUE(parting.same);
  EXPECT_EQ(fingerprint(capsule), "hang: the event budget is spent");
  EXPECT_GT(capsule.checkpoint_size(), 10);
}

TEST(Capsule, OfASwarmSeedDrawsNothingOfTheSwarm) {
  for (uint64_t seed = 1; seed <= effort(8); ++seed) {
    RunSpec drawn;
    ASSERT_EQ(make_run_spec(swarm_scenario(), seed, {}, drawn), "");
    const Scenario spelled = capsule_of(drawn).scenario();
    EXPECT_FALSE(spelled.swarm());
    EXPECT_EQ(params_error(spelled.params()), "") << "some parameter is left to the calm values";
    EXPECT_EQ(spelled.params().faults().interval_ms(), 0);
    EXPECT_EQ(spelled.fault_size(), static_cast<int>(drawn.plan.size()));
    EXPECT_EQ(spelled.core_size(), drawn.params.nodes() / 2 + 1) << "the core would be drawn";
  }
}

TEST(Capsule, SurvivesFieldsOfTheFuture) {
  std::string text = capsule_text(capsule_of(spec_of(kFailing)));
  text += "novelty { of: 3 kind: FANCY }\nstatistic: 12.5\n";
  Capsule capsule;
  ASSERT_EQ(parse_capsule(text, "test", capsule), "");
  EXPECT_EQ(replay(capsule, run_of(capsule)), ReplayOutcome::kReproduced);
}

TEST(Capsule, ReproducesAlsoWhenTheRunIsAnotherOne) {
  Capsule capsule = capsule_of(spec_of(kFailing));
  capsule.clear_marks();
  *capsule.mutable_checkpoint(3) = "0123456789abcdef";
  for (int i = 4; i < capsule.checkpoint_size(); ++i)
    *capsule.mutable_checkpoint(i) = "f00f00f00f00f00f";
  Parting parting;
  EXPECT_EQ(judge_replay(capsule, run_of(capsule), parting), ReplayOutcome::kReproduced);
  EXPECT_EQ(parting.first, 3 * Digest::kCheckpointInterval + 1);
  EXPECT_EQ(parting.last, 4 * Digest::kCheckpointInterval);
}

TEST(Capsule, IsGoneWhenTheRunEndsOkAndWasTheSameUntilTheFirstFault) {
  Capsule capsule = capsule_of(spec_of(kFailing));
  capsule.mutable_scenario()->mutable_params()->set_event_count_max(1'000'000);
  EXPECT_EQ(replay(capsule, run_of(capsule)), ReplayOutcome::kGone);
}

TEST(Capsule, HasDivergedWhenTheRunWasAnotherOneBeforeTheFirstFault) {
  Capsule capsule = capsule_of(spec_of(kFailing));
  capsule.mutable_scenario()->mutable_params()->set_event_count_max(1'000'000);
  capsule.mutable_scenario()->mutable_params()->mutable_raft()->set_heartbeat_ms(11);
  ASSERT_GT(capsule.first_fault_event(), 128);
  EXPECT_EQ(replay(capsule, run_of(capsule)), ReplayOutcome::kDiverged);
}

// The capsule as if its run had parted from today's in that event.
Capsule parted_at(Capsule capsule, uint64_t event) {
  for (uint64_t i = event - 1; i < static_cast<uint64_t>(capsule.events()); ++i) {
    std::string& line = *capsule.mutable_marks(static_cast<int>(i / 64));
    line.replace(i % 64 * 4, 4, line.substr(i % 64 * 4, 4) == "0000" ? "ffff" : "0000");
  }
  for (int i = static_cast<int>((event - 1) / 64); i < capsule.checkpoint_size(); ++i) {
    *capsule.mutable_checkpoint(i) = "0123456789abcdef";
  }
  capsule.set_digest("0123456789abcdef");
  return capsule;
}

TEST(Capsule, TellsTheVeryEventInWhichRunsPart) {
  const Capsule whole = capsule_of(spec_of(kFailing));
  const RunResult result = run_of(whole);
  ASSERT_EQ(whole.checkpoint_interval(), 64);
  ASSERT_EQ(whole.marks_size(), (whole.events() + 1 + 63) / 64) << "each event, and the end";
  for (const uint64_t event : {1u, 2u, 64u, 65u, 128u, 1000u, 1999u, 2000u}) {
    Parting parting;
    const Capsule capsule = read_back(parted_at(whole, event));
    EXPECT_EQ(judge_replay(capsule, result, parting), ReplayOutcome::kReproduced);
    EXPECT_EQ(parting.first, event);
    EXPECT_EQ(parting.last, event);
  }
}

TEST(Capsule, IsGoneOnlyWhenTheRunWasTheSameUpToTheFirstFault) {
  Capsule whole = capsule_of(spec_of(kFailing));
  whole.mutable_scenario()->mutable_params()->set_event_count_max(1'000'000);
  const RunResult result = run_of(whole);
  const auto first_fault = static_cast<uint64_t>(whole.first_fault_event());
  ASSERT_NE(first_fault % 64, 0u) << "the fault's event and the next share a checkpoint";
  EXPECT_EQ(replay(parted_at(whole, first_fault - 1), result), ReplayOutcome::kDiverged);
  EXPECT_EQ(replay(parted_at(whole, first_fault), result), ReplayOutcome::kDiverged);
  EXPECT_EQ(replay(parted_at(whole, first_fault + 1), result), ReplayOutcome::kGone);
  // Without marks nobody knows on which side of the fault it was: that is no reason to reassure.
  Capsule old = parted_at(whole, first_fault + 1);
  old.clear_marks();
  EXPECT_EQ(replay(old, result), ReplayOutcome::kDiverged);
  old = parted_at(whole, (first_fault / 64 + 1) * 64 + 1);
  old.clear_marks();
  EXPECT_EQ(replay(old, result), ReplayOutcome::kGone);
}

TEST(Capsule, HasDivergedWhenTheRunFailsOtherwise) {
  Capsule capsule = capsule_of(spec_of(kFailing));
  capsule.set_clause("another promise");
  EXPECT_EQ(replay(capsule, run_of(capsule)), ReplayOutcome::kDiverged);
}

// ---- where two runs part

DigestTrail trail(uint64_t interval, std::vector<uint64_t> checkpoints, uint64_t events,
                  uint64_t end) {
  return {interval, std::move(checkpoints), events, end, {}};
}

TEST(Parting, IsFoundBetweenTwoCheckpoints) {
  const DigestTrail a = trail(64, {1, 2, 3, 4, 5}, 330, 9);
  for (size_t different = 0; different < 5; ++different) {
    DigestTrail b = a;
    for (size_t i = different; i < 5; ++i) b.checkpoints[i] += 100;
    b.end = 10;
    const Parting parting = find_parting(a, b);
    EXPECT_FALSE(parting.same);
    EXPECT_EQ(parting.first, different * 64 + 1);
    EXPECT_EQ(parting.last, (different + 1) * 64);
  }
}

TEST(Parting, IsAfterTheLastCheckpointWhenOnlyTheEndsDiffer) {
  const Parting parting = find_parting(trail(64, {1, 2}, 150, 9), trail(64, {1, 2}, 170, 8));
  EXPECT_EQ(parting.first, 129u);
  EXPECT_EQ(parting.last, 151u);
}

TEST(Parting, OfEqualRunsIsNone) {
  EXPECT_TRUE(find_parting(trail(64, {1, 2}, 150, 9), trail(64, {1, 2}, 150, 9)).same);
  EXPECT_TRUE(find_parting(trail(128, {2}, 150, 9), trail(64, {1, 2}, 150, 9)).same);
  EXPECT_TRUE(find_parting(trail(0, {}, 15, 9), trail(0, {}, 15, 9)).same);
}

TEST(Parting, ComparesCheckpointsOfDifferentIntervals) {
  const Parting parting = find_parting(trail(128, {2, 5}, 300, 9), trail(64, {1, 2, 3, 4}, 300, 9));
  EXPECT_EQ(parting.first, 129u);
  EXPECT_EQ(parting.last, 256u);
}

// ---- what is wrong with a text

std::string error_of(const std::string& text) {
  Capsule capsule;
  return parse_capsule(text, "file.capsule", capsule);
}

bool starts_with(const std::string& text, const std::string& start) {
  return text.rfind(start, 0) == 0;
}

TEST(CapsuleText, OfAFutureVersionIsRefusedInPlace) {
  const std::string error = error_of("# a comment\nformat_version: 2\nscenario { }\n");
  EXPECT_TRUE(starts_with(error, "file.capsule:2:1: format_version is 2")) << error;
  // Even when the future's grammar is not ours.
  EXPECT_TRUE(starts_with(error_of("format_version: 2\nscenario < > !\n"),
                          "file.capsule:1:1: format_version is 2"));
}

TEST(CapsuleText, ErrorsNameTheLineAndTheColumn) {
  EXPECT_TRUE(starts_with(error_of("format_version: 1\nevents: many\n"), "file.capsule:2:9: "));
  EXPECT_TRUE(starts_with(error_of("format_version: 1\nscenario {\n"), "file.capsule:3:1: "));
  EXPECT_TRUE(starts_with(error_of("format_version: 0 scenario { }"), "file.capsule:1:1: "));
  EXPECT_TRUE(starts_with(error_of("commit: 'abc' verdict: 'violation' scenario { }"),
                          "file.capsule:1:1: a capsule without a format_version"));
  const std::string whole = "format_version: 1 verdict: 'violation' scenario { }\n";
  EXPECT_EQ(error_of(whole), "");
  EXPECT_TRUE(starts_with(error_of(whole + "digest: 'xyz'"), "file.capsule:2:1: digest 'xyz'"));
  EXPECT_TRUE(starts_with(error_of(whole + "marks: '01ab2'"), "file.capsule:2:1: marks '01ab2'"));
  EXPECT_TRUE(starts_with(error_of(whole + "marks: '01ax'"), "file.capsule:2:1: marks '01ax'"));
  EXPECT_TRUE(starts_with(error_of(whole + "marks: '01ab'\nmarks: '01ab'"), "file.capsule:2:1: "))
      << "only the last line may be shorter";
  EXPECT_TRUE(
      starts_with(error_of(whole + "checkpoint: '00000000000000010'"), "file.capsule:2:1: "));
  EXPECT_TRUE(starts_with(error_of(whole + "marks: '01ab2'"), "file.capsule:2:1: marks '01ab2'"));
  EXPECT_TRUE(starts_with(error_of(whole + "marks: '01ax'"), "file.capsule:2:1: marks '01ax'"));
  EXPECT_TRUE(starts_with(error_of(whole + "marks: '01ab'\nmarks: '01ab'"), "file.capsule:2:1: "))
      << "only the last line may be shorter";
  EXPECT_TRUE(
      starts_with(error_of(whole + "checkpoint: '0123456789abcdef'\ncheckpoint_interval: 100"),
                  "file.capsule:3:1: checkpoint_interval is 100"));
  EXPECT_NE(error_of("format_version: 1 verdict: 'ok'").find("scenario"), std::string::npos);
}

TEST(CapsuleText, IsToldFromAScenario) {
  EXPECT_TRUE(looks_like_capsule("# comment\n\n  format_version: 1\n"));
  EXPECT_TRUE(looks_like_capsule("commit: 'abc'\n")) << "and its version is missing";
  EXPECT_TRUE(looks_like_capsule("scenario {\n"));
  EXPECT_FALSE(looks_like_capsule("name: 'format_version'\n"));
  EXPECT_FALSE(looks_like_capsule("params { nodes: 3 }\n"));
  EXPECT_FALSE(looks_like_capsule(""));
}

}  // namespace
}  // namespace tally::sim
