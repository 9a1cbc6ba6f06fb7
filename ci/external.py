"""Runs the harness against the servers of ci/faulty, and compares what it reports with what they counted.

Usage: external.py HARNESS_BINARY EMPTY_FOLDER
"""

import json
import pathlib
import subprocess
import sys
import time

FAULTY = pathlib.Path(__file__).resolve().parent / "faulty"
PATIENCE_S = 10
# Twice 1/rate would do on an idle machine; this is what a busy one may add to either end.
BOUNDS_WIDTH_MS_MAX = 500


def main():
    harness, folder = (pathlib.Path(argument).resolve(strict=True) for argument in sys.argv[1:3])
    problems = []
    for name, judge in (("resets", judge_resets), ("away", judge_away)):
        report, truth = run(harness, folder / name, name)
        found = judge(report, truth)
        if report["verdict"]["exit_code"] != 1:
            found.append(f"the verdict is {report['verdict']}")
        problems += [f"{name}: {problem}" for problem in found]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


def run(harness, folder, name):
    """One scenario against its server: the report, and the server's own count."""
    folder.mkdir()
    server = subprocess.Popen([sys.executable, FAULTY / "server.py", name, folder])
    try:
        port = wait_for_text(folder / "port")
        command = [harness, "scenario", FAULTY / f"{name}.toml", "--quiet", "--out", folder / "run"]
        command += ["--set", f"target.url=http://127.0.0.1:{port}"]
        if name == "away":
            command += ["--set", f"event.0.pid_file={folder / 'pid'}"]
        done = subprocess.run(command, timeout=60)
        if done.returncode != 1:
            raise SystemExit(f"error: {name}: the harness ended with {done.returncode} instead of 1")
    finally:
        server.terminate()
        server.wait(PATIENCE_S)
    report = json.loads((folder / "run" / "report.json").read_text())
    return report, json.loads((folder / "truth.json").read_text())


def judge_resets(report, truth):
    requests = report["requests"]
    print(f"resets: the server read {truth['requests']} requests and reset {truth['resets']};", end=" ")
    print(f"the report has {requests['total']} and {requests['failed']}: {requests['by_class']}")
    problems = []
    if truth["resets"] == 0:
        problems.append("the server reset nothing, so nothing was checked")
    if requests["total"] != truth["requests"]:
        problems.append("the report counts other requests than the server")
    if requests["by_class"] != {"reset": truth["resets"]} or requests["failed"] != truth["resets"]:
        problems.append("the report counts other resets than the server")
    if requests["by_connection"]["new"]["failed"] != 0:
        problems.append("the report blames a connection's first request")
    return problems


def judge_away(report, truth):
    bounds = report["downtime"]["hard_ms"]
    lower, upper = bounds["lower"], bounds["upper"]
    print(f"away: the server was away for {truth['inner_ms']:.1f} to {truth['outer_ms']:.1f} ms;", end=" ")
    print(f"the report says {lower} to {upper} ms")
    problems = []
    if truth["inner_ms"] < 2000:
        problems.append("the server was not away, so nothing was checked")
    if not lower <= truth["outer_ms"] or not truth["inner_ms"] <= upper:
        problems.append("the bounds of the downtime do not hold the truth")
    if upper - lower > BOUNDS_WIDTH_MS_MAX:
        problems.append(f"the bounds are more than {BOUNDS_WIDTH_MS_MAX} ms apart")
    events = {window["event"] for window in report["downtime"]["windows"] if window["kind"] == "hard"}
    if events != {report["events"][0]["id"]}:
        problems.append(f"the downtime is attributed to {events} instead of the signal")
    if report["requests"]["failed_unattributed"] != 0:
        problems.append("failed requests are attributed to nothing")
    return problems


def wait_for_text(path):
    end = time.monotonic() + PATIENCE_S
    while not path.exists() or not path.read_text():
        if time.monotonic() > end:
            raise SystemExit(f"error: waited {PATIENCE_S} s in vain for {path.name}")
        time.sleep(0.01)
    return path.read_text()


if __name__ == "__main__":
    main()
