"""Networks of Brevitas for the tests of the import: trained for a few steps, and exported by Brevitas itself."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import torch
from brevitas.export import export_onnx_qcdq, export_qonnx
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
    Int16Bias,
    ShiftedUint8ActPerTensorFloat,
    ShiftedUint8WeightPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    SignedTernaryWeightPerTensorConst,
    TruncTo8bit,
    Uint8ActPerTensorFloat,
)
from torch import Tensor, nn

__all__ = ["SHAPE", "VARIANTS", "Inception", "Residual", "convolutional", "export", "perceptron", "trained"]

SHAPE = (1, 12, 12)


def _weights(bits: int) -> dict[str, Any]:
    if bits == 1:
        return {"weight_quant": SignedBinaryWeightPerTensorConst}
    return {"weight_quant": Int8WeightPerTensorFloat, "weight_bit_width": bits}


def _activation(bits: int) -> nn.Module:
    if bits == 1:
        return qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst)
    return qnn.QuantReLU(bit_width=bits)


def perceptron(bits: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        qnn.QuantIdentity(act_quant=Uint8ActPerTensorFloat),
        qnn.QuantLinear(144, 48, bias=True, **_weights(bits)),
        nn.BatchNorm1d(48),
        _activation(bits),
        nn.Dropout(0.2),
        qnn.QuantLinear(48, 32, bias=False, **_weights(bits)),
        nn.BatchNorm1d(32),
        _activation(bits),
        qnn.QuantLinear(32, 10, bias=True, **_weights(bits)),
    )


def convolutional(bits: int) -> nn.Module:
    return nn.Sequential(
        qnn.QuantIdentity(bit_width=8),
        qnn.QuantConv2d(1, 6, 3, padding=1, bias=False, **_weights(bits)),
        nn.BatchNorm2d(6),
        _activation(bits),
        nn.MaxPool2d(2),
        qnn.QuantConv2d(6, 8, 3, padding=1, stride=2, bias=False, **_weights(bits)),
        nn.BatchNorm2d(8),
        _activation(bits),
        qnn.QuantConv2d(8, 8, 3, padding=1, groups=8, bias=False, **_weights(bits)),
        nn.BatchNorm2d(8),
        _activation(bits),
        nn.Flatten(),
        qnn.QuantLinear(72, 10, bias=True, **_weights(bits)),
    )


class Residual(nn.Module):
    """One residual block. Its branches share a quantizer, or have quantizers of their own."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            qnn.QuantIdentity(bit_width=8),
            qnn.QuantConv2d(1, 6, 3, padding=1, bias=False, weight_bit_width=4),
            nn.BatchNorm2d(6),
            qnn.QuantReLU(bit_width=4),
        )
        self.body = nn.Sequential(
            qnn.QuantConv2d(6, 6, 3, padding=1, bias=False, weight_bit_width=4), nn.BatchNorm2d(6)
        )
        self.skip = nn.Sequential(qnn.QuantConv2d(6, 6, 1, bias=False, weight_bit_width=4), nn.BatchNorm2d(6))
        self.one = qnn.QuantIdentity(bit_width=5)
        self.other = self.one if shared else qnn.QuantIdentity(bit_width=4)
        self.joined = qnn.QuantReLU(bit_width=4)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.narrow = qnn.QuantIdentity(bit_width=8)
        self.last = qnn.QuantLinear(6, 10, bias=True, weight_bit_width=4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.joined(self.one(self.body(x)) + self.other(self.skip(x)))
        return self.last(self.narrow(self.mean(x)).flatten(1))


class Inception(nn.Module):
    """Branches that are joined. They share a quantizer, or are quantized once more together, or neither."""

    def __init__(self, *, shared: bool, again: bool, bits: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            qnn.QuantIdentity(bit_width=8),
            qnn.QuantConv2d(1, 6, 3, bias=False, weight_bit_width=4),
            nn.BatchNorm2d(6),
            _activation(bits),
        )
        branches = {n: qnn.QuantConv2d(6, n, 3, padding=1, bias=False, weight_bit_width=4) for n in (5, 3)}
        self.branches = nn.ModuleList(nn.Sequential(conv, nn.BatchNorm2d(n)) for n, conv in branches.items())
        self.pool = nn.MaxPool2d(3, 1, 1)
        one = _activation(bits)
        self.quantizers = nn.ModuleList([one, *(one if shared else _activation(bits) for _ in range(2))])
        self.together = _activation(bits) if again else nn.Identity()
        self.after = nn.Sequential(
            qnn.QuantConv2d(14, 4, 3, stride=2, padding=1, bias=False, weight_bit_width=4),
            nn.BatchNorm2d(4),
            _activation(bits),
        )
        self.last = qnn.QuantLinear(100, 10, bias=True, weight_bit_width=4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        made = [*(branch(x) for branch in self.branches), self.pool(x)]
        x = torch.cat([quantizer(one) for quantizer, one in zip(self.quantizers, made, strict=True)], 1)
        return self.last(self.after(self.together(x)).flatten(1))


#: Networks with what the others have not, by name.
VARIANTS: dict[str, Any] = {
    "scales and biases per channel": lambda: nn.Sequential(
        qnn.QuantIdentity(bit_width=8),
        qnn.QuantConv2d(1, 6, 3, bias=True, weight_quant=Int8WeightPerChannelFloat, weight_bit_width=4),
        qnn.QuantReLU(bit_width=3),
        nn.AdaptiveAvgPool2d(1),
        qnn.QuantIdentity(bit_width=8),
        nn.Flatten(),
        qnn.QuantLinear(6, 10, bias=True, weight_quant=Int8WeightPerChannelFloat),
        nn.Softmax(1),
    ),
    "signed codes": lambda: nn.Sequential(
        qnn.QuantHardTanh(bit_width=4, max_val=1.0, min_val=-1.0),
        qnn.QuantConv2d(1, 6, 5, stride=2, padding=2, bias=False, weight_bit_width=3),
        nn.BatchNorm2d(6),
        qnn.QuantHardTanh(bit_width=3, max_val=1.0, min_val=-1.0),
        nn.Flatten(),
        qnn.QuantLinear(216, 10, bias=False),
    ),
    "curves": lambda: nn.Sequential(
        qnn.QuantIdentity(bit_width=8),
        nn.Flatten(),
        qnn.QuantLinear(144, 16, bias=True),
        qnn.QuantTanh(bit_width=4),
        qnn.QuantLinear(16, 16, bias=True),
        qnn.QuantSigmoid(bit_width=4),
        qnn.QuantLinear(16, 16, bias=False),
        nn.LeakyReLU(0.1),
        qnn.QuantIdentity(bit_width=5),
        qnn.QuantLinear(16, 10, bias=True),
    ),
    "quantized biases": lambda: nn.Sequential(
        qnn.QuantIdentity(bit_width=8, return_quant_tensor=True),
        nn.Flatten(),
        qnn.QuantLinear(144, 16, bias=True, bias_quant=Int16Bias, return_quant_tensor=True),
        qnn.QuantReLU(bit_width=6, return_quant_tensor=True),
        qnn.QuantLinear(16, 10, bias=True, bias_quant=Int16Bias),
    ),
    "zero points": lambda: nn.Sequential(
        qnn.QuantIdentity(bit_width=8, act_quant=ShiftedUint8ActPerTensorFloat),
        qnn.QuantConv2d(1, 6, 3, padding=1, weight_quant=ShiftedUint8WeightPerTensorFloat, weight_bit_width=5),
        qnn.QuantIdentity(bit_width=6, act_quant=ShiftedUint8ActPerTensorFloat),
        nn.MaxPool2d(3, 2, 1),
        qnn.QuantConv2d(6, 6, 3, padding=2, dilation=2, bias=False),
        nn.ReLU(),
        qnn.QuantIdentity(bit_width=8, act_quant=ShiftedUint8ActPerTensorFloat),
        nn.Flatten(),
        qnn.QuantLinear(216, 10, bias=True),
        nn.Sigmoid(),
    ),
    "pools before batch norms": lambda: nn.Sequential(
        qnn.QuantIdentity(bit_width=8),
        qnn.QuantConv2d(1, 6, 3, bias=False, weight_bit_width=2),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(6),
        qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst),
        qnn.QuantConv2d(6, 6, 2, bias=False, weight_quant=SignedBinaryWeightPerTensorConst),
        nn.AvgPool2d(2),
        nn.BatchNorm2d(6),
        qnn.QuantReLU(bit_width=2),
        nn.Flatten(),
        qnn.QuantLinear(24, 10, bias=False, weight_quant=SignedTernaryWeightPerTensorConst),
    ),
    "quantizers of inputs and outputs": lambda: nn.Sequential(
        qnn.QuantConv2d(1, 4, 3, padding=1, bias=False, input_quant=Int8ActPerTensorFloat, weight_bit_width=4),
        nn.ReLU(),
        qnn.QuantConv2d(4, 4, 3, groups=2, bias=True, input_quant=Uint8ActPerTensorFloat, weight_bit_width=4),
        nn.PReLU(4),
        nn.Flatten(),
        qnn.QuantLinear(400, 10, input_quant=Int8ActPerTensorFloat, output_quant=Int8ActPerTensorFloat),
    ),
    "truncated means": lambda: nn.Sequential(
        qnn.QuantIdentity(bit_width=8, return_quant_tensor=True),
        qnn.QuantConv2d(1, 6, 3, bias=False, weight_bit_width=4),
        nn.BatchNorm2d(6),
        qnn.QuantReLU(bit_width=4, return_quant_tensor=True),
        qnn.TruncAvgPool2d(kernel_size=2, stride=2, trunc_quant=TruncTo8bit, bit_width=4, return_quant_tensor=True),
        nn.Flatten(),
        qnn.QuantLinear(150, 10, bias=True),
    ),
    "means without a quantizer": lambda: nn.Sequential(
        qnn.QuantIdentity(bit_width=8),
        qnn.QuantConv2d(1, 6, 3, bias=False, weight_bit_width=4),
        nn.BatchNorm2d(6),
        qnn.QuantReLU(bit_width=3),
        nn.AvgPool2d(5),
        nn.Flatten(),
        qnn.QuantLinear(24, 10, bias=True, weight_bit_width=4),
    ),
    "scales of activations per channel": lambda: nn.Sequential(
        qnn.QuantIdentity(bit_width=8),
        qnn.QuantConv2d(1, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        qnn.QuantReLU(
            bit_width=4,
            scaling_per_output_channel=True,
            per_channel_broadcastable_shape=(1, 6, 1, 1),
            scaling_stats_permute_dims=(1, 0, 2, 3),
        ),
        qnn.QuantConv2d(6, 12, 3, groups=6, bias=False),
        nn.BatchNorm2d(12),
        qnn.QuantReLU(bit_width=4),
        nn.Flatten(),
        qnn.QuantLinear(768, 10, bias=True),
    ),
}


def trained(model: nn.Module, *, steps: int = 6, shape: tuple[int, ...] = SHAPE) -> nn.Module:
    """`model` after a few steps, in evaluation mode: its scales and statistics are no round numbers."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    model.train()
    for _ in range(steps):
        pictures = torch.rand(32, *shape, generator=generator)
        labels = (pictures.flatten(1).mean(1) * 100).long() % 10
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(pictures), labels).backward()
        optimizer.step()
    return model.eval()


def export(
    model: nn.Module, path: Path, *, qdq: bool = False, dynamo: bool = False, shape: tuple[int, ...] = SHAPE
) -> Path:
    """Let Brevitas export `model`. Its exporter of `dynamo` takes ten times as long."""
    exporter = export_onnx_qcdq if qdq else export_qonnx
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        exporter(model, torch.rand(1, *shape), str(path), dynamo=dynamo)
    return path
