"""Weights in terms: what a layer of weights multiplies its activations with, such that float32 gives exact sums.

Products in a network file are of float32, whose sums are exact below 2**24. Three cases, decided here alone:

*   most weights are one term;
*   piecewise linear weights are small integers in several terms, each with a constant for each channel;
*   a term whose sums may reach 2**24 is split into balanced digits, each a term with its power of two::

        w = d0 + 2**k * d1 + 4**k * d2 + ...        abs(d) <= 2**(k - 1) for all but the last, which takes the rest
"""

from typing import NamedTuple

import numpy as np
from onnx import TensorProto

from evenstep.qonnx.datatype import (
    DATATYPE_KEY,
    DIGITS_KEY,
    ENCODING_KEY,
    EXACT_LIMITS,
    Digits,
    encoding_datatype,
    range_datatype,
)
from evenstep.qonnx.graph import check_exact
from evenstep.spec import Encoding, PiecewiseEncoding, Weighted

__all__ = ["Term", "join_digits", "weight_terms"]

_FLOAT, _DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


class Term(NamedTuple):
    """Integers that activations are multiplied with, and what the sums are multiplied with.

    Parameters
    ----------
    weights : array of float64, shape (outputs, ...)
        The integers; the sums of their products with activations are below 2**24.
    entries : dict of str to str
        Their annotation.
    constants : array of int64, shape (1,) or (outputs,)
        Factors of the sums, in double; 1 for a lone term, whose sums are the layer's.
    """

    weights: np.ndarray
    entries: dict[str, str]
    constants: np.ndarray


def _reach(layer: Weighted, plane: np.ndarray) -> np.ndarray:
    """Largest magnitude of a sum, in any order of adding, that any activations cause in each channel."""
    return layer.max_activation * np.abs(plane).reshape(layer.outputs, -1).sum(axis=1)


def _split(plane: np.ndarray, form: Digits) -> list[np.ndarray]:
    """Balanced digits, least significant first. A negative zero's digits are negative zeros."""
    digits = []
    for _ in range(form.number - 1):
        rest = np.rint(plane / 2**form.bits)
        digits.append(np.where(rest == 0, plane, plane - rest * 2**form.bits))
        plane = rest
    return [*digits, plane]


def join_digits(digits: list[np.ndarray], form: Digits) -> np.ndarray:
    """What was split into `digits`, least significant first, in float64."""
    plane = digits[-1].astype(np.float64)
    for digit in digits[-2::-1]:
        plane = plane * 2.0**form.bits + digit
    return plane


def _exact_digits(layer: Weighted, plane: np.ndarray) -> tuple[list[np.ndarray], Digits]:
    """As few digits as give exact sums in float32, as narrow as can be; raises `ValueError` where none do."""
    bits = int(np.abs(plane).max()).bit_length()
    forms = [Digits(1, 1)]
    forms += [Digits(number, width) for number in range(2, bits + 2) for width in range(1, bits // (number - 1) + 1)]
    for form in forms:
        digits = _split(plane, form)
        if all(_reach(layer, digit).max() < EXACT_LIMITS[_FLOAT] for digit in digits):
            return digits, form
    check_exact(layer.name, "Sums", int(_reach(layer, plane).max()), _FLOAT)
    raise AssertionError("Sums below the limit need no digits")


def _planes(layer: Weighted, encoding: Encoding | PiecewiseEncoding) -> list[Term]:
    """Terms before they are split."""
    if isinstance(encoding, Encoding):
        entries = {DATATYPE_KEY: encoding_datatype(encoding), ENCODING_KEY: str(encoding)}
        return [Term(layer.weights().astype(np.float64), entries, np.ones(1, np.int64))]
    planes = encoding.terms(layer.codes).astype(np.float64)
    # Of the two codes for 0, the negative one is float's negative zero: it computes the same.
    region, negative, magnitude = encoding.unpack(layer.codes)
    planes[0][(region == 0) & (negative == 1) & (magnitude == 0)] = -0.0
    terms = []
    for index, plane in enumerate(planes):
        signs_alone = index > 0 and index % 2 == 0
        entries = {DATATYPE_KEY: "TERNARY" if signs_alone else f"INT{encoding.magnitude_bits + 1}"}
        if index == 0:
            entries[ENCODING_KEY] = str(encoding)
        terms.append(Term(plane, entries, encoding.constants[:, index]))
    return terms


def weight_terms(layer: Weighted) -> list[Term]:
    """Terms of the layer's weights.

    Raises
    ------
    ValueError
        Sums may not be exact: of a term in float32, however it is split, or of all terms in double.
    """
    terms, total = [], np.zeros(layer.outputs, object)
    for plane in _planes(layer, layer.encoding):
        # Python's integers, since products of hostile constants may overflow 64 bits.
        total = total + _reach(layer, plane.weights).astype(np.int64).astype(object) * plane.constants
        digits, form = _exact_digits(layer, plane.weights)
        if form.number == 1:
            terms.append(plane)
            continue
        for index, digit in enumerate(digits):
            entries = {DATATYPE_KEY: range_datatype(int(digit.min()), int(digit.max()))}
            if index == 0:
                entries = plane.entries | entries | {DIGITS_KEY: str(form)}
            terms.append(Term(digit, entries, plane.constants << (form.bits * index)))
    check_exact(layer.name, "Sums", max(total), _DOUBLE)
    return terms
