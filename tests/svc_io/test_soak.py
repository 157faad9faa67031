"""A day's traffic in a minute: memory flat, no descriptor kept, the journal bounded, the last file right.

By default 3,000 patches; with HMS_THOROUGH=1 the 100,000 of a busy day.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hms_svc.journal import KEPT_RECEIPTS
from tests.conditions import THOROUGH

from .rig import CONF, Acks, Agent, Control, Redis, until

PATCHES = 100_000 if THOROUGH else 3_000
HELD = 20
BATCH = 100
CUTS = 10
WARM_UP = PATCHES // 5
GROWTH_KIB = 1024
RECEIPT_BYTES = 150


class Size(NamedTuple):
    """What an agent holds of its machine."""

    rss_kib: int
    descriptors: int
    threads: int
    journal: int
    state_files: tuple[str, ...]
    log_lines: int


def size(agent: Agent) -> Size:
    status = Path(f"/proc/{agent.pid}/status").read_text()
    value = {line.partition(":")[0]: line.split()[1] for line in status.splitlines() if len(line.split()) > 1}
    return Size(
        rss_kib=int(value["VmRSS"]),
        descriptors=len(list(Path(f"/proc/{agent.pid}/fd").iterdir())),
        threads=int(value["Threads"]),
        journal=(agent.state / "journal.json").stat().st_size,
        state_files=tuple(sorted(path.name for path in agent.state.iterdir() if not path.name.endswith(".hms-new"))),
        log_lines=len(agent.log_path.read_text().splitlines()),
    )


def batch(control: Control, first: int) -> None:
    """Publish some deltas at once, each putting one patch and ending the one that is `HELD` older."""
    client = control._redis()
    pipe = client.pipeline(transaction=False)
    for number in range(first, first + BATCH):
        knob = f"limits.k{number % HELD}"
        end = time.time() + 3600 if number % 3 else None
        item = control.entry(number, {knob: number, "rate_limit_rps": number}, end=end, priority=number)
        snapshot, delta = control.step([item], [number - HELD] if number > HELD else [])
        pipe.set(f"cfg-state::{control.tenant}::{control.service}", snapshot)
        pipe.publish(f"cfg::{control.tenant}", delta)
    pipe.execute()


def caught_up(acks: Acks, revision: int) -> None:
    until(lambda: acks.last().get("revision", 0) >= revision, f"revision {revision}", 60)


def test_a_days_traffic_leaves_nothing_behind(
    new_agent: Callable[..., Agent], control: Control, acks: Acks, redis_server: Redis
) -> None:
    agent = new_agent().start()
    acks.wait_active()
    linked = size(agent).descriptors
    sizes = []
    cut = 0
    for first in range(1, PATCHES + 1, BATCH):
        batch(control, first)
        done = first + BATCH - 1
        if done * CUTS // PATCHES > cut:  # the link breaks now and then, as it does in a day
            cut += 1
            redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
        caught_up(acks, done - 5 * BATCH)
        redis_server.command("XTRIM", f"ack::{control.tenant}", "MAXLEN", "50")
        if done >= WARM_UP and done % (PATCHES // 20) < BATCH:
            sizes.append(size(agent))
    acks.wait_active(*range(PATCHES - HELD + 1, PATCHES + 1), seconds=30)
    control.end(*range(PATCHES - HELD + 1, PATCHES + 1))
    acks.wait_active(seconds=30)
    until(lambda: size(agent).descriptors <= linked, "the replaced file, held for a moment, to be let go")
    last = size(agent)
    sys.stdout.write("\n".join(map(str, [*sizes, last])) + "\n")
    assert agent.conf.read_text() == CONF
    assert acks.last()["refused"] == {}
    assert not agent.events("error")
    early = sizes[0]
    assert max(one.rss_kib for one in sizes) - early.rss_kib < GROWTH_KIB
    assert last.descriptors == linked
    assert last.threads == 1
    assert max(one.journal for one in sizes) < 2 * early.journal + KEPT_RECEIPTS * RECEIPT_BYTES
    assert last.state_files == early.state_files
    # Events, not lines for each message: what is said is a few lines for each attempt, of which there are few a second.
    assert last.log_lines < PATCHES
