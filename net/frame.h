// Net frames: what Tally programs say to each other beside core's frames, on the same connections.
//
// 24 bytes of header (magic "TLNT", version, zero, payload size, checksum), then a NetMessage. The
// magic differs from that of core's frames in its third byte, so the first four bytes tell which it
// is. net/README.md has it byte for byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/codec.h"
#include "net/net.pb.h"

namespace tally {

inline constexpr uint16_t kNetVersion = 1;
inline constexpr size_t kNetHeaderBytes = 24;
inline constexpr size_t kNetPayloadBytesMax = size_t{64} << 10;

// REQUIRES: it has at most kNetPayloadBytesMax bytes.
void encode_net_frame(const net::NetMessage& message, std::string& out);

// True when `bytes` may be the start of a net frame, as far as they go.
bool is_net_frame(std::string_view bytes);

// As decode_frame() of core/codec.h.
FrameStatus decode_net_frame(std::string_view bytes, net::NetMessage& out, size_t& consumed,
                             std::string& error);

// The id of a cluster or group: a hash of its name.
uint64_t name_id(std::string_view name);

}  // namespace tally
