// RESP: the bytes of Redis' protocol, versions 2 and 3. Commands are read, replies written.
//
// Pure: no sockets, no commands. A command is an array of bulk strings, or one line of words
// (inline); its arguments may hold any bytes. What a command may cost is limited before memory is
// taken for it. Errors are in Redis' words, where Redis has words for them.
// (https://redis.io/docs/latest/develop/reference/protocol-spec)
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tally {

struct RespLimits {
  size_t argument_count_max = 1024;  // the command's own name included
  size_t argument_bytes_max = size_t{16} << 10;
  size_t command_bytes_max = size_t{64} << 10;  // as it arrives, all in all
  size_t inline_bytes_max = size_t{4} << 10;
};

// One command, reused from call to call.
struct RespCommand {
  // Views of the bytes parsed, or of `unquoted`. Empty for an empty line and an empty array: there
  // is nothing to answer.
  std::vector<std::string_view> arguments;
  size_t consumed = 0;   // kOk: so many bytes were the command
  size_t need = 0;       // kNeedMore: with fewer bytes than this, the next call says the same
  std::string error;     // kError: "Protocol error: ..."; nothing more can be read
  std::string unquoted;  // of an inline command
};

enum class RespStatus : uint8_t { kOk, kNeedMore, kError };

// Takes the command at the start of `bytes`. What it says depends on the bytes alone, not on how
// they arrived in pieces. REQUIRES: !bytes.empty()
RespStatus parse_command(std::string_view bytes, const RespLimits& limits, RespCommand& command);

// A decimal integer as Redis takes it: no spaces, no plus, no leading zeros, within 64 bits.
bool parse_integer(std::string_view text, int64_t& value);

// ---- replies, appended to `out`; `resp3` as the connection's HELLO has set it

void put_simple(std::string& out, std::string_view text);  // REQUIRES: no CR or LF
// "-CODE text". Control characters become spaces.
void put_error(std::string& out, std::string_view text);
void put_integer(std::string& out, int64_t value);
void put_bulk(std::string& out, std::string_view bytes);
void put_bulk_integer(std::string& out, int64_t value);  // as GET answers it
void put_null(std::string& out, bool resp3);
void put_array(std::string& out, size_t count);            // that many replies follow
void put_map(std::string& out, size_t count, bool resp3);  // that many pairs of replies follow

// The slot of a key in a Redis cluster: CRC16 of it, or of what stands in its first braces.
uint16_t key_slot(std::string_view key);

}  // namespace tally
