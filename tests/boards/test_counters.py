"""Counters on boards: which get vendor cells, and that synthesis keeps them."""

from pathlib import Path

import pytest
from amaranth.back.rtlil import convert

from evenstep.gateware.count import create_counter
from evenstep.gateware.counters.adder_plans import create_adder_plan
from evenstep.gateware.counters.alu import ALU
from evenstep.gateware.counters.compression import plan_compression
from evenstep.gateware.counters.form import CellForm, has_cells
from evenstep.gateware.counters.lut6 import LUT6
from evenstep.gateware.counters.position import PositionRules
from evenstep.gateware.counters.reduction import product_heights
from evenstep.gateware.counters.tree import TreeCounter
from evenstep.gateware.element import create_element
from evenstep.generate import emit_verilog
from evenstep.spec import Geometry
from evenstep_boards.catalog import BOARDS
from evenstep_boards.place import pack_netlist
from evenstep_boards.synthesize import synthesize_verilog


def test_cells_are_for_their_boards() -> None:
    cells = {
        family: {name for name, board in BOARDS.items() if has_cells(board.platform(), family)}
        for family in ("ecp5", "xilinx7", "gowin")
    }
    assert cells["ecp5"] >= {"ulx3s", "ecpix5"}
    assert not cells["ecp5"] & {"icebreaker", "tangnano9k", "gatemateevb"}
    assert cells["gowin"] == {"tangnano9k"} and not cells["xilinx7"]
    text = convert(create_element(Geometry(counter="ecp5", lanes=4)), platform=BOARDS["ulx3s"].platform())
    assert "CCU2C" in text
    assert "CCU2C" not in convert(create_element(Geometry(counter="ecp5", lanes=4)))


@pytest.mark.parametrize("family, rules", [("xilinx7", LUT6), ("gowin", ALU)])
def test_synthesis_keeps_what_is_planned(family: str, rules: PositionRules, tmp_path: Path) -> None:
    """No LUT is added to those of the plan."""
    counter = create_counter(family, lanes=9, weight_bits=1, act_bits=2)
    (tmp_path / "counter.v").write_text(emit_verilog(CellForm(counter, family), name="counter")[0])
    found = synthesize_verilog(tmp_path / "counter.v", top="counter", family=family, folder=tmp_path)
    planned = plan_compression(product_heights(9, 1, 2), rules).luts
    assert 0 < found.luts <= planned and found.carries > 0


@pytest.mark.parametrize(
    "lanes, weight_bits, act_bits, recoded, latency",
    [(16, 1, 1, False, 1), (5, 3, 2, False, 1), (9, 2, 2, False, 2), (16, 2, 2, True, 2), (16, 2, 2, True, 6)],
)
def test_bits_go_into_the_cells_of_products(
    lanes: int, weight_bits: int, act_bits: int, recoded: bool, latency: int, tmp_path: Path
) -> None:
    """Synthesis keeps, and nextpnr packs, what is planned for iCE40, cell for cell, whatever waits for registers."""
    counter = TreeCounter(lanes=lanes, weight_bits=weight_bits, act_bits=act_bits, recoded=recoded, latency=latency)
    (tmp_path / "counter.v").write_text(emit_verilog(CellForm(counter, "ice40"), name="counter")[0])
    synthesis = synthesize_verilog(tmp_path / "counter.v", top="counter", family="ice40", folder=tmp_path)
    plan = create_adder_plan(lanes, weight_bits, act_bits, recoded=recoded)
    assert bool(plan.shared(latency)) == (latency <= plan.stages)
    constants = 2  # cells that nextpnr makes for a whole design
    assert pack_netlist(synthesis, folder=tmp_path).luts == plan.cells(latency) + constants
