"""Random networks on compiled engines: every integer at every layer, and every cycle.

Run as ``python tests/benchmarks/random_networks.py --networks 1000``; it needs a C++ compiler. Of each geometry an
engine is generated and compiled once; then networks of random layers, sizes, encodings and precisions are loaded, one
after the other, and run on random inputs. A network that fails is made smaller: the fewest layers and the smallest
pictures with which any of many seeds still fails are printed, as a line for `KEPT` in
`tests/sim/test_random_networks.py`. The exit status is 1 if any failed.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from evenstep.compiler import compile_network
from evenstep.generate import generate_block
from evenstep.host import Engine, LinkError
from evenstep.spec import Geometry
from evenstep_sim.networks import random_network
from evenstep_sim.virtual import VerilatedTransport, build_engine

__all__ = ["GEOMETRIES", "Case", "Rig", "Tally", "run_case"]

_PICTURES = Geometry(
    rows=2,
    columns=4,
    lanes=8,
    convolution=True,
    max_weight_bits=4,
    max_passes=64,
    program_depth=1024,
    weight_depth=2**13,
    act_depth=2**12,
    accumulator_bits=28,
)
_VECTORS = Geometry(columns=12, lanes=7, rows=3, max_weight_bits=6, max_passes=64, threshold_style="serial")
#: Engines, by name.
GEOMETRIES = {
    "pictures": _PICTURES,
    "few lanes": _PICTURES.replace(columns=7, lanes=3, rows=1, rescale=True, wide_depth=2**13),
    "wide codes": _PICTURES.replace(
        weight_bits=3, max_weight_bits=6, act_bits=4, output_bits=4, threshold_style="search"
    ),
    "bit-serial": _PICTURES.replace(weight_bits=1, max_weight_bits=4, act_bits=1, output_bits=2, max_passes=256),
    "shortcuts": _PICTURES.replace(
        columns=3,
        output_bits=3,
        act_bits=1,
        threshold_style="search",
        max_passes=256,
        rescale=True,
        wide_depth=2**14,
        wide_bits=11,
    ),
    "streams": _PICTURES.replace(columns=1, lanes=4, rescale=True, wide_depth=2**13, weight_depth=24, port_bits=32),
    "neighbours": _PICTURES.replace(rows=4, neighbours=True, rescale=True, wide_depth=2**13),
    "narrow neighbours": _PICTURES.replace(
        rows=2,
        columns=3,
        lanes=4,
        neighbours=True,
        act_bits=1,
        max_passes=256,
        rescale=True,
        wide_depth=2**13,
        weight_depth=2**6,
        port_bits=32,
    ),
    "pipelined": _PICTURES.replace(
        counter="ecp5", columns=3, lanes=4, rescale=True, wide_depth=2**13, weight_depth=2**6, port_bits=32
    ),
    "pipelined neighbours": _PICTURES.replace(
        counter="ecp5", rows=4, neighbours=True, rescale=True, wide_depth=2**13, threshold_style="search"
    ),
    "recoded": _PICTURES.replace(
        counter="ice40",
        encoding="twos-complement",
        max_weight_bits=4,
        rescale=True,
        threshold_style="serial",
        max_passes=256,
        weight_depth=2**6,
        port_bits=32,
    ),
    "vectors": _VECTORS,
    # Columns enough for those that nobody reads to wait for those that leave slowly.
    "pipelined vectors": _VECTORS.replace(counter="ecp5", columns=40, lanes=3, rows=1),
    "piecewise": Geometry(
        columns=2, lanes=5, weight_bits=3, act_bits=4, output_bits=4, breakpoints=2, rescale=True, accumulator_bits=30
    ),
}
# Seeds that a smaller network is looked for with.
_SHRINKING = 40


@dataclass(frozen=True)
class Case:
    """A random network: what `random_network` takes, with a generator of `seed`."""

    seed: int
    layers: int = 3
    size: int = 7


@dataclass
class Tally:
    """Networks that were equal, some with weights that streamed, that were refused as too large, and that failed."""

    equal: int = 0
    streamed: int = 0
    refused: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Rig:
    """An engine of a geometry, and the file that its external memory holds."""

    geometry: Geometry
    transport: VerilatedTransport
    engine: Engine
    external: Path


def run_case(rig: Rig, case: Case, tally: Tally) -> str:
    """Run a network; what differs, in one line, or nothing."""
    geometry, engine = rig.geometry, rig.engine
    rng = np.random.default_rng(case.seed)
    network = random_network(geometry, rng, layers=case.layers, size=case.size)
    try:
        program = compile_network(network, geometry)
    except ValueError as error:
        if "generate it with" in str(error) or "any engine's accumulators" in str(error):
            tally.refused += 1
            return ""
        tally.failed += 1
        return f"refused: {error}"
    inputs = rng.integers(0, 2**network.input_bits, (geometry.batch, network.inputs))
    if program.external:
        rig.external.write_bytes(program.external)
        rig.transport.cycle_power()  # memories are as files then are
        tally.streamed += 1
    try:
        engine.load(program)
        found = engine.boundaries(inputs)
    except LinkError as error:  # such as a run of other cycles than predicted
        tally.failed += 1
        return str(error)
    if engine.cycles != program.cycles * engine.runs:
        tally.failed += 1
        return f"{engine.cycles} cycles instead of {program.cycles}"
    expected = dict(zip((layer.name for layer in network.layers), network.boundaries(inputs), strict=True))
    wrong = [name for name, integers in found.items() if not np.array_equal(integers, expected[name])]
    if wrong:
        tally.failed += 1
        return f"wrong integers after {wrong[0]}"
    tally.equal += 1
    return ""


def shrunk(run: Callable[[Case], str], case: Case) -> Case:
    """The smallest case that fails like `case`, of those tried."""
    for layers in range(1, case.layers + 1):
        for size in range(1, case.size + 1):
            for seed in range(_SHRINKING):
                if run(Case(seed, layers, size)):
                    return Case(seed, layers, size)
    return case


def run_geometry(name: str, cases: Iterable[Case], folder: Path) -> tuple[Tally, list[str]]:
    """Run cases on the engine of a geometry, generated into `folder`; their tally, and lines of those that failed."""
    geometry, tally = GEOMETRIES[name], Tally()
    manifest = generate_block("engine", geometry, folder)
    lines = []
    external = folder / "external.bin"
    external.touch()
    transport = VerilatedTransport(build_engine(folder / f"{manifest.module}.json"), external=external)
    with Engine(transport, geometry) as engine:
        rig = Rig(geometry, transport, engine, external)
        for case in cases:
            if reason := run_case(rig, case, tally):
                small = shrunk(lambda one: run_case(rig, one, Tally()), case)
                lines.append(f"({name!r}, {small}),  # {reason}")
    return tally, lines


def main() -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=1000, help="networks for each geometry")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    arguments = parser.parse_args()
    failures = []
    for name in GEOMETRIES:
        seeds = range(arguments.first, arguments.first + arguments.networks)
        with tempfile.TemporaryDirectory() as folder:
            cases = track((Case(seed) for seed in seeds), total=len(seeds), description=name)
            tally, lines = run_geometry(name, cases, Path(folder))
        print(f"{name}: {tally.equal} equal, {tally.refused} too large for the engine, {tally.failed} failed")
        failures += lines
    for line in failures:
        print(line)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
