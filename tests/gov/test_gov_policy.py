"""The policy folder as a function: the shipped rules, and "no" for everything unclear."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hms_gov.policy import Judgement, Policy
from hms_gov.question import Question
from hms_gov.settings import SHIPPED_POLICY

from .samples import ALLOW, HEAD, body, write_policy

SHIPPED = Policy(SHIPPED_POLICY)


def judged(policy: Policy = SHIPPED, **other: Any) -> Judgement:
    question = Question.model_validate_json(json.dumps(body(**other)))
    return policy.judge(question.for_policy())


def reasons_of(folder: Path, **files: str) -> tuple[str, ...]:
    judgement = judged(Policy(write_policy(folder, **files)))
    assert judgement.verdict == ("deny" if judgement.reasons else "allow")
    return judgement.reasons


def window(days: float) -> dict[str, str]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return {"start": start.isoformat(), "end": (start + timedelta(days=days)).isoformat()}


def test_the_seeds_patch_is_allowed_with_no_obligation() -> None:
    judgement = judged()
    assert judgement.verdict == "allow"
    assert judgement.obligations == ()
    assert judgement.revision.startswith("sha256:")


@pytest.mark.parametrize("days", [1, 89.9, 90])
def test_a_window_of_90_days_is_allowed(days: float) -> None:
    assert judged(window=window(days)).reasons == ()


@pytest.mark.parametrize(
    ("days", "said"),
    [(105, "105"), (104.5, "104.5"), (100, "100"), (90 + 1 / 86400, "90.01"), (3_000_000 / 3, "1000000")],
)
def test_a_longer_window_is_denied_with_its_length(days: float, said: str) -> None:
    wanted = f"a window may last at most 90 days, this one lasts {said}"
    assert judged(window=window(days)).reasons == (wanted,)


def test_a_window_without_an_end_is_allowed() -> None:
    assert judged(window={"start": "2026-01-01T00:00:00Z", "end": None}).reasons == ()
    assert judged(window={"start": "2026-01-01T00:00:00Z"}).reasons == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"audit": {"enabled": False}},
        {"audit.enabled": False},
        {"api": {"audit.enabled": False}},
        {"api.audit": {"enabled": None}},
        {"Audit": {"Enabled": "Off"}},
        {"audit": {"enabled": "false"}},
        {"audit": {"enabled": 0}},
        {"audit": False},
        {"audit": None},
        {"audit": []},
        {"sinks": [{"audit": {"enabled": False}}]},
        {"audit": {"enabled": False}, "noise": {f"k{i}": i for i in range(200)}},
    ],
)
def test_auditing_cannot_be_switched_off_in_any_spelling(changes: dict[str, Any]) -> None:
    assert judged(changes=changes).reasons == ("auditing may not be switched off",)


@pytest.mark.parametrize(
    "changes",
    [
        {"audit": {"enabled": True}},
        {"audit": {"level": "none"}},
        {"preaudit": {"enabled": False}},
        {"audit": {"enabled_by": None}},
        {"enabled": False},
        {"": None, "list": [None, False]},
    ],
)
def test_other_knobs_are_not_mistaken_for_auditing(changes: dict[str, Any]) -> None:
    assert judged(changes=changes).reasons == ()


@pytest.mark.parametrize("reason", [None, "", "  \t"])
def test_a_high_priority_needs_a_reason(reason: str | None) -> None:
    assert judged(priority=101, reason=reason).reasons == ("priority above 100 needs a reason",)
    assert judged(priority=100, reason=reason).reasons == ()
    assert judged(priority=101, reason="holiday market").reasons == ()


HOURS = 4


def fire(hours: float | None = HOURS, reason: str | None = "the registry is down", **other: Any) -> Judgement:
    end = {} if hours is None else window(hours / 24)
    return judged(
        break_glass=True, reason=reason, window={"start": "2026-01-01T00:00:00+00:00", "end": None, **end}, **other
    )


@pytest.mark.parametrize("hours", [0.01, 1, HOURS])
def test_break_glass_is_allowed_for_hours_and_two_people_agree(hours: float) -> None:
    judgement = fire(hours)
    assert judgement.reasons == ()
    assert judgement.obligations == ({"approvals": 2, "roles": ["approver", "release_manager"]},)


@pytest.mark.parametrize("hours", [HOURS + 1 / 3600, 24, None])
def test_break_glass_ends_by_itself_within_hours(hours: float | None) -> None:
    assert fire(hours).reasons == ("a break-glass patch needs a window that ends within 4 hours",)


@pytest.mark.parametrize("reason", [None, "", " \t"])
def test_break_glass_says_what_is_on_fire(reason: str | None) -> None:
    assert fire(reason=reason).reasons == ("a break-glass patch needs a reason",)


def test_break_glass_excuses_from_no_other_rule() -> None:
    assert fire(changes={"audit": False}).reasons == ("auditing may not be switched off",)
    assert len(fire(None, reason="", changes={"audit": False}).reasons) == 3


def test_only_break_glass_is_obliged_anything_by_the_shipped_policy() -> None:
    assert judged(break_glass=False).obligations == judged().obligations == ()


def test_every_objection_is_told_at_once() -> None:
    assert len(judged(priority=101, changes={"audit": False}, window=window(91)).reasons) == 3


def test_a_false_allow_denies(tmp_path: Path) -> None:
    text = HEAD + "default allow := false\ndeny contains d if some d in []\nobligations contains o if some o in []\n"
    assert reasons_of(tmp_path, main=text) == ("data.hms.patch.allow is false",)


def test_an_undefined_allow_denies(tmp_path: Path) -> None:
    text = ALLOW.replace("default allow := false\n", "") + "deny contains d if some d in []\nallow := 1 if input.no\n"
    text = text.replace("allow if count(deny) == 0\n", "")
    assert reasons_of(tmp_path, main=text) == ("data.hms.patch.allow is undefined",)


@pytest.mark.parametrize("value", ['"yes"', "1", '{"a": 1}', "null"])
def test_an_allow_that_is_not_exactly_true_denies(tmp_path: Path, value: str) -> None:
    text = HEAD + f"allow := {value}\ndeny contains d if some d in []\nobligations contains o if some o in []\n"
    assert reasons_of(tmp_path, main=text) == ("data.hms.patch.allow is not exactly true",)


def test_an_undefined_package_denies(tmp_path: Path) -> None:
    reasons = reasons_of(tmp_path, main="package another.one\n\nallow := true\n")
    assert "data.hms.patch.deny is undefined" in reasons


@pytest.mark.parametrize("name", ["deny", "obligations"])
@pytest.mark.parametrize("value", ["true", '"text"', '{"a": 1}'])
def test_a_value_of_the_wrong_type_denies(tmp_path: Path, name: str, value: str) -> None:
    other = {"deny": "obligations", "obligations": "deny"}[name]
    text = HEAD + f"allow := true\n{name} := {value}\n{other} contains x if some x in []\n"
    assert reasons_of(tmp_path, main=text) == (f"data.hms.patch.{name} is not a set",)


def test_a_denial_that_is_not_text_still_denies(tmp_path: Path) -> None:
    assert reasons_of(tmp_path, main=ALLOW + "deny contains 7\n") == ("data.hms.patch.deny holds 7, not text",)


def test_a_syntax_error_denies_and_names_file_and_line(tmp_path: Path) -> None:
    reasons = reasons_of(tmp_path, main=ALLOW, broken=HEAD + "deny contains {\n")
    assert reasons == ("the policy cannot be evaluated: broken.rego line 5: this is unclosed",)


@pytest.mark.parametrize(
    "rule",
    [
        "deny contains time.parse_rfc3339_ns(input.author)",
        'deny contains "x" if to_number(input.author) > 1',
        "deny := 1 / 0",
        "deny := no_such_function(1)",
        "deny := {1}\ndeny := {2}",
        'deny contains "x" if count(deny) > 5',
        'deny contains http.send({"url": "http://127.0.0.1:9/", "method": "get"})',
    ],
)
def test_a_rule_that_fails_denies_instead_of_vanishing(tmp_path: Path, rule: str) -> None:
    text = HEAD + f"allow := true\nobligations contains o if some o in []\n{rule}\n"
    [reason] = reasons_of(tmp_path, main=text)
    assert reason.startswith("the policy cannot be evaluated: ")


def test_a_folder_without_policy_denies(tmp_path: Path) -> None:
    assert reasons_of(tmp_path) == ("the policy cannot be evaluated: the policy folder holds no .rego file",)
    assert "no .rego file" in reasons_of_folder(tmp_path / "missing")


def reasons_of_folder(folder: Path) -> str:
    return " ".join(judged(Policy(folder)).reasons)


def test_a_file_that_cannot_be_read_denies_and_is_named(tmp_path: Path) -> None:
    write_policy(tmp_path, main=ALLOW)
    (tmp_path / "odd.rego").mkdir()
    judgement = judged(Policy(tmp_path))
    assert "odd.rego" in judgement.reasons[0]
    assert judgement.revision == "unread"


def test_a_file_that_is_not_text_denies_and_is_named(tmp_path: Path) -> None:
    write_policy(tmp_path, main=ALLOW)
    (tmp_path / "odd.rego").write_bytes(b"\xff")
    assert "odd.rego: not UTF-8" in judged(Policy(tmp_path)).reasons[0]


def test_obligations_are_passed_on_only_with_an_approval(tmp_path: Path) -> None:
    obliged = ALLOW + 'obligations contains {"approvals": 2}\ndeny contains "no" if input.priority > 5\n'
    policy = Policy(write_policy(tmp_path, main=obliged))
    assert judged(policy).obligations == ({"approvals": 2},)
    assert judged(policy, priority=6).obligations == ()


def test_an_edit_counts_from_the_next_decision_on_whatever_the_timestamps_say(tmp_path: Path) -> None:
    no, yes = ('deny contains "no" if input.priority >= 0\n', 'deny contains "no" if input.priority <  0\n')
    file = write_policy(tmp_path, main=ALLOW, extra=HEAD + no) / "extra.rego"
    policy, before = Policy(tmp_path), file.stat()
    first = judged(policy)
    file.write_text(HEAD + yes)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = judged(policy)
    assert (first.verdict, second.verdict) == ("deny", "allow")
    assert first.revision != second.revision


def test_a_policy_heals_when_its_file_is_mended_and_the_revision_comes_back(tmp_path: Path) -> None:
    policy = Policy(write_policy(tmp_path, main=ALLOW + "deny contains d if some d in []\n"))
    good = judged(policy)
    write_policy(tmp_path, broken="package")
    assert policy.fault() is not None
    assert judged(policy).verdict == "deny"
    (tmp_path / "broken.rego").unlink()
    assert policy.fault() is None
    assert judged(policy) == good
    assert good.verdict == "allow"


def test_the_revision_names_the_content_and_the_names(tmp_path: Path) -> None:
    one = Policy(write_policy(tmp_path / "one", main=ALLOW))
    same = Policy(write_policy(tmp_path / "same", main=ALLOW))
    renamed = Policy(write_policy(tmp_path / "renamed", other=ALLOW))
    assert judged(one).revision == judged(same).revision != judged(renamed).revision


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("input.changes.x == 12345678901234567890", 12345678901234567890),
        ("input.changes.x == 0.0000001", 1e-7),
        ('contains(input.changes.x, "b")', "a\0b"),
        ('input.changes.x == "é☃\\"\\n"', 'é☃"\n'),
        ("input.changes.x == true", True),
        ("input.changes.x == null", None),
    ],
)
def test_the_engine_sees_the_value_that_is_signed(tmp_path: Path, rule: str, value: object) -> None:
    policy = Policy(write_policy(tmp_path, main=ALLOW + f'deny contains "seen" if {rule}\n'))
    assert judged(policy, changes={"x": value}).reasons == ("seen",)


def test_instants_are_readable_by_the_engines_own_function(tmp_path: Path) -> None:
    rule = 'deny contains "seen" if time.weekday(time.parse_rfc3339_ns(input.window.start)) == "Wednesday"\n'
    policy = Policy(write_policy(tmp_path, main=ALLOW + rule))
    assert judged(policy).reasons == ("seen",)


def test_threads_get_their_own_answers() -> None:
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda priority: judged(priority=priority).verdict, range(2, 200)))
    assert verdicts == ["deny" if priority > 100 else "allow" for priority in range(2, 200)]


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), values, max_size=5))
def test_any_changes_get_a_verdict_of_the_policy_and_not_a_fault_of_the_engine(
    changes: dict[str, Any],
) -> None:
    assert set(judged(changes=changes).reasons) <= {"auditing may not be switched off"}
