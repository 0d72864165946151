#include "net/session_pool.h"

#include <algorithm>
#include <utility>

#include "core/draw.h"

namespace tally {
namespace {

constexpr uint64_t kOperationsPerSession = kSessionWindow - 1;
// Who begins finds room for more of its own behind it.
constexpr uint64_t kRoomyCount = kOperationsPerSession / 2;

// The node answers everything in its own time.
Duration attempt_timeout_of(Duration operation_timeout) {
  return operation_timeout + std::chrono::seconds(1);
}

}  // namespace

SessionPool::SessionPool(const SessionPoolConfig& config) : config_(config) {}

size_t SessionPool::member_count_max() const {
  return std::max<size_t>(1, config_.operations_max / kOperationsPerSession);
}

void SessionPool::set_limits(Duration operation_timeout, size_t operations_max) {
  config_.operation_timeout = operation_timeout;
  config_.operations_max = operations_max;
  for (Member& member : members_) {
    member.client->set_timeouts(attempt_timeout_of(operation_timeout), operation_timeout);
  }
}

bool SessionPool::is_roomy(uint32_t member) const {
  const Client& client = *members_[member].client;
  return client.open_count() <= kRoomyCount && client.has_room();
}

std::optional<uint32_t> SessionPool::choose() {
  if (current_ < members_.size() && is_roomy(current_)) return current_;
  const auto count = static_cast<uint32_t>(members_.size());
  // The first that will do, so that those further back are left alone when there is little to do.
  for (uint32_t i = 0; i < count; ++i) {
    if (is_roomy(i)) return current_ = i;
  }
  if (members_.size() < member_count_max()) {
    ClientConfig config;
    config.nodes = {config_.node};
    config.seed = draw(config_.seed, members_.size());
    config.operation_timeout = config_.operation_timeout;
    config.attempt_timeout = attempt_timeout_of(config_.operation_timeout);
    config.backoff = std::chrono::milliseconds(10);
    config.operations_max = kOperationsPerSession;
    members_.push_back({std::make_unique<Client>(config)});
    return current_ = count;
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (has_room(i)) return i;
  }
  return {};
}

void SessionPool::start(Time now, uint32_t member, uint64_t operation_id,
                        Client::Operation operation) {
  ++open_count_;
  members_[member].client->start(now, operation_id, std::move(operation));
  after(member);
}

void SessionPool::on_response(Time now, uint32_t member, const ValueResponse& response) {
  members_[member].client->on_response(now, config_.node, response);
  after(member);
}

void SessionPool::wake(Time now) {
  if (now < due_) return;
  due_ = kNever;
  for (uint32_t i = 0; i < members_.size(); ++i) {
    if (now >= members_[i].client->due()) members_[i].client->wake(now);
    after(i);
  }
}

void SessionPool::after(uint32_t member) {
  Client& client = *members_[member].client;
  due_ = std::min(due_, client.due());
  if (!client.sends().empty() && !std::exchange(members_[member].touched, true)) {
    touched_.push_back(member);
  }
  open_count_ -= client.dones().size();
  dones_.insert(dones_.end(), client.dones().begin(), client.dones().end());
  client.dones().clear();
}

}  // namespace tally
