// `tallysim shrink`: a failing seed, capsule or scenario becomes a short story.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tally::tools {

struct ShrinkOptions {
  std::string source;    // a capsule or scenario; empty: a seed of the swarm or of `scenario`
  std::string scenario;  // with a seed
  uint64_t seed = 0;
  bool seed_given = false;
  std::vector<std::string> assignments;
  std::string out;  // the story's file
  uint64_t wall_ns_max = 0;
  bool json = false;
};

// 0 written; 4 the run does not fail, or not as the capsule says; 2, 3 as everywhere.
int shrink_command(const ShrinkOptions& options);

}  // namespace tally::tools
