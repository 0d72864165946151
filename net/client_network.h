// ClientNetwork: a client's connections to the nodes of a cluster.
//
// Opened when something is first sent to a node, and again, after a pause, when they break. A
// request that finds no connection fails at once (on_node_broken), so that the client state machine
// of core/client.h goes on to the next node. A node that refuses the handshake is one that cannot
// be reached: others may serve all the same.
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
  // What was sent to it and is not answered never will be. `maybe_arrived`: some of it may have
  // been taken in; false: the node was not connected, or refused the handshake. `why` is empty when
  // it is as it was a moment ago.
  virtual void on_node_broken(NodeId node, const std::string& why, bool maybe_arrived) = 0;
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

  // How the present connection to a node stands, for people: empty when the node has greeted.
  std::string describe(NodeId node) const;
  // It refused its last handshake for a reason that stays: another cluster, group, release or node.
  // False for all nodes when any has ever accepted one.
  bool is_refused_by(NodeId node) const;
  // How many nodes did.
  size_t refusal_count() const;

 private:
  struct Link {
    NodeId id;
    std::string address;
    std::unique_ptr<Connection> connection;
    Time retry_at{};
    bool broken = false;  // to be told at flush(): it could not be opened, or was refused
    std::string why;
    bool connected = false;  // the present connection has come about: what is queued may leave
    bool greeted = false;    // the present connection's handshake was accepted
    bool refused = false;    // the last handshake was refused, for good
  };

  void on_connected(Connection& connection) override;
  void on_frame(Connection& connection, Envelope& envelope) override;
  void on_net_message(Connection& connection, const net::NetMessage& message) override;
  void on_broken(Connection& connection, const std::string& why) override;
  Link* open_link(NodeId to);
  size_t index_of(NodeId node) const;

  const std::string cluster_;
  const std::string group_name_;
  const GroupId group_;
  ClientNetworkOwner& owner_;
  std::vector<Link> links_;
  bool accepted_ = false;  // by any node, ever
};

}  // namespace tally
