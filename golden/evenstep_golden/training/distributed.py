"""Several processes that train one model together, as ``torchrun`` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor

from evenstep.checks import check_int

__all__ = ["Processes", "join_processes"]

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Processes:
    """The processes that train together, seen from one of them.

    Parameters
    ----------
    rank : int
        Which one this is.
    count : int
        How many there are.
    device : torch.device
        Where this one trains.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = _CPU

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints, logs and saves."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Sum of all processes' values; every process must ask for it."""
        if self.count > 1:
            torch.distributed.all_reduce(value)
        return value


def _from_environment(name: str, low: int, high: int | None = None) -> int:
    text = os.environ.get(name, "")
    if not text.isdecimal():
        raise ValueError(f"{name} must be set to a number in every process, as torchrun does, not to {text!r}")
    return check_int(name, int(text), low, high)


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, for the time of a ``with`` block; alone without it.

    Each process gets a GPU where there are any, and they talk by NCCL; on CPUs they talk by Gloo. Processes that have
    joined already stay so: they can do it only once.

    Raises
    ------
    ValueError
        The environment is not as torchrun sets it.
    RuntimeError
        The others cannot be reached.
    """
    on_gpu = torch.cuda.is_available()
    count = _from_environment("WORLD_SIZE", 1) if "WORLD_SIZE" in os.environ else 1
    if count == 1:
        yield Processes(device=torch.device("cuda", 0) if on_gpu else _CPU)
        return
    rank = _from_environment("RANK", 0, count - 1)
    device = _CPU
    if on_gpu:
        device = torch.device("cuda", _from_environment("LOCAL_RANK", 0, torch.cuda.device_count() - 1))
        torch.cuda.set_device(device)
    if torch.distributed.is_initialized():
        yield Processes(rank, count, device)
        return
    # Gloo in both cases: quantizers are initialized before the model moves to its GPU.
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    torch.distributed.init_process_group(backend, device_id=device if on_gpu else None)
    try:
        yield Processes(rank, count, device)
        # A process of Gloo that leaves while the other still works is aborted now and then.
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()
