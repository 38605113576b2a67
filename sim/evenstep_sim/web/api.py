"""What the page asks for, as JSON; nothing of HTTP.

=================  ============================================================================================
request            answer
=================  ============================================================================================
``network``        name, labels, layers, size and engine of what runs; ``cycles`` are those of the compiler
``samples``        pictures to pick, each of ``pixels``, row by row, and ``label``, the number of its class
``classify``       ``prediction``, ``logits``, ``cycles``, ``milliseconds``, ``equal`` and, of each layer that can
                   be read, its ``codes`` and its ``differences`` from the reference
=================  ============================================================================================
"""

import json
from typing import Any

import numpy as np

from evenstep.compiler import Placement, Program
from evenstep_golden.data import Images
from evenstep_sim.web.classifier import Classification, Classifier

__all__ = ["Api"]

# Samples of each class.
_EACH = 2


class Api:
    """Answers the page.

    Parameters
    ----------
    classifier : Classifier
        Runs a network that takes pictures like `images`, pixels of 8 bits.
    images : Images
        Some of them are offered as samples, unless their classes are not the network's.
    engine : str
        What the page calls the engine.
    """

    def __init__(self, classifier: Classifier, images: Images, engine: str):
        self._classifier = classifier
        program = classifier.program
        _, channels, height, width = images.pixels.shape
        if (program.network.inputs, program.network.input_bits, channels) != (height * width, 8, 1):
            raise ValueError(
                f"Network must take {height * width} pixels of 8 bits, not {program.network.inputs} codes of "
                f"{program.network.input_bits} bits"
            )
        self._network = _describe(program, width, height, engine)
        known = program.network.labels in ((), images.classes)
        self._samples = _choose(images) if known else []

    def network(self) -> dict[str, Any]:
        """What runs, and on what."""
        return self._network

    def samples(self) -> dict[str, Any]:
        """Pictures to pick; none where the network tells other things apart."""
        return {"samples": self._samples}

    def classify(self, body: bytes) -> dict[str, Any]:
        """Answer ``{"pixels": [...]}``.

        Raises
        ------
        ValueError
            `body` is anything else; one line.
        LinkError
            The engine does not answer; one line.
        """
        pixels = _read_pixels(body, self._classifier.program.network.inputs)
        return _result(self._classifier.classify(pixels))


def _describe(program: Program, width: int, height: int, engine: str) -> dict[str, Any]:
    g, network = program.geometry, program.network
    types = network.types()
    return {
        "name": network.name,
        "labels": list(network.labels) or [str(number) for number in range(program.output.shape[0])],
        "width": width,
        "height": height,
        "multiply_accumulates": network.macs,
        "cycles": program.cycles,
        "useful": program.useful,
        "layers": [
            {
                "name": result.name,
                "outputs": types[result.name].size,
                "bits": types[result.name].high.bit_length() if isinstance(result.place, Placement) else None,
                "readable": not result.overwritten,
            }
            for result in program.results
        ],
        "engine": {
            "name": engine,
            "rows": g.rows,
            "columns": g.columns,
            "lanes": g.lanes,
            "weight_bits": g.weight_bits,
            "act_bits": g.act_bits,
            "hash": g.hash.hex(),
        },
    }


def _choose(images: Images) -> list[dict[str, Any]]:
    """The first pictures of each class, all classes once and then again."""
    places = [np.flatnonzero(images.labels == label) for label in range(len(images.classes))]
    chosen = [int(place[turn]) for turn in range(_EACH) for place in places if turn < len(place)]
    return [{"pixels": images.flat[number].tolist(), "label": int(images.labels[number])} for number in chosen]


def _read_pixels(body: bytes, count: int) -> np.ndarray:
    try:
        values = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):  # of any depth, and with any number of digits
        raise ValueError('Request must be JSON: {"pixels": [...]}') from None
    if not isinstance(values, dict) or list(values) != ["pixels"]:
        raise ValueError('Request must be an object of "pixels" alone')
    pixels = values["pixels"]
    wanted = f"Pixels must be a list of {count} integers from 0 to 255"
    if not isinstance(pixels, list):
        raise ValueError(wanted)
    if len(pixels) != count:
        raise ValueError(f"{wanted}, not of {len(pixels)}")
    for number, value in enumerate(pixels):
        if type(value) is not int or not 0 <= value <= 255:
            raise ValueError(f"{wanted}, which number {number} is not")
    return np.array(pixels, np.int64)


def _result(result: Classification) -> dict[str, Any]:
    return {
        "prediction": result.prediction,
        "logits": result.logits.tolist(),
        "cycles": result.cycles,
        "milliseconds": round(1000 * result.seconds, 1),
        "equal": result.equal,
        "layers": [
            {
                "name": layer.name,
                "codes": layer.codes.tolist(),
                "differences": [vars(difference) for difference in layer.differences],
            }
            for layer in result.layers
        ],
    }
