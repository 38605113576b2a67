"""Jobs of an exploration that end their process once, in a module of their own: other processes import it."""

import os
import signal
from pathlib import Path
from typing import Any

from evenstep_boards.explore.jobs import Design, Shared


class Deadly(Shared):
    """What jobs share, where the first one with eight lanes kills its process; a file marks that it did."""

    def __call__(self, job: Any) -> dict[str, Any]:
        mark = Path(os.environ["EVENSTEP_TEST_MARK"])
        if isinstance(job, Design) and job.array.lanes == 8 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(job)
