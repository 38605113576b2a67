"""Operations: what an engine does for the layers of a network, several of which may be done in one go.

An operation begins with a layer of weights, a maximum or a copy of codes, or a scan of wide numbers that an earlier one
kept. Values then pass a rescaling, a second one with a knee, the sum with a shortcut, where they may be kept, and
thresholds; each where the network has it. What does not come in this order begins an operation of its own.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from evenstep.compiler.concat import Copy, Shared, plan_concats
from evenstep.spec.concat import Concat
from evenstep.spec.conv import Conv
from evenstep.spec.encoding import Encoding
from evenstep.spec.geometry import Geometry
from evenstep.spec.layer import Dense
from evenstep.spec.network import Layer, Network
from evenstep.spec.pool import MaxPool, SumPool
from evenstep.spec.tensor import TensorType
from evenstep.spec.thresholds import Thresholds
from evenstep.spec.wide import Add, MultiThreshold, Rescale

__all__ = ["Operation", "Scan", "engine_operations", "layer_of_ones", "same_codes"]


@dataclass(frozen=True)
class Scan:
    """Wide numbers one after the other, or the largest or the sum of each window.

    Parameters
    ----------
    name : str
        What messages call it.
    pool : MaxPool, SumPool or None
        The windows.
    """

    name: str
    pool: MaxPool | SumPool | None = None


@dataclass(frozen=True)
class Operation:
    """Something that the engine does in one go.

    Parameters
    ----------
    name : str
        Of the network's layer whose integers it gives in the end.
    layer : Dense, Conv, MaxPool, Copy or Scan
        What it computes. A layer of weights has no thresholds of its own.
    source : str
        Whose integers it takes.
    rescale : Rescale or None
        Line that the sums of a layer of weights go along.
    bend : Rescale or None
        What the shortcut, if there is one, or else the values are rescaled with.
    shortcut : str or None
        Whose wide numbers are added.
    add : Add or None
        What adds them.
    kept : str or None
        Of the network's layer whose integers are kept as wide numbers.
    thresholds : Thresholds or None
        What makes codes of the values.
    limits : tuple of int
        Smallest and largest value that is thresholded.
    """

    name: str
    layer: Dense | Conv | MaxPool | Copy | Scan
    source: str
    rescale: Rescale | None = None
    bend: Rescale | None = None
    shortcut: str | None = None
    add: Add | None = None
    kept: str | None = None
    thresholds: Thresholds | None = None
    limits: tuple[int, int] = (0, 0)

    @property
    def bend_source(self) -> str:
        """Whose integers `bend` rescales."""
        if self.shortcut is not None or isinstance(self.layer, Scan):
            return self.shortcut or self.source
        if self.rescale is not None:
            return self.rescale.name
        # A layer of ones that stands for the rescaling of codes has no integers of its own.
        return self.source if self.bend is not None and self.layer.name == self.bend.name else self.layer.name

    def step(self, types: Mapping[str, TensorType]) -> int | None:
        """Lines that its window moves down by; None if it never does. `types` as those of `engine_operations`."""
        shape = types[self.source].shape
        window = self.layer.pool if isinstance(self.layer, Scan) else self.layer
        if isinstance(window, Dense):
            return None
        if window is None or isinstance(window, Copy):
            return 1 if len(shape) == 3 and shape[1] > 1 else None
        return window.stride[0] if window.output_shape(shape)[1] > 1 else None

    @property
    def coded(self) -> bool:
        """Whether it gives codes."""
        return self.thresholds is not None or isinstance(self.layer, MaxPool | Copy)


def engine_operations(
    network: Network, geometry: Geometry
) -> tuple[list[Operation], dict[str, TensorType], list[Shared]]:
    """Operations of `network`, in an order in which they can run; types of all their integers; and what they share.

    Sums over windows of codes, and codes that are thresholded, rescaled or added, are convolutions with weights of 1.
    What such a convolution gives as numbers, where the network has but the codes, has a name and a type of its own.

    Raises
    ------
    ValueError
        There is no operation for a layer; the message names it, and the parameter that would mend it if one would.
    """
    builder = _Builder(network, geometry)
    for layer in network.layers:
        builder.add(layer)
    return builder.finish()


class _Builder:
    """Operations that grow layer by layer.

    The integers of a layer are codes in memory, wide numbers in memory, values on their way through an operation that
    can still take them further, or wide numbers to be rescaled when they are wanted.
    """

    def __init__(self, network: Network, geometry: Geometry) -> None:
        self._network, self._geometry = network, geometry
        self._types = network.types()
        self._shared = plan_concats(network, self._types)
        self._takers = Counter(source for layer in network.layers for source in network.sources(layer))
        self._operations: dict[str, Operation] = {}  # by the name of the layer whose values they hold last
        self._kept: set[str] = set()
        self._lines: dict[str, tuple[str, Rescale]] = {}  # wide numbers, and what is still to be done with them

    def add(self, layer: Layer) -> None:
        """Take a layer into an operation."""
        sources = self._network.sources(layer)
        source = sources[0]
        match layer:
            case Dense() | Conv():
                sums = replace(layer, thresholds=None)
                kind = sums.infer(self._types[source])
                self._begin(Operation(layer.name, sums, source, thresholds=layer.thresholds, limits=_limits(kind)))
            case Add():
                self._add(layer, sources)
            case Concat():
                self._concat(layer, sources)
            case MaxPool() | SumPool():
                self._pool(layer, source)
            case Rescale():
                self._rescale(layer, source)
            case MultiThreshold():
                self._threshold(layer, source)

    def finish(self) -> tuple[list[Operation], dict[str, TensorType], list[Shared]]:
        """All operations, types, and what they share; `ValueError` where values of one end nowhere."""
        end = self._network.layers[-1].name
        if end in self._lines:
            source, line = self._lines.pop(end)
            self._begin(Operation(end, Scan(end), source, bend=line))
        *inner, last = self._operations.values()
        assert end == last.name or any(end in one.concats and last.name in one.parts for one in self._shared)
        for operation in inner:
            if not operation.coded and operation.kept is None:
                raise ValueError(f"{operation.name} must be thresholded by the layer after it, or rescaled and kept")
        if not last.coded and last.kept is None:
            shape = self._types[last.name].shape
            if len(shape) == 3 and shape[1:] != (1, 1):
                raise ValueError(
                    f"{last.name} must be thresholded: no engine keeps the sums of {shape[1]} x {shape[2]} places"
                )
        for operation in self._operations.values():
            _check_operation(operation, self._types, self._geometry)
        return list(self._operations.values()), self._types, self._shared

    def _begin(self, operation: Operation) -> None:
        self._operations[operation.name] = operation

    def _extend(self, source: str, name: str, **changes: object) -> None:
        """Take the operation whose values are those of `source` further, to those of the layer `name`."""
        self._operations = {
            (name if key == source else key): (replace(one, name=name, **changes) if key == source else one)  # type: ignore[arg-type]
            for key, one in self._operations.items()
        }

    def _is_codes(self, name: str) -> bool:
        one = self._operations.get(name)
        return name not in self._lines and name not in self._kept and (one is None or one.coded)

    def _passing(self, name: str) -> Operation | None:
        """The operation whose values, which nobody else takes, are those of a layer."""
        one = self._operations.get(name)
        alone = one is not None and not one.coded and self._takers[name] == 1
        return one if alone and one is not None and one.kept is None else None

    def _keep(self, name: str) -> None:
        """Have the integers of a layer in memory, as wide numbers."""
        if name in self._kept:
            return
        if name in self._lines:
            source, line = self._lines.pop(name)
            self._begin(Operation(name, Scan(name), source, bend=line))
        g, kind = self._geometry, self._types[name]
        if not g.wide_depth:
            raise ValueError(
                f"{name} must be thresholded by the layer after it, or end the network: this engine keeps no sums; "
                "generate it with --convolution --rescale --wide-depth N"
            )
        bits = max(-kind.low - 1, kind.high).bit_length() + 1
        if bits > g.wide_bits:
            raise ValueError(
                f"{name} has numbers of {bits} bits, wider than the {g.wide_bits} that the engine keeps: "
                f"generate it with --wide-bits {bits}"
            )
        self._operations[name] = replace(self._operations[name], kept=name)
        self._kept.add(name)

    def _pool(self, layer: MaxPool | SumPool, source: str) -> None:
        if self._is_codes(source):
            if isinstance(layer, SumPool):
                ones = layer_of_ones(layer.name, self._types[source], layer.kernel, layer.stride)
                self._begin(Operation(layer.name, ones, source))
            elif self._types[source].high.bit_length() > self._geometry.act_bits and self._geometry.wide_depth:
                self._pool_wide_codes(layer, source)
            else:
                self._begin(Operation(layer.name, layer, source))
            return
        if source in self._lines:
            kept, line = self._lines[source]
            self._begin(Operation(layer.name, Scan(layer.name, layer), kept, bend=line))
            return
        self._keep(source)
        self._begin(Operation(layer.name, Scan(layer.name, layer), source))

    def _pool_wide_codes(self, layer: MaxPool, source: str) -> None:
        """Take the largest of codes of several digits as numbers, and make codes of that."""
        numbers, kind = self._numbers(source), self._types[source]
        self._keep(numbers)
        scan = Scan(layer.name, layer)
        self._begin(Operation(layer.name, scan, numbers, thresholds=same_codes(kind), limits=_limits(kind)))

    def _numbers(self, source: str) -> str:
        """Begin an operation that gives codes as numbers; the name of these."""
        name = f"{source} as numbers"
        while name in self._types:
            name += " again"
        self._types[name], self._takers[name] = self._types[source], 1
        self._begin(Operation(name, layer_of_ones(name, self._types[source]), source))
        return name

    def _rescale(self, layer: Rescale, source: str) -> None:
        if self._is_codes(source):
            rescale, bend = (layer, None) if layer.knee is None else (None, layer)
            self._begin(
                Operation(
                    layer.name, layer_of_ones(layer.name, self._types[source]), source, rescale=rescale, bend=bend
                ),
            )
            return
        one = self._passing(source)
        weighted = one is not None and isinstance(one.layer, Dense | Conv) and one.bend is None and one.add is None
        if one is not None and weighted and layer.knee is None and one.rescale is None:
            self._extend(source, layer.name, rescale=layer)
        elif weighted:
            self._extend(source, layer.name, bend=layer)
        else:
            self._keep(source)
            self._lines[layer.name] = source, layer

    def _add(self, layer: Add, sources: tuple[str, ...]) -> None:
        sources = tuple(self._numbers(source) if self._is_codes(source) else source for source in sources)
        order = list(self._operations)
        hosts = [
            source
            for source in sources
            if (one := self._passing(source)) is not None
            and isinstance(one.layer, Dense | Conv)
            and one.bend is None
            and one.add is None
        ]
        if not hosts:
            raise ValueError(
                f"{layer.name} must add to the sums of a layer of weights, which none of its sources gives"
            )
        host = max(hosts, key=order.index)
        other = sources[1 - sources.index(host)]
        if other in self._lines and self._takers[other] == 1:
            shortcut, bend = self._lines.pop(other)
        else:
            self._keep(other)
            shortcut, bend = other, None
        # What it waits for may have come after it, and nothing yet waits for it: it becomes the last.
        self._operations[host] = self._operations.pop(host)
        self._extend(host, layer.name, shortcut=shortcut, bend=bend, add=layer)

    def _concat(self, layer: Concat, sources: tuple[str, ...]) -> None:
        for source in sources:
            if not self._is_codes(source):
                raise ValueError(f"{layer.name} must join codes, which {source} does not give: threshold it before")
        shared = next(one for one in self._shared if layer.name in one.concats)
        first, end = shared.concats[layer.name]
        for part in shared.parts[first:end]:
            if part in shared.copies and part not in self._types:
                source = shared.copies[part]
                self._types[part] = self._types[source]
                self._begin(Operation(part, Copy(layer.name), source))

    def _threshold(self, layer: MultiThreshold, source: str) -> None:
        name, limits = layer.name, _limits(self._types[source])
        if self._is_codes(source):
            one = Operation(name, layer_of_ones(name, self._types[source]), source)
        elif source in self._lines:
            kept, line = self._lines[source]
            one = Operation(name, Scan(name), kept, bend=line)
        else:
            if self._takers[source] > 1:
                self._keep(source)
            if source in self._operations:
                self._extend(source, name, thresholds=layer.thresholds, limits=limits)
                return
            one = Operation(name, Scan(name), source)
        self._begin(replace(one, thresholds=layer.thresholds, limits=limits))


def layer_of_ones(
    name: str, kind: TensorType, kernel: tuple[int, int] = (1, 1), stride: tuple[int, int] = (1, 1)
) -> Conv | Dense:
    """The layer of weights of 1 that gives the sums of windows of codes of a type."""
    channels, bits = kind.channels, kind.high.bit_length()
    ones = Encoding("unsigned", 1)
    if len(kind.shape) == 1:
        return Dense(name, np.eye(channels, dtype=np.int64), ones, bits, None)
    weights = np.ones((channels, 1, *kernel), np.int64)
    return Conv(name, weights, ones, bits, None, stride=stride, groups=channels)


def same_codes(kind: TensorType) -> Thresholds:
    """Thresholds that give codes of a type back from the numbers that they are."""
    return Thresholds(np.tile(np.arange(1, kind.high + 1), (kind.channels, 1)))


def _limits(kind: TensorType) -> tuple[int, int]:
    return kind.low, kind.high


def _check_operation(operation: Operation, types: dict[str, TensorType], g: Geometry) -> None:
    layer, source = operation.layer, types[operation.source]
    if isinstance(layer, Copy) and not g.convolution:
        raise ValueError(
            f"{layer.name} joins {operation.source}, which must be copied as it is the network's input or is joined "
            "more than once, and this engine cannot copy: generate it with --convolution"
        )
    if not isinstance(layer, Dense) and not g.convolution:
        raise ValueError(
            f"{operation.name} must be a fully connected layer on this engine, not one on pictures: "
            "generate it with --convolution"
        )
    if isinstance(layer, MaxPool) and (bits := source.high.bit_length()) > g.act_bits:
        raise ValueError(
            f"{layer.name} takes the largest of {bits}-bit codes, wider than a lane's {g.act_bits}: "
            f"generate it with --act-bits {bits}"
        )
    if operation.bend is not None and not g.wide_depth:
        raise ValueError(
            f"{operation.bend.name} rescales values about a knee, which this engine cannot: "
            "generate it with --convolution --rescale --wide-depth N"
        )
