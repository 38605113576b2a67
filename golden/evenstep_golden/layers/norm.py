"""Batch norm whose evaluation gives the same float for the same sum, whatever tensor it comes in."""

from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from evenstep.checks import check_int
from evenstep_golden.elementwise import Gain, Offset, apply_steps
from evenstep_golden.integers import Integers

__all__ = ["BatchNorm"]


class _SumOfProcesses(torch.autograd.Function):
    """Sum of every process's tensor. Each process's result depends on all tensors, and so do the gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        result = values.clone()
        torch.distributed.all_reduce(result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        result = gradients[0].clone()
        torch.distributed.all_reduce(result)
        return result


def _sum_of_processes(values: Tensor) -> Tensor:
    result = _SumOfProcesses.apply(values)
    assert isinstance(result, Tensor)
    return result


class BatchNorm(nn.Module):
    """Batch norm over the channels of (positions, channels) or (positions, channels, height, width).

    Trains like torch's own. In evaluation it is one multiplication and one addition, as separate operations: fused
    kernels contract them (FMA) in some positions of a tensor and not in others, and then one sum would have two codes.
    Where several processes train together, the statistics are those of the joined batch, on CPUs too.

    Parameters
    ----------
    channels : int
        Number of channels.
    momentum : float
        Weight of a new batch in the running statistics.
    eps : float
        Added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        check_int("Channels", channels, 1)
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def affine_terms(self) -> tuple[Tensor, Tensor]:
        """Gain and offset of every channel in evaluation, each of shape (channels,)."""
        gain = self.weight / torch.sqrt(self.running_var + self.eps)
        return gain, self.bias - self.running_mean * gain

    def _joined(self, x: Tensor) -> Tensor:
        """Normalized `x` with the statistics of all processes' batches."""
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = (-1, *[1] * (x.ndim - 2))
        count = torch.full_like(self.weight, x.numel() / x.shape[1])
        total, count = _sum_of_processes(torch.stack([x.sum(axes), count]))
        mean = total / count
        # A second sum: the difference of two large ones would cancel.
        centred = x - mean.reshape(shape)
        variance = _sum_of_processes((centred * centred).sum(axes)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        gain = self.weight / torch.sqrt(variance + self.eps)
        return centred * gain.reshape(shape) + self.bias.reshape(shape)

    def forward(self, x: Any) -> Any:
        """Normalized values (a Tensor), or `Integers` with two more steps."""
        if isinstance(x, Integers):
            gain, offset = (values.detach() for values in self.affine_terms())
            return x.then(Gain("batch-norm gain", gain), Offset("batch-norm offset", offset))
        if not self.training:
            gain, offset = self.affine_terms()
            return apply_steps((Gain("gain", gain), Offset("offset", offset)), x)
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            return self._joined(x)
        return nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.eps
        )

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{len(self.weight)}, momentum={self.momentum}, eps={self.eps}"
