// tallyctl bench: load on a cluster, its latencies, and a history for `tallysim check`.
#pragma once

#include <cstdint>
#include <string>

#include "tools/ctl_cluster.h"

namespace tally::tools {

struct BenchOptions {
  uint64_t clients = 16;  // each with a session and connections of its own
  uint64_t pipeline = 1;  // operations in flight for each client
  uint64_t rate = 0;      // open loop: operations begun per second, over all; 0: closed loop
  uint64_t seconds = 10;
  uint64_t operations = 0;  // ends after so many, if not 0
  uint64_t get_percent = 0;
  uint64_t names = 1;
  int64_t delta = 1;
  bool mixed_signs = false;  // half the increments subtract
  std::string prefix;        // of the counters' names; empty: one that nobody has used
  std::string history;
  bool retry = true;    // what is refused, until its time is up
  bool spread = false;  // clients begin at all nodes, not at the leader
};

// Exit code.
int bench(const ClusterFlags& flags, const Cluster& cluster, const BenchOptions& options);

}  // namespace tally::tools
