"""`evenstep compare`: all implementations of a network side by side on one input."""

import hashlib
import re
import tempfile
import zipfile
from dataclasses import fields
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from evenstep.compiler import Program, compile_network
from evenstep.generate import Manifest, generate_block
from evenstep.generate.options import geometry_options
from evenstep.host import Engine
from evenstep.options import NETWORK, refuse_options
from evenstep.qonnx import read_network
from evenstep.spec import Geometry, Network
from evenstep_golden.reference import Mismatch
from evenstep_golden.sample import sample_images
from evenstep_sim.compare.differences import Pair, compare_pairs, first_difference, values_at
from evenstep_sim.compare.sides import MissingSideError, Side, run_reference, run_side
from evenstep_sim.compare.window import drain_window
from evenstep_sim.virtual import Trace, VerilatedTransport, build_engine

__all__ = ["compare"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_REFERENCE, _ENGINE = "reference", "engine"
# Of a header, beside its array: far more than numpy writes.
_HEADER_BYTES = 4096
_MAX_WINDOW = 100_000


@click.command()
@click.argument("network", type=NETWORK)
@click.option("--image", type=click.IntRange(0, 199), help="Input: this one of the shipped test images.  [default: 0]")
@click.option("--input", "file", type=_FILE, help="Input: a .npy file of integer codes, as many as the network takes.")
@click.option("--checkpoint", type=_FILE, help="Also torch's evaluation of this checkpoint.")
@click.option(
    "--with", "others", type=NETWORK, multiple=True, help="Also another .onnx file, by the integer reference."
)
@click.option("--qonnx/--no-qonnx", default=True, show_default=True, help="Also the qonnx executor.")
@click.option("--engine/--no-engine", "simulated", default=True, show_default=True, help="Also the simulated engine.")
@click.option(
    "--manifest",
    type=_FILE,
    help="Engine: of this JSON file of evenstep generate, with the Verilog beside it as it lies there.  [default: "
    "generated from the options below]",
)
@click.option(
    "--window",
    type=click.IntRange(1, _MAX_WINDOW),
    default=256,
    show_default=True,
    help="Cycles of the waveform that is left where the engine differs.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("evenstep-compare"),
    show_default=True,
    help="Folder for the engine's Verilog and the waveform.",
)
@geometry_options
def compare(
    network: Path,
    image: int | None,
    file: Path | None,
    checkpoint: Path | None,
    others: tuple[Path, ...],
    qonnx: bool,
    simulated: bool,
    manifest: Path | None,
    window: int,
    output: Path,
    geometry: Geometry,
) -> None:
    """Run all implementations of NETWORK on one input, and compare every integer of every layer.

    NETWORK is a .onnx file, or the word sample for the one that comes with the package. The integer reference always
    runs; the qonnx executor where it is installed; the engine, compiled by Verilator, and
    torch on request. The first layer, channel and position that differ are named, with all values; where the engine
    differs, a waveform of the cycles in which that layer drains is left. The exit status is 1 if anything differs.
    """
    if image is not None and file is not None:
        raise click.UsageError("--image and --input exclude each other: one input is compared")
    engine_options = ["preset", *(field.name for field in fields(Geometry))]
    if manifest is not None:
        refuse_options(engine_options, "excludes --manifest, which tells what the engine is")
    if not simulated:
        refuse_options([*engine_options, "manifest", "window"], "excludes --no-engine: it is the engine's")
    console = Console()
    loaded = read_network(network)
    inputs = _read_input(file, loaded) if file is not None else _sample(image or 0, loaded)
    program = None
    if simulated:
        # Refused before anything takes time.
        manifest = manifest or _generate(loaded, geometry, output)
        program = _compile(loaded, Manifest.read(manifest).engine_geometry())

    sides = [run_reference(_REFERENCE, loaded, inputs)]
    for other in others:
        sides.append(_other(other, loaded, inputs))
    if checkpoint is not None:
        try:
            sides.append(run_side("torch", checkpoint, loaded, inputs))
        except MissingSideError as error:
            raise click.ClickException(f"{error}: run pip install 'evenstep[golden]'") from None
    if qonnx:
        try:
            sides.append(run_side("qonnx", network, loaded, inputs))
        except MissingSideError as error:
            console.print(f"{error}: run pip install qonnx, or leave it out with --no-qonnx", highlight=False)
    if program is not None and manifest is not None:
        sides.append(_run_engine(manifest, program, inputs, console))

    if len(sides) == 1:
        raise click.ClickException(f"Nothing is left to compare the {_REFERENCE} with: give one of the options for it")

    pairs = compare_pairs(loaded, sides)
    console.print(_table(loaded, pairs), highlight=False)
    first = first_difference(loaded, pairs)
    if first is None:
        count = sum(values[0].size for values in sides[0].boundaries.values())
        click.echo(f"No difference in {count:,} integers after {len(loaded.layers)} layers of {loaded.name}")
        return
    for pair in pairs:
        if pair.first is not None:
            click.echo(
                f"{pair.one} and {pair.other} first differ in {_where(pair.first)}: {_values(pair.first, sides)}"
            )
    broken = next((pair for pair in pairs if (pair.one, pair.other) == (_REFERENCE, _ENGINE)), None)
    if broken is not None and broken.first is not None and program is not None and manifest is not None:
        _leave_waveform(manifest, program, inputs, broken.first, window, output)
    raise click.ClickException(f"First difference: {_where(first)}: {_values(first, sides)}")


def _read_input(path: Path, network: Network) -> np.ndarray:
    """Input codes of shape (1, inputs)."""
    limit = _HEADER_BYTES + 8 * network.inputs
    if path.stat().st_size > limit:
        raise ValueError(f"{path} must be at most {limit} bytes long, not {path.stat().st_size}")
    try:
        # Mapped, so that what a damaged header says is not allocated.
        codes = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no .npy file: {error}") from None
    if not isinstance(codes, np.ndarray) or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"{path} must hold one array of integers, not {getattr(codes, 'dtype', 'several')}")
    top = 2**network.input_bits - 1
    if codes.size != network.inputs:
        raise ValueError(f"{path} must hold the {network.inputs} input codes of {network.name}, not {codes.size}")
    if codes.min() < 0 or codes.max() > top:
        raise ValueError(f"{path} must hold codes from 0 to {top}, not {codes.min()} to {codes.max()}")
    return codes.reshape(1, -1).astype(np.int64)


def _sample(number: int, network: Network) -> np.ndarray:
    pixels = sample_images().flat
    if (network.inputs, network.input_bits) != (pixels.shape[1], 8):
        raise ValueError(
            f"{network.name} takes {network.inputs} codes of {network.input_bits} bits, not the {pixels.shape[1]} "
            "pixels of the shipped images: give an input with --input"
        )
    return pixels[number : number + 1].astype(np.int64)


def _generate(network: Network, geometry: Geometry, folder: Path) -> Path:
    _compile(network, geometry)
    return folder / f"{generate_block('engine', geometry, folder).module}.json"


def _compile(network: Network, geometry: Geometry) -> Program:
    try:
        return compile_network(network, geometry)
    except ValueError as error:
        raise ValueError(f"{error}; or leave the engine out with --no-engine") from None


def _other(path: Path, network: Network, inputs: np.ndarray) -> Side:
    other = read_network(path)
    names, found = ([layer.name for layer in one.layers] for one in (network, other))
    if names != found or (network.inputs, network.input_bits) != (other.inputs, other.input_bits):
        raise ValueError(f"{path} must have inputs and layers of the same names as {network.name}, which it has not")
    return run_reference(path.name, other, inputs)


def _run_engine(manifest: Path, program: Program, inputs: np.ndarray, console: Console) -> Side:
    described = Manifest.read(manifest)
    if hashlib.sha256(manifest.with_name(described.verilog).read_bytes()).hexdigest() != described.sha256:
        console.print(f"{described.verilog} was changed since it was generated; it runs as it is", highlight=False)
    with console.status("Compiling the engine with Verilator (half a minute; kept for the next time)"):
        executable = build_engine(manifest, trace=True)
    return Side(_ENGINE, _run(executable, program, inputs))


def _run(executable: Path, program: Program, inputs: np.ndarray, trace: Trace | None = None) -> dict[str, np.ndarray]:
    """What the engine makes of a copy of the input in each row of its array."""
    transport = VerilatedTransport(executable, trace=trace)
    with Engine(transport, program.geometry, name="the simulated engine") as engine:
        engine.load(program)
        return engine.boundaries(np.repeat(inputs, program.geometry.batch, axis=0))


def _table(network: Network, pairs: list[Pair]) -> Table:
    table = Table()
    table.add_column("layer")
    for pair in pairs:
        table.add_column(f"{pair.one}\n{pair.other}", justify="right")
    for layer in network.layers:
        table.add_row(layer.name, *(_cell(pair.differing[layer.name]) for pair in pairs))
    return table


def _cell(differing: int | None) -> str:
    if differing is None:
        return "not shown"
    return f"[red]{differing} differ" if differing else "[green]equal"


def _where(first: Mismatch) -> str:
    pixel = f", row {first.pixel[0]}, column {first.pixel[1]}" if first.pixel else ""
    return f"layer {first.layer}, channel {first.channel}, position {first.position}{pixel}"


def _values(first: Mismatch, sides: list[Side]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values_at(first, sides).items())


def _leave_waveform(
    manifest: Path, program: Program, inputs: np.ndarray, first: Mismatch, cycles: int, folder: Path
) -> None:
    """Run once more, and keep what happens where the layer's channel drains."""
    begin, end = drain_window(program, first, cycles)
    path = folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', first.layer)}.vcd"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".trace-") as scratch:
        unfinished = Path(scratch) / path.name
        _run(build_engine(manifest, trace=True), program, inputs, Trace(unfinished, begin, end))
        unfinished.replace(path)
    click.echo(
        f"{path}: waveform of cycles {begin} to {end} of the run, in which channel {first.channel} of {first.layer} "
        "drains; cycle n is at n times 10 ns"
    )
