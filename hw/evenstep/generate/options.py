"""Command-line options that make a geometry; shared by every command that takes one."""

import shlex
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any

import click

from evenstep.estimate.styles import pick_style
from evenstep.spec import COUNTERS, PIECEWISE_STYLES, PRESETS, THRESHOLD_STYLES, WEIGHT_ENCODINGS, Geometry

__all__ = ["generate_command", "geometry_options", "network_geometry_options"]

_AUTO = "auto"

_CHOICES = {
    "threshold_style": (*THRESHOLD_STYLES, _AUTO),
    "counter": COUNTERS,
    "encoding": WEIGHT_ENCODINGS,
    "piecewise": PIECEWISE_STYLES,
}
_HELP = {
    "rows": "R, input vectors or positions that the array works on at once.",
    "columns": "C, output channels that the array works on at once.",
    "lanes": "K, inputs that a processing element takes in a cycle.",
    "weight_bits": "W, native width of a weight, 1 to 8.",
    "act_bits": "A, native width of an activation, 1 to 8.",
    "output_bits": "N, width of the threshold unit's codes, 1 to 8.  [default: like --act-bits]",
    "max_weight_bits": "Widest weights that can run, as digits.  [default: like --weight-bits]",
    "encoding": "Weights: any, chosen by each layer at run time, or one, which saves what it does not need.",
    "breakpoints": "Most breakpoints of piecewise linear weights, 0 to 3.",
    "piecewise": "Piecewise linear weights: several sums that constants combine, or decoded to plain integers.",
    "convolution": "Windows that move over pictures: convolutions and maxima.",
    "neighbours": "Rows take neighbouring lines of one picture, instead of a picture each.",
    "rescale": "Rescale results: multiplier, bias and shift.",
    "wide_depth": "Wide numbers of each row, for residual networks; 0: none.",
    "wide_bits": "Width of the wide numbers, 8 to 32.",
    "port_bits": "Width of the port that weights stream from, for networks of many; 0: none.",
    "accumulator_bits": "Width of the dot products.",
    "threshold_style": "Comparators, all at once, a binary search, or one that takes a cycle for each bit; or a "
    "multiplier, for even thresholds; or what takes fewest LUTs at the same rate.",
    "counter": "Structure that counts ones.",
    "counter_registers": "Most registers of a counter, for --counter ecp5; 0: one behind each stage.",
    "program_depth": "32-bit words of the program memory.",
    "weight_depth": "Words of C x K x W bits of the weight memory.",
    "act_depth": "Words of K x A bits of each activation bank.",
    "result_depth": "Raw results of each row.",
    "threshold_depth": "Channels with thresholds.",
    "constant_depth": "Channels with constants, for --breakpoints and --rescale.",
    "knee_depth": "Channels with a knee, for --wide-depth.",
    "max_passes": "Passes over its inputs that a layer may take.",
}


def geometry_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` an option for every parameter of `Geometry`, and a `geometry` in their place.

    Options start from a preset. Output codes are as wide as activations unless said otherwise, since the next layer
    takes them. With ``--threshold-style auto`` it is one that takes any network's thresholds.
    """
    return _with_options(command, lambda geometry, auto: {"geometry": pick_style(geometry) if auto else geometry})


def network_geometry_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """As `geometry_options`, of a command that chooses the style for a network if `auto_style` says that it is to."""
    return _with_options(command, lambda geometry, auto: {"geometry": geometry, "auto_style": auto})


def _with_options(
    command: Callable[..., Any], arguments: Callable[[Geometry, bool], dict[str, Any]]
) -> Callable[..., Any]:
    @wraps(command)
    def with_geometry(*, preset: str, **values: Any) -> Any:
        given = {name: values.pop(name) for name in _HELP}
        changes = {name: value for name, value in given.items() if value is not None}
        auto = changes.get("threshold_style") == _AUTO
        if auto:
            del changes["threshold_style"]
        if "act_bits" in changes:
            changes.setdefault("output_bits", changes["act_bits"])
        return command(**arguments(PRESETS[preset].replace(**changes), auto), **values)

    assert {field.name for field in fields(Geometry)} == set(_HELP)
    decorated = with_geometry
    for name, text in reversed(_HELP.items()):
        default = getattr(PRESETS["default"], name)
        option = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            decorated = click.option(f"{option}/--no-{name}", default=None, help=text)(decorated)
            continue
        kind = click.Choice(_CHOICES[name]) if name in _CHOICES else int
        shown = "" if "default:" in text else f"  [default: {default}]"
        decorated = click.option(option, type=kind, help=text + shown)(decorated)
    return click.option(
        "--preset",
        type=click.Choice(list(PRESETS)),
        default="default",
        show_default=True,
        help="Geometry to start from; the options below change it.",
    )(decorated)


def generate_command(geometry: Geometry) -> str:
    """What generates an engine of `geometry`: every parameter that is not what it is without its option."""
    default = PRESETS["default"].to_dict()
    # These follow others where they are not given.
    default |= {"output_bits": geometry.act_bits, "max_weight_bits": geometry.weight_bits}
    words = ["evenstep", "generate"]
    for name, value in geometry.to_dict().items():
        if value == default[name]:
            continue
        option = f"--{name.replace('_', '-')}"
        words += [option] if value is True else [option, str(value)]
    return shlex.join(words)
