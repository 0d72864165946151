// Two threads and one loop: never both at once, and nobody waits long for one that is away.
#include "net/baton.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <set>

#include "net/loop.h"

namespace tally {
namespace {

using std::chrono::milliseconds;

TEST(Baton, KeepsTheLoopOnOneThreadWhileNobodyIsAwayLong) {
  Baton baton(std::chrono::seconds(10));
  std::set<std::thread::id> drivers;
  int turns = 0;
  baton.run([&] {
    drivers.insert(std::this_thread::get_id());
    if (baton.may_go()) {
      EXPECT_TRUE(baton.go([] { std::this_thread::sleep_for(milliseconds(1)); }));
      ++turns;
    }
    return turns < 20;
  });
  EXPECT_EQ(turns, 20);
  EXPECT_EQ(drivers.size(), 1U);
}

// The first thread stays away until the other one has made three turns, so that a driver which
// waited for it would hang.
TEST(Baton, TheOtherThreadTakesOverFromOneThatStaysAway) {
  constexpr milliseconds kPatience(5);
  Baton baton(kPatience);
  std::atomic<int> others = 0;
  std::atomic<bool> back = false;
  bool went = false;
  bool inside = false;
  Time left;
  Time taken_over;
  std::thread::id stuck;
  baton.run([&] {
    EXPECT_FALSE(std::exchange(inside, true));
    if (!went) {
      if (baton.may_go()) {
        went = true;
        stuck = std::this_thread::get_id();
        left = monotonic_now();
        inside = false;
        const bool kept = baton.go([&] {
          while (others < 3) std::this_thread::sleep_for(milliseconds(1));
        });
        EXPECT_FALSE(kept);
        back = true;
        return false;  // does not count: this thread does not drive any more
      }
    } else {
      EXPECT_NE(std::this_thread::get_id(), stuck);
      if (others == 0) taken_over = monotonic_now();
      // Alone, so it must stay.
      if (others < 3) {
        EXPECT_FALSE(baton.may_go());
      }
      ++others;
    }
    inside = false;
    return !back || !baton.may_go();  // and the one that was away stands by now
  });
  EXPECT_GE(others, 3);
  EXPECT_GE(taken_over - left, kPatience);
  EXPECT_LT(taken_over - left, milliseconds(1000));
}

// The first thread loses the loop, gets it back when the second one stays away, and ends.
TEST(Baton, EndsOnlyWhenTheOtherThreadIsBack) {
  Baton baton(milliseconds(2));
  const std::thread::id first = std::this_thread::get_id();
  bool first_went = false;
  bool second_went = false;
  std::atomic<bool> returned = false;
  baton.run([&] {
    if (second_went) {
      EXPECT_EQ(std::this_thread::get_id(), first);
      return false;
    }
    if (!baton.may_go()) return true;
    bool& went = std::this_thread::get_id() == first ? first_went : second_went;
    went = true;
    const bool second = second_went;
    EXPECT_FALSE(baton.go([&] {
      std::this_thread::sleep_for(milliseconds(50));
      if (second) returned = true;
    }));
    return true;
  });
  EXPECT_TRUE(first_went);
  EXPECT_TRUE(returned);  // run() waits for it: it may use what the caller destroys next
}

}  // namespace
}  // namespace tally
