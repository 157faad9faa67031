"""Each command against the fake: what it asks, what it prints, its exit code."""

import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hms_cli import tree

from . import documents as made
from .fake_mgt import Answer, FakeMgt, Seen, patch, problem, serving

PATCH = "service: ARTIST_REGISTRY_API # comment\n"
Run = Callable[..., Result]


@pytest.fixture
def mgt() -> Iterator[FakeMgt]:
    with serving() as fake:
        fake.patches[784] = [patch("APPLIED")]
        fake.patches[790] = [patch("APPLIED", 790)]
        yield fake


@pytest.fixture
def hms(mgt: FakeMgt, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HMS_MGT_URL", mgt.url)
    monkeypatch.setenv("HMS_TOKEN", "hms_secret")
    import_module("hms_cli.__main__")  # it completes `cli` with the global options
    return lambda *arguments: CliRunner().invoke(tree.cli, list(arguments))


@pytest.fixture
def file(tmp_path: Path) -> str:
    given = tmp_path / "patch.yml"
    given.write_text(PATCH)
    return str(given)


def sent(seen: Seen) -> Any:
    return json.loads(seen.body)


# --- diff --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (made.rehearsal(versions=[made.effect(changes=[])]), 0),
        (made.rehearsal(), 1),
        (made.rehearsal(accepted=False), 3),
        (made.rehearsal(policy={**made.rehearsal()["policy"], "verdict": "deny", "reasons": ["no"]}), 3),
    ],
)
def test_diff_answers_with_its_exit_code(found: dict[str, Any], code: int, mgt: FakeMgt, hms: Run, file: str) -> None:
    mgt.next = [Answer(200, found)]
    done = hms("diff", "-f", file)
    assert (done.exit_code, done.stderr) == (code, "")
    assert "conf.yml before" in done.stdout
    assert mgt.seen[0].query == {"dry_run": ["true"]}
    assert mgt.seen[0].body == PATCH.encode()


def test_diff_in_other_forms(mgt: FakeMgt, hms: Run, file: str) -> None:
    mgt.next = [Answer(200, made.rehearsal())] * 2
    assert json.loads(hms("diff", "-f", file, "-o", "json").stdout) == made.rehearsal()
    assert hms("diff", "-f", file, "-o", "name").stdout == "instance/pod-1\ninstance/pod-2\n"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(500, problem(500, "oops")), 2),
        (Answer(429, problem(429, "later"), {"retry-after": "99"}), 2),
        (Answer(200, {"tenant": "IACB"}), 2),
        (Answer(422, problem(422, "no", ("/window", "Bad time window"))), 3),
        (Answer(403, problem(403, "no")), 6),
    ],
)
def test_diff_that_fails_is_no_difference(answer: Answer, code: int, mgt: FakeMgt, hms: Run, file: str) -> None:
    mgt.next = [answer]
    done = hms("diff", "-f", file)
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr


def test_a_server_without_dry_runs_took_the_patch_in_and_that_is_told(hms: Run, file: str) -> None:
    done = hms("diff", "-f", file)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "took the patch in, as patch/784: hms cancel 784 ends it" in done.stderr


# --- approvals ---------------------------------------------------------------------------------------------------


def test_an_approval_says_who_is_waited_for_still(mgt: FakeMgt, hms: Run) -> None:
    word = {"approver": "bob", "role": "approver", "verdict": "approve", "comment": "ok", "at": made.START}
    waiting = patch("AWAITING_APPROVAL", obligations=[{"approvals": 2}], approvals=[word])
    mgt.said["POST", "/api/patch/784/approve"] = Answer(200, waiting)
    done = hms("approve", "patch/784", "--comment", "tried on staging")
    assert (done.exit_code, done.stderr) == (0, "patch/784: waiting for 1 of 2 approvals by approver\n")
    assert "AWAITING_APPROVAL" in done.stdout
    assert sent(mgt.seen[0]) == {"comment": "tried on staging"}


def test_an_approval_needs_no_comment_and_a_rejection_does(mgt: FakeMgt, hms: Run) -> None:
    mgt.said["POST", "/api/patch/784/approve"] = Answer(200, patch("APPROVED"))
    mgt.said["POST", "/api/patch/784/reject"] = Answer(200, patch("REJECTED"))
    assert hms("approve", "784", "-o", "name").stdout == "patch/784\n"
    assert hms("reject", "784").exit_code == 2
    assert hms("reject", "784", "--comment", "not now").exit_code == 0
    assert [seen.body for seen in mgt.seen] == [b"", b'{"comment": "not now"}']


def test_a_word_that_does_not_count_is_refused(mgt: FakeMgt, hms: Run) -> None:
    mgt.next = [Answer(403, problem(403, "ada submitted patch 784: its author's word on it never counts"))]
    done = hms("approve", "784")
    assert (done.exit_code, done.stdout) == (6, "")
    assert "never counts" in done.stderr


@pytest.mark.parametrize("command", [["apply", "--wait", "-f"], ["status", "784", "--watch"]])
def test_a_wait_goes_on_through_approvals_and_says_whose(command: list[str], mgt: FakeMgt, hms: Run, file: str) -> None:
    waiting = patch("AWAITING_APPROVAL", obligations=[{"approvals": 1}])
    mgt.patches = {784: [waiting, waiting, patch("ROLLING_OUT"), patch("APPLIED")]}
    done = hms(*command, *([file] if command[-1] == "-f" else []))
    assert done.exit_code == 0
    assert "AWAITING_APPROVAL waiting for 1 of 1 approval by approver" in done.stderr
    assert "it is in effect" in done.stderr


def test_a_wait_for_people_that_takes_too_long_says_for_whom(mgt: FakeMgt, hms: Run, file: str) -> None:
    mgt.patches = {784: [patch("AWAITING_APPROVAL", break_glass=True, obligations=[{"approvals": 2}])]}
    done = hms("apply", "-f", file, "--wait", "--timeout", "0.3")
    assert done.exit_code == 4
    assert done.stderr.splitlines()[-1] == "waiting for 2 of 2 approvals by approver"
    assert "AWAITING_APPROVAL BREAK-GLASS" in done.stderr
    assert "BREAK-GLASS" in done.stdout


def test_a_watched_patch_whose_place_is_taken_has_ended(mgt: FakeMgt, hms: Run) -> None:
    mgt.patches[784] = [patch("REVERTING"), patch("SUPERSEDED", superseded_by=790, events=[{"to": "APPLIED"}])]
    done = hms("status", "784", "--watch")
    assert done.exit_code == 0
    assert "patch/784: patch/790 took its place" in done.stderr


# --- window ------------------------------------------------------------------------------------------------------

ACCEPTED = {"patch_id": 790, "status": "QUEUED", "tenant": "IACB", "service": "X", "href": "/api/patch/790"}


def test_a_window_is_moved_by_a_new_patch(mgt: FakeMgt, hms: Run) -> None:
    mgt.said["POST", "/api/patch/784/window"] = Answer(202, ACCEPTED)
    done = hms("window", "784", "--start", "now", "--end", made.END, "--reason", "longer", "--idempotency-key", "k")
    assert (done.exit_code, done.stdout) == (0, "patch/790 QUEUED\n")
    assert sent(mgt.seen[0]) == {"window": {"start": "now", "end": made.END}, "reason": "longer"}
    assert mgt.seen[0].headers["idempotency-key"] == "k"


def test_a_moved_window_is_waited_for(mgt: FakeMgt, hms: Run) -> None:
    mgt.said["POST", "/api/patch/784/window"] = Answer(202, ACCEPTED)
    done = hms("window", "784", "--duration", "7d", "--wait")
    assert done.exit_code == 0
    assert "patch/790: it is in effect" in done.stderr
    assert sent(mgt.seen[0]) == {"window": {"duration": "7d"}}


@pytest.mark.parametrize("given", [[], ["--end", made.END, "--duration", "7d"], ["--start", "now"]])
def test_a_window_has_one_end(given: list[str], mgt: FakeMgt, hms: Run) -> None:
    assert hms("window", "784", *given).exit_code == 2
    assert mgt.seen == []


# --- explain -----------------------------------------------------------------------------------------------------


def test_explain_asks_with_all_that_was_said(mgt: FakeMgt, hms: Run) -> None:
    mgt.said["GET", "/api/effective"] = Answer(200, made.effective(instance="pod-1"))
    options = {"tenant": "IACB", "version": "2.1.0", "instance": "pod-1", "at": made.START}
    done = hms("explain", "API", *(word for name, value in options.items() for word in (f"--{name}", value)))
    assert done.exit_code == 0
    assert done.stdout.startswith("KEY")
    head = "ARTIST_REGISTRY_API 2.1.0 of tenant IACB, on pod-1 at 2026-11-24 09:00Z (past), revision 12\n"
    assert done.stderr == head
    assert mgt.seen[0].query == {"service": ["API"], **{name: [value] for name, value in options.items()}}


def test_explain_tells_one_key(mgt: FakeMgt, hms: Run) -> None:
    mgt.said["GET", "/api/effective"] = Answer(200, made.effective())
    assert "by ada: the market" in hms("explain", "API", "rate_limit_rps").stdout
    [key] = json.loads(hms("explain", "API", "rate_limit_rps", "-o", "json").stdout)["keys"]
    assert key["winner"] == "patch/784"
    assert hms("explain", "API", "-o", "name").stdout == "log.level\nrate_limit_rps\nreplicas\n"
    missing = hms("explain", "API", "nothing")
    assert (missing.exit_code, missing.stdout) == (3, "")
    assert "there is no key nothing" in missing.stderr


# --- freezes -----------------------------------------------------------------------------------------------------


def test_freezes_are_listed(mgt: FakeMgt, hms: Run) -> None:
    mgt.said["GET", "/api/freeze"] = Answer(200, {"items": [made.freeze(), made.freeze(4)], "next_cursor": None})
    assert hms("freeze", "list", "--tenant", "IACB", "-o", "name").stdout == "freeze/3\nfreeze/4\n"
    assert hms("freeze", "list", "--all").exit_code == 0
    assert [seen.query for seen in mgt.seen] == [{"tenant": ["IACB"]}, {"all": ["true"]}]


@pytest.mark.parametrize(("whom", "tenant"), [(["--tenant", "IACB"], {"tenant": "IACB"}), (["--platform"], {})])
def test_a_freeze_is_made_once(whom: list[str], tenant: dict[str, str], mgt: FakeMgt, hms: Run) -> None:
    mgt.said["POST", "/api/freeze"] = Answer(201, made.freeze())
    roles = ["--except-role", "platform_admin", "--except-role", "approver"]
    done = hms("freeze", "add", *whom, "--start", made.START, "--end", made.END, "--reason", "no one in", *roles)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1].startswith("3 ")
    expected = {**tenant, "start": made.START, "end": made.END, "except_roles": ["platform_admin", "approver"]}
    assert sent(mgt.seen[0]) == {"reason": "no one in", **expected}


@pytest.mark.parametrize(
    "given",
    [
        ["--duration", "1d"],
        ["--tenant", "IACB", "--platform", "--duration", "1d"],
        ["--tenant", "IACB"],
        ["--tenant", "IACB", "--duration", "1d", "--end", made.END],
    ],
)
def test_a_freeze_says_whom_it_holds_and_has_one_end(given: list[str], mgt: FakeMgt, hms: Run) -> None:
    assert hms("freeze", "add", "--reason", "x", *given).exit_code == 2
    assert mgt.seen == []


def test_a_freeze_is_lifted(mgt: FakeMgt, hms: Run) -> None:
    mgt.said["POST", "/api/freeze/3/lift"] = Answer(200, made.freeze(lifted_at=made.START))
    assert "lifted" in hms("freeze", "lift", "freeze/3", "--reason", "early").stdout
    assert sent(mgt.seen[0]) == {"reason": "early"}
    assert hms("freeze", "lift", "patch/3").exit_code == 2


# --- quotas ------------------------------------------------------------------------------------------------------

QUOTA = "/api/tenant/IACB/quota"


@pytest.fixture
def quota(mgt: FakeMgt) -> FakeMgt:
    mgt.said["GET", QUOTA] = Answer(200, made.quota(), {"ETag": '"v7"'})
    mgt.said["PUT", QUOTA] = Answer(200, made.quota(replicas=9), {"ETag": '"v8"'})
    return mgt


def test_a_quota_is_shown(quota: FakeMgt, hms: Run) -> None:
    done = hms("quota", "show", "IACB")
    assert (done.exit_code, len(quota.seen)) == (0, 1)
    assert done.stdout.splitlines()[1].split() == ["replicas", "6", "12", "100"]
    assert hms("quota", "show", "IACB", "-o", "name").stdout == "quota/IACB\n"


def test_only_the_named_bounds_change_and_only_from_what_was_read(quota: FakeMgt, hms: Run) -> None:
    knobs = ["--knob", "burst=2.5", "--knob", "rate_limit_rps=none", "--knob", 'a."b=c".d=7']
    done = hms("quota", "set", "IACB", "--replicas", "9", "--memory", "none", "--cpu", "14500m", *knobs)
    assert (done.exit_code, done.stdout.splitlines()[1].split()[2]) == (0, "9")
    assert quota.seen[1].headers["if-match"] == '"v7"'
    expected = {"replicas": 9, "cpu": "14500m", "memory": None, "knobs": {"burst": 2.5, 'a."b=c".d': 7}}
    assert sent(quota.seen[1]) == expected


def test_what_is_not_named_stays(quota: FakeMgt, hms: Run) -> None:
    hms("quota", "set", "IACB", "--cpu", "2")
    assert sent(quota.seen[1]) == {"replicas": 12, "cpu": "2", "memory": "64Gi", "knobs": {"rate_limit_rps": 500}}


def test_a_quota_that_changed_meanwhile_is_left_alone(quota: FakeMgt, hms: Run) -> None:
    quota.said["PUT", QUOTA] = Answer(412, problem(412, "changed", code="precondition_failed"))
    done = hms("quota", "set", "IACB", "--replicas", "9")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "nothing was written" in done.stderr


@pytest.mark.parametrize(
    "given",
    [[], ["--replicas", "many"], ["--knob", "burst"], ["--knob", "=5"], ["--knob", "a=nan"], ["--knob", "a=1e999"]],
)
def test_a_bound_is_a_number(given: list[str], quota: FakeMgt, hms: Run) -> None:
    assert hms("quota", "set", "IACB", *given).exit_code == 2
    assert quota.seen == []


def test_a_tenants_name_is_one_step_of_the_path(mgt: FakeMgt, hms: Run) -> None:
    assert hms("quota", "show", "A/../B?x").exit_code == 3
    assert mgt.seen[0].path == "/api/tenant/A%2F..%2FB%3Fx/quota"


# --- audit -------------------------------------------------------------------------------------------------------

FILTERS = {
    "tenant": "IACB",
    "actor": "ada",
    "action": "patch.*",
    "subject": "patch/784",
    "since": made.START,
    "until": made.END,
    "request-id": "5f0c9d7e11aa42b0",
}
OPTIONS = [word for name, value in FILTERS.items() for word in (f"--{name}", value)]
QUERY = {name.replace("-", "_"): [value] for name, value in FILTERS.items()}


def test_the_audit_is_a_table_of_the_newest(mgt: FakeMgt, hms: Run) -> None:
    first = {"items": [made.entry(2), made.entry(1)], "next_cursor": "c"}
    mgt.next = [Answer(200, first), Answer(200, {"items": [made.entry(0)], "next_cursor": "d"})]
    done = hms("audit", *OPTIONS, "--limit", "3", "-o", "name")
    assert done.stdout == "audit/2\naudit/1\naudit/0\n"
    assert mgt.seen[0].query == {**QUERY, "limit": ["3"]}
    assert len(mgt.seen) == 2


@pytest.mark.parametrize(("form", "media"), [("jsonl", "application/x-ndjson"), ("csv", "text/csv; charset=utf-8")])
def test_an_export_is_written_as_it_comes(form: str, media: str, mgt: FakeMgt, hms: Run) -> None:
    mgt.said["GET", "/api/audit"] = Answer(200, "é,1\r\né,2\r\n".encode(), {"content-type": media})
    done = hms("audit", *OPTIONS, "--format", form)
    assert (done.exit_code, done.stdout_bytes) == (0, "é,1\r\né,2\r\n".encode())
    assert mgt.seen[0].query == {**QUERY, "format": [form]}


def test_who_may_not_read_the_audit_is_told(mgt: FakeMgt, hms: Run) -> None:
    mgt.next = [Answer(403, problem(403, "role viewer may not read the audit"))] * 2
    assert hms("audit").exit_code == 6
    assert hms("audit", "--format", "csv").exit_code == 6


# --- streams -----------------------------------------------------------------------------------------------------

STREAM = "/api/stream/IACB/API"


def test_revisions_are_listed(mgt: FakeMgt, hms: Run) -> None:
    found = [made.revision(3, 784, 785), made.revision(2, 784), made.revision(1)]
    mgt.said["GET", f"{STREAM}/revision"] = Answer(200, {"items": found, "next_cursor": None})
    rows = hms("stream", "revisions", "API", "--tenant", "IACB").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["3", "2", "1"]
    assert [row.split()[-1] for row in rows] == ["784,785", "784", "-"]
    assert len(hms("stream", "revisions", "API", "--tenant", "IACB", "--limit", "1").stdout.splitlines()) == 2
    assert mgt.seen[-1].query == {"limit": ["1"]}


def test_a_stream_goes_back(mgt: FakeMgt, hms: Run) -> None:
    mgt.said["POST", f"{STREAM}/rollback"] = Answer(202, made.returned())
    done = hms("stream", "rollback", "API", "12", "--tenant", "IACB", "--reason", "as before")
    assert done.exit_code == 0
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["785", "ended"],
        ["784", "resubmitted", "as", "patch/790"],
    ]
    assert "revision 14 is on its way; what was submitted anew follows once GOV allows it" in done.stderr
    assert sent(mgt.seen[0]) == {"revision": 12, "reason": "as before"}


def test_a_stream_that_cannot_go_back_all_the_way_says_so(mgt: FakeMgt, hms: Run) -> None:
    lost = [{"patch_id": 780, "reason": "its window ended"}]
    mgt.said["POST", f"{STREAM}/rollback"] = Answer(202, made.returned(revision=None, ended=[], lost=lost))
    done = hms("stream", "rollback", "API", "12", "--tenant", "IACB")
    assert done.exit_code == 3
    assert "its window ended" in done.stdout
    assert "nothing had to leave" in done.stderr


def test_what_is_in_the_way_of_a_patch_is_told_when_it_is_submitted(mgt: FakeMgt, hms: Run, file: str) -> None:
    facts = {"conflicts": [made.CONFLICT], "next_free": made.NEXT_FREE}
    mgt.next = [Answer(409, problem(409, "in the way", code="patch_conflict", **facts))]
    done = hms("apply", "-f", file)
    assert (done.exit_code, done.stdout) == (3, "")
    assert "patch/783 sets rate_limit_rps too" in done.stderr
    assert "supersedes: [783]" in done.stderr
