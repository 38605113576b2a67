"""The shipped network on Fashion-MNIST: torch, integer reference and qonnx executor give the same integers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from evenstep.qonnx import read_network, write_network
from evenstep_golden.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from evenstep_golden.commands.evaluate import evaluate
from evenstep_golden.data import LABELS, Images, load_images
from evenstep_golden.executor import run_qonnx
from evenstep_golden.lower import lower
from evenstep_golden.models import Classifier, build_model
from evenstep_golden.precision import Method, Precision
from evenstep_golden.reference import accuracy, count_differences, run
from evenstep_golden.sample import checkpoint_path, network_path, sample_images, sample_network

from .networks import quantized

LAYERS = ("fc1", "fc2", "fc3", "last")


@pytest.fixture(scope="module")
def images() -> Images:
    """All test images. Where they are missing, the error says how to install them."""
    return load_images("test")


@pytest.fixture(scope="module")
def model() -> Classifier:
    return load_checkpoint(checkpoint_path()).model


def test_torch_equals_the_reference_on_ten_thousand_images(images: Images, model: Classifier) -> None:
    network = sample_network()
    expected = run(network, images.flat)
    assert [layer.shape for layer in expected] == [(10_000, size) for size in (256, 256, 256, 10)]
    got = [layer.numpy() for layer in model.boundaries(torch.tensor(images.flat))]
    assert count_differences(network, expected, got) == dict.fromkeys(LAYERS, 0)
    assert accuracy(expected[-1], images.labels) == 0.8953


def test_qonnx_executor_equals_the_reference_on_a_hundred_images(images: Images) -> None:
    network = sample_network()
    pixels = images.flat[:100]
    got = run_qonnx(network_path(), pixels)
    assert count_differences(network, run(network, pixels), got) == dict.fromkeys(LAYERS, 0)


def test_shipped_network_is_that_of_the_shipped_checkpoint(model: Classifier) -> None:
    assert lower(model, name="fashion-mnist-mlp-256-w2a2", labels=LABELS) == read_network(network_path())


def test_shipped_images_are_the_first_of_the_test_images(images: Images) -> None:
    sample, first = sample_images(), images.first(200)
    np.testing.assert_array_equal(sample.pixels, first.pixels)
    np.testing.assert_array_equal(sample.labels, first.labels)


def test_evaluate_prints_accuracy_and_differences() -> None:
    result = CliRunner().invoke(
        evaluate, [str(network_path()), "--checkpoint", str(checkpoint_path()), "--qonnx", "3"], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "fashion-mnist-mlp-256-w2a2: 89.53 % top-1 on 10000 test images (integer reference)",
        "fashion-mnist-mlp-256-w2a2.pt: 89.53 % (quantized, but computed with floats)",
        "torch, 10000 images: differing integers after fc1 0, fc2 0, fc3 0, last 0",
        "qonnx executor, 3 images: differing integers after fc1 0, fc2 0, fc3 0, last 0",
    ]


def test_evaluate_names_the_first_difference(tmp_path: Path, model: Classifier) -> None:
    weight = model.get_parameter("fc2.weight")
    with torch.no_grad():
        weight[7].neg_()
        write_network(lower(model), tmp_path / "other.onnx")
        weight[7].neg_()
    result = CliRunner().invoke(evaluate, [str(tmp_path / "other.onnx"), "--checkpoint", str(checkpoint_path())])
    assert result.exit_code == 1
    assert "differing integers after fc1 0, fc2 " in result.output
    assert "torch differs from the integer reference: fc2, channel 7, position " in result.output


def test_evaluate_refuses_checkpoints_of_the_other_kind(tmp_path: Path) -> None:
    whole = tmp_path / "float.pt"
    save_checkpoint(Checkpoint(build_model("mlp-256", (1, 28, 28), 10), "mlp-256", LABELS), whole)
    for option, path, kind in (
        ("--checkpoint", whole, "quantized network, not of a float one"),
        ("--float", checkpoint_path(), "float network, not of a quantized one"),
    ):
        result = CliRunner().invoke(evaluate, [str(network_path()), "--images", "5", option, str(path)])
        assert isinstance(result.exception, ValueError)
        assert str(result.exception) == f"{path}: must be the checkpoint of a {kind}"


def test_evaluate_refuses_checkpoints_and_images_of_other_networks(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("cnn.pt", "wide.pt", "few.pt")]
    shapes = [("cnn", (1, 28, 28), 10), ("mlp-256", (1, 28, 27), 10), ("mlp-256", (1, 28, 28), 9)]
    for file, (name, shape, classes) in zip(files, shapes, strict=True):
        precision = Precision(Method.parse("lsq:2"), Method.parse("lsq:2")) if name == "cnn" else None
        model = build_model(name, shape, classes) if precision is None else quantized(name, "lsq:2", "lsq:2")
        save_checkpoint(Checkpoint(model, name, LABELS[:classes], precision=precision), file)
    pictures = tmp_path / "data"
    pictures.mkdir()
    for part in ("train", "test"):
        np.savez(pictures / f"{part}.npz", pixels=np.zeros((12, 1, 28, 28), np.uint8), labels=np.arange(12))
    for options, message in (
        (["--checkpoint", str(files[0])], f"{files[0]}: must be the checkpoint of fashion-mnist-mlp-256-w2a2, whose"),
        (["--float", str(files[1])], f"{files[1]}: must take pictures of shape (1, 28, 28), not (1, 28, 27)"),
        (["--float", str(files[2])], f"{files[2]}: must tell the 10 classes of the images apart, not 9"),
        (["--dataset", "arrays", "--data", str(pictures)], "classes of the images apart, not 10"),
    ):
        result = CliRunner().invoke(evaluate, [str(network_path()), "--images", "5", *options])
        assert isinstance(result.exception, ValueError) and message in str(result.exception), result.output


def test_sample_reference_and_data_need_no_torch() -> None:
    code = (
        "import sys, evenstep_golden, evenstep_golden.reference, evenstep_golden.data, evenstep_golden.sample as s; "
        "s.sample_network(); s.sample_images(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
