// The words every layer shares: tagged integers for ids and positions, and typed time.
//
// Two ids of different kinds never compare, add or convert to one another, so a swapped argument
// does not compile. Nothing here allocates, and nothing here knows what a node or a clock is.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>

namespace tally {

// An integer that only mixes with its own kind. `Tag` is never defined.
template <class Tag>
class Tagged {
 public:
  constexpr Tagged() = default;
  constexpr explicit Tagged(uint64_t value) : value_(value) {}

  constexpr uint64_t value() const { return value_; }
  constexpr auto operator<=>(const Tagged&) const = default;

  constexpr Tagged& operator++() {
    ++value_;
    return *this;
  }
  // Successor and predecessor by a plain distance. Callers keep the result in range.
  constexpr Tagged operator+(uint64_t distance) const { return Tagged(value_ + distance); }
  constexpr Tagged operator-(uint64_t distance) const { return Tagged(value_ - distance); }
  constexpr uint64_t operator-(Tagged other) const { return value_ - other.value_; }

 private:
  uint64_t value_ = 0;
};

// Raft's logical time (thesis §3.3). 0 means "none yet"; the first election makes term 1.
using Term = Tagged<struct TermTag>;
// A position in the replicated log, from 1. 0 means "before the first entry".
using LogIndex = Tagged<struct LogIndexTag>;
// A member of a group, from 1 up. 0 means "nobody" (no leader known, no vote given).
using NodeId = Tagged<struct NodeIdTag>;
// A client session: the index of the log entry that opened it. 0 means "none".
using SessionId = Tagged<struct SessionIdTag>;
// Where a message goes: a node (its NodeId), or a client connection (from kFirstClient up).
using Endpoint = Tagged<struct EndpointTag>;

inline constexpr Endpoint kFirstClient{uint64_t{1} << 32};
inline constexpr NodeId kNoNode{0};

constexpr Endpoint endpoint_of(NodeId node) { return Endpoint(node.value()); }
constexpr bool is_client(Endpoint endpoint) { return endpoint >= kFirstClient; }
// REQUIRES: !is_client(endpoint)
constexpr NodeId node_of(Endpoint endpoint) { return NodeId(endpoint.value()); }

// Which clock a Time was read from: one node's monotonic clock. Never compare times of two nodes.
struct NodeClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  static constexpr bool is_steady = true;
};
using Duration = std::chrono::nanoseconds;
using Time = std::chrono::time_point<NodeClock, Duration>;
inline constexpr Time kNever = Time::max();

// Log time: a clock that lives in the log. The leader stamps every entry; it never goes back and
// is the only time the state machine sees (DESIGN: sessions expire by it on all replicas alike).
using LogTime = Tagged<struct LogTimeTag>;  // nanoseconds since the log's first entry

}  // namespace tally
