"""Operations: what an engine does for each layer of a network."""

from dataclasses import dataclass, replace

import numpy as np

from evenstep.spec.conv import Conv
from evenstep.spec.encoding import Encoding
from evenstep.spec.geometry import Geometry
from evenstep.spec.layer import Dense, Weighted
from evenstep.spec.network import Layer, Network
from evenstep.spec.pool import MaxPool, SumPool
from evenstep.spec.tensor import TensorType
from evenstep.spec.thresholds import Thresholds
from evenstep.spec.wide import MultiThreshold, Rescale

__all__ = ["Operation", "engine_operations"]


@dataclass(frozen=True)
class Operation:
    """Something that the engine does in one go.

    Parameters
    ----------
    name : str
        Of the network's layer whose integers it gives.
    layer : Dense, Conv or MaxPool
        What it computes.
    source : str
        Whose integers it takes.
    rescale : Rescale or None
        What becomes of the sums of a raw layer.
    """

    name: str
    layer: Dense | Conv | MaxPool
    source: str
    rescale: Rescale | None = None


def engine_operations(network: Network, geometry: Geometry) -> list[Operation]:
    """Operations of `network`, in its order.

    Sums over windows that are thresholded, and codes that are thresholded again, are convolutions with weights of 1.

    Raises
    ------
    ValueError
        There is no operation for a layer; the message names it, and the parameter that would mend it if one would.
    """
    types = network.types()
    operations: list[Operation] = []
    sums: dict[str, SumPool] = {}
    for layer in network.layers:
        sources = network.sources(layer)
        last = layer is network.layers[-1]
        match layer:
            case Dense() | Conv():
                if layer.thresholds is None and not last and not _is_rescaled(network, layer):
                    raise ValueError(f"{layer.name} must be thresholded, or end the network: no engine keeps its sums")
                operations.append(Operation(layer.name, layer, sources[0]))
            case MaxPool():
                operations.append(Operation(layer.name, layer, sources[0]))
            case SumPool() if not last:
                sums[layer.name] = layer
                continue
            case MultiThreshold() if sources[0] in sums:
                pool = sums.pop(sources[0])
                before = network.sources(pool)[0]
                ones = _sum_windows(layer, types[before], pool.kernel, pool.stride)
                operations.append(Operation(layer.name, ones, before))
            case MultiThreshold() if types[sources[0]].low == 0:
                operations.append(Operation(layer.name, _sum_windows(layer, types[sources[0]]), sources[0]))
            case Rescale() if last and _is_rescaled(network, network.layers[-2]):
                operations[-1] = replace(operations[-1], name=layer.name, rescale=layer)
            case _:
                raise ValueError(_refusal(network, layer))
        _check_operation(operations[-1], types, geometry)
    if sums:
        raise ValueError(f"{next(iter(sums))} must be thresholded by the layer after it: no engine keeps its sums")
    return operations


def _is_rescaled(network: Network, layer: Layer) -> bool:
    """Whether `layer` gives the sums that the network's last layer rescales."""
    *_, before, last = network.layers
    if not isinstance(last, Rescale) or layer is not before or network.sources(last) != (layer.name,):
        return False
    return isinstance(layer, Weighted) and layer.thresholds is None


def _refusal(network: Network, layer: Layer) -> str:
    sources = ", ".join(network.sources(layer))
    return f"{layer.name} must be a layer that engines run, not a {type(layer).__name__} on {sources}"


def _check_operation(operation: Operation, types: dict[str, TensorType], g: Geometry) -> None:
    layer, source = operation.layer, types[operation.source]
    if not isinstance(layer, Dense) and not g.convolution:
        raise ValueError(
            f"{operation.name} must be a fully connected layer on this engine, not one on pictures: "
            "generate it with --convolution"
        )
    if isinstance(layer, MaxPool):
        bits = source.high.bit_length()
        if source.low < 0:
            raise ValueError(f"{layer.name} must take the largest of codes, not of sums as those of {operation.source}")
        if bits > g.act_bits:
            raise ValueError(
                f"{layer.name} takes the largest of {bits}-bit codes, wider than a lane's {g.act_bits}: "
                f"generate it with --act-bits {bits}"
            )
    elif layer.thresholds is None and len(shape := layer.output_shape(source.shape)) == 3 and shape[1:] != (1, 1):
        raise ValueError(
            f"{layer.name} must be thresholded: no engine keeps the sums of {shape[1]} x {shape[2]} places"
        )


def _sum_windows(
    layer: MultiThreshold, source: TensorType, kernel: tuple[int, int] = (1, 1), stride: tuple[int, int] = (1, 1)
) -> Conv | Dense:
    """The layer of weights of 1 whose sums `layer` thresholds."""
    channels, bits = source.channels, source.high.bit_length()
    thresholds: Thresholds = layer.thresholds
    ones = Encoding("unsigned", 1)
    if len(source.shape) == 1:
        return Dense(layer.name, np.eye(channels, dtype=np.int64), ones, bits, thresholds)
    weights = np.ones((channels, 1, *kernel), np.int64)
    return Conv(layer.name, weights, ones, bits, thresholds, stride=stride, groups=channels)
