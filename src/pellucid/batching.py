"""The one place that cuts work into batches.

All model evaluations of all methods are *rows*: a sample, or a sample moved somewhere. A method
says how many rows it needs and what to do with a range of them; here they are put into batches
that fit in memory. Results are yielded one batch at a time, so that a method can add them up and
let them go, and thousands of rows need the memory of one batch.

How many rows fit is decided here, for all methods, where the user left it open: of small samples
many, and never more than fit in memory, as the first run of the model tells: `pellucid.memory`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeAlias, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from pellucid.errors import InputError
from pellucid.memory import Budget

T = TypeVar("T")
BatchSize: TypeAlias = int | Literal["auto"]

# A batch that "auto" makes holds about this many input elements, where the user's own batch is
# smaller: enough to keep small models busy, not enough to matter for images.
AUTO_ELEMENTS = 2**17
AUTO_ROWS = 8192
# Where the model only runs forward, and lets go what it computed on the way.
FORWARD_ELEMENTS = 2**20
# The user's own samples are that few if they are up to FEW_ROWS with FEW_ELEMENTS numbers (three
# photographs, say): then nobody looks first what one of them takes.
FEW_ROWS, FEW_ELEMENTS = 64, 2**19
# An integer counts as many numbers as an embedding may have for it, where no run has shown that.
EMBEDDING = 2**9


def check_batch_size(size: BatchSize) -> None:
    """Raise unless the size is "auto" or a positive whole number."""
    if size == "auto" or (isinstance(size, int) and not isinstance(size, bool) and size > 0):
        return
    raise InputError('`batch_size` must be "auto" or a positive whole number', got=size)


def auto_rows(
    sample: Tensor, rows: int, most: int = AUTO_ELEMENTS, *, embedding: int = EMBEDDING
) -> int:
    """Rows of a batch if the user left it open: their own batch, or more if samples are small."""
    elements = max(1, elements_of(sample, embedding))
    return max(rows, min(AUTO_ROWS, most // elements), 1)


def are_few(rows: int, like: Sequence[Tensor]) -> bool:
    """Whether so many samples like the first of these fit, whatever a model makes of them."""
    elements = rows * sum(map(elements_of, like))
    return rows == 1 or (rows <= FEW_ROWS and elements <= FEW_ELEMENTS)


def elements_of(samples: Tensor, embedding: int = EMBEDDING) -> int:
    """How many numbers one of some samples stands for, an integer for those of an embedding."""
    return samples.shape[1:].numel() * (1 if samples.is_floating_point() else embedding)


class Batcher:
    """Cuts ranges of rows into batches; halves them, for good, when memory runs out.

    What the user left open also stays within a `budget`, from when on it is known.
    """

    def __init__(self, size: BatchSize, *, start: int, budget: Budget | None = None) -> None:
        check_batch_size(size)
        self.halve = size == "auto"
        self.most = start if size == "auto" else size
        self.budget = budget if self.halve and budget is not None else Budget()

    @property
    def size(self) -> int:
        """How many rows the next batch may have."""
        return min(self.most, self.budget.rows)

    def forward(self, sample: Tensor, step: int = 1) -> "Batcher":
        """One for runs without gradients: with larger batches, if the user left them open.

        They begin with whole groups of `step` rows, where these fit.
        """
        if not self.halve or self.size < auto_rows(sample, 1):  # or memory ran out before
            return self
        rows = min(auto_rows(sample, self.size, FORWARD_ELEMENTS), self.budget.rows)
        return Batcher("auto", start=max(rows - rows % step, min(rows, step)), budget=self.budget)

    def run(self, total: int, work: Callable[[int, int], T], what: str = "") -> Iterator[T]:
        """Yield `work(start, stop)` for consecutive ranges that cover all rows, in order."""
        done = 0
        with _progress(total, self.size, what) as bar:
            while done < total:
                stop = min(done + self.size, total)
                result = self._attempt(work, done, stop)
                if result is None:
                    continue
                yield result[0]
                bar.update(stop - done)
                done = stop

    def _attempt(self, work: Callable[[int, int], T], start: int, stop: int) -> tuple[T] | None:
        """Work on one batch; `None`, with half the size from now on, if it does not fit."""
        try:
            return (work(start, stop),)
        except (RuntimeError, MemoryError) as error:
            if not (self.halve and stop - start > 1 and is_out_of_memory(error)):
                raise
        # Outside of the except block, so that the failed batch is no longer held by its traceback.
        self.most = (stop - start) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


def wide(tensor: Tensor) -> torch.dtype:
    """The type in which to add up many rows: double precision where the device has it."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text


def _progress(total: int, size: int, what: str) -> tqdm:
    """A progress bar for long work; silent for one batch, and where there is no terminal."""
    hidden = True if total <= size or not what else None
    return tqdm(total=total, desc=what, unit="row", leave=False, disable=hidden, delay=0.5)
