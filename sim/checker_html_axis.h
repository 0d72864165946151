// Where times lie in a picture of a verdict.
#pragma once

#include <cstdint>
#include <vector>

#include "core/history.h"

namespace tally::sim::checker_html {

inline constexpr int64_t kMargin = 16;  // pixels, as all sizes

// Every time at which something begins or ends has a place, in order and far enough apart that
// labels fit into their bars; distances are compressed, so that a pause of an hour does not push
// all the rest together.
class Axis {
 public:
  struct Place {
    int64_t time;
    int64_t begin;  // pixels: of what is invoked at this time
    int64_t end;    // of what returns at it; larger where an operation has no duration
  };

  // `shown`: positions in the history. Intervals are widened by `clock_error` on both sides.
  Axis(const History& history, const std::vector<size_t>& shown, int64_t clock_error);

  int64_t begin_of(const Operation& op) const { return places_[place_of(invoke_of(op))].begin; }
  // The right end of what may take effect at any later time is that of the picture.
  int64_t end_of(const Operation& op) const {
    return op.return_ns ? places_[place_of(return_of(op))].end : width_ - kMargin / 2;
  }
  int64_t effect_end_of(const Operation& op) const {
    return op.status == Operation::Status::kUnknown ? width_ - kMargin / 2 : end_of(op);
  }
  int64_t width() const { return width_; }
  const std::vector<Place>& places() const { return places_; }

 private:
  int64_t invoke_of(const Operation& op) const;
  int64_t return_of(const Operation& op) const;
  size_t place_of(int64_t time) const;
  uint64_t median_distance() const;
  void lay_out(const History& history, const std::vector<size_t>& shown);
  void stretch();

  const int64_t clock_error_;
  std::vector<Place> places_;  // by time
  int64_t width_ = 0;
};

}  // namespace tally::sim::checker_html
