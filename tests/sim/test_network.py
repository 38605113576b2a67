"""Networks on the compiled engine: every integer, every cycle.

The shipped network, on a thousand images; and networks with piecewise linear weights, on an engine that combines sums.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evenstep.compiler import Program, compile_network
from evenstep.generate import generate_block
from evenstep.host import EngineClient, LinkError
from evenstep.link.protocol import Command, Frame, Region, encode_frame
from evenstep.qonnx import read_network, write_network
from evenstep.spec import Dense, Encoding, Geometry, PiecewiseEncoding, Rescale, doubling_constants
from evenstep_golden import reference
from evenstep_golden.compare import compare, measure_top1
from evenstep_golden.data import load_images
from evenstep_golden.lower import lower
from evenstep_golden.models import Classifier, Perceptron
from evenstep_golden.precision import Method, Precision
from evenstep_golden.ptq import PipelineOptions, run_pipeline
from evenstep_golden.sample import sample_network
from evenstep_golden.training import Recipe, Trainer, initialize_quantizers
from evenstep_sim.virtual import VerilatedTransport, build_engine


@pytest.fixture(scope="module")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engine")
    manifest = generate_block("engine", Geometry(), folder)
    return build_engine(folder / f"{manifest.module}.json")


def test_thousand_images(executable: Path) -> None:
    """No differing integer at any boundary, the predicted cycles each time, and at least 90 % of them useful."""
    network = sample_network()
    program = compile_network(network, Geometry())
    assert program.useful >= 0.9
    pixels = load_images("test").first(1000).flat
    expected = reference.run(network, pixels)
    with EngineClient(VerilatedTransport(executable)) as client:
        client.load(program)
        got: list[list[np.ndarray]] = []
        for image in pixels:
            status = client.run(image)
            assert status.cycles == program.cycles
            # Useful lanes times cycles, from the engine's own counter of array steps.
            assert status.steps == sum(layer.cycles.steps for layer in program.layers)
            got.append(client.boundaries())
    columns = [np.stack([result[layer] for result in got]) for layer in range(len(network.layers))]
    assert reference.first_mismatch(network, expected, columns) is None


def test_mismatch_is_named(executable: Path) -> None:
    """A flipped weight in the engine is found, and the message says where."""
    network = sample_network()
    program = compile_network(network, Geometry())
    pixels = load_images("test").first(1).flat
    with EngineClient(VerilatedTransport(executable)) as client:
        client.load(program)
        # Channel 0 of layer 1 is in the lowest lanes of the first tile.
        words = client.read(Region.WEIGHTS, 0, 49 * 8)
        client.write(Region.WEIGHTS, 0, [~word & 0xFFFFFFFF if n % 8 == 0 else word for n, word in enumerate(words)])
        client.run(pixels[0])
        got = [boundary[None] for boundary in client.boundaries()]
    mismatch = reference.first_mismatch(network, reference.run(network, pixels), got)
    assert mismatch is not None
    assert (mismatch.layer, mismatch.channel, mismatch.position) == ("fc1", 0, 0)
    assert str(mismatch).startswith("fc1, channel 0, position 0: expected ")


def test_noise_never_wedges_the_link(executable: Path) -> None:
    """Damaged, truncated, oversized and foreign bytes between good frames; the next good frame works."""
    rng = np.random.default_rng(11)
    good = encode_frame(Frame(1, Command.WRITE, b"\0" * 8))
    transport = VerilatedTransport(executable)
    with EngineClient(transport) as client:
        client.write(Region.PROGRAM, 0, [0x12345678])
        for _ in range(300):
            frame = bytearray(good)
            match rng.integers(4):
                case 0:
                    frame[rng.integers(1, len(frame) - 1)] ^= 1 << rng.integers(8)
                case 1:
                    frame = frame[: rng.integers(1, len(frame) - 1)]
                case 2:
                    frame = bytearray(rng.integers(0, 256, rng.integers(1, 600), dtype=np.uint8).tobytes())
                case 3:
                    del frame[rng.integers(1, len(frame) - 1)]
            transport.write(bytes(frame))
            if rng.random() < 0.1:
                assert client.identify() == Geometry().hash
        assert client.read(Region.PROGRAM, 0, 1) == [0x12345678]
        assert client.status().dropped > 100


def test_refusals(executable: Path) -> None:
    with EngineClient(VerilatedTransport(executable)) as client:
        for region, address in ((Region.PROGRAM, 256), (Region.WEIGHTS, 4096 * 8), (Region.RESULTS, 64), (9, 0)):
            with pytest.raises(LinkError, match=r"\AEngine refuses READ: BAD_ADDRESS\Z"):
                client.read(region, address, 1)
        with pytest.raises(LinkError, match=r"\AEngine refuses WRITE: BAD_ADDRESS\Z"):
            client.write(Region.PROGRAM, 255, [0, 0])


#: 4-bit piecewise linear weights by three sums, and 8-bit activations in two digits.
_PIECEWISE = Geometry(columns=4, lanes=8, weight_bits=4, act_bits=4, output_bits=8, threshold_style="search").replace(
    breakpoints=1,
    rescale=True,
    accumulator_bits=26,
    weight_depth=1024,
    act_depth=256,
    threshold_depth=64,
    result_depth=16,
    constant_depth=128,
)


@pytest.fixture(scope="module")
def piecewise_executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("piecewise")
    manifest = generate_block("engine", _PIECEWISE, folder)
    return build_engine(folder / f"{manifest.module}.json")


@pytest.fixture(scope="module")
def trained() -> Classifier:
    """A float perceptron that has learned something."""
    images = load_images("train").first(6000)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Perceptron(images.shape, 10, hidden=(32, 32))
    trainer = Trainer(model, images, Recipe(epochs=2, learning_rate=4e-3, seed=0))
    for _ in range(2):
        for _ in trainer.run_epoch():
            pass
    return model.eval()


@pytest.fixture(scope="module")
def post_quantized(trained: Classifier) -> Classifier:
    """The same with 4-bit piecewise linear weights and 8-bit activations, without more training."""
    model = copy.deepcopy(trained)
    precision = Precision(Method.parse("pwlq:4"), Method.parse("uniform:8"))
    pixels = torch.tensor(load_images("train").first(512).pixels)
    run_pipeline(model, PipelineOptions(precision=precision), pixels)
    return model


def differing_codes(executable: Path, program: Program, pixels: np.ndarray) -> dict[str, int]:
    """Run inputs, shape (positions, inputs); differing integers after each layer of the program, by its name."""
    expected = program.boundaries(pixels)
    differing = {result.name: 0 for result in program.results}
    with EngineClient(VerilatedTransport(executable)) as client:
        client.load(program)
        for position, image in enumerate(pixels):
            assert client.run(image).cycles == program.cycles
            for layer, wanted, got in zip(program.results, expected, client.boundaries(), strict=True):
                differing[layer.name] += int((wanted[position] != got).sum())
    return differing


def test_post_quantized_network(post_quantized: Classifier, piecewise_executable: Path, tmp_path: Path) -> None:
    """From the pipeline through the file to the engine: all sums combined, the last rescaled, no code differs."""
    write_network(lower(post_quantized), tmp_path / "network.onnx")
    network = read_network(tmp_path / "network.onnx")
    assert isinstance(network.layers[-1], Rescale)
    program = compile_network(network, _PIECEWISE)
    assert all(layer.descriptor.combined for layer in program.layers)
    assert program.layers[-1].descriptor.rescale is not None
    differing = differing_codes(piecewise_executable, program, load_images("test").first(200).flat)
    assert differing == {"fc1": 0, "fc2": 0, network.layers[-1].name: 0}


def test_accuracy_of_the_post_quantized_network_is_that_of_torch(post_quantized: Classifier) -> None:
    """All 10,000 test images: the same integers after every layer, so the same accuracy, digit for digit."""
    network, tests = lower(post_quantized), load_images("test")
    *_, result = compare(
        network,
        tests,
        lambda pixels: reference.run(network, pixels),
        lambda pixels: [layer.numpy() for layer in post_quantized.boundaries(torch.from_numpy(pixels))],
    )
    assert result.pictures == 10_000
    assert result.first is None, str(result.first)
    with torch.no_grad():
        torch_top1 = measure_top1(lambda pixels: post_quantized(torch.from_numpy(pixels)).numpy(), tests)
    assert reference.accuracy(reference.run_last(network, tests.flat), tests.labels) == torch_top1
    assert torch_top1 > 0.7, "The network must have learned something for its accuracy to say anything"


def test_mixed_network(trained: Classifier, piecewise_executable: Path) -> None:
    """N2UQ weights, free piecewise linear ones and those that also decode, one layer each, on one engine."""
    model = copy.deepcopy(trained)
    precision = Precision(Method.parse("n2uq:2"), Method.parse("n2uq:4"))
    precision = precision.replaced("fc2", "weights", Method.parse("pwlq:4"))
    precision = precision.replaced("act2", "activations", Method.parse("uniform:8"))
    precision = precision.replaced("last", "weights", Method.parse("pwlq:3,aligned=True"))
    precision.apply(model)
    initialize_quantizers(model, load_images("train").first(512).pixels.copy())
    network = lower(model.eval())
    n2uq, free, doubling = (layer.encoding for layer in network.layers if isinstance(layer, Dense))
    assert n2uq == Encoding("odd-level", 2)
    assert isinstance(free, PiecewiseEncoding) and free.channels == 32
    assert isinstance(doubling, PiecewiseEncoding) and doubling.constants.tolist() == [doubling_constants(2, 1)]
    program = compile_network(network, _PIECEWISE)
    assert [layer.descriptor.combined for layer in program.layers] == [False, True, True]
    pixels = load_images("test").first(40).flat
    assert all(len(np.unique(codes)) > 8 for codes in program.boundaries(pixels)), "Codes must tell images apart"
    assert not any(differing_codes(piecewise_executable, program, pixels).values())


def test_demo(tmp_path: Path) -> None:
    """The main job as a user runs it, on both simulators' ways in: a table, a picture, everything equal."""
    command = [sys.executable, "-c", "from evenstep.cli import main; main()", "demo", "--images", "3"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    assert "3 of 3 images equal at every layer" in " ".join(result.stdout.split())
    assert (tmp_path / "evenstep-demo" / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_demo_without_compiler_says_so(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path)}
    command = [sys.executable, "-c", "from evenstep.cli import main; main()", "demo", "--simulator", "verilator"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "apt-get install" in result.stderr
