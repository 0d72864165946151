// Conformance: one body over the seam, run against the simulated and the real clock, network and
// disk. What is true in one world only is no part of core/env.h.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/check.h"
#include "net/baton.h"
#include "net/loop.h"
#include "net/node_file.h"
#include "net/posix_disk.h"
#include "net/transport.h"
#include "storage/wal.h"
#include "tests/disk_world.h"

namespace {
// What the system's call says in this process; 0 is the truth.
std::atomic<int> writeback_error = 0;
}  // namespace

// Found before that of the C library.
extern "C" int sync_file_range(int fd, off64_t offset, off64_t count, unsigned flags) {
  if (writeback_error == 0) {
    return static_cast<int>(syscall(SYS_sync_file_range, fd, offset, count, flags));
  }
  errno = writeback_error;
  return -1;
}

namespace tally {
namespace {

using sim::DiskWorld;
using testing::ElementsAre;
using testing::IsEmpty;

// ---- Disk

class World {
 public:
  virtual ~World() = default;
  virtual Disk& disk() = 0;
  // Runs until nothing more completes.
  virtual void run() = 0;
};

class SimWorld final : public World {
 public:
  Disk& disk() override { return world_.disk; }
  void run() override { world_.run(); }

 private:
  DiskWorld world_{1};
};

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = std::filesystem::temp_directory_path() / "tally-test-XXXXXX";
    CHECK(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class PosixWorld final : public World {
 public:
  PosixWorld() {
    std::string error;
    disk_ = PosixDisk::open(loop_, directory_.path() + "/data", error);
    CHECK(disk_ != nullptr, "{}", error);
  }
  Disk& disk() override { return *disk_; }
  void run() override {
    while (disk_->unfinished_count() > 0) {
      if (!disk_->deliver()) loop_.turn(kNever);
    }
  }

 private:
  TemporaryDirectory directory_;
  Loop loop_;
  std::unique_ptr<PosixDisk> disk_;
};

// As in the server: syncs of small writes are made on the loop's thread when that can be left.
class HeldWorld final : public World {
 public:
  HeldWorld() {
    std::string error;
    disk_ = PosixDisk::open(loop_, directory_.path() + "/data", error);
    CHECK(disk_ != nullptr, "{}", error);
    disk_->hold_syncs();
  }
  Disk& disk() override { return *disk_; }
  void run() override {
    Baton baton(std::chrono::seconds(10));
    baton.run([&] {
      if (disk_->has_held_sync()) {
        while (!baton.may_go()) std::this_thread::yield();
        EXPECT_TRUE(disk_->sync_here(baton));
      }
      if (!disk_->deliver() && disk_->unfinished_count() > 0) loop_.turn(kNever);
      return disk_->unfinished_count() > 0;
    });
  }

 private:
  TemporaryDirectory directory_;
  Loop loop_;
  std::unique_ptr<PosixDisk> disk_;
};

template <class AnyWorld>
class DiskConformance : public testing::Test, public DiskClient {
 protected:
  void SetUp() override { disk().set_client(this); }
  void on_disk_done(DiskToken token, DiskStatus status) override {
    EXPECT_FALSE(calling_) << "a callback inside the call that asked for it";
    done_.push_back({token, status});
  }

  Disk& disk() { return world_.disk(); }
  // Makes one call and returns what it completes with.
  template <class Call>
  DiskStatus result(Call&& call) {
    calling_ = true;
    call(++token_);
    calling_ = false;
    done_.clear();
    world_.run();
    EXPECT_EQ(done_.size(), 1u);
    if (done_.size() != 1) return DiskStatus::kIoError;
    EXPECT_EQ(done_[0].first, token_);
    return done_[0].second;
  }
  DiskStatus create(std::string_view file) {
    return result([&](DiskToken token) { disk().create(file, token); });
  }
  DiskStatus write(std::string_view file, uint64_t offset, std::string_view bytes) {
    return result([&](DiskToken token) {
      disk().write(file, offset, std::as_bytes(std::span(bytes.data(), bytes.size())), token);
    });
  }
  std::string content(std::string_view file) {
    std::string bytes;
    EXPECT_EQ(disk().read(file, 0, 1 << 20, bytes), DiskStatus::kOk);
    return bytes;
  }

  AnyWorld world_;
  bool calling_ = false;
  DiskToken token_ = 0;
  std::vector<std::pair<DiskToken, DiskStatus>> done_;
};

using Worlds = testing::Types<SimWorld, PosixWorld, HeldWorld>;
TYPED_TEST_SUITE(DiskConformance, Worlds);

TYPED_TEST(DiskConformance, AFileIsCreatedWrittenReadAndMeasured) {
  EXPECT_EQ(this->create("a"), DiskStatus::kOk);
  EXPECT_EQ(this->disk().size("a"), 0u);
  EXPECT_EQ(this->write("a", 0, "hello"), DiskStatus::kOk);
  EXPECT_EQ(this->write("a", 3, "p!"), DiskStatus::kOk);
  EXPECT_EQ(this->content("a"), "help!");
  EXPECT_EQ(this->disk().size("a"), 5u);
  EXPECT_EQ(this->result([&](DiskToken token) { this->disk().sync("a", token); }), DiskStatus::kOk);
  EXPECT_EQ(this->result([&](DiskToken token) { this->disk().sync_directory(token); }),
            DiskStatus::kOk);
  EXPECT_THAT(this->disk().list(), ElementsAre("a"));
}

TYPED_TEST(DiskConformance, AHoleReadsAsZeros) {
  this->create("a");
  this->write("a", 1000, "x");
  EXPECT_EQ(this->content("a"), std::string(1000, '\0') + "x");
}

TYPED_TEST(DiskConformance, ReadsEndAtTheEnd) {
  this->create("a");
  this->write("a", 0, "hello");
  std::string bytes = "old";
  EXPECT_EQ(this->disk().read("a", 3, 100, bytes), DiskStatus::kOk);
  EXPECT_EQ(bytes, "lo");
  EXPECT_EQ(this->disk().read("a", 5, 100, bytes), DiskStatus::kOk);
  EXPECT_EQ(bytes, "");
  EXPECT_EQ(
      this->result([&](DiskToken token) { this->disk().start_read("a", 1, 3, &bytes, token); }),
      DiskStatus::kOk);
  EXPECT_EQ(bytes, "ell");
}

TYPED_TEST(DiskConformance, NamesThatAreTakenOrMissingAreSaid) {
  std::string bytes;
  EXPECT_EQ(this->disk().read("a", 0, 1, bytes), DiskStatus::kNotFound);
  EXPECT_EQ(this->disk().size("a"), std::nullopt);
  EXPECT_EQ(this->create("a"), DiskStatus::kOk);
  EXPECT_EQ(this->create("a"), DiskStatus::kExists);
  EXPECT_EQ(this->write("b", 0, "x"), DiskStatus::kNotFound);
  EXPECT_EQ(this->result([&](DiskToken token) { this->disk().sync("b", token); }),
            DiskStatus::kNotFound);
  EXPECT_EQ(this->result([&](DiskToken token) { this->disk().remove("b", token); }),
            DiskStatus::kNotFound);
  EXPECT_EQ(this->result([&](DiskToken token) { this->disk().rename("b", "c", token); }),
            DiskStatus::kNotFound);
  EXPECT_EQ(this->result([&](DiskToken token) { this->disk().truncate("b", 0, token); }),
            DiskStatus::kNotFound);
  EXPECT_EQ(
      this->result([&](DiskToken token) { this->disk().start_read("b", 0, 1, &bytes, token); }),
      DiskStatus::kNotFound);
}

TYPED_TEST(DiskConformance, RenameReplacesAndKeepsTheContent) {
  this->create("a");
  this->write("a", 0, "new");
  this->create("b");
  this->write("b", 0, "old");
  EXPECT_EQ(this->result([&](DiskToken token) { this->disk().rename("a", "b", token); }),
            DiskStatus::kOk);
  EXPECT_THAT(this->disk().list(), ElementsAre("b"));
  EXPECT_EQ(this->content("b"), "new");
  EXPECT_EQ(this->write("b", 3, "er"), DiskStatus::kOk);
  EXPECT_EQ(this->content("b"), "newer");
  EXPECT_EQ(this->result([&](DiskToken token) { this->disk().remove("b", token); }),
            DiskStatus::kOk);
  EXPECT_THAT(this->disk().list(), IsEmpty());
}

TYPED_TEST(DiskConformance, TruncateCutsAndExtends) {
  this->create("a");
  this->write("a", 0, "hello");
  EXPECT_EQ(this->result([&](DiskToken token) { this->disk().truncate("a", 2, token); }),
            DiskStatus::kOk);
  EXPECT_EQ(this->content("a"), "he");
  EXPECT_EQ(this->result([&](DiskToken token) { this->disk().truncate("a", 4, token); }),
            DiskStatus::kOk);
  EXPECT_EQ(this->content("a"), std::string("he\0\0", 4));
}

// Whatever their size, and with no completion in between.
TYPED_TEST(DiskConformance, CallsOnOneFileTakeEffectAndCompleteInOrder) {
  this->create("a");
  this->done_.clear();
  std::vector<std::string> writes;
  for (size_t i = 0; i < 30; ++i) {
    writes.push_back(std::string(i % 3 == 0 ? 400'000 : 10, static_cast<char>('a' + i)));
  }
  std::vector<DiskToken> wanted;
  for (size_t i = 0; i < writes.size(); ++i) {
    this->disk().write("a", 0, std::as_bytes(std::span(writes[i])), 100 + i);
    wanted.push_back(100 + i);
    if (i % 5 == 0) {
      this->disk().sync("a", 200 + i);
      wanted.push_back(200 + i);
    }
  }
  this->world_.run();
  std::vector<DiskToken> tokens;
  for (const auto& [token, status] : this->done_) {
    EXPECT_EQ(status, DiskStatus::kOk);
    tokens.push_back(token);
  }
  EXPECT_EQ(tokens, wanted);
  EXPECT_EQ(this->content("a").substr(0, 11), writes[29] + writes[27][0]);
}

TYPED_TEST(DiskConformance, TheLockIsKept) {
  EXPECT_TRUE(this->disk().lock());
  EXPECT_TRUE(this->disk().lock());
}

TYPED_TEST(DiskConformance, ThereIsRoom) { EXPECT_GT(this->disk().free_bytes(), 1'000'000u); }

// The log itself, over either disk: what is written comes back.
class Recorder final : public StorageClient {
 public:
  void on_storage_done(bool durable, const std::string& error) override {
    EXPECT_TRUE(durable) << error;
    ++done_count;
  }
  void on_snapshot_written(bool ok, const std::string& error) override {
    EXPECT_TRUE(ok) << error;
    ++snapshot_count;
  }
  void on_snapshot_read(const SnapshotId&, uint64_t, std::string data) override { piece = data; }

  size_t done_count = 0;
  size_t snapshot_count = 0;
  std::string piece;
};

TYPED_TEST(DiskConformance, TheLogLives) {
  const Identity identity{1, 2, NodeId(3), 4};
  std::vector<Entry> entries;
  Recorder client;
  for (uint64_t life = 0; life < 3; ++life) {
    Wal wal(this->disk(), {.segment_bytes = 8192, .batch_bytes_max = 4096});
    const Recovered recovered = wal.recover(identity, &client);
    ASSERT_NE(recovered.outcome, Recovered::Outcome::kDamaged) << recovered.message;
    EXPECT_EQ(recovered.entries, entries);
    for (uint64_t i = 0; i < 40; ++i) {
      Entry entry;
      entry.index = LogIndex(entries.size() + 1);
      entry.term = Term(life + 1);
      entry.log_time = LogTime(entries.size());
      entry.type = EntryType::kCommand;
      entry.data = Bytes(std::string(50 + i * 7, 'x'));
      entries.push_back(entry);
      const size_t before = client.done_count;
      wal.write({HardState{Term(life + 1), NodeId(1)}, {entry}});
      this->world_.run();
      ASSERT_EQ(client.done_count, before + 1);
    }
    this->disk().set_client(nullptr);
  }
}

// ---- Clock

// The sync that follows would not say it: pages that could not be sent may be gone by then.
TEST(PosixDisk, AWriteThatCannotBeSentOnItsWayHasFailed) {
  struct Client final : DiskClient {
    void on_disk_done(DiskToken, DiskStatus status) override { last = status; }
    DiskStatus last = DiskStatus::kOk;
  };
  const TemporaryDirectory directory;
  Loop loop;
  std::string error;
  const auto disk = PosixDisk::open(loop, directory.path() + "/data", error);
  ASSERT_NE(disk, nullptr) << error;
  Client client;
  disk->set_client(&client);
  const auto finish = [&] {
    while (disk->unfinished_count() > 0) {
      if (!disk->deliver()) loop.turn(kNever);
    }
    return client.last;
  };
  const auto write = [&](size_t bytes) {
    const std::string data(bytes, 'x');
    disk->write("a", 0, std::as_bytes(std::span(data.data(), data.size())), 1);
    return finish();
  };
  disk->create("a", 1);
  ASSERT_EQ(finish(), DiskStatus::kOk);
  EXPECT_EQ(write(200'000), DiskStatus::kOk);
  writeback_error = EIO;
  EXPECT_EQ(write(200'000), DiskStatus::kIoError);
  EXPECT_EQ(write(100), DiskStatus::kOk) << "is left to the sync";
  writeback_error = ENOSPC;
  EXPECT_EQ(write(200'000), DiskStatus::kNoSpace);
  for (const int refusal : {ENOSYS, EPERM}) {
    writeback_error = refusal;
    EXPECT_EQ(write(200'000), DiskStatus::kOk);
  }
  writeback_error = 0;
}

// A sync may only be held when it is short, and nobody else waits for the disk.
TEST(PosixDisk, HoldsTheSyncOfWhatIsSmallAndAlone) {
  const TemporaryDirectory directory;
  Loop loop;
  std::string error;
  const auto disk = PosixDisk::open(loop, directory.path() + "/data", error);
  ASSERT_NE(disk, nullptr) << error;
  const auto finish = [&] {
    while (disk->unfinished_count() > 0) {
      if (!disk->deliver()) loop.turn(kNever);
    }
  };
  const auto write = [&](std::string_view file, size_t bytes) {
    const std::string data(bytes, 'x');
    disk->write(file, 0, std::as_bytes(std::span(data.data(), data.size())), 1);
    finish();
  };
  disk->create("a", 1);
  disk->create("b", 1);
  finish();
  write("a", 100);
  disk->sync("a", 1);
  EXPECT_FALSE(disk->has_held_sync()) << "nobody asked for it";
  finish();

  disk->hold_syncs();
  write("a", 100);
  disk->sync("a", 1);
  EXPECT_TRUE(disk->has_held_sync()) << "the second one of a, and little in between";
  EXPECT_FALSE(disk->deliver());
  disk->release_sync();
  EXPECT_FALSE(disk->has_held_sync());
  finish();

  for (int i = 0; i < 3; ++i) write("a", 30'000);
  disk->sync("a", 1);
  EXPECT_FALSE(disk->has_held_sync()) << "90 kB since the last one";
  finish();

  write("a", 400'000);  // by a worker
  disk->sync("a", 1);
  EXPECT_FALSE(disk->has_held_sync()) << "400 kB since the last one";
  finish();

  write("b", 100);
  disk->sync("b", 1);
  EXPECT_FALSE(disk->has_held_sync()) << "nothing known of b";
  disk->sync("a", 1);
  EXPECT_FALSE(disk->has_held_sync()) << "b's is under way";
  finish();
  EXPECT_EQ(disk->sync_count(), 6U);
}

TEST(Loop, TurnsTheOneNestedInItToo) {
  struct Counter final : Watcher {
    void on_ready(uint32_t) override { ++count; }
    int count = 0;
  };
  Loop outer;
  Loop inner;
  outer.nest(inner);
  int ends[2][2];
  Counter counters[2];
  for (auto& pair : ends) ASSERT_EQ(pipe(pair), 0);
  outer.watch(ends[0][0], EPOLLIN, counters[0]);
  inner.watch(ends[1][0], EPOLLIN, counters[1]);
  EXPECT_FALSE(outer.has_ready());
  EXPECT_FALSE(outer.turn(Time::min()));
  ASSERT_EQ(write(ends[0][1], "x", 1), 1);
  EXPECT_TRUE(outer.has_ready());
  EXPECT_FALSE(inner.has_ready());
  EXPECT_FALSE(inner.turn(Time::min()));
  ASSERT_EQ(write(ends[1][1], "x", 1), 1);
  EXPECT_TRUE(inner.turn(Time::min()));
  EXPECT_EQ(counters[0].count, 0);
  EXPECT_EQ(counters[1].count, 1);
  EXPECT_TRUE(outer.turn(Time::min()));
  EXPECT_EQ(counters[0].count, 1);
  EXPECT_EQ(counters[1].count, 2);
  for (auto& pair : ends) {
    close(pair[0]);
    close(pair[1]);
  }
}

TEST(RealClock, NeverGoesBackAndWakesInTime) {
  Loop loop;
  const Time begin = monotonic_now();
  EXPECT_FALSE(loop.turn(begin + std::chrono::milliseconds(20)));
  const Duration waited = monotonic_now() - begin;
  EXPECT_GE(waited, std::chrono::milliseconds(20));
  EXPECT_LT(waited, std::chrono::seconds(5));
  EXPECT_FALSE(loop.turn(begin));  // in the past: at once
}

// ---- Network: two nodes on loopback

class Owner final : public TransportOwner {
 public:
  void on_envelope(Envelope&& envelope) override { received.push_back(std::move(envelope)); }
  void on_status_request(net::Status&) override {}
  std::string on_snapshot_command() override { return {}; }
  std::string on_transfer_command(NodeId) override { return {}; }
  void on_refused(net::Refusal refusal, const std::string& error) override {
    if (refusal == net::REFUSAL_OTHER_DIRECTORY) wiped = error;
  }
  void on_transport_event(const std::string& text) override { events.push_back(text); }

  std::vector<Envelope> received;
  std::vector<std::string> events;
  std::string wiped;
};

struct RealNode {
  RealNode(Loop& loop, uint64_t id, const std::vector<PeerAddress>& members,
           uint64_t directory_id) {
    CHECK(file.load(directory.path()).empty());
    TransportConfig config;
    config.identity = {name_id("tally"), name_id("counter"), NodeId(id), directory_id};
    config.members = members;
    config.listen = members[id - 1].address;
    transport = std::make_unique<Transport>(loop, loop, config, file, owner);
    error = transport->start(monotonic_now());
  }

  TemporaryDirectory directory;
  NodeFile file;
  Owner owner;
  std::unique_ptr<Transport> transport;
  std::string error;
};

class RealNetwork : public testing::Test {
 protected:
  RealNetwork() {
    for (uint64_t id = 1; id <= 2; ++id) {
      std::string error;
      const int fd = listen_on("127.0.0.1:0", error);
      members_.push_back({NodeId(id), local_address(fd)});
      close(fd);
    }
  }
  template <class Done>
  bool run_until(std::vector<RealNode*> nodes, Done&& done) {
    const Time until = monotonic_now() + std::chrono::seconds(10);
    while (!done() && monotonic_now() < until) {
      for (RealNode* node : nodes) {
        node->transport->on_time(monotonic_now());
        node->transport->flush();
      }
      loop_.turn(monotonic_now() + std::chrono::milliseconds(5));
    }
    return done();
  }
  static bool is_connected(const RealNode& node) {
    net::Status status;
    node.transport->add_status(status);
    return status.peers(0).connected();
  }
  static Envelope heartbeat(uint64_t from, uint64_t to, uint64_t round) {
    AppendRequest append;
    append.term = Term(1);
    append.round = round;
    return {Endpoint(from), Endpoint(to), append};
  }

  Loop loop_;
  std::vector<PeerAddress> members_;
};

TEST_F(RealNetwork, MessagesArriveInOrderOnALink) {
  RealNode a(loop_, 1, members_, 11);
  RealNode b(loop_, 2, members_, 12);
  ASSERT_EQ(a.error + b.error, "");
  ASSERT_TRUE(run_until({&a, &b}, [&] { return is_connected(a) && is_connected(b); }));
  for (uint64_t round = 1; round <= 100; ++round) a.transport->send(heartbeat(1, 2, round));
  EXPECT_TRUE(b.owner.received.empty());  // never inside the call
  ASSERT_TRUE(run_until({&a, &b}, [&] { return b.owner.received.size() == 100; }));
  for (uint64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(b.owner.received[i].from, Endpoint(1));
    EXPECT_EQ(std::get<AppendRequest>(b.owner.received[i].message).round, i + 1);
  }
}

TEST_F(RealNetwork, WhatCannotBeSentIsDropped) {
  RealNode a(loop_, 1, members_, 11);
  a.transport->send(heartbeat(1, 2, 1));
  net::Status status;
  a.transport->add_status(status);
  EXPECT_EQ(status.peers(0).dropped_messages(), 1u);
  EXPECT_FALSE(status.peers(0).connected());
}

TEST_F(RealNetwork, APeerThatRestartsIsFoundAgain) {
  RealNode a(loop_, 1, members_, 11);
  for (int life = 0; life < 3; ++life) {
    RealNode b(loop_, 2, members_, 12);
    ASSERT_TRUE(run_until({&a, &b}, [&] { return is_connected(a) && is_connected(b); }));
    a.transport->send(heartbeat(1, 2, 7));
    ASSERT_TRUE(run_until({&a, &b}, [&] { return !b.owner.received.empty(); }));
  }
}

TEST_F(RealNetwork, AnotherDataDirectoryIsRefused) {
  RealNode a(loop_, 1, members_, 11);
  {
    RealNode b(loop_, 2, members_, 12);
    ASSERT_TRUE(run_until({&a, &b}, [&] { return is_connected(a) && is_connected(b); }));
  }
  RealNode wiped(loop_, 2, members_, 13);
  ASSERT_TRUE(run_until({&a, &wiped}, [&] { return !wiped.owner.wiped.empty(); }));
  EXPECT_THAT(wiped.owner.wiped, testing::HasSubstr("wiped"));
  EXPECT_FALSE(is_connected(a));
  EXPECT_EQ(a.file.peer_directory_id(NodeId(2)), 12u);
}

// ---- Net frames

TEST(NetFrame, ComesBackAndNoChangedByteGetsThrough) {
  net::NetMessage message;
  message.mutable_hello()->set_cluster("a cluster");
  message.mutable_hello()->set_node_id(7);
  std::string bytes;
  encode_net_frame(message, bytes);
  net::NetMessage read;
  size_t consumed = 0;
  std::string error;
  ASSERT_EQ(decode_net_frame(bytes + "more", read, consumed, error), FrameStatus::kOk);
  EXPECT_EQ(consumed, bytes.size());
  EXPECT_EQ(read.hello().cluster(), "a cluster");
  for (size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_EQ(decode_net_frame(bytes.substr(0, i), read, consumed, error), FrameStatus::kNeedMore);
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
      EXPECT_NE(decode_net_frame(changed, read, consumed, error), FrameStatus::kOk) << i;
    }
  }
}

TEST(NetAddress, IsReadOrRefusedWithAReason) {
  std::string host;
  std::string port;
  EXPECT_EQ(parse_address("127.0.0.1:8081", host, port), "");
  EXPECT_EQ(host + " " + port, "127.0.0.1 8081");
  EXPECT_EQ(parse_address("[::1]:1", host, port), "");
  EXPECT_EQ(host, "::1");
  for (const char* bad : {"", "host", ":1", "host:", "host:x", "host:65536", "::1:5", "host:-1"}) {
    EXPECT_THAT(parse_address(bad, host, port), testing::HasSubstr("HOST:PORT")) << bad;
  }
}

}  // namespace
}  // namespace tally
