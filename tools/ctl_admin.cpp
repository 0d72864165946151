#include "tools/ctl_admin.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

namespace tally::tools {
namespace {

using std::chrono::milliseconds;

constexpr Duration kStatusTimeout = milliseconds(2000);
constexpr Duration kPollTimeout = milliseconds(500);
constexpr Duration kPollInterval = milliseconds(20);
// A follower that has not answered its leader for so long does not follow.
constexpr uint64_t kSilentMs = 2000;

void sleep_for(Duration time) {
  Loop loop;
  loop.turn(monotonic_now() + time);
}

Duration left_until(Time until) { return std::max(until - monotonic_now(), Duration(0)); }

std::vector<NodeAnswer> ask_status(const Cluster& cluster, Duration timeout) {
  net::NetMessage question;
  question.mutable_status_request();
  return ask_nodes(cluster, question, timeout);
}

// What a node says of its connections, and a leader of its followers.
std::string peers_json(const net::Status& status) {
  std::string text;
  for (const net::Status::Peer& peer : status.peers()) {
    text += fmt::format("{}{{\"id\":{},\"connected\":{},\"queued_bytes\":{},\"dropped\":{}",
                        text.empty() ? "" : ",", peer.id(), peer.connected(), peer.queued_bytes(),
                        peer.dropped_messages());
    if (!peer.error().empty()) text += fmt::format(",\"error\":{}", json_text(peer.error()));
    if (!peer.replication().empty()) {
      text += fmt::format(",\"replication\":{},\"match_index\":{},\"silent_ms\":{}",
                          json_text(peer.replication()), peer.match_index(), peer.silent_ms());
    }
    text += "}";
  }
  return "[" + text + "]";
}

std::string node_json(const NodeAnswer& answer) {
  if (!answer.error.empty()) {
    return fmt::format("{{\"id\":{},\"role\":\"unreachable\",\"address\":{},\"error\":{}}}",
                       answer.id.value(), json_text(answer.address), json_text(answer.error));
  }
  const net::Status& status = answer.message.status();
  return fmt::format(
      "{{\"id\":{},\"role\":{},\"address\":{},\"term\":{},\"leader\":{},\"first_index\":{},"
      "\"last_index\":{},\"durable_index\":{},\"commit_index\":{},\"applied_index\":{},"
      "\"snapshot_index\":{},\"counters\":{},\"sessions\":{},\"sessions_max\":{},\"waiting\":{},"
      "\"connections\":{},"
      "\"disk_free_bytes\":{},\"disk_full\":{},\"disk_needed_bytes\":{},\"quorum_full\":{},"
      "\"repairing\":{},"
      "\"repair_index\":{},\"damage\":{},\"syncs\":{},\"uptime_ms\":{},"
      "\"state_hash\":\"{:016x}\",\"commit\":{},\"peers\":{}}}",
      status.id(), json_text(status.role()), json_text(answer.address), status.term(),
      status.leader(), status.first_index(), status.last_index(), status.durable_index(),
      status.commit_index(), status.applied_index(), status.snapshot_index(), status.counters(),
      status.sessions(), status.sessions_max(), status.waiting(), status.connections(),
      status.disk_free_bytes(), status.disk_full(), status.disk_needed_bytes(),
      status.quorum_full(), status.repairing(), status.repair_index(),
      status.damage().empty() ? "null" : json_text(status.damage()), status.sync_count(),
      status.uptime_ms(), status.state_hash(), json_text(status.commit()), peers_json(status));
}

std::string bytes_text(uint64_t bytes) {
  if (bytes < 10'000'000'000) return fmt::format("{} MB", bytes / 1'000'000);
  return fmt::format("{} GB", bytes / 1'000'000'000);
}

constexpr size_t kColumns = 12;
using Row = std::array<std::string, kColumns>;

// As wide as what is in them; address and role stand on the left.
void print_rows(const std::vector<Row>& rows) {
  std::array<size_t, kColumns> widths{};
  for (const Row& row : rows) {
    for (size_t i = 0; i < kColumns; ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < kColumns; ++i) {
      line += i == 0 ? "" : "  ";
      line += i == 1 || i == 2 ? fmt::format("{:<{}}", row[i], widths[i])
                               : fmt::format("{:>{}}", row[i], widths[i]);
    }
    fmt::print("{}\n", line);
  }
}

const net::Status* find_leader(const std::vector<NodeAnswer>& answers) {
  const net::Status* leader = nullptr;
  for (const NodeAnswer& answer : answers) {
    const net::Status& status = answer.message.status();
    if (status.role() != "leader") continue;
    if (leader == nullptr || status.term() > leader->term()) leader = &status;
  }
  return leader;
}

// Why no leader is known, and the exit code for it.
struct NoLeader {
  std::string text;
  int exit = kExitNotApplied;
};

NoLeader why_no_leader(const std::vector<NodeAnswer>& answers) {
  const std::string refused = refusals(answers);
  if (!refused.empty()) return {refused, kExitUsage};
  return {"no node that answers leads; tallyctl status tells more", kExitNotApplied};
}

// How the leader feeds this node, or that it hears nothing of it; "-" for itself, and when nobody
// leads.
std::string replication_of(NodeId node, const net::Status* leader) {
  if (leader != nullptr) {
    for (const net::Status::Peer& peer : leader->peers()) {
      if (peer.id() != node.value() || peer.replication().empty()) continue;
      if (peer.silent_ms() < kSilentMs) return peer.replication();
      return fmt::format("silent {} s", peer.silent_ms() / 1000);
    }
  }
  return "-";
}

// What is wrong with a node that answers, a line each.
std::string troubles(const net::Status& status) {
  std::string text;
  if (status.disk_full()) {
    text += fmt::format("node {}: disk full: takes no writes until {} bytes are free, has {}\n",
                        status.id(), status.disk_needed_bytes(), status.disk_free_bytes());
  }
  if (status.quorum_full()) {
    text += fmt::format("node {}: leads, and no quorum has room: refuses writes until one has\n",
                        status.id());
  }
  // From four fifths on: there is time yet to look who opens them.
  if (status.role() == "leader" && 5 * status.sessions() >= 4 * status.sessions_max()) {
    text += fmt::format("node {}: leads with {} of {} sessions: {}\n", status.id(),
                        status.sessions(), status.sessions_max(),
                        status.sessions() < status.sessions_max()
                            ? "when they are used up, new clients are refused"
                            : "refuses new clients until some are closed or expire");
  }
  if (!status.repairing()) return text;
  const std::string until = status.repair_index() == 0
                                ? "waits for a leader with an intact quorum"
                                : fmt::format("is whole once it holds {}", status.repair_index());
  return text + fmt::format("node {}: damaged, neither votes nor acknowledges: {} ({})\n",
                            status.id(), until, status.damage());
}

// Why a node does not answer stands below, where it pushes nothing apart.
void print_table(const std::vector<NodeAnswer>& answers) {
  uint64_t last_index = 0;
  for (const NodeAnswer& answer : answers) {
    last_index = std::max(last_index, answer.message.status().commit_index());
  }
  std::vector<Row> rows{{"node", "address", "role", "term", "leader", "durable", "committed",
                         "applied", "lag", "replication", "waiting", "disk free"}};
  std::string errors;
  const net::Status* leader = find_leader(answers);
  for (const NodeAnswer& answer : answers) {
    Row& row = rows.emplace_back();
    row.fill("-");
    row[0] = std::to_string(answer.id.value());
    row[1] = answer.address;
    row[9] = replication_of(answer.id, leader);
    if (!answer.error.empty()) {
      row[2] = "unreachable";
      errors += fmt::format("node {}: {}\n", answer.id.value(), answer.error);
      continue;
    }
    const net::Status& status = answer.message.status();
    const uint64_t lag = last_index - std::min(last_index, status.applied_index());
    row[2] = status.role();
    row[3] = std::to_string(status.term());
    row[4] = status.leader() == 0 ? "-" : std::to_string(status.leader());
    row[5] = std::to_string(status.durable_index());
    row[6] = std::to_string(status.commit_index());
    row[7] = std::to_string(status.applied_index());
    row[8] = std::to_string(lag);
    row[10] = std::to_string(status.waiting());
    row[11] = bytes_text(status.disk_free_bytes());
    errors += troubles(status);
  }
  print_rows(rows);
  fmt::print("{}", errors);
}

// What one node has become of.
struct Shot {
  NodeId node;
  std::string address;
  std::string outcome;  // empty: not known yet
  std::string text;
  uint64_t snapshot_index = 0;
};

void print_shot(const ClusterFlags& flags, const Shot& shot) {
  if (!flags.json) {
    fmt::print("node {}: {}\n", shot.node.value(), shot.text);
    return;
  }
  const bool ok = shot.outcome == "ok";
  fmt::print("{{\"outcome\":{},\"value\":{},\"reason\":{},\"node\":{}}}\n", json_text(shot.outcome),
             ok ? std::to_string(shot.snapshot_index) : "null", json_text(shot.text),
             shot.node.value());
}

std::vector<Shot> find_what_is_new(const std::vector<NodeAnswer>& answers) {
  std::vector<Shot> shots;
  for (const NodeAnswer& answer : answers) {
    Shot& shot = shots.emplace_back();
    const net::Status& status = answer.message.status();
    shot.node = answer.id;
    shot.address = answer.address;
    shot.snapshot_index = status.snapshot_index();
    if (!answer.error.empty()) {
      shot.outcome = "not_applied";
      shot.text = answer.error;
    } else if (status.applied_index() <= status.snapshot_index()) {
      shot.outcome = "ok";
      shot.text = fmt::format("nothing new to snapshot, the last is up to {}", shot.snapshot_index);
    }
  }
  return shots;
}

Cluster undecided(const Cluster& cluster, const std::vector<Shot>& shots) {
  Cluster rest = cluster;
  rest.nodes.clear();
  for (const Shot& shot : shots) {
    if (shot.outcome.empty()) rest.nodes.push_back({shot.node, shot.address});
  }
  return rest;
}

Shot& shot_of(std::vector<Shot>& shots, NodeId node) {
  return *std::find_if(shots.begin(), shots.end(),
                       [&](const Shot& shot) { return shot.node == node; });
}

}  // namespace

int status_command(const ClusterFlags& flags, const Cluster& cluster) {
  const auto answers = ask_status(cluster, std::min(timeout_of(flags), kStatusTimeout));
  if (flags.json) {
    std::string nodes;
    for (const NodeAnswer& answer : answers) {
      nodes += (nodes.empty() ? "" : ",") + node_json(answer);
    }
    fmt::print("{{\"nodes\":[{}]}}\n", nodes);
  } else {
    print_table(answers);
  }
  return find_leader(answers) != nullptr ? kExitDone : why_no_leader(answers).exit;
}

int watch_command(const ClusterFlags& flags, const Cluster& cluster) {
  for (;;) {
    if (!flags.json && isatty(STDOUT_FILENO) != 0) fmt::print("\033[H\033[2J");
    status_command(flags, cluster);
    if (std::fflush(stdout) != 0) return kExitDone;  // nobody watches any more
    sleep_for(std::chrono::seconds(1));
  }
}

int members_command(const ClusterFlags& flags, const Cluster& cluster) {
  const auto answers = ask_status(cluster, std::min(timeout_of(flags), kStatusTimeout));
  const net::Status* leader = find_leader(answers);
  if (leader == nullptr) {
    const NoLeader why = why_no_leader(answers);
    fmt::print(stderr, "tallyctl: {}\n", why.text);
    return why.exit;
  }
  struct Member {
    uint64_t id;
    std::string address;
  };
  std::vector<Member> members;
  for (const NodeAnswer& answer : answers) {
    if (answer.id.value() == leader->id()) members.push_back({leader->id(), answer.address});
  }
  for (const net::Status::Peer& peer : leader->peers()) {
    members.push_back({peer.id(), peer.address()});
  }
  std::sort(members.begin(), members.end(),
            [](const Member& a, const Member& b) { return a.id < b.id; });
  std::string json;
  for (const Member& member : members) {
    const bool leads = member.id == leader->id();
    if (flags.json) {
      json += fmt::format("{}{{\"id\":{},\"address\":{},\"role\":\"voter\",\"leads\":{}}}",
                          json.empty() ? "" : ",", member.id, json_text(member.address), leads);
    } else {
      fmt::print("node {}  {}  voter{}\n", member.id, printable(member.address),
                 leads ? ", leads" : "");
    }
  }
  if (flags.json) fmt::print("{{\"members\":[{}]}}\n", json);
  return kExitDone;
}

int snapshot_command(const ClusterFlags& flags, const Cluster& cluster) {
  const Time until = monotonic_now() + timeout_of(flags);
  const auto before = ask_status(cluster, std::min(timeout_of(flags) / 2, kStatusTimeout));
  std::vector<Shot> shots = find_what_is_new(before);
  net::NetMessage question;
  question.mutable_snapshot();
  Cluster rest = undecided(cluster, shots);
  for (const NodeAnswer& answer : ask_nodes(rest, question, left_until(until))) {
    const std::string& refusal = answer.message.command_reply().error();
    Shot& shot = shot_of(shots, answer.id);
    shot.text = answer.error.empty() ? refusal : answer.error;
    if (!shot.text.empty()) shot.outcome = "not_applied";
  }
  for (rest = undecided(cluster, shots); !rest.nodes.empty() && monotonic_now() < until;
       rest = undecided(cluster, shots)) {
    for (const NodeAnswer& answer : ask_status(rest, std::min(left_until(until), kPollTimeout))) {
      Shot& shot = shot_of(shots, answer.id);
      if (answer.message.status().snapshot_index() <= shot.snapshot_index) continue;
      shot.snapshot_index = answer.message.status().snapshot_index();
      shot.outcome = "ok";
      shot.text = fmt::format("snapshot up to {}", shot.snapshot_index);
    }
    sleep_for(std::min(left_until(until), kPollInterval));
  }
  int exit = refusals(before).empty() ? kExitDone : kExitUsage;
  for (Shot& shot : shots) {
    if (shot.outcome.empty()) {
      shot.outcome = "unknown";
      shot.text =
          fmt::format("asked for a snapshot, none newer than {} came in time", shot.snapshot_index);
    }
    print_shot(flags, shot);
    if (exit == kExitUsage) continue;
    if (shot.outcome == "not_applied") exit = std::max(exit, kExitNotApplied);
    if (shot.outcome == "unknown") exit = std::max(exit, kExitUnknown);
  }
  return exit;
}

namespace {

int transferred(const ClusterFlags& flags, const net::Status& leader, bool as_asked,
                std::string_view how) {
  if (flags.json) {
    fmt::print("{{\"outcome\":\"{}\",\"value\":null,\"reason\":{},\"node\":{},\"term\":{}}}\n",
               as_asked ? "ok" : "not_applied", as_asked ? "\"none\"" : "\"another node leads\"",
               leader.id(), leader.term());
  } else {
    fmt::print("node {} {}, term {}\n", leader.id(), how, leader.term());
  }
  return as_asked ? kExitDone : kExitNotApplied;
}

int not_transferred(const ClusterFlags& flags, std::optional<uint64_t> node,
                    const std::string& reason, int exit = kExitNotApplied) {
  if (flags.json) {
    fmt::print("{{\"outcome\":\"not_applied\",\"value\":null,\"reason\":{},\"node\":{}}}\n",
               json_text(reason), node ? std::to_string(*node) : "null");
  }
  fmt::print(stderr, "tallyctl: {}\n", reason);
  return exit;
}

}  // namespace

int transfer_command(const ClusterFlags& flags, const Cluster& cluster, uint64_t to) {
  const Time until = monotonic_now() + timeout_of(flags);
  const auto before = ask_status(cluster, std::min(timeout_of(flags) / 2, kStatusTimeout));
  const net::Status* leader = find_leader(before);
  if (leader == nullptr) {
    const NoLeader why = why_no_leader(before);
    return not_transferred(flags, {}, why.text, why.exit);
  }
  if (leader->id() == to) return transferred(flags, *leader, true, "leads already");
  net::NetMessage question;
  question.mutable_transfer()->set_to(to);
  Cluster only = cluster;
  std::erase_if(only.nodes,
                [&](const PeerAddress& node) { return node.id.value() != leader->id(); });
  const NodeAnswer answer = ask_nodes(only, question, left_until(until)).front();
  const std::string error =
      answer.error.empty() ? answer.message.command_reply().error() : answer.error;
  if (!error.empty()) {
    return not_transferred(flags, leader->id(), fmt::format("node {}: {}", leader->id(), error));
  }
  while (monotonic_now() < until) {
    const auto answers = ask_status(cluster, std::min(left_until(until), kPollTimeout));
    const net::Status* now = find_leader(answers);
    if (now != nullptr && now->id() != leader->id() && now->term() > leader->term()) {
      // Somebody else may have been quicker.
      return transferred(flags, *now, to == 0 || now->id() == to, "leads");
    }
    sleep_for(std::min(left_until(until), kPollInterval));
  }
  return not_transferred(
      flags, leader->id(),
      fmt::format("node {} was asked and leads on: the other node may be down or behind (its log "
                  "says more)",
                  leader->id()));
}

}  // namespace tally::tools
