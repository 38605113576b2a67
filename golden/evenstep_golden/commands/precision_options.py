"""Command-line options that make a precision."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from evenstep_golden.precision import Precision

__all__ = ["precision_options"]


def precision_options(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options --weights, --activations and --precision, in their place a `precision`.

    That is None where they ask for floats. `label` is a short text for the names of files. `default` is the method of
    weights and activations that nothing is said of.
    """

    def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(
            "--weights", metavar="METHOD", help=f"Quantizer of weights, such as n2uq:2, or float.  [default: {default}]"
        )
        @click.option("--activations", metavar="METHOD", help=f"Quantizer of activations.  [default: {default}]")
        @click.option(
            "--precision",
            "file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="TOML file of quantizers, layer by layer, instead of the two.",
        )
        @wraps(command)
        def with_precision(*, weights: str | None, activations: str | None, file: Path | None, **values: Any) -> Any:
            if file is None:
                precision = Precision.from_dict({"weights": weights or default, "activations": activations or default})
                label = _label(precision)
            elif weights is not None or activations is not None:
                raise click.UsageError(
                    "--precision must be given instead of --weights and --activations, not with them"
                )
            else:
                precision, label = Precision.load(file), file.stem
            return command(precision=None if precision == Precision() else precision, label=label, **values)

        return with_precision

    return with_options


def _label(precision: Precision) -> str:
    """``w2a2`` for N2UQ, which is the default; ``lsq-w2a2``; ``w-float-a4-pact``."""
    methods = {"w": precision.weights, "a": precision.activations}
    names = {"float" if method is None else method.name for method in methods.values()}
    if names == {"float"}:
        return "float"
    if len(names) > 1:
        return "-".join(
            f"{kind}-float" if one is None else f"{kind}{one.bits}-{one.name}" for kind, one in methods.items()
        )
    widths = "".join(f"{kind}{one.bits}" for kind, one in methods.items() if one is not None)
    return widths if names == {"n2uq"} else f"{names.pop()}-{widths}"
