"""Data sets by name, for the command line."""

from pathlib import Path

from evenstep.checks import check_choice
from evenstep_golden.data.arrays import load_arrays
from evenstep_golden.data.dataset import PARTS, Dataset
from evenstep_golden.data.fashion import load_images
from evenstep_golden.data.mnist import load_mnist

__all__ = ["DATA_NAMES", "load_data"]

#: Names that `load_data` takes.
DATA_NAMES = ("fashion-mnist", "mnist", "folder", "arrays")

_SIZE = 224


def load_data(name: str, part: str, folder: str | Path | None = None, *, size: int | None = None) -> Dataset:
    """Load the pictures of `part`, ``"train"`` or ``"test"``.

    Parameters
    ----------
    name : str
        ``"fashion-mnist"``: see `load_images`. ``"mnist"``: see `load_mnist`. ``"folder"``: a tree of JPEG and PNG
        files, see `load_folder`. ``"arrays"``: two files, see `load_arrays`.
    folder : path, optional
        Where the files are. Can be left out for the first two.
    size : int, optional
        Height and width to which a tree's pictures are scaled and cropped, 224 if left out. Others come as they are.

    Raises
    ------
    OSError, ValueError
        A file is missing or is not what it should be, or `folder` or `size` does not go with `name`.
    RuntimeError
        A package is missing.
    """
    check_choice("Data", name, DATA_NAMES)
    check_choice("Part", part, PARTS)
    if size is not None and name != "folder":
        raise ValueError(f"Size must be left out for {name}, whose pictures come as they are")
    if name == "fashion-mnist":
        return load_images(part, folder)
    if name == "mnist":
        return load_mnist(part, folder)
    if folder is None:
        raise ValueError(f"Folder must be given for data of kind {name!r}: name it with --data")
    if name == "arrays":
        return load_arrays(folder, part)
    try:
        from evenstep_golden.data.folder import load_folder  # noqa: PLC0415  only picture files need Pillow
    except ModuleNotFoundError as error:
        raise RuntimeError(f"Picture files need {error.name}, which is not installed: run pip install pillow") from None
    return load_folder(folder, part, size=_SIZE if size is None else size)
