"""The engine's process may crash, hang or be killed; the service answers "no" or goes on."""

import os
import signal
from pathlib import Path

import pytest

from hms_gov import rego
from hms_gov.engine import words
from hms_gov.policy import Policy
from hms_gov.rego import PolicyError, Rego

from .samples import ALLOW, write_policy

MODULES = {"main.rego": ALLOW + 'deny contains "no" if input.no\n'}
# Stands in for the engine: compiles anything, then does what the test is about with the first question.
STAND_IN = """
import socket, sys, time
link = socket.socket(fileno=int(sys.argv[1]))
requests = link.makefile("rb")
requests.readline()
link.sendall(b'{"value": {}}\\n')
requests.readline()
open("asked", "a").write("x")
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A child that ends without an answer; "asked" beside it grows by one with each question."""
    file = tmp_path / "child.py"
    file.write_text(STAND_IN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rego, "CHILD", file)
    return file


def child(engine: Rego) -> int:
    assert engine._child is not None
    finalizer = engine._child.end.peek()
    assert finalizer is not None
    return int(finalizer[2][0].pid)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_engine_killed_between_questions_is_replaced_unseen() -> None:
    engine = Rego(MODULES)
    first = child(engine)
    os.kill(first, signal.SIGKILL)
    assert engine.ask({})["allow"] is True
    assert child(engine) != first


def test_a_question_that_crashes_the_engine_twice_is_a_fault(stand_in: Path) -> None:
    engine = Rego(MODULES)
    with pytest.raises(PolicyError, match="crashed on it, twice"):
        engine.ask({})
    assert stand_in.with_name("asked").read_text() == "xx"


def test_half_an_answer_is_a_crash_and_not_an_answer(stand_in: Path) -> None:
    stand_in.write_text(STAND_IN + """link.sendall(b'{"value": {"allow": true}}')\n""")
    with pytest.raises(PolicyError, match="crashed on it, twice"):
        Rego(MODULES).ask({})


def test_a_question_without_an_answer_is_a_fault_and_its_engine_is_ended(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.write_text(STAND_IN + "time.sleep(60)\n")
    engine = Rego(MODULES)
    pid = child(engine)
    monkeypatch.setattr(rego, "PATIENCE", 0.1)
    with pytest.raises(PolicyError, match="takes too long"):
        engine.ask({})
    assert not running(pid)
    assert stand_in.with_name("asked").read_text() == "x"


def test_an_engine_that_did_not_start_is_tried_again_with_the_next_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = Policy(write_policy(tmp_path / "policy", main=MODULES["main.rego"]))
    dead = tmp_path / "dead.py"
    dead.write_text("")
    with monkeypatch.context() as patched:
        patched.setattr(rego, "CHILD", dead)
        judgement = policy.judge({})
        assert judgement.reasons == ("the policy cannot be evaluated: the policy engine crashed on it, twice",)
    assert policy.judge({}).verdict == "allow"
    assert policy.judge({}).revision == judgement.revision


def test_no_engine_outlives_its_policy() -> None:
    engine = Rego(MODULES)
    pid = child(engine)
    del engine
    assert not running(pid)


def test_what_a_policy_prints_is_not_an_answer() -> None:
    engine = Rego({"main.rego": ALLOW + 'deny contains "seen" if print("{}")\n'})
    assert engine.ask({})["deny"] == ["seen"]


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("(error 1:a|12|1\n    (errormsg 4:oops)", "a line 3: oops"),
        ("(error 1:a|0|1\n    (errormsg 7:a (b) c)\n", "a line 1: a (b) c"),
        ("(error 7:unknown|0|1\n  (errormsg 4:oops)", "oops"),
        ("(errormsg 4:oops)", "oops"),
    ],
)
def test_an_error_tree_becomes_words(printed: str, said: str) -> None:
    assert words(printed, {"a": "one\ntwo\nthree\nfour\n"}) == said


def test_an_error_without_words_names_the_usual_causes() -> None:
    assert "built-in failed" in words("<error>", {})
