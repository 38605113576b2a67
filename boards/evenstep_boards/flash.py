"""Writing a bitstream to a board, with the program that the board uses."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evenstep_boards.board import Board, Programmer

__all__ = ["find_programmer", "flash_board", "flash_commands"]


def find_programmer(board: Board) -> tuple[Programmer, str] | None:
    """The board's best programmer that this machine has, and its path; None if it has none.

    Programs from wheels lie beside the interpreter, which need not be on the PATH.
    """
    beside = str(Path(sys.executable).parent)
    for programmer in board.programmers:
        for command in programmer.commands:
            path = shutil.which(command) or shutil.which(command, path=beside)
            if path is not None:
                return programmer, path
    return None


def flash_commands(board: Board, build: Path, part: Mapping[str, Any]) -> list[list[str]]:
    """What writes a build, as `evenstep_boards.build.read_build` returns it: its network, if it has one for the flash
    memory, and then its bitstream, which starts when it is written.

    Each is a program, as found, or else the name of the best; and its arguments.
    """
    found = find_programmer(board)
    programmer, path = found or (board.programmers[0], board.programmers[0].commands[0])
    record = part.get("record")
    # An offset is -o for every programmer that takes one.
    first = [["-o", str(record["offset"]), str(build.with_name(record["file"]))]] if record else []
    return [[path, *programmer.arguments, *files] for files in [*first, [str(build)]]]


def flash_board(board: Board, build: Path, part: Mapping[str, Any]) -> None:
    """Write a build to the board that is plugged in; see `flash_commands`.

    Raises
    ------
    RuntimeError
        No program is there (the message names what installs one), or it fails.
    """
    if find_programmer(board) is None:
        best = board.programmers[0]
        raise RuntimeError(f"Flashing {board.title} needs {best.commands[0]}, which must be installed: {best.install}")
    for command in flash_commands(board, build, part):
        status = subprocess.run(command, check=False).returncode
        if status:
            raise RuntimeError(
                f"{Path(command[0]).name} ended with status {status}: is {board.title} plugged in, and may you use it?"
            )
