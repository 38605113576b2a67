"""What ships with the package: a trained network, its checkpoint, and a sample of the test images. No torch needed."""

from importlib import resources
from pathlib import Path

import numpy as np

from evenstep.qonnx import read_network
from evenstep.spec import Network
from evenstep_golden.data import LABELS, Images

__all__ = ["checkpoint_path", "network_path", "sample_images", "sample_network"]

_NAME = "fashion-mnist-mlp-256-w2a2"


def _asset(name: str) -> Path:
    path = resources.files("evenstep_golden") / "assets" / name
    assert isinstance(path, Path)  # the distribution is never installed as an archive
    return path


def network_path() -> Path:
    """File of the trained 784-256-256-256-10 perceptron, 2-bit weights and activations, 8-bit pixels."""
    return _asset(f"{_NAME}.onnx")


def checkpoint_path() -> Path:
    """File of the float parameters that this network was lowered from."""
    return _asset(f"{_NAME}.pt")


def sample_network() -> Network:
    """The trained network."""
    return read_network(network_path())


def sample_images() -> Images:
    """The first 200 test images of Fashion-MNIST, in their order."""
    with np.load(_asset("fashion-mnist-sample.npz"), allow_pickle=False) as arrays:
        return Images(arrays["pixels"].reshape(-1, 1, 28, 28), arrays["labels"], LABELS)
