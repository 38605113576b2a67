"""Writing files so that nobody ever sees half of one."""

import os
import secrets
from pathlib import Path

__all__ = ["write_file"]


def write_file(path: str | Path, content: bytes | str) -> None:
    """Write `content` beside `path`, then move it there; what was at `path` stays until then.

    Missing folders are made.

    Raises
    ------
    OSError
        The folder cannot be made or written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, so that two runs that write the same file do not write into each other's.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
