// Transcripts: what a few Raft nodes do, step by step, in words that a person can check.
//
// tests/transcripts/*.txt are sequences of
//
//     # why this is worth showing
//     command arguments
//     ----
//     what happened
//     <empty line>
//
// in the style of etcd-io/raft. A block may hold several commands. Any difference fails and shows
// both sides; with TALLY_REWRITE=1 (or --rewrite) the files are rewritten instead: read the diff
// like code. The commands are in kCommands below; `quiet` before one keeps its story short.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "tests/raft_harness.h"

namespace tally {
namespace {

using Words = std::vector<std::string>;

// "quiet" is no command but a prefix. Nodes are n1, n2, ...; a pair is 1->2, * is any node.
constexpr const char* kCommands = R"(
  cluster n=3 [sync=hand] [entries_max=1] [inflight_max=2] [seed=1] [spare_ms=5]   a new group
  boot n1 term=8 [vote=2] log=1,1,4      starts it from such a disk
  crash n1 [kept=K] / start n1           K unfinished writes are on the disk (default none)
  restart n1 [keep=durable|all]          both
  disk n1 slow|fast                      writes wait for `sync`, or complete at once
  sync n1 [COUNT]                        completes its unfinished writes, or the oldest COUNT
  timeout n1                             its clock moves to its next deadline
  lapse n1                               it heard nobody for the minimal election timeout
  advance 150ms [n1]                     its clock moves (everyone's); nothing is delivered
  run 2s                                 time passes and everything is delivered
  deliver [1->2]                         all until nothing moves; or what is on that way now
  drop 1->2 / cut 1->2 / isolate n1 / heal
  copy 1->2 NAME / replay NAME           what is on that way now arrives again, later
  propose n1 TEXT / read n1
  elect n1                               nobody stands in its way
  state / log n1 / inflight)";

Duration parse_duration(const std::string& text) {
  const bool ms = text.size() > 2 && text.ends_with("ms");
  const int64_t number = std::strtoll(text.c_str(), nullptr, 10);
  return ms ? Duration(std::chrono::milliseconds(number)) : Duration(std::chrono::seconds(number));
}

// Runs one transcript's commands on its own cluster.
class Interpreter {
 public:
  // The lines that a block's commands cause. An unknown command is a line of its own.
  Words run(const std::vector<std::string>& commands) {
    Words lines;
    for (const std::string& command : commands) {
      Words words = split(command, ' ');
      const bool quiet = !words.empty() && words[0] == "quiet";
      if (quiet) words.erase(words.begin());
      const Words happened = run_one(words);
      if (!quiet) lines.insert(lines.end(), happened.begin(), happened.end());
      if (cluster_ != nullptr && !cluster_->violation().empty()) {
        lines.push_back("BROKEN: " + cluster_->violation());
      }
    }
    if (lines.empty()) lines.push_back("ok");
    return lines;
  }

  bool broken() const { return cluster_ != nullptr && !cluster_->violation().empty(); }

 private:
  struct Pair {
    NodeNumber from = 0;
    NodeNumber to = 0;
  };

  static Words split(const std::string& text, char separator) {
    Words words;
    std::istringstream stream(text);
    for (std::string word; std::getline(stream, word, separator);) {
      if (!word.empty()) words.push_back(word);
    }
    return words;
  }
  static NodeNumber node_in(const std::string& word) {
    return std::strtoull(word.c_str() + (word.starts_with("n") ? 1 : 0), nullptr, 10);
  }
  static Pair pair_in(const std::string& word) {
    const size_t arrow = word.find("->");
    if (arrow == std::string::npos) return {};
    return {node_in(word.substr(0, arrow)), node_in(word.substr(arrow + 2))};
  }
  // The value of "key=value" among the words; empty when absent.
  static std::string option(const Words& words, const std::string& key) {
    for (const std::string& word : words) {
      if (word.starts_with(key + "=")) return word.substr(key.size() + 1);
    }
    return "";
  }
  static uint64_t number(const Words& words, const std::string& key, uint64_t otherwise) {
    const std::string text = option(words, key);
    return text.empty() ? otherwise : std::strtoull(text.c_str(), nullptr, 10);
  }

  Words run_one(const Words& words) {
    if (words.empty()) return {"nothing to do"};
    if (words[0] == "cluster") return make_cluster(words);
    if (cluster_ == nullptr) return {"there is no cluster yet"};
    if (words[0] == "state" || words[0] == "log" || words[0] == "inflight") return look(words);
    const bool known = move_node(words) || move_message(words);
    if (!known) return {fmt::format("unknown command {}; there are:{}", words[0], kCommands)};
    return cluster_->take_narration();
  }

  Words make_cluster(const Words& words) {
    RaftCluster::Options options;
    options.node_count = number(words, "n", 3);
    options.seed = number(words, "seed", 1);
    options.append_entry_count_max = number(words, "entries_max", 256);
    options.inflight_append_count_max = number(words, "inflight_max", 16);
    options.spare_delay = std::chrono::milliseconds(number(words, "spare_ms", 0));
    cluster_ = std::make_unique<RaftCluster>(options);
    if (option(words, "sync") == "hand") {
      for (NodeNumber i = 1; i <= options.node_count; ++i) cluster_->hold_syncs(i);
    }
    return {};
  }

  // Commands whose first argument is a node, and those about everyone.
  bool move_node(const Words& words) {
    const std::string& verb = words[0];
    const NodeNumber node = words.size() > 1 ? node_in(words[1]) : 0;
    if (verb == "boot") {
      std::vector<uint64_t> terms;
      for (const std::string& term : split(option(words, "log"), ',')) {
        terms.push_back(std::strtoull(term.c_str(), nullptr, 10));
      }
      const HardState hard_state{Term(number(words, "term", 0)), NodeId(number(words, "vote", 0))};
      cluster_->boot(node, hard_state, terms);
    } else if (verb == "crash") {
      cluster_->crash(node, number(words, "kept", 0));
    } else if (verb == "start") {
      cluster_->start(node);
    } else if (verb == "restart") {
      const bool all = option(words, "keep") == "all";
      cluster_->restart(node, all ? RaftCluster::Keep::kAll : RaftCluster::Keep::kDurable);
    } else if (verb == "disk") {
      words.back() == "slow" ? cluster_->hold_syncs(node) : cluster_->sync_at_once(node);
    } else if (verb == "sync") {
      cluster_->sync(node, words.size() > 2 ? node_in(words[2]) : SIZE_MAX);
    } else if (verb == "timeout") {
      cluster_->timeout(node);
    } else if (verb == "lapse") {
      cluster_->lapse(node);
    } else if (verb == "elect") {
      cluster_->elect(node);
    } else if (verb == "propose") {
      cluster_->propose(node, fmt::format("{}", fmt::join(words.begin() + 2, words.end(), " ")));
    } else if (verb == "read") {
      cluster_->read(node);
    } else if (verb == "isolate") {
      cluster_->isolate(node);
    } else {
      return false;
    }
    return true;
  }

  bool move_message(const Words& words) {
    const std::string& verb = words[0];
    const Pair pair = words.size() > 1 ? pair_in(words[1]) : Pair{};
    if (verb == "advance" && words.size() > 2) {
      cluster_->advance(node_in(words[2]), parse_duration(words[1]));
    } else if (verb == "advance") {
      cluster_->advance_all(parse_duration(words[1]));
    } else if (verb == "run") {
      cluster_->run(parse_duration(words[1]));
    } else if (verb == "deliver" && words.size() == 1) {
      cluster_->deliver_all();
    } else if (verb == "deliver") {
      cluster_->deliver(pair.from, pair.to);
    } else if (verb == "drop") {
      cluster_->drop(pair.from, pair.to);
    } else if (verb == "cut") {
      cluster_->cut(pair.from, pair.to);
    } else if (verb == "heal") {
      cluster_->heal();
    } else if (verb == "copy") {
      copies_[words.at(2)] = cluster_->in_flight(pair.from, pair.to);
    } else if (verb == "replay") {
      for (const Envelope& envelope : copies_[words.at(1)]) cluster_->inject(envelope);
    } else {
      return false;
    }
    return true;
  }

  Words look(const Words& words) {
    Words lines;
    if (words[0] == "log") {
      return describe_log(cluster_->raft(node_in(words.at(1))));
    } else if (words[0] == "inflight") {
      for (const Flight& flight : cluster_->flights()) {
        lines.push_back(fmt::format("n{} -> n{}: {}", flight.envelope.from.value(),
                                    flight.envelope.to.value(), describe(flight.envelope.message)));
      }
      return lines.empty() ? Words{"nothing"} : lines;
    }
    for (NodeNumber i = 1; i <= cluster_->node_count(); ++i) {
      lines.push_back(cluster_->is_up(i) ? describe_state(cluster_->raft(i))
                                         : fmt::format("n{} is down", i));
    }
    return lines;
  }

  std::unique_ptr<RaftCluster> cluster_;
  std::map<std::string, std::vector<Envelope>> copies_;
};

// One block of a file. Comments and empty lines before it belong to it.
struct Block {
  Words comments;
  Words commands;
  Words expected;
};

std::vector<Block> read_blocks(const std::filesystem::path& path) {
  std::vector<Block> blocks;
  std::ifstream file(path);
  Block block;
  bool expects = false;
  const auto end_block = [&] {
    if (!block.comments.empty() || !block.commands.empty()) blocks.push_back(block);
    block = {};
    expects = false;
  };
  for (std::string line; std::getline(file, line);) {
    if (line == "----") {
      expects = true;
    } else if (line.empty()) {
      end_block();
    } else if (expects) {
      block.expected.push_back(line);
    } else if (line.starts_with("#")) {
      block.comments.push_back(line);
    } else {
      block.commands.push_back(line);
    }
  }
  end_block();
  return blocks;
}

std::string to_text(const Words& lines) { return fmt::format("{}\n", fmt::join(lines, "\n")); }

bool is_rewriting() {
  const char* variable = std::getenv("TALLY_REWRITE");
  if (variable != nullptr && std::string(variable) == "1") return true;
  const std::vector<std::string> arguments = ::testing::internal::GetArgvs();
  return std::find(arguments.begin(), arguments.end(), "--rewrite") != arguments.end();
}

std::filesystem::path transcript_folder() {
  return std::filesystem::path(TALLY_SOURCE_DIR) / "tests" / "transcripts";
}

std::vector<std::string> transcript_names() {
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(transcript_folder())) {
    if (file.path().extension() == ".txt") names.push_back(file.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class RaftTranscript : public ::testing::TestWithParam<std::string> {};

TEST_P(RaftTranscript, HappensAsWritten) {
  const std::filesystem::path path = transcript_folder() / (GetParam() + ".txt");
  Interpreter interpreter;
  std::string rewritten;
  const bool rewriting = is_rewriting();
  for (const Block& block : read_blocks(path)) {
    if (!rewritten.empty()) rewritten += "\n";
    if (!block.comments.empty()) rewritten += to_text(block.comments);
    if (block.commands.empty()) continue;
    const Words happened = interpreter.run(block.commands);
    rewritten += to_text(block.commands) + "----\n" + to_text(happened);
    EXPECT_FALSE(interpreter.broken()) << to_text(happened);
    if (rewriting) continue;
    ASSERT_EQ(to_text(block.expected), to_text(happened))
        << path.string() << ": after\n"
        << to_text(block.commands) << "If the new story is right, run with TALLY_REWRITE=1.";
  }
  if (rewriting) std::ofstream(path) << rewritten;
}

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Transcripts, RaftTranscript, ::testing::ValuesIn(transcript_names()),
                         test_name);

}  // namespace
}  // namespace tally
