"""Results of measurements in one file: a line of JSON for each, appended as it is made."""

import fcntl
import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Store", "digest", "read_records"]

_BEGIN = b'{"key": "'


def digest(*parts: Any) -> str:
    """Key of what JSON can hold: equal parts give equal keys, in every process and on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read_records(path: str | Path) -> dict[str, dict[str, Any]]:
    """Records of a file of results, by key; of equal keys the last. A file that is not there has none.

    What follows the last end of a line was cut off while it was written, and is left out.

    Raises
    ------
    ValueError
        The file is damaged, or none of results; the message names the line.
    """
    path = Path(path)
    content = path.read_bytes() if path.exists() else b""
    *lines, rest = content.split(b"\n")
    if not rest.startswith(_BEGIN[: len(rest)]):
        raise ValueError(
            f"{path}, line {len(lines) + 1}: must be a result of a measurement; the file is none of results"
        )
    records: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            if not (set(entry) == {"key", "record"} and isinstance(entry["key"], str)):
                raise ValueError
            if not isinstance(entry["record"], dict):
                raise ValueError
        except (ValueError, TypeError):
            raise _damaged(path, number) from None
        records[entry["key"]] = entry["record"]
    return records


def _damaged(path: Path, line: int) -> ValueError:
    return ValueError(
        f"{path}, line {line}: must be a result of a measurement; the file is damaged, or none of results"
    )


class Store:
    """A file of results, which one process at a time adds to.

    A result is on the disk when `put` returns, so that nothing that was computed is lost to an interruption, or to a
    machine that stops. It is a context manager that closes the file.

    Parameters
    ----------
    path : str or Path
        The file; it and missing folders are made.

    Raises
    ------
    ValueError
        The file is damaged; see `read_records`.
    RuntimeError
        Another process uses it.
    OSError
        It cannot be read or written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Without a buffer: a line is written at once, whole.
        self._file = self.path.open("ab", buffering=0)
        try:
            try:
                # The system gives the lock back when the process ends, however it ends.
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RuntimeError(
                    f"{self.path}: another process adds results to it; wait for that, or name another file"
                ) from None
            self._records = read_records(self.path)
            # Only now that the rest is known to be results: what was cut off goes.
            content = self.path.read_bytes()
            self._file.truncate(content.rfind(b"\n") + 1)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._records)

    def close(self) -> None:
        """Close the file; others can use it then."""
        self._file.close()

    def get(self, key: str) -> dict[str, Any] | None:
        """Record of a key, if there is one."""
        return self._records.get(key)

    def put(self, key: str, record: dict[str, Any]) -> None:
        """Add a record; it takes the place of an older one with this key."""
        line = json.dumps({"key": key, "record": record}, allow_nan=False) + "\n"
        self._file.write(line.encode())
        os.fsync(self._file.fileno())
        self._records[key] = record
