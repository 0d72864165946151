// `tallysim diverge`: the first event in which two runs of the same inputs differ.
//
// Of two programs it runs both, bisects their digests' checkpoints, then runs both again to print
// every event between the two checkpoints, and compares one by one. Of two capsules it compares the
// checkpoints that they hold.
#pragma once

#include <string>
#include <vector>

namespace tally::tools {

struct DivergeOptions {
  std::string a;  // a program or a capsule
  std::string b;
  std::vector<std::string> run_arguments;  // of `run`, for programs: --seed N and so on
};

// 0 no difference, 1 they differ, 2 and 3 as everywhere.
int diverge_command(const DivergeOptions& options);

}  // namespace tally::tools
