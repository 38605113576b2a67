"""Placements of a build: of many the fastest, others where one is not routed, and what a failed one says."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from evenstep_boards import steps
from evenstep_boards.build import build_board
from evenstep_boards.catalog import BOARDS
from tests.boards.fake_tools import fake_tools

CHANGES = {"rows": 1, "columns": 1, "lanes": 4, "weight_depth": 64, "act_depth": 64, "threshold_depth": 64}
SMALL_BOARD = replace(BOARDS["icebreaker"], geometry=BOARDS["icebreaker"].geometry.replace(**CHANGES))
NO_WAY = 'echo "ERROR: Routing design failed."; exit 1'
ENDLESS = 'while true; do echo "Info: iter=1 wires=9 overused=3 overuse=5"; done'


def test_fastest_seed_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several the fastest, of equally fast ones the first; all are in the report."""
    fmax = {1: 26.5, 2: 34.25, 3: 37.5, 4: 37.5}
    log = fake_tools(tmp_path / "tools", monkeypatch, fmax=fmax)
    build = build_board(SMALL_BOARD, tmp_path / "out", seeds=4)
    assert (build.report["seed"], build.report["fmax_mhz"]) == (3, 37.5)
    assert build.report["seeds"] == {str(seed): value for seed, value in fmax.items()}
    assert build.bitstream.read_text().endswith("seed3\n")
    assert sorted(line.split()[:2] for line in log.read_text().splitlines()) == [["--seed", str(seed)] for seed in fmax]
    with pytest.raises(RuntimeError, match=r"^iCEBreaker misses its clock: 26\.50 MHz of 36 MHz with seed 1; "):
        build_board(SMALL_BOARD, tmp_path / "out")


def test_placement_without_a_way_for_a_wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others serve for its seed, a few of them; another failure is one at once."""
    other = 'echo "ERROR: Failed to route arc 8.0 of net x."; exit 1'
    script = f'case "$*" in *"--seed 1 "*) {NO_WAY};; *"--seed 10001 "*) {other};; esac'
    log = fake_tools(tmp_path / "tools", monkeypatch, fmax={1: 40.0, 10001: 40.0, 20001: 41.0}, script=script)
    build = build_board(SMALL_BOARD, tmp_path / "out")
    assert (build.report["seed"], build.report["fmax_mhz"]) == (1, 41)
    assert [line.split()[1] for line in log.read_text().splitlines()] == ["1", "10001", "20001"]
    fake_tools(tmp_path / "never", monkeypatch, fmax={1: 40.0}, script=NO_WAY)
    with pytest.raises(RuntimeError, match=r"cannot route icebreaker: ERROR: Routing design failed\. \(log: "):
        build_board(SMALL_BOARD, tmp_path / "out")


def test_router_that_goes_round_in_circles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other router serves, with the same seed."""
    script = f'case "$*" in *router2*) {ENDLESS};; esac'
    log = fake_tools(tmp_path / "tools", monkeypatch, fmax={1: 40.0}, script=script)
    assert build_board(SMALL_BOARD, tmp_path / "out").report["fmax_mhz"] == 40
    first, second = (line.split() for line in log.read_text().splitlines())
    assert first[:2] == second[:2] == ["--seed", "1"]
    assert [line[line.index("--router") + 1] for line in (first, second)] == ["router2", "router1"]
    assert first.count("--router") == second.count("--router") == 1


def test_another_placement_that_goes_round_in_circles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped as the first one would be."""
    script = f'case "$*" in *"--seed 1 "*) {NO_WAY};; *router2*) {ENDLESS};; esac'
    log = fake_tools(tmp_path / "tools", monkeypatch, fmax={10001: 40.0}, script=script)
    assert build_board(SMALL_BOARD, tmp_path / "out").report["fmax_mhz"] == 40
    runs = [line.split() for line in log.read_text().splitlines()]
    assert [(run[1], run[run.index("--router") + 1]) for run in runs] == [
        ("1", "router2"),
        ("10001", "router2"),
        ("10001", "router1"),
    ]


def test_seed_without_a_placement_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f'case "$2" in *0001|1) {NO_WAY};; esac'
    fake_tools(tmp_path / "tools", monkeypatch, fmax={2: 40.0, 3: 38.0}, script=script)
    ended = []
    build = build_board(
        SMALL_BOARD, tmp_path / "out", seeds=3, progress=lambda stage, end: ended.append(stage) if end else None
    )
    assert (build.report["seed"], build.report["seeds"]) == (2, {"2": 40.0, "3": 38.0})
    assert {f"place and route, seed {seed}" for seed in (1, 2, 3)} <= set(ended)


def test_log_is_of_the_seed_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends those that are routed meanwhile, and none is begun behind it."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    script = 'case "$2" in 2) echo "ERROR: Out of wires."; exit 1;; *) echo "Info: going on"; exec sleep 60;; esac'
    log = fake_tools(tmp_path / "tools", monkeypatch, fmax={}, script=script)
    with pytest.raises(RuntimeError, match=r"cannot route icebreaker: ERROR: Out of wires\. \(log: "):
        build_board(SMALL_BOARD, tmp_path / "out", seeds=9)
    assert (tmp_path / "out" / "icebreaker.log").read_text() == "ERROR: Out of wires.\n"
    assert {line.split()[1] for line in log.read_text().splitlines()} <= {"1", "2", "3"}


def test_build_by_other_steps_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tools(tmp_path / "tools", monkeypatch, fmax={1: 40.0})
    build_board(SMALL_BOARD, tmp_path / "out")
    assert build_board(SMALL_BOARD, tmp_path / "out").cached
    changed = tmp_path / "steps.py"
    changed.write_bytes(Path(str(steps.__file__)).read_bytes() + b"# changed\n")
    monkeypatch.setattr(steps, "__file__", str(changed))
    assert not build_board(SMALL_BOARD, tmp_path / "out").cached


@pytest.mark.parametrize("file", ["icebreaker.v", "test_icebreaker.py"])
def test_build_that_lacks_a_file_is_made_again(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tools(tmp_path / "tools", monkeypatch, fmax={1: 40.0})
    build_board(SMALL_BOARD, tmp_path / "out")
    (tmp_path / "out" / file).unlink()
    assert not build_board(SMALL_BOARD, tmp_path / "out").cached
    assert (tmp_path / "out" / file).exists()
