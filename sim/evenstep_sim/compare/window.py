"""Where in a run a layer's outputs drain: what to look at in a waveform."""

from evenstep.compiler import Placement, Program
from evenstep.spec.program import Opcode
from evenstep_golden.reference import Mismatch

__all__ = ["drain_window"]


def drain_window(program: Program, place: Mismatch, cycles: int) -> tuple[int, int]:
    """First and last of at most `cycles` cycles of a run in which the layer, channel and pixel of `place` drain.

    They lie about the end of the tile that these belong to. The cycle model says when the layer begins and ends;
    its tiles are taken to be equally long. A run's first cycle is 1.
    """
    before = 0
    for one in program.layers:
        found = next((result for result in (*one.results, *one.joined) if result.name == place.layer), None)
        if found is not None:
            own = place.channel
            if found in one.joined:  # of whose channels it writes the last
                own = one.descriptor.tiles - 1
            elif one.descriptor.opcode == Opcode.WEIGHTED:
                own //= program.geometry.columns
            elif isinstance(found.place, Placement) and one.descriptor.opcode == Opcode.MAXIMUM:
                own = int(found.place.layout.channel_lanes[own]) // program.geometry.lanes
            position = place.pixel[0] * found.shape[-1] + place.pixel[1] if place.pixel else 0
            tiles = one.descriptor.tiles * one.descriptor.positions
            middle = before + one.cycles.total * (position * one.descriptor.tiles + own + 1) // tiles
            first = max(1, min(middle - cycles // 2, program.cycles - cycles + 1))
            return first, min(first + cycles - 1, program.cycles)
        before += one.cycles.total
    raise ValueError(f"Layer must be one of the program's, not {place.layer!r}")
