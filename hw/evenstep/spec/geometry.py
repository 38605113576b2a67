"""Geometry of an engine: every number that its gateware is generated from."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

from evenstep.checks import check_choice, check_int
from evenstep.spec.banks import MAX_BANKS, ONE_BANK, LineBanks
from evenstep.spec.digits import digit_count
from evenstep.spec.encoding import ENCODINGS
from evenstep.spec.join import KNEE_WORDS
from evenstep.spec.lane import LaneFormat
from evenstep.spec.port import check_data_bits
from evenstep.spec.requantize import REQUANTIZE_WORDS, requantize_widths

__all__ = ["COUNTERS", "THRESHOLD_STYLES", "WEIGHT_ENCODINGS", "Geometry"]

THRESHOLD_STYLES = ("bank", "search", "serial", "requantize")
COUNTERS = ("portable", "ecp5", "ice40", "xilinx7", "gowin")
#: Widest accumulators: host words of 32 bits carry a sum, with its sign.
MAX_ACCUMULATOR_BITS = 31
#: Width of combined and rescaled results.
RESULT_BITS = 32
#: Width of the signed factors and multipliers that results are made with: what a usual multiplier block takes.
FACTOR_BITS = 18
#: Encodings whose zero points are large enough for weights to be recoded.
_RECODED_ENCODINGS = ("twos-complement", "symmetric", "odd-level")
#: Encodings that an engine can be generated for; any: each layer brings its own.
WEIGHT_ENCODINGS = ("any", *ENCODINGS)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Parameters of an engine of R x C x K processing lanes.

    Parameters
    ----------
    rows, columns, lanes : int
        Array of `rows` (R, input vectors or positions at once, 1 to 64) x `columns` (C, output channels, 1 to 256)
        processing elements of `lanes` lanes (K, 1 to 1024).
    weight_bits, act_bits : int
        Native widths W and A of a lane's weight and activation, 1 to 8.
    output_bits : int
        Width N of the threshold unit's codes, 1 to 8. Layers with narrower codes run as they are.
    max_weight_bits : int
        Widest weight codes that can run, as digits, `weight_bits` to 16.
    encoding : str
        Weight encoding, one of `WEIGHT_ENCODINGS`. ``"any"`` leaves it to each layer; a fixed one saves what it does
        not need: unsigned weights the activation sums and zero points, all others the choice of scale. With counter
        ``"ice40"``, at least two bits of weights and activations and no wide numbers, those with a zero point of their
        own are recoded, which makes the array smaller; see `evenstep.spec.LaneFormat`.
    breakpoints : int
        Most breakpoints of piecewise linear weights, 0 to 3; 0: the array takes none. Such a weight has `weight_bits`
        bits of sign and magnitude, and a lane one or two more for the region. Plain weights run as they are.
    piecewise : str
        How the array takes piecewise linear weights, one of `evenstep.spec.PIECEWISE_STYLES`. ``"sums"``: any, by 3, 5
        or 7 sums that the constants of each channel combine. ``"decoded"``: those whose steps double, as the plain
        integers that they are. See `evenstep.spec.LaneFormat`.
    convolution : bool
        Whether windows can move over pictures: convolutions, and maxima of codes of at most `act_bits` bits. Without
        it, layers take vectors.
    neighbours : bool
        Whether rows take neighbouring lines of one picture, whose lines lie in R banks, so that all work on it. Without
        it, each row takes a picture of its own. Needs `convolution`, and 2, 4, 8 or 16 rows.
    rescale : bool
        Whether results can be rescaled, ``(y * multiplier + bias) >> shift``.
    wide_depth, wide_bits : int
        Numbers of each row's memory of wide numbers, 0 for none, and their width, 8 to 32: what residual networks add
        to later layers, and take maxima and sums of. Needs `convolution` and `rescale`.
    port_bits : int
        Width of a read port to external memory that weights stream from where theirs is too small, a power of two from
        32 to 1024; 0: none.
    accumulator_bits : int
        Width of the dot products, 4 to 31. Results are one bit wider, and signed; 32 bits with `rescale` or sums that
        are combined.
    threshold_style : str
        ``"bank"``: 2**N - 1 comparators; ``"search"``: N comparators, one after the other; ``"serial"``: one, which
        takes N cycles for a value, with the counter ``"ecp5"`` 4 N, and so makes tiles last as long. Not where there
        are wide numbers. ``"requantize"``: a multiplier for each row, for thresholds of even distance; see
        `evenstep.spec.requantize`.
    counter : str
        Structure that counts ones, one of `COUNTERS`. ``"portable"``: plain adders; ``"ecp5"``,
        ``"ice40"``, ``"xilinx7"`` and ``"gowin"``: planned carry chains, for these families.
    counter_registers : int
        Most registers between the operands of an element and its accumulator, 1 to 16, of counter ``"ecp5"`` without
        breakpoints; 0: one behind each stage. Fewer take fewer flip-flops, for a slower clock.
    program_depth, weight_depth, act_depth, result_depth, threshold_depth, constant_depth, knee_depth : int
        Words of the memories: 32-bit program words, C x K x W-bit weight words (more with breakpoints), R banks of
        K x A-bit activation words, R banks of raw results, channels with thresholds, channels with constants, channels
        with a knee (which wide numbers are rescaled about).
    max_passes : int
        Passes over the inputs that one layer may take.

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range.
    """

    rows: int = 1
    columns: int = 8
    lanes: int = 16
    weight_bits: int = 2
    act_bits: int = 2
    output_bits: int = 2
    max_weight_bits: int = 0
    encoding: str = "any"
    breakpoints: int = 0
    piecewise: str = "sums"
    convolution: bool = False
    neighbours: bool = False
    rescale: bool = False
    wide_depth: int = 0
    wide_bits: int = 16
    port_bits: int = 0
    accumulator_bits: int = 22
    threshold_style: str = "bank"
    counter: str = "portable"
    counter_registers: int = 0
    program_depth: int = 256
    weight_depth: int = 4096
    act_depth: int = 512
    result_depth: int = 64
    threshold_depth: int = 1024
    constant_depth: int = 1024
    knee_depth: int = 1024
    max_passes: int = 16

    def __post_init__(self) -> None:
        def check(name: str, field: str, low: int, high: int) -> None:
            object.__setattr__(self, field, check_int(name, getattr(self, field), low, high))

        check("Rows", "rows", 1, 64)
        check("Columns", "columns", 1, 256)
        check("Lanes", "lanes", 1, 1024)
        check("Weight bits", "weight_bits", 1, 8)
        check("Activation bits", "act_bits", 1, 8)
        check("Output bits", "output_bits", 1, 8)
        if self.max_weight_bits == 0:
            object.__setattr__(self, "max_weight_bits", self.weight_bits)
        check("Maximum weight bits", "max_weight_bits", self.weight_bits, 16)
        check_choice("Encoding", self.encoding, WEIGHT_ENCODINGS)
        if self.encoding == "symmetric" and self.max_weight_bits == 1:
            raise ValueError("Weight bits of a symmetric encoding must be at least 2, not 1: one bit leaves only zero")
        _ = self.lane  # checks its own parameters
        if self.breakpoints and self.encoding != "any":
            raise ValueError(f"Encoding of an engine with breakpoints must be 'any', not {self.encoding!r}")
        for field in ("convolution", "neighbours", "rescale"):
            if not isinstance(getattr(self, field), bool):
                raise TypeError(f"{field.capitalize()} must be a boolean, not {getattr(self, field)!r}")
        check("Accumulator bits", "accumulator_bits", 4, MAX_ACCUMULATOR_BITS)
        check_choice("Threshold style", self.threshold_style, THRESHOLD_STYLES)
        check_choice("Counter", self.counter, COUNTERS)
        check("Counter registers", "counter_registers", 0, 16)
        if self.counter_registers and (self.counter != "ecp5" or self.breakpoints):
            raise ValueError(
                "Counter registers must be 0 but with counter 'ecp5' and no breakpoints, "
                f"not {self.counter_registers}: others have one"
            )
        check("Program depth", "program_depth", 16, 2**16)
        check("Weight depth", "weight_depth", 2, 2**20)
        check("Activation depth", "act_depth", 2, 2**20)
        check("Result depth", "result_depth", 2, 2**16)
        check("Threshold depth", "threshold_depth", 2, 2**16)
        check("Constant depth", "constant_depth", 2, 2**16)
        check("Knee depth", "knee_depth", 2, 2**16)
        check("Wide depth", "wide_depth", 0, 2**20)
        check("Wide bits", "wide_bits", 8, 32)
        check("Port bits", "port_bits", 0, 1024)
        if self.port_bits:
            check_data_bits(self.port_bits, "Port bits other than 0")
        if self.wide_depth == 1:
            raise ValueError("Wide depth must be 0 or at least 2, not 1")
        if self.wide_depth and not (self.convolution and self.rescale):
            raise ValueError(
                "Engines with wide numbers must have --convolution and --rescale, not one without the other"
            )
        if self.wide_depth and self.threshold_style == "serial":
            raise ValueError(
                "Threshold style of an engine with wide numbers must be 'bank', 'search' or 'requantize', not "
                "'serial': scans give one number a cycle"
            )
        if self.neighbours and not self.convolution:
            raise ValueError("Engines whose rows are neighbours must have --convolution, as they share pictures")
        if self.neighbours and self.rows not in (2, 4, 8, MAX_BANKS):
            raise ValueError(f"Rows that are neighbours must be 2, 4, 8 or {MAX_BANKS}, not {self.rows}")
        check("Maximum passes", "max_passes", 1, 256)
        if self.lanes < self.output_digits:
            raise ValueError(
                f"Lanes must be at least the {self.output_digits} digits of an output code, not {self.lanes}: "
                "more digits than lanes would stall the array"
            )

    @cached_property
    def lane(self) -> LaneFormat:
        """Format of the array's weights."""
        return LaneFormat(self.weight_bits, self.breakpoints, self.piecewise, self._recodes)

    @property
    def _recodes(self) -> bool:
        """Whether lanes are recoded: where that makes counters smaller, and no zero point negative.

        What a recoded lane counts too much, thresholds, constants and readers of results take back; for wide numbers
        nobody would.
        """
        smaller = self.counter == "ice40" and min(self.weight_bits, self.act_bits) > 1
        return smaller and self.encoding in _RECODED_ENCODINGS and not self.wide_depth

    @property
    def batch(self) -> int:
        """Inputs of a run: one, or one for each row."""
        return 1 if self.neighbours else self.rows

    def banks(self, interleave: int = 1) -> LineBanks:
        """How an engine keeps the lines of pictures: in a bank, or so many of them in each of its R banks."""
        return LineBanks(self.rows, interleave) if self.neighbours else ONE_BANK

    @property
    def combines(self) -> bool:
        """Whether constants meet the sums, to combine or to rescale them."""
        return self.lane.combines or self.rescale

    @property
    def constant_words(self) -> int:
        """32-bit words of constants of a channel: a factor for each sum; multiplier and a bias of two words."""
        return (self.lane.sums if self.lane.combines else 0) + (3 if self.rescale else 0)

    @property
    def encoding_kinds(self) -> tuple[str, ...]:
        """Kinds of weight encodings that can run."""
        return ENCODINGS if self.encoding == "any" else (self.encoding,)

    @property
    def threshold_words(self) -> int:
        """Host words of a channel's thresholds: each, and the flip; or what requantizes instead."""
        return REQUANTIZE_WORDS if self.threshold_style == "requantize" else 2**self.output_bits

    @property
    def output_digits(self) -> int:
        """Activation digits of an output code."""
        return digit_count(self.output_bits, self.act_bits)

    @property
    def digit_step(self) -> int:
        """Bits of one Horner step between digits."""
        if self.max_weight_bits == self.weight_bits:
            return self.act_bits
        return math.gcd(self.weight_bits, self.act_bits)

    @property
    def sum_bits(self) -> int:
        """Width of the signed sums after the zero points."""
        return self.accumulator_bits + 1

    @property
    def zero_bits(self) -> int:
        """Width of the zero points of the array's sums: those of all digits, on top of what decoding adds to each."""
        digits = digit_count(self.max_weight_bits, self.weight_bits)
        added = sum(2 * self.lane.plain_offset << digit * self.weight_bits for digit in range(digits))
        return (2 ** self.placed_bits(self.max_weight_bits) - 1 + added).bit_length()

    def placed_bits(self, bits: int) -> int:
        """Width that the zero point of weight codes of `bits` bits is one of.

        Recoded ones are placed in the middle of what their digits can be: below, zero points would be negative.
        """
        return digit_count(bits, self.weight_bits) * self.weight_bits if self.lane.recoded else bits

    @property
    def result_bits(self) -> int:
        """Width of the signed results, which are thresholded or written as they are."""
        return RESULT_BITS if self.combines else self.sum_bits

    @property
    def act_word_bits(self) -> int:
        """Width of a row's activation word: K lanes of A bits."""
        return self.lanes * self.act_bits

    @property
    def weight_word_bits(self) -> int:
        """Width of a weight word: C columns of K lanes."""
        return self.columns * self.lanes * self.lane.bits

    @property
    def memory_bits(self) -> dict[str, int]:
        """Bits of each memory."""
        thresholds = (2**self.output_bits - 1) * self.result_bits + 1
        if self.threshold_style == "requantize":
            thresholds = sum(requantize_widths(self.output_bits))
        return {
            "program": self.program_depth * 32,
            "weights": self.weight_depth * self.weight_word_bits,
            "thresholds": self.threshold_depth * thresholds,
            "activations": self.act_depth * self.rows * self.act_word_bits,
            "results": self.result_depth * self.rows * self.result_bits,
            **({"constants": self.constant_depth * self.constant_words * 32} if self.combines else {}),
            **(
                {
                    "wide numbers": self.wide_depth * self.rows * self.wide_bits,
                    "knees": self.knee_depth * KNEE_WORDS * 32,
                }
                if self.wide_depth
                else {}
            ),
        }

    def to_dict(self) -> dict[str, Any]:
        """Parameters by name, as JSON keeps them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "Geometry":
        """Geometry of what `to_dict` gave; unknown or missing names raise `ValueError`."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            wrong = sorted(names.symmetric_difference(values)) if isinstance(values, dict) else type(values).__name__
            raise ValueError(f"Geometry must name exactly its own parameters; missing or unknown: {wrong}")
        return cls(**values)

    @cached_property
    def hash(self) -> bytes:
        """16 bytes that name the engine: programs are compiled for one hash, and the link reports it."""
        # Lanes that are recoded were plain in format 1, with the same parameters.
        text = json.dumps({"format": 1 + self.lane.recoded, **self.to_dict()}, sort_keys=True)
        return hashlib.sha256(text.encode()).digest()[:16]

    def replace(self, **changes: Any) -> "Geometry":
        """The same geometry with some parameters changed.

        New `weight_bits` are also the widest that can run, unless `max_weight_bits` is given as well.
        """
        if "weight_bits" in changes:
            changes.setdefault("max_weight_bits", 0)
        return replace(self, **changes)
