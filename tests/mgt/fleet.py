"""A fake fleet: instances that do at once what the newest snapshot says, and report as sidecars do."""

import json
from typing import Any

from hms_mgt.ports import AckEntry
from hms_mgt.store import streams
from hms_mgt.store.database import EVERY_TENANT
from hms_mgt.usecases.take_in import take_in
from hms_svc import layers, messages, wire
from tests.mgt.conftest import World
from tests.svc.makers import in_force

SERVICE = "ARTIST_REGISTRY_API"


class Fleet:
    """The instances of one tenant's service."""

    def __init__(self, world: World, names: tuple[str, ...] = ("a", "b", "c"), tenant: str = "IACB") -> None:
        self._world = world
        self._tenant = tenant
        self._entries = 0
        self.names = list(names)

    async def report(self, *names: str, **changed: Any) -> None:
        """Have the named instances, or all, report that they are at the head; some fields may be changed."""
        documents = [{**await self._state(name), **changed} for name in names or self.names]
        await self.send(*(json.dumps(document).encode() for document in documents))

    async def send(self, *bodies: bytes) -> None:
        """Put reports, as they are, on the tenant's stream and have them taken in."""
        entries = []
        for body in bodies:
            self._entries += 1
            entries.append(AckEntry(self._tenant, f"{self._entries}-0", body))
        await take_in(self._world.db, self._world.trust, self._tenant, entries, self._world.clock.now())

    async def _state(self, name: str) -> dict[str, Any]:
        now = self._world.clock.now().timestamp()
        async with self._world.db.transaction(EVERY_TENANT) as tx:
            head = await streams.head(tx, self._tenant, SERVICE)
        held: tuple[messages.Patch, ...] = ()
        if head is not None:
            message = messages.read_message(head.snapshot, self._world.trust, self._tenant)
            assert isinstance(message, messages.StreamMessage)
            held = message.patches
        active = in_force(held, "2.1.0", name, now)
        return {
            "v": 1,
            "instance": name,
            "service": SERVICE,
            "version": "2.1.0",
            "url": None,
            "revision": 0 if head is None else head.revision,
            "active": [patch.id for patch in active],
            "digest": layers.effective_digest(active),
            "phase": "steady",
            "failed": [],
            "refused": {},
            "stale": False,
            "at": wire.rfc3339(now),
            "receipts": [],
            "bye": False,
        }
