// The orders that the algorithms start from: along the value axis, and along time.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/checker_model.h"

namespace tally::sim::checker {

struct SearchOp;

// A completed operation by where it starts: its height (see checker_monotone.cpp), gets first.
struct SortKey {
  uint64_t pre;
  uint32_t is_increment;
  uint32_t slot;  // into CounterOps::completed
};

// Fills `keys` with all of `completed` by (pre, is_increment), the gets of one value by invocation.
// Linear for long histories that come roughly in order of time.
void sort_completed(const std::vector<Completed>& completed, bool upside_down,
                    std::vector<SortKey>& keys);

// Sorts by (invoke, ret, index). Linear for long histories that do not stretch over centuries.
void sort_by_invocation(std::vector<SearchOp>& ops);

}  // namespace tally::sim::checker
