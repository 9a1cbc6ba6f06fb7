"""Prints the gates of a report.json that failed, a line each. A report without one is an error."""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    report = json.load(file)
failed = [gate for gate in report["verdict"]["gates"] if gate["outcome"] == "fail"]
for gate in failed:
    print(f"    {gate['name']}: {gate['actual']} where {gate['limit']} is the limit")
print(f"    hard downtime {report['downtime']['hard_ms']} ms over {len(report['events'])} events")
if not failed:
    sys.exit("error: exit 1 without a gate that failed")
