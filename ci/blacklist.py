"""Measures both designs of the blacklist, each in a process of its own, and holds ours to its bars."""

import pathlib
import statistics
import subprocess
import sys
import time
import urllib.request

from swapped import free_ports

BARS = [
    ("reload", "s", 0.4),
    ("resident", "MB", 60.0),
    ("peak over quiet", "MB", 200.0),
    ("p99 during / quiet", "x", 1.2),
    ("lookup, median", "us", 0.2),
]
LOOKUP_ROUNDS = 5


def memory_mb(pid, key):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1000 * 1.024
    raise SystemExit(f"error: the process has no {key}")


class Bench:
    def __init__(self, binaries, folder, reloads):
        self.seckill = binaries / "seckill"
        self.parts = binaries / "examples" / "blacklist"
        self.folder = folder
        # The hash set takes about 30 times as long for one.
        self.reloads = {"packed": reloads, "obvious": max(1, reloads // 5)}
        self.public, self.admin = free_ports(2)
        self.settings = folder / "seckill.toml"
        self.settings.write_text(
            f'[api]\nbind = "127.0.0.1:{self.public}"\nblacklist = "{folder}/list"\n'
            f'[admin]\nbind = "127.0.0.1:{self.admin}"\ntoken_file = "{folder}/admin"\n'
            f'[auth]\nsecret_file = "{folder}/secret"\n[store]\npath = "{folder}/store"\n'
            f'[sale]\nactivities = "{folder}/activities"\n[upgrade]\nsocket = "{folder}/socket"\n'
            f'[global]\npid = "{folder}/pid"\nlogLevel = "warn"\n'
            f'[reload]\ncopies = "{folder}/copies"\n'
            # Nothing is read but when it is asked for.
            + "".join(f'[reload.{datum}]\nby = "push"\n' for datum in ("blacklist", "activities"))
        )
        (folder / "activities").write_text('{"events":[]}')

    def run(self, *arguments):
        done = subprocess.run(arguments, stdout=subprocess.PIPE, check=True, text=True)
        return done.stdout

    def start(self, design):
        """The process, and the addresses of its public side and of what reloads."""
        if design == "packed":
            process = subprocess.Popen([self.seckill, "serve", "--config", self.settings], cwd=self.folder)
            for _ in range(600):
                time.sleep(0.1)
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{self.public}/event/list").read()
                    return process, f"127.0.0.1:{self.public}", f"127.0.0.1:{self.admin}"
                except OSError:
                    if process.poll() is not None:
                        break
            raise SystemExit("error: seckill did not start")
        command = [self.parts, "obvious", self.folder / "secret", self.folder / "list"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        address = process.stdout.readline().strip()
        return process, address, address

    def measure(self, design, order):
        held = self.folder / "list"
        held.write_text("")
        process, _, _ = self.start(design)
        empty_mb = memory_mb(process.pid, "VmRSS")
        process.terminate()
        process.wait()
        held.unlink()
        held.symlink_to(self.folder / order)
        process, public, reload = self.start(design)
        try:
            list_mb = memory_mb(process.pid, "VmRSS") - empty_mb
            users = self.run("head", "--lines=2000", self.folder / order).split()
            tokens = [self.token(user) for user in users[:64]]
            admin = (self.folder / "admin").read_text().strip() if design == "packed" else "-"
            (self.folder / "tokens").write_text("\n".join([admin, *tokens]))
            # What was allocated while it started does not count.
            drive = [self.parts, "drive", public, reload, self.folder / "tokens"]
            self.run(*drive, "1")
            quiet_mb = memory_mb(process.pid, "VmRSS")
            pathlib.Path(f"/proc/{process.pid}/clear_refs").write_text("5")
            seconds, quiet_us, beside_us, during_us, requests = map(float, self.run(*drive, str(self.reloads[design])).split())
            peak_mb = memory_mb(process.pid, "VmHWM") - quiet_mb
            list_mb = max(list_mb, memory_mb(process.pid, "VmRSS") - empty_mb)
        finally:
            process.terminate()
            process.wait()
            held.unlink()
        print(
            f"  {design:8} {order:7} p99 quiet {quiet_us:.0f} us, beside counting threads {beside_us:.0f} us, "
            f"during {during_us:.0f} us of {requests:.0f} requests",
            file=sys.stderr,
        )
        if requests < 100:
            raise SystemExit("error: too few requests during the reloads for a p99; reload more often")
        return [seconds, list_mb, peak_mb, during_us / quiet_us], beside_us / quiet_us

    def lookups_us(self, order):
        """Of both designs and of one wait for memory, in turns: the machine is quicker in some minutes."""
        designs = ("packed", "set", "wait")
        rounds = [
            [float(self.run(self.parts, "lookup", design, self.folder / order)) / 1000 for design in designs]
            for _ in range(LOOKUP_ROUNDS)
        ]
        return [statistics.median(of_one) for of_one in zip(*rounds)]

    def token(self, user):
        return self.run(self.seckill, "token", "--config", self.settings, "--user", user).strip()


def main():
    binaries, folder, reloads = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    bench = Bench(binaries, folder, reloads)
    verdicts = []
    print(
        f"10,000,000 ids of ten digits at 1,000 requests a second, medians of {reloads} reloads, "
        f"of the hash set of {bench.reloads['obvious']}"
    )
    print(f"{'order':7} {'figure':20} {'packed':>9} {'hash set':>9} {'bar':>9}")
    for order in ("random", "sorted"):
        bench.run(bench.parts, "make", order, folder / order)
        (ours, machine), (obvious, _) = bench.measure("packed", order), bench.measure("obvious", order)
        packed_us, set_us, wait_us = bench.lookups_us(order)
        ours.append(packed_us)
        obvious.append(set_us)
        for (figure, unit, bar), packed, hashed in zip(BARS, ours, obvious):
            # Where threads that only count make requests as late, nothing is known of the reload; and where a
            # look-up takes less than two waits, it is the memory that is slow.
            machines = {"p99 during / quiet": bar * machine, "lookup, median": 2 * wait_us}
            is_machine = packed <= machines.get(figure, 0)
            verdict = "PASS" if packed <= bar else "MACHINE" if is_machine else "MISSED"
            verdicts.append(verdict)
            print(f"{order:7} {figure + ', ' + unit:20} {packed:9.3f} {hashed:9.3f} {bar:9.3f}  {verdict}")
        print(f"{order:7} p99 beside threads that only count / quiet: {machine:.3f}; one wait for memory: {wait_us:.3f} us")
        (folder / order).unlink()
    sys.exit(1 if "MISSED" in verdicts else 4 if "MACHINE" in verdicts else 0)


main()
