"""From what a user types to a transport."""

import re
from importlib.metadata import entry_points

from evenstep.host.tcp import TcpTransport
from evenstep.host.transport import LinkError, Transport

__all__ = ["open_transport"]

_GROUP = "evenstep.transports"
_TCP = re.compile(r"(?:(?P<host>[^:/\[\]]+)|\[(?P<address>[0-9A-Fa-f:.]+)\]):(?P<port>\d{1,5})")


def open_transport(target: str, *, baud: int | None = None, timeout: float = 2.0) -> Transport:
    """Open the way to an engine.

    Parameters
    ----------
    target : str
        ``"tcp:HOST:PORT"`` or ``"HOST:PORT"``; else a serial port or the name of a board, for which the extra
        ``boards`` must be installed.
    baud : int, optional
        Of a serial port; left out: what its board is built with.
    timeout : float
        Seconds of silence that `Transport.read` waits for.

    Raises
    ------
    LinkError
        There is nothing, or it is in use; the message says what to do.
    ValueError
        The target cannot be understood.
    """
    tcp = _TCP.fullmatch(target.removeprefix("tcp:"))
    if tcp and 1 <= int(tcp["port"]) <= 65535:
        return TcpTransport(tcp["host"] or tcp["address"], int(tcp["port"]), timeout=timeout)
    if target.startswith("tcp:") or not target:
        raise ValueError(f"Target must be tcp:HOST:PORT, a serial port or a board, not {target!r}")
    # Boards and their ports belong to a package above this one, as commands do.
    for entry in entry_points(group=_GROUP, name="serial"):
        try:
            open_serial = entry.load()
        except ModuleNotFoundError as error:
            raise LinkError(
                f"Serial ports need {error.name}, which is not installed: run pip install 'evenstep[boards]'"
            ) from None
        return open_serial(target, baud=baud, timeout=timeout)
    raise LinkError("Serial ports need the package evenstep_boards, which is not installed: install evenstep again")
