"""Models from elsewhere to integer networks: reading, cleaning and lowering in one call."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto

from evenstep.qonnx import read_network
from evenstep.qonnx.reader import MAX_BYTES
from evenstep.spec import Network, Weighted
from evenstep_golden.frontend.clean import clean_model, run_model
from evenstep_golden.frontend.concats import lower_concat
from evenstep_golden.frontend.ending import lower_end, pass_ending
from evenstep_golden.frontend.exact import ExactSum
from evenstep_golden.frontend.load import load_model
from evenstep_golden.frontend.lowering import Boundary, Lowering, NoZero
from evenstep_golden.frontend.nodes import lower_elementwise, lower_moving, lower_quantizer
from evenstep_golden.frontend.operators import ELEMENTWISE, ENDINGS
from evenstep_golden.frontend.pools import lower_pool, lower_sum
from evenstep_golden.frontend.products import lower_product

__all__ = ["Imported", "import_model", "import_network", "is_own_file"]

_LOWER: dict[str, Callable[[Lowering, NodeProto], None]] = {
    **dict.fromkeys(ELEMENTWISE, lower_elementwise),
    **dict.fromkeys(ENDINGS, pass_ending),
    **dict.fromkeys(("Conv", "MatMul", "Gemm"), lower_product),
    **dict.fromkeys(("MaxPool", "GlobalMaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean"), lower_pool),
    "Concat": lower_concat,
    **dict.fromkeys(
        ("Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold", "QuantizeLinear", "DequantizeLinear"),
        lower_quantizer,
    ),
    **dict.fromkeys(
        ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Pad", "Identity", "Dropout", "Cast"), lower_moving
    ),
}


@dataclass(frozen=True, eq=False)
class Imported:
    """An imported model.

    Parameters
    ----------
    network : Network
        The integers.
    model : ModelProto
        The cleaned model, which `evenstep_golden.frontend.clean.run_model` runs.
    input : Boundary
        Where the network's input codes are to be seen in the model.
    view : array of int64
        Which number of that tensor each of the network's inputs is; of the network's input shape.
    boundaries : dict of str to Boundary
        Where the integers of layers are to be seen, by the layer's name: of all but those that the model has no tensor
        for, such as sums that a bias has already been added to.
    scale : float
        What one step of the network's results is worth.
    sums : list of ExactSum
        The nodes of `model` that add, as integers; see `evenstep_golden.frontend.exact`.
    exact_boundaries : dict of str to Boundary
        Where the integers of layers of weights without thresholds are to be seen in the model with exact sums.
    """

    network: Network
    model: ModelProto
    input: Boundary
    view: np.ndarray
    boundaries: dict[str, Boundary]
    scale: float
    sums: list[ExactSum]
    exact_boundaries: dict[str, Boundary]

    def inputs_of(self, tensors: dict[str, np.ndarray]) -> np.ndarray:
        """The network's input codes, int64 (positions, ...), among all `tensors` of the model."""
        values = tensors[self.input.tensor].astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"{self.input.tensor} must hold finite numbers, which it does not for these inputs")
        codes = np.rint(values / self.input.unit + self.input.zero).astype(np.int64)
        return codes.reshape(len(codes), -1)[:, self.view]

    def encode(self, inputs: Any) -> np.ndarray:
        """Input codes for the model's float `inputs` (positions, ...): its nodes up to the first quantizer, run."""
        return self.inputs_of(run_model(self.model, inputs, last=self.input.tensor))


def _lower(model: ModelProto, name: str, doubled: frozenset[str]) -> Imported:
    lowering = Lowering(model, doubled)
    graph, node = model.graph, None
    try:
        for node in graph.node:
            two = node.op_type == "Add" and not any(map(lowering.is_constant, node.input))
            if node.op_type not in _LOWER:
                raise ValueError(f"{node.op_type} must be of constants, since it is no layer")
            (lower_sum if two else _LOWER[node.op_type])(lowering, node)
            if lowering.layers and not isinstance(lowering.layers[0], Weighted):
                raise ValueError(
                    f"{node.op_type} must follow a layer of weights, or come in front of the first quantizer, where "
                    "the host computes it"
                )
        node = None
        lower_end(lowering, graph.output[0].name)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        if node is None and isinstance(error, ValueError):
            raise
        where = f"output {graph.output[0].name!r}" if node is None else f"node {node.name!r}"
        raise ValueError(f"{where}: {error}") from error
    assert lowering.input is not None and lowering.view is not None
    layers = tuple(lowering.layers)
    view = lowering.view
    network = Network(layers, (), name, view.shape)
    last = layers[-1].name
    boundary = lowering.boundaries.get(last)
    unit = 1.0 if boundary is None else float(boundary.unit.flat[0])
    return Imported(
        network,
        model,
        lowering.input,
        view,
        lowering.boundaries,
        lowering.scales.get(last, unit),
        lowering.sums,
        lowering.exact_boundaries,
    )


def import_model(path: str | os.PathLike[str], *, name: str | None = None) -> Imported:
    """Import an ONNX model: as Brevitas or QKeras export it, as FINN streamlines it, or with QuantizeLinear nodes.

    Parameters
    ----------
    path : path
        File. External data is looked for in its folder.
    name : str, optional
        Name of the network; the file's, without its ending, if left out.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        The model is damaged or cannot be lowered; one line, which names the file and the node.
    """
    path = Path(path)
    try:
        model = clean_model(load_model(path))
        doubled: frozenset[str] = frozenset()
        while True:
            try:
                return _lower(model, path.stem if name is None else name, doubled)
            except NoZero as need:
                assert need.quantizer not in doubled
                doubled |= {need.quantizer}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def is_own_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file says that `evenstep.qonnx.write_network` wrote it."""
    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        return False
    return model.producer_name == "evenstep"


def import_network(path: str | os.PathLike[str], *, name: str | None = None) -> Network:
    """The network of an ONNX model: our own network files as they are, others as `import_model` imports them.

    Parameters and errors are those of `import_model`.
    """
    if not is_own_file(path):
        return import_model(path, name=name).network
    network = read_network(Path(path))
    return network if name is None else replace(network, name=name)
