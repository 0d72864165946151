// `tallysim check`: judges a history that clients wrote down, of the simulator, of a real cluster
// or of anybody else's counter.
//
// The history comes as JSON lines (core/history_reader.h) from a file or from standard input, is
// read and parsed block by block, and judged counter by counter, several at a time. Lines are never
// skipped or repaired: the first bad one ends the command with FILE:LINE and a reason. The verdict
// goes to standard output; progress of a long input to standard error, only when that is a
// terminal.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "sim/checker.h"

namespace tally::tools {

struct CheckFlags {
  std::string file;  // "-": standard input
  sim::CheckOptions options;
  uint64_t memory_mb = sim::CheckOptions{}.memory_bytes >> 20;
  unsigned job_count = 1;  // threads that judge counters; does not change what comes out
  bool json = false;
  bool explain = false;
  std::string html;  // where the picture goes; empty: none
};

// Adds the command `check` to `app`. `flags` is filled by parsing and must outlive `app`.
CLI::App& add_check_command(CLI::App& app, CheckFlags& flags);

// Reads, judges, prints. The exit code: 0 ok, 1 violation, 2 a bad line or a file that cannot be
// read, 3 the picture cannot be written or the system gives no more memory, 4 undecided.
int check_command(const CheckFlags& flags);

}  // namespace tally::tools
