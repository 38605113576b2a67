"""Fashion-MNIST: 70,000 pictures of clothes, 28 x 28 pixels of 8 bits, in ten classes (Xiao et al., 2017)."""

from pathlib import Path

from evenstep_golden.data.augment import Augmentation
from evenstep_golden.data.idx import read_part
from evenstep_golden.data.images import Images

__all__ = ["DEFAULT_FOLDER", "LABELS", "load_images"]

#: Where Debian's package `dataset-fashion-mnist` puts the files.
DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")

LABELS = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def load_images(part: str, folder: str | Path | None = None) -> Images:
    """Load the pictures of `part`, ``"train"`` or ``"test"``; they may be mirrored, since a shoe may point either way.

    Parameters
    ----------
    folder : path, optional
        Holds the four files as published; left out: `DEFAULT_FOLDER`.

    Raises
    ------
    OSError, ValueError
        A file is missing, or is not what it should be.
    """
    try:
        pixels, labels = read_part(DEFAULT_FOLDER if folder is None else folder, part)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Fashion-MNIST is not at {error.filename}: install it with 'apt-get install dataset-fashion-mnist', "
            "or name the folder of its four .gz files with --data"
        ) from error
    return Images(pixels, labels, LABELS, Augmentation(mirror=True))
