"""What fully connected layers and convolutions share: quantized weights, and their sums on integers."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evenstep.spec import Conv, Dense, Weighted
from evenstep_golden.elementwise import Gain, Offset, Step
from evenstep_golden.integers import Integers
from evenstep_golden.quantizers.base import EncodedWeight, WeightQuantizer

__all__ = ["WeightedModule", "sum_type"]


def sum_type(layer: Weighted) -> torch.dtype:
    """Float type in which torch computes the layer's sums exactly, in any order.

    Float32 where all partial sums stay below 2**24, unless its products were made coarser, as by
    `torch.set_float32_matmul_precision`; else float64.
    """
    largest = layer.max_activation * int(np.abs(layer.weights()).reshape(layer.outputs, -1).sum(axis=1).max())
    if largest >= 2**53:
        raise ValueError(f"Sums of {layer.name} must stay below 2**53 to be computed exactly, not reach {largest}")
    precise = torch.get_float32_matmul_precision() == "highest" and all(
        getattr(getattr(torch.backends.mkldnn, kind, None), "fp32_precision", "none") in ("none", "ieee")
        for kind in ("conv", "matmul")
    )
    return torch.float32 if largest < 2**24 and precise else torch.float64


class WeightedModule(nn.Module):
    """Layer with a weight, shape (outputs, ...), a bias or none, and a quantizer for the weight or none.

    Trains on float values. Evaluates on integers where it is called with them: sums are exact, scales come after.

    Attributes
    ----------
    weight : Parameter
    bias : Parameter of shape (outputs,), or None
    weight_quantizer : WeightQuantizer or None
        None for float weights.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self) -> None:
        super().__init__()
        self.weight_quantizer: WeightQuantizer | None = None

    def quantized_weight(self) -> Tensor:
        """The weight as the quantizer leaves it, with gradients."""
        return self.weight if self.weight_quantizer is None else self.weight_quantizer(self.weight)

    def encode(self, name: str) -> EncodedWeight:
        """Integers of the weight; raises `ValueError` where it has no quantizer, or is not finite."""
        if self.weight_quantizer is None:
            raise ValueError(f"Cannot evaluate {name} on integers: its weights must be quantized")
        weight = self.weight.detach()
        broken = torch.nonzero(~torch.isfinite(weight.reshape(len(weight), -1)).all(dim=1))
        if len(broken):
            raise ValueError(
                f"Cannot lower {name}: weights of channel {int(broken[0])} must be finite, which they are not"
            )
        try:
            return self.weight_quantizer.encode(weight)
        except ValueError as error:
            raise ValueError(f"Cannot lower {name}: {error}") from error

    def specified(self, name: str, encoded: EncodedWeight, x: Integers) -> Dense | Conv:
        """The layer as the specification has it, without thresholds."""
        raise NotImplementedError

    def products(self, x: Tensor, weight: Tensor, *, padding: float) -> Tensor:
        """Sums of products of `x` with `weight`; what is padded counts as `padding`."""
        raise NotImplementedError

    def forward(self, x: Any) -> Any:
        """Results for float values (a Tensor) or for `Integers`, in kind."""
        if isinstance(x, Integers):
            return self._evaluate(x)
        result = self.products(x, self.quantized_weight(), padding=0.0)
        return result if self.bias is None else result + self.bias.reshape(-1, *[1] * (result.ndim - 2))

    def _evaluate(self, x: Integers) -> Integers:
        name = x.trace.name(self)
        step, zero = x.code_value(name)
        encoded = self.encode(name)
        raw = self.specified(name, encoded, x)
        dtype = sum_type(raw)
        weight = encoded.integers().to(dtype)
        # NNPACK convolves by Winograd's transform, which divides: its sums of integers are none.
        with torch.backends.nnpack.flags(enabled=False):
            sums = self.products(x.tensor.to(dtype), weight, padding=float(zero))
        steps: list[Step] = []
        if zero:
            # Exact: the sums of the values themselves are no larger than those of the codes can be.
            steps.append(Offset("sum of weights", -zero * weight.flatten(1).sum(1)))
        steps.append(Gain("scale", encoded.scale.detach() * step.to(encoded.scale.dtype)))
        if self.bias is not None:
            steps.append(Offset("bias", self.bias.detach()))
        low, high = raw.sum_ranges()
        return Integers(sums, tuple(steps), low, high, x.trace, name, raw=raw)
