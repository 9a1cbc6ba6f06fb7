"""HTTP servers with a known fault, that keep count of it.

Usage: server.py resets|away FOLDER

- `resets` answers four requests of a connection and resets it at the fifth.
- `away` answers all; at SIGUSR1 it closes its listener and all of its connections, and is back after 2 s.

Writes `port` and `pid` into FOLDER when it serves, and `truth.json` when SIGTERM ends it: how many requests
it read, how many it reset, and for how long it was away (between the last moment at which it surely served
and the first at which it did again: `outer_ms`; while it surely did not: `inner_ms`).
"""

import json
import os
import pathlib
import signal
import socket
import struct
import sys
import threading
import time

RESET_EVERY = 5
AWAY_S = 2.0
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n"


class Server:
    def __init__(self, resets):
        self.resets = resets
        self.lock = threading.Lock()
        self.connections = set()
        self.truth = {"requests": 0, "resets": 0, "outer_ms": 0.0, "inner_ms": 0.0}
        self.listen(0)

    def listen(self, port):
        self.listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                listener.close()
                return
            with self.lock:
                # One that came out of the queue of a listener that has been closed meanwhile.
                if listener is not self.listener:
                    connection.close()
                    continue
                self.connections.add(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for number, _ in enumerate(requests(connection), start=1):
                reset = self.resets and number % RESET_EVERY == 0
                with self.lock:
                    self.truth["requests"] += 1
                    self.truth["resets"] += reset
                if reset:
                    # Closing without lingering sends a reset.
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                connection.sendall(ANSWER)
        except OSError:
            pass  # The connection is gone; who ended it has counted it.
        finally:
            with self.lock:
                self.connections.discard(connection)
                connection.close()

    def go_away(self):
        port = self.listener.getsockname()[1]
        with self.lock:
            served_until = time.monotonic()
            listener, self.listener = self.listener, None
            # Shutting down ends the listening at once and wakes the thread that accepts.
            listener.shutdown(socket.SHUT_RDWR)
            for connection in self.connections:
                connection.shutdown(socket.SHUT_RDWR)
            gone = time.monotonic()
        time.sleep(AWAY_S)
        back = time.monotonic()
        with self.lock:
            self.listen(port)
            self.truth["outer_ms"] = (time.monotonic() - served_until) * 1000
            self.truth["inner_ms"] = (back - gone) * 1000


def requests(connection):
    """The requests of a connection, without bodies, until it ends."""
    buffer = b""
    while True:
        head, end, rest = buffer.partition(b"\r\n\r\n")
        if end:
            buffer = rest
            yield head
        elif piece := connection.recv(65536):
            buffer += piece
        else:
            return


def main():
    signals = {signal.SIGUSR1, signal.SIGTERM}
    # Before any thread: all of them leave the signals to `sigwait`.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    kind, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    server = Server(resets={"resets": True, "away": False}[kind])
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "port").write_text(str(server.listener.getsockname()[1]))
    while signal.sigwait(signals) == signal.SIGUSR1:
        server.go_away()
    with server.lock:
        (folder / "truth.json").write_text(json.dumps(server.truth))


if __name__ == "__main__":
    main()
