"""`evenstep verify` with the real tools, on small engines: what is right passes, and a single wrong bit does not."""

import copy
import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from evenstep.compiler import Program
from evenstep.generate import generate_block
from evenstep.qonnx import write_network
from evenstep.spec import Geometry
from evenstep_boards.board import Board
from evenstep_boards.build import build_board
from evenstep_boards.catalog import BOARDS
from evenstep_boards.commands.verify import verify
from evenstep_boards.images import ImageSet
from evenstep_boards.toolchain import Processes, find_tool
from evenstep_boards.top import BoardTop
from evenstep_boards.verify import Verification, check, ice40, verify_build
from evenstep_boards.verify.design import Design
from evenstep_sim.networks import random_program

SMALL = {"rows": 1, "columns": 1, "lanes": 4, "weight_depth": 64, "act_depth": 64, "threshold_depth": 64}
# Bits of a LUT, by their place among those of its logic cell: columns 36 to 45 of two rows of its tile.
_LUT_COLUMNS = range(36, 46)
_LUT_BITS = (4, 14, 15, 5, 6, 16, 17, 7, 3, 13, 12, 2, 1, 11, 10, 0)
# How the names of nets begin within the elements of an array.
ELEMENTS = "engine.core.array.pe_"


def small(name: str) -> Board:
    board = BOARDS[name]
    return replace(board, geometry=board.geometry.replace(**SMALL))


def random_network(geometry: Geometry, seed: int) -> Program:
    return random_program(geometry, np.random.default_rng(seed))


def names(program: Program) -> tuple[str, ...]:
    """Layers whose integers can be read when a run has ended."""
    return tuple(result.name for result in program.results if not result.overwritten)


def random_images(program: Program, count: int) -> ImageSet:
    top = 2**program.network.input_bits
    return ImageSet(np.random.default_rng(2).integers(0, top, (count, program.network.inputs)), None)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small iCEBreaker with a network; beside it the network, another one, and an image."""
    folder, board = tmp_path_factory.mktemp("built"), small("icebreaker")
    program = random_network(board.geometry, 3)
    build_board(board, folder / "build", network=program.network)
    write_network(program.network, folder / "network.onnx")
    others = (random_network(board.geometry, seed) for seed in range(4, 100))
    other = next(each for each in others if each.network.inputs == program.network.inputs)
    write_network(other.network, folder / "other.onnx")
    np.savez(folder / "image.npz", pixels=random_images(program, 1).pixels)
    return folder


def run(built: Path, *, build: Path | None = None, network: str = "network.onnx") -> Result:
    arguments = [
        "icebreaker",
        str(built / network),
        str(built / "image.npz"),
        "--output",
        str(build or built / "build"),
    ]
    return CliRunner().invoke(verify, arguments)


@pytest.fixture(scope="module")
def taken_apart(built: Path) -> tuple[Result, str]:
    """What the command makes of the build, and Verilog of the bitstream."""
    found = []

    def keep(*arguments: Any) -> Design:
        design = ice40.take_apart(*arguments)
        found.append(design.sources[0].read_text())
        return design

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "take_apart", keep)
        return run(built), found[0]


def test_bitstream_of_icebreaker(built: Path, taken_apart: tuple[Result, str]) -> None:
    """Taken apart, it boots its network from flash, and every integer is right."""
    result = taken_apart[0]
    assert result.exit_code == 0, (result.output, result.exception)
    assert "Verified: bitstream of iCEBreaker, taken apart by icebox_vlog" in result.output
    assert "its network came with the board at power-up" in result.output
    layers = names(random_network(small("icebreaker").geometry, 3))
    assert f"1 of 1 images equal at every one of {', '.join(layers)}" in result.output
    assert not list((built / "build").glob(".*")), "nothing may be left behind"


def test_flipped_bit_of_a_lut_is_found(built: Path, taken_apart: tuple[Result, str], tmp_path: Path) -> None:
    """In the bitstream: of the LUT that makes a bit of all weights that are written to the SPRAM."""
    build = Path(shutil.copytree(built / "build", tmp_path / "build"))
    bitstream = build / "icebreaker.bin"
    shutil.copyfile(bitstream, tmp_path / "chip.bin")
    work(tmp_path, "iceunpack", "chip.bin", "chip.asc")
    verilog = taken_apart[1]
    written = re.search(r"\.DATAIN\(\{.*, (\w+)\}\)", verilog)
    assert written is not None
    made = re.search(rf"^assign {written[1]} *= /\* LUT +(\d+) +(\d+) +(\d+) \*/", verilog, re.MULTILINE)
    if made is None:  # by way of the cell's output, which has no flip-flop
        through = re.search(rf"^.* assign {written[1]} = (\w+);$", verilog, re.MULTILINE)
        assert through is not None
        made = re.search(rf"^assign {through[1]} *= /\* LUT +(\d+) +(\d+) +(\d+) \*/", verilog, re.MULTILINE)
    assert made is not None
    column, row, cell = map(int, made.groups())
    flip_lut(tmp_path / "chip.asc", column, row, cell)
    work(tmp_path, "icepack", "chip.asc", "chip.bin")
    assert bitstream.read_bytes() != (tmp_path / "chip.bin").read_bytes()
    shutil.copyfile(tmp_path / "chip.bin", bitstream)
    manifest = json.loads((build / "icebreaker.json").read_text())
    manifest["board"]["bitstream_sha256"] = hashlib.sha256(bitstream.read_bytes()).hexdigest()
    (build / "icebreaker.json").write_text(json.dumps(manifest))
    result = run(built, build=build)
    assert result.exit_code == 1
    assert "differs from the integer reference, first layer" in result.output, (result.output, result.exception)


def work(folder: Path, tool: str, *arguments: str) -> None:
    with Processes() as processes:
        assert processes.run(find_tool(tool), arguments, folder=folder, output=folder / "log")


def flip_lut(bits: Path, column: int, row: int, cell: int) -> None:
    """Clear the first bit of a LUT that is set: it counts, as inputs that are not used are 0."""
    lines = bits.read_text().splitlines()
    first = lines.index(f".logic_tile {column} {row}") + 1 + 2 * cell
    for place in _LUT_BITS:
        line, at = first + place // len(_LUT_COLUMNS), _LUT_COLUMNS[place % len(_LUT_COLUMNS)]
        if lines[line][at] == "1":
            lines[line] = f"{lines[line][:at]}0{lines[line][at + 1 :]}"
            break
    else:
        raise AssertionError("a LUT that is used must have a bit")
    bits.write_text("\n".join(lines) + "\n")


def test_other_network_is_refused(built: Path) -> None:
    result = run(built, network="other.onnx")
    expected = f"Build of iCEBreaker in {built / 'build'} holds another network: name it, or build this one"
    assert isinstance(result.exception, ValueError) and str(result.exception) == expected


def test_missing_tool_names_its_installation(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    result = run(built)
    assert isinstance(result.exception, RuntimeError)
    install = "apt-get install fpga-icestorm fpga-icestorm-chipdb"
    assert str(result.exception) == f"Verifying iCEBreaker needs icebox_vlog, which must be installed: {install}"


def test_missing_build_is_told(built: Path, tmp_path: Path) -> None:
    result = run(built, build=tmp_path)
    assert isinstance(result.exception, ValueError)
    assert str(result.exception).startswith("There is no bitstream of iCEBreaker in ")


def test_wrong_clock_is_refused(built: Path, taken_apart: tuple[Result, str], tmp_path: Path) -> None:
    """Of the PLL in the bitstream, whose pin the simulation drives with the board's clock."""
    program = tmp_path / "icebox_vlog"
    # The PLL as the tool prints it.
    pll = re.search(r"^SB_PLL40_PAD #\(.*?^\);", taken_apart[1], re.MULTILINE | re.DOTALL)
    assert pll is not None
    unmatched = "// Warning: unmatched port 'clk12_0__io'"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{unmatched}\n{pll[0]}\nendmodule\nEND\n")
    program.chmod(0o755)
    build = built / "build"
    board = replace(small("icebreaker"), clock_hz=24_000_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        with pytest.raises(
            ValueError, match=r"^Bitstream of iCEBreaker must make a clock of 24000000 Hz, not 36000000 Hz$"
        ):
            ice40.take_apart(board, build / "icebreaker.bin", build / "icebreaker.pcf", tmp_path)


class Netlists:
    """Small boards after synthesis, with a network in their block RAMs; each is synthesized once."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._made: dict[str, tuple[dict[str, Any], Program]] = {}

    def get(self, name: str) -> tuple[dict[str, Any], Program]:
        """Netlist of a board, as Yosys writes it, and its network."""
        if name not in self._made:
            folder, board = self._folder / name, small(name)
            folder.mkdir()
            program = random_network(board.geometry, 5)
            top = BoardTop(board, program.sealed(program.signature))
            for file, content in board.prepare(top, "top").items():
                (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)
            work(folder, "yosys", "-q", "-l", "top.rpt", "top.ys")
            file = "top.syn.json" if name == "tangnano9k" else "top.json"
            self._made[name] = json.loads((folder / file).read_text()), program
        return self._made[name]

    def verify(
        self, name: str, change: Callable[[dict[str, Any]], None], folder: Path, *, clock_hz: int | None = None
    ) -> Verification:
        """Verify a build with that netlist, once it is changed, and with another clock than the board's own."""
        netlist, program = self.get(name)
        changed = copy.deepcopy(netlist)
        change(changed["modules"]["top"])
        built = replace(small(name), clock_hz=clock_hz or small(name).clock_hz)
        write_build(folder, built, json.dumps(changed).encode())
        return verify_build(small(name), folder, program.network, random_images(program, 2))


def write_build(folder: Path, board: Board, netlist: bytes | None) -> None:
    """What `evenstep verify` reads of a build."""
    (folder / f"{board.name}.{board.bitstream}").write_bytes(b"bits")
    generate_block("engine", board.geometry, folder, name=board.name)
    manifest = json.loads((folder / f"{board.name}.json").read_text())
    part = {"bitstream_sha256": hashlib.sha256(b"bits").hexdigest(), "record": None, "verify": None}
    part["clock_hz"] = board.clock_hz
    if netlist is not None:
        kept = folder / f"{board.name}.netlist.json.gz"
        kept.write_bytes(gzip.compress(netlist, 1))
        part["verify"] = {"file": kept.name, "sha256": hashlib.sha256(kept.read_bytes()).hexdigest()}
    manifest["board"] = {**part, "network": board.network}
    (folder / f"{board.name}.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def netlists(tmp_path_factory: pytest.TempPathFactory) -> Netlists:
    return Netlists(tmp_path_factory.mktemp("netlists"))


def change_nothing(top: dict[str, Any]) -> None:
    """As Yosys made it."""


@pytest.mark.parametrize("name", ["ulx3s", "tangnano9k", "gatemateevb"])
def test_netlist(name: str, netlists: Netlists, tmp_path: Path) -> None:
    """After synthesis, with its network in its block RAMs: every integer is right, and nothing is loaded."""
    found = netlists.verify(name, change_nothing, tmp_path)
    assert found.resident and found.result.difference is None and found.result.equal.all()
    assert found.result.compared == names(random_network(small(name).geometry, 5))


def flip_netlist_lut(top: dict[str, Any]) -> None:
    """Flip a bit of a LUT that multiplies two bits, in front of an adder that counts products: 0 times 0 gives 1."""
    sums = {bit for name, net in top["netnames"].items() if name.startswith(ELEMENTS) for bit in net["bits"]}
    adders = [cell["connections"] for cell in top["cells"].values() if cell["type"] == "ALU"]
    added = {ports[name][0] for ports in adders if ports["SUM"][0] in sums for name in ("I0", "I1")}
    luts = (cell for cell in top["cells"].values() if cell["type"] == "LUT2" and cell["connections"]["F"][0] in added)
    lut = next(cell for cell in luts if cell["parameters"]["INIT"] == "1000")
    lut["parameters"]["INIT"] = "1001"


def test_flipped_bit_of_a_netlist_is_found(netlists: Netlists, tmp_path: Path) -> None:
    found = netlists.verify("tangnano9k", flip_netlist_lut, tmp_path)
    assert found.result.difference is not None and not found.result.equal.all()


def make_pll_faster(top: dict[str, Any]) -> None:
    for cell in top["cells"].values():
        if cell["type"] == "CC_PLL":
            cell["parameters"]["OUT_CLK"] = "50.0"


def switch_a_pin(top: dict[str, Any]) -> None:
    """By the signal that it puts out."""
    pin = next(cell for cell in top["cells"].values() if cell["type"] == "TBUF")
    pin["connections"]["OEN"] = pin["connections"]["I"]


def reset_a_block_ram(top: dict[str, Any]) -> None:
    ram = next(cell for cell in top["cells"].values() if cell["type"] == "SDPX9B")
    ram["connections"]["RESETB"] = ram["connections"]["CEB"]


def add_an_unknown_cell(top: dict[str, Any]) -> None:
    top["cells"]["unknown"] = {"type": "ODDR", "parameters": {}, "attributes": {}, "connections": {}}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gatemateevb", make_pll_faster, "must make a clock of {clock} Hz, not 50000000 Hz"),
        ("tangnano9k", switch_a_pin, "has a pin that is switched, which cannot be verified"),
        ("tangnano9k", reset_a_block_ram, "uses RESETB of SDPX9B, which cannot be verified"),
        ("tangnano9k", add_an_unknown_cell, "holds ODDR, which cannot be verified"),
    ],
)
def test_netlist_that_cannot_be_verified(
    name: str, change: Callable[[dict[str, Any]], None], message: str, netlists: Netlists, tmp_path: Path
) -> None:
    expected = message.format(clock=BOARDS[name].clock_hz)
    with pytest.raises(ValueError, match=rf"^Netlist of {BOARDS[name].title} {expected}$"):
        netlists.verify(name, change, tmp_path)


def test_clock_is_that_of_the_build(netlists: Netlists, tmp_path: Path) -> None:
    board = BOARDS["gatemateevb"]
    expected = f"must make a clock of 50000000 Hz, not {board.clock_hz} Hz"
    with pytest.raises(ValueError, match=rf"^Netlist of {board.title} {expected}$"):
        netlists.verify(board.name, change_nothing, tmp_path, clock_hz=50_000_000)


@pytest.mark.parametrize(
    ("device", "netlist", "message"),
    [
        ("XC7A35T", b"{}", r"Tang Nano 9K cannot be verified below its source: there are no models of its cells"),
        ("GW1NR-9C", None, r"Build of Tang Nano 9K in .* keeps nothing to verify: build it again"),
    ],
)
def test_build_that_cannot_be_verified(device: str, netlist: bytes | None, message: str, tmp_path: Path) -> None:
    board = replace(small("tangnano9k"), device=device)
    write_build(tmp_path, board, netlist)
    program = random_network(board.geometry, 3)
    with pytest.raises(ValueError, match=f"^{message}$"):
        verify_build(board, tmp_path, program.network, random_images(program, 1))
