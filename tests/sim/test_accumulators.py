"""What a piecewise linear element accumulates, counted in its netlist.

PWLQ's paper (Fang et al., section 4) names 3, 5 and 7 accumulators for one, two and three breakpoints. An accumulator
that is one bit wider has one flip-flop more, and nothing else of an element depends on that width: the flip-flops of
two netlists, a bit apart, differ by the number of accumulators that synthesis has kept.
"""

from pathlib import Path
from typing import Any

import pytest

from evenstep.generate import generate_block
from evenstep.spec import Geometry
from evenstep_boards.synthesize import synthesize_verilog

_WIDTH = 12


def flip_flops_of_a_bit(block: str, geometry: Geometry, folder: Path) -> int:
    """Flip-flops that a block has for each bit of the accumulators' width."""
    counts = []
    for width in (_WIDTH, _WIDTH + 1):
        manifest = generate_block(block, geometry.replace(accumulator_bits=width), folder / str(width))
        synthesis = synthesize_verilog(
            folder / str(width) / manifest.verilog, top=manifest.module, family="ice40", folder=folder / "netlist"
        )
        counts.append(synthesis.flip_flops)
    return counts[1] - counts[0]


@pytest.mark.parametrize(
    ("parameters", "accumulators"),
    [
        ({}, 1),
        ({"breakpoints": 1}, 3),
        ({"breakpoints": 2}, 5),
        ({"breakpoints": 3}, 7),
        ({"breakpoints": 3, "piecewise": "decoded"}, 1),
    ],
    ids=["plain", "sums-1", "sums-2", "sums-3", "decoded-3"],
)
def test_accumulators_of_an_element(parameters: dict[str, Any], accumulators: int, tmp_path: Path) -> None:
    geometry = Geometry(lanes=2, weight_bits=4, act_bits=1, output_bits=1, **parameters)
    assert flip_flops_of_a_bit("element", geometry, tmp_path) == accumulators


@pytest.mark.parametrize(("style", "sums"), [("sums", 3), ("decoded", 1)])
def test_accumulators_of_an_array(style: str, sums: int, tmp_path: Path) -> None:
    """One activation sum for each row beside them, whatever the columns; and as many registers in which sums leave."""
    rows, columns = 2, 3
    geometry = Geometry(rows=rows, columns=columns, lanes=1, weight_bits=2, act_bits=1, output_bits=1, breakpoints=1)
    accumulators = rows * columns * sums + rows
    assert flip_flops_of_a_bit("array", geometry.replace(piecewise=style), tmp_path) == 2 * accumulators
