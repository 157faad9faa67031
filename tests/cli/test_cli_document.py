"""The patch file: syntax only, and never changed."""

import io
from pathlib import Path

import pytest

from hms_cli import document
from hms_cli.errors import ClientError
from hms_cli.outcome import Code


def refused(file: str) -> str:
    with pytest.raises(ClientError) as error:
        document.read(file)
    assert error.value.code is Code.USAGE
    [line] = error.value.lines
    return line


@pytest.mark.parametrize(
    "content",
    [
        b"service: X\n",
        b"# only the server's strict profile knows better\na: 1\na: 2\n",
        b"a: &x [1]\nb: *x\n",
        b"a: *nowhere\n",
        b"one: 1\n---\ntwo: 2\n",
        b'{"service": "X"}',
        b"\xef\xbb\xbfa: 1\r\n",
    ],
)
def test_a_file_without_syntax_errors_is_passed_on_byte_for_byte(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "patch.yml"
    file.write_bytes(content)
    assert document.read(str(file)) == (content, "application/yaml")


def test_json_is_sent_as_json(tmp_path: Path) -> None:
    file = tmp_path / "patch.json"
    file.write_bytes(b'{"a": 1}')
    assert document.read(str(file)).media == "application/json"


def test_a_bomb_is_not_built(tmp_path: Path) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    file = tmp_path / "bomb.yml"
    file.write_text("\n".join(["a0: &a0 [x]", *levels]))
    assert document.read(str(file)).content == file.read_bytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: [1\nb: 2", ":2:2: did not find expected ',' or ']'"),
        (b"a: b: c", ":1:5: mapping values are not allowed in this context"),
        (b"a: \x00", ": not text: unacceptable character"),
        (b"a: \xff", ": not text: "),
        (b"", " is empty"),
        (b" \n", " is empty"),
    ],
)
def test_a_syntax_error_is_found_here_with_its_place(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "patch.yml"
    file.write_bytes(content)
    assert f"{file}{said}" in refused(str(file))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "No such file" in refused(str(tmp_path / "none"))
    assert "Is a directory" in refused(str(tmp_path))


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a: 1\xc3\xa9")))
    assert document.read("-").content == b"a: 1\xc3\xa9"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a: [")))
    assert refused("-").startswith("standard input:")
