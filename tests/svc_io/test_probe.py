"""Probes of every kind: what they may be set to, what they ask for one document, and what they make of an answer."""

import hashlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hms_svc import check_process, http, probe
from hms_svc.address import SettingsError
from hms_svc.candidate import make
from hms_svc.check_files import Missing
from hms_svc.evidence import Evidence
from hms_svc.probe import Answer, Question
from hms_svc.render import gap_values
from hms_svc.settings import Settings, read

from .makers import patch
from .rig import Acks, Agent, Control, free_port, until
from .served import Served
from .test_served import Start, conf, outcome, start, words

__all__ = ["conf", "start"]  # fixtures

NEEDED = {"TENANT": "T", "HMS_SERVICE": "S", "HMS_VERSION": "1.0.0", "HMS_TRUST": "t"}
URL = {"HMS_PROBE_URL": "http://127.0.0.1:80/"}


def settings(**given: str) -> Settings:
    return read(NEEDED | {f"HMS_PROBE_{name}": value for name, value in given.items()})


def evidence(**given: str) -> Evidence:
    found = settings(**given).probe
    assert found is not None
    return found


def question(values: dict[str, Any], **given: str) -> Question:
    return probe.question(evidence(**given), values, "/etc/conf.yml")


# --- settings


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"URL": "http://h/", "TCP": "h:1"}, "HMS_PROBE_URL and HMS_PROBE_TCP: set one of them"),
        ({"TCP": "h:1", "COMMAND": "true"}, "HMS_PROBE_TCP and HMS_PROBE_COMMAND: set one of them"),
        ({"STATUS": "200"}, "HMS_PROBE_STATUS needs HMS_PROBE_URL"),
        ({"HEADER": "X: 1", "TCP": "h:1"}, "HMS_PROBE_HEADER needs HMS_PROBE_URL"),
        ({"BODY": "x", "COMMAND": "true"}, "HMS_PROBE_BODY needs HMS_PROBE_URL"),
        ({"URL": "http://h/", "HEADER": "X"}, "HMS_PROBE_HEADER='X': write"),
        ({"URL": "ftp://h/"}, "HMS_PROBE_URL"),
        *(({"URL": "http://h/", "STATUS": bad}, "HMS_PROBE_STATUS=") for bad in ("ok", "2xx", "299-200", "20", "200-")),
        *(
            ({"TCP": bad}, "HMS_PROBE_TCP")
            for bad in ("host", "host:", ":80", "h:0", "h:70000", "http://h:1", "h:80/x")
        ),
        ({"COMMAND": "sh 'open"}, "HMS_PROBE_COMMAND"),
    ],
)
def test_a_bad_setting_is_named(given: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(**given)
    assert named in str(refused.value)


def test_what_may_be_set() -> None:
    assert settings().probe is None
    assert evidence(URL="http://h/", STATUS="200, 204,300-399").status == ((200, 200), (204, 204), (300, 399))
    assert evidence(TCP="[::1]:5432").tcp == ("::1", 5432)
    assert evidence(COMMAND="sh -c 'test {{a}} = 1'").command == ("sh", "-c", "test {{a}} = 1")


# --- the question for one document

VALUES = {"limit": 200, "greeting": "it's, a test", "on": True, "hosts": ["a"], "nothing": None, "conf": "mine"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{limit}}", "200"),
        ("limit={{limit}};", "limit=200;"),
        ("{{greeting}}", "it's, a test"),
        ("{{on}}", "true"),
        ("{{gone}}", None),
        ("a{{gone}}b", None),
        ("{{hosts}}", None),
        ("{{nothing}}", None),
        ("plain", "plain"),
    ],
)
def test_any_text_can_be_compared_with_and_without_a_value_nothing_is(text: str, expected: str | None) -> None:
    asked = question(VALUES, URL="http://h/", HEADER=f"X-A: {text}", BODY=text).evidence
    assert asked.header == (None if expected is None else ("x-a", expected))
    assert asked.body == expected


@pytest.mark.parametrize(
    ("item", "filled"),
    [
        ("{{greeting}}", "it's, a test"),
        ("--limit={{limit}}", "--limit=200"),
        ("{{gone}}", ""),
        ("--limit={{gone}}", ""),
        ("{conf}", "/etc/conf.yml"),
        ("--file={conf}", "--file=/etc/conf.yml"),
        ("{{conf}}", "mine"),
        ("{conf}{{conf}}", "/etc/conf.ymlmine"),
    ],
)
def test_a_command_gets_its_values_as_arguments(item: str, filled: str) -> None:
    assert question(VALUES, COMMAND=f"probe '{item}' end").evidence.command == ("probe", filled, "end")


def test_no_value_becomes_part_of_a_script() -> None:
    asked = question({"name": "$(reboot)"}, COMMAND="sh -c 'test {{name}}'")
    answer = probe.ask(asked)
    assert (answer.matches, answer.answered) == (False, True)
    assert "HMS_PROBE_COMMAND cannot be asked: the value of {{name}} may hold only" in answer.words


def test_the_fingerprint_names_one_conf_and_is_no_part_of_what_is_reported() -> None:
    text = "a: 1\nhms: {mine: 2}\n"
    values = gap_values({"a": 1, "hms": {"mine": 2}}, text)
    assert values["hms"] == {"mine": 2, "conf_sha256": hashlib.sha256(text.encode()).hexdigest()}
    assert gap_values({"hms": {"conf_sha256": "forged"}}, "")["hms"] == {"conf_sha256": hashlib.sha256(b"").hexdigest()}
    assert gap_values({"hms": 7}, "")["hms"] == {"conf_sha256": hashlib.sha256(b"").hexdigest()}
    plain = make("a: 1\n", [patch(1, {"a": 2})], "/c", {})
    shown = make("a: 1\n", [patch(1, {"a": 2})], "/c", {"/r": "{{hms.conf_sha256}}"})
    assert shown.texts["/r"] == hashlib.sha256(shown.texts["/c"].encode()).hexdigest()
    assert (plain.digest, plain.texts["/c"]) == (shown.digest, shown.texts["/c"])


# --- the judgement


def response(status: int = 200, body: str = "", **headers: str) -> http.Response:
    return http.Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body.encode())


ALL = {"STATUS": "200-299", "HEADER": "X-Limit: 200", "BODY": "limit=200"}


@pytest.mark.parametrize(
    ("given", "answer", "matches", "said"),
    [
        ({}, response(404), True, "the probe answers status 404"),
        ({}, response(502), False, "the probe answers status 502"),
        ({"HEADER": "X-Limit: 200"}, response(503, x_limit="200"), True, "x-limit: 200"),
        ({"HEADER": "X-Limit: 200"}, response(200, x_limit="50"), False, "shows '50' for x-limit, expected '200'"),
        ({"HEADER": "X-Limit: 200"}, response(), False, "no such header"),
        ({"HEADER": "X-Limit: {{gone}}"}, response(404), True, "status 404"),
        ({"HEADER": "X-Limit: {{gone}}"}, response(502), False, "status 502"),
        ({"BODY": "limit=200"}, response(500, "limit=200 ok"), True, "contains 'limit=200'"),
        ({"BODY": "limit=200"}, response(200, "limit=50 secret"), False, "does not contain 'limit=200'"),
        ({"STATUS": "204"}, response(200), False, "status 200, expected 204"),
        ({"STATUS": "200,500-599"}, response(503), True, "status 503"),
        (ALL, response(201, "limit=200", x_limit="200"), True, "status 201, x-limit: 200, contains 'limit=200'"),
        (ALL, response(404, "limit=200", x_limit="200"), False, "status 404, expected 200-299"),
        (ALL, response(200, "limit=200", x_limit="50"), False, "expected '200'"),
        (ALL, response(200, "limit=50", x_limit="200"), False, "does not contain"),
    ],
)
def test_all_that_is_set_must_match(given: dict[str, str], answer: http.Response, said: str, *, matches: bool) -> None:
    judged = probe.judge(question({}, URL="http://h/", **given).evidence, answer)
    assert (judged.matches, judged.answered) == (matches, True)
    assert said in judged.words
    assert "secret" not in judged.words


# --- asking


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_tcp_counts_once_a_connection_is_accepted(listener: int) -> None:
    open_, closed = (question({}, TCP=f"127.0.0.1:{port}") for port in (listener, free_port()))
    assert probe.ask(open_) == Answer(True, True, f"127.0.0.1:{listener} accepts connections")
    answer = probe.ask(closed)
    assert (answer.matches, answer.answered) == (False, False)
    assert "refused" in answer.words


@pytest.mark.parametrize(
    ("command", "matches", "said"),
    [
        ("true", True, "the probe true ends with 0"),
        ("sh -c 'echo fine'", True, "fine"),
        ("sh -c 'echo the limit is {{limit}}; exit 3'", False, "the limit is 200"),
        ("false", False, "the probe false ends with 1"),
        ("/nowhere/at-all", False, "cannot run the probe /nowhere/at-all: No such file or directory"),
        ("sleep 5", False, "no verdict of the probe sleep within 0.2 s"),
    ],
)
def test_a_command_counts_once_it_ends_with_0(
    command: str, said: str, monkeypatch: pytest.MonkeyPatch, *, matches: bool
) -> None:
    monkeypatch.setattr(probe, "COMMAND_SECONDS", 0.2 if command.startswith("sleep") else 5.0)
    assert probe.ask(question(VALUES, COMMAND=command)) == Answer(matches, True, said)


def test_a_body_is_read_only_so_far(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    served = start("reload")
    asked = question({}, URL=f"http://127.0.0.1:{served.port}/", BODY="limit=50")
    assert probe.ask(asked).matches
    monkeypatch.setattr(probe, "BODY_BYTES", len("limit=5"))
    assert not probe.ask(asked).matches


# --- `hms-svc check`


@pytest.mark.parametrize(
    ("given", "fine", "bad"),
    [
        ({"URL": "http://127.0.0.1:{port}/", "HEADER": "X-Limit: {{rate_limit_rps}}"}, "x-limit: 50", "shows '50'"),
        ({"URL": "http://127.0.0.1:{port}/", "BODY": "limit={{rate_limit_rps}} "}, "contains", "does not contain"),
        ({"URL": "http://127.0.0.1:{port}/", "HEADER": "X-Conf: {{hms.conf_sha256}}"}, "x-conf: ", "shows '"),
        ({"COMMAND": "sh -c 'test {{rate_limit_rps}} = 50'"}, "ends with 0", "ends with 1"),
    ],
)
def test_check_asks_the_probe(start: Start, conf: Path, given: dict[str, str], fine: str, bad: str) -> None:
    served = start("ignore")
    filled = {f"HMS_PROBE_{name}": value.replace("{port}", str(served.port)) for name, value in given.items()}
    made = read(NEEDED | filled | {"HMS_CONF": str(conf)})
    assert fine in check_process.probe(made)
    conf.write_text(conf.read_text().replace("50", "60"))
    with pytest.raises(Missing, match=bad):
        check_process.probe(made)


# --- beside an agent


def test_a_probe_by_tcp_waits_for_the_connection(
    start: Start, new_agent: Callable[..., Agent], control: Control, acks: Acks
) -> None:
    served = start("reload")
    kind = {"HMS_PROBE_URL": "", "HMS_PROBE_HEADER": "", "HMS_PROBE_TCP": f"127.0.0.1:{served.port}"}
    new_agent(**(served.settings() | kind)).start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    assert served.limit() == "200"


def by_command(served: Served) -> dict[str, str]:
    asking = f"curl -s -m 1 http://127.0.0.1:{served.port}/ | grep limit={{{{rate_limit_rps}}}}"
    script = f"{asking} || {{ echo not yet; false; }}"
    return served.settings() | {"HMS_PROBE_URL": "", "HMS_PROBE_HEADER": "", "HMS_PROBE_COMMAND": f'sh -c "{script}"'}


def test_a_probe_by_command_speaks_for_itself(
    start: Start, new_agent: Callable[..., Agent], control: Control, acks: Acks
) -> None:
    served = start("ignore")
    new_agent(**by_command(served)).start()
    control.put(1, {"rate_limit_rps": 200})
    assert outcome(acks, 1) == "failed"
    assert "effective: not yet" in words(acks)
    assert served.limit() == "50"


def test_a_command_that_fails_where_nothing_runs_is_no_failure(
    start: Start, new_agent: Callable[..., Agent], control: Control, acks: Acks, conf: Path
) -> None:
    served = start("reload")
    served.stop()
    new_agent(**by_command(served)).start()
    control.put(1, {"rate_limit_rps": 200})
    until(lambda: "limit_rps: 200" in conf.read_text(), "the file")
    with pytest.raises(AssertionError, match="not within"):
        outcome(acks, 1, seconds=2)
    served.start()
    assert outcome(acks, 1) == "effective"
    assert served.limit() == "200"
