"""Checks of arguments, with errors that name the thing, the limit and what was given."""

import operator
from typing import Any

__all__ = ["check_choice", "check_int"]


def check_int(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return `value` as an integer within `low` to `high`, both inclusive.

    Raises
    ------
    TypeError
        `value` is no integer (a `bool` is none either).
    ValueError
        `value` is out of range.
    """
    if high is not None:
        wanted = f"an integer from {low} to {high}"
    elif low == 1:
        wanted = "a positive integer"
    elif low == 0:
        wanted = "a non-negative integer"
    else:
        wanted = f"an integer of at least {low}"
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be {wanted}, not {value!r}") from None
    if number < low or (high is not None and number > high):
        raise ValueError(f"{name} must be {wanted}, not {number}")
    return number


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return `value` if it is one of `choices`; raise `ValueError` otherwise."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value
