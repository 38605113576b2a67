"""Training: reproducible, resumable, and never half a file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import evenstep_golden.commands.train as command
from evenstep.qonnx import read_network
from evenstep_golden.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from evenstep_golden.data import Images
from evenstep_golden.lower import lower
from evenstep_golden.models import QuantPerceptron
from evenstep_golden.sample import checkpoint_path
from evenstep_golden.train import Recipe, Trainer, build_model, measure_accuracy

RECIPE = Recipe(epochs=3, batch_size=32, seed=5)


@pytest.fixture(scope="module")
def pictures() -> Images:
    """Three kinds of pictures that are easy to tell apart."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200, dtype=np.uint8)
    pixels = generator.integers(0, 60, (200, 28, 28), dtype=np.uint8)
    for pixel, label in zip(pixels, labels, strict=True):
        pixel[9 * label : 9 * label + 9] += 150
    return Images(pixels.reshape(-1, 784), labels)


def train_epochs(trainer: Trainer, epochs: int) -> list[float]:
    return [loss for _ in range(epochs) for loss in trainer.run_epoch()]


@pytest.mark.parametrize("bits", [None, (2, 2), (1, 1), (4, 3)])
def test_training_learns_and_repeats(pictures: Images, bits: tuple[int, int] | None) -> None:
    models = [build_model(bits, seed=5) for _ in range(2)]
    losses = [train_epochs(Trainer(model, pictures, RECIPE), 3) for model in models]
    assert losses[0] == losses[1]
    for first, second in zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True):
        assert torch.equal(first, second)
    assert measure_accuracy(models[0], pictures) > 0.9


def test_thresholds_and_scales_learn_at_a_tenth_of_the_rate(pictures: Images) -> None:
    model = build_model((2, 2), seed=0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    next(Trainer(model, pictures, Recipe(batch_size=32, learning_rate=1e-2)).run_epoch())
    for name, parameter in model.named_parameters():
        moved = (parameter - before[name]).abs().max().item()  # Adam's first step is the rate, whatever the gradient
        slow = name.rsplit(".", 1)[-1] in ("start", "intervals", "scale_in", "scale_out", "log_gain")
        assert moved == pytest.approx(1e-3 if slow else 1e-2, rel=1e-2), name


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(pictures: Images, tmp_path: Path) -> None:
    whole = build_model((2, 2), seed=5)
    train_epochs(Trainer(whole, pictures, RECIPE), 3)
    first = build_model((2, 2), seed=5)
    trainer = Trainer(first, pictures, RECIPE)
    train_epochs(trainer, 1)
    save_checkpoint(Checkpoint(first, trainer.state()), tmp_path / "x.pt")
    loaded = load_checkpoint(tmp_path / "x.pt")
    assert loaded.bits == (2, 2) and loaded.training is not None
    resumed = Trainer(loaded.model, pictures, RECIPE)
    resumed.restore(loaded.training)
    assert resumed.epoch == 1
    train_epochs(resumed, 2)
    for expected, got in zip(whole.state_dict().values(), loaded.model.state_dict().values(), strict=True):
        assert torch.equal(expected, got)
    with pytest.raises(ValueError, match=r"^Recipe must be that of the checkpoint, Recipe\(epochs=3, .*\), not Recipe"):
        Trainer(loaded.model, pictures, Recipe(batch_size=64)).restore(loaded.training)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe(epochs=0), r"^Epochs must be a positive integer, not 0$"),
        (lambda: Recipe(batch_size=1), r"^Batch size must be an integer of at least 2, not 1$"),
        (lambda: Recipe(seed=-1), r"^Seed must be an integer from 0 to 9223372036854775807, not -1$"),
        (lambda: Recipe(learning_rate=float("nan")), r"^Learning rate must be a positive number, not nan$"),
        (lambda: build_model((2, 9), seed=0), r"^Activation bits must be an integer from 1 to 8, not 9$"),
    ],
)
def test_wrong_recipes_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_batches_beyond_the_pictures_and_endless_losses_are_refused(pictures: Images) -> None:
    model = build_model((2, 2), seed=0)
    with pytest.raises(ValueError, match=r"^Batch size must be at most the 200 pictures, not 256$"):
        Trainer(model, pictures, Recipe())
    model.get_parameter("log_gain").data.fill_(float("inf"))
    trainer = Trainer(model, pictures, RECIPE)
    with pytest.raises(ValueError, match=r"^Loss is not finite in epoch 1: lower the learning rate$"):
        train_epochs(trainer, 3)


@pytest.fixture
def run_train(monkeypatch: pytest.MonkeyPatch, pictures: Images, tmp_path: Path):
    """Runs the command on the pictures above, with its output in `tmp_path`."""
    monkeypatch.setattr(command, "load_images", lambda part, folder: pictures)

    def run(*arguments: str, output: str = "n.onnx") -> Result:
        fixed = ["--output", str(tmp_path / output), "--epochs", "3", "--batch-size", "50"]
        return CliRunner().invoke(command.train, [*fixed, *arguments])

    return run


def test_train_writes_network_and_checkpoint(run_train, tmp_path: Path) -> None:
    result = run_train("--bits", "3/2")
    assert result.exit_code == 0, result.output
    network = read_network(tmp_path / "n.onnx")
    assert [str(layer.encoding) for layer in network.layers] == ["odd-level:3"] * 4
    assert [layer.input_bits for layer in network.layers] == [8, 2, 2, 2]
    checkpoint = load_checkpoint(tmp_path / "n.pt")
    assert checkpoint.training is None and isinstance(checkpoint.model, QuantPerceptron)
    assert lower(checkpoint.model, name=network.name, labels=network.labels) == network
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.onnx", "n.pt"]


def test_train_float_writes_a_checkpoint_alone(run_train, tmp_path: Path) -> None:
    assert run_train("--float").exit_code == 0
    assert load_checkpoint(tmp_path / "n.pt").bits is None
    assert [path.name for path in tmp_path.iterdir()] == ["n.pt"]


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
    assert run_train("--resume").exit_code == 0
    assert read_network(tmp_path / "n.onnx") == read_network(tmp_path / "whole.onnx")
    result = run_train("--resume")
    assert "n.pt: training must be unfinished to go on, which it is not" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bits", "two"], "must be W/A with widths from 1 to 8, such as 2/2, not 'two'"),
        (["--bits", "0/2"], "must be W/A with widths from 1 to 8, such as 2/2, not '0/2'"),
        (["--bits", "2/9"], "must be W/A with widths from 1 to 8, such as 2/2, not '2/9'"),
        (["--bits", "2/2/2"], "must be W/A with widths from 1 to 8, such as 2/2, not '2/2/2'"),
        (["--output", "n.txt"], "--output must end in .onnx, not be 'n.txt'"),
        (["--output", "missing-folder/n.onnx"], "--output must lie in a folder that exists, not in 'missing-folder'"),
    ],
)
def test_wrong_options_are_refused(run_train, arguments: list[str], message: str) -> None:
    result = run_train(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_checkpoints_that_are_none_are_refused(tmp_path: Path) -> None:
    good = checkpoint_path().read_bytes()
    path = tmp_path / "bad.pt"
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 255
    torch.save({"format": 1, "bits": (2, 2), "model": {}, "training": None}, tmp_path / "empty.pt")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "code.pt")
    contents = [b"", b"no checkpoint", good[:1000], good[: len(good) // 2], bytes(damaged)]
    contents += [(tmp_path / name).read_bytes() for name in ("empty.pt", "code.pt")]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"must be a checkpoint of `evenstep train`, which it is not") as error:
            load_checkpoint(path)
        assert "\n" not in str(error.value)
