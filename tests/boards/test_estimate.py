"""The area figures of `evenstep estimate` against synthesis, part by part."""

import json
from importlib.resources import files
from pathlib import Path

import pytest

from evenstep.estimate import estimate_area
from evenstep.gateware.array import PEArray
from evenstep.gateware.combine import Combiner
from evenstep.gateware.counters.form import CellForm
from evenstep.gateware.join import Joiner
from evenstep.gateware.memory import WordMemory
from evenstep.gateware.writeback import WriteBack
from evenstep.generate import emit_verilog, generate_block
from evenstep.generate.blocks import create_block
from evenstep.spec import THRESHOLD_STYLES, Geometry
from evenstep.spec.join import KNEE_WORDS
from evenstep_boards.bench.figures import read_figures
from evenstep_boards.bench.fits import fit_designs, held_out_designs
from evenstep_boards.bench.fitting import fit_coefficients
from evenstep_boards.commands.bench import SHIPPED
from evenstep_boards.measure import read_records
from evenstep_boards.place import pack_netlist
from evenstep_boards.synthesize import synthesize_verilog

PARTS = {"array": "array", "drain": "drain", "combine": "combiner", "threshold": "thresholds", "packer": "packer"}
SUMS = Geometry(columns=2, lanes=8, breakpoints=2)
DECODED = Geometry(rows=2, columns=1, lanes=8, weight_bits=3, breakpoints=2, piecewise="decoded")
NARROW = Geometry(accumulator_bits=8, constant_depth=128)


@pytest.mark.parametrize(
    "block, geometry",
    [
        ("array", SUMS),
        ("array", DECODED),
        ("drain", Geometry(rows=2)),
        ("drain", SUMS),
        ("drain", DECODED),
        ("combine", NARROW.replace(rescale=True)),
        ("combine", NARROW.replace(breakpoints=1)),
        ("packer", Geometry(lanes=32)),
        ("threshold", Geometry(output_bits=3)),
        ("threshold", Geometry(output_bits=3, counter="ecp5")),
        ("threshold", Geometry(threshold_style="search", rows=2)),
        ("threshold", Geometry(threshold_style="serial")),
        ("threshold", Geometry(threshold_style="requantize", output_bits=4, rows=2)),
    ],
    ids=[
        "array-sums",
        "array-decoded",
        "drain",
        "drain-sums",
        "drain-decoded",
        "combine-rescale",
        "combine-sums",
        "packer",
        "threshold-bank",
        "threshold-bank-ecp5",
        "threshold-search",
        "threshold-serial",
        "threshold-requantize",
    ],
)
def test_area_is_within_a_quarter(block: str, geometry: Geometry, tmp_path: Path) -> None:
    """A first figure, so a wide bound: it must tell a geometry that fits from one that does not."""
    manifest = generate_block(block, geometry, tmp_path)
    # On iCE40 comparators of thresholds are carries without LUTs: they take cells, which only placing counts.
    family = "ecp5" if block == "threshold" else "ice40"
    synthesis = synthesize_verilog(tmp_path / manifest.verilog, top=manifest.module, family=family, folder=tmp_path)
    luts, flip_flops = synthesis.luts, synthesis.flip_flops
    assert block != "threshold" or synthesis.dsps == geometry.rows * (geometry.threshold_style == "requantize")
    if block == "combine":
        # Memories are left out, but this block has one inside.
        constants = WordMemory(width=32 * geometry.constant_words, depth=geometry.constant_depth)
        (tmp_path / "constants.v").write_text(emit_verilog(constants, name="constants")[0])
        memory = synthesize_verilog(tmp_path / "constants.v", top="constants", family="ice40", folder=tmp_path)
        luts, flip_flops = luts - memory.luts, flip_flops - memory.flip_flops
    estimate = estimate_area(geometry, family)
    for found, expected in (
        (luts, estimate.luts[PARTS[block]]),
        (flip_flops, estimate.flip_flops[PARTS[block]]),
    ):
        assert 4 * abs(found - expected) <= found, f"{block}: {found} synthesized, {expected} estimated"


@pytest.mark.parametrize(
    "family, counter, registers",
    [("ice40", "ice40", 0), ("ecp5", "ecp5", 0), *[("ecp5", "ecp5", most) for most in (1, 2)]],
)
def test_area_of_an_array_is_within_a_twentieth(family: str, counter: str, registers: int, tmp_path: Path) -> None:
    """LUTs as nextpnr counts them, and flip-flops to the last one, of this gateware."""
    geometry = Geometry(rows=2, columns=3, lanes=8, counter=counter, counter_registers=registers)
    array = PEArray(geometry)
    text, _ = emit_verilog(CellForm(array, family), name="array")
    (tmp_path / "array.v").write_text(text)
    synthesis = synthesize_verilog(tmp_path / "array.v", top="array", family=family, folder=tmp_path)
    found, estimate = pack_netlist(synthesis, folder=tmp_path), estimate_area(geometry)
    assert estimate_area(geometry, family).luts["array"] == pytest.approx(found.luts, rel=0.05)
    assert estimate.flip_flops["array"] == found.flip_flops


def test_area_of_measured_arrays_is_within_a_twentieth() -> None:
    """Those of the shipped results that coefficients are not fitted to."""
    results = read_figures(read_records(SHIPPED).values(), [*held_out_designs(), *fit_designs()], 1)
    for design in held_out_designs():
        estimate = estimate_area(design.geometry, design.target)
        assert estimate.luts["array"] == pytest.approx(results[design].luts, rel=0.05), design.name
        assert estimate.flip_flops["array"] == results[design].flip_flops, design.name
    kept = json.loads(files("evenstep.estimate").joinpath("coefficients.json").read_text())
    assert fit_coefficients(results) == kept, "evenstep bench --fit makes them"


def test_counters_are_of_their_family() -> None:
    geometry = Geometry(counter="ice40")
    assert estimate_area(geometry) == estimate_area(geometry, "ice40")
    assert estimate_area(Geometry()) == estimate_area(Geometry(), "ecp5") != estimate_area(Geometry(), "ice40")
    with pytest.raises(ValueError, match=r"^Counter on ecp5 must be one of portable, ecp5, not 'ice40'$"):
        estimate_area(geometry, "ecp5")
    with pytest.raises(ValueError, match=r"^Area with the counter 'gowin' cannot be estimated: synthesize it$"):
        estimate_area(Geometry(counter="gowin"))
    with pytest.raises(ValueError, match=r"^Family must be one of ecp5, ice40, not 'virtex'$"):
        estimate_area(geometry, "virtex")


_RESCALED = Geometry(convolution=True, rescale=True, wide_depth=1024, knee_depth=64, constant_depth=64)


@pytest.mark.parametrize(
    ("part", "component", "memory", "geometry"),
    [
        ("joiner", Joiner, WordMemory(width=32 * KNEE_WORDS, depth=64), _RESCALED),
        (
            "joiner",
            Joiner,
            WordMemory(width=32 * KNEE_WORDS, depth=64, registered=True),
            _RESCALED.replace(counter="ecp5"),
        ),
        ("combiner", Combiner, WordMemory(width=96, depth=64), _RESCALED),
        ("combiner", Combiner, WordMemory(width=96, depth=64, registered=True), _RESCALED.replace(counter="ecp5")),
    ],
)
def test_area_of_what_rescales_is_within_a_quarter(part, component, memory, geometry, tmp_path: Path) -> None:
    """Synthesized, without their memories."""
    found = []
    for name, block in ((part, component(geometry, channel_bits=10)), ("memory", memory)):
        (tmp_path / f"{name}.v").write_text(emit_verilog(block, name=name)[0])
        found.append(synthesize_verilog(tmp_path / f"{name}.v", top=name, family="ice40", folder=tmp_path))
    whole, own = found
    estimate = estimate_area(geometry)
    for synthesized, expected in (
        (whole.luts - own.luts, estimate.luts[part]),
        (whole.flip_flops - own.flip_flops, estimate.flip_flops[part]),
    ):
        assert 4 * abs(synthesized - expected) <= synthesized, f"{synthesized} synthesized, {expected} estimated"


@pytest.mark.parametrize("style", THRESHOLD_STYLES)
def test_flip_flops_of_registered_thresholds_are_within_a_tenth(style: str, tmp_path: Path) -> None:
    geometry = Geometry(counter="ecp5", threshold_style=style, rows=2, output_bits=3, threshold_depth=512)
    (tmp_path / "unit.v").write_text(emit_verilog(create_block("threshold", geometry), name="unit")[0])
    found = synthesize_verilog(tmp_path / "unit.v", top="unit", family="ecp5", folder=tmp_path)
    assert estimate_area(geometry).flip_flops["thresholds"] == pytest.approx(found.flip_flops, rel=0.1)


@pytest.mark.parametrize("rows", [2, 4])
def test_area_of_the_way_to_banks_is_within_a_quarter(rows: int, tmp_path: Path) -> None:
    geometry = Geometry(rows=rows, lanes=8, convolution=True, neighbours=True)
    writeback = WriteBack(rows, bits=geometry.act_word_bits, address_bits=9)
    (tmp_path / "writeback.v").write_text(emit_verilog(writeback, name="writeback")[0])
    found = synthesize_verilog(tmp_path / "writeback.v", top="writeback", family="ice40", folder=tmp_path)
    estimate = estimate_area(geometry)
    assert 4 * abs(found.luts - estimate.luts["writeback"]) <= found.luts
    assert 4 * abs(found.flip_flops - estimate.flip_flops["writeback"]) <= found.flip_flops


def test_parts_are_those_that_there_are() -> None:
    parts = {"array", "drain", "thresholds", "packer", "sequencer", "buffers", "link"}
    for geometry, more in (
        (Geometry(), set()),
        (DECODED, set()),
        (SUMS, {"combiner"}),
        (DECODED.replace(rescale=True), {"combiner"}),
        (Geometry(convolution=True), {"pooler"}),
        (Geometry(convolution=True, rescale=True, wide_depth=64), {"pooler", "combiner", "joiner"}),
        (Geometry(rows=2, convolution=True, neighbours=True), {"pooler", "rotation", "writeback"}),
    ):
        estimate = estimate_area(geometry)
        assert set(estimate.luts) == set(estimate.flip_flops) == parts | more
