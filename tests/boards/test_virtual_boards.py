"""The engines of boards, simulated: what ships runs on each as it would on the board itself, a thousand images."""

from pathlib import Path

import numpy as np
import pytest

from evenstep.generate import generate_block
from evenstep.host import Engine
from evenstep_boards.catalog import BOARDS
from evenstep_golden.data import load_images
from evenstep_golden.sample import sample_network
from evenstep_sim.virtual import VerilatedTransport, build_engine

_IMAGES = 1000


@pytest.mark.parametrize("name", ["icebreaker", "ulx3s"])
def test_thousand_images(name: str, tmp_path: Path) -> None:
    geometry = BOARDS[name].geometry
    manifest = generate_block("engine", geometry, tmp_path)
    program = build_engine(tmp_path / f"{manifest.module}.json")
    pixels = load_images("test").first(_IMAGES).flat
    with Engine(VerilatedTransport(program), geometry) as engine:
        compiled = engine.load(sample_network())
        found = engine.boundaries(pixels)
        assert engine.runs == -(-_IMAGES // geometry.rows)
        assert engine.cycles == engine.runs * compiled.cycles
    expected = dict(zip([layer.name for layer in compiled.layers], compiled.boundaries(pixels), strict=True))
    assert {layer: int(np.count_nonzero(codes != expected[layer])) for layer, codes in found.items()} == dict.fromkeys(
        expected, 0
    )
