"""What people read: harmless text, columns that fit, results in four forms."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from hms_cli import output, text
from hms_cli.columns import GAP, Column, fitting, table
from hms_cli.output import Format
from hms_cli.views import patches
from hms_cli.views.fleet import fleet

from .fake_mgt import instance, patch

NOW = datetime(2024, 11, 20, 9, tzinfo=UTC)
EVIL = "\x1b[31m[bold]x[/bold]\r\n\x9b0m"


def drawn(result: output.Result, width: int = 200) -> str:
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(result.drawn(width))
    return captured.get()


@given(st.text())
def test_no_control_character_survives(value: str) -> None:
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in text.plain(value).plain)


@pytest.mark.parametrize(
    ("result", "held"),
    [
        (patches.row(patch("HALTED", author=EVIL)), "[bold]x[/bold]"),
        (patches.story(patch("HALTED", status_reason=EVIL, changes={EVIL: EVIL})), "[bold]x[/bold]"),
        (fleet([instance(EVIL, refused={EVIL: 1})]), "[bold]x[/bold]"),
        (patches.accepted({"patch_id": 1, "status": EVIL}), "[bold]x[/bold]"),
    ],
)
def test_neither_escapes_nor_markup_from_the_server_act(result: output.Result, held: str) -> None:
    shown = drawn(result)
    assert held in shown
    assert "\x1b" not in shown
    assert "\x9b" not in output._written(result, Format.JSON)
    assert "\x9b" not in output._written(result, Format.YAML)
    assert "\x1b" not in output._written(result, Format.NAME)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2024-12-05T00:00:00Z", "2024-12-05 00:00Z"),
        ("2024-12-05T00:00:07.5Z", "2024-12-05 00:00:07Z"),
        ("2024-12-05T02:00:00+02:00", "2024-12-05 00:00Z"),
        ("soon", "soon"),
        (None, "None"),
    ],
)
def test_an_instant(value: str | None, said: str) -> None:
    assert text.instant(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0s"), (59, "59s"), (60, "1m"), (3700, "1h"), (90_000, "1d"), (-30, "0s")]
)
def test_an_age(seconds: int, said: str) -> None:
    assert text.ago((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == said


def test_an_age_of_nothing_is_shown_as_it_came() -> None:
    assert (text.ago(None, NOW), text.ago("2024-11-20T09:00:00", NOW)) == ("None", "2024-11-20T09:00:00")


def test_changes_are_dotted_and_typed() -> None:
    changes = {"a": {"b": 1, "c": {"d": None}}, "e": "x", "f": True, "g": {}, "h": [1, "é"]}
    assert text.changes({"changes": changes}) == 'a.b=1 a.c.d=null e=x f=true g={} h=[1, "é"]'


@pytest.mark.parametrize(
    ("status", "progress", "said"),
    [
        ("ROLLING_OUT", {"targeted": ["a", "b"], "effective": ["a"]}, "1/2 effective"),
        (
            "HALTED",
            {"targeted": 5, "effective": 3, "failed": 1, "overdue": ["x"]},
            "3/5 effective, 1 failed, 1 overdue",
        ),
        ("REVERTING", {"targeted": ["a", "b"], "effective": ["a"]}, "1/2 still effective"),
        ("QUEUED", {"targeted": ["a"], "effective": []}, ""),
        ("ROLLED_BACK", {"targeted": ["a"], "effective": []}, ""),
        ("APPLIED", {"targeted": [], "effective": []}, ""),
        ("APPLIED", None, ""),
    ],
)
def test_progress_in_words(status: str, progress: dict[str, Any] | None, said: str) -> None:
    assert text.progress({"status": status, "progress": progress}) == said


def columns(*specs: tuple[str, int, int | None]) -> list[Column]:
    return [Column(title, [Text("x" * len(title))], spare, least) for title, spare, least in specs]


def test_the_most_spare_column_goes_first_and_the_others_stay_whole() -> None:
    given_columns = columns(("AAAA", 0, None), ("BBBB", 2, None), ("CCCC", 1, None))
    titles = [[one.title for one in fitting(given_columns, width)] for width in (16, 15, 10, 9, 1)]
    assert titles == [["AAAA", "BBBB", "CCCC"], ["AAAA", "CCCC"], ["AAAA", "CCCC"], ["AAAA"], ["AAAA"]]


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 5)), min_size=1, max_size=9), st.integers(20, 200))
def test_what_can_fit_does(widths: list[tuple[int, int]], width: int) -> None:
    given_columns = columns(*(("W" * size, spare, None) for size, spare in widths))
    kept = fitting(given_columns, width)
    total = sum(one.width + GAP for one in kept) - GAP
    assert total <= width or all(one.spare == 0 for one in kept)


def test_one_column_gives_way_and_takes_the_room_that_is_left() -> None:
    console = Console(width=20, no_color=True)
    with console.capture() as captured:
        console.print(table(columns(("NAME", 0, None), ("C" * 30, 0, 5)), 20))
    line = captured.get().splitlines()[1].rstrip()
    assert line == "xxxx  " + "x" * 13 + "…"


@pytest.mark.parametrize("width", [80, 100, 132])
def test_no_line_of_a_table_is_wider_than_the_terminal(width: int) -> None:
    many = [patch("ROLLING_OUT", number, author="someone-with-a-long-name") for number in (7, 123456)]
    for result in (patches.listing(many), fleet([instance("a" * 63), instance("b")])):
        lines = drawn(result, width).splitlines()
        assert len(lines) == 3
        assert max(len(line) for line in lines) <= width
        assert "ROLLING_OUT" in lines[1] or "LIVE" in lines[1]


def test_json_and_yaml_hold_the_whole_document() -> None:
    document = patch("APPLIED", reason="é\u2028\x85")
    result = patches.row(document)
    assert json.loads(output._written(result, Format.JSON)) == document
    assert yaml.safe_load(output._written(result, Format.YAML)) == document
    assert output._written(result, Format.NAME) == "patch/784\n"
    assert "é" in output._written(result, Format.JSON)


def test_a_listing_keeps_the_shape_of_the_api() -> None:
    result = patches.listing([patch("APPLIED", 1), patch("QUEUED", 2)])
    assert [one["patch_id"] for one in json.loads(output._written(result, Format.JSON))["items"]] == [1, 2]
    assert output._written(result, Format.NAME) == "patch/1\npatch/2\n"
    assert output._written(patches.listing([]), Format.NAME) == ""


def test_a_story_tells_decision_progress_and_events() -> None:
    told = drawn(patches.story(patch("ROLLING_OUT", effective=1)))
    for words in ("allow", "1/3 effective", "for pod-2, pod-3 to confirm", "holiday market", "09:00:00.000Z  QUEUED"):
        assert words in told


@pytest.mark.parametrize("make", [patches.row, patches.story, patches.accepted])
def test_a_patch_with_nothing_in_it_can_still_be_shown(make: output.Shown) -> None:
    assert drawn(make({})).strip()
