"""The compiler: programs, refusals, and the cycle model against the simulated engine."""

import itertools
import re

import numpy as np
import pytest

from evenstep.compiler import compile_network
from evenstep.compiler.layout import Layout, weight_words
from evenstep.host import EngineClient
from evenstep.spec import Dense, Encoding, Geometry, Network, Thresholds
from evenstep_sim.virtual import AmaranthTransport
from tests.hw.engine_model import run_images


def random_network(
    seed: int, sizes: list[int], *, encoding: Encoding, input_bits: int, code_bits: int, raw: bool = True
) -> Network:
    """Chain of layers with random weights, thresholds over most of each channel's range, and some flips."""
    rng = np.random.default_rng(seed)
    layers = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        codes = rng.integers(encoding.min_code, encoding.max_code + 1, (outputs, inputs))
        bits = code_bits if index else input_bits
        layer = Dense(f"layer{index + 1}", codes, encoding, bits)
        if index < len(sizes) - 2 or not raw:
            low, high = layer.sum_ranges()
            spread = np.sqrt(high - low + 1)[:, None] * 2
            values = np.sort(rng.normal(0, 1, (outputs, 2**code_bits - 1)) * spread, axis=1).astype(np.int64)
            thresholds = Thresholds(values + ((low + high) // 2)[:, None], rng.random(outputs) < 0.3)
            layer = Dense(layer.name, codes, encoding, bits, thresholds)
        layers.append(layer)
    return Network(tuple(layers))


GEOMETRY = Geometry(columns=3, lanes=5, threshold_depth=64, act_depth=128, weight_depth=256)
_RECODED = {"counter": "ice40", "max_passes": 64}

# Geometry changes, layer sizes, encoding, input bits, code bits: digits of activations and weights, tiles shorter than
# their draining, partial words, one channel, one threshold, several rows, native widths from 1 to 8.
CASES = [
    ({}, [17, 11, 6, 4], "odd-level:2", 8, 2),
    ({"threshold_style": "search"}, [17, 11, 6, 4], "twos-complement:2", 8, 2),
    ({"columns": 8, "lanes": 8}, [8, 20, 20, 3], "symmetric:2", 2, 2),
    ({"columns": 1, "lanes": 3}, [7, 1, 5, 1], "unsigned:2", 3, 1),
    ({"weight_bits": 1, "act_bits": 1, "output_bits": 1, "max_weight_bits": 1}, [12, 9, 2], "odd-level:1", 4, 1),
    ({"weight_bits": 1, "max_weight_bits": 4, "max_passes": 64}, [13, 7, 3], "affine:4:5", 4, 2),
    ({"weight_bits": 3, "act_bits": 2, "max_weight_bits": 5, "max_passes": 64}, [9, 7, 5], "twos-complement:5", 5, 2),
    ({"act_bits": 1, "output_bits": 3}, [11, 13, 6, 5], "odd-level:2", 8, 3),
    ({"act_bits": 2, "output_bits": 5, "threshold_style": "search"}, [11, 13, 6, 5], "odd-level:2", 8, 5),
    ({"encoding": "odd-level"}, [17, 11, 6, 4], "odd-level:2", 8, 2),
    ({"encoding": "unsigned", "rows": 2}, [17, 11, 4], "unsigned:2", 8, 2),
    ({"encoding": "symmetric"}, [17, 11, 4], "symmetric:2", 8, 2),
    ({"rows": 3}, [10, 9, 4], "odd-level:2", 8, 2),
    ({"weight_bits": 8, "act_bits": 8, "output_bits": 8, "threshold_style": "search"}, [6, 5, 4], "affine:8:100", 8, 8),
    ({"weight_bits": 4, "act_bits": 4, "output_bits": 4}, [9, 8, 7], "symmetric:4", 4, 4),
    # Recoded weights: of all bits of the digits and of fewer, of an odd number, and with blank passes for a slow unit.
    ({**_RECODED, "encoding": "odd-level"}, [17, 11, 6, 4], "odd-level:2", 8, 2),
    ({**_RECODED, "encoding": "odd-level", "threshold_style": "serial", "lanes": 8}, [8, 11, 9], "odd-level:1", 2, 2),
    ({**_RECODED, "encoding": "twos-complement", "max_weight_bits": 5}, [17, 11, 4], "twos-complement:5", 5, 2),
    ({**_RECODED, "encoding": "symmetric", "weight_bits": 4, "act_bits": 3}, [9, 8, 7], "symmetric:3", 8, 2),
    ({**_RECODED, "encoding": "odd-level", "weight_bits": 3, "rescale": True}, [9, 8, 7], "odd-level:3", 8, 2),
    ({**_RECODED, "encoding": "symmetric", "max_weight_bits": 6}, [9, 8, 7], "symmetric:5", 4, 2),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[2]}-{case[3]}-{case[4]}")
def test_engine_equals_network_in_predicted_cycles(case) -> None:
    changes, sizes, encoding, input_bits, code_bits = case
    geometry = GEOMETRY.replace(**changes)
    network = random_network(7, sizes, encoding=Encoding.parse(encoding), input_bits=input_bits, code_bits=code_bits)
    program = compile_network(network, geometry)
    inputs = np.random.default_rng(8).integers(0, 2**input_bits, (geometry.rows, network.inputs))
    with EngineClient(AmaranthTransport(geometry)) as client:
        client.load(program)
        status = client.run(inputs)
        got = [client.boundaries(row) for row in range(geometry.rows)]
    for row, boundaries in enumerate(got):
        for layer, boundary, expected in zip(program.results, boundaries, network.boundaries(inputs[row]), strict=True):
            np.testing.assert_array_equal(boundary, expected, err_msg=f"{layer.name}, row {row}")
    assert status.cycles == program.cycles
    assert status.steps == sum(layer.cycles.steps for layer in program.layers)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("encoding", ["odd-level:2", "odd-level:3", "twos-complement:4", "symmetric:5"])
def test_recoded_sums_fit_accumulators_of_the_width_that_is_needed(encoding: str, raw: bool) -> None:
    """What is counted too much included, on inputs of nothing, of the largest, and random ones."""
    weights = Encoding.parse(encoding)
    geometry = GEOMETRY.replace(**_RECODED, encoding=weights.kind, max_weight_bits=weights.bits)
    for seed in range(10):
        network = random_network(seed, [23, 11, 4], encoding=weights, input_bits=3, code_bits=2, raw=raw)
        bits = compile_network(network, geometry).needs["accumulator_bits"]
        program = compile_network(network, geometry.replace(accumulator_bits=bits))
        with pytest.raises(ValueError, match=rf"--accumulator-bits {bits}$"):
            compile_network(network, geometry.replace(accumulator_bits=bits - 1))
        for inputs in (np.zeros(23, int), np.full(23, 7), np.random.default_rng(seed).integers(0, 8, 23)):
            for found, expected in zip(run_images(program, inputs), program.boundaries(inputs), strict=True):
                np.testing.assert_array_equal(found, expected)


def test_thresholded_last_layer_and_second_program() -> None:
    """Another network is loaded into the same engine, without generating anything anew."""
    first = random_network(1, [9, 6, 4], encoding=Encoding("odd-level", 2), input_bits=2, code_bits=2)
    second = random_network(2, [5, 8], encoding=Encoding("unsigned", 2), input_bits=8, code_bits=1, raw=False)
    with EngineClient(AmaranthTransport(GEOMETRY)) as client:
        for network in (first, second):
            client.load(compile_network(network, GEOMETRY))
            inputs = np.arange(network.inputs) % 2**network.input_bits
            client.run(inputs)
            for got, expected in zip(client.boundaries(), network.boundaries(inputs), strict=True):
                np.testing.assert_array_equal(got, expected)


def test_small_activation_memory_is_reused() -> None:
    network = random_network(3, [20, 20, 20, 20, 4], encoding=Encoding("odd-level", 2), input_bits=2, code_bits=2)
    geometry = GEOMETRY.replace(act_depth=9)
    program = compile_network(network, geometry)
    assert [result.overwritten for result in program.results] == [True, False, False, False]
    inputs = np.full(20, 3)
    with EngineClient(AmaranthTransport(geometry)) as client:
        client.load(program)
        client.run(inputs)
        np.testing.assert_array_equal(client.integers(program.output), network.boundaries(inputs)[-1])
        with pytest.raises(ValueError, match=r"\AIntegers of layer1 are overwritten by later layers"):
            client.integers(program.results[0])


def test_layout_round_trip() -> None:
    codes = np.arange(23) * 11 % 256
    layout = Layout((23,), 4, 5, 2)
    (words,) = layout.pack(codes)
    assert len(words) == layout.words == 4 * 5
    np.testing.assert_array_equal(layout.unpack([words]), codes)
    # Seven channels of two lines of three pixels: line by line, two words a pixel, digit by digit.
    codes = np.arange(42).reshape(7, 2, 3)
    layout = Layout((7, 2, 3), 3, 4, 2)
    (words,) = layout.pack(codes)
    assert len(words) == layout.words == 3 * 2 * 3 * 2
    assert words[2 * 4] == sum((int(codes[lane, 1, 1]) & 3) << 2 * lane for lane in range(4))
    assert words[12 + 2 * 4 + 1] == sum((int(codes[4 + lane, 1, 1]) >> 2 & 3) << 2 * lane for lane in range(3))
    np.testing.assert_array_equal(layout.unpack([words]), codes)
    weights = weight_words([[[1, 2, 3], [0, 1, 2]]], columns=2, lanes=2, lane_bits=2)
    assert weights == [0b01_00_10_01, 0b00_10_00_11]
    digits = weight_words([[[1, 2, 3]], [[7, 5, 4]]], columns=1, lanes=2, lane_bits=3)
    assert digits == [0b010_001, 0b000_011, 0b101_111, 0b000_100]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"weight_bits": 1}, r"layer1 has 2-bit weights, wider than the engine's 1: .*--max-weight-bits 2"),
        ({"output_bits": 1}, r"layer1 has 2-bit outputs, wider than the engine's 1: .*--output-bits 2"),
        ({"encoding": "unsigned"}, r"layer1 has odd-level weights, which an engine for unsigned ones .*--encoding any"),
        ({"accumulator_bits": 8}, r"layer1 has sums up to \d+, too wide for .* 8-bit accumulators: .*-bits 1\d"),
        ({"weight_depth": 4}, r"Weights of the network need \d+ words, \d+ more than .*--weight-depth \d+"),
        ({"threshold_depth": 8}, r"Thresholds of the network need 17 channels, 9 more than .*--threshold-depth 17"),
        ({"program_depth": 16}, r"Program of the network need \d+ words, .*--program-depth \d+"),
        ({"act_depth": 8}, r"Activations of the network need \d+ words, .*--act-depth \d+"),
        ({"result_depth": 2}, r"Results of the network need 4 words, 2 more than .*--result-depth 4"),
        (
            {"threshold_style": "requantize"},
            r"layer1 has thresholds in channel 0 that no multiplier gives, .* --threshold-style bank, search or serial",
        ),
        (
            {"threshold_style": "requantize", "convolution": True, "rescale": True, "wide_depth": 64},
            r"layer1 has thresholds in channel 0 that no multiplier gives, .* --threshold-style bank or search",
        ),
        ({"max_passes": 2}, r"layer1 needs 4 passes, more than the engine's 2: .*--max-passes 4"),
    ],
)
def test_refusals_name_the_parameter(changes, message) -> None:
    network = random_network(4, [17, 11, 6, 4], encoding=Encoding("odd-level", 2), input_bits=8, code_bits=2)
    geometry = GEOMETRY.replace(**changes)
    with pytest.raises(ValueError, match=rf"\A{message}"):
        compile_network(network, geometry)


def test_client_refuses_foreign_engines_and_wrong_inputs() -> None:
    network = random_network(5, [6, 4], encoding=Encoding("odd-level", 2), input_bits=2, code_bits=2)
    program = compile_network(network, GEOMETRY)
    with EngineClient(AmaranthTransport(GEOMETRY.replace(lanes=6))) as client:
        with pytest.raises(RuntimeError, match=re.escape("No program is loaded: call load() first")):
            client.run(np.zeros(6, int))
        with pytest.raises(RuntimeError, match=rf"\AProgram was compiled for engine {GEOMETRY.hash.hex()}, but"):
            client.load(program)
    with EngineClient(AmaranthTransport(GEOMETRY)) as client:
        client.load(program)
        with pytest.raises(ValueError, match=r"\AInput codes must be from 0 to 3, not 0 to 4"):
            client.run(np.array([0, 1, 2, 3, 4, 0]))
        with pytest.raises(ValueError, match=r"\AInput must be 6 integer codes, not int64 of shape \(5,\)"):
            client.run(np.zeros(5, int))
        with pytest.raises(ValueError, match=r"\AInput vectors must be from 1 to the 1 of a run, not 2"):
            client.run(np.zeros((2, 6), int))
