"""`evenstep demo --web`: options, ports, boards elsewhere, and its end."""

import json
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from evenstep.host import LinkError
from evenstep.qonnx import write_network
from evenstep_golden.sample import sample_images
from evenstep_sim.demo.command import demo
from tests.sim.serving import COMMAND, evenstep, serving
from tests.sim.web import GEOMETRY, build_small_engine, small_network, small_program

MODULE = "evenstep_engine"


@contextmanager
def serving_demo(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`evenstep demo --web` within the block, and the address it printed."""
    process = subprocess.Popen(
        [*COMMAND, "demo", "--web", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout and process.stderr
    try:
        found = None
        while not found:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            found = re.search(r"is at (http://127\.0\.0\.1:\d+/)", line)
        yield process, found[1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def classify(url: str, number: int) -> dict:
    body = json.dumps({"pixels": sample_images().flat[number].tolist()}).encode()
    request = urllib.request.Request(f"{url}api/classify", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def executable(folder: Path) -> Path:
    write_network(small_network(), folder / "small.onnx")
    return build_small_engine(folder)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_board_that_is_served_elsewhere(folder: Path, executable: Path, end: signal.Signals) -> None:
    with serving(executable) as board:
        options = ["small.onnx", "--port", "0", "--target", board.target, "--manifest", f"{MODULE}.json"]
        with serving_demo(folder, *options) as (process, url):
            result = classify(url, 4)
            assert result["logits"] == small_program().boundaries(sample_images().flat[4])[-1].tolist()
            assert result["equal"] is True
            with urllib.request.urlopen(f"{url}api/network", timeout=60) as answer:
                assert json.load(answer)["engine"]["name"] == board.target
            board.stop()
            for _ in range(2):
                with pytest.raises(urllib.error.HTTPError) as caught:
                    classify(url, 5)
                assert caught.value.code == 503
                assert len(json.load(caught.value)["error"].splitlines()) == 1
            process.send_signal(end)
            rest, errors = process.communicate(timeout=30)
            assert (process.returncode, rest.strip(), errors) == (0, "Ended", "")


def test_engine_of_ones_own(folder: Path, executable: Path) -> None:
    """Generated from the options; compiled already, so that it starts at once."""
    names = ("columns", "lanes", "weight_depth", "act_depth", "result_depth", "threshold_depth", "program_depth")
    options = [f"--{name.replace('_', '-')}={getattr(GEOMETRY, name)}" for name in names]
    with serving_demo(folder, "small.onnx", "--port", "0", "--output", "made", *options) as (process, url):
        assert classify(url, 2)["equal"] is True
        assert (folder / "made" / f"{MODULE}.json").read_bytes() == (folder / f"{MODULE}.json").read_bytes()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1] == ""
        assert process.returncode == 0


def test_port_in_use_is_told_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = evenstep(tmp_path, "demo", "--web", "--port", str(port))
    assert result.returncode == 1
    wanted = f"evenstep: Port {port} cannot be opened: Address already in use; choose another with --port\n"
    assert (result.stdout, result.stderr) == ("", wanted)
    assert not list(tmp_path.iterdir())


BOARD = ["--target", "tcp:127.0.0.1:1", "--manifest", f"{MODULE}.json"]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (["--port", "8000"], click.UsageError, "belong to --web"),
        (BOARD, click.UsageError, "belong to --web"),
        (["--web", "--images", "3"], click.UsageError, "--images and --web exclude each other"),
        (["--web", "--simulator", "amaranth"], click.UsageError, "--web needs Verilator"),
        (["--web", *BOARD[:2]], click.UsageError, "--target and --manifest need each other"),
        (["--web", *BOARD[2:]], click.UsageError, "--target and --manifest need each other"),
        (["--web", *BOARD, "--rows", "2"], click.UsageError, "--target excludes"),
        (["--web", *BOARD, "--simulator", "verilator"], click.UsageError, "--target excludes"),
        (["--web", "--port", "65536"], click.UsageError, "65536"),
        (["--web", *BOARD[:3], "small.onnx"], ValueError, "small.onnx is no manifest"),
        (["--web", "--port", "0", *BOARD], ValueError, "--weight-depth 20896"),
        (["small.onnx", "--web", "--port", "0", *BOARD], LinkError, "Nothing can be reached at 127.0.0.1:1"),
    ],
)
def test_bad_options(
    folder: Path,
    executable: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    kind: type[Exception],
    message: str,
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(kind, match=message):
        demo.main(options, standalone_mode=False)
