#include "tests/checker_oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <vector>

namespace tally::sim {
namespace {

using Kind = Operation::Kind;
using Status = Operation::Status;
using Wide = __int128;

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

// Tries every order of one counter's operations. A set of applied operations is visited once.
class CounterOracle {
 public:
  CounterOracle(std::vector<Operation> ops, const CheckOptions& options)
      : ops_(std::move(ops)), options_(options), visited_(size_t{1} << ops_.size(), false) {}

  bool accepts() { return visit(0, options_.initial); }

 private:
  bool mandatory(size_t i) const { return ops_[i].status != Status::kUnknown; }

  bool precedes(size_t i, size_t j) const {
    const Wide error = options_.max_clock_error_ns;
    return mandatory(i) && Wide{*ops_[i].return_ns} + error < Wide{ops_[j].invoke_ns} - error;
  }

  // Whether operation i may take effect at `value`, and what the value is then.
  bool apply(size_t i, int64_t value, int64_t* after) const {
    const Operation& op = ops_[i];
    *after = value;
    if (op.kind == Kind::kGet) return op.status == Status::kUnknown || op.value == value;
    const Wide sum = Wide{value} + op.delta;
    const bool admitted = sum >= op.lower.value_or(kMin) && sum <= op.upper.value_or(kMax);
    if (op.status == Status::kRejected) return !admitted;
    if (!admitted || (op.status == Status::kOk && sum != op.value)) return false;
    *after = static_cast<int64_t>(sum);
    return true;
  }

  bool visit(size_t done, int64_t value) {
    if (visited_[done]) return false;
    visited_[done] = true;
    bool complete = true;
    for (size_t i = 0; i < ops_.size(); ++i) complete &= !mandatory(i) || (done >> i & 1) != 0;
    if (complete) return true;
    for (size_t i = 0; i < ops_.size(); ++i) {
      if ((done >> i & 1) != 0) continue;
      bool enabled = true;
      for (size_t j = 0; j < ops_.size(); ++j) {
        enabled &= j == i || (done >> j & 1) != 0 || !precedes(j, i);
      }
      int64_t after = 0;
      if (enabled && apply(i, value, &after) && visit(done | size_t{1} << i, after)) return true;
    }
    return false;
  }

  std::vector<Operation> ops_;
  const CheckOptions& options_;
  std::vector<bool> visited_;
};

// How one small history is drawn.
struct Shape {
  std::vector<int64_t> deltas;
  int64_t ambiguous_percent = 0;
  int64_t get_percent = 0;
  int64_t bounds =
      0;  // 0 none, 1 one for all on the moving side, 2 one pair for all, 3 each its own
  int64_t lower = kMin;
  int64_t upper = kMax;
  int64_t time_max = 0;
  int64_t width_max = 0;
  int64_t op_count = 0;
  int64_t name_count = 1;
};

int64_t clamped(Wide value) { return static_cast<int64_t>(std::clamp<Wide>(value, kMin, kMax)); }

int64_t draw_initial(TestRandom& random) {
  switch (random.between(0, 9)) {
    case 0: return kMax - random.between(0, 12);
    case 1: return kMin + random.between(0, 12);
    case 2: return random.between(-5, 5);
    default: return 0;
  }
}

std::vector<int64_t> draw_deltas(TestRandom& random) {
  static const std::vector<std::vector<int64_t>> kDomains = {
      {1},       {1, 10, 100}, {1, 2, 4}, {1, 3, 9},          {2, 3}, {1, 2, 3, 4, 5},
      {3, 5, 7}, {1, 2},       {2, 6},    {kMax, kMax - 1, 1}};
  const size_t last = kDomains.size() - (random.chance(5) ? 1 : 2);
  std::vector<int64_t> deltas =
      kDomains[static_cast<size_t>(random.between(0, static_cast<int64_t>(last)))];
  const int64_t signs = random.between(0, 3);  // 0, 1: up; 2: down; 3: both
  if (signs == 2) {
    for (int64_t& delta : deltas) delta = -delta;
  }
  if (signs == 3) {
    const size_t count = deltas.size();
    for (size_t i = 0; i < count; ++i) deltas.push_back(-deltas[i]);
  }
  if (random.chance(15)) deltas.push_back(0);
  return deltas;
}

// One sign, deltas that divide one another, one bound for all: what the simulator's counters are.
Shape draw_simulator_shape(TestRandom& random) {
  static const std::vector<std::vector<int64_t>> kChains = {{1, 10, 100}, {1, 2, 4}, {1, 3, 9},
                                                            {1, 10},      {2, 4, 8}, {5}};
  Shape shape;
  shape.deltas =
      kChains[static_cast<size_t>(random.between(0, static_cast<int64_t>(kChains.size()) - 1))];
  if (random.chance(40)) {
    for (int64_t& delta : shape.deltas) delta = -delta;
  }
  shape.ambiguous_percent = random.between(2, 7) * 10;
  shape.get_percent = random.between(0, 2) * 10;
  shape.bounds = 1;
  return shape;
}

Shape draw_shape(TestRandom& random, int64_t initial, bool like_simulator) {
  Shape shape;
  if (like_simulator) {
    shape = draw_simulator_shape(random);
  } else {
    shape.deltas = draw_deltas(random);
    shape.ambiguous_percent = random.between(0, 2) * 25;
    shape.get_percent = random.between(0, 2) * 20;
    shape.bounds = std::max<int64_t>(0, random.between(-2, 3));
  }
  int64_t largest = 0;
  for (int64_t delta : shape.deltas) largest = std::max(largest, delta < 0 ? -(delta + 1) : delta);
  const int64_t reach = largest > 50 ? 150 : 4 + random.between(0, 3 * largest);
  const bool down = shape.deltas[0] < 0;
  if (shape.bounds == 2 || (shape.bounds == 1 && !down)) {
    shape.upper = clamped(Wide{initial} + random.between(-1, reach));
  }
  if (shape.bounds == 2 || (shape.bounds == 1 && down)) {
    shape.lower = clamped(Wide{initial} - random.between(-1, reach));
  }
  shape.time_max = random.between(2, 24);
  shape.width_max = random.between(0, 10);
  shape.op_count = random.between(1, random.chance(10) ? 11 : 9);
  shape.name_count = random.chance(15) ? 2 : 1;
  return shape;
}

Operation draw_operation(TestRandom& random, const Shape& shape, int64_t initial) {
  Operation op;
  op.counter.push_back(random.between(0, shape.name_count - 1) == 0 ? 'a' : 'b');
  if (random.chance(shape.get_percent)) {
    op.kind = Kind::kGet;
  } else {
    op.delta = shape.deltas[static_cast<size_t>(
        random.between(0, static_cast<int64_t>(shape.deltas.size()) - 1))];
    int64_t lower = shape.lower;
    int64_t upper = shape.upper;
    if (shape.bounds == 3 && random.chance(60)) {
      if (random.chance(60)) lower = clamped(Wide{initial} + random.between(-8, 3));
      if (random.chance(60)) upper = clamped(Wide{initial} + random.between(-3, 8));
    }
    if (lower != kMin) op.lower = lower;
    if (upper != kMax) op.upper = upper;
  }
  op.status = random.chance(shape.ambiguous_percent) ? Status::kUnknown : Status::kOk;
  if (random.chance(3)) op.status = Status::kFailed;
  return op;
}

// Executes one operation on the true value and records what a client would see.
void execute(TestRandom& random, Operation& op, int64_t& value) {
  const Wide sum = Wide{value} + op.delta;
  const bool admitted = sum >= op.lower.value_or(kMin) && sum <= op.upper.value_or(kMax);
  if (op.status == Status::kFailed) return;
  if (op.status == Status::kUnknown) {
    if (op.kind == Kind::kAdd && admitted && random.chance(60)) value = static_cast<int64_t>(sum);
    return;
  }
  if (op.kind == Kind::kAdd && !admitted) {
    op.status = Status::kRejected;
    return;
  }
  if (op.kind == Kind::kAdd) value = static_cast<int64_t>(sum);
  op.value = value;
}

void mutate(TestRandom& random, History& history, const Shape& shape) {
  Operation& op =
      history[static_cast<size_t>(random.between(0, static_cast<int64_t>(history.size()) - 1))];
  const int64_t step = shape.deltas[static_cast<size_t>(
      random.between(0, static_cast<int64_t>(shape.deltas.size()) - 1))];
  switch (random.between(0, 6)) {
    case 0: op.value = clamped(Wide{op.value} + step); break;
    case 1: op.value = clamped(Wide{op.value} - step); break;
    case 2: op.delta = op.kind == Kind::kAdd ? step : 0; break;
    case 3: op.invoke_ns = std::max<int64_t>(op.invoke_ns, op.return_ns.value_or(0)); break;
    case 4:
      if (op.return_ns) op.return_ns = op.invoke_ns;
      break;
    case 5:
      if (op.status == Status::kOk && op.kind == Kind::kAdd) op.status = Status::kRejected;
      break;
    default:
      if (op.status == Status::kUnknown && op.return_ns) op.status = Status::kOk;
      break;
  }
}

}  // namespace

bool oracle_accepts(const History& history, const CheckOptions& options) {
  std::map<std::string, std::vector<Operation>> by_counter;
  for (const Operation& op : history) {
    if (op.status != Status::kFailed) by_counter[op.counter].push_back(op);
  }
  for (auto& [name, ops] : by_counter) {
    if (!CounterOracle(std::move(ops), options).accepts()) return false;
  }
  return true;
}

namespace {

// Executes operations at random points of their intervals.
void execute_all(TestRandom& random, const Shape& shape, TestCase& result) {
  std::vector<int64_t> points;
  for (int64_t i = 0; i < shape.op_count; ++i) points.push_back(random.between(0, shape.time_max));
  std::sort(points.begin(), points.end());
  int64_t values[2] = {result.options.initial, result.options.initial};
  for (int64_t i = 0; i < shape.op_count; ++i) {
    Operation op = draw_operation(random, shape, result.options.initial);
    op.client = static_cast<uint64_t>(i) + 1;
    op.sequence = 1;
    execute(random, op, values[op.counter[0] == 'a' ? 0 : 1]);
    const int64_t point = points[static_cast<size_t>(i)];
    op.invoke_ns = point - random.between(0, shape.width_max);
    op.return_ns = point + random.between(0, shape.width_max);
    if (op.status == Status::kUnknown && random.chance(70)) op.return_ns.reset();
    result.history.push_back(op);
  }
}

// The order of the lines must not matter.
void shuffle(TestRandom& random, History& history) {
  for (size_t i = history.size(); i > 1; --i) {
    std::swap(history[i - 1],
              history[static_cast<size_t>(random.between(0, static_cast<int64_t>(i) - 1))]);
  }
}

}  // namespace

TestCase make_small_case(uint64_t seed) {
  TestRandom random(seed);
  TestCase result;
  result.options.initial = draw_initial(random);
  if (random.chance(10)) result.options.max_clock_error_ns = random.between(1, 3);
  // Narrow beams, so that layers of small histories are cut and beams die and go back.
  if (random.chance(50)) result.options.beam_width = static_cast<size_t>(random.between(1, 2));
  const Shape shape = draw_shape(random, result.options.initial, random.chance(30));
  execute_all(random, shape, result);
  if (random.chance(75)) {
    for (int64_t i = random.between(1, 3); i > 0; --i) mutate(random, result.history, shape);
  }
  shuffle(random, result.history);
  return result;
}

TestCase make_long_case(uint64_t seed, int64_t op_count, bool like_simulator) {
  TestRandom random(seed);
  TestCase result;
  if (random.chance(30)) result.options.beam_width = static_cast<size_t>(random.between(1, 3));
  Shape shape = draw_shape(random, 0, like_simulator);
  const int64_t share_of_count = op_count * random.between(1, 60);
  if (shape.upper != kMax) shape.upper = share_of_count;
  if (shape.lower != kMin) shape.lower = -share_of_count;
  shape.ambiguous_percent = std::min<int64_t>(shape.ambiguous_percent, 30);
  shape.op_count = op_count;
  shape.time_max = op_count * random.between(1, 10);
  shape.width_max = random.between(0, 40);
  execute_all(random, shape, result);
  shuffle(random, result.history);
  return result;
}

std::string to_text(const History& history, const CheckOptions& options) {
  std::string out =
      fmt::format("initial {} clock error {}\n", options.initial, options.max_clock_error_ns);
  for (const Operation& op : history) {
    const char* kStatus[] = {"ok", "unknown", "rejected", "failed"};
    out += fmt::format(
        "  {} client {} {} {:+} {} value {} [{}, {}] bounds {}..{}\n", op.counter, op.client,
        op.kind == Kind::kGet ? "get" : "add", op.delta, kStatus[static_cast<size_t>(op.status)],
        op.value, op.invoke_ns, op.return_ns ? fmt::format("{}", *op.return_ns) : "-",
        op.lower ? fmt::format("{}", *op.lower) : "", op.upper ? fmt::format("{}", *op.upper) : "");
  }
  return out;
}

}  // namespace tally::sim
