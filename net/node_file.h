// NodeFile: the file NODE of a data directory: whose directory it is, and what must outlive the
// process beside the log.
//
// A node whose disk was wiped must not vote as if it had a past (DESIGN: a wiped disk). Three facts
// make it show: the directory's own random id, written before anybody hears it; whether its log
// has begun; and the id that each peer was first met with. Each is durable before anything that
// depends on it leaves the node. A checksum over all of it: one wrong digit in the id of a peer
// would make a healthy node count as wiped.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/storage.h"
#include "core/types.h"
#include "net/net.pb.h"

namespace tally {

class NodeFile {
 public:
  // Reads `directory`/NODE. Empty, or what is wrong with it; exists() is false when there is none.
  std::string load(const std::string& directory);
  bool exists() const { return content_.version() != 0; }

  // Of a first start. Empty, or what went wrong. REQUIRES: !exists()
  std::string create(const Identity& identity, const std::string& cluster, const std::string& group,
                     const std::vector<uint64_t>& voters);
  // Of a first start that failed before anybody heard of the directory.
  void remove();
  // Empty when the directory is this node's, and its group's voters are those; else whose it is.
  // Until membership can change, other voters would be a second group with the same past.
  std::string check(const Identity& identity, const std::vector<uint64_t>& voters) const;
  uint64_t directory_id() const { return content_.directory_id(); }

  // The log has begun: from now on an empty one means loss.
  bool log_began() const { return content_.log_began(); }
  std::string set_log_began();

  // 0 when the peer was never met.
  uint64_t peer_directory_id(NodeId peer) const;
  std::string remember_peer(NodeId peer, uint64_t directory_id);

 private:
  std::string save(const net::NodeFile& content);

  std::string directory_;
  net::NodeFile content_;
};

}  // namespace tally
