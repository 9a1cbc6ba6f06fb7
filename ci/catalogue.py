"""Runs the proofs of the fault catalogue and says row by row what came of them.

A proof is a test by its name, a scenario by its name, or a script of ci/. Each runs once, however many rows name it.
A scenario has to pass; one of scenarios/must-fail has to fail, with exit 1. A scenario that is inconclusive (the
machine was too busy to tell) is run twice more. A proof that could not be run has failed.

The last result of each proof is kept in reports/published/catalogue.json, with the commit that it was found at, and
the page reports/published/catalogue.md is made of all of them. It ends with 1 when a row of this run did not pass.

Usage: catalogue.py [ROW..]. Without rows: all.
       catalogue.py --check runs nothing, says where the page is not what the rows and the results make, and which
       proofs have no result, and ends with 1 if there are any.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tomllib

CATALOGUE = pathlib.Path("ci/catalogue.toml")
PAGE = pathlib.Path("reports/published/catalogue.md")
RESULTS = pathlib.Path("reports/published/catalogue.json")
INCONCLUSIVE = 4
TRIES = 3
SKIPPED = ("NOT RUN", "NOT TESTED")
TOO_BUSY = "inconclusive: the machine was too busy to tell"
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
    if wanted == ["--check"]:
        faults = behind(rows, last_results(), PAGE.read_text() if PAGE.exists() else "")
        for fault in faults:
            print(f"{PAGE}: {fault}", file=sys.stderr)
        sys.exit(f"error: run `ci/catalogue ROW..` for what is behind {CATALOGUE}" if faults else 0)
    unknown = set(wanted) - {row["id"] for row in rows}
    if unknown:
        sys.exit(f"error: no row is called {', '.join(sorted(unknown))}")
    chosen = [row for row in rows if not wanted or row["id"] in wanted]
    tests = find_tests()
    at = {"commit": commit(), "kernel": os.uname().release, "processors": os.cpu_count()}
    results = last_results()
    done = set()
    for row in chosen:
        for proof in row.get("proof", []):
            if proof not in done:
                done.add(proof)
                results[proof] = {"fault": run(proof, tests), **at}
        print(f"{row['id']:<4} {verdict(row, results):<12} {row['trigger']}", flush=True)
        for proof in row.get("proof", []):
            if results[proof]["fault"]:
                print(f"       {proof}: {results[proof]['fault']}", flush=True)
    named = {proof for row in rows for proof in row.get("proof", [])}
    RESULTS.write_text(json.dumps({proof: results[proof] for proof in sorted(named & set(results))}, indent=1) + "\n")
    PAGE.write_text(page(rows, results))
    bad = [row["id"] for row in chosen if verdict(row, results) not in ("passed", "impossible")]
    sys.exit(f"error: not passed: {', '.join(bad)}" if bad else 0)


def last_results():
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def behind(rows, results, text):
    """What the page, as it is, does not say of the rows and the results."""
    named = {proof: row["id"] for row in reversed(rows) for proof in row.get("proof", [])}
    faults = [f"{row}: `{proof}` has no result" for proof, row in sorted(named.items()) if proof not in results]
    faults += [f"`{proof}` has a result, and no row names it" for proof in sorted(set(results) - set(named))]
    wanted = page(rows, results)
    (wanted_rows, wanted_rest), (found_rows, found_rest) = split(wanted), split(text)
    for row in dict.fromkeys([*wanted_rows, *found_rows]):
        if row not in wanted_rows:
            faults.append(f"{row} is no row of the catalogue")
        elif wanted_rows[row] != found_rows.get(row):
            faults.append(f"{row} says something else than the catalogue and the results, or is missing")
    if wanted_rest != found_rest:
        faults.append("what stands around the rows is not what the results make")
    return faults


def split(text):
    """The lines of a page's rows by their ids, and the other lines."""
    lines = [(re.match(r"\| ([A-Z]\d+) \|", line), line) for line in text.splitlines()]
    return {row[1]: line for row, line in lines if row}, [line for row, line in lines if not row]


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
            fault, said = call([program, "--exact", name, "--nocapture"], folder)
            if fault != 0:
                return f"the test ended with {fault}"
            # A test that finds no etcd, or may not do what it needs, says so and passes.
            if "test result: ok. 1 passed" not in said or any(word in said for word in SKIPPED):
                return "the test did not run"
        return ""
    if proof.startswith("ci/"):
        code, _ = call([proof], None)
        return f"it ended with {code}" if code != 0 else ""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    command = [target / "debug" / "harness", "scenario", proof, "--quiet"]
    wanted = 1 if proof.startswith("must-fail/") else 0
    for _ in range(TRIES):
        code, _ = call(command, None)
        if code != INCONCLUSIVE:
            break
    if code == INCONCLUSIVE:
        return TOO_BUSY
    return f"the scenario ended with exit {code} instead of {wanted}" if code != wanted else ""


def call(command, folder):
    """The exit code, and what was printed."""
    # In a group of its own, so that nothing that it has started outlives it. With CI set a missing service is a failure.
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True, env={**os.environ, "CI": "true"},
    )
    try:
        said, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"no result within {LIMIT_S} s", ""
    if process.returncode not in (0, 1) or (process.returncode == 1 and "must-fail" not in str(command)):
        print(said[-3000:], file=sys.stderr)
    return process.returncode, said


def verdict(row, results):
    if "impossible" in row:
        return "impossible"
    if any(proof not in results for proof in row["proof"]):
        return "not run"
    faults = {results[proof]["fault"] for proof in row["proof"]} - {""}
    if not faults:
        return "passed"
    return "inconclusive" if faults == {TOO_BUSY} else "failed"


def commit():
    """The commit of the files that are tried; with a plus when they are not all committed."""
    ask = lambda *words: subprocess.run(["git", *words], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    changed = ask("status", "--porcelain", "--untracked-files=no", "--", ".", ":!reports/published")
    return ask("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def page(rows, results):
    verdicts = [verdict(row, results) for row in rows]
    words = ("passed", "impossible", "inconclusive", "failed", "not run")
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in words if word in verdicts)
    machines = sorted({f"kernel {last['kernel']} with {last['processors']} processors" for last in results.values()})
    lines = [
        "# The fault catalogue",
        "",
        f"The last result of each row, on {' and '.join(machines)}: {counts}.",
        "`ci/catalogue` runs all, and the command of a row repeats that row. A row that is impossible says why; behind each "
        "proof stands the commit at which it was last run. What the invariants mean stands in `ci/catalogue.toml`.",
    ]
    part = ""
    for row in rows:
        if row["id"][0] != part:
            part = row["id"][0]
            lines += ["", f"## {part}. {PARTS[part]}", ""]
            lines += ["| row | what happens | what holds | answer | last result | proofs | command |"]
            lines += ["|---|---|---|---|---|---|---|"]
        result = verdict(row, results)
        if result == "impossible":
            result += f": {row['impossible']}"
        proofs = []
        for proof in row.get("proof", []):
            last = results.get(proof)
            fault = f": **{last['fault']}**" if last and last["fault"] else ""
            proofs.append(f"`{proof}` ({last['commit'] if last else 'not run'}){fault}")
        command = f"`ci/catalogue {row['id']}`" if proofs else ""
        holds = " ".join(row.get("invariants", []))
        cells = [row["id"], row["trigger"], holds, row.get("answer", ""), result, ", ".join(proofs), command]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
