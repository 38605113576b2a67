"""Exploration: what engines cost and give, which no other one beats, and that nothing is computed twice."""

import csv
import json
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from distributed import LocalCluster
from hypothesis import given
from hypothesis import strategies as st

from evenstep.compiler import compile_network
from evenstep.estimate import estimate_area
from evenstep.estimate.devices import Device
from evenstep.estimate.fit import sized_geometry
from evenstep.generate.options import generate_command, geometry_options
from evenstep.qonnx import write_network
from evenstep.spec import PRESETS, Conv, Dense, Encoding, Geometry, Network, Thresholds
from evenstep_boards.commands.explore import explore as command
from evenstep_boards.explore import PLACES, Plan, Sweep, explore, explorer, jobs
from evenstep_boards.explore.jobs import Design, Routing, Shared, Synthesized, job_key
from evenstep_boards.images import ImageSet
from evenstep_boards.measure import Store, read_records, run_jobs
from evenstep_boards.measure.outcome import outcome
from evenstep_boards.place import Implementation, NoRoomError
from evenstep_boards.spram import SpramMemory
from evenstep_boards.synthesize import Synthesis
from tests.boards.deadly_jobs import Deadly

SMALL = Sweep(
    rows=(1, 2),
    columns=(1, 2),
    lanes=(4, 8, 16),
    threshold_style=("bank",),
    weight_bits=(2,),
    act_bits=(2,),
    counter=("portable",),
)
OPTIONS = ["--rows", "1,2", "--columns", "1,2", "--lanes", "4", "--neighbours", "no", "--workers", "1"]


def small_network(bits: int = 2) -> Network:
    """A perceptron of 6 inputs and 3 classes."""
    random = np.random.default_rng(bits)
    encoding = Encoding("odd-level", bits)
    thresholds = Thresholds(np.sort(random.integers(-300, 300, (5, 2**bits - 1)), axis=1))
    hidden = Dense("fc1", random.integers(0, 2**bits, (5, 6)), encoding, 8, thresholds)
    return Network((hidden, Dense("fc2", random.integers(0, 2**bits, (3, 5)), encoding, bits)), name=f"small{bits}")


def small_pictures(count: int = 40) -> ImageSet:
    """Noise, with labels that the network of two bits gets right but for the first ten."""
    pixels = np.random.default_rng(1).integers(0, 256, (count, 6))
    labels = small_network().boundaries(pixels)[-1].argmax(axis=1)
    return ImageSet(pixels, np.where(np.arange(count) < 10, (labels + 1) % 3, labels))


def small_plan(**changes: Any) -> Plan:
    """Two networks on a small iCE40."""
    networks = {"two": ("2" * 64, small_network(2)), "one": ("1" * 64, small_network(1))}
    plan = Plan(networks, SMALL, PLACES["ice40up5k"], clock=10.0, pictures=("p", small_pictures()))
    return replace(plan, **changes)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Jobs run in this process, which is faster, and are listed."""
    ran: list[Any] = []

    def run_here(function: Any, jobs: Any, store: Store, *, progress: Any, **_: Any) -> dict[str, Any]:
        for key, job in explorer.unfinished(jobs, store).items():
            ran.append(job)
            store.put(key, outcome(function, job))
            progress(key, store.get(key))
        return {key: store.get(key) for key in jobs}

    monkeypatch.setattr(explorer, "run_jobs", run_here)
    return ran


def test_points(here: list[Any], tmp_path: Path) -> None:
    """Cycles, frames, LUTs and accuracy are those of compiler, estimate and integer reference."""
    with Store(tmp_path / "results.jsonl") as store:
        found = explore(small_plan(place=PLACES["ecp5-25f"]), store)
    assert len(found.points) == 2 * 12 and not found.left_out
    for point in found.points:
        network = small_network({"two": 2, "one": 1}[point.network])
        assert point.geometry.output_bits == {"two": 2, "one": 1}[point.network]
        assert point.cycles == compile_network(network, point.geometry).cycles
        assert point.frames == pytest.approx(point.geometry.rows * 10e6 / point.cycles)
        assert point.luts == sum(estimate_area(point.geometry).luts.values())
        right = network.boundaries(small_pictures().pixels)[-1].argmax(axis=1) == small_pictures().labels
        assert point.accuracy == right.mean()
    assert {point.accuracy for point in found.points if point.network == "two"} == {0.75}
    front, others = found.points[: found.front], found.points[found.front :]
    assert front and others
    for part in (front, others):
        assert [p.frames for p in part] == sorted((p.frames for p in part), reverse=True)
    assert all(any(np.less_equal(one.costs, other.costs).all() for one in front) for other in others)


def test_never_twice(here: list[Any], tmp_path: Path) -> None:
    """A wider sweep computes only what is new, another device nothing; the same again finds the same."""
    with Store(tmp_path / "results.jsonl") as store:
        first = explore(small_plan(), store)
        assert len(here) == len(set(here)) == 2 + 24
        assert explore(small_plan(), store).points == first.points
        explore(small_plan(place=PLACES["ecp5-25f"]), store)
        assert len(here) == 26
        explore(small_plan(sweep=replace(SMALL, rows=(1, 2, 4))), store)
        assert len(here) == len(set(here)) == 26 + 12
        explore(small_plan(pictures=("q", small_pictures())), store)
        assert len(here) == 26 + 12 + 2


def test_multipliers_are_for_devices_that_have_some(here: list[Any], tmp_path: Path) -> None:
    """And for networks whose thresholds are even, which a network of single thresholds is."""
    sweep = replace(SMALL, threshold_style=("requantize",))
    with Store(tmp_path / "results.jsonl") as store:
        found = explore(small_plan(sweep=sweep), store)
        assert not found.points and found.left_out["too few multipliers"].count == 2 * 12
        found = explore(small_plan(sweep=sweep, place=PLACES["ecp5-25f"]), store)
    assert {point.network for point in found.points} == {"one"} and len(found.points) == 12
    refused = found.left_out["cannot run the network"]
    assert refused.count == 12 and "that no multiplier gives" in refused.example


def test_left_out(here: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every engine that is no point is counted once, with its reason and an example."""

    def estimate(geometry: Geometry, *others: Any) -> Any:
        if geometry.counter != "portable":
            raise ValueError
        return estimate_area(geometry, *others)

    monkeypatch.setattr(explorer, "estimate_area", estimate)
    sweep = replace(SMALL, rows=(1, 64), columns=(1, 64), lanes=(1, 64), act_bits=(1,), counter=("portable", "ice40"))
    place = replace(PLACES["ice40up5k"], device=Device(5280, 12, 16, 256))
    with Store(tmp_path / "results.jsonl") as store:
        found = explore(small_plan(sweep=sweep, place=place), store)
    assert len(found.points) + sum(left.count for left in found.left_out.values()) == 2 * 2**4
    reasons = {reason: left.example for reason, left in found.left_out.items()}
    assert set(reasons) == {"cannot be generated", "too many LUTs", "LUTs not estimated", "too many block RAMs"}
    assert reasons["cannot be generated"].startswith("Lanes must be at least the 2 digits")
    assert reasons["too many LUTs"].startswith("1 x 64 x 64 of 2 x 1 bits: at least ")
    assert reasons["too many block RAMs"].endswith(" of 12")


def test_counters(here: list[Any], tmp_path: Path) -> None:
    """Where none is named, those of the device that are estimated are tried, or all of them to be measured."""
    place = PLACES["ecp5-25f"]
    with Store(tmp_path / "results.jsonl") as store:
        unnamed = replace(SMALL, counter=())
        explore(small_plan(place=PLACES["gw1nr-9"], sweep=unnamed), store)
        assert {job.array.counter for job in here if isinstance(job, Design)} == {"portable"}
        plan = one_network(place=place, method="synthesized", sweep=unnamed)
        assert plan.counters == ("portable", "ecp5")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jobs, "emit_verilog", lambda *_, **__: 1 / 0)
            found = explore(plan, store)
    assert {job.geometry.counter for job in here if isinstance(job, Synthesized)} == {"portable", "ecp5"}
    failed = found.left_out["failed; tried again the next time"]
    assert failed.count > 0 and failed.example.endswith("ZeroDivisionError: division by zero")


def test_counter_registers(here: list[Any], tmp_path: Path) -> None:
    """As many of a counter as are swept: all of them are measured, as estimates know no clock; equal ones once."""
    sweep = replace(SMALL, rows=(2,), counter=("portable", "ecp5"), counter_registers=(16, 0, 1))
    plan = one_network(place=PLACES["ecp5-25f"], sweep=sweep)
    with Store(tmp_path / "results.jsonl") as store:
        found = explore(plan, store)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jobs, "emit_verilog", lambda *_, **__: 1 / 0)
            explore(replace(plan, method="synthesized"), store)
    kinds = {("portable", 0), ("ecp5", 0), ("ecp5", 1)}
    assert {(point.geometry.counter, point.geometry.counter_registers) for point in found.points} == kinds
    tried = {job.geometry for job in here if isinstance(job, Synthesized)}
    assert {(geometry.counter, geometry.counter_registers) for geometry in tried} == kinds
    assert len(list(sweep.arrays(small_network(), sweep.counter))) == 3 * len(SMALL.columns) * len(SMALL.lanes)


def test_neighbours(here: list[Any], tmp_path: Path) -> None:
    """Where pictures can be cut into lines, rows take one each, or all of them one; of a perceptron only one each."""
    random = np.random.default_rng(1)
    thresholds = Thresholds(np.sort(random.integers(-9, 9, (3, 3)), axis=1))
    conv = Conv("conv", random.integers(0, 4, (3, 2, 3, 3)), Encoding("odd-level", 2), 2, thresholds)
    lines = Network((conv,), input_shape=(2, 9, 9))
    plan = one_network(networks={"lines": ("3" * 64, lines)}, place=PLACES["ecp5-25f"])
    with Store(tmp_path / "results.jsonl") as store:
        explore(plan, store)
        found = explore(replace(plan, sweep=replace(SMALL, neighbours=(True,))), store)
    swept = [array for array in SMALL.arrays(small_network()) if isinstance(array, Geometry)]
    assert not any(array.neighbours or array.convolution for array in swept)
    designs = [job.array for job in here if isinstance(job, Design)]
    assert {(array.rows, array.neighbours) for array in designs} == {(1, False), (2, False), (2, True)}
    assert {point.geometry.rows for point in found.points} == {2}
    assert "must be 2, 4, 8" in str(found.left_out)


def measured(store: Store, engines: Sweep, method: str, figures: dict[str, Any], seeds: int = 0) -> None:
    """Put results of the tools into a store, which take minutes to make."""
    place = PLACES["ice40up5k"]
    for array in engines.arrays(small_network()):
        assert isinstance(array, Geometry)
        geometry = sized_geometry(small_network(), array).geometry
        synthesized = Synthesized(geometry, place.family, True)
        if method == "synthesized":
            store.put(job_key(synthesized), figures)
        for seed in range(1, seeds + 1):
            record = figures if "reason" in figures else {**figures, "fmax": 10.0 * seed + geometry.lanes}
            store.put(job_key(Routing(synthesized, place.target, seed)), record)


FIGURES = {"luts": 1234, "flip_flops": 1, "carries": 1, "block_rams": 20, "dsps": 0}


def one_network(**changes: Any) -> Plan:
    """The first of the small networks alone."""
    alone = {"networks": {"two": ("2" * 64, small_network())}, "pictures": None}
    return small_plan(**{**alone, **changes})


def test_synthesized(here: list[Any], tmp_path: Path) -> None:
    """Measured figures stand in the place of estimates, of the engines on their front."""
    with Store(tmp_path / "results.jsonl") as store:
        estimated = explore(one_network(), store)
        measured(store, SMALL, "synthesized", FIGURES)
        here.clear()
        found = explore(one_network(method="synthesized"), store)
    assert not here
    assert len(found.points) == estimated.front < len(estimated.points)
    behind = found.left_out["behind the front of the estimates"].count
    assert behind == len(estimated.points) - estimated.front
    assert {(p.luts, p.room.blocks, p.room.kbits, p.method) for p in found.points} == {
        (1234, 20, 80 + p.room.sprams * 256, "synthesized") for p in found.points
    }
    assert found.front < len(found.points)  # all take the same LUTs now


def test_routed(here: list[Any], tmp_path: Path) -> None:
    """Clocks are medians over seeds; a wanted one that is not reached leaves an engine out."""
    with Store(tmp_path / "results.jsonl") as store:
        measured(store, SMALL, "routed", FIGURES, seeds=3)
        found = explore(one_network(method="routed", clock=None), store)
        assert {type(job) for job in here} == {Design}
        assert found.points
        for point in found.points:
            assert point.fmax == point.clock == 20 + point.geometry.lanes
            assert point.frames == pytest.approx(point.geometry.rows * point.clock * 1e6 / point.cycles)
        slow = explore(one_network(method="routed", clock=26.0), store)
        assert {point.geometry.lanes for point in slow.points} == {8}
        assert slow.left_out["too slow"].count == sum(point.geometry.lanes == 4 for point in found.points)


def test_no_room_when_routed(here: list[Any], tmp_path: Path) -> None:
    """What the router has no room for is counted, once for an engine."""
    with Store(tmp_path / "results.jsonl") as store:
        measured(store, SMALL, "routed", {"reason": "engine does not fit"}, seeds=2)
        found = explore(one_network(method="routed", seeds=2), store)
    assert not found.points
    assert found.left_out["no room when routed"].count == explore_front(tmp_path)


def explore_front(folder: Path) -> int:
    """Engines on the front of the estimates."""
    with Store(folder / "results.jsonl") as store:
        return explore(one_network(), store).front


def test_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine is synthesized once for all its seeds, with its weights where they are to lie, and placed with each."""
    calls: list[tuple[Any, ...]] = []

    def emit(engine: Any, *, name: str) -> tuple[str, list[Any]]:
        calls.append((engine.geometry, engine.weight_memory, name))
        return f"module {name}", []

    def synthesize(verilog: Path, *, top: str, family: str, folder: Path) -> Synthesis:
        calls.append((verilog.read_text(), top, family))
        (folder / "cells").write_text("the cells")
        return Synthesis(top, family, 11, 12, 13, 14, 15, folder / "v", folder / "cells")

    def place(synthesis: Synthesis, *, folder: Path, seed: int, device: str) -> Implementation:
        calls.append((synthesis.cells.read_text(), seed, device))
        if seed == 3:
            raise NoRoomError("engine does not fit")
        cells = {"luts": 21, "flip_flops": 22, "carries": 13, "block_rams": 24, "dsps": 25}
        return Implementation(
            module=synthesis.module, device=device, seed=seed, fmax=100.0 + seed, critical_path="", **cells
        )

    for name, fake in (("emit_verilog", emit), ("synthesize_verilog", synthesize), ("place_netlist", place)):
        monkeypatch.setattr(jobs, name, fake)
    geometry = PRESETS["icebreaker"]
    engine = Synthesized(geometry, "ice40", spram=True)
    shared = Shared({}, {})
    cells = {"luts": 11, "flip_flops": 12, "carries": 13, "block_rams": 14, "dsps": 15}
    assert shared(engine) == cells
    placed = {"luts": 21, "flip_flops": 22, "carries": 13, "block_rams": 24, "dsps": 25}
    assert [shared(Routing(engine, "up5k", seed)) for seed in (1, 2)] == [
        {**placed, "fmax": 101.0},
        {**placed, "fmax": 102.0},
    ]
    assert shared(Routing(engine, "up5k", 3)) == {"reason": "engine does not fit"}
    assert calls == [
        (geometry, SpramMemory, "engine"),
        ("module engine", "engine", "ice40"),
        *(("the cells", seed, "up5k") for seed in (1, 2, 3)),
    ]


def test_cluster(here: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real cluster of two workers, one of which is killed midway, the same is found as here."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    monkeypatch.setenv("EVENSTEP_TEST_MARK", str(tmp_path / "mark"))
    with Store(tmp_path / "local.jsonl") as store:
        wanted = explore(small_plan(), store)
    monkeypatch.setattr(explorer, "run_jobs", run_jobs)
    monkeypatch.setattr(explorer, "Shared", Deadly)
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with closing(cluster), Store(tmp_path / "cluster.jsonl") as store:
        found = explore(small_plan(), store, scheduler=cluster.scheduler_address)
    assert (tmp_path / "mark").exists()
    assert found.points == wanted.points and not found.left_out
    assert read_records(tmp_path / "cluster.jsonl") == read_records(tmp_path / "local.jsonl")


@pytest.fixture
def files(tmp_path: Path, here: list[Any]) -> Path:
    """A folder with a network, and pictures for it."""
    write_network(small_network(), tmp_path / "two.onnx")
    pictures = small_pictures()
    np.savez(tmp_path / "pictures.npz", pixels=pictures.pixels.astype(np.uint8), labels=np.asarray(pictures.labels))
    return tmp_path


def run(folder: Path, *options: str) -> Any:
    """Run the command on the files of a folder."""
    arguments = [str(folder / "two.onnx"), "--device", "ice40up5k", "--results", str(folder / "results.jsonl")]
    if "--data" not in options:
        arguments += ["--data", str(folder / "pictures.npz")]
    return CliRunner().invoke(command, [*arguments, *OPTIONS, *options])


def test_command(files: Path) -> None:
    """Table, CSV, JSON and picture tell the same engines, with the command that generates each."""
    outputs = {kind: files / f"front.{kind}" for kind in ("json", "csv")}
    picture = files / "front.html"
    options = [part for kind, path in outputs.items() for part in (f"--{kind}", str(path))]
    result = run(files, *options, "--picture", str(picture), "--all")
    assert result.exit_code == 0, result.output
    found = json.loads(outputs["json"].read_text())
    engines = found["engines"]
    assert f"All engines that fit on ice40up5k at 25 MHz: {len(engines)} of {len(engines)}" in result.output
    assert result.output.count("75.00%") == len(engines) > sum(one["front"] for one in engines) > 0
    with outputs["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["command"] for row in rows] == [one["command"] for one in engines]
    assert [float(row["frames_per_second"]) for row in rows] == [one["frames_per_second"] for one in engines]
    page = picture.read_text("utf-8")
    for one in engines:
        assert one["command"] in page
        assert f"{one['luts']:,} LUTs (estimated)" in page
    # It holds all that it needs: nothing is loaded from elsewhere.
    assert "<script src" not in page and "<link" not in page


@given(
    rows=st.integers(1, 64),
    weight_bits=st.integers(1, 8),
    more=st.integers(0, 8),
    act_bits=st.integers(1, 8),
    output_bits=st.integers(1, 8),
    style=st.sampled_from(["bank", "search"]),
    convolution=st.booleans(),
)
def test_generate_command(
    rows: int, weight_bits: int, more: int, act_bits: int, output_bits: int, style: str, convolution: bool
) -> None:
    """The command of an engine makes exactly that one."""
    geometry = Geometry(
        rows=rows,
        weight_bits=weight_bits,
        max_weight_bits=weight_bits + more,
        act_bits=act_bits,
        output_bits=output_bits,
        threshold_style=style,
        convolution=convolution,
    )
    made: list[Geometry] = []

    @click.command()
    @geometry_options
    def generate(geometry: Geometry) -> None:
        made.append(geometry)

    evenstep, name, *options = generate_command(geometry).split()
    assert (evenstep, name) == ("evenstep", "generate")
    generate.main(options, standalone_mode=False)
    assert made == [geometry]


def test_refusals(files: Path) -> None:
    """Bad input is said in one line, before anything is computed."""
    (files / "nonsense.jsonl").write_text("nonsense\n")
    np.savez(files / "bare.npz", pixels=small_pictures().pixels)
    np.savez(files / "wide.npz", pixels=small_pictures().pixels + 1, labels=np.asarray(small_pictures().labels))
    for options, said in (
        (["--device", "spartan"], "'spartan' is not one of 'ice40hx8k'"),
        (["--rows", "1,two"], "'two' is not a valid integer"),
        (["--rows", "0"], "Rows must be an integer from 1 to 64, not 0"),
        (["--counter", "magic"], "'magic' is not one of"),
        (["--counter-registers", "17"], "Counter registers must be an integer from 0 to 16, not 17"),
        (["--counter", "ecp5"], "Counter on this device must be one of portable, ice40, not 'ecp5'"),
        (["--results", str(files / "nonsense.jsonl")], "nonsense.jsonl, line 1: must be a result"),
        (["--data", str(files / "bare.npz")], "bare.npz must have labels"),
        (["--data", str(files / "wide.npz")], "wide.npz must hold codes of 8 bits"),
        (["--data", "sample"], "must hold images of 6 numbers"),
        (["--synthesize", "--route"], "not both"),
        (["--scheduler", "tcp://127.0.0.1:1"], "a cluster has its own workers"),
        (["--device", "gw1nr-9", "--route"], "--synthesize and --route need one of the devices"),
        (["--clock", "nan"], "'nan' is no number of MHz"),
        (["--clock", "inf"], "inf is not in the range 0.001<=x<=10000"),
        (["--picture", str(files / "results.jsonl")], "Picture must be another file than the file of results, not "),
        (["--csv", "same", "--json", "./same"], "CSV file must be another file than the JSON file, not same"),
        (["--rows", "64", "--columns", "256"], "None of the engines fits ice40up5k"),
    ):
        result = run(files, *options)
        assert result.exit_code != 0
        text = result.output if isinstance(result.exception, SystemExit) else str(result.exception)
        assert said in text, text


def test_no_plotly(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its package, the message is the command that installs it, and nothing is computed."""
    monkeypatch.setitem(sys.modules, "evenstep_boards.explore.picture", None)
    result = run(files, "--picture", str(files / "front.html"))
    assert "pip install 'evenstep[explore]'" in result.output
    assert not (files / "results.jsonl").exists()


def test_without_accuracy(files: Path) -> None:
    """Accuracy can be left out."""
    result = run(files, "--data", "none")
    assert result.exit_code == 0
    assert "accuracy" not in result.output
