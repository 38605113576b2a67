"""What lowering knows while it goes through a model's nodes, and how integers become layers."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, helper, numpy_helper

from evenstep.qonnx.datatype import DATATYPE_KEY
from evenstep.spec import INPUT, Layer, MultiThreshold, Thresholds, fold_monotone
from evenstep_golden.frontend.exact import ExactSum
from evenstep_golden.frontend.operators import QONNX
from evenstep_golden.frontend.quantizers import Levels, QuantizedConstant
from evenstep_golden.frontend.steps import Step, apply_steps
from evenstep_golden.frontend.value import Floats, Value

__all__ = ["Boundary", "Lowering", "NoZero", "attribute"]

#: Integers of layers are smaller by far.
_LIMIT = 2.0**53


class NoZero(Exception):
    """A convolution pads codes of +-1, which have none for 0: the quantizer's codes must be doubled."""

    def __init__(self, quantizer: str) -> None:
        self.quantizer = quantizer


_KINDS = {
    int: AttributeProto.INT,
    float: AttributeProto.FLOAT,
    str: AttributeProto.STRING,
    tuple: AttributeProto.INTS,
}


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """Value of a node's attribute: strings as text, numbers as tuples.

    Raises
    ------
    TypeError
        It is of another kind than `default`.
    """
    for entry in node.attribute:
        if entry.name == name:
            wanted, given = (AttributeProto.AttributeType.Name(kind) for kind in (_KINDS[type(default)], entry.type))
            if given != wanted:
                raise TypeError(f"{name} must be an attribute of kind {wanted}, not {given}")
            value = helper.get_attribute_value(entry)
            if isinstance(value, bytes):
                return value.decode(errors="replace")
            return value if isinstance(value, int | float) else tuple(value)
    return default


@dataclass(frozen=True, eq=False)
class Boundary:
    """Where a layer's integers are to be seen in the model: numbers of a tensor are ``unit * (integer - zero)``.

    Parameters
    ----------
    tensor : str
        Name of the tensor.
    unit, zero : array of float64, shape (1,) or (channels,)
        What an integer is worth.
    shape : tuple of int
        Shape of the layer's result, the batch left out.
    axes : tuple of int or None
        Which axis of the layer's result each axis of the tensor is, the batch left out; None where it is flat.
    """

    tensor: str
    unit: np.ndarray
    zero: np.ndarray
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None

    def integers(self, values: np.ndarray) -> np.ndarray:
        """Integers of the tensor's `values` (positions, ...), int64 (positions, channels, ...).

        Raises
        ------
        ValueError
            A value is not near a multiple of the unit.
        """
        if self.axes is not None:
            values = values.transpose(0, *(1 + self.axes.index(axis) for axis in range(len(self.axes))))
        values = values.reshape(len(values), *self.shape)
        columns = (-1, *[1] * (values.ndim - 2))
        exact = values.astype(np.float64) / self.unit.reshape(columns) + self.zero.reshape(columns)
        with np.errstate(invalid="ignore"):  # what is infinite is near none
            near = (np.abs(exact - np.rint(exact)) <= 0.25) & (np.abs(exact) < _LIMIT)
        if not near.all():
            raise ValueError(f"{self.tensor} must hold integers times {self.unit.flat[0]:g}, which it does not")
        return np.rint(exact).astype(np.int64)


class Lowering:
    """Layers so far, and what is known of every tensor so far.

    Parameters
    ----------
    model : ModelProto
        Cleaned.
    doubled : set of str
        Quantizers whose codes are doubled.
    """

    def __init__(self, model: ModelProto, doubled: frozenset[str]) -> None:
        graph = model.graph
        self.doubled = doubled
        self.layers: list[Layer] = []
        self.boundaries: dict[str, Boundary] = {}
        self.sums: list[ExactSum] = []
        self.scales: dict[str, float] = {}
        self.exact_boundaries: dict[str, Boundary] = {}
        self._raw: dict[str, tuple[Boundary | None, Boundary | None]] = {}
        self.input: Boundary | None = None
        self.view: np.ndarray | None = None
        #: Tensors from which nodes at the end pick, by what these nodes give.
        self.picked: dict[str, str] = {}
        self.dequantized: dict[str, tuple[Levels, Value]] = {}
        self.tensors: dict[str, Value | Floats | QuantizedConstant | np.ndarray] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer
        }
        self.shapes = {
            value.name: tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.output, *graph.value_info)
        }
        self.outputs = {value.name for value in graph.output}
        self._uses = Counter(name for node in graph.node for name in node.input)
        self._uses.update(self.outputs)
        self._opsets = {entry.domain: entry.version for entry in model.opset_import}
        annotations = {
            annotation.tensor_name: entry.value
            for annotation in graph.quantization_annotation
            for entry in annotation.quant_parameter_tensor_names
            if entry.key == DATATYPE_KEY
        }
        for name, datatype in annotations.items():
            constant = self.tensors.get(name)
            if isinstance(constant, np.ndarray) and datatype.startswith(("INT", "UINT", "BI", "TERNARY")):
                try:
                    self.tensors[name] = QuantizedConstant.of_annotation(constant, datatype)
                except ValueError as error:
                    raise ValueError(f"tensor {name!r}: {error}") from error
        name = graph.input[0].name
        self.tensors[name] = Floats()
        if annotations.get(name, "").startswith(("INT", "UINT", "BI", "TERNARY")):
            levels = Levels.of_datatype(annotations[name])
            self.quantized_input(name, levels.doubled() if name in doubled else levels, name)

    def uses(self, tensor: str) -> int:
        """How many nodes take `tensor`; the model's output counts as one."""
        return self._uses[tensor]

    def give(self, node: NodeProto, result: Value | Floats | QuantizedConstant | np.ndarray) -> None:
        """Note what the first output of `node` is."""
        output = node.output[0]
        # What is quantized but not yet dequantized, only equal DequantizeLinears take: they are one.
        if isinstance(result, Value) and self._uses[output] > 1 and result.integral is None:
            result = replace(result, shared=True)
        self.tensors[output] = result

    def quantity(self, name: str) -> Value | Floats:
        """What is known of a tensor that is no constant."""
        known = self.tensors[name]
        if not isinstance(known, Value | Floats):
            raise ValueError(f"its input {name!r} must not be constant")
        return known

    def value(self, name: str) -> Value:
        """Integers behind a tensor; raises `ValueError` where there are none."""
        known = self.quantity(name)
        if isinstance(known, Floats):
            raise ValueError("its input must be quantized, but there is no quantizer between it and the model's input")
        if known.integral is not None:
            raise ValueError("its input must be dequantized, but there is no DequantizeLinear behind a QuantizeLinear")
        return known

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is constant, quantized or not; so is an input that is left out."""
        return not name or isinstance(self.tensors[name], np.ndarray | QuantizedConstant)

    def array(self, name: str) -> np.ndarray:
        """Numbers of a constant tensor."""
        known = self.tensors[name]
        if isinstance(known, QuantizedConstant):
            return known.value
        if not isinstance(known, np.ndarray):
            raise ValueError(f"its input {name!r} must be constant, which it is not")
        return known

    def columns(self, name: str, value: Value, tensor: str) -> np.ndarray:
        """A constant that meets `tensor` element by element, as a scalar or as one number for each channel."""
        array = self.array(name)
        if array.size == 1:
            return array.reshape(())
        shape = (1,) * (len(self.shapes[tensor]) - array.ndim) + array.shape
        long = [axis for axis, size in enumerate(shape) if size > 1]
        if len(long) != 1 or not self.is_channel_axis(long[0], value) or array.size != value.channels:
            raise ValueError(f"constant {name!r} must have one number, or one a channel, not shape {array.shape}")
        return array.reshape(-1)

    def is_channel_axis(self, axis: int, value: Value) -> bool:
        """Whether channels lie along an axis of a tensor, the batch being axis 0."""
        if value.axes is not None:
            return 1 <= axis <= len(value.axes) and value.axes[axis - 1] == 0
        return axis == 1 and all(size == 1 for size in value.shape[1:])

    def step(self, node: NodeProto, position: int, constants: dict[int, np.ndarray]) -> Step:
        """A node as a function of one number."""
        return Step(node, position, constants, self.opset(node))

    def opset(self, node: NodeProto) -> int:
        """Version of the operators of a node's domain."""
        return self._opsets[QONNX if node.domain == QONNX else ""]

    def add(self, layer: Layer, tensor: str, value: Value) -> Value:
        """Append a layer whose result is `value`, and is to be seen in `tensor`."""
        self.layers.append(layer)
        if not value.steps and value.order is None and value.table is None:
            self.boundaries[layer.name] = Boundary(tensor, value.unit, value.zero, value.shape, value.axes)
        return value

    def add_exactly(
        self,
        node: NodeProto,
        source: Value,
        unit: np.ndarray,
        weights: np.ndarray | None = None,
        window: int = 1,
        zeros: tuple[np.ndarray, ...] = (),
    ) -> None:
        """Note that a node adds integers, each worth `unit` of those that `source` takes.

        Parameters
        ----------
        zeros
            Zero points of all that it adds, where `source` is the sum of several results: two halves make a whole.
        """
        zeros = zeros or (source.zero,)
        if any((zero * 2 % 1).any() for zero in zeros):
            return
        halves = 2 if any((zero % 1).any() for zero in zeros) else 1
        largest = max(float(np.abs(end - source.zero).max()) for end in (source.low, source.high)) * halves * window
        # Both scales with their signs: the multiples are then the integers themselves, negative scale or not.
        axis = 1 if source.axes is None else 1 + source.axes.index(0)
        grain, unit = source.unit / halves, unit / halves
        self.sums.append(ExactSum(node.name, grain, unit, weights, window, int(largest), axis))

    def see_sums(self, tensor: str, source: Value, value: Value) -> None:
        """Note where the sums of a layer of weights on `source` are to be seen, if it will have no thresholds."""
        whole = np.array([1.0 if not (source.zero % 1).any() else 2.0])
        exact = Boundary(f"{tensor}:sums", whole, value.zero, value.shape, value.axes)
        self._raw[value.source] = (
            None if value.steps else Boundary(tensor, value.unit, value.zero, value.shape, value.axes),
            exact if any(one.node == value.source for one in self.sums) else None,
        )

    def taken(self, value: Value) -> tuple[str, ...]:
        """Sources of a layer on `value`; the first layer settles how the network's inputs lie."""
        if value.source == INPUT:
            if self.view is not None and not np.array_equal(self.view, value.view):  # type: ignore[arg-type]
                raise ValueError("the model's input must be used in one shape, not in several")
            self.view = value.view
        return (value.source,)

    def settled(self, value: Value) -> Value:
        """The same integers as results of layers: sums that wait for thresholds, and a pool that waits for them."""
        if value.raw is not None:
            if all(layer.name != value.raw.name for layer in self.layers):
                self.layers.append(value.raw)
                plain, exact = self._raw[value.source]
                if plain is not None:
                    self.boundaries[value.source] = plain
                if exact is not None:
                    self.exact_boundaries[value.source] = exact
            value = replace(value, raw=None)
        if value.pool is not None:
            if not value.rises(value.pooled).all():
                channel = int(np.argmin(value.rises(value.pooled)))
                raise ValueError(f"channel {channel} must not fall in front of {value.pool.name!r}, as it does")
            self.layers.append(replace(value.pool, sources=(value.source,)))
            value = replace(value, source=value.pool.name, pool=None)
        return value

    def quantized_input(self, tensor: str, levels: Levels, quantizer: str) -> Value:
        """The network's input: what the first quantizer gives."""
        shape = self.shapes[tensor][1:]
        if len(shape) not in (1, 3):
            raise ValueError(f"it must quantize (batch, inputs) or (batch, channels, height, width), not {shape}")
        if levels.bits > 16:
            raise ValueError(f"it must have at most 16 bits, not {levels.bits}")
        if levels.unit.size != 1 or levels.zero.size != 1:
            raise ValueError("its scale and zero point must be one for all channels of the model's input")
        axes = None if len(shape) == 1 else tuple(range(len(shape)))
        self.input = Boundary(tensor, levels.unit, levels.zero, shape, axes)
        view = np.arange(int(np.prod(shape))).reshape(shape)
        value = Value.codes(INPUT, shape, levels, quantizer, axes=axes, view=view)
        self.tensors[tensor] = value
        return value

    @staticmethod
    def _check_pairs(
        source: Value, chain: Value, find: Callable[[np.ndarray], np.ndarray], thresholds: Thresholds
    ) -> None:
        """Compare thresholds with the model on every pair of codes added; raise `ValueError` where they differ."""
        assert source.table is not None
        integers, numbers = source.table.integers, source.table.numbers
        for start in range(0, len(integers), 4096):
            points = np.repeat(numbers[start : start + 4096, None], source.channels, axis=1)
            sums = np.repeat(integers[start : start + 4096, None], source.channels, axis=1)
            if not np.array_equal(find(apply_steps(chain.steps, points)), thresholds.apply(sums)):
                raise ValueError(
                    f"sums of {source.source!r} must be of one scale: those of two are too close to tell them apart"
                )

    def quantize(
        self,
        node: NodeProto,
        source: Value | Floats,
        levels: Levels,
        step: Step | None,
        codes_of: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        """Quantize `source` by `step`, whose numbers are those of `levels`.

        Parameters
        ----------
        codes_of
            Gives the codes of the numbers behind `step`; left out, those of `levels`.
        """
        output = node.output[0]
        if node.name in self.doubled:
            levels = levels.doubled()
        if isinstance(source, Floats):
            if self.input is not None:
                raise ValueError("the model's input must have one quantizer, not several")
            self.give(node, self.quantized_input(output, levels, node.name))
            return
        chain = replace(source, steps=source.steps if step is None else (*source.steps, step), integral=None)
        find = levels.codes if codes_of is None else codes_of

        def codes(y: np.ndarray) -> np.ndarray:
            return find(chain.real(y))

        if source.bits is not None and source.pool is None:
            points = source.grid()
            if len(points) == source.high[0] + 1 and np.array_equal(codes(points), points):
                same = replace(source, unit=levels.unit, zero=levels.zero, steps=(), integral=None)
                self.give(node, replace(same, bits=source.bits, quantizer=node.name))
                return
            if source.source == INPUT and not source.shared:
                self.give(node, self.quantized_input(output, levels, node.name))
                return
        if levels.bits > 8:
            raise ValueError(f"it must have at most 8 bits, not {levels.bits}")
        thresholds = fold_monotone(codes, bits=levels.bits, low=source.low, high=source.high)
        if source.table is not None:
            self._check_pairs(source, chain, find, thresholds)
        given = Value.codes("", source.shape, levels, node.name, axes=source.axes, order=source.order)
        pool = source.pool
        if pool is not None:
            before = source.real(source.grid(), source.pooled)
            rises, falls = (np.diff(before, axis=0) >= 0).all(axis=0), (np.diff(before, axis=0) <= 0).all(axis=0)
            level = codes(source.low[None])[0] == codes(source.high[None])[0]
            if (level | np.where(thresholds.flips, falls, rises)).all():
                # What follows the pool never falls: the largest number has the largest code.
                source = replace(source, pool=None)
            else:
                source, pool = self.settled(source), None
        raw = source.raw
        if raw is not None and not source.shared:
            layer: Layer = replace(raw, thresholds=thresholds)
        else:
            source = self.settled(source)
            layer = MultiThreshold(node.name, thresholds, self.taken(source))
        given = replace(given, source=layer.name)
        if pool is None:
            self.give(node, self.add(layer, output, given))
        else:
            self.layers.append(layer)
            given = replace(given, source=pool.name)
            self.give(node, self.add(replace(pool, sources=(layer.name,)), output, given))
