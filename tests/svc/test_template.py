"""Gaps: values keep their types in a tree, and carry no syntax into a text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_svc.merge import same
from hms_svc.template import MAX_FILLED, TemplateError, fill_text, fill_tree, fill_yaml
from hms_svc.yaml_tree import YamlError, load
from tests.svc.makers import documents, values

VALUES: dict[str, Any] = {
    "cpu": 2,
    "ratio": 0.5,
    "on": True,
    "url": "http://db.local:5432/x",
    "db": {"host": "db.local", "port": 5432, "replicas": ["a", "b"]},
    "nothing": None,
    "evil": '"; drop: table #\n- x',
}


@pytest.mark.parametrize(
    ("tree", "filled"),
    [
        ("{{cpu}}", 2),
        ("{{ cpu }}", 2),
        ("{{ratio}}", 0.5),
        ("{{on}}", True),
        ("{{nothing}}", None),
        ("{{db.host}}", "db.local"),
        ("{{db}}", VALUES["db"]),
        ("{{evil}}", VALUES["evil"]),
        ("{{cpu}} cores", "2 cores"),
        ("{{ratio}}/{{on}}/{{db.port}}", "0.5/true/5432"),
        ({"a": ["{{cpu}}", {"b": "x{{db.port}}"}]}, {"a": [2, {"b": "x5432"}]}),
        ("no gap", "no gap"),
        ("{{ $labels.x }} {{1}} {{a b}} {{}} {{.x}} {x}", "{{ $labels.x }} {{1}} {{a b}} {{}} {{.x}} {x}"),
        (7, 7),
        (None, None),
    ],
)
def test_gaps_in_a_tree_take_typed_values(tree: Any, filled: Any) -> None:
    assert same(fill_tree(tree, VALUES), filled)


def test_a_filled_value_is_not_looked_at_again() -> None:
    assert fill_tree("{{a}} {{a}}", {"a": "{{b}}", "b": 1}) == "{{b}} {{b}}"
    assert fill_text("{{a}}{{b}}", {"a": 1, "b": 2}) == "12"


@pytest.mark.parametrize(
    ("tree", "words", "pointer"),
    [
        ({"a": ["{{disk}}"]}, r"no value for the gap \{\{disk\}\}", "/a/0"),
        ({"a/b": {"c~d": "x {{db.user}}"}}, r"\{\{db.user\}\}", "/a~1b/c~0d"),
        ("{{cpu.cores}}", r"\{\{cpu.cores\}\}", ""),
        ({"a": "x {{db}}"}, "no text, number or bool", "/a"),
        ({"a": "x {{nothing}}"}, "no text, number or bool", "/a"),
        ({"a": {"{{cpu}}": 1}}, "part of a key", "/a/{{cpu}}"),
    ],
)
def test_a_gap_that_cannot_be_filled_says_where(tree: Any, words: str, pointer: str) -> None:
    with pytest.raises(TemplateError, match=words) as caught:
        fill_tree(tree, VALUES)
    assert caught.value.pointer == pointer


TEMPLATE = """\
# {{ cpu }} is for the planner
cpu: {{cpu}}      # cores
memory: {{cpu}}Gi
url: "{{url}}"    # {{url}}
hosts: [{{db.host}}, "{{db.port}}"]
limits: {{db}}
motd: |
  on {{db.host}}
plain: 'kept'   # so
"""


def test_a_yaml_template_keeps_its_layout() -> None:
    filled = fill_yaml(TEMPLATE, VALUES)
    assert filled == (
        "# {{ cpu }} is for the planner\n"
        "cpu: 2      # cores\n"
        "memory: 2Gi\n"
        'url: "http://db.local:5432/x"    # {{url}}\n'
        "hosts: [db.local, 5432]\n"
        "limits: {host: db.local, port: 5432, replicas: [a, b]}\n"
        "motd: |\n  on db.local\n"
        "plain: 'kept'   # so\n"
    )


@given(values)
def test_no_value_becomes_syntax_in_yaml(value: Any) -> None:
    text = "# top\na: {{v}}\nb: [{{v}}, '{{v}}']\nc: 1 # c\n"
    assert same(load(fill_yaml(text, {"v": value})), {"a": value, "b": [value, value], "c": 1})


@given(documents)
def test_a_template_without_gaps_is_itself(document: dict[str, Any]) -> None:
    text = "a: 1 # one\nb: {c: two}\n"
    assert fill_yaml(text, document) == text


@pytest.mark.parametrize("text", ["{{cpu}}: 1\n", "a: {{ {{cpu}} }}\n", "a: \ue000cpu\ue001\n", "a: {{a b}}\n"])
def test_what_is_no_yaml_template_is_refused(text: str) -> None:
    with pytest.raises((TemplateError, YamlError)):
        fill_yaml(text, VALUES)


NGINX = """\
limit_req_zone $binary_remote_addr zone=api:10m rate={{rps}}r/s;
server {
    listen {{listen}};
    add_header X-RPS-Limit {{ rps }};
}
"""


def test_a_rendered_file_is_filled() -> None:
    filled = fill_text(NGINX, {"rps": 200, "listen": "0.0.0.0:8080"})
    assert filled == NGINX.replace("{{rps}}", "200").replace("{{ rps }}", "200").replace("{{listen}}", "0.0.0.0:8080")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (200, "200"),
        (-1, "-1"),
        (0.5, "0.5"),
        (1e16, "1e+16"),
        (True, "true"),
        ("", ""),
        ("a/b:c@d%e+f,g=h.i-j_K9", None),
    ],
)
def test_harmless_values_fill_a_text(value: Any, text: str | None) -> None:
    assert fill_text("x {{v}};", {"v": value}) == f"x {value if text is None else text};"


@pytest.mark.parametrize(
    "value", ["a b", "1; }", "a\n", "${x}", "'", '"', "\\", "#", "é", "٣", "a\x00", None, [], {}, [1], float("nan")]
)
def test_a_value_that_could_say_more_is_refused(value: Any) -> None:
    with pytest.raises(TemplateError):
        fill_text("x {{v}};", {"v": value})


def test_a_text_gap_that_cannot_be_filled_says_its_line() -> None:
    with pytest.raises(TemplateError, match=r"no value for the gap \{\{burst\}\}, at line 3"):
        fill_text("a\nb\nc {{burst}}", VALUES)
    with pytest.raises(TemplateError, match="may hold only A-Z") as caught:
        fill_text("{{evil}}", VALUES)
    assert (caught.value.pointer, "drop" in str(caught.value)) == ("line 1", False)


@given(st.text(max_size=20))
def test_whatever_fills_a_text_leaves_its_syntax_alone(value: str) -> None:
    try:
        filled = fill_text("a {{v}};", {"v": value})
    except TemplateError:
        return
    assert filled == f"a {value};"
    assert not set(value) & set(" ;{}$#'\"\\\n\t")


def test_what_json_cannot_say_fills_nothing() -> None:
    for value in (float("inf"), {1}, "\ud800"):
        with pytest.raises(TemplateError, match="not JSON"):
            fill_tree({"a": "{{v}}"}, {"v": value})


@pytest.mark.parametrize("fill", [fill_text, fill_yaml, fill_tree])
def test_gaps_repeat_but_memory_does_not(fill: Any) -> None:
    text = "a: '" + "{{v}}" * 2000 + "'\n"
    with pytest.raises(TemplateError, match="add up to more"):
        fill(text, {"v": "x" * (MAX_FILLED // 1000)})
