"""Header decoder: what the words of a descriptor's header say, as they arrive from the program memory."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from evenstep.gateware.join import join_layout
from evenstep.spec.banks import BANK_WORDS
from evenstep.spec.geometry import Geometry
from evenstep.spec.join import JOIN_WORDS
from evenstep.spec.program import HEADER_WORDS
from evenstep.spec.window import WINDOW_WORDS

__all__ = ["HeaderDecoder", "layer_configuration", "load_members"]


def layer_configuration(geometry: Geometry) -> data.StructLayout:
    """Settings of the current layer for drain and write-back; see `evenstep.spec.program.LayerDescriptor`."""
    g = geometry
    channel_bits = ceil_log2(max(g.threshold_depth, g.result_depth))
    act_bits = ceil_log2(g.act_depth)
    constants = {"combined": 1, "rescaled": 1, "shift": 6, "bits": 6, "constant_base": ceil_log2(g.constant_depth)}
    return data.StructLayout(
        {
            "raw": 1,
            "doubled": 1,
            "digits": (g.output_digits).bit_length(),
            "zero": g.zero_bits,
            "outputs": channel_bits + 1,
            "channel_base": channel_bits,
            "output_base": act_bits,
            "digit_stride": act_bits,
            **(constants if g.combines else {}),
            **({"pool": 1, "pixel_skip": 12} if g.convolution else {}),
            **({"line_words": act_bits, "interleave": g.rows.bit_length()} if g.neighbours else {}),
            **({"scan": 1, "join": join_layout(g)} if g.wide_depth else {}),
        }
    )


def load_members(geometry: Geometry) -> dict[str, wiring.Member]:
    """Command of a load of weights: where from, where to, and how many words."""
    return {
        "load_address": Out(32),
        "load_target": Out(ceil_log2(geometry.weight_depth)),
        "load_words": Out(range(geometry.weight_depth + 1)),
    }


def _window_words(geometry: Geometry) -> int:
    """Words of a header about a layer's window, those about banks included."""
    return WINDOW_WORDS * geometry.convolution + BANK_WORDS * geometry.neighbours


class HeaderDecoder(wiring.Component):
    """Keeps what a header says, word by word. The format is that of `evenstep.spec.program.LayerDescriptor`.

    It begins anew behind a word that a descriptor ends with: the program's last, that of a load, or a header's last.

    Parameters
    ----------
    geometry : Geometry
        As that of `evenstep.gateware.sequencer.Sequencer`.

    Members
    -------
    word : In(32)
        A word of the header.
    enable : In(1)
        It is there.
    ends : Out(1)
        In the same cycle: it is the program's last.
    loads : Out(1)
        In the same cycle: it is the last of a load. Only where there is a read port.
    complete : Out(1)
        In the same cycle: it is the header's last.
    window : Out
        In the same cycle: a bit for each word of the window's, set where it is this one. Only for convolutions.
    layer, passes, tiles, weight_base, tile_stride : Out
        What it says of a layer; `passes` is one less than their number.
    load_address, load_target, load_words : Out
        What it says of a load.
    """

    word: Signal
    enable: Signal
    ends: Signal
    loads: Signal
    complete: Signal
    window: Signal
    layer: data.View
    passes: Signal
    tiles: Signal
    weight_base: Signal
    tile_stride: Signal
    load_address: Signal
    load_target: Signal
    load_words: Signal

    def __init__(self, geometry: Geometry):
        self.geometry = g = geometry
        self.words = HEADER_WORDS + _window_words(g) + (JOIN_WORDS + g.neighbours if g.wide_depth else 0)
        weight_bits = ceil_log2(g.weight_depth)
        super().__init__(
            {
                "word": In(32),
                "enable": In(1),
                "ends": Out(1),
                "loads": Out(1),
                "complete": Out(1),
                "window": Out(_window_words(g)),
                "layer": Out(layer_configuration(g)),
                "passes": Out(8),
                "tiles": Out(16),
                "weight_base": Out(weight_bits),
                "tile_stride": Out(weight_bits),
                **(load_members(g) if g.port_bits else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        number = Signal(range(self.words))
        last = Signal()  # it is the header's last
        is_load = Signal(reset_less=True)
        # No reset reaches what a header sets before anybody looks at it.
        names = ["layer", "passes", "tiles", "weight_base", "tile_stride", *(load_members(g) if g.port_bits else [])]
        kept = {name: Signal(self.signature.members[name].shape, name=name, reset_less=True) for name in names}
        m.d.comb += [getattr(self, name).eq(register) for name, register in kept.items()]
        m.d.comb += [
            self.ends.eq(self.enable & (number == 0) & (self.word[:4] == 0)),
            self.loads.eq(self.enable & (number == 3) & is_load),
            self.complete.eq(self.enable & last),
        ]
        with m.If(self.enable):
            m.d.sync += [number.eq(number + 1), last.eq(number == self.words - 2)]
            with m.If(self.ends | self.loads | self.complete):
                m.d.sync += number.eq(0)
            with m.Switch(number):
                self._decode(m, is_load, **kept)
        return m

    def _decode(self, m: Module, is_load: Signal, layer: Any, **kept: Any) -> None:
        """Cases of the switch over words, which set the registers that are given."""
        g = self.geometry
        given = self.word
        with m.Case(0):
            m.d.sync += [layer.raw.eq(given[4]), layer.doubled.eq(given[5]), layer.digits.eq(given[8:12])]
            m.d.sync += kept["passes"].eq(given[16:24])
            if g.combines:
                m.d.sync += [layer.combined.eq(given[6]), layer.rescaled.eq(given[7])]
            if g.convolution:
                m.d.sync += layer.pool.eq(given[1])
            if g.wide_depth:
                m.d.sync += layer.scan.eq(given[2])
            if g.port_bits:
                m.d.sync += is_load.eq(given[3])
        with m.Case(1):
            m.d.sync += layer.zero.eq(given)
            if g.port_bits:
                m.d.sync += kept["load_address"].eq(given)
        with m.Case(2):
            m.d.sync += kept["tiles"].eq(given)
            if g.port_bits:
                m.d.sync += kept["load_target"].eq(given)
            if g.combines:
                m.d.sync += [layer.shift.eq(given[16:22]), layer.bits.eq(given[22:28])]
        with m.Case(3):
            m.d.sync += layer.outputs.eq(given)
            if g.port_bits:
                m.d.sync += kept["load_words"].eq(given)
        with m.Case(4):
            m.d.sync += kept["weight_base"].eq(given)
        with m.Case(5):
            m.d.sync += kept["tile_stride"].eq(given)
        with m.Case(6):
            m.d.sync += layer.channel_base.eq(given[:16])
            if g.combines:
                m.d.sync += layer.constant_base.eq(given[16:])
        with m.Case(7):
            m.d.sync += layer.output_base.eq(given)
        with m.Case(8):
            m.d.sync += layer.digit_stride.eq(given)
            if g.convolution:
                m.d.sync += layer.pixel_skip.eq(given[20:])
        for number in range(_window_words(g)):
            with m.Case(HEADER_WORDS + number):
                m.d.comb += self.window[number].eq(1)
                if number == WINDOW_WORDS + BANK_WORDS - 1:
                    m.d.sync += [layer.line_words.eq(given[:20]), layer.interleave.eq(given[20:])]
        if g.wide_depth:
            self._decode_join(m, layer.join, given)

    def _decode_join(self, m: Module, join: Any, given: Value) -> None:
        """Those of `evenstep.spec.join.Join`."""
        first = HEADER_WORDS + _window_words(self.geometry)
        with m.Case(first):
            fields = (join.shift, join.bits, join.sum_bits, join.joins, join.bends, join.keeps, join.largest)
            m.d.sync += Cat(fields).eq(given)
        with m.Case(first + 1):
            m.d.sync += [join.shortcut.eq(given[:20]), join.read_skip.eq(given[20:])]
        with m.Case(first + 2):
            m.d.sync += [join.kept.eq(given[:20]), join.write_skip.eq(given[20:])]
        with m.Case(first + 3):
            m.d.sync += join.knee_base.eq(given)
        if self.geometry.neighbours:
            with m.Case(first + 4):
                m.d.sync += [join.line_words.eq(given[:20]), join.interleave.eq(given[20:])]
