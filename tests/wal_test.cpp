// Wal over SimDisk: what is written comes back, what was acknowledged survives any crash, what is
// damaged is said.

#include "storage/wal.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <fstream>
#include <functional>
#include <memory>
#include <sstream>

#include "tests/disk_world.h"
#include "tests/effort.h"

namespace tally {
namespace {

using Outcome = Recovered::Outcome;
using sim::DiskCall;
using sim::DiskPoint;
using sim::DiskWorld;

constexpr Identity kIdentity{11, 12, NodeId(3), 0x1234567890abcdef};

Entry entry(uint64_t index, uint64_t term, std::string_view data) {
  Entry result;
  result.index = LogIndex(index);
  result.term = Term(term);
  result.log_time = LogTime(index * 1000);
  result.type = data.empty() ? EntryType::kNoop : EntryType::kCommand;
  result.data = Bytes(data);
  return result;
}

// What the log should hold.
struct State {
  HardState hard_state;
  std::vector<Entry> entries;

  void apply(const StorageWrite& write, size_t entry_count) {
    if (write.hard_state) hard_state = *write.hard_state;
    if (entry_count == 0) return;
    entries.resize(write.entries[0].index.value() - 1);
    entries.insert(entries.end(), write.entries.begin(),
                   write.entries.begin() + static_cast<std::ptrdiff_t>(entry_count));
  }
  bool operator==(const State&) const = default;
};

// One node's storage, which can be started over and over on its disk.
class Node : public StorageClient {
 public:
  explicit Node(uint64_t seed, WalConfig wal_config = {1024, 4096})
      : config(wal_config), world(seed) {}

  Recovered start(const Identity& identity = kIdentity) {
    world.disk.detach_client();
    wal = std::make_unique<Wal>(world.disk, config);
    return wal->recover(identity, this);
  }
  // Power loss, then a start.
  Recovered restart() {
    world.disk.crash();
    return start();
  }
  // True when acknowledged as durable. Leaves background work undone when `settle` is false.
  bool write(const StorageWrite& write, bool settle = true) {
    answered_ = false;
    wal->write(write);
    EXPECT_FALSE(answered_) << "answered inside the call";
    while (!answered_ && world.step()) {
    }
    if (settle) world.run();
    return answered_ && durable;
  }
  bool write(std::vector<Entry> entries) { return write({std::nullopt, std::move(entries)}); }
  bool write(HardState hard_state) { return write({hard_state, {}}); }
  void on_storage_done(bool is_durable, const std::string& message) override {
    answered_ = true;
    durable = is_durable;
    error = message;
  }
  void on_snapshot_written(bool ok, const std::string& message) override {
    snapshot_answered_ = true;
    snapshot_ok = ok;
    error = message;
  }
  void on_snapshot_read(const SnapshotId&, uint64_t piece, std::string data) override {
    pieces_read.emplace_back(piece, std::move(data));
  }
  // Writes a whole snapshot; false when it failed or the world stopped.
  bool write_snapshot(const EntryMark& last, const std::vector<std::string>& pieces) {
    wal->begin_snapshot(last);
    for (const std::string& piece : pieces) {
      if (!snapshot_call([&] { wal->write_piece(piece); })) return false;
    }
    return snapshot_call([&] { wal->finish_snapshot(); });
  }
  std::string media(uint64_t segment) {
    return std::string(world.disk.media(segment_name(segment)).value_or(std::string_view{}));
  }

  WalConfig config;  // of the next start
  DiskWorld world;
  std::unique_ptr<Wal> wal;
  bool durable = false;
  std::string error;
  bool snapshot_ok = false;
  std::vector<std::pair<uint64_t, std::string>> pieces_read;

 private:
  template <class Call>
  bool snapshot_call(Call call) {
    snapshot_answered_ = false;
    call();
    EXPECT_FALSE(snapshot_answered_) << "answered inside the call";
    while (!snapshot_answered_ && world.step()) {
    }
    return snapshot_answered_ && snapshot_ok;
  }

  bool answered_ = false;
  bool snapshot_answered_ = false;
};

State state_of(const Recovered& recovered) { return {recovered.hard_state, recovered.entries}; }

std::string random_data(uint64_t seed, uint64_t key, size_t bytes_max) {
  std::string data(scale(draw(seed, 1, key), bytes_max + 1), '\0');
  // Now and then only zeros, which on the media look like nothing.
  if (draw(seed, 2, key) % 4 == 0) return data;
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(draw(seed, 3, key, i));
  return data;
}

// A write that fits onto `state`: perhaps a hard state, and entries that perhaps replace some.
StorageWrite random_write(uint64_t seed, uint64_t key, const State& state, size_t data_bytes_max) {
  StorageWrite write;
  const uint64_t kind = draw(seed, 10, key) % 8;
  if (kind == 0 || kind == 1) {
    write.hard_state = HardState{state.hard_state.term + draw(seed, 11, key) % 2, NodeId(key % 4)};
    if (kind == 0) return write;
  }
  uint64_t next = state.entries.size() + 1;
  if (kind == 2)
    next -= scale(draw(seed, 12, key), std::min<uint64_t>(state.entries.size(), 5) + 1);
  const uint64_t count = 1 + draw(seed, 13, key) % (kind == 3 ? 20 : 3);
  for (uint64_t i = 0; i < count; ++i) {
    write.entries.push_back(
        entry(next + i, key + 1, random_data(seed, key * 100 + i, data_bytes_max)));
  }
  return write;
}

// ---- What is written comes back ----

TEST(Wal, EmptyDirectoryIsAFirstStart) {
  Node node(1);
  const Recovered recovered = node.start();
  EXPECT_EQ(recovered.outcome, Outcome::kEmpty);
  EXPECT_EQ(recovered.message, "");
  EXPECT_TRUE(node.world.disk.list().empty()) << "reading changed the directory";
}

TEST(Wal, TheFirstWriteMakesTheIdentityDurable) {
  Node node(1);
  node.start();
  ASSERT_TRUE(node.write(HardState{Term(1), NodeId(3)}));
  node.world.disk.crash();
  const Recovered recovered = node.start();
  EXPECT_EQ(recovered.outcome, Outcome::kWhole);
  EXPECT_EQ(recovered.identity, kIdentity);
  EXPECT_EQ(recovered.hard_state, (HardState{Term(1), NodeId(3)}));
}

TEST(Wal, HardStateAndEntriesComeBack) {
  Node node(1);
  node.start();
  State state;
  const StorageWrite write{HardState{Term(2), NodeId(1)},
                           {entry(1, 1, ""), entry(2, 2, "two"), entry(3, 2, "three")}};
  ASSERT_TRUE(node.write(write));
  state.apply(write, 3);
  const Recovered recovered = node.restart();
  EXPECT_EQ(recovered.outcome, Outcome::kWhole);
  EXPECT_EQ(recovered.torn_bytes, 0u);
  EXPECT_EQ(state_of(recovered), state);
}

TEST(Wal, AnOverwriteReplacesEverythingFromThereOn) {
  Node node(1);
  node.start();
  ASSERT_TRUE(node.write({entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c")}));
  ASSERT_TRUE(node.write({entry(2, 2, "B")}));
  EXPECT_EQ(node.restart().entries, (std::vector{entry(1, 1, "a"), entry(2, 2, "B")}));
  ASSERT_TRUE(node.write({entry(3, 2, "C")}));
  EXPECT_EQ(node.restart().entries,
            (std::vector{entry(1, 1, "a"), entry(2, 2, "B"), entry(3, 2, "C")}));
}

TEST(Wal, RotatesAndComesBackOverManyStarts) {
  Node node(1);
  node.start();
  State state;
  for (uint64_t i = 1; i <= 100; ++i) {
    const StorageWrite write{HardState{Term(i), NodeId(i % 3)}, {entry(i, i, "some command")}};
    ASSERT_TRUE(node.write(write));
    state.apply(write, 1);
    if (i % 7 != 0) continue;
    const Recovered recovered = node.restart();
    ASSERT_EQ(recovered.outcome, Outcome::kWhole) << recovered.message;
    ASSERT_EQ(state_of(recovered), state);
  }
  EXPECT_GT(node.world.disk.list().size(), 10u);
}

TEST(Wal, AWriteLargerThanABatchOrASegmentIsAcknowledgedWhenAllOfItIsDurable) {
  Node node(1, {1024, 512});
  node.start();
  StorageWrite write;
  for (uint64_t i = 1; i <= 40; ++i) write.entries.push_back(entry(i, 1, std::string(100, 'x')));
  write.entries.push_back(entry(41, 1, std::string(5000, 'y')));  // larger than a segment
  write.entries.push_back(entry(42, 1, "z"));
  ASSERT_TRUE(node.write(write, false));
  EXPECT_EQ(node.restart().entries, write.entries);
  ASSERT_TRUE(node.write({entry(43, 1, "on it goes")}));
  EXPECT_EQ(node.restart().entries.size(), 43u);
}

TEST(Wal, SteadyStateIsOneWriteAndOneSync) {
  Node node(1, {1 << 16, 4096});
  node.start();
  ASSERT_TRUE(node.write({entry(1, 1, "x")}));
  for (uint64_t i = 2; i < 50; ++i) {
    node.world.points.clear();
    ASSERT_TRUE(node.write({entry(i, 1, "x")}));
    const std::vector<std::pair<DiskPoint, std::string>> wanted = {
        {DiskPoint::kBeforeWrite, segment_name(1)},
        {DiskPoint::kAfterWrite, segment_name(1)},
        {DiskPoint::kBeforeSync, segment_name(1)},
        {DiskPoint::kAfterSync, segment_name(1)}};
    ASSERT_EQ(node.world.points, wanted);
  }
}

TEST(Wal, TheSegmentSizeMayChangeBetweenStarts) {
  Node node(1);
  node.start();
  uint64_t index = 1;
  for (const uint64_t segment_bytes : {8192u, 1024u, 4096u, 2048u, 16384u, 1024u}) {
    node.config.segment_bytes = segment_bytes;
    const Recovered recovered = node.restart();
    ASSERT_EQ(recovered.message, "");
    ASSERT_EQ(recovered.entries.size(), index - 1);
    for (int i = 0; i < 30; ++i, ++index) {
      ASSERT_TRUE(node.write({entry(index, 1, std::string(100, 'x'))}));
    }
  }
  EXPECT_EQ(node.restart().entries.size(), index - 1);
}

TEST(Wal, ALeftOverTemporaryFileIsOfNoInterest) {
  Node node(1);
  node.world.poke_new(segment_temporary_name(1), std::string(3000, 'x'));
  EXPECT_EQ(node.start().message, "");
  ASSERT_TRUE(node.write({entry(1, 1, "first")}));
  const Recovered recovered = node.restart();
  EXPECT_EQ(recovered.message, "");
  EXPECT_EQ(recovered.entries.size(), 1u);
  EXPECT_EQ(node.media(1).size(), 1024u);
}

RC_GTEST_PROP(WalProperty, AnyWritesComeBack, ()) {
  const uint64_t seed = *rc::gen::arbitrary<uint64_t>();
  const auto write_count = *rc::gen::inRange<uint64_t>(0, 40);
  const auto data_bytes_max = *rc::gen::element<size_t>(0, 10, 200, 3000);
  const auto segment_bytes = *rc::gen::element<uint64_t>(1024, 1536, 4096, 65536);
  const auto batch_bytes_max = *rc::gen::element<uint64_t>(0, 300, 1024, 1 << 20);
  Node node(seed, {segment_bytes, batch_bytes_max});
  node.start();
  State state;
  for (uint64_t i = 0; i < write_count; ++i) {
    const StorageWrite write = random_write(seed, i, state, data_bytes_max);
    RC_ASSERT(node.write(write));
    state.apply(write, write.entries.size());
  }
  const Recovered recovered = node.restart();
  RC_ASSERT(recovered.outcome == (write_count > 0 ? Outcome::kWhole : Outcome::kEmpty));
  RC_ASSERT(recovered.message == "");
  RC_ASSERT(state_of(recovered) == state);
}

TEST(Wal, TheSameSeedWritesTheSameBytes) {
  const auto run = [] {
    Node node(5);
    node.world.disk.set_latency({Duration(1), Duration(50), Duration(1), Duration(900)});
    node.start();
    State state;
    for (uint64_t i = 0; i < 30; ++i) {
      const StorageWrite write = random_write(5, i, state, 100);
      if (node.write(write, false)) state.apply(write, write.entries.size());
      if (i % 10 == 9) node.restart();
    }
    std::string all;
    for (const std::string& name : node.world.disk.list()) {
      std::string bytes;
      node.world.disk.read(name, 0, 1 << 20, bytes);
      all += name + bytes;
    }
    return all;
  };
  EXPECT_EQ(run(), run());
}

// ---- Crashes ----

// Drives one node through random writes with crashes at given disk points.
class CrashRun {
 public:
  CrashRun(uint64_t seed, const WalConfig& config, size_t data_bytes_max)
      : node(seed, config), seed_(seed), config_(config), data_bytes_max_(data_bytes_max) {
    if (seed % 3 != 0) {
      node.world.disk.set_latency({Duration(1), Duration(100), Duration(1), Duration(1000)});
    }
    node.start();
  }

  // Writes until `count` are acknowledged or the disk freezes.
  void write_some(uint64_t count, uint64_t freeze_at) {
    node.world.points.clear();
    node.world.freeze_at = freeze_at;
    in_flight.reset();
    for (uint64_t i = 0; i < count; ++i) {
      in_flight = random_write(seed_, ++key_, acknowledged, data_bytes_max_);
      if (!node.write(*in_flight, draw(seed_, 20, key_) % 2 == 0)) break;
      acknowledged.apply(*in_flight, in_flight->entries.size());
      in_flight.reset();
      if (node.world.disk.frozen()) break;
    }
    node.world.freeze_at = 0;
  }

  // Crashes (or only kills the process), starts, and judges what came back.
  void crash_and_check(bool power_loss) {
    if (power_loss) node.world.disk.crash();
    const Recovered recovered = node.start();
    const bool empty = acknowledged == State{} && recovered.outcome == Outcome::kEmpty;
    ASSERT_TRUE(empty || recovered.outcome == Outcome::kWhole) << recovered.message;
    ASSERT_EQ(recovered.torn_bytes > 0, !recovered.message.empty());
    torn += recovered.torn_bytes > 0;
    ASSERT_TRUE(allowed(state_of(recovered))) << recovered.message;
    kept += in_flight.has_value() && state_of(recovered) != acknowledged;
    acknowledged = state_of(recovered);  // what was shown once must stay
  }

  Node node;
  State acknowledged;
  std::optional<StorageWrite> in_flight;
  uint64_t torn = 0;
  uint64_t kept = 0;

 private:
  bool allowed(const State& found) const {
    if (found == acknowledged) return true;
    if (!in_flight) return false;
    uint64_t bytes = kBatchRecordBytes + kHardStateRecordBytes;
    for (const Entry& each : in_flight->entries) bytes += record_bytes(each.data.size());
    const uint64_t segment_bytes =
        config_.segment_bytes - kSegmentRecordBytes - segment_reserve_bytes(config_.segment_bytes);
    const bool atomic = bytes <= std::min(config_.batch_bytes_max, segment_bytes);
    for (size_t i = atomic ? in_flight->entries.size() : 0; i <= in_flight->entries.size(); ++i) {
      State state = acknowledged;
      state.apply(*in_flight, i);
      if (found == state) return true;
    }
    return false;
  }

  const uint64_t seed_;
  const WalConfig config_;
  const size_t data_bytes_max_;
  uint64_t key_ = 0;
};

WalConfig random_config(uint64_t seed) {
  return {1024 + 512 * (draw(seed, 30) % 6), 256 + 256 * (draw(seed, 31) % 8)};
}

// For random writes: a crash at every disk point in turn, then a second one somewhere.
TEST(WalCrash, EveryDiskPoint) {
  uint64_t torn = 0;
  uint64_t kept = 0;
  uint64_t runs = 0;
  for (uint64_t seed = 0; seed < effort(40); ++seed) {
    const WalConfig config = random_config(seed);
    const size_t data_bytes_max = seed % 5 == 0 ? 2500 : 150;
    CrashRun dry(seed, config, data_bytes_max);
    dry.write_some(12, 0);
    const uint64_t point_count = dry.node.world.points.size();
    for (uint64_t point = 1; point <= point_count; ++point) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " point " << point);
      CrashRun run(seed, config, data_bytes_max);
      run.write_some(12, point);
      run.crash_and_check(draw(seed, 40, point) % 4 != 0);
      if (testing::Test::HasFatalFailure()) return;
      for (uint64_t again = 0; again < 3; ++again) {
        run.write_some(6, 1 + draw(seed, 41, point, again) % 40);
        run.crash_and_check(draw(seed, 42, point, again) % 4 != 0);
        if (testing::Test::HasFatalFailure()) return;
      }
      torn += run.torn;
      kept += run.kept;
      ++runs;
    }
  }
  RecordProperty("runs", std::to_string(runs));
  EXPECT_GT(torn, runs / 20);
  EXPECT_GT(kept, runs / 20);
}

// The next segment gets its zeros twice as fast as the log grows; so its syncs do not wait for all
// of them, nor does the log for the segment. The same when a power cut was on the way.
TEST(Wal, TheNextSegmentIsPreparedAsTheLogGrows) {
  constexpr uint64_t kSegmentBytes = 64 << 10;
  constexpr uint64_t kChunkBytes = kSegmentBytes / 4;
  Node node(1, {kSegmentBytes, 4096});
  const auto prepared = [&] { return node.world.disk.size(segment_temporary_name(2)); };
  node.start();
  uint64_t index = 0;
  const auto write = [&] {
    ++index;
    return node.write({entry(index, 1, std::string(1000, 'x'))});
  };
  ASSERT_TRUE(write());
  EXPECT_EQ(prepared(), kChunkBytes);
  while (node.wal->end().offset < kSegmentBytes / 4) ASSERT_TRUE(write());
  EXPECT_GE(*prepared(), 2 * node.wal->end().offset);
  EXPECT_LT(*prepared(), 2 * node.wal->end().offset + kChunkBytes);

  ASSERT_EQ(node.restart().entries.size(), index);
  ASSERT_TRUE(write());
  EXPECT_EQ(prepared(), kChunkBytes) << "not at once, either, when it begins anew";
  while (prepared() || !node.world.disk.size(segment_name(2))) ASSERT_TRUE(write());
  EXPECT_EQ(node.wal->end().segment, 1u);
  EXPECT_LT(node.wal->end().offset, kSegmentBytes - kSegmentBytes / 8);
  EXPECT_EQ(node.media(2), std::string(kSegmentBytes, '\0'));
  while (node.wal->end().segment == 1) ASSERT_TRUE(write());
  EXPECT_EQ(node.restart().entries.size(), index);
}

// A long life with many crashes: numbers, dead files and spares stay in order.
TEST(WalCrash, LongLife) {
  for (uint64_t seed = 1000; seed < 1000 + effort(40); ++seed) {
    CrashRun run(seed, random_config(seed), 150);
    for (uint64_t life = 0; life < 60; ++life) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " life " << life);
      run.write_some(10, 1 + draw(seed, 50, life) % 60);
      run.crash_and_check(draw(seed, 51, life) % 4 != 0);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

// ---- Damage ----

// Several segments with room behind the last batch, whole and settled.
struct WalDamage : testing::Test {
  void SetUp() override {
    node.start();
    for (uint64_t i = 1; i <= kEntryCount; ++i) {
      ASSERT_TRUE(
          node.write({HardState{Term(i), kNoNode}, {entry(i, i, "a command of some length")}}));
      ends.push_back(node.wal->end());
    }
    ASSERT_EQ(ends.back().segment, 3u);
    ASSERT_EQ(ends[ends.size() - 3].segment, 3u) << "want proven batches in the last segment";
  }
  void SetUpAgain() {
    node.world.disk.wipe();
    ends.clear();
    SetUp();
  }
  // Ends of the batches in `segment`.
  std::vector<uint64_t> ends_in(uint64_t segment) const {
    std::vector<uint64_t> result;
    for (const LogPosition& end : ends) {
      if (end.segment == segment) result.push_back(end.offset);
    }
    return result;
  }

  static constexpr uint64_t kEntryCount = 9;
  Node node{1};
  std::vector<LogPosition> ends;
};

TEST_F(WalDamage, AnyFlippedByteOfAProvenRegionIsSaid) {
  for (uint64_t segment = 1; segment <= 3; ++segment) {
    const std::vector<uint64_t> batch_ends = ends_in(segment);
    const uint64_t proven = segment < 3 ? batch_ends.back() : batch_ends[batch_ends.size() - 2];
    const std::string name = segment_name(segment);
    for (uint64_t offset = 0; offset < proven; ++offset) {
      const uint8_t mask = static_cast<uint8_t>(1u << draw(1, segment, offset) % 8);
      node.world.flip(name, offset, mask);
      const Recovered recovered = node.start();
      ASSERT_TRUE(recovered.outcome == Outcome::kDamaged || recovered.outcome == Outcome::kRefused)
          << name << " offset " << offset;
      ASSERT_NE(recovered.message.find(name), std::string::npos) << recovered.message;
      ASSERT_TRUE(recovered.repairing);
      ASSERT_EQ(recovered.hard_state, (HardState{Term(kEntryCount), kNoNode}));
      node.world.flip(name, offset, mask);
    }
  }
  EXPECT_EQ(node.start().outcome, Outcome::kWhole);
}

TEST_F(WalDamage, TheMessageNamesFileOffsetAndIndex) {
  const uint64_t offset = ends_in(1)[1];  // of the third batch
  node.world.flip(segment_name(1), offset + 20, 1);
  const Recovered recovered = node.start();
  EXPECT_EQ(recovered.outcome, Outcome::kDamaged);
  EXPECT_EQ(recovered.message,
            fmt::format("wal-0000000000000001 offset {}, at index 3: no valid batch; "
                        "wal-0000000000000002 proves that it was synced; it is repaired by the "
                        "leader as soon as a quorum of the others answers; leave its files as they "
                        "are",
                        offset));
  EXPECT_TRUE(recovered.entries.empty());
}

// Also when the damage shows before anything is replayed.
TEST_F(WalDamage, TheMessageNamesTheIndexThatTheLogHasLedTo) {
  const auto message_with = [&](uint64_t segment, uint64_t gone) {
    if (gone != 0) node.world.disk.rename(segment_name(gone), "elsewhere", 0);
    node.world.flip(segment_name(segment), 8, 1);
    const Recovered recovered = node.start();
    node.world.flip(segment_name(segment), 8, 1);
    if (gone != 0) node.world.disk.rename("elsewhere", segment_name(gone), 0);
    EXPECT_EQ(recovered.outcome, Outcome::kDamaged);
    return recovered.message;
  };
  const uint64_t in_first = ends_in(1).size();
  const uint64_t in_two = in_first + ends_in(2).size();
  EXPECT_TRUE(message_with(1, 0).starts_with("wal-0000000000000001 offset 0, at index 1: "));
  EXPECT_TRUE(message_with(2, 0).starts_with(
      fmt::format("wal-0000000000000002 offset 0, at index {}: ", in_first + 1)))
      << message_with(2, 0);
  // Compacted: what the broken one begins with is in no other header.
  EXPECT_TRUE(message_with(2, 1).starts_with(
      fmt::format("wal-0000000000000002 offset 0, at or before index {}: ", in_two)))
      << message_with(2, 1);
}

TEST_F(WalDamage, AStrayFileIsNamedAndWhatToDoAboutIt) {
  const std::string stray = "wal-ffffffffffffffff";
  node.world.poke_new(stray, std::string(1024, 'x'));
  const Recovered recovered = node.start();
  EXPECT_EQ(recovered.outcome, Outcome::kDamaged);
  EXPECT_FALSE(recovered.repairing) << "there may have been a newer term";
  EXPECT_NE(recovered.message.find(
                "is missing, and wal-ffffffffffffffff is there, which holds no segment; if "
                "wal-ffffffffffffffff is no file of this log, move it away and start again. Else "
                "term and vote are lost with it: this counts as a wiped disk"),
            std::string::npos)
      << recovered.message;
  EXPECT_NE(recovered.message.find(fmt::format("at index {}", kEntryCount + 1)), std::string::npos)
      << recovered.message;
  node.world.disk.rename(stray, "elsewhere", 0);
  EXPECT_EQ(node.start().outcome, Outcome::kWhole);
  node.world.poke_new(stray, "x");
  EXPECT_NE(node.start().message.find("shorter than any segment; if wal-ffffffffffffffff is no"),
            std::string::npos);
}

// ---- Repair

// Whatever is damaged before the newest batch: term and vote are known, and the log begins anew. It
// is one under repair over any number of starts, until it is said to be whole.
TEST_F(WalDamage, ADamagedLogBeginsAnewAndIsWholeWhenItIsToldSo) {
  node.world.flip(segment_name(1), ends_in(1)[1] + 20, 1);
  ASSERT_TRUE(node.start().repairing);
  const HardState last{Term(kEntryCount), kNoNode};
  ASSERT_TRUE(node.write(last));
  for (uint64_t i = 1; i <= 20; ++i) ASSERT_TRUE(node.write({entry(i, 20, "fetched")}));
  Recovered recovered = node.restart();
  EXPECT_EQ(recovered.outcome, Outcome::kDamaged);
  EXPECT_TRUE(recovered.repairing);
  EXPECT_EQ(recovered.hard_state, last);
  EXPECT_EQ(recovered.entries.size(), 20u);
  EXPECT_TRUE(recovered.message.starts_with("damaged earlier, not yet repaired; it is repaired by"))
      << recovered.message;
  EXPECT_NE(node.media(1), "") << "what is left of the old log stays until then";

  StorageWrite whole;
  whole.whole = true;
  ASSERT_TRUE(node.write(whole));
  EXPECT_EQ(node.media(1), "");
  EXPECT_EQ(node.media(4), "");
  recovered = node.restart();
  EXPECT_EQ(recovered.outcome, Outcome::kWhole) << recovered.message;
  EXPECT_FALSE(recovered.repairing);
  EXPECT_EQ(recovered.entries.size(), 20u);
  EXPECT_EQ(recovered.hard_state, last);
  ASSERT_TRUE(node.write({entry(21, 20, "next")}));
  EXPECT_EQ(node.restart().entries.size(), 21u);
}

// Headers and sizes, too: the first files to be looked at.
TEST_F(WalDamage, WhatIsLeftOfALogThatWasReplacedSaysNothing) {
  const std::string other = node.media(2).substr(0, kSegmentRecordBytes);
  node.world.poke(segment_name(1), 0, other);
  node.world.disk.truncate(segment_name(2), 0, 0);
  Recovered recovered = node.start();
  ASSERT_TRUE(recovered.repairing) << recovered.message;
  EXPECT_TRUE(
      recovered.message.starts_with("wal-0000000000000001 offset 0, at index 1: the header "
                                    "of segment wal-0000000000000002"))
      << recovered.message;
  ASSERT_TRUE(node.write(HardState{Term(20), NodeId(2)}));
  ASSERT_TRUE(node.write({entry(1, 20, "fetched")}));
  recovered = node.restart();
  EXPECT_TRUE(recovered.message.starts_with("damaged earlier, not yet repaired"))
      << recovered.message;
  EXPECT_EQ(recovered.entries.size(), 1u);

  StorageWrite whole;
  whole.whole = true;
  ASSERT_TRUE(node.write(whole));
  EXPECT_EQ(node.media(1), "");
  EXPECT_EQ(node.restart().outcome, Outcome::kWhole);
}

TEST_F(WalDamage, DamageDuringARepairBeginsAnother) {
  node.world.flip(segment_name(1), ends_in(1)[1] + 20, 1);
  ASSERT_TRUE(node.start().repairing);
  ASSERT_TRUE(node.write(HardState{Term(20), NodeId(2)}));
  ASSERT_TRUE(node.write({entry(1, 20, "fetched")}));
  ASSERT_TRUE(node.write({entry(2, 20, "fetched")}));
  node.world.flip(segment_name(5), kSegmentRecordBytes + 100, 1);
  const Recovered recovered = node.restart();
  EXPECT_TRUE(recovered.repairing);
  EXPECT_TRUE(recovered.entries.empty());
  EXPECT_EQ(recovered.hard_state, (HardState{Term(20), NodeId(2)}));
  ASSERT_TRUE(node.write(HardState{Term(21), NodeId(2)}));
  EXPECT_EQ(node.restart().hard_state.term, Term(21));
}

TEST_F(WalDamage, TermAndVoteAreLostWithTheEndOfTheLog) {
  node.world.disk.truncate(segment_name(3), 300, 0);
  Recovered recovered = node.start();
  EXPECT_EQ(recovered.outcome, Outcome::kDamaged);
  EXPECT_FALSE(recovered.repairing);
  EXPECT_NE(recovered.message.find("term and vote are lost"), std::string::npos);
  SetUpAgain();
  node.world.disk.rename(segment_name(3), "elsewhere", 0);
  EXPECT_FALSE(node.start().repairing);
}

// A sector that cannot be read is no torn write: never cut. Behind the newest batch, it may have
// held a newer one, and a vote.
TEST_F(WalDamage, AnUnreadableSectorIsDamage) {
  ASSERT_NE(node.world.disk.spoil(600, "wal-0000000000000001"), "");
  const Recovered recovered = node.start();
  EXPECT_EQ(recovered.outcome, Outcome::kDamaged);
  EXPECT_TRUE(recovered.repairing);
  EXPECT_EQ(recovered.hard_state, (HardState{Term(kEntryCount), kNoNode}));
  EXPECT_NE(recovered.message.find("wal-0000000000000001 offset"), std::string::npos);
}

// Power loss at every disk call of a repair: at each start the node knows its term and vote, is
// under repair or was told to be whole, and what it was told is durable is there.
void crash_at_every_point_of_a_repair(const std::function<void(Node& node)>& damage) {
  uint64_t points = 0;
  for (uint64_t freeze_at = 1;; ++freeze_at) {
    Node node(freeze_at);
    node.start();
    for (uint64_t i = 1; i <= 9; ++i) {
      ASSERT_TRUE(node.write({HardState{Term(i), kNoNode}, {entry(i, i, "some command")}}));
    }
    damage(node);
    ASSERT_TRUE(node.restart().repairing);
    const size_t before = node.world.points.size();
    node.world.freeze_at = before + freeze_at;
    HardState hard_state{Term(9), kNoNode};
    uint64_t entries = 0;
    bool whole = false;
    const auto live = [&] {
      if (!node.write(HardState{Term(11), NodeId(2)})) return;
      hard_state = {Term(11), NodeId(2)};
      for (uint64_t i = 1; i <= 8; ++i) {
        if (!node.write({entry(i, 11, "fetched")})) return;
        entries = i;
      }
      StorageWrite mark;
      mark.whole = true;
      if (!node.write(mark)) return;
      whole = true;
      if (node.write({entry(9, 11, "new")})) entries = 9;
    };
    live();
    points = node.world.points.size() - before;
    const bool ended = points < freeze_at;
    node.world.freeze_at = 0;
    const Recovered recovered = node.restart();
    ASSERT_TRUE(recovered.outcome == Outcome::kWhole || recovered.repairing)
        << freeze_at << ": " << recovered.message;
    ASSERT_TRUE(!whole || recovered.outcome == Outcome::kWhole) << freeze_at;
    ASSERT_GE(recovered.hard_state.term, hard_state.term) << freeze_at;
    ASSERT_GE(recovered.entries.size(), entries) << freeze_at;
    ASSERT_TRUE(!recovered.repairing || node.write(HardState{Term(12), NodeId(2)}));
    if (ended) break;
  }
  EXPECT_GT(points, 60u);
}

TEST(WalRepair, CrashAtEveryDiskPoint) {
  crash_at_every_point_of_a_repair([](Node& node) { node.world.flip(segment_name(1), 400, 1); });
}

// Its files go one by one, so that a start may find the damage again.
TEST(WalRepair, CrashAtEveryDiskPointWithAStrayHeader) {
  crash_at_every_point_of_a_repair([](Node& node) {
    node.world.poke(segment_name(2), 0, node.media(1).substr(0, kSegmentRecordBytes));
  });
}

TEST(WalRepair, CrashAtEveryDiskPointWithAShortFile) {
  crash_at_every_point_of_a_repair([](Node& node) {
    node.world.disk.truncate(segment_name(1), 300, 0);
    node.world.poke(segment_name(1), 0, "x");
  });
}

TEST_F(WalDamage, AFlippedByteOfTheLastBatchIsCutAndSaid) {
  const std::vector<uint64_t> batch_ends = ends_in(3);
  const std::string name = segment_name(3);
  for (uint64_t offset = batch_ends[batch_ends.size() - 2]; offset < batch_ends.back(); ++offset) {
    node.world.flip(name, offset, 4);
    const Recovered recovered = node.start();
    ASSERT_EQ(recovered.outcome, Outcome::kWhole) << recovered.message;
    ASSERT_EQ(recovered.entries.size(), kEntryCount - 1);
    ASSERT_GT(recovered.torn_bytes, 0u);
    ASSERT_NE(recovered.message.find(name), std::string::npos);
    node.world.flip(name, offset, 4);
  }
}

TEST_F(WalDamage, StrayBytesBehindTheEndLoseNothing) {
  const std::vector<uint64_t> all[] = {ends_in(1), ends_in(2), ends_in(3), {0}};
  for (uint64_t segment = 1; segment <= 4; ++segment) {
    for (uint64_t offset = all[segment - 1].back(); offset < 1024; offset += 3) {
      node.world.flip(segment_name(segment), offset, 8);
      const Recovered recovered = node.start();
      ASSERT_EQ(recovered.outcome, Outcome::kWhole) << recovered.message;
      ASSERT_EQ(recovered.entries.size(), kEntryCount);
      ASSERT_EQ(recovered.torn_bytes > 0, segment >= 3);
      node.world.flip(segment_name(segment), offset, 8);
    }
  }
}

// Nothing is written behind bytes of unknown origin: the log goes on in a new segment.
TEST_F(WalDamage, ATornTailIsNeverWrittenBehind) {
  const std::string before = node.media(3);
  node.world.flip(segment_name(3), 1000, 8);
  node.world.flip(segment_name(4), 700, 8);
  ASSERT_EQ(node.start().outcome, Outcome::kWhole);
  const std::string torn = node.media(3);
  ASSERT_TRUE(node.write({entry(kEntryCount + 1, 99, "next")}));
  EXPECT_EQ(node.media(3), torn);
  EXPECT_EQ(node.wal->end().segment, 5u);
  const Recovered recovered = node.restart();
  EXPECT_EQ(recovered.outcome, Outcome::kWhole);
  EXPECT_EQ(recovered.message, "") << "the cut was said once; now it is part of the log";
  EXPECT_EQ(recovered.entries.size(), kEntryCount + 1);
}

TEST_F(WalDamage, AMissingSegmentIsSaid) {
  for (uint64_t segment = 1; segment <= 3; ++segment) {
    node.world.disk.rename(segment_name(segment), "elsewhere", 0);
    const Recovered recovered = node.start();
    EXPECT_EQ(recovered.outcome, Outcome::kDamaged);
    EXPECT_NE(recovered.message.find(segment_name(segment)), std::string::npos);
    node.world.disk.rename("elsewhere", segment_name(segment), 0);
  }
}

TEST_F(WalDamage, AShortenedFileIsSaid) {
  for (const uint64_t bytes : {0u, 300u, 1023u}) {
    for (uint64_t segment = 1; segment <= 3; ++segment) {
      const std::string whole = node.media(segment);
      node.world.disk.truncate(segment_name(segment), bytes, 0);
      EXPECT_EQ(node.start().outcome, Outcome::kDamaged) << segment << " to " << bytes;
      node.world.poke(segment_name(segment), 0, whole);
    }
  }
}

TEST(WalDamageOfLargeSegments, AFileThatLostItsEndIsSaid) {
  Node node(1, {8192, 8192});
  node.start();
  for (uint64_t i = 1; i <= 20; ++i) ASSERT_TRUE(node.write({entry(i, 1, "a command")}));
  ASSERT_GT(node.wal->end().offset, 2048u);
  node.world.disk.truncate(segment_name(1), 2048, 0);
  const Recovered recovered = node.start();
  EXPECT_EQ(recovered.outcome, Outcome::kDamaged);
  EXPECT_NE(recovered.message.find("shorter now"), std::string::npos) << recovered.message;
}

TEST_F(WalDamage, AHeaderThatContradictsTheLogIsSaid) {
  const auto poke_header = [&](auto change) {
    SegmentHeader header;
    for_each_record(node.media(2), [&](size_t, const RecordView& record) {
      return to_segment_header(record, header);
    });
    change(header);
    std::string bytes;
    append_segment_record(header, bytes);
    node.world.poke(segment_name(2), 0, bytes);
    return node.start().outcome;
  };
  const std::string header = node.media(2).substr(0, kSegmentRecordBytes);
  const auto damages = [&](auto change) {
    const Outcome outcome = poke_header(change);
    node.world.poke(segment_name(2), 0, header);
    return outcome == Outcome::kDamaged;
  };
  EXPECT_TRUE(damages([](SegmentHeader& h) { ++h.hard_state.term; }));
  EXPECT_TRUE(damages([](SegmentHeader& h) { h.hard_state.voted_for = NodeId(2); }));
  EXPECT_TRUE(damages([](SegmentHeader& h) { ++h.last.index; }));
  EXPECT_TRUE(damages([](SegmentHeader& h) { h.previous_end.offset -= 8; }));
  EXPECT_TRUE(damages([](SegmentHeader& h) { h.previous_end.offset += 8; }));
  EXPECT_TRUE(damages([](SegmentHeader& h) { h.previous_end.offset = 0; }));
  EXPECT_TRUE(damages([](SegmentHeader& h) { h.previous_end.offset = 1 << 20; }));
  EXPECT_TRUE(damages([](SegmentHeader& h) { h.previous_end.segment = 2; }));
  EXPECT_TRUE(damages([](SegmentHeader& h) { h.previous_end.segment = 0; }));
  EXPECT_FALSE(damages([](SegmentHeader&) {}));
}

TEST_F(WalDamage, ABatchOrSegmentInTheWrongPlaceIsSaid) {
  const std::string first = node.media(1);
  const uint64_t end = ends_in(3).back();
  const std::string batch = first.substr(ends_in(1)[0], ends_in(1)[1] - ends_in(1)[0]);
  node.world.poke(segment_name(3), end, batch);
  Recovered recovered = node.start();
  EXPECT_EQ(recovered.outcome, Outcome::kDamaged);
  EXPECT_NE(recovered.message.find("a batch that belongs to segment 1"), std::string::npos)
      << recovered.message;

  node.world.poke(segment_name(3), 0, first);
  recovered = node.start();
  EXPECT_EQ(recovered.outcome, Outcome::kDamaged);
  EXPECT_NE(recovered.message.find("the header of segment wal-0000000000000001"), std::string::npos)
      << recovered.message;
}

TEST_F(WalDamage, ASegmentOfAnotherDirectoryIsSaid) {
  Node other(2);
  Identity identity = kIdentity;
  identity.directory_id = 7;
  other.start(identity);
  for (uint64_t i = 1; i <= kEntryCount; ++i) {
    ASSERT_TRUE(
        other.write({HardState{Term(i), kNoNode}, {entry(i, i, "a command of some length")}}));
  }
  node.world.poke(segment_name(2), 0, other.media(2));
  const Recovered recovered = node.start();
  EXPECT_EQ(recovered.outcome, Outcome::kRefused);
  EXPECT_NE(recovered.message.find(
                "wal-0000000000000002 is of the data directory with id 0000000000000007, and this "
                "one has id 1234567890abcdef"),
            std::string::npos)
      << recovered.message;
}

// Command bytes that imitate a batch must not make a torn write look like damage.
TEST(WalCrash, CommandsCannotPassForABatch) {
  Node node(1, {8192, 8192});
  node.start();
  ASSERT_TRUE(node.write({entry(1, 1, "first")}));
  const uint64_t batch = node.wal->end().offset;
  std::string forged;
  while (forged.size() < 3000) {
    BatchHeader header;
    header.own = {1, batch + kBatchRecordBytes + kRecordHeaderBytes + forged.size()};
    header.proven = header.own;
    header.directory_id = 0;  // the one thing a client does not know
    append_batch_record(header, forged);
  }
  ASSERT_TRUE(node.write({entry(2, 1, forged)}));
  node.world.flip(segment_name(1), batch + 200, 1);
  const Recovered recovered = node.start();
  EXPECT_EQ(recovered.outcome, Outcome::kWhole) << recovered.message;
  EXPECT_EQ(recovered.entries.size(), 1u);
}

// ---- Refusal ----

TEST(WalRefusal, AnotherNodesDirectory) {
  Node node(1);
  node.start();
  ASSERT_TRUE(node.write(HardState{Term(1), kNoNode}));
  const auto refused = [&](Identity identity) {
    const Recovered recovered = node.start(identity);
    EXPECT_NE(recovered.message, "");
    return recovered.outcome == Outcome::kRefused;
  };
  EXPECT_TRUE(refused({99, 12, NodeId(3), kIdentity.directory_id}));
  EXPECT_TRUE(refused({11, 99, NodeId(3), kIdentity.directory_id}));
  EXPECT_TRUE(refused({11, 12, NodeId(99), kIdentity.directory_id}));
  EXPECT_TRUE(refused({11, 12, NodeId(3), kIdentity.directory_id + 1}));
  EXPECT_EQ(node.start(kIdentity).outcome, Outcome::kWhole);
}

class WalFormat : public ::testing::TestWithParam<uint64_t> {};

TEST_P(WalFormat, AnotherOneIsRefused) {
  Node node(1);
  std::string payload(200, '\0');
  payload[0] = static_cast<char>(GetParam());
  RecordView record;
  record.type = RecordType::kSegment;
  record.index = 1;
  record.payload = payload;
  std::string segment;
  append_record(record, segment);
  segment.resize(1024);
  node.world.poke_new(segment_name(1), segment);
  const Recovered recovered = node.start();
  EXPECT_EQ(recovered.outcome, Outcome::kRefused);
  EXPECT_NE(recovered.message.find(
                fmt::format("log format {}, this program reads {}", GetParam(), kLogFormatVersion)),
            std::string::npos)
      << recovered.message;
}

INSTANTIATE_TEST_SUITE_P(OlderAndNewer, WalFormat,
                         ::testing::Values(kLogFormatVersion - 1, kLogFormatVersion + 1));

// A snapshot's file of which this program knows no more than the header's first word.
std::string snapshot_of_format(uint64_t format) {
  std::string payload(200, '\0');
  payload[0] = static_cast<char>(format);
  std::string bytes;
  append_record({.type = RecordType::kSnapshot,
                 .index = 50,
                 .term = 1,
                 .log_time_ns = 1000,
                 .payload = payload},
                bytes);
  return bytes + "what only the other release can read";
}

// Damage would be repaired, and what cannot be read removed.
TEST(WalRefusal, ASnapshotOfAnotherFormat) {
  constexpr uint64_t kFormat = kSnapshotFormatVersion + 8;
  const std::string name = snapshot_name(LogIndex(50));
  for (const bool log_damaged : {false, true}) {
    Node node(1);
    node.start();
    for (uint64_t i = 1; i <= 60; ++i) {
      ASSERT_TRUE(node.write(std::vector<Entry>{entry(i, 1, "some command")}));
    }
    ASSERT_TRUE(node.write_snapshot(EntryMark{LogIndex(50), Term(1), LogTime(50'000)}, {"state"}));
    node.wal->compact(LogIndex(50));
    node.world.run();
    node.world.poke(name, 0, snapshot_of_format(kFormat));
    if (log_damaged) node.world.flip(segment_name(node.wal->end().segment - 1), 200, 1);
    const std::vector<std::string> files = node.world.disk.list();
    const Recovered recovered = node.start();
    EXPECT_EQ(recovered.outcome, Outcome::kRefused);
    EXPECT_EQ(recovered.message,
              fmt::format("{} has snapshot format {}, this program reads {}: start the release "
                          "that wrote it",
                          name, kFormat, kSnapshotFormatVersion));
    node.world.run();
    EXPECT_EQ(node.world.disk.list(), files) << "nothing was repaired";
  }
}

// ---- Snapshots and compaction ----

std::vector<Entry> run_of(uint64_t first, uint64_t last, uint64_t term = 1) {
  std::vector<Entry> entries;
  for (uint64_t i = first; i <= last; ++i) entries.push_back(entry(i, term, "some command"));
  return entries;
}

EntryMark mark(uint64_t index, uint64_t term = 1) {
  return {LogIndex(index), Term(term), LogTime(index * 1000)};
}

size_t segment_count(Node& node) {
  size_t count = 0;
  for (const std::string& name : node.world.disk.list()) count += segment_number(name).has_value();
  return count;
}

TEST(WalSnapshot, ComesBackWithItsPieces) {
  Node node(1);
  node.start();
  node.write(run_of(1, 5));
  ASSERT_TRUE(node.write_snapshot(mark(3), {"one", "two", std::string(3000, 'x')}));
  const Recovered recovered = node.restart();
  ASSERT_EQ(recovered.outcome, Outcome::kWhole);
  ASSERT_TRUE(recovered.snapshot);
  EXPECT_EQ(recovered.snapshot->last, mark(3));
  EXPECT_EQ(recovered.pieces, (std::vector<std::string>{"one", "two", std::string(3000, 'x')}));
  EXPECT_EQ(recovered.entries, run_of(1, 5)) << "nothing was compacted";
  EXPECT_EQ(recovered.base, EntryMark{});
  node.wal->read_piece(*recovered.snapshot, 1);
  node.wal->read_piece(SnapshotId{mark(4), 1, 1}, 0);
  node.world.run();
  EXPECT_EQ(node.pieces_read, (std::vector<std::pair<uint64_t, std::string>>{{1, "two"}, {0, ""}}));
}

TEST(WalSnapshot, CompactionRemovesWholeSegmentsAndKeepsTheRest) {
  Node node(1);
  node.start();
  for (uint64_t i = 1; i <= 60; ++i) node.write(run_of(i, i));
  const size_t before = segment_count(node);
  ASSERT_TRUE(node.write_snapshot(mark(50), {"state"}));
  node.wal->compact(LogIndex(40));
  node.world.run();
  EXPECT_LT(segment_count(node) + 3, before);
  const Recovered recovered = node.restart();
  ASSERT_EQ(recovered.outcome, Outcome::kWhole) << recovered.message;
  EXPECT_GT(recovered.base.index, LogIndex(20));
  EXPECT_LE(recovered.base.index, LogIndex(40));
  EXPECT_EQ(recovered.base, mark(recovered.base.index.value()));
  EXPECT_EQ(recovered.entries, run_of(recovered.base.index.value() + 1, 60));
}

TEST(WalSnapshot, ALogBehindItsSnapshotBeginsAnew) {
  Node node(1);
  node.start();
  node.write({HardState{Term(2), NodeId(1)}, run_of(1, 5)});
  ASSERT_TRUE(node.write_snapshot(mark(9, 2), {"state"}));  // as a leader's, just installed
  Recovered recovered = node.restart();
  ASSERT_EQ(recovered.outcome, Outcome::kWhole);
  EXPECT_EQ(recovered.base, mark(9, 2));
  EXPECT_TRUE(recovered.entries.empty());
  EXPECT_EQ(recovered.hard_state, (HardState{Term(2), NodeId(1)}));
  ASSERT_TRUE(node.write(run_of(10, 12, 3)));
  recovered = node.restart();
  ASSERT_EQ(recovered.outcome, Outcome::kWhole) << recovered.message;
  EXPECT_EQ(recovered.base, mark(9, 2));
  EXPECT_EQ(recovered.entries, run_of(10, 12, 3));
}

TEST(WalSnapshot, AConflictingLogGoes) {
  Node node(1);
  node.start();
  node.write(run_of(1, 9, 1));
  ASSERT_TRUE(node.write_snapshot(mark(5, 2), {"state"}));
  ASSERT_TRUE(node.write({std::nullopt, run_of(6, 7, 2), mark(5, 2)}));
  const Recovered recovered = node.restart();
  ASSERT_EQ(recovered.outcome, Outcome::kWhole);
  EXPECT_EQ(recovered.base, mark(5, 2));
  EXPECT_EQ(recovered.entries, run_of(6, 7, 2));
}

TEST(WalSnapshot, AnUnreadableOneIsNamedAndTheLogServes) {
  Node node(1);
  node.start();
  node.write(run_of(1, 5));
  ASSERT_TRUE(node.write_snapshot(mark(3), {"state"}));
  const std::string name = snapshot_name(LogIndex(3));
  std::string bytes(*node.world.disk.media(name));
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string rotten = bytes;
    rotten[at] = static_cast<char>(rotten[at] ^ 0x10);
    node.world.poke(name, 0, rotten);
    const Recovered recovered = node.start();
    ASSERT_EQ(recovered.outcome, Outcome::kWhole);
    EXPECT_FALSE(recovered.snapshot) << at;
    EXPECT_NE(recovered.message.find(name), std::string::npos);
    EXPECT_EQ(recovered.entries, run_of(1, 5));
  }
}

TEST(WalSnapshot, AnUnreadableOneBehindACompactedLogIsDamage) {
  Node node(1);
  node.start();
  for (uint64_t i = 1; i <= 60; ++i) node.write(run_of(i, i));
  ASSERT_TRUE(node.write_snapshot(mark(50), {"state"}));
  node.wal->compact(LogIndex(50));
  node.world.run();
  const std::string name = snapshot_name(LogIndex(50));
  node.world.poke(name, 85, "rot");
  const Recovered recovered = node.start();
  EXPECT_EQ(recovered.outcome, Outcome::kDamaged);
  EXPECT_NE(recovered.message.find(name), std::string::npos) << recovered.message;
}

TEST(WalSnapshot, ADroppedOneLeavesNothingBehind) {
  Node node(1);
  node.start();
  node.write(run_of(1, 5));
  node.wal->begin_snapshot(mark(2));
  node.wal->write_piece("of the first");
  node.wal->begin_snapshot(mark(4));  // its call is still under way
  node.wal->write_piece("of the second");
  node.world.run();
  node.wal->finish_snapshot();
  node.world.run();
  const Recovered recovered = node.restart();
  ASSERT_TRUE(recovered.snapshot);
  EXPECT_EQ(recovered.snapshot->last, mark(4));
  EXPECT_EQ(recovered.pieces, (std::vector<std::string>{"of the second"}));
}

// The last call of a dropped one completes long after that of the one dropped behind it: each uses
// a buffer of its own until then.
TEST(WalSnapshot, CallsOfDroppedOnesCompleteInAnyOrder) {
  Node node(1);
  node.start();
  node.write(run_of(1, 9));
  node.wal->begin_snapshot(mark(2));
  node.wal->write_piece(std::string(200, 'a'));
  node.world.run();
  node.world.disk.set_latency({Duration(10), Duration(10), Duration(10), Duration(10)});
  node.wal->finish_snapshot();
  const std::string name = snapshot_name(LogIndex(2));
  // Up to the sync of its directory, behind which it is read back, slowly.
  while (!node.world.disk.size(name)) ASSERT_TRUE(node.world.step());
  node.world.disk.set_slowdown(1000);
  ASSERT_TRUE(node.world.step());
  ASSERT_TRUE(node.world.step());
  node.world.disk.set_slowdown(1);
  for (uint64_t last = 4; last <= 8; last += 2) {
    node.wal->begin_snapshot(mark(last));
    node.wal->write_piece("piece");
    ASSERT_TRUE(node.world.step());
  }
  node.world.run();
  node.wal->finish_snapshot();
  node.world.run();
  const Recovered recovered = node.restart();
  ASSERT_TRUE(recovered.snapshot);
  EXPECT_EQ(recovered.snapshot->last, mark(8));
}

// A life of writes, snapshots and compactions, with a crash at each disk call in turn: what was
// acknowledged is there, in the log or in a snapshot that covers it.
TEST(WalSnapshot, CrashAtEveryDiskPoint) {
  for (uint64_t seed = 0; seed < effort(6); ++seed) {
    uint64_t point_count = 1;
    for (uint64_t point = 0; point <= point_count; ++point) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << " point " << point);
      Node node(seed * 1000 + point);
      if (seed % 2 == 1) {
        node.world.disk.set_latency({Duration(1), Duration(100), Duration(1), Duration(1000)});
      }
      node.start();
      node.world.freeze_at = point;
      uint64_t acknowledged = 0;
      uint64_t saved = 0;
      for (uint64_t i = 1; i <= 40 && !node.world.disk.frozen(); ++i) {
        if (node.write({std::nullopt, run_of(i, i)}, i % 3 == 0)) acknowledged = i;
        if (i % 9 != 0 || node.world.disk.frozen()) continue;
        if (!node.write_snapshot(mark(i), {"up to", std::to_string(i)})) continue;
        saved = i;
        node.wal->compact(LogIndex(i - seed % 4));
      }
      if (point == 0) {
        node.world.run();
        point_count = node.world.points.size();
        ASSERT_GT(point_count, 100u);
      }
      node.world.freeze_at = 0;
      if (point % 5 != 0) node.world.disk.crash();
      const Recovered recovered = node.start();
      const bool empty = acknowledged == 0 && recovered.outcome == Outcome::kEmpty;
      ASSERT_TRUE(empty || recovered.outcome == Outcome::kWhole) << recovered.message;
      const uint64_t covered = recovered.snapshot ? recovered.snapshot->last.index.value() : 0;
      ASSERT_GE(covered, saved);
      if (covered > 0) {
        ASSERT_EQ(recovered.pieces, (std::vector<std::string>{"up to", std::to_string(covered)}));
      }
      const uint64_t base = recovered.base.index.value();
      ASSERT_LE(base, covered);
      ASSERT_GE(base + recovered.entries.size(), acknowledged);
      ASSERT_EQ(recovered.entries, run_of(base + 1, base + recovered.entries.size()));
      if (base > 0) {
        ASSERT_EQ(recovered.base, mark(base));
      }
      // And it goes on.
      const uint64_t next = base + recovered.entries.size() + 1;
      ASSERT_TRUE(node.write(run_of(next, next)));
      ASSERT_TRUE(node.write_snapshot(mark(next), {"up to", std::to_string(next)}));
      node.wal->compact(LogIndex(next));
      node.world.run();
      ASSERT_EQ(node.restart().snapshot->last, mark(next));
    }
  }
}

// ---- Failing disks ----

// Every disk call of a run fails in turn: from then on nothing is acknowledged, nothing is written.
TEST(WalFailure, AnyFailedCallStopsTheLog) {
  for (const DiskCall call : {DiskCall::kWrite, DiskCall::kSync, DiskCall::kCreate,
                              DiskCall::kRename, DiskCall::kSyncDirectory}) {
    for (uint64_t after = 1; after <= 16; ++after) {  // of writes, 4 are zeros for each segment
      Node node(after);
      node.start();
      node.world.disk.set_faults(true);
      node.world.fault_call = call;
      node.world.fault_after = after;
      State state;
      uint64_t index = 1;
      for (; index < 100; ++index) {
        const StorageWrite write{std::nullopt, {entry(index, 1, "a command of some length")}};
        if (!node.write(write)) break;
        state.apply(write, 1);
      }
      ASSERT_LT(index, 100u);
      EXPECT_NE(node.error.find("io_error"), std::string::npos);
      const size_t synced = node.world.synced.size();
      EXPECT_FALSE(node.write({entry(index + 1, 1, "x")}));
      EXPECT_FALSE(node.write(HardState{Term(9), kNoNode}));
      EXPECT_EQ(node.world.synced.size(), synced);

      const Recovered recovered = node.restart();
      ASSERT_NE(recovered.outcome, Outcome::kDamaged) << recovered.message;
      ASSERT_GE(recovered.entries.size(), state.entries.size());
    }
  }
}

// A sync that fails while nobody waits for a write: of the spare, of a snapshot. Said at once.
TEST(WalFailure, AFailedSyncInTheBackgroundStopsTheLog) {
  Node spare(1);
  spare.start();
  // So much that the next segment is prepared to the end.
  ASSERT_TRUE(spare.write({std::nullopt, {entry(1, 1, std::string(500, 'a'))}}, false));
  spare.world.disk.fail_next_sync(true);
  spare.world.run();
  EXPECT_FALSE(spare.durable);
  EXPECT_NE(spare.error.find("sync of wal-0000000000000002.new failed: io_error"),
            std::string::npos)
      << spare.error;

  Node snapshot(1);
  snapshot.start();
  ASSERT_TRUE(snapshot.write({entry(1, 1, "a")}));
  snapshot.wal->begin_snapshot(mark(1));
  snapshot.wal->write_piece("piece");
  snapshot.world.run();
  snapshot.world.disk.fail_next_sync(true);
  snapshot.wal->finish_snapshot();
  snapshot.world.run();
  EXPECT_FALSE(snapshot.durable);
  EXPECT_EQ(snapshot.error, "sync of a snapshot failed: io_error");
  EXPECT_FALSE(snapshot.write({entry(2, 1, "b")}));
}

// ---- A full disk ----

// The log fills what it has, keeps its reserve for votes, loses nothing, and goes on.
TEST(WalFullDisk, EntriesWaitVotesDoNotAndAllGoesOnByItself) {
  Node node(3);
  node.start();
  State state;
  uint64_t index = 0;
  const auto next = [&] {
    ++index;
    return StorageWrite{std::nullopt, {entry(index, 1, "a command of some length")}};
  };
  for (int i = 0; i < 3; ++i) {
    const StorageWrite write = next();
    ASSERT_TRUE(node.write(write));
    state.apply(write, 1);
  }
  node.world.disk.set_capacity(node.world.disk.used_bytes() + 300);
  while (!node.wal->is_full()) {
    const StorageWrite write = next();
    ASSERT_TRUE(node.write(write));
    state.apply(write, 1);
  }
  // In the reserve.
  for (uint64_t term = 2; term <= 3; ++term) {
    ASSERT_TRUE(node.write(HardState{Term(term), NodeId(1)}));
  }
  const std::string before = node.error;
  StorageWrite waiting = next();
  waiting.entries[0].data = Bytes(std::string(500, 'x'));
  ASSERT_FALSE(node.write(waiting)) << "there is no room";
  node.wal->try_again();
  node.world.run();
  EXPECT_EQ(node.error, before) << "waits; fails not";
  EXPECT_TRUE(node.wal->is_full());

  node.world.disk.set_capacity(UINT64_MAX);
  node.durable = false;
  node.wal->try_again();
  node.world.run();
  EXPECT_TRUE(node.durable);
  EXPECT_FALSE(node.wal->is_full());
  const Recovered recovered = node.restart();
  EXPECT_EQ(recovered.outcome, Outcome::kWhole) << recovered.message;
  EXPECT_EQ(recovered.entries.size(), index);
  EXPECT_EQ(recovered.hard_state, (HardState{Term(3), NodeId(1)}));
}

TEST(WalFullDisk, AFirstStartWithoutRoomWaits) {
  Node node(1);
  node.world.disk.set_capacity(500);
  node.start();
  ASSERT_FALSE(node.write(HardState{Term(1), NodeId(1)}));
  EXPECT_TRUE(node.wal->is_full());
  node.world.disk.set_capacity(10'000);
  node.wal->try_again();
  node.world.run();
  EXPECT_TRUE(node.durable);
  EXPECT_FALSE(node.wal->is_full());
  EXPECT_EQ(node.restart().hard_state, (HardState{Term(1), NodeId(1)}));
}

TEST(WalFullDisk, ASnapshotWithoutRoomIsGivenUpAndGivesItsPartBack) {
  Node node(1);
  node.start();
  ASSERT_TRUE(node.write({entry(1, 1, "a")}));
  const uint64_t used = node.world.disk.used_bytes();
  node.world.disk.set_capacity(used + 600);
  EXPECT_FALSE(node.write_snapshot(mark(1), {std::string(400, 'a'), std::string(400, 'b')}));
  node.world.run();
  EXPECT_NE(node.error.find("no_space"), std::string::npos);
  EXPECT_EQ(node.world.disk.used_bytes(), used);
  EXPECT_TRUE(node.write({entry(2, 1, "b")})) << "the log is not touched";
  node.world.disk.set_capacity(UINT64_MAX);
  EXPECT_TRUE(node.write_snapshot(mark(1), {std::string(400, 'a'), std::string(400, 'b')}));
}

// Also while a write waits for the spare; and what found no room gives back what it had taken.
TEST(WalFullDisk, WhatASnapshotCoversMakesRoomForTheSpare) {
  Node node(1);
  node.start();
  uint64_t index = 0;
  const auto next = [&] {
    ++index;
    return StorageWrite{std::nullopt, {entry(index, 1, "a command of some length")}};
  };
  while (segment_count(node) < 4) ASSERT_TRUE(node.write(next()));
  const uint64_t used = node.world.disk.used_bytes();
  node.world.disk.set_capacity(used + node.config.segment_bytes - 100);
  while (!node.wal->is_full()) ASSERT_TRUE(node.write(next()));
  EXPECT_EQ(node.world.disk.used_bytes(), used) << "what the next segment had taken is given back";
  EXPECT_EQ(node.wal->room_needed_bytes(), node.config.segment_bytes);
  const uint64_t held = index;
  while (node.write(next())) {
  }
  ASSERT_TRUE(node.write_snapshot(mark(held), {std::string(500, 's')}));
  node.wal->try_again();
  node.world.run();
  EXPECT_TRUE(node.wal->is_full()) << "the log has what it had";

  node.durable = false;
  node.wal->compact(LogIndex(held));
  node.world.run();
  node.wal->try_again();
  node.world.run();
  EXPECT_TRUE(node.durable) << "the write that waited";
  EXPECT_FALSE(node.wal->is_full());
  EXPECT_EQ(node.wal->room_needed_bytes(), 0u);
  const Recovered recovered = node.restart();
  EXPECT_EQ(recovered.outcome, Outcome::kWhole) << recovered.message;
  EXPECT_EQ(recovered.base.index + recovered.entries.size(), LogIndex(index));
}

// A write in flight may be the one that begins the segment which would take over.
TEST(WalFullDisk, NothingIsRemovedBehindAWriteUnderWay) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Node node(seed);
    node.start();
    uint64_t index = 0;
    while (node.wal->end().segment < 2) {
      node.world.run();
      ASSERT_TRUE(index == 0 || node.write_snapshot(mark(index), {"state"}));
      ++index;
      node.durable = false;
      node.wal->write({std::nullopt, {entry(index, 1, "a command of some length")}});
    }
    node.wal->compact(LogIndex(index - 1));
    while (!node.durable && node.world.step()) {
      ASSERT_TRUE(node.durable || node.world.disk.size(segment_name(1))) << seed;
    }
    node.world.run();
    EXPECT_EQ(node.media(1), "") << "now it goes";
    EXPECT_EQ(node.restart().outcome, Outcome::kWhole);
  }
}

// ---- Arbitrary bytes ----

// Recovery ends, and shows no entry that was not written there.
RC_GTEST_PROP(WalProperty, AnyBytesAreReadSafely, ()) {
  const uint64_t seed = *rc::gen::arbitrary<uint64_t>();
  Node node(seed, random_config(seed));
  node.start();
  State state;
  std::vector<Entry> written;
  for (uint64_t i = 0; i < 12; ++i) {
    const StorageWrite write = random_write(seed, i, state, 200);
    RC_ASSERT(node.write(write));
    state.apply(write, write.entries.size());
    written.insert(written.end(), write.entries.begin(), write.entries.end());
  }
  const std::vector<std::string> files = node.world.disk.list();
  const auto wound_count = *rc::gen::inRange<uint64_t>(1, 6);
  for (uint64_t i = 0; i < wound_count; ++i) {
    const std::string& file = files[draw(seed, 60, i) % files.size()];
    const std::string& source = files[draw(seed, 61, i) % files.size()];
    std::string bytes;
    node.world.disk.read(source, draw(seed, 62, i) % 200 * 8, draw(seed, 63, i) % 600, bytes);
    const std::string noise = random_data(seed, i + 10000, 600);
    const uint64_t at = draw(seed, 64, i) % 200 * 8;
    switch (draw(seed, 65, i) % 5) {
      case 0: node.world.poke(file, at, noise); break;
      case 1: node.world.poke(file, at, bytes); break;
      case 2: node.world.disk.truncate(file, at, 0); break;
      case 3: node.world.disk.rename(file, source, 0); break;
      default: node.world.poke_new(segment_name(1 + draw(seed, 66, i) % 12), noise); break;
    }
  }
  const Recovered recovered = node.restart();
  for (const Entry& each : recovered.entries) {
    RC_ASSERT(std::find(written.begin(), written.end(), each) != written.end());
  }
  const bool sound = recovered.outcome == Outcome::kWhole || recovered.outcome == Outcome::kEmpty;
  RC_ASSERT(sound || !recovered.message.empty());
  if (!sound && !recovered.repairing) return;
  RC_ASSERT(node.write(HardState{Term(100), kNoNode}));
  const Recovered again = node.restart();
  RC_ASSERT(again.outcome == Outcome::kWhole || again.repairing);
  RC_ASSERT(again.repairing == recovered.repairing);
  RC_ASSERT(again.hard_state.term == Term(100));
}

RC_GTEST_PROP(WalProperty, NoiseIsReadSafely, (const std::vector<std::string>& contents)) {
  Node node(1);
  for (size_t i = 0; i < contents.size(); ++i) {
    std::string bytes;
    while (!contents[i].empty() && bytes.size() < 1500) bytes += contents[i];
    node.world.poke_new(segment_name(i + 1), bytes);
  }
  RC_ASSERT(node.start().entries.empty());
}

TEST(WalRefusal, OddNamesAreNotSegments) {
  EXPECT_EQ(segment_number(segment_name(255)), 255u);
  EXPECT_EQ(segment_number(segment_name(UINT64_MAX)), UINT64_MAX);
  for (const char* name : {"", "wal-", "wal-0000000000000000", "wal-00000000000000AB",
                           "wal-0000000000000001.new", "wal-000000000000001", "snapshot-1"}) {
    EXPECT_EQ(segment_number(name), std::nullopt) << name;
  }
  Node node(1);
  node.world.poke_new("wal-ffffffffffffffff", std::string(2000, 'x'));
  EXPECT_EQ(node.start().outcome, Outcome::kDamaged);
}

// ---- The format ----

// The bytes in a block of storage/README.md: "offset: bytes # comment" on each line.
std::string readme_example(const std::string& block) {
  std::ifstream readme("storage/README.md");
  EXPECT_TRUE(readme.is_open()) << "tests run at the top of the tree";
  std::string line;
  while (std::getline(readme, line) && line != "```" + block) {
  }
  std::string bytes;
  while (std::getline(readme, line) && line != "```") {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string word;
    words >> word;
    EXPECT_EQ(std::stoul(word, nullptr, 16), bytes.size()) << line;
    while (words >> word) bytes += static_cast<char>(std::stoul(word, nullptr, 16));
  }
  return bytes;
}

TEST(WalFormat, TheReadmesExampleIsTrue) {
  Node node(1);
  node.start({0x1111, 0x22, NodeId(3), 0x0123456789abcdef});
  ASSERT_TRUE(node.write({HardState{Term(5), NodeId(3)}, {entry(1, 5, "hi")}}));
  const std::string wanted = readme_example("hex");
  const std::string media = node.media(1);
  EXPECT_EQ(media.substr(0, wanted.size()), wanted);
  EXPECT_EQ(media.find_first_not_of('\0', wanted.size()), std::string::npos);
}

TEST(WalFormat, TheReadmesSnapshotIsTrue) {
  Node node(1);
  node.start({0x1111, 0x22, NodeId(3), 0x0123456789abcdef});
  ASSERT_TRUE(node.write({HardState{Term(5), NodeId(3)}, {entry(1, 5, "hi")}}));
  ASSERT_TRUE(node.write_snapshot({LogIndex(1), Term(5), LogTime(1000)}, {"state"}));
  EXPECT_EQ(node.world.disk.media(snapshot_name(LogIndex(1))), readme_example("hex snapshot"));
}

TEST(WalFormat, TheParserFollowsWhatASyncedWritePutOnTheMedia) {
  Node node(1);
  node.start();
  std::vector<Entry> found;
  HardState hard_state;
  for (uint64_t i = 1; i <= 50; ++i) {
    ASSERT_TRUE(node.write({HardState{Term(i), kNoNode}, {entry(i, i, "data")}}));
  }
  for (const DiskWorld::Synced& synced : node.world.synced) {
    const size_t parsed = for_each_record(synced.bytes, [&](size_t, const RecordView& record) {
      Entry each;
      if (to_entry(record, each)) found.push_back(each);
      to_hard_state(record, hard_state);
      return true;
    });
    EXPECT_TRUE(parsed == synced.bytes.size() || synced.file.ends_with(".new"));
  }
  EXPECT_EQ(found.size(), 50u);
  EXPECT_EQ(hard_state.term, Term(50));
  EXPECT_EQ(found, node.restart().entries);
}

}  // namespace
}  // namespace tally
