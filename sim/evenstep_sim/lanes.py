"""Lane codes for benches: random ones, and those at the ends of what a lane can hold."""

import numpy as np

from evenstep.spec import LaneFormat

__all__ = ["extreme_lanes", "random_lanes"]


def random_lanes(lane: LaneFormat, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Lane codes, int64 of `shape`; now and then all of one region, or none of one."""
    regions = rng.integers(0, lane.breakpoints, shape, endpoint=True)
    chosen, chance = int(rng.integers(0, lane.breakpoints, endpoint=True)), rng.random()
    if chance < 0.15:
        regions[...] = chosen
    elif chance < 0.3:
        regions[regions == chosen] = (chosen + 1) % (lane.breakpoints + 1)
    return regions << lane.weight_bits | rng.integers(0, 2**lane.weight_bits, shape)


def extreme_lanes(lane: LaneFormat) -> dict[str, int]:
    """Smallest and largest code, and of each outer region both signs of the largest magnitude and of 0, by name."""
    codes = {"smallest code": 0, "largest code": 2**lane.weight_bits - 1}
    for region in range(1, lane.breakpoints + 1):
        for negative in (0, 1):
            for magnitude in (0, 2**lane.magnitude_bits - 1):
                name = f"{'-' if negative else '+'}{magnitude} of region {region}"
                codes[name] = int(lane.pack(region, negative, magnitude))
    return codes
