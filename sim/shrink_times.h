// The times in a run's data, as shrinking moves, scales and rounds them.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "sim/world.h"

namespace tally::sim {

// When something begins or ends by the plan, or a client is to begin an operation: milliseconds of
// virtual time, sorted, each once. Faults that wait for a condition have none.
std::vector<int64_t> time_points(const RunSpec& spec);

// Everything that happens at `from_ms` or later happens `by_ms` earlier; a fault's end, too.
void move_up(RunSpec& spec, int64_t from_ms, int64_t by_ms);

// All times become `numerator` / `denominator` of what they were.
void scale_times(RunSpec& spec, int64_t numerator, int64_t denominator);

// One time in the data: a trigger, a length, an operation's begin.
struct TimeField {
  std::function<int64_t()> get;
  std::function<void(int64_t)> set;
  int64_t unit = 1;  // how many of the field's units make a millisecond
};
// In fixed order. They refer to the spec.
std::vector<TimeField> time_fields(RunSpec& spec);

// Values near `value` that are easier to read, the roundest first; without `value` itself.
std::vector<int64_t> rounder_values(int64_t value, int64_t unit);

}  // namespace tally::sim
