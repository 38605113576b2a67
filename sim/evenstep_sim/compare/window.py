"""Where in a run a layer's outputs drain: what to look at in a waveform."""

from evenstep.compiler import Program

__all__ = ["drain_window"]


def drain_window(program: Program, layer: str, channel: int, cycles: int) -> tuple[int, int]:
    """First and last of at most `cycles` cycles of a run in which a channel of a layer drains.

    They lie about the end of the tile that the channel belongs to. The cycle model says when the layer begins and ends;
    its tiles are taken to be equally long. A run's first cycle is 1.
    """
    before = 0
    for one in program.layers:
        if one.name == layer:
            columns = program.geometry.columns
            tile, tiles = channel // columns + 1, -(-one.descriptor.outputs // columns)
            middle = before + one.cycles.total * tile // tiles
            first = max(1, min(middle - cycles // 2, program.cycles - cycles + 1))
            return first, min(first + cycles - 1, program.cycles)
        before += one.cycles.total
    raise ValueError(f"Layer must be one of the program's, not {layer!r}")
