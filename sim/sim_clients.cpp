#include "sim/sim_clients.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/draw.h"
#include "sim/streams.h"

namespace tally::sim {
namespace {

// A multiple of 100 near the limit, so that deltas stay a divisibility chain.
constexpr int64_t kEdgeDelta = 9'223'372'036'854'775'800;

enum Aspect : uint64_t {
  kThink = 1,
  kKind,
  kName,
  kDelta,
  kIdle,
  kZero,
  kSeed,
  kRedirect,
  kNegative,
  kBounded,
  kEdge,
};
// Names are drawn by a key that no client has.
constexpr uint64_t kNameKey = 1'000'000;

Duration ms(int64_t count) { return Duration(count * 1'000'000); }

}  // namespace

SimClients::SimClients(uint64_t seed, const Params& params,
                       const std::vector<ClientOperation>& given, EventQueue& queue,
                       SimNetwork& network)
    : seed_(seed), params_(params), queue_(queue), network_(network), drawn_(given.empty()) {
  draw_names();
  const auto& workload = params_.workload();
  clients_.resize(static_cast<size_t>(workload.clients()) + 1);
  for (uint32_t number = 0; number < clients_.size(); ++number) {
    const bool prober = number + 1 == clients_.size();
    SimClient& client = clients_[number];
    ClientConfig config;
    for (int64_t node = 1; node <= params_.nodes(); ++node) {
      config.nodes.push_back(NodeId(static_cast<uint64_t>(node)));
    }
    config.seed = bits(number, 0, kSeed);
    config.attempt_timeout = ms(workload.attempt_timeout_ms());
    config.operation_timeout = ms(workload.operation_timeout_ms());
    config.backoff = ms(std::max<int64_t>(1, params_.raft().election_timeout_ms() / 10));
    config.session_idle_max = ms(workload.session_idle_ms());
    config.forward = !percent(bits(number, 0, kRedirect), workload.redirect_percent());
    config.operations_max = kLanesPerClient;
    client.client.emplace(config);
    client.breaking.resize(config.nodes.size());
    const auto lanes = prober ? 1 : static_cast<uint64_t>(workload.pipeline());
    for (uint64_t lane = 0; lane < lanes; ++lane) {
      client.lanes.push_back(Lane{number * kLanesPerClient + lane + 1, 0, false, {}, {}});
    }
  }
  for (const ClientOperation& operation : given) {
    clients_[static_cast<size_t>(operation.client())]
        .lanes[static_cast<size_t>(operation.lane())]
        .given.push_back(operation);
  }
}

uint64_t SimClients::bits(uint64_t client, uint64_t operation, uint64_t aspect) const {
  return draw(seed_, static_cast<uint64_t>(Stream::kWorkload), client, operation, aspect);
}

bool SimClients::percent(uint64_t bits, int64_t percent) const {
  return scale(bits, 100) < static_cast<uint64_t>(percent);
}

void SimClients::draw_names() {
  const auto& workload = params_.workload();
  for (uint64_t i = 0; i < static_cast<uint64_t>(workload.names()); ++i) {
    Name name;
    name.text = fmt::format("c{}", i);
    name.negative = percent(bits(kNameKey, i, kNegative), workload.negative_percent());
    name.edge = percent(bits(kNameKey, i, kEdge), workload.edge_percent());
    if (!name.edge && percent(bits(kNameKey, i, kBounded), workload.bounded_percent())) {
      if (name.negative) {
        name.lower = -workload.bound();
      } else {
        name.upper = workload.bound();
      }
    }
    names_.push_back(std::move(name));
  }
}

void SimClients::start() {
  for (uint32_t client = 0; client + 1 < clients_.size(); ++client) {
    for (uint64_t lane = 0; lane < clients_[client].lanes.size(); ++lane) {
      schedule_next(client, lane);
    }
  }
}

void SimClients::schedule_next(uint32_t client, uint64_t lane_number) {
  const auto& workload = params_.workload();
  const Lane& lane = clients_[client].lanes[lane_number];
  const uint64_t operation = lane.sequence + 1;
  if (!drawn_) {
    if (lane.sequence == lane.given.size()) return;
    const ClientOperation& next = lane.given[lane.sequence];
    const VirtualTime at(Duration(next.at_us() * 1000 + next.plus_ns()));
    queue_.push(std::max(at, queue_.now()), EventKind::kClientOperation, client, lane_number);
    return;
  }
  Duration pause(
      static_cast<int64_t>(scale(bits(lane.number, operation, kThink),
                                 static_cast<uint64_t>(workload.think_us_max()) * 1000)));
  if (percent(bits(lane.number, operation, kIdle), workload.idle_percent())) {
    pause += ms(2 * workload.session_timeout_ms());
  }
  queue_.push(queue_.now() + pause, EventKind::kClientOperation, client, lane_number);
}

Operation SimClients::draw_operation(const Lane& lane) const {
  const auto& workload = params_.workload();
  const uint64_t client = lane.number;
  const uint64_t number = lane.sequence;
  const Name& name = names_[scale(bits(client, number, kName), names_.size())];
  Operation operation;
  operation.client = client;
  operation.sequence = number;
  operation.counter = name.text;
  if (percent(bits(client, number, kKind), workload.get_percent())) {
    operation.kind = Operation::Kind::kGet;
    return operation;
  }
  const uint64_t pick = scale(bits(client, number, kDelta), 20);
  operation.delta = pick < 12 ? 1 : pick < 17 ? 10 : 100;
  if (name.edge && pick == 19) operation.delta = kEdgeDelta;
  if (percent(bits(client, number, kZero), workload.zero_percent())) operation.delta = 0;
  if (name.negative) operation.delta = -operation.delta;
  operation.lower = name.lower;
  operation.upper = name.upper;
  return operation;
}

Operation SimClients::given_operation(const Lane& lane) {
  const ClientOperation& given = lane.given[lane.sequence - 1];
  Operation operation;
  operation.client = lane.number;
  operation.sequence = lane.sequence;
  operation.counter = given.counter();
  operation.kind = given.get() ? Operation::Kind::kGet : Operation::Kind::kAdd;
  operation.delta = given.add();
  if (given.has_lower()) operation.lower = given.lower();
  if (given.has_upper()) operation.upper = given.upper();
  return operation;
}

ClientOperation as_data(const Operation& operation, int64_t at_ns) {
  ClientOperation data;
  data.set_client(client_of_lane(operation.client));
  const uint64_t lane = (operation.client - 1) % kLanesPerClient;
  if (lane > 0) data.set_lane(static_cast<int64_t>(lane));
  data.set_at_us(at_ns / 1000);
  if (at_ns % 1000 > 0) data.set_plus_ns(at_ns % 1000);
  data.set_counter(operation.counter);
  if (operation.kind == Operation::Kind::kGet) {
    data.set_get(true);
    return data;
  }
  data.set_add(operation.delta);
  if (operation.lower) data.set_lower(*operation.lower);
  if (operation.upper) data.set_upper(*operation.upper);
  return data;
}

std::vector<ClientOperation> SimClients::begun() const {
  std::vector<ClientOperation> all;
  for (const Begun& begun : begun_) {
    all.push_back(as_data(begun.operation, begun.at.time_since_epoch().count()));
  }
  return all;
}

void SimClients::on_operation(uint32_t number, uint64_t lane_number) {
  SimClient& client = clients_[number];
  Lane& lane = client.lanes[lane_number];
  const auto limit =
      drawn_ ? static_cast<uint64_t>(params_.workload().operations_max()) : lane.given.size();
  if (stopped_ || (limit > 0 && lane.sequence >= limit)) return;
  CHECK(!lane.open);
  ++lane.sequence;
  lane.operation = drawn_ ? draw_operation(lane) : given_operation(lane);
  lane.open = true;
  const Operation& operation = lane.operation;
  begun_.push_back({queue_.now(), operation});
  if (operation.kind == Operation::Kind::kGet) {
    client.client->start(now(), lane_number, Client::Get{operation.counter});
  } else {
    client.client->start(now(), lane_number,
                         Client::Increment{Bytes::passing(operation.counter), operation.delta,
                                           operation.lower, operation.upper});
  }
  flush(number);
}

void SimClients::probe(Duration limit, std::vector<NodeId> nodes) {
  const auto number = static_cast<uint32_t>(clients_.size() - 1);
  SimClient& client = clients_[number];
  ClientConfig config;
  config.nodes = std::move(nodes);
  config.seed = bits(number, 1, kSeed);
  config.attempt_timeout = 2 * ms(params_.raft().election_timeout_ms());
  config.operation_timeout = limit;
  config.backoff = ms(std::max<int64_t>(1, params_.raft().election_timeout_ms() / 10));
  client.client.emplace(config);
  Lane& lane = client.lanes[0];
  lane.operation = Operation{};
  lane.operation.client = lane.number;
  lane.operation.sequence = ++lane.sequence;
  lane.operation.counter = "liveness";
  lane.operation.delta = 1;
  lane.open = true;
  client.client->start(now(), 0, Client::Increment{Bytes::passing("liveness"), 1, {}, {}});
  flush(number);
}

void SimClients::on_receive(uint32_t client, const Envelope& envelope) {
  const auto& response = std::get<ValueResponse>(envelope.message);
  // A refusal for good is an answer through the log, too.
  const bool prober = client + 1 == clients_.size();
  const bool decided = response.outcome == Outcome::kOk || response.outcome == Outcome::kRejected;
  if (prober && decided) probe_done_ = true;
  clients_[client].client->on_response(now(), node_of(envelope.from), response);
  flush(client);
}

void SimClients::on_refused(uint32_t client, NodeId node) {
  const size_t position = node.value() - 1;
  if (clients_[client].breaking[position]) return;
  clients_[client].breaking[position] = true;
  queue_.push(queue_.now() + network_.plain_latency(), EventKind::kClientBroken, client,
              node.value());
}

void SimClients::on_broken(uint32_t client, NodeId node) {
  clients_[client].breaking[node.value() - 1] = false;
  clients_[client].client->on_broken(now(), node);
  flush(client);
}

bool SimClients::take_timer(uint32_t number, uint64_t generation) {
  SimClient& client = clients_[number];
  if (generation != client.timer_generation) return false;
  client.timer_at = VirtualTime::max();
  if (now() >= client.client->deadline()) return true;
  flush(number);
  return false;
}

void SimClients::on_timer(uint32_t number) {
  clients_[number].client->wake(now());
  flush(number);
}

void SimClients::on_node_down(NodeId node, uint64_t crash_number) {
  for (uint32_t client = 0; client < clients_.size(); ++client) {
    const uint64_t notices =
        draw(seed_, static_cast<uint64_t>(Stream::kCrash), node.value(), crash_number, client);
    if (notices % 2 == 0) continue;  // a half-open connection: only its timeout tells
    on_refused(client, node);
  }
}

// Sends what the client wants sent, records what is done, sets the timer.
void SimClients::flush(uint32_t number) {
  SimClient& client = clients_[number];
  for (Client::Send& send : client.client->sends()) {
    network_.send(Envelope{endpoint(number), endpoint_of(send.to), std::move(send.request)});
  }
  client.client->sends().clear();
  for (const Client::Done& done : client.client->dones()) {
    Lane& lane = client.lanes[done.operation_id];
    record(done, lane);
    if (number + 1 < clients_.size()) schedule_next(number, done.operation_id);
  }
  client.client->dones().clear();
  const Time deadline = client.client->deadline();
  if (deadline == kNever) return;
  const VirtualTime at = std::max(VirtualTime(deadline.time_since_epoch()), queue_.now());
  if (at >= client.timer_at) return;
  client.timer_at = at;
  queue_.push(at, EventKind::kClientTimer, number, ++client.timer_generation);
}

void SimClients::record(const Client::Done& done, Lane& lane) {
  lane.open = false;
  Operation operation = lane.operation;
  if (!done.first_sent_at) {  // nobody ever heard of it
    ++counts_.failed;
    return;
  }
  operation.invoke_ns = done.first_sent_at->time_since_epoch().count();
  operation.return_ns = queue_.now().time_since_epoch().count();
  switch (done.outcome) {
    case Outcome::kOk:
      operation.status = Operation::Status::kOk;
      operation.value = done.value;
      ++counts_.ok;
      break;
    case Outcome::kRejected:
      operation.status = Operation::Status::kRejected;
      operation.reject_reason = done.reason == Reason::kBounds ? Operation::RejectReason::kBounds
                                                               : Operation::RejectReason::kOverflow;
      ++counts_.rejected;
      break;
    case Outcome::kUnknown:
      operation.status = Operation::Status::kUnknown;
      ++counts_.unknown;
      break;
    case Outcome::kNotApplied:
      operation.status = Operation::Status::kFailed;
      ++counts_.failed;
      break;
  }
  history_.push_back(std::move(operation));
}

const History& SimClients::finish() {
  for (SimClient& client : clients_) {
    for (Lane& lane : client.lanes) {
      if (!lane.open) continue;
      const uint64_t operation_id = static_cast<uint64_t>(&lane - client.lanes.data());
      const std::optional<Time> sent_at = client.client->first_sent_at(operation_id);
      lane.open = false;
      if (!sent_at) continue;  // nobody ever heard of it
      Operation operation = lane.operation;
      operation.status = Operation::Status::kUnknown;
      operation.invoke_ns = sent_at->time_since_epoch().count();
      ++counts_.unknown;
      history_.push_back(std::move(operation));
    }
  }
  return history_;
}

}  // namespace tally::sim
