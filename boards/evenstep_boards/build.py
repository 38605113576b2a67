"""A board's bitstream, its manifest and its report: synthesis once, place and route for each seed, the best packed."""

import gc
import gzip
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import UnusedElaboratable

from evenstep import __version__
from evenstep.checks import check_int
from evenstep.compiler import Program, compile_network
from evenstep.files import write_file
from evenstep.generate import generate_block
from evenstep.spec.network import Network
from evenstep_boards.board import Board
from evenstep_boards.boot import RECORD_OFFSET, boot_record
from evenstep_boards.report import Routing, read_routing, refuse_size
from evenstep_boards.toolchain import BuildTool, Processes, find_tool
from evenstep_boards.top import BoardTop

__all__ = ["Build", "build_board", "read_build"]

_NAME = "top"
_MAX_BYTES = 2**20
# Iterations of nextpnr's second router. It takes about 50 where it ends at all. For some seeds it does not, and the
# first one, which is slow for full devices, must serve.
_MAX_ITERATIONS = 200
# Parts of a manifest that vouch for a file beside the bitstream.
_KEPT = ("record", "verify")
# Called with a stage, and whether it has ended.
Progress = Callable[[str, bool], None]


@dataclass(frozen=True)
class Build:
    """What a build left in its folder.

    Parameters
    ----------
    bitstream, manifest : Path
        Files. The manifest is that of the engine, as `evenstep.generate.Manifest` reads it, with a part for the board.
    report : dict
        Content of the report beside them.
    cached : bool
        It was there already, made of the same content by the same tools.
    """

    bitstream: Path
    manifest: Path
    report: dict[str, Any]
    cached: bool


def build_board(
    board: Board, folder: Path, *, network: Network | None = None, seeds: int = 1, progress: Progress | None = None
) -> Build:
    """Build a board's bitstream; the same board, network, seeds and tools give the same bytes.

    The folder gets ``NAME.SUFFIX`` (the bitstream), ``NAME.json``, ``NAME.v`` and ``test_NAME.py`` (manifest, Verilog
    and bench of the engine, as `evenstep.generate` makes them), ``NAME.report.json``, what `evenstep verify` needs
    (``NAME.pcf`` or ``NAME.netlist.json.gz``), ``NAME.network.bin`` for the flash memory of a board whose network lies
    there, and ``NAME.log``. They are made beside and moved there at the end: a build that fails or is interrupted
    leaves those of the last good one, but for the log.

    Parameters
    ----------
    board : Board
        The board.
    folder : Path
        Made if missing.
    network : Network
        Goes into the bitstream, or a file for the flash, where the board has room for it there; else it is checked that
        it fits the engine.
    seeds : int
        Placements to try, 1 to this one, at the same time as far as there are processors. The fastest is kept.
    progress : callable
        Called with the name of a stage, and whether it has ended; from any thread.

    Raises
    ------
    RuntimeError
        A tool is missing or fails, the engine does not fit the board, or misses its clock; the message says what to do.
    TypeError, ValueError
        The number of seeds is none, or the network does not fit the engine.
    """
    check_int("Seeds", seeds, 1, 1000)
    report_stage = progress or (lambda stage, ended: None)
    program = None if network is None else compile_network(network, board.geometry)
    images = program.sealed(program.signature) if program is not None and board.network == "embedded" else {}
    record = boot_record(program) if program is not None and board.network == "flash" else None
    report_stage("generate", False)
    plan = _plan(board, BoardTop(board, images))
    commands = json.loads(plan[f"build_{_NAME}.json"])["commands"]
    tools = [find_tool(command[0]) for command in commands]
    key = _key(board, plan, seeds, tools, record)
    report_stage("generate", True)
    found = _find_cached(board, folder, key)
    if found is not None:
        return found

    folder.mkdir(parents=True, exist_ok=True)
    # The tools from PyPI see the folder that they run in, its own and those above it, but not the system's for
    # temporary files.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as name, Processes() as processes:
        scratch = Path(name)
        for file, content in plan.items():
            write_file(scratch / file, content)
        steps = _Steps(board, processes, tools, [command[1:] for command in commands], scratch, report_stage, folder)
        steps.synthesize()
        best = steps.route(seeds)
        bitstream = steps.pack(best)
        products = _products(board, program, record, best, steps.fmax, tools, key, bitstream, scratch)
        for product in products:
            os.replace(product, folder / product.name)
    built = _find_cached(board, folder, key)
    assert built is not None, "What was built is what is found"
    return Build(built.bitstream, built.manifest, built.report, cached=False)


def read_build(board: Board, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Bitstream of a board in a folder, and its manifest's part for the board.

    Raises
    ------
    ValueError
        There is none, or it is damaged; the message says what to do.
    """
    manifest = folder / f"{board.name}.json"
    advice = f"run evenstep build {board.name} --output {folder}"
    try:
        if manifest.stat().st_size > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES} bytes of manifest")
        part = json.loads(manifest.read_text("utf-8"))["board"]
        bitstream = folder / f"{board.name}.{board.bitstream}"
        if hashlib.sha256(bitstream.read_bytes()).hexdigest() != part["bitstream_sha256"]:
            raise ValueError("the bitstream is not the manifest's")
        for name in _KEPT:
            kept = part[name]
            if kept is not None and hashlib.sha256((folder / kept["file"]).read_bytes()).hexdigest() != kept["sha256"]:
                raise ValueError(f"{kept['file']} is not the manifest's")
    except FileNotFoundError:
        raise ValueError(f"There is no bitstream of {board.title} in {folder}: {advice}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"Bitstream of {board.title} in {folder} is damaged ({error}): {advice}") from None
    return bitstream, part


def _plan(board: Board, top: BoardTop) -> dict[str, Any]:
    """Files of Amaranth's plan of a build: the design, the tools' scripts and constraints, and their commands."""
    # Millions of small objects are made and no cycles worth collecting meanwhile: a quarter of the time.
    collecting = gc.isenabled()
    gc.disable()
    with warnings.catch_warnings():
        # Of every block, where a design is refused half made.
        warnings.simplefilter("ignore", UnusedElaboratable)
        try:
            return board.platform().prepare(top, _NAME, emit_src=False, **board.settings).files
        except BaseException as error:
            failure = error.with_traceback(None)
            failure.__context__ = None
        finally:
            if collecting:
                gc.enable()
        gc.collect()
    raise failure


class _Steps:
    """The tools' runs of one build, in its scratch folder."""

    def __init__(
        self,
        board: Board,
        processes: Processes,
        tools: Sequence[BuildTool],
        arguments: Sequence[list[str]],
        scratch: Path,
        stage: Progress,
        folder: Path,
    ):
        self.board = board
        self.processes = processes
        # As Amaranth's platforms for these families have them.
        steps = zip(tools, arguments, strict=True)
        self.tools: dict[str, tuple[BuildTool, list[str]]] = dict(
            zip(("synthesize", "route", "pack"), steps, strict=True)
        )
        self.scratch = scratch
        self.stage = stage
        self.log = folder / f"{board.name}.log"
        self.fmax: dict[int, float] = {}

    def _run(
        self, step: str, arguments: list[str], folder: Path, stop: Callable[[], bool] = lambda: False
    ) -> str | None:
        """Run a step, until `stop` says so; its messages if it fails."""
        tool = self.tools[step][0]
        output = folder / f"{step}.log"
        if self.processes.run(tool, arguments, folder=folder, output=output, stop=stop):
            return None
        return output.read_text("utf-8", "replace")

    def _refuse(self, step: str, messages: str) -> RuntimeError:
        """Keep a failed tool's messages; the error that names the first."""
        write_file(self.log, messages)
        lines = [line for line in messages.splitlines() if "ERROR" in line] or messages.splitlines()[-1:]
        reason = lines[0].strip() if lines else "no message"
        return RuntimeError(f"{self.tools[step][0].name} cannot {step} {self.board.name}: {reason} (log: {self.log})")

    def synthesize(self) -> None:
        """Netlist of the design."""
        self.stage("synthesize", False)
        failure = self._run("synthesize", self.tools["synthesize"][1], self.scratch)
        if failure is not None:
            raise self._refuse("synthesize", failure)
        self.stage("synthesize", True)

    def route(self, seeds: int) -> Routing:
        """The fastest of many placements; raises `RuntimeError` if it is not fast enough."""
        with ThreadPoolExecutor(min(seeds, os.cpu_count() or 1)) as pool:
            waiting = [pool.submit(self._route_seed, seed) for seed in range(1, seeds + 1)]
            try:
                routed = [each.result() for each in waiting]
            except BaseException:
                self.processes.end()
                raise
        self.fmax = {each.seed: each.fmax for each in routed}
        best = max(routed, key=lambda each: (each.fmax, -each.seed))
        logs = [self.scratch / "synthesize.log", self._folder(best.seed) / "route.log"]
        write_file(self.log, "".join(log.read_text("utf-8", "replace") for log in logs))
        if not best.meets:
            tried = "seed 1" if seeds == 1 else f"the best of {seeds} seeds"
            raise RuntimeError(
                f"{self.board.title} misses its clock: {best.fmax:.2f} MHz of {best.wanted:g} MHz with {tried}; the "
                f"slowest path is {best.path()}: try more --seeds or a smaller geometry (log: {self.log})"
            )
        return best

    def _folder(self, seed: int) -> Path:
        return self.scratch / f"seed{seed}"

    def _route_seed(self, seed: int) -> Routing:
        stage = f"place and route, seed {seed}"
        self.stage(stage, False)
        folder = self._folder(seed)
        folder.mkdir()
        # What synthesis and the plan made lies one folder up. Messages are wanted, and timing is judged here.
        above = {path.name for path in self.scratch.iterdir()}
        given = [_from_above(each, above) for each in self.tools["route"][1] if each != "--quiet"]
        options = ["--seed", str(seed), "--report", "report.json", "--timing-allow-fail"]
        log = folder / "route.log"
        failure = self._run("route", [*options, *given], folder, lambda: _is_stuck(log))
        # Looked at once more, as how far the tool came until it was stopped is by chance.
        if _is_stuck(log):
            failure = self._run("route", [*options, *_with_router(given, "router1")], folder)
        if failure is not None:
            write_file(self.log, failure)
            refuse_size(failure, self.board)
            raise self._refuse("route", failure)
        routing = read_routing(folder / "report.json", self.board, seed)
        self.stage(stage, True)
        return routing

    def pack(self, best: Routing) -> Path:
        """Bitstream of a placement."""
        self.stage("pack", False)
        folder = self._folder(best.seed)
        failure = self._run("pack", self.tools["pack"][1], folder)
        if failure is not None:
            raise self._refuse("pack", failure)
        self.stage("pack", True)
        return folder / f"{_NAME}.{self.board.bitstream}"


def _is_stuck(log: Path) -> bool:
    """Whether the second router of nextpnr has tried so often that it goes round in circles, by its messages."""
    return log.read_bytes().count(b" overused=") > _MAX_ITERATIONS


def _with_router(arguments: Sequence[str], router: str) -> list[str]:
    """Arguments of nextpnr with another router."""
    kept = list(arguments)
    if "--router" in kept:
        place = kept.index("--router")
        del kept[place : place + 2]
    return ["--router", router, *kept]


def _from_above(argument: str, names: set[str]) -> str:
    """Argument of a tool that runs one folder below that of the files `names`: FILE, or OPTION=FILE."""
    option, equals, file = argument.rpartition("=")
    return f"{option}{equals}../{file}" if file in names else argument


def _key(board: Board, plan: dict[str, Any], seeds: int, tools: Sequence[BuildTool], record: bytes | None) -> str:
    """Names everything that a build depends on."""
    digest = hashlib.sha256()
    parts = [__version__, board.name, board.geometry.hash.hex(), str(seeds), *(tool.version for tool in tools)]
    parts.append("" if record is None else record.hex())
    for file in sorted(plan):
        content = plan[file]
        parts += [file, content if isinstance(content, str) else content.hex()]
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _find_cached(board: Board, folder: Path, key: str) -> Build | None:
    """The build in `folder`, if it is whole and that of `key`."""
    try:
        bitstream, part = read_build(board, folder)
        report = json.loads((folder / f"{board.name}.report.json").read_text("utf-8"))
        if part["key"] != key or report["key"] != key:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Build(bitstream, folder / f"{board.name}.json", report, cached=True)


def _products(
    board: Board,
    program: Program | None,
    record: bytes | None,
    best: Routing,
    fmax: dict[int, float],
    tools: Sequence[BuildTool],
    key: str,
    bitstream: Path,
    scratch: Path,
) -> list[Path]:
    """Files of a build, all of them made beside; the manifest, which vouches for others, last."""
    folder = scratch / "products"
    generated = generate_block("engine", board.geometry, folder, name=board.name)
    kept: dict[str, dict[str, Any] | None] = dict.fromkeys(_KEPT)
    if record is not None:
        kept["record"] = {**_write_kept(folder / f"{board.name}.network.bin", record), "offset": RECORD_OFFSET}
    # What `evenstep verify` needs: where the pins are, if it takes the bitstream apart, else the netlist.
    pins, netlist = scratch / f"{_NAME}.pcf", scratch / f"{_NAME}.json"
    if pins.exists():
        kept["verify"] = _write_kept(folder / f"{board.name}.pcf", pins.read_bytes())
    elif netlist.exists():
        packed = gzip.compress(netlist.read_bytes(), 6, mtime=0)
        kept["verify"] = _write_kept(folder / f"{board.name}.netlist.json.gz", packed)
    manifest = folder / f"{board.name}.json"
    content = bitstream.read_bytes()
    values = json.loads(manifest.read_text("utf-8"))
    values["board"] = {
        "name": board.name,
        "clock_hz": board.clock_hz,
        "baud": board.baud,
        "usb": list(board.usb) if board.usb else None,
        "network": board.network if program is not None else None,
        "bitstream": f"{board.name}.{board.bitstream}",
        "bitstream_sha256": hashlib.sha256(content).hexdigest(),
        **kept,
        "key": key,
    }
    report = {
        "board": board.name,
        "device": board.device,
        "clock_mhz": best.wanted,
        "fmax_mhz": round(best.fmax, 2),
        "seed": best.seed,
        "seeds": {str(seed): round(value, 2) for seed, value in sorted(fmax.items())},
        "cells": {name: {"used": used, "available": there} for name, (used, there) in best.cells.items()},
        "slowest_path": best.path(),
        "timing_note": board.timing_note,
        "array": {name: getattr(board.geometry, name) for name in ("rows", "columns", "lanes")},
        "weight_bits_per_cycle": board.geometry.weight_word_bits,
        "cycles": None if program is None else program.cycles,
        "useful": None if program is None else round(program.useful, 4),
        "tools": [tool.version for tool in tools],
        "key": key,
    }
    target = folder / f"{board.name}.{board.bitstream}"
    write_file(target, content)
    write_file(manifest, json.dumps(values, indent=2) + "\n")
    write_file(folder / f"{board.name}.report.json", json.dumps(report, indent=2) + "\n")
    names = [generated.verilog, f"test_{board.name}.py", f"{board.name}.report.json"]
    names += [file["file"] for file in kept.values() if file is not None]
    return [folder / name for name in [*names, target.name, manifest.name]]


def _write_kept(path: Path, content: bytes) -> dict[str, Any]:
    """Write a file that the manifest vouches for; its part of the manifest."""
    write_file(path, content)
    return {"file": path.name, "sha256": hashlib.sha256(content).hexdigest()}
