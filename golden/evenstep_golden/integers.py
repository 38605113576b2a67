"""Integers on their way through a model in evaluation: what the layers compute, and what is lowered from it.

A quantized model evaluates on `Integers` where it trains on plain tensors: the same modules, called the same way. Each
layer that computes new integers reports them to a `Trace`, as a boundary, and, on request, reports the layer of the
specification that equals it. So evaluation, comparison and lowering cannot disagree about what a model is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from evenstep.spec import (
    INPUT,
    Add,
    Conv,
    Dense,
    Layer,
    Line,
    MultiThreshold,
    Rescale,
    fold_monotone,
)
from evenstep_golden.elementwise import Gain, Offset, Step, apply_steps, check_steps, straighten
from evenstep_golden.quantizers.base import ActivationQuantizer

__all__ = ["LOGITS", "LOGIT_BITS", "MULTIPLIER_BITS", "Integers", "Trace", "fixed_point"]

#: Name of the layer that rescales the network's last sums, where their channels have scales of their own.
LOGITS = "logits"
#: Width of its numbers.
LOGIT_BITS = 24

#: Bits of the largest multiplier of a rescaling, sign left out.
MULTIPLIER_BITS = 16


class Trace:
    """What a model's layers report while it evaluates.

    Parameters
    ----------
    model : Module
        Names layers by the names of its modules.
    record : bool
        Also collect layers of the specification.
    keep : bool
        Keep the integers after every layer; otherwise only what computing needs stays in memory.

    Attributes
    ----------
    boundaries : dict of str to Tensor
        Integers after each layer, int64, by its name, in the order of evaluation.
    layers : list of Layer
        The integer network so far, if recording.
    """

    def __init__(self, model: nn.Module, *, record: bool = False, keep: bool = True) -> None:
        self.record = record
        self.boundaries: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self._names = {module: name for name, module in model.named_modules()}
        self._keep = keep

    def name(self, module: nn.Module) -> str:
        """Name of a module of the model."""
        return self._names[module]

    def report(self, name: str, integers: Tensor) -> None:
        """Take the integers after a layer; raises `ValueError` where a name comes twice."""
        if name in self.boundaries:
            raise ValueError(f"{name} must be called once in a pass, not again: give every use a module of its own")
        self.boundaries[name] = integers.long() if self._keep else torch.empty(0)


@dataclass(frozen=True)
class Integers:
    """Integers of one tensor, and the real numbers that they stand for.

    Parameters
    ----------
    tensor : Tensor
        Integers, exact in any type, shape (positions, channels) or (positions, channels, height, width).
    steps : tuple of Step
        What makes real numbers of them.
    low, high : array of int64, shape (channels,)
        How far they can reach in each channel.
    trace : Trace
        Where layers report.
    source : str
        Name of the layer that gave them, or `evenstep.spec.INPUT`.
    raw : Dense, Conv or None
        The layer of weights that they are sums of, as long as it has not been reported: thresholds may yet join it.
    zero_point : int or None
        Of unsigned codes, the code of the value 0; None where they are no codes.
    """

    tensor: Tensor
    steps: tuple[Step, ...]
    low: np.ndarray
    high: np.ndarray
    trace: Trace
    source: str
    raw: Dense | Conv | None = field(default=None, repr=False)
    zero_point: int | None = None

    @classmethod
    def pixels(cls, codes: Tensor, *, bits: int, step: float, trace: Trace) -> Integers:
        """The network's input: unsigned codes (positions, channels, ...), each worth `step`."""
        low = np.zeros(codes.shape[1], np.int64)
        steps = (Gain("step of the pixels", torch.tensor([step])),)
        return cls(codes, steps, low, low + 2**bits - 1, trace, INPUT, zero_point=0)

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor."""
        return self.tensor.shape

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.tensor.shape[1]

    @property
    def code_bits(self) -> int:
        """Width of unsigned codes."""
        return int(self.high.max()).bit_length()

    def then(self, *steps: Step) -> Integers:
        """The same integers, with more `steps` towards the real numbers."""
        return replace(self, steps=(*self.steps, *steps), zero_point=None)

    def floats(self) -> Tensor:
        """The integers in the float type in which `steps` are computed: float32 where that holds them, else float64."""
        largest = max(-int(self.low.min()), int(self.high.max()))
        return self.tensor.to(torch.float32 if largest < 2**24 else torch.float64)

    def real(self) -> Tensor:
        """The real numbers."""
        return apply_steps(self.steps, self.floats())

    def code_value(self, layer: str) -> tuple[Tensor, int]:
        """Value of a code step, shape (1,), and the zero point; raises `ValueError` where these are no codes."""
        if self.zero_point is None:
            raise ValueError(
                f"Cannot evaluate {layer} on integers: its input must be quantized, but {self.source} gives sums"
            )
        last = self.steps[-1]
        assert isinstance(last, Gain)
        return last.values, self.zero_point

    def emitted(self, suffix: str = ".sums") -> Integers:
        """The same integers; if they are sums of a layer of weights, it is reported as they are, with `suffix`."""
        if self.raw is None:
            return self
        name = self.raw.name + suffix
        self.trace.report(name, self.tensor)
        if self.trace.record:
            self.trace.layers.append(replace(self.raw, name=name))
        return replace(self, raw=None, source=name)

    def quantized(self, name: str, quantizer: ActivationQuantizer) -> Integers:
        """Codes of the real numbers. `name` is the layer's if these are not sums of a layer that thresholds can join.

        Raises
        ------
        ValueError
            In recording: a number is not finite, or a channel's activation is not monotone; the message names both.
        """
        name = self.raw.name if self.raw is not None else name
        try:
            step, zero = quantizer.step.detach().reshape(1), quantizer.zero_point
        except (ValueError, RuntimeError) as error:  # a range that was never set, a scale that is not positive
            raise ValueError(f"Cannot lower {name}: {error}") from error
        if not step > 0:
            raise ValueError(f"Cannot lower {name}: step of its activation must be positive, not {float(step):g}")
        check_steps(name, self.steps)
        codes = quantizer.codes(self.real())
        self.trace.report(name, codes)
        if self.trace.record:
            self._record_thresholds(name, quantizer)
        top = 2**quantizer.bits - 1
        low = np.zeros(self.channels, np.int64)
        steps: tuple[Step, ...] = (Gain("step of the activation", step),)
        if zero:
            steps = (Offset("zero point", torch.tensor([-float(zero)])), *steps)
        return Integers(codes, steps, low, low + top, self.trace, name, zero_point=zero)

    def _record_thresholds(self, name: str, quantizer: ActivationQuantizer) -> None:
        for parameter, values in quantizer.named_parameters():
            if not torch.isfinite(values).all():
                raise ValueError(f"Cannot lower {name}: {parameter} of its activation must be finite, which it is not")
        dtype = self.floats().dtype

        @torch.no_grad()
        def codes(sums: np.ndarray) -> np.ndarray:
            points = torch.from_numpy(np.ascontiguousarray(sums)).to(dtype)
            return quantizer.codes(apply_steps(self.steps, points)).numpy()

        try:
            thresholds = fold_monotone(codes, bits=quantizer.bits, low=self.low, high=self.high)
        except ValueError as error:
            raise ValueError(f"Cannot lower {name}: {error}") from error
        if self.raw is not None:
            self.trace.layers.append(replace(self.raw, thresholds=thresholds))
        else:
            self.trace.layers.append(MultiThreshold(name, thresholds, (self.source,)))

    def wide(self, name: str, *, step: float, bits: int) -> Integers:
        """The real numbers in fixed point: two's complement of `bits` bits, each worth `step`, saturated.

        Raises
        ------
        ValueError
            They are no line, or two that meet, over the integers, or a number is not finite.
        """
        own, limit = self.emitted(), 2 ** (bits - 1)
        fits = own.low.min() >= -limit and own.high.max() < limit
        match own.steps:
            case (Gain(values=gain),) if fits and gain.numel() == 1 and float(gain) == step:
                return own
        check_steps(name, own.steps)
        layer = fixed_point(name, own, step=step, bits=bits)
        result = torch.from_numpy(layer.apply(own.tensor.long().numpy()))
        own.trace.report(name, result)
        if own.trace.record:
            own.trace.layers.append(layer)
        high = np.full(own.channels, limit - 1, np.int64)
        return Integers(
            result, (Gain("step of the sum", torch.tensor([step])),), -high - 1, high, own.trace, layer.name
        )

    def logits(self) -> Integers:
        """Integers of which the largest decides the class.

        Sums of a layer of weights whose channels share one scale decide as they are. Others are rescaled to one step,
        which their exact range gives, so that none saturates.
        """
        shared = all(isinstance(step, Gain | Offset) and step.values.numel() == 1 for step in self.steps)
        gains = [float(step.values) for step in self.steps if shared and isinstance(step, Gain)]
        if self.raw is not None and shared and all(gain > 0 for gain in gains):
            return self.emitted("")
        check_steps(LOGITS, self.steps)
        lines = straighten(LOGITS, self.steps, self.channels)
        ends = [
            np.abs(gain * end + offset).max()
            for end in (self.low, self.high)
            for gain, offset in ((lines.gain, lines.offset), (lines.below_gain, lines.below_offset))
        ]
        largest = float(max(ends)) * (1 + 2.0 ** (2 - MULTIPLIER_BITS))  # with room for rounded multipliers
        step = 2.0 ** math.ceil(math.log2(largest / (2 ** (LOGIT_BITS - 1) - 1))) if largest > 0 else 1.0
        return self.wide(LOGITS, step=step, bits=LOGIT_BITS)

    def added(self, other: Integers, name: str, *, bits: int) -> Integers:
        """Saturated sum with integers of the same step."""
        layer = Add(name, bits, (self.source, other.source))
        result = torch.from_numpy(layer.apply(self.tensor.numpy(), other.tensor.numpy()))
        self.trace.report(name, result)
        if self.trace.record:
            self.trace.layers.append(layer)
        limit = np.full(self.channels, 2 ** (bits - 1), np.int64)
        return replace(self, tensor=result, low=-limit, high=limit - 1, source=name)


def fixed_point(name: str, integers: Integers, *, step: float, bits: int) -> Rescale:
    """Rescaling that makes fixed-point numbers of `step` of what `integers` stand for.

    The largest multiplier takes `MULTIPLIER_BITS` bits, so a result is off by less than one step and one part in
    2**`MULTIPLIER_BITS` of the largest number of its tensor.
    """
    lines = straighten(name, integers.steps, integers.channels)
    gains = np.maximum(np.abs(lines.gain), np.abs(lines.below_gain)) / step
    offsets = np.maximum(np.abs(lines.offset), np.abs(lines.below_offset)) / step
    for what, values, limit in (("Gain", gains, 2.0**31), ("Offset", offsets, 2.0**60)):
        if not values.max() < limit:
            channel = int(values.argmax())
            raise ValueError(
                f"Cannot lower {name}: {what} of channel {channel} must be below {limit * step:g} for its wide "
                f"numbers of step {step:g}, not {values[channel] * step:g}"
            )
    # As many bits as the largest multiplier may have, and the largest offset leaves room for.
    shift = min(max(0, MULTIPLIER_BITS - math.frexp(gains.max())[1]), 48, max(0, 60 - math.frexp(offsets.max())[1]))
    reach = max(1, -int(integers.low.min()), int(integers.high.max()))
    factor = 2.0**shift / step

    def line(gain: np.ndarray, offset: np.ndarray) -> Line:
        return Line(np.rint(gain * factor).astype(np.int64), np.rint(offset * factor).astype(np.int64))

    if lines.knee is None:
        return Rescale(name, line(lines.gain, lines.offset), shift, bits, sources=(integers.source,))
    knee = np.ceil(np.clip(lines.knee, -reach, reach + 1)).astype(np.int64)
    below = line(lines.below_gain, lines.below_offset)
    return Rescale(name, line(lines.gain, lines.offset), shift, bits, knee, below, (integers.source,))
