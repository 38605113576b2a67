"""Concat nodes of models from elsewhere: joined along channels wherever these lie, or refused with a way out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper

from evenstep.spec import Concat
from evenstep_golden.frontend import Imported, check_import, import_model
from tests.golden.onnx_models import build, quant, save

node = helper.make_node
RANDOM = np.random.default_rng(0)
CONSTANTS: dict[str, Any] = {
    **{"zero": 0.0, "b8": 8.0, "b4": 4.0, "b3": 3.0, "one": 1.0, "half": 0.5, "few": 3.0, "more": 5.0},
    "w": RANDOM.integers(-3, 4, (4, 5)) * 1.0,
    "w2": RANDOM.integers(-3, 4, (9, 2)) * 1.0,
    "k": RANDOM.integers(-3, 4, (2, 3, 1, 1)) * 1.0,
    "k2": RANDOM.integers(-3, 4, (2, 5, 2, 2)) * 1.0,
    "k4": RANDOM.integers(-3, 4, (2, 4, 2, 2)) * 1.0,
    "c": np.zeros((1, 5)),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
}


def imported(nodes: list[NodeProto], shape: tuple[int, ...], folder: Path) -> Imported:
    """The network of a model of `nodes`, in whose names are those of their outputs."""
    for one in nodes:
        one.name = one.name or one.output[0]
    return import_model(save(build(nodes, shape, CONSTANTS), folder / "n.onnx"))


def check_equal(model: Imported, *shape: int) -> None:
    inputs = np.random.default_rng(1).integers(0, 16, (100, *shape)).astype(np.float32)
    checks = check_import(model, inputs, exact=True)
    assert {layer.name for layer in model.network.layers if isinstance(layer, Concat)} <= set(checks)
    assert all(check.integers and not check.differences for check in checks.values()), checks


def vectors(*, scale: str = "few", bits: str = "b4", axis: int = 1) -> list[NodeProto]:
    """The input's codes beside those of a layer."""
    return [
        quant("x", "few", "b4", "input", signed=0),
        quant("w", "one", "b4", "weights"),
        node("MatMul", ["input", "weights"], ["sums"]),
        quant("sums", scale, bits, "codes", signed=0),
        node("Concat", ["input", "codes"], ["joined"], axis=axis),
        quant("w2", "one", "b4", "weights2"),
        node("MatMul", ["joined", "weights2"], ["y"]),
    ]


@pytest.mark.parametrize("axis", [1, -1])
def test_vectors_are_joined(tmp_path: Path, axis: int) -> None:
    model = imported(vectors(axis=axis), (1, 4), tmp_path)
    joined = next(layer for layer in model.network.layers if isinstance(layer, Concat))
    assert joined == Concat("joined", ("input", "sums"))
    check_equal(model, 4)


def pictures(axis: int, *, last: bool = False) -> list[NodeProto]:
    """Pictures of three channels beside those of a layer; with `last`, these twice, channels along the last axis."""
    names = ["moved", "moved"] if last else ["input", "codes"]
    return [
        quant("x", "few", "b4", "input", signed=0),
        quant("k", "one", "b4", "weights"),
        node("Conv", ["input", "weights"], ["sums"]),
        quant("sums", "few", "b4", "codes", signed=0),
        *([node("Transpose", ["codes"], ["moved"], perm=[0, 2, 3, 1])] if last else []),
        node("Concat", names, ["joined"], axis=axis),
        *([node("Transpose", ["joined"], ["first"], perm=[0, 3, 1, 2])] if last else []),
        quant("k4" if last else "k2", "one", "b4", "weights2"),
        node("Conv", ["first" if last else "joined", "weights2"], ["y"], pads=[1, 1, 1, 1]),
    ]


@pytest.mark.parametrize(("axis", "last"), [(1, False), (-3, False), (3, True), (-1, True)])
def test_pictures_are_joined_along_their_channels(tmp_path: Path, axis: int, last: bool) -> None:
    model = imported(pictures(axis, last=last), (1, 3, 4, 5), tmp_path)
    assert model.network.types()["joined"].shape == (4 if last else 5, 4, 5)
    check_equal(model, 3, 4, 5)


def test_floats_are_joined_by_the_host(tmp_path: Path) -> None:
    """In front of the first quantizer; and one tensor by itself is joined with nothing."""
    nodes = [
        node("Concat", ["x", "x", "x"], ["long"], axis=1),
        quant("long", "few", "b4", "input", signed=0),
        quant("w2", "one", "b4", "weights"),
        node("Concat", ["input"], ["alone"], axis=1),
        node("MatMul", ["alone", "weights"], ["y"]),
    ]
    model = imported(nodes, (1, 3), tmp_path)
    assert (len(model.network.layers), model.network.inputs) == (1, 9)


@pytest.mark.parametrize(
    ("nodes", "shape", "message"),
    [
        (
            vectors(bits="b3"),
            (1, 4),
            "it must join codes of one width, not 4-bit ones of 'input' and 3-bit ones of 'codes': quantize them with "
            "one quantizer",
        ),
        (
            [*vectors()[:3], node("Concat", ["input", "sums"], ["y"], axis=1)],
            (1, 4),
            "its input 'sums' must be quantized in front of it, as all of them must, by one scale",
        ),
        (
            [*vectors()[:4], node("Concat", ["codes", "c"], ["y"], axis=1)],
            (1, 4),
            "its input 'c' must not be constant",
        ),
        (
            [*vectors()[:4], node("Concat", ["codes", "codes"], ["y"], axis=0)],
            (1, 4),
            "it must join channels, before they are flattened, and not along axis 0",
        ),
        ([*pictures(2)[:4], node("Concat", ["codes", "codes"], ["y"], axis=2)], (1, 3, 4, 5), "it must join channels"),
        (
            [*pictures(1)[:4], node("Flatten", ["codes"], ["flat"]), node("Concat", ["flat", "flat"], ["y"], axis=1)],
            (1, 3, 4, 5),
            "it must join channels, before they are flattened, and not along axis 1",
        ),
        (
            [*pictures(1)[:4], node("Pad", ["codes", "pads"], ["p"]), node("Concat", ["p", "p"], ["y"], axis=1)],
            (1, 3, 4, 5),
            "a Pad must be followed by a Conv",
        ),
        (
            [*vectors()[:4], node("Relu", ["x"], ["r"]), node("Concat", ["codes", "r"], ["y"], axis=1)],
            (1, 4),
            "its input must be quantized, but there is no quantizer between it and the model's input",
        ),
    ],
)
def test_what_cannot_be_joined_is_refused(
    tmp_path: Path, nodes: list[NodeProto], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        imported(nodes, shape, tmp_path)
    name = nodes[-1].name if nodes[-1].op_type == "Concat" else "joined"
    assert str(error.value).startswith(f"{tmp_path / 'n.onnx'}: node {name!r}: {message}")


def test_scales_of_several_quantizers_are_refused_by_layers_of_weights(tmp_path: Path) -> None:
    message = (
        r"node 'y': scale and zero point of its input, of 'joined', must be one for all channels, unless it is "
        r"depthwise: quantize it, or all that it joins, with one quantizer$"
    )
    with pytest.raises(ValueError, match=message):
        imported(vectors(scale="more"), (1, 4), tmp_path)
