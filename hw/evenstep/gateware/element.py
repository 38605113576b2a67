"""Processing elements: counters and their accumulators."""

from collections.abc import Callable, Mapping
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from evenstep.gateware.count import Counter
from evenstep.gateware.counters.adders import Adder, Pair, Selected
from evenstep.gateware.counters.chains import add_chains, chain_inputs
from evenstep.gateware.counters.pipeline import add_plan, check_latency
from evenstep.gateware.counters.plan import Operand
from evenstep.gateware.counters.plans import create_chain_plan
from evenstep.gateware.piecewise import PiecewiseCounter, create_lane_counter
from evenstep.gateware.timing import is_pipelined
from evenstep.spec.geometry import Geometry

__all__ = ["ChainElement", "Element", "ProcessingElement", "create_element"]


class Element(wiring.Component):
    """Accumulates weighted counts; a Horner step between digits shifts the sums.

    Parameters
    ----------
    own : mapping or None
        Members that a kind of element has beside those below.
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
        Advances the counter's pipeline.
    add : In(1)
        Keep this cycle's sums: the counter's output belongs to a step. Like the ones below, given as many enabled
        cycles after the operands as the counter has latency.
    clear : In(1)
        Keep zeros instead, so that a new sum starts in the next cycle. Once before the first sum, as no reset does it.
    shift : In(1)
        Take a Horner step before adding.
    sums : Out(number of sums * accumulator_bits)
        Sums including this cycle's counts, the first in the low bits.
    """

    acts: Signal
    weights: Signal
    enable: Signal
    add: Signal
    clear: Signal
    shift: Signal
    sums: Signal

    def __init__(
        self,
        own: Mapping[str, Any] | None = None,
        *,
        act_width: int,
        weight_width: int,
        sums: int,
        accumulator_bits: int,
        digit_step: int,
    ):
        self.accumulator_bits = accumulator_bits
        self.digit_step = digit_step
        super().__init__(
            {
                "acts": In(act_width),
                "weights": In(weight_width),
                "enable": In(1),
                "add": In(1),
                "clear": In(1),
                "shift": In(1),
                "sums": Out(sums * accumulator_bits),
                **(own or {}),
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
            m.d.comb += total.eq(shifted + count)
            _keep(m, self, accumulator, total)
        return m


class ChainElement(Element):
    """Element of planned carry chains, the last of which is the accumulator.

    The accumulator's chain adds whatever the plan has left, one operand for each weight, so it is the last step of the
    compression too. A Horner step is free, as the chain's own LUTs select what they add: the sum as it is, or shifted.
    Only where more than a bit is to be added to it does that take a LUT.

    Parameters
    ----------
    lanes, weight_bits, act_bits : int
        K, W and A; see `evenstep.gateware.count.Counter`.
    latency : int
        Registers between operands and accumulator, 0 to one more than the plan has stages.
    accumulator_bits, digit_step : int
        As those of `Element`.
    shares_operands : bool
        Whether operands that wait for later stages have enables of their own.
    landing : int
        Registers of what is added to the accumulator, beyond `latency`: a placer stretches an element, between where
        its operands come from and where its sum goes, at the fewest wires, which are these.

    Members
    -------
    act_enable, weight_enable : In(1)
        With `shares_operands`: the same as `enable`, for operands that wait. Elements with the same operands and the
        same of these share registers, as synthesis merges them.
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
        shares_operands: bool = False,
        landing: int = 0,
    ):
        self.landing = landing
        self.lanes, self.weight_bits, self.act_bits = lanes, weight_bits, act_bits
        self.plan = create_chain_plan(lanes, weight_bits, act_bits, accumulator_bits)
        self.latency = check_latency(self.plan, latency)
        own: dict[str, Any] = {"act_enable": In(1), "weight_enable": In(1)} if shares_operands else {}
        super().__init__(
            own,
            act_width=lanes * act_bits,
            weight_width=lanes * weight_bits,
            sums=1,
            accumulator_bits=accumulator_bits,
            digit_step=digit_step,
        )

    def elaborate(self, platform):
        m = Module()
        accumulator = Signal(self.accumulator_bits, reset_less=True)

        def position(weight: int, added: list[Pair]) -> list[Pair] | Selected:
            """What a bit of the sum so far is added to."""
            low, high = accumulator[weight], accumulator[weight - self.digit_step]
            if self.digit_step == 0:
                return [Pair.of("bit", low), *added]
            if weight < self.digit_step:  # what a Horner step shifts in is 0
                return [Pair.gated(low, self.shift), *added]
            if all(each.plain for each in added):
                return Selected(high, low, select=self.shift, added=added[0].value if added else Const(0, 1))
            kept = Signal(name=f"kept{weight}")
            m.d.comb += kept.eq(Mux(self.shift, high, low))
            return [Pair.of("bit", kept), *added]

        def accumulate(operand: Callable[[Operand], Pair]) -> Adder:
            result = self.plan.result[: self.accumulator_bits]
            columns = [[operand(each) for each in column] for column in result]
            columns += [[] for _ in range(self.accumulator_bits - len(columns))]
            carry = columns[0].pop() if len(columns[0]) > 1 else None
            positions = [position(weight, added) for weight, added in enumerate(columns)]
            return Adder(carry, positions, self.sums)

        add_plan(
            m,
            self.plan,
            chain_inputs(
                self.lanes,
                self.weight_bits,
                self.act_bits,
                self.acts,
                self.weights,
                act_enable=getattr(self, "act_enable", self.enable),
                weight_enable=getattr(self, "weight_enable", self.enable),
            ),
            enable=self.enable,
            latency=self.latency,
            add=add_chains(platform),
            accumulator=accumulate,
            landing=self.landing,
        )
        _keep(m, self, accumulator, self.sums)
        return m


def _keep(m: Module, element: Element, accumulator: Signal, total: Value) -> None:
    """Register a sum. Clearing is the reset of the flip-flops, which costs no LUT."""
    with m.If(element.clear):
        m.d.sync += accumulator.eq(0)
    with m.Elif(element.add):
        m.d.sync += accumulator.eq(total)


def create_element(
    geometry: Geometry, *, counter_latency: int = 1, shares_operands: bool = False, landing: int = 0
) -> Element:
    """Element of an array of `geometry`; `shares_operands` and `landing` as those of `ChainElement`, and only there."""
    g = geometry
    if is_pipelined(g):
        return ChainElement(
            lanes=g.lanes,
            weight_bits=g.weight_bits,
            act_bits=g.act_bits,
            latency=counter_latency,
            accumulator_bits=g.accumulator_bits,
            digit_step=g.digit_step,
            shares_operands=shares_operands,
            landing=landing,
        )
    counter = create_lane_counter(
        g.lane, lanes=g.lanes, act_bits=g.act_bits, latency=counter_latency, strategy=g.counter
    )
    return ProcessingElement(counter, accumulator_bits=g.accumulator_bits, digit_step=g.digit_step)
