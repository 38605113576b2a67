"""AdaRound between the levels of any weight quantizer."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evenstep_golden.ptq.adaround import AdaRoundWeight
from evenstep_golden.ptq.levels import LevelRounding
from evenstep_golden.quantizers import DoReFaWeight, LSQWeight, N2UQWeight, PWLQWeight, UniformWeight, WeightQuantizer


@given(seed=st.integers(0, 2**32), bits=st.integers(2, 8), kind=st.sampled_from(["symmetric", "twos-complement"]))
@settings(max_examples=30, deadline=None)
def test_rounding_between_levels_is_adaround_on_a_uniform_grid(seed: int, bits: int, kind: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 3, 3, generator=generator, dtype=torch.float64)
    quantizer = UniformWeight(bits, kind=kind).double()
    quantizer.set_range(weight.flatten(1).amin(1) * 0.7, weight.flatten(1).amax(1).abs() * 0.7)  # some are clipped
    between, standard = LevelRounding(quantizer, weight), AdaRoundWeight.of_encoded(weight, quantizer.encode(weight))
    moved = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    for change in (torch.zeros_like(moved), moved):
        with torch.no_grad():
            between.logits.add_(change)
            standard.logits.add_(change)
        inside = quantizer(weight).sub(weight).abs() < quantizer.encode(weight).scale.reshape(-1, 1, 1) / 2
        between.soft = standard.soft = True
        torch.testing.assert_close(between(weight)[inside], standard(weight)[inside], rtol=1e-9, atol=1e-9)
        between.soft = standard.soft = False
        torch.testing.assert_close(between(weight), standard(weight), rtol=1e-12, atol=0)
        assert torch.equal(between.integers(), standard.encode(weight).integers())
        assert torch.equal(quantizer.encode(between.weights()).integers(), between.integers())


def weight_quantizers() -> list[WeightQuantizer]:
    return [
        *(PWLQWeight(bits, breakpoints=count) for bits in (2, 4, 8) for count in (1, 2, 3)),
        PWLQWeight(4, form="code"),
        PWLQWeight(4, form="code-overlapping"),
        PWLQWeight(4, aligned=True),
        PWLQWeight(2, aligned=True, breakpoints=3),
        PWLQWeight(3, granularity="tensor"),
        LSQWeight(3),
        UniformWeight(1, kind="twos-complement"),
        UniformWeight(4, kind="affine", granularity="tensor"),
    ]


@pytest.mark.parametrize("quantizer", weight_quantizers(), ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_chosen_levels_are_what_the_quantizer_encodes(quantizer: WeightQuantizer, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 40, generator=generator) * scale
    weight[0], weight[1] = 0, 0.25 * scale
    quantizer.initialize(weight)
    rounding = LevelRounding(quantizer, weight)
    nearest = quantizer.encode(weight).values()
    rounding.soft = True
    inside = (weight >= rounding._low) & (weight <= rounding._high)
    torch.testing.assert_close(rounding(weight)[inside], weight[inside], rtol=1e-4, atol=1e-4 * scale)
    rounding.soft = False
    # Before it learned anything, each weight is on one of the levels next to it, and no farther than the nearest.
    assert ((rounding(weight) - weight).abs() <= (nearest - weight).abs() * (1 + 1e-4) + 1e-6 * scale).all()
    for _ in range(3):
        with torch.no_grad():
            rounding.logits.normal_(generator=generator)
        encoded = quantizer.encode(rounding.weights())
        assert torch.equal(encoded.integers(), rounding.integers())
        assert torch.equal(encoded.values(), rounding(weight))


@pytest.mark.parametrize("quantizer", [N2UQWeight(3), DoReFaWeight(3), PWLQWeight(4, keep_spread=True)], ids=str)
def test_levels_that_move_are_refused(quantizer: WeightQuantizer) -> None:
    weight = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    quantizer.initialize(weight)
    with pytest.raises(ValueError, match=r"^AdaRound needs levels that stay where they are, but those of \w+ move"):
        LevelRounding(quantizer, weight)
