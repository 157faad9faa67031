"""What served processes do when they are told to reload: each way with its receipt, what serves after it, and the file.

The file is good at every moment, for a process that dies starts from it.
"""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol

import pytest

import hms_svc.served
from hms_svc import check_process
from hms_svc.process import ProcessRefused
from hms_svc.settings import read
from tests.conditions import lacks

from .rig import CONF, Acks, Agent, Control, until
from .served import LATER_SECONDS, SLOW_SECONDS, Served

NEW = CONF.replace("50", "200")


class Start(Protocol):
    """How tests get their stand-in."""

    def __call__(self, way: str, *wrapper: str) -> Served: ...


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "agent0" / "conf" / "conf.yml"
    path.parent.mkdir(parents=True)
    path.write_text(CONF)
    return path


@pytest.fixture
def start(tmp_path: Path, conf: Path) -> Iterator[Start]:
    made: list[Served] = []

    def build(way: str, *wrapper: str) -> Served:
        made.append(Served(tmp_path, conf, way, wrapper))
        return made[-1]

    yield build
    for served in made:
        served.stop()


class Case(NamedTuple):
    """A way to take SIGHUP; the stage of the receipt; words in it; what serves then ("" = nothing) and is on disk."""

    way: str
    stage: str
    words: str
    serves: str
    on_disk: str
    settings: Mapping[str, str] = MappingProxyType({})


NO_PROBE = {"HMS_PROBE_URL": "", "HMS_PROBE_HEADER": ""}
BY_CONF = {"HMS_PROBE_HEADER": "X-Conf: {{hms.conf_sha256}}"}
PATIENT = {"HMS_CONFIRM_TIMEOUT": str(SLOW_SECONDS + 3)}

CASES = {
    "it reloads": Case("reload", "effective", "", "200", NEW),
    "it reloads, shown in the body": Case(
        "reload", "effective", "", "200", NEW, {"HMS_PROBE_HEADER": "", "HMS_PROBE_BODY": "limit={{rate_limit_rps}} "}
    ),
    "it reloads, shown by a fingerprint": Case("reload", "effective", "", "200", NEW, BY_CONF),
    "it takes its time": Case("slow", "effective", "", "200", NEW, PATIENT),
    "it is a daemon": Case("daemon", "effective", "", "200", NEW),
    "it has threads": Case("threads", "effective", "", "200", NEW),
    "it replaces its worker": Case("prefork", "effective", "", "200", NEW, {"HMS_CONFIRM_TIMEOUT": "4"}),
    "it is restarted by a supervisor": Case("supervised", "effective", "", "200", NEW, PATIENT),
    "restarted, no probe": Case("supervised", "effective", "", "200", NEW, PATIENT | NO_PROBE),
    "it rejects and keeps the old": Case("reject", "failed", "expected '200'", "50", CONF),
    "it ignores HUP": Case("ignore", "failed", "the probe shows '50' for x-limit", "50", CONF),
    "it ignores HUP, by a fingerprint": Case("ignore", "failed", "the probe shows", "50", CONF, BY_CONF),
    "it hangs": Case("hang", "failed", "no answer from the probe", "", CONF),
    "it dies": Case("end", "failed", "ended after the reload", "", CONF),
    "it dies, no probe": Case("end", "failed", "ended after the reload", "", CONF, NO_PROBE),
    "it has no handler": Case("die", "failed", "would die of signal 1: it has no handler", "50", CONF),
    "it has no handler, no probe": Case("die", "failed", "would die of signal 1", "50", CONF, NO_PROBE),
    "it has no handler, and any answer will do": Case(
        "die", "failed", "would die of signal 1", "50", CONF, {"HMS_PROBE_HEADER": ""}
    ),
    "it has no handler yet": Case("late", "effective", "", "200", NEW, {"HMS_CONFIRM_TIMEOUT": "4"}),
    "it is ended by the signal it is meant to end by": Case(
        "supervised", "effective", "", "200", NEW, {**PATIENT, "HMS_SIGNAL": "TERM"}
    ),
    "it becomes another program": Case("exec", "failed", "which is 'sleep' and not", "", CONF),
    "it starts and crashes, again and again": Case(
        "crashes", "failed", "ended after the reload", "50", CONF, {**NO_PROBE, "HMS_CONFIRM_TIMEOUT": "2.5"}
    ),
}


def outcome(acks: Acks, patch_id: int, seconds: float = 12) -> str:
    """The last stage the patch reached: effective or failed."""
    return until(lambda: next((s for s in acks.receipts(patch_id) if s in {"effective", "failed"}), ""), "end", seconds)


def words(acks: Acks) -> str:
    return "".join(f"{failed['stage']}: {failed['detail']}" for failed in acks.last()["failed"])


@pytest.mark.parametrize("name", CASES)
def test_each_way_to_take_a_reload(
    name: str, start: Start, new_agent: Callable[..., Agent], control: Control, acks: Acks
) -> None:
    case = CASES[name]
    served = start(case.way)
    agent = new_agent(**({**served.settings(), **case.settings})).start()
    acks.wait_active()
    control.put(1, {"rate_limit_rps": 200})
    assert outcome(acks, 1) == case.stage
    until(lambda: served.conf.read_text() == case.on_disk, "the file")
    until(lambda: served.limit() == case.serves, "what it serves then")
    assert case.words in until(lambda: words(acks), "the words") if case.words else not words(acks)
    assert agent.running()
    if not case.serves:  # whatever has become of it: started again it works, from the file
        served.stop()
        served.start("reload")
        assert served.limit() == "50"
        acks.wait_active()
        control.put(2, {"rate_limit_rps": 60})
        acks.wait_active(2)
        assert served.limit() == "60"


def test_one_that_dies_after_it_was_effective_starts_from_the_new_file(
    start: Start, new_agent: Callable[..., Agent], control: Control, acks: Acks
) -> None:
    served = start("later")
    new_agent(**served.settings()).start()
    acks.wait_active()
    control.put(1, {"rate_limit_rps": 200})
    assert outcome(acks, 1) == "effective"
    served.popen.wait(LATER_SECONDS + 5)
    assert served.conf.read_text() == NEW
    served.start("reload")
    assert served.limit() == "200"
    control.end(1)
    acks.wait_active()
    assert (served.limit(), served.conf.read_text()) == ("50", CONF)


def test_a_worker_that_is_not_yet_replaced_is_no_effect(
    start: Start, new_agent: Callable[..., Agent], control: Control, acks: Acks
) -> None:
    """The probe would be content with the old worker, too: the new one is waited for."""
    served = start("prefork")
    any_answer = {"HMS_PROBE_HEADER": "", "HMS_CONFIRM_TIMEOUT": "4"}
    new_agent(**(served.settings() | any_answer)).start()
    acks.wait_active()
    for patch_id, limit in enumerate((60, 70), start=1):
        control.put(patch_id, {"rate_limit_rps": limit})
        assert outcome(acks, patch_id) == "effective"
        assert served.limit() == str(limit)


@pytest.mark.parametrize(("missing", "probed"), [("empty", True), ("empty", False), ("gone", False), ("stale", True)])
def test_one_that_could_not_be_found_for_a_moment_is_told_later(  # noqa: PLR0913 - fixtures
    start: Start, new_agent: Callable[..., Agent], control: Control, acks: Acks, missing: str, *, probed: bool
) -> None:
    served = start("reload")
    new_agent(**(served.settings() | ({} if probed else NO_PROBE))).start()
    acks.wait_active()
    pid = served.pid
    content = {"empty": "", "gone": None, "stale": f"{gone()}\n"}[missing]
    served.pidfile.unlink() if content is None else served.pidfile.write_text(content)
    threading.Timer(0.4, lambda: served.pidfile.write_text(f"{pid}\n")).start()
    control.put(1, {"rate_limit_rps": 200})
    assert outcome(acks, 1) == "effective"
    assert (served.limit(), served.hups()) == ("200", 1)


def gone() -> int:
    """The number of a process that has ended."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


def held_up(acks: Acks, said: str, patch_id: int = 1) -> None:
    """It cannot be told, and that is said; the patch is not to blame."""
    assert outcome(acks, patch_id) == "failed"
    report = until(lambda: acks.last() if said in acks.last()["trouble"] else {}, f"{said!r} as trouble")
    assert report["failed"] == []


@pytest.mark.parametrize(
    ("way", "content", "said"),
    [
        ("reload", "my pid is 7\n", "reloaded: {pidfile} holds no process number: 'my pid is 7'"),
        ("reload", "4194304\n", "no process was found by '{pidfile}'"),
        ("names_a_thread", "", "is a thread of pid {pid}: it must name the process"),
    ],
)
def test_a_wrong_pid_file_blames_no_patch_and_nothing_is_signalled(  # noqa: PLR0913, PLR0917 - fixtures
    start: Start, new_agent: Callable[..., Agent], control: Control, acks: Acks, way: str, content: str, said: str
) -> None:
    served = start(way)
    if content:
        served.pidfile.write_text(content)
    new_agent(**served.settings()).start()
    acks.wait_active()
    control.put(1, {"rate_limit_rps": 200})
    held_up(acks, said.format(pidfile=served.pidfile, pid=served.popen.pid))
    assert served.conf.read_text() == NEW
    assert (served.limit(), served.hups()) == ("50", 0)
    served.pidfile.write_text(f"{served.popen.pid}\n")
    acks.wait_active(1)
    assert (served.limit(), served.hups()) == ("200", 1)
    assert (acks.last()["phase"], acks.last()["trouble"]) == ("steady", "")


def test_a_process_of_another_user_is_named_and_told_by_an_agent_that_may(
    start: Start, new_agent: Callable[..., Agent], control: Control, acks: Acks
) -> None:
    served = start("reload")
    # Numbers only root may signal across users, and only with this capability.
    agent = new_agent(**served.settings())
    agent.wrapper = ["setpriv", "--reuid=1", "--regid=1", "--clear-groups", "--inh-caps=+dac_override,+chown,+fowner"]
    agent.wrapper += ["--ambient-caps=+dac_override,+chown,+fowner", "--"]
    agent.start()
    acks.wait_active()
    control.put(1, {"rate_limit_rps": 200})
    words = f"not permitted to signal pid {served.pid} ({served.name}): run the agent as the same user"
    held_up(acks, f"reloaded: {words}")
    assert served.conf.read_text() == NEW
    assert (served.limit(), served.hups()) == ("50", 0)
    agent.stop()
    agent.wrapper = []
    agent.start()
    acks.wait_active(1)
    assert (served.limit(), served.hups()) == ("200", 1)


def test_a_program_of_another_name_under_the_pid_file_is_not_taken_for_the_one_before(
    start: Start,
) -> None:
    """Even where HMS_PROCESS does not say what the name must be."""
    served = start("reload")
    needed = {"TENANT": "T", "HMS_SERVICE": "S", "HMS_VERSION": "1.0.0", "HMS_TRUST": "t"}
    known = hms_svc.served.Served(read({**needed, "HMS_PIDFILE": str(served.pidfile)}))
    assert known.tell()
    served.popen.kill()
    served.popen.wait()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        served.pidfile.write_text(f"{stranger.pid}\n")
        assert not known.follow()
        assert "ended after the reload" in known.words()
        stranger.kill()
    served.start()
    assert known.follow()
    assert known.restarted


# --- in a PID namespace of its own, as in a pod whose containers share one


@pytest.fixture
def pod() -> Iterator[tuple[str, ...]]:
    """A namespace whose first process only sleeps, as a pod's pause container does; what runs a command inside."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sleep", "600"]
    pause = subprocess.Popen(command)
    children = Path(f"/proc/{pause.pid}/task/{pause.pid}/children")

    def first() -> str:
        if pause.poll() is not None:
            lacks("no PID namespace may be made here")
        found = children.read_text().strip()
        return found if found and Path(f"/proc/{found}/comm").read_text() == "sleep\n" else ""

    inside = until(first, "the first process of the namespace")
    yield ("nsenter", f"--target={inside}", "--pid", "--mount", "--")
    pause.kill()  # SIGTERM it ignores; the namespace goes with it
    pause.wait()


@pytest.mark.parametrize("by", ["HMS_PIDFILE", "HMS_PROCESS"])
def test_in_a_shared_process_namespace_the_one_meant_is_found(  # noqa: PLR0913, PLR0917 - fixtures
    start: Start, new_agent: Callable[..., Agent], control: Control, acks: Acks, pod: tuple[str, ...], by: str
) -> None:
    served = start("reload", *pod)
    assert 1 < served.pid < 30  # a number that means somebody else outside
    other = "HMS_PROCESS" if by == "HMS_PIDFILE" else "HMS_PIDFILE"
    agent = new_agent(**(served.settings() | {other: ""}))
    agent.wrapper = [*pod]
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    assert (served.limit(), served.hups()) == ("200", 1)


def test_a_pid_file_written_in_another_namespace_is_not_believed(
    start: Start, new_agent: Callable[..., Agent], control: Control, acks: Acks, pod: tuple[str, ...]
) -> None:
    """The agent is outside, the process inside: its number there is somebody else's here."""
    served = start("reload", *pod)
    new_agent(**(served.settings() | {"HMS_PIDFILE": ""})).start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    assert served.limit() == "200"
    served.pidfile.write_text("1\n")
    needed = {"TENANT": "T", "HMS_SERVICE": "S", "HMS_VERSION": "1.0.0", "HMS_TRUST": "t"}
    with pytest.raises(ProcessRefused, match=r"names pid 1, which is .* and not"):
        check_process.process(read({**needed, **served.settings()}))


def test_the_sleeping_first_process_of_a_pod_is_never_signalled(
    start: Start, new_agent: Callable[..., Agent], control: Control, acks: Acks, pod: tuple[str, ...]
) -> None:
    served = start("reload", *pod)
    agent = new_agent(**(served.settings() | {"HMS_PROCESS": "sleep", "HMS_PIDFILE": ""}))
    agent.wrapper = [*pod]
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    held_up(acks, "reloaded: pid 1 ('sleep') is never signalled: it is the container's init")
    assert (served.limit(), served.hups()) == ("50", 0)


def test_another_process_that_got_the_same_number_is_left_alone(
    start: Start, new_agent: Callable[..., Agent], control: Control, acks: Acks, pod: tuple[str, ...]
) -> None:
    """HUP ends the process, its pid file stays, and the number goes to a program that would die of a second HUP."""
    served = start("end", *pod)
    agent = new_agent(**(served.settings() | {"HMS_CONFIRM_TIMEOUT": "2.5"}))
    agent.wrapper = [*pod]
    agent.start()
    acks.wait_active()
    control.put(1, {"rate_limit_rps": 200})
    served.popen.wait(10)
    stranger = with_number(served.pid, pod)
    assert outcome(acks, 1) == "failed"
    assert f"names pid {served.pid}, which is 'sleep' and not {served.name!r}: not signalled" in words(acks)
    until(lambda: served.conf.read_text() == CONF, "the old file")
    time.sleep(0.5)
    assert stranger.poll() is None
    stranger.send_signal(signal.SIGKILL)
    stranger.wait()


def with_number(pid: int, pod: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """A sleeping process of that number in the namespace; others there may take it first, so it is tried again."""
    script = f"exec sh -c 'test $$ = {pid} && exec sleep 60'"
    for _ in range(20):
        subprocess.run([*pod, "sh", "-c", f"echo {pid - 1} > /proc/sys/kernel/ns_last_pid"], check=True)
        made = subprocess.Popen([*pod, "sh", "-c", script])
        try:
            made.wait(0.2)
        except subprocess.TimeoutExpired:
            return made
    raise AssertionError(f"nobody got the number {pid}")
