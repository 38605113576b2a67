"""Models that cannot be imported: each is refused with one line that names what is wrong."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from evenstep_golden.frontend import import_network
from tests.damage import read_damaged
from tests.golden.onnx_models import QONNX, finn, qkeras, save

WHOLE = qkeras()


def node(model: ModelProto, name: str) -> NodeProto:
    return next(one for one in model.graph.node if name in (one.name, *one.output))


def constant(name: str, values: Any) -> Callable[[ModelProto], None]:
    def damage(model: ModelProto) -> None:
        (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
        array = np.asarray(values)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        tensor.CopyFrom(numpy_helper.from_array(array, name))

    return damage


def own(name: str, output: str, place: int, values: Any) -> Callable[[ModelProto], None]:
    """Give a node a constant of its own."""

    def damage(model: ModelProto) -> None:
        node(model, output).input[place] = f"own_{name}"
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(values, np.float32), f"own_{name}"))

    return damage


def kind(name: str, operator: str, domain: str = "") -> Callable[[ModelProto], None]:
    def damage(model: ModelProto) -> None:
        node(model, name).op_type, node(model, name).domain = operator, domain

    return damage


def source(name: str, tensor: str, place: int = 0) -> Callable[[ModelProto], None]:
    return lambda model: node(model, name).input.__setitem__(place, tensor)


def attribute(name: str, key: str, value: Any) -> Callable[[ModelProto], None]:
    def damage(model: ModelProto) -> None:
        kept = [entry for entry in node(model, name).attribute if entry.name != key]
        del node(model, name).attribute[:]
        node(model, name).attribute.extend([*kept, helper.make_attribute(key, value)])

    return damage


def size(place: int, value: int | None) -> Callable[[ModelProto], None]:
    """Give the input another size, or an unknown one."""

    def damage(model: ModelProto) -> None:
        dimension = model.graph.input[0].type.tensor_type.shape.dim[place]
        dimension.Clear()
        if value is not None:
            dimension.dim_value = value

    return damage


def external(location: str, **entries: str) -> Callable[[ModelProto], None]:
    def damage(model: ModelProto) -> None:
        tensor = model.graph.initializer[-1]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=value)

    return damage


def claimed(name: str, *dims: int) -> Callable[[ModelProto], None]:
    """Let a constant claim another shape than it has."""

    def damage(model: ModelProto) -> None:
        (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
        tensor.dims[:] = dims

    return damage


NAN = float("nan")
DAMAGES: list[tuple[Callable[[ModelProto], Any], str]] = [
    # Graphs
    (source("picture", "biased"), "nodes must not be in a cycle, as 'Transpose_1' and 'Add_0' and 'conv' are"),
    (source("picture", "nothing"), "node 'Transpose_1' takes 'nothing', which nothing gives"),
    (
        lambda m: node(m, "relu").output.__setitem__(0, "sums"),
        "node 'Relu_0' must give a tensor of its own, which 'sums'",
    ),
    (kind("relu", "Resize"), "operators must be known ones, not 'Resize' of domain '' (node 'Resize_0')"),
    (kind("relu", "Relu", "os"), "operators must be known ones, not 'Relu' of domain 'os' (node 'Relu_0')"),
    (kind("input", "Quant", "subprocess"), "operators must be known ones, not 'Quant' of domain 'subprocess'"),
    (kind("input", "FloatQuant", QONNX), "operators must be known ones, not 'FloatQuant'"),
    (lambda m: m.graph.ClearField("node"), "must have nodes, not none"),
    (lambda m: m.graph.ClearField("output"), "must have one input and an output, not 1 and 0"),
    (
        lambda m: m.graph.input.append(helper.make_tensor_value_info("z", 1, [1, 2])),
        "must have one input and an output",
    ),
    (lambda m: m.ClearField("opset_import"), "must say which version of ONNX's operators it uses"),
    # Shapes
    (size(1, None), "input 'x' must have fixed sizes but for the batch, not dynamic ones"),
    (size(2, 2**40), "tensor 'x' must hold at most 134217728 numbers, not 26388279066624"),
    (size(3, 3), "node 'conv': conv takes pictures of 2 channels, not shape (3, 12, 12)"),
    (
        lambda m: m.graph.input[0].type.tensor_type.shape.dim.pop(),
        "input 'x' must have shape (batch, inputs) or (batch, channels, height, width), not 3 dimensions",
    ),
    (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.INT8),
        "input 'x' must be of float32, not ONNX type 3",
    ),
    (
        constant("flat", np.array([-1, 2**40])),
        "node 'Reshape_1': shape of its result must be known before it runs, and",
    ),
    (
        constant("flat", np.array([1, 5, 36])),
        "node 'dense_layer': shape of its result must be known before it runs, and",
    ),
    (
        source("vector", "sums", 1),
        "node 'Reshape_1': shape of its result must be known before it runs, and",
    ),
    (claimed("kernel", 2**20, 2**20), "tensor 'kernel' must hold at most 134217728 numbers, not 1099511627776"),
    (claimed("kernel", 2**62, 2**62), "tensor 'kernel' must hold at most 134217728 numbers"),
    (claimed("kernel", -1, 5), "tensor 'kernel' must not have the shape [-1, 5]"),
    (claimed("kernel", 3, 3, 2, 6), "tensor 'kernel' must hold the numbers of its shape [3, 3, 2, 6]"),
    (
        constant("dense", np.zeros((180, 3, 4))),
        "node 'dense_layer': shape of its result must be known before it runs, and",
    ),
    (
        constant("kernel", np.zeros((3, 3, 5))),
        "node 'Transpose_0': shape of its result must be known before it runs, and",
    ),
    (
        constant("kernel", np.zeros((3, 3, 3, 5))),
        "node 'conv': conv takes pictures of 3 channels, not shape (2, 12, 12)",
    ),
    (constant("bias", np.zeros((5, 2))), "node 'Reshape_0': cannot reshape array of size 10 into shape (1,5,1,1)"),
    (
        constant("dense_bias", np.zeros((4, 10))),
        "node 'Add_1': constant 'dense_bias_quant' must have one number, or one",
    ),
    # Quantizers
    (own("scale", "input", 1, NAN), "tensor 'own_scale' (of node 'input') must be finite in float32, not nan"),
    (
        own("scale", "kernel_quant", 1, [[[[np.inf]]]]),
        "tensor 'own_scale' (of node 'kernel_quant') must be finite in float32, not in",
    ),
    (own("scale", "codes", 1, 0), "node 'codes': its scale must be positive and finite, not 0"),
    (own("scale", "kernel_quant", 1, -0.5), "node 'kernel_quant': its scale must be positive and finite, not -0.5"),
    (own("bits", "codes", 3, 2.5), "node 'codes': its number of bits must be whole, not 2.5"),
    (own("bits", "codes", 3, 0), "node 'codes': its number of bits must be from 1 to 32, not 0"),
    (own("bits", "codes", 3, 1e9), "node 'codes': its number of bits must be from 1 to 32, not 1000000000"),
    (own("bits", "codes", 3, 1e30), "node 'codes': its number of bits must be below 2**31 in magnitude, not 1e+30"),
    (own("zero", "codes", 2, -(2.0**31)), "node 'codes': its zero point must be below 2**31 in magnitude, not -2.14"),
    (own("zero", "dense_quant", 2, 1e19), "node 'dense_quant': its zero point must be below 2**31 in magnitude, not 1"),
    (own("bits", "codes", 3, [2, 3]), "node 'codes': its number of bits must be one number, not 2"),
    (own("bits", "codes", 3, 9), "node 'codes': it must have at most 8 bits, not 9"),
    (own("bits", "input", 3, 20), "node 'input': it must have at most 16 bits, not 20"),
    (own("bits", "kernel_quant", 3, 24), "node 'conv': Weight bits must be an integer from 1 to 16, not 24"),
    (own("zero", "codes", 2, 0.5), "node 'codes': its zero point must be whole, not 0.5"),
    (
        own("scale", "dense_quant", 1, np.ones((180, 1)) + np.arange(180)[:, None]),
        "node 'dense_layer': scale of its weig",
    ),
    (own("scale", "input", 1, [1, 2]), "node 'input': its scale and zero point must be one for all channels"),
    (source("codes", "nothing", 1), "node 'codes' takes 'nothing', which nothing gives"),
    (lambda m: node(m, "codes").input.pop(), "node 'codes': Quant must have 4 inputs, not 3"),
    (attribute("codes", "rounding_mode", "SOMEHOW"), "node 'codes': the qonnx package does not take Quant: Could"),
    (
        attribute("bias_quant", "rounding_mode", 3),
        "node 'bias_quant': rounding_mode must be an attribute of kind STRING, not INT",
    ),
    (attribute("codes", "signed", "no"), "node 'codes': signed must be an attribute of kind INT, not STRING"),
    (
        source("picture", "x"),
        "node 'conv': its input must be quantized, but there is no quantizer between it and the mod",
    ),
    (
        source("weights", "kernel"),
        "node 'conv': it has float weights: 'weights' must be quantized, or have a data type",
    ),
    (
        source("logits", "dense", 1),
        "node 'dense_layer': it has float weights: 'dense' must be quantized, or have a data",
    ),
    (
        source("vector", "relu"),
        "node 'dense_layer': its input must be quantized, but there is no quantizer behind 'Relu_",
    ),
    (kind("relu", "Abs"), "node 'codes': Channel 0 is not monotone"),
    (kind("biased", "Clip"), "node 'codes': onnxruntime does not take Clip: "),
    (lambda m: node(m, "biased").input.append("bias_columns"), "node 'Add_0': Add must have 2 inputs, not 3"),
    (source("weights", ""), "node 'Transpose_0': Transpose must have the input 'data', not none"),
    # Layers
    (attribute("conv", "group", 2), "node 'conv': "),
    (
        attribute("conv", "strides", [17, 17]),
        "node 'Reshape_1': shape of its result must be known before it runs, and",
    ),
    (attribute("conv", "dilations", [2, 2, 2]), "node 'conv': shape of its result must be known before it runs, and"),
    (
        attribute("conv", "auto_pad", "SOMEHOW"),
        "node 'Reshape_1': shape of its result must be known before it runs, and",
    ),
    (
        attribute("picture", "perm", [1, 0, 2, 3]),
        "node 'Transpose_1': it must keep the batch, and transpose pictures, not",
    ),
    (kind("relu", "Softmax"), "node 'Softmax_0': Softmax must be the model's last node"),
    # Data in other files
    (external("../secret"), "tensor 'flat' must have its data in the model's folder, not in '../secret'"),
    (external("/etc/passwd"), "tensor 'flat' must have its data in the model's folder, not in '/etc/passwd'"),
    (external("link"), "tensor 'flat' must have its data in the model's folder, not in 'link'"),
    (
        external("inside/../../secret"),
        "tensor 'flat' must have its data in the model's folder, not in 'inside/../../secr",
    ),
    (external(""), "tensor 'flat' must have its data in the model's folder, not in '.'"),
    (external("none"), "tensor 'flat' has its data in 'none', which is no file"),
    (external("short"), "tensor 'flat' must have the 16 bytes of its shape in 'short'"),
    (external("short", offset="-4", length="16"), "tensor 'flat' must have the 16 bytes of its shape in 'short'"),
    (external("short", length=str(2**40)), "tensor 'flat' must have the 16 bytes of its shape in 'short'"),
    (external("short", offset="many"), "tensor 'flat' must have a number as offset and length of its data"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file that is too short, and a link that leads out of it."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_bytes(bytes(16))
    inside = outside / "models"
    inside.mkdir()
    (inside / "short").write_bytes(bytes(8))
    os.symlink(outside / "secret", inside / "link")
    return inside


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=range(len(DAMAGES)))
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_damaged_models_are_refused_with_a_reason(
    folder: Path, damage: Callable[[ModelProto], Any], message: str
) -> None:
    model = ModelProto.FromString(WHOLE.SerializeToString())
    damage(model)
    path = save(model, folder / "n.onnx")
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        import_network(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_missing_data_types_are_refused(tmp_path: Path) -> None:
    model = finn()
    for name, message in (
        ("kernel", "node 'conv': it has float weights: 'kernel' must be quantized, or have a data type"),
        ("dense", "node 'dense_layer': it has float weights: 'dense' must be quantized, or have a data type"),
        ("x", "node 'conv': its input must be quantized, but there is no quantizer between it and the model's input"),
    ):
        damaged = ModelProto.FromString(model.SerializeToString())
        kept = [entry for entry in damaged.graph.quantization_annotation if entry.tensor_name != name]
        del damaged.graph.quantization_annotation[:]
        damaged.graph.quantization_annotation.extend(kept)
        path = save(damaged, tmp_path / "n.onnx")
        with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
            import_network(path)
        assert str(error.value) == f"{path}: {message}"


def test_data_types_that_numbers_do_not_have_are_refused(tmp_path: Path) -> None:
    model = finn()
    for entry in model.graph.quantization_annotation:
        if entry.tensor_name == "dense":
            entry.quant_parameter_tensor_names[0].value = "INT3"
    with pytest.raises(
        ValueError, match=r"n\.onnx: tensor 'dense': its integers must be of type INT3, which -?\d is not$"
    ):
        import_network(save(model, tmp_path / "n.onnx"))


@pytest.mark.parametrize("content", [b"", b"\x08", b"no model at all", WHOLE.SerializeToString()[:-100]])
def test_bytes_that_are_no_model_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "n.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]*n\.onnx: must [^\n]*$"):
        import_network(tmp_path / "n.onnx")


@pytest.mark.parametrize("name", [b"conv", b"Transpose", b"weights", b"qonnx.custom_op"])
def test_names_that_are_no_text_are_refused(tmp_path: Path, name: bytes) -> None:
    content = WHOLE.SerializeToString()
    assert name in content
    (tmp_path / "n.onnx").write_bytes(content.replace(name, b"\xff" + name[1:]))
    with pytest.raises(ValueError, match=r"^[^\n]*: names must be in UTF-8, which b'\\xff[^\n]*' is not$"):
        import_network(tmp_path / "n.onnx")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_bytes_give_a_network_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    read_damaged(data, WHOLE.SerializeToString(), tmp_path / "n.onnx", import_network)
