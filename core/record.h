// The record: the one byte layout of a log entry, in the log on disk and in append frames alike.
//
// All integers little-endian. 40 bytes of header, the payload, then zeros up to a multiple of 8:
//
//   offset size field
//        0    8 checksum        XXH3-64 of bytes 8 .. 40+payload_bytes
//        8    4 payload_bytes
//       12    1 type            RecordType
//       13    3 zero
//       16    8 index           an entry's log index; other types say what it means to them
//       24    8 term
//       32    8 log_time_ns
//       40    - payload
//
// Eight zero bytes where a checksum is expected mean that no record was ever written there (a
// record whose checksum happens to be 0 is stored with 1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/entry.h"

namespace tally {

inline constexpr size_t kRecordHeaderBytes = 40;
inline constexpr size_t kRecordAlignment = 8;  // every record begins at a multiple of it
// Where in a record its type, index and term stand.
inline constexpr size_t kRecordTypeAt = 12;
inline constexpr size_t kRecordIndexAt = 16;
inline constexpr size_t kRecordTermAt = 24;
inline constexpr size_t kRecordPayloadBytesMax = 1 << 20;

// 1 and 2 are EntryType's values; the rest belongs to storage/.
enum class RecordType : uint8_t {
  kNoop = 1,
  kCommand = 2,
  kHardState = 32,
  kBatch = 33,
  kSegment = 34,
  kReset = 35,
  kSnapshot = 36,
  kPiece = 37,
  kSnapshotEnd = 38,
  kWhole = 39,
};

struct RecordView {
  RecordType type = RecordType::kNoop;
  uint64_t index = 0;
  uint64_t term = 0;
  uint64_t log_time_ns = 0;
  std::string_view payload;  // points into the bytes that were read
};

constexpr size_t record_bytes(size_t payload_bytes) {
  return (kRecordHeaderBytes + payload_bytes + kRecordAlignment - 1) & ~(kRecordAlignment - 1);
}

// Appends the record to `out`.
void append_record(const RecordView& record, std::string& out);
void append_entry_record(const Entry& entry, std::string& out);

enum class RecordStatus : uint8_t {
  kOk,
  kEmpty,    // eight zero bytes: nothing was written here
  kShort,    // the bytes end before the record does, or fewer than 8 are left
  kInvalid,  // checksum, length or padding is wrong
};

// Reads the record at the start of `bytes`. On kOk `record` is set and `consumed` is its size with
// padding.
RecordStatus read_record(std::string_view bytes, RecordView& record, size_t& consumed);

// True when `record` is a log entry; then `entry` is set (its data a copy).
bool to_entry(const RecordView& record, Entry& entry);

}  // namespace tally
