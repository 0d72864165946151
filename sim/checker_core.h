// The few operations that a violation comes down to.
//
// A search proves that no order fits, and where every order gets stuck; that names whoever happens
// to be open there, not who is at fault. So operations are left open one after the other: an
// increment is taken for unanswered, a get or a refusal for never made. That can only make more
// orders possible. As long as what remains is still judged a violation, whatever was left open has
// no part in it.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/checker_model.h"

namespace tally::sim::checker {

// History indexes of answered operations of `ops` that cannot all be true whatever the others did.
// Only those that returned by `time` are considered, and `ops.ambiguous` may always have taken
// effect. Each was tried to be left out, as far as a small budget of its own went. Empty when they
// are too many or nothing was proven. REQUIRES: beam_width >= 1.
std::vector<uint32_t> find_core(const CounterOps& ops, int64_t time, size_t beam_width);

}  // namespace tally::sim::checker
