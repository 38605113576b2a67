"""Checkpoints: a model's float parameters and, until its training is over, what goes on from there needs.

Torch's own file format, read with ``weights_only=True``: tensors, numbers and names, never code.
"""

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from evenstep.checks import check_choice
from evenstep.files import write_file
from evenstep_golden.layers import WeightedModule
from evenstep_golden.models import MODELS, Classifier, build_model
from evenstep_golden.precision import Precision

__all__ = ["MAX_BYTES", "STRUCTURES", "Checkpoint", "apply_structure", "load_checkpoint", "save_checkpoint"]

#: Largest file that is read or written: a ResNet-50 with the moments of Adam takes 0.3 GiB.
MAX_BYTES = 2**32
#: What may have become of a module, see `apply_structure`.
STRUCTURES = ("bias", "identity")
_FORMAT = 2
_KEYS = {"format", "model", "input_shape", "classes", "precision", "structure", "state", "training"}
# What zipfile, torch and plain Python raise on files that are no checkpoints; NotImplementedError and RecursionError
# are RuntimeErrors.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    pickle.UnpicklingError,
    EOFError,
    RuntimeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    MemoryError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Parameters
    ----------
    model : Classifier
        Made by `build_model`, changed by `apply_structure` and `Precision.apply` as said below. Read, it is in
        evaluation mode.
    name : str
        Its name in `MODELS`.
    classes : tuple of str
        Names of the classes.
    precision : Precision or None
        What was applied to it; None for a float model.
    structure : dict of str to str
        What was changed by `apply_structure`.
    training : dict or None
        `Trainer.state()`; None after the last epoch.
    """

    model: Classifier
    name: str
    classes: tuple[str, ...]
    precision: Precision | None = None
    structure: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] | None = None


def apply_structure(model: Classifier, structure: Mapping[str, str]) -> None:
    """Change modules of `model` as post-training steps do, before it gets quantizers.

    Parameters
    ----------
    structure : mapping of str to str
        Names of modules, and what becomes of each: ``"bias"``, a layer with weights has a bias, 0 unless it had one;
        ``"identity"``, a module without which the model computes, such as a folded batch norm, is gone.

    Raises
    ------
    ValueError
        There is no such module, or it cannot become that.
    """
    for name, kind in structure.items():
        check_choice(f"Structure of {name}", kind, STRUCTURES)
        parent, _, attribute = name.rpartition(".")
        modules = dict(model.named_modules())
        if not attribute or name not in modules:
            raise ValueError(f"Structure must name modules of the model, not {name!r}")
        module = modules[name]
        if kind == "identity":
            setattr(modules[parent], attribute, nn.Identity())
        elif not isinstance(module, WeightedModule):
            raise ValueError(f"Structure of {name} must be that of a layer with weights to get a bias")
        elif module.bias is None:
            module.bias = nn.Parameter(module.weight.new_zeros(len(module.weight)))


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write `checkpoint` to `path`, whole or not at all.

    Raises
    ------
    OSError
        It cannot be written; with the file's name.
    ValueError
        It would be too large to be read again.
    """
    model = checkpoint.model
    content = {
        "format": _FORMAT,
        "model": checkpoint.name,
        "input_shape": list(model.input_shape),
        "classes": list(checkpoint.classes),
        "precision": None if checkpoint.precision is None else checkpoint.precision.to_dict(),
        "structure": dict(checkpoint.structure),
        "state": {name: value.detach().contiguous() for name, value in model.state_dict().items()},
        "training": checkpoint.training,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    if buffer.tell() > MAX_BYTES:
        raise ValueError(f"{path}: must be at most {MAX_BYTES} bytes to be read again, not {buffer.tell()}")
    try:
        write_file(path, buffer.getvalue())
    except OSError as error:
        # A full disk is noticed by a write, which knows no name.
        raise OSError(error.errno, error.strerror, str(path)) from error


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no checkpoint of this project; the message names the file.
    """
    with Path(path).open("rb") as file:
        try:
            return _make(_read(file))
        except _DAMAGE as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"{path}: must be a checkpoint of `evenstep train`, which it is not: {reason}") from error


def _read(file: BinaryIO) -> dict[str, Any]:
    """Values in a file that is what it says, and no larger than allowed."""
    if (size := os.fstat(file.fileno()).st_size) > MAX_BYTES:
        raise ValueError(f"must have at most {MAX_BYTES} bytes, not {size}")
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MAX_BYTES:
            raise ValueError(f"must unpack to at most {MAX_BYTES} bytes, not {unpacked}")
        # Torch does not look at the checksums.
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"its part {damaged!r} is damaged")
    file.seek(0)
    content = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"format must be {_FORMAT}")
    if set(content) != _KEYS:
        raise ValueError(f"keys must be {', '.join(sorted(_KEYS))}")
    return content


def _make(content: dict[str, Any]) -> Checkpoint:
    name, structure, state, training = (content[key] for key in ("model", "structure", "state", "training"))
    shape, classes = tuple(content["input_shape"]), tuple(content["classes"])
    precision = None if content["precision"] is None else Precision.from_dict(content["precision"])
    check_choice("model", name, tuple(MODELS))
    if not all(isinstance(text, str) for text in classes):
        raise TypeError("classes must be names")
    if not isinstance(structure, dict) or not isinstance(state, dict):
        raise TypeError("structure and state must be dictionaries")
    if training is not None and not isinstance(training, dict):
        raise TypeError("state of the training must be a dictionary")

    # Shapes first, without memory: a file must not make a model larger than what it has parameters for.
    with torch.device("meta"):
        outline = MODELS[name](shape, len(classes))
        apply_structure(outline, structure)
    _check_parameters(outline, state)
    model = build_model(name, shape, len(classes))
    apply_structure(model, structure)
    if precision is not None:
        precision.apply(model)
    _check_quantizers(model, state)
    model.load_state_dict(state)
    return Checkpoint(model.eval(), name, classes, precision, structure, training)


def _check(name: str, value: Any, wanted: Tensor, shapes: tuple[tuple[int, ...], ...]) -> None:
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.dtype != wanted.dtype:
        raise ValueError(f"parameter {name} must be a tensor of {wanted.dtype}")
    if tuple(value.shape) not in shapes:
        raise ValueError(f"parameter {name} must have shape {shapes[0]}, not {tuple(value.shape)}")
    if not value.is_contiguous():
        raise ValueError(f"parameter {name} must be stored whole")


def _check_parameters(model: Classifier, state: dict[str, Any]) -> None:
    """Refuse a `state` that lacks a parameter of the float `model`, or has one of another shape."""
    for name, wanted in model.state_dict().items():
        if name not in state:
            raise ValueError(f"parameter {name} must be there, and is not")
        _check(name, state[name], wanted, (tuple(wanted.shape),))


def _check_quantizers(model: Classifier, state: dict[str, Any]) -> None:
    """Compare all of `state`. Quantizers of weights know only with their values how many channels they have."""
    wanted = model.state_dict()
    for name in (*wanted, *state):
        if name not in state:
            raise ValueError(f"parameter {name} must be there, and is not")
        if name not in wanted:
            raise ValueError(f"parameter {name} must not be there: the model has none of that name")
    for layer, module in model.weighted().items():
        prefix = f"{layer}.weight_quantizer."
        for name in (name for name in wanted if name.startswith(prefix)):
            shape = tuple(wanted[name].shape)
            by_channel = [(count, *shape[1:]) for count in (1, len(module.weight)) if shape]
            _check(name, state[name], wanted[name], (shape, *by_channel))
    for name, place in model.activations().items():
        for key in place.state_dict():
            full = f"{name}.{key}"
            _check(full, state[full], wanted[full], (tuple(wanted[full].shape),))
