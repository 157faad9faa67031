"""Measures what the sidecar costs, each figure beside its floors in the same run: python benchmarks/sidecar.py.

All run from one virtual environment as `pip install` leaves it, on one redis-server, in turns, so that whatever else
the machine does falls on all of them. Medians are shown; what counts is the ratio.

  RSS, USS, PSS         memory of an agent that has applied one patch, 5 s after its start: all, what is its own, and
                        its fair share. One process at a time, so that nothing of its own is shared. Floors: an
                        interpreter that sleeps; redis-py and PyYAML, subscribed
  exec to subscribed    from starting the process until Redis carries out its SUBSCRIBE, once as `hms-svc run` and once
                        as `python -m hms_svc run`. Floors: the same subscriber; an interpreter that starts and ends
  exec to first report  until the snapshot is verified, applied and reported; no floor does that
  idle CPU, wake-ups    of an agent with nothing to do but its watchdog, and MGT's heartbeat every 5 s: the bake of
                        its one patch is over, for until then it looks after the process each second. CPU is the
                        scheduler's own count, in percent of one core. Floors: the subscriber, which only sleeps; a
                        script that sends one PING a second (waker.py)
  delta to HUP          from publishing one small change until the served process has its signal. Floor: a straight
                        script with the same syncs (by_hand.py), and the same with both signatures checked
  load and write-back   a 500-line conf.yml with comments: read it, change one value, say it again with every
                        comment kept. Floor: PyYAML's C loader and dumper, which lose them
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import place

sys.path.insert(0, str(place.ROOT))

from tests.svc_io.rig import Agent, Control, Redis, until  # the tests' world serves here as well

HERE = Path(__file__).parent
BARE = "import time; time.sleep(1000)"
MIB = 2**20
HUP_PAUSE = 0.7  # the sidecar spaces its reloads: leave it idle in between
HEARTBEAT_SECONDS = 5.0


class Row(NamedTuple):
    """One line of the table: ours, a floor, and how many floors it may cost (or the figure that it may be)."""

    name: str
    unit: str
    ours: float
    floor_name: str = ""
    floor: float | None = None
    limit: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many floors it costs."""
        return self.ours / self.floor if self.floor else None

    @property
    def verdict(self) -> str:
        """Whether it is within its limit."""
        if self.limit is None:
            return ""
        return "ok" if (self.ours if self.ratio is None else self.ratio) <= self.limit else "OVER"

    def line(self) -> str:
        """The line people read."""
        floor = f"{self.floor:.3g}" if self.floor is not None else ""
        ratio = f"{self.ratio:.2f}" if self.ratio is not None else ""
        limit = f"{self.limit:g}" if self.limit is not None else ""
        ours = f"{self.ours:.3g} {self.unit}"
        return f"{self.name:30}{ours:>12}  {self.floor_name:26}{floor:>8}{ratio:>7}{limit:>7}  {self.verdict}"


class Sidecar(Agent):
    """The rig's agent, started as its users start it."""

    def __init__(self, bench: "Bench", name: str, start: list[str], **settings: str) -> None:
        super().__init__(bench.place / name, bench.control, bench.redis.url, **settings)
        self._start = start
        del self.environment["PYTHONPATH"]

    def command(self, *arguments: str) -> list[str]:
        """The command line."""
        return [*self._start, *arguments]

    def settled(self) -> "Sidecar":
        """Start it and wait until it has applied what there is."""
        self.start()
        until(lambda: "[1]" in str(self.events("effective")), "the first patch in effect")
        return self


class Bench:
    """What all measurements share."""

    def __init__(self, directory: Path, options: argparse.Namespace) -> None:
        self.place = directory
        self.quick = options.quick
        self.rounds = 5 if options.quick else 21
        self.idle_seconds = 20 if options.quick else 90
        self.python = str(place.make(directory / "venv"))
        self.redis = Redis(directory / "redis")
        self.control = Control(self.redis.client)
        self.control.put(1, {"rate_limit_rps": 200})
        self.module = [self.python, "-m", "hms_svc"]
        self.script = [self.python.removesuffix("python") + "hms-svc"]
        self.subscriber = [self.python, str(HERE / "subscriber.py"), str(self.redis.port)]


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a minute instead of five")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    options = parser.parse_args()
    # /tmp is often in memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(prefix="hms-benchmark-", dir="/var/tmp") as directory:
        bench = Bench(Path(directory), options)
        try:
            rows = [*memory(bench), *start_up(bench), *idle(bench), *delta_to_hup(bench), *write_back(bench)]
        finally:
            bench.redis.kill()
    if options.json:
        print(json.dumps([{**row._asdict(), "ratio": row.ratio, "verdict": row.verdict} for row in rows], indent=1))
    else:
        print(f"{place.describe()}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
        print(f"{'':30}{'hms-svc':>12}  {'beside':26}{'':>8}{'ratio':>7}{'limit':>7}")
        for row in rows:
            print(row.line())
    sys.exit(any(row.verdict == "OVER" for row in rows))


def say(words: str) -> None:
    """Tell how far it is."""
    print(words, file=sys.stderr)


@contextmanager
def running(*command: str) -> Iterator[int]:
    """Run a process until the block ends; gives its number."""
    process = subprocess.Popen(command)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


# --- memory -------------------------------------------------------------------------------------------------


def memory(bench: Bench) -> Iterator[Row]:
    """Measure memory, one process at a time: what two share would be nobody's own."""
    found: dict[str, list[dict[str, float]]] = {"bare": [], "subscriber": [], "ours": []}
    for turn in range(1 if bench.quick else 3):
        with running(bench.python, "-c", BARE) as bare:
            time.sleep(2)
            found["bare"].append(_memory_of(bare))
        with running(*bench.subscriber, "cfg::FLOOR") as subscriber:
            _subscribed(bench, "cfg::FLOOR")
            time.sleep(2)
            found["subscriber"].append(_memory_of(subscriber))
        agent = Sidecar(bench, f"memory{turn}", bench.script).settled()
        time.sleep(5)
        found["ours"].append(_memory_of(agent.pid))
        agent.kill()
        say(f"memory, turn {turn}: " + ", ".join(f"{kind} {size:.2f} MiB" for kind, size in found["ours"][-1].items()))
    limits = {"RSS": (2.2, 0.6), "USS": (3.0, None), "PSS": (None, None)}
    for kind, (beside_bare, beside_subscriber) in limits.items():
        alone, library, ours = (statistics.median(one[kind] for one in found[name]) for name in found)
        yield Row(kind, "MiB", ours, "bare interpreter", alone, beside_bare)
        yield Row(kind, "MiB", ours, "redis-py + PyYAML", library, beside_subscriber)


def _subscribed(bench: Bench, channel: str, many: int = 1) -> None:
    numbers = bench.redis.client.pubsub_numsub
    until(lambda: numbers(channel)[0][1] >= many, f"{many} subscribers of {channel}")


def _memory_of(pid: int) -> dict[str, float]:
    """Read RSS, USS and PSS in MiB."""
    fields: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        fields[name] = int(value.split()[0]) * 1024 / MIB
    own = fields["Private_Clean"] + fields["Private_Dirty"]
    return {"RSS": fields["Rss"], "USS": own, "PSS": fields["Pss"]}


# --- start-up -----------------------------------------------------------------------------------------------


class Monitor:
    """Everything Redis carries out, as it does so: asking it again and again would cost what is measured."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), 20)
        self._sock.sendall(b"MONITOR\r\n")
        self._seen = self._sock.recv(1024)

    def wait(self, word: bytes) -> float:
        """Wait for a command; when it was seen."""
        while word not in self._seen:
            self._seen = self._seen[-200:] + self._sock.recv(65536)
        self._seen = self._seen.partition(word)[2]
        return time.perf_counter()


def start_up(bench: Bench) -> Iterator[Row]:
    """Measure start-up in turns."""
    starts = {"hms-svc": bench.script, "python -m": bench.module}
    agents = {name: Sidecar(bench, f"start-{name}"[:8], command) for name, command in starts.items()}
    found: dict[str, list[float]] = {name: [] for name in (*starts, "report", "subscriber", "bare")}
    monitor = Monitor(bench.redis.port)
    for turn in range(bench.rounds + 1):
        now = {"subscriber": _start_subscriber(bench, monitor), "bare": _start_bare(bench)}
        for name, agent in agents.items():
            now[name], now["report"] = _start_agent(agent, monitor)
        if turn:  # the first one warms up
            for name, seconds in now.items():
                found[name].append(seconds * 1000)
        say(f"start-up, turn {turn}: " + ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in now.items()))
    median = {name: statistics.median(values) for name, values in found.items()}
    for name in starts:
        title = f"exec to subscribed, {name}"
        yield Row(title, "ms", median[name], "redis-py + PyYAML", median["subscriber"], 0.4)
    yield Row("exec to subscribed, hms-svc", "ms", median["hms-svc"], "bare start and end", median["bare"])
    yield Row("exec to first report", "ms", median["report"])


def _start_agent(agent: Sidecar, monitor: Monitor) -> tuple[float, float]:
    since = time.perf_counter()
    agent.start()
    subscribed, reported = monitor.wait(b'"SUBSCRIBE" "cfg::IACB"'), monitor.wait(b'"XADD"')
    agent.kill()
    return subscribed - since, reported - since


def _start_subscriber(bench: Bench, monitor: Monitor) -> float:
    since = time.perf_counter()
    with running(*bench.subscriber, "cfg::FLOOR"):
        return monitor.wait(b'"SUBSCRIBE" "cfg::FLOOR"') - since


def _start_bare(bench: Bench) -> float:
    since = time.perf_counter()
    subprocess.run([bench.python, "-c", "pass"], check=True)
    return time.perf_counter() - since


# --- idle ---------------------------------------------------------------------------------------------------


def idle(bench: Bench) -> Iterator[Row]:
    """Measure an idle agent and an idle subscriber, side by side."""
    agent = Sidecar(bench, "idle", bench.script, HMS_BAKE="1").settled()
    waking = [bench.python, str(HERE / "waker.py"), str(bench.redis.port)]
    with running(*bench.subscriber, "cfg::FLOOR") as subscriber, running(*waking) as waker:
        _subscribed(bench, "cfg::FLOOR")
        time.sleep(5)
        pids = (agent.pid, subscriber, waker)
        since, before = time.monotonic(), [_spent(pid) for pid in pids]
        while time.monotonic() - since < bench.idle_seconds:
            bench.control.send(bench.control.heartbeat())
            say(f"idle: {time.monotonic() - since:.0f} of {bench.idle_seconds} s")
            time.sleep(HEARTBEAT_SECONDS)
        seconds = time.monotonic() - since
        spent = [(_spent(pid)[0] - cpu, _spent(pid)[1] - wakes) for pid, (cpu, wakes) in zip(pids, before, strict=True)]
    agent.kill()
    shares = [100 * cpu / seconds for cpu, _ in spent]
    wakes = [wakes / seconds for _, wakes in spent]
    # A limit of its own: a subscriber without a watchdog costs nothing, so a ratio to it says nothing.
    yield Row("idle CPU", "%", shares[0], f"redis-py + PyYAML: {shares[1]:.3f} %", None, 0.05)
    yield Row("idle CPU", "%", shares[0], "one PING a second", shares[2])
    yield Row("idle wake-ups", "/s", wakes[0], f"redis-py + PyYAML: {wakes[1]:.1f} /s")


def _spent(pid: int) -> tuple[float, int]:
    """CPU seconds by the scheduler's own count, and how often it went to sleep."""
    seconds = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    status = Path(f"/proc/{pid}/status").read_text()
    return seconds, int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


# --- a delta ------------------------------------------------------------------------------------------------


def delta_to_hup(bench: Bench) -> Iterator[Row]:
    """Measure a small and a large file. The served process is this one."""
    # Handled, or the sidecar takes it for a process that the signal would end; blocked, to be waited for.
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    for size, text in (("small file", ""), ("500 lines", five_hundred_lines())):
        found = _deltas(bench, size, text)
        ours, floor, verified = (statistics.median(values) for values in found.values())
        yield Row(f"delta to HUP, {size}", "ms", ours, "by hand, nothing verified", floor, 1.5)
        yield Row(f"delta to HUP, {size}", "ms", ours, "by hand, both verified", verified)


def _deltas(bench: Bench, size: str, text: str) -> dict[str, list[float]]:
    pidfile = bench.place / "served.pid"
    pidfile.write_text(str(os.getpid()))
    agent = Sidecar(bench, f"hup-{size[:3]}", bench.script, HMS_PIDFILE=str(pidfile))
    text = text or agent.conf.read_text()
    agent.conf.write_text(text)
    agent.settled()
    controls = {"ours": bench.control, **{name: Control(bench.redis.client, name) for name in ("PLAIN", "VERIFIED")}}
    found: dict[str, list[float]] = {name: [] for name in controls}
    with _by_hand(bench, controls["PLAIN"], text, pidfile), _by_hand(bench, controls["VERIFIED"], text, pidfile):
        signal.sigtimedwait({signal.SIGHUP}, HUP_PAUSE)
        for turn in range(bench.rounds + 1):
            for name, control in controls.items():
                seconds = _one_delta(control, 300 + turn)
                if turn:
                    found[name].append(seconds * 1000)
            say(f"delta to HUP, {size}, turn {turn}")
    agent.kill()
    return found


@contextmanager
def _by_hand(bench: Bench, control: Control, text: str, pidfile: Path) -> Iterator[int]:
    place_ = bench.place / f"hand-{control.tenant}"
    (place_ / "state").mkdir(parents=True, exist_ok=True)
    conf = place_ / "conf.yml"
    conf.write_text(text)
    keys = [bytes(key.verify_key).hex() for key in (control.gov, control.mgt)] if control.tenant == "VERIFIED" else []
    channel = f"cfg::{control.tenant}"
    paths = [str(conf), str(place_ / "state" / "journal.json"), str(pidfile)]
    with running(bench.python, str(HERE / "by_hand.py"), str(bench.redis.port), channel, *paths, *keys) as pid:
        _subscribed(bench, channel)
        yield pid


def _one_delta(control: Control, value: int) -> float:
    snapshot, delta = control.step([control.entry(1, {"rate_limit_rps": value})], [])
    control.keep(snapshot)
    since = time.perf_counter()
    control.send(delta)
    if signal.sigtimedwait({signal.SIGHUP}, 10) is None:
        raise SystemExit(f"no signal after a delta for {control.tenant}")
    seconds = time.perf_counter() - since
    time.sleep(HUP_PAUSE)
    return seconds


def five_hundred_lines() -> str:
    """A conf.yml as people write them."""
    lines = ["rate_limit_rps: 50"]
    for number in range(50):
        lines += [
            f"# section {number}: what it is for",
            f"section_{number}:",
            f"  timeout_ms: {100 + number}  # keep below the gateway's",
            f'  name: "service {number}"',
            "  enabled: true",
            f"  hosts: [a{number}, b{number}, c{number}]",
            "  limits:",
            f"    rps: {number * 10}",
            f"    burst: {number * 3}",
            "",
        ]
    return "\n".join(lines[:500]) + "\n"


# --- YAML ---------------------------------------------------------------------------------------------------

WRITE_BACK = """
import statistics, sys, time, yaml
from hms_svc.merge import merge
from hms_svc.yaml_edit import edited
from hms_svc.yaml_tree import read
text, rounds = sys.stdin.read(), int(sys.argv[1])
def ours():
    document = read(text)
    return edited(document, merge(document.value, {"section_7": {"limits": {"rps": 8}}}))
def floor():
    document = yaml.load(text, Loader=yaml.CSafeLoader)
    document["section_7"]["limits"]["rps"] = 8
    return yaml.dump(document, Dumper=yaml.CSafeDumper)
def seconds(work):
    since = time.perf_counter()
    work()
    return time.perf_counter() - since
assert yaml.load(ours(), Loader=yaml.CSafeLoader) == yaml.load(floor(), Loader=yaml.CSafeLoader)
assert ours().count("#") == text.count("#")
found = [(seconds(ours), seconds(floor)) for _ in range(rounds)]
print(*(1000 * statistics.median(each) for each in zip(*found)))
"""


def write_back(bench: Bench) -> Iterator[Row]:
    """Measure reading and saying a large file, in one process of its own."""
    command = [bench.python, "-c", WRITE_BACK, str(bench.rounds * 10)]
    done = subprocess.run(command, input=five_hundred_lines(), stdout=subprocess.PIPE, text=True, check=True)
    ours, floor = map(float, done.stdout.split())
    say(f"load and write-back: {ours:.1f} ms, {floor:.1f} ms")
    yield Row("load and write-back, 500 lines", "ms", ours, "PyYAML C load + dump", floor, 2.0)


if __name__ == "__main__":
    main()
