"""Trust files that somebody made who may not: none is accepted, none raises anything but a refusal, none takes long.

The attacks by name are those that a person would try; the mutator below them tries what nobody thought of.
"""

import base64
import json
import os
import random
import string
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from nacl.signing import SigningKey

from hms_svc.trust import MAX_BYTES, TRUST, Trust, dump, dump_plain, load_trust, payload, succeed
from hms_svc.wire import Refused, b64, canonical, instant, key_id, pae
from tests.conditions import THOROUGH
from tests.svc.test_trust import ISSUED, file, pins, step

from .brokers import show
from .rig import Acks, Agent, Control, until
from .test_trust import running

GOV, GOV_2, GOV_3, MGT, MGT_2, MGT_3, THIEF = (SigningKey(letter.encode() * 32) for letter in "abcdefg")

ONE = Trust(pins(GOV), pins(MGT), 4)
"""What an agent has pinned, where one key signs for each."""
TWO = Trust(pins(GOV, GOV_2, GOV_3, threshold=2), pins(MGT, MGT_2, MGT_3, threshold=2), 4)
"""The same, where two of three do."""
HONEST = {1: (GOV, MGT), 2: (GOV, GOV_2, MGT, MGT_3)}
AFTER = Trust(pins(GOV, THIEF), pins(MGT, MGT_2), 5)


def twice(envelope: dict[str, Any], number: int = 0) -> dict[str, Any]:
    """One signature stands for two."""
    signatures = envelope["signatures"]
    return {**envelope, "signatures": sorted([*signatures, signatures[number]], key=lambda one: str(one["keyid"]))}


def named(envelope: dict[str, Any], name: str) -> dict[str, Any]:
    """The first signature says it is another key's."""
    first, *others = envelope["signatures"]
    return {**envelope, "signatures": sorted([{**first, "keyid": name}, *others], key=lambda one: str(one["keyid"]))}


def saying(envelope: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The same signatures under another text."""
    said = json.loads(base64.b64decode(envelope["payload"]))
    return {**envelope, "payload": b64(canonical({**said, **fields}))}


def raw(text: str, *keys: SigningKey) -> dict[str, Any]:
    """Signed by those who may, but spelled as no JSON library would."""
    message = pae(TRUST, text.encode())
    made = sorted((key_id(key.verify_key), b64(key.sign(message).signature)) for key in keys)
    signatures = [{"keyid": name, "sig": signature} for name, signature in made]
    return {"payloadType": TRUST, "payload": b64(text.encode()), "signatures": signatures}


SIX = AFTER._replace(serial=6)
SWAPPED = Trust(pins(MGT), pins(GOV), 5)
CROSSED = payload(AFTER, ISSUED) | {"mgt": payload(AFTER, ISSUED)["gov"]}

ATTACKS: dict[str, tuple[Trust, str]] = {
    "an older serial": (ONE, file(step(AFTER._replace(serial=3), GOV, MGT))),
    "an older plain file": (ONE, dump_plain(ONE._replace(serial=3), ISSUED)),
    "the first file, without a serial": (ONE, dump_plain(ONE._replace(serial=0), ISSUED)),
    "the same serial with other content": (ONE, file(step(AFTER._replace(serial=4), GOV, MGT))),
    "the same serial, plain, with other content": (ONE, dump_plain(AFTER._replace(serial=4), ISSUED)),
    "plain, with a higher serial": (ONE, dump_plain(AFTER, ISSUED)),
    "GOV alone": (ONE, file(step(AFTER, GOV))),
    "MGT alone": (ONE, file(step(AFTER, MGT))),
    "nobody": (ONE, file({**step(AFTER, GOV, MGT), "signatures": []})),
    "one key of each where two must": (TWO, file(step(AFTER, GOV, MGT))),
    "two of GOV and one of MGT": (TWO, file(step(AFTER, GOV, GOV_2, MGT))),
    "one of GOV and two of MGT": (TWO, file(step(AFTER, GOV, MGT, MGT_2))),
    "three of GOV and one of MGT": (TWO, file(step(AFTER, GOV, GOV_2, GOV_3, MGT))),
    "three of each": (TWO, file(step(AFTER, GOV, GOV_2, GOV_3, MGT, MGT_2, MGT_3))),
    "the same key twice": (TWO, file(twice(step(AFTER, GOV, MGT, MGT_2)))),
    "the same key under two names": (TWO, file(named(twice(step(AFTER, GOV, MGT, MGT_2)), key_id(GOV_2.verify_key)))),
    "a key that the new file adds": (ONE, file(step(AFTER, THIEF, MGT))),
    "a key that the new file adds, under the old one's name": (
        ONE,
        file(named(step(AFTER, THIEF, MGT), key_id(GOV.verify_key))),
    ),
    "a key that the new file adds, beside enough": (ONE, file(step(AFTER, GOV, MGT, THIEF))),
    "a key that the new file adds, as the second": (TWO, file(step(AFTER, GOV, THIEF, MGT, MGT_2))),
    "a skipped serial": (ONE, file(step(SIX, GOV, MGT))),
    "a skipped step, whose signers the missing one lets in": (ONE, file(step(SIX, GOV, MGT_2))),
    "a step in between that nobody signed": (ONE, file(step(AFTER, THIEF, MGT), step(SIX, GOV, MGT))),
    "steps in the wrong order": (ONE, file(step(SIX, GOV, MGT), step(AFTER, GOV, MGT))),
    "a good step and a forged one": (ONE, file(step(AFTER, GOV, MGT), step(SIX, THIEF, MGT_3))),
    "a good step, and one back": (ONE, file(step(AFTER, GOV, MGT), step(AFTER._replace(serial=4), GOV, MGT))),
    "a good step twice": (ONE, file(step(AFTER, GOV, MGT), step(AFTER, GOV, MGT))),
    "GOV signs as MGT": (ONE, file(step(SWAPPED, GOV))),
    "one key for both": (ONE, file(raw(canonical(CROSSED).decode(), GOV, MGT))),
    "a text that was not signed": (ONE, file(saying(step(AFTER, GOV, MGT), serial=5, issued="2027-01-01T00:00:00Z"))),
    "another type": (ONE, file(step(AFTER, GOV, MGT, kind="application/vnd.hms.decision+json"))),
    "a field twice in the text": (
        ONE,
        file(raw(canonical(payload(AFTER, ISSUED)).decode()[:-1] + ',"serial":5}', GOV, MGT)),
    ),
    "a field twice in the file": (
        ONE,
        file(step(AFTER, GOV, MGT)).replace('"version": 2', '"version": 2, "version": 2'),
    ),
    "steps twice": (ONE, file(step(AFTER, GOV, MGT)).replace('"steps"', '"steps": [], "steps"')),
    "a serial that is a text": (ONE, file(raw(canonical(payload(AFTER, ISSUED) | {"serial": "5"}).decode(), GOV, MGT))),
    "a serial with a fraction": (
        ONE,
        file(raw(canonical(payload(AFTER, ISSUED) | {"serial": 5.0}).decode(), GOV, MGT)),
    ),
    "a serial that is true": (
        Trust(pins(GOV), pins(MGT), 0),
        file(raw(canonical(payload(AFTER, ISSUED) | {"serial": True}).decode(), GOV, MGT)),
    ),
    "a serial of 5,000 digits": (
        ONE,
        file(raw(canonical(payload(AFTER, ISSUED)).decode().replace('"serial":5', f'"serial":{"9" * 5000}'), GOV, MGT)),
    ),
    "a threshold of nobody": (
        ONE,
        file(
            raw(
                canonical(payload(AFTER, ISSUED) | {"gov": {"threshold": 0, "keys": []}}).decode(),
                GOV,
                MGT,
            )
        ),
    ),
    "no instant": (ONE, file(raw(canonical(payload(AFTER, ISSUED) | {"issued": "soon"}).decode(), GOV, MGT))),
    "a list": (ONE, "[]"),
    "a number": (ONE, "5"),
    "null": (ONE, "null"),
    "steps of nothing": (ONE, '{"version": 2, "steps": null}'),
    "steps of numbers": (ONE, '{"version": 2, "steps": [1, 2]}'),
    "an envelope without a text": (
        ONE,
        json.dumps({"version": 2, "steps": [{"payloadType": TRUST, "signatures": [1]}]}),
    ),
    "signatures of texts": (ONE, file({**step(AFTER, GOV, MGT), "signatures": ["a", "b"]})),
    "a name that is a list": (ONE, file({**step(AFTER, GOV, MGT), "signatures": [{"keyid": [], "sig": "AA=="}] * 2})),
    "a megabyte": (ONE, file(step(AFTER, GOV, MGT)) + " " * MAX_BYTES),
    "a megabyte of brackets": (ONE, "[" * MAX_BYTES),
    "a megabyte inside a step": (ONE, file({**step(AFTER, GOV, MGT), "payload": "A" * (MAX_BYTES - 2000)})),
    "a thousand steps": (ONE, file(*[step(AFTER, GOV, MGT)] * 1000)),
    "NaN": (ONE, '{"version": NaN, "steps": []}'),
    "half a letter": (ONE, '{"version": 2, "note": "\ud800"}'),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_at_once(name: str) -> None:
    pinned, text = ATTACKS[name]
    since = time.process_time()
    with pytest.raises(Refused) as refused:
        succeed(pinned, text)
    assert time.process_time() - since < 0.5
    assert len(refused.value.detail) < 500
    assert "\n" not in refused.value.detail


@pytest.mark.parametrize(("pinned", "keys"), [(ONE, HONEST[1]), (TWO, HONEST[2])])
def test_what_they_are_made_of_is_accepted(pinned: Trust, keys: Sequence[SigningKey]) -> None:
    """Else the refusals above would prove nothing."""
    assert succeed(pinned, file(step(AFTER, *keys))) == AFTER
    assert succeed(pinned, file(step(AFTER, *keys), step(SIX, GOV, MGT_2))) == SIX


class Tried(NamedTuple):
    """How a run of the mutator went."""

    refused: int
    unchanged: int


def mutate(rng: random.Random, text: str) -> str:
    """One to three small changes to a file."""
    for _ in range(rng.randint(1, 3)):
        text = rng.choice((_byte, _cut, _doubled, _value, _swapped, _step_list))(rng, text)
    return text


def _byte(rng: random.Random, text: str) -> str:
    place = rng.randrange(len(text) or 1)
    return text[:place] + rng.choice(string.printable + "\0é\u2028") + text[place + rng.randint(0, 1) :]


def _cut(rng: random.Random, text: str) -> str:
    first, last = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    return text[:first] + text[last:] if last - first < 200 else text[first:last]


def _doubled(rng: random.Random, text: str) -> str:
    first = rng.randrange(len(text) + 1)
    return text[:first] + text[first : first + rng.randint(1, 80)] + text[first:]


ODD: tuple[Any, ...] = (None, True, 0, -1, 2**64, 1.5, "", "x", [], {}, [[]], {"keyid": ""}, "AAAA", 10**400)


def _value(rng: random.Random, text: str) -> str:
    """Something else somewhere in the file, or in the text that a step holds."""
    document = _opened(text)
    holder: Any = document
    for _ in range(rng.randint(1, 5)):
        keys = (
            list(holder) if isinstance(holder, dict) else list(range(len(holder))) if isinstance(holder, list) else []
        )
        if not keys:
            break
        key = rng.choice(keys)
        if key == "payload" and rng.random() < 0.7:
            holder[key] = _reworded(rng, holder[key])
            break
        if rng.random() < 0.3 or not isinstance(holder[key], dict | list):
            holder[key] = rng.choice(ODD)
            break
        holder = holder[key]
    return dump(document) if isinstance(document, dict) else json.dumps(document)


def _reworded(rng: random.Random, encoded: Any) -> Any:
    try:
        said = json.loads(base64.b64decode(encoded))
        said[rng.choice([*said, "more"])] = rng.choice((*ODD, rng.randint(0, 9), said.get("gov"), said.get("mgt")))
    except (ValueError, TypeError, KeyError, AttributeError):
        return encoded
    return b64(canonical(said)) if rng.random() < 0.9 else base64.b64encode(json.dumps(said).encode()).decode()


def _swapped(rng: random.Random, text: str) -> str:
    """A signature of another step, another key, or one that the thief made over the very text."""
    document = _opened(text)
    try:
        steps = document["steps"]
        target = rng.choice(steps)
        theirs = step(_pinned(target), THIEF)["signatures"] if rng.random() < 0.5 else rng.choice(steps)["signatures"]
        own = target["signatures"]
        own[rng.randrange(len(own))] = {
            **rng.choice(theirs),
            **({"keyid": rng.choice(own)["keyid"]} if rng.random() < 0.5 else {}),
        }
        own.sort(key=lambda one: str(one["keyid"]))
    except (LookupError, TypeError, ValueError, AttributeError):
        return text
    return dump(document)


def _pinned(target: dict[str, Any]) -> Trust:
    return load_trust(base64.b64decode(target["payload"]).decode())


def _step_list(rng: random.Random, text: str) -> str:
    document = _opened(text)
    if not isinstance(document, dict) or not isinstance(document.get("steps"), list) or not document["steps"]:
        return text
    steps = document["steps"]
    steps.insert(rng.randrange(len(steps) + 1), rng.choice(steps)) if rng.random() < 0.5 else steps.pop(
        rng.randrange(len(steps))
    )
    return dump(document)


def _opened(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {}


def attacked(rng: random.Random, count: int) -> Tried:
    """Every mutated file is refused, or says what the honest one says."""
    seven = SIX._replace(serial=7)
    bases = [
        (ONE, file(step(AFTER, GOV, MGT), step(SIX, GOV, MGT_2), step(seven, THIEF, MGT))),
        (TWO, file(step(AFTER, *HONEST[2]), step(SIX, GOV, MGT_2))),
        (ONE, dump_plain(ONE, ISSUED)),
    ]
    refused = unchanged = 0
    for _ in range(count):
        pinned, base = rng.choice(bases)
        text = mutate(rng, base)
        try:
            found = succeed(pinned, text)
        except Refused:
            refused += 1
            continue
        # What was cut off at the end leaves an honest file, and one without news changes nothing.
        assert found in (pinned, AFTER, SIX, seven), text
        assert found in (pinned, succeed(pinned, base)) or len(_opened(text)["steps"]) < len(_opened(base)["steps"]), (
            text
        )
        unchanged += 1
    return Tried(refused, unchanged)


def test_the_mutator_finds_no_way_in() -> None:
    seed = int.from_bytes(os.urandom(4), "big") if THOROUGH else 1
    tried = attacked(random.Random(seed), 400_000 if THOROUGH else 4_000)  # noqa: S311 - which ones is no secret
    show(f"seed {seed}: {tried}")
    assert tried.refused > 5 * tried.unchanged


def pipe(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def terminal(path: Path) -> None:
    path.symlink_to("/dev/ptmx")


def beyond_reach(path: Path) -> None:
    path.symlink_to("trust.json.d/nothing/there")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def long(path: Path) -> None:
    path.write_text(ATTACKS["a megabyte of brackets"][1])


def listing(path: Path) -> None:
    path.write_text(ATTACKS["a list"][1])


THINGS: tuple[Callable[[Path], None], ...] = (
    pipe,
    loop,
    directory,
    long,
    device,
    beyond_reach,
    terminal,
    huge,
    listing,
)
"""Each is refused in other words than the one before, so that it shows when it was looked at."""


def test_whatever_stands_there_the_agent_goes_on(agent: Agent, control: Control, acks: Acks) -> None:
    """Patches begin meanwhile, and a window ends on time."""
    running(agent, acks, control)
    path = agent.directory / "trust.json"
    a_second = agent.a_second()
    end = time.time() + 3 * a_second
    control.put(2, {"passing": True}, end=end)
    acks.wait_active(1, 2)
    before = ""
    for number, put in enumerate(THINGS if THOROUGH else THINGS[:4], 3):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        put(path)
        before = until(partial(_other_trouble, acks, before), f"trouble over {put.__name__}")
        control.put(number, {"seen": put.__name__})
        until(partial(_holds, agent, f"seen: {put.__name__}"), f"{put.__name__}: a patch", 3)
    path.unlink()
    path.write_text(control.trust())
    until(lambda: acks.last()["trouble"] == "", "no trouble any more")
    (gone,) = until(lambda: [one for one in agent.events("effective") if 2 in one["lost"]], "the window's end")
    assert 0 <= instant(gone["at"]) - end < a_second
    assert not agent.events("error")
    assert not agent.events("trust_moved_on")


def _other_trouble(acks: Acks, before: str) -> str:
    told: str = acks.last()["trouble"]
    return told if told.startswith("trust: ") and told != before else ""


def _holds(agent: Agent, words: str) -> bool:
    return words in agent.conf.read_text()
