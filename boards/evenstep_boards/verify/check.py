"""The check itself: a build's design, simulated, against the integers that it must make."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from evenstep.compiler import Program, compile_network
from evenstep.generate import Manifest
from evenstep.host import Engine, LinkError
from evenstep.spec.network import Network
from evenstep_boards.board import Board
from evenstep_boards.boot import RECORD_OFFSET, boot_record
from evenstep_boards.build import read_build
from evenstep_boards.images import ImageSet
from evenstep_boards.run import BoardPart, RunResult, run_images
from evenstep_boards.steps import Progress
from evenstep_boards.verify.design import Design, bench_verilog
from evenstep_boards.verify.ecp5 import ECP5
from evenstep_boards.verify.gatemate import GATEMATE
from evenstep_boards.verify.gowin import GOWIN
from evenstep_boards.verify.ice40 import take_apart
from evenstep_boards.verify.netlist import NetlistFamily, read_netlist
from evenstep_boards.verify.simulation import SimulatedBoard
from evenstep_boards.verify.verilator import compile_bench

__all__ = ["Verification", "verify_build", "verify_design"]

_FAMILIES = (ECP5, GOWIN, GATEMATE)
# Clock cycles of a simulation that is over sooner than its compiler could have made it fast.
_HURRY_BELOW = 500_000


@dataclass(frozen=True, eq=False)
class Verification:
    """What came of a check.

    Parameters
    ----------
    title : str
        What was verified.
    resident : bool
        The engine had the network at power-up; else it was loaded over the link.
    result : RunResult
        Of the images.
    program : Program
        Of the network.
    cycles : int
        Simulated, in all.
    uncovered : tuple of str
        What is believed and not verified.
    """

    title: str
    resident: bool
    result: RunResult
    program: Program
    cycles: int
    uncovered: tuple[str, ...]


def verify_build(
    board: Board, folder: Path, network: Network, images: ImageSet, *, progress: Progress | None = None
) -> Verification:
    """Verify what `evenstep_boards.build.build_board` left in `folder`, below its source.

    The engine must tell the manifest's hash, have the network at power-up if the build has it, and give the integers
    of the reference at every layer that can be read. What differs is in the result; it is no error.

    Parameters
    ----------
    board : Board
        The board. Its geometry and clock are the manifest's.
    folder : Path
        Of the build.
    network : Network
        To run; where the build holds one, that one.
    images : ImageSet
        To classify.
    progress : callable
        Called with the name of a stage, and whether it has ended.

    Raises
    ------
    LinkError
        The design does not answer, or not as its engine must.
    RuntimeError
        A tool is missing or fails.
    ValueError
        There is no build, it cannot be verified, or it holds another network.
    """
    stage = progress or (lambda name, ended: None)
    bitstream, part = read_build(board, folder)
    manifest = folder / f"{board.name}.json"
    clock_hz = BoardPart.read(manifest).clock_hz or board.clock_hz
    board = replace(board, geometry=Manifest.read(manifest).geometry, clock_hz=clock_hz)
    program = compile_network(network, board.geometry)
    if part["record"] is not None and (folder / part["record"]["file"]).read_bytes() != boot_record(program):
        raise ValueError(f"Build of {board.title} in {folder} holds another network: name it, or build this one")
    if part["verify"] is None:
        raise ValueError(f"Build of {board.title} in {folder} keeps nothing to verify: build it again")
    kept = folder / part["verify"]["file"]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".verify-") as name:
        scratch = Path(name)
        stage("read the design", False)
        if kept.suffix == ".pcf":
            design = take_apart(board, bitstream, kept, scratch)
        else:
            design = read_netlist(board, _family(board), kept, scratch)
        stage("read the design", True)
        record = b"" if part["record"] is None else (folder / part["record"]["file"]).read_bytes()
        return verify_design(
            board,
            design,
            scratch,
            program=program,
            images=images,
            flash=bitstream.read_bytes().ljust(RECORD_OFFSET, b"\xff") + record,
            holds_network=part["network"] in ("embedded", "flash"),
            progress=stage,
        )


def _family(board: Board) -> NetlistFamily:
    """Of the board's device."""
    for family in _FAMILIES:
        if board.device.startswith(family.devices):
            return family
    raise ValueError(f"{board.title} cannot be verified below its source: there are no models of its cells")


def verify_design(
    board: Board,
    design: Design,
    folder: Path,
    *,
    program: Program,
    images: ImageSet,
    flash: bytes = b"",
    holds_network: bool = False,
    progress: Progress | None = None,
) -> Verification:
    """Verify a design, as `verify_build` does.

    Parameters
    ----------
    board, design : Board, Design
        The board, with the geometry of its engine, and its design.
    folder : Path
        For what is made on the way.
    program, images : Program, ImageSet
        To run.
    flash : bytes
        What the board's flash memory holds.
    holds_network : bool
        The engine must have the network at power-up.
    progress : callable
        Called with the name of a stage, and whether it has ended.

    Raises
    ------
    LinkError, RuntimeError, ValueError
        As `verify_build` does.
    """
    stage = progress or (lambda name, ended: None)
    stage("compile its simulation", False)
    bench, content = folder / "bench.v", folder / "flash.bin"
    bench.write_text(bench_verilog(board, design), "utf-8")
    content.write_bytes(flash)
    hurry = _cycles(board, program, len(images)) < _HURRY_BELOW
    executable = compile_bench([bench, *design.sources], design.libraries, folder, design.defines, hurry=hurry)
    stage("compile its simulation", True)
    stage("run it", False)
    transport = SimulatedBoard(executable, board, content)
    told: list[int] = []
    with Engine(transport, board.geometry, name=design.title) as engine:
        engine.load(program, lambda done, total: told.append(done))
        # A network that is there is not written again, and all of it is done at once.
        resident = len(told) == 1
        if holds_network and not resident:
            raise LinkError(f"{board.title} must have its network at power-up, which it has not")
        result = run_images(engine, program, images)
    stage("run it", True)
    return Verification(design.title, resident, result, program, transport.cycles, design.uncovered)


def _cycles(board: Board, program: Program, images: int) -> int:
    """Clock cycles of a simulation, about: ten bits a byte if all goes over the line, and the engine's own."""
    words = sum(map(len, program.images.values())) + images * program.network.inputs
    return 4 * words * 10 * board.divisor + program.cycles * images
