"""The post-training pipeline on a whole model.

Source: Nagel et al., "A White Paper on Neural Network Quantization" (2021), section 3.6 and figure 8, in this order:

1. fold batch norms                         what remains needs none of the others' numbers
2. equalize layers                          ranges of channels become alike, the function stays
3. absorb high biases                       ranges of activations become smaller
4. put quantizers, set ranges of weights
5. AdaRound with data if asked for, else correct biases: measured with data, or expected from batch norms
6. set ranges of activations

Every step can be left out. Logits are not quantized, so the paper's cross entropy for the range of the last layer has
nothing to decide: the last layer's sums stay whole integers.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from evenstep.checks import check_choice, check_int
from evenstep_golden.calibration import CALIBRATORS
from evenstep_golden.models.base import Classifier
from evenstep_golden.precision import Precision
from evenstep_golden.ptq import quantize, transform
from evenstep_golden.ptq.expect import expected_values
from evenstep_golden.ptq.graph import Graph, pictures
from evenstep_golden.ptq.report import LayerReport, Meter, PipelineReport, StepReport, weight_error
from evenstep_golden.ptq.transform import History

__all__ = ["ACTIVATION_RANGES", "BIAS_CORRECTIONS", "WEIGHT_RANGES", "PipelineOptions", "run_pipeline"]

WEIGHT_RANGES = ("max", "mse")
BIAS_CORRECTIONS = ("empirical", "analytic", "none")
#: Calibrators; and ``"batch-norm"``, beta +- 6 gamma, which needs no data.
ACTIVATION_RANGES = (*(name for name in CALIBRATORS if name != "cross-entropy"), "batch-norm")


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """What the pipeline does.

    Parameters
    ----------
    precision : Precision
        Quantizers of all layers; None among them leaves a layer float.
    fold, equalize, absorb : bool
        Steps 1 to 3. Without folding, batch norms stand between the layers, and little can be equalized.
    absorb_padded : bool
        Absorb biases into convolutions that pad with zeros too, as paper and AIMET do. Their results change at the
        border, where the padding would have to be the absorbed bias. On small pictures, most of which is border, that
        costs far more than it gains; so the default is not to.
    weight_range : str
        Ranges of uniform weights that do not name a method of their own, one of `WEIGHT_RANGES`. The paper advises
        ``"max"`` where channels have ranges of their own, ``"mse"`` where all share one.
    adaround : int
        Iterations a layer; 0 to round to the nearest.
    bias_correction : str or None
        One of `BIAS_CORRECTIONS`. None: what the paper says, that is none after AdaRound, else empirical with data
        and analytic without.
    activation_range : str
        How ranges of uniform activations are found, one of `ACTIVATION_RANGES`.
    seed : int
        Of the pictures that AdaRound draws.
    batch_size : int
        Pictures that are evaluated at once.

    Raises
    ------
    TypeError, ValueError
        An option is of the wrong kind or out of range, or two do not go together.
    """

    precision: Precision
    fold: bool = True
    equalize: bool = True
    absorb: bool = True
    absorb_padded: bool = False
    weight_range: str = "max"
    adaround: int = 0
    bias_correction: str | None = None
    activation_range: str = "mse"
    seed: int = 0
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not isinstance(self.precision, Precision):
            raise TypeError(f"Precision must be a Precision, not {self.precision!r}")
        for name in ("fold", "equalize", "absorb", "absorb_padded"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"Option {name} must be True or False, not {getattr(self, name)!r}")
        check_choice("Weight range", self.weight_range, WEIGHT_RANGES)
        check_int("Iterations of AdaRound", self.adaround, 0)
        check_int("Seed", self.seed, 0, 2**63 - 1)
        check_int("Batch size", self.batch_size, 1)
        if self.activation_range == "cross-entropy":
            raise ValueError("Activation range 'cross-entropy' is for logits, which are not quantized: choose another")
        check_choice("Activation range", self.activation_range, ACTIVATION_RANGES)
        if self.bias_correction is not None:
            check_choice("Bias correction", self.bias_correction, BIAS_CORRECTIONS)
        if self.absorb_padded and not self.absorb:
            raise ValueError("Option absorb_padded must go with absorb, which is off")

    def correction(self, *, data: bool) -> str:
        """Bias correction that is done, one of `BIAS_CORRECTIONS`, with or without data."""
        if self.bias_correction is not None:
            return self.bias_correction
        if self.adaround:
            return "none"
        return "empirical" if data else "analytic"

    def check_data(self, *, data: bool) -> None:
        """Raise `ValueError` that names the first step that needs data, if there is none."""
        methods = (self.precision.activations, *(m for _, kind, m in self.precision.layers if kind == "activations"))
        for step, needs in (
            ("AdaRound", self.adaround > 0),
            ("empirical bias correction", self.bias_correction == "empirical"),
            (
                f"activation range {self.activation_range!r}",
                any(methods) and self.activation_range != "batch-norm",
            ),
        ):
            if needs and not data:
                raise ValueError(f"Calibration pictures must be given for step {step}, which cannot do without")


def _check_model(model: Classifier) -> None:
    for name, layer in model.weighted().items():
        if layer.weight_quantizer is not None:
            raise ValueError(f"Model must be float for post-training quantization, but {name} has a weight quantizer")
        for what, values in (("Weights", layer.weight), ("Bias", layer.bias)):
            if values is None:
                continue
            broken = torch.nonzero(~torch.isfinite(values.detach().reshape(len(values), -1)).all(dim=1))
            if len(broken):
                raise ValueError(f"{what} of {name}, channel {int(broken[0])}, must be finite")
    for name, place in model.activations().items():
        if place.quantizer is not None:
            raise ValueError(f"Model must be float for post-training quantization, but {name} has a quantizer")


def _silent(step: str, done: int, total: int) -> None:
    pass


class _Run:
    """One run of the pipeline: the model, what was done to it, and the rows of the report."""

    def __init__(
        self,
        model: Classifier,
        options: PipelineOptions,
        batches: list[Tensor],
        labelled: tuple[Tensor, Tensor] | None,
        progress: Callable[[str, int, int], None],
    ) -> None:
        self.model, self.options, self.batches, self.progress = model, options, batches, progress
        self.graph = Graph(model)
        self.original = copy.deepcopy(model)
        self.meter = Meter(self.original, self.graph, batches, labelled)
        self.history = History()
        self.steps: list[StepReport] = []
        self.notes: list[str] = []

    def finished(self, model: Classifier, history: History) -> Classifier:
        """A copy of `model` with the steps that are to come done in the plainest way."""
        model = copy.deepcopy(model)
        if all(layer.weight_quantizer is None for layer in model.weighted().values()):
            quantize.put_weight_quantizers(model, self.options.precision, "max")
        self.set_activations(model, history, "max")
        return model

    def set_activations(self, model: Classifier, history: History, method: str) -> None:
        """Step 6 on `model`."""
        quantizers = quantize.put_activation_quantizers(model, self.options.precision)
        if self.batches and self.options.activation_range != "batch-norm":
            progress = self.progress if model is self.model else _silent
            quantize.calibrate_activations(
                model, self.graph, quantizers, self.batches, method=method, progress=progress
            )
        elif quantizers:
            expected = expected_values(model, self.graph, history.moments)
            quantize.set_expected_ranges(model, self.graph, quantizers, expected)

    def measure(self, step: str, model: Classifier, history: History) -> dict[str, float]:
        report, ratios = self.meter.step(step, model, history)
        self.steps.append(report)
        return dict(ratios)

    def plain(self) -> tuple[Classifier, dict[str, float]]:
        """The baseline: batch norms folded, ranges from minimum to maximum, rounding to nearest; measured."""
        model, history = copy.deepcopy(self.original), History()
        transform.fold_norms(model, self.graph, history)
        model = self.finished(model, history)
        return model, self.measure("rounding to nearest", model, history)

    def change_float(self) -> None:
        """Steps 1 to 3."""
        options, model = self.options, self.model
        if options.fold:
            folded = transform.fold_norms(model, self.graph, self.history)
            self.notes.append(f"folded {len(folded)} batch norms")
        if options.equalize:
            chains = transform.equalize_layers(model, self.graph, self.history)
            self.notes.append("equalized " + ("; ".join(" - ".join(names) for names in chains) or "nothing"))
            self.measure("equalization", self.finished(model, self.history), self.history)
        if options.absorb:
            padded = options.absorb_padded
            absorbed = transform.absorb_biases(model, self.graph, self.history, padded=padded)
            self.notes.append("absorbed biases of " + (", ".join(absorbed) or "no layer"))
            self.measure("bias absorption", self.finished(model, self.history), self.history)

    def quantize_weights(self) -> Classifier:
        """Steps 4 and 5; returns the float model that they started from."""
        options, model = self.options, self.model
        reference = copy.deepcopy(model)
        quantize.put_weight_quantizers(model, options.precision, options.weight_range)
        self.measure("weight ranges", self.finished(model, self.history), self.history)
        if options.adaround:
            moved = quantize.round_adaptively(
                model,
                reference,
                self.graph,
                self.batches,
                iterations=options.adaround,
                seed=options.seed,
                progress=self.progress,
            )
            shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in moved.items())
            self.notes.append(f"AdaRound moved from the nearest level: {shares}")
            self.measure("AdaRound", self.finished(model, self.history), self.history)
        correction = options.correction(data=bool(self.batches))
        if correction == "empirical":
            quantize.correct_empirically(model, reference, self.graph, self.batches, self.progress)
        elif correction == "analytic":
            # The means of the float model; its weights, too: those of AdaRound are levels already.
            expected = expected_values(reference, self.graph, self.history.moments)
            unknown = quantize.correct_analytically(model, reference, self.graph, expected)
            if unknown:
                self.notes.append(f"no analytic bias correction of {', '.join(unknown)}: means of inputs not known")
        if correction != "none":
            self.measure(f"bias correction ({correction})", self.finished(model, self.history), self.history)
        return reference


def run_pipeline(
    model: Classifier,
    options: PipelineOptions,
    pixels: Tensor | None = None,
    *,
    labelled: tuple[Tensor, Tensor] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> PipelineReport:
    """Quantize a trained float model.

    Parameters
    ----------
    model : Classifier
        Float. It is changed and left in evaluation mode; where the pipeline fails, half changed, so keep the original.
        `evenstep_golden.models.structure.structure_of` says how its modules then differ from a new model's.
    options : PipelineOptions
        What to do.
    pixels : Tensor of integers, shape (pictures, ...), optional
        Calibration pictures, codes from 0 to 255. None: without data.
    labelled : tuple of Tensor, optional
        Pixels (pictures, ...) and labels (pictures,), to measure accuracy after every step with.
    progress : callable of (step, done, total), optional
        Called now and then during the longer steps.

    Returns
    -------
    PipelineReport

    Raises
    ------
    ValueError
        The model is quantized already or holds NaN or infinities; there are no pictures, but a step needs them, or
        they do not fit the model; a method of the precision cannot do what it should. Messages name step or layer.
    """
    options.check_data(data=pixels is not None)
    _check_model(model)
    model.eval()
    batches: list[Tensor] = []
    if pixels is not None:
        if not len(pixels):
            raise ValueError("Calibration pictures must be at least one, not none")
        batches = list(pictures(model, pixels).split(options.batch_size))
    run = _Run(model, options, batches, labelled, progress or _silent)

    plain, before = run.plain()
    run.change_float()
    reference = run.quantize_weights()
    run.set_activations(model, run.history, options.activation_range)
    after = run.measure(f"activation ranges ({options.activation_range})", model, run.history)

    folded = copy.deepcopy(run.original)
    transform.fold_norms(folded, run.graph, History())
    methods = {name: options.precision.method(name, "weights") for name in model.weighted()}
    sources = (run.graph.layers(each) for each in (plain, folded, model, reference))
    layers = tuple(
        LayerReport(
            name,
            str(methods[name] or "float"),
            weight_error(rounded, start.weight),
            weight_error(quantized, wanted.weight),
            before.get(name),
            after.get(name),
        )
        for (name, rounded), start, quantized, wanted in zip(
            *(source.items() if index == 0 else source.values() for index, source in enumerate(sources)), strict=True
        )
    )
    return PipelineReport(layers, tuple(run.steps), run.meter.top1(run.original), tuple(run.notes))
