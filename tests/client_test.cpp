// The client state machine (core/client): the test is the service, answers as it likes, and reads
// what the client believes in the end.
#include "core/client.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/state_machine.h"

namespace tally {
namespace {

using std::chrono::milliseconds;

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() {
    config_.nodes = {NodeId(1), NodeId(2), NodeId(3)};
    config_.attempt_timeout = milliseconds(100);
    config_.operation_timeout = milliseconds(1000);
    config_.backoff = milliseconds(20);
    client_.emplace(config_);
  }

  // ---- what the caller asks for

  void increment(uint64_t id, int64_t delta = 1) {
    client_->start(now_, id, Client::Increment{Bytes("hits"), delta, {}, {}});
  }
  void get(uint64_t id) { client_->start(now_, id, Client::Get{"hits"}); }
  void pass(Duration time) {
    now_ += time;
    client_->wake(now_);
  }
  // To when the client wants to be woken, which must be before `limit` has passed.
  void wait(Duration limit = milliseconds(100)) {
    ASSERT_LE(client_->deadline(), now_ + limit);
    pass(client_->deadline() - now_);
  }

  // ---- what the service does

  Client::Send take_send() {
    EXPECT_FALSE(client_->sends().empty()) << "nothing was sent";
    if (client_->sends().empty()) return {};
    Client::Send send = client_->sends().front();
    client_->sends().erase(client_->sends().begin());
    return send;
  }
  void answer(const Client::Send& send, Outcome outcome, Reason reason = Reason::kNone,
              int64_t value = 0, NodeId hint = kNoNode) {
    client_->on_response(now_, send.to,
                         ValueResponse{send.request.request_id, outcome, reason, value, hint, ""});
  }
  void open_session(int64_t session = 2) {
    const Client::Send send = take_send();
    EXPECT_TRUE(std::holds_alternative<OpenSessionRequest>(send.request.operation));
    answer(send, Outcome::kOk, Reason::kNone, session);
  }
  // An increment that has been sent, in a session just opened.
  Client::Send sent_increment(uint64_t id = 1) {
    increment(id);
    if (client_->session() == SessionId(0)) open_session();
    return take_send();
  }
  Client::Send expect_closing(SessionId session) {
    const Client::Send send = take_send();
    const auto* close = std::get_if<CloseSessionRequest>(&send.request.operation);
    EXPECT_TRUE(close != nullptr && close->session == session);
    return send;
  }
  static const IncrementAndGetRequest& increment_in(const Client::Send& send) {
    return std::get<IncrementAndGetRequest>(send.request.operation);
  }
  bool silent() { return client_->sends().empty(); }

  // ---- what the caller is told

  void expect_open() { EXPECT_TRUE(client_->dones().empty()); }
  void expect_done(uint64_t id, Outcome outcome, Reason reason = Reason::kNone) {
    ASSERT_FALSE(client_->dones().empty()) << "operation " << id << " is not done";
    const Client::Done done = client_->dones().front();
    client_->dones().erase(client_->dones().begin());
    EXPECT_EQ(done.operation_id, id);
    EXPECT_EQ(to_string(done.outcome), to_string(outcome));
    EXPECT_EQ(to_string(done.reason), to_string(reason));
    value_ = done.value;
    first_sent_at_ = done.first_sent_at;
  }

  ClientConfig config_;
  std::optional<Client> client_;
  Time now_{std::chrono::hours(3)};
  int64_t value_ = 0;
  std::optional<Time> first_sent_at_;
};

// ---- sessions

TEST_F(ClientTest, OneSessionIsOpenedForTheFirstIncrements) {
  increment(1);
  increment(2);
  open_session(7);
  EXPECT_EQ(client_->session(), SessionId(7));
  const Client::Send first = take_send();
  const Client::Send second = take_send();
  EXPECT_TRUE(silent());
  EXPECT_EQ(increment_in(first).session, SessionId(7));
  EXPECT_EQ(increment_in(first).sequence, 1u);
  EXPECT_EQ(increment_in(second).sequence, 2u);
  EXPECT_NE(first.request.request_id, second.request.request_id);
}

TEST_F(ClientTest, AFullWindowHasRoomOnceItsOldestIncrementIsDone) {
  config_.operations_max = kSessionWindow;
  client_.emplace(config_);
  increment(1);
  open_session();
  std::vector<Client::Send> sends{take_send()};
  for (uint64_t id = 2; id <= kSessionWindow; ++id) sends.push_back(sent_increment(id));
  EXPECT_FALSE(client_->has_room());
  for (size_t i = 1; i < sends.size(); ++i) answer(sends[i], Outcome::kOk);
  EXPECT_EQ(client_->open_count(), 1u);
  EXPECT_FALSE(client_->has_room());
  answer(sends[0], Outcome::kOk);
  EXPECT_TRUE(client_->has_room());
  const Client::Send next = sent_increment(kSessionWindow + 1);
  EXPECT_EQ(increment_in(next).sequence - increment_in(next).first_outstanding, 0u);
}

TEST_F(ClientTest, WithoutRetriesTheFirstRefusalEndsAnIncrementThatNeverArrivedElsewhere) {
  config_.retry = false;
  client_.emplace(config_);
  answer(sent_increment(1), Outcome::kNotApplied, Reason::kBusy);
  expect_done(1, Outcome::kNotApplied, Reason::kBusy);
  answer(sent_increment(2), Outcome::kUnknown, Reason::kLeadershipLost);
  expect_open();
  wait();
  answer(take_send(), Outcome::kNotApplied, Reason::kBusy);
  expect_open();
}

TEST_F(ClientTest, AReadNeedsNoSession) {
  get(1);
  const Client::Send send = take_send();
  EXPECT_EQ(std::get<GetValueRequest>(send.request.operation).name, "hits");
  answer(send, Outcome::kOk, Reason::kNone, 41);
  expect_done(1, Outcome::kOk);
  EXPECT_EQ(value_, 41);
  EXPECT_TRUE(silent());
  EXPECT_EQ(client_->deadline(), kNever);
}

TEST_F(ClientTest, AnUnansweredOpeningIsTriedAgainElsewhere) {
  increment(1);
  const Client::Send first = take_send();
  wait();
  const Client::Send second = take_send();
  EXPECT_NE(first.to, second.to);
  answer(second, Outcome::kOk, Reason::kNone, 9);
  EXPECT_EQ(increment_in(take_send()).session, SessionId(9));
  answer(first, Outcome::kOk, Reason::kNone, 5);  // a session that nobody needs
  EXPECT_EQ(client_->session(), SessionId(9));
}

TEST_F(ClientTest, AFullSessionTableIsTriedAgainUntilTimeIsUp) {
  increment(1);
  for (int i = 0; i < 3; ++i) {
    answer(take_send(), Outcome::kRejected, Reason::kSessionsFull);
    wait(milliseconds(75) * (1 << i));  // each pause up to twice as long as the one before
  }
  pass(config_.operation_timeout);
  expect_done(1, Outcome::kNotApplied, Reason::kSessionsFull);
  EXPECT_FALSE(first_sent_at_.has_value()) << "the increment itself never left";
  EXPECT_EQ(client_->deadline(), kNever) << "nobody waits for the session any more";

  client_->sends().clear();
  increment(2);
  answer(take_send(), Outcome::kRejected, Reason::kSessionsFull);
  wait(milliseconds(75));
  answer(take_send(), Outcome::kNotApplied, Reason::kNotLeader);
  client_->sends().clear();
  pass(config_.operation_timeout);
  expect_done(2, Outcome::kNotApplied, Reason::kTimedOut);
}

// ---- retries

TEST_F(ClientTest, ARetryKeepsSessionAndSequenceAndGoesElsewhere) {
  const Client::Send first = sent_increment();
  wait();
  const Client::Send second = take_send();
  EXPECT_NE(second.to, first.to);
  EXPECT_NE(second.request.request_id, first.request.request_id);
  EXPECT_EQ(increment_in(second).session, increment_in(first).session);
  EXPECT_EQ(increment_in(second).sequence, increment_in(first).sequence);
  answer(second, Outcome::kOk, Reason::kNone, 1);
  expect_done(1, Outcome::kOk);
}

TEST_F(ClientTest, ALateAnswerToAnEarlierAttemptCounts) {
  const Client::Send first = sent_increment();
  wait();
  answer(first, Outcome::kOk, Reason::kNone, 17);
  expect_done(1, Outcome::kOk);
  EXPECT_EQ(value_, 17);
  answer(take_send(), Outcome::kOk, Reason::kNone,
         17);  // and the retry's is no news
  expect_open();
}

TEST_F(ClientTest, ALateFailureOfAnEarlierAttemptDoesNot) {
  const Client::Send first = sent_increment();
  wait();
  const Client::Send second = take_send();
  answer(first, Outcome::kNotApplied, Reason::kNotLeader);
  expect_open();
  EXPECT_TRUE(silent());
  answer(second, Outcome::kOk, Reason::kNone, 1);
  expect_done(1, Outcome::kOk);
}

TEST_F(ClientTest, ARefusedAttemptIsRepeatedAfterAPause) {
  answer(sent_increment(), Outcome::kNotApplied, Reason::kBusy);
  EXPECT_TRUE(silent());
  EXPECT_GE(client_->deadline(), now_ + config_.backoff / 2);
  wait(2 * config_.backoff);
  EXPECT_EQ(increment_in(take_send()).sequence, 1u);
}

TEST_F(ClientTest, ARedirectIsFollowed) {
  for (const uint64_t leader : {3u, 1u, 2u}) {
    const Client::Send send = sent_increment(leader);
    answer(send, Outcome::kNotApplied, Reason::kNotLeader, 0, NodeId(leader));
    wait();
    const Client::Send again = take_send();
    EXPECT_EQ(again.to, NodeId(leader));
    answer(again, Outcome::kOk, Reason::kNone, 1);
    expect_done(leader, Outcome::kOk);
  }
}

TEST_F(ClientTest, ARedirectToAStrangerIsIgnored) {
  const Client::Send send = sent_increment();
  answer(send, Outcome::kNotApplied, Reason::kNotLeader, 0, NodeId(9));
  wait();
  EXPECT_LE(take_send().to, NodeId(3));
}

TEST_F(ClientTest, ARefusalWithoutAHintMovesOn) {
  const Client::Send send = sent_increment();
  answer(send, Outcome::kNotApplied, Reason::kNotLeader);
  wait();
  EXPECT_NE(take_send().to, send.to);
}

TEST_F(ClientTest, ABrokenConnectionIsNoAnswer) {
  const Client::Send send = sent_increment();
  client_->on_broken(now_, NodeId(send.to.value() % 3 + 1));  // another node's
  EXPECT_TRUE(silent());
  client_->on_broken(now_, send.to);
  wait();
  const Client::Send again = take_send();
  EXPECT_NE(again.to, send.to);
  EXPECT_EQ(increment_in(again).sequence, 1u);
}

// A node that was not reached has certainly applied nothing; one whose connection broke may have.
TEST_F(ClientTest, ANodeThatWasNotReachedHasAppliedNothing) {
  for (const bool reached : {false, true}) {
    client_.emplace(config_);
    const Client::Send send = sent_increment();
    client_->on_unreached(now_, NodeId(send.to.value() % 3 + 1));  // another node
    EXPECT_TRUE(silent());
    if (reached) {
      client_->on_broken(now_, send.to);
    } else {
      client_->on_unreached(now_, send.to);
    }
    wait();
    const Client::Send again = take_send();
    EXPECT_NE(again.to, send.to);
    client_->on_unreached(now_, again.to);
    pass(config_.operation_timeout);
    expect_done(1, reached ? Outcome::kUnknown : Outcome::kNotApplied, Reason::kTimedOut);
  }
}

TEST_F(ClientTest, ForwardingIsAskedForOrNot) {
  EXPECT_TRUE(sent_increment().request.forward);
  config_.forward = false;
  client_.emplace(config_);
  get(1);
  EXPECT_FALSE(take_send().request.forward);
}

// ---- first outstanding

TEST_F(ClientTest, FirstOutstandingIsTheOldestOneWithoutAnAnswer) {
  const Client::Send first = sent_increment(1);
  const Client::Send second = sent_increment(2);
  EXPECT_EQ(increment_in(first).first_outstanding, 1u);
  EXPECT_EQ(increment_in(second).first_outstanding, 1u);
  answer(second, Outcome::kOk, Reason::kNone, 2);
  EXPECT_EQ(increment_in(sent_increment(3)).first_outstanding, 1u);
  answer(first, Outcome::kOk, Reason::kNone, 1);
  EXPECT_EQ(increment_in(sent_increment(4)).first_outstanding, 3u);
}

// ---- what to believe in the end

TEST_F(ClientTest, NoAnswerAtAllIsUnknown) {
  sent_increment();
  pass(config_.operation_timeout);
  expect_done(1, Outcome::kUnknown, Reason::kTimedOut);
  EXPECT_TRUE(first_sent_at_.has_value());
  EXPECT_EQ(client_->open_count(), 0u);
}

TEST_F(ClientTest, OnlyRefusalsAreNotApplied) {
  answer(sent_increment(), Outcome::kNotApplied, Reason::kBusy);
  pass(milliseconds(40));
  answer(take_send(), Outcome::kNotApplied, Reason::kBusy);
  now_ += config_.operation_timeout;
  client_->wake(now_);
  expect_done(1, Outcome::kNotApplied, Reason::kTimedOut);
}

TEST_F(ClientTest, ARefusalAfterAnUnknownAttemptIsUnknown) {
  answer(sent_increment(), Outcome::kUnknown, Reason::kLeadershipLost);
  wait();
  answer(take_send(), Outcome::kNotApplied, Reason::kBusy);
  pass(config_.operation_timeout);
  expect_done(1, Outcome::kUnknown, Reason::kTimedOut);
}

TEST_F(ClientTest, ARefusalAfterASilentAttemptIsUnknown) {
  sent_increment();
  wait();
  answer(take_send(), Outcome::kNotApplied, Reason::kBusy);
  pass(config_.operation_timeout);
  expect_done(1, Outcome::kUnknown, Reason::kTimedOut);
}

TEST_F(ClientTest, AReadIsNeverUnknown) {
  get(1);
  take_send();
  pass(config_.operation_timeout);
  expect_done(1, Outcome::kNotApplied, Reason::kTimedOut);
}

TEST_F(ClientTest, ARejectionIsForGood) {
  answer(sent_increment(1), Outcome::kRejected, Reason::kBounds);
  expect_done(1, Outcome::kRejected, Reason::kBounds);
  answer(sent_increment(2), Outcome::kRejected, Reason::kOverflow);
  expect_done(2, Outcome::kRejected, Reason::kOverflow);
  answer(sent_increment(3), Outcome::kRejected, Reason::kBadRequest);
  expect_done(3, Outcome::kNotApplied, Reason::kBadRequest);
}

TEST_F(ClientTest, TheDeadlineIsTheOperationsNotTheAttempts) {
  sent_increment();
  const Time ends_at = now_ + config_.operation_timeout;
  while (client_->dones().empty()) {
    ASSERT_LE(client_->deadline(), ends_at);
    pass(client_->deadline() - now_);
    client_->sends().clear();
  }
  EXPECT_EQ(now_, ends_at);
  expect_done(1, Outcome::kUnknown, Reason::kTimedOut);
}

// ---- expired sessions

TEST_F(ClientTest, AnExpiredSessionIsReplacedWhenNothingMayHaveBeenApplied) {
  answer(sent_increment(), Outcome::kRejected, Reason::kExpired);
  expect_open();
  open_session(50);
  const Client::Send again = take_send();
  EXPECT_EQ(increment_in(again).session, SessionId(50));
  EXPECT_EQ(increment_in(again).sequence, 1u);
  answer(again, Outcome::kOk, Reason::kNone, 1);
  expect_done(1, Outcome::kOk);
}

TEST_F(ClientTest, AnExpiredSessionLeavesAnEarlierAttemptUnknown) {
  sent_increment();
  wait();  // the first attempt may have been applied, and its session gone since
  answer(take_send(), Outcome::kRejected, Reason::kExpired);
  expect_done(1, Outcome::kUnknown, Reason::kExpired);
  EXPECT_TRUE(silent()) << "it must not be executed again in another session";
}

// From a node that passed the request on: another copy may have been applied while the session
// lived.
TEST_F(ClientTest, AnExpiryThatSpeaksOfOneCopyEndsAsUnknown) {
  answer(sent_increment(), Outcome::kUnknown, Reason::kExpired);
  expect_done(1, Outcome::kUnknown, Reason::kExpired);
  EXPECT_EQ(client_->session(), SessionId(0));
  EXPECT_TRUE(silent());
}

TEST_F(ClientTest, AnIdleSessionIsLeftBeforeItCanHaveExpired) {
  config_.session_idle_max = milliseconds(500);
  client_.emplace(config_);
  answer(sent_increment(1), Outcome::kOk, Reason::kNone, 1);
  expect_done(1, Outcome::kOk);
  pass(milliseconds(499));
  answer(sent_increment(2), Outcome::kOk, Reason::kNone, 2);  // a use, in the same session
  expect_done(2, Outcome::kOk);
  EXPECT_EQ(client_->session(), SessionId(2));
  pass(milliseconds(500));
  expect_closing(SessionId(2));
  increment(3);
  open_session(50);
  const Client::Send send = take_send();
  EXPECT_EQ(increment_in(send).session, SessionId(50));
  EXPECT_EQ(increment_in(send).sequence, 1u);
}

TEST_F(ClientTest, ASessionIsGivenBackWhenItIsLeft) {
  client_->leave_session();
  EXPECT_TRUE(silent()) << "there is none";
  answer(sent_increment(1), Outcome::kOk, Reason::kNone, 1);
  expect_done(1, Outcome::kOk);
  client_->leave_session();
  const Client::Send closing = expect_closing(SessionId(2));
  EXPECT_EQ(client_->session(), SessionId(0));
  EXPECT_EQ(client_->deadline(), kNever) << "nobody waits for an answer";
  answer(closing, Outcome::kNotApplied, Reason::kNotLeader);
  EXPECT_TRUE(silent()) << "and it is asked once";
  EXPECT_EQ(increment_in(sent_increment(2)).sequence, 1u);
}

TEST_F(ClientTest, ASessionWithARequestUnderWayIsNotLeft) {
  config_.session_idle_max = milliseconds(50);
  client_.emplace(config_);
  sent_increment(1);
  wait();  // the attempt's time is over, and so is the session's
  const Client::Send again = take_send();
  EXPECT_EQ(increment_in(again).session, SessionId(2));
  EXPECT_EQ(increment_in(again).sequence, 1u);
}

TEST_F(ClientTest, AnExpiredSessionDecidesAllThatWasSentInIt) {
  const Client::Send first = sent_increment(1);
  sent_increment(2);  // no answer yet: it may have been applied
  answer(first, Outcome::kRejected, Reason::kExpired);
  expect_done(2, Outcome::kUnknown, Reason::kExpired);
  expect_open();
  open_session(50);
  EXPECT_EQ(increment_in(take_send()).session, SessionId(50));
  EXPECT_TRUE(silent());
}

}  // namespace
}  // namespace tally
