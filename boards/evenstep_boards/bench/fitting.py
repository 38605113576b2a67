"""Coefficients of `evenstep estimate`, from what was measured."""

from collections.abc import Mapping, Sequence

import numpy as np

from evenstep.estimate.array import FAMILIES, array_terms
from evenstep_boards.bench.designs import ArrayDesign, Design
from evenstep_boards.bench.figures import Figures
from evenstep_boards.bench.fits import fit_designs

__all__ = ["fit_coefficients"]

Coefficients = dict[str, dict[str, dict[str, float]]]


def fit_coefficients(results: Mapping[Design, Figures]) -> Coefficients:
    """Coefficients by family, counter and quantity: those with the least squares of relative errors.

    Raises
    ------
    ValueError
        Arrays that they are fitted to are missing.
    """
    designs = fit_designs()
    if missing := [design.name for design in designs if design not in results]:
        raise ValueError(
            f"Results must have all arrays that estimates are fitted to, but lack {missing[0]} and "
            f"{len(missing) - 1} more: run evenstep bench --only bare-array"
        )
    return {
        family: {
            counter: _fit([one for one in designs if (one.target, one.structure) == (family, counter)], results)
            for counter in counters
        }
        for family, counters in FAMILIES.items()
    }


def _fit(designs: Sequence[ArrayDesign], results: Mapping[Design, Figures]) -> dict[str, float]:
    rows, rests = [], []
    names: dict[str, None] = {}
    for design in designs:
        known, terms = array_terms(design.geometry, design.target)
        luts = results[design].luts
        names |= dict.fromkeys(terms)
        rows.append({name: amount / luts for name, amount in terms.items()})
        rests.append((luts - known) / luts)
    matrix = np.array([[row.get(name, 0) for name in names] for row in rows])
    found, *_ = np.linalg.lstsq(matrix, np.array(rests), rcond=None)
    return {name: round(float(value), 4) for name, value in zip(names, found, strict=True)}
