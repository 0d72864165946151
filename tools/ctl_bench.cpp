#include "tools/ctl_bench.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <csignal>
#include <cstdio>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "core/draw.h"
#include "core/history.h"

namespace tally::tools {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Latencies in buckets of at most 1.6 % width.
class Latencies {
 public:
  void add(Duration latency) {
    const auto ns = static_cast<uint64_t>(std::max<int64_t>(latency.count(), 0));
    const size_t bucket = bucket_of(ns);
    if (counts_.size() <= bucket) counts_.resize(bucket + 1);
    ++counts_[bucket];
    ++total_;
    max_ns_ = std::max(max_ns_, ns);
  }

  double quantile_us(double quantile) const {
    auto left = static_cast<uint64_t>(quantile * static_cast<double>(total_));
    for (size_t bucket = 0; bucket < counts_.size(); ++bucket) {
      if (counts_[bucket] > left) {
        return std::min(static_cast<double>(upper_of(bucket)) / 1000, max_us());
      }
      left -= counts_[bucket];
    }
    return max_us();
  }
  double max_us() const { return static_cast<double>(max_ns_) / 1000; }
  uint64_t total() const { return total_; }

 private:
  static constexpr int kBits = 6;  // 64 buckets for each power of two

  static size_t bucket_of(uint64_t ns) {
    const int shift = std::max(0, static_cast<int>(std::bit_width(ns)) - kBits - 1);
    return (static_cast<size_t>(shift) << kBits) + static_cast<size_t>(ns >> shift);
  }
  static uint64_t upper_of(size_t bucket) {
    const size_t shift = bucket < (size_t{2} << kBits) ? 0 : (bucket >> kBits) - 1;
    return (static_cast<uint64_t>(bucket - (shift << kBits)) + 1) << shift;
  }

  std::vector<uint64_t> counts_;
  uint64_t total_ = 0;
  uint64_t max_ns_ = 0;
};

// Ctrl-C ends the load, not the report.
volatile std::sig_atomic_t interrupted = 0;

class Bench {
 public:
  Bench(const ClusterFlags& flags, const Cluster& cluster, const BenchOptions& options)
      : flags_(flags),
        cluster_(cluster),
        options_(options),
        seed_(random_seed()),
        prefix_(options.prefix.empty() ? fmt::format("bench-{:08x}", seed_ >> 32) : options.prefix),
        only_counter_(prefix_) {}

  int run();

 private:
  // One in-flight place of a client.
  struct Slot {
    uint64_t lane = 0;  // its name in the history; a new one after an unknown outcome
    uint64_t sequence = 0;
    bool busy = false;
    bool is_get = false;
    Bytes counter;
    int64_t delta = 0;
    Time due;  // when it should have begun; latency counts from here
  };
  struct Load {
    std::unique_ptr<CtlClient> client;
    std::vector<Slot> slots;
    std::vector<size_t> held;  // closed loop: free slots, until the session has room for them
  };

  NodeId find_leader() const;
  void add_load(uint64_t number, NodeId leader);
  uint64_t due_count(Time until) const;
  Time due_at(uint64_t number) const;
  void begin_due(Time now);
  void begin_held(Load& load, Time now);
  void begin(Load& load, size_t slot, Time due, Time now);
  void on_done(Load& load, const Client::Done& done, Time now);
  void record(const Slot& slot, const Client::Done& done, Time now);
  void flush_history(Time now);
  void show_progress(Time now);
  int end(Time now);
  int report(Time now);
  bool may_begin(Time now) const {
    return interrupted == 0 && now < ends_at_ &&
           (options_.operations == 0 || begun_ < options_.operations);
  }

  const ClusterFlags& flags_;
  const Cluster& cluster_;
  const BenchOptions& options_;
  const uint64_t seed_;
  // A counter that nobody has used: histories begin at 0.
  const std::string prefix_;
  const Bytes only_counter_;  // of its names when there is one
  Loop loop_;
  std::deque<Load> loads_;
  std::deque<std::pair<Load*, size_t>> idle_;  // open loop: slots that wait for their time
  Time began_at_;
  Time ends_at_;
  Time progress_at_;
  Time history_flush_at_;
  uint64_t begun_ = 0;
  uint64_t not_begun_ = 0;   // open loop: were due, and found no free slot to the end
  bool load_ended_ = false;  // open loop: nothing begins any more
  uint64_t next_lane_ = 1;
  std::array<uint64_t, 4> outcomes_{};  // by Outcome
  Latencies latencies_;                 // since they should have begun
  Latencies since_sent_;                // without what they waited for a slot here
  std::FILE* history_ = nullptr;
  std::string history_error_;  // it cannot be written
  std::string line_;
};

// Where to begin, as the first node says that knows; clients find the leader by themselves after
// all, so nobody is waited for long.
NodeId Bench::find_leader() const {
  net::NetMessage question;
  question.mutable_status_request();
  const auto knows = [](const NodeAnswer& answer) { return answer.message.status().leader() != 0; };
  const Duration timeout = std::min<Duration>(timeout_of(flags_), milliseconds(500));
  for (const NodeAnswer& answer : ask_nodes(cluster_, question, timeout, knows)) {
    if (knows(answer)) return NodeId(answer.message.status().leader());
  }
  return kNoNode;
}

void Bench::add_load(uint64_t number, NodeId leader) {
  ClientConfig config = client_config(flags_, cluster_, draw(seed_, 1, number));
  config.first = leader;
  config.retry = options_.retry;
  config.operations_max = options_.pipeline;
  Load& load = loads_.emplace_back();
  load.slots.resize(options_.pipeline);
  for (Slot& slot : load.slots) slot.lane = next_lane_++;
  load.client = std::make_unique<CtlClient>(
      loop_, cluster_, config,
      [this, &load](const Client::Done& done, Time now) { on_done(load, done, now); });
}

void Bench::begin(Load& load, size_t index, Time due, Time now) {
  Slot& slot = load.slots[index];
  const uint64_t number = begun_++;
  slot.busy = true;
  slot.due = due;
  ++slot.sequence;
  slot.is_get = scale(draw(seed_, 2, number), 100) < options_.get_percent;
  slot.counter = options_.names == 1
                     ? only_counter_
                     : Bytes::passing(fmt::format("{}-{}", prefix_,
                                                  scale(draw(seed_, 3, number), options_.names)));
  const bool negative = options_.mixed_signs && (draw(seed_, 4, number) & 1) != 0;
  slot.delta = negative ? -options_.delta : options_.delta;
  if (slot.is_get) {
    load.client->start(now, index, Client::Get{std::string(slot.counter.view())});
  } else {
    load.client->start(now, index, Client::Increment{slot.counter, slot.delta, {}, {}});
  }
}

// Open loop: how many should have begun before `until`, and when each should.
uint64_t Bench::due_count(Time until) const {
  const auto ns = static_cast<unsigned __int128>((until - began_at_).count());
  const auto count = static_cast<uint64_t>((ns * options_.rate + 999'999'999) / 1'000'000'000);
  return options_.operations == 0 ? count : std::min(count, options_.operations);
}

Time Bench::due_at(uint64_t number) const {
  const auto billions = static_cast<unsigned __int128>(number) * 1'000'000'000;
  return began_at_ + Duration(static_cast<int64_t>(billions / options_.rate));
}

// What should have begun by now begins, as far as there are free slots; the time it spends waiting
// for one counts. What has found none when the load ends never begins, and is counted too: its
// latency would have been among the longest.
void Bench::begin_due(Time now) {
  if (options_.rate == 0 || load_ended_) return;
  const uint64_t due = due_count(std::min(now, ends_at_));
  for (size_t left = idle_.size(); left > 0 && begun_ < due; --left) {
    const auto [load, slot] = idle_.front();
    idle_.pop_front();
    if (load->client->has_room()) {
      begin(*load, slot, due_at(begun_), now);
    } else {
      idle_.emplace_back(load, slot);
    }
  }
  load_ended_ = !may_begin(now);
  if (load_ended_) not_begun_ = due - begun_;
}

void Bench::on_done(Load& load, const Client::Done& done, Time now) {
  Slot& slot = load.slots[done.operation_id];
  ++outcomes_[static_cast<size_t>(done.outcome)];
  if (done.outcome == Outcome::kOk) {
    latencies_.add(now - slot.due);
    since_sent_.add(now - done.first_sent_at.value_or(slot.due));
  }
  if (history_ != nullptr) record(slot, done, now);
  if (done.outcome == Outcome::kUnknown) {
    slot.lane = next_lane_++;
    slot.sequence = 0;
  }
  slot.busy = false;
  if (options_.rate != 0) {
    idle_.emplace_back(&load, done.operation_id);
  } else {
    load.held.push_back(done.operation_id);
    begin_held(load, now);
  }
}

// A session answers for so many sequences after its oldest open one: while that one is late, the
// others wait, and are sent when it is done.
void Bench::begin_held(Load& load, Time now) {
  while (!load.held.empty() && load.client->has_room() && may_begin(now)) {
    const size_t slot = load.held.back();
    load.held.pop_back();
    begin(load, slot, now, now);
  }
}

void Bench::record(const Slot& slot, const Client::Done& done, Time now) {
  Operation operation;
  operation.client = slot.lane;
  operation.sequence = slot.sequence;
  operation.kind = slot.is_get ? Operation::Kind::kGet : Operation::Kind::kAdd;
  operation.counter = slot.counter.view();
  operation.delta = slot.is_get ? 0 : slot.delta;
  operation.invoke_ns = done.first_sent_at.value_or(slot.due).time_since_epoch().count();
  operation.return_ns = now.time_since_epoch().count();
  switch (done.outcome) {
    case Outcome::kOk:
      operation.status = Operation::Status::kOk;
      operation.value = done.value;
      break;
    case Outcome::kNotApplied: operation.status = Operation::Status::kFailed; break;
    case Outcome::kUnknown:
      operation.status = Operation::Status::kUnknown;
      operation.return_ns.reset();
      break;
    case Outcome::kRejected:
      operation.status = Operation::Status::kRejected;
      operation.reject_reason = done.reason == Reason::kOverflow
                                    ? Operation::RejectReason::kOverflow
                                    : Operation::RejectReason::kBounds;
      break;
  }
  line_.clear();
  write_history_line(operation, line_);
  const bool written = std::fwrite(line_.data(), 1, line_.size(), history_) == line_.size();
  if (!written && history_error_.empty()) history_error_ = errno_text(options_.history);
}

// What is still in the buffer would fail only at the end.
void Bench::flush_history(Time now) {
  if (history_ == nullptr || now < history_flush_at_) return;
  history_flush_at_ = now + milliseconds(200);
  if (std::fflush(history_) != 0 && history_error_.empty()) {
    history_error_ = errno_text(options_.history);
  }
}

void Bench::show_progress(Time now) {
  if (now < progress_at_) return;
  progress_at_ = now + milliseconds(500);
  if (isatty(STDERR_FILENO) == 0) return;
  const double elapsed = std::chrono::duration<double>(now - began_at_).count();
  const double left = std::max(0.0, std::chrono::duration<double>(ends_at_ - now).count());
  fmt::print(stderr, "\r{} done, {:.0f} per second, {:.0f} s left   ", latencies_.total(),
             static_cast<double>(latencies_.total()) / elapsed, left);
}

int Bench::run() {
  // The first ends the load and waits for what is under way, the second ends everything.
  std::signal(SIGINT, [](int /*signal*/) {
    interrupted = 1;
    std::signal(SIGINT, SIG_DFL);
  });
  const NodeId leader = options_.spread ? kNoNode : find_leader();
  if (!options_.history.empty()) {
    history_ = std::fopen(options_.history.c_str(), "we");
    if (history_ == nullptr) {
      fmt::print(stderr, "tallyctl: {}\n", errno_text(options_.history));
      return kExitUsage;
    }
  }
  for (uint64_t i = 0; i < options_.clients; ++i) add_load(i, leader);
  began_at_ = monotonic_now();
  ends_at_ = began_at_ + seconds(static_cast<int64_t>(options_.seconds));
  for (Load& load : loads_) {
    for (size_t slot = 0; slot < load.slots.size(); ++slot) {
      if (options_.rate != 0) {
        idle_.emplace_back(&load, slot);
      } else if (may_begin(began_at_)) {
        begin(load, slot, began_at_, began_at_);
      }
    }
  }
  for (;;) {
    const Time now = monotonic_now();
    begin_due(now);
    bool open = false;
    Time deadline = now + (options_.rate != 0 ? milliseconds(1) : milliseconds(100));
    for (Load& load : loads_) {
      load.client->settle();
      open = open || load.client->open_count() > 0;
      deadline = std::min(deadline, load.client->due());
    }
    show_progress(now);
    flush_history(now);
    // A wrong cluster or release: nothing will ever be answered.
    const bool refused = loads_.front().client->is_refused_by_all();
    if (refused || !history_error_.empty() || (!open && !may_begin(now))) break;
    loop_.turn(deadline);
  }
  if (isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\n");
  const int exit = end(monotonic_now());
  for (Load& load : loads_) load.client->leave();
  return exit;
}

int Bench::end(Time now) {
  if (history_ != nullptr && std::fclose(history_) != 0 && history_error_.empty()) {
    history_error_ = errno_text(options_.history);
  }
  const int exit = report(now);
  if (history_error_.empty()) return exit;
  fmt::print(stderr, "tallyctl: --history: {}; the history is not whole\n", history_error_);
  return kExitUsage;
}

int Bench::report(Time now) {
  const double elapsed = std::chrono::duration<double>(std::min(now, ends_at_) - began_at_).count();
  const double rate = static_cast<double>(latencies_.total()) / elapsed;
  const double begun_rate = static_cast<double>(begun_) / elapsed;
  const auto count = [&](Outcome outcome) { return outcomes_[static_cast<size_t>(outcome)]; };
  if (flags_.json) {
    fmt::print(
        "{{\"clients\":{},\"pipeline\":{},\"rate\":{},\"seconds\":{:.3f},\"ok\":{},\"unknown\":{},"
        "\"rejected\":{},\"not_applied\":{},\"not_begun\":{},\"wanted_per_second\":{},"
        "\"begun_per_second\":{:.0f},\"ok_per_second\":{:.0f},"
        "\"percentiles_are_lower_bound\":{},\"p50_us\":{:.1f},"
        "\"p90_us\":{:.1f},\"p99_us\":{:.1f},\"p999_us\":{:.1f},\"max_us\":{:.1f},"
        "\"sent_p50_us\":{:.1f},\"sent_p99_us\":{:.1f}}}\n",
        options_.clients, options_.pipeline, options_.rate, elapsed, count(Outcome::kOk),
        count(Outcome::kUnknown), count(Outcome::kRejected), count(Outcome::kNotApplied),
        not_begun_, options_.rate == 0 ? "null" : std::to_string(options_.rate), begun_rate, rate,
        not_begun_ > 0, latencies_.quantile_us(0.5), latencies_.quantile_us(0.9),
        latencies_.quantile_us(0.99), latencies_.quantile_us(0.999), latencies_.max_us(),
        since_sent_.quantile_us(0.5), since_sent_.quantile_us(0.99));
  } else {
    fmt::print("{} ok, {} unknown, {} rejected, {} not applied in {:.1f} s: {:.0f} per second\n",
               count(Outcome::kOk), count(Outcome::kUnknown), count(Outcome::kRejected),
               count(Outcome::kNotApplied), elapsed, rate);
    if (options_.rate != 0) {
      fmt::print("wanted {} per second, begun {:.0f} per second, not begun {}\n", options_.rate,
                 begun_rate, not_begun_);
    }
    fmt::print("latency, us: p50 {:.0f}, p90 {:.0f}, p99 {:.0f}, p99.9 {:.0f}, max {:.0f}\n",
               latencies_.quantile_us(0.5), latencies_.quantile_us(0.9),
               latencies_.quantile_us(0.99), latencies_.quantile_us(0.999), latencies_.max_us());
    if (not_begun_ > 0) {
      fmt::print("the percentiles are a lower bound: what was due and not begun is not in them\n");
    }
  }
  if (count(Outcome::kOk) > 0) return kExitDone;
  const std::string troubles = loads_.front().client->troubles();
  fmt::print(stderr, "tallyctl: nothing succeeded; {}\n",
             troubles.empty() ? "no node was asked" : troubles);
  if (count(Outcome::kUnknown) > 0) return kExitUnknown;
  return loads_.front().client->is_refused_by_most() ? kExitUsage : kExitNotApplied;
}

}  // namespace

int bench(const ClusterFlags& flags, const Cluster& cluster, const BenchOptions& options) {
  return Bench(flags, cluster, options).run();
}

}  // namespace tally::tools
