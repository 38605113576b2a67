"""What carries the link's bytes, and what can go wrong with it."""

from typing import Protocol

from evenstep.link.protocol import Command, Status

__all__ = ["LinkError", "LostMemoryError", "NoAnswerError", "RefusedError", "Transport"]


class LinkError(RuntimeError):
    """The engine did not answer, refused, or is gone; the message is one line."""


class NoAnswerError(LinkError):
    """The engine did not answer."""


class RefusedError(LinkError):
    """The engine refused a command.

    Parameters
    ----------
    command : Command
        What it refused.
    status : int
        Why; a `Status` unless the engine is a newer one.
    """

    def __init__(self, command: Command, status: int):
        self.command = command
        self.status = status
        reason = Status(status).name if status in list(Status) else status
        super().__init__(f"Engine refuses {command.name}: {reason}")


class LostMemoryError(LinkError):
    """The engine no longer holds the program that was loaded into it."""


class Transport(Protocol):
    """Carries bytes to and from an engine. Any method may raise `LinkError` where the engine is gone."""

    def write(self, data: bytes) -> None:
        """Send `data`, all of it."""
        ...

    def read(self) -> bytes:
        """What has arrived, at least one byte; nothing if the engine stays silent for the transport's time limit."""
        ...

    def close(self) -> None:
        """Give the engine up."""
        ...
