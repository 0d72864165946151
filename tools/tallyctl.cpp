// tallyctl: talks to a Tally cluster. `tallyctl --help` lists what it can do.
//
// inc and get retry by the same id, at other nodes too, until --timeout-ms; then they say honestly
// what is known: not applied, unknown, or rejected, each with an exit code of its own.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>

#include "core/state_machine.h"
#include "core/text.h"
#include "tally_commit.h"
#include "tools/ctl_bench.h"
#include "tools/ctl_cluster.h"
#include "tools/dump_paths.h"

namespace tally::tools {
namespace {

using std::chrono::milliseconds;

struct IncFlags {
  std::string name;
  int64_t delta = 1;
  std::optional<int64_t> lower;
  std::optional<int64_t> upper;
};

int usage_error(const std::string& error) {
  fmt::print(stderr, "tallyctl: {}\n", error);
  return kExitUsage;
}

std::string json_text(std::string_view text) {
  std::string out;
  append_json_string(text, out);
  return out;
}

// Runs one operation to its end.
int operate(const ClusterFlags& flags, const Cluster& cluster, Client::Operation operation) {
  ClientConfig config;
  for (const PeerAddress& node : cluster.nodes) config.nodes.push_back(node.id);
  config.seed = random_seed();
  config.forward = flags.forward;
  config.operation_timeout = milliseconds(static_cast<int64_t>(flags.timeout_ms));
  Loop loop;
  std::optional<Client::Done> result;
  CtlClient client(loop, cluster, config, [&](const Client::Done& done) { result = done; });
  client.start(1, std::move(operation));
  for (client.settle(); !result; client.settle()) {
    // A wrong cluster or release: no retry helps, unless another node thinks otherwise.
    if (!client.refusal().empty()) break;
    loop.turn(client.deadline());
  }
  if (!result) return usage_error(client.refusal());
  if (result->outcome == Outcome::kOk) {
    fmt::print("{}\n", result->value);
    return kExitDone;
  }
  const std::string trouble =
      client.last_trouble().empty() ? "" : fmt::format("; last trouble: {}", client.last_trouble());
  switch (result->outcome) {
    case Outcome::kNotApplied:
      fmt::print(stderr, "tallyctl: not applied ({}){}; it is safe to try again\n",
                 to_string(result->reason), trouble);
      return kExitNotApplied;
    case Outcome::kUnknown:
      fmt::print(stderr,
                 "tallyctl: unknown ({}){}; it may have been applied, or may yet be: look before "
                 "trying again\n",
                 to_string(result->reason), trouble);
      return kExitUnknown;
    default:
      fmt::print(stderr, "tallyctl: rejected ({}); nothing was changed\n",
                 to_string(result->reason));
      return kExitRejected;
  }
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
      "\"snapshot_index\":{},\"counters\":{},\"sessions\":{},\"waiting\":{},\"connections\":{},"
      "\"disk_free_bytes\":{},\"syncs\":{},\"uptime_ms\":{},\"state_hash\":\"{:016x}\","
      "\"commit\":{}}}",
      status.id(), json_text(status.role()), json_text(answer.address), status.term(),
      status.leader(), status.first_index(), status.last_index(), status.durable_index(),
      status.commit_index(), status.applied_index(), status.snapshot_index(), status.counters(),
      status.sessions(), status.waiting(), status.connections(), status.disk_free_bytes(),
      status.sync_count(), status.uptime_ms(), status.state_hash(), json_text(status.commit()));
}

void print_table(const std::vector<NodeAnswer>& answers) {
  uint64_t last_index = 0;
  for (const NodeAnswer& answer : answers) {
    last_index = std::max(last_index, answer.message.status().commit_index());
  }
  fmt::print("{:>4}  {:<22} {:<11} {:>6} {:>6} {:>12} {:>12} {:>8} {:>8} {:>9}\n", "node",
             "address", "role", "term", "leader", "committed", "applied", "lag", "waiting",
             "disk free");
  for (const NodeAnswer& answer : answers) {
    if (!answer.error.empty()) {
      fmt::print("{:>4}  {:<22} {:<11} {}\n", answer.id.value(), answer.address, "unreachable",
                 answer.error);
      continue;
    }
    const net::Status& status = answer.message.status();
    fmt::print("{:>4}  {:<22} {:<11} {:>6} {:>6} {:>12} {:>12} {:>8} {:>8} {:>6} GB\n", status.id(),
               answer.address, status.role(), status.term(), status.leader(), status.commit_index(),
               status.applied_index(), last_index - std::min(last_index, status.applied_index()),
               status.waiting(), status.disk_free_bytes() / 1'000'000'000);
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

std::vector<NodeAnswer> ask_status(const Cluster& cluster, milliseconds timeout) {
  net::NetMessage question;
  question.mutable_status_request();
  return ask_nodes(cluster, question, timeout);
}

// 0 when a leader answers.
int status_command(const ClusterFlags& flags, const Cluster& cluster) {
  const auto answers = ask_status(
      cluster, milliseconds(static_cast<int64_t>(std::min<uint64_t>(flags.timeout_ms, 2000))));
  if (flags.json) {
    std::string nodes;
    for (const NodeAnswer& answer : answers) {
      nodes += (nodes.empty() ? "" : ",") + node_json(answer);
    }
    fmt::print("{{\"nodes\":[{}]}}\n", nodes);
  } else {
    print_table(answers);
  }
  return find_leader(answers) != nullptr ? kExitDone : kExitNotApplied;
}

int watch_command(const ClusterFlags& flags, const Cluster& cluster) {
  for (;;) {
    if (!flags.json) fmt::print("\033[H\033[2J");
    status_command(flags, cluster);
    std::fflush(stdout);
    Loop loop;
    loop.turn(monotonic_now() + std::chrono::seconds(1));
  }
}

int snapshot_command(const ClusterFlags& flags, const Cluster& cluster) {
  net::NetMessage question;
  question.mutable_snapshot();
  bool all = true;
  for (const NodeAnswer& answer :
       ask_nodes(cluster, question, milliseconds(static_cast<int64_t>(flags.timeout_ms)))) {
    const std::string error =
        answer.error.empty() ? answer.message.command_reply().error() : answer.error;
    fmt::print("node {}: {}\n", answer.id.value(), error.empty() ? "asked for a snapshot" : error);
    all = all && error.empty();
  }
  return all ? kExitDone : kExitNotApplied;
}

// Asks the leader, then waits until another node leads.
int transfer_command(const ClusterFlags& flags, const Cluster& cluster, uint64_t to) {
  const auto timeout = milliseconds(static_cast<int64_t>(flags.timeout_ms));
  const Time until = monotonic_now() + timeout;
  const auto before = ask_status(cluster, std::min(timeout, milliseconds(2000)));
  const net::Status* leader = find_leader(before);
  if (leader == nullptr) {
    fmt::print(stderr, "tallyctl: no node that answers leads; tallyctl status tells more\n");
    return kExitNotApplied;
  }
  if (leader->id() == to) {
    fmt::print("node {} leads already, term {}\n", to, leader->term());
    return kExitDone;
  }
  net::NetMessage question;
  question.mutable_transfer()->set_to(to);
  Cluster only = cluster;
  std::erase_if(only.nodes,
                [&](const PeerAddress& node) { return node.id.value() != leader->id(); });
  const NodeAnswer answer = ask_nodes(only, question, timeout).front();
  const std::string error =
      answer.error.empty() ? answer.message.command_reply().error() : answer.error;
  if (!error.empty()) {
    fmt::print(stderr, "tallyctl: node {}: {}\n", leader->id(), error);
    return kExitNotApplied;
  }
  while (monotonic_now() < until) {
    const auto answers = ask_status(cluster, milliseconds(500));
    const net::Status* now = find_leader(answers);
    if (now != nullptr && now->id() != leader->id() && now->term() > leader->term()) {
      fmt::print("node {} leads, term {}\n", now->id(), now->term());
      // Somebody else may have been quicker.
      return to == 0 || now->id() == to ? kExitDone : kExitNotApplied;
    }
    Loop loop;
    loop.turn(monotonic_now() + milliseconds(20));
  }
  fmt::print(stderr,
             "tallyctl: node {} was asked and leads on: the other node may be down or behind (its "
             "log says more)\n",
             leader->id());
  return kExitNotApplied;
}

void add_cluster_flags(CLI::App& app, ClusterFlags& flags) {
  app.add_option("--peers", flags.peers, "The cluster's nodes; or TALLY_PEERS in the environment")
      ->envname("TALLY_PEERS")
      ->type_name("ID=HOST:PORT,...")
      ->capture_default_str();
  app.add_option("--cluster", flags.cluster, "Its name")->type_name("NAME")->capture_default_str();
  app.add_option("--group", flags.group, "The group's name")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--timeout-ms", flags.timeout_ms, "When to give up an operation")
      ->type_name("MS")
      ->check(CLI::Range(1, 3'600'000))
      ->capture_default_str();
  app.add_flag("!--no-forward", flags.forward, "Follow redirects; nodes pass nothing on");
  app.add_flag("--json", flags.json, "Print JSON, one object per line");
}

void add_bench_flags(CLI::App& app, BenchOptions& options) {
  app.add_option("--clients", options.clients, "Clients, each with its own session and connection")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  app.add_option("--pipeline", options.pipeline, "Operations in flight for each client")
      ->check(CLI::Range(uint64_t{1}, kSessionWindow - 1))
      ->capture_default_str();
  app.add_option("--rate", options.rate,
                 "Open loop: begin so many per second, whatever the answers take; 0: closed loop")
      ->check(CLI::Range(0, 100'000'000))
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "How long")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--operations", options.operations, "End after so many; 0: no limit")
      ->capture_default_str();
  app.add_option("--get-percent", options.get_percent, "Share of reads")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  app.add_option("--names", options.names, "How many counters")
      ->check(CLI::Range(1, 100'000'000))
      ->capture_default_str();
  app.add_option("--delta", options.delta, "What increments add")->capture_default_str();
  app.add_flag("--mixed-signs", options.mixed_signs, "Half the increments subtract");
  app.add_option("--prefix", options.prefix, "Of the counters' names [bench- and a random number]");
  app.add_option("--history", options.history, "Write what the clients saw, for tallysim check")
      ->type_name("FILE");
  app.add_flag("--spread", options.spread, "Clients begin at any node, not at the leader");
}

int run(int argc, char** argv) {
  CLI::App app{"tallyctl: talks to a Tally cluster", "tallyctl"};
  app.set_version_flag("--version", fmt::format("tallyctl, commit {}", commit_id()));
  app.require_subcommand(1);
  app.fallthrough();
  ClusterFlags flags;
  add_cluster_flags(app, flags);
  IncFlags inc_flags;
  CLI::App* inc = app.add_subcommand("inc", "Add to a counter; prints the new value");
  inc->add_option("name", inc_flags.name, "The counter")->required();
  inc->add_option("delta", inc_flags.delta, "What to add; may be negative or 0")
      ->capture_default_str();
  inc->add_option("--min", inc_flags.lower, "Refuse when the new value would be below");
  inc->add_option("--max", inc_flags.upper, "Refuse when the new value would be above");
  std::string get_name;
  CLI::App* get = app.add_subcommand("get", "Print a counter's value; 0 when there is none");
  get->add_option("name", get_name, "The counter")->required();
  CLI::App* status = app.add_subcommand("status", "All nodes: role, term, indexes, lag, disk");
  CLI::App* watch = app.add_subcommand("watch", "status, again each second");
  CLI::App* snapshot = app.add_subcommand("snapshot", "Have every node take a snapshot");
  uint64_t transfer_to = 0;
  CLI::App* transfer = app.add_subcommand("transfer", "Have the leader hand over");
  transfer->add_option("node", transfer_to, "To which node [the one that holds most of the log]")
      ->check(CLI::PositiveNumber);
  std::vector<std::string> dumped;
  CLI::App* log =
      app.add_subcommand("log", "Look into the data directory of a node")->require_subcommand(1);
  log->add_subcommand("dump", "Print log and snapshots as text; what is wrong is marked !!")
      ->add_option("path", dumped, "Data directories, or files of theirs")
      ->required();
  BenchOptions bench_options;
  CLI::App* bench_verb = app.add_subcommand("bench", "Load, latencies, and a history");
  add_bench_flags(*bench_verb, bench_options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return usage_error(fmt::format("{}; tallyctl --help lists what there is", error.what()));
  }
  if (*log) {
    size_t wrong = 0;
    const std::string error = dump_paths(dumped, wrong);
    if (!error.empty()) return usage_error(error);
    return wrong == 0 ? kExitDone : kExitViolation;
  }
  Cluster cluster;
  const std::string error = parse_cluster(flags, cluster);
  if (!error.empty()) return usage_error(error);
  const std::string& name = *inc ? inc_flags.name : get_name;
  if (*inc || *get) {
    const std::string name_error = counter_name_error(name);
    if (!name_error.empty()) return usage_error(name_error);
  }
  if (*inc) {
    return operate(flags, cluster,
                   Client::Increment{name, inc_flags.delta, inc_flags.lower, inc_flags.upper});
  }
  if (*get) return operate(flags, cluster, Client::Get{name});
  if (*status) return status_command(flags, cluster);
  if (*watch) return watch_command(flags, cluster);
  if (*snapshot) return snapshot_command(flags, cluster);
  if (*transfer) return transfer_command(flags, cluster, transfer_to);
  return bench(flags, cluster, bench_options);
}

}  // namespace
}  // namespace tally::tools

int main(int argc, char** argv) { return tally::tools::run(argc, argv); }
