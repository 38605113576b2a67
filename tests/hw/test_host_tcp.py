"""The TCP transport, and what a target is taken for."""

import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from evenstep.host import LinkError, NoAnswerError, TcpTransport, open_transport
from evenstep.host.client import EngineClient
from evenstep.host.tcp import REFUSAL


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def port_of(listener: socket.socket) -> int:
    return listener.getsockname()[1]


def test_bytes_pass(listener: socket.socket) -> None:
    line = open_transport(f"tcp:127.0.0.1:{port_of(listener)}")
    other, _ = listener.accept()
    line.write(b"there")
    assert other.recv(100) == b"there"
    other.sendall(b"and back")
    assert line.read() == b"and back"
    line.close()
    assert other.recv(100) == b""
    other.close()


def test_silence_is_bounded(listener: socket.socket) -> None:
    line = TcpTransport("127.0.0.1", port_of(listener), timeout=0.05)
    other, _ = listener.accept()
    begun = time.monotonic()
    assert line.read() == b""
    with pytest.raises(NoAnswerError):
        EngineClient(line).identify()
    assert time.monotonic() - begun < 10
    line.close()
    other.close()


def test_sending_is_bounded(listener: socket.socket) -> None:
    """A server that takes nothing."""
    line = TcpTransport("127.0.0.1", port_of(listener), timeout=0.05)
    with pytest.raises(LinkError, match=r"\A127\.0\.0\.1:\d+ takes no more bytes: restart what serves it\Z"):
        for _ in range(1000):
            line.write(bytes(1 << 20))
    line.close()


def test_closed_connection(listener: socket.socket) -> None:
    line = TcpTransport("127.0.0.1", port_of(listener))
    other, _ = listener.accept()
    other.close()
    message = r"\A127\.0\.0\.1:\d+ closed the connection: check what serves it, and repeat\Z"
    with pytest.raises(LinkError, match=message):
        line.read()
    with pytest.raises(LinkError, match=message):
        for _ in range(10):
            line.write(bytes(1 << 16))
            time.sleep(0.01)
    line.close()


def test_refusal_is_told(listener: socket.socket) -> None:
    def refuse() -> None:
        other, _ = listener.accept()
        other.sendall(REFUSAL)
        other.close()

    thread = threading.Thread(target=refuse)
    thread.start()
    line = TcpTransport("127.0.0.1", port_of(listener))
    with pytest.raises(LinkError, match=r"\AEngine at 127\.0\.0\.1:\d+ is in use by another host: wait until"):
        EngineClient(line).identify()
    thread.join()
    line.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid", "x" * 300])
def test_nothing_there(host: str, listener: socket.socket) -> None:
    port = port_of(listener)
    listener.close()
    with pytest.raises(LinkError, match=rf"\ANothing can be reached at {host}:{port}: .*; start evenstep serve"):
        open_transport(f"{host}:{port}", timeout=0.5)


@pytest.mark.parametrize("target", ["tcp:", "tcp:localhost", "tcp:localhost:0", "tcp:localhost:70000", "tcp:a/b:1", ""])
def test_targets_that_are_none(target: str) -> None:
    with pytest.raises(ValueError, match=rf"\ATarget must be tcp:HOST:PORT, a serial port or a board, not {target!r}"):
        open_transport(target)


@pytest.mark.parametrize("target", ["/dev/nowhere", "nowhere", "localhost:70000"])
def test_serial_ports_that_are_none(target: str) -> None:
    with pytest.raises(LinkError, match=rf"\A{re.escape(target)} cannot be opened: No such file or directory"):
        open_transport(target)
