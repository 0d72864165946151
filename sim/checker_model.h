// What the parts of the history checker hand to one another: one counter's operations in the form
// the algorithms want, and what an algorithm answers. Internal to sim/checker*.
//
// Times in here are already widened by the clock error. Operations that say nothing (failed ones,
// ambiguous gets, ambiguous zero deltas, ambiguous increments that can never succeed) are dropped.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "core/history.h"
#include "sim/checker.h"

namespace tally::sim::checker {

inline constexpr int64_t kTimeMin = std::numeric_limits<int64_t>::min();
inline constexpr int64_t kTimeMax = std::numeric_limits<int64_t>::max();
inline constexpr int64_t kValueMin = std::numeric_limits<int64_t>::min();
inline constexpr int64_t kValueMax = std::numeric_limits<int64_t>::max();

// An increment that took the value from `pre` to `post`, or a get (or zero delta) with pre == post.
struct Completed {
  int64_t pre;
  int64_t post;
  int64_t invoke;
  int64_t ret;
  uint32_t index;  // position in the history

  bool is_increment() const { return pre != post; }
};

// A refused increment: at its point the value lay outside [forbidden_low, forbidden_high]. An empty
// interval (low > high) forbids nothing.
struct Rejected {
  int64_t forbidden_low;
  int64_t forbidden_high;
  int64_t invoke;
  int64_t ret;
  uint32_t index;

  bool forbids_nothing() const { return forbidden_low > forbidden_high; }
  bool admits(int64_t value) const { return value < forbidden_low || value > forbidden_high; }
};

// An increment whose outcome nobody learned. It may take effect at any time after `invoke`, if the
// result then lies within [lower, upper], or never.
struct Ambiguous {
  int64_t delta;
  int64_t lower;
  int64_t upper;
  int64_t invoke;
  uint32_t index;
};

// One counter's part of the history.
struct CounterOps {
  const History* history = nullptr;
  std::string_view name;
  int64_t initial = 0;
  std::vector<Completed> completed;
  std::vector<Rejected> rejected;
  std::vector<Ambiguous> ambiguous;
  bool has_positive = false;  // among the deltas of completed and ambiguous increments
  bool has_negative = false;

  void clear();
};

enum class Answer : uint8_t {
  kOk,
  kViolation,
  kUndecided,      // the budget is spent
  kNotApplicable,  // this algorithm does not cover the history; another one must
};

// Why a history is no good, for people: one or two sentences and the operations they name.
struct Explanation {
  std::string text;
  std::vector<size_t> culprits;
  bool contradictory = false;  // see CheckResult::culprits_contradict

  void blame(uint32_t index) { culprits.push_back(index); }
};

// The order in which a counter's operations took effect, as indexes into the history.
using Linearization = std::vector<uint32_t>;

}  // namespace tally::sim::checker
