"""Piecewise linear layers and rescalings in programs: memory images that compute a network's integers, and refusals."""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evenstep.compiler import Program, compile_network
from evenstep.link.protocol import Region
from evenstep.spec import (
    Dense,
    Encoding,
    Geometry,
    Line,
    Network,
    PiecewiseEncoding,
    Rescale,
)
from tests.hw.engine_model import run_images
from tests.hw.networks import encodings
from tests.hw.piecewise_networks import (
    DECODED,
    GEOMETRY,
    ODD,
    SUMS,
    TWOS,
    Weights,
    chain,
    doubling,
    free,
    random_thresholds,
)


def assert_images_compute(program: Program, seed: int = 0) -> None:
    """The images, taken by themselves, give the network's integers for random and extreme inputs."""
    top = 2**program.network.input_bits - 1
    count = program.network.inputs
    random = np.random.default_rng(seed).integers(0, top + 1, (6, count))
    for inputs in [np.zeros(count, int), np.full(count, top), *random]:
        found, expected = run_images(program, inputs), program.boundaries(inputs)
        for layer, one, other in zip(program.results, found, expected, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=layer.name)


@dataclass(frozen=True)
class Case:
    """Layers on an engine, and how each is to run: combined or not, its zero point, its digits."""

    geometry: Geometry
    weights: tuple[Weights, ...]
    expected: tuple[tuple[bool, int, int], ...]

    @property
    def sizes(self) -> list[int]:
        """Inputs and outputs: as many as there are rows of constants, where these are many."""
        rows = [one.channels if isinstance(one, PiecewiseEncoding) else 1 for one in self.weights]
        return [11, *(size if own == 1 else own for own, size in zip(rows, [9, 7, 6, 4], strict=False))]


# Up to 410: ten bits and a sign less one; up to 1400: twelve.
TEN, TWELVE = PiecewiseEncoding(3, np.array([[40, 50, 60]])), PiecewiseEncoding(3, np.array([[1, 2, 3, 100, 700]]))
CASES = {
    "sums": Case(SUMS, (free(3, 2), free(3, 2, rows=6), doubling(3, 2)), ((True, 8, 1),) * 3),
    "sums, fewer breakpoints and bits": Case(SUMS, (free(2, 1), free(1, 2), free(3, 1)), ((True, 8, 1),) * 3),
    "sums, three": Case(GEOMETRY.replace(breakpoints=3, weight_bits=2), (free(1, 3), free(1, 1)), ((True, 2, 1),) * 2),
    "sums, mixed": Case(SUMS, (ODD, free(3, 2, rows=9), TWOS), ((False, 15, 1), (True, 8, 1), (False, 8, 1))),
    "sums, too few: digits": Case(
        GEOMETRY.replace(breakpoints=1, max_weight_bits=12),
        (doubling(3, 2), free(3, 1), doubling(4, 1)),
        ((False, 64, 2), (True, 8, 1), (False, 64, 2)),
    ),
    "decoded": Case(DECODED, (doubling(3, 2), doubling(3, 1), doubling(2, 1)), ((False, 64, 1),) * 3),
    "decoded, mixed": Case(
        DECODED,
        (ODD, doubling(3, 2), Encoding("affine", 4, 3), Encoding("unsigned", 4)),
        # Plain codes are counted with 56 = 64 - 8 on top of each.
        ((False, 15 + 2 * 56, 1), (False, 64, 1), (False, 3 + 56, 1), (False, 56, 1)),
    ),
    "decoded, other constants: digits": Case(
        DECODED.replace(max_weight_bits=12),
        (TWELVE, doubling(3, 2), Encoding("symmetric", 7), Encoding("odd-level", 9)),
        (
            (False, 2**11 + 56 * 0x111, 3),
            (False, 64, 1),
            (False, 2**6 + 56 * 0x11, 2),
            (False, 2**9 - 1 + 2 * 56 * 0x111, 3),
        ),
    ),
    "decoded, other constants: levels": Case(
        DECODED, (PiecewiseEncoding(1, np.array([[2, 12, 11]])), doubling(3, 2)), ((False, 64, 1),) * 2
    ),
    "plain: digits": Case(
        GEOMETRY.replace(max_weight_bits=12),
        (doubling(3, 2), TEN, TWOS),
        ((False, 64, 2), (False, 2**9, 3), (False, 8, 1)),
    ),
    "plain, wide": Case(GEOMETRY.replace(weight_bits=8), (doubling(3, 2), ODD), ((False, 64, 1), (False, 15, 1))),
    "plain, symmetric": Case(
        GEOMETRY.replace(encoding="symmetric", max_weight_bits=8),
        (doubling(3, 2), Encoding("symmetric", 4)),
        ((False, 64, 2), (False, 8, 1)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_layers_take_the_array_s_own_way(case: str) -> None:
    geometry, weights, sizes = CASES[case].geometry, CASES[case].weights, CASES[case].sizes
    rng = np.random.default_rng(3)
    layers = []
    for number, (encoding, (inputs, outputs)) in enumerate(zip(weights, pairwise(sizes), strict=True)):
        # Every code, from the largest on, so that widths are those of the encoding.
        codes = np.resize(np.arange(encoding.max_code, encoding.min_code - 1, -1), (outputs, inputs))
        layer = Dense(f"layer{number}", codes, encoding, 2)
        if number < len(weights) - 1:
            layer = Dense(layer.name, codes, encoding, 2, random_thresholds(layer, 2, rng))
        layers.append(layer)
    program = compile_network(Network(tuple(layers)), geometry)
    descriptors = [layer.descriptor for layer in program.layers]
    steps = [-(-inputs // geometry.lanes) for inputs in sizes[:-1]]
    found = [(one.combined, one.zero, one.tile_stride // step) for one, step in zip(descriptors, steps, strict=True)]
    assert tuple(found) == CASES[case].expected
    assert_images_compute(program)


@pytest.mark.parametrize("rescaled", [False, True], ids=["raw", "rescaled"])
@pytest.mark.parametrize("case", CASES)
def test_images_compute_random_networks(case: str, rescaled: bool) -> None:
    geometry, weights, sizes = CASES[case].geometry, CASES[case].weights, CASES[case].sizes
    geometry = geometry.replace(rescale=rescaled)
    for seed in range(8):
        program = compile_network(chain(seed, sizes, list(weights), rescaled=rescaled), geometry)
        assert [layer.descriptor.rescale is not None for layer in program.layers[:-1]] == [False] * (len(weights) - 1)
        assert (program.layers[-1].descriptor.rescale is not None) == rescaled
        assert program.layers[-1].name == ("logits" if rescaled else f"layer{len(weights)}")
        assert_images_compute(program, seed)


def mended(network: Network, geometry: Geometry) -> Program:
    """Program of `network`, for the engine that one gets by doing what each refusal says."""
    options: dict[str, Any] = {}
    for _ in range(30):
        try:
            return compile_network(network, geometry.replace(**options))
        except ValueError as error:
            assume("too wide for any engine's accumulators" not in str(error))
            advice = str(error).partition("generate it with ")[2]
            assert advice, f"no advice in: {error}"
            (first, *_) = advice.split(" or ")
            found = re.findall(r"--([a-z-]+)(?: (\w+))?", first)
            assert first == " ".join(f"--{name} {value}".strip() for name, value in found), advice
            for name, value in found:
                options[name.replace("-", "_")] = True if not value else int(value) if value.isdigit() else value
            widest = max(options.get("weight_bits", geometry.weight_bits), options.get("max_weight_bits", 0))
            options["max_weight_bits"] = max(widest, geometry.max_weight_bits)
    raise AssertionError(f"Refusals must come to an end, not {options}")


@st.composite
def hardest(draw: st.DrawFn) -> tuple[Network, Geometry]:
    """Networks of plain and piecewise linear layers, and an engine that is too small for them."""
    breakpoints, piecewise = draw(st.integers(0, 3)), draw(st.sampled_from(["sums", "decoded"]))
    least = 1 if breakpoints == 0 else breakpoints + 1 if piecewise == "decoded" else 2
    geometry = Geometry(
        columns=draw(st.integers(1, 3)),
        lanes=draw(st.integers(2, 5)),
        weight_bits=draw(st.integers(least, 8)),
        act_bits=draw(st.integers(1, 8)),
        output_bits=2,
        accumulator_bits=4,
        breakpoints=breakpoints,
        piecewise=piecewise,
        program_depth=16,
        weight_depth=2,
        act_depth=2,
        result_depth=2,
        threshold_depth=2,
        constant_depth=2,
        max_passes=1,
    )
    sizes = draw(st.lists(st.integers(1, 7), min_size=2, max_size=4))
    weights: list[Weights] = []
    for outputs in sizes[1:]:
        kind, magnitude_bits, own = draw(st.integers(0, 3)), draw(st.integers(1, 7)), draw(st.integers(1, 3))
        seed, top = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([1, 30, 2**12 - 1]))
        rows = outputs if draw(st.booleans()) else 1
        choices = [draw(encodings(max_bits=16)), doubling(magnitude_bits, own)]
        choices += [free(magnitude_bits, own, rows=rows, top=top, seed=seed)] * 2
        weights.append(choices[kind])
    network = chain(
        draw(st.integers(0, 2**32 - 1)),
        sizes,
        weights,
        input_bits=draw(st.integers(1, 8)),
        code_bits=draw(st.integers(1, 2)),
        rescaled=draw(st.booleans()),
    )
    return network, geometry


@settings(max_examples=150, deadline=None)
@given(hardest(), st.integers(0, 2**32 - 1))
def test_engines_that_refusals_ask_for_compute_the_network(drawn: tuple[Network, Geometry], seed: int) -> None:
    """The least accumulators, memories and passes that refusals name are enough, to the bit."""
    assert_images_compute(mended(*drawn), seed)


@pytest.mark.parametrize("breakpoints", [1, 2, 3])
@pytest.mark.parametrize("weight_bits", range(2, 9))
def test_zero_points_of_the_widest_weights_fit(weight_bits: int, breakpoints: int) -> None:
    """Sixteen bits in digits, each with an offset from decoding."""
    if weight_bits <= breakpoints:
        return  # there is no such lane
    geometry = GEOMETRY.replace(breakpoints=breakpoints, piecewise="decoded", weight_bits=weight_bits)
    geometry = geometry.replace(max_weight_bits=16, accumulator_bits=31)
    for kind, zero_point in (("odd-level", 0), ("affine", 2**16 - 1), ("affine", 0), ("symmetric", 0)):
        network = chain(weight_bits, [3, 2], [Encoding(kind, 16, zero_point)], input_bits=1)
        program = compile_network(network, geometry)
        assert program.layers[0].descriptor.zero < 2**geometry.zero_bits
        assert_images_compute(program)


def test_constants_by_hand() -> None:
    """Factors of two sums channels, then multiplier and bias with half a step, low word first."""
    encoding = PiecewiseEncoding(2, np.array([[5, 7, 1], [9, 4, 2]]))
    layer = Dense("layer1", np.array([[1], [0b1_1_11]]), encoding, 2)
    rescale = Rescale("logits", Line(np.array([3, -2]), np.array([-1, 2**40])), 4, 16)
    network = Network((layer, rescale))
    program = compile_network(network, GEOMETRY.replace(breakpoints=2, rescale=True, weight_bits=3))
    first = [5, 7 - 5, 1, 0, 0, 3, 8 - 1, 0]
    second = [9, 2**32 - 5, 2, 0, 0, 2**32 - 2, 8, 2**8]
    assert program.images[Region.CONSTANTS] == first + second
    assert_images_compute(program)
    program = compile_network(Network((layer,)), GEOMETRY.replace(breakpoints=1, weight_bits=3))
    # Three factors in four words' place.
    assert program.images[Region.CONSTANTS] == [5, 2, 1, 0, 9, 2**32 - 5, 2, 0]
    assert_images_compute(program)


def test_largest_factors_fit() -> None:
    for constants in ((2**17 - 1, 0, 2**17 - 1), (1, 2**17, 0), (0, 2**17 - 1, 1)):
        encoding = PiecewiseEncoding(3, np.array([constants]))
        layer = Dense("layer1", np.arange(32).reshape(2, 16) % 32, encoding, 4)
        assert_images_compute(compile_network(Network((layer,)), SUMS))
    line = Line(np.array([2**17 - 1, -(2**17)]), np.array([0, 0]))
    network = Network((layer, Rescale("logits", line, 12, 32)))
    assert_images_compute(compile_network(network, SUMS.replace(rescale=True)))


def test_constants_are_only_there_where_they_are_used() -> None:
    engine = GEOMETRY.replace(breakpoints=2, rescale=True)
    assert Region.CONSTANTS not in compile_network(chain(1, [4, 3], [TWOS]), engine).images
    program = compile_network(chain(1, [4, 3, 2, 5], [TWOS, free(3, 2), ODD], rescaled=True), engine)
    # Eight words for each of two and five channels.
    assert len(program.images[Region.CONSTANTS]) == 8 * (2 + 5)
    assert [layer.descriptor.constant_base for layer in program.layers] == [0, 0, 2]
