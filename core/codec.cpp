#include "core/codec.h"

#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/check.h"
#include "core/codec_body.h"
#include "core/little_endian.h"
#include "core/record.h"

namespace tally {
namespace {

constexpr uint32_t kMagic = 0x594C4C54;  // "TLLY" as bytes

// Where the fields of the header lie; core/README.md explains them.
constexpr size_t kVersionAt = 4;
constexpr size_t kHeaderBytesAt = 6;
constexpr size_t kHeaderChecksumAt = 8;
constexpr size_t kRestChecksumAt = 16;  // the header checksum covers from here on
constexpr size_t kBodyBytesAt = 24;
constexpr size_t kEntriesBytesAt = 28;
constexpr size_t kEntryCountAt = 32;
constexpr size_t kTypeAt = 36;
constexpr size_t kZeroAt = 37;  // three bytes
constexpr size_t kClusterAt = 40;
constexpr size_t kGroupAt = 48;
constexpr size_t kFromAt = 56;
constexpr size_t kToAt = 64;

struct Header {
  uint64_t rest_checksum = 0;  // of everything behind the header
  size_t body_bytes = 0;
  size_t entries_bytes = 0;
  size_t entry_count = 0;
  uint8_t type = 0;
  GroupId group;
  Endpoint from;
  Endpoint to;
};

// The first eight bytes go in as the seed, so one pass covers all but the checksum itself.
uint64_t header_checksum(const char* header) {
  return XXH3_64bits_withSeed(header + kRestChecksumAt, kFrameHeaderBytes - kRestChecksumAt,
                              get_little_endian<uint64_t>(header));
}

void write_header(const Header& header, char* out) {
  std::fill_n(out, kFrameHeaderBytes, '\0');
  put_little_endian(kMagic, out);
  put_little_endian(kWireVersion, out + kVersionAt);
  put_little_endian(static_cast<uint16_t>(kFrameHeaderBytes), out + kHeaderBytesAt);
  put_little_endian(header.rest_checksum, out + kRestChecksumAt);
  put_little_endian(static_cast<uint32_t>(header.body_bytes), out + kBodyBytesAt);
  put_little_endian(static_cast<uint32_t>(header.entries_bytes), out + kEntriesBytesAt);
  put_little_endian(static_cast<uint32_t>(header.entry_count), out + kEntryCountAt);
  out[kTypeAt] = static_cast<char>(header.type);
  put_little_endian(header.group.cluster_id, out + kClusterAt);
  put_little_endian(header.group.group_id, out + kGroupAt);
  put_little_endian(header.from.value(), out + kFromAt);
  put_little_endian(header.to.value(), out + kToAt);
  put_little_endian(header_checksum(out), out + kHeaderChecksumAt);
}

FrameStatus corrupt(std::string& error, std::string_view what) {
  error = fmt::format("corrupt frame: {}; close the connection", what);
  return FrameStatus::kCorrupt;
}

// As much of the fixed start (magic, version, header size) as is there already must be right: a
// peer that speaks something else is told so at its first byte, not after a whole header.
FrameStatus check_start(std::string_view bytes, std::string& error) {
  char magic[4];
  put_little_endian(kMagic, magic);
  const size_t magic_bytes = std::min(bytes.size(), sizeof(magic));
  if (bytes.substr(0, magic_bytes) != std::string_view(magic, magic_bytes)) {
    return corrupt(error, "it does not start with TLLY; is the other end a Tally program?");
  }
  if (bytes.size() < kRestChecksumAt) return FrameStatus::kNeedMore;
  const uint16_t version = get_little_endian<uint16_t>(bytes.data() + kVersionAt);
  if (version != kWireVersion) {
    error = fmt::format("protocol version {}, this program speaks {}; run the same release on both",
                        version, kWireVersion);
    return FrameStatus::kWrongVersion;
  }
  const uint16_t header_bytes = get_little_endian<uint16_t>(bytes.data() + kHeaderBytesAt);
  if (header_bytes != kFrameHeaderBytes) return corrupt(error, "unexpected header size");
  return bytes.size() < kFrameHeaderBytes ? FrameStatus::kNeedMore : FrameStatus::kOk;
}

// kOk: `header` is intact, within the limits, and says where the frame ends.
FrameStatus read_header(std::string_view bytes, Header& header, std::string& error) {
  const FrameStatus start = check_start(bytes, error);
  if (start != FrameStatus::kOk) return start;
  const char* at = bytes.data();
  if (get_little_endian<uint64_t>(at + kHeaderChecksumAt) != header_checksum(at)) {
    return corrupt(error, "header checksum mismatch");
  }
  header.rest_checksum = get_little_endian<uint64_t>(at + kRestChecksumAt);
  header.body_bytes = get_little_endian<uint32_t>(at + kBodyBytesAt);
  header.entries_bytes = get_little_endian<uint32_t>(at + kEntriesBytesAt);
  header.entry_count = get_little_endian<uint32_t>(at + kEntryCountAt);
  header.type = static_cast<uint8_t>(at[kTypeAt]);
  header.group.cluster_id = get_little_endian<uint64_t>(at + kClusterAt);
  header.group.group_id = get_little_endian<uint64_t>(at + kGroupAt);
  header.from = Endpoint(get_little_endian<uint64_t>(at + kFromAt));
  header.to = Endpoint(get_little_endian<uint64_t>(at + kToAt));

  if (header.body_bytes > kFrameBodyBytesMax || header.entries_bytes > kFrameEntriesBytesMax) {
    error = fmt::format(
        "a frame with a body of {} bytes and {} bytes of entries; the limits are "
        "{} and {}",
        header.body_bytes, header.entries_bytes, kFrameBodyBytesMax, kFrameEntriesBytesMax);
    return FrameStatus::kTooLarge;
  }
  if (at[kZeroAt] != 0 || at[kZeroAt + 1] != 0 || at[kZeroAt + 2] != 0) {
    return corrupt(error, "reserved header bytes are not zero");
  }
  if (header.entry_count > header.entries_bytes / kRecordHeaderBytes) {
    return corrupt(error, "more entries than its bytes can hold");
  }
  return FrameStatus::kOk;
}

// Reads exactly `count` entries that follow `prev_log_index`. False when the block is not that.
bool read_entries(std::string_view block, size_t count, LogIndex prev_log_index,
                  std::vector<Entry>& entries) {
  if (count > std::numeric_limits<uint64_t>::max() - prev_log_index.value()) return false;
  entries.resize(count);
  LogIndex index = prev_log_index;
  for (Entry& entry : entries) {
    RecordView record;
    size_t consumed = 0;
    if (read_record(block, record, consumed) != RecordStatus::kOk) return false;
    if (!to_entry(record, entry) || entry.index != ++index) return false;
    block.remove_prefix(consumed);
  }
  return block.empty();
}

size_t append_entries(const AppendRequest& append, std::string& out) {
  const size_t start = out.size();
  LogIndex index = append.prev_log_index;
  for (const Entry& entry : append.entries) {
    CHECK(entry.index == ++index, "sending entry {} in the place of entry {}", entry.index.value(),
          index.value());
    append_entry_record(entry, out);
  }
  const size_t entries_bytes = out.size() - start;
  CHECK(entries_bytes <= kFrameEntriesBytesMax, "an append with {} bytes of entries",
        entries_bytes);
  return entries_bytes;
}

}  // namespace

std::string_view to_string(FrameStatus status) {
  switch (status) {
    case FrameStatus::kOk: return "ok";
    case FrameStatus::kNeedMore: return "need_more";
    case FrameStatus::kCorrupt: return "corrupt";
    case FrameStatus::kWrongVersion: return "wrong_version";
    case FrameStatus::kWrongGroup: return "wrong_group";
    case FrameStatus::kTooLarge: return "too_large";
  }
  return "invalid";
}

void encode_frame(const Envelope& envelope, GroupId group, std::string& out) {
  const size_t start = out.size();
  out.append(kFrameHeaderBytes, '\0');
  Header header{.group = group, .from = envelope.from, .to = envelope.to};
  header.type = wire_type(envelope.message);
  header.body_bytes = encode_body(envelope.message, out);
  if (const auto* append = std::get_if<AppendRequest>(&envelope.message)) {
    header.entry_count = append->entries.size();
    header.entries_bytes = append_entries(*append, out);
  } else if (const auto* snapshot = std::get_if<SnapshotRequest>(&envelope.message)) {
    CHECK(snapshot->data.size() <= kFrameEntriesBytesMax, "a piece of {} bytes",
          snapshot->data.size());
    header.entries_bytes = snapshot->data.size();
    out.append(snapshot->data.view());
  }
  const std::string_view rest = std::string_view(out).substr(start + kFrameHeaderBytes);
  header.rest_checksum = XXH3_64bits(rest.data(), rest.size());
  write_header(header, out.data() + start);
}

FrameStatus decode_frame(std::string_view bytes, GroupId expected, Envelope& out, size_t& consumed,
                         std::string& error) {
  consumed = 0;
  Header header;
  const FrameStatus status = read_header(bytes, header, error);
  if (status != FrameStatus::kOk) return status;
  // Said before the rest has arrived: nothing of another group's frame is ever waited for.
  if (header.group != expected) {
    error = fmt::format(
        "a frame of cluster {:016x} group {:016x}, this is cluster {:016x} group "
        "{:016x}; check the addresses and names of --peers and --cluster",
        header.group.cluster_id, header.group.group_id, expected.cluster_id, expected.group_id);
    return FrameStatus::kWrongGroup;
  }
  const size_t rest_bytes = header.body_bytes + header.entries_bytes;
  if (bytes.size() - kFrameHeaderBytes < rest_bytes) return FrameStatus::kNeedMore;
  const std::string_view rest = bytes.substr(kFrameHeaderBytes, rest_bytes);
  if (XXH3_64bits(rest.data(), rest.size()) != header.rest_checksum) {
    return corrupt(error, "checksum mismatch behind the header");
  }

  out.from = header.from;
  out.to = header.to;
  const std::string_view body_error =
      decode_body(header.type, rest.substr(0, header.body_bytes), out.message);
  if (!body_error.empty()) return corrupt(error, body_error);
  if (auto* append = std::get_if<AppendRequest>(&out.message)) {
    if (!read_entries(rest.substr(header.body_bytes), header.entry_count, append->prev_log_index,
                      append->entries)) {
      return corrupt(error, "its entries are not the announced, contiguous ones");
    }
  } else if (auto* snapshot = std::get_if<SnapshotRequest>(&out.message)) {
    if (header.entry_count != 0) return corrupt(error, "entries behind a piece of a snapshot");
    snapshot->data = Bytes(rest.substr(header.body_bytes));
  } else if (header.entries_bytes != 0) {
    return corrupt(error, "entries behind a message that has none");
  }
  consumed = kFrameHeaderBytes + rest_bytes;
  return FrameStatus::kOk;
}

}  // namespace tally
