"""Streams: a driver for inputs, and a monitor for outputs that also checks the rules of the handshake.

Ports are named as `evenstep generate` does: ``PREFIX_tvalid``, ``PREFIX_tready``, and ``PREFIX_tdata`` or one port for
each field of the payload (``s_axis_acts``, ``s_axis_tlast``). A payload is a dict of field to unsigned integer.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["Payload", "StreamDriver", "StreamMonitor"]

Payload = Mapping[str, int]


def _always() -> Iterator[bool]:
    while True:
        yield True


class _Stream:
    """Ports of a stream, by prefix."""

    def __init__(self, dut: Any, prefix: str, fields: tuple[str, ...]):
        self.prefix = prefix
        self.fields = fields
        self.pattern = _always()
        #: Cycle of each transfer.
        self.times: list[int] = []
        self._valid = getattr(dut, f"{prefix}_tvalid")
        self._ready = getattr(dut, f"{prefix}_tready")
        self._data = {field: getattr(dut, f"{prefix}_{field}") for field in fields}


class StreamDriver(_Stream):
    """Offers payloads in order, in cycles that its pattern allows, and holds each until it is taken.

    Parameters
    ----------
    dut
        The simulated module.
    prefix : str
        Of the ports, ``"s_axis"`` for the stream input.
    fields : tuple of str
        Fields of the payload.
    """

    def __init__(self, dut: Any, prefix: str, fields: tuple[str, ...]):
        super().__init__(dut, prefix, fields)
        self._queue: deque[Payload] = deque()
        self._offered: Payload | None = None
        self._valid.value = 0
        for port in self._data.values():
            port.value = 0

    def put(self, **payload: int) -> None:
        """Queue a payload."""
        if set(payload) != set(self.fields):
            raise ValueError(f"Payload of {self.prefix} must have the fields {self.fields}, not {tuple(payload)}")
        self._queue.append(payload)

    @property
    def idle(self) -> bool:
        """Everything queued was taken."""
        return not self._queue and self._offered is None

    def drive(self) -> None:
        """Set the ports for the cycle that begins."""
        allowed = next(self.pattern)
        if self._offered is not None:
            return
        if self._queue and allowed:
            self._offered = self._queue.popleft()
            for field, value in self._offered.items():
                self._data[field].value = value
        self._valid.value = int(self._offered is not None)

    def sample(self, cycle: int) -> None:
        """Look at the settled ports before the clock's edge."""
        if self._offered is not None and int(self._ready.value):
            self.times.append(cycle)
            self._offered = None

    def forget(self) -> None:
        """Offer nothing of what was queued: the module is reset."""
        self._queue.clear()
        self._offered = None
        self._valid.value = 0


class StreamMonitor(_Stream):
    """Takes payloads in cycles that its pattern allows and hands each to `check`.

    Raises `AssertionError` where the payload changes, or is withdrawn, while it waits.

    Parameters
    ----------
    dut, prefix, fields
        As those of `StreamDriver`; ``"m_axis"`` is the stream output.
    check
        Called with every payload.
    """

    def __init__(self, dut: Any, prefix: str, fields: tuple[str, ...], check: Callable[[Payload], None]):
        super().__init__(dut, prefix, fields)
        #: Cycle in which each payload was first offered.
        self.offered_at: list[int] = []
        self._check = check
        self._waiting: Payload | None = None
        self._taking = False
        self._ready.value = 0

    def drive(self) -> None:
        """Set the ports for the cycle that begins."""
        taking = next(self.pattern)
        if taking != self._taking:
            self._taking = taking
            self._ready.value = int(taking)

    def sample(self, cycle: int) -> None:
        """Look at the settled ports before the clock's edge."""
        if not int(self._valid.value):
            waiting = self._waiting
            assert waiting is None, f"{self.prefix} withdraws {waiting} in cycle {cycle} before it was taken"
            return
        payload = {field: int(port.value) for field, port in self._data.items()}
        if self._waiting is None:
            self.offered_at.append(cycle)
        else:
            assert payload == self._waiting, (
                f"{self.prefix} changes from {self._waiting} to {payload} in cycle {cycle} while it waits"
            )
        self._waiting = None if self._taking else payload
        if self._taking:
            self.times.append(cycle)
            self._check(payload)

    def forget(self) -> None:
        """Expect nothing of what was waiting: the module is reset."""
        self._waiting = None
