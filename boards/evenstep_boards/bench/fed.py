"""An array with its operands beside it, so that it is measured with the paths that an engine's has."""

from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenstep.gateware.array import PEArray
from evenstep.spec import Geometry

__all__ = ["FedArray"]

_RAM_BITS, _RAM_ADDRESS_BITS = 36, 9


class FedArray(wiring.Component):
    """An array, and block RAMs with the operands of each row and column.

    Everything is read at one address, while the array is ready; all block RAMs are written with the same data.
    """

    address: Signal
    write_address: Signal
    write_data: Signal
    write_enable: Signal
    flags: Signal
    ready: Signal
    o: Any

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.array = PEArray(geometry)
        g = geometry
        self.words = [g.lanes * g.act_bits] * g.rows + [g.lanes * g.weight_bits] * g.columns
        self.rams = sum(-(-width // _RAM_BITS) for width in self.words)
        super().__init__(
            {
                "address": In(_RAM_ADDRESS_BITS),
                "write_address": In(_RAM_ADDRESS_BITS),
                "write_data": In(_RAM_BITS),
                "write_enable": In(self.rams),
                "flags": In(5),
                "ready": Out(1),
                "o": Out(self.array.o.signature),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = array = self.array
        step = array.i.payload
        flags = (array.i.valid, step.last, step.shift, step.count, step.final)
        m.d.comb += [Cat(flags).eq(self.flags), self.ready.eq(array.i.ready)]
        wiring.connect(m, array.o, wiring.flipped(self.o))
        words = []
        number = 0
        for width in self.words:
            word = Signal(-(-width // _RAM_BITS) * _RAM_BITS, name=f"word{len(words)}")
            for low in range(0, len(word), _RAM_BITS):
                m.submodules[f"ram{number}"] = self._ram(number, word[low : low + _RAM_BITS])
                number += 1
            words.append(word[:width])
        rows = self.geometry.rows
        m.d.comb += [step.acts.eq(Cat(words[:rows])), step.weights.eq(Cat(words[rows:]))]
        return m

    def _ram(self, number: int, read: Value) -> Instance:
        """A block RAM of 512 words of 36 bits, read through its output register."""
        clock = ClockSignal("sync")
        wires: dict[str, tuple[str, Any]] = {
            "DI": ("i", self.write_data),
            "ADW": ("i", self.write_address),
            "ADR": ("i", Cat(Const(0, 5), self.address)),
            "BE": ("i", Const(-1, 4)),
            "CSW": ("i", Const(0, 3)),
            "CSR": ("i", Const(0, 3)),
            "DO": ("o", read),
        }
        bits = {f"{way}_{name}{bit}": wire[bit] for name, (way, wire) in wires.items() for bit in range(len(wire))}
        return Instance(
            "PDPW16KD",
            p_DATA_WIDTH_W=_RAM_BITS,
            p_DATA_WIDTH_R=_RAM_BITS,
            p_REGMODE="OUTREG",
            p_RESETMODE="SYNC",
            p_GSR="DISABLED",
            p_CSDECODE_W="0b000",
            p_CSDECODE_R="0b000",
            i_CLKW=clock,
            i_CLKR=clock,
            i_CEW=self.write_enable[number],
            i_CER=self.ready,
            i_OCER=self.ready,
            i_RST=Const(0, 1),
            **bits,
        )
