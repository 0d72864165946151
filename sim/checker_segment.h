// Which operations of a long history are worth showing: those around the violation, or the first
// ones of an ok.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "sim/checker.h"

namespace tally::sim {

// What is drawn: operations by their positions in the history.
struct Segment {
  std::string_view counter;
  std::vector<size_t> shown;    // in order of invocation
  std::vector<size_t> path;     // of an ok: in order of effect
  size_t counter_op_count = 0;  // how many the counter has in all
  bool other_counters = false;  // there are some, not drawn
};

// A few hundred operations at most, of the counter that the verdict is about. The counter's name
// points into `history`.
Segment choose_segment(const History& history, const CheckResult& result);

}  // namespace tally::sim
