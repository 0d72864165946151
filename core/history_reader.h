// Reads a history (core/history.h) from its JSON lines, and refuses one that no clients could have
// written.
//
// A history is judged by what it claims, so nothing in it is guessed, skipped or repaired: a field
// that is missing, unknown or twice there is an error, not a default. It does not judge whether the
// counters behaved; that is the checker's work (sim/checker.h).
#pragma once

#include <string>
#include <string_view>

#include "core/history.h"

namespace tally {

// Sets `out` to the operations of `text` in its order and returns true; or returns false with
// `error` = "FILE:LINE: what is wrong and what would be right" (the content of `out` is then
// unspecified). Empty lines are skipped. `file_name` is for the error only.
//
// Every line: client, seq, op, counter, invoke, return, status, each once, in any order, and
// - delta with "add" only; lower and upper, both optional, with "add" only;
// - value with status "ok" only; reason with status "rejected" only, and only an add is rejected,
//   for "bounds" only one that has bounds;
// - return never before invoke, and null with status "unknown" or "failed" only.
// Between lines: (client, seq) is unique; of the operations of one client (a lane), each is invoked
// at or after the return of the one before it, and none after one that never returned. The lines
// of a lane may be in any order.
bool parse_history(std::string_view text, std::string_view file_name, History& out,
                   std::string& error);

}  // namespace tally
