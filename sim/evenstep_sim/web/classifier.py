"""One engine for many requests: it is asked one at a time, compared with the reference, and opened again when lost."""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evenstep.compiler import Program
from evenstep.host import Engine, LinkError

__all__ = ["Classification", "Classifier", "Difference", "LayerResult"]

# Seconds that closing waits for a request at hand.
_LAST_WORDS = 2.0


@dataclass(frozen=True)
class Difference:
    """An integer of the engine that is not the reference's."""

    channel: int
    expected: int
    got: int


@dataclass(frozen=True, eq=False)
class LayerResult:
    """What the engine made after a layer.

    Parameters
    ----------
    name : str
        Of the network's layer.
    codes : array of int64, shape (channels,)
        Codes, or sums of a raw layer, as the engine gave them.
    differences : tuple of Difference
        Where they are not the reference's.
    """

    name: str
    codes: np.ndarray
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Classification:
    """What the engine made of a picture.

    Parameters
    ----------
    layers : tuple of LayerResult
        Layers that can be read after a run, the last of the network among them.
    cycles : int
        By the engine's own counter.
    seconds : float
        From the picture to the last layer's integers, the link included.
    """

    layers: tuple[LayerResult, ...]
    cycles: int
    seconds: float

    @property
    def logits(self) -> np.ndarray:
        """Integers of the last layer."""
        return self.layers[-1].codes

    @property
    def prediction(self) -> int:
        """Class of the largest of them."""
        return int(self.logits.argmax())

    @property
    def equal(self) -> bool:
        """Whether all integers that were read are the reference's."""
        return not any(layer.differences for layer in self.layers)


class Classifier:
    """Classifies pictures on an engine, for any number of threads.

    An engine that fails is closed, and opened and loaded again by the next request.

    Parameters
    ----------
    open_engine : callable
        Returns the engine, opened; may raise what `evenstep.host.Engine.open` does.
    program : Program
        What is loaded into it.
    patience : float
        Seconds that a request waits for those before it.
    """

    def __init__(self, open_engine: Callable[[], Engine], program: Program, *, patience: float = 30.0):
        self._open = open_engine
        self._program = program
        self._patience = patience
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._closed = False

    @property
    def program(self) -> Program:
        """What runs."""
        return self._program

    def connect(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Open and load the engine, if it is not; `progress` is called with words written and words in all.

        Raises
        ------
        LinkError
            There is no engine, or another one; one line.
        """
        with self._exclusive():
            self._connected(progress)

    def classify(self, pixels: np.ndarray) -> Classification:
        """Run one picture, shape (inputs,).

        Raises
        ------
        LinkError
            The engine is gone, or busy with others for too long; one line.
        """
        names = [result.name for result in self._program.results]
        expected = dict(zip(names, self._program.boundaries(pixels), strict=True))
        with self._exclusive():
            engine = self._connected(None)
            found = engine.boundaries(pixels)
            cycles, seconds = engine.cycles, engine.seconds
        layers = tuple(_compare(name, expected[name], codes[0]) for name, codes in found.items())
        return Classification(layers, cycles, seconds)

    def close(self) -> None:
        """Close the engine for good, after the request at hand if that ends soon."""
        self._closed = True
        waited = self._lock.acquire(timeout=_LAST_WORDS)
        try:
            self._drop()
        finally:
            if waited:
                self._lock.release()

    @contextlib.contextmanager
    def _exclusive(self):
        """The engine for this thread alone; whatever it fails with is a `LinkError`, and it is dropped."""
        if not self._lock.acquire(timeout=self._patience):
            raise LinkError("The engine is busy with other requests: try again")
        try:
            yield
        except (RuntimeError, OSError) as error:  # `LinkError` among them; simulated engines end with others
            self._drop()
            if isinstance(error, LinkError):
                raise
            raise LinkError(str(error)) from error
        finally:
            self._lock.release()

    def _connected(self, progress: Callable[[int, int], None] | None) -> Engine:
        if self._closed:
            raise LinkError("The demo has ended")
        if self._engine is None:
            self._engine = self._open()
            self._engine.load(self._program, progress)
        return self._engine

    def _drop(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            with contextlib.suppress(RuntimeError, OSError):
                engine.close()


def _compare(name: str, expected: np.ndarray, codes: np.ndarray) -> LayerResult:
    expected, codes = expected.ravel(), codes.ravel()
    wrong = np.flatnonzero(expected != codes)
    return LayerResult(name, codes, tuple(Difference(int(n), int(expected[n]), int(codes[n])) for n in wrong))
