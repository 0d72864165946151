// libFuzzer's way into everything that arrives on a socket: core's frames and net frames, raw and
// with checksums that fit, so that what lies behind them is reached. What decodes must encode to
// something that decodes to the same. Built by `./dev fuzz`.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/check.h"
#include "core/codec.h"
#include "core/little_endian.h"
#include "net/frame.h"

namespace tally {
namespace {

constexpr GroupId kGroup{.cluster_id = 7, .group_id = 9};

// Reads frames off the stream, as a connection does.
void read_stream(std::string_view bytes) {
  Envelope envelope;
  net::NetMessage message;
  while (!bytes.empty()) {
    size_t consumed = 0;
    std::string error;
    const bool net = is_net_frame(bytes);
    const FrameStatus status = net ? decode_net_frame(bytes, message, consumed, error)
                                   : decode_frame(bytes, kGroup, envelope, consumed, error);
    if (status != FrameStatus::kOk) {
      CHECK(status == FrameStatus::kNeedMore || !error.empty());
      return;
    }
    CHECK(consumed > 0 && consumed <= bytes.size());
    bytes.remove_prefix(consumed);
    std::string again;
    if (net) {
      encode_net_frame(message, again);
      CHECK(decode_net_frame(again, message, consumed, error) == FrameStatus::kOk);
    } else {
      encode_frame(envelope, kGroup, again);
      CHECK(decode_frame(again, kGroup, envelope, consumed, error) == FrameStatus::kOk);
    }
  }
}

// The bytes as the payload of an intact net frame.
std::string net_frame(std::string_view payload) {
  std::string bytes = "TLNT";
  bytes.append(kNetHeaderBytes - 4, '\0');
  put_little_endian(kNetVersion, bytes.data() + 4);
  put_little_endian(static_cast<uint32_t>(payload.size()), bytes.data() + 8);
  put_little_endian(
      uint64_t{XXH3_64bits_withSeed(payload.data(), payload.size(), XXH3_64bits(bytes.data(), 16))},
      bytes.data() + 16);
  return bytes.append(payload);
}

// The bytes as type, size of the body, count of entries, body and entries of an intact frame.
std::string core_frame(std::string_view data) {
  if (data.size() < 3) return {};
  std::string bytes;
  encode_frame({Endpoint(1), Endpoint(2), VoteReply{}}, kGroup, bytes);
  bytes.resize(kFrameHeaderBytes);
  const std::string_view rest = data.substr(3);
  const size_t body_bytes = std::min<size_t>(static_cast<uint8_t>(data[1]), rest.size());
  char* at = bytes.data();
  put_little_endian(uint64_t{XXH3_64bits(rest.data(), rest.size())}, at + 16);
  put_little_endian(static_cast<uint32_t>(body_bytes), at + 24);
  put_little_endian(static_cast<uint32_t>(rest.size() - body_bytes), at + 28);
  put_little_endian(static_cast<uint32_t>(static_cast<uint8_t>(data[2])), at + 32);
  at[36] = data[0];
  const uint64_t seed = get_little_endian<uint64_t>(at);
  put_little_endian(uint64_t{XXH3_64bits_withSeed(at + 16, kFrameHeaderBytes - 16, seed)}, at + 8);
  return bytes.append(rest);
}

}  // namespace
}  // namespace tally

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  tally::read_stream(bytes);
  tally::read_stream(tally::net_frame(bytes));
  tally::read_stream(tally::core_frame(bytes));
  return 0;
}
