#include "sim/checker_sort.h"

#include <algorithm>
#include <array>

#include "sim/checker_states.h"

namespace tally::sim::checker {
namespace {

constexpr uint32_t kDigitBits = 11;
constexpr size_t kDigitCount = size_t{1} << kDigitBits;
constexpr size_t kRadixCountMin = 4096;  // below this, comparing is faster

bool key_before(const SortKey& a, const SortKey& b) {
  if (a.pre != b.pre) return a.pre < b.pre;
  if (a.is_increment != b.is_increment) return a.is_increment < b.is_increment;
  return a.slot < b.slot;
}

// One stable pass over the digit at `shift` of pre - low.
void radix_pass(const std::vector<SortKey>& from, std::vector<SortKey>& to, uint64_t low,
                uint32_t shift) {
  std::array<uint32_t, kDigitCount> cursors{};
  auto digit = [&](const SortKey& key) {
    return static_cast<size_t>((key.pre - low) >> shift) & (kDigitCount - 1);
  };
  for (const SortKey& key : from) ++cursors[digit(key)];
  uint32_t sum = 0;
  for (uint32_t& cursor : cursors) {
    const uint32_t count = cursor;
    cursor = sum;
    sum += count;
  }
  for (const SortKey& key : from) to[cursors[digit(key)]++] = key;
}

void radix_sort(std::vector<SortKey>& keys, uint64_t low, uint64_t high) {
  // Gets first, then stable by digits of pre from the lowest: only the digits that the range needs.
  std::vector<SortKey> other(keys.size());
  size_t get_count = 0;
  for (const SortKey& key : keys) get_count += key.is_increment == 0;
  size_t gets = 0;
  size_t increments = get_count;
  for (const SortKey& key : keys) other[key.is_increment == 0 ? gets++ : increments++] = key;
  keys.swap(other);
  for (uint32_t shift = 0; shift < 64 && ((high - low) >> shift) != 0; shift += kDigitBits) {
    radix_pass(keys, other, low, shift);
    keys.swap(other);
  }
}

// The gets of one value may come in any order of the axis; real time orders them by invocation.
void order_gets(const std::vector<Completed>& completed, std::vector<SortKey>& keys) {
  auto invoked_before = [&](const SortKey& a, const SortKey& b) {
    const int64_t x = completed[a.slot].invoke;
    const int64_t y = completed[b.slot].invoke;
    return x != y ? x < y : a.slot < b.slot;
  };
  for (size_t begin = 0; begin < keys.size();) {
    size_t end = begin + 1;
    if (keys[begin].is_increment == 0) {
      while (end < keys.size() && keys[end].is_increment == 0 && keys[end].pre == keys[begin].pre) {
        ++end;
      }
      const auto first = keys.begin() + static_cast<ptrdiff_t>(begin);
      const auto last = keys.begin() + static_cast<ptrdiff_t>(end);
      if (!std::is_sorted(first, last, invoked_before)) std::sort(first, last, invoked_before);
    }
    begin = end;
  }
}

}  // namespace

void sort_completed(const std::vector<Completed>& completed, bool upside_down,
                    std::vector<SortKey>& keys) {
  keys.resize(completed.size());
  const uint64_t flip = upside_down ? ~(uint64_t{1} << 63) : uint64_t{1} << 63;
  uint64_t low = ~uint64_t{0};
  uint64_t high = 0;
  bool sorted = true;
  for (uint32_t slot = 0; slot < completed.size(); ++slot) {
    const Completed& op = completed[slot];
    const uint64_t pre = static_cast<uint64_t>(op.pre) ^ flip;
    low = std::min(low, pre);
    high = std::max(high, pre);
    keys[slot] = {.pre = pre, .is_increment = op.is_increment() ? 1U : 0U, .slot = slot};
    sorted = sorted && (slot == 0 || key_before(keys[slot - 1], keys[slot]));
  }
  if (!sorted && keys.size() < kRadixCountMin) {
    std::sort(keys.begin(), keys.end(), key_before);
  } else if (!sorted) {
    radix_sort(keys, low, high);
  }
  order_gets(completed, keys);
}

void sort_by_invocation(std::vector<SearchOp>& ops) {
  auto before = [](const SearchOp& a, const SearchOp& b) {
    if (a.invoke != b.invoke) return a.invoke < b.invoke;
    return a.ret != b.ret ? a.ret < b.ret : a.index < b.index;
  };
  if (ops.size() < kRadixCountMin) {
    std::sort(ops.begin(), ops.end(), before);
    return;
  }
  std::vector<SortKey> keys(ops.size());
  uint64_t low = ~uint64_t{0};
  uint64_t high = 0;
  for (uint32_t slot = 0; slot < ops.size(); ++slot) {
    const uint64_t invoke = static_cast<uint64_t>(ops[slot].invoke) ^ uint64_t { 1 } << 63;
    low = std::min(low, invoke);
    high = std::max(high, invoke);
    keys[slot] = {.pre = invoke, .is_increment = 0, .slot = slot};
  }
  radix_sort(keys, low, high);
  std::vector<SearchOp> sorted;
  sorted.reserve(ops.size());
  for (const SortKey& key : keys) sorted.push_back(ops[key.slot]);
  ops.swap(sorted);
  for (auto begin = ops.begin(); begin != ops.end();) {  // those invoked at the same time
    auto end = begin + 1;
    while (end != ops.end() && end->invoke == begin->invoke) ++end;
    if (end - begin > 1) std::sort(begin, end, before);
    begin = end;
  }
}

}  // namespace tally::sim::checker
