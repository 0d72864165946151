// tallyctl's verbs about nodes: status, watch, members, snapshot, transfer. Each ends within
// --timeout-ms, and returns the exit code; 2 when no node takes such a client (refusals()).
#pragma once

#include <cstdint>

#include "tools/ctl_cluster.h"

namespace tally::tools {

// 0 when a leader answers.
int status_command(const ClusterFlags& flags, const Cluster& cluster);
// status, again each second, for ever.
int watch_command(const ClusterFlags& flags, const Cluster& cluster);
// The group as its leader knows it.
int members_command(const ClusterFlags& flags, const Cluster& cluster);
// Asks every node for a snapshot of what it has applied, and waits until there is one.
int snapshot_command(const ClusterFlags& flags, const Cluster& cluster);
// Asks the leader, then waits until another node leads. `to` 0: it chooses.
int transfer_command(const ClusterFlags& flags, const Cluster& cluster, uint64_t to);

}  // namespace tally::tools
