"""Patterns of idling and back-pressure: in which cycles a stream's driver may offer, or its receiver may take."""

from collections.abc import Iterator

import numpy as np

from evenstep.checks import check_choice

__all__ = ["PATTERNS", "create_pattern"]

PATTERNS = ("always", "random", "bursts", "rarely")

_RANDOM = 0.5
_RARELY = 0.15
_LONGEST_BURST = 9


def create_pattern(kind: str, rng: np.random.Generator) -> Iterator[bool]:
    """Endless pattern, True in cycles that may transfer.

    Parameters
    ----------
    kind : str
        ``"always"``; ``"random"``: every second cycle, by chance; ``"bursts"``: runs of 1 to 9 cycles on, then off;
        ``"rarely"``: one cycle in seven, by chance.
    rng : Generator
        Where the chance comes from.
    """
    check_choice("Pattern", kind, PATTERNS)
    while True:
        match kind:
            case "always":
                yield True
            case "bursts":
                for on in (True, False):
                    for _ in range(int(rng.integers(1, _LONGEST_BURST + 1))):
                        yield on
            case _:
                yield bool(rng.random() < (_RANDOM if kind == "random" else _RARELY))
