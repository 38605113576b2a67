"""Labelled pictures to train and to test with. NumPy only, until a tree of JPEG files needs Pillow; never torch.

`load_data` finds each source by its name; `Dataset` is what all of them offer. Trees of picture files have a module of
their own, `evenstep_golden.data.folder`, since it imports Pillow.
"""

from evenstep_golden.data.arrays import load_arrays
from evenstep_golden.data.augment import Augmentation
from evenstep_golden.data.dataset import Dataset, spread_indices
from evenstep_golden.data.fashion import DEFAULT_FOLDER, LABELS, load_images
from evenstep_golden.data.idx import read_idx
from evenstep_golden.data.images import Images
from evenstep_golden.data.load import DATA_NAMES, load_data
from evenstep_golden.data.mnist import load_mnist

__all__ = [
    "DATA_NAMES",
    "DEFAULT_FOLDER",
    "LABELS",
    "Augmentation",
    "Dataset",
    "Images",
    "load_arrays",
    "load_data",
    "load_images",
    "load_mnist",
    "read_idx",
    "spread_indices",
]
