#include "sim/params.h"

#include <fmt/format.h>
#include <google/protobuf/text_format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "core/draw.h"
#include "sim/plan.h"
#include "sim/streams.h"

namespace tally::sim {
namespace {

using google::protobuf::FieldDescriptor;
using ProtoMessage = google::protobuf::Message;

// Draws keyed by the parameter's path.
class Swarm {
 public:
  explicit Swarm(uint64_t seed) : seed_(seed) {}

  uint64_t bits(std::string_view path) const {
    return draw(seed_, static_cast<uint64_t>(Stream::kParam),
                XXH3_64bits(path.data(), path.size()));
  }
  int64_t between(std::string_view path, int64_t low, int64_t high) const {
    return low + static_cast<int64_t>(scale(bits(path), static_cast<uint64_t>(high - low) + 1));
  }
  bool chance(std::string_view path, int64_t percent) const {
    return between(path, 1, 100) <= percent;
  }
  int64_t one_of(std::string_view path, std::initializer_list<int64_t> values) const {
    return values.begin()[scale(bits(path), values.size())];
  }

 private:
  const uint64_t seed_;
};

void draw_raft(const Swarm& swarm, Params::Raft& raft) {
  const int64_t election_ms = swarm.one_of("raft.election_timeout_ms", {50, 100, 200, 400, 1000});
  raft.set_election_timeout_ms(election_ms);
  raft.set_heartbeat_ms(election_ms / swarm.one_of("raft.heartbeat_ms", {3, 5, 10}));
  raft.set_append_entries(swarm.one_of("raft.append_entries", {1, 1, 2, 8, 64, 256}));
  raft.set_append_bytes(swarm.one_of("raft.append_bytes", {1, 200, 65536, 262144}));
  raft.set_inflight_appends(swarm.one_of("raft.inflight_appends", {1, 2, 4, 16}));
  raft.set_waiting_requests(swarm.one_of("raft.waiting_requests", {3, 100, 10000, 10000}));
  raft.set_request_timeout_ms(election_ms * swarm.one_of("raft.request_timeout_ms", {1, 3, 10}));
  raft.set_grouping_us(swarm.one_of("raft.grouping_us", {0, 0, 0, 20, 500, 5000}));
  // Entries have about 30 bytes: from a snapshot with every one or two up to none at all.
  raft.set_snapshot_bytes(
      swarm.one_of("raft.snapshot_bytes", {30, 90, 1000, 10000, 1'000'000'000}));
  raft.set_snapshot_interval_ms(election_ms *
                                swarm.one_of("raft.snapshot_interval_ms", {5, 100'000, 100'000}));
  raft.set_snapshot_piece_bytes(swarm.one_of("raft.snapshot_piece_bytes", {1, 100, 65536}));
  raft.set_kept_log_bytes(swarm.one_of("raft.kept_log_bytes", {0, 100, 5000}));
  raft.set_spare_delay_us(raft.heartbeat_ms() *
                          swarm.one_of("raft.spare_delay_us", {0, 50, 500, 1000}));
  raft.set_entry_increments(swarm.one_of("raft.entry_increments", {1, 2, 256, 256}));
}

void draw_network(const Swarm& swarm, int64_t election_ms, Params::Network& network) {
  // The slowest normal message takes well under an election timeout, or nobody ever leads.
  const int64_t worst_us = election_ms * 1000 / swarm.one_of("network.latency", {10, 20, 50, 200});
  network.set_latency_us_max(worst_us);
  network.set_latency_us_min(worst_us / swarm.one_of("network.latency_us_min", {1, 2, 10, 50}));
  network.set_heavy_tail_ppm(swarm.one_of("network.heavy_tail_ppm", {0, 0, 1000, 20000}));
  network.set_loss_ppm(swarm.one_of("network.loss_ppm", {0, 0, 1000, 10000, 100000}));
  network.set_duplicate_ppm(swarm.one_of("network.duplicate_ppm", {0, 0, 5000, 100000}));
  network.set_replay_ppm(swarm.one_of("network.replay_ppm", {0, 0, 2000, 20000}));
  network.set_replay_ms_max(election_ms * swarm.one_of("network.replay_ms_max", {1, 4, 20}));
  network.set_codec_ppm(swarm.one_of("network.codec_ppm", {0, 0, 10000, 100000}));
  network.set_corrupt_ppm(swarm.one_of("network.corrupt_ppm", {0, 0, 50000, 500000}));
  network.set_fifo(swarm.chance("network.fifo", 30));
  network.set_bandwidth_bytes_per_ms(
      swarm.one_of("network.bandwidth_bytes_per_ms", {0, 0, 0, 500, 5000}));
  network.set_queue_bytes(swarm.one_of("network.queue_bytes", {20000, 1000000}));
}

void draw_disk(const Swarm& swarm, int64_t election_ms, Params::Disk& disk) {
  const int64_t worst_us = election_ms * 1000 / swarm.one_of("disk.latency", {10, 30, 100, 1000});
  disk.set_sync_us_max(worst_us);
  disk.set_sync_us_min(worst_us / swarm.one_of("disk.sync_us_min", {1, 3, 20}));
  disk.set_write_us_max(worst_us / swarm.one_of("disk.write_us_max", {1, 10, 50}));
  disk.set_write_us_min(0);
  disk.set_segment_bytes(swarm.one_of("disk.segment_bytes", {1024, 4096, 16384, 65536}));
  disk.set_batch_bytes(swarm.one_of("disk.batch_bytes", {512, 4096, 1048576}));
}

void draw_clock(const Swarm& swarm, Params::Clock& clock) {
  // Sometimes beyond what 32 bits of milliseconds hold.
  clock.set_offset_ms_max(swarm.one_of("clock.offset_ms_max", {0, 1000, 100000000, 3000000000000}));
  clock.set_rate_ppm_max(swarm.one_of("clock.rate_ppm_max", {0, 100, 10000, 200000}));
}

void draw_workload(const Swarm& swarm, int64_t election_ms, Params::Workload& workload) {
  workload.set_clients(swarm.between("workload.clients", 2, 8));
  workload.set_names(swarm.one_of("workload.names", {1, 2, 4, 8}));
  workload.set_pipeline(swarm.one_of("workload.pipeline", {1, 1, 2, 4}));
  workload.set_get_percent(swarm.one_of("workload.get_percent", {10, 30, 60}));
  workload.set_negative_percent(swarm.one_of("workload.negative_percent", {0, 50}));
  workload.set_zero_percent(swarm.one_of("workload.zero_percent", {0, 5}));
  workload.set_bounded_percent(swarm.one_of("workload.bounded_percent", {0, 0, 50}));
  workload.set_bound(swarm.one_of("workload.bound", {50, 1000, 20000}));
  workload.set_edge_percent(swarm.one_of("workload.edge_percent", {0, 0, 30}));
  workload.set_attempt_timeout_ms(election_ms *
                                  swarm.one_of("workload.attempt_timeout_ms", {1, 2, 5, 20}));
  workload.set_operation_timeout_ms(election_ms *
                                    swarm.one_of("workload.operation_timeout_ms", {4, 10, 40}));
  workload.set_idle_percent(swarm.one_of("workload.idle_percent", {0, 0, 2}));
  workload.set_session_timeout_ms(election_ms *
                                  swarm.one_of("workload.session_timeout_ms", {3, 20, 1000}));
  workload.set_session_idle_ms(swarm.one_of(
      "workload.session_idle_ms", {workload.session_timeout_ms() / 2, 100'000'000, 100'000'000}));
  // A table that fills up must also empty again: retried openings leave sessions behind.
  const int64_t few =
      workload.session_timeout_ms() <= 20 * election_ms ? 2 * workload.clients() : 1000;
  workload.set_sessions_max(swarm.one_of("workload.sessions_max", {few, 1000, 1000}));
  workload.set_redirect_percent(swarm.one_of("workload.redirect_percent", {0, 50, 100}));
  workload.set_operations_max(0);
}

// About how many entries the cluster can commit in a run without faults: a cluster asked for much
// more serves nobody, and such a run proves little.
int64_t entry_capacity(const Params& params) {
  const auto& raft = params.raft();
  const int64_t per_append = raft.append_bytes() == 1 ? 1 : raft.append_entries();
  const int64_t at_once = std::min<int64_t>(64, per_append * raft.inflight_appends());
  const int64_t round_us = 2 * params.network().latency_us_max() + raft.grouping_us() +
                           2 * (params.disk().write_us_max() + params.disk().sync_us_max());
  return params.duration_ms() * 1000 * at_once / std::max<int64_t>(1, round_us);
}

void draw_faults(const Swarm& swarm, int64_t election_ms, int64_t nodes, Params::Faults& faults) {
  const int64_t length_ms = election_ms * swarm.one_of("faults.length_ms_max", {2, 6, 12});
  faults.set_length_ms_max(length_ms);
  // From a fault now and then to more than one at a time.
  faults.set_interval_ms(
      std::max(3 * election_ms, length_ms / swarm.one_of("faults.interval_ms", {1, 2, 3})));
  // A calm stretch at one end at least, so that every run gets something done.
  const int64_t calm = swarm.between("faults.calm", 1, 3);
  faults.set_calm_start_ms((calm & 1) != 0 ? 15 * election_ms : 0);
  faults.set_calm_end_ms((calm & 2) != 0 ? 15 * election_ms : 0);
  // Four classes; at least one stays on.
  const int64_t classes = swarm.between("faults.classes", 1, 15);
  const bool network = (classes & 1) != 0 && nodes > 1;
  const bool process = (classes & 2) != 0 || nodes == 1;
  const bool slow = (classes & 4) != 0;
  const bool disk = (classes & 8) != 0;
  const google::protobuf::Descriptor* descriptor = faults.GetDescriptor();
  const google::protobuf::Reflection* reflection = faults.GetReflection();
  for (int kind = FaultKind_MIN; kind <= kLastDrawnKind; ++kind) {
    const bool asks = kind == TRANSFER || kind == TAKE_SNAPSHOT;
    const bool on = asks                  ? process
                    : kind <= FLAP        ? network
                    : kind <= PAUSE       ? process
                    : kind <= RESET_LINKS ? slow
                                          : disk;
    const FieldDescriptor* field = descriptor->FindFieldByNumber(kind + 2);
    const std::string path = "faults." + field->name();
    reflection->SetInt64(&faults, field, on ? swarm.one_of(path, {0, 1, 1, 4}) : 0);
  }
  // What a small cluster has no links for would do nothing.
  if (nodes < 4) faults.set_ring(0);
  if (nodes < 3) faults.set_bridge(0);
  if (nodes < 2) faults.set_slow_link(0);
  if (nodes < 2) faults.set_reset_links(0);
  if (nodes < 2) faults.set_transfer(0);
  // Nor would damage where no quorum would be left without the damaged node.
  if (nodes < 3) {
    faults.set_bit_rot(0);
    faults.set_misdirected_write(0);
    faults.set_read_error(0);
    faults.set_wipe(0);
  }
  faults.set_damage_majority(0);
  // The class's weights may all have come out as zero; then its plainest fault stands for it.
  if (network) faults.set_partition(faults.partition() + 1);
  if (process) faults.set_crash(faults.crash() + 1);
  if (slow) faults.set_slow_disk(faults.slow_disk() + 1);
  if (disk) faults.set_sync_fails(faults.sync_fails() + 1);
}

std::string field_error(const ProtoMessage& message, const FieldDescriptor& field,
                        const std::string& path) {
  const auto* reflection = message.GetReflection();
  if (!reflection->HasField(message, &field)) return fmt::format("{} is not set", path);
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_INT64) return {};
  const int64_t value = reflection->GetInt64(message, &field);
  const int64_t low = field.options().GetExtension(min);
  const int64_t high = field.options().GetExtension(max);
  if (value >= low && value <= high) return {};
  return fmt::format("{} is {}; it must lie within {} .. {}", path, value, low, high);
}

std::string ranges_error(const ProtoMessage& message, const std::string& prefix) {
  const auto* descriptor = message.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor& field = *descriptor->field(i);
    const std::string path = prefix + field.name();
    const std::string error =
        field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE
            ? ranges_error(message.GetReflection()->GetMessage(message, &field), path + ".")
            : field_error(message, field, path);
    if (!error.empty()) return error;
  }
  return {};
}

std::string order_error(std::string_view low_name, int64_t low, std::string_view high_name,
                        int64_t high) {
  if (low <= high) return {};
  return fmt::format("{} ({}) is above {} ({})", low_name, low, high_name, high);
}

}  // namespace

Params calm_params() {
  Params params;
  params.set_nodes(3);
  params.set_duration_ms(10000);
  params.set_event_count_max(2'000'000);
  params.set_steady_ms(0);
  auto& raft = *params.mutable_raft();
  raft.set_election_timeout_ms(200);
  raft.set_heartbeat_ms(20);
  raft.set_append_entries(64);
  raft.set_append_bytes(262144);
  raft.set_inflight_appends(16);
  raft.set_waiting_requests(10000);
  raft.set_request_timeout_ms(1000);
  raft.set_grouping_us(0);
  raft.set_snapshot_bytes(1'000'000'000);
  raft.set_snapshot_interval_ms(100'000'000);
  raft.set_snapshot_piece_bytes(65536);
  raft.set_kept_log_bytes(5000);
  raft.set_spare_delay_us(0);
  raft.set_entry_increments(256);
  auto& network = *params.mutable_network();
  network.set_latency_us_min(200);
  network.set_latency_us_max(1000);
  network.set_heavy_tail_ppm(0);
  network.set_loss_ppm(0);
  network.set_duplicate_ppm(0);
  network.set_replay_ppm(0);
  network.set_replay_ms_max(1000);
  network.set_codec_ppm(10000);
  network.set_corrupt_ppm(0);
  network.set_fifo(false);
  network.set_bandwidth_bytes_per_ms(0);
  network.set_queue_bytes(1000000);
  auto& disk = *params.mutable_disk();
  disk.set_write_us_min(10);
  disk.set_write_us_max(50);
  disk.set_sync_us_min(200);
  disk.set_sync_us_max(2000);
  disk.set_segment_bytes(65536);
  disk.set_batch_bytes(1048576);
  params.mutable_clock()->set_offset_ms_max(1000);
  params.mutable_clock()->set_rate_ppm_max(100);
  auto& workload = *params.mutable_workload();
  workload.set_clients(3);
  workload.set_names(3);
  workload.set_pipeline(1);
  workload.set_think_us_max(40000);
  workload.set_get_percent(30);
  workload.set_negative_percent(0);
  workload.set_zero_percent(0);
  workload.set_bounded_percent(0);
  workload.set_bound(1000);
  workload.set_edge_percent(0);
  workload.set_attempt_timeout_ms(400);
  workload.set_operation_timeout_ms(4000);
  workload.set_idle_percent(0);
  workload.set_session_timeout_ms(60000);
  workload.set_session_idle_ms(30000);
  workload.set_sessions_max(1000);
  workload.set_redirect_percent(0);
  workload.set_operations_max(0);
  auto& faults = *params.mutable_faults();
  const auto* descriptor = faults.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    faults.GetReflection()->SetInt64(&faults, descriptor->field(i), 0);
  }
  faults.set_length_ms_max(1000);
  return params;
}

Params draw_params(uint64_t seed) {
  const Swarm swarm(seed);
  Params params;
  params.set_nodes(swarm.one_of("nodes", {3, 3, 3, 5, 5, 4, 2, 7, 1}));
  params.set_event_count_max(2'000'000);
  params.set_steady_ms(0);
  draw_raft(swarm, *params.mutable_raft());
  const int64_t election_ms = params.raft().election_timeout_ms();
  // Larger groups make more events per second of virtual time.
  const int64_t timeouts = swarm.between("duration_ms", 40, 160);
  params.set_duration_ms(election_ms * (30 + timeouts * 4 / (params.nodes() + 1)));
  draw_network(swarm, election_ms, *params.mutable_network());
  draw_disk(swarm, election_ms, *params.mutable_disk());
  draw_clock(swarm, *params.mutable_clock());
  draw_workload(swarm, election_ms, *params.mutable_workload());
  // A pause that outlives the session must not outlive the run.
  const int64_t idle_ms = 2 * params.workload().session_timeout_ms();
  if (idle_ms * 10 > params.duration_ms()) params.mutable_workload()->set_idle_percent(0);
  // Operations in the whole run, over all lanes, if none of them had to wait.
  auto& workload = *params.mutable_workload();
  const int64_t operations = std::clamp<int64_t>(
      entry_capacity(params) / 3, 20, swarm.one_of("workload.think_us_max", {400, 1000, 2500}));
  const int64_t lanes = workload.clients() * workload.pipeline();
  workload.set_think_us_max(2 * params.duration_ms() * 1000 * lanes / operations);
  // Nor asked again sooner than all could have been answered: entries of retries would pile up.
  workload.set_attempt_timeout_ms(
      std::max(workload.attempt_timeout_ms(),
               params.duration_ms() * lanes / std::max<int64_t>(1, entry_capacity(params))));
  draw_faults(swarm, election_ms, params.nodes(), *params.mutable_faults());
  // A plan of one or two faults may find nothing to act on.
  auto& faults = *params.mutable_faults();
  const int64_t window_ms = params.duration_ms() - faults.calm_start_ms() - faults.calm_end_ms();
  faults.set_interval_ms(std::min(faults.interval_ms(), window_ms / 4));
  return params;
}

std::string set_param(Params& params, std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos) {
    return fmt::format("'{}' is no path=value, as in network.loss_ppm=1000", assignment);
  }
  const std::string path(assignment.substr(0, equals));
  const std::string value(assignment.substr(equals + 1));
  ProtoMessage* message = &params;
  size_t begin = 0;
  for (size_t dot = path.find('.'); dot != std::string::npos; dot = path.find('.', begin)) {
    const auto* field = message->GetDescriptor()->FindFieldByName(path.substr(begin, dot - begin));
    if (field == nullptr || field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      return fmt::format("no group of parameters is called '{}'", path.substr(0, dot));
    }
    message = message->GetReflection()->MutableMessage(message, field);
    begin = dot + 1;
  }
  const auto* field = message->GetDescriptor()->FindFieldByName(path.substr(begin));
  if (field == nullptr || field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    return fmt::format("no parameter is called '{}'; `tallysim run --seed 1` prints all of them",
                       path);
  }
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
    if (value != "true" && value != "false") {
      return fmt::format("{} is 'true' or 'false', not '{}'", path, value);
    }
    message->GetReflection()->SetBool(message, field, value == "true");
    return {};
  }
  int64_t number = 0;
  const auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (code != std::errc() || end != value.data() + value.size() || value.empty()) {
    return fmt::format("{} is an integer, not '{}'", path, value);
  }
  message->GetReflection()->SetInt64(message, field, number);
  return field_error(*message, *field, path);
}

std::string params_error(const Params& params) {
  std::string error = ranges_error(params, "");
  if (!error.empty()) return error;
  const auto& raft = params.raft();
  const auto& network = params.network();
  const auto& disk = params.disk();
  const std::string errors[] = {
      order_error("twice raft.heartbeat_ms", 2 * raft.heartbeat_ms(), "raft.election_timeout_ms",
                  raft.election_timeout_ms()),
      order_error("raft.spare_delay_us", raft.spare_delay_us(), "1000 times raft.heartbeat_ms",
                  1000 * raft.heartbeat_ms()),
      order_error("network.latency_us_min", network.latency_us_min(), "network.latency_us_max",
                  network.latency_us_max()),
      order_error("disk.write_us_min", disk.write_us_min(), "disk.write_us_max",
                  disk.write_us_max()),
      order_error("disk.sync_us_min", disk.sync_us_min(), "disk.sync_us_max", disk.sync_us_max()),
  };
  for (const std::string& found : errors) {
    if (!found.empty()) return found;
  }
  return {};
}

std::string params_text(const Params& params) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  printer.PrintToString(params, &text);
  if (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

}  // namespace tally::sim
