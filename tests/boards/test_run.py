"""`evenstep run` on the virtual board, over a TCP port and a pseudo-terminal, and all that can be wrong with it."""

import gzip
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from serial.tools import list_ports

from evenstep.generate import generate_block
from evenstep.host import Engine, LinkError, Transport, open_transport
from evenstep.link.protocol import Region
from evenstep.qonnx import write_network
from evenstep.spec import Dense, Encoding, Geometry, Network
from evenstep_boards.catalog import BOARDS
from evenstep_boards.commands.run import run
from evenstep_boards.images import load_images
from evenstep_boards.run import BoardPart
from evenstep_boards.serial import SerialTransport, find_port
from evenstep_golden.sample import network_path, sample_images, sample_network
from evenstep_sim.virtual import build_engine
from tests.sim.serving import COMMAND, Served, evenstep, serving


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engine")
    generate_block("engine", Geometry(), folder)
    return folder / "evenstep_engine.json"


@pytest.fixture(params=[False, True], ids=["tcp", "pty"])
def served(request: pytest.FixtureRequest, manifest: Path) -> Iterator[Served]:
    with serving(build_engine(manifest), pty=request.param) as served:
        yield served


@pytest.fixture
def network() -> Network:
    return sample_network()


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(run, [str(argument) for argument in arguments])


def failure(*arguments: str | Path) -> str:
    """Message of a command that must fail, which must be one line."""
    result = invoke(*arguments)
    assert result.exit_code != 0, result.output
    if isinstance(result.exception, SystemExit):
        message = result.output.rstrip().splitlines()[-1]
    else:
        assert isinstance(result.exception, RuntimeError | ValueError | OSError), result.exception
        message = str(result.exception)
    assert len(message.splitlines()) == 1
    return message


def words(text: str) -> str:
    return " ".join(text.split())


def test_sample(served: Served, manifest: Path) -> None:
    """Predictions, agreement, cycles and both rates; the command cannot tell the virtual board from one."""
    result = invoke(served.target, "sample", "sample", "--manifest", manifest, "--images", "25", "--clock", "24")
    assert result.exit_code == 0, result.output
    output = words(result.output)
    assert "25 of 25 images equal at 4 layers: fc1, fc2, fc3, last" in output
    assert "... and 5 more" in output
    assert "23 of 25 classified right (92.00%)" in output
    assert "186,175 cycles in 25 runs, 7,447 a run" in output
    assert re.search(r"[\d,.]+ frames per second by the clock on the wall", output)
    assert "3,223 frames per second of the engine at 24 MHz" in output


def test_in_a_process_of_its_own(served: Served, manifest: Path, tmp_path: Path) -> None:
    pixels = sample_images().pixels[:3]
    np.save(tmp_path / "images.npy", pixels)
    arguments = ["run", served.target, str(network_path()), "images.npy", "--manifest", str(manifest)]
    result = evenstep(tmp_path, *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert "3 of 3 images equal at 4 layers" in words(result.stdout)
    assert "classified" not in result.stdout and "of the engine" not in result.stdout


def test_disagreement_is_status_1(served: Served, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight of the engine is wrong: the first layer, channel and image that differ are named."""
    load = Engine.load

    def load_wrong(self: Engine, *arguments, **options):
        program = load(self, *arguments, **options)
        # Channel 0 of layer 1 is in the lowest lanes of the first tile.
        for step in range(49):
            old = self._client.read(Region.WEIGHTS, 8 * step, 1)[0]
            self._client.write(Region.WEIGHTS, 8 * step, [~old & 0xFFFFFFFF])
        return program

    monkeypatch.setattr(Engine, "load", load_wrong)
    result = invoke(served.target, "sample", "sample", "--manifest", manifest, "--images", "2")
    assert result.exit_code == 1
    assert re.search(
        r"Error: \d images differ from the integer reference, first fc1, channel 0, image \d: expected \d, got \d\n\Z",
        result.output,
    )


def test_port_that_is_not_ours(manifest: Path) -> None:
    """Something else answers: a login prompt, an echo, and nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            for reply in (b"login: ", None):
                other, _ = listener.accept()
                with other:
                    while data := other.recv(100):
                        other.sendall(reply or data)

        thread = threading.Thread(target=answer)
        thread.start()
        for _ in range(2):
            message = failure(f"localhost:{port}", "sample", "sample", "--manifest", manifest)
            assert message.startswith(f"No engine answers at localhost:{port}: check that it is the right port")
        thread.join()


def test_wrong_engine_and_wrong_network(served: Served, manifest: Path, tmp_path: Path) -> None:
    generate_block("engine", Geometry(columns=4), tmp_path)
    message = failure(served.target, "sample", "sample", "--manifest", tmp_path / "evenstep_engine.json")
    assert message.startswith(f"Engine at {served.target} is {Geometry().hash.hex()}, but the manifest describes")
    wide = Dense("wide", np.ones((4, 784), np.int64), Encoding("unsigned", 8), 8)
    write_network(Network((wide,)), tmp_path / "wide.onnx")
    message = failure(served.target, tmp_path / "wide.onnx", "sample", "--manifest", manifest)
    assert "--max-weight-bits 8" in message


def test_second_process_on_the_port(served: Served, manifest: Path, tmp_path: Path) -> None:
    with Engine.open(served.target, Geometry()):
        result = evenstep(tmp_path, "run", served.target, "sample", "sample", "--manifest", str(manifest))
    assert result.returncode == 1
    assert re.fullmatch(r"evenstep: .* is in use by another (host|program): .*\n", result.stderr)


def test_unplugged_in_the_middle(served: Served, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Engine.load

    def load_and_unplug(self: Engine, *arguments, **options):
        program = load(self, *arguments, **options)
        served.stop()
        return program

    monkeypatch.setattr(Engine, "load", load_and_unplug)
    message = failure(served.target, "sample", "sample", "--manifest", manifest)
    assert re.fullmatch(r"\S+ (is gone: plug the board in again, and repeat|closed the connection: .*)", message)


def test_targets_and_manifests_that_are_none(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text("{}")
    given = ("--manifest", manifest)
    for arguments, message in (
        (
            ("icebreaker", "sample", "sample"),
            "There is no evenstep-build/icebreaker.json: run evenstep build icebreake",
        ),
        (("/dev/x", "sample", "sample"), "Error: --manifest must name the JSON file of the engine"),
        (("/dev/x", "sample", "sample", *given), "/dev/x cannot be opened: No such file or directory"),
        (("x", "sample", "sample", *given), "x cannot be opened: No such file or directory"),
        (("/dev/null", "sample", "sample", *given), "/dev/null cannot be opened: "),
        (("x", "sample", "sample", "--manifest", "bad.json"), "bad.json is no manifest of evenstep: misses 'format'"),
        (
            ("x", "nowhere.onnx", "sample", *given),
            "Error: Invalid value for 'NETWORK': File 'nowhere.onnx' does not exist.",
        ),
        (("x", "sample", "nowhere.png", *given), "[Errno 2] No such file or directory: 'nowhere.png'"),
    ):
        assert failure(*arguments).startswith(message), failure(*arguments)


def test_board_part_of_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{}")
    assert BoardPart.read(path) == BoardPart()
    path.write_text('{"board": {"name": "x", "clock_hz": 24000000, "baud": 115200}}')
    assert BoardPart.read(path) == BoardPart(24_000_000, 115_200)
    for wrong in ("3", '{"baud": "fast"}', '{"clock_hz": 0}', '{"baud": true}'):
        path.write_text(f'{{"board": {wrong}}}')
        with pytest.raises(ValueError, match=rf"\A{re.escape(str(path))} must "):
            BoardPart.read(path)


def _port(device: str, location: str, ids: tuple[int, int]) -> SimpleNamespace:
    return SimpleNamespace(device=device, location=location, vid=ids[0], pid=ids[1])


def test_port_of_a_board_is_found_by_its_usb_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    board = BOARDS["icebreaker"]
    ports: list[SimpleNamespace] = []
    monkeypatch.setattr(list_ports, "comports", lambda: list(ports))
    with pytest.raises(LinkError, match=r"\ANo iCEBreaker is plugged in \(there are no serial ports\): plug it in"):
        find_port(board)
    ports.append(_port("/dev/ttyS0", "", (1, 2)))
    with pytest.raises(LinkError, match=r"\(serial ports: /dev/ttyS0\)"):
        open_transport("icebreaker")
    ports += [_port("/dev/ttyUSB1", "1-2:1.1", board.usb), _port("/dev/ttyUSB0", "1-2:1.0", board.usb)]
    assert find_port(board) == "/dev/ttyUSB1"
    ports += [_port("/dev/ttyUSB2", "1-3:1.0", board.usb), _port("/dev/ttyUSB3", "1-3:1.1", board.usb)]
    with pytest.raises(LinkError, match=r"\ASeveral ports may be a iCEBreaker: name one of /dev/ttyUSB1, /dev/ttyUSB3"):
        find_port(board)


def test_serial_transport_is_a_transport(manifest: Path) -> None:
    with serving(build_engine(manifest), pty=True) as served:
        line: Transport = SerialTransport(served.target, timeout=0.05)
        assert line.read() == b""
        with pytest.raises(LinkError, match=rf"\A{served.target} is in use by another program: end it, and repeat\Z"):
            SerialTransport(served.target)
        line.close()
        with pytest.raises(LinkError, match=rf"\A{served.target} is gone: plug the board in again, and repeat\Z"):
            line.read()


def test_images_of_every_kind(tmp_path: Path, network: Network) -> None:
    sample = sample_images()
    pixels, labels = sample.pixels[:5, 0], sample.labels[:5]

    def check(name: str, *, labelled: bool, count: int = 5) -> None:
        found = load_images(str(tmp_path / name), network, count=count)
        assert np.array_equal(found.pixels, pixels[:count].reshape(count, -1))
        assert found.labels is None or np.array_equal(found.labels, labels[:count])
        assert (found.labels is not None) == labelled

    np.savez(tmp_path / "a.npz", pixels=pixels, labels=labels)
    np.savez(tmp_path / "b.npz", pixels=pixels[:, None])
    np.save(tmp_path / "a.npy", pixels)
    np.save(tmp_path / "one.npy", pixels[0].ravel())
    Image.fromarray(pixels[0]).save(tmp_path / "a.png")
    header = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in pixels.shape)
    (tmp_path / "a-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
    with gzip.open(tmp_path / "b-images-idx3-ubyte.gz", "wb") as file:
        file.write(header + pixels.tobytes())
    with gzip.open(tmp_path / "b-labels-idx1-ubyte.gz", "wb") as file:
        file.write(bytes([0, 0, 8, 1, 0, 0, 0, 5]) + labels.astype(np.uint8).tobytes())
    check("a.npz", labelled=True)
    check("a.npz", labelled=True, count=2)
    check("b.npz", labelled=False)
    check("a.npy", labelled=False)
    check("one.npy", labelled=False, count=1)
    check("a.png", labelled=False, count=1)
    check("a-images-idx3-ubyte", labelled=False)
    check("b-images-idx3-ubyte.gz", labelled=True)
    assert np.array_equal(load_images("sample", network).pixels, sample.flat)


def test_images_that_are_none(tmp_path: Path, network: Network) -> None:
    np.savez(tmp_path / "other.npz", images=np.zeros((2, 784), np.uint8))
    np.savez(tmp_path / "objects.npz", pixels=np.array([{}], object))
    np.savez(tmp_path / "labels.npz", pixels=np.zeros((2, 784), np.uint8), labels=np.zeros(3, int))
    np.save(tmp_path / "small.npy", np.zeros((2, 27, 28), np.uint8))
    np.save(tmp_path / "float.npy", np.zeros((2, 784)))
    np.save(tmp_path / "none.npy", np.zeros((0, 784), np.uint8))
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    Image.fromarray(np.zeros((30, 28), np.uint8)).save(tmp_path / "small.png")
    whole = (tmp_path / "small.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:40])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "labels.npz").read_bytes()[:300])
    (tmp_path / "cut-idx").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(28 * 28))
    (tmp_path / "huge-idx").write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12)
    (tmp_path / "cut.gz").write_bytes(gzip.compress(bytes(100))[:12])
    (tmp_path / "text").write_text("no images")
    (tmp_path / "empty").write_text("")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match=rf"\A{re.escape(str(path))} must ") as caught:
            load_images(str(path), network)
        assert len(str(caught.value).splitlines()) == 1, caught.value


def test_run_is_listed(tmp_path: Path) -> None:
    assert COMMAND and {"run", "serve"} <= set(evenstep(tmp_path, "--help").stdout.split())
