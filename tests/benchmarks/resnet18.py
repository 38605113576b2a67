"""ResNet-18 of 2-bit weights and activations, 224 x 224: compiled, and its first blocks simulated, weights streaming.

Run as ``python -m tests.benchmarks.resnet18`` in the root of the repository; with ``--simulate`` it needs a C++
compiler, and a quarter of an hour. Parameters are random: what is looked at is the engine. Printed are the cycles of
each layer on an engine of R x C x K = 4 x 16 x 16 lanes, what limits it, and the share of array cycles that do useful
work, weighted by multiply-accumulates, the first layer apart; of CNV too. With ``--simulate`` the stem, the blocks of
the first stage and the first one of stride 2 then run in simulation, on a picture for each row: integers are compared
with the reference, cycles with those predicted. The exit status is 1 if any differ. With ``--neighbours`` rows take
neighbouring lines of one picture instead.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from evenstep.compiler import Placement, Program, WidePlacement, compile_network
from evenstep.generate import generate_block
from evenstep.host import EngineClient
from evenstep.spec import INPUT, Geometry, Network
from evenstep_golden import reference
from evenstep_golden.lower import lower
from evenstep_sim.virtual import VerilatedTransport, build_engine
from tests.golden.networks import quantized

__all__ = ["GEOMETRY", "first_layers", "simulate", "weighted_use"]

GEOMETRY = Geometry(
    rows=4,
    columns=16,
    lanes=16,
    max_passes=256,
    convolution=True,
    rescale=True,
    wide_depth=2**20,
    port_bits=128,
    program_depth=4096,
    weight_depth=2048,
    act_depth=2**19,
    threshold_depth=2**14,
    constant_depth=2**14,
    knee_depth=2**14,
    result_depth=1024,
    accumulator_bits=20,
)
#: The codes that follow the first block of stride 2.
_LAST = "stages.1.1.first.act"


def first_layers(network: Network, last: str) -> Network:
    """`network` up to the layer `last`, with what that takes."""
    wanted, kept = {last}, []
    for layer in reversed(network.layers):
        if layer.name in wanted:
            kept.insert(0, replace(layer, sources=network.sources(layer)))
            wanted.update(network.sources(layer))
    assert INPUT in wanted
    return Network(tuple(kept), (), network.name, network.input_shape)


def weighted_use(program: Program) -> tuple[float, float]:
    """Useful share of lane cycles, weighted by multiply-accumulates: of the first layer, and of all others."""
    first, *rest = [layer.cycles for layer in program.layers if layer.cycles.useful]
    macs = [cycles.useful * cycles.total for cycles in rest]
    return first.useful, sum(m * cycles.useful for m, cycles in zip(macs, rest, strict=True)) / sum(macs)


def cycle_table(program: Program) -> Table:
    """Cycles of every layer, and what limits it."""
    table = Table("layer", "parts", "cycles", "waits", "useful", "limit", title=program.network.name)
    for layer in program.layers:
        parts, cycles = sum(hasattr(one, "tiles") for one in layer.descriptors), layer.cycles
        table.add_row(
            layer.name, str(parts), f"{cycles.total:,}", f"{cycles.waits:,}", f"{cycles.useful:.1%}", cycles.limit
        )
    return table


def simulate(program: Program, geometry: Geometry, folder: Path, console: Console) -> bool:
    """Run a program on random pictures; whether all that was read, and the cycles, are as they must be."""
    manifest = generate_block("engine", geometry, folder)
    (folder / "external.bin").write_bytes(program.external)
    executable = build_engine(folder / f"{manifest.module}.json")
    network = program.network
    pixels = np.random.default_rng(18).integers(0, 2**network.input_bits, (geometry.batch, network.inputs))
    expected = dict(zip((layer.name for layer in network.layers), reference.run(network, pixels), strict=True))
    begun, equal = time.perf_counter(), True
    with EngineClient(VerilatedTransport(executable, external=folder / "external.bin", timeout=3600.0)) as client:
        client.load(program)
        console.print(f"loaded after {time.perf_counter() - begun:.0f} s")
        status = client.run(pixels)
        console.print(
            f"{status.cycles:,} cycles counted, {program.cycles:,} predicted, after {time.perf_counter() - begun:.0f} s"
        )
        equal &= status.cycles == program.cycles
        for result in program.results:
            if result.overwritten or not isinstance(result.place, Placement | WidePlacement):
                continue
            # Wide numbers are many: those of one row are read, and the codes that they become of all.
            for row in range(1 if isinstance(result.place, WidePlacement) else geometry.batch):
                differing = int((client.integers(result, row) != expected[result.name][row]).sum())
                console.print(f"{result.name}, row {row}: {differing} of {expected[result.name][row].size} differ")
                equal &= not differing
    return equal


def main() -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=224, help="height and width of the pictures")
    parser.add_argument("--simulate", action="store_true", help="also run the first blocks in simulation")
    parser.add_argument("--neighbours", action="store_true", help="rows share a picture")
    arguments = parser.parse_args()
    engine = GEOMETRY.replace(neighbours=arguments.neighbours)
    console = Console(width=120)
    shape = (3, arguments.size, arguments.size)
    whole = lower(quantized("resnet18", "n2uq:2", "n2uq:2", shape=shape, pictures=2, passes=1))
    for network in (whole, lower(quantized("cnv", "n2uq:2", "n2uq:2", shape=(3, 32, 32), pictures=2, passes=1))):
        program = compile_network(network, engine)
        console.print(cycle_table(program))
        first, rest = weighted_use(program)
        console.print(
            f"{program.cycles:,} cycles for {engine.batch} pictures; useful lane cycles, weighted by "
            f"multiply-accumulates: first layer {first:.1%}, all others {rest:.1%}"
        )
    if not arguments.simulate:
        return 0
    # The first layers have few weights: they stream through a memory that is too small for them.
    geometry = engine.replace(weight_depth=1024)
    program = compile_network(first_layers(whole, _LAST), geometry)
    assert program.external
    with tempfile.TemporaryDirectory() as folder:
        return 0 if simulate(program, geometry, Path(folder), console) else 1


if __name__ == "__main__":
    sys.exit(main())
