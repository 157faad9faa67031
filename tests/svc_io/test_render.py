"""Rendered files beside conf.yml, by a real agent: each kind right, bad values blamed on their patch, all or none."""

import json
from collections.abc import Callable
from pathlib import Path

import yaml

from .rig import CONF, Acks, Agent, Control, until

TEMPLATES = {
    "nginx.conf": "limit_req_zone $remote zone=all:1m rate={{rate_limit_rps}}r/s;\n",
    "envoy.yaml": (
        "# proxy\nconnect_timeout: {{upstream.timeout_ms}}ms  # ms\n"
        "max_requests: {{rate_limit_rps}}  # a number\nhosts: {{upstream.hosts}}\nhello: {{greeting}}\n"
    ),
    "app.json": '{"rps": {{rate_limit_rps}}, "hosts": {{upstream.hosts}}, "hello": "{{greeting}}!"}\n',
    ".env": "RPS={{rate_limit_rps}}\n",
    "app.ini": "[limits]\nrps = {{rate_limit_rps}}\n",
}


def rendering(directory: Path, templates: dict[str, str]) -> dict[str, str]:
    """HMS_RENDER for templates by the name of their target."""
    directory.mkdir()
    pairs = []
    for name, text in templates.items():
        template = directory / f"{name}.tmpl"
        template.write_text(text)
        pairs.append(f"{template}:{directory / name}")
    return {"HMS_RENDER": ",".join(pairs)}


def test_every_kind_of_file_follows_the_patch_and_its_end(
    new_agent: Callable[..., Agent], control: Control, acks: Acks, tmp_path: Path
) -> None:
    new_agent(**rendering(tmp_path / "out", TEMPLATES)).start()
    acks.wait_active()
    before = {name: (tmp_path / "out" / name).read_text() for name in TEMPLATES}
    assert "rate=50r/s" in before["nginx.conf"]
    control.put(1, {"rate_limit_rps": 200, "greeting": "a: b # c", "upstream": {"hosts": ["x", "y: z"]}})
    acks.wait_active(1)
    files = {name: (tmp_path / "out" / name).read_text() for name in TEMPLATES}
    assert files["nginx.conf"] == "limit_req_zone $remote zone=all:1m rate=200r/s;\n"
    assert files["envoy.yaml"].startswith("# proxy\nconnect_timeout: ")
    assert "max_requests: 200  # a number\n" in files["envoy.yaml"]
    envoy = {"connect_timeout": "300ms", "max_requests": 200, "hosts": ["x", "y: z"], "hello": "a: b # c"}
    assert yaml.safe_load(files["envoy.yaml"]) == envoy
    assert json.loads(files["app.json"]) == {"rps": 200, "hosts": ["x", "y: z"], "hello": "a: b # c!"}
    assert (files[".env"], files["app.ini"]) == ("RPS=200\n", "[limits]\nrps = 200\n")
    control.end(1)
    acks.wait_active()
    assert {name: (tmp_path / "out" / name).read_text() for name in TEMPLATES} == before


def test_a_value_that_would_be_syntax_fails_its_patch_at_the_check(
    new_agent: Callable[..., Agent], control: Control, acks: Acks, tmp_path: Path
) -> None:
    agent = new_agent(**rendering(tmp_path / "out", TEMPLATES)).start()
    acks.wait_active()
    before = {name: (tmp_path / "out" / name).read_text() for name in TEMPLATES}
    control.put(1, {"rate_limit_rps": "1\nADMIN=1"})
    (failed,) = until(lambda: acks.last()["failed"], "the failure in a report")
    assert (failed["patch_id"], failed["stage"]) == (1, "checked")
    assert "out/nginx.conf: the value of {{rate_limit_rps}} may hold only" in failed["detail"]
    assert failed["detail"].endswith("at line 1")
    assert {name: (tmp_path / "out" / name).read_text() for name in TEMPLATES} == before
    assert agent.conf.read_text() == CONF


def test_a_patch_that_takes_a_gaps_value_away_is_blamed_with_the_line(
    new_agent: Callable[..., Agent], control: Control, acks: Acks, tmp_path: Path
) -> None:
    new_agent(**rendering(tmp_path / "out", {"envoy.yaml": "a: 1\nb:\n  hosts: {{upstream.hosts}}\n"})).start()
    acks.wait_active()
    control.publish([control.entry(1, {"upstream.hosts": None}), control.entry(2, {"rate_limit_rps": 60})])
    report = acks.wait_active(2)
    (failed,) = report["failed"]
    assert (failed["patch_id"], failed["stage"]) == (1, "checked")
    assert failed["detail"].endswith("out/envoy.yaml: no value for the gap {{upstream.hosts}}, at /b/hosts (line 3)")


def test_a_target_that_refuses_keeps_all_the_others_as_they_were(
    new_agent: Callable[..., Agent], control: Control, acks: Acks, tmp_path: Path
) -> None:
    agent = new_agent(**rendering(tmp_path / "out", {"a.env": TEMPLATES[".env"], "b.ini": TEMPLATES["app.ini"]}))
    agent.start()
    acks.wait_active()
    before = (tmp_path / "out" / "a.env").read_text()
    last = tmp_path / "out" / "b.ini"
    last.unlink()
    last.mkdir()  # nothing can be renamed over a directory, and that shows only when its turn has come
    control.put(1, {"rate_limit_rps": 200})
    until(lambda: agent.events("failed"), "the failure")
    assert agent.events("failed")[-1]["stage"] == "written"
    assert agent.conf.read_text() == CONF
    assert (tmp_path / "out" / "a.env").read_text() == before
    assert not list((tmp_path / "out").glob(".*hms-new"))
    last.rmdir()
    acks.wait_active(1, seconds=20)
    assert (agent.conf.read_text(), last.read_text()) == (CONF.replace("50 ", "200 "), "[limits]\nrps = 200\n")
