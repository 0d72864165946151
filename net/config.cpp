#include "net/config.h"

#include <fmt/format.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <system_error>

#include "net/config.pb.h"

namespace tally {
namespace {

// Of all that is wrong, the first.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    if (text.empty()) text = fmt::format("{}:{}: {}", line + 1, column + 1, message);
  }

  std::string text;
};

// More than that is out of every range, and would be out of a Duration's, too.
constexpr uint64_t kMsMax = uint64_t{1} << 40;
Duration ms(uint64_t count) { return std::chrono::milliseconds(std::min(count, kMsMax)); }

}  // namespace

std::string parse_members(const std::string& text, std::vector<PeerAddress>& members) {
  members.clear();
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view part = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    const size_t equals = part.find('=');
    uint64_t id = 0;
    const char* id_end = part.data() + std::min(equals, part.size());
    const auto [stop, code] = std::from_chars(part.data(), id_end, id);
    if (equals == std::string_view::npos || code != std::errc() || stop != id_end || id == 0) {
      return fmt::format("'{}': give ID=HOST:PORT,ID=HOST:PORT,...", part);
    }
    members.push_back({NodeId(id), std::string(part.substr(equals + 1))});
  }
  return members_error(members);
}

std::string load_config(const std::string& path, ServerOptions& options) {
  std::error_code code;
  if (std::filesystem::is_directory(path, code)) return path + " is a directory, not a file";
  std::ifstream file(path);
  if (!file) return errno_text(path);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return file.bad() ? errno_text(path) : parse_config(text, path, options);
}

std::string parse_config(const std::string& text, const std::string& path, ServerOptions& options) {
  net::Config config;
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  if (!parser.ParseFromString(text, &config)) return fmt::format("{}:{}", path, error.text);

  if (config.id() != 0) options.id = NodeId(config.id());
  if (!config.data().empty()) options.data_directory = config.data();
  if (!config.cluster().empty()) options.cluster = config.cluster();
  if (!config.group().empty()) options.group = config.group();
  for (const auto& member : config.peers()) {
    options.members.push_back({NodeId(member.id()), member.address()});
  }
  if (!config.listen().empty()) options.listen = config.listen();
  if (!config.metrics_listen().empty()) options.metrics_listen = config.metrics_listen();
  if (!config.redis_listen().empty()) options.redis_listen = config.redis_listen();
  if (!config.redis_advertise().empty()) options.redis_advertise = config.redis_advertise();
  if (config.has_redis_forward()) options.redis_forward = config.redis_forward();
  if (config.has_election_timeout_ms()) {
    options.election_timeout_min = ms(config.election_timeout_ms());
  }
  if (config.has_heartbeat_ms()) options.heartbeat_interval = ms(config.heartbeat_ms());
  if (config.has_request_timeout_ms()) options.request_timeout = ms(config.request_timeout_ms());
  if (config.has_session_timeout_ms()) options.session_timeout = ms(config.session_timeout_ms());
  if (config.has_sessions_max()) options.session_count_max = config.sessions_max();
  if (config.has_waiting_requests_max()) options.waiting_count_max = config.waiting_requests_max();
  if (config.has_segment_bytes()) options.segment_bytes = config.segment_bytes();
  if (config.has_snapshot_log_bytes()) options.snapshot_log_bytes = config.snapshot_log_bytes();
  if (config.has_snapshot_interval_ms()) {
    options.snapshot_interval = ms(config.snapshot_interval_ms());
  }
  if (config.has_kept_log_bytes()) options.kept_log_bytes = config.kept_log_bytes();
  return {};
}

std::vector<std::string_view> changed_options(const ServerOptions& was, const ServerOptions& is) {
  std::vector<std::string_view> names;
  const auto compare = [&](std::string_view name, auto ServerOptions::*option) {
    if (was.*option != is.*option) names.push_back(name);
  };
  compare("id", &ServerOptions::id);
  compare("data", &ServerOptions::data_directory);
  compare("cluster", &ServerOptions::cluster);
  compare("group", &ServerOptions::group);
  compare("peers", &ServerOptions::members);
  compare("listen", &ServerOptions::listen);
  compare("metrics_listen", &ServerOptions::metrics_listen);
  compare("redis_listen", &ServerOptions::redis_listen);
  compare("redis_advertise", &ServerOptions::redis_advertise);
  compare("redis_forward", &ServerOptions::redis_forward);
  compare("election_timeout_ms", &ServerOptions::election_timeout_min);
  compare("heartbeat_ms", &ServerOptions::heartbeat_interval);
  compare("request_timeout_ms", &ServerOptions::request_timeout);
  compare("session_timeout_ms", &ServerOptions::session_timeout);
  compare("sessions_max", &ServerOptions::session_count_max);
  compare("waiting_requests_max", &ServerOptions::waiting_count_max);
  compare("segment_bytes", &ServerOptions::segment_bytes);
  compare("snapshot_log_bytes", &ServerOptions::snapshot_log_bytes);
  compare("snapshot_interval_ms", &ServerOptions::snapshot_interval);
  compare("kept_log_bytes", &ServerOptions::kept_log_bytes);
  return names;
}

}  // namespace tally
