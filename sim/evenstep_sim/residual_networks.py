"""Random networks with shortcuts: data for benches of engines that keep wide numbers."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from evenstep.spec import (
    Add,
    Concat,
    Conv,
    Geometry,
    Layer,
    Line,
    MaxPool,
    MultiThreshold,
    Network,
    Rescale,
    SumPool,
    TensorType,
    Thresholds,
)
from evenstep.spec.geometry import FACTOR_BITS

__all__ = ["random_rescale", "random_residual_network"]

_MAX_SHIFT = 48

#: Makes a convolution with thresholds on pictures of a shape, with codes of so many bits in and out.
ConvMaker = Callable[[str, tuple[int, ...], int, int], Conv]


def random_residual_network(
    g: Geometry, rng: np.random.Generator, count: int, size: int, *, conv: ConvMaker, last: Callable[..., list[Layer]]
) -> Network:
    """Convolutions whose sums are rescaled, added to those of others, kept, pooled, thresholded, joined in any order.

    Parameters
    ----------
    g, rng
        Engine to run it, and what draws it.
    count, size : int
        Layers of weights, about, and largest picture.
    conv : callable
        Makes a convolution.
    last : callable
        Makes the layers that end the network, of a shape and a number of bits.
    """
    builder = _Builder(g, rng, conv)
    input_bits = int(rng.integers(1, 9))
    shape = (int(rng.integers(1, g.lanes + 3)), *(int(one) for one in rng.integers(1, size + 1, 2)))
    wide = [builder.wide_conv("input", TensorType.codes(shape, input_bits))]
    for _ in range(count):
        name = wide[int(rng.integers(len(wide)))]
        match rng.integers(7):
            case 6:
                wide.append(builder.wide_conv(*builder.concat(name, wide)))
            case 0:
                wide.append(builder.pool(name))
            case 1:
                wide.append(builder.rescale(name))
            case 2:
                wide.append(builder.wide_conv(*builder.codes(name)))
            case 3:
                wide.append(builder.wide_conv(*builder.largest(*builder.codes(name))))
            case _:
                wide.append(builder.block(name, wide))
    return builder.finish(wide[-1], last, input_bits, shape)


class _Builder:
    """Layers that grow, and the type of what each gives."""

    def __init__(self, g: Geometry, rng: np.random.Generator, conv: ConvMaker) -> None:
        self._g, self._rng, self._conv = g, rng, conv
        self._layers: list[Layer] = []
        self._types: dict[str, TensorType] = {}

    def _append(self, layer: Layer, *sources: TensorType) -> str:
        self._types[layer.name] = layer.infer(*sources)  # type: ignore[call-arg]
        self._layers.append(layer)
        return layer.name

    def _name(self, kind: str) -> str:
        return f"{kind}{len(self._layers)}"

    def codes(self, name: str, *, bits: int = 0) -> tuple[str, TensorType]:
        """Codes of wide numbers, and their type."""
        bits, kind = bits or int(self._rng.integers(1, self._g.output_bits + 1)), self._types[name]
        values = self._rng.integers(kind.low // 2, kind.high // 2 + 2, (kind.channels, 2**bits - 1))
        thresholds = Thresholds(np.sort(values, axis=1), self._rng.random(kind.channels) < 0.3)
        made = self._append(MultiThreshold(self._name("act"), thresholds, (name,)), kind)
        return made, self._types[made]

    def wide_conv(self, source: str, kind: TensorType, *, outputs: int = 0) -> str:
        """Sums of a convolution of codes, as wide numbers. With `outputs`: of 1 x 1, with no knee, as joins take it."""
        conv = self._conv(self._name("conv"), kind.shape, kind.high.bit_length(), 1)
        if outputs:
            codes = conv.codes.reshape(-1)
            conv = replace(
                conv,
                codes=np.resize(codes, (outputs, kind.channels, 1, 1)),
                thresholds=None,
                stride=(1, 1),
                padding=(0, 0, 0, 0),
                dilation=(1, 1),
                groups=1,
            )
        sums = self._append(replace(conv, thresholds=None, sources=(source,)), kind)
        return self.rescale(sums, bent=not outputs)

    def rescale(self, name: str, *, bent: bool = True) -> str:
        """Integers as wide numbers, about a knee or, as may be where `bent`, not."""
        bits, kind = int(self._rng.integers(3, self._g.wide_bits + 1)), self._types[name]
        layer = random_rescale(
            self._name("wide"), kind, self._rng, bits=bits, knee=bent and bool(self._rng.integers(2))
        )
        return self._append(replace(layer, sources=(name,)), kind)

    def pool(self, name: str) -> str:
        """Largest of windows of wide numbers, or their sums, rescaled to be no wider."""
        rng, shape = self._rng, self._types[name].shape
        kernel = tuple(int(rng.integers(1, min(4, size) + 1)) for size in shape[1:])
        stride = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        if rng.integers(2):
            padding = (*(int(rng.integers(one)) for one in kernel), 0, 0)
            layer: Layer = MaxPool(self._name("pool"), kernel, stride, (name,), padding)  # type: ignore[arg-type]
            return self._append(layer, self._types[name])
        narrow = self._g.wide_bits - math.prod(kernel).bit_length()
        if narrow < 2:
            return self.rescale(name)
        kind = self._types[name]
        before = random_rescale(self._name("small"), kind, rng, bits=narrow, knee=bool(rng.integers(2)))
        before = self._append(replace(before, sources=(name,)), kind)
        return self._append(SumPool(self._name("sums"), kernel, stride, (before,)), self._types[before])  # type: ignore[arg-type]

    def largest(self, source: str, kind: TensorType) -> tuple[str, TensorType]:
        """Largest of windows of codes, which may be wider than a lane."""
        kernel = tuple(int(self._rng.integers(1, min(3, size) + 1)) for size in kind.shape[1:])
        made = self._append(MaxPool(self._name("most"), kernel, (1, 2), (source,)), kind)  # type: ignore[arg-type]
        return made, self._types[made]

    def block(self, name: str, wide: list[str]) -> str:
        """Sums of a convolution and a shortcut: older numbers of its shape, codes of them, or another convolution's."""
        rng, shape = self._rng, self._types[name].shape
        alike = [one for one in wide if self._types[one].shape == shape]
        shortcut = alike[int(rng.integers(len(alike)))]
        branch = self.wide_conv(*self.codes(name), outputs=shape[0])
        match rng.integers(4):
            case 0:
                shortcut = self.rescale(shortcut)
            case 1:
                shortcut = self.wide_conv(*self.codes(shortcut), outputs=shape[0])
            case 2:
                shortcut, _ = self.codes(shortcut)
        sources = (branch, shortcut) if rng.integers(2) else (shortcut, branch)
        bits = int(rng.integers(3, self._g.wide_bits + 1))
        return self._append(Add(self._name("join"), bits, sources), *(self._types[one] for one in sources))

    def concat(self, name: str, wide: list[str]) -> tuple[str, TensorType]:
        """Codes of numbers and of others of their size, joined; some twice."""
        rng, size = self._rng, self._types[name].shape[1:]
        alike = [one for one in wide if self._types[one].shape[1:] == size]
        bits = int(rng.integers(1, self._g.output_bits + 1))
        codes = [self.codes(one, bits=bits)[0] for one in (name, *rng.choice(alike, int(rng.integers(3))))]
        sources = (*codes, str(rng.choice(codes))) if len(codes) == 1 or rng.random() < 0.3 else tuple(codes)
        made = self._append(Concat(self._name("joined"), sources), *(self._types[one] for one in sources))
        return made, self._types[made]

    def finish(self, name: str, last: Callable[..., list[Layer]], input_bits: int, shape: tuple[int, ...]) -> Network:
        """The network; what nobody takes is left out."""
        source, kind = self.codes(name)
        self._layers += last(kind.shape, kind.high.bit_length(), source)
        wanted = {self._layers[-1].name}
        kept: list[Layer] = []
        for number in reversed(range(len(self._layers))):
            layer = self._layers[number]
            if layer.name in wanted:
                wanted.update(layer.sources or (self._layers[number - 1].name,))
                kept.insert(0, layer)
        first, *rest = kept
        return Network((replace(first, sources=()), *rest), input_shape=shape)


def random_rescale(name: str, kind: TensorType, rng: np.random.Generator, *, bits: int, knee: bool) -> Rescale:
    """Rescaling of integers of a type to `bits` bits, about where they lie or beyond."""
    limit = 2 ** int(rng.integers(1, FACTOR_BITS))
    largest = max(-kind.low, kind.high, 1)

    def line() -> Line:
        multiplier = rng.integers(-limit, limit, kind.channels)
        return Line(multiplier, rng.integers(-largest * limit // 4, largest * limit // 4 + 1, kind.channels))

    # Integers are mostly far from their ends: results saturate where the shift leaves some bits too many.
    shift = min(max((largest * limit).bit_length() + 1 - bits - int(rng.integers(-1, 6)), 0), _MAX_SHIFT)
    if not knee:
        return Rescale(name, line(), shift, bits)
    knees = rng.integers(kind.low - 2, kind.high + 4, kind.channels)
    return Rescale(name, line(), shift, bits, knees, line())
