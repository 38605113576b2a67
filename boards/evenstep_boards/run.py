"""Running a network on an engine, and comparing what it makes with the integers that it must make."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evenstep.compiler import Program
from evenstep.host import Engine
from evenstep_boards.images import ImageSet

__all__ = ["BoardPart", "Difference", "RunResult", "run_images"]


@dataclass(frozen=True)
class BoardPart:
    """What a manifest says of the board that the engine is on; nothing where it is on none.

    Parameters
    ----------
    clock_hz : int or None
        Clock of the engine.
    baud : int or None
        Of its serial line.
    """

    clock_hz: int | None = None
    baud: int | None = None

    @classmethod
    def read(cls, manifest: Path) -> "BoardPart":
        """Read that part of a manifest which `evenstep.generate.Manifest` has read already."""
        part = json.loads(manifest.read_text("utf-8")).get("board", {})
        try:
            values = {name: part.get(name) for name in ("clock_hz", "baud")}
        except AttributeError:
            raise ValueError(f"{manifest} must describe its board by names, not {part!r}") from None
        for name, value in values.items():
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{manifest} must have a positive {name}, not {value!r}")
        return cls(**values)


@dataclass(frozen=True)
class Difference:
    """The first integer that is not what it must be."""

    layer: str
    channel: int
    image: int
    expected: int
    got: int

    def __str__(self) -> str:
        return f"{self.layer}, channel {self.channel}, image {self.image}: expected {self.expected}, got {self.got}"


@dataclass(frozen=True, eq=False)
class RunResult:
    """What an engine made of images.

    Parameters
    ----------
    predictions : array of int, shape (images,)
        Classes.
    cycles, runs : int
        By the engine's counter, in all; and runs, of as many images as the engine has rows.
    seconds : float
        From inputs to last results, the link included.
    equal : array of bool, shape (images,)
        Whether all integers that were compared are what they must be.
    compared : tuple of str
        Layers that were compared: all but those whose codes later layers overwrite.
    difference : Difference or None
        The first, in the order of the layers.
    """

    predictions: np.ndarray
    cycles: int
    runs: int
    seconds: float
    equal: np.ndarray
    compared: tuple[str, ...]
    difference: Difference | None


def run_images(
    engine: Engine, program: Program, images: ImageSet, progress: Callable[[int, int], None] | None = None
) -> RunResult:
    """Run `images` on an engine with `program` loaded, and compare every layer that can be read."""
    found = engine.boundaries(images.pixels, progress)
    names = [result.name for result in program.results]
    expected = dict(zip(names, program.boundaries(images.pixels), strict=True))
    equal = np.ones(len(images), bool)
    difference = None
    for name, got in found.items():
        wrong = np.argwhere(got != expected[name])
        if not len(wrong):
            continue
        equal[wrong[:, 0]] = False
        if difference is None:
            image, channel = (int(index) for index in wrong[0])
            difference = Difference(name, channel, image, int(expected[name][image, channel]), int(got[image, channel]))
    return RunResult(
        predictions=found[names[-1]].argmax(axis=1),
        cycles=engine.cycles,
        runs=engine.runs,
        seconds=engine.seconds,
        equal=equal,
        compared=tuple(found),
        difference=difference,
    )
