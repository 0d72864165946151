// A counter that only grows (or only falls: it is turned upside down) has at most one order of its
// completed operations. Sorted by (value before, gets first) they are a path up the value axis: an
// increment covers the open interval from pre to post, and no two may overlap.
//
// Real time is respected iff no operation returns before the invocation of one of a strictly
// earlier class (the gets of one value form a class; else each operation is one).
//
// Gaps of the path are filled by ambiguous increments, see checker_fill.h. One may fill a gap iff
// it was invoked by the gap's limit, the minimum return over everything that comes after the gap.
//
// Refusals. In linearization order the value only grows, so a refused increment, which saw the
// value outside a forbidden interval [low, high], saw it either still below low ("early") or
// already above high ("late"). Think of operations as points in their intervals:
//  - late means: the value reached high + 1 by its return. That is a return, a deadline, for all
//  the
//    completed operations below high + 1; and if high + 1 lies in a gap, a stage of the filling.
//    When high + 1 lies above all completed operations, trailing ambiguous ones must reach it.
//  - early means: whatever lifts the value to low or above came after its invocation, that is an
//    invocation, a release, for all the completed operations above.
// Deadlines and releases conflict only pairwise, and two deadlines or two releases never do. So
// with nothing ambiguous: call everything early that can be, and late what then cannot; each such
// deadline can force others to be late, until nothing changes (Horn clauses, and exact for that
// reason). With ambiguous increments, refusals that are early whatever the others do are set aside,
// the ones that can only be late become stages, and the rest goes to the search.
// One bound for all operations, on the side to which the counter moves, makes every refusal late:
// the simulator's counters are of that kind.
//
// Bounds of ambiguous increments. Whatever fills a gap ends at or below the gap's upper end, so an
// upper bound at or above that holds by itself; a common bound below it proves the gap unfillable,
// for the last filler would have to leave the bound. Trailing ones share one bound, which then is
// the `high` of their stages. Lower bounds at or below initial + delta hold always. Ambiguous
// increments that could not succeed even from the initial value never do and are dropped. Other
// bounds go to the search.
//
// Heights: v -> v + 2^63, or its complement when upside down; both keep (or reverse) the order, and
// differences are unsigned 64-bit numbers that cannot overflow.
#include "sim/checker_monotone.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "sim/checker_explain.h"
#include "sim/checker_fill.h"
#include "sim/checker_sort.h"

namespace tally::sim::checker {
namespace {

constexpr uint64_t kHeightMax = ~uint64_t{0};
constexpr uint32_t kNoItem = ~uint32_t{0};

// A refusal in heights, and what was decided about it.
struct Refusal {
  enum class Choice : uint8_t { kFree, kEarly, kLate };
  uint64_t low;
  uint64_t high;
  int64_t invoke;
  int64_t ret;
  uint32_t index;
  Choice choice;
};

struct Gap {
  uint32_t item;  // before which it lies
  uint64_t from;
  uint64_t to;
};

class MonotoneSolver {
 public:
  MonotoneSolver(const CounterOps& ops, uint64_t* budget, Explanation& why)
      : ops_(ops), budget_(budget), why_(why), upside_down_(ops.has_negative) {}

  Answer solve(Linearization& order) {
    initial_ = height(ops_.initial);
    item_count_ = static_cast<uint32_t>(ops_.completed.size());
    sort_completed(ops_.completed, upside_down_, keys_);
    load_pool();
    if (!sweep()) return Answer::kViolation;
    if (!classify_refusals()) return Answer::kViolation;
    Answer answer = settle_refusals();
    if (answer != Answer::kOk) return answer;
    answer = plan_stages();
    if (answer != Answer::kOk) return answer;
    answer = fill();
    if (answer != Answer::kOk) return answer;
    write(order);
    return Answer::kOk;
  }

 private:
  uint64_t height(int64_t value) const {
    const uint64_t up = static_cast<uint64_t>(value) ^ (uint64_t{1} << 63);
    return upside_down_ ? ~up : up;
  }
  int64_t value_at(uint64_t height) const {
    return static_cast<int64_t>((upside_down_ ? ~height : height) ^ (uint64_t{1} << 63));
  }
  const Completed& item(uint32_t p) const { return ops_.completed[keys_[p].slot]; }
  uint64_t pre(uint32_t p) const { return keys_[p].pre; }
  uint64_t post(uint32_t p) const { return height(item(p).post); }
  // The height after the first `count` items.
  uint64_t height_after(uint32_t count) const { return count == 0 ? initial_ : post(count - 1); }
  std::string words(uint32_t index) const { return describe((*ops_.history)[index]); }
  const char* direction() const { return upside_down_ ? "falls" : "grows"; }

  void load_pool();
  bool sweep();
  bool explain_overlap(uint32_t p);
  bool explain_unproduced(uint32_t p, uint64_t from);
  bool explain_order(uint32_t earlier, uint32_t later);
  bool classify_refusals();
  uint32_t first_at_or_above(uint64_t h) const;
  bool compute_deadlines();
  bool explain_too_late(uint32_t p, const Refusal& refusal);
  Answer settle_refusals();
  Answer plan_stages();
  void plan_gap(const Gap& gap, int64_t limit, size_t* next_late);
  Answer check_bounds() const;
  Answer fill();
  void explain_fill(const FillFailure& failure);
  bool explain_never_reached(const Refusal& refusal);
  void explain_out_of_reach(const Refusal& refusal);
  void write(Linearization& order) const;
  void write_with_refusals(const Linearization& base, Linearization& order) const;

  const CounterOps& ops_;
  uint64_t* budget_;
  Explanation& why_;
  const bool upside_down_;
  uint64_t initial_ = 0;
  uint32_t item_count_ = 0;
  std::vector<SortKey> keys_;  // the completed operations, sorted: the items
  std::vector<PoolOp> pool_;   // sorted by (invoke, index)
  uint64_t pool_upper_min_ = kHeightMax;
  uint64_t pool_upper_max_ = 0;
  bool pool_lower_harmless_ = true;
  std::vector<Gap> gaps_;
  std::vector<Refusal> refusals_;
  std::vector<uint32_t> late_;  // indexes into refusals_, by (high, ret)
  // Only with refusals. Over what comes after the first p items: the earliest return, late refusals
  // in or above the gap before item p included. One more entry for the end.
  std::vector<int64_t> deadlines_;
  std::vector<Stage> stages_;
  Filling filling_;
};

void MonotoneSolver::load_pool() {
  pool_.reserve(ops_.ambiguous.size());
  for (const Ambiguous& op : ops_.ambiguous) {
    const uint64_t delta = upside_down_ ? uint64_t{0} - static_cast<uint64_t>(op.delta)
                                        : static_cast<uint64_t>(op.delta);
    const uint64_t upper = height(upside_down_ ? op.lower : op.upper);
    const uint64_t lower = height(upside_down_ ? op.upper : op.lower);
    if (upper < initial_ || delta > upper - initial_) continue;  // can never succeed
    pool_upper_min_ = std::min(pool_upper_min_, upper);
    pool_upper_max_ = std::max(pool_upper_max_, upper);
    pool_lower_harmless_ &= initial_ + delta >= lower;
    pool_.push_back({.delta = delta, .invoke = op.invoke, .index = op.index});
  }
  auto before = [](const PoolOp& a, const PoolOp& b) {
    return a.invoke != b.invoke ? a.invoke < b.invoke : a.index < b.index;
  };
  if (!std::is_sorted(pool_.begin(), pool_.end(), before)) {
    std::sort(pool_.begin(), pool_.end(), before);
  }
}

// One pass up the path: overlaps, gaps that nothing can fill, and real time.
bool MonotoneSolver::sweep() {
  uint64_t at = initial_;
  int64_t closed_max = kTimeMin;  // the latest invocation of a strictly earlier class
  int64_t open_max = kTimeMin;    // the same, this class included
  uint32_t closed_item = 0;
  uint32_t open_item = 0;
  for (uint32_t p = 0; p < item_count_; ++p) {
    const Completed& op = item(p);
    if (pre(p) < at) return explain_overlap(p);
    if (pre(p) > at) {
      if (pool_.empty()) return explain_unproduced(p, at);
      gaps_.push_back({.item = p, .from = at, .to = pre(p)});
    }
    const bool new_class =
        p == 0 || keys_[p].is_increment != 0 || keys_[p - 1].is_increment != 0 || pre(p) != at;
    if (new_class) {
      closed_max = open_max;
      closed_item = open_item;
    }
    if (op.ret < closed_max) return explain_order(closed_item, p);
    if (op.invoke > open_max) {
      open_max = op.invoke;
      open_item = p;
    }
    at = post(p);
  }
  return true;
}

bool MonotoneSolver::explain_overlap(uint32_t p) {
  const Completed& op = item(p);
  why_.blame(op.index);
  if (p == 0) {
    why_.text = fmt::format("Counter {} starts at {} and only {}, yet {} saw {}.",
                            quoted(ops_.name), ops_.initial, direction(), words(op.index), op.pre);
    return false;
  }
  const Completed& other = item(p - 1);
  why_.blame(other.index);
  why_.text = fmt::format(
      "Counter {}: {} needs the value {}, but {} took it from {} to {} in one "
      "step and it only {}.",
      quoted(ops_.name), words(op.index), op.pre, words(other.index), other.pre, other.post,
      direction());
  if (op.pre == other.pre) {
    why_.text =
        fmt::format("Counter {}: {} and {} both started from the value {}, and it only {}.",
                    quoted(ops_.name), words(op.index), words(other.index), op.pre, direction());
  }
  return false;
}

bool MonotoneSolver::explain_unproduced(uint32_t p, uint64_t from) {
  why_.blame(item(p).index);
  std::string source = "its starting value";
  if (p > 0) {
    source = words(item(p - 1).index);
    why_.blame(item(p - 1).index);
  }
  why_.text = fmt::format(
      "Counter {}: {} needs the value {}, but the highest one known before it is "
      "{} ({}) and no increment leads on from there.",
      quoted(ops_.name), words(item(p).index), item(p).pre, value_at(from), source);
  if (upside_down_) {
    why_.text = fmt::format(
        "Counter {}: {} needs the value {}, but the lowest one known before it "
        "is {} ({}) and no decrement leads on from there.",
        quoted(ops_.name), words(item(p).index), item(p).pre, value_at(from), source);
  }
  return false;
}

bool MonotoneSolver::explain_order(uint32_t earlier, uint32_t later) {
  why_.blame(item(earlier).index);
  why_.blame(item(later).index);
  why_.text = fmt::format(
      "Counter {} only {}, so by their values {} comes before {}; but the latter "
      "had returned before the former was invoked.",
      quoted(ops_.name), direction(), words(item(earlier).index), words(item(later).index));
  return false;
}

// The first item after which the height is at least h; item_count_ when there is none.
uint32_t MonotoneSolver::first_at_or_above(uint64_t h) const {
  uint32_t low = 0;
  uint32_t high = item_count_;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (post(middle) < h) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

bool MonotoneSolver::classify_refusals() {
  refusals_.reserve(ops_.rejected.size());
  for (const Rejected& op : ops_.rejected) {
    Refusal refusal{.low = height(upside_down_ ? op.forbidden_high : op.forbidden_low),
                    .high = height(upside_down_ ? op.forbidden_low : op.forbidden_high),
                    .invoke = op.invoke,
                    .ret = op.ret,
                    .index = op.index,
                    .choice = Refusal::Choice::kEarly};
    if (op.forbids_nothing() || initial_ > refusal.high) {
      refusal.choice = Refusal::Choice::kFree;  // from the start, and forever
    } else if (initial_ >= refusal.low) {
      if (refusal.high == kHeightMax) return explain_never_reached(refusal);
      refusal.choice = Refusal::Choice::kLate;
    }
    refusals_.push_back(refusal);
  }
  return true;
}

bool MonotoneSolver::explain_never_reached(const Refusal& refusal) {
  why_.blame(refusal.index);
  why_.text = fmt::format(
      "Counter {} starts at {} and only {}, so {} cannot have met a value that "
      "was a reason to refuse it.",
      quoted(ops_.name), ops_.initial, direction(), words(refusal.index));
  return false;
}

// Fills late_ and deadlines_. False when an item below a late refusal's threshold was invoked too
// late for it.
bool MonotoneSolver::compute_deadlines() {
  late_.clear();
  for (uint32_t r = 0; r < refusals_.size(); ++r) {
    if (refusals_[r].choice == Refusal::Choice::kLate) late_.push_back(r);
  }
  std::sort(late_.begin(), late_.end(), [&](uint32_t a, uint32_t b) {
    const Refusal& x = refusals_[a];
    const Refusal& y = refusals_[b];
    if (x.high != y.high) return x.high < y.high;
    return x.ret != y.ret ? x.ret > y.ret : a < b;
  });
  deadlines_.assign(item_count_ + 1, kTimeMax);
  int64_t deadline = kTimeMax;
  int64_t late_deadline = kTimeMax;
  uint32_t late_refusal = 0;
  size_t next = late_.size();
  auto take_thresholds_above = [&](uint64_t h) {
    while (next > 0 && refusals_[late_[next - 1]].high >= h) {
      const Refusal& refusal = refusals_[late_[--next]];
      if (refusal.ret >= late_deadline) continue;
      late_deadline = refusal.ret;
      late_refusal = late_[next];
    }
    deadline = std::min(deadline, late_deadline);
  };
  take_thresholds_above(height_after(item_count_));
  deadlines_[item_count_] = deadline;
  for (uint32_t p = item_count_; p-- > 0;) {
    take_thresholds_above(pre(p));  // inside item p: it must have happened by then
    if (item(p).invoke > late_deadline) return explain_too_late(p, refusals_[late_refusal]);
    deadline = std::min(deadline, item(p).ret);
    take_thresholds_above(height_after(p));  // in the gap before item p
    deadlines_[p] = deadline;
  }
  return true;
}

bool MonotoneSolver::explain_too_late(uint32_t p, const Refusal& refusal) {
  why_.blame(refusal.index);
  why_.blame(item(p).index);
  why_.text = fmt::format(
      "Counter {}: {} was refused, so the value had passed {} by then; but {}, which is on the way "
      "there, was invoked only after that refusal returned.",
      quoted(ops_.name), words(refusal.index), value_at(refusal.high), words(item(p).index));
  return false;
}

Answer MonotoneSolver::settle_refusals() {
  if (refusals_.empty()) return Answer::kOk;
  for (;;) {
    if (!compute_deadlines()) return Answer::kViolation;
    bool changed = false;
    for (Refusal& refusal : refusals_) {
      if (refusal.choice != Refusal::Choice::kEarly) continue;
      const uint32_t below = refusal.low == 0 ? 0 : first_at_or_above(refusal.low);
      if (refusal.invoke <= deadlines_[below]) continue;
      if (!pool_.empty()) return Answer::kNotApplicable;
      if (refusal.high == kHeightMax) {
        why_.blame(refusal.index);
        if (below < item_count_) why_.blame(item(below).index);
        why_.text = fmt::format(
            "Counter {}: no value that {} can have met while it was open is a "
            "reason to refuse it.",
            quoted(ops_.name), words(refusal.index));
        return Answer::kViolation;
      }
      refusal.choice = Refusal::Choice::kLate;
      changed = true;
    }
    if (!changed) return Answer::kOk;
  }
}

// Stages of one gap, lowest first. `next_late` runs down late_: thresholds above the gap are behind
// it. `limit` is that of the gap's end.
void MonotoneSolver::plan_gap(const Gap& gap, int64_t limit, size_t* next_late) {
  const bool at_end = gap.item == item_count_;
  while (!at_end && *next_late > 0 && refusals_[late_[*next_late - 1]].high + 1 >= gap.to) {
    --*next_late;  // met by the gap's end, if at all in it
  }
  while (*next_late > 0 && refusals_[late_[*next_late - 1]].high >= gap.from) {
    const Refusal& refusal = refusals_[late_[--*next_late]];
    if (refusal.ret >= limit) continue;  // the stage above asks for more, and no later
    limit = refusal.ret;
    stages_.push_back({.from = gap.from,
                       .low = refusal.high + 1,
                       .high = gap.to,
                       .limit = limit,
                       .item = gap.item});
  }
}

// Collects stages_ from the top down, because limits are minima over what comes after, then turns
// them round.
Answer MonotoneSolver::plan_stages() {
  size_t next_late = late_.size();
  const uint64_t top = height_after(item_count_);
  if (!late_.empty() && refusals_[late_.back()].high >= top) {
    const uint64_t goal = refusals_[late_.back()].high + 1;
    uint64_t ceiling = goal;
    if (!pool_.empty()) {
      if (pool_upper_min_ != pool_upper_max_) return Answer::kNotApplicable;
      if (pool_upper_max_ < goal) {
        explain_out_of_reach(refusals_[late_.back()]);
        return Answer::kViolation;
      }
      ceiling = pool_upper_max_;
    }
    plan_gap({.item = item_count_, .from = top, .to = ceiling}, kTimeMax, &next_late);
  }
  int64_t limit = kTimeMax;
  uint32_t p = item_count_;
  for (size_t g = gaps_.size(); g-- > 0;) {
    const Gap& gap = gaps_[g];
    while (p > gap.item) limit = std::min(limit, item(--p).ret);
    int64_t gap_limit = limit;
    if (!deadlines_.empty()) gap_limit = std::min(gap_limit, deadlines_[gap.item + 1]);
    for (size_t i = next_late; i-- > 0 && refusals_[late_[i]].high + 1 >= gap.to;) {
      gap_limit = std::min(gap_limit, refusals_[late_[i]].ret);
    }
    stages_.push_back(
        {.from = gap.from, .low = gap.to, .high = gap.to, .limit = gap_limit, .item = gap.item});
    plan_gap(gap, gap_limit, &next_late);
  }
  std::reverse(stages_.begin(), stages_.end());
  return check_bounds();
}

// Whether the bounds of the ambiguous increments hold by themselves wherever stages use them.
Answer MonotoneSolver::check_bounds() const {
  if (stages_.empty() || pool_.empty()) return Answer::kOk;
  if (!pool_lower_harmless_) return Answer::kNotApplicable;
  if (gaps_.empty() || gaps_.back().to <= pool_upper_min_) return Answer::kOk;
  return pool_upper_min_ == pool_upper_max_ ? Answer::kOk : Answer::kNotApplicable;
}

Answer MonotoneSolver::fill() {
  if (stages_.empty()) return Answer::kOk;
  // A common bound below the end of a gap: nothing can take the last step of that gap.
  for (size_t s = 0; s < stages_.size(); ++s) {
    if (!pool_.empty() && stages_[s].is_exact() && stages_[s].low > pool_upper_max_) {
      explain_fill({.stage = static_cast<uint32_t>(s), .from = stages_[s].from, .available = {}});
      return Answer::kViolation;
    }
  }
  FillFailure failure;
  Answer answer = Answer::kNotApplicable;
  if (is_divisibility_chain(pool_)) {
    answer = fill_chain(stages_, pool_, budget_, filling_, failure);
  } else if (std::all_of(stages_.begin(), stages_.end(),
                         [](const Stage& stage) { return stage.is_exact(); })) {
    answer = fill_any(stages_, pool_, budget_, filling_, failure);
  }
  if (answer == Answer::kViolation) explain_fill(failure);
  return answer;
}

void MonotoneSolver::explain_fill(const FillFailure& failure) {
  const Stage& stage = stages_[failure.stage];
  std::string source = "its starting value";
  if (stage.item > 0) {
    source = words(item(stage.item - 1).index);
    why_.blame(item(stage.item - 1).index);
  }
  constexpr size_t kBlamedMax = 16;
  for (size_t i = 0; i < failure.available.size() && i < kBlamedMax; ++i) {
    why_.blame(failure.available[i]);
  }
  const std::string limit = stage.limit == kTimeMax ? "" : fmt::format(" by time {}", stage.limit);
  const std::string unanswered =
      failure.available.empty()
          ? fmt::format("no unanswered one sent{} is left to add the missing {}", limit,
                        stage.low - failure.from)
          : fmt::format(
                "the unanswered ones sent{} and not needed before cannot add the missing {}: "
                "{}",
                limit, stage.low - failure.from, describe_list(*ops_.history, failure.available));
  if (stage.is_exact() && stage.item < item_count_) {
    why_.blame(item(stage.item).index);
    why_.text = fmt::format(
        "Counter {}: {} starts from {}. The answered increments lead only to {} ({}) before that, "
        "and {}.",
        quoted(ops_.name), words(item(stage.item).index), value_at(stage.low), value_at(stage.from),
        source, unanswered);
    return;
  }
  std::string refusal;
  for (uint32_t r : late_) {
    if (refusals_[r].high + 1 != stage.low || refusals_[r].ret != stage.limit) continue;
    why_.blame(refusals_[r].index);
    refusal = words(refusals_[r].index);
    break;
  }
  why_.text = fmt::format(
      "Counter {}: {} was refused, so the value had passed {} by then. The answered increments "
      "lead "
      "only to {} ({}) before that, and {} or more.",
      quoted(ops_.name), refusal, value_at(stage.low - 1), value_at(stage.from), source,
      unanswered);
  if (!failure.available.empty()) {
    why_.text.erase(why_.text.size() - std::strlen(" or more."));
    why_.text += '.';
  }
}

void MonotoneSolver::explain_out_of_reach(const Refusal& refusal) {
  why_.blame(refusal.index);
  why_.text = fmt::format(
      "Counter {}: {} was refused, so the value had passed {}; but no answered increment leads "
      "there, and the bounds of the unanswered ones keep them below.",
      quoted(ops_.name), words(refusal.index), value_at(refusal.high));
}

void MonotoneSolver::write(Linearization& order) const {
  Linearization base;
  Linearization& out = refusals_.empty() ? order : base;
  out.reserve(out.size() + item_count_ + filling_.ops.size());
  size_t stage = 0;
  size_t filler = 0;
  for (uint32_t p = 0; p <= item_count_; ++p) {
    for (; stage < stages_.size() && stages_[stage].item == p; ++stage) {
      for (; filler < filling_.ends[stage]; ++filler) out.push_back(filling_.ops[filler]);
    }
    if (p < item_count_) out.push_back(item(p).index);
  }
  if (!refusals_.empty()) write_with_refusals(base, order);
}

// Gives every operation of `base` the latest point in time it can have, then late refusals stand at
// their returns, behind all that has happened by then, and early ones at their invocations, ahead
// of all that can wait until then.
void MonotoneSolver::write_with_refusals(const Linearization& base, Linearization& order) const {
  const History& history = *ops_.history;
  std::vector<uint64_t> heights(base.size());  // after each
  uint64_t at = initial_;
  for (size_t i = 0; i < base.size(); ++i) {
    const Operation& op = history[base[i]];
    if (op.kind == Operation::Kind::kAdd) {
      at += upside_down_ ? uint64_t{0} - static_cast<uint64_t>(op.delta)
                         : static_cast<uint64_t>(op.delta);
    }
    heights[i] = at;
  }
  std::vector<int64_t> points(base.size(), kTimeMax);
  for (uint32_t r : late_) {
    const auto reached = std::upper_bound(heights.begin(), heights.end(), refusals_[r].high);
    if (reached == heights.end()) continue;  // reached by nothing: fill() has refused that
    int64_t& point = points[static_cast<size_t>(reached - heights.begin())];
    point = std::min(point, refusals_[r].ret);
  }
  uint32_t p = item_count_;
  for (size_t i = base.size(); i-- > 0;) {
    if (p > 0 && item(p - 1).index == base[i]) points[i] = std::min(points[i], item(--p).ret);
    if (i + 1 < base.size()) points[i] = std::min(points[i], points[i + 1]);
  }
  // Rank 0: early, at its invocation; 1: the path; 2: late and free, at its return.
  struct Place {
    int64_t time;
    uint32_t index;
    bool behind;
  };
  std::vector<Place> places;
  places.reserve(refusals_.size());
  for (const Refusal& refusal : refusals_) {
    const bool early = refusal.choice == Refusal::Choice::kEarly;
    places.push_back({early ? refusal.invoke : refusal.ret, refusal.index, !early});
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    if (a.time != b.time) return a.time < b.time;
    return a.behind != b.behind ? b.behind : a.index < b.index;
  });
  order.reserve(order.size() + base.size() + places.size());
  size_t next = 0;
  for (const Place& place : places) {
    while (next < base.size() &&
           (points[next] < place.time || (place.behind && points[next] == place.time))) {
      order.push_back(base[next++]);
    }
    order.push_back(place.index);
  }
  order.insert(order.end(), base.begin() + static_cast<ptrdiff_t>(next), base.end());
}

}  // namespace

Answer solve_monotone(const CounterOps& ops, uint64_t* budget, Linearization& order,
                      Explanation& why) {
  return MonotoneSolver(ops, budget, why).solve(order);
}

}  // namespace tally::sim::checker
