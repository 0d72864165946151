// How operations are put into words in the checker's verdicts.
#pragma once

#include <string>
#include <string_view>

#include "sim/checker_model.h"

namespace tally::sim::checker {

// "hits" with its quotes; long or unprintable names are cut and escaped.
std::string quoted(std::string_view name);

// client 3 seq 7 (add +5 -> 17, [1200, 1890])
std::string describe(const Operation& op);

// [lower, upper]; a missing one is -inf or inf.
std::string describe_bounds(const Operation& op);

// The first few of `indexes` in words, and how many more there are. "none" when empty.
std::string describe_list(const History& history, const std::vector<uint32_t>& indexes);

}  // namespace tally::sim::checker
