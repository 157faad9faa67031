"""A check that refuses everything speaks of itself: no patch is blamed for it, and no window stays open for it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hms_svc.candidate import make
from hms_svc.course import Failure
from hms_svc.errand import Bell, Errand
from hms_svc.job import Job, StageFailed
from hms_svc.settings import Settings
from hms_svc.transaction import apply

from .bench import Bench
from .makers import Hands, patch
from .rig import until

Configure = Callable[..., Settings]

WAYS = {
    "it says no to everything": "sh -c 'echo my own bug; exit 1'",
    "an include is missing": "sh -c '. /nowhere/include; exit 0'",
    "its path is wrong": "/nowhere/check {conf}",
    "it takes a file by its ending": "sh -c 'case {conf} in *.yml) exit 0; esac; echo not a .yml; exit 1'",
    "it dies": "sh -c 'kill -9 $$'",
}


class Check:
    """A check command that can break, logs what it is asked about, and refuses `a: 7` whenever it is whole."""

    def __init__(self, directory: Path) -> None:
        self.broken, self.log = directory / "broken", directory / "asked"
        self.log.touch()
        self.script = directory / "check"
        self.script.write_text(
            f'tr "\\n" " " < $1 >> {self.log}\n'
            f"if test -e {self.broken}; then echo no include found; exit 1; fi\n"
            "if grep -q 'a: 7' $1; then echo no sevens; exit 1; fi\n"
        )
        self.words = f"sh {self.script} {{conf}}"

    @property
    def asked(self) -> list[str]:
        """What the files said it was asked about since the last time, in order."""
        said = self.log.read_text().split(" ")
        self.log.write_text("")
        return [value for value in said if value not in {"", "a:"}]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Endings give it time enough on any machine: how short that is in earnest, `test_endings` sees."""
    monkeypatch.setattr("hms_svc.verdict.ENDING_CHECK_SECONDS", 5.0)
    return Check(tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_broken_from_the_start_it_blames_no_patch(configure: Configure, hands: Hands, way: str) -> None:
    bench = Bench(configure(HMS_CHECK=WAYS[way]), hands)
    bench.settle()
    assert bench.settle(5, 6, seconds=20) == "a: 1\n"
    assert bench.applier.failures() == {}
    assert bench.applier.phase == "failed"
    assert bench.applier.trouble().startswith("checked: ")
    assert bench.journal.suspects == ()


def test_its_trouble_is_told_once_and_in_words(
    configure: Configure, hands: Hands, check: Check, capfd: pytest.CaptureFixture[str]
) -> None:
    check.broken.touch()
    bench = Bench(configure(HMS_CHECK=check.words), hands)
    bench.settle(5, seconds=40)
    words = "HMS_CHECK refuses what stands already, too: no include found"
    assert bench.applier.trouble() == f"checked: {words}"
    notes = [note for note in bench.reporter.waiting() if note["stage"] == "failed"]
    assert [(note["patch_id"], note["detail"]) for note in notes] == [(5, f"checked: {words}")]
    events = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [event["event"] for event in events if event["event"] in {"failed", "deferred"}] == ["failed"]


def test_its_trouble_is_tried_again_ever_more_seldom_and_is_over_when_it_is_repaired(
    configure: Configure, hands: Hands, check: Check
) -> None:
    check.broken.touch()
    bench = Bench(configure(HMS_CHECK=check.words), hands)
    bench.settle(5, 6, seconds=100)
    assert 6 <= check.asked.count("6") <= 8  # after 1, 2, 4, 8, 16, 30 and 30 s
    check.broken.unlink()
    assert bench.settle(5, 6, seconds=31) == "a: 6\n"
    assert bench.applier.effective.ids == (5, 6)  # type: ignore[union-attr]
    assert (bench.applier.phase, bench.applier.trouble()) == ("steady", "")


def test_broken_while_good_files_exist_it_takes_nothing_away(configure: Configure, hands: Hands, check: Check) -> None:
    bench = Bench(configure(HMS_CHECK=check.words, HMS_BAKE="1"), hands)
    bench.settle(4, seconds=3)
    bench.settle(4, 5, seconds=3)
    check.broken.touch()
    assert bench.settle(4, 5, 6, seconds=20) == "a: 5\n"
    assert bench.applier.effective.ids == (4, 5)  # type: ignore[union-attr]
    assert bench.applier.failures() == {}
    assert bench.settle(4, 5, 6, 8, seconds=20) == "a: 5\n"
    assert bench.again().settle(4, 5, 6, 8, seconds=20) == "a: 5\n"
    check.broken.unlink()
    assert bench.settle(4, 5, 6, 8, seconds=31) == "a: 8\n"


def test_a_healthy_check_blames_the_guilty_one_at_once_and_no_other(
    configure: Configure, hands: Hands, check: Check
) -> None:
    bench = Bench(configure(HMS_CHECK=check.words), hands)
    bench.settle(4)
    assert bench.settle(4, 7, seconds=0.6) == "a: 4\n"
    assert bench.applier.failures() == {7: ("checked", "no sevens")}
    bench.pass_time([patch(4, {"a": 4}), patch(6, {"a": 6}), patch(7, {"a": 7})], 3)
    assert bench.applier.failures() == {7: ("checked", "no sevens")}
    assert bench.conf.read_text() == "a: 6\n"
    assert bench.applier.phase == "failed"


def test_of_two_that_come_together_only_the_guilty_one_is_blamed(
    configure: Configure, hands: Hands, check: Check
) -> None:
    bench = Bench(configure(HMS_CHECK=check.words), hands)
    bench.settle(4)
    wanted = [patch(4, {"a": 4}), patch(6, {"b": 6}), patch(7, {"a": 7})]
    assert bench.pass_time(wanted, 3) == "a: 4\nb: 6\n"
    assert bench.applier.failures() == {7: ("checked", "no sevens")}


def test_it_is_asked_once_about_what_passes(configure: Configure, hands: Hands, check: Check) -> None:
    bench = Bench(configure(HMS_CHECK=check.words), hands)
    bench.settle()
    assert check.asked == []
    bench.settle(4)
    bench.settle(4, 5)
    assert check.asked == ["4", "5"]
    bench.settle(4, 5, 7)
    assert check.asked == ["7", "5"]


def test_after_a_restart_what_was_never_applied_is_compared_with_the_base(
    configure: Configure, hands: Hands, check: Check, tmp_path: Path
) -> None:
    """No file in effect yet, and one that is rendered does not even exist: what would be there without the patch."""
    (tmp_path / "t").write_text("a: {{a}}\n")
    more = {"HMS_RENDER": f"{tmp_path}/t:{tmp_path}/out.conf", "HMS_CHECK": f"sh {check.script} {{rendered}}"}
    bench = Bench(configure(**more), hands)
    bench.settle(7, seconds=2)
    assert bench.applier.failures() == {7: ("checked", "no sevens")}
    assert (tmp_path / "out.conf").read_text() == "a: 1\n"


def test_a_template_that_became_bad_is_no_patchs_fault(
    configure: Configure, hands: Hands, check: Check, tmp_path: Path
) -> None:
    """The files in effect would pass; what is new besides the patch would not."""
    template = tmp_path / "t"
    template.write_text("b: {{a}}\n")
    more = {"HMS_RENDER": f"{template}:{tmp_path}/out.conf", "HMS_CHECK": f"sh {check.script} {{rendered}}"}
    bench = Bench(configure(**more), hands)
    bench.settle(4)
    template.write_text("b: {{a}}\na: 7\n")
    bench.settle(4, 5)
    assert bench.applier.failures() == {}
    assert "no sevens" in bench.applier.trouble()
    template.write_text("b: {{a}}\n")
    assert bench.settle(4, 5, seconds=10) == "a: 5\n"


@pytest.mark.parametrize("proven", [True, False])
def test_an_ending_takes_only_its_own_patch_along(
    configure: Configure, hands: Hands, check: Check, *, proven: bool
) -> None:
    """A broken check gives no verdict: the window's end is the law, and what stays in force stays in the file."""
    bench = Bench(configure(HMS_CHECK=check.words, HMS_BAKE="1" if proven else "600"), hands)
    bench.settle(4, 5, seconds=3)
    check.broken.touch()
    assert bench.settle(4, 5, 6, seconds=20) == "a: 5\n"
    assert bench.settle(4, 6, seconds=0.3) == "a: 4\n"
    assert bench.settle(4, 6, seconds=20) == "a: 4\n"
    assert bench.applier.effective.ids == (4,)  # type: ignore[union-attr]
    assert bench.applier.failures() == {}
    check.broken.unlink()
    assert bench.settle(4, 6, seconds=31) == "a: 6\n"


def test_two_endings_before_the_first_is_confirmed_take_nothing_else_along(
    configure: Configure, hands: Hands, check: Check
) -> None:
    """Meanwhile no file on disk is known to work; what worked last still is."""
    bench = Bench(configure(HMS_CHECK=check.words, HMS_RELOAD="sleep 0.5", HMS_BAKE="600"), hands)
    assert bench.settle(4, 5, 6) == "a: 6\n"
    check.broken.touch()

    def first_is_written() -> bool:
        bench.applier.step([patch(4, {"a": 4}), patch(5, {"a": 5})])
        return bench.conf.read_text() == "a: 5\n"

    until(first_is_written, "the first")
    hands.forward(0.2)
    assert bench.settle(4, seconds=5) == "a: 4\n"
    assert bench.applier.failures() == {}
    assert (4, "reverted") not in bench.receipts()


def test_what_cannot_stand_alone_is_still_found_after_an_ending(
    configure: Configure, hands: Hands, check: Check
) -> None:
    """7 was covered by 8, which ended: the check is right, and what is left to blame is 7."""
    bench = Bench(configure(HMS_CHECK=check.words), hands)
    bench.settle(7, 8)
    assert bench.conf.read_text() == "a: 8\n"
    assert bench.settle(7, seconds=0.3) == "a: 1\n"
    bench.settle(7)
    assert bench.applier.failures() == {7: ("checked", "no sevens")}


def test_what_an_ending_leaves_while_the_check_is_broken_stays_where_nothing_is_known(
    configure: Configure, hands: Hands, check: Check
) -> None:
    """Killed while 5 ended: at the next start no files are known to work, but the check refuses the bare base, too."""
    bench = Bench(configure(HMS_CHECK=check.words), hands)
    bench.settle(4, 5)
    bench.journal.effective_sha = ""
    bench.store.save(bench.journal)
    check.broken.touch()
    again = bench.again()
    assert again.settle(4, seconds=0.5) == "a: 4\n"
    assert again.settle(4, seconds=20) == "a: 4\n"
    assert again.applier.failures() == {}
    check.broken.unlink()
    assert again.settle(4, seconds=31) == "a: 4\n"
    assert again.applier.phase == "steady"


def test_one_that_hangs_on_everything_is_broken_too(
    configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hms_svc.command.CHECK_SECONDS", 0.05)
    bench = Bench(configure(HMS_CHECK="sleep 60"), hands)
    bench.settle(5)
    assert bench.applier.failures() == {}
    assert "no verdict within 0.05 s" in bench.applier.trouble()


def test_new_patches_that_meet_an_ending_get_a_fair_trial_after_it(
    configure: Configure, hands: Hands, check: Check
) -> None:
    bench = Bench(configure(HMS_CHECK=check.words), hands)
    bench.settle(4, 5)
    assert bench.settle(4, 7, seconds=0.3) == "a: 4\n"
    bench.settle(4, 7)
    assert bench.applier.failures() == {7: ("checked", "no sevens")}
    assert bench.applier.effective.ids == (4,)  # type: ignore[union-attr]


def test_where_there_is_no_time_to_ask_again_nobody_is_blamed(configure: Configure, hands: Hands) -> None:
    """An ending waits for the check once: what is new and was refused meanwhile is tried again after it."""
    layers = [patch(5, {"a": 5})]
    settings = configure(HMS_CHECK="sh -c 'echo slow no; exit 1'")
    job = Job(settings, Bell(), hands.clock, make("a: 1\n", layers, settings.conf, {}))
    job.fresh, job.late_since = (5,), hands.at
    steps = apply(job)
    pause = next(steps)
    until(lambda: isinstance(pause, Errand) and pause.done, "the check")
    hands.forward(10)
    with pytest.raises(StageFailed) as failed:
        next(steps)
    assert failed.value.failure == Failure("checked", "slow no", hasty=True)


@pytest.mark.parametrize("fresh", [(), (5,)], ids=["nothing new", "something new"])
@pytest.mark.parametrize("dead", [False, True], ids=["running", "dead"])
@pytest.mark.parametrize("left", ["{", "", None])
def test_a_spoilt_file_is_healed_all_the_same(  # noqa: PLR0913, PLR0917 - a table
    configure: Configure,
    hands: Hands,
    check: Check,
    fresh: tuple[int, ...],
    dead: bool,  # noqa: FBT001 - a parameter
    left: str | None,
) -> None:
    """What the process was last seen to work with needs no check, and it must always be able to start."""
    bench = Bench(configure(HMS_CHECK=check.words), hands)
    bench.settle(4)
    check.broken.touch()
    bench.conf.unlink() if left is None else bench.conf.write_text(left)
    if dead:
        bench = bench.again()
    assert bench.settle(4, *fresh) == "a: 4\n"
    check.broken.unlink()
    assert bench.settle(4, *fresh, seconds=31) == f"a: {(4, *fresh)[-1]}\n"
    assert bench.applier.failures() == {}
