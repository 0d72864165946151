#!/usr/bin/env python3
"""Chaos on a real cluster: faults while clients count, and the checker's verdict on what they saw.

    python3 tests/chaos.py BIN_DIR [--rounds 25] [--seed 1] [--clients 16] [--rate 2000]

`./dev chaos` runs it. Faults come one after another, of every kind that the machine permits; each
counts only when its effect was seen, and a kind that cannot be is printed as NOT RUN. Afterwards
everything is healed, the nodes must become equal, and the history must be linearizable. Exit code
0, or 1 when something was violated.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from cluster import Cluster, Failure, expect  # noqa: E402  (found beside this file)
from isolation import SmallDisk, own_network  # noqa: E402


class Chaos:
    """Injects every kind of fault until the effect of each was seen `rounds` times."""

    # A kind whose effect does not show does not hold up the others for ever.
    TRIES_MAX = 5

    KINDS = ("kill", "kill_leader", "kill_all", "pause", "restart", "transfer", "isolate",
             "one_way", "half_open", "delay")

    def __init__(self, cluster, seed, rounds, clients=8, rate=1000, names=3):
        self.cluster = cluster
        self.random = random.Random(seed)
        self.rounds = rounds
        self.clients = clients
        self.rate = rate
        self.names = names
        kinds = list(self.KINDS)
        kinds += ["lose_power", "lose_power_everywhere"] if cluster.forgetful else []
        kinds += ["full_disk"] if cluster.disks else []
        kinds += ["unplug", "mute"] if cluster.wires else []
        self.faults = {kind: 0 for kind in kinds}
        self.tries = {kind: 0 for kind in kinds}
        self.bench = {}
        self.verdict = {}

    def summary(self):
        return {"faults": self.faults, "bench": self.bench, "check": self.verdict}

    # ---- Faults: each begins, shows its effect, and ends

    def hold(self, least=0.1, most=1.2):
        time.sleep(self.random.uniform(least, most))

    def any_node(self):
        return self.random.choice(self.cluster.ids)

    def kill(self):
        node = self.any_node()
        seen = self.cluster.kill(node)
        self.hold()
        self.cluster.start(node)
        return seen

    def kill_leader(self):
        node = self.cluster.wait_leader()
        self.cluster.kill(node)
        successor = None
        until = time.monotonic() + 10
        while successor is None and time.monotonic() < until:
            successor = self.cluster.leader()
        self.cluster.start(node)
        expect(successor is not None, "two nodes of three elect no leader within 10 s")
        return True

    def kill_all(self):
        for node in self.cluster.ids:
            self.cluster.kill(node)
        self.hold(0, 0.3)
        for node in self.cluster.ids:
            self.cluster.start(node)
        return True

    def pause(self):
        node = self.any_node()
        self.cluster.pause(node)
        self.hold(0.3, 1.5)
        roles = {each["id"]: each["role"] for each in self.cluster.status()}
        self.cluster.resume(node)
        return roles[node] == "unreachable"

    def restart(self):
        node = self.any_node()
        self.cluster.stop(node)
        self.cluster.start(node)
        return True

    def transfer(self):
        leader = self.cluster.wait_leader()
        to = self.random.choice([node for node in self.cluster.ids if node != leader])
        done = self.cluster.ctl("--timeout-ms", "3000", "transfer", str(to), code=None)
        return done.returncode == 0

    def lose_power(self, everywhere=False):
        nodes = self.cluster.ids if everywhere else [self.any_node()]
        touched = self.cluster.lose_power(nodes, seed=self.random.randrange(1 << 30))
        self.hold(0, 0.5)
        for node in nodes:
            self.cluster.start(node)
        return touched > 0

    def lose_power_everywhere(self):
        return self.lose_power(everywhere=True)

    def tells(self, node, text, since, limit=10):
        """Whether the node's log comes to say so, behind its first `since` characters."""
        until = time.monotonic() + limit
        while text not in self.cluster.log(node)[since:]:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def full_disk(self):
        node = self.cluster.leader() or self.any_node()
        since = len(self.cluster.log(node))
        filler = self.cluster.disks[node].fill()
        seen = self.tells(node, "disk full", since)
        self.hold()
        filler.unlink()
        expect(not seen or self.tells(node, "has room again", since),
               f"node {node} does not find that its disk has room again")
        return seen

    def unreachable(self, node):
        return {each["id"]: each["role"] for each in self.cluster.status()}[node] == "unreachable"

    def unplug(self):
        node = self.cluster.leader() or self.any_node()
        self.cluster.wires.unplug(node)
        self.hold(0.3, 1.5)
        seen = self.unreachable(node)
        self.cluster.wires.plug(node)
        return seen

    def mute(self):
        node = self.cluster.leader() or self.any_node()
        self.cluster.wires.mute(node)
        self.hold(0.3, 1.5)
        seen = self.unreachable(node)
        self.cluster.wires.unmute(node)
        return seen

    def passed(self, a, b):
        return int(self.cluster.proxy(f"bytes {a}-{b}").split()[1])

    def links_still(self, pairs):
        """No byte passes on these links any more."""
        time.sleep(0.05)
        before = [self.passed(a, b) for a, b in pairs]
        self.hold(0.3, 1.5)
        return before == [self.passed(a, b) for a, b in pairs]

    def isolate(self, how="cut"):
        node = self.cluster.leader() or self.any_node()
        if self.random.random() < 0.3:
            node = self.any_node()
        pairs = []
        for other in self.cluster.ids:
            if other != node:
                self.cluster.cut(node, other, how)
                pairs += [(node, other), (other, node)]
        seen = self.links_still(pairs)
        self.cluster.heal()
        return seen

    def half_open(self):
        return self.isolate("hole")

    def one_way(self):
        node = self.cluster.leader() or self.any_node()
        pairs = [(node, other) for other in self.cluster.ids if other != node]
        for a, b in pairs:
            self.cluster.proxy(f"cut {a}-{b}")
        seen = self.links_still(pairs)
        self.cluster.heal()
        return seen

    def delay(self):
        for a in self.cluster.ids:
            for b in self.cluster.ids:
                if a != b:
                    self.cluster.proxy(f"delay {a}-{b} {self.random.randrange(20, 120)}")
        began = time.monotonic()
        done = self.cluster.ctl("--timeout-ms", "5000", "inc", "delayed", code=None)
        seen = done.returncode == 0 and time.monotonic() - began >= 0.02
        self.hold()
        self.cluster.heal()
        return seen

    # ---- The run

    def run(self):
        cluster = self.cluster
        cluster.wait_leader()
        history = cluster.home / "history.jsonl"
        load = subprocess.Popen(
            [str(cluster.binaries / "tallyctl"), "--peers", cluster.peers(), "--json",
             "--timeout-ms", "3000", "bench", "--clients", str(self.clients), "--pipeline", "4",
             "--rate", str(self.rate), "--seconds", "1000000", "--names", str(self.names),
             "--get-percent", "20", "--history", str(history), "--spread"],
            stdout=subprocess.PIPE, text=True)
        try:
            while min(self.faults.values()) < self.rounds:
                kinds = [kind for kind in self.faults if self.faults[kind] < self.rounds]
                self.random.shuffle(kinds)
                for kind in kinds:
                    self.tries[kind] += 1
                    expect(self.tries[kind] <= self.TRIES_MAX * self.rounds,
                           f"{kind} shows no effect: {self.faults[kind]} of {self.tries[kind]}")
                    self.faults[kind] += bool(getattr(self, kind)())
                    self.hold(0.05, 0.5)
                    cluster.assert_running()
                    self.show_progress()
            load.send_signal(signal.SIGINT)
            output, _ = load.communicate(timeout=60)
        finally:
            load.kill()
        cluster.heal()
        expect(load.returncode == 0, f"the load ended with {load.returncode}: {output}")
        self.bench = json.loads(output)
        cluster.wait_leader()
        cluster.wait_equal()
        self.judge(history)

    def show_progress(self):
        if sys.stderr.isatty():
            done = sum(self.faults.values())
            print(f"\r{done} of {self.rounds * len(self.faults)} faults   ", end="",
                  file=sys.stderr, flush=True)

    def judge(self, history):
        done = subprocess.run([str(self.cluster.binaries / "tallysim"), "check", "--json",
                               str(history)], capture_output=True, text=True, check=False)
        self.verdict = json.loads(done.stdout)
        if done.returncode != 0:
            kept = pathlib.Path("chaos-history.jsonl")
            kept.write_bytes(history.read_bytes())
            raise Failure(f"the history ({kept}): {done.stdout}{done.stderr}")


# Segments so small that a full disk is met soon.
CONFIG = """segment_bytes: 262144
kept_log_bytes: 1000000
snapshot_log_bytes: 1000000
election_timeout_ms: 300
heartbeat_ms: 50
"""


def permitted():
    """How to build a cluster that allows every kind of fault that can be here. Prints the rest."""
    def why_not(kinds, why):
        if why:
            print(f"NOT RUN: {kinds}: {why}", file=sys.stderr)
        return not why

    layer = os.environ.get("TALLY_POWER_LOSS")
    return {
        "wired": why_not("unplug, mute", own_network()),
        "small_disks": why_not("full_disk", SmallDisk.possible()),
        "forgetful": layer if why_not("lose_power, lose_power_everywhere", "" if layer else
                                      "needs TALLY_POWER_LOSS, the layer") else None,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("binaries", metavar="BIN_DIR")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rate", type=int, default=2000)
    arguments = parser.parse_args()
    options = permitted()  # may start this program anew
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".txtpb") as config:
            config.write(CONFIG)
            config.flush()
            with Cluster(arguments.binaries, proxied=True, flags=("--config", config.name),
                         **options) as cluster:
                chaos = Chaos(cluster, arguments.seed, arguments.rounds, clients=arguments.clients,
                              rate=arguments.rate, names=5)
                chaos.run()
                print(json.dumps(chaos.summary()))
    except Failure as failure:
        print(f"chaos: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
