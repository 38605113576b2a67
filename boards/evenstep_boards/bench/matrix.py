"""The stated matrix: which blocks of which sizes and structures `evenstep bench` measures."""

from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Any

from evenstep.spec import THRESHOLD_STYLES
from evenstep_boards.bench.designs import (
    BASELINES,
    WIDE_BASELINES,
    ArrayDesign,
    Design,
    ElementDesign,
    ThresholdDesign,
)
from evenstep_boards.bench.fits import fit_designs, held_out_designs

__all__ = ["matrix", "quick_matrix", "select"]

#: Structures of elements by target: the target's own counter first.
_ELEMENTS = {
    "ecp5": ("ecp5", "portable", "pipelined", *BASELINES, *WIDE_BASELINES),
    "ice40": ("ice40", "recoded", "portable", *BASELINES),
    "up5k": ("ice40", "recoded", "portable", *BASELINES),
    "gowin": ("gowin", "ice40", "portable", *BASELINES, *WIDE_BASELINES),
    "xilinx7": ("xilinx7", "portable", *BASELINES),
}
#: K, W and A.
_SIZES = ((16, 1, 1), (64, 1, 1), (16, 2, 2), (32, 2, 2), (16, 4, 4))
_OTHER_SIZES = {"up5k": ((16, 2, 2),), "xilinx7": (*_SIZES[:2], (128, 1, 1), *_SIZES[2:])}
#: R, C, K, W and A: of arrays, which take many minutes for each placement.
_ARRAYS = ((4, 4, 32, 1, 1), (4, 4, 16, 2, 2), (4, 4, 8, 4, 4), (8, 8, 16, 2, 2))
#: One with fewer registers behind its stages, and the largest that was routed.
_OTHER_ARRAYS = (
    ArrayDesign(
        target="ecp5",
        structure="ecp5",
        rows=4,
        columns=4,
        lanes=16,
        weight_bits=2,
        act_bits=2,
        counter_registers=2,
    ),
    ArrayDesign(
        target="ecp5-spread",
        structure="ecp5",
        rows=8,
        columns=8,
        lanes=8,
        weight_bits=8,
        act_bits=8,
        accumulator_bits=24,
    ),
)
_THRESHOLD_BITS = (2, 3, 4)


def matrix() -> list[Design]:
    """All designs, in the order in which tables have them."""
    designs: list[Design] = []
    for target, structures in _ELEMENTS.items():
        for lanes, weight_bits, act_bits in _OTHER_SIZES.get(target, _SIZES):
            for structure in structures:
                if structure == "recoded" and weight_bits == 1:
                    continue  # a digit has two bits
                sizes: dict[str, Any] = {"lanes": lanes, "weight_bits": weight_bits, "act_bits": act_bits}
                designs.append(ElementDesign(target=target, structure=structure, **sizes))
    for rows, columns, lanes, weight_bits, act_bits in _ARRAYS:
        for structure in ("ecp5", "portable"):
            sizes = {"rows": rows, "columns": columns, "lanes": lanes}
            sizes |= {"weight_bits": weight_bits, "act_bits": act_bits}
            designs.append(ArrayDesign(target="ecp5", structure=structure, **sizes))
    designs += _OTHER_ARRAYS
    for target in ("ecp5", "ice40"):
        for bits in _THRESHOLD_BITS:
            units = (*THRESHOLD_STYLES, "multiplier", *(("multiplier-dsp",) if target == "ecp5" else ()))
            designs += [ThresholdDesign(target=target, structure=structure, bits=bits) for structure in units]
    for bits in _THRESHOLD_BITS:
        sizes = {"bits": bits, "registered": True}
        designs += [ThresholdDesign(target="ecp5", structure=style, **sizes) for style in THRESHOLD_STYLES]
    return [*designs, *fit_designs(), *held_out_designs()]


def quick_matrix() -> list[Design]:
    """Small ones that show within a minute that everything works."""
    elements = [
        ElementDesign(target=target, structure=structure, lanes=4, weight_bits=1, act_bits=1)
        for target, structure in (("ecp5", "ecp5"), ("ecp5", "product"), ("xilinx7", "portable"))
    ]
    array = ArrayDesign(target="ecp5", structure="ecp5", rows=2, columns=2, lanes=4, weight_bits=1, act_bits=1)
    return [*elements, array, ThresholdDesign(target="ice40", structure="bank", bits=1)]


def select(designs: Collection[Design], targets: Collection[str], pattern: str) -> list[Design]:
    """Designs for one of the targets, the names of which a shell pattern matches, or a part of them."""
    return [one for one in designs if one.target in targets and fnmatchcase(one.name, f"*{pattern}*")]
