// CHECK: an invariant that must hold in every build, release included.
//
// A failed CHECK is a defect of Tally, never the answer to bad input. It calls the handler, which
// does not return: by default it prints the message and aborts; the simulator installs one that
// reports the run as a violation of oracle `check`. No exception is thrown.
#pragma once

#include <fmt/format.h>

#include <string>

namespace tally {

// Called with "file:line: CHECK(condition) failed: message". Must not return.
using CheckHandler = void (*)(const std::string& message);

// Installs `handler` for the whole process and returns the one before it.
CheckHandler set_check_handler(CheckHandler handler);

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               const std::string& message);

}  // namespace tally

// CHECK(condition) or CHECK(condition, "format {}", arguments...). Arguments are evaluated only on
// failure.
#define CHECK(condition, ...)                                                               \
  do {                                                                                      \
    if (!(condition)) [[unlikely]] {                                                        \
      ::tally::check_failed(__FILE__, __LINE__, #condition, ::fmt::format("" __VA_ARGS__)); \
    }                                                                                       \
  } while (false)
