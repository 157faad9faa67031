"""Global options, patch names and errors, without a process."""

import pytest
from typer.testing import CliRunner

from hms_cli import tree
from hms_cli.commands import patch_ids
from hms_cli.errors import ClientError
from hms_cli.outcome import Code
from hms_cli.output import Format
from hms_cli.shell import Exit, Globals, Session, guarded

COMMANDS = [
    *("apply", "diff", "get", "status", "approve", "reject", "window", "cancel", "rollback"),
    *("fleet", "explain", "audit", "stream revisions", "stream rollback"),
    *("quota show", "quota set", "freeze list", "freeze add", "freeze lift"),
]


def raising(error: BaseException) -> Exit:
    def work(_session: Session) -> Code:
        raise error

    return guarded(work, Globals())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_teaches_with_an_example_and_lists_the_global_options(name: str) -> None:
    shown = CliRunner().invoke(tree.cli, [*name.split(), "--help"]).stdout
    assert f"Example: hms {name}" in shown
    assert "--token" in shown


@pytest.mark.parametrize(("given", "number"), [("784", 784), ("patch/784", 784)])
def test_a_patch_has_two_names(given: str, number: int) -> None:
    assert patch_ids.number_of(given) == number


@pytest.mark.parametrize("given", ["", "patch/", "-1", "7.0", "٣", "784/cancel", "patch/patch/7", "../instance"])
def test_anything_else_is_a_usage_error(given: str) -> None:
    with pytest.raises(ClientError) as error:
        patch_ids.number_of(given)
    assert error.value.code is Code.USAGE


def test_a_later_global_option_counts_and_a_silent_one_does_not() -> None:
    before = Globals("http://before", "token", Format.JSON)
    assert Globals(None, None, Format.NAME).over(before) == Globals("http://before", "token", Format.NAME)
    assert Globals().over(before) == before


def test_a_foreseen_failure_is_its_lines_and_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(ClientError(Code.NOT_ALLOWED, "no [bold]way", "\x1b[31mred")) is Code.NOT_ALLOWED
    assert capsys.readouterr() == ("", "no [bold]way\n [31mred\n")


def test_an_interrupt_is_a_line_and_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(KeyboardInterrupt()) == 130
    assert "what was submitted goes on" in capsys.readouterr().err


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())
