"""Geometries by name: starting points, and those of boards."""

from evenstep.spec.geometry import Geometry

__all__ = ["PRESETS"]

#: To be varied with `Geometry.replace`. Those of boards are sized to the board of that name in `evenstep_boards`.
PRESETS: dict[str, Geometry] = {
    "default": Geometry(),
    "tiny": Geometry(columns=4, lanes=8, weight_depth=1024, act_depth=128, threshold_depth=128, accumulator_bits=16),
    "wide": Geometry(columns=16, lanes=32, weight_depth=1024, act_depth=256),
    "batch": Geometry(rows=4),
    "binary": Geometry(weight_bits=1, act_bits=1, output_bits=1, lanes=32),
    # A weight word takes all four SPRAMs: 64 bits a cycle is all that they give. Two images share it.
    "icebreaker": Geometry(
        rows=2,
        columns=2,
        lanes=16,
        accumulator_bits=19,
        program_depth=64,
        weight_depth=2**14,
        act_depth=256,
        result_depth=16,
        threshold_depth=1024,
        max_passes=16,
    ),
    "ulx3s": Geometry(
        rows=10,
        columns=16,
        lanes=16,
        accumulator_bits=19,
        weight_depth=2048,
        act_depth=512,
        result_depth=64,
        threshold_depth=1024,
        max_passes=16,
    ),
    # A part of the FPGA, which is placed and routed in minutes.
    "ecpix5": Geometry(
        rows=4,
        columns=16,
        lanes=16,
        accumulator_bits=19,
        weight_depth=2048,
        act_depth=512,
        result_depth=64,
        threshold_depth=1024,
        max_passes=16,
    ),
    "orangecrab": Geometry(
        rows=2,
        columns=16,
        lanes=16,
        accumulator_bits=19,
        weight_depth=2048,
        act_depth=512,
        result_depth=64,
        threshold_depth=1024,
        max_passes=16,
    ),
    "tangnano9k": Geometry(
        rows=2,
        columns=4,
        lanes=16,
        accumulator_bits=19,
        program_depth=64,
        weight_depth=2048,
        act_depth=256,
        result_depth=16,
        threshold_depth=256,
        max_passes=16,
    ),
    # Part of it too; block RAMs are left for more weights.
    "gatemateevb": Geometry(
        rows=2,
        columns=4,
        lanes=16,
        accumulator_bits=19,
        program_depth=64,
        weight_depth=6144,
        act_depth=256,
        result_depth=16,
        threshold_depth=1024,
        max_passes=16,
    ),
}
