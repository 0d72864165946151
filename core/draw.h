// Keyed draws: every random number is a pure function of who asks for it.
//
// draw(seed, stream, keys...) gives 64 uniform bits. The keys are the draw's own identity (link and
// ordinal of a message; node, term and attempt of an election), so removing one draw changes no
// other one. There is no generator state, hence nothing to share, save or restore.
#pragma once

#include <cstdint>

namespace tally {

namespace detail {
// Mixes one word into the state: multiply, fold the high half in (the finaliser of SplitMix64).
constexpr uint64_t mix(uint64_t state, uint64_t word) {
  uint64_t z = (state ^ word) + 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}
}  // namespace detail

template <class... Keys>
constexpr uint64_t draw(uint64_t seed, uint64_t stream, Keys... keys) {
  uint64_t state = detail::mix(seed, stream);
  ((state = detail::mix(state, static_cast<uint64_t>(keys))), ...);
  return state;
}

// Scales 64 uniform bits to 0 .. bound-1 (bound 0 gives 0). The bias is below bound / 2^64.
constexpr uint64_t scale(uint64_t bits, uint64_t bound) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(bits) * bound) >> 64);
}

}  // namespace tally
