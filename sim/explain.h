// Why a run failed: the narrated lines that happened before the violation, from the first fault
// among them, and the oracle's statement of what was promised and what happened.
#pragma once

#include <cstddef>
#include <string>

#include "sim/story.h"
#include "sim/world.h"

namespace tally::sim {

// `line_count_max` keeps the last so many lines of the past; 0: all. REQUIRES: a violation.
std::string explain_text(const RunSpec& spec, const RunResult& result, const Story& story,
                         size_t line_count_max);

}  // namespace tally::sim
