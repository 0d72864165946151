// The corpora of the fuzz targets over frames, configuration files and Redis commands, without
// libFuzzer, so that they run in every build. What they look for is told by a failed CHECK or a
// sanitizer. (recovery_fuzz_test.cpp does the same for recovery, with mutations.)
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#define LLVMFuzzerTestOneInput fuzz_frame
#include "tests/fuzz/frame.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_config
#include "tests/fuzz/config.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_resp
#include "tests/fuzz/resp.cpp"
#undef LLVMFuzzerTestOneInput

namespace tally {
namespace {

// How many inputs there were.
int run_corpus(const std::string& what, int (*fuzz)(const uint8_t*, size_t)) {
  int count = 0;
  for (const auto& file :
       std::filesystem::directory_iterator(TALLY_SOURCE_DIR "/tests/fuzz/" + what)) {
    SCOPED_TRACE(file.path());
    std::ifstream in(file.path(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    EXPECT_EQ(fuzz(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()), 0);
    ++count;
  }
  return count;
}

TEST(FuzzCorpus, Frames) { EXPECT_GE(run_corpus("frame", fuzz_frame), 5); }
TEST(FuzzCorpus, ConfigurationFiles) { EXPECT_GE(run_corpus("config", fuzz_config), 2); }
TEST(FuzzCorpus, RedisCommands) { EXPECT_GE(run_corpus("resp", fuzz_resp), 5); }

}  // namespace
}  // namespace tally
