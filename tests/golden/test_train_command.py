"""`evenstep train`: files, names, interruptions, and errors in one line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import evenstep_golden.commands.data_options as data_options
import evenstep_golden.commands.train as train_module
from evenstep.qonnx import read_network
from evenstep.spec import Dense
from evenstep_golden.checkpoint import load_checkpoint
from evenstep_golden.commands.train import train
from evenstep_golden.data import Images
from evenstep_golden.lower import lower
from evenstep_golden.models import MODELS
from evenstep_golden.precision import Method, Precision
from evenstep_golden.training import Trainer

from .test_train import make_pictures, read_log


@pytest.fixture(scope="module")
def pictures() -> Images:
    return make_pictures()


@pytest.fixture
def run_train(monkeypatch: pytest.MonkeyPatch, pictures: Images, tmp_path: Path):
    """Runs the command on the pictures above, with its output in `tmp_path`."""
    monkeypatch.setattr(data_options, "load_data", lambda name, part, folder, size: pictures)

    def run(*arguments: str, output: str = "n.onnx") -> Result:
        fixed = ["--output", str(tmp_path / output), "--epochs", "3", "--batch-size", "50"]
        return CliRunner().invoke(train, [*fixed, *arguments])

    return run


def test_train_writes_network_and_checkpoint(run_train, tmp_path: Path) -> None:
    result = run_train("--weights", "n2uq:3")
    assert result.exit_code == 0, result.output
    network = read_network(tmp_path / "n.onnx")
    layers = [layer for layer in network.layers if isinstance(layer, Dense)]
    assert [str(layer.encoding) for layer in layers] == ["odd-level:3"] * 4
    assert [layer.input_bits for layer in layers] == [8, 2, 2, 2]
    checkpoint = load_checkpoint(tmp_path / "n.pt")
    assert checkpoint.training is None
    assert (checkpoint.name, checkpoint.classes) == ("mlp-256", ("top", "middle", "bottom"))
    assert checkpoint.precision == Precision(Method("n2uq", 3), Method("n2uq", 2))
    assert lower(checkpoint.model, name="fashion-mnist-mlp-256-w3a2", labels=checkpoint.classes) == network
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.onnx", "n.pt"]


def test_train_float_writes_a_checkpoint_alone_and_others_start_from_it(run_train, tmp_path: Path) -> None:
    assert run_train("--weights", "float", "--activations", "float", output="f.onnx").exit_code == 0
    assert load_checkpoint(tmp_path / "f.pt").precision is None
    assert [path.name for path in tmp_path.iterdir()] == ["f.pt"]
    fast = ["--lr", "1e-9", "--epochs", "1"]
    result = run_train(
        "--from", str(tmp_path / "f.pt"), "--teacher", str(tmp_path / "f.pt"), "--weights", "lsq:4", *fast
    )
    assert result.exit_code == 0, result.output
    before, after = (load_checkpoint(tmp_path / f"{name}.pt").model for name in "fn")
    for name in before.weighted():
        torch.testing.assert_close(before.get_parameter(f"{name}.weight"), after.get_parameter(f"{name}.weight"))
    result = run_train("--from", str(tmp_path / "f.pt"), "--model", "cnn", output="c.onnx")
    assert "f.pt: must be of model cnn, not mlp-256" in str(result.exception)


def test_train_takes_precision_layer_by_layer(run_train, tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        'weights = "n2uq:2"\nactivations = "n2uq:2"\n[[layers]]\nname = "last"\nweights = "lsq:8"\n'
    )
    result = run_train("--precision", str(tmp_path / "p.toml"), "--list-layers")
    assert result.exit_code == 0, result.output
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.output.splitlines() if "│" in line]
    assert rows[0] == ["fc1", "256 x 144", "n2uq:2"]
    assert rows[3:5] == [["last", "3 x 256", "lsq:8"], ["act1", "activations", "n2uq:2"]]
    assert [path.name for path in tmp_path.iterdir()] == ["p.toml"]


def test_train_logs_for_tensorboard(run_train, tmp_path: Path) -> None:
    assert run_train("--log", str(tmp_path / "log")).exit_code == 0
    log = read_log(tmp_path / "log")
    assert [step for step, _ in log["loss/step"]] == list(range(12))
    rates = [rate for _, rate in log["learning_rate"]]
    assert rates == pytest.approx([4e-3 * (1 - step / 12) for step in range(12)])
    means = np.reshape([loss for _, loss in log["loss/step"]], (3, 4)).mean(1)
    assert [step for step, _ in log["loss/epoch"]] == [3, 7, 11]
    assert [loss for _, loss in log["loss/epoch"]] == pytest.approx(means, rel=1e-5)
    assert log["accuracy/test"][-1][1] > 0.9


def test_the_checkpoint_of_another_training_is_kept(run_train, tmp_path: Path) -> None:
    assert run_train().exit_code == 0
    before = (tmp_path / "n.pt").read_bytes()
    result = run_train("--weights", "n2uq:3")
    assert result.exit_code == 2 and "n.pt exists: give --resume, --overwrite or another name" in result.output
    assert (tmp_path / "n.pt").read_bytes() == before
    assert run_train("--weights", "n2uq:3", "--overwrite").exit_code == 0
    assert (tmp_path / "n.pt").read_bytes() != before


def test_an_interrupted_training_is_one_line_and_goes_on(
    run_train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_train(output="whole.onnx").exit_code == 0
    original = Trainer.run_epoch

    def interrupted(trainer: Trainer) -> Iterator[float]:
        for step, loss in enumerate(original(trainer)):
            if (trainer.epoch, step) == (2, 1):
                raise KeyboardInterrupt
            yield loss

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", interrupted)
        result = run_train()
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "Error: Interrupted in epoch 3; --resume goes on after epoch 2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.pt", "whole.onnx", "whole.pt"]
    for arguments, message in (
        (["--lr", "1"], "n.pt: Recipe must be that of the checkpoint, with learning_rate 0.004, not 1.0"),
        (["--weights", "n2uq:3"], "n.pt: precision must be {'weights': 'n2uq:3', "),
        (["--model", "cnn"], "n.pt: model must be cnn, not mlp-256"),
    ):
        assert message in str(run_train("--resume", *arguments).exception)
    assert run_train("--resume").exit_code == 0
    assert read_network(tmp_path / "n.onnx") == read_network(tmp_path / "whole.onnx")
    (tmp_path / "n.onnx").unlink()  # as if lowering had been interrupted
    result = run_train("--resume")
    assert result.exit_code == 0 and "epoch" not in result.output
    assert "n.pt: its training is over, and is not gone on with" in result.output
    assert read_network(tmp_path / "n.onnx") == read_network(tmp_path / "whole.onnx")
    floats = ["--weights", "float", "--activations", "float"]
    assert run_train(*floats, output="f.onnx").exit_code == 0
    result = run_train("--resume", *floats, output="f.onnx")
    assert "f.pt: training must be unfinished to go on, which it is not" in str(result.exception)


def test_an_epoch_without_integers_is_told_and_training_goes_on(
    run_train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = train_module.measure_accuracy
    epochs = iter(range(3))

    def refusing(*arguments: Any, **others: Any) -> float:
        if next(epochs) == 1:
            assert load_checkpoint(tmp_path / "n.pt").training["epoch"] == 2  # type: ignore[index]
            raise ValueError("Output scale of N2UQ must be positive")
        return measure(*arguments, **others)

    monkeypatch.setattr(train_module, "measure_accuracy", refusing)
    result = run_train()
    assert result.exit_code == 0, result.output
    told = [line for line in result.output.splitlines() if line.startswith("epoch") and ": " in line]
    assert [line.split(":")[0] for line in told] == ["epoch 1", "epoch 2", "epoch 3"]
    assert told[1].endswith(", not measured: Output scale of N2UQ must be positive") and "top-1" in told[2]


@pytest.mark.parametrize("options", ["granularity=column", "kind=affine"])
def test_weights_that_no_integers_stand_for_are_refused_before_training(
    run_train, tmp_path: Path, options: str
) -> None:
    result = run_train("--weights", f"uniform:4,{options}")
    assert str(result.exception).startswith("Cannot lower fc1: ") and not list(tmp_path.iterdir())
    assert run_train("--weights", f"uniform:4,{options}", "--activations", "float", "--epochs", "1").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "n.txt"], "--output must end in .onnx, not be 'n.txt'"),
        (["--output", "missing-folder/n.onnx"], "--output must lie in a folder that exists, not in 'missing-folder'"),
        (["--resume", "--from", __file__], "--resume must be given without --from"),
        (["--distill", "0.5"], "--distill needs a --teacher"),
        (["--precision", __file__, "--weights", "lsq:2"], "--precision must be given instead of --weights"),
        (["--model", "vgg"], "'vgg' is not one of 'mlp-256'"),
    ],
)
def test_wrong_options_are_refused(run_train, arguments: list[str], message: str) -> None:
    result = run_train(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "two"], r"^Method must read like 'n2uq:2'"),
        (["--weights", "n2uq:9"], r"^Bits of a method must be an integer from 1 to 8, not 9$"),
        (["--weights", "pact:2"], r"^Method of weights must be one of"),
        (["--epochs", "0"], r"^Epochs must be a positive integer, not 0$"),
    ],
)
def test_wrong_values_are_refused(run_train, arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        raise run_train(*arguments).exception


def test_files_are_named_after_what_is_trained(run_train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, label in (
        ([], "w2a2"),
        (["--weights", "lsq:4", "--activations", "lsq:3"], "lsq-w4a3"),
        (["--weights", "float", "--activations", "pact:4"], "w-float-a4-pact"),
    ):
        result = CliRunner().invoke(train, ["--epochs", "1", "--batch-size", "100", *arguments])
        assert result.exit_code == 0, result.output
        assert (tmp_path / f"fashion-mnist-mlp-256-{label}.pt").exists()


def test_all_models_are_offered(run_train) -> None:
    text = CliRunner().invoke(train, ["--help"]).output
    assert all(name in text.replace("\n", "").replace(" ", "") for name in MODELS)
