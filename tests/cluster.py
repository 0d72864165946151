"""A real cluster for tests: three tallyd, with a proxy between them when links are to be cut.

    with Cluster(binaries, nodes=3, proxied=True) as cluster:
        cluster.wait_leader()
        cluster.ctl("inc", "hits", "5")
"""

import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from isolation import SmallDisk, Wires
from power_loss import forget, has_unsynced


class Failure(Exception):
    """What a test found."""


def expect(condition, message):
    if not condition:
        raise Failure(message)


def free_ports(count):
    """Ports that nobody listens on now, and that the system gives to no connection: a node that is
    down for a while finds its own free again."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as given:
        first = int(given.read().split()[0])
    candidates = list(range(10_000, first)) if first > 11_000 else list(range(10_000, 65_536))
    random.shuffle(candidates)
    ports = []
    for port in candidates:
        with socket.socket() as each:
            try:
                each.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise Failure(f"there are no {count} free ports")


class Cluster:
    def __init__(self, binaries, nodes=3, proxied=False, flags=(), environment=None,
                 forgetful=None, wired=False, small_disks=False, entry=(), redis=False,
                 within=None):
        self.binaries = pathlib.Path(binaries)
        self.ids = list(range(1, nodes + 1))
        self.flags = list(flags)
        self.entry = list(entry)  # what the command of a node begins with
        self.forgetful = forgetful  # the power-loss layer, when one is wanted
        self.environment = dict(os.environ, **(environment or {}))
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="tally-cluster-", dir=within))
        self.wires = Wires(self.ids) if wired else None
        self.disks = {}
        if small_disks:
            self.disks = {node: SmallDisk(self.home, node) for node in self.ids}
        pairs = [(a, b) for a in self.ids for b in self.ids if a != b] if proxied else []
        ports = free_ports(3 * nodes + 1 + len(pairs))
        self.ports = dict(zip(self.ids, ports))
        self.metrics_ports = dict(zip(self.ids, ports[nodes:]))
        self.redis_ports = dict(zip(self.ids, ports[2 * nodes:])) if redis else {}
        self.control_port = ports[3 * nodes]
        self.links = dict(zip(pairs, ports[3 * nodes + 1:]))
        self.processes = {}
        self.log_began = {}  # how long its log was when the node was last started
        self.proxy_process = None

    def __enter__(self):
        if self.links:
            self.start_proxy()
        for node in self.ids:
            self.start(node)
        return self

    def __exit__(self, kind, *_rest):
        for node in self.ids:
            self.kill(node)
        if self.proxy_process:
            self.proxy_process.kill()
            self.proxy_process.wait()
        for disk in self.disks.values():
            disk.close()
        if self.wires:
            self.wires.close()
        if kind is not None and issubclass(kind, Exception):
            for node in self.ids:
                print(f"---- node {node} said at last:\n{self.log(node)[-3000:]}",
                      file=sys.stderr)
        shutil.rmtree(self.home, ignore_errors=True)

    # ---- Processes

    def data(self, node):
        return (self.disks[node].path if node in self.disks else self.home) / f"data{node}"

    def host(self, node):
        return self.wires.host(node) if self.wires else "127.0.0.1"

    def own_host(self):
        return self.wires.HOST if self.wires else "127.0.0.1"

    def address(self, node):
        return f"{self.host(node)}:{self.ports[node]}"

    def log(self, node):
        try:
            return (self.home / f"node{node}.log").read_text()
        except OSError:
            return ""

    def peers(self, node=None):
        """As `node` reaches them; without one, as clients do."""
        link = lambda each: f"{self.own_host()}:{self.links[node, each]}"  # noqa: E731
        return ",".join(
            f"{each}={link(each) if (node, each) in self.links else self.address(each)}"
            for each in self.ids)

    def command(self, node, *more):
        entry = self.wires.entry(node) if self.wires else []
        redis = []
        if self.redis_ports:
            redis = ["--redis-listen", f"{self.host(node)}:{self.redis_ports[node]}"]
        return [*entry, *self.entry, str(self.binaries / "tallyd"), "--id", str(node), "--data",
                str(self.data(node)), "--peers", self.peers(node), "--bootstrap",
                "--metrics-listen", f"{self.host(node)}:{self.metrics_ports[node]}", *redis,
                *self.flags, *more]

    def start(self, node, *more):
        expect(node not in self.processes, f"node {node} runs already")
        environment = dict(self.environment)
        self.log_began[node] = len(self.log(node))
        if self.forgetful:
            environment["LD_PRELOAD"] = str(self.forgetful)
            environment["TALLY_POWER_LOSS_LOG"] = str(self.home / f"unsynced{node}")
        with open(self.home / f"node{node}.log", "ab") as log:
            self.processes[node] = subprocess.Popen(self.command(node, *more), stdout=log,
                                                    stderr=log, env=environment)

    def kill(self, node):
        """kill -9; False when it was not running."""
        process = self.processes.pop(node, None)
        if process is None:
            return False
        if process.poll() is None:
            process.kill()  # not a step more, if it is paused
        process.wait()
        return True

    def lose_power(self, nodes, seed):
        """All of them at once; what they wrote and never synced may be gone. How much was.

        A moment is sought at which there is something to lose: a quick disk leaves few, and a
        cluster that has just started leaves none until it has a leader.
        """
        running = [node for node in nodes if node in self.processes]
        draw = random.Random(seed)
        until = time.monotonic() + 5
        while True:
            for node in running:
                self.pause(node)
            if (not running or time.monotonic() > until or
                    any(has_unsynced(self.home / f"unsynced{node}", self.data(node))
                        for node in running)):
                break
            for node in running:
                self.resume(node)
            time.sleep(draw.uniform(0.001, 0.05))
        touched = 0
        for node in nodes:
            self.kill(node)
            writes, names = forget(self.home / f"unsynced{node}", self.data(node), seed + node)
            touched += writes + names
        return touched

    def hang_disk(self, node):
        (self.home / f"unsynced{node}.hang").touch()

    def free_disk(self, node):
        (self.home / f"unsynced{node}.hang").unlink()

    def stop(self, node):
        process = self.processes.pop(node)
        process.terminate()
        code = process.wait(timeout=20)
        # A process that has not come so far as to say anything yet dies of any signal.
        silent = len(self.log(node)) == self.log_began.get(node, 0)
        expect(code == 0 or (code == -signal.SIGTERM and silent),
               f"node {node}, told to stop, ended with {code}")

    def pause(self, node):
        os.kill(self.processes[node].pid, signal.SIGSTOP)

    def resume(self, node):
        os.kill(self.processes[node].pid, signal.SIGCONT)

    def pids(self):
        """By node."""
        return {node: process.pid for node, process in self.processes.items()}

    def assert_running(self):
        for node, process in self.processes.items():
            expect(process.poll() is None, f"node {node} ended: {self.log(node)[-500:]}")

    # ---- Links

    def start_proxy(self):
        links = [f"{a}-{b}={self.own_host()}:{port}={self.address(b)}"
                 for (a, b), port in self.links.items()]
        self.proxy_process = subprocess.Popen(
            [str(self.binaries / "tallyproxy"), "--control", f"127.0.0.1:{self.control_port}",
             *links])
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.control_port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise Failure("the proxy does not start")

    def proxy(self, line):
        with socket.create_connection(("127.0.0.1", self.control_port), timeout=5) as control:
            control.sendall(line.encode() + b"\n")
            answer = control.makefile().readline().strip()
        expect(answer.startswith("ok"), f"the proxy says to '{line}': {answer}")
        return answer

    def cut(self, a, b, how="cut"):
        self.proxy(f"{how} {a}-{b}")
        self.proxy(f"{how} {b}-{a}")

    def heal(self):
        self.proxy("heal")

    # ---- Clients

    def ctl(self, *arguments, code=0, peers=None, timeout=60):
        done = subprocess.run(
            [str(self.binaries / "tallyctl"), "--peers", peers or self.peers(), *arguments],
            capture_output=True, text=True, timeout=timeout, check=False)
        expect(code is None or done.returncode == code,
               f"tallyctl {' '.join(arguments)} ended with {done.returncode}, not {code}: "
               f"{done.stdout}{done.stderr}")
        return done

    def status(self):
        return json.loads(self.ctl("--json", "status", code=None).stdout)["nodes"]

    def leader(self):
        """The leader of the highest term, None when nobody says so."""
        leaders = [node for node in self.status() if node["role"] == "leader"]
        return max(leaders, key=lambda node: node["term"])["id"] if leaders else None

    def wait_leader(self, limit=20):
        until = time.monotonic() + limit
        while time.monotonic() < until:
            leader = self.leader()
            if leader is not None:
                return leader
            time.sleep(0.05)
        raise Failure(f"no leader within {limit} s")

    def wait_equal(self, limit=30):
        """All nodes have applied the same."""
        until = time.monotonic() + limit
        nodes = []
        while time.monotonic() < until:
            nodes = self.status()
            states = {(node.get("applied_index"), node.get("state_hash")) for node in nodes}
            if len(states) == 1 and "unreachable" not in {node["role"] for node in nodes}:
                return nodes
            time.sleep(0.1)
        raise Failure(f"the nodes do not become equal: {nodes}")


def run_tests(binaries, names):
    """Each function test_*, or those that the command line names, until one fails. An exit code."""
    if not (binaries / "tallyd").exists():
        print(f"{binaries}/tallyd is not built")
        return 1
    wanted = sys.argv[1:]
    for name in wanted:
        if name not in names:
            print(f"there is no {name}")
            return 2
    for name, test in list(names.items()):
        if not name.startswith("test_") or (wanted and name not in wanted):
            continue
        began = time.monotonic()
        try:
            test()
        except Failure as failure:
            print(f"FAILED {name}: {failure}")
            return 1
        print(f"ok {name} ({time.monotonic() - began:.1f} s)", flush=True)
    return 0
