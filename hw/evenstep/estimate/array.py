"""Area of an array: what its structure fixes, counted; what synthesis makes of the rest, fitted to what it made.

Carry chains are planned cell by cell, so those of an array are counted exactly, and so are flip-flops. How synthesis
shares and maps plain adders is its own affair: there, LUTs are a sum of a few quantities of the structure, each times a
coefficient. Coefficients are in ``coefficients.json``, by family and counter; ``evenstep bench --fit FILE`` writes them
from its results.
"""

import json
from collections.abc import Sequence, Set
from functools import cache
from importlib.resources import files
from itertools import product

from evenstep.checks import check_choice
from evenstep.gateware.counters.adder_plans import array_adder_plan
from evenstep.gateware.counters.plan import Operand, Plan
from evenstep.gateware.counters.plans import create_chain_plan
from evenstep.gateware.timing import act_sum_landing, counter_latency, is_pipelined, landing_registers, operand_reach
from evenstep.spec.encoding import unsigned_bits
from evenstep.spec.geometry import Geometry

__all__ = ["FAMILIES", "array_flip_flops", "array_luts", "array_terms", "default_family"]

#: A bit of an activation or a weight, by lane and place.
Key = tuple[int, int]
#: Families that there are coefficients for, and the counters of each.
FAMILIES = {"ecp5": ("portable", "ecp5"), "ice40": ("portable", "ice40")}


def default_family(geometry: Geometry) -> str:
    """The family that a geometry's counter is made for; ECP5 for the portable one.

    Raises
    ------
    ValueError
        There are no coefficients for that family.
    """
    counter = geometry.counter
    for family, counters in FAMILIES.items():
        if counter in (*counters[1:], "portable"):
            return family
    raise ValueError(f"Area with the counter {counter!r} cannot be estimated: synthesize it")


def array_luts(geometry: Geometry, family: str) -> int:
    """LUTs of an array without breakpoints, placed on a device of `family`.

    Raises
    ------
    ValueError
        The family is unknown, or its carry chains are not those that the counter is planned for.
    """
    known, terms = array_terms(geometry, family)
    coefficients = _coefficients()[family][geometry.counter]
    return round(known + sum(coefficients[name] * amount for name, amount in terms.items()))


@cache
def _coefficients() -> dict[str, dict[str, dict[str, float]]]:
    return json.loads(files("evenstep.estimate").joinpath("coefficients.json").read_text("utf-8"))


def array_terms(geometry: Geometry, family: str) -> tuple[int, dict[str, int]]:
    """LUTs of an array that are known, and quantities that the others are proportional to; errors as `array_luts`."""
    check_choice("Family", family, tuple(FAMILIES))
    g = geometry
    check_choice(f"Counter on {family}", g.counter, FAMILIES[family])
    elements = g.rows * g.columns
    act_sums = 0 if g.encoding == "unsigned" else g.rows
    if is_pipelined(g):
        chains = elements * _chain_luts(g, g.weight_bits) + act_sums * _chain_luts(g, 1)
        # Columns are selected in pairs, which a LUT does, then among pairs; then what leaves, or was kept.
        pairs = (g.columns + 1) // 2
        selection = g.rows * g.accumulator_bits * (pairs + -(-(pairs - 1) // 3) + 1) + act_sums * g.accumulator_bits
        return chains + selection, {"array": 1, "columns": g.columns}
    planned = g.counter == "ice40"
    of_element = _planned_terms(g) if planned else _portable_terms(g.lanes, g.weight_bits, g.act_bits)
    counters = [(elements, of_element)]
    counters += [(act_sums, _portable_terms(g.lanes, 1, g.act_bits))]
    terms = {"array": 1}
    for count, of_counter in counters:
        for name, amount in of_counter.items():
            terms[name] = terms.get(name, 0) + count * amount
    # Sums are added, and shifted before: two LUTs a bit; the drain registers take one, but those of the last column.
    known = 2 * (elements + act_sums) * g.accumulator_bits + g.rows * (g.columns - 1) * g.accumulator_bits
    if planned:
        known += _waiting(g)[0]  # flip-flops behind no LUT
    return known, terms


def _portable_terms(lanes: int, weight_bits: int, act_bits: int) -> dict[str, int]:
    """Quantities of a portable counter: partial products, bits of the planes' counts, and of adders of these."""
    terms = [(lanes << i + j, i + j) for i in range(act_bits) for j in range(weight_bits)]
    quantities = {"products": lanes * len(terms), "counts": unsigned_bits(lanes) * len(terms), "sums": 0}
    # Neighbours are added, and the bits below the higher one's first are only passed on.
    while len(terms) > 1:
        left = terms[len(terms) // 2 * 2 :]
        added = [(low[0] + high[0], low[1], high[1]) for low, high in zip(terms[::2], terms[1::2], strict=False)]
        quantities["sums"] += sum(unsigned_bits(largest) - max(places) for largest, *places in added)
        terms = [(largest, min(places)) for largest, *places in added] + left
    return quantities


def _planned_terms(g: Geometry) -> dict[str, int]:
    """Quantities of a counter of planned additions: bits that are given, and cells beyond one for each of these."""
    adder = array_adder_plan(g)
    products = len(adder.bits)
    return {"planned products": products, "positions": adder.cells(counter_latency(g)) - products}


def _chain_luts(g: Geometry, weight_bits: int) -> int:
    """LUTs of an element of carry chains: both halves of every cell, and what selects a sum where a chain cannot."""
    plan = _plan(g, weight_bits)
    luts = 0
    for chain in plan.chains:
        spills = False
        halves = 0
        for index in chain:
            is_sum = index == len(plan.segments)
            halves += 1 + (g.accumulator_bits if is_sum else len(plan.segments[index].positions))
            spills = not is_sum and plan.segments[index].spills
        halves += spills
        luts += halves + halves % 2
    return luts + sum(1 for weight in range(g.digit_step, g.accumulator_bits) if _selects_apart(plan, weight))


def _selects_apart(plan: Plan, weight: int) -> bool:
    """Whether the accumulator's position of a weight adds so much that selecting the sum takes a LUT of its own."""
    added: tuple[Operand, ...] = plan.result[weight] if weight < len(plan.result) else ()
    if weight == 0 and len(added) > 1:
        added = added[:-1]  # that one is the carry
    return any(each.kind != "bit" or each.bits[0] < len(plan.inputs) for each in added)


def array_flip_flops(geometry: Geometry) -> int:
    """Flip-flops of an array without breakpoints."""
    g = geometry
    act_sums = 0 if g.encoding == "unsigned" else g.rows
    if is_pipelined(g):
        return _pipelined_flip_flops(g, act_sums)
    latency, elements = counter_latency(g), g.rows * g.columns
    # Flags of steps, and columns that are still to leave.
    control = 2 + 4 * latency + g.columns.bit_length()
    total = 2 * (elements + act_sums) * g.accumulator_bits + control
    total += act_sums * _portable_registers(g.lanes, 1, g.act_bits, latency)
    if g.counter != "ice40":
        return total + elements * _portable_registers(g.lanes, g.weight_bits, g.act_bits, latency)
    waiting, sums = _waiting(g)
    return total + waiting + elements * sums


def _waiting(g: Geometry) -> tuple[int, int]:
    """Flip-flops of operands that wait in an array of adder plans, whose elements share them; those of an element."""
    adder = array_adder_plan(g)
    given = [(bit.acts[0], bit.weights[0]) if bit.late else None for bit in adder.bits]
    acts, weights, sums = _passed(adder.plan, given, adder.plan.boundaries(counter_latency(g)))
    return g.rows * sum(acts.values()) + g.columns * sum(weights.values()), sums


def _portable_registers(lanes: int, weight_bits: int, act_bits: int, latency: int) -> int:
    """Flip-flops of a portable counter of one or two registers, the second one behind all of it."""
    places = [i + j for i in range(act_bits) for j in range(weight_bits)]
    count = unsigned_bits(lanes * (2**weight_bits - 1) * (2**act_bits - 1))
    if latency == 1:
        return count
    levels = 1 + (lanes - 1).bit_length() + (len(places) - 1).bit_length()
    # Terms of each plane, by largest, are added in pairs; then planes, whose lowest bits come from the lower one.
    planes, level = [[1] * lanes for _ in places], 0
    terms: list[tuple[int, int]] = []
    while level < round(levels / 2) - 1:
        level += 1
        if len(planes[0]) > 1:
            planes = [_pairs(plane) for plane in planes]
            continue
        terms = terms or [(plane[0] << place, place) for plane, place in zip(planes, places, strict=True)]
        added = [(low[0] + high[0], min(low[1], high[1])) for low, high in zip(terms[::2], terms[1::2], strict=False)]
        terms = added + terms[2 * len(added) :]
    if terms:
        return count + sum(unsigned_bits(largest) - place for largest, place in terms)
    return count + sum(unsigned_bits(largest) for plane in planes for largest in plane)


def _pairs(terms: list[int]) -> list[int]:
    added = [low + high for low, high in zip(terms[::2], terms[1::2], strict=False)]
    return added + terms[2 * len(added) :]


def _pipelined_flip_flops(g: Geometry, act_sums: int) -> int:
    elements = g.rows * g.columns
    latency = counter_latency(g) - 2
    landing = act_sum_landing(g)
    own = min(latency - landing, max(1, _plan(g, 1).stages))  # registers of an activation sum for its stages
    reach = operand_reach(g)
    row_groups, column_groups = -(-g.columns // reach), -(-g.rows // reach)
    acts, weights, sums = _registers(g, g.weight_bits, latency - landing_registers(g), landing=landing_registers(g))
    # Operands: a register for each row and column and for each group of their elements, and what waits there.
    total = g.rows * (g.act_word_bits + row_groups * (g.act_word_bits + sum(acts.values())))
    total += g.weight_word_bits + column_groups * (g.weight_word_bits + g.columns * sum(weights.values()))
    total += elements * sums
    if act_sums:
        acts, weights, sums = _registers(g, 1, own, landing=landing)
        # All weights are the same flag, so these registers are one.
        total += act_sums * (
            sum(acts.values()) + max(weights.values()) + sums + (latency - landing - own) * (g.act_word_bits + 1) + 2
        )
    # Accumulators and what holds them; pairs of columns, what leaves and what is kept, all with the activation sums
    # beside, and whether they move.
    pairs = (g.columns + 1) // 2
    total += g.accumulator_bits * (2 * elements + 5 * act_sums + g.rows * (pairs + 2)) + g.rows * (pairs + 1) + 3
    # Five copies of the decisions for each element and activation sum, one for each column, and selections; flags.
    # Where there are no activation sums, what is given to their column has one all the same.
    total += 5 * (elements + act_sums) + (g.rows - act_sums) + g.columns + elements + 4 * (latency + 2)
    return total + g.columns + 13


def _plan(g: Geometry, weight_bits: int) -> Plan:
    return create_chain_plan(g.lanes, weight_bits, g.act_bits, g.accumulator_bits)


def _registers(
    g: Geometry, weight_bits: int, latency: int, *, landing: int = 0
) -> tuple[dict[Key, int], dict[Key, int], int]:
    """Registers behind the operands of a chain element, of activations and of weights, by bit; and of its sums."""
    plan = _plan(g, weight_bits)
    operands = product(range(g.lanes), range(g.act_bits), range(weight_bits))
    given = [((lane, act), (lane, weight)) for lane, act, weight in operands]
    end = plan.stages + landing
    return _passed(plan, given, plan.boundaries(latency) | set(range(plan.stages + 1, end + 1)), landing=landing)


def _passed(
    plan: Plan, given: Sequence[tuple[Key, Key] | None], boundaries: Set[int], *, landing: int = 0
) -> tuple[dict[Key, int], dict[Key, int], int]:
    """Registers at the boundaries of a plan: of activations and of weights, by bit; and of all other bits.

    `given` are the operands of each bit that the plan is given, or None of one that is made for it.
    """
    made = {segment.output + place: segment.stage + 1 for segment in plan.segments for place in range(segment.outputs)}
    needed: dict[int, int] = {}
    uses = [
        (segment.stage, operand)
        for segment in plan.segments
        for position in ((segment.carry,) if segment.carry else (), *segment.positions)
        for operand in position
    ]
    uses += [(plan.stages + landing, operand) for column in plan.result for operand in column]
    for stage, operand in uses:
        for bit in operand.bits:
            needed[bit] = max(stage, needed.get(bit, 0))
    acts: dict[Key, int] = {}
    weights: dict[Key, int] = {}
    others = 0

    def passed(made: int, stage: int) -> int:
        return sum(boundary in boundaries for boundary in range(made, stage + 1))

    for bit, stage in needed.items():
        operands = given[bit] if bit < len(given) else None
        if operands is None:
            others += passed(made.get(bit, 0), stage)
            continue
        for kind, key in zip((acts, weights), operands, strict=True):
            kind[key] = max(kind.get(key, 0), passed(0, stage))
    return acts, weights, others
