"""Options that several commands have."""

import math

import click

__all__ = ["MEGAHERTZ"]


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


MEGAHERTZ = _Megahertz()
