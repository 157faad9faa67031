"""The dry run: what a patch would meet and do."""

from hms_cli import document
from hms_cli.client import Body
from hms_cli.commands.patch_ids import HOUSE, File
from hms_cli.errors import ClientError, LostError
from hms_cli.outcome import Code, Difference
from hms_cli.shell import PATCHES, Session, command, noun
from hms_cli.views import rehearsal as show
from hms_cli.views.rehearsal import Rehearsal

cli = noun()
_SHAPE = frozenset({"tenant", "service"})


@command(cli, panel=PATCHES)
def diff(session: Session, *, file: File) -> Difference:
    """Show what a patch would change, and whether it would be taken in. Nothing is stored.

    The configuration of each version before and after, the instances it would reach and why it would miss
    others, quota, conflicts, and what the policy says.

    Exit 0: nothing would change. 1: something would. 2: it could not be found out. 3: the patch would be
    refused. 6: not allowed.

    Example: **hms diff -f artist_registry_patch.yml**
    """
    given = document.read(file)
    try:
        found = _rehearsed(session, given)
    except ClientError as error:
        if error.code is not Code.FAILED and not isinstance(error, LostError):
            raise
        session.say(*error.lines)
        return Difference.TROUBLE
    session.write(show.rehearsal(found))
    return show.difference(found)


def _rehearsed(session: Session, given: Body) -> Rehearsal:
    """Ask for the dry run. A server from before dry runs does not know the word, and submits."""
    found = session.client.post(HOUSE, given, query={"dry_run": "true"}, shape=_SHAPE)
    if found.get("dry_run") is not True:
        number = found.get("patch_id")
        words = f"this HMS-MGT knows no dry run and took the patch in, as patch/{number}: hms cancel {number} ends it"
        raise ClientError(Code.FAILED, words)
    return found
