"""AdaRound for any quantizer with fixed levels: each weight goes to the level below or to the one above.

For evenly spaced levels this is the form of Nagel et al., "Up or Down? Adaptive Rounding for Post-Training
Quantization" (ICML 2020), equation 22: ``low`` is ``step * floor(w / step)``, ``high - low`` is the step, both cut to
the grid. Piecewise linear levels lie unevenly, and have neighbours all the same::

    soft = low + h(V) * (high - low)
"""

import torch
from torch import Tensor, nn

from evenstep_golden.ptq.rounding import initial_logits, rectified_sigmoid
from evenstep_golden.quantizers.base import WeightQuantizer

__all__ = ["LevelRounding", "level_table"]


@torch.no_grad()
def level_table(quantizer: WeightQuantizer, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Levels that a quantizer has for each channel.

    Parameters
    ----------
    quantizer : WeightQuantizer
        Initialized with `weight`.
    weight : Tensor, shape (outputs, ...)
        The float weights.

    Returns
    -------
    integers : Tensor of int64, shape (outputs, levels)
        Levels in units of the channel's scale, ascending; some are repeated.
    weights : Tensor of the type of `weight`, the same shape
        For each of them a weight that encodes to it.

    Raises
    ------
    ValueError
        Levels move with the weights, as those that are scaled by a mean or maximum of them: rounding one weight
        otherwise would change what all the others stand for.
    """
    encoded = quantizer.encode(weight)
    codes = torch.arange(encoded.encoding.min_code, encoded.encoding.max_code + 1).expand(len(weight), -1)
    values = torch.from_numpy(encoded.encoding.decode(codes.numpy())).to(weight.dtype) * encoded.scale[:, None]
    # Where regions meet, a level's value may round to the other side, and the level next to it be meant by none.
    infinity = torch.full_like(values, torch.inf)
    tried = torch.cat([values, values.nextafter(infinity), values.nextafter(-infinity)], dim=1)
    again = quantizer.encode(tried)
    # Levels may come from a mean, maximum or spread of the weights. All levels together may have the same one, and
    # half of them the same spread beside their rounded ones; smaller weights have not.
    some = values.abs().amax(dim=0).argsort()[: max(1, values.shape[1] // 2)]
    few = quantizer.encode(values[:, some])
    others = (again, few, quantizer.encode(weight / 2))
    same = all(each.encoding == encoded.encoding and torch.equal(each.scale, encoded.scale) for each in others)
    if not same or not torch.equal(few.integers(), again.integers()[:, some]):
        raise ValueError(
            f"AdaRound needs levels that stay where they are, but those of {type(quantizer).__name__} move with the "
            "weights"
        )
    integers, order = again.integers().sort(dim=1, stable=True)
    return integers, tried.gather(1, order)


class LevelRounding(nn.Module):
    """Learned rounding of one layer's weights between neighbouring levels of a quantizer.

    Parameters
    ----------
    quantizer : WeightQuantizer
        Initialized with `weight`; not changed.
    weight : Tensor, shape (outputs, ...)
        Float weights.

    Attributes
    ----------
    logits : Parameter, shape of the weight
        V. Only these are learned.
    soft : bool, initially False
        Whether `forward` gives soft values; see `adaround.optimize_rounding`.

    Raises
    ------
    ValueError
        As for `level_table`.
    """

    def __init__(self, quantizer: WeightQuantizer, weight: Tensor) -> None:
        super().__init__()
        weight = weight.detach()
        rows = weight.flatten(1)
        table, weights = level_table(quantizer, weight)
        scale = quantizer.encode(weight).scale.reshape(-1, 1)
        below = torch.searchsorted(table.to(weight.dtype) * scale, rows.contiguous(), right=True) - 1
        ends = [place.clamp(0, table.shape[1] - 1) for place in (below, below + 1)]
        self._integers = [table.gather(1, end).reshape(weight.shape) for end in ends]
        self._weights = [weights.gather(1, end).reshape(weight.shape) for end in ends]
        shape = (-1, *[1] * (weight.ndim - 1))
        self._low, self._high = (end.to(weight.dtype) * scale.reshape(shape) for end in self._integers)
        gap = self._high - self._low
        share = torch.where(gap > 0, (weight - self._low) / torch.where(gap > 0, gap, 1.0), 0.0)
        # A share that rounds to 1 would start from the wrong end.
        share = share.clamp(0, 1 - torch.finfo(weight.dtype).eps)
        self.logits = nn.Parameter(initial_logits(share, 1.0))
        self.soft = False

    def integers(self) -> Tensor:
        """Chosen levels in units of their scale, int64, in the shape of the weight."""
        return self._chosen(*self._integers)

    def weights(self) -> Tensor:
        """Weights that the quantizer encodes to the chosen levels."""
        return self._chosen(*self._weights)

    def _chosen(self, low: Tensor, high: Tensor) -> Tensor:
        return torch.where(self.logits.detach() >= 0, high, low)

    def forward(self, weight: Tensor) -> Tensor:
        """Values of the levels: soft with gradient for the logits while optimizing, hard otherwise.

        `weight` is what the module was made with.
        """
        if self.soft:
            return self._low + rectified_sigmoid(self.logits) * (self._high - self._low)
        return self._chosen(self._low, self._high)
