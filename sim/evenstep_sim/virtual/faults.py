"""Faults of a line and of a board, made on purpose and from a seed."""

import random
import re
from collections import Counter
from dataclasses import dataclass, fields
from typing import Protocol

from evenstep.host import LinkError, Transport

__all__ = ["Faults", "FaultyTransport", "VirtualBoard"]

# What answers come in: from flag to flag, or what is left of that.
_FRAME = re.compile(rb"\x7e[^\x7e]*\x7e?|[^\x7e]+\x7e?", re.DOTALL)
# Bytes that a single fault drops, repeats or invents, at most.
_LONGEST = 40


class VirtualBoard(Transport, Protocol):
    """Transport to an engine with a button and a plug."""

    def press_reset(self) -> None:
        """Reset the engine; memories stay."""
        ...

    def cycle_power(self) -> None:
        """Switch it off and on; memories are lost."""
        ...


@dataclass(frozen=True)
class Faults:
    """How often things go wrong: each figure is a probability for every chunk of bytes, in either direction.

    Parameters
    ----------
    flip, drop, repeat, noise : float
        A bit is inverted; some bytes are lost, or come twice, or random ones come between.
    lose, double : float
        The whole chunk, which is a frame as hosts send them, is lost, or comes twice.
    stall : float
        The chunk is late: it comes only with the next one, and until then the other side seems silent.
    reset, power : float
        Somebody presses the reset button, or switches off and on, in the middle of the chunk.
    """

    flip: float = 0.0
    drop: float = 0.0
    repeat: float = 0.0
    noise: float = 0.0
    lose: float = 0.0
    double: float = 0.0
    stall: float = 0.0
    reset: float = 0.0
    power: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) <= 1:
                raise ValueError(f"Fault {field.name} must be from 0 to 1, not {getattr(self, field.name)!r}")


class FaultyTransport:
    """A transport that damages what passes through it.

    Bytes that come through come in their order: a line may lose, change, repeat, invent and delay them, but a later one
    never overtakes an earlier one.

    Parameters
    ----------
    board : VirtualBoard
        Where the bytes go. It stays open when this is closed: a cable is pulled, not the board destroyed.
    faults : Faults
        How often which.
    rng : random.Random
        Chooses them.
    strike : tuple of str and int, optional
        What happens once, and after how many bytes of both directions: ``"reset"`` or ``"power"``, as in `Faults`, or
        ``"cut"``: the cable is, and from then on everything is a `LinkError`.
    """

    def __init__(
        self, board: VirtualBoard, faults: Faults, rng: random.Random, *, strike: tuple[str, int] | None = None
    ):
        self._board = board
        self._faults = faults
        self._rng = rng
        self._strike, self._left = strike or ("", 0)
        self._cut = False
        self._late = {"out": b"", "in": b""}
        #: Faults made so far, by name.
        self.made: Counter[str] = Counter()
        #: Bytes that came in, of both directions.
        self.passed = 0
        #: Times that something was sent.
        self.writes = 0

    def write(self, data: bytes) -> None:
        """Send what is left of `data`."""
        if self._cut:
            raise LinkError("The line was cut")
        self.writes += 1
        before, after = self._split(data)
        if after is not None:
            self._board.write(self._damage(before, "out"))
            self._hit()
            data = after
        sent = self._damage(data, "out")
        event = self._draw_event()
        if event:
            at = self._rng.randrange(len(sent) + 1)
            self._board.write(sent[:at])
            self._happen(event)
            sent = sent[at:]
        self._board.write(sent)

    def read(self) -> bytes:
        """What is left of what has arrived, up to the next silence: faults do not depend on how fast the board is."""
        if self._cut:
            raise LinkError("The line was cut")
        data = b""
        while more := self._board.read():
            data += more
        if self._split(data)[1] is not None:
            self._hit()
        frames = _FRAME.findall(data)
        return b"".join(self._damage(frame, "in") for frame in frames or [b""])

    def _split(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Count `data`, and part it where the strike falls; no second part where it does not."""
        self.passed += len(data)
        if not self._strike or len(data) < self._left:
            self._left -= len(data)
            return data, None
        return data[: self._left], data[self._left :]

    @property
    def struck(self) -> bool:
        """Whether the strike fell."""
        return not self._strike

    def _hit(self) -> None:
        event, self._strike = self._strike, ""
        self._happen(event)

    def _happen(self, event: str) -> None:
        match event:
            case "reset":
                self._board.press_reset()
            case "power":
                self._board.cycle_power()
            case "cut":
                self._cut = True
                raise LinkError("The line was cut")

    def close(self) -> None:
        """Pull the cable; answers that are on their way reach whoever comes next."""

    def _draw(self, name: str) -> bool:
        drawn = self._rng.random() < getattr(self._faults, name)
        self.made[name] += drawn
        return drawn

    def _draw_event(self) -> str:
        return next((name for name in ("reset", "power") if self._draw(name)), "")

    def _damage(self, data: bytes, direction: str) -> bytes:
        if not data and direction == "in":
            # Silence: nothing follows that a late chunk would have to wait for.
            late, self._late[direction] = self._late[direction], b""
            return late
        if not data:
            return b""
        damaged = bytearray(data)
        start, length = self._rng.randrange(len(data)), self._rng.randint(1, _LONGEST)
        if self._draw("flip"):
            damaged[start] ^= 1 << self._rng.randrange(8)
        if self._draw("drop"):
            del damaged[start : start + length]
        if self._draw("repeat"):
            damaged[start:start] = damaged[start : start + length]
        if self._draw("noise"):
            damaged[start:start] = self._rng.randbytes(length)
        if self._draw("lose"):
            damaged.clear()
        if self._draw("double"):
            damaged *= 2
        whole = self._late[direction] + bytes(damaged)
        self._late[direction] = b""
        if self._draw("stall"):
            self._late[direction], whole = whole, b""
        return whole
