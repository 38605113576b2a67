"""Torch evaluation, lowering and the integer reference: the same integers, whatever the model and the quantizers."""

import numpy as np
import pytest
import torch

from evenstep.spec import Add, Conv, Dense, MaxPool, MultiThreshold, Rescale, SumPool, Weighted
from evenstep_golden.layers import RPReLU
from evenstep_golden.layers.wide import Wide
from evenstep_golden.lower import lower
from evenstep_golden.models import MODELS, Classifier, Perceptron, build_model
from evenstep_golden.reference import first_mismatch, run

from .networks import quantized, random_pixels

SMALL = (1, 4, 5)


def small(weights: str, activations: str, seed: int = 0) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return quantized(Perceptron(SMALL, 4, hidden=(9, 7)), weights, activations, seed=seed)


def check_equal(model: Classifier, pixels: torch.Tensor) -> None:
    network = lower(model)
    got = [boundary.numpy() for boundary in model.boundaries(pixels)]
    assert first_mismatch(network, run(network, pixels.numpy()), got) is None


@pytest.mark.parametrize("weight_bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("act_bits", [1, 2, 3, 4, 8])
def test_reference_equals_torch_at_every_width(weight_bits: int, act_bits: int) -> None:
    flips = varied = 0
    for seed in range(4):
        model = small(f"n2uq:{weight_bits}", f"n2uq:{act_bits}", seed)
        pixels = random_pixels(200, SMALL, seed=weight_bits)
        network = lower(model)
        flips += sum(
            int(layer.thresholds.flips.sum())
            for layer in network.layers
            if isinstance(layer, Weighted) and layer.thresholds
        )
        got = [layer.numpy() for layer in model.boundaries(pixels)]
        varied += sum(len(np.unique(layer)) > 1 for layer in got)
        assert first_mismatch(network, run(network, pixels.numpy()), got) is None
    assert flips and varied


WEIGHTS = [
    "dorefa:1",
    "dorefa:2",
    "lsq:3",
    "lsq:2,granularity=channel",
    "lsq:4,symmetric=True",
    "n2uq:1",
    "n2uq:2",
    "pwlq:4",
    "pwlq:3,breakpoints=2",
    "pwlq:4,breakpoints=3",
    "pwlq:4,aligned=True",
    "pwlq:2,breakpoints=3,aligned=True",
    "pwlq:4,form=code",
    "ste:4",
    "uniform:8",
    "uniform:4,granularity=tensor",
    "uniform:4,kind=affine,granularity=tensor",
]
ACTIVATIONS = ["dorefa:2", "lsq:3", "lsq:4,signed=True", "n2uq:2", "pact:2", "ste:4", "uniform:8", "uniform:3"]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_reference_equals_torch_with_every_weight_quantizer(weights: str) -> None:
    check_equal(quantized("cnn", weights, "uniform:8"), random_pixels(50, (1, 28, 28), seed=1))


@pytest.mark.parametrize("activations", ACTIVATIONS)
@pytest.mark.parametrize("model", ["cnn", "resnet8"])
def test_reference_equals_torch_with_every_activation_quantizer(model: str, activations: str) -> None:
    check_equal(quantized(model, "uniform:8", activations), random_pixels(20, (1, 28, 28), seed=1))


SHAPES = {
    "cnv": (3, 32, 32),
    "ds-cnn": (1, 49, 10),
    "resnet18": (3, 32, 32),
    "resnet34": (3, 32, 32),
    "resnet50": (3, 32, 32),
    "mobilenet-v2": (3, 32, 32),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_lowered_and_equals_the_reference(name: str) -> None:
    shape = SHAPES.get(name, (1, 28, 28))
    model = build_model(name, shape, 10)
    check_equal(quantized(model, "n2uq:2", "n2uq:2", pictures=4, passes=2), random_pixels(2, shape, seed=2))


def test_layers_of_a_residual_network() -> None:
    network = lower(quantized("resnet8", "n2uq:2", "n2uq:2"))
    kinds = {type(layer) for layer in network.layers}
    assert kinds == {Conv, Rescale, Add, MultiThreshold, SumPool, Dense}
    knees = [layer.name for layer in network.layers if isinstance(layer, Rescale) and layer.knee is not None]
    assert "stages.1.0.join2.shortcut" in knees  # an RPReLU on its way around
    pooled = lower(quantized("cnv", "n2uq:2", "n2uq:2", shape=(3, 32, 32)))
    assert [layer.name for layer in pooled.layers if isinstance(layer, MaxPool)] == ["pool2", "pool4"]


def test_channels_with_scales_and_a_bias_are_compared_after_rescaling() -> None:
    model = quantized("resnet8", "uniform:8,granularity=channel", "uniform:8")
    network = lower(model)
    assert [layer.name for layer in network.layers[-2:]] == ["last.sums", "logits"]
    pixels = random_pixels(32, (1, 28, 28), seed=3)
    integers = model.integers(pixels)
    # The integers rank classes as the real numbers do.
    assert torch.equal(model(pixels).argmax(1), integers.tensor.argmax(1))
    torch.testing.assert_close(integers.real(), model.values(pixels), rtol=0.05, atol=0.05)


def test_codes_do_not_depend_on_the_batch() -> None:
    model = quantized("cnn", "n2uq:2", "n2uq:8", seed=1)
    pixels = random_pixels(9, (1, 28, 28), seed=2)
    whole = model.boundaries(pixels)
    for position in range(len(pixels)):
        for layer, alone in zip(whole, model.boundaries(pixels[position : position + 1]), strict=True):
            assert torch.equal(layer[position : position + 1], alone)


def test_sums_beyond_float32_are_exact() -> None:
    shape = (1, 20, 30)  # 600 * 255 * 255 > 2**24
    model = quantized(Perceptron(shape, 2, hidden=(3,)), "n2uq:8", "n2uq:2")
    assert model.integers(random_pixels(1, shape, seed=0)).trace.boundaries["fc1"].dtype == torch.int64
    check_equal(model, random_pixels(50, shape, seed=0))


def test_coarse_products_are_not_trusted() -> None:
    model = small("n2uq:2", "n2uq:2")
    pixels = random_pixels(20, SMALL, seed=0)
    expected = model.boundaries(pixels)
    torch.set_float32_matmul_precision("medium")
    try:
        assert all(torch.equal(*pair) for pair in zip(expected, model.boundaries(pixels), strict=True))
    finally:
        torch.set_float32_matmul_precision("highest")


def test_training_and_evaluation_compute_the_same_logits() -> None:
    model = quantized("cnn", "n2uq:2", "n2uq:2", seed=3)
    pixels = random_pixels(64, (1, 28, 28), seed=3)
    torch.testing.assert_close(model.values(pixels), model(pixels), rtol=1e-5, atol=1e-5)


def test_largest_integer_is_the_prediction() -> None:
    model = small("n2uq:2", "n2uq:2", 4)
    pixels = random_pixels(64, SMALL, seed=4)
    assert torch.equal(model(pixels).argmax(1), model.boundaries(pixels)[-1].argmax(1))


def test_a_float_model_evaluates_with_floats() -> None:
    model = build_model("cnn", (1, 28, 28), 10).eval()
    pixels = random_pixels(2, (1, 28, 28), seed=0)
    torch.testing.assert_close(model(pixels), model.values(pixels))
    with pytest.raises(ValueError, match=r"^Cannot evaluate conv1 on integers: its weights must be quantized$"):
        model.boundaries(pixels)


def test_sizes_of_the_published_networks() -> None:
    def weights(name: str, shape: tuple[int, ...], classes: int) -> int:
        return sum(layer.weight.numel() for layer in build_model(name, shape, classes).weighted().values())

    assert weights("mlp-256", (1, 28, 28), 10) == 334_336  # FINN's SFC
    assert weights("mlp-1024", (1, 28, 28), 10) == 2_910_208  # FINN's LFC
    assert weights("cnv", (3, 32, 32), 10) == 1_542_848
    # torchvision's parameters, less those of batch norms and biases.
    assert weights("resnet18", (3, 224, 224), 1000) == 11_678_912
    assert weights("resnet34", (3, 224, 224), 1000) == 21_779_648
    assert weights("resnet50", (3, 224, 224), 1000) == 25_502_912
    assert weights("mobilenet-v2", (3, 224, 224), 1000) == 3_469_760


def break_weight(model: Classifier) -> None:
    model.get_parameter("last.weight").data[2, 1] = float("nan")


def break_norm(model: Classifier) -> None:
    model.get_parameter("bn2.bias").data[3] = float("inf")


def break_activation(model: Classifier) -> None:
    model.get_parameter("act1.quantizer.start").data.fill_(float("nan"))


def break_sign(model: Classifier) -> None:
    model.get_parameter("act1.quantizer.scale_out").data.neg_()


def break_monotony(model: Classifier) -> None:
    """Make the code of a channel rise and fall."""
    quantizer = model.activations()["act2"].quantizer
    assert quantizer is not None
    model.get_parameter("bn2.weight").data[5] = 2.0
    codes = quantizer.codes

    def dented(x: torch.Tensor) -> torch.Tensor:
        result = codes(x)
        result[:, 5] = (3 - 2 * (x[:, 5] - 1).abs()).clamp(0, 3).long()
        return result

    quantizer.codes = dented  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_weight, r"^Cannot lower last: weights of channel 2 must be finite, which they are not$"),
        (break_norm, r"^Cannot lower fc2: batch-norm offset of channel 3 must be finite, which it is not$"),
        (break_activation, r"^Cannot lower fc1: start of its activation must be finite, which it is not$"),
        (break_sign, r"^Cannot lower fc1: .* must be positive.*, not -"),
        (break_monotony, r"^Cannot lower fc2: Channel 5 is not monotone: .*$"),
        (lambda model: model.train(), r"^Model must be in evaluation mode to be lowered: call eval\(\) first$"),
    ],
)
def test_what_cannot_be_lowered_is_refused_by_name(damage, message: str) -> None:
    model = small("n2uq:2", "n2uq:2", 5)
    damage(model)
    with pytest.raises(ValueError, match=message):
        lower(model)


def test_wide_numbers_that_never_saw_data_are_refused() -> None:
    model = quantized("resnet8", "n2uq:2", "n2uq:2")
    join = model.get_submodule("stages.0.0.join1")
    assert isinstance(join, Wide)
    join.forget()
    message = r"^Cannot evaluate stages\.0\.0\.join1 on integers: it must have seen finite values, in training"
    with pytest.raises(ValueError, match=message):
        lower(model)


def test_a_shortcut_that_only_saw_zeros_is_lowered() -> None:
    """Of a network whose branches have died; what has seen nothing at all is refused."""
    model = quantized("resnet8", "n2uq:2", "n2uq:2")
    for name in ("stages.0.0.join1", "stages.1.0.join1"):
        join = model.get_submodule(name)
        assert isinstance(join, Wide)
        join.forget()
        join.observe(torch.zeros(2, 3))
    check_equal(model, random_pixels(4, (1, 28, 28), seed=4))


def test_a_slope_that_training_pushed_below_zero_is_zero() -> None:
    function = RPReLU(2)
    function.slope.data[:] = torch.tensor([-0.5, 0.25])
    x = torch.tensor([[[-2.0], [-2.0]], [[3.0], [3.0]]])
    result = function(x)
    assert result.tolist() == [[[0.0], [-0.5]], [[3.0], [3.0]]]
    for sign, expected in ((1, [-2.0, -2.0]), (-1, [0.0, 2.0])):  # it may rise again, but not fall
        function.slope.grad = None
        (sign * function(x)).sum().backward()
        assert function.slope.grad is not None and function.slope.grad.tolist() == expected
    model = quantized("resnet8", "n2uq:2", "n2uq:2")
    model.get_parameter("stages.2.0.relu2.slope").data[3] = -0.5
    model.boundaries(random_pixels(2, (1, 28, 28), seed=0))


def test_numbers_that_no_wide_number_holds_are_refused() -> None:
    model = quantized("resnet8", "n2uq:2", "n2uq:2")
    model.get_parameter("bn.weight").data[2] = 1e30
    with pytest.raises(ValueError, match=r"^Cannot lower wide: Gain of channel 2 must be below .*, not .*e\+"):
        lower(model)


def test_a_dead_branch_is_lowered() -> None:
    model = quantized("resnet8", "n2uq:2", "n2uq:2")
    model.get_parameter("bn.weight").data.zero_()
    model.get_parameter("bn.weight").data[0] = 1e-14
    model.get_parameter("bn.bias").data.fill_(3.0)
    check_equal(model, random_pixels(4, (1, 28, 28), seed=0))


def test_logits_of_the_largest_sums_do_not_saturate() -> None:
    for seed in range(20):
        model = quantized(Perceptron(SMALL, 4, hidden=(9,)), "uniform:4,granularity=channel", "uniform:8", seed=seed)
        network = lower(model)
        assert isinstance(network.layers[-1], Rescale)
        low, high = network.layers[-2].sum_ranges()  # type: ignore[union-attr]
        for ends in (low, high):
            logits = network.layers[-1].apply(ends[None])
            assert np.abs(logits).max() < 2**23 - 1


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # of switching the library off, whatever the machine
@pytest.mark.parametrize("name", ["resnet8", "cnn", "ds-cnn"])
def test_integers_do_not_depend_on_the_library_that_convolves(name: str) -> None:
    model = quantized(name, "lsq:4", "lsq:4")
    pixels = random_pixels(16, (1, 28, 28), seed=5)
    expected = model.boundaries(pixels)
    with torch.backends.mkldnn.flags(enabled=False):
        assert all(torch.equal(*pair) for pair in zip(expected, model.boundaries(pixels), strict=True))


def test_pixels_that_are_no_codes_are_refused() -> None:
    model = small("n2uq:2", "n2uq:2")
    with pytest.raises(TypeError, match=r"^Pixels must be integer codes from 0 to 255, not torch\.float32$"):
        model(torch.rand(2, *SMALL))
    with pytest.raises(ValueError, match=r"^Pixels must be codes from 0 to 255, not -1 to -1$"):
        model(torch.full((2, *SMALL), -1))


def test_integers_of_a_model_in_training_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"^Model must be in evaluation mode"):
        small("n2uq:2", "n2uq:2").train().boundaries(random_pixels(1, SMALL, seed=0))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("nothing", (1, 28, 28), r"^Model must be one of mlp-256, .*, not 'nothing'$"),
        ("cnv", (3, 20, 20), r"^Pictures must be at least 32 x 32 for this network, not 20 x 20$"),
        ("cnn", (784,), r"^Input shape must be \(channels, height, width\), not \(784,\)$"),
    ],
)
def test_models_that_cannot_be_are_refused(name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(name, shape, 10)


def test_pictures_of_another_size_are_refused() -> None:
    model = build_model("cnn", (1, 28, 28), 10)
    with pytest.raises(ValueError, match=r"^Pixels must have shape \(positions, 1, 28, 28\), not \(2, 1, 32, 32\)$"):
        model(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))
