"""``evenstep quantize``: from a float checkpoint to a network file, and nothing half done where something is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import evenstep_golden.commands.quantize as command
from evenstep.qonnx import read_network
from evenstep_golden.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from evenstep_golden.models import build_model
from evenstep_golden.precision import Method, Precision
from evenstep_golden.reference import first_mismatch, run

CLASSES = ("top", "middle", "bottom")


def save_pictures(path: Path, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three kinds of pictures that are easy to tell apart."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    pixels = generator.integers(0, 60, (count, 1, 12, 12), dtype=np.uint8)
    for pixel, label in zip(pixels, labels, strict=True):
        pixel[:, 4 * label : 4 * label + 4] += 120
    np.savez(path, pixels=pixels, labels=labels, classes=np.array(CLASSES))
    return pixels, labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and checkpoints of two float networks that have learned it."""
    folder = tmp_path_factory.mktemp("quantize")
    pixels, labels = (torch.from_numpy(array) for array in save_pictures(folder / "train.npz", 150, 0))
    save_pictures(folder / "test.npz", 60, 1)
    for name in ("mlp-256", "cnn"):
        model = build_model(name, (1, 12, 12), 3, seed=0)
        adam = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(12):
            loss = torch.nn.functional.cross_entropy(model(pixels), labels)
            adam.zero_grad()
            loss.backward()
            adam.step()
        model.train()
        for _ in range(30):  # let the statistics settle
            model(pixels)
        save_checkpoint(Checkpoint(model.eval(), name, CLASSES), folder / f"{name}.pt")
    return folder


def invoke(folder: Path, output: Path, *options: str, model: str = "mlp-256") -> Result:
    data = ["--dataset", "arrays", "--data", str(folder), "--images", "40"]
    arguments = [str(folder / f"{model}.pt"), *data, "--output", str(output), *options]
    return CliRunner().invoke(command.quantize, arguments)


def test_it_writes_checkpoint_and_network_and_says_what_it_did(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "small.onnx"
    result = invoke(folder, output, "--weights", "uniform:4", "--activations", "uniform:6", "--adaround", "5")
    assert result.exit_code == 0, result.output
    for text in (
        "float: 100.00 % top-1 on 60 test images",
        "quantized, as floats: ",
        "quantized, as integers: ",
        f"wrote {tmp_path / 'small.pt'}",
        f"wrote {output}",
        "rounding to nearest",
        "AdaRound",
        "folded 3 batch norms",
        "fc3",
        "uniform:4",
    ):
        assert text in result.output.replace("\n", " "), text
    checkpoint = load_checkpoint(tmp_path / "small.pt")
    assert checkpoint.precision == Precision(Method.parse("uniform:4"), Method.parse("uniform:6"))
    assert checkpoint.structure["bn1"] == "identity"
    assert checkpoint.structure["fc1"] == "bias"
    network = read_network(output)
    assert network.labels == CLASSES
    pixels = np.load(folder / "test.npz")["pixels"]
    got = [layer.numpy() for layer in checkpoint.model.boundaries(torch.from_numpy(pixels))]
    assert first_mismatch(network, run(network, pixels.reshape(60, -1)), got) is None
    assert (got[-1].argmax(1) == np.load(folder / "test.npz")["labels"]).mean() > 0.9


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (("--no-equalize", "--no-absorb", "--bias-correction", "none"), ("weight ranges", "activation ranges (mse)")),
        (("--no-fold", "--weight-range", "max", "--bias-correction", "analytic"), ("bias correction (analytic)",)),
        (("--images", "0", "--activation-range", "batch-norm"), ("activation ranges (batch-norm)",)),
        (("--activation-range", "percentile", "--absorb-padded"), ("activation ranges (percentile)",)),
    ],
)
def test_steps_are_optional(folder: Path, tmp_path: Path, options: tuple[str, ...], steps: tuple[str, ...]) -> None:
    result = invoke(folder, tmp_path / "net.onnx", *options)
    assert result.exit_code == 0, result.output
    for step in steps:
        assert step in result.output
    assert ("equalized fc1" in result.output) == ("--no-equalize" not in options and "--no-fold" not in options)
    assert load_checkpoint(tmp_path / "net.pt").model.is_quantized


def test_the_same_seed_writes_the_same_files(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert invoke(folder, tmp_path / name / "net.onnx", "--seed", "3", "--adaround", "2").exit_code == 0
    first, second = ((tmp_path / name / "net.onnx").read_bytes() for name in ("one", "two"))
    assert first == second


def test_a_file_gives_precision_layer_by_layer_and_floats_stay(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "bits.toml"
    file.write_text('weights = "uniform:4"\nactivations = "uniform:8"\n[[layers]]\nname = "conv1"\nweights = "float"\n')
    result = invoke(folder, tmp_path / "net.onnx", "--precision", str(file), model="cnn")
    assert result.exit_code == 0, result.output
    assert "some weights or activations are float" in result.output
    assert "as integers" not in result.output
    assert not (tmp_path / "net.onnx").exists()
    assert load_checkpoint(tmp_path / "net.pt").model.weighted()["conv1"].weight_quantizer is None


def test_a_network_that_cannot_be_written_leaves_the_checkpoint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(network: Any, path: Path) -> None:
        raise ValueError("Layer conv1 cannot be written")

    monkeypatch.setattr(command, "write_network", refuse)
    result = invoke(folder, tmp_path / "net.onnx", model="cnn")
    assert str(result.exception) == "Layer conv1 cannot be written"
    assert load_checkpoint(tmp_path / "net.pt").model.is_quantized
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]


def test_an_interruption_is_one_line_and_writes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = command.run_pipeline

    def interrupted(*arguments: Any, progress: Any, **others: Any) -> Any:
        def stop(step: str, done: int, total: int) -> None:
            progress(step, done, total)
            if step == "AdaRound" and done == 3:
                raise KeyboardInterrupt

        return whole(*arguments, progress=stop, **others)

    monkeypatch.setattr(command, "run_pipeline", interrupted)
    (tmp_path / "net.pt").write_bytes(b"of yesterday")
    result = invoke(folder, tmp_path / "net.onnx")
    assert result.exit_code == 2 and "net.pt exists: give --overwrite or another name" in result.output
    result = invoke(folder, tmp_path / "net.onnx", "--adaround", "5", "--overwrite")
    assert result.exit_code == 1
    assert f"Error: Interrupted; {tmp_path / 'net.pt'} is not written" in result.output
    assert (tmp_path / "net.pt").read_bytes() == b"of yesterday"
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--weights", "uniform"), "Method must read like"),
        (("--weights", "n2uq:4", "--adaround", "2"), "Cannot round fc1: AdaRound needs levels"),
        (("--images", "0"), "Calibration pictures must be given for step activation range 'mse'"),
        (("--weights", "uniform:4", "--precision", "FILE"), "--precision must be given instead of --weights"),
        (("--activation-range", "cross-entropy"), "is not one of"),
        (("--output", "net.pt"), "--output must end in .onnx, not be 'net.pt'"),
        (("--output", "/nowhere/at/all/net.onnx"), "--output must lie in a folder that exists"),
        (("--output", "SAME"), "beside it is the float checkpoint"),
    ],
)
def test_bad_options_end_in_one_line(folder: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    files = {"FILE": str(folder / "mlp-256.pt"), "SAME": str(folder / "mlp-256.onnx")}
    before = (folder / "mlp-256.pt").read_bytes()
    result = invoke(folder, tmp_path / "net.onnx", *(files.get(option, option) for option in options))
    assert result.exit_code != 0
    text = str(result.exception) if isinstance(result.exception, ValueError) else result.output
    assert message in " ".join(text.split())
    assert not list(tmp_path.iterdir())
    assert (folder / "mlp-256.pt").read_bytes() == before


def test_checkpoints_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    assert invoke(folder, tmp_path / "net.onnx").exit_code == 0
    (tmp_path / "train.npz").write_bytes((folder / "train.npz").read_bytes())
    (tmp_path / "test.npz").write_bytes((folder / "test.npz").read_bytes())
    again = invoke(tmp_path, tmp_path / "again.onnx", model="net")
    assert (
        str(again.exception) == f"{tmp_path / 'net.pt'}: must be a float checkpoint, not one that is quantized already"
    )
    save_checkpoint(Checkpoint(build_model("mlp-256", (1, 8, 8), 3), "mlp-256", CLASSES), tmp_path / "other.pt")
    other = invoke(tmp_path, tmp_path / "again.onnx", model="other")
    assert "must be of a network for (1, 12, 12) pictures of 3 such classes, not (1, 8, 8) and 3" in str(
        other.exception
    )
    (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
    assert "must be a checkpoint" in str(invoke(tmp_path, tmp_path / "again.onnx", model="broken").exception)
