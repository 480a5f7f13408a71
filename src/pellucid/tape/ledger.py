"""Where relevance went: one row an operation, of one sample or summed over those of a batch.

    in + bias + stabilizer + stopped + rest = out        (relevance flows from out to in)

`rest` is what no cause accounts for; a rule that conserves has a rest of rounding size.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

AMOUNTS = ("relevance_out", "relevance_in", "bias", "stabilizer", "stopped")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What happened to relevance at one operation."""

    number: int
    name: str
    path: str
    rule: str
    relevance_out: float
    relevance_in: float
    bias: float = 0.0
    stabilizer: float = 0.0
    stopped: float = 0.0

    @property
    def amounts(self) -> tuple[float, ...]:
        """The numbers, in the order of `AMOUNTS`."""
        return tuple(getattr(self, name) for name in AMOUNTS)

    @property
    def rest(self) -> float:
        """What is missing, or too much, for no stated cause."""
        absorbed = self.bias + self.stabilizer + self.stopped
        return self.relevance_out - self.relevance_in - absorbed

    def having(self, amounts: list[float]) -> Entry:
        """The same operation with other numbers."""
        # Written out, since `dataclasses.replace` takes longer than the rules of many operations.
        numbers: dict[str, Any] = dict(zip(AMOUNTS, amounts, strict=True))
        return Entry(number=self.number, name=self.name, path=self.path, rule=self.rule, **numbers)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ledger:
    """All entries of a walk, from the score to the input, and the sums they start and end with.

    All numbers are summed over the `samples`; `select` gives the ledger of one. `each` has them of
    every sample, of shape (sample, 1 + row, amount), with score and explained in front. It is
    `None` of one sample, and where the model mixes the samples, so that they have only one ledger.

    >>> row = Entry(number=0, name="addmm", path="", rule="Epsilon", relevance_out=2.0,
    ...             relevance_in=1.5, bias=0.5)
    >>> Ledger(score=2.0, explained=1.5, rows=(row,)).residual
    0.0
    """

    score: float
    explained: float
    rows: tuple[Entry, ...]
    samples: int = 1
    each: Tensor | None = None

    @classmethod
    def of(cls, rows: tuple[Entry, ...], each: Tensor, samples: int) -> Ledger:
        """The ledger of numbers (sample, 1 + row, amount); the rows say what they belong to."""
        (score, explained, *_), *amounts = each.sum(0).tolist()
        return cls(
            score=score,
            explained=explained,
            rows=tuple(row.having(sums) for row, sums in zip(rows, amounts, strict=True)),
            samples=samples,
            each=each if samples > 1 and len(each) == samples else None,
        )

    @property
    def bias(self) -> float:
        """What biases and other constants took."""
        return sum(row.bias for row in self.rows)

    @property
    def stabilizer(self) -> float:
        """What stabilizers took."""
        return sum(row.stabilizer for row in self.rows)

    @property
    def stopped(self) -> float:
        """What rules let go on purpose."""
        return sum(row.stopped for row in self.rows)

    @property
    def largest(self) -> float:
        """The largest sum of relevance on the walk of any sample, in absolute value."""
        return float(self._largest.max())

    @property
    def residual(self) -> float:
        """Score - explained - all that was absorbed, where it is farthest from zero.

        It is zero up to rounding, for every sample: those of two samples do not cancel.
        """
        return max(self.residuals.tolist(), key=abs)

    @property
    def residuals(self) -> Tensor:
        """The residual of every sample, of shape (sample,); (1,) where the model mixes them."""
        numbers = self.numbers
        absorbed = numbers[:, 1:, AMOUNTS.index("bias") :].sum((1, 2))
        return numbers[:, 0, 0] - numbers[:, 0, 1] - absorbed

    @cached_property
    def numbers(self) -> Tensor:
        """`each`, or the sums in the same layout where there is only one ledger."""
        if self.each is not None:
            return self.each
        head = (self.score, self.explained, 0.0, 0.0, 0.0)
        return torch.tensor([[head, *(row.amounts for row in self.rows)]], dtype=torch.float64)

    @property
    def _largest(self) -> Tensor:
        """The largest sum of relevance on the walk of every sample."""
        return self.numbers.abs().amax((1, 2))

    def each_of(self, amount: str, name: str = "") -> Tensor:
        """One of `AMOUNTS` for every sample, over all operations or those of one name."""
        rows = [1 + i for i, row in enumerate(self.rows) if name in ("", row.name)]
        return self.numbers[:, rows, AMOUNTS.index(amount)].sum(1)

    def total(self) -> float:
        """The sum of relevance at the input and of all that was absorbed on the way."""
        return self.explained + self.bias + self.stabilizer + self.stopped

    def leak(self) -> Entry | None:
        """The entry with the largest unexplained rest."""
        return max(self.rows, key=lambda row: abs(row.rest), default=None)

    def leaking(self, tolerance: float) -> list[int]:
        """The samples that lack more than this part of their largest sum of relevance."""
        whole = self.residuals.abs() <= tolerance * self._largest
        return (~whole).nonzero().flatten().tolist()

    def select(self, index: list[int]) -> Ledger | None:
        """The ledger of some samples; `None` for a part of those that a model mixes."""
        if index == list(range(self.samples)):
            return self
        if self.each is None:
            return None
        return Ledger.of(self.rows, self.each[index], len(index))

    def join(self, parts: list[Ledger]) -> Ledger:
        """Put the samples of several batches of the same program together."""
        if len(parts) == 1:
            return parts[0]
        samples = sum(part.samples for part in parts)
        same = all([r.name for r in part.rows] == [r.name for r in self.rows] for part in parts)
        if same:
            rows, numbers = self.rows, [part.numbers for part in parts]
        else:
            rows = tuple(row for part in parts for row in part.rows)
            numbers = _side_by_side(parts)
        return Ledger.of(rows, torch.cat(numbers), samples)

    def to_frame(self) -> pd.DataFrame:
        """One row an operation, from the score to the input."""
        import pandas as pd

        return pd.DataFrame([{**dataclasses.asdict(row), "rest": row.rest} for row in self.rows])

    def plot(self, ax: Axes | None = None, *, dark: bool = False) -> Axes:
        """Draw what is left of the score from operation to operation, and who took the rest."""
        from pellucid.plot.flow import flow

        return flow(self, ax, dark=dark)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ledger):
            return NotImplemented
        mine, theirs = (
            (x.score, x.explained, x.rows, x.samples, x.each is None) for x in (self, other)
        )
        return mine == theirs and torch.equal(self.numbers, other.numbers)

    __hash__ = None  # type: ignore[assignment]  # tensors have no hash by value

    def __str__(self) -> str:
        head = f"{'#':>4}  {'operation':<24} {'layer':<28} {'rule':<10}"
        head += "".join(f"{title:>12}" for title in ("out", "in", "bias", "stabilizer", "rest"))
        lines = [f"Summed over {self.samples} samples"] if self.samples > 1 else []
        lines.append(head)
        for row in self.rows:
            numbers = (row.relevance_out, row.relevance_in, row.bias, row.stabilizer, row.rest)
            text = f"{row.number:>4}  {row.name[:24]:<24} {row.path[-28:]:<28} {row.rule:<10}"
            lines.append(text + "".join(f"{_number(value):>12}" for value in numbers))
        absorbed = f"bias {self.bias:.4g}, stabilizer {self.stabilizer:.4g}"
        absorbed += f", stopped {self.stopped:.4g}" if self.stopped else ""
        lines.append(f"score {self.score:.4g} = input {self.explained:.4g} + {absorbed}")
        return "\n".join(lines)


def _side_by_side(parts: list[Ledger]) -> list[Tensor]:
    """The numbers of batches that ran different operations: zero at those of the others."""
    lengths = [len(part.rows) for part in parts]
    made = []
    for i, part in enumerate(parts):
        before, after = sum(lengths[:i]), sum(lengths[i + 1 :])
        numbers = part.numbers
        blank = [numbers.new_zeros(len(numbers), n, len(AMOUNTS)) for n in (before, after)]
        made.append(torch.cat([numbers[:, :1], blank[0], numbers[:, 1:], blank[1]], 1))
    return made


def _number(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:.4g}"
