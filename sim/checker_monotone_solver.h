// The solver behind solve_monotone; see checker_monotone.cpp for how and why it works. Its members
// are defined by role: the path, the stages and the result in checker_monotone.cpp, refusals in
// checker_refusals.cpp, what it says about violations in checker_monotone_explain.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/checker_explain.h"
#include "sim/checker_fill.h"
#include "sim/checker_model.h"
#include "sim/checker_sort.h"

namespace tally::sim::checker {

inline constexpr uint64_t kHeightMax = ~uint64_t{0};

// A refusal in heights, and what was decided about it.
struct Refusal {
  enum class Choice : uint8_t { kFree, kEarly, kLate };
  uint64_t low;
  uint64_t high;
  int64_t invoke;
  int64_t ret;
  uint32_t index;
  Choice choice;
};

struct Gap {
  uint32_t item;  // before which it lies
  uint64_t from;
  uint64_t to;
};

class MonotoneSolver {
 public:
  MonotoneSolver(const CounterOps& ops, Budget& budget, Explanation& why)
      : ops_(ops), budget_(budget), why_(why), upside_down_(ops.has_negative) {}

  Answer solve(Linearization& order) {
    initial_ = height(ops_.initial);
    item_count_ = static_cast<uint32_t>(ops_.completed.size());
    sort_completed(ops_.completed, upside_down_, keys_);
    load_pool();
    if (!sweep()) return Answer::kViolation;
    if (!classify_refusals()) return Answer::kViolation;
    Answer answer = settle_refusals();
    if (answer != Answer::kOk) return answer;
    answer = plan_stages();
    if (answer != Answer::kOk) return answer;
    answer = fill();
    if (answer != Answer::kOk) return answer;
    write(order);
    return Answer::kOk;
  }

 private:
  uint64_t height(int64_t value) const {
    const uint64_t up = static_cast<uint64_t>(value) ^ (uint64_t{1} << 63);
    return upside_down_ ? ~up : up;
  }
  int64_t value_at(uint64_t height) const {
    return static_cast<int64_t>((upside_down_ ? ~height : height) ^ (uint64_t{1} << 63));
  }
  const Completed& item(uint32_t p) const { return ops_.completed[keys_[p].slot]; }
  uint64_t pre(uint32_t p) const { return keys_[p].pre; }
  uint64_t post(uint32_t p) const { return height(item(p).post); }
  // The height after the first `count` items.
  uint64_t height_after(uint32_t count) const { return count == 0 ? initial_ : post(count - 1); }
  std::string words(uint32_t index) const { return describe((*ops_.history)[index]); }
  const char* direction() const { return upside_down_ ? "falls" : "grows"; }

  void load_pool();
  bool sweep();
  bool explain_overlap(uint32_t p);
  bool explain_unproduced(uint32_t p, uint64_t from);
  bool explain_order(uint32_t earlier, uint32_t later);
  bool classify_refusals();
  uint32_t first_at_or_above(uint64_t h) const;
  bool compute_deadlines();
  bool explain_too_late(uint32_t p, const Refusal& refusal);
  Answer settle_refusals();
  Answer plan_stages();
  void plan_gap(const Gap& gap, int64_t limit, size_t* next_late);
  Answer check_bounds() const;
  Answer fill();
  uint32_t first_stage_to_fail(uint32_t last) const;
  Answer fill_stages(const std::vector<Stage>& stages, Budget& budget, Filling& filling,
                     FillFailure& failure) const;
  void explain_fill(const FillFailure& failure);
  void explain_bounds(const Stage& stage);
  void explain_undecided(const FillFailure& failure);
  std::string explain_goal(const Stage& stage);
  std::string explain_limit(const Stage& stage);
  std::string explain_from(const Stage& stage);
  void explain_never_early(const Refusal& refusal, uint32_t below);
  bool explain_never_reached(const Refusal& refusal);
  void explain_out_of_reach(const Refusal& refusal);
  void write(Linearization& order) const;
  void write_with_refusals(const Linearization& base, Linearization& order) const;

  const CounterOps& ops_;
  Budget& budget_;
  Explanation& why_;
  const bool upside_down_;
  uint64_t initial_ = 0;
  uint32_t item_count_ = 0;
  std::vector<SortKey> keys_;  // the completed operations, sorted: the items
  std::vector<PoolOp> pool_;   // sorted by (invoke, index)
  uint64_t pool_upper_min_ = kHeightMax;
  uint64_t pool_upper_max_ = 0;
  bool pool_lower_harmless_ = true;
  std::vector<Gap> gaps_;
  std::vector<Refusal> refusals_;
  std::vector<uint32_t> late_;  // indexes into refusals_, by (high, ret)
  // Only with refusals. Over what comes after the first p items: the earliest return, late refusals
  // in or above the gap before item p included. One more entry for the end.
  std::vector<int64_t> deadlines_;
  std::vector<Stage> stages_;
  Filling filling_;
};

}  // namespace tally::sim::checker
