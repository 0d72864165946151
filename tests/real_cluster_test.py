#!/usr/bin/env python3
"""The real thing: tallyd, tallyctl and tallyproxy as people run them, on loopback.

A short run; `./dev chaos` is the long one (tests/chaos.py).
"""

import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from cluster import Cluster, Failure, expect, free_ports, run_tests
from isolation import SmallDisk

BIN = pathlib.Path(os.environ["TALLY_BIN_DIR"])
FAST = ("--election-timeout-ms", "300", "--heartbeat-ms", "50")


def http(port, path, method="GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
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
        expect(http(port, "/healthz", method="HEAD") == (200, ""), "HEAD")
        code, text = http(port, "/metrics")
        expect(code == 200 and 'tally_role{role="leader"} 1' in text, text)
        for stage in ("proposed", "durable", "replicated", "committed", "applied", "replied"):
            counted = f'tally_stage_seconds_count{{stage="{stage}"}} '
            expect(counted in text and counted + "0\n" not in text, f"{stage}: {text}")
        seen = next(node for node in cluster.status() if node["id"] == leader)["peers"]
        expect([peer["replication"] for peer in seen] == ["pipeline"] * 2, seen)
        expect(all(peer["match_index"] > 1 and peer["silent_ms"] < 5000 for peer in seen), seen)
        expect(text.count("tally_peer_match_index{") == 2, text)
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
        expect("pipeline" not in table, "who does not lead any more feeds nobody")


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
            say("snapshot_interval_ms: 100", "info node=1 reloaded: snapshot_interval_ms\n")
            until = time.monotonic() + 10
            cluster.ctl("inc", "hits")
            while "snapshot up to" not in cluster.log(1):
                expect(time.monotonic() < until, "no snapshot by the new interval")
                time.sleep(0.02)
            say("snapshot_interval_ms: 100 segment_bytes: 100000 group: 'other'",
                "wait for a restart: group, segment_bytes\n")
            say("snapshot_interval_ms: 0", "not reloaded, all stays as it is")
            say("snapshot_interval_ms: x", f"{config.name}:1:23")
            expect(cluster.ctl("inc", "hits").stdout == "3\n", "it goes on")


def open_sessions(cluster, node, count):
    """Sessions that nobody gives back. Returns a connection of a client of Redis."""
    connection = socket.create_connection(("127.0.0.1", cluster.redis_ports[node]), 10)
    connection.settimeout(10)
    for _ in range(count):
        connection.sendall(b"TALLY.OPEN\r\n")
        said = connection.recv(100)
        expect(said.startswith(b":"), f"no session: {said}")
    return connection


def test_a_full_session_table_is_no_secret():
    with tempfile.NamedTemporaryFile("w", suffix=".txtpb") as config:
        config.write("sessions_max: 5")
        config.flush()
        with Cluster(BIN, flags=(*FAST, "--config", config.name), redis=True) as cluster:
            leader = cluster.wait_leader()

            def sessions():
                return next(node["sessions"] for node in cluster.status() if node["id"] == leader)

            def wait_for(count):
                until = time.monotonic() + 10
                while sessions() != count:
                    expect(time.monotonic() < until, f"{sessions()} sessions, not {count}")
                    time.sleep(0.05)

            for _ in range(12):  # more than there may be
                cluster.ctl("inc", "hits")
            cluster.ctl("bench", "--clients", "4", "--operations", "100")
            wait_for(0)

            with open_sessions(cluster, leader, 5) as fd:
                table = cluster.ctl("status").stdout
                expect(f"node {leader}: leads with 5 of 5 sessions" in table, table)
                refused = cluster.ctl("--timeout-ms", "500", "inc", "hits", code=3).stderr
                expect("sessions_full" in refused, refused)
                expect("session refused: the table is full" in cluster.log(leader), "the log")
                fd.sendall(b"INCR hits\r\n")
                said = fd.recv(1000)
                expect(said.startswith(b"-TRYAGAIN NOT_APPLIED there are as many sess"), said)


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


def test_a_full_disk_frees_what_it_can():
    why_not = SmallDisk.possible()
    if why_not:
        print(f"NOT RUN test_a_full_disk_frees_what_it_can: {why_not}")
        return
    with tempfile.NamedTemporaryFile("w", suffix=".txtpb") as config:
        config.write("segment_bytes: 1048576")  # and kept_log_bytes, far more than is here
        config.flush()
        flags = (*FAST, "--config", config.name)
        with Cluster(BIN, nodes=1, flags=flags, small_disks=True) as cluster:
            cluster.wait_leader()
            # Several segments of log, which no snapshot covers: more than the file system keeps
            # back for root, who fills it.
            cluster.ctl("bench", "--clients", "8", "--pipeline", "32", "--operations", "140000")
            # The next segment is there: of one begun, a full disk gets back what a snapshot needs,
            # and is full no longer.
            while list(cluster.data(1).glob("wal-*.new")):
                cluster.ctl("bench", "--clients", "1", "--operations", "500")
            filler = cluster.disks[1].fill()
            until = time.monotonic() + 60
            while not (status := cluster.status()[0])["disk_full"]:
                expect(time.monotonic() < until, "the disk is never full")
                cluster.ctl("bench", "--clients", "8", "--pipeline", "32", "--operations", "5000",
                            "--no-retry", code=None)
            expect(status["disk_needed_bytes"] == 1 << 20, f"{status}")
            words = f"until {1 << 20} bytes are free"
            expect(words in cluster.ctl("status", code=None).stdout, "status says how many")
            expect(words in cluster.log(1), "and so does the log")
            cluster.wait_leader()  # a full leader steps down, and here there is no other
            code, text = http(cluster.metrics_ports[1], "/readyz")
            expect(code == 503 and words in text, f"{code} {text}")
            refused = cluster.ctl("--timeout-ms", "1000", "inc", "hits", code=3).stderr
            expect("disk_full" in refused, refused)
            # Room for a snapshot, not for a segment.
            os.truncate(filler, filler.stat().st_size - (300 << 10))
            until = time.monotonic() + 30
            while "the disk has room again" not in cluster.log(1):
                expect(time.monotonic() < until, f"full for good: {cluster.status()}")
                time.sleep(0.1)
            expect(cluster.ctl("inc", "hits").stdout == "1\n", "it goes on")
            expect(http(cluster.metrics_ports[1], "/readyz")[0] == 200, "ready again")
            cluster.kill(1)
            cluster.start(1)
            expect(cluster.ctl("get", "hits").stdout == "1\n", "nothing was lost")


def test_a_snapshot_does_not_wait_for_heartbeats():
    """Hundreds of pieces: each follows the one before at once, on an idle cluster, too."""
    with Cluster(BIN) as cluster:
        cluster.wait_leader()
        cluster.ctl("bench", "--clients", "8", "--pipeline", "32", "--names", "400000",
                    "--operations", "400000")
        began = time.monotonic()
        cluster.ctl("snapshot")
        took = time.monotonic() - began
        sizes = [path.stat().st_size for node in cluster.ids
                 for path in cluster.data(node).glob("snapshot-*")]
        expect(len(sizes) == 3 and min(sizes) > 4 << 20, f"snapshots of {sizes} bytes")
        expect(took < 3, f"it took {took:.1f} s")


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


def test_stops_while_it_asks_its_peers():
    """A first start waits for peers that could know the node; here they say nothing."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        peers = [f"{node}=127.0.0.1:{port}" for node, port in enumerate(
            [*free_ports(1), *(each.getsockname()[1] for each in silent)], start=1)]
        node = subprocess.Popen([str(BIN / "tallyd"), "--id", "1", "--data", f"{home}/data",
                                 "--peers", ",".join(peers), "--bootstrap"],
                                stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)
        node.terminate()
        said = node.communicate(timeout=10)[1]
        expect(node.returncode == 0, f"exit {node.returncode}: {said}")


def test_refuses_to_start():
    port, other = free_ports(2)
    good = ["--id", "1", "--data", "DATA", "--peers", f"1=127.0.0.1:{port}"]
    refused_start(good, ["is empty", "--bootstrap"])
    refused_start(good[:4], ["--peers"], code=2)
    refused_start(["--id", "2", *good[2:]], ["node 2"], code=2)
    refused_start(good[:5] + ["1=nonsense"], ["HOST:PORT"], code=2)
    refused_start(good + ["--heartbeat-ms", "5000"], ["heartbeat"], code=2)
    for peer, words in ((f"9223372036854775808=127.0.0.1:{other}", "a node's number is from 1"),
                        (f"4294967296=127.0.0.1:{other}", "a node's number is from 1"),
                        (f"2=127.0.0.1:{port}", "nodes 1 and 2"), ("2=127.0.0.1:0", "port 0")):
        refused_start(good[:5] + [f"{good[5]},{peer}"], [words], code=2)
    for name in ("", "x" * 256, b"\xff"):
        for flag in ("--cluster", "--group"):
            refused_start(good + [flag, name], [flag, "UTF-8" if name == b"\xff" else "bytes"],
                          code=2)
    refused_start(good + ["--redis-listen", "0"], ["--redis-listen", "port"], code=2)
    for text, words in (("snapshot_interval_ms: 18446744073709551615", "snapshot_interval_ms"),
                        ("segment_bytes: 18446744073709551615", "segment_bytes"),
                        ("request_timeout_ms: 0", "request_timeout_ms")):
        with tempfile.NamedTemporaryFile("w", suffix=".config") as config:
            config.write(text)
            config.flush()
            refused_start(good + ["--config", config.name], [words, "is not from"], code=2)
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
    refused_start(good, ["NODE: format 2", "reads 3"], setup=node_file(mine))
    refused_start(good, ["NODE: damaged", "Bring back this very file"],
                  setup=node_file(mine.replace("version: 2", "version: 3")))
    refused_start(good, ["NODE: damaged"], setup=node_file("version: \x00"))

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


def test_the_file_node_and_the_log_are_of_one_directory():
    with Cluster(BIN, flags=FAST) as cluster:
        leader = cluster.wait_leader()
        cluster.ctl("inc", "hits")
        cluster.wait_equal()
        node = next(each for each in cluster.ids if each != leader)
        cluster.kill(node)
        data = cluster.data(node)
        whole = cluster.home / "whole"
        shutil.copytree(data, whole)

        def refused(*texts, flags=()):
            begin = len(cluster.log(node))
            cluster.start(node, *flags)
            process = cluster.processes.pop(node)
            code = process.wait(timeout=20)
            log = cluster.log(node)[begin:]
            expect(code == 3, f"it must not take part: {log}")
            for text in texts:
                expect(text in log, log)
            shutil.rmtree(data)
            shutil.copytree(whole, data)

        text = (data / "NODE").read_text()
        peer = re.search(r"peers {\n  id: \d+\n  directory_id: \d*(\d)", text)
        flipped = text[:peer.start(1)] + str((int(peer[1]) + 1) % 10) + text[peer.end(1):]
        (data / "NODE").write_text(flipped)
        refused("NODE: damaged, its checksum does not fit", "Bring back this very file")
        # Were it believed, the node would start as if it had no past.
        (data / "NODE").write_text(text.replace("log_began: true\n", ""))
        for file in data.glob("wal-*"):
            file.unlink()
        refused("NODE: damaged, its checksum does not fit")
        for file in data.glob("wal-*"):
            file.unlink()
        refused("the log that was here is gone", "an older copy lacks")
        # The log of another life of the same node.
        with Cluster(BIN, flags=FAST) as another:
            another.wait_leader()
            another.ctl("inc", "hits")
            another.wait_equal()
            another.kill(node)
            shutil.copy(another.data(node) / "NODE", data / "NODE")
        ids = [re.search(r"directory_id: (\d+)", file.read_text())[1]
               for file in (whole / "NODE", data / "NODE")]
        refused("wal-0000000000000001", "files of two directories were mixed",
                *(f"{int(each):016x}" for each in ids))
        refused(f"belongs to node {node} of cluster 'tally'", flags=("--cluster", "other"))
        cluster.start(node)
        cluster.wait_equal()


def test_a_damaged_node_says_so_and_is_repaired():
    with Cluster(BIN, flags=FAST) as cluster:
        cluster.wait_leader()
        for _ in range(5):
            cluster.ctl("inc", "hits")
        cluster.wait_equal()
        for node in cluster.ids:
            cluster.kill(node)
        log = cluster.data(1) / "wal-0000000000000001"
        with open(log, "r+b") as file:
            file.seek(800)
            byte = file.read(1)[0]
            file.seek(800)
            file.write(bytes([byte ^ 4]))
        dumped = cluster.ctl("log", "dump", str(log), code=1)
        expect("!!" in dumped.stdout, dumped.stdout)

        def status():
            return next(each for each in cluster.status() if each["id"] == 1)

        def wait_for(what):
            until = time.monotonic() + 20
            while not what(status()):
                expect(time.monotonic() < until, f"{status()}\n{cluster.log(1)}")
                time.sleep(0.05)

        cluster.start(1)
        wait_for(lambda node: node.get("repairing"))
        said = status()
        expect(said["repair_index"] == 0, "no leader has said an index")
        expect(said["damage"].startswith("wal-0000000000000001 offset "), said["damage"])
        expect("at index " in said["damage"], said["damage"])
        table = cluster.ctl("status", code=3).stdout  # the others are not up
        expect("node 1: damaged, neither votes nor acknowledges: waits for" in table, table)
        _, metrics = http(cluster.metrics_ports[1], "/metrics")
        expect("\ntally_repairing 1\n" in metrics and "\ntally_disk_full 0\n" in metrics, metrics)
        for node in cluster.ids[1:]:
            cluster.start(node)
        wait_for(lambda node: not node.get("repairing") and node["role"] == "follower")
        cluster.wait_equal()
        said = status()
        expect(said["damage"] is None and said["repair_index"] == 0, said)
        expect("\ntally_repairing 0\n" in http(cluster.metrics_ports[1], "/metrics")[1], "whole")
        expect("damaged" not in cluster.ctl("status").stdout, "whole")


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
        # By its peers, or by its own file NODE, if it was kept because they may know it.
        expect("cluster 'other'" in cluster.log(wiped) or "belongs to node" in cluster.log(wiped),
               cluster.log(wiped))
        # And the directory of a running node is its alone.
        done = subprocess.run(cluster.command(leader), capture_output=True, text=True, timeout=20,
                              check=False)
        expect(done.returncode == 3 and "in use" in done.stderr, done.stderr)
        # A client of another cluster is told so.
        done = cluster.ctl("--cluster", "other", "get", "hits", code=2)
        expect("cluster 'other'" in done.stderr, done.stderr)


def test_a_stray_node_stops_nobody():
    with Cluster(BIN, flags=FAST) as old, Cluster(BIN, flags=FAST) as cluster:
        old.wait_leader()
        for node in old.ids:
            old.stop(node)
        cluster.wait_leader()
        cluster.kill(3)
        dead = free_ports(2)
        peers = f"1=127.0.0.1:{dead[0]},2=127.0.0.1:{dead[1]},3={cluster.address(3)}"
        new_for = {str(cluster.data(3)): str(old.data(3)), cluster.peers(3): peers}
        stray = subprocess.Popen([new_for.get(word, word) for word in cluster.command(3)],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for node in (1, 2):
                until = time.monotonic() + 20
                while "another data directory" not in cluster.log(node):
                    expect(time.monotonic() < until, f"it refuses nobody: {cluster.log(node)}")
                    time.sleep(0.05)
            expect(cluster.ctl("inc", "hits").stdout == "1\n", "the others go on")
        finally:
            stray.kill()
            stray.wait()
        cluster.start(3)
        cluster.wait_equal()
        cluster.assert_running()


def test_wrong_flags_at_the_first_start_are_forgiven():
    with Cluster(BIN, flags=FAST) as cluster:
        cluster.wait_leader()
        cluster.kill(3)
        shutil.rmtree(cluster.data(3))
        for node in (1, 2):  # as if none of them had ever met it
            cluster.kill(node)
            shutil.rmtree(cluster.data(node))
            cluster.start(node)
        cluster.wait_leader()
        # It reaches nobody, but is reached, and ends for another reason.
        with socket.socket() as silent, socket.socket() as mute, socket.socket() as busy:
            for each in (silent, mute, busy):
                each.bind(("127.0.0.1", 0))
                each.listen()
            port = [each.getsockname()[1] for each in (silent, mute, busy)]
            peers = f"1=127.0.0.1:{port[0]},2=127.0.0.1:{port[1]},3={cluster.address(3)}"
            wrong = [peers if word == cluster.peers(3) else word for word in cluster.command(3)]
            done = subprocess.run([*wrong, "--redis-listen", f"127.0.0.1:{port[2]}"],
                                  capture_output=True, text=True, timeout=20, check=False)
            expect(done.returncode == 3 and "in use" in done.stderr, f"{done}")
        cluster.start(3)
        cluster.ctl("inc", "hits")
        cluster.wait_equal()


def test_a_burst_of_clients_gets_in():
    with Cluster(BIN) as cluster:
        leader = cluster.wait_leader()
        term = cluster.status()[leader - 1]["term"]
        began = time.monotonic()
        said = json.loads(cluster.ctl("--json", "--timeout-ms", "60000", "bench", "--clients",
                                      "2000", "--operations", "4000").stdout)
        print(f"   2000 clients in {time.monotonic() - began:.1f} s: {said}")
        expect(said["ok"] == 4000, f"{said}")
        expect(time.monotonic() - began < 20, "they wait for each other")
        # And many requests at once keep no heartbeat waiting.
        cluster.ctl("bench", "--clients", "400", "--pipeline", "64", "--get-percent", "100",
                    "--seconds", "3")
        node = cluster.status()[leader - 1]
        expect(node["role"] == "leader" and node["term"] == term, f"{cluster.status()}")


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


def test_a_hung_disk_holds_up_nobody():
    """Syncs are made on the loop's thread; when one does not end, the node goes on without it: it
    hands over, answers, and passes on what its clients ask."""
    if "TALLY_POWER_LOSS" not in os.environ:
        return
    with Cluster(BIN, forgetful=os.environ["TALLY_POWER_LOSS"], redis=True) as cluster:
        leader = cluster.wait_leader()
        cluster.ctl("inc", "hits", "20")
        client = socket.create_connection(("127.0.0.1", cluster.redis_ports[leader]), timeout=10)
        cluster.hang_disk(leader)
        begun = time.monotonic()
        client.sendall(b"INCR other\r\n")  # its sync does not end
        successor = None
        while successor in (None, leader):
            expect(time.monotonic() - begun < 8, "nobody takes over from a leader with a hung disk")
            asked = time.monotonic()
            roles = {each["id"]: each["role"] for each in cluster.status()}
            expect(roles[leader] != "unreachable", "a node whose disk hangs does not answer")
            expect(time.monotonic() - asked < 2, "a node whose disk hangs answers late")
            successor = next((node for node, role in roles.items() if role == "leader"), None)
        taken_over = time.monotonic() - begun
        answer = client.recv(1000)
        expect(answer[:1] in b":-", f"the client of the hung node hears {answer}")
        expect(cluster.ctl("inc", "hits").stdout == "21\n", "what was acknowledged")
        # Through the hung node, which needs its own disk for nothing of this.
        begun = time.monotonic()
        client.sendall(b"INCR hits\r\n")
        expect(client.recv(1000) == b":22\r\n", "the hung node does not pass on")
        passed_on = time.monotonic() - begun
        expect(passed_on < 3, f"the hung node answers after {passed_on:.1f} s")
        print(f"taken over after {taken_over:.1f} s, passed on in {passed_on * 1000:.0f} ms")
        cluster.free_disk(leader)
        cluster.wait_equal()
        expect(cluster.ctl("inc", "hits").stdout == "23\n", "all that was acknowledged")


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


class LastWords:
    """In front of one node: passes everything on until the node has sent `frames` of core's frames,
    withholds the next one, and from then on nobody listens there any more."""

    def __init__(self, node_port, frames):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.node_port = node_port
        self.frames = frames
        self.over = threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        client, _ = self.listener.accept()
        node = socket.create_connection(("127.0.0.1", self.node_port))
        threading.Thread(target=self.pass_on, args=(client, node), daemon=True).start()
        seen = b""
        for data in iter(lambda: node.recv(65536), b""):
            seen += data
            if seen.count(b"TLLY") > self.frames:
                break
            client.sendall(data)
        self.listener.close()
        # Reset, as by a crash, which the other thread's recv() does not hold up.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.shutdown(socket.SHUT_RDWR)
        client.close()
        self.over.set()

    @staticmethod
    def pass_on(source, target):
        try:
            for data in iter(lambda: source.recv(65536), b""):
                target.sendall(data)
        except OSError:
            pass


def test_one_foreign_address_does_not_decide():
    with Cluster(BIN, nodes=1, flags=FAST) as good, \
         Cluster(BIN, nodes=1, flags=(*FAST, "--cluster", "other\x1b[2Jcluster")) as foreign:
        good.wait_leader()
        both = f"1={good.address(1)},2={foreign.address(1)}"
        for value in range(1, 13):  # half of them begin at the foreign one
            expect(good.ctl("inc", "hits", peers=both).stdout == f"{value}\n", "a plain increment")

        # Its answer is lost, and the only other address is of another cluster: nobody knows.
        wall = LastWords(good.ports[1], frames=1)
        peers = f"1=127.0.0.1:{wall.port},2={foreign.address(1)}"
        began = time.monotonic()
        done = good.ctl("--timeout-ms", "1500", "--json", "inc", "hits", peers=peers, code=4)
        took = time.monotonic() - began
        expect(wall.over.wait(5), "the connection was not broken")
        expect(good.ctl("get", "hits").stdout == "13\n", "it was applied")
        expect(took < 2, f"{took:.1f} s, and 1.5 s were allowed")
        said = json.loads(done.stdout)
        expect(said["outcome"] == "unknown" and said["value"] is None, f"{said}")

        # All of them refuse: a mistake of the caller's, seen at once. What other machines say does
        # nothing to a terminal.
        began = time.monotonic()
        for arguments in (("inc", "hits"), ("get", "hits"), ("status",), ("members",),
                          ("snapshot",), ("transfer",), ("--json", "transfer"), ("bench",)):
            done = good.ctl(*arguments, peers=f"1={foreign.address(1)}", code=2)
            said = done.stdout + done.stderr
            expect("\\x1b[2J" in said and "\x1b" not in said, repr(said))
        expect(time.monotonic() - began < 5, "seen at once")

        # One refuses, the other is gone: certainly nothing was sent.
        good.kill(1)
        done = good.ctl("--timeout-ms", "500", "inc", "hits", peers=both, code=3)
        good.ctl("--timeout-ms", "500", "status", peers=both, code=3)
        expect("refused" in done.stderr and "safe to try again" in done.stderr, done.stderr)


def test_numbers_are_decimal_and_fit():
    with Cluster(BIN, nodes=1, flags=FAST) as cluster:
        cluster.wait_leader()
        for wrong in ("99999999999999999999", "9223372036854775808", "010", "0x10", "1.5", "1e3",
                      "+1", "", "5x", "00"):
            done = cluster.ctl("inc", "fresh", wrong, code=2)
            expect("delta" in done.stderr, done.stderr)
            cluster.ctl("inc", "fresh", "--min", wrong, code=2)
            cluster.ctl("inc", "fresh", "--max", wrong, code=2)
            for flag in ("--delta", "--clients", "--rate", "--operations", "--seconds", "--names"):
                cluster.ctl("bench", "--prefix", "fresh", flag, wrong, code=2)
        cluster.ctl("bench", "--delta=-9223372036854775808", code=2)
        cluster.ctl("--timeout-ms", "0x10", "get", "fresh", code=2)
        for wrong in ("0", "01", "-1", "99999999999999999999"):
            done = cluster.ctl("transfer", "--", wrong, code=2)
            expect("node" in done.stderr and len(done.stderr) < 200, done.stderr)
        expect(cluster.status()[0]["counters"] == 0, "nothing was sent")
        low, high = "-9223372036854775808", "9223372036854775807"
        expect(cluster.ctl("inc", "high", high).stdout == high + "\n", "the largest")
        expect(cluster.ctl("inc", "low", "--", low).stdout == low + "\n", "the smallest")
        expect(cluster.ctl("inc", "zero", "0", "--min", "0", "--max", "0").stdout == "0\n", "zero")

        same = "127.0.0.1:9"
        for peers, words in ((f"1={same},1=127.0.0.1:10", "node 1 is there twice"),
                             (f"1={same},2={same}", "nodes 1 and 2"), ("1=127.0.0.1:0", "port 0")):
            done = cluster.ctl("get", "hits", peers=peers, code=2)
            expect(words in done.stderr, done.stderr)


def test_trouble_is_named():
    with tempfile.TemporaryDirectory() as home:
        config = pathlib.Path(home) / "config.txtpb"
        config.write_text("sessions_max: 1")
        trouble_is_named(config)


def trouble_is_named(config):
    with Cluster(BIN, nodes=1, flags=(*FAST, "--config", str(config)), redis=True) as cluster:
        cluster.wait_leader()
        cluster.ctl("inc", "hits")
        open_sessions(cluster, 1, 1).close()
        done = cluster.ctl("--json", "--timeout-ms", "500", "inc", "hits", code=3)
        said = json.loads(done.stdout)
        expect(said["outcome"] == "not_applied" and said["reason"] == "sessions_full", f"{said}")
        expect(said["node"] == 1 and said["value"] is None, f"{said}")
        expect("sessions_full" in done.stderr and "timed_out" not in done.stderr, done.stderr)
        expect(json.loads(cluster.ctl("--json", "get", "hits").stdout)["value"] == 1, "get --json")

        # Another program's port; and a node that hangs.
        http_peer = f"1=127.0.0.1:{cluster.metrics_ports[1]}"
        done = cluster.ctl("--timeout-ms", "500", "inc", "hits", peers=http_peer, code=3)
        expect("not greeted as by a Tally node" in done.stderr, done.stderr)
        done = cluster.ctl("--timeout-ms", "500", "status", peers=http_peer, code=3)
        expect("not greeted as by a Tally node" in done.stdout, done.stdout)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def shout():
                while True:
                    try:
                        connection = listener.accept()[0]
                    except OSError:
                        return
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
            threading.Thread(target=shout, daemon=True).start()
            done = cluster.ctl("--timeout-ms", "500", "inc", "hits", code=3,
                               peers=f"1=127.0.0.1:{listener.getsockname()[1]}")
            expect("is the other end a Tally program?" in done.stderr, done.stderr)
        cluster.kill(1)
        done = cluster.ctl("--timeout-ms", "300", "get", "hits", code=3)
        expect(done.stderr.startswith("tallyctl: no answer") and "try again" not in done.stderr and
               "refused" in done.stderr, done.stderr)
        done = cluster.ctl("--timeout-ms", "300", "inc", "hits", code=3)
        expect("not applied" in done.stderr and "safe to try again" in done.stderr, done.stderr)


def test_timeouts_hold_with_most_nodes_paused():
    with Cluster(BIN, flags=FAST) as cluster:
        leader = cluster.wait_leader()
        cluster.ctl("inc", "hits")
        # One that hangs holds nobody up who gives each node its share.
        cluster.pause(next(node for node in cluster.ids if node != leader))
        for _ in range(4):
            cluster.ctl("--timeout-ms", "900", "inc", "hits")
        for node in cluster.ids:
            if node != leader:
                cluster.pause(node)

        def took(*arguments):
            began = time.monotonic()
            done = cluster.ctl(*arguments, code=None)
            return time.monotonic() - began, done

        seconds, done = took("--timeout-ms", "1500", "inc", "hits")
        expect(1.4 < seconds < 1.9, f"{seconds:.2f} s for an increment of 1.5 s")
        expect(done.returncode in (3, 4) and "node" in done.stderr, done.stderr)
        seconds, done = took("--timeout-ms", "1000", "bench", "--seconds", "1", "--clients", "2")
        # A load of one second whose last operation may take another.
        expect(seconds < 2.5, f"{seconds:.2f} s for a bench of 1 s")
        expect(done.returncode in (3, 4), f"{done}")
        expect("nothing succeeded; node" in done.stderr, done.stderr)
        for verb in ("status", "snapshot", "transfer"):
            seconds, done = took("--timeout-ms", "600", verb)
            expect(seconds < 1.1, f"{seconds:.2f} s for {verb} within 0.6 s: {done}")


def test_bench_tells_what_it_did_not_do():
    with Cluster(BIN, flags=FAST) as cluster:
        cluster.wait_leader()
        wanted = ("bench", "--seconds", "2", "--clients", "1", "--rate")
        said = json.loads(cluster.ctl("--json", *wanted, "1000000").stdout)
        begun = said["ok"] + said["unknown"] + said["rejected"] + said["not_applied"]
        expect(said["not_begun"] + begun == 2_000_000, f"{said}")
        expect(said["wanted_per_second"] == 1_000_000 and said["percentiles_are_lower_bound"],
               f"{said}")
        expect(abs(said["begun_per_second"] * 2 - begun) < 0.1 * begun, f"{said}")
        said = cluster.ctl(*wanted, "1000000").stdout
        expect("wanted 1000000 per second" in said and "lower bound" in said, said)
        said = json.loads(cluster.ctl("--json", *wanted, "20", "--pipeline", "8").stdout)
        expect(said["not_begun"] == 0 and not said["percentiles_are_lower_bound"], f"{said}")
        expect(said["ok"] == 40, f"{said}")

        began = time.monotonic()
        done = cluster.ctl("bench", "--seconds", "20", "--history", "/dev/full", code=2)
        expect("/dev/full" in done.stderr, done.stderr)
        expect(time.monotonic() - began < 5, "it goes on without a history")


def test_admin_verbs_say_how_it_ended():
    with Cluster(BIN, flags=("--election-timeout-ms", "2000", "--heartbeat-ms", "50")) as cluster:
        cluster.wait_leader()
        cluster.ctl("inc", "hits")
        cluster.wait_equal()
        each = [json.loads(line) for line in
                cluster.ctl("--json", "snapshot").stdout.splitlines()]
        expect([said["node"] for said in each] == cluster.ids, f"{each}")
        for said, node in zip(each, cluster.status()):
            expect(said["outcome"] == "ok", f"{said}")
            expect(said["value"] == node["snapshot_index"] > 0, f"{said} {node}")
        text = cluster.ctl("snapshot").stdout
        expect(text.count("nothing new to snapshot") == 3, text)
        cluster.ctl("inc", "hits")
        cluster.wait_equal()
        text = cluster.ctl("snapshot").stdout
        expect(text.count("snapshot up to") == 3, text)

        leader = cluster.leader()
        said = json.loads(cluster.ctl("--json", "members").stdout)["members"]
        expect([(each["id"], each["address"]) for each in said]
               == [(node, cluster.address(node)) for node in cluster.ids], f"{said}")
        expect([each["id"] for each in said if each["leads"]] == [leader], f"{said}")
        text = cluster.ctl("members").stdout
        expect(text.count("voter") == 3 and text.count("leads") == 1, text)

        # An answer that cannot be told is not done.
        with open("/dev/full", "w", encoding="ascii") as full:
            command = [str(BIN / "tallyctl"), "--peers", cluster.peers(), "get", "hits"]
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True,
                                  check=False)
        expect(done.returncode == 4 and "could not be written" in done.stderr, f"{done}")
        cluster.ctl("log", "dump", "/", code=2)

        to = next(node for node in cluster.ids if node != leader)
        said = json.loads(cluster.ctl("--json", "transfer", str(to)).stdout)
        expect(said["outcome"] == "ok" and said["node"] == to and said["term"] > 1, f"{said}")
        said = json.loads(cluster.ctl("--json", "transfer", "9", code=3).stdout)
        expect(said["outcome"] == "not_applied" and "not a member" in said["reason"], f"{said}")
        said = json.loads(cluster.ctl("--json", "inc", "hits", "--max", "1", code=5).stdout)
        expect(said["outcome"] == "rejected" and said["reason"] == "bounds", f"{said}")
        said = json.loads(cluster.ctl("--json", "inc", "hits").stdout)
        expect(said["outcome"] == "ok" and said["value"] == 3 and said["node"] in cluster.ids,
               f"{said}")

        gone = next(node for node in cluster.ids if node not in (leader, to))
        cluster.kill(gone)
        lines = cluster.ctl("status").stdout.splitlines()
        expect(lines[0].split()[:9] == ["node", "address", "role", "term", "leader", "durable",
                                        "committed", "applied", "lag"], lines[0])
        expect(len({len(line) for line in lines[:4]}) == 1, "\n".join(lines))
        expect(lines[4].startswith(f"node {gone}: ") and "refused" in lines[4], f"{lines}")
        cluster.ctl("snapshot", code=3)
        until = time.monotonic() + 10
        while "silent" not in cluster.ctl("status").stdout:
            expect(time.monotonic() < until, "a leader does not miss a dead follower")
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(run_tests(BIN, globals()))
