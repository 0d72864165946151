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

// Who may fire in a run. (`crash` is a sweep's, `expectation` this file's.)
constexpr std::string_view kOracleNames[] = {
    "election safety", "log matching", "leader completeness",  "leader append-only",
    "monotone",        "durability",   "state machine safety", "linearizability",
    "exactly-once",    "liveness",     "convergence",          "hang",
    "codec",           "check"};

bool is_oracle(const std::string& name) {
  return std::find(std::begin(kOracleNames), std::end(kOracleNames), name) !=
         std::end(kOracleNames);
}

std::string expect_error(const Expect& expect, int64_t nodes) {
  if (expect.has_violation() && !is_oracle(expect.violation())) {
    return fmt::format("expect.violation names '{}', which is no oracle (one of: {})",
                       expect.violation(), fmt::join(kOracleNames, ", "));
  }
  if (expect.has_clause() && !expect.has_violation()) {
    return "expect.clause belongs to an expect.violation, which is missing";
  }
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
  if (noise.at_us() < 0) return "has a negative at_us";
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
  if (operation.at_us() < 0) return "has a negative at_us";
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
  std::vector<int> places(spec.plan.size(), 0);  // which fault of the scenario each one is from
  for (int place = 0; place < scenario.fault_size(); ++place) {
    error = repeat_error(scenario.fault(place));
    if (!error.empty()) return about("fault", place, fmt::format("fault {} {}", place + 1, error));
    for (Fault& fault : without_repeats(scenario.fault(place))) {
      spec.plan.push_back(std::move(fault));
      places.push_back(place);
    }
  }
  size_t position = 0;
  error = complete_plan(spec.plan, spec.params, position);
  if (!error.empty()) return about("fault", places[position], error);
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
  return {};
}

std::string place_of(const ScenarioPart& part, const TextPlaces& places) {
  if (part.field.empty()) return {};
  std::string path = part.field;
  if (!part.path.empty() && !places.of(path + "." + part.path).empty()) path += "." + part.path;
  return places.of(path, std::max(0, part.index));
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
