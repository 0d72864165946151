// The states of the search, where what they do shows in no verdict: only in the time it takes.
#include "sim/checker_states.h"

#include <gtest/gtest.h>

namespace tally::sim::checker {
namespace {

// One increment 0 -> 5 under way, and two ambiguous ones that cancel each other.
CounterOps ops_with_a_detour() {
  CounterOps ops;
  ops.completed.push_back({.pre = 0, .post = 5, .invoke = 0, .ret = 10, .index = 0});
  ops.ambiguous.push_back(
      {.delta = 1, .lower = kValueMin, .upper = kValueMax, .invoke = 0, .index = 1});
  ops.ambiguous.push_back(
      {.delta = -1, .lower = kValueMin, .upper = kValueMax, .invoke = 0, .index = 2});
  return ops;
}

// Leaves only the states of `layer` from `first` on. Its table then knows none of them.
void keep_from(Layer& layer, size_t first, size_t class_count) {
  layer.states.erase(layer.states.begin(), layer.states.begin() + static_cast<ptrdiff_t>(first));
  layer.used.erase(layer.used.begin(),
                   layer.used.begin() + static_cast<ptrdiff_t>(first * class_count));
  layer.slots.assign(layer.slots.size(), 0);
}

class CheckerStates : public testing::Test {
 protected:
  static constexpr size_t kClassCount = 2;

  void SetUp() override {
    next_.clear();
    space_.make_start(direct_);
    // The value 0 again, by way of 1 or -1.
    detour_ = direct_;
    space_.expand_closure(detour_, 0);
    keep_from(detour_, 1, kClassCount);
    space_.expand_closure(detour_, 0);
    keep_from(detour_, 2, kClassCount);
    ASSERT_EQ(detour_.states.size(), 1u);
    ASSERT_EQ(detour_.states[0].value, 0);
    ASSERT_EQ(detour_.states[0].spent_count, 2u);
  }

  CounterOps ops_ = ops_with_a_detour();
  CheckOptions options_;
  Budget budget_{options_};
  StateSpace space_{ops_, budget_};
  Layer direct_;
  Layer detour_;
  Layer next_;
};

TEST_F(CheckerStates, WhatSpentMoreIsDropped) {
  space_.expand_completed(direct_, 0, next_);
  space_.expand_completed(detour_, 0, next_);
  ASSERT_EQ(next_.states.size(), 1u);
  EXPECT_EQ(next_.states[0].spent_count, 0u);
}

TEST_F(CheckerStates, WhatSpentLessIsKept) {
  space_.expand_completed(detour_, 0, next_);
  space_.expand_completed(direct_, 0, next_);
  ASSERT_EQ(next_.states.size(), 2u);
  EXPECT_EQ(next_.states[0].spent_count, 2u);
  EXPECT_EQ(next_.states[1].spent_count, 0u);
}

TEST_F(CheckerStates, VariantsBeyondTheLimitAreDropped) {
  space_.set_variant_count_max(1);
  space_.expand_completed(detour_, 0, next_);
  space_.expand_completed(direct_, 0, next_);
  EXPECT_EQ(next_.states.size(), 1u);
}

// An increment 3 -> 5 that only three ambiguous +1 can lead up to.
CounterOps ops_behind_three(int64_t last_invoke) {
  CounterOps ops;
  ops.completed.push_back({.pre = 3, .post = 5, .invoke = 0, .ret = 10, .index = 0});
  for (uint32_t i = 1; i <= 3; ++i) {
    ops.ambiguous.push_back({.delta = 1,
                             .lower = kValueMin,
                             .upper = kValueMax,
                             .invoke = i == 3 ? last_invoke : 0,
                             .index = i});
  }
  return ops;
}

size_t several_lead_up(int64_t last_invoke) {
  const CounterOps ops = ops_behind_three(last_invoke);
  const CheckOptions options;
  Budget budget(options);
  StateSpace space(ops, budget);
  Layer start;
  Layer next;
  next.clear();
  space.make_start(start);
  space.expand_directed(start, 0, false, next);
  EXPECT_TRUE(next.states.empty());  // one at a time does not lead there
  space.expand_directed(start, 0, true, next);
  for (const State& state : next.states) {
    EXPECT_EQ(state.value, 5);
    EXPECT_EQ(state.spent_count, 3u);
  }
  return next.states.size();
}

TEST(CheckerDirectedSteps, EqualOnesAreUsedTogether) {
  EXPECT_EQ(several_lead_up(0), 1u);
  EXPECT_EQ(several_lead_up(10), 1u);  // invoked just as the increment returns
  EXPECT_EQ(several_lead_up(11), 0u);
}

}  // namespace
}  // namespace tally::sim::checker
