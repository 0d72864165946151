// tallyctl: talks to a Tally cluster. `tallyctl --help` lists what it can do.
//
// inc and get retry by the same id, at other nodes too, until --timeout-ms; then they say honestly
// what is known: not applied, unknown, or rejected, each with an exit code of its own.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "core/state_machine.h"
#include "tally_commit.h"
#include "tools/ctl_admin.h"
#include "tools/ctl_bench.h"
#include "tools/ctl_cluster.h"
#include "tools/ctl_numbers.h"
#include "tools/dump_paths.h"

namespace tally::tools {
namespace {

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

// What became of an operation: the value alone on stdout, or one object with --json; words about
// failures on stderr. Exit code.
int tell(const ClusterFlags& flags, const CtlClient& client, const Client::Done& done, bool is_get,
         bool refused) {
  // What a node said tells more than that the time is up.
  const Reason reason = done.reason == Reason::kTimedOut ? client.last_reason() : done.reason;
  const std::string troubles = client.troubles();
  const std::string_view reason_text = refused ? "refused" : to_string(reason);
  if (flags.json) {
    const bool answered = client.last_node() != kNoNode;
    fmt::print("{{\"outcome\":{},\"value\":{},\"reason\":{},\"node\":{},\"trouble\":{}}}\n",
               json_text(to_string(done.outcome)),
               done.outcome == Outcome::kOk ? std::to_string(done.value) : "null",
               json_text(reason_text),
               answered ? std::to_string(client.last_node().value()) : "null",
               done.outcome == Outcome::kOk || troubles.empty() ? "null" : json_text(troubles));
  }
  if (refused) return usage_error(fmt::format("no node takes this client: {}", troubles));
  const std::string trouble = troubles.empty() ? "" : fmt::format("; {}", troubles);
  switch (done.outcome) {
    case Outcome::kOk:
      if (!flags.json) fmt::print("{}\n", done.value);
      return kExitDone;
    case Outcome::kNotApplied:
      if (is_get) {
        fmt::print(stderr, "tallyctl: no answer: {}{}\n", reason_text, trouble);
      } else {
        fmt::print(stderr, "tallyctl: not applied ({}){}; it is safe to try again\n", reason_text,
                   trouble);
      }
      return kExitNotApplied;
    case Outcome::kUnknown:
      fmt::print(stderr,
                 "tallyctl: unknown ({}){}; it may have been applied, or may yet be: look before "
                 "trying again\n",
                 reason_text, trouble);
      return kExitUnknown;
    case Outcome::kRejected: break;
  }
  fmt::print(stderr, "tallyctl: rejected ({}); nothing was changed\n", reason_text);
  return kExitRejected;
}

// Runs one operation to its end.
int operate(const ClusterFlags& flags, const Cluster& cluster, Client::Operation operation) {
  const bool is_get = std::holds_alternative<Client::Get>(operation);
  Loop loop;
  std::optional<Client::Done> result;
  CtlClient client(loop, cluster, client_config(flags, cluster, random_seed()),
                   [&](const Client::Done& done, Time /*now*/) { result = done; });
  client.start(monotonic_now(), 1, std::move(operation));
  for (client.settle(); !result; client.settle()) {
    if (client.is_refused_by_all()) break;
    loop.turn(client.due());
  }
  if (!result) result = {1, Outcome::kNotApplied, Reason::kNone, 0, {}};
  client.leave();
  const bool refused = result->outcome == Outcome::kNotApplied && client.is_refused_by_most();
  return tell(flags, client, *result, is_get, refused);
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
  add_count(app, "--timeout-ms", flags.timeout_ms, "When to give up an operation", 1, 3'600'000)
      ->type_name("MS");
  app.add_flag("!--no-forward", flags.forward, "Follow redirects; nodes pass nothing on");
  app.add_flag("--json", flags.json, "Print JSON, one object per line");
}

void add_bench_flags(CLI::App& app, BenchOptions& options) {
  constexpr int64_t kMany = 100'000'000;
  constexpr auto kWindow = static_cast<int64_t>(kSessionWindow);
  add_count(app, "--clients", options.clients, "Clients, each with its own session and connection",
            1, 10'000);
  add_count(app, "--pipeline", options.pipeline, "Operations in flight for each client", 1,
            kWindow);
  add_count(app, "--rate", options.rate,
            "Open loop: begin so many per second, whatever the answers take; 0: closed loop", 0,
            kMany);
  add_count(app, "--seconds", options.seconds, "How long", 1, 1'000'000);
  add_count(app, "--operations", options.operations, "End after so many; 0: no limit", 0,
            std::numeric_limits<int64_t>::max());
  add_count(app, "--get-percent", options.get_percent, "Share of reads", 0, 100);
  add_count(app, "--names", options.names, "How many counters", 1, kMany);
  // Its opposite is one as well.
  add_number(app, "--delta", options.delta, "What increments add",
             -std::numeric_limits<int64_t>::max());
  app.add_flag("--mixed-signs", options.mixed_signs, "Half the increments subtract");
  app.add_option("--prefix", options.prefix, "Of the counters' names [bench- and a random number]");
  app.add_option("--history", options.history, "Write what the clients saw, for tallysim check")
      ->type_name("FILE");
  app.add_flag("!--no-retry", options.retry, "What is refused ends as not applied at once");
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
  add_number(*inc, "delta", inc_flags.delta, "What to add; may be 0; negative after --");
  add_number(*inc, "--min", inc_flags.lower, "Refuse when the new value would be below");
  add_number(*inc, "--max", inc_flags.upper, "Refuse when the new value would be above");
  std::string get_name;
  CLI::App* get = app.add_subcommand("get", "Print a counter's value; 0 when there is none");
  get->add_option("name", get_name, "The counter")->required();
  CLI::App* status = app.add_subcommand("status", "All nodes: role, term, indexes, lag, disk");
  CLI::App* watch = app.add_subcommand("watch", "status, again each second");
  CLI::App* members = app.add_subcommand("members", "The group as its leader knows it");
  CLI::App* snapshot =
      app.add_subcommand("snapshot", "Have every node take a snapshot, and wait for it");
  uint64_t transfer_to = 0;
  CLI::App* transfer = app.add_subcommand("transfer", "Have the leader hand over");
  add_count(*transfer, "node", transfer_to, "To which node [the one that holds most of the log]", 1,
            std::numeric_limits<int64_t>::max())
      ->default_str("");
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
    return operate(
        flags, cluster,
        Client::Increment{Bytes::passing(name), inc_flags.delta, inc_flags.lower, inc_flags.upper});
  }
  if (*get) return operate(flags, cluster, Client::Get{name});
  if (*status) return status_command(flags, cluster);
  if (*watch) return watch_command(flags, cluster);
  if (*members) return members_command(flags, cluster);
  if (*snapshot) return snapshot_command(flags, cluster);
  if (*transfer) return transfer_command(flags, cluster, transfer_to);
  return bench(flags, cluster, bench_options);
}

}  // namespace
}  // namespace tally::tools

// An answer that was lost on the way to whoever asked is one that nobody knows.
int main(int argc, char** argv) {
  const int code = tally::tools::run(argc, argv);
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  fmt::print(stderr, "tallyctl: its answer could not be written to stdout\n");
  return code == tally::tools::kExitDone ? tally::tools::kExitUnknown : code;
}
