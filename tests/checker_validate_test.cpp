// Malformed histories, and linearizations that prove nothing.
#include <gtest/gtest.h>

#include "sim/checker.h"

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

void expect_error(const History& history, const std::string& part) {
  const std::string error = validate_history(history);
  EXPECT_NE(error.find(part), std::string::npos) << "got: " << error << "\nexpected: " << part;
}

TEST(ValidateHistory, AcceptsTouchingIntervalsOfOneLane) {
  EXPECT_EQ(validate_history({}), "");
  EXPECT_EQ(validate_history({add(1, 1, 1, 1, 0, 5), add(1, 2, 1, 2, 5, 5), add(1, 3, 1, 3, 5, 9)}),
            "");
}

TEST(ValidateHistory, RefusesReturnBeforeInvoke) {
  expect_error({add(1, 1, 1, 1, 0, 0), add(1, 2, 1, 1, 5, 4)},
               "operation 1 (client 1 seq 2) returns");
}

TEST(ValidateHistory, RefusesDuplicateSequence) {
  expect_error({add(1, 1, 1, 1, 0, 1), add(2, 1, 1, 1, 0, 1), add(1, 1, 1, 1, 4, 5)},
               "operation 2 (client 1 seq 1) has a sequence number");
}

TEST(ValidateHistory, RefusesTwoOpenOperationsOfOneLane) {
  expect_error({add(1, 1, 1, 1, 0, 5), add(1, 2, 1, 2, 4, 9)},
               "operation 1 (client 1 seq 2) is open");
}

TEST(ValidateHistory, RefusesOperationsOfALaneThatEnded) {
  History history = {add(1, 1, 1, 1, 0, 5), add(1, 2, 1, 2, 7, 9)};
  history[0].status = Operation::Status::kUnknown;
  EXPECT_EQ(validate_history(history), "");
  history[0].return_ns.reset();
  expect_error(history, "operation 1 (client 1 seq 2) is open");
  // An instant operation may end where the lane's last one begins.
  history[1].invoke_ns = 0;
  history[1].return_ns = 0;
  EXPECT_EQ(validate_history(history), "");
}

TEST(ValidateHistory, RefusesAnswersWithoutReturn) {
  History history = {add(1, 1, 1, 1, 0, 5)};
  history[0].return_ns.reset();
  expect_error(history, "has an answer but no return time");
  history[0].status = Operation::Status::kRejected;
  expect_error(history, "has an answer but no return time");
  history[0].status = Operation::Status::kFailed;
  EXPECT_EQ(validate_history(history), "");
}

TEST(ValidateHistory, RefusesRejectedGetsAndStrayEnums) {
  History history = {add(1, 1, 0, 1, 0, 5)};
  history[0].kind = Operation::Kind::kGet;
  history[0].status = Operation::Status::kRejected;
  expect_error(history, "is a get that was rejected");
  history[0].kind = static_cast<Operation::Kind>(7);
  expect_error(history, "unknown kind 7");
  history[0] = add(1, 1, 1, 1, 0, 5);
  history[0].status = static_cast<Operation::Status>(9);
  expect_error(history, "unknown status 9");
}

TEST(ValidateHistory, NamesTheFirstByPosition) {
  expect_error({add(1, 1, 1, 1, 0, 5), add(1, 2, 1, 2, 4, 9), add(2, 1, 1, 1, 5, 4)},
               "operation 1 ");
  expect_error({add(2, 1, 1, 1, 5, 4), add(1, 1, 1, 1, 0, 5), add(1, 2, 1, 2, 4, 9)},
               "operation 0 ");
}

class VerifyLinearization : public testing::Test {
 protected:
  void expect_wrong(const std::vector<uint32_t>& order, const std::string& part) const {
    const std::string error = verify_linearization(history_, {}, order);
    EXPECT_NE(error.find(part), std::string::npos) << "got: " << error << "\nexpected: " << part;
  }

  // 0: +1 -> 1; 1: get -> 1 later; 2: ambiguous +1; 3: refused +1 within ..1; 4: failed
  History history_ = [] {
    History history = {add(1, 1, 1, 1, 0, 5), add(1, 2, 0, 1, 6, 9), add(2, 1, 1, 0, 0, 9),
                       add(3, 1, 1, 0, 4, 9), add(4, 1, 1, 0, 4, 9)};
    history[1].kind = Operation::Kind::kGet;
    history[2].status = Operation::Status::kUnknown;
    history[3].status = Operation::Status::kRejected;
    history[3].upper = 1;
    history[4].status = Operation::Status::kFailed;
    return history;
  }();
};

TEST_F(VerifyLinearization, AcceptsProofs) {
  EXPECT_EQ(verify_linearization(history_, {}, {0, 1, 3}), "");
  EXPECT_EQ(verify_linearization(history_, {}, {0, 3, 1, 2}), "");
  EXPECT_EQ(verify_linearization({}, {}, {}), "");
}

TEST_F(VerifyLinearization, RefusesEverythingElse) {
  expect_wrong({0, 1}, "operation 3 (client 3 seq 1) is missing");
  expect_wrong({0, 3}, "operation 1 (client 1 seq 2) is missing");
  expect_wrong({0, 0, 1, 3}, "appears twice");
  expect_wrong({0, 1, 3, 7}, "index 7");
  expect_wrong({0, 1, 3, 4}, "failed, but takes effect");
  expect_wrong({3, 0, 1}, "is refused without a reason");
  expect_wrong({0, 2, 1, 3}, "reads another value");
  expect_wrong({2, 0, 1, 3}, "answers another value");
  history_[2].upper = 1;
  expect_wrong({0, 3, 1, 2}, "leaves its bounds");
  history_[1].value = 0;
  expect_wrong({1, 0, 3}, "returned before an operation ahead of it");
}

TEST_F(VerifyLinearization, RefusalsHaveTheirTimeToo) {
  history_[3].return_ns = 6;  // touches the get that is ahead of it
  EXPECT_EQ(verify_linearization(history_, {}, {0, 1, 3}), "");
  history_[3].return_ns = 5;
  expect_wrong({0, 1, 3}, "returned before an operation ahead of it");
}

TEST_F(VerifyLinearization, RefusesScatteredCounters) {
  history_[3].counter.push_back('2');
  history_[3].upper = -1;
  EXPECT_EQ(verify_linearization(history_, {}, {0, 1, 3}), "");
  history_[1].value = 0;  // which it would read if its counter started afresh
  expect_wrong({0, 3, 1}, "do not stand together");
}

}  // namespace
}  // namespace tally::sim
