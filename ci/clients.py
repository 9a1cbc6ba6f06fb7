"""Buys on the reference server with http.client through many swaps of its binary, and allows no error.

Nothing of ours is in the client: http.client keeps the connection, and is told not to open another one.
The server is started here, on a folder of its own, from two release folders that take turns. Afterwards the
store is read with sqlite3: each acknowledged order is there exactly once, and nothing else is.

Usage: clients.py SECKILL_BINARY EMPTY_FOLDER
"""

import http.client
import json
import pathlib
import signal
import sqlite3
import sys
import threading
import time

from swapped import ANSWER_TIMEOUT_S, PATIENCE_S, STOCK, Server, wait_for

SWAPS = 100
KEPT_CLIENTS = 4
FRESH_CLIENTS = 2
# Between two purchases of a client, so that six of them leave the processor to the swaps.
PAUSE_S = 0.002


class Client(threading.Thread):
    """Buys, reads its order back and repeats a purchase in turn, until told to stop or until an error."""

    def __init__(self, name, port, user, token, keep):
        super().__init__(name=name, daemon=True)
        self.port, self.user, self.token, self.keep = port, user, token, keep
        self.connection = None
        self.stopping = False
        self.error = None
        self.connections = 0
        self.answers = 0
        self.processes = set()
        # Idempotency key to the id of the order that was acknowledged.
        self.orders = {}

    def run(self):
        try:
            while not self.stopping:
                self.buy(f"{self.name}-{len(self.orders)}")
                time.sleep(PAUSE_S)
        except Exception as error:  # Whatever it is, it is an error that a user would have seen.
            self.error = f"{self.name} after {len(self.orders)} orders: {error!r}"

    def buy(self, key):
        body = json.dumps({"event": 1, "goods": 1})
        headers = {"authorization": f"Bearer {self.token}", "idempotency-key": key}
        _, order = self.ask("POST", "/orders", 201, body, headers | {"content-type": "application/json"})
        self.orders[key] = order["id"]
        if order["user"] != self.user:
            raise ValueError(f"user {self.user} was sold the order of user {order['user']}")
        if len(self.orders) % 10 == 0:
            _, again = self.ask("GET", f"/orders/{order['id']}", 200, None, headers)
            if again != order:
                raise ValueError(f"{order} was read back as {again}")
        if len(self.orders) % 10 == 5:
            reply, again = self.ask("POST", "/orders", 201, body, headers)
            if again != order or reply.getheader("idempotent-replayed") != "true":
                raise ValueError(f"{order} was repeated as {again}")

    def ask(self, method, path, expected, body, headers):
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)
            self.connection.connect()
            # Without this a connection that the server closed would be replaced silently.
            self.connection.auto_open = 0
            self.connections += 1
        self.connection.request(method, path, body, headers)
        reply = self.connection.getresponse()
        text = reply.read()
        if reply.status != expected:
            raise ValueError(f"{method} {path} was answered {reply.status} {text!r}")
        self.processes.add(int(reply.getheader("x-seckill-process")))
        self.answers += 1
        if not self.keep:
            self.connection.close()
            self.connection = None
        return reply, json.loads(text)


def main():
    # `timeout` must not leave the server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: out of time"))
    server = Server(pathlib.Path(sys.argv[1]).resolve(strict=True), pathlib.Path(sys.argv[2]).resolve())
    try:
        server.wait_until_ready()
        clients = start_clients(server)
        begun = time.monotonic()
        for number in range(SWAPS + 1):
            if number > 0:
                server.swap(number)
            before = {client: client.answers for client in clients}
            # The second answer from here on is to a question that was asked after the swap.
            wait_for(
                f"every client to be served after swap {number}",
                lambda: all(client.answers > before[client] + 1 or client.error for client in clients),
            )
            if any(client.error for client in clients):
                break
        for client in clients:
            client.stopping = True
        for client in clients:
            client.join(PATIENCE_S)
        took_s = time.monotonic() - begun
    finally:
        server.stop()
    problems = judge(server, clients)
    bought = sum(len(client.orders) for client in clients)
    opened = [client.connections for client in clients if client.keep]
    print(f"{number} swaps in {took_s:.1f} s; {bought} orders, {sum(client.answers for client in clients)} answers")
    print(f"connections of the {KEPT_CLIENTS} clients that keep theirs: {opened}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


def start_clients(server):
    count = KEPT_CLIENTS + FRESH_CLIENTS
    tokens = server.tokens(count)
    clients = []
    for user, token in zip(range(1, count + 1), tokens, strict=True):
        keep = user <= KEPT_CLIENTS
        name = f"{'kept' if keep else 'fresh'}-{user}"
        clients.append(Client(name, server.port, user, token, keep))
    for client in clients:
        client.start()
    return clients


def judge(server, clients):
    """What is wrong with what the clients saw, and with what is in the store."""
    problems = [client.error for client in clients if client.error]
    problems += [f"{client.name} is stuck" for client in clients if client.is_alive()]
    for client in clients:
        if client.keep and client.connections != 1:
            problems.append(f"{client.name} needed {client.connections} connections")
        if not client.error and client.processes != set(range(1, SWAPS + 2)):
            problems.append(f"{client.name} met {len(client.processes)} processes of {SWAPS + 1}")
    acknowledged = sorted(
        (order, client.user, 1, 1, key) for client in clients for key, order in client.orders.items()
    )
    store = sqlite3.connect(server.folder / "seckill.db")
    stored = sorted(store.execute("SELECT id, user, event, goods, key FROM orders"))
    lost = set(acknowledged) - set(stored)
    unasked = set(stored) - set(acknowledged)
    if lost or unasked or len(stored) != len(acknowledged):
        problems.append(f"{len(acknowledged)} orders were acknowledged, {len(stored)} are stored")
        problems += [f"lost: {order}" for order in sorted(lost)[:5]]
        problems += [f"stored without an answer: {order}" for order in sorted(unasked)[:5]]
    ((initial, left),) = store.execute('SELECT initial, "left" FROM stock')
    if (initial, left) != (STOCK, STOCK - len(stored)):
        problems.append(f"{left} of {initial} pieces are left after {len(stored)} orders")
    return problems


if __name__ == "__main__":
    main()
