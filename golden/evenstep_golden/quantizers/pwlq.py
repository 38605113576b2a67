"""PWLQ weight quantizer: levels that are fine near zero and coarse outside, as the integers of the contract.

Source: Fang et al., "Post-training Piecewise Linear Quantization" (ECCV 2020). The levels are those of `pwlq_forms`;
here their steps and offsets are fixed-point: whole multiples of one unit per channel (`evenstep.spec.piecewise`),
rounded by `pwlq_constants` or doubled from region to region. The quantizer trains and evaluates with the levels that
these integers stand for, so that float and integer values agree.
"""

from typing import Any

import torch
from torch import Tensor

from evenstep.checks import check_choice, check_int
from evenstep.spec.piecewise import PiecewiseEncoding, doubling_constants
from evenstep_golden.quantizers.base import EncodedWeight, WeightQuantizer
from evenstep_golden.quantizers.pwlq_breakpoint import METHODS, breakpoint_ratio
from evenstep_golden.quantizers.pwlq_constants import fewest_constant_bits, rounded_constants
from evenstep_golden.quantizers.pwlq_correction import correction_terms
from evenstep_golden.quantizers.pwlq_forms import (
    FORMS,
    GRANULARITIES,
    MAX_BREAKPOINTS,
    Pieces,
    channel_rows,
    check_weight,
)

__all__ = ["PWLQWeight"]

_BUFFERS = ("absmax", "points")


class _StraightThrough(torch.autograd.Function):
    """Given values, with the gradient of the float weight."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, values: Tensor) -> Tensor:
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0], None


class PWLQWeight(WeightQuantizer):
    """Piecewise linear quantizer of weights of shape (outputs, ...), float32 or float64.

    Breakpoints and largest magnitudes are those of the weight that `initialize` is given. A weight that training moves
    beyond is clipped; its gradient is the plain straight-through one all the same.

    Parameters
    ----------
    bits : int
        Sign and magnitude, 2 to 8. One region bit (one breakpoint) or two (two or three) come beside them.
    breakpoints : int
        1 to 3; 1 for the overlapping form.
    method : str
        Where breakpoints come from, one of `pwlq_breakpoint.METHODS`; not for aligned levels.
    form : str
        ``"paper"``, or the authors' ``"code"`` or ``"code-overlapping"``, which have the same integer form. The
        overlapping one's largest negative level, beyond -absmax, has no code; it counts as the one before, which is as
        far from -absmax.
    granularity : str
        ``"channel"`` (axis 0), or ``"tensor"`` for one set of breakpoints and one scale.
    aligned : bool
        Levels for hardware that decodes weights to plain integers: steps double from region to region, and all channels
        share the constants (`evenstep.spec.piecewise.doubling_constants`). With one breakpoint and ``L = 2**(bits-1)``
        they are 0, 1, ... L-1 and L+1, L+3, ... 3L-1. Nothing is searched: a channel's unit is absmax over the largest
        level, and only it is rounded. A weight takes the nearest of all levels, halves the even magnitude or, between
        regions, the outer one. No two regions share a level, where the paper's form has two on each breakpoint, so
        that with one breakpoint, or few bits, little or nothing is lost.
    constant_bits : int
        Width of the largest constant of a channel that is not aligned, 4 to 16, and at least so many that each region
        can have a step: 9 for 8 bits and three breakpoints. Hardware has 32 bits for a result, of which 12 leave 20 to
        the sums. Constants are rounded so that regions keep meeting, and no weight is farther from its level than half
        a step of its region (`pwlq_constants`). Levels move together, for breakpoints up to absmax / 2 by at most about
        ``absmax * 2**(bits-2) / (2**constant_bits - 1)``. With 12 bits that is 0.1 % of absmax for 4-bit weights, a
        hundredth of an outer step; 0.4 % for 6-bit ones, a fifth of one; 1.6 % for 8-bit ones, some steps. The squared
        error of Gaussian and Laplace weights grows by up to 1 %, 4 % and 16 %.
    keep_spread : bool
        Scale each channel so that its standard deviation stays that of the float weights: the part of Banner's
        correction that integers can hold (`pwlq_correction`).

    Attributes
    ----------
    absmax : Tensor, shape (channels,)
        Largest magnitude of each channel; one channel for ``"tensor"``. Empty until `initialize`.
    points : Tensor, shape (channels, breakpoints)
        Breakpoints, before constants are rounded.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range.
    """

    absmax: Tensor
    points: Tensor

    def __init__(
        self,
        bits: int,
        *,
        breakpoints: int = 1,
        method: str = "search",
        form: str = "paper",
        granularity: str = "channel",
        aligned: bool = False,
        constant_bits: int = 12,
        keep_spread: bool = False,
    ) -> None:
        super().__init__(check_int("PWLQ bits", bits, 2, 8))
        self.method = check_choice("Method", method, METHODS)
        self.form = check_choice("Form", form, FORMS)
        self.granularity = check_choice("Granularity", granularity, GRANULARITIES)
        most = 1 if form == "code-overlapping" else MAX_BREAKPOINTS
        self.breakpoints = check_int("Breakpoints", breakpoints, 1, most)
        fewest = 4 if aligned else fewest_constant_bits(bits, form, breakpoints)
        self.constant_bits = check_int("Constant bits", constant_bits, fewest, 16)
        if aligned and (form, method) != ("paper", "search"):
            raise ValueError(
                f"Form and method of aligned levels must be left 'paper' and 'search', not {form!r}, {method!r}"
            )
        if method in ("gaussian", "laplace") and (form == "code-overlapping" or breakpoints > 1):
            raise ValueError(
                f"Method must be numeric or 'search' for {breakpoints} breakpoints of form {form!r}, not {method!r}"
            )
        self.aligned = aligned
        self.keep_spread = keep_spread
        self.register_buffer("absmax", torch.empty(0))
        self.register_buffer("points", torch.empty(0, breakpoints))

    @property
    def stored_bits(self) -> int:
        """Those of a code and of its region."""
        return self.bits + self.breakpoints.bit_length()

    @torch.no_grad()
    def initialize(self, weight: Tensor) -> None:
        """Find breakpoints and largest magnitudes of the finite `weight`."""
        weight = check_weight(weight)
        self.absmax = channel_rows(weight, self.granularity).abs().amax(dim=1)
        if self.aligned:
            ends = torch.tensor([2**region - 1 for region in range(1, self.breakpoints + 1)]).double()
            ratios = (ends * 2 ** (self.bits - 1) / self._doubling[1]).expand(len(self.absmax), -1)
        else:
            ratios = breakpoint_ratio(
                weight,
                self.method,
                bits=self.bits,
                form=self.form,
                breakpoints=self.breakpoints,
                granularity=self.granularity,
            )
        self.points = (ratios * self.absmax.double()[:, None]).to(weight.dtype)

    @property
    def _doubling(self) -> tuple[list[int], int]:
        """Constants of aligned levels, and the largest level in units."""
        constants = doubling_constants(self.bits - 1, self.breakpoints)
        return constants, constants[-2] * (2 ** (self.bits - 1) - 1) + constants[-1]

    def _constants(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Constants (channels or 1, 2 * breakpoints + 1), int64, and unit (channels,), float64 that fits `dtype`.

        A unit is at least the smallest normal number, so channels below about 1e-33 in float32 lose resolution, and may
        become zeros, but never divide by 0.
        """
        limits = torch.finfo(dtype)
        # A hair below the largest number, so that a rounded unit lifts no level to infinity.
        absmax = self.absmax.double().clamp(max=limits.max * (1 - 2 * limits.eps))
        if self.aligned:
            row, largest = self._doubling
            constants, unit = torch.tensor([row]), absmax / largest
        else:
            pieces = Pieces.of(absmax, self.points, self.bits, self.form)
            constants, unit = rounded_constants(pieces, absmax, self.constant_bits)
        unit = torch.where(unit > 0, unit, 1.0).clamp(min=limits.tiny)
        return constants, unit.to(dtype).double()

    @torch.no_grad()
    def encode(self, weight: Tensor) -> EncodedWeight:
        """Integer codes of the finite `weight`; each takes the nearest level of its region, or of all if aligned."""
        weight = check_weight(weight)
        rows = channel_rows(weight, self.granularity)
        if self.points.shape != (len(rows), self.breakpoints):
            raise ValueError(
                f"Quantizer must be initialized for {len(rows)} channels, not {len(self.points)}: "
                "call initialize(weight)"
            )
        constants, unit = self._constants(weight.dtype)
        encoding = PiecewiseEncoding(self.bits - 1, constants.numpy())

        # Levels as the integers have them, so that rounding of the constants is no second source of error.
        top = 2 ** (self.bits - 1) - 1
        lengths = constants * unit[:, None]
        offsets = torch.cat([torch.zeros(len(lengths), 1), lengths[:, 2::2]], dim=1)
        steps = torch.cat([lengths[:, :1], lengths[:, 1::2]], dim=1)
        starts = self.points.double() if self.form == "code-overlapping" else offsets[:, 1:]
        if self.aligned:
            # Regions share no level: between the last one of a region and the first of the next, the nearer counts.
            starts = (offsets[:, :-1] + steps[:, :-1] * top + offsets[:, 1:]) / 2
        region, negative, magnitude = Pieces(self.form, self.bits, starts, steps, offsets).choose(rows)
        magnitude = magnitude.clamp(max=top)
        codes = encoding.pack(region.numpy(), negative.numpy(), magnitude.numpy())
        encoded = EncodedWeight(torch.from_numpy(codes).reshape(weight.shape), encoding, unit.to(weight.dtype))
        if not self.keep_spread:
            return encoded
        gain, _ = correction_terms(encoded.values(), weight, self.granularity)
        return EncodedWeight(encoded.codes, encoding, (gain * unit).to(weight.dtype))

    def forward(self, weight: Tensor) -> Tensor:
        """Values that the codes of `encode` stand for, with the straight-through gradient."""
        result = _StraightThrough.apply(weight, self.encode(weight).values())
        assert isinstance(result, Tensor)
        return result

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Take the shapes of the buffers, which depend on the weight, from the checkpoint."""
        for name in _BUFFERS:
            saved = state_dict.get(prefix + name)
            if isinstance(saved, Tensor) and saved.ndim == getattr(self, name).ndim:
                setattr(self, name, torch.empty_like(saved))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return (
            f"bits={self.bits}, breakpoints={self.breakpoints}, method={self.method!r}, form={self.form!r}, "
            f"granularity={self.granularity!r}, aligned={self.aligned}"
        )
