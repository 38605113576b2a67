"""Structures of piecewise linear counting that lost: baselines of `piecewise_area`, tested like the engine's own.

Both take the lanes of `evenstep.spec.LaneFormat`, and have the ports of `evenstep.gateware.piecewise.PiecewiseCounter`,
so that the engine's processing element accumulates their counts.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from numpy import ndarray, stack, where

from evenstep.gateware.count import create_counter
from evenstep.spec import LaneFormat, signed_bits, unsigned_bits

__all__ = ["MaskedCounter", "PassCounter"]


class _LaneCounter(wiring.Component):
    """Ports and parameters of both; `counted` says what is counted."""

    acts: Signal
    weights: Signal
    enable: Signal

    latency = 1

    def __init__(self, lane: LaneFormat, *, lanes: int, act_bits: int, shapes: list, mode_bits: int = 0) -> None:
        self.lane, self.lanes, self.act_bits = lane, lanes, act_bits
        self._shapes = shapes
        super().__init__(
            {
                "acts": In(lanes * act_bits),
                "weights": In(lanes * lane.bits + mode_bits),
                "enable": In(1),
                **{f"count{number}": Out(shape) for number, shape in enumerate(shapes)},
            }
        )

    @property
    def counts(self) -> list[Value]:
        """What an element accumulates."""
        return [getattr(self, f"count{number}") for number in range(len(self._shapes))]

    @property
    def codes(self) -> list[Value]:
        """Codes of the lanes."""
        return [self.weights.word_select(k, self.lane.bits) for k in range(self.lanes)]

    def tree(self, m: Module, name: str, weights: list[Value], bits: int) -> Value:
        """Sum of activations times `weights`."""
        counter = create_counter(
            "portable", lanes=self.lanes, weight_bits=bits, act_bits=self.act_bits, latency=self.latency
        )
        m.submodules[name] = counter
        m.d.comb += [counter.acts.eq(self.acts), counter.weights.eq(Cat(weights)), counter.enable.eq(self.enable)]
        return counter.count


class MaskedCounter(_LaneCounter):
    """The paper's sums as they stand: a masked tree for each region, and one for each sign of each outer region.

    A tree counts the code of its region's weights, and that of zero for all others: W planes for each region, and two
    for the signs of each outer one.
    """

    def __init__(self, lane: LaneFormat, *, lanes: int, act_bits: int) -> None:
        top = lanes * (2**act_bits - 1)
        codes, signs = unsigned_bits((2**lane.weight_bits - 1) * top), signed(signed_bits(-top, top))
        super().__init__(lane, lanes=lanes, act_bits=act_bits, shapes=[codes, *[codes, signs] * lane.breakpoints])

    @staticmethod
    def counted(lane: LaneFormat, lanes: ndarray) -> ndarray:
        """Integers that each count multiplies with: signed magnitudes of a region plus zero point; or signs."""
        region, _, _ = lane.unpack(lanes)
        zero, (first, *outer) = lane.zero, lane.counted(lanes)
        terms = [where(region == 0, first, zero)]
        terms += [term + zero if number % 2 == 0 else term for number, term in enumerate(outer)]
        return stack(terms)

    def elaborate(self, platform):
        m = Module()
        w, top = self.lane.weight_bits, self.lane.magnitude_bits
        for region in range(self.lane.breakpoints + 1):
            here = [code[w:] == region for code in self.codes]
            pairs = list(zip(self.codes, here, strict=True))
            masked: list[Value] = [Cat(code[:top] & mask.replicate(top), code[top] | ~mask) for code, mask in pairs]
            count = self.tree(m, f"codes{region}", masked, w)
            if region == 0:
                m.d.comb += self.counts[0].eq(count)
                continue
            positive = self.tree(m, f"positives{region}", [code[top] & mask for code, mask in pairs], 1)
            negative = self.tree(m, f"negatives{region}", [~code[top] & mask for code, mask in pairs], 1)
            m.d.comb += [
                # Codes of negative weights in outer regions are ones' complements.
                self.counts[2 * region - 1].eq(count + negative),
                self.counts[2 * region].eq(positive - negative),
            ]
        return m


class PassCounter(_LaneCounter):
    """One tree of W planes, which counts one of the sums of `LaneFormat.counted` in each pass over the operands.

    The number of the sum comes above the lanes in ``weights``. Each sum but the first is counted plus the zero point,
    as a tree counts nothing negative.
    """

    def __init__(self, lane: LaneFormat, *, lanes: int, act_bits: int) -> None:
        self.mode_bits = (lane.sums - 1).bit_length()
        codes = unsigned_bits((2**lane.weight_bits - 1) * lanes * (2**act_bits - 1))
        super().__init__(lane, lanes=lanes, act_bits=act_bits, shapes=[codes], mode_bits=self.mode_bits)

    @staticmethod
    def counted(lane: LaneFormat, lanes: ndarray) -> ndarray:
        """Integers that each pass multiplies with."""
        first, *outer = lane.counted(lanes)
        return stack([first, *(term + lane.zero for term in outer)])

    def elaborate(self, platform):
        m = Module()
        w, top = self.lane.weight_bits, self.lane.magnitude_bits
        mode = self.weights[-self.mode_bits :]
        signs = Signal()
        # Region whose weights a pass counts; the first counts all.
        wanted = Signal(range(self.lane.breakpoints + 1))
        m.d.comb += [signs.eq((mode != 0) & ~mode[0]), wanted.eq((mode + 1) >> 1)]
        weights: list[Value] = []
        for code in self.codes:
            here = (wanted == 0) | (code[w:] == wanted)
            positive, outer = code[top], code[w:] != 0
            # Ones' complements of outer regions become two's: a chain of ANDs, as short as an adder here.
            carry: Value = ~positive & outer
            bits: list[Value] = []
            for bit in range(w):
                bits.append(code[bit] ^ carry)
                carry = carry & code[bit]
            # Signs count as 1 and -1, of which the zero point makes 100..01 and 011..11.
            sign = Cat(Const(1, 1), (~positive).replicate(w - 2), positive)
            chosen = Mux(signs, sign, Cat(bits))
            weights.append(Cat(chosen[:top] & here.replicate(top), chosen[top] | ~here))
        m.d.comb += self.counts[0].eq(self.tree(m, "all", weights, w))
        return m
