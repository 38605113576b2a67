"""Cycle model: what the sequencer will take, exactly."""

from dataclasses import dataclass

from evenstep.spec.geometry import Geometry
from evenstep.spec.program import HEADER_WORDS, LayerDescriptor

__all__ = ["END_CYCLES", "LayerCycles", "layer_cycles"]

#: Cycles that a run takes beside its layers: the word that ends the program, and its way through the memory.
END_CYCLES = 2
# Cycles from a tile's last step, at the memories' outputs, to its sums in the drain registers; and through the drain.
_ARRAY = 2
_DRAIN = 2


@dataclass(frozen=True)
class LayerCycles:
    """Cycles of one layer.

    Parameters
    ----------
    total : int
        From one descriptor to the next.
    steps : int
        Cycles in which the array takes a step.
    stalls : int
        Cycles in which a finished tile waits for the one before to leave.
    useful : float
        Share of `total` in which lanes count, weighted by the share of lanes that hold data.
    """

    total: int
    steps: int
    stalls: int
    useful: float


def layer_cycles(layer: LayerDescriptor, geometry: Geometry, *, macs: int) -> LayerCycles:
    """Exact cycles of a layer; `macs` counts its multiply-accumulates, digit by digit."""
    g = geometry
    fetch = 1 + HEADER_WORDS + 2 * len(layer.passes) + 1
    # A tile leaves in C cycles; the next may end no sooner than that.
    stalls = (layer.tiles - 1) * max(0, g.columns - layer.steps)
    steps = layer.tiles * layer.steps
    # From the last step on: memory, counter, accumulator; then the columns leave one by one.
    valid_columns = layer.outputs - (layer.tiles - 1) * g.columns
    drained = _ARRAY + g.columns
    result = _ARRAY + valid_columns + _DRAIN + _combiner_latency(g)
    if layer.raw:
        written = result
    else:
        code = result + _threshold_latency(g)
        # A partial last word waits until the full one before it has left.
        last = layer.outputs - 1
        full = layer.outputs // g.lanes * g.lanes - 1
        tiles_between = last // g.columns - full // g.columns
        between = tiles_between * max(g.columns, layer.steps) + last % g.columns - full % g.columns
        wait = max(0, layer.digits - between) if 0 <= full < last else 0
        written = code + wait + layer.digits
    total = fetch + steps + stalls + max(drained, written) + 1
    return LayerCycles(total, steps, stalls, macs / (total * g.rows * g.columns * g.lanes))


def _combiner_latency(geometry: Geometry) -> int:
    return (6 if geometry.rescale else 3) if geometry.combines else 0


def _threshold_latency(geometry: Geometry) -> int:
    return 2 if geometry.threshold_style == "bank" else geometry.output_bits + 1
