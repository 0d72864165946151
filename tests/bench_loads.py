"""The loads of `./dev bench`, and what one run of one of them says.

Increments, never a share of them, must have been executed exactly as often as they were answered; a
load that finds otherwise is no measurement.
"""

import csv
import dataclasses
import json
import subprocess
import time

from bench_systems import ask_redis
from cluster import expect

# What `redis-benchmark -t incr` counts with when its keys are not drawn.
REDIS_KEY = "counter:__rand_int__"
RUN_SECONDS_MAX = 120


@dataclasses.dataclass
class Done:
    """What the load saw."""
    count: int
    per_second: float
    p50_us: float
    p99_us: float


@dataclasses.dataclass
class Figures(Done):
    """And what it cost."""
    cpu_s_per_million: float
    syncs_per_second: float  # None: the system does not tell
    megabytes: float         # at the most, of one node


def measure(system, load):
    """`load` is called without arguments and returns Done."""
    system.forget_peaks()
    syncs, cpu, began = system.sync_count(), system.cpu_seconds(), time.monotonic()
    done = load()
    elapsed, cpu = time.monotonic() - began, system.cpu_seconds() - cpu
    if syncs is not None:
        syncs = (system.sync_count() - syncs) / elapsed
    return Figures(**vars(done), cpu_s_per_million=cpu / done.count * 1e6, syncs_per_second=syncs,
                   megabytes=system.peak_megabytes())


def run(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=RUN_SECONDS_MAX, check=False)
    expect(done.returncode == 0,
           f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stdout[-500:]}"
           f"{done.stderr[-500:]}")
    return done.stdout


class RedisBenchmark:
    """It takes a number of requests, not a time: so many as fill the time at the rate of its last
    run on this system, or at first of a short one."""

    def __init__(self, what, connections, pipeline):
        self.command = {"incr": ["-t", "incr"], "get": ["get", REDIS_KEY]}[what]
        self.is_write = what == "incr"
        self.connections = connections
        self.pipeline = pipeline
        self.rates = {}  # by system

    def prepare(self, name, port):
        if name not in self.rates:
            self.rates[name] = self.run(port, 20_000 if self.pipeline > 1 else 4000).per_second

    def run_for(self, name, port, seconds):
        done = self.run(port, self.rates[name] * seconds)
        self.rates[name] = done.per_second
        return done

    def run(self, port, count):
        # A multiple of this is done exactly; what is left over would be rounded up by it.
        step = self.connections * self.pipeline
        count = max(1, round(count / step)) * step
        before = int(ask_redis(port, "GET", REDIS_KEY) or 0)
        text = run(["redis-benchmark", "-h", "127.0.0.1", "-p", port, "-c", self.connections, "-P",
                    self.pipeline, "-n", count, "--csv", *self.command])
        after = int(ask_redis(port, "GET", REDIS_KEY) or 0)
        expect(after - before == (count if self.is_write else 0),
               f"redis-benchmark did {count} requests, the counter rose by {after - before}")
        row = next(csv.DictReader(line for line in text.splitlines() if line.startswith('"')))
        return Done(count, float(row["rps"]), float(row["p50_latency_ms"]) * 1000,
                    float(row["p99_latency_ms"]) * 1000)


def tallyctl_bench(cluster, clients, pipeline, seconds, *more):
    """All that tallyctl bench says, on a counter that nobody has used."""
    prefix = f"bench-{time.monotonic_ns():014}"
    done = json.loads(cluster.ctl("--json", "bench", "--clients", str(clients), "--pipeline",
                                  str(pipeline), "--seconds", str(seconds), "--prefix", prefix,
                                  *more, timeout=seconds + RUN_SECONDS_MAX).stdout)
    value = int(cluster.ctl("get", prefix).stdout)
    expect(done["ok"] <= value <= done["ok"] + done["unknown"],
           f"tallyctl bench: {done['ok']} increments were done and {done['unknown']} unknown, the "
           f"counter says {value}")
    return done


def native(cluster, clients, pipeline, seconds):
    done = tallyctl_bench(cluster, clients, pipeline, seconds)
    expect(done["ok"] > 0, f"tallyctl bench did nothing: {done}")
    return Done(done["ok"], done["ok_per_second"], done["p50_us"], done["p99_us"])


def etcd_puts(binaries, etcd, connections, outstanding, seconds):
    done = json.loads(run([binaries / "etcd_bench", f"127.0.0.1:{etcd.leader_port()}",
                           "--connections", connections, "--outstanding", outstanding,
                           "--seconds", seconds]))
    return Done(done["ok"], done["ok_per_second"], done["p50_us"], done["p99_us"])


def floors(binaries, directory, milliseconds):
    return json.loads(run([binaries / "floor_bench", directory, "--milliseconds", milliseconds]))
