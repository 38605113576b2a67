"""`evenstep simulate`: run the bench of a generated block."""

from pathlib import Path

import click

from evenstep_sim.runner import run_manifest
from evenstep_sim.simulators import SIMULATORS

__all__ = ["simulate"]


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "--simulator", type=click.Choice(SIMULATORS), default=SIMULATORS[0], show_default=True, help="Which one to run."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True, help="Of all stimulus.")
def simulate(manifest: Path, simulator: str, seed: int) -> None:
    """Run the bench of a generated block: MANIFEST is its JSON file, or the folder that holds it."""
    path = _find_manifest(manifest)
    try:
        results = run_manifest(path, simulator=simulator, seed=seed)
    except AssertionError as error:
        raise click.ClickException(str(error)) from None
    width = max(len(result.name) for result in results)
    for result in results:
        click.echo(f"  {result.name:{width}}  passed  {result.seconds:6.1f} s")
    click.echo(f"{path.stem}: {len(results)} tests passed on {simulator} with seed {seed}")


def _find_manifest(path: Path) -> Path:
    """The manifest itself, or the only one in a folder."""
    if not path.is_dir():
        if not path.is_file():
            raise ValueError(f"Manifest must be a file that evenstep generate wrote, but there is none at {path}")
        return path
    found = sorted(path.glob("*.json"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise ValueError(f"Folder {path} must hold one manifest, not {len(found)} ({names}): name one of them")
    return found[0]
