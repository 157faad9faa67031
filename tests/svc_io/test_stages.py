"""How far an attempt came is in the journal, a restart goes on from there, and poison is not tried for ever."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hms_svc.errand import Errand
from hms_svc.settings import Settings

from .bench import STATE, Bench
from .makers import Hands, patch
from .rig import CONF, Acks, Agent, Control, until
from .stub import Stub

Configure = Callable[..., Settings]


def on_disk(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(bench.store.path).read_text())
    return found


GRAVEYARD: list[Bench] = []  # a bench that is collected tidies up; the killed do not


def until_it_waits(bench: Bench, *ids: int) -> None:
    """Step until a command is running, as an agent does that is killed there."""
    GRAVEYARD.append(bench)
    wanted = [patch(number, {"a": number}) for number in ids]

    def waits() -> bool:
        bench.applier.step(wanted)
        bench.hands.forward(0.01)
        return isinstance(bench.applier._runner.pause, Errand) and not bench.applier._runner.pause.done

    until(waits, "a command to run")


def test_the_journal_tells_the_stages_of_the_last_attempt(configure: Configure, hands: Hands, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    bench = Bench(configure(HMS_RELOAD=f"cp {tmp_path}/state/journal.json {seen}"), hands)
    bench.settle()
    assert bench.settle(7) == "a: 7\n"
    during = json.loads(seen.read_text())
    assert (during["attempt"]["ids"], during["attempt"]["stage"]) == ([7], "CHECKED")
    after = on_disk(bench)["attempt"]
    assert after == {**during["attempt"], "stage": "EFFECTIVE"}
    assert after["sha"] == bench.applier.effective.sha  # type: ignore[union-attr]
    assert after["since"].startswith("1970-01-01T00:16:")  # when it began, by the clock moved by hand


def test_a_failed_attempt_says_where_and_in_whose_words(configure: Configure, hands: Hands) -> None:
    bench = Bench(configure(HMS_CHECK="sh -c 'grep -q 7 {conf} && echo no sevens && exit 1; true'"), hands)
    bench.settle()
    bench.pass_time([patch(7, {"a": 7})], 0.06)
    attempt = on_disk(bench)["attempt"]
    assert (attempt["stage"], attempt["failed"]) == ("FAILED", ["checked", "no sevens"])


def test_a_blocked_patch_is_on_disk_at_once(configure: Configure, hands: Hands, tmp_path: Path) -> None:
    log = tmp_path / "log"
    bench = Bench(configure(HMS_CHECK=f"sh -c 'echo x >> {log}; ! grep -q 7 {{conf}}'"), hands)
    bench.settle(7)
    assert set(bench.applier.failures()) == {7}
    asked = log.read_text()
    again = bench.again()
    assert again.settle(7) == "a: 1\n"
    assert set(again.applier.failures()) == {7}
    assert log.read_text() == asked


def test_killed_between_the_file_and_the_reload_the_process_is_told(
    configure: Configure, hands: Hands, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    hang = tmp_path / "hang"
    bench = Bench(configure(HMS_RELOAD=f"sh -c 'test -e {hang} && sleep 60; cat {tmp_path}/conf.yml >> {log}'"), hands)
    bench.settle()
    hang.touch()
    until_it_waits(bench, 7)
    hang.unlink()
    assert bench.conf.read_text() == "a: 7\n"
    again = bench.again()
    resumed = [json.loads(line) for line in capfd.readouterr().err.splitlines() if '"resumed"' in line]
    assert (resumed[0]["stage"], resumed[0]["patches"]) == ("WRITTEN", [7])
    again.settle(7)
    assert log.read_text().endswith("a: 7\n")
    assert again.receipts()[-1] == (7, "effective")


def test_killed_before_the_file_it_is_written(configure: Configure, hands: Hands, tmp_path: Path) -> None:
    hang = tmp_path / "hang"
    hang.touch()
    bench = Bench(configure(HMS_CHECK=f"sh -c 'while test -e {hang}; do sleep 0.01; done'"), hands)
    until_it_waits(bench, 7)
    hang.unlink()
    assert bench.conf.read_text() == "a: 1\n"
    assert on_disk(bench)["attempt"]["stage"] == "VERIFIED"
    assert bench.again().settle(7) == "a: 7\n"


def test_killed_half_way_through_a_restore_it_goes_on(configure: Configure, hands: Hands, tmp_path: Path) -> None:
    hang, log = tmp_path / "hang", tmp_path / "log"
    conf = tmp_path / "conf.yml"
    reload = f"sh -c 'cat {conf} >> {log}; if grep -q 7 {conf}; then exit 1; fi; test ! -e {hang} || sleep 60'"
    bench = Bench(configure(HMS_RELOAD=reload), hands)
    bench.settle()
    hang.touch()

    def restoring() -> bool:
        until_it_waits(bench, 7)
        return bool(bench.applier.failures()) and log.read_text().endswith("a: 7\na: 1\n")

    until(restoring, "the restore")
    assert bench.conf.read_text() == "a: 1\n"
    hang.unlink()
    log.write_text("")
    again = bench.again()
    again.settle(7)
    assert log.read_text() == "a: 1\n"  # what was put back was not told yet, as far as anybody knows
    assert again.applier.phase == "failed"


def test_an_attempt_that_takes_the_agent_along_is_tried_three_times(
    configure: Configure, hands: Hands, tmp_path: Path
) -> None:
    conf, log = tmp_path / "conf.yml", tmp_path / "log"
    reload = f"sh -c 'grep -q 7 {conf} || exit 0; echo x >> {log}; sleep 60'"
    settings = configure(HMS_RELOAD=reload)
    Bench(settings, hands).settle()
    for _ in range(3):
        until_it_waits(Bench(settings, hands), 7)
        assert conf.read_text() == "a: 7\n"
    last = Bench(settings, hands)
    assert last.settle(7) == "a: 1\n"
    assert last.applier.failures() == {7: ("reloaded", "the agent did not survive this step 3 times")}
    assert log.read_text() == "x\n" * 3
    assert (7, "failed") in last.receipts()
    assert Bench(settings, hands).settle(7) == "a: 1\n"
    assert log.read_text() == "x\n" * 3


def test_a_check_that_takes_the_agent_along_is_counted_too(configure: Configure, hands: Hands, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    settings = configure(HMS_CHECK=f"sh -c 'grep -q 7 {{conf}} || exit 0; echo x >> {log}; sleep 60'")
    Bench(settings, hands).settle()
    for deaths in range(1, 4):
        bench = Bench(settings, hands)
        until_it_waits(bench, 7)
        until(lambda deaths=deaths: log.read_text() == "x\n" * deaths, "the check")  # type: ignore[misc]
    last = Bench(settings, hands)
    assert last.settle(7) == "a: 1\n"
    assert last.applier.failures() == {7: ("checked", "the agent did not survive this step 3 times")}
    assert log.read_text() == "x\n" * 3


def test_an_agent_told_to_end_has_not_died(configure: Configure, hands: Hands, tmp_path: Path) -> None:
    conf, hang = tmp_path / "conf.yml", tmp_path / "hang"
    settings = configure(HMS_RELOAD=f"sh -c 'grep -q 7 {conf} && test -e {hang} && sleep 60; true'")
    Bench(settings, hands).settle()
    hang.touch()
    for _ in range(5):
        bench = Bench(settings, hands)
        until_it_waits(bench, 7)
        bench.applier.leave()
    hang.unlink()
    last = Bench(settings, hands)
    assert last.settle(7) == "a: 7\n"
    assert last.applier.failures() == {}


def test_a_death_while_a_process_is_waited_for_is_not_the_patchs_doing(
    configure: Configure, hands: Hands, tmp_path: Path
) -> None:
    settings = configure(HMS_PIDFILE=f"{tmp_path}/pid")
    for _ in range(5):
        assert Bench(settings, hands).settle(7) == "a: 7\n"
    assert Bench(settings, hands).applier.failures() == {}


def test_poison_that_kills_the_agent_blocks_only_itself(
    new_agent: Callable[..., Agent], control: Control, acks: Acks
) -> None:
    """Its reload command kills the agent; whoever runs the agent starts it again."""
    agent = new_agent()
    agent.environment["HMS_RELOAD"] = f"sh -c 'if grep -q poison {agent.conf}; then kill -9 $PPID; fi'"
    control.publish([
        control.entry(1, {"rate_limit_rps": 200}),
        control.entry(2, {"greeting": "poison"}),
        control.entry(3, {"replicas": 6}),
    ])  # fmt: skip

    def over() -> bool:
        """Those that die show the good ones in effect as well, but cannot know yet whose fault it is."""
        last = acks.last()
        return last.get("active") == [1, 3] and [one["patch_id"] for one in last["failed"]] == [2]

    starts = 0
    while not over() and starts < 20:
        starts += 1
        agent.start()
        until(lambda: not agent.running() or over(), "a death, or the end of it", 60)
    assert acks.last()["failed"] == [
        {"patch_id": 2, "stage": "reloaded", "detail": "the agent did not survive this step 3 times"}
    ]
    assert starts == 7  # three with all, three with the second alone, and the one that lives
    assert "rate_limit_rps: 200" in agent.conf.read_text()
    assert "poison" not in agent.conf.read_text()
    assert acks.receipts(2)[-1] == "failed"
    control.end(1, 2, 3)
    acks.wait_active()
    assert agent.conf.read_text() == CONF


def test_receipts_nobody_took_survive_a_kill(configure: Configure, hands: Hands) -> None:
    bench = Bench(configure(), hands)
    bench.settle(7)
    bench.settle()
    told = bench.receipts()
    assert told == [(7, "checked"), (7, "written"), (7, "reloaded"), (7, "effective"), (7, "reverted")]
    again = bench.again()
    assert again.receipts() == told
    again.reporter.delivered(STATE, hands.at)
    again.settle(8)
    assert [stage for number, stage in again.again().receipts() if number == 7] == []


# --- the bake


def proven(bench: Bench) -> list[tuple[int, ...]]:
    return [good.ids for good in bench.again().journal.good]


def test_files_are_good_after_the_bake_and_not_before(configure: Configure, hands: Hands) -> None:
    bench = Bench(configure(HMS_BAKE="5"), hands)
    bench.settle(7, seconds=4.5)
    assert proven(bench) == []
    bench.settle(7, seconds=1.5)
    assert proven(bench) == [(7,)]


@pytest.fixture
def stub(tmp_path: Path) -> Any:
    made = Stub(tmp_path / "stub", tmp_path / "conf.yml")
    yield made
    made.stop()


def test_a_process_that_dies_in_the_bake_starts_it_anew(configure: Configure, hands: Hands, stub: Stub) -> None:
    bench = Bench(configure(HMS_BAKE="5", HMS_PIDFILE=str(stub.pidfile)), hands)
    bench.settle(7, seconds=4)
    stub.stop()
    bench.settle(7, seconds=4)
    assert proven(bench) == []
    stub.start()
    bench.settle(7, seconds=4)
    assert proven(bench) == []
    bench.settle(7, seconds=3)
    assert proven(bench) == [(7,)]


def test_a_process_replaced_in_the_bake_starts_it_anew(configure: Configure, hands: Hands, stub: Stub) -> None:
    bench = Bench(configure(HMS_BAKE="5", HMS_PIDFILE=str(stub.pidfile)), hands)
    bench.settle(7, seconds=4)
    stub.stop()
    stub.start()
    bench.settle(7, seconds=4)
    assert proven(bench) == []


def test_a_probe_that_says_no_at_the_end_of_the_bake_starts_it_anew(
    configure: Configure, hands: Hands, tmp_path: Path
) -> None:
    sick = tmp_path / "sick"
    bench = Bench(configure(HMS_BAKE="5", HMS_PROBE_COMMAND=f"sh -c '! test -e {sick}'"), hands)
    bench.settle(7, seconds=4)
    sick.touch()
    bench.settle(7, seconds=20)
    assert proven(bench) == []
    sick.unlink()
    bench.settle(7, seconds=20)
    assert proven(bench) == [(7,)]


def test_an_edit_in_the_bake_starts_it_anew(configure: Configure, hands: Hands) -> None:
    bench = Bench(configure(HMS_BAKE="5"), hands)
    bench.settle(7, seconds=4)
    bench.conf.write_text("a: 9\n")
    bench.settle(7, seconds=4)
    assert bench.conf.read_text() == "a: 7\n"
    assert proven(bench) == []
    bench.settle(7, seconds=3)
    assert proven(bench) == [(7,)]


# --- what the journal costs


def test_large_files_that_proved_themselves_are_not_written_with_every_change(
    configure: Configure, hands: Hands
) -> None:
    settings = configure(HMS_BAKE="1")
    base = "a: 1\nlong: " + "\u9053" * 330_000 + "\n"  # nearly the largest conf.yml, and twice that in JSON
    Path(settings.conf).write_text(base)
    bench = Bench(settings, hands)
    for number in (5, 6, 7, 8):
        bench.settle(number, seconds=3)
    assert proven(bench) == [(8,), (7,), (6,)]
    assert Path(bench.store.path).stat().st_size < 2.1 * 6 * len(base)
    kept = Path(bench.store.good_path)
    assert kept.stat().st_mode & 0o7777 == 0o600
    written = kept.stat().st_mtime_ns
    bench.settle(9, seconds=0.5)
    assert kept.stat().st_mtime_ns == written


def test_proven_files_of_an_older_journal_are_still_there(configure: Configure, hands: Hands) -> None:
    bench = Bench(configure(HMS_BAKE="1"), hands)
    bench.settle(7)
    good = json.loads(Path(bench.store.good_path).read_text())
    record = on_disk(bench)
    assert record["good"] == []
    for name in ("attempt", "trial", "suspects", "receipts", "doubt", "unsynced"):
        del record[name]  # it did not know these either
    Path(bench.store.path).write_text(json.dumps({**record, "good": good}))
    Path(bench.store.good_path).unlink()
    assert proven(bench) == [(7,)]


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"ids": []}]'])
def test_proven_files_nobody_can_read_are_not_proven(configure: Configure, hands: Hands, content: str) -> None:
    bench = Bench(configure(HMS_BAKE="1"), hands)
    bench.settle(7)
    Path(bench.store.good_path).write_text(content)
    assert proven(bench) == []
    assert bench.again().settle(7) == "a: 7\n"


def test_the_journal_grows_with_the_patches_and_nothing_else(configure: Configure, hands: Hands) -> None:
    bench = Bench(configure(), hands)
    sizes = []
    for count in (0, 250, 500):
        held = {number: patch(number, envelope={"payload": "x" * 1000}) for number in range(1, count + 1)}
        bench.applier.hold(count, held)
        for _ in range(1000):  # receipts nobody takes
            bench.reporter.receipt([1], "received", 0)
        bench.settle(seconds=0.2)
        sizes.append(Path(bench.store.path).stat().st_size)
    assert sizes[2] - sizes[1] == pytest.approx(250 * 1070, rel=0.02)
    assert sizes[0] < 30_000
