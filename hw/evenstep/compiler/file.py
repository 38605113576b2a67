"""Program files: what a host of one's own needs to load a network and to run it, as JSON."""

import json
from pathlib import Path
from typing import Any

from evenstep.compiler.program import Placement, Program
from evenstep.files import write_file
from evenstep.link.protocol import Region

__all__ = ["describe_program", "write_program"]

_FORMAT = 1


def describe_program(program: Program) -> dict[str, Any]:
    """Everything about a program, in numbers, strings, lists and dictionaries.

    ``engine``
        Hash that the engine must report.
    ``memories``
        For each memory its number on the link, and the 32-bit words to load from address 0 on; those of the activations
        into every bank, of which there are ``banks``, ``bank_words`` apart.
    ``input``, ``layers``
        Where codes lie in a bank: first host word, shape, digits, and words of a pixel (see `compiler.layout.Layout`).
        Of a layer without, the integers are in the results, ``result`` and up. Then the cycles that it takes.
    ``cycles``
        Of a whole run, exactly.
    """
    g = program.geometry
    memories = {
        region.name.lower(): {"region": int(region), "words": words} for region, words in program.images.items()
    }
    layers = []
    for layer in program.layers:
        place = {"result": layer.descriptor.channel_base} if layer.output is None else _describe(program, layer.output)
        layers.append(
            {
                "name": layer.name,
                "shape": list(layer.shape),
                **place,
                "overwritten": layer.overwritten,
                "cycles": layer.cycles.total,
            }
        )
    return {
        "format": _FORMAT,
        "network": program.network.name,
        "labels": list(program.network.labels),
        "engine": g.hash.hex(),
        "banks": g.rows,
        "bank_words": program.bank_words(Region.ACTIVATIONS),
        "result_bank_words": program.bank_words(Region.RESULTS),
        "result_bits": g.result_bits,
        "input": {"bits": program.network.input_bits, **_describe(program, program.input)},
        "layers": layers,
        "cycles": program.cycles,
        "memories": memories,
    }


def _describe(program: Program, place: Placement) -> dict[str, Any]:
    return {
        "word": program.host_address(Region.ACTIVATIONS, place.base),
        "codes": list(place.layout.shape),
        "digits": place.layout.digits,
        "pixel_words": place.layout.pixel_words,
    }


def write_program(program: Program, path: str | Path) -> None:
    """Write a program file; the same program gives the same bytes."""
    write_file(path, json.dumps(describe_program(program)) + "\n")
