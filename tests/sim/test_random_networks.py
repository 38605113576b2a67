"""Random networks on compiled engines; `tests/benchmarks/random_networks.py` runs thousands, on more."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from evenstep.compiler import layer_cycles
from tests.benchmarks.random_networks import Case, run_geometry

#: Networks that failed once, as small as they were found: the engine's name, and the case.
KEPT: list[tuple[str, Case]] = []


@pytest.mark.parametrize(
    "name", ["narrow neighbours", "streams", "pipelined", "recoded", "vectors", "pipelined vectors"]
)
def test_random_networks(name: str, tmp_path: Path) -> None:
    kept = [case for engine, case in KEPT if engine == name]
    tally, failures = run_geometry(name, [*kept, *(Case(seed) for seed in range(120))], tmp_path)
    assert not failures, failures[0]
    assert tally.equal >= 50
    assert tally.streamed >= 20 or name != "streams"


def test_a_wrong_network_is_found_and_made_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that miscounts cycles fails on every network, so on one of a single layer too."""

    def wrong(layer, geometry, *, macs):
        cycles = layer_cycles(layer, geometry, macs=macs)
        return replace(cycles, total=cycles.total + 1)

    monkeypatch.setattr("evenstep.compiler.stream.layer_cycles", wrong)
    tally, (line,) = run_geometry("streams", [Case(3)], tmp_path)
    assert tally.failed == 1
    assert line.startswith("('streams', Case(seed=0, layers=1, size=1)),  # ")


def test_simulation_rate(tmp_path: Path) -> None:
    """A small run of the benchmark, on an engine that the shipped network does not fit."""
    script = Path(__file__).parents[1] / "benchmarks" / "simulation_rate.py"
    command = [sys.executable, str(script), "--images", "20", "--preset", "tiny"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^compiled main loop: [\d.]+ images a second \(20 images, all equal\)$", result.stdout, re.M)
    assert re.search(r"^ratio: [\d.]+$", result.stdout, re.M)
