"""The command line: commands that installed packages contribute, and errors in one line."""

import signal
import sys
from importlib.metadata import entry_points

import click

from evenstep import __version__

__all__ = ["ENDING", "main"]

#: Signals that ask a program to end: of a process that is ended, and of a terminal that is closed, where there is that.
ENDING = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]

_GROUP = "evenstep.commands"


class _Commands(click.Group):
    """Commands from entry points, imported only when one is run, so that no command waits for another's libraries."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(entry_points(group=_GROUP).names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for entry in entry_points(group=_GROUP, name=cmd_name):
            try:
                return entry.load()
            except ModuleNotFoundError as error:
                extra = entry.module.split(".")[0].removeprefix("evenstep_")
                raise click.ClickException(
                    f"{cmd_name} needs {error.name}, which is not installed: run pip install 'evenstep[{extra}]'"
                ) from None
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Help lists the names and leaves the texts to each command: a text would cost the import of its libraries.
        with formatter.section("Commands"):
            formatter.write_text("  ".join(self.list_commands(ctx)))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="evenstep")
def evenstep() -> None:
    """Low-bit neural-network accelerators, from a trained network to proven hardware.

    Each command explains itself: evenstep COMMAND --help.
    """


def main() -> None:
    """Run the command line. Bad input ends in one line and status 1 (2 for wrong usage), without a traceback."""
    # To be ended is to be interrupted: what is made beside is removed, and tools are ended too.
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    try:
        status = evenstep.main(standalone_mode=False)
    except click.exceptions.Exit as exit_:
        status = exit_.exit_code
    except click.UsageError as error:
        _complain(error.format_message())
        status = error.exit_code
    except click.ClickException as error:
        _complain(error.format_message())
        status = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _complain("Interrupted; nothing is left half written")
        status = 130
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
        status = 1
    except (TypeError, ValueError, RuntimeError) as error:
        _complain(str(error))
        status = 1
    sys.exit(status if isinstance(status, int) else 0)


def _complain(message: str) -> None:
    click.echo(f"evenstep: {' '.join(message.split())}", err=True)


if __name__ == "__main__":  # for launchers that take a module, such as torchrun
    main()
