#include "core/history.h"

#include <fmt/format.h>

#include <string_view>

#include "core/text.h"

namespace tally {
namespace {

template <class Integer>
void append_field(std::string_view key, Integer value, std::string& out) {
  const fmt::format_int digits(value);
  out += ",\"";
  out += key;
  out += "\":";
  out.append(digits.data(), digits.size());
}

std::string_view to_string(Operation::Status status) {
  switch (status) {
    case Operation::Status::kOk: return "ok";
    case Operation::Status::kUnknown: return "unknown";
    case Operation::Status::kRejected: return "rejected";
    case Operation::Status::kFailed: return "failed";
  }
  return "invalid";
}

}  // namespace

void write_history_line(const Operation& operation, std::string& out) {
  const bool is_add = operation.kind == Operation::Kind::kAdd;
  const fmt::format_int client(operation.client);
  out += "{\"client\":";
  out.append(client.data(), client.size());
  append_field("seq", operation.sequence, out);
  out += is_add ? ",\"op\":\"add\",\"counter\":" : ",\"op\":\"get\",\"counter\":";
  append_json_string(operation.counter, out);
  if (is_add) append_field("delta", operation.delta, out);
  if (operation.lower) append_field("lower", *operation.lower, out);
  if (operation.upper) append_field("upper", *operation.upper, out);
  append_field("invoke", operation.invoke_ns, out);
  if (operation.return_ns) {
    append_field("return", *operation.return_ns, out);
  } else {
    out += ",\"return\":null";
  }
  out += ",\"status\":\"";
  out += to_string(operation.status);
  out += '"';
  if (operation.status == Operation::Status::kOk) append_field("value", operation.value, out);
  if (operation.reject_reason == Operation::RejectReason::kBounds) {
    out += ",\"reason\":\"bounds\"";
  } else if (operation.reject_reason == Operation::RejectReason::kOverflow) {
    out += ",\"reason\":\"overflow\"";
  }
  out += "}\n";
}

}  // namespace tally
