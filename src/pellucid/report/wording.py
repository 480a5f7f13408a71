"""The evidence of an explanation in words and rounded numbers, for the report and the terminal."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.explanation import Explanation
from pellucid.plot.color import MINUS, Floats, number, signed
from pellucid.plot.map import Map
from pellucid.structure import leaves
from pellucid.target.place import Place
from pellucid.words.pieces import isolated

# Keeps a number and its sign on one line.
SPACE = "\N{NO-BREAK SPACE}"

# A longer name, as that of a sentence, is cut.
LONGEST_NAME = 40

NO_COMPLETENESS = "claims no completeness"


class Prediction(NamedTuple):
    """One class of the model's output: its number, its name, its probability."""

    number: int
    name: str
    probability: float


def predictions(
    explanation: Explanation, *, row: int = 0, classes: Sequence[str] = (), most: int = 5
) -> list[Prediction]:
    """The classes that the model thinks most likely; empty if its output has no classes.

    Scores become probabilities by a softmax, unless they are probabilities already. What a
    function reads from an output without names of classes need not be classes.
    """
    classes = classes or known(explanation)
    if explanation.target.kind == "callable" and not classes:
        return []
    scores = _scores(explanation, row)
    if scores is None:
        return []
    chances = scores if _are_probabilities(scores) else scores.softmax(0)
    found = chances.topk(min(most, len(chances)))
    return [
        Prediction(int(k), class_name(int(k), classes), float(p))
        for p, k in zip(found.values, found.indices, strict=True)
    ]


def heading(explanation: Explanation, *, row: int = 0) -> str:
    """What the predictions are called: whether a softmax made probabilities of scores."""
    scores = _scores(explanation, row)
    made = "" if scores is None or _are_probabilities(scores) else " (softmax)"
    return f"Top predictions, with the probability of each{made}"


def class_name(index: int, classes: Sequence[str]) -> str:
    """The name of a class, or its number."""
    return str(classes[index]) if -len(classes) <= index < len(classes) else f"class {index}"


def known(explanation: Explanation) -> tuple[str, ...]:
    """The labels of the classes, where the model was a classifier that has some."""
    schema = explanation.schema
    return () if schema is None else schema.names_of(explanation.output)


def target(explanation: Explanation, *, row: int = 0, classes: Sequence[str] = ()) -> str:
    """Say which score is explained, by the names of the classes."""
    classes = classes or known(explanation)
    aim = explanation[row].target
    if aim.layer:
        return aim.words().replace("`", "")
    named = classes or aim.kind != "index" or not _is_number(explanation)
    names = [f"“{class_name(k, classes)}”" for k in aim.classes[:1] if named]
    if aim.kind == "callable":
        return f"the {aim.name}" if " " in aim.name else f"the function {aim.name}"
    where = aim.place.words()
    where += f" in output {'.'.join(map(str, aim.where))}" if aim.where else ""
    if aim.kind == "contrast" and aim.against is not None:
        other = f"“{class_name(aim.against, classes)}”"
        return f"the score of {names[0]} less that of {other}{where}"
    words = {"probability": "the probability", "log_odds": "the log-odds"}
    what = f"{words.get(aim.kind, 'the score')} of {names[0]}" if names else "the score"
    return f"{what}{where}"


def aim(explanation: Explanation, *, row: int = 0, classes: Sequence[str] = ()) -> str:
    """Name the target in as few words as tell it from others: the class, if it is one."""
    found, classes = explanation[row].target, classes or known(explanation)
    one = _is_number(explanation) and not classes
    if found.kind == "index" and found.classes and not found.layer and not one:
        return class_name(found.classes[0], classes)
    return target(explanation, row=row, classes=classes).removeprefix("the ")


def element(shown: Map) -> str:
    """What one element is called: a pixel, a token; at a layer, where it may be either, a unit."""
    return shown.unit if shown.at is None or shown.kind == "text" else "unit"


def worded(text: str, shown: Map) -> str:
    """What a method says of pixels, said of the elements of what is shown.

    "Which pixels carry the score?" asks of a text which tokens do.
    """
    return text.replace("pixel", element(shown))


def completeness(explanation: Explanation, *, row: int = 0) -> str:
    """Say how far the values add up to what they should."""
    law = explanation.completeness
    if law is None:
        return NO_COMPLETENESS
    explained, expected = float(law.explained[row]), float(law.expected[row])
    residual, relative = float(law.residual[row]), float(law.relative[row])
    return (
        f"values sum to {significant(explained)} of {significant(expected)}; "
        f"residual {number(residual)} ({percent(relative)})"
    )


def cost(explanation: Explanation) -> str:
    """Say what was spent: model evaluations and seconds."""
    if explanation.evaluations.forward == explanation.evaluations.backward == 0:
        return f"none of its own: it shares another method's; {seconds(explanation.seconds)}"
    together = f" for {len(explanation)} samples" if len(explanation) > 1 else ""
    return f"{explanation.evaluations} evaluations, {seconds(explanation.seconds)}{together}"


def error(explanation: Explanation, *, row: int = 0) -> str:
    """Say how far sampling may have moved the values; empty where nothing was sampled."""
    if explanation.error is None:
        return ""
    first = explanation.batch_first()
    spread = _root_mean_square([leaf[row] for _, leaf in leaves(first.error)])
    size = _root_mean_square([leaf[row] for _, leaf in leaves(first.values)])
    if spread == 0:
        return "exact: nothing was left to chance"
    if size == 0:
        return f"standard error {number(spread)}"
    return f"standard error {number(spread)}, {percent(spread / size)} of a typical value"


def where(shown: Map) -> str:
    """Say in a line where the values of the stronger sign lie, and how much is of the other."""
    if not np.isfinite(shown.values).any():
        return "no value is finite"
    values = np.where(np.isfinite(shown.values), shown.values, 0)
    positive, negative = float(values.clip(0).sum()), float(-values.clip(max=0).sum())
    if positive + negative == 0:
        return "all values are zero"
    if shown.kind in ("table", "text"):
        return strongest(shown)
    if shown.regions is not None:
        return _regions(shown.regions, values)
    sign, other = ("positive", "negative") if positive >= negative else ("negative", "positive")
    part = values.clip(0) if sign == "positive" else -values.clip(max=0)
    against = min(positive, negative) / (positive + negative)
    share = f"; {percent(against)} of all is {other}" if against > 0 else ""
    kept = _half(part)
    place = _lane(shown, part * kept) if shown.kind == "signal" else _place(part * kept)
    things = f"{element(shown)}s"
    inside = "in the slice shown, " if shown.cut else ""
    found = f"half of the {sign} part in {percent(kept.mean())} of the {things}, {place}{share}"
    return inside + found


def _regions(regions: NDArray[Any], values: Floats) -> str:
    """The same of the players of an image, each of which counts once, whatever its size."""
    own, first = np.unique(regions, return_index=True)
    worth = np.where(own < 0, 0.0, values.ravel()[first].astype(np.float64))
    sign = 1 if worth.clip(0).sum() >= -worth.clip(max=0).sum() else -1
    kept = _half((sign * worth).clip(0))
    against = float((-sign * worth).clip(0).sum() / np.abs(worth).sum())
    names = ("positive", "negative")[::sign]
    place = _place(np.isin(regions, own[kept]) * (sign * values).clip(0))
    share = f"; {percent(against)} of all is {names[1]}" if against > 0 else ""
    count = int((own >= 0).sum())
    return f"half of the {names[0]} part in {kept.sum()} of {count} regions, {place}{share}"


def strongest(shown: Map, most: int = 3) -> str:
    """Name the features of a table, or the tokens of a text, with the largest values."""
    order = [i for i in shown.strongest(len(shown.values)) if np.isfinite(shown.values[i])][:most]
    quote = "“{}”" if shown.kind == "text" else "{}"
    return ", ".join(
        f"{isolated(quote.format(_short(shown.labels[i])))} ({signed(shown.values[i])})"
        for i in order
    )


def _short(label: str) -> str:
    """The beginning of a sentence that is too long to be named in a line."""
    return label if len(label) <= LONGEST_NAME else f"{label[:LONGEST_NAME].rstrip()}…"


def significant(value: float) -> str:
    """A number with four digits that matter.

    >>> significant(8.12345)
    '8.123'
    """
    return f"{value:.4g}".replace("-", MINUS)


def percent(fraction: float) -> str:
    """A fraction as a percentage without digits that mean nothing; its space does not break.

    >>> [percent(f).replace(SPACE, " ") for f in (0.12345, 0.0123, 0.00001, 0.0, 0.996, 1.0)]
    ['12 %', '1.2 %', 'below 0.01 %', '0 %', '99.6 %', '100 %']
    """
    if not math.isfinite(fraction):
        return "of nothing expected"
    if fraction == 0:
        return f"0{SPACE}%"
    if abs(fraction) < 1e-4:
        return f"below 0.01{SPACE}%"
    shown = 100 * fraction
    if 99.5 <= shown < 100:
        return f"{min(shown, 99.99):.4g}{SPACE}%"  # all but a little is not all
    return f"{shown:.0f}{SPACE}%" if abs(shown) >= 9.95 else f"{shown:.2g}{SPACE}%"


def seconds(spent: float) -> str:
    """A time as people read it.

    >>> seconds(0.0123), seconds(3.21), seconds(75.0)
    ('12 ms', '3.2 s', '75 s')
    """
    if spent < 1:
        return f"{1000 * spent:.0f} ms"
    return f"{spent:.1f} s" if spent < 10 else f"{spent:.0f} s"


def probability(chance: float) -> str:
    """A probability as a percentage.

    >>> [probability(p).replace(SPACE, " ") for p in (0.9512, 0.00001)]
    ['95.1 %', 'below 0.1 %']
    """
    return f"{100 * chance:.1f}{SPACE}%" if chance >= 0.001 else f"below 0.1{SPACE}%"


def _scores(explanation: Explanation, row: int) -> Tensor | None:
    """The scores of the classes for one sample, of shape (class,), if the output has any."""
    table = explanation.target.table(explanation.output)
    if table is None and explanation.target.place == Place():
        path = explanation.target.where
        found = [leaf for at, leaf in leaves(explanation.output) if at[: len(path)] == path]
        table = next((leaf for leaf in found if leaf.is_floating_point() and leaf.ndim == 2), None)
    return None if table is None or table.shape[1] < 2 else table[row].double().cpu()


def _is_number(explanation: Explanation) -> bool:
    """Whether the model says one number of a sample, as a regression does: there is no class."""
    found = [leaf for _, leaf in leaves(explanation.output)]
    return len(found) == 1 and found[0].numel() == len(explanation)


def _are_probabilities(scores: Tensor) -> bool:
    return bool((scores >= 0).all()) and abs(float(scores.sum()) - 1) < 1e-3


def _root_mean_square(tensors: Sequence[Tensor]) -> float:
    return float(torch.cat([each.double().flatten() for each in tensors]).square().mean().sqrt())


def _half(values: Floats) -> Any:
    """Mark the strongest values that together make up half of the sum."""
    order = np.argsort(-values, axis=None, kind="stable")
    reached = np.cumsum(values.ravel()[order])
    count = int(np.searchsorted(reached, reached[-1] / 2)) + 1
    marked = np.zeros(values.size, dtype=bool)
    marked[order[:count]] = True
    return marked.reshape(values.shape)


def _place(weights: Floats) -> str:
    """Name the third of each axis in which the middle of the weights lies."""
    across = _third(weights.sum(0), ("left", "center", "right"))
    if weights.shape[0] == 1:
        return f"around the {across}"
    down = _third(weights.sum(1), ("upper", "middle", "lower"))
    if down == "middle":
        return f"around the {across}"
    return f"around the {down} {across}"


def _lane(shown: Map, weights: Floats) -> str:
    """Where along a signal the middle of the weights lies, and in which of several channels."""
    along = f"around the {_third(weights.sum(0), ('left', 'center', 'right'))}"
    if len(weights) == 1:
        return along
    most = int(weights.sum(1).argmax())
    name = isolated(shown.labels[most]) if shown.labels else str(most)
    return f"{along}, the largest share in {shown.across} {name}"


def _third(weights: Floats, names: tuple[str, str, str]) -> str:
    middle = float((weights * (np.arange(len(weights)) + 0.5)).sum() / weights.sum())
    return names[min(2, int(3 * middle / len(weights)))]
