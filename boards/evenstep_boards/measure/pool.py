"""Running jobs: each once, by processes of this machine or by a cluster."""

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from evenstep.checks import check_int
from evenstep_boards.measure.local import run_locally
from evenstep_boards.measure.store import Store

__all__ = ["run_jobs", "unfinished"]

Job = TypeVar("Job")
Record = dict[str, Any]


def unfinished(jobs: Mapping[str, Job], store: Store) -> dict[str, Job]:
    """Jobs that the store has no result of. Those that failed are among them: what was missing may be there now."""
    return {key: job for key, job in jobs.items() if "error" in (store.get(key) or {"error": ""})}


def run_jobs(
    function: Callable[[Job], Record],
    jobs: Mapping[str, Job],
    store: Store,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[str, Record], None] | None = None,
) -> dict[str, Record]:
    """Run the jobs that the store lacks; returns the records of all of them, in the order of `jobs`.

    Each record is put in the store as it comes, so an interruption costs only what runs at that moment. Jobs of a
    process or machine that ends midway run again elsewhere.

    A job that raises stops no other: its record is ``{"error": ...}`` with the message in one line. It is kept, and the
    job is tried again the next time. So a failure that will never change, as of what has no room in a device, is for
    `function` to return, not to raise.

    Parameters
    ----------
    function : callable
        Makes a record, a dictionary that JSON can hold, of a job. It is pickled, once for each process: of a module, or
        a `functools.partial` or object with what all jobs share.
    jobs : mapping
        By key, for which see `digest`. They are pickled too.
    store : Store
        Of the results.
    workers : int, optional
        Processes of this machine; left out: one for each of its processors.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers run the jobs instead.
    progress : callable, optional
        Called with the key and the record of every job that was run, as soon as the store has it.

    Raises
    ------
    RuntimeError
        Dask is not installed, or its scheduler does not answer, or was lost.
    """
    left = unfinished(jobs, store)

    def finish(key: str, record: Record) -> None:
        store.put(key, record)
        if progress is not None:
            progress(key, record)

    if scheduler is not None:
        try:
            from evenstep_boards.measure.cluster import run_on_cluster  # noqa: PLC0415  needs an extra
        except ModuleNotFoundError as error:
            raise RuntimeError(
                f"A scheduler needs {error.name}, which is not installed: run pip install 'evenstep[explore]'"
            ) from None
        run_on_cluster(function, left, scheduler, finish)
    else:
        count = (os.cpu_count() or 1) if workers is None else check_int("Workers", workers, 1)
        run_locally(function, left, count, finish)
    return {key: store.get(key) or {} for key in jobs}
