// The history of what clients saw: one record per operation over all its retries. The simulator and
// the load tools write it, the linearizability checker judges it. Text form: JSON lines, one record
// a line, fields as in write_history_line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tally {

struct Operation {
  enum class Kind : uint8_t { kAdd, kGet };
  enum class Status : uint8_t {
    kOk,        // `value` is the answer
    kUnknown,   // ambiguous: may take effect at any time after `invoke`, or never
    kRejected,  // an observation: at its point value + delta lies outside the bounds or 64 bits
    kFailed,    // every attempt certainly not applied: no effect, no observation
  };
  enum class RejectReason : uint8_t { kNone, kBounds, kOverflow };

  uint64_t client = 0;    // a lane: one in-flight slot
  uint64_t sequence = 0;  // "seq": unique within the client
  Kind kind = Kind::kAdd;
  Status status = Status::kOk;
  RejectReason reject_reason = RejectReason::kNone;
  std::string counter;
  int64_t delta = 0;             // kAdd only
  std::optional<int64_t> lower;  // inclusive bounds the client asked for, on the new value
  std::optional<int64_t> upper;
  int64_t invoke_ns = 0;             // the actual first send
  std::optional<int64_t> return_ns;  // empty: the lane ended without an answer
  int64_t value = 0;                 // kOk only
};

using History = std::vector<Operation>;

// Appends the operation as one JSON line, newline included:
// {"client":1,"seq":7,"op":"add","counter":"hits","delta":5,"invoke":1200,"return":1890,
//  "status":"ok","value":17}
// op "get" has no delta; "value" only with status ok; "return" null when there is none;
// "reason":"bounds|overflow" only with rejected; "lower"/"upper" only when given.
void write_history_line(const Operation& operation, std::string& out);

}  // namespace tally
