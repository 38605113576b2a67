"""Scoreboard: what should come, compared in order with what comes."""

from collections import deque
from collections.abc import Mapping

__all__ = ["Scoreboard"]


class Scoreboard:
    """Compares payloads in order, for equality.

    Raises `AssertionError` at the first mismatch, which names where it is, the field, what was expected and what came.

    Parameters
    ----------
    name : str
        What messages call the stream.
    """

    def __init__(self, name: str):
        self.name = name
        #: Payloads compared so far.
        self.checked = 0
        self._expected: deque[tuple[str, Mapping[str, int]]] = deque()

    def expect(self, where: str, **fields: int) -> None:
        """Queue a payload. `where` says which one it is, such as ``"tile 3, channel 5"``.

        Fields that are left out are not compared.
        """
        self._expected.append((where, fields))

    def check(self, got: Mapping[str, int]) -> None:
        """Compare a payload with the next one expected."""
        position = f"{self.name} {self.checked}"
        assert self._expected, f"{position}: expected nothing more, got {_text(got)}"
        where, expected = self._expected.popleft()
        for field, value in expected.items():
            assert got[field] == value, (
                f"{position} ({where}): {field} must be {value} ({value:#x}), not {got[field]} ({got[field]:#x})"
            )
        self.checked += 1

    @property
    def pending(self) -> int:
        """Payloads still to come."""
        return len(self._expected)

    @property
    def next_expected(self) -> str:
        """Where the next payload belongs, for messages."""
        return self._expected[0][0] if self._expected else "nothing"

    def forget(self) -> None:
        """Expect nothing of what was queued: the module is reset."""
        self._expected.clear()


def _text(fields: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in fields.items())
