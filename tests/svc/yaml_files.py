"""Makes random YAML files whose every comment names the node it stands by, random changes to them, and says which
comments a change has to leave: `# above /a/0` on a line before a node, `# head /a` behind the key or the dash of a
block, `# by /a` behind a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hms_svc.merge import same

if TYPE_CHECKING:
    from random import Random

KEYS = ["a", "b-c", "'d e'", '"f:g"', "ключ", "7", "yes"]
SCALARS = ["1", "-2.5", "true", "text", "two words", "NO", "'single'", '"dou\\tble"', "~", "http://x/y#z", "grün 😀"]
BLOCKS = ["|", "|-", "|+", ">", ">-"]
NEW = [1, 2.5, False, "text", "a\nb\n", " x", "", [], {}, [1, [2]], {"k": {"l": "m"}}, [{"k": 1}], "# z", "- x"]
MOST_NESTED = 3


def file(draw: Random) -> str:
    """A file, at most a hundred lines long."""
    start = draw.choice([[], [], ["---"], ["# first"], ["%YAML 1.1", "---"]])
    end = draw.choice([[], [], ["# last"], ["", "# last", ""], ["..."]])
    newline = draw.choice(["\n", "\n", "\n", "\r\n", "\r"])
    body = _mapping(draw, "", "")
    return draw.choice(["", "", "\ufeff"]) + newline.join([*start, *body, *end, ""])


def _mapping(draw: Random, indent: str, path: str) -> list[str]:
    lines: list[str] = []
    for key in draw.sample(KEYS, draw.randint(1, 4)):
        own = f"{path}/{key.strip(chr(39) + chr(34))}"
        lines += _above(draw, indent, own)
        lines += _node(draw, f"{indent}{key}:", indent, own)
    return lines


def _above(draw: Random, indent: str, own: str) -> list[str]:
    return draw.choice([[], [], [""], [f"{indent}# above {own}"], ["", f"{indent}# above {own}"]])


def _node(draw: Random, head: str, indent: str, own: str) -> list[str]:
    """A node behind its key, or behind the dash it is an item of."""
    nests = own.count("/") < MOST_NESTED
    form = draw.choice(
        ["scalar", "scalar", "empty", "block", "line", *["mapping", "list", "braces", "brackets"] * nests]
    )
    if form == "mapping":
        return [_head(draw, head, own), *_mapping(draw, indent + draw.choice([" ", "  ", "    "]), own)]
    if form == "list":
        return [_head(draw, head, own), *_list(draw, indent + draw.choice(["", "  "]) * head.endswith(":"), own)]
    if form in {"braces", "brackets"}:
        return _flow(draw, form, head, indent, own)
    if form == "block":
        return [f"{head} {draw.choice(BLOCKS)}", f"{indent}  one", f"{indent}   two", *[""] * draw.randint(0, 2)]
    if form == "line":
        return [f"{head} {draw.choice(['[x, {y: 1}, 2]', '{x: 1, y: [2], z: }', '[]', '{}'])}{_by(draw, own)}"]
    return [
        f"{head} {draw.choice(SCALARS)}{_by(draw, own)}"
        if form == "scalar"
        else f"{head}{_by(draw, own)}".replace("\t", "")
    ]


def _head(draw: Random, head: str, own: str) -> str:
    return head + draw.choice(["", f"  # head {own}"])


def _by(draw: Random, own: str) -> str:
    return draw.choice(["", " ", f" # by {own}", f"\t # by {own}"])


def _list(draw: Random, indent: str, path: str) -> list[str]:
    lines: list[str] = []
    for number in range(draw.randint(1, 4)):
        own = f"{path}/{number}"
        lines += _above(draw, indent, own)
        item = _node(draw, f"{indent}-", indent + "  ", own)
        lines += item
    return lines


def _flow(draw: Random, form: str, head: str, indent: str, path: str) -> list[str]:
    """A list or mapping in brackets, an entry a line."""
    names = draw.sample(["a", "b", "'c d'"], draw.randint(1, 3))
    lines = [f"{head} {'{' if form == 'braces' else '['}"]
    for number, name in enumerate(names):
        own = f"{path}/{name.strip(chr(39)) if form == 'braces' else number}"
        comma = "," if number < len(names) - 1 else draw.choice(["", ","])
        value = draw.choice(["1", "'q'", "[1, 2]", "{k: 1}"])
        lines += _above(draw, indent + "  ", own)
        lines.append(f"{indent}  {name + ': ' if form == 'braces' else ''}{value}{comma}{_by(draw, own)}")
    return [*lines, f"{indent}{'}' if form == 'braces' else ']'}"]


def patch(draw: Random, document: dict[str, Any]) -> dict[str, Any]:
    """A merge patch that changes some of the document, at any depth."""
    changes: dict[str, Any] = {}
    for key, value in document.items():
        fate = draw.choice(["stay", "stay", "inside", "new", "go"])
        if fate == "inside" and isinstance(value, dict):
            changes[key] = patch(draw, value)
        elif fate == "inside" and isinstance(value, list):
            changes[key] = _moved(draw, value)
        elif fate in {"new", "go"}:
            changes[key] = draw.choice(NEW) if fate == "new" else None
    for key in draw.sample(["new", "no", "a b", "8"], draw.choice([0, 0, 1, 2])):
        changes[key] = draw.choice(NEW)
    return changes


def _moved(draw: Random, items: list[Any]) -> list[Any]:
    """A list with items gone, new or changed."""
    kept = [draw.choice([item, item, item, draw.choice(NEW)]) for item in items if draw.random() < 0.8]
    for _ in range(draw.choice([0, 0, 1, 2])):
        kept.insert(draw.randint(0, len(kept)), draw.choice(NEW))
    return kept


def must_stay(comment: str, before: Any, wanted: Any) -> bool:
    """Whether an edit that went well leaves this comment: its node is the same, or it is above one that changed."""
    kind, _, where = comment.removeprefix("# ").partition(" /")
    behind_dash = False
    *above, last = where.split("/")
    for step in above:
        if same(before, wanted):
            return True
        if not _goes_on(before, wanted, behind_dash=behind_dash):
            return False
        behind_dash = isinstance(before, list)
        before, wanted = _below(before, step), _below(wanted, _step(before, wanted, step))
    if same(before, wanted):
        return True
    if not _goes_on(before, wanted, behind_dash=behind_dash):
        return False
    there = _step(before, wanted, last)
    if kind == "above":
        return True
    return there is not None and (kind == "head" or same(_below(before, last), _below(wanted, there)))


def _goes_on(before: Any, wanted: Any, *, behind_dash: bool) -> bool:
    """Whether a mapping or list is changed inside, not written anew."""
    if isinstance(before, dict) and isinstance(wanted, dict) and before and wanted:
        return next(iter(before)) in wanted if behind_dash else not before.keys().isdisjoint(wanted)
    return isinstance(before, list) and isinstance(wanted, list) and bool(before and wanted)


def _below(node: Any, step: str | None) -> Any:
    if step is None:
        return None
    return node[int(step)] if isinstance(node, list) else node[step]


def _step(before: Any, wanted: Any, step: str) -> str | None:
    """Under which key, or at which place of the list, the node stands afterwards; None when it is gone."""
    if isinstance(before, dict):
        return step if step in wanted else None
    at = int(step)
    head = _common(before, wanted)
    tail = _common(before[head:][::-1], wanted[head:][::-1])
    if at >= len(before) - tail:
        return str(at + len(wanted) - len(before))
    return step if at < min(len(before), len(wanted)) - tail else None


def _common(left: list[Any], right: list[Any]) -> int:
    """How many items are the same at the head."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (one, other) in pairs if not same(one, other)), min(len(left), len(right)))
