"""`evenstep bench`: a small run with the real tools; what tables say; and that the documents are what was measured."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from evenstep_boards.bench import jobs as jobs_module
from evenstep_boards.bench.designs import Design, ElementDesign, ThresholdDesign
from evenstep_boards.bench.figures import Figures, read_figures
from evenstep_boards.bench.jobs import create_jobs, run_job
from evenstep_boards.bench.matrix import matrix, select
from evenstep_boards.bench.tables import create_tables, write_page
from evenstep_boards.commands.bench import SHIPPED, bench
from evenstep_boards.measure import read_records
from evenstep_boards.place import NoRoomError
from evenstep_boards.synthesize import Synthesis

DOCUMENT = Path(__file__).parents[2] / "docs" / "bench.md"
OURS = ElementDesign(target="ecp5", structure="ecp5", lanes=16, weight_bits=2, act_bits=2)
PLAIN = ElementDesign(target="ecp5", structure="product", lanes=16, weight_bits=2, act_bits=2)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(bench, [str(each) for each in arguments], catch_exceptions=False)


def record(design: Design, seed: int | None, **figures: Any) -> dict[str, Any]:
    facts = {"design": design.name, "latency": 1, "verilog": "a", "tools": ["yosys 1"], "device": "d", "seed": seed}
    cells = {"luts": 50, "synthesized_luts": 48, "flip_flops": 7, "carries": 0, "block_rams": 0, "dsps": 0}
    return facts | cells | {"fmax": 100.0 * (seed or 1)} | figures


def test_what_is_measured_is_kept_and_printed(tmp_path: Path) -> None:
    """An element and an array of carry chains, the latter fed from block RAMs."""
    results, page = tmp_path / "results.jsonl", tmp_path / "page.md"
    arguments = ("--quick", "--only", "ecp5/*/ecp5", "--workers", "1", "--results", results)
    printed = run(*arguments)
    assert printed.exit_code == 0, printed.output
    # Four products: a segment of two positions and an accumulator of 16, one in front of each; and two constants.
    assert re.search(r"^ *ecp5 +4, 1 x 1 +ecp5 +1 +22 +20 +20 +0 +0 +\d{3} +2\.750 ", printed.output, re.MULTILINE)
    # Four block RAMs, and 8 cycles to the first column: operands twice, one stage, two behind it, accumulators, and two
    # of selection.
    found = re.search(r"^ *ecp5 +2 x 2 x 4, 1 x 1 +ecp5 +8 +(\d+) +\d+ +\d+ +4 +0 ", printed.output, re.MULTILINE)
    # Six elements, those of activation sums included, of 22 LUTs at most; one for each bit of a column that may wait,
    # and of its activation sums; and fewer than 11 for each element for the rest.
    assert found and int(found[1]) < 6 * 22 + 4 * 16 + 2 * 2 * 11, printed.output
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"], "What the tools made is gone"
    kept = results.read_bytes()
    again = run(*arguments)
    assert results.read_bytes() == kept, "Nothing is measured twice"
    assert again.output.endswith(printed.output[printed.output.index("Measured elements") :])
    page.write_text("<!-- begin of measured arrays -->\nold\n<!-- end of measured arrays -->\nafter\n")
    assert run(*arguments, "--document", page).exit_code == 0
    text = page.read_text()
    assert f"| ecp5 | 2 x 2 x 4, 1 x 1 | ecp5 | 8 | {found[1]} |" in text and "old" not in text
    assert text.endswith("end of measured arrays -->\nafter\n")


def test_medians_of_all_seeds_of_the_last_form() -> None:
    old = [record(PLAIN, seed, verilog="older", luts=60, fmax=1.0) for seed in (1, 2, 3)]
    found = read_figures([*old, *(record(PLAIN, seed) for seed in (3, 1, 2)), record(OURS, 1)], [OURS, PLAIN], 3)
    # Ours lacks two seeds.
    assert found == {PLAIN: Figures(1, 50, 7, synthesized_luts=48, fmax=200.0)}
    assert read_figures([*old, {"error": "Interrupted"}], [PLAIN], 1)[PLAIN].luts == 60
    unplaced = record(PLAIN, None, device=None)
    del unplaced["fmax"]
    assert read_figures([unplaced], [PLAIN], 3)[PLAIN].fmax is None


def test_keys_are_of_all_that_figures_depend_on(tmp_path: Path) -> None:
    small = ElementDesign(target="ecp5", structure="portable", lanes=2, weight_bits=1, act_bits=1)
    jobs = create_jobs(small, 2, tmp_path)
    assert [job.seed for job in jobs.values()] == [1, 2] and len(jobs) == 2
    assert create_jobs(small, 2, tmp_path) == jobs
    others = [replace(small, target="ice40"), replace(small, target="up5k"), replace(small, lanes=3)]
    keys = [key for design in others for key in create_jobs(design, 2, tmp_path)]
    assert len({*jobs, *keys}) == 8
    (unplaced,) = create_jobs(replace(small, target="xilinx7"), 2, tmp_path).values()
    assert unplaced.device is None and unplaced.seed is None
    # The same Verilog, mapped in another way: neither its key nor its netlist is that of the first.
    plain, wide = (create_jobs(replace(PLAIN, structure=f"product{end}"), 1, tmp_path) for end in ("", "-wide"))
    (first,), (second,) = plain.values(), wide.values()
    assert (
        first.design["verilog"] == second.design["verilog"]
        and plain.keys() != wide.keys()
        and first.folder != second.folder
    )


def test_what_has_no_room_is_kept_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise NoRoomError("block does not fit")

    synthesis = Synthesis("block", "ecp5", 9, 9, 0, 0, 0, tmp_path, tmp_path)
    monkeypatch.setattr(jobs_module, "synthesize_verilog", lambda *_, **__: synthesis)
    monkeypatch.setattr(jobs_module, "place_netlist", refuse)
    (job,) = create_jobs(OURS, 1, tmp_path).values()
    made = run_job(job)
    assert made["no_room"] == "block does not fit" and "luts" not in made
    assert read_figures([made], [OURS], 1)[OURS].no_room == "block does not fit"
    # The netlist is made once.
    monkeypatch.setattr(jobs_module, "synthesize_verilog", refuse)
    assert run_job(job) == made


def test_tables_compare_with_baselines() -> None:
    results = {OURS: Figures(4, 32, fmax=250.0), PLAIN: Figures(1, 80, fmax=100.0)}
    elements, *others = create_tables(results, 3)
    assert not others and "medians of 3 seeds" in elements.note and "LFE5U-85F" in elements.note
    # 128 operations a cycle.
    assert elements.rows[0][9:] == ("250", "0.250", "1000", "2.50 / 2.50", "", "", "")
    assert elements.rows[1][9:] == ("100", "0.625", "160", "", "", "", "")
    unit = ThresholdDesign(target="ice40", structure="search", bits=2)
    records = [record(unit, 1, no_room="block does not fit iCE40 HX8K: it takes 40 ICESTORM_RAM of 32")]
    (thresholds,) = create_tables(read_figures(records, [unit], 1), 1)
    assert thresholds.rows == [("ice40", "2 bits", "search", "1", "no room", *[""] * 7)]


def test_names_are_selected_by_patterns() -> None:
    names = run("--list", "--families", "ecp5,up5k", "--only", "16,2x2/p*").output.split()
    assert names[:3] == [f"ecp5/element/16,2x2/{name}" for name in ("portable", "pipelined", "product")]
    assert "up5k/element/16,2x2/popcount" in names and not any(name.startswith("ice40") for name in names)
    assert len({design.name for design in matrix()}) == len(matrix())
    assert select(matrix(), ["xilinx7"], "element/128")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--families", "ecp5,virtex"], "virtex: must be of ecp5,ecp5-spread,ice40,up5k,gowin,xilinx7"),
        (["--only", "nothing"], "--list prints those that there are"),
    ],
    ids=["family", "pattern"],
)
def test_wrong_usage_is_told(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and message in result.output


def test_page_without_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- begin of measured elements -->\n")
    with pytest.raises(ValueError, match=r"page\.md must have '<!-- begin of measured elements -->', and a line that"):
        write_page(page, create_tables({OURS: Figures(4, 32)}, 1))


def test_document_is_what_was_measured(tmp_path: Path) -> None:
    """No figure is written by hand: writing the tables again changes nothing."""
    page = tmp_path / "bench.md"
    page.write_text(DOCUMENT.read_text("utf-8"))
    write_page(page, create_tables(read_figures(read_records(SHIPPED).values(), matrix(), 3), 3))
    assert page.read_text("utf-8") == DOCUMENT.read_text("utf-8")
