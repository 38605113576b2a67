"""Convolutions of unsigned activation codes."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from evenstep.checks import check_int
from evenstep.spec.layer import Weighted

__all__ = ["Conv", "window_positions"]


def window_positions(size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1) -> int:
    """Places of a window along an axis of `size` numbers; less than 1 where it does not fit."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


@dataclass(frozen=True, eq=False)
class Conv(Weighted):
    """Convolution. Weight codes have shape (outputs, inputs // groups, kernel height, kernel width).

    Parameters
    ----------
    stride : tuple of int
        Down, across; 1 to 16.
    padding : tuple of int
        Rows and columns added at the top, left, bottom and right, as ONNX orders them; less than the kernel's extent.
    dilation : tuple of int
        Down, across; 1 to 16.
    groups : int
        Groups of channels; as many as there are inputs for a depthwise convolution.
    padding_code : int
        Code of a padded pixel: that of the value 0, so the zero point of the activations.
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    padding_code: int = 0

    AXES: ClassVar[tuple[str, ...]] = ("outputs", "inputs", "height", "width")
    _channel_axis: ClassVar[int] = -3

    def __post_init__(self) -> None:
        super().__post_init__()
        kernel = self.codes.shape[2:]
        for what, values, length in (("Stride", self.stride, 2), ("Dilation", self.dilation, 2)):
            if len(values) != length:
                raise ValueError(f"{what} of {self.name} must be {length} numbers, not {values!r}")
            for value in values:
                check_int(f"{what} of {self.name}", value, 1, 16)
        if len(self.padding) != 4:
            raise ValueError(f"Padding of {self.name} must be 4 numbers, not {self.padding!r}")
        for value, extent, dilation in zip(self.padding, kernel * 2, self.dilation * 2, strict=True):
            # More padding would make windows of nothing but padding.
            check_int(f"Padding of {self.name}", value, 0, dilation * (extent - 1))
        check_int(f"Groups of {self.name}", self.groups, 1)
        if self.outputs % self.groups:
            raise ValueError(f"Groups of {self.name} must divide its {self.outputs} outputs, not be {self.groups}")
        check_int(f"Padding code of {self.name}", self.padding_code, 0, self.max_activation)

    def _identity(self) -> tuple[Any, ...]:
        return (
            *super()._identity(),
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.padding_code,
        )

    @property
    def inputs(self) -> int:
        """Number of input channels."""
        return self.codes.shape[1] * self.groups

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of the kernel."""
        return self.codes.shape[2], self.codes.shape[3]

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape (outputs, height, width) for activations of `shape` (inputs, height, width)."""
        if len(shape) != 3 or shape[0] != self.inputs:
            raise ValueError(f"{self.name} takes pictures of {self.inputs} channels, not shape {shape}")
        places = [
            window_positions(size, kernel, stride, before, after, dilation)
            for size, kernel, stride, before, after, dilation in zip(
                shape[1:], self.kernel, self.stride, self.padding[:2], self.padding[2:], self.dilation, strict=True
            )
        ]
        if min(places) < 1:
            raise ValueError(f"{self.name} takes pictures as large as its {self.kernel} kernel, not shape {shape}")
        return (self.outputs, *places)

    def sums(self, activations: Any) -> np.ndarray:
        """Exact sums, int64 (positions, outputs, height, width), of `activations` (positions, inputs, height, width).

        One product for each place in the kernel: no copy of the activations grows with the kernel.
        """
        activations = self._check_activations(activations)
        if activations.ndim != 4:
            raise ValueError(f"{self.name} takes shape (positions, channels, height, width), not {activations.shape}")
        outputs, height, width = self.output_shape(activations.shape[1:])
        dtype, groups = self._exact_type(), self.groups
        top, left, bottom, right = self.padding
        padded = np.pad(
            activations.astype(dtype),
            ((0, 0), (0, 0), (top, bottom), (left, right)),
            constant_values=self.padding_code,
        )
        weights = self.weights().astype(dtype).reshape(groups, outputs // groups, -1, *self.kernel)
        count = len(activations)
        result = np.zeros((count, groups, outputs // groups, height * width), dtype)
        for row in range(self.kernel[0]):
            for column in range(self.kernel[1]):
                down, across = row * self.dilation[0], column * self.dilation[1]
                seen = padded[
                    :,
                    :,
                    down : down + (height - 1) * self.stride[0] + 1 : self.stride[0],
                    across : across + (width - 1) * self.stride[1] + 1 : self.stride[1],
                ].reshape(count, groups, weights.shape[2], height * width)
                taken = weights[..., row, column]
                # A depthwise convolution is a product of elements; matrices of one column would be slow.
                result += taken * seen if taken.shape[2] == 1 else taken @ seen
        return result.astype(np.int64).reshape(count, outputs, height, width)
