#include "sim/machine.h"

#include <utility>

#include "core/check.h"
#include "core/draw.h"
#include "sim/oracles.h"
#include "sim/streams.h"
#include "storage/log_format.h"

namespace tally::sim {
namespace {

constexpr int64_t kMillion = 1'000'000;

Duration ms(int64_t count) { return Duration(count * kMillion); }
Duration us(int64_t count) { return Duration(count * 1000); }

}  // namespace

Machine::Machine(const MachineEnv& env, uint32_t number)
    : env_(env), number_(number), disk_(*this) {
  const auto& clock = env_.params.clock();
  const auto draw_to = [&](uint64_t aspect, int64_t bound) {
    if (bound == 0) return int64_t{0};
    const uint64_t bits = draw(env_.seed, static_cast<uint64_t>(Stream::kClock), number_, aspect);
    return static_cast<int64_t>(scale(bits, static_cast<uint64_t>(bound) + 1));
  };
  clock_offset_ = us(draw_to(1, clock.offset_ms_max() * 1000));
  clock_rate_ = kMillion - clock.rate_ppm_max() + draw_to(2, 2 * clock.rate_ppm_max());
  const auto& disk = env_.params.disk();
  disk_.set_latency({.write_min = us(disk.write_us_min()),
                     .write_max = us(disk.write_us_max()),
                     .sync_min = us(disk.sync_us_min()),
                     .sync_max = us(disk.sync_us_max())});
}

NodeConfig Machine::node_config() const {
  const auto& raft = env_.params.raft();
  const auto& workload = env_.params.workload();
  NodeConfig config;
  config.identity.cluster_id = 1;
  config.identity.group_id = 1;
  config.identity.node_id = id();
  config.identity.directory_id =
      draw(env_.seed, static_cast<uint64_t>(Stream::kIdentity), number_) | 1;
  config.raft.id = id();
  for (int64_t node = 1; node <= env_.params.nodes(); ++node) {
    config.raft.voters.push_back(NodeId(static_cast<uint64_t>(node)));
  }
  config.raft.election_timeout_min = ms(raft.election_timeout_ms());
  config.raft.heartbeat_interval = ms(raft.heartbeat_ms());
  config.raft.seed = draw(env_.seed, static_cast<uint64_t>(Stream::kElection), number_);
  config.raft.append_entry_count_max = static_cast<uint64_t>(raft.append_entries());
  config.raft.append_bytes_max = static_cast<uint64_t>(raft.append_bytes());
  config.raft.inflight_append_count_max = static_cast<uint64_t>(raft.inflight_appends());
  config.raft.spare_delay = us(raft.spare_delay_us());
  config.session_limits.timeout = ms(workload.session_timeout_ms());
  config.session_limits.session_count_max = static_cast<uint64_t>(workload.sessions_max());
  config.snapshot_log_bytes = static_cast<uint64_t>(raft.snapshot_bytes());
  config.snapshot_interval = ms(raft.snapshot_interval_ms());
  config.snapshot_piece_bytes = static_cast<uint64_t>(raft.snapshot_piece_bytes());
  config.kept_log_bytes = static_cast<uint64_t>(raft.kept_log_bytes());
  config.entry_increment_count_max = static_cast<uint64_t>(raft.entry_increments());
  config.waiting_count_max = static_cast<uint64_t>(raft.waiting_requests());
  config.request_timeout = ms(raft.request_timeout_ms());
  // Whoever starts it knows; in the real world its peers do, by the directory's id.
  config.first_start = !has_lived_;
  config.incarnation =
      draw(env_.seed, static_cast<uint64_t>(Stream::kIncarnation), number_, start_count_);
  return config;
}

void Machine::start() {
  CHECK(state_ == State::kDown);
  ++start_count_;
  state_ = State::kUp;
  refusal_.clear();
  const auto& disk = env_.params.disk();
  wal_.emplace(disk_, WalConfig{.segment_bytes = static_cast<uint64_t>(disk.segment_bytes()),
                                .batch_bytes_max = static_cast<uint64_t>(disk.batch_bytes())});
  node_.emplace(node_config(), *this, *this, *wal_);
  const Recovered::Outcome outcome = node_->start();
  if (!node_->running()) {
    refusal_ = node_->message();
    env_.oracles.on_start_refused(*this, outcome);
    drop_node();
    state_ = State::kDown;
    return;
  }
  env_.oracles.on_start(*this);
  end_callback();
}

void Machine::drop_node() {
  disk_.detach_client();
  node_.reset();
  wal_.reset();
  deadline_ = kNever;
  timer_at_ = VirtualTime::max();
  ++timer_generation_;
  wake_pending_ = false;
  for (const Event& event : stalled_) {
    if (event.kind == EventKind::kDeliver) env_.network.drop(event.a);
  }
  stalled_.clear();
  crashing_ = false;
}

void Machine::crash() {
  if (state_ == State::kDown) return;
  drop_node();
  disk_.crash();
  state_ = State::kDown;
  env_.oracles.on_down(*this);
}

void Machine::kill() {
  if (state_ == State::kDown) return;
  drop_node();
  state_ = State::kDown;
  env_.oracles.on_down(*this);
}

std::string Machine::damage(const Fault& fault) {
  const auto place = static_cast<uint64_t>(fault.place());
  std::string what;
  switch (fault.kind()) {
    case BIT_ROT: what = disk_.rot(place, fault.file()); break;
    case MISDIRECTED_WRITE: what = disk_.misdirect(place, fault.file()); break;
    case READ_ERROR: what = disk_.spoil(place, fault.file()); break;
    case WIPE:
      disk_.wipe();
      what = "the disk is empty";
      break;
    default: CHECK(false, "fault kind {} is no damage", static_cast<int>(fault.kind()));
  }
  if (!what.empty()) damage_shows_at_ = start_count_ + 1;
  return what;
}

void Machine::settle_damage() {
  if (start_count_ >= damage_shows_at_ && has_whole_node()) damage_shows_at_ = 0;
}

void Machine::pause() {
  if (state_ == State::kUp) state_ = State::kPaused;
}

void Machine::resume() {
  if (state_ != State::kPaused) return;
  state_ = State::kUp;
  for (const Event& event : stalled_) {
    env_.queue.push(env_.queue.now(), event.kind, event.who, event.a);
  }
  stalled_.clear();
}

void Machine::freeze() { state_ = State::kFrozen; }

bool Machine::on_deliver(Envelope&& envelope) {
  if (!has_node()) return false;
  node_->receive(std::move(envelope));
  return request_wake();
}

bool Machine::on_timer(uint64_t generation) {
  if (!timer_is_current(generation)) return false;
  timer_at_ = VirtualTime::max();
  if (!has_node()) return false;
  if (now() < deadline_) {  // the deadline has moved on since the timer was set
    rearm();
    return false;
  }
  return wake_node();
}

bool Machine::on_wake(uint64_t incarnation) {
  if (incarnation != start_count_ || !wake_pending_) return false;
  wake_pending_ = false;
  return has_node() && wake_node();
}

bool Machine::on_disk(uint64_t operation) {
  disk_.complete(operation);
  if (crashing_) {
    end_callback();
    return false;
  }
  return has_node() ? request_wake() : end_callback();
}

bool Machine::request_transfer(NodeId to) {
  node_->request_transfer(to);
  return request_wake();
}

bool Machine::request_snapshot() {
  node_->request_snapshot();
  return request_wake();
}

// The simulator draws how inputs are grouped: at once, or with all that comes a little later.
bool Machine::request_wake() {
  const int64_t grouping_us = env_.params.raft().grouping_us();
  if (grouping_us == 0) return wake_node();
  if (wake_pending_) return false;
  wake_pending_ = true;
  const uint64_t key = draw_key(env_.params.steady_ms(), env_.queue.now(), ++wake_count_);
  const uint64_t bits = draw(env_.seed, static_cast<uint64_t>(Stream::kGrouping), number_, key);
  const uint64_t after = scale(bits, static_cast<uint64_t>(us(grouping_us).count()));
  env_.queue.push(env_.queue.now() + Duration(static_cast<int64_t>(after)), EventKind::kWake,
                  number_, start_count_);
  return false;
}

bool Machine::wake_node() {
  node_->wake();
  return end_callback();
}

// After the node's code has returned. False when the node is gone.
bool Machine::end_callback() {
  if (node_.has_value() && (crashing_ || !node_->running())) {
    // A node that stopped by itself leaves its page cache; a crash point is a power loss.
    end_ = crashing_ ? End::kCrashPoint : End::kStopped;
    if (crashing_) {
      crash();
    } else {
      kill();
    }
    return false;
  }
  return node_.has_value();
}

Time Machine::local(VirtualTime at) const {
  const __int128 scaled = static_cast<__int128>(at.time_since_epoch().count()) * clock_rate_;
  return Time(Duration(static_cast<int64_t>(scaled / kMillion))) + clock_offset_;
}

VirtualTime Machine::first_at_or_after(Time local_time) const {
  const __int128 scaled =
      static_cast<__int128>((local_time - clock_offset_).time_since_epoch().count()) * kMillion;
  const auto at = static_cast<int64_t>((scaled + clock_rate_ - 1) / clock_rate_);
  return VirtualTime(Duration(at));
}

void Machine::set_deadline(Time deadline) {
  deadline_ = deadline;
  rearm();
}

// One timer event at a time is under way. It is replaced only when it would come too late; one that
// comes too early looks again.
void Machine::rearm() {
  if (deadline_ == kNever) return;
  const VirtualTime at = std::max(first_at_or_after(deadline_), env_.queue.now());
  if (at >= timer_at_) return;
  timer_at_ = at;
  env_.queue.push(at, EventKind::kTimer, number_, ++timer_generation_);
}

void Machine::send(Envelope&& envelope) {
  if (crashing_) return;
  env_.oracles.on_send(*this, envelope);
  env_.network.send(std::move(envelope));
}

void Machine::disk_schedule(uint64_t op_id, Duration delay) {
  env_.queue.push(env_.queue.now() + delay, EventKind::kDisk, number_, op_id);
}

uint64_t Machine::disk_draw(uint64_t file_key, uint64_t ordinal, uint64_t aspect, uint64_t key) {
  const uint64_t when = draw_key(env_.params.steady_ms(), env_.queue.now(), ordinal);
  return draw(env_.seed, static_cast<uint64_t>(Stream::kDisk), number_, file_key, when, aspect,
              key);
}

void Machine::disk_point(DiskPoint point, std::string_view file) {
  (void)file;
  const auto number = static_cast<size_t>(point);
  const uint64_t ordinal = ++point_counts_[number];
  if (!crash_points_.next[number] && !crash_points_.ordinals[number].contains(ordinal)) return;
  last_crash_point_ = point;
  crashing_ = true;
  disk_.freeze();
}

void Machine::disk_synced(std::string_view file, uint64_t offset, std::string_view bytes) {
  (void)offset;
  has_lived_ = has_lived_ || segment_number(file).has_value();
  env_.oracles.on_media(number_, bytes);
}

}  // namespace tally::sim
