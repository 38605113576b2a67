"""Processing elements: counters and their accumulators."""

from collections.abc import Callable

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenstep.gateware.count import Counter, PlannedCounter
from evenstep.gateware.counters.adders import Adder, Pair, Selected
from evenstep.gateware.counters.chains import add_chains, chain_inputs, create_chain_plan
from evenstep.gateware.counters.pipeline import add_plan, check_latency
from evenstep.gateware.counters.plan import Operand
from evenstep.gateware.piecewise import PiecewiseCounter, create_lane_counter
from evenstep.spec.geometry import Geometry

__all__ = ["ChainElement", "Element", "ProcessingElement", "create_element"]


class Element(wiring.Component):
    """Accumulates weighted counts; a Horner step between digits shifts the sums.

    Parameters
    ----------
    act_width, weight_width : int
        Bits of the operands.
    sums : int
        Number of sums.
    accumulator_bits : int
        Width of each sum. The first is unsigned, others are signed. Overflow is ruled out when a network is compiled,
        not here.
    digit_step : int
        Bits of a Horner step. 0: there are none, and `shift` changes nothing.

    Members
    -------
    acts, weights : In
        Operands, as counters take them.
    enable : In(1)
        Advances the counter's pipeline and the accumulator.
    valid : In(1)
        The counter's output belongs to a step. Like the ones below, given as many enabled cycles after the operands as
        the counter has latency.
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

    def __init__(self, *, act_width: int, weight_width: int, sums: int, accumulator_bits: int, digit_step: int):
        self.accumulator_bits = accumulator_bits
        self.digit_step = digit_step
        super().__init__(
            {
                "acts": In(act_width),
                "weights": In(weight_width),
                "enable": In(1),
                "valid": In(1),
                "first": In(1),
                "shift": In(1),
                "sums": Out(sums * accumulator_bits),
            }
        )

    def elaborate(self, platform) -> Module:
        raise NotImplementedError


class ProcessingElement(Element):
    """Element of any counter, and plain adders behind it.

    Parameters
    ----------
    counter : Counter or PiecewiseCounter
        Counting structure, used as a submodule.
    accumulator_bits, digit_step : int
        As those of `Element`.
    """

    def __init__(self, counter: Counter | PiecewiseCounter, *, accumulator_bits: int, digit_step: int):
        self.counter = counter
        super().__init__(
            act_width=len(counter.acts),
            weight_width=len(counter.weights),
            sums=len(counter.counts),
            accumulator_bits=accumulator_bits,
            digit_step=digit_step,
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
            total = self.sums.word_select(number, self.accumulator_bits)
            shifted = Mux(self.shift, accumulator << self.digit_step, accumulator) if self.digit_step else accumulator
            if isinstance(counter, PlannedCounter):
                # A carry takes its operands without a LUT in front, but behind it there is room for a multiplexer.
                sum_on = Signal(self.accumulator_bits, name=f"sum_on{number}")
                m.d.comb += [sum_on.eq(shifted + count), total.eq(Mux(self.first, count, sum_on))]
            else:
                # "First" gates the feedback, which costs an input of the adder's LUT; a multiplexer of the sum would
                # cost one LUT more for every bit.
                kept = Signal(self.accumulator_bits, name=f"kept{number}")
                m.d.comb += [kept.eq(shifted & ~self.first.replicate(len(kept))), total.eq(kept + count)]
            with m.If(self.enable & self.valid):
                m.d.sync += accumulator.eq(total)
        return m


class ChainElement(Element):
    """Element of planned carry chains, the last of which is the accumulator.

    The accumulator's chain adds whatever the plan has left, one operand for each weight, so it is the last step of the
    compression too. Starting a new sum is free, as it gates the feedback in the chain's own LUTs. So is a Horner step
    in all bits but those which both the count and the shifted sum reach: each of these takes a LUT.

    Parameters
    ----------
    lanes, weight_bits, act_bits : int
        K, W and A; see `evenstep.gateware.count.Counter`.
    latency : int
        Registers between operands and accumulator, 0 to one more than the plan has stages.
    accumulator_bits, digit_step : int
        As those of `Element`.
    """

    def __init__(
        self,
        *,
        lanes: int,
        weight_bits: int,
        act_bits: int,
        latency: int,
        accumulator_bits: int,
        digit_step: int,
    ):
        self.lanes, self.weight_bits, self.act_bits = lanes, weight_bits, act_bits
        self.plan = create_chain_plan(lanes, weight_bits, act_bits, accumulator_bits)
        self.latency = check_latency(self.plan, latency)
        super().__init__(
            act_width=lanes * act_bits,
            weight_width=lanes * weight_bits,
            sums=1,
            accumulator_bits=accumulator_bits,
            digit_step=digit_step,
        )

    def elaborate(self, platform):
        m = Module()
        accumulator = Signal(self.accumulator_bits, reset_less=True)
        restart = Signal()
        m.d.comb += restart.eq(self.first | self.shift if self.digit_step else self.first)

        def feedback(weight: int, alone: bool) -> Pair | Selected:
            """What a bit keeps of the sum so far."""
            if self.digit_step == 0 or weight < self.digit_step:  # what a Horner step shifts in below is 0
                return Pair.gated(accumulator[weight], restart)
            selected = Selected(
                accumulator[weight - self.digit_step], accumulator[weight], select=self.shift, blocked=self.first
            )
            if alone:
                return selected
            kept = Signal(name=f"kept{weight}")
            m.d.comb += kept.eq(selected.value)
            return Pair.of("bit", kept)

        def accumulate(operand: Callable[[Operand], Pair]) -> Adder:
            result = self.plan.result[: self.accumulator_bits]
            columns = [[operand(each) for each in column] for column in result]
            columns += [[] for _ in range(self.accumulator_bits - len(columns))]
            carry = columns[0].pop() if len(columns[0]) > 1 else None
            positions: list[list[Pair] | Selected] = []
            for weight, added in enumerate(columns):
                kept = feedback(weight, not added)
                positions.append(kept if isinstance(kept, Selected) else [kept, *added])
            return Adder(carry, positions, self.sums)

        add_plan(
            m,
            self.plan,
            chain_inputs(self.lanes, self.weight_bits, self.act_bits, self.acts, self.weights),
            enable=self.enable,
            latency=self.latency,
            add=add_chains(platform),
            accumulator=accumulate,
        )
        with m.If(self.enable & self.valid):
            m.d.sync += accumulator.eq(self.sums)
        return m


def create_element(geometry: Geometry, *, counter_latency: int = 1) -> Element:
    """Element of an array of `geometry`."""
    g = geometry
    if g.counter == "ecp5" and not g.lane.breakpoints:
        return ChainElement(
            lanes=g.lanes,
            weight_bits=g.weight_bits,
            act_bits=g.act_bits,
            latency=counter_latency,
            accumulator_bits=g.accumulator_bits,
            digit_step=g.digit_step,
        )
    counter = create_lane_counter(
        g.lane, lanes=g.lanes, act_bits=g.act_bits, latency=counter_latency, strategy=g.counter
    )
    return ProcessingElement(counter, accumulator_bits=g.accumulator_bits, digit_step=g.digit_step)
