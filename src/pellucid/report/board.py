"""The report of a leaderboard: verdicts, a table with bars for each metric, curves, costs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pellucid import __version__
from pellucid.errors import InputError
from pellucid.evaluate.leaderboard.board import Entry, Leaderboard
from pellucid.evaluate.leaderboard.verdicts import all_alike, chance, heading, remarks
from pellucid.file import check_writable, write_bytes
from pellucid.plot.cascade import cascade
from pellucid.plot.color import MINUS
from pellucid.plot.curves import CHANCE, curves
from pellucid.plot.leaderboard import agreement, tradeoff
from pellucid.report.image import Drawing
from pellucid.report.panel import environment
from pellucid.report.wording import seconds, significant

# Metrics of how simple an explanation is, the first of which faithfulness is drawn against.
SIMPLICITY = ("effective_features", "entropy", "sparseness", "compressed_size")
PLAIN = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method in the table of a metric; places on the bar are in percent of its width."""

    title: str
    mean: str
    interval: str
    gain: str
    gain_interval: str
    against: str
    rank: str
    groups: str
    is_zero: bool
    left: float
    width: float
    whisker: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """The table of a metric: its rows, and where zero and the random ranking are on its bars."""

    title: str
    answers: str
    weakness: str
    options: str
    test: str
    rows: list[Row]
    zero: float
    random: float | None
    ranked: bool
    curves: list[Drawing]
    notes: tuple[str, ...]


def write_board(
    path: str | Path,
    board: Leaderboard,
    *,
    title: str = "Which explanation can be trusted here?",
    about: str = "",
    credits: str = "",
    against: tuple[str, str] | None = None,
) -> Path:
    """Write a leaderboard as one HTML file that needs nothing else, and return its path.

    `about` is a line on model and data, `credits` one on where the model comes from. `against` are
    the titles of two metrics to draw against each other, by default one of how simple explanations
    are and the first other one.

    >>> import tempfile, torch
    >>> import pellucid as pl
    >>> model, x = torch.nn.Linear(3, 2), torch.rand(20, 3)
    >>> board = pl.evaluate.leaderboard(model, x, ["saliency"], ["effective_features"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_board(f"{folder}/report.html", board).name
    'report.html'
    """
    if not isinstance(board, Leaderboard):
        raise InputError("`board` must be a Leaderboard", got=board)
    target = check_writable(path)
    pair = _pair(board) if against is None else (board.named(against[0]), board.named(against[1]))
    html = (
        environment()
        .get_template("board.html.j2")
        .render(
            title=title,
            about=about,
            credits=credits,
            verdicts=board.verdicts,
            tables=[_table(board, metric) for metric in board.metrics],
            tradeoff=None if pair is None else _tradeoff(board, *pair),
            costs=_costs(board),
            failures=board.failures,
            notes=[(each.title, note) for each in board.standings for note in each.notes],
            board_notes=board.notes,
            samples=board.samples,
            zero=board.standings[-1].title,
            version=__version__,
        )
    )
    return write_bytes(target, html.encode("utf-8"))


def _pair(board: Leaderboard) -> tuple[str, str] | None:
    """A metric of simplicity and one that is not, if methods were judged by both."""
    judged = [title for title in board.metrics if board.table(title)]
    simple = [title for title in judged if board.metrics[title].name in SIMPLICITY]
    others = [title for title in judged if title not in simple]
    pair = (simple[0], others[0]) if simple and others else None
    if pair and {row.title for row in board.table(pair[0])}.isdisjoint(
        row.title for row in board.table(pair[1])
    ):
        return None
    return pair


def _tradeoff(board: Leaderboard, x: str, y: str) -> Drawing:
    return Drawing.of(
        lambda dark: _figure(tradeoff(board, x, y, dark=dark)),
        alt=f"{y} against {x}: {agreement(board, x, y)}",
    )


def _figure(axes: Axes) -> Figure:
    figure = axes.figure
    return figure if isinstance(figure, Figure) else figure.figure


def _table(board: Leaderboard, metric: str) -> Table:
    rows, made = board.table(metric), board.metrics[metric]
    low, high = _span(rows)
    random = board.standings[-1].title
    means = {row.title: row.measurement.mean for row in rows}

    def place(value: float) -> float:
        return 100 * (value - low) / (high - low)

    return Table(
        title=heading(board, metric),
        answers=made.answers,
        weakness=made.weakness,
        options=repr(made),
        test=all_alike(board, metric),
        rows=[_row(row, place, row.title == random) for row in rows],
        zero=place(0),
        random=place(means[random]) if math.isfinite(means.get(random, math.nan)) else None,
        ranked=any(math.isfinite(row.rank) for row in rows),
        curves=_curves(board, metric),
        notes=tuple(remarks(board, metric)),
    )


def _span(rows: Sequence[Entry]) -> tuple[float, float]:
    """From where to where the bars of a table go, with zero among it."""
    ends = [0.0]
    for row in rows:
        ends += [e for e in (row.measurement.mean, *row.interval) if math.isfinite(e)]
    low, high = min(ends), max(ends)
    return (low, high) if high > low else (0.0, 1.0)


def _row(row: Entry, place: Any, is_zero: bool) -> Row:
    mean = row.measurement.mean
    known = math.isfinite(mean)
    ends = [place(end) for end in row.interval] if math.isfinite(row.interval[0]) else []
    left, right = sorted((place(0), place(mean))) if known else (0.0, 0.0)
    words = {"better": "better", "worse": "worse", "alike": "not told apart"}
    return Row(
        title=row.title,
        mean=significant(mean) if known else "not defined",
        interval=_interval(row.interval),
        gain=_gain(row.gain),
        gain_interval=_interval(row.gain_interval),
        against=", ".join(filter(None, (words.get(row.against, ""), chance(row.chance)))),
        rank=f"{row.rank:.2f}" if math.isfinite(row.rank) else PLAIN,
        groups=row.groups,
        is_zero=is_zero,
        left=left,
        width=right - left,
        whisker=(ends[0], ends[1] - ends[0]) if ends else None,
    )


def _interval(ends: tuple[float, float]) -> str:
    return f"{_short(ends[0])} to {_short(ends[1])}" if all(map(math.isfinite, ends)) else PLAIN


def _short(value: float) -> str:
    return f"{value:.3g}".replace("-", MINUS)


def _gain(value: float) -> str:
    return f"{value:+.3g}".replace("-", MINUS) if math.isfinite(value) else PLAIN


def _curves(board: Leaderboard, metric: str) -> list[Drawing]:
    """The curves that a metric was computed from, those of all methods in one drawing."""
    named = {name: each for name, each in board.measured(metric).items() if each.curves}
    if any(CHANCE in each.curves for each in named.values()) and len(named) > 1:
        named.pop(board.standings[-1].title, None)  # they have the line of chance already
    found, titles = list(named.values()), list(named)
    if not found:
        return []
    layered = bool(next(iter(found[0].curves.values())).ticks)
    draw: Callable[..., Axes] = cascade if layered else curves
    drawing = Drawing.of(
        lambda dark: _figure(draw(found, titles=titles, dark=dark, title=metric)),
        alt=f"{metric}: the curves of all methods",
    )
    return [drawing]


def _costs(board: Leaderboard) -> list[tuple[str, ...]]:
    """What each method cost: of explaining, and of being judged by all metrics."""
    found: list[tuple[str, ...]] = []
    for each in board.standings:
        if each.failure:
            continue
        judged = each.measurements.values()
        found.append((
            each.title,
            f"{each.evaluations.forward:,}",
            f"{each.evaluations.backward:,}",
            seconds(each.seconds),
            f"{sum(one.evaluations.forward + one.evaluations.backward for one in judged):,}",
            seconds(sum(one.seconds for one in judged)),
        ))  # fmt: skip
    return found
