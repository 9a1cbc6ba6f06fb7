"""Measures how many listings a second the server gives beside nginx, and holds it to its bar.

Usage: listing.py RELEASE_FOLDER EMPTY_FOLDER ROUNDS
"""

import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

from swapped import free_ports

BAR = 0.9
SECONDS = 5
PATIENCE_S = 60
USERS = 10_000_000
# Makes a listing of 5.8 kB.
EVENTS, GOODS = 5, 12

# As Debian's package has it, but without a log of accesses, which the server has none of either.
NGINX = """worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
daemon off;
events {{ worker_connections 768; }}
http {{
  sendfile on;
  tcp_nopush on;
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  default_type application/json;
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {folder}/www; }}
  }}
}}
"""


def get(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/event/list", timeout=PATIENCE_S) as answer:
        return answer.read()


def started(port, log, *command, **more):
    process = subprocess.Popen(command, stderr=log.open("w"), **more)
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        try:
            get(port)
            return process
        except urllib.error.HTTPError as error:
            process.kill()
            raise SystemExit(f"error: {command[0]} answers {error.code}:\n{log.read_text()[-1000:]}") from None
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise SystemExit(f"error: {command[0]} did not start:\n{log.read_text()[-1000:]}")


def stopped(process):
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def activities():
    goods = [{"id": id, "name": f"Goods number {id}", "price_cents": 990, "stock": 100000, "limit_per_user": 0} for id in range(1, GOODS + 1)]
    times = {"starts_at": "2024-01-01T00:00:00Z", "ends_at": "2034-01-01T00:00:00Z"}
    return {"events": [{"id": id, "name": f"Flash sale {id}", **times, "goods": goods} for id in range(1, EVENTS + 1)]}


def server(binaries, folder):
    public, admin = free_ports(2)
    subprocess.run([binaries / "examples" / "blacklist", "make", "random", folder / "list"], check=True)
    (folder / "activities").write_text(json.dumps(activities()))
    settings = folder / "seckill.toml"
    settings.write_text(
        f'[api]\nbind = "127.0.0.1:{public}"\nblacklist = "{folder}/list"\n'
        f'[admin]\nbind = "127.0.0.1:{admin}"\n[sale]\nactivities = "{folder}/activities"\n'
    )
    process = started(public, folder / "log", binaries / "seckill", "serve", "--config", settings, cwd=folder)
    status = subprocess.run([binaries / "seckill", "status", "--config", settings], cwd=folder, stdout=subprocess.PIPE, text=True)
    if f"{USERS} users blacklisted" not in status.stdout:
        stopped(process)
        raise SystemExit(f"error: it does not hold the list:\n{status.stdout}")
    return process, public


def rate(port):
    """Requests a second by wrk, none of them failed."""
    command = ["wrk", "-t1", "-c32", f"-d{SECONDS}s", f"http://127.0.0.1:{port}/event/list"]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = re.search(r"Requests/sec: +([\d.]+)", text)
    if not found or "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(f"error: not all was served:\n{text}")
    return float(found[1])


def main():
    binaries, folder, rounds = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    ours, port = server(binaries, folder)
    try:
        listing = get(port)
        (folder / "www" / "event").mkdir(parents=True)
        # For its workers, which are somebody else when root starts it.
        folder.chmod(0o755)
        (folder / "www" / "event" / "list").write_bytes(listing)
        [nginx_port] = free_ports(1)
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=nginx_port))
        nginx = started(nginx_port, folder / "nginx.log", "nginx", "-e", folder / "nginx.log", "-p", folder, "-c", folder / "nginx.conf")
        try:
            if get(nginx_port) != listing:
                raise SystemExit("error: nginx serves other bytes")
            seen = [(rate(port), rate(nginx_port)) for _ in range(rounds)]
        finally:
            stopped(nginx)
    finally:
        stopped(ours)
    print(f"listings of {len(listing)} bytes a second, 32 connections, {SECONDS} s each in turns, {os.cpu_count()} CPUs")
    for one, other in seen:
        print(f"seckill {one:8.0f}  nginx {other:8.0f}  ratio {one / other:.2f}")
    ratio = statistics.median(one / other for one, other in seen)
    print(f"median {ratio:.2f}, at least {BAR:.2f} wanted")
    sys.exit(ratio < BAR)


main()
