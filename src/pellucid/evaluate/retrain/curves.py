"""What a run has found: accuracies by method, fraction and seed, and what they say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pellucid.errors import UnknownNameError
from pellucid.method import Method

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

RANDOM = "random"
LEVEL = 0.95


class Row(NamedTuple):
    """One training: its accuracy on the test set, or the `error` that ended it.

    There is no `rival` where nothing is removed.
    """

    rival: str | None
    fraction: float
    seed: int
    accuracy: float | None = None
    error: str = ""
    seconds: float = 0.0


class Estimate(NamedTuple):
    """A mean over seeds, and its interval at 95 % by Student's t; not numbers for one seed."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of zero, else 0."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RetrainCurves:
    """How much models still learn from what methods leave of the data.

    `rivals` are the methods by their labels, and the random ranking; `rows` are all trainings, with
    accuracies on so many `samples` (0: not known), `before` the accuracies of the first model on
    the same inputs without training again, and `leaks` those of models that are shown the pattern
    of what is removed and nothing else. Of `proxies`, metrics that need no training, each row has
    the mean over samples.
    """

    rivals: Mapping[str, Method]
    rows: tuple[Row, ...]
    before: tuple[Row, ...]
    percentages: tuple[float, ...]
    seeds: tuple[int, ...]
    keep: bool = False
    samples: int = 0
    leaks: tuple[Row, ...] = ()
    proxies: tuple[Mapping[str, Any], ...] = ()
    better: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def accuracies(self, rival: str | None, fraction: float = 0.0) -> dict[int, float]:
        """The accuracy of each seed's model; of a fraction of nothing that on whole data."""
        wanted = (None, 0.0) if fraction == 0 else (rival, fraction)
        return {
            row.seed: row.accuracy
            for row in self.rows
            if (row.rival, row.fraction) == wanted and row.accuracy is not None
        }

    def curve(self, rival: str) -> tuple[list[float], list[Estimate]]:
        """The accuracy after each fraction, from nothing on."""
        self._check(rival)
        steps = [0.0, *self.percentages]
        found = [list(self.accuracies(rival, x).values()) for x in steps]
        return steps, [self._estimate(each) for each in found]

    def curve_before(self, rival: str) -> tuple[list[float], list[float]]:
        """The accuracy of the first model, not trained again, after each fraction."""
        self._check(rival)
        steps = [0.0, *self.percentages]
        found = {r.fraction: r.accuracy for r in self.before if r.rival == rival}
        found[0.0] = self.accuracies(None).get(self.seeds[0])
        return steps, [_or_nan(found.get(x)) for x in steps]

    def gain(self, rival: str, fraction: float | None = None) -> Estimate:
        """How much better than the random ranking, in accuracy: above zero is better.

            mean over fractions of A_random - A_rival      (removed; the negative where kept)

        Models of one seed start alike and see the samples in the same order, so the difference is
        taken for each seed. `fraction` is one of them, or all.
        """
        self._check(rival)
        steps = self.percentages if fraction is None else (fraction,)
        found = []
        for seed in self.seeds:
            pairs = [
                (self.accuracies(RANDOM, x).get(seed), self.accuracies(rival, x).get(seed))
                for x in steps
            ]
            drops = [a - b for a, b in pairs if a is not None and b is not None]
            if drops and len(drops) == len(steps):
                found.append((-1 if self.keep else 1) * sum(drops) / len(drops))
        return self._estimate(found, math.sqrt(2 / len(steps)))

    def leak(self, rival: str) -> float:
        """The mean accuracy over the fractions of models that see only the pattern of removal."""
        self._check(rival)
        own = [r.accuracy for r in self.leaks if r.rival == rival and r.accuracy is not None]
        return float(np.mean(own)) if own else math.nan

    @property
    def varies(self) -> bool:
        """Whether any training came out otherwise with another seed; else seeds tell no chance."""
        return varied(self.rows)

    def _estimate(self, values: Sequence[float], scale: float = 1.0) -> Estimate:
        """A mean over seeds, which count as one where they decide nothing.

        Accuracies on n samples are rounded to 1 / n, which is a deviation of 1 / (n sqrt(12)), and
        of what is made of several the `scale` times that: if few of them agree by chance, they do
        not deviate less.
        """
        least = scale / (self.samples * math.sqrt(12)) if self.samples else 0.0
        return estimate(values if self.varies else values[:1], least)

    @property
    def methods(self) -> list[str]:
        """The labels of the methods, without the random ranking."""
        return [label for label in self.rivals if label != RANDOM]

    @property
    def failures(self) -> list[Row]:
        """The trainings without an accuracy, with the reason."""
        return [row for row in self.rows if row.error]

    def verdicts(self, fraction: float | None = None) -> tuple[str, ...]:
        """One sentence for each method: whether it finds more of what matters than chance."""
        ordered = sorted(self.methods, key=lambda each: -_or_low(self.gain(each, fraction).mean))
        return tuple(self._verdict(each, fraction) for each in ordered)

    def _verdict(self, rival: str, fraction: float | None) -> str:
        found = self.gain(rival, fraction)
        if not found.seeds:
            errors = [row.error for row in self.failures if row.rival == rival]
            return f"{rival}: no accuracy to compare ({errors[0] if errors else 'not trained'})."
        where = "on average" if fraction is None else f"at {fraction:.0%}"
        side = "above" if (found.mean < 0) != self.keep else "below"
        said = f"accuracy {where} {abs(found.mean) * 100:.1f} points {side} random ranking"
        if found.seeds == 1:
            why = "one seed says not" if self.varies else "seeds that change nothing say not"
            return f"{rival}: {said}; {why} whether by chance."
        low, high = sorted((abs(found.low), abs(found.high)))
        if not found.sign:
            return f"{rival}: not told apart from a random ranking ({said}, {found.seeds} seeds)."
        word = "better" if found.sign > 0 else "worse"
        return (
            f"{rival}: {word} than a random ranking ({said}, 95 % interval {low * 100:.1f} to "
            f"{high * 100:.1f}, {found.seeds} seeds)."
        )

    def agreement(self) -> "pd.DataFrame":
        """How far cheap proxies rank the methods as retraining does: Kendall's tau, -1 to 1.

        One row a proxy, and one for the first model without training again: `tau`, its
        probability `chance` if there is no relation, and the number of `methods`.
        """
        import pandas as pd

        columns = {"without retraining": {each: self._before_gain(each) for each in self.methods}}
        for row in self.proxies:
            sign = -1 if self.better[row["proxy"]] == "lower" else 1
            columns.setdefault(row["proxy"], {})[row["rival"]] = sign * _or_nan(row["value"])
        truth = {each: self.gain(each).mean for each in self.methods}
        rows = [{"proxy": name, **_kendall(truth, found)} for name, found in columns.items()]
        return pd.DataFrame(rows)

    def _before_gain(self, rival: str) -> float:
        _, own = self.curve_before(rival)
        _, chance = self.curve_before(RANDOM)
        drop = float(np.mean(np.subtract(chance[1:], own[1:])))
        return -drop if self.keep else drop

    def to_frame(self) -> "pd.DataFrame":
        """One row a training: method, fraction, seed, retrained, accuracy, error, seconds."""
        import pandas as pd

        parts = [(row, True) for row in self.rows] + [(row, False) for row in self.before]
        return pd.DataFrame([
            {
                "method": row.rival or "nothing removed",
                "fraction": row.fraction,
                "seed": row.seed,
                "retrained": retrained,
                "accuracy": _or_nan(row.accuracy),
                "error": row.error,
                "seconds": row.seconds,
            }
            for row, retrained in parts
        ])  # fmt: skip

    def table(self) -> "pd.DataFrame":
        """One row a method, the best first: its gain over the random ranking, and the proxies."""
        import pandas as pd

        rows = []
        for rival in self.methods:
            found = self.gain(rival)
            own = {r["proxy"]: _or_nan(r["value"]) for r in self.proxies if r["rival"] == rival}
            rows.append(
                {
                    "method": rival,
                    "gain": found.mean,
                    "low": found.low,
                    "high": found.high,
                    "seeds": found.seeds,
                    "gain without retraining": self._before_gain(rival),
                    **({"by the pattern alone": self.leak(rival)} if self.leaks else {}),
                    **own,
                }
            )
        return pd.DataFrame(rows).sort_values("gain", ascending=False, ignore_index=True)

    def plot(self, ax: "Axes | None" = None, *, before: bool = True, dark: bool = False) -> "Axes":
        """Draw accuracy over the fraction, with bands over seeds: see `plot.retrain`."""
        from pellucid.plot.retrain import draw_retrain

        return draw_retrain(self, ax, before=before, dark=dark)

    def _said_beside(self) -> list[str]:
        """What the pattern alone tells, and how far proxies agree, in words."""
        found = [f"{each} {self.leak(each):.1%}" for each in self.rivals if self.leaks]
        lines = [f"  the pattern of what is removed alone is enough for: {', '.join(found)}"]
        taus = [row for row in self.agreement().to_dict("records") if math.isfinite(row["tau"])]
        said = [f"{row['proxy']} {row['tau']:.2f}" for row in taus]
        agreement = f"  rank agreement: {', '.join(said)} (Kendall's tau of {len(self.methods)})"
        return [*(lines if found else []), *([agreement] if said else [])]

    def _failed_beside(self) -> list[str]:
        """Which proxies and other comparisons there are not, and why; each once."""
        proxies = [f"{row['proxy']}: {row['error']}" for row in self.proxies if row["error"]]
        others = [
            *(f"without retraining: {row.error}" for row in self.before if row.error),
            *(f"by the pattern alone: {row.error}" for row in self.leaks if row.error),
        ]
        return list(dict.fromkeys([*proxies, *others]))

    def _check(self, rival: str) -> None:
        if rival not in self.rivals:
            raise UnknownNameError("A method of this run", rival, self.rivals)

    def __repr__(self) -> str:
        name = "Keep and retrain" if self.keep else "Remove and retrain"
        whole = self._estimate(list(self.accuracies(None).values()))
        lines = [
            f"{name}: {len(self.methods)} methods, {len(self.percentages)} fractions, "
            f"{len(self.seeds)} seeds",
            f"  accuracy on whole data {whole.mean:.1%}",
            *(f"  {each}" for each in self.verdicts()),
            *self._said_beside(),
            *(
                f"  failed  {row.rival} {row.fraction:.0%}: {row.error}"
                for row in self.failures[:3]
            ),
            *(f"  failed  {each}" for each in self._failed_beside()),
            *(f"  note    {each}" for each in self.notes),
        ]
        return "\n".join(lines)


def varied(rows: Sequence[Row]) -> bool:
    """Whether any training came out otherwise with another seed, or there is but one seed."""
    found: dict[tuple[str | None, float], set[float]] = {}
    for row in rows:
        if row.accuracy is not None:
            found.setdefault((row.rival, row.fraction), set()).add(row.accuracy)
    return len({row.seed for row in rows}) < 2 or any(len(each) > 1 for each in found.values())


def estimate(values: Sequence[float], least: float = 0.0) -> Estimate:
    """The mean of some numbers, which deviate by so much at least, and where that of many lies.

    >>> found = estimate([0.5, 0.6, 0.7])
    >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3)
    (0.6, 0.352, 0.848)
    """
    from scipy import stats

    count = len(values)
    if count < 2:
        return Estimate(values[0] if count else math.nan, math.nan, math.nan, count)
    mean = float(np.mean(values))
    deviation = max(least, float(np.std(values, ddof=1)))
    half = stats.t.ppf((1 + LEVEL) / 2, count - 1) * deviation / math.sqrt(count)
    return Estimate(mean, mean - float(half), mean + float(half), count)


def _kendall(truth: Mapping[str, float], found: Mapping[str, float]) -> dict[str, Any]:
    from scipy import stats

    kept = [
        each
        for each in truth
        if math.isfinite(truth[each]) and math.isfinite(found.get(each, math.nan))
    ]
    if len(kept) < 2:
        return {"tau": math.nan, "chance": math.nan, "methods": len(kept)}
    tau = stats.kendalltau([truth[k] for k in kept], [found[k] for k in kept])
    return {"tau": float(tau.statistic), "chance": float(tau.pvalue), "methods": len(kept)}


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _or_low(value: float) -> float:
    return value if math.isfinite(value) else -math.inf
