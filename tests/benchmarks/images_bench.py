"""Runs of an engine whose every cycle is driven from Python: what `simulation_rate.py` compares with."""

import cocotb
import numpy as np

from evenstep.compiler import Program, compile_network
from evenstep.spec import Geometry
from evenstep_golden.sample import sample_images, sample_network
from evenstep_sim.host import EngineBench
from evenstep_sim.networks import random_program

#: Runs of the second test that the first has not.
MORE_RUNS = 2


def program_and_inputs(geometry: Geometry) -> tuple[Program, np.ndarray]:
    """The shipped network and its images, or, where it does not fit, a random one."""
    try:
        return compile_network(sample_network(), geometry), sample_images().flat
    except ValueError:
        rng = np.random.default_rng(1)
        program = random_program(geometry, rng)
        return program, rng.integers(0, 2**program.network.input_bits, (64, program.network.inputs))


async def _run(dut, count: int) -> None:
    bench = await EngineBench.start(dut)
    program, inputs = program_and_inputs(bench.geometry)
    rows = bench.geometry.rows

    def run() -> None:
        bench.client.load(program)
        for start in range(0, count * rows, rows):
            bench.client.run(inputs[start : start + rows])
            expected = [program.boundaries(vector)[-1] for vector in inputs[start : start + rows]]
            np.testing.assert_array_equal(bench.client.outputs(rows), expected)

    await bench.blocking(run)


@cocotb.test()
async def one_run(dut) -> None:
    """Load, and run once."""
    await _run(dut, 1)


@cocotb.test()
async def more_runs(dut) -> None:
    """Load, and run more often."""
    await _run(dut, 1 + MORE_RUNS)
