"""Checkpoints: a model's float parameters and, until its training is over, what goes on from there needs.

Torch's own file format, read with ``weights_only=True``: tensors, numbers and names, never code.
"""

import io
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from evenstep.files import write_file
from evenstep_golden.models import FloatPerceptron, QuantPerceptron
from evenstep_golden.train import build_model

__all__ = ["MAX_BYTES", "Checkpoint", "load_checkpoint", "save_checkpoint"]

#: Largest file that is read.
MAX_BYTES = 256 * 2**20
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Parameters
    ----------
    model : QuantPerceptron or FloatPerceptron
        In evaluation mode.
    training : dict or None
        `Trainer.state()`; None after the last epoch.
    """

    model: QuantPerceptron | FloatPerceptron
    training: dict[str, Any] | None = None

    @property
    def bits(self) -> tuple[int, int] | None:
        """Bits of weights and activations; None for the float network."""
        return (self.model.weight_bits, self.model.act_bits) if isinstance(self.model, QuantPerceptron) else None


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write `checkpoint` to `path`, whole or not at all."""
    content = {
        "format": _FORMAT,
        "bits": checkpoint.bits,
        "model": checkpoint.model.state_dict(),
        "training": checkpoint.training,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_file(path, buffer.getvalue())


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
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path}: must be at most {MAX_BYTES} bytes, which it exceeds")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > MAX_BYTES:
                raise ValueError(f"must unpack to at most {MAX_BYTES} bytes, not {unpacked}")
            # Torch does not look at the checksums.
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"its part {damaged!r} is damaged")
        values = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            raise ValueError(f"format must be {_FORMAT}")
        bits = values["bits"]
        model = build_model(None if bits is None else (bits[0], bits[1]), seed=0)
        model.load_state_dict(values["model"])
        training = values["training"]
        if training is not None and set(training) != {"recipe", "epoch", "optimizer", "generator"}:
            raise ValueError("state of the training must be complete")
    except (
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        EOFError,
        RuntimeError,
        LookupError,
        AttributeError,
        TypeError,
        ValueError,
        NotImplementedError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: must be a checkpoint of `evenstep train`, which it is not: {reason}") from error
    return Checkpoint(model.eval(), training)
