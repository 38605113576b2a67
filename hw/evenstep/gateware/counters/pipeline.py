"""Plans in hardware: segments, and the registers between their stages."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from amaranth.hdl import Module, Signal, Value

from evenstep.checks import check_int
from evenstep.gateware.counters.adders import Adder, Pair
from evenstep.gateware.counters.loops import separate_starts
from evenstep.gateware.counters.plan import Operand, Plan

__all__ = ["Given", "add_plan", "check_latency"]

#: A bit that a plan is given, or two whose product is: each with a name, under which it is registered but once, and
#: with what advances its registers.
Given = tuple[tuple[Hashable, Value, Value], ...]


def check_latency(plan: Plan, latency: int) -> int:
    """Return `latency` if the plan has places for as many registers: behind each stage, and in front of the first."""
    return check_int("Counter latency", latency, 0, plan.stages + 1)


def add_plan(
    m: Module,
    plan: Plan,
    given: Sequence[Given],
    *,
    enable: Value,
    latency: int,
    add: Callable[[Module, str, Sequence[Adder]], None],
    accumulator: Callable[[Callable[[Operand], Pair]], Adder] | None = None,
    landing: int = 0,
) -> Callable[[Operand], Pair]:
    """Add all segments of a plan.

    Parameters
    ----------
    given : sequence
        The plan's inputs.
    enable, latency
        As those of `evenstep.gateware.count.Counter`. Inputs that wait have an `enable` of their own.
    add : callable
        Makes the adders that share a chain.
    accumulator : callable
        Makes the accumulator of a plan that has one, from the function that is returned.
    landing : int
        Registers that the plan's result passes, beyond `latency`.

    Returns
    -------
    callable
        Gives operands of the plan's result, `latency` and `landing` registers behind the inputs.
    """
    end = plan.stages + landing
    registered = plan.boundaries(latency) | set(range(plan.stages + 1, end + 1))
    apart = separate_starts(plan, registered, end)
    bits: dict[int, tuple[Hashable, Value, Value, int]] = {number: (*each[0], 0) for number, each in enumerate(given)}
    delayed: dict[tuple[Hashable, int], Value] = {}

    def reach(key: Hashable, value: Value, advance: Value, made: int, needed: int) -> Value:
        """A value that exists before boundary `made`, behind the registers of the boundaries up to `needed`."""
        if needed < made:
            return value
        if (key, needed) not in delayed:
            before = reach(key, value, advance, made, needed - 1)
            if needed in registered:
                held = Signal(1, name=f"stage{needed}", reset_less=True)
                with m.If(advance):
                    m.d.sync += held.eq(before)
                before = held
            delayed[key, needed] = before
        return delayed[key, needed]

    def operand(stage: int, planned: Operand) -> Pair:
        if planned.bits[0] < len(plan.inputs) and len(given[planned.bits[0]]) == 2:
            return Pair.of("and", *(reach(*each, 0, stage) for each in given[planned.bits[0]]))
        return Pair.of(planned.kind, *(reach(*bits[bit], stage) for bit in planned.bits))

    totals = [Signal(segment.outputs, name=f"sum{segment.output}") for segment in plan.segments]
    for segment, total in zip(plan.segments, totals, strict=True):
        for place in range(segment.outputs):
            number = segment.output + place
            bits[number] = (number, total[place], enable, segment.stage + 1)

    def adder(index: int) -> Adder:
        if index == len(plan.segments):
            assert accumulator is not None
            return replace(accumulator(last), apart=index in apart)
        segment = plan.segments[index]
        carry = operand(segment.stage, segment.carry) if segment.carry else None
        places = [[operand(segment.stage, each) for each in operands] for operands in segment.positions]
        return Adder(carry, places, totals[index], apart=index in apart)

    def last(planned: Operand) -> Pair:
        return operand(end, planned)

    for number, chain in enumerate(plan.chains):
        add(m, f"chain{number}", [adder(index) for index in chain])
    return last
