"""Small engines and their pages, for tests."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from evenstep.compiler import Program, compile_network
from evenstep.generate import generate_block
from evenstep.host import Engine
from evenstep.spec import Dense, Encoding, Geometry, Network, Thresholds
from evenstep_golden.sample import sample_images
from evenstep_sim.virtual import VerilatedTransport, build_engine
from evenstep_sim.web import Api, Classifier, DemoServer

__all__ = ["GEOMETRY", "Boards", "build_small_engine", "serving_page", "small_network", "small_program"]

#: Compiled in seconds, and just large enough for pictures.
GEOMETRY = Geometry(
    columns=2, lanes=8, weight_depth=1024, act_depth=512, result_depth=16, threshold_depth=32, program_depth=64
)


def small_network(labels: tuple[str, ...] = ()) -> Network:
    """784-12-10, whose codes and decisions differ from sample to sample."""
    rng = np.random.default_rng(7)
    two = Encoding("twos-complement", 2)
    first = Dense("fc1", rng.integers(two.min_code, two.max_code + 1, (12, 784)), two, 8)
    sums = np.sort(first.sums(sample_images().flat[:64]), axis=0)
    thresholds = Thresholds(sums[[15, 31, 47]].T, rng.random(12) < 0.5)
    last = rng.integers(two.min_code, two.max_code + 1, (10, 12))
    layers = (Dense("fc1", first.codes, two, 8, thresholds), Dense("last", last, two, 2))
    return Network(layers, labels, "small")


def small_program(*, hidden: bool = False, labels: tuple[str, ...] = ()) -> Program:
    """That network, compiled; with the codes of its first layer not to be read, if `hidden`."""
    program = compile_network(small_network(labels), GEOMETRY)
    first, last = program.layers
    results = tuple(replace(result, overwritten=hidden) for result in first.results)
    return replace(program, layers=(replace(first, results=results), last))


def build_small_engine(folder: Path) -> Path:
    """Compile the engine of `GEOMETRY`; its manifest is left in `folder`."""
    manifest = generate_block("engine", GEOMETRY, folder)
    return build_engine(folder / f"{manifest.module}.json")


class FlippingEngine(Engine):
    """An engine that may give one code of its first layer wrong."""

    flip: tuple[int, int] | None = None

    def boundaries(self, inputs, progress=None) -> dict[str, np.ndarray]:
        results = super().boundaries(inputs, progress)
        if self.flip is not None:
            channel, mask = self.flip
            next(iter(results.values()))[:, channel] ^= mask
        return results


class Boards:
    """Opens simulated engines, one after the other, and holds the last one."""

    def __init__(self, executable: Path):
        self._executable = executable
        self.opened = 0
        self.flip: tuple[int, int] | None = None

    def open(self) -> Engine:
        self.transport = VerilatedTransport(self._executable)
        engine = FlippingEngine(self.transport, GEOMETRY)
        engine.flip = self.flip
        self.opened += 1
        return engine

    def unplug(self) -> None:
        """End the engine while it is in use."""
        self.transport._process._process.kill()


@contextmanager
def serving_page(
    open_engine: Callable[[], Engine], program: Program, *, patience: float = 30.0
) -> Iterator[tuple[DemoServer, Api]]:
    """A page that is served within the block."""
    classifier = Classifier(open_engine, program, patience=patience)
    api = Api(classifier, sample_images(), "a small engine")
    with DemoServer(0) as server:
        thread = threading.Thread(target=server.serve, args=(api,))
        thread.start()
        try:
            yield server, api
        finally:
            server.shutdown()
            thread.join()
            classifier.close()
