"""Finds out whose credential it is. Service tokens are looked up by their hash; what was found is kept for a moment.

The moment bounds how long a revoked token goes on: two seconds, in every replica. Its end is looked at each time.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import structlog
from sqlalchemy.exc import SQLAlchemyError

from hms_mgt.domain import identity
from hms_mgt.domain.access import Actor, Role
from hms_mgt.domain.identity import Stranger
from hms_mgt.errors import HmsError, Unauthenticated
from hms_mgt.identity.verify import Verifier
from hms_mgt.ports import Clock
from hms_mgt.secret import digest
from hms_mgt.store import tokens
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.store.tokens import KnownToken

_GOOD_FOR_S = 2.0
_BAD_FOR_S = 1.0
_MOST_GOOD = 10_000
# Apart from the good ones: whoever makes up tokens pushes out only other made-up ones.
_MOST_BAD = 1_000
_log = structlog.get_logger()


class _Found(NamedTuple):
    at: float
    token: KnownToken | None


class Authenticator:
    """Knows callers by their credentials."""

    def __init__(self, db: Database, verifier: Verifier, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._db = db
        self._verifier = verifier
        self._clock = clock
        self._monotonic = monotonic
        self._good: OrderedDict[str, _Found] = OrderedDict()
        self._bad: OrderedDict[str, _Found] = OrderedDict()
        self._noting: set[asyncio.Task[None]] = set()

    def is_guess(self, credential: str) -> bool:
        """Tell whether this may be somebody trying out tokens: one that was not good here before."""
        return not identity.is_jwt(credential) and digest(credential) not in self._good

    async def who(self, credential: str) -> Actor | Stranger:
        """Return whom a credential speaks for.

        Raises:
            Unauthenticated: it is unknown, revoked, over, or does not verify.
            Unavailable: what it takes to know does not answer.
        """
        if len(credential) > identity.LARGEST:
            raise Unauthenticated("this token is too long")
        now = self._clock.now()
        if identity.is_jwt(credential):
            return await self._verifier.verify(credential, now)
        found = await self._look_up(digest(credential))
        if found is None:
            raise Unauthenticated("this token is unknown or was revoked")
        if found.expires_at is not None and found.expires_at <= now:
            raise Unauthenticated("this token has expired")
        return Actor(found.name, Role(found.role), found.tenant)

    async def _look_up(self, key: str) -> KnownToken | None:
        at = self._monotonic()
        for kept, seconds in ((self._good, _GOOD_FOR_S), (self._bad, _BAD_FOR_S)):
            if key in kept and at - kept[key].at < seconds:
                kept.move_to_end(key)
                return kept[key].token
        async with self._db.transaction(EVERY_TENANT) as tx:
            token = await tokens.find(tx, key)
        self._keep(key, _Found(at, token))
        if token is not None:
            self._note_use(token)
        return token

    def _keep(self, key: str, found: _Found) -> None:
        self._good.pop(key, None)
        self._bad.pop(key, None)
        kept, most = (self._bad, _MOST_BAD) if found.token is None else (self._good, _MOST_GOOD)
        kept[key] = found
        while len(kept) > most:
            kept.popitem(last=False)

    def _note_use(self, token: KnownToken) -> None:
        """Write down that a token is used, beside the request."""
        now = self._clock.now()
        if not tokens.noted(token, now):
            task = asyncio.create_task(self._note(token.name, now))
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)

    async def _note(self, name: str, now: datetime) -> None:
        try:
            async with self._db.transaction(EVERY_TENANT) as tx:
                await tokens.touch(tx, name, now)
        except (HmsError, SQLAlchemyError) as error:
            _log.warning("the use of a token was not noted", token=name, error=type(error).__name__)

    async def close(self) -> None:
        """Finish what is being written, and close the connections."""
        await asyncio.gather(*self._noting, return_exceptions=True)
        await self._verifier.close()
