// Case C: ambiguous deltas that do not divide one another. Which of them fills which gap is
// strongly NP-complete; real histories, with one or two of them per gap, hardly branch.
//
// Gaps are filled from the lowest up, depth first. Without loss: a single increment equal to the
// gap is the only filling tried (whoever else would have used it uses those it stands in for).
// Fillings are tried by size. Pools are nested, so what failed once with the same increments used
// up fails again; such dead ends are remembered.
//
// Passes grow. At first, a gap is filled by few increments, of those invoked last before its limit:
// what took effect mostly did so soon. The smallest size at which there are fillings is enough, and
// a pass ends at so many dead ends, as going back through gaps that have nothing to do with one
// that cannot be filled is what takes long. Only the last pass tries everything, and can say that
// there is no way. Ahead of it, a gap that ended a pass is put to a relaxed test that often refutes
// at once: whether any subset at all of what was released has that sum.
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <numeric>
#include <set>

#include "sim/checker_fill.h"

namespace tally::sim::checker {
namespace {

// Bits times words that the relaxed test may touch; about a tenth of a second.
constexpr uint64_t kSubsetWorkMax = 200'000'000;
constexpr size_t kDeadEndCountMax = 1'000'000;

struct Class {
  uint64_t delta;
  std::vector<uint32_t> indexes;  // into the history, by invocation
  uint32_t released_count = 0;
  uint32_t used_count = 0;

  uint32_t left() const { return released_count - used_count; }
};

constexpr size_t kNoLimit = ~size_t{0};

struct Pass {
  size_t size_max;      // operations per filling
  size_t choice_max;    // fillings per gap
  size_t recent_max;    // released operations that fillings are made of, apart from their last one
  size_t dead_end_max;  // in the pass

  bool tries_all() const { return size_max == kNoLimit; }
};
constexpr std::array<Pass, 4> kPasses = {{{2, 8, 64, 100},
                                          {3, 16, 128, 1000},
                                          {4, 64, 256, 10'000},
                                          {kNoLimit, kNoLimit, kNoLimit, kNoLimit}}};

// Classes, one entry per increment used, largest first.
using Choice = std::vector<uint32_t>;

struct Frame {
  std::vector<Choice> choices;
  size_t next = 0;  // the choice to try next; the one before it is applied
  size_t released_before = 0;
};

class AnyFiller {
 public:
  AnyFiller(const std::vector<Stage>& stages, const std::vector<PoolOp>& pool, uint64_t* budget)
      : stages_(stages), pool_(pool), budget_(budget) {
    std::map<uint64_t, std::vector<uint32_t>> by_delta;
    for (const PoolOp& op : pool) by_delta[op.delta].push_back(op.index);
    for (auto& [delta, indexes] : by_delta) {
      classes_.push_back({.delta = delta, .indexes = std::move(indexes)});
    }
  }

  Answer run(Filling& filling, FillFailure& failure) {
    for (const Pass& pass : kPasses) {
      const Answer answer = run_pass(pass);
      if (answer == Answer::kOk) {
        collect(filling);
        return answer;
      }
      if (answer == Answer::kUndecided) return answer;
      if (answer == Answer::kViolation || !some_subset_fits(worst_stage_)) {
        explain(failure);
        return Answer::kViolation;
      }
    }
    return Answer::kUndecided;  // not reached: the last pass leaves nothing out
  }

 private:
  size_t class_of(uint64_t delta) const {
    const auto it = std::lower_bound(classes_.begin(), classes_.end(), delta,
                                     [](const Class& c, uint64_t d) { return c.delta < d; });
    return static_cast<size_t>(it - classes_.begin());
  }

  bool spend() {
    if (*budget_ == 0) return false;
    --*budget_;
    return true;
  }

  void reset() {
    for (Class& cls : classes_) cls.released_count = cls.used_count = 0;
    released_ = 0;
    frames_.clear();
    dead_ends_.clear();
    dead_end_hashes_.clear();
    used_hash_ = 0;
    left_out_ = false;
  }

  // kOk with frames_; kViolation when nothing was left out; kNotApplicable when something was.
  Answer run_pass(const Pass& pass) {
    reset();
    worst_stage_ = 0;
    size_t dead_end_count = 0;
    while (frames_.size() < stages_.size()) {
      if (!enter(pass)) return Answer::kUndecided;
      while (!frames_.empty() && !advance()) {
        if (!spend()) return Answer::kUndecided;
        if (++dead_end_count > pass.dead_end_max) return Answer::kNotApplicable;
      }
      if (frames_.empty()) return left_out_ ? Answer::kNotApplicable : Answer::kViolation;
    }
    return Answer::kOk;
  }

  // Opens the frame of the next stage. False when the budget is spent.
  bool enter(const Pass& pass) {
    const size_t stage = frames_.size();
    frames_.emplace_back();
    frames_.back().released_before = released_;
    while (released_ < pool_.size() && pool_[released_].invoke <= stages_[stage].limit) {
      ++classes_[class_of(pool_[released_].delta)].released_count;
      ++released_;
    }
    if (dead_end_hashes_.count({stage, used_hash_}) > 0 &&
        dead_ends_.count({stage, used_counts()}) > 0) {
      return true;
    }
    const bool within = list_choices(pass, stages_[stage].low - stages_[stage].from);
    if (frames_.back().choices.empty() && stage > worst_stage_) worst_stage_ = stage;
    return within;
  }

  // Applies the next choice of the last frame; closes it and answers false when there is none.
  bool advance() {
    Frame& frame = frames_.back();
    if (frame.next > 0) {
      for (uint32_t c : frame.choices[frame.next - 1]) {
        --classes_[c].used_count;
        used_hash_ -= hash_of(c);
      }
    }
    if (frame.next < frame.choices.size()) {
      for (uint32_t c : frame.choices[frame.next]) {
        ++classes_[c].used_count;
        used_hash_ += hash_of(c);
      }
      ++frame.next;
      return true;
    }
    if (dead_ends_.size() < kDeadEndCountMax) {
      dead_ends_.insert({frames_.size() - 1, used_counts()});
      dead_end_hashes_.insert({frames_.size() - 1, used_hash_});
    }
    while (released_ > frame.released_before) {
      --classes_[class_of(pool_[--released_].delta)].released_count;
    }
    frames_.pop_back();
    return false;
  }

  // Their sum over the increments used tells most sets of them apart.
  static uint64_t hash_of(uint32_t c) {
    const uint64_t bits = (uint64_t{c} + 1) * 0x9E3779B97F4A7C15U;
    return (bits ^ (bits >> 32)) * 0xD6E8FEB86659FD93U;
  }

  std::vector<uint32_t> used_counts() const {
    std::vector<uint32_t> counts;
    counts.reserve(classes_.size());
    for (const Class& cls : classes_) counts.push_back(cls.used_count);
    return counts;
  }

  // False when the budget is spent.
  bool list_choices(const Pass& pass, uint64_t amount) {
    const size_t single = class_of(amount);
    if (single < classes_.size() && classes_[single].delta == amount &&
        classes_[single].left() > 0) {
      frames_.back().choices.push_back({static_cast<uint32_t>(single)});
      return true;
    }
    const uint64_t left_count = list_candidates(pass, amount);
    for (size_t size = 2; size <= left_count; ++size) {
      const size_t choice_count = frames_.back().choices.size();
      const bool enough = choice_count > 0 && !pass.tries_all();
      if (size > pass.size_max || choice_count >= pass.choice_max || enough) {
        left_out_ = true;
        return true;
      }
      choice_.clear();
      if (!extend(pass, size, amount, 0)) return false;
    }
    return true;
  }

  // Fills candidates_ with the classes below `amount` that the pass makes fillings of, largest
  // first. How many operations those are that are left of them.
  uint64_t list_candidates(const Pass& pass, uint64_t amount) {
    candidates_.clear();
    if (released_ > pass.recent_max) {
      left_out_ = true;
      for (size_t i = released_ - pass.recent_max; i < released_; ++i) {
        candidates_.push_back(static_cast<uint32_t>(class_of(pool_[i].delta)));
      }
      std::sort(candidates_.begin(), candidates_.end(), std::greater<>());
      candidates_.erase(std::unique(candidates_.begin(), candidates_.end()), candidates_.end());
    } else {
      for (size_t c = class_of(amount); c-- > 0;) candidates_.push_back(static_cast<uint32_t>(c));
    }
    uint64_t left_count = 0;
    size_t kept = 0;
    for (uint32_t c : candidates_) {
      if (classes_[c].delta >= amount || classes_[c].left() == 0) continue;
      left_count += classes_[c].left();
      candidates_[kept++] = c;
    }
    candidates_.resize(kept);
    // The last one of a filling may be older.
    return pass.tries_all() || kept == 0 ? left_count : left_count + 1;
  }

  // Completes choice_ by `size` more operations with the given sum, of candidates_ from `begin` on
  // but for the last one, none larger than the one before it. False when the budget is spent.
  bool extend(const Pass& pass, size_t size, uint64_t amount, size_t begin) {
    if (!spend()) return false;
    if (size == 1) {
      const size_t c = class_of(amount);
      if (c < classes_.size() && c <= choice_.back() && classes_[c].delta == amount &&
          classes_[c].left() > taken_of(c)) {
        if (frames_.back().choices.size() >= pass.choice_max) {
          left_out_ = true;
          return true;
        }
        choice_.push_back(static_cast<uint32_t>(c));
        frames_.back().choices.push_back(choice_);
        choice_.pop_back();
      }
      return true;
    }
    for (size_t i = begin; i < candidates_.size(); ++i) {
      const uint32_t c = candidates_[i];
      const Class& cls = classes_[c];
      if (cls.delta >= amount || cls.left() <= taken_of(c)) continue;
      if (cls.delta <= (amount - 1) / size) break;  // this many of them do not reach it
      choice_.push_back(c);
      const bool within = extend(pass, size - 1, amount - cls.delta, i);
      choice_.pop_back();
      if (!within) return false;
      if (frames_.back().choices.size() >= pass.choice_max) {
        left_out_ = true;
        break;
      }
    }
    return true;
  }

  uint32_t taken_of(size_t c) const {
    return static_cast<uint32_t>(std::count(choice_.begin(), choice_.end(), c));
  }

  // Whether any of the increments released for the stage, used before or not, add up to its gap.
  // True when that would take too long to tell.
  bool some_subset_fits(size_t stage) const {
    const uint64_t amount = stages_[stage].low - stages_[stage].from;
    uint64_t divisor = 0;
    uint64_t count = 0;
    for (const PoolOp& op : pool_) {
      if (op.invoke > stages_[stage].limit) break;
      if (op.delta > amount) continue;
      divisor = std::gcd(divisor, op.delta);
      ++count;
    }
    if (divisor == 0 || amount % divisor != 0) return false;
    if (amount / divisor >= kSubsetWorkMax) return true;
    const uint64_t bit_count = amount / divisor + 1;
    const uint64_t word_count = bit_count / 64 + 1;
    if (word_count > kSubsetWorkMax / count) return true;
    std::vector<uint64_t> sums(word_count, 0);
    sums[0] = 1;
    for (const PoolOp& op : pool_) {
      if (op.invoke > stages_[stage].limit) break;
      if (op.delta > amount) continue;
      const uint64_t shift = op.delta / divisor;
      const size_t words = static_cast<size_t>(shift / 64);
      const uint32_t bits = static_cast<uint32_t>(shift % 64);
      for (size_t w = sums.size(); w-- > words;) {
        uint64_t moved = sums[w - words] << bits;
        if (bits != 0 && w > words) moved |= sums[w - words - 1] >> (64 - bits);
        sums[w] |= moved;
      }
    }
    return (sums[(bit_count - 1) / 64] >> ((bit_count - 1) % 64) & 1) != 0;
  }

  void explain(FillFailure& failure) const {
    failure.stage = static_cast<uint32_t>(worst_stage_);
    failure.from = stages_[worst_stage_].from;
    failure.available.clear();
    for (const PoolOp& op : pool_) {
      if (op.invoke <= stages_[worst_stage_].limit) failure.available.push_back(op.index);
    }
  }

  void collect(Filling& filling) const {
    std::vector<uint32_t> used(classes_.size(), 0);
    filling.ops.clear();
    filling.ends.clear();
    for (const Frame& frame : frames_) {
      for (uint32_t c : frame.choices[frame.next - 1]) {
        filling.ops.push_back(classes_[c].indexes[used[c]++]);
      }
      filling.ends.push_back(static_cast<uint32_t>(filling.ops.size()));
    }
  }

  const std::vector<Stage>& stages_;
  const std::vector<PoolOp>& pool_;
  uint64_t* budget_;
  std::vector<Class> classes_;                                    // by delta
  size_t released_ = 0;                                           // of pool_
  std::vector<Frame> frames_;                                     // one per stage entered
  std::set<std::pair<size_t, std::vector<uint32_t>>> dead_ends_;  // stage, counts used before it
  std::set<std::pair<size_t, uint64_t>> dead_end_hashes_;         // the same by used_hash_
  uint64_t used_hash_ = 0;            // sum of hash_of over the increments used
  std::vector<uint32_t> candidates_;  // classes that the gap at hand may be filled from
  Choice choice_;                     // being built
  size_t worst_stage_ = 0;            // the highest one without any choice in this pass
  bool left_out_ = false;             // this pass skipped a choice
};

}  // namespace

Answer fill_any(const std::vector<Stage>& stages, const std::vector<PoolOp>& pool, uint64_t* budget,
                Filling& filling, FillFailure& failure) {
  return AnyFiller(stages, pool, budget).run(filling, failure);
}

}  // namespace tally::sim::checker
