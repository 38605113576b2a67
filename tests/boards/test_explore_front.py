"""Pareto fronts: what nothing else beats."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evenstep_boards.explore.front import pareto_front


@given(hnp.arrays(int, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.integers(0, 4)))
def test_front(costs: np.ndarray) -> None:
    """Nothing on the front is beaten, and everything else is, by something on the front."""
    front = pareto_front(costs.tolist())

    def beats(one: np.ndarray, other: np.ndarray) -> bool:
        return bool((one <= other).all() and (one < other).any())

    for number, point in enumerate(costs):
        assert any(beats(costs[other], point) for other in front) == (number not in front)


def test_no_front() -> None:
    """Of nothing, nothing is best."""
    assert pareto_front([]) == []
