// The world: a run is a function of its spec and of nothing else; every fault does what its kind
// says, for as long as it says; and a run that proves nothing does not count as a pass.
#include "sim/world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>

#include "sim/params.h"
#include "sim/plan.h"
#include "sim/scenario.h"
#include "tests/effort.h"

namespace tally::sim {
namespace {

using RunVerdict = RunResult::Verdict;

// ---- runs in few words

RunSpec swarm(uint64_t seed, const std::vector<std::string>& assignments = {}) {
  RunSpec spec;
  EXPECT_EQ(make_run_spec(swarm_scenario(), seed, assignments, spec), "");
  return spec;
}

// A calm run of 1.5 s with what `text` (a scenario) adds.
RunSpec small(const std::string& text, uint64_t seed = 1) {
  Scenario scenario;
  EXPECT_EQ(parse_scenario(text, "test", scenario), "");
  if (!scenario.params().has_duration_ms()) scenario.mutable_params()->set_duration_ms(1500);
  RunSpec spec;
  EXPECT_EQ(make_run_spec(scenario, seed, {}, spec), "");
  return spec;
}

// Seeds whose plan has faults in it.
std::vector<uint64_t> seeds_with_faults(size_t count) {
  std::vector<uint64_t> seeds;
  for (uint64_t seed = 1; seeds.size() < count; ++seed) {
    if (swarm(seed).plan.size() >= 4) seeds.push_back(seed);
  }
  return seeds;
}

uint64_t seen(const RunResult& result, NoteKind kind) {
  return result.notes[static_cast<size_t>(kind)];
}

std::string why(const RunResult& result) {
  if (!result.violation) return to_string(result.verdict) + " " + result.reason;
  return result.violation->oracle + ": " + result.violation->message;
}

void expect_ok(const RunResult& result) {
  EXPECT_EQ(result.verdict, RunVerdict::kOk) << why(result);
}

// The narrated trace of a run, for what shows nowhere else.
std::string traced(RunSpec spec, RunResult* result = nullptr) {
  char* text = nullptr;
  size_t size = 0;
  spec.trace = open_memstream(&text, &size);
  RunResult ran = run(spec);
  std::fclose(spec.trace);
  std::string trace(text, size);
  std::free(text);
  if (result != nullptr) *result = std::move(ran);
  return trace;
}

bool tells(const std::string& trace, const std::string& what) {
  return trace.find(what) != std::string::npos;
}

// How many equal checkpoints two runs begin with.
size_t common_checkpoints(const RunResult& a, const RunResult& b) {
  const size_t count = std::min(a.checkpoints.size(), b.checkpoints.size());
  size_t same = 0;
  while (same < count && a.checkpoints[same] == b.checkpoints[same]) ++same;
  return same;
}

// ---- determinism

TEST(Determinism, TheSameSeedGivesTheSameRun) {
  for (uint64_t seed = 1; seed <= effort(20); ++seed) {
    const RunResult first = run(swarm(seed));
    const RunResult second = run(swarm(seed));
    EXPECT_EQ(first.digest, second.digest) << "seed " << seed;
    EXPECT_EQ(first.checkpoints, second.checkpoints) << "seed " << seed;
    EXPECT_EQ(first.notes, second.notes) << "seed " << seed;
    EXPECT_EQ(first.event_count, second.event_count) << "seed " << seed;
  }
}

TEST(Determinism, DifferentSeedsGiveDifferentRuns) {
  std::vector<uint64_t> digests;
  for (uint64_t seed = 1; seed <= 20; ++seed) digests.push_back(run(small("", seed)).digest);
  std::sort(digests.begin(), digests.end());
  EXPECT_EQ(std::adjacent_find(digests.begin(), digests.end()), digests.end());
}

TEST(Determinism, TheTraceChangesNothing) {
  for (uint64_t seed = 1; seed <= effort(5); ++seed) {
    RunResult with_trace;
    EXPECT_FALSE(traced(swarm(seed), &with_trace).empty());
    const RunResult without = run(swarm(seed));
    EXPECT_EQ(with_trace.digest, without.digest) << "seed " << seed;
    EXPECT_EQ(with_trace.history.size(), without.history.size()) << "seed " << seed;
  }
}

TEST(Determinism, NoiseThatNeverHappensAndUnusedParametersChangeNothing) {
  const uint64_t plain = run(small("")).digest;
  EXPECT_EQ(run(small("params { network { replay_ms_max: 77 queue_bytes: 5 } }")).digest, plain);
  EXPECT_EQ(run(small("params { network { corrupt_ppm: 0 loss_ppm: 0 } }")).digest, plain);
  EXPECT_EQ(run(small("params { workload { bound: 123 } faults { crash: 5 } }")).digest, plain);
  EXPECT_EQ(run(small("params { event_count_max: 999999 }")).digest, plain);
}

TEST(Determinism, AFaultThatFindsNothingToDoChangesNoMessage) {
  // Events are counted, so the digest differs; what clients saw does not.
  const RunResult plain = run(small(""));
  const RunResult idle = run(small("fault { kind: RING trigger { at_ms: 700 } duration_ms: 9 }"));
  EXPECT_EQ(idle.faults_idle, 1u);
  EXPECT_EQ(plain.ops.ok, idle.ops.ok);
  EXPECT_EQ(plain.notes, idle.notes);
}

// ---- plans

TEST(Plan, LeavingOneFaultOutChangesNothingBeforeIt) {
  size_t compared = 0;
  for (const uint64_t seed : seeds_with_faults(effort(6))) {
    RunSpec spec = swarm(seed);
    const RunResult whole = run(spec);
    const int64_t last_ms = spec.plan.back().trigger().at_ms();
    spec.plan.pop_back();
    const RunResult less = run(spec);
    // What came before it took this share of the run; only whole checkpoints can be compared.
    const int64_t end_ms = whole.sim_time.count() / 1'000'000;
    const auto expected =
        static_cast<size_t>(static_cast<int64_t>(whole.checkpoints.size()) * last_ms / end_ms / 2);
    EXPECT_GE(common_checkpoints(whole, less), expected) << "seed " << seed;
    EXPECT_NE(whole.digest, less.digest) << "seed " << seed;
    compared += expected;
  }
  EXPECT_GT(compared, effort(10));
}

TEST(Plan, AFaultIsDrawnByItsOwnNumber) {
  // Twice the duration makes a longer plan, and the faults of the shorter one stay what they are.
  const std::vector<std::string> open_end = {"faults.interval_ms=300", "faults.calm_end_ms=0",
                                             "faults.length_ms_max=10"};
  std::vector<std::string> longer = open_end;
  longer.push_back("duration_ms=20000");
  std::vector<std::string> shorter = open_end;
  shorter.push_back("duration_ms=10000");
  const std::vector<Fault> few = swarm(3, shorter).plan;
  const std::vector<Fault> many = swarm(3, longer).plan;
  ASSERT_GT(few.size(), 5u);
  ASSERT_GT(many.size(), few.size());
  for (size_t i = 0; i + 1 < few.size(); ++i) {
    EXPECT_EQ(few[i].SerializeAsString(), many[i].SerializeAsString()) << "fault " << i;
  }
}

TEST(Plan, TheSwarmsHaveAFaultThatIsCertainToStrike) {
  for (uint64_t seed = 1; seed <= effort(5000); ++seed) {
    const RunSpec spec = swarm(seed);
    const bool certain = std::any_of(spec.plan.begin(), spec.plan.end(), [&](const Fault& fault) {
      return is_certain(fault, spec.params);
    });
    EXPECT_TRUE(certain) << "seed " << seed;
  }
}

TEST(Plan, WhatIsCertainStrikesAlone) {
  std::map<FaultKind, size_t> tried;
  for (uint64_t seed = 1; seed <= effort(4000); ++seed) {
    RunSpec spec = swarm(seed, {"workload.clients=0", "network.replay_ppm=0"});
    for (const Fault& fault : spec.plan) {
      if (!is_certain(fault, spec.params) || tried[fault.kind()] >= effort(20)) continue;
      ++tried[fault.kind()];
      RunSpec alone = spec;
      alone.plan = {fault};
      alone.params.set_duration_ms(fault.trigger().at_ms() + 1);
      EXPECT_EQ(run(alone).faults_fired[static_cast<size_t>(fault.kind())], 1u)
          << "seed " << seed << ": " << fault_text(fault);
    }
  }
  for (const FaultKind kind : {PARTITION, BRIDGE, RING, CRASH, PAUSE, DISK_FULL, WIPE, BIT_ROT}) {
    EXPECT_GT(tried[kind], 0u) << fault_name(kind);
  }
}

TEST(Plan, OfTransfersThatComeToNothingEndsInACrash) {
  // Of this seed: two transfers to who leads by then.
  constexpr uint64_t kSeed = 364697;
  const std::vector<Fault> drawn = draw_plan(kSeed, draw_params(kSeed));
  ASSERT_EQ(drawn.size(), 2u);
  EXPECT_EQ(drawn[0].kind(), TRANSFER);
  EXPECT_EQ(drawn[1].kind(), TRANSFER);
  RunSpec spec = swarm(kSeed);
  ASSERT_EQ(spec.plan.size(), 2u);
  EXPECT_EQ(spec.plan[0].kind(), TRANSFER);
  EXPECT_EQ(spec.plan[1].kind(), CRASH);
  expect_ok(run(spec));
  spec.plan.pop_back();
  EXPECT_EQ(run(spec).verdict, RunVerdict::kVacuous);
}

TEST(Plan, WithACertainFaultStaysAsItWasDrawn) {
  for (uint64_t seed = 1; seed <= effort(1000); ++seed) {
    const Params params = draw_params(seed);
    const std::vector<Fault> drawn = draw_plan(seed, params);
    std::vector<Fault> plan = drawn;
    make_certain(seed, params, plan);
    ASSERT_EQ(plan.size(), drawn.size());
    size_t changed = 0;
    bool certain = false;
    for (size_t i = 0; i < plan.size(); ++i) {
      changed += plan[i].SerializeAsString() != drawn[i].SerializeAsString();
      certain |= is_certain(drawn[i], params);
    }
    EXPECT_EQ(changed, certain ? 0u : 1u) << "seed " << seed;
  }
}

TEST(Plan, AParameterIsDrawnByItsOwnName) {
  const RunSpec plain = swarm(9);
  const RunSpec changed = swarm(9, {"nodes=3", "network.loss_ppm=77"});
  EXPECT_EQ(plain.params.disk().SerializeAsString(), changed.params.disk().SerializeAsString());
  EXPECT_EQ(plain.params.raft().SerializeAsString(), changed.params.raft().SerializeAsString());
}

// ---- runs that prove nothing, or do not end

TEST(Vacuity, WithoutClients) {
  const RunResult result = run(small("params { workload { clients: 0 } }"));
  EXPECT_EQ(result.verdict, RunVerdict::kVacuous);
  EXPECT_EQ(result.reason, "no operation of a client was compared");
}

TEST(Vacuity, WithoutACommittedEntry) {
  const RunResult result = run(small("params { duration_ms: 100 }"));
  EXPECT_EQ(result.verdict, RunVerdict::kVacuous);
  EXPECT_EQ(result.reason, "nothing was committed in the safety phase");
}

TEST(Vacuity, WithoutAFaultThatFired) {
  const RunResult result =
      run(small("fault { kind: CRASH target { node: 1 } trigger { when { "
                "committed: 99999 } } }"));
  EXPECT_EQ(result.verdict, RunVerdict::kVacuous);
  EXPECT_EQ(result.reason, "no fault of the plan fired");
  EXPECT_EQ(result.faults_idle, 1u);
}

TEST(Vacuity, AnEmptyPlanNeedsNoFault) { expect_ok(run(small(""))); }

TEST(Hang, IsAViolation) {
  const RunResult result = run(small("params { event_count_max: 1000 }"));
  ASSERT_EQ(result.verdict, RunVerdict::kViolation);
  EXPECT_EQ(result.violation->oracle, "hang");
  EXPECT_EQ(result.event_count, 1000u);
}

TEST(Liveness, ACoreThatElectsNobodyIsAViolation) {
  // Healing does not make links faster: every answer comes after the candidate has given up.
  const RunResult result =
      run(small("params { network { latency_us_min: 900000 "
                "latency_us_max: 1000000 } }"));
  ASSERT_EQ(result.verdict, RunVerdict::kViolation);
  EXPECT_EQ(result.violation->oracle, "liveness");
  EXPECT_EQ(result.violation->clause, "the core elects nobody");
}

// ---- the executor of faults, one kind at a time

std::string fault(const std::string& fields,
                  const std::string& trigger = "when { committed: 10 }") {
  return "fault { " + fields + " trigger { " + trigger + " } } ";
}

TEST(Faults, CrashAtEveryPointOfLeaderAndFollower) {
  for (const std::string point : {"BEFORE_WRITE", "AFTER_WRITE", "BEFORE_SYNC", "AFTER_SYNC"}) {
    for (const std::string role : {"LEADER", "FOLLOWER"}) {
      const RunResult result = run(small(fault("kind: CRASH_POINT target { role: " + role +
                                               " } point: " + point + " duration_ms: 300")));
      expect_ok(result);
      EXPECT_EQ(result.faults_fired[CRASH_POINT], 1u) << point << " of a " << role;
      EXPECT_EQ(seen(result, NoteKind::recovered), 4u) << point << " of a " << role;
    }
  }
}

TEST(Faults, ACrashedNodeStaysDownUntilTheFaultEnds) {
  const std::string trace =
      traced(small(fault("kind: CRASH target { node: 2 } duration_ms: 500", "at_ms: 600")));
  const size_t crash = trace.find("fault 1: crash n2");
  const size_t end = trace.find("ends: fault 1:");
  ASSERT_NE(crash, std::string::npos);
  ASSERT_NE(end, std::string::npos);
  EXPECT_FALSE(tells(trace.substr(crash, end - crash), "ms  n2 "));
  EXPECT_TRUE(tells(trace.substr(end), "ms  n2        starts"));
}

TEST(Faults, ANodeThatIsDownFromTheStartIsStartedByTheEnd) {
  for (const std::string kind :
       {"CRASH target { node: 3 }", "KILL target { node: 3 }", "CRASH_ALL"}) {
    const std::string trace =
        traced(small(fault("kind: " + kind + " duration_ms: 400", "at_ms: 0")));
    const size_t start = trace.find("ms  n3        starts");
    ASSERT_NE(start, std::string::npos) << kind;
    EXPECT_EQ(trace.substr(start - 8, 8), "400.000 ") << kind;
  }
}

// When n2 starts again after `crash`, in ms, by the trace.
std::string start_of_n2(const std::string& faults) {
  const std::string trace = traced(small(faults));
  const size_t first = trace.find("ms  n2        starts");
  const size_t again = trace.find("ms  n2        starts", first + 1);
  EXPECT_NE(again, std::string::npos) << faults;
  EXPECT_EQ(trace.find("ms  n2        starts", again + 1), std::string::npos) << faults;
  return again == std::string::npos ? "never" : trace.substr(again - 8, 8);
}

TEST(Faults, ANodeThatSeveralFaultsHoldDownStartsWithTheEndOfTheLast) {
  const std::string second = fault("kind: CRASH_ALL duration_ms: 100", "at_ms: 400");
  EXPECT_EQ(
      start_of_n2(fault("kind: CRASH target { node: 2 } duration_ms: 500", "at_ms: 300") + second),
      "800.000 ");
  EXPECT_EQ(
      start_of_n2(fault("kind: KILL target { node: 2 } duration_ms: 150", "at_ms: 300") + second),
      "500.000 ");
  EXPECT_EQ(start_of_n2(fault("kind: CRASH_POINT point: BEFORE_WRITE target { node: 2 } "
                              "duration_ms: 600",
                              "at_ms: 300") +
                        second),
            "900.000 ");
}

TEST(Faults, ACrashPointWaitsThroughAnotherCrashAndHitsOnce) {
  const RunResult result =
      run(small(fault("kind: CRASH_POINT point: BEFORE_SYNC target { node: 2 } duration_ms: 600",
                      "at_ms: 310") +
                fault("kind: CRASH_POINT point: AFTER_SYNC target { node: 2 } duration_ms: 600",
                      "at_ms: 310")));
  expect_ok(result);
  EXPECT_EQ(result.faults_fired[CRASH_POINT], 1u) << "both end while the first has it down";
  const RunResult longer =
      run(small(fault("kind: CRASH_POINT point: BEFORE_SYNC target { node: 2 } duration_ms: 300",
                      "at_ms: 310") +
                fault("kind: CRASH_POINT point: AFTER_SYNC target { node: 2 } duration_ms: 600",
                      "at_ms: 310")));
  expect_ok(longer);
  EXPECT_EQ(longer.faults_fired[CRASH_POINT], 2u);
}

TEST(Faults, OverlappingPausesEndWithTheLast) {
  const std::string trace =
      traced(small(fault("kind: PAUSE target { node: 2 } duration_ms: 200", "at_ms: 300") +
                   fault("kind: PAUSE target { node: 2 } duration_ms: 500", "at_ms: 400")));
  const size_t first_end = trace.find("ends: fault 1:");
  const size_t second_end = trace.find("ends: fault 2:");
  ASSERT_NE(first_end, std::string::npos);
  ASSERT_NE(second_end, std::string::npos);
  EXPECT_FALSE(tells(trace.substr(first_end, second_end - first_end), "ms  n2 "));
  EXPECT_TRUE(tells(trace.substr(second_end), "ms  n2 "));
}

TEST(Faults, APausedNodeGoesOnWithWhatCameMeanwhile) {
  RunResult result;
  const std::string trace = traced(
      small("params { nodes: 3 } " + fault("kind: PAUSE target { role: LEADER } duration_ms: 600")),
      &result);
  expect_ok(result);
  EXPECT_EQ(seen(result, NoteKind::recovered), 3u) << "a pause is no restart";
  const size_t end = trace.find("ends: fault 1:");
  ASSERT_NE(end, std::string::npos);
  // Sent while it stood still, taken at the very moment it goes on.
  EXPECT_TRUE(tells(trace.substr(end), "no longer leader"));
  EXPECT_EQ(seen(result, NoteKind::became_leader), 2u);
}

TEST(Faults, AJumpOfTheLeadersClockEndsItsTerm) {
  const RunResult result =
      run(small(fault("kind: CLOCK_JUMP target { role: LEADER } by_ms: 5000")));
  expect_ok(result);
  EXPECT_EQ(seen(result, NoteKind::stepped_down_no_quorum), 1u);
}

// A hung disk is one that is very slow, whatever the call.
TEST(Faults, AStalledDiskDoesNothingUntilTheFaultEnds) {
  const std::string trace =
      traced(small(fault("kind: DISK_STALL target { role: LEADER } duration_ms: 700")));
  const size_t begin = trace.find("fault 1: hang the disk");
  const size_t end = trace.find("ends: fault 1:");
  ASSERT_NE(end, std::string::npos);
  const std::string during = trace.substr(begin, end - begin);
  EXPECT_TRUE(tells(during, "its disk has not synced in time")) << during;
}

TEST(Faults, AFailedSyncStopsTheNodeAtOnceAndOnce) {
  for (const std::string role : {"LEADER", "FOLLOWER"}) {
    const RunSpec spec =
        small(fault("kind: SYNC_FAILS target { role: " + role + " } duration_ms: 400"));
    const RunResult result = run(spec);
    expect_ok(result);
    EXPECT_EQ(result.faults_fired[SYNC_FAILS], 1u) << role;
    EXPECT_EQ(seen(result, NoteKind::recovered), 4u) << role;
    EXPECT_TRUE(tells(traced(spec), "stops by itself"));
  }
}

// The sync is told that it fails while the fault is on, and fails when the fault is over.
TEST(Faults, ANodeThatStopsAfterItsFaultHasEndedStartsAgain) {
  const std::string trace =
      traced(small("params { disk { sync_us_min: 30000 sync_us_max: 30000 } }" +
                   fault("kind: SYNC_FAILS target { node: 2 } duration_ms: 29", "at_ms: 800")));
  const size_t end = trace.find("ends: fault 1:");
  const size_t stop = trace.find("n2        stops by itself");
  ASSERT_NE(end, std::string::npos);
  ASSERT_NE(stop, std::string::npos);
  EXPECT_GT(stop, end) << "else it shows nothing";
  EXPECT_NE(trace.find("ms  n2        starts", stop), std::string::npos);
}

TEST(Faults, AFullDiskTakesNoEntriesAndGoesOnWhenThereIsRoom) {
  const RunResult result =
      run(small("params { disk { segment_bytes: 2048 } }" +
                fault("kind: DISK_FULL target { role: LEADER } duration_ms: 1500")));
  expect_ok(result);
  EXPECT_EQ(result.faults_fired[DISK_FULL], 1u);
  EXPECT_GT(seen(result, NoteKind::disk_full), 0u);
  EXPECT_GT(seen(result, NoteKind::disk_has_room), 0u);
  EXPECT_GT(seen(result, NoteKind::stepped_down_full_disk), 0u);
  EXPECT_GT(seen(result, NoteKind::follower_full), 0u);
}

// Nothing is left to guess: writes are not applied, reads are served, and all goes on by itself.
TEST(Faults, AQuorumOfFullDisksUnderALeaderWithRoomRefusesWritesAndServesReads) {
  const RunResult result = run(small(
      "params { duration_ms: 4500 disk { segment_bytes: 2048 } workload { clients: 6 "
      "get_percent: 50 redirect_percent: 100 attempt_timeout_ms: 100 operation_timeout_ms: 200 } "
      "} " +
      fault("kind: DISK_FULL target { role: FOLLOWER } target { role: RANDOM_FOLLOWER pick: 1 } "
            "duration_ms: 3000",
            "at_ms: 500")));
  expect_ok(result);
  EXPECT_EQ(seen(result, NoteKind::disk_full), 2u);
  EXPECT_EQ(seen(result, NoteKind::disk_has_room), 2u);
  EXPECT_EQ(seen(result, NoteKind::stepped_down_full_disk), 0u);
  uint64_t reads = 0;
  uint64_t refused = 0;
  uint64_t written_after = 0;
  for (const Operation& operation : result.history) {
    const int64_t begin_ms = operation.invoke_ns / 1'000'000;
    const bool ok = operation.status == Operation::Status::kOk;
    const bool write = operation.kind == Operation::Kind::kAdd;
    if (write && ok && begin_ms > 3700) ++written_after;
    if (begin_ms < 1500 || begin_ms > 2900) continue;
    if (!write && ok) ++reads;
    if (!write) continue;
    EXPECT_EQ(operation.status, Operation::Status::kFailed) << "an increment of " << begin_ms;
    ++refused;
  }
  EXPECT_GT(reads, 15u);
  EXPECT_GT(refused, 15u);
  EXPECT_GT(written_after, 20u);
}

std::string rot(int node, int at_ms, const std::string& more = "") {
  return fault("kind: BIT_ROT file: 'wal-' place: 2000 target { node: " + std::to_string(node) +
                   " } " + more,
               "at_ms: " + std::to_string(at_ms));
}

TEST(Damage, TheAtlasSparesAQuorum) {
  const RunResult spared = run(small(rot(1, 800) + rot(2, 900) + rot(1, 1000)));
  expect_ok(spared);
  EXPECT_EQ(spared.faults_fired[BIT_ROT], 2u) << "both of n1";
  EXPECT_EQ(spared.faults_idle, 1u);
  const RunResult all =
      run(small("params { faults { damage_majority: 1 } } " + rot(1, 800) + rot(2, 900)));
  EXPECT_EQ(all.faults_fired[BIT_ROT], 2u);
}

// What one repair has restored is what the next one relies on.
TEST(Damage, WandersFromNodeToNode) {
  const std::string restart = "restart: true duration_ms: 100";
  const RunResult result = run(small("params { duration_ms: 5000 } " + rot(1, 800, restart) +
                                     rot(2, 2000, restart) + rot(3, 3500, restart)));
  expect_ok(result);
  EXPECT_EQ(result.faults_fired[BIT_ROT], 3u);
  EXPECT_EQ(seen(result, NoteKind::repair_begun), 3u);
  EXPECT_EQ(seen(result, NoteKind::repair_complete), 3u);
}

TEST(Damage, ShowsOnlyWhenItIsRead) {
  const RunResult result = run(small(rot(1, 800)));
  expect_ok(result);
  EXPECT_EQ(seen(result, NoteKind::repair_begun), 0u);
}

TEST(Damage, AWipedNodeSaysWhyItStaysOut) {
  const std::string trace =
      traced(small(fault("kind: WIPE target { node: 2 } duration_ms: 200", "at_ms: 800")));
  EXPECT_TRUE(tells(trace, "the disk is empty"));
  EXPECT_TRUE(tells(trace, "n2        stays out: node 2 has been here before"));
}

TEST(Administration, ATransferMovesLeadership) {
  const std::string to_follower = fault("kind: TRANSFER target { role: FOLLOWER }", "at_ms: 800");
  const RunResult result = run(small(to_follower));
  expect_ok(result);
  EXPECT_EQ(result.faults_fired[TRANSFER], 1u);
  EXPECT_EQ(seen(result, NoteKind::transfer_received), 1u);
  EXPECT_GE(seen(result, NoteKind::became_leader), 2u);
  EXPECT_EQ(seen(result, NoteKind::request_lost_leadership), 0u) << "nothing was left waiting";
}

TEST(Administration, ATransferToTheLeaderItselfDoesNothing) {
  const RunResult result =
      run(small(fault("kind: TRANSFER target { role: LEADER }", "at_ms: 800") +
                fault("kind: CRASH target { node: 1 } duration_ms: 100", "at_ms: 900")));
  expect_ok(result);
  EXPECT_EQ(result.faults_idle, 1u);
}

TEST(Administration, ASnapshotIsTakenWhenAskedFor) {
  const std::string crash = fault("kind: CRASH target { node: 1 } duration_ms: 100", "at_ms: 900");
  const RunResult unasked = run(small(crash));
  expect_ok(unasked);
  EXPECT_EQ(seen(unasked, NoteKind::snapshot_saved), 0u);
  const std::string of_two =
      fault("kind: TAKE_SNAPSHOT target { node: 2 } target { node: 3 }", "at_ms: 800");
  const RunResult asked = run(small(of_two + crash));
  expect_ok(asked);
  EXPECT_EQ(asked.faults_fired[TAKE_SNAPSHOT], 1u);
  EXPECT_EQ(seen(asked, NoteKind::snapshot_saved), 2u);
}

TEST(Administration, OfANodeThatIsDownNobodyGetsASnapshot) {
  const RunResult result =
      run(small(fault("kind: CRASH target { node: 1 } duration_ms: 300", "at_ms: 700") +
                fault("kind: TAKE_SNAPSHOT target { node: 1 }", "at_ms: 800")));
  expect_ok(result);
  EXPECT_EQ(result.faults_idle, 1u);
  EXPECT_EQ(seen(result, NoteKind::snapshot_saved), 0u);
}

TEST(Faults, TriggersWithADeadlineGiveUp) {
  const RunResult result =
      run(small(fault("kind: CRASH target { node: 1 }", "when { committed: 40 } deadline_ms: 100") +
                fault("kind: CRASH target { node: 1 } duration_ms: 100", "at_ms: 700")));
  expect_ok(result);
  EXPECT_EQ(result.faults_fired[CRASH], 1u);
  EXPECT_EQ(result.faults_idle, 1u);
}

// ---- which links a fault cuts: told by who receives Raft messages from whom

// Lines of the trace in which `to` takes a message of `from`, between the fault's start and end.
bool hears_during_fault(const std::string& trace, int to, int from) {
  size_t line = trace.find("fault 1: ");
  const size_t end = trace.find("ends: fault 1:");
  EXPECT_NE(line, std::string::npos);
  EXPECT_NE(end, std::string::npos);
  const std::string receiver = "ms  n" + std::to_string(to) + " ";
  const std::string sender = " of n" + std::to_string(from) + " ->";
  while ((line = trace.find('\n', line)) < end) {
    const std::string text = trace.substr(line + 1, trace.find('\n', line + 1) - line - 1);
    if (tells(text, receiver) && tells(text, sender)) return true;
    ++line;
  }
  return false;
}

// n1 leads (its clock jumps first), then the fault comes for a second. Requests are many, so that
// every open link shows in the trace.
std::string cut_trace(const std::string& fields, int nodes) {
  return traced(small("params { nodes: " + std::to_string(nodes) +
                      " duration_ms: 2500 workload { clients: 5 think_us_max: 10000 } } "
                      "fault { kind: " +
                      fields + " trigger { at_ms: 900 } duration_ms: 1000 } " +
                      fault("kind: CLOCK_JUMP target { node: 1 } by_ms: 1000", "at_ms: 20")));
}

TEST(Cuts, OneWayIsOnlyOneWay) {
  const std::string trace = cut_trace("ONE_WAY target { node: 2 } peer { node: 1 }", 3);
  EXPECT_TRUE(hears_during_fault(trace, 2, 1));
  EXPECT_FALSE(hears_during_fault(trace, 1, 2));
  EXPECT_TRUE(hears_during_fault(trace, 1, 3));
}

TEST(Cuts, PartitionIsBothWays) {
  const std::string trace = cut_trace("PARTITION target { node: 3 }", 3);
  EXPECT_FALSE(hears_during_fault(trace, 3, 1));
  EXPECT_FALSE(hears_during_fault(trace, 1, 3));
  EXPECT_FALSE(hears_during_fault(trace, 2, 3));
  EXPECT_TRUE(hears_during_fault(trace, 2, 1));
}

TEST(Cuts, OnlyTheBridgeHearsBothSides) {
  const std::string trace =
      cut_trace("BRIDGE target { node: 3 } peer { node: 1 } peer { node: 2 }", 5);
  EXPECT_TRUE(hears_during_fault(trace, 2, 1));
  EXPECT_TRUE(hears_during_fault(trace, 3, 1));
  EXPECT_TRUE(hears_during_fault(trace, 3, 4) || hears_during_fault(trace, 3, 5));
  for (const int far : {4, 5}) {
    for (const int near : {1, 2}) {
      EXPECT_FALSE(hears_during_fault(trace, far, near));
      EXPECT_FALSE(hears_during_fault(trace, near, far));
    }
  }
}

TEST(Cuts, InARingOnlyNeighboursHearEachOther) {
  const std::string trace = cut_trace("RING", 5);
  EXPECT_TRUE(hears_during_fault(trace, 2, 1));
  EXPECT_TRUE(hears_during_fault(trace, 5, 1));
  EXPECT_FALSE(hears_during_fault(trace, 3, 1));
  EXPECT_FALSE(hears_during_fault(trace, 4, 1));
  EXPECT_FALSE(hears_during_fault(trace, 5, 3));
}

TEST(Cuts, AFlappingLinkComesAndGoes) {
  RunResult result;
  const RunSpec spec =
      small(fault("kind: CLOCK_JUMP target { node: 1 } by_ms: 1000", "at_ms: 20") +
            fault("kind: FLAP target { node: 3 } period_ms: 100 duration_ms: 950", "at_ms: 500"));
  expect_ok(run(spec));
  const RunResult steady =
      run(small(fault("kind: PARTITION target { node: 3 } duration_ms: 950", "at_ms: 500")));
  // Cut for good n3 would ask for pre-votes, hearing nobody; flapping faster than its patience not.
  EXPECT_GT(seen(steady, NoteKind::election_timeout), 1u);
  EXPECT_EQ(seen(run(spec), NoteKind::election_timeout), 1u);
  EXPECT_GT(seen(run(spec), NoteKind::probing), 0u);
}

TEST(Cuts, OverlappingOnesEndOneByOne) {
  // The same cut twice; when the first one ends the second one still holds.
  const std::string trace = traced(
      small("params { duration_ms: 2500 } " +
            fault("id: 1 kind: PARTITION target { node: 3 } duration_ms: 400", "at_ms: 800") +
            fault("id: 2 kind: PARTITION target { node: 3 } duration_ms: 900", "at_ms: 900")));
  const size_t first_end = trace.find("ends: fault 1:");
  const size_t second_end = trace.find("ends: fault 2:");
  ASSERT_LT(first_end, second_end);
  const std::string between = trace.substr(first_end, second_end - first_end);
  EXPECT_FALSE(tells(between, " of n3 -> "));
  EXPECT_TRUE(tells(trace.substr(second_end), " of n3 -> "));
}

TEST(Cuts, FromClientsToo) {
  const std::string fields = "kind: ISOLATE_LEADER target { role: LEADER } duration_ms: 600";
  const RunResult reached = run(small(fault(fields)));
  const RunResult cut = run(small(fault(fields + " clients: true")));
  expect_ok(reached);
  expect_ok(cut);
  EXPECT_EQ(seen(cut, NoteKind::request_refused_redirect), 0u);
  EXPECT_NE(reached.digest, cut.digest);
}

TEST(Core, IsHealedWhileTheRestIsFrozen) {
  const std::string trace =
      traced(small("core: 1 core: 3 " + fault("kind: PARTITION target { node: 1 }", "at_ms: 600")));
  const size_t phase = trace.find("liveness: the core n1 n3 is healed");
  ASSERT_NE(phase, std::string::npos);
  EXPECT_FALSE(tells(trace.substr(phase), "ms  n2 "));
  EXPECT_TRUE(tells(trace.substr(phase), "the core serves"));
}

}  // namespace
}  // namespace tally::sim
