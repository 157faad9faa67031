"""Keys change while agents run, and only by those who hold the keys before. `Control` is a stand-in for MGT and GOV."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from hms_svc import check_files
from hms_svc.keyring import Keyring
from hms_svc.messages import delta_payload, entry, snapshot_payload
from hms_svc.settings import read
from hms_svc.trust import TRUST, Trust, appended, dump, dump_trust, load_trust, payload
from hms_svc.wire import ADMIT_ALL, DECISION, STREAM, Refused, rfc3339, seal
from tests.svc.test_trust import pins

from .rig import SERVICE, TENANT, Acks, Agent, Control, until

NEW_GOV, NEW_MGT, STRANGER = (SigningKey(letter * 32) for letter in (b"1", b"2", b"3"))


def step(trust: Trust, *keys: SigningKey, kind: str = TRUST) -> dict[str, Any]:
    return seal(kind, payload(trust, rfc3339(time.time())), *keys)


def signed(control: Control, trust: Trust, *keys: SigningKey, kind: str = TRUST) -> str:
    """The next trust file, signed by both signers of today unless said otherwise."""
    return appended(control.trust(), step(trust, *(keys or (control.gov, control.mgt)), kind=kind))


def beside(control: Control, serial: int = 1) -> Trust:
    """The new keys pinned beside the old ones."""
    return Trust(pins(control.gov, NEW_GOV), pins(control.mgt, NEW_MGT), serial)


def replace(agent: Agent, text: str) -> None:
    """As a person or a tool does it: another file by that name."""
    path = agent.directory / "trust.json"
    fresh = path.with_name("fresh.json")
    fresh.write_text(text)
    fresh.replace(path)


def running(agent: Agent, acks: Acks, control: Control) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 60})
    acks.wait_active(1)


def test_a_signed_file_is_taken_over_within_seconds_and_kept(agent: Agent, control: Control, acks: Acks) -> None:
    running(agent, acks, control)
    replace(agent, signed(control, beside(control)))
    began = time.monotonic()
    (event,) = agent.wait_for("trust_moved_on")
    assert time.monotonic() - began < 3
    assert event["serial"] == 1
    control.gov, control.mgt = NEW_GOV, NEW_MGT
    control.put(2, {"replicas": 6})
    acks.wait_active(1, 2)
    agent.kill()
    agent.start()
    control.put(3, {"greeting": "new keys"})
    acks.wait_active(1, 2, 3)
    assert acks.last()["trouble"] == ""
    assert len(agent.events("trust_moved_on")) == len(agent.events("trust_pinned")) == 1


def test_a_config_map_swap_is_seen(agent: Agent, control: Control) -> None:
    path = agent.directory / "trust.json"
    (agent.directory / "..one").mkdir()
    path.rename(agent.directory / "..one" / "trust.json")
    data = agent.directory / "..data"
    data.symlink_to("..one")
    path.symlink_to("..data/trust.json")
    agent.start()
    agent.wait_for("trust_pinned")
    (agent.directory / "..two").mkdir()
    (agent.directory / "..two" / "trust.json").write_text(signed(control, beside(control)))
    swap = agent.directory / "..swap"
    swap.symlink_to("..two")
    swap.replace(data)
    agent.wait_for("trust_moved_on")


def unsigned(_: Control) -> str:
    return dump_trust([STRANGER.verify_key], [NEW_MGT.verify_key])


def by_mgt_alone(control: Control) -> str:
    return signed(control, beside(control), control.mgt)


def by_the_new_keys(control: Control) -> str:
    return signed(control, beside(control), NEW_GOV, NEW_MGT)


def another_type(control: Control) -> str:
    return signed(control, beside(control), kind=DECISION)


def garbage(_: Control) -> str:
    return "{"


FORGED: dict[Callable[[Control], str], str] = {
    unsigned: "unsigned",
    by_mgt_alone: "wrong_signature",
    by_the_new_keys: "wrong_signature",
    another_type: "wrong_type",
    garbage: "malformed",
}


def test_any_other_file_is_refused_aloud_and_changes_nothing(agent: Agent, control: Control, acks: Acks) -> None:
    running(agent, acks, control)
    for count, (forge, reason) in enumerate(FORGED.items(), 1):
        replace(agent, forge(control))
        assert agent.wait_for("trust_refused", count)[-1]["reason"] == reason, forge.__name__
        until(lambda: acks.last()["trouble"].startswith(f"trust: {reason}"), "the trouble in a report")  # noqa: B023
    control.put(2, {"replicas": 6})
    acks.wait_active(1, 2)


def test_a_restart_beside_a_replaced_file_goes_on_with_what_was_pinned(
    agent: Agent, control: Control, acks: Acks
) -> None:
    running(agent, acks, control)
    agent.kill()
    replace(agent, unsigned(control))
    agent.start()
    agent.wait_for("trust_refused")
    control.put(2, {"replicas": 6})
    acks.wait_active(1, 2)
    assert acks.last()["trouble"].startswith("trust: unsigned")
    assert len(agent.events("trust_refused")) == 1
    with pytest.raises(Refused, match="replaced"):  # what `hms-svc check` shows beside its hint
        check_files.trust(read(agent.environment))


def test_an_older_file_takes_nothing_back(agent: Agent, control: Control, acks: Acks) -> None:
    before = control.trust()
    running(agent, acks, control)
    second = Trust(pins(control.gov), pins(NEW_MGT), 2)
    replace(agent, appended(signed(control, beside(control)), step(second, control.gov, control.mgt)))
    assert agent.wait_for("trust_moved_on")[-1]["serial"] == 2
    for old in (before, signed(control, beside(control)), signed(control, beside(control, 2), control.gov, NEW_MGT)):
        count = len(agent.events("trust_refused"))
        replace(agent, old)
        assert agent.wait_for("trust_refused", count + 1)[-1]["reason"] == "replayed"
    agent.kill()
    agent.start()
    agent.wait_for("trust_refused", 4)
    old_mgt, control.mgt = control.mgt, NEW_MGT
    control.put(2, {"replicas": 6})
    acks.wait_active(1, 2)
    control.mgt = old_mgt
    count = len(agent.events("refused"))
    control.put(3, {"greeting": "by a key that was dropped"})
    assert agent.wait_for("refused", count + 1)[-1]["reason"] == "wrong_signature"
    assert acks.last()["active"] == [1, 2]


def test_a_file_that_went_missing_is_trouble_and_its_return_ends_it(agent: Agent, control: Control, acks: Acks) -> None:
    running(agent, acks, control)
    (agent.directory / "trust.json").unlink()
    until(lambda: "does not exist" in acks.last()["trouble"], "the trouble in a report")
    agent.kill()
    agent.start()
    control.put(2, {"replicas": 6})
    acks.wait_active(1, 2)
    replace(agent, control.trust())
    until(lambda: acks.last()["trouble"] == "", "no trouble any more")


def test_patches_of_a_dropped_key_go_at_once_and_others_stay(agent: Agent, control: Control, acks: Acks) -> None:
    running(agent, acks, control)
    old, first = control.gov, signed(control, beside(control))
    replace(agent, first)
    agent.wait_for("trust_moved_on")
    control.gov = NEW_GOV
    control.put(2, {"replicas": 6})
    acks.wait_active(1, 2)
    only = Trust(pins(NEW_GOV), pins(control.mgt), 2)
    replace(agent, appended(first, step(only, old, control.mgt)))
    agent.wait_for("trust_moved_on", 2)
    acks.wait_active(2)
    assert "rate_limit_rps: 50" in agent.conf.read_text()
    assert "replicas: 6" in agent.conf.read_text()
    assert acks.receipts(1)[-1] == "reverted"
    # As long as the stream still carries the old decision, it is refused as a whole; then the agent is back.
    assert agent.wait_for("refused")[-1]["reason"] == "wrong_signature"
    control.end(1)
    control.put(3, {"greeting": "on we go"})
    acks.wait_active(2, 3)
    agent.kill()
    agent.start()
    acks.wait_active(2, 3)


def test_a_key_that_comes_back_brings_its_patches_back(agent: Agent, control: Control, acks: Acks) -> None:
    """Though the stream's revision is the one that is held: the snapshot is asked for at each change of keys."""
    running(agent, acks, control)
    old, first = control.gov, signed(control, beside(control))
    only = Trust(pins(NEW_GOV), pins(control.mgt), 2)
    dropped = appended(first, step(only, old, control.mgt))
    replace(agent, dropped)
    agent.wait_for("trust_moved_on")
    acks.wait_active()
    replace(agent, appended(dropped, step(beside(control, 3), NEW_GOV, control.mgt)))
    agent.wait_for("trust_moved_on", 2)
    acks.wait_active(1)
    assert acks.last()["revision"] == 1


def test_to_pin_anew_the_kept_file_is_removed(agent: Agent, control: Control, acks: Acks) -> None:
    running(agent, acks, control)
    agent.kill()
    (agent.state / "trust.json").unlink()
    control.gov, control.mgt = NEW_GOV, NEW_MGT
    replace(agent, control.trust())
    agent.start()
    agent.wait_for("trust_pinned", 2)
    control.end(1)
    control.put(2, {"replicas": 6})
    acks.wait_active(2)


def test_a_kept_file_that_cannot_be_understood_is_pinned_anew(agent: Agent, control: Control, acks: Acks) -> None:
    running(agent, acks, control)
    agent.kill()
    (agent.state / "trust.json").write_text("{")
    agent.start()
    agent.wait_for("trust_pin_unreadable")
    agent.wait_for("trust_pinned", 2)
    acks.wait_active(1)


class Pair(Control):
    """Fake MGT and GOV with two keys each."""

    def trust(self) -> str:
        return dump(
            payload(Trust(pins(self.gov, NEW_GOV, threshold=2), pins(self.mgt, NEW_MGT, threshold=2), 1), rfc3339(0))
        )

    def entry(self, patch_id: int, changes: dict[str, Any], **other: Any) -> dict[str, Any]:
        envelope = seal(DECISION, self.decision(patch_id, changes, **other), self.gov, NEW_GOV)
        return entry(patch_id, ADMIT_ALL, envelope)

    def snapshot(self) -> str:
        held = list(self.entries.values())
        message = snapshot_payload(TENANT, SERVICE, self.revision, time.time(), held)
        return json.dumps(seal(STREAM, message, self.mgt, NEW_MGT))


def test_where_two_must_sign_one_does_not_suffice(tmp_path: Path, redis_server: Any, acks: Acks) -> None:
    control = Pair(redis_server.client)
    agent = Agent(tmp_path / "agent", control, redis_server.url)
    try:
        agent.start()
        control.step([control.entry(1, {"rate_limit_rps": 60})], [])
        control.keep(control.snapshot())
        acks.wait_active(1)
        lonely = entry(2, ADMIT_ALL, seal(DECISION, control.decision(2, {"replicas": 6}), control.gov))
        message = delta_payload(TENANT, SERVICE, 2, time.time(), [lonely], [])
        control.send(json.dumps(seal(STREAM, message, control.mgt, NEW_MGT)))
        control.send(json.dumps(seal(STREAM, delta_payload(TENANT, SERVICE, 2, time.time(), [], [1]), control.mgt)))
        refused = agent.wait_for("refused", 2)
        assert [one["reason"] for one in refused] == ["wrong_signature", "wrong_signature"]
        assert acks.last()["active"] == [1]
    finally:
        agent.cleanup()


def test_what_cannot_be_kept_does_not_count_yet(tmp_path: Path, control: Control, capfd: Any) -> None:
    path, state = tmp_path / "trust.json", tmp_path / "state"
    path.write_text(control.trust())
    (state / "trust.json").mkdir(parents=True)
    ring = Keyring(str(path), str(state), load_trust(control.trust()), kept=False)
    assert not ring.look(1.0, 0.0)
    assert "not kept" in ring.trouble
    path.write_text(signed(control, beside(control)))
    assert not ring.look(3.0, 0.0)
    assert ring.trust.serial == 0
    (state / "trust.json").rmdir()
    assert ring.look(5.0, 0.0)
    assert (ring.trust, ring.trouble) == (beside(control), "")
    assert load_trust((state / "trust.json").read_text()) == beside(control)
    assert capfd.readouterr().err.count("trust_not_kept") == 1


@pytest.mark.parametrize("when", ["running", "away", "killed just after"])
def test_new_keys_of_mgt_count_revisions_anew(agent: Agent, control: Control, acks: Acks, when: str) -> None:
    """A thief of MGT's key spent all revision numbers there are. Nothing signed before verifies any more."""
    running(agent, acks, control)
    honest = control.revision
    control.revision = 2**63 - 2
    control.put(2, {"greeting": "spent"})
    acks.wait_active(1, 2)
    if when == "away":
        agent.kill()
    replace(agent, signed(control, Trust(pins(control.gov), pins(NEW_MGT), 1)))
    control.mgt, control.revision = NEW_MGT, honest
    if when == "away":
        agent.start()
    agent.wait_for("trust_moved_on")
    if when == "killed just after":
        agent.kill()
        agent.start()
    control.end(2)
    acks.wait_active(1)
    assert acks.last()["revision"] == control.revision < 10
    agent.kill()
    agent.start()
    control.put(3, {"greeting": "new"})
    acks.wait_active(1, 3)


def test_a_key_of_mgt_that_stays_keeps_the_revision(agent: Agent, control: Control, acks: Acks) -> None:
    """Else what it signed before could be played again."""
    running(agent, acks, control)
    old = control.snapshot()
    control.put(2, {"greeting": "hi"})
    acks.wait_active(1, 2)
    replace(agent, signed(control, beside(control)))
    agent.wait_for("trust_moved_on")
    control.keep(old)
    until(lambda: [one for one in agent.events("refused") if one["reason"] == "replayed"], "a refusal", 20)
    assert acks.last()["active"] == [1, 2]
