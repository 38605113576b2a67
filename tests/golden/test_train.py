"""Training: reproducible, resumable, with every parameter in its group; and the command."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from evenstep_golden.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from evenstep_golden.data import Augmentation, Images
from evenstep_golden.lower import lower
from evenstep_golden.models import Classifier, ResNet, build_model
from evenstep_golden.precision import ACTIVATION_METHODS, WEIGHT_METHODS, Method, Precision
from evenstep_golden.reference import accuracy, run_last
from evenstep_golden.training import (
    Log,
    Recipe,
    Trainer,
    copy_parameters,
    distillation_loss,
    initialize_quantizers,
    measure_accuracy,
    parameter_groups,
    training_loss,
)

RECIPE = Recipe(epochs=3, batch_size=32, seed=5)
SIDE = 12


def make_pictures() -> Images:
    """Three kinds of pictures that are easy to tell apart."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    pixels = generator.integers(0, 60, (200, 1, SIDE, SIDE), dtype=np.uint8)
    for pixel, label in zip(pixels, labels, strict=True):
        pixel[0, 4 * label : 4 * label + 4] += 150
    return Images(pixels, labels, ("top", "middle", "bottom"), Augmentation(mirror=True, padding=1))


@pytest.fixture(scope="module")
def pictures() -> Images:
    return make_pictures()


def precision_of(weights: str, activations: str) -> Precision | None:
    precision = Precision.from_dict({"weights": weights, "activations": activations})
    return None if precision == Precision() else precision


def make(pictures: Images, precision: Precision | None, name: str = "mlp-256", seed: int = 5) -> Classifier:
    model = build_model(name, pictures.shape, 3, seed=seed)
    if precision is not None:
        precision.apply(model)
    initialize_quantizers(model, pictures.pixels[:32])
    return model


def train_epochs(trainer: Trainer, epochs: int) -> list[float]:
    return [loss for _ in range(epochs) for loss in trainer.run_epoch()]


def assert_same(first: Classifier, second: Classifier) -> None:
    expected, got = first.state_dict(), second.state_dict()
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        assert torch.equal(value, got[name]), name


@pytest.mark.parametrize(
    ("weights", "activations"),
    [("float", "float"), ("n2uq:2", "n2uq:2"), ("n2uq:1", "n2uq:1"), ("lsq:3", "lsq:2"), ("dorefa:2", "pact:3")],
)
def test_training_learns_and_repeats(pictures: Images, weights: str, activations: str) -> None:
    models = [make(pictures, precision_of(weights, activations)) for _ in range(2)]
    # Long enough for the running statistics of batch norms, on which a single threshold leans most.
    recipe = replace(RECIPE, epochs=6)
    losses = [train_epochs(Trainer(model, pictures, recipe), 6) for model in models]
    assert losses[0] == losses[1]
    assert_same(*models)
    assert measure_accuracy(models[0], pictures) > 0.9


@pytest.mark.parametrize("name", ["cnn", "resnet8", "mobilenet-v2-small"])
def test_convolutions_train_too(pictures: Images, name: str) -> None:
    model = make(pictures, precision_of("n2uq:4", "lsq:4"), name)
    recipe = Recipe(epochs=2, batch_size=20, learning_rate=5e-3)
    losses = train_epochs(Trainer(model, pictures.first(60), recipe), 2)
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [1, 0.75, 0.5, 0.25]),
        ({"schedule": "constant"}, [1, 1, 1, 1]),
        ({"schedule": "cosine"}, [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]),
        ({"warmup_epochs": 1}, [0.5, 1, 1, 0.5]),
        ({"warmup_epochs": 1, "schedule": "cosine"}, [0.5, 1, 1, 0.5]),
        ({"warmup_epochs": 2, "schedule": "constant"}, [0.25, 0.5, 0.75, 1]),
    ],
)
def test_learning_rates(changes: dict, expected: list[float]) -> None:
    recipe = Recipe(epochs=2, learning_rate=3.0, **changes)
    assert [recipe.rate(step, 2) / 3 for step in range(4)] == pytest.approx(expected)


def test_thresholds_and_scales_learn_at_a_tenth_of_the_rate(pictures: Images) -> None:
    model = make(pictures, precision_of("n2uq:2", "n2uq:2"))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    next(Trainer(model, pictures, replace(RECIPE, learning_rate=1e-2)).run_epoch())
    for name, parameter in model.named_parameters():
        moved = (parameter - before[name]).abs().max().item()  # Adam's first step is the rate, whatever the gradient
        slow = name == "log_gain" or ".quantizer." in name
        assert moved == pytest.approx(1e-3 if slow else 1e-2, rel=1e-2), name


def test_groups_of_a_resnet_are_complete() -> None:
    """Every quantizer of every bottleneck, down-sampling branches included, is in the slow group."""
    model = ResNet((3, 8, 8), 5, blocks=(3, 4, 6, 3), bottleneck=True, width=4)
    Precision(Method("n2uq", 2), Method("n2uq", 2)).apply(model)
    groups = parameter_groups(model, Recipe(weight_decay=0.1))
    names = {(group["share"], group["weight_decay"]): [name for name, _ in group["params"]] for group in groups}
    assert list(names) == [(1.0, 0.1), (1.0, 0.0), (0.1, 0.0)]
    everything = [name for group in names.values() for name in group]
    assert sorted(everything) == sorted(name for name, _ in model.named_parameters())
    # The stem's quantizer stands in the first blocks; 16 blocks of 3, 4 down-sampling branches, one before the end.
    places = 16 * 3 + 4 + 1
    kinds = [name.rsplit(".", 1)[-1] for name in names[0.1, 0.0]]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "log_gain": 1,
        **dict.fromkeys(("start", "intervals", "scale_in", "scale_out"), places),
    }
    assert all(name.endswith("weight") and ".bn." not in name for name in names[1.0, 0.1])
    assert len(names[1.0, 0.1]) == len(model.weighted())
    assert all(text in " ".join(names[1.0, 0.0]) for text in ("bn.weight", "bn.bias", "slope", "shift_in", "last.bias"))


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_only_weights_decay(pictures: Images, kind: str) -> None:
    model = make(pictures, precision_of("n2uq:2", "lsq:2"))
    # Without a gradient to speak of, only decay moves a parameter.
    recipe = replace(RECIPE, optimizer=kind, weight_decay=0.5, learning_rate=0.1, momentum=0.0)
    trainer = Trainer(model, pictures, recipe)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    trainer._optimizer.step()
    layers = {f"{name}.weight" for name in model.weighted()}
    for name, parameter in model.named_parameters():
        expected = before[name] * 0.95 if name in layers else before[name]
        torch.testing.assert_close(parameter.detach(), expected)


def test_distillation_is_the_soft_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(6, 4, generator=generator).double() for _ in range(2))
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    expected = -(teacher.softmax(1) * student.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(distillation_loss(student, teacher), expected)
    torch.testing.assert_close(training_loss(student, labels, Recipe(distillation=1.0), teacher), expected)
    hard = -student.log_softmax(1)[range(6), labels].mean()
    torch.testing.assert_close(training_loss(student, labels, Recipe()), hard)
    mixed = training_loss(student, labels, Recipe(distillation=0.25), teacher)
    torch.testing.assert_close(mixed, 0.75 * hard + 0.25 * expected)
    smooth = training_loss(student, labels, Recipe(label_smoothing=0.2))
    torch.testing.assert_close(smooth, 0.8 * hard - 0.2 * student.log_softmax(1).mean())
    soft = -((teacher / 4).softmax(1) * (student / 4).log_softmax(1)).sum(1).mean() * 16
    torch.testing.assert_close(distillation_loss(student, teacher, 4.0), soft)


def test_a_student_comes_to_agree_with_its_teacher(pictures: Images) -> None:
    teacher = make(pictures, None, seed=1)
    train_epochs(Trainer(teacher, pictures, RECIPE), 3)
    wrong = Images(pictures.pixels, (pictures.labels + 1) % 3, pictures.classes)  # labels that say something else
    student = make(pictures, precision_of("n2uq:2", "n2uq:2"))
    train_epochs(Trainer(student, wrong, replace(RECIPE, distillation=1.0), teacher=teacher), 3)
    assert measure_accuracy(student, pictures) > 0.9
    with pytest.raises(ValueError, match=r"^Teacher must go with a distillation above 0: got one, and 0.0$"):
        Trainer(student, pictures, RECIPE, teacher=teacher)
    with pytest.raises(ValueError, match=r"^Teacher must take pictures of \(1, 12, 12\) and know 3 classes, .* and 4$"):
        other = build_model("mlp-256", pictures.shape, 4)
        Trainer(student, pictures, replace(RECIPE, distillation=1.0), teacher=other)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda one: {}, r"^State of the optimizer must be complete$"),
        (lambda one: {"step": one["step"]}, r"^State of the optimizer must be complete$"),
        (lambda one: {**one, "exp_avg": 3.0}, r"^Moments of the optimizer must be dense tensors$"),
        (lambda one: {**one, "exp_avg": one["exp_avg"].to_sparse()}, r"^Moments of the optimizer must be dense"),
        (lambda one: {**one, "exp_avg": torch.zeros(1)}, r"^Moments of the optimizer must have the shapes"),
        (lambda one: {**one, "exp_avg": one["exp_avg"].double()}, r"^Moments of the optimizer must have the shapes"),
        (
            lambda one: {**one, "exp_avg_sq": torch.zeros(1).expand(one["exp_avg"].shape)},
            r"^Moments of the optimizer must have the shapes",
        ),
        (lambda one: {**one, "step": 1.0}, r"^Steps of the optimizer must be positive numbers$"),
        (lambda one: {**one, "step": torch.tensor(float("nan"))}, r"^Steps of the optimizer must be positive"),
    ],
)
def test_damaged_moments_are_refused(pictures: Images, damage, message: str) -> None:
    """Fused kernels would follow them out of memory."""
    trainer = Trainer(make(pictures, precision_of("n2uq:2", "n2uq:2")), pictures, RECIPE)
    train_epochs(trainer, 1)
    state = trainer.state()
    largest = max(state["optimizer"]["state"], key=lambda one: state["optimizer"]["state"][one]["exp_avg"].numel())
    values = dict(state["optimizer"]["state"])
    values[largest] = damage(values[largest])
    with pytest.raises(ValueError, match=message):
        trainer.restore({**state, "optimizer": {**state["optimizer"], "state": values}})
    del values[largest]
    with pytest.raises(ValueError, match=r"^State of the optimizer must be complete$"):
        trainer.restore({**state, "optimizer": {**state["optimizer"], "state": values}})


@pytest.mark.parametrize(("kind", "momentum"), [("adam", 0.9), ("sgd", 0.9), ("sgd", 0.0)])
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    pictures: Images, tmp_path: Path, kind: str, momentum: float
) -> None:
    precision = precision_of("lsq:2", "n2uq:2")
    recipe = replace(RECIPE, optimizer=kind, momentum=momentum, schedule="cosine")
    whole = make(pictures, precision)
    train_epochs(Trainer(whole, pictures, recipe), 3)
    first = make(pictures, precision)
    trainer = Trainer(first, pictures, recipe)
    train_epochs(trainer, 1)
    saved = Checkpoint(first, "mlp-256", pictures.classes, precision, training=trainer.state())
    save_checkpoint(saved, tmp_path / "x.pt")
    loaded = load_checkpoint(tmp_path / "x.pt")
    assert loaded.training is not None
    resumed = Trainer(loaded.model, pictures, recipe)
    resumed.restore(loaded.training)
    assert resumed.epoch == 1
    train_epochs(resumed, 2)
    assert_same(whole, loaded.model)


def test_states_of_other_trainings_are_refused(pictures: Images) -> None:
    model = make(pictures, precision_of("n2uq:2", "n2uq:2"))
    trainer = Trainer(model, pictures, RECIPE)
    train_epochs(trainer, 1)
    state = trainer.state()
    other = make(pictures, precision_of("n2uq:2", "lsq:2"))
    teacher = make(pictures, None)
    taught = replace(RECIPE, distillation=0.5)
    lesson = Trainer(model, pictures, taught, teacher=teacher)
    next(lesson.run_epoch())
    lesson._within_epoch = False
    recolored = Images(pictures.pixels ^ 1, pictures.labels, pictures.classes)
    with torch.no_grad():
        other_teacher = copy.deepcopy(teacher)
        other_teacher.log_gain.add_(1)
    for refusing, given, message in (
        (Trainer(model, pictures, replace(RECIPE, seed=6)), state, r"of the checkpoint, with seed 5, not 6$"),
        (
            Trainer(model, pictures.first(199), RECIPE),
            state,
            r"^Pictures must be the same as before, which they are not$",
        ),
        (Trainer(model, recolored, RECIPE), state, r"^Pictures must be the same as before, which they are not$"),
        (
            Trainer(model, pictures, taught, teacher=other_teacher),
            lesson.state(),
            r"^Teacher must be the same as before, which it is not$",
        ),
        (trainer, {**state, "recipe": torch.zeros(3)}, r"^Recipe must be that of the checkpoint, which it lacks$"),
        (Trainer(other, pictures, RECIPE), state, r"^State of the optimizer must be that of this model"),
        (trainer, {**state, "epoch": -1}, r"^Epoch must be from 0 to 3, not -1$"),
        (trainer, {**state, "optimizer": {}}, r"^State of the optimizer must be complete"),
        (trainer, {"epoch": 1}, r"^State of the training must be complete$"),
    ):
        with pytest.raises(ValueError, match=message):
            refusing.restore(given)
    next(trainer.run_epoch())
    with pytest.raises(RuntimeError, match=r"^Training must be between epochs to be saved, not within epoch 2$"):
        trainer.state()


@pytest.mark.parametrize("name", sorted({*WEIGHT_METHODS, *ACTIVATION_METHODS}))
def test_every_method_is_ready_after_initialization(pictures: Images, name: str) -> None:
    weights = f"{name}:3" if name in WEIGHT_METHODS else "n2uq:2"
    activations = f"{name}:3" if name in ACTIVATION_METHODS else "n2uq:2"
    model = build_model("cnn", pictures.shape, 3)
    precision = Precision(Method.parse(weights), Method.parse(activations))
    precision.apply(model)
    before = {key: value.clone() for key, value in model.named_buffers() if "quantizer" not in key}
    initialize_quantizers(model, pictures.pixels[:32])
    for key, value in before.items():
        assert torch.equal(value, model.get_buffer(key)), key
    assert model.training
    model.eval()
    assert torch.isfinite(model(torch.from_numpy(pictures.pixels[:8]))).all()


def test_quantizers_see_what_the_quantizers_before_them_let_pass(pictures: Images) -> None:
    model = build_model("mlp-256", pictures.shape, 3)
    Precision(Method("ste", 2), Method("ste", 1)).apply(model)
    initialize_quantizers(model, pictures.pixels[:32])
    model.train()
    with torch.no_grad():
        x = model.get_submodule("flatten")(torch.from_numpy(pictures.pixels[:32]).float() / 255)
        for number in (1, 2, 3):
            for kind in ("fc", "bn"):
                x = model.get_submodule(f"{kind}{number}")(x)
            place = model.activations()[f"act{number}"]
            assert place.quantizer is not None
            assert torch.allclose(place.quantizer.get_buffer("alpha"), x.relu().max())
            x = place(x)
            assert len(x.unique()) == 2


def test_initialization_names_what_is_not_finite(pictures: Images) -> None:
    model = build_model("mlp-256", pictures.shape, 3)
    Precision(Method("lsq", 2), Method("lsq", 2)).apply(model)
    model.get_parameter("fc2.weight").data[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"^Cannot initialize fc2.weight_quantizer: Values must be finite, not nan$"):
        initialize_quantizers(model, pictures.pixels[:32])
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_parameters_come_from_a_float_model_or_from_another_precision(pictures: Images) -> None:
    whole = make(pictures, None, seed=1)
    train_epochs(Trainer(whole, pictures, RECIPE), 1)
    four = precision_of("n2uq:4", "n2uq:4")
    assert four is not None
    quantized = build_model("mlp-256", pictures.shape, 3)
    four.apply(quantized)
    assert copy_parameters(whole, None, quantized, four) == set()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, quantized.state_dict()[name])
    quantized.get_parameter("act2.quantizer.start").data.fill_(0.25)
    other = build_model("mlp-256", pictures.shape, 3, seed=7)
    mixed = four.replaced("act1", "activations", Method("n2uq", 2)).replaced("fc*", "weights", Method("lsq", 4))
    mixed.apply(other)
    kept = copy_parameters(quantized, four, other, mixed)
    assert kept == {"act2.quantizer", "act3.quantizer", "last.weight_quantizer"}
    assert other.get_parameter("act2.quantizer.start") == 0.25
    assert other.get_parameter("act1.quantizer.intervals").shape == (3,)
    initialize_quantizers(other, pictures.pixels[:32], keep=kept)
    assert other.get_parameter("act2.quantizer.start") == 0.25
    assert other.get_parameter("fc1.weight_quantizer.step_size") != 1
    with pytest.raises(ValueError, match=r"^Parameter conv1.weight must be there, and is not$"):
        copy_parameters(whole, None, build_model("cnn", pictures.shape, 3), None)
    with pytest.raises(ValueError, match=r"^Parameter last.weight must have shape \(4, 256\), not \(3, 256\)$"):
        copy_parameters(whole, None, build_model("mlp-256", pictures.shape, 4), None)


def test_accuracy_is_that_of_the_integers(pictures: Images) -> None:
    model = make(pictures, precision_of("n2uq:2", "n2uq:2"))
    next(Trainer(model, pictures, RECIPE).run_epoch())
    network = lower(model.eval())
    expected = accuracy(run_last(network, pictures.flat), pictures.labels)
    assert 0 < expected < 1
    for batch in (None, 7, 1000):
        assert measure_accuracy(model.train(), pictures, batch=batch) == expected
    with pytest.raises(ValueError, match=r"^Pictures to measure accuracy on must be at least one, not none$"):
        measure_accuracy(model, pictures.first(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, r"^Epochs must be a positive integer, not 0$"),
        ({"batch_size": 1}, r"^Batch size must be an integer of at least 2, not 1$"),
        ({"seed": -1}, r"^Seed must be an integer from 0 to 9223372036854775807, not -1$"),
        ({"learning_rate": float("nan")}, r"^Learning rate must be a positive number, not nan$"),
        ({"learning_rate": float("inf")}, r"^Learning rate must be a positive number, not inf$"),
        ({"warmup_epochs": 31}, r"^Warm-up epochs must be an integer from 0 to 30, not 31$"),
        ({"schedule": "steps"}, r"^Schedule must be one of linear, cosine, constant, not 'steps'$"),
        ({"optimizer": "lamb"}, r"^Optimizer must be one of adam, sgd, not 'lamb'$"),
        ({"weight_decay": -0.1}, r"^Weight decay must be a non-negative number, not -0.1$"),
        ({"momentum": 1.0}, r"^Momentum must be a number from 0 to less than 1, not 1.0$"),
        ({"label_smoothing": -1.0}, r"^Label smoothing must be a number from 0 to less than 1, not -1.0$"),
        ({"distillation": 1.5}, r"^Distillation must be a number from 0 to 1, not 1.5$"),
        ({"temperature": 0.0}, r"^Temperature must be a positive number, not 0.0$"),
        ({"slow_share": 0.0}, r"^Slow share must be a number above 0, up to 1, not 0.0$"),
    ],
)
def test_wrong_recipes_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**changes)


def test_batches_beyond_the_pictures_and_endless_losses_are_refused(pictures: Images) -> None:
    model = make(pictures, None)
    with pytest.raises(ValueError, match=r"^Batch size must be at most the 200 pictures, not 256$"):
        Trainer(model, pictures, Recipe())
    model.get_parameter("log_gain").data.fill_(float("inf"))
    trainer = Trainer(model, pictures, RECIPE)
    with pytest.raises(ValueError, match=r"^Loss is not finite in epoch 1, step 1: lower the learning rate$"):
        train_epochs(trainer, 3)


def read_log(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_a_resumed_log_hides_what_was_interrupted(tmp_path: Path) -> None:
    with Log(tmp_path) as log:
        for step in range(5):
            log.step(step, 1.0, 0.5)
    with Log(tmp_path, first_step=3) as log:
        log.step(3, 0.25, 0.125)
    assert read_log(tmp_path)["loss/step"] == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 0.25)]
