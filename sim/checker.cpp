#include "sim/checker.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/check.h"
#include "sim/checker_load.h"
#include "sim/checker_model.h"
#include "sim/checker_monotone.h"
#include "sim/checker_search.h"

namespace tally::sim {
namespace {

using checker::Answer;

// Judges the counters one by one: first all that do not need the search, so that a violation there
// is found before any budget is spent, then the others.
class Judge {
 public:
  Judge(const History& history, const CheckOptions& options)
      : history_(history), options_(options), budget_(options.budget) {}

  CheckResult run() {
    if (!history_.empty()) judge_counters();
    count();
    result_.states_visited = options_.budget - budget_;
    return std::move(result_);
  }

 private:
  void judge_counters() {
    const checker::Grouping grouping = checker::group_by_counter(history_);
    const size_t counter_count = grouping.counter_count();
    std::vector<size_t> ends(counter_count, 0);  // of each counter's part of result_.linearization
    std::vector<size_t> hard;
    checker::CounterOps ops;
    for (size_t counter = 0; counter < counter_count; ++counter) {
      checker::Explanation why;
      Answer answer = load_counter(history_, options_, grouping, counter, ops, why);
      if (answer == Answer::kOk) {
        answer = ops.has_positive && ops.has_negative
                     ? Answer::kNotApplicable
                     : solve_monotone(ops, &budget_, result_.linearization, why);
      }
      if (answer == Answer::kNotApplicable) hard.push_back(counter);
      if (answer == Answer::kUndecided) note_undecided(why);
      if (answer == Answer::kViolation) return note_violation(why);
      ends[counter] = result_.linearization.size();
    }
    if (!hard.empty() && !judge_hard(grouping, hard, ends, ops)) return;
    if (result_.verdict == CheckResult::Verdict::kOk) verify();
  }

  // False when one of them is a violation. Their parts are put in their places in order of
  // counters.
  bool judge_hard(const checker::Grouping& grouping, const std::vector<size_t>& hard,
                  const std::vector<size_t>& ends, checker::CounterOps& ops) {
    checker::Linearization merged;
    size_t copied = 0;  // of the easy counters' linearization
    auto copy_up_to = [&](size_t end) {
      merged.insert(merged.end(), result_.linearization.begin() + static_cast<ptrdiff_t>(copied),
                    result_.linearization.begin() + static_cast<ptrdiff_t>(end));
      copied = end;
    };
    for (size_t counter : hard) {
      copy_up_to(ends[counter]);
      checker::Explanation why;
      load_counter(history_, options_, grouping, counter, ops, why);
      const Answer answer = solve_search(ops, options_.beam_width, &budget_, merged, why);
      if (answer == Answer::kViolation) {
        note_violation(why);
        return false;
      }
      if (answer == Answer::kUndecided) note_undecided(why);
    }
    copy_up_to(result_.linearization.size());
    result_.linearization = std::move(merged);
    return true;
  }

  void note_violation(checker::Explanation& why) { note(CheckResult::Verdict::kViolation, why); }

  // The first one is reported, but later ones can still turn out to be violations.
  void note_undecided(checker::Explanation& why) {
    if (result_.verdict == CheckResult::Verdict::kOk) note(CheckResult::Verdict::kUnknown, why);
  }

  void note(CheckResult::Verdict verdict, checker::Explanation& why) {
    std::sort(why.culprits.begin(), why.culprits.end());
    why.culprits.erase(std::unique(why.culprits.begin(), why.culprits.end()), why.culprits.end());
    result_.verdict = verdict;
    result_.reason = std::move(why.text);
    result_.culprits = std::move(why.culprits);
  }

  void verify() const {
    const std::string error = verify_linearization(history_, options_, result_.linearization);
    CHECK(error.empty(), "the checker's own linearization is wrong: {}", error);
  }

  void count() {
    if (result_.verdict != CheckResult::Verdict::kOk) result_.linearization.clear();
    for (const Operation& op : history_) {
      result_.op_count += op.status != Operation::Status::kFailed;
      result_.unknown_unspent_count += op.status == Operation::Status::kUnknown &&
                                       op.kind == Operation::Kind::kAdd && op.delta != 0;
    }
    for (uint32_t index : result_.linearization) {
      result_.unknown_used_count += history_[index].status == Operation::Status::kUnknown;
    }
    result_.unknown_unspent_count -= result_.unknown_used_count;
  }

  const History& history_;
  const CheckOptions& options_;
  uint64_t budget_;
  CheckResult result_;
};

}  // namespace

CheckResult check_history(const History& history, const CheckOptions& options) {
  return Judge(history, options).run();
}

}  // namespace tally::sim
