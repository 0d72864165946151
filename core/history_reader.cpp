#include "core/history_reader.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <limits>
#include <unordered_map>

#include "core/state_machine.h"

namespace tally {
namespace {

namespace ondemand = simdjson::ondemand;

enum Field : unsigned {
  kClient,
  kSeq,
  kOp,
  kCounter,
  kDelta,
  kInvoke,
  kReturn,
  kStatus,
  kValue,
  kReason,
  kLower,
  kUpper,
  kFieldCount
};
constexpr std::array<std::string_view, kFieldCount> kFieldNames = {
    "client", "seq",    "op",    "counter", "delta", "invoke",
    "return", "status", "value", "reason",  "lower", "upper"};

constexpr unsigned bit(Field field) { return 1u << field; }
constexpr unsigned kAlways = bit(kClient) | bit(kSeq) | bit(kOp) | bit(kCounter) | bit(kInvoke) |
                             bit(kReturn) | bit(kStatus);

// Field order of write_history_line comes first: a line in that order finds each key at once.
Field field_named(std::string_view key, unsigned guess) {
  if (guess < kFieldCount && kFieldNames[guess] == key) return static_cast<Field>(guess);
  for (unsigned field = 0; field < kFieldCount; ++field) {
    if (kFieldNames[field] == key) return static_cast<Field>(field);
  }
  return kFieldCount;
}

// The beginning of what stands in the file, for an error: in quotes, on one line, all printable.
std::string excerpt(std::string_view text) {
  constexpr size_t kShownBytesMax = 40;
  while (!text.empty() && static_cast<uint8_t>(text.back()) <= ' ') text.remove_suffix(1);
  std::string shown;
  for (const char c : text.substr(0, kShownBytesMax)) {
    shown += static_cast<uint8_t>(c) < ' ' || static_cast<uint8_t>(c) >= 0x7f ? '?' : c;
  }
  return fmt::format("`{}`{}", shown, text.size() > kShownBytesMax ? "..." : "");
}

// Reads one line into an Operation. Each step returns what is wrong, empty when nothing is.
class LineReader {
 public:
  // REQUIRES: simdjson::SIMDJSON_PADDING readable bytes behind the line, whatever they are.
  std::string read(std::string_view line, Operation& operation) {
    operation_ = &operation;
    ondemand::document document;
    ondemand::object object;
    const simdjson::error_code begun =
        parser_.iterate(line.data(), line.size(), line.size() + simdjson::SIMDJSON_PADDING)
            .get(document);
    if (begun == simdjson::MEMALLOC) return "there is not enough memory to read this line";
    if (begun != simdjson::SUCCESS || document.get_object().get(object)) {
      const std::string binary = what_is_no_text(line);
      if (!binary.empty()) return binary;
      return fmt::format(
          "found {}, which is no whole JSON object; expected one operation like "
          "{{\"client\":1,\"seq\":7,...}}",
          excerpt(line));
    }
    seen_ = 0;
    unsigned guess = 0;
    for (auto item : object) {
      ondemand::field field;
      std::string_view key;
      if (std::move(item).get(field) || field.unescaped_key().get(key)) return broken_json();
      const Field name = field_named(key, guess);
      if (name == kFieldCount) return fmt::format("unknown field {}; remove it", excerpt(key));
      if ((seen_ & bit(name)) != 0) return fmt::format("field \"{}\" twice; keep one", key);
      seen_ |= bit(name);
      guess = name + 1;
      std::string wrong = read_field(name, field.value());
      if (!wrong.empty()) return wrong;
    }
    if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) {
      return "something behind the object; one operation per line";
    }
    return check_operation();
  }

 private:
  // What shows that this is not a line of UTF-8 text; empty when nothing does.
  static std::string what_is_no_text(std::string_view line) {
    if (line.rfind("\xef\xbb\xbf", 0) == 0) {
      return "begins with a byte order mark (EF BB BF); save the file as UTF-8 without one";
    }
    if (line.rfind("\xff\xfe", 0) == 0 || line.rfind("\xfe\xff", 0) == 0) {
      return "is UTF-16; save the file as UTF-8";
    }
    const size_t nul = line.find('\0');
    if (nul == line.npos) return {};
    return fmt::format(
        "holds a NUL byte (the {}. of the line); the file is damaged, or not UTF-8 text", nul + 1);
  }

  static std::string broken_json() { return "not valid JSON; the line may be cut or damaged"; }

  // What stands there instead of what was expected.
  static std::string found(ondemand::value value) { return excerpt(value.raw_json_token()); }

  template <class Integer>
  static std::string read_integer(Field name, ondemand::value value, Integer& out) {
    if (!value.get(out)) return {};
    return fmt::format("\"{}\" is {}, not an integer of {} bits{}", kFieldNames[name], found(value),
                       8 * sizeof(Integer), std::is_unsigned_v<Integer> ? " from 0 up" : "");
  }

  // Reads a string that must be one of `words`, as its position among them.
  template <class Enum, size_t kCount>
  static std::string read_word(Field name, ondemand::value value,
                               const std::array<std::string_view, kCount>& words, Enum first,
                               Enum& out) {
    std::string_view word;
    if (!value.get_string().get(word)) {
      for (size_t i = 0; i < kCount; ++i) {
        if (words[i] != word) continue;
        out = static_cast<Enum>(static_cast<size_t>(first) + i);
        return {};
      }
    }
    return fmt::format("\"{}\" is {}; it must be one of: {}", kFieldNames[name], found(value),
                       fmt::join(words, ", "));
  }

  std::string read_return(ondemand::value value) {
    bool null = false;
    if (value.is_null().get(null)) {
      return fmt::format("\"return\" is {}, neither an integer nor null", found(value));
    }
    if (null) {
      operation_->return_ns.reset();
      return {};
    }
    return read_integer(kReturn, value, operation_->return_ns.emplace());
  }

  std::string read_counter(ondemand::value value) {
    std::string_view name;
    if (value.get_string().get(name)) {
      return fmt::format("\"counter\" is {}, not a string of valid UTF-8", found(value));
    }
    operation_->counter = name;
    return counter_name_error(name);
  }

  std::string read_field(Field name, ondemand::value value) {
    Operation& operation = *operation_;
    switch (name) {
      case kClient: return read_integer(name, value, operation.client);
      case kSeq: return read_integer(name, value, operation.sequence);
      case kOp: return read_word(name, value, kOps, Operation::Kind::kAdd, operation.kind);
      case kCounter: return read_counter(value);
      case kDelta: return read_integer(name, value, operation.delta);
      case kInvoke: return read_integer(name, value, operation.invoke_ns);
      case kReturn: return read_return(value);
      case kStatus:
        return read_word(name, value, kStatuses, Operation::Status::kOk, operation.status);
      case kValue: return read_integer(name, value, operation.value);
      case kReason:
        return read_word(name, value, kReasons, Operation::RejectReason::kBounds,
                         operation.reject_reason);
      case kLower: return read_integer(name, value, operation.lower.emplace());
      case kUpper: return read_integer(name, value, operation.upper.emplace());
      case kFieldCount: break;
    }
    return "unknown field";
  }

  std::string check_field(Field field, bool required, bool allowed, std::string_view where) const {
    const bool seen = (seen_ & bit(field)) != 0;
    if (required && !seen) return fmt::format("no \"{}\"; {} needs it", kFieldNames[field], where);
    if (!allowed && seen) return fmt::format("\"{}\" on {}; remove it", kFieldNames[field], where);
    return {};
  }

  // All fields are read: do they fit together?
  std::string check_operation() const {
    if ((seen_ & kAlways) != kAlways) {
      for (unsigned field = 0; field < kFieldCount; ++field) {
        const unsigned field_bit = bit(static_cast<Field>(field));
        if ((kAlways & ~seen_ & field_bit) != 0) {
          return fmt::format("no \"{}\"; every operation needs it", kFieldNames[field]);
        }
      }
    }
    const Operation& operation = *operation_;
    const bool add = operation.kind == Operation::Kind::kAdd;
    const std::string_view op = add ? "an \"add\"" : "a \"get\"";
    const bool ok = operation.status == Operation::Status::kOk;
    const bool rejected = operation.status == Operation::Status::kRejected;
    const std::string_view status = kStatusTexts[static_cast<size_t>(operation.status)];
    std::string wrong = check_field(kDelta, add, add, op);
    if (wrong.empty()) wrong = check_field(kLower, false, add, op);
    if (wrong.empty()) wrong = check_field(kUpper, false, add, op);
    if (wrong.empty()) wrong = check_field(kValue, ok, ok, status);
    if (wrong.empty()) wrong = check_field(kReason, rejected, rejected, status);
    if (!wrong.empty()) return wrong;
    if (rejected && !add) return "a \"get\" is never rejected; status failed, if never served";
    if (operation.reject_reason == Operation::RejectReason::kBounds && !operation.lower &&
        !operation.upper) {
      return "rejected for bounds without any; give the request's \"lower\" or \"upper\"";
    }
    if (!operation.return_ns) {
      if (!ok && !rejected) return {};
      return fmt::format("\"return\" is null on {}; give the time of the answer", status);
    }
    if (*operation.return_ns < operation.invoke_ns) {
      return fmt::format(
          "returns at {}, before its invoke at {}; both must be read from one "
          "monotonic clock",
          *operation.return_ns, operation.invoke_ns);
    }
    return {};
  }

  static constexpr std::array<std::string_view, 2> kOps = {"add", "get"};
  static constexpr std::array<std::string_view, 4> kStatuses = {"ok", "unknown", "rejected",
                                                                "failed"};
  static constexpr std::array<std::string_view, 4> kStatusTexts = {
      "status \"ok\"", "status \"unknown\"", "status \"rejected\"", "status \"failed\""};
  static constexpr std::array<std::string_view, 2> kReasons = {"bounds", "overflow"};

  ondemand::parser parser_;
  Operation* operation_ = nullptr;  // what is being read
  unsigned seen_ = 0;               // bits of the fields found so far
};

// Takes lines off `text`, skipping empty ones.
class LineCutter {
 public:
  explicit LineCutter(std::string_view text) : rest_(text) {}

  bool next(std::string_view& line) {
    while (!rest_.empty()) {
      const size_t end = std::min(rest_.find('\n'), rest_.size());
      line = rest_.substr(0, end);
      rest_.remove_prefix(std::min(end + 1, rest_.size()));
      ++line_number_;
      if (line.find_first_not_of(" \t\r") != std::string_view::npos) return true;
    }
    return false;
  }
  uint64_t line_number() const { return line_number_; }

 private:
  std::string_view rest_;
  uint64_t line_number_ = 0;  // of the last line taken, from 1
};

// At least the lines that LineCutter finds. (std::count would take a tenth of the reading.)
size_t count_lines(std::string_view text) {
  size_t count = 1;
  for (size_t at = text.find('\n'); at != text.npos; at = text.find('\n', at + 1)) ++count;
  return count;
}

// The line that the operation at `position` stands on. Slow: for errors.
uint64_t line_of(std::string_view text, size_t position) {
  LineCutter cutter(text);
  std::string_view line;
  for (size_t i = 0; i <= position && cutter.next(line); ++i) {
  }
  return cutter.line_number();
}

// Sees the operations in the order of the file and knows, cheaply, that all is well when every lane
// is in order. When one is not, the whole history has to be sorted to tell.
class LaneWatch {
 public:
  void add(const Operation& operation) {
    const auto [found, fresh] = lanes_.try_emplace(operation.client);
    Lane& lane = found->second;
    if (!fresh && (!lane.return_ns || operation.invoke_ns < *lane.return_ns ||
                   operation.sequence <= lane.sequence)) {
      in_order_ = false;
    }
    lane = {operation.sequence, operation.return_ns};
  }
  bool in_order() const { return in_order_; }

 private:
  struct Lane {  // the lane's last operation
    uint64_t sequence = 0;
    std::optional<int64_t> return_ns;
  };
  std::unordered_map<uint64_t, Lane> lanes_;
  bool in_order_ = true;
};

struct Conflict {
  size_t first = 0;    // positions in the history
  size_t second = 0;   // the one to complain about
  std::string reason;  // empty when there is no conflict

  size_t last() const { return std::max(first, second); }  // where in the file it comes to light
};

// The positions of `history` ordered by `key` of the operation, then by position.
template <class Key>
std::vector<size_t> sorted_positions(const History& history, Key key) {
  std::vector<size_t> positions(history.size());
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = i;
  std::sort(positions.begin(), positions.end(), [&](size_t a, size_t b) {
    const auto key_a = key(history[a]);
    const auto key_b = key(history[b]);
    return key_a != key_b ? key_a < key_b : a < b;
  });
  return positions;
}

// Of several conflicts, the one that comes to light first in the file.
Conflict find_duplicate(const History& history) {
  const auto positions = sorted_positions(
      history, [](const Operation& op) { return std::pair(op.client, op.sequence); });
  Conflict found;
  for (size_t i = 1; i < positions.size(); ++i) {
    const Operation& a = history[positions[i - 1]];
    const Operation& b = history[positions[i]];
    if (a.client != b.client || a.sequence != b.sequence) continue;
    if (!found.reason.empty() && found.second < positions[i]) continue;
    found = {positions[i - 1], positions[i],
             fmt::format("client {} has operation {} twice; write one line per operation over all "
                         "its retries",
                         b.client, b.sequence)};
  }
  return found;
}

// `a` is the one that was invoked first.
std::string overlap_reason(const Operation& a, const Operation& b) {
  if (!a.return_ns) {
    return fmt::format(
        "client {} goes on with operation {} after operation {}, which never returned; a lane ends "
        "there, go on under a new client number",
        b.client, b.sequence, a.sequence);
  }
  return fmt::format(
      "client {} has two operations open at once: {} is invoked at {}, before {} returns at {}; "
      "give each slot in flight its own client number",
      b.client, b.sequence, b.invoke_ns, a.sequence, *a.return_ns);
}

Conflict find_overlap(const History& history) {
  const auto positions = sorted_positions(history, [](const Operation& op) {
    return std::tuple(op.client, op.invoke_ns,
                      op.return_ns.value_or(std::numeric_limits<int64_t>::max()));
  });
  auto end_of = [&](size_t position) {
    return history[position].return_ns.value_or(std::numeric_limits<int64_t>::max());
  };
  Conflict found;
  size_t longest = 0;  // of the client's operations so far, the one that ends last
  for (const size_t position : positions) {
    const Operation& a = history[longest];
    const Operation& b = history[position];
    if (position == positions.front() || a.client != b.client) {
      longest = position;
      continue;
    }
    const bool overlap = !a.return_ns || b.invoke_ns < *a.return_ns;
    if (overlap && (found.reason.empty() || std::max(longest, position) < found.last())) {
      found = {longest, position, overlap_reason(a, b)};
    }
    if (end_of(position) >= end_of(longest)) longest = position;
  }
  return found;
}

// The first one in the file.
Conflict find_conflict(const History& history) {
  const Conflict duplicate = find_duplicate(history);
  const Conflict overlap = find_overlap(history);
  if (overlap.reason.empty()) return duplicate;
  if (duplicate.reason.empty()) return overlap;
  return duplicate.last() <= overlap.last() ? duplicate : overlap;
}

}  // namespace

bool parse_history(std::string_view text, std::string_view file_name, History& out,
                   std::string& error) {
  out.clear();
  out.reserve(count_lines(text));
  LineReader reader;
  LineCutter cutter(text);
  LaneWatch watch;
  std::string padded;  // a copy of a line too near the end of `text` to be read in place
  std::string_view line;
  while (cutter.next(line)) {
    const auto behind_bytes = static_cast<size_t>(text.end() - line.end());
    if (behind_bytes < simdjson::SIMDJSON_PADDING) {
      padded.assign(line).append(simdjson::SIMDJSON_PADDING, ' ');
      line = std::string_view(padded).substr(0, line.size());
    }
    error = reader.read(line, out.emplace_back());
    if (!error.empty()) {
      error = fmt::format("{}:{}: {}", file_name, cutter.line_number(), error);
      out.pop_back();
      break;
    }
    watch.add(out.back());
  }
  // What contradicts each other ahead of a bad line comes first.
  if (watch.in_order()) return error.empty();
  const Conflict conflict = find_conflict(out);
  if (conflict.reason.empty()) return error.empty();
  error = fmt::format("{}:{}: {} (see line {})", file_name, line_of(text, conflict.second),
                      conflict.reason, line_of(text, conflict.first));
  return false;
}

}  // namespace tally
