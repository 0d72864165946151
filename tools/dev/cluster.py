#!/usr/bin/env python3
"""Three real nodes on loopback, for people: ./dev cluster [VERB ...]

  up [--fresh]       start the nodes that are not running (--fresh: forget their data first)
  down               stop them all
  status             what tallyctl status says
  kill N             kill -9 node N
  stop N | start N   stop node N gently; start it again
  pause N | resume N freeze node N as if its machine hung; let it go on
  partition N... | M...
                     cut all links between the nodes on the left and those on the right
  heal               mend every link
  logs [N]           what the nodes have said

Without a verb: up. The nodes listen on 127.0.0.1:8081, 8082 and 8083, and for clients of Redis on
127.0.0.1:6381, 6382 and 6383; their data, logs and process
ids are in build/cluster. They reach each other through a small proxy, which is what partition cuts;
clients reach them directly.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
# Where tests put them elsewhere.
BIN = pathlib.Path(os.environ.get("TALLY_BIN_DIR", TOP / "build/release/bin"))
HOME = pathlib.Path(os.environ.get("TALLY_CLUSTER_DIR", TOP / "build/cluster"))
PORT = int(os.environ.get("TALLY_CLUSTER_PORT", "8080"))
# Where clients of Redis come in; those of a cluster elsewhere move along.
REDIS_PORT = PORT - 1700
NODES = (1, 2, 3)
CONTROL = ("127.0.0.1", PORT + 110)


def fail(message, code=3):
    print(f"cluster: {message}", file=sys.stderr)
    sys.exit(code)


def address(node):
    return f"127.0.0.1:{PORT + node}"


def link(source, target):
    """Where `source` reaches `target`: a port of the proxy."""
    return f"127.0.0.1:{PORT + 120 + 10 * source + target}"


def peers_of(node):
    return ",".join(f"{each}={address(each) if each == node else link(node, each)}"
                    for each in NODES)


def pid_of(name):
    """The process of that name, when it runs."""
    try:
        pid = int((HOME / f"{name}.pid").read_text())
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, ValueError):
        return None
    return pid if words[0].endswith((b"tallyd", b"tallyproxy")) and state != "Z" else None


def spawn(name, command):
    with open(HOME / f"{name}.log", "ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   start_new_session=True)
    (HOME / f"{name}.pid").write_text(str(process.pid))
    time.sleep(0.05)
    if process.poll() is not None:
        last = (HOME / f"{name}.log").read_text().strip().splitlines()[-1:]
        fail(f"{name} ended at once: {' '.join(last)}")


def start_node(node):
    if pid_of(f"node{node}") is not None:
        return False
    spawn(f"node{node}", [
        str(BIN / "tallyd"), "--id", str(node), "--data", str(HOME / f"data{node}"),
        "--group", "counter", "--peers", peers_of(node), "--bootstrap",
        "--metrics-listen", f"127.0.0.1:{PORT + 1000 + node}",
        "--redis-listen", f"127.0.0.1:{REDIS_PORT + node}"])
    return True


def start_proxy():
    if pid_of("proxy") is not None:
        return
    links = [f"{source}-{target}={link(source, target)}={address(target)}"
             for source in NODES for target in NODES if source != target]
    spawn("proxy", [str(BIN / "tallyproxy"), "--control", f"{CONTROL[0]}:{CONTROL[1]}", *links])


def proxy(command):
    """Tells the proxy; returns what it answers."""
    try:
        with socket.create_connection(CONTROL, timeout=5) as control:
            control.sendall(command.encode() + b"\n")
            answer = control.makefile().readline().strip()
    except OSError as error:
        fail(f"the proxy does not answer ({error}); is the cluster up?")
    if answer != "ok":
        fail(f"the proxy says: {answer}")


def ctl(*arguments, **options):
    peers = ",".join(f"{node}={address(node)}" for node in NODES)
    return subprocess.run([str(BIN / "tallyctl"), "--peers", peers, *arguments], check=False,
                          **options)


def node_argument(words):
    if len(words) != 1 or words[0] not in ("1", "2", "3"):
        fail("give one node: 1, 2 or 3", 2)
    return int(words[0])


def running(node):
    pid = pid_of(f"node{node}")
    if pid is None:
        fail(f"node {node} does not run", 2)
    return pid


def wait_gone(name, limit):
    until = time.monotonic() + limit
    while pid_of(name) is not None and time.monotonic() < until:
        time.sleep(0.02)
    return pid_of(name) is None


def up(words):
    if words not in ([], ["--fresh"]):
        fail("up knows only --fresh", 2)
    if words:
        down([])
        shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True, exist_ok=True)
    start_proxy()
    started = [node for node in NODES if start_node(node)]
    until = time.monotonic() + 15
    while time.monotonic() < until:
        answer = ctl("status", "--json", capture_output=True, text=True)
        if answer.returncode == 0:
            break
        time.sleep(0.1)
    else:
        fail("no leader within 15 s; see ./dev cluster logs")
    ctl("status")
    leader = json.loads(answer.stdout)["nodes"][0]["leader"]
    print(f"""
{'started nodes ' + ' '.join(map(str, started)) if started else 'all nodes were running'}. Try:
    build/release/bin/tallyctl inc hits 5
    build/release/bin/tallyctl get hits
    redis-cli -p {REDIS_PORT + 1} INCRBY hits 5      (any client of Redis, at any node)
    build/release/bin/tallyctl bench --seconds 5
    ./dev cluster kill {leader}        (the leader; then inc again)
    curl -s http://127.0.0.1:{PORT + 1001}/metrics
    ./dev cluster down""")


def down(_words):
    for node in NODES:
        pid = pid_of(f"node{node}")
        if pid is not None:
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGTERM)
    for node in NODES:
        if not wait_gone(f"node{node}", 5):
            os.kill(pid_of(f"node{node}"), signal.SIGKILL)
    pid = pid_of("proxy")
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        wait_gone("proxy", 5)


def kill(words):
    node = node_argument(words)
    os.kill(running(node), signal.SIGKILL)
    wait_gone(f"node{node}", 5)


def stop(words):
    node = node_argument(words)
    os.kill(running(node), signal.SIGTERM)
    if not wait_gone(f"node{node}", 5):
        fail(f"node {node} does not stop; see ./dev cluster logs {node}")


def start(words):
    node = node_argument(words)
    start_proxy()
    if not start_node(node):
        fail(f"node {node} runs already", 2)


def pause(words):
    os.kill(running(node_argument(words)), signal.SIGSTOP)


def resume(words):
    os.kill(running(node_argument(words)), signal.SIGCONT)


def partition(words):
    text = " ".join(words)
    sides = [side.split() for side in text.split("|")]
    if len(sides) != 2 or not all(sides) or any(
            node not in ("1", "2", "3") for side in sides for node in side):
        fail("give two sides, such as: partition 1 '|' 2 3", 2)
    for left in sides[0]:
        for right in sides[1]:
            if left == right:
                fail(f"node {left} is on both sides", 2)
            proxy(f"cut {left}-{right}")
            proxy(f"cut {right}-{left}")


def heal(_words):
    proxy("heal")


def logs(words):
    nodes = [node_argument(words)] if words else NODES
    files = [str(HOME / f"node{node}.log") for node in nodes]
    sys.exit(subprocess.run(["tail", "-n", "40", *files], check=False).returncode)


def status(_words):
    sys.exit(ctl("status").returncode)


def main():
    verbs = {"up": up, "down": down, "status": status, "kill": kill, "stop": stop, "start": start,
             "pause": pause, "resume": resume, "partition": partition, "heal": heal, "logs": logs}
    words = sys.argv[1:] or ["up"]
    if words[0] in ("-h", "--help", "help"):
        print(__doc__.strip())
        return
    if words[0] not in verbs:
        print(__doc__.strip(), file=sys.stderr)
        fail(f"no verb '{words[0]}'", 2)
    verbs[words[0]](words[1:])


if __name__ == "__main__":
    main()
