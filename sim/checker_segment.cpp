#include "sim/checker_segment.h"

#include <algorithm>
#include <limits>

namespace tally::sim {
namespace {

constexpr size_t kShownMax = 300;  // operations
constexpr size_t kAroundMax = 40;  // of these, before and after each one that is marked

// Of an ok: the operations of the counter up to the kShownMax-th that took effect, and what else
// was open by then.
void choose_from_start(const History& history, const CheckResult& result,
                       const std::vector<size_t>& by_invoke, Segment& segment) {
  std::vector<bool> effective(history.size(), false);
  for (const uint32_t index : result.linearization) {
    if (history[index].counter != segment.counter) continue;
    effective[index] = true;
    if (segment.path.size() < kShownMax) segment.path.push_back(index);
  }
  segment.shown = segment.path;
  int64_t last_invoke = segment.path.empty() ? std::numeric_limits<int64_t>::max()
                                             : std::numeric_limits<int64_t>::min();
  for (const size_t index : segment.path) {
    last_invoke = std::max(last_invoke, history[index].invoke_ns);
  }
  for (const size_t index : by_invoke) {
    if (effective[index]) continue;
    if (history[index].invoke_ns > last_invoke || segment.shown.size() >= 2 * kShownMax) break;
    segment.shown.push_back(index);
  }
}

// The marked operations, and those invoked next before and after each of them.
void choose_around(const History& history, const std::vector<size_t>& marked,
                   const std::vector<size_t>& by_invoke, Segment& segment) {
  std::vector<bool> chosen(history.size(), false);
  std::vector<size_t> ranks;
  const auto choose = [&](size_t rank) {
    if (rank >= by_invoke.size() || segment.shown.size() >= kShownMax) return;
    if (chosen[by_invoke[rank]]) return;
    chosen[by_invoke[rank]] = true;
    segment.shown.push_back(by_invoke[rank]);
  };
  std::vector<bool> is_marked(history.size(), false);
  for (const size_t index : marked) is_marked[index] = true;
  for (size_t rank = 0; rank < by_invoke.size(); ++rank) {
    if (!is_marked[by_invoke[rank]]) continue;
    choose(rank);
    ranks.push_back(rank);
  }
  for (size_t away = 1; away <= kAroundMax && segment.shown.size() < kShownMax; ++away) {
    for (const size_t rank : ranks) {
      choose(rank + away);
      if (rank >= away) choose(rank - away);
    }
  }
}

}  // namespace

Segment choose_segment(const History& history, const CheckResult& result) {
  Segment segment;
  if (history.empty()) return segment;
  const size_t first = !result.culprits.empty()        ? result.culprits.front()
                       : !result.linearization.empty() ? result.linearization.front()
                                                       : 0;
  segment.counter = history[first].counter;
  std::vector<size_t> by_invoke;
  for (size_t i = 0; i < history.size(); ++i) {
    if (history[i].counter == segment.counter) {
      by_invoke.push_back(i);
    } else {
      segment.other_counters = true;
    }
  }
  const auto earlier = [&](size_t a, size_t b) {
    return history[a].invoke_ns < history[b].invoke_ns;
  };
  std::stable_sort(by_invoke.begin(), by_invoke.end(), earlier);
  segment.counter_op_count = by_invoke.size();
  if (result.culprits.empty()) {
    choose_from_start(history, result, by_invoke, segment);
  } else {
    choose_around(history, result.culprits, by_invoke, segment);
  }
  std::stable_sort(segment.shown.begin(), segment.shown.end(), earlier);
  return segment;
}

}  // namespace tally::sim
