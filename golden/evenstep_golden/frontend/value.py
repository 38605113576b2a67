"""What the import knows of a tensor: the integers behind it, and the functions that make its numbers of them."""

from dataclasses import dataclass, replace

import numpy as np

from evenstep.spec import Conv, Dense, MaxPool
from evenstep_golden.frontend.quantizers import Levels, snap
from evenstep_golden.frontend.steps import Step, apply_steps

__all__ = ["Floats", "Value"]

_GRID = 1025


@dataclass(frozen=True)
class Floats:
    """A tensor between the model's input and its first quantizer, which the host computes.

    Parameters
    ----------
    integral : tuple of int or None
        As of `Value`.
    """

    integral: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """All sums of two codes that have scales of their own: integers, and the numbers that the model adds.

    Parameters
    ----------
    integers : array of int64, shape (pairs,)
        Ascending.
    numbers : array of float32, shape (pairs,)
        As the model computes them. Next to each other, two may be in the wrong order by a rounding.
    """

    integers: np.ndarray
    numbers: np.ndarray

    def at(self, y: np.ndarray) -> np.ndarray:
        """Number of the largest pair up to each of `y`; never falls."""
        places = np.searchsorted(self.integers, y, side="right") - 1
        return np.maximum.accumulate(self.numbers)[np.maximum(places, 0)]


@dataclass(frozen=True, eq=False)
class Value:
    """Integers ``y`` of a layer, and the real numbers that they stand for: `steps` of ``unit * (y - zero)``.

    Parameters
    ----------
    source : str
        Name of the layer that gives the integers, or `evenstep.spec.INPUT`.
    shape : tuple of int
        Shape of the tensor as the network has it: ``(channels,)`` or ``(channels, height, width)``.
    unit, zero : array of float64, shape (1,) or (channels,)
        What the integers are worth.
    low, high : array of int64, shape (channels,)
        How far they reach.
    bits : int or None
        Width of the integers if they are codes.
    quantizer : str
        Node that gave the codes.
    steps : tuple of Step
        Functions of the real numbers, one number at a time.
    raw : Dense, Conv or None
        The layer of weights whose sums the integers are, as long as thresholds may yet join it.
    shared : bool
        Whether something else takes the same integers, or numbers made of them.
    pool : MaxPool or None
        A pool that stands behind the first `pooled` steps, and has no layer yet.
    pooled : int
        See `pool`.
    axes : tuple of int or None
        Which axis of `shape` each axis of the tensor is, the batch left out; None where the tensor is flat.
    order : array of int64 or None
        Of a flat tensor, which number of the network's order each of its numbers is; None if the order is the same.
    padding : tuple of int
        Zeros around a picture: top, left, bottom, right.
    integral : tuple of int or None
        Smallest and largest number behind a `QuantizeLinear` whose `DequantizeLinear` is to come.
    view : array of int64 or None
        Of the model's input: which number of the tensor that was quantized each of the network's inputs is.
    table : Table or None
        Numbers of all integers that there can be, where they are not `unit` times the integers to the last bit.
    """

    source: str
    shape: tuple[int, ...]
    unit: np.ndarray
    zero: np.ndarray
    low: np.ndarray
    high: np.ndarray
    bits: int | None = None
    quantizer: str = ""
    steps: tuple[Step, ...] = ()
    raw: Dense | Conv | None = None
    shared: bool = False
    pool: MaxPool | None = None
    pooled: int = 0
    axes: tuple[int, ...] | None = None
    order: np.ndarray | None = None
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    integral: tuple[int, int] | None = None
    view: np.ndarray | None = None
    table: "Table | None" = None

    @classmethod
    def codes(cls, source: str, shape: tuple[int, ...], levels: Levels, quantizer: str, **kept: object) -> "Value":
        """Codes of a quantizer."""
        low = np.zeros(shape[0], np.int64)
        return cls(
            source,
            shape,
            levels.unit,
            levels.zero,
            low,
            low + levels.top,
            levels.bits,
            quantizer,
            **kept,  # type: ignore[arg-type]
        )

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[0]

    @property
    def is_upright(self) -> bool:
        """Whether the tensor's axes are those of the network."""
        return self.axes is not None and self.axes == tuple(range(len(self.axes)))

    def real(self, y: np.ndarray, steps: int | None = None) -> np.ndarray:
        """Real numbers of integers `y`, shape (points, channels), after all or the first few `steps`.

        What the integers are worth is rounded to float32 once; from there on the model's own nodes run.
        """
        with np.errstate(over="ignore"):
            worth = self.table.at(y) if self.table is not None else (self.unit * (y - self.zero)).astype(np.float32)
        numbers = apply_steps(self.steps[:steps], worth)
        if not np.isfinite(numbers).all():
            raise ValueError(f"numbers behind the integers of {self.source!r} must be finite, which they are not")
        return numbers

    def grid(self) -> np.ndarray:
        """Integers over each channel's range, shape (points, channels): all of them where they are few."""
        points = min(_GRID, int((self.high - self.low).max()) + 1)
        return np.linspace(self.low, self.high, max(2, points)).astype(np.int64)

    def rises(self, steps: int | None = None) -> np.ndarray:
        """Whether the real numbers of each channel never fall where the integers rise."""
        return np.asarray((np.diff(self.real(self.grid(), steps), axis=0) >= 0).all(axis=0))

    def straightened(self) -> "Value":
        """The same numbers without steps, in float64.

        Raises
        ------
        ValueError
            A step is not a line: numbers must be quantized behind it.
        """
        if self.table is not None:
            raise ValueError(f"what {self.source!r} adds, of two scales, must be quantized first")
        unit, zero = self.unit, self.zero
        for index, step in enumerate(self.steps):
            constant = step.constants.get(1 - step.position)
            number = None if constant is None else constant.astype(np.float64).reshape(-1)
            match step.operator, step.position:
                case ("Mul", _) if number is not None and number.all():
                    unit = unit * number
                case ("Div", 0) if number is not None and number.all():
                    unit = unit / number
                case ("Add", _) if number is not None:
                    zero = snap(zero - number / unit)
                case ("Sub", 0) if number is not None:
                    zero = snap(zero + number / unit)
                case ("BatchNormalization", 0):
                    gain, bias, mean, variance = (step.constants[place].astype(np.float64) for place in range(1, 5))
                    epsilon = next((entry.f for entry in step.node.attribute if entry.name == "epsilon"), 1e-5)
                    with np.errstate(divide="ignore", invalid="ignore"):  # of a variance that is none
                        gain = gain / np.sqrt(variance + epsilon)
                    wrong = gain[(gain == 0) | ~np.isfinite(gain)]
                    if wrong.size:
                        raise ValueError(f"gain of {step.node.name!r} must be finite and not 0, not {wrong[0]:g}")
                    zero = snap(zero - (bias / gain - mean) / unit)
                    unit = unit * gain
                case _:
                    points = self.grid()
                    before, after = self.real(points, index), self.real(points, index + 1)
                    # A rectifier of what is never negative, for example.
                    if len(points) == _GRID or not np.array_equal(before, after):
                        raise ValueError(
                            f"{step.node.name!r} ({step.operator}) must be followed by a quantizer: its numbers are no "
                            "integers times a scale"
                        )
        return replace(self, unit=unit, zero=zero, steps=())
