"""A tape as a table that a person can read: what ran, and by which rule relevance passes it."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from pellucid.tape.expand import expanded
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape

if TYPE_CHECKING:
    import pandas as pd

    from pellucid.propagate.composites import Composite

TITLES = ("#", "operation", "layer", "output", "rule")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One operation: its number and name, the path of its layer, output shape and rule."""

    number: int
    operation: str
    layer: str
    output: str
    rule: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The operations of a tape with the rules of a composite; print it, or make it a frame."""

    rows: tuple[Row, ...]
    note: str = ""

    def to_frame(self) -> pd.DataFrame:
        """One row an operation."""
        import pandas as pd

        return pd.DataFrame([vars(row) for row in self.rows], columns=list(Row.__annotations__))

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        cells = [tuple(map(str, astuple(row))) for row in self.rows]
        widths = [max(len(row[i]) for row in [TITLES, *cells]) for i in range(len(TITLES))]
        lines = [_line(TITLES, widths), "  ".join("-" * width for width in widths)]
        lines += [_line(row, widths) for row in cells]
        return "\n".join([*lines, *([self.note] if self.note else [])])


def listing(tape: Tape, composite: str | Composite = "auto") -> Listing:
    """The operations as rules see them, fused ones taken apart, each with its rule."""
    from pellucid.propagate.plan import rule_names

    apart = expanded(tape)
    names, note = rule_names(apart, composite)
    pairs = zip(apart.operations, names, strict=True)
    return Listing(rows=tuple(_row(operation, rule) for operation, rule in pairs), note=note)


def table(tape: Tape) -> str:
    """One line an operation, as it ran; a fused one has the rules of its parts."""
    rules: dict[int, list[str]] = {}
    for row in listing(tape).rows:
        rules.setdefault(row.number, []).append(row.rule)
    rows = [_row(op, _joined(rules.get(op.number, []))) for op in tape.operations]
    return str(Listing(rows=tuple(rows)))


def _joined(rules: list[str]) -> str:
    """The rules of the parts of one operation, but those that only move elements."""
    several = list(dict.fromkeys(rules))
    return " + ".join([name for name in several if name != "Route"] or several)


def _row(operation: Operation, rule: str) -> Row:
    return Row(
        number=operation.number,
        operation=operation.name,
        layer=operation.path or "-",
        output=_shape(operation),
        rule=rule,
    )


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    number, *rest = row
    cells = [number.rjust(widths[0])]
    cells += [cell.ljust(width) for cell, width in zip(rest, widths[1:], strict=True)]
    return "  ".join(cells).rstrip()


def _shape(operation: Operation) -> str:
    shown = [_size(value) for value in operation.outputs[:1]]
    return shown[0] if shown else "-"


def _size(value: Value | None) -> str:
    return "-" if value is None else "x".join(map(str, value.shape)) or "scalar"
