#include "sim/checker_html_axis.h"

#include <algorithm>
#include <limits>

#include "sim/checker_html_text.h"

namespace tally::sim::checker_html {
namespace {

constexpr int64_t kWidthMin = 1080;  // a short history is stretched to this

uint64_t distance(const Axis::Place& a, const Axis::Place& b) {
  const uint64_t gap = static_cast<uint64_t>(b.time) - static_cast<uint64_t>(a.time);
  return std::min(gap, uint64_t{1} << 50);
}

}  // namespace

Axis::Axis(const History& history, const std::vector<size_t>& shown, int64_t clock_error)
    : clock_error_(clock_error) {
  for (const size_t index : shown) {
    places_.push_back({invoke_of(history[index]), 0, 0});
    places_.push_back({return_of(history[index]), 0, 0});
  }
  const auto by_time = [](const Place& a, const Place& b) { return a.time < b.time; };
  std::sort(places_.begin(), places_.end(), by_time);
  places_.erase(std::unique(places_.begin(), places_.end(),
                            [](const Place& a, const Place& b) { return a.time == b.time; }),
                places_.end());
  lay_out(history, shown);
}

int64_t Axis::invoke_of(const Operation& op) const {
  const int64_t min = std::numeric_limits<int64_t>::min();
  return op.invoke_ns < min + clock_error_ ? min : op.invoke_ns - clock_error_;
}

int64_t Axis::return_of(const Operation& op) const {
  const int64_t max = std::numeric_limits<int64_t>::max();
  if (!op.return_ns) return invoke_of(op);
  return *op.return_ns > max - clock_error_ ? max : *op.return_ns + clock_error_;
}

size_t Axis::place_of(int64_t time) const {
  const auto found = std::lower_bound(places_.begin(), places_.end(), time,
                                      [](const Place& a, int64_t b) { return a.time < b; });
  return static_cast<size_t>(found - places_.begin());
}

uint64_t Axis::median_distance() const {
  std::vector<uint64_t> gaps;
  for (size_t i = 1; i < places_.size(); ++i) gaps.push_back(distance(places_[i - 1], places_[i]));
  if (gaps.empty()) return 1;
  const auto middle = gaps.begin() + static_cast<ptrdiff_t>(gaps.size() / 2);
  std::nth_element(gaps.begin(), middle, gaps.end());
  return *middle;
}

void Axis::lay_out(const History& history, const std::vector<size_t>& shown) {
  std::vector<std::vector<size_t>> ending(places_.size());  // operations by place of return
  int64_t tail = 0;  // room for the labels of what has no return
  for (const size_t index : shown) {
    const Operation& op = history[index];
    if (op.return_ns) {
      ending[place_of(return_of(op))].push_back(index);
    } else {
      tail = std::max(tail, label_width(op));
    }
  }
  const uint64_t median = median_distance();
  int64_t x = kMargin;
  for (size_t i = 0; i < places_.size(); ++i) {
    if (i > 0) {
      const uint64_t gap = distance(places_[i - 1], places_[i]);
      x = places_[i - 1].end + 6 + static_cast<int64_t>(24 * gap / (gap + median));
    }
    places_[i].begin = places_[i].end = x;
    for (const size_t index : ending[i]) {
      const int64_t needed = begin_of(history[index]) + label_width(history[index]);
      places_[i].end = std::max(places_[i].end, needed);
      // Only an operation without duration needs width at this very time.
      if (invoke_of(history[index]) != places_[i].time) {
        places_[i].begin = std::max(places_[i].begin, needed);
      }
    }
    places_[i].end = std::max(places_[i].end, places_[i].begin);
  }
  width_ = (places_.empty() ? kMargin : places_.back().end) + tail + kMargin;
  if (width_ < kWidthMin && !places_.empty()) stretch();
}

void Axis::stretch() {
  const int64_t from = width_ - 2 * kMargin;
  const int64_t to = kWidthMin - 2 * kMargin;
  if (from <= 0) return;
  for (Place& place : places_) {
    place.begin = kMargin + (place.begin - kMargin) * to / from;
    place.end = kMargin + (place.end - kMargin) * to / from;
  }
  width_ = kWidthMin;
}

}  // namespace tally::sim::checker_html
