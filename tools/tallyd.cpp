// tallyd: one node of a Tally cluster. `tallyd --help` lists its flags; README.md has a session.
#include <fcntl.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <optional>
#include <string>

#include "net/config.h"
#include "net/logger.h"
#include "net/server.h"
#include "tally_commit.h"

namespace tally::tools {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitUsage = 2;
constexpr int kExitEnvironment = 3;

// Whether it can be written or not.
void say(const std::string& text) {
  std::fputs(fmt::format("tallyd: {}\n", printable(text)).c_str(), stderr);
}

struct Flags {
  std::string config;
  uint64_t id = 0;
  std::string data;
  std::optional<std::string> cluster;
  std::optional<std::string> group;
  std::string peers;
  std::string listen;
  std::string metrics_listen;
  std::string redis_listen;
  std::string redis_advertise;
  bool redis_redirect = false;
  bool bootstrap = false;
  bool join = false;
  uint64_t election_timeout_ms = 0;
  uint64_t heartbeat_ms = 0;
  uint64_t snapshot_log_bytes = 0;
};

// A decimal number within the range, written as one.
CLI::Validator number(uint64_t least, uint64_t most) {
  const auto check = [least, most](const std::string& text) -> std::string {
    uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, code] = std::from_chars(text.data(), end, value);
    const bool plain = stop == end && (text.size() == 1 || text.front() != '0');
    if (code == std::errc() && plain && value >= least && value <= most) return {};
    return fmt::format("'{}' is no number from {} to {}", text, least, most);
  };
  return CLI::Validator(check, "");
}

constexpr uint64_t kMsMax = 3'600'000;

void add_flags(CLI::App& app, Flags& flags) {
  app.add_option("--config", flags.config, "Text-format protobuf (net/config.proto); flags win")
      ->type_name("FILE");
  app.add_option("--id", flags.id, "This node's number, from 1 up")
      ->type_name("N")
      ->check(number(1, kFirstClient.value() - 1));
  app.add_option("--data", flags.data, "Data directory; created when its parent is there")
      ->type_name("DIR");
  app.add_option("--cluster", flags.cluster, "The cluster's name [tally]")->type_name("NAME");
  app.add_option("--group", flags.group, "The group's name [counter]")->type_name("NAME");
  app.add_option("--peers", flags.peers, "All nodes, this one too: 1=HOST:PORT,2=HOST:PORT,...")
      ->type_name("LIST");
  app.add_option("--listen", flags.listen,
                 "Where peers and clients come in [this node's address in --peers]")
      ->type_name("HOST:PORT");
  app.add_option("--metrics-listen", flags.metrics_listen,
                 "Serve /metrics, /healthz and /readyz over HTTP [off]")
      ->type_name("HOST:PORT");
  app.add_option("--redis-listen", flags.redis_listen,
                 "Serve clients of Redis (RESP2, RESP3); a port alone is one on 127.0.0.1 [off]")
      ->type_name("[HOST:]PORT");
  app.add_option("--redis-advertise", flags.redis_advertise,
                 "Where clients of Redis find this node, for MOVED [--redis-listen]")
      ->type_name("HOST:PORT");
  app.add_flag("--redis-redirect", flags.redis_redirect,
               "Send clients of Redis to the leader (MOVED) instead of passing on what they ask");
  app.add_flag("--bootstrap", flags.bootstrap,
               "This node starts with an empty directory, in a new cluster; ignored afterwards");
  app.add_flag("--join", flags.join, "Start empty as a member to be added; not possible yet");
  app.add_option("--election-timeout-ms", flags.election_timeout_ms,
                 "Drawn between this and twice this [1000]")
      ->type_name("MS")
      ->check(number(1, kMsMax));
  app.add_option("--heartbeat-ms", flags.heartbeat_ms, "[100]")
      ->type_name("MS")
      ->check(number(1, kMsMax));
  app.add_option("--snapshot-log-bytes", flags.snapshot_log_bytes,
                 "Take a snapshot when so much was applied since the last one [64 MiB]")
      ->type_name("BYTES")
      ->check(number(1, uint64_t{1} << 50));
}

// Empty, or what is wrong.
std::string take(const Flags& flags, ServerOptions& options) {
  if (!flags.config.empty()) {
    const std::string error = load_config(flags.config, options);
    if (!error.empty()) return error;
  }
  if (flags.id != 0) options.id = NodeId(flags.id);
  if (!flags.data.empty()) options.data_directory = flags.data;
  if (flags.cluster) options.cluster = *flags.cluster;
  if (flags.group) options.group = *flags.group;
  if (!flags.peers.empty()) {
    const std::string error = parse_members(flags.peers, options.members);
    if (!error.empty()) return "--peers: " + error;
  }
  if (!flags.listen.empty()) options.listen = flags.listen;
  if (!flags.metrics_listen.empty()) options.metrics_listen = flags.metrics_listen;
  if (!flags.redis_listen.empty()) options.redis_listen = flags.redis_listen;
  if (!flags.redis_advertise.empty()) options.redis_advertise = flags.redis_advertise;
  if (flags.redis_redirect) options.redis_forward = false;
  options.bootstrap = flags.bootstrap;
  const auto ms = [](uint64_t count) { return std::chrono::milliseconds(count); };
  if (flags.election_timeout_ms != 0) options.election_timeout_min = ms(flags.election_timeout_ms);
  if (flags.heartbeat_ms != 0) options.heartbeat_interval = ms(flags.heartbeat_ms);
  if (flags.snapshot_log_bytes != 0) options.snapshot_log_bytes = flags.snapshot_log_bytes;
  if (flags.bootstrap && flags.join) return "--bootstrap and --join exclude each other";
  return options_error(options);
}

// Descriptors that are not for clients: members and those who have not said who they are, metrics,
// the log's files.
constexpr size_t kOwnDescriptors = 320;

// A closed stderr would become the number of the next file, and lines would be written into it.
void occupy_standard_descriptors() {
  for (int fd = open("/dev/null", O_RDWR); fd >= 0; fd = open("/dev/null", O_RDWR)) {
    if (fd <= STDERR_FILENO) continue;
    close(fd);
    return;
  }
}

// As many descriptors as the system allows. Returns how many that is.
size_t raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

// Empty, or what is wrong.
std::string make_options(const Flags& flags, size_t descriptor_limit, ServerOptions& options) {
  options.commit = commit_id();
  const std::string error = take(flags, options);
  const size_t descriptors = descriptor_limit - kOwnDescriptors;
  const size_t share = options.redis_listen.empty() ? descriptors : descriptors / 2;
  options.connection_count_max = std::min(options.connection_count_max, share);
  options.redis_connection_count_max = std::min(options.redis_connection_count_max, share);
  return error;
}

int run(int argc, char** argv) {
  occupy_standard_descriptors();
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app{"tallyd: one node of a Tally cluster", "tallyd"};
  app.set_version_flag("--version", fmt::format("tallyd, commit {}", commit_id()));
  Flags flags;
  add_flags(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    say(fmt::format("{}; tallyd --help lists the flags", error.what()));
    return kExitUsage;
  }
  ServerOptions options;
  const size_t descriptor_limit = raise_descriptor_limit();
  if (descriptor_limit <= kOwnDescriptors) {
    say(fmt::format("{} open files are allowed (ulimit -n), at least {} are needed",
                    descriptor_limit, kOwnDescriptors + 1));
    return kExitEnvironment;
  }
  const std::string error = make_options(flags, descriptor_limit, options);
  if (!error.empty()) {
    say(error);
    return kExitUsage;
  }
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR2}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  Server server(options,
                [&](ServerOptions& fresh) { return make_options(flags, descriptor_limit, fresh); });
  const std::string failure = server.run();
  if (failure.empty()) return kExitOk;
  say(failure);
  return kExitEnvironment;
}

}  // namespace
}  // namespace tally::tools

int main(int argc, char** argv) { return tally::tools::run(argc, argv); }
