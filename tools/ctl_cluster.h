// What every verb of tallyctl needs: where the cluster is, and one client of it that runs until its
// operations are done.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/client.h"
#include "net/client_network.h"
#include "net/loop.h"

namespace tally::tools {

// tallyctl's exit codes (DESIGN: what other programs read).
inline constexpr int kExitDone = 0;
inline constexpr int kExitViolation = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNotApplied = 3;
inline constexpr int kExitUnknown = 4;
inline constexpr int kExitRejected = 5;

struct ClusterFlags {
  std::string peers = "1=127.0.0.1:8081,2=127.0.0.1:8082,3=127.0.0.1:8083";
  std::string cluster = "tally";
  std::string group = "counter";
  uint64_t timeout_ms = 10'000;  // of one operation
  bool forward = true;
  bool json = false;
};

struct Cluster {
  std::string name;
  std::string group;
  std::vector<PeerAddress> nodes;
};

// Empty, or what is wrong.
std::string parse_cluster(const ClusterFlags& flags, Cluster& cluster);

uint64_t random_seed();

// One client on the network. Its owner turns the loop.
class CtlClient final : private ClientNetworkOwner {
 public:
  using OnDone = std::function<void(const Client::Done& done)>;

  CtlClient(Loop& loop, const Cluster& cluster, const ClientConfig& config, OnDone on_done);

  void start(uint64_t operation_id, Client::Operation operation);
  // After every turn of the loop: timeouts, then what is to be sent.
  void settle();
  Time deadline() const { return client_.deadline(); }
  size_t open_count() const { return client_.open_count(); }
  // Why the last connection failed; for messages.
  const std::string& last_trouble() const { return last_trouble_; }
  const std::string& refusal() const { return network_.refusal(); }

 private:
  void on_response(NodeId from, const ValueResponse& response) override;
  void on_node_broken(NodeId node, const std::string& why) override;
  void collect();

  Client client_;
  ClientNetwork network_;
  OnDone on_done_;
  std::string last_trouble_;
};

// Asks every node the same question; one answer for each, empty where none came in time. `errors`
// says why not.
struct NodeAnswer {
  NodeId id;
  std::string address;
  net::NetMessage message;
  std::string error;
};
std::vector<NodeAnswer> ask_nodes(const Cluster& cluster, const net::NetMessage& question,
                                  Duration timeout);

}  // namespace tally::tools
