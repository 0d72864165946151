// The front end for clients of Redis, over socket pairs, before a node that is played by hand.
#include "net/redis.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace tally {
namespace {

using namespace std::string_literals;
using std::chrono::seconds;

class RedisTest : public testing::Test, protected RedisOwner {
 protected:
  RedisTest() { start(); }
  ~RedisTest() override {
    for (const int fd : fds_) close(fd);
  }

  void start() {
    config_.node = NodeId(1);
    RedisOwner& owner = *this;
    server_ = std::make_unique<RedisServer>(loop_, config_, owner);
  }

  // ---- the node: executes in order, answers when it is told to

  void on_redis_request(Envelope&& envelope) override { requests_.push_back(std::move(envelope)); }
  const StateMachine& redis_state() const override { return state_; }
  bool redis_is_leader() const override { return leads_; }
  std::string redis_leader_address() const override { return leader_address_; }
  void on_status_request(net::Status& status) override { status.set_role("leader"); }
  void on_redis_event(const std::string& /*text*/) override {}

  ApplyResult apply(const ClientRequest& request) {
    const auto* increment = std::get_if<IncrementAndGetRequest>(&request.operation);
    return state_
        .apply({.index = state_.applied_index() + 1,
                .term = Term(1),
                .log_time = LogTime(1),
                .type = EntryType::kCommand,
                .data = increment != nullptr ? encode_increment(*increment)
                                             : encode_open_session(limits_)})
        .front();
  }
  void answer(const Envelope& request, Outcome outcome, Reason reason, int64_t value = 0) {
    ValueResponse response;
    response.request_id = std::get<ClientRequest>(request.message).request_id;
    response.outcome = outcome;
    response.reason = reason;
    response.value = value;
    server_->on_response(request.from, std::move(response));
  }
  // Executes and answers the oldest request.
  void serve_one() {
    ASSERT_FALSE(requests_.empty());
    const Envelope request = std::move(requests_.front());
    requests_.pop_front();
    const auto& message = std::get<ClientRequest>(request.message);
    if (is_read(message)) {
      const LogIndex index = state_.applied_index() + index_ahead_;
      answer(request, Outcome::kOk, Reason::kNone, static_cast<int64_t>(index.value()));
    } else {
      const ApplyResult result = apply(message);
      answer(request, result.outcome, result.reason, result.value);
    }
    step();
  }
  void refuse_one(Outcome outcome, Reason reason) {
    ASSERT_FALSE(requests_.empty());
    answer(requests_.front(), outcome, reason);
    requests_.pop_front();
    step();
  }

  // ---- the loop; the test skips time

  void step() {
    for (int i = 0; i < 4; ++i) loop_.turn(Time::min());
    const Time now = monotonic_now() + skipped_;
    server_->on_time(now);
    server_->submit(now);
    server_->after_step(now);
    server_->submit(now);
    server_->flush(now);
  }
  // Until nothing is left to do for the node.
  void serve() {
    step();
    while (!requests_.empty()) serve_one();
  }

  // ---- clients

  int connect(int buffer_bytes = 0) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    if (buffer_bytes > 0) {
      setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof(buffer_bytes));
    }
    server_->adopt(ends[1]);
    fds_.push_back(ends[0]);
    return ends[0];
  }
  static void say(int fd, std::string_view bytes) {
    ASSERT_EQ(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  static std::string heard(int fd) {
    std::string bytes(1 << 20, '\0');
    const ssize_t count = recv(fd, bytes.data(), bytes.size(), 0);
    bytes.resize(static_cast<size_t>(std::max<ssize_t>(count, 0)));
    return bytes;
  }
  static bool is_closed(int fd) {
    char byte = 0;
    return recv(fd, &byte, 1, MSG_PEEK) == 0;
  }
  // One command, and all its answer.
  std::string ask(const std::string& line) {
    if (fds_.empty()) connect();
    say(fds_.front(), line + "\r\n");
    serve();
    return heard(fds_.front());
  }

  Loop loop_;
  RedisConfig config_;
  SessionLimits limits_;
  StateMachine state_;
  Duration skipped_{0};  // of the time that the server sees
  bool leads_ = true;
  std::string leader_address_;
  uint64_t index_ahead_ = 0;  // of the state: what an answer to a read still has to wait for
  std::deque<Envelope> requests_;
  std::unique_ptr<RedisServer> server_;
  std::vector<int> fds_;
};

TEST_F(RedisTest, CountersAnswerAsInRedis) {
  EXPECT_EQ(ask("INCR hits"), ":1\r\n");
  EXPECT_EQ(ask("incrby hits 41"), ":42\r\n");
  EXPECT_EQ(ask("DECR hits"), ":41\r\n");
  EXPECT_EQ(ask("DECRBY hits 50"), ":-9\r\n");
  EXPECT_EQ(ask("GET hits"), "$2\r\n-9\r\n");
  EXPECT_EQ(ask("GET nothing"), "$-1\r\n");
  EXPECT_EQ(ask("MGET hits nothing hits"), "*3\r\n$2\r\n-9\r\n$-1\r\n$2\r\n-9\r\n");
  EXPECT_EQ(ask("EXISTS hits nothing hits"), ":2\r\n");
}

TEST_F(RedisTest, ErrorsAreInRedisWords) {
  EXPECT_EQ(ask("INCRBY hits 9223372036854775807"), ":9223372036854775807\r\n");
  EXPECT_EQ(ask("INCR hits"), "-ERR increment or decrement would overflow\r\n");
  EXPECT_EQ(ask("INCRBY hits 9223372036854775808"),
            "-ERR value is not an integer or out of range\r\n");
  EXPECT_EQ(ask("INCRBY hits +1"), "-ERR value is not an integer or out of range\r\n");
  EXPECT_EQ(ask("DECRBY hits -9223372036854775808"), "-ERR decrement would overflow\r\n");
  EXPECT_EQ(ask("INCR"), "-ERR wrong number of arguments for 'incr' command\r\n");
  EXPECT_EQ(ask("INCR a b"), "-ERR wrong number of arguments for 'incr' command\r\n");
  EXPECT_EQ(ask("foo 'b\\nar' baz"),
            "-ERR unknown command 'foo', with args beginning with: 'b\\nar' 'baz' \r\n");
  EXPECT_EQ(ask("SELECT 0"), "+OK\r\n");
  EXPECT_EQ(ask("SELECT 1"), "-ERR DB index is out of range\r\n");
  EXPECT_EQ(ask("AUTH default secret"), "+OK\r\n");
  EXPECT_EQ(ask("AUTH me secret").substr(0, 11), "-WRONGPASS ");
  EXPECT_EQ(ask("HELLO 4"), "-NOPROTO unsupported protocol version\r\n");
}

TEST_F(RedisTest, WhatIsNoCounterIsRefusedAndNeverEmulated) {
  for (const char* line : {"SET a 1", "del a", "EXPIRE a 1", "MULTI", "INCRBYFLOAT a 0.5"}) {
    const std::string answer = ask(line);
    EXPECT_EQ(answer.substr(0, 5), "-ERR ") << line;
    EXPECT_NE(answer.find("is not supported: "), std::string::npos) << answer;
  }
  EXPECT_TRUE(requests_.empty());
  EXPECT_EQ(state_.applied_index(), LogIndex(0));
}

TEST_F(RedisTest, NamesAreText) {
  const int fd = connect();
  for (const std::string& name : {""s, "\xFF"s, std::string(256, 'x')}) {
    for (const std::string verb : {"INCR", "GET", "MGET"}) {
      std::string command;
      put_array(command, 2);
      put_bulk(command, verb);
      put_bulk(command, name);
      say(fd, command);
      serve();
      EXPECT_EQ(heard(fd).substr(0, 5), "-ERR ") << verb;
    }
  }
  EXPECT_EQ(state_.applied_index(), LogIndex(0));
}

TEST_F(RedisTest, Resp3IsAskedForByHello) {
  EXPECT_EQ(ask("HELLO 3 AUTH default x SETNAME me").substr(0, 4), "%7\r\n");
  EXPECT_EQ(ask("GET nothing"), "_\r\n");
  EXPECT_EQ(ask("CLIENT GETNAME"), "$2\r\nme\r\n");
  EXPECT_EQ(ask("CONFIG GET save"), "%1\r\n$4\r\nsave\r\n$0\r\n\r\n");
  EXPECT_EQ(ask("RESET"), "+RESET\r\n");
  EXPECT_EQ(ask("GET nothing"), "$-1\r\n");
  EXPECT_EQ(ask("HELLO 2").substr(0, 5), "*14\r\n");
}

TEST_F(RedisTest, WhatRepliesTellIsWellFormed) {
  for (const char* line :
       {"COMMAND", "COMMAND DOCS", "COMMAND INFO incr nothing", "COMMAND LIST"}) {
    EXPECT_EQ(ask(line).front(), '*') << line;
  }
  EXPECT_EQ(ask("COMMAND COUNT"), ":20\r\n");
  EXPECT_NE(ask("INFO").find("role:master\r\n"), std::string::npos);
  leads_ = false;
  EXPECT_NE(ask("INFO replication").find("role:slave\r\n"), std::string::npos);
  EXPECT_EQ(ask("INFO keyspace").find("role:"), std::string::npos);
  EXPECT_EQ(ask("PING"), "+PONG\r\n");
  EXPECT_EQ(ask("PING \"\\r\\n\""), "$2\r\n\r\n\r\n");
}

TEST_F(RedisTest, IncrementsOfAPipelineAreUnderWayTogether) {
  const int fd = connect();
  say(fd, "INCR a\r\nINCR a\r\nINCR b\r\nGET a\r\nINCR a\r\nPING\r\n");
  step();
  ASSERT_EQ(requests_.size(), 1u) << "the session is opened first";
  serve_one();
  EXPECT_EQ(requests_.size(), 3u) << "a read waits for what came before it";
  serve();
  EXPECT_EQ(heard(fd), ":1\r\n:2\r\n:1\r\n$1\r\n2\r\n:3\r\n+PONG\r\n");
}

TEST_F(RedisTest, RepliesKeepTheOrderOfCommands) {
  ask("INCR a");
  const int fd = connect();
  say(fd, "INCR a\r\nINCR b\r\n");
  step();
  ASSERT_EQ(requests_.size(), 2u);
  std::swap(requests_[0], requests_[1]);
  serve_one();
  EXPECT_EQ(heard(fd), "") << "b is answered, a is not";
  serve_one();
  EXPECT_EQ(heard(fd), ":2\r\n:1\r\n");
}

TEST_F(RedisTest, APartOfACommandWaitsForTheRest) {
  const int fd = connect();
  const std::string bytes = "*2\r\n$4\r\nINCR\r\n$4\r\nhits\r\nPING\r\n";
  for (const char byte : bytes) {
    say(fd, {&byte, 1});
    step();
  }
  serve();
  EXPECT_EQ(heard(fd), ":1\r\n+PONG\r\n");
}

TEST_F(RedisTest, AProtocolErrorIsAnsweredAfterWhatCameBeforeAndEndsTheConnection) {
  const int fd = connect();
  say(fd, "INCR a\r\n*1\r\n:5\r\nINCR a\r\n");
  serve();
  EXPECT_EQ(heard(fd), ":1\r\n-ERR Protocol error: expected '$', got ':'\r\n");
  EXPECT_TRUE(is_closed(fd));
  EXPECT_EQ(server_->counts().connections, 0u);
}

TEST_F(RedisTest, OneQuestionServesAllReadsThatWait) {
  ask("INCR a");
  const int first = connect();
  const int second = connect();
  say(first, "GET a\r\nMGET a b\r\n");
  say(second, "GET a\r\n");
  step();
  ASSERT_EQ(requests_.size(), 1u);
  EXPECT_TRUE(is_read(std::get<ClientRequest>(requests_.front().message)));
  serve_one();
  EXPECT_EQ(heard(first), "$1\r\n1\r\n*2\r\n$1\r\n1\r\n$-1\r\n");
  EXPECT_EQ(heard(second), "$1\r\n1\r\n");
}

TEST_F(RedisTest, AReadIsNotServedByAnIndexOlderThanItself) {
  ask("INCR a");
  const int fd = connect();
  say(fd, "GET a\r\n");
  step();
  say(fd, "GET a\r\n");
  step();
  ASSERT_EQ(requests_.size(), 1u);
  serve_one();
  EXPECT_EQ(heard(fd), "$1\r\n1\r\n") << "the second came after the question";
  serve();
  EXPECT_EQ(heard(fd), "$1\r\n1\r\n");
}

TEST_F(RedisTest, AReadWaitsUntilTheStateIsThere) {
  ask("INCR a");
  const int fd = connect();
  say(fd, "GET a\r\n");
  step();
  index_ahead_ = 1;
  serve_one();
  EXPECT_EQ(heard(fd), "");
  index_ahead_ = 0;
  apply({.operation = OpenSessionRequest{}});
  step();
  EXPECT_EQ(heard(fd), "$1\r\n1\r\n");
}

TEST_F(RedisTest, AReadWithoutALeaderFailsInTime) {
  const int fd = connect();
  say(fd, "GET a\r\nPING\r\n");
  step();
  refuse_one(Outcome::kNotApplied, Reason::kNotLeader);
  EXPECT_EQ(heard(fd), "");
  skipped_ += config_.operation_timeout + seconds(1);
  step();
  const std::string answer = heard(fd);
  EXPECT_EQ(answer.substr(0, 25), "-CLUSTERDOWN NOT_APPLIED ");
  EXPECT_EQ(answer.substr(answer.size() - 7), "+PONG\r\n");
}

TEST_F(RedisTest, AnUnknownOutcomeIsRepeatedByTheSameIdAndExecutesOnce) {
  ask("INCR a");
  const int fd = fds_.front();
  say(fd, "INCR a\r\n");
  step();
  apply(std::get<ClientRequest>(requests_.front().message));
  refuse_one(Outcome::kUnknown, Reason::kLeadershipLost);
  EXPECT_EQ(heard(fd), "");
  skipped_ += seconds(1);
  serve();
  EXPECT_EQ(heard(fd), ":2\r\n");
  EXPECT_EQ(state_.value("a"), 2);
}

TEST_F(RedisTest, AFullSessionTableIsSaid) {
  const int fd = connect();
  say(fd, "INCR a\r\n");
  step();
  refuse_one(Outcome::kRejected, Reason::kSessionsFull);
  EXPECT_EQ(heard(fd), "");
  skipped_ += config_.operation_timeout + seconds(1);
  step();
  EXPECT_EQ(heard(fd).substr(0, 56), "-TRYAGAIN NOT_APPLIED there are as many sessions as ther");
}

TEST_F(RedisTest, OnlyWhatWasCertainlyNotAppliedMayBeRetriedByLibraries) {
  ask("INCR a");
  const int fd = fds_.front();
  say(fd, "INCR a\r\n");
  step();
  refuse_one(Outcome::kNotApplied, Reason::kNotLeader);
  skipped_ += config_.operation_timeout + seconds(1);
  step();
  EXPECT_EQ(heard(fd).substr(0, 25), "-CLUSTERDOWN NOT_APPLIED ");

  requests_.clear();
  say(fd, "INCR a\r\n");
  step();
  refuse_one(Outcome::kUnknown, Reason::kTimedOut);
  skipped_ += config_.operation_timeout + seconds(1);
  step();
  EXPECT_EQ(heard(fd).substr(0, 9), "-UNKNOWN ");
  EXPECT_FALSE(is_closed(fd));
}

TEST_F(RedisTest, NewLimitsHoldForWhatBeginsThen) {
  ask("INCR a");
  server_->set_limits(std::chrono::milliseconds(200), 1);
  const int fd = fds_.front();
  const int other = connect();
  say(fd, "INCR a\r\n");
  step();
  say(other, "INCR a\r\n");
  step();
  EXPECT_EQ(heard(other).substr(0, 10), "-TRYAGAIN ");
  refuse_one(Outcome::kNotApplied, Reason::kNotLeader);
  EXPECT_EQ(heard(fd), "");
  skipped_ += std::chrono::milliseconds(300);
  step();
  EXPECT_EQ(heard(fd).substr(0, 25), "-CLUSTERDOWN NOT_APPLIED ");

  say(other, "GET a\r\n");
  step();
  skipped_ += std::chrono::milliseconds(300);
  step();
  EXPECT_EQ(heard(other).substr(0, 25), "-CLUSTERDOWN NOT_APPLIED ");
}

TEST_F(RedisTest, WithoutForwardingClientsAreSentToTheLeader) {
  config_.forward = false;
  start();
  EXPECT_EQ(ask("INCR foo"), ":1\r\n");
  leads_ = false;
  EXPECT_EQ(ask("INCR foo").substr(0, 13), "-CLUSTERDOWN ");
  leader_address_ = "127.0.0.1:6380";
  EXPECT_EQ(ask("INCR foo"), "-MOVED 12182 127.0.0.1:6380\r\n");
  EXPECT_EQ(ask("TALLY.INCRBY foo 1 SESSION 1 SEQ 1 FIRST 1"), "-MOVED 12182 127.0.0.1:6380\r\n");
  EXPECT_EQ(ask("GET foo"), "$1\r\n1\r\n") << "any node may read";
  EXPECT_EQ(state_.value("foo"), 1);
}

TEST_F(RedisTest, ASessionOfTheClientsOwnExecutesOnce) {
  const std::string session = ask("TALLY.OPEN");
  ASSERT_EQ(session, ":1\r\n");
  const std::string once = "TALLY.INCRBY a 5 SESSION 1 SEQ 1 FIRST 1";
  EXPECT_EQ(ask(once), ":5\r\n");
  EXPECT_EQ(ask(once), ":5\r\n");
  EXPECT_EQ(state_.value("a"), 5);
  EXPECT_EQ(ask("tally.incrby a 5 first 2 seq 2 session 1 max 9").substr(0, 8), "-BOUNDS ");
  EXPECT_EQ(ask("TALLY.INCRBY a 5 SESSION 1 SEQ 3 FIRST 2 MIN 0 MAX 10"), ":10\r\n");
  EXPECT_EQ(ask(once).substr(0, 7), "-STALE ");
  EXPECT_EQ(ask("TALLY.INCRBY a 1 SESSION 1 SEQ 66 FIRST 2").substr(0, 8), "-WINDOW ");
  EXPECT_EQ(ask("TALLY.INCRBY a 1 SESSION 999 SEQ 1 FIRST 1").substr(0, 9), "-EXPIRED ");
  for (const char* wrong :
       {"TALLY.INCRBY a 1 SESSION 1 SEQ 1", "TALLY.INCRBY a 1 SESSION 1 SEQ 1 FIRST 1 MIN",
        "TALLY.INCRBY a 1 SESSION 1 SEQ 1 SEQ 1", "TALLY.INCRBY a 1 SESSION 1 SEQ 1 OTHER 1",
        "TALLY.INCRBY a 1 SESSION 1 SEQ 1 FIRST 2", "TALLY.INCRBY a 1 SESSION 0 SEQ 1 FIRST 1",
        "TALLY.INCRBY a x SESSION 1 SEQ 1 FIRST 1"}) {
    EXPECT_EQ(ask(wrong).substr(0, 5), "-ERR ") << wrong;
  }
  EXPECT_EQ(state_.value("a"), 10);
}

TEST_F(RedisTest, TooManyAtOnceAreShed) {
  config_.operation_count_max = 100;
  start();
  ask("INCR a");
  std::vector<int> busy;
  for (int i = 0; i < 150; ++i) {
    busy.push_back(connect());
    say(busy.back(), "INCR a\r\n");
  }
  step();
  int shed = 0;
  for (const int fd : busy) {
    const std::string answer = heard(fd);
    shed += !answer.empty();
    if (!answer.empty()) {
      EXPECT_EQ(answer.substr(0, 22), "-TRYAGAIN NOT_APPLIED ");
    }
  }
  EXPECT_GE(shed, 50);
  EXPECT_LT(shed, 150);
  EXPECT_EQ(server_->counts().shed, static_cast<uint64_t>(shed));
  serve();
  for (const int fd : busy) heard(fd);
  EXPECT_EQ(state_.value("a"), 1 + 150 - shed);
}

TEST_F(RedisTest, ALongPipelineIsServedInParts) {
  const int fd = connect();
  std::string bytes;
  std::string wanted;
  for (int i = 1; i <= 1000; ++i) {
    bytes += "INCR a\r\n";
    wanted += ":" + std::to_string(i) + "\r\n";
  }
  say(fd, bytes);
  std::string replies;
  for (int i = 0; i < 100 && replies.size() < wanted.size(); ++i) {
    serve();
    replies += heard(fd);
  }
  EXPECT_EQ(replies, wanted);
}

TEST_F(RedisTest, WhoGoesAwayDoesNotUndoWhatIsUnderWay) {
  ask("INCR a");
  const int fd = connect();
  say(fd, "INCR a\r\nINCR a\r\n");
  step();
  EXPECT_EQ(requests_.size(), 2u);
  close(fd);
  fds_.pop_back();
  step();
  EXPECT_EQ(server_->counts().connections, 1u);
  serve();
  EXPECT_EQ(state_.value("a"), 3);
  EXPECT_EQ(ask("GET a"), "$1\r\n3\r\n") << "and its place serves others";
}

TEST_F(RedisTest, WhoOnlyHalfClosesIsAnswered) {
  const int fd = connect();
  say(fd, "INCR a\r\nGET a\r\n");
  shutdown(fd, SHUT_WR);
  serve();
  EXPECT_EQ(heard(fd), ":1\r\n$1\r\n1\r\n");
  EXPECT_TRUE(is_closed(fd));
}

TEST_F(RedisTest, QuitIsAnsweredAndNothingBehindItExecuted) {
  const int fd = connect();
  say(fd, "QUIT\r\nINCR a\r\n");
  serve();
  EXPECT_EQ(heard(fd), "+OK\r\n");
  EXPECT_TRUE(is_closed(fd));
  EXPECT_EQ(state_.value("a"), 0);
}

TEST_F(RedisTest, WhoDoesNotReadIsHeldUpAndThenCutOff) {
  const int fd = connect(/*buffer_bytes=*/4096);
  const std::string word(10'000, 'x');
  std::string command;
  put_array(command, 2);
  put_bulk(command, "ECHO");
  put_bulk(command, word);
  for (int i = 0; i < 100; ++i) {
    const ssize_t sent = ::send(fd, command.data(), command.size(), MSG_NOSIGNAL);
    step();
    if (sent != static_cast<ssize_t>(command.size())) break;  // it is not read any more
    ASSERT_LT(i, 99);
  }
  skipped_ += config_.unread_max / 2;
  step();
  EXPECT_EQ(server_->counts().connections, 1u);
  skipped_ += config_.unread_max;
  step();
  EXPECT_EQ(server_->counts().connections, 0u);
  EXPECT_EQ(server_->counts().cut_off, 1u);
}

TEST_F(RedisTest, WhoReadsLateGetsEverything) {
  const int fd = connect(/*buffer_bytes=*/4096);
  std::string command;
  put_array(command, 2);
  put_bulk(command, "ECHO");
  put_bulk(command, std::string(10'000, 'x'));
  constexpr size_t kCount = 30;
  std::string pending;
  for (size_t i = 0; i < kCount; ++i) pending += command;
  size_t received = 0;
  for (int i = 0; i < 1000 && received < kCount * 10'010; ++i) {
    const ssize_t sent = ::send(fd, pending.data(), pending.size(), MSG_NOSIGNAL);
    if (sent > 0) pending.erase(0, static_cast<size_t>(sent));
    step();
    received += heard(fd).size();
  }
  EXPECT_EQ(received, kCount * (8 + 10'000 + 2));
}

TEST_F(RedisTest, ConnectionsAreLimited) {
  config_.connection_count_max = 2;
  start();
  connect();
  connect();
  const int third = connect();
  EXPECT_EQ(heard(third), "-ERR max number of clients reached\r\n");
  EXPECT_TRUE(is_closed(third));
  EXPECT_EQ(server_->counts().refused_connections, 1u);
}

TEST_F(RedisTest, WhoSpeaksHttpIsClosed) {
  const int fd = connect();
  say(fd, "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nINCR a\r\n");
  serve();
  EXPECT_TRUE(is_closed(fd));
  EXPECT_EQ(state_.applied_index(), LogIndex(0));
}

}  // namespace
}  // namespace tally
