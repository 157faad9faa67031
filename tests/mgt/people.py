"""More people than one for each role: whoever approves has to be somebody else."""

from hms_mgt.secret import digest
from hms_mgt.store.tokens import StoredToken
from hms_mgt.usecases.tokens import register_token
from tests.mgt.conftest import World


async def join(world: World, role: str, *names: str, tenant: str | None = "IACB") -> None:
    """Give each of these people a token of this role; each one's name is the token, too."""
    for name in names:
        await register_token(world.db, digest(name), StoredToken(name, role, tenant), world.clock.now())
