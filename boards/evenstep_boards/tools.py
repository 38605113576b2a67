"""FPGA tools from PyPI: Yosys and nextpnr as WebAssembly, run in a folder of their own."""

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Tool"]


@dataclass(frozen=True)
class Tool:
    """A program inside a Python package.

    Parameters
    ----------
    name : str
        What messages call it.
    package : str
        Package that holds it.
    function : str
        Function of the package that runs it, given the arguments.
    purpose : str
        What needs it, for the message where it is missing.
    """

    name: str
    package: str
    function: str
    purpose: str

    def check_installed(self) -> Path:
        """Return the package's folder; raise `RuntimeError` that names the install command where there is none."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.origin is None:
            raise RuntimeError(f"{self.purpose} {self.name}, which must be installed: pip install 'evenstep[boards]'")
        return Path(spec.origin).parent

    def run(self, arguments: Sequence[str], *, folder: Path, log: Path, doing: str) -> str:
        """Run it in `folder`, outside of which it sees little; return its output, which is kept in `log` too.

        Raises
        ------
        RuntimeError
            It failed; the message says what it was `doing`, its first error, and where the log is.
        """
        script = f"import sys, {self.package} as p; sys.exit(p.{self.function}(sys.argv[1:]))"
        result = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        log.write_text(result.stdout)
        if result.returncode:
            lines = [line for line in result.stdout.splitlines() if "ERROR" in line] or result.stdout.splitlines()[-1:]
            reason = lines[0].strip() if lines else "no message"
            raise RuntimeError(f"{self.name} cannot {doing}: {reason} (log: {log})")
        return result.stdout
