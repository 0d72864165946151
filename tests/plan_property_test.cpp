// Whatever the plan and the parameters: no oracle fires, and the run is the same twice. rapidcheck
// draws parameters, plans, noise and operations and makes a failing case small; it is shown as the
// text of a scenario and left in a file, with the command that runs it. RC_PARAMS sets seed and
// number of cases, as everywhere in rapidcheck.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <set>
#include <stdexcept>

#include "core/check.h"
#include "sim/params.h"
#include "sim/plan.h"
#include "sim/scenario.h"

namespace tally::sim {

// How rapidcheck shows a case.
void showValue(const Scenario& scenario, std::ostream& out) {
  out << "\n" << scenario_text(scenario);
}

namespace {

constexpr int64_t kDurationMs = 3000;

// Any of low .. end - 1. (Left to itself, rapidcheck's inRange keeps to the low end of the range in
// all but its last cases: the later kinds of faults would hardly come.)
template <class Number>
Number within(Number low, Number end) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<Number>(low, end));
}

void set_condition(Condition& when, int64_t nodes) {
  switch (within(0, 5)) {
    case 0: when.set_node_leads(within<int64_t>(1, nodes + 1)); break;
    case 1: when.set_committed(within<int64_t>(1, 60)); break;
    case 2: when.set_uncommitted_tail(within<int64_t>(1, 4)); break;
    case 3:
      when.mutable_appended()->set_index(within<int64_t>(1, 60));
      when.mutable_appended()->set_node(within<int64_t>(1, nodes + 1));
      break;
    default: {
      const auto kind = within<size_t>(0, kNoteCount);
      when.mutable_note()->set_name(std::string(kNoteNames[kind]));
      when.mutable_note()->set_count(within<int64_t>(1, 5));
      break;
    }
  }
}

void set_messages(Fault& fault) {
  fault.set_effect(*rc::gen::element(NoiseEvent::LOSE, NoiseEvent::DELAY, NoiseEvent::DUPLICATE));
  if (fault.effect() != NoiseEvent::LOSE) fault.set_by_ms(within<int64_t>(1, 2000));
  if (*rc::gen::arbitrary<bool>()) fault.set_count(within<int64_t>(1, 20));
  if (*rc::gen::arbitrary<bool>()) {
    fault.add_message(static_cast<MessageType>(within<int>(MessageType_MIN, MessageType_MAX + 1)));
  }
}

Role any_role(bool has_subject) {
  const auto role = *rc::gen::element(LEADER, FOLLOWER, RANDOM_FOLLOWER, LEADER_MAJORITY,
                                      LEADER_MINORITY, SUBJECT);
  return role == SUBJECT && !has_subject ? LEADER : role;
}

Target any_target(int64_t nodes, bool has_subject) {
  Target target;
  const auto node = within<int64_t>(0, nodes + 1);
  if (node > 0) {
    target.set_node(node);
    return target;
  }
  target.set_role(any_role(has_subject));
  if (target.role() == RANDOM_FOLLOWER && *rc::gen::arbitrary<bool>()) {
    target.set_pick(within<int64_t>(0, nodes));
  }
  return target;
}

bool fits(const Fault& fault, const Params& params) {
  Scenario scenario;
  *scenario.mutable_params() = params;
  *scenario.add_fault() = fault;
  RunSpec spec;
  return make_run_spec(scenario, 1, {}, spec).empty();
}

// What a fault may say and need not. Each is said now and then, where it fits the fault: what fits
// is sim/plan_check.cpp's to know.
void decorate(Fault& fault, const Params& params) {
  const bool has_subject = fault.trigger().has_when() && !fault.trigger().when().has_committed();
  const auto another = [&] { return any_target(params.nodes(), has_subject); };
  const std::function<void(Fault&)> all[] = {
      [&](Fault& one) { *one.add_target() = another(); },
      [&](Fault& one) { *one.add_target() = another(); },
      [&](Fault& one) { *one.add_peer() = another(); },
      [&](Fault& one) { *one.add_peer() = another(); },
      [](Fault& one) { one.set_clients(true); },
      [](Fault& one) { one.set_restart(true); },
      [](Fault& one) { one.set_place(within<int64_t>(0, 1000)); },
      [](Fault& one) { one.set_file(*rc::gen::element<std::string>("wal-", "snapshot-")); },
      [](Fault& one) { one.set_ordinal(within<int64_t>(1, 50)); },
      [](Fault& one) { one.set_room_bytes(within<int64_t>(0, 20000)); },
      [](Fault& one) { one.mutable_trigger()->set_deadline_ms(within<int64_t>(0, kDurationMs)); },
      [](Fault& one) {
        one.set_times(within<int64_t>(1, 6));
        one.set_every_ms(within<int64_t>(1, 400));
      },
  };
  for (const auto& add : all) {
    if (within(0, 3) < 2) continue;
    Fault more = fault;
    add(more);
    if (fits(more, params)) fault = std::move(more);
  }
}

rc::Gen<Fault> fault_of(const Params& params) {
  return rc::gen::exec([params] {
    Fault fault;
    fault.set_kind(static_cast<FaultKind>(within<int>(FaultKind_MIN, FaultKind_MAX + 1)));
    Trigger& trigger = *fault.mutable_trigger();
    if (within(0, 3) > 0) {
      trigger.set_at_ms(within<int64_t>(0, kDurationMs));
    } else {
      set_condition(*trigger.mutable_when(), params.nodes());
      trigger.set_after_ms(within<int64_t>(0, 300));
    }
    fault.set_duration_ms(within<int64_t>(0, 1500));
    const bool has_subject = trigger.has_when() && !trigger.when().has_committed();
    if (fault.kind() != RING && fault.kind() != CRASH_ALL) {
      *fault.add_target() = any_target(params.nodes(), has_subject);
    }
    if (fault.kind() == FLAP) fault.set_period_ms(within<int64_t>(1, 300));
    if (fault.kind() == MESSAGES) set_messages(fault);
    if (fault.kind() == SLOW_DISK) fault.set_factor(within<int64_t>(1, 100));
    if (fault.kind() == CLOCK_JUMP || fault.kind() == SLOW_LINK) {
      fault.set_by_ms(within<int64_t>(1, 500));
    }
    if (fault.kind() == CRASH_POINT) {
      fault.set_point(static_cast<CrashPoint>(within<int>(CrashPoint_MIN, CrashPoint_MAX + 1)));
    }
    decorate(fault, params);
    return fault;
  });
}

// What a seed of the swarm draws, as a whole or in parts: the delays of networks and disks are
// drawn to fit the election timeout, so they come with it. Nothing of it is left in the smallest
// case.
Params any_params() {
  Params params;
  params.set_nodes(*rc::gen::element<int64_t>(2, 3, 4, 5));
  params.set_duration_ms(kDurationMs);
  const Params drawn = draw_params(within<uint64_t>(1, 1'000'000));
  const auto takes = [] { return *rc::gen::arbitrary<bool>(); };
  if (takes()) {
    *params.mutable_raft() = drawn.raft();
    if (takes()) *params.mutable_network() = drawn.network();
    if (takes()) *params.mutable_disk() = drawn.disk();
    if (takes()) *params.mutable_workload() = drawn.workload();
  }
  if (takes()) *params.mutable_clock() = drawn.clock();
  if (takes()) params.set_steady_ms(*rc::gen::element<int64_t>(1, 10, 500));
  // any_operation names three clients.
  if (params.has_workload()) {
    params.mutable_workload()->set_clients(std::max<int64_t>(3, params.workload().clients()));
  }
  return params;
}

rc::Gen<NoiseEvent> noise_of(int64_t nodes) {
  return rc::gen::exec([nodes] {
    NoiseEvent noise;
    noise.set_from(within<int64_t>(1, nodes + 1));
    noise.set_to(noise.from() % nodes + 1);
    noise.set_ordinal(within<int64_t>(1, 400));
    if (*rc::gen::arbitrary<bool>()) {
      noise.set_at_us(within<int64_t>(0, kDurationMs * 1000));
      noise.set_message(
          static_cast<MessageType>(within<int>(MessageType_MIN, MessageType_MAX + 1)));
      noise.set_ordinal(1);
    }
    noise.set_effect(static_cast<NoiseEvent::Effect>(
        within<int>(NoiseEvent::Effect_MIN, NoiseEvent::Effect_MAX + 1)));
    return noise;
  });
}

rc::Gen<ClientOperation> any_operation() {
  return rc::gen::exec([] {
    ClientOperation operation;
    operation.set_client(within<int64_t>(0, 3));
    operation.set_at_us(within<int64_t>(0, kDurationMs * 1000));
    operation.set_counter(*rc::gen::element<std::string>("a", "b"));
    if (*rc::gen::arbitrary<bool>()) {
      operation.set_get(true);
    } else {
      operation.set_add(*rc::gen::element<int64_t>(1, 10, 100));
      if (within(0, 4) == 0) operation.set_upper(50);
    }
    return operation;
  });
}

rc::Gen<Scenario> any_scenario() {
  return rc::gen::exec([] {
    Scenario scenario;
    scenario.set_name("random-plan");
    scenario.set_seed(within<int64_t>(1, 1'000'000));
    const Params params = any_params();
    *scenario.mutable_params() = params;
    for (const Fault& fault : *rc::gen::container<std::vector<Fault>>(fault_of(params))) {
      *scenario.add_fault() = fault;
    }
    for (const NoiseEvent& noise :
         *rc::gen::container<std::vector<NoiseEvent>>(noise_of(params.nodes()))) {
      *scenario.add_noise() = noise;
    }
    for (const ClientOperation& operation :
         *rc::gen::container<std::vector<ClientOperation>>(any_operation())) {
      *scenario.add_operation() = operation;
    }
    return scenario;
  });
}

// Where a failing case is left, for a person to run: the smallest one in the end. Each process has
// a file of its own.
std::string keep(const Scenario& scenario) {
  const std::string path =
      ::testing::TempDir() + "tally-random-plan-" + std::to_string(getpid()) + ".txtpb";
  std::ofstream(path, std::ios::binary) << scenario_text(scenario);
  return "\n  tallysim run --scenario " + path + " --trace text\n";
}

void throw_check_failure(const std::string& message) { throw std::runtime_error(message); }

// A failed CHECK is a violation like any other, for rapidcheck to make small.
RunResult run_to_an_end(const RunSpec& spec) {
  const CheckHandler before = set_check_handler(throw_check_failure);
  RunResult result;
  try {
    result = run(spec);
  } catch (const std::runtime_error& failure) {
    result.violation = Violation{"check", "a CHECK failed", failure.what(), 0};
  }
  set_check_handler(before);
  return result;
}

RC_GTEST_PROP(RandomPlan, NeverViolatesAnOracleAndRunsTheSameTwice, ()) {
  const Scenario scenario = *any_scenario();
  RunSpec spec;
  RC_ASSERT(make_run_spec(scenario, static_cast<uint64_t>(scenario.seed()), {}, spec) == "");
  const RunResult result = run_to_an_end(spec);
  if (result.violation) {
    RC_FAIL(result.violation->oracle + ": " + result.violation->message + keep(scenario));
  }
  RC_CLASSIFY(result.verdict == RunResult::Verdict::kOk, "something was at stake");
  if (run(spec).digest != result.digest) RC_FAIL("the second run is another one" + keep(scenario));
}

RC_GTEST_PROP(RandomPlan, ReadsBackFromItsText, ()) {
  const Scenario scenario = *any_scenario();
  Scenario read;
  RC_ASSERT(parse_scenario(scenario_text(scenario), "text", read) == "");
  RC_ASSERT(read.SerializeAsString() == scenario.SerializeAsString());
}

TEST(RandomPlan, IsShownAsTheTextOfAScenario) {
  Scenario scenario;
  scenario.add_fault()->set_kind(RING);
  EXPECT_EQ(rc::toString(scenario), "\nfault { kind: RING }\n");
}

// A field that no plan has tests nothing: each that a plan may have is in some.
TEST(RandomPlan, SaysAllThatAPlanCanSay) {
  std::set<std::string> said;
  const auto add = [&said](const google::protobuf::Message& message) {
    std::vector<const google::protobuf::FieldDescriptor*> fields;
    message.GetReflection()->ListFields(message, &fields);
    for (const auto* field : fields) said.insert(field->full_name());
  };
  const rc::Gen<Scenario> gen = any_scenario();
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    const Scenario scenario = gen(rc::Random(seed), 50).value();
    add(scenario.params());
    for (const Fault& fault : scenario.fault()) {
      add(fault);
      add(fault.trigger());
      for (const Target& target : fault.target()) add(target);
    }
  }
  for (const auto* message :
       {Fault::descriptor(), Trigger::descriptor(), Target::descriptor(), Params::descriptor()}) {
    for (int i = 0; i < message->field_count(); ++i) {
      const std::string name = message->field(i)->full_name();
      // Given by position; what hangs a run; what draws more faults.
      if (name == "tally.sim.Fault.id" || name == "tally.sim.Params.event_count_max" ||
          name == "tally.sim.Params.faults") {
        continue;
      }
      EXPECT_EQ(said.count(name), 1u) << name << " is in no plan";
    }
  }
}

}  // namespace
}  // namespace tally::sim
