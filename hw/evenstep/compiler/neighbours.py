"""Neighbours: what rows that take neighbouring lines of one picture ask of a network's operations."""

from collections.abc import Mapping
from dataclasses import replace

from evenstep.compiler.concat import Shared
from evenstep.compiler.operations import Operation, layer_of_ones, same_codes
from evenstep.spec.geometry import Geometry
from evenstep.spec.network import INPUT
from evenstep.spec.tensor import TensorType

__all__ = ["share_lines"]


def share_lines(
    operations: list[Operation], types: Mapping[str, TensorType], shared: list[Shared], geometry: Geometry
) -> tuple[list[Operation], dict[str, TensorType]]:
    """Operations and types in which all windows over the same integers move down by the same number of lines.

    Lines are interleaved over banks by that number. Where windows move differently over the same codes, some take a
    copy of these, which an operation of its own makes.

    Raises
    ------
    ValueError
        A window moves down by more lines than banks can interleave, or by any other number than a power of two; or
        windows move differently over the same wide numbers, of which one may be their way into a sum.
    """
    # What lies in the same pixels is one tensor.
    wholes = {name: one.name for one in shared for name in (*one.parts, *one.concats)}
    parts = {name: one.parts[slice(*at)] for one in shared for name, at in one.concats.items()}

    def whole(name: str) -> str:
        return wholes.get(name, name)

    taken: dict[str, set[int]] = {}
    for one in operations:
        step = one.step(types)
        if step is None:
            continue
        if step > geometry.rows or step & step - 1:
            raise ValueError(
                f"{one.layer.name} must move down by a power of two of at most {geometry.rows} lines, not by {step}, "
                "on this engine whose rows are neighbours: generate it with --no-neighbours"
            )
        taken.setdefault(whole(one.source), set()).add(step)
    for one in operations:
        if one.shortcut is not None and types[one.shortcut].shape[1:2] > (1,):
            taken.setdefault(one.shortcut, set()).add(1)
        if one.kept is not None and len(steps := taken.get(one.kept, set())) > 1:
            raise ValueError(
                f"{one.kept} must be taken line by line, or always by windows that move down alike, not by "
                f"{sorted(steps)} lines, on this engine whose rows are neighbours: generate it with --no-neighbours"
            )
    # A copy is made of what is not interleaved, which the source then is.
    copies = {
        (one.source, step): f"{one.source} for steps of {step}"
        for one in operations
        if (step := one.step(types) or 1) > 1 and len(taken[whole(one.source)]) > 1
    }
    known = {**types, **{name: types[source] for (source, _), name in copies.items()}}
    missing = {name: set(parts.get(source, (source,))) - {INPUT} for (source, _), name in copies.items()}
    sources = {name: source for (source, _), name in copies.items()}
    result: list[Operation] = []

    def add_copies() -> None:
        """Add the copies whose sources are all written."""
        for name in [name for name, needed in missing.items() if not needed]:
            del missing[name]
            kind = types[sources[name]]
            same, limits = same_codes(kind), (kind.low, kind.high)
            result.append(Operation(name, layer_of_ones(name, kind), sources[name], thresholds=same, limits=limits))

    add_copies()
    for one in operations:
        result.append(replace(one, source=copies.get((one.source, one.step(types) or 1), one.source)))
        for needed in missing.values():
            needed.discard(one.name)
        add_copies()
    return result, known
