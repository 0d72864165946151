#!/usr/bin/env python3
"""The real thing: tallyd, tallyctl and tallyproxy as people run them, on loopback.

A short run; `./dev chaos` is the long one (tests/chaos.py).
"""

import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from cluster import Cluster, Failure, expect, free_ports

BIN = pathlib.Path(os.environ["TALLY_BIN_DIR"])
FAST = ("--election-timeout-ms", "300", "--heartbeat-ms", "50")


def http(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_counts_and_survives_the_leader():
    with Cluster(BIN, flags=FAST) as cluster:
        leader = cluster.wait_leader()
        expect(cluster.ctl("inc", "hits", "5").stdout == "5\n", "inc prints the value alone")
        expect(cluster.ctl("inc", "hits", "--", "-2").stdout == "3\n", "a negative delta")
        expect(cluster.ctl("get", "hits").stdout == "3\n", "get")
        expect(cluster.ctl("get", "never").stdout == "0\n", "an absent counter is 0")
        refused = cluster.ctl("inc", "hits", "10", "--max", "5", code=5)
        expect("bounds" in refused.stderr, refused.stderr)
        cluster.ctl("inc", "", code=2)
        for node in cluster.ids:  # forwarded or redirected, from every node
            only = f"{node}=127.0.0.1:{cluster.ports[node]}"
            cluster.ctl("inc", "each", peers=only)
        cluster.ctl("--no-forward", "inc", "each")
        expect(cluster.ctl("get", "each").stdout == "4\n", "each node takes increments")

        cluster.kill(leader)
        expect(cluster.ctl("inc", "hits").stdout == "4\n", "a survivor goes on")
        cluster.start(leader)
        nodes = cluster.wait_equal()
        expect(all(node["counters"] == 2 for node in nodes), f"{nodes}")

        # All of them at once, then the same data again.
        for node in cluster.ids:
            cluster.kill(node)
        cluster.ctl("--timeout-ms", "300", "get", "hits", code=3)
        for node in cluster.ids:
            cluster.start(node)
        expect(cluster.ctl("get", "hits").stdout == "4\n", "durable")

        # Gently.
        for node in cluster.ids:
            cluster.stop(node)
            cluster.start(node)
        expect(cluster.ctl("inc", "hits").stdout == "5\n", "rolling restart")
        cluster.assert_running()


def test_leadership_moves():
    # An election timeout so long that nobody leads by accident.
    with Cluster(BIN, flags=("--election-timeout-ms", "2000", "--heartbeat-ms", "50")) as cluster:
        leader = cluster.wait_leader()
        cluster.ctl("inc", "hits")
        to = next(node for node in cluster.ids if node != leader)
        began = time.monotonic()
        said = cluster.ctl("transfer", str(to)).stdout
        expect(said.startswith(f"node {to} leads, term "), said)
        expect(cluster.ctl("inc", "hits").stdout == "2\n", "the new leader serves")
        expect(time.monotonic() - began < 1.5, "faster than any election timeout")
        again = cluster.ctl("transfer", str(to)).stdout
        expect("leads already" in again, again)
        anyone = cluster.ctl("transfer").stdout
        expect("leads, term" in anyone and cluster.leader() != to, anyone)
        expect("not a member" in cluster.ctl("transfer", "9", code=3).stderr, "node 9")
        cluster.ctl("transfer", "0", code=2)

        # A leader that is stopped hands over first: nobody waits for an election timeout.
        leader = cluster.leader()
        began = time.monotonic()
        cluster.stop(leader)
        expect(cluster.ctl("inc", "hits").stdout == "3\n", "a survivor goes on")
        took = time.monotonic() - began
        expect(took < 1.5, f"{took:.1f} s after the leader was stopped")
        expect("is to hand over" in cluster.log(leader), cluster.log(leader)[-500:])

        # To one that is down: the leader leads on, and says so.
        gone = leader
        leader = cluster.wait_leader()
        refused = cluster.ctl("--timeout-ms", "3000", "transfer", str(gone), code=3)
        expect("leads on" in refused.stderr, refused.stderr)
        expect(cluster.ctl("inc", "hits").stdout == "4\n", "and takes increments again")

        # The last of all has nobody to hand over to, and stops all the same.
        other = next(node for node in cluster.ids if node not in (gone, leader))
        cluster.kill(other)
        cluster.stop(leader)


def test_one_node_alone():
    with Cluster(BIN, nodes=1, flags=FAST) as cluster:
        cluster.wait_leader()
        for value in ("1\n", "2\n"):
            expect(cluster.ctl("inc", "hits").stdout == value, "one node is a quorum of one")
            time.sleep(2.5)  # nothing happens at all, and then somebody comes
        cluster.stop(1)
        cluster.start(1)
        expect(cluster.ctl("get", "hits").stdout == "2\n", "durable")


def test_tells_about_itself():
    with Cluster(BIN, flags=FAST) as cluster:
        leader = cluster.wait_leader()
        cluster.ctl("inc", "hits")
        cluster.wait_equal()
        port = cluster.metrics_ports[leader]
        expect(http(port, "/healthz")[0] == 200, "/healthz")
        expect(http(port, "/readyz")[0] == 200, "/readyz")
        expect(http(port, "/nothing")[0] == 404, "/nothing")
        code, text = http(port, "/metrics")
        expect(code == 200 and 'tally_role{role="leader"} 1' in text, text)
        for stage in ("proposed", "durable", "replicated", "committed", "applied", "replied"):
            counted = f'tally_stage_seconds_count{{stage="{stage}"}} '
            expect(counted in text and counted + "0\n" not in text, f"{stage}: {text}")
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(70)]
        expect(http(port, "/healthz")[0] == 200, "who asks nothing stands in nobody's way")
        for each in idle:
            each.close()
        followers = [node for node in cluster.ids if node != leader]
        for node in followers:
            cluster.kill(node)
        until = time.monotonic() + 10
        while http(port, "/readyz")[0] != 503:
            expect(time.monotonic() < until, "a leader without followers stays ready")
            time.sleep(0.1)
        os.kill(cluster.processes[leader].pid, signal.SIGUSR2)
        description = cluster.data(leader) / "DESCRIPTION"
        while not description.exists():
            expect(time.monotonic() < until, "no description")
            time.sleep(0.05)
        expect(f"id: {leader}" in description.read_text(), description.read_text())
        dumped = cluster.ctl("log", "dump", str(cluster.data(leader))).stdout
        expect("hits" in dumped and "!!" not in dumped, dumped)
        cluster.ctl("log", "dump", str(cluster.home / "nowhere"), code=2)
        table = cluster.ctl("status", code=None).stdout
        expect(table.count("unreachable") == 2, table)


def test_options_are_reloaded():
    with tempfile.NamedTemporaryFile("w+", suffix=".txtpb") as config:
        def say(text, expected):
            since = len(cluster.log(1))
            config.seek(0)
            config.truncate()
            config.write(text)
            config.flush()
            os.kill(cluster.processes[1].pid, signal.SIGHUP)
            until = time.monotonic() + 10
            while expected not in cluster.log(1)[since:]:
                expect(time.monotonic() < until, f"no '{expected}': {cluster.log(1)[since:]}")
                time.sleep(0.02)

        with Cluster(BIN, nodes=1, flags=(*FAST, "--config", config.name)) as cluster:
            cluster.wait_leader()
            cluster.ctl("inc", "hits")
            say("snapshot_interval_ms: 100", "info node=1 reloaded\n")
            until = time.monotonic() + 10
            cluster.ctl("inc", "hits")
            while "snapshot up to" not in cluster.log(1):
                expect(time.monotonic() < until, "no snapshot by the new interval")
                time.sleep(0.02)
            say("snapshot_interval_ms: 100 segment_bytes: 100000", "wait for a restart")
            say("snapshot_interval_ms: 0", "not reloaded, all stays as it is")
            say("snapshot_interval_ms: x", f"{config.name}:1:23")
            expect(cluster.ctl("inc", "hits").stdout == "3\n", "it goes on")


def test_snapshots_replace_the_log():
    with Cluster(BIN, flags=FAST + ("--snapshot-log-bytes", "20000")) as cluster:
        leader = cluster.wait_leader()
        behind = next(node for node in cluster.ids if node != leader)
        cluster.ctl("inc", "hits")
        cluster.kill(behind)
        cluster.ctl("bench", "--clients", "8", "--pipeline", "8", "--operations", "3000",
                    "--seconds", "30", "--names", "50")
        cluster.ctl("snapshot", code=3)  # one node is not there
        cluster.start(behind)
        until = time.monotonic() + 30
        while not all(node["snapshot_index"] > 0 for node in cluster.wait_equal()):
            expect(time.monotonic() < until, f"a node takes no snapshot: {cluster.status()}")
            time.sleep(0.1)


def refused_start(arguments, words, code=3, setup=None):
    """A node that must not start says why, in one line, and ends with `code`."""
    with tempfile.TemporaryDirectory() as home:
        data = pathlib.Path(home) / "data"
        if setup:
            setup(data)
        filled = [str(data) if each == "DATA" else each for each in arguments]
        done = subprocess.run([str(BIN / "tallyd"), *filled], capture_output=True, text=True,
                              timeout=30, check=False)
        last = done.stderr.strip().splitlines()[-1]
        expect(done.returncode == code, f"{arguments}: exit {done.returncode}: {done.stderr}")
        for word in words:
            expect(word in last, f"{arguments}: '{word}' is not in: {last}")
        left = {each.name for each in data.iterdir()} if data.is_dir() else set()
        expect(setup is not None or left <= {"LOCK"}, f"{arguments}: left behind: {left}")


def test_refuses_to_start():
    port, other = free_ports(2)
    good = ["--id", "1", "--data", "DATA", "--peers", f"1=127.0.0.1:{port}"]
    refused_start(good, ["is empty", "--bootstrap"])
    refused_start(good[:4], ["--peers"], code=2)
    refused_start(["--id", "2", *good[2:]], ["node 2"], code=2)
    refused_start(good[:5] + ["1=nonsense"], ["HOST:PORT"], code=2)
    refused_start(good + ["--heartbeat-ms", "5000"], ["heartbeat"], code=2)
    refused_start(good + ["--no-such-flag"], ["no-such-flag"], code=2)
    for number in ("-1", "0", "010", "1e3", "99999999999999999"):
        refused_start(good + ["--election-timeout-ms", number], [f"'{number}' is no number"],
                      code=2)
    refused_start(good + ["--config", "/"], ["is a directory"], code=2)
    refused_start(["--id", "1", "--data", "DATA/x/y", "--peers", f"1=127.0.0.1:{port}"],
                  ["cannot create"])
    refused_start(good + ["--bootstrap"], ["cannot use"], setup=lambda data: data.write_text("x"))

    def node_file(text):
        def write(data):
            data.mkdir()
            (data / "NODE").write_text(text)
        return write

    mine = 'version: 2 cluster: "tally" group: "counter" node_id: 1 directory_id: 7 voters: 1 '
    refused_start(good, ["nodes 1, 2", "--peers names 1"], setup=node_file(mine + "voters: 2"))
    refused_start(good, ["belongs to node 2"], setup=node_file(mine.replace("id: 1", "id: 2", 1)))
    refused_start(good, ["cluster 'other'"], setup=node_file(mine.replace("tally", "other")))
    refused_start(good, ["format 9"], setup=node_file(mine.replace("version: 2", "version: 9")))
    refused_start(good, ["damaged"], setup=node_file("version: \x00"))
    refused_start(good, ["is gone"], setup=node_file(mine + "log_began: true"))

    def log_without_owner(data):
        data.mkdir()
        (data / "wal-0000000000000001").write_text("x")
    refused_start(good + ["--bootstrap"], ["no file NODE"], setup=log_without_owner)

    def photo(data):
        data.mkdir()
        (data / "photo.jpg").write_text("x")
    refused_start(good + ["--bootstrap"], ["not empty", "photo.jpg"], setup=photo)

    with socket.socket() as busy:
        busy.bind(("127.0.0.1", other))
        busy.listen()
        refused_start(["--id", "1", "--data", "DATA", "--peers", f"1=127.0.0.1:{other}",
                       "--bootstrap"], [f"127.0.0.1:{other}", "in use"])


def test_a_wiped_node_stays_out():
    with Cluster(BIN, flags=FAST) as cluster:
        leader = cluster.wait_leader()
        cluster.ctl("inc", "hits")
        wiped = next(node for node in cluster.ids if node != leader)
        cluster.kill(wiped)
        cluster.data(wiped).rename(cluster.home / "away")
        cluster.start(wiped)
        process = cluster.processes.pop(wiped)
        expect(process.wait(timeout=20) == 3, "it must not take part")
        expect("wiped" in cluster.log(wiped), cluster.log(wiped))
        # Nor when it is started again, as supervisors do, nor as a node of another cluster.
        for flags in ((), ("--cluster", "other")):
            cluster.start(wiped, *flags)
            process = cluster.processes.pop(wiped)
            expect(process.wait(timeout=20) == 3, f"it must not take part: {cluster.log(wiped)}")
        expect("cluster 'other'" in cluster.log(wiped), cluster.log(wiped))
        # And the directory of a running node is its alone.
        done = subprocess.run(cluster.command(leader), capture_output=True, text=True, timeout=20,
                              check=False)
        expect(done.returncode == 3 and "in use" in done.stderr, done.stderr)
        # A client of another cluster is told so.
        done = cluster.ctl("--cluster", "other", "get", "hits", code=2)
        expect("cluster 'other'" in done.stderr, done.stderr)


def test_bytes_of_any_kind_do_no_harm():
    with Cluster(BIN, flags=FAST) as cluster:
        leader = cluster.wait_leader()
        port = cluster.ports[leader]
        noise = random.Random(7)
        slow = []
        for i in range(200):
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
            kind = i % 4
            if kind == 0:
                data = noise.randbytes(noise.randrange(1, 3000))
            elif kind == 1:
                data = b"TLNT" + noise.randbytes(40)
            elif kind == 2:
                data = b"TLNT\x01\x00\x00\x00\xff\xff\xff\xff" + bytes(12)
            else:
                data = b"TLLY\x02\x00\x48\x00" + noise.randbytes(100)
            try:
                connection.sendall(data)
            except OSError:
                pass
            slow.append(connection)
        cluster.ctl("inc", "hits")
        # One that says nothing is closed after a while, and nobody waits for it.
        until = time.monotonic() + 15
        while cluster.status()[leader - 1]["connections"] > 10:
            expect(time.monotonic() < until, "connections without a handshake stay open")
            time.sleep(0.2)
        for connection in slow:
            connection.close()
        cluster.assert_running()


def test_a_log_that_nobody_takes_stops_nobody():
    for how in ("2>/dev/full", "2>&-", "2>&1 | sleep 60"):
        with Cluster(BIN, nodes=1, flags=FAST, entry=("sh", "-c", f'exec "$0" "$@" {how}')) as one:
            one.wait_leader()
            for _ in range(600):
                with socket.create_connection(("127.0.0.1", one.ports[1]), timeout=5) as junk:
                    junk.sendall(b"GET / HTTP/1.0\r\n\r\n")
            expect(one.ctl("inc", "hits").stdout == "1\n", how)
            if "|" not in how:
                one.stop(1)
            else:
                subprocess.run(["pkill", "-f", str(one.data(1))], check=False)


def test_clients_leave_room_for_peers():
    # So few descriptors that each node has room for 12 clients.
    with Cluster(BIN, flags=FAST, entry=("prlimit", "--nofile=332")) as cluster:
        leader = cluster.wait_leader()
        load = subprocess.Popen(
            [str(BIN / "tallyctl"), "--peers", cluster.peers(), "bench", "--clients", "60",
             "--seconds", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(1)
            behind = next(node for node in cluster.ids if node != leader)
            cluster.kill(behind)
            cluster.start(behind)
            cluster.kill(leader)
            until = time.monotonic() + 20
            while "follows" not in cluster.log(behind) and "elected" not in cluster.log(behind):
                expect(time.monotonic() < until, f"no leader: {cluster.log(behind)[-2000:]}")
                time.sleep(0.1)
        finally:
            load.kill()
            load.wait()
    cluster.entry = ["prlimit", "--nofile=64"]
    done = subprocess.run(cluster.command(1), capture_output=True,
                          text=True, timeout=20, check=False)
    expect(done.returncode == 3 and "ulimit -n" in done.stderr, done.stderr)


def test_a_cut_leader_serves_nothing():
    with Cluster(BIN, proxied=True, flags=FAST) as cluster:
        leader = cluster.wait_leader()
        cluster.ctl("inc", "hits", "7")
        for node in cluster.ids:
            if node != leader:
                cluster.cut(leader, node)
        others = ",".join(f"{node}=127.0.0.1:{cluster.ports[node]}" for node in cluster.ids
                          if node != leader)
        expect(cluster.ctl("inc", "hits", peers=others).stdout == "8\n", "the others go on")
        alone = f"{leader}=127.0.0.1:{cluster.ports[leader]}"
        cluster.ctl("--timeout-ms", "1000", "get", "hits", peers=alone, code=3)
        cluster.heal()
        cluster.wait_equal()
        expect(cluster.ctl("get", "hits", peers=alone).stdout == "8\n", "it catches up")


def test_dev_cluster():
    """The verbs of ./dev cluster, as the README tells them."""
    # A stretch of ports that is free as a whole, most likely.
    base = random.SystemRandom().randrange(20000, 30000, 1)
    with tempfile.TemporaryDirectory() as home:
        environment = dict(os.environ, TALLY_CLUSTER_DIR=home, TALLY_CLUSTER_PORT=str(base))
        peers = ",".join(f"{node}=127.0.0.1:{base + node}" for node in (1, 2, 3))

        def verb(*words, code=0):
            done = subprocess.run([sys.executable, "-B", "tools/dev/cluster.py", *words],
                                  capture_output=True, text=True, timeout=60, env=environment,
                                  check=False)
            expect(done.returncode == code,
                   f"cluster {words}: exit {done.returncode}: {done.stdout}{done.stderr}")
            return done.stdout

        def inc():
            return int(subprocess.run([str(BIN / "tallyctl"), "--peers", peers, "inc", "hits"],
                                      capture_output=True, text=True, timeout=30,
                                      check=True).stdout)
        try:
            said = verb("up")
            expect("leader" in said and "tallyctl inc hits 5" in said, said)
            expect(inc() == 1, "the first")
            leader = int(said.split("kill ", 1)[1].split()[0])
            verb("kill", str(leader))
            expect(inc() == 2, "without the leader")
            verb("start", str(leader))
            verb("partition", "1", "|", "2", "3")
            expect(inc() == 3, "in spite of a partition")
            verb("heal")
            verb("pause", "2")
            verb("resume", "2")
            verb("stop", "3")
            verb("stop", "3", code=2)
            expect(inc() == 4, "with two nodes")
            verb("up")
            expect(inc() == 5, "with three again")
            expect("elected" in verb("logs"), "logs")
            verb("nonsense", code=2)
            verb("kill", "7", code=2)
        finally:
            verb("down")
        verb("status", code=3)


def increments_through_power_losses(rounds, seed=1, **options):
    """Increments, one at a time, with the power failing in between. Returns how many were
    acknowledged, what the counter then says, and how much was forgotten."""
    with Cluster(BIN, flags=FAST, forgetful=os.environ["TALLY_POWER_LOSS"], **options) as cluster:
        acknowledged = 0
        forgotten = 0
        for round_number in range(rounds):
            cluster.wait_leader()
            load = subprocess.Popen(
                [str(BIN / "tallyctl"), "--peers", cluster.peers(), "--json", "--timeout-ms",
                 "1000", "bench", "--clients", "4", "--prefix", "hits", "--seconds", "60"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            time.sleep(0.5)
            forgotten += cluster.lose_power(cluster.ids, seed=seed + 10 * round_number)
            load.send_signal(signal.SIGINT)
            acknowledged += json.loads(load.communicate(timeout=30)[0])["ok"]
            for node in cluster.ids:
                cluster.start(node)
                time.sleep(0.2)
                if cluster.processes[node].poll() is not None:
                    raise Failure(f"node {node} does not start again: {cluster.log(node)[-300:]}")
        cluster.wait_leader()
        value = int(cluster.ctl("get", "hits").stdout)
        return acknowledged, value, forgotten


def test_power_losses():
    if "TALLY_POWER_LOSS" not in os.environ:
        print("NOT RUN: the power-loss layer cannot be preloaded into a sanitized program")
        return
    acknowledged, value, forgotten = increments_through_power_losses(4)
    print(f"{acknowledged} acknowledged, the counter says {value}, {forgotten} forgotten")
    expect(forgotten > 0, "nothing was forgotten: the layer does not work")
    expect(value >= acknowledged > 0, f"lost: {acknowledged} acknowledged, {value} there")


def test_the_power_loss_layer_bites():
    """A program that does not sync loses what it acknowledged; that some node notices, and does not
    even start again, is seen as well, and does not count here."""
    if "TALLY_POWER_LOSS" not in os.environ:
        return
    for seed in range(20):
        try:
            acknowledged, value, _ = increments_through_power_losses(
                1, seed=100 * seed, environment={"TALLY_POWER_LOSS_LIES": "1"})
        except Failure as failure:
            print(f"without syncs: {str(failure).splitlines()[0][:100]}")
            continue
        print(f"without syncs: {acknowledged} acknowledged, the counter says {value}")
        if value < acknowledged:
            return
    raise Failure("nothing is lost without syncs: the layer does not work")


def test_short_chaos():
    done = subprocess.run(
        [sys.executable, "-B", pathlib.Path(__file__).with_name("chaos.py"), BIN, "--rounds", "1",
         "--clients", "8", "--rate", "1000"], stdout=subprocess.PIPE, text=True, check=False)
    expect(done.returncode == 0, f"chaos ended with {done.returncode}: {done.stdout}")
    summary = json.loads(done.stdout)
    print(json.dumps(summary))
    expect(all(count == 1 for count in summary["faults"].values()), f"{summary['faults']}")
    expect(len(summary["faults"]) >= 10, "the kinds that need nothing of the machine")
    expect(summary["bench"]["ok"] > 1000, f"little was done: {summary}")


def main():
    if not (BIN / "tallyd").exists():
        print(f"{BIN}/tallyd is not built")
        return 1
    wanted = sys.argv[1:]
    for name, test in list(globals().items()):
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


if __name__ == "__main__":
    sys.exit(main())
