#include "sim/checker_core.h"

#include <algorithm>

#include "sim/checker_monotone.h"
#include "sim/checker_search.h"

namespace tally::sim::checker {
namespace {

constexpr size_t kConsideredMax = 1000;  // operations
constexpr uint64_t kStatesMax = 30'000;  // over all tries: a tenth of a second or so
constexpr uint64_t kStatesPerTryMax = 2'000;
constexpr uint64_t kCoreBytesMax = uint64_t{64} << 20;

class CoreFinder {
 public:
  CoreFinder(const CounterOps& ops, size_t beam_width) : ops_(ops), beam_width_(beam_width) {}

  std::vector<uint32_t> find(int64_t time) {
    std::vector<uint32_t> core;
    for (const Completed& op : ops_.completed) {
      if (op.ret <= time) core.push_back(op.index);
    }
    for (const Rejected& op : ops_.rejected) {
      if (op.ret <= time) core.push_back(op.index);
    }
    std::sort(core.begin(), core.end());
    if (core.empty() || core.size() > kConsideredMax || !contradict(core)) return {};
    for (size_t chunk = core.size(); chunk > 0; chunk /= 2) {
      for (size_t begin = 0; begin < core.size();) {
        const auto first = core.begin() + static_cast<ptrdiff_t>(begin);
        const auto last = first + static_cast<ptrdiff_t>(std::min(chunk, core.size() - begin));
        std::vector<uint32_t> rest(core.begin(), first);
        rest.insert(rest.end(), last, core.end());
        if (contradict(rest)) {
          core = std::move(rest);
        } else {
          begin += chunk;
        }
      }
    }
    return core;
  }

 private:
  // Whether it is proven that these cannot all be true. `kept` is sorted.
  bool contradict(const std::vector<uint32_t>& kept) {
    if (kept.empty() || states_left_ == 0) return false;
    weaken(kept);
    CheckOptions options;
    options.budget = std::min(states_left_, kStatesPerTryMax);
    options.memory_bytes = kCoreBytesMax;
    Linearization unused_order;
    Explanation unused_why;
    Answer answer = Answer::kNotApplicable;
    if (!weaker_.has_positive || !weaker_.has_negative) {
      Budget budget(options);
      answer = solve_monotone(weaker_, budget, unused_order, unused_why);
      pay(budget);
    }
    if (answer == Answer::kNotApplicable) {
      Budget budget(options);
      answer = decide_by_search(weaker_, beam_width_, budget);
      pay(budget);
    }
    return answer == Answer::kViolation;
  }

  // A try costs something even where it takes no search, and many classes make states dear.
  void pay(const Budget& budget) {
    constexpr uint64_t kOpsPerState = 16;
    const uint64_t op_count = weaker_.completed.size() + weaker_.ambiguous.size();
    const uint64_t weight = 1 + weaker_.ambiguous.size() / kOpsPerState;
    const uint64_t cost = 10 + op_count / kOpsPerState + budget.spent_count() * weight;
    states_left_ -= std::min(states_left_, cost);
  }

  // Fills weaker_ with the history in which only `kept` is certain.
  void weaken(const std::vector<uint32_t>& kept) {
    weaker_.clear();
    weaker_.history = ops_.history;
    weaker_.name = ops_.name;
    weaker_.initial = ops_.initial;
    int64_t ret_max = kTimeMin;
    auto is_kept = [&](uint32_t index) {
      return std::binary_search(kept.begin(), kept.end(), index);
    };
    for (const Completed& op : ops_.completed) {
      if (!is_kept(op.index)) continue;
      weaker_.completed.push_back(op);
      ret_max = std::max(ret_max, op.ret);
      note_sign(op.is_increment(), op.post > op.pre);
    }
    for (const Rejected& op : ops_.rejected) {
      if (!is_kept(op.index)) continue;
      weaker_.rejected.push_back(op);
      ret_max = std::max(ret_max, op.ret);
    }
    // What was invoked after all of that helps none of it.
    for (const Completed& op : ops_.completed) {
      if (!op.is_increment() || op.invoke > ret_max || is_kept(op.index)) continue;
      const Operation& whole = (*ops_.history)[op.index];
      weaker_.ambiguous.push_back({.delta = whole.delta,
                                   .lower = whole.lower.value_or(kValueMin),
                                   .upper = whole.upper.value_or(kValueMax),
                                   .invoke = op.invoke,
                                   .index = op.index});
      note_sign(true, op.post > op.pre);
    }
    for (const Ambiguous& op : ops_.ambiguous) {
      if (op.invoke > ret_max) continue;
      weaker_.ambiguous.push_back(op);
      note_sign(true, op.delta > 0);
    }
  }

  void note_sign(bool is_increment, bool is_positive) {
    weaker_.has_positive |= is_increment && is_positive;
    weaker_.has_negative |= is_increment && !is_positive;
  }

  const CounterOps& ops_;
  const size_t beam_width_;
  uint64_t states_left_ = kStatesMax;
  CounterOps weaker_;
};

}  // namespace

std::vector<uint32_t> find_core(const CounterOps& ops, int64_t time, size_t beam_width) {
  return CoreFinder(ops, beam_width).find(time);
}

}  // namespace tally::sim::checker
