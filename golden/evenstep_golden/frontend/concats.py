"""Concatenations of codes along their channels."""

import numpy as np
from onnx import NodeProto

from evenstep.spec import Concat
from evenstep_golden.frontend.lowering import Lowering, NoZero, attribute
from evenstep_golden.frontend.value import Floats, Value

__all__ = ["lower_concat"]


def lower_concat(lowering: Lowering, node: NodeProto) -> None:
    """Lower a `Concat` of results.

    Codes are joined as they are. Where their scales differ, they are those of channels: what takes the channels one by
    one, such as another quantizer, knows what to do with them, and a layer of weights does not.
    """
    known = [lowering.quantity(name) for name in node.input]
    if all(isinstance(one, Floats) and one.integral is None for one in known):
        lowering.give(node, known[0])
        return
    if len(known) == 1:
        lowering.give(node, known[0])
        return
    values = [lowering.settled(lowering.value(name)).straightened() for name in node.input]
    first, rank = values[0], len(lowering.shapes[node.input[0]])
    axis = attribute(node, "axis", 0) % rank
    for name, one in zip(node.input, values, strict=True):
        if one.bits is None:
            raise ValueError(f"its input {name!r} must be quantized in front of it, as all of them must, by one scale")
        if any(one.padding):
            raise ValueError("a Pad must be followed by a Conv")
        if one.order is not None or not lowering.is_channel_axis(axis, one):
            raise ValueError(f"it must join channels, before they are flattened, and not along axis {axis}")
        if one.axes != first.axes or one.shape[1:] != first.shape[1:]:
            raise ValueError(f"it must join results of one height and width, not {first.shape} and {one.shape}")
    # A shared quantizer is a node for each of them in the model: all have doubled codes, or none.
    if any(one.quantizer in lowering.doubled for one in values):
        for one in values:
            if one.quantizer and one.quantizer not in lowering.doubled:
                raise NoZero(one.quantizer)
    for name, one in zip(node.input, values, strict=True):
        if one.bits != first.bits:
            raise ValueError(
                f"it must join codes of one width, not {first.bits}-bit ones of {node.input[0]!r} and {one.bits}-bit "
                f"ones of {name!r}: quantize them with one quantizer"
            )
    layer = Concat(node.name, tuple(name for one in values for name in lowering.taken(one)))
    value = Value(
        node.name,
        (sum(one.channels for one in values), *first.shape[1:]),
        _joined([np.broadcast_to(one.unit, (one.channels,)) for one in values]),
        _joined([np.broadcast_to(one.zero, (one.channels,)) for one in values]),
        np.concatenate([one.low for one in values]),
        np.concatenate([one.high for one in values]),
        first.bits,
        first.quantizer,
        axes=first.axes,
    )
    lowering.give(node, lowering.add(layer, node.output[0], value))


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    """One number of each channel, or the one that they share."""
    joined = np.concatenate(arrays)
    return joined[:1] if (joined == joined[0]).all() else joined
