"""Jobs in processes of this machine, which are started afresh, take one job after the other, and are watched.

The pools of the standard library stop altogether when one of their processes is killed, and do not tell which job it
had. Here that job runs again, and the others go on.
"""

import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

from evenstep_boards.measure.outcome import outcome

__all__ = ["run_locally"]

#: Processes that a job may end (by taking all the memory, for one) before it counts as failed.
_ATTEMPTS = 3
#: Seconds in which a process that is told to end has to remove what it made.
_GRACE = 5


def run_locally(
    function: Callable[[Any], dict[str, Any]],
    jobs: Mapping[str, Any],
    workers: int,
    finish: Callable[[str, dict[str, Any]], None],
) -> None:
    """Run jobs in at most so many processes, none of which outlives the call; see `evenstep_boards.measure.run_jobs`.

    Parameters
    ----------
    finish : callable
        Gets the key and the record of each job, in this process.
    """
    waiting = deque(jobs)
    attempts: Counter[str] = Counter()
    pool: list[_Worker] = []
    try:
        pool += (_Worker(function) for _ in range(min(workers, len(jobs))))
        while waiting or any(worker.key is not None for worker in pool):
            for worker in pool:
                if worker.key is None and waiting:
                    worker.give(waiting[0], jobs[waiting[0]])
                    waiting.popleft()
            ready = wait([worker.connection for worker in pool if worker.key is not None])
            for number, worker in enumerate(pool):
                if worker.connection not in ready or (key := worker.key) is None:
                    continue
                worker.key = None
                try:
                    record = worker.connection.recv()
                except (EOFError, ConnectionError):
                    worker.wait()
                    pool[number] = _Worker(function)
                    attempts[key] += 1
                    if attempts[key] < _ATTEMPTS:
                        waiting.appendleft(key)
                        continue
                    status = worker.process.exitcode
                    record = {"error": f"Its process ended {_ATTEMPTS} times, the last time with status {status}"}
                finish(key, record)
    finally:
        for worker in pool:
            worker.process.terminate()
        for worker in pool:
            worker.wait()


class _Worker:
    """A process that runs jobs, and the key of the one that it has."""

    def __init__(self, function: Callable[[Any], dict[str, Any]]) -> None:
        # Spawned, not forked: threads and locks of this process are not carried over half.
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, function), daemon=True)
        with _interrupts_held():
            self.process.start()
        theirs.close()
        self.key: str | None = None

    def give(self, key: str, job: Any) -> None:
        """Hand it a job. Where the process has ended, reading its answer will tell."""
        self.key = key
        with suppress(ConnectionError):
            self.connection.send(job)

    def wait(self) -> None:
        """Wait until the process has ended, which it was told or did by itself."""
        self.process.join(_GRACE)
        self.process.kill()
        self.process.join()
        self.connection.close()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """What is started meanwhile never sees Ctrl-C, which goes to all processes of a terminal; this one tells it."""
    # The first process of all starts this one too, which lets Ctrl-C through again behind itself.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection, function: Callable[[Any], dict[str, Any]]) -> None:
    """Run jobs until told to end, or until nobody listens any more."""

    def end(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing interrupts what is tidied up now
        raise KeyboardInterrupt

    try:
        # To be ended is to be interrupted, so that tools are ended too and scratch folders removed.
        signal.signal(signal.SIGTERM, end)
        threading.Thread(target=_follow_parent, daemon=True).start()
        while True:
            connection.send(outcome(function, connection.recv()))
    except (KeyboardInterrupt, EOFError, ConnectionError):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _follow_parent() -> None:
    """End with the process that started this one, however that ended."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
