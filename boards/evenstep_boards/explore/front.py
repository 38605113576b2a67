"""Pareto fronts."""

from collections.abc import Sequence

import numpy as np

__all__ = ["pareto_front"]


def pareto_front(costs: Sequence[Sequence[float]]) -> list[int]:
    """Numbers of those that no other one is as good as everywhere, and better somewhere; equal ones all stay.

    Parameters
    ----------
    costs : sequence of sequences of numbers
        What is to be small, of each; of what is to be large, the negative.
    """
    if not len(costs):
        return []
    points = np.asarray(costs, dtype=float)
    return [
        number
        for number, point in enumerate(points)
        if not ((points <= point).all(axis=1) & (points < point).any(axis=1)).any()
    ]
