// The search goes layer by layer, a layer being the states with equally many completed increments.
//
// First by beams. A layer that grows past the beam's width is cut, and ambiguous increments are
// used only where one kind of them, or one each of two kinds, leads right up to a pending
// operation. Of states that differ only in what they spent, the first is enough at first: others
// say little new, and there are many. When a layer comes down to one state without anything left
// out since the last time, all linearizations go through it: it is final, and what led there is
// written down. When a beam dies, it goes back some layers, to a snapshot, and tries again from
// there with a greater width; each time further and wider, until it has passed the place. Most of a
// history is easy, so the width is spent where it is needed. A beam that died without anything left
// out since the last final state is a proof: a violation. Otherwise, a linearization is all that a
// beam can be trusted with.
//
// Where beams give up, an exact pass goes on from the last final state: no width, and any ambiguous
// increment at any time. It decides small histories, and violations in which little is ambiguous.
#include "sim/checker_search.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/checker_core.h"
#include "sim/checker_explain.h"
#include "sim/checker_states.h"

namespace tally::sim::checker {
namespace {

constexpr size_t kWidthMinCertain = 2;  // at first, where nothing is ambiguous: few orders differ
constexpr size_t kWidthMax = size_t{1} << 14;
constexpr size_t kSnapshotCountMax = 256;
constexpr size_t kStatesPerTidying = 1024;

// How one pass over the layers ended.
enum class PassEnd : uint8_t { kFound, kProvenEmpty, kLost, kBudget };

class Search {
 public:
  // `why` may be null: then nobody wants to know.
  Search(const CounterOps& ops, size_t beam_width, Budget& budget, Explanation* why)
      : input_(ops),
        beam_width_(beam_width),
        width_min_(ops.ambiguous.empty() ? std::min(beam_width, kWidthMinCertain) : beam_width),
        snapshot_distance_(ops.ambiguous.empty() ? (beam_width + 1) / 2 : beam_width),
        back_min_(2 * snapshot_distance_),
        budget_(budget),
        why_(why),
        space_(ops, budget) {}

  Answer run(Linearization& order) {
    if (space_.ops().empty()) return Answer::kOk;  // nobody was answered
    const size_t order_begin = order.size();
    space_.make_start(final_);
    if (space_.is_full()) {
      if (why_ != nullptr) explain_too_large();
      return Answer::kUndecided;
    }
    space_.write_trail(final_.states[0].trail, order);
    forget_trails(final_);
    // The exact pass gets its share, in case the beams lead nowhere.
    const uint64_t rest = budget_.states_left() / 4;
    budget_.set_aside(rest);
    PassEnd end = run_beams(order);
    space_.set_variant_count_max(StateSpace::kNoLimit);
    budget_.put_back(rest);
    if (end == PassEnd::kLost || end == PassEnd::kBudget) end = run_exact(order);
    if (end == PassEnd::kFound) return Answer::kOk;
    const bool proven = end == PassEnd::kProvenEmpty && !space_.is_full();
    if (why_ != nullptr) {
      const Linearization beginning(order.begin() + static_cast<ptrdiff_t>(order_begin),
                                    order.end());
      proven ? explain_violation(beginning) : explain_undecided();
    }
    order.resize(order_begin);
    return proven ? Answer::kViolation : Answer::kUndecided;
  }

 private:
  // A layer to go back to. `complete`: nothing was left out since the last final state.
  struct Snapshot {
    Layer layer;
    size_t depth;
    bool complete;
  };

  void forget_trails(Layer& layer) {
    space_.reset_trails();
    for (State& state : layer.states) state.trail = 0;
  }

  bool spend(uint64_t state_count = 1) { return budget_.spend(state_count); }

  // Directed steps by several ambiguous increments look at all pairs of a pending operation and a
  // class: about as much work as so many states.
  uint64_t several_cost(const State& state) const {
    constexpr uint64_t kPairsPerState = 256;
    return state.pending_count * space_.class_count() / kPairsPerState;
  }

  // Makes the only state of layer_ final.
  void make_final(size_t depth, Linearization& order) {
    space_.copy(layer_, final_);
    if (space_.is_full()) return;
    space_.write_trail(layer_.states[0].trail, order);
    forget_trails(final_);
    forget_trails(layer_);
    final_depth_ = depth;
    while (!snapshots_.empty()) drop_last_snapshot();
  }

  // Between the layers: what only led to states that are gone is forgotten now and then.
  void tidy_up() {
    budget_.settled(layer_.states[0].next - layer_.states[0].pending_count);
    if (!space_.trails_are_many()) return;
    std::vector<Layer*> layers = {&layer_, &next_layer_};
    for (Snapshot& snapshot : snapshots_) layers.push_back(&snapshot.layer);
    space_.keep_trails(layers);
  }

  // Whether a state of layer_ is done; `order` is then what led there. Asked before giving up, too:
  // the budget may end after such a state was made and before it was looked at.
  bool is_found(Linearization& order) const {
    for (const State& state : layer_.states) {
      if (!space_.is_done(state)) continue;
      space_.write_trail(state.trail, order);
      return true;
    }
    return false;
  }

  PassEnd run_beams(Linearization& order) {
    space_.copy(final_, layer_);
    size_t depth = 0;
    size_t trouble_depth = 0;  // the last layer of the beam that came furthest of those that died
    size_t attempt_count = 0;
    bool complete = !space_.has_ambiguous();
    for (;;) {
      const size_t width = std::min(kWidthMax, width_min_ << (2 * attempt_count));
      space_.set_variant_count_max(size_t{1} << attempt_count);
      if (depth >= last_snapshot_depth() + snapshot_distance_) {
        if (complete && layer_.states.size() == 1) {
          make_final(depth, order);
        } else {
          keep_snapshot(depth, complete);
        }
      }
      if (space_.is_full()) return PassEnd::kLost;
      const bool expanded = expand_beam(width, attempt_count > 0);
      if (space_.is_full()) return PassEnd::kLost;
      if (is_found(order)) return PassEnd::kFound;
      if (!expanded) return PassEnd::kBudget;
      if (!next_layer_.states.empty()) {
        std::swap(layer_, next_layer_);
        complete = complete && layer_.states.size() <= width;
        space_.cut(layer_, width);
        ++depth;
        if (depth > trouble_depth) attempt_count = 0;
        tidy_up();
        continue;
      }
      if (complete) return PassEnd::kProvenEmpty;
      if (width == kWidthMax) return PassEnd::kLost;
      trouble_depth = std::max(trouble_depth, depth);
      go_back(back_min_ << attempt_count, &depth, &complete);
      ++attempt_count;
    }
  }

  size_t last_snapshot_depth() const {
    return snapshots_.empty() ? final_depth_ : snapshots_.back().depth;
  }

  void keep_snapshot(size_t depth, bool complete) {
    if (snapshots_.size() == kSnapshotCountMax) thin_out_snapshots();
    snapshots_.push_back({{}, depth, complete});
    space_.copy(layer_, snapshots_.back().layer);
    if (!space_.is_full()) return;
    drop_last_snapshot();  // there is memory only for fewer
    space_.set_full(false);
    thin_out_snapshots();
  }

  // Every other one of the older half goes: far back, the distance may be greater.
  void thin_out_snapshots() {
    if (snapshots_.empty()) return;
    size_t kept = 1;
    for (size_t i = 1; i < snapshots_.size(); ++i) {
      if (i >= snapshots_.size() / 2 || i % 2 == 0) std::swap(snapshots_[kept++], snapshots_[i]);
    }
    while (snapshots_.size() > kept) drop_last_snapshot();
  }

  void drop_last_snapshot() {
    space_.free(snapshots_.back().layer);
    snapshots_.pop_back();
  }

  // To the newest snapshot at least `distance` layers back, or else the final state.
  void go_back(size_t distance, size_t* depth, bool* complete) {
    while (!snapshots_.empty() && snapshots_.back().depth + distance > *depth) {
      drop_last_snapshot();
    }
    const bool to_final = snapshots_.empty();
    space_.copy(to_final ? final_ : snapshots_.back().layer, layer_);
    *depth = to_final ? final_depth_ : snapshots_.back().depth;
    *complete = to_final ? !space_.has_ambiguous() : snapshots_.back().complete;
  }

  // Fills next_layer_ from layer_. False when the budget is spent.
  bool expand_beam(size_t width, bool several) {
    next_layer_.clear();
    for (size_t s = 0; s < layer_.states.size(); ++s) {
      if (!spend()) return false;
      space_.expand_completed(layer_, s, next_layer_);
    }
    if (!space_.has_ambiguous()) return true;
    const size_t state_count = layer_.states.size();
    const uint32_t spent_cap = spent_cap_of(next_layer_, width);
    for (size_t s = 0; s < layer_.states.size(); ++s) {
      // Those that a get made necessary come on top; their own increments are still to be tried.
      if (s >= state_count) space_.expand_completed(layer_, s, next_layer_);
      if (layer_.states[s].spent_count >= spent_cap) continue;
      if (several && !spend(several_cost(layer_.states[s]))) return false;
      space_.expand_directed(layer_, s, several, next_layer_);
    }
    if (!next_layer_.states.empty() || several) return true;
    for (size_t s = 0; s < layer_.states.size(); ++s) {
      if (!spend(several_cost(layer_.states[s]))) return false;
      space_.expand_directed(layer_, s, true, next_layer_);
    }
    return true;
  }

  // What spends more than this will not survive the cut: `layer` has enough states that do not.
  uint32_t spent_cap_of(const Layer& layer, size_t width) {
    if (layer.states.size() < width) return ~uint32_t{0};
    spent_counts_.clear();
    for (const State& state : layer.states) spent_counts_.push_back(state.spent_count);
    const auto last = spent_counts_.begin() + static_cast<ptrdiff_t>(width - 1);
    std::nth_element(spent_counts_.begin(), last, spent_counts_.end());
    return *last;
  }

  PassEnd run_exact(Linearization& order) {
    while (!snapshots_.empty()) drop_last_snapshot();
    space_.free(layer_);
    space_.free(next_layer_);
    space_.set_full(false);
    space_.copy(final_, layer_);
    forget_trails(layer_);
    size_t depth = final_depth_;
    while (!layer_.states.empty()) {
      next_layer_.clear();
      for (size_t s = 0; s < layer_.states.size(); ++s) {
        if (!spend(1 + space_.take_extra_work()) || space_.is_full()) {
          return is_found(order) ? PassEnd::kFound : PassEnd::kBudget;
        }
        if (s % kStatesPerTidying == 0) tidy_up();
        if (space_.is_done(layer_.states[s])) {
          space_.write_trail(layer_.states[s].trail, order);
          return PassEnd::kFound;
        }
        space_.expand_completed(layer_, s, next_layer_);
        if (space_.has_ambiguous()) space_.expand_closure(layer_, s);
      }
      if (space_.is_full()) return PassEnd::kBudget;
      if (next_layer_.states.empty()) return PassEnd::kProvenEmpty;
      std::swap(layer_, next_layer_);
      ++depth;
      if (layer_.states.size() == 1) make_final(depth, order);
    }
    return PassEnd::kProvenEmpty;
  }

  // The state of the last layer that came furthest, for explanations.
  const State& furthest() const {
    const State* best = &layer_.states[0];
    for (const State& state : layer_.states) {
      if (state.limit > best->limit) best = &state;
    }
    return *best;
  }

  // What is left of the counter at the final state, to which `beginning` leads.
  CounterOps ops_from_final(const Linearization& beginning) const {
    if (beginning.empty()) return input_;
    Linearization done = beginning;
    std::sort(done.begin(), done.end());
    const auto is_done = [&](const auto& op) {
      return std::binary_search(done.begin(), done.end(), op.index);
    };
    CounterOps rest = input_;
    rest.initial = final_.states[0].value;
    std::erase_if(rest.completed, is_done);
    std::erase_if(rest.rejected, is_done);
    std::erase_if(rest.ambiguous, is_done);
    return rest;
  }

  // The core among what every order gets stuck at; what returned by then is tried first.
  std::vector<uint32_t> find_core_behind(const Linearization& beginning) const {
    const CounterOps rest = ops_from_final(beginning);
    const State& state = furthest();
    int64_t open_until = state.limit;
    for (size_t i = 0; i < state.pending_count; ++i) {
      const uint32_t p = layer_.pending[state.pending_begin + i];
      open_until = std::max(open_until, space_.ops()[p].ret);
    }
    for (const int64_t time : {state.limit, open_until, kTimeMax}) {
      const std::vector<uint32_t> core = find_core(rest, time, beam_width_);
      if (!core.empty()) return core;
    }
    return {};
  }

  // Every order leads through the final state, so what cannot be lies behind it.
  void explain_violation(const Linearization& beginning) {
    why_->text = fmt::format("Counter {}:", quoted(input_.name));
    if (!beginning.empty()) {
      why_->text += fmt::format(
          " All fits up to a point before time {}, and every order leads to the value {} there. "
          "From there on,",
          final_.states[0].limit, final_.states[0].value);
    }
    const std::vector<uint32_t> core = find_core_behind(beginning);
    if (core.empty()) return explain_where_stuck(!beginning.empty());
    why_->contradictory = beginning.empty();
    for (const uint32_t index : core) why_->blame(index);
    why_->text += fmt::format(" {} {} in any order, whatever the other operations did.",
                              describe_list(*input_.history, core),
                              core.size() == 1 ? "has no place" : "cannot all be true");
  }

  void explain_where_stuck(bool in_the_middle) {
    const State& state = furthest();
    const std::vector<SearchOp>& ops = space_.ops();
    const uint32_t* pending = layer_.pending.data() + state.pending_begin;
    std::vector<uint32_t> open(pending, pending + state.pending_count);
    std::sort(open.begin(), open.end(), [&](uint32_t a, uint32_t b) {
      return ops[a].ret != ops[b].ret ? ops[a].ret < ops[b].ret : a < b;
    });
    for (uint32_t& p : open) {
      p = ops[p].index;
      why_->blame(p);
    }
    const History& history = *input_.history;
    const std::vector<uint32_t> others(open.begin() + 1, open.end());
    why_->text += fmt::format(
        " {} order of its operations gets stuck by time {}. In the one that comes furthest the "
        "value is {} when {} must take effect{}.",
        in_the_middle ? "every" : "Every", state.limit, state.value, describe(history[open[0]]),
        others.empty() ? "" : "; also open then: " + describe_list(history, others));
  }

  void explain_too_large() {
    const uint32_t first = space_.ops()[0].index;
    why_->blame(first);
    why_->text = fmt::format("Counter {}: undecided, as {}, already at the beginning, with {}.",
                             quoted(input_.name), budget_.what_ran_out(),
                             describe((*input_.history)[first]));
  }

  void explain_undecided() {
    if (layer_.states.empty()) return explain_too_large();
    const State& state = furthest();
    for (size_t i = 0; i < state.pending_count; ++i) {
      why_->blame(space_.ops()[layer_.pending[state.pending_begin + i]].index);
    }
    why_->text = fmt::format(
        "Counter {}: undecided, as {}, around time {}, with {} operation{} open at once and {} "
        "state{} to tell apart.",
        quoted(input_.name), budget_.what_ran_out(), state.limit, state.pending_count,
        state.pending_count == 1 ? "" : "s", layer_.states.size(),
        layer_.states.size() == 1 ? "" : "s");
  }

  const CounterOps& input_;
  const size_t beam_width_;
  const size_t width_min_;
  const size_t snapshot_distance_;  // layers
  const size_t back_min_;           // layers a beam goes back at first
  Budget& budget_;
  Explanation* why_;
  StateSpace space_;
  Layer final_;  // holds one state; trails begin there
  size_t final_depth_ = 0;
  Layer layer_;
  Layer next_layer_;
  std::vector<Snapshot> snapshots_;  // by depth
  std::vector<uint32_t> spent_counts_;
};

}  // namespace

Answer solve_search(const CounterOps& ops, size_t beam_width, Budget& budget, Linearization& order,
                    Explanation& why) {
  return Search(ops, beam_width, budget, &why).run(order);
}

Answer decide_by_search(const CounterOps& ops, size_t beam_width, Budget& budget) {
  Linearization unused;
  return Search(ops, beam_width, budget, nullptr).run(unused);
}

}  // namespace tally::sim::checker
