"""Files and keys are there whole or not at all, wherever their writer is killed."""

import stat
from pathlib import Path

import pytest

from hms_mgt.bootstrap import write_keys
from hms_mgt.orchestrators.files import write_durably
from hms_svc import wire
from hms_svc.trust import load_trust

from .killed import run

_WRITE = """
from hms_mgt.orchestrators.files import write_durably
where, name, nth, path = sys.argv[1:]
die_after(where, name, int(nth))
write_durably(Path(path), "new" * 10_000, 0o600)
"""
_KEYS = """
from hms_mgt.bootstrap import write_keys
where, name, nth, path = sys.argv[1:]
die_after(where, name, int(nth))
write_keys(Path(path))
"""
_NAMES = {"gov.key", "mgt.key", "trust.json"}


@pytest.mark.parametrize(
    ("where", "name", "nth", "left"),
    [
        ("os", "open", 1, "old"),
        ("os", "fchmod", 1, "old"),
        ("os", "fsync", 1, "old"),
        ("pathlib", "Path.replace", 1, "new"),
        ("os", "fsync", 2, "new"),
    ],
)
def test_a_reader_finds_the_old_text_or_the_new_one(tmp_path: Path, where: str, name: str, nth: int, left: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text("old" * 10_000)
    assert run(_WRITE, where, name, nth, path)
    assert path.read_text() == left * 10_000
    others = [one for one in tmp_path.iterdir() if one != path]
    assert not any(stat.S_IMODE(one.stat().st_mode) & 0o077 for one in others), "what is left is private"

    write_durably(path, "last", 0o600)
    assert [one.name for one in tmp_path.iterdir()] == ["tokens.json"], "and is gone after the next write"
    assert path.read_text() == "last"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nobody_elses_link_is_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("untouched")
    (tmp_path / ".ready.json.new").symlink_to(other)
    write_durably(tmp_path / "ready.json", "secret", 0o600)
    assert other.read_text() == "untouched"
    assert (tmp_path / "ready.json").read_text() == "secret"


def belong_together(keys: Path) -> bool:
    trust = load_trust((keys / "trust.json").read_text())
    gov, mgt = (wire.load_signing_key((keys / name).read_text()) for name in ("gov.key", "mgt.key"))
    return (trust.gov.keys, trust.mgt.keys) == ((bytes(gov.verify_key),), (bytes(mgt.verify_key),))


# Every step that leaves a trace on the disk.
_POINTS = [
    *(("pathlib", "Path.mkdir", nth) for nth in (1, 2)),
    *(("os", "fsync", nth) for nth in (1, 2, 3, 4, 5, 6)),
    *(("pathlib", "Path.replace", nth) for nth in (1, 2, 3, 4)),
    *(("pathlib", "Path.rename", nth) for nth in (1, 2, 3)),
    ("pathlib", "Path.rmdir", 1),
]


@pytest.mark.parametrize(("where", "name", "nth"), _POINTS)
def test_keys_are_made_all_or_none_and_an_interrupted_attempt_is_taken_up(
    tmp_path: Path, where: str, name: str, nth: int
) -> None:
    keys = tmp_path / "keys"
    assert run(_KEYS, where, name, nth, keys)
    before = {path.name: path.read_text() for path in keys.glob("[!.]*")}
    if "trust.json" not in before:  # what `up` looks at
        write_keys(keys)
    assert {path.name for path in keys.glob("[!.]*")} == _NAMES
    assert belong_together(keys)
    assert all((keys / one).read_text() == text for one, text in before.items()), "what was there stayed"
    with pytest.raises(FileExistsError, match="never overwritten"):
        write_keys(keys)
    assert belong_together(keys)
    assert [stat.S_IMODE((keys / one).stat().st_mode) for one in sorted(_NAMES)] == [0o600, 0o600, 0o644]


@pytest.mark.parametrize("there", sorted(_NAMES))
def test_a_key_that_is_there_is_never_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(FileExistsError, match=there):
        write_keys(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"
