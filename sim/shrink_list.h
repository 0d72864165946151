// Delta debugging of a list: leaves out ever smaller pieces for as long as the rest still serves.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace tally::sim {

// Every `step`-th item, the last one among them.
template <class Item>
std::vector<Item> thinned(const std::vector<Item>& items, size_t step) {
  std::vector<Item> kept;
  for (size_t i = (items.size() - 1) % step; i < items.size(); i += step) kept.push_back(items[i]);
  return kept;
}

// How small the pieces get that are tried: a sixteenth of the list, or single items.
enum class Thoroughness : bool { kCoarse, kOneMinimal };

// Reduces `items` and returns whether any is gone. `serves` says whether a shorter list still does
// what matters; the list as given is taken to. In the end no single item can be left out if so
// asked, unless `serves` gives up or answers differently over time. Later items go first: what
// happens late has fewer consequences.
template <class Item, class Serves>
bool reduce_list(std::vector<Item>& items, Serves serves,
                 Thoroughness thoroughness = Thoroughness::kOneMinimal) {
  if (items.empty()) return false;
  if (serves(std::vector<Item>())) {
    items.clear();
    return true;
  }
  bool reduced = false;
  // Where any will do, most can go at once.
  for (size_t step = 64; step >= 2; step /= 2) {
    if (items.size() < 2 * step) continue;
    std::vector<Item> kept = thinned(items, step);
    if (!serves(kept)) continue;
    items = std::move(kept);
    reduced = true;
  }
  for (size_t size = (items.size() + 1) / 2;;) {
    bool removed = false;
    for (size_t end = items.size(); end > 0;) {
      const size_t begin = end > size ? end - size : 0;
      std::vector<Item> rest(items.begin(), items.begin() + static_cast<ptrdiff_t>(begin));
      rest.insert(rest.end(), items.begin() + static_cast<ptrdiff_t>(end), items.end());
      // The empty list has been tried.
      if (!rest.empty() && serves(rest)) {
        items = std::move(rest);
        removed = true;
      }
      end = begin;
    }
    reduced |= removed;
    if (size == 1 && !removed) return reduced;
    if (thoroughness == Thoroughness::kCoarse && size * 16 <= items.size()) return reduced;
    if (size > 1) size = std::min((size + 1) / 2, (items.size() + 1) / 2);
  }
}

}  // namespace tally::sim
