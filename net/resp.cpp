#include "net/resp.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace tally {
namespace {

// "*1024" and "$16384" have fewer; so do all numbers of 64 bits.
constexpr size_t kLengthBytesMax = 32;

RespStatus fail(RespCommand& command, std::string_view what) {
  command.error = fmt::format("Protocol error: {}", what);
  return RespStatus::kError;
}

RespStatus need(RespCommand& command, size_t bytes) {
  command.need = bytes;
  return RespStatus::kNeedMore;
}

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::optional<char> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<char>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<char>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<char>(c - 'A' + 10);
  return {};
}

// What stands behind a backslash within double quotes; advances over it.
char unescape(std::string_view line, size_t& at) {
  const char c = line[at++];
  switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    case 'x': break;
    default: return c;
  }
  if (at + 2 > line.size()) return c;
  const auto high = hex_digit(line[at]);
  const auto low = hex_digit(line[at + 1]);
  if (!high || !low) return c;
  at += 2;
  return static_cast<char>(*high * 16 + *low);
}

// Appends the word at `at` to `out` and advances over it. False when its quotes do not close, or
// something other than a space follows them.
bool take_word(std::string_view line, size_t& at, std::string& out) {
  char quote = 0;
  while (at < line.size()) {
    const char c = line[at];
    if (quote == 0 && is_space(c)) return true;
    ++at;
    if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
    } else if (quote != 0 && c == quote) {
      return at == line.size() || is_space(line[at]);
    } else if (quote == '"' && c == '\\' && at < line.size()) {
      out.push_back(unescape(line, at));
    } else if (quote == '\'' && c == '\\' && at < line.size() && line[at] == '\'') {
      out.push_back(line[at++]);
    } else {
      out.push_back(c);
    }
  }
  return quote == 0;
}

RespStatus parse_inline(std::string_view bytes, const RespLimits& limits, RespCommand& command) {
  const size_t end = bytes.substr(0, limits.inline_bytes_max).find('\n');
  if (end == std::string_view::npos) {
    if (bytes.size() >= limits.inline_bytes_max) return fail(command, "too big inline request");
    return need(command, bytes.size() + 1);
  }
  command.consumed = end + 1;
  std::string_view line = bytes.substr(0, end);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  // Words never get longer than the line: the views stay valid.
  command.unquoted.clear();
  command.unquoted.reserve(limits.inline_bytes_max);
  for (size_t at = 0;;) {
    while (at < line.size() && is_space(line[at])) ++at;
    if (at == line.size()) return RespStatus::kOk;
    if (command.arguments.size() == limits.argument_count_max) {
      return fail(command, "too big inline request");
    }
    const size_t start = command.unquoted.size();
    if (!take_word(line, at, command.unquoted))
      return fail(command, "unbalanced quotes in request");
    command.arguments.emplace_back(command.unquoted.data() + start,
                                   command.unquoted.size() - start);
  }
}

// The line that begins at `at`, without its type and its end; advances over it. Empty optional: the
// end has not arrived.
std::optional<std::string_view> take_line(std::string_view bytes, size_t& at) {
  const std::string_view rest = bytes.substr(at, kLengthBytesMax);
  const size_t end = rest.find('\r');
  if (end == std::string_view::npos || at + end + 1 >= bytes.size()) return {};
  at += end + 2;
  return rest.substr(1, end - 1);
}

bool line_too_long(std::string_view bytes, size_t at) {
  return bytes.size() - at >= kLengthBytesMax &&
         bytes.substr(at, kLengthBytesMax).find('\r') == std::string_view::npos;
}

std::string shown(char c) {
  const bool plain = c >= ' ' && c <= '~';
  return plain ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
}

}  // namespace

RespStatus parse_command(std::string_view bytes, const RespLimits& limits, RespCommand& command) {
  command.arguments.clear();
  command.consumed = 0;
  if (bytes.front() != '*') return parse_inline(bytes, limits, command);

  size_t at = 0;
  if (line_too_long(bytes, at)) return fail(command, "too big mbulk count string");
  const auto count_text = take_line(bytes, at);
  if (!count_text) return need(command, bytes.size() + 1);
  int64_t count = 0;
  const bool fits =
      parse_integer(*count_text, count) && count <= static_cast<int64_t>(limits.argument_count_max);
  if (!fits || bytes[at - 1] != '\n') return fail(command, "invalid multibulk length");

  for (int64_t i = 0; i < count; ++i) {
    if (at == bytes.size()) return need(command, at + 1);
    if (bytes[at] != '$') {
      return fail(command, fmt::format("expected '$', got '{}'", shown(bytes[at])));
    }
    if (line_too_long(bytes, at)) return fail(command, "too big bulk count string");
    const auto length_text = take_line(bytes, at);
    if (!length_text) return need(command, bytes.size() + 1);
    int64_t length = 0;
    const bool length_fits = parse_integer(*length_text, length) && length >= 0 &&
                             length <= static_cast<int64_t>(limits.argument_bytes_max);
    if (!length_fits || bytes[at - 1] != '\n') return fail(command, "invalid bulk length");
    const size_t end = at + static_cast<size_t>(length);
    if (end + 2 > limits.command_bytes_max) {
      return fail(command,
                  fmt::format("a command of more than {} bytes", limits.command_bytes_max));
    }
    if (bytes.size() < end + 2) return need(command, end + 2);
    if (bytes[end] != '\r' || bytes[end + 1] != '\n') {
      return fail(command, "an argument is longer than its bulk length says");
    }
    command.arguments.push_back(bytes.substr(at, static_cast<size_t>(length)));
    at = end + 2;
  }
  command.consumed = at;
  return RespStatus::kOk;
}

bool parse_integer(std::string_view text, int64_t& value) {
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  if (text.empty() || code != std::errc() || stop != end) return false;
  const size_t first_digit = text.front() == '-' ? 1 : 0;
  return text[first_digit] != '0' || text.size() == 1;  // "-0" is none either
}

namespace {

void put_number(std::string& out, char type, int64_t value) {
  std::array<char, 24> text;
  text[0] = type;
  char* end = std::to_chars(text.data() + 1, text.data() + text.size(), value).ptr;
  *end++ = '\r';
  *end++ = '\n';
  out.append(text.data(), static_cast<size_t>(end - text.data()));
}

}  // namespace

void put_simple(std::string& out, std::string_view text) {
  out.append("+").append(text).append("\r\n");
}

void put_error(std::string& out, std::string_view text) {
  out.push_back('-');
  const size_t start = out.size();
  out.append(text);
  std::replace_if(
      out.begin() + static_cast<std::ptrdiff_t>(start), out.end(),
      [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7F'; }, ' ');
  out.append("\r\n");
}

void put_integer(std::string& out, int64_t value) { put_number(out, ':', value); }

void put_bulk(std::string& out, std::string_view bytes) {
  put_number(out, '$', static_cast<int64_t>(bytes.size()));
  out.append(bytes).append("\r\n");
}

void put_bulk_integer(std::string& out, int64_t value) {
  std::array<char, 24> text;
  const char* end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  put_bulk(out, {text.data(), static_cast<size_t>(end - text.data())});
}

void put_null(std::string& out, bool resp3) { out.append(resp3 ? "_\r\n" : "$-1\r\n"); }

void put_array(std::string& out, size_t count) {
  put_number(out, '*', static_cast<int64_t>(count));
}

void put_map(std::string& out, size_t count, bool resp3) {
  put_number(out, resp3 ? '%' : '*', static_cast<int64_t>(resp3 ? count : 2 * count));
}

uint16_t key_slot(std::string_view key) {
  const size_t open = key.find('{');
  if (open != std::string_view::npos) {
    const size_t close = key.find('}', open + 1);
    if (close != std::string_view::npos && close > open + 1) {
      key = key.substr(open + 1, close - open - 1);
    }
  }
  uint32_t crc = 0;  // CRC16-CCITT, as XMODEM has it
  for (const char c : key) {
    crc ^= static_cast<uint32_t>(static_cast<unsigned char>(c)) << 8;
    for (int bit = 0; bit < 8; ++bit) crc = (crc << 1) ^ ((crc & 0x8000) != 0 ? 0x1021 : 0);
    crc &= 0xFFFF;
  }
  return static_cast<uint16_t>(crc & 0x3FFF);
}

}  // namespace tally
