// Scenarios: named runs as text-format protobuf (sim/scenario.proto), and how a seed, a scenario
// and --set options together make a RunSpec.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/scenario.pb.h"
#include "sim/text_format.h"
#include "sim/world.h"

namespace tally::sim {

// A part of a scenario that something is wrong with.
struct ScenarioPart {
  std::string field;  // of Scenario; empty: none in particular, or not of the text
  int index = -1;     // which of a repeated field, from 0
  std::string path;   // inside it, as TextPlaces takes it
};

// Reads a scenario. Empty, or what is wrong as "name:line:column: reason".
std::string parse_scenario(std::string_view text, std::string_view name, Scenario& scenario,
                           TextPlaces* places = nullptr);

// The run that `seed` makes of the scenario (an empty scenario with swarm set is a plain seed),
// with `assignments` ("path=value") over it. Empty, or the first thing that does not fit, and the
// part of the scenario it is about.
std::string make_run_spec(const Scenario& scenario, uint64_t seed,
                          const std::vector<std::string>& assignments, RunSpec& spec,
                          ScenarioPart* culprit = nullptr);

// "name:line:column: " of the part, or of what comes closest; empty when the text does not have it.
std::string place_of(const ScenarioPart& part, const TextPlaces& places);

// The scenario of a plain seed: everything is drawn.
Scenario swarm_scenario();

// Applies the scenario's expectations to what came out: a violation that was expected makes the run
// ok, an expectation that does not hold makes it a violation of oracle `expectation`.
void apply_expectations(const Scenario& scenario, RunResult& result);

// The whole run as a scenario of its own that draws nothing: parameters, plan and core spelled out.
Scenario spelled_out(const RunSpec& spec);
std::string scenario_text(const Scenario& scenario);

}  // namespace tally::sim
