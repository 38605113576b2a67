"""Torch's evaluation of a checkpoint, as one of the implementations that `evenstep compare` sets side by side."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from evenstep_golden.checkpoint import load_checkpoint

__all__ = ["run_checkpoint"]


def run_checkpoint(path: str | Path, inputs: Any) -> dict[str, np.ndarray]:
    """Integers after every layer of a checkpoint's model, by the layer's name.

    Parameters
    ----------
    path : path
        A file of `evenstep_golden.checkpoint.save_checkpoint`.
    inputs : array of int, shape (positions, ...)
        Pixels, 0 to 255, as many for each position as the model takes.

    Raises
    ------
    ValueError
        The file is no checkpoint, its model is not quantized, or takes other inputs.
    """
    model = load_checkpoint(Path(path)).model
    if not model.is_quantized:
        raise ValueError(f"{path}: must be the checkpoint of a quantized network, not of a float one")
    trace = model.integers(torch.tensor(np.asarray(inputs))).trace
    return {name: integers.numpy() for name, integers in trace.boundaries.items()}
