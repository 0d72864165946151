// A counter that only grows (or only falls: it is turned upside down) has at most one order of its
// completed operations. Sorted by (value before, gets first) they are a path up the value axis: an
// increment covers the open interval from pre to post, and no two may overlap.
//
// Real time is respected iff no operation returns before the invocation of one of a strictly
// earlier class (the gets of one value form a class; else each operation is one).
//
// Gaps of the path are filled by ambiguous increments, see checker_fill.h. One may fill a gap iff
// it was invoked by the gap's limit, the minimum return over everything that comes after the gap.
//
// Refusals. In linearization order the value only grows, so a refused increment, which saw the
// value outside a forbidden interval [low, high], saw it either still below low ("early") or
// already above high ("late"). Think of operations as points in their intervals:
//  - late means: the value reached high + 1 by its return. That is a return, a deadline, for all
//  the
//    completed operations below high + 1; and if high + 1 lies in a gap, a stage of the filling.
//    When high + 1 lies above all completed operations, trailing ambiguous ones must reach it.
//  - early means: whatever lifts the value to low or above came after its invocation, that is an
//    invocation, a release, for all the completed operations above.
// Deadlines and releases conflict only pairwise, and two deadlines or two releases never do. So
// with nothing ambiguous: call everything early that can be, and late what then cannot; each such
// deadline can force others to be late, until nothing changes (Horn clauses, and exact for that
// reason). With ambiguous increments, refusals that are early whatever the others do are set aside,
// the ones that can only be late become stages, and the rest goes to the search.
// One bound for all operations, on the side to which the counter moves, makes every refusal late:
// the simulator's counters are of that kind.
//
// Bounds of ambiguous increments. Whatever fills a gap ends at or below the gap's upper end, so an
// upper bound at or above that holds by itself; a common bound below it proves the gap unfillable,
// for the last filler would have to leave the bound. Trailing ones share one bound, which then is
// the `high` of their stages. Lower bounds at or below initial + delta hold always. Ambiguous
// increments that could not succeed even from the initial value never do and are dropped. Other
// bounds go to the search.
//
// Heights: v -> v + 2^63, or its complement when upside down; both keep (or reverse) the order, and
// differences are unsigned 64-bit numbers that cannot overflow.
#include "sim/checker_monotone.h"

#include <algorithm>

#include "sim/checker_monotone_solver.h"

namespace tally::sim::checker {

void MonotoneSolver::load_pool() {
  pool_.reserve(ops_.ambiguous.size());
  for (const Ambiguous& op : ops_.ambiguous) {
    const uint64_t delta = upside_down_ ? uint64_t{0} - static_cast<uint64_t>(op.delta)
                                        : static_cast<uint64_t>(op.delta);
    const uint64_t upper = height(upside_down_ ? op.lower : op.upper);
    const uint64_t lower = height(upside_down_ ? op.upper : op.lower);
    if (upper < initial_ || delta > upper - initial_) continue;  // can never succeed
    pool_upper_min_ = std::min(pool_upper_min_, upper);
    pool_upper_max_ = std::max(pool_upper_max_, upper);
    pool_lower_harmless_ &= initial_ + delta >= lower;
    pool_.push_back({.delta = delta, .invoke = op.invoke, .index = op.index});
  }
  auto before = [](const PoolOp& a, const PoolOp& b) {
    return a.invoke != b.invoke ? a.invoke < b.invoke : a.index < b.index;
  };
  if (!std::is_sorted(pool_.begin(), pool_.end(), before)) {
    std::sort(pool_.begin(), pool_.end(), before);
  }
}

// One pass up the path: overlaps, gaps that nothing can fill, and real time.
bool MonotoneSolver::sweep() {
  uint64_t at = initial_;
  int64_t invoke_max = kTimeMin;  // over the items so far, and which has it
  uint32_t latest_item = 0;
  for (uint32_t p = 0; p < item_count_; ++p) {
    const Completed& op = item(p);
    if (pre(p) < at) return explain_overlap(p);
    if (pre(p) > at) {
      if (pool_.empty()) return explain_unproduced(p, at);
      gaps_.push_back({.item = p, .from = at, .to = pre(p)});
    }
    // Gets of one value cannot fail this among themselves: they are sorted by invocation.
    if (op.ret < invoke_max) return explain_order(latest_item, p);
    if (op.invoke > invoke_max) {
      invoke_max = op.invoke;
      latest_item = p;
    }
    at = post(p);
  }
  return true;
}

// Stages of one gap, lowest first. `next_late` runs down late_: thresholds above the gap are behind
// it. `limit` is that of the gap's end.
void MonotoneSolver::plan_gap(const Gap& gap, int64_t limit, size_t* next_late) {
  const bool at_end = gap.item == item_count_;
  while (!at_end && *next_late > 0 && refusals_[late_[*next_late - 1]].high + 1 >= gap.to) {
    --*next_late;  // met by the gap's end, if at all in it
  }
  while (*next_late > 0 && refusals_[late_[*next_late - 1]].high >= gap.from) {
    const Refusal& refusal = refusals_[late_[--*next_late]];
    if (refusal.ret >= limit) continue;  // the stage above asks for more, and no later
    limit = refusal.ret;
    stages_.push_back({.from = gap.from,
                       .low = refusal.high + 1,
                       .high = gap.to,
                       .limit = limit,
                       .item = gap.item});
  }
}

// Collects stages_ from the top down, because limits are minima over what comes after, then turns
// them round.
Answer MonotoneSolver::plan_stages() {
  size_t next_late = late_.size();
  const uint64_t top = height_after(item_count_);
  if (!late_.empty() && refusals_[late_.back()].high >= top) {
    const uint64_t goal = refusals_[late_.back()].high + 1;
    uint64_t ceiling = goal;
    if (!pool_.empty()) {
      if (pool_upper_min_ != pool_upper_max_) return Answer::kNotApplicable;
      if (pool_upper_max_ < goal) {
        explain_out_of_reach(refusals_[late_.back()]);
        return Answer::kViolation;
      }
      ceiling = pool_upper_max_;
    }
    plan_gap({.item = item_count_, .from = top, .to = ceiling}, kTimeMax, &next_late);
  }
  int64_t limit = kTimeMax;
  uint32_t p = item_count_;
  for (size_t g = gaps_.size(); g-- > 0;) {
    const Gap& gap = gaps_[g];
    while (p > gap.item) limit = std::min(limit, item(--p).ret);
    int64_t gap_limit = limit;
    if (!deadlines_.empty()) gap_limit = std::min(gap_limit, deadlines_[gap.item + 1]);
    for (size_t i = next_late; i-- > 0 && refusals_[late_[i]].high + 1 >= gap.to;) {
      gap_limit = std::min(gap_limit, refusals_[late_[i]].ret);
    }
    stages_.push_back(
        {.from = gap.from, .low = gap.to, .high = gap.to, .limit = gap_limit, .item = gap.item});
    plan_gap(gap, gap_limit, &next_late);
  }
  std::reverse(stages_.begin(), stages_.end());
  return check_bounds();
}

// Whether the bounds of the ambiguous increments hold by themselves wherever stages use them.
Answer MonotoneSolver::check_bounds() const {
  if (stages_.empty() || pool_.empty()) return Answer::kOk;
  if (!pool_lower_harmless_) return Answer::kNotApplicable;
  if (gaps_.empty() || gaps_.back().to <= pool_upper_min_) return Answer::kOk;
  return pool_upper_min_ == pool_upper_max_ ? Answer::kOk : Answer::kNotApplicable;
}

Answer MonotoneSolver::fill() {
  if (stages_.empty()) return Answer::kOk;
  // A common bound below the end of a gap: nothing can take the last step of that gap.
  for (const Stage& stage : stages_) {
    if (!pool_.empty() && stage.is_exact() && stage.low > pool_upper_max_) {
      explain_bounds(stage);
      return Answer::kViolation;
    }
  }
  FillFailure failure;
  const Answer answer = fill_stages(stages_, budget_, filling_, failure);
  if (answer == Answer::kViolation) explain_fill(failure);
  if (answer == Answer::kUndecided) explain_undecided(failure);
  return answer;
}

Answer MonotoneSolver::fill_stages(const std::vector<Stage>& stages, Budget& budget,
                                   Filling& filling, FillFailure& failure) const {
  if (is_divisibility_chain(pool_)) return fill_chain(stages, pool_, budget, filling, failure);
  const bool all_exact = std::all_of(stages.begin(), stages.end(),
                                     [](const Stage& stage) { return stage.is_exact(); });
  if (!all_exact) return Answer::kNotApplicable;
  return fill_any(stages, pool_, budget, filling, failure);
}

void MonotoneSolver::write(Linearization& order) const {
  Linearization base;
  Linearization& out = refusals_.empty() ? order : base;
  out.reserve(out.size() + item_count_ + filling_.ops.size());
  size_t stage = 0;
  size_t filler = 0;
  for (uint32_t p = 0; p <= item_count_; ++p) {
    for (; stage < stages_.size() && stages_[stage].item == p; ++stage) {
      for (; filler < filling_.ends[stage]; ++filler) out.push_back(filling_.ops[filler]);
    }
    if (p < item_count_) out.push_back(item(p).index);
  }
  if (!refusals_.empty()) write_with_refusals(base, order);
}

Answer solve_monotone(const CounterOps& ops, Budget& budget, Linearization& order,
                      Explanation& why) {
  return MonotoneSolver(ops, budget, why).solve(order);
}

}  // namespace tally::sim::checker
