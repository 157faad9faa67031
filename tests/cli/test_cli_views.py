"""What the commands print: told to a person in full, harmless whatever the server says, never wider than it may be."""

from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from hms_cli import output
from hms_cli.outcome import Difference
from hms_cli.output import Format
from hms_cli.views import audit, effective, freezes, patches, quotas, rehearsal, streams

from . import documents as made
from .fake_mgt import patch

EVIL = "\x1b[31m[bold]x[/bold]\r\n\x9b0m"
NOW = datetime(2026, 12, 20, tzinfo=UTC)


def drawn(result: output.Result, width: int = 200) -> str:
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(result.drawn(width))
    return captured.get()


def evil(document: Any) -> Any:
    """The document with every text in it hostile."""
    if isinstance(document, dict):
        return {name: evil(value) for name, value in document.items()}
    if isinstance(document, list):
        return [evil(value) for value in document]
    return EVIL if isinstance(document, str) else document


ONE_OF_EACH = [
    rehearsal.rehearsal(evil(made.rehearsal(refusals=[made.refusal("frozen", "x", freeze=made.FREEZE)]))),
    effective.keys(evil(made.effective())),
    effective.layers(evil(made.effective()), evil(made.effective())["keys"]),
    freezes.listing([evil(made.freeze())]),
    quotas.quota(evil(made.quota())),
    audit.entries([evil(made.entry())]),
    streams.revisions([evil(made.revision(12, 784))]),
    streams.returned(evil(made.returned(lost=[{"patch_id": 1, "reason": "over"}]))),
    patches.story(evil(patch("AWAITING_APPROVAL", obligations=[{"approvals": 2, "roles": ["x"]}], held_until="x"))),
    patches.listing([evil(patch("SUPERSEDED", superseded_by=785, supersedes=[1], break_glass=True))]),
]


@pytest.mark.parametrize("result", ONE_OF_EACH)
def test_neither_escapes_nor_markup_from_the_server_act(result: output.Result) -> None:
    shown = drawn(result)
    assert "\x1b" not in shown + output._written(result, Format.NAME)
    assert "\x9b" not in shown + output._written(result, Format.JSON) + output._written(result, Format.YAML)
    assert "[bold]x[/bold]" in shown


@pytest.mark.parametrize(
    "result",
    [
        rehearsal.rehearsal({}),
        effective.keys({}),
        effective.layers({}, [{}]),
        freezes.row({}),
        quotas.quota({}),
        audit.entries([{}]),
        streams.revisions([{}]),
        streams.returned({}),
    ],
)
def test_a_document_with_nothing_in_it_can_still_be_shown(result: output.Result) -> None:
    assert drawn(result).strip()


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize(
    "result",
    [
        effective.keys(made.effective()),
        freezes.listing([made.freeze(), made.freeze(4, tenant=None)]),
        quotas.quota(made.quota()),
        audit.entries([made.entry(), made.entry(4712, action="denied", before=None, after=None)]),
        streams.revisions([made.revision(12, *range(700, 760))]),
        streams.returned(made.returned(lost=[{"patch_id": 1, "reason": "its window ended " * 9}])),
        patches.listing([patch("AWAITING_APPROVAL", break_glass=True, author="a" * 30, held_until=made.END)]),
    ],
)
def test_no_line_of_a_table_is_wider_than_the_terminal(result: output.Result, width: int) -> None:
    assert max(len(line) for line in drawn(result, width).splitlines()) <= width


def test_a_dry_run_is_told_in_full() -> None:
    told = drawn(rehearsal.rehearsal(made.rehearsal())).splitlines()
    assert told[: len(made.DIFF.splitlines()) + 1] == ["version 2.1.0", *made.DIFF.splitlines()]
    rest = " ".join(" ".join(told).split())
    for words in (
        "66.7% of the tenant's instances (2 of 3)",
        "hit 2: version 2.1.0 (pod-1, pod-2)",
        "missed 1: version: 1.0 does not match >=2.1.0 (pod-3)",
        "policy allow by policy sha256:572504cf6400",
    ):
        assert words in rest
    assert "quota" not in rest
    assert "refused" not in rest


def test_many_instances_are_counted_and_some_named() -> None:
    many = [made.reach(f"pod-{number}") for number in range(1, 41)]
    told = drawn(rehearsal.rehearsal(made.rehearsal(instances=many, blast_radius=0.005)))
    assert "40: version 2.1.0 (pod-1, pod-2, pod-3, pod-4, pod-5 and 35 more)" in told
    assert "0.5% of the tenant's instances (40 of 40)" in told


def test_a_bounded_quota_is_told_where_its_use_changes() -> None:
    later = "2026-11-28T00:00:00Z"
    quota = {
        "bounds": {"replicas": 12, "cpu": None, "memory": "1Gi", "knobs": {}},
        "before": [made.usage(made.START, 3), made.usage(later, 5, cpu="2")],
        "after": [made.usage(made.START, 6), made.usage(later, 8, cpu="9")],
    }
    told = drawn(rehearsal.rehearsal(made.rehearsal(quota=quota)))
    assert "replicas 3 -> 6 of 12, from 2026-11-24 00:00Z" in told
    assert "replicas 5 -> 8 of 12, from 2026-11-28 00:00Z" in told
    assert "cpu" not in told
    assert "memory" not in told


def test_a_long_profile_is_cut() -> None:
    instants = [f"2026-11-{day}T00:00:00Z" for day in range(10, 30)]
    quota = {
        "bounds": {"replicas": 99},
        "before": [made.usage(instants[0], 3)],
        "after": [made.usage(at, place) for place, at in enumerate(instants)],
    }
    told = drawn(rehearsal.rehearsal(made.rehearsal(quota=quota)))
    assert told.count(" of 99, from") == 5
    assert "and at 15 more instants" in told


def test_what_speaks_against_a_patch_is_told_with_what_to_do() -> None:
    against = [made.refusal("frozen", "no", freeze=made.FREEZE, free_from=made.END), made.refusal("conflict", "ended")]
    policy = {"verdict": "allow", "reasons": ["be careful"], "obligations": [{"approvals": 2}], "policy_revision": None}
    told = drawn(rehearsal.rehearsal(made.rehearsal(refusals=against, policy=policy, freeze_exemption="break-glass")))
    for words in (
        "freeze/3 holds tenant IACB",
        f"start the patch at {made.END}",
        "ended",
        "be careful",
        "needs 2 approvals by approver",
        "does not hold it: break-glass",
    ):
        assert words in told


def test_what_does_not_show_is_said() -> None:
    hidden = made.effect(changes=[], diff="", shadowed=["rate_limit_rps"], base_known=False)
    told = drawn(rehearsal.rehearsal(made.rehearsal(versions=[hidden])))
    assert "nothing changes" in told
    assert "another patch decides: rate_limit_rps" in told
    assert "its own configuration is not known here" in told
    assert "none that is registered or runs" in drawn(rehearsal.rehearsal(made.rehearsal(versions=[])))


DENIED: dict[str, Any] = {"verdict": "deny", "reasons": [], "obligations": [], "policy_revision": None}


@pytest.mark.parametrize(
    ("other", "wanted"),
    [
        ({}, Difference.SOME),
        ({"versions": [made.effect(changes=[])]}, Difference.NONE),
        ({"versions": []}, Difference.NONE),
        ({"accepted": False}, Difference.REFUSED),
        ({"accepted": False, "versions": []}, Difference.REFUSED),
        ({"policy": DENIED}, Difference.REFUSED),
        ({"rejection": "no orchestrator carries out cpu"}, Difference.REFUSED),
        ({"policy": {**DENIED, "verdict": "unavailable"}}, Difference.SOME),
    ],
)
def test_what_a_dry_run_comes_to(other: dict[str, Any], wanted: Difference) -> None:
    assert rehearsal.difference(made.rehearsal(**other)) is wanted


def test_an_explanation_is_a_table_of_keys() -> None:
    header, level, limit, replicas = drawn(effective.keys(made.effective())).splitlines()
    assert header.split() == ["KEY", "VALUE", "FROM", "BY", "NEXT", "WHY"]
    assert level.split()[:4] == ["log.level", "(deleted)", "patch/784", "ada"]
    assert "50 at 2026-12-01 00:00Z" in limit
    assert "the market" in limit
    assert replicas.split() == ["replicas", "3", "base", "-", "-", "-"]


def test_a_key_has_its_layers_in_order() -> None:
    [key] = effective.named(made.effective(), "rate_limit_rps")
    told = drawn(effective.layers(made.effective(), [key]))
    for words in (
        "APPLIED, priority 0, by ada: the market",
        "2026-11-24 00:00Z to 2026-12-01 00:00Z",
        "approved by grace (approver), allow by policy sha256:5e88, signature verified",
        "50 at 2026-12-01 00:00Z: patch/784 ends",
    ):
        assert words in told
    assert told.index("base") < told.index("patch/784")


def test_what_took_a_key_away_is_told() -> None:
    told = drawn(effective.layers(made.effective(), effective.named(made.effective(), "log.level")))
    assert "(deleted)  (sets all of log)" in told


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("rate_limit_rps", ["rate_limit_rps"]),
        ("/rate_limit_rps", ["rate_limit_rps"]),
        ("log", ["log.level"]),
        ("log.", ["log.level"]),
        ("/log", ["log.level"]),
        ("lo", []),
        ("rate", []),
        ("", []),
        ("/", []),
    ],
)
def test_a_key_is_found_by_its_name_or_one_above_it(name: str, found: list[str]) -> None:
    assert [one["path"] for one in effective.named(made.effective(), name)] == found


@pytest.mark.parametrize(
    ("other", "state"),
    [
        ({}, "on"),
        ({"start": "2026-12-21T00:00:00Z"}, "to come"),
        ({"end": "2026-12-20T00:00:00Z"}, "over"),
        ({"lifted_at": "2026-12-19T00:00:00Z"}, "lifted"),
        ({"end": "soon"}, "?"),
    ],
)
def test_a_freeze_is_in_one_of_four_states(other: dict[str, Any], state: str) -> None:
    assert freezes.state(made.freeze(**other), NOW) == state


def test_a_quota_stands_beside_what_is_used_and_the_cap() -> None:
    rows = [line.split() for line in drawn(quotas.quota(made.quota())).splitlines()]
    assert rows[1:] == [
        ["replicas", "6", "12", "100"],
        ["cpu", "3", "-", "-"],
        ["memory", "6Gi", "64Gi", "-"],
        ["burst", "-", "-", "50"],
        ["rate_limit_rps", "-", "500", "1000"],
    ]


def test_an_audit_row_tells_what_became_of_the_subject() -> None:
    told = drawn(audit.entries([made.entry()]))
    assert "2026-11-23 12:00:00.120Z" in told
    assert "SCHEDULED -> CANCELLED reason=the market is over" in told
    denied = made.entry(action="denied", before=None, after=None, detail={"reason": "no"}, tenant=None)
    assert "reason=no" in drawn(audit.entries([denied]))


def test_a_patch_is_marked_noted_and_told_with_its_approvals() -> None:
    word = {"approver": "bob", "role": "approver", "verdict": "approve", "comment": "fine", "at": made.START}
    waiting = patch(
        "AWAITING_APPROVAL",
        break_glass=True,
        obligations=[{"approvals": 2}],
        approvals=[word],
        supersedes=[12, 13],
        freeze_exemption="break-glass",
    )
    row = drawn(patches.row(waiting)).splitlines()[1]
    assert "AWAITING_APPROVAL  BREAK-GLASS" in row
    assert "needs 1 of 2 approvals by approver; replaces 12, 13" in row
    told = drawn(patches.story(waiting))
    for words in (
        "AWAITING_APPROVAL  BREAK-GLASS",
        "waiting for 1 of 2 approvals by approver",
        "approve by bob (approver), 2026-11-24 00:00Z: fine",
        "patch/12, patch/13",
        "does not hold it: break-glass",
    ):
        assert words in told


def test_what_took_its_place_and_what_holds_it_is_told() -> None:
    told = drawn(patches.story(patch("SCHEDULED", superseded_by=790, held_until=made.END)))
    assert "by patch/790" in told
    assert "until 2026-12-01 00:00Z" in told
    row = drawn(patches.row(patch("SCHEDULED", superseded_by=790, held_until=made.END)))
    assert "frozen until 2026-12-01 00:00Z; replaced by 790" in row


def test_a_table_of_plain_patches_has_no_columns_for_marks_and_notes() -> None:
    header = drawn(patches.listing([patch("APPLIED")])).splitlines()[0]
    assert "MARK" not in header
    assert "NOTE" not in header
