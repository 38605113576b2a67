"""How fast a simulated engine runs images: the compiled main loop beside a bench that drives every cycle from Python.

Run as ``python tests/benchmarks/simulation_rate.py``. Both simulate the same Verilog with Verilator, and speak to it
over its link; what loading takes is not counted. All results are compared with the integer reference.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from images_bench import RUNS, SECONDS, program_and_inputs
from rich.progress import track

from evenstep.generate import generate_block
from evenstep.host import Engine
from evenstep.spec import PRESETS, Geometry
from evenstep_golden import reference
from evenstep_sim.runner import run_manifest
from evenstep_sim.virtual import VerilatedTransport, build_engine

__all__ = ["measure"]

_BATCH = 1000


def measure(geometry: Geometry, images: int, folder: Path) -> tuple[float, float]:
    """Images a second of the compiled main loop, and of the bench, for an engine generated into `folder`."""
    manifest = folder / f"{generate_block('engine', geometry, folder).module}.json"
    program, inputs = program_and_inputs(geometry)
    seconds = 0.0
    with Engine(VerilatedTransport(build_engine(manifest)), geometry) as engine:
        engine.load(program)
        for start in track(range(0, images, _BATCH), description="Compiled main loop"):
            batch = np.resize(np.roll(inputs, -start, axis=0), (min(_BATCH, images - start), inputs.shape[1]))
            begun = time.perf_counter()
            found = engine.infer(batch)
            seconds += time.perf_counter() - begun
            np.testing.assert_array_equal(found, reference.run(program.network, batch)[-1])
    run_manifest(manifest, bench="images_bench")
    return images / seconds, RUNS * geometry.rows / float((folder / SECONDS).read_text())


def main() -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="images of the compiled main loop")
    parser.add_argument("--preset", choices=list(PRESETS), default="default", help="engine")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compiled, bench = measure(PRESETS[arguments.preset], arguments.images, Path(folder))
    print(f"compiled main loop: {compiled:.1f} images a second ({arguments.images:,} images, all equal)")
    print(f"every cycle from Python: {bench:.2f} images a second")
    print(f"ratio: {compiled / bench:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
