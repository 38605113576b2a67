"""Jobs for the tests of measurements, in a module of their own: other processes import it."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """What to do: wait, end the process so many times, fail with a message, or give the square."""

    number: int
    seconds: float = 0.0
    fails: str = ""
    kills: int = 0


@dataclass(frozen=True)
class Doing:
    """Does jobs, and leaves a file for each in a folder: how often, and by which process."""

    folder: Path

    def __call__(self, job: Job) -> dict[str, Any]:
        with (self.folder / str(job.number)).open("a") as log:
            log.write(f"{os.getpid()}\n")
        time.sleep(job.seconds)
        if len(self.runs(job.number)) <= job.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        if job.fails:
            raise ValueError(job.fails)
        return {"square": job.number**2}

    def runs(self, number: int) -> list[int]:
        """Processes that began a job."""
        log = self.folder / str(number)
        return [int(line) for line in log.read_text().split()] if log.exists() else []


def interrupts(_job: Any) -> dict[str, Any]:
    """Whether Ctrl-C can reach this process."""
    return {"held": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])}
