// Case C: ambiguous deltas that do not divide one another. Which of them fills which gap is
// strongly NP-complete; real histories, with one or two of them per gap, hardly branch.
//
// Gaps are filled from the lowest up, depth first. Without loss: a single increment equal to the
// gap is the only filling tried (whoever else would have used it uses those it stands in for).
// Pools are nested, so what failed once with the same increments used
// up fails again; such dead ends are remembered.
//
// Passes grow. At first, a gap is filled by few increments, of those invoked last before its limit:
// what took effect mostly did so soon. The smallest size at which there are fillings is enough, and
// a pass ends at so many dead ends, as going back through gaps that have nothing to do with one
// that cannot be filled is what takes long. Only the last pass tries everything, filling after
// filling by the counts of each size, and can say that there is no way. Ahead of it, a gap that
// ended a pass is put to a relaxed test that often refutes at once: whether any subset at all of
// what was released has that sum.
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include "sim/checker_fill.h"

namespace tally::sim::checker {
namespace {

// Bits times words that the relaxed test may touch; about a tenth of a second.
constexpr uint64_t kSubsetWorkMax = 200'000'000;
constexpr size_t kDeadEndCountMax = 1'000'000;
constexpr uint64_t kClassesPerState = 1024;  // looked at in passing, in about the time of one state

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

// Some increments of one class; a choice has its classes largest first.
struct Part {
  uint32_t cls;
  uint32_t count;
};
using Choice = std::vector<Part>;

struct Frame {
  std::vector<Choice> choices;  // of the last pass: only the one applied, others follow from it
  size_t next = 0;              // the choice to try next; the one before it is applied
  size_t released_before = 0;
  uint64_t held_bytes = 0;
  bool tries_all = false;  // choices follow one another by next_filling
};

// A class of which some are left, and what it and the smaller ones can make.
struct Suffix {
  uint32_t cls;
  uint64_t left;
  uint64_t delta;
  uint64_t divisor;         // of all these deltas, the greatest common one
  unsigned __int128 total;  // their sum
};

class AnyFiller {
 public:
  AnyFiller(const std::vector<Stage>& stages, const std::vector<PoolOp>& pool, Budget& budget)
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
      failure.stage = static_cast<uint32_t>(worst_stage_);
      if (answer == Answer::kUndecided) return answer;
      if (answer == Answer::kViolation || !some_subset_fits(worst_stage_)) {
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

  void reset() {
    for (Class& cls : classes_) cls.released_count = cls.used_count = 0;
    released_ = 0;
    while (!frames_.empty()) close_frame();
    dead_ends_.clear();
    dead_end_hashes_.clear();
    budget_.release(dead_end_bytes_);
    dead_end_bytes_ = 0;
    used_hash_ = 0;
    left_out_ = false;
    worst_stage_ = 0;
  }

  void close_frame() {
    budget_.release(frames_.back().held_bytes);
    frames_.pop_back();
  }

  // kOk with frames_; kViolation when nothing was left out; kNotApplicable when something was.
  Answer run_pass(const Pass& pass) {
    reset();
    size_t dead_end_count = 0;
    while (frames_.size() < stages_.size()) {
      if (!enter(pass)) return Answer::kUndecided;
      for (;;) {
        const std::optional<bool> advanced = advance();
        if (!advanced) return Answer::kUndecided;
        if (*advanced || frames_.empty()) break;
        if (!budget_.spend(1 + classes_.size() / kClassesPerState)) return Answer::kUndecided;
        if (++dead_end_count > pass.dead_end_max) return Answer::kNotApplicable;
      }
      if (frames_.empty()) return left_out_ ? Answer::kNotApplicable : Answer::kViolation;
    }
    return Answer::kOk;
  }

  // Opens the frame of the next stage. False when the budget is spent.
  bool enter(const Pass& pass) {
    const size_t stage = frames_.size();
    if (!budget_.hold(sizeof(Frame))) return false;
    frames_.emplace_back();
    frames_.back().held_bytes = sizeof(Frame);
    frames_.back().released_before = released_;
    while (released_ < pool_.size() && pool_[released_].invoke <= stages_[stage].limit) {
      ++classes_[class_of(pool_[released_].delta)].released_count;
      ++released_;
    }
    if (dead_end_hashes_.count({stage, used_hash_}) > 0 &&
        dead_ends_.count({stage, used_counts()}) > 0) {
      return true;
    }
    const bool within = list_choices(pass, amount_of(stage));
    if (frames_.back().choices.empty() && stage > worst_stage_) worst_stage_ = stage;
    return within;
  }

  uint64_t amount_of(size_t stage) const { return stages_[stage].low - stages_[stage].from; }

  void apply(const Choice& choice) {
    for (const Part& part : choice) {
      classes_[part.cls].used_count += part.count;
      used_hash_ += part.count * hash_of(part.cls);
    }
  }
  void take_back(const Choice& choice) {
    for (const Part& part : choice) {
      classes_[part.cls].used_count -= part.count;
      used_hash_ -= part.count * hash_of(part.cls);
    }
  }

  // Applies the next choice of the last frame; closes it and answers false when there is none.
  // Nothing when the budget is spent.
  std::optional<bool> advance() {
    Frame& frame = frames_.back();
    if (frame.next > 0) take_back(frame.choices[frame.next - 1]);
    if (frame.tries_all && frame.next == frame.choices.size() && !frame.choices.empty()) {
      const std::optional<bool> found = next_filling(frame);
      if (!found) return std::nullopt;
      frame.next = 0;
      if (!*found) frame.choices.clear();
    }
    if (frame.next < frame.choices.size()) {
      apply(frame.choices[frame.next++]);
      return true;
    }
    remember_dead_end();
    while (released_ > frame.released_before) {
      --classes_[class_of(pool_[--released_].delta)].released_count;
    }
    close_frame();
    return false;
  }

  // Half of the memory at most; without it, the same is only found again.
  void remember_dead_end() {
    constexpr uint64_t kOverheadBytes = 192;
    const uint64_t bytes = classes_.size() * sizeof(uint32_t) + kOverheadBytes;
    if (dead_ends_.size() >= kDeadEndCountMax ||
        dead_end_bytes_ + bytes > budget_.bytes_max() / 2 || !budget_.hold(bytes)) {
      return;
    }
    dead_end_bytes_ += bytes;
    dead_ends_.insert({frames_.size() - 1, used_counts()});
    dead_end_hashes_.insert({frames_.size() - 1, used_hash_});
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

  // Whether memory allows one more choice.
  bool add_choice(const Choice& choice) {
    Frame& frame = frames_.back();
    const uint64_t bytes = 2 * sizeof(Choice) + choice.size() * sizeof(Part);
    if (!budget_.hold(bytes)) return false;
    frame.held_bytes += bytes;
    frame.choices.push_back(choice);
    return true;
  }

  // False when the budget is spent.
  bool list_choices(const Pass& pass, uint64_t amount) {
    const size_t single = class_of(amount);
    if (single < classes_.size() && classes_[single].delta == amount &&
        classes_[single].left() > 0) {
      return add_choice({{static_cast<uint32_t>(single), 1}});
    }
    if (pass.tries_all()) {
      Frame& frame = frames_.back();
      frame.tries_all = true;
      if (!add_choice({})) return false;
      const std::optional<bool> found = next_filling(frame);
      if (!found.value_or(false)) frame.choices.clear();
      return found.has_value();
    }
    const uint64_t left_count = list_candidates(pass, amount);
    for (size_t size = 2; size <= left_count; ++size) {
      const size_t choice_count = frames_.back().choices.size();
      if (size > pass.size_max || choice_count > 0) {
        left_out_ = true;
        return true;
      }
      choice_.clear();
      if (!extend(pass, size, amount, 0)) return false;
    }
    return true;
  }

  // Replaces the frame's only choice by the filling that follows it, or, when it is empty, by the
  // first one; false when there is none. Nothing when the budget is spent. In order: as many as
  // possible of the largest class, then fewer. REQUIRES: the choice is not applied.
  std::optional<bool> next_filling(Frame& frame) {
    Choice& choice = frame.choices[0];
    const uint64_t amount = amount_of(frames_.size() - 1);
    if (!budget_.spend(1 + list_suffixes(amount) / kClassesPerState)) return std::nullopt;
    uint64_t rest = choice.empty() ? amount : 0;
    size_t at = 0;  // in suffixes_: these make up for `rest`
    bool back = !choice.empty();
    while (back || rest > 0) {
      if (!budget_.spend()) return std::nullopt;
      if (back) {
        if (choice.empty()) return false;
        at = take_one_less(choice, &rest);
      }
      while (at < suffixes_.size() && suffixes_[at].delta > rest) ++at;
      const bool too_few = at == suffixes_.size() || suffixes_[at].total < rest;
      back = too_few || rest % suffixes_[at].divisor != 0;
      if (back) continue;
      const Suffix& suffix = suffixes_[at++];
      const uint64_t count = std::min<uint64_t>(suffix.left, rest / suffix.delta);
      choice.push_back({suffix.cls, static_cast<uint32_t>(count)});
      rest -= count * suffix.delta;
    }
    const uint64_t bytes = choice.capacity() * sizeof(Part);  // at most once what is counted
    if (bytes > frame.held_bytes) {
      if (!budget_.hold(bytes - frame.held_bytes)) return std::nullopt;
      frame.held_bytes = bytes;
    }
    return true;
  }

  // Takes the last class of the choice one time less; or not at all, where the smaller ones are too
  // few to make up for that, and so for any fewer of it. Where the smaller ones begin.
  size_t take_one_less(Choice& choice, uint64_t* rest) const {
    Part& last = choice.back();
    const size_t at = place_of(last.cls);
    *rest += suffixes_[at].delta;
    --last.count;
    const bool too_few = at + 1 == suffixes_.size() || suffixes_[at + 1].total < *rest;
    if (too_few) {
      *rest += last.count * suffixes_[at].delta;
      last.count = 0;
    }
    if (last.count == 0) choice.pop_back();
    return at + 1;
  }

  size_t place_of(uint32_t cls) const {
    const auto it =
        std::lower_bound(suffixes_.begin(), suffixes_.end(), classes_[cls].delta,
                         [](const Suffix& suffix, uint64_t delta) { return suffix.delta > delta; });
    return static_cast<size_t>(it - suffixes_.begin());
  }

  // Fills suffixes_ with the classes below `amount` of which some are left, largest first. How many
  // were looked at.
  uint64_t list_suffixes(uint64_t amount) {
    suffixes_.clear();
    const size_t end = class_of(amount);
    unsigned __int128 total = 0;
    uint64_t divisor = 0;
    for (uint32_t c = 0; c < end; ++c) {
      const uint64_t left = classes_[c].left();
      if (left == 0) continue;
      total += static_cast<unsigned __int128>(left) * classes_[c].delta;
      divisor = std::gcd(divisor, classes_[c].delta);
      suffixes_.push_back({c, left, classes_[c].delta, divisor, total});
    }
    std::reverse(suffixes_.begin(), suffixes_.end());
    return end;
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
    return kept == 0 ? 0 : left_count + 1;  // the last one of a filling may be older
  }

  // Completes choice_ by `size` more operations with the given sum, of candidates_ from `begin` on
  // but for the last one, none larger than the one before it. False when the budget is spent. Calls
  // itself as deep as a pass has operations per filling.
  bool extend(const Pass& pass, size_t size, uint64_t amount, size_t begin) {
    if (!budget_.spend()) return false;
    if (size == 1) {
      const size_t c = class_of(amount);
      if (c < classes_.size() && c <= choice_.back().cls && classes_[c].delta == amount &&
          classes_[c].left() > taken_of(c)) {
        if (frames_.back().choices.size() >= pass.choice_max) {
          left_out_ = true;
          return true;
        }
        choice_.push_back({static_cast<uint32_t>(c), 1});
        const bool within = add_choice(choice_);
        choice_.pop_back();
        return within;
      }
      return true;
    }
    for (size_t i = begin; i < candidates_.size(); ++i) {
      const uint32_t c = candidates_[i];
      const Class& cls = classes_[c];
      if (cls.delta >= amount || cls.left() <= taken_of(c)) continue;
      if (cls.delta <= (amount - 1) / size) break;  // this many of them do not reach it
      choice_.push_back({c, 1});
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
    return static_cast<uint32_t>(std::count_if(choice_.begin(), choice_.end(),
                                               [&](const Part& part) { return part.cls == c; }));
  }

  // Whether any of the increments released for the stage, used before or not, add up to its gap.
  // True when that would take too long to tell.
  bool some_subset_fits(size_t stage) const {
    const uint64_t amount = amount_of(stage);
    std::vector<uint64_t> counts(classes_.size(), 0);
    for (const PoolOp& op : pool_) {
      if (op.invoke > stages_[stage].limit) break;
      if (op.delta <= amount) ++counts[class_of(op.delta)];
    }
    // Of n equal ones, any number from 0 to n is a subset of 1, 2, 4, ... and the rest of them.
    std::vector<uint64_t> summands;
    uint64_t divisor = 0;
    for (size_t c = 0; c < classes_.size(); ++c) {
      uint64_t left = std::min(counts[c], amount / classes_[c].delta);
      if (left > 0) divisor = std::gcd(divisor, classes_[c].delta);
      for (uint64_t part = 1; left > 0; part *= 2) {
        part = std::min(part, left);
        left -= part;
        summands.push_back(part * classes_[c].delta);
      }
    }
    if (divisor == 0 || amount % divisor != 0) return false;
    if (amount / divisor >= kSubsetWorkMax) return true;
    const uint64_t bit_count = amount / divisor + 1;
    const uint64_t word_count = bit_count / 64 + 1;
    if (word_count > kSubsetWorkMax / summands.size()) return true;
    std::vector<uint64_t> sums(word_count, 0);
    sums[0] = 1;
    for (const uint64_t summand : summands) {
      const uint64_t shift = summand / divisor;
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

  void collect(Filling& filling) const {
    std::vector<uint32_t> used(classes_.size(), 0);
    filling.ops.clear();
    filling.ends.clear();
    for (const Frame& frame : frames_) {
      for (const Part& part : frame.choices[frame.next - 1]) {
        for (uint32_t i = 0; i < part.count; ++i) {
          filling.ops.push_back(classes_[part.cls].indexes[used[part.cls]++]);
        }
      }
      filling.ends.push_back(static_cast<uint32_t>(filling.ops.size()));
    }
  }

  const std::vector<Stage>& stages_;
  const std::vector<PoolOp>& pool_;
  Budget& budget_;
  std::vector<Class> classes_;                                    // by delta
  size_t released_ = 0;                                           // of pool_
  std::vector<Frame> frames_;                                     // one per stage entered
  std::set<std::pair<size_t, std::vector<uint32_t>>> dead_ends_;  // stage, counts used before it
  std::set<std::pair<size_t, uint64_t>> dead_end_hashes_;         // the same by used_hash_
  uint64_t dead_end_bytes_ = 0;
  uint64_t used_hash_ = 0;            // sum of hash_of over the increments used
  std::vector<uint32_t> candidates_;  // classes that the gap at hand may be filled from
  std::vector<Suffix> suffixes_;      // classes that the last pass may fill a gap from
  Choice choice_;                     // being built
  size_t worst_stage_ = 0;            // the highest one without any choice in this pass
  bool left_out_ = false;             // this pass skipped a choice
};

}  // namespace

Answer fill_any(const std::vector<Stage>& stages, const std::vector<PoolOp>& pool, Budget& budget,
                Filling& filling, FillFailure& failure) {
  return AnyFiller(stages, pool, budget).run(filling, failure);
}

}  // namespace tally::sim::checker
