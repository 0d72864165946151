// libFuzzer's way into tests/recovery_fuzz.h. Built by `./dev fuzz`.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/recovery_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tally::RecoveryFuzz().run({reinterpret_cast<const char*>(data), size});
  return 0;
}
