"""The integer network: what files hold, compilers take and every implementation must equal."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from evenstep.spec.concat import Concat
from evenstep.spec.conv import Conv
from evenstep.spec.layer import Dense, Weighted
from evenstep.spec.pool import MaxPool, SumPool
from evenstep.spec.tensor import TensorType
from evenstep.spec.wide import Add, MultiThreshold, Rescale

__all__ = ["INPUT", "Layer", "Network"]

#: Name under which layers refer to the network's input.
INPUT = "input"

Layer: TypeAlias = Dense | Conv | MaxPool | SumPool | Rescale | Add | MultiThreshold | Concat


@dataclass(frozen=True)
class Network:
    """Layers on unsigned input codes, each on the results of earlier ones.

    Parameters
    ----------
    layers : tuple of Dense, Conv, MaxPool, SumPool, Rescale, Add, MultiThreshold or Concat
        In an order in which they can run. The last one's result is the network's.
    labels : tuple of str
        Names of the classes, for people. May be empty.
    name : str
        What messages and files call the network.
    input_shape : tuple of int
        ``(inputs,)`` or ``(channels, height, width)``. Left out: what the first layer takes, if it is a `Dense`.

    Raises
    ------
    ValueError
        The layers do not fit together; the message names the pair.
    """

    layers: tuple[Layer, ...]
    labels: tuple[str, ...] = field(default=())
    name: str = "network"
    input_shape: tuple[int, ...] = ()
    _before: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("Network must have at least one layer, not none")
        # There is one way to say "the layer before", so that equal networks compare equal.
        before = (INPUT, *(layer.name for layer in self.layers[:-1]))
        layers = tuple(
            replace(layer, sources=()) if layer.sources == (name,) else layer
            for layer, name in zip(self.layers, before, strict=True)
        )
        object.__setattr__(self, "layers", layers)
        named = zip(layers[::-1], before[::-1], strict=True)  # of two with one name, `types` sees the first one first
        object.__setattr__(self, "_before", {layer.name: name for layer, name in named})
        first = self.layers[0]
        if not isinstance(first, Weighted):
            raise ValueError(f"Network must begin with a layer of weights, not with {first.name}")
        if not self.input_shape:
            if not isinstance(first, Dense):
                raise ValueError(f"Network must have an input shape where {first.name} takes pictures")
            object.__setattr__(self, "input_shape", (first.inputs,))
        types = self.types()
        used = {source for layer in self.layers for source in self.sources(layer)}
        for layer in self.layers[:-1]:
            if layer.name not in used:
                raise ValueError(f"{layer.name} must be used by a later layer, which it is not")
        channels = types[self.layers[-1].name].channels
        if self.labels and len(self.labels) != channels:
            raise ValueError(f"Labels must be one for each of {channels} outputs, not {len(self.labels)}")

    def sources(self, layer: Layer) -> tuple[str, ...]:
        """Names of the layers that `layer`, one of this network's, takes its integers from, or `INPUT`."""
        return layer.sources or (self._before[layer.name],)

    def types(self) -> dict[str, TensorType]:
        """Type of the input and of every layer's result, by name; raises `ValueError` where two do not fit."""
        first = self.layers[0]
        assert isinstance(first, Weighted)
        types = {INPUT: TensorType.codes(self.input_shape, first.input_bits)}
        for layer in self.layers:
            if layer.name in types:
                raise ValueError(f"Names of layers must differ, which {layer.name!r} does not")
            sources = self.sources(layer)
            for source in sources:
                if source not in types:
                    raise ValueError(f"{layer.name} must come after {source!r}, which it takes its integers from")
            types[layer.name] = self._infer(layer, sources, types)
        return types

    def _infer(self, layer: Layer, sources: tuple[str, ...], types: dict[str, TensorType]) -> TensorType:
        if isinstance(layer, Add | Concat):
            return layer.infer(*(types[source] for source in sources))
        if len(sources) != 1:
            raise ValueError(f"Sources of {layer.name} must be one layer, not {sources!r}")
        before, source = sources[0], types[sources[0]]
        if isinstance(layer, Weighted) and source != TensorType.codes(source.shape, layer.input_bits):
            bits = source.high.bit_length()
            if source.low != 0 or source.high != 2**bits - 1:
                raise ValueError(f"{layer.name} must take codes, but {before} has no thresholds to give any")
            raise ValueError(
                f"{layer.name} must take the {bits}-bit codes of {before}, not {layer.input_bits}-bit ones"
            )
        if isinstance(layer, Dense) and layer.inputs != source.size:
            raise ValueError(f"{layer.name} must take the {source.size} outputs of {before}, not {layer.inputs}")
        try:
            return layer.infer(source)
        except ValueError as error:
            raise ValueError(f"{error} (of {before})") from error

    @property
    def inputs(self) -> int:
        """Number of input codes."""
        return math.prod(self.input_shape)

    @property
    def input_bits(self) -> int:
        """Width of the input codes."""
        first = self.layers[0]
        assert isinstance(first, Weighted)
        return first.input_bits

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        types = self.types()
        return sum(
            layer.macs(types[self.sources(layer)[0]].shape) for layer in self.layers if isinstance(layer, Weighted)
        )

    def boundaries(self, inputs: Any) -> list[np.ndarray]:
        """Integers after every layer, in order.

        Parameters
        ----------
        inputs : array of int, shape (..., inputs) or (..., *input_shape)
            Codes, 0 to 2**input_bits - 1.

        Returns
        -------
        list of int64 arrays, shape (..., channels) or (..., channels, height, width) each
        """
        inputs = np.asarray(inputs)
        for tail in (self.input_shape, (self.inputs,)):
            if inputs.shape[-len(tail) :] == tail:
                leading = inputs.shape[: -len(tail)]
                break
        else:
            raise ValueError(f"Inputs must have shape (..., {self.inputs}), not {inputs.shape}")
        results = {INPUT: inputs.reshape(math.prod(leading), *self.input_shape)}
        for layer in self.layers:
            taken = [results[source] for source in self.sources(layer)]
            if isinstance(layer, Dense):
                taken = [one.reshape(len(one), layer.inputs) for one in taken]
            results[layer.name] = layer.apply(*taken)
        return [results[layer.name].reshape(*leading, *results[layer.name].shape[1:]) for layer in self.layers]
