"""The systems that `./dev bench` compares: three nodes of Tally, one redis-server, three of etcd.

Each is started on loopback, on free ports, with its data below one directory, and leaves nothing
behind. What it costs is read from /proc, the same way for all.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time
import urllib.request

from cluster import Cluster, Failure, expect, free_ports

TICKS = os.sysconf("SC_CLK_TCK")


def until(condition, what, limit=20):
    """The first true answer."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    raise Failure(f"{what}: not within {limit} s")


def fetch(port, path, body=None):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, timeout=5) as answer:
        return answer.read().decode()


def peak_bytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) << 10


class System:
    """Servers that are measured as one."""

    def pids(self):
        raise NotImplementedError

    def sync_count(self):
        """Syncs of all servers since they began; None when the system does not tell."""
        return None

    def cpu_seconds(self):
        total = 0
        for pid in self.pids():
            words = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(words[11]) + int(words[12])
        return total / TICKS

    def forget_peaks(self):
        for pid in self.pids():
            try:
                pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
            except OSError:
                pass  # then the peak is that since the start

    def peak_megabytes(self):
        """Of the node that took most."""
        return max(map(peak_bytes, self.pids())) / (1 << 20)


class Tally(System):
    def __init__(self, binaries, within, redis, flags=()):
        self.cluster = Cluster(binaries, within=within, redis=redis, flags=flags)
        self.leader = None

    def __enter__(self):
        self.cluster.__enter__()
        try:
            self.leader = self.cluster.wait_leader()
        except BaseException as trouble:
            self.cluster.__exit__(type(trouble))
            raise
        return self

    def __exit__(self, *why):
        self.cluster.__exit__(*why)

    def pids(self):
        return list(self.cluster.pids().values())

    def peaks(self):
        """Bytes, by node."""
        return {node: peak_bytes(pid) for node, pid in self.cluster.pids().items()}

    def sync_count(self):
        return sum(node["syncs"] for node in self.cluster.status())

    def redis_port(self):
        """Of the leader, who may be another one by now."""
        self.leader = self.cluster.wait_leader()
        return self.cluster.redis_ports[self.leader]

    def follower_redis_port(self):
        self.leader = self.cluster.wait_leader()
        follower = next(node for node in self.cluster.ids if node != self.leader)
        return self.cluster.redis_ports[follower]


class Peer(System):
    """Servers of somebody else."""

    def __init__(self, within, name):
        self.home = pathlib.Path(within) / name
        self.processes = []

    def __enter__(self):
        self.home.mkdir()
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_why):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def start(self):
        raise NotImplementedError

    def spawn(self, *command):
        log = self.home / f"log{len(self.processes)}"
        with open(log, "wb") as out:
            self.processes.append(subprocess.Popen(command, cwd=self.home, stdout=out, stderr=out))

    def expect_running(self):
        for number, process in enumerate(self.processes):
            log = (self.home / f"log{number}").read_text(errors="replace")
            expect(process.poll() is None,
                   f"{process.args[0]} ended with {process.returncode}: {log[-500:]}")

    def pids(self):
        return [process.pid for process in self.processes]


class Redis(Peer):
    """One server without replicas that answers an increment when it is synced, as Tally does."""

    def __init__(self, within):
        super().__init__(within, "redis")
        self.port = free_ports(1)[0]

    def start(self):
        self.spawn("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                   "--appendonly", "yes", "--appendfsync", "always")
        until(self.answers, "redis-server answers")

    def answers(self):
        self.expect_running()
        try:
            return ask_redis(self.port, "PING") == "PONG"
        except OSError:
            return False

    def redis_port(self):
        return self.port


def ask_redis(port, *words):
    """One command, and its answer: a string, an integer, or None for nil."""
    command = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(f"*{len(words)}\r\n{command}".encode())
        lines = connection.makefile("r", newline="\r\n")
        line = lines.readline().rstrip("\r\n")
        kind, rest = line[:1], line[1:]
        if kind == "$":
            return None if rest == "-1" else lines.readline().rstrip("\r\n")
        expect(kind in ("+", ":"), f"{' '.join(words)} is answered by: {line}")
        return int(rest) if kind == ":" else rest


class Etcd(Peer):
    """Three nodes as they come: election timeout 1000 ms, heartbeats 100 ms, every put synced."""

    def __init__(self, within):
        super().__init__(within, "etcd")
        ports = free_ports(6)
        self.client_ports, self.peer_ports = ports[:3], ports[3:]

    def start(self):
        members = ",".join(f"n{number}=http://127.0.0.1:{port}"
                           for number, port in enumerate(self.peer_ports))
        for number, (client, peer) in enumerate(zip(self.client_ports, self.peer_ports)):
            self.spawn("etcd", "--name", f"n{number}", "--data-dir", f"data{number}",
                       "--listen-client-urls", f"http://127.0.0.1:{client}",
                       "--advertise-client-urls", f"http://127.0.0.1:{client}",
                       "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                       "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                       "--initial-cluster", members, "--initial-cluster-state", "new",
                       "--logger", "zap", "--log-level", "error")
        until(self.leader_port, "etcd elects a leader")

    def leader_port(self):
        """Where its clients are served fastest; None when nobody leads."""
        self.expect_running()
        for port in self.client_ports:
            try:
                answer = json.loads(fetch(port, "/v3/maintenance/status", b"{}"))
            except OSError:
                continue
            if answer.get("leader", "0") == answer["header"]["member_id"]:
                return port
        return None

    def sync_count(self):
        """Of its log and its database."""
        total = 0
        for port in self.client_ports:
            for name in ("wal_fsync", "backend_commit"):
                line = rf"^etcd_disk_{name}_duration_seconds_count (\S+)$"
                total += float(re.search(line, fetch(port, "/metrics"), re.M).group(1))
        return int(total)
