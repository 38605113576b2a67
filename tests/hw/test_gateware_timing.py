"""Latencies by geometry, which gateware and cycle model share; and that the compiler needs no Amaranth for them."""

import itertools
import subprocess
import sys
from typing import Any

import pytest

from evenstep.gateware.counters.plans import create_chain_plan
from evenstep.gateware.element import create_element
from evenstep.gateware.thresholds.create import create_threshold_unit
from evenstep.gateware.timing import (
    array_latency,
    combiner_latency,
    counter_latency,
    is_pipelined,
    operand_latency,
    read_latency,
    region_read_cycles,
    store_latency,
    threshold_interval,
    threshold_latency,
    tile_cycles,
)
from evenstep.spec import COUNTERS, Geometry
from tests.refusals import refusal


@pytest.mark.parametrize(
    ("parameters", "latency", "tile"),
    [
        ({}, 2, 8),
        ({"counter": "ice40", "columns": 3}, 3, 3),
        ({"counter": "ice40", "lanes": 1, "weight_bits": 1, "act_bits": 1, "output_bits": 1}, 2, 8),
        ({"counter": "ice40", "lanes": 2, "weight_bits": 1, "act_bits": 1, "output_bits": 1}, 2, 8),
        ({"counter": "ice40", "weight_bits": 4, "breakpoints": 1}, 2, 8),
        ({"counter": "ecp5"}, 11, 11),
        *[({"counter": "ecp5", "counter_registers": most}, min(most, 4) + 7, 11) for most in (1, 2, 3, 16)],
        ({"counter": "ecp5", "columns": 1, "lanes": 1, "weight_bits": 1, "act_bits": 1, "output_bits": 1}, 8, 4),
        ({"counter": "ecp5", "weight_bits": 4, "breakpoints": 1}, 2, 8),
        ({"counter": "ecp5", "weight_bits": 4, "breakpoints": 1, "piecewise": "decoded"}, 7, 8),
        ({"weight_bits": 4, "breakpoints": 1, "piecewise": "decoded"}, 2, 8),
    ],
)
def test_latencies(parameters: dict[str, Any], latency: int, tile: int) -> None:
    geometry = Geometry(**parameters)
    assert array_latency(geometry) == latency
    assert tile_cycles(geometry) == tile


@pytest.mark.parametrize(
    ("counter", "style", "latency", "interval"),
    [
        ("portable", "bank", 2, 1),
        ("ecp5", "bank", 5, 1),
        ("portable", "search", 6, 1),
        ("ecp5", "search", 21, 1),
        ("portable", "serial", 6, 5),
        ("ecp5", "serial", 21, 20),
        ("portable", "requantize", 5, 1),
        ("ecp5", "requantize", 7, 1),
    ],
)
def test_threshold_styles(counter: str, style: str, latency: int, interval: int) -> None:
    geometry = Geometry(counter=counter, threshold_style=style, output_bits=5)
    assert threshold_latency(geometry) == latency
    assert threshold_interval(geometry) == interval
    unit = create_threshold_unit(style, width=8, bits=5, channels=4, registered=is_pipelined(geometry))
    assert (unit.latency, unit.interval) == (latency, interval)


@pytest.mark.parametrize(
    ("parameters", "latency"),
    [
        ({}, 0),
        ({"breakpoints": 1, "weight_bits": 4}, 3),
        ({"rescale": True}, 6),
        ({"rescale": True, "counter": "ecp5"}, 11),
        ({"rescale": True, "counter": "ecp5", "breakpoints": 1, "weight_bits": 4}, 6),
    ],
)
def test_combiners(parameters: dict[str, Any], latency: int) -> None:
    assert combiner_latency(Geometry(**parameters)) == latency


@pytest.mark.parametrize(
    ("parameters", "read", "operands", "store", "host"),
    [
        ({}, 1, 1, 0, 4),
        ({"rows": 2, "convolution": True, "neighbours": True}, 1, 1, 1, 4),
        ({"counter": "ecp5"}, 3, 4, 1, 8),
        ({"counter": "ecp5", "weight_bits": 4, "breakpoints": 1}, 1, 1, 0, 4),
    ],
)
def test_memories(parameters: dict[str, Any], read: int, operands: int, store: int, host: int) -> None:
    geometry = Geometry(**parameters)
    assert (read_latency(geometry), operand_latency(geometry)) == (read, operands)
    assert (store_latency(geometry), region_read_cycles(geometry)) == (store, host)


@pytest.mark.parametrize("lanes", [1, 5, 16, 33])
def test_every_stage_has_its_register(lanes: int) -> None:
    """And the operands have two, and so has what is added to the accumulator."""
    geometry = Geometry(counter="ecp5", lanes=lanes)
    plan = create_chain_plan(lanes, geometry.weight_bits, geometry.act_bits, geometry.accumulator_bits)
    assert counter_latency(geometry) == max(1, plan.stages) + 4


def test_compiler_predicts_without_the_hardware_language() -> None:
    code = "import evenstep.compiler.cycles, sys; sys.exit('amaranth' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("counter", [counter for counter in COUNTERS if counter != "ecp5"])
def test_counters_have_places_for_all_registers(counter: str) -> None:
    """However small they are: making one with more registers than it has places for is refused."""

    def make_all() -> None:
        for lanes, weight_bits, act_bits in itertools.product(range(1, 4), repeat=3):
            for encoding in ("any", "odd-level"):
                sizes = {"lanes": lanes, "weight_bits": weight_bits, "act_bits": act_bits, "output_bits": act_bits}
                geometry = Geometry(**sizes, max_weight_bits=weight_bits, counter=counter, encoding=encoding)
                create_element(geometry, counter_latency=counter_latency(geometry))

    assert refusal(make_all, ValueError) == "nothing"
