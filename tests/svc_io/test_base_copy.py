"""The base outlives the journal; a conf.yml somebody put there instead is not taken for ours; a loss is said aloud."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hms_svc.base_copy import Copy, made_of
from hms_svc.conf_file import sha
from hms_svc.journal import Imprint
from hms_svc.recovery import ALIKE, LOST
from hms_svc.settings import Settings

from .bench import Bench
from .makers import Hands, patch
from .rig import CONF, Acks, Agent, Control, until

Configure = Callable[..., Settings]


def copy_of(bench: Bench) -> Path:
    return bench.conf.with_name(".conf.yml.hms-base")


def lose_the_journal(bench: Bench) -> Bench:
    Path(bench.store.path).unlink()
    return bench.again()


@pytest.fixture
def patched(configure: Configure, hands: Hands) -> Bench:
    """An agent whose conf.yml holds a patch."""
    bench = Bench(configure(), hands)
    bench.settle()
    assert bench.settle(7) == "a: 7\n"
    return bench


def test_nothing_lies_beside_conf_yml_before_a_patch_is_in_it(configure: Configure, hands: Hands) -> None:
    bench = Bench(configure(), hands)
    bench.settle()
    assert not copy_of(bench).exists()


def test_only_the_agent_reads_the_copy(patched: Bench) -> None:
    assert copy_of(patched).stat().st_mode & 0o7777 == 0o600


def test_a_lost_journal_finds_its_base_again(patched: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    again = lose_the_journal(patched)
    assert '"base_recovered"' in capfd.readouterr().err
    assert again.settle(7) == "a: 7\n"
    assert again.settle() == "a: 1\n"
    assert (7, "reverted") in again.receipts()
    assert again.applier.trouble() == ""


@pytest.mark.parametrize("journal", ["older", "newer"])
def test_a_journal_of_another_moment_takes_no_patch_for_an_edit(
    configure: Configure, hands: Hands, journal: str
) -> None:
    """The volume of the one was restored, that of the other was not."""
    bench = Bench(configure(), hands)
    bench.settle()
    kept = Path(bench.store.path).read_bytes()
    bench.settle(7)
    conf, copy = bench.conf.read_bytes(), copy_of(bench).read_bytes()
    bench.settle()
    bench.settle(8)
    assert bench.settle() == "a: 1\n"
    bench.conf.write_bytes(conf)
    copy_of(bench).write_bytes(copy)
    if journal == "older":
        Path(bench.store.path).write_bytes(kept)
    again = bench.again()
    assert again.settle() == "a: 1\n"
    assert (7, "reverted") in again.receipts()


def test_a_journal_nobody_can_read_too(patched: Bench) -> None:
    Path(patched.store.path).write_text("{")
    assert patched.again().settle() == "a: 1\n"


def test_an_edit_made_since_is_kept(patched: Bench) -> None:
    patched.conf.write_text("a: 7\nmine: 1\n")
    assert lose_the_journal(patched).settle() == "a: 1\nmine: 1\n"


def test_a_conf_yml_of_somebody_elses_is_a_base_of_its_own(patched: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    patched.conf.write_text("a: 3\nother: 1\n")
    again = lose_the_journal(patched)
    assert '"base_copy_ignored"' in capfd.readouterr().err
    assert again.settle() == "a: 3\nother: 1\n"
    assert again.settle(8) == "a: 8\nother: 1\n"
    assert lose_the_journal(again).settle() == "a: 3\nother: 1\n"  # the copy is now of this one


def test_a_conf_yml_that_is_gone_or_empty_comes_back(patched: Bench) -> None:
    patched.conf.write_text("")
    assert lose_the_journal(patched).settle() == "a: 1\n"
    patched.settle(7)
    patched.conf.unlink()
    assert lose_the_journal(patched).settle() == "a: 1\n"


def test_the_copy_follows_a_base_that_changes(patched: Bench) -> None:
    patched.conf.write_text("a: 7\nmine: 1\n")
    patched.settle(7)
    again = lose_the_journal(patched)
    assert again.journal.base == "a: 1\nmine: 1\n"


def test_after_a_restart_it_still_does(patched: Bench) -> None:
    patched.settle()
    again = patched.again()
    again.conf.write_text("a: 7\n")  # a person wants for ever what the patch gave
    again.settle()
    assert lose_the_journal(again).settle() == "a: 7\n"


def test_a_copy_somebody_removed_is_made_anew(patched: Bench) -> None:
    copy_of(patched).unlink()
    patched.settle(8)
    assert lose_the_journal(patched).settle() == "a: 1\n"


def test_torn_lines_are_no_lines(patched: Bench) -> None:
    with copy_of(patched).open("a") as file:
        file.write('["abc", {"a"')
    assert lose_the_journal(patched).settle() == "a: 1\n"


def test_the_copy_is_bounded(patched: Bench) -> None:
    big = {"a": 1, "words": "x" * 40_000}
    for number in range(30, 50):
        patched.pass_time([patch(number, big | {"a": number})], 0.6)
    assert copy_of(patched).stat().st_size < 400_000
    assert lose_the_journal(patched).settle() == "a: 1\n"


def test_both_lost_is_said_until_conf_yml_shows_another_base(patched: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    Path(patched.store.path).write_text("{")
    copy_of(patched).unlink()
    again = patched.again()
    again.settle()
    assert '"base_in_doubt"' in capfd.readouterr().err
    assert again.applier.trouble() == LOST
    third = again.again()
    third.settle()
    assert third.applier.trouble() == LOST
    assert third.applier.phase == "steady"
    third.conf.write_text("a: 1\n")
    third.settle()
    assert third.applier.trouble() == ""


def test_a_base_that_already_shows_what_the_patches_say_is_in_doubt(patched: Bench) -> None:
    """The state directory and the copy are gone without a trace; the patch is still in force."""
    copy_of(patched).unlink()
    again = lose_the_journal(patched)
    again.settle(7)
    assert again.applier.trouble() == ALIKE


def test_a_first_start_doubts_nothing(configure: Configure, hands: Hands) -> None:
    bench = Bench(configure(), hands)
    bench.settle(7)
    assert bench.applier.trouble() == ""


def test_a_copy_nobody_can_read_is_said(patched: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    copy_of(patched).write_text("[]")
    again = lose_the_journal(patched)
    again.settle()
    assert again.applier.trouble() == LOST
    assert "is no copy of a base" in capfd.readouterr().err


def test_which_texts_are_made_of_a_base() -> None:
    first, last = Imprint(sha("a: 5\n"), {"a": 5}, (1,)), Imprint(sha("a: 5\nb: 2\n"), {"a": 5, "b": 2}, (1, 2))
    copy = Copy("a: 1\n", "a: 1\n", [first, last])
    assert made_of(copy, "a: 5\n") == first
    assert made_of(copy, "a: 5\nb: 2\nc: 3\n") == last._replace(sha="")
    assert made_of(copy, "a: 5\nb: 3\n") == Imprint("", {"a": 5}, (1, 2)), "a person may have changed b"
    assert made_of(copy, "a: 1\nb: 3\n") is None
    assert made_of(copy, "b: [\n") == last
    assert made_of(copy, None) == last
    assert made_of(Copy("a: 1\n", "a: 1\n", []), "a: 1\n") is None


def test_a_real_agent_finds_its_base_again(agent: Agent, control: Control, acks: Acks) -> None:
    control.put(1, {"rate_limit_rps": 200})
    agent.start()
    acks.wait_active(1)
    agent.kill()
    base = json.loads(agent.conf.with_name(".conf.yml.hms-base").read_text().splitlines()[0])["base"]
    assert base == CONF
    (agent.state / "journal.json").unlink()
    agent.start()
    agent.wait_for("base_recovered")
    control.end(1)
    until(lambda: agent.conf.read_text() == CONF, "the base")
