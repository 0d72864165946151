// Encoding of commands and the check of counter names: what happens before a command is in the log.
#include <cstddef>

#include "core/check.h"
#include "core/command.pb.h"
#include "core/little_endian.h"
#include "core/state_machine.h"
#include "core/text.h"

namespace tally {
namespace {

// An upper limit on what this build encodes: the longest name and seven ten-byte numbers fit.
constexpr size_t kCommandBytesMax = 512;

Bytes encode(const command::Command& command) {
  const size_t size = command.ByteSizeLong();
  CHECK(size <= kCommandBytesMax, "a command of {} bytes", size);
  char bytes[kCommandBytesMax];
  CHECK(command.SerializeToArray(bytes, static_cast<int>(size)));
  return Bytes(std::string_view(bytes, size));
}

constexpr size_t kWordBytes = 8;

// True when the next eight bytes are there and all ASCII: the fast way through most names.
bool is_ascii_word(std::string_view text) {
  return text.size() >= kWordBytes &&
         (get_little_endian<uint64_t>(text.data()) & 0x8080808080808080) == 0;
}

}  // namespace

std::string counter_name_error(std::string_view name) {
  if (name.empty()) return "the counter name is empty; give 1 to 255 bytes of UTF-8";
  if (name.size() > kCounterNameBytesMax) {
    return fmt::format("the counter name has {} bytes; at most {} are allowed", name.size(),
                       kCounterNameBytesMax);
  }
  for (size_t at = 0; at < name.size();) {
    if (is_ascii_word(name.substr(at))) {
      at += kWordBytes;
      continue;
    }
    const bool in_last_word = name.size() >= kWordBytes && name.size() - at < kWordBytes;
    if (in_last_word && is_ascii_word(name.substr(name.size() - kWordBytes))) return {};
    const size_t size = utf8_sequence_bytes(name.substr(at));
    if (size == 0) {
      return fmt::format("the counter name is not valid UTF-8 at byte {} (0x{:02x})", at,
                         static_cast<uint8_t>(name[at]));
    }
    at += size;
  }
  return {};
}

Bytes encode_open_session(const SessionLimits& limits) {
  CHECK(limits.timeout.count() >= 0, "a session timeout of {} ns", limits.timeout.count());
  command::Command command;
  command::OpenSession& open = *command.mutable_open_session();
  open.set_timeout_ns(static_cast<uint64_t>(limits.timeout.count()));
  open.set_session_count_max(limits.session_count_max);
  return encode(command);
}

Bytes encode_close_session(SessionId session) {
  command::Command command;
  command.mutable_close_session()->set_session(session.value());
  return encode(command);
}

Bytes encode_increment(const IncrementAndGetRequest& request) {
  std::string bytes;
  append_increment(request, bytes);
  return Bytes(bytes);
}

void append_increment(const IncrementAndGetRequest& request, std::string& out) {
  const std::string_view name = request.name.view();
  const std::string name_error = counter_name_error(name);
  CHECK(name_error.empty(), "{}", name_error);
  // Reused, so that encoding allocates nothing.
  thread_local command::Command command;
  command.Clear();
  command::Increment& increment = *command.add_increment();
  increment.mutable_name()->assign(name);
  increment.set_delta(request.delta);
  if (request.lower) increment.set_lower(*request.lower);
  if (request.upper) increment.set_upper(*request.upper);
  increment.set_session(request.session.value());
  increment.set_sequence(request.sequence);
  increment.set_first_outstanding(request.first_outstanding);
  // Messages of protobuf one after the other are one with all their repeated fields.
  const size_t start = out.size();
  const size_t size = command.ByteSizeLong();
  CHECK(size <= kCommandBytesMax, "a command of {} bytes", size);
  out.resize(start + size);
  CHECK(command.SerializeToArray(out.data() + start, static_cast<int>(size)));
}

}  // namespace tally
