"""What happens in a world of chaos, one thing after another at random."""

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .world import Fault, Sent, World, usable

DROPPED_SECONDS = 3.0
RETRY_SECONDS = 1.0  # so often a disk that refused is asked again while something ended is in the file
PATHS = ("limits.rps", "limits.burst", "upstream.retry.count", "upstream.retry", "log", "extra.a", "shared")


class Storm:
    """Acts on a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dice = world.dice
        self.did: dict[str, int] = {}
        self._edited = 0
        self._acts: list[Callable[[], None]] = [
            self.patch, self.patch, self.patch, self.patch, self.burst, self.rollback, self.rollback,
            self.kill_agent, self.kill_agent, self.stop_agent, self.freeze_agent, self.second_agent,
            self.kill_redis, self.flush_redis, self.hang_redis, world.repeat, world.rotate,
            self.edit, self.edit, self.edit, self.spoil, self.touch, self.chmod, self.spoil_rendered,
            self.kill_served, self.hang_served, self.probe_breaks, self.check_fails,
            self.disk_refuses, self.lose_a_file, self.wait, self.wait, self.wait,
        ]  # fmt: skip

    def blow(self, seconds: float) -> None:
        until_then = time.monotonic() + seconds
        while time.monotonic() < until_then:
            act = self.dice.choice(self._acts)
            self.did[act.__name__] = self.did.get(act.__name__, 0) + 1
            act()
            self.drop()

    def drop(self) -> None:
        """As MGT: what ended a while ago leaves the stream."""
        ended = [one.id for one in self.world.sent.values() if one.end < time.time() - DROPPED_SECONDS]
        if ended:
            self.world.withdraw(*ended)

    @contextmanager
    def fault(self, kind: str) -> Iterator[None]:
        began = time.time()
        yield
        self.world.faults.append(Fault(kind, began, time.time()))

    # --- patches

    def patch(self) -> None:
        world, dice, now = self.world, self.dice, time.time()
        world.number += 1
        number = world.number
        start = now + dice.choice([-1.0, -1.0, 0.5, dice.uniform(0, 3)])
        end = max(start, now) + dice.choice([dice.uniform(1, 4), dice.uniform(1, 20)])
        changes: dict[str, Any] = {f"mark_{number}": number}
        for path in dice.sample(PATHS, 2):
            here = changes
            *above, last = path.split(".")
            for name in above:
                here = here.setdefault(name, {})
                if not isinstance(here, dict):
                    break
            else:
                here[last] = dice.choice([number, number, [number], f"p {number}: #x", None])
        world.publish(Sent(number, changes, dice.choice([0, 0, 0, 5, 9]), start, end))

    def burst(self) -> None:
        for _ in range(4):
            self.patch()

    def rollback(self) -> None:
        if self.world.sent:
            self.world.withdraw(self.dice.choice(list(self.world.sent)))

    # --- the agent

    @contextmanager
    def agent_away(self, *, back_after: float = 0.0) -> Iterator[None]:
        self.world.alive_since = 0.0
        yield
        self.world.alive_since = time.time() + back_after

    def kill_agent(self) -> None:
        with self.agent_away(), self.fault("agent"):
            self.world.agent.kill()
            time.sleep(self.dice.choice([0.0, 0.0, self.dice.uniform(0, 2)]))
            self.world.agent.start()

    def stop_agent(self) -> None:
        with self.agent_away():
            assert self.world.agent.stop() in (0, -signal.SIGTERM)  # the latter before it knows what to do
            self.world.agent.start()

    def freeze_agent(self) -> None:
        with self.agent_away(), paused(self.world.agent.pid):
            time.sleep(self.dice.uniform(0.1, 3))

    def second_agent(self) -> None:
        if self.world.taken_in():
            assert self.world.agent.run("run").returncode == 2

    def disk_refuses(self) -> None:
        began = time.time()
        with self.agent_away(back_after=RETRY_SECONDS):
            before = resource.prlimit(self.world.agent.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(self.world.agent.pid, resource.RLIMIT_FSIZE, (0, before[1]))
            self.patch()
            time.sleep(self.dice.uniform(0.2, 3))
            resource.prlimit(self.world.agent.pid, resource.RLIMIT_FSIZE, before)
        self.world.forgot.append(Fault("disk", began, time.time() + RETRY_SECONDS))

    def lose_a_file(self) -> None:
        """The journal or the copy of the base: one of them always knows. The agent has seen the last edit."""
        journal, copy = self.world.agent.state / "journal.json", self.world.conf.with_name(".conf.yml.hms-base")
        if not (self.world.taken_in() and journal.exists() and copy.exists()):
            return
        with self.agent_away(), self.fault("agent"):
            self.world.agent.kill()
            lost = self.dice.choice([journal, copy])
            spoilt = self.dice.choice([None, b"", b"\0" * 4096, lost.read_bytes()[:-40]])
            if lost == journal:
                self.world.forgot.append(Fault("journal", time.time(), time.time()))
            if spoilt is None:
                lost.unlink()
            else:
                lost.write_bytes(spoilt)
            self.world.agent.start()

    # --- Redis

    def kill_redis(self) -> None:
        self.world.redis.kill()
        time.sleep(self.dice.uniform(0, 1.5))
        with self.world.lock:
            self.world.redis.start()
            self.world.control.client = self.world.redis.client

    def flush_redis(self) -> None:
        self.world.redis.client.flushall()

    def hang_redis(self) -> None:
        with self.world.lock, paused(self.world.redis._process.pid):
            time.sleep(self.dice.uniform(0.1, 4))

    # --- people

    def edit(self) -> None:
        """A person sets a key, by rename or in place, unless the agent is quicker: their own, or one patches set."""
        path = self.world.conf
        for _ in range(20):
            text, inode = path.read_text(), path.stat().st_ino
            if not self.world.taken_in() or not usable(text):
                return
            self._edited += 1
            name = self.dice.choice(["note_0", "note_1", "note_2", "shared"])
            kept = [line for line in text.splitlines() if not line.startswith(name)]
            new = "\n".join([*kept, f"{name}: {self._edited}  # by hand", ""])
            temp = path.with_name("edit.tmp")
            temp.write_text(new)
            temp.chmod(self.world.mode)
            if path.stat().st_ino != inode:
                continue
            if self.dice.random() < 0.5:
                temp.rename(path)
            else:
                path.write_text(new)
            self.note(name, self._edited)
            return

    def note(self, name: str, value: int) -> None:
        """Of a key that a patch may rule at this moment both values are possible."""
        self.world.edited_at = time.time()
        if name == "shared":
            self.world.shared.append(value)
        else:
            self.world.edits[name] = value

    def spoil(self) -> None:
        if self.world.taken_in():
            self.world.conf.write_text(self.dice.choice(["", "{", "\0\0", "- a\n"]))

    def spoil_rendered(self) -> None:
        if self.world.rendered.exists() and self.dice.random() < 0.5:
            self.world.rendered.unlink()
        else:
            self.world.rendered.write_text("spoilt\n")

    def touch(self) -> None:
        self.world.conf.touch()

    def chmod(self) -> None:
        self.world.mode = self.dice.choice([0o600, 0o640, 0o644])
        self.world.modes.add(self.world.mode)
        self.world.conf.chmod(self.world.mode)

    # --- the served process and its tools

    def kill_served(self) -> None:
        with self.fault("served"):
            self.world.stop_serving()
            time.sleep(self.dice.choice([0.0, self.dice.uniform(0, 2)]))
            self.world.serve()

    def hang_served(self) -> None:
        with self.fault("served"), paused(self.world.process.pid):
            time.sleep(self.dice.uniform(0.1, 2.5))

    def probe_breaks(self) -> None:
        self._for_a_while(self.world.home / "broken")

    def check_fails(self) -> None:
        self._for_a_while(self.world.home / "no")

    def _for_a_while(self, flag: Path) -> None:
        with self.fault(flag.name):
            flag.touch()
            self.patch()
            time.sleep(self.dice.uniform(0.2, 3))
            flag.unlink()

    def wait(self) -> None:
        time.sleep(self.dice.uniform(0, 0.4))


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """A process that does not run for a while."""
    os.kill(pid, signal.SIGSTOP)
    yield
    os.kill(pid, signal.SIGCONT)
