#!/usr/bin/env python3
"""Clients of Redis against a real cluster: redis-cli, redis-benchmark, three client libraries, and
bytes that no library would send.

Counting goes on through kills of the leader. Afterwards: what was acknowledged is there, what was
said not to be applied is not, and of what nobody knows some may be. The programs in tests/clients
count and say so.
"""

import json
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from bench_overload import connections
from bench_systems import Tally
from cluster import Cluster, expect, run_tests

BIN = pathlib.Path(os.environ["TALLY_BIN_DIR"])
HERE = pathlib.Path(__file__).resolve().parent
FAST = ("--election-timeout-ms", "300", "--heartbeat-ms", "50")
# A busy machine may be slow; nobody waits for so long otherwise.
PATIENCE = 60


class RedisCluster(Cluster):
    def __init__(self, *more):
        super().__init__(BIN, flags=(*FAST, *more), redis=True)

    def wait_served(self):
        leader = self.wait_leader()
        for node in self.ids:
            with Client(self.redis_ports[node]) as client:
                expect(client.ask("INCR warm").startswith(b":"), f"node {node} serves")
        return leader

    def followers_ports(self, leader):
        return [str(self.redis_ports[node]) for node in self.ids if node != leader]

    def all_ports(self):
        return [str(self.redis_ports[node]) for node in self.ids]

    def value(self, counter):
        with Client(next(self.redis_ports[node] for node in self.processes)) as client:
            answer = client.ask(f"GET {counter}")
        return int(answer.split(b"\r\n")[1]) if answer[:1] == b"$" and answer[1:2] != b"-" else 0


class Client:
    """One connection, with lines as commands."""

    def __init__(self, port):
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_rest):
        self.socket.close()

    def read(self):
        line = self.file.readline()
        if line[:1] == b"$" and line[:2] != b"$-":
            return line + self.file.read(int(line[1:]) + 2)
        if line[:1] == b"*":
            return line + b"".join(self.read() for _ in range(int(line[1:])))
        return line

    def ask(self, line):
        self.socket.sendall(line.encode() + b"\r\n")
        return self.read()


def run(*words, timeout=300):
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    expect(done.returncode == 0, f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}")
    return done.stdout


def test_redis_cli_and_redis_benchmark():
    for tool in ("redis-cli", "redis-benchmark"):
        expect(shutil.which(tool), f"{tool} is not installed: apt-get install redis-tools")
    with RedisCluster() as cluster:
        cluster.wait_served()
        for node in cluster.ids:
            said = run("redis-cli", "-p", str(cluster.redis_ports[node]), "INCRBY", "hits", "5")
            expect(said == f"{5 * node}\n", f"INCRBY on node {node}: {said}")
        port = str(cluster.redis_ports[1])
        expect(run("redis-cli", "-p", port, "GET", "hits") == "15\n", "GET")
        said = run("redis-cli", "-3", "-p", port, "MGET", "hits", "none")
        expect(said.split() == ["15"], f"MGET: {said}")
        roles = [re.search("role:(\\w+)", run("redis-cli", "-p", each, "INFO")).group(1)
                 for each in cluster.all_ports()]
        expect(sorted(roles) == ["master", "slave", "slave"], f"{roles}")
        for each in cluster.all_ports():
            said = run("redis-benchmark", "-p", each, "-t", "incr,get,ping", "-n", "2000",
                       "-c", "20", "--csv")
            tests = [line.split(",")[0] for line in said.splitlines()[1:]]
            expect(sorted(tests) == ['"GET"', '"INCR"', '"PING_INLINE"', '"PING_MBULK"'], said)
        said = run("redis-benchmark", "-p", port, "-t", "incr", "-n", "20000", "-P", "16",
                   "-c", "16", "--csv")
        expect('"INCR"' in said, said)
        expect(cluster.value("counter:__rand_int__") == 3 * 2000 + 20000, "every one is counted")
        text = urllib.request.urlopen(
            f"http://127.0.0.1:{cluster.metrics_ports[1]}/metrics", timeout=10).read().decode()
        counted = re.search('tally_redis_commands_total{kind="increment"} (\\d+)', text)
        expect(counted and int(counted.group(1)) >= 22000, text[-2000:])


def test_libraries_count_through_leader_kills():
    with tempfile.TemporaryDirectory() as home, RedisCluster() as cluster:
        hiredis = pathlib.Path(home) / "hiredis"
        run("g++", "-std=c++20", "-o", str(hiredis), str(HERE / "clients/hiredis.cpp"), "-lhiredis")
        leader = cluster.wait_served()
        followers = cluster.followers_ports(leader)
        everyone = [str(cluster.redis_ports[leader]), *followers]
        libraries = {
            "hiredis": [str(hiredis)],
            # The system's own: that is where Debian puts its modules.
            "redis-py": ["/usr/bin/python3", "-B", str(HERE / "clients/redis_py.py")],
            "perl": ["perl", str(HERE / "clients/redis_perl.pl")],
        }
        # Each library twice: where no node dies that it talks to, and where every node may; there
        # it begins at the node that dies first.
        began = {}
        for name, command in libraries.items():
            for where, seconds, ports in (("followers", "7", followers),
                                          ("all", "12", everyone)):
                words = [*command, f"{name}-{where}", seconds, *ports]
                began[name, where] = subprocess.Popen(
                    words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # On a busy machine one may come late to the node that dies.
        until = time.monotonic() + 60
        while not all(cluster.value(f"{name}-{where}") > 0 for name, where in began):
            expect(time.monotonic() < until, "not all of the libraries count")
            time.sleep(0.1)
        killed = leader
        for round_number in range(3):
            cluster.kill(killed)
            time.sleep(1.5)
            cluster.start(killed)
            time.sleep(1)
            # The first two times it is the one that some clients do not know.
            if round_number == 1:
                for (_, where), process in began.items():
                    if where == "followers":
                        process.wait(timeout=300)
                killed = cluster.wait_leader()
        for (name, where), process in began.items():
            out, errors = process.communicate(timeout=300)
            expect(process.returncode == 0, f"{name}, {where}: {out}{errors}")
            said = json.loads(out)
            value = cluster.value(f"{name}-{where}")
            print(f"   {name}, {where}: {said}, counted {value}")
            expect(said["ok"] > 100, f"{name}, {where}: {said}")
            expect(said["ok"] <= value <= said["ok"] + said["unknown"],
                   f"{name}, {where}: {said}, but the counter is {value}")
            if where == "followers":
                expect(said["reconnects"] == 0 and said["unknown"] == 0,
                       f"{name}: a leader's death behind the front end is survived: {said}")
            else:
                expect(said["reconnects"] > 0, f"{name} did not notice the kills: {said}")
        cluster.wait_equal()


def test_a_history_through_a_leader_kill_is_linearizable():
    with RedisCluster() as cluster:
        leader = cluster.wait_served()
        lines = []
        lock = threading.Lock()
        stop = threading.Event()
        lane_count = 0

        def next_lane():
            nonlocal lane_count
            with lock:
                lane_count += 1
                return lane_count

        def worker(number):
            draw = random.Random(number)
            client, lane, sequence = None, next_lane(), 0
            while not stop.is_set():
                if client is None:
                    try:
                        client = Client(cluster.redis_ports[draw.choice(cluster.ids)])
                    except OSError:
                        continue
                counter = f"h{draw.randrange(3)}"
                delta = draw.choice((1, 10, 100))
                reads = draw.random() < 0.3
                sequence += 1
                line = {"client": lane, "seq": sequence, "op": "get" if reads else "add",
                        "counter": counter}
                if not reads:
                    line["delta"] = delta
                line["invoke"] = time.monotonic_ns()
                answer = b""
                try:
                    answer = client.ask(f"GET {counter}" if reads else f"INCRBY {counter} {delta}")
                except OSError:
                    pass
                line["return"] = time.monotonic_ns()
                if answer[:1] == b":":
                    line.update(status="ok", value=int(answer[1:]))
                elif answer[:2] == b"$-":
                    line.update(status="ok", value=0)
                elif answer[:1] == b"$":
                    line.update(status="ok", value=int(answer.split(b"\r\n")[1]))
                elif b"NOT_APPLIED" in answer:
                    line.update(status="failed")
                else:  # the connection is gone, or the answer is UNKNOWN
                    line.update(status="unknown")
                    line["return"] = None
                    lane, sequence = next_lane(), 0
                    if not answer:
                        client = None
                with lock:
                    lines.append(line)

        threads = [threading.Thread(target=worker, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            time.sleep(1.5)
            cluster.kill(leader)
            time.sleep(1.5)
            cluster.start(leader)
            leader = cluster.wait_leader()
        time.sleep(1)
        stop.set()
        for thread in threads:
            thread.join()
        history = cluster.home / "history.jsonl"
        history.write_text("".join(json.dumps(line) + "\n" for line in lines))
        ok = sum(line["status"] == "ok" for line in lines)
        expect(ok > 200, f"{ok} of {len(lines)} were answered")
        said = run(str(BIN / "tallysim"), "check", str(history))
        print(f"   {said.strip()}")


def test_exactly_once_across_the_clients_own_retries():
    with RedisCluster() as cluster:
        leader = cluster.wait_served()
        with Client(cluster.redis_ports[leader]) as client:
            session = int(client.ask("TALLY.OPEN")[1:])
        done = 0
        ports = list(cluster.redis_ports.values())

        def killer():
            time.sleep(0.5)
            cluster.kill(leader)
            time.sleep(1)
            cluster.start(leader)

        thread = threading.Thread(target=killer)
        thread.start()
        turn, client = 0, None
        until = time.monotonic() + PATIENCE
        pending = False  # an increment that may have been applied: it is asked for again
        while (thread.is_alive() or done < 200 or pending) and time.monotonic() < until:
            sequence = done + 1
            try:
                if client is None:
                    client = Client(ports[turn % 3])
                    client.socket.settimeout(0.2)  # gives up early, on purpose
                answer = client.ask(
                    f"TALLY.INCRBY once 1 SESSION {session} SEQ {sequence} FIRST {sequence}")
            except OSError:
                answer = b""
            if answer == b":%d\r\n" % sequence:
                done += 1
                pending = False
                continue
            pending = True
            expect(not answer or answer.startswith((b"-UNKNOWN", b"-CLUSTERDOWN")),
                   f"{sequence}: {answer}")
            client = None
            turn += 1
        thread.join()
        expect(done >= 200 and cluster.value("once") == done, f"{cluster.value('once')} of {done}")


def test_redirection():
    with RedisCluster("--redis-redirect") as cluster:
        leader = cluster.wait_leader()
        follower = next(node for node in cluster.ids if node != leader)
        with Client(cluster.redis_ports[follower]) as client:
            answer = client.ask("INCR foo").decode()
            where = f"127.0.0.1:{cluster.redis_ports[leader]}"
            expect(answer == f"-MOVED 12182 {where}\r\n", answer)
        said = run("redis-cli", "-c", "-p", str(cluster.redis_ports[follower]), "INCR", "foo")
        expect(said == "1\n", f"redis-cli -c follows: {said}")


def memory_kib(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search("VmRSS:\\s+(\\d+)", status).group(1))


def test_bytes_that_no_library_sends():
    with RedisCluster() as cluster:
        leader = cluster.wait_served()
        port = cluster.redis_ports[leader]
        process = cluster.processes[leader]
        before = memory_kib(process)
        draw = random.Random(1)
        wrong = [b"*1\r\n$-5\r\n", b"*99999999\r\n", b"*1\r\n$999999999\r\n", b"\x00" * 5000,
                 b"*1\r\n:1\r\n", b"a" * 100_000, b"\"\r\n",
                 b"*2\r\n$4\r\nINCR\r\n$3\r\nabcdef\r\n"]
        for bytes_ in wrong:
            with Client(port) as client:
                try:
                    client.socket.sendall(bytes_)
                    said = client.file.read()
                    expect(b"-ERR Protocol error" in said, f"{bytes_[:30]}: {said}")
                except ConnectionError:
                    pass
        for _ in range(300):  # noise, and commands cut at some place
            noise = draw.choice((draw.randbytes(draw.randrange(1, 500)),
                                 b"*2\r\n$4\r\nINCR\r\n$4\r\nhits\r\n"[:draw.randrange(1, 26)],
                                 b"*3\r\n$4\r\nMGET\r\n$16000\r\n" + b"x" * 9000))
            with Client(port) as client:
                client.socket.sendall(noise)
        # Many that begin a command, at the same time, and never end it.
        slow = [Client(port) for _ in range(500)]
        for client in slow:
            client.socket.sendall(b"*2\r\n$4\r\nECHO\r\n$16000\r\n" + b"x" * 8000)
        with Client(port) as client:
            expect(client.ask("INCR alive").startswith(b":"), "others are served")
        for client in slow:
            client.socket.close()
        # Who sends and never reads.
        greedy = Client(port)
        greedy.socket.settimeout(0.5)
        try:
            for _ in range(10_000):
                greedy.socket.sendall(b"COMMAND DOCS\r\n" * 100)
        except OSError:
            pass
        with Client(port) as client:
            expect(client.ask("INCR alive") == b":2\r\n", "others are served")
        grown = memory_kib(process) - before
        expect(grown < 64 << 10, f"the node grew by {grown} KiB")
        until = time.monotonic() + PATIENCE
        while b"cut off" not in (cluster.home / f"node{leader}.log").read_bytes():
            expect(time.monotonic() < until, "a client that does not read stays")
            time.sleep(0.2)
        greedy.socket.close()
        cluster.assert_running()


def test_many_connections_and_slow_readers():
    """10,000 idle and 1,000 busy ones, then clients that never read: as in ./dev bench. Judged less
    strictly, because others use the machine as well."""
    with Tally(BIN, within=None, redis=True) as tally:
        done = connections(tally, BIN, seconds=1, rounds=2)
        print("   " + done.line().replace("\n", "\n   "))
        failures = done.failures(busy_ratio=0.5,
                                 judges_memory="TALLY_SANITIZE" not in os.environ)
        expect(not failures, "; ".join(failures))
        tally.cluster.assert_running()


if __name__ == "__main__":
    sys.exit(run_tests(BIN, globals()))
