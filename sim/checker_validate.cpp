// The two functions that look at a history without any of the algorithms: is it well formed, and
// does a linearization prove it. On purpose they share nothing with the rest of the checker.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <unordered_map>

#include "sim/checker.h"

namespace tally::sim {
namespace {

using Kind = Operation::Kind;
using Status = Operation::Status;
using Wide = __int128;

constexpr size_t kNone = std::numeric_limits<size_t>::max();

std::string name_of(const History& history, size_t index) {
  return fmt::format("operation {} (client {} seq {})", index, history[index].client,
                     history[index].sequence);
}

// What is wrong with one operation by itself, or empty.
std::string operation_error(const Operation& op) {
  if (op.kind != Kind::kAdd && op.kind != Kind::kGet) {
    return fmt::format("has the unknown kind {}", static_cast<int>(op.kind));
  }
  if (op.status > Status::kFailed) {
    return fmt::format("has the unknown status {}", static_cast<int>(op.status));
  }
  if (op.kind == Kind::kGet && op.status == Status::kRejected) {
    return "is a get that was rejected; only increments can be";
  }
  if (!op.return_ns && (op.status == Status::kOk || op.status == Status::kRejected)) {
    return "has an answer but no return time";
  }
  if (op.return_ns && *op.return_ns < op.invoke_ns) {
    return fmt::format("returns at {}, before its invocation at {}", *op.return_ns, op.invoke_ns);
  }
  return {};
}

// True when the operations of every lane come one after the other, each with a greater sequence
// number and invoked no earlier than the one before it returned: then no two of them clash. Nearly
// every history is written that way. False says nothing.
bool lanes_are_in_order(const History& history) {
  struct Lane {  // its last operation
    uint64_t sequence;
    int64_t ret;
    bool goes_on;
  };
  std::unordered_map<uint64_t, Lane> lanes;
  for (const Operation& op : history) {
    const Lane now{op.sequence, op.return_ns.value_or(0), op.return_ns.has_value()};
    const auto [it, fresh] = lanes.try_emplace(op.client, now);
    if (fresh) continue;
    Lane& before = it->second;
    if (!before.goes_on || op.invoke_ns < before.ret || op.sequence <= before.sequence) {
      return false;
    }
    before = now;
  }
  return true;
}

// The smallest position whose (client, seq) was used before, or kNone.
size_t first_duplicate(const History& history, std::vector<size_t>& order) {
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const Operation& x = history[a];
    const Operation& y = history[b];
    if (x.client != y.client) return x.client < y.client;
    if (x.sequence != y.sequence) return x.sequence < y.sequence;
    return a < b;
  });
  size_t first = kNone;
  for (size_t i = 1; i < order.size(); ++i) {
    const Operation& before = history[order[i - 1]];
    const Operation& op = history[order[i]];
    if (before.client == op.client && before.sequence == op.sequence) {
      first = std::min(first, order[i]);
    }
  }
  return first;
}

// Two operations of one lane that are open at once: the later by position, smallest first; and the
// other one of the pair.
std::pair<size_t, size_t> first_overlap(const History& history, std::vector<size_t>& order) {
  auto end_of = [&](size_t index) {
    return history[index].return_ns.value_or(std::numeric_limits<int64_t>::max());
  };
  auto ends_lane = [&](size_t index) { return !history[index].return_ns; };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const Operation& x = history[a];
    const Operation& y = history[b];
    if (x.client != y.client) return x.client < y.client;
    if (x.invoke_ns != y.invoke_ns) return x.invoke_ns < y.invoke_ns;
    if (ends_lane(a) != ends_lane(b)) return ends_lane(b);
    if (end_of(a) != end_of(b)) return end_of(a) < end_of(b);
    return a < b;
  });
  std::pair<size_t, size_t> first{kNone, kNone};
  for (size_t i = 1; i < order.size(); ++i) {
    const size_t before = order[i - 1];
    const size_t after = order[i];
    if (history[before].client != history[after].client) continue;
    if (!ends_lane(before) && end_of(before) <= history[after].invoke_ns) continue;
    const std::pair<size_t, size_t> found{std::max(before, after), std::min(before, after)};
    if (found.first < first.first) first = found;
  }
  return first;
}

// Replays one counter after the other.
class Replay {
 public:
  Replay(const History& history, const CheckOptions& options)
      : history_(history), options_(options), seen_(history.size(), false) {}

  std::string run(const std::vector<uint32_t>& linearization) {
    for (size_t i = 0; i < linearization.size(); ++i) {
      const uint32_t index = linearization[i];
      if (index >= history_.size()) return fmt::format("index {} is no operation", index);
      if (seen_[index]) return name_of(history_, index) + " appears twice";
      seen_[index] = true;
      if (counters_.empty() || *counters_.back() != history_[index].counter) {
        start_counter(history_[index].counter);
      }
      const char* error = step(history_[index]);
      if (error != nullptr) return name_of(history_, index) + " " + error;
    }
    for (size_t i = 0; i < history_.size(); ++i) {
      const Status status = history_[i].status;
      if ((status == Status::kOk || status == Status::kRejected) && !seen_[i]) {
        return name_of(history_, i) + " is missing";
      }
    }
    return {};
  }

 private:
  // A counter's operations must stand together, or its value would start afresh in the middle.
  void start_counter(const std::string& counter) {
    counters_.push_back(&counter);
    value_ = options_.initial;
    invoke_max_ = std::numeric_limits<Wide>::min();
  }

  // What is wrong with taking the operation next, or null.
  const char* step(const Operation& op) {
    if (op.status == Status::kFailed) return "failed, but takes effect";
    // Everything before this one must have been invoked by the time this one returned.
    const Wide error = options_.max_clock_error_ns;
    if (op.status != Status::kUnknown && Wide{*op.return_ns} + error < invoke_max_) {
      return "returned before an operation ahead of it was invoked";
    }
    invoke_max_ = std::max(invoke_max_, Wide{op.invoke_ns} - error);

    if (op.kind == Kind::kGet) {
      if (op.status == Status::kOk && op.value != value_) return "reads another value";
      return nullptr;
    }
    const Wide sum = Wide{value_} + op.delta;
    const Wide low = op.lower.value_or(std::numeric_limits<int64_t>::min());
    const Wide high = op.upper.value_or(std::numeric_limits<int64_t>::max());
    const bool admitted = low <= sum && sum <= high;
    if (op.status == Status::kRejected) return admitted ? "is refused without a reason" : nullptr;
    if (!admitted) return "leaves its bounds";
    if (op.status == Status::kOk && op.value != sum) return "answers another value";
    value_ = static_cast<int64_t>(sum);
    return nullptr;
  }

 public:
  // Empty, or the counter whose operations do not stand together.
  std::string scattered_counter() {
    std::sort(counters_.begin(), counters_.end(),
              [](const std::string* a, const std::string* b) { return *a < *b; });
    for (size_t i = 1; i < counters_.size(); ++i) {
      if (*counters_[i - 1] == *counters_[i]) return *counters_[i];
    }
    return {};
  }

 private:
  const History& history_;
  const CheckOptions& options_;
  std::vector<bool> seen_;
  std::vector<const std::string*> counters_;
  int64_t value_ = 0;
  Wide invoke_max_ = 0;
};

}  // namespace

std::string validate_history(const History& history) {
  size_t first = kNone;
  std::string error;
  for (size_t i = 0; i < history.size() && first == kNone; ++i) {
    error = operation_error(history[i]);
    if (!error.empty()) first = i;
  }
  // What stands before the first operation that is wrong by itself is then well formed.
  if (lanes_are_in_order(history)) {
    return first == kNone ? "" : name_of(history, first) + " " + error;
  }
  std::vector<size_t> order(history.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const size_t duplicate = first_duplicate(history, order);
  if (duplicate < first) {
    first = duplicate;
    error = "has a sequence number that its client used before";
  }
  const auto [overlap, other] = first_overlap(history, order);
  if (overlap < first) {
    first = overlap;
    error = fmt::format("is open at the same time as {} of its lane", name_of(history, other));
  }
  return first == kNone ? "" : name_of(history, first) + " " + error;
}

std::string verify_linearization(const History& history, const CheckOptions& options,
                                 const std::vector<uint32_t>& linearization) {
  Replay replay(history, options);
  std::string error = replay.run(linearization);
  if (!error.empty()) return error;
  const std::string scattered = replay.scattered_counter();
  return scattered.empty() ? ""
                           : "the operations of counter " + scattered + " do not stand together";
}

}  // namespace tally::sim
