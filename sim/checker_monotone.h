// Cases A, B and C: counters whose completed and ambiguous increments all have one sign.
#pragma once

#include "sim/checker_budget.h"
#include "sim/checker_model.h"

namespace tally::sim::checker {

// Exact where it answers kOk (with `order`) or kViolation (with `why`); kUndecided, with `why`
// naming the gap, when `budget` is spent, which only case C and unusual refusals can make it do.
// kNotApplicable where the search must decide; the header comment of checker_monotone.cpp says when
// that is.
// REQUIRES: not both ops.has_positive and ops.has_negative.
Answer solve_monotone(const CounterOps& ops, Budget& budget, Linearization& order,
                      Explanation& why);

}  // namespace tally::sim::checker
