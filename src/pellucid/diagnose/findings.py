"""What a diagnosis found, in words that are made from its numbers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scipy import stats
from torch import Tensor

if TYPE_CHECKING:
    from pellucid.diagnose.noise import NoiseDiagnosis

# A single number lies beyond draws that would hold another of them with this probability.
SURE = 0.95
# The very elements count, and not their neighborhood, if the pattern loses more than this part of
# what it is worth above random ones when it is moved a little.
EXACT = 0.5
# A map has become another one where it is correlated with itself by less than this, while the
# score has changed by no more than so much of its rise above the baseline.
ANOTHER = 0.5
SAME_SCORE = 0.1
# A score is saturated if it has made so much of its way before the middle of the line.
MOST = 0.9
MIDDLE = 0.5

DRAWS = " ± {:.2g}"


def findings(found: "NoiseDiagnosis", row: int) -> tuple[str, ...]:
    """One paragraph for each question, and what follows for the map first."""
    return (_summary(found, row), _removed(found, row), _moved(found, row), _crossed(found, row),
            _walked(found, row))  # fmt: skip


# -- verdicts


def matters(found: "NoiseDiagnosis", row: int, method: int) -> str:
    """What the strongest elements of a map are worth: "exact", "place" or "chance"."""
    part = found.removal
    area = float(part.strongest[row, method].mean())
    random, moved = part.random[row].mean(1), part.moved[row, method].mean(1)
    if not beyond(area, random):
        return "chance"
    if bool(moved.isnan().any()):
        return "exact"
    lost = (area - float(moved.mean())) / (area - float(random.mean()))
    return "exact" if beyond(area, moved) and lost > EXACT else "place"


def beyond(value: float, draws: Tensor) -> bool:
    """Whether a number is larger than another draw would be, by Student's t.

    >>> import torch
    >>> beyond(2.0, torch.tensor([0.9, 1.0, 1.1])), beyond(1.2, torch.tensor([0.9, 1.0, 1.1]))
    (True, False)
    """
    count = len(draws)
    width = float(stats.t.ppf((1 + SURE) / 2, count - 1)) * (1 + 1 / count) ** 0.5
    rounding = 1e-6 * (abs(value) + float(draws.abs().max()))
    return value > float(draws.mean()) + width * float(draws.std()) + rounding


def jumps(found: "NoiseDiagnosis", row: int, method: int) -> bool:
    """Whether a map becomes another one before the score changes much."""
    means = found.decay.correlation[row, method, 0].mean(0)
    return bool(means[steady(found, row)] < ANOTHER)


def steady(found: "NoiseDiagnosis", row: int) -> int:
    """The last distance at which the score is nearly the same; the first if there is none."""
    rise = found.saturation.scores[row, -1] - found.saturation.scores[row, 0]
    change = found.decay.change[row].abs().mean(0)
    near = (change <= SAME_SCORE * rise.abs()).nonzero()
    return int(near[-1]) if len(near) else 0


def saturated(found: "NoiseDiagnosis", row: int) -> bool:
    """Whether the score has made most of its way before the middle of the line."""
    return bool(found.saturation.reaches(MOST)[row] < MIDDLE)


# -- sentences


def _summary(found: "NoiseDiagnosis", row: int) -> str:
    """Which of the hypotheses holds for each map."""
    parts = []
    for m, name in enumerate(found.names):
        causes = list(_causes(found, row, m))
        parts.append(f"{name}: {', and '.join(causes)}")
    return "In short, " + "; ".join(parts) + "."


def _causes(found: "NoiseDiagnosis", row: int, m: int) -> Iterator[str]:
    what = found.removal.what
    yield {
        "exact": f"its scattered {what} matter, these and not others",
        "place": f"the places that it marks matter, but not these very {what}",
        "chance": f"its strongest {what} matter no more than random ones{_only(found, row, m)}",
    }[matters(found, row, m)]
    if jumps(found, row, m):
        yield "it jumps while the score stays"
    if saturated(found, row) and found.sensitive[m]:
        yield "it shows what is left of a saturated score"


def _only(found: "NoiseDiagnosis", row: int, m: int) -> str:
    """From which fraction on the strongest matter after all."""
    part = found.removal
    steps = range(len(part.fractions))
    more = [beyond(float(part.strongest[row, m, k]), part.random[row, :, k]) for k in steps]
    first = next((k for k in steps if all(more[k:])), None)
    if first is None:
        return ""
    return f" until {100 * float(part.fractions[first]):.2g} % are removed"


def _removed(found: "NoiseDiagnosis", row: int) -> str:
    part = found.removal
    low, high = (f"{float(end):.2g}" for end in (100 * part.fractions[0], 100 * part.fractions[-1]))
    random = part.random[row].mean(1)
    text = (
        f"Do the scattered {part.what} matter? On average over the removal of {low} to {high} % of "
        f"them (replaced by {part.by}) the score of {float(found.score[row]):.3g} drops by "
        f"{_spread(random)} for random ones;"
    )
    return text + " " + "; ".join(_removed_by(found, row, m) for m in range(len(found.names))) + "."


def _removed_by(found: "NoiseDiagnosis", row: int, m: int) -> str:
    part = found.removal
    text = f"by {float(part.strongest[row, m].mean()):.3g} for the strongest of {found.names[m]}"
    moved = part.moved[row, m].mean(1)
    if bool(moved.isnan().any()):
        return text
    smooth = float(part.smoothed[row, m].mean())
    return (
        f"{text}, {_spread(moved)} for the same pattern moved a little, and {smooth:.3g} for the "
        "strongest of the smoothed map"
    )


def _moved(found: "NoiseDiagnosis", row: int) -> str:
    part, k = found.decay, steady(found, row)
    percent = 100 * float(part.distances[k])
    change = part.change[row, :, k].abs().mean()
    rise = found.saturation.scores[row, -1] - found.saturation.scores[row, 0]
    of_rise = f", {100 * float(change / rise.abs()):.2g} % of its rise" if rise != 0 else ""
    each = [
        f"{name} {_correlated(part.correlation[row, m, 0, :, k])}{_deeper(found, row, m, k)}"
        for m, name in enumerate(found.names)
    ]
    return (
        f"Do the maps jump? Noise of {percent:.2g} % of the range of the input changes the score "
        f"by {float(change):.2g}{of_rise}. The maps before and after are correlated by: "
        f"{'; '.join(each)}."
    )


def _correlated(draws: Tensor) -> str:
    if bool(draws.isnan().any()):
        return "not defined (a constant map)"
    return f"{float(draws.mean()):.2f} ± {float(draws.std()):.2f}"


def _deeper(found: "NoiseDiagnosis", row: int, m: int, k: int) -> str:
    """The same at layers, from the first to the last."""
    part = found.decay
    means = part.correlation[row, m, 1:, :, k].mean(1)
    told = [
        f"{float(mean):.2f} at {path}"
        for mean, path in zip(means, part.layers[1:], strict=True)
        if bool(mean.isfinite())
    ]
    return f" ({', '.join(told)})" if told else ""


def _crossed(found: "NoiseDiagnosis", row: int) -> str:
    part = found.regions
    percent = f"{100 * float(part.distances[-1]):.2g} %"
    if part.units == 0 and part.smooth:
        return (
            "How many linear regions are on the way? None: the program has no kinks, and "
            f"{_listed(part.smooth)} bend it smoothly."
        )
    count, switches = part.count[row, :, -1].double(), part.switches[row, :, -1].double()
    many = f"{_mean(switches)} of {part.units:,} units with a kink change sides, at the least"
    if bool(part.exact[row].all()):
        end = f"{_mean(count)}; {many.removesuffix(', at the least')}"
    elif part.smooth:
        end = (
            f"{many}; what lies between is not linear, since {_listed(part.smooth)} bend the "
            "program smoothly"
        )
    else:
        each = ", one for each point that was looked at" if _all_differ(found, row) else ""
        end = f"at least {_mean(count)}{each}; {many}, each at a boundary between two"
    return f"How many linear regions are on the way? Up to noise of {percent}, {end}."


def _all_differ(found: "NoiseDiagnosis", row: int) -> bool:
    """Whether no two points of a line lie in the same region."""
    part = found.regions
    return bool((part.count[row, :, -1] == 1 + len(part.distances)).all())


def _walked(found: "NoiseDiagnosis", row: int) -> str:
    part = found.saturation
    start, end = (float(part.scores[row, i]) for i in (0, -1))
    if start == end:
        return (
            "Is the score saturated? It is the same at the baseline and at the input, "
            f"{end:.3g}, so that nothing can be said."
        )
    text = (
        f"Is the score saturated? From the baseline, {start:.3g}, to the input, {end:.3g}, it has "
        f"made half of its way at {float(part.reaches(0.5)[row]):.0%} and {MOST:.0%} of it at "
        f"{float(part.reaches(MOST)[row]):.0%} of the line. The gradient at the input accounts for "
        f"{float(part.carried[row]):.0%} of the rise (all of it, were the score linear)."
    )
    lines = [
        f" The map of {name} is {_longest(found, row, m)}{_sum(found, row, m)}."
        for m, name in enumerate(found.names)
    ]
    return text + "".join(lines)


def _longest(found: "NoiseDiagnosis", row: int, m: int) -> str:
    part = found.saturation
    sizes = part.sizes[row, m]
    longest = int(sizes.argmax())
    alpha = f"{float(part.alphas[longest]):.0%}"
    if float(sizes[longest]) == 0:
        return "zero on all of the line"
    half = float(part.lengths_before()[row, m, int((part.alphas - MIDDLE).abs().argmin())])
    where = "longest at the input" if longest == len(sizes) - 1 else (
        f"longest at {alpha} of the line, {float(sizes[longest] / sizes[-1]):.2g} times as long as "
        "at the input"
    )  # fmt: skip
    return f"{where}; {half:.0%} of its length lies in the first half"


def _sum(found: "NoiseDiagnosis", row: int, m: int) -> str:
    part = found.saturation
    total, expected = float(part.sums[row, m, -1]), float(part.expected[row, m])
    if total != total:  # not a number: it shares no score
        return ""
    return f", and its values sum to {total:.3g} of {expected:.3g}"


def _spread(draws: Tensor) -> str:
    """Mean and deviation of draws."""
    return f"{float(draws.mean()):.3g}" + DRAWS.format(float(draws.std()))


def _mean(draws: Tensor) -> str:
    """The mean of whole numbers, with their deviation where they differ."""
    mean, spread = float(draws.mean()), float(draws.std())
    if spread == 0:
        return f"{mean:,.0f}"
    return f"{mean:,.1f} ± {spread:,.1f}" if mean < 100 else f"{mean:,.0f} ± {spread:,.0f}"


def _listed(names: tuple[str, ...]) -> str:
    shown = [f"`{name}`" for name in names[:3]]
    return ", ".join(shown) + (", ..." if len(names) > 3 else "")
