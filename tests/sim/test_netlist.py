"""The netlist that Yosys makes of an array or an element passes the same bench as its source."""

from pathlib import Path

import pytest

from evenstep.gateware.array import PEArray
from evenstep.gateware.counters.form import CellForm
from evenstep.generate import emit_verilog, generate_block
from evenstep.spec import Geometry
from evenstep_boards.synthesize import cell_models, synthesize_verilog
from evenstep_sim.runner import run_manifest, run_sources
from tests.ecp5_models import write_models

# The cells' ports are connected by Yosys, all of them; the defaults are SystemVerilog that Icarus 11 does not read.
_DEFINES = {"NO_ICE40_DEFAULT_ASSIGNMENTS": "1"}


@pytest.mark.parametrize(
    ("block", "geometry"),
    [
        ("array", Geometry(columns=4, lanes=8, accumulator_bits=16)),
        ("array", Geometry(rows=2, columns=3, lanes=5, act_bits=3)),
        ("array", Geometry(columns=2, lanes=3, weight_bits=3, breakpoints=1, accumulator_bits=12)),
        ("element", Geometry(lanes=3, weight_bits=4, breakpoints=2, piecewise="decoded")),
    ],
    ids=["array", "array-rows", "array-sums", "element-decoded"],
)
def test_netlist_passes_the_bench_of_its_source(block: str, geometry: Geometry, tmp_path: Path) -> None:
    manifest = generate_block(block, geometry, tmp_path)
    path = tmp_path / f"{manifest.module}.json"
    synthesis = synthesize_verilog(
        tmp_path / manifest.verilog, top=manifest.module, family="ice40", folder=tmp_path / "netlist"
    )
    assert synthesis.luts > 0 and synthesis.flip_flops > 0 and synthesis.dsps == 0
    source = run_manifest(path, simulator="icarus")
    netlist = run_sources(path, [cell_models("ice40"), synthesis.netlist], simulator="icarus", defines=_DEFINES)
    assert [result.name for result in netlist] == [result.name for result in source]


def test_array_of_ecp5_cells_passes_the_bench_of_its_source(tmp_path: Path) -> None:
    """Carry chains and copied registers, as models of the cells say."""
    geometry = Geometry(counter="ecp5", rows=2, columns=3, lanes=5, weight_bits=2, act_bits=2, accumulator_bits=12)
    manifest = generate_block("array", geometry, tmp_path)
    cells = tmp_path / "cells.v"
    cells.write_text(emit_verilog(CellForm(PEArray(geometry), "ecp5"), name=manifest.module)[0])
    assert {"CCU2C", "TRELLIS_FF"} <= set(cells.read_text().split())
    write_models(tmp_path / "models.v")
    path = tmp_path / f"{manifest.module}.json"
    results = run_sources(path, [tmp_path / "models.v", cells], simulator="icarus")
    assert {"values", "timing"} <= {result.name for result in results}


def test_broken_netlist_fails(tmp_path: Path) -> None:
    manifest = generate_block("array", Geometry(columns=1, lanes=2, accumulator_bits=8), tmp_path)
    synthesis = synthesize_verilog(
        tmp_path / manifest.verilog, top=manifest.module, family="ice40", folder=tmp_path / "netlist"
    )
    text = synthesis.netlist.read_text()
    head, table, tail = text.partition(".LUT_INIT(16'h")
    broken = tmp_path / "broken.v"
    # One LUT gives the opposite; a single bit may be one that its inputs never reach.
    broken.write_text(head + table + f"{int(tail[:4], 16) ^ 0xFFFF:04x}" + tail[4:])
    assert table, "The netlist must have LUTs"
    with pytest.raises(AssertionError, match=r"^evenstep_array on icarus, seed 1: "):
        run_sources(
            tmp_path / f"{manifest.module}.json", [cell_models("ice40"), broken], simulator="icarus", defines=_DEFINES
        )
