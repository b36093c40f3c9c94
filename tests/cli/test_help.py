"""Help: every command shows examples that parse, and every option says what it does."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from cli._processes import onnxrich

from onnxrich import __version__
from onnxrich.cli import cli

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
    text = (cli.commands[name] if name else cli).help or ""
    examples = [line.split("  ")[0].split(" | ")[0] for line in re.findall(r"^ +onnxrich (.+)$", text, re.MULTILINE)]
    assert examples
    for example in examples:
        command, *arguments = shlex.split(example)
        cli.commands[command].make_context(command, arguments)


def test_summaries() -> None:
    """The list of commands gives each a whole sentence."""
    listed = onnxrich("--help").stdout.split("Commands:\n")[1]
    for name in cli.commands:
        assert re.search(rf"^  {name} +[A-Z].+\.$", listed, re.MULTILINE), listed
    assert "..." not in listed


def test_version() -> None:
    """`--version` is the package's."""
    assert onnxrich("--version").stdout == f"onnxrich, version {__version__}\n"
