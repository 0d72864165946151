#include "sim/shrink.h"

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <set>

#include "sim/capsule.h"
#include "sim/params.h"
#include "sim/plan.h"
#include "sim/shrink_list.h"
#include "sim/shrink_times.h"

namespace tally::sim {
namespace {

using google::protobuf::FieldDescriptor;
using ProtoMessage = google::protobuf::Message;

// A run that takes this many times the events of the failing one is taken for another failure.
constexpr int64_t kEventFactorMax = 4;
constexpr int64_t kEventSlack = 20'000;
// How many other seeds a step may try whose draws are new anyway.
constexpr uint64_t kOtherSeeds = 24;
constexpr uint64_t kOtherSeedsOfSmallRuns = 60;
// Where it matters most, as many as make so many events.
constexpr int64_t kEventsForSeeds = 200'000;
constexpr uint64_t kOtherSeedsMax = 80;
constexpr uint64_t kSeedsForClients = 4;
constexpr size_t kManyOperations = 8;
// Delays stay for so long when they are to outlast what is left out: well below any timeout.
constexpr int64_t kSteadyMs = 1;
constexpr int kSteadyTriesMax = 3;
constexpr size_t kTimesMax = 40;
// A run that never ends is cut at this many events, ten times those of a usual run.
constexpr int64_t kHangEvents = 200'000;
constexpr int kRoundsMax = 8;
constexpr int kCoarseRounds = 2;

int64_t count_of(size_t size) { return static_cast<int64_t>(size); }

void silence(Params::Network& network) {
  network.set_heavy_tail_ppm(0);
  network.set_loss_ppm(0);
  network.set_duplicate_ppm(0);
  network.set_replay_ppm(0);
  network.set_corrupt_ppm(0);
  network.set_codec_ppm(0);
}

bool is_silent(const Params::Network& network) {
  return network.heavy_tail_ppm() == 0 && network.loss_ppm() == 0 && network.duplicate_ppm() == 0 &&
         network.replay_ppm() == 0 && (network.corrupt_ppm() == 0 || network.codec_ppm() == 0);
}

class Shrinker {
 public:
  Shrinker(const RunSpec& spec, const ShrinkHooks& hooks) : hooks_(hooks), best_(spec) {}

  ShrinkResult run(const std::string& expected) {
    ShrinkResult result;
    best_.record = true;
    best_.trace = nullptr;
    result.before = best_report_ = hooks_.run(best_);
    best_.record = false;
    run_count_ = 1;
    fingerprint_ = fingerprint(result.before);
    if (result.before.verdict() != "violation") {
      result.error = fmt::format("the run ends {}: there is no failure to shrink", fingerprint_);
    } else if (!expected.empty() && expected != fingerprint_) {
      result.error = fmt::format("the run fails by {}, not by {}", fingerprint_, expected);
    }
    if (!result.error.empty()) return result;
    if (best_report_.oracle() == "hang" && best_report_.events() > kHangEvents) {
      step_ = "budget";
      accept_change([](RunSpec& spec) { spec.params.set_event_count_max(kHangEvents); });
    }
    make_data(result.before.record());
    fewer_nodes(kOtherSeeds);
    cut_ends();
    steady_delays();
    for (int round = 0; round < kRoundsMax; ++round) {
      const std::string before = best_text();
      reduce(round < kCoarseRounds ? Thoroughness::kCoarse : Thoroughness::kOneMinimal);
      if (round >= kCoarseRounds && best_text() == before) break;
    }
    result.minimal = reduce_to_minimum();
    result.without = check_without();
    result.after = best_report_;
    result.spec = best_;
    result.run_count = run_count_;
    return result;
  }

 private:
  // ---- one attempt

  std::string best_text() const { return scenario_text(spelled_out(best_)); }

  // The outcome of a candidate; of one tried before, from memory.
  const SeedReport* outcome(const RunSpec& candidate, RunSpec& completed) {
    const Scenario scenario = spelled_out(candidate);
    if (!make_run_spec(scenario, candidate.seed, {}, completed).empty()) return nullptr;
    const std::string bytes = scenario.SerializeAsString();
    const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
    const std::pair<uint64_t, uint64_t> key(hash.high64, hash.low64);
    const auto known = tried_.find(key);
    if (known != tried_.end()) return &known->second;
    if (hooks_.out_of_time()) {
      gave_up_ = true;
      return nullptr;
    }
    RunSpec limited = completed;
    if (best_report_.oracle() != "hang") {
      const int64_t limit = best_report_.events() * kEventFactorMax + kEventSlack;
      limited.params.set_event_count_max(std::min(limit, completed.params.event_count_max()));
    }
    ++run_count_;
    hooks_.progress(step_, best_, run_count_);
    SeedReport report = hooks_.run(limited);
    // All are kept, and every child process starts as a copy of this one: keep little.
    report.clear_record();
    report.clear_notes();
    report.clear_checkpoint();
    return &tried_.emplace(key, std::move(report)).first->second;
  }

  // Takes the candidate when it fails in the same way.
  bool accept(const RunSpec& candidate) {
    RunSpec completed;
    const SeedReport* report = outcome(candidate, completed);
    if (report == nullptr || fingerprint(*report) != fingerprint_) return false;
    best_ = std::move(completed);
    best_report_ = *report;
    return true;
  }

  // The same under other seeds, when its own does not do.
  bool accept_with_any_seed(const RunSpec& candidate, uint64_t seeds) {
    if (accept(candidate)) return true;
    for (uint64_t other = 1; other <= seeds && !gave_up_; ++other) {
      RunSpec reseeded = candidate;
      reseeded.seed = other;
      if (accept(reseeded)) return true;
    }
    return false;
  }

  template <class Change>
  bool accept_change(Change change) {
    RunSpec candidate = best_;
    change(candidate);
    return accept(candidate);
  }

  // ---- probabilities and conditions become data

  void make_data(const RunRecord& record) {
    step_ = "data";
    const auto begun_count = static_cast<size_t>(record.begun_ns_size());
    for (size_t position = 0; position < std::min(begun_count, best_.plan.size()); ++position) {
      if (!best_.plan[position].trigger().has_when()) continue;
      const int64_t begun_ns = record.begun_ns(static_cast<int>(position));
      if (begun_ns < 0) continue;
      for (const int64_t at_ms : {begun_ns / 1'000'000, begun_ns / 1'000'000 + 1}) {
        const bool kept = accept_change([&](RunSpec& spec) {
          spec.plan[position].mutable_trigger()->Clear();
          spec.plan[position].mutable_trigger()->set_at_ms(at_ms);
        });
        if (kept) break;
      }
    }
    // What comes after the violation does not matter to it.
    const int64_t end_ms =
        std::min(best_report_.sim_ns() / 1'000'000 + 1, best_.params.duration_ms());
    accept_change([&](RunSpec& spec) {
      keep_within(spec, 0, end_ms);
      spec.params.set_duration_ms(end_ms);
    });
    if (best_.operations.empty() && !record.operation().empty()) {
      accept_change([&](RunSpec& spec) {
        spec.operations.assign(record.operation().begin(), record.operation().end());
      });
    }
  }

  // No noise, or the list of what fired in this very run, which is then the same run.
  void silence_noise() {
    step_ = "noise";
    if (is_silent(best_.params.network())) return;
    const auto silent = [](RunSpec& spec) { silence(*spec.params.mutable_network()); };
    if (accept_change(silent) || hooks_.out_of_time()) return;
    RunSpec asking = best_;
    asking.record = true;
    ++run_count_;
    const SeedReport recorded = hooks_.run(asking);
    accept_change([&](RunSpec& spec) {
      silent(spec);
      spec.noise.assign(recorded.record().noise().begin(), recorded.record().noise().end());
    });
  }

  // Delays that go by the time and not by the number of the message, so that leaving out an
  // operation changes what it caused and no more. They are others than before: other seeds are
  // tried, too.
  void steady_delays() {
    step_ = "steady delays";
    if (best_.params.steady_ms() > 0 || steady_tries_ == kSteadyTriesMax) return;
    ++steady_tries_;
    RunSpec steady = best_;
    steady.params.set_steady_ms(kSteadyMs);
    accept_with_any_seed(steady, seeds_worth_trying());
  }

  // By bisection: the earliest end of the run, then the latest beginning of its plan and
  // operations.
  void cut_ends() {
    step_ = "cut";
    int64_t too_early_ms = 0;
    while (best_.params.duration_ms() - too_early_ms > best_.params.raft().election_timeout_ms()) {
      const int64_t end_ms = (best_.params.duration_ms() + too_early_ms) / 2;
      const bool cut = accept_change([&](RunSpec& spec) {
        keep_within(spec, 0, end_ms);
        spec.params.set_duration_ms(end_ms);
      });
      if (!cut) too_early_ms = end_ms;
    }
    int64_t begin_ms = 0;
    int64_t too_late_ms = best_.params.duration_ms();
    while (too_late_ms - begin_ms > best_.params.raft().election_timeout_ms()) {
      const int64_t middle_ms = (begin_ms + too_late_ms) / 2;
      const bool cut = accept_change(
          [&](RunSpec& spec) { keep_within(spec, middle_ms, spec.params.duration_ms()); });
      (cut ? begin_ms : too_late_ms) = middle_ms;
    }
  }

  static void keep_within(RunSpec& spec, int64_t begin_ms, int64_t end_ms) {
    const auto outside = [&](int64_t at_ms) { return at_ms < begin_ms || at_ms >= end_ms; };
    std::vector<Fault> plan;
    for (const Fault& fault : spec.plan) {
      if (fault.trigger().has_when() || !outside(fault.trigger().at_ms())) plan.push_back(fault);
    }
    spec.plan = std::move(plan);
    std::vector<ClientOperation> operations;
    for (const ClientOperation& operation : spec.operations) {
      if (!outside(operation.at_us() / 1000)) operations.push_back(operation);
    }
    // An empty list would mean drawn ones.
    if (!operations.empty()) spec.operations = std::move(operations);
    std::erase_if(spec.noise, [&](const NoiseEvent& noise) {
      return noise.at_us() > 0 && outside(noise.at_us() / 1000);
    });
  }

  // ---- fewer nodes

  // False: the fault waits for a node that is left out.
  template <class Renumber>
  static bool renumber_condition(Fault& fault, Renumber renumber) {
    if (!fault.trigger().has_when()) return true;
    Condition& when = *fault.mutable_trigger()->mutable_when();
    if (when.has_node_leads()) {
      when.set_node_leads(renumber(when.node_leads()));
      return when.node_leads() > 0;
    }
    if (when.has_appended() && when.appended().has_node()) {
      when.mutable_appended()->set_node(renumber(when.appended().node()));
      return when.appended().node() > 0;
    }
    if (when.has_note() && when.note().has_node()) {
      when.mutable_note()->set_node(renumber(when.note().node()));
      return when.note().node() > 0;
    }
    return true;
  }

  // The run on the nodes from `kept` (1-based, sorted), which are then numbered from 1.
  static RunSpec on_nodes(const RunSpec& spec, const std::vector<int64_t>& kept) {
    const auto renumber = [&](int64_t node) {
      const auto found = std::lower_bound(kept.begin(), kept.end(), node);
      return found == kept.end() || *found != node ? int64_t{0} : found - kept.begin() + 1;
    };
    RunSpec smaller = spec;
    smaller.params.set_nodes(count_of(kept.size()));
    smaller.core.clear();
    smaller.plan.clear();
    for (Fault fault : spec.plan) {
      bool emptied = !renumber_condition(fault, renumber);
      for (auto* side : {fault.mutable_target(), fault.mutable_peer()}) {
        const int before = side->size();
        google::protobuf::RepeatedPtrField<Target> left;
        for (Target target : *side) {
          if (target.has_node() && renumber(target.node()) == 0) continue;
          if (target.has_node()) target.set_node(renumber(target.node()));
          *left.Add() = target;
        }
        *side = left;
        emptied |= before > 0 && left.empty();
      }
      if (!emptied) smaller.plan.push_back(std::move(fault));
    }
    smaller.noise.clear();
    for (NoiseEvent noise : spec.noise) {
      const bool kept_ends = (!noise.has_from() || renumber(noise.from()) > 0) &&
                             (!noise.has_to() || renumber(noise.to()) > 0);
      if (!kept_ends) continue;
      if (noise.has_from()) noise.set_from(renumber(noise.from()));
      if (noise.has_to()) noise.set_to(renumber(noise.to()));
      smaller.noise.push_back(noise);
    }
    return smaller;
  }

  // The nodes that faults name most, and of those that tie the first.
  std::vector<int64_t> most_named(size_t count) const {
    std::map<int64_t, int64_t> named;
    for (const Fault& fault : best_.plan) {
      for (const Target& target : fault.target()) named[target.node()] += 1;
      if (fault.kind() != MESSAGES) continue;
      for (const Target& target : fault.peer()) named[target.node()] += 1;
    }
    std::vector<std::pair<int64_t, int64_t>> order;
    for (int64_t node = 1; node <= best_.params.nodes(); ++node) {
      order.emplace_back(-named[node], node);
    }
    std::sort(order.begin(), order.end());
    std::vector<int64_t> kept;
    for (size_t i = 0; i < count; ++i) kept.push_back(order[i].second);
    std::sort(kept.begin(), kept.end());
    return kept;
  }

  // To three, or what comes next: an even number makes an odd story, and one node alone is another.
  void fewer_nodes(uint64_t seeds) {
    step_ = "nodes";
    for (const int64_t nodes : {3, 5, 7}) {
      if (nodes >= best_.params.nodes()) return;
      std::vector<int64_t> first;
      for (int64_t node = 1; node <= nodes; ++node) first.push_back(node);
      if (accept(on_nodes(best_, first))) return;
      if (accept_with_any_seed(on_nodes(best_, most_named(static_cast<size_t>(nodes))), seeds)) {
        return;
      }
    }
  }

  uint64_t seeds_worth_trying() const {
    const int64_t seeds = kEventsForSeeds / std::max<int64_t>(1, best_report_.events());
    return std::clamp(static_cast<uint64_t>(seeds), kOtherSeeds, kOtherSeedsMax);
  }

  // Any few of many operations, when the failure is one that many seeds would find. Unless delays
  // are steady, each operation left out moves all messages after it, so that what is left of the
  // draws, which go by the messages' numbers, is of others: the run is a new one in any case, and
  // one by one hardly any could go.
  // False: it did not help.
  bool few_operations() {
    step_ = "operations";
    const size_t before = best_.operations.size();
    for (const size_t step : {128u, 32u, 8u, 4u, 2u}) {
      if (best_.operations.size() < kManyOperations || best_.operations.size() < 2 * step) continue;
      RunSpec fewer = best_;
      fewer.operations = thinned(best_.operations, step);
      if (accept_with_any_seed(fewer, kOtherSeeds)) continue;
      fewer.noise.clear();
      accept_with_any_seed(fewer, seeds_worth_trying());
    }
    while (best_.operations.size() >= kManyOperations && half_of_operations()) {
    }
    return best_.operations.size() < before;
  }

  // One end of them, or the middle.
  bool half_of_operations() {
    const auto begin = best_.operations.begin();
    const auto count = static_cast<ptrdiff_t>(best_.operations.size());
    for (const ptrdiff_t first : {ptrdiff_t{0}, count - count / 2, count / 4}) {
      RunSpec fewer = best_;
      fewer.operations.assign(begin + first, begin + first + count / 2);
      fewer.noise.clear();
      if (accept_with_any_seed(fewer, seeds_worth_trying())) return true;
    }
    return false;
  }

  // ---- one round of everything

  void reduce(Thoroughness thoroughness) {
    silence_noise();
    if (best_.operations.size() >= kManyOperations) steady_delays();
    reduce_faults(thoroughness);
    if (best_.params.steady_ms() > 0) reduce_operations(thoroughness);
    // What did not help for so many rounds will not help in the next one.
    if (few_operations_tries_ < kCoarseRounds && !few_operations()) ++few_operations_tries_;
    reduce_operations(thoroughness);
    reduce_noise(thoroughness);
    fewer_nodes(kOtherSeedsOfSmallRuns);
    fewer_clients();
    calm_parameters();
    shorter();
    // Each time costs a few runs: not before there are few.
    if (time_points(best_).size() > kTimesMax) return;
    without_idle_stretches();
    simpler_faults();
    round_times();
  }

  bool reduce_faults(Thoroughness thoroughness) {
    step_ = "faults";
    std::vector<Fault> plan = best_.plan;
    return reduce_list(
        plan,
        [&](const std::vector<Fault>& fewer) {
          return accept_change([&](RunSpec& spec) { spec.plan = fewer; });
        },
        thoroughness);
  }

  bool reduce_operations(Thoroughness thoroughness) {
    step_ = "operations";
    if (best_.operations.empty()) return false;
    std::vector<ClientOperation> operations = best_.operations;
    return reduce_list(
        operations,
        [&](const std::vector<ClientOperation>& fewer) {
          return accept_change([&](RunSpec& spec) {
            spec.operations = fewer;
            if (fewer.empty()) leave_out_clients(spec);
          });
        },
        thoroughness);
  }

  // An empty list of operations alone would mean drawn ones.
  static void leave_out_clients(RunSpec& spec) {
    spec.params.mutable_workload()->set_clients(0);
    spec.params.mutable_workload()->set_pipeline(1);
    std::erase_if(spec.noise, [](const NoiseEvent& noise) { return noise.has_client(); });
  }

  bool reduce_noise(Thoroughness thoroughness) {
    step_ = "noise";
    std::vector<NoiseEvent> noise = best_.noise;
    return reduce_list(
        noise,
        [&](const std::vector<NoiseEvent>& less) {
          return accept_change([&](RunSpec& spec) { spec.noise = less; });
        },
        thoroughness);
  }

  // No more clients and lanes than the operations need: one, or else as many as they use.
  void fewer_clients() {
    step_ = "clients";
    const auto& workload = best_.params.workload();
    if (best_.operations.empty()) {
      if (workload.clients() == 0) return;
      RunSpec none = best_;
      leave_out_clients(none);
      accept_with_any_seed(none, kOtherSeeds);
      return;
    }
    if (workload.clients() == 1 && workload.pipeline() == 1) return;
    RunSpec one = best_;
    std::stable_sort(one.operations.begin(), one.operations.end(),
                     [](const auto& a, const auto& b) { return a.at_us() < b.at_us(); });
    std::set<int64_t> used;
    for (ClientOperation& operation : one.operations) {
      used.insert(operation.client());
      operation.set_client(0);
      operation.clear_lane();
    }
    for (NoiseEvent& noise : one.noise) {
      if (noise.has_client()) noise.set_client(0);
    }
    one.params.mutable_workload()->set_clients(1);
    one.params.mutable_workload()->set_pipeline(1);
    if (accept(one)) return;
    RunSpec fewer = best_;
    for (ClientOperation& operation : fewer.operations) {
      operation.set_client(std::distance(used.begin(), used.find(operation.client())));
    }
    std::erase_if(fewer.noise, [&](const NoiseEvent& noise) {
      return noise.has_client() && !used.contains(noise.client());
    });
    for (NoiseEvent& noise : fewer.noise) {
      if (!noise.has_client()) continue;
      noise.set_client(std::distance(used.begin(), used.find(noise.client())));
    }
    fewer.params.mutable_workload()->set_clients(count_of(used.size()));
    accept_with_any_seed(fewer, kSeedsForClients);
    accept_change([](RunSpec& spec) {
      for (ClientOperation& operation : spec.operations) operation.clear_lane();
      spec.params.mutable_workload()->set_pipeline(1);
    });
  }

  // ---- parameters

  void calm_parameters() {
    step_ = "parameters";
    const Params calm = calm_params();
    // All at once, with the times in proportion.
    RunSpec candidate = best_;
    const int64_t from = best_.params.raft().election_timeout_ms();
    const int64_t to = calm.raft().election_timeout_ms();
    scale_times(candidate, to, from);
    const int64_t duration_ms = candidate.params.duration_ms();
    const auto workload = best_.params.workload();
    candidate.params = calm;
    candidate.params.set_nodes(best_.params.nodes());
    candidate.params.set_duration_ms(duration_ms);
    candidate.params.set_steady_ms(best_.params.steady_ms());
    candidate.params.mutable_workload()->set_clients(workload.clients());
    candidate.params.mutable_workload()->set_pipeline(workload.pipeline());
    if (candidate.params.SerializeAsString() == best_.params.SerializeAsString()) return;
    // What did not help two times will not help the third time.
    if (accept_with_any_seed(candidate, calm_tries_ < 2 ? kOtherSeeds : 0)) return;
    ++calm_tries_;
    // Else group by group, and field by field in those that resist.
    const auto* descriptor = calm.GetDescriptor();
    for (int i = 0; i < descriptor->field_count(); ++i) {
      const FieldDescriptor& group = *descriptor->field(i);
      if (group.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) calm_group(calm, group);
    }
  }

  void calm_group(const Params& calm, const FieldDescriptor& group) {
    const auto& reflection = *calm.GetReflection();
    const ProtoMessage& values = reflection.GetMessage(calm, &group);
    const auto* fields = values.GetDescriptor();
    const auto set_field = [&](RunSpec& spec, const FieldDescriptor& field) {
      // The lists say who operates; counts of clients and lanes must fit them.
      if (field.name() == "clients" || field.name() == "pipeline") return;
      ProtoMessage& target = *reflection.MutableMessage(&spec.params, &group);
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
        target.GetReflection()->SetBool(&target, &field,
                                        values.GetReflection()->GetBool(values, &field));
      } else {
        target.GetReflection()->SetInt64(&target, &field,
                                         values.GetReflection()->GetInt64(values, &field));
      }
    };
    const bool whole = accept_change([&](RunSpec& spec) {
      for (int i = 0; i < fields->field_count(); ++i) set_field(spec, *fields->field(i));
    });
    if (whole) return;
    for (int i = 0; i < fields->field_count(); ++i) {
      accept_change([&](RunSpec& spec) { set_field(spec, *fields->field(i)); });
    }
  }

  // ---- times

  void without_idle_stretches() {
    step_ = "idle stretches";
    for (size_t gap = 0; gap < time_points(best_).size(); ++gap) {
      for (const int64_t divisor : {16, 4, 2}) {
        const std::vector<int64_t> points = time_points(best_);
        if (gap >= points.size()) break;
        const int64_t before = gap == 0 ? 0 : points[gap - 1];
        const int64_t length = points[gap] - before;
        const int64_t cut_ms = length - length / divisor;
        if (cut_ms < 2) break;
        if (accept_change([&](RunSpec& spec) { move_up(spec, points[gap], cut_ms); })) break;
      }
    }
  }

  void shorter() {
    step_ = "core";
    accept_change([](RunSpec& spec) { spec.core = draw_core(spec.seed, spec.params); });
    step_ = "duration";
    const std::vector<int64_t> points = time_points(best_);
    const int64_t least_ms = points.empty() ? 1 : points.back() + 1;
    for (const int64_t part : {0, 1, 2, 4, 8}) {
      const int64_t duration_ms = best_.params.duration_ms();
      const int64_t shorter_ms = least_ms + (duration_ms - least_ms) * part / 16;
      if (shorter_ms >= duration_ms || shorter_ms < 1) continue;
      if (accept_change([&](RunSpec& spec) { spec.params.set_duration_ms(shorter_ms); })) return;
    }
  }

  // Fewer targets and peers, no side effects on clients.
  void simpler_faults() {
    step_ = "targets";
    for (size_t position = 0; position < best_.plan.size(); ++position) {
      if (best_.plan[position].clients()) {
        accept_change([&](RunSpec& spec) { spec.plan[position].clear_clients(); });
      }
      // For MESSAGES, anyone instead of somebody is no simpler.
      if (best_.plan[position].kind() != MESSAGES) {
        accept_change([&](RunSpec& spec) { spec.plan[position].clear_peer(); });
      }
      for (int i = best_.plan[position].target_size() - 1; i >= 0; --i) {
        if (best_.plan[position].target_size() < 2) break;
        accept_change(
            [&](RunSpec& spec) { spec.plan[position].mutable_target()->DeleteSubrange(i, 1); });
      }
      // A cut that lasts is simpler than one that comes and goes.
      if (best_.plan[position].kind() == FLAP) {
        accept_change([&](RunSpec& spec) {
          spec.plan[position].set_kind(PARTITION);
          spec.plan[position].clear_period_ms();
        });
      }
    }
  }

  void round_times() {
    step_ = "round times";
    const size_t fields = time_fields(best_).size();
    for (size_t field = 0; field < fields; ++field) {
      const int64_t value = time_fields(best_)[field].get();
      for (const int64_t rounded : rounder_values(value, time_fields(best_)[field].unit)) {
        if (accept_change([&](RunSpec& spec) { time_fields(spec)[field].set(rounded); })) break;
      }
    }
    step_ = "ids";
    accept_change([](RunSpec& spec) {
      int64_t id = 0;
      for (Fault& fault : spec.plan) fault.set_id(++id);
    });
  }

  // ---- the end

  // Until no single fault, operation or piece of noise can be left out. False: out of time.
  bool reduce_to_minimum() {
    bool reduced = true;
    while (reduced && !gave_up_) {
      reduced = reduce_faults(Thoroughness::kOneMinimal);
      reduced |= reduce_operations(Thoroughness::kOneMinimal);
      reduced |= reduce_noise(Thoroughness::kOneMinimal);
    }
    return !gave_up_;
  }

  std::vector<Without> check_without() {
    std::vector<Without> all;
    const auto ends = [&](const RunSpec& candidate) -> std::string {
      RunSpec completed;
      const SeedReport* report = outcome(candidate, completed);
      if (report == nullptr) return "not tried";
      if (report->verdict() == "ok" || report->verdict() == "vacuous") return "passes";
      return "ends otherwise: " + fingerprint(*report);
    };
    for (size_t i = 0; i < best_.plan.size(); ++i) {
      RunSpec candidate = best_;
      candidate.plan.erase(candidate.plan.begin() + static_cast<ptrdiff_t>(i));
      all.push_back({fault_text(best_.plan[i]), ends(candidate)});
    }
    for (size_t i = 0; i < best_.noise.size(); ++i) {
      RunSpec candidate = best_;
      candidate.noise.erase(candidate.noise.begin() + static_cast<ptrdiff_t>(i));
      all.push_back(
          {fmt::format("noise {}: {}", i + 1, noise_text(best_.noise[i])), ends(candidate)});
    }
    return all;
  }

  const ShrinkHooks& hooks_;
  RunSpec best_;
  SeedReport best_report_;
  std::string fingerprint_;
  std::string_view step_;
  uint64_t run_count_ = 0;
  bool gave_up_ = false;
  int calm_tries_ = 0;
  int steady_tries_ = 0;
  int few_operations_tries_ = 0;
  std::map<std::pair<uint64_t, uint64_t>, SeedReport> tried_;  // by a hash of the run
};

}  // namespace

std::string fingerprint(const SeedReport& report) {
  if (report.verdict() != "violation") return report.verdict();
  return fmt::format("{}: {}", report.oracle(), report.clause());
}

ShrinkResult shrink(const RunSpec& spec, const std::string& expected, const ShrinkHooks& hooks) {
  return Shrinker(spec, hooks).run(expected);
}

}  // namespace tally::sim
