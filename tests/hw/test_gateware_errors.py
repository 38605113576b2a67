"""What the blocks refuse, and in which words."""

from collections.abc import Callable
from typing import Any

import pytest

from evenstep.gateware.combine import Combiner
from evenstep.gateware.count import create_counter
from evenstep.gateware.dot import DotProduct
from evenstep.gateware.memory import WordMemory
from evenstep.gateware.piecewise import PiecewiseCounter
from evenstep.gateware.thresholds.create import create_threshold_unit
from evenstep.generate import create_block
from evenstep.link.decoder import CommandDecoder
from evenstep.spec import Geometry, LaneFormat
from tests.refusals import refusal


def _counter(**changes: Any) -> Any:
    return create_counter("portable", **{"lanes": 4, "weight_bits": 2, "act_bits": 2, **changes})


def _piecewise(**changes: Any) -> Any:
    return PiecewiseCounter(**{"lane": LaneFormat(4, 1), "lanes": 4, "act_bits": 2, **changes})


def _dot(**changes: Any) -> Any:
    return DotProduct(**{"lanes": 4, "weight_bits": 2, "act_bits": 2, **changes})


def _threshold(**changes: Any) -> Any:
    return create_threshold_unit("bank", **{"width": 8, "bits": 2, "channels": 4, **changes})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: _counter(lanes=0), ValueError, "Lanes must be an integer from 1 to 1024, not 0"),
        (lambda: _counter(lanes="two"), TypeError, "Lanes must be an integer from 1 to 1024, not 'two'"),
        (lambda: _counter(weight_bits=13), ValueError, "Weight bits must be an integer from 1 to 12, not 13"),
        (lambda: _counter(act_bits=True), TypeError, "Activation bits must be an integer from 1 to 8, not True"),
        (lambda: _counter(latency=6), ValueError, "Counter latency must be an integer from 0 to 5, not 6"),
        (lambda: _counter(latency=-1), ValueError, "Counter latency must be an integer from 0 to 5, not -1"),
        (lambda: _counter(latency=1.5), TypeError, "Counter latency must be an integer from 0 to 5, not 1.5"),
        (
            lambda: _piecewise(lane=LaneFormat(4)),
            ValueError,
            "Breakpoints of a piecewise counter must be an integer from 1 to 3, not 0",
        ),
        (lambda: _piecewise(lanes=1025), ValueError, "Lanes must be an integer from 1 to 1024, not 1025"),
        (lambda: _piecewise(act_bits=0), ValueError, "Activation bits must be an integer from 1 to 8, not 0"),
        (lambda: _piecewise(latency=2), ValueError, "Counter latency must be an integer from 0 to 1, not 2"),
        (lambda: _piecewise(latency=None), TypeError, "Counter latency must be an integer from 0 to 1, not None"),
        (lambda: _dot(latency=0), ValueError, "Latency of a dot product must be a positive integer, not 0"),
        (
            lambda: _dot(counter="magic"),
            ValueError,
            "Counter must be one of portable, ecp5, ice40, xilinx7, gowin, not 'magic'",
        ),
        (lambda: _threshold(width=33), ValueError, "Value width must be an integer from 1 to 32, not 33"),
        (lambda: _threshold(bits=0), ValueError, "Output bits must be an integer from 1 to 8, not 0"),
        (lambda: _threshold(channels=1), ValueError, "Channels must be an integer from 2 to 65536, not 1"),
        (lambda: _threshold(rows=65), ValueError, "Rows must be an integer from 1 to 64, not 65"),
        (lambda: _threshold(channel_bits=1), ValueError, "Channel bits must be an integer from 2 to 32, not 1"),
        (
            lambda: create_threshold_unit("guess", width=8, bits=2, channels=4),
            ValueError,
            "Threshold style must be one of bank, search, serial, requantize, not 'guess'",
        ),
        (
            lambda: Combiner(Geometry(), channel_bits=4),
            ValueError,
            "Combiner must have breakpoints that are not decoded, or rescale, not neither",
        ),
        (
            lambda: create_block("combine", Geometry(weight_bits=4, breakpoints=1, piecewise="decoded")),
            ValueError,
            "Combiner must have breakpoints that are not decoded, or rescale, not neither",
        ),
        (
            lambda: create_block("dot", Geometry(breakpoints=2)),
            ValueError,
            "Breakpoints of a dot product must be 0, not 2: the block 'element' takes them",
        ),
        (
            lambda: create_block("multiplier", Geometry()),
            ValueError,
            "Block must be one of engine, axi-engine, array, element, dot, threshold, drain, combine, packer, "
            "frame-receiver, frame-sender, not 'multiplier'",
        ),
        (lambda: WordMemory(width=0, depth=4), ValueError, "Memory width must be a positive integer, not 0"),
        (lambda: WordMemory(width=8, depth=1), ValueError, "Memory depth must be an integer of at least 2, not 1"),
        (
            lambda: CommandDecoder(identity=b"short", sizes={}, read_cycles=1),
            ValueError,
            "Identity must be 16 bytes long, not 5",
        ),
    ],
)
def test_refusals(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    assert refusal(make, error) == message
