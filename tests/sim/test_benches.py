"""Every block's bench on generated Verilog, over geometries, on both simulators."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evenstep.generate import Conventions, generate_block
from evenstep.spec import THRESHOLD_STYLES, Geometry
from evenstep_sim.runner import run_manifest
from evenstep_sim.simulators import SIMULATORS

# Pairs that cover every W with several A: few, as each is a build. K is no power of two in most.
_OPERANDS = [
    {"lanes": 16, "weight_bits": 2, "act_bits": 2},
    {"lanes": 1, "weight_bits": 1, "act_bits": 1, "output_bits": 1},
    {"lanes": 25, "weight_bits": 1, "act_bits": 4},
    {"lanes": 7, "weight_bits": 1, "act_bits": 8},
    {"lanes": 9, "weight_bits": 2, "act_bits": 3},
    {"lanes": 10, "weight_bits": 3, "act_bits": 1},
    {"lanes": 6, "weight_bits": 3, "act_bits": 3},
    {"lanes": 5, "weight_bits": 4, "act_bits": 2},
    {"lanes": 3, "weight_bits": 4, "act_bits": 4},
    {"lanes": 11, "weight_bits": 8, "act_bits": 1},
    {"lanes": 3, "weight_bits": 8, "act_bits": 8},
]

_SHAPES = [
    {},
    {"columns": 1, "lanes": 1, "weight_bits": 1, "act_bits": 1, "output_bits": 1},
    {"columns": 1, "lanes": 7, "weight_bits": 8, "act_bits": 3},
    {"rows": 2, "columns": 3, "lanes": 5, "weight_bits": 3, "act_bits": 8},
    {"rows": 3, "columns": 2, "lanes": 12, "weight_bits": 1, "act_bits": 2},
    {"rows": 1, "columns": 5, "lanes": 6, "weight_bits": 4, "act_bits": 4, "max_weight_bits": 8},
    {"columns": 2, "lanes": 3, "weight_bits": 8, "act_bits": 8, "accumulator_bits": 31},
]

_THRESHOLDS = [
    {"threshold_style": style, **rest}
    for style in THRESHOLD_STYLES
    for rest in (
        {"output_bits": 2},
        {"output_bits": 1, "threshold_depth": 2, "lanes": 3, "accumulator_bits": 31},
        {"output_bits": 3, "threshold_depth": 5, "rows": 3},
        {"output_bits": 4, "threshold_depth": 100, "accumulator_bits": 4},
        {"output_bits": 8, "threshold_depth": 7, "rows": 2},
    )
]

_DRAINS = [
    {},
    {"weight_bits": 1, "act_bits": 1},
    {"weight_bits": 3, "rows": 3, "threshold_depth": 2, "result_depth": 2},
    {"weight_bits": 4, "max_weight_bits": 16, "accumulator_bits": 31},
    {"weight_bits": 8, "rows": 2, "accumulator_bits": 4},
]

_PACKERS = [
    {},
    {"lanes": 1, "act_bits": 8, "output_bits": 1},
    {"lanes": 5, "act_bits": 2, "output_bits": 5, "rows": 2},
    {"lanes": 8, "act_bits": 1, "output_bits": 8},
    {"lanes": 3, "act_bits": 3, "output_bits": 4, "act_depth": 2},
]

# Blocks that an encoding of their own changes.
_ENCODED = [
    ("dot", {"encoding": "odd-level", "lanes": 5}),
    ("dot", {"encoding": "twos-complement", "weight_bits": 4, "lanes": 3}),
    ("dot", {"encoding": "symmetric", "act_bits": 3, "lanes": 7}),
    ("dot", {"encoding": "odd-level", "weight_bits": 1, "act_bits": 8, "lanes": 6}),
    ("array", {"encoding": "unsigned", "columns": 3, "lanes": 5}),
    ("drain", {"encoding": "odd-level"}),
    ("drain", {"encoding": "unsigned"}),
    ("drain", {"encoding": "affine", "weight_bits": 3}),
]

# Every width and number of breakpoints, by sums and decoded; decoding takes as many magnitude bits as breakpoints.
_SUMS = [
    {"lanes": 3, "weight_bits": bits, "act_bits": 2 + (3 * bits + breakpoints) % 7, "breakpoints": breakpoints}
    for breakpoints in (1, 2, 3)
    for bits in range(2, 9)
]
_DECODED = [{**case, "piecewise": "decoded"} for case in _SUMS if case["weight_bits"] > case["breakpoints"]]

_PIECEWISE_SHAPES = [
    {"rows": 2, "columns": 3, "lanes": 2, "weight_bits": 4, "act_bits": 3, "breakpoints": 1, "accumulator_bits": 31},
    {"rows": 3, "columns": 2, "lanes": 4, "weight_bits": 3, "breakpoints": 3, "max_weight_bits": 6},
    {"rows": 2, "columns": 2, "lanes": 5, "weight_bits": 4, "breakpoints": 2, "piecewise": "decoded"},
]

_COMBINERS = [
    {"breakpoints": 1},
    {"rescale": True},
    {"rescale": True, "breakpoints": 3, "constant_depth": 100},
    {"rescale": True, "rows": 3, "accumulator_bits": 31, "constant_depth": 2},
    {"rescale": True, "breakpoints": 2, "rows": 2, "accumulator_bits": 4, "constant_depth": 5},
    {"rescale": True, "counter": "ecp5", "rows": 3, "accumulator_bits": 31, "constant_depth": 2},
    {"rescale": True, "counter": "ecp5", "rows": 2, "accumulator_bits": 4, "constant_depth": 5},
    {"breakpoints": 2, "rows": 2, "accumulator_bits": 31, "result_depth": 2, "threshold_depth": 2},
]

# Drains in front of a combiner, and those of decoded weights, which have larger zero points.
_COMBINED_DRAINS = [
    {"rescale": True},
    {"breakpoints": 1, "constant_depth": 5},
    {"breakpoints": 3, "weight_bits": 8, "rows": 2, "rescale": True, "accumulator_bits": 31},
    {"breakpoints": 2, "piecewise": "decoded", "weight_bits": 4, "max_weight_bits": 16},
    {"breakpoints": 3, "piecewise": "decoded", "weight_bits": 8, "rows": 2, "rescale": True},
]

_TINY = {"weight_depth": 512, "act_depth": 128, "threshold_depth": 128}
_ENGINES = [
    {},
    {"columns": 3, "lanes": 5, "rows": 2, "weight_bits": 1, "max_weight_bits": 4, "output_bits": 5}
    | {"threshold_style": "search", "max_passes": 64},
    {"columns": 4, "lanes": 8, "rows": 3, "weight_bits": 3, "act_bits": 1, "output_bits": 1, **_TINY},
    {"columns": 1, "lanes": 3, "weight_bits": 8, "act_bits": 3, "output_bits": 8, "threshold_style": "serial", **_TINY},
    {"columns": 3, "lanes": 4, "encoding": "symmetric", **_TINY},
    {"columns": 2, "lanes": 6, "weight_bits": 4, "act_bits": 8, "output_bits": 3, "accumulator_bits": 28, **_TINY}
    | {"threshold_style": "requantize"},
]

# Piecewise linear and plain layers mixed, in one digit and in several, combined and rescaled.
_PIECEWISE_ENGINES = [
    {**_TINY, "accumulator_bits": 30, "constant_depth": 64} | engine
    for engine in (
        {"columns": 2, "lanes": 5, "rows": 2, "weight_bits": 3, "act_bits": 8, "output_bits": 5, "breakpoints": 2}
        | {"threshold_style": "search", "rescale": True},
        {"columns": 3, "lanes": 4, "weight_bits": 4, "act_bits": 4, "output_bits": 4, "breakpoints": 1},
        {"columns": 2, "lanes": 3, "weight_bits": 5, "breakpoints": 3, "max_weight_bits": 8, "max_passes": 64},
        {"columns": 2, "lanes": 2, "weight_bits": 8, "act_bits": 8, "breakpoints": 1, "rescale": True},
        {"columns": 1, "lanes": 2, "weight_bits": 2, "act_bits": 1, "breakpoints": 3, "max_passes": 64},
        {"columns": 2, "lanes": 4, "weight_bits": 3, "act_bits": 4, "breakpoints": 1, "piecewise": "decoded"},
        {"columns": 2, "lanes": 4, "weight_bits": 6, "act_bits": 3, "breakpoints": 3, "piecewise": "decoded"}
        | {"max_weight_bits": 12, "max_passes": 64, "rescale": True},
        {"columns": 3, "lanes": 5, "rows": 2, "rescale": True},
    )
]

_PICTURES = {"convolution": True, "program_depth": 512, "weight_depth": 2048, "act_depth": 512, "accumulator_bits": 24}
_CONVOLUTION_ENGINES = [
    {**_PICTURES, "columns": 4, "lanes": 5, "rows": 2, "max_weight_bits": 4, "max_passes": 64},
    {**_PICTURES, "columns": 5, "lanes": 3, "weight_bits": 3, "output_bits": 3, "max_weight_bits": 6, "max_passes": 64}
    | {"rescale": True},
    {**_PICTURES, "columns": 2, "lanes": 8, "act_bits": 4, "output_bits": 4, "max_weight_bits": 4, "rescale": True}
    | {"wide_depth": 1024, "wide_bits": 12},
]

# Counters of other kinds than the portable one.
_COUNTERS = [
    ("dot", {"counter": "ice40", "lanes": 9, "act_bits": 3, "encoding": "odd-level"}),
    *[
        (block, {"counter": "ice40", "encoding": "odd-level", "lanes": lanes, "weight_bits": bits, "act_bits": 3})
        for block in ("element", "array")
        for lanes, bits in ((5, 2), (3, 5))
    ],
    ("drain", {"counter": "ice40", "encoding": "symmetric", "weight_bits": 3, "max_weight_bits": 5}),
    (
        "engine",
        {"counter": "ice40", "encoding": "odd-level", "columns": 3, "lanes": 6, "max_weight_bits": 3, "rescale": True}
        | {"threshold_style": "serial", "max_passes": 64, **_TINY},
    ),
    ("element", {"counter": "xilinx7", "lanes": 7, "max_weight_bits": 4, "accumulator_bits": 6}),
    ("array", {"counter": "ecp5", "rows": 2, "columns": 2, "lanes": 5, "weight_bits": 3, "max_weight_bits": 5}),
    *[
        ("array", {"counter": "ecp5", "rows": 2, "columns": 3, "lanes": 16, "counter_registers": most})
        for most in (1, 2, 3)
    ],
    ("array", {"counter": "gowin", "columns": 1, "lanes": 3, "max_weight_bits": 4}),
    ("array", {"counter": "ecp5", "columns": 1, "lanes": 1, "weight_bits": 1, "act_bits": 1, "output_bits": 1}),
    ("engine", {"counter": "ecp5", "rows": 2, "columns": 3, "lanes": 5, "max_weight_bits": 4, **_TINY}),
    (
        "engine",
        {"counter": "ecp5", "columns": 3, "lanes": 16, "counter_registers": 1, "threshold_style": "serial", **_TINY},
    ),
    (
        "engine",
        {"counter": "ecp5", "columns": 2, "lanes": 8, "act_bits": 4, "output_bits": 4, "max_weight_bits": 4}
        | {**_PICTURES, "rescale": True, "wide_depth": 1024, "wide_bits": 12, "threshold_style": "requantize"},
    ),
    ("axi-engine", {"counter": "ecp5", "columns": 2, "lanes": 8, **_TINY}),
    # Decoders in front of carry chains, and sums of activations that wait for them.
    ("array", {"counter": "ecp5", "rows": 2, "columns": 2, "lanes": 5, **_DECODED[4]} | {"max_weight_bits": 7}),
    (
        "engine",
        {**_PICTURES, "counter": "ecp5", "columns": 2, "lanes": 6, "weight_bits": 3, "max_weight_bits": 6, "rows": 2}
        | {"breakpoints": 1, "piecewise": "decoded", "rescale": True, "max_passes": 64, "constant_depth": 64},
    ),
    *[("threshold", {"counter": "ecp5", **parameters}) for parameters in _THRESHOLDS if "lanes" not in parameters],
    ("drain", {"counter": "ecp5", "weight_bits": 3, "rows": 2}),
    ("packer", {"counter": "ecp5", "lanes": 5, "output_bits": 5}),
]

# Icarus, which compiles nothing, runs all; Verilator the first of each kind and the most different one.
_CASES = [
    *[("dot", parameters, "icarus") for parameters in _OPERANDS],
    *[("array", parameters, "icarus") for parameters in _SHAPES],
    *[(block, parameters, "icarus") for block, parameters in _ENCODED],
    *[("threshold", parameters, "icarus") for parameters in _THRESHOLDS],
    *[("drain", parameters, "icarus") for parameters in _DRAINS],
    *[("packer", parameters, "icarus") for parameters in _PACKERS],
    *[("engine", parameters, "icarus") for parameters in _ENGINES],
    *[("element", parameters, "icarus") for parameters in (*_OPERANDS[:3], *_SUMS, *_DECODED[::6])],
    *[("array", {"columns": 1, **parameters}, "icarus") for parameters in (*_SUMS, *_DECODED)],
    *[("array", parameters, "icarus") for parameters in _PIECEWISE_SHAPES[1:]],
    *[(block, parameters, "icarus") for block, parameters in _COUNTERS],
    *[("combine", parameters, "icarus") for parameters in _COMBINERS],
    *[("drain", parameters, "icarus") for parameters in _COMBINED_DRAINS],
    *[("engine", parameters, "icarus") for parameters in _PIECEWISE_ENGINES[1:]],
    *[("engine", parameters, "icarus") for parameters in _CONVOLUTION_ENGINES[1:]],
    *[(block, {}, simulator) for block in ("frame-receiver", "frame-sender") for simulator in SIMULATORS],
    *[("dot", parameters, "verilator") for parameters in (_OPERANDS[0], _OPERANDS[-1])],
    *[("array", parameters, "verilator") for parameters in (_SHAPES[0], _SHAPES[3])],
    *[("threshold", parameters, "verilator") for parameters in (_THRESHOLDS[0], _THRESHOLDS[6])],
    ("drain", _DRAINS[2], "verilator"),
    ("packer", _PACKERS[2], "verilator"),
    *[("engine", parameters, "verilator") for parameters in (_ENGINES[0], _ENGINES[1])],
    ("array", _PIECEWISE_SHAPES[0], "verilator"),
    ("combine", _COMBINERS[2], "verilator"),
    ("engine", _PIECEWISE_ENGINES[0], "verilator"),
    ("engine", _CONVOLUTION_ENGINES[0], "verilator"),
]


def _name(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}={number}" for key, number in value.items()) or "default"
    return str(value)


@pytest.mark.parametrize(("block", "parameters", "simulator"), _CASES, ids=_name)
def test_bench(block: str, parameters: dict[str, Any], simulator: str, tmp_path: Path) -> None:
    manifest = generate_block(block, Geometry(**parameters), tmp_path)
    assert run_manifest(tmp_path / f"{manifest.module}.json", simulator=simulator)


@pytest.mark.parametrize("style", ["sync", "async"])
def test_bench_with_other_clock_and_reset(style: str, tmp_path: Path) -> None:
    conventions = Conventions(clock="aclk", reset="aresetn", reset_active="low", reset_style=style)
    generate_block("array", Geometry(columns=2, lanes=4), tmp_path, name="mac", conventions=conventions)
    assert run_manifest(tmp_path / "mac.json", simulator="icarus")


def test_bench_with_other_seeds(tmp_path: Path) -> None:
    manifest = generate_block("array", Geometry(rows=2, columns=3, lanes=5), tmp_path)
    for seed in (2, 3, 4):
        assert run_manifest(tmp_path / f"{manifest.module}.json", simulator="icarus", seed=seed)


def test_generated_bench_runs_where_it_lies(tmp_path: Path) -> None:
    generate_block("dot", Geometry(), tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "test_evenstep_dot.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout
    command = [sys.executable, "test_evenstep_dot.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
