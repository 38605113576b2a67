"""What comes of a job: its record, or what it said when it failed."""

import json
from collections.abc import Callable
from typing import Any

__all__ = ["describe", "outcome"]


def outcome(function: Callable[[Any], dict[str, Any]], job: Any) -> dict[str, Any]:
    """What `function` gives for a job; where it raises, ``{"error": ...}`` with its message in one line."""
    try:
        record = function(job)
        json.dumps(record, allow_nan=False)  # here, where it counts against this job alone
        if not isinstance(record, dict) or "error" in record:
            raise TypeError(f"Result of a job must be a dictionary without 'error', not {record!r}")
    except Exception as error:
        return {"error": describe(error)}
    return record


def describe(error: BaseException) -> str:
    """An error in one line; those that are not meant for users name their kind."""
    message = " ".join(str(error).split())
    meant = isinstance(error, (ValueError, RuntimeError, OSError))
    return message if meant and message else f"{type(error).__name__}: {message}"
