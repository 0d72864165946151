#include "net/frame.h"

#include <algorithm>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/check.h"
#include "core/little_endian.h"

namespace tally {
namespace {

constexpr std::string_view kMagic = "TLNT";
constexpr size_t kVersionAt = 4;
constexpr size_t kZeroAt = 6;
constexpr size_t kPayloadBytesAt = 8;
constexpr size_t kReservedAt = 12;
constexpr size_t kChecksumAt = 16;  // of the header before it, then of the payload

uint64_t checksum(std::string_view header, std::string_view payload) {
  return XXH3_64bits_withSeed(payload.data(), payload.size(),
                              XXH3_64bits(header.data(), kChecksumAt));
}

}  // namespace

void encode_net_frame(const net::NetMessage& message, std::string& out) {
  const size_t start = out.size();
  out.append(kNetHeaderBytes, '\0');
  CHECK(message.AppendToString(&out));
  char* header = out.data() + start;
  const std::string_view payload = std::string_view(out).substr(start + kNetHeaderBytes);
  CHECK(payload.size() <= kNetPayloadBytesMax, "a message of {} bytes", payload.size());
  kMagic.copy(header, kMagic.size());
  put_little_endian(kNetVersion, header + kVersionAt);
  put_little_endian(static_cast<uint32_t>(payload.size()), header + kPayloadBytesAt);
  put_little_endian(checksum(std::string_view(header, kNetHeaderBytes), payload),
                    header + kChecksumAt);
}

bool is_net_frame(std::string_view bytes) {
  const size_t have = std::min(bytes.size(), kMagic.size());
  return bytes.substr(0, have) == kMagic.substr(0, have);
}

FrameStatus decode_net_frame(std::string_view bytes, net::NetMessage& out, size_t& consumed,
                             std::string& error) {
  consumed = 0;
  if (!is_net_frame(bytes)) {
    error = "neither a handshake nor a frame; is the other end a Tally program?";
    return FrameStatus::kCorrupt;
  }
  if (bytes.size() < kNetHeaderBytes) return FrameStatus::kNeedMore;
  const uint16_t version = get_little_endian<uint16_t>(bytes.data() + kVersionAt);
  if (version != kNetVersion) {
    error = fmt::format("handshake version {}, this program speaks {}; run the same release",
                        version, kNetVersion);
    return FrameStatus::kWrongVersion;
  }
  const auto payload_bytes = get_little_endian<uint32_t>(bytes.data() + kPayloadBytesAt);
  if (payload_bytes > kNetPayloadBytesMax) {
    error = fmt::format("a message of {} bytes; at most {}", payload_bytes, kNetPayloadBytesMax);
    return FrameStatus::kTooLarge;
  }
  if (bytes.size() < kNetHeaderBytes + payload_bytes) return FrameStatus::kNeedMore;
  const std::string_view payload = bytes.substr(kNetHeaderBytes, payload_bytes);
  const bool zero = get_little_endian<uint16_t>(bytes.data() + kZeroAt) == 0 &&
                    get_little_endian<uint32_t>(bytes.data() + kReservedAt) == 0;
  if (!zero || get_little_endian<uint64_t>(bytes.data() + kChecksumAt) !=
                   checksum(bytes.substr(0, kNetHeaderBytes), payload)) {
    error = "a handshake or question that is damaged";
    return FrameStatus::kCorrupt;
  }
  if (!out.ParseFromArray(payload.data(), static_cast<int>(payload.size())) ||
      out.message_case() == net::NetMessage::MESSAGE_NOT_SET) {
    error = "a handshake or question that this release does not know";
    return FrameStatus::kCorrupt;
  }
  consumed = kNetHeaderBytes + payload_bytes;
  return FrameStatus::kOk;
}

uint64_t name_id(std::string_view name) { return XXH3_64bits(name.data(), name.size()); }

}  // namespace tally
