#include "net/metrics.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <bit>
#include <sstream>
#include <utility>
#include <vector>

namespace tally {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily family(std::string name, std::string help, MetricType type) {
  MetricFamily result;
  result.name = std::move(name);
  result.help = std::move(help);
  result.type = type;
  return result;
}

void add_value(MetricFamily& out, uint64_t value, std::vector<ClientMetric::Label> labels = {}) {
  ClientMetric metric;
  metric.label = std::move(labels);
  metric.counter.value = static_cast<double>(value);
  metric.gauge.value = static_cast<double>(value);
  out.metric.push_back(std::move(metric));
}

MetricFamily gauge(std::string name, std::string help, uint64_t value) {
  MetricFamily result = family(std::move(name), std::move(help), MetricType::Gauge);
  add_value(result, value);
  return result;
}

MetricFamily counter(std::string name, std::string help, uint64_t value) {
  MetricFamily result = family(std::move(name), std::move(help), MetricType::Counter);
  add_value(result, value);
  return result;
}

void add_histogram(MetricFamily& out, const LatencyHistogram& latency, std::string stage) {
  ClientMetric metric;
  metric.label = {{"stage", std::move(stage)}};
  metric.histogram.sample_count = latency.count();
  metric.histogram.sample_sum = static_cast<double>(latency.sum().count()) / 1e9;
  uint64_t cumulative = 0;
  for (size_t i = 0; i + 1 < LatencyHistogram::kBucketCount; ++i) {
    cumulative += latency.buckets()[i];
    metric.histogram.bucket.push_back(
        {cumulative, static_cast<double>(LatencyHistogram::bound_us(i)) / 1e6});
  }
  out.metric.push_back(std::move(metric));
}

void add_redis(std::vector<MetricFamily>& families, const RedisCounts& redis) {
  families.push_back(
      gauge("tally_redis_connections", "Connections of clients of Redis", redis.connections));
  families.push_back(
      counter("tally_redis_connections_total", "Such connections so far", redis.accepted));
  families.push_back(counter("tally_redis_connections_refused_total",
                             "Such connections refused: there were too many",
                             redis.refused_connections));
  families.push_back(counter("tally_redis_cut_off_total",
                             "Clients of Redis cut off because of what they did not read",
                             redis.cut_off));
  MetricFamily commands =
      family("tally_redis_commands_total", "Commands of clients of Redis", MetricType::Counter);
  constexpr std::array<const char*, 4> kKinds{"increment", "read", "tally", "other"};
  static_assert(kKinds.size() == static_cast<size_t>(RedisCommandKind::kCount));
  for (size_t i = 0; i < kKinds.size(); ++i) {
    add_value(commands, redis.commands[i], {{"kind", kKinds[i]}});
  }
  families.push_back(std::move(commands));
  families.push_back(counter("tally_redis_errors_total", "Replies that were errors", redis.errors));
  families.push_back(counter("tally_redis_shed_total",
                             "Increments refused because too many were under way", redis.shed));
  families.push_back(counter("tally_redis_unknown_total", "Increments whose outcome stayed unknown",
                             redis.unknown));
}

}  // namespace

void LatencyHistogram::add(Duration latency, uint64_t count) {
  const auto us = static_cast<uint64_t>(std::max<int64_t>(latency.count(), 0) / 1000);
  const size_t bucket = us == 0 ? 0 : static_cast<size_t>(std::bit_width(us - 1));
  buckets_[std::min(bucket, kBucketCount - 1)] += count;
  count_ += count;
  sum_ += latency * static_cast<int64_t>(count);
}

void Metrics::on_step(Time now, const Node& node, bool kept) {
  ++step_count_;
  for (const Note& note : node.last_notes()) ++notes_[static_cast<size_t>(note.kind)];
  const Raft& raft = node.raft();
  if (!kept) {
    if (received_count_ > 0) proposed_.add(now - received_at_, received_count_);
    received_count_ = 0;
  }
  const LogIndex last = raft.log().last_index();
  const uint64_t count =
      node.proposed_count() - std::exchange(proposed_count_, node.proposed_count());
  if (raft.is_leader() && last > last_index_) {
    for (Stage* stage : stages()) stage->waiting.push_back({last, now, count});
  } else if (!raft.is_leader()) {
    for (Stage* stage : stages()) stage->waiting.clear();
  }
  last_index_ = last;
  applied_index_ = node.state().applied_index();
  advance(durable_, raft.durable_index(), now);
  if (raft.is_leader()) advance(replicated_, raft.replicated_index(), now);
  advance(committed_, raft.commit_index(), now);
  advance(applied_, applied_index_, now);
}

void Metrics::advance(Stage& stage, LogIndex index, Time now) {
  while (!stage.waiting.empty() && stage.waiting.front().last <= index) {
    stage.latency.add(now - stage.waiting.front().at, stage.waiting.front().count);
    stage.waiting.pop_front();
  }
}

std::string Metrics::text(const net::Status& status, uint64_t cut_off_count,
                          const RedisCounts* redis) const {
  std::vector<MetricFamily> families;
  if (redis != nullptr) add_redis(families, *redis);
  families.push_back(gauge("tally_term", "Raft's term", status.term()));
  MetricFamily role = family("tally_role", "1 for the role of this node", MetricType::Gauge);
  for (const char* each : {"leader", "follower", "candidate"}) {
    add_value(role, status.role() == each, {{"role", each}});
  }
  families.push_back(std::move(role));
  families.push_back(
      gauge("tally_leader", "Whom this node follows; 0 when nobody", status.leader()));
  MetricFamily index = family("tally_index", "Positions in the log", MetricType::Gauge);
  add_value(index, status.first_index(), {{"what", "first"}});
  add_value(index, status.last_index(), {{"what", "last"}});
  add_value(index, status.durable_index(), {{"what", "durable"}});
  add_value(index, status.commit_index(), {{"what", "commit"}});
  add_value(index, status.applied_index(), {{"what", "applied"}});
  add_value(index, status.snapshot_index(), {{"what", "snapshot"}});
  families.push_back(std::move(index));
  families.push_back(gauge("tally_counters", "Counters other than 0", status.counters()));
  families.push_back(gauge("tally_sessions", "Open client sessions", status.sessions()));
  families.push_back(gauge("tally_sessions_max",
                           "With so many open, this node as leader opens none",
                           status.sessions_max()));
  families.push_back(
      gauge("tally_waiting_requests", "Requests without an answer yet", status.waiting()));
  families.push_back(
      gauge("tally_connections", "Connections of peers and clients", status.connections()));
  families.push_back(
      gauge("tally_disk_free_bytes", "Free space of the data directory", status.disk_free_bytes()));
  families.push_back(
      gauge("tally_disk_full", "1 while this node takes no entries", status.disk_full()));
  families.push_back(gauge("tally_quorum_full",
                           "1 while this leader takes no writes, as no quorum has room",
                           status.quorum_full()));
  families.push_back(gauge("tally_repairing",
                           "1 while this node is damaged: it neither votes nor acknowledges",
                           status.repairing()));
  families.push_back(
      gauge("tally_repair_index",
            "What a damaged node must hold to be whole; 0: not known, or not damaged",
            status.repair_index()));
  families.push_back(counter("tally_syncs_total", "Syncs asked of the disk", status.sync_count()));
  families.push_back(counter("tally_steps_total", "Steps of the node", step_count_));
  families.push_back(counter("tally_requests_total", "Requests that arrived", request_count_));
  families.push_back(counter("tally_clients_cut_off_total",
                             "Clients cut off because they did not read their answers",
                             cut_off_count));
  MetricFamily answers = family("tally_answers_total", "Answers by outcome", MetricType::Counter);
  for (size_t i = 0; i < answers_.size(); ++i) {
    add_value(answers, answers_[i], {{"outcome", std::string(to_string(static_cast<Outcome>(i)))}});
  }
  families.push_back(std::move(answers));
  MetricFamily peers =
      family("tally_peer_connected", "1 when this node has reached the peer", MetricType::Gauge);
  MetricFamily dropped =
      family("tally_peer_dropped_messages_total",
             "Messages not sent: not connected, or the queue was full", MetricType::Counter);
  MetricFamily match = family("tally_peer_match_index",
                              "Up to here the peer holds this leader's log", MetricType::Gauge);
  MetricFamily silent =
      family("tally_peer_silent_seconds",
             "Since the newest message that the peer answered left this leader", MetricType::Gauge);
  for (const auto& peer : status.peers()) {
    const std::vector<ClientMetric::Label> labels{{"peer", std::to_string(peer.id())}};
    if (!peer.replication().empty()) {
      add_value(match, peer.match_index(), labels);
      ClientMetric& since = silent.metric.emplace_back();
      since.label = labels;
      since.gauge.value = static_cast<double>(peer.silent_ms()) / 1000;
    }
    add_value(peers, peer.connected(), labels);
    add_value(dropped, peer.dropped_messages(), labels);
  }
  families.push_back(std::move(peers));
  families.push_back(std::move(dropped));
  families.push_back(std::move(match));
  families.push_back(std::move(silent));
  MetricFamily notes = family("tally_notes_total", "What happened, as in the simulator's trace",
                              MetricType::Counter);
  for (size_t i = 0; i < kNoteCount; ++i) {
    if (notes_[i] > 0) add_value(notes, notes_[i], {{"note", std::string(kNoteNames[i])}});
  }
  families.push_back(std::move(notes));
  MetricFamily latency = family(
      "tally_stage_seconds",
      "Proposed: from the first request of a turn to its proposal. The others: from there, on "
      "the leader, until the entry was durable here, on enough others, committed, applied, "
      "and the answer handed to the system",
      MetricType::Histogram);
  add_histogram(latency, proposed_, "proposed");
  add_histogram(latency, durable_.latency, "durable");
  add_histogram(latency, replicated_.latency, "replicated");
  add_histogram(latency, committed_.latency, "committed");
  add_histogram(latency, applied_.latency, "applied");
  add_histogram(latency, replied_.latency, "replied");
  families.push_back(std::move(latency));

  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

}  // namespace tally
