"""What is measured: elements, arrays and threshold units, of our structures and of plain ones, on each target."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amaranth.lib import wiring

from evenstep.gateware.array import PEArray
from evenstep.gateware.count import Counter, PortableCounter, create_counter
from evenstep.gateware.counters.form import CellForm
from evenstep.gateware.counters.plans import create_chain_plan
from evenstep.gateware.counters.tree import TreeCounter
from evenstep.gateware.element import ChainElement, ProcessingElement
from evenstep.gateware.thresholds.create import create_threshold_unit
from evenstep.gateware.thresholds.unit import ThresholdUnit
from evenstep.gateware.timing import array_latency
from evenstep.spec import Geometry
from evenstep.spec.geometry import COUNTERS, THRESHOLD_STYLES
from evenstep_boards.bench.baselines import MultiplierUnit, PopcountCounter, ProductCounter
from evenstep_boards.bench.fed import FedArray

__all__ = [
    "BASELINES",
    "TARGETS",
    "WIDE_BASELINES",
    "ArrayDesign",
    "Design",
    "ElementDesign",
    "Target",
    "ThresholdDesign",
]

ACCUMULATOR_BITS = 16
_WIDE = "-wide"
_RECODED = "recoded"
#: Structures of elements that are planned, and made of the target's cells.
_PLANNED = (*COUNTERS[1:], _RECODED)
#: Structures that ours are compared with, mapped with the options that ours are.
BASELINES = ("product", "popcount")
#: The same as Yosys maps them by itself, where that is another thing.
WIDE_BASELINES = tuple(f"{structure}{_WIDE}" for structure in BASELINES)
_CHANNELS = 16


@dataclass(frozen=True)
class Target:
    """What blocks are measured on.

    Parameters
    ----------
    family : str
        One of `evenstep_boards.synthesize`.
    device : str or None
        One of `evenstep_boards.place`, if blocks are placed.
    registers : int or None
        Registers of planned elements, spread over their stages; None: as many as a plan for ECP5 has stages.
    """

    family: str
    device: str | None
    registers: int | None = None


TARGETS = {
    "ecp5": Target("ecp5", "lfe5u-85f"),
    "ecp5-spread": Target("ecp5", "lfe5u-85f-spread"),
    "ice40": Target("ice40", "hx8k", registers=3),
    "up5k": Target("ice40", "up5k", registers=3),
    "gowin": Target("gowin", None, registers=2),
    "xilinx7": Target("xilinx7", None, registers=2),
}


@dataclass(frozen=True, kw_only=True)
class Design:
    """A block to measure.

    Parameters
    ----------
    target : str
        One of `TARGETS`.
    structure : str
        Which of those that the kind of block has.
    """

    target: str
    structure: str

    @property
    def size(self) -> str:
        """What it has in common with those that it is compared with."""
        raise NotImplementedError

    @property
    def kind(self) -> str:
        """What it is."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """Name in the file of results, and what patterns are for."""
        return f"{self.target}/{self.kind}/{self.size.replace(' ', '')}/{self.structure}"

    @property
    def placed(self) -> bool:
        """Whether it is placed and routed."""
        return TARGETS[self.target].device is not None

    def seeds(self, most: int) -> tuple[int | None, ...]:
        """Seeds of its placements, of which there are to be `most`; None: it is not placed."""
        return tuple(range(1, most + 1)) if self.placed else (None,)

    @property
    def dsps(self) -> bool:
        """Whether its multipliers become DSP blocks."""
        return False

    @property
    def wide_luts(self) -> bool:
        """Whether its LUTs are joined to wider ones, as Yosys does by itself on some families."""
        return False

    @property
    def operations(self) -> int:
        """Binary operations of a cycle: ANDs and additions of partial products."""
        return 0

    @property
    def latency(self) -> int:
        """Registers between input and result; of an element, its accumulator not included."""
        raise NotImplementedError

    def component(self) -> wiring.Component:
        """The block."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ElementDesign(Design):
    """An element of K lanes, with an accumulator of 16 bits that can be cleared and takes no Horner steps.

    Structures: the counters, of which ``portable`` has one register behind the count, as engines have it;
    ``pipelined``, the portable one with as many registers as the target's own; ``recoded``, iCE40's with the weights of
    a recoded `evenstep.spec.LaneFormat`; those of `BASELINES` and `WIDE_BASELINES`.
    """

    lanes: int
    weight_bits: int
    act_bits: int

    @property
    def kind(self) -> str:
        return "element"

    @property
    def size(self) -> str:
        return f"{self.lanes}, {self.weight_bits} x {self.act_bits}"

    @property
    def wide_luts(self) -> bool:
        return self.structure in WIDE_BASELINES

    @property
    def operations(self) -> int:
        return 2 * self.lanes * self.weight_bits * self.act_bits

    @property
    def latency(self) -> int:
        if self.structure not in (*_PLANNED, "pipelined"):
            return 1
        plan = create_chain_plan(self.lanes, self.weight_bits, self.act_bits, ACCUMULATOR_BITS)
        return TARGETS[self.target].registers or max(1, plan.stages)

    def component(self) -> wiring.Component:
        sizes: Any = {
            "lanes": self.lanes,
            "weight_bits": self.weight_bits,
            "act_bits": self.act_bits,
            "latency": self.latency,
        }
        accumulator: Any = {"accumulator_bits": ACCUMULATOR_BITS, "digit_step": 0}
        if self.structure == "ecp5":
            return CellForm(ChainElement(**sizes, **accumulator), "ecp5")
        if self.structure == _RECODED:
            counter = TreeCounter(**sizes, recoded=True)
        elif self.structure in COUNTERS:
            counter = create_counter(self.structure, **sizes)
        else:
            others: dict[str, type[Counter]] = {
                "pipelined": PortableCounter,
                "product": ProductCounter,
                "popcount": PopcountCounter,
            }
            counter = others[self.structure.removesuffix(_WIDE)](**sizes)
        element = ProcessingElement(counter, **accumulator)
        return CellForm(element, TARGETS[self.target].family) if self.structure in _PLANNED else element


@dataclass(frozen=True, kw_only=True)
class ArrayDesign(Design):
    """An array of R x C elements with accumulators, its activation sums, and the registers that tiles leave through.

    Structures: the counters' names.

    Parameters
    ----------
    counter_registers : int
        As of `evenstep.spec.Geometry`.
    fed : bool
        Whether its operands come from block RAMs beside it, and it is placed; without, its cells are only counted, for
        what `evenstep estimate` is fitted to.
    """

    rows: int
    columns: int
    lanes: int
    weight_bits: int
    act_bits: int
    accumulator_bits: int = ACCUMULATOR_BITS
    counter_registers: int = 0
    fed: bool = True

    @property
    def kind(self) -> str:
        return "array" if self.fed else "bare-array"

    @property
    def size(self) -> str:
        shape = f"{self.rows} x {self.columns} x {self.lanes}, {self.weight_bits} x {self.act_bits}"
        if self.accumulator_bits != ACCUMULATOR_BITS:
            shape += f", {self.accumulator_bits} bits"
        return f"{shape}, {self.counter_registers} registers" if self.counter_registers else shape

    @property
    def placed(self) -> bool:
        return self.fed and super().placed

    @property
    def operations(self) -> int:
        return 2 * self.rows * self.columns * self.lanes * self.weight_bits * self.act_bits

    @property
    def latency(self) -> int:
        return array_latency(self.geometry)

    @property
    def geometry(self) -> Geometry:
        """What it is generated from."""
        return Geometry(
            rows=self.rows,
            columns=self.columns,
            lanes=self.lanes,
            weight_bits=self.weight_bits,
            act_bits=self.act_bits,
            accumulator_bits=self.accumulator_bits,
            counter=self.structure,
            counter_registers=self.counter_registers,
        )

    def component(self) -> wiring.Component:
        array = FedArray(self.geometry) if self.fed else PEArray(self.geometry)
        return CellForm(array, TARGETS[self.target].family)


@dataclass(frozen=True, kw_only=True)
class ThresholdDesign(Design):
    """A threshold unit of 16 channels for sums of 16 bits, which a host can write and read.

    Structures: the styles of threshold units, of which ``requantize`` uses DSP blocks where there are any;
    ``multiplier``, plain requantization without DSP blocks, and ``multiplier-dsp``, with them. `registered` as of
    `evenstep.gateware.thresholds.unit.ThresholdUnit`: those of engines whose array is pipelined.
    """

    bits: int
    registered: bool = False

    @property
    def kind(self) -> str:
        return "thresholds"

    @property
    def size(self) -> str:
        return f"{self.bits} bits{', registered' * self.registered}"

    @property
    def dsps(self) -> bool:
        return self.structure in ("requantize", "multiplier-dsp")

    @property
    def latency(self) -> int:
        return self._unit.latency

    def component(self) -> wiring.Component:
        return self._unit

    @cached_property
    def _unit(self) -> ThresholdUnit:
        sizes: Any = {"width": ACCUMULATOR_BITS, "bits": self.bits, "channels": _CHANNELS}
        if self.structure in THRESHOLD_STYLES:
            return create_threshold_unit(self.structure, **sizes, registered=self.registered)
        return MultiplierUnit(**sizes)
