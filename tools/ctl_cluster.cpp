#include "tools/ctl_cluster.h"

#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "net/config.h"

namespace tally::tools {

std::string parse_cluster(const ClusterFlags& flags, Cluster& cluster) {
  cluster.name = flags.cluster;
  cluster.group = flags.group;
  const std::string error = parse_members(flags.peers, cluster.nodes);
  return error.empty() ? error : "--peers: " + error;
}

uint64_t random_seed() {
  uint64_t bits = 0;
  CHECK(getrandom(&bits, sizeof(bits), 0) == sizeof(bits), "{}", errno_text("getrandom"));
  return bits;
}

CtlClient::CtlClient(Loop& loop, const Cluster& cluster, const ClientConfig& config, OnDone on_done)
    : client_(config),
      network_(loop, cluster.name, cluster.group, cluster.nodes,
               static_cast<ClientNetworkOwner&>(*this)),
      on_done_(std::move(on_done)) {}

void CtlClient::start(uint64_t operation_id, Client::Operation operation) {
  client_.start(monotonic_now(), operation_id, std::move(operation));
}

void CtlClient::settle() {
  const Time now = monotonic_now();
  if (now >= client_.deadline()) client_.wake(now);
  collect();
  network_.flush();
}

// What is done may start more; what is to be sent leaves at the next flush().
void CtlClient::collect() {
  while (!client_.dones().empty() || !client_.sends().empty()) {
    std::vector<Client::Send> sends = std::exchange(client_.sends(), {});
    for (Client::Send& send : sends) network_.send(send.to, std::move(send.request));
    const std::vector<Client::Done> dones = std::exchange(client_.dones(), {});
    for (const Client::Done& done : dones) on_done_(done);
  }
}

void CtlClient::on_response(NodeId from, const ValueResponse& response) {
  client_.on_response(monotonic_now(), from, response);
}

void CtlClient::on_node_broken(NodeId node, const std::string& why) {
  last_trouble_ = why;
  client_.on_broken(monotonic_now(), node);
}

namespace {

class Asker final : public ClientNetworkOwner {
 public:
  explicit Asker(const Cluster& cluster) {
    for (const PeerAddress& node : cluster.nodes)
      answers.push_back({node.id, node.address, {}, {}});
  }

  void on_response(NodeId from, const ValueResponse& response) override {
    static_cast<void>(from), static_cast<void>(response);
  }
  void on_node_broken(NodeId node, const std::string& why) override {
    NodeAnswer& answer = find(node);
    if (!is_done(answer)) answer.error = why;
  }
  void on_node_message(NodeId from, const net::NetMessage& message) override {
    find(from).message = message;
  }
  bool all_done() const { return std::all_of(answers.begin(), answers.end(), is_done); }

  std::vector<NodeAnswer> answers;

 private:
  static bool is_done(const NodeAnswer& answer) {
    return !answer.error.empty() ||
           answer.message.message_case() != net::NetMessage::MESSAGE_NOT_SET;
  }
  NodeAnswer& find(NodeId id) {
    return *std::find_if(answers.begin(), answers.end(),
                         [&](const NodeAnswer& answer) { return answer.id == id; });
  }
};

}  // namespace

std::vector<NodeAnswer> ask_nodes(const Cluster& cluster, const net::NetMessage& question,
                                  Duration timeout) {
  Loop loop;
  Asker asker(cluster);
  ClientNetwork network(loop, cluster.name, cluster.group, cluster.nodes, asker);
  const Time until = monotonic_now() + timeout;
  for (const PeerAddress& node : cluster.nodes) network.send(node.id, question);
  network.flush();
  while (!asker.all_done() && monotonic_now() < until) {
    loop.turn(until);
    network.flush();
  }
  for (NodeAnswer& answer : asker.answers) {
    const bool silent = answer.message.message_case() == net::NetMessage::MESSAGE_NOT_SET;
    if (silent && answer.error.empty()) answer.error = "no answer in time";
  }
  return std::move(asker.answers);
}

}  // namespace tally::tools
