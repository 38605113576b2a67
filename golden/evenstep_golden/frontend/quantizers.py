"""Quantizers of models from elsewhere: the numbers that they can give, and constants that they have quantized."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from qonnx.core.datatype import DataType
from qonnx.custom_op.general.intquant import int_quant, max_int, min_int

from evenstep.spec import Encoding, signed_bits, unsigned_bits

__all__ = ["Levels", "QuantizedConstant", "choose_encoding", "snap", "whole"]

#: Magnitude that parameters of quantizers stay below.
_LIMIT = 2**31


def whole(what: str, values: np.ndarray) -> np.ndarray:
    """`values` as int64; raises `ValueError` where one is not a whole number, or of more than 32 bits."""
    wrong = values[values != np.rint(values)]
    if wrong.size:
        raise ValueError(f"{what} must be whole, not {wrong.flat[0]:g}")
    wrong = values[(values <= -_LIMIT) | (values >= _LIMIT)]
    if wrong.size:
        raise ValueError(f"{what} must be below 2**31 in magnitude, not {wrong.flat[0]:g}")
    return values.astype(np.int64)


def _check_scale(scale: np.ndarray) -> np.ndarray:
    wrong = scale[~((scale > 0) & np.isfinite(scale))]
    if wrong.size:
        raise ValueError(f"its scale must be positive and finite, not {wrong.flat[0]:g}")
    return scale.astype(np.float64)


def _one(what: str, values: np.ndarray) -> float:
    if values.size != 1:
        raise ValueError(f"its {what} must be one number, not {values.size}")
    return float(values.flat[0])


@dataclass(frozen=True, eq=False)
class Levels:
    """The numbers that a quantizer gives: ``unit * (code - zero)`` for codes from 0 to `top`.

    Parameters
    ----------
    unit : array of float64, shape (1,) or (channels,)
        Step between neighbouring codes.
    zero : array of float64, shape (1,) or (channels,)
        Code of the number 0, which lies between two codes for +-1.
    top : int
        Largest code.
    """

    unit: np.ndarray
    zero: np.ndarray
    top: int

    @property
    def bits(self) -> int:
        """Width of the codes."""
        return unsigned_bits(self.top)

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Codes of `values`, shape (points, channels), that the quantizer has given."""
        return np.rint(values / self.unit + self.zero).astype(np.int64)

    def doubled(self) -> "Levels":
        """The same numbers, by even codes: 0 then has a code too where it lay between two."""
        return Levels(self.unit / 2, self.zero * 2, self.top * 2)

    @classmethod
    def of_quant(cls, scale: np.ndarray, zero: np.ndarray, bits: np.ndarray, *, signed: bool, narrow: bool) -> "Levels":
        """Levels of QONNX's `Quant`, whose scale and zero point are scalars or one for each channel."""
        width = _bits(bits)
        unit = _check_scale(scale.reshape(-1))
        if signed and width == 1:
            _no_zero_point(zero)
            return cls(2 * unit, np.array([0.5]), 1)
        low, high = min_int(signed, narrow, width), max_int(signed, narrow, width)
        return cls(unit, (whole("its zero point", zero) - low).reshape(-1).astype(np.float64), high - low)

    @classmethod
    def of_bipolar(cls, scale: np.ndarray) -> "Levels":
        """Levels of QONNX's `BipolarQuant`."""
        return cls(2 * _check_scale(scale.reshape(-1)), np.array([0.5]), 1)

    @classmethod
    def of_trunc(
        cls, scale: np.ndarray, out_scale: np.ndarray, zero: np.ndarray, bits: np.ndarray, *, signed: bool, narrow: bool
    ) -> "Levels":
        """Levels of QONNX's `Trunc`, of its second version."""
        width = _bits(bits)
        _no_zero_point(zero)
        low, high = min_int(signed, narrow, width), max_int(signed, narrow, width)
        _check_scale(scale)
        return cls(_check_scale(out_scale.reshape(-1)), np.array([-low], np.float64), high - low)

    @classmethod
    def of_thresholds(cls, count: int, scale: float, bias: float) -> "Levels":
        """Levels of QONNX's `MultiThreshold`."""
        unit = _check_scale(np.array([scale]))
        if not np.isfinite(bias):
            raise ValueError(f"its out_bias must be finite, not {bias:g}")
        return cls(unit, snap(np.array([-bias]) / unit), count)

    @classmethod
    def of_datatype(cls, name: str) -> "Levels":
        """All integers of a QONNX data type."""
        kind = _integer_type(name)
        if name == "BIPOLAR":
            return cls(np.array([2.0]), np.array([0.5]), 1)
        return cls(np.ones(1), np.array([-kind.min()], np.float64), int(kind.max() - kind.min()))

    @classmethod
    def of_range(cls, scale: np.ndarray, zero: np.ndarray, low: int, high: int) -> "Levels":
        """Levels of a `DequantizeLinear` of integers from `low` to `high`."""
        unit = _check_scale(scale.reshape(-1))
        return cls(unit, (zero.astype(np.int64) - low).reshape(-1).astype(np.float64), high - low)


def snap(zero: np.ndarray) -> np.ndarray:
    """A zero point that float32 may have moved off a whole number or a half."""
    nearest = np.rint(zero * 2) / 2
    return np.where(np.abs(zero - nearest) < 2.0**-14, nearest, zero)


def _integer_type(name: str) -> Any:
    try:
        kind = DataType[name]
    except KeyError:
        raise ValueError(f"its data type must be one of QONNX, not {name!r}") from None
    if not kind.is_integer():
        raise ValueError(f"its data type must be one of integers, not {name!r}")
    return kind


def _no_zero_point(zero: np.ndarray) -> None:
    if zero.any():
        raise ValueError("its zero point must be 0")


def _bits(bits: np.ndarray) -> int:
    width = int(whole("its number of bits", np.array([_one("number of bits", bits)]))[0])
    if not 1 <= width <= 32:
        raise ValueError(f"its number of bits must be from 1 to 32, not {width}")
    return width


@dataclass(frozen=True, eq=False)
class QuantizedConstant:
    """A constant that is integers times a scale, all arrays of one shape.

    Parameters
    ----------
    integers : array of int64
        The integers.
    scale : array of float64
        What they are multiplied with.
    value : array of float32
        The product, as the model computes it.
    low, high : int
        How far the integers may reach.
    """

    integers: np.ndarray
    scale: np.ndarray
    value: np.ndarray
    low: int
    high: int

    def transposed(self, axes: tuple[int, ...]) -> "QuantizedConstant":
        """With axes in another order."""
        return QuantizedConstant(
            self.integers.transpose(axes), self.scale.transpose(axes), self.value.transpose(axes), self.low, self.high
        )

    def reshaped(self, shape: tuple[int, ...]) -> "QuantizedConstant":
        """In another shape."""
        return QuantizedConstant(
            self.integers.reshape(shape), self.scale.reshape(shape), self.value.reshape(shape), self.low, self.high
        )

    @classmethod
    def make(
        cls, integers: np.ndarray, scale: np.ndarray, value: np.ndarray, low: int, high: int
    ) -> "QuantizedConstant":
        """`scale` is broadcast to the shape of `integers`."""
        numbers = np.asarray(value, np.float32)
        if not np.isfinite(numbers).all():
            raise ValueError("its numbers must be finite in float32, which they are not")
        return cls(integers, np.broadcast_to(_check_scale(scale), integers.shape), numbers, low, high)

    @classmethod
    def of_quant(
        cls,
        values: np.ndarray,
        scale: np.ndarray,
        zero: np.ndarray,
        bits: np.ndarray,
        *,
        signed: bool,
        narrow: bool,
        rounding: str,
    ) -> "QuantizedConstant":
        """What a `Quant` makes of a constant."""
        width = _bits(bits)
        _check_scale(scale)
        if signed and width == 1:
            _no_zero_point(zero)
            low, high = -1, 1
        else:
            offset = whole("its zero point", zero)
            low = min_int(signed, narrow, width) - int(offset.max())
            high = max_int(signed, narrow, width) - int(offset.min())
        one = np.float32(1)
        with np.errstate(over="ignore"):  # what is infinite saturates
            scaled = (values / scale).astype(np.float32)
            given = int_quant(scaled, one, zero, np.float32(width), signed, narrow, rounding)
            value = int_quant(values, scale, zero, np.float32(width), signed, narrow, rounding)
        return cls.make(np.rint(given).astype(np.int64), scale, value, low, high)

    @classmethod
    def of_bipolar(cls, values: np.ndarray, scale: np.ndarray) -> "QuantizedConstant":
        """What a `BipolarQuant` makes of a constant."""
        integers = np.where(values >= 0, 1, -1)
        return cls.make(integers, scale, integers.astype(np.float32) * scale, -1, 1)

    @classmethod
    def of_integers(cls, codes: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> "QuantizedConstant":
        """What a `DequantizeLinear` makes of constant integers; scale and zero point are broadcast."""
        limits = integer_limits(codes.dtype)
        integers, offset = codes.astype(np.int64), zero.astype(np.int64)
        with np.errstate(over="ignore"):  # `make` refuses what is infinite
            value = (integers - offset).astype(np.float32) * scale
        return cls.make(integers - offset, scale, value, limits[0] - int(offset.max()), limits[1] - int(offset.min()))

    @classmethod
    def of_annotation(cls, values: np.ndarray, name: str) -> "QuantizedConstant":
        """A constant of integers that is annotated with a QONNX data type."""
        kind = _integer_type(name)
        integers = whole("its integers", values)
        low, high = int(kind.min()), int(kind.max())
        wrong = integers[(integers < low) | (integers > high) | ((integers == 0) if name == "BIPOLAR" else False)]
        if wrong.size:
            raise ValueError(f"its integers must be of type {name}, which {wrong.flat[0]} is not")
        return cls.make(integers, np.ones(1), values, low, high)


def integer_limits(dtype: np.dtype) -> tuple[int, int]:
    """Smallest and largest integer of `dtype`, which may be one of four bits that NumPy itself has not."""
    if str(dtype) in ("int4", "uint4"):
        return (-8, 7) if str(dtype) == "int4" else (0, 15)
    if not np.issubdtype(dtype, np.integer):
        raise ValueError(f"what is dequantized must be integers, not {dtype}")
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def choose_encoding(constant: QuantizedConstant) -> Encoding:
    """The narrowest encoding of weights from `low` to `high`."""
    low, high = constant.low, constant.high
    if (low, high) == (-1, 1) and (constant.integers != 0).all():
        return Encoding("odd-level", 1)
    if low == 0:
        return Encoding("unsigned", unsigned_bits(high))
    half = 2 ** (signed_bits(low, high) - 1)
    if (low, high) == (1 - half, half - 1):
        return Encoding("symmetric", signed_bits(low, high))
    if (low, high) == (-half, half - 1):
        return Encoding("twos-complement", signed_bits(low, high))
    bits = unsigned_bits(high - low)
    if 0 <= -low < 2**bits:
        return Encoding("affine", bits, -low)
    return Encoding("twos-complement", signed_bits(low, high))
