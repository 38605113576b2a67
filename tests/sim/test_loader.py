"""The weight loader: its bench over widths, and what it and its golden functions refuse."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evenstep.axi.read_port import AXI4ReadSignature
from evenstep.compiler.loads import external_words, load_cycles, word_beats
from evenstep.gateware.loader import WeightLoader
from evenstep.generate import Conventions, Manifest, emit_verilog
from evenstep.spec import Geometry
from evenstep.verilator import find_verilator, verilator_environment
from evenstep_sim.runner import run_manifest
from tests.refusals import refusal


def _generate(folder: Path, geometry: Geometry, **parameters: int) -> Path:
    """Write a loader of a geometry's weight words and its manifest into a folder; the manifest's path."""
    loader = WeightLoader(word_bits=geometry.weight_word_bits, depth=geometry.weight_depth, **parameters)
    conventions = Conventions(clock="aclk", reset="aresetn", reset_active="low")
    text, ports = emit_verilog(loader, name="loader", conventions=conventions)
    manifest = Manifest(
        block="loader",
        module="loader",
        verilog="loader.v",
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        geometry=geometry,
        conventions=conventions,
        ports=tuple(ports),
        latency=None,
        generator="tests",
    )
    (folder / "loader.v").write_text(text)
    (folder / "loader.json").write_text(manifest.to_json())
    return folder / "loader.json"


# Words of 72, 20, 128 and 2 bits: of several beats, of one, of whole ones, and in pages of less than a burst. The
# second loader may have as many bursts under way as its counter of them can hold.
_CASES = [
    ({"columns": 3, "lanes": 12, "weight_depth": 30}, {"data_bits": 32}, "verilator"),
    ({"columns": 2, "lanes": 5, "weight_depth": 65}, {"data_bits": 64}, "icarus"),
    ({"columns": 4, "lanes": 16, "weight_depth": 40}, {"data_bits": 64, "address_bits": 12}, "icarus"),
    ({"columns": 1, "lanes": 1, "weight_depth": 40}, {"data_bits": 1024, "address_bits": 64}, "icarus"),
]


@pytest.mark.parametrize(("shape", "parameters", "simulator"), _CASES)
def test_bench(shape: dict[str, Any], parameters: dict[str, int], simulator: str, tmp_path: Path) -> None:
    assert run_manifest(_generate(tmp_path, Geometry(**shape), **parameters), simulator=simulator)


def test_lint_clean(tmp_path: Path) -> None:
    _generate(tmp_path, Geometry(), data_bits=128)
    result = subprocess.run(
        [str(find_verilator()), "--lint-only", "-Wall", "loader.v"],
        cwd=tmp_path,
        env={**os.environ, **verilator_environment()},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0 and "Warning" not in result.stderr, result.stderr


def test_external_words() -> None:
    # 33 bits: a beat of 32 and one of 1; in a beat of 64 all of it.
    words = [0x1_23456789, 0, 0x1_00000002]
    assert external_words(words, word_bits=33, data_bits=32).hex(" ", 4) == (
        "89674523 01000000 00000000 00000000 02000000 01000000"
    )
    assert external_words(words, word_bits=33, data_bits=64) == external_words(words, word_bits=33, data_bits=32)
    assert external_words([3, 1], word_bits=2, data_bits=128) == b"\3" + bytes(15) + b"\1" + bytes(15)
    assert external_words([], word_bits=2, data_bits=32) == b""


def test_load_cycles() -> None:
    assert word_beats(word_bits=64, data_bits=64) == 1
    assert word_beats(word_bits=65, data_bits=64) == 2
    # Addresses from cycle 2 on, beats in cycles 12 to 16, the last write in 17.
    assert load_cycles(5, word_bits=64, data_bits=64, latency=10) == 18
    assert load_cycles(5, word_bits=65, data_bits=64, latency=10) == 23
    assert load_cycles(0, word_bits=65, data_bits=64, latency=10) == 2


_WIDTHS = {"word_bits": 8, "data_bits": 32}
_LOADER = {**_WIDTHS, "depth": 4}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: WeightLoader(**_LOADER | {"word_bits": 0}), ValueError, "Word bits must be a positive integer, not 0"),
        (
            lambda: WeightLoader(**_LOADER | {"depth": 1}),
            ValueError,
            "Depth of the weight memory must be an integer of at least 2, not 1",
        ),
        (
            lambda: WeightLoader(**_LOADER | {"data_bits": 16}),
            ValueError,
            "Data bits must be an integer from 32 to 1024, not 16",
        ),
        (
            lambda: WeightLoader(**_LOADER, address_bits=11),
            ValueError,
            "Address bits must be an integer from 12 to 64, not 11",
        ),
        (
            lambda: AXI4ReadSignature(address_bits=32, data_bits=96),
            ValueError,
            "Data bits must be a power of two from 32 to 1024, not 96",
        ),
        (
            lambda: AXI4ReadSignature(address_bits=32.0, data_bits=64),  # pyright: ignore[reportArgumentType]
            TypeError,
            "Address bits must be an integer from 12 to 64, not 32.0",
        ),
        (lambda: external_words([256], **_WIDTHS), ValueError, "Weight word must be an integer from 0 to 255, not 256"),
        (lambda: external_words([-1], **_WIDTHS), ValueError, "Weight word must be an integer from 0 to 255, not -1"),
        (
            lambda: external_words([0.5], **_WIDTHS),  # pyright: ignore[reportArgumentType]
            TypeError,
            "Weight word must be an integer from 0 to 255, not 0.5",
        ),
        (
            lambda: load_cycles(-1, **_WIDTHS, latency=1),
            ValueError,
            "Words must be a non-negative integer, not -1",
        ),
        (lambda: load_cycles(1, **_WIDTHS, latency=0), ValueError, "Latency must be a positive integer, not 0"),
        (lambda: word_beats(word_bits=0, data_bits=32), ValueError, "Word bits must be a positive integer, not 0"),
    ],
)
def test_refusals(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    assert refusal(make, error) == message
