// DiskWorld: the smallest host of a SimDisk: virtual time, keyed draws, and a crash at one chosen
// disk point. For the tests of sim/sim_disk and of storage/ above it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/draw.h"
#include "sim/sim_disk.h"

namespace tally::sim {

class DiskWorld final : public SimDiskHost {
 public:
  struct Synced {
    std::string file;
    uint64_t offset;
    std::string bytes;
  };

  explicit DiskWorld(uint64_t seed) : seed_(seed) {}

  void disk_schedule(uint64_t op_id, Duration delay) override {
    events_.push_back({now_ + delay, ++sequence_, op_id});
  }
  uint64_t disk_draw(uint64_t file_key, uint64_t ordinal, uint64_t aspect, uint64_t key) override {
    ++draw_count;
    return draw(seed_, 7, file_key, ordinal, aspect, key);
  }
  void disk_point(DiskPoint point, std::string_view file) override {
    points.push_back({point, std::string(file)});
    if (points.size() == freeze_at) disk.freeze();
  }
  void disk_synced(std::string_view file, uint64_t offset, std::string_view bytes) override {
    synced.push_back({std::string(file), offset, std::string(bytes)});
  }
  DiskStatus disk_fault(DiskCall call, uint64_t, uint64_t) override {
    return call == fault_call && --fault_after == 0 ? fault : DiskStatus::kOk;
  }

  // Runs the next completion; false when there is none.
  bool step() {
    if (events_.empty()) return false;
    const auto next = std::min_element(events_.begin(), events_.end());
    const Event event = *next;
    events_.erase(next);
    now_ = event.at;
    disk.complete(event.op_id);
    return true;
  }
  void run() {
    while (step()) {
    }
  }

  // Puts bytes on the media, as rot or a stray write would, while no node is there.
  void poke(std::string_view file, uint64_t offset, std::string_view bytes) {
    disk.set_client(nullptr);
    disk.write(file, offset, std::as_bytes(std::span(bytes.data(), bytes.size())), 0);
    run();
    disk.sync(file, 0);
    run();
  }
  void poke_new(std::string_view file, std::string_view bytes) {
    disk.set_client(nullptr);
    disk.create(file, 0);
    run();
    poke(file, 0, bytes);
    disk.sync_directory(0);
    run();
  }
  void flip(std::string_view file, uint64_t offset, uint8_t mask) {
    std::string byte;
    disk.read(file, offset, 1, byte);
    byte[0] = static_cast<char>(static_cast<uint8_t>(byte[0]) ^ mask);
    poke(file, offset, byte);
  }

  SimDisk disk{*this};
  uint64_t freeze_at = 0;  // the disk freezes at this point, counted from 1; 0 for never
  std::vector<std::pair<DiskPoint, std::string>> points;
  std::vector<Synced> synced;
  uint64_t draw_count = 0;
  // With disk.set_faults(true): the fault_after-th call of this kind fails so.
  DiskCall fault_call = DiskCall::kWrite;
  uint64_t fault_after = 0;
  DiskStatus fault = DiskStatus::kIoError;

 private:
  struct Event {
    Duration at;
    uint64_t sequence;
    uint64_t op_id;
    auto operator<=>(const Event&) const = default;
  };

  const uint64_t seed_;
  Duration now_{0};
  uint64_t sequence_ = 0;
  std::vector<Event> events_;
};

}  // namespace tally::sim
