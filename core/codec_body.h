// The protobuf part of a frame: a message's scalar fields. Internal to the codec.
//
// An append's entries are not in here; they lie behind the body as records.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/message.h"

namespace tally {

// The type byte of the frame header. Part of the wire format: never reuse a value.
uint8_t wire_type(const Message& message);

// Appends the body to `out` and returns its size, at most kFrameBodyBytesMax.
size_t encode_body(const Message& message, std::string& out);

// Sets `message` from the body, an append's entries excepted, and returns an empty view; or returns
// what is wrong with the body, a literal.
std::string_view decode_body(uint8_t type, std::string_view body, Message& message);

}  // namespace tally
