"""`evenstep flash`: writes a bitstream to a board."""

import shlex
from pathlib import Path

import click

from evenstep_boards.build import read_build
from evenstep_boards.catalog import find_board
from evenstep_boards.commands.build import DEFAULT_FOLDER
from evenstep_boards.flash import flash_board, flash_commands

__all__ = ["flash"]


@click.command()
@click.argument("board")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=DEFAULT_FOLDER,
    show_default=True,
    help="Folder that evenstep build wrote.",
)
@click.option("--dry-run", is_flag=True, help="Print the commands, and do nothing.")
def flash(board: str, output: Path, dry_run: bool) -> None:
    """Write the bitstream of BOARD, and its network, to its flash memory, from which it starts at every power-up."""
    chosen = find_board(board)
    bitstream, part = read_build(chosen, output)
    if dry_run:
        for command in flash_commands(chosen, bitstream, part):
            click.echo(shlex.join(command))
        return
    flash_board(chosen, bitstream, part)
    click.echo(f"{bitstream} is on {chosen.title}")
