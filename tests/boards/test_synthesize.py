"""Synthesis with the real Yosys: the default engine for both families, and what is refused."""

from pathlib import Path

import pytest

from evenstep.generate import generate_block
from evenstep.spec import Geometry
from evenstep_boards import toolchain
from evenstep_boards.synthesize import synthesize_verilog

# A block RAM's bits.
_RAM_BITS = {"ice40": 4096, "ecp5": 18 * 1024}


@pytest.mark.parametrize("family", _RAM_BITS)
def test_default_engine_synthesizes(family: str, tmp_path: Path) -> None:
    manifest = generate_block("engine", Geometry(), tmp_path)
    result = synthesize_verilog(
        tmp_path / manifest.verilog, top=manifest.module, family=family, folder=tmp_path / "out"
    )
    assert result.dsps == 0, "No array has multipliers"
    assert 1_000 < result.luts < 10_000 and 500 < result.flip_flops < 5_000 and result.carries > 0
    # The large memories are block RAMs, not flip-flops.
    assert result.block_rams * _RAM_BITS[family] >= Geometry().memory_bits["weights"]
    assert "module evenstep_engine(" in result.netlist.read_text()


def test_unknown_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^Family must be one of ice40, ecp5, gowin, xilinx7, not 'virtex'$"):
        synthesize_verilog(tmp_path / "a.v", top="a", family="virtex", folder=tmp_path)


def test_yosys_failure_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.v").write_text("module a(; endmodule\n")
    with pytest.raises(RuntimeError, match=r"^yosys cannot synthesize a for ice40: .*ERROR.* \(log: .*a_ice40\.log\)$"):
        synthesize_verilog(tmp_path / "a.v", top="a", family="ice40", folder=tmp_path)


def test_missing_yosys_names_its_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RuntimeError, match=r"^yosys must be installed: pip install 'evenstep\[boards\]'$"):
        synthesize_verilog(tmp_path / "a.v", top="a", family="ice40", folder=tmp_path)
