"""Strict YAML: what each scalar means, what is refused and where, and that noise raises nothing but YamlError."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hms_svc.merge import MAX_DEPTH, same
from hms_svc.yaml_tree import Mapping, Scalar, Sequence, YamlError, load, parse, plain
from tests.svc.makers import calls, documents


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1.0e+16", 1e16),
        ("yes", "yes"),
        ("NO", "NO"),
        ("on", "on"),
        ("y", "y"),
        ("tRUE", "tRUE"),
        ("0777", "0777"),
        ("007", "007"),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("22:22", "22:22"),
        ("2026-11-23", "2026-11-23"),
        ("2026-11-23T14:00:00Z", "2026-11-23T14:00:00Z"),
        ("12e4567", "12e4567"),
        ("=", "="),
        ("1.2.3", "1.2.3"),
        ("'7'", "7"),
        ('"true"', "true"),
        ("''", ""),
        ('"\\u00e9"', "é"),
        ("two words", "two words"),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">-\n  a\n  b\n", "a b"),
        ("[1, '1', {a: ~}]", [1, "1", {"a": None}]),
        ("{}", {}),
    ],
)
def test_a_value_means_what_the_core_schema_says(text: str, value: Any) -> None:
    assert same(load(f"k: {text}\n"), {"k": value})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1: a", {"1": "a"}),
        ("-1: a", {"-1": "a"}),
        ("'1': a", {"1": "a"}),
        ("yes: a", {"yes": "a"}),
        ("'null': a", {"null": "a"}),
        ("'<<': a", {"<<": "a"}),
        ("'': a", {"": "a"}),
        ("? a\n: b", {"a": "b"}),
    ],
)
def test_keys_are_text(text: str, value: Any) -> None:
    assert load(text) == value


@pytest.mark.parametrize("text", ["", "\n", "# only words\n", "---\n", "--- # c\n...\n", "\ufeff", "%YAML 1.1\n---\n"])
def test_an_empty_document_is_an_empty_mapping(text: str) -> None:
    assert load(text) == {}


@pytest.mark.parametrize(
    ("text", "words", "pointer", "line", "column"),
    [
        ("a: 1\nb: *x\n", "aliases", "/b", 2, 4),
        ("a:\n  - &x 1\n", "anchors", "/a/0", 2, 5),
        ("a: &x {b: 1}\n", "anchors", "/a", 1, 4),
        ("&x a: 1\n", "anchors", "", 1, 1),
        ("a: !!str 1\n", "tags", "/a", 1, 4),
        ("a: ! 1\n", "tags", "/a", 1, 4),
        ("!!map {a: 1}\n", "tags", "", 1, 1),
        ("a: !ruby/object 1\n", "tags", "/a", 1, 4),
        ("a: {x: 1, x: 2}\n", "'x' stands twice", "/a/x", 1, 11),
        ("1: a\n'1': b\n", "'1' stands twice", "/1", 2, 1),
        ("a: 1\n<<: {b: 1}\n", "merge keys", "", 2, 1),
        ("null: 1\n", "quote 'null'", "", 1, 1),
        ("a: {~: 1}\n", "quote '~'", "/a", 1, 5),
        ("true: 1\n", "quote 'true'", "", 1, 1),
        ("1.5: 1\n", "quote '1.5'", "", 1, 1),
        (".inf: 1\n", "not a finite", "", 1, 1),
        ("? [a]\n: 1\n", "a key must be text", "", 1, 3),
        ("k: {{gap}}\n", "a key must be text", "/k", 1, 5),
        ("a: .inf\n", "not a finite", "/a", 1, 4),
        ("a/b:\n  c~d: -.INF\n", "not a finite", "/a~1b/c~0d", 2, 8),
        ("a: .NaN\n", "not a finite", "/a", 1, 4),
        ("a: " + "9" * 1025, "1024 digits", "/a", 1, 4),
        ("a: 1\n---\nb: 2\n", "one document", "", 2, 1),
        ("a: 1\n...\n---\n", "one document", "", 3, 1),
        ("a: [1\n", "did not find", "", 2, 1),
        ("a: b: c\n", "mapping values", "", 1, 5),
        ("\ta: 1\n", "cannot start any token", "", 1, 1),
        ("a: \x07\n", "control characters", "", 1, 1),
        ("a: \ud800\n", "surrogate", "", 1, 1),
        ("a: %\n", "cannot start any token", "", 1, 4),
    ],
)
def test_what_is_outside_the_profile_is_refused_where_it_stands(
    text: str, words: str, pointer: str, line: int, column: int
) -> None:
    with pytest.raises(YamlError) as caught:
        parse(text)
    error = caught.value
    assert words in str(error)
    assert (error.pointer, error.line, error.column) == (pointer, line, column)


def test_an_alias_bomb_does_not_go_off() -> None:
    lines = ["a: &a [x, x]"] + [
        f"{name}: &{name} [*{before}, *{before}]" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    with pytest.raises(YamlError, match="anchors"):
        load("\n".join(lines))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "[{a: "])
def test_nesting_bombs_are_refused(opening: str) -> None:
    with pytest.raises(YamlError):
        load(opening * 50_000)


def test_depth_is_counted_in_collections() -> None:
    assert load("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(YamlError, match="nested deeper than 32"):
        load("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def test_size_is_counted_in_bytes() -> None:
    assert load("a: é", limit=5) == {"a": "é"}
    with pytest.raises(YamlError, match="at most 4 bytes"):
        load("a: é", limit=4)


def test_marks_cut_out_what_they_name() -> None:
    text = "é: ü # 😀\nlist:\n  - 'q'  # c\nflow: {x: [1, 2]}\nempty:\nlast: |\n  text\n"
    root = parse(text)
    assert isinstance(root, Mapping)
    cut = {key.value: text[value.start : value.end] for key, value in root.pairs}
    assert cut["é"] == "ü"
    assert cut["flow"] == "{x: [1, 2]}"
    assert cut["empty"] == ""
    assert cut["last"] == "|\n  text\n"
    assert [text[key.start : key.end] for key, _ in root.pairs] == ["é", "list", "flow", "empty", "last"]
    items = root.pairs[1][1]
    assert isinstance(items, Sequence)
    assert isinstance(items.items[0], Scalar)
    assert text[items.items[0].start : items.items[0].end] == "'q'"
    assert (items.flow, root.pairs[2][1][-1]) == (False, True)


@given(documents)
def test_json_is_yaml(document: dict[str, Any]) -> None:
    text = json.dumps(document, ensure_ascii=False)
    if text.isprintable() and len(text) < 1000:
        assert same(load(text), document)


@given(st.text(max_size=60) | st.text("ab01:-?[]{},#&*!|>'\"%@`\n\t\r \\~<", max_size=40))
def test_noise_is_read_or_refused(text: str) -> None:
    try:
        value = load(text)
    except YamlError:
        return
    assert same(value, plain(parse(text)))


SHAPES = {
    "sections": "".join(f'# why {i}\ns{i}:\n  ms: {i}  # ms\n  name: "n {i}"\n  l: [a, b]\n' for i in range(100)),
    "flat": "".join(f"key_{i}: {i}   # what {i} is\n" for i in range(500)),
    "list": "h:\n" + "".join(f"  - host-{i}.local  # rack {i}\n" for i in range(500)),
    "deep": "".join(("  " * (i % 25) + f"k{i}:" + f" {i}  # leaf" * (i % 25 == 24) + "\n") for i in range(500)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_reading_takes_few_calls(shape: str) -> None:
    """The agent reads a document at every change. How long that takes beside C is a benchmark's to say."""
    text = SHAPES[shape]
    events = sum(1 for _ in yaml.parse(text, Loader=yaml.CSafeLoader))
    assert calls(lambda: load(text)) < 11 * events
