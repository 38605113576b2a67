"""The bench library itself: patterns and scoreboards."""

import itertools

import numpy as np
import pytest

from evenstep_sim.bench import pack
from evenstep_sim.patterns import PATTERNS, create_pattern
from evenstep_sim.scoreboard import Scoreboard


@pytest.mark.parametrize("kind", PATTERNS)
def test_patterns_repeat_for_a_seed_and_always_go_on(kind: str) -> None:
    first, second = (list(itertools.islice(create_pattern(kind, np.random.default_rng(7)), 400)) for _ in range(2))
    assert first == second
    assert any(first[200:])
    assert (kind == "always") == all(first)


def test_unknown_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Pattern must be one of always, random, bursts, rarely, not 'never'$"):
        next(create_pattern("never", np.random.default_rng(1)))


def test_scoreboard_names_the_first_mismatch() -> None:
    board = Scoreboard("output")
    board.expect("channel 3", sums=10, final=0)
    board.expect("channel 4", sums=11, final=1)
    board.check({"sums": 10, "final": 0})
    with pytest.raises(AssertionError, match=r"^output 1 \(channel 4\): final must be 1 \(0x1\), not 0 \(0x0\)$"):
        board.check({"sums": 11, "final": 0})


def test_scoreboard_refuses_what_is_not_expected() -> None:
    with pytest.raises(AssertionError, match=r"^output 0: expected nothing more, got sums 5$"):
        Scoreboard("output").check({"sums": 5})


def test_pack_cuts_values_to_their_bits() -> None:
    assert pack([1, -1, 2], 4) == 0x2F1
