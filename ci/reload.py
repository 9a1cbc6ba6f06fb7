"""Ends with 0 if a run of a report.json has not passed for its times alone.

Usage: reload.py REPORT_JSON. What may not have passed: how soon a change was served, and how steady the instrument was.
"""

import json
import sys

TIMES = ("propagation_p99_ms_max.", "stale_ms_max", "latency_p99_ms_max", "lateness_p99_us_max", "unsent_max", "blind_ms_max")

with open(sys.argv[1], encoding="utf-8") as file:
    verdict = json.load(file)["verdict"]
missed = [gate for gate in verdict["gates"] if gate["outcome"] != "pass"]
for gate in missed:
    print(f"    {gate['name']}: {gate['outcome']}, {gate['actual']} where {gate['limit']} is the limit")
for reason in verdict["reasons"]:
    print(f"    {reason}")
if verdict["exit_code"] not in (1, 4) or not all(gate["name"].startswith(TIMES) for gate in missed):
    sys.exit(1)
