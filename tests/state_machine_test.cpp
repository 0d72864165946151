// The state machine against its rules, one by one. Source: DESIGN section 4, thesis §6.3, BUGS
// class client-session. Random commands: state_machine_property_test.cpp.
#include "core/state_machine.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/command.pb.h"
#include "tests/apply_results.h"

namespace tally {
namespace {

// A machine with verbs. Log time is in nanoseconds and stands still unless a test moves it.
class StateMachineTest : public ::testing::Test {
 protected:
  ApplyResult apply(EntryType type, Bytes data) {
    const std::span<const ApplyResult> results =
        machine_.apply(Entry{.index = machine_.applied_index() + 1,
                             .term = Term(1),
                             .log_time = LogTime(now_),
                             .type = type,
                             .data = std::move(data)});
    EXPECT_EQ(results.size(), type == EntryType::kCommand ? 1u : 0u);
    return results.empty() ? ApplyResult{} : results.front();
  }
  void noop() { apply(EntryType::kNoop, {}); }
  ApplyResult open(int64_t timeout_ns = 1000, uint64_t count_max = 10) {
    return apply(EntryType::kCommand, encode_open_session({.timeout = Duration(timeout_ns),
                                                           .session_count_max = count_max}));
  }
  SessionId opened(int64_t timeout_ns = 1000) {
    return SessionId(static_cast<uint64_t>(open(timeout_ns).value));
  }
  ApplyResult close(SessionId session) {
    return apply(EntryType::kCommand, encode_close_session(session));
  }
  ApplyResult add(const IncrementAndGetRequest& request) {
    return apply(EntryType::kCommand, encode_increment(request));
  }
  ApplyResult add(SessionId session, uint64_t sequence, int64_t delta,
                  uint64_t first_outstanding = 1, std::string name = "hits") {
    IncrementAndGetRequest request;
    request.name = Bytes(name);
    request.delta = delta;
    request.session = session;
    request.sequence = sequence;
    request.first_outstanding = first_outstanding;
    return add(request);
  }
  ApplyResult add_within(SessionId session, uint64_t sequence, int64_t delta,
                         std::optional<int64_t> lower, std::optional<int64_t> upper) {
    IncrementAndGetRequest request;
    request.name = Bytes("hits");
    request.delta = delta;
    request.lower = lower;
    request.upper = upper;
    request.session = session;
    request.sequence = sequence;
    request.first_outstanding = 1;
    return add(request);
  }
  int64_t hits() const { return machine_.value("hits"); }

  StateMachine machine_;
  uint64_t now_ = 0;
};

TEST_F(StateMachineTest, CountsFromZero) {
  const SessionId session = opened();
  EXPECT_EQ(add(session, 1, 5), kOkValue(5));
  EXPECT_EQ(add(session, 2, -7), kOkValue(-2));
  EXPECT_EQ(hits(), -2);
  EXPECT_EQ(machine_.value("other"), 0);
}

TEST_F(StateMachineTest, SessionIdIsTheIndexOfItsEntry) {
  noop();
  noop();
  EXPECT_EQ(open(), kOkValue(3));
  EXPECT_EQ(open(), kOkValue(4));
}

TEST_F(StateMachineTest, RepeatedSequenceIsAnsweredNotExecuted) {
  const SessionId session = opened();
  const ApplyResult first = add(session, 1, 5);
  EXPECT_EQ(add(session, 2, 1), kOkValue(6));
  EXPECT_EQ(add(session, 1, 5), repeated(first));
  EXPECT_EQ(add(session, 1, 999), repeated(first)) << "whatever the repeated command says";
  EXPECT_EQ(hits(), 6);
}

TEST_F(StateMachineTest, SequencesMayComeInAnyOrder) {
  const SessionId session = opened();
  const ApplyResult third = add(session, 3, 1);
  const ApplyResult first = add(session, 1, 10);
  const ApplyResult second = add(session, 2, 100);
  EXPECT_EQ(second, kOkValue(111));
  EXPECT_EQ(add(session, 1, 0), repeated(first));
  EXPECT_EQ(add(session, 2, 0), repeated(second));
  EXPECT_EQ(add(session, 3, 0), repeated(third));
}

TEST_F(StateMachineTest, SessionsDoNotShareSequences) {
  const SessionId one = opened();
  const SessionId two = opened();
  EXPECT_EQ(add(one, 1, 5), kOkValue(5));
  EXPECT_EQ(add(two, 1, 5), kOkValue(10));
}

TEST_F(StateMachineTest, UnknownSessionIsExpiredAndExecutesNothing) {
  EXPECT_EQ(add(SessionId(0), 1, 5), kRefused(Reason::kExpired));
  EXPECT_EQ(add(SessionId(2), 1, 5), kRefused(Reason::kExpired)) << "not yet opened";
  EXPECT_EQ(hits(), 0);
}

TEST_F(StateMachineTest, SessionEndsOnceIdleLongerThanItsTimeout) {
  now_ = 50;
  const SessionId session = opened(1000);
  now_ = 1050;
  EXPECT_EQ(add(session, 1, 5), kOkValue(5)) << "idle for exactly the timeout";
  now_ = 2050;
  noop();
  EXPECT_EQ(machine_.session_count(), 1u);
  now_ = 2051;
  EXPECT_EQ(add(session, 1, 5), kRefused(Reason::kExpired)) << "and the retry is not executed";
  EXPECT_EQ(machine_.session_count(), 0u);
  EXPECT_EQ(hits(), 5);
}

TEST_F(StateMachineTest, EveryUseRenews) {
  const SessionId session = opened(1000);
  add(session, 1, 5);
  now_ = 900;
  add(session, 1, 5);  // a repetition
  now_ = 1800;
  EXPECT_EQ(add(session, 100, 5), kRefused(Reason::kWindow));
  now_ = 2700;
  EXPECT_EQ(add(session, 0, 5), kRefused(Reason::kStaleSequence));
  now_ = 3700;
  EXPECT_EQ(add(session, 2, 5), kOkValue(10));
}

TEST_F(StateMachineTest, LogTimeNeverGoesBack) {
  now_ = 5000;
  const SessionId session = opened(1000);
  now_ = 10;
  EXPECT_EQ(add(session, 1, 1), kOkValue(1));
  EXPECT_EQ(machine_.log_time(), LogTime(5000));
  now_ = 6000;
  EXPECT_EQ(add(session, 2, 1), kOkValue(2));
}

TEST_F(StateMachineTest, EachSessionHasItsOwnTimeout) {
  const SessionId quick = opened(10);
  const SessionId slow = opened(1000);
  const SessionId eternal = opened(kHighest);
  now_ = 500;
  EXPECT_EQ(add(quick, 1, 1), kRefused(Reason::kExpired));
  EXPECT_EQ(add(slow, 1, 1), kOkValue(1));
  now_ = std::numeric_limits<uint64_t>::max();
  EXPECT_EQ(add(slow, 2, 1), kRefused(Reason::kExpired));
  EXPECT_EQ(add(eternal, 1, 1), kRefused(Reason::kExpired)) << "2^63 - 1 ns are over as well";
  const SessionId last = opened(1);
  EXPECT_EQ(add(last, 1, 1), kOkValue(2)) << "a deadline beyond 64 bits is never reached";
}

TEST_F(StateMachineTest, FullTableRefusesAndNeverEvicts) {
  const SessionId first = SessionId(static_cast<uint64_t>(open(1000, 2).value));
  EXPECT_EQ(open(1000, 2).outcome, Outcome::kOk);
  EXPECT_EQ(open(1000, 2), kRefused(Reason::kSessionsFull));
  EXPECT_EQ(open(1000, 0), kRefused(Reason::kSessionsFull));
  EXPECT_EQ(add(first, 1, 1), kOkValue(1));
  now_ = 1001;  // both end before the command executes
  EXPECT_EQ(open(1000, 1).outcome, Outcome::kOk);
}

TEST_F(StateMachineTest, AClosedSessionIsExpiredAndMakesRoom) {
  const SessionId session = opened();
  EXPECT_EQ(add(session, 1, 5), kOkValue(5));
  EXPECT_EQ(open(1000, 1), kRefused(Reason::kSessionsFull));
  EXPECT_EQ(close(session), kOkValue(0));
  EXPECT_EQ(machine_.session_count(), 0u);
  EXPECT_EQ(add(session, 1, 5), kRefused(Reason::kExpired)) << "the retry is not executed";
  EXPECT_EQ(add(session, 2, 5), kRefused(Reason::kExpired));
  EXPECT_EQ(close(session), kOkValue(0)) << "as a repetition of the message may ask";
  EXPECT_EQ(open(1000, 1).outcome, Outcome::kOk);
  EXPECT_EQ(hits(), 5);
}

// More of them than are kept as deadlines of sessions that are no more.
TEST_F(StateMachineTest, ManyClosedSessionsLeaveTheOthersTheirTime) {
  const SessionId quick = opened(10);
  const SessionId slow = opened(1000);
  for (int i = 0; i < 300; ++i) close(opened(500));
  EXPECT_EQ(machine_.session_count(), 2u);
  now_ = 11;
  EXPECT_EQ(add(quick, 1, 1), kRefused(Reason::kExpired));
  now_ = 900;
  EXPECT_EQ(add(slow, 1, 1), kOkValue(1));
  now_ = 1901;
  EXPECT_EQ(add(slow, 2, 1), kRefused(Reason::kExpired));
  EXPECT_EQ(machine_.session_count(), 0u);
}

TEST_F(StateMachineTest, FirstOutstandingOnlyRises) {
  const SessionId session = opened();
  add(session, 1, 1);
  add(session, 2, 1);
  EXPECT_EQ(add(session, 3, 1, 3), kOkValue(3));
  EXPECT_EQ(add(session, 2, 1, 1), kRefused(Reason::kStaleSequence));
  EXPECT_EQ(add(session, 2, 1, 0), kRefused(Reason::kStaleSequence));
  EXPECT_EQ(add(session, 3, 1, 1), repeated(kOkValue(3)));
  EXPECT_EQ(add(session, 3, 1, 4), kRefused(Reason::kStaleSequence)) << "its answer was forgotten";
  EXPECT_EQ(hits(), 3);
}

TEST_F(StateMachineTest, SequenceBelowFirstOutstandingIsNeverExecuted) {
  const SessionId session = opened();
  EXPECT_EQ(add(session, 5, 1, 5), kOkValue(1));
  for (uint64_t sequence = 0; sequence < 5; ++sequence) {
    EXPECT_EQ(add(session, sequence, 1), kRefused(Reason::kStaleSequence)) << sequence;
  }
}

TEST_F(StateMachineTest, WindowBoundsWhatASessionKeeps) {
  const SessionId session = opened();
  EXPECT_EQ(add(session, kSessionWindow, 1), kOkValue(1));
  EXPECT_EQ(add(session, kSessionWindow + 1, 1), kRefused(Reason::kWindow));
  EXPECT_EQ(add(session, kSessionWindow + 1, 1, 2), kOkValue(2));
  const uint64_t last = std::numeric_limits<uint64_t>::max();
  EXPECT_EQ(add(session, last, 1), kRefused(Reason::kWindow));
  EXPECT_EQ(add(session, last, 1, last), kOkValue(3));
  EXPECT_EQ(add(session, last, 1, last), repeated(kOkValue(3)));
}

TEST_F(StateMachineTest, BoundsAreInclusive) {
  const SessionId session = opened();
  EXPECT_EQ(add_within(session, 1, 10, std::nullopt, 10), kOkValue(10));
  EXPECT_EQ(add_within(session, 2, 1, std::nullopt, 10), kRefused(Reason::kBounds));
  EXPECT_EQ(add_within(session, 3, -15, -5, std::nullopt), kOkValue(-5));
  EXPECT_EQ(add_within(session, 4, -1, -5, std::nullopt), kRefused(Reason::kBounds));
  EXPECT_EQ(add_within(session, 5, 0, 7, 3), kRefused(Reason::kBounds)) << "empty interval";
  EXPECT_EQ(hits(), -5);
}

TEST_F(StateMachineTest, OverflowIsRefusedAtBothEnds) {
  const SessionId session = opened();
  EXPECT_EQ(add(session, 1, kHighest), kOkValue(kHighest));
  EXPECT_EQ(add(session, 2, 1), kRefused(Reason::kOverflow));
  EXPECT_EQ(add(session, 3, kLowest), kOkValue(-1));
  EXPECT_EQ(add(session, 4, kLowest), kRefused(Reason::kOverflow));
  EXPECT_EQ(add(session, 5, kLowest + 1), kOkValue(kLowest));
  EXPECT_EQ(add_within(session, 6, -1, 0, 1), kRefused(Reason::kOverflow)) << "before bounds";
}

TEST_F(StateMachineTest, RefusalIsRememberedAsTheAnswer) {
  const SessionId session = opened();
  EXPECT_EQ(add_within(session, 1, 5, std::nullopt, 3), kRefused(Reason::kBounds));
  EXPECT_EQ(add(session, 2, -3), kOkValue(-3)) << "5 would fit under 3 now";
  EXPECT_EQ(add_within(session, 1, 5, std::nullopt, 3), repeated(kRefused(Reason::kBounds)));
  EXPECT_EQ(hits(), -3);
}

TEST_F(StateMachineTest, ZeroIsAbsent) {
  const SessionId session = opened();
  EXPECT_EQ(add(session, 1, 0), kOkValue(0));
  EXPECT_EQ(machine_.counter_count(), 0u);
  add(session, 2, 5);
  EXPECT_EQ(machine_.counter_count(), 1u);
  add(session, 3, -5);
  EXPECT_EQ(machine_.counter_count(), 0u);
  EXPECT_EQ(add(session, 4, 1), kOkValue(1)) << "and it starts from 0 again";
}

// Two machines with one session each; hashes compare what differs afterwards.
class StateHashTest : public StateMachineTest {
 protected:
  void SetUp() override {
    machine_.apply(open_entry());
    other_.apply(open_entry());
  }
  static Entry open_entry() {
    return {LogIndex(1), Term(1), LogTime(0), EntryType::kCommand, encode_open_session({})};
  }
  void forget_answers(StateMachine& machine) {
    std::swap(machine, machine_);
    add(SessionId(1), 10, 0, 10, "none");
    std::swap(machine, machine_);
  }
  StateMachine other_;
};

TEST_F(StateHashTest, TouchedButZeroCountersLeaveNoTrace) {
  add(SessionId(1), 1, 0, 1, "zero");
  add(SessionId(1), 2, 5, 1, "back");
  add(SessionId(1), 3, -5, 1, "back");
  add_within(SessionId(1), 4, 5, std::nullopt, 3);
  EXPECT_NE(machine_.state_hash(), other_.state_hash()) << "four answers are remembered";
  forget_answers(machine_);
  forget_answers(other_);
  EXPECT_EQ(machine_.state_hash(), other_.state_hash());
  EXPECT_NE(machine_.history_hash(), other_.history_hash());
}

TEST_F(StateHashTest, OrderOfNamesDoesNotMatterValuesDo) {
  add(SessionId(1), 1, 3, 1, "a");
  add(SessionId(1), 2, 4, 1, "b");
  std::swap(machine_, other_);
  add(SessionId(1), 1, 4, 1, "b");
  add(SessionId(1), 2, 3, 1, "a");
  forget_answers(machine_);
  forget_answers(other_);
  EXPECT_EQ(machine_.state_hash(), other_.state_hash());
  add(SessionId(1), 11, 1, 11, "a");
  std::swap(machine_, other_);
  add(SessionId(1), 11, 1, 11, "b");
  EXPECT_NE(machine_.state_hash(), other_.state_hash()) << "swapped: a=4,b=4 against a=3,b=5";
}

TEST_F(StateHashTest, LogTimeAndAnswersAreState) {
  const uint64_t before = machine_.state_hash();
  noop();
  EXPECT_EQ(machine_.state_hash(), before);
  now_ = 1;
  noop();
  EXPECT_NE(machine_.state_hash(), before);
}

TEST_F(StateHashTest, EmptyStateIsOneStateHoweverReached) {
  StateMachine fresh;
  StateMachine used;
  used.apply({LogIndex(1), Term(1), LogTime(7), EntryType::kCommand,
              encode_open_session({.timeout = Duration(0)})});
  used.apply({LogIndex(2), Term(1), LogTime(8), EntryType::kNoop, {}});
  fresh.apply({LogIndex(1), Term(1), LogTime(8), EntryType::kNoop, {}});
  EXPECT_EQ(used.state_hash(), fresh.state_hash());
}

TEST(CounterName, BoundariesOfLengthAndUtf8) {
  EXPECT_NE(counter_name_error(""), "");
  EXPECT_EQ(counter_name_error("x"), "");
  EXPECT_EQ(counter_name_error(std::string(255, 'x')), "");
  EXPECT_NE(counter_name_error(std::string(256, 'x')), "");
  for (const std::string_view good :
       {"\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
        "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "12345678\xC3\xA9", "a\tb"}) {
    EXPECT_EQ(counter_name_error(good), "") << good;
  }
  for (const std::string_view bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2\x41", "\xE0\x9F\xBF", "\xED\xA0\x80",
        "\xEF\xBF", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF",
        "12345678\xC3", "1234567\xC3\x41"}) {
    EXPECT_NE(counter_name_error(bad), "") << fmt::format("{:02x}", static_cast<uint8_t>(bad[0]));
  }
  EXPECT_EQ(counter_name_error(std::string_view("a\0b", 3)), "");
}

using StateMachineDeathTest = StateMachineTest;

TEST_F(StateMachineDeathTest, WhatDoesNotDecodeStopsTheNode) {
  const auto dies = [this](std::string_view data, const char* why) {
    EXPECT_DEATH(apply(EntryType::kCommand, Bytes(data)), why);
  };
  dies("", "not exactly one known kind of command");
  dies("\xFF\xFF", "does not decode");
  dies(std::string_view("\x22\x00", 2), "does not decode");  // field 4: an unknown kind
  dies(std::string_view("\x1A\x00", 2), "close_session lacks fields");
  dies(std::string_view("\x0A\x00", 2), "open_session lacks fields");
  dies(std::string_view("\x12\x00", 2), "increment lacks fields");
  IncrementAndGetRequest whole;
  whole.name = Bytes("x");
  dies(std::string(encode_increment(whole).view()) + std::string("\x12\x00", 2),
       "increment lacks fields");
  dies(std::string_view("\x0A\x00\x12\x00", 4), "not exactly one known kind of command");
  command::Command command;
  ASSERT_TRUE(command.ParseFromString(std::string(encode_open_session({}).view())));
  dies(command.SerializeAsString() + std::string("\x0A\x03\x98\x06\x01", 5), "or has more");
  IncrementAndGetRequest request;
  request.name = Bytes("x");
  ASSERT_TRUE(command.ParseFromString(std::string(encode_increment(request).view())));
  command.mutable_increment(0)->set_name("\xFF");
  dies(command.SerializeAsString(), "not valid UTF-8");
}

TEST_F(StateMachineDeathTest, EntriesComeInOrderAndOfKnownType) {
  const Entry second{LogIndex(2), Term(1), LogTime(0), EntryType::kNoop, {}};
  EXPECT_DEATH(machine_.apply(second), "applying entry 2 after entry 0");
  EXPECT_DEATH(apply(EntryType::kNoop, Bytes("x")), "a no-op with 1 bytes");
  EXPECT_DEATH(apply(static_cast<EntryType>(9), {}), "unknown type 9");
}

}  // namespace
}  // namespace tally
