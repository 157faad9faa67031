"""conf.yml is fold(base, active patches), in any order of coming and going, and a person's edits have their place."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from .rig import CONF, Acks, Agent, Control, until

FIRST = {"rate_limit_rps": 200, "upstream": {"timeout_ms": 500}}
SECOND = {"rate_limit_rps": 120, "upstream": {"retries": 2}}


@pytest.mark.parametrize("coming", [(1, 2), (2, 1)])
@pytest.mark.parametrize("going", [(1, 2), (2, 1)])
def test_overlapping_patches_come_and_go_in_any_order(
    agent: Agent, control: Control, acks: Acks, coming: tuple[int, int], going: tuple[int, int]
) -> None:
    changes = {1: FIRST, 2: SECOND}
    agent.start()
    for patch_id in coming:
        control.put(patch_id, changes[patch_id], priority=patch_id)
    acks.wait_active(1, 2)
    both = yaml.safe_load(agent.conf.read_text())
    assert both["rate_limit_rps"] == 120
    assert both["upstream"] == {"timeout_ms": 500, "hosts": ["a", "b"], "retries": 2}
    assert "# requests per second and address" in agent.conf.read_text()
    assert 'greeting: "hello"    # quoted on purpose' in agent.conf.read_text()
    control.end(going[0])
    acks.wait_active(going[1])
    left = yaml.safe_load(agent.conf.read_text())
    assert left["rate_limit_rps"] == changes[going[1]]["rate_limit_rps"]
    assert left["upstream"]["timeout_ms"] == (500 if going[1] == 1 else 300)
    assert ("retries" in left["upstream"]) == (going[1] == 2)
    control.end(going[1])
    acks.wait_active()
    assert agent.conf.read_text() == CONF


def test_mode_owner_and_symlink_stay(agent: Agent, control: Control, acks: Acks) -> None:
    real = agent.directory / "elsewhere.yml"
    agent.conf.rename(real)
    agent.conf.symlink_to(real)
    real.chmod(0o640)
    os.chown(real, 1, 1)
    agent.start()
    control.put(1, FIRST)
    acks.wait_active(1)
    stat = real.stat()
    assert agent.conf.is_symlink()
    assert (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid) == (0o640, 1, 1)
    assert "200" in real.read_text()


def test_a_persons_edit_joins_the_base_and_a_patched_key_is_healed(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    text = agent.conf.read_text()
    agent.conf.write_text(text.replace("200", "7").replace("300", "350") + "added: 1  # by hand\n")
    until(lambda: "rate_limit_rps: 200" in agent.conf.read_text(), "the patched key to be healed")
    edited = agent.conf.read_text()
    assert "timeout_ms: 350  # keep below" in edited
    assert "added: 1  # by hand" in edited
    until(lambda: acks.last()["drift"] == ["added", "rate_limit_rps", "upstream.timeout_ms"], "the drift in a report")
    control.end(1)
    acks.wait_active()
    assert agent.conf.read_text() == CONF.replace("300", "350") + "added: 1  # by hand\n"


def test_an_edit_while_the_agent_is_dead_is_seen_at_its_start(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    agent.kill()
    agent.conf.write_text(agent.conf.read_text().replace("300", "350"))
    control.end(1)
    agent.start()
    acks.wait_active()
    assert agent.conf.read_text() == CONF.replace("300", "350")


def test_an_unreadable_edit_is_kept_aside_and_the_file_healed(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    good = agent.conf.read_text()
    agent.conf.write_text("rate_limit_rps: [\n")
    until(lambda: agent.conf.read_text() == good, "the file to be healed")
    assert (agent.state / "rejected-conf.yml").read_text() == "rate_limit_rps: [\n"
    until(lambda: acks.last()["drift"] == ["(unreadable edit)"], "the drift in a report")


def test_an_edit_that_is_no_text_holds_no_window_open(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    a_second = agent.a_second()
    end = time.time() + 1.2 * a_second
    control.put(1, {"rate_limit_rps": 200}, end=end)
    acks.wait_active(1)
    agent.conf.write_bytes(b"\xff\xfe\x00")
    until(lambda: agent.conf.read_bytes() == CONF.encode(), "the base, after the end", end + a_second - time.time())


def test_a_file_caught_empty_between_two_writes_takes_nothing_from_the_base(
    agent: Agent, control: Control, acks: Acks
) -> None:
    agent.start()
    acks.wait_active()
    agent.conf.write_text("")
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    control.end(1)
    acks.wait_active()
    assert agent.conf.read_text() == CONF


def test_an_edit_during_the_check_is_not_lost(new_agent: Callable[..., Agent], control: Control, acks: Acks) -> None:
    agent = new_agent()
    once = agent.directory / "once"
    edit = f"sed -i s/300/350/ {agent.conf}"
    agent.environment["HMS_CHECK"] = f"sh -c 'test -e {once} || {edit}; touch {once}'"
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    assert yaml.safe_load(agent.conf.read_text())["upstream"]["timeout_ms"] == 350
    control.end(1)
    acks.wait_active()
    assert agent.conf.read_text() == CONF.replace("300", "350")


def test_a_deleted_file_comes_back(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    agent.conf.unlink()
    until(agent.conf.exists, "the file")
    assert "rate_limit_rps: 200" in agent.conf.read_text()


def test_a_base_that_is_no_yaml_is_left_alone_until_it_is(agent: Agent, control: Control, acks: Acks) -> None:
    agent.conf.write_text("a: [\n")
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    report = until(lambda: acks.last() if acks.last().get("phase") == "failed" else {}, "trouble in a report")
    assert "conf.yml" in report["trouble"]
    assert agent.conf.read_text() == "a: [\n"
    agent.conf.write_text("a: []\n")
    acks.wait_active(1)
    assert yaml.safe_load(agent.conf.read_text()) == {"a": [], "rate_limit_rps": 200}


def test_a_rendered_file_somebody_edited_is_healed(new_agent: Callable[..., Agent], tmp_path: Path, acks: Acks) -> None:
    template, target = tmp_path / "limits.tmpl", tmp_path / "limits.conf"
    template.write_text("limit {{rate_limit_rps}};\n")
    new_agent(HMS_RENDER=f"{template}:{target}").start()
    acks.wait_active()
    assert target.read_text() == "limit 50;\n"
    target.write_text("limit 9999;\n")
    until(lambda: target.read_text() == "limit 50;\n", "the rendered file to be healed")
