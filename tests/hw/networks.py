"""Random networks for property tests."""

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from evenstep.spec import Dense, Encoding, Network, Thresholds

__all__ = ["encodings", "networks"]


@st.composite
def encodings(draw: st.DrawFn, max_bits: int = 8) -> Encoding:
    """Any encoding of at most `max_bits` bits."""
    kind = draw(st.sampled_from(["twos-complement", "symmetric", "odd-level", "affine", "unsigned"]))
    bits = draw(st.integers(2 if kind == "symmetric" else 1, max_bits))
    return Encoding(kind, bits, draw(st.integers(0, 2**bits - 1)) if kind == "affine" else 0)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Up to three small layers of any encodings and widths, with flips and equal thresholds; the last may be raw."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    bits = draw(st.integers(1, 8))
    layers = []
    for number, (inputs, outputs) in enumerate(pairwise(sizes), 1):
        encoding = draw(encodings())
        codes = generator.integers(encoding.min_code, encoding.max_code + 1, (outputs, inputs))
        thresholds = None
        width = draw(st.integers(1, 4))
        if number < len(sizes) - 1 or draw(st.booleans()):
            values = np.sort(generator.integers(-60, 60, (outputs, 2**width - 1)), axis=1)
            thresholds = Thresholds(values, generator.random(outputs) < draw(st.sampled_from([0, 0.5, 1])))
        layers.append(Dense(f"fc{number}", codes, encoding, bits, thresholds))
        bits = width
    labels = tuple(f"klasse {number} é" for number in range(sizes[-1])) if draw(st.booleans()) else ()
    return Network(tuple(layers), labels, draw(st.sampled_from(["network", "x y"])))
