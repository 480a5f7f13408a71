"""A tape as a table that a person can read."""

from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape


def table(tape: Tape) -> str:
    """One line an operation: number, name, layer path, output shape and the rule it would get."""
    from pellucid.propagate.plan import rule_names

    rules = rule_names(tape)
    rows = [
        (str(op.number), op.name, op.path or "-", _shape(op), rules[op.number])
        for op in tape.operations
    ]
    titles = ("#", "operation", "layer", "output", "rule")
    widths = [max(len(row[i]) for row in [titles, *rows]) for i in range(len(titles))]
    lines = [_line(titles, widths), "  ".join("-" * width for width in widths)]
    lines += [_line(row, widths) for row in rows]
    return "\n".join(lines)


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
