"""The shipped network on the compiled engine: every integer, every cycle, a thousand images."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evenstep.compiler import compile_network
from evenstep.generate import generate_block
from evenstep.host import EngineClient, LinkError
from evenstep.link.protocol import Command, Frame, Region, encode_frame
from evenstep.spec import Geometry
from evenstep_golden import reference
from evenstep_golden.data import load_images
from evenstep_golden.sample import sample_network
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
