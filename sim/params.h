// Parameters of a run: drawn from the seed (swarm), calm, or given; always printed, always checked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "sim/scenario.pb.h"

namespace tally::sim {

// Every parameter set to a quiet, realistic value: no noise, no faults.
Params calm_params();

// Swarm testing: each seed draws its own cluster, timing, noise and fault mix; whole classes of
// faults are switched off at random, never all. Each draw is keyed by the parameter's own path.
Params draw_params(uint64_t seed);

// Sets one parameter by its path, e.g. "network.loss_ppm=1000". Empty, or what is wrong with it.
std::string set_param(Params& params, std::string_view assignment);

// Checks every value against its range and the values against one another. Empty, or the first
// thing that is wrong, naming the parameter, its value and what is allowed. Missing ones are
// errors.
std::string params_error(const Params& params);

// One line of text format without line breaks.
std::string params_text(const Params& params);

}  // namespace tally::sim
