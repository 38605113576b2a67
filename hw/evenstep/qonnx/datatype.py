"""QONNX data types, as far as network files need them, and what they say about encodings.

Names are those of the QONNX project: ``BIPOLAR`` (-1 and 1), ``BINARY`` (0 and 1), ``INTn``, ``UINTn``.
"""

import re
from typing import NamedTuple

from onnx import TensorProto

from evenstep.spec import Encoding, signed_bits, unsigned_bits

__all__ = [
    "DATATYPE_KEY",
    "DIGITS_KEY",
    "DOMAIN",
    "ENCODING_KEY",
    "EXACT_LIMITS",
    "LABELS_KEY",
    "LAYER_KEY",
    "Digits",
    "Piecewise",
    "encoding_datatype",
    "infer_encoding",
    "parse_digits",
    "parse_encoding",
    "range_datatype",
    "unsigned_datatype",
    "unsigned_width",
]

#: Domain of the operator `MultiThreshold`.
DOMAIN = "qonnx.custom_op.general"
#: Keys of a tensor's quantization annotation: QONNX's own, and the encoding that no QONNX type can express.
DATATYPE_KEY, ENCODING_KEY = "finn_datatype", "evenstep_encoding"
#: Key of the annotation of weights that are the first of several digits: how many and how wide, as in ``2:4``.
DIGITS_KEY = "evenstep_digits"
#: Key of the annotation of a layer's constant: the kind of the layer, where its operator may mean another kind.
LAYER_KEY = "evenstep_layer"
#: Key of the model's metadata: the names of the classes, as a JSON list.
LABELS_KEY = "evenstep_labels"
#: Integers are stored as floating-point numbers. Those up to this size are exact, by ONNX's name of the type.
EXACT_LIMITS: dict[int, int] = {TensorProto.FLOAT: 2**24, TensorProto.DOUBLE: 2**53}


class Piecewise(NamedTuple):
    """What names a `PiecewiseEncoding` but for its constants, which are tensors in a file."""

    magnitude_bits: int
    breakpoints: int


class Digits(NamedTuple):
    """How weights are split into digits: how many, and how many bits a digit weighs more than the one before."""

    number: int
    bits: int

    def __str__(self) -> str:
        return f"{self.number}:{self.bits}"


def unsigned_datatype(bits: int) -> str:
    """Name of the type of unsigned `bits`-bit codes."""
    return "BINARY" if bits == 1 else f"UINT{bits}"


def unsigned_width(name: str) -> int:
    """Width of unsigned codes of type `name`; raises `ValueError` for any other type."""
    match = re.fullmatch(r"UINT([1-9][0-9]?)", "UINT1" if name == "BINARY" else name)
    if match is None:
        raise ValueError(f"data type must be an unsigned integer such as 'UINT2', not {name!r}")
    return int(match[1])


def range_datatype(low: int, high: int) -> str:
    """Name of the smallest type that holds the integers from `low` to `high`."""
    return unsigned_datatype(unsigned_bits(high)) if low >= 0 else f"INT{signed_bits(low, high)}"


def encoding_datatype(encoding: Encoding) -> str:
    """Name of the smallest type that holds all weights of `encoding`: INT3 for the odd levels -3, -1, 1 and 3."""
    low, high = encoding.min_value, encoding.max_value
    if (encoding.kind, encoding.bits) == ("odd-level", 1):
        return "BIPOLAR"
    return range_datatype(low, high)


def infer_encoding(name: str) -> Encoding:
    """Encoding of weights of type `name`, for files that do not name one; raises `ValueError` for other types."""
    if name == "BIPOLAR":
        return Encoding("odd-level", 1)
    if match := re.fullmatch(r"INT([1-9][0-9]?)", name):
        return Encoding("twos-complement", int(match[1]))
    try:
        return Encoding("unsigned", unsigned_width(name))
    except ValueError:
        raise ValueError(
            f"data type of weights must be BIPOLAR, BINARY, INTn or UINTn with n <= 16, not {name!r}"
        ) from None


def parse_encoding(text: str) -> Encoding | Piecewise:
    """Read what `str` writes of an encoding; raises `ValueError` for anything else."""
    if text.startswith("piecewise:"):
        match = re.fullmatch(r"piecewise:([1-9]|1[0-5]):([1-3])", text)
        if match is None:
            raise ValueError(f"Piecewise encoding must read like 'piecewise:3:1', not {text!r}")
        return Piecewise(int(match[1]), int(match[2]))
    return Encoding.parse(text)


def parse_digits(text: str) -> Digits:
    """Read what `str` writes of `Digits`; raises `ValueError` for anything else, and for more than weights can need."""
    match = re.fullmatch(r"([2-9]|1[0-7]):([1-9]|1[0-6])", text)
    if match is None:
        raise ValueError(f"Digits of weights must read like '2:4', not {text!r}")
    return Digits(int(match[1]), int(match[2]))
