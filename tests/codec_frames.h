// Frames for the codec's tests: encoded ones, and ones built by hand around any content.
#pragma once

#include <gtest/gtest.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string>
#include <string_view>
#include <utility>

#include "core/codec.h"
#include "core/little_endian.h"

namespace tally {

inline constexpr GroupId kGroup{.cluster_id = 0x1122334455667788, .group_id = 9};

inline std::string frame_of(const Envelope& envelope, GroupId group = kGroup) {
  std::string bytes;
  encode_frame(envelope, group, bytes);
  return bytes;
}

inline std::string frame_of(Message message) {
  return frame_of(Envelope{Endpoint(1), Endpoint(2), std::move(message)});
}

inline FrameStatus status_of(std::string_view bytes, GroupId group = kGroup) {
  Envelope out;
  size_t consumed = 0;
  std::string error;
  const FrameStatus status = decode_frame(bytes, group, out, consumed, error);
  EXPECT_EQ(error.empty(), status == FrameStatus::kOk || status == FrameStatus::kNeedMore);
  EXPECT_EQ(consumed != 0, status == FrameStatus::kOk);
  return status;
}

// A frame by hand: whatever a test puts in.
struct RawFrame {
  uint8_t type = 6;
  std::string body = {};
  std::string entries = {};
  uint32_t entry_count = 0;
  uint32_t body_bytes_added = 0;  // to what the header announces
};

// The frame around `raw`, intact by its checksums.
inline std::string raw_frame(const RawFrame& raw) {
  std::string bytes = frame_of(VoteReply{});  // for its header
  bytes.resize(kFrameHeaderBytes);
  const std::string rest = raw.body + raw.entries;
  char* at = bytes.data();
  put_little_endian(uint64_t{XXH3_64bits(rest.data(), rest.size())}, at + 16);
  put_little_endian(static_cast<uint32_t>(raw.body.size()) + raw.body_bytes_added, at + 24);
  put_little_endian(static_cast<uint32_t>(raw.entries.size()), at + 28);
  put_little_endian(raw.entry_count, at + 32);
  at[36] = static_cast<char>(raw.type);
  const uint64_t seed = get_little_endian<uint64_t>(at);
  put_little_endian(uint64_t{XXH3_64bits_withSeed(at + 16, kFrameHeaderBytes - 16, seed)}, at + 8);
  return bytes + rest;
}

}  // namespace tally
