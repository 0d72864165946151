#include "tools/ctl_cluster.h"

#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/text.h"
#include "net/config.h"

namespace tally::tools {

std::string parse_cluster(const ClusterFlags& flags, Cluster& cluster) {
  cluster.name = flags.cluster;
  cluster.group = flags.group;
  const std::string error = parse_members(flags.peers, cluster.nodes);
  if (!error.empty()) return "--peers: " + error;
  const std::string label = label_error("--cluster", flags.cluster);
  return label.empty() ? label_error("--group", flags.group) : label;
}

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t size = std::max<size_t>(utf8_sequence_bytes(text), 1);
    const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
    const bool control = byte(0) < 0x20 || byte(0) == 0x7F || (byte(0) >= 0x80 && size == 1) ||
                         (byte(0) == 0xC2 && byte(1) < 0xA0);  // C1, two bytes in UTF-8
    if (control) {
      for (size_t i = 0; i < size; ++i) out += fmt::format("\\x{:02x}", byte(i));
    } else {
      out += text.substr(0, size);
    }
    text.remove_prefix(size);
  }
  return out;
}

std::string json_text(std::string_view text) {
  std::string out;
  append_json_string(text, out);
  return out;
}

Duration timeout_of(const ClusterFlags& flags) {
  return std::chrono::milliseconds(static_cast<int64_t>(flags.timeout_ms));
}

ClientConfig client_config(const ClusterFlags& flags, const Cluster& cluster, uint64_t seed) {
  ClientConfig config;
  for (const PeerAddress& node : cluster.nodes) config.nodes.push_back(node.id);
  config.seed = seed;
  config.forward = flags.forward;
  config.operation_timeout = timeout_of(flags);
  const auto share = config.operation_timeout / static_cast<int64_t>(cluster.nodes.size() + 1);
  config.attempt_timeout = std::min(config.attempt_timeout, share);
  return config;
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
      on_done_(std::move(on_done)) {
  for (const PeerAddress& node : cluster.nodes) {
    troubles_.push_back({.node = node.id, .address = node.address, .text = {}});
  }
}

void CtlClient::start(Time now, uint64_t operation_id, Client::Operation operation) {
  client_.start(now, operation_id, std::move(operation));
}

void CtlClient::leave() {
  if (client_.open_count() > 0) return;
  client_.leave_session();
  collect();
  network_.flush();
}

void CtlClient::settle() {
  const Time now = monotonic_now();
  if (now >= client_.due()) client_.wake(now);
  collect();
  network_.flush();
  heard_at_.reset();
}

// What is done may start more; what is to be sent leaves at the next flush().
void CtlClient::collect() {
  const Time now = monotonic_now();
  while (!client_.dones().empty() || !client_.sends().empty()) {
    sends_.swap(client_.sends());
    for (Client::Send& send : sends_) {
      trouble_of(send.to).waiting = true;
      network_.send(send.to, std::move(send.request));
    }
    sends_.clear();
    dones_.swap(client_.dones());
    for (const Client::Done& done : dones_) on_done_(done, now);
    dones_.clear();
  }
}

// What one turn of the loop brings comes at one time.
Time CtlClient::heard_at() {
  if (!heard_at_) heard_at_ = monotonic_now();
  return *heard_at_;
}

void CtlClient::on_response(NodeId from, const ValueResponse& response) {
  Trouble& trouble = trouble_of(from);
  trouble.waiting = false;
  trouble.text.clear();
  last_node_ = from;
  if (response.outcome != Outcome::kOk) {
    last_reason_ = response.reason;
    trouble.text = to_string(response.reason);
    if (!response.error_msg.empty() && response.error_msg != trouble.text) {
      trouble.text += " (" + printable(response.error_msg) + ")";
    }
  }
  client_.on_response(heard_at(), from, response);
}

void CtlClient::on_node_broken(NodeId node, const std::string& why, bool maybe_arrived) {
  Trouble& trouble = trouble_of(node);
  trouble.waiting = false;
  if (!why.empty()) trouble.text = printable(why);
  if (maybe_arrived) {
    client_.on_broken(heard_at(), node);
  } else {
    client_.on_unreached(heard_at(), node);
  }
}

CtlClient::Trouble& CtlClient::trouble_of(NodeId node) {
  return *std::find_if(troubles_.begin(), troubles_.end(),
                       [&](const Trouble& trouble) { return trouble.node == node; });
}

std::string CtlClient::troubles() const {
  std::string all;
  for (const Trouble& trouble : troubles_) {
    std::string text = trouble.text;
    if (trouble.waiting) {
      const std::string connection = network_.describe(trouble.node);
      text += text.empty() ? "" : ", then ";
      text += connection.empty() ? "no answer" : connection;
    }
    if (text.empty()) continue;
    all += fmt::format("{}node {} at {}: {}", all.empty() ? "" : "; ", trouble.node.value(),
                       trouble.address, text);
  }
  return all;
}

namespace {

class Asker final : public ClientNetworkOwner {
 public:
  explicit Asker(const Cluster& cluster) {
    for (const PeerAddress& node : cluster.nodes)
      answers.push_back({.id = node.id, .address = node.address, .message = {}, .error = {}});
  }

  void on_response(NodeId from, const ValueResponse& response) override {
    static_cast<void>(from), static_cast<void>(response);
  }
  void on_node_broken(NodeId node, const std::string& why, bool maybe_arrived) override {
    static_cast<void>(maybe_arrived);
    NodeAnswer& answer = find(node);
    if (!is_done(answer)) answer.error = why.empty() ? "not reached" : printable(why);
  }
  void on_node_message(NodeId from, const net::NetMessage& message) override {
    net::NetMessage& answer = find(from).message;
    answer = message;
    if (answer.has_status()) {
      net::Status& status = *answer.mutable_status();
      status.set_role(printable(status.role()));
      status.set_commit(printable(status.commit()));
      status.set_damage(printable(status.damage()));
    } else if (answer.has_command_reply()) {
      net::CommandReply& reply = *answer.mutable_command_reply();
      reply.set_error(printable(reply.error()));
    }
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
                                  Duration timeout,
                                  const std::function<bool(const NodeAnswer&)>& enough) {
  Loop loop;
  Asker asker(cluster);
  ClientNetwork network(loop, cluster.name, cluster.group, cluster.nodes, asker);
  const Time until = monotonic_now() + timeout;
  for (const PeerAddress& node : cluster.nodes) network.send(node.id, question);
  network.flush();
  const auto is_enough = [&] {
    return enough && std::any_of(asker.answers.begin(), asker.answers.end(), enough);
  };
  while (!asker.all_done() && !is_enough() && monotonic_now() < until) {
    loop.turn(until);
    network.flush();
  }
  for (NodeAnswer& answer : asker.answers) {
    answer.refused = network.is_refused_by(answer.id);
    const bool silent = answer.message.message_case() == net::NetMessage::MESSAGE_NOT_SET;
    if (!silent || !answer.error.empty()) continue;
    answer.error = network.describe(answer.id);
    if (answer.error.empty()) answer.error = "no answer in time";
  }
  return std::move(asker.answers);
}

std::string refusals(const std::vector<NodeAnswer>& answers) {
  std::string text;
  size_t count = 0;
  for (const NodeAnswer& answer : answers) {
    if (!answer.refused) continue;
    ++count;
    text += fmt::format("{}node {} at {}: {}", text.empty() ? "no node takes this client: " : "; ",
                        answer.id.value(), answer.address, answer.error);
  }
  return count > answers.size() / 2 ? text : std::string();
}

}  // namespace tally::tools
