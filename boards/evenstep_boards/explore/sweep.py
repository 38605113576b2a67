"""Sweeps: the arrays that are tried for a network."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from evenstep.checks import check_choice, check_int
from evenstep.gateware.timing import counter_latency, is_pipelined
from evenstep.spec import COUNTERS, PIECEWISE_STYLES, THRESHOLD_STYLES, WEIGHT_ENCODINGS, Geometry, Network
from evenstep.spec.layer import Dense, Weighted
from evenstep.spec.piecewise import PiecewiseEncoding
from evenstep.spec.wide import MultiThreshold

__all__ = ["Sweep"]

_RANGES = {
    "rows": (1, 64),
    "columns": (1, 256),
    "lanes": (1, 1024),
    "weight_bits": (1, 8),
    "act_bits": (1, 8),
    "counter_registers": (0, 16),
}
_CHOICES = {
    "threshold_style": THRESHOLD_STYLES,
    "counter": COUNTERS,
    "encoding": WEIGHT_ENCODINGS,
    "piecewise": PIECEWISE_STYLES,
}


@dataclass(frozen=True)
class Sweep:
    """Values of parameters of `Geometry`, each of which is tried with all others.

    Parameters
    ----------
    rows, columns, lanes : tuple of int
        Size of the array.
    weight_bits, act_bits : tuple of int
        Precision of the array; wider codes run as digits. Empty: those of the network, and half as wide.
    threshold_style, counter, encoding, piecewise : tuple of str
        Structures. No `piecewise`: all that the network can make use of; no `counter`: see `arrays`.
    counter_registers : tuple of int
        Most registers of a counter; 0: one behind each stage. Arrays that cannot have fewer are tried once.
    neighbours : tuple of bool
        Whether rows take neighbouring lines of one picture, or a picture each. Empty: both, where the network has
        pictures to be cut into lines.
    """

    rows: tuple[int, ...] = (1, 2, 4, 8, 16)
    columns: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    lanes: tuple[int, ...] = (4, 8, 16, 32, 64)
    weight_bits: tuple[int, ...] = ()
    act_bits: tuple[int, ...] = ()
    threshold_style: tuple[str, ...] = THRESHOLD_STYLES
    counter: tuple[str, ...] = ()
    counter_registers: tuple[int, ...] = (0,)
    encoding: tuple[str, ...] = ("any",)
    piecewise: tuple[str, ...] = ()
    neighbours: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            for value in getattr(self, name):
                check_int(name.replace("_", " ").capitalize(), value, low, high)
        for name, choices in _CHOICES.items():
            for value in getattr(self, name):
                check_choice(name.replace("_", " ").capitalize(), value, choices)

    def arrays(self, network: Network, counters: tuple[str, ...] = COUNTERS[:1]) -> Iterator[Geometry | str]:
        """Engines that may run `network`, with depths that are still to be chosen; or why there is none.

        They have `counters` where the sweep names none.
        """
        fixed, weight_bits, code_bits = _widths(network)
        swept = asdict(self)
        swept["weight_bits"] = self.weight_bits or _usual(weight_bits)
        swept["act_bits"] = self.act_bits or _usual(code_bits)
        swept["counter"] = self.counter or counters
        swept["piecewise"] = self.piecewise or (PIECEWISE_STYLES if fixed["breakpoints"] else PIECEWISE_STYLES[:1])
        flat = all(isinstance(layer, Dense) for layer in network.layers)
        swept["neighbours"] = self.neighbours or ((False,) if flat else (False, True))
        tried: set[Geometry] = set()
        for values in itertools.product(*swept.values()):
            chosen = dict(zip(swept, values, strict=True))
            registers = chosen.pop("counter_registers")
            chosen["convolution"] = not flat
            chosen["max_weight_bits"] = max(weight_bits, chosen["weight_bits"])
            try:
                array = _with_registers(Geometry(**fixed, **chosen), registers)
            except ValueError as error:
                yield str(error)
                continue
            if array not in tried:
                tried.add(array)
                yield array


def _with_registers(array: Geometry, most: int) -> Geometry:
    """The array with so many registers in its counters, if that leaves any out."""
    if not is_pipelined(array):
        return array
    fewer = array.replace(counter_registers=most)
    return fewer if counter_latency(fewer) < counter_latency(array) else array


def _usual(bits: int) -> tuple[int, ...]:
    """A width, at most 8, and half of it."""
    bits = min(bits, 8)
    return tuple(sorted({bits, -(-bits // 2)}))


def _widths(network: Network) -> tuple[dict[str, int], int, int]:
    """Parameters that a network fixes, the width of its weights, and that of its codes but for the input's."""
    weights, codes, breakpoints = [1], [1], 0
    for layer in network.layers:
        if isinstance(layer, Weighted):
            encoding = layer.encoding
            if isinstance(encoding, PiecewiseEncoding):
                breakpoints = max(breakpoints, encoding.breakpoints)
                weights.append(encoding.magnitude_bits + 1)
            else:
                weights.append(encoding.bits)
        thresholds = layer.thresholds if isinstance(layer, Weighted | MultiThreshold) else None
        if thresholds is not None:
            codes.append(thresholds.bits)
    return {"output_bits": max(codes), "breakpoints": breakpoints}, max(weights), max(codes)
