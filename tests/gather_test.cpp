// When a leader hears its clients, and when it proposes what they ask.
#include "net/gather.h"

#include <gtest/gtest.h>

#include <chrono>

namespace tally {
namespace {

using std::chrono::microseconds;

constexpr Time kStart = Time(std::chrono::hours(1));

class GatherTest : public testing::Test {
 protected:
  // A turn that takes no time.
  void turn(Duration at, uint64_t last, uint64_t committed, bool heard = true, bool leads = true,
            size_t answered = 10) {
    gather_.on_turn({.began = kStart + at,
                     .ended = kStart + at,
                     .heard = heard,
                     .answered_count = answered,
                     .leads = leads,
                     .last = LogIndex(last),
                     .committed = LogIndex(committed),
                     .applied_count = committed});
  }
  // A batch of `count` that takes 500 us, and the next one that begins when `back` came back.
  void batch(uint64_t count, uint64_t back) {
    now_ += microseconds(10);
    turn(now_, last_ + count, last_);
    last_ += count;
    now_ += microseconds(500);
    turn(now_, last_, last_);
    waited_ = gather_.keeps();
    if (waited_) gather_.release(back);
  }

  Gather gather_;
  Duration now_{0};
  uint64_t last_ = 100;
  bool waited_ = false;
};

TEST_F(GatherTest, LeavesClientsAloneUntilTheBatchIsCommitted) {
  EXPECT_EQ(gather_.deaf_until(), Time::min());
  turn(microseconds(0), 110, 100);
  EXPECT_EQ(gather_.deaf_until(), kStart + microseconds(2000));
  // What other nodes send meanwhile makes it no longer.
  turn(microseconds(300), 115, 105, /*heard=*/false);
  EXPECT_EQ(gather_.deaf_until(), kStart + microseconds(2000));
  EXPECT_FALSE(gather_.keeps());
  turn(microseconds(400), 115, 115, /*heard=*/false);
  EXPECT_EQ(gather_.deaf_until(), Time::min());
}

TEST_F(GatherTest, WaitsForThoseThatWereAnsweredAsLongAsTheBatchTook) {
  turn(microseconds(0), 110, 100);
  turn(microseconds(300), 110, 110);
  ASSERT_TRUE(gather_.keeps());
  EXPECT_EQ(gather_.keeps_until(), kStart + microseconds(600));
  EXPECT_FALSE(gather_.is_over(kStart + microseconds(599), 9));
  EXPECT_TRUE(gather_.is_over(kStart + microseconds(301), 10));
  EXPECT_TRUE(gather_.is_over(kStart + microseconds(600), 0));
  gather_.release(10);
  EXPECT_FALSE(gather_.keeps());
  EXPECT_EQ(gather_.keeps_until(), kNever);
}

TEST_F(GatherTest, CountsTheBatchFromTheBeginningOfItsTurnAndTheWaitFromTheEnd) {
  const auto long_turn = [&](int began, int ended, uint64_t last, uint64_t committed) {
    gather_.on_turn({.began = kStart + microseconds(began),
                     .ended = kStart + microseconds(ended),
                     .heard = true,
                     .answered_count = 10,
                     .leads = true,
                     .last = LogIndex(last),
                     .committed = LogIndex(committed),
                     .applied_count = committed});
  };
  long_turn(0, 100, 110, 100);
  EXPECT_EQ(gather_.deaf_until(), kStart + microseconds(2100));
  long_turn(500, 580, 110, 110);
  EXPECT_EQ(gather_.keeps_until(), kStart + microseconds(1080));
}

TEST_F(GatherTest, NeverWaitsLongerThanItLeavesClientsAlone) {
  turn(microseconds(0), 110, 100);
  turn(microseconds(900'000), 110, 110);
  EXPECT_EQ(gather_.keeps_until(), kStart + microseconds(902'000));
}

// What shares an entry comes back one by one.
TEST_F(GatherTest, WaitsForAsManyAsWereAppliedNotForEntries) {
  const auto turn_with = [&](uint64_t last, uint64_t committed, uint64_t applied_count) {
    gather_.on_turn({.began = kStart,
                     .ended = kStart,
                     .heard = true,
                     .answered_count = 10,
                     .leads = true,
                     .last = LogIndex(last),
                     .committed = LogIndex(committed),
                     .applied_count = applied_count});
  };
  turn_with(101, 100, 5000);
  turn_with(101, 101, 5040);
  ASSERT_TRUE(gather_.keeps());
  EXPECT_FALSE(gather_.is_over(kStart - microseconds(1), 39));
  EXPECT_TRUE(gather_.is_over(kStart - microseconds(1), 40));
}

TEST_F(GatherTest, OneAloneNeedNotWait) {
  turn(microseconds(0), 100, 100);
  turn(microseconds(10), 101, 100);
  turn(microseconds(300), 101, 101);
  EXPECT_FALSE(gather_.keeps());
}

TEST_F(GatherTest, WaitsForFewConnectionsOnly) {
  turn(microseconds(0), 200, 100);
  turn(microseconds(300), 200, 200, true, true, 25);
  EXPECT_FALSE(gather_.keeps());
  turn(microseconds(310), 300, 200);
  turn(microseconds(600), 300, 300, true, true, 24);
  EXPECT_TRUE(gather_.keeps());
}

// What an earlier leader left, say.
TEST_F(GatherTest, WaitsForNobodyWhenNobodyWasAnswered) {
  turn(microseconds(0), 200, 100);
  turn(microseconds(300), 200, 200, true, true, 0);
  EXPECT_FALSE(gather_.keeps());
}

TEST_F(GatherTest, WhatOthersLeadToIsNoneOfItsBusiness) {
  turn(microseconds(0), 110, 100, true, /*leads=*/false);
  EXPECT_EQ(gather_.deaf_until(), Time::min());
  turn(microseconds(300), 110, 110, true, /*leads=*/false);
  EXPECT_FALSE(gather_.keeps());
}

TEST_F(GatherTest, WhoLeadsNoLongerKeepsNothing) {
  turn(microseconds(0), 110, 100);
  turn(microseconds(300), 110, 110);
  ASSERT_TRUE(gather_.keeps());
  turn(microseconds(310), 110, 110, true, /*leads=*/false);
  EXPECT_TRUE(gather_.is_over(kStart + microseconds(310), 0));
}

TEST_F(GatherTest, WhoNeverComesBackIsWaitedForOnlyNowAndThen) {
  for (int i = 0; i < 8; ++i) {
    batch(10, 9);
    EXPECT_TRUE(waited_) << i;
  }
  int waited = 0;
  for (int i = 0; i < 640; ++i) {
    batch(10, 9);
    waited += waited_ ? 1 : 0;
  }
  EXPECT_EQ(waited, 10);
  // Once they do come back, they are waited for again.
  for (int i = 0; i < 64; ++i) batch(10, 10);
  EXPECT_TRUE(waited_);
  batch(10, 10);
  EXPECT_TRUE(waited_);
}

}  // namespace
}  // namespace tally
