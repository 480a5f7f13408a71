"""What a user has to know of a search: why an input has no answer, and what answers do not say."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import Tensor

from pellucid.exemplar.counterfactual.result import Answers, Status

NOT_A_NUMBER = "its score is not a number, of which there is no other side"
LOST = (
    "what was found did not decide any more when the model was asked again, of the numbers as the "
    "inputs' types hold them"
)
PREDICTED = (
    "For {} of {} answers `predict` says another class than the one of the largest score, which is "
    "what was searched for. Search for the score that it decides by: target='a class', "
    "threshold=..., side='above'."
)

REMADE = (
    "For {} of {} inputs the model decides as is wanted of what their own codes make: these "
    "answers tell of the generator's error."
)


def reasons(
    problems: Sequence[str],
    gains: Tensor,
    searched: tuple[Tensor, Tensor, int],
    found: Collection[int],
) -> list[str]:
    """Why each input has no answer, if it has none.

    `gains` are those of the inputs, `searched` says of each what was spent, the largest gain that
    was seen, and the budget; what was `found` was lost again.
    """
    said = []
    for i, (spent, most) in enumerate(zip(*(each.tolist() for each in searched[:2]), strict=True)):
        short = f", of which the best was {-most:.3g} short of it" if -1e300 < most < 0 else ""
        why = f"nothing was found in {spent} of {searched[2]} evaluations{short}"
        lost = LOST if i in found else why
        said.append(problems[i] or (NOT_A_NUMBER if gains[i].isnan() else lost))
    return said


def few(samples: Sequence[int], status: Sequence[Status], count: int) -> list[str]:
    """Say where fewer answers were found than were asked for."""
    there = Counter(samples)
    short = sum(each == "found" and there[i] < count for i, each in enumerate(status))
    return [f"{short} inputs have fewer than {count} different answers."] if short else []


def remade(gains: Tensor, status: Sequence[Status]) -> list[str]:
    """Say where what a generator makes of an input's own code is decided otherwise already."""
    odd = sum(gain > 0 and each == "found" for gain, each in zip(gains, status, strict=True))
    return [REMADE.format(odd, len(status))] if odd else []


def predicted(
    predict: Callable[[Any], Any],
    write: Callable[[Tensor, list[int]], Any],
    classes: Sequence[str],
    answers: Answers,
) -> list[str]:
    """Say where an estimator's `predict` is at odds with the scores of its classes."""
    if not answers.samples:
        return []
    said = predict(write(answers.rows, answers.samples))
    after = [classes[int(each)] for each in answers.after]
    odd = sum(str(one) != other for one, other in zip(said, after, strict=True))
    return [PREDICTED.format(odd, len(after))] if odd else []
