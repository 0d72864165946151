// The hand-made histories of the design and some of our own, from tests/checker_handmade.txt.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

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

History parse_history(const std::string& text) {
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
  int number;
  bool linearizable;
  std::string operations;
  std::string why;
};

// The lines of tests/checker_handmade.txt, which says what they mean.
std::vector<HandMade> hand_made() {
  std::ifstream in(TALLY_SOURCE_DIR "/tests/checker_handmade.txt");
  std::vector<HandMade> entries;
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::vector<std::string> parts(1);
    for (const char c : line) {
      if (c == '|') {
        parts.emplace_back();
      } else {
        parts.back() += c;
      }
    }
    EXPECT_EQ(parts.size(), 4u) << line;
    parts.resize(4);
    const std::string& verdict = parts[1];
    EXPECT_TRUE(verdict == " ok " || verdict == " violation ") << line;
    entries.push_back({std::stoi(parts[0]), verdict == " ok ", parts[2], parts[3]});
  }
  EXPECT_GE(entries.size(), 59u) << "tests/checker_handmade.txt is not complete";
  return entries;
}

TEST(CheckerHandMade, Verdicts) {
  for (const HandMade& entry : hand_made()) {
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
  for (const HandMade& entry : hand_made()) {
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
      std::printf("%3d %s\n    %s\n", entry.number, entry.operations.c_str(),
                  result.reason.c_str());
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

// Not even where the wrapped value happens to be the one that the counter starts with.
TEST(CheckerHandMade, NothingStartsFromOutside64Bits) {
  CheckOptions options;
  options.initial = std::numeric_limits<int64_t>::min();
  EXPECT_EQ(check_history(parse_history("-1->9223372036854775807 [0,1]"), options).verdict,
            Verdict::kViolation);
  options.initial = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(check_history(parse_history("+1->-9223372036854775808 [0,1]"), options).verdict,
            Verdict::kViolation);
}

TEST(CheckerHandMade, UnknownSaysWhereAndWhy) {
  const History history = parse_history("+2->2 [0,9]; -1->1 [0,9]; +1->2 [0,9]; -2->0 [0,9]");
  CheckOptions options;
  options.budget = 1;
  const CheckResult result = check_history(history, options);
  EXPECT_EQ(result.verdict, Verdict::kUnknown);
  EXPECT_NE(result.reason.find("budget"), std::string::npos) << result.reason;
  EXPECT_FALSE(result.culprits.empty());
  EXPECT_EQ(check_history(history, {}).verdict, Verdict::kOk);
}

// Many unanswered increments in one gap, of a size that leaves a remainder: two of another size
// have to make up for it. Neither a step for each nor a stack frame for each.
TEST(CheckerHandMade, AGapThatTakesThousands) {
  constexpr int64_t kThreeCount = 50'000;
  History history;
  for (int64_t i = 0; i < kThreeCount + 2; ++i) {
    history.push_back(parse_history(i < kThreeCount ? "amb+3 [0" : "amb+2 [0")[0]);
  }
  history.push_back(parse_history("get->0 [1,2]")[0]);
  for (size_t i = 0; i < history.size(); ++i) history[i].client = i;
  const auto judge = [&](int64_t value) {
    history.back().value = value;
    const CheckResult result = check_history(history, {});
    EXPECT_LT(result.states_visited, 1000u) << value;
    return result.verdict;
  };
  EXPECT_EQ(judge(3 * (kThreeCount - 2) + 4), Verdict::kOk);
  EXPECT_EQ(judge(3 * kThreeCount + 4), Verdict::kOk) << "all of them";
  EXPECT_EQ(judge(3 * kThreeCount + 5), Verdict::kViolation);
  EXPECT_EQ(judge(3 * kThreeCount + 3), Verdict::kViolation) << "1 cannot be left out";
}

// Subsets of unanswered increments that lead to so many values that states fill the memory.
TEST(CheckerHandMade, MemoryRunsOutWithAReason) {
  History history;
  for (int64_t i = 0; i < 40; ++i) {
    history.push_back(parse_history("amb+1 [0")[0]);
    history.back().delta = (i % 2 == 0 ? 1 : -1) * 1'000'003 * (i + 1);
  }
  history.push_back(parse_history("get->500 [1,2]")[0]);
  for (size_t i = 0; i < history.size(); ++i) history[i].client = i;
  for (const uint64_t kilobytes : {1u, 16u, 256u, 4096u}) {
    CheckOptions options;
    options.memory_bytes = kilobytes << 10;
    const CheckResult result = check_history(history, options);
    EXPECT_EQ(result.verdict, Verdict::kUnknown) << result.reason;
    EXPECT_NE(result.reason.find("memory"), std::string::npos) << result.reason;
    EXPECT_LT(result.states_visited, 100'000u);
  }
}

// Refusals that each ask for another height, before which nothing was sent since the last: the
// highest of them speaks for all.
TEST(CheckerHandMade, ManyBoundsBehindOnePool) {
  History history;
  for (int64_t i = 0; i < 1200; ++i) {
    history.push_back(parse_history("amb+1<=1000000000 [0")[0]);
    history.back().delta = int64_t{1} << (i % 20);
  }
  for (int64_t i = 0; i < 200; ++i) {
    history.push_back(parse_history("rej+1<=1000000000 [5,10]")[0]);
    history.back().delta = 1'000'000'000 - 1000 - 37 * i;
    *history.back().return_ns += i;
  }
  for (size_t i = 0; i < history.size(); ++i) history[i].client = i;
  const CheckResult result = check_history(history, {});
  EXPECT_EQ(result.verdict, Verdict::kOk) << result.reason;
  EXPECT_LT(result.states_visited, 1000u);
}

// What is found open when every order gets stuck is not what is at fault.
TEST(CheckerHandMade, AViolationComesDownToWhatContradicts) {
  const History lost = parse_history("+1->1 [0,1]; +1->1 [0,1]; -1->0 [5,6]");
  const CheckResult result = check_history(lost, {});
  EXPECT_EQ(result.culprits, (std::vector<size_t>{0, 1})) << result.reason;
  EXPECT_TRUE(result.culprits_contradict);
  // One decrement makes up for one of the three.
  const History three = parse_history("+1->1 [0,1]; +1->1 [4,5]; -1->0 [2,9]; +1->1 [6,7]");
  EXPECT_EQ(check_history(three, {}).culprits, (std::vector<size_t>{0, 1, 3}));
  // Without the first, the refusal could have come at the value 0.
  const History forced = parse_history("+3->3 [0,1]; rej+1<=5>=3 [5,6]; +2->5 [8,9]");
  const CheckResult late = check_history(forced, {});
  EXPECT_EQ(late.verdict, Verdict::kViolation);
  EXPECT_FALSE(late.culprits_contradict) << late.reason;
  // Behind a point that every order leads through, it is the value there that counts.
  const History later = parse_history(
      "+5->5 [0,1]; -2->3 [2,3]; -1->2 [4,5]; +9->11 [6,7]; get->4 [8,9]; -1->10 [10,11]");
  const CheckResult found = check_history(later, {});
  EXPECT_EQ(found.verdict, Verdict::kViolation);
  EXPECT_NE(std::find(found.culprits.begin(), found.culprits.end(), size_t{4}),
            found.culprits.end())
      << found.reason;
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
