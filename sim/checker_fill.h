// Filling gaps from pools of ambiguous increments, in a counter that only grows.
//
// A stage asks the ambiguous increments released by its limit to raise the value from where the
// stage before left it into [low, high]. Limits never fall from stage to stage, so the pools are
// nested: what one stage leaves over, every later one may use. A gap between two completed
// operations is a stage with low == high; a refusal that proves "the value had reached low by then"
// is a stage with low < high.
//
// Heights, not values: order-preserving images of the values in 0 .. 2^64-1 (see
// checker_monotone.cpp), so differences and deltas fit 64 unsigned bits.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/checker_budget.h"
#include "sim/checker_model.h"

namespace tally::sim::checker {

struct Stage {
  uint64_t from;  // the height after the last completed operation before it
  uint64_t low;   // the height to reach at least
  uint64_t high;  // and at most
  int64_t limit;  // increments invoked later than this cannot help
  uint32_t item;  // the completed operation before which it must be done; the count of them at the
                  // end of the history

  bool is_exact() const { return low == high; }
};

// A usable ambiguous increment.
struct PoolOp {
  uint64_t delta;  // as a height, > 0
  int64_t invoke;
  uint32_t index;
};

// What the stages used: `ops` in the order to apply them; `ends[s]` is one past stage s's last.
struct Filling {
  std::vector<uint32_t> ops;  // history indexes
  std::vector<uint32_t> ends;
};

// A violation: the stages up to and including `stage` cannot all be met, whatever comes after them.
// Undecided: where it was stuck.
struct FillFailure {
  uint32_t stage = 0;
};

// True when each distinct delta divides the next larger one (all equal; 1, 10, 100).
// REQUIRES: pool sorted by (invoke, index).
bool is_divisibility_chain(const std::vector<PoolOp>& pool);

// Case B, exact: kOk with `filling`, or kViolation with `failure`; kUndecided, with `failure`, once
// `budget` is spent, a state being a choice looked at.
// REQUIRES: is_divisibility_chain(pool); pool sorted by (invoke, index); stage limits do not fall.
Answer fill_chain(const std::vector<Stage>& stages, const std::vector<PoolOp>& pool, Budget& budget,
                  Filling& filling, FillFailure& failure);

// Case C, exact for stages that all are: any deltas, by search. Answers as fill_chain does.
// REQUIRES: every stage is_exact(); pool sorted by (invoke, index); stage limits do not fall.
Answer fill_any(const std::vector<Stage>& stages, const std::vector<PoolOp>& pool, Budget& budget,
                Filling& filling, FillFailure& failure);

}  // namespace tally::sim::checker
