// `tallysim explain`: what led to a violation, in words.
#pragma once

#include "tools/sim_run.h"

namespace tally::tools {

// Of a capsule or scenario in `options.scenario`, or of a seed. `all`: no line of the past is left
// out. Exit codes as run's: 1 for the violation that was explained, also when it was expected.
int explain_command(const RunOptions& options, bool all);

}  // namespace tally::tools
