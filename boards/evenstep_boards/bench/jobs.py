"""Measuring designs: each once, by several processes, and kept in a file of results."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evenstep.files import write_file
from evenstep.generate import emit_verilog
from evenstep_boards.bench.designs import TARGETS, Design
from evenstep_boards.measure import Store, digest, run_jobs, unfinished
from evenstep_boards.place import NoRoomError, pack_netlist, place_netlist, placer
from evenstep_boards.synthesize import Synthesis, synthesis_commands, synthesize_verilog
from evenstep_boards.toolchain import find_tool

__all__ = ["Job", "create_jobs", "measure", "run_job"]

_TOP = "block"


@dataclass(frozen=True)
class Job:
    """One measurement.

    Parameters
    ----------
    folder : str
        Holds ``block.v``, the design as Verilog; gets what the tools make of it.
    family, device : str, str or None
        What it is synthesized for; where it is placed, if it is.
    dsps, wide_luts : bool
        Whether multipliers become DSP blocks, and LUTs are joined to wider ones.
    seed : int or None
        Of the placer; None: it is not placed, but cells are counted as if it were.
    design : dict
        What the record says beside figures: ``design``, the name; ``latency``; ``verilog``, the hash of its text;
        ``target``; ``tools``, with versions.
    """

    folder: str
    family: str
    device: str | None
    dsps: bool
    wide_luts: bool
    seed: int | None
    design: dict[str, Any]

    @property
    def key(self) -> str:
        """In the file of results: whatever figures depend on."""
        commands = synthesis_commands(self.family, dsps=self.dsps, wide_luts=self.wide_luts)
        return digest(self.design["verilog"], self.family, commands, self.device, self.seed, self.design["tools"])


def create_jobs(design: Design, seeds: int, folder: Path) -> dict[str, Job]:
    """Jobs of a design by their keys, one for each seed; writes its Verilog into a folder of its own in `folder`."""
    target = TARGETS[design.target]
    text = emit_verilog(design.component(), name=_TOP)[0]
    verilog = hashlib.sha256(text.encode()).hexdigest()[:32]
    inside = folder / f"{target.family}-{'dsp-' * design.dsps}{'wide-' * design.wide_luts}{verilog}"
    write_file(inside / f"{_TOP}.v", text)
    device = target.device
    tools = [find_tool("yosys").version, *([placer(device).version] if device else [])]
    facts = {"design": design.name, "latency": design.latency, "verilog": verilog, "tools": tools}
    options = (str(inside), target.family, device, design.dsps, design.wide_luts)
    jobs = [Job(*options, seed, facts) for seed in design.seeds(seeds)]
    return {job.key: job for job in jobs}


def run_job(job: Job) -> dict[str, Any]:
    """Synthesize and place; the record of a `Job`.

    That of a design that has no room in its device has ``no_room`` instead of figures: it says why.
    """
    synthesis = _synthesize(job)
    record = {**job.design, "device": job.device, "seed": job.seed, "synthesized_luts": synthesis.luts}
    cells = ("luts", "flip_flops", "carries", "block_rams", "dsps")
    if job.device is None:
        return record | {name: getattr(synthesis, name) for name in cells}
    folder = Path(job.folder) / f"seed{job.seed or ''}"
    try:
        if job.seed is None:
            packed = pack_netlist(synthesis, folder=folder, device=job.device)
            return record | {name: getattr(packed, name) for name in cells}
        placed = place_netlist(synthesis, folder=folder, seed=job.seed, device=job.device)
    except NoRoomError as error:
        return record | {"no_room": str(error)}
    return record | {name: getattr(placed, name) for name in (*cells, "fmax", "critical_path")}


def _synthesize(job: Job) -> Synthesis:
    """The netlist, made once for all seeds."""
    folder = Path(job.folder)
    kept = folder / "synthesis.json"
    if kept.exists():
        found = json.loads(kept.read_text())
        return Synthesis(**found, netlist=folder / "none", cells=folder / f"{_TOP}_{job.family}.cells")
    options: Any = {"dsps": job.dsps, "wide_luts": job.wide_luts}
    made = synthesize_verilog(folder / f"{_TOP}.v", top=_TOP, family=job.family, folder=folder, **options)
    numbers = {name: value for name, value in asdict(made).items() if name not in ("netlist", "cells")}
    write_file(kept, json.dumps(numbers))
    return made


def measure(
    jobs: dict[str, Job],
    store: Store,
    *,
    workers: int | None,
    progress: Callable[[str, dict[str, Any]], None],
) -> dict[str, dict[str, Any]]:
    """Run the jobs that `store` lacks; records of all, by their keys.

    The first seed of every design comes before the second one of any, so that an interrupted run has something of all.
    Tools from PyPI are compiled in their first run on a machine, into a file that two runs must not write at once: so
    the first job of each family and device runs alone.
    """
    ordered = dict(sorted(jobs.items(), key=lambda item: item[1].seed or 0))
    left = unfinished(ordered, store)
    first = {(job.family, job.device): key for key, job in reversed(left.items())}
    if workers != 1:
        run_jobs(run_job, {key: left[key] for key in first.values()}, store, workers=1, progress=progress)
    return run_jobs(run_job, ordered, store, workers=workers, progress=progress)
