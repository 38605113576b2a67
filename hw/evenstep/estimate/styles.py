"""Threshold styles: the one that costs least."""

import contextlib

from evenstep.compiler import compile_network
from evenstep.estimate.area import estimate_area
from evenstep.spec import THRESHOLD_STYLES, Geometry, Network

__all__ = ["pick_style"]


def pick_style(geometry: Geometry, network: Network | None = None, *, family: str | None = None) -> Geometry:
    """`geometry` with the threshold style of fewest LUTs that keeps the rate.

    Parameters
    ----------
    geometry : Geometry
        Of an engine; its own style does not count.
    network : Network, optional
        What it is to run: styles are those that can, in as few steps of the array as with any style. Left out: those
        that take any thresholds, a value in each cycle.
    family : str
        As that of `estimate_area`.

    Raises
    ------
    ValueError
        Its area cannot be estimated.
    """
    styles = ["bank", "search"]
    if network is not None:
        steps = {}
        for style in THRESHOLD_STYLES:
            with contextlib.suppress(ValueError):
                program = compile_network(network, geometry.replace(threshold_style=style))
                steps[style] = sum(layer.cycles.steps for layer in program.layers)
        # Where there is none, compiling says why.
        styles = [style for style in steps if steps[style] == min(steps.values())] or styles
    engines = [geometry.replace(threshold_style=style) for style in styles]
    return min(engines, key=lambda one: sum(estimate_area(one, family).luts.values()))
