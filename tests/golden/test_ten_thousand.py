"""Every quantizer on all 10,000 test images: torch and the integer reference give the same codes after every layer."""

import pytest
import torch

from evenstep_golden.compare import compare
from evenstep_golden.data import Images, load_images
from evenstep_golden.lower import lower
from evenstep_golden.models import Classifier, Perceptron, build_model
from evenstep_golden.precision import ACTIVATION_METHODS, WEIGHT_METHODS, Method, Precision
from evenstep_golden.reference import run
from evenstep_golden.training import initialize_quantizers

PAIRS = [
    ("dorefa:2", "dorefa:2"),
    ("dorefa:1", "pact:3"),
    ("lsq:2", "lsq:2"),
    ("lsq:4,granularity=channel,symmetric=True", "lsq:4,signed=True"),
    ("n2uq:2", "n2uq:2"),
    ("n2uq:1", "n2uq:1"),
    ("n2uq:8", "n2uq:8"),
    ("pwlq:4", "uniform:8"),
    ("pwlq:3,breakpoints=2", "uniform:8,symmetric=True"),
    ("pwlq:6,breakpoints=3", "uniform:8"),
    ("pwlq:4,aligned=True", "uniform:4"),
    ("pwlq:2,breakpoints=3,aligned=True", "uniform:8"),
    ("ste:3", "ste:3"),
    ("uniform:8", "uniform:8"),
    ("uniform:4,kind=affine,granularity=tensor", "uniform:6"),
]


@pytest.fixture(scope="module")
def images() -> Images:
    """All test images. Where they are missing, the error says how to install them."""
    return load_images("test")


def test_all_quantizers_are_here() -> None:
    assert {weights.partition(":")[0] for weights, _ in PAIRS} == set(WEIGHT_METHODS)
    assert {activations.partition(":")[0] for _, activations in PAIRS} == set(ACTIVATION_METHODS)


@pytest.mark.parametrize(("weights", "activations"), PAIRS)
def test_torch_equals_the_reference_on_ten_thousand_images(weights: str, activations: str, images: Images) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Perceptron((1, 28, 28), 10, hidden=(48, 32))
    check(model, weights, activations, images)


def test_a_convolutional_network_equals_the_reference_on_ten_thousand_images(images: Images) -> None:
    check(build_model("cnn", images.shape, 10), "n2uq:2", "n2uq:2", images)


def check(model: Classifier, weights: str, activations: str, images: Images) -> None:
    """Quantize `model`, settle its statistics, and compare all integers."""
    Precision(Method.parse(weights), Method.parse(activations)).apply(model)
    first = images.pixels[:512].copy()
    initialize_quantizers(model, first)
    with torch.no_grad():
        for _ in range(20):
            model.train()(torch.from_numpy(first))
    model.eval()
    network = lower(model)
    *_, result = compare(
        network,
        images,
        lambda pixels: run(network, pixels),
        lambda pixels: [layer.numpy() for layer in model.boundaries(torch.from_numpy(pixels))],
    )
    assert result.pictures == 10_000
    assert result.first is None, str(result.first)
    assert not any(result.differences.values())
    assert len(torch.cat([layer.flatten() for layer in model.boundaries(torch.from_numpy(first))[:-1]]).unique()) > 1
