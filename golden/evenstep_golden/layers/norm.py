"""Batch norm whose evaluation gives the same float for the same sum, whatever tensor it comes in."""

import torch
from torch import Tensor, nn

__all__ = ["BatchNorm"]


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over the last axis of shape (batch, channels).

    Trains like `torch.nn.BatchNorm1d`. In evaluation it is one multiplication and one addition, as separate
    operations: fused kernels contract them (FMA) in some positions of a tensor and not in others, and then one sum
    would have two codes.
    """

    def affine_terms(self) -> tuple[Tensor, Tensor]:
        """Gain and offset of every channel in evaluation, each of shape (channels,)."""
        assert self.running_mean is not None and self.running_var is not None
        gain = self.weight / torch.sqrt(self.running_var + self.eps)
        return gain, self.bias - self.running_mean * gain

    def forward(self, input: Tensor) -> Tensor:
        """Normalized `input`."""
        if self.training:
            return super().forward(input)
        gain, offset = self.affine_terms()
        return input * gain + offset
