"""Reads conf.yml all the time: which patches are in it before their start or after their end, and how it is dressed."""

import re
import threading
import time

from .world import Fault, World

MARK = re.compile(rb"\bmark_(\d+):")
PAUSE_SECONDS = 0.004
STALL_SECONDS = 0.05


class Lookout(threading.Thread):
    """What nobody may ever see. What it may have seen late itself, because the machine was busy, it lets pass."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self.world = world
        self.over = False
        self.late: dict[int, float] = {}  # for how long an agent could have removed it
        self.early: dict[int, float] = {}
        self.modes: set[int] = set()
        self.stalls: list[Fault] = []  # when it did not get to look, because the machine was busy

    def run(self) -> None:
        last = time.time()
        while not self.over:
            time.sleep(PAUSE_SECONDS)
            now, since = time.time(), self.world.alive_since
            if now - last > STALL_SECONDS:
                self.stalls.append(Fault("machine", last, now))
            last = now
            try:
                raw = self.world.agent.conf.read_bytes()
                self.modes.add(self.world.conf.stat().st_mode & 0o7777)
            except OSError:
                continue
            if since and since == self.world.alive_since:
                for number in {int(found) for found in MARK.findall(raw)}:
                    self._judge(number, now, since)

    def _judge(self, number: int, now: float, since: float) -> None:
        start, end = self.world.spans[number]
        if now < start:
            self.early[number] = start - now
        due = max(end, since)
        if now > due:
            self.late[number] = max(self.late.get(number, 0.0), now - due - self._blind(due, now))

    def _blind(self, begin: float, end: float) -> float:
        """How much of this time the machine let nobody run."""
        return sum(stall.ended - stall.began for stall in self.stalls[-50:] if begin < stall.ended <= end)
