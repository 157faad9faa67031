"""Trust files: who may sign for GOV and MGT, and how that changes without anybody's sidecar being touched."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from nacl.signing import SigningKey

from hms_mgt.bootstrap import read_keys
from hms_mgt.cli.shell import fail, read_settings, say, with_reader
from hms_mgt.domain.patch import Patch
from hms_mgt.domain.succession import Change, farewell, following, holds, signed_by
from hms_mgt.domain.window import rfc3339
from hms_mgt.orchestrators.files import write_durably
from hms_mgt.store.database import Database
from hms_mgt.usecases.stand_on import decided
from hms_svc import wire
from hms_svc.trust import Trust, appended, load_trust

cli = typer.Typer(
    no_args_is_help=True,
    help=(
        "Who may sign for GOV and MGT. To rotate a key: make a new one (`trust key`), pin it beside the old one "
        "(`trust next --mgt-add`), have GOV sign that file, too (`hms-gov trust sign`), put it where every sidecar's "
        "HMS_TRUST and HMS_KEYS/trust.json are, wait until sidecars say `trust_moved_on`, sign with the new key "
        "instead, and drop the old one the same way (`trust next --drop`) once `trust show` says that nothing needs it."
    ),
)

_File = Annotated[Path | None, typer.Option("--file", help="The trust file of today; default: HMS_KEYS/trust.json.")]
_Add = Annotated[
    list[str],
    typer.Option(
        default_factory=list,
        metavar="KEY",
        help="A public key in base64, as `trust key` prints it and `hms-gov serve` logs it; may be repeated.",
    ),
]
_Drop = Annotated[
    list[str],
    typer.Option(
        default_factory=list, metavar="ID", help="Id of a key to drop, as `trust id` prints it; may be repeated."
    ),
]


@cli.command("key")
def key(
    file: Annotated[Path, typer.Argument(help="File to make, e.g. keys/mgt.key.new; nothing is overwritten.")],
) -> None:
    """Make a signing key, and print its public half for `trust next`."""
    if file.exists():
        fail(f"{file} is there already; keys are never overwritten")
    made = SigningKey.generate()
    try:
        write_durably(file, wire.dump_signing_key(made), 0o600)
    except OSError as error:
        fail(str(error))
    typer.echo(wire.b64(bytes(made.verify_key)))


@cli.command("id")
def name(
    file: Annotated[Path, typer.Argument(help="A signing key, e.g. keys/mgt.key.", exists=True, dir_okay=False)],
) -> None:
    """Print the id of a signing key, for `trust next --drop`."""
    try:
        typer.echo(wire.key_id(wire.load_signing_key(file.read_text(encoding="utf-8")).verify_key))
    except (OSError, ValueError) as error:
        fail(f"{file}: {error}")


@cli.command("show")
def show(file: _File = None) -> None:
    """Show which keys count, how many must sign together, and which standing patches rest on which key of GOV."""
    path = file or read_settings().keys / "trust.json"
    trust = _load(path)
    standing = _standing()
    typer.echo(f"{path}: serial {trust.serial}")
    for name, pins in (("gov", trust.gov), ("mgt", trust.mgt)):
        typer.echo(f"{name}: {pins.threshold} of {len(pins.keys)} must sign")
        for one in pins.keys:
            typer.echo(f"  {wire.key_id(one)}{_rests(wire.key_id(one), standing) if name == 'gov' else ''}")


@cli.command("next")
def make_next(  # noqa: PLR0913, PLR0917 - each is an option of its own
    gov_add: _Add,
    mgt_add: _Add,
    drop: _Drop,
    out: Annotated[Path, typer.Option(help="Where to write the new file.")],
    gov_threshold: Annotated[int | None, typer.Option(help="How many keys of GOV must sign from then on.")] = None,
    mgt_threshold: Annotated[int | None, typer.Option(help="How many keys of MGT must sign from then on.")] = None,
    file: _File = None,
    force: Annotated[  # noqa: FBT002 - a flag is what typer makes of it
        bool, typer.Option("--force", help="Leave patches behind: sidecars drop them as soon as they see the file.")
    ] = False,
) -> None:
    """Make the next trust file, signed by MGT's keys in HMS_KEYS. It counts once `hms-gov trust sign` signed it, too.

    Decisions are signed once, so a patch stands on the keys that GOV had then. Those that would no longer verify are
    listed, and nothing is written: wait until they end, roll them back, or submit them anew under the new key.
    """
    settings = read_settings()
    path = file or settings.keys / "trust.json"
    try:
        signer, _ = read_keys(settings.keys)
        change = Change(_publics(gov_add), _publics(mgt_add), drop, gov_threshold, mgt_threshold)
        before = _load(path)
        after = following(before, change)
    except (OSError, ValueError) as error:
        fail(str(error))
    left = [one for one in _standing() if not holds(one.decision or {}, after.gov)]
    for one in left:
        say(f"patch {one.id} ({one.spec.tenant}/{one.spec.service}, {_until(one)}) would no longer verify")
    if left and not force:
        fail("nothing was written; end these first, keep their key, or say --force to have sidecars drop them")
    now = datetime.now().timestamp()  # noqa: DTZ005 - only the instant counts
    step = signer.next_trust(after, now, farewell(before, after))
    write_durably(out, appended(path.read_text(encoding="utf-8"), step), 0o644)
    say(f"wrote {out} (serial {after.serial}), signed by MGT; now GOV: hms-gov trust sign {out}")


def _load(path: Path) -> Trust:
    try:
        return load_trust(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fail(f"{path}: {error}")


def _publics(texts: Sequence[str]) -> list[bytes]:
    found = []
    for text in texts:
        try:
            found.append(wire.load_public_key(text))
        except ValueError as error:
            raise ValueError(f"{text}: not a public key: {error}") from None
    return found


def _standing() -> list[Patch]:
    found: list[Patch] = []

    async def read(db: Database, _: datetime) -> None:
        found.extend(await decided(db))

    with_reader(read)
    return found


def _rests(name: str, standing: Sequence[Patch]) -> str:
    mine = [str(one.id) for one in standing if one.decision is not None and name in signed_by(one.decision)]
    return f"  needed by {len(mine)} standing patches: {', '.join(mine)}" if mine else "  no standing patch needs it"


def _until(one: Patch) -> str:
    return "without an end" if one.spec.window.end is None else f"until {rfc3339(one.spec.window.end)}"
