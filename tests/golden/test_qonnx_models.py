"""Trained models to network files and back, and through the executor of the QONNX project."""

from pathlib import Path

import numpy as np

from evenstep.qonnx import read_network, write_network
from evenstep_golden.executor import run_qonnx
from evenstep_golden.lower import lower
from tests.golden.networks import quantized, random_pixels


def test_eight_bits_throughout_are_written_and_run(tmp_path: Path) -> None:
    shape, path = (1, 28, 28), tmp_path / "n.onnx"
    model = quantized("mobilenet-v2-small", "uniform:8", "uniform:8", shape=shape, pictures=4, passes=1)
    network = lower(model)
    write_network(network, path)
    assert read_network(path) == network
    pixels = random_pixels(3, shape, seed=1)[2:].numpy().astype(np.int64)
    for layer, expected, got in zip(network.layers, network.boundaries(pixels), run_qonnx(path, pixels), strict=True):
        np.testing.assert_array_equal(expected, got, err_msg=layer.name)
