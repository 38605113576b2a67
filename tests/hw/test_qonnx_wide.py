"""Network files of weights whose sums reach 2**24: they are written in digits, and stay exact."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper

from evenstep.qonnx import read_network, write_network
from evenstep.qonnx.terms import weight_terms
from evenstep.qonnx.writer import network_model
from evenstep.spec import (
    Conv,
    Dense,
    Encoding,
    Layer,
    Line,
    MultiThreshold,
    Network,
    PiecewiseEncoding,
    Rescale,
    Thresholds,
    Weighted,
)
from evenstep_golden.executor import run_qonnx
from tests.hw.networks import encodings

REUSED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
EIGHT = Encoding("twos-complement", 8)
#: Sums of the extreme layers reach up to 255 * 127 * 4608, far beyond 2**24.
INPUTS = 4608


def extreme_codes(shape: tuple[int, ...]) -> np.ndarray:
    """Four channels of 8-bit codes: all largest, all smallest, both by turns, large ones at random."""
    codes = np.random.default_rng(1).integers(192, 256, shape)
    codes[0], codes[1] = 255, 0
    codes[2] = np.arange(codes[2].size).reshape(shape[1:]) % 2 * 255
    return codes


def pictures(count: int, shape: tuple[int, ...]) -> np.ndarray:
    """8-bit codes: the first picture white, the second almost, the others random but bright."""
    codes = np.random.default_rng(2).integers(128, 256, (count, *shape))
    codes[0] = codes[1] = 255
    codes[1].flat[0] = 254
    return codes


def dense(thresholds: Thresholds | None = None) -> Dense:
    return Dense("wide", extreme_codes((4, INPUTS)), EIGHT, 8, thresholds)


def conv(thresholds: Thresholds | None = None) -> Conv:
    return Conv("wide", extreme_codes((4, 512, 3, 3)), EIGHT, 8, thresholds, padding=(1, 0, 1, 1))


def steps(layer: Weighted, inputs: np.ndarray) -> Thresholds:
    """Thresholds at sums of the first two pictures, which are one weight apart, and next to them."""
    sums = np.moveaxis(layer.sums(inputs[:2]), 1, 0).reshape(4, -1)
    assert np.abs(sums).max() > 2**26
    low, high = sums.min(axis=1), sums.max(axis=1)
    return Thresholds(np.stack([low, low + 1, high], axis=1), [False, True, True, False])


def line(multiplier: int, bias: int) -> Line:
    return Line(np.array([multiplier, -multiplier, multiplier, 1]), np.full(4, bias))


def check(path: Path, network: Network, inputs: np.ndarray) -> ModelProto:
    """Check that a network is written, read back and run; the model is returned."""
    write_network(network, path)
    assert read_network(path) == network
    for expected, got in zip(network.boundaries(inputs), run_qonnx(path, inputs), strict=True):
        np.testing.assert_array_equal(expected, got)
    return ModelProto.FromString(path.read_bytes())


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("make", [dense, conv])
@pytest.mark.parametrize("end", ["raw", "thresholds", "rescale", "apart"])
def test_sums_beyond_float32_are_exact(tmp_path: Path, make: Callable[..., Dense | Conv], end: str) -> None:
    shape = (512, 3, 3) if make is conv else (INPUTS,)
    inputs = pictures(4, shape)
    layers: dict[str, tuple[Layer, ...]] = {
        "raw": (make(),),
        "thresholds": (
            make(steps(make(), inputs)),
            Dense("head", np.ones((1, 4 if make is dense else 24), int), EIGHT, 2),
        ),
        "rescale": (make(), Rescale("scaled", line(2**20 + 1, 2**30), 26, 20, np.full(4, 2**24 + 1), line(2**18, 5))),
        "apart": (make(), MultiThreshold("codes", steps(make(), inputs))),
    }
    network = Network(layers[end], (), "wide", shape)
    model = check(tmp_path / "n.onnx", network, inputs)
    product = "Conv" if make is conv else "MatMul"
    assert operators(model)[:7] == [product, "Cast", "Mul", product, "Cast", "Mul", "Add"]


def test_odd_sums_are_told_from_their_neighbours(tmp_path: Path) -> None:
    """An odd sum above 2**24 does not exist in float32: were anything in it, thresholds would miss by one."""
    layer = Dense("wide", np.full((1, 600), 255), EIGHT, 8)
    total = 600 * 255 * 127
    assert total > 2**24 and int(np.float32(total - 127)) != total - 127
    thresholds = Thresholds(np.array([[total - 127, total - 126, total]]))
    network = Network((Dense("wide", layer.codes, EIGHT, 8, thresholds),))
    inputs = np.full((3, 600), 255)
    inputs[1, 0] = 254
    inputs[2, 0] = 253
    check(tmp_path / "n.onnx", network, inputs)
    np.testing.assert_array_equal(run_qonnx(tmp_path / "n.onnx", inputs)[0].ravel(), [3, 1, 0])


def test_piecewise_terms_are_split_where_they_must_be(tmp_path: Path) -> None:
    """Both zeros are kept; the plane of signs, whose sums are small, stays whole."""
    encoding = PiecewiseEncoding(7, np.array([[1, 3, 5], [0, 2**23, 2**24 - 1]]))
    random = np.random.default_rng(3)
    region, negative = random.integers(0, 2, (2, 2, 1200))
    magnitude = random.integers(120, 128, (2, 1200)) * (random.random((2, 1200)) < 0.9)
    layer = Dense("wide", encoding.pack(region, negative, magnitude), encoding, 8)
    model = check(tmp_path / "n.onnx", Network((layer,)), pictures(5, (1200,)))
    assert operators(model).count("MatMul") == 5
    zeros = (region == 0) & (magnitude == 0)
    assert set(negative[zeros]) == {0, 1}


@settings(REUSED_FOLDER, max_examples=60)
@given(encoding=encodings(16), bits=st.integers(9, 14), inputs=st.integers(1, 400), seed=st.integers(0, 99))
def test_few_digits_keep_all_sums_below_the_limit(
    tmp_path: Path, encoding: Encoding, bits: int, inputs: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    codes = random.integers(encoding.min_code, encoding.max_code + 1, (3, inputs))
    layer = Dense("wide", codes, encoding, bits)
    terms = weight_terms(layer)
    for term in terms:
        assert np.abs(term.weights).sum(axis=1).max() * layer.max_activation < 2**24
    np.testing.assert_array_equal(sum(term.weights * term.constants for term in terms), layer.weights())
    whole = np.abs(layer.weights()).sum(axis=1).max() * layer.max_activation
    assert (len(terms) == 1) == (whole < 2**24)
    write_network(Network((layer,)), tmp_path / "n.onnx")
    assert read_network(tmp_path / "n.onnx") == Network((layer,))


def small_wide() -> ModelProto:
    """A wide layer of two digits of one bit."""
    return network_model(Network((Dense("fc", np.array([[0, 100, 5], [7, 255, 9]]), EIGHT, 16),)))


def test_sums_that_double_cannot_hold_are_not_written(tmp_path: Path) -> None:
    encoding = PiecewiseEncoding(15, np.full((1, 3), 2**24 - 1))
    layer = Dense("wide", encoding.pack([[0]], [[0]], [[2**15 - 1]]), encoding, 16)
    message = rf"^Sums of wide must be below {2**53} to be exact in float64, not reach {(2**24 - 1) * 32767 * 65535}$"
    with pytest.raises(ValueError, match=message):
        write_network(Network((layer,)), tmp_path / "n.onnx")


def entries(model: ModelProto, tensor: str):
    return next(
        entry.quant_parameter_tensor_names
        for entry in model.graph.quantization_annotation
        if entry.tensor_name == tensor
    )


def constant(name: str, *values: float) -> Callable[[ModelProto], None]:
    """Give a constant other values."""

    def damage(model: ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.array(values, np.float64), name))

    return damage


def digits(text: str) -> Callable[[ModelProto], None]:
    return lambda model: setattr(entries(model, "weights1_1")[2], "value", text)


def narrow(model: ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "weights1_2")
    tensor.CopyFrom(numpy_helper.from_array(np.ones((3, 1), np.float32), "weights1_2"))


DAMAGES: list[tuple[Callable[[ModelProto], object], str]] = [
    (digits("2"), "node 'fc': Digits of weights must read like '2:4', not '2'"),
    (digits("1:4"), "node 'fc': Digits of weights must read like '2:4', not '1:4'"),
    (digits("18:1"), "node 'fc': Digits of weights must read like '2:4', not '18:1'"),
    (digits("2:17"), "node 'fc': Digits of weights must read like '2:4', not '2:17'"),
    (digits("2:2"), "node 'fc_sum2': it must add a digit, 4 times as heavy as the first"),
    (digits("3:1"), "node 'fc_sum2': it must be followed by Add alone"),
    (
        lambda m: entries(m, "weights1_1").pop(1),
        "node 'fc': weights in digits must have an annotation 'evenstep_encoding'",
    ),
    (lambda m: entries(m, "weights1_1").pop(2), "node 'fc': data type of twos-complement:8 weights must be INT8, not"),
    (constant("constants1_1", 2), "node 'fc_sum2': it must add a digit, 2 times as heavy as the first"),
    (
        lambda m: (constant("constants1_1", 2)(m), constant("constants1_2", 4)(m)),
        "node 'fc': constants of its first digit must be 1",
    ),
    (constant("constants1_2", 2, 3), "node 'fc_sum2': it must add a digit, 2 times as heavy as the first"),
    (constant("constants1_2", 2, 2), "node 'fc_sum2': it must add a digit, 2 times as heavy as the first"),
    (narrow, "node 'fc_sum2': it must add a digit, 2 times as heavy as the first"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=range(len(DAMAGES)))
def test_damaged_digits_are_refused_with_a_reason(
    tmp_path: Path, damage: Callable[[ModelProto], object], message: str
) -> None:
    model, path = small_wide(), tmp_path / "n.onnx"
    damage(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        read_network(path)
    assert str(error.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(("value", "message"), [(2**23, "weights in digits must be below 16777216"), (99, "Weight ")])
def test_digits_of_weights_that_are_too_large_are_refused(tmp_path: Path, value: int, message: str) -> None:
    model, path = small_wide(), tmp_path / "n.onnx"
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "weights1_2")
    tensor.CopyFrom(numpy_helper.from_array(np.full((3, 2), value, np.float32), "weights1_2"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=f"^{path}: node 'fc[^']*': {message}"):
        read_network(path)
