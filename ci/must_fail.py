"""Says why the run of a report.json failed: its invariants, or its gates and what the events cost.

Usage: must_fail.py REPORT_JSON. Without any of them, or with a failure that no event explains, it fails itself.
"""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    report = json.load(file)
if report["verdict"]["exit_code"] == 5:
    violated = [check for check in report["invariants"] if check["outcome"] == "fail"]
    for check in violated:
        print(f"    {check['name']}: {check['detail']}")
    sys.exit(0 if violated else "error: no invariant says what is incorrect")
failed = [gate for gate in report["verdict"]["gates"] if gate["outcome"] == "fail"]
for gate in failed:
    print(f"    {gate['name']}: {gate['actual']:g} where {gate['limit']:g} is the limit")
bounds = report["downtime"]["hard_ms"]
print(f"    hard downtime {bounds['lower']} to {bounds['upper']} ms in {len(report['events'])} events")
unattributed = report["requests"]["failed_unattributed"]
if not failed or unattributed != 0:
    sys.exit(f"error: {len(failed)} gates failed, and no event explains {unattributed} failed requests")
