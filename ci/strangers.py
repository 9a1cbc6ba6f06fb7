"""Clients of other makes through many swaps of the server's binary: none may see anything of them.

First the server is swapped by `handoff-live` while all of them run at once, at least a hundred times: no error, and
over HTTP/1.1 no new connection. Then each runs alone while the server is swapped by `stop-start`, which loses: one that
sees no error there would not have seen one before either.

What a client calls an error, it prints itself. Its connections are counted from outside: every inode of a TCP socket to
the server that the kernel shows under its process at some swap. HTTP/2 connections do not move, they are drained by
GOAWAY, and h2load opens no other one for a connection that left in order: it gives up, and calls all that it had still
to send failed. So over HTTP/2 it is told how far it got, and not judged; `harness scenario streams` has clients that go on.
(curl 7.88 cannot use a connection of HTTP/2 with prior knowledge twice, whatever the server.)

Usage: strangers.py SECKILL_BINARY GO_CLIENT EMPTY_FOLDER
"""

import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

from clients import Client
from swapped import started, wait_for

SWAPS = 100
# The clients run for as long as so many should take, and half as long again; the swaps go on until they are done.
RUN_S_MIN, RUN_S_MAX = 60, 300
# Swaps before the clients start, to know how long one takes here.
TRIED = 3
# What loses loses often enough in so many swaps.
LOSING_SWAPS = 6
LOSING_RUN_S = 6
TOKENS = 12

# Requests a second on each connection.
H2LOAD_RATE = 100
WRK_SCRIPT = "function delay() return 5 end\n"


class Python(threading.Thread):
    """http.client with one connection, told not to open another."""

    name_shown, expected = "Python http.client", 1

    def __init__(self, server, tokens, run_s):
        super().__init__(daemon=True)
        self.client = Client(f"stranger-{run_s}", server.port, 1, tokens[0], keep=True)
        self.run_s = run_s

    def run(self):
        self.client.start()
        self.client.join(self.run_s)
        self.client.stopping = True
        self.client.join()

    def sample(self):
        pass

    def result(self):
        error = self.client.error
        return self.client.answers, int(bool(error)), self.client.connections, error or ""


class Program:
    """A program of another make, and the sockets that it had."""

    def __init__(self, server, tokens, run_s):
        self.port, self.inodes = server.port, set()
        command = self.command(server, tokens, run_s)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.text = ""
        # Read while it runs: it must never wait for a full pipe.
        self.reader = threading.Thread(target=self.read, daemon=True)

    def read(self):
        self.text = self.process.stdout.read()

    def start(self):
        self.reader.start()

    def is_alive(self):
        return self.reader.is_alive()

    def sample(self):
        """Notes the connections of this moment."""
        to_server = inodes_to(self.port)
        try:
            for entry in pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir():
                link = str(entry.readlink())
                if link.startswith("socket:[") and link[8:-1] in to_server:
                    self.inodes.add(link[8:-1])
        except (FileNotFoundError, PermissionError):
            pass  # It is done, or a descriptor was closed meanwhile.

    def result(self):
        self.reader.join()
        self.process.wait()
        requests, errors, note = self.judge(self.text)
        return requests, errors, len(self.inodes), note


class Go(Program):
    name_shown, expected = "Go net/http", 4
    binary = ""

    def command(self, server, tokens, run_s):
        return [self.binary, f"http://127.0.0.1:{server.port}", str(run_s), *tokens[1 : 1 + self.expected]]

    def judge(self, text):
        requests, errors, own = (int(word) for word in text.splitlines()[0].split())
        # It counts by itself, too: a connection between two samples would be seen by it alone.
        extra = max(own - self.expected, 0)
        note = text.splitlines()[1] if errors else ""
        return requests, errors, note or (f"{extra} new connections by its own count" if extra else "")


class Wrk(Program):
    name_shown, expected = "wrk", 4

    def command(self, server, tokens, run_s):
        script = server.folder / "wrk.lua"
        script.write_text(WRK_SCRIPT)
        address = f"http://127.0.0.1:{server.port}/event/list"
        return ["wrk", "-t1", f"-c{self.expected}", f"-d{run_s}s", "--timeout", "10s", "-s", script, address]

    def judge(self, text):
        requests = int(re.search(r"(\d+) requests in", text).group(1))
        sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
        statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        found = [int(number) for match in (sockets, statuses) if match for number in match.groups()]
        note = "; ".join(match.group(0) for match in (sockets, statuses) if match)
        return requests, sum(found), note


class H2load(Program):
    def judge(self, text):
        total = re.search(
            r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, "
            r"(\d+) errored, (\d+) timeout",
            text,
        )
        done, _, failed, errored, timed_out = (int(number) for number in total.groups()[2:])
        # Those that it calls errored or timed out are among those that failed.
        errors = max(failed, errored, timed_out)
        return done, errors, total.group(0) if errors else ""

    def load(self, server, run_s, *more):
        address = f"http://127.0.0.1:{server.port}/event/list"
        # So many requests, and not so many seconds: with -D it does not tell those that a lost connection prevented.
        count = self.expected * H2LOAD_RATE * run_s
        shape = ["-t1", f"-c{self.expected}", "-m1", "--rps", str(H2LOAD_RATE), "-n", str(count)]
        return ["h2load", *more, *shape, address]


class H2loadHttp1(H2load):
    name_shown, expected = "h2load, HTTP/1.1", 4

    def command(self, server, tokens, run_s):
        return self.load(server, run_s, "--h1")


class H2loadHttp2(H2load):
    name_shown, expected = "h2load, HTTP/2", 4

    def command(self, server, tokens, run_s):
        return self.load(server, run_s, "-p", "h2c")


class Curl(Program):
    name_shown, expected = "curl", 1

    def command(self, server, tokens, run_s):
        # One command line, one connection; 50 requests a second.
        address = f"http://127.0.0.1:{server.port}/event/list?[1-{50 * run_s}]"
        told = "%{http_code} %{num_connects} %{exitcode}\\n"
        return ["curl", "--http1.1", "--silent", "--rate", "50/s", "--output", "/dev/null", "--write-out", told, address]

    def judge(self, text):
        lines = [line.split() for line in text.splitlines()]
        bad = [line for line in lines if len(line) != 3 or (line[0], line[2]) != ("200", "0")]
        opened = sum(int(line[1]) for line in lines if len(line) == 3 and line[1].isdigit())
        # It opens another one silently when one has died: its own count tells.
        extra = max(opened - 1, 0)
        note = f"{extra} new connections by its own count" if extra else ""
        return len(lines), len(bad), f"for example {' '.join(bad[0])}" if bad else note


KINDS = [Python, Go, Wrk, H2loadHttp1, Curl, H2loadHttp2]


def inodes_to(port):
    """Inodes of the sockets whose other end is a port of this machine, as the kernel tells."""
    suffix = f":{port:04X}"
    rows = (line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:])
    return {row[9] for row in rows if row[2].endswith(suffix)}


def through_swaps(server, kinds, run_s):
    """Runs clients of these kinds while the server is swapped; their results, and how often it was."""
    tokens = server.tokens(TOKENS)
    clients = [kind(server, tokens, run_s) for kind in kinds]
    for client in clients:
        client.start()
    swaps = 0
    # A client of HTTP/2 ends with the first swap.
    lasting = [client for client in clients if not isinstance(client, H2loadHttp2)]
    try:
        while all(client.is_alive() for client in lasting):
            for client in clients:
                client.sample()
            swaps += 1
            answer = server.swap(TRIED + swaps)
            if answer["connections"]["cut"] != 0:
                raise SystemExit(f"error: swap {swaps} was answered {answer}")
    except BaseException:
        for client in clients:
            if isinstance(client, Program):
                client.process.kill()
        raise
    return [client.result() for client in clients], swaps


def losing(server, kind):
    """Runs one client while the server is stopped and started; its errors and new connections."""
    client = kind(server, server.tokens(TOKENS), LOSING_RUN_S)
    client.start()
    # It has connected, and asks.
    time.sleep(1)
    number = 0
    while client.is_alive() and number < LOSING_SWAPS:
        client.sample()
        number += 1
        server.try_swap(number)
        time.sleep(0.5)
    requests, errors, connections, note = client.result()
    return requests, errors, connections, note


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: out of time"))
    binary = pathlib.Path(sys.argv[1]).resolve(strict=True)
    Go.binary = sys.argv[2]
    folder = pathlib.Path(sys.argv[3]).resolve()
    problems = []
    print(f"{'client':<20}{'requests':>10}{'errors':>8}{'connections':>13}")
    with_server = lambda name, **settings: started(binary, folder / name, **settings)
    server = with_server("live")
    try:
        begun = time.monotonic()
        for number in range(1, TRIED + 1):
            server.swap(number)
        each_s = (time.monotonic() - begun) / TRIED
        # Beside the clients a swap takes three to four times as long.
        run_s = min(max(int(6 * SWAPS * each_s), RUN_S_MIN), RUN_S_MAX)
        results, swaps = through_swaps(server, KINDS, run_s)
    finally:
        server.stop()
    for kind, (requests, errors, connections, note) in zip(KINDS, results, strict=True):
        print(f"{kind.name_shown:<20}{requests:>10}{errors:>8}{connections:>13}  {note}")
        if kind is H2loadHttp2:
            continue
        if errors or requests == 0:
            problems.append(f"{kind.name_shown}: {errors} errors in {requests} requests: {note}")
        if connections != kind.expected or "new connections" in note:
            problems.append(f"{kind.name_shown}: {connections} connections instead of {kind.expected}; {note}")
    print(f"{swaps} swaps by handoff-live in {run_s} s")
    if swaps < SWAPS:
        problems.append(f"only {swaps} swaps in {run_s} s, {SWAPS} are needed")
    print("each alone, while stop-start loses:")
    for index, kind in enumerate(KINDS):
        server = with_server(f"lost-{index}", strategy="stop-start")
        try:
            requests, errors, connections, note = losing(server, kind)
        finally:
            server.stop()
        print(f"{kind.name_shown:<20}{requests:>10}{errors:>8}{connections:>13}  {note}")
        if errors == 0:
            problems.append(f"{kind.name_shown} saw nothing of swaps that lose, so it proves nothing")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
