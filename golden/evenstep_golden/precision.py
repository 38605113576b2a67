"""Precision: which quantizer, of how many bits, each layer has. The one place that says so.

As text, ``n2uq:2`` is a method and a width, ``pwlq:4,breakpoints=2`` also an option of its quantizer. A file says it
for a whole network, in TOML::

    weights = "n2uq:2"
    activations = "n2uq:2"

    [[layers]]
    name = "conv1"                  # as `evenstep train --list-layers` prints it; * matches any
    weights = "lsq:8"

    [[layers]]
    name = "act*"
    activations = "lsq:3"

Of several entries that match, the last counts.
"""

import fnmatch
import inspect
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evenstep.checks import check_choice, check_int
from evenstep_golden.layers import Activation, ReLU, ReLU6
from evenstep_golden.models.base import Classifier
from evenstep_golden.quantizers import (
    ActivationQuantizer,
    DoReFaActivation,
    DoReFaWeight,
    LSQActivation,
    LSQWeight,
    N2UQActivation,
    N2UQWeight,
    PACTActivation,
    PWLQWeight,
    STEActivation,
    STEWeight,
    UniformActivation,
    UniformWeight,
    WeightQuantizer,
)

__all__ = ["ACTIVATION_METHODS", "WEIGHT_METHODS", "Method", "Precision"]

#: Weight quantizers by name.
WEIGHT_METHODS: dict[str, Callable[..., WeightQuantizer]] = {
    "dorefa": DoReFaWeight,
    "lsq": LSQWeight,
    "n2uq": N2UQWeight,
    "pwlq": PWLQWeight,
    "ste": STEWeight,
    "uniform": UniformWeight,
}
#: Activation quantizers by name.
ACTIVATION_METHODS: dict[str, Callable[..., ActivationQuantizer]] = {
    "dorefa": DoReFaActivation,
    "lsq": LSQActivation,
    "n2uq": N2UQActivation,
    "pact": PACTActivation,
    "ste": STEActivation,
    "uniform": UniformActivation,
}
_KINDS = ("weights", "activations")
#: Weight quantizers that can share one scale among all channels, as those of a last layer should.
_PER_TENSOR = ("lsq", "n2uq", "pwlq", "ste", "uniform")
#: Activation quantizers that can be told that values are negative too.
_SIGNED = ("lsq",)


@dataclass(frozen=True)
class Method:
    """A quantizer's name, its width, and options of its class.

    Parameters
    ----------
    name : str
        A key of `WEIGHT_METHODS` or `ACTIVATION_METHODS`.
    bits : int
        Width of the codes, 1 to 8.
    options : tuple of pairs
        Keyword arguments of the class: names with numbers, strings or booleans.
    """

    name: str
    bits: int
    options: tuple[tuple[str, int | float | str | bool], ...] = ()

    def __post_init__(self) -> None:
        check_choice("Method", self.name, tuple(sorted({*WEIGHT_METHODS, *ACTIVATION_METHODS})))
        check_int("Bits of a method", self.bits, 1, 8)

    @classmethod
    def parse(cls, text: str) -> "Method":
        """Read the form that `str` writes: ``"n2uq:2"``, ``"pwlq:4,breakpoints=2"``."""
        first, *rest = text.split(",")
        name, _, bits = first.partition(":")
        pairs = [part.partition("=") for part in rest]
        if not bits.isdecimal() or not all(key.isidentifier() and value for key, _, value in pairs):
            raise ValueError(f"Method must read like 'n2uq:2' or 'pwlq:4,breakpoints=2', not {text!r}")
        return cls(name, int(bits), tuple((key, _parse_value(value)) for key, _, value in pairs))

    def __str__(self) -> str:
        return ",".join([f"{self.name}:{self.bits}", *(f"{key}={value}" for key, value in self.options)])

    def make(self, kind: str, **defaults: Any) -> Any:
        """A new quantizer: `kind` is ``"weights"`` or ``"activations"``; `defaults` yield to the options.

        Raises
        ------
        ValueError
            There is none of that kind by that name, or its class refuses an option.
        """
        methods: Mapping[str, Callable[..., Any]] = WEIGHT_METHODS if kind == "weights" else ACTIVATION_METHODS
        check_choice(f"Method of {kind}", self.name, tuple(methods))
        known = {
            name: parameter.default
            for name, parameter in inspect.signature(methods[self.name]).parameters.items()
            if name != "bits"
        }
        for key, value in self.options:
            if key not in known:
                raise ValueError(f"{self}: options must be of {', '.join(known) or 'none'}, not {key!r}")
            if isinstance(known[key], bool) and not isinstance(value, bool):
                raise ValueError(f"{self}: {key} must be True or False, not {value!r}")
        try:
            return methods[self.name](self.bits, **{**defaults, **dict(self.options)})
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self}: {error}") from error


def _parse_value(text: str) -> int | float | str | bool:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


@dataclass(frozen=True)
class Precision:
    """Methods of all layers.

    Parameters
    ----------
    weights, activations : Method or None
        What layers have that no pattern names; None leaves them float.
    layers : tuple of (pattern, kind, Method or None)
        Exceptions: a pattern for names of layers, ``"weights"`` or ``"activations"``, and what those have.
    """

    weights: Method | None = None
    activations: Method | None = None
    layers: tuple[tuple[str, str, Method | None], ...] = field(default=())

    @classmethod
    def load(cls, path: str | Path) -> "Precision":
        """Read a TOML file as shown at the top; raises `OSError`, or `ValueError` that names the file."""
        try:
            content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
            return cls.from_dict(content)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from error

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Precision":
        """Read what `to_dict` writes."""
        unknown = set(content) - {"weights", "activations", "layers"}
        if unknown:
            raise ValueError(f"Keys must be weights, activations and layers, not {', '.join(sorted(unknown))}")
        layers = []
        entries = content.get("layers", [])
        if not isinstance(entries, list):
            raise TypeError(f"Layers must be a list of tables, not {entries!r}")
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise TypeError(f"Entry of a layer must be a table with a name, not {entry!r}")
            if len(entry) < 2:
                raise ValueError(f"Entry of layer {entry['name']} must say weights or activations, and says neither")
            for kind in entry.keys() - {"name"}:
                check_choice(f"Key of layer {entry['name']}", kind, _KINDS)
            layers += [(entry["name"], kind, _method(entry[kind])) for kind in _KINDS if kind in entry]
        return cls(_method(content.get("weights")), _method(content.get("activations")), tuple(layers))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for files: texts, and ``"float"`` for None."""
        return {
            "weights": str(self.weights or "float"),
            "activations": str(self.activations or "float"),
            "layers": [{"name": pattern, kind: str(method or "float")} for pattern, kind, method in self.layers],
        }

    def to_toml(self) -> str:
        """Text that `load` reads."""
        content = self.to_dict()
        lines = [f"{kind} = {json.dumps(content[kind])}" for kind in _KINDS]
        for entry in content["layers"]:
            lines += ["", "[[layers]]", *(f"{key} = {json.dumps(text)}" for key, text in entry.items())]
        return "\n".join(lines) + "\n"

    def method(self, name: str, kind: str) -> Method | None:
        """What layer `name` has; `kind` is ``"weights"`` or ``"activations"``."""
        result = self.weights if kind == "weights" else self.activations
        for pattern, of, method in self.layers:
            if of == kind and fnmatch.fnmatchcase(name, pattern):
                result = method
        return result

    def replaced(self, name: str, kind: str, method: Method | None) -> "Precision":
        """The same, but for one layer."""
        return replace(self, layers=(*self.layers, (name, kind, method)))

    def apply(self, model: Classifier) -> None:
        """Give the layers of `model` new quantizers, or none.

        The last layer shares one scale among its channels where its method can: their sums are compared with each
        other. Activations that can be negative get a signed quantizer where the method has one.

        Raises
        ------
        ValueError
            A pattern matches no layer, or a method cannot be made.
        """
        weighted, activations = model.weighted(), model.activations()
        for pattern, kind, _ in self.layers:
            names = weighted if kind == "weights" else activations
            if not fnmatch.filter(names, pattern):
                raise ValueError(
                    f"Pattern {pattern!r} must match a layer with {kind}, which are {', '.join(names)}; it matches none"
                )
        last = list(weighted)[-1]
        for name, layer in weighted.items():
            method = self.method(name, "weights")
            shared = {"granularity": "tensor"} if method and name == last and method.name in _PER_TENSOR else {}
            layer.weight_quantizer = None if method is None else method.make("weights", **shared)
        for name, place in activations.items():
            method = self.method(name, "activations")
            signed = {"signed": True} if method and method.name in _SIGNED and _is_signed(place) else {}
            place.quantizer = None if method is None else method.make("activations", **signed)


def _method(text: Any) -> Method | None:
    if text is None or text == "float":
        return None
    if not isinstance(text, str):
        raise TypeError(f"Method must be a text such as 'n2uq:2', not {text!r}")
    return Method.parse(text)


def _is_signed(place: Activation) -> bool:
    return not isinstance(place.function, ReLU | ReLU6)
