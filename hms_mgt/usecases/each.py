"""Does one thing to each of several patches, a transaction each: what goes wrong with one stops no other."""

from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.patch import Patch
from hms_mgt.store import patches
from hms_mgt.store.database import EVERY_TENANT, Database


async def each(
    db: Database, patch_ids: Sequence[int], act: Callable[[AsyncConnection, Patch], Awaitable[None]]
) -> None:
    """Claim each patch, read it anew and act on it; `act` must expect that somebody else was there before.

    One that another worker has locked is left to that worker.

    Raises:
        ExceptionGroup: what failed, after all were tried.
    """
    failures: list[Exception] = []
    for patch_id in patch_ids:
        try:
            async with db.transaction(EVERY_TENANT) as tx:
                patch = await patches.claim(tx, patch_id)
                if patch is not None:
                    await act(tx, patch)
        except Exception as error:  # noqa: BLE001 - raised below, with the others
            failures.append(error)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(patch_ids)} patches failed", failures)
