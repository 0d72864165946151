#include "sim/checker_states.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <numeric>

#include "sim/checker_sort.h"

namespace tally::sim::checker {
namespace {

constexpr size_t kNone = ~size_t{0};
constexpr uint32_t kTaken = ~uint32_t{0};
constexpr size_t kUnhashedMax = 16;  // states in a layer that are compared one by one

uint64_t hash_frontier(const State& state, const uint32_t* pending, size_t pending_count) {
  const uint64_t seed = static_cast<uint64_t>(state.value) * 0x9E3779B97F4A7C15U + state.next;
  return XXH3_64bits_withSeed(pending, pending_count * sizeof(uint32_t), seed);
}

}  // namespace

void Layer::clear() {
  states.clear();
  pending.clear();
  candidates.clear();
  used.clear();
  slots.clear();
}

StateSpace::StateSpace(const CounterOps& ops, Budget& budget)
    : initial_(ops.initial), budget_(budget) {
  load_ops(ops);
  load_classes(ops);
}

uint64_t StateSpace::take_extra_work() {
  constexpr uint64_t kWordsPerState = 4096;
  const uint64_t count = extra_work_ / kWordsPerState;
  extra_work_ %= kWordsPerState;
  return count;
}

void StateSpace::load_ops(const CounterOps& ops) {
  using Kind = SearchOp::Kind;
  ops_.reserve(ops.completed.size() + ops.rejected.size());
  for (const Completed& op : ops.completed) {
    ops_.push_back({.pre = op.pre,
                    .post = op.post,
                    .invoke = op.invoke,
                    .ret = op.ret,
                    .index = op.index,
                    .kind = op.is_increment() ? Kind::kIncrement : Kind::kGet});
  }
  for (const Rejected& op : ops.rejected) {
    ops_.push_back({.pre = op.forbidden_low,
                    .post = op.forbidden_high,
                    .invoke = op.invoke,
                    .ret = op.ret,
                    .index = op.index,
                    .kind = Kind::kRejected});
  }
  sort_by_invocation(ops_);
  // Coarse enough that the sum over all operations stays below 2^63.
  uint64_t span = 0;
  for (const SearchOp& op : ops_) span = std::max(span, since_first_invoke(op.ret));
  const uint64_t share = (uint64_t{1} << 63) / std::max<uint64_t>(ops_.size(), 1);
  while ((span >> lateness_shift_) >= share) ++lateness_shift_;
}

uint64_t StateSpace::since_first_invoke(int64_t time) const {
  return static_cast<uint64_t>(time) - static_cast<uint64_t>(ops_[0].invoke);
}

void StateSpace::load_classes(const CounterOps& ops) {
  std::vector<Ambiguous> sorted = ops.ambiguous;
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

void StateSpace::make_start(Layer& layer) {
  layer.clear();
  reset_trails();
  scratch_ = {};
  scratch_.value = initial_;
  scratch_pending_.clear();
  scratch_used_.assign(classes_.size(), 0);
  trail_begin_ = 0;
  limit_holds_ = false;
  settle();
  add_scratch(layer, 0);
}

// Brings scratch_ to rest: enables what can be, takes the observers that agree.
void StateSpace::settle() {
  do {
    enable();
  } while (take_observers());
}

// Brings limit and next up to date with the pending operations.
void StateSpace::enable() {
  if (!limit_holds_) {
    scratch_.limit = kTimeMax;
    for (uint32_t p : scratch_pending_) scratch_.limit = std::min(scratch_.limit, ops_[p].ret);
    limit_holds_ = true;
  }
  while (scratch_.next < ops_.size() && ops_[scratch_.next].invoke <= scratch_.limit) {
    scratch_.limit = std::min(scratch_.limit, ops_[scratch_.next].ret);
    scratch_pending_.push_back(scratch_.next++);
  }
}

// Takes the pending observers that agree with the value of scratch_; whether there were any. If
// not, scratch_candidates_ are the increments that start from this value.
bool StateSpace::take_observers() {
  if (scratch_candidates_.size() < scratch_pending_.size()) {
    scratch_candidates_.resize(2 * scratch_pending_.size());
  }
  size_t match_count = 0;
  for (uint32_t i = 0; i < scratch_pending_.size(); ++i) {  // written so that it needs no branches
    const SearchOp& op = ops_[scratch_pending_[i]];
    scratch_candidates_[match_count] = i;
    match_count += static_cast<size_t>(op.pre == scratch_.value) |
                   static_cast<size_t>(op.kind == SearchOp::Kind::kRejected);
  }
  size_t candidate_count = 0;
  size_t taken_count = 0;
  for (size_t m = 0; m < match_count; ++m) {
    const uint32_t i = scratch_candidates_[m];
    const uint32_t p = scratch_pending_[i];
    if (ops_[p].kind == SearchOp::Kind::kIncrement) {
      scratch_candidates_[candidate_count++] = i;
    } else if (ops_[p].observes(scratch_.value)) {
      push_trail_op(ops_[p].index);
      limit_holds_ &= ops_[p].ret != scratch_.limit;
      scratch_pending_[i] = kTaken;
      ++taken_count;
    }
  }
  scratch_.candidate_count = static_cast<uint32_t>(candidate_count);
  if (taken_count > 0) std::erase(scratch_pending_, kTaken);
  return taken_count > 0;
}

void StateSpace::take_increment(uint32_t p) {
  scratch_.value = ops_[p].post;
  scratch_.lateness += since_first_invoke(ops_[p].ret) >> lateness_shift_;
  push_trail_op(ops_[p].index);
}

bool StateSpace::same_frontier(const Layer& layer, const State& state) const {
  // Equal frontiers took the same increments: this tells most others apart without a look at them.
  return state.lateness == scratch_.lateness && state.value == scratch_.value &&
         state.next == scratch_.next && state.pending_count == scratch_pending_.size() &&
         std::equal(scratch_pending_.begin(), scratch_pending_.end(),
                    layer.pending.begin() + static_cast<ptrdiff_t>(state.pending_begin));
}

bool StateSpace::spent_no_more(const uint32_t* used) const {
  for (size_t c = 0; c < classes_.size(); ++c) {
    if (used[c] > scratch_used_[c]) return false;
  }
  return true;
}

// An operation that found no room is missed by nobody: the state is not added then.
void StateSpace::push_trail_op(uint32_t index) {
  if (trail_ops_.size() == trail_ops_.capacity() && !budget_.make_room(trail_ops_, 1)) {
    full_ = true;
    return;
  }
  trail_ops_.push_back(index);
}

// Room for one more state of that size, and for its trail.
bool StateSpace::make_room(Layer& layer, size_t pending_count, size_t candidate_count) {
  return budget_.make_room(layer.states, 1) && budget_.make_room(layer.pending, pending_count) &&
         budget_.make_room(layer.candidates, candidate_count) &&
         budget_.make_room(layer.used, classes_.size()) && budget_.make_room(trails_, 1);
}

// Adds scratch_, reached from trail `parent` by trail_ops_[trail_begin_, end), unless a state of
// the layer does all that it does.
void StateSpace::add_scratch(Layer& layer, uint32_t parent) {
  if (full_ || is_surpassed(layer)) {
    trail_ops_.resize(trail_begin_);
    return;
  }
  if (!make_room(layer, scratch_pending_.size(), scratch_.candidate_count)) {
    trail_ops_.resize(trail_begin_);
    full_ = true;
    return;
  }
  scratch_.trail = static_cast<uint32_t>(trails_.size());
  trails_.push_back({parent, trail_begin_, static_cast<uint32_t>(trail_ops_.size())});
  scratch_.pending_begin = layer.pending.size();
  scratch_.pending_count = static_cast<uint32_t>(scratch_pending_.size());
  layer.pending.insert(layer.pending.end(), scratch_pending_.begin(), scratch_pending_.end());
  scratch_.candidate_begin = layer.candidates.size();
  layer.candidates.insert(layer.candidates.end(), scratch_candidates_.begin(),
                          scratch_candidates_.begin() + scratch_.candidate_count);
  layer.used.insert(layer.used.end(), scratch_used_.begin(), scratch_used_.end());
  layer.states.push_back(scratch_);
  if (layer.states.size() <= kUnhashedMax) return;
  if (2 * layer.states.size() > layer.slots.size()) {
    rebuild_table(layer);
  } else {
    put_into_table(layer, layer.states.size() - 1);
  }
}

// Whether a state of the layer does all that scratch_ does, or enough of them say much the same.
bool StateSpace::is_surpassed(const Layer& layer) const {
  size_t variant_count = 0;
  auto surpasses = [&](size_t other) {
    if (!same_frontier(layer, layer.states[other])) return false;
    extra_work_ += classes_.size();
    return (++variant_count >= variant_count_max_ ||
            spent_no_more(layer.used.data() + other * classes_.size()));
  };
  if (layer.slots.empty()) {
    for (size_t other = 0; other < layer.states.size(); ++other) {
      if (surpasses(other)) return true;
    }
    return false;
  }
  const size_t mask = layer.slots.size() - 1;
  size_t slot = hash_frontier(scratch_, scratch_pending_.data(), scratch_pending_.size()) & mask;
  for (; layer.slots[slot] != 0; slot = (slot + 1) & mask) {
    if (surpasses(layer.slots[slot] - 1)) return true;
  }
  return false;
}

void StateSpace::put_into_table(Layer& layer, size_t s) const {
  const size_t mask = layer.slots.size() - 1;
  const State& state = layer.states[s];
  const uint32_t* pending = layer.pending.data() + state.pending_begin;
  size_t slot = hash_frontier(state, pending, state.pending_count) & mask;
  while (layer.slots[slot] != 0) slot = (slot + 1) & mask;
  layer.slots[slot] = static_cast<uint32_t>(s + 1);
}

// With room for as many states again; without one while there are few.
void StateSpace::rebuild_table(Layer& layer) {
  layer.slots.clear();
  if (layer.states.size() <= kUnhashedMax) return;
  size_t slot_count = 1;
  while (slot_count < 4 * layer.states.size()) slot_count *= 2;
  if (slot_count > layer.slots.capacity() && !budget_.make_room(layer.slots, slot_count)) {
    full_ = true;
    return;
  }
  layer.slots.assign(slot_count, 0);
  for (size_t s = 0; s < layer.states.size(); ++s) put_into_table(layer, s);
}

// Makes scratch_ a copy of state `s` of `layer`, without the pending operation at `skip`.
void StateSpace::load_scratch(const Layer& layer, size_t s, size_t skip) {
  scratch_ = layer.states[s];
  const uint32_t* begin = layer.pending.data() + scratch_.pending_begin;
  const uint32_t* end = begin + scratch_.pending_count;
  scratch_pending_.assign(begin, end);
  limit_holds_ = true;
  if (skip != kNone) {
    limit_holds_ = ops_[begin[skip]].ret != scratch_.limit;
    std::copy(begin + skip + 1, end, scratch_pending_.begin() + static_cast<ptrdiff_t>(skip));
    scratch_pending_.pop_back();
  }
  const uint32_t* used = layer.used.data() + s * classes_.size();
  scratch_used_.assign(used, used + classes_.size());
  trail_begin_ = static_cast<uint32_t>(trail_ops_.size());
}

// One more of class c can be used in state s of `layer`, at `value`.
bool StateSpace::available(const Layer& layer, size_t s, size_t c, int64_t value) const {
  const AmbiguousClass& cls = classes_[c];
  const uint32_t used = layer.used[s * classes_.size() + c];
  return used < cls.invokes.size() && cls.invokes[used] <= layer.states[s].limit &&
         cls.admits(value);
}

// Uses one of class c on scratch_.
void StateSpace::use(size_t c) {
  push_trail_op(classes_[c].indexes[scratch_used_[c]++]);
  scratch_.value += classes_[c].delta;
  ++scratch_.spent_count;
}

// [first, last) of the classes with that delta, whatever their bounds.
std::pair<size_t, size_t> StateSpace::classes_of(__int128 delta) const {
  const auto low = std::lower_bound(
      classes_.begin(), classes_.end(), delta,
      [](const AmbiguousClass& cls, __int128 d) { return __int128{cls.delta} < d; });
  auto high = low;
  while (high != classes_.end() && __int128{high->delta} == delta) ++high;
  return {static_cast<size_t>(low - classes_.begin()),
          static_cast<size_t>(high - classes_.begin())};
}

// Whether increment `other` does all that `p` does where both are pending.
bool StateSpace::covers(uint32_t other, uint32_t p) const {
  const SearchOp& x = ops_[other];
  const SearchOp& y = ops_[p];
  if (x.pre != y.pre || x.post != y.post || x.kind != y.kind) return false;
  return x.ret != y.ret ? x.ret < y.ret : other < p;
}

void StateSpace::expand_completed(const Layer& layer, size_t s, Layer& next) {
  const State& state = layer.states[s];
  const uint32_t* pending = layer.pending.data() + state.pending_begin;
  const uint32_t* candidates = layer.candidates.data() + state.candidate_begin;
  // They all start from the value of the state: of those that end at the same one, the one that
  // covers the others.
  best_.clear();
  for (uint32_t c = 0; c < state.candidate_count; ++c) {
    const uint32_t i = candidates[c];
    const auto same = std::find_if(best_.begin(), best_.end(), [&](uint32_t other) {
      return ops_[pending[other]].post == ops_[pending[i]].post;
    });
    if (same == best_.end()) {
      best_.push_back(i);
    } else if (covers(pending[i], pending[*same])) {
      *same = i;
    }
  }
  for (const uint32_t i : best_) {
    load_scratch(layer, s, i);
    take_increment(pending[i]);
    settle();
    add_scratch(next, state.trail);
  }
}

void StateSpace::expand_closure(Layer& layer, size_t s) {
  for (size_t c = 0; c < classes_.size(); ++c) {
    if (!available(layer, s, c, layer.states[s].value)) continue;
    const uint32_t parent = layer.states[s].trail;
    load_scratch(layer, s, kNone);
    extra_work_ += classes_.size() + scratch_pending_.size();
    use(c);
    settle();
    add_scratch(layer, parent);
  }
}

// How many of class c, at least two, make up for `missing` in state s of `layer`; 0 if they cannot.
uint32_t StateSpace::equal_ones(const Layer& layer, size_t s, size_t c, __int128 missing) const {
  const AmbiguousClass& cls = classes_[c];
  const __int128 count = missing / cls.delta;
  const uint32_t used = layer.used[s * classes_.size() + c];
  if (count < 2 || count * cls.delta != missing || count > cls.invokes.size() - used) return 0;
  const uint32_t whole = static_cast<uint32_t>(count);
  if (cls.invokes[used + whole - 1] > layer.states[s].limit) return 0;
  // Bounds are an interval: what the first and the last respect, those between them do.
  const int64_t value = layer.states[s].value;
  const __int128 last = __int128{value} + missing - cls.delta;
  return cls.admits(value) && cls.admits(static_cast<int64_t>(last)) ? whole : 0;
}

void StateSpace::expand_directed(Layer& layer, size_t s, bool several, Layer& next) {
  const State state = layer.states[s];  // a copy: `layer` may grow
  for (size_t i = 0; i < state.pending_count; ++i) {
    const SearchOp& op = ops_[layer.pending[state.pending_begin + i]];
    // Refusals that need ambiguous increments are left to the closure.
    if (op.kind == SearchOp::Kind::kRejected || op.pre == state.value) continue;
    const auto [low, high] = classes_of(__int128{op.pre} - state.value);
    if (low == high && !several) continue;
    const uint32_t* pending = layer.pending.data() + state.pending_begin;
    const bool covered = std::any_of(pending, pending + state.pending_count, [&](uint32_t other) {
      return op.kind == SearchOp::Kind::kIncrement && covers(other, pending[i]);
    });
    if (covered) continue;
    bool found = false;
    for (size_t c = low; c < high; ++c) {
      if (!available(layer, s, c, state.value)) continue;
      add_directed(layer, s, i, {c, 1, kNone}, next);
      found = true;
    }
    if (!found && several) add_several(layer, s, i, next);
  }
}

// The successors of state s that need more than one ambiguous increment for its i-th pending one.
void StateSpace::add_several(Layer& layer, size_t s, size_t i, Layer& next) {
  const State state = layer.states[s];  // a copy: `layer` may grow
  const SearchOp& op = ops_[layer.pending[state.pending_begin + i]];
  const __int128 missing = __int128{op.pre} - state.value;
  for (size_t c = 0; c < classes_.size(); ++c) {
    if (!available(layer, s, c, state.value)) continue;
    if (const uint32_t count = equal_ones(layer, s, c, missing); count > 0) {
      add_directed(layer, s, i, {c, count, kNone}, next);
    }
    const auto [low, high] = classes_of(missing - classes_[c].delta);
    for (size_t c2 = low; c2 < high; ++c2) {
      if (c2 == c || !available(layer, s, c2, state.value + classes_[c].delta)) continue;
      add_directed(layer, s, i, {c, 1, c2}, next);
    }
  }
}

void StateSpace::add_directed(Layer& layer, size_t s, size_t i, const Batch& batch, Layer& next) {
  const uint32_t parent = layer.states[s].trail;
  const uint32_t p = layer.pending[layer.states[s].pending_begin + i];
  const bool is_increment = ops_[p].kind == SearchOp::Kind::kIncrement;
  load_scratch(layer, s, is_increment ? i : kNone);
  for (uint32_t n = 0; n < batch.first_count; ++n) use(batch.first_class);
  if (batch.second_class != kNone) use(batch.second_class);
  if (is_increment) {
    take_observers();
    take_increment(p);
  }
  settle();
  add_scratch(is_increment ? next : layer, parent);
}

void StateSpace::cut(Layer& layer, size_t width) {
  if (layer.states.size() <= width) return;
  std::vector<uint32_t>& ranking = ranking_;
  ranking.resize(layer.states.size());
  std::iota(ranking.begin(), ranking.end(), 0U);
  std::nth_element(ranking.begin(), ranking.begin() + static_cast<ptrdiff_t>(width), ranking.end(),
                   [&](uint32_t a, uint32_t b) {
                     const State& x = layer.states[a];
                     const State& y = layer.states[b];
                     if (x.spent_count != y.spent_count) return x.spent_count < y.spent_count;
                     return x.lateness != y.lateness ? x.lateness < y.lateness : a < b;
                   });
  ranking.resize(width);
  std::sort(ranking.begin(), ranking.end());
  kept_.clear();
  for (uint32_t s : ranking) {
    State state = layer.states[s];
    if (!make_room(kept_, state.pending_count, state.candidate_count)) {
      full_ = true;
      return;
    }
    const auto pending = layer.pending.begin() + static_cast<ptrdiff_t>(state.pending_begin);
    state.pending_begin = kept_.pending.size();
    kept_.pending.insert(kept_.pending.end(), pending, pending + state.pending_count);
    const auto candidates =
        layer.candidates.begin() + static_cast<ptrdiff_t>(state.candidate_begin);
    state.candidate_begin = kept_.candidates.size();
    kept_.candidates.insert(kept_.candidates.end(), candidates, candidates + state.candidate_count);
    const auto used = layer.used.begin() + static_cast<ptrdiff_t>(s * classes_.size());
    kept_.used.insert(kept_.used.end(), used, used + static_cast<ptrdiff_t>(classes_.size()));
    kept_.states.push_back(state);
  }
  rebuild_table(kept_);
  std::swap(layer, kept_);
}

void StateSpace::write_trail(uint32_t trail, Linearization& order) const {
  const size_t begin = order.size();
  for (uint32_t t = trail; t != 0; t = trails_[t].parent) {
    for (uint32_t i = trails_[t].end; i-- > trails_[t].begin;) order.push_back(trail_ops_[i]);
  }
  std::reverse(order.begin() + static_cast<ptrdiff_t>(begin), order.end());
}

void StateSpace::copy(const Layer& from, Layer& to) {
  const auto room = [&](auto& vector, size_t size) {
    return size <= vector.size() || budget_.make_room(vector, size - vector.size());
  };
  if (room(to.states, from.states.size()) && room(to.pending, from.pending.size()) &&
      room(to.candidates, from.candidates.size()) && room(to.used, from.used.size()) &&
      room(to.slots, from.slots.size())) {
    to = from;
  } else {
    full_ = true;
  }
}

void StateSpace::free(Layer& layer) {
  budget_.free(layer.states);
  budget_.free(layer.pending);
  budget_.free(layer.candidates);
  budget_.free(layer.used);
  budget_.free(layer.slots);
}

void StateSpace::reset_trails() {
  trails_.assign(1, Trail{0, 0, 0});
  trail_ops_.clear();
  trail_count_many_ = kTrailCountMany;
}

void StateSpace::keep_trails(const std::vector<Layer*>& layers) {
  std::vector<uint32_t> places;  // by trail: 0 not kept; where it goes
  if (!budget_.make_room(places, trails_.size())) return;
  places.assign(trails_.size(), 0);
  for (const Layer* layer : layers) {
    for (const State& state : layer->states) places[state.trail] = 1;
  }
  for (size_t t = trails_.size(); t-- > 1;) {  // a parent stands before its children
    if (places[t] != 0) places[trails_[t].parent] = 1;
  }
  places[0] = 0;
  uint32_t trail_count = 1;
  uint32_t op_count = 0;
  for (size_t t = 1; t < trails_.size(); ++t) {
    if (places[t] == 0) continue;
    const Trail from = trails_[t];
    const auto ops = trail_ops_.begin();
    std::copy(ops + from.begin, ops + from.end, ops + op_count);
    const uint32_t begin = op_count;
    op_count += from.end - from.begin;
    trails_[trail_count] = {places[from.parent], begin, op_count};
    places[t] = trail_count++;
  }
  trails_.resize(trail_count);
  trail_ops_.resize(op_count);
  for (Layer* layer : layers) {
    for (State& state : layer->states) state.trail = places[state.trail];
  }
  budget_.free(places);
  trail_count_many_ = std::max(kTrailCountMany, 2 * (trails_.size() + trail_ops_.size()));
}

}  // namespace tally::sim::checker
