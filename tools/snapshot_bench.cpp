// Does a snapshot stall apply? 1,000,000 counters; increments applied in steps of 16, as a busy
// node does it, by turns while snapshots are read out and written to a file
// beside them, and for as long without: a step fills a part of a piece, when the one before is
// written. What SnapshotStore and PosixDisk do on the node's thread (checksums, the write into the
// page cache) is done there; syncs, one for each MiB, run on a thread of their own.
//
// Prints the longest gap between two applies of each turn, their medians over all turns with and
// without, and the memory that a capture takes. Gaps are measured twice: in wall time, which counts
// what other programs take from this one, and in the thread's processor time.
// `./dev bench` runs it.
#include <fcntl.h>
#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "core/draw.h"
#include "core/node.h"
#include "core/record.h"
#include "core/state_machine.h"

namespace tally::tools {
namespace {

constexpr uint64_t kNames = 1'000'000;
constexpr int kTurns = 11;
constexpr int kStepApplies = 16;
constexpr int64_t kTurnNsMin = 1'000'000'000;
constexpr size_t kFillBytes = 2 << 10;  // as core/node_snapshot.cpp
constexpr uint64_t kSyncBytes = uint64_t{1} << 20;

int64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Resident memory of this process, in MiB.
double resident_mib() {
  std::ifstream statm("/proc/self/statm");
  uint64_t all_pages = 0;
  uint64_t resident_pages = 0;
  statm >> all_pages >> resident_pages;
  return static_cast<double>(resident_pages) * 4096 / (1 << 20);
}

// A file written on the caller's thread and synced on one of its own. That one also watches how
// much memory is in use.
class SnapshotFile {
 public:
  explicit SnapshotFile(const char* path)
      : file_(::open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600)), worker_([this] { run(); }) {}
  ~SnapshotFile() {
    stop_ = true;
    worker_.join();
    ::close(file_);
  }
  SnapshotFile(const SnapshotFile&) = delete;
  SnapshotFile& operator=(const SnapshotFile&) = delete;

  bool idle() const { return !syncing_.load(std::memory_order_acquire); }
  double resident_mib_most() const { return resident_mib_most_; }

  // REQUIRES: idle()
  void write_piece(uint64_t number, std::string_view piece) {
    if (number == 0) {
      hash_ = 0;
      offset_ = 0;
    }
    hash_ = snapshot_hash(hash_, piece);
    record_.clear();
    append_record({.type = RecordType::kPiece,
                   .index = number,
                   .term = hash_,
                   .log_time_ns = 0,
                   .payload = piece},
                  record_);
    const auto at = static_cast<off_t>(offset_);
    if (::pwrite(file_, record_.data(), record_.size(), at) < 0) std::perror("snapshot_bench");
    offset_ += record_.size();
    unsynced_bytes_ += record_.size();
    if (unsynced_bytes_ < kSyncBytes) return;
    unsynced_bytes_ = 0;
    syncing_.store(true, std::memory_order_release);
  }

 private:
  void run() {
    while (!stop_) {
      resident_mib_most_ = std::max(resident_mib_most_.load(), resident_mib());
      if (syncing_.load(std::memory_order_acquire)) {
        if (::fdatasync(file_) != 0) std::perror("snapshot_bench");
        syncing_.store(false, std::memory_order_release);
      }
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
  }

  const int file_;
  std::string record_;
  uint64_t hash_ = 0;
  uint64_t offset_ = 0;
  uint64_t unsynced_bytes_ = 0;
  std::atomic<bool> syncing_{false};
  std::atomic<bool> stop_{false};
  std::atomic<double> resident_mib_most_{0};
  std::thread worker_;
};

// Of one turn, in microseconds.
struct Gaps {
  int64_t turn_ns = 0;
  double wall_longest = 0;
  double cpu_longest = 0;
};

class Bench {
 public:
  Bench() {
    apply(encode_open_session({std::chrono::hours(1000), 10}));
    session_ = SessionId(index_);
    for (uint64_t i = 0; i < kNames; ++i) increment(i);
  }

  // Applies to random names for so long, and until `step`, called after each step, is content.
  template <class Step>
  Gaps turn(int64_t turn_ns, Step step) {
    Gaps gaps;
    int64_t wall = 0;
    int64_t cpu = 0;
    const int64_t begin = clock_ns(CLOCK_MONOTONIC);
    const int64_t end = begin + turn_ns;
    int64_t wall_before = begin;
    int64_t cpu_before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (bool content = true; wall_before < end || !content; content = step(wall_before < end)) {
      for (int i = 0; i < kStepApplies; ++i) {
        increment(draw(7, index_) % kNames);
        const int64_t wall_now = clock_ns(CLOCK_MONOTONIC);
        const int64_t cpu_now = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        wall = std::max(wall, wall_now - wall_before);
        cpu = std::max(cpu, cpu_now - cpu_before);
        wall_before = wall_now;
        cpu_before = cpu_now;
      }
    }
    gaps.turn_ns = wall_before - begin;
    gaps.wall_longest = static_cast<double>(wall) / 1000;
    gaps.cpu_longest = static_cast<double>(cpu) / 1000;
    return gaps;
  }

  StateMachine& state() { return state_; }

 private:
  void apply(Bytes command) {
    ++index_;
    state_.apply(
        Entry{LogIndex(index_), Term(1), LogTime(index_), EntryType::kCommand, std::move(command)});
  }
  void increment(uint64_t number) {
    ++sequence_;
    IncrementAndGetRequest request;
    request.name = Bytes::passing(fmt::format("counter-{:08}", number));
    request.delta = 1;
    request.session = session_;
    request.sequence = sequence_;
    request.first_outstanding = sequence_;
    apply(encode_increment(request));
  }

  StateMachine state_;
  uint64_t index_ = 0;
  uint64_t sequence_ = 0;
  SessionId session_;
};

// Reads out snapshots one after the other, a piece in each step.
class Snapshots {
 public:
  Snapshots(StateMachine& state, SnapshotFile& file, uint64_t piece_bytes)
      : state_(state), file_(file), piece_bytes_(piece_bytes) {}

  // True when none is under way. Begins another one only if there is `time`.
  bool step(bool time) {
    if (!file_.idle()) return false;
    if (!state_.is_capturing()) {
      if (!time) return true;
      state_.begin_capture();
      pieces_ = 0;
      bytes_ = 0;
    }
    if (!state_.fill_piece(piece_bytes_, kFillBytes)) return false;
    if (state_.read_piece(piece_bytes_, piece_)) ++count_;
    bytes_ += piece_.size();
    file_.write_piece(pieces_++, piece_);
    return false;
  }

  int count() const { return count_; }
  uint64_t bytes() const { return bytes_; }  // of the last one

 private:
  StateMachine& state_;
  SnapshotFile& file_;
  const uint64_t piece_bytes_;
  std::string piece_;
  uint64_t pieces_ = 0;
  uint64_t bytes_ = 0;
  int count_ = 0;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void print_medians(const char* clock, const std::vector<double>& without,
                   const std::vector<double>& with) {
  fmt::print("{}: median of the longest gaps {:.0f} us without, {:.0f} us with: {:.2f} times\n",
             clock, median(without), median(with), median(with) / median(without));
}

int main(int argc, char** argv) {
  if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
    fmt::print(
        "usage: snapshot_bench [FILE]   where the snapshot is written (snapshot_bench.tmp)\n");
    return argc == 2 && std::strcmp(argv[1], "--help") == 0 ? 0 : 2;
  }
  const char* path = argc == 2 ? argv[1] : "snapshot_bench.tmp";
  Bench bench;
  const double resident = resident_mib();
  const uint64_t piece_bytes = NodeConfig().snapshot_piece_bytes;
  std::vector<double> wall_without, wall_with, cpu_without, cpu_with;
  SnapshotFile file(path);
  Snapshots snapshots(bench.state(), file, piece_bytes);
  fmt::print("longest gap in us   without a snapshot       with snapshots\n");
  fmt::print("turn                wall       cpu         wall       cpu\n");
  for (int turn = 1; turn <= kTurns; ++turn) {
    const Gaps with = bench.turn(kTurnNsMin, [&](bool time) { return snapshots.step(time); });
    const Gaps without = bench.turn(with.turn_ns, [](bool) { return true; });
    wall_without.push_back(without.wall_longest);
    wall_with.push_back(with.wall_longest);
    cpu_without.push_back(without.cpu_longest);
    cpu_with.push_back(with.cpu_longest);
    fmt::print("{:<15} {:>8.0f}  {:>8.0f}     {:>8.0f}  {:>8.0f}\n", turn, without.wall_longest,
               without.cpu_longest, with.wall_longest, with.cpu_longest);
  }
  print_medians("wall time     ", wall_without, wall_with);
  print_medians("processor time", cpu_without, cpu_with);
  fmt::print(
      "{} snapshots of {:.1f} MiB in pieces of {} KiB; resident {:.0f} MiB before them, {:.0f} "
      "MiB at most\n",
      snapshots.count(), static_cast<double>(snapshots.bytes()) / (1 << 20), piece_bytes >> 10,
      resident, file.resident_mib_most());
  std::remove(path);
  return 0;
}

}  // namespace
}  // namespace tally::tools

int main(int argc, char** argv) { return tally::tools::main(argc, argv); }
