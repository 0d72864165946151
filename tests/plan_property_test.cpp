// Whatever the plan: no oracle fires, and the run is the same twice. rapidcheck draws plans, noise
// and operations and makes a failing case small; what is left is written as a scenario, with the
// command that runs it. RC_PARAMS sets seed and number of cases, as everywhere in rapidcheck.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <fstream>

#include "sim/plan.h"
#include "sim/scenario.h"

namespace tally::sim {
namespace {

constexpr int64_t kDurationMs = 3000;

void set_condition(Condition& when, int64_t nodes) {
  switch (*rc::gen::inRange(0, 5)) {
    case 0: when.set_node_leads(*rc::gen::inRange<int64_t>(1, nodes + 1)); break;
    case 1: when.set_committed(*rc::gen::inRange<int64_t>(1, 60)); break;
    case 2: when.set_uncommitted_tail(*rc::gen::inRange<int64_t>(1, 4)); break;
    case 3:
      when.mutable_appended()->set_index(*rc::gen::inRange<int64_t>(1, 60));
      when.mutable_appended()->set_node(*rc::gen::inRange<int64_t>(1, nodes + 1));
      break;
    default: {
      const auto kind = *rc::gen::inRange<size_t>(0, kNoteCount);
      when.mutable_note()->set_name(std::string(kNoteNames[kind]));
      when.mutable_note()->set_count(*rc::gen::inRange<int64_t>(1, 5));
      break;
    }
  }
}

void set_messages(Fault& fault) {
  fault.set_effect(*rc::gen::element(NoiseEvent::LOSE, NoiseEvent::DELAY, NoiseEvent::DUPLICATE));
  if (fault.effect() != NoiseEvent::LOSE) fault.set_by_ms(*rc::gen::inRange<int64_t>(1, 2000));
  if (*rc::gen::arbitrary<bool>()) fault.set_count(*rc::gen::inRange<int64_t>(1, 20));
  if (*rc::gen::arbitrary<bool>()) {
    fault.add_message(
        static_cast<MessageType>(*rc::gen::inRange<int>(MessageType_MIN, MessageType_MAX + 1)));
  }
}

Role any_role(bool has_subject) {
  const auto role = *rc::gen::element(LEADER, FOLLOWER, RANDOM_FOLLOWER, LEADER_MAJORITY,
                                      LEADER_MINORITY, SUBJECT);
  return role == SUBJECT && !has_subject ? LEADER : role;
}

rc::Gen<Fault> fault_of(int64_t nodes) {
  return rc::gen::exec([nodes] {
    Fault fault;
    fault.set_kind(
        static_cast<FaultKind>(*rc::gen::inRange<int>(FaultKind_MIN, FaultKind_MAX + 1)));
    Trigger& trigger = *fault.mutable_trigger();
    if (*rc::gen::inRange(0, 3) > 0) {
      trigger.set_at_ms(*rc::gen::inRange<int64_t>(0, kDurationMs));
    } else {
      set_condition(*trigger.mutable_when(), nodes);
      trigger.set_after_ms(*rc::gen::inRange<int64_t>(0, 300));
    }
    fault.set_duration_ms(*rc::gen::inRange<int64_t>(0, 1500));
    if (fault.kind() != RING && fault.kind() != CRASH_ALL) {
      const int64_t node = *rc::gen::inRange<int64_t>(0, nodes + 1);
      Target& target = *fault.add_target();
      if (node == 0) {
        const bool one_only = fault.kind() == ISOLATE_LEADER || fault.kind() == BRIDGE;
        target.set_role(one_only ? LEADER
                                 : any_role(trigger.has_when() && !trigger.when().has_committed()));
      } else {
        target.set_node(node);
      }
    }
    if (fault.kind() == FLAP) fault.set_period_ms(*rc::gen::inRange<int64_t>(1, 300));
    if (fault.kind() == MESSAGES) set_messages(fault);
    if (fault.kind() == SLOW_DISK) fault.set_factor(*rc::gen::inRange<int64_t>(1, 100));
    if (fault.kind() == CLOCK_JUMP || fault.kind() == SLOW_LINK) {
      fault.set_by_ms(*rc::gen::inRange<int64_t>(1, 500));
    }
    if (fault.kind() == CRASH_POINT) {
      fault.set_point(
          static_cast<CrashPoint>(*rc::gen::inRange<int>(CrashPoint_MIN, CrashPoint_MAX + 1)));
    }
    return fault;
  });
}

rc::Gen<NoiseEvent> noise_of(int64_t nodes) {
  return rc::gen::exec([nodes] {
    NoiseEvent noise;
    noise.set_from(*rc::gen::inRange<int64_t>(1, nodes + 1));
    noise.set_to(noise.from() % nodes + 1);
    noise.set_ordinal(*rc::gen::inRange<int64_t>(1, 400));
    if (*rc::gen::arbitrary<bool>()) {
      noise.set_at_us(*rc::gen::inRange<int64_t>(0, kDurationMs * 1000));
      noise.set_message(
          static_cast<MessageType>(*rc::gen::inRange<int>(MessageType_MIN, MessageType_MAX + 1)));
      noise.set_ordinal(1);
    }
    noise.set_effect(static_cast<NoiseEvent::Effect>(
        *rc::gen::inRange<int>(NoiseEvent::Effect_MIN, NoiseEvent::Effect_MAX + 1)));
    return noise;
  });
}

rc::Gen<ClientOperation> any_operation() {
  return rc::gen::exec([] {
    ClientOperation operation;
    operation.set_client(*rc::gen::inRange<int64_t>(0, 3));
    operation.set_at_us(*rc::gen::inRange<int64_t>(0, kDurationMs * 1000));
    operation.set_counter(*rc::gen::element<std::string>("a", "b"));
    if (*rc::gen::arbitrary<bool>()) {
      operation.set_get(true);
    } else {
      operation.set_add(*rc::gen::element<int64_t>(1, 10, 100));
      if (*rc::gen::inRange(0, 4) == 0) operation.set_upper(50);
    }
    return operation;
  });
}

Scenario any_scenario() {
  const auto nodes = *rc::gen::element<int64_t>(2, 3, 4, 5);
  Scenario scenario;
  scenario.set_name("random-plan");
  scenario.set_seed(*rc::gen::inRange<int64_t>(1, 1'000'000));
  scenario.mutable_params()->set_nodes(nodes);
  scenario.mutable_params()->set_duration_ms(kDurationMs);
  for (const Fault& fault : *rc::gen::container<std::vector<Fault>>(fault_of(nodes))) {
    *scenario.add_fault() = fault;
  }
  for (const NoiseEvent& noise : *rc::gen::container<std::vector<NoiseEvent>>(noise_of(nodes))) {
    *scenario.add_noise() = noise;
  }
  for (const ClientOperation& operation :
       *rc::gen::container<std::vector<ClientOperation>>(any_operation())) {
    *scenario.add_operation() = operation;
  }
  return scenario;
}

// Where a failing case is left, for a person to run.
std::string keep(const Scenario& scenario) {
  const std::string path = ::testing::TempDir() + "tally-random-plan.txtpb";
  std::ofstream(path, std::ios::binary) << scenario_text(scenario);
  return "tallysim run --scenario " + path + " --trace text";
}

RC_GTEST_PROP(RandomPlan, NeverViolatesAnOracleAndRunsTheSameTwice, ()) {
  const Scenario scenario = any_scenario();
  RunSpec spec;
  RC_ASSERT(make_run_spec(scenario, static_cast<uint64_t>(scenario.seed()), {}, spec) == "");
  const RunResult result = run(spec);
  if (result.violation) {
    RC_FAIL(result.violation->oracle + ": " + result.violation->message + "\n" + keep(scenario));
  }
  RC_CLASSIFY(result.verdict == RunResult::Verdict::kOk, "something was at stake");
  RC_ASSERT(run(spec).digest == result.digest);
}

RC_GTEST_PROP(RandomPlan, ReadsBackFromItsText, ()) {
  const Scenario scenario = any_scenario();
  Scenario read;
  RC_ASSERT(parse_scenario(scenario_text(scenario), "text", read) == "");
  RC_ASSERT(read.SerializeAsString() == scenario.SerializeAsString());
}

}  // namespace
}  // namespace tally::sim
