"""Jobs on a cluster, by Dask Distributed, which is imported here only."""

from collections.abc import Callable, Mapping
from typing import Any

from distributed import Client, as_completed
from distributed.comm.addressing import get_address_host_port

from evenstep_boards.measure.outcome import describe, outcome

__all__ = ["run_on_cluster"]

_TIMEOUT = 10


def run_on_cluster(
    function: Callable[[Any], dict[str, Any]],
    jobs: Mapping[str, Any],
    scheduler: str,
    finish: Callable[[str, dict[str, Any]], None],
) -> None:
    """Run jobs on the workers of a Dask scheduler; see `evenstep_boards.measure.run_jobs`.

    Workers need this package, and the tools that the jobs take. Jobs of a worker that is lost run again on another.

    Parameters
    ----------
    scheduler : str
        Its address, like ``tcp://HOST:8786``.

    Raises
    ------
    RuntimeError
        The scheduler does not answer, or was lost midway.
    """
    try:
        get_address_host_port(scheduler)  # a client that is given none is never quite closed
        client = Client(scheduler, timeout=_TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise RuntimeError(
            f"Scheduler must be the address of a Dask scheduler that answers, not {scheduler!r}: {error}"
        ) from None
    with client:
        # A task of its own: sent once, not with every job, and made anew where the worker that holds it is lost.
        shared = client.submit(_Shared, function, pure=False)
        futures = {client.submit(_run, shared, job, pure=False): key for key, job in jobs.items()}
        try:
            ended = as_completed(futures, loop=client.loop)
            for future in ended:
                if future.status == "finished":
                    finish(futures.pop(future), future.result())
                elif future.status == "error":
                    finish(futures.pop(future), {"error": describe(future.exception())})
                elif future.status != "cancelled":  # its result went with its worker, and is being made anew
                    ended.add(future)
                else:
                    raise RuntimeError(f"Scheduler {scheduler} was lost; what was finished is kept: run the same again")
        finally:
            client.cancel([shared, *futures], force=True)


class _Shared:
    """What all jobs share, in a shape that Dask takes for data: a function would be taken for a task."""

    def __init__(self, function: Callable[[Any], dict[str, Any]]) -> None:
        self.function = function


def _run(shared: _Shared, job: Any) -> dict[str, Any]:
    return outcome(shared.function, job)
