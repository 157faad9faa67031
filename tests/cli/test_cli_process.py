"""The `hms` command as scripts and people run it: a process, its pipes and its exit code."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from .documents import DIFF, rehearsal
from .fake_mgt import Answer, FakeMgt, instance, patch, problem, serving

REPOSITORY = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "hms_cli"]
PATCH = "service: ARTIST_REGISTRY_API # comment\n"


@pytest.fixture
def mgt() -> Iterator[FakeMgt]:
    with serving() as fake:
        fake.patches[784] = [patch("QUEUED")]
        yield fake


@pytest.fixture
def patch_file(tmp_path: Path) -> str:
    file = tmp_path / "patch.yml"
    file.write_text(PATCH)
    return str(file)


def environment(mgt: FakeMgt | None) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HMS_")}
    return {**kept, "HMS_MGT_URL": mgt.url if mgt else "", "HMS_TOKEN": "hms_secret", "TERM": "xterm-256color"}


def hms(mgt: FakeMgt | None, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=REPOSITORY,
        env=environment(mgt),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_apply_and_wait_until_applied_prints_the_result_alone_on_stdout(mgt: FakeMgt, patch_file: str) -> None:
    steps = [patch("QUEUED"), patch("ROLLING_OUT", effective=1), patch("ROLLING_OUT", effective=2), patch("APPLIED")]
    mgt.patches[784] = steps
    done = hms(mgt, "apply", "-f", patch_file, "--wait", "--timeout", "20", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "APPLIED"
    assert "ROLLING_OUT 1/3 effective, waiting for pod-2, pod-3 to confirm" in done.stderr
    assert "ROLLING_OUT 2/3 effective" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert mgt.seen[0].body == PATCH.encode()
    assert mgt.seen[0].headers["authorization"] == "Bearer hms_secret"


def test_stdin_key_and_name_make_a_pipeline(mgt: FakeMgt) -> None:
    done = hms(mgt, "-o", "name", "apply", "-f", "-", "--idempotency-key", "build-7", stdin=PATCH)
    assert (done.returncode, done.stdout, done.stderr) == (0, "patch/784\n", "")
    assert mgt.seen[0].headers["idempotency-key"] == "build-7"
    assert hms(mgt, "get", done.stdout.strip(), "-o", "name").stdout == "patch/784\n"


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        ("REJECTED", 3, "a window may last at most 90 days"),
        ("HALTED", 5, "it was halted"),
        ("ROLLED_BACK", 5, "it was rolled back"),
    ],
)
def test_a_wait_that_ends_badly_has_its_exit_code_and_its_reasons(
    status: str, code: int, said: str, mgt: FakeMgt, patch_file: str
) -> None:
    decision = {"verdict": "deny", "reasons": ["a window may last at most 90 days, this one lasts 105"]}
    why = "GOV denies: a window may last at most 90 days, this one lasts 105"
    mgt.patches[784] = [patch("QUEUED"), patch(status, decision=decision, status_reason=why)]
    done = hms(mgt, "apply", "-f", patch_file, "--wait")
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("this one lasts 105") == 1
    assert status in done.stdout


def test_a_wait_ends_when_time_is_up_and_says_what_for(mgt: FakeMgt, patch_file: str) -> None:
    mgt.patches[784] = [patch("ROLLING_OUT", effective=1)]
    done = hms(mgt, "apply", "-f", patch_file, "--wait", "--timeout", "0.3")
    assert done.returncode == 4
    assert "not in effect after 0.3 s; it goes on without us" in done.stderr
    assert "waiting for pod-2, pod-3 to confirm" in done.stderr
    assert "ROLLING_OUT" in done.stdout


def test_a_patch_for_later_is_waited_for_until_it_is_scheduled(mgt: FakeMgt, patch_file: str) -> None:
    later = {"start": "2030-01-01T00:00:00Z", "end": None}
    mgt.patches[784] = [patch("QUEUED", window=later), patch("SCHEDULED", window=later)]
    done = hms(mgt, "apply", "-f", patch_file, "--wait")
    assert done.returncode == 0
    assert "it is scheduled and starts at 2030-01-01T00:00:00Z" in done.stderr


@pytest.mark.parametrize(("status", "code"), [(403, 6), (422, 3), (500, 1)])
def test_what_the_server_refuses_is_on_stderr_with_its_code(
    status: int, code: int, mgt: FakeMgt, patch_file: str
) -> None:
    mgt.next = [Answer(status, problem(status, "no", ("/changes/rate_limit_rps", "Exceeds platform cap 1000")))]
    done = hms(mgt, "apply", "-f", patch_file)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("field /changes/rate_limit_rps: Exceeds platform cap 1000\n")
    assert "hms_secret" not in done.stderr


def test_a_refused_connection_is_one_plain_line() -> None:
    done = hms(None, "--url", "http://127.0.0.1:9", "get")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "cannot reach HMS-MGT at http://127.0.0.1:9" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["apply"],
        ["apply", "-f", "/nowhere"],
        ["get", "-o", "xml"],
        ["--url", "nonsense", "status", "784"],
    ],
)
def test_usage_errors(arguments: list[str], mgt: FakeMgt) -> None:
    done = hms(mgt, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert mgt.seen == []


def test_get_lists_with_filters_and_in_full_when_piped(mgt: FakeMgt) -> None:
    mgt.patches = {number: [patch("APPLIED", number, author="a" * 90)] for number in (784, 785)}
    done = hms(mgt, "get", "--tenant", "IACB", "--status", "applied")
    assert done.returncode == 0
    header, *rows = done.stdout.splitlines()
    assert header.split()[:3] == ["PATCH", "STATUS", "TENANT"]
    assert [row.split()[0] for row in rows] == ["784", "785"]
    assert all(row.endswith("a" * 90) for row in rows)
    assert mgt.seen[0].query == {"tenant": ["IACB"], "status": ["APPLIED"]}


def test_status_tells_all_and_watch_follows(mgt: FakeMgt) -> None:
    mgt.patches[784] = [patch("HALTED", status_reason="1 of 3 failed")]
    told, watched = hms(mgt, "status", "784"), hms(mgt, "status", "patch/784", "--watch")
    assert (told.returncode, watched.returncode) == (0, 5)
    assert told.stdout == watched.stdout
    assert "1 of 3 failed" in told.stdout
    assert hms(mgt, "status", "999").returncode == 3


def test_cancel_and_rollback(mgt: FakeMgt) -> None:
    mgt.patches[784] = [patch("CANCELLED")]
    assert hms(mgt, "cancel", "784", "-o", "name").stdout == "patch/784\n"
    mgt.patches[784] = [patch("REVERTING"), patch("REVERTING"), patch("ROLLED_BACK")]
    done = hms(mgt, "rollback", "784", "--reason", "it [hurts]", "--wait")
    assert done.returncode == 0, done.stderr
    assert "it was rolled back" in done.stderr
    posts = [seen for seen in mgt.seen if seen.method == "POST"]
    assert [seen.path for seen in posts] == ["/api/patch/784/cancel", "/api/patch/784/rollback"]
    assert (posts[0].body, json.loads(posts[1].body)) == (b"", {"reason": "it [hurts]"})


def test_fleet(mgt: FakeMgt) -> None:
    mgt.instances = [instance("pod-1"), instance("pod-2", status="STALE", refused={"replayed": 3})]
    done = hms(mgt, "fleet", "--service", "ARTIST_REGISTRY_API")
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [["pod-1", "LIVE"], ["pod-2", "STALE"]]
    assert "replayed=3" in done.stdout


def test_help_teaches(mgt: FakeMgt) -> None:
    whole = hms(mgt, "--help").stdout
    for words in ("Exit codes", "4 time is up", "HMS_MGT_URL", "apply", "rollback", "fleet"):
        assert words in whole
    assert "Example: hms apply" in hms(mgt, "apply", "--help").stdout
    assert hms(mgt, "--version").stdout.startswith("hms ")


def test_a_reader_that_goes_away_is_no_traceback(mgt: FakeMgt) -> None:
    mgt.patches = {number: [patch("APPLIED", number)] for number in range(1, 1500)}
    mgt.page = 5000
    process = subprocess.Popen(
        [*COMMAND, "get"],
        cwd=REPOSITORY,
        env=environment(mgt),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert "Traceback" not in process.stderr.read()
    process.wait(10)


def on_a_terminal(mgt: FakeMgt, *arguments: str, interrupt_at: str | None = None) -> tuple[int, str]:
    """Run it on a pseudo terminal; Ctrl-C when `interrupt_at` was shown. Exit code and everything shown."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=REPOSITORY, env=environment(mgt), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown, deadline = "", time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            shown += os.read(ours, 4096).decode(errors="replace")
        except OSError:  # the other end is closed: the process has ended
            break
        if interrupt_at is not None and interrupt_at in shown:
            process.send_signal(signal.SIGINT)
            interrupt_at = None
    os.close(ours)
    return process.wait(10), shown


def test_a_terminal_gets_a_live_line_and_colours(mgt: FakeMgt) -> None:
    steps = [patch("ROLLING_OUT", effective=1)] * 2 + [patch("ROLLING_OUT", effective=2)] * 2
    mgt.patches[784] = [*steps, patch("APPLIED")]
    code, shown = on_a_terminal(mgt, "status", "784", "--watch")
    assert code == 0
    assert "\x1b[2K" in shown  # the live line is drawn over
    assert "━" in shown
    assert "it is in effect" in shown


def test_a_difference_is_coloured_on_a_terminal_and_plain_in_a_pipe(mgt: FakeMgt, patch_file: str) -> None:
    mgt.next = [Answer(200, rehearsal())] * 2
    code, shown = on_a_terminal(mgt, "diff", "-f", patch_file)
    piped = hms(mgt, "diff", "-f", patch_file)
    assert (code, piped.returncode) == (1, 1)
    assert "\x1b[32m+rate_limit_rps: 200" in shown
    assert "\x1b[31m-rate_limit_rps: 50" in shown
    assert DIFF in piped.stdout
    assert "\x1b" not in piped.stdout


def test_ctrl_c_stops_watching_and_leaves_the_cursor_on(mgt: FakeMgt) -> None:
    mgt.patches[784] = [patch("ROLLING_OUT", effective=1)]
    code, shown = on_a_terminal(mgt, "status", "784", "--watch", interrupt_at="ROLLING_OUT")
    assert code == 130
    assert "interrupted; what was submitted goes on" in shown
    assert "Traceback" not in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
