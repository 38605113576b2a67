"""Schedule: counts the steps of a layer, pass after pass, tile after tile, position after position."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenstep.spec.geometry import Geometry

__all__ = ["Schedule"]


class Schedule(wiring.Component):
    """Says which step of a layer is the next, and what that one is the first or the last of.

    A position has tiles, each of which takes all passes of the layer, a pass one step or more. What the schedule must
    know of a pass comes out of a memory: the record of the next one is read while a pass takes its last step, so that
    passes follow each other without a gap. Comparisons are done a step ahead: with the step that follows, and with what
    is left behind the next pass, tile and position.

    Parameters
    ----------
    geometry : Geometry
        Uses `max_passes`, `weight_depth` and `convolution`.

    Members
    -------
    start : In(1)
        Strobe: a layer begins, its first step in the next cycle. What is said of a layer must stand for two cycles
        before, and until the layer ends.
    passes, tiles, positions : In
        Passes of a tile - 1; tiles of a position; positions of the layer, where there is more than one.
    weight_base, tile_stride : In
        Address of a tile's weights: of the first tile, and the distance to the next.
    single, following : In(1), In(12)
        Of the pass whose record was read: it has one step; the number of those behind the first.
    advance : In(1)
        The step is taken.
    running : Out(1)
        There is a step.
    read, next_pass : Out
        Read port of the passes' memory: which of them, and its enable.
    step : Out(12)
        Of the pass.
    tile_weight, step_weight : Out
        Address of the tile's weights; and behind it by as many words as the step is in its pass.
    pass_begins, pass_ends, tile_begins, tile_ends, last_tile : Out(1)
        It is the first or last step of its pass or tile; its tile is the last of the position.
    """

    start: Signal
    passes: Signal
    tiles: Signal
    positions: Signal
    weight_base: Signal
    tile_stride: Signal
    single: Signal
    following: Signal
    advance: Signal
    running: Signal
    read: Signal
    next_pass: Signal
    step: Signal
    tile_weight: Signal
    step_weight: Signal
    pass_begins: Signal
    pass_ends: Signal
    tile_begins: Signal
    tile_ends: Signal
    last_tile: Signal

    def __init__(self, geometry: Geometry):
        self.geometry = g = geometry
        weight_bits = ceil_log2(g.weight_depth)
        super().__init__(
            {
                "start": In(1),
                "passes": In(8),
                "tiles": In(16),
                **({"positions": In(24)} if g.convolution else {}),
                "weight_base": In(weight_bits),
                "tile_stride": In(weight_bits),
                "single": In(1),
                "following": In(12),
                "advance": In(1),
                "running": Out(1),
                "read": Out(1),
                "next_pass": Out(range(max(2, g.max_passes))),
                "step": Out(12),
                "tile_weight": Out(weight_bits),
                "step_weight": Out(weight_bits),
                "pass_begins": Out(1),
                "pass_ends": Out(1),
                "tile_begins": Out(1),
                "tile_ends": Out(1),
                "last_tile": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # No reset reaches what a layer's start sets; what is out is a wire behind it.
        def held(name: str, shape=1) -> Signal:
            return Signal(shape, name=name, reset_less=True)

        step, pass_begins, last_tile = held("step_here", 12), held("begins"), held("last_tile_here")
        next_step, ended = held("next_step", 12), held("ended")  # the step that is not single is its pass's last
        first_pass, last_pass = held("first_pass"), held("last_pass")
        next_pass = held("next_pass_here", len(self.next_pass))
        next_last_pass, passes_left = held("next_last_pass"), held("passes_left", 8)  # the next one, and behind it
        next_last_tile, tiles_left = held("next_last_tile"), held("tiles_left", 16)  # the next one, and from it on
        tile_weight, next_tile_weight, step_weight = (
            held(name, len(self.tile_weight)) for name in ("tile_weight_here", "next_tile_weight", "step_weight_here")
        )
        one_pass, one_tile = held("one_pass"), held("one_tile")
        m.d.sync += [one_pass.eq(self.passes == 0), one_tile.eq(self.tiles == 1)]
        last_position = self._add_positions(m) if self.geometry.convolution else Const(1, 1)

        m.d.comb += [
            self.next_pass.eq(next_pass),
            self.step.eq(step),
            self.tile_weight.eq(tile_weight),
            self.step_weight.eq(step_weight),
            self.last_tile.eq(last_tile),
            self.pass_begins.eq(pass_begins),
            self.pass_ends.eq(self.single | ended),
            self.tile_begins.eq(first_pass & pass_begins),
            self.tile_ends.eq(last_pass & self.pass_ends),
            self.read.eq(self.start | (self.running & self.advance & self.pass_ends)),
        ]

        # While there is no step, all stands as in front of a layer's first one. What ends with this step is known late,
        # so it decides when registers change, and as little as possible of what they become.
        begins = self.start | self.running
        takes = ~self.running | self.advance
        with m.If(~self.running):
            m.d.sync += self.running.eq(self.start)
        with m.Elif(self.advance & self.tile_ends & last_tile & last_position):
            m.d.sync += self.running.eq(0)
        with m.If(takes):
            goes_on = self.running & ~self.pass_ends
            tile = Mux(self.running & ~self.tile_ends, tile_weight, next_tile_weight)
            m.d.sync += [
                step.eq(Mux(goes_on, next_step, 0)),
                next_step.eq(Mux(goes_on, next_step + 1, 1)),
                pass_begins.eq(~goes_on),
                ended.eq(goes_on & (next_step == self.following)),
                step_weight.eq(Mux(goes_on, step_weight + 1, tile)),
            ]
        with m.If(~self.running | (self.advance & self.pass_ends)):
            follows = begins & ~next_last_pass
            m.d.sync += [
                first_pass.eq(~self.running | last_pass),
                last_pass.eq(next_last_pass),
                next_pass.eq(Mux(follows, next_pass + 1, 0)),
                passes_left.eq(Mux(follows, passes_left - 1, self.passes)),
                next_last_pass.eq(Mux(follows, passes_left == 1, one_pass)),
            ]
        with m.If(~self.running | (self.advance & self.tile_ends)):
            follows = begins & ~next_last_tile
            m.d.sync += [
                tile_weight.eq(next_tile_weight),
                last_tile.eq(next_last_tile),
                next_tile_weight.eq(Mux(follows, next_tile_weight + self.tile_stride, self.weight_base)),
                tiles_left.eq(Mux(follows, tiles_left - 1, self.tiles)),
                next_last_tile.eq(Mux(follows, tiles_left == 2, one_tile)),
            ]
        return m

    def _add_positions(self, m: Module) -> Signal:
        """Count positions; whether this is the last one."""
        left, last = Signal(24, name="positions_left", reset_less=True), Signal(name="last_position", reset_less=True)
        one = Signal(name="one_position", reset_less=True)
        m.d.sync += one.eq(self.positions == 1)
        with m.If(~self.running | (self.advance & self.tile_ends & self.last_tile)):
            m.d.sync += [
                left.eq(Mux(self.running, left - 1, self.positions)),
                last.eq(Mux(self.running, left == 2, one)),
            ]
        return last
