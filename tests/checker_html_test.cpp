// The picture of a verdict: what is drawn, what is marked, what is left out, what is escaped.
#include "sim/checker_html.h"

#include <gtest/gtest.h>

#include <limits>

namespace tally::sim {
namespace {

Operation add(uint64_t client, uint64_t sequence, int64_t delta, int64_t value, int64_t invoke,
              int64_t ret) {
  Operation op;
  op.client = client;
  op.sequence = sequence;
  op.counter.push_back('c');
  op.delta = delta;
  op.value = value;
  op.invoke_ns = invoke;
  op.return_ns = ret;
  return op;
}

std::string picture(const History& history, const CheckOptions& options = {},
                    std::string_view title = "a history") {
  return check_html(history, check_history(history, options), options, title);
}

size_t count_of(std::string_view part, const std::string& text) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// One operation after the other, every one adding 1.
History long_history(size_t op_count) {
  History history;
  for (size_t i = 0; i < op_count; ++i) {
    const auto n = static_cast<int64_t>(i);
    history.push_back(add(1 + i % 7, i, 1, n + 1, 10 * n, 10 * n + 5));
  }
  return history;
}

TEST(CheckerHtml, AnEmptyHistoryIsAWholePage) {
  const std::string page = picture({});
  EXPECT_EQ(page.find("<!doctype html>"), 0u);
  EXPECT_EQ(count_of("</html>", page), 1u);
  EXPECT_EQ(count_of("<g class=\"op", page), 0u);
}

TEST(CheckerHtml, NamesAndTitlesAreText) {
  History history = {add(1, 1, 1, 2, 0, 1)};
  history[0].counter = "<b>&'\"";
  const std::string page = picture(history, {}, "</title><script>");
  EXPECT_EQ(page.find("<b>&"), std::string::npos);
  EXPECT_EQ(count_of("<script>", page), 1u) << "only the page's own";
  EXPECT_NE(page.find("&lt;/title&gt;&lt;script&gt;"), std::string::npos);
}

TEST(CheckerHtml, AnOkShowsEveryStepAndNoMark) {
  const std::string page = picture(long_history(20));
  EXPECT_EQ(count_of("<g class=\"op add\" id", page), 20u);
  EXPECT_NE(page.find("step 20 of the order, the value is 20 then"), std::string::npos);
  EXPECT_EQ(count_of(" bad\"", page), 0u);
}

TEST(CheckerHtml, AViolationMarksItsOperations) {
  History history = long_history(20);
  history[10].value = 3;
  const CheckResult result = check_history(history, {});
  ASSERT_EQ(result.verdict, CheckResult::Verdict::kViolation);
  const std::string page = picture(history);
  // Once in the legend as well.
  EXPECT_EQ(count_of(" bad\"", page), result.culprits.size() + 1);
  EXPECT_EQ(count_of("step ", page.substr(page.find("<body"))), 1u) << "only the hint names steps";
}

TEST(CheckerHtml, ALongViolationShowsWhatIsAround) {
  History history = long_history(3000);
  history[2000].value = 17;
  const std::string page = picture(history);
  for (const size_t index : check_history(history, {}).culprits) {
    EXPECT_EQ(count_of("id=\"op-" + std::to_string(index) + "\"", page), 1u) << index;
  }
  EXPECT_LE(count_of("<g class=\"op", page), 310u);
  EXPECT_NE(page.find("of its 3,000 operations"), std::string::npos);
  EXPECT_EQ(count_of("id=\"op-1000\"", page), 0u);
}

TEST(CheckerHtml, ALongOkShowsItsBeginning) {
  const std::string page = picture(long_history(3000));
  EXPECT_EQ(count_of("id=\"op-299\"", page), 1u);
  EXPECT_EQ(count_of("id=\"op-300\"", page), 0u);
}

TEST(CheckerHtml, OneCounterIsDrawn) {
  History history = {add(1, 1, 1, 1, 0, 1), add(2, 1, 1, 2, 0, 1)};
  history[1].counter = "d";
  const std::string page = picture(history);
  EXPECT_EQ(count_of("id=\"op-0\"", page), 0u);
  EXPECT_EQ(count_of("id=\"op-1\"", page), 1u) << "the violation is there";
  EXPECT_NE(page.find("Other counters are not drawn"), std::string::npos);
}

TEST(CheckerHtml, ExtremesOfTimeAndValueAreDrawn) {
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  History history = {add(1, 1, kMax, kMax, kMin, kMin), add(2, 1, kMin, -1, kMin, kMax),
                     add(3, 1, kMin + 1, kMin, kMax, kMax)};
  const std::string page = picture(history, {.max_clock_error_ns = 1000});
  EXPECT_EQ(count_of("tabindex=", page), 3u);
  // Every bar and label lies right of the edge.
  EXPECT_EQ(count_of("x=\"-", page), 0u);
  EXPECT_EQ(count_of("width=\"-", page), 0u);
}

}  // namespace
}  // namespace tally::sim
