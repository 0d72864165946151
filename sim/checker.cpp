#include "sim/checker.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/check.h"
#include "sim/checker_budget.h"
#include "sim/checker_load.h"
#include "sim/checker_model.h"
#include "sim/checker_monotone.h"
#include "sim/checker_search.h"

namespace tally::sim {
namespace {

using checker::Answer;

// What became of one counter.
struct Part {
  Answer answer = Answer::kOk;
  checker::Explanation why;
  checker::Linearization linearization;
  uint64_t states_visited = 0;
};

// Judges the counters each for itself: first all that do not need the search, so that a violation
// there is found before any searching, then the others.
class Judge {
 public:
  Judge(const History& history, const CheckOptions& options, const ForEach& for_each)
      : history_(history), options_(options), for_each_(for_each) {}

  CheckResult run() {
    if (!history_.empty()) judge_counters();
    count();
    return std::move(result_);
  }

 private:
  void judge_counters() {
    grouping_ = checker::group_by_counter(history_);
    parts_.resize(grouping_.counter_count());
    for_each_(parts_.size(), [&](size_t counter) { return judge_directly(counter); });
    std::vector<size_t> all(parts_.size());
    std::iota(all.begin(), all.end(), size_t{0});
    if (!sum_up(all)) return;
    std::vector<size_t> hard;
    for (size_t counter : all) {
      if (parts_[counter].answer == Answer::kNotApplicable) hard.push_back(counter);
    }
    for_each_(hard.size(), [&](size_t i) { return judge_by_search(hard[i]); });
    if (!sum_up(hard)) return;
    if (result_.verdict != CheckResult::Verdict::kOk) return;
    join_linearizations();
    verify();
  }

  // These two touch nothing but the counter's part. False when it is a violation.
  bool judge_directly(size_t counter) {
    Part& part = parts_[counter];
    checker::CounterOps ops;
    part.answer = load_counter(history_, options_, grouping_, counter, ops, part.why);
    if (part.answer == Answer::kOk) {
      checker::Budget budget(options_);
      part.answer = ops.has_positive && ops.has_negative
                        ? Answer::kNotApplicable
                        : solve_monotone(ops, budget, part.linearization, part.why);
      part.states_visited = budget.spent_count();
      if (part.answer != Answer::kNotApplicable) report_rest(counter, budget);
    }
    return part.answer != Answer::kViolation;
  }

  bool judge_by_search(size_t counter) {
    Part& part = parts_[counter];
    part = {};
    checker::CounterOps ops;
    load_counter(history_, options_, grouping_, counter, ops, part.why);
    checker::Budget budget(options_);
    part.answer = solve_search(ops, options_.beam_width, budget, part.linearization, part.why);
    part.states_visited = budget.spent_count();
    report_rest(counter, budget);
    return part.answer != Answer::kViolation;
  }

  // For progress: a counter that was judged is done with, whatever the answer.
  void report_rest(size_t counter, const checker::Budget& budget) const {
    if (!options_.on_progress) return;
    const uint64_t op_count = grouping_.starts[counter + 1] - grouping_.starts[counter];
    options_.on_progress(op_count - std::min(op_count, budget.reported_op_count()), 0);
  }

  // The first violation among `counters` is the verdict; without one, the first that is undecided.
  // False when there is a violation: what follows it may not have been judged.
  bool sum_up(const std::vector<size_t>& counters) {
    for (size_t counter : counters) {
      Part& part = parts_[counter];
      result_.states_visited += part.states_visited;
      if (part.answer == Answer::kViolation) {
        note(CheckResult::Verdict::kViolation, part.why);
        return false;
      }
      if (part.answer == Answer::kUndecided && result_.verdict == CheckResult::Verdict::kOk) {
        note(CheckResult::Verdict::kUnknown, part.why);
      }
    }
    return true;
  }

  void note(CheckResult::Verdict verdict, checker::Explanation& why) {
    std::sort(why.culprits.begin(), why.culprits.end());
    why.culprits.erase(std::unique(why.culprits.begin(), why.culprits.end()), why.culprits.end());
    CHECK(!why.text.empty() && !why.culprits.empty(), "a verdict without a reason");
    result_.verdict = verdict;
    result_.reason = std::move(why.text);
    result_.culprits_contradict = why.contradictory;
    result_.culprits = std::move(why.culprits);
  }

  void join_linearizations() {
    result_.linearization = std::move(parts_[0].linearization);
    for (size_t counter = 1; counter < parts_.size(); ++counter) {
      const checker::Linearization part = std::move(parts_[counter].linearization);
      result_.linearization.insert(result_.linearization.end(), part.begin(), part.end());
    }
  }

  void verify() const {
    const std::string error = verify_linearization(history_, options_, result_.linearization);
    CHECK(error.empty(), "the checker's own linearization is wrong: {}", error);
  }

  // A linearization has all that was answered, and what was needed beside it.
  void count() {
    result_.op_count = grouping_.answered_count + grouping_.unknown_count;
    if (result_.verdict == CheckResult::Verdict::kOk) {
      result_.unknown_used_count = result_.linearization.size() - grouping_.answered_count;
    }
    result_.unknown_unspent_count = grouping_.ambiguous_count - result_.unknown_used_count;
  }

  const History& history_;
  const CheckOptions& options_;
  const ForEach& for_each_;
  checker::Grouping grouping_;
  std::vector<Part> parts_;  // by counter
  CheckResult result_;
};

}  // namespace

void for_each_in_order(size_t count, const Task& task) {
  for (size_t i = 0; i < count; ++i) {
    if (!task(i)) return;
  }
}

CheckResult check_history(const History& history, const CheckOptions& options,
                          const ForEach& for_each) {
  return Judge(history, options, for_each).run();
}

}  // namespace tally::sim
