"""The area figures of `evenstep estimate` against synthesis, part by part."""

from pathlib import Path

import pytest

from evenstep.estimate import estimate_area
from evenstep.generate import generate_block
from evenstep.spec import Geometry
from evenstep_boards.synthesize import synthesize_verilog

PARTS = {"array": "array", "drain": "drain", "threshold": "thresholds", "packer": "packer"}
BINARY = Geometry(columns=2, weight_bits=1, act_bits=1, output_bits=1)
WIDE = Geometry(columns=2, lanes=8, weight_bits=4, act_bits=4)


@pytest.mark.parametrize(
    "block, geometry",
    [
        ("array", Geometry(columns=4)),
        ("array", BINARY),
        ("array", WIDE),
        ("drain", Geometry(rows=2)),
        ("packer", Geometry(lanes=32)),
        ("threshold", Geometry(output_bits=3)),
    ],
    ids=["array", "array-binary", "array-wide", "drain", "packer", "threshold"],
)
def test_area_is_within_a_quarter(block: str, geometry: Geometry, tmp_path: Path) -> None:
    """A first figure, so a wide bound: it must tell a geometry that fits from one that does not."""
    manifest = generate_block(block, geometry, tmp_path)
    synthesis = synthesize_verilog(tmp_path / manifest.verilog, top=manifest.module, family="ice40", folder=tmp_path)
    estimate = estimate_area(geometry)
    for found, expected in (
        (synthesis.luts, estimate.luts[PARTS[block]]),
        (synthesis.flip_flops, estimate.flip_flops[PARTS[block]]),
    ):
        assert 4 * abs(found - expected) <= found, f"{block}: {found} synthesized, {expected} estimated"
