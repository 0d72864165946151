#include "net/node_file.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string_view>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/check.h"
#include "net/frame.h"
#include "net/loop.h"

namespace tally {
namespace {

constexpr uint32_t kVersion = 3;
// The last line: this, and the XXH3-64 of all before it. To the text format it is a comment.
constexpr std::string_view kChecksumPrefix = "# checksum ";
constexpr std::string_view kRemedy =
    "It says whose data directory this is and whom it has met, which nothing else can tell. Bring "
    "back this very file, not a copy from before the node last ran; without it, count the disk as "
    "wiped";

class Silent final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int /*line*/, int /*column*/, const std::string& /*message*/) override {}
};

std::string checksum_line(std::string_view text) {
  return fmt::format("{}{:016x}\n", kChecksumPrefix, XXH3_64bits(text.data(), text.size()));
}

std::string write_durably(const std::string& path, const std::string& content) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return errno_text(path);
  const bool written =
      write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()) &&
      fsync(fd) == 0;
  const std::string error = written ? std::string() : errno_text(path);
  close(fd);
  return error;
}

}  // namespace

std::string NodeFile::load(const std::string& directory) {
  directory_ = directory;
  const std::string path = directory + "/NODE";
  if (access(path.c_str(), F_OK) != 0 && errno == ENOENT) return {};
  std::ifstream file(path);
  std::ostringstream stream;
  stream << file.rdbuf();
  if (!file) return errno_text(path);
  const std::string text = stream.str();
  Silent errors;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  parser.AllowUnknownField(true);  // of another version, which is told below
  net::NodeFile content;
  const bool parsed = parser.ParseFromString(text, &content) && content.version() != 0;
  const size_t end = text.rfind(kChecksumPrefix);
  const bool has_checksum = end != std::string::npos;
  const bool intact = has_checksum && text.substr(end) == checksum_line(text.substr(0, end));
  // Formats before had no checksum: one without it may be theirs.
  if (parsed && content.version() != kVersion && (intact || !has_checksum)) {
    return fmt::format("{}: format {}, this program reads {}; run the release that wrote it", path,
                       content.version(), kVersion);
  }
  if (!parsed || !intact) {
    return fmt::format("{}: damaged, {}. {}", path,
                       has_checksum ? "its checksum does not fit" : "its checksum is missing",
                       kRemedy);
  }
  content_ = content;
  return {};
}

std::string NodeFile::create(const Identity& identity, const std::string& cluster,
                             const std::string& group, const std::vector<uint64_t>& voters) {
  CHECK(!exists());
  net::NodeFile content;
  content.set_version(kVersion);
  content.set_cluster(cluster);
  content.set_group(group);
  content.set_node_id(identity.node_id.value());
  content.set_directory_id(identity.directory_id);
  content.mutable_voters()->Assign(voters.begin(), voters.end());
  return save(content);
}

void NodeFile::remove() {
  if (!exists()) return;
  unlink((directory_ + "/NODE").c_str());
  content_.Clear();
}

std::string NodeFile::check(const Identity& identity, const std::vector<uint64_t>& voters) const {
  const bool same = identity.node_id.value() == content_.node_id() &&
                    identity.cluster_id == name_id(content_.cluster()) &&
                    identity.group_id == name_id(content_.group());
  const std::vector<uint64_t> own(content_.voters().begin(), content_.voters().end());
  if (same && own == voters) return {};
  if (same) {
    return fmt::format(
        "the data directory {} is of a group of nodes {}, --peers names {}: give all of them. (The "
        "nodes of a group cannot be changed yet.)",
        directory_, fmt::join(own, ", "), fmt::join(voters, ", "));
  }
  return fmt::format(
      "the data directory {} belongs to node {} of cluster '{}', group '{}'; check --data, --id, "
      "--cluster and --group",
      directory_, content_.node_id(), content_.cluster(), content_.group());
}

std::string NodeFile::set_log_began() {
  net::NodeFile content = content_;
  content.set_log_began(true);
  return save(content);
}

uint64_t NodeFile::peer_directory_id(NodeId peer) const {
  for (const auto& each : content_.peers()) {
    if (each.id() == peer.value()) return each.directory_id();
  }
  return 0;
}

std::string NodeFile::remember_peer(NodeId peer, uint64_t directory_id) {
  CHECK(peer_directory_id(peer) == 0);
  net::NodeFile content = content_;
  auto* entry = content.add_peers();
  entry->set_id(peer.value());
  entry->set_directory_id(directory_id);
  return save(content);
}

// Takes over only when durable.
std::string NodeFile::save(const net::NodeFile& content) {
  std::string text;
  CHECK(google::protobuf::TextFormat::PrintToString(content, &text));
  text += checksum_line(text);
  const std::string path = directory_ + "/NODE";
  std::string error = write_durably(path + ".new", text);
  if (error.empty() && rename((path + ".new").c_str(), path.c_str()) != 0) error = errno_text(path);
  if (!error.empty()) return error;
  const int fd = open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || fsync(fd) != 0) error = errno_text(directory_);
  if (fd >= 0) close(fd);
  if (error.empty()) content_ = content;
  return error;
}

}  // namespace tally
