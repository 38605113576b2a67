"""What commands take in common: a network, as a file or by the word for one."""

from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

from evenstep.options import NETWORK
from evenstep_golden.sample import network_path


def test_sample_stands_for_the_network_that_comes_with_the_package(tmp_path: Path) -> None:
    assert NETWORK.convert("sample", None, None) == network_path()
    for missing in (tmp_path / "sample", tmp_path):
        with pytest.raises(click.BadParameter, match=rf"'{missing}' (does not exist|is a directory)"):
            NETWORK.convert(str(missing), None, None)


def test_every_command_takes_a_network_in_the_same_way() -> None:
    commands = {entry.name: entry.load() for entry in entry_points(group="evenstep.commands")}
    kinds = {
        name: parameter.type
        for name, command in commands.items()
        for parameter in command.params
        if parameter.name in ("network", "networks")
    }
    assert {"build", "compare", "compile", "demo", "estimate", "evaluate", "explore", "fit"} < kinds.keys()
    assert {name for name, kind in kinds.items() if kind is not NETWORK} == set()
