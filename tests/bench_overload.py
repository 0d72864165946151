"""What `./dev bench` asks of a cluster that gets too much: more increments than it sustains, more
connections than do anything, clients that never read. These have no peer to be compared with; each
is judged by what Tally promises, and what does not hold fails the bench.
"""

import contextlib
import dataclasses
import shutil
import statistics
import time

import bench_loads as loads
import crowd
from bench_systems import Tally, ask_redis
from bench_table import number, spread
from cluster import expect

MIB = 1 << 20
# What a node holds at the most, by the limits that it is configured with...
SNAPSHOT_LOG_BYTES, KEPT_LOG_BYTES, WAITING_MAX = 64 * MIB, 16 * MIB, 10_000
CONFIG = (f"snapshot_log_bytes: {SNAPSHOT_LOG_BYTES}\nkept_log_bytes: {KEPT_LOG_BYTES}\n"
          f"waiting_requests_max: {WAITING_MAX}\n")
# ...and those that it always has (net/README.md), of both other members on two lanes each.
PEER_QUEUES_BYTES = 2 * 2 * 16 * MIB
# Beside its data an entry is 48 bytes in a deque (core/entry.h), and what malloc adds to that; the
# data is a counter's name, here of at least 20 bytes, and at least 12 more (core/command.proto).
ENTRY_BYTES, ENTRY_DATA_BYTES = 56, 32
# What one request that waits takes in its node, and one answer that nobody has read yet.
WAITING_BYTES, ANSWER_BYTES = 1024, 512
# How long writing a snapshot may take: so long the log grows beyond what begins one.
SNAPSHOT_SECONDS = 1

NOT_APPLIED = ("-TRYAGAIN NOT_APPLIED", "-CLUSTERDOWN NOT_APPLIED")
SUSTAINED_SECONDS = 3
NATIVE_CLIENTS, NATIVE_PIPELINE = 256, 64  # more than may wait, and half of them are fewer
REDIS_CLIENTS, REDIS_SUSTAINED_CLIENTS = 1000, 128  # with crowd.BATCH each; likewise
IDLE, BUSY = 10_000, 1000
IDLE_BYTES, BUSY_RATIO = 2048, 0.7
SLOW = (20, 2, 10)  # readers: of GET, of INCR, of the status in the own protocol
SLOW_BEGINS = 10 ** 18
# 10 s without reading anything, which a node looks for once a second (net/README.md).
CUT_OFF_SECONDS = 13
BESIDE_SECONDS = 1
# What a client that does not read may hold: commands and replies of Redis, and answers in the own
# protocol with those to all that it may bring in one turn.
REDIS_BYTES, NATIVE_BYTES = (80 + 64) << 10, 8 * MIB
SPARE_BYTES = 16 * MIB


def memory_bound(at_rest, per_second, outstanding):
    """Bytes of a node. `per_second`: increments begun; `outstanding`: at most, unanswered."""
    log = SNAPSHOT_LOG_BYTES + KEPT_LOG_BYTES
    log += log // ENTRY_DATA_BYTES * ENTRY_BYTES
    growing = round(SNAPSHOT_SECONDS * per_second) * (ENTRY_DATA_BYTES + ENTRY_BYTES)
    return (at_rest + log + growing + PEER_QUEUES_BYTES + 2 * WAITING_MAX * WAITING_BYTES +
            outstanding * ANSWER_BYTES)


@dataclasses.dataclass
class Overload:
    """Twice of what the cluster sustains, begun whatever the answers take, and what came of it."""
    how: str
    seconds: int
    rate: float        # asked for, per second
    begun: int
    not_begun: int     # due, but the load itself had no place left for them
    accepted: int
    refused: dict      # answers by what they say of an increment that was not accepted
    certain: tuple     # those of them that say that it was not applied
    p50: float         # seconds, of accepted ones, since they were sent
    p99: float
    terms_before: list  # of all nodes
    terms_after: list
    peaks: dict         # bytes by node
    bound: int

    def line(self):
        refused = ", ".join(f"{count:,} {what}" for what, count in sorted(self.refused.items()))
        terms = sorted(set(self.terms_after))
        return (f"overload, {self.how}: {number(self.rate)} per second asked for {self.seconds} s; "
                f"{number(self.begun / self.seconds)} begun and "
                f"{number(self.accepted / self.seconds)} accepted per second, p50 "
                f"{self.p50 * 1000:.0f} ms and p99 {self.p99 * 1000:.0f} ms after they were sent; "
                f"refused: {refused or 'none'}; {self.not_begun:,} not begun by the load itself; "
                f"peaks of {', '.join(f'{peak / MIB:.0f}' for peak in self.peaks.values())} MB, at "
                f"most {self.bound / MIB:.0f} may be; "
                f"{'no election' if self.terms_before == self.terms_after else 'AN ELECTION'} "
                f"(term {', '.join(map(str, terms))})")

    def failures(self):
        found = [f"node {node} took {peak / MIB:.0f} MB, more than its bound of "
                 f"{self.bound / MIB:.0f} MB" for node, peak in self.peaks.items()
                 if peak > self.bound]
        if self.terms_before != self.terms_after:
            found.append(f"there was an election: terms {self.terms_before} before, "
                         f"{self.terms_after} after")
        found += [f"{count} increments that were not accepted were answered by '{what}', which "
                  "does not say that they were not applied"
                  for what, count in self.refused.items() if count and what not in self.certain]
        if not any(self.refused.values()):
            found.append("nothing was refused: this was no overload, and proves nothing")
        if not self.accepted:
            found.append("nothing was accepted")
        return [f"overload, {self.how}: {each}" for each in found]


@dataclasses.dataclass
class Crowd:
    """Connections beside one another."""
    idle: int
    trouble: str         # why they are fewer than wanted; or empty
    idle_bytes: float    # of a node's memory for each of them: port for Redis...
    native_bytes: float  # ...and own protocol
    ratios: list         # of the busy ones beside them and alone, by rounds...
    native_ratios: list  # ...and in the own protocol; empty: not measured
    slow: crowd.CutOff
    slow_bound: int      # bytes

    def line(self):
        fewer = f" ({IDLE:,} wanted: {self.trouble})" if self.trouble else ""
        slow = self.slow
        native = (f", in the own protocol {number(statistics.median(self.native_ratios), 2)} "
                  f"({spread(self.native_ratios, 2)})" if self.native_ratios else "")
        return (f"{self.idle:,} idle and {BUSY:,} busy connections of redis to the leader{fewer}: "
                f"none refused, {self.idle_bytes:.0f} bytes for each idle one, and "
                f"{self.native_bytes:.0f} in the own protocol; INCR of the busy ones "
                f"{number(statistics.median(self.ratios), 2)} ({spread(self.ratios, 2)}) times of "
                f"what they do alone{native}\n"
                f"{sum(SLOW)} clients that never read, beside one that does: the last one was cut "
                f"off {slow.stalled:.1f} s after the node last took something of it; the other one "
                f"was served {slow.served:,} times, in {slow.longest * 1000:.0f} ms at most; peak "
                f"of {slow.peak_bytes / MIB:.0f} MB, at most {self.slow_bound / MIB:.0f} may be")

    def failures(self, busy_ratio=BUSY_RATIO, judges_memory=True):
        most = max(self.idle_bytes, self.native_bytes)
        ratio = min(statistics.median(each) for each in (self.ratios, self.native_ratios) if each)
        slow = self.slow
        judged = (
            (not judges_memory or most <= IDLE_BYTES,
             f"an idle connection takes {most:.0f} bytes, not {IDLE_BYTES}"),
            (ratio >= busy_ratio, f"busy connections do {ratio:.2f} times of what they do without "
                                  f"idle ones, not {busy_ratio}"),
            (slow.left == 0, f"{slow.left} clients that never read were not cut off"),
            (slow.stalled <= CUT_OFF_SECONDS, f"a client that does not read was cut off after "
                                              f"{slow.stalled:.1f} s, not {CUT_OFF_SECONDS}"),
            (slow.longest <= BESIDE_SECONDS, f"beside slow readers an increment took "
                                             f"{slow.longest:.1f} s, not {BESIDE_SECONDS}"),
            (not judges_memory or slow.peak_bytes <= self.slow_bound,
             f"slow readers made a node take {slow.peak_bytes / MIB:.0f} MB, more than its bound "
             f"of {self.slow_bound / MIB:.0f} MB"))
        return [f"connections: {failure}" for holds, failure in judged if not holds]


def slow_readers(tally, binaries):
    """What became of them, and how much memory the leader may have taken."""
    port, pid = tally.redis_port(), tally.cluster.pids()[tally.leader]
    reads, increments, native = SLOW
    hello, question = crowd.native_words(binaries / "tallyctl", tally.leader)
    before = crowd.resident_bytes(pid)
    # Long answers fill what lies in between sooner. Of increments few, so that the log does not
    # hide what else grows.
    ask_redis(port, "INCRBY", "slow", str(SLOW_BEGINS))
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(crowd.SlowReaders(*each)) for each in (
            (port, reads, b"GET slow\r\n"), (port, increments, b"INCR slow\r\n"),
            (tally.cluster.ports[tally.leader], native, question, hello))]
        done = crowd.cut_off(readers, port, pid)
    executed = int(ask_redis(port, "GET", "slow")) - SLOW_BEGINS + done.served
    bound = (before + SPARE_BYTES + (reads + increments) * REDIS_BYTES + native * NATIVE_BYTES +
             executed * (ENTRY_BYTES + ENTRY_DATA_BYTES))
    return done, bound


def beside_idle(busy, rest, rounds):
    """Operations per second of `busy` beside those that `rest` opens, over those without."""
    ratios = []
    for _ in range(rounds):
        alone = busy().per_second
        with rest() as resting:
            ratios.append(busy().per_second / alone)
            resting.expect_open()
    return ratios


def bytes_of_each(pid, rest):
    """Of a node's memory for each of the connections that `rest` opens."""
    before = crowd.resident_bytes(pid)
    with rest() as resting:
        each = (crowd.resident_bytes(pid) - before) / len(resting.connections)
        resting.expect_open()
    return each


def connections(tally, binaries, seconds, rounds, native_rounds=0):
    """REQUIRES: a cluster that has served nobody: memory once used is not given back."""
    trouble = crowd.allow_files() if crowd.idle_beside(BUSY) < IDLE else ""
    idle = min(IDLE, crowd.idle_beside(BUSY))
    port, leader, pids = tally.redis_port(), tally.leader, tally.cluster.pids()
    follower = next(node for node in pids if node != leader)

    def rest_native(node):
        hello, _ = crowd.native_words(binaries / "tallyctl", node)
        return crowd.Idle(tally.cluster.ports[node], idle, hello, b"TLNT")

    def rest():
        return crowd.Idle(port, idle)

    redis_bytes = bytes_of_each(pids[leader], rest)
    native_bytes = bytes_of_each(pids[follower], lambda: rest_native(follower))
    load = loads.RedisBenchmark("incr", BUSY, 1)
    load.prepare("", port)
    ratios = beside_idle(lambda: load.run_for("", port, seconds), rest, rounds)
    native_ratios = beside_idle(lambda: loads.native(tally.cluster, BUSY, 1, seconds + 1),
                                lambda: rest_native(leader), native_rounds)
    return Crowd(idle, trouble, redis_bytes, native_bytes, ratios, native_ratios,
                 *slow_readers(tally, binaries))


def terms(tally):
    return [node["term"] for node in tally.cluster.wait_equal()]


def native_overload(tally, seconds):
    """By tallyctl bench, which begins on time and repeats nothing."""
    rate = 2 * loads.native(tally.cluster, NATIVE_CLIENTS // 2, NATIVE_PIPELINE,
                            SUSTAINED_SECONDS).per_second
    tally.forget_peaks()
    done = loads.tallyctl_bench(tally.cluster, NATIVE_CLIENTS, NATIVE_PIPELINE, seconds, "--rate",
                                str(round(rate)), "--no-retry")
    refused = {what: done[what] for what in ("not_applied", "unknown", "rejected") if done[what]}
    return {"how": "own protocol", "rate": rate, "begun": done["ok"] + sum(refused.values()),
            "not_begun": done["not_begun"], "accepted": done["ok"], "refused": refused,
            "certain": ("not_applied",), "p50": done["sent_p50_us"] / 1e6,
            "p99": done["sent_p99_us"] / 1e6}


def redis_overload(tally, seconds):
    port = tally.redis_port()
    with crowd.Increments(port, REDIS_SUSTAINED_CLIENTS, "sustained-by-the-cluster") as load:
        load.run(SUSTAINED_SECONDS)
        expect(not load.refused, f"half of what may wait is refused: {load.refused}")
        rate = 2 * load.accepted / SUSTAINED_SECONDS
    tally.forget_peaks()
    counter = f"overload-{time.monotonic_ns():014}"
    with crowd.Increments(port, REDIS_CLIENTS, counter) as load:
        not_begun = load.run(seconds, rate)
        p50, p99 = load.quantile(0.5), load.quantile(0.99)
    value = int(ask_redis(port, "GET", counter) or 0)
    expect(value == load.accepted,
           f"overload: {load.accepted} increments were accepted, the counter says {value}")
    return {"how": "redis", "rate": rate, "begun": load.accepted + load.refused.total(),
            "not_begun": not_begun, "accepted": load.accepted, "refused": dict(load.refused),
            "certain": NOT_APPLIED, "p50": p50, "p99": p99}


def overload(tally, seconds, measure, outstanding):
    at_rest, before = max(tally.peaks().values()), terms(tally)
    done = Overload(seconds=seconds, terms_before=before, **measure(tally, seconds), peaks={},
                    terms_after=[], bound=0)
    done.terms_after, done.peaks = terms(tally), tally.peaks()
    done.bound = memory_bound(at_rest, done.begun / seconds, outstanding)
    return done


def measure_all(binaries, home, seconds, rounds, overload_seconds, say):
    """Results with line() and failures(), one after the other."""
    config = home / "config"
    config.write_text(CONFIG)

    def cluster():
        return Tally(binaries, home, redis=True, flags=("--config", str(config)))

    for measure, outstanding in ((native_overload, NATIVE_CLIENTS * NATIVE_PIPELINE),
                                 (redis_overload, REDIS_CLIENTS * crowd.BATCH)):
        say(f"{measure.__name__.replace('_', ' ')} for {overload_seconds} s")
        with cluster() as tally:
            yield overload(tally, overload_seconds, measure, outstanding)
    if shutil.which("redis-benchmark"):
        say("connections")
        with cluster() as tally:
            # A ratio of one round says little on a machine that varies.
            yield connections(tally, binaries, seconds, max(3, rounds), max(3, rounds))
