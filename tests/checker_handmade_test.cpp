// The hand-made histories of the design, by their numbers there, and some of our own.
#include <gtest/gtest.h>

#include <cstring>
#include <sstream>
#include <string>

#include "sim/checker.h"
#include "tests/checker_oracle.h"

namespace tally::sim {
namespace {

using Verdict = CheckResult::Verdict;

// "+2->2 [0,10]", "amb-1 [0", "get->5 [1,2]", "rej+5<=10 [1,2]", "rej-5>=0 [1,2]",
// "amb+5<=10 [0"; separated by semicolons.
Operation parse_operation(const std::string& text) {
  Operation op;
  op.counter.push_back('c');
  op.sequence = 1;
  const size_t bracket = text.find('[');
  std::string action = text.substr(0, bracket);
  int64_t invoke = 0;
  int64_t ret = 0;
  const int times = std::sscanf(text.c_str() + bracket, "[%ld,%ld]", &invoke, &ret);
  op.invoke_ns = invoke;
  if (times == 2) op.return_ns = ret;
  if (action.rfind("get", 0) == 0) {
    op.kind = Operation::Kind::kGet;
    op.value = std::stoll(action.substr(action.find("->") + 2));
    return op;
  }
  if (action.rfind("amb", 0) == 0) op.status = Operation::Status::kUnknown;
  if (action.rfind("rej", 0) == 0) op.status = Operation::Status::kRejected;
  if (op.status != Operation::Status::kOk) action = action.substr(3);
  op.delta = std::stoll(action);
  if (const size_t at = action.find("->"); at != std::string::npos) {
    op.value = std::stoll(action.substr(at + 2));
  }
  if (const size_t at = action.find("<="); at != std::string::npos) {
    op.upper = std::stoll(action.substr(at + 2));
  }
  if (const size_t at = action.find(">="); at != std::string::npos) {
    op.lower = std::stoll(action.substr(at + 2));
  }
  return op;
}

History parse_history(const char* text) {
  History history;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ';');) {
    const size_t begin = part.find_first_not_of(' ');
    if (begin == std::string::npos) continue;
    history.push_back(parse_operation(part.substr(begin)));
    history.back().client = history.size();
  }
  return history;
}

struct HandMade {
  int number;  // in the design's table; from 100 on: ours
  const char* operations;
  bool linearizable;
  const char* why;
};

constexpr bool kYes = true;
constexpr bool kNo = false;

const HandMade kHandMade[] = {
    {1, "", kYes, "empty history"},
    {3, "get->1 [0,1]", kNo, "value never produced"},
    {5, "+1->1 [0,1]; get->0 [2,3]", kNo, "stale read"},
    {7, "+1->1 [0,10]; get->1 [2,3]; get->0 [4,5]", kNo, "new-old inversion"},
    {9, "+1->1 [0,5]; +1->1 [1,6]", kNo, "lost update"},
    {11, "+1->1 [0,1]; +1->3 [2,3]; amb+1 [0", kYes, "the timed-out inc explains the gap"},
    {13, "+1->1 [0,1]; +1->3 [2,3]; amb+1 [3", kYes, "ambiguous call ties with the deadline"},
    {15, "amb+5 [0; get->5 [10,11]; get->0 [20,21]", kNo, "an effect cannot be undone"},
    {17, "amb+3 [0; amb+4 [0; get->4 [1,2]; get->7 [3,4]", kYes, "4 first, then 3"},
    {19, "amb+9 [0; amb+6 [0; amb+5 [0; amb+5 [0; amb+1 [0; get->10 [1,2]; get->25 [3,4]", kYes,
     "greedy trap: 10=5+5 so that 15=9+6"},
    {21, "amb+2 [0; amb+2 [0; amb+2 [0; get->3 [1,2]", kNo, "parity"},
    {23, "amb+1 [0; amb+1 [10; get->1 [1,2]; get->2 [3,12]", kYes, "get still open at 10"},
    {25, "amb+2 [0; amb+3 [0; get->4 [1,2]; +1->6 [5,6]", kNo, "unreachable inside the gap"},
    {27, "+2->2 [0,10]; get->1 [1,2]; get->2 [11,12]", kNo, "1 never existed"},
    {29, "+1->1 [0,100]; +1->2 [1,2]", kYes, "slow inc takes effect first"},
    {31, "+1->1 [0,100]; +1->2 [1,2]; get->1 [3,4]", kNo, "1 is over at time 2"},
    {33, "amb+1 [5; +1->2 [0,6]", kYes, "filler inside the op's interval"},
    {35, "amb+1 [0; +1->1 [6,8]", kYes, "timeout then retry"},
    {37, "amb+1 [0; +1->1 [6,8]; get->2 [9,10]; get->2 [11,12]; get->3 [13,14]", kNo,
     "a second late effect"},
    {39, "+0->1 [0,1]", kNo, "zero delta must return the state"},
    {41, "amb+0 [0; get->1 [1,2]", kNo, "an ambiguous zero delta explains nothing"},
    {43, "+1->1 [0,1]; -1->0 [2,3]; +1->1 [4,5]; get->0 [2,5]", kYes, "0 revisited"},
    {45, "+2->2 [0,10]; +1->1 [0,10]", kNo, "Euler balance"},
    {47, "+1->1 [0,2]; -1->0 [0,2]; get->1 [3,4]", kNo, "the cycle is spent by time 2"},
    {49, "+1->1 [0,1]; +2->3 [0,9]; +1->4 [0,9]; +1->2 [10,12]; -1->1 [10,12]", kNo,
     "the 1-2-1 cycle starts only at 4"},
    {51, "amb-1 [0; +1->1 [0,1]; +1->1 [2,3]", kYes, "negative ambiguous between equal posts"},
    {53, "amb-3 [0; amb+5 [0; get->2 [1,2]; get->-3 [1,2]", kYes, "gets overlap: -3 then 2"},
    {55, "-1->-1 [0,1]; -2->-3 [2,3]; get->-3 [4,5]", kYes, "all negative"},
    {57, "+1->-9223372036854775808 [0,1]", kNo, "pre-state underflows int64"},
    {59, "get->0 [0,100]; get->1 [0,100]; get->0 [50,60]; +1->1 [55,70]", kYes,
     "gets of both values around one inc"},
    {61, "+1->1 [10,20]; get->1 [0,10]", kYes, "touching intervals are concurrent"},

    // Refusals in a counter that only grows, with one bound.
    {100, "+8->8 [0,1]; rej+5<=10 [2,3]", kYes, "13 exceeds 10"},
    {101, "+5->5 [0,1]; rej+5<=10 [2,3]", kNo, "10 does not exceed 10"},
    {102, "+6->6 [5,9]; rej+5<=10 [0,4]", kNo, "6 only after the refusal returned"},
    {103, "+6->6 [4,9]; rej+5<=10 [0,4]", kYes, "6 at the instant of the return"},
    {104, "amb+6<=10 [0; rej+5<=10 [1,2]", kYes, "a trailing ambiguous one explains it"},
    {105, "amb+6<=10 [3; rej+5<=10 [1,2]", kNo, "but not one invoked after it"},
    {106, "amb+6<=10 [0; rej+5<=10 [1,2]; get->0 [4,5]", kNo, "and not if the value is still 0"},
    {107, "amb+4<=10 [0; amb+4<=10 [0; rej+3<=10 [1,2]", kYes, "8 + 3 exceeds 10"},
    {108, "amb+6<=10 [0; amb+6<=10 [0; rej+3<=10 [1,2]", kNo, "12 leaves the bound, 6 + 3 fits"},
    {109, "rej+5<=10 [0,50]; +6->6 [0,60]; get->0 [40,45]", kYes, "6 between 45 and 50"},
    {110,
     "amb+10<=30 [0; amb+10<=30 [100; amb+1<=30 [0; amb+1<=30 [0; amb+1<=30 [0; amb+1<=30 [0;"
     "amb+1<=30 [0; amb+1<=30 [0; amb+1<=30 [0; amb+1<=30 [0; amb+1<=30 [0; amb+1<=30 [0;"
     "rej+20<=30 [40,50]; get->20 [190,200]",
     kYes, "11 by time 50 needs a 1; largest first would wait for the 10 of time 100"},
    {111, "amb+10<=30 [0; amb+10<=30 [100; rej+20<=30 [40,50]; get->20 [190,200]", kNo,
     "only 10 by time 50"},
    {112, "rej+1 [0,1]", kNo, "no value near 0 overflows"},
    {113, "+9223372036854775807->9223372036854775807 [0,1]; rej+1 [2,3]", kYes, "overflow"},
    {114, "rej+1<=-5 [0,1]", kYes, "out of bounds from the start"},
    {115, "+3->3<=2 [0,1]", kNo, "a result outside its own bounds"},
    {116, "rej+1>=3 [5,6]; +3->3 [5,9]; +1->4 [0,2]; -1->2 [0,1]", kNo, "no order"},
    // Early refusals: the value was still low.
    {117, "+5->5 [0,9]; rej+1>=3 [4,6]", kYes, "1 is below 3 until the increment"},
    {118, "+5->5 [0,3]; rej+1>=3 [4,6]", kNo, "6 is not"},
    {119, "amb+5 [0; rej+1>=3 [4,6]; get->5 [7,8]", kYes, "the filler can wait"},
    {120, "amb+5 [0; rej+1>=3 [4,6]; get->5 [2,3]", kNo, "it cannot"},
    // Both sides, nothing ambiguous: one refusal late forces another to be late as well.
    {121, "+4->4 [0,20]; +9->13 [0,20]; rej-3>=0<=9 [0,20]", kYes, "0 - 3 or 13 - 3"},
    {122, "+4->4 [0,1]; get->4 [8,9]; +9->13 [0,20]; rej-3>=0<=9 [3,6]", kNo, "4 all the while"},
    // int64's edges; 126 and 127 belong to the refusals in gaps.
    {123, "-9223372036854775808->-9223372036854775808 [0,1]; rej-1 [2,3]", kYes, "mirror"},
    {124, "-9223372036854775808->0 [0,1]", kNo, "pre is 2^63"},
    {126, "amb+50 [0; amb+50 [0; rej+51<=100 [5,10]; rej-90>=0 [20,30]; get->100 [40,50]", kYes,
     "at least 50 by time 10, still below 90 after time 20"},
    {127,
     "amb+10<=30 [0; amb+10<=30 [0; amb+1<=30 [0; amb+1<=30 [0; amb+1<=30 [0; amb+1<=30 [0;"
     "amb+1<=30 [0; amb+1<=30 [0; amb+1<=30 [0; amb+1<=30 [0; amb+1<=30 [0; amb+1<=30 [0;"
     "rej+20<=30 [40,50]; get->20 [60,70]; get->25 [80,90]",
     kYes, "11 by time 50 by both 10s, so that the 1s are left for 25"},
    {125, "amb-9223372036854775808 [0; get->-9223372036854775808 [1,2]", kYes, "largest delta"},
};

TEST(CheckerHandMade, Verdicts) {
  for (const HandMade& entry : kHandMade) {
    const History history = parse_history(entry.operations);
    ASSERT_EQ(validate_history(history), "") << entry.number;
    const CheckResult result = check_history(history, {});
    EXPECT_EQ(result.verdict, entry.linearizable ? Verdict::kOk : Verdict::kViolation)
        << entry.number << " (" << entry.why << "): " << entry.operations << "\n"
        << result.reason;
    EXPECT_EQ(oracle_accepts(history, {}), entry.linearizable) << entry.number;
  }
}

// Every explanation names the counter and only operations that exist; printed for the reader of -v.
TEST(CheckerHandMade, ExplanationsNameTheirOperations) {
  for (const HandMade& entry : kHandMade) {
    if (entry.linearizable) continue;
    const History history = parse_history(entry.operations);
    const CheckResult result = check_history(history, {});
    EXPECT_NE(result.reason.find("Counter \"c\""), std::string::npos) << result.reason;
    ASSERT_FALSE(result.culprits.empty()) << entry.number;
    for (size_t culprit : result.culprits) {
      ASSERT_LT(culprit, history.size());
      const std::string name = "client " + std::to_string(history[culprit].client) + " ";
      if (result.culprits.size() <= 4) {
        EXPECT_NE(result.reason.find(name), std::string::npos) << entry.number << result.reason;
      }
    }
    if (std::getenv("TALLY_CHECKER_PRINT") != nullptr) {
      std::printf("%3d %s\n    %s\n", entry.number, entry.operations, result.reason.c_str());
    }
  }
}

TEST(CheckerHandMade, CountsOperations) {
  const History history =
      parse_history("+1->1 [0,1]; +1->3 [2,3]; amb+1 [0; amb+1 [0; get->3 [4,5]");
  const CheckResult result = check_history(history, {});
  EXPECT_EQ(result.verdict, Verdict::kOk);
  EXPECT_EQ(result.op_count, 5u);
  EXPECT_EQ(result.unknown_used_count, 1u);
  EXPECT_EQ(result.unknown_unspent_count, 1u);
  EXPECT_EQ(result.linearization, (std::vector<uint32_t>{0, 2, 1, 4}));
}

TEST(CheckerHandMade, ClockErrorWidens) {
  const History history = parse_history("+1->1 [0,1]; get->0 [2,3]");
  EXPECT_EQ(check_history(history, {}).verdict, Verdict::kViolation);
  CheckOptions options;
  options.max_clock_error_ns = 1;
  EXPECT_EQ(check_history(history, options).verdict, Verdict::kOk);
}

TEST(CheckerHandMade, UnknownSaysWhereAndWhy) {
  const History history = parse_history("+2->2 [0,9]; -1->1 [0,9]; +1->2 [0,9]; -2->0 [0,9]");
  CheckOptions options;
  options.budget = 1;
  const CheckResult result = check_history(history, options);
  EXPECT_EQ(result.verdict, Verdict::kUnknown);
  EXPECT_NE(result.reason.find("budget"), std::string::npos) << result.reason;
  EXPECT_EQ(check_history(history, {}).verdict, Verdict::kOk);
}

// Every counter is judged by itself, and a violation of one outweighs that another is undecided.
TEST(CheckerHandMade, CountersAreIndependent) {
  History history = parse_history("+2->2 [0,9]; -1->1 [0,9]; +1->2 [0,9]; -2->0 [0,9]");
  History other = parse_history("+1->1 [0,1]; get->0 [2,3]");
  for (Operation& op : other) {
    op.counter.push_back('2');
    op.client += 10;
    history.push_back(op);
  }
  CheckOptions options;
  options.budget = 1;
  const CheckResult result = check_history(history, options);
  EXPECT_EQ(result.verdict, Verdict::kViolation);
  EXPECT_EQ(result.culprits, (std::vector<size_t>{4, 5}));
  history.pop_back();
  EXPECT_EQ(check_history(history, {}).verdict, Verdict::kOk);
}

}  // namespace
}  // namespace tally::sim
