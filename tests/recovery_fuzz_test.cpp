// The recovery fuzzer without libFuzzer: its corpus, and random mutations of it.
#include "tests/recovery_fuzz.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "core/draw.h"
#include "tests/effort.h"

namespace tally {
namespace {

std::vector<std::string> corpus() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry :
       std::filesystem::directory_iterator(TALLY_SOURCE_DIR "/tests/fuzz/recovery")) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> inputs;
  for (const auto& path : paths) {
    std::ifstream in(path, std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return inputs;
}

TEST(RecoveryFuzz, Corpus) {
  const std::vector<std::string> inputs = corpus();
  EXPECT_GE(inputs.size(), 8u);
  for (const std::string& input : inputs) RecoveryFuzz().run(input);
}

// Bytes of one input replaced, taken out, put in, or joined with another's.
std::string mutated(const std::vector<std::string>& inputs, uint64_t seed) {
  std::string input = inputs[draw(seed, 1) % inputs.size()];
  const uint64_t count = 1 + draw(seed, 2) % 12;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t at = draw(seed, 3, i) % (input.size() + 1);
    const auto byte = static_cast<char>(draw(seed, 4, i));
    const std::string& other = inputs[draw(seed, 5, i) % inputs.size()];
    switch (draw(seed, 6, i) % 4) {
      case 0: input.insert(at, 1, byte); break;
      case 1: input.erase(at, 1 + draw(seed, 7, i) % 3); break;
      case 2: input.insert(at, other.substr(draw(seed, 8, i) % (other.size() + 1), 12)); break;
      default:
        if (at < input.size()) input[at] = byte;
        break;
    }
  }
  return input;
}

TEST(RecoveryFuzz, Mutations) {
  const std::vector<std::string> inputs = corpus();
  ASSERT_FALSE(inputs.empty());
  for (uint64_t seed = 0; seed < effort(100'000); ++seed) {
    SCOPED_TRACE(seed);
    RecoveryFuzz().run(mutated(inputs, seed));
  }
}

}  // namespace
}  // namespace tally
