"""The ledger of a walk and the operations of a run, as tables to be folded away."""

import re
from dataclasses import dataclass

from pellucid.plot.color import number
from pellucid.plot.flow import picture
from pellucid.report.image import Drawing
from pellucid.tape.ledger import Ledger
from pellucid.tape.record import Tape

# A page with more rows would be slow; the whole table is to be had in Python.
MOST_ROWS = 2000


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table for the page; the columns from `numbers` on hold numbers. A drawing may go before."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    numbers: int
    left_out: int = 0
    drawing: Drawing | None = None


def ledger_table(ledger: Ledger, samples: int) -> Table:
    """Where relevance went, from the score to the input."""
    together = f", summed over {samples} samples" if samples > 1 else ""
    rows = [
        (
            *(str(row.number), row.name, row.path or "-", row.rule),
            *map(number, (row.relevance_out, row.relevance_in, row.bias, row.stabilizer)),
            *map(number, (row.stopped, row.rest)),
        )
        for row in ledger.rows
    ]
    return Table(
        title=f"ledger: where relevance went, at {len(rows)} operations{together}",
        columns=(
            *("#", "operation", "layer", "rule"),
            *("out", "in", "bias", "stabilizer", "stopped", "rest"),
        ),
        rows=rows[:MOST_ROWS],
        numbers=4,
        left_out=max(0, len(rows) - MOST_ROWS),
        drawing=_flow(ledger) if rows else None,
    )


def _flow(ledger: Ledger) -> Drawing:
    """The ledger as a line from the score to the input."""
    lost = ", ".join(
        f"{number(amount)} to {name}"
        for name in ("bias", "stabilizer", "stopped")
        if (amount := getattr(ledger, name))
    )
    return Drawing.of(
        lambda dark: picture(ledger, dark=dark),
        alt=f"relevance from the score {number(ledger.score)} to {number(ledger.explained)} at the "
        f"input; {lost or 'nothing was kept'}",
    )


def tape_table(tape: Tape) -> Table:
    """The operations of one run, in the order they ran."""
    titles, rule, *lines = str(tape).splitlines()
    spans = [found.span() for found in re.finditer("-+", rule)]
    spans[-1] = (spans[-1][0], None)  # type: ignore[assignment]  # the last column is not cut
    rows = [_cells(line, spans) for line in lines]
    return Table(
        title=f"The tape: the {len(rows)} operations of one run, and the rule each would get",
        columns=_cells(titles, spans),
        rows=rows[:MOST_ROWS],
        numbers=len(spans),
        left_out=max(0, len(rows) - MOST_ROWS),
    )


def _cells(line: str, spans: list[tuple[int, int]]) -> tuple[str, ...]:
    return tuple(line[start:stop].strip() for start, stop in spans)
