// Refused increments in a counter that moves one way: what each of them proves, and where it goes
// in the linearization. The reasoning is at the top of checker_monotone.cpp.
#include <fmt/format.h>

#include <algorithm>

#include "sim/checker_monotone_solver.h"

namespace tally::sim::checker {

// The first item after which the height is at least h; item_count_ when there is none.
uint32_t MonotoneSolver::first_at_or_above(uint64_t h) const {
  uint32_t low = 0;
  uint32_t high = item_count_;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (post(middle) < h) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

bool MonotoneSolver::classify_refusals() {
  refusals_.reserve(ops_.rejected.size());
  for (const Rejected& op : ops_.rejected) {
    Refusal refusal{.low = height(upside_down_ ? op.forbidden_high : op.forbidden_low),
                    .high = height(upside_down_ ? op.forbidden_low : op.forbidden_high),
                    .invoke = op.invoke,
                    .ret = op.ret,
                    .index = op.index,
                    .choice = Refusal::Choice::kEarly};
    if (op.forbids_nothing() || initial_ > refusal.high) {
      refusal.choice = Refusal::Choice::kFree;  // from the start, and forever
    } else if (initial_ >= refusal.low) {
      if (refusal.high == kHeightMax) return explain_never_reached(refusal);
      refusal.choice = Refusal::Choice::kLate;
    }
    refusals_.push_back(refusal);
  }
  return true;
}

// Fills late_ and deadlines_. False when an item below a late refusal's threshold was invoked too
// late for it.
bool MonotoneSolver::compute_deadlines() {
  late_.clear();
  for (uint32_t r = 0; r < refusals_.size(); ++r) {
    if (refusals_[r].choice == Refusal::Choice::kLate) late_.push_back(r);
  }
  std::sort(late_.begin(), late_.end(), [&](uint32_t a, uint32_t b) {
    const Refusal& x = refusals_[a];
    const Refusal& y = refusals_[b];
    if (x.high != y.high) return x.high < y.high;
    return x.ret != y.ret ? x.ret > y.ret : a < b;
  });
  deadlines_.assign(item_count_ + 1, kTimeMax);
  int64_t deadline = kTimeMax;
  int64_t late_deadline = kTimeMax;
  uint32_t late_refusal = 0;
  size_t next = late_.size();
  auto take_thresholds_above = [&](uint64_t h) {
    while (next > 0 && refusals_[late_[next - 1]].high >= h) {
      const Refusal& refusal = refusals_[late_[--next]];
      if (refusal.ret >= late_deadline) continue;
      late_deadline = refusal.ret;
      late_refusal = late_[next];
    }
    deadline = std::min(deadline, late_deadline);
  };
  take_thresholds_above(height_after(item_count_));
  deadlines_[item_count_] = deadline;
  for (uint32_t p = item_count_; p-- > 0;) {
    take_thresholds_above(pre(p));  // inside item p: it must have happened by then
    if (item(p).invoke > late_deadline) return explain_too_late(p, refusals_[late_refusal]);
    deadline = std::min(deadline, item(p).ret);
    take_thresholds_above(height_after(p));  // in the gap before item p
    deadlines_[p] = deadline;
  }
  return true;
}

Answer MonotoneSolver::settle_refusals() {
  if (refusals_.empty()) return Answer::kOk;
  for (;;) {
    if (!compute_deadlines()) return Answer::kViolation;
    bool changed = false;
    for (Refusal& refusal : refusals_) {
      if (refusal.choice != Refusal::Choice::kEarly) continue;
      const uint32_t below = refusal.low == 0 ? 0 : first_at_or_above(refusal.low);
      if (refusal.invoke <= deadlines_[below]) continue;
      if (!pool_.empty()) return Answer::kNotApplicable;
      if (refusal.high == kHeightMax) {
        explain_never_early(refusal, below);
        return Answer::kViolation;
      }
      refusal.choice = Refusal::Choice::kLate;
      changed = true;
    }
    if (!changed) return Answer::kOk;
  }
}

// Gives every operation of `base` the latest point in time it can have, then late refusals stand at
// their returns, behind all that has happened by then, and early ones at their invocations, ahead
// of all that can wait until then.
void MonotoneSolver::write_with_refusals(const Linearization& base, Linearization& order) const {
  const History& history = *ops_.history;
  std::vector<uint64_t> heights(base.size());  // after each
  uint64_t at = initial_;
  for (size_t i = 0; i < base.size(); ++i) {
    const Operation& op = history[base[i]];
    if (op.kind == Operation::Kind::kAdd) {
      at += upside_down_ ? uint64_t{0} - static_cast<uint64_t>(op.delta)
                         : static_cast<uint64_t>(op.delta);
    }
    heights[i] = at;
  }
  std::vector<int64_t> points(base.size(), kTimeMax);
  for (uint32_t r : late_) {
    const auto reached = std::upper_bound(heights.begin(), heights.end(), refusals_[r].high);
    if (reached == heights.end()) continue;  // reached by nothing: fill() has refused that
    int64_t& point = points[static_cast<size_t>(reached - heights.begin())];
    point = std::min(point, refusals_[r].ret);
  }
  uint32_t p = item_count_;
  for (size_t i = base.size(); i-- > 0;) {
    if (p > 0 && item(p - 1).index == base[i]) points[i] = std::min(points[i], item(--p).ret);
    if (i + 1 < base.size()) points[i] = std::min(points[i], points[i + 1]);
  }
  // Rank 0: early, at its invocation; 1: the path; 2: late and free, at its return.
  struct Place {
    int64_t time;
    uint32_t index;
    bool behind;
  };
  std::vector<Place> places;
  places.reserve(refusals_.size());
  for (const Refusal& refusal : refusals_) {
    const bool early = refusal.choice == Refusal::Choice::kEarly;
    places.push_back({early ? refusal.invoke : refusal.ret, refusal.index, !early});
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    if (a.time != b.time) return a.time < b.time;
    return a.behind != b.behind ? b.behind : a.index < b.index;
  });
  order.reserve(order.size() + base.size() + places.size());
  size_t next = 0;
  for (const Place& place : places) {
    while (next < base.size() &&
           (points[next] < place.time || (place.behind && points[next] == place.time))) {
      order.push_back(base[next++]);
    }
    order.push_back(place.index);
  }
  order.insert(order.end(), base.begin() + static_cast<ptrdiff_t>(next), base.end());
}

}  // namespace tally::sim::checker
