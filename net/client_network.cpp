#include "net/client_network.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace tally {
namespace {

// A node that refused a connection is not asked again before.
constexpr Duration kRetryAfter = std::chrono::milliseconds(50);

}  // namespace

ClientNetwork::ClientNetwork(Loop& loop, const std::string& cluster, const std::string& group,
                             const std::vector<PeerAddress>& nodes, ClientNetworkOwner& owner)
    : cluster_(cluster),
      group_name_(group),
      group_{name_id(cluster), name_id(group)},
      owner_(owner) {
  ConnectionOwner& self = *this;
  for (const PeerAddress& node : nodes) {
    Link& link = links_.emplace_back();
    link.id = node.id;
    link.address = node.address;
    link.connection = std::make_unique<Connection>(loop, self, group_, links_.size() - 1);
  }
}

// Null when it cannot be opened now; then flush() tells.
ClientNetwork::Link* ClientNetwork::open_link(NodeId to) {
  const auto link =
      std::find_if(links_.begin(), links_.end(), [&](const Link& each) { return each.id == to; });
  CHECK(link != links_.end(), "a request for node {}", to.value());
  if (link->connection->is_open()) return &*link;
  const Time now = monotonic_now();
  if (now < link->retry_at) {
    if (link->broken.empty()) link->broken = "not reached a moment ago";
    return nullptr;
  }
  link->retry_at = now + kRetryAfter;
  std::string error = link->connection->connect(link->address);
  if (error.empty()) return &*link;
  link->broken = std::move(error);
  return nullptr;
}

void ClientNetwork::send(NodeId to, ClientRequest&& request) {
  Link* link = open_link(to);
  if (link != nullptr) link->connection->queue({kFirstClient, endpoint_of(to), std::move(request)});
}

void ClientNetwork::send(NodeId to, const net::NetMessage& message) {
  Link* link = open_link(to);
  if (link != nullptr) link->connection->queue(message);
}

void ClientNetwork::flush() {
  for (Link& link : links_) {
    if (link.connection->queued_bytes() > 0) link.connection->flush();
    if (link.broken.empty()) continue;
    const std::string why = std::exchange(link.broken, {});
    owner_.on_node_broken(link.id, why);
  }
}

// What is queued already waits behind the handshake.
void ClientNetwork::on_connected(Connection& connection) {
  const Link& link = links_[connection.tag()];
  net::NetMessage message;
  net::Hello& hello = *message.mutable_hello();
  hello.set_wire_version(kWireVersion);
  hello.set_cluster_id(group_.cluster_id);
  hello.set_group_id(group_.group_id);
  hello.set_cluster(cluster_);
  hello.set_group(group_name_);
  hello.set_wanted_node_id(link.id.value());
  connection.queue_first(message);
  connection.flush();
}

void ClientNetwork::on_frame(Connection& connection, Envelope& envelope) {
  const auto* response = std::get_if<ValueResponse>(&envelope.message);
  if (response != nullptr) owner_.on_response(links_[connection.tag()].id, *response);
}

void ClientNetwork::on_net_message(Connection& connection, const net::NetMessage& message) {
  Link& link = links_[connection.tag()];
  if (!message.has_hello_reply()) {
    owner_.on_node_message(link.id, message);
    return;
  }
  if (message.hello_reply().refusal() == net::REFUSAL_NONE) return;
  refusal_ = fmt::format("node {} at {} refused: {}", link.id.value(), link.address,
                         message.hello_reply().error());
  connection.close();
  link.broken = refusal_;
}

void ClientNetwork::on_broken(Connection& connection, const std::string& why) {
  Link& link = links_[connection.tag()];
  link.retry_at = monotonic_now() + kRetryAfter;
  owner_.on_node_broken(link.id,
                        fmt::format("node {} at {}: {}", link.id.value(), link.address, why));
}

}  // namespace tally
