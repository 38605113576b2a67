"""What is computed of engines and networks, each thing by itself, so that it is kept and never computed twice."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import evenstep
import evenstep_boards
from evenstep.estimate.fit import sized_geometry
from evenstep.gateware.engine import Engine
from evenstep.gateware.memory import WordMemory
from evenstep.generate import emit_verilog
from evenstep.spec import Geometry, Network
from evenstep_boards.images import ImageSet
from evenstep_boards.measure import digest
from evenstep_boards.place import DEVICES, NoRoomError, place_netlist
from evenstep_boards.spram import SpramMemory
from evenstep_boards.synthesize import Synthesis, synthesize_verilog
from evenstep_boards.toolchain import find_tool

__all__ = ["Accuracy", "Design", "Job", "Routing", "Shared", "Synthesized", "job_key", "run_job"]

#: Numbers of all layers that are computed at once, 8 bytes each.
_NUMBERS = 2**24


@dataclass(frozen=True)
class Design:
    """A network on an array: the engine with memories as small as can be, and its cycles."""

    network: str
    array: Geometry


@dataclass(frozen=True)
class Accuracy:
    """Pictures that a network gets right; `pictures` names them."""

    network: str
    pictures: str


@dataclass(frozen=True)
class Synthesized:
    """Cells of an engine, its weights in SPRAMs or not."""

    geometry: Geometry
    family: str
    spram: bool


@dataclass(frozen=True)
class Routing:
    """An engine on a device, placed with a seed."""

    engine: Synthesized
    target: str
    seed: int


Job = Design | Accuracy | Synthesized | Routing


@dataclass(frozen=True, eq=False)
class Shared:
    """What jobs need that is too large for each of them: networks by the digest of their files, and pictures."""

    networks: Mapping[str, Network]
    pictures: Mapping[str, ImageSet]

    def __call__(self, job: Job) -> dict[str, Any]:
        """Run a job; see `run_job`."""
        return run_job(self, job)


def job_key(job: Job) -> str:
    """Names all that a job's result depends on: programs, too, and the tools."""
    tools = []
    if isinstance(job, Synthesized | Routing):
        tools.append(_tool_version("yosys"))
    if isinstance(job, Routing):
        tools.append(_tool_version(DEVICES[job.target].tool))
    return digest(type(job).__name__, asdict(job), _programs(), tools)


@cache
def _tool_version(name: str) -> str:
    return find_tool(name).version


@cache
def _programs() -> str:
    """Digest of all Python files that results come from."""
    core, boards = (Path(str(package.__file__)).parent for package in (evenstep, evenstep_boards))
    paths = [*core.rglob("*.py"), *boards.glob("*.py"), Path(__file__)]
    return digest(sorted([path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in paths))


def run_job(shared: Shared, job: Job) -> dict[str, Any]:
    """Result of a job. What cannot be, and never will, is a result too: ``{"reason": ...}``."""
    if isinstance(job, Design):
        return _design(shared.networks[job.network], job.array)
    if isinstance(job, Accuracy):
        return _accuracy(shared.networks[job.network], shared.pictures[job.pictures])
    if isinstance(job, Synthesized):
        made, _ = _synthesize(job)
        return _cells(made)
    made, cells = _synthesize(job.engine)
    with tempfile.TemporaryDirectory(prefix="evenstep-explore-") as folder:
        netlist = Path(folder) / "netlist.cells"
        netlist.write_bytes(cells)
        try:
            placed = place_netlist(replace(made, cells=netlist), folder=Path(folder), seed=job.seed, device=job.target)
        except NoRoomError as error:
            return {"reason": str(error)}
    return {**_cells(placed), "fmax": placed.fmax}


def _cells(made: Any) -> dict[str, int]:
    return {name: getattr(made, name) for name in ("luts", "flip_flops", "carries", "block_rams", "dsps")}


def _design(network: Network, array: Geometry) -> dict[str, Any]:
    try:
        fit = sized_geometry(network, array)
    except ValueError as error:
        return {"reason": str(error)}
    cycles, useful = fit.program.cycles, round(fit.program.useful, 4)
    return {"geometry": fit.geometry.to_dict(), "cycles": cycles, "useful": useful}


def _accuracy(network: Network, pictures: ImageSet) -> dict[str, Any]:
    assert pictures.labels is not None
    part = max(1, min(256, _NUMBERS // sum(tensor.size for tensor in network.types().values())))
    right = 0
    for start in range(0, len(pictures), part):
        results = network.boundaries(pictures.pixels[start : start + part])[-1]
        guesses = results.reshape(len(results), -1).argmax(axis=1)
        right += int(np.sum(guesses == pictures.labels[start : start + part]))
    return {"right": right, "pictures": len(pictures)}


# The last one is kept: seeds of an engine mostly come one after the other.
@lru_cache(maxsize=1)
def _synthesize(job: Synthesized) -> tuple[Synthesis, bytes]:
    memory = SpramMemory if job.spram else WordMemory
    with tempfile.TemporaryDirectory(prefix="evenstep-explore-") as name:
        source = Path(name) / "engine.v"
        source.write_text(emit_verilog(Engine(job.geometry, weight_memory=memory), name="engine")[0])
        made = synthesize_verilog(source, top="engine", family=job.family, folder=Path(name))
        return made, made.cells.read_bytes()
