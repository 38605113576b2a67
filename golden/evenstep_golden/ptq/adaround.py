"""AdaRound: learn for every weight of a layer whether it is rounded up or down.

Sources: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (ICML 2020); "A White Paper on
Neural Network Quantization" (2021), section 3.4. The formulas are in `rounding`. Learning is asymmetric: inputs are
those of the quantized network so far, targets those of the float network, so that a layer also makes up for errors of
the layers before it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from evenstep.checks import check_choice, check_int
from evenstep.spec.encoding import Encoding
from evenstep_golden.ptq.rounding import (
    SCHEDULES,
    check_logits,
    hard_codes,
    hard_quantize,
    initial_logits,
    reconstruction_loss,
    rounding_regularizer,
    soft_quantize,
)
from evenstep_golden.ptq.weights import check_positive, check_tensor
from evenstep_golden.quantizers.base import EncodedWeight, WeightQuantizer

__all__ = ["AdaRoundWeight", "Rounding", "RoundingProgress", "optimize_rounding"]


class Rounding(Protocol):
    """What `optimize_rounding` learns: `AdaRoundWeight`, or `levels.LevelRounding` for levels of any quantizer."""

    logits: nn.Parameter
    soft: bool

    def __call__(self, weight: Tensor) -> Tensor:
        """Quantized values of `weight`: soft, with gradient for the logits, or hard."""
        ...


class AdaRoundWeight(WeightQuantizer):
    """Quantizer of one layer's weights with a learned rounding on a given grid.

    Parameters
    ----------
    encoding : Encoding
        Grid of the codes; any but odd levels, which have no code for zero and no neighbours one unit apart.
    step : Tensor, shape (1,) or (outputs,)
        Value of one unit, positive.
    weight : Tensor, shape (outputs, ...)
        Float weights that the logits start from.

    Attributes
    ----------
    logits : Parameter, shape of the weight
        V. Only these are learned; the weight gets no gradient.
    soft : bool, initially False
        Whether `forward` gives soft values. `optimize_rounding` sets it in its steps; `encode` never minds it.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind, out of range or not finite.
    """

    step: Tensor

    def __init__(self, encoding: Encoding, step: Tensor, weight: Tensor) -> None:
        super().__init__(encoding.bits)
        if encoding.kind == "odd-level":
            raise ValueError(f"Encoding to round on must have steps of one, not {str(encoding)!r}")
        self.encoding = encoding
        self.register_buffer("step", check_tensor("Step", step).clone().reshape(-1))
        self.logits = nn.Parameter(initial_logits(weight, self.step))
        self.soft = False

    @classmethod
    def of_encoded(cls, weight: Tensor, encoded: EncodedWeight) -> "AdaRoundWeight":
        """Learned rounding on the grid that another quantizer chose: `encoded` is its ``encode(weight)``.

        Raises
        ------
        TypeError, ValueError
            The grid is not uniform, or as for the constructor.
        """
        if not isinstance(encoded.encoding, Encoding):
            raise TypeError(f"Encoding to round on must be a uniform grid, not {encoded.encoding!r}")
        return cls(encoded.encoding, encoded.scale, weight)

    @torch.no_grad()
    def initialize(self, weight: Tensor) -> None:
        """Forget what was learned: start again from the float `weight`, of the same shape."""
        logits = initial_logits(weight, self.step)
        check_logits(logits, self.logits)
        self.logits.copy_(logits)

    def _grid(self) -> dict[str, int]:
        return {"bits": self.bits, "zero_point": self.encoding.zero, "min_code": self.encoding.min_code}

    def forward(self, weight: Tensor) -> Tensor:
        """Quantized values: soft with gradient for the logits while optimizing, hard without gradient otherwise."""
        return (soft_quantize if self.soft else hard_quantize)(weight, self.step, self.logits, **self._grid())

    def encode(self, weight: Tensor) -> EncodedWeight:
        """Integer codes of `weight` by hard rounding."""
        codes = hard_codes(weight, self.step, self.logits, **self._grid())
        return EncodedWeight(codes, self.encoding, self.step.to(weight.dtype))

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"encoding={str(self.encoding)!r}"


@dataclass(frozen=True)
class RoundingProgress:
    """State behind one iteration of `optimize_rounding`.

    Parameters
    ----------
    iteration : int
        Iterations done, from 1.
    reconstruction : float
        Squared error of the batch before the step, with soft weights.
    regularizer : float
        Second term of the loss; 0 during the warm-up.
    beta : float
        Exponent of the regularizer.
    """

    iteration: int
    reconstruction: float
    regularizer: float
    beta: float


def optimize_rounding(
    quantizer: Rounding,
    weight: Tensor,
    inputs: Tensor,
    targets: Tensor,
    layer: Callable[[Tensor, Tensor], Tensor],
    *,
    seed: int,
    iterations: int = 10_000,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    strength: float = 0.01,
    warm_up: float = 0.2,
    schedule: str = "cosine",
) -> Iterator[RoundingProgress]:
    """Learn the rounding of one layer; iterate over the result to run it, and stop whenever you like.

    Parameters
    ----------
    quantizer : Rounding
        Its logits are changed. Between iterations its rounding is hard, so it can be used as it is at any time.
    weight : Tensor, shape (outputs, ...)
        Float weights.
    inputs : Tensor, shape (samples, ...)
        Inputs of the layer in the network whose layers before this one are quantized already.
    targets : Tensor, shape (samples, channels, ...)
        Outputs of the layer in the float network, behind the activation.
    layer : callable of (inputs, weight)
        The layer with its bias and its activation. Its own parameters are not changed and get no gradients.
    seed : int
        Which samples each iteration draws depends on it alone.
    iterations : int
        Adam steps; AIMET takes 10,000 (15,000 below 8 bits), BRECQ 20,000.
    batch_size : int
        Samples an iteration, drawn without repetition; all of them where there are fewer.
    learning_rate, strength : float
        Of Adam, and the weight of the regularizer; positive.
    warm_up : float
        Share of the iterations without regularizer, 0 to below 1.
    schedule : str
        ``"cosine"`` or ``"linear"``, see `SCHEDULES`.

    Returns
    -------
    iterator of RoundingProgress
        One an iteration.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range, shapes do not agree, or a value is not finite. At once for
        what can be seen at once; while iterating, for what the layer returns.
    """
    seed = check_int("Seed", seed, 0)
    iterations = check_int("Iterations", iterations, 1)
    batch_size = min(check_int("Batch size", batch_size, 1), len(check_tensor("Inputs", inputs)))
    learning_rate = check_positive("Learning rate", learning_rate)
    strength = check_positive("Strength", strength)
    beta_of, first = SCHEDULES[check_choice("Schedule", schedule, tuple(SCHEDULES))]
    beta_of(0, iterations, warm_up=warm_up)  # refuses a bad warm-up here and now
    if len(check_tensor("Targets", targets)) != len(inputs):
        raise ValueError(f"Targets must be {len(inputs)} samples, as many as inputs, not {len(targets)}")
    check_logits(quantizer.logits, check_tensor("Weight", weight))

    def run() -> Iterator[RoundingProgress]:
        generator = torch.Generator().manual_seed(seed)
        adam = torch.optim.Adam([quantizer.logits], lr=learning_rate)
        for done in range(iterations):
            picked = torch.randperm(len(inputs), generator=generator)[:batch_size].to(inputs.device)
            counter = done + first
            beta = beta_of(counter, iterations, warm_up=warm_up)
            # Not left set across the yield: whoever looks in between, or stops there, sees the hard weights.
            quantizer.soft = True
            try:
                with torch.enable_grad():
                    output = layer(inputs[picked].detach(), quantizer(weight))
                    reconstruction = reconstruction_loss(output, targets[picked].detach())
                    regularizer = torch.zeros_like(reconstruction)
                    if counter >= warm_up * iterations:
                        regularizer = rounding_regularizer(quantizer.logits, beta, strength=strength)
                    if not torch.isfinite(reconstruction):
                        raise ValueError(f"Output of the layer must be finite, not with error {reconstruction.item()}")
                    (gradient,) = torch.autograd.grad(reconstruction + regularizer, [quantizer.logits])
            finally:
                quantizer.soft = False
            quantizer.logits.grad = gradient
            adam.step()
            quantizer.logits.grad = None
            yield RoundingProgress(done + 1, reconstruction.item(), regularizer.item(), beta)

    return run()
