// Integers as explicit little-endian bytes, for every byte layout and digest of Tally.
//
// Nothing that is stored, sent or hashed may depend on the machine's byte order or on struct
// padding, so integers go through here one at a time and structs are never copied as bytes.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tally {

// Writes the sizeof(Integer) bytes of `value` at `out`, lowest first.
template <std::unsigned_integral Integer>
inline void put_little_endian(Integer value, char* out) {
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(out, &value, sizeof(value));  // gcc 12 does not make one store of the loop below
  } else {
    for (size_t i = 0; i < sizeof(Integer); ++i) {
      out[i] = static_cast<char>(static_cast<uint8_t>(static_cast<uint64_t>(value) >> (8 * i)));
    }
  }
}

// Reads what put_little_endian wrote.
template <std::unsigned_integral Integer>
inline Integer get_little_endian(const char* bytes) {
  if constexpr (std::endian::native == std::endian::little) {
    Integer value;
    std::memcpy(&value, bytes, sizeof(value));
    return value;
  } else {
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(Integer); ++i) {
      value |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
    }
    return static_cast<Integer>(value);
  }
}

}  // namespace tally
