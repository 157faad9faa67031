"""Editing YAML: whatever was wanted is what is read back, and whatever was not touched keeps its bytes."""

from typing import Any, SupportsIndex

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from hms_svc.merge import merge, same
from hms_svc.yaml_edit import edit, edited
from hms_svc.yaml_tree import YamlError, load, read
from hms_svc.yaml_write import dump, dump_scalar
from tests.svc.makers import calls, documents, scalars

FILE = """\
# Artist Registry
rate_limit_rps: 50     # per client
replicas: 3
servers:        # in order
  - one
  - two

# the database
db:
  host: "db.local"   # never an address
  motd: |
    Hello,
    world.

  # how many
  pool: 'five'
flags: {beta: false, dark: true}
note:
# the end
"""


def changed(text: str, *steps: tuple[str, Any]) -> str:
    """The text edited to a document with values set at dotted paths, or removed by ..., and read back."""
    wanted = load(text)
    for path, value in steps:
        *above, last = path.split(".")
        inner = wanted
        for name in above:
            inner = inner[name]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
    result = edit(text, wanted)
    assert same(load(result), wanted)
    return result


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        ("rate_limit_rps", 200, "rate_limit_rps: 50     #", "rate_limit_rps: 200     #"),
        ("replicas", "six", "replicas: 3", "replicas: six"),
        ("replicas", [1, "a b", {"c": None}], "replicas: 3", "replicas: [1, a b, {c: null}]"),
        ("replicas", {"min": 1}, "replicas: 3", "replicas: {min: 1}"),
        ("replicas", True, "replicas: 3", "replicas: true"),
        ("replicas", 3.0, "replicas: 3", "replicas: 3.0"),
        ("db.host", "10.0.0.1", '"db.local"   #', '"10.0.0.1"   #'),
        ("db.pool", "it's", "'five'", "'it''s'"),
        ("db.pool", "a\nb", "'five'", '"a\\nb"'),
        ("db.pool", 5, "'five'", "5"),
        ("db.motd", "Hi", "|\n    Hello,\n    world.\n", "Hi\n"),
        ("flags.beta", True, "{beta: false,", "{beta: true,"),
        ("flags", {"beta": False}, "{beta: false, dark: true}", "{beta: false}"),
        ("flags.new", 1, "dark: true}", "dark: true, new: 1}"),
        ("note", "text", "note:\n", "note: text\n"),
        ("servers", ["one"], "  - one\n  - two\n", "  - one\n"),
        ("servers", ["two"], "  - one\n  - two\n", "  - two\n"),
        ("servers", ["zero", "one", "two"], "  - one\n", "  - zero\n  - one\n"),
        ("servers", ["one", 2], "  - two\n", "  - 2\n"),
        ("servers", [], "servers:        # in order\n  - one\n  - two\n", "servers: []        # in order\n"),
        ("db", 5, None, None),
        ("db", {}, None, None),
        ("replicas", ..., "replicas: 3\n", ""),
        ("servers", ..., "servers:        # in order\n  - one\n  - two\n", ""),
        ("db.motd", ..., "  motd: |\n    Hello,\n    world.\n\n", ""),
        ("note", ..., "note:\n", ""),
        ("zone", "eu", "note:\n", "note:\nzone: eu\n"),
        ("zone", {"a": {"b": [], "c": {}}}, "note:\n", "note:\nzone:\n  a:\n    b: []\n    c: {}\n"),
        ("db.user", "art", "  pool: 'five'\n", "  pool: 'five'\n  user: art\n"),
    ],
)
def test_an_edit_changes_what_it_names(path: str, value: Any, old: str | None, new: str) -> None:
    result = changed(FILE, (path, value))
    if old is not None:
        assert FILE.count(old) == 1
        assert result == FILE.replace(old, new)


def test_a_block_mapping_replaced_goes_on_its_keys_line() -> None:
    assert changed("a: # why\n  b: 1\nc: 2\n", ("a", 5)) == "a: 5 # why\nc: 2\n"
    assert changed("a:\n  b: 1\nc: 2\n", ("a", {})) == "a: {}\nc: 2\n"


def test_many_edits_at_once() -> None:
    result = changed(
        FILE, ("rate_limit_rps", 200), ("db.user", "art"), ("db.host", ...), ("note", ...), ("zone", 1), ("db.pool", 5)
    )
    assert "# Artist Registry\nrate_limit_rps: 200     # per client\n" in result
    assert result.endswith(
        "  # how many\n  pool: 5\n  user: art\nflags: {beta: false, dark: true}\nzone: 1\n# the end\n"
    )


@pytest.mark.parametrize(
    ("text", "steps", "result"),
    [
        ("", [("a", 1)], "a: 1\n"),
        ("# c", [("a", 1)], "# c\na: 1"),
        ("---\n", [("a", 1)], "---\na: 1\n"),
        ("--- # c\n", [("a", {"b": 1})], "--- # c\na:\n  b: 1\n"),
        ("---\na: 1\n...\n", [("b", 2)], "---\na: 1\nb: 2\n...\n"),
        ("%YAML 1.1\n---\na: 1\n", [("a", 2)], "%YAML 1.1\n---\na: 2\n"),
        ("\ufeffa: 1\nb: 2\n", [("b", 3)], "\ufeffa: 1\nb: 3\n"),
        ("a: 1", [("a", 2)], "a: 2"),
        ("a: 1", [("b", 2)], "a: 1\nb: 2"),
        ("a: 1\nb: 2", [("b", ...)], "a: 1"),
        ("a: 1\nb: 2", [("b", ...), ("c", 3)], "a: 1\nc: 3"),
        ("a:\n  x: 1", [("a.z", 2), ("b", 3)], "a:\n  x: 1\n  z: 2\nb: 3"),
        ("a:\r\n- 1\r\n- 2\r\nc: 3\r\n", [("a", [3]), ("d", {"e": 1})], "a:\r\n- 3\r\nc: 3\r\nd:\r\n  e: 1\r\n"),
        ("a: 1\t# tab\nb: 'x'\t\n", [("a", 2), ("b", "y")], "a: 2\t# tab\nb: 'y'\t\n"),
        ("a:\n- 1\n# c\n- 2\nb: 1 # d\n", [("a", [])], "a: []\nb: 1 # d\n"),
        ("a:\n- 1\n- 2\nb: 1\n", [("a", ...)], "b: 1\n"),
        ("a:\n  - x: 1\n    y: 2\nb: 1\n", [("c", 2)], "a:\n  - x: 1\n    y: 2\nb: 1\nc: 2\n"),
        ("a: |\n  x\n\n\nb: 1\n", [("a", "z")], "a: z\n\n\nb: 1\n"),
        ("a: |+\n  x\n\n\n", [("b", 1)], "a: |+\n  x\n\n\nb: 1\n"),
        ("a: | # c\n   x\n\nb: 1\n", [("a", "y z\n\n  w\n")], "a: | # c\n   y z\n\n     w\n\nb: 1\n"),
        ("a: |-\r\n  x\r\nb: 1\r\n", [("a", "y\n# z")], "a: |-\r\n  y\r\n  # z\r\nb: 1\r\n"),
        ("a: |\n  x\nb: 1\n", [("a", "no end")], "a: no end\nb: 1\n"),
        ("a: |\n  x\nb: 1\n", [("a", " y\n")], 'a: " y\\n"\nb: 1\n'),
        ("a: |\n  x\nb: 1\n", [("a", "y \n")], 'a: "y \\n"\nb: 1\n'),
        ("a: |\n  x\nb: 1\n", [("a", "y\n\n")], 'a: "y\\n\\n"\nb: 1\n'),
        ("a: |2\n   x\nb: 1\n", [("a", "y\n")], 'a: "y\\n"\nb: 1\n'),
        ("a: |\n  x", [("a", "y\n")], 'a: "y\\n"'),
        ("a: >\n  x\n  y\n\n# c\nb: 1\n", [("a", ...)], "# c\nb: 1\n"),
        ("a: one\n  two # c\nb: 1\n", [("a", "x")], "a: x # c\nb: 1\n"),
        ('a: "one\n  two" # c\nb: 1\n', [("a", "x")], 'a: "x" # c\nb: 1\n'),
        ("'a b': 1 # c\n\"c:d\": 2\n", [("a b", 3), ("c:d", ...)], "'a b': 3 # c\n"),
        ("ä: ö # ü😀\nb: 1\n", [("ä", "ß"), ("b", 2)], 'ä: "ß" # ü😀\nb: 2\n'),
        ("{a: 1, b: 2} # c\n", [("a", 3)], "{a: 3, b: 2} # c\n"),
        ("{a: 1} # c\n", [("b", 2)], "{a: 1, b: 2} # c\n"),
        ("a: {b: ,\n  c: 1}\n", [("a.b", 5), ("a.c", 6)], "a: {b:  5,\n  c: 6}\n"),
        ("? a\n: 1\nb: 2 # c\n", [("a", 3)], "? a\n: 3\nb: 2 # c\n"),
        ("? a\n: 1\nb: 2 # c\n", [("a", ...)], "b: 2 # c\n"),
        ("  a: 1\n  b: 2\n", [("c", 3)], "  a: 1\n  b: 2\n  c: 3\n"),
        ("a:\n      b: 1\nc: 1\n", [("a.d", 2)], "a:\n      b: 1\n      d: 2\nc: 1\n"),
        ("1: a\n", [("1", "b"), ("2", "c")], '1: b\n"2": c\n'),
        ("a:\n  b: 1\n", [("a.b", ...), ("a.c", 1)], "a:\n  c: 1\n"),
        ("# top\na: 1\n# end\n", [("a", ...)], "# top\n# end\n"),
        ("# top\n  a: 1\n# in\n  b: 2\n...\n# end\n", [("a", ...), ("b", ...)], "# top\n{}\n# in\n...\n# end\n"),
        ("---\n# in\n...\n# end\n", [("a", 1)], "---\n# in\na: 1\n...\n# end\n"),
        ("a: |+\n  x\n\nb: 1\n\n# end\n", [("b", ...)], "a: |+\n  x\n\n# end\n"),
        ("? a\n: 1\n# end\n", [("b", 2)], "? a\n: 1\nb: 2\n# end\n"),
    ],
)  # fmt: skip
def test_layouts_survive(text: str, steps: list[tuple[str, Any]], result: str) -> None:
    assert changed(text, *steps) == result


HOSTS = "h:   # hosts\n  # first\n  - a   # A\n  # second\n  - b   # B\n\n  # third\n  - c   # C\n# end\nz: 1\n"
SERVERS = "s:\n- name: a  # A\n  # why\n  port: 1  # P\n- # odd\n  name: b  # B\n  port: 2\n# end\n"
BRACES = "f: {\n  a: 1,  # A\n  b: 2,  # B\n}\nl: [\n  x,  # X\n  y,  # Y\n]\n"


@pytest.mark.parametrize(
    ("text", "wanted", "old", "new"),
    [
        (HOSTS, {"h": ["a", "x", "c"], "z": 1}, "- b ", "- x "),
        (HOSTS, {"h": ["a", "c"], "z": 1}, "  - b   # B\n", ""),
        (HOSTS, {"h": ["a", "b", "c", 4], "z": 1}, "# C\n", "# C\n  - 4\n"),
        (HOSTS, {"h": [0, "a", "b", "c"], "z": 1}, "  - a ", "  - 0\n  - a "),
        (HOSTS, {"h": ["a", {"k": 1, "l": []}, "b", "c"], "z": 1}, "# A\n", "# A\n  - k: 1\n    l: []\n"),
        (SERVERS, {"s": [{"name": "a", "port": 5}, {"name": "b", "port": 2}]}, "port: 1 ", "port: 5 "),
        (SERVERS, {"s": [{"name": "a", "port": 1, "x": 3}, {"name": "b", "port": 2}]}, "# P\n", "# P\n  x: 3\n"),
        (SERVERS, {"s": [{"port": 1}, {"name": "b", "port": 2}]}, "name: a  # A\n  # why\n  port", "port"),
        (SERVERS, {"s": [{"name": "b", "port": 2}]}, "- name: a  # A\n  # why\n  port: 1  # P\n", ""),
        (SERVERS, {"s": [{"name": "a", "port": 1}, "b"]}, "  name: b  # B\n  port: 2\n", "  b\n"),
        (BRACES, {"f": {"a": 1, "b": 2, "c": 3}, "l": ["x", "y"]}, "b: 2,", "b: 2, c: 3,"),
        (BRACES, {"f": {"b": 2}, "l": ["x", "y"]}, "  a: 1,  # A\n", ""),
        (BRACES, {"f": {"a": 1}, "l": ["x", "y"]}, "  b: 2,  # B\n", ""),
        (BRACES, {"f": {"a": 1, "c": 3}, "l": ["x", "y"]}, "1,  # A\n  b: 2,  # B\n", "1, c: 3,  # A\n"),
        (BRACES, {"f": {"a": 1, "b": 2}, "l": ["x"]}, "  y,  # Y\n", ""),
        ("[\n  a,  # A\n  # on b\n  b,  # B\n  c  # C\n]\n", ["b", "c"], "  a,  # A\n", ""),
        ("[\n  a,  # A\n  # on b\n  b,  # B\n  c  # C\n]\n", ["a", "b"], "  c  # C\n", ""),
        ("[\n  a  # A\n  , b  # B\n]\n", ["a"], "  # A\n  , b", ""),
        ("[\n  a  # A\n  , b  # B\n]\n", ["b"], "a  # A\n  , b", "b"),
        ("[a,\n  b,\n  c]\n", ["c"], "a,\n  b,\n", ""),
        ("[a,\n  b,\n  c]\n", ["a"], "  b,\n  c", ""),
        ("h:\r  # A\r  - a\r  # B\r  - b\r", {"h": ["b"]}, "  - a\r", ""),
        (BRACES, {"f": {"a": 1, "b": 2}, "l": ["x", 2]}, "  y,", "  2,"),
        (BRACES, {"f": {"a": 1, "b": 2}, "l": ["w", "x", "y"]}, "  x,", "  w, x,"),
        (BRACES, {"f": {"a": 1, "b": 2}, "l": ["y"]}, "  x,  # X\n", ""),
        ("{a: 1, b: 2} # c\n", {"b": 2, "c": 3}, "a: 1, b: 2", "b: 2, c: 3"),
        ("a: {x, y: 1} # c\nb: 1 # d\n", {"a": {"z": 1}, "b": 1}, "{x, y: 1}", "{z: 1}"),
        ("n:\n- - 1 # a\n  - 2 # b\n- 3 # c\n", {"n": [[1], 3]}, "- 1 # a\n  - 2 #", "[1] #"),
        ("a:\n  - 1 # A\n  -   # none\n", {"a": [1, 2]}, "-   # none", "- 2   # none"),
    ],
)  # fmt: skip
def test_lists_and_braces_keep_the_comments_of_what_stays(
    text: str, wanted: dict[str, Any], old: str, new: str
) -> None:
    assert text.count(old) == 1
    result = edit(text, wanted)
    assert same(load(result), wanted)
    assert result == text.replace(old, new)


@given(st.lists(st.integers(0, 99), min_size=1, unique=True), st.data())
def test_a_change_to_one_item_leaves_the_others_their_lines(items: list[int], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(items) - 1))
    new: list[Any] = data.draw(st.sampled_from([["new"], [], ["new", items[at]], [items[at], {"k": [1]}]]))
    wanted = {"l": [*items[:at], *new, *items[at + 1 :]], "z": 1}
    column = data.draw(st.sampled_from(["", "  ", "    "]))
    text = "l:\n" + "".join(f"{column}# above {n}\n{column}- {n}  # by {n}\n" for n in items) + "z: 1\n"
    lines_after = edit(text, wanted).splitlines()
    assert same(load("\n".join(lines_after)), wanted)
    if wanted["l"]:
        others = [n for n in items if n != items[at]]
        assert {f"{column}- {n}  # by {n}" for n in others} <= set(lines_after)
        assert {f"{column}# above {n}" for n in items} <= set(lines_after)


def test_cuts_that_went_wrong_are_made_again_and_coarser() -> None:
    # Cut in place, `c 5` would be a key; plainly written, the whole file would lose its comments.
    text = "# top\nf: {b: 1, c}  # f\nz: 1  # z\n"
    assert edit(text, {"f": {"b": 1, "c": 5}, "z": 1}) == "# top\nf: {b: 1, c: 5}  # f\nz: 1  # z\n"


ITEMS = [
    "1",
    "'q'",
    "{a: 1}",
    "[x, z]",
    "[]",
    "{}",
    "",
    "{b: , c}",
    "k: 1\n  l: 2",
    "- 1\n  - 2",
    "? x\n  : 1",
    "\n  k: 1",
]


@given(st.lists(st.sampled_from(ITEMS), min_size=1, max_size=4), st.data())
def test_any_list_can_become_any_other(items: list[str], data: st.DataObject) -> None:
    text = "# top\nl:  # l\n" + "".join(f"- {item}  # {n}\n" for n, item in enumerate(items)) + "z: 1  # z\n"
    document = read(text)
    wanted = document.value | {"l": moved(data.draw, document.value["l"])}
    result = edit(text, wanted)
    assert same(load(result), wanted)
    assert result.startswith("# top\nl:")
    assert result.endswith("z: 1  # z\n")


def moved(draw: Any, value: Any) -> Any:
    """The value with items and keys gone, new or changed at any depth."""
    if isinstance(value, dict):
        stays = {key: moved(draw, item) for key, item in value.items() if draw(st.integers(0, 4))}
        return stays if draw(st.integers(0, 3)) else stays | {"new": [1]}
    if isinstance(value, list):
        kept = [moved(draw, item) for item in value if draw(st.integers(0, 4))]
        if not draw(st.integers(0, 2)):
            kept.insert(draw(st.integers(0, len(kept))), draw(st.sampled_from([1, None, [1], {"n": {}}, {}])))
        return kept
    return value if draw(st.integers(0, 3)) else draw(st.sampled_from([5, "x", None, [], {"m": 2}]))


class Watched(str):
    """A text that counts its letters as they are looked at: in slices of it, and in searches backwards."""

    __slots__ = ()
    looked_at = 0

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        part = super().__getitem__(key)
        Watched.looked_at += len(part)
        return part

    def rfind(self, sub: str, *places: Any) -> int:
        found = super().rfind(sub, *places)
        Watched.looked_at += (places[1] if len(places) > 1 else len(self)) - max(found, 0)
        return found

    def __add__(self, other: str) -> "Watched":
        return Watched(super().__add__(other))

    def removeprefix(self, prefix: str) -> "Watched":
        return Watched(super().removeprefix(prefix))


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("line", "change"),
    [
        ("key_{0}: {0}  # c", None),
        ("key_{0}: {0}  # c", "x"),
        ("key_{0}: |\n  text\n\n", "a\nb\n"),
        ("key_{0}: {{a: {0}}}", {"b": 1}),
        ("key_{0}: [\n a,\n b\n ]", ["b", "c"]),
        ("key_{0}:\n- a\n- b", ["b"]),
    ],
)
def test_many_changes_cost_in_proportion(line: str, change: Any, line_end: str) -> None:
    """Four times the text takes four times the calls, and each letter is looked at a few times, however many change."""

    def cost(count: int) -> int:
        document = read("".join(line.format(i) + "\n" for i in range(count)).replace("\n", line_end))
        watched = document._replace(text=Watched(document.text))
        wanted = merge(document.value, {f"key_{i}": change for i in range(0, count, 2)})
        Watched.looked_at = 0
        spent = calls(lambda: edited(watched, wanted))
        assert Watched.looked_at < 4 * len(document.text)
        return spent

    assert cost(400) < 4.2 * cost(100)


@pytest.mark.parametrize(("text", "entries"), [("l: [{}]\n", "{0}, "), ("f: {{{}}}\n", "k{0}: {0}, ")])
def test_many_changes_on_one_line_cost_in_proportion(text: str, entries: str) -> None:
    document = read(text.format("".join(entries.format(i) for i in range(500))))
    watched = document._replace(text=Watched(document.text))
    [(name, old)] = document.value.items()
    wanted = dict(list(old.items())[::2]) if isinstance(old, dict) else old[:100] + old[400:]
    Watched.looked_at = 0
    assert same(load(edited(watched, {name: wanted})), {name: wanted})
    assert Watched.looked_at < 4 * len(document.text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("- a\n- b\n", {"a": 1}),
        ("text", {"a": 1}),
        ("a: {x, y: 1}\n", {"a": {"x": 1, "y": 1}}),
        ("? a\nb: 1\n", {"a": 1, "b": 1}),
        ("a: |\n  x", {"a": "x", "b": 1}),
        ("- a # A\n- b\n", ["a"]),
        ("[a, b]\n", []),
        ("text\n", "other"),
        ("a: 1\n", ["b"]),
        ("a: 1\n", 5),
        ("# top", ["b"]),
        ("", 5),
    ],
)
def test_where_no_cut_is_right_the_document_is_complete_still(text: str, wanted: Any) -> None:
    assert same(load(edit(text, wanted)), wanted)


def test_an_empty_file_that_becomes_no_mapping_keeps_its_comments() -> None:
    assert edit("# top\n---\n# in\n...\n", [1]) == "# top\n---\n# in\n[1]\n...\n"


@pytest.mark.parametrize(("old", "new"), [("1", True), ("1", 1.0), ("true", 1), ("1.0", 1), ("'1'", 1), ("1", "1")])
def test_a_change_of_type_alone_is_a_change(old: str, new: Any) -> None:
    assert same(load(edit(f"a: {old}\n", {"a": new})), {"a": new})


def test_a_text_outside_the_profile_is_not_edited() -> None:
    with pytest.raises(YamlError, match="aliases"):
        edit("a: 1\nb: *a\n", {"a": 1})


@pytest.mark.parametrize(
    "wanted",
    [{"k" * 1100: 1}, {"a": "\ud800"}, {"a": float("inf")}, {"a": {1, 2}}, {"a": "x" * 2**20}, {"a": 10**1100}],
)
def test_what_cannot_be_said_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(YamlError):
        edit("a: 1\n", wanted)


@pytest.mark.parametrize(
    ("value", "style", "written"),
    [
        ("text", "", "text"),
        ("a/b c.d@e+f", "", "a/b c.d@e+f"),
        ("128Mi", "", "128Mi"),
        ("10s", "", "10s"),
        ("text", '"', '"text"'),
        ("text", "'", "'text'"),
        ("text", "|", "text"),
        ("a\tb", "'", '"a\\tb"'),
        ('say "hi"', "'", "'say \"hi\"'"),
        ("", "", '""'),
        (" x", "", '" x"'),
        ("no", "", '"no"'),
        ("Y", "", '"Y"'),
        ("Null", "", '"Null"'),
        ("~", "", '"~"'),
        ("1", "", '"1"'),
        ("1e3", "", '"1e3"'),
        ("0x1F", "", '"0x1F"'),
        ("22:22", "", '"22:22"'),
        ("2026-11-23", "", '"2026-11-23"'),
        ("a: b", "", '"a: b"'),
        ("a #b", "", '"a #b"'),
        ("{{gap}}", "", '"{{gap}}"'),
        ("a\nb", "", '"a\\nb"'),
        ("\x7f\x85\u2028\ufeff\ue000", "", '"\\u007f\\u0085\\u2028\\ufeff\\ue000"'),
        ("\U000e0001", "", '"\\U000e0001"'),
        ("😀", "", '"😀"'),
        (True, "", "true"),
        (None, "", "null"),
        (7, "'", "7"),
        (1.0, "", "1.0"),
        (1e16, "", "1.0e+16"),
        (1.5e-7, "", "1.5e-07"),
    ],
)
def test_scalars_are_written_so_that_no_reader_misreads_them(value: Any, style: str, written: str) -> None:
    assert dump_scalar(value, style) == written
    assert same(load(f"k: {written}"), {"k": value})
    assert same(yaml.safe_load(f"k: [{written}]"), {"k": [value]})


@given(documents)
def test_what_is_dumped_reads_the_same_here_and_in_yaml_1_1(document: dict[str, Any]) -> None:
    text = dump(document)
    assert same(load(text), document)
    assert same(yaml.load(text, Loader=yaml.CSafeLoader), document)


@given(scalars)
def test_a_scalar_is_one_line(value: Any) -> None:
    assert dump_scalar(value).splitlines() == [dump_scalar(value)]


# --- any document ---------------------------------------------------------------------------------------------------

KEYS = ["a", "b-c", "'d e'", '"f:g"', "ключ", "7", "yes"]
VALUES = [
    "1",
    "-2.5",
    "true",
    "text",
    "two words",
    "NO",
    "'single'",
    '"dou\\tble"',
    "~",
    "",
    "[1, two, {x: 3}]",
    "{x: 1, 'y': [2]}",
    "http://x/y#z",
    "grün 😀",
]
QUOTES = "'\""


@st.composite
def lines(draw: st.DrawFn, indent: str = "", path: str = "") -> list[str]:
    """The lines of a block mapping, with comments that name the key they stand by: `# above /a/b`, `# by /a/b`."""
    written: list[str] = []
    for key in draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True)):
        own = f"{path}/{key.strip(QUOTES)}"
        if draw(st.booleans()):
            written.append(f"{indent}# above {own}")
        written += entry(draw, indent, key, own)
    return written


def entry(draw: Any, indent: str, key: str, own: str) -> list[str]:
    comment = f"{draw(st.sampled_from([' ', '   ', chr(9), ' ' + chr(9)]))}# by {own}"
    form = draw(st.sampled_from(["scalar"] * 4 + ["block", "list", "mapping"]))
    head = f"{indent}{key}:"
    if form == "mapping" and own.count("/") < 4:
        return [f"{head}{comment}", *draw(lines(indent + draw(st.sampled_from([" ", "  ", "    "])), own))]
    if form == "list":
        inner = indent + draw(st.sampled_from(["", "  "]))
        return [f"{head}{comment}", *(inner + line for line in ("- one", "# between", "- k: 1", "  l: 2"))]
    if form == "block":
        blanks = draw(st.lists(st.just(""), max_size=2))
        header = draw(st.sampled_from(["|", "|-", "|+", ">", ">-"]))
        return [f"{head} {header}{comment}", f"{indent}  line one", f"{indent}   two", *blanks]
    value = draw(st.sampled_from(VALUES))
    return [f"{head} {value}{comment}" if value else f"{head}{comment}"]


@st.composite
def files(draw: st.DrawFn) -> str:
    start = draw(st.sampled_from([[], ["---"], ["--- # start"], ["# head", ""], ["%YAML 1.1", "---"]]))
    body = draw(st.just([]) | lines())
    end = draw(st.sampled_from([[], ["# end"], ["", "# end", ""]] + ([["..."]] if body else [])))
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    # A block scalar changes its value with the last line end, so such a file always has one.
    last = draw(st.sampled_from([newline, newline, ""])) if end or "line one" not in str(body) else newline
    return draw(st.sampled_from(["", "", "\ufeff"])) + newline.join([*start, *body, *end]) + last


def other(draw: Any, document: dict[str, Any]) -> dict[str, Any]:
    """The document with some keys changed, some gone and some new, at any depth."""
    result: dict[str, Any] = {}
    for key, value in document.items():
        fate = draw(st.sampled_from(["stay", "stay", "change", "go"]))
        if isinstance(value, dict) and fate == "stay":
            result[key] = other(draw, value)
        elif fate != "go":
            result[key] = value if fate == "stay" else draw(new_values)
    for key in draw(st.lists(st.sampled_from(["new", "yes", "a b", "7", ""]), max_size=2)):
        result.setdefault(key, draw(new_values))
    return result


new_values = scalars | st.sampled_from(
    [[], {}, [1, [2]], {"k": {"l": "m"}}, "a\nb", "a\n\nb\n", "# a\n  b \n", "\n", "- x", "x: y", "# z", "---\n"]
)


@given(files())
def test_no_change_is_no_change(text: str) -> None:
    assert edit(text, load(text)) == text


@given(files(), documents)
def test_any_document_can_be_wanted(text: str, wanted: dict[str, Any]) -> None:
    assert same(load(edit(text, wanted)), wanted)


@given(files(), st.data())
def test_untouched_keys_keep_their_bytes(text: str, data: st.DataObject) -> None:
    before = load(text)
    wanted = other(data.draw, before)
    assume(wanted or "..." not in text)  # an end without a document is no YAML to libyaml
    result = edit(text, wanted)
    assert same(load(result), wanted)
    assert result[:1] == "\ufeff" or text[:1] != "\ufeff"
    kept = result.removeprefix("\ufeff").splitlines()
    lines_before = text.removeprefix("\ufeff").splitlines()
    assert [line for line in lines_before if must_stay(line, before, wanted) and line not in kept] == []


def must_stay(line: str, before: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a line of the text has to be in the edited text as it was: a comment, or a key with its value."""
    if "# head" in line or "# end" in line or "# start" in line:
        return True
    head, marker, name = line.partition("# above /" if "# above /" in line else "# by /")
    if not marker:
        return False
    *above, last = name.split("/")
    was, wants = inner(before, above), inner(wanted, above)
    if not wants:
        return False
    if "above" in marker:
        return True
    is_head = head.rstrip().endswith(":") and bool(inner(before, [*above, last]))  # its value is on lines below
    return last in wants and (same(was[last], wants[last]) or (is_head and bool(inner(wants, [last]))))


def inner(document: Any, path: list[str]) -> Any:
    """The mapping at a path, or None."""
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else None
