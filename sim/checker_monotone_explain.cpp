// What the monotone cases say about a violation: two operations that cannot both be right, or a
// gap, its deadline, and the ambiguous increments that could have filled it.
#include <fmt/format.h>

#include <cstring>

#include "sim/checker_monotone_solver.h"

namespace tally::sim::checker {

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

bool MonotoneSolver::explain_never_reached(const Refusal& refusal) {
  why_.blame(refusal.index);
  why_.text = fmt::format(
      "Counter {} starts at {} and only {}, so {} cannot have met a value that "
      "was a reason to refuse it.",
      quoted(ops_.name), ops_.initial, direction(), words(refusal.index));
  return false;
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

}  // namespace tally::sim::checker
