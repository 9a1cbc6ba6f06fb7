"""Upgrades of a server whose time of day is set, forward and back by an hour. To be run in a network of its own.

The server alone sees the other time: libfaketime is loaded into it, and reads from a file by how much it is off. Its
monotonic clock goes on, as it does on a machine whose clock is set. In the control that is set too, and then a drain
has to end early: what would see nothing of that has proven nothing.

Usage: clock.py SECKILL_BINARY LIBFAKETIME EMPTY_FOLDER
"""

import datetime
import http.client
import json
import os
import pathlib
import signal
import socket
import sys
import threading
import time

from clients import Client
from kernel import bring_up, setting
from swapped import STOCK, started, wait_for

STRATEGIES = ("handoff-live", "handoff", "reuseport", "reuseport-drain")
AN_HOUR_S = 3600
# Nobody's clock is off by so much, and no answer takes so long.
TOLERANCE_S = 120
DRAIN_S = 3
CLIENTS = 3
# It closes connections while a request may be on its way, whatever time it is.
LOSES = "reuseport"
HALF = b"POST /orders HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n01234"


class Clock:
    """How far the server's time of day is off."""

    def __init__(self, library, folder, monotonic_too=False):
        # Nowhere on the server's way to its files: it watches that way, and every look at the clock would be an event.
        self.path = folder / "clock" / "off"
        self.path.parent.mkdir()
        self.set(0)
        self.variables = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.path),
            # Looked at whenever somebody asks for the time.
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "0" if monotonic_too else "1",
        }

    def set(self, off_s):
        beside = self.path.with_suffix(".new")
        beside.write_text(f"{off_s:+d}\n")
        os.replace(beside, self.path)


class Stuck:
    """A request in flight: half of its body has been read."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        self.socket.sendall(HALF)
        # It has been read once a later one is answered.
        self.process = ask(server.port)

    def finish(self):
        """The number of the process that answers; None: nobody does."""
        try:
            self.socket.sendall(b"56789")
            reply = http.client.HTTPResponse(self.socket)
            reply.begin()
            return int(reply.getheader("x-seckill-process"))
        except (OSError, http.client.HTTPException):
            return None

    def until_ended(self):
        """How long it takes until the server ends the connection, whose process is woken by one more byte."""
        begun = time.monotonic()
        try:
            self.socket.sendall(b"5")
            while self.socket.recv(4096):
                pass
        except ConnectionResetError:
            pass
        return time.monotonic() - begun


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: out of time"))
    binary, library = (pathlib.Path(word).resolve(strict=True) for word in sys.argv[1:3])
    folder = pathlib.Path(sys.argv[3]).resolve()
    bring_up("lo")
    setting("ipv4/tcp_migrate_req", 1)
    for strategy in STRATEGIES:
        place = folder / strategy
        place.mkdir()
        swaps, answers = through_swaps(binary, library, place, strategy)
        drain = lambda off_s: drained(binary, library, place / f"drain{off_s}", strategy, off_s)
        drains = [drain(AN_HOUR_S), drain(-AN_HOUR_S)]
        drains = " and ".join(f"{drain_s:.1f} s" for drain_s in drains)
        print(f"{strategy}: {swaps} swaps, {answers} answers; drains of {DRAIN_S} s took {drains}", flush=True)
    left_s = drained(binary, library, folder / "control", "handoff-live", AN_HOUR_S, control=True)
    print(f"control: with a monotonic clock that is set too a drain of {DRAIN_S} s ended {left_s:.1f} s after it was set")


def through_swaps(binary, library, folder, strategy):
    """The clock is set before, in the middle of and after swaps; nobody may notice. Swaps and answers."""
    clock = Clock(library, folder)
    server = started(binary, folder / "server", strategy=strategy, variables=clock.variables)
    try:
        keeps = strategy == "handoff-live"
        tokens = server.tokens(CLIENTS)
        clients = []
        for user, token in enumerate(tokens if strategy != LOSES else [], 1):
            keep = keeps and user == 1
            clients.append(Client(f"{'kept' if keep else 'fresh'}-{user}", server.port, user, token, keep))
        for client in clients:
            client.start()
        number = 0
        for before_s, amid_s, after_s in ((AN_HOUR_S, -AN_HOUR_S, 0), (-AN_HOUR_S, AN_HOUR_S, 0)):
            set_and_prove(clock, server, before_s)
            number += 1
            server.swap(number)
            number += 1
            swap_amid(server, number, lambda: set_and_prove(clock, server, amid_s))
            set_and_prove(clock, server, after_s)
            everybody_is_served(clients)
        number += 1
        server.swap(number)
        everybody_is_served(clients)
        for client in clients:
            client.stopping = True
        for client in clients:
            client.join(30)
        problems = [client.error for client in clients if client.error]
        problems += [f"{client.name} lost its connection" for client in clients if client.keep and client.connections != 1]
        sold = sum(len(client.orders) for client in clients)
        if STOCK - left(server.port) != sold:
            problems.append(f"{sold} orders were acknowledged, and {STOCK - left(server.port)} are missing of the stock")
        if problems:
            sys.exit(f"error: {strategy}: {'; '.join(problems)}")
        return number, sum(client.answers for client in clients)
    finally:
        server.stop()


def swap_amid(server, number, act):
    """A swap that a request in flight holds up until `act` has been done; its old process has to answer it."""
    stuck = Stuck(server)
    answers = []
    swap = threading.Thread(target=lambda: answers.append(server.swap(number)), daemon=True)
    swap.start()
    wait_for("the new process", lambda: ask(server.port) == number + 1)
    act()
    answered_by = stuck.finish()
    swap.join(60)
    if answered_by != stuck.process or not answers or answers[0]["connections"]["cut"] != 0:
        sys.exit(f"error: a request in flight was answered by {answered_by}, and the swap {answers}: {server.last_words()}")


def drained(binary, library, folder, strategy, off_s, control=False):
    """The clock is set while a request that never ends is waited for. How long the drain took in all; of the control,
    how long after the clock was set it was over."""
    folder.mkdir()
    clock = Clock(library, folder, monotonic_too=control)
    server = started(
        binary, folder / "server", strategy=strategy, variables=clock.variables, drain_ms=DRAIN_S * 1000
    )
    try:
        stuck = Stuck(server)
        answers, begun = [], time.monotonic()
        swap = threading.Thread(target=lambda: answers.append(server.swap(1)), daemon=True)
        swap.start()
        wait_for("the new process", lambda: ask(server.port) == 2)
        clock.set(off_s)
        after_s = stuck.until_ended()
        took_s = time.monotonic() - begun
        swap.join(60)
        if not answers or answers[0]["connections"]["cut"] != 1:
            sys.exit(f"error: {strategy}: the swap was answered {answers}: {server.last_words()}")
        if control:
            if after_s > DRAIN_S / 2:
                sys.exit(f"error: the drain of the control ended after {after_s:.1f} s, so this proves nothing")
            return after_s
        set_and_prove(clock, server, off_s)
        # `until_ended` gives up after 30 s: it is not endless either.
        if took_s < DRAIN_S:
            sys.exit(f"error: {strategy}: a drain of {DRAIN_S} s was over after {took_s:.1f} s")
        return took_s
    finally:
        server.stop()


def set_and_prove(clock, server, off_s):
    """Sets the clock; the process that serves has to see it."""
    clock.set(off_s)
    wait_for(f"a server whose clock is off by {off_s} s", lambda: abs(server_is_off_s(server) - off_s) < TOLERANCE_S)


def server_is_off_s(server):
    try:
        told = server.status()["time"]
    except (OSError, http.client.HTTPException):
        return float("inf")  # A strategy that loses requests has lost this one.
    told = datetime.datetime.fromisoformat(told.split(".")[0].rstrip("Z") + "+00:00")
    return told.timestamp() - time.time()


def everybody_is_served(clients):
    before = {client: client.answers for client in clients}
    wait_for(
        "every client to be served",
        lambda: all(client.answers > before[client] + 1 or client.error for client in clients),
    )


def ask(port):
    """The process that answers a new connection; None: nobody does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/version", headers={"connection": "close"})
        reply = connection.getresponse()
        reply.read()
        return int(reply.getheader("x-seckill-process"))
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def left(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/event/info?id=1")
    return json.loads(connection.getresponse().read())["goods"][0]["left"]


if __name__ == "__main__":
    main()
