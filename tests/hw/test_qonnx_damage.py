"""Network files of graphs that are damaged: each is refused with one line that names the node."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from evenstep.qonnx import read_network
from evenstep.qonnx.writer import network_model
from tests.damage import read_damaged
from tests.hw.networks import whole_network

REUSED_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
WHOLE = network_model(whole_network()).SerializeToString()


def change(model: ModelProto, name: str, values: np.ndarray, dtype: type = np.float32) -> None:
    """Give a constant other values, of `dtype`."""
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(values.astype(dtype), name))


def double(name: str, *values: int, shape: tuple[int, ...] = (1, -1, 1, 1)) -> Callable[[ModelProto], None]:
    return lambda model: change(model, name, np.array(values).reshape(shape), np.float64)


def scalar(name: str, value: float, dtype: type = np.float64) -> Callable[[ModelProto], None]:
    return lambda model: change(model, name, np.array(value), dtype)


def node(model: ModelProto, name: str) -> NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def attribute(name: str, key: str, value: Any) -> Callable[[ModelProto], None]:
    """Give a node another attribute."""

    def damage(model: ModelProto) -> None:
        kept = [entry for entry in node(model, name).attribute if entry.name != key]
        del node(model, name).attribute[:]
        node(model, name).attribute.extend([*kept, helper.make_attribute(key, value)])

    return damage


def source(name: str, tensor: str, index: int = 0) -> Callable[[ModelProto], None]:
    return lambda model: node(model, name).input.__setitem__(index, tensor)


def operator(name: str, kind: str) -> Callable[[ModelProto], None]:
    return lambda model: setattr(node(model, name), "op_type", kind)


def layer_key(tensor: str, value: str) -> Callable[[ModelProto], None]:
    """Give a constant's annotation another kind of layer."""

    def damage(model: ModelProto) -> None:
        (annotation,) = [entry for entry in model.graph.quantization_annotation if entry.tensor_name == tensor]
        kept = [entry for entry in annotation.quant_parameter_tensor_names if entry.key == "finn_datatype"]
        del annotation.quant_parameter_tensor_names[:]
        annotation.quant_parameter_tensor_names.extend(kept)
        annotation.quant_parameter_tensor_names.add(key="evenstep_layer", value=value)

    return damage


def encoding(tensor: str, text: str) -> Callable[[ModelProto], None]:
    def damage(model: ModelProto) -> None:
        (annotation,) = [entry for entry in model.graph.quantization_annotation if entry.tensor_name == tensor]
        annotation.quant_parameter_tensor_names[1].value = text

    return damage


def reverse(model: ModelProto) -> None:
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def extra_taker(tensor: str) -> Callable[[ModelProto], None]:
    """Let a node of its own take a tensor in the middle of a layer."""
    return lambda model: model.graph.node.append(helper.make_node("Floor", [tensor], ["extra"], name="extra"))


def two_regions(model: ModelProto) -> None:
    change(model, "weights8_3", np.ones((3, 3, 1, 1)))
    change(model, "weights8_5", np.ones((3, 3, 1, 1)))


DAMAGES: list[tuple[Callable[[ModelProto], object], str]] = [
    (operator("join", "Sub"), "node 'join': operator must be MatMul or Conv or Flatten or Pad or MaxPool or Cast or"),
    (lambda m: node(m, "join").output.append("x"), "node 'join' (Add) must have inputs and one output"),
    (lambda m: node(m, "stem_pad").ClearField("input"), "node 'stem_pad' (Pad) must have inputs and one output"),
    (reverse, "node 'alone': its input 'flipped21' must be the result of a layer before it, which it is not"),
    (source("straight", "saturated5"), "node 'straight': its input 'saturated5' must be the result of a layer before"),
    (source("join", "floor3"), "node 'bent_floor': it must be followed by Clip alone"),
    (source("bent", "sums1"), "depthwise must be used by a later layer, which it is not"),
    (
        lambda m: node(m, "join").output.__setitem__(0, "sums2"),
        "node 'join' must give a tensor of its own, which 'sums2'",
    ),
    (
        lambda m: setattr(node(m, "straight"), "name", "bent"),
        "node 'straight_float': Names of layers must differ, which 'bent'",
    ),
    (
        lambda m: setattr(node(m, "depthwise"), "name", "input"),
        "node 'input': Names of layers must differ, which 'input'",
    ),
    # Convolutions and their padding
    (attribute("stem_pad", "mode", "reflect"), "node 'stem_pad': mode must be 'constant', not 'reflect'"),
    (
        lambda m: change(m, "pads1", np.array([0, 1, 0, 0, 0, 0, 0, 0]), np.int64),
        "node 'stem_pad': pads must be 8 numbers",
    ),
    (
        lambda m: change(m, "pads1", np.array([0, 0, 9, 0, 0, 0, 0, 0]), np.int64),
        "node 'stem': Padding of stem must be an",
    ),
    (lambda m: change(m, "pads1", np.zeros(8)), "node 'stem_pad': tensor 'pads1' must be of int64, not ONNX type 1"),
    (scalar("padding1", 8, np.float32), "node 'stem': Padding code of stem must be an integer from 0 to 7, not 8"),
    (
        scalar("padding1", np.nan, np.float32),
        "node 'stem_pad': tensor 'padding1' must hold integers below 16777216, not nan",
    ),
    (lambda m: change(m, "padding1", np.zeros(2)), "node 'stem_pad': tensor 'padding1' must hold one number, not 2"),
    (lambda m: node(m, "stem_pad").input.pop(), "node 'stem_pad': Pad must have 3 inputs, not 2"),
    (attribute("stem", "pads", [1, 1, 1, 1]), "node 'stem': pads must be 0 behind a Pad, not (1, 1, 1, 1)"),
    (attribute("stem", "kernel_shape", [3, 2]), "node 'stem': kernel_shape must be (3, 3), not (3, 2)"),
    (attribute("stem", "strides", [1]), "node 'stem': strides must be 2 numbers, not (1,)"),
    (attribute("stem", "strides", [1, 99]), "node 'stem': Stride of stem must be an integer from 1 to 16, not 99"),
    (attribute("stem", "pads", [0, 0]), "node 'stem': pads must be 4 numbers, not (0, 0)"),
    (attribute("stem", "dilations", 2), "node 'stem': dilations must be an attribute of kind INTS"),
    (attribute("stem", "auto_pad", "SAME_UPPER"), "node 'stem': auto_pad must be 'NOTSET', not 'SAME_UPPER'"),
    (attribute("stem", "other", 1), "node 'stem': attributes must be kernel_shape or strides or pads or"),
    (attribute("depthwise", "group", 1), "node 'depthwise': depthwise takes pictures of 1 channels, not shape (3, "),
    (lambda m: node(m, "depthwise").input.append("bias"), "node 'depthwise': Conv must have 2 inputs, not 3"),
    (
        lambda m: change(m, "weights2", np.zeros((3, 2))),
        "node 'depthwise': weights must have shape (outputs, inputs, hei",
    ),
    (
        encoding("weights2", "piecewise:16:1"),
        "node 'depthwise': Piecewise encoding must read like 'piecewise:3:1', not",
    ),
    (
        layer_key("weights2", "Conv"),
        "node 'depthwise': evenstep_layer of a Conv's weights must be 'SumPool' or left out",
    ),
    (
        attribute("stem_thresholds", "data_layout", "NHWC"),
        "node 'stem_thresholds': data_layout must be 'NCHW', not 'NHWC'",
    ),
    (
        lambda m: change(m, "signs1", np.array([[-1, 1, -1]])),
        "node 'stem_flip': tensor 'signs1' must have one number for",
    ),
    # Rescaling and adding
    (attribute("bent", "to", TensorProto.FLOAT), "node 'bent': Cast must be to float64, not ONNX type 1"),
    (attribute("bent_float", "to", TensorProto.DOUBLE), "node 'bent_float': Cast must be to float32, not ONNX type 11"),
    (double("multiplier3", 1, 2), "node 'bent_bias': A line's multiplier and bias must be as many, not 2 and 3"),
    (
        double("multiplier3", 1, 2, 3, shape=(1, 3)),
        "node 'bent_multiply': tensor 'multiplier3' must have one number for",
    ),
    (double("multiplier3", 1, 2, 2**40), "node 'bent_bias': A line's multiplier must be below 4294967296 in magnitude"),
    (double("knee3", 1, 2), "node 'bent_float': Knee and lines of bent must have the same channels"),
    (
        lambda m: change(m, "bias3", np.zeros((1, 3, 1, 1))),
        "node 'bent_bias': tensor 'bias3' must be of float64, not ONNX",
    ),
    (scalar("half3", 1), "node 'bent_divide': what is added before the division by 4 must be 2, not 1"),
    (scalar("divisor3", 6), "node 'bent_divide': divisor must be a power of two, not 6"),
    (scalar("divisor3", 2**50), "node 'bent_divide': what is added before the division"),
    (scalar("divisor3", -4), "node 'bent_divide': divisor must be a power of two, not -4"),
    (
        scalar("divisor3", np.inf),
        "node 'bent_divide': tensor 'divisor3' must hold integers below 9007199254740992, not inf",
    ),
    (scalar("low3", -63), "node 'bent_clip': limits must be those of a two's complement number, not -63 and 63"),
    (operator("bent_floor", "Ceil"), "node 'bent_floor': operator must be Floor, not 'Ceil' of domain ''"),
    (operator("bent_above", "Greater"), "node 'bent': it must be followed by one Mul, or by two and a GreaterOrEqual"),
    (source("bent_above", "knee3"), "node 'bent': it must be followed by one Mul, or by two and a GreaterOrEqual"),
    (source("bent_choose", "line3", 2), "node 'bent_choose': it must choose between the two lines"),
    (source("bent_round", "half3"), "node 'bent_choose': it must be followed by Add alone"),
    (extra_taker("chosen3"), "node 'bent_choose': it must be followed by Add alone"),
    (extra_taker("line3"), "node 'bent_choose': its input 'line3' must not be used elsewhere"),
    (extra_taker("codes1"), "node 'extra': operator must be MatMul or"),
    (source("join", "half3", 1), "node 'join': its input 'half3' must be the result of a layer before it"),
    (
        scalar("high5", 30, np.float32),
        "node 'join_clip': limits must be those of a two's complement number, not -32 and",
    ),
    (source("join", "wide4"), "bent must be used by a later layer, which it is not"),
    # Pools
    (attribute("largest", "ceil_mode", 1), "node 'largest': ceil_mode must be 0, not 1"),
    (attribute("largest", "kernel_shape", [2**40, 2]), "node 'largest': largest takes pictures as large as its (1099"),
    (attribute("largest", "kernel_shape", [2]), "node 'largest': kernel_shape must be 2 numbers, not (2,)"),
    (
        attribute("largest", "pads", [2, 0, 0, 0]),
        "node 'largest': Padding of largest must be an integer from 0 to 1, not 2",
    ),
    (
        lambda m: change(m, "ones12", np.full((3, 1, 2, 1), 2)),
        "node 'sum': weights of a sum must be ones of shape (3, 1, h",
    ),
    (attribute("sum", "group", 1), "node 'sum': group must be 3, not 1"),
    (attribute("sum", "pads", [1, 0, 0, 0]), "node 'sum': pads must be (0, 0, 0, 0), not (1, 0, 0, 0)"),
    (source("sum", "largest10"), "node 'sum': its input must be of float32"),
    (source("twice", "largest10"), "node 'twice': its inputs must be of float32"),
    # Concatenations
    (attribute("joined", "axis", 2), "node 'joined': axis must be 1, that of the channels, not 2"),
    (lambda m: node(m, "joined").ClearField("attribute"), "node 'joined': axis must be 1, that of the channels, not 0"),
    (attribute("joined", "to", 1), "node 'joined': attributes must be axis, not 'to'"),
    (source("joined", "largest10", 1), "node 'joined': its inputs must be of float32"),
    (source("joined", "half3", 1), "node 'joined': its input 'half3' must be the result of a layer before it"),
    (lambda m: node(m, "joined").input.pop(), "node 'joined': Sources of joined must be two layers or more, not ('c"),
    (source("all", "saturated13", 1), "node 'all': all must join codes, but twice gives integers from"),
    (source("all", "codes1", 1), "node 'all': all must join tensors of one height and width, not (3, "),
    # Piecewise linear weights
    (encoding("weights8_1", "piecewise:2:3"), "node 'pieces_flip': operator must be Add, not 'Mul' of domain ''"),
    (encoding("weights8_1", "piecewise:1:2"), "node 'pieces': Magnitude of piecewise:1:2 must be from 0 to 1, not 2"),
    (
        two_regions,
        "node 'pieces': terms of piecewise:2:2 weights must be of one region for each weight, which they are not",
    ),
    (
        lambda m: change(m, "weights8_2", np.zeros((3, 3, 1, 2))),
        "node 'pieces': weights of all its terms must have one shape, not several",
    ),
    (double("constants8_2", 1), "node 'pieces': constants of all its terms must have one shape, not several"),
    (double("constants8_2", 1, 2, -3), "node 'pieces': Constants must be from 0 to 16777215, not -3"),
    (
        source("pieces_term2", "codes1"),
        "node 'pieces_term2': it must take and do what 'pieces' does: both are terms of",
    ),
    (attribute("pieces_term2", "strides", [2, 2]), "node 'pieces_term2': it must take and do what 'pieces' does"),
    (source("pieces_sum2", "scaled8_3", 1), "node 'pieces_sum2': its terms must be of the same weights"),
    (source("pieces_sum2", "thresholds1", 1), "node 'pieces_sum2': its input 'thresholds1' must come from a node"),
    (operator("pieces_term2_double", "Floor"), "node 'pieces_term2_double': operator must be Cast, not 'Floor'"),
    (attribute("pieces_double", "to", 1), "node 'pieces_double': Cast must be to float64, not ONNX type 1"),
    (
        lambda m: change(m, "thresholds8", np.zeros((3, 3))),
        "node 'pieces_thresholds': tensor 'thresholds8' must be of float6",
    ),
    (operator("pieces_narrow", "Floor"), "node 'pieces_narrow': operator must be Cast, not 'Floor' of domain ''"),
    # Fully connected layers on pictures
    (attribute("flat_flatten", "axis", 2), "node 'flat_flatten': axis must be 1, not 2"),
    (source("flat", "codes14"), "node 'flat': MatMul must follow a Flatten where its input is a picture"),
    (
        lambda m: m.graph.input[0].type.tensor_type.shape.dim.pop(),
        "input 'input' must have shape (batch, inputs) or (batch",
    ),
    (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 0),
        "input 'input' must have shape (batch, inputs) or (batch",
    ),
    (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 2**62),
        "node 'flat': flat takes 72 inputs, not ",
    ),
    (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.DOUBLE),
        "input 'input' must be of float32, not ONNX type 11",
    ),
    (
        lambda m: setattr(m.graph.output[0], "name", "sums20"),
        "output must be 'codes21', the result of the last layer, not",
    ),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=range(len(DAMAGES)))
def test_damaged_models_are_refused_with_a_reason(
    tmp_path: Path, damage: Callable[[ModelProto], object], message: str
) -> None:
    model, path = ModelProto.FromString(WHOLE), tmp_path / "n.onnx"
    damage(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        read_network(path)
    assert str(error.value).startswith(f"{path}: {message}")


@settings(REUSED_FOLDER, max_examples=200)
@given(data=st.data())
def test_damaged_bytes_give_a_network_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    read_damaged(data, WHOLE, tmp_path / "n.onnx", read_network)


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    for name in (b"whole", b"stem_pad", b"MaxPool", b"weights2", b"codes1", b"evenstep_encoding", b"finn_datatype"):
        assert name in WHOLE
        path.write_bytes(WHOLE.replace(name, b"\xff" + name[1:]))
        with pytest.raises(ValueError, match=r"^[^\n]*: names must be in UTF-8, which b'\\xff\w+' is not$"):
            read_network(path)
