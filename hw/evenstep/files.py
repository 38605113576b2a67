"""Writing files so that nobody ever sees half of one, and none takes the place of what it is made from."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

__all__ = ["check_outputs", "write_file"]


def write_file(path: str | Path, content: bytes | str) -> None:
    """Write `content` beside `path`, then move it there; what was at `path` stays until then.

    Missing folders are made.

    Raises
    ------
    OSError
        The folder cannot be made or written; it names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, so that two runs that write the same file do not write into each other's.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(beside, path)
    except OSError as error:
        # Named by what was to be written: what lies beside is gone, and a full disk names nothing.
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        beside.unlink(missing_ok=True)


def check_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path]) -> None:
    """Raise `ValueError` where a file that is to be written is one that is read, or another one that is written.

    Both are named by what they are, such as ``"Program file"``; None is a file that is not wanted.
    """
    taken = {path.resolve(): name for name, path in inputs.items()}
    for name, path in outputs.items():
        if path is None:
            continue
        if path.resolve() in taken:
            raise ValueError(f"{name} must be another file than the {taken[path.resolve()]}, not {path}")
        taken[path.resolve()] = name[0].lower() + name[1:] if not name[1:2].isupper() else name
