// ClientNetwork: a client's connections to the nodes of a cluster.
//
// Opened when something is first sent to a node, and again, after a pause, when they break. A
// request that finds no connection fails at once (on_broken), so that the client state machine of
// core/client.h goes on to the next node.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/message.h"
#include "net/connection.h"
#include "net/transport.h"

namespace tally {

class ClientNetworkOwner {
 public:
  virtual ~ClientNetworkOwner() = default;
  virtual void on_response(NodeId from, const ValueResponse& response) = 0;
  // What was sent to it and is not answered never will be.
  virtual void on_node_broken(NodeId node, const std::string& why) = 0;
  virtual void on_node_message(NodeId from, const net::NetMessage& message) {
    static_cast<void>(from), static_cast<void>(message);
  }
};

class ClientNetwork final : private ConnectionOwner {
 public:
  // Both outlive it.
  ClientNetwork(Loop& loop, const std::string& cluster, const std::string& group,
                const std::vector<PeerAddress>& nodes, ClientNetworkOwner& owner);

  void send(NodeId to, ClientRequest&& request);
  void send(NodeId to, const net::NetMessage& message);
  // Sends what is queued; call once per turn of the loop. Tells of the connections that could not
  // be opened.
  void flush();
  // The node refused the handshake: trying again will not help. Empty when none did.
  const std::string& refusal() const { return refusal_; }

 private:
  struct Link {
    NodeId id;
    std::string address;
    std::unique_ptr<Connection> connection;
    Time retry_at{};
    std::string broken;  // to be told at flush()
  };

  void on_connected(Connection& connection) override;
  void on_frame(Connection& connection, Envelope& envelope) override;
  void on_net_message(Connection& connection, const net::NetMessage& message) override;
  void on_broken(Connection& connection, const std::string& why) override;
  Link* open_link(NodeId to);

  const std::string cluster_;
  const std::string group_name_;
  const GroupId group_;
  ClientNetworkOwner& owner_;
  std::vector<Link> links_;
  std::string refusal_;
};

}  // namespace tally
