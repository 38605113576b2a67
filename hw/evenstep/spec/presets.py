"""Geometries by name: starting points, and those of boards."""

from evenstep.spec.geometry import Geometry

__all__ = ["PRESETS"]

_ECP5 = Geometry(columns=16, accumulator_bits=19, weight_depth=2048, counter="ecp5")
_SMALL = Geometry(rows=2, columns=4, accumulator_bits=19, program_depth=64, act_depth=256, result_depth=16)

#: To be varied with `Geometry.replace`. Those of boards are sized to the board of that name in `evenstep_boards`.
PRESETS: dict[str, Geometry] = {
    "default": Geometry(),
    "tiny": Geometry(columns=4, lanes=8, weight_depth=1024, act_depth=128, threshold_depth=128, accumulator_bits=16),
    "wide": Geometry(columns=16, lanes=32, weight_depth=1024, act_depth=256),
    "batch": Geometry(rows=4),
    "binary": Geometry(weight_bits=1, act_bits=1, output_bits=1, lanes=32),
    # A weight word takes all four SPRAMs: 64 bits a cycle is all that they give. Two images share it.
    "icebreaker": _SMALL.replace(columns=2, counter="ice40", weight_depth=2**14),
    # Parts of the FPGA, which are placed and routed in minutes.
    "ulx3s": _ECP5.replace(rows=4),
    "ecpix5": _ECP5.replace(rows=4),
    "orangecrab": _ECP5.replace(rows=2),
    "tangnano9k": _SMALL.replace(weight_depth=2048, threshold_depth=256),
    # Part of it too; block RAMs are left for more weights.
    "gatemateevb": _SMALL.replace(weight_depth=6144),
}
