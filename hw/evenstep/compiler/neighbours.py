"""Neighbours: what rows that take neighbouring lines of one picture ask of a network's operations."""

from collections.abc import Mapping
from dataclasses import replace

from evenstep.compiler.operations import Operation, Scan, layer_of_ones, same_codes
from evenstep.spec.geometry import Geometry
from evenstep.spec.network import INPUT
from evenstep.spec.tensor import TensorType

__all__ = ["share_lines"]


def share_lines(
    operations: list[Operation], types: Mapping[str, TensorType], geometry: Geometry
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
        taken.setdefault(one.source, set()).add(step)
    for one in operations:
        if one.shortcut is not None and types[one.shortcut].shape[1:2] > (1,):
            taken.setdefault(one.shortcut, set()).add(1)
        if one.kept is not None and len(steps := taken.get(one.kept, set())) > 1:
            raise ValueError(
                f"{one.kept} must be taken line by line, or always by windows that move down alike, not by "
                f"{sorted(steps)} lines, on this engine whose rows are neighbours: generate it with --no-neighbours"
            )
    # A copy is made of what is not interleaved, which the source then is.
    copies = {(source, step): f"{source} for steps of {step}" for source in taken for step in taken[source] - {1}}
    copies = {key: name for key, name in copies.items() if len(taken[key[0]]) > 1}
    known = {**types, **{name: types[source] for (source, _), name in copies.items()}}
    shared = _copied(INPUT, copies, types)
    for one in operations:
        name = None if isinstance(one.layer, Scan) else copies.get((one.source, one.step(types) or 1))
        shared += [one if name is None else replace(one, source=name), *_copied(one.name, copies, types)]
    return shared, known


def _copied(source: str, copies: Mapping[tuple[str, int], str], types: Mapping[str, TensorType]) -> list[Operation]:
    """Operations that copy the codes of `source`."""
    kind = types[source]
    return [
        Operation(name, layer_of_ones(name, kind), source, thresholds=same_codes(kind), limits=(kind.low, kind.high))
        for (copied, _), name in copies.items()
        if copied == source
    ]
