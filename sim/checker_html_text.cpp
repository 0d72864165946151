#include "sim/checker_html_text.h"

#include <fmt/format.h>

namespace tally::sim::checker_html {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
    }
  }
  return out;
}

namespace {

std::string with_groups(std::string digits) {
  const size_t first = digits[0] == '-' ? 1 : 0;
  for (size_t end = digits.size(); end > first + 3; end -= 3) digits.insert(end - 3, 1, ',');
  return digits;
}

}  // namespace

std::string grouped(uint64_t number) { return with_groups(fmt::format("{}", number)); }

std::string grouped(int64_t number) { return with_groups(fmt::format("{}", number)); }

std::string counted(uint64_t count, std::string_view thing) {
  return fmt::format("{} {}{}", grouped(count), thing, count == 1 ? "" : "s");
}

std::string label_of(const Operation& op) {
  std::string text =
      op.kind == Operation::Kind::kGet ? std::string("get") : fmt::format("{:+}", op.delta);
  switch (op.status) {
    case Operation::Status::kOk: return text + fmt::format(" → {}", op.value);
    case Operation::Status::kUnknown: return text + " ?";
    case Operation::Status::kRejected: return text + " refused";
    case Operation::Status::kFailed: return text + " failed";
  }
  return text;
}

const char* class_of(const Operation& op) {
  switch (op.status) {
    case Operation::Status::kOk: return op.kind == Operation::Kind::kGet ? "get" : "add";
    case Operation::Status::kUnknown: return "maybe";
    case Operation::Status::kRejected: return "refused";
    case Operation::Status::kFailed: return "failed";
  }
  return "";
}

int64_t label_width(const Operation& op) {
  const auto length = static_cast<int64_t>(label_of(op).size());
  const int64_t columns = op.status == Operation::Status::kOk ? length - 2 : length;  // the arrow
  return columns * 73 / 10 + 14;
}

}  // namespace tally::sim::checker_html
