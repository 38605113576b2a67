"""Program files: what a host of one's own needs to load a network and to run it, as JSON."""

import json
from pathlib import Path
from typing import Any

from evenstep.compiler.program import Placement, Program, WidePlacement
from evenstep.files import check_outputs, write_file
from evenstep.link.protocol import Region

__all__ = ["describe_program", "write_program"]

_FORMAT = 4


def describe_program(program: Program) -> dict[str, Any]:
    """Everything about a program, in numbers, strings, lists and dictionaries.

    ``engine``
        Hash that the engine must report.
    ``memories``
        For each memory its number on the link, and the 32-bit words to load from address 0 on; those of the activations
        into every bank, of which there are ``banks``, ``bank_words`` apart. Each takes an input of its own, unless rows
        are ``neighbours``: then one input lies in all, ``interleave`` lines in the first, as many in the next, and
        round; the results are those of the first.
    ``input``, ``layers``
        Where codes lie in a bank: first host word, shape, digits, words of a pixel, words from a pixel to the next,
        and channels of each run of a pixel, which begins with a word of its own (see `compiler.layout.Layout`).
        Wide numbers that are kept lie in a bank of theirs, ``wide`` and up, with ``stride`` from a pixel to the next;
        what is neither is in the results, ``result`` and up, each by ``excess`` of its channel more than it is, if that
        is there. Of each layer also the cycles that it takes.
    ``cycles``, ``least_cycles``
        Of a whole run, exactly; and where weights stream, of one that never waits for them.
    ``external``
        Only where weights stream: byte address of what external memory must hold, and how many bytes.
    """
    g = program.geometry
    memories = {
        region.name.lower(): {"region": int(region), "words": words} for region, words in program.images.items()
    }
    layers = []
    for layer in program.layers:
        results = [
            {
                "name": result.name,
                "shape": list(result.shape),
                **_describe(program, result.place),
                "overwritten": result.overwritten,
                **({"excess": list(result.excess)} if result.excess else {}),
            }
            for result in (*layer.results, *layer.joined)
        ]
        layers.append({"name": layer.name, "cycles": layer.cycles.total, "results": results})
    return {
        "format": _FORMAT,
        "network": program.network.name,
        "labels": list(program.network.labels),
        "engine": g.hash.hex(),
        "banks": g.rows,
        "neighbours": g.neighbours,
        "bank_words": program.bank_words(Region.ACTIVATIONS),
        "result_bank_words": program.bank_words(Region.RESULTS),
        "result_bits": g.result_bits,
        **({"wide_bank_words": program.bank_words(Region.WIDE), "wide_bits": g.wide_bits} if g.wide_depth else {}),
        "input": {"bits": program.network.input_bits, **_describe(program, program.input)},
        "layers": layers,
        "cycles": program.cycles,
        "least_cycles": program.least_cycles,
        **({"external": {"address": program.memory_base, "bytes": len(program.external)}} if program.external else {}),
        "memories": memories,
    }


def _describe(program: Program, place: Placement | WidePlacement | int) -> dict[str, Any]:
    if isinstance(place, int):
        return {"result": place}
    if isinstance(place, WidePlacement):
        return {"wide": place.base, "stride": place.stride, "interleave": place.banks.interleave}
    return {
        "word": program.host_address(Region.ACTIVATIONS, place.base),
        "codes": list(place.layout.shape),
        "digits": place.layout.digits,
        "pixel_words": place.layout.pixel_words,
        "pixel_stride": place.layout.pixel_stride,
        "runs": list(place.layout.runs or (place.layout.channels,)),
        "interleave": place.layout.banks.interleave,
    }


def write_program(program: Program, path: str | Path) -> None:
    """Write a program file; the same program gives the same bytes.

    Weights that stream from external memory go to a file beside it, with the suffix ``.bin``; `ValueError` if that is
    the program file's own.
    """
    if program.external:
        check_outputs({"Program file": Path(path)}, {"file of weights": Path(path).with_suffix(".bin")})
        write_file(Path(path).with_suffix(".bin"), program.external)
    write_file(path, json.dumps(describe_program(program)) + "\n")
