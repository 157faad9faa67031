"""Rendered files: the target's kind decides how a template is filled, and what may not get in."""

import configparser
import json
from typing import Any

import pytest
import yaml
from hypothesis import given

from hms_svc.render import render
from tests.svc.makers import values

ENVOY = """\
# Front proxy
admin:
  address:
    socket_address: {address: 127.0.0.1, port_value: {{admin_port}}}   # ops only
static_resources:
  clusters:
    # one cluster, many hosts
    - name: artists
      type: STRICT_DNS
      connect_timeout: {{timeout_ms}}ms
      circuit_breakers:
        thresholds: [{max_connections: {{limits.connections}}}]
      load_assignment:
        cluster_name: artists
        endpoints: {{endpoints}}
"""
VALUES: dict[str, Any] = {
    "admin_port": 9901,
    "timeout_ms": 250,
    "host": "db.local",
    "ratio": 0.5,
    "on": True,
    "limits": {"connections": 100},
    "endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "a: b", "port_value": 1}}}}]}
    ],
    "evil": "x\n- y: 'z' \"; } # ${HOME} `id`",
    "blank": "two words",
}


def test_an_envoy_bootstrap_keeps_its_comments_and_its_types() -> None:
    text = render("/etc/envoy/envoy.yaml", ENVOY, VALUES)
    document = yaml.safe_load(text)
    assert document["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9901}
    (cluster,) = document["static_resources"]["clusters"]
    assert cluster["connect_timeout"] == "250ms"
    assert cluster["circuit_breakers"] == {"thresholds": [{"max_connections": 100}]}
    assert cluster["load_assignment"]["endpoints"] == VALUES["endpoints"]
    assert text.startswith("# Front proxy\n")
    assert "port_value: 9901}   # ops only\n" in text
    assert "    # one cluster, many hosts\n" in text


def test_json_is_filled_in_its_tree() -> None:
    template = """{"port": {{admin_port}}, "quoted": "{{ratio}}",
      "text": "{{host}}:{{admin_port}}", "e": "\\\\{{evil}}",
      "l": [{{on}}, {{limits}}]}"""
    text = render("/app/Settings.JSON", template, VALUES)
    assert json.loads(text) == {
        "port": 9901,
        "quoted": 0.5,
        "text": "db.local:9901",
        "e": "\\" + VALUES["evil"],
        "l": [True, {"connections": 100}],
    }
    assert text.startswith('{\n  "port": 9901,\n')
    assert text.endswith("}\n")


@given(values)
def test_no_value_becomes_syntax_in_json(value: Any) -> None:
    text = render("/x.json", '{"a": {{v}}, "b": ["{{v}}"]}', {"v": value})
    assert json.loads(text) == {"a": value, "b": [value]}


def test_other_files_are_filled_as_text() -> None:
    assert render("/etc/nginx/nginx.conf", "rate={{limits.connections}}r/s;", VALUES) == "rate=100r/s;"
    assert render("/srv/.env", "DB_HOST={{host}}\nDEBUG={{on}}\n", VALUES) == "DB_HOST=db.local\nDEBUG=true\n"
    text = render("/srv/app.ini", "[db]\nhost = {{host}}\nratio = {{ratio}}\n", VALUES)
    parser = configparser.ConfigParser()
    parser.read_string(text)
    assert dict(parser["db"]) == {"host": "db.local", "ratio": "0.5"}


@pytest.mark.parametrize(
    "target", ["/etc/nginx/nginx.conf", "/srv/.env", "/srv/app.ini", "/etc/haproxy.cfg", "/srv/yaml"]
)
@pytest.mark.parametrize("name", ["evil", "blank", "limits", "endpoints"])
def test_what_could_be_syntax_to_an_unknown_reader_is_refused(target: str, name: str) -> None:
    with pytest.raises(ValueError, match=rf"the template of {target}: the value of \{{\{{{name}\}}\}} .* line 2"):
        render(target, f"a = 1\nb = {{{{{name}}}}}\n", VALUES)


@pytest.mark.parametrize(
    ("target", "template", "words"),
    [
        ("/e.yml", "a: 1\nb:\n  c: {{none}}\n", r"no value for the gap \{\{none\}\}, at /b/c \(line 3\)"),
        ("/e.yml", "a: 1\nb: [x, {c/d: 'x{{limits}}'}]\n", r"is no text, number or bool, at /b/1/c~1d \(line 2\)"),
        ("/e.yml", "a: 1\n{{host}}: 1\n", r"cannot be part of a key: '\{\{host\}\}', at /\{\{host\}\} \(line 2\)"),
        ("/e.yml", "a: 1\nb: |\n  x\n  {{none}}\nc: 1\n", r"at /b \(line 2\)"),
        ("/e.yml", "a: 1\nb: *x\n", r"aliases are not allowed \(line 2"),
        ("/e.yml", "a: 1\n b: [\n", r"\(line 2"),
        ("/e.json", '{"a": 1,\n "b": {{none}}}', r"no value for the gap \{\{none\}\}, at /b \(line 2\)"),
        ("/e.json", '{"a": 1,\n "b" {{host}}}', "line 2 column"),
        ("/e.json", '{"a": 1,\n "a": 2}', "'a' stands twice"),
        ("/e.json", '{"a": NaN}', "NaN is not a finite number"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_be_filled_says_whose_and_where(target: str, template: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        render(target, template, VALUES)
    assert str(caught.value).startswith(f"the template of {target}: ")
