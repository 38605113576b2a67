"""Weights of a layer as the lanes of an array: codes, zero point, and the factors of its sums."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evenstep.spec.digits import digit_count, split_digits
from evenstep.spec.encoding import Encoding, signed_bits
from evenstep.spec.geometry import Geometry
from evenstep.spec.layer import Dense
from evenstep.spec.piecewise import PiecewiseEncoding
from evenstep.spec.program import PassDescriptor

__all__ = ["LaneWeights", "added_sums", "lane_weights"]


@dataclass(frozen=True)
class LaneWeights:
    """A layer's weights on an array.

    Parameters
    ----------
    lanes : array of int64, shape (digits, outputs, inputs)
        Lane codes of each weight digit, the least significant first.
    doubled : bool
        Whether the first sum counts twice.
    zero : int
        Zero point of the first sum.
    factors : array of int64, shape (outputs, sums), or None
        What the sums are multiplied with; None where the first one is the result.
    largest : int
        Largest number that a sum, or the activation sum, can reach; twice that of a signed one. Without what lanes
        add whatever the activations are, see `added_sums`.
    """

    lanes: np.ndarray
    doubled: bool
    zero: int
    factors: np.ndarray | None
    largest: int

    @property
    def scale(self) -> int:
        """What the first sum is multiplied with."""
        return 2 if self.doubled else 1

    @property
    def digits(self) -> int:
        """Digits of a weight."""
        return len(self.lanes)


def lane_weights(layer: Dense, geometry: Geometry, *, live: int) -> LaneWeights:
    """Weights of `layer` for the array of `geometry`. At most `live` of its inputs are ever other than 0.

    Piecewise linear weights take the array's own way where it has one for them. Else they run as the plain integers
    that they stand for, in as many digits as that takes.

    Raises
    ------
    ValueError
        The array cannot run them; the message names the parameter that would mend it.
    """
    if isinstance(layer.encoding, PiecewiseEncoding):
        return _piecewise(layer, layer.encoding, geometry, live)
    return _plain(layer, layer.encoding, layer.codes, geometry, live)


def _plain(layer: Dense, encoding: Encoding, codes: np.ndarray, g: Geometry, live: int) -> LaneWeights:
    if encoding.kind not in g.encoding_kinds:
        raise ValueError(
            f"{layer.name} has {encoding.kind} weights, which an engine for {g.encoding} ones cannot run: "
            "generate it with --encoding any"
        )
    if encoding.bits > g.max_weight_bits:
        raise ValueError(
            f"{layer.name} has {encoding.bits}-bit weights, wider than the engine's {g.max_weight_bits}: "
            f"generate it with --max-weight-bits {encoding.bits}"
        )
    digits = digit_count(encoding.bits, g.weight_bits)
    added = sum(g.lane.plain_offset << digit * g.weight_bits for digit in range(digits))
    middle = (1 << g.placed_bits(encoding.bits) - 1) - (1 << encoding.bits - 1)
    codes, zero = codes + middle, encoding.zero + encoding.scale * (middle + added)
    lanes = g.lane.plain(split_digits(codes, digits, g.weight_bits))
    positive = codes + added + sum(g.lane.negative(lane) << n * g.weight_bits for n, lane in enumerate(lanes))
    return LaneWeights(lanes, encoding.scale == 2, zero, None, _largest(layer, positive[None], live))


def _piecewise(layer: Dense, encoding: PiecewiseEncoding, g: Geometry, live: int) -> LaneWeights:
    lane = g.lane
    if lane.combines and encoding.breakpoints <= lane.breakpoints and encoding.magnitude_bits <= lane.magnitude_bits:
        lanes = lane.pack(*encoding.unpack(layer.codes))
        constants = np.broadcast_to(encoding.constants, (layer.outputs, encoding.constants.shape[1]))
        # The first sum runs over all regions: an outer one adds what its step has more than the inner step.
        factors = np.zeros((layer.outputs, lane.sums), np.int64)
        factors[:, : constants.shape[1]] = constants
        factors[:, 1 : constants.shape[1] : 2] -= constants[:, :1]
        counted = lane.counted(lanes)
        # Less its zero point, the first sum is a signed number on its way to the combiner, if not yet a result.
        below = layer.max_activation * int(np.maximum(lane.zero - counted[0], 0).sum(axis=1).max())
        return LaneWeights(lanes[None], False, lane.zero, factors, max(_largest(layer, counted, live), below))
    values = layer.weights()
    if lane.decodes:
        levels, codes = lane.levels
        places = np.searchsorted(levels, values).clip(max=len(levels) - 1)
        if np.array_equal(levels[places], values):
            lanes = codes[places]
            return LaneWeights(lanes[None], False, lane.zero, None, _largest(layer, lane.counted(lanes), live))
    bits = max(2, signed_bits(-int(np.abs(values).max()), int(np.abs(values).max())))
    if bits > g.max_weight_bits:
        mends = []
        if encoding.magnitude_bits < 8:
            # No less of either than the engine has, which other layers may need.
            most = max(encoding.breakpoints, g.breakpoints), max(encoding.magnitude_bits + 1, g.weight_bits)
            style = "" if g.piecewise == "sums" else " --piecewise sums"
            mends.append(f"generate it with --breakpoints {most[0]} --weight-bits {most[1]}{style}")
        if bits <= 16:
            mends.append(f"{'' if mends else 'generate it with '}--max-weight-bits {bits}")
        raise ValueError(
            f"{layer.name} has piecewise linear weights of {encoding.breakpoints} breakpoints and "
            f"{encoding.magnitude_bits} magnitude bits, which this engine has no sums for; as plain integers they take "
            f"{bits} bits, more than its {g.max_weight_bits}: " + (" or ".join(mends) or "quantize it to fewer bits")
        )
    plain = Encoding("symmetric", bits)
    return _plain(layer, plain, plain.encode(values), g, live)


def added_sums(weights: LaneWeights, passes: Sequence[PassDescriptor], geometry: Geometry) -> np.ndarray:
    """What the array adds to the sum of each output whatever the activations are, int64 (outputs,).

    A tile's `passes` say how often each of its words is read; a pass that is blank reads its first one in every step.
    """
    g, lanes = geometry, weights.lanes
    # (digits, outputs, inputs) -> (outputs, words)
    words = g.lane.added(lanes, g.act_bits).reshape(*lanes.shape[:2], -1, g.lanes).sum(axis=3)
    words = words.transpose(1, 0, 2).reshape(lanes.shape[1], -1)
    total = np.zeros(lanes.shape[1], np.int64)
    for one in passes:
        total <<= g.digit_step if one.shift else 0
        end = one.weight_offset + (1 if one.blank else one.steps)
        total += words[:, one.weight_offset : end].sum(axis=1) * (one.steps if one.blank else 1)
    return total


def _largest(layer: Dense, counted: np.ndarray, live: int) -> int:
    """Largest number that any sum can reach, given what each counts, shape (sums, outputs, inputs)."""
    first = max(int(counted[0].sum(axis=1).max()), live)
    signed = np.maximum(np.maximum(counted[1:], 0).sum(axis=2), np.maximum(-counted[1:], 0).sum(axis=2))
    return layer.max_activation * max(first, 2 * int(signed.max(initial=0)))
