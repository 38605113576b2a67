"""Cycle model: what the sequencer will take, exactly."""

from dataclasses import dataclass

from evenstep.gateware.timing import array_latency, tile_cycles
from evenstep.spec.geometry import Geometry
from evenstep.spec.program import LOAD_WORDS, LayerDescriptor, Opcode

__all__ = ["END_CYCLES", "LayerCycles", "kept_steps", "layer_cycles", "load_descriptor_cycles", "sum_cycles"]

#: Cycles that a run takes beside its layers: the word that ends the program, and its way through the memory.
END_CYCLES = 2
# Cycles through the drain; from the last code of a maximum, at the memories' outputs, to its word; through the joiner.
_DRAIN = 2
_POOL = 2
_JOINER = 7


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
    waits : int
        Cycles in which weights from external memory are waited for.
    useful : float
        Share of `total` in which lanes count, weighted by the share of lanes that hold data.
    filled : float
        Share of the array's columns that have an output.
    """

    total: int
    steps: int
    stalls: int
    waits: int
    useful: float
    filled: float

    @property
    def limit(self) -> str:
        """What most of the lane cycles are lost to that are not `useful`.

        ``"drain"``: tiles wait for the ones before to leave. ``"memory"``: weights are waited for. ``"start"``:
        fetching the layer, and the way of its last sums. ``"columns"`` and ``"lanes"``: outputs or inputs do not fill
        the array. ``"maximum"``: nothing is multiplied. ``"array"``: less than a tenth is lost.
        """
        if self.useful >= 0.9:
            return "array"
        if not self.useful:
            return "maximum"
        busy = self.steps / self.total
        lost = {
            "drain": self.stalls / self.total,
            "memory": self.waits / self.total,
            "start": 1 - (self.steps + self.stalls + self.waits) / self.total,
            "columns": busy * (1 - self.filled),
            "lanes": busy * self.filled - self.useful,
        }
        return max(lost, key=lambda name: lost[name])


def layer_cycles(layer: LayerDescriptor, geometry: Geometry, *, macs: int) -> LayerCycles:
    """Exact cycles of a layer; `macs` counts its multiply-accumulates, digit by digit."""
    g = geometry
    fetch = 1 + layer.header_words + 2 * len(layer.passes) + 1
    tiles = layer.tiles * layer.positions
    steps = tiles * layer.steps
    # Of rows that are neighbours, those whose lines share a bank are written in turns, behind a register.
    turns, keeps = layer.banks.interleave, layer.join is not None and layer.join.kept is not None
    number_turns = layer.join.banks.interleave if layer.join is not None and keeps else 1
    # From a value to its codes: the packer never waits, as a word has at least as many codes as turns.
    stored = _threshold_latency(g) + layer.digits * turns + g.neighbours
    if layer.raw:
        stored = number_turns - 1 + g.neighbours if keeps else 0
    if layer.opcode is Opcode.SCAN:
        total = fetch + steps + 1 + _JOINER + stored + 1
        return LayerCycles(total, steps, 0, 0, 0.0, 1.0)
    if layer.opcode is Opcode.MAXIMUM:
        # From the last step on: memory, maximum. Words may come faster than they are written.
        stalls = (tiles - 1) * max(0, turns - layer.steps)
        total = fetch + steps + stalls + _POOL + turns - 1 + g.neighbours + 1
        return LayerCycles(total, steps, stalls, 0, 0.0, 1.0)
    # The next tile may end no sooner than the one before has left.
    stalls = (tiles - 1) * max(0, tile_cycles(g) - layer.steps)
    # From the last step on, at the memories' outputs: counter, accumulator; then the columns leave one by one, as fast
    # as they are kept.
    leaving = (layer.outputs - (layer.tiles - 1) * g.columns - 1) * number_turns + 1
    array = array_latency(g)
    drained = array + g.columns
    written = array + leaving + _DRAIN + _combiner_latency(g) + (_JOINER if layer.join else 0) + stored
    total = fetch + steps + stalls + max(drained, written) + 1
    useful = macs / (total * g.rows * g.columns * g.lanes)
    return LayerCycles(total, steps, stalls, 0, useful, layer.outputs / (layer.tiles * g.columns))


def kept_steps(geometry: Geometry, interleave: int) -> int:
    """Fewest steps of a tile whose numbers are kept where so many lines share a bank.

    Numbers then leave more slowly than columns do, and all stages before wait with them: the last one must be out
    before the next tile's first enters these.
    """
    if interleave == 1:
        return 0
    return geometry.columns * interleave + _DRAIN + _combiner_latency(geometry) + _JOINER


def load_descriptor_cycles(waits: int) -> LayerCycles:
    """Cycles of a descriptor that begins a load, of which the one before needs another `waits` from its first on."""
    waits = max(0, waits - 1 - LOAD_WORDS)
    return LayerCycles(1 + LOAD_WORDS + waits + 1, 0, 0, waits, 0.0, 0.0)


def sum_cycles(parts: list[LayerCycles], geometry: Geometry, *, macs: int) -> LayerCycles:
    """Cycles of a layer that is done in parts; `macs` counts all of its multiply-accumulates."""
    g = geometry
    total, steps = sum(one.total for one in parts), sum(one.steps for one in parts)
    return LayerCycles(
        total,
        steps,
        sum(one.stalls for one in parts),
        sum(one.waits for one in parts),
        macs / (total * g.rows * g.columns * g.lanes),
        sum(one.filled * one.steps for one in parts) / steps,
    )


def _combiner_latency(geometry: Geometry) -> int:
    return (6 if geometry.rescale else 3) if geometry.combines else 0


def _threshold_latency(geometry: Geometry) -> int:
    return 2 if geometry.threshold_style == "bank" else geometry.output_bits + 1
