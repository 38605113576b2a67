"""Two real processes compute what one computes on the joined batch, and write one checkpoint."""

import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evenstep_golden.checkpoint import load_checkpoint
from evenstep_golden.training import Processes, join_processes
from evenstep_golden.training.batches import Batches

from . import train_together

Run = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Run, Run]:
    """Folder, printed text, and what both processes got."""
    folder = tmp_path_factory.mktemp("together")
    for part in ("train", "test"):
        images = train_together.pictures()
        np.savez(folder / f"{part}.npz", pixels=images.pixels, labels=images.labels)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [*launcher, train_together.__file__, str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        printed, errors = process.communicate(timeout=100)
    finally:
        process.terminate()  # not kill: the launcher ends its workers before itself
        process.wait()
    assert process.returncode == 0, errors
    first, second = (torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    return folder, printed, first, second


def assert_close(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal but for rounding: each within 1e-5 of its size or 1e-7 of the largest, together within 1e-5.

    Some gradients have no size of their own: of a scale in front of a batch norm only rounding is left.
    """
    assert got.keys() == expected.keys()
    largest = max(value.abs().max() for value in expected.values())
    for name, value in expected.items():
        error = (got[name] - value).abs().max()
        assert error <= max(1e-5 * value.abs().max(), 1e-7 * largest), (name, error)
    whole, wanted = (torch.cat([one.flatten() for one in part.values()]).double() for part in (got, expected))
    assert (whole - wanted).norm() < 1e-5 * wanted.norm()


@pytest.mark.parametrize("text", train_together.PRECISIONS)
def test_one_step_of_two_processes_is_that_of_one(together, text: str) -> None:
    _, _, first, second = together
    alone = train_together.one_step(text, Processes())
    assert first[text]["loss"] == pytest.approx(alone["loss"], rel=1e-6)
    assert_close(first[text]["gradients"], alone["gradients"])
    assert_close(first[text]["statistics"], alone["statistics"])
    assert first[text]["accuracy"] == second[text]["accuracy"] == alone["accuracy"]
    for kind in ("gradients", "statistics"):
        for name, value in first[text][kind].items():
            assert torch.equal(value, second[text][kind][name]), name


def test_the_command_trains_in_both_and_prints_and_writes_in_one(together) -> None:
    folder, printed, _, _ = together
    assert [line.split(":")[0] for line in printed.splitlines() if line.startswith("epoch ") and "top-1" in line] == [
        "epoch 1",
        "epoch 2",
    ]
    assert printed.count("wrote") == 2
    assert sorted(path.name for path in folder.glob("n.*")) == ["n.onnx", "n.pt"]
    assert len(list((folder / "log").iterdir())) == 1
    checkpoint = load_checkpoint(folder / "n.pt")
    assert checkpoint.name == "cnn" and checkpoint.training is None


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("count", [2, 3, 6, 12])
def test_shares_of_any_number_of_processes_are_the_batches_of_one(augment: bool, count: int) -> None:
    images = train_together.pictures()
    whole = Batches(images, 36, seed=1, augment=augment)
    shares = [Batches(images, 36, seed=1, augment=augment, rank=rank, count=count) for rank in range(count)]
    epochs = []
    for epoch in (0, 1):
        batches = list(whole.epoch(epoch))
        assert len(batches) == whole.steps == 2
        for (pixels, labels), *parts in zip(batches, *(share.epoch(epoch) for share in shares), strict=True):
            np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), pixels)
            np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), labels)
        epochs.append(np.concatenate([pixels for pixels, _ in batches]))
    assert not np.array_equal(*epochs)


def test_no_picture_comes_twice_in_an_epoch() -> None:
    images = train_together.pictures()
    drawn = np.concatenate([pixels for pixels, _ in Batches(images, 36, seed=0, augment=False).epoch(0)])
    assert len(np.unique(drawn.reshape(72, -1), axis=0)) == 72


def test_batches_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^Batch size must be a multiple of the 5 processes, not 36$"):
        Batches(train_together.pictures(), 36, seed=0, augment=True, count=5)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"WORLD_SIZE": "two"},
            r"^WORLD_SIZE must be set to a number in every process, as torchrun does, not to 'two'$",
        ),
        ({"WORLD_SIZE": "0"}, r"^WORLD_SIZE must be a positive integer, not 0$"),
        ({"WORLD_SIZE": "2"}, r"^RANK must be set to a number in every process, as torchrun does, not to ''$"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, r"^RANK must be an integer from 0 to 1, not 2$"),
    ],
)
def test_wrong_environments_are_refused(monkeypatch: pytest.MonkeyPatch, environment, message: str) -> None:
    monkeypatch.delenv("RANK", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message), join_processes():
        pass


def test_a_batch_may_be_smaller_than_its_number_of_blocks() -> None:
    sizes = [len(pixels) for pixels, _ in Batches(train_together.pictures(), 3, seed=0, augment=True).epoch(0)]
    assert sizes == [3] * 25


def test_variants_differ_between_epochs_steps_and_blocks() -> None:
    one = train_together.pictures(1)
    same = one.subset(np.zeros(72, np.int64))  # whatever the order, only variants tell pictures apart
    batches = Batches(same, 36, seed=1, augment=True)
    drawn = [pixels for epoch in (0, 1) for pixels, _ in batches.epoch(epoch)]
    assert all(not np.array_equal(first, second) for first, second in combinations(drawn, 2))
    blocks = [block[:4] for block in np.array_split(drawn[0], 8)]
    assert all(not np.array_equal(first, second) for first, second in combinations(blocks, 2))
