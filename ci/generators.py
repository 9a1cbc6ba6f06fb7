"""Load generators side by side against one nginx, in turn, and a table of what each of them cost.

Cost is the processor time of the whole generator process, start and report included (user and system, from
wait4). Each round runs every generator once, so that whatever else the machine does meets all of them; the
table has the median of the rounds. Ratios are to ours in the same mode; above 1 is cheaper than ours.

Usage: generators.py HARNESS_BINARY EMPTY_FOLDER ROUNDS
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

from swapped import free_ports

RATE = 10_000
CONNECTIONS = 20
# wrk2 calibrates for its first 10 s, so an open loop has to last longer.
OPEN_S = 12
CLOSED_S = 5
PATIENCE_S = 10

NGINX = """worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
daemon off;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ return 200 "hello world\\n"; }}
  }}
}}
"""

SCENARIO = """name = "generators"
description = "Beside other generators."
[target]
kind = "external"
url = "http://127.0.0.1:{port}"
[load]
{load}
[[load.stream]]
name = "busy"
connection = "reused"
connections = {connections}
[gate]
failed_max = 1000000000
unsent_max = 1000000000
{gate}
"""
# What a busy machine costs is in the table, and no reason to stop. A closed loop cannot be late.
LATE = "lateness_p99_us_max = 1000000000"


@dataclasses.dataclass
class Round:
    """What one run of one generator did."""

    requests: int
    seconds: float
    cpu_s: float
    lateness_us: float | None = None


def main():
    harness, folder = (pathlib.Path(argument).resolve(strict=True) for argument in sys.argv[1:3])
    rounds = int(sys.argv[3])
    # So that being stopped from outside, too, ends what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: stopped before the end"))
    [port] = free_ports(1)
    nginx = start_nginx(folder, port)
    try:
        generators = list(all_generators(harness, folder, f"http://127.0.0.1:{port}/", port))
        seen = {key: [] for key, _ in generators}
        for _ in range(rounds):
            for key, run in generators:
                seen[key].append(run())
    finally:
        nginx.terminate()
        nginx.wait(PATIENCE_S)
    show(seen, rounds)


def all_generators(harness, folder, url, port):
    """The generators that are here, by name and mode."""
    opened = f'rate = {RATE}\nduration = "{OPEN_S}s"'
    closed = f'arrival = "closed"\nduration = "{CLOSED_S}s"'
    bunched = f'{opened}\ncoalesce = "1ms"'
    yield ("harness", "closed"), lambda: ours(harness, folder, port, closed, "")
    wrk = shutil.which("wrk") or missing("wrk", "apt-get install wrk")
    if wrk:
        command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{CLOSED_S}s", url]
        yield ("wrk", "closed"), lambda: theirs(command, r"(\d+) requests in ([\d.]+)s")
    h2load = shutil.which("h2load") or missing("h2load", "apt-get install nghttp2-client")
    if h2load:
        h2 = [h2load, "--h1", f"-c{CONNECTIONS}", f"-D{CLOSED_S}", url]
        yield ("h2load", "closed"), lambda: theirs(h2, r"requests: \d+ total, \d+ started, (\d+) done")
    oha = shutil.which("oha") or missing("oha", "cargo install oha")
    if oha:
        tool = [oha, "--no-tui", f"-c{CONNECTIONS}", f"-z{CLOSED_S}s", url]
        yield ("oha", "closed"), lambda: theirs(tool, r"\[200\] (\d+) responses")
    yield ("harness", "open"), lambda: ours(harness, folder, port, opened, LATE)
    yield ("harness", "open, bunches of 1 ms"), lambda: ours(harness, folder, port, bunched, LATE)
    wrk2 = os.environ.get("WRK2") or shutil.which("wrk2") or missing("wrk2", "build it and set WRK2=PATH")
    if wrk2:
        two = [wrk2, "-t1", f"-c{CONNECTIONS}", f"-d{OPEN_S}s", f"-R{RATE}", url]
        yield ("wrk2", "open"), lambda: theirs(two, r"(\d+) requests in ([\d.]+)s")
    if oha:
        paced = [oha, "--no-tui", f"-c{CONNECTIONS}", f"-z{OPEN_S}s", f"-q{RATE}", "--latency-correction", url]
        yield ("oha", "open"), lambda: theirs(paced, r"\[200\] (\d+) responses", OPEN_S)


def missing(name, how):
    print(f"missing: {name}, so it is not in the table ({how})", flush=True)


def ours(harness, folder, port, load, gate):
    """One run of the harness; its report knows the lateness."""
    scenario, run = folder / "generators.toml", folder / "run"
    scenario.write_text(SCENARIO.format(port=port, load=load, gate=gate, connections=CONNECTIONS))
    shutil.rmtree(run, ignore_errors=True)
    _, cpu_s = measured([harness, "scenario", scenario, "--quiet", "--out", run])
    report = json.loads((run / "report.json").read_text())
    served, lost = report["requests"]["ok"], report["requests"]["failed"] + report["load"]["unsent"]
    if served == 0:
        raise SystemExit(f"error: no request was served: {report['requests']['by_class']}")
    if lost:
        print(f"note: {lost} requests failed or were not sent, so the machine was too busy", flush=True)
    return Round(served, report["run"]["duration_s"], cpu_s, report["load"]["lateness_us"]["p99"])


def theirs(command, pattern, seconds=CLOSED_S):
    """One run of another generator; the pattern finds its requests, and its time if it says it."""
    text, cpu_s = measured(command)
    found = re.search(pattern, text)
    if not found or int(found[1]) == 0:
        raise SystemExit(f"error: {command[0]} does not say how many requests it made:\n{text}")
    return Round(int(found[1]), float(found[2]) if len(found.groups()) > 1 else seconds, cpu_s)


def measured(command):
    """Output and processor time of a program that has to end well."""
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        text = started.stdout.read()
        _, status, used = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if started.returncode is None:
            started.kill()
            started.wait(PATIENCE_S)
    if started.returncode != 0:
        raise SystemExit(f"error: {command[0]} ended with {started.returncode}:\n{text}")
    return text, used.ru_utime + used.ru_stime


def start_nginx(folder, port):
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port))
    nginx = subprocess.Popen(["nginx", "-e", folder / "error.log", "-p", folder, "-c", config])
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return nginx
        except OSError:
            if nginx.poll() is not None or time.monotonic() > end:
                nginx.kill()
                raise SystemExit(f"error: nginx did not start:\n{(folder / 'error.log').read_text()}") from None
            time.sleep(0.01)


def show(seen, rounds):
    print(f"median of {rounds} rounds, {CONNECTIONS} connections, open loops at {RATE}/s, {os.cpu_count()} CPUs")
    row = "{:<8} {:<22} {:>10} {:>7} {:>11} {:>6} {:>10}"
    print(row.format("program", "mode", "requests/s", "CPU s", "req/CPU s", "ratio", "late us p99"))
    per_cpu = {key: statistics.median(one.requests / one.cpu_s for one in all_) for key, all_ in seen.items()}
    for (name, mode), all_ in seen.items():
        late = [one.lateness_us for one in all_ if one.lateness_us is not None]
        cells = (
            f"{statistics.median(one.requests / one.seconds for one in all_):.0f}",
            f"{statistics.median(one.cpu_s for one in all_):.2f}",
            f"{per_cpu[name, mode]:.0f}",
            f"{per_cpu[name, mode] / per_cpu['harness', mode.split(',')[0]]:.2f}",
            f"{statistics.median(late):.0f}" if late else "-",
        )
        print(row.format(name, mode, *cells))


if __name__ == "__main__":
    main()
