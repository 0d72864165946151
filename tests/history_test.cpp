// The history format: what is written is read back, and what no client could have seen is refused
// at its line.
#include "core/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <chrono>
#include <limits>

#include "core/history_reader.h"
#include "core/state_machine.h"

namespace tally {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kGoodLine =
    R"({"client":1,"seq":7,"op":"add","counter":"hits","delta":5,"invoke":1200,"return":1890,)"
    R"("status":"ok","value":17})";

std::string error_of(std::string_view text) {
  History history;
  std::string error;
  if (parse_history(text, "h.jsonl", history, error)) return {};
  EXPECT_FALSE(error.empty());
  return error;
}

// The good line with `from` replaced by `to`.
std::string error_with(std::string_view from, std::string_view to) {
  std::string line(kGoodLine);
  const size_t at = line.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return error_of(line.replace(at, from.size(), to));
}

std::string add_line(uint64_t client, uint64_t sequence, int64_t invoke,
                     std::optional<int64_t> return_ns) {
  Operation operation;
  operation.client = client;
  operation.sequence = sequence;
  operation.counter = "hits";
  operation.invoke_ns = invoke;
  operation.return_ns = return_ns;
  if (!return_ns) operation.status = Operation::Status::kUnknown;
  std::string line;
  write_history_line(operation, line);
  return line;
}

TEST(HistoryWriter, WritesTheDocumentedLine) {
  Operation operation;
  operation.client = 1;
  operation.sequence = 7;
  operation.counter = "hits";
  operation.delta = 5;
  operation.invoke_ns = 1200;
  operation.return_ns = 1890;
  operation.value = 17;
  std::string line;
  write_history_line(operation, line);
  EXPECT_EQ(line, std::string(kGoodLine) + "\n");

  operation.status = Operation::Status::kRejected;
  operation.reject_reason = Operation::RejectReason::kBounds;
  operation.upper = 20;
  line.clear();
  write_history_line(operation, line);
  EXPECT_THAT(line, HasSubstr(R"("delta":5,"upper":20,"invoke")"));
  EXPECT_THAT(line, HasSubstr(R"("status":"rejected","reason":"bounds"})"));
}

TEST(HistoryReader, ReadsTheDocumentedLine) {
  History history;
  std::string error;
  ASSERT_TRUE(parse_history(kGoodLine, "h", history, error)) << error;
  ASSERT_EQ(history.size(), 1u);
  EXPECT_EQ(history[0].client, 1u);
  EXPECT_EQ(history[0].sequence, 7u);
  EXPECT_EQ(history[0].counter, "hits");
  EXPECT_EQ(history[0].delta, 5);
  EXPECT_EQ(history[0].invoke_ns, 1200);
  EXPECT_EQ(history[0].return_ns, 1890);
  EXPECT_EQ(history[0].value, 17);
}

TEST(HistoryReader, EmptyLinesAndFieldOrderDoNotMatter) {
  EXPECT_EQ(error_of(""), "");
  EXPECT_EQ(error_of("\n \r\n\t\n"), "");
  EXPECT_EQ(error_of(R"( {"value":1, "status":"ok" , "return":2,"invoke":1,"counter":"a",)"
                     "\t\"op\":\"get\",\"seq\":1,\"client\":0}\r\n"),
            "");
}

TEST(HistoryReader, NamesFileAndLine) {
  const std::string good = add_line(1, 1, 0, 1);
  EXPECT_THAT(error_of("\n" + good + "\n{\n" + add_line(1, 2, 1, 2)), StartsWith("h.jsonl:4: "));
}

TEST(HistoryReader, RefusesBrokenJson) {
  for (const std::string_view text :
       {"{", "}", "[]", "1", "null", "\"x\"", "{}x", "{\"client\"}", "{\"client\":}",
        "{\"client\":1,}", "{\"client\":1 \"seq\":2}", "nonsense", "\xEF\xBB\xBF{}"}) {
    EXPECT_NE(error_of(text), "") << text;
  }
  EXPECT_THAT(error_of(std::string(kGoodLine) + "{}"), HasSubstr("behind the object"));
  EXPECT_THAT(error_of(std::string(kGoodLine) + std::string(kGoodLine)),
              HasSubstr("behind the object"));
  for (size_t size = 1; size < kGoodLine.size(); ++size) {
    EXPECT_NE(error_of(kGoodLine.substr(0, size)), "") << "cut after " << size;
  }
}

TEST(HistoryReader, EveryFieldIsNeededOnce) {
  EXPECT_THAT(error_with(R"("client":1,)", ""), HasSubstr("no \"client\""));
  EXPECT_THAT(error_with(R"("seq":7,)", ""), HasSubstr("no \"seq\""));
  EXPECT_THAT(error_with(R"("op":"add",)", ""), HasSubstr("no \"op\""));
  EXPECT_THAT(error_with(R"("counter":"hits",)", ""), HasSubstr("no \"counter\""));
  EXPECT_THAT(error_with(R"("delta":5,)", ""), HasSubstr("no \"delta\""));
  EXPECT_THAT(error_with(R"("invoke":1200,)", ""), HasSubstr("no \"invoke\""));
  EXPECT_THAT(error_with(R"("return":1890,)", ""), HasSubstr("no \"return\""));
  EXPECT_THAT(error_with(R"("status":"ok",)", ""), HasSubstr("no \"status\""));
  EXPECT_THAT(error_with(R"(,"value":17)", ""), HasSubstr("no \"value\""));
  EXPECT_THAT(error_with(R"("seq":7)", R"("seq":7,"seq":7)"), HasSubstr("\"seq\" twice"));
  EXPECT_THAT(error_with(R"("seq":7)", R"("seq":7,"upperr":7)"), HasSubstr("unknown field"));
}

TEST(HistoryReader, ValuesAreOfTheirKindAndRange) {
  EXPECT_THAT(error_with(R"("client":1)", R"("client":-1)"), HasSubstr("\"client\" is `-1`, not"));
  EXPECT_THAT(error_with(R"("seq":7)", R"("seq":7.0)"), HasSubstr("\"seq\" is `7.0`, not"));
  EXPECT_THAT(error_with(R"("seq":7)", R"("seq":"7")"), HasSubstr("\"seq\" is `\"7\"`, not"));
  EXPECT_THAT(error_with(R"("seq":7)", R"("seq":18446744073709551616)"), HasSubstr("\"seq\""));
  EXPECT_EQ(error_with(R"("seq":7)", R"("seq":18446744073709551615)"), "");
  EXPECT_EQ(error_with(R"("value":17)", R"("value":-9223372036854775808)"), "");
  EXPECT_NE(error_with(R"("value":17)", R"("value":9223372036854775808)"), "");
  EXPECT_THAT(error_with(R"("delta":5)", R"("delta":null)"), HasSubstr("\"delta\""));
  EXPECT_THAT(error_with(R"("delta":5)", R"("delta":05)"), HasSubstr("\"delta\""));
  EXPECT_THAT(error_with(R"("return":1890)", R"("return":nil)"), HasSubstr("\"return\""));
  EXPECT_THAT(error_with(R"("return":1890)", R"("return":nulls)"), HasSubstr(":1: "));
  EXPECT_THAT(error_with(R"("op":"add")", R"("op":"incr")"),
              HasSubstr("`\"incr\"`; it must be one of: add, get"));
  EXPECT_THAT(error_with(R"("op":"add")", R"("op":1)"), HasSubstr("add, get"));
  EXPECT_THAT(error_with(R"("status":"ok")", R"("status":"fail")"), HasSubstr("one of: ok, unk"));
}

TEST(HistoryReader, CountersAreCounterNames) {
  EXPECT_EQ(error_with("hits", "a\\n\\u00e9\\\\\\\""), "");
  EXPECT_THAT(error_with("hits", ""), HasSubstr("empty"));
  EXPECT_THAT(error_with("hits", std::string(256, 'x')), HasSubstr("256"));
  EXPECT_NE(error_with("hits", "\xFF"), "");
  EXPECT_NE(error_with("hits", "\xED\xA0\x80"), "");
  EXPECT_NE(error_with("hits", "\\q"), "");
}

TEST(HistoryReader, FieldsMustFitTheOperation) {
  EXPECT_THAT(error_with("add", "get"), HasSubstr("\"delta\" on a \"get\""));
  EXPECT_THAT(error_with(R"("status":"ok")", R"("status":"unknown")"),
              HasSubstr("\"value\" on status \"unknown\""));
  EXPECT_THAT(error_with(R"("value":17)", R"("value":17,"reason":"bounds")"),
              HasSubstr("\"reason\" on status \"ok\""));
  EXPECT_THAT(error_with(R"("ok","value":17)", R"("rejected")"), HasSubstr("no \"reason\""));
  EXPECT_EQ(error_with(R"("ok","value":17)", R"("rejected","reason":"overflow")"), "");
  EXPECT_THAT(error_with(R"("ok","value":17)", R"("rejected","reason":"bounds")"),
              HasSubstr("without any"));
  EXPECT_EQ(error_with(R"("ok","value":17)", R"("rejected","reason":"bounds","lower":3)"), "");
  EXPECT_THAT(error_of(R"({"client":1,"seq":1,"op":"get","counter":"a","invoke":1,"return":2,)"
                       R"("status":"ok","value":1,"upper":3})"),
              HasSubstr("\"upper\" on a \"get\""));
  EXPECT_THAT(error_of(R"({"client":1,"seq":1,"op":"get","counter":"a","invoke":1,"return":2,)"
                       R"("status":"rejected","reason":"overflow"})"),
              HasSubstr("never rejected"));
}

TEST(HistoryReader, AnswersHaveATime) {
  EXPECT_THAT(error_with("1890", "null"), HasSubstr("\"return\" is null on status \"ok\""));
  EXPECT_THAT(error_with("1890", "1199"), HasSubstr("before its invoke"));
  EXPECT_EQ(error_with("1890", "1200"), "");
  EXPECT_EQ(error_of(add_line(1, 1, 5, std::nullopt)), "") << "unknown";
  EXPECT_EQ(error_with(R"(1890,"status":"ok","value":17)", R"(null,"status":"failed")"), "");
}

TEST(HistoryReader, DuplicateIsNamedWithBothLines) {
  EXPECT_EQ(error_of(add_line(1, 1, 0, 1) + add_line(2, 1, 0, 1)), "");
  const std::string error =
      error_of(add_line(1, 1, 0, 1) + "\n" + add_line(1, 2, 1, 2) + add_line(1, 1, 3, 4));
  EXPECT_THAT(error, StartsWith("h.jsonl:4: client 1 has operation 1 twice"));
  EXPECT_THAT(error, HasSubstr("(see line 1)"));
}

TEST(HistoryReader, LaneHasOneOperationOpen) {
  EXPECT_EQ(error_of(add_line(1, 1, 0, 5) + add_line(1, 2, 5, 9)), "") << "touching";
  EXPECT_THAT(error_of(add_line(1, 1, 0, 5) + add_line(1, 2, 4, 9)),
              StartsWith("h.jsonl:2: client 1 has two operations open at once"));
  EXPECT_THAT(error_of(add_line(1, 2, 4, 9) + add_line(1, 1, 0, 5)),
              StartsWith("h.jsonl:1: client 1 has two operations open at once"));
  EXPECT_EQ(error_of(add_line(1, 2, 5, 9) + add_line(1, 1, 0, 5)), "") << "order is free";
  EXPECT_EQ(error_of(add_line(1, 1, 5, 9) + add_line(1, 2, 5, 5)), "") << "a point before it";
  EXPECT_EQ(error_of(add_line(1, 1, 0, 5) + add_line(2, 2, 4, 9)), "") << "another lane";
}

TEST(HistoryReader, LaneEndsWithWhatNeverReturned) {
  EXPECT_EQ(error_of(add_line(1, 1, 0, 5) + add_line(1, 2, 5, std::nullopt)), "");
  EXPECT_THAT(error_of(add_line(1, 1, 0, std::nullopt) + add_line(1, 2, 9, 10)),
              StartsWith("h.jsonl:2: client 1 goes on"));
}

// ---- Properties ---------------------------------------------------------------------------------

std::string any_name() {
  auto name = *rc::gen::container<std::string>(rc::gen::oneOf(
      rc::gen::inRange<char>(1, 127), rc::gen::element('"', '\\', '/', '\n', '\x01')));
  name = name.substr(0, 200) + *rc::gen::element<std::string>("", "\xC3\xA9", "\xF0\x9F\x92\xA9");
  return name.empty() ? "x" : name;
}

Operation any_operation(uint64_t client, uint64_t sequence, int64_t invoke) {
  Operation operation;
  operation.client = client;
  operation.sequence = sequence;
  operation.kind = *rc::gen::element(Operation::Kind::kAdd, Operation::Kind::kGet);
  operation.counter = any_name();
  operation.invoke_ns = invoke;
  operation.return_ns = invoke + *rc::gen::inRange<int64_t>(0, 50);
  operation.status = static_cast<Operation::Status>(*rc::gen::inRange(0, 4));
  if (operation.kind == Operation::Kind::kAdd) {
    operation.delta = *rc::gen::arbitrary<int64_t>();
    operation.lower = *rc::gen::arbitrary<bool>() ? std::optional<int64_t>(-5) : std::nullopt;
  } else if (operation.status == Operation::Status::kRejected) {
    operation.status = Operation::Status::kFailed;
  }
  if (operation.status == Operation::Status::kOk) operation.value = *rc::gen::arbitrary<int64_t>();
  if (operation.status == Operation::Status::kRejected) {
    operation.reject_reason =
        operation.lower ? Operation::RejectReason::kBounds : Operation::RejectReason::kOverflow;
  }
  return operation;
}

bool same(const Operation& a, const Operation& b) {
  return a.client == b.client && a.sequence == b.sequence && a.kind == b.kind &&
         a.status == b.status && a.reject_reason == b.reject_reason && a.counter == b.counter &&
         a.delta == b.delta && a.lower == b.lower && a.upper == b.upper &&
         a.invoke_ns == b.invoke_ns && a.return_ns == b.return_ns && a.value == b.value;
}

RC_GTEST_PROP(HistoryProperty, RoundTrip, ()) {
  History history;
  std::string text;
  const auto count = *rc::gen::inRange<uint64_t>(0, 12);
  for (uint64_t i = 0; i < count; ++i) {
    history.push_back(any_operation(i % 3, i, static_cast<int64_t>(i) * 50));
    write_history_line(history.back(), text);
  }
  // Exactly as long as the text: a read beyond its end is for the address sanitizer to see.
  const std::vector<char> exact(text.begin(), text.end());
  History read;
  std::string error;
  const bool fine = parse_history(std::string_view(exact.data(), exact.size()), "h", read, error);
  RC_ASSERT(error == "");
  RC_ASSERT(fine);
  RC_ASSERT(read.size() == history.size());
  for (size_t i = 0; i < read.size(); ++i) RC_ASSERT(same(read[i], history[i]));
}

RC_GTEST_PROP(HistoryProperty, AnyDamageIsSafe, ()) {
  std::string text = add_line(1, 1, 0, 5) + std::string(kGoodLine) + "\n" + add_line(3, 1, 0, 5);
  const auto count = *rc::gen::inRange(1, 4);
  for (int i = 0; i < count; ++i) {
    text[*rc::gen::inRange<size_t>(0, text.size())] = *rc::gen::arbitrary<char>();
  }
  error_of(text);
}

TEST(HistoryReader, ReadsAMillionLinesASecond) {
  const uint64_t line_count = 100'000;
  std::string text;
  for (uint64_t i = 0; i < line_count; ++i) {
    const auto at = static_cast<int64_t>(i) * 1'000'000;
    text += add_line(i % 16, i / 16, at, at + 15'000'000);
  }
  History history;
  std::string error;
  const auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(parse_history(text, "h", history, error)) << error;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(history.size(), line_count);
  // Recorded, not asserted: this machine may be busy, and the build unoptimised.
  RecordProperty("lines_per_second",
                 static_cast<int>(static_cast<double>(line_count) / took.count()));
}

}  // namespace
}  // namespace tally
