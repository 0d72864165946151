// A machine of the simulated world: a clock, a disk, and, while it is up, the node that runs on it.
//
// The disk and the clock outlive crashes; the node does not. The machine is the node's Clock and
// Network and its disk's host. It stalls what comes for a paused node, wakes the node, and carries
// out a crash point exactly: from the point on nothing that the callback does has an effect, and
// the node is gone when the callback has returned.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/env.h"
#include "core/node.h"
#include "sim/event_queue.h"
#include "sim/scenario.pb.h"
#include "sim/sim_disk.h"
#include "sim/sim_network.h"
#include "storage/wal.h"

namespace tally::sim {

class Oracles;

// What all machines of a run share.
struct MachineEnv {
  uint64_t seed;
  const Params& params;
  EventQueue& queue;
  SimNetwork& network;
  Oracles& oracles;
};

class Machine final : public tally::Clock, public tally::Network, private SimDiskHost {
 public:
  enum class State : uint8_t {
    kDown,  // no node; after a crash or a stop
    kUp,
    kPaused,  // stands still; what comes for it waits
    kFrozen,  // left out of the liveness phase for good
  };

  // `number` is 0-based; the node's id is one higher.
  Machine(const MachineEnv& env, uint32_t number);

  // Starts a node on what the disk holds. REQUIRES: down.
  void start();
  // Power loss: what was not synced is drawn. Ignored when down.
  void crash();
  // The process dies; what it wrote stays in the page cache. Ignored when down.
  void kill();
  void pause();
  void resume();
  void freeze();
  void jump_clock(Duration by) {
    clock_offset_ += by;
    rearm();
  }
  // What the faults under way make of its disk.
  struct DiskFaults {
    uint32_t slowdown = 1;
    bool stalled = false;
    bool sync_fails = false;
    uint64_t capacity = UINT64_MAX;
  };
  void set_disk_faults(const DiskFaults& faults) {
    disk_.set_slowdown(faults.slowdown);
    if (disk_stalled_ != faults.stalled) disk_.set_stalled(faults.stalled);
    disk_stalled_ = faults.stalled;
    disk_.fail_next_sync(faults.sync_fails);
    disk_.set_capacity(faults.capacity);
  }
  // Damages the media; says what it did, or nothing when there was nothing to damage.
  std::string damage(const Fault& fault);
  // From damage() until a later start has shown a node that is whole: what was damaged has been
  // repaired, or does not matter to it.
  bool is_damaged() const { return damage_shows_at_ != 0; }
  void settle_damage();
  // Up, and its node neither damaged nor under repair: one that a quorum can be made of.
  bool has_whole_node() const { return has_node() && !node_->raft().is_repairing(); }
  // Where the node crashes, by DiskPoint: at the next one, or at those of these numbers.
  struct CrashPoints {
    std::array<bool, 4> next{};
    std::array<std::set<uint64_t>, 4> ordinals;
  };
  void set_crash_points(CrashPoints&& points) { crash_points_ = std::move(points); }
  // How many of these points all its nodes have come to.
  uint64_t point_count(DiskPoint point) const { return point_counts_[static_cast<size_t>(point)]; }
  // Of the last crash point that was hit. REQUIRES: one was.
  DiskPoint last_crash_point() const { return *last_crash_point_; }

  // Events. Each returns whether the node took a step (its last output is then worth a look).
  bool on_deliver(Envelope&& envelope);
  bool on_timer(uint64_t generation);
  bool on_wake(uint64_t incarnation);
  bool on_disk(uint64_t operation);
  bool request_transfer(NodeId to);
  bool request_snapshot();
  // Keeps an event for a paused machine until it resumes.
  void stall(const Event& event) { stalled_.push_back(event); }
  bool timer_is_current(uint64_t generation) const { return generation == timer_generation_; }

  uint32_t number() const { return number_; }
  NodeId id() const { return NodeId(number_ + 1); }
  State state() const { return state_; }
  bool has_node() const { return node_.has_value() && node_->running(); }
  // REQUIRES: has_node()
  const Node& node() const { return *node_; }
  const SimDisk& disk() const { return disk_; }
  uint64_t start_count() const { return start_count_; }
  // How the last callback ended the node, if it did; then cleared.
  enum class End : uint8_t { kNone, kCrashPoint, kStopped };
  End take_end() { return std::exchange(end_, End::kNone); }
  // Why the node does not run although its machine is up; empty when it runs.
  const std::string& refusal() const { return refusal_; }

  // tally::Clock
  Time now() override { return local(env_.queue.now()); }
  void set_deadline(Time deadline) override;
  // tally::Network
  void send(Envelope&& envelope) override;

 private:
  // SimDiskHost
  void disk_schedule(uint64_t op_id, Duration delay) override;
  uint64_t disk_draw(uint64_t file_key, uint64_t ordinal, uint64_t aspect, uint64_t key) override;
  void disk_point(DiskPoint point, std::string_view file) override;
  void disk_synced(std::string_view file, uint64_t offset, std::string_view bytes) override;

  Time local(VirtualTime at) const;
  VirtualTime first_at_or_after(Time local_time) const;
  void rearm();
  bool request_wake();
  bool wake_node();
  bool end_callback();
  void drop_node();
  NodeConfig node_config() const;

  const MachineEnv env_;
  const uint32_t number_;
  int64_t clock_rate_;  // local nanoseconds per 10^6 of virtual time
  Duration clock_offset_;
  SimDisk disk_;
  std::optional<Wal> wal_;
  std::optional<Node> node_;
  State state_ = State::kDown;
  uint64_t start_count_ = 0;
  std::string refusal_;

  Time deadline_ = kNever;
  VirtualTime timer_at_ = VirtualTime::max();  // of the timer event under way
  uint64_t timer_generation_ = 0;
  bool wake_pending_ = false;
  uint64_t wake_count_ = 0;
  std::vector<Event> stalled_;

  uint64_t damage_shows_at_ = 0;  // the start at which it can be noticed; 0: intact
  bool has_lived_ = false;        // something of its log was durable once
  bool disk_stalled_ = false;
  CrashPoints crash_points_;
  std::array<uint64_t, 4> point_counts_{};
  std::optional<DiskPoint> last_crash_point_;
  bool crashing_ = false;  // the crash point was hit; the callback has yet to return
  End end_ = End::kNone;
};

}  // namespace tally::sim
