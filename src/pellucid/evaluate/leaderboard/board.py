"""The leaderboard: what metrics found for methods, and how far the order can be trusted."""

import dataclasses
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pellucid.errors import UnknownNameError
from pellucid.evaluate.leaderboard.statistics import Comparison, compared
from pellucid.evaluate.measurement import Measurement
from pellucid.evaluate.metric import Metric
from pellucid.explanation import Evaluations
from pellucid.method import Method

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LETTERS = string.ascii_letters


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """One method on a leaderboard: what each metric found, what it cost, and what went wrong.

    `measurements` and `failures` are by the titles of metrics; `failure` says why the method made
    no maps. `evaluations` and `seconds` are those of explaining all samples, of which the first
    method pays for what all share; a measurement has its own.
    """

    title: str
    method: Method
    measurements: dict[str, Measurement]
    failures: dict[str, str]
    failure: str = ""
    evaluations: Evaluations = Evaluations()  # noqa: RUF009  # immutable
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One row of the table of a metric: a method, its number, and its place among the others.

    `interval` is that of the mean, at 95 %; `gain` the mean difference to the random ranking on the
    same samples, and `gain_interval` its interval; `rank` the mean rank over the samples. `groups`
    are letters: two methods are not told apart if and only if they share one. `against` says
    whether the method is "better" or "worse" than the random ranking, or "alike", with the adjusted
    probability `chance`. Ranks and tests are left out where no direction is better.
    """

    title: str
    measurement: Measurement
    interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]
    rank: float = float("nan")
    groups: str = ""
    against: str = ""
    chance: float = float("nan")


@dataclass(frozen=True, kw_only=True, eq=False)
class Leaderboard:
    """Methods judged side by side by metrics, the random ranking among them as the last.

    `standings` are in the order of the methods, `metrics` are by title. `table` gives the rows of
    one metric in their order, `comparison` its ranks and tests; `verdicts` says it in sentences.
    """

    standings: tuple[Standing, ...]
    metrics: dict[str, Metric]
    samples: int
    notes: tuple[str, ...] = ()

    def named(self, metric: str | None = None) -> str:
        """The title of a metric on this board; the first, if none is named."""
        known = list(self.metrics)
        if metric is None:
            return known[0]
        if metric not in self.metrics:
            raise UnknownNameError("A metric of this leaderboard", metric, known)
        return metric

    def measured(self, metric: str | None = None) -> dict[str, Measurement]:
        """What a metric found, by the title of the method, in the order of the methods.

        `pellucid.plot.curves(list(board.measured(metric).values()))` draws the curves of all.
        """
        title = self.named(metric)
        found = {each.title: each.measurements for each in self.standings}
        return {name: each[title] for name, each in found.items() if title in each}

    def entrants(self, metric: str | None = None) -> dict[str, Measurement]:
        """Those of `measured` for which the metric is defined, on one sample at least."""
        return {name: each for name, each in self.measured(metric).items() if len(each.defined)}

    def comparison(self, metric: str | None = None) -> Comparison | None:
        """Ranks and tests of the methods that `entrants` gives, in that order.

        `None` for fewer than two methods, and where no direction is better.
        """
        return self._comparisons[self.named(metric)]

    @cached_property
    def _comparisons(self) -> dict[str, Comparison | None]:
        return {title: _compared(self.entrants(title)) for title in self.metrics}

    def table(self, metric: str | None = None) -> list[Entry]:
        """The methods in the order of a metric, the best first, with all that is known of each."""
        return self._tables[self.named(metric)]

    @cached_property
    def _tables(self) -> dict[str, list[Entry]]:
        return {title: self._table(title) for title in self.metrics}

    def _table(self, title: str) -> list[Entry]:
        found = self.measured(title)
        zero = found.get(self.standings[-1].title)
        entrants = list(self.entrants(title))
        places = _places(entrants, self.comparison(title), self.standings[-1].title)
        rows = [
            Entry(
                title=name,
                measurement=each,
                interval=each.interval(),
                **_gain(each, zero),
                **places.get(name, {}),
            )
            for name, each in found.items()
        ]
        lower = self.metrics[title].better == "lower"
        return sorted(rows, key=lambda row: _order(row.measurement.mean, lower))

    @property
    def failures(self) -> list[tuple[str, str, str]]:
        """What went wrong: method, metric (empty where there are no maps), and why."""
        found = []
        for each in self.standings:
            if each.failure:
                found.append((each.title, "", each.failure))
            found += [
                (each.title, metric, why)
                for metric, why in each.failures.items()
                if why != each.failure
            ]
        return found

    @property
    def verdicts(self) -> list[str]:
        """What the numbers say, in sentences: by each metric, which methods can be told apart."""
        from pellucid.evaluate.leaderboard.verdicts import verdict

        return [verdict(self, title) for title in self.metrics]

    def to_frame(self) -> "pd.DataFrame":
        """One row for each metric and method, the best first; failures have no numbers."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        cost = {each.title: each for each in self.standings}
        for title in self.metrics:
            for row in self.table(title):
                spent = cost[row.title]
                rows.append({
                    "metric": title,
                    "method": row.title,
                    "mean": row.measurement.mean,
                    "low": row.interval[0],
                    "high": row.interval[1],
                    "samples": len(row.measurement.defined),
                    "against_random": row.gain,
                    "against_random_low": row.gain_interval[0],
                    "against_random_high": row.gain_interval[1],
                    "rank": row.rank,
                    "groups": row.groups,
                    "p_random": row.chance,
                    "forward": spent.evaluations.forward,
                    "backward": spent.evaluations.backward,
                    "seconds": spent.seconds,
                    "failure": "",
                })  # fmt: skip
            rows += [
                {"metric": title, "method": each.title, "failure": each.failures[title]}
                for each in self.standings
                if title in each.failures
            ]
        return pd.DataFrame(rows)

    def plot(self, metric: str | None = None, ax: "Axes | None" = None, **options: Any) -> "Axes":
        """Draw the table of a metric as bars: see `pellucid.plot.leaderboard`."""
        from pellucid.plot.leaderboard import leaderboard

        return leaderboard(self, metric, ax, **options)

    def report(self, path: str | Path, **options: Any) -> Path:
        """Write the leaderboard as one HTML file: see `pellucid.report.write_board`."""
        from pellucid.report import write_board

        return write_board(path, self, **options)

    def __repr__(self) -> str:
        from pellucid.evaluate.leaderboard.verdicts import text

        return text(self)


def told_apart(things: Sequence[Method | Metric]) -> list[str]:
    """The registered name of each method or metric; of those used several times with what differs.

    >>> import pellucid as pl
    >>> told_apart([pl.Saliency(), pl.GradCAM(), pl.Saliency(reduce="squared")])
    ["saliency(reduce='signed')", 'gradcam', "saliency(reduce='squared')"]
    """
    names = [_title(each, things) for each in things]
    seen = [names[:place].count(name) + 1 for place, name in enumerate(names)]
    return [f"{name} {n}" if n > 1 else name for name, n in zip(names, seen, strict=True)]


def _title(thing: Method | Metric, things: Sequence[Method | Metric]) -> str:
    alike = [each for each in things if type(each) is type(thing)]
    differing = [
        f"{field.name}={getattr(thing, field.name)!r}"
        for field in dataclasses.fields(thing)
        if len({repr(getattr(each, field.name)) for each in alike}) > 1
    ]
    name = thing.name or type(thing).__name__
    return f"{name}({', '.join(differing)})" if differing else name


def _order(mean: float, lower: bool) -> tuple[bool, float]:
    """What rows are sorted by: those without a number are the last."""
    return (mean != mean, mean if lower else -mean)


def _compared(found: dict[str, Measurement]) -> Comparison | None:
    if len(found) < 2:
        return None
    metric = next(iter(found.values())).metric
    if metric.better == "neither":
        return None
    values = torch.stack([each.values for each in found.values()])
    return compared(values.numpy(), higher=metric.better == "higher")


def _gain(own: Measurement, zero: Measurement | None) -> dict[str, Any]:
    """The difference to the random ranking, on the same samples."""
    if zero is None or zero is own:
        nothing = float("nan")
        return {"gain": nothing, "gain_interval": (nothing, nothing)}
    paired = replace(own, values=own.values - zero.values)
    return {"gain": paired.mean, "gain_interval": paired.interval()}


def _places(names: list[str], found: Comparison | None, zero: str) -> dict[str, dict[str, Any]]:
    """Rank, letters of groups, and the test against the random ranking, of each method."""
    if found is None or not found.samples:
        return {name: {} for name in names}
    letters = {
        place: "".join(
            LETTERS[number % len(LETTERS)]
            for number, group in enumerate(found.groups)
            if place in group
        )
        for place in range(len(names))
    }
    made = {}
    for place, name in enumerate(names):
        made[name] = {"rank": float(found.ranks[place]), "groups": letters[place]}
        if zero in names and name != zero:
            made[name] |= _against(found, place, names.index(zero))
    return made


def _against(found: Comparison, own: int, zero: int) -> dict[str, Any]:
    """What a test says of a method and the random ranking."""
    said = "better" if found.beats(own, zero) else "worse" if found.beats(zero, own) else "alike"
    return {"against": said, "chance": float(found.pairs[own, zero])}
