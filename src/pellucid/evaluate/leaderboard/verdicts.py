"""A leaderboard in words: one sentence for each metric, and a table for the terminal."""

import math
from collections.abc import Iterable, Sequence

from pellucid.evaluate.leaderboard.board import Entry, Leaderboard
from pellucid.evaluate.leaderboard.statistics import Comparison


def verdict(board: Leaderboard, metric: str) -> str:
    """What a metric says of the methods: which is best, what chance explains, who beats chance."""
    rows = board.table(metric)
    better = board.metrics[metric].better
    if not rows:
        return f"{metric}: no method could be judged."
    if better == "neither":
        return f"{metric} only describes: from {_range(rows)}."
    found = board.comparison(metric)
    ranked = [row for row in rows if math.isfinite(row.measurement.mean)]
    if found is None or found.samples < 2 or not ranked:
        return f"{metric}: too few samples or methods to compare."
    names = list(board.entrants(metric))
    chances = "" if len(found.groups) == 1 else _by_chance(ranked)
    return f"By {metric} ({better} is better), {_first(ranked, found, names)}{chances}."


def _range(rows: Sequence[Entry]) -> str:
    means = sorted((row.measurement.mean, row.title) for row in rows)
    (low, first), (high, last) = means[0], means[-1]
    return f"{low:.3g} ({first}) to {high:.3g} ({last})"


def _first(rows: Sequence[Entry], found: Comparison, names: list[str]) -> str:
    """Who has the best mean, whom it is not told apart from, and who is still ahead by ranks."""
    best, others = rows[0], [row.title for row in rows[1:]]
    place = {name: number for number, name in enumerate(names)}
    own = place[best.title]
    low, high = best.interval
    said = (
        f"{best.title} is first with {best.measurement.mean:.3g} "
        f"(95 % interval {low:.3g} to {high:.3g})"
    )
    ahead = [name for name in others if found.beats(place[name], own)]
    alike = [name for name in others if not found.differ(own, place[name])]
    if found.samples < found.needed:
        few = f"{found.samples} samples are too few to tell methods apart"
        return f"{said}, but {few}: at least {found.needed} are needed for so many methods"
    if len(found.groups) == 1:
        return f"{said}, but on {found.samples} samples no methods are told apart"
    if ahead:
        said += f", though {listed(ahead)} {'ranks' if len(ahead) == 1 else 'rank'} better"
    if alike:
        return f"{said}, and is not told apart from {listed(alike)}"
    return said if ahead else f"{said}, ahead of all others"


def _by_chance(rows: Sequence[Entry]) -> str:
    """Which methods do not do better than a random ranking."""
    alike = [row.title for row in rows if row.against == "alike"]
    worse = [row.title for row in rows if row.against == "worse"]
    said = f"; not told apart from a random ranking: {listed(alike)}" if alike else ""
    return f"{said}; worse than a random ranking: {listed(worse)}" if worse else said


def listed(names: Iterable[str]) -> str:
    """Names in a row.

    >>> listed("abc"), listed("a")
    ('a, b and c', 'a')
    """
    found = list(names)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"


def chance(found: float) -> str:
    """A probability of a test in words.

    >>> chance(0.0321), chance(0.00001), chance(float("nan"))
    ('p = 0.032', 'p < 0.001', '')
    """
    if not math.isfinite(found):
        return ""
    return "p < 0.001" if found < 0.001 else f"p = {found:.2g}"


def heading(board: Leaderboard, metric: str) -> str:
    """The title of the table of a metric: which direction is better."""
    better = board.metrics[metric].better
    return f"{metric} ({'describes' if better == 'neither' else f'{better} is better'})"


def all_alike(board: Leaderboard, metric: str) -> str:
    """What the test of all methods says, if it was made."""
    found = board.comparison(metric)
    said = chance(found.friedman) if found is not None else ""
    if found is None or not said:
        return ""
    return f"Friedman's test that all are alike, on {found.samples} samples: {said}."


def remarks(board: Leaderboard, metric: str) -> list[str]:
    """Of how many samples means are, where these are not all, and what the metric notes."""
    found = board.measured(metric)
    few = [
        f"{name} is judged on {len(each.defined)} of {board.samples} samples, on which the metric "
        "is defined."
        for name, each in found.items()
        if len(each.defined) < board.samples
    ]
    return few + list(dict.fromkeys(note for each in found.values() for note in each.notes))


def text(board: Leaderboard) -> str:
    """The tables of all metrics, costs and failures, as lines of text."""
    methods = len(board.standings) - 1
    lines = [
        f"Leaderboard of {methods} method{'s' if methods > 1 else ''} and a random ranking, "
        f"{board.samples} samples"
    ]
    for metric in board.metrics:
        said = [all_alike(board, metric), *remarks(board, metric)]
        lines += ["", f"  {heading(board, metric)}", *_table(board.table(metric))]
        lines += [f"    {each}" for each in said if each]
    lines += ["", "  cost of the explanations", *_costs(board)]
    if board.failures:
        lines += ["", "  failed"]
        lines += [f"    {m}{f', {k}' if k else ''}: {why}" for m, k, why in board.failures]
    notes = [f"{each.title}: {note}" for each in board.standings for note in each.notes]
    if notes or board.notes:
        lines += ["", "  notes", *(f"    {note}" for note in (*board.notes, *notes))]
    return "\n".join(lines)


def _table(rows: Sequence[Entry]) -> list[str]:
    head = ("method", "mean", "95 % interval", "rank", "groups", "minus random", "p")
    found = [
        (
            row.title,
            f"{row.measurement.mean:.4g}" if math.isfinite(row.measurement.mean) else "not defined",
            _interval(row.interval),
            f"{row.rank:.2f}" if math.isfinite(row.rank) else "",
            row.groups,
            f"{row.gain:+.3g}" if math.isfinite(row.gain) else "",
            chance(row.chance).removeprefix("p ").removeprefix("= "),
        )
        for row in rows
    ]
    return _aligned(head, found)


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4g} to {ends[1]:.4g}" if all(map(math.isfinite, ends)) else ""


def _costs(board: Leaderboard) -> list[str]:
    found = [
        (
            each.title,
            str(each.evaluations.forward),
            str(each.evaluations.backward),
            f"{each.seconds:.2f}",
        )
        for each in board.standings
        if not each.failure
    ]
    return _aligned(("method", "forward", "backward", "seconds"), found)


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of text, the first to the left and all others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "    "
        + "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [head, *rows]
    ]
