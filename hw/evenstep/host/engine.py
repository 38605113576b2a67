"""An engine as notebooks and commands use it: open, load a network, infer."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from evenstep.compiler import Program, Result, compile_network
from evenstep.generate import Manifest
from evenstep.host.client import EngineClient
from evenstep.host.target import open_transport
from evenstep.host.transport import LinkError, LostMemoryError, NoAnswerError, Transport
from evenstep.qonnx import read_network
from evenstep.spec import Geometry, Network

__all__ = ["Engine"]

# Times that a program is loaded into an engine that loses its memory, before it is given up.
_LOADS = 3

Progress = Callable[[int, int], None]


class Engine:
    """An engine, on a board or simulated, that runs networks.

    ::

        with Engine.open("/dev/ttyUSB1", "build/evenstep_engine.json") as engine:
            engine.load("net.onnx")
            logits = engine.infer(images)

    Every wait is bounded. What the line damages or loses is repeated; an engine that was reset or switched off and on
    is loaded again; what cannot be mended is a `LinkError` of one line, never a wrong result.

    Parameters
    ----------
    transport : Transport
        Way to the engine; closed with it.
    geometry : Geometry
        What the engine was generated from.
    name : str
        What messages call it.
    rng : random.Random, optional
        As `EngineClient` takes it.

    Raises
    ------
    LinkError
        From any method: what answers is another engine or none, or it is gone.
    """

    def __init__(
        self,
        transport: Transport,
        geometry: Geometry,
        *,
        name: str = "the engine",
        rng: random.Random | None = None,
    ):
        self._client = EngineClient(transport, rng=rng)
        self._geometry = geometry
        self._name = name
        self._loaded: Program | None = None
        self._cycles = self._runs = 0
        self._seconds = 0.0
        try:
            self._check_identity()
        except BaseException:
            transport.close()
            raise

    @classmethod
    def open(
        cls, target: str, manifest: "str | Path | Manifest | Geometry", *, baud: int | None = None, timeout: float = 2.0
    ) -> "Engine":
        """Open the engine at `target`.

        Parameters
        ----------
        target : str
            ``"tcp:HOST:PORT"``, ``"HOST:PORT"``, a serial port, or the name of a board.
        manifest : str, Path, Manifest or Geometry
            What the engine is: the file that ``evenstep generate``, ``build`` or ``serve`` wrote, or what is in it.
        baud : int, optional
            Of a serial port; left out: the board's, or `evenstep_boards.serial.DEFAULT_BAUD`.
        timeout : float
            Seconds of silence after which a question is repeated.

        Raises
        ------
        LinkError
            The target cannot be opened, is in use, is no engine, or is another engine than the manifest's.
        OSError, ValueError
            The manifest cannot be read, or is not that of an engine.
        """
        geometry = _geometry(manifest)
        return cls(open_transport(target, baud=baud, timeout=timeout), geometry, name=target)

    def _check_identity(self) -> None:
        try:
            found = self._client.identify()
        except NoAnswerError:
            raise LinkError(
                f"No engine answers at {self._name}: check that it is the right port, at the right speed, and that the "
                "board was flashed"
            ) from None
        if found != self._geometry.hash:
            raise LinkError(
                f"Engine at {self._name} is {found.hex()}, but the manifest describes {self._geometry.hash.hex()}: "
                "give the manifest that was written with this engine"
            )

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.__exit__(kind, error, trace)

    def close(self) -> None:
        """Close the way to the engine, which keeps its program until it is switched off."""
        self._client.__exit__(None, None, None)

    @property
    def geometry(self) -> Geometry:
        """What the engine was generated from."""
        return self._geometry

    @property
    def program(self) -> Program:
        """What `load` loaded; `LinkError` before that."""
        if self._loaded is None:
            raise LinkError("No network is loaded: call load() first")
        return self._loaded

    @property
    def cycles(self) -> int:
        """Cycles that the last `infer` or `boundaries` took, all its runs together, by the engine's own counter."""
        return self._cycles

    @property
    def runs(self) -> int:
        """Runs of the last `infer` or `boundaries`: one for each `geometry.batch` positions."""
        return self._runs

    @property
    def seconds(self) -> float:
        """Seconds by the clock from inputs to last results in the last `infer` or `boundaries`, inner layers aside."""
        return self._seconds

    def load(self, network: "Network | Program | str | Path", progress: Progress | None = None) -> Program:
        """Compile `network` for the engine and load it.

        Parameters
        ----------
        network : Network, Program, str or Path
            What to run; a path is that of a QONNX file.
        progress : callable, optional
            Called with words written and words in all.

        Returns
        -------
        Program
            What was loaded, with the cycles of each layer.

        Raises
        ------
        ValueError
            The file is no network, or the network does not fit the engine; the message names what would mend it.
        """
        if isinstance(network, Program):
            program = network
        else:
            read = network if isinstance(network, Network) else read_network(Path(network))
            program = compile_network(read, self._geometry)
        self._loaded = None
        for attempt in range(_LOADS):
            try:
                self._client.load(program, progress)
                break
            except LostMemoryError:
                if attempt == _LOADS - 1:
                    raise
        self._loaded = program
        return program

    def infer(self, inputs: Any, progress: Progress | None = None) -> np.ndarray:
        """Run the loaded network on any number of positions.

        Parameters
        ----------
        inputs : array of int, shape (positions, ...)
            Codes, 0 to 2**input_bits - 1 (of pixels: the pixels), as many for each position as the network takes. A
            single vector is one position.
        progress : callable, optional
            Called with positions done and positions in all.

        Returns
        -------
        array of int64, shape (positions, outputs)
            Integers of the last layer: a classifier's logits. Of a layer that gives pictures, (positions, *shape).

        Raises
        ------
        LinkError
            The engine is gone, or no attempt came through undisturbed.
        TypeError, ValueError
            The inputs are not what the network takes.
        """
        results = [np.zeros((0, *self.program.output.shape), np.int64)]
        results += [last for last, _ in self._batches(inputs, (), progress)]
        return np.concatenate(results)

    def boundaries(self, inputs: Any, progress: Progress | None = None) -> dict[str, np.ndarray]:
        """Run the loaded network as `infer` does, and read what it makes after every layer.

        Returns
        -------
        dict of str to array of int64, shape (positions, channels) or (positions, channels, height, width)
            By the name of the network's layer, in order. Integers that are overwritten by later ones, in an engine of
            little memory, are missing; the last layer's never are, and are the last.
        """
        *inner, output = self.program.results
        shown = tuple(result for result in inner if not result.overwritten)
        batches = list(self._batches(inputs, shown, progress))
        integers: dict[str, np.ndarray] = {}
        for number, result in enumerate(shown):
            parts = [np.zeros((0, *result.shape), np.int64), *(more[number] for _, more in batches)]
            integers[result.name] = np.concatenate(parts)
        parts = [np.zeros((0, *output.shape), np.int64), *(last for last, _ in batches)]
        return {**integers, output.name: np.concatenate(parts)}

    def _batches(
        self, inputs: Any, inner: tuple[Result, ...], progress: Progress | None
    ) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Run `inputs` batch by batch; yield integers of the last layer, and of the results `inner`."""
        program = self.program
        vectors = _vectors(inputs, program.network)
        self._cycles = self._runs = 0
        self._seconds = 0.0
        for start in range(0, len(vectors), self._geometry.batch):
            batch = vectors[start : start + self._geometry.batch]
            yield self._run(program, batch, inner)
            if progress:
                progress(start + len(batch), len(vectors))

    def _run(
        self, program: Program, batch: np.ndarray, inner: tuple[Result, ...]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        for attempt in range(_LOADS):
            try:
                if attempt:
                    self._client.load(program)
                begun = time.perf_counter()
                status = self._client.run(batch)
                last = self._client.outputs(len(batch))
                seconds = time.perf_counter() - begun
                rows = range(len(batch))
                more = [np.stack([self._client.integers(result, row) for row in rows]) for result in inner]
                break
            except LostMemoryError:
                if attempt == _LOADS - 1:
                    raise
        else:
            raise AssertionError("the last attempt breaks or raises")
        self._cycles += status.cycles
        self._seconds += seconds
        self._runs += 1
        return last, more


def _geometry(manifest: "str | Path | Manifest | Geometry") -> Geometry:
    if isinstance(manifest, Geometry):
        return manifest
    if isinstance(manifest, str | Path):
        manifest = Manifest.read(Path(manifest))
    if not isinstance(manifest, Manifest):
        raise TypeError(f"Manifest must be a path, a Manifest or a Geometry, not {type(manifest).__name__}")
    return manifest.engine_geometry()


def _vectors(inputs: Any, network: Network) -> np.ndarray:
    """Inputs as vectors, shape (positions, inputs)."""
    array = np.asarray(inputs)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"Inputs must be integer codes, not {array.dtype}")
    if array.shape == (network.inputs,):
        array = array[None]
    if array.ndim < 2 or array[0:1].size not in (0, network.inputs) or (len(array) and 0 in array.shape[1:]):
        raise ValueError(f"Inputs must have shape (positions, {network.inputs}), not {array.shape}")
    array = array.reshape(len(array), network.inputs)
    top = 2**network.input_bits - 1
    if array.size and (array.min() < 0 or array.max() > top):
        raise ValueError(f"Input codes must be from 0 to {top}, not {array.min()} to {array.max()}")
    return array
