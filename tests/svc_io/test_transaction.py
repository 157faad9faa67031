"""The transaction alone, step by step, with a clock moved by hand and a process that is a shell command."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from hms_svc.candidate import Candidate, make
from hms_svc.course import Failure
from hms_svc.effect import _Proof
from hms_svc.errand import Bell, Errand
from hms_svc.job import Job, Pause, StageFailed
from hms_svc.journal import Imprint, Journal
from hms_svc.probe import Answer
from hms_svc.report import State
from hms_svc.settings import Settings
from hms_svc.transaction import apply

from .bench import Bench
from .makers import Hands, patch
from .rig import free_port, until


def job_of(settings: Settings, hands: Hands, *ids: int) -> Job:
    layers = [patch(number, {"a": number}) for number in ids]
    job = Job(settings, Bell(), hands.clock, make("a: 1\n", layers, settings.conf, {}))
    job.fresh = ids
    return job


def drive(job: Job, hands: Hands) -> Failure | None:
    """Run a job to its end."""
    try:
        go_on(apply(job), hands, lambda: False)
    except StageFailed as failed:
        return failed.failure
    return None


def test_intent_comes_before_the_file_and_the_file_before_the_rest(
    configure: Callable[..., Settings], hands: Hands
) -> None:
    settings, seen = configure(), []
    job = job_of(settings, hands, 5)
    job.intend = lambda: seen.append(("intend", Path(settings.conf).read_text()))
    job.written = lambda _: seen.append(("written", Path(settings.conf).read_text()))
    assert drive(job, hands) is None
    assert seen == [("intend", "a: 1\n"), ("written", "a: 5\n")]
    assert job.stages == ["checked", "written", "reloaded"]


def test_without_intent_on_disk_no_file_changes(configure: Callable[..., Settings], hands: Hands) -> None:
    settings = configure()
    job = job_of(settings, hands, 5)

    def refuse() -> None:
        raise OSError(28, "No space left on device", "journal.json")

    job.intend = refuse
    assert drive(job, hands) == Failure("written", "journal.json: No space left on device", surroundings=True)
    assert Path(settings.conf).read_text() == "a: 1\n"


def test_an_equal_file_is_not_written_again(configure: Callable[..., Settings], hands: Hands) -> None:
    settings = configure()
    before = Path(settings.conf).stat()
    job = job_of(settings, hands)
    job.intend = lambda: pytest.fail("nothing to intend")
    assert drive(job, hands) is None
    after = Path(settings.conf).stat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


def test_the_check_sees_the_candidate_and_may_say_no(configure: Callable[..., Settings], hands: Hands) -> None:
    settings = configure(HMS_CHECK="sh -c 'cat {conf}; exit 1'")
    failure = drive(job_of(settings, hands, 5), hands)
    assert failure == Failure("checked", "a: 5")
    assert Path(settings.conf).read_text() == "a: 1\n"
    assert [path.name for path in Path(settings.conf).parent.iterdir() if path.is_file()] == ["conf.yml"]


def test_a_check_that_cannot_run_stops_what_is_new_but_no_ending(
    configure: Callable[..., Settings], hands: Hands
) -> None:
    settings = configure(HMS_CHECK="/nowhere/check")
    failure = drive(job_of(settings, hands, 5), hands)
    assert failure is not None
    assert (failure.stage, "cannot run /nowhere/check" in failure.detail) == ("checked", True)
    Path(settings.conf).write_text("a: 9\n")
    assert drive(job_of(settings, hands), hands) is None
    assert Path(settings.conf).read_text() == "a: 1\n"


def test_abandoned_it_leaves_nothing_behind(configure: Callable[..., Settings], hands: Hands) -> None:
    settings = configure(HMS_CHECK="sleep 5")
    steps = apply(job_of(settings, hands, 5))
    next(steps)
    assert (Path(settings.conf).parent / ".conf.yml.hms-new").exists()
    steps.close()
    assert not (Path(settings.conf).parent / ".conf.yml.hms-new").exists()


def test_no_answer_before_the_deadline_is_a_failure(configure: Callable[..., Settings], hands: Hands) -> None:
    settings = configure(HMS_PROBE_URL="http://127.0.0.1:1/", HMS_RELOAD="true")
    since = hands.at
    failure = drive(job_of(settings, hands, 5), hands)
    assert failure is not None
    assert failure.stage == "effective"
    assert 10 < hands.at - since < 11


def test_a_process_that_comes_late_and_is_told_then_has_all_its_time_after_that(
    configure: Callable[..., Settings], hands: Hands
) -> None:
    """The command by which it is told may take longer than the deadline."""
    shown = ["0"]

    class Shown(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("X-A", shown[0])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    port = free_port()
    probe = {"HMS_PROBE_URL": f"http://127.0.0.1:{port}/", "HMS_PROBE_HEADER": "X-A: {{a}}"}
    job = job_of(configure(**probe, HMS_RELOAD="true", HMS_CONFIRM_TIMEOUT="3"), hands)
    pauses = apply(job)
    go_on(pauses, hands, lambda: job.patient)
    with HTTPServer(("127.0.0.1", port), Shown) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        go_on(pauses, hands, lambda: job.reloaded)
        hands.forward(5)
        since = hands.at
        go_on(pauses, hands, lambda: hands.at > since + 2)
        shown[0] = "1"
        go_on(pauses, hands, lambda: False)
        server.shutdown()
    assert hands.at < since + 3


def test_the_deadline_counts_from_when_the_process_was_there_and_knew(
    configure: Callable[..., Settings], hands: Hands
) -> None:
    job = job_of(configure(), hands, 5)
    proof, silence = _Proof(job), Answer(False, True, "")
    job.reloaded = True  # by the look that found it
    proof.add(silence, hands.at + 5)
    proof.add(silence, hands.at + 6)
    proof.bide(silence, hands.at + 6)
    assert proof.told_at == hands.at + 5
    job.patient = True  # up to this answer
    proof.bide(silence, hands.at + 60)
    assert (proof.told_at, job.patient) == (hands.at + 60, False)


def go_on(pauses: Iterator[Pause], hands: Hands, enough: Callable[[], object]) -> None:
    """Let a job go on until that is so, or to its end."""
    for pause in pauses:
        pass_over(pause, hands)
        if enough():
            return


def pass_over(pause: Pause, hands: Hands) -> None:
    """Errands take real time, instants are reached at once."""
    if isinstance(pause, float):
        hands.at = max(hands.at, pause)
    else:
        until(lambda: pause.done, "the errand")


# --- the applier, with the loop's part played by hand


@pytest.fixture
def bench(configure: Callable[..., Settings], hands: Hands) -> Bench:
    return Bench(configure(), hands)


def test_the_base_is_found_kept_and_come_back_to(bench: Bench) -> None:
    assert bench.settle() == "a: 1\n"
    assert bench.settle(7) == "a: 7\n"
    again = Bench(bench.settings, bench.hands)
    assert again.journal.base == "a: 1\n"
    assert again.settle() == "a: 1\n"


def test_what_worked_last_is_put_back_when_nothing_passes_the_check_any_more(
    configure: Callable[..., Settings], hands: Hands, tmp_path: Path
) -> None:
    """7 has baked, 9 not yet; 10 is written, breaks the reload, and from then on the check refuses everything."""
    conf, broken = tmp_path / "conf.yml", tmp_path / "broken"
    reload = f"sh -c 'grep -q 10 {conf} && touch {broken} && exit 1; true'"
    bench = Bench(configure(HMS_CHECK=f"sh -c '! test -e {broken}'", HMS_RELOAD=reload), hands)
    bench.settle(7, seconds=35)
    assert [good.ids for good in bench.journal.good] == [(7,)]
    assert bench.settle(7, 9) == "a: 9\n"
    assert bench.settle(7, 9, 10) == "a: 9\n"
    assert set(bench.applier.failures()) == {10}
    assert bench.applier.phase == "failed"
    broken.unlink()
    assert bench.settle(7, 9, 10, seconds=40) == "a: 9\n"
    assert bench.applier.trouble() == ""


def test_what_baked_is_put_back_when_an_edit_made_the_base_unusable(
    configure: Callable[..., Settings], hands: Hands
) -> None:
    """The check is right: neither the base nor any patch over it passes, and no patch is to blame."""
    bench = Bench(configure(HMS_CHECK="sh -c '! grep -q bad {conf}'"), hands)
    bench.settle(7, seconds=35)
    assert [good.ids for good in bench.journal.good] == [(7,)]
    bench.conf.write_text("a: 5\nbad: 1\n")
    assert bench.settle(7, seconds=5) == "a: 7\n"
    assert bench.applier.failures() == {}
    assert "checked" in bench.applier.trouble()


def test_a_missing_template_is_trouble_and_no_patchs_fault(
    configure: Callable[..., Settings], hands: Hands, tmp_path: Path
) -> None:
    template, target = tmp_path / "t", tmp_path / "out"
    bench = Bench(configure(HMS_RENDER=f"{template}:{target}"), hands)
    bench.settle(7)
    assert "the template does not exist" in bench.applier.trouble()
    assert bench.applier.failures() == {}
    template.write_text("a is {{a}}\n")
    bench.settle(7, seconds=40)
    assert target.read_text() == "a is 7\n"
    assert bench.applier.phase == "steady"


def test_a_gap_without_a_value_blocks_the_patch_that_made_it(
    configure: Callable[..., Settings], hands: Hands, tmp_path: Path
) -> None:
    (tmp_path / "t").write_text("a is {{a}}\n")
    bench = Bench(configure(HMS_RENDER=f"{tmp_path}/t:{tmp_path}/out"), hands)
    poison = patch(3, {"a": None})
    bench.settle()
    for _ in range(40):
        bench.applier.step([poison])
        hands.forward(0.1)
    assert set(bench.applier.failures()) == {3}
    assert (tmp_path / "out").read_text() == "a is 1\n"


def test_last_good_never_holds_an_ended_patch() -> None:
    journal = Journal()
    journal.promote(Candidate((1,), {}, {"c": "1"}))
    journal.promote(Candidate((1, 2), {}, {"c": "12"}))
    found = journal.last_good([1, 3], ["c"])
    assert found is not None
    assert found.ids == (1,)
    assert journal.last_good([2], ["c"]) is None
    for number in range(5):
        journal.promote(Candidate((number,), {}, {"c": str(number)}))
    assert len(journal.good) == 3


def test_an_edit_after_a_crash_between_intent_and_result_brings_no_patched_value_into_the_base(
    bench: Bench, hands: Hands
) -> None:
    """The file may hold what was about to be written, so its keys count as patched too."""
    bench.settle(7)
    journal = bench.journal
    journal.writing = Imprint("about to be", {"b": 5}, (8,))
    bench.store.save(journal)
    Path(bench.settings.conf).write_text("a: 7\nb: 5\nmine: 1\n")
    again = Bench(bench.settings, hands)
    assert again.settle() == "a: 1\nmine: 1\n"
    assert json.loads(again.reporter.word(STATE, 0))["receipts"][-1]["stage"] == "reverted"


STATE = State(0, (), "", "steady", {}, "", (), False)


def test_an_answer_from_before_the_agent_was_stopped_for_a_while_blames_nobody(
    configure: Callable[..., Settings], hands: Hands, tmp_path: Path
) -> None:
    """As by SIGSTOP, or a machine that was moved: the deadline has passed, and nobody has looked since."""
    shown = tmp_path / "shown"
    bench = Bench(configure(HMS_PROBE_COMMAND=f"sh -c 'grep -q 1 {tmp_path}/conf.yml || test -e {shown}'"), hands)
    bench.settle()
    wanted = [patch(7, {"a": 7})]

    def asked() -> bool:
        bench.applier.step(wanted)
        return bench.conf.read_text() == "a: 7\n" and isinstance(bench.applier._runner.pause, Errand)

    until(asked, "the first question")
    until(lambda: not bench.busy, "its answer")
    shown.touch()
    hands.forward(60)
    assert bench.settle(7) == "a: 7\n"
    assert bench.applier.failures() == {}
