"""Runner: builds a generated block with a simulator and runs its bench on it."""

import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from cocotb_tools import config as cocotb_config
from cocotb_tools import runner as cocotb_runner

from evenstep.checks import check_int
from evenstep.generate import Manifest
from evenstep_sim.cache import cache_folder
from evenstep_sim.simulators import check_simulator, simulator_version, verilator_environment

__all__ = ["MANIFEST_VARIABLE", "BenchResult", "run_manifest", "run_sources"]

#: Environment variable that hands the path of the manifest to the bench.
MANIFEST_VARIABLE = "EVENSTEP_MANIFEST"

# Variables of the user's own simulations, which must not reach into these.
_FOREIGN = ("COCOTB_", "GPI_", "PYGPI_", "EVENSTEP_")
_FOREIGN_NAMES = ("MODULE", "TESTCASE", "TOPLEVEL", "TOPLEVEL_LANG", "RANDOM_SEED", "WAVES", "GUI", "PYTHONHOME")
_TIMESCALE = ("1ns", "1ps")
# Assertions are rewritten in benches alone: in every module that they import, it takes longer than most simulations.
_REWRITTEN = {"COCOTB_REWRITE_ASSERTION_FILES": "evenstep_sim/benches/*.py"}


@dataclass(frozen=True)
class BenchResult:
    """A test that passed: its name, and how many seconds it took."""

    name: str
    seconds: float


class _OwnEnvironment(cocotb_runner.Runner):
    """Runs with variables of its own, which win over those of the process; cocotb's runner has it the other way."""

    variables: Mapping[str, str] = {}

    def _set_env_common(self) -> None:
        chosen = dict(self.env)
        super()._set_env_common()
        for name in list(self.env):
            foreign = name.startswith(_FOREIGN) or name in _FOREIGN_NAMES
            if foreign and name not in chosen and name not in ("GPI_USERS", "PYGPI_PYTHON_BIN"):
                del self.env[name]
        self.env.update(chosen)
        self.env.update(self.variables)


class _Icarus(_OwnEnvironment, cocotb_runner.Icarus):
    product = "sim.vvp"
    # In SystemVerilog, cocotb's choice, registers get their initial values before any process waits for a change: the
    # `always @*` that Yosys writes would then give X until the first one.
    build_arguments = ("-g2005",)


class _Verilator(_OwnEnvironment, cocotb_runner.Verilator):
    product = "bench"
    build_arguments = ()

    def _simulator_in_path_build_only(self) -> None:
        self.executable = "verilator"  # found on the PATH that `variables` holds

    def _build_command(self) -> list[list[str]]:
        # Only the ports are watched; with everything public, as cocotb has it, simulation is four times slower.
        commands = []
        for command in super()._build_command():
            if "--public-flat-rw" in command:
                at = command.index("--public-flat-rw")
                command[at : at + 1] = ["--public-depth", "1"]
                command[command.index("-o") + 1] = self.product
            commands.append(command)
        return commands

    def _test_command(self) -> list[list[str]]:
        return [[str(self.build_dir / self.product), *self.test_args, *self.plusargs]]


def run_manifest(
    manifest_path: Path, *, simulator: str = "verilator", seed: int = 1, bench: str = ""
) -> tuple[BenchResult, ...]:
    """Run the bench of a generated block on its Verilog.

    The build is kept and reused while Verilog and simulator are the same.

    Parameters
    ----------
    manifest_path : Path
        The JSON file that `evenstep generate` wrote, its Verilog beside it.
    simulator : str
        One of `evenstep_sim.simulators.SIMULATORS`.
    seed : int
        Seed of all stimulus, 0 to 2**31 - 1.
    bench : str
        Module of cocotb tests. Left out: the block's own.

    Raises
    ------
    AssertionError
        A test failed; the message holds the first mismatch.
    OSError, ValueError
        A file is missing, or is not what the manifest says.
    RuntimeError
        The simulator is missing or cannot build the Verilog.
    """
    manifest = Manifest.read(manifest_path)
    verilog = manifest_path.parent / manifest.verilog
    found = hashlib.sha256(verilog.read_bytes()).hexdigest()
    if found != manifest.sha256:
        raise ValueError(
            f"{verilog} must be the file that {manifest_path.name} describes, but has another checksum: "
            "generate both anew"
        )
    return run_sources(manifest_path, [verilog], simulator=simulator, seed=seed, bench=bench)


def run_sources(
    manifest_path: Path,
    sources: Sequence[Path],
    *,
    simulator: str,
    seed: int = 1,
    defines: Mapping[str, str] | None = None,
    bench: str = "",
) -> tuple[BenchResult, ...]:
    """Run the bench of a manifest on `sources` in place of its Verilog, a netlist with cell models for one.

    Parameters as in `run_manifest`; `defines` are macros of the sources.
    """
    manifest = Manifest.read(manifest_path)
    check_int("Seed", seed, 0, 2**31 - 1)
    check_simulator(simulator)
    with tempfile.TemporaryDirectory(prefix="evenstep-") as scratch:
        runner = _create_runner(simulator)
        folder = _build(runner, manifest.module, sources, simulator=simulator, defines=defines or {})
        results, log = Path(scratch) / "results.xml", Path(scratch) / "bench.log"
        crash = ""
        try:
            runner.test(
                test_module=bench or f"evenstep_sim.benches.{manifest.block.replace('-', '_')}",
                hdl_toplevel=manifest.module,
                hdl_toplevel_lang="verilog",
                build_dir=folder,
                test_dir=scratch,
                results_xml=str(results),
                log_file=log,
                seed=seed,
                extra_env={MANIFEST_VARIABLE: str(manifest_path.resolve()), **_REWRITTEN},
            )
        except (SystemExit, RuntimeError) as error:
            crash = str(error)  # what failed, and why, is in the results and in the log
        passed, failed = _read_results(results)
        if failed or crash or not passed:
            kept = folder / "failed.log"
            shutil.copyfile(log, kept)
            reason = "; ".join(failed) or f"the simulator stopped ({crash or 'without results'})"
            raise AssertionError(f"{manifest.module} on {simulator}, seed {seed}: {reason} (log: {kept})")
        return passed


def _create_runner(simulator: str) -> "_Icarus | _Verilator":
    if simulator == "icarus":
        return _Icarus()
    runner = _Verilator()
    # A kept build names the folder of cocotb's libraries in the environment that built it, which may be gone since.
    libraries = [str(cocotb_config.libs_dir), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    runner.variables = {**verilator_environment(), "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    return runner


def _build(
    runner: "_Icarus | _Verilator",
    top: str,
    sources: Sequence[Path],
    *,
    simulator: str,
    defines: Mapping[str, str],
) -> Path:
    """Folder with the built simulation: one made before from the same bytes, or a new one."""
    key = hashlib.sha256()
    versions = [simulator, simulator_version(simulator), importlib.metadata.version("cocotb"), top]
    for part in [*versions, *(f"{name}={value}" for name, value in sorted(defines.items()))]:
        key.update(part.encode() + b"\0")
    for source in sources:
        key.update(hashlib.sha256(source.read_bytes()).digest())
    folder = cache_folder() / "benches" / f"{simulator}-{key.hexdigest()[:32]}"
    if (folder / runner.product).is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    # Built beside and renamed: whoever else builds the same neither waits nor sees half a file.
    with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as scratch:
        log = Path(scratch) / "build.log"
        try:
            runner.build(
                sources=list(sources),
                hdl_toplevel=top,
                build_dir=scratch,
                timescale=_TIMESCALE,
                defines=dict(defines),
                log_file=log,
                build_args=runner.build_arguments,
            )
        except RuntimeError:
            kept = folder / "build.log"
            shutil.copyfile(log, kept)
            first = next((line for line in log.read_text().splitlines() if "rror" in line), "no message")
            raise RuntimeError(f"{simulator} cannot build {top}: {first} (log: {kept})") from None
        os.replace(Path(scratch) / runner.product, folder / runner.product)
    return folder


def _read_results(path: Path) -> tuple[tuple[BenchResult, ...], list[str]]:
    """Tests that passed, and what went wrong in the others, from cocotb's results file."""
    if not path.is_file():
        return (), []
    passed, failed = [], []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        problem = case.find("failure")
        problem = problem if problem is not None else case.find("error")
        if problem is None:
            passed.append(BenchResult(case.get("name", "?"), float(case.get("time", 0))))
        else:
            reason = problem.get("error_msg") or problem.get("message") or (problem.text or "").strip() or "failed"
            # Below the first line, an assertion repeats its operands.
            failed.append(f"{case.get('name', '?')}: {reason.splitlines()[0]}")
    return tuple(passed), failed
