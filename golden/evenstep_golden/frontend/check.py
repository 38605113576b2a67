"""Whether an imported network gives the integers of its model, in the qonnx package's executor."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from evenstep_golden.frontend.clean import run_model
from evenstep_golden.frontend.exact import exact_model
from evenstep_golden.frontend.importer import Imported

__all__ = ["LayerCheck", "check_import"]


@dataclass
class LayerCheck:
    """What was found of one layer.

    Attributes
    ----------
    integers : int
        How many integers were compared.
    differences : int
        How many differ.
    largest : int
        The largest difference.
    """

    integers: int = 0
    differences: int = 0
    largest: int = 0


def check_import(imported: Imported, inputs: Any, *, exact: bool, part: int = 250) -> dict[str, LayerCheck]:
    """Compare with qonnx's executor after every layer whose integers the model shows.

    Parameters
    ----------
    imported : Imported
        What to compare.
    inputs : array of float32, shape (positions, ...)
        The model's inputs.
    exact : bool
        Run the model with exact sums. Then every integer must be equal. Otherwise it runs as it is, and its rounded
        sums may fall on the other side of a tie.
    part : int
        Positions at a time.
    """
    inputs = np.asarray(inputs, np.float32)
    model = exact_model(imported.model, imported.sums) if exact else imported.model
    names = [layer.name for layer in imported.network.layers]
    boundaries = imported.boundaries | (imported.exact_boundaries if exact else {})
    checks = {name: LayerCheck() for name in names if name in boundaries}
    for start in range(0, len(inputs), part):
        tensors = run_model(model, inputs[start : start + part])
        results = imported.network.boundaries(imported.inputs_of(tensors))
        for name, result in zip(names, results, strict=True):
            if name in checks:
                boundary, check = boundaries[name], checks[name]
                off = np.abs(boundary.integers(tensors[boundary.tensor]) - result)
                check.integers += off.size
                check.differences += int((off != 0).sum())
                check.largest = max(check.largest, int(off.max(initial=0)))
    return checks
