#include "net/node_file.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <google/protobuf/text_format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "core/check.h"
#include "net/frame.h"
#include "net/loop.h"

namespace tally {
namespace {

constexpr uint32_t kVersion = 2;

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
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return errno_text(path);
  google::protobuf::TextFormat::Parser parser;
  parser.AllowUnknownField(true);  // of a newer version, which is told below
  if (!parser.ParseFromString(text.str(), &content_) || content_.version() == 0) {
    return fmt::format(
        "{}: damaged; it says whose data directory this is. Bring it back from a "
        "copy, or treat the disk as wiped",
        path);
  }
  if (content_.version() != kVersion) {
    return fmt::format("{}: format {}, this program reads {}; run the release that wrote it", path,
                       content_.version(), kVersion);
  }
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
