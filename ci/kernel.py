"""Upgrades under settings of the kernel that decide about connections. To be run in a network of its own.

Each case has a control: the same without what keeps the loss away, or with another strategy, has to lose. A case whose
control loses nothing has proven nothing, and fails.

Usage: kernel.py SECKILL_BINARY EMPTY_FOLDER
"""

import fcntl
import os
import pathlib
import signal
import socket
import struct
import sys
import threading

from swapped import started, wait_for

LIST = b"GET /event/list HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"
WAITING = 60
# The kernel has a place more than it is asked for.
BACKLOG = 8
SWAPS = 10
TIMEOUT_S = 20
# From linux/sockios.h and linux/if.h.
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
# The state of a handshake that lacks its last packet, in /proc/net/tcp.
SYN_RECV = "03"


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: out of time"))
    binary = pathlib.Path(sys.argv[1]).resolve(strict=True)
    folder = pathlib.Path(sys.argv[2]).resolve()
    bring_up("lo")
    problems = []
    for name, case in CASES.items():
        place = folder / name
        place.mkdir()
        lost, control, control_is = case(binary, place)
        print(f"{name}: {lost} lost; {control_is}: {control} lost", flush=True)
        if lost != 0:
            problems.append(f"{name}: {lost} connections were lost")
        if control == 0:
            problems.append(f"{name}: the control lost nothing, so this proves nothing")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


def abort_on_overflow(binary, folder):
    """E2: a queue of 8 whose overflow is answered by a reset, and upgrades under new connections: with the one that an
    upgrade makes itself they are as many as there are places, so nobody overflows it, however long a swap takes. Whoever
    is one too many is reset by the kernel, whatever a server does: of a server that stands still those who do not fit."""
    before = setting("ipv4/tcp_abort_on_overflow", 1)
    try:
        overflows = counter("ListenOverflows")
        lost = fresh_through_swaps(binary, folder / "live", "handoff-live")
        if counter("ListenOverflows") != overflows:
            sys.exit("error: the queue overflowed in the swaps, though never more came than there are places")
        control = knocking_at_a_frozen_server(binary, folder / "frozen")
        overflows = counter("ListenOverflows") - overflows
        if overflows < control:
            sys.exit(f"error: {control} were reset, and the queue overflowed {overflows} times")
        return lost, control, f"a server that stands still, whose queue overflowed {overflows} times"
    finally:
        setting("ipv4/tcp_abort_on_overflow", before)


def knocking_at_a_frozen_server(binary, folder):
    """How many are reset of those whose handshake is finished by their first byte, all at once."""
    sockets = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(2)]
    server = started(binary, folder, sockets=sockets, listen_backlog=BACKLOG)
    try:
        # The socket is the server's too: for a while there are places for handshakes, which count like those of the queue.
        sockets[0].listen(1024)
        sockets[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
        clients = [connect(server.port, timeout_s=1) for _ in range(WAITING)]
        sockets[0].listen(BACKLOG)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            return sum(is_reset(client) for client in clients)
        finally:
            os.kill(server.pid, signal.SIGCONT)
    finally:
        for handed_down in sockets:
            handed_down.close()
        server.stop()


def is_reset(client):
    """Asks, and hears that it is refused; whoever waits hears nothing."""
    try:
        client.sendall(LIST)
        client.settimeout(0.05)
        client.recv(1)
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True
    return False


def unfinished_handshakes(binary, folder):
    """E3: handshakes that wait for the client's first byte when the process changes (TCP_DEFER_ACCEPT)."""
    lost = unfinished(binary, folder / "live", "handoff-live")
    return lost, unfinished(binary, folder / "stopped", "stop"), "a server that stops"


def unfinished(binary, folder, strategy):
    sockets = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(2)]
    sockets[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
    server = started(binary, folder, sockets=sockets)
    try:
        clients = [connect(server.port) for _ in range(WAITING)]
        # Those that wait go on waiting; whoever comes from now on (an upgrade asks itself) is accepted at once.
        sockets[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0)
        for handed_down in sockets:
            handed_down.close()
        held = in_state(server.port, SYN_RECV)
        if held < WAITING:
            sys.exit(f"error: {held} of {WAITING} handshakes are unfinished, so nothing is tried")
        if strategy == "stop":
            server.stop()
            return sum(ask(client) is None for client in clients)
        server.swap(1)
        held = in_state(server.port, SYN_RECV)
        if held < WAITING:
            sys.exit(f"error: {held} of {WAITING} handshakes were still unfinished after the swap")
        return sum(ask(client) != 2 for client in clients)
    finally:
        if strategy != "stop":
            server.stop()


def migration(binary, folder):
    """E4: who waits in the queue of a closing socket goes to the other one with tcp_migrate_req, else is reset."""
    return migrated(binary, folder, {})


def unlike_queues(binary, folder):
    """E5: the same where the new process's socket has another length: more wait than there are places in it."""
    return migrated(binary, folder, {"listen_backlog": BACKLOG})


def migrated(binary, folder, new_settings):
    lost = []
    for value in (1, 0):
        before = setting("ipv4/tcp_migrate_req", value)
        try:
            lost.append(queue_through_swap(binary, folder / str(value), new_settings))
        finally:
            setting("ipv4/tcp_migrate_req", before)
    return lost[0], lost[1], "with tcp_migrate_req 0"


def queue_through_swap(binary, folder, new_settings):
    server = started(binary, folder, strategy="reuseport", connections_max=2)
    server.configure(**new_settings)
    try:
        idle = [connect(server.port) for _ in range(2)]
        for client in idle:
            ask(client, keep=True)
        waiting = [connect(server.port) for _ in range(WAITING)]
        for client in waiting:
            client.sendall(LIST)
        # Nobody else is served while all of these wait.
        server.try_swap(1, served=False)
        for client in idle:
            client.close()
        # Whoever is answered at all is answered by the new one: nobody else was served while they waited.
        return sum(ask(client, sent=True) != 2 for client in waiting)
    finally:
        server.stop()


CASES = {
    "E2-abort-on-overflow": abort_on_overflow,
    "E3-unfinished-handshakes": unfinished_handshakes,
    "E4-migrate-req": migration,
    "E5-unlike-queues": unlike_queues,
}


def fresh_through_swaps(binary, folder, strategy):
    """New connections, as many at a time as the queue is long, through some swaps; how many were lost."""
    server = started(binary, folder, strategy=strategy, listen_backlog=BACKLOG)
    over, lost, served = threading.Event(), [], []

    def go_on():
        while not over.is_set():
            try:
                (served if ask(connect(server.port)) is not None else lost).append(1)
            except OSError:
                lost.append(1)

    threads = [threading.Thread(target=go_on, daemon=True) for _ in range(BACKLOG)]
    try:
        for thread in threads:
            thread.start()
        for number in range(1, SWAPS + 1):
            before = len(served)
            server.swap(number)
            wait_for("new connections after a swap", lambda: len(served) > before + 8 or lost)
    finally:
        over.set()
        for thread in threads:
            thread.join()
        server.stop()
    return len(lost)


def connect(port, timeout_s=TIMEOUT_S):
    return socket.create_connection(("127.0.0.1", port), timeout=timeout_s)


def ask(client, keep=False, sent=False):
    """The number of the process that answered; None: nobody did."""
    try:
        if not sent:
            client.sendall(LIST.replace(b"connection: close\r\n", b"") if keep else LIST)
        head = b""
        while b"\r\n\r\n" not in head:
            part = client.recv(65536)
            if not part:
                return None
            head += part
    except OSError:
        return None
    if not keep:
        client.close()
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n\r\n")[0].split("\r\n")[1:])
    return int(fields["x-seckill-process"])


def in_state(port, state):
    rows = (line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(row[1].endswith(f":{port:04X}") and row[3] == state for row in rows)


def counter(name):
    """One of netstat's, of this network (/proc/net/netstat)."""
    names, values = pathlib.Path("/proc/net/netstat").read_text().splitlines()[:2]
    return int(dict(zip(names.split(), values.split(), strict=True))[name])


def setting(name, value):
    """Sets it, and gives what it was."""
    path = pathlib.Path("/proc/sys/net") / name
    before = int(path.read_text())
    path.write_text(str(value))
    return before


def bring_up(interface):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh", interface.encode(), 0)
        name, flags = struct.unpack("16sh", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request.ljust(40, b"\0"))[:18])
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", name, flags | IFF_UP).ljust(40, b"\0"))


if __name__ == "__main__":
    main()
