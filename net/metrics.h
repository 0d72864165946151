// Metrics: what a node has counted and how long its stages took, as plain numbers of the loop's
// thread. Turned into text only when somebody asks.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <string>

#include "core/message.h"
#include "core/node.h"
#include "core/note.h"
#include "net/net.pb.h"
#include "net/redis.h"

namespace tally {

// Durations in buckets of powers of two, from 1 microsecond up.
class LatencyHistogram {
 public:
  static constexpr size_t kBucketCount = 28;  // the last one takes the rest

  void add(Duration latency, uint64_t count = 1);

  const std::array<uint64_t, kBucketCount>& buckets() const { return buckets_; }
  uint64_t count() const { return count_; }
  Duration sum() const { return sum_; }
  // The upper end of bucket `i`, in microseconds.
  static uint64_t bound_us(size_t i) { return uint64_t{1} << i; }

 private:
  std::array<uint64_t, kBucketCount> buckets_{};
  uint64_t count_ = 0;
  Duration sum_{0};
};

class Metrics {
 public:
  // Passed on by another node, unless `of_client`. `now` is asked for the first of a step only.
  template <class Clock>
  void on_request(bool of_client, const Clock& now) {
    request_count_ += of_client;
    if (received_count_++ == 0) received_at_ = now();
  }
  // After each step of the node...
  // `kept`: requests wait to be handed to the node.
  void on_step(Time now, const Node& node, bool kept);
  // ...and when what it said has been handed to the system.
  void on_flushed(Time now) { advance(replied_, applied_index_, now); }
  bool expects_flush() const {
    return !replied_.waiting.empty() && replied_.waiting.front().last <= applied_index_;
  }
  void on_answer(const ValueResponse& response) {
    ++answers_[static_cast<size_t>(response.outcome)];
  }

  // Prometheus' text format. `redis` is null when that port is not served.
  std::string text(const net::Status& status, uint64_t cut_off_count,
                   const RedisCounts* redis) const;

 private:
  // Entries that entered the log in one step, on their way through the stages.
  struct Batch {
    LogIndex last;
    Time at;
    uint64_t count;
  };
  struct Stage {
    LatencyHistogram latency;
    std::deque<Batch> waiting;
  };
  static void advance(Stage& stage, LogIndex index, Time now);
  std::array<Stage*, 5> stages() {
    return {&durable_, &replicated_, &committed_, &applied_, &replied_};
  }

  uint64_t step_count_ = 0;
  uint64_t request_count_ = 0;
  std::array<uint64_t, 4> answers_{};  // by Outcome
  std::array<uint64_t, kNoteCount> notes_{};
  Time received_at_;             // the first request since the last step...
  uint64_t received_count_ = 0;  // ...and how many
  LatencyHistogram proposed_;
  LogIndex last_index_;
  uint64_t proposed_count_ = 0;  // commands, up to there
  LogIndex applied_index_;
  Stage durable_;
  Stage replicated_;
  Stage committed_;
  Stage applied_;
  Stage replied_;
};

}  // namespace tally
