"""Channels of several layers, one behind the other."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from evenstep.spec.tensor import TensorType

__all__ = ["Concat"]


@dataclass(frozen=True)
class Concat:
    """Codes of several layers, joined along the channels: named as in ONNX. No integer changes.

    Codes are of one width, as what takes them reads all their channels alike. Sums are joined once they are codes: each
    layer has its own thresholds in front.

    Parameters
    ----------
    name : str
        What messages and other layers call the layer.
    sources : tuple of str
        Names of the layers, two or more, in the order of their channels. One may be there several times.

    Raises
    ------
    ValueError
        There are fewer than two sources.
    """

    name: str
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.sources) < 2:
            raise ValueError(f"Sources of {self.name} must be two layers or more, not {self.sources!r}")

    def infer(self, *sources: TensorType) -> TensorType:
        """Type of the result; raises `ValueError` where sizes or widths differ, or one has numbers other than codes."""
        first = sources[0]
        for name, one in zip(self.sources, sources, strict=True):
            bits = one.high.bit_length()
            if not one.high or one != TensorType.codes(one.shape, bits):
                raise ValueError(
                    f"{self.name} must join codes, but {name} gives integers from {one.low} to {one.high}: "
                    "threshold it before"
                )
            if one.shape[1:] != first.shape[1:]:
                raise ValueError(
                    f"{self.name} must join tensors of one height and width, not {first.shape} of {self.sources[0]} "
                    f"and {one.shape} of {name}"
                )
            if one.high != first.high:
                raise ValueError(
                    f"{self.name} must join codes of one width, not {first.high.bit_length()}-bit ones of "
                    f"{self.sources[0]} and {bits}-bit ones of {name}"
                )
        return TensorType((sum(one.channels for one in sources), *first.shape[1:]), first.low, first.high)

    def apply(self, *codes: Any) -> np.ndarray:
        """Joined codes, int64 (positions, channels, ...)."""
        return np.concatenate([np.asarray(one, np.int64) for one in codes], axis=1)
