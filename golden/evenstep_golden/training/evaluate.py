"""How much a model gets right."""

import math

import numpy as np
import torch

from evenstep.checks import check_int
from evenstep_golden.data import Dataset
from evenstep_golden.models.base import Classifier
from evenstep_golden.training.distributed import Processes

__all__ = ["measure_accuracy"]

#: Input values in a batch, if nobody says how many pictures.
_BATCH_VALUES = 2**20
_ALONE = Processes()


@torch.no_grad()
def measure_accuracy(
    model: Classifier, dataset: Dataset, *, batch: int | None = None, processes: Processes = _ALONE
) -> float:
    """Share of `dataset`, 0 to 1, that `model` gives its highest logit for the right class; sets evaluation mode.

    On CPUs a quantized model computes its integers. On GPUs it computes floats on the same levels, whose rounding may
    tip a value on a threshold the other way.

    Parameters
    ----------
    batch : int, optional
        Pictures at a time, at least 1; left out: as many as have about a million values.
    processes : Processes
        Each measures its share. All get the same result.
    """
    if not len(dataset):
        raise ValueError("Pictures to measure accuracy on must be at least one, not none")
    if batch is None:
        batch = min(1000, max(1, _BATCH_VALUES // math.prod(dataset.shape)))
    check_int("Batch", batch, 1)
    model.eval()
    compute = model if processes.device.type == "cpu" else model.values
    mine = np.arange(processes.rank, len(dataset), processes.count)
    right = torch.zeros((), dtype=torch.int64, device=processes.device)
    for start in range(0, len(mine), batch):
        chosen = mine[start : start + batch]
        logits = compute(torch.from_numpy(dataset.batch(chosen)).to(processes.device))
        right += (logits.argmax(1) == torch.from_numpy(dataset.labels[chosen]).to(processes.device)).sum()
    return int(processes.sum(right)) / len(dataset)
