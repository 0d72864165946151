// What the state machine answers, in short, and the ends of a counter's range.
#pragma once

#include <limits>

#include "core/state_machine.h"

namespace tally {

inline constexpr int64_t kLowest = std::numeric_limits<int64_t>::min();
inline constexpr int64_t kHighest = std::numeric_limits<int64_t>::max();

constexpr ApplyResult kOkValue(int64_t value) { return {.value = value}; }
constexpr ApplyResult kRefused(Reason reason) {
  return {.outcome = Outcome::kRejected, .reason = reason};
}
inline ApplyResult repeated(ApplyResult result) {
  result.duplicate = true;
  return result;
}

}  // namespace tally
