"""Torch evaluation, folding and the integer reference: the same integers, whatever the parameters."""

import numpy as np
import pytest
import torch

from evenstep_golden.lower import lower
from evenstep_golden.models import FloatPerceptron, QuantPerceptron
from evenstep_golden.reference import first_mismatch, run

SIZES = (20, 9, 7, 4)


def random_model(*, weight_bits: int, act_bits: int, seed: int, sizes: tuple[int, ...] = SIZES) -> QuantPerceptron:
    """A model in evaluation mode with random parameters: gains of both signs, uneven intervals, one of them clamped."""
    generator = torch.Generator().manual_seed(seed)
    model = QuantPerceptron(weight_bits=weight_bits, act_bits=act_bits, sizes=sizes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        for layer, _, _ in model.layers():
            layer.activation.intervals.abs_().add_(0.05).mul_(2 / 2**act_bits)
            layer.activation.intervals[0] = -1
            layer.activation.start.fill_(-0.7)
            layer.activation.scale_in.add_(layer.activation.scale_in.sign())
            layer.norm.momentum = None  # so that one pass sets the statistics
        model.last.weight.data.clamp_(-2, 2)
        layer.activation.scale_out.abs_()
        model.train()(torch.tensor(random_pixels(500, sizes[0], seed=seed)))
    return model.eval()


def random_pixels(count: int, inputs: int, seed: int) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, inputs), dtype=np.uint8)
    pixels[0], pixels[1] = 0, 255
    return pixels


@pytest.mark.parametrize("weight_bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("act_bits", [1, 2, 3, 4, 8])
def test_reference_equals_torch(weight_bits: int, act_bits: int) -> None:
    pixels = random_pixels(200, SIZES[0], seed=weight_bits)
    flips = 0
    for seed in range(4):
        model = random_model(weight_bits=weight_bits, act_bits=act_bits, seed=seed)
        network = lower(model)
        flips += sum(int(layer.thresholds.flips.sum()) for layer in network.layers if layer.thresholds)
        got = [layer.numpy() for layer in model.boundaries(torch.tensor(pixels))]
        assert all(len(np.unique(layer)) > 1 for layer in got)
        assert first_mismatch(network, run(network, pixels), got) is None
    assert flips


def test_sums_beyond_float32_are_exact() -> None:
    sizes = (600, 3, 2)  # 600 * 255 * 255 > 2**24
    model = random_model(weight_bits=8, act_bits=2, seed=0, sizes=sizes)
    layer = model.layers()[0][0].linear
    assert layer.sum_type(max_code=255) == torch.float64
    network = lower(model)
    pixels = random_pixels(50, sizes[0], seed=0)
    got = [boundary.numpy() for boundary in model.boundaries(torch.tensor(pixels))]
    assert first_mismatch(network, run(network, pixels), got) is None


def test_codes_do_not_depend_on_the_batch() -> None:
    model = random_model(weight_bits=2, act_bits=8, seed=1)
    pixels = torch.tensor(random_pixels(37, SIZES[0], seed=2))
    whole = model.boundaries(pixels)
    for position in range(len(pixels)):
        for layer, alone in zip(whole, model.boundaries(pixels[position : position + 1]), strict=True):
            assert torch.equal(layer[position : position + 1], alone)


def test_training_and_evaluation_compute_the_same_logits() -> None:
    model = random_model(weight_bits=2, act_bits=2, seed=3).double()
    pixels = torch.tensor(random_pixels(8, SIZES[0], seed=3))
    integers = model(pixels)
    # The training path with the statistics of evaluation.
    x = pixels.double() / 255
    for layer, _, _ in model.layers():
        x = layer(x)
    torch.testing.assert_close(model.last(x) * model.log_gain.exp(), integers)


def test_largest_integer_is_the_prediction() -> None:
    model = random_model(weight_bits=2, act_bits=2, seed=4)
    pixels = torch.tensor(random_pixels(64, SIZES[0], seed=4))
    assert torch.equal(model(pixels).argmax(1), model.boundaries(pixels)[-1].argmax(1))


def test_float_network_has_the_same_shape() -> None:
    quantized, whole = QuantPerceptron(weight_bits=2, act_bits=2), FloatPerceptron()
    sizes = [[tuple(p.shape) for p in model.parameters() if p.ndim == 2] for model in (quantized, whole)]
    assert sizes[0] == sizes[1] == [(256, 784), (256, 256), (256, 256), (10, 256)]


def break_weight(model: QuantPerceptron) -> None:
    model.last.weight.data[2, 1] = float("nan")


def break_norm(model: QuantPerceptron) -> None:
    model.layers()[1][0].norm.bias.data[3] = float("inf")


def break_activation(model: QuantPerceptron) -> None:
    model.layers()[0][0].activation.start.data.fill_(float("nan"))


def break_sign(model: QuantPerceptron) -> None:
    model.layers()[-1][0].activation.scale_out.data.neg_()


def break_granularity(model: QuantPerceptron) -> None:
    model.last.granularity = "channel"


def break_monotony(model: QuantPerceptron) -> None:
    """Make the code of a channel rise and fall."""
    layer = model.layers()[1][0]
    codes = layer.activation.codes

    def dented(x: torch.Tensor) -> torch.Tensor:
        result = codes(x)
        result[..., 5] = (3 - x[..., 5].abs()).clamp(0, 3).long()
        return result

    layer.activation.codes = dented


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_weight, r"^Cannot lower layer3: weights of channel 2 must be finite, which they are not$"),
        (break_norm, r"^Cannot lower layer2: batch-norm offset of channel 3 must be finite, which it is not$"),
        (break_activation, r"^Cannot lower layer1: start of its activation must be finite, which it is not$"),
        (break_sign, r"^Cannot lower layer3: scale of its sums must be positive for the largest to win$"),
        (
            break_granularity,
            r"^Cannot lower layer3: channels with scales of their own cannot be compared as integers; .*$",
        ),
        (break_monotony, r"^Cannot lower layer2: Channel 5 is not monotone: .*$"),
        (lambda model: model.train(), r"^Model must be in evaluation mode to be lowered: call eval\(\) first$"),
    ],
)
def test_what_cannot_be_lowered_is_refused_by_name(damage, message: str) -> None:
    model = random_model(weight_bits=2, act_bits=2, seed=5)
    damage(model)
    with pytest.raises(ValueError, match=message):
        lower(model)


def test_integers_of_a_model_in_training_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"^Network must be in evaluation mode"):
        random_model(weight_bits=2, act_bits=2, seed=0).train().boundaries(torch.zeros(1, SIZES[0]))
