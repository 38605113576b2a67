"""Trees of picture files, one folder a class, as ImageNet and many others are kept: root/train/CLASS/name.jpg.

Pictures are decoded when they are asked for, by several threads (Pillow lets go of Python's lock meanwhile).
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from evenstep.checks import check_choice, check_int
from evenstep_golden.data.dataset import PARTS, check_generator, check_indices
from evenstep_golden.data.decode import DRAWS, decode, decode_square

__all__ = ["SUFFIXES", "FolderImages", "load_folder"]

#: Endings of picture files, in any case. Other files are passed over.
SUFFIXES = (".jpg", ".jpeg", ".png")

_NAMED = 10


def load_folder(root: str | Path, part: str, *, size: int = 224) -> "FolderImages":
    """Load `part`, ``"train"`` or ``"test"``, of a tree.

    Training pictures are in `root`/train. Test pictures are in `root`/val where there is one, as in ImageNet, whose
    test pictures have no labels; in `root`/test otherwise. Both parts must have the same classes, or a label would not
    mean the same in both; a tree of test pictures alone will do to test.

    Raises
    ------
    OSError
        A folder is missing, or may not be read.
    ValueError
        See `FolderImages`, or classes differ.
    """
    root = Path(root)
    if check_choice("Part", part, PARTS) == "train":
        return FolderImages(root / "train", size=size)
    tests = root / "val" if (root / "val").is_dir() else root / "test"
    images = FolderImages(tests, size=size)
    if (root / "train").is_dir():
        for name in sorted(set(images.classes).symmetric_difference(_subfolders(root / "train"))):
            missing = tests if name not in images.classes else root / "train"
            raise ValueError(f"{tests} must have the classes of {root / 'train'}: {missing} has no folder {name!r}")
    return images


class FolderImages:
    """The pictures of a folder of folders, scaled and cropped to squares of three channels; a `Dataset`.

    Parameters
    ----------
    folder : path
        Has a folder for each class, named after it, which has the class's .jpg, .jpeg and .png files. Classes and, in
        each, files are in the order of their names. Names that begin with a dot are passed over.
    size : int
        Height and width of the squares, in pixels, 1 to 4096.
    keep : float
        Share of the shorter side that is cut out to test, from 0.1 to 1. Default: 0.875, or 224 of 256 pixels,
        as usual for ImageNet. 1 for pictures that have no margin.
    workers : int, optional
        Threads that decode; left out: one for each processor. Results do not depend on it.

    Raises
    ------
    OSError
        The folder is missing, or may not be read.
    ValueError
        There is no class in it, or no picture in a class.
    """

    def __init__(self, folder: str | Path, *, size: int = 224, keep: float = 0.875, workers: int | None = None) -> None:
        self.folder = Path(folder)
        self.size = check_int("Size", size, 1, 4096)
        if not 0.1 <= keep <= 1:
            raise ValueError(f"Keep must be from 0.1 to 1, not {keep!r}")
        self.keep = keep
        self.workers = check_int("Workers", (os.cpu_count() or 1) if workers is None else workers, 1)
        self.classes = tuple(_subfolders(self.folder))
        if not self.classes:
            raise ValueError(f"{self.folder} must have a folder of pictures for each class, but has no folder")
        self._files: list[str] = []
        labels = []
        for label, name in enumerate(self.classes):
            files = _pictures(self.folder / name)
            if not files:
                raise ValueError(f"{self.folder / name} must have pictures ({', '.join(SUFFIXES)}), but has none")
            self._files += [f"{name}/{file}" for file in files]
            labels.append(np.full(len(files), label, np.int64))
        self.labels = np.concatenate(labels)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every picture: (3, size, size), red, green and blue."""
        return 3, self.size, self.size

    def path(self, index: int) -> Path:
        """File of the picture `index`."""
        return self.folder / self._files[check_int("Index", index, 0, len(self) - 1)]

    def batch(self, indices: Any, generator: np.random.Generator | None = None) -> np.ndarray:
        """Decode the pictures `indices`; see `Dataset`, and `decode_square` for what is cut out.

        Raises
        ------
        OSError
            A file is gone, or may not be read.
        ValueError
            A file is damaged, or has too many pixels; the message names it.
        """
        chosen = check_indices(indices, len(self))
        pixels = np.empty((len(chosen), *self.shape), np.uint8)
        # Drawn before any thread starts, so that their order has no influence.
        draws = None if generator is None else check_generator(generator).random((len(chosen), DRAWS + 1))

        def fill(place: int) -> None:
            row = None if draws is None else draws[place]
            pixels[place] = decode_square(self.path(chosen[place]), self.size, self.keep, row)

        with ThreadPoolExecutor(self.workers) as pool:
            for _ in pool.map(fill, range(len(chosen))):
                pass
        return pixels

    def check(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Decode every file once, so that a damaged one shows before hours of training and not in the midst.

        Parameters
        ----------
        progress : callable, optional
            Called with the number of pictures done and the number of all, after each.

        Raises
        ------
        ValueError
            Files cannot be read or decoded; the message names them, the first ten where there are more.
        """
        with ThreadPoolExecutor(self.workers) as pool:
            bad = []
            for done, complaint in enumerate(pool.map(self._complaint, range(len(self))), 1):
                if complaint:
                    bad.append(complaint)
                if progress is not None:
                    progress(done, len(self))
        if bad:
            more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
            raise ValueError(f"{len(bad)} of {len(self)} pictures are bad: {'; '.join(bad[:_NAMED])}{more}")

    def _complaint(self, index: int) -> str | None:
        """Why the file of the picture `index` is bad, if it is."""
        try:
            with decode(self.path(index)):
                return None
        except (OSError, ValueError) as error:
            return str(error)


def _subfolders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, sorted, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _pictures(folder: Path) -> list[str]:
    """Names of the picture files in `folder`, sorted, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".") and entry.is_file()
        )
