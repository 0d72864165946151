#include "sim/checker_explain.h"

#include <fmt/format.h>

namespace tally::sim::checker {

namespace {

// Of the character at the beginning of `text`: its bytes in UTF-8, 1 where it is none.
size_t character_bytes(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
  if (first < 0x80 || bytes == 1 || text.size() < bytes) return 1;
  for (size_t i = 1; i < bytes; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) return 1;
  }
  return bytes;
}

// Whether the character would not show as itself, or change how others do: controls, line
// separators, the marks that set the direction of writing.
bool is_unprintable(std::string_view character) {
  const auto byte = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) {
    return byte < 0x20 || byte >= 0x7f || byte == '"' || byte == '\\';
  }
  if (character.size() == 2) return byte == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0;
  if (character.size() != 3 || byte != 0xe2) return false;
  const auto middle = static_cast<unsigned char>(character[1]);
  const auto last = static_cast<unsigned char>(character[2]);
  return (middle == 0x80 && (last >= 0xa8 || (last >= 0x8b && last <= 0x8f)) && last <= 0xae) ||
         (middle == 0x81 && last >= 0xa6 && last <= 0xa9);
}

}  // namespace

std::string quoted(std::string_view name) {
  constexpr size_t kBytesMax = 64;
  std::string out = "\"";
  for (size_t at = 0; at < name.size();) {
    const std::string_view character = name.substr(at, character_bytes(name.substr(at)));
    if (at + character.size() > kBytesMax) return out + "...\"";
    at += character.size();
    if (!is_unprintable(character)) {
      out += character;
      continue;
    }
    for (const char c : character) out += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
  }
  return out + "\"";
}

std::string describe_bounds(const Operation& op) {
  return fmt::format("[{}, {}]", op.lower ? fmt::format("{}", *op.lower) : "-inf",
                     op.upper ? fmt::format("{}", *op.upper) : "inf");
}

std::string describe(const Operation& op) {
  std::string action = op.kind == Operation::Kind::kGet ? "get" : fmt::format("add {:+}", op.delta);
  if (op.lower || op.upper) action += " within " + describe_bounds(op);
  switch (op.status) {
    case Operation::Status::kOk: action += fmt::format(" -> {}", op.value); break;
    case Operation::Status::kRejected: action += " refused"; break;
    case Operation::Status::kUnknown: action += " unanswered"; break;
    case Operation::Status::kFailed: action += " failed"; break;
  }
  const bool open_ended = !op.return_ns || op.status == Operation::Status::kUnknown;
  const std::string times = open_ended ? fmt::format("[{}, ...)", op.invoke_ns)
                                       : fmt::format("[{}, {}]", op.invoke_ns, *op.return_ns);
  return fmt::format("client {} seq {} ({}, {})", op.client, op.sequence, action, times);
}

std::string describe_list(const History& history, const std::vector<uint32_t>& indexes) {
  constexpr size_t kShownMax = 5;
  if (indexes.empty()) return "none";
  std::string out;
  for (size_t i = 0; i < indexes.size() && i < kShownMax; ++i) {
    if (i > 0) out += ", ";
    out += describe(history[indexes[i]]);
  }
  if (indexes.size() > kShownMax) out += fmt::format(" and {} more", indexes.size() - kShownMax);
  return out;
}

}  // namespace tally::sim::checker
