"""Place and route with the real nextpnr: what is counted, what is refused, and that a seed gives the same figures."""

import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from evenstep.generate import generate_block
from evenstep.spec import Geometry
from evenstep_boards import toolchain
from evenstep_boards.place import DEVICES, NoRoomError, pack_netlist, place_netlist
from evenstep_boards.synthesize import Synthesis, synthesize_verilog

FAMILIES = ("ice40", "ecp5")
# An 8-bit accumulator with a parity beside it: every path from input to output, from input to register and back.
ACCUMULATOR = """
module accumulator(input clk, input rst, input [7:0] step, output reg [7:0] total, output odd, output one);
  assign odd = ^step;
  assign one = 1'b1;
  always @(posedge clk) if (rst) total <= 0; else total <= total + step;
endmodule
"""
# A memory of so many words of 16 bits; an iCE40's block RAM holds 256.
MEMORY = """
module memory(input clk, input write, input [13:0] address, input [15:0] data, output reg [15:0] out);
  reg [15:0] words [0:{last}];
  always @(posedge clk) begin
    if (write) words[address] <= data;
    out <= words[address];
  end
endmodule
"""
# An ECP5 has one oscillator.
OSCILLATORS = "module oscillators(input clk, output [1:0] o); OSCG a(.OSC(o[0])); OSCG b(.OSC(o[1])); endmodule"


def synthesized(text: str, family: str, folder: Path) -> Synthesis:
    name = text.split("(")[0].split()[-1]
    (folder / "source.v").write_text(text)
    return synthesize_verilog(folder / "source.v", top=name, family=family, folder=folder)


@pytest.fixture(scope="module")
def accumulators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Synthesis]:
    """The accumulator, synthesized for each family."""
    folder = tmp_path_factory.mktemp("accumulator")
    return {family: synthesized(ACCUMULATOR, family, folder) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_block_is_counted(family: str, accumulators: dict[str, Synthesis], tmp_path: Path) -> None:
    synthesis = accumulators[family]
    placed = place_netlist(synthesis, folder=tmp_path, seed=1)
    assert placed.flip_flops == synthesis.flip_flops == 8
    packed = asdict(pack_netlist(synthesis, folder=tmp_path))
    assert packed == {name: value for name, value in asdict(placed).items() if name in packed}
    # A carry chain begins and ends in cells of its own, and a constant takes one.
    assert synthesis.luts <= placed.luts <= synthesis.luts + 6
    assert (placed.block_rams, placed.dsps, placed.carries) == (0, 0, synthesis.carries)
    assert 100 < placed.fmax < 1000
    assert placed.critical_path.endswith("cells") and " ns of it routing" in placed.critical_path
    log = (tmp_path / f"accumulator_{family}_place.log").read_text()
    assert "Max frequency" in log
    assert place_netlist(synthesis, folder=tmp_path, seed=1) == placed
    assert place_netlist(synthesis, folder=tmp_path, seed=2).seed == 2
    assert not list(tmp_path.glob(".*")), "Nothing half made is left"


def test_rows_without_luts_do_not_count(accumulators: dict[str, Synthesis], tmp_path: Path) -> None:
    synthesis = accumulators["ecp5"]
    spread = asdict(place_netlist(synthesis, folder=tmp_path, device="lfe5u-85f-spread"))
    plain = asdict(pack_netlist(synthesis, folder=tmp_path))
    assert {name: spread[name] for name in plain} == plain | {"device": DEVICES["lfe5u-85f-spread"].name}
    # Every third row, which are 30 less 7 of blocks: 123 tiles with eight LUTs each.
    taken = re.search(r"TRELLIS_COMB: +(\d+)/", (tmp_path / "accumulator_ecp5_place.log").read_text())
    assert taken and int(taken[1]) == spread["luts"] + 23 * 123 * 8


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_has_more_ports_than_pins(family: str, tmp_path: Path) -> None:
    """Wires alone: no flip-flops, and no LUTs but the constant that every iCE40 design has."""
    text = "module wires(input clk, input [499:0] i, output [499:0] o); assign o = i; endmodule\n"
    placed = place_netlist(synthesized(text, family, tmp_path), folder=tmp_path)
    assert (placed.luts, placed.flip_flops) == (int(family == "ice40"), 0)


def test_block_rams_are_counted(tmp_path: Path) -> None:
    """Two of 256 words."""
    synthesis = synthesized(MEMORY.format(last=511), "ice40", tmp_path)
    assert place_netlist(synthesis, folder=tmp_path).block_rams == 2


@pytest.mark.parametrize(
    "family, text, limit",
    [
        ("ice40", MEMORY.format(last=33 * 256 - 1), "47 flip-flops around it, it takes 34 ICESTORM_RAM of 32"),
        ("ecp5", OSCILLATORS, "2 flip-flops around it, it takes 2 OSCG of 1"),
    ],
    ids=["ice40", "ecp5"],
)
def test_what_does_not_fit_is_refused(family: str, text: str, limit: str, tmp_path: Path) -> None:
    synthesis = synthesized(text, family, tmp_path)
    with pytest.raises(NoRoomError, match=rf"^{synthesis.module} does not fit .*: with the {limit}$"):
        place_netlist(synthesis, folder=tmp_path)


def test_broken_netlist_is_one_line(accumulators: dict[str, Synthesis], tmp_path: Path) -> None:
    whole, cells = accumulators["ice40"], tmp_path / "broken.cells"
    synthesis = replace(whole, cells=cells)
    netlist = json.loads(whole.cells.read_text())
    for cell in netlist["modules"]["accumulator"]["cells"].values():
        if cell["type"] == "SB_LUT4":
            cell["type"] = "SB_LUT5"
    cells.write_text(json.dumps(netlist))
    with pytest.raises(
        RuntimeError, match=r"^nextpnr-ice40 cannot place accumulator on .*ERROR: .*SB_LUT5.* \(log: .*\.log\)$"
    ):
        place_netlist(synthesis, folder=tmp_path)
    for damaged in ("{", "[]", '{"modules": {}}', '{"modules": {"accumulator": {"ports": [], "cells": {}}}}'):
        cells.write_text(damaged)
        with pytest.raises(ValueError, match=r"broken\.cells is no netlist of accumulator by Yosys$"):
            place_netlist(synthesis, folder=tmp_path)


def test_bad_arguments_are_refused(accumulators: dict[str, Synthesis], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^Seed must be an integer from 0 to 2147483647, not -1$"):
        place_netlist(accumulators["ice40"], folder=tmp_path, seed=-1)
    for clock in ("clock", "total"):
        with pytest.raises(ValueError, match=rf"^Clock must be one of the module's inputs, not '{clock}'$"):
            place_netlist(accumulators["ice40"], folder=tmp_path, clock=clock)


def test_what_cannot_be_placed_is_refused(tmp_path: Path) -> None:
    nothing = Synthesis("a", "xilinx7", 0, 0, 0, 0, 0, tmp_path / "a.v", tmp_path / "a.cells")
    with pytest.raises(ValueError, match=r"^Family to place on must be one of ice40, ecp5, not 'xilinx7'$"):
        place_netlist(nothing, folder=tmp_path)
    with pytest.raises(ValueError, match=r"^Device must be one of hx8k, up5k, not 'lfe5u-85f'$"):
        place_netlist(replace(nothing, family="ice40"), folder=tmp_path, device="lfe5u-85f")


@pytest.mark.parametrize("family", FAMILIES)
def test_missing_nextpnr_names_its_installation(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Synthesis("a", family, 0, 0, 0, 0, 0, tmp_path / "a.v", tmp_path / "a.cells")
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda _: None)
    expected = rf"^nextpnr-{family} must be installed: pip install 'evenstep\[boards\]'$"
    with pytest.raises(RuntimeError, match=expected):
        place_netlist(nothing, folder=tmp_path)


def test_command_prints_both_figures(tmp_path: Path) -> None:
    manifest = generate_block("packer", Geometry(lanes=2), tmp_path)
    command = [sys.executable, "-m", "evenstep.cli", "synthesize", str(tmp_path / f"{manifest.module}.json")]
    result = subprocess.run(
        [*command, "--family", "ice40", "--place", "--seed", "3"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "synthesized" in result.stdout and "placed" in result.stdout and "MHz with seed 3" in result.stdout
