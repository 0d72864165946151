// Cases D and E: counters that move both ways, by search.
#pragma once

#include "sim/checker_budget.h"
#include "sim/checker_model.h"

namespace tally::sim::checker {

// Covers every history. Exact where it answers kOk (with `order`) or kViolation (with `why`);
// kUndecided, with `why` naming where it was stuck, when `budget` is spent.
// REQUIRES: beam_width >= 1.
Answer solve_search(const CounterOps& ops, size_t beam_width, Budget& budget, Linearization& order,
                    Explanation& why);

// The same answer without its reasons.
Answer decide_by_search(const CounterOps& ops, size_t beam_width, Budget& budget);

}  // namespace tally::sim::checker
