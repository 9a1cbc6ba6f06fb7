"""The reference server in a folder of its own, and the swaps of its binary, for checks with clients of another make.

Two release folders take turns. Deliberately absent: any client, and any judgement.
"""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

# For the server to start or to stop, and for whatever else somebody waits for.
PATIENCE_S = 20
ANSWER_TIMEOUT_S = 10
STOCK = 10_000_000

CONFIG = """[api]
bind = "127.0.0.1:{api}"
[admin]
bind = "127.0.0.1:{admin}"
[upgrade]
strategy = "{strategy}"
drain_ms = {drain_ms}
[limits]
connections_max = {connections_max}
listen_backlog = {listen_backlog}
"""
SETTINGS = {"strategy": "handoff-live", "drain_ms": 10_000, "connections_max": 10_000, "listen_backlog": 4096}
GOODS = {"id": 1, "name": "kettle", "price_cents": 9900, "stock": STOCK, "limit_per_user": STOCK}
ACTIVITIES = {
    "events": [
        {
            "id": 1,
            "name": "sale",
            "starts_at": "2024-01-01T00:00:00Z",
            "ends_at": "2099-01-01T00:00:00Z",
            "goods": [GOODS],
        }
    ]
}


class Server:
    """The server, whichever process it is at the moment."""

    def __init__(self, binary, folder, sockets=(), variables=None, **settings):
        """`sockets`: those of the public and the admin side, as a service manager hands them down. `variables`: of the
        server's environment. Further settings: see SETTINGS."""
        self.folder = folder
        self.config = folder / "seckill.toml"
        self.binaries = []
        for release in ("1", "2"):
            place = folder / "releases" / release
            place.mkdir(parents=True)
            shutil.copy2(binary, place / "seckill")
            (place / "RELEASE").write_text(release)
            self.binaries.append(place / "seckill")
        self.port, self.admin = [socket.getsockname()[1] for socket in sockets] or free_ports(2)
        self.settings = SETTINGS
        self.configure(**settings)
        (folder / "activities.json").write_text(json.dumps(ACTIVITIES))
        (folder / "blacklist.txt").write_text("")
        self.log = open(folder / "log", "wb")
        command = [self.binaries[0], "serve", "-c", self.config]
        if sockets:
            down = " ".join(f"{3 + index}<&{socket.fileno()}" for index, socket in enumerate(sockets))
            command = ["sh", "-c", f'LISTEN_FDS={len(sockets)} LISTEN_PID=$$ exec "$@" {down}', "sh", *command]
        passed = [socket.fileno() for socket in sockets]
        self.child = subprocess.Popen(
            command, cwd=folder, stdout=self.log, stderr=self.log, pass_fds=passed,
            env={**os.environ, **(variables or {})},
        )
        self.pid = self.child.pid

    def configure(self, **settings):
        """Other settings for the next process."""
        self.settings = {**self.settings, **settings}
        self.config.write_text(CONFIG.format(api=self.port, admin=self.admin, **self.settings))

    def wait_until_ready(self):
        wait_for("the server to be ready", self.is_ready)

    def is_ready(self):
        if self.child.poll() is not None:
            raise SystemExit(f"error: the server ended with {self.child.returncode}: {self.last_words()}")
        return self.answers()

    def answers(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False

    def run(self, *arguments):
        command = [self.binaries[0], *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise SystemExit(f"error: {arguments} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def tokens(self, count):
        return self.run("token", "-c", self.config, "--users", f"1-{count}").split()

    def status(self):
        """What the admin side says of the process that serves."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=ANSWER_TIMEOUT_S)
        token = (self.folder / ".admin-token").read_text().strip()
        connection.request("GET", "/status", headers={"authorization": f"Bearer {token}"})
        status = json.loads(connection.getresponse().read())
        connection.close()
        return status

    def swap(self, number):
        binary = self.binaries[number % 2]
        answer = json.loads(self.run("upgrade", "-c", self.config, "--binary", binary, "--json"))
        if answer["outcome"] != "ok" or answer["new"]["process"] != number + 1:
            raise SystemExit(f"error: swap {number} was answered {answer}")
        self.pid = answer["new"]["pid"]
        return answer

    def try_swap(self, number, served=True):
        """Swaps by a strategy that may lose the one who asks, and waits until one process is left, and serves."""
        command = [self.binaries[0], "upgrade", "-c", self.config, "--binary", self.binaries[number % 2]]
        subprocess.run(command, cwd=self.folder, capture_output=True, timeout=60)
        wait_for("the server after a swap", lambda: self.is_alone() and (not served or self.answers()))

    def is_alone(self):
        found = processes_below(self.folder)
        if len(found) == 1:
            self.pid = found[0]
        return len(found) == 1

    def last_words(self):
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def stop(self):
        """Ends the process that serves now, and by force what should have ended long ago."""
        try:
            if processes_below(self.folder):
                os.kill(self.pid, signal.SIGTERM)
            wait_for("the server to stop", lambda: not processes_below(self.folder))
        finally:
            for pid in processes_below(self.folder):
                os.kill(pid, signal.SIGKILL)
            self.child.wait()


def started(binary, folder, **settings):
    """A server that is ready, in a new folder. One that does not get ready is ended."""
    folder.mkdir()
    server = Server(binary, folder, **settings)
    try:
        server.wait_until_ready()
    except BaseException:
        server.stop()
        raise
    return server


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"error: waited {PATIENCE_S} s in vain for {what}")
        time.sleep(0.005)


def processes_below(folder):
    """Running processes whose program lies in the folder."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (process / "exe").readlink().is_relative_to(folder):
                found.append(int(process.name))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue  # It ended meanwhile, is a zombie, or belongs to somebody else.
    return found
