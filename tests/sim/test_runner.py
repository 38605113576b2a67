"""The runner: what it refuses, what it reuses, and that a broken block fails."""

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from cocotb_tools import config as cocotb_config

from evenstep.generate import Manifest, generate_block
from evenstep.spec import Geometry
from evenstep_sim import simulators
from evenstep_sim.runner import run_manifest
from evenstep_sim.simulators import check_simulator, find_cxx

_SMALL = Geometry(columns=2, lanes=4, accumulator_bits=12, program_depth=64, weight_depth=64, act_depth=32).replace(
    result_depth=16, threshold_depth=16
)

# Of blocks that a plain geometry has not, or not whole.
_COMBINED = _SMALL.replace(breakpoints=1, rescale=True)

# One thing broken in each block: text that stands in its Verilog, and what takes its place.
_BREAKS = {
    "dot": ("+ ", "| "),
    "array": ("= shift ?", "= ~shift ?"),
    "element": ("$signed(count1)", "count1"),
    "combine": ("? clipped_above", "? moved0"),
    "threshold": ("] + held[", "] - held["),
    "drain": ("scaled - correction", "scaled + correction"),
    "packer": ("= lane[3] |", "= lane[2] |"),
    "frame-receiver": ("count <= 9'h100", "count <= 9'h101"),
    "frame-sender": ("== 7'h7d", "== 7'h7c"),
    "engine": ("scaled - correction", "scaled + correction"),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _replace_verilog(folder: Path, manifest: Manifest, text: str) -> Path:
    """Write other Verilog and a manifest that vouches for it."""
    (folder / manifest.verilog).write_text(text)
    changed = dataclasses.replace(manifest, sha256=hashlib.sha256(text.encode()).hexdigest())
    path = folder / f"{manifest.module}.json"
    path.write_text(changed.to_json())
    return path


@pytest.mark.parametrize("block", _BREAKS)
def test_broken_block_fails(block: str, tmp_path: Path, cache: Path) -> None:
    manifest = generate_block(block, _COMBINED if block in ("element", "combine") else _SMALL, tmp_path)
    text = (tmp_path / manifest.verilog).read_text()
    assert _BREAKS[block][0] in text, "The text to break must be in the Verilog"
    path = _replace_verilog(tmp_path, manifest, text.replace(*_BREAKS[block]))
    with pytest.raises(AssertionError, match=rf"^{manifest.module} on icarus, seed 1: "):
        run_manifest(path, simulator="icarus")


def test_build_is_reused_while_the_verilog_is_unchanged(tmp_path: Path, cache: Path) -> None:
    manifest = generate_block("packer", _SMALL, tmp_path)
    path = tmp_path / f"{manifest.module}.json"
    run_manifest(path, simulator="icarus")
    (product,) = cache.rglob("sim.vvp")
    built = product.stat().st_mtime_ns
    run_manifest(path, simulator="icarus", seed=5)
    assert list(cache.rglob("sim.vvp")) == [product] and product.stat().st_mtime_ns == built
    text = (tmp_path / manifest.verilog).read_text()
    run_manifest(_replace_verilog(tmp_path, manifest, text + "// changed\n"), simulator="icarus")
    assert len(list(cache.rglob("sim.vvp"))) == 2


def test_build_outlives_the_environment_that_made_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = generate_block("packer", _SMALL, tmp_path)
    path = tmp_path / f"{manifest.module}.json"
    gone = tmp_path / "gone"
    gone.symlink_to(cocotb_config.libs_dir)
    with monkeypatch.context() as patch:
        patch.setattr(cocotb_config, "libs_dir", gone)
        run_manifest(path, simulator="verilator")
    gone.unlink()
    assert run_manifest(path, simulator="verilator")
    assert len(list(cache.rglob("bench"))) == 1


def test_two_processes_build_at_once(tmp_path: Path, cache: Path) -> None:
    generate_block("packer", _SMALL, tmp_path)
    program = (
        "import sys; from pathlib import Path; from evenstep_sim.runner import run_manifest; "
        "run_manifest(Path(sys.argv[1]), simulator='icarus')"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "evenstep_packer.json")]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]


def test_variables_of_other_simulations_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COCOTB_TEST_MODULES", "nothing")
    monkeypatch.setenv("COCOTB_TEST_FILTER", "nothing")
    monkeypatch.setenv("COCOTB_RANDOM_SEED", "nonsense")
    monkeypatch.setenv("TOPLEVEL", "nothing")
    manifest = generate_block("packer", _SMALL, tmp_path)
    assert len(run_manifest(tmp_path / f"{manifest.module}.json", simulator="icarus")) == 3


def test_verilog_of_another_manifest_is_refused(tmp_path: Path) -> None:
    manifest = generate_block("packer", _SMALL, tmp_path)
    (tmp_path / manifest.verilog).write_text("module other; endmodule\n")
    with pytest.raises(ValueError, match=r"has another checksum: generate both anew$"):
        run_manifest(tmp_path / f"{manifest.module}.json", simulator="icarus")


def test_verilog_that_does_not_build_is_refused(tmp_path: Path, cache: Path) -> None:
    manifest = generate_block("packer", _SMALL, tmp_path)
    path = _replace_verilog(tmp_path, manifest, "this is no Verilog\n")
    with pytest.raises(RuntimeError, match=r"^icarus cannot build evenstep_packer: .*error"):
        run_manifest(path, simulator="icarus")


def test_unknown_simulator_is_refused() -> None:
    expected = r"^Simulator must be one of verilator, icarus, not 'modelsim'$"
    with pytest.raises(ValueError, match=expected):
        check_simulator("modelsim")


@pytest.mark.parametrize(
    ("simulator", "message"),
    [
        ("icarus", r"^Icarus Verilog needs iverilog, which must be installed: apt-get install iverilog$"),
        ("verilator", r"^Verilator needs make, which must be installed: apt-get install make$"),
    ],
)
def test_missing_tools_are_named(simulator: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulators.shutil, "which", lambda _: None)
    find_cxx.cache_clear()
    with pytest.raises(RuntimeError, match=message):
        check_simulator(simulator)
    find_cxx.cache_clear()
