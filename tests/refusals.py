"""What a block says that refuses its parameters."""

import gc
import warnings
from collections.abc import Callable
from typing import Any

from amaranth.hdl import UnusedElaboratable

__all__ = ["refusal"]


def refusal(make: Callable[[], Any], error: type[Exception]) -> str:
    """Message of the `error` that `make` raises; ``"nothing"`` if it raises none."""
    with warnings.catch_warnings():
        # A block that was refused is never elaborated, of which Amaranth would warn.
        warnings.simplefilter("ignore", UnusedElaboratable)
        try:
            make()
        except error as found:
            said = str(found)
        else:
            said = "nothing"
        gc.collect()
    return said
