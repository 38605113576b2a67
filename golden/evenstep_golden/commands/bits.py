"""Bits of weights and activations, as commands take them: ``2/2``."""

from typing import Any

import click

__all__ = ["BITS"]


class _Bits(click.ParamType):
    """Two widths from 1 to 8, as in ``2/2``; a single one counts for both."""

    name = "W/A"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Widths of weights and activations."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split("/")
        widths = [int(part) for part in parts if part.isdecimal() and 1 <= int(part) <= 8]
        if len(widths) != len(parts) or len(parts) > 2:
            self.fail(f"must be W/A with widths from 1 to 8, such as 2/2, not {value!r}", param, ctx)
        return widths[0], widths[-1]


BITS = _Bits()
