// How much of a long search a test does. Sanitizers make it twenty times slower, and what they look
// for shows in a small part; the search itself is release's.
#pragma once

#include <cstdint>

namespace tally {

// `whole`, or about a tenth of it (at least 1) in a sanitizer build.
constexpr uint64_t effort(uint64_t whole) {
#if defined(TALLY_SANITIZED)
  return (whole + 9) / 10;
#else
  return whole;
#endif
}

}  // namespace tally
