"""A board's bitstream, its manifest and its report: synthesis once, place and route for each seed, the best packed."""

import gc
import gzip
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import UnusedElaboratable

from evenstep import __version__
from evenstep.checks import check_int
from evenstep.compiler import Program, compile_network
from evenstep.files import write_file
from evenstep.generate import generate_block
from evenstep.link.protocol import Region
from evenstep.spec.network import Network
from evenstep_boards import carries, multiplier_registers, netlist, output_registers, steps
from evenstep_boards.board import Board
from evenstep_boards.boot import RECORD_OFFSET, boot_record
from evenstep_boards.report import Routing
from evenstep_boards.steps import DESIGN, Progress, Steps
from evenstep_boards.toolchain import BuildTool, Processes, find_tool, interrupts_held
from evenstep_boards.top import BoardTop

__all__ = ["Build", "build_board", "read_build"]

_MAX_BYTES = 2**20
# Parts of a manifest that vouch for a file beside the bitstream.
_KEPT = ("record", "verify")


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
    leaves those of the last good one, but for the log. If the machine itself ends between the moves, there is no build.

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
    plan = _plan(board, images)
    commands = json.loads(plan[f"build_{DESIGN}.json"])["commands"]
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
        run = Steps(board, processes, tools, [command[1:] for command in commands], scratch, report_stage, folder)
        run.synthesize()
        best = run.route(seeds)
        bitstream = run.pack(best)
        report = _report(board, program, best, run.fmax, tools, key)
        products = _products(board, program is not None, record, report, bitstream, run.netlist, scratch)
        with interrupts_held():
            _move(products, folder)
    *_, target, manifest = (folder / product.name for product in products)
    return Build(target, manifest, report, cached=False)


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
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"Bitstream of {board.title} in {folder} is damaged ({error}): {advice}") from None
    return bitstream, part


def _plan(board: Board, images: Mapping[Region, Sequence[int]]) -> dict[str, Any]:
    """Files of Amaranth's plan of a build: the design, the tools' scripts and constraints, and their commands."""
    # Millions of small objects are made and no cycles worth collecting meanwhile: a quarter of the time.
    collecting = gc.isenabled()
    gc.disable()
    with warnings.catch_warnings():
        # Of every block, where a design is refused half made.
        warnings.simplefilter("ignore", UnusedElaboratable)
        try:
            return board.prepare(BoardTop(board, images), DESIGN)
        except BaseException as error:
            failure = error.with_traceback(None)
            failure.__context__ = None
        finally:
            if collecting:
                gc.enable()
        gc.collect()
    raise failure


def _key(board: Board, plan: dict[str, Any], seeds: int, tools: Sequence[BuildTool], record: bytes | None) -> str:
    """Names everything that a build depends on."""
    digest = hashlib.sha256()
    for module in (carries, multiplier_registers, netlist, output_registers, steps):
        digest.update(hashlib.sha256(Path(str(module.__file__)).read_bytes()).digest())
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
        if part["key"] != key or report["key"] != key or part["verify"] is None:
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not all((folder / file).is_file() for file in _bench_files(board)):
        return None
    return Build(bitstream, folder / f"{board.name}.json", report, cached=True)


def _report(
    board: Board,
    program: Program | None,
    best: Routing,
    fmax: dict[int, float],
    tools: Sequence[BuildTool],
    key: str,
) -> dict[str, Any]:
    """What a build says of itself."""
    return {
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


def _products(
    board: Board,
    has_network: bool,
    record: bytes | None,
    report: dict[str, Any],
    bitstream: Path,
    synthesized: Path,
    scratch: Path,
) -> list[Path]:
    """Files of a build, all of them made beside; the bitstream and the manifest, which vouches for others, last."""
    folder = scratch / "products"
    generate_block("engine", board.geometry, folder, name=board.name)
    kept: dict[str, dict[str, Any] | None] = dict.fromkeys(_KEPT)
    if record is not None:
        kept["record"] = {**_write_kept(folder / f"{board.name}.network.bin", record), "offset": RECORD_OFFSET}
    # What `evenstep verify` needs: where the pins are, if it takes the bitstream apart, else the netlist.
    pins = scratch / f"{DESIGN}.pcf"
    if pins.exists():
        kept["verify"] = _write_kept(folder / f"{board.name}.pcf", pins.read_bytes())
    else:
        packed = gzip.compress(synthesized.read_bytes(), 6, mtime=0)
        kept["verify"] = _write_kept(folder / f"{board.name}.netlist.json.gz", packed)
    target, manifest = folder / f"{board.name}.{board.bitstream}", folder / f"{board.name}.json"
    content = bitstream.read_bytes()
    values = json.loads(manifest.read_text("utf-8"))
    values["board"] = {
        "name": board.name,
        "clock_hz": board.clock_hz,
        "baud": board.baud,
        "usb": list(board.usb) if board.usb else None,
        "network": board.network if has_network else None,
        "bitstream": target.name,
        "bitstream_sha256": hashlib.sha256(content).hexdigest(),
        **kept,
        "key": report["key"],
    }
    write_file(target, content)
    write_file(manifest, json.dumps(values, indent=2) + "\n")
    write_file(folder / f"{board.name}.report.json", json.dumps(report, indent=2) + "\n")
    names = [*_bench_files(board), f"{board.name}.report.json"]
    names += [file["file"] for file in kept.values() if file is not None]
    return [folder / name for name in [*names, target.name, manifest.name]]


def _bench_files(board: Board) -> list[str]:
    """Names of the engine's Verilog and of its bench."""
    return [f"{board.name}.v", f"test_{board.name}.py"]


def _move(products: Sequence[Path], folder: Path) -> None:
    """Put the products in the places of the last build's.

    While files of both are there, there is no manifest, and `read_build` finds no build.
    """
    (folder / products[-1].name).unlink(missing_ok=True)
    for product in products:
        os.replace(product, folder / product.name)


def _write_kept(path: Path, content: bytes) -> dict[str, Any]:
    """Write a file that the manifest vouches for; its part of the manifest."""
    write_file(path, content)
    return {"file": path.name, "sha256": hashlib.sha256(content).hexdigest()}
