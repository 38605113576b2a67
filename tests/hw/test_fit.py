"""Engines for a network: fast enough and no larger, or small enough and as fast as can be."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from evenstep.compiler import compile_network
from evenstep.estimate.devices import DEVICES
from evenstep.estimate.fit import fit_area, fit_rate, sized_geometry
from evenstep.estimate.fit_command import fit
from evenstep.estimate.room import memory_room
from evenstep.estimate.styles import pick_style
from evenstep.generate.command import generate
from evenstep.qonnx import read_network, write_network
from evenstep.spec import Dense, Encoding, Geometry, Network, Thresholds
from evenstep_golden.sample import network_path, sample_network
from evenstep_sim.networks import random_network

CLOCK = 25_000_000


def test_rate_is_reached_by_the_smallest() -> None:
    network = sample_network()
    found = fit_rate(network, Geometry(), frames=5000, clock_hz=CLOCK)
    assert found.frames(CLOCK) >= 5000
    assert compile_network(network, found.geometry).cycles == found.program.cycles
    slower = fit_rate(network, Geometry(), frames=500, clock_hz=CLOCK)
    assert slower.luts < found.luts and slower.frames(CLOCK) >= 500


def test_rows_that_are_neighbours_take_one_frame() -> None:
    found = fit_rate(sample_network(), Geometry(rows=2, convolution=True, neighbours=True), frames=500, clock_hz=CLOCK)
    assert found.geometry.rows >= 2 and found.geometry.batch == 1
    assert found.frames(CLOCK) == CLOCK / found.program.cycles


def test_area_is_kept_by_the_fastest() -> None:
    network = sample_network()
    small = fit_area(network, Geometry(), luts=6000, memory=2**20, clock_hz=CLOCK)
    large = fit_area(network, Geometry(), luts=20_000, memory=2**20, clock_hz=CLOCK)
    assert small.luts <= 6000 and large.luts <= 20_000
    assert small.memory_bits <= 2**20
    assert large.frames(CLOCK) > small.frames(CLOCK)


def even_network() -> Network:
    """A perceptron of 4-bit codes whose thresholds have even distances."""
    rng = np.random.default_rng(4)
    encoding = Encoding("odd-level", 2)
    thresholds = Thresholds(rng.integers(-40, 40, (48, 1)) + 7 * np.arange(15), rng.random(48) < 0.5)
    hidden = Dense("fc1", rng.integers(0, 4, (48, 64)), encoding, 4, thresholds)
    return Network((hidden, Dense("fc2", rng.integers(0, 4, (10, 48)), encoding, 4)), name="even")


def test_style_of_fewest_luts_is_picked(tmp_path: Path) -> None:
    """A multiplier where all thresholds are even and blocks are free, one comparator where tiles are long anyway."""
    even, base = even_network(), Geometry(act_bits=4, output_bits=4)

    def fits(network: Network, *arguments: str) -> str:
        write_network(network, tmp_path / "network.onnx")
        options = [str(tmp_path / "network.onnx"), "--act-bits", "4", "--threshold-style", *arguments]
        result = CliRunner().invoke(fit, options, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        found = re.search(r"--threshold-style (\w+)", result.output)
        return found[1] if found else "bank"

    assert fits(even, "auto", "--device", "ecp5-45f") == "requantize"
    assert fits(even, "auto", "--device", "ice40up5k") == "search"
    assert fits(even, "bank", "--device", "ecp5-25f") == "bank"
    assert fits(even, "auto", "--frames", "1") == "serial"
    uneven = Thresholds(np.sort(np.random.default_rng(5).integers(-50, 50, (48, 15)), axis=1))
    first, *rest = even.layers
    other = Network((replace(first, thresholds=uneven), *rest), name="uneven")
    # In each of 16 rows, a search takes block RAMs of its own: too many for a device of as many LUTs.
    assert fits(other, "auto", "--luts", "39000") == "search"
    assert fits(other, "auto", "--device", "ecp5-45f") == "bank"

    assert pick_style(base, even).threshold_style == "requantize"
    assert pick_style(base.replace(counter="ice40"), even).threshold_style == "search"
    assert pick_style(base.replace(columns=1, lanes=8), even).threshold_style == "serial"
    assert pick_style(base, other).threshold_style == "search"
    assert [pick_style(base.replace(rows=8, output_bits=bits)).threshold_style for bits in (1, 4)] == ["bank", "search"]


@pytest.mark.parametrize("name", ["ecp5-25f", "gatemate-a1", "ice40hx8k"])
def test_engine_for_a_device_has_room_for_whole_block_rams(name: str) -> None:
    """Bits alone would say less: words are as wide as block RAMs, and memories of rows each take some."""
    network, device = read_network(network_path()), DEVICES[name]
    try:
        found = fit_area(network, Geometry(), luts=device.luts * 9 // 10, memory=device, clock_hz=CLOCK)
    except ValueError as error:
        assert name == "ice40hx8k" and re.search(r" and 32 block RAMs, which there is none of: ", str(error))
    else:
        assert memory_room(found.geometry, device).blocks <= device.blocks


@pytest.mark.parametrize("seed", range(12))
def test_every_depth_is_needed(seed: int) -> None:
    """A sized engine runs the network, and with a word, a pass or a bit less it is refused."""
    base = Geometry(columns=3, lanes=5, convolution=True, max_weight_bits=6, rescale=bool(seed % 2))
    base = base.replace(wide_depth=2**12) if seed % 4 == 1 else base
    network = random_network(base, np.random.default_rng(seed))
    geometry = sized_geometry(network, base).geometry
    compile_network(network, geometry)
    depths = ("weight_depth", "threshold_depth", "act_depth", "wide_depth", "knee_depth")
    for name in (*depths, "max_passes", "accumulator_bits"):
        value = getattr(geometry, name)
        if value > {"max_passes": 1, "accumulator_bits": 4}.get(name, 2):
            with pytest.raises(ValueError, match=rf"generate it with --{name.replace('_', '-')} {value}$"):
                compile_network(network, geometry.replace(**{name: value - 1}))


def test_sizes_that_are_given_are_kept(tmp_path: Path) -> None:
    network = sample_network()
    free = fit_rate(network, Geometry(), frames=5000, clock_hz=CLOCK).geometry
    kept = fit_rate(network, Geometry(rows=2), frames=5000, clock_hz=CLOCK, fixed=["rows"])
    assert free.rows != 2 and kept.geometry.rows == 2 and kept.frames(CLOCK) >= 5000
    kept = fit_area(network, Geometry(lanes=24), luts=9000, memory=2**20, clock_hz=CLOCK, fixed=["lanes"])
    assert kept.geometry.lanes == 24 and kept.luts <= 9000
    result = CliRunner().invoke(fit, [str(network_path()), "--luts", "9000", "--rows", "3", "--columns", "8"])
    assert result.exit_code == 0 and result.output.startswith("3 x 8 x "), result.output
    with pytest.raises(ValueError, match="must be at most what 1 x 2 x 64 lanes make"):
        fit_rate(network, Geometry(rows=1, columns=2), frames=10**6, clock_hz=CLOCK, fixed=["rows", "columns"])


def test_command_prints_what_generates_the_engine(tmp_path: Path) -> None:
    result = CliRunner().invoke(fit, [str(network_path()), "--frames", "3000"], catch_exceptions=False)
    assert result.exit_code == 0
    text, command = result.output.strip().splitlines()
    assert "frames a second at 25 MHz" in text
    name, action, *options = shlex.split(command)
    assert (name, action) == ("evenstep", "generate")
    result = CliRunner().invoke(generate, [*options, "--output", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0
    result = CliRunner().invoke(fit, [str(network_path()), "--luts", "9000"], catch_exceptions=False)
    assert result.exit_code == 0 and "LUT4s" in result.output
    result = CliRunner().invoke(fit, [str(network_path()), "--device", "ice40up5k"], catch_exceptions=False)
    found = re.search(r"about ([0-9,]+) LUT4s and ([0-9,]+) Kbit", result.output.replace("\n", " "))
    assert found is not None
    luts, memory = (int(number.replace(",", "")) for number in found.groups())
    assert luts <= 5280 and memory <= 1144


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "One of --frames, --luts and --device must be given"),
        (["--frames", "1", "--luts", "1"], "One of --frames, --luts and --device must be given"),
        (["--luts", "1", "--device", "ecp5-25f"], "One of --frames, --luts and --device must be given"),
        (["--device", "ecp5-25f", "--memory", "9"], "--memory belongs to --luts"),
        (["--frames", "1", "--memory", "9"], "--memory belongs to --luts"),
        (["--frames", "1", "--act-depth", "64"], "--act-depth is what the network needs: it is chosen, not given"),
        (["--device", "ecp5"], "'ecp5' is not one of 'ice40hx8k', 'ice40up5k'"),
        (["--frames", "0"], "Frames a second must be a positive integer, not 0"),
        (["--frames", "99999999"], "Frames a second must be at most what 16 x 32 x 64 lanes make of"),
        (["--luts", "100"], "must find an engine of at most 100 LUTs"),
        (["--frames", "1", "--clock", "0"], "0.0 is not in the range 0.001<=x<=10000"),
        (["--frames", "1", "--clock", "nan"], "'nan' is no number of MHz"),
        (["--luts", "9000", "--memory", "-1"], "-1 is not in the range x>=1"),
        (
            ["--frames", "1", "--counter", "ecp5", "--breakpoints", "1"],
            "Area with breakpoints can be estimated for the counter 'portable' alone, not 'ecp5'",
        ),
    ],
)
def test_bad_input(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(fit, [str(network_path()), *arguments])
    assert result.exit_code != 0
    assert message in (result.output + str(result.exception))
