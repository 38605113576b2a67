"""What every array consists of: elements, activation sums as one more column, and flags that travel beside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream

from evenstep.gateware.count import PortableCounter
from evenstep.gateware.counters.plans import create_chain_plan
from evenstep.gateware.counters.portable import adder_levels
from evenstep.gateware.element import ChainElement, Element, ProcessingElement, create_element
from evenstep.gateware.timing import act_sum_landing, counter_latency, is_pipelined, landing_registers
from evenstep.spec.geometry import Geometry

__all__ = ["Control", "Operands", "add_elements", "delay_flags"]

_FLAGS = ("valid", "ends", "shift", "final")


@dataclass(frozen=True)
class Operands:
    """Activations and weights of elements, by row and column; for each row whether its activations count for its sum.

    Elements with the same `act_enable` share activations that wait for later stages, likewise with `weight_enable`.
    """

    acts: Callable[[int, int], Value]
    weights: Callable[[int, int], Value]
    count: Sequence[Value]
    act_enable: Callable[[int, int], Value] | None = None
    weight_enable: Callable[[int, int], Value] | None = None


@dataclass(frozen=True)
class Control:
    """What tells an element to advance, and what its sums become."""

    enable: Value
    add: Value
    clear: Value
    shift: Value


def delay_flags(m: Module, i: stream.Interface, advance: Value, latency: int) -> list[Any]:
    """Flags of a step at the input, and behind each register of the counters, beside whose pipelines they travel."""
    layout = data.StructLayout(dict.fromkeys(_FLAGS, 1))
    given = Signal(layout, name="flags0")
    step = i.payload
    m.d.comb += [given.valid.eq(i.valid), given.shift.eq(step.shift)]
    m.d.comb += [given.ends.eq(i.valid & step.last), given.final.eq(step.final)]
    flags = [given]
    for stage in range(1, latency + 1):
        held = Signal(layout, name=f"flags{stage}")
        with m.If(advance):
            m.d.sync += held.eq(flags[-1])
        flags.append(held)
    return flags


def add_elements(
    m: Module,
    g: Geometry,
    operands: Operands,
    control: Callable[[int, int], Control],
) -> tuple[list[list[Value]], list[Value]]:
    """Elements of the array, and those of the activation sums, if any, as one more column, -1: sums of both."""
    pipelined, landing = is_pipelined(g), landing_registers(g)
    latency = counter_latency(g) - 2 * pipelined  # behind the operands that are given

    def add(name: str, element: Element, acts: Value, weights: Value, steered: Control) -> Value:
        m.submodules[name] = element
        m.d.comb += [
            element.acts.eq(acts),
            element.weights.eq(weights),
            element.enable.eq(steered.enable),
            element.add.eq(steered.add),
            element.clear.eq(steered.clear),
            element.shift.eq(steered.shift),
        ]
        return element.sums

    sums: list[list[Value]] = []
    act_sums: list[Value] = []
    for r in range(g.rows):
        sums.append([])
        for c in range(g.columns):
            element: Any = create_element(
                g, counter_latency=latency - landing, shares_operands=pipelined, landing=landing
            )
            if operands.act_enable and operands.weight_enable:
                m.d.comb += element.act_enable.eq(operands.act_enable(r, c))
                m.d.comb += element.weight_enable.eq(operands.weight_enable(r, c))
            sums[-1].append(add(f"pe_{r}_{c}", element, operands.acts(r, c), operands.weights(r, c), control(r, c)))
        if g.encoding == "unsigned":
            continue
        # An activation sum is a dot product with ones. A step that is not to be counted still shifts.
        acts, count = operands.acts(r, 0), operands.count[r]
        act_sum, delays = _create_act_sum(g, latency)
        for stage in range(delays):
            delayed = Signal(len(acts) + 1, name=f"act_sum_operands_{r}_{stage}", reset_less=True)
            with m.If(control(r, -1).enable):
                m.d.sync += delayed.eq(Cat(acts, count))
            acts, count = delayed[:-1], delayed[-1]
        ones: Value = count.replicate(g.lanes)
        if not pipelined:
            acts, ones = Mux(count, acts, 0), Const(-1, g.lanes)
        act_sums.append(add(f"row_sum_{r}", act_sum, acts, ones, control(r, -1)))
    return sums, act_sums


def _create_act_sum(g: Geometry, latency: int) -> tuple[Element, int]:
    """Element of activation sums, with registers for its stages, and how many more have to stand in front of it."""
    sizes: Any = {"lanes": g.lanes, "weight_bits": 1, "act_bits": g.act_bits}
    if not is_pipelined(g):
        own = min(latency, 1 + adder_levels(**sizes))
        counter = PortableCounter(**sizes, latency=own)
        element = ProcessingElement(counter, accumulator_bits=g.accumulator_bits, digit_step=g.digit_step)
        return element, latency - own
    stages = create_chain_plan(**sizes, accumulator_bits=g.accumulator_bits).stages
    landing = act_sum_landing(g)
    own = min(latency - landing, stages)
    element = ChainElement(
        **sizes, latency=own, accumulator_bits=g.accumulator_bits, digit_step=g.digit_step, landing=landing
    )
    return element, latency - landing - own
