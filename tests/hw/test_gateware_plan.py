"""Plans of counters, without hardware: their sums, their structure, and what they cost."""

import itertools
import random
from collections import Counter as Multiset

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenstep.gateware.counters.adder_plans import create_adder_plan
from evenstep.gateware.counters.alu import ALU
from evenstep.gateware.counters.compression import plan_compression
from evenstep.gateware.counters.compression_planner import create_compression_plan
from evenstep.gateware.counters.exact import solve_reduction
from evenstep.gateware.counters.lut6 import LUT6
from evenstep.gateware.counters.packing import CHAIN_POSITIONS
from evenstep.gateware.counters.plan import Operand, Plan
from evenstep.gateware.counters.planner import create_plan
from evenstep.gateware.counters.plans import create_alu_plan, create_chain_plan, create_lut6_plan
from evenstep.gateware.counters.position import NONE_PENDING, Pending, PositionRules
from evenstep.gateware.counters.reduction import FLIP_FLOP_COST, approximate_reduction, product_heights
from evenstep.gateware.counters.store import PLANS, read_reductions
from evenstep.spec import LaneFormat


def _operands(plan: Plan) -> list[Operand]:
    """All operands of a plan."""
    carries = [segment.carry for segment in plan.segments if segment.carry]
    positions = [column for segment in plan.segments for column in segment.positions]
    return carries + [operand for column in (*positions, *plan.result) for operand in column]


def _check_structure(plan: Plan, most_operands: int = 2) -> None:
    """Every bit is used once, or in both halves of a half adder, and only when it is there."""
    uses = Multiset((operand.kind, operand.bits) for operand in _operands(plan))
    assert set(uses.values()) <= {1}
    halves = {kind: {bits for each, bits in uses if each == kind} for kind in ("xor", "and")}
    assert halves["xor"] == halves["and"]
    used = [bit for kind, bits in uses if kind != "and" for bit in bits]
    made = len(plan.inputs) + sum(segment.outputs for segment in plan.segments)
    assert sorted(used) == list(range(made))
    stage = dict.fromkeys(range(len(plan.inputs)), -1)
    for segment in plan.segments:
        operands = [operand for column in segment.positions for operand in column]
        operands += [segment.carry] if segment.carry else []
        assert all(stage[bit] < segment.stage for operand in operands for bit in operand.bits)
        assert all(len(column) <= most_operands for column in segment.positions)
        stage |= dict.fromkeys(range(segment.output, segment.output + segment.outputs), segment.stage)
    places = len(plan.segments) + (plan.accumulator_bits > 0)
    assert sorted(itertools.chain(*plan.chains)) == list(range(places))
    for chain in plan.chains:
        stages = [plan.segments[index].stage for index in chain if index < len(plan.segments)]
        assert stages == sorted(stages)
    most = [2 if weight == 0 and plan.accumulator_bits else 1 for weight in range(len(plan.result))]
    assert all(len(column) <= limit for column, limit in zip(plan.result, most, strict=True))


def _check_positions(plan: Plan, rules: PositionRules) -> None:
    """Every position has as many operands as its family's can add, products first."""
    for segment in plan.segments:
        pending: Pending | None = NONE_PENDING
        for place, column in enumerate(segment.positions):
            products = [operand.bits[0] < len(plan.inputs) for operand in column]
            assert products == sorted(products, reverse=True)
            some, others = sum(products), len(column) - sum(products)
            if len(segment.positions) == 1 and not segment.carry and rules.adder_luts(some, others):
                break
            assert pending is not None
            pending = rules.pend(pending, some, others, carried=segment.carry is not None and place == 0)
        assert pending == NONE_PENDING


@pytest.mark.parametrize("accumulator_bits", [0, 16])
@pytest.mark.parametrize("lanes, weight_bits, act_bits", [(1, 1, 1), (9, 1, 1), (3, 2, 1), (2, 2, 2), (1, 3, 3)])
def test_plan_adds_every_combination(lanes: int, weight_bits: int, act_bits: int, accumulator_bits: int) -> None:
    plan = create_chain_plan(lanes, weight_bits, act_bits, accumulator_bits)
    for bits in itertools.product((0, 1), repeat=len(plan.inputs)):
        assert plan.evaluate(bits) == sum(bit << weight for bit, weight in zip(bits, plan.inputs, strict=True))


@given(
    weights=st.lists(st.integers(0, 6), min_size=1, max_size=150),
    accumulator_bits=st.sampled_from([0, 16]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=15, deadline=None)
def test_plan_adds_any_bits(weights: list[int], accumulator_bits: int, seed: int) -> None:
    plan = create_plan(tuple(weights), accumulator_bits=accumulator_bits)
    _check_structure(plan)
    compressed = [create_compression_plan(tuple(weights), rules) for rules in (LUT6, ALU)]
    for one, rules, most in zip(compressed, (LUT6, ALU), (6, 3), strict=True):
        _check_structure(one, most)
        _check_positions(one, rules)
    rng = random.Random(seed)
    for bits in ([1] * len(weights), *([rng.randrange(2) for _ in weights] for _ in range(20))):
        expected = sum(bit << weight for bit, weight in zip(bits, weights, strict=True))
        assert [one.evaluate(bits) for one in (plan, *compressed)] == [expected] * 3


@pytest.mark.parametrize(
    "lanes, weight_bits, act_bits, luts",
    [(16, 1, 1, 36), (32, 1, 1, 58), (64, 1, 1, 104), (16, 2, 2, 92), (32, 2, 2, 178), (16, 4, 4, 320)],
)
def test_chains_stay_small(lanes: int, weight_bits: int, act_bits: int, luts: int) -> None:
    """LUTs of elements with 16-bit accumulators: for each segment one in front, and an even number for each chain."""
    plan = create_chain_plan(lanes, weight_bits, act_bits, 16)
    found = 0
    for chain in plan.chains:
        segments = [plan.segments[index] for index in chain if index < len(plan.segments)]
        accumulates = len(segments) < len(chain)
        positions = sum(len(segment.positions) + 1 for segment in segments) + 17 * accumulates
        assert positions <= CHAIN_POSITIONS
        positions += not accumulates and segments[-1].spills
        found += positions + positions % 2
    assert found <= luts


@pytest.mark.parametrize(
    "lanes, weight_bits, act_bits, cells",
    [
        (16, 1, 1, 32),
        (17, 1, 1, 34),
        (64, 1, 1, 130),
        (5, 3, 1, 32),
        (16, 2, 2, 134),
        (16, 4, 4, 555),
    ],
)
def test_adder_plan_stays_small(lanes: int, weight_bits: int, act_bits: int, cells: int) -> None:
    assert create_adder_plan(lanes, weight_bits, act_bits).cells(latency=2) <= cells


@pytest.mark.parametrize("lanes, weight_bits, act_bits, cells", [(16, 2, 2, 108), (32, 2, 2, 219), (16, 4, 4, 450)])
def test_adder_plan_of_recoded_weights_stays_small(lanes: int, weight_bits: int, act_bits: int, cells: int) -> None:
    assert create_adder_plan(lanes, weight_bits, act_bits, recoded=True).cells(latency=2) <= cells


@pytest.mark.parametrize("recoded", [False, True])
@pytest.mark.parametrize(
    "lanes, weight_bits, act_bits", [(1, 1, 1), (3, 1, 1), (5, 3, 2), (4, 2, 5), (16, 2, 2), (9, 3, 3), (5, 3, 1)]
)
def test_adder_plan_adds_what_its_bits_are(lanes: int, weight_bits: int, act_bits: int, recoded: bool) -> None:
    """Codes at random, and the largest: the sum of products; no sum is wider than its segment."""
    if recoded and weight_bits == 1:
        return
    adder = create_adder_plan(lanes, weight_bits, act_bits, recoded=recoded)
    _check_structure(adder.plan)
    rng = np.random.default_rng(1)
    for n in range(20):
        acts, weights = (
            [rng.integers(0, 2**bits, lanes), np.full(lanes, 2**bits - 1)][n == 0] for bits in (act_bits, weight_bits)
        )
        values = {"act": acts, "weight": weights}
        bits = [bit.value(lambda key, of=values: int(of[key[0]][key[1]]) >> key[2] & 1) for bit in adder.bits]
        expected = acts @ weights
        if recoded:
            lane = LaneFormat(weight_bits, recoded=True)
            expected = lane.counted(weights)[0] @ acts + lane.added(weights, act_bits).sum()
        assert adder.plan.evaluate(bits) == expected


@pytest.mark.parametrize(
    "lanes, weight_bits, act_bits, recoded", [(16, 1, 1, False), (5, 3, 2, False), (16, 2, 2, True), (16, 4, 4, True)]
)
def test_bits_beside_products_in_carries(lanes: int, weight_bits: int, act_bits: int, recoded: bool) -> None:
    """Each takes the LUT of a product that no register holds, whose inputs are where the carry has them."""
    adder = create_adder_plan(lanes, weight_bits, act_bits, recoded=recoded)
    stages = {segment.carry.bits[0]: segment.stage for segment in adder.plan.segments if segment.carry}
    for latency in range(adder.stages + 2):
        shared = adder.shared(latency)
        ready = min(adder.plan.boundaries(latency), default=adder.stages + 1)
        assert len(set(shared.values())) == len(shared) and all(stages[bit] < ready for bit in shared)
        for product, above in ((adder.bits[bit], adder.bits[above]) for bit, above in shared.items()):
            keys = above.lut_inputs(product)
            assert product.late and not above.late
            assert keys[1:3] == product.inputs and set(above.inputs) <= set(keys)
            for number in range(16):
                value = above.value(lambda key, n=number, keys=keys: n >> keys.index(key) & 1)
                assert above.table(keys) >> number & 1 == value
        assert adder.cells(latency) == adder.cells(latency=adder.stages + 1) - len(shared)
    assert adder.shared(0) and not adder.shared(adder.stages + 1)


@pytest.mark.parametrize(
    "rules, lanes, weight_bits, act_bits, luts",
    [(LUT6, 64, 1, 1, 56), (LUT6, 16, 2, 2, 52), (LUT6, 16, 4, 4, 207), (ALU, 64, 1, 1, 124), (ALU, 16, 2, 2, 110)],
)
def test_compressions_stay_small(rules: PositionRules, lanes: int, weight_bits: int, act_bits: int, luts: int) -> None:
    assert plan_compression(product_heights(lanes, weight_bits, act_bits), rules).luts <= luts


def test_segments_of_a_chain_share_what_is_between_them() -> None:
    """Each of 7-series has its own; those of Gowin are together, but what is no chain."""
    assert all(len(chain) == 1 for chain in create_lut6_plan(32, 1, 1).chains)
    plan = create_alu_plan(32, 1, 1)
    assert max(map(len, plan.chains)) > 1
    for chain in plan.chains:
        segments = [plan.segments[index] for index in chain]
        assert len(chain) == 1 or all(each.carry or len(each.positions) > 1 for each in segments)


def test_plans_are_the_same_every_time() -> None:
    inputs = (0, 1, 1, 2) * 7
    assert create_plan(inputs) == create_plan(inputs)
    assert create_compression_plan(inputs, ALU) == create_compression_plan(inputs, ALU)


def test_kept_reductions_are_no_worse() -> None:
    """Those of the file are better than what is found without it, and add up: `create_plan` takes them."""
    kept = read_reductions(PLANS)
    assert {(product_heights(lanes, 2, 2), True) for lanes in (8, 16, 32, 64)} <= set(kept)
    for (heights, accumulates), reduction in kept.items():
        if sum(heights) > 40:
            continue
        found = approximate_reduction(heights, accumulates=accumulates)
        assert reduction.cost(FLIP_FLOP_COST) <= found.cost(FLIP_FLOP_COST)
        inputs = tuple(weight for weight, height in enumerate(heights) for _ in range(height))
        plan = create_plan(inputs, accumulator_bits=16 if accumulates else 0)
        _check_structure(plan)
        assert plan.evaluate([1] * len(inputs)) == sum(1 << weight for weight in inputs)


@pytest.mark.parametrize("accumulates", [False, True])
def test_solver_finds_what_is_kept_or_better(accumulates: bool) -> None:
    heights = product_heights(6, 1, 1)
    found = approximate_reduction(heights, accumulates=accumulates)
    solved = solve_reduction(heights, len(found.stages), accumulates=accumulates)
    assert solved is not None
    assert solved.cost(FLIP_FLOP_COST) <= found.cost(FLIP_FLOP_COST)
    assert solve_reduction(heights, 0, accumulates=accumulates) is None


def test_registers_are_spread_over_the_stages() -> None:
    plan = create_chain_plan(16, 2, 2, 16)
    assert plan.stages == 4
    found = [sorted(plan.boundaries(latency)) for latency in range(6)]
    assert found == [[], [4], [2, 4], [1, 3, 4], [1, 2, 3, 4], [0, 1, 2, 3, 4]]


def test_refuses_other_bits() -> None:
    plan = create_plan((0, 0, 1))
    with pytest.raises(ValueError, match=r"^Bits must be 3 zeros and ones, not \[0, 1\]$"):
        plan.evaluate([0, 1])
    with pytest.raises(ValueError, match=r"^Bits must be 3 zeros and ones, not \(0, 1, 2\)$"):
        plan.evaluate((0, 1, 2))
