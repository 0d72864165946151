// A sweep: many seeds over several processes, one summary.
//
// Workers are processes, so that a seed that crashes, hangs in a CHECK or is killed takes nothing
// else with it: it is reported (oracle `crash` or `check`) and the sweep goes on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/scenario.h"

namespace tally::tools {

struct SweepOptions {
  uint64_t first_seed = 0;
  uint64_t last_seed = 0;  // inclusive
  // The sweep of which these seeds are a part, as the summary tells it; same when not sharded.
  uint64_t whole_first_seed = 0;
  uint64_t whole_last_seed = 0;
  std::string shard;  // "3/8"; empty: all of it
  unsigned jobs = 1;
  uint64_t wall_ns_max = 0;   // 0: no limit
  std::string out_directory;  // one file per failure; empty: none
  bool json = false;
  bool stop_at_first = false;  // at the first violation
  std::string scenario_name;   // as given, for the replay command
  sim::Scenario scenario;
  std::vector<std::string> assignments;
};

// Runs the sweep, prints the summary to stdout and returns the exit code.
int sweep(const SweepOptions& options);

}  // namespace tally::tools
