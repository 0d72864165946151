// Case B: divisibility chains, largest first.
//
// Why largest first is exact between two fixed heights. Let d_1 | d_2 | ... be the deltas. Of two
// fillings of the same gap call the first finer-leaving when, for every j, it uses no more than the
// other of the sum of d_1 .. d_j. Then what it leaves over arises from what the other leaves by
// splitting large deltas into equal sums of smaller ones: from the top, the surplus of d_j that
// the other has left is a multiple of d_j and is matched by smaller ones here. Whoever needs a
// split increment later applies its parts in direct succession instead, all of which are released
// (pools are nested); the value moves through more steps but ends the same. So the finer leftover
// does all that the coarser one does, and largest first uses the fewest small ones, for every j at
// once.
//
// Why a stage with low < high has few candidates. Take a valid linearization and the ambiguous
// increments it applies in that stage, from height h. Apply them largest first instead and stop as
// soon as low is reached; the others move behind that point, which they may, being released and
// having no return; the heights stay within those of the original, so bounds hold as well. If
// the last one applied was a d_k, all those before it were multiples of d_k and did not reach low:
// the height reached is the only multiple of d_k above h in [low, low + d_k). So one candidate per
// distinct delta is enough, or none of them if h has reached low already. Candidates at equal
// height are pruned by the order above; between different heights all are kept, until the next
// exact stage brings them together. Where they multiply, the budget ends it.
//
// Why a stage may be passed over when the next one lies in the same gap and nothing is released in
// between: whatever reaches the next one's low, which is no lower, was released by this one's limit
// already, and may all be applied by then.
#include "sim/checker_fill.h"

#include <algorithm>
#include <map>

namespace tally::sim::checker {
namespace {

constexpr uint32_t kNoNode = ~uint32_t{0};
constexpr uint64_t kHeightBytes = 128;  // of one height that the next frontier has, about

// The pool by delta, smallest first. Equal deltas are interchangeable and used in order of
// invocation, so a count per delta says which were used.
struct Level {
  uint64_t delta = 0;
  uint32_t released_count = 0;
  std::vector<uint32_t> indexes;  // into the history, by invocation
};

std::vector<uint64_t> distinct_deltas(const std::vector<PoolOp>& pool) {
  // Few distinct ones are the rule, so most of a long pool is skipped without being sorted.
  std::vector<uint64_t> deltas;
  constexpr size_t kFew = 16;
  for (const PoolOp& op : pool) {
    const size_t known = std::min(deltas.size(), kFew);
    if (std::find(deltas.begin(), deltas.begin() + static_cast<ptrdiff_t>(known), op.delta) ==
        deltas.begin() + static_cast<ptrdiff_t>(known)) {
      deltas.push_back(op.delta);
    }
  }
  std::sort(deltas.begin(), deltas.end());
  deltas.erase(std::unique(deltas.begin(), deltas.end()), deltas.end());
  return deltas;
}

class ChainFiller {
 public:
  ChainFiller(const std::vector<Stage>& stages, const std::vector<PoolOp>& pool, Budget& budget)
      : stages_(stages), pool_(pool), budget_(budget) {
    for (uint64_t delta : distinct_deltas(pool)) {
      levels_.push_back({.delta = delta, .released_count = 0, .indexes = {}});
    }
    for (const PoolOp& op : pool) level_of(op.delta).indexes.push_back(op.index);
    nodes_.push_back({.parent = kNoNode, .stage = 0, .height = 0});
    used_.assign(levels_.size(), 0);
    frontier_.push_back(0);
  }

  Answer run(Filling& filling, FillFailure& failure) {
    for (uint32_t s = 0; s < stages_.size(); ++s) {
      failure.stage = s;
      release(stages_[s].limit);
      if (is_implied_by_next(s)) continue;
      clear_by_height();
      for (uint32_t node : frontier_) {
        if (!expand(node, s)) return Answer::kUndecided;
      }
      if (by_height_.empty()) return Answer::kViolation;
      frontier_.clear();
      for (const auto& [height, nodes] : by_height_) {
        if (!budget_.make_room(frontier_, nodes.size())) return Answer::kUndecided;
        frontier_.insert(frontier_.end(), nodes.begin(), nodes.end());
      }
    }
    collect(frontier_.front(), filling);
    return Answer::kOk;
  }

 private:
  // One way to have come through the stages up to `stage`. used_ holds its counts by level.
  struct Node {
    uint32_t parent;
    uint32_t stage;
    uint64_t height;
  };

  Level& level_of(uint64_t delta) {
    auto it = std::lower_bound(levels_.begin(), levels_.end(), delta,
                               [](const Level& level, uint64_t d) { return level.delta < d; });
    return *it;
  }

  uint32_t* used_by(uint32_t node) { return used_.data() + size_t{node} * levels_.size(); }

  void release(int64_t limit) {
    while (released_ < pool_.size() && pool_[released_].invoke <= limit) {
      ++level_of(pool_[released_].delta).released_count;
      ++released_;
    }
  }

  void clear_by_height() {
    budget_.release(by_height_.size() * kHeightBytes);
    by_height_.clear();
  }

  bool is_implied_by_next(uint32_t s) const {
    if (s + 1 == stages_.size() || stages_[s + 1].item != stages_[s].item) return false;
    return released_ == pool_.size() || pool_[released_].invoke > stages_[s + 1].limit;
  }

  // False when the budget is spent.
  bool expand(uint32_t node, uint32_t stage_index) {
    const Stage& stage = stages_[stage_index];
    const uint64_t height = std::max(nodes_[node].height, stage.from);
    if (height >= stage.low || stage.is_exact()) {
      return add_candidate(node, stage_index, height, stage.low > height ? stage.low - height : 0);
    }
    const uint64_t missing = stage.low - height;
    uint64_t amount_before = 0;
    for (const Level& level : levels_) {
      const uint64_t remainder = missing % level.delta;
      const uint64_t more = remainder == 0 ? 0 : level.delta - remainder;
      if (more > stage.high - stage.low) continue;
      const uint64_t amount = missing + more;
      if (amount != amount_before && !add_candidate(node, stage_index, height, amount)) {
        return false;
      }
      amount_before = amount;
    }
    return true;
  }

  // Raises `node` from `from` by exactly `amount`, largest first, and keeps the result if that is
  // possible and not worse than one already kept. False when the budget is spent.
  bool add_candidate(uint32_t node, uint32_t stage, uint64_t from, uint64_t amount) {
    if (!budget_.spend() || !budget_.make_room(used_, levels_.size()) ||
        !budget_.make_room(nodes_, 1)) {
      return false;
    }
    const uint32_t candidate = static_cast<uint32_t>(nodes_.size());
    used_.resize(used_.size() + levels_.size());
    std::copy_n(used_by(node), levels_.size(), used_by(candidate));
    uint64_t rest = amount;
    for (size_t k = levels_.size(); k-- > 0 && rest > 0;) {
      const uint64_t left = levels_[k].released_count - used_by(candidate)[k];
      const uint64_t taken = std::min(left, rest / levels_[k].delta);
      used_by(candidate)[k] += static_cast<uint32_t>(taken);
      rest -= taken * levels_[k].delta;
    }
    const uint64_t height = from + amount;
    uint64_t comparison_count = 0;
    bool kept = false;
    if (rest == 0) {
      const auto [place, fresh] = by_height_.try_emplace(height);
      if (fresh && !budget_.hold(kHeightBytes)) return false;
      kept = keep(candidate, place->second, &comparison_count);
    }
    if (kept) {
      nodes_.push_back({.parent = node, .stage = stage, .height = height});
    } else {
      used_.resize(used_.size() - levels_.size());
    }
    constexpr uint64_t kComparisonsPerState = 16;
    return budget_.spend(comparison_count / kComparisonsPerState);
  }

  // Adds it to those of the next frontier at its height, unless one of them does all that it does;
  // drops those that it beats.
  bool keep(uint32_t candidate, std::vector<uint32_t>& others, uint64_t* comparison_count) {
    size_t kept = 0;
    for (uint32_t other : others) {
      ++*comparison_count;
      if (leaves_finer(other, candidate)) return false;  // nothing was dropped before: transitive
      if (!leaves_finer(candidate, other)) others[kept++] = other;
    }
    others.resize(kept);
    others.push_back(candidate);
    return true;
  }

  // The heights of both are equal, so both used the same sum, below 2^64.
  bool leaves_finer(uint32_t a, uint32_t b) {
    uint64_t sum_a = 0;
    uint64_t sum_b = 0;
    for (size_t k = 0; k < levels_.size(); ++k) {
      sum_a += used_by(a)[k] * levels_[k].delta;
      sum_b += used_by(b)[k] * levels_[k].delta;
      if (sum_a > sum_b) return false;
    }
    return true;
  }

  void collect(uint32_t node, Filling& filling) {
    std::vector<uint32_t> path;
    for (uint32_t n = node; n != 0; n = nodes_[n].parent) path.push_back(n);
    filling.ops.clear();
    filling.ends.assign(stages_.size(), 0);
    for (size_t i = path.size(); i-- > 0;) {
      const uint32_t* used = used_by(path[i]);
      const uint32_t* before = used_by(nodes_[path[i]].parent);
      for (size_t k = levels_.size(); k-- > 0;) {
        for (uint32_t j = before[k]; j < used[k]; ++j) {
          filling.ops.push_back(levels_[k].indexes[j]);
        }
      }
      filling.ends[nodes_[path[i]].stage] = static_cast<uint32_t>(filling.ops.size());
    }
    for (size_t s = 1; s < stages_.size(); ++s) {  // of those passed over
      filling.ends[s] = std::max(filling.ends[s], filling.ends[s - 1]);
    }
  }

  const std::vector<Stage>& stages_;
  const std::vector<PoolOp>& pool_;
  Budget& budget_;
  std::vector<Level> levels_;
  size_t released_ = 0;
  std::vector<Node> nodes_;
  std::vector<uint32_t> used_;  // levels_.size() per node
  std::vector<uint32_t> frontier_;
  std::map<uint64_t, std::vector<uint32_t>> by_height_;  // the next frontier, as it grows
};

}  // namespace

bool is_divisibility_chain(const std::vector<PoolOp>& pool) {
  const std::vector<uint64_t> deltas = distinct_deltas(pool);
  for (size_t i = 1; i < deltas.size(); ++i) {
    if (deltas[i] % deltas[i - 1] != 0) return false;
  }
  return true;
}

Answer fill_chain(const std::vector<Stage>& stages, const std::vector<PoolOp>& pool, Budget& budget,
                  Filling& filling, FillFailure& failure) {
  return ChainFiller(stages, pool, budget).run(filling, failure);
}

}  // namespace tally::sim::checker
