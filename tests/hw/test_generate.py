"""Generated files: the same bytes for the same input, clean for linters, refused with clear errors."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evenstep.generate import BLOCKS, Conventions, Manifest, generate_block
from evenstep.spec import Geometry
from evenstep_sim.simulators import find_verilator, verilator_environment

SMALL = Geometry(columns=2, lanes=4, weight_depth=16, act_depth=16, threshold_depth=8, program_depth=32, result_depth=4)
# One geometry for each corner that changes the structure: one column, several rows, both styles, widest codes, sums
# that are combined, decoded, rescaled.
GEOMETRIES = {
    "small": SMALL,
    "one": SMALL.replace(columns=1, lanes=1, weight_bits=1, act_bits=1, output_bits=1, max_weight_bits=1),
    "rows": SMALL.replace(rows=3, threshold_style="search"),
    "wide": SMALL.replace(weight_bits=8, act_bits=8, max_weight_bits=8, output_bits=8, threshold_style="search"),
    "digits": SMALL.replace(act_bits=1, output_bits=3, max_weight_bits=5),
    "sums": SMALL.replace(breakpoints=1, rows=2, constant_depth=8),
    "sums-rescale": SMALL.replace(columns=1, weight_bits=4, breakpoints=3, rescale=True, constant_depth=5),
    "decoded-rescale": SMALL.replace(columns=1, weight_bits=4, breakpoints=3, piecewise="decoded", rescale=True),
}
_PLAIN = [name for name, geometry in GEOMETRIES.items() if not geometry.breakpoints]
# Blocks that some geometries change nothing of, or leave out; engines hold most others anyway.
_ONLY = {
    "axi-engine": ["small", "sums"],
    "array": [*_PLAIN, "sums"],
    "element": ["wide", "sums", "sums-rescale", "decoded-rescale"],
    "frame-receiver": ["small"],
    "frame-sender": ["small"],
    "dot": _PLAIN,
    "packer": _PLAIN,
    "threshold": [*_PLAIN, "sums"],
    "combine": [name for name, geometry in GEOMETRIES.items() if geometry.combines],
}


@pytest.mark.parametrize(
    ("block", "geometry"), [(block, geometry) for block in BLOCKS for geometry in _ONLY.get(block, GEOMETRIES)]
)
def test_lint_clean(block: str, geometry: str, tmp_path: Path) -> None:
    manifest = generate_block(block, GEOMETRIES[geometry], tmp_path)
    result = subprocess.run(
        [str(find_verilator()), "--lint-only", "-Wall", manifest.verilog],
        cwd=tmp_path,
        env={**os.environ, **verilator_environment()},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr


def test_same_input_same_bytes(tmp_path: Path) -> None:
    """Also between processes whose hashes of strings differ."""
    digests = set()
    for seed in ("1", "2"):
        folder = tmp_path / seed
        command = [sys.executable, "-c", "from evenstep.cli import main; main()", "generate", "--preset", "tiny"]
        subprocess.run(
            [*command, "--output", str(folder)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        )
        files = sorted(path.name for path in folder.iterdir())
        assert files == ["evenstep_engine.core", "evenstep_engine.json", "evenstep_engine.v", "test_evenstep_engine.py"]
        digests.add(tuple(hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files))
    assert len(digests) == 1


def test_bank_of_thresholds_grows_with_their_number(tmp_path: Path) -> None:
    """Not with its square, or worse, as expressions do that are repeated."""
    sizes = []
    for bits in (5, 8):
        manifest = generate_block("threshold", Geometry(output_bits=bits, threshold_depth=16), tmp_path / str(bits))
        sizes.append((tmp_path / str(bits) / manifest.verilog).stat().st_size)
    assert sizes[1] < 9 * sizes[0]


def test_conventions_and_ports(tmp_path: Path) -> None:
    conventions = Conventions(clock="aclk", reset="aresetn", reset_active="low", reset_style="async")
    manifest = generate_block("engine", SMALL, tmp_path, name="accelerator", conventions=conventions)
    text = (tmp_path / "accelerator.v").read_text()
    assert "module accelerator(" in text
    assert "always @(posedge clk, posedge rst)" in text
    assert ".clk(aclk)" in text
    assert [(port.name, port.direction, port.width) for port in manifest.ports] == [
        ("aclk", "input", 1),
        ("aresetn", "input", 1),
        ("s_axis_tvalid", "input", 1),
        ("s_axis_tready", "output", 1),
        ("s_axis_tdata", "input", 8),
        ("m_axis_tvalid", "output", 1),
        ("m_axis_tready", "input", 1),
        ("m_axis_tdata", "output", 8),
        ("busy", "output", 1),
    ]


def test_ports_of_piecewise_blocks(tmp_path: Path) -> None:
    geometry = SMALL.replace(rows=2, weight_bits=4, breakpoints=2, rescale=True, constant_depth=8)
    element = generate_block("element", geometry, tmp_path)
    assert [(port.name, port.direction, port.width) for port in element.ports[2:]] == [
        ("acts", "input", 4 * 2),
        ("weights", "input", 4 * 6),
        ("enable", "input", 1),
        ("add", "input", 1),
        ("clear", "input", 1),
        ("shift", "input", 1),
        ("sums", "output", 5 * 22),
    ]
    combine = generate_block("combine", geometry, tmp_path)
    assert [(port.name, port.direction, port.width) for port in combine.ports[2:]] == [
        ("s_axis_tvalid", "input", 1),
        ("s_axis_tready", "output", 1),
        ("s_axis_channel", "input", 3),
        ("s_axis_values", "input", 2 * 23),
        ("s_axis_tlast", "input", 1),
        ("s_axis_constant", "input", 3),
        ("s_axis_outer", "input", 2 * 4 * 22),
        ("m_axis_tvalid", "output", 1),
        ("m_axis_tready", "input", 1),
        ("m_axis_channel", "output", 3),
        ("m_axis_values", "output", 2 * 32),
        ("m_axis_tlast", "output", 1),
        ("combined", "input", 1),
        ("rescaled", "input", 1),
        ("shift", "input", 6),
        ("bits", "input", 6),
        ("host_address", "input", 3 + 3),
        ("host_read_enable", "input", 1),
        ("host_read_data", "output", 32),
        ("host_write_enable", "input", 1),
        ("host_write_data", "input", 32),
    ]
    assert combine.latency == 6
    assert generate_block("combine", geometry.replace(rescale=False), tmp_path).latency == 3


def test_manifest_round_trip(tmp_path: Path) -> None:
    manifest = generate_block("threshold", SMALL, tmp_path)
    path = tmp_path / "evenstep_threshold.json"
    assert Manifest.read(path) == manifest
    assert manifest.latency == 2
    good = path.read_text()
    for bad, message in (
        (good[:-40], "is no manifest of evenstep"),
        (good.replace('"lanes": 4', '"lanes": 5'), "its hash is not that of its parameters"),
        (good.replace('"lanes"', '"lines"'), r"missing or unknown: \['lanes', 'lines'\]"),
        (good.replace('"evenstep_threshold.v"', '"../x.v"'), "must be a file beside it"),
        (good.replace('"evenstep_threshold.v"', "7"), "verilog must be a text, not 7"),
        (good.replace('"block": "threshold"', '"block": ["threshold"]'), r"block must be a text, not \['threshold'\]"),
        (good.replace('"module": "', '"module": "1'), "module must be a Verilog identifier, not '1evenstep"),
        (good.replace(manifest.sha256, "0" * 63), "sha256 must be 64 hexadecimal digits"),
        (good.replace('"latency": 2', '"latency": "2"'), "latency must be a non-negative integer, not '2'"),
        (
            good.replace('"direction": "input"', '"direction": "inout"', 1),
            "Port direction must be one of input, output",
        ),
        (good.replace('"width": 1', '"width": 0', 1), "Port width must be a positive integer, not 0"),
        ("[]", "is no manifest of evenstep"),
    ):
        path.write_text(bad)
        with pytest.raises(ValueError, match=message):
            Manifest.read(path)


def test_failed_write_keeps_what_existed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate_block("dot", SMALL, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    # Named by the file that is not there, not by what lay beside it.
    with pytest.raises(OSError, match=r"No space left on device: '[^']*evenstep_dot\.\w+'\Z"):
        generate_block("dot", SMALL.replace(lanes=7), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "values, message",
    [
        ({"clock": "1clk"}, r"\AClock name must be a Verilog identifier, not '1clk'\Z"),
        ({"reset": "clk"}, r"\AClock and reset must have different names, not both 'clk'\Z"),
        ({"reset_active": "up"}, r"\AReset level must be one of high, low, not 'up'\Z"),
    ],
)
def test_bad_conventions(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Conventions(**values)
