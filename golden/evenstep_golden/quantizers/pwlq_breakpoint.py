"""Breakpoints of PWLQ from the distribution of the weights: closed forms and the exact optimum.

Source: Fang et al., "Post-training Piecewise Linear Quantization" (ECCV 2020), section 3.2 and supplement. Weights are
taken as Gaussian or Laplacian with mean 0 and variance 1 after division by their standard deviation; ``M`` is their
largest magnitude then, ``F`` and ``f`` distribution and density. With equal numbers of steps in all regions, the
expected squared error is proportional to the sum over regions of ``mass * width^2``, whose derivative by ``p``, between
neighbouring breakpoints ``a`` and ``c``, is::

    D(p) = f(p) (p-a)^2 + 2 (F(p)-F(a)) (p-a) - f(p) (c-p)^2 - 2 (F(c)-F(p)) (c-p)        F(M) counts as 1

For one breakpoint (a = 0, c = M) this is ``p - 2M + 2M F(p) + M f(p) (2p - M)``. The overlapping form, whose outer
levels span everything, has ``2 f(p) (p^2 - M^2) + 2p (2F(p) - 1)`` instead.

The paper prints its closed forms as ``p/m = ...``; they are ``p`` in standard deviations, as in the authors' code.
"""

import math

import torch
from torch import Tensor

from evenstep.checks import check_choice, check_int
from evenstep_golden.quantizers.pwlq_forms import FORMS, MAX_BREAKPOINTS, channel_rows, check_weight
from evenstep_golden.quantizers.pwlq_search import search_ratios

__all__ = ["METHODS", "breakpoint_ratio", "closed_form", "normalized_absmax", "numeric_optimum", "perturb_ratios"]

DISTRIBUTIONS = ("gaussian", "laplace")
METHODS = ("gaussian", "laplace", "gaussian-numeric", "laplace-numeric", "search")
#: What the authors add to a standard deviation before dividing; here in units of absmax.
_EPSILON = 1e-12


def normalized_absmax(rows: Tensor) -> Tensor:
    """``M``, absmax over unbiased standard deviation, of each row of (channels, n); float64 of shape (channels,).

    The mean is not removed. From two elements up, ``M >= sqrt((n-1)/n)``, so the ranges where the closed forms break
    (the Gaussian one is negative below 0.455) need not be feared. A channel of zeros or of one element has no spread to
    measure, and any breakpoint does for it: 1. A constant channel has 1e12: all weights are in the tail, exactly.
    """
    absmax = rows.double().abs().amax(dim=1, keepdim=True)
    unit = rows.double() / torch.where(absmax > 0, absmax, 1.0)
    if rows.shape[1] == 1:
        return torch.ones(len(rows), dtype=torch.float64)
    return torch.where(absmax[:, 0] > 0, 1 / (unit.std(dim=1) + _EPSILON), 1.0)


def closed_form(extent: Tensor, distribution: str = "gaussian") -> Tensor:
    """Ratio of the breakpoint to absmax, of channels with `extent` ``M``; one breakpoint, not for overlapping levels.

    Fitted to the exact optimum for M from 3 to 10, where it is right to 0.012 (Gaussian) or 0.021 (Laplace) standard
    deviations. Held to 0 to 1/2, which no channel of two or more weights exceeds by more than 0.01.
    """
    check_choice("Distribution", distribution, DISTRIBUTIONS)
    if distribution == "gaussian":
        point = torch.log(0.86143114 * extent + 0.607901097496529)
    else:
        point = 0.80304483 * extent.sqrt() - 0.3166785508381478
    return (point / extent).clamp(0, 0.5)


def _distribution(x: Tensor, distribution: str) -> tuple[Tensor, Tensor]:
    """Mass beyond ``x >= 0``, ``1 - F``, and density ``f``; unit variance."""
    if distribution == "gaussian":
        return torch.special.erfc(x / math.sqrt(2)) / 2, torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    tail = torch.exp(-math.sqrt(2) * x) / 2
    return tail, tail * math.sqrt(2)


def _optimum_between(below: Tensor, above: Tensor, last: bool, distribution: str, halvings: int) -> Tensor:
    """Root of ``D`` between `below` and the middle to `above`, by bisection; the middle if there is none.

    The density falls outwards, so the inner one of two regions is the narrower one. `last` says where `above` is ``M``.
    """
    tail_below, _ = _distribution(below, distribution)
    tail_above = torch.zeros_like(above) if last else _distribution(above, distribution)[0]
    low, high = below, (below + above) / 2
    for _ in range(halvings):
        middle = (low + high) / 2
        tail, density = _distribution(middle, distribution)
        inside, outside = middle - below, above - middle
        slope = density * (inside.square() - outside.square())
        slope = slope + 2 * (tail_below - tail) * inside - 2 * (tail - tail_above) * outside
        low, high = torch.where(slope < 0, middle, low), torch.where(slope < 0, high, middle)
    return (low + high) / 2


def _optimum_overlapping(extent: Tensor, distribution: str) -> Tensor:
    """Root of the overlapping form's criterion between 0 and `extent`, by bisection."""
    low, high = torch.zeros_like(extent), extent
    for _ in range(60):
        middle = (low + high) / 2
        tail, density = _distribution(middle, distribution)
        slope = density * (middle.square() - extent.square()) + middle * (1 - 2 * tail)
        low, high = torch.where(slope < 0, middle, low), torch.where(slope < 0, high, middle)
    return (low + high) / 2


def numeric_optimum(
    extent: Tensor, distribution: str = "gaussian", breakpoints: int = 1, *, overlapping: bool = False
) -> Tensor:
    """Ratios of the exact optimum for the assumed distribution, float64 of shape (channels, breakpoints).

    Parameters
    ----------
    extent : Tensor of float64, shape (channels,)
        ``M`` of each channel, positive.
    distribution : str
        ``"gaussian"`` or ``"laplace"``.
    breakpoints : int
        1 to 3. One is found to the last bits of float64, and held to absmax / 2 as in the paper (for M below about 1
        the optimum lies beyond). Several move in turn, each to its own optimum, until none moves by 1e-6 of absmax.
    overlapping : bool
        Criterion of the overlapping form, one breakpoint, not held to absmax / 2.
    """
    check_choice("Distribution", distribution, DISTRIBUTIONS)
    count = check_int("Breakpoints", breakpoints, 1, 1 if overlapping else MAX_BREAKPOINTS)
    if overlapping:
        return (_optimum_overlapping(extent, distribution) / extent)[:, None]
    ends = extent[:, None] * (torch.arange(count + 2).double() / (count + 1)).pow(1.5)
    for _ in range(100):
        before = ends.clone()
        for index in range(1, count + 1):
            ends[:, index] = _optimum_between(
                ends[:, index - 1], ends[:, index + 1], index == count, distribution, 60 if count == 1 else 25
            )
        if count == 1 or ((ends - before).abs() <= 1e-6 * extent[:, None]).all():
            break
    return ends[:, 1:-1] / extent[:, None]


def breakpoint_ratio(
    weight: Tensor,
    method: str = "search",
    *,
    bits: int,
    form: str = "paper",
    breakpoints: int = 1,
    granularity: str = "channel",
) -> Tensor:
    """Breakpoints of `weight` over the absmax of their channel, for `pwlq_quantize`.

    Parameters
    ----------
    weight : Tensor of float32 or float64, shape (outputs, ...)
        Finite weights. One axis alone is one channel.
    method : str
        ``"gaussian"``, ``"laplace"``: closed forms, for one breakpoint that is not overlapping.
        ``"gaussian-numeric"``, ``"laplace-numeric"``: the exact optimum of the distribution.
        ``"search"``: least error on these weights. It alone depends on `bits`.
        The distributions' optima assume equal numbers of inner and outer steps, as the paper's form has, and are not
        derived anew for the finer inner steps of the authors' code, which does the same.
    bits : int
        Sign and magnitude, 2 to 8.
    form, granularity : str
        As in `pwlq_quantize`.
    breakpoints : int
        1 to 3; 1 for the overlapping form.

    Returns
    -------
    Tensor of float64, shape (channels, breakpoints)
    """
    check_choice("Method", method, METHODS)
    check_choice("Form", form, FORMS)
    check_int("PWLQ bits", bits, 2, 8)
    overlapping = form == "code-overlapping"
    check_int("Breakpoints", breakpoints, 1, 1 if overlapping else MAX_BREAKPOINTS)
    if method == "search":
        return search_ratios(weight, bits, form, breakpoints, granularity)
    extent = normalized_absmax(channel_rows(check_weight(weight), granularity))
    distribution, _, numeric = method.partition("-")
    if numeric:
        return numeric_optimum(extent, distribution, breakpoints, overlapping=overlapping)
    if overlapping or breakpoints > 1:
        raise ValueError(
            f"Method must be numeric or 'search' for {breakpoints} breakpoints of form {form!r}, not {method!r}"
        )
    return closed_form(extent, distribution)[:, None]


def perturb_ratios(ratios: Tensor, amount: float) -> Tensor:
    """`ratios` moved by the relative `amount`, such as 0.1 or -0.1, and held to 0 to 1.

    The paper finds that 10 % cost almost nothing, which is what lets hardware choose round numbers.
    """
    if not math.isfinite(amount) or amount < -1:
        raise ValueError(f"Amount must be a number of at least -1, not {amount!r}")
    return (ratios * (1 + amount)).clamp(0, 1)
