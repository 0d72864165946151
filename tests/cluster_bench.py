#!/usr/bin/env python3
"""Measures a real cluster of three on loopback: increments per second and latencies by how many
are outstanding, beside what the machine can do at best, and how long the service is gone when its
leader is killed.

    python3 tests/cluster_bench.py BIN_DIR [--seconds 5] [--kills 20]

`./dev bench` runs it. Figures of one run belong together; machines differ, and so do hours.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from cluster import Cluster, Failure, expect  # noqa: E402  (found beside this file)

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(process):
    words = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / TICKS


def measure(cluster, outstanding, seconds):
    """One level: `outstanding` increments in flight, at most 16 for each client."""
    clients = max(1, outstanding // 16) if outstanding > 16 else outstanding
    syncs = {node["id"]: node["syncs"] for node in cluster.status()}
    cpu = sum(cpu_seconds(process) for process in cluster.processes.values())
    done = json.loads(cluster.ctl("--json", "bench", "--clients", str(clients), "--pipeline",
                                  str(outstanding // clients), "--seconds", str(seconds)).stdout)
    cpu = sum(cpu_seconds(process) for process in cluster.processes.values()) - cpu
    leader = cluster.wait_leader()
    after = {node["id"]: node["syncs"] for node in cluster.status()}
    return {"outstanding": outstanding, "per_second": done["ok_per_second"],
            "p50_us": done["p50_us"], "p99_us": done["p99_us"], "p999_us": done["p999_us"],
            "leader_syncs_per_second": round((after[leader] - syncs[leader]) / seconds),
            "cpu_s_per_million": round(cpu / done["ok"] * 1e6, 2)}


def failovers(binaries, kills):
    """Seconds from the kill of the leader to the next increment through a survivor."""
    times = []
    with Cluster(binaries) as cluster:
        cluster.wait_leader()
        value = 0
        for _ in range(kills):
            cluster.wait_equal()
            leader = cluster.wait_leader()
            survivors = ",".join(f"{node}=127.0.0.1:{cluster.ports[node]}"
                                 for node in cluster.ids if node != leader)
            value = int(cluster.ctl("inc", "hits").stdout)
            began = time.monotonic()
            cluster.kill(leader)
            expect(int(cluster.ctl("inc", "hits", peers=survivors).stdout) == value + 1,
                   "an increment was lost or counted twice")
            times.append(time.monotonic() - began)
            cluster.start(leader)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("binaries", metavar="BIN_DIR", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--kills", type=int, default=20)
    arguments = parser.parse_args()
    try:
        with Cluster(arguments.binaries) as cluster:
            cluster.wait_leader()
            floors = json.loads(subprocess.run(
                [str(arguments.binaries / "floor_bench"), str(cluster.home)],
                capture_output=True, text=True, check=True).stdout)
            print("floors of this machine: "
                  f"fdatasync by one writer {floors['sync_one']['per_second']}/s "
                  f"(p50 {floors['sync_one']['p50_us']} us), "
                  f"by three at once {floors['sync_three']['per_second']}/s "
                  f"(p50 {floors['sync_three']['p50_us']} us), "
                  f"loopback round trip p50 {floors['round_trip']['p50_us']} us")
            print("outstanding  increments/s   p50 us   p99 us  p99.9 us  leader's syncs/s  "
                  "server CPU s per million")
            for outstanding in (1, 16, 64, 256):
                row = measure(cluster, outstanding, arguments.seconds)
                print(f"{row['outstanding']:>11}  {row['per_second']:>12} {row['p50_us']:>8.0f} "
                      f"{row['p99_us']:>8.0f} {row['p999_us']:>9.0f} "
                      f"{row['leader_syncs_per_second']:>17} {row['cpu_s_per_million']:>25}",
                      flush=True)
        times = failovers(arguments.binaries, arguments.kills)
        print(f"kill -9 of the leader, election timeout 1000 ms: next increment after "
              f"{statistics.median(times) * 1000:.0f} ms (median of {len(times)}), at most "
              f"{max(times) * 1000:.0f} ms")
    except Failure as failure:
        print(f"cluster_bench: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
