"""Checks that an engine is large enough; messages name what is too small, by how much, and what would mend it."""

import numpy as np

from evenstep.checks import check_int
from evenstep.compiler.operations import Operation
from evenstep.compiler.weights import LaneWeights
from evenstep.spec.conv import Conv
from evenstep.spec.geometry import MAX_ACCUMULATOR_BITS, Geometry
from evenstep.spec.layer import Dense
from evenstep.spec.program import MAX_PASS_STEPS
from evenstep.spec.window import MAX_KERNEL_WIDTH, MAX_PADDING, MAX_STRIDE, Window

__all__ = ["check_codes", "check_fit", "check_passes", "check_sums", "check_window"]

# What messages call the memory of a depth, and what it counts.
_MEMORIES = {
    "program_depth": ("Program", "words"),
    "weight_depth": ("Weights", "words"),
    "threshold_depth": ("Thresholds", "channels"),
    "result_depth": ("Results", "words"),
    "constant_depth": ("Constants", "channels"),
    "knee_depth": ("Knees", "channels"),
    "act_depth": ("Activations", "words"),
    "wide_depth": ("Wide numbers", "numbers"),
}


def check_fit(parameter: str, needed: int, geometry: Geometry) -> None:
    """Refuse more than the memory of a depth, a parameter of `Geometry`, holds."""
    (what, unit), limit = _MEMORIES[parameter], getattr(geometry, parameter)
    if needed > limit:
        option = parameter.replace("_", "-")
        raise ValueError(
            f"{what} of the network need {needed} {unit}, {needed - limit} more than the engine has: "
            f"generate it with --{option} {needed}"
        )


def check_codes(operation: Operation, g: Geometry) -> None:
    """Refuse codes that are wider than those of the engine."""
    bits = 0 if operation.thresholds is None else operation.thresholds.bits
    if bits > g.output_bits:
        raise ValueError(
            f"{operation.name} has {bits}-bit outputs, wider than the engine's {g.output_bits}: "
            f"generate it with --output-bits {bits}"
        )


def check_passes(name: str, passes: int, g: Geometry) -> None:
    """Refuse more passes of a layer over its inputs than the engine takes."""
    if passes > g.max_passes:
        raise ValueError(
            f"{name} needs {passes} passes, more than the engine's {g.max_passes}: "
            f"generate it with --max-passes {passes}"
        )


def check_window(name: str, window: Window) -> None:
    """Refuse a layer's window that no engine walks."""
    check_int(f"Width of the window of {name}", window.kernel[1], 1, MAX_KERNEL_WIDTH)
    check_int(f"Places in the window of {name}", window.places, 1, MAX_PASS_STEPS)
    for value in window.stride:
        check_int(f"Stride of {name}", value, 1, MAX_STRIDE)
    for value in window.padding:
        check_int(f"Padding of {name}", value, 0, MAX_PADDING)


def check_sums(layer: Dense | Conv, weights: LaneWeights, added: np.ndarray, g: Geometry) -> int:
    """The largest number that an accumulator must hold; refuse what those of the engine cannot.

    `added` is what `evenstep.compiler.weights.added_sums` says of each output.
    """
    low, high = layer.sum_ranges()
    # Thresholds reach one above the largest sum, so that an unreachable one can be told apart.
    result = max(int((high + weights.scale * added).max()) + 2, -int(low.min()))
    largest = weights.largest + int(added.max())
    largest = largest if weights.factors is not None else max(largest, result)
    if largest >= 2**MAX_ACCUMULATOR_BITS:
        raise ValueError(
            f"{layer.name} has sums up to {largest}, too wide for any engine's accumulators, which have at most "
            f"{MAX_ACCUMULATOR_BITS} bits: quantize its weights or its inputs to fewer bits"
        )
    if largest >= 2**g.accumulator_bits:
        raise ValueError(
            f"{layer.name} has sums up to {largest}, too wide for the engine's {g.accumulator_bits}-bit accumulators: "
            f"generate it with --accumulator-bits {largest.bit_length()}"
        )
    if result >= 2 ** (g.result_bits - 1):
        raise ValueError(
            f"{layer.name} has results up to {result}, too wide for the engine's {g.result_bits} bits: "
            "quantize it with smaller constants (constant_bits)"
        )
    return largest
