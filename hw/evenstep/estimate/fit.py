"""Fitting: the engine that a network needs, for a rate of frames or within an area."""

import contextlib
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from evenstep.checks import check_int
from evenstep.compiler import Program, compile_network
from evenstep.compiler.operations import engine_operations
from evenstep.estimate.area import estimate_area
from evenstep.estimate.devices import Device
from evenstep.estimate.room import memory_room
from evenstep.spec import THRESHOLD_STYLES, Dense, Geometry, Network

__all__ = ["ARRAY", "SIZED", "Fit", "fit_area", "fit_rate", "sized_geometry", "usable_styles"]

#: Sizes of arrays that are tried: R, C and K.
ARRAY = {"rows": (1, 2, 4, 8, 16), "columns": (1, 2, 4, 8, 16, 32), "lanes": (4, 8, 16, 32, 64)}
#: Parameters as large as can be, in which every network finds room.
_ROOM = {
    "program_depth": 2**16,
    "weight_depth": 2**20,
    "threshold_depth": 2**16,
    "result_depth": 2**16,
    "constant_depth": 2**16,
    "knee_depth": 2**16,
    "act_depth": 2**20,
    "max_passes": 256,
    "accumulator_bits": 31,
}
#: Wide numbers likewise, where a network keeps any.
_MOST_WIDE = 2**20
#: What is as large as the network needs; wide numbers that are given are kept as a part, of the depth that it needs.
SIZED = tuple(_ROOM)


@dataclass(frozen=True)
class Fit:
    """An engine for a network.

    Parameters
    ----------
    geometry : Geometry
        Sized for it.
    program : Program
        The network, compiled for an engine of these R, C and K.
    """

    geometry: Geometry
    program: Program

    @property
    def luts(self) -> int:
        """LUT4s, as `estimate_area` counts them; memories left out."""
        return sum(estimate_area(self.geometry).luts.values())

    @property
    def memory_bits(self) -> int:
        """Bits of all memories."""
        return sum(self.geometry.memory_bits.values())

    def lies_in(self, memory: int | Device) -> bool:
        """Whether its memories fit into so many bits, or into the block RAMs of a device."""
        if isinstance(memory, Device):
            return memory_room(self.geometry, memory).blocks <= memory.blocks
        return self.memory_bits <= memory

    def frames(self, clock_hz: int) -> float:
        """Frames a second: R in a run."""
        return self.geometry.batch * clock_hz / self.program.cycles


def _room_of(memory: int | Device) -> str:
    return f"{memory.blocks} block RAMs" if isinstance(memory, Device) else f"{memory} bits of memory"


def sized_geometry(network: Network, base: Geometry) -> Fit:
    """`base` with what `network` takes to run, and depths, passes and accumulators as small as it allows."""
    base = _equipped(network, base)
    program = compile_network(network, base.replace(**_ROOM))
    least = {"program_depth": 16, "max_passes": 1, "accumulator_bits": 4}
    needs = {name: max(least.get(name, 2), needed) for name, needed in program.needs.items()}
    needs["wide_depth"] = needs["wide_depth"] if base.wide_depth else 0
    return Fit(base.replace(**needs), program)


def _equipped(network: Network, base: Geometry) -> Geometry:
    """`base` with the parts that operations of `network` take."""
    # With any style: not all are there with wide numbers, of which it is not known yet whether there are any.
    able = base.replace(convolution=True, rescale=True, wide_depth=_MOST_WIDE, threshold_style=THRESHOLD_STYLES[0])
    operations, *_ = engine_operations(network, able)
    wide = base.wide_depth > 0 or any(one.kept is not None or one.bend is not None for one in operations)
    return base.replace(
        convolution=base.convolution or wide or any(not isinstance(one.layer, Dense) for one in operations),
        rescale=base.rescale or wide or any(one.rescale is not None for one in operations),
        wide_depth=_MOST_WIDE if wide else 0,
    )


def usable_styles(network: Network, base: Geometry, *, multipliers: int | None = None) -> tuple[str, ...]:
    """Threshold styles that an engine can have to run a network, on a device of so many multiplier blocks."""
    usable = []
    for style in THRESHOLD_STYLES:
        # Each row takes one.
        if style == "requantize" and multipliers is not None and multipliers < ARRAY["rows"][-1]:
            continue
        with contextlib.suppress(ValueError):
            sized_geometry(network, base.replace(threshold_style=style))
            usable.append(style)
    return tuple(usable)


def _sizes(base: Geometry, fixed: Collection[str]) -> list[tuple[int, ...]]:
    """Sizes to try of R, C and K."""
    return [(getattr(base, name),) if name in fixed else tried for name, tried in ARRAY.items()]


def _candidates(network: Network, base: Geometry, styles: Sequence[str], fixed: Collection[str]) -> list[Geometry]:
    """Arrays of every size and style, the smallest by area first."""
    base = _equipped(network, base)
    arrays = [
        base.replace(rows=rows, columns=columns, lanes=lanes, threshold_style=style)
        for rows, columns, lanes in itertools.product(*_sizes(base, fixed))
        for style in styles or (base.threshold_style,)
        if lanes >= base.output_digits and not (base.neighbours and rows == 1)
    ]
    return sorted(arrays, key=lambda one: (sum(estimate_area(one).luts.values()), one.rows))


def fit_rate(
    network: Network,
    base: Geometry,
    *,
    frames: int,
    clock_hz: int,
    styles: Sequence[str] = (),
    fixed: Collection[str] = (),
) -> Fit:
    """The smallest engine, by estimated area, that makes so many frames a second.

    Parameters
    ----------
    network : Network
        What it is to run.
    base : Geometry
        Precision, encoding and style; R, C, K and depths are chosen.
    frames, clock_hz : int
        Frames a second, and its clock.
    styles : sequence of str
        Threshold styles to choose among, all `usable_styles`; none: that of `base`.
    fixed : collection of str
        Names in `ARRAY`: sizes that stay those of `base`.

    Raises
    ------
    ValueError
        None of those tried is fast enough, or the network cannot run on any for another reason.
    """
    check_int("Frames a second", frames, 1)
    check_int("Clock", clock_hz, 1)
    for array in _candidates(network, base, styles, fixed):
        # Not even with every lane in use: needs no compiling to be seen.
        if array.rows * array.columns * array.lanes * clock_hz < network.macs * frames:
            continue
        fit = sized_geometry(network, array)
        if fit.frames(clock_hz) >= frames:
            return fit
    largest = " x ".join(str(sizes[-1]) for sizes in _sizes(base, fixed))
    raise ValueError(
        f"Frames a second must be at most what {largest} lanes make of {network.name} at {clock_hz} Hz, not {frames}"
    )


def fit_area(
    network: Network,
    base: Geometry,
    *,
    luts: int,
    memory: int | Device,
    clock_hz: int,
    styles: Sequence[str] = (),
    fixed: Collection[str] = (),
) -> Fit:
    """The engine that makes most frames a second of those with at most so many LUTs, and memories that fit.

    Parameters as those of `fit_rate`. Of equally fast ones the smallest is taken. Memories fit into so many bits, or
    into the whole block RAMs of a device.

    Raises
    ------
    ValueError
        None is as small.
    """
    check_int("LUTs", luts, 1)
    if isinstance(memory, int):
        check_int("Memory bits", memory, 1)
    best: Fit | None = None
    # The largest first: what has fewer lanes than the best keeps busy cannot be better.
    for array in reversed(_candidates(network, base, styles, fixed)):
        if sum(estimate_area(array).luts.values()) > luts:
            continue
        most = array.rows * array.columns * array.lanes * clock_hz / network.macs
        if best is not None and most <= best.frames(clock_hz):
            continue
        fit = sized_geometry(network, array)
        if fit.lies_in(memory) and (best is None or fit.frames(clock_hz) >= best.frames(clock_hz)):
            best = fit
    if best is None:
        raise ValueError(
            f"{network.name} must find an engine of at most {luts} LUTs and {_room_of(memory)}, which there is none "
            "of: allow more, or quantize it to fewer bits"
        )
    return best
