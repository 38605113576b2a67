"""``evenstep train``: train a network on Fashion-MNIST, and write it as integers."""

from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evenstep.qonnx import write_network
from evenstep_golden.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from evenstep_golden.commands.bits import BITS
from evenstep_golden.data import LABELS, load_images
from evenstep_golden.lower import lower
from evenstep_golden.models import QuantPerceptron
from evenstep_golden.reference import accuracy, run
from evenstep_golden.train import Recipe, Trainer, build_model, measure_accuracy

__all__ = ["train"]

_RECIPE = Recipe()


@click.command()
@click.option("--bits", type=BITS, default="2/2", show_default=True, help="Bits of weights and activations, W/A.")
@click.option("--float", "as_float", is_flag=True, help="Train the same network with float numbers, to compare.")
@click.option(
    "--epochs", type=click.IntRange(1), default=_RECIPE.epochs, show_default=True, help="Passes over the data."
)
@click.option("--seed", type=click.IntRange(0), default=_RECIPE.seed, show_default=True, help="Seed of all randomness.")
@click.option("--batch-size", type=click.IntRange(2), default=_RECIPE.batch_size, show_default=True)
@click.option(
    "--lr", type=float, default=_RECIPE.learning_rate, show_default=True, help="Learning rate of the first step."
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder of Fashion-MNIST's four .gz files.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Network file to write, .onnx; the checkpoint lies beside it as .pt. [default: named after the network]",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint of a training that was interrupted.")
def train(
    bits: tuple[int, int],
    as_float: bool,
    epochs: int,
    seed: int,
    batch_size: int,
    lr: float,
    data: Path | None,
    output: Path | None,
    resume: bool,
) -> None:
    """Train a 784-256-256-256-10 perceptron on Fashion-MNIST.

    Writes its float parameters as a checkpoint after every epoch, and at the end the integer network as a QONNX file.
    """
    widths = None if as_float else bits
    name = "fashion-mnist-mlp-" + ("float" if widths is None else f"w{widths[0]}a{widths[1]}")
    output = Path(f"{name}.onnx") if output is None else output
    saved = output.with_suffix(".pt")
    if output.suffix != ".onnx":
        raise click.UsageError(f"--output must end in .onnx, not be {output.name!r}")
    if not output.parent.is_dir():
        raise click.UsageError(f"--output must lie in a folder that exists, not in {str(output.parent)!r}")
    recipe = Recipe(epochs=epochs, batch_size=batch_size, learning_rate=lr, seed=seed)
    images, tests = load_images("train", data), load_images("test", data)
    model = build_model(widths, seed=seed)
    trainer = Trainer(model, images, recipe)
    if resume:
        checkpoint = load_checkpoint(saved)
        if checkpoint.training is None:
            raise ValueError(f"{saved}: training must be unfinished to go on, which it is not")
        if checkpoint.bits != widths:
            raise ValueError(f"{saved}: bits must be {widths}, not {checkpoint.bits}")
        model.load_state_dict(checkpoint.model.state_dict())
        trainer.restore(checkpoint.training)

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns) as progress:
        done = trainer.epoch * trainer.steps
        task = progress.add_task("training", total=trainer.steps * epochs, completed=done)
        try:
            while trainer.epoch < epochs:
                losses = []
                for loss in trainer.run_epoch():
                    losses.append(loss)
                    progress.update(task, advance=1, description=f"epoch {trainer.epoch + 1}/{epochs}, loss {loss:.3f}")
                share = measure_accuracy(model, tests)
                mean = sum(losses) / len(losses)
                progress.print(f"epoch {trainer.epoch}: loss {mean:.4f}, top-1 on test images {100 * share:.2f} %")
                # A finished training leaves the model alone: nothing goes on from there.
                state = trainer.state() if trainer.epoch < epochs else None
                save_checkpoint(Checkpoint(model, state), saved)
        except KeyboardInterrupt:
            hint = f"; --resume goes on after epoch {trainer.epoch}" if trainer.epoch else ""
            raise click.ClickException(f"Interrupted in epoch {trainer.epoch + 1}{hint}") from None
    click.echo(f"wrote {saved}")
    if isinstance(model, QuantPerceptron):
        network = lower(model.eval(), name=name, labels=LABELS)
        write_network(network, output)
        share = accuracy(run(network, tests.pixels)[-1], tests.labels)
        click.echo(f"wrote {output}: its integers give {100 * share:.2f} % top-1 on {len(tests)} test images")
