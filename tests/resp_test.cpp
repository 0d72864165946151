// The bytes of Redis' protocol: commands in, replies out.
#include "net/resp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

namespace tally {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using namespace std::string_literals;
using Words = std::vector<std::string>;

constexpr RespLimits kLimits{};

// What a connection gets to see: commands, and the error that ends them.
struct Seen {
  std::vector<Words> commands;
  std::string error;
  size_t left = 0;  // bytes of an unfinished command
};

void take(std::string& bytes, const RespLimits& limits, Seen& seen) {
  RespCommand command;
  while (!bytes.empty() && seen.error.empty()) {
    switch (parse_command(bytes, limits, command)) {
      case RespStatus::kOk:
        seen.commands.emplace_back(command.arguments.begin(), command.arguments.end());
        bytes.erase(0, command.consumed);
        break;
      case RespStatus::kNeedMore: EXPECT_GT(command.need, bytes.size()); return;
      case RespStatus::kError: seen.error = command.error; break;
    }
  }
}

Seen see(std::string bytes, const RespLimits& limits = kLimits) {
  Seen seen;
  take(bytes, limits, seen);
  seen.left = bytes.size();
  return seen;
}

std::string error_of(const std::string& bytes, const RespLimits& limits = kLimits) {
  const Seen seen = see(bytes, limits);
  EXPECT_THAT(seen.commands, IsEmpty());
  return seen.error;
}

Words words_of(const std::string& bytes) {
  const Seen seen = see(bytes);
  EXPECT_EQ(seen.error, "");
  EXPECT_EQ(seen.commands.size(), 1u);
  return seen.commands.empty() ? Words{} : seen.commands.front();
}

std::string encoded(const Words& words) {
  std::string bytes;
  put_array(bytes, words.size());
  for (const std::string& word : words) put_bulk(bytes, word);
  return bytes;
}

TEST(Resp, AnArrayOfBulkStringsIsACommand) {
  EXPECT_THAT(words_of("*2\r\n$4\r\nINCR\r\n$4\r\nhits\r\n"), ElementsAre("INCR", "hits"));
  EXPECT_THAT(words_of("*1\r\n$0\r\n\r\n"), ElementsAre(""));
  EXPECT_THAT(words_of("*2\r\n$4\r\nECHO\r\n$5\r\n\r\n\0$9\r\n"s),
              ElementsAre("ECHO", "\r\n\0$9"s));
}

TEST(Resp, ALineOfWordsIsACommand) {
  EXPECT_THAT(words_of("INCR hits\r\n"), ElementsAre("INCR", "hits"));
  EXPECT_THAT(words_of("  INCR \t hits  \n"), ElementsAre("INCR", "hits"));
  EXPECT_THAT(words_of("echo \"a b\\n\\x41\\\"\" 'c \\' d'\n"),
              ElementsAre("echo", "a b\nA\"", "c ' d"));
  EXPECT_THAT(words_of("\r\n"), IsEmpty());
  EXPECT_THAT(words_of("*0\r\n"), IsEmpty());
  EXPECT_THAT(words_of("*-1\r\n"), IsEmpty());
}

TEST(Resp, ErrorsAreInRedisWords) {
  EXPECT_EQ(error_of("*x\r\n"), "Protocol error: invalid multibulk length");
  EXPECT_EQ(error_of("*1025\r\n"), "Protocol error: invalid multibulk length");
  EXPECT_EQ(error_of("*01\r\n"), "Protocol error: invalid multibulk length");
  EXPECT_EQ(error_of("*1\r\n:5\r\n"), "Protocol error: expected '$', got ':'");
  EXPECT_EQ(error_of("*1\r\n$-1\r\n"), "Protocol error: invalid bulk length");
  EXPECT_EQ(error_of("*1\r\n$16385\r\n"), "Protocol error: invalid bulk length");
  EXPECT_EQ(error_of("*1\r\n$99999999999999999999\r\n"), "Protocol error: invalid bulk length");
  EXPECT_EQ(error_of("*" + std::string(40, '1')), "Protocol error: too big mbulk count string");
  EXPECT_EQ(error_of("*1\r\n$" + std::string(40, '1')),
            "Protocol error: too big bulk count string");
  EXPECT_EQ(error_of("echo \"a\n"), "Protocol error: unbalanced quotes in request");
  EXPECT_EQ(error_of("echo 'a'b\n"), "Protocol error: unbalanced quotes in request");
  EXPECT_EQ(error_of(std::string(4096, 'a')), "Protocol error: too big inline request");
  EXPECT_EQ(see(std::string(4095, 'a')).left, 4095u);
}

TEST(Resp, LimitsHoldBeforeTheBytesAreThere) {
  const RespLimits limits{.argument_count_max = 3,
                          .argument_bytes_max = 10,
                          .command_bytes_max = 30,
                          .inline_bytes_max = 20};
  EXPECT_EQ(error_of("*4\r\n", limits), "Protocol error: invalid multibulk length");
  EXPECT_EQ(see("*3\r\n", limits).error, "");
  EXPECT_EQ(error_of("*1\r\n$11\r\n", limits), "Protocol error: invalid bulk length");
  EXPECT_EQ(see("*1\r\n$10\r\n", limits).error, "");
  EXPECT_EQ(error_of("*2\r\n$9\r\n123456789\r\n$9\r\n", limits),
            "Protocol error: a command of more than 30 bytes");
  EXPECT_EQ(error_of("a b c d\n", limits), "Protocol error: too big inline request");
}

TEST(Resp, AnUnfinishedArgumentSaysHowMuchIsMissing) {
  RespCommand command;
  EXPECT_EQ(parse_command("*1\r\n$100\r\nabc", kLimits, command), RespStatus::kNeedMore);
  EXPECT_EQ(command.need, 4u + 6u + 100u + 2u);
}

RC_GTEST_PROP(Resp, AnySplitOfTheBytesGivesTheSameCommands, ()) {
  // Pipelines of commands, with damage here and there.
  std::string bytes;
  for (const Words& words : *rc::gen::container<std::vector<Words>>(
           rc::gen::container<Words>(rc::gen::arbitrary<std::string>()))) {
    bytes += *rc::gen::element(encoded(words), std::string("PING\r\n"), std::string("a 'b'\n"));
  }
  for (const auto& [at, with] :
       *rc::gen::scale(0.1, rc::gen::arbitrary<std::vector<std::pair<size_t, char>>>())) {
    if (!bytes.empty()) bytes[at % bytes.size()] = with;
  }
  const Seen whole = see(bytes);

  Seen split;
  std::string held;
  size_t need = 0;
  while (!bytes.empty() && split.error.empty()) {
    const size_t count = *rc::gen::inRange<size_t>(1, 9);
    held += bytes.substr(0, count);
    bytes.erase(0, std::min(count, bytes.size()));
    if (held.size() < need) continue;  // as a connection does that was told what is missing
    take(held, kLimits, split);
    RespCommand command;
    const bool more = !held.empty() && split.error.empty();
    need =
        more && parse_command(held, kLimits, command) == RespStatus::kNeedMore ? command.need : 0;
  }
  RC_ASSERT(split.commands == whole.commands);
  RC_ASSERT(split.error == whole.error);
}

RC_GTEST_PROP(Resp, WhatIsEncodedIsReadAgain, (const Words& words)) {
  RC_PRE(words.size() <= kLimits.argument_count_max);
  const Seen seen = see(encoded(words));
  RC_ASSERT(seen.commands == std::vector<Words>{words});
}

TEST(Resp, IntegersAreStrict) {
  int64_t value = 0;
  for (const char* text : {"0", "-1", "9223372036854775807", "-9223372036854775808"}) {
    EXPECT_TRUE(parse_integer(text, value)) << text;
  }
  EXPECT_EQ(value, std::numeric_limits<int64_t>::min());
  for (const char* text : {"", "-", "+1", " 1", "1 ", "01", "-0", "-01", "1.0", "0x1", "1e3",
                           "9223372036854775808", "-9223372036854775809"}) {
    EXPECT_FALSE(parse_integer(text, value)) << text;
  }
}

TEST(Resp, RepliesOfBothVersions) {
  std::string out;
  put_simple(out, "OK");
  put_error(out, "ERR a\r\nb");
  put_integer(out, -5);
  put_bulk(out, "x\r\n");
  put_bulk_integer(out, std::numeric_limits<int64_t>::min());
  put_null(out, false);
  put_null(out, true);
  put_array(out, 2);
  put_map(out, 3, false);
  put_map(out, 3, true);
  EXPECT_EQ(out,
            "+OK\r\n-ERR a  b\r\n:-5\r\n$3\r\nx\r\n\r\n$20\r\n-9223372036854775808\r\n$-1\r\n_\r\n"
            "*2\r\n*6\r\n%3\r\n");
}

TEST(Resp, SlotsAreThoseOfRedisCluster) {
  EXPECT_EQ(key_slot("123456789"), 0x31C3);
  EXPECT_EQ(key_slot("foo"), 12182);
  EXPECT_EQ(key_slot("{foo}bar"), 12182);
  EXPECT_EQ(key_slot("a{foo}{bar}"), 12182);
  EXPECT_EQ(key_slot("foo{}{bar}"), 8363);
  EXPECT_EQ(key_slot(""), 0);
}

}  // namespace
}  // namespace tally
