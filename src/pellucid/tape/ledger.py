"""Where relevance went: one row an operation, summed over the batch.

    in + bias + stabilizer + stopped + rest = out        (relevance flows from out to in)

`rest` is what no cause accounts for; a rule that conserves has a rest of rounding size.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


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
    def rest(self) -> float:
        """What is missing, or too much, for no stated cause."""
        absorbed = self.bias + self.stabilizer + self.stopped
        return self.relevance_out - self.relevance_in - absorbed

    def plus(self, other: Entry) -> Entry:
        """The same operation on another batch."""
        names = ("relevance_out", "relevance_in", "bias", "stabilizer", "stopped")
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        return dataclasses.replace(self, **sums)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """All entries of a walk, from the score to the input, and the sums they start and end with.

    >>> row = Entry(number=0, name="addmm", path="", rule="Epsilon", relevance_out=2.0,
    ...             relevance_in=1.5, bias=0.5)
    >>> Ledger(score=2.0, explained=1.5, rows=(row,)).residual
    0.0
    """

    score: float
    explained: float
    rows: tuple[Entry, ...]

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
        """The largest sum of relevance on the walk, in absolute value."""
        return max([abs(self.score), *(abs(row.relevance_out) for row in self.rows)])

    @property
    def residual(self) -> float:
        """Score - explained - all that was absorbed; zero up to rounding."""
        return self.score - self.total()

    def total(self) -> float:
        """The sum of relevance at the input and of all that was absorbed on the way."""
        return self.explained + self.bias + self.stabilizer + self.stopped

    def leak(self) -> Entry | None:
        """The entry with the largest unexplained rest."""
        return max(self.rows, key=lambda row: abs(row.rest), default=None)

    def join(self, parts: list[Ledger]) -> Ledger:
        """Add up the ledgers of several batches of the same program."""
        rows = self.rows
        if any([r.name for r in part.rows] != [r.name for r in rows] for part in parts):
            rows = tuple(row for part in parts for row in part.rows)
        else:
            for part in parts[1:]:
                rows = tuple(a.plus(b) for a, b in zip(rows, part.rows, strict=True))
        score, explained = sum(p.score for p in parts), sum(p.explained for p in parts)
        return Ledger(score=score, explained=explained, rows=rows)

    def to_frame(self) -> pd.DataFrame:
        """One row an operation, from the score to the input."""
        import pandas as pd

        return pd.DataFrame([{**dataclasses.asdict(row), "rest": row.rest} for row in self.rows])

    def __str__(self) -> str:
        head = f"{'#':>4}  {'operation':<24} {'layer':<28} {'rule':<10}"
        head += "".join(f"{title:>12}" for title in ("out", "in", "bias", "stabilizer", "rest"))
        lines = [head]
        for row in self.rows:
            numbers = (row.relevance_out, row.relevance_in, row.bias, row.stabilizer, row.rest)
            text = f"{row.number:>4}  {row.name[:24]:<24} {row.path[-28:]:<28} {row.rule:<10}"
            lines.append(text + "".join(f"{_number(value):>12}" for value in numbers))
        absorbed = f"bias {self.bias:.4g}, stabilizer {self.stabilizer:.4g}"
        absorbed += f", stopped {self.stopped:.4g}" if self.stopped else ""
        lines.append(f"score {self.score:.4g} = input {self.explained:.4g} + {absorbed}")
        return "\n".join(lines)


def _number(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:.4g}"
