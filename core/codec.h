// The wire codec: an Envelope as a frame of bytes, and back.
//
// The one place where bytes from outside become messages. Whatever the bytes are, decode_frame
// neither crashes nor takes memory that the frame's own size does not justify, and a frame with any
// byte changed is never taken for another one: two XXH3 checksums cover all of it. It refuses to
// judge what a message means: names, terms and roles are the driver's and Raft's to check, and
// whether `from` is who the connection says is the transport's. Byte for byte: core/README.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/message.h"

namespace tally {

// Both ends of a connection must speak the same version; there is no negotiation yet.
inline constexpr uint16_t kWireVersion = 7;

inline constexpr size_t kFrameHeaderBytes = 72;
inline constexpr size_t kFrameBodyBytesMax = 4096;
// One append's records (record_bytes() of every entry), or one piece of a snapshot. At least one
// record of any size fits.
inline constexpr size_t kFrameEntriesBytesMax = size_t{8} << 20;
inline constexpr size_t kFrameBytesMax =
    kFrameHeaderBytes + kFrameBodyBytesMax + kFrameEntriesBytesMax;
// Longer texts are cut when encoded. A name that long is refused by every node, cut or not.
inline constexpr size_t kFrameTextBytesMax = 1024;

// Which cluster, and which of its groups, a frame is for.
struct GroupId {
  uint64_t cluster_id = 0;
  uint64_t group_id = 0;

  friend bool operator==(const GroupId&, const GroupId&) = default;
};

// Appends `envelope` as one frame to `out`.
// REQUIRES: the entries of an append are contiguous from prev_log_index + 1, each at most
// kRecordPayloadBytesMax, together at most kFrameEntriesBytesMax as records.
void encode_frame(const Envelope& envelope, GroupId group, std::string& out);

enum class FrameStatus : uint8_t {
  kOk,
  kNeedMore,      // the start of a frame that may be fine; call again with more bytes
  kCorrupt,       // not a frame, damaged, or with a body that this version does not allow
  kWrongVersion,  // another protocol version
  kWrongGroup,    // an intact header for another cluster or group
  kTooLarge,      // an intact header that announces more than the limits
};
std::string_view to_string(FrameStatus status);

// Reads the frame at the start of `bytes`.
// kOk: `out` is the envelope (its memory is used again where it fits; it keeps no reference to
// `bytes`) and `consumed` the frame's size. Otherwise `consumed` is 0, the content of `out` is
// unspecified, and, but for kNeedMore, `error` says what was found and what to do; the stream
// cannot be read on.
FrameStatus decode_frame(std::string_view bytes, GroupId expected, Envelope& out, size_t& consumed,
                         std::string& error);

}  // namespace tally
