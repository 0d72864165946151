// What a connection takes from the other end, and what the log makes of foreign words.
#include "net/connection.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "net/logger.h"

namespace tally {
namespace {

constexpr GroupId kGroup{.cluster_id = 7, .group_id = 9};

class ConnectionTest : public testing::Test, protected ConnectionOwner {
 protected:
  ConnectionTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    other_end_ = ends[1];
    ConnectionOwner& self = *this;
    connection_.emplace(loop_, self, kGroup, uint64_t{1});
    // Of a stream socket that is no TCP, so without its options.
    connection_->adopt_stream(ends[0]);
  }
  ~ConnectionTest() override { close(other_end_); }

  void on_connected(Connection&) override { ++connected_count_; }
  void on_frame(Connection&, Envelope& envelope) override { frames_.push_back(envelope); }
  void on_net_message(Connection&, const net::NetMessage&) override {}
  void on_broken(Connection&, const std::string& why) override { broken_ = why; }

  void say(std::string_view bytes) {
    ASSERT_EQ(send(other_end_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    loop_.turn(monotonic_now());
  }
  static std::string append_of(size_t bytes) {
    AppendRequest append;
    Entry entry;
    entry.index = LogIndex(1);
    entry.type = EntryType::kCommand;
    entry.data = Bytes(std::string(bytes, 'x'));
    append.entries.push_back(entry);
    std::string frame;
    encode_frame({Endpoint(1), Endpoint(2), append}, kGroup, frame);
    return frame;
  }

  Loop loop_;
  int other_end_ = -1;
  std::optional<Connection> connection_;
  std::vector<Envelope> frames_;
  std::string broken_;
  int connected_count_ = 0;
};

TEST_F(ConnectionTest, ANameIsLookedUpAndEachOfItsAddressesTried) {
  std::string error;
  const int listening = listen_on("127.0.0.1:0", error);
  ASSERT_GE(listening, 0) << error;
  const std::string address = local_address(listening);
  Connection named(loop_, *this, kGroup, 2);
  ASSERT_EQ(named.connect("localhost" + address.substr(address.rfind(':'))), "");
  EXPECT_FALSE(named.is_connected());  // it is a thread that looks
  const Time until = monotonic_now() + std::chrono::seconds(60);
  while (connected_count_ == 0 && broken_.empty() && monotonic_now() < until) loop_.turn(until);
  EXPECT_EQ(connected_count_, 1) << broken_;
  EXPECT_TRUE(named.is_connected());
  close(listening);
}

TEST_F(ConnectionTest, WhatIsNoNameBreaksLaterAndNobodyWaits) {
  Connection named(loop_, *this, kGroup, 2);
  ASSERT_EQ(named.connect("a..b:80"), "");
  const Time until = monotonic_now() + std::chrono::seconds(60);
  while (broken_.empty() && monotonic_now() < until) loop_.turn(until);
  EXPECT_EQ(broken_.find("a..b:80: "), 0u) << broken_;
  EXPECT_FALSE(named.is_open());

  // Nor does the thread mind when nobody waits any more.
  ASSERT_EQ(named.connect("a..b:80"), "");
  named.close();
  EXPECT_NE(named.connect("127.0.0.1"), "");
}

TEST_F(ConnectionTest, AFrameMayComeInPieces) {
  const std::string frame = append_of(3000);
  for (size_t at = 0; at < frame.size(); at += 100) say(frame.substr(at, 100));
  ASSERT_EQ(frames_.size(), 1u);
  EXPECT_EQ(std::get<AppendRequest>(frames_[0].message).entries.at(0).data.size(), 3000u);
}

TEST_F(ConnectionTest, AFrameThatIsTooLongForTheOtherEndIsNotWaitedFor) {
  connection_->set_frame_bytes_max(1000);
  const std::string frame = append_of(3000);
  say(frame.substr(0, 900));
  EXPECT_EQ(broken_, "");
  say(frame.substr(900, 200));
  EXPECT_EQ(broken_, "a frame of more than 1000 bytes");
}

TEST_F(ConnectionTest, NorTakenWhenItComesAtOnce) {
  connection_->set_frame_bytes_max(1000);
  say(append_of(3000));
  EXPECT_NE(broken_, "");
  EXPECT_TRUE(frames_.empty());
}

TEST(Logger, ForeignWordsCannotLookLikeALine) {
  EXPECT_EQ(printable("a\n2026 error \x1b[31mred\x7f é"), "a\\x0a2026 error \\x1b[31mred\\x7f é");
}

}  // namespace
}  // namespace tally
