"""Processing element: a counter and its accumulator."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenstep.gateware.count import Counter

__all__ = ["ProcessingElement"]


class ProcessingElement(wiring.Component):
    """Accumulates weighted counts; a Horner step between digits shifts the sum.

    Parameters
    ----------
    counter : Counter
        Counting structure, used as a submodule. Its latency separates operands from the control signals.
    accumulator_bits : int
        Width of the unsigned sum. Overflow is ruled out when a network is compiled, not here.
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
    sum : Out(accumulator_bits)
        Sum including this cycle's count; registered in the element when enabled and valid.
    """

    acts: Signal
    weights: Signal
    enable: Signal
    valid: Signal
    first: Signal
    shift: Signal
    sum: Signal

    def __init__(self, counter: Counter, *, accumulator_bits: int, digit_step: int):
        self.counter = counter
        self.accumulator_bits = accumulator_bits
        self.digit_step = digit_step
        super().__init__(
            {
                "acts": In(counter.lanes * counter.act_bits),
                "weights": In(counter.lanes * counter.weight_bits),
                "enable": In(1),
                "valid": In(1),
                "first": In(1),
                "shift": In(1),
                "sum": Out(accumulator_bits),
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
        accumulator = Signal(self.accumulator_bits, reset_less=True)
        # "First" gates the feedback, which costs an input of the adder's LUT; a multiplexer of the sum would cost one
        # LUT more for every bit.
        kept = Signal(self.accumulator_bits)
        m.d.comb += [
            kept.eq(Mux(self.shift, accumulator << self.digit_step, accumulator) & ~self.first.replicate(len(kept))),
            self.sum.eq(kept + counter.count),
        ]
        with m.If(self.enable & self.valid):
            m.d.sync += accumulator.eq(self.sum)
        return m
