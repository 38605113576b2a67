"""ONNX files from elsewhere, read with no trust: what can be refused before anything is computed is refused here.

Sizes are compared with what they claim before memory is taken, external data is looked for in the model's own folder
alone, and operators are known ones: a domain's name would otherwise choose which Python module the qonnx package
imports.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from evenstep.qonnx.reader import MAX_BYTES
from evenstep.qonnx.walk import text
from evenstep_golden.frontend.operators import CONSTANT, is_known

__all__ = ["MAX_NUMBERS", "check_finite", "check_sizes", "load_model"]

#: Numbers that one tensor, and all of a graph's tensors together, may hold.
MAX_NUMBERS, _MAX_TOGETHER = 2**27, 2**29


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"must be at most {MAX_BYTES} bytes, which it exceeds")
    return content


def _embed(tensor: TensorProto, folder: Path) -> None:
    """Put external data of a tensor into it."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if tensor.data_location != TensorProto.EXTERNAL:
        if entries:
            raise ValueError(f"tensor {tensor.name!r} must hold its data or name a file, not both")
        return
    location = Path(entries.get("location", ""))
    # Both as written and behind links.
    inside = not location.is_absolute() and ".." not in location.parts and location.name
    file = (folder / location).resolve()
    if not inside or not file.is_relative_to(folder.resolve()):
        raise ValueError(f"tensor {tensor.name!r} must have its data in the model's folder, not in {str(location)!r}")
    wanted = math.prod(tensor.dims) * np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(wanted)))
    except ValueError:
        raise ValueError(f"tensor {tensor.name!r} must have a number as offset and length of its data") from None
    if not file.is_file():
        raise ValueError(f"tensor {tensor.name!r} has its data in {str(location)!r}, which is no file")
    if length != wanted or offset < 0 or offset + length > file.stat().st_size:
        raise ValueError(f"tensor {tensor.name!r} must have the {wanted} bytes of its shape in {str(location)!r}")
    with file.open("rb") as opened:
        opened.seek(offset)
        tensor.raw_data = opened.read(length)
    del tensor.external_data[:]
    tensor.data_location = TensorProto.DEFAULT


def _check_size(name: str, shape: list[int]) -> int:
    if any(size < 0 for size in shape):
        raise ValueError(f"tensor {name!r} must not have the shape {shape}")
    size = math.prod(shape)
    if size > MAX_NUMBERS:
        raise ValueError(f"tensor {name!r} must hold at most {MAX_NUMBERS} numbers, not {size}")
    return size


def check_finite(name: str, values: np.ndarray, takers: Sequence[str]) -> None:
    """Raise `ValueError` where a constant holds numbers that float32, which is computed with, does not.

    `takers` are the nodes that take it.
    """
    if not np.issubdtype(values.dtype, np.floating):
        return
    with np.errstate(over="ignore"):
        wrong = values[~np.isfinite(values.astype(np.float32))]
    if wrong.size:
        by = f" (of node {takers[0]!r})" if takers else ""
        raise ValueError(f"tensor {name!r}{by} must be finite in float32, not {wrong.flat[0]}")


def _check_tensor(tensor: TensorProto, name: str, folder: Path, takers: dict[str, list[str]]) -> None:
    size = _check_size(name, list(tensor.dims))
    _embed(tensor, folder)
    unlike = f"tensor {name!r} must hold the numbers of its shape {list(tensor.dims)}"
    if tensor.HasField("raw_data"):
        try:
            wanted = size * np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
        except (KeyError, TypeError):
            raise ValueError(f"tensor {name!r} must be of a type of ONNX, not type {tensor.data_type}") from None
        # Types of less than a byte are packed.
        if len(tensor.raw_data) not in (wanted, (size + 1) // 2, (size + 3) // 4):
            raise ValueError(f"{unlike}, which it does not")
    try:
        values = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{unlike}, which it does not") from error
    check_finite(name, values, takers.get(name, ()))


def _names(graph: GraphProto) -> None:
    """Give every node without a name of its own one: the operator and a number, as Netron users will look for it."""
    counts = Counter(node.name for node in graph.node)
    numbers: Counter[str] = Counter()
    used = {name for name, count in counts.items() if name and count == 1}
    for node in graph.node:
        number, numbers[node.op_type] = numbers[node.op_type], numbers[node.op_type] + 1
        if node.name not in used:
            name = f"{node.op_type}_{number}"
            while name in used:
                name += "_"
            node.name = name
            used.add(name)


def _sort(graph: GraphProto, given: set[str]) -> None:
    """Bring nodes into an order in which they can run; raises `ValueError` where there is none."""
    givers: dict[str, str] = {}
    for node in graph.node:
        for name in node.output:
            if name and (name in givers or name in given):
                raise ValueError(f"node {node.name!r} must give a tensor of its own, which {name!r} is not")
            givers[name] = node.name
    for node in graph.node:
        for name in node.input:
            if name and name not in givers and name not in given:
                raise ValueError(f"node {node.name!r} takes {name!r}, which nothing gives")
    ready = set(given) | {""}
    waiting: list[NodeProto] = list(graph.node)
    ordered: list[NodeProto] = []
    while waiting:
        still = []
        for node in waiting:
            if ready.issuperset(node.input):
                ready.update(node.output)
                ordered.append(node)
            else:
                still.append(node)
        if len(still) == len(waiting):
            raise ValueError(f"nodes must not be in a cycle, as {_cycle(still, givers)} are")
        waiting = still
    if [node.name for node in ordered] != [node.name for node in graph.node]:
        copies = [NodeProto.FromString(node.SerializeToString()) for node in ordered]
        del graph.node[:]
        graph.node.extend(copies)


def _cycle(waiting: list[NodeProto], givers: dict[str, str]) -> str:
    """Names of the nodes of one cycle, among nodes that cannot run."""
    left = {node.name: node for node in waiting}
    seen: list[str] = []
    name = waiting[0].name
    while name not in seen:
        seen.append(name)
        name = next(givers[tensor] for tensor in left[name].input if givers.get(tensor) in left)
    return " and ".join(repr(one) for one in seen[seen.index(name) :][:5])


def _tensors(graph: GraphProto) -> Iterator[tuple[str, TensorProto]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield node.name, attribute.t


def check_sizes(graph: GraphProto) -> None:
    """Raise `ValueError` where a tensor's shape is larger than anything that could be computed."""
    total = 0
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        shape = [dimension.dim_value for dimension in tensor.shape.dim]
        total += _check_size(value.name, shape)
    if total > _MAX_TOGETHER:
        raise ValueError(f"tensors must hold at most {_MAX_TOGETHER} numbers together, not {total}")


def _check_input(graph: GraphProto, constants: set[str]) -> None:
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or not graph.output:
        raise ValueError(f"must have one input and an output, not {len(inputs)} and {len(graph.output)}")
    value = inputs[0]
    tensor = value.type.tensor_type
    dimensions = tensor.shape.dim
    if len(dimensions) not in (2, 4):
        raise ValueError(
            f"input {value.name!r} must have shape (batch, inputs) or (batch, channels, height, width), "
            f"not {len(dimensions)} dimensions"
        )
    if any(dimension.dim_value < 1 for dimension in dimensions[1:]):
        raise ValueError(f"input {value.name!r} must have fixed sizes but for the batch, not dynamic ones")
    if tensor.elem_type != TensorProto.FLOAT:
        raise ValueError(f"input {value.name!r} must be of float32, not ONNX type {tensor.elem_type}")
    if dimensions[0].dim_value < 1:
        dimensions[0].dim_value = 1
    _check_size(value.name, [dimension.dim_value for dimension in dimensions])


def load_model(path: Path) -> ModelProto:
    """Read an ONNX model whose nodes are known, named and in order, whose tensors are whole and lie within it.

    Raises
    ------
    ValueError
        It is none; the message does not name the file.
    OSError
        It cannot be read.
    """
    model = ModelProto()
    try:
        model.ParseFromString(_read_file(path))
    except DecodeError:
        raise ValueError(
            "must be an ONNX model, which its bytes are not: it may be truncated or of another kind"
        ) from None
    graph = model.graph
    if model.functions or graph.sparse_initializer:
        raise ValueError("must have no functions of its own and no sparse tensors")
    for node in graph.node:
        for one in (node.name, node.op_type, node.domain, *node.input, *node.output):
            text(one)
    _names(graph)
    unknown: defaultdict[str, list[str]] = defaultdict(list)
    for node in graph.node:
        if not is_known(node.domain, node.op_type):
            unknown[f"{node.op_type!r} of domain {node.domain!r}"].append(node.name)
        elif not node.output or (not node.input and node.op_type not in CONSTANT):
            raise ValueError(f"node {node.name!r} must have inputs and outputs")
    if unknown:
        listing = "; ".join(f"{kind} (node {', '.join(map(repr, names[:3]))})" for kind, names in unknown.items())
        raise ValueError(f"operators must be known ones, not {listing}")
    if not graph.node:
        raise ValueError("must have nodes, not none")
    constants = {tensor.name for tensor in graph.initializer}
    _check_input(graph, constants)
    takers: defaultdict[str, list[str]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            takers[name].append(node.name)
    for name, tensor in _tensors(graph):
        _check_tensor(tensor, name, path.parent, takers)
    _sort(graph, constants | {value.name for value in graph.input})
    return model
