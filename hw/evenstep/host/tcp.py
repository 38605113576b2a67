"""An engine behind a TCP port: the virtual board, or a board whose serial port another machine passes on."""

import select
import socket

from evenstep.host.transport import LinkError

__all__ = ["REFUSAL", "TcpTransport"]

#: What a server sends, before it closes, to a host that comes while another one uses the engine.
REFUSAL = b"evenstep: in use by another host\n"


class TcpTransport:
    """Transport over a TCP connection.

    Parameters
    ----------
    host : str
        Name or address.
    port : int
        Port, 1 to 65535.
    timeout : float
        Seconds of silence after which `read` gives up; connecting and sending are bounded by it too.

    Raises
    ------
    LinkError
        Nothing listens there, or, from any method, the other side has closed.
    """

    def __init__(self, host: str, port: int, *, timeout: float = 2.0):
        self._name = f"{host}:{port}"
        self._timeout = timeout
        self._first = b""
        try:
            self._socket = socket.create_connection((host, port), timeout)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise LinkError(
                f"Nothing can be reached at {self._name}: {reason}; start evenstep serve, or check host and port"
            ) from None
        # Questions are short and wait for their answers: none of them must wait for another.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def write(self, data: bytes) -> None:
        """Send `data`."""
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise LinkError(f"{self._name} takes no more bytes: restart what serves it") from None
        except OSError:
            # It may have said why before it closed.
            while self.read():
                pass
            raise self._closed() from None

    def read(self) -> bytes:
        """What has arrived."""
        try:
            ready, _, _ = select.select([self._socket], [], [], self._timeout)
            if not ready:
                return b""
            data = self._socket.recv(65536)
        except (OSError, ValueError):
            data = b""
        if not data:
            raise self._closed()
        self._first = (self._first + data)[: len(REFUSAL)]
        return data

    def _closed(self) -> LinkError:
        if self._first == REFUSAL:
            return LinkError(f"Engine at {self._name} is in use by another host: wait until it has finished, or end it")
        return LinkError(f"{self._name} closed the connection: check what serves it, and repeat")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
