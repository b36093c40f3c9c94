"""Help: every command shows examples that parse, and every option says what it does."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from cli._processes import onnxrich

from onnxrich import __version__
from onnxrich.cli import cli
from onnxrich.cli.help import SECTIONS, LongCommand

COMMANDS = sorted(cli.commands)


def test_commands() -> None:
    """These are the commands; a new one has to be documented and tested."""
    assert COMMANDS == [
        "compare", "demo", "doctor", "export", "expose", "inspect", "instrument", "metrics", "render", "run", "track",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help(name: str) -> None:
    """`--help` goes to stdout, is one screen wide, and shows examples; `-h` is the same."""
    done = onnxrich(*[name] * bool(name), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Example" in done.stdout and f"onnxrich {name}".rstrip() in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110
    assert onnxrich(*[name] * bool(name), "-h").stdout == done.stdout


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_option_has_help(name: str) -> None:
    """No option is left to be guessed."""
    command = cli.commands[name] if name else cli
    with click.Context(command) as context:
        options = [option for option in command.get_params(context) if isinstance(option, click.Option)]
    assert options
    for option in options:
        assert option.help and option.help.endswith("."), option.name


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_examples_parse(name: str) -> None:
    """The examples of the help are commands that the parser takes."""
    described = cli.commands[name] if name else cli
    text = f"{described.help}\n{described.epilog or ''}"
    examples = [line.split("  ")[0].split(" | ")[0] for line in re.findall(r"^ +onnxrich (.+)$", text, re.MULTILINE)]
    assert examples
    for example in examples:
        command, *arguments = shlex.split(example)
        cli.commands[command].make_context(command, arguments)


LONG = [name for name in COMMANDS if isinstance(cli.commands[name], LongCommand)]


def test_sections() -> None:
    """Options of the long commands stand under headings, each option once, none left out; the examples come last."""
    assert LONG == ["compare", "run", "track"]
    known: set[str] = set()
    for name in LONG:
        about, *sections, examples = re.split(r"^(?=\S.*:$|  Examples:$)", onnxrich(name, "--help").stdout, flags=re.M)
        assert f"onnxrich {name} " in examples and "Examples" not in about
        assert [section.split(":\n")[0] for section in sections] == list(SECTIONS)
        shown = [re.findall(r"^  (?:-\w, )?(--[\w-]+)", section, re.MULTILINE) for section in sections]
        options = {param.opts[-1] for param in cli.commands[name].params if isinstance(param, click.Option)}
        assert sorted(each for names in shown for each in names) == sorted(options | {"--help"})
        for names, listed in zip(shown, SECTIONS.values(), strict=True):
            assert names == [each for each in listed if each in names]
        known |= options | {"--help"}
    assert known == set().union(*SECTIONS.values()), "a name in the table is of no option"


def test_sections_align() -> None:
    """The help of all options begins in the same column, but where an option is too long for it."""
    starts = re.findall(r"^  -.*?\S(?=  )  +", onnxrich("run", "--help").stdout, re.MULTILINE)
    assert len(starts) > 30 and len(set(map(len, starts))) == 1


def test_summaries() -> None:
    """The list of commands gives each a whole sentence."""
    listed = onnxrich("--help").stdout.split("Commands:\n")[1]
    for name in cli.commands:
        assert re.search(rf"^  {name} +[A-Z].+\.$", listed, re.MULTILINE), listed
    assert "..." not in listed


def test_version() -> None:
    """`--version` is the package's."""
    assert onnxrich("--version").stdout == f"onnxrich, version {__version__}\n"
