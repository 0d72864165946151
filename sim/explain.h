// Why a run failed: the narrated lines that happened before the violation, from the first fault
// among them, and the oracle's statement of what was promised and what happened.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/history.h"
#include "sim/story.h"
#include "sim/world.h"

namespace tally::sim {

// `line_count_max` keeps the last so many lines of the past; 0: all. REQUIRES: a violation.
std::string explain_text(const RunSpec& spec, const RunResult& result, const Story& story,
                         size_t line_count_max);

// The checker speaks of lanes and nanoseconds; whoever reads a run knows clients and milliseconds:
// its reason with the operations that it names said so.
std::string in_words(std::string reason, const History& history,
                     const std::vector<size_t>& culprits);

}  // namespace tally::sim
