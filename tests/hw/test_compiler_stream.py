"""Weights that stream: parts of layers, the smallest memory that they stream through, program files, refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from evenstep.compiler import compile_network
from evenstep.compiler.command import compile_command
from evenstep.compiler.cycles import layer_cycles
from evenstep.generate import generate_block
from evenstep.qonnx import write_network
from evenstep.spec import Conv, Dense, Encoding, Geometry, Network, Thresholds
from evenstep.spec.program import LayerDescriptor, LoadDescriptor
from tests.hw.engine_model import run_images

ODD = Encoding("odd-level", 2)
GEOMETRY = Geometry(
    columns=2,
    lanes=4,
    convolution=True,
    weight_depth=72,
    act_depth=1024,
    threshold_depth=128,
    port_bits=32,
    program_depth=512,
)


def network() -> Network:
    """A convolution of 18 steps a tile, and 12 tiles; then one with groups, and a vector."""
    rng = np.random.default_rng(11)

    def thresholds(channels: int) -> Thresholds:
        return Thresholds(np.sort(rng.integers(-20, 20, (channels, 3)), axis=1))

    conv = Conv("conv", rng.integers(0, 4, (24, 8, 3, 3)), ODD, 2, thresholds(24), padding=(1, 1, 1, 1))
    groups = Conv("groups", rng.integers(0, 4, (24, 8, 2, 2)), ODD, 2, thresholds(24), stride=(2, 2), groups=3)
    return Network((conv, groups, Dense("last", rng.integers(0, 4, (3, 24 * 4)), ODD, 2)), (), "streams", (8, 4, 4))


def descriptors_of(program) -> list:
    return [one for layer in program.layers for one in layer.descriptors]


def test_layers_run_in_parts() -> None:
    """Each part has at most half of the memory, and no other half than the load before it."""
    program = compile_network(network(), GEOMETRY)
    everything = descriptors_of(program)
    parts = [one for one in everything if isinstance(one, LayerDescriptor)]
    loads = [one for one in everything if isinstance(one, LoadDescriptor)]
    assert [sum(one in layer.descriptors for one in parts) for layer in program.layers] == [6, 3, 2]
    assert len(loads) == len(parts) + 1 and loads[-1].count == 0
    assert {one.target for one in loads} == {0, 36} and max(one.count for one in loads) <= 36
    assert [one.weight_base for one in parts] == [one.target for one in loads[:-1]]
    assert sum(one.count for one in loads) * 4 * 1 == len(program.external)
    inputs = np.random.default_rng(1).integers(0, 4, (8, 4, 4))
    for found, expected in zip(run_images(program, inputs), program.boundaries(inputs), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_memory_that_is_large_enough_is_loaded_by_the_host() -> None:
    resident = compile_network(network(), GEOMETRY.replace(weight_depth=1024))
    assert not resident.external and resident.cycles == resident.least_cycles
    streamed = compile_network(network(), GEOMETRY)
    assert streamed.least_cycles <= streamed.cycles
    assert streamed.needs["weight_depth"] == 72
    compile_network(network(), GEOMETRY.replace(weight_depth=streamed.needs["weight_depth"]))


def test_a_slower_memory_is_waited_for() -> None:
    fast, slow = (compile_network(network(), GEOMETRY, memory_latency=latency) for latency in (1, 1000))
    assert fast.least_cycles == slow.least_cycles
    assert slow.cycles - fast.cycles >= 999
    assert {layer.cycles.limit for layer in slow.layers} == {"memory"}
    own = sum(layer_cycles(one, GEOMETRY, macs=0).total for one in descriptors_of(slow) if hasattr(one, "tiles"))
    assert slow.least_cycles == own + 6 * sum(isinstance(one, LoadDescriptor) for one in descriptors_of(slow)) + 2


def test_base_address() -> None:
    here, there = (compile_network(network(), GEOMETRY, memory_base=base) for base in (0, 0x40000000))
    assert there.external == here.external and there.cycles == here.cycles
    for one, other in zip(descriptors_of(here), descriptors_of(there), strict=True):
        if isinstance(one, LoadDescriptor):
            assert other.address - one.address == 0x40000000 // 4


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"weight_depth": 70}, {}, "conv has 36 weight words that must be there at once.*--weight-depth 72$"),
        ({"port_bits": 0}, {"memory_base": -1}, "Memory base must be an integer from 0"),
        ({"port_bits": 0}, {}, "Weights of the network need .* generate it with --weight-depth"),
        ({}, {"memory_base": 64}, "Memory base must be a multiple of 4096, not 64"),
        ({}, {"memory_base": -4096}, "Memory base must be an integer from 0"),
        (
            {},
            {"memory_latency": 2**32},
            r"Network must run for at most the 4294967295 cycles that engines count, not \d+: choose more rows",
        ),
        ({}, {"memory_latency": 0}, "Memory latency must be a positive integer, not 0"),
    ],
)
def test_refusals(changes: dict, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_network(network(), GEOMETRY.replace(**changes), **options)


def test_weights_that_addresses_do_not_reach_are_refused() -> None:
    rng = np.random.default_rng(1)
    layer = Dense("layer1", rng.integers(0, 4, (60, 600)), Encoding("twos-complement", 2), 2)
    geometry = Geometry(columns=1, lanes=4, port_bits=32, weight_depth=4096, act_depth=4096, result_depth=64)
    size = len(compile_network(Network((layer,)), geometry, memory_base=2**32 - 65536).external)
    message = rf"\AMemory base must leave {size} bytes for weights below 4294967296, not be 4294963200\Z"
    with pytest.raises(ValueError, match=message):
        compile_network(Network((layer,)), geometry, memory_base=2**32 - 4096)


def test_program_file(tmp_path: Path) -> None:
    """Weights lie beside it, for whatever fills external memory."""
    write_network(network(), tmp_path / "net.onnx")
    manifest = generate_block("axi-engine", GEOMETRY, tmp_path)
    arguments = [str(tmp_path / "net.onnx"), str(tmp_path / f"{manifest.module}.json"), "--memory-base=8192"]
    output = ["--output", str(tmp_path / "net.program.json")]
    result = CliRunner().invoke(compile_command, [*arguments, *output], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    program = compile_network(network(), GEOMETRY, memory_base=8192)
    file = json.loads((tmp_path / "net.program.json").read_text())
    assert file["external"] == {"address": 8192, "bytes": len(program.external)}
    assert (tmp_path / "net.program.bin").read_bytes() == program.external
    assert "bytes of weights" in result.output
