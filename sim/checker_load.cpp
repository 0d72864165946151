#include "sim/checker_load.h"

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "core/check.h"
#include "sim/checker_explain.h"

namespace tally::sim::checker {
namespace {

using Wide = __int128;  // holds every sum and difference of two 64-bit values

// Numbers names in order of first appearance. The table is only ever probed, never iterated.
class NameTable {
 public:
  NameTable() : slots_(64, kEmpty) {}

  uint32_t number_of(const History& history, uint32_t index) {
    const std::string& name = history[index].counter;
    if (!firsts_.empty() && history[firsts_[last_]].counter == name) return last_;
    if (2 * firsts_.size() >= slots_.size()) grow(history);
    size_t slot = hash(name) & (slots_.size() - 1);
    while (slots_[slot] != kEmpty && history[firsts_[slots_[slot]]].counter != name) {
      slot = (slot + 1) & (slots_.size() - 1);
    }
    if (slots_[slot] == kEmpty) {
      slots_[slot] = static_cast<uint32_t>(firsts_.size());
      firsts_.push_back(index);
    }
    last_ = slots_[slot];
    return last_;
  }

  size_t size() const { return firsts_.size(); }

 private:
  static constexpr uint32_t kEmpty = ~uint32_t{0};

  static uint64_t hash(const std::string& name) { return XXH3_64bits(name.data(), name.size()); }

  void grow(const History& history) {
    slots_.assign(2 * slots_.size(), kEmpty);
    for (uint32_t number = 0; number < firsts_.size(); ++number) {
      size_t slot = hash(history[firsts_[number]].counter) & (slots_.size() - 1);
      while (slots_[slot] != kEmpty) slot = (slot + 1) & (slots_.size() - 1);
      slots_[slot] = number;
    }
  }

  std::vector<uint32_t> slots_;   // a power of two of them, at most half used
  std::vector<uint32_t> firsts_;  // by number: the first operation with that name
  uint32_t last_ = 0;             // histories come in runs of one name
};

int64_t saturate(Wide value) {
  return static_cast<int64_t>(std::clamp<Wide>(value, kTimeMin, kTimeMax));
}

class Loader {
 public:
  Loader(const History& history, const CheckOptions& options, CounterOps& ops, Explanation& why)
      : history_(history), options_(options), ops_(ops), why_(why) {}

  // False when the operation contradicts itself.
  bool load(uint32_t index) {
    const Operation& op = history_[index];
    switch (op.status) {
      case Operation::Status::kFailed: return true;
      case Operation::Status::kUnknown: load_ambiguous(index); return true;
      case Operation::Status::kRejected: return load_rejected(index);
      case Operation::Status::kOk: return load_completed(index);
    }
    return true;
  }

 private:
  int64_t widened_invoke(const Operation& op) const {
    return saturate(Wide{op.invoke_ns} - options_.max_clock_error_ns);
  }
  int64_t widened_return(const Operation& op) const {
    return saturate(Wide{op.return_ns.value_or(kTimeMax)} + options_.max_clock_error_ns);
  }
  static int64_t lower_of(const Operation& op) { return op.lower.value_or(kValueMin); }
  static int64_t upper_of(const Operation& op) { return op.upper.value_or(kValueMax); }

  void note_sign(int64_t delta) {
    ops_.has_positive |= delta > 0;
    ops_.has_negative |= delta < 0;
  }

  bool fail(uint32_t index, std::string text) {
    why_.text = std::move(text);
    why_.blame(index);
    why_.contradictory = true;
    return false;
  }

  bool load_completed(uint32_t index) {
    const Operation& op = history_[index];
    const int64_t delta = op.kind == Operation::Kind::kAdd ? op.delta : 0;
    const Wide pre = Wide{op.value} - delta;
    if (pre < kValueMin || pre > kValueMax) {
      return fail(index, fmt::format("Counter {}: {} can only have started from a value outside 64 "
                                     "bits.",
                                     quoted(op.counter), describe(op)));
    }
    if (op.kind == Operation::Kind::kAdd && (op.value < lower_of(op) || op.value > upper_of(op))) {
      return fail(index,
                  fmt::format("Counter {}: {} succeeded with a result outside its own bounds "
                              "{}.",
                              quoted(op.counter), describe(op), describe_bounds(op)));
    }
    note_sign(delta);
    ops_.completed.push_back({.pre = static_cast<int64_t>(pre),
                              .post = op.value,
                              .invoke = widened_invoke(op),
                              .ret = widened_return(op),
                              .index = index});
    return true;
  }

  // value + delta must lie outside [lower, upper]; so the value lies outside that interval shifted
  // by -delta. The reason the server gave (bounds or overflow) is not held against it: both are
  // refusals for where the sum would have been.
  bool load_rejected(uint32_t index) {
    const Operation& op = history_[index];
    const Wide low = std::max<Wide>(Wide{lower_of(op)} - op.delta, kValueMin);
    const Wide high = std::min<Wide>(Wide{upper_of(op)} - op.delta, kValueMax);
    if (low == kValueMin && high == kValueMax) {
      return fail(index,
                  fmt::format("Counter {}: {} was refused, but no value of the counter could "
                              "have been a reason to.",
                              quoted(op.counter), describe(op)));
    }
    Rejected rejected{.forbidden_low = 1,
                      .forbidden_high = 0,
                      .invoke = widened_invoke(op),
                      .ret = widened_return(op),
                      .index = index};
    if (low <= high) {
      rejected.forbidden_low = static_cast<int64_t>(low);
      rejected.forbidden_high = static_cast<int64_t>(high);
    }
    ops_.rejected.push_back(rejected);
    return true;
  }

  void load_ambiguous(uint32_t index) {
    const Operation& op = history_[index];
    if (op.kind == Operation::Kind::kGet || op.delta == 0) return;  // explains nothing
    if (lower_of(op) > upper_of(op)) return;                        // can never succeed
    note_sign(op.delta);
    ops_.ambiguous.push_back({.delta = op.delta,
                              .lower = lower_of(op),
                              .upper = upper_of(op),
                              .invoke = widened_invoke(op),
                              .index = index});
  }

  const History& history_;
  const CheckOptions& options_;
  CounterOps& ops_;
  Explanation& why_;
};

}  // namespace

void CounterOps::clear() {
  completed.clear();
  rejected.clear();
  ambiguous.clear();
  has_positive = false;
  has_negative = false;
}

Grouping group_by_counter(const History& history) {
  CHECK(history.size() < ~uint32_t{0}, "{} operations", history.size());
  const uint32_t op_count = static_cast<uint32_t>(history.size());
  Grouping grouping;
  NameTable names;
  std::vector<uint32_t> number_by_op(op_count);
  for (uint32_t i = 0; i < op_count; ++i) {
    number_by_op[i] = names.number_of(history, i);
    const Operation& op = history[i];
    const bool unknown = op.status == Operation::Status::kUnknown;
    grouping.answered_count += !unknown && op.status != Operation::Status::kFailed;
    grouping.unknown_count += unknown;
    grouping.ambiguous_count += unknown && op.kind == Operation::Kind::kAdd && op.delta != 0;
  }

  grouping.starts.assign(names.size() + 1, 0);
  for (uint32_t number : number_by_op) ++grouping.starts[number + 1];
  for (size_t i = 1; i < grouping.starts.size(); ++i) grouping.starts[i] += grouping.starts[i - 1];
  std::vector<uint32_t> cursors(grouping.starts.begin(), grouping.starts.end() - 1);
  grouping.order.resize(op_count);
  for (uint32_t i = 0; i < op_count; ++i) grouping.order[cursors[number_by_op[i]]++] = i;
  return grouping;
}

Answer load_counter(const History& history, const CheckOptions& options, const Grouping& grouping,
                    size_t counter, CounterOps& ops, Explanation& why) {
  ops.clear();
  ops.history = &history;
  ops.initial = options.initial;
  const uint32_t begin = grouping.starts[counter];
  const uint32_t end = grouping.starts[counter + 1];
  ops.name = history[grouping.order[begin]].counter;
  ops.completed.reserve(end - begin);
  Loader loader(history, options, ops, why);
  for (uint32_t i = begin; i < end; ++i) {
    if (!loader.load(grouping.order[i])) return Answer::kViolation;
  }
  return Answer::kOk;
}

}  // namespace tally::sim::checker
