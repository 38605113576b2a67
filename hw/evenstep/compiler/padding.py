"""Padding: words of the activation memory that places beyond pictures are read from."""

from collections.abc import Mapping

import numpy as np

from evenstep.compiler.layout import Layout
from evenstep.compiler.operations import Operation
from evenstep.spec.conv import Conv
from evenstep.spec.pool import MaxPool
from evenstep.spec.program import MAX_PADDING_OFFSET

__all__ = ["Padding"]


class Padding:
    """Words at the bottom of the activation memory that places beyond pictures are read from; the first is 0.

    Parameters
    ----------
    operations, layouts
        Whose windows; how their activations lie.
    """

    def __init__(self, operations: list[Operation], layouts: Mapping[str, Layout]) -> None:
        self.words = [0]
        self._bases: dict[str, int] = {}
        self._strides: dict[str, int] = {}
        known: dict[tuple[int, Layout], int] = {}
        padded = [one for one in operations if isinstance(one.layer, Conv | MaxPool) and any(one.layer.padding)]
        zeros = [layouts[one.source].pixel_words for one in padded if not _padding_code(one)]
        self.words += [0] * (max(zeros, default=1) - 1)
        for one in padded:
            code, layout = _padding_code(one), layouts[one.source]
            if not code:
                continue
            pixel = layout.pixel
            if pixel.words > MAX_PADDING_OFFSET + 1:
                raise ValueError(
                    f"Padding code of {one.name} must be 0 for as many as {layout.channels} channels, not {code}"
                )
            if (code, pixel) not in known:
                known[code, pixel] = len(self.words)
                (words,) = pixel.pack(np.full(layout.channels, code))
                self.words += words
            self._bases[one.name], self._strides[one.name] = known[code, pixel], pixel.stride

    def base(self, name: str) -> int:
        """First word of an operation's padding."""
        return self._bases.get(name, 0)

    def offset(self, name: str, digit: int) -> int:
        """Words from there to those of a digit."""
        return self._strides.get(name, 0) * digit


def _padding_code(operation: Operation) -> int:
    return operation.layer.padding_code if isinstance(operation.layer, Conv) else 0
