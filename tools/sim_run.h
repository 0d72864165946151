// `tallysim run` and `tallysim replay`: one run to its verdict, in this process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tally::tools {

struct RunOptions {
  uint64_t seed = 0;
  bool seed_given = false;
  std::string scenario;  // a name or a file; empty: the swarm
  std::vector<std::string> assignments;
  std::string trace = "off";
  std::string history;    // a file for what the clients saw
  std::string emit_plan;  // a file for the whole run as a scenario
  bool trail = false;     // print the digest's checkpoints, and each event in a range
  uint64_t trail_first = 0;
  uint64_t trail_last = 0;
  bool json = false;
};

int run_command(const RunOptions& options);

// `what` is a seed, a scenario or a capsule. Seeds and scenarios end as `run` does; a capsule ends
// with 1 reproduced, 0 gone, 4 diverged (sim::ReplayOutcome).
int replay_command(const std::string& what, RunOptions options);

}  // namespace tally::tools
