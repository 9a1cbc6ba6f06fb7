"""Runs the proofs of the fault catalogue and says row by row what came of them.

A proof is a test by its name, a scenario by its name, or a script of ci/. Each runs once, however many rows name it.
A scenario has to pass; one of scenarios/must-fail has to fail, with exit 1. A scenario that is inconclusive (the
machine was too busy to tell) is run once more. A proof that could not be run has failed.

Usage: catalogue.py [ROW..]. Without rows: all, and the page reports/published/catalogue.md is written.
"""

import json
import os
import pathlib
import subprocess
import sys
import tomllib

CATALOGUE = pathlib.Path("ci/catalogue.toml")
PAGE = pathlib.Path("reports/published/catalogue.md")
INCONCLUSIVE = 4
# No proof takes this long.
LIMIT_S = 600
PARTS = {
    "A": "The new process",
    "B": "The old process",
    "C": "Whoever controls it",
    "D": "Clients",
    "E": "The kernel and the host",
    "F": "Controls: the harness has to fail these",
}


def main():
    rows = tomllib.loads(CATALOGUE.read_text())["row"]
    wanted = sys.argv[1:]
    unknown = set(wanted) - {row["id"] for row in rows}
    if unknown:
        sys.exit(f"error: no row is called {', '.join(sorted(unknown))}")
    chosen = [row for row in rows if not wanted or row["id"] in wanted]
    tests = find_tests()
    results = {}
    for row in chosen:
        for proof in row.get("proof", []):
            if proof not in results:
                results[proof] = run(proof, tests)
        print(f"{row['id']:<4} {verdict(row, results):<11} {row['trigger']}", flush=True)
        for proof in row.get("proof", []):
            if results[proof]:
                print(f"       {proof}: {results[proof]}", flush=True)
    if not wanted:
        PAGE.write_text(page(rows, results))
        print(f"written: {PAGE}")
    failed = [row["id"] for row in chosen if verdict(row, results) == "failed"]
    sys.exit(f"error: failed: {', '.join(failed)}" if failed else 0)


def find_tests():
    """Each test's name, with its whole name, its program, and the folder to run it in."""
    command = ["cargo", "test", "--workspace", "--no-run", "--message-format=json"]
    built = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    tests = {}
    for line in built.stdout.splitlines():
        message = json.loads(line)
        program = message.get("executable")
        if not program or not message["profile"]["test"]:
            continue
        folder = pathlib.Path(message["manifest_path"]).parent
        listed = subprocess.run([program, "--list"], check=True, stdout=subprocess.PIPE, text=True, cwd=folder)
        for entry in listed.stdout.splitlines():
            name, colon, kind = entry.rpartition(": ")
            if colon and kind == "test":
                tests.setdefault(name.rpartition("::")[2], []).append((name, program, folder))
    return tests


def run(proof, tests):
    """What is wrong; nothing: the proof held."""
    if proof in tests:
        for name, program, folder in tests[proof]:
            fault = call([program, "--exact", name], folder)
            if fault != 0:
                return f"the test ended with {fault}"
        return ""
    if proof.startswith("ci/"):
        code = call([proof], None)
        return f"it ended with {code}" if code != 0 else ""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    command = [target / "debug" / "harness", "scenario", proof, "--quiet"]
    wanted = 1 if proof.startswith("must-fail/") else 0
    code = call(command, None)
    if code == INCONCLUSIVE:
        code = call(command, None)
    return f"the scenario ended with exit {code} instead of {wanted}" if code != wanted else ""


def call(command, folder):
    """The exit code; what was printed only when something is to be looked into."""
    try:
        done = subprocess.run(
            command, cwd=folder, timeout=LIMIT_S, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
        )
    except subprocess.TimeoutExpired:
        return f"no result within {LIMIT_S} s"
    if done.returncode not in (0, 1):
        print(done.stdout[-3000:], file=sys.stderr)
    elif done.returncode == 1 and "must-fail" not in str(command):
        print(done.stdout[-3000:], file=sys.stderr)
    return done.returncode


def verdict(row, results):
    if "impossible" in row:
        return "impossible"
    return "failed" if any(results[proof] for proof in row["proof"]) else "passed"


def page(rows, results):
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, stdout=subprocess.PIPE, text=True)
    kernel = os.uname().release
    counts = [verdict(row, results) for row in rows]
    lines = [
        "# The fault catalogue",
        "",
        f"What `ci/catalogue` found at {commit.stdout.strip()} on kernel {kernel} with {os.cpu_count()} processors: "
        f"{counts.count('passed')} rows passed, {counts.count('failed')} failed, {counts.count('impossible')} cannot be made here.",
        "The rows are in `ci/catalogue.toml`, with what the invariants mean; the command in the last column repeats a row.",
    ]
    part = ""
    for row in rows:
        if row["id"][0] != part:
            part = row["id"][0]
            lines += ["", f"## {part}. {PARTS[part]}", "", "| row | what happens | what holds | answer | last result | proof | command |"]
            lines += ["|---|---|---|---|---|---|---|"]
        if "impossible" in row:
            result, proofs = f"impossible: {row['impossible']}", ""
        else:
            faults = "; ".join(f"{proof}: {results[proof]}" for proof in row["proof"] if results[proof])
            result = f"**failed**: {faults}" if faults else "passed"
            proofs = ", ".join(f"`{proof}`" for proof in row["proof"])
        cells = [row["id"], row["trigger"], " ".join(row.get("invariants", [])), row.get("answer", ""), result, proofs]
        cells.append(f"`ci/catalogue {row['id']}`" if "proof" in row else "")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
