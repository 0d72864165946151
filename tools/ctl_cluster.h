// What every verb of tallyctl needs: where the cluster is, and one client of it that runs until its
// operations are done.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
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

// Text of another machine for a terminal: control characters and bytes that are no UTF-8 as \xNN.
std::string printable(std::string_view text);
std::string json_text(std::string_view text);

// What a flag of at most an hour says.
Duration timeout_of(const ClusterFlags& flags);
// For one client. Its attempts are so short that every node gets one within the timeout.
ClientConfig client_config(const ClusterFlags& flags, const Cluster& cluster, uint64_t seed);

uint64_t random_seed();

// One client on the network. Its owner turns the loop.
class CtlClient final : private ClientNetworkOwner {
 public:
  // `now`: about when its answer was read, and not before.
  using OnDone = std::function<void(const Client::Done& done, Time now)>;

  CtlClient(Loop& loop, const Cluster& cluster, const ClientConfig& config, OnDone on_done);

  void start(Time now, uint64_t operation_id, Client::Operation operation);
  // At the end, when nothing is open any more: gives the session back, as far as that goes at once.
  void leave();
  // After every turn of the loop: timeouts, then what is to be sent.
  void settle();
  // When to call it without any turn; early for nothing now and then.
  Time due() const { return client_.due(); }
  size_t open_count() const { return client_.open_count(); }
  bool has_room() const { return client_.has_room(); }
  // What went wrong last at each node that was asked: "node 2 at HOST:PORT: disk_full; node ...".
  // Empty when nothing did.
  std::string troubles() const;
  // Of the last answer that was no success; kTimedOut when none came.
  Reason last_reason() const { return last_reason_; }
  // Whose answer came last; kNoNode: none did.
  NodeId last_node() const { return last_node_; }
  // Every node refuses the handshake: it is asked for something that is not there.
  bool is_refused_by_all() const { return network_.refusal_count() == troubles_.size(); }
  // No node accepts it, and those that are not reached could decide nothing by themselves.
  bool is_refused_by_most() const { return network_.refusal_count() > troubles_.size() / 2; }

 private:
  void on_response(NodeId from, const ValueResponse& response) override;
  void on_node_broken(NodeId node, const std::string& why, bool maybe_arrived) override;
  Time heard_at();
  void collect();

  struct Trouble {
    NodeId node;
    std::string address;
    bool waiting = false;  // something was sent, and nothing came since
    std::string text;      // empty: none so far
  };
  Trouble& trouble_of(NodeId node);

  Client client_;
  ClientNetwork network_;
  OnDone on_done_;
  std::optional<Time> heard_at_;     // when the network was heard first since the last settle()
  std::vector<Client::Send> sends_;  // reused
  std::vector<Client::Done> dones_;  // reused
  std::vector<Trouble> troubles_;    // of every node
  Reason last_reason_ = Reason::kTimedOut;
  NodeId last_node_ = kNoNode;
};

// Asks every node the same question; one answer for each, empty where none came in time; `error`
// says why not. Its texts are printable. With `enough` it returns as soon as an answer is that.
struct NodeAnswer {
  NodeId id;
  std::string address;
  net::NetMessage message;
  std::string error;
  bool refused = false;  // it takes no such client, and neither does any other node
};
std::vector<NodeAnswer> ask_nodes(const Cluster& cluster, const net::NetMessage& question,
                                  Duration timeout,
                                  const std::function<bool(const NodeAnswer&)>& enough = {});

// When most nodes refuse such a client and none takes it, which is a usage error (as of inc and
// get): who refuses it, and why. Else empty.
std::string refusals(const std::vector<NodeAnswer>& answers);

}  // namespace tally::tools
