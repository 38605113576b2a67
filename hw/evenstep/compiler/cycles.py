"""Cycle model: what the sequencer will take, exactly."""

from dataclasses import dataclass

from evenstep.gateware.timing import (
    array_latency,
    combiner_latency,
    is_pipelined,
    joiner_latency,
    operand_latency,
    read_latency,
    store_latency,
    threshold_interval,
    threshold_latency,
    tile_cycles,
)
from evenstep.spec.geometry import Geometry
from evenstep.spec.program import LOAD_WORDS, LayerDescriptor, Opcode

__all__ = ["LayerCycles", "end_cycles", "layer_cycles", "leaving_steps", "load_descriptor_cycles", "sum_cycles"]

# Cycles through the drain; from the last code of a maximum, at the memories' outputs, to its word.
_DRAIN = 2
_POOL = 2


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


def end_cycles(geometry: Geometry) -> int:
    """Cycles that a run takes beside its layers: the word that ends the program, and its way through the memory."""
    return 1 + read_latency(geometry)


def layer_cycles(layer: LayerDescriptor, geometry: Geometry, *, macs: int) -> LayerCycles:
    """Exact cycles of a layer; `macs` counts its multiply-accumulates, digit by digit."""
    g = geometry
    # The first word's way through the memory, all words, the start; and the first step's way to the array.
    fetch = read_latency(g) + layer.header_words + 2 * len(layer.passes) + 1 + operand_latency(g) - 1
    tiles = layer.tiles * layer.positions
    steps = tiles * layer.steps
    # Of rows that are neighbours, those whose lines share a bank are written in turns, behind a register.
    turns, keeps = layer.banks.interleave, layer.join is not None and layer.join.kept is not None
    interval = layer.join.banks.interleave if layer.join is not None and keeps else 1
    if not layer.raw:
        interval = threshold_interval(g)
    # From a value to its codes: the packer never waits, as a word has at least as many codes as turns.
    stored = threshold_latency(g) + layer.digits * turns + store_latency(g)
    if layer.raw:
        stored = interval - 1 + store_latency(g) if keeps else int(is_pipelined(g))
    if layer.opcode is Opcode.SCAN:
        total = fetch + steps + 1 + joiner_latency(g) + stored + 1
        return LayerCycles(total, steps, 0, 0, 0.0, 1.0)
    if layer.opcode is Opcode.MAXIMUM:
        # From the last step on: memory, maximum. Words may come faster than they are written.
        stalls = (tiles - 1) * max(0, turns - layer.steps)
        total = fetch + steps + stalls + _POOL + turns - 1 + store_latency(g) + 1
        return LayerCycles(total, steps, stalls, 0, 0.0, 1.0)
    # The next tile may end no sooner than the one before has left.
    stalls = (tiles - 1) * max(0, tile_cycles(g) - layer.steps)
    # From the last step on, at the memories' outputs: counter, accumulator; then the columns leave one by one, as fast
    # as they are kept.
    wanted = layer.outputs - (layer.tiles - 1) * g.columns
    array, way = array_latency(g), _way(g, joins=layer.join is not None)
    written = array + (wanted - 1) * interval + 1 + way + stored
    # Once the stages on the way are full, columns wait for them; each skid buffer is one more, of which thresholds have
    # one in front. Columns without an output are dropped, which the ones before still delay while they are in the
    # drain, both of whose stages move at once.
    stages = way + g.combines + (layer.join is not None) + (not layer.raw)
    waiting = min(g.columns, wanted + _DRAIN)
    drained = array + 1 + max(waiting - 1, stages + (waiting - 1 - stages) * interval) + g.columns - waiting
    total = fetch + steps + stalls + max(drained, written) + 1
    useful = macs / (total * g.rows * g.columns * g.lanes)
    return LayerCycles(total, steps, stalls, 0, useful, layer.outputs / (layer.tiles * g.columns))


def leaving_steps(geometry: Geometry, interval: int, *, joins: bool) -> int:
    """Fewest steps of a tile whose results are taken every `interval` cycles, behind the joiner where it `joins`.

    Where that is more slowly than columns leave, all stages before wait: the last result must be out before the next
    tile's first one enters these.
    """
    if interval == 1:
        return 0
    return geometry.columns * interval + _way(geometry, joins=joins)


def load_descriptor_cycles(waits: int, geometry: Geometry) -> LayerCycles:
    """Cycles of a descriptor that begins a load, of which the one before needs another `waits` from its first on."""
    fetch = read_latency(geometry) + LOAD_WORDS
    waits = max(0, waits - fetch)
    return LayerCycles(fetch + waits + 1, 0, 0, waits, 0.0, 0.0)


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


def _way(geometry: Geometry, *, joins: bool) -> int:
    """Cycles, and stages, from the array to where results are taken."""
    return _DRAIN + combiner_latency(geometry) + joiner_latency(geometry) * joins
