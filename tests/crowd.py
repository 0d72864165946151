"""Very many connections of one process to one node: idle ones, increments that begin on time
whatever the answers take, and clients that ask and never read."""

import collections
import dataclasses
import os
import resource
import select
import socket
import struct
import subprocess
import time

from cluster import Failure, expect

# For 11,000 connections to one node, of which it keeps half of its files for clients of Redis.
FILES = 32_768
BATCH = 63  # increments of one connection that a node has under way at once


def allow_files(wanted=FILES):
    """For this process and all that it starts. Empty, or why there are fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return ""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return (f"a process may open {hard:,} files here and not raise that to {wanted:,} (ulimit "
                "-Hn)")
    return ""


def idle_beside(others, wanted=10_000):
    """So many connections to the port for Redis of one node are let in beside `others`: of its
    files 320 are kept for other things, and half of the rest is for clients of Redis."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(wanted, (files - 320) // 2 - others)


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def connect(port, small=False):
    """Closed later, it leaves no port occupied: a reset instead of a goodbye. `small`: its buffers
    in the kernel are."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.settimeout(20)
    if small:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    try:
        connection.connect(("127.0.0.1", port))
    except OSError as error:
        connection.close()
        raise Failure(f"no connection to port {port} ({error}); many at once need ports of "
                      "net.ipv4.ip_local_port_range and files (ulimit -n)") from error
    return connection


class Idle:
    """Connections that greet, are answered, and say nothing more."""

    def __init__(self, port, count, greeting=b"PING\r\n", answer=b"+PONG\r\n"):
        self.connections = []
        self.answer = answer
        for _ in range(count):
            connection = connect(port)
            self.connections.append(connection)
            connection.sendall(greeting)
        for number, connection in enumerate(self.connections):
            said = connection.recv(4096)
            expect(said.startswith(answer), f"connection {number} of {count} is refused: {said}")

    def __enter__(self):
        return self

    def __exit__(self, *_why):
        for connection in self.connections:
            connection.close()

    def expect_open(self):
        """Nobody was told anything, nor closed."""
        poll = select.poll()
        for connection in self.connections:
            poll.register(connection, select.POLLIN | select.POLLRDHUP)
        expect(not poll.poll(0), "idle connections were closed")


def native_words(tallyctl, node):
    """The bytes of a native client's hello to a node and of its question for the status, as
    tallyctl says them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        peers = f"{node}=127.0.0.1:{server.getsockname()[1]}"
        with subprocess.Popen([str(tallyctl), "--timeout-ms", "500", "--peers", peers, "status"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asker:
            connection, _ = server.accept()
            with connection:
                asker.wait(timeout=20)
                said = connection.recv(65_536)
    hello_bytes = 24 + struct.unpack_from("<I", said, 8)[0]  # net/README.md: the net frame
    expect(len(said) > hello_bytes, f"tallyctl status says: {said}")
    return said[:hello_bytes], said[hello_bytes:]


class SlowReaders:
    """They ask for the same again and again, and never read. What lies in between is small, so that
    a node soon has nowhere to put its answers."""

    def __init__(self, port, count, question, greeting=b""):
        self.question = question * max(1, 16_384 // len(question))
        self.taken_at = {}  # by connection: when the node last took something of it
        self.stalled = 0    # seconds: the longest that a connection lived behind that
        for _ in range(count):
            connection = connect(port, small=True)
            self.taken_at[connection] = time.monotonic()
            connection.sendall(greeting)
            connection.setblocking(False)

    def __enter__(self):
        return self

    def __exit__(self, *_why):
        for connection in self.taken_at:
            connection.close()

    def ask_more(self):
        """What the node takes. How many connections it still has."""
        for connection in list(self.taken_at):
            now = time.monotonic()
            try:
                connection.send(self.question)
                self.taken_at[connection] = now
            except BlockingIOError:
                pass
            except OSError:
                self.stalled = max(self.stalled, now - self.taken_at.pop(connection))
                connection.close()
        return len(self.taken_at)


@dataclasses.dataclass
class CutOff:
    """What came of slow readers while another client went on."""
    left: int        # not cut off
    stalled: float   # seconds: the longest that one lived which took and gave nothing more
    served: int      # increments of the other client
    longest: float   # seconds that one of those took
    peak_bytes: int  # resident memory of the node


def cut_off(readers, port, pid, limit=40):
    """Until all are."""
    end, peak, served, longest = time.monotonic() + limit, 0, 0, 0
    with connect(port) as other:
        while sum(each.ask_more() for each in readers) and time.monotonic() < end:
            peak = max(peak, resident_bytes(pid))
            began = time.monotonic()
            other.sendall(b"INCR beside\r\n")
            said = other.recv(4096)
            expect(said.startswith(b":"), f"another client is told: {said}")
            longest = max(longest, time.monotonic() - began)
            served += 1
            time.sleep(0.01)
    return CutOff(sum(len(each.taken_at) for each in readers),
                  max(each.stalled for each in readers), served, longest, peak)


class Increments:
    """Clients of Redis, each with BATCH increments of `counter` in a pipeline at a time. Latencies
    are those of a batch: from its sending to its last answer."""

    def __init__(self, port, count, counter):
        name = counter.encode()
        self.words = b"*2\r\n$4\r\nINCR\r\n$%d\r\n%s\r\n" % (len(name), name) * BATCH
        self.connections = {}
        for _ in range(count):
            connection = connect(port)
            connection.setblocking(False)
            self.connections[connection.fileno()] = connection
        self.free = collections.deque(self.connections)
        self.batches = {}   # by descriptor: when it was sent, answers to come, accepted so far
        self.rests = {}     # by descriptor: bytes of an answer that is not whole
        self.accepted = 0
        self.refused = collections.Counter()  # by the first two words of the answer
        self.latencies = []  # (seconds, accepted of the batch)
        self.poll = select.epoll()
        for descriptor in self.connections:
            self.poll.register(descriptor, select.EPOLLIN)

    def __enter__(self):
        return self

    def __exit__(self, *_why):
        self.poll.close()
        for connection in self.connections.values():
            connection.close()

    def run(self, seconds, rate=None):
        """With a rate, so many are begun per second as long as there are free connections, and it
        returns how many were due and found none."""
        began = time.monotonic()
        ends, begun, due = began + seconds, 0, 0
        while True:
            now = time.monotonic()
            if now < ends:
                due = len(self.free) + begun if rate is None else int((now - began) * rate / BATCH)
                while self.free and begun < due:
                    self.begin(self.free.popleft())
                    begun += 1
            elif not self.batches:
                return (due - begun) * BATCH
            expect(now < ends + 20, f"{len(self.batches)} connections are not answered")
            for descriptor, _ in self.poll.poll(0.001):
                self.receive(descriptor)

    def begin(self, descriptor):
        sent = self.connections[descriptor].send(self.words)
        expect(sent == len(self.words), "a batch does not fit the socket")
        self.batches[descriptor] = [time.monotonic(), BATCH, 0]

    def receive(self, descriptor):
        said = self.connections[descriptor].recv(65_536)
        expect(said and descriptor in self.batches, f"the node closed a connection, or said {said}")
        *lines, self.rests[descriptor] = (self.rests.get(descriptor, b"") + said).split(b"\r\n")
        batch = self.batches[descriptor]
        accepted = sum(line.startswith(b":") for line in lines)
        if accepted < len(lines):
            self.refused.update(" ".join(line.decode().split()[:2]) for line in lines
                                if not line.startswith(b":"))
        self.accepted += accepted
        batch[1] -= len(lines)
        batch[2] += accepted
        if batch[1] == 0:
            self.latencies.append((time.monotonic() - batch[0], batch[2]))
            del self.batches[descriptor]
            self.free.append(descriptor)

    def quantile(self, share):
        """Seconds, of accepted increments."""
        left = share * self.accepted
        for seconds, accepted in sorted(self.latencies):
            left -= accepted
            if left < 0:
                return seconds
        return max(seconds for seconds, _ in self.latencies)
