"""What chaos asks of the machine where it may: a network of its own for each node, and small disks.

Both want root. `own_network()` begins a private network (and mounts) for this whole process; Wires
then gives each node a namespace on a bridge, so that packets can be lost without anybody being
told, which no proxy can do. SmallDisk is a file system in a file, small enough to be filled.
"""

import os
import pathlib
import shutil
import subprocess
import sys

INSIDE = "TALLY_OWN_NETWORK"


def works(*command):
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except OSError:
        return False


def run(*command):
    subprocess.run(command, capture_output=True, timeout=60, check=True)


def own_network():
    """Starts this program again, in a network and with mounts of its own. Returns why not."""
    if INSIDE in os.environ:
        return ""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            return f"needs {program}"
    if not works("unshare", "--net", "--mount", "sh", "-c",
                 "ip link set lo up && ip link add b0 type bridge && "
                 "ip link add v0 type veth peer name v1"):
        return "the system gives no network namespaces, bridges or virtual links"
    os.environ[INSIDE] = "1"
    sys.stdout.flush()
    os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, "-B", *sys.argv])


class Wires:
    """Node N is 10.77.0.N, this process 10.77.0.254. REQUIRES: a private network."""

    HOST = "10.77.0.254"

    def __init__(self, ids):
        self.holders = {}
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "tally", "type", "bridge")
        run("ip", "addr", "add", f"{self.HOST}/24", "dev", "tally")
        run("ip", "link", "set", "tally", "up")
        for node in ids:
            # A process that holds the namespace, whether the node runs or not. It reads until its
            # namespace is there and answers once, so that nothing is moved into the old one.
            holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
                                      stdout=subprocess.PIPE)
            holder.stdout.readline()
            self.holders[node] = holder
            run("ip", "link", "add", f"n{node}", "type", "veth", "peer", "name", f"p{node}")
            run("ip", "link", "set", f"n{node}", "master", "tally", "up")
            run("ip", "link", "set", f"p{node}", "netns", str(holder.pid), "name", "eth0")
            self.inside(node, "ip", "link", "set", "lo", "up")
            self.inside(node, "ip", "addr", "add", f"{self.host(node)}/24", "dev", "eth0")
            self.inside(node, "ip", "link", "set", "eth0", "up")

    def close(self):
        for holder in self.holders.values():
            holder.kill()
            holder.wait()
            holder.stdout.close()
        run("ip", "link", "del", "tally")

    def host(self, node):
        return f"10.77.0.{node}"

    def entry(self, node):
        """What a command begins with to run in the node's network, in the same process."""
        return ["nsenter", f"--net=/proc/{self.holders[node].pid}/ns/net", "--"]

    def inside(self, node, *command):
        run(*self.entry(node), *command)

    def unplug(self, node):
        """No packet reaches the node or leaves it."""
        run("ip", "link", "set", f"n{node}", "down")

    def plug(self, node):
        run("ip", "link", "set", f"n{node}", "up")

    def mute(self, node):
        """The node hears, and is not heard: its packets go to hardware addresses of nobody."""
        for other in [*(self.host(each) for each in self.holders if each != node), self.HOST]:
            self.inside(node, "ip", "neigh", "replace", other, "lladdr", "02:00:00:00:00:99",
                        "dev", "eth0", "nud", "permanent")

    def unmute(self, node):
        self.inside(node, "ip", "neigh", "flush", "all", "nud", "permanent")


class SmallDisk:
    """A file system of its own for one node's data."""

    BYTES = 48 << 20

    @staticmethod
    def possible():
        """Empty, or why not."""
        if os.geteuid() != 0:
            return "needs root"
        return "" if shutil.which("mkfs.ext4") else "needs mkfs.ext4"

    def __init__(self, home, node):
        self.path = pathlib.Path(home) / f"disk{node}"
        self.path.mkdir()
        image = pathlib.Path(home) / f"disk{node}.img"
        with open(image, "wb") as file:
            file.truncate(self.BYTES)
        run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", str(image))
        run("mount", "-o", "loop", str(image), str(self.path))

    def close(self):
        run("umount", "-l", str(self.path))

    def fill(self):
        """Nothing more fits. Returns what must go so that something does."""
        filler = self.path / "filler"
        with open(filler, "wb", buffering=0) as file:
            size = 1 << 20
            while size >= 512:
                try:
                    file.write(b"x" * size)
                except OSError:
                    size //= 2
        return filler
