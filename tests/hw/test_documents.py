"""Commands that the documents show: each is one that there is, with options that it has."""

import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS: dict[str, click.Command] = {entry.name: entry.load() for entry in entry_points(group="evenstep.commands")}


def shown_commands(text: str) -> list[list[str]]:
    """Words of each command, of blocks and of what stands between backticks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += [" ".join(inside.split()) for inside in re.findall(r"`([^`]+)`", rest)]
    found = [
        re.match(r"\s*(?:\w+=\S+ )?evenstep( .*)?$", line.partition("  #")[0].partition(" # ")[0]) for line in lines
    ]
    return [shlex.split(match[1]) for match in found if match is not None and match[1]]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_have_what_they_are_shown_with(path: Path) -> None:
    for name, *arguments in shown_commands(path.read_text("utf-8")):
        if name in ("COMMAND", "--version", "--help"):
            continue
        assert name in COMMANDS, f"{path.name} shows evenstep {name}"
        context = click.Context(COMMANDS[name], info_name=name)
        shown = [argument for argument in arguments if argument not in ("...", "--help")]
        try:
            COMMANDS[name].make_parser(context).parse_args(shown)
        except click.BadOptionUsage as error:  # an option alone, such as `evenstep demo --port`
            assert "requires an argument" in error.message, f"{path.name}: {error.message}"


def test_commands_are_found() -> None:
    text = "`evenstep fit\nsample` and\n\n```sh\nFOO=1 evenstep train --epochs 1 \\\n    --seed 2  # a while\nls\n```\n"
    assert shown_commands(text) == [["train", "--epochs", "1", "--seed", "2"], ["fit", "sample"]]
    with pytest.raises(click.NoSuchOption):
        COMMANDS["fit"].make_parser(click.Context(COMMANDS["fit"])).parse_args(["sample", "--frame-rate", "1"])
