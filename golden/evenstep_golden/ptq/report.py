"""What the pipeline did to each layer and to the network: signal-to-noise ratios, weight errors, accuracy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from evenstep_golden.layers import WeightedModule
from evenstep_golden.models.base import Classifier
from evenstep_golden.ptq.graph import Graph
from evenstep_golden.ptq.transform import History

__all__ = ["LayerReport", "Meter", "PipelineReport", "StepReport", "measure_top1", "weight_error"]


@dataclass(frozen=True)
class StepReport:
    """The quantized network after one step.

    Steps that are still to come count as done in the plainest way: minimum and maximum as ranges, rounding to nearest.

    Parameters
    ----------
    step : str
        What was done last.
    mean_sqnr : float or None
        Mean over all layers of the signal-to-quantization-noise ratio of their outputs, in dB; None without pictures.
    logits_sqnr : float or None
        That of the logits.
    top1 : float or None
        Share of the labelled pictures that are classified right, 0 to 1; None if there are none.
    """

    step: str
    mean_sqnr: float | None = None
    logits_sqnr: float | None = None
    top1: float | None = None


@dataclass(frozen=True)
class LayerReport:
    """One layer of weights, rounded plainly (batch norms folded, ranges from minimum to maximum) and by the pipeline.

    Parameters
    ----------
    name : str
        Of the layer.
    weights : str
        Its method; ``"float"`` for none.
    error_before, error_after : float
        Relative error of the weights: ``|quantized - float| / |float|``, Euclidean norms. What AdaRound makes larger,
        since it minds the outputs.
    sqnr_before, sqnr_after : float or None
        Signal-to-quantization-noise ratio of its outputs, batch norm included, in dB; None without pictures.
    """

    name: str
    weights: str
    error_before: float
    error_after: float
    sqnr_before: float | None = None
    sqnr_after: float | None = None


@dataclass(frozen=True)
class PipelineReport:
    """Result of `run_pipeline`.

    Parameters
    ----------
    layers : tuple of LayerReport
        In the order of evaluation.
    steps : tuple of StepReport
        In the order of the pipeline; the first is plain rounding, the last is the finished network.
    float_top1 : float or None
        Top-1 share of the float network.
    notes : tuple of str
        What was done where, and what could not be done.
    """

    layers: tuple[LayerReport, ...]
    steps: tuple[StepReport, ...]
    float_top1: float | None
    notes: tuple[str, ...]


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def weight_error(layer: WeightedModule, float_weight: Tensor) -> float:
    """Relative error of the quantized weights of `layer`; 0 for weights that are all zeros and stay so."""
    wanted = float_weight.detach().double()
    size = wanted.norm().item()
    lost = (layer.quantized_weight().detach().double() - wanted).norm().item()
    return lost / size if size else (0.0 if lost == 0 else math.inf)


@torch.no_grad()
def measure_top1(model: Classifier, labelled: tuple[Tensor, Tensor], *, batch: int = 256) -> float:
    """Share of the pictures whose largest logit, of float values on quantized levels, is that of their label."""
    pixels, labels = labelled
    if not len(labels) or len(labels) != len(pixels):
        raise ValueError(f"Labels must be as many as pictures, at least one, not {len(labels)} for {len(pixels)}")
    right = sum(
        int((model.values(part).argmax(1) == truth).sum())
        for part, truth in zip(pixels.split(batch), labels.split(batch), strict=True)
    )
    return right / len(labels)


class Meter:
    """Compares the outputs of all layers with those of the float model.

    Parameters
    ----------
    model : Classifier
        The float model, which must not change any more.
    graph : Graph
        Its layers.
    batches : sequence of Tensor
        Pictures to compare on; none where there is no data.
    labelled : tuple of Tensor or None
        Pixels and labels to classify.
    """

    def __init__(
        self, model: Classifier, graph: Graph, batches: Sequence[Tensor], labelled: tuple[Tensor, Tensor] | None
    ) -> None:
        self._model, self._graph, self._batches, self._labelled = model, graph, batches, labelled
        norms = dict(graph.norms_behind(model))
        # A layer is compared behind its batch norm, where folding leaves the values as they are.
        self._probes = {norms.get(name, name): name for name in graph.layers(model)}

    def top1(self, model: Classifier) -> float | None:
        """Top-1 share of a model, None without labelled pictures."""
        return None if self._labelled is None else measure_top1(model, self._labelled)

    def sqnr(self, model: Classifier, history: History) -> dict[str, float]:
        """Signal-to-quantization-noise ratio of every layer's outputs, in dB; empty where there are no pictures."""
        energies: dict[str, list[float]] = {}
        for batch in self._batches:
            pairs = zip(self._graph.evaluate(self._model, [batch]), self._graph.evaluate(model, [batch]), strict=True)
            for (place, (wanted,)), (_, (got,)) in pairs:
                if (name := self._probes.get(place)) is None:
                    continue
                wanted, got = wanted.double(), history.original(name, got.double())
                sums = energies.setdefault(name, [0.0, 0.0])
                sums[0] += wanted.square().sum().item()
                sums[1] += (got - wanted).square().sum().item()
        return {name: _decibels(*sums) for name, sums in energies.items()}

    def step(self, name: str, model: Classifier, history: History) -> tuple[StepReport, Mapping[str, float]]:
        """Report of a step, and the ratios of all layers."""
        ratios = self.sqnr(model, history)
        if not ratios:
            return StepReport(name, top1=self.top1(model)), ratios
        mean = sum(ratios.values()) / len(ratios)
        logits = ratios.get(self._probes.get(self._graph.end, ""))
        return StepReport(name, mean, logits, self.top1(model)), ratios
