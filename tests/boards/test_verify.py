"""`evenstep verify` with the real tools, on small engines: what is right passes, and a single wrong bit does not."""

import gzip
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

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
from evenstep_boards.verify import ice40, verify_build, verify_design
from evenstep_boards.verify.ecp5 import read_netlist
from evenstep_sim.networks import random_program

SMALL = {"rows": 1, "columns": 1, "lanes": 4, "weight_depth": 64, "act_depth": 64, "threshold_depth": 64}
# Bits of a LUT, by their place among those of its logic cell: columns 36 to 45 of two rows of its tile.
_LUT_COLUMNS = range(36, 46)
_LUT_BITS = (4, 14, 15, 5, 6, 16, 17, 7, 3, 13, 12, 2, 1, 11, 10, 0)


def small(name: str) -> Board:
    board = BOARDS[name]
    return replace(board, geometry=board.geometry.replace(**SMALL))


def random_network(geometry: Geometry, seed: int) -> Program:
    return random_program(geometry, np.random.default_rng(seed))


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


def test_bitstream_of_icebreaker(built: Path) -> None:
    """Taken apart, it boots its network from flash, and every integer is right."""
    before = sorted(path.name for path in (built / "build").iterdir())
    result = run(built)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "Verified: bitstream of iCEBreaker, taken apart by icebox_vlog" in result.output
    assert "its network came with the board at power-up" in result.output
    assert "1 of 1 images equal at every one of layer0, layer1, layer2" in result.output
    assert sorted(path.name for path in (built / "build").iterdir()) == before, "nothing may be left behind"


def test_flipped_bit_of_a_lut_is_found(built: Path, tmp_path: Path) -> None:
    """In the bitstream: of the LUT that makes a bit of all weights that are written to the SPRAM."""
    build = Path(shutil.copytree(built / "build", tmp_path / "build"))
    bitstream = build / "icebreaker.bin"
    shutil.copyfile(bitstream, tmp_path / "chip.bin")
    work(tmp_path, "iceunpack", "chip.bin", "chip.asc")
    ice40.take_apart(small("icebreaker"), bitstream, build / "icebreaker.pcf", tmp_path)
    verilog = (tmp_path / "chip.v").read_text()
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


def test_wrong_clock_is_refused(built: Path, tmp_path: Path) -> None:
    """Of the PLL in the bitstream, whose pin the simulation drives with the board's clock."""
    build = built / "build"
    board = replace(small("icebreaker"), clock_hz=24_000_000)
    with pytest.raises(
        ValueError, match=r"^Bitstream of iCEBreaker must make a clock of 24000000 Hz, not 21000000 Hz$"
    ):
        ice40.take_apart(board, build / "icebreaker.bin", build / "icebreaker.pcf", tmp_path)


def test_board_without_models_is_refused(tmp_path: Path) -> None:
    folder, board = tmp_path, small("tangnano9k")
    (folder / "tangnano9k.fs").write_bytes(b"bits")
    generate_block("engine", board.geometry, folder, name="tangnano9k")
    manifest = json.loads((folder / "tangnano9k.json").read_text())
    sha256 = hashlib.sha256(b"bits").hexdigest()
    manifest["board"] = {"bitstream_sha256": sha256, "record": None, "verify": None, "network": None}
    (folder / "tangnano9k.json").write_text(json.dumps(manifest))
    program = random_network(board.geometry, 3)
    with pytest.raises(ValueError, match=r"^Tang Nano 9K cannot be verified below its source: there are no models of "):
        verify_build(board, folder, program.network, random_images(program, 1))


def test_netlist_of_ulx3s(tmp_path: Path) -> None:
    """After synthesis, with its network in its block RAMs: every integer is right, and nothing is loaded."""
    board = small("ulx3s")
    program = random_network(board.geometry, 5)
    top = BoardTop(board, program.sealed(program.signature))
    for name, content in board.platform().prepare(top, "top", emit_src=False, **board.settings).files.items():
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    work(tmp_path, "yosys", "-q", "-l", "top.rpt", "top.ys")
    netlist = tmp_path / "netlist.json.gz"
    netlist.write_bytes(gzip.compress((tmp_path / "top.json").read_bytes()))
    design = read_netlist(board, netlist, tmp_path)
    found = verify_design(
        board, design, tmp_path, program=program, images=random_images(program, 2), holds_network=True
    )
    assert found.resident and found.result.difference is None and found.result.equal.all()
    assert found.result.compared == ("layer0", "layer1", "layer2")
