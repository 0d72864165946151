// The file NODE: what was saved comes back, any byte that changed is noticed, and an owner is told
// from another.
#include "net/node_file.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "core/check.h"
#include "net/frame.h"

namespace tally {
namespace {

class NodeFileTest : public ::testing::Test {
 protected:
  NodeFileTest() {
    std::string pattern = std::filesystem::temp_directory_path() / "tally-test-XXXXXX";
    CHECK(mkdtemp(pattern.data()) != nullptr);
    directory_ = pattern;
    NodeFile file;
    EXPECT_EQ(file.load(directory_), "");
    EXPECT_FALSE(file.exists());
    EXPECT_EQ(file.create(identity(), "tally", "counter", {1, 2, 3}), "");
    EXPECT_EQ(file.remember_peer(NodeId(3), 0x4711), "");
    EXPECT_EQ(file.set_log_began(), "");
  }
  ~NodeFileTest() override { std::filesystem::remove_all(directory_); }

  static Identity identity(const std::string& cluster = "tally", uint64_t node = 1) {
    return {name_id(cluster), name_id("counter"), NodeId(node), 0x1234};
  }
  std::string read() const {
    std::ostringstream text;
    text << std::ifstream(directory_ + "/NODE").rdbuf();
    return text.str();
  }
  // What is wrong with it now.
  std::string load(const std::string& text) const {
    std::ofstream(directory_ + "/NODE") << text;
    NodeFile file;
    const std::string error = file.load(directory_);
    EXPECT_EQ(file.exists(), error.empty()) << "nothing of a damaged file is believed";
    return error;
  }
  static bool tells(const std::string& error, const std::string& what) {
    return error.find(what) != std::string::npos;
  }

  std::string directory_;
};

TEST_F(NodeFileTest, WhatWasSavedComesBack) {
  NodeFile file;
  ASSERT_EQ(file.load(directory_), "");
  EXPECT_TRUE(file.exists());
  EXPECT_TRUE(file.log_began());
  EXPECT_EQ(file.directory_id(), 0x1234u);
  EXPECT_EQ(file.peer_directory_id(NodeId(3)), 0x4711u);
  EXPECT_EQ(file.peer_directory_id(NodeId(2)), 0u);
}

TEST_F(NodeFileTest, TellsOneOwnerFromAnother) {
  NodeFile file;
  ASSERT_EQ(file.load(directory_), "");
  EXPECT_EQ(file.check(identity(), {1, 2, 3}), "");
  EXPECT_TRUE(tells(file.check(identity("tally", 2), {1, 2, 3}), "belongs to node 1"));
  EXPECT_TRUE(tells(file.check(identity("other"), {1, 2, 3}), "cluster 'tally'"));
  EXPECT_TRUE(tells(file.check(identity(), {1, 2}), "of nodes 1, 2, 3, --peers names 1, 2"));
}

TEST_F(NodeFileTest, NoByteMayChangeUnnoticed) {
  const std::string whole = read();
  ASSERT_EQ(load(whole), "");
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char changed : {static_cast<char>(whole[at] ^ 1), ' ', '\n', '7'}) {
      if (changed == whole[at]) continue;
      std::string text = whole;
      text[at] = changed;
      const std::string error = load(text);
      ASSERT_TRUE(tells(error, directory_ + "/NODE: ")) << at << ": " << error;
    }
    ASSERT_NE(load(whole.substr(0, at)), "") << at;
  }
  EXPECT_NE(load(whole + "\n"), "");
  const std::string error = load(whole.substr(0, whole.size() - 2) + "\n");
  EXPECT_TRUE(tells(error, "its checksum does not fit. It says whose")) << error;
  EXPECT_TRUE(tells(error, "Bring back this very file, not a copy from before")) << error;
}

// Were it believed, an empty directory would pass for a first start.
TEST_F(NodeFileTest, TheLogCannotBeMadeNotToHaveBegun) {
  std::string text = read();
  const std::string began = "log_began: true\n";
  ASSERT_NE(text.find(began), std::string::npos);
  EXPECT_NE(load(text.replace(text.find(began), began.size(), "")), "");
}

TEST_F(NodeFileTest, AnotherFormatIsNamed) {
  const std::string error = load("version: 2 cluster: \"tally\" node_id: 1");
  EXPECT_TRUE(tells(error, "format 2, this program reads 3; run the release that wrote it"))
      << error;
  EXPECT_TRUE(tells(load("version: 3 cluster: \"tally\" node_id: 1"), "its checksum is missing"));
}

}  // namespace
}  // namespace tally
