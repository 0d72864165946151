// Metamorphic properties: changes to a history after which the verdict must be the same, or can
// only change in one direction; and long histories that are linearizable by construction.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "tests/checker_oracle.h"
#include "tests/effort.h"

namespace tally::sim {
namespace {

using Status = Operation::Status;
using Verdict = CheckResult::Verdict;

Verdict verdict_of(const TestCase& test) {
  return check_history(test.history, test.options).verdict;
}

TestCase any_case() { return make_small_case(*rc::gen::noShrink(rc::gen::arbitrary<uint64_t>())); }

bool far_from_64_bit_edges(const TestCase& test) {
  auto is_small = [](int64_t value) { return -1'000'000 < value && value < 1'000'000; };
  return is_small(test.options.initial) &&
         std::all_of(test.history.begin(), test.history.end(),
                     [&](const Operation& op) { return is_small(op.value) && is_small(op.delta); });
}

// A case away from the edges, where values can be moved about.
TestCase any_movable_case() {
  TestCase test = any_case();
  RC_PRE(far_from_64_bit_edges(test));
  return test;
}

Operation& any_operation(TestCase& test) {
  return test.history[*rc::gen::inRange<size_t>(0, test.history.size())];
}

RC_GTEST_PROP(CheckerProperty, AgreesWithTheExhaustiveOracle, ()) {
  const TestCase test = any_case();
  const bool accepted = oracle_accepts(test.history, test.options);
  RC_ASSERT(verdict_of(test) == (accepted ? Verdict::kOk : Verdict::kViolation));
}

RC_GTEST_PROP(CheckerProperty, ShufflingTheLinesChangesNothing, ()) {
  TestCase test = any_case();
  const Verdict before = verdict_of(test);
  TestRandom random(*rc::gen::arbitrary<uint64_t>());
  for (size_t i = test.history.size(); i > 1; --i) {
    std::swap(test.history[i - 1], test.history[random.next() % i]);
  }
  RC_ASSERT(verdict_of(test) == before);
}

RC_GTEST_PROP(CheckerProperty, ShiftingTimeChangesNothing, ()) {
  TestCase test = any_case();
  const Verdict before = verdict_of(test);
  const int64_t shift = *rc::gen::inRange<int64_t>(-1'000'000, 1'000'000);
  for (Operation& op : test.history) {
    op.invoke_ns += shift;
    if (op.return_ns) *op.return_ns += shift;
  }
  RC_ASSERT(verdict_of(test) == before);
}

RC_GTEST_PROP(CheckerProperty, NegatingAllValuesChangesNothing, ()) {
  TestCase test = any_movable_case();
  const Verdict before = verdict_of(test);
  test.options.initial = -test.options.initial;
  for (Operation& op : test.history) {
    op.value = -op.value;
    op.delta = -op.delta;
    std::swap(op.lower, op.upper);
    if (op.lower) *op.lower = -*op.lower;
    if (op.upper) *op.upper = -*op.upper;
  }
  RC_ASSERT(verdict_of(test) == before);
}

RC_GTEST_PROP(CheckerProperty, MovingAllValuesChangesNothing, ()) {
  TestCase test = any_movable_case();
  const Verdict before = verdict_of(test);
  const int64_t shift = *rc::gen::inRange<int64_t>(-1'000'000, 1'000'000);
  test.options.initial += shift;
  for (Operation& op : test.history) {
    op.value += shift;
    if (op.lower) *op.lower += shift;
    if (op.upper) *op.upper += shift;
  }
  RC_ASSERT(verdict_of(test) == before);
}

RC_GTEST_PROP(CheckerProperty, RenamingClientsChangesNothing, ()) {
  TestCase test = any_case();
  const Verdict before = verdict_of(test);
  const uint64_t last = test.history.size() + 1;
  for (Operation& op : test.history) op.client = last - op.client;
  RC_ASSERT(verdict_of(test) == before);
}

RC_GTEST_PROP(CheckerProperty, MakingAnOperationAmbiguousNeverMakesAViolation, ()) {
  TestCase test = any_case();
  RC_PRE(verdict_of(test) == Verdict::kOk);
  any_operation(test).status = Status::kUnknown;
  RC_ASSERT(verdict_of(test) == Verdict::kOk);
}

RC_GTEST_PROP(CheckerProperty, WideningAnIntervalNeverMakesAViolation, ()) {
  TestCase test = any_case();
  RC_PRE(verdict_of(test) == Verdict::kOk);
  Operation& op = any_operation(test);
  op.invoke_ns -= *rc::gen::inRange<int64_t>(0, 20);
  if (op.return_ns) *op.return_ns += *rc::gen::inRange<int64_t>(0, 20);
  RC_ASSERT(verdict_of(test) == Verdict::kOk);
}

RC_GTEST_PROP(CheckerProperty, AClockErrorIsTheSameAsWiderIntervals, ()) {
  TestCase test = any_case();
  test.options.max_clock_error_ns = *rc::gen::inRange<int64_t>(0, 5);
  const Verdict before = verdict_of(test);
  for (Operation& op : test.history) {
    op.invoke_ns -= test.options.max_clock_error_ns;
    if (op.return_ns) *op.return_ns += test.options.max_clock_error_ns;
  }
  test.options.max_clock_error_ns = 0;
  RC_ASSERT(verdict_of(test) == before);
}

RC_GTEST_PROP(CheckerProperty, MergingTwoCountersIsJudgedAnew, ()) {
  TestCase test = any_case();
  for (Operation& op : test.history) op.counter.assign(1, 'm');
  const bool accepted = oracle_accepts(test.history, test.options);
  RC_ASSERT(verdict_of(test) == (accepted ? Verdict::kOk : Verdict::kViolation));
}

// Two counters stay independent however their lines are mixed.
RC_GTEST_PROP(CheckerProperty, CountersSideBySideAreJudgedOneByOne, ()) {
  TestCase test = any_case();
  TestCase other = any_case();
  other.options = test.options;
  const bool both_ok = verdict_of(test) == Verdict::kOk && verdict_of(other) == Verdict::kOk;
  for (Operation& op : other.history) {
    op.client += 100;
    op.counter.push_back('2');
    test.history.insert(test.history.begin() + *rc::gen::inRange<ptrdiff_t>(
                                                   0, static_cast<ptrdiff_t>(test.history.size())),
                        op);
  }
  RC_ASSERT((verdict_of(test) == Verdict::kOk) == both_ok);
}

// In whatever order counters are judged, and with whatever need not be judged left out or not, the
// same comes out: also when several are violations or undecided.
RC_GTEST_PROP(CheckerProperty, TheOrderInWhichCountersAreJudgedChangesNothing, ()) {
  TestCase test = any_case();
  for (uint64_t i = 1; i <= 4; ++i) {
    for (Operation& op : any_case().history) {
      op.client += 100 * i;
      op.counter += std::to_string(i);
      test.history.push_back(op);
    }
  }
  if (*rc::gen::arbitrary<bool>()) test.options.budget = *rc::gen::inRange<uint64_t>(1, 20);
  const CheckResult before = check_history(test.history, test.options);
  const CheckResult after =
      check_history(test.history, test.options, [](size_t count, const Task& task) {
        for (size_t i = count; i-- > 0;) task(i);
      });
  RC_ASSERT(after.verdict == before.verdict);
  RC_ASSERT(after.op_count == before.op_count);
  RC_ASSERT(after.unknown_used_count == before.unknown_used_count);
  RC_ASSERT(after.unknown_unspent_count == before.unknown_unspent_count);
  RC_ASSERT(after.states_visited == before.states_visited);
  RC_ASSERT(after.reason == before.reason);
  RC_ASSERT(after.culprits == before.culprits);
  RC_ASSERT(after.linearization == before.linearization);
}

// Wherever states or memory end, the checker says who is undecided; and what it decides all the
// same is what it decides with plenty.
TEST(CheckerBudgets, EndAnywhere) {
  uint64_t undecided_count = 0;
  for (uint64_t seed = 0; seed < effort(20'000); ++seed) {
    TestCase test = make_small_case(seed);
    const CheckResult decided = check_history(test.history, test.options);
    if (seed % 2 == 1) test.options.memory_bytes = seed % 3001;
    for (test.options.budget = 24; test.options.budget > 0; --test.options.budget) {
      const CheckResult result = check_history(test.history, test.options);
      if (result.verdict == decided.verdict) continue;
      ++undecided_count;
      ASSERT_EQ(result.verdict, CheckResult::Verdict::kUnknown) << "seed " << seed;
      ASSERT_FALSE(result.culprits.empty()) << "seed " << seed;
    }
  }
  EXPECT_GT(undecided_count, effort(2000));
}

// The simulator's kind of counter is always decided, whatever its length; everything else is never
// called a violation.
TEST(CheckerLongHistories, LinearizableOnesAreNeverViolations) {
  uint64_t undecided_count = 0;
  for (uint64_t seed = 0; seed < effort(300); ++seed) {
    const int64_t op_count = 20 + static_cast<int64_t>(seed % 30) * 20;
    TestCase test = make_long_case(seed, op_count, true);
    const CheckResult simulated = check_history(test.history, test.options);
    ASSERT_EQ(simulated.verdict, Verdict::kOk) << seed << " " << simulated.reason;
    test = make_long_case(seed, op_count, false);
    test.options.budget = 20'000;
    const CheckResult result = check_history(test.history, test.options);
    ASSERT_NE(result.verdict, Verdict::kViolation) << seed << " " << result.reason;
    undecided_count += result.verdict == Verdict::kUnknown;
  }
  RecordProperty("undecided", std::to_string(undecided_count));
}

// The radix sort, the hash tables and the narrow layers only come into play in long histories.
TEST(CheckerLongHistories, ManyNamesAndOperations) {
  History history;
  for (uint64_t i = 0; i < 20'000; ++i) {
    Operation op;
    op.client = i % 7;
    op.sequence = i;
    op.counter = "name-" + std::to_string(i % 500);
    op.delta = 3;
    op.value = static_cast<int64_t>(3 * (i / 500 + 1));
    op.invoke_ns = static_cast<int64_t>(10 * i);
    op.return_ns = op.invoke_ns + 5;
    history.push_back(op);
  }
  ASSERT_EQ(validate_history(history), "");
  EXPECT_EQ(check_history(history, {}).verdict, Verdict::kOk);
  history[12'345].value += 1;
  const CheckResult result = check_history(history, {});
  EXPECT_EQ(result.verdict, Verdict::kViolation);
  EXPECT_EQ(std::count(result.culprits.begin(), result.culprits.end(), size_t{12'345}), 1);
}

// Long enough for the search's own sorting, with times on both sides of zero, many of them equal,
// and lines in no order.
TEST(CheckerLongHistories, BothSignsFromLinesInNoOrder) {
  constexpr int64_t kCount = 12'000;
  History history;
  for (int64_t i = 0; i < kCount; ++i) {
    Operation op;
    op.client = static_cast<uint64_t>(i);
    op.counter.push_back('c');
    op.delta = i % 2 == 0 ? 3 : -2;
    op.value = i / 2 + (i % 2 == 0 ? 3 : 1);
    op.invoke_ns = 10 * (i / 4 - kCount / 8);  // four at a time
    op.return_ns = op.invoke_ns + 9;
    history.push_back(op);
  }
  TestRandom random(1);
  for (size_t i = history.size(); i > 1; --i) {
    std::swap(history[i - 1], history[random.next() % i]);
  }
  EXPECT_EQ(check_history(history, {}).verdict, Verdict::kOk);
  history[5'000].value += 1;
  EXPECT_EQ(check_history(history, {}).verdict, Verdict::kViolation);
}

// So many states that how they were reached is tidied up on the way; and where there is memory for
// few, going back is only to fewer places.
TEST(CheckerLongHistories, ManyOrdersToForget) {
  TestRandom random(7);
  History history;
  int64_t value = 0;
  for (int64_t i = 0; i < 30'000; ++i) {
    Operation op;
    op.client = static_cast<uint64_t>(i);
    op.counter.push_back('c');
    op.delta = random.chance(50) ? 1 : -1;
    op.value = value += op.delta;
    op.invoke_ns = 10 * i - random.between(0, 80);
    op.return_ns = 10 * i + random.between(0, 80);
    history.push_back(op);
  }
  CheckOptions options;
  EXPECT_EQ(check_history(history, options).verdict, Verdict::kOk);
  options.memory_bytes = uint64_t{6} << 20;
  const CheckResult result = check_history(history, options);
  EXPECT_EQ(result.verdict, Verdict::kOk) << result.reason;
  EXPECT_GT(result.states_visited, 60'000u) << "or nothing had to be tidied up";
}

TEST(CheckerLongHistories, OneStaleGetAmongAHundredThousand) {
  History history;
  for (uint64_t i = 0; i < 100'000; ++i) {
    Operation op;
    op.client = i;
    op.counter.push_back('c');
    op.kind = i == 0 ? Operation::Kind::kAdd : Operation::Kind::kGet;
    op.delta = i == 0 ? 1 : 0;
    op.value = 1;
    op.invoke_ns = i == 0 ? 0 : 10;
    op.return_ns = i == 0 ? 5 : 20;
    history.push_back(op);
  }
  EXPECT_EQ(check_history(history, {}).verdict, Verdict::kOk);
  history[77'777].value = 0;
  const CheckResult result = check_history(history, {});
  EXPECT_EQ(result.verdict, Verdict::kViolation);
  EXPECT_EQ(result.culprits, (std::vector<size_t>{0, 77'777}));
}

}  // namespace
}  // namespace tally::sim
