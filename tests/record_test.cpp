// The record layout: round trip, every way to be damaged, and the bytes written down in
// core/README.md.
#include "core/record.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/readme_example.h"

namespace tally {
namespace {

std::string one_record(std::string_view payload = "payload") {
  std::string bytes;
  append_record({.type = RecordType::kCommand,
                 .index = 7,
                 .term = 3,
                 .log_time_ns = 1'000'000,
                 .payload = payload},
                bytes);
  return bytes;
}

RecordStatus status_of(std::string_view bytes) {
  RecordView record;
  size_t consumed = 0;
  return read_record(bytes, record, consumed);
}

TEST(Record, SizesArePaddedToEight) {
  EXPECT_EQ(record_bytes(0), 40u);
  EXPECT_EQ(record_bytes(1), 48u);
  EXPECT_EQ(record_bytes(8), 48u);
  EXPECT_EQ(record_bytes(9), 56u);
  EXPECT_EQ(one_record("").size(), 40u);
  EXPECT_EQ(one_record("123456789").size(), 56u);
}

TEST(Record, ReadsBackInsideOtherBytes) {
  std::string bytes = one_record("first");
  const size_t first_bytes = bytes.size();
  bytes += one_record("second") + "tail";
  RecordView record;
  size_t consumed = 0;
  ASSERT_EQ(read_record(bytes, record, consumed), RecordStatus::kOk);
  EXPECT_EQ(consumed, first_bytes);
  EXPECT_EQ(record.payload, "first");
  ASSERT_EQ(read_record(std::string_view(bytes).substr(consumed), record, consumed),
            RecordStatus::kOk);
  EXPECT_EQ(record.payload, "second");
  EXPECT_EQ(record.index, 7u);
  EXPECT_EQ(record.term, 3u);
  EXPECT_EQ(record.log_time_ns, 1'000'000u);
}

TEST(Record, EveryFlippedBitIsCaught) {
  const std::string bytes = one_record();
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_NE(status_of(damaged), RecordStatus::kOk) << "bit " << bit;
  }
}

TEST(Record, EveryPrefixIsShort) {
  const std::string bytes = one_record();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(status_of(std::string_view(bytes).substr(0, size)), RecordStatus::kShort) << size;
  }
}

TEST(Record, ZeroesAreEmptyNotInvalid) {
  EXPECT_EQ(status_of(std::string(8, '\0')), RecordStatus::kEmpty);
  EXPECT_EQ(status_of(std::string(4096, '\0')), RecordStatus::kEmpty);
  EXPECT_EQ(status_of(std::string(7, '\0')), RecordStatus::kShort);
}

TEST(Record, LengthIsCheckedBeforeItIsBelieved) {
  std::string bytes = one_record();
  bytes[11] = 0x7F;  // two gigabytes
  EXPECT_EQ(status_of(bytes), RecordStatus::kInvalid);
  const std::string largest = one_record(std::string(kRecordPayloadBytesMax, 'x'));
  EXPECT_EQ(status_of(largest), RecordStatus::kOk);
}

TEST(Record, OnlyEntryTypesAreEntries) {
  RecordView record{.index = 1, .term = 1, .log_time_ns = 1, .payload = "x"};
  for (int type = 0; type < 256; ++type) {
    record.type = static_cast<RecordType>(type);
    Entry entry;
    EXPECT_EQ(to_entry(record, entry), type == 1 || type == 2) << type;
  }
}

TEST(RecordDeathTest, TooLargeAPayloadIsADefectOfTheCaller) {
  EXPECT_DEATH(one_record(std::string(kRecordPayloadBytesMax + 1, 'x')), "payload");
}

RC_GTEST_PROP(RecordProperty, EntryRoundTrip,
              (uint64_t index, uint64_t term, uint64_t log_time, const std::string& data)) {
  const Entry entry{LogIndex(index), Term(term), LogTime(log_time),
                    data.empty() ? EntryType::kNoop : EntryType::kCommand, Bytes(data)};
  std::string bytes;
  append_entry_record(entry, bytes);
  RC_ASSERT(bytes.size() == record_bytes(data.size()));
  RecordView record;
  size_t consumed = 0;
  RC_ASSERT(read_record(bytes, record, consumed) == RecordStatus::kOk);
  RC_ASSERT(consumed == bytes.size());
  Entry read;
  RC_ASSERT(to_entry(record, read));
  RC_ASSERT(read == entry);
}

RC_GTEST_PROP(RecordProperty, AnyBytesAreSafe, (const std::string& bytes)) {
  RecordView record;
  size_t consumed = 0;
  RC_ASSERT(read_record(bytes, record, consumed) != RecordStatus::kOk);
}

TEST(Record, ExampleInReadme) { EXPECT_EQ(readme_example("record"), hex_of(one_record("hits+5"))); }

#ifndef TALLY_SANITIZED
// Names in requests come and go between the entries of a log that stays: neither holds the other's
// memory.
TEST(Bytes, WhatPassesDoesNotLieBesideWhatStays) {
  std::vector<Bytes> log;
  const void* passing = nullptr;
  size_t apart = 0;
  for (int i = 0; i < 1000; ++i) {
    passing = Bytes::passing(std::string(200, 'x')).view().data();
    log.emplace_back(Bytes("an entry"));
    ASSERT_NE(passing, log.back().view().data());
    if (i > 0 && log[log.size() - 2].view().data() + 8 != log.back().view().data()) ++apart;
  }
  EXPECT_LE(apart, 1u) << "8,000 bytes need one new block at the most";
}
#endif

}  // namespace
}  // namespace tally
