"""Runs of an engine whose every cycle is driven from Python: what `simulation_rate.py` compares with."""

import os
import time
from pathlib import Path

import cocotb
import numpy as np

from evenstep.compiler import Program, compile_network
from evenstep.spec import Geometry
from evenstep_golden.sample import sample_images, sample_network
from evenstep_sim.bench import MANIFEST_VARIABLE
from evenstep_sim.host import EngineBench
from evenstep_sim.networks import random_program

#: Runs that are timed, and the file beside the manifest for their seconds.
RUNS = 3
SECONDS = "seconds.txt"


def program_and_inputs(geometry: Geometry) -> tuple[Program, np.ndarray]:
    """The shipped network and its images, or, where it does not fit, a random one."""
    try:
        return compile_network(sample_network(), geometry), sample_images().flat
    except ValueError:
        rng = np.random.default_rng(1)
        program = random_program(geometry, rng)
        return program, rng.integers(0, 2**program.network.input_bits, (64, program.network.inputs))


@cocotb.test()
async def runs(dut) -> None:
    """Load, then run; the seconds that the runs took go to a file."""
    bench = await EngineBench.start(dut)
    program, inputs = program_and_inputs(bench.geometry)
    rows = bench.geometry.rows

    def run() -> None:
        bench.client.load(program)
        begun = time.perf_counter()
        for start in range(0, RUNS * rows, rows):
            bench.client.run(inputs[start : start + rows])
            expected = [program.boundaries(vector)[-1] for vector in inputs[start : start + rows]]
            np.testing.assert_array_equal(bench.client.outputs(rows), expected)
        Path(os.environ[MANIFEST_VARIABLE]).with_name(SECONDS).write_text(f"{time.perf_counter() - begun}")

    await bench.blocking(run)
