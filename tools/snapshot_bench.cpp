// Does a snapshot stall apply? 1,000,000 counters; increments applied one after the other, without
// a snapshot and while one is read out and written to a file beside them, as the driver does it: a
// piece whenever the one before is written. Prints the longest gaps between two applies, and what
// memory the capture takes. Gaps are of the thread's processor time: what other programs take does
// not count.
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
#include "core/state_machine.h"

namespace tally::tools {
namespace {

using BenchClock = std::chrono::steady_clock;

constexpr uint64_t kNames = 1'000'000;

std::string name_of(uint64_t number) { return fmt::format("counter-{:08}", number); }

int64_t thread_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
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

// Writes one piece at a time on a thread of its own, as a disk worker does, and syncs the file.
class Writer {
 public:
  explicit Writer(const char* path) : file_(::open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600)) {
    worker_ = std::thread([this] { run(); });
  }
  ~Writer() {
    stop_ = true;
    worker_.join();
    ::close(file_);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  bool idle() const { return !busy_.load(std::memory_order_acquire); }
  // REQUIRES: idle()
  void write(const std::string& piece) {
    piece_ = piece;
    busy_.store(true, std::memory_order_release);
  }

 private:
  void run() {
    while (!stop_) {
      if (!busy_.load(std::memory_order_acquire)) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
        continue;
      }
      const bool written = ::write(file_, piece_.data(), piece_.size()) >= 0;
      if (!written || ::fdatasync(file_) != 0) std::perror("snapshot_bench");
      busy_.store(false, std::memory_order_release);
    }
  }

  const int file_;
  std::string piece_;
  std::atomic<bool> busy_{false};
  std::atomic<bool> stop_{false};
  std::thread worker_;
};

class Bench {
 public:
  Bench() {
    apply(encode_open_session({std::chrono::hours(1000), 10}));
    session_ = SessionId(index_);
    for (uint64_t i = 0; i < kNames; ++i) increment(i);
  }

  // Applies to random names until `done` says so, and prints the gaps.
  template <class Done>
  void measure(const char* what, Done done) {
    std::vector<int64_t> gaps;
    gaps.reserve(20'000'000);
    int64_t before = thread_ns();
    while (!done()) {
      increment(draw(7, index_) % kNames);
      const int64_t now = thread_ns();
      gaps.push_back(now - before);
      before = now;
    }
    std::sort(gaps.begin(), gaps.end());
    const auto at = [&](double part) {
      return static_cast<double>(
                 gaps[static_cast<size_t>(part * static_cast<double>(gaps.size() - 1))]) /
             1000;
    };
    fmt::print("{:<18} {:>9} applies, gaps in us: median {:.1f}, 99.9 % {:.1f}, longest five", what,
               gaps.size(), at(0.5), at(0.999));
    for (size_t i = std::min<size_t>(5, gaps.size()); i > 0; --i) {
      fmt::print(" {:.0f}", static_cast<double>(gaps[gaps.size() - i]) / 1000);
    }
    fmt::print("; resident {:.0f} MiB\n", resident_mib());
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
    request.name = name_of(number);
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

int main(int argc, char** argv) {
  if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
    fmt::print(
        "usage: snapshot_bench [FILE]   where the snapshot is written (snapshot_bench.tmp)\n");
    return argc == 2 && std::strcmp(argv[1], "--help") == 0 ? 0 : 2;
  }
  const char* path = argc == 2 ? argv[1] : "snapshot_bench.tmp";
  Bench bench;
  for (const size_t piece_bytes : {size_t{64} << 10, size_t{16} << 10, size_t{4} << 10}) {
    const auto end = BenchClock::now() + std::chrono::seconds(3);
    bench.measure("no snapshot", [&] { return BenchClock::now() >= end; });
    Writer writer(path);
    uint64_t bytes = 0;
    bool last = false;
    std::string piece;
    const auto began = BenchClock::now();
    bench.state().begin_capture();
    bench.measure("a snapshot", [&] {
      if (!writer.idle()) return false;
      if (last) return true;
      last = bench.state().read_piece(piece_bytes, piece);
      bytes += piece.size();
      writer.write(piece);
      return false;
    });
    fmt::print("                   of {:.1f} MiB in pieces of {} KiB, in {:.2f} s\n",
               static_cast<double>(bytes) / (1 << 20), piece_bytes >> 10,
               std::chrono::duration<double>(BenchClock::now() - began).count());
  }
  std::remove(path);
  return 0;
}

}  // namespace
}  // namespace tally::tools

int main(int argc, char** argv) { return tally::tools::main(argc, argv); }
