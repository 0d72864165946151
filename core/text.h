// Bytes as text that other programs read: what is valid UTF-8, and JSON strings.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tally {

// The length of the valid UTF-8 sequence at the start of `text`, 0 when there is none: no overlong
// forms, no surrogates, nothing above U+10FFFF (Unicode table 3-7). REQUIRES: !text.empty().
size_t utf8_sequence_bytes(std::string_view text);

// Appends `text` as a JSON string, quotes included. Each byte that is no part of valid UTF-8
// becomes U+FFFD: a file's name may hold any bytes, a JSON text may not.
void append_json_string(std::string_view text, std::string& out);

}  // namespace tally
