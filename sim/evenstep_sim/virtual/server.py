"""The virtual board behind a loopback TCP port or a pseudo-terminal: what a host sees of a real one."""

import contextlib
import os
import select
import socket
import time
import tty
from typing import Protocol

from evenstep.host.tcp import REFUSAL
from evenstep_sim.virtual.process import EngineProcess

__all__ = ["Endpoint", "EngineServer", "PtyEndpoint", "TcpEndpoint"]

_LOOPBACK = "127.0.0.1"
_CHUNK = 65536
# Bytes that wait for a host that does not read; more are lost, as those of a board's serial port are.
_BACKLOG = 1 << 14
# Told by Linux alone; elsewhere a host is seen to leave only when all that it sent has been read.
_HANG_UP = getattr(select, "POLLRDHUP", 0)
# Seconds that a refused host has to read why.
_REFUSED_FOR = 2.0


class Endpoint(Protocol):
    """Where hosts connect."""

    #: What `evenstep run` calls it.
    target: str

    def watched(self) -> list[int]:
        """File descriptors to wait for, beside that of the host."""
        ...

    def host(self) -> int | None:
        """File descriptor of the host that uses the engine, if there is one."""
        ...

    def serve(self) -> bool:
        """Let hosts in, refuse others; whether another host uses the engine now."""
        ...

    def hang_up(self) -> None:
        """The host is gone."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class TcpEndpoint:
    """A TCP port that only this machine reaches. One host at a time; another is told so and sent away.

    Parameters
    ----------
    port : int
        0 for any that is free.

    Raises
    ------
    RuntimeError
        The port is in use, or not for us.
    """

    def __init__(self, port: int = 0):
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((_LOOPBACK, port))
            self._listener.listen()
        except OSError as error:
            self._listener.close()
            raise RuntimeError(f"Port {port} cannot be opened: {error.strerror}; choose another with --port") from None
        self._listener.setblocking(False)
        self.target = f"tcp:{_LOOPBACK}:{self._listener.getsockname()[1]}"
        self._host: socket.socket | None = None
        self._refused: list[tuple[socket.socket, float]] = []

    def watched(self) -> list[int]:
        """The listening port, and hosts that were refused."""
        return [self._listener.fileno(), *(refused.fileno() for refused, _ in self._refused)]

    def host(self) -> int | None:
        """The host's connection."""
        return None if self._host is None else self._host.fileno()

    def serve(self) -> bool:
        """Accept a host, or refuse it."""
        self._see_off()
        try:
            came, _ = self._listener.accept()
        except OSError:  # none, or it has gone already
            return False
        came.setblocking(False)
        if self._has_left():
            self.hang_up()
        if self._host is None:
            came.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._host = came
            return True
        with contextlib.suppress(OSError):
            came.send(REFUSAL)
            came.shutdown(socket.SHUT_WR)
        self._refused.append((came, time.monotonic() + _REFUSED_FOR))
        return False

    def _has_left(self) -> bool:
        """Whether the host closed its side, even if not all that it sent was read."""
        if self._host is None:
            return False
        poll = select.poll()
        poll.register(self._host, _HANG_UP)
        return bool(poll.poll(0))

    def _see_off(self) -> None:
        """Close refused hosts that have gone, or had their time: closed at once, they might not read why."""
        left = []
        for refused, end in self._refused:
            try:
                gone = not refused.recv(_CHUNK)
            except BlockingIOError:
                gone = False
            except OSError:
                gone = True
            if gone or time.monotonic() > end:
                refused.close()
            else:
                left.append((refused, end))
        self._refused = left

    def hang_up(self) -> None:
        """Close the host's connection."""
        if self._host is not None:
            self._host.close()
            self._host = None

    def close(self) -> None:
        """Close the port and all connections."""
        self.hang_up()
        for refused, _ in self._refused:
            refused.close()
        self._listener.close()


class PtyEndpoint:
    """A pseudo-terminal: a serial port as far as a host can tell. Hosts lock it themselves, as they do any."""

    def __init__(self):
        self._master, self._slave = os.openpty()  # the slave is kept open, so that a host's leaving is no end
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.target = os.ttyname(self._slave)
        self._served = False

    def watched(self) -> list[int]:
        """Nothing: there is always a host."""
        return []

    def host(self) -> int | None:
        """Our side of the terminal."""
        return self._master

    def serve(self) -> bool:
        """Nothing to do."""
        return False

    def hang_up(self) -> None:
        """Nothing to do: the terminal stays."""

    def close(self) -> None:
        """Close the terminal: to a host this is a board that is unplugged."""
        os.close(self._master)
        os.close(self._slave)


class EngineServer:
    """Passes bytes between an engine and one host after the other.

    The engine goes on when a host leaves in the middle of a frame or a run, as a board does; the next host resets it.

    Parameters
    ----------
    engine : EngineProcess
        Closed with the server, which is a context manager.
    endpoint : Endpoint
        Where hosts connect; closed too.
    """

    def __init__(self, engine: EngineProcess, endpoint: Endpoint):
        self._engine = engine
        self._endpoint = endpoint
        self._to_engine = b""
        self._to_host = b""

    def __enter__(self) -> "EngineServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def target(self) -> str:
        """What `evenstep run` calls this engine."""
        return self._endpoint.target

    def close(self) -> None:
        """End the engine, and hang up."""
        self._engine.close()
        self._endpoint.close()

    def serve_forever(self) -> None:
        """Serve until interrupted; raises `RuntimeError` if the engine ends."""
        while True:
            self.serve_once(None)

    def serve_once(self, timeout: float | None) -> None:
        """Wait until there is something to pass on, for at most `timeout` seconds, and pass it on."""
        engine, host = self._engine, self._endpoint.host()
        read = [engine.idle, engine.output, *self._endpoint.watched()]
        if host is not None and not self._to_engine:
            read.append(host)
        write = [engine.input] if self._to_engine else []
        if host is not None and self._to_host:
            write.append(host)
        readable, writable, _ = select.select(read, write, [], timeout)
        if engine.idle in readable:
            engine.taken()  # nobody asks; but the pipe must not fill
        if engine.output in readable:
            self._hear_engine()
        if host is not None and host in readable:
            self._hear_host(host)
        if engine.input in writable:
            self._tell_engine()
        if self._to_host and host is not None and host in writable and host == self._endpoint.host():
            self._tell_host(host)
        if self._endpoint.serve():
            # What is left belongs to the host before.
            self._to_engine = self._to_host = b""

    def _hear_engine(self) -> None:
        data = os.read(self._engine.output, _CHUNK)
        if not data:
            raise self._engine.ended()
        if self._endpoint.host() is not None:
            self._to_host = (self._to_host + data)[:_BACKLOG]

    def _tell_engine(self) -> None:
        try:
            count = os.write(self._engine.input, self._to_engine)
        except BrokenPipeError:
            raise self._engine.ended() from None
        self._to_engine = self._to_engine[count:]

    def _hear_host(self, host: int) -> None:
        try:
            data = os.read(host, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._to_engine += data
        else:
            self._leave()

    def _tell_host(self, host: int) -> None:
        try:
            count = os.write(host, self._to_host)
        except BlockingIOError:
            return
        except OSError:
            self._leave()
            return
        self._to_host = self._to_host[count:]

    def _leave(self) -> None:
        self._endpoint.hang_up()
        self._to_host = b""
