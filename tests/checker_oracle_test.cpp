// The checker against the exhaustive oracle, on small histories of every shape. Set
// TALLY_CHECKER_HISTORIES=1000000 (or more) for the full count. What a violation is blamed on is
// put to the oracle as well.
#include "tests/checker_oracle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/check.h"

namespace tally::sim {
namespace {

using Verdict = CheckResult::Verdict;

uint64_t history_count() {
  const char* text = std::getenv("TALLY_CHECKER_HISTORIES");
  return text == nullptr ? 20'000 : std::strtoull(text, nullptr, 10);
}

bool agrees(const TestCase& small) {
  const CheckResult result = check_history(small.history, small.options);
  const bool accepted = oracle_accepts(small.history, small.options);
  return result.verdict == (accepted ? Verdict::kOk : Verdict::kViolation);
}

// The case with all but the culprits left open: increments of unknown outcome, no other gets or
// refusals.
TestCase with_only_culprits(const TestCase& small, const std::vector<size_t>& culprits) {
  TestCase open = small;
  open.history.clear();
  for (size_t i = 0; i < small.history.size(); ++i) {
    Operation op = small.history[i];
    if (std::find(culprits.begin(), culprits.end(), i) == culprits.end()) {
      const bool effective =
          op.status == Operation::Status::kOk && op.kind == Operation::Kind::kAdd;
      if (!effective && op.status != Operation::Status::kUnknown) continue;
      op.status = Operation::Status::kUnknown;
      op.return_ns.reset();
    }
    open.history.push_back(op);
  }
  return open;
}

// Removes operations for as long as the two still disagree.
TestCase shrink(TestCase small) {
  for (size_t i = 0; i < small.history.size();) {
    TestCase smaller = small;
    smaller.history.erase(smaller.history.begin() + static_cast<ptrdiff_t>(i));
    if (agrees(smaller)) {
      ++i;
    } else {
      small = smaller;
      i = 0;
    }
  }
  return small;
}

std::string disagreement(const TestCase& small, uint64_t seed) {
  const TestCase least = shrink(small);
  const CheckResult result = check_history(least.history, least.options);
  const char* verdicts[] = {"ok", "violation", "unknown"};
  return "seed " + std::to_string(seed) + ": the checker says " +
         verdicts[static_cast<size_t>(result.verdict)] + " (" + result.reason + ")\n" +
         to_text(least.history, least.options);
}

// Names the history when the checker's own verification of an ok fails.
const TestCase* current_case = nullptr;

void print_case_and_abort(const std::string& message) {
  std::fprintf(stderr, "%s\n%s\n", message.c_str(),
               to_text(current_case->history, current_case->options).c_str());
  std::abort();
}

TEST(CheckerOracle, AgreesOnSmallHistories) {
  const uint64_t count = history_count();
  uint64_t accepted_count = 0;
  uint64_t contradiction_count = 0;
  uint64_t disagreement_count = 0;
  const CheckHandler handler_before = set_check_handler(print_case_and_abort);
  for (uint64_t seed = 0; seed < count && disagreement_count < 3; ++seed) {
    const TestCase small = make_small_case(seed);
    ASSERT_EQ(validate_history(small.history), "") << to_text(small.history, small.options);
    current_case = &small;
    const CheckResult result = check_history(small.history, small.options);
    const bool accepted = oracle_accepts(small.history, small.options);
    accepted_count += accepted;
    if (result.verdict != (accepted ? Verdict::kOk : Verdict::kViolation)) {
      ++disagreement_count;
      ADD_FAILURE() << disagreement(small, seed);
      continue;
    }
    EXPECT_EQ(result.reason.empty(), accepted) << result.reason;
    EXPECT_EQ(result.culprits.empty(), accepted);
    for (size_t culprit : result.culprits) EXPECT_LT(culprit, small.history.size());
    if (!result.culprits_contradict) continue;
    ++contradiction_count;
    const TestCase open = with_only_culprits(small, result.culprits);
    if (oracle_accepts(open.history, open.options)) {
      ++disagreement_count;
      ADD_FAILURE() << "seed " << seed << ": possible for all that they say: " << result.reason
                    << "\n"
                    << to_text(small.history, small.options);
    }
  }
  set_check_handler(handler_before);
  // Neither verdict may be rare, or the comparison says little.
  EXPECT_GT(accepted_count, count / 4);
  EXPECT_LT(accepted_count, count / 4 * 3);
  // Most violations come down to a few operations.
  EXPECT_GT(contradiction_count, (count - accepted_count) / 2);
  RecordProperty("accepted", std::to_string(accepted_count));
}

}  // namespace
}  // namespace tally::sim
