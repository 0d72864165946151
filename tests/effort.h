// How much of a long search a test does. Sanitizers make it twenty times slower, and what they look
// for shows in a small part; the search itself is release's.
#pragma once

#include <cstdint>

namespace tally {

#if defined(TALLY_SANITIZED)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// `whole`, or about a tenth of it (at least 1) in a sanitizer build.
constexpr uint64_t effort(uint64_t whole) { return kSanitized ? (whole + 9) / 10 : whole; }

}  // namespace tally
