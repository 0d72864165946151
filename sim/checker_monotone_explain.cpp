// What the monotone cases say about a violation: two operations that cannot both be right, or a
// gap, its deadline, and the ambiguous increments that could have filled it.
#include <fmt/format.h>

#include "sim/checker_monotone_solver.h"

namespace tally::sim::checker {

bool MonotoneSolver::explain_overlap(uint32_t p) {
  const Completed& op = item(p);
  why_.blame(op.index);
  why_.contradictory = true;
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
  why_.contradictory = true;
  why_.text = fmt::format(
      "Counter {} only {}, so by their values {} comes before {}; but the latter "
      "had returned before the former was invoked.",
      quoted(ops_.name), direction(), words(item(earlier).index), words(item(later).index));
  return false;
}

bool MonotoneSolver::explain_never_reached(const Refusal& refusal) {
  why_.blame(refusal.index);
  why_.contradictory = true;
  why_.text = fmt::format(
      "Counter {} starts at {} and only {}, so {} cannot have met a value that "
      "was a reason to refuse it.",
      quoted(ops_.name), ops_.initial, direction(), words(refusal.index));
  return false;
}

bool MonotoneSolver::explain_too_late(uint32_t p, const Refusal& refusal) {
  why_.blame(refusal.index);
  why_.blame(item(p).index);
  why_.contradictory = initial_ >= refusal.low;  // else others kept it from being early
  why_.text = fmt::format(
      "Counter {}: {} was refused, so the value had passed {} by then; but {}, which is on the way "
      "there, was invoked only after that refusal returned.",
      quoted(ops_.name), words(refusal.index), value_at(refusal.high), words(item(p).index));
  return false;
}

// A refusal that nothing above its interval can justify, and that came too late for a value below.
void MonotoneSolver::explain_never_early(const Refusal& refusal, uint32_t below) {
  why_.blame(refusal.index);
  std::string proof;
  for (uint32_t p = below; p < item_count_ && proof.empty(); ++p) {
    if (item(p).ret >= refusal.invoke) continue;
    why_.blame(item(p).index);
    why_.contradictory = true;
    proof = words(item(p).index) + " had returned";
  }
  for (uint32_t r : late_) {
    if (!proof.empty()) break;
    if (refusals_[r].ret >= refusal.invoke || below == item_count_) continue;
    if (refusals_[r].high < height_after(below)) continue;
    why_.blame(refusals_[r].index);
    why_.blame(item(below).index);
    proof = fmt::format("{} had been refused for a value above {}", words(refusals_[r].index),
                        value_at(refusals_[r].high));
  }
  why_.text = fmt::format(
      "Counter {}: {} can only have been refused before the value {} was reached, but it was "
      "invoked when {}.",
      quoted(ops_.name), words(refusal.index), value_at(refusal.low),
      proof.empty() ? "it must have been" : proof);
}

// What the stage is there for, as the beginning of a sentence.
std::string MonotoneSolver::explain_goal(const Stage& stage) {
  if (stage.is_exact() && stage.item < item_count_) {
    why_.blame(item(stage.item).index);
    return fmt::format("{} starts from {}", words(item(stage.item).index), value_at(stage.low));
  }
  for (uint32_t r : late_) {
    if (refusals_[r].high + 1 != stage.low || refusals_[r].ret != stage.limit) continue;
    why_.blame(refusals_[r].index);
    return fmt::format("{} was refused, so the value had passed {} by then",
                       words(refusals_[r].index), value_at(stage.low - 1));
  }
  return fmt::format("the value {} must be reached", value_at(stage.low));
}

// What the value before the stage is known from.
std::string MonotoneSolver::explain_from(const Stage& stage) {
  if (stage.item == 0) return "its starting value";
  why_.blame(item(stage.item - 1).index);
  return words(item(stage.item - 1).index);
}

// Until when increments for the stage were sent: " before ... returned", or nothing.
std::string MonotoneSolver::explain_limit(const Stage& stage) {
  if (stage.limit == kTimeMax) return {};
  for (uint32_t p = stage.item; p < item_count_; ++p) {
    if (item(p).ret != stage.limit) continue;
    why_.blame(item(p).index);
    return fmt::format(" before {} returned", words(item(p).index));
  }
  for (const Refusal& refusal : refusals_) {
    if (refusal.ret != stage.limit || refusal.choice != Refusal::Choice::kLate) continue;
    why_.blame(refusal.index);
    return fmt::format(" before {} returned", words(refusal.index));
  }
  return fmt::format(" by time {}", stage.limit);
}

// Of the stages up to `last`, which cannot all be met, the number of one from which on they cannot
// either: as near to `last` as a little further looking finds. What is said is then proven.
uint32_t MonotoneSolver::first_stage_to_fail(uint32_t last) const {
  CheckOptions options;
  options.budget = 20'000;
  options.memory_bytes = uint64_t{64} << 20;
  for (uint32_t count = 1; count <= last; count *= 2) {
    const uint32_t first = last + 1 - count;
    const std::vector<Stage> stages(stages_.begin() + first, stages_.begin() + last + 1);
    Budget budget(options);
    Filling filling;
    FillFailure failure;
    const Answer answer = fill_stages(stages, budget, filling, failure);
    if (answer == Answer::kViolation) return first;
  }
  return 0;
}

void MonotoneSolver::explain_fill(const FillFailure& failure) {
  const Stage& stage = stages_[failure.stage];
  const uint32_t first = first_stage_to_fail(failure.stage);
  const std::string goal = explain_goal(stage);
  const std::string from = explain_from(stage);
  const std::string limit = explain_limit(stage);
  std::vector<uint32_t> sent;
  for (const PoolOp& op : pool_) {
    if (op.invoke <= stage.limit) sent.push_back(op.index);
  }
  constexpr size_t kBlamedMax = 16;
  for (size_t i = 0; i < sent.size() && i < kBlamedMax; ++i) why_.blame(sent[i]);
  const uint64_t missing = stage.low - stage.from;
  why_.text = fmt::format("Counter {}: {}. The answered increments lead only to {} ({}) before ",
                          quoted(ops_.name), goal, value_at(stage.from), from);
  if (sent.empty()) {
    why_.text += fmt::format("that, and no unanswered one was sent{} to add the missing {}.", limit,
                             missing);
    return;
  }
  const std::string unanswered = fmt::format("the unanswered increments sent{}: {}", limit,
                                             describe_list(*ops_.history, sent));
  if (first == failure.stage || stages_[first].item == stage.item) {
    why_.text += fmt::format(
        "that, and the missing {}{} cannot be made of {}.", missing,
        stage.is_exact() ? "" : fmt::format(", or more up to the value {},", value_at(stage.high)),
        unanswered);
    return;
  }
  uint32_t gap_count = 1;
  for (uint32_t s = first; s < failure.stage; ++s) {
    gap_count += stages_[s + 1].item != stages_[s].item;
  }
  why_.text += fmt::format(
      "that, so {} are missing. They and what is missing in the {} before it, since the value {}, "
      "cannot all be made of {}.",
      missing, gap_count == 2 ? "gap" : fmt::format("{} gaps", gap_count - 1),
      value_at(stages_[first].from), unanswered);
}

// The last increment into the gap would have to leave its bounds.
void MonotoneSolver::explain_bounds(const Stage& stage) {
  const std::string goal = explain_goal(stage);
  const std::string from = explain_from(stage);
  constexpr size_t kBlamedMax = 16;
  std::vector<uint32_t> bounded;
  for (const PoolOp& op : pool_) bounded.push_back(op.index);
  for (size_t i = 0; i < bounded.size() && i < kBlamedMax; ++i) why_.blame(bounded[i]);
  why_.text = fmt::format(
      "Counter {}: {}. The answered increments lead only to {} ({}) before that, and no unanswered "
      "one may lead there, as by their bounds none goes beyond {}: {}.",
      quoted(ops_.name), goal, value_at(stage.from), from, value_at(pool_upper_max_),
      describe_list(*ops_.history, bounded));
}

void MonotoneSolver::explain_undecided(const FillFailure& failure) {
  const Stage& stage = stages_[failure.stage];
  const std::string goal = explain_goal(stage);
  const std::string from = explain_from(stage);
  size_t sent_count = 0;
  constexpr size_t kBlamedMax = 16;
  for (const PoolOp& op : pool_) {
    if (op.invoke > stage.limit) break;
    if (sent_count++ < kBlamedMax) why_.blame(op.index);
  }
  why_.text = fmt::format(
      "Counter {}: undecided, as {}. {}, and the answered increments lead only to {} ({}) before "
      "that; whether some of the {} unanswered one{} sent by then make up for this and for all "
      "gaps "
      "before it is not known.",
      quoted(ops_.name), budget_.what_ran_out(), goal, value_at(stage.from), from, sent_count,
      sent_count == 1 ? "" : "s");
}

void MonotoneSolver::explain_out_of_reach(const Refusal& refusal) {
  why_.blame(refusal.index);
  why_.text = fmt::format(
      "Counter {}: {} was refused, so the value had passed {}; but no answered increment leads "
      "there, and the bounds of the unanswered ones keep them below.",
      quoted(ops_.name), words(refusal.index), value_at(refusal.high));
}

}  // namespace tally::sim::checker
