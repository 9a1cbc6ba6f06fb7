"""Says what a run through Redis and MySQL has proven, and whether it is worth another try.

Usage: services.py REPORT_JSON process|container ORDERS_MIN. Ends with 0 if the run has passed and what it is to prove
has happened, with 75 (EX_TEMPFAIL of sysexits.h) if it was only too slow, or inconclusive for the machine, else with 1.
"""

import json
import sys

TIMES = ("recovery_ms_max", "propagation_p99_ms_max.", "lateness_p99_us_max", "unsent_max", "blind_ms_max")

path, kind, orders_min = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    report = json.load(file)
verdict, requests, services = report["verdict"], report["requests"], report["environment"]["services"]

ended = {}
for event in report["events"]:
    detail = event["detail"]
    what = f"{detail['of']} {detail['fault']['is']}" if event["kind"] == "fault" and "fault" in detail else event["kind"]
    ended[what] = ended.get(what, 0) + event["as_expected"]
recovered = [event["detail"]["recovered_ms"] for event in report["events"] if "recovered_ms" in event["detail"]]
stored = report["orders"]["stored"]
print(f"    {report['run']['scenario']}: {requests['total']} requests, {requests['failed']} failed, {stored} orders;", end=" ")
print(", ".join(f"{count} x {what}" for what, count in sorted(ended.items())), end="")
print(f"; orders were in MySQL again within {max(recovered)} ms" if recovered and None not in recovered else "")

if verdict["exit_code"] != 0:
    missed = [gate for gate in verdict["gates"] if gate["outcome"] != "pass"]
    for reason in verdict["reasons"]:
        print(f"    {reason}")
    # A store that was not read is no matter of the machine; without a gate it is the log or the control that has gaps.
    of_machine = stored is not None and all(gate["name"].startswith(TIMES) or gate["outcome"] == "inconclusive" for gate in missed)
    sys.exit(75 if verdict["exit_code"] in (1, 4) and of_machine else 1)

wrong = []
if services != {"etcd": kind, "mysql": kind, "redis": kind, "store": "redis-mysql"}:
    wrong.append(f"the services were {services}")
if stored < int(orders_min):
    wrong.append(f"{stored} orders prove nothing, {orders_min} would")
if not any(check["name"] == "stores-agree" and check["outcome"] == "pass" for check in report["invariants"]):
    wrong.append("Redis and MySQL were not compared")
# Who kills Redis or the server and loses nothing at all has not killed it.
if any(what in ended for what in ("redis kill", "server kill")) and requests["failed"] == 0:
    wrong.append("what was killed was missed by nobody")
for problem in wrong:
    print(f"error: {problem}", file=sys.stderr)
sys.exit(1 if wrong else 0)
