"""A log of the training that TensorBoard reads."""

from pathlib import Path
from types import TracebackType

__all__ = ["Log"]


class Log:
    """Writes loss and learning rate of every step, and accuracy after every epoch. To be used in a ``with`` block.

    Parameters
    ----------
    folder : path
        Where to; made if missing.
    first_step : int
        Number of the first step that follows. What an interrupted training wrote from there on is hidden.

    Raises
    ------
    RuntimeError
        TensorBoard is not installed.
    OSError
        The folder cannot be written.
    """

    def __init__(self, folder: str | Path, *, first_step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  needs a package that nothing else does
        except ImportError:
            raise RuntimeError("A log needs tensorboard, which is not installed: run pip install tensorboard") from None
        self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def step(self, number: int, loss: float, rate: float) -> None:
        """Log a step: its number, its loss in nats, its learning rate."""
        self._writer.add_scalar("loss/step", loss, number)
        self._writer.add_scalar("learning_rate", rate, number)

    def epoch(self, number: int, loss: float, accuracy: float) -> None:
        """Log an epoch by the `number` of its last step: mean loss in nats, share of test pictures that are right."""
        self._writer.add_scalar("loss/epoch", loss, number)
        self._writer.add_scalar("accuracy/test", accuracy, number)
        self._writer.flush()

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()
