"""Random networks for property tests."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from evenstep.spec import (
    INPUT,
    Add,
    Concat,
    Conv,
    Dense,
    Encoding,
    Layer,
    Line,
    MaxPool,
    MultiThreshold,
    Network,
    PiecewiseEncoding,
    Rescale,
    SumPool,
    TensorType,
    Thresholds,
)

__all__ = ["encodings", "graph_networks", "networks", "random_network", "whole_network"]


_TWO = Encoding("twos-complement", 2)


@st.composite
def encodings(draw: st.DrawFn, max_bits: int = 8) -> Encoding:
    """Any encoding of at most `max_bits` bits."""
    kind = draw(st.sampled_from(["twos-complement", "symmetric", "odd-level", "affine", "unsigned"]))
    bits = draw(st.integers(2 if kind == "symmetric" else 1, max_bits))
    return Encoding(kind, bits, draw(st.integers(0, 2**bits - 1)) if kind == "affine" else 0)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Up to three small layers of any encodings and widths, with flips and equal thresholds; the last may be raw."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    bits = draw(st.integers(1, 8))
    layers = []
    for number, (inputs, outputs) in enumerate(pairwise(sizes), 1):
        encoding = draw(encodings())
        codes = generator.integers(encoding.min_code, encoding.max_code + 1, (outputs, inputs))
        thresholds = None
        width = draw(st.integers(1, 4))
        if number < len(sizes) - 1 or draw(st.booleans()):
            values = np.sort(generator.integers(-60, 60, (outputs, 2**width - 1)), axis=1)
            thresholds = Thresholds(values, generator.random(outputs) < draw(st.sampled_from([0, 0.5, 1])))
        layers.append(Dense(f"fc{number}", codes, encoding, bits, thresholds))
        bits = width
    labels = tuple(f"klasse {number} é" for number in range(sizes[-1])) if draw(st.booleans()) else ()
    return Network(tuple(layers), labels, draw(st.sampled_from(["network", "x y"])))


@dataclass
class _Builder:
    """Graph of random layers that grows from the input."""

    random: np.random.Generator
    piecewise: bool
    layers: list[Layer] = field(default_factory=list)
    types: dict[str, TensorType] = field(default_factory=dict)

    def chance(self, share: float = 0.5) -> bool:
        return bool(self.random.random() < share)

    def number(self, low: int, high: int) -> int:
        """Integer from `low` to `high`, both inclusive."""
        return int(self.random.integers(low, high + 1))

    def add(self, layer: Any) -> str:
        """Add a layer that names its sources."""
        self.types[layer.name] = layer.infer(*(self.types[source] for source in layer.sources))
        self.layers.append(layer)
        return layer.name

    def thresholds(self, low: int, high: int, channels: int) -> Thresholds:
        bits = self.number(1, 4)
        values = np.sort(self.random.integers(max(low, -(2**22)), min(high, 2**22) + 2, (channels, 2**bits - 1)))
        return Thresholds(values, self.random.random(channels) < self.random.choice([0, 0.5, 1]))

    def weights(self, shape: tuple[int, ...]) -> tuple[np.ndarray, Encoding | PiecewiseEncoding]:
        if self.piecewise and self.chance(0.4):
            rows, breakpoints = (1 if self.chance(0.3) else shape[0]), self.number(1, 3)
            largest = 2 ** self.number(0, 14)
            encoding = PiecewiseEncoding(
                self.number(1, 4), self.random.integers(0, largest + 1, (rows, 2 * breakpoints + 1))
            )
        else:
            kind = str(self.random.choice(["twos-complement", "symmetric", "odd-level", "affine", "unsigned"]))
            bits = self.number(2, 4)
            encoding = Encoding(kind, bits, self.number(0, 2**bits - 1) if kind == "affine" else 0)
        return self.random.integers(encoding.min_code, encoding.max_code + 1, shape), encoding

    def weighted(self, name: str, source: str, *, raw: bool, outputs: int | None = None, same: bool = False) -> str:
        """Add a convolution of a picture, or a fully connected layer where `outputs` are given.

        `same` keeps height and width.
        """
        before = self.types[source]
        bits = before.high.bit_length()
        if outputs is not None:
            codes, encoding = self.weights((outputs, before.size))
            kind, more = Dense, {}
        else:
            kind, (codes, encoding, more) = Conv, self.convolution(before, 2**bits - 1, same=same)
        layer = kind(name, codes, encoding, bits, None, (source,), **more)
        if not raw:
            low, high = layer.sum_ranges()
            thresholds = self.thresholds(int(low.min()), int(high.max()), layer.outputs)
            layer = kind(name, codes, encoding, bits, thresholds, (source,), **more)
        return self.add(layer)

    def convolution(self, before: TensorType, top: int, *, same: bool) -> tuple[np.ndarray, Any, dict[str, Any]]:
        channels, *sizes = before.shape
        groups = int(self.random.choice([groups for groups in (1, 2, channels) if channels % groups == 0]))
        outputs = groups * self.number(1, 2)
        kernel = (3, 3) if same else (self.number(1, min(3, sizes[0])), self.number(1, min(3, sizes[1])))
        codes, encoding = self.weights((outputs, channels // groups, *kernel))
        more: dict[str, Any] = {"groups": groups, "padding_code": self.number(0, top) if self.chance() else 0}
        if same:
            return codes, encoding, more | {"padding": (1, 1, 1, 1)}
        dilation = tuple(
            2 if 2 * (k - 1) < size and self.chance() else 1 for k, size in zip(kernel, sizes, strict=True)
        )
        more["dilation"] = dilation
        more["padding"] = tuple(self.number(0, d * (k - 1)) for k, d in zip(kernel * 2, dilation * 2, strict=True))
        more["stride"] = (self.number(1, 3), self.number(1, 3))
        return codes, encoding, more

    def rescale(self, name: str, source: str, bits: int) -> str:
        before = self.types[source]
        reach = max(1, abs(before.low), abs(before.high))
        shift = self.number(0, 14)

        def line() -> Line:
            top = max(1, 2 ** (bits - 1 + shift) // reach)
            return Line(
                self.random.integers(-top, top + 1, before.channels),
                self.random.integers(-(2 ** (bits + shift - 2)), 2 ** (bits + shift - 2), before.channels),
            )

        if self.chance():
            return self.add(Rescale(name, line(), shift, bits, sources=(source,)))
        knee = self.random.integers(before.low, before.high + 2, before.channels)
        return self.add(Rescale(name, line(), shift, bits, knee, line(), (source,)))

    def activation(self, name: str, source: str) -> str:
        before = self.types[source]
        thresholds = self.thresholds(before.low, before.high, before.channels)
        return self.add(MultiThreshold(name, thresholds, (source,)))

    def residual(self, name: str, source: str) -> str:
        """Block of a branch and a shortcut that are rescaled, added and thresholded."""
        branch, bits = self.weighted(f"{name}_conv", source, raw=True, same=True), self.number(6, 14)
        branch = self.rescale(f"{name}_branch", branch, bits)
        before, channels = self.types[source], self.types[branch].channels
        if channels == before.channels:
            shortcut = self.rescale(f"{name}_shortcut", source, bits)
        else:
            codes, encoding = self.weights((channels, before.channels, 1, 1))
            layer = Conv(f"{name}_project", codes, encoding, before.high.bit_length(), None, (source,))
            shortcut = self.rescale(f"{name}_shortcut", self.add(layer), bits)
        total = self.add(Add(f"{name}_add", bits, (branch, shortcut)))
        return self.activation(f"{name}_relu", total)

    def joined(self, name: str, source: str) -> str:
        """Codes beside the largest of those about them, one of the two twice."""
        largest = self.add(MaxPool(f"{name}_largest", (3, 3), (1, 1), (source,), (1, 1, 1, 1)))
        return self.add(Concat(name, (source, largest, source) if self.chance() else (largest, source)))


def random_network(seed: int, *, piecewise: bool = True) -> Network:
    """Graph of convolutions, pools, a residual block and a fully connected head; every seed gives another one."""
    builder = _Builder(np.random.default_rng(seed), piecewise)
    shape = (builder.number(1, 4), builder.number(3, 7), builder.number(3, 7))
    builder.types[INPUT] = TensorType.codes(shape, builder.number(1, 6))
    end = builder.weighted("stem", INPUT, raw=False)
    if builder.chance():
        sizes = builder.types[end].shape[1:]
        kernel = builder.number(1, min(3, sizes[0])), builder.number(1, min(3, sizes[1]))
        top, left, bottom, right = (builder.number(0, extent - 1) for extent in kernel * 2)
        stride = builder.number(1, 2), builder.number(1, 2)
        end = builder.add(MaxPool("largest", kernel, stride, (end,), (top, left, bottom, right)))
    if builder.chance(0.7):
        end = builder.residual("block", end)
    if builder.chance(0.3):
        end = builder.activation("split_relu", builder.weighted("split", end, raw=True, same=True))
    if builder.chance(0.4):
        end = builder.joined("joined", end)
    if builder.chance():
        sizes = builder.types[end].shape[1:]
        kernel = (builder.number(1, sizes[0]), builder.number(1, sizes[1]))
        end = builder.add(SumPool("average", kernel, (builder.number(1, 2), builder.number(1, 2)), (end,)))
        end = builder.activation("average_relu", end)
    if builder.chance(0.8):
        end = builder.weighted("head", end, raw=builder.chance(), outputs=builder.number(1, 5))
        if builder.types[end].low < 0 and builder.chance():
            builder.rescale("logits", end, 20)
    return Network(tuple(builder.layers), (), "graph", shape)


@st.composite
def graph_networks(draw: st.DrawFn) -> Network:
    """Any of the `random_network` graphs."""
    return random_network(draw(st.integers(0, 2**32 - 1)))


def whole_network() -> Network:
    """Every form that a file may hold, once."""
    generator = np.random.default_rng(5)
    flips = [True, False, True]
    steps = Thresholds(np.sort(generator.integers(-9, 20, (3, 3)), axis=1), flips)
    piecewise = PiecewiseEncoding(2, generator.integers(0, 2**20, (3, 5)))
    shared = PiecewiseEncoding(3, generator.integers(0, 200, (1, 3)))
    line, below = Line(np.array([3, -2, 5]), np.array([9, 0, -7])), Line(np.array([1, 1, 0]), np.array([-70, 80, 0]))
    wide = Thresholds(np.sort(generator.integers(-(2**22), 2**22, (3, 3)), axis=1), flips)
    layers: tuple[Layer, ...] = (
        Conv("stem", generator.integers(0, 4, (3, 2, 3, 3)), _TWO, 3, steps, (), (1, 2), (1, 0, 2, 1), padding_code=5),
        Conv("depthwise", generator.integers(0, 4, (3, 1, 2, 1)), _TWO, 2, None, (), (1, 1), (1, 0, 0, 0), (1, 1), 3),
        Rescale("bent", line, 2, 7, np.array([0, 3, -2]), below),
        Rescale("straight", line, 0, 7, sources=("stem",)),
        Add("join", 6, ("bent", "straight")),
        MaxPool("largest", (2, 2), (1, 1), (), (1, 0, 0, 1)),
        MultiThreshold("relu", steps),
        Conv("pieces", generator.integers(0, 24, (3, 3, 1, 1)), piecewise, 2, wide),
        Conv("more", generator.integers(0, 32, (3, 3, 1, 2)), shared, 2),
        MaxPool("double", (1, 2), (1, 1)),
        MultiThreshold("codes", wide),
        SumPool("sum", (2, 1), (2, 1)),
        Add("twice", 9, ("sum", "sum")),
        MultiThreshold("pooled", steps),
        Concat("joined", ("codes", "codes")),
        SumPool("halves", (2, 1), (2, 1), ("joined",)),
        MultiThreshold("few", Thresholds(np.concatenate([steps.values] * 2))),
        Concat("all", ("pooled", "few", "pooled")),
        Dense("flat", generator.integers(0, 24, (3, 72)), piecewise, 2, wide),
        Dense("head", generator.integers(0, 4, (3, 3)), _TWO, 2),
        MultiThreshold("alone", steps),
    )
    return Network(layers, ("a", "b", "c"), "whole", (2, 5, 9))
