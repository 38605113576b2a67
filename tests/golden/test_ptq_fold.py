"""Batch-norm folding beside numbers of AIMET (tests/vectors) and beside torch; the signal-to-noise ratio."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from evenstep_golden.ptq import BatchNorm, LayerWeights, fold_backward, fold_forward, sqnr_db
from evenstep_golden.ptq.weights import check_tensor

VECTORS = Path(__file__).parents[1] / "vectors"


def random_norm(channels: int, generator: torch.Generator) -> BatchNorm:
    gamma, beta, mean, spread = torch.randn(4, channels, generator=generator, dtype=torch.float64)
    return BatchNorm(gamma, beta, mean, spread.square() + 0.1)


def normalize(x: Tensor, norm: BatchNorm) -> Tensor:
    return functional.batch_norm(x, norm.mean, norm.variance, norm.gamma, norm.beta, eps=norm.eps)


def random_layer(outputs: int, inputs: int, groups: int, generator: torch.Generator, bias: bool) -> LayerWeights:
    weight = torch.randn(outputs, inputs // groups, 3, 2, generator=generator, dtype=torch.float64)
    return LayerWeights(weight, torch.randn(outputs, generator=generator).double() if bias else None, groups)


def run(layer: LayerWeights, x: Tensor, padding: int = 0) -> Tensor:
    return functional.conv2d(x, layer.weight, layer.bias, padding=padding, groups=layer.groups)


@pytest.mark.parametrize("direction", ["bwd", "fwd"])
def test_folding_is_that_of_aimet(direction: str) -> None:
    with np.load(VECTORS / "bnfold_aimet.npz", allow_pickle=False) as arrays:
        values = {key[4:]: torch.tensor(arrays[key]) for key in arrays.files if key.startswith(direction)}
    layer = LayerWeights(values["w"], values["b"])
    norm = BatchNorm(values["gamma"], values["beta"], values["mean"], values["var"], 1e-5)
    folded = fold_backward(layer, norm) if direction == "bwd" else fold_forward(layer, norm, zero_padding=False)
    assert folded.bias is not None
    torch.testing.assert_close(folded.weight, values["w_out"], rtol=0, atol=1e-12)
    torch.testing.assert_close(folded.bias, values["b_out"], rtol=0, atol=1e-12)
    torch.testing.assert_close(norm.gamma / norm.scale, values["sigma"], rtol=1e-12, atol=0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("outputs", "inputs", "groups"), [(6, 4, 1), (6, 4, 2), (4, 4, 4), (8, 4, 4)])
def test_folding_keeps_the_function(outputs: int, inputs: int, groups: int, bias: bool) -> None:
    generator = torch.Generator().manual_seed(outputs + groups)
    layer = random_layer(outputs, inputs, groups, generator, bias)
    x = torch.randn(2, inputs, 5, 5, generator=generator, dtype=torch.float64)

    behind = random_norm(outputs, generator)
    for padding in (0, 1):
        expected = normalize(run(layer, x, padding), behind)
        torch.testing.assert_close(run(fold_backward(layer, behind), x, padding), expected, rtol=0, atol=1e-10)

    front = random_norm(inputs, generator)
    expected = run(layer, normalize(x, front))
    torch.testing.assert_close(run(fold_forward(layer, front, zero_padding=False), x), expected, rtol=0, atol=1e-10)


def test_a_fully_connected_layer_folds_and_keeps_its_type() -> None:
    layer = LayerWeights(torch.tensor([[1.0, 2.0]]))
    norm = BatchNorm(torch.tensor([-2.0]), torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([4.0]), eps=0)
    folded = fold_backward(layer, norm)  # scale -1
    assert folded.bias is not None
    assert folded.weight.tolist() == [[-1.0, -2.0]]
    assert folded.bias.tolist() == [4.0]
    assert folded.weight.dtype == folded.bias.dtype == torch.float32


def test_zero_padding_refuses_forward_folding_unless_offsets_are_zero() -> None:
    generator = torch.Generator().manual_seed(3)
    layer, norm = random_layer(2, 3, 1, generator, True), random_norm(3, generator)
    with pytest.raises(
        ValueError, match=r"^Batch norm in front of a layer with zero padding must have offsets of zero"
    ):
        fold_forward(layer, norm, zero_padding=True)
    centered = BatchNorm(norm.gamma, torch.zeros(3), torch.zeros(3), norm.variance)
    x = torch.randn(1, 3, 4, 4, generator=generator, dtype=torch.float64)
    expected = run(layer, x * centered.scale.reshape(-1, 1, 1), padding=1)
    torch.testing.assert_close(
        run(fold_forward(layer, centered, zero_padding=True), x, 1), expected, rtol=0, atol=1e-10
    )


def test_a_module_s_norm_is_read() -> None:
    module = nn.BatchNorm2d(3, eps=0.5, affine=False)
    module(torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)))
    norm = BatchNorm.from_module(module.eval())
    x = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        module(x).double(), x * norm.scale.reshape(-1, 1, 1) + norm.offset.reshape(-1, 1, 1), rtol=0, atol=1e-6
    )
    with pytest.raises(ValueError, match="must keep running statistics"):
        BatchNorm.from_module(nn.BatchNorm1d(3, track_running_stats=False))


ONE = torch.ones(1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: check_tensor("Weight", np.ones((1, 1))), TypeError, r"^Weight must be a tensor, not array\("),
        (lambda: LayerWeights(torch.ones(1, 1).long()), TypeError, r"^Weight must be a tensor of floats, not of "),
        (
            lambda: LayerWeights(torch.ones(2)),
            ValueError,
            r"^Weight must have shape \(outputs, inputs, \.\.\.\), not \(",
        ),
        (
            lambda: LayerWeights(torch.ones(0, 2)),
            ValueError,
            r"^Weight must hold at least one value, not shape \(0, 2\)",
        ),
        (lambda: LayerWeights(torch.tensor([[math.nan]])), ValueError, r"^Weight must be finite, not nan$"),
        (lambda: LayerWeights(torch.ones(1, 1), ONE / 0), ValueError, r"^Bias must be finite, not inf$"),
        (lambda: LayerWeights(torch.ones(2, 1), ONE), ValueError, r"^Bias must have shape \(2,\), not \(1,\)$"),
        (lambda: LayerWeights(torch.ones(3, 1), groups=2), ValueError, r"^Groups must divide the 3 outputs, not 2$"),
        (lambda: BatchNorm(ONE, ONE, ONE, -ONE), ValueError, r"^Variance must not be negative, not -1\.0$"),
        (lambda: BatchNorm(ONE, ONE, ONE, ONE * 0, eps=0), ValueError, r"^Variance must be positive where eps is 0"),
        (lambda: BatchNorm(ONE, ONE, ONE, ONE, eps=-1e-5), ValueError, r"^Eps must be a positive number, not -1e-05$"),
        (lambda: BatchNorm(ONE, torch.ones(2), ONE, ONE), ValueError, r"^Beta must have shape \(1,\), not \(2,\)$"),
        (
            lambda: fold_backward(LayerWeights(torch.ones(2, 1)), BatchNorm(ONE, ONE, ONE, ONE)),
            ValueError,
            r"^Batch norm must have 2 channels, the layer's outputs, not 1$",
        ),
        (
            lambda: fold_forward(LayerWeights(torch.ones(1, 2)), BatchNorm(ONE, ONE, ONE, ONE), zero_padding=False),
            ValueError,
            r"^Batch norm must have 2 channels, the layer's inputs, not 1$",
        ),
        (lambda: sqnr_db(ONE, torch.ones(2)), ValueError, r"^Quantized values must have shape \(1,\), not \(2,\)$"),
        (lambda: sqnr_db(ONE * math.nan, ONE), ValueError, r"^Reference must be finite, not nan$"),
    ],
)
def test_wrong_tensors_are_named(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_sqnr() -> None:
    reference = torch.tensor([3.0, 4.0])
    assert sqnr_db(reference, torch.tensor([3.0, 3.5])) == pytest.approx(20.0)  # 25 over 0.25
    huge = reference.double() * 1e300
    assert sqnr_db(huge, huge / 2) == pytest.approx(20 * math.log10(2))
    tiny = reference.double() * 1e-300
    assert sqnr_db(tiny, tiny * 0) == pytest.approx(0)
    assert sqnr_db(reference, reference) == math.inf
    assert sqnr_db(reference * 0, reference * 0) == math.inf
    assert sqnr_db(reference * 0, reference) == -math.inf
