"""The schedule against loops over positions, tiles, passes and steps."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from amaranth.sim import Simulator

from evenstep.gateware.schedule import Schedule
from evenstep.spec import Geometry

PLAIN = Geometry(max_passes=8, weight_depth=256)
PICTURES = PLAIN.replace(convolution=True)


@dataclass(frozen=True)
class Layer:
    """Steps of each pass, tiles of a position, positions, and where weights are."""

    steps: tuple[int, ...]
    tiles: int = 1
    positions: int = 1
    weight_base: int = 0
    tile_stride: int = 0

    def schedule(self) -> Iterator[dict[str, int]]:
        for _ in range(self.positions):
            for tile in range(self.tiles):
                for number, steps in enumerate(self.steps):
                    for step in range(steps):
                        begins, ends = step == 0, step == steps - 1
                        weights = self.weight_base + tile * self.tile_stride
                        yield {
                            "step": step,
                            "tile_weight": weights % 256,
                            "step_weight": (weights + step) % 256,
                            "pass_begins": begins,
                            "pass_ends": ends,
                            "tile_begins": begins and number == 0,
                            "tile_ends": ends and number == len(self.steps) - 1,
                            "last_tile": tile == self.tiles - 1,
                        }


def random_layer(seed: int, *, positions: int) -> Layer:
    pick = random.Random(seed)
    return Layer(
        steps=tuple(pick.choice((1, 1, 2, 3, 7)) for _ in range(pick.randint(1, 8))),
        tiles=pick.randint(1, 5),
        positions=pick.randint(1, positions),
        weight_base=pick.randrange(256),
        tile_stride=pick.randrange(256),
    )


def run(geometry: Geometry, layers: list[Layer], *, stalls: float) -> tuple[list[list[dict[str, int]]], int]:
    """What a schedule says of the steps of layers that follow each other, and the cycles that it runs."""
    dut, pick, found, cycles = Schedule(geometry), random.Random(1), [], 0

    async def testbench(ctx):
        nonlocal cycles
        for layer in layers:
            said = {
                "passes": len(layer.steps) - 1,
                "tiles": layer.tiles,
                **({"positions": layer.positions} if geometry.convolution else {}),
                "weight_base": layer.weight_base,
                "tile_stride": layer.tile_stride,
            }
            for name, value in said.items():
                ctx.set(getattr(dut, name), value)
            await ctx.tick().repeat(2)
            steps: list[dict[str, int]] = []
            expected = list(layer.schedule())
            ctx.set(dut.start, 1)
            while True:
                advances = pick.random() >= stalls
                ctx.set(dut.advance, advances)
                if ctx.get(dut.running) and advances:
                    steps.append({name: int(ctx.get(getattr(dut, name))) for name in expected[0]})
                    assert len(steps) <= len(expected), layer
                # The memory of the passes: its record stays until the next is read.
                read = layer.steps[ctx.get(dut.next_pass)] if ctx.get(dut.read) else None
                await ctx.tick()
                ctx.set(dut.start, 0)
                if read is not None:
                    ctx.set(dut.single, read == 1)
                    ctx.set(dut.following, read - 1)
                if not ctx.get(dut.running):
                    break
                cycles += 1
            found.append(steps)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return found, cycles


@pytest.mark.parametrize("stalls", [0.0, 0.6])
@pytest.mark.parametrize(("geometry", "positions"), [(PLAIN, 1), (PICTURES, 5)], ids=["vectors", "pictures"])
def test_steps_of_layers(geometry: Geometry, positions: int, stalls: float) -> None:
    layers = [Layer((1,)), Layer((1, 1), tiles=2), Layer((4,), positions=positions), Layer((1,) * 8, tiles=3)]
    layers += [random_layer(seed, positions=positions) for seed in range(20)]
    found, cycles = run(geometry, layers, stalls=stalls)
    for layer, steps in zip(layers, found, strict=True):
        assert steps == list(layer.schedule()), layer
    if not stalls:
        assert cycles == sum(len(steps) for steps in found), "Steps must follow each other without a gap"
