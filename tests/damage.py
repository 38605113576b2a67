"""Files with damaged bytes: they give a network, or an error of one line."""

from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from evenstep.spec import Network

__all__ = ["read_damaged"]


def read_damaged(data: st.DataObject, whole: bytes, path: Path, read: Callable[[Path], Network]) -> None:
    """Damage a few bytes of `whole`, and read what is then at `path`."""
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        network = read(path)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(network, Network)
