"""Checkpoints: whole or not at all, and never more than data."""

import errno
import io
import os
import pickle
import pickletools
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import evenstep_golden.checkpoint as module
from evenstep_golden.checkpoint import Checkpoint, apply_structure, load_checkpoint, save_checkpoint
from evenstep_golden.models import build_model
from evenstep_golden.precision import ACTIVATION_METHODS, WEIGHT_METHODS, Method, Precision
from evenstep_golden.training import initialize_quantizers

CLASSES = ("a", "b", "c")
SHAPE = (1, 12, 12)
PIXELS = np.random.default_rng(0).integers(0, 256, (16, *SHAPE), dtype=np.uint8)


def make(name: str = "mlp-256", weights: str = "n2uq:2", activations: str = "n2uq:2", seed: int = 0) -> Checkpoint:
    model = build_model(name, SHAPE, len(CLASSES), seed=seed)
    precision = Precision.from_dict({"weights": weights, "activations": activations})
    precision.apply(model)
    initialize_quantizers(model, PIXELS)
    model.train()(torch.from_numpy(PIXELS))
    return Checkpoint(model.eval(), name, CLASSES, precision)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "x.pt"
    save_checkpoint(make(), path)
    return path.read_bytes()


def rewritten(good: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """A checkpoint with other content."""
    content = torch.load(io.BytesIO(good), weights_only=True)
    change(content)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", sorted({*WEIGHT_METHODS, *ACTIVATION_METHODS}))
def test_every_method_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    weights = f"{name}:3" if name in WEIGHT_METHODS else "n2uq:2"
    activations = f"{name}:3" if name in ACTIVATION_METHODS else "lsq:2"
    saved = make("cnn", weights, activations)
    save_checkpoint(saved, tmp_path / "x.pt")
    loaded = load_checkpoint(tmp_path / "x.pt")
    assert (loaded.name, loaded.classes, loaded.precision, loaded.training) == ("cnn", CLASSES, saved.precision, None)
    assert not loaded.model.training
    pixels = torch.from_numpy(PIXELS)
    assert torch.equal(loaded.model(pixels), saved.model(pixels))
    for key, value in saved.model.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[key], value, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["ds-cnn", "resnet18", "mobilenet-v2-small"])
def test_other_models_come_back_too(tmp_path: Path, name: str) -> None:
    model = build_model(name, (3, 32, 32), 3)
    save_checkpoint(Checkpoint(model, name, CLASSES, training={"epoch": 1}), tmp_path / "x.pt")
    loaded = load_checkpoint(tmp_path / "x.pt")
    assert loaded.precision is None and loaded.training == {"epoch": 1}
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value)


def test_a_changed_structure_comes_back(tmp_path: Path) -> None:
    model = build_model("cnn", SHAPE, 3)
    structure = {"conv1": "bias", "bn1": "identity"}
    apply_structure(model, structure)
    model.get_parameter("conv1.bias").data.fill_(0.5)
    save_checkpoint(Checkpoint(model, "cnn", CLASSES, structure=structure), tmp_path / "x.pt")
    loaded = load_checkpoint(tmp_path / "x.pt")
    assert loaded.structure == structure
    assert (loaded.model.get_parameter("conv1.bias") == 0.5).all()
    assert torch.equal(loaded.model(torch.from_numpy(PIXELS)), model.eval()(torch.from_numpy(PIXELS)))
    for wrong, message in (
        ({"conv9": "bias"}, r"^Structure must name modules of the model, not 'conv9'$"),
        ({"": "identity"}, r"^Structure must name modules of the model, not ''$"),
        ({"bn2": "bias"}, r"^Structure of bn2 must be that of a layer with weights to get a bias$"),
        ({"bn2": "gone"}, r"^Structure of bn2 must be one of bias, identity, not 'gone'$"),
    ):
        with pytest.raises(ValueError, match=message):
            apply_structure(model, wrong)


def test_damaged_files_are_refused(tmp_path: Path, good: bytes) -> None:
    path = tmp_path / "bad.pt"
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 255
    buffer = io.BytesIO()
    torch.save(torch.nn.Linear(1, 1), buffer)
    for content in (b"", b"no checkpoint", good[:1000], good[: len(good) // 2], bytes(damaged), buffer.getvalue()):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"bad.pt: must be a checkpoint of `evenstep train`, which it is not: "
        ) as error:
            load_checkpoint(path)
        assert "\n" not in str(error.value)


class _Command:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_code_in_a_file_is_never_run(tmp_path: Path, good: bytes) -> None:
    target, path = tmp_path / "ran", tmp_path / "bad.pt"
    plain = pickle.dumps({"format": 2, "state": _Command(target)}, protocol=2)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as source, zipfile.ZipFile(buffer, "w") as archive:
        for entry in source.infolist():
            archive.writestr(entry, plain if entry.filename.endswith("data.pkl") else source.read(entry))
    inside = rewritten(good, lambda content: content.update(training=_Command(target)))
    for content in (plain, buffer.getvalue(), inside):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad.pt: must be a checkpoint"):
            load_checkpoint(path)
    assert not target.exists()
    # The trap would work: each file calls a function, and that one leaves its mark.
    with zipfile.ZipFile(io.BytesIO(inside)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        for pickled in (plain, archive.read(name)):
            assert "REDUCE" in {operation.name for operation, _, _ in pickletools.genops(pickled)}
            assert b"touch" in pickled
    function, arguments = _Command(target).__reduce__()
    function(*arguments)
    assert target.exists()


def test_damaged_pickles_in_sound_archives_are_refused_in_one_way(tmp_path: Path, good: bytes) -> None:
    """Whatever the bytes, either a checkpoint or a ValueError."""
    generator = np.random.default_rng(0)
    path = tmp_path / "bad.pt"
    with zipfile.ZipFile(io.BytesIO(good)) as source:
        entries = [(entry, source.read(entry)) for entry in source.infolist()]
    refused = 0
    for _ in range(60):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for entry, content in entries:
                if entry.filename.endswith("data.pkl"):
                    changed = bytearray(content)
                    for place in generator.integers(0, len(changed), 3):
                        changed[place] = generator.integers(0, 256)
                    content = bytes(changed)
                archive.writestr(entry, content)
        path.write_bytes(buffer.getvalue())
        try:
            load_checkpoint(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: must be a checkpoint of `evenstep train`")
            refused += 1
    assert refused > 30


def set_state(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["state"].update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(format=1), r"format must be 2$"),
        (lambda content: content.pop("precision"), r"keys must be classes, format, input_shape, model, precision, "),
        (lambda content: content.update(model="vgg"), r"model must be one of mlp-256, .*, not 'vgg'$"),
        (
            lambda content: content.update(model="mlp-1024"),
            r"fc1.weight must have shape \(1024, 144\), not \(256, 144\)$",
        ),
        (lambda content: content.update(model="cnn"), r"parameter conv1.weight must be there, and is not$"),
        (lambda content: content.update(input_shape=[1, 10**6, 10**6]), r"fc1.weight must have shape \(256, 10{12}\)"),
        (lambda content: content.update(classes=["a"] * 4), r"last.weight must have shape \(4, 256\), not \(3, 256\)$"),
        (lambda content: content.update(classes=[1, 2, 3]), r"classes must be names$"),
        (lambda content: content.update(precision=None), r"act1.quantizer.\w+ must not be there: the model has none"),
        (lambda content: content["precision"].update(weights="pact:2"), r"Method of weights must be one of"),
        (
            lambda content: content["precision"].update(activations="n2uq:3"),
            r"intervals must have shape \(7,\), not \(3,\)$",
        ),
        (lambda content: content["precision"].update(activations="lsq:2"), r"act1.quantizer.step_size must be there"),
        (lambda content: content.update(structure={"bn1": "identity"}), r"bn1.weight must not be there: the model has"),
        (lambda content: content.update(structure=["bn1"]), r"structure and state must be dictionaries$"),
        (lambda content: content.update(training=3), r"state of the training must be a dictionary$"),
        (
            lambda content: content["state"].pop("bn2.running_var"),
            r"parameter bn2.running_var must be there, and is not$",
        ),
        (set_state("extra", torch.zeros(1)), r"parameter extra must not be there: the model has none of that name$"),
        (set_state("log_gain", 1.0), r"parameter log_gain must be a tensor of torch.float32$"),
        (set_state("log_gain", torch.tensor(1)), r"parameter log_gain must be a tensor of torch.float32$"),
        (set_state("fc1.weight", torch.zeros(1).expand(256, 144)), r"parameter fc1.weight must be stored whole$"),
    ],
)
def test_checkpoints_of_other_models_are_refused_by_name(tmp_path: Path, good: bytes, change, message: str) -> None:
    (tmp_path / "x.pt").write_bytes(rewritten(good, change))
    with pytest.raises(
        ValueError, match=rf"x.pt: must be a checkpoint of `evenstep train`, which it is not: .*{message}"
    ):
        load_checkpoint(tmp_path / "x.pt")


def test_scales_of_channels_must_be_as_many_as_channels(tmp_path: Path) -> None:
    save_checkpoint(make(weights="lsq:2,granularity=channel"), tmp_path / "x.pt")
    good = (tmp_path / "x.pt").read_bytes()
    name = "fc1.weight_quantizer.step_size"
    (tmp_path / "x.pt").write_bytes(rewritten(good, set_state(name, torch.ones(99))))
    with pytest.raises(ValueError, match=rf"parameter {name} must have shape \(1,\), not \(99,\)$"):
        load_checkpoint(tmp_path / "x.pt")


def test_large_files_and_large_contents_are_refused(
    tmp_path: Path, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(good)
    monkeypatch.setattr(module, "MAX_BYTES", len(good) - 1)
    with pytest.raises(ValueError, match=rf"must have at most {len(good) - 1} bytes, not {len(good)}$"):
        load_checkpoint(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(len(good)))
    assert path.stat().st_size < len(good) // 10
    with pytest.raises(ValueError, match=rf"must unpack to at most {len(good) - 1} bytes, not {len(good)}$"):
        load_checkpoint(path)


def test_missing_files_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pt")


def test_a_full_disk_leaves_the_previous_checkpoint(
    tmp_path: Path, good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(good)
    original = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        original(self, content[:1000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*x.pt'$"):
        save_checkpoint(make(seed=1), path)
    assert path.read_bytes() == good
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.pt"]


def test_a_limit_of_the_system_leaves_the_previous_checkpoint(tmp_path: Path, good: bytes) -> None:
    """The same without any stand-in: the kernel refuses to write more."""
    path = tmp_path / "x.pt"
    path.write_bytes(good)
    code = (
        "import resource, sys; from evenstep_golden.checkpoint import *; c = load_checkpoint(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: save_checkpoint(c, sys.argv[1])\n"
        "except OSError as error: print(error.strerror, error.filename)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == f"File too large {path}", result.stderr
    assert path.read_bytes() == good
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.pt"]


def test_options_of_methods_are_kept(tmp_path: Path) -> None:
    saved = make(activations="lsq:2,count=elements")
    save_checkpoint(saved, tmp_path / "x.pt")
    precision = load_checkpoint(tmp_path / "x.pt").precision
    assert precision is not None and precision.activations == Method("lsq", 2, (("count", "elements"),))
