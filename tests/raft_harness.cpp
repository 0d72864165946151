#include "tests/raft_harness.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "core/check.h"
#include "tests/raft_harness_codec.h"

namespace tally {
namespace {

using namespace std::chrono_literals;

constexpr size_t kHistoryMax = 4000;

std::string name(NodeNumber node) { return fmt::format("n{}", node); }

// A failed CHECK becomes a broken invariant of this test instead of the end of all tests. Throwing
// is for tests only: the Raft that it leaves is never touched again.
struct CheckFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
void throw_check_failure(const std::string& message) { throw CheckFailure(message); }

class CheckGuard {
 public:
  CheckGuard() : before_(set_check_handler(throw_check_failure)) {}
  ~CheckGuard() { set_check_handler(before_); }
  CheckGuard(const CheckGuard&) = delete;
  CheckGuard& operator=(const CheckGuard&) = delete;

 private:
  CheckHandler before_;
};

std::string join(const std::vector<std::string>& words, std::string_view separator) {
  return fmt::format("{}", fmt::join(words, separator));
}

}  // namespace

RaftCluster::RaftCluster(const Options& options) : invariants_(options.node_count) {
  base_config_.seed = options.seed;
  base_config_.append_entry_count_max = options.append_entry_count_max;
  base_config_.append_bytes_max = options.append_bytes_max;
  base_config_.inflight_append_count_max = options.inflight_append_count_max;
  base_config_.spare_delay = options.spare_delay;
  for (NodeNumber i = 1; i <= options.node_count; ++i) {
    base_config_.voters.push_back(NodeId(i));
  }
  for (NodeNumber i = 1; i <= options.node_count; ++i) {
    Node node;
    node.id = NodeId(i);
    // Monotonic clocks start anywhere, below zero too.
    const auto number = static_cast<int64_t>(i);
    node.clock = Time(i % 2 == 0 ? 1000h * number : -1h * number);
    node.sync_at_once = options.sync_at_once;
    nodes_.push_back(std::move(node));
  }
  for (NodeNumber i = 1; i <= options.node_count; ++i) start(i);
  take_narration();
}

RaftCluster::Node& RaftCluster::find(NodeNumber node) {
  CHECK(node >= 1 && node <= nodes_.size(), "there is no n{}", node);
  return nodes_[node - 1];
}

const RaftCluster::Node& RaftCluster::find(NodeNumber node) const {
  CHECK(node >= 1 && node <= nodes_.size(), "there is no n{}", node);
  return nodes_[node - 1];
}

// ---- nodes and disks

void RaftCluster::boot(NodeNumber number, HardState hard_state,
                       const std::vector<uint64_t>& terms) {
  crash(number);
  Media media{hard_state, {}};
  for (uint64_t term : terms) {
    Entry entry;
    entry.index = LogIndex(media.entries.size() + 1);
    entry.term = Term(term);
    entry.log_time = LogTime(entry.index.value());
    entry.type = EntryType::kCommand;
    entry.data = Bytes(fmt::format("t{}", term));
    media.entries.push_back(std::move(entry));
  }
  find(number).media = std::move(media);
  start(number);
}

void RaftCluster::crash(NodeNumber number, size_t writes_kept) {
  Node& node = find(number);
  node.raft = nullptr;
  finish_writes(node, writes_kept);
  node.writes.clear();
  node.held.clear();
  node.deadline = kNever;
}

void RaftCluster::start(NodeNumber number) {
  Node& node = find(number);
  if (node.raft != nullptr) return;
  RaftConfig config = base_config_;
  config.id = node.id;
  node.raft =
      std::make_unique<Raft>(config, node.media.hard_state, Log(EntryMark{}, node.media.entries),
                             std::nullopt, node.clock);
  invariants_.on_start(*node.raft, node.media);
  step(number, {});
}

void RaftCluster::restart(NodeNumber number, Keep keep) {
  crash(number, keep == Keep::kAll ? SIZE_MAX : 0);
  start(number);
}

void RaftCluster::sync_at_once(NodeNumber number) {
  find(number).sync_at_once = true;
  sync(number);
}

void RaftCluster::sync(NodeNumber number, size_t count) {
  Node& node = find(number);
  if (node.raft == nullptr || node.writes.empty() || count == 0) return;
  const uint64_t synced = finish_writes(node, count);
  narrate(fmt::format("{} has synced #{}", name(number), synced));
  step(number, {Synced{synced}});
}

// The oldest `count` writes reach the disk, and what waited for them leaves. Returns the number of
// the last one. The node is not told.
uint64_t RaftCluster::finish_writes(Node& node, size_t count) {
  uint64_t synced = 0;
  for (; count > 0 && !node.writes.empty(); --count) {
    apply_to_media(node, node.writes.front());
    synced = node.writes.front().number;
    node.writes.pop_front();
  }
  if (node.raft == nullptr) return synced;
  std::vector<Envelope> released;
  while (!node.held.empty() && node.held.front().persist_number <= synced) {
    released.push_back(std::move(node.held.front().envelope));
    node.held.pop_front();
  }
  narrate_sends(node, released, "now sends");
  for (const Envelope& envelope : released) transmit(node, envelope);
  return synced;
}

void RaftCluster::apply_to_media(Node& node, const Write& write) {
  if (write.hard_state_changed) node.media.hard_state = write.hard_state;
  if (write.first_index == LogIndex(0)) return;
  std::vector<Entry>& entries = node.media.entries;
  if (write.first_index.value() > entries.size() + 1) {
    invariants_.fail(name(node.id) + " writes entries behind a hole");
    return;
  }
  entries.resize(write.first_index.value() - 1);
  entries.insert(entries.end(), write.entries.begin(), write.entries.end());
}

// ---- time

void RaftCluster::advance(NodeNumber number, Duration duration) {
  Node& node = find(number);
  const Time end = node.clock + duration;
  while (node.raft != nullptr && node.deadline <= end && invariants_.violation().empty()) {
    node.clock = std::max(node.clock, node.deadline);
    step(number, {});
  }
  node.clock = end;
}

void RaftCluster::advance_all(Duration duration) {
  while (duration > Duration(0)) {
    Duration nearest = duration;
    for (const Node& node : nodes_) {
      if (node.raft != nullptr) nearest = std::min(nearest, node.deadline - node.clock);
    }
    nearest = std::max(nearest, Duration(1));
    for (const Node& node : nodes_) advance(node.id.value(), nearest);
    duration -= nearest;
  }
}

void RaftCluster::timeout(NodeNumber number) {
  Node& node = find(number);
  if (node.raft != nullptr) advance(number, node.deadline - node.clock);
}

void RaftCluster::lapse(NodeNumber number) {
  Node& node = find(number);
  if (node.raft == nullptr || node.raft->is_leader()) return;
  const Time patient_until = node.deadline - Duration(1);
  node.clock =
      std::max(node.clock, std::min(node.clock + base_config_.election_timeout_min, patient_until));
}

void RaftCluster::run(Duration duration) {
  deliver_all();
  while (duration > Duration(0) && invariants_.violation().empty()) {
    Duration nearest = duration;
    for (const Node& node : nodes_) {
      if (node.raft != nullptr) nearest = std::min(nearest, node.deadline - node.clock);
    }
    nearest = std::max(nearest, Duration(1));
    advance_all(nearest);
    deliver_all();
    duration -= nearest;
  }
}

// ---- messages

void RaftCluster::deliver_all() {
  // Far more than any test needs: two nodes that answer each other for ever are a defect.
  for (size_t count = 0; !flights_.empty(); ++count) {
    if (count > 20000) return invariants_.fail("messages without end");
    const Envelope envelope = std::move(flights_.front().envelope);
    flights_.pop_front();
    arrive(envelope);
  }
}

void RaftCluster::deliver(NodeNumber from, NodeNumber to) {
  const std::vector<Envelope> chosen = in_flight(from, to);
  drop(from, to);
  for (const Envelope& envelope : chosen) arrive(envelope);
}

void RaftCluster::drop(NodeNumber from, NodeNumber to) {
  std::erase_if(flights_, [&](const Flight& flight) {
    return (from == 0 || flight.envelope.from.value() == from) &&
           (to == 0 || flight.envelope.to.value() == to);
  });
}

std::vector<Envelope> RaftCluster::in_flight(NodeNumber from, NodeNumber to) const {
  std::vector<Envelope> chosen;
  for (const Flight& flight : flights_) {
    const bool matches = (from == 0 || flight.envelope.from.value() == from) &&
                         (to == 0 || flight.envelope.to.value() == to);
    if (matches) chosen.push_back(flight.envelope);
  }
  return chosen;
}

void RaftCluster::set_cut(NodeNumber from, NodeNumber to, bool cut) {
  if (cut) cuts_.push_back({from, to});
  drop(from, to);
}

void RaftCluster::isolate(NodeNumber node) {
  cut(node, 0);
  cut(0, node);
}

bool RaftCluster::is_cut(NodeId from, NodeId to) const {
  return std::any_of(cuts_.begin(), cuts_.end(), [&](const Link& link) {
    return (link.from == 0 || link.from == from.value()) && (link.to == 0 || link.to == to.value());
  });
}

void RaftCluster::arrive(Envelope envelope) {
  Node& node = find(envelope.to.value());
  narrate(fmt::format("{} -> {}: {}", name(node_of(envelope.from)), name(node.id),
                      describe(envelope.message)));
  if (node.raft == nullptr) return narrate("  " + name(node.id) + " is down");
  step(node.id.value(), {Received{node_of(envelope.from), std::move(envelope.message)}});
}

void RaftCluster::transmit(Node& node, const Envelope& envelope) {
  invariants_.on_send(envelope, node.media);
  const std::string damage = codec_round_trip_error(envelope);
  if (!damage.empty()) invariants_.fail(damage);
  history_.push_back(envelope);
  if (history_.size() > kHistoryMax) history_.pop_front();
  if (is_cut(node_of(envelope.from), node_of(envelope.to))) return;
  flights_.push_back({++flight_count_, envelope});
}

// ---- clients

bool RaftCluster::propose(NodeNumber node, const std::string& data) {
  step(node, {Propose{++context_count_, Bytes(data)}});
  return output_.refused.empty();
}

uint64_t RaftCluster::read(NodeNumber node) {
  const uint64_t context = ++context_count_;
  narrate(fmt::format("{} is asked to read (r{})", name(node), context));
  step(node, {ReadRequest{context}});
  return context;
}

std::optional<LogIndex> RaftCluster::read_ready(uint64_t context) const {
  for (const Output::ReadReady& ready : reads_ready_) {
    if (ready.context == context) return ready.index;
  }
  return std::nullopt;
}

bool RaftCluster::read_refused(uint64_t context) const {
  return std::find(reads_refused_.begin(), reads_refused_.end(), context) != reads_refused_.end();
}

// ---- one step and what comes of it

void RaftCluster::step(NodeNumber number, std::vector<Input> inputs) {
  Node& node = find(number);
  CHECK(node.raft != nullptr, "n{} is down", number);
  step_once(node, std::move(inputs));
  while (node.sync_at_once && !node.writes.empty() && node.raft != nullptr) {
    const Output before = output_;
    const uint64_t synced = finish_writes(node, SIZE_MAX);
    step_once(node, {Synced{synced}});
    // What the caller asked for was answered by the first of these steps.
    output_.refused = before.refused;
  }
}

void RaftCluster::step_once(Node& node, std::vector<Input> inputs) {
  for (const Input& input : inputs) {
    if (const auto* received = std::get_if<Received>(&input)) {
      invariants_.on_receive(node.id, *received);
    } else if (const auto* read = std::get_if<ReadRequest>(&input)) {
      invariants_.on_read_request(read->context);
    }
  }
  const CheckGuard guard;
  try {
    node.raft->step(node.clock, inputs, output_);
    take_output(node);
  } catch (const CheckFailure& failure) {
    invariants_.fail(fmt::format("{}: {}", name(node.id), failure.what()));
    crash(node.id.value());
  }
}

void RaftCluster::take_output(Node& node) {
  node.deadline = output_.deadline;
  for (const Note& note : output_.notes) {
    node.notes.push_back(note);
    narrate(fmt::format("  {}: {}", name(node.id), describe(note)));
  }
  for (const Output::Accepted& accepted : output_.accepted) {
    narrate(fmt::format("  {} takes it as entry {}", name(node.id), accepted.index.value()));
  }
  if (!output_.refused.empty()) narrate("  " + name(node.id) + " refuses: does not lead");
  for (const Output::ReadReady& ready : output_.reads_ready) {
    reads_ready_.push_back(ready);
    narrate(fmt::format("  {} reads r{} once it has applied {}", name(node.id), ready.context,
                        ready.index.value()));
  }
  for (uint64_t context : output_.reads_refused) {
    reads_refused_.push_back(context);
    narrate(fmt::format("  {} fails r{}", name(node.id), context));
  }
  if (output_.lost_leadership) narrate("  " + name(node.id) + " tells its clients: not leading");
  take_persist(node);
  invariants_.on_step(*node.raft, output_, node.clock, all_media());
  narrate_sends(node, output_.send_now, "sends");
  for (const Envelope& envelope : output_.send_now) transmit(node, envelope);
  narrate_sends(node, output_.send_after, "will, once durable, send");
  for (const Envelope& envelope : output_.send_after) {
    node.held.push_back({output_.persist_number, envelope});
  }
}

void RaftCluster::take_persist(Node& node) {
  const Output::Persist& persist = output_.persist;
  if (persist.empty()) return;
  const Log& log = node.raft->log();
  Write write{
      output_.persist_number, persist.hard_state, node.raft->hard_state(), persist.first_index, {}};
  std::vector<std::string> words;
  if (persist.hard_state) words.push_back(describe(write.hard_state));
  if (persist.first_index != LogIndex(0)) {
    for (LogIndex i = persist.first_index; i <= log.last_index(); ++i) {
      write.entries.push_back(log.at(i));
    }
    words.push_back(
        fmt::format("entries {}..{}", persist.first_index.value(), log.last_index().value()));
  }
  if (node.sync_at_once) {
    narrate(fmt::format("  {} writes and syncs {}", name(node.id), join(words, "; ")));
  } else {
    narrate(
        fmt::format("  {} starts write #{}: {}", name(node.id), write.number, join(words, "; ")));
  }
  node.writes.push_back(std::move(write));
}

// Equal messages to several nodes make one line.
void RaftCluster::narrate_sends(const Node& node, const std::vector<Envelope>& envelopes,
                                const std::string& verb) {
  for (size_t i = 0; i < envelopes.size();) {
    const std::string what = describe(envelopes[i].message);
    std::vector<std::string> receivers;
    for (; i < envelopes.size() && describe(envelopes[i].message) == what; ++i) {
      const NodeId to = node_of(envelopes[i].to);
      receivers.push_back(name(to) + (is_cut(node.id, to) ? " (cut off)" : ""));
    }
    narrate(fmt::format("  {} {} {}: {}", name(node.id), verb, join(receivers, ", "), what));
  }
}

// ---- shortcuts and looking

void RaftCluster::elect(NodeNumber number) {
  for (const Node& node : nodes_) {
    if (node.id.value() != number) lapse(node.id.value());
  }
  timeout(number);
  deliver_all();
  if (!is_up(number) || !raft(number).is_leader()) {
    invariants_.fail(fmt::format("n{} was to be elected and was not", number));
  }
}

NodeNumber RaftCluster::leader() const {
  const Node* leader = nullptr;
  for (const Node& node : nodes_) {
    if (node.raft == nullptr || !node.raft->is_leader()) continue;
    if (leader == nullptr || node.raft->term() > leader->raft->term()) leader = &node;
  }
  return leader == nullptr ? 0 : leader->id.value();
}

std::vector<uint64_t> RaftCluster::log_terms(NodeNumber node) const {
  std::vector<uint64_t> terms;
  const Log& log = raft(node).log();
  for (LogIndex i{1}; i <= log.last_index(); ++i) terms.push_back(log.term_at(i).value());
  return terms;
}

std::string RaftCluster::data_at(NodeNumber node, uint64_t index) const {
  return std::string(raft(node).log().at(LogIndex(index)).data.view());
}

size_t RaftCluster::noted(NodeNumber number, NoteKind kind) const {
  const std::vector<Note>& notes = find(number).notes;
  return static_cast<size_t>(std::count_if(notes.begin(), notes.end(),
                                           [kind](const Note& note) { return note.kind == kind; }));
}

void RaftCluster::forget_notes() {
  for (Node& node : nodes_) node.notes.clear();
}

std::vector<std::string> RaftCluster::take_narration() { return std::exchange(narration_, {}); }

std::vector<const Media*> RaftCluster::all_media() const {
  std::vector<const Media*> all;
  for (const Node& node : nodes_) all.push_back(&node.media);
  return all;
}

}  // namespace tally
