// dump_file: each kind of record has its line, damage is marked, and any bytes at all are taken.
#include "storage/dump.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "core/draw.h"
#include "storage/log_format.h"
#include "storage/snapshot_store.h"

namespace tally {
namespace {

const Identity kIdentity{0x1111, 0x22, NodeId(3), 0x123456789abcdef};

std::string dump(std::string_view name, std::string_view bytes, size_t* wrong = nullptr) {
  size_t count = 0;
  Identity owner;
  const std::string text = dump_file(name, bytes, owner, count);
  if (wrong != nullptr) *wrong = count;
  return text;
}

std::string segment() {
  std::string bytes;
  SegmentHeader header;
  header.number = 1;
  header.identity = kIdentity;
  header.file_bytes = 1024;
  append_segment_record(header, bytes);
  BatchHeader batch;
  batch.own = {1, kSegmentRecordBytes};
  batch.directory_id = kIdentity.directory_id;
  batch.body_bytes = kHardStateRecordBytes + record_bytes(2);
  batch.hard_state = {Term(5), NodeId(3)};
  append_batch_record(batch, bytes);
  append_hard_state_record(batch.hard_state, bytes);
  append_entry_record(Entry{LogIndex(1), Term(5), LogTime(1000), EntryType::kCommand,
                            Bytes(std::string_view("hi"))},
                      bytes);
  bytes.resize(1024);
  return bytes;
}

std::string snapshot() {
  const uint64_t hash = snapshot_hash(0, "state");
  std::string identity(40, '\0');
  identity[0] = static_cast<char>(kSnapshotFormatVersion);
  identity[8] = 0x11;
  identity[16] = 0x22;
  identity[24] = 3;
  identity[32] = 0x44;
  std::string bytes;
  append_record({.type = RecordType::kSnapshot,
                 .index = 1,
                 .term = 5,
                 .log_time_ns = 1000,
                 .payload = identity},
                bytes);
  append_record(
      {.type = RecordType::kPiece, .index = 0, .term = hash, .log_time_ns = 0, .payload = "state"},
      bytes);
  append_record(
      {.type = RecordType::kSnapshotEnd, .index = 1, .term = hash, .log_time_ns = 0, .payload = {}},
      bytes);
  return bytes;
}

TEST(Dump, ASegment) {
  size_t wrong = 0;
  EXPECT_EQ(
      dump("wal-0000000000000001", segment(), &wrong),
      "        0  segment 1: cluster 0x1111, group 0x22, node 3, directory 0x123456789abcdef; "
      "goes on from segment 0 offset 0; term 0, vote for 0; last entry 0 of term 0; 1024 bytes\n"
      "      152  batch at segment 1 offset 152: 88 bytes follow; synced before: segment 0 "
      "offset 0; term 5, vote for 3\n"
      "      232    hard state: term 5, vote for 3\n"
      "      272    entry 1: term 5, log time 1000, 2 bytes \"hi\"\n"
      "      320  704 zeros\n");
  EXPECT_EQ(wrong, 0u);
}

TEST(Dump, ASnapshot) {
  size_t wrong = 0;
  EXPECT_EQ(
      dump("snapshot-0000000000000001", snapshot(), &wrong),
      "        0  snapshot up to 1 of term 5, log time 1000: cluster 0x11, group 0x22, node 3, "
      "directory 0x44\n"
      "       80  piece 0: 5 bytes \"state\"\n"
      "      128  end of 1 pieces with hash 6ddef6a542f52cb4\n");
  EXPECT_EQ(wrong, 0u);
}

TEST(Dump, MarksEveryFlippedByteOfARecord) {
  for (size_t at = 0; at < 320; ++at) {
    std::string bytes = segment();
    bytes[at] = static_cast<char>(bytes[at] ^ 4);
    size_t wrong = 0;
    EXPECT_NE(dump("wal-0000000000000001", bytes, &wrong).find("!!"), std::string::npos) << at;
    EXPECT_EQ(wrong, 1u) << at;
  }
}

TEST(Dump, MarksWhatStandsInTheWrongPlace) {
  size_t wrong = 0;
  EXPECT_NE(dump("wal-0000000000000002", segment(), &wrong).find("!!      0  segment 1"),
            std::string::npos);
  EXPECT_EQ(wrong, 2u);
  dump("snapshot-0000000000000002", snapshot(), &wrong);
  EXPECT_EQ(wrong, 1u);
  EXPECT_EQ(dump("snapshot-0000000000000002", std::string(16, '\0'), &wrong),
            "!!      0  16 zeros where a record should be\n"
            "!!     16  the file ends here, without the snapshot's end\n");
}

TEST(Dump, NamesAFormatThatItDoesNotKnow) {
  // As a later release may write it: with a header that is longer.
  std::string payload(200, '\0');
  payload[0] = static_cast<char>(kLogFormatVersion + 1);
  std::string bytes;
  append_record(
      {.type = RecordType::kSegment, .index = 1, .term = 0, .log_time_ns = 0, .payload = payload},
      bytes);
  bytes.resize(1024);
  size_t wrong = 0;
  const std::string text = dump("wal-0000000000000001", bytes, &wrong);
  const std::string expected = fmt::format(
      "!!      0  segment 1: log format {}, this program reads {}: ", kLogFormatVersion + 1,
      kLogFormatVersion);
  EXPECT_EQ(text.find(expected), 0u) << text;
  EXPECT_EQ(wrong, 1u) << text;

  std::string newer = snapshot();
  RecordView header;
  size_t consumed = 0;
  ASSERT_EQ(read_record(newer, header, consumed), RecordStatus::kOk);
  std::string words(header.payload);
  words[0] = static_cast<char>(kSnapshotFormatVersion + 1);
  header.payload = words;
  std::string moved;
  append_record(header, moved);
  const std::string told = dump("snapshot-0000000000000001", moved + newer.substr(consumed));
  EXPECT_NE(told.find(fmt::format("snapshot format {}, this program reads {}",
                                  kSnapshotFormatVersion + 1, kSnapshotFormatVersion)),
            std::string::npos)
      << told;
}

TEST(Dump, MarksAFileThatWasCut) {
  const auto marks = [](std::string_view name, const std::string& bytes, std::string_view what) {
    size_t wrong = 0;
    const std::string text = dump(name, bytes, &wrong);
    EXPECT_EQ(wrong > 0, !what.empty()) << text;
    EXPECT_NE(text.find(what), std::string::npos) << text;
  };
  std::string grown = segment();
  grown.resize(2048);
  marks("wal-0000000000000001", grown, "");
  marks("wal-0000000000000001", segment().substr(0, 1023), "it had 1024 bytes and has 1023");
  marks("wal-0000000000000001", "", "!!      0  the file ends here, shorter than any segment");
  marks("wal-0000000000000001", std::string(1024, '\0'), "");
  const std::string whole = snapshot();
  marks("snapshot-0000000000000001", whole.substr(0, whole.size() - record_bytes(0)),
        "the file ends here, without the snapshot's end");
  marks("snapshot-0000000000000001", "", "!!      0  the file ends here");
}

TEST(Dump, MarksWhatIsOfAnotherOwner) {
  Identity owner;
  size_t wrong = 0;
  dump_file("wal-0000000000000001", segment(), owner, wrong);
  EXPECT_EQ(owner, kIdentity);
  EXPECT_EQ(wrong, 0u);
  const std::string text = dump_file("snapshot-0000000000000001", snapshot(), owner, wrong);
  EXPECT_EQ(wrong, 1u);
  EXPECT_NE(text.find("!!      0  snapshot up to 1"), std::string::npos);
  EXPECT_NE(text.find("of another cluster than the files before"), std::string::npos) << text;

  owner = {0x1111, 0x22, NodeId(3), 7};
  const std::string moved = dump_file("wal-0000000000000001", segment(), owner, wrong);
  EXPECT_EQ(wrong, 1u) << "said once for each file";
  EXPECT_NE(moved.find("of another data directory than the files before"), std::string::npos);

  // Its header broken, the batches tell.
  std::string broken = segment();
  broken[8] ^= 1;
  const std::string batches = dump_file("wal-0000000000000001", broken, owner, wrong);
  EXPECT_NE(batches.find("of the data directory 0x123456789abcdef"), std::string::npos) << batches;
}

TEST(Dump, AnyBytes) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::string bytes = draw(seed, 1) % 2 == 0 ? segment() : std::string(700, '\0');
    for (uint64_t i = 0; i < draw(seed, 2) % 40; ++i) {
      bytes[draw(seed, 3, i) % bytes.size()] = static_cast<char>(draw(seed, 4, i));
    }
    bytes.resize(draw(seed, 5) % (bytes.size() + 1));
    size_t wrong = 0;
    const std::string text = dump("wal-0000000000000001", bytes, &wrong);
    EXPECT_FALSE(text.empty());
  }
}

}  // namespace
}  // namespace tally
