"""Serial ports: finding a board's, and carrying the link's bytes over one."""

import contextlib
import os

import serial
from serial.tools import list_ports

from evenstep.host.transport import LinkError, Transport
from evenstep_boards.board import Board
from evenstep_boards.catalog import BOARDS

__all__ = ["DEFAULT_BAUD", "SerialTransport", "find_port", "open_serial"]

#: Of a port whose board is not known.
DEFAULT_BAUD = 1_000_000


def open_serial(target: str, *, baud: int | None = None, timeout: float = 2.0) -> Transport:
    """Open a serial port by its own name, or by that of the board behind it.

    Raises
    ------
    LinkError
        There is none, or it is in use; the message says what to do.
    """
    board = BOARDS.get(target)
    if board is not None:
        return SerialTransport(find_port(board), baud=baud or board.baud, timeout=timeout)
    return SerialTransport(target, baud=baud or DEFAULT_BAUD, timeout=timeout)


def find_port(board: Board) -> str:
    """Name of the port that `board` is plugged into.

    Chips of two ports give the first to programming, so that the last of a chip is the serial line.
    """
    if board.usb is None:
        raise LinkError(
            f"{board.title} has no serial port of its own ({_ports_there()}): name that of your adapter instead of the "
            "board"
        )
    chips: dict[str, str] = {}
    for port in sorted(list_ports.comports(), key=lambda port: (port.location or "", port.device)):
        if (port.vid, port.pid) == board.usb:
            chips[(port.location or port.device).partition(":")[0]] = port.device
    found = sorted(chips.values())
    if not found:
        raise LinkError(
            f"No {board.title} is plugged in ({_ports_there()}): plug it in, or name its port instead of the board"
        )
    if len(found) > 1:
        raise LinkError(f"Several ports may be a {board.title}: name one of {', '.join(found)} instead of the board")
    return found[0]


def _ports_there() -> str:
    names = ", ".join(sorted(port.device for port in list_ports.comports()))
    return f"serial ports: {names}" if names else "there are no serial ports"


class SerialTransport:
    """Transport over a serial port, which nobody else can open meanwhile.

    Parameters
    ----------
    port : str
        Such as ``/dev/ttyUSB1`` or ``COM3``.
    baud : int
        Bits per second.
    timeout : float
        Seconds of silence after which `read` gives up; sending is bounded by it too.

    Raises
    ------
    LinkError
        The port is not there, in use or not for us; or, from any method, it is gone.
    """

    def __init__(self, port: str, *, baud: int = DEFAULT_BAUD, timeout: float = 2.0):
        self._name = port
        try:
            self._port = serial.Serial(port, baud, timeout=timeout, write_timeout=10 * timeout, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as error:
            raise self._refused(error) from None
        # Many USB chips keep what they receive for 16 ms, which is longer than most exchanges take.
        with contextlib.suppress(OSError, ValueError, NotImplementedError, AttributeError):
            self._port.set_low_latency_mode(True)

    def _refused(self, error: Exception) -> LinkError:
        number = getattr(error, "errno", None)
        text = str(error)
        if "exclusively lock" in text or (isinstance(error, PermissionError) and os.name == "nt"):
            return LinkError(f"{self._name} is in use by another program: end it, and repeat")
        if number is not None:
            text = os.strerror(number)
        advice = f"check the name; boards are {', '.join(BOARDS)}"
        if isinstance(error, ValueError):
            advice = "choose another baud rate"
        elif "ermission" in text:
            advice = "join the group that owns it (sudo usermod -a -G dialout $USER), and log in again"
        return LinkError(f"{self._name} cannot be opened: {text} ({_ports_there()}); {advice}")

    def write(self, data: bytes) -> None:
        """Send `data`."""
        try:
            self._port.write(data)
        except serial.SerialTimeoutException:
            raise LinkError(
                f"{self._name} takes no more bytes: unplug the board, plug it in again, and repeat"
            ) from None
        except (serial.SerialException, OSError):
            raise self._gone() from None

    def read(self) -> bytes:
        """What has arrived."""
        try:
            return self._port.read(max(1, self._port.in_waiting)) or b""
        except (serial.SerialException, OSError, TypeError):  # the last where it was closed meanwhile
            raise self._gone() from None

    def _gone(self) -> LinkError:
        return LinkError(f"{self._name} is gone: plug the board in again, and repeat")

    def close(self) -> None:
        """Close the port."""
        with contextlib.suppress(serial.SerialException, OSError):
            self._port.close()
