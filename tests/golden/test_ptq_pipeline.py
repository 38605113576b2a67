"""The post-training pipeline on whole models: its steps, its report, and integers that are exact."""

import copy
import math
from typing import Any

import pytest
import torch

from evenstep_golden.checkpoint import apply_structure
from evenstep_golden.layers import (
    BatchNorm,
    Wide,
)
from evenstep_golden.lower import lower
from evenstep_golden.models import Classifier, build_model
from evenstep_golden.models.structure import structure_of
from evenstep_golden.precision import Method, Precision
from evenstep_golden.ptq import quantize, transform
from evenstep_golden.ptq.expect import expected_values
from evenstep_golden.ptq.graph import Graph, pictures
from evenstep_golden.ptq.pipeline import PipelineOptions, run_pipeline
from evenstep_golden.ptq.transform import History
from evenstep_golden.reference import first_mismatch, run

from .ptq_models import SHAPES, options, random_pixels, trained


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("cnn", "uniform:8"),
        ("mlp-256", "pwlq:4"),
        ("cnv", "uniform:4,kind=twos-complement"),
        ("ds-cnn", "uniform:8"),
        ("mobilenet-v2-small", "uniform:8"),
        ("resnet8", "pwlq:4,method=laplace-numeric"),
    ],
)
def test_integers_are_those_of_the_reference(name: str, weights: str) -> None:
    model, pixels = trained(name, count=2 if name == "cnv" else 4)
    floats = model.values(pixels).detach()
    report = run_pipeline(model, options(weights), pixels)
    assert model.is_quantized
    network = lower(model)
    got = [layer.numpy() for layer in model.boundaries(pixels)]
    assert first_mismatch(network, run(network, pixels.numpy()), got) is None
    # The report's floats lie on the same levels; what rounding tips over a threshold differs between the two, and of
    # four pictures a single code counts.
    error = (model(pixels) - floats).square().sum() / floats.square().sum()
    assert -10 * math.log10(error) > (report.steps[-1].logits_sqnr or 0) - 6
    assert [layer.name for layer in report.layers] == list(Graph(model).layers(model))
    if weights == "uniform:8":
        assert (report.steps[-1].logits_sqnr or 0) > 20

    # A new model with the same structure, precision and state is the same model.
    again = build_model(name, SHAPES[name], 10)
    apply_structure(again, structure_of(model, again))
    options(weights).precision.apply(again)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(pixels), model(pixels))


def test_the_report_follows_the_pipeline() -> None:
    model, pixels = trained("mlp-256", count=64)
    truth = model.values(pixels).argmax(1)
    original = copy.deepcopy(model)
    seen: list[tuple[str, int, int]] = []
    report = run_pipeline(
        model, options("uniform:4"), pixels, labelled=(pixels, truth), progress=lambda *state: seen.append(state)
    )
    assert [step.step for step in report.steps] == [
        "rounding to nearest",
        "equalization",
        "bias absorption",
        "weight ranges",
        "bias correction (empirical)",
        "activation ranges (mse)",
    ]
    assert report.float_top1 == 1.0
    assert all(step.top1 is not None and 0.5 < step.top1 <= 1 for step in report.steps)
    assert seen[-1] == ("activation ranges", 3, 3)
    assert ("bias correction", 4, 4) in seen
    first = report.layers[0]
    assert first.weights == "uniform:4"
    assert 0.02 < first.error_after < 0.2
    assert report.steps[0].mean_sqnr == pytest.approx(sum(layer.sqnr_before or 0 for layer in report.layers) / 4)
    assert report.steps[-1].mean_sqnr == pytest.approx(sum(layer.sqnr_after or 0 for layer in report.layers) / 4)
    assert report.layers[-1].sqnr_after == report.steps[-1].logits_sqnr
    # Plain rounding is what it says.
    plain = run_pipeline(
        original,
        options("uniform:4", None, equalize=False, absorb=False, weight_range="max", bias_correction="none"),
        pixels,
    )
    assert [layer.error_before for layer in plain.layers] == [layer.error_after for layer in plain.layers]
    assert [layer.error_before for layer in plain.layers] == [layer.error_before for layer in report.layers]
    assert plain.steps[0].logits_sqnr == plain.steps[-1].logits_sqnr


def test_the_same_seed_gives_the_same_network() -> None:
    states = []
    for seed in (1, 1, 2):
        model, pixels = trained("mlp-256", count=64)
        run_pipeline(model, options("uniform:3", adaround=5, seed=seed), pixels)
        states.append(model.state_dict())
    for name, values in states[0].items():
        assert torch.equal(values, states[1][name]), name
    assert any(not torch.equal(values, states[2][name]) for name, values in states[0].items())


@pytest.mark.parametrize("weights", ["uniform:3", "pwlq:2,method=laplace", "lsq:3"])
def test_adaround_beats_rounding_to_nearest(weights: str) -> None:
    errors = []
    for iterations in (0, 80):
        model, pixels = trained("cnn", count=64)
        floats = model.values(pixels)
        report = run_pipeline(
            model, options(weights, None, adaround=iterations, bias_correction="none", equalize=False), pixels
        )
        errors.append((model.values(pixels) - floats).square().mean().item())
    assert errors[1] < 0.75 * errors[0], errors
    # Levels are farther from the weights, and outputs nearer: that is the point.
    assert all(layer.error_after >= 0.999 * layer.error_before for layer in report.layers if "uniform" not in weights)
    assert any(note.startswith("AdaRound moved") for note in report.notes)


def weights_only(model: Classifier, weights: str) -> tuple[Graph, History, Classifier]:
    """Folded, and its weights rounded; also the float model of before."""
    graph, history = Graph(model), History()
    transform.fold_norms(model, graph, history)
    reference = copy.deepcopy(model)
    quantize.put_weight_quantizers(model, Precision(Method.parse(weights)), "mse")
    return graph, history, reference


@pytest.mark.parametrize("name", ["cnn", "ds-cnn", "resnet8"])
def test_empirical_correction_leaves_no_mean_error_in_any_layer(name: str) -> None:
    model, pixels = trained(name)
    graph, _, reference = weights_only(model, "uniform:4")
    batches = list(pictures(model, pixels).split(5))
    steps: list[int] = []
    quantize.correct_empirically(model, reference, graph, batches, lambda step, done, total: steps.append(done))
    assert steps == list(range(1, len(model.weighted()) + 1))
    layers = graph.layers(model)
    with torch.no_grad():
        pairs = zip(graph.evaluate(model, batches), graph.evaluate(reference, batches), strict=True)
        for (place, got), (_, wanted) in pairs:
            if place in layers:
                error = (torch.cat(got) - torch.cat(wanted)).transpose(0, 1).flatten(1)
                assert error.mean(1).abs().max() < 1e-4 * torch.cat(wanted).abs().max(), place
                assert error.abs().max() > 1e-3


@pytest.mark.parametrize("name", ["mlp-256", "ds-cnn"])
def test_analytic_correction_is_like_the_empirical_one(name: str) -> None:
    model, pixels = trained(name, count=256 if name == "mlp-256" else 48)
    graph, history, reference = weights_only(model, "uniform:4")
    measured = copy.deepcopy(model)
    expected = expected_values(reference, graph, history.moments)
    unknown = quantize.correct_analytically(model, reference, graph, expected)
    assert unknown == list(graph.layers(model))[:1]
    assert any((module.weight < 0).any() for module in trained(name)[0].modules() if isinstance(module, BatchNorm))
    # Each layer by itself: behind a float prefix, with the weights that the analytic way knows of.
    inputs = {place: torch.cat(values) for place, values in graph.evaluate(reference, [pictures(model, pixels)])}
    for layer, module in list(graph.layers(measured).items())[1:]:
        if name == "ds-cnn" and "depth" in layer:
            continue  # padded: the mean of the border is another one
        start = graph.layers(reference)[layer]
        x = inputs[graph.nodes[layer].inputs[0]]
        with torch.no_grad():
            shift = (module(x) - start(x)).transpose(0, 1).flatten(1).mean(1)
            corrected, bias = graph.layers(model)[layer].bias, start.bias
            assert corrected is not None
            taken = -corrected if bias is None else bias - corrected
        assert (shift - taken).norm() < 0.5 * shift.norm(), layer


@pytest.mark.parametrize("name", ["mlp-256", "mobilenet-v2-small", "resnet8"])
def test_without_data_ranges_and_biases_come_from_batch_norms(name: str) -> None:
    model, pixels = trained(name)
    floats = model.values(pixels).detach()
    report = run_pipeline(model, options("uniform:8", activation_range="batch-norm"))
    assert [step.step for step in report.steps][-2:] == ["bias correction (analytic)", "activation ranges (batch-norm)"]
    assert report.steps[-1].mean_sqnr is None
    assert report.layers[0].sqnr_after is None
    error = ((model(pixels) - floats).square().sum() / floats.square().sum()).item()
    assert -10 * math.log10(error) > 12
    for module in model.modules():
        if isinstance(module, Wide):
            assert module.largest > 0
            assert not module.observing


def test_expected_ranges_hold_what_comes() -> None:
    for name in ("cnn", "mobilenet-v2-small", "resnet8"):
        model, pixels = trained(name)
        graph, history = Graph(model), History()
        transform.fold_norms(model, graph, history)
        expected = expected_values(model, graph, history.moments)
        for place, (values,) in graph.evaluate(model, [pictures(model, pixels)]):
            low, high = expected[place].low, expected[place].high
            if low is None or high is None:
                assert place == "last"
                continue
            channels = values.transpose(0, 1).reshape(len(low), -1) if values.ndim == 4 else values.T
            if len(channels) == len(low):
                outside = (channels < low[:, None] - 1e-4) | (channels > high[:, None] + 1e-4)
                assert outside.double().mean() < 1e-3, place


def test_layers_can_stay_float() -> None:
    model, pixels = trained("cnn")
    precision = Precision(
        Method.parse("uniform:4"),
        Method.parse("uniform:8"),
        (("conv1", "weights", None), ("act2", "activations", None)),
    )
    report = run_pipeline(model, PipelineOptions(precision=precision), pixels)
    assert not model.is_quantized
    assert report.layers[0].weights == "float"
    assert report.layers[0].error_after == 0
    assert (report.layers[0].sqnr_after or 0) > 100
    assert model.activations()["act2"].quantizer is None
    assert model.activations()["act3"].quantizer is not None


@pytest.mark.parametrize("activations", ["lsq:8", "pact:8", "n2uq:4", "uniform:8,symmetric=True"])
@pytest.mark.parametrize("method", ["max", "percentile", "entropy", "sqnr"])
def test_every_calibrator_and_kind_of_activation(activations: str, method: str) -> None:
    if method != "max" and not activations.startswith("uniform"):
        method = "moving"
    model, pixels = trained("mlp-256")
    run_pipeline(model, options("lsq:4", activations, activation_range=method), pixels)
    network = lower(model)
    got = [layer.numpy() for layer in model.boundaries(pixels)]
    assert first_mismatch(network, run(network, pixels.numpy()), got) is None


@pytest.mark.parametrize(
    ("others", "step"),
    [
        ({"adaround": 10}, "AdaRound"),
        ({"bias_correction": "empirical"}, "empirical bias correction"),
        ({}, "activation range 'mse'"),
    ],
)
def test_steps_that_lack_data_are_named(others: dict[str, Any], step: str) -> None:
    model = build_model("mlp-256", (1, 4, 4), 10)
    with pytest.raises(
        ValueError, match=rf"^Calibration pictures must be given for step {step}, which cannot do witho"
    ):
        run_pipeline(model, options(**others))


def break_weights(model: Classifier) -> None:
    model.weighted()["fc2"].weight.data[3, 1] = float("nan")


def break_norm(model: Classifier) -> None:
    next(module for module in model.modules() if isinstance(module, BatchNorm)).bias.data[0] = float("inf")


def quantize_before(model: Classifier) -> None:
    Precision(Method.parse("uniform:8")).apply(model)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_weights, r"^Weights of fc2, channel 3, must be finite$"),
        (break_norm, r"^Beta must be finite, not inf$"),
        (quantize_before, r"^Model must be float for post-training quantization, but fc1 has a weight quantizer$"),
    ],
)
def test_models_that_cannot_be_quantized_are_refused(damage: Any, message: str) -> None:
    model = build_model("mlp-256", (1, 4, 4), 10)
    damage(model)
    with pytest.raises(ValueError, match=message):
        run_pipeline(model, options(), random_pixels(model, 4))


def test_pictures_that_do_not_fit_are_refused() -> None:
    model = build_model("mlp-256", (1, 4, 4), 10)
    with pytest.raises(ValueError, match=r"^Calibration pictures must be at least one, not none$"):
        run_pipeline(model, options(), random_pixels(model, 0))
    with pytest.raises(ValueError, match=r"^Pixels must have shape \(positions, \*\(1, 4, 4\)\), not \(2, 1, 5, 5\)$"):
        run_pipeline(model, options(), torch.zeros(2, 1, 5, 5, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"^Cannot round fc1: AdaRound needs levels that stay"):
        run_pipeline(model, options("n2uq:4", adaround=2), random_pixels(model, 4))
    with pytest.raises(ValueError, match=r"^Cannot quantize the weights of fc1: .*one zero point"):
        run_pipeline(build_model("mlp-256", (1, 4, 4), 10), options("uniform:4,kind=affine"), random_pixels(model, 4))


@pytest.mark.parametrize(
    ("others", "error", "message"),
    [
        ({"fold": 1}, TypeError, "Option fold must be True or False, not 1"),
        ({"weight_range": "kl"}, ValueError, "Weight range must be one of max, mse, not 'kl'"),
        ({"adaround": -1}, ValueError, "Iterations of AdaRound must be a non-negative integer, not -1"),
        ({"bias_correction": "x"}, ValueError, "Bias correction must be one of empirical, analytic, none, not 'x'"),
        ({"activation_range": "x"}, ValueError, "Activation range must be one of max, .*, batch-norm, not 'x'"),
        ({"activation_range": "cross-entropy"}, ValueError, "'cross-entropy' is for logits, which are not quantized"),
        ({"absorb": False, "absorb_padded": True}, ValueError, "absorb_padded must go with absorb"),
        ({"seed": -1}, ValueError, "Seed must be"),
        ({"batch_size": 0}, ValueError, "Batch size must be a positive integer, not 0"),
    ],
)
def test_options_are_checked(others: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        options(**others)
    with pytest.raises(TypeError, match="Precision must be a Precision, not 8"):
        PipelineOptions(precision=8)  # type: ignore[arg-type]
