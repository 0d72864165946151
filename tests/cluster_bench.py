#!/usr/bin/env python3
"""Compares three durable nodes of Tally with what else there is: one redis-server that syncs each
increment, three nodes of etcd, and what the machine can do at best. All on loopback, on the cores
that the loads use as well.

    ./dev bench [--quick] [--rounds 5] [--seconds 2]

Each round starts all systems anew and takes each load once, Tally and Redis
by turns; the table on stdout has medians of all rounds. Figures of one run belong together:
machines differ, and so do hours.
"""

import argparse
import contextlib
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import bench_loads as loads  # noqa: E402  (found beside this file)
import bench_overload  # noqa: E402
from bench_systems import Etcd, Redis, Tally  # noqa: E402
from bench_table import Goal, number, spread, table  # noqa: E402
from cluster import Failure, expect  # noqa: E402

# (connections, pipeline) of redis-benchmark INCR.
LEVELS = [(1, 1), (16, 1), (64, 1), (256, 1), (1, 16), (16, 16), (64, 16), (256, 16)]
GET_CONNECTIONS = 64
# Outstanding at etcd, and (clients, operations of each) in Tally's own protocol: one, and four
# clients. More connections than four make etcd slower.
NATIVE = {1: (1, 1), 64: (4, 16), 256: (4, 64)}

TALLY, FOLLOWER, REDIS, ETCD = "tally x3", "tally follower", "redis x1", "etcd x3"


def incr(connections, pipeline):
    each = f", {pipeline} each" if pipeline > 1 else ""
    return f"INCR, {connections} connection{'s' if connections > 1 else ''}{each}"


GET = f"GET, {GET_CONNECTIONS} connections"


def native(outstanding):
    clients, pipeline = NATIVE[outstanding]
    return f"own protocol, {clients} x {pipeline}"


def put(outstanding):
    return f"put, {outstanding} outstanding"


def order():
    rows = [(incr(*level), system) for level in LEVELS for system in (TALLY, REDIS)]
    rows += [(GET, system) for system in (TALLY, FOLLOWER, REDIS)]
    rows += [(native(outstanding), TALLY) for outstanding in NATIVE]
    return rows + [(put(outstanding), ETCD) for outstanding in NATIVE]


def ratio(row, other):
    """Operations per second of one over those of the other."""
    return lambda results, at: results[row][at].per_second / results[other][at].per_second


def over_floor(row, sync):
    """p50 over that of a sync and a round trip, measured just before."""
    def figure(results, at):
        floor = results["floors"][at]
        return results[row][at].p50_us / (floor[sync]["p50_us"] + floor["round_trip"]["p50_us"])
    return figure


def cpu(row, bound):
    return Goal(row, lambda results, at: results[row][at].cpu_s_per_million, "CPU s/million",
                "<=", bound)


def goals():
    """What is to be reached, and what is told beside it."""
    found = []
    least = {(64, 1): 0.8, (256, 1): 0.85, (16, 16): 0.8}
    most_cpu = {(64, 1): 13, (256, 1): 13, (16, 16): 5.5}
    for level in LEVELS:
        row = (incr(*level), TALLY)
        bound = (">=", least[level]) if level in least else ()
        found.append(Goal(row, ratio(row, (incr(*level), REDIS)), "x redis", *bound))
        if level in most_cpu:
            found.append(cpu(row, most_cpu[level]))
    for system in (TALLY, FOLLOWER):
        found.append(Goal((GET, system), ratio((GET, system), (GET, REDIS)), "x redis"))
    one, some, most = ((native(outstanding), TALLY) for outstanding in NATIVE)
    found.append(Goal(one, over_floor(one, "sync_three"), "x p50 of floor, 3 writers", "<=", 1.6))
    found.append(Goal(one, over_floor(one, "sync_one"), "x p50 of floor, 1 writer"))
    found.append(Goal(one, ratio(one, (put(1), ETCD)), "x etcd"))
    found.append(Goal(some, ratio(some, (put(64), ETCD)), "x etcd", ">=", 5))
    found.append(Goal(most, ratio(most, (put(256), ETCD)), "x etcd", ">=", 5))
    found.append(Goal(most, ratio(most, (incr(256, 1), REDIS)), "x redis at 256", ">=", 2.6))
    found.append(cpu(most, 8))
    return found


class Bench:
    def __init__(self, arguments, home):
        self.arguments = arguments
        self.binaries = arguments.binaries
        self.home = home
        self.results = {}  # by (load, system), a run for each round; "floors" as well
        self.missing = []  # what could not be measured, and why
        self.has_redis = shutil.which("redis-server") and shutil.which("redis-benchmark")
        self.has_etcd = shutil.which("etcd") and (self.binaries / "etcd_bench").exists()
        if not self.has_redis:
            self.missing.append("redis and its protocol: redis-server or redis-tools is not there")
        if not self.has_etcd:
            self.missing.append("etcd: etcd-server is not there, or gRPC to build its load with")
        self.redis_loads = {level: loads.RedisBenchmark("incr", *level) for level in LEVELS}
        self.get_load = loads.RedisBenchmark("get", GET_CONNECTIONS, 1)
        self.round = 0

    def say(self, what):
        if sys.stderr.isatty():
            total = self.arguments.rounds
            print(f"\r\033[Kround {self.round + 1} of {total}: {what}" if what else "\r\033[K",
                  end="", file=sys.stderr, flush=True)

    def tell(self, text):
        self.say("")
        print(text, flush=True)

    def take(self, row, system, load):
        self.say(f"{row[0]}: {row[1]}")
        self.results.setdefault(row, []).append(loads.measure(system, load))

    # ---- One round

    def run_round(self):
        with contextlib.ExitStack() as stack:
            self.say("starting")
            tally = stack.enter_context(Tally(self.binaries, self.home, redis=bool(self.has_redis)))
            if self.has_redis:
                redis = stack.enter_context(Redis(self.home))
                for level in LEVELS:
                    for name, system in self.turned([(TALLY, tally), (REDIS, redis)]):
                        self.take_redis(incr(*level), name, system, system.redis_port(),
                                        self.redis_loads[level])
                reads = [(TALLY, tally, tally.redis_port()), (REDIS, redis, redis.redis_port()),
                         (FOLLOWER, tally, tally.follower_redis_port())]
                for name, system, port in self.turned(reads):
                    self.take_redis(GET, name, system, port, self.get_load)
            self.say("floors")
            self.results.setdefault("floors", []).append(
                loads.floors(self.binaries, self.home, 500 * self.arguments.seconds))
            for outstanding, (clients, pipeline) in NATIVE.items():
                self.take((native(outstanding), TALLY), tally,
                          lambda: loads.native(tally.cluster, clients, pipeline,
                                               self.arguments.seconds))
        if self.has_etcd:
            self.say("starting etcd")
            with Etcd(self.home) as etcd:
                for outstanding in NATIVE:
                    self.take((put(outstanding), ETCD), etcd,
                              lambda: loads.etcd_puts(self.binaries, etcd, min(4, outstanding),
                                                      outstanding, self.arguments.seconds))

    def turned(self, systems):
        """Who begins changes from round to round."""
        return systems[::-1] if self.round % 2 else systems

    def take_redis(self, load, name, system, port, benchmark):
        self.say(f"{load}: {name}")
        benchmark.prepare(name, port)
        self.take((load, name), system,
                  lambda: benchmark.run_for(name, port, self.arguments.seconds))

    # ---- Once

    def failovers(self):
        """From the kill of the leader to the next increment through a survivor."""
        times = []
        with Tally(self.binaries, self.home, redis=False) as tally:
            cluster = tally.cluster
            for count in range(self.arguments.kills):
                self.say(f"kill -9 of the leader, {count + 1} of {self.arguments.kills}")
                cluster.wait_equal()
                leader = cluster.wait_leader()
                survivors = ",".join(f"{node}={cluster.address(node)}"
                                     for node in cluster.ids if node != leader)
                value = int(cluster.ctl("inc", "hits").stdout)
                began = time.monotonic()
                cluster.kill(leader)
                expect(int(cluster.ctl("inc", "hits", peers=survivors).stdout) == value + 1,
                       "an increment was lost or counted twice")
                times.append(time.monotonic() - began)
                cluster.start(leader)
        return ("kill -9 of the leader, election timeout 1000 ms: next increment after "
                f"{statistics.median(times) * 1000:.0f} ms (median of {len(times)}), at most "
                f"{max(times) * 1000:.0f} ms")

    def run(self):
        """Prints what was measured. What does not hold of what was judged."""
        for self.round in range(self.arguments.rounds):
            if not sys.stderr.isatty():
                print(f"round {self.round + 1} of {self.arguments.rounds}", file=sys.stderr)
            self.run_round()
        arguments, failures = self.arguments, []
        self.tell("\n".join(table(order(), self.results, goals()) + [""] + self.legend()))
        for done in bench_overload.measure_all(self.binaries, self.home, arguments.seconds,
                                               arguments.rounds, arguments.overload_seconds,
                                               self.say):
            self.tell(done.line())
            failures += done.failures()
        self.tell(self.failovers())
        return failures

    # ---- The words below the table

    def legend(self):
        rounds, seconds = self.arguments.rounds, self.arguments.seconds
        runs = (f"medians of {rounds} runs of {seconds} s each, by turns; ratios within a round"
                if rounds > 1 else f"one run of {seconds} s each, no medians")
        lines = [f"{runs}; servers and loads on the same {os.cpu_count()} cores, all data on "
                 f"{file_system(self.home)}; MB: peak of the largest node"]
        if self.has_redis:
            lines.append(f"redis: {version('redis-server')}, --appendonly yes --appendfsync always "
                         "--save ''; it does not tell its syncs; with 16 each in a pipeline the "
                         "latency is that of all 16")
        if self.has_etcd:
            lines.append(f"etcd: {version('etcd')}, asked at its leader over gRPC, by 1 or 4 "
                         "connections")
        lines += [f"not measured: {each}" for each in self.missing]
        floors = []
        for what, title in (("sync_one", "fdatasync of 4 KiB over zeros"),
                            ("sync_three", "the same by three writers at once"),
                            ("round_trip", "64 bytes over loopback and back")):
            p50s = [floor[what]["p50_us"] for floor in self.results["floors"]]
            floors.append(f"{title} {statistics.median(p50s):.0f} us ({spread(p50s)})")
        return lines + [f"floors, p50: {'; '.join(floors)}"]


def version(program):
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return f"{program} {re.search(r'[0-9]+(?:[.][0-9]+)+', done.stdout).group()}"


def file_system(path):
    done = subprocess.run(["df", "--output=fstype", path], capture_output=True, text=True,
                          check=False)
    return done.stdout.split()[-1]


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev bench",
                                     description=__doc__.split("\n\n", 1)[0])
    build = pathlib.Path(__file__).resolve().parent.parent / "build" / "release"
    parser.add_argument("--binaries", type=pathlib.Path, metavar="DIR", default=build / "bin",
                        help="the programs [build/release/bin]")
    parser.add_argument("--quick", action="store_true", help="one round, for about a minute")
    numbers = {"rounds": (5, 1, "how often each load is taken"),
               "seconds": (2, 1, "of each load in each round"),
               "overload_seconds": (60, 3, "of twice what the cluster sustains"),
               "kills": (5, 1, "of the leader")}
    for name, (default, quick, what) in numbers.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N",
                            help=f"{what} [{default}; --quick: {quick}]")
    parser.add_argument("--data", type=pathlib.Path, metavar="DIR", default=build,
                        help="where all systems keep their data [build/release]")
    arguments = parser.parse_args()
    for name, (default, quick, _) in numbers.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, quick if arguments.quick else default)
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is at least 1")
    arguments.binaries = arguments.binaries.resolve()
    return arguments


def main():
    arguments = parse_arguments()

    def stop(*_signal):
        # Once: what is cleaned up then is not to be interrupted again.
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, stop)
    data = arguments.data.resolve()
    try:
        with tempfile.TemporaryDirectory(prefix="tally-bench-", dir=data) as home:
            failures = Bench(arguments, pathlib.Path(home)).run()
    except (Failure, OSError, subprocess.TimeoutExpired) as failure:
        print(f"\n./dev bench: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the servers are stopped, their data is removed", file=sys.stderr)
        return 130
    for failure in failures:
        print(f"./dev bench: FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
