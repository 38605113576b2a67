"""Processing element: a counter and its accumulators."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenstep.gateware.count import Counter
from evenstep.gateware.piecewise import PiecewiseCounter, create_lane_counter
from evenstep.spec.geometry import Geometry

__all__ = ["ProcessingElement", "create_element"]


class ProcessingElement(wiring.Component):
    """Accumulates weighted counts; a Horner step between digits shifts the sums.

    Parameters
    ----------
    counter : Counter or PiecewiseCounter
        Counting structure, used as a submodule. Its latency separates operands from the control signals.
    accumulator_bits : int
        Width of each sum. The first is unsigned, others are signed. Overflow is ruled out when a network is compiled,
        not here.
    digit_step : int
        Bits of a Horner step.

    Members
    -------
    acts, weights : In
        Operands, as the counter takes them.
    enable : In(1)
        Advances the counter's pipeline and the accumulator.
    valid : In(1)
        The counter's output belongs to a step. Like the ones below, given with the count, `counter.latency` enabled
        cycles after its operands.
    first : In(1)
        Start a new sum.
    shift : In(1)
        Take a Horner step before adding.
    sums : Out(number of sums * accumulator_bits)
        Sums including this cycle's counts, the first in the low bits; registered in the element when enabled and valid.
    """

    acts: Signal
    weights: Signal
    enable: Signal
    valid: Signal
    first: Signal
    shift: Signal
    sums: Signal

    def __init__(self, counter: Counter | PiecewiseCounter, *, accumulator_bits: int, digit_step: int):
        self.counter = counter
        self.accumulator_bits = accumulator_bits
        self.digit_step = digit_step
        super().__init__(
            {
                "acts": In(len(counter.acts)),
                "weights": In(len(counter.weights)),
                "enable": In(1),
                "valid": In(1),
                "first": In(1),
                "shift": In(1),
                "sums": Out(len(counter.counts) * accumulator_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.counter = counter = self.counter
        m.d.comb += [
            counter.acts.eq(self.acts),
            counter.weights.eq(self.weights),
            counter.enable.eq(self.enable),
        ]
        for number, count in enumerate(counter.counts):
            accumulator = Signal(self.accumulator_bits, name=f"accumulator{number}", reset_less=True)
            # "First" gates the feedback, which costs an input of the adder's LUT; a multiplexer of the sum would cost
            # one LUT more for every bit.
            kept = Signal(self.accumulator_bits, name=f"kept{number}")
            total = self.sums.word_select(number, self.accumulator_bits)
            shifted = Mux(self.shift, accumulator << self.digit_step, accumulator)
            m.d.comb += [kept.eq(shifted & ~self.first.replicate(len(kept))), total.eq(kept + count)]
            with m.If(self.enable & self.valid):
                m.d.sync += accumulator.eq(total)
        return m


def create_element(geometry: Geometry, *, counter_latency: int = 1) -> ProcessingElement:
    """Element of an array of `geometry`."""
    g = geometry
    counter = create_lane_counter(
        g.lane, lanes=g.lanes, act_bits=g.act_bits, latency=counter_latency, strategy=g.counter
    )
    return ProcessingElement(counter, accumulator_bits=g.accumulator_bits, digit_step=g.digit_step)
