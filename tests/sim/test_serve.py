"""The virtual board behind a TCP port and a pseudo-terminal: hosts that come, go, collide and babble."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from evenstep.compiler import Program
from evenstep.generate import generate_block
from evenstep.host import Engine, LinkError
from evenstep.link.protocol import Command, Frame, encode_frame
from evenstep_sim.networks import random_program
from evenstep_sim.virtual import VerilatedTransport, build_engine
from evenstep_sim.virtual.torture import GEOMETRY
from tests.sim.serving import Served, evenstep, serving, serving_command, target_of

ENGINE_OPTIONS = [
    f"--{name.replace('_', '-')}={value}"
    for name, value in GEOMETRY.to_dict().items()
    if name in ("rows", "columns", "lanes", "program_depth", "weight_depth", "act_depth", "result_depth")
    or name == "threshold_depth"
]


@pytest.fixture(scope="module")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engine")
    manifest = generate_block("engine", GEOMETRY, folder)
    return build_engine(folder / f"{manifest.module}.json")


@pytest.fixture(scope="module")
def program() -> Program:
    return random_program(GEOMETRY, np.random.default_rng(5))


@pytest.fixture(params=[False, True], ids=["tcp", "pty"])
def served(request: pytest.FixtureRequest, executable: Path) -> Iterator[Served]:
    with serving(executable, pty=request.param) as served:
        yield served


def check(target: str, program: Program) -> None:
    """A whole session, which must be right."""
    rng = np.random.default_rng(6)
    inputs = rng.integers(0, 2**program.network.input_bits, (5, program.network.inputs))
    with Engine.open(target, GEOMETRY, timeout=1.0) as engine:
        engine.load(program)
        assert np.array_equal(engine.infer(inputs), program.boundaries(inputs)[-1])


def test_hosts_one_after_the_other(served: Served, program: Program) -> None:
    for _ in range(3):
        check(served.target, program)


def test_second_host_is_refused(served: Served, program: Program) -> None:
    in_use = r"is in use by another (host: wait until it has finished, or end it|program: end it, and repeat)\Z"
    with Engine.open(served.target, GEOMETRY) as engine:
        for _ in range(3):
            with pytest.raises(LinkError, match=in_use) as caught:
                Engine.open(served.target, GEOMETRY, timeout=1.0)
            assert served.target.removeprefix("tcp:") in str(caught.value)
        engine.load(program)  # and the first one never notices
    check(served.target, program)


def test_host_that_leaves_in_the_middle(served: Served, program: Program) -> None:
    """Of a frame, of a load, of a run, and without reading what it asked for."""
    start = encode_frame(Frame(7, Command.RUN, bytes(4)))
    ask = encode_frame(Frame(8, Command.IDENTIFY))
    for left in (start[:-3], start, ask * 3000, b"\x7e" + bytes(300)):
        with Engine.open(served.target, GEOMETRY) as engine:
            engine.load(program)
            transport = engine._client._transport
            with suppress(LinkError):  # a terminal takes no more than it has room for
                transport.write(left)
        check(served.target, program)


def test_reset_button_in_the_middle(served: Served, program: Program) -> None:
    inputs = np.zeros((40, program.network.inputs), int)
    with Engine.open(served.target, GEOMETRY, timeout=0.5) as engine:
        engine.load(program)

        def press(done: int, total: int) -> None:
            if done % 10 == 0:
                served.engine.press_reset()

        assert np.array_equal(engine.infer(inputs, press), program.boundaries(inputs)[-1])


def test_unplugged(served: Served, program: Program) -> None:
    """The board is gone while it is used: one line, at once."""
    with Engine.open(served.target, GEOMETRY, timeout=5.0) as engine:
        engine.load(program)

        def unplug(done: int, total: int) -> None:
            served.stop()

        begun = time.monotonic()
        with pytest.raises(LinkError, match=r"\A\S+ (is gone: plug the board in again|closed the connection: check)"):
            engine.infer(np.zeros((8, program.network.inputs), int), unplug)
        assert time.monotonic() - begun < 5


def test_engine_that_dies_is_told(executable: Path) -> None:
    board = VerilatedTransport(executable)
    os.kill(board._process._process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"\AThe simulated engine ended with status -9\Z"):
        for _ in range(10):
            board.write(b"\x7e" * 100)
            board.read()
    board.close()


def test_command_over_tcp(tmp_path: Path, program: Program) -> None:
    """What it prints to type next is what works; Ctrl-C ends it without a traceback."""
    with serving_command(tmp_path, *ENGINE_OPTIONS) as (process, lines):
        target = target_of(lines)
        assert target.startswith("tcp:127.0.0.1:")
        manifest = "evenstep-serve/evenstep_engine.json"
        assert f"  evenstep run {target} sample sample --manifest {manifest}" in lines
        assert GEOMETRY.hash.hex() in "\n".join(lines)
        check(target, program)
        # In the middle of a session.
        with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2]))):
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "Ended\n", "")


def test_command_over_a_terminal(tmp_path: Path, program: Program) -> None:
    with serving_command(tmp_path, "--pty", *ENGINE_OPTIONS) as (process, lines):
        check(target_of(lines), program)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "Ended\n", "")


def test_bad_input_is_one_line(tmp_path: Path, program: Program) -> None:
    (tmp_path / "net.onnx").write_text("no network")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = [
            (["--pty", "--port", "1"], 2, "--port and --pty exclude each other"),
            (["net.onnx"], 1, "net.onnx"),
            (["--port", str(port), *ENGINE_OPTIONS], 1, f"Port {port} cannot be opened: Address already in use"),
        ]
        for arguments, status, message in cases:
            result = evenstep(tmp_path, "serve", *arguments)
            assert (result.returncode, len(result.stderr.splitlines())) == (status, 1), result.stderr
            assert message in result.stderr
