// SessionPool: increments of a front end that serves thousands of connections at once.
//
// A session answers for at most kSessionWindow requests at a time, so there are as many sessions as
// are needed, each with the client state machine of core/client.h, which gives every increment its
// (session, sequence) and retries by it until what became of it is known. All of them ask one node:
// their own, which passes on what it cannot propose. They are opened when they are first needed,
// and left to expire when they are no longer.
//
// Pure: time and answers in, requests out.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/client.h"

namespace tally {

struct SessionPoolConfig {
  NodeId node;
  uint64_t seed = 0;
  Duration operation_timeout = std::chrono::seconds(5);  // then it ends, undecided perhaps
  size_t operations_max = 10'000;                        // about; at once
};

class SessionPool {
 public:
  explicit SessionPool(const SessionPoolConfig& config);

  // A member for increments that are to keep their order: those that begin with one member are sent
  // in the order in which they began. Empty: all that may be open are.
  std::optional<uint32_t> choose();
  bool has_room(uint32_t member) const { return members_[member].client->has_room(); }
  // REQUIRES: has_room(member)
  void start(Time now, uint32_t member, uint64_t operation_id, Client::Operation operation);
  void on_response(Time now, uint32_t member, const ValueResponse& response);
  // Timeouts and retries. Call at due() or later.
  void wake(Time now);
  Time due() const { return due_; }

  // take(member, ClientRequest&&) for each request that is to leave, in order.
  template <class Take>
  void take_sends(Take take) {
    for (const uint32_t member : touched_) {
      members_[member].touched = false;
      auto& sends = members_[member].client->sends();
      for (Client::Send& send : sends) take(member, std::move(send.request));
      sends.clear();
    }
    touched_.clear();
  }
  bool has_sends() const { return !touched_.empty(); }
  // What has ended since the caller last emptied it.
  std::vector<Client::Done>& dones() { return dones_; }

  // For what begins from now on. Sessions that are open stay, also when they are more than needed.
  void set_limits(Duration operation_timeout, size_t operations_max);

  size_t open_count() const { return open_count_; }
  size_t member_count() const { return members_.size(); }

 private:
  struct Member {
    std::unique_ptr<Client> client;
    bool touched = false;  // its sends are to be taken
  };
  bool is_roomy(uint32_t member) const;
  size_t member_count_max() const;
  void after(uint32_t member);

  SessionPoolConfig config_;
  std::vector<Member> members_;
  uint32_t current_ = 0;  // chosen last
  std::vector<uint32_t> touched_;
  std::vector<Client::Done> dones_;
  size_t open_count_ = 0;
  Time due_ = kNever;
};

}  // namespace tally
