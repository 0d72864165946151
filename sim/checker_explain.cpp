#include "sim/checker_explain.h"

#include <fmt/format.h>

namespace tally::sim::checker {

std::string quoted(std::string_view name) {
  constexpr size_t kLengthMax = 64;
  std::string out = "\"";
  for (char c : name.substr(0, kLengthMax)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || c == '"' || c == '\\') {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(byte));
    } else {
      out += c;
    }
  }
  if (name.size() > kLengthMax) out += "...";
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
