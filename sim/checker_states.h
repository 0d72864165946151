// The states of the search for counters that move both ways, and the steps between them.
//
// A state is a set of operations that have taken effect; the value is a function of that set, so
// two orders of the same set are one state. It is kept as its frontier: `next`, the first operation
// by invocation that is not enabled yet, and the pending ones below it that have not taken effect.
// An operation is enabled iff it was invoked by the earliest return among those that have not taken
// effect; so all pending ones are. For ambiguous increments, which have no return, a count per
// class of equal (delta, bounds) is enough: equal ones are interchangeable, and used in order of
// invocation.
//
// Reductions, each without loss:
//  - an enabled get of the current value, or a refusal that the current value justifies, is taken
//    at once: it changes nothing, and the fewer are left, the fewer returns press;
//  - among enabled increments of equal (pre, post) only the one with the earliest return is tried:
//  in
//    any linearization the two can be exchanged;
//  - of two states with the same frontier and value, one that has spent no more ambiguous
//    increments of any class does all that the other does.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "sim/checker_budget.h"
#include "sim/checker_model.h"

namespace tally::sim::checker {

// An operation that is not ambiguous.
struct SearchOp {
  enum class Kind : uint8_t { kIncrement, kGet, kRejected };

  int64_t pre;   // kRejected: forbidden_low
  int64_t post;  // kRejected: forbidden_high
  int64_t invoke;
  int64_t ret;
  uint32_t index;  // into the history
  Kind kind;

  bool observes(int64_t value) const {
    if (kind == Kind::kGet) return pre == value;
    return kind == Kind::kRejected && (value < pre || value > post);
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
  int64_t limit = 0;      // the earliest return among the pending
  uint64_t lateness = 0;  // sum of the returns of the increments taken, on a coarse scale
  uint32_t next = 0;
  uint32_t spent_count = 0;  // ambiguous increments used
  uint32_t trail = 0;        // how it was reached
  uint32_t pending_count = 0;
  uint32_t candidate_count = 0;
  size_t pending_begin = 0;    // in Layer::pending
  size_t candidate_begin = 0;  // in Layer::candidates
};

// A set of states with equally many completed increments and no duplicates.
struct Layer {
  std::vector<State> states;
  std::vector<uint32_t> pending;
  std::vector<uint32_t> candidates;  // positions among a state's pending: increments from its value
  std::vector<uint32_t> used;        // one count per class and state
  std::vector<uint32_t> slots;       // hash table of indexes into `states`, plus 1; empty while few

  void clear();
};

class StateSpace {
 public:
  // States, and how they were reached, take their memory from `budget`, which must outlive this.
  StateSpace(const CounterOps& ops, Budget& budget);

  const std::vector<SearchOp>& ops() const { return ops_; }
  bool has_ambiguous() const { return !classes_.empty(); }
  size_t class_count() const { return classes_.size(); }  // of ambiguous increments

  // Whether memory ran out, so that a layer lacks states that it should have.
  bool is_full() const { return full_; }
  void set_full(bool full) { full_ = full; }
  // What was done besides, on top of one state each, since the last call; in states.
  uint64_t take_extra_work();

  // Keeps at most so many states that differ only in which ambiguous increments they spent; more of
  // them say little new. Not exact, unless it is kNoLimit, which it is at first.
  static constexpr size_t kNoLimit = ~size_t{0};
  void set_variant_count_max(size_t count) { variant_count_max_ = count; }

  // The layer that holds only the state before everything. Its trail is not empty when there are
  // observers to be taken at once.
  void make_start(Layer& layer);
  bool is_done(const State& state) const {
    return state.next == ops_.size() && state.pending_count == 0;
  }

  // Adds to `next` the successors of state s of `layer` by one completed increment.
  void expand_completed(const Layer& layer, size_t s, Layer& next);
  // Adds to `layer` itself the successors of its state s by any one ambiguous increment.
  void expand_closure(Layer& layer, size_t s);
  // Adds the successors of state s of `layer` that use one ambiguous increment (or, with `several`,
  // some equal ones or one each of two classes) and then take a pending operation that needs them:
  // to `next` if it is an increment, else to `layer`.
  void expand_directed(Layer& layer, size_t s, bool several, Layer& next);
  // Leaves the `width` most promising states: those that spent the fewest ambiguous increments, and
  // of these, the ones that took what returns first.
  void cut(Layer& layer, size_t width);

  // Makes `to` a copy of `from`; nothing but is_full() when memory does not allow it.
  void copy(const Layer& from, Layer& to);
  // Gives the layer's memory back. What it holds besides is left empty.
  void free(Layer& layer);

  // Appends the operations that lead to `trail`, in order.
  void write_trail(uint32_t trail, Linearization& order) const;
  // Forgets all trails; those of states are to be set to 0 by the caller.
  void reset_trails();
  // Whether there are so many that those to which no state leads are worth looking for.
  bool trails_are_many() const { return trails_.size() + trail_ops_.size() > trail_count_many_; }
  // Keeps what leads to the states of these layers, and nothing else.
  void keep_trails(const std::vector<Layer*>& layers);

 private:
  // How a state was reached: trail_ops_[begin, end) were applied since its parent.
  struct Trail {
    uint32_t parent;
    uint32_t begin;
    uint32_t end;
  };

  // Ambiguous increments used at once: some of one class, and one of another or none.
  struct Batch {
    size_t first_class;
    uint32_t first_count;
    size_t second_class;
  };

  void load_ops(const CounterOps& ops);
  void load_classes(const CounterOps& ops);
  uint64_t since_first_invoke(int64_t time) const;
  void settle();
  void enable();
  bool take_observers();
  void take_increment(uint32_t p);
  bool same_frontier(const Layer& layer, const State& state) const;
  bool spent_no_more(const uint32_t* used) const;
  void add_scratch(Layer& layer, uint32_t parent);
  bool is_surpassed(const Layer& layer) const;
  void put_into_table(Layer& layer, size_t s) const;
  void rebuild_table(Layer& layer);
  void push_trail_op(uint32_t index);
  bool make_room(Layer& layer, size_t pending_count, size_t candidate_count);
  void load_scratch(const Layer& layer, size_t s, size_t skip);
  bool available(const Layer& layer, size_t s, size_t c, int64_t value) const;
  void use(size_t c);
  std::pair<size_t, size_t> classes_of(__int128 delta) const;
  bool covers(uint32_t other, uint32_t p) const;
  uint32_t equal_ones(const Layer& layer, size_t s, size_t c, __int128 missing) const;
  void add_several(Layer& layer, size_t s, size_t i, Layer& next);
  void add_directed(Layer& layer, size_t s, size_t i, const Batch& batch, Layer& next);

  static constexpr size_t kTrailCountMany = size_t{1} << 16;

  const int64_t initial_;
  Budget& budget_;
  bool full_ = false;
  mutable uint64_t extra_work_ = 0;  // in words looked at or copied
  size_t trail_count_many_ = kTrailCountMany;
  size_t variant_count_max_ = kNoLimit;
  std::vector<SearchOp> ops_;  // by (invoke, ret, index)
  uint32_t lateness_shift_ = 0;
  std::vector<AmbiguousClass> classes_;  // by (delta, lower, upper)
  std::vector<Trail> trails_;            // the first one is the root
  std::vector<uint32_t> trail_ops_;
  State scratch_;  // the state being built, its pending operations, candidates and counts
  bool limit_holds_ = false;  // scratch_.limit is the earliest return in scratch_pending_
  std::vector<uint32_t> scratch_pending_;
  std::vector<uint32_t> scratch_candidates_;  // scratch_.candidate_count of them; more room behind
  std::vector<uint32_t> scratch_used_;
  std::vector<uint32_t> best_;  // kept for its memory, as are ranking_ and kept_
  std::vector<uint32_t> ranking_;
  Layer kept_;
  uint32_t trail_begin_ = 0;  // of its own operations in trail_ops_
};

}  // namespace tally::sim::checker
