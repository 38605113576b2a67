"""Order and variants of the pictures: functions of seed, epoch and step alone.

No generator lives longer than it takes to draw one block of pictures, so a training that goes on after any epoch, or
that is spread over several processes, sees what an uninterrupted one in a single process sees.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from evenstep_golden.data import Dataset

__all__ = ["Batches"]

#: Blocks of a batch with variants drawn together. Up to as many processes decode no picture in vain.
_BLOCKS = 8


class Batches:
    """One process's share of the batches of `dataset`.

    Parameters
    ----------
    dataset : Dataset
        At least a batch of pictures.
    batch_size : int
        Pictures in a batch of all processes together, a multiple of their number.
    seed : int
        Seed of all randomness.
    augment : bool
        Draw variants of the pictures.
    rank, count : int
        Which process of how many.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, *, seed: int, augment: bool, rank: int = 0, count: int = 1
    ) -> None:
        if len(dataset) < batch_size:
            raise ValueError(f"Batch size must be at most the {len(dataset)} pictures, not {batch_size}")
        if batch_size % count:
            raise ValueError(f"Batch size must be a multiple of the {count} processes, not {batch_size}")
        self.steps = len(dataset) // batch_size
        self._dataset, self._batch_size, self._seed, self._augment = dataset, batch_size, seed, augment
        share = batch_size // count
        self._low, self._high = rank * share, (rank + 1) * share

    def _generator(self, *place: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=place))

    def _pixels(self, epoch: int, step: int, chosen: np.ndarray) -> np.ndarray:
        """The share of a batch; where it cuts a block, the whole block is drawn, whoever else draws it too."""
        if not self._augment:
            return self._dataset.batch(chosen[self._low : self._high])
        ends = [block * self._batch_size // _BLOCKS for block in range(_BLOCKS + 1)]
        parts = []
        for block, (low, high) in enumerate(pairwise(ends)):
            first, last = max(low, self._low), min(high, self._high)
            if first < last:
                drawn = self._dataset.batch(chosen[low:high], self._generator(epoch, step, block))
                parts.append(drawn[first - low : last - low])
        return np.concatenate(parts)

    def epoch(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pixels (uint8) and labels (int64) of each step; the next ones are decoded while these are worked on."""
        order = self._generator(number).permutation(len(self._dataset))

        def load(step: int) -> tuple[np.ndarray, np.ndarray]:
            chosen = order[step * self._batch_size : (step + 1) * self._batch_size]
            return self._pixels(number, step, chosen), self._dataset.labels[chosen[self._low : self._high]]

        with ThreadPoolExecutor(1) as pool:
            ahead: Future[tuple[np.ndarray, np.ndarray]] = pool.submit(load, 0)
            for step in range(1, self.steps + 1):
                batch = ahead.result()
                if step < self.steps:
                    ahead = pool.submit(load, step)
                yield batch
