// The search. Its states are sets of operations that have taken effect; since the value is a function
// of that set, two orders of the same set are one state.
//
// A state is kept as its frontier: `next`, the first operation by invocation that is not enabled yet,
// and the pending ones below it that have not taken effect. An operation is enabled iff it was
// invoked by the earliest return among those that have not taken effect. For ambiguous increments, which
// have no return, a count per class of equal (delta, bounds) is enough: equal ones are
// interchangeable, and the earliest invoked is enabled first.
//
// Reductions, each without loss:
//  - an enabled get of the current value, or a refusal that the current value justifies, is taken
//    at once: it changes nothing, and the fewer are left, the fewer returns press;
//  - among enabled increments of equal (pre, post) only the one with the earliest return is tried: in
//    any linearization the two can be exchanged;
//  - of two states with the same frontier and value, one that has spent no more ambiguous
//    increments of any class does all that the other does.
//
// States are visited layer by layer, a layer being the states with equally many completed
// increments; ambiguous increments lead on within a layer. When a layer comes down to one state, all
// linearizations go through it and what led there is final. A layer that grows past the width is
// cut; then only a linearization found is trusted, and otherwise the search goes back to the last
// final state with a greater width.
#include "sim/checker_search.h"

#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>

#include "sim/checker_explain.h"

namespace tally::sim::checker {
namespace {

constexpr size_t kNoWidth = ~size_t{0};

// How hard a pass over the layers tries. All but the last are cut short, and look at ambiguous
// increments only where one or two of them lead right up to a pending operation.
struct Effort {
  size_t width;
  bool closure;  // any ambiguous increment at any time
  bool pairs;
};
constexpr std::array<Effort, 3> kEfforts = {
    {{64, false, false}, {2048, false, true}, {kNoWidth, true, false}}};

constexpr size_t kTrailCountMax = size_t{1} << 26;  // about 1 GB: more counts as budget spent

enum class OpKind : uint8_t { kIncrement, kGet, kRejected };

struct Op {
  int64_t pre;   // kRejected: forbidden_low
  int64_t post;  // kRejected: forbidden_high
  int64_t invoke;
  int64_t ret;
  uint32_t index;
  uint32_t rank;  // among all in order of return
  OpKind kind;

  bool observes(int64_t value) const {
    if (kind == OpKind::kGet) return pre == value;
    return kind == OpKind::kRejected && (value < pre || value > post);
  }
};

// Interchangeable ambiguous increments, by invocation.
struct AmbiguousClass {
  int64_t delta;
  int64_t lower;
  int64_t upper;
  std::vector<int64_t> invokes;
  std::vector<uint32_t> indexes;

  bool admits(int64_t value) const {
    const __int128 sum = __int128{value} + delta;
    return lower <= sum && sum <= upper;
  }
};

struct State {
  int64_t value = 0;
  int64_t limit = 0;  // the earliest return among the pending
  uint32_t next = 0;
  uint32_t spent_count = 0;  // ambiguous increments used
  uint64_t lateness = 0;     // sum of the return ranks of the increments taken
  uint32_t trail = 0;
  uint32_t pending_count = 0;
  size_t pending_begin = 0;
};

// How a state was reached: the operations applied since its parent are trail_ops_[begin, end).
struct Trail {
  uint32_t parent;
  uint32_t begin;
  uint32_t end;
};

// A set of states without duplicates. `used` holds class_count counts per state.
struct Layer {
  std::vector<State> states;
  std::vector<uint32_t> pending;
  std::vector<uint32_t> used;
  std::vector<uint32_t> slots;  // hash table of indexes into `states`, plus 1

  void clear() {
    states.clear();
    pending.clear();
    used.clear();
    slots.assign(64, 0);
  }
};

class Search {
 public:
  Search(const CounterOps& ops, uint64_t* budget, Explanation& why)
      : input_(ops), budget_(budget), why_(why) {
    load_ops();
    load_classes();
  }

  Answer run(Linearization& order) {
    const size_t order_begin = order.size();
    Layer start;
    start.clear();
    scratch_ = {};
    scratch_.value = input_.initial;
    scratch_pending_.clear();
    scratch_used_.assign(classes_.size(), 0);
    reset_trails();
    settle();
    add_scratch(start, 0);
    write_trail(start.states[0].trail, order);
    for (const Effort& effort : kEfforts) {
      const Answer answer = run_effort(effort, start, order);
      if (answer == Answer::kOk || answer == Answer::kViolation) {
        if (answer == Answer::kViolation) order.resize(order_begin);
        return answer;
      }
      if (answer == Answer::kUndecided) {
        order.resize(order_begin);
        return answer;
      }
    }
    return Answer::kUndecided;  // not reached: the last width is never cut
  }

 private:
  void load_ops() {
    ops_.reserve(input_.completed.size() + input_.rejected.size());
    for (const Completed& op : input_.completed) {
      ops_.push_back({op.pre, op.post, op.invoke, op.ret, op.index, 0,
                      op.is_increment() ? OpKind::kIncrement : OpKind::kGet});
    }
    for (const Rejected& op : input_.rejected) {
      ops_.push_back({op.forbidden_low, op.forbidden_high, op.invoke, op.ret, op.index, 0,
                      OpKind::kRejected});
    }
    std::sort(ops_.begin(), ops_.end(), [](const Op& a, const Op& b) {
      if (a.invoke != b.invoke) return a.invoke < b.invoke;
      return a.ret != b.ret ? a.ret < b.ret : a.index < b.index;
    });
    std::vector<uint32_t> by_return(ops_.size());
    for (uint32_t i = 0; i < by_return.size(); ++i) by_return[i] = i;
    std::sort(by_return.begin(), by_return.end(), [&](uint32_t a, uint32_t b) {
      return ops_[a].ret != ops_[b].ret ? ops_[a].ret < ops_[b].ret : a < b;
    });
    for (uint32_t rank = 0; rank < by_return.size(); ++rank) ops_[by_return[rank]].rank = rank;
  }

  void load_classes() {
    std::vector<Ambiguous> sorted = input_.ambiguous;
    std::sort(sorted.begin(), sorted.end(), [](const Ambiguous& a, const Ambiguous& b) {
      if (a.delta != b.delta) return a.delta < b.delta;
      if (a.lower != b.lower) return a.lower < b.lower;
      if (a.upper != b.upper) return a.upper < b.upper;
      return a.invoke != b.invoke ? a.invoke < b.invoke : a.index < b.index;
    });
    for (const Ambiguous& op : sorted) {
      if (classes_.empty() || classes_.back().delta != op.delta ||
          classes_.back().lower != op.lower || classes_.back().upper != op.upper) {
        classes_.push_back({op.delta, op.lower, op.upper, {}, {}});
      }
      classes_.back().invokes.push_back(op.invoke);
      classes_.back().indexes.push_back(op.index);
    }
  }

  void reset_trails() {
    trails_.assign(1, Trail{0, 0, 0});
    trail_ops_.clear();
  }

  // Brings scratch_ to rest: enables what can be, takes the observers that agree.
  void settle() {
    for (;;) {
      int64_t limit = kTimeMax;
      for (uint32_t p : scratch_pending_) limit = std::min(limit, ops_[p].ret);
      while (scratch_.next < ops_.size() && ops_[scratch_.next].invoke <= limit) {
        limit = std::min(limit, ops_[scratch_.next].ret);
        scratch_pending_.push_back(scratch_.next++);
      }
      scratch_.limit = limit;
      if (!take_observers()) return;
    }
  }

  // Takes the enabled observers that agree with the value of scratch_; whether there were any.
  bool take_observers() {
    size_t kept = 0;
    for (uint32_t p : scratch_pending_) {
      if (ops_[p].observes(scratch_.value)) {
        trail_ops_.push_back(ops_[p].index);
      } else {
        scratch_pending_[kept++] = p;
      }
    }
    const bool taken = kept != scratch_pending_.size();
    scratch_pending_.resize(kept);
    return taken;
  }

  uint64_t hash_scratch() const {
    const uint64_t seed = static_cast<uint64_t>(scratch_.value) * 0x9E3779B97F4A7C15U + scratch_.next;
    return XXH3_64bits_withSeed(scratch_pending_.data(), scratch_pending_.size() * sizeof(uint32_t),
                                seed);
  }

  bool same_frontier(const Layer& layer, const State& state) const {
    return state.value == scratch_.value && state.next == scratch_.next &&
           state.pending_count == scratch_pending_.size() &&
           std::equal(scratch_pending_.begin(), scratch_pending_.end(),
                      layer.pending.begin() + static_cast<ptrdiff_t>(state.pending_begin));
  }

  bool spent_no_more(const uint32_t* used) const {
    for (size_t c = 0; c < classes_.size(); ++c) {
      if (used[c] > scratch_used_[c]) return false;
    }
    return true;
  }

  // Adds scratch_, reached from trail `parent` by trail_ops_[trail_begin_, end), unless a state of
  // the layer does all that it does.
  void add_scratch(Layer& layer, uint32_t parent) {
    const size_t mask = layer.slots.size() - 1;
    size_t slot = hash_scratch() & mask;
    for (; layer.slots[slot] != 0; slot = (slot + 1) & mask) {
      const size_t other = layer.slots[slot] - 1;
      if (same_frontier(layer, layer.states[other]) &&
          spent_no_more(layer.used.data() + other * classes_.size())) {
        trail_ops_.resize(trail_begin_);
        return;
      }
    }
    scratch_.trail = static_cast<uint32_t>(trails_.size());
    trails_.push_back({parent, trail_begin_, static_cast<uint32_t>(trail_ops_.size())});
    scratch_.pending_begin = layer.pending.size();
    scratch_.pending_count = static_cast<uint32_t>(scratch_pending_.size());
    layer.pending.insert(layer.pending.end(), scratch_pending_.begin(), scratch_pending_.end());
    layer.used.insert(layer.used.end(), scratch_used_.begin(), scratch_used_.end());
    layer.states.push_back(scratch_);
    layer.slots[slot] = static_cast<uint32_t>(layer.states.size());
    if (2 * layer.states.size() > layer.slots.size()) grow(layer);
  }

  // Rebuilds the hash table, with room for as many states again.
  void grow(Layer& layer) {
    const State saved = scratch_;
    const std::vector<uint32_t> saved_pending = scratch_pending_;
    size_t slot_count = 64;
    while (slot_count < 4 * layer.states.size()) slot_count *= 2;
    layer.slots.assign(slot_count, 0);
    const size_t mask = layer.slots.size() - 1;
    for (size_t i = 0; i < layer.states.size(); ++i) {
      scratch_ = layer.states[i];
      scratch_pending_.assign(
          layer.pending.begin() + static_cast<ptrdiff_t>(scratch_.pending_begin),
          layer.pending.begin() +
              static_cast<ptrdiff_t>(scratch_.pending_begin + scratch_.pending_count));
      size_t slot = hash_scratch() & mask;
      while (layer.slots[slot] != 0) slot = (slot + 1) & mask;
      layer.slots[slot] = static_cast<uint32_t>(i + 1);
    }
    scratch_ = saved;
    scratch_pending_ = saved_pending;
  }

  // Makes scratch_ a copy of state `s` of `layer`, without the pending operation at `skip`.
  void load_scratch(const Layer& layer, size_t s, size_t skip) {
    scratch_ = layer.states[s];
    const uint32_t* pending = layer.pending.data() + scratch_.pending_begin;
    scratch_pending_.clear();
    for (size_t i = 0; i < scratch_.pending_count; ++i) {
      if (i != skip) scratch_pending_.push_back(pending[i]);
    }
    const uint32_t* used = layer.used.data() + s * classes_.size();
    scratch_used_.assign(used, used + classes_.size());
    trail_begin_ = static_cast<uint32_t>(trail_ops_.size());
  }

  // One more of class c can be used by state s of layer_, at `value`.
  bool available(size_t s, size_t c, int64_t value) const {
    const AmbiguousClass& cls = classes_[c];
    const uint32_t used = layer_.used[s * classes_.size() + c];
    return used < cls.invokes.size() && cls.invokes[used] <= layer_.states[s].limit &&
           cls.admits(value);
  }

  // Uses one of class c on scratch_.
  void use(size_t c) {
    trail_ops_.push_back(classes_[c].indexes[scratch_used_[c]++]);
    scratch_.value += classes_[c].delta;
    ++scratch_.spent_count;
  }

  // [first, last) of the classes with that delta, whatever their bounds.
  std::pair<size_t, size_t> classes_of(__int128 delta) const {
    const auto low = std::lower_bound(
        classes_.begin(), classes_.end(), delta,
        [](const AmbiguousClass& cls, __int128 d) { return __int128{cls.delta} < d; });
    auto high = low;
    while (high != classes_.end() && __int128{high->delta} == delta) ++high;
    return {static_cast<size_t>(low - classes_.begin()),
            static_cast<size_t>(high - classes_.begin())};
  }

  // Adds the successors of state s of layer_ that use one or two ambiguous increments in order to
  // take a certain pending operation right after. Those that take an increment go to next_layer_.
  void expand_directed(size_t s, bool pairs) {
    const size_t pending_begin = layer_.states[s].pending_begin;
    const size_t pending_count = layer_.states[s].pending_count;
    for (size_t i = 0; i < pending_count; ++i) {
      const Op& op = ops_[layer_.pending[pending_begin + i]];
      if (op.kind == OpKind::kRejected) continue;  // left to the closure
      const int64_t value = layer_.states[s].value;
      if (op.pre == value || is_covered(s, i)) continue;
      const __int128 missing = __int128{op.pre} - value;
      const auto [low, high] = classes_of(missing);
      bool found = false;
      for (size_t c = low; c < high; ++c) {
        if (!available(s, c, value)) continue;
        add_directed(s, i, c, kNoWidth);
        found = true;
      }
      if (found || !pairs) continue;
      for (size_t c = 0; c < classes_.size(); ++c) {
        if (!available(s, c, value)) continue;
        const auto [low2, high2] = classes_of(missing - classes_[c].delta);
        for (size_t c2 = low2; c2 < high2; ++c2) {
          if (c2 != c && available(s, c2, value + classes_[c].delta)) add_directed(s, i, c, c2);
        }
      }
    }
  }

  void add_directed(size_t s, size_t i, size_t first_class, size_t second_class) {
    const uint32_t parent = layer_.states[s].trail;
    const uint32_t p = layer_.pending[layer_.states[s].pending_begin + i];
    const bool is_increment = ops_[p].kind == OpKind::kIncrement;
    load_scratch(layer_, s, is_increment ? i : kNoWidth);
    use(first_class);
    if (second_class != kNoWidth) use(second_class);
    if (is_increment) {
      take_observers();
      take_increment(p);
    }
    settle();
    add_scratch(is_increment ? next_layer_ : layer_, parent);
  }

  void take_increment(uint32_t p) {
    scratch_.value = ops_[p].post;
    scratch_.lateness += ops_[p].rank;
    trail_ops_.push_back(ops_[p].index);
  }

  // Whether another pending increment of state s does all that its i-th pending operation does.
  bool is_covered(size_t s, size_t i) const {
    const State& state = layer_.states[s];
    const uint32_t* pending = layer_.pending.data() + state.pending_begin;
    const Op& op = ops_[pending[i]];
    if (op.kind != OpKind::kIncrement) return false;
    for (size_t j = 0; j < state.pending_count; ++j) {
      const Op& other = ops_[pending[j]];
      if (j == i || other.pre != op.pre || other.post != op.post) continue;
      if (other.kind != OpKind::kIncrement) continue;
      if (op.ret != other.ret ? other.ret < op.ret : j < i) return true;
    }
    return false;
  }

  // Adds the successors of state s of layer_ by completed increments to next_layer_.
  void expand_completed(size_t s) {
    const State state = layer_.states[s];
    for (size_t i = 0; i < state.pending_count; ++i) {
      const uint32_t p = layer_.pending[state.pending_begin + i];
      const Op& op = ops_[p];
      if (op.kind != OpKind::kIncrement || op.pre != state.value || is_covered(s, i)) continue;
      load_scratch(layer_, s, i);
      take_increment(p);
      settle();
      add_scratch(next_layer_, state.trail);
    }
  }

  // Adds the successors of state s of layer_ by one ambiguous increment to layer_ itself.
  void expand_ambiguous(size_t s) {
    for (size_t c = 0; c < classes_.size(); ++c) {
      if (!available(s, c, layer_.states[s].value)) continue;
      const uint32_t parent = layer_.states[s].trail;
      load_scratch(layer_, s, kNoWidth);
      use(c);
      settle();
      add_scratch(layer_, parent);
    }
  }

  bool is_done(const State& state) const {
    return state.next == ops_.size() && state.pending_count == 0;
  }

  void write_trail(uint32_t trail, Linearization& order) const {
    const size_t begin = order.size();
    for (uint32_t t = trail; t != 0; t = trails_[t].parent) {
      for (uint32_t i = trails_[t].end; i-- > trails_[t].begin;) order.push_back(trail_ops_[i]);
    }
    std::reverse(order.begin() + static_cast<ptrdiff_t>(begin), order.end());
  }

  // Makes the only state of layer_ final.
  void commit(Layer& start, Linearization& order) {
    write_trail(layer_.states[0].trail, order);
    reset_trails();
    layer_.states[0].trail = 0;
    start = layer_;
  }

  // Leaves the `width` states that spent the fewest ambiguous increments.
  void cut(Layer& layer, size_t width) {
    std::vector<uint32_t> ranking(layer.states.size());
    for (uint32_t i = 0; i < ranking.size(); ++i) ranking[i] = i;
    std::sort(ranking.begin(), ranking.end(), [&](uint32_t a, uint32_t b) {
      const State& x = layer.states[a];
      const State& y = layer.states[b];
      if (x.spent_count != y.spent_count) return x.spent_count < y.spent_count;
      return x.lateness != y.lateness ? x.lateness < y.lateness : a < b;
    });
    ranking.resize(width);
    std::sort(ranking.begin(), ranking.end());
    Layer kept;
    kept.clear();
    for (uint32_t s : ranking) {
      State state = layer.states[s];
      const auto pending = layer.pending.begin() + static_cast<ptrdiff_t>(state.pending_begin);
      state.pending_begin = kept.pending.size();
      kept.pending.insert(kept.pending.end(), pending, pending + state.pending_count);
      const auto used = layer.used.begin() + static_cast<ptrdiff_t>(s * classes_.size());
      kept.used.insert(kept.used.end(), used, used + static_cast<ptrdiff_t>(classes_.size()));
      kept.states.push_back(state);
    }
    std::swap(layer, kept);
    grow(layer);
  }

  // From the last final state on. kNotApplicable when a cut was made and nothing was found.
  Answer run_effort(const Effort& effort, Layer& start, Linearization& order) {
    layer_ = start;
    reset_trails();
    layer_.states[0].trail = 0;
    bool exact = classes_.empty() || effort.closure;
    while (!layer_.states.empty()) {
      next_layer_.clear();
      for (size_t s = 0; s < layer_.states.size(); ++s) {
        if (is_done(layer_.states[s])) {
          write_trail(layer_.states[s].trail, order);
          return Answer::kOk;
        }
        if (*budget_ == 0 || trails_.size() > kTrailCountMax) return explain_undecided(order);
        --*budget_;
        expand_completed(s);
        if (classes_.empty()) continue;
        effort.closure ? expand_ambiguous(s) : expand_directed(s, effort.pairs);
      }
      if (next_layer_.states.empty() && !effort.closure) {
        for (size_t s = 0; s < layer_.states.size(); ++s) expand_directed(s, true);
      }
      if (next_layer_.states.empty()) break;
      std::swap(layer_, next_layer_);
      if (layer_.states.size() > effort.width) {
        cut(layer_, effort.width);
        exact = false;
      }
      if (exact && layer_.states.size() == 1) commit(start, order);
    }
    return exact ? explain_violation() : Answer::kNotApplicable;
  }

  // The state of the last layer that came furthest, for explanations.
  const State& furthest() const {
    const State* best = &layer_.states[0];
    for (const State& state : layer_.states) {
      if (state.limit > best->limit) best = &state;
    }
    return *best;
  }

  Answer explain_violation() {
    const State& state = furthest();
    const uint32_t* pending = layer_.pending.data() + state.pending_begin;
    std::vector<uint32_t> open(pending, pending + state.pending_count);
    std::sort(open.begin(), open.end(), [&](uint32_t a, uint32_t b) {
      return ops_[a].ret != ops_[b].ret ? ops_[a].ret < ops_[b].ret : a < b;
    });
    for (uint32_t& p : open) {
      p = ops_[p].index;
      why_.blame(p);
    }
    const History& history = *input_.history;
    const std::vector<uint32_t> others(open.begin() + 1, open.end());
    why_.text = fmt::format(
        "Counter {}: every order of its operations gets stuck by time {}. In the one that comes "
        "furthest the value is {} when {} must take effect{}.",
        quoted(input_.name), state.limit, state.value, describe(history[open[0]]),
        others.empty() ? "" : "; also open then: " + describe_list(history, others));
    return Answer::kViolation;
  }

  Answer explain_undecided(Linearization&) {
    const State& state = furthest();
    why_.text = fmt::format(
        "Counter {}: undecided. The budget was spent around time {}, with {} operations open at "
        "once and {} states to tell apart.",
        quoted(input_.name), state.limit, state.pending_count, layer_.states.size());
    return Answer::kUndecided;
  }

  const CounterOps& input_;
  uint64_t* budget_;
  Explanation& why_;
  std::vector<Op> ops_;  // all but the ambiguous ones, by (invoke, ret, index)
  std::vector<AmbiguousClass> classes_;
  Layer layer_;
  Layer next_layer_;
  std::vector<Trail> trails_;  // the first one is the last final state
  std::vector<uint32_t> trail_ops_;
  State scratch_;  // the state being built, its pending operations and its counts
  std::vector<uint32_t> scratch_pending_;
  std::vector<uint32_t> scratch_used_;
  uint32_t trail_begin_ = 0;  // of its own operations in trail_ops_
};

}  // namespace

Answer solve_search(const CounterOps& ops, uint64_t* budget, Linearization& order,
                    Explanation& why) {
  return Search(ops, budget, why).run(order);
}

}  // namespace tally::sim::checker
