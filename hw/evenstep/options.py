"""Arguments and options that several commands have, and those that a command was given to no effect."""

import math
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

import click
from click.core import ParameterSource

__all__ = ["MEGAHERTZ", "NETWORK", "given_options", "refuse_options"]


class _Megahertz(click.FloatRange):
    """A clock: a number of MHz, for anything that there are clocks for."""

    name = "MHZ"

    def __init__(self) -> None:
        super().__init__(0.001, 10_000)

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if math.isnan(number):  # which is in no range, nor outside
            self.fail(f"{value!r} is no number of MHz", param, ctx)
        return number


class _NetworkFile(click.Path):
    """A network: a .onnx file, or a word that stands for one which comes with a package, such as ``sample``."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value, param, ctx):
        # Entry points, since what stands at the bottom imports none of the packages that networks come with.
        for entry in entry_points(group="evenstep.networks", name=str(value)):
            value = entry.load()()
        return super().convert(value, param, ctx)


MEGAHERTZ = _Megahertz()
NETWORK = _NetworkFile()


def given_options(names: Iterable[str]) -> list[str]:
    """Those of these parameters that the running command was given, not left to their defaults."""
    context = click.get_current_context()
    return [name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]


def refuse_options(names: Iterable[str], reason: str) -> None:
    """Raise `click.UsageError` if the running command was given one of these parameters, which would have no effect."""
    for name in given_options(names):
        raise click.UsageError(f"--{name.replace('_', '-')} {reason}")
