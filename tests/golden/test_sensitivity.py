"""The sweep ranks layers, and precisions are chosen from it."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from evenstep_golden.checkpoint import Checkpoint, save_checkpoint
from evenstep_golden.commands.sensitivity import sensitivity
from evenstep_golden.models import Classifier, build_model
from evenstep_golden.precision import Method, Precision
from evenstep_golden.sensitivity import Sensitivity, choose_precision, sweep
from evenstep_golden.training import initialize_quantizers

from .networks import random_pixels

SHAPE = (1, 28, 28)


@pytest.fixture
def model() -> Classifier:
    model = build_model("cnn", SHAPE, 10, seed=3)
    with torch.no_grad():
        for _ in range(20):
            model.train()(random_pixels(64, SHAPE, seed=0))
    return model.eval()


def run_sweep(model: Classifier, *methods: tuple[str, str]) -> list[Sensitivity]:
    pixels = random_pixels(64, SHAPE, seed=1).numpy()
    return list(sweep(model, pixels, np.zeros(64, int), [(kind, Method.parse(text)) for kind, text in methods]))


def test_one_place_at_a_time_is_quantized(model: Classifier) -> None:
    results = run_sweep(model, ("weights", "uniform:2"), ("weights", "uniform:8"), ("activations", "uniform:4"))
    weights, places = list(model.weighted()), list(model.activations())
    assert [one.layer for one in results] == [*weights, *weights, *places]
    assert [one.numbers for one in results[:5]] == [144, 4608, 18432, 73728, 5120]
    for narrow, wide in zip(results[:5], results[5:10], strict=True):
        assert narrow.sqnr + 20 < wide.sqnr  # 6 dB a bit
    # The model is float again, with the statistics that it had.
    pixels = random_pixels(8, SHAPE, seed=2)
    before = model.values(pixels)
    run_sweep(model, ("weights", "uniform:2"))
    assert torch.equal(before, model.values(pixels))


def test_a_damaged_layer_is_ranked_first(model: Classifier) -> None:
    weight = model.weighted()["conv3"].weight
    with torch.no_grad():
        weight[0, 0, 0, 0] = 50 * weight.abs().max()  # leaves no levels for the others
    results = run_sweep(model, ("weights", "uniform:4,granularity=tensor"))
    assert min(results, key=lambda one: one.sqnr).layer == "conv3"


def of(layer: str, bits: int, sqnr: float, numbers: int) -> Sensitivity:
    return Sensitivity(layer, "weights", Method("uniform", bits), sqnr, 0.0, numbers, bits)


def test_models_that_are_quantized_already_are_refused(model: Classifier) -> None:
    Precision(None, Method.parse("uniform:8")).apply(model)
    with pytest.raises(ValueError, match=r"^Model of a sweep must be float, not quantized$"):
        run_sweep(model, ("weights", "uniform:2"))


def test_bits_of_a_region_count(model: Classifier) -> None:
    results = run_sweep(model, ("weights", "uniform:5"), ("weights", "pwlq:4"), ("weights", "pwlq:4,breakpoints=3"))
    methods = [Method.parse(text) for text in ("uniform:5", "pwlq:4", "pwlq:4,breakpoints=3")]
    assert {one.method: one.bits for one in results} == dict(zip(methods, (5, 5, 6), strict=True))
    for one in results:
        Precision().replaced(one.layer, "weights", one.method).apply(model)
        initialize_quantizers(model, random_pixels(4, SHAPE, seed=0).numpy())
        assert model.weighted()[one.layer].encode(one.layer).encoding.bits == one.bits
    chosen = choose_precision(results, average_bits=5)
    assert {chosen.method(one.layer, "weights") for one in results} <= set(methods[:2])


def test_bits_go_where_they_are_missed() -> None:
    results = [of("a", 2, 5, 100), of("a", 8, 40, 100), of("b", 2, 20, 100), of("b", 8, 40, 100)]
    chosen = choose_precision(results, average_bits=5)
    assert [chosen.method(name, "weights") for name in "ab"] == [Method("uniform", 8), Method("uniform", 2)]
    assert choose_precision(results, average_bits=4.9).method("a", "weights") == Method("uniform", 2)
    assert choose_precision(results, average_bits=8).method("b", "weights") == Method("uniform", 8)
    with pytest.raises(
        ValueError, match=r"^Average bits must be at least the 2\.00 of the narrowest methods, not 1\.9$"
    ):
        choose_precision(results, average_bits=1.9)
    with pytest.raises(ValueError, match=r"^Average bits must be a positive number, not nan$"):
        choose_precision(results, average_bits=float("nan"))
    with pytest.raises(ValueError, match=r"^Results to choose from must have two methods or more"):
        choose_precision(results[:1], average_bits=4)


def test_a_large_layer_is_not_left_behind() -> None:
    """Cheap layers must not use up the bits that one large layer needs most."""
    large = [of("large", 2, 10, 700), of("large", 4, 35, 700), of("large", 8, 60, 700)]
    small = [of("small", 2, 14, 300), of("small", 4, 31, 300), of("small", 8, 58, 300)]
    chosen = choose_precision([*small, *large], average_bits=4)
    assert {chosen.method(name, "weights") for name in ("small", "large")} == {Method("uniform", 4)}


@given(
    st.lists(st.tuples(st.integers(1, 100), st.lists(st.floats(0, 60), min_size=3, max_size=3)), min_size=1, max_size=5)
)
def test_choice_is_near_the_best_of_all(layers: list[tuple[int, list[float]]]) -> None:
    results = [
        of(f"l{index}", bits, ratio, numbers)
        for index, (numbers, ratios) in enumerate(layers)
        for bits, ratio in zip((2, 4, 8), sorted(ratios), strict=True)
    ]
    total = sum(numbers for numbers, _ in layers)
    chosen = choose_precision(results, average_bits=4)

    def noise_and_bits(picked: dict[str, int]) -> tuple[float, int]:
        used = [one for one in results if picked[one.layer] == one.method.bits]
        return sum(10 ** (-one.sqnr / 10) for one in used), sum(one.numbers * one.method.bits for one in used)

    widths = {one.layer: chosen.method(one.layer, "weights") for one in results}
    noise, bits = noise_and_bits({layer: method.bits for layer, method in widths.items() if method})
    assert bits <= 4 * total
    every = (dict(zip(widths, some, strict=True)) for some in itertools.product((2, 4, 8), repeat=len(widths)))
    best = min(found for found, used in map(noise_and_bits, every) if used <= 4 * total)
    narrowest, _ = noise_and_bits(dict.fromkeys(widths, 2))
    uniform, _ = noise_and_bits(dict.fromkeys(widths, 4))
    assert best <= noise * (1 + 1e-9) and noise <= min(narrowest, uniform) * (1 + 1e-9)


def test_command_ranks_and_chooses(model: Classifier, tmp_path: Path) -> None:
    save_checkpoint(Checkpoint(model, "cnn", tuple("0123456789")), tmp_path / "m.pt")
    np.savez(tmp_path / "test.npz", pixels=random_pixels(32, SHAPE, seed=1).numpy(), labels=np.arange(32) % 10)
    arguments = [str(tmp_path / "m.pt"), "--dataset", "arrays", "--data", str(tmp_path), "--weights", "uniform:2"]
    choice = ["--weights", "uniform:8", "--average-bits", "4", "--output", str(tmp_path / "p.toml")]
    result = CliRunner().invoke(sensitivity, arguments + choice, catch_exceptions=False)
    assert result.exit_code == 0 and " 1 │ " in result.output and "73,728" in result.output
    precision = Precision.load(tmp_path / "p.toml")
    layers = model.weighted()
    widths = {name: precision.method(name, "weights") for name in layers}
    used = sum(layers[name].weight.numel() * method.bits for name, method in widths.items() if method)
    total = sum(layer.weight.numel() for layer in layers.values())
    assert 2 * total < used <= 4 * total
    alone = CliRunner().invoke(sensitivity, [*arguments, "--average-bits", "4"])
    assert alone.exit_code == 2 and "must be given together" in alone.output
