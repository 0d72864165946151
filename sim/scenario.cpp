#include "sim/scenario.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/state_machine.h"
#include "sim/params.h"
#include "sim/plan.h"

namespace tally::sim {
namespace {

std::string core_error(const std::vector<int64_t>& core, int64_t nodes) {
  std::set<int64_t> seen;
  for (const int64_t node : core) {
    if (node < 1 || node > nodes) {
      return fmt::format("core names node {}; the cluster has nodes 1 .. {}", node, nodes);
    }
    if (!seen.insert(node).second) return fmt::format("core names node {} twice", node);
  }
  const auto quorum = static_cast<size_t>(nodes / 2 + 1);
  if (!core.empty() && core.size() < quorum) {
    return fmt::format("core has {} nodes; a quorum of {} is {}", core.size(), nodes, quorum);
  }
  return {};
}

// Who may fire in a run, and with which clauses. (`crash` is a sweep's, `expectation` this file's;
// the clause of `check` is whatever was checked.) A test looks for others in the source.
struct Oracle {
  std::string_view name;
  std::vector<std::string_view> clauses;
};
const Oracle kOracles[] = {
    {"election safety", {"two votes of one node in one term", "two leaders in one term"}},
    {"log matching", {"same index and term, different past"}},
    {"leader completeness", {"a leader lacks a committed entry"}},
    {"leader append-only", {"a leader replaced an entry of its log"}},
    {"monotone",
     {"a term went back", "a vote changed within its term", "a commit index went back",
      "applied out of step with commit"}},
    {"durability",
     {"a restart forgot the term or the vote", "a restart lost a committed entry",
      "a node calls itself whole and lacks a committed entry",
      "recovery calls an undamaged disk damaged", "recovery refuses its own directory",
      "recovery calls term and vote lost that are whole",
      "a message shows a term that is not durable", "a damaged node votes",
      "a damaged node acknowledges", "a vote leaves before it is durable",
      "an acknowledged snapshot is not durable", "an acknowledged entry is not durable",
      "a committed entry is not on the media of a quorum"}},
    {"state machine safety",
     {"a log begins behind what was never committed", "committed beyond the log",
      "two entries committed at one index", "two states after the same entries"}},
    {"linearizability", {"no order explains what clients saw"}},
    {"exactly-once", {"a counter is not the sum of its increments"}},
    {"liveness", {"the core elects nobody", "the core does not serve"}},
    {"convergence", {"the core's replicas stay different"}},
    {"hang", {"the event budget is spent"}},
    {"codec", {"the wire codec failed"}},
    {"check", {}}};

std::string violation_error(const Expect& expect) {
  if (!expect.has_violation()) {
    return expect.has_clause() ? "expect.clause belongs to an expect.violation, which is missing"
                               : "";
  }
  std::vector<std::string_view> names;
  for (const Oracle& oracle : kOracles) {
    names.push_back(oracle.name);
    if (oracle.name != expect.violation()) continue;
    const auto& clauses = oracle.clauses;
    if (!expect.has_clause() || clauses.empty()) return {};
    if (std::find(clauses.begin(), clauses.end(), expect.clause()) != clauses.end()) return {};
    return fmt::format("expect.clause is '{}', which {} never says (one of: {})", expect.clause(),
                       oracle.name, fmt::join(clauses, "; "));
  }
  return fmt::format("expect.violation names '{}', which is no oracle (one of: {})",
                     expect.violation(), fmt::join(names, ", "));
}

std::string expect_error(const Expect& expect, int64_t nodes) {
  const std::string error = violation_error(expect);
  if (!error.empty()) return error;
  if (expect.ByteSizeLong() == 0) return "expect says nothing that must hold";
  if (expect.leader_within_ms() < 0) return "expect.leader_within_ms is below 0";
  if (expect.committed_min() < 0) return "expect.committed_min is below 0";
  for (const auto* notes : {&expect.seen(), &expect.never_seen()}) {
    for (const std::string& name : *notes) {
      if (!note_named(name)) {
        return fmt::format("expect names '{}', which is no note (core/note.h has them)", name);
      }
    }
  }
  for (const CounterValue& value : expect.value()) {
    if (value.counter().empty() || !value.has_equals()) {
      return "expect.value needs counter and equals";
    }
  }
  for (const int64_t node : expect.leader_among()) {
    if (node < 1 || node > nodes) {
      return fmt::format("expect.leader_among names node {}; there are {}", node, nodes);
    }
  }
  return {};
}

// All of them together.
std::string contradiction(const Scenario& scenario) {
  std::set<std::string> seen;
  for (const Expect& expect : scenario.expect()) {
    seen.insert(expect.seen().begin(), expect.seen().end());
  }
  for (const Expect& expect : scenario.expect()) {
    for (const std::string& name : expect.never_seen()) {
      if (seen.count(name) == 0) continue;
      return fmt::format("expect names '{}' both in seen and in never_seen", name);
    }
  }
  return {};
}

std::string at_error(int64_t at_us) {
  constexpr int64_t kMax = kPlanMsMax * 1000;
  if (at_us >= 0 && at_us <= kMax) return {};
  return fmt::format("needs at_us within 0 .. {}, not {}", kMax, at_us);
}

std::string noise_error(const NoiseEvent& noise, const Params& params) {
  if (noise.has_client()) {
    if (noise.has_from() == noise.has_to()) return "needs one of from and to beside client";
    if (noise.client() < 0 || noise.client() >= params.workload().clients()) {
      return fmt::format("names client {}; clients are 0 .. {}", noise.client(),
                         params.workload().clients() - 1);
    }
    if (noise.effect() != NoiseEvent::DELAY) return "is of a client, so its effect is DELAY";
  }
  const auto is_node = [&](int64_t node) { return node >= 1 && node <= params.nodes(); };
  const bool from_client = noise.has_client() && !noise.has_from();
  const bool to_client = noise.has_client() && !noise.has_to();
  if ((!from_client && !is_node(noise.from())) || (!to_client && !is_node(noise.to()))) {
    return fmt::format("names node {}; the cluster has nodes 1 .. {}",
                       from_client || is_node(noise.from()) ? noise.to() : noise.from(),
                       params.nodes());
  }
  if (noise.from() == noise.to()) return fmt::format("goes from node {} to itself", noise.to());
  if (noise.ordinal() < 1) return "needs an ordinal of at least 1";
  const std::string error = at_error(noise.at_us());
  if (!error.empty()) return error;
  if (!noise.has_effect()) return "has no effect (as in: effect: LOSE)";
  return {};
}

std::string operation_error(const ClientOperation& operation, const Params::Workload& workload) {
  if (operation.client() < 0 || operation.client() >= workload.clients()) {
    return fmt::format("is of client {}; workload.clients is {}, so clients are 0 .. {}",
                       operation.client(), workload.clients(), workload.clients() - 1);
  }
  if (operation.lane() < 0 || operation.lane() >= workload.pipeline()) {
    return fmt::format("is in lane {}; workload.pipeline is {}, so lanes are 0 .. {}",
                       operation.lane(), workload.pipeline(), workload.pipeline() - 1);
  }
  const std::string time_error = at_error(operation.at_us());
  if (!time_error.empty()) return time_error;
  if (operation.plus_ns() < 0 || operation.plus_ns() > 999) return "has plus_ns beyond 0 .. 999";
  const std::string name_error = counter_name_error(operation.counter());
  if (!name_error.empty()) return "names no counter: " + name_error;
  if (operation.counter() == "liveness") {
    return "uses the counter 'liveness', which the liveness phase writes to";
  }
  if (operation.get() == operation.has_add()) return "needs one of get: true and add";
  if (operation.get() && (operation.has_lower() || operation.has_upper())) {
    return "bounds a read; lower and upper go with add";
  }
  if (operation.has_lower() && operation.has_upper() && operation.lower() > operation.upper()) {
    return fmt::format("has lower {} above upper {}: no value is within", operation.lower(),
                       operation.upper());
  }
  return {};
}

// All deltas of one counter share a sign: that is what lets sums and histories be judged.
std::string signs_error(const Scenario& scenario, int& culprit) {
  std::map<std::string, bool> negative;
  for (culprit = 0; culprit < scenario.operation_size(); ++culprit) {
    const ClientOperation& operation = scenario.operation(culprit);
    if (operation.get() || operation.add() == 0) continue;
    const auto [first, added] = negative.emplace(operation.counter(), operation.add() < 0);
    if (first->second == (operation.add() < 0)) continue;
    return fmt::format("operation {} adds {} to {}, whose other increments have the other sign",
                       culprit + 1, operation.add(), operation.counter());
  }
  return {};
}

// Checks all items of a repeated field. Empty, or the first thing wrong with one, numbered from 1.
template <class Items, class Check>
std::string first_error(const Items& items, std::string_view prefix, int& culprit, Check check) {
  for (culprit = 0; culprit < items.size(); ++culprit) {
    const std::string error = check(items[culprit]);
    if (error.empty()) continue;
    return prefix.empty() ? error : fmt::format("{} {} {}", prefix, culprit + 1, error);
  }
  return {};
}

uint64_t note_count(const RunResult& result, const std::string& name) {
  return result.notes[static_cast<size_t>(*note_named(name))];
}

// Empty when it holds.
std::string unmet(const Expect& expect, const RunResult& result) {
  for (const std::string& name : expect.seen()) {
    if (note_count(result, name) == 0) return fmt::format("note {} was never seen", name);
  }
  for (const std::string& name : expect.never_seen()) {
    if (note_count(result, name) > 0) {
      return fmt::format("note {} was seen {} times", name, note_count(result, name));
    }
  }
  if (expect.has_leader_within_ms() &&
      (result.first_leader_ms < 0 || result.first_leader_ms > expect.leader_within_ms())) {
    return fmt::format("the first leader came {}, not within {} ms",
                       result.first_leader_ms < 0 ? std::string("never")
                                                  : fmt::format("at {} ms", result.first_leader_ms),
                       expect.leader_within_ms());
  }
  if (expect.leader_among_size() > 0) {
    const auto leader = static_cast<int64_t>(result.safety_leader.value());
    const auto& among = expect.leader_among();
    if (std::find(among.begin(), among.end(), leader) == among.end()) {
      return leader == 0 ? "nobody led at the end of the safety phase"
                         : fmt::format("n{} led at the end of the safety phase", leader);
    }
  }
  for (const CounterValue& value : expect.value()) {
    const auto found = result.values.find(value.counter());
    const int64_t counted = found == result.values.end() ? 0 : found->second;
    if (counted == value.equals()) continue;
    return fmt::format("counter {} is {} at the end, not {}", value.counter(), counted,
                       value.equals());
  }
  if (expect.has_committed_min() &&
      result.committed_count < static_cast<uint64_t>(expect.committed_min())) {
    return fmt::format("only {} entries were committed, not {}", result.committed_count,
                       expect.committed_min());
  }
  return {};
}

}  // namespace

std::string parse_scenario(std::string_view text, std::string_view name, Scenario& scenario,
                           TextPlaces* places) {
  return parse_text(text, name, UnknownFields::kRefused, scenario, places);
}

std::string make_run_spec(const Scenario& scenario, uint64_t seed,
                          const std::vector<std::string>& assignments, RunSpec& spec,
                          ScenarioPart* culprit) {
  ScenarioPart ignored;
  ScenarioPart& part = culprit == nullptr ? ignored : *culprit;
  const auto about = [&](const char* field, int index, std::string error) {
    part = {field, index, {}};
    return error;
  };
  constexpr int64_t kSeedMax = (int64_t{1} << 53) - 1;
  if (scenario.seed() < 0 || scenario.seed() > kSeedMax) {
    return about("seed", -1,
                 fmt::format("seed is {}; it must lie within 0 .. {}", scenario.seed(), kSeedMax));
  }
  spec.seed = seed;
  spec.params = scenario.swarm() ? draw_params(seed) : calm_params();
  spec.params.MergeFrom(scenario.params());
  for (const std::string& assignment : assignments) {
    const std::string error = set_param(spec.params, assignment);
    if (!error.empty()) return error;
  }
  std::string error = params_error(spec.params);
  if (!error.empty()) {
    part = {"params", -1, error.substr(0, error.find(' '))};
    return error;
  }
  spec.plan = draw_plan(seed, spec.params);
  if (scenario.swarm()) make_certain(seed, spec.params, spec.plan);
  std::vector<int> places(spec.plan.size(), 0);  // which fault of the scenario each one is from
  PlanError wrong;
  for (int place = 0; place < scenario.fault_size(); ++place) {
    wrong = repeat_error(scenario.fault(place));
    if (!wrong.empty()) {
      part = {"fault", place, wrong.field};
      return fmt::format("fault {} {}", place + 1, wrong.text);
    }
    for (Fault& fault : without_repeats(scenario.fault(place))) {
      spec.plan.push_back(std::move(fault));
      places.push_back(place);
    }
  }
  size_t position = 0;
  wrong = complete_plan(spec.plan, spec.params, position);
  if (!wrong.empty()) {
    part = {"fault", places[position], wrong.field};
    return wrong.text;
  }
  draw_picks(seed, spec.params, spec.plan);
  const int64_t nodes = spec.params.nodes();
  spec.core.assign(scenario.core().begin(), scenario.core().end());
  error = core_error(spec.core, nodes);
  if (!error.empty()) return about("core", 0, error);
  if (spec.core.empty()) spec.core = draw_core(seed, spec.params);
  int index = 0;
  spec.noise.assign(scenario.noise().begin(), scenario.noise().end());
  error = first_error(scenario.noise(), "noise", index,
                      [&](const NoiseEvent& noise) { return noise_error(noise, spec.params); });
  if (!error.empty()) return about("noise", index, error);
  spec.operations.assign(scenario.operation().begin(), scenario.operation().end());
  error = first_error(scenario.operation(), "operation", index, [&](const ClientOperation& one) {
    return operation_error(one, spec.params.workload());
  });
  if (error.empty()) error = signs_error(scenario, index);
  if (!error.empty()) return about("operation", index, error);
  error = first_error(scenario.expect(), "", index,
                      [&](const Expect& expect) { return expect_error(expect, nodes); });
  if (!error.empty()) return about("expect", index, error);
  error = contradiction(scenario);
  return error.empty() ? error : about("expect", 0, error);
}

std::string place_of(const ScenarioPart& part, const TextPlaces& places) {
  if (part.field.empty()) return {};
  // What the text lacks is told where it belongs: in what is around it.
  for (std::string path = part.path; !path.empty();) {
    const std::string place =
        places.of(fmt::format("{}[{}].{}", part.field, std::max(0, part.index), path));
    if (!place.empty()) return place;
    const size_t dot = path.rfind('.');
    path.resize(dot == std::string::npos ? 0 : dot);
  }
  return places.of(part.field, std::max(0, part.index));
}

Scenario swarm_scenario() {
  Scenario scenario;
  scenario.set_swarm(true);
  return scenario;
}

void apply_expectations(const Scenario& scenario, RunResult& result) {
  std::string expected_violation;
  std::string expected_clause;
  for (const Expect& expect : scenario.expect()) {
    if (!expect.has_violation()) continue;
    expected_violation = expect.violation();
    expected_clause = expect.clause();
  }
  if (!expected_violation.empty()) {
    const bool fired = result.violation && result.violation->oracle == expected_violation &&
                       (expected_clause.empty() || result.violation->clause == expected_clause);
    if (fired) {
      result.verdict = RunResult::Verdict::kOk;
      result.violation.reset();
    } else if (!result.violation) {
      result.verdict = RunResult::Verdict::kViolation;
      result.violation =
          Violation{"expectation", "an expected violation did not happen",
                    fmt::format("oracle {} did not fire", expected_violation), result.event_count};
    }
    return;
  }
  if (result.violation) return;
  for (const Expect& expect : scenario.expect()) {
    const std::string what = unmet(expect, result);
    if (what.empty()) continue;
    result.verdict = RunResult::Verdict::kViolation;
    result.violation =
        Violation{"expectation", "an expectation does not hold", what, result.event_count};
    return;
  }
}

Scenario spelled_out(const RunSpec& spec) {
  Scenario scenario;
  scenario.set_seed(static_cast<int64_t>(spec.seed));
  *scenario.mutable_params() = spec.params;
  // The plan is spelled out, so none is drawn again.
  scenario.mutable_params()->mutable_faults()->set_interval_ms(0);
  for (const Fault& fault : spec.plan) *scenario.add_fault() = fault;
  for (const int64_t node : spec.core.empty() ? draw_core(spec.seed, spec.params) : spec.core) {
    scenario.add_core(node);
  }
  for (const NoiseEvent& noise : spec.noise) *scenario.add_noise() = noise;
  for (const ClientOperation& operation : spec.operations) *scenario.add_operation() = operation;
  return scenario;
}

std::string scenario_text(const Scenario& scenario) { return print_text(scenario); }

}  // namespace tally::sim
