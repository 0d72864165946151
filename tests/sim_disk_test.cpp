// SimDisk: what is durable when, and what a crash may leave.

#include "sim/sim_disk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "tests/disk_world.h"

namespace tally::sim {
namespace {

struct Heard final : DiskClient {
  void on_disk_done(DiskToken token, DiskStatus status) override {
    done.emplace_back(token, status);
  }
  std::vector<std::pair<DiskToken, DiskStatus>> done;
};

class SimDiskTest : public testing::Test {
 protected:
  SimDiskTest() { disk.set_client(&heard); }

  void write(std::string_view file, uint64_t offset, std::string_view bytes, DiskToken token = 1) {
    disk.write(file, offset, std::as_bytes(std::span(bytes.data(), bytes.size())), token);
  }
  void write_synced(std::string_view file, uint64_t offset, std::string_view bytes) {
    write(file, offset, bytes);
    world.run();
    disk.sync(file, 2);
    world.run();
  }
  void create_durable(std::string_view file) {
    disk.create(file, 3);
    world.run();
    disk.sync_directory(4);
    world.run();
  }
  std::string content(std::string_view file) {
    std::string out;
    disk.read(file, 0, 1 << 20, out);
    return out;
  }

  DiskWorld world{1};
  SimDisk& disk = world.disk;
  Heard heard;
};

using Names = std::vector<std::string>;

TEST_F(SimDiskTest, SyncedContentUnderADurableNameSurvives) {
  create_durable("a");
  write_synced("a", 0, "hello");
  disk.crash();
  EXPECT_EQ(content("a"), "hello");
  EXPECT_EQ(disk.media("a"), "hello");
}

TEST_F(SimDiskTest, ReadsSeeWhatIsNotDurable) {
  create_durable("a");
  write_synced("a", 0, "hello world");
  write("a", 6, "there, you");
  EXPECT_EQ(content("a"), "hello there, you");
  EXPECT_EQ(disk.size("a"), 16);
  disk.truncate("a", 3, 1);
  EXPECT_EQ(content("a"), "hel");
  write("a", 5, "!");
  EXPECT_EQ(content("a"), std::string_view("hel\0\0!", 6));
  world.run();
  EXPECT_EQ(disk.media("a"), "hello world");
  disk.sync("a", 2);
  world.run();
  EXPECT_EQ(disk.media("a"), std::string_view("hel\0\0!", 6));
}

TEST_F(SimDiskTest, CallbacksComeLaterAndInOrderPerFile) {
  disk.set_latency({Duration(1), Duration(100), Duration(1), Duration(100)});
  create_durable("a");
  heard.done.clear();
  for (DiskToken token = 10; token < 30; ++token) {
    token % 3 == 0 ? disk.sync("a", token) : write("a", token, "x", token);
  }
  EXPECT_TRUE(heard.done.empty());
  world.run();
  ASSERT_EQ(heard.done.size(), 20u);
  for (size_t i = 0; i < 20; ++i) EXPECT_EQ(heard.done[i].first, 10 + i);
}

TEST_F(SimDiskTest, ErrorsAreAnswers) {
  disk.create("a", 1);
  disk.create("a", 2);
  write("b", 0, "x", 3);
  disk.sync("b", 4);
  disk.rename("b", "c", 5);
  disk.remove("b", 6);
  world.run();
  const auto wanted = std::vector<std::pair<DiskToken, DiskStatus>>{
      {1, DiskStatus::kOk},       {2, DiskStatus::kExists},   {3, DiskStatus::kNotFound},
      {4, DiskStatus::kNotFound}, {5, DiskStatus::kNotFound}, {6, DiskStatus::kNotFound}};
  EXPECT_EQ(heard.done, wanted);
}

// A sync covers the writes that had completed when it was issued, and no others.
TEST_F(SimDiskTest, SyncDoesNotCoverWritesInFlightOrLater) {
  create_durable("a");
  write("a", 0, "first");
  world.run();
  write("a", 512, "in flight");
  disk.sync("a", 2);
  write("a", 1024, "later");
  world.run();
  EXPECT_EQ(disk.media("a"), "first");
  ASSERT_EQ(world.synced.size(), 1u);
  EXPECT_EQ(world.synced[0].bytes, "first");
  disk.sync("a", 3);
  world.run();
  ASSERT_EQ(world.synced.size(), 3u);
  EXPECT_EQ(world.synced[1].offset, 512u);
  EXPECT_EQ(world.synced[2].bytes, "later");
}

TEST_F(SimDiskTest, SyncDirectoryDoesNotCoverChangesInFlightOrLater) {
  disk.create("a", 1);
  world.run();
  disk.create("b", 1);
  disk.sync_directory(2);
  disk.create("c", 1);
  world.run();
  EXPECT_EQ(disk.media_list(), (Names{"a"}));
  disk.sync_directory(3);
  world.run();
  EXPECT_EQ(disk.media_list(), (Names{"a", "b", "c"}));
}

// Two writes over four sectors: each sector shows neither, the first, or both; all combinations.
TEST_F(SimDiskTest, CrashDrawsAPrefixOfTheWritesForEachSectorAlone) {
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    DiskWorld each(seed);
    each.poke_new("a", std::string(2048, '-'));
    for (const char letter : {'1', '2'}) {
      const std::string data(2048, letter);
      each.disk.write("a", 0, std::as_bytes(std::span(data)), 1);
    }
    each.disk.crash();
    std::string out;
    each.disk.read("a", 0, 4096, out);
    ASSERT_EQ(out.size(), 2048u);
    std::string sectors;
    for (size_t i = 0; i < 4; ++i) {
      ASSERT_EQ(out.substr(i * 512, 512), std::string(512, out[i * 512])) << "torn in a sector";
      sectors += out[i * 512];
    }
    seen.insert(sectors);
    // The first write is there, or was, where the second one is.
    const auto first =
        std::count_if(sectors.begin(), sectors.end(), [](char letter) { return letter != '-'; });
    const auto second = std::count(sectors.begin(), sectors.end(), '2');
    const DiskLosses& losses = each.disk.losses();
    EXPECT_EQ(losses.writes_lost, uint64_t{first == 0} + uint64_t{second == 0}) << sectors;
    EXPECT_EQ(losses.writes_torn,
              uint64_t{first > 0 && first < 4} + uint64_t{second > 0 && second < 4})
        << sectors;
  }
  EXPECT_EQ(seen.size(), 81u);
}

TEST_F(SimDiskTest, CountsTheNamesThatACrashTook) {
  std::set<uint64_t> lost;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    DiskWorld each(seed);
    each.disk.create("a", 1);
    each.disk.create("b", 2);
    each.disk.crash();
    EXPECT_EQ(each.disk.losses().names_lost, 2 - each.disk.media_list().size());
    lost.insert(each.disk.losses().names_lost);
  }
  EXPECT_EQ(lost.size(), 3u);
}

// A file that grew without a sync: any size on the way, holes read as zeros, later data never
// without its size.
TEST_F(SimDiskTest, CrashDrawsTheSize) {
  std::set<uint64_t> sizes;
  bool hole = false;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    DiskWorld each(seed);
    each.poke_new("a", std::string(512, '-'));
    for (uint64_t i = 1; i < 4; ++i) {
      const std::string data(512, static_cast<char>('0' + i));
      each.disk.write("a", i * 512, std::as_bytes(std::span(data)), 1);
    }
    each.disk.crash();
    std::string out;
    each.disk.read("a", 0, 4096, out);
    sizes.insert(out.size());
    for (size_t i = 0; i < out.size(); i += 512) {
      ASSERT_TRUE(out[i] == 0 || out[i] == (i == 0 ? '-' : static_cast<char>('0' + i / 512)));
      hole = hole || out[i] == 0;
    }
  }
  EXPECT_EQ(sizes, (std::set<uint64_t>{512, 1024, 1536, 2048}));
  EXPECT_TRUE(hole);
}

TEST_F(SimDiskTest, NamesSurviveAsAPrefixOfTheirChanges) {
  std::set<Names> seen;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    DiskWorld each(seed);
    each.poke_new("old", "1");
    each.disk.create("new", 1);
    each.disk.rename("new", "old", 2);
    each.disk.create("more", 3);
    each.disk.remove("old", 4);
    EXPECT_EQ(each.disk.list(), (Names{"more"}));
    each.disk.crash();
    EXPECT_EQ(each.disk.list(), each.disk.media_list());
    seen.insert(each.disk.list());
  }
  EXPECT_EQ(seen, (std::set<Names>{{"old"}, {"new", "old"}, {"more", "old"}, {"more"}}));
}

TEST_F(SimDiskTest, ARenameNotSyncedMayLeaveTheOldFileOrTheNew) {
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    DiskWorld each(seed);
    each.poke_new("a", "before");
    each.poke_new("a.new", "after");
    each.disk.rename("a.new", "a", 1);
    each.run();
    each.disk.crash();
    seen.insert(std::string(*each.disk.media("a")));
  }
  EXPECT_EQ(seen, (std::set<std::string>{"before", "after"}));
}

TEST_F(SimDiskTest, NothingHappensAfterACrash) {
  create_durable("a");
  heard.done.clear();
  write("a", 0, "x");
  disk.crash();
  Heard next;
  disk.set_client(&next);
  world.run();
  EXPECT_TRUE(heard.done.empty());
  EXPECT_TRUE(next.done.empty());
}

// Freezing at each point: the call, or its completion, does not happen.
TEST_F(SimDiskTest, FreezesExactlyAtThePoint) {
  const auto freeze_at = [](uint64_t point) {
    DiskWorld each(3);
    Heard each_heard;
    each.poke_new("a", std::string(512, '-'));
    each.disk.set_client(&each_heard);
    each.points.clear();
    each.freeze_at = point;
    const std::string data(512, 'x');
    each.disk.write("a", 0, std::as_bytes(std::span(data)), 1);
    each.run();
    each.disk.sync("a", 2);
    each.run();
    EXPECT_EQ(each.points.size(), point);
    const bool durable = each.disk.media("a") == data;
    return std::pair(each_heard.done.size(), durable);
  };
  EXPECT_EQ(freeze_at(1), std::pair(size_t{0}, false));  // before the write
  EXPECT_EQ(freeze_at(2), std::pair(size_t{0}, false));  // written, not told
  EXPECT_EQ(freeze_at(3), std::pair(size_t{1}, false));  // before the sync
  EXPECT_EQ(freeze_at(4), std::pair(size_t{1}, true));   // synced, not told
}

TEST_F(SimDiskTest, AKilledProcessLeavesItsPageCache) {
  create_durable("a");
  write("a", 0, "cached");
  disk.create("b", 1);
  disk.detach_client();
  EXPECT_EQ(content("a"), "cached");
  EXPECT_EQ(disk.media("a"), "");
  disk.lock();
  EXPECT_EQ(disk.media("a"), "cached");
  disk.crash();
  EXPECT_EQ(disk.list(), (Names{"a", "b"}));
}

TEST_F(SimDiskTest, AFailedSyncMayHaveDroppedThePages) {
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    DiskWorld each(seed);
    Heard each_heard;
    each.poke_new("a", "-");
    each.disk.set_client(&each_heard);
    each.disk.set_faults(true);
    each.fault_call = DiskCall::kSync;
    each.fault_after = 1;
    each.disk.write("a", 0, std::as_bytes(std::span("x", 1)), 1);
    each.run();
    each.disk.sync("a", 2);
    each.disk.sync("a", 3);  // believing this one is the mistake
    each.run();
    EXPECT_EQ(each_heard.done[1].second, DiskStatus::kIoError);
    EXPECT_EQ(each_heard.done[2].second, DiskStatus::kOk);
    seen.insert(std::string(*each.disk.media("a")));
  }
  EXPECT_EQ(seen, (std::set<std::string>{"-", "x"}));
}

TEST_F(SimDiskTest, AFullDiskRefusesGrowthOnly) {
  create_durable("a");
  write_synced("a", 0, std::string(1000, 'x'));
  disk.set_capacity(1500);
  EXPECT_EQ(disk.free_bytes(), 500u);
  heard.done.clear();
  write("a", 0, std::string(1501, 'y'), 1);
  write("a", 0, std::string(1000, 'z'), 2);
  write("a", 1000, std::string(500, 'z'), 3);
  disk.truncate("a", 1501, 4);
  world.run();
  const auto wanted = std::vector<std::pair<DiskToken, DiskStatus>>{{1, DiskStatus::kNoSpace},
                                                                    {2, DiskStatus::kOk},
                                                                    {3, DiskStatus::kOk},
                                                                    {4, DiskStatus::kNoSpace}};
  EXPECT_EQ(heard.done, wanted);
  disk.remove("a", 5);
  world.run();
  EXPECT_EQ(disk.free_bytes(), 0u);  // the media still hold it
  disk.sync_directory(6);
  world.run();
  EXPECT_EQ(disk.free_bytes(), 1500u);
}

TEST_F(SimDiskTest, AFullDiskWritesWhatFits) {
  create_durable("a");
  write_synced("a", 0, "0123456789");
  disk.set_capacity(16);
  heard.done.clear();
  write("a", 8, "abcdefghijkl", 1);
  world.run();
  EXPECT_EQ(heard.done, (std::vector<std::pair<DiskToken, DiskStatus>>{{1, DiskStatus::kNoSpace}}));
  EXPECT_EQ(content("a"), "01234567abcdefgh");
  disk.set_capacity(20);
  write_synced("a", 8, "abcdefghijkl");
  EXPECT_EQ(disk.media("a"), "01234567abcdefghijkl");
}

TEST_F(SimDiskTest, AStallHoldsEverythingBackAndLosesNothing) {
  create_durable("a");
  heard.done.clear();
  disk.set_stalled(true);
  write("a", 0, "x", 1);
  disk.sync("a", 2);
  disk.create("b", 3);
  world.run();
  EXPECT_TRUE(heard.done.empty());
  disk.set_stalled(false);
  world.run();
  write_synced("a", 0, "y");
  EXPECT_EQ(heard.done.size(), 5u);
  EXPECT_EQ(disk.media("a"), "y");
}

TEST_F(SimDiskTest, AStallEndsWithTheNode) {
  create_durable("a");
  heard.done.clear();
  disk.set_stalled(true);
  write("a", 0, "x", 1);
  world.run();
  disk.crash();
  disk.set_stalled(false);
  world.run();
  EXPECT_TRUE(heard.done.empty());
}

TEST_F(SimDiskTest, OneSyncFailsAndTheNextMeansNothing) {
  create_durable("a");
  heard.done.clear();
  disk.fail_next_sync(true);
  disk.sync("a", 1);
  disk.sync("a", 2);
  world.run();
  EXPECT_EQ(heard.done, (std::vector<std::pair<DiskToken, DiskStatus>>{{1, DiskStatus::kIoError},
                                                                       {2, DiskStatus::kOk}}));
  EXPECT_FALSE(disk.sync_fails());
  disk.fail_next_sync(true);
  disk.fail_next_sync(false);
  disk.sync_directory(3);
  world.run();
  EXPECT_EQ(heard.done.back().second, DiskStatus::kOk);
}

// ---- Damage

TEST_F(SimDiskTest, RotFlipsOneBitBeforeTheNewestWrite) {
  for (uint64_t place = 0; place < 2000; place += 7) {
    DiskWorld each(1);
    each.poke_new("a", std::string(600, 'a'));
    each.poke("a", 600, std::string(100, 'b'));
    const std::string said = each.disk.rot(place << 20 | place, "");
    const std::string media(*each.disk.media("a"));
    int changed = 0;
    for (size_t i = 0; i < 600; ++i) changed += media[i] != 'a';
    EXPECT_EQ(changed, 1) << said;
    EXPECT_EQ(media.substr(600), std::string(100, 'b'));
    EXPECT_EQ(each.draw_count, 0u);
  }
}

TEST_F(SimDiskTest, DamageStrikesOnlyWhereItMay) {
  create_durable("a");
  write_synced("a", 0, std::string(2000, 'a'));
  EXPECT_EQ(disk.rot(5, ""), "") << "nothing newer is there";
  write_synced("a", 2000, "b");
  EXPECT_EQ(disk.rot(5, "b"), "") << "no file of that name";
  EXPECT_NE(disk.rot(5, "a"), "");
  EXPECT_EQ(disk.spoil(1999, ""), "") << "the newest write is in this sector";
}

TEST_F(SimDiskTest, AMisdirectedWriteIsMissingInOnePlaceAndTooMuchInAnother) {
  create_durable("a");
  for (int i = 0; i < 5; ++i) {
    write_synced("a", static_cast<uint64_t>(i) * 512, std::string(512, static_cast<char>('a' + i)));
  }
  EXPECT_EQ(disk.misdirect(uint64_t{1536} << 20 | 600, ""),
            "a sector at 512 was written to a at 1536");
  const std::string media(*disk.media("a"));
  EXPECT_EQ(media.substr(0, 512), std::string(512, 'a'));
  EXPECT_EQ(media.substr(512, 512), std::string(512, '\0'));
  EXPECT_EQ(media.substr(1024, 512), std::string(512, 'c'));
  EXPECT_EQ(media.substr(1536), std::string(512, 'b') + std::string(512, 'e'));
}

TEST_F(SimDiskTest, ASpoiledSectorCannotBeReadUntilItIsWritten) {
  create_durable("a");
  write_synced("a", 0, std::string(2000, 'a'));
  write_synced("a", 2000, "b");
  EXPECT_NE(disk.spoil(700, ""), "");
  std::string out;
  EXPECT_EQ(disk.read("a", 0, 512, out), DiskStatus::kOk);
  EXPECT_EQ(disk.read("a", 500, 100, out), DiskStatus::kIoError);
  EXPECT_EQ(disk.read("a", 0, 2001, out), DiskStatus::kIoError);
  EXPECT_EQ(disk.read("a", 1024, 976, out), DiskStatus::kOk);
  heard.done.clear();
  disk.start_read("a", 512, 10, &out, 7);
  world.run();
  EXPECT_EQ(heard.done, (std::vector<std::pair<DiskToken, DiskStatus>>{{7, DiskStatus::kIoError}}));
  write_synced("a", 512, std::string(512, 'c'));
  EXPECT_EQ(disk.read("a", 0, 2001, out), DiskStatus::kOk);
}

TEST_F(SimDiskTest, NothingIsDrawnWithoutNeed) {
  create_durable("a");
  write_synced("a", 0, "x");
  disk.crash();
  EXPECT_EQ(world.draw_count, 0u);
}

TEST_F(SimDiskTest, WipedDiskIsEmpty) {
  create_durable("a");
  write_synced("a", 0, "x");
  disk.wipe();
  EXPECT_TRUE(disk.list().empty());
  EXPECT_EQ(disk.free_bytes(), UINT64_MAX);
  create_durable("a");
  EXPECT_EQ(content("a"), "");
}

}  // namespace
}  // namespace tally::sim
