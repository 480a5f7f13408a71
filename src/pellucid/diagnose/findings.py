"""What a diagnosis found, in words that are made from its numbers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from pellucid.diagnose.noise import NoiseDiagnosis

# A number lies beyond draws of which no larger part than this is larger.
RARE = 0.05
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

# Maps whose lengths differ by less than this part are as long.
SAME_LENGTH = 0.05
# A part of a whole that is larger is told as its multiple.
MANY = 10


def findings(found: "NoiseDiagnosis", row: int) -> tuple[str, ...]:
    """One paragraph for each question, and what follows for the map first."""
    return (_summary(found, row), _removed(found, row), _moved(found, row), _crossed(found, row),
            _walked(found, row))  # fmt: skip


# -- verdicts


def matters(found: "NoiseDiagnosis", row: int, method: int) -> str:
    """What the strongest elements of a map are worth: "exact", "place", "more" or "chance".

    Where there are no neighbors to compare with, they are worth "more" than random ones or not.
    """
    part = found.removal
    area = float(part.strongest[row, method].mean())
    random, moved = part.random[row].mean(1), part.moved[row, method].mean(1)
    if not beyond(area, random):
        return "chance"
    if bool(moved.isnan().any()):
        return "more"
    lost = (area - float(moved.mean())) / (area - float(random.mean()))
    return "exact" if beyond(area, moved) and lost > EXACT else "place"


def beyond(value: float, draws: Tensor) -> bool:
    """Whether a number is above the mean of draws, of which at most one in twenty is larger.

    It goes by their ranks, since draws may be of any distribution: of two values, for example,
    where one element is worth all.

    >>> import torch
    >>> beyond(1.2, torch.tensor([0.9, 1.0, 1.1])), beyond(1.0, torch.tensor([0.9, 1.0, 1.1]))
    (True, False)
    """
    rounding = 1e-6 * (abs(value) + float(draws.abs().max()))
    larger = float((draws > value + rounding).double().mean())
    return value > float(draws.mean()) + rounding and larger <= RARE


def jumps(found: "NoiseDiagnosis", row: int, method: int) -> bool:
    """Whether a map becomes another one before the score changes much; not where it always does."""
    last = steady(found, row)
    means = found.decay.correlation[row, method, 0].mean(0)
    return last is not None and bool(means[last] < ANOTHER)


def steady(found: "NoiseDiagnosis", row: int) -> int | None:
    """The last distance up to which the score is nearly the same, `None` if it is at none."""
    change = found.decay.change[row].abs().mean(0)
    near = change <= SAME_SCORE * _rise(found, row).abs()
    return int(near.cumprod(0).sum()) - 1 if bool(near[0]) else None


def _rise(found: "NoiseDiagnosis", row: int) -> Tensor:
    """How far the score rises from the baseline to the input."""
    return found.saturation.scores[row, -1] - found.saturation.scores[row, 0]


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
        "more": f"its strongest {what} matter more than random ones",
        "chance": f"its strongest {what} are not told apart from random ones by {_drawn(found)}"
        f"{_only(found, row, m)}",
    }[matters(found, row, m)]
    if jumps(found, row, m):
        yield "it jumps while the score stays"
    if saturated(found, row) and found.sensitive[m]:
        yield "it shows what is left of a saturated score"


def _drawn(found: "NoiseDiagnosis") -> str:
    """How many random orders there were."""
    part = found.removal
    return f"all {part.random.shape[1]} orders" if part.complete else (
        f"{part.random.shape[1]} draws"
    )  # fmt: skip


def _only(found: "NoiseDiagnosis", row: int, m: int) -> str:
    """From which fraction on the strongest matter after all."""
    part = found.removal
    steps = range(len(part.fractions))
    more = [beyond(float(part.strongest[row, m, k]), part.random[row, :, k]) for k in steps]
    first = next((k for k in steps if all(more[k:])), None)
    if first is None:
        return ""
    return f" until {_percent(part.fractions[first])} are removed"


def _removed(found: "NoiseDiagnosis", row: int) -> str:
    part = found.removal
    low, high = (_short(100 * float(part.fractions[i]), 2) for i in (0, -1))
    several = len(part.fractions) > 1
    over = f"On average over the removal of {low} to" if several else "By the removal of"
    text = (
        f"Do the scattered {part.what} matter? {over} {high} % of them (replaced by {part.by}) the "
        f"score of {_short(found.score[row])} drops by {_spread(part.random[row].mean(1))} for "
        "random ones;"
    )
    return text + " " + "; ".join(_removed_by(found, row, m) for m in range(len(found.names))) + "."


def _removed_by(found: "NoiseDiagnosis", row: int, m: int) -> str:
    part = found.removal
    text = f"by {_short(part.strongest[row, m].mean())} for the strongest of {found.names[m]}"
    moved = part.moved[row, m].mean(1)
    if bool(moved.isnan().any()):
        return text
    return (
        f"{text}, {_spread(moved)} for the same pattern moved a little, and "
        f"{_short(part.smoothed[row, m].mean())} for the strongest of the smoothed map"
    )


def _moved(found: "NoiseDiagnosis", row: int) -> str:
    part, last, rise = found.decay, steady(found, row), _rise(found, row).abs()
    k = last or 0
    change = part.change[row, :, k].abs().mean()
    of_rise = f", {_part(change / rise, 'its rise')}" if rise > 0 else ""
    each = [
        f"{name} {_correlated(part.correlation[row, m, 0, :, k])}{_deeper(found, row, m, k)}"
        for m, name in enumerate(found.names)
    ]
    return (
        "Do the maps jump? "
        + (
            "At no distance does the score stay, so that this is not known. "
            if last is None
            else ""
        )
        + f"Noise of {_percent(part.distances[k])} of the range of the input changes the score by "
        f"{_short(change, 2)}{of_rise}. The maps before and after are correlated by: "
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
    bends = f"bends smoothly or has kinks that are not counted ({_listed(part.uncounted)})"
    if part.units == 0 and part.uncounted:
        return (
            "How many linear regions are on the way? This is not known: all of the program that is "
            f"not linear {bends}."
        )
    count, switches = part.count[row, :, -1].double(), part.switches[row, :, -1].double()
    many = f"{_mean(switches)} of {part.units:,} units with a kink change sides, at the least"
    if bool(part.exact[row].all()):
        end = f"{_mean(count)}; {many.removesuffix(', at the least')}"
    elif part.uncounted:
        end = f"{many}; between them it need not be linear, as some of the program {bends}"
    else:
        each = ", one for each point that was looked at" if _all_differ(found, row) else ""
        end = f"at least {_mean(count)}{each}; {many}, each at a boundary between two"
    noise = _percent(part.distances[-1])
    return f"How many linear regions are on the way? Up to noise of {noise}, {end}."


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
            f"{_short(end)}, so that nothing can be said."
        )
    text = (
        f"Is the score saturated? From the baseline, {_short(start)}, to the input, {_short(end)}, "
        f"it has made half of its way at {float(part.reaches(0.5)[row]):.0%} and {MOST:.0%} of it "
        f"at {float(part.reaches(MOST)[row]):.0%} of the line. The gradient at the input accounts "
        "for "
        f"{_part(part.carried[row], 'the rise')} (all of it, were the score linear)."
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
    return f"{_where(sizes, longest, alpha)}; {half:.0%} of its length lies in the first half"


def _where(sizes: Tensor, longest: int, alpha: str) -> str:
    """Where on the line a map is longest, and how it compares at the input."""
    if float(sizes[-1] / sizes[longest]) > 1 - SAME_LENGTH:
        return "nowhere much longer than at the input"
    if float(sizes[-1]) == 0:
        return f"longest at {alpha} of the line, and zero at the input"
    times = _short(sizes[longest] / sizes[-1], 2)
    return f"longest at {alpha} of the line, {times} times as long as at the input"


def _sum(found: "NoiseDiagnosis", row: int, m: int) -> str:
    part = found.saturation
    total, expected = float(part.sums[row, m, -1]), float(part.expected[row, m])
    if total != total:  # not a number: it shares no score
        return ""
    return f", and its values sum to {_short(total)} of {_short(expected)}"


def _spread(draws: Tensor) -> str:
    """Mean and deviation of draws."""
    return f"{_short(draws.mean())} ± {_short(draws.std(), 2)}"


def _percent(part: Tensor) -> str:
    """A part as people write it."""
    return f"{_short(100 * float(part), 2)} %"


def _part(part: Tensor, whole: str) -> str:
    """How much of a whole; how many times the whole, where it is many."""
    if abs(float(part)) < MANY:
        return f"{_percent(part)} of {whole}"
    return f"{_short(part, 2)} times {whole}"


def _short(number: float | Tensor, digits: int = 3) -> str:
    """A number with so many digits that matter, and with an exponent only where it must be.

    >>> _short(123456.0), _short(0.01234, 2), _short(100.0, 2), _short(1e-9)
    ('123,000', '0.012', '100', '1e-09')
    """
    rounded = float(f"{float(number):.{digits}g}")
    return f"{rounded:,.10g}"


def _mean(draws: Tensor) -> str:
    """The mean of whole numbers, with their deviation where they differ."""
    mean, spread = float(draws.mean()), float(draws.std())
    if spread == 0:
        return f"{mean:,.0f}"
    return f"{mean:,.1f} ± {spread:,.1f}" if mean < 100 else f"{mean:,.0f} ± {spread:,.0f}"


def _listed(names: tuple[str, ...]) -> str:
    shown = [f"`{name}`" for name in names[:3]]
    return ", ".join(shown) + (", ..." if len(names) > 3 else "")
