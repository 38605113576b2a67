"""Running images on a simulated engine and comparing every layer boundary."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evenstep.host import EngineClient
from evenstep_golden import reference
from evenstep_golden.data import Images

__all__ = ["ImageResult", "run_images"]


@dataclass(frozen=True)
class ImageResult:
    """What the engine made of one image.

    Parameters
    ----------
    label, prediction : int
        Class of the image, and the engine's.
    cycles : int
        Cycles of the run, from the engine's counter.
    mismatch : Mismatch or None
        First integer that differs from the golden model's, if any does.
    """

    label: int
    prediction: int
    cycles: int
    mismatch: reference.Mismatch | None


def run_images(client: EngineClient, images: Images) -> Iterator[ImageResult]:
    """Run `images` one after the other on an engine whose program is loaded; yield each result as it comes."""
    program = client.program
    for start in range(0, len(images), program.geometry.batch):
        batch = slice(start, start + program.geometry.batch)
        vectors = images.flat[batch]
        expected = reference.run(program.network, vectors)
        status = client.run(vectors)
        for row, label in enumerate(images.labels[batch]):
            wanted = [boundary[row : row + 1] for boundary in expected]
            # Sums that the engine rescales or thresholds on their way, and codes whose place later layers take, are
            # nowhere to be read.
            readable = [result for result in program.results if not result.overwritten]
            found = {result.name: client.integers(result, row)[None] for result in readable}
            pairs = zip(program.network.layers, wanted, strict=True)
            mismatch = reference.first_mismatch(
                program.network, wanted, [found.get(layer.name, boundary) for layer, boundary in pairs]
            )
            yield ImageResult(int(label), int(np.argmax(found[program.output.name])), status.cycles, mismatch)
