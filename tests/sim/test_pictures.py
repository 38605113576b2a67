"""Convolutional networks on one compiled engine: every integer, every cycle, no engine generated anew."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evenstep.compiler import Program, WidePlacement, compile_network
from evenstep.generate import generate_block
from evenstep.host import Engine
from evenstep.spec import (
    INPUT,
    Add,
    Concat,
    Conv,
    Dense,
    Encoding,
    Geometry,
    MaxPool,
    MultiThreshold,
    Network,
    Thresholds,
)
from evenstep_golden import reference
from evenstep_golden.frontend import import_model
from evenstep_golden.lower import lower
from evenstep_golden.models.resnet import ResNet
from evenstep_sim.virtual import VerilatedTransport, build_engine
from tests.benchmarks.resnet18 import first_layers, weighted_use
from tests.golden.brevitas_models import SHAPE, convolutional, export, trained
from tests.golden.networks import quantized

GEOMETRY = Geometry(
    rows=4,
    columns=8,
    neighbours=True,
    lanes=16,
    convolution=True,
    rescale=True,
    max_weight_bits=4,
    max_passes=32,
    wide_depth=2**15,
    program_depth=2048,
    weight_depth=2**11,
    port_bits=64,
    act_depth=2**13,
    threshold_depth=2048,
    accumulator_bits=24,
)


@pytest.fixture(scope="module")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engine")
    manifest = generate_block("engine", GEOMETRY, folder)
    return build_engine(folder / f"{manifest.module}.json")


def compiled(name: str, shape: tuple[int, int, int]) -> Program:
    """A 2-bit network with random parameters."""
    model = quantized(name, "n2uq:2", "n2uq:2", shape=shape, pictures=8, passes=2)
    return compile_network(lower(model), GEOMETRY)


def random_pixels(network: Network, count: int) -> np.ndarray:
    """Input codes, shape (count, inputs); the first picture is white."""
    pixels = np.random.default_rng(7).integers(0, 2**network.input_bits, (count, network.inputs))
    pixels[0] = 2**network.input_bits - 1
    return pixels


def assert_equal_on_engine(executable: Path, program: Program, pixels: np.ndarray, folder: Path) -> None:
    """No differing integer at any boundary that can be read, and the predicted cycles each time."""
    network = program.network
    expected = dict(
        zip((layer.name for layer in network.layers), reference.run(network, pixels), strict=True),
    )
    external = folder / "external.bin"
    external.write_bytes(program.external)
    with Engine(VerilatedTransport(executable, external=external), GEOMETRY) as engine:
        engine.load(program)
        found = engine.boundaries(pixels)
        assert engine.cycles == program.cycles * engine.runs
    for name, integers in found.items():
        np.testing.assert_array_equal(integers, expected[name], err_msg=name)
    assert program.output.name in found


def test_strided_convolutions(executable: Path, tmp_path: Path) -> None:
    program = compiled("cnn", (1, 28, 28))
    assert not any(result.overwritten for result in program.results), "every boundary can be read after a run"
    assert_equal_on_engine(executable, program, random_pixels(program.network, 20), tmp_path)


def test_nine_residual_blocks(executable: Path, tmp_path: Path) -> None:
    """Shortcuts of wide numbers, rescaled about knees; maxima and sums of them; every sum that is kept is read."""
    program = compiled("resnet20", (1, 12, 12))
    assert sum(isinstance(layer, Add) for layer in program.network.layers) == 18, "two in each of nine blocks"
    assert not any(result.overwritten for result in program.results)
    kept = [result for result in program.results if isinstance(result.place, WidePlacement)]
    assert len(kept) > 18
    assert_equal_on_engine(executable, program, random_pixels(program.network, 3), tmp_path)


def test_first_blocks_of_resnet18(executable: Path, tmp_path: Path) -> None:
    """The stem, a maximum of wide numbers, a block, and one of stride 2; weights stream from external memory."""
    model = quantized(
        ResNet((3, 32, 32), 10, blocks=(1, 1)), "n2uq:2", "n2uq:2", shape=(3, 32, 32), pictures=2, passes=1
    )
    program = compile_network(first_layers(lower(model), "pooled"), GEOMETRY)
    assert program.external
    assert any(len(layer.descriptors) > 3 for layer in program.layers), "a layer in parts"
    assert_equal_on_engine(executable, program, random_pixels(program.network, 2), tmp_path)


def test_depthwise(executable: Path, tmp_path: Path) -> None:
    program = compiled("ds-cnn", (1, 28, 28))
    assert_equal_on_engine(executable, program, random_pixels(program.network, 2), tmp_path)


def test_cnv(executable: Path, tmp_path: Path) -> None:
    """FINN's CNV on 32 x 32 pictures: its array is busy for nine cycles of ten, weighted by multiply-accumulates."""
    program = compiled("cnv", (3, 32, 32))
    assert program.external
    assert_equal_on_engine(executable, program, random_pixels(program.network, 2), tmp_path)
    first, others = weighted_use(program)  # a first layer of 3 channels leaves 13 of 16 lanes idle
    assert others >= 0.9 > first


def test_model_of_brevitas(executable: Path, tmp_path: Path) -> None:
    """From Brevitas' own export to the engine: padding that is not 0, a depthwise layer, logits rescaled."""
    torch.manual_seed(2)
    imported = import_model(export(trained(convolutional(2)), tmp_path / "model.onnx"))
    inputs = np.random.default_rng(3).random((20, *SHAPE), np.float32)
    assert_equal_on_engine(
        executable, compile_network(imported.network, GEOMETRY), imported.encode(inputs).reshape(20, -1), tmp_path
    )


def test_joined_branches(executable: Path, tmp_path: Path) -> None:
    """Branches of 5, 3 and 18 channels, one a maximum, and the input: empty lanes, a copy, and layers on all of it."""
    rng = np.random.default_rng(5)

    def conv(name: str, inputs: int, outputs: int, *sources: str, groups: int = 1) -> Conv:
        weights = rng.integers(0, 4, (outputs, inputs // groups, 3, 3))
        steps = Thresholds(np.sort(rng.integers(-12, 13, (outputs, 3)), axis=1), rng.random(outputs) < 0.3)
        conv = Conv(name, weights, Encoding("odd-level", 2), 2, steps, sources, groups=groups)
        return replace(conv, padding=(1, 1, 1, 1), padding_code=2)

    layers = (
        conv("stem", 3, 18),
        conv("narrow", 18, 5, "stem"),
        MaxPool("largest", (3, 3), (1, 1), ("stem",), (1, 1, 1, 1)),
        conv("few", 18, 3, "stem"),
        Concat("joined", ("narrow", "largest", INPUT, "few")),
        conv("depthwise", 29, 29, groups=29),
        MaxPool("half", (2, 2), (2, 2), ("joined",)),
        conv("after", 29, 6, "half"),
        Concat("end", ("after", "half", "after")),
        Concat("again", ("joined", "depthwise")),
        Dense("one", rng.integers(0, 4, (9, 41 * 9)), Encoding("odd-level", 2), 2, sources=("end",)),
        MultiThreshold("codes", Thresholds(np.sort(rng.integers(-9, 9, (9, 3)), axis=1))),
        Dense("other", rng.integers(0, 4, (7, 58 * 42)), Encoding("odd-level", 2), 2, None, ("again",)),
        MultiThreshold("more", Thresholds(np.sort(rng.integers(-9, 9, (7, 3)), axis=1))),
        Concat("both", ("codes", "more")),
        Dense("last", rng.integers(0, 4, (4, 16)), Encoding("odd-level", 2), 2),
    )
    program = compile_network(Network(layers, input_shape=(3, 6, 7)), GEOMETRY)
    assert [layer.name for layer in program.layers if not layer.results] == [
        "input as part 2 of again",
        "joined for steps of 2",
        "after as part 2 of end",
    ]
    assert not any(result.overwritten for result in program.results)
    assert_equal_on_engine(executable, program, random_pixels(program.network, 4), tmp_path)
