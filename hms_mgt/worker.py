"""`hms-mgt worker`: every loop of the control plane in one process, started together, stopped together."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from functools import partial

from hms_mgt.parts import Parts
from hms_mgt.store import wakeup
from hms_mgt.workers import collector, dispatcher, reviews, rollouts, scaler, scheduler
from hms_mgt.workers.loop import Loop, run
from hms_mgt.workers.witness import Witness


def loops(parts: Parts) -> list[Loop]:
    """Hand each loop what it needs and nothing else."""
    db, clock, signer = parts.db, parts.clock, parts.signer
    steps: dict[str, Callable[[], Awaitable[float]]] = {
        "reviews": partial(reviews.step, parts.reviewer),
        "scheduler": partial(scheduler.step, db, signer, clock),
        "rollouts": partial(rollouts.step, db, signer, clock, parts.progress_deadline),
        "dispatcher": partial(dispatcher.step, db, parts.bus, signer, clock),
        "collector": partial(collector.step, db, parts.bus, parts.trust, clock),
    }
    if parts.orchestrators:
        steps["scaler"] = partial(scaler.step, db, parts.orchestrators, clock)
    if parts.audit_witness is not None:
        steps["witness"] = partial(Witness(parts.audit_witness).step, db)
    return [Loop(name, step, asyncio.Event()) for name, step in steps.items()]


async def work(parts: Parts) -> None:
    """Run all loops until SIGTERM or SIGINT; what a loop has begun it finishes."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    mine = loops(parts)
    tasks = [run(loop, stop) for loop in mine]
    listener = wakeup.listen(parts.db.url, [loop.wake for loop in mine], stop)
    await asyncio.gather(*tasks, listener)
    await parts.close()
