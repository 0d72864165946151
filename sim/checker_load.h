// Splits a history by counter and turns each part into the form the algorithms want. Contradictions
// that one operation shows by itself (a result outside its own bounds, a starting value outside 64
// bits, a refusal that no value explains) are found here, before any algorithm runs.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/checker_model.h"

namespace tally::sim::checker {

// The history's operations by counter. Counters are numbered in order of first appearance.
struct Grouping {
  std::vector<uint32_t> order;   // indexes into the history, one counter after the other
  std::vector<uint32_t> starts;  // of each counter in `order`; one more at the end
  uint64_t answered_count = 0;   // ok and rejected operations: every order has to contain them
  uint64_t unknown_count = 0;    // of unknown outcome
  uint64_t ambiguous_count = 0;  // those among them that can have an effect: increments

  size_t counter_count() const { return starts.size() - 1; }
};

Grouping group_by_counter(const History& history);

// Fills `ops` with the counter's operations. Answers kOk, or kViolation with an explanation.
Answer load_counter(const History& history, const CheckOptions& options, const Grouping& grouping,
                    size_t counter, CounterOps& ops, Explanation& why);

}  // namespace tally::sim::checker
