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

size_t ClientNetwork::index_of(NodeId node) const {
  const auto link =
      std::find_if(links_.begin(), links_.end(), [&](const Link& each) { return each.id == node; });
  CHECK(link != links_.end(), "a request for node {}", node.value());
  return static_cast<size_t>(link - links_.begin());
}

// Null when it cannot be opened now; then flush() tells. Until it has told, nothing leaves: what is
// told to have gone nowhere must not be under way.
ClientNetwork::Link* ClientNetwork::open_link(NodeId to) {
  Link& link = links_[index_of(to)];
  if (link.broken) return nullptr;
  if (link.connection->is_open()) return &link;
  const Time now = monotonic_now();
  if (now < link.retry_at) {
    link.broken = true;
    return nullptr;
  }
  link.retry_at = now + kRetryAfter;
  link.connected = false;
  link.greeted = false;
  link.why = link.connection->connect(link.address);
  if (link.why.empty()) return &link;
  link.broken = true;
  return nullptr;
}

std::string ClientNetwork::describe(NodeId node) const {
  const Link& link = links_[index_of(node)];
  if (!link.connection->is_open()) return "not connected";
  if (!link.connected) return "no connection in time";
  if (link.greeted) return {};
  return "connected, but not greeted as by a Tally node: it is paused, or another program's port";
}

bool ClientNetwork::is_refused_by(NodeId node) const {
  return !accepted_ && links_[index_of(node)].refused;
}

size_t ClientNetwork::refusal_count() const {
  if (accepted_) return 0;
  return static_cast<size_t>(
      std::count_if(links_.begin(), links_.end(), [](const Link& link) { return link.refused; }));
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
    if (!std::exchange(link.broken, false)) continue;
    const std::string why = std::exchange(link.why, {});
    owner_.on_node_broken(link.id, why, /*maybe_arrived=*/false);
  }
}

// What is queued already waits behind the handshake.
void ClientNetwork::on_connected(Connection& connection) {
  Link& link = links_[connection.tag()];
  link.connected = true;
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
  const net::Refusal refusal = message.hello_reply().refusal();
  link.greeted = refusal == net::REFUSAL_NONE;
  link.refused = !link.greeted && refusal != net::REFUSAL_TOO_MANY;
  accepted_ = accepted_ || link.greeted;
  if (link.greeted) return;
  // It looks at nothing that came after the handshake.
  connection.close();
  link.retry_at = monotonic_now() + kRetryAfter;
  link.broken = true;
  link.why = fmt::format("refused: {}", message.hello_reply().error());
}

void ClientNetwork::on_broken(Connection& connection, const std::string& why) {
  Link& link = links_[connection.tag()];
  link.retry_at = monotonic_now() + kRetryAfter;
  const bool connected = std::exchange(link.connected, false);
  const bool greeted = std::exchange(link.greeted, false);
  owner_.on_node_broken(
      link.id, greeted || !connected ? why : fmt::format("{} (instead of a greeting)", why),
      /*maybe_arrived=*/connected);
}

}  // namespace tally
