"""What a model answers about classes, and what of it speaks for one of them."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from pellucid.errors import InputError
from pellucid.inspect.passes import passes
from pellucid.inspect.representation import scores_of

LOGITS = "logits"


def output_of(model: Callable[..., Any], example: Tensor) -> Any:
    """What a model answers to one image, before a softmax at its end."""
    (part,) = passes(model, example)
    return part.scores


def classes_in(output: Any) -> int | None:
    """How many classes scores (sample, class) are of: one score is of two; `None` of others.

    >>> import torch
    >>> classes_in(torch.zeros(1, 5)), classes_in({"logits": torch.zeros(1, 1)}), classes_in(())
    (5, 2, None)
    """
    scores = scores_of(output)
    return None if scores is None else max(2, scores.shape[1])


def check_labels(labels: Tensor, output: Any) -> None:
    """Raise unless labels are numbers of classes of the model, where it has any."""
    most, low, high = classes_in(output), int(labels.min()), int(labels.max())
    if low < 0 or (most is not None and high >= most):
        last = "" if most is None else f" to {most - 1}"
        raise InputError(
            f"`labels` must be classes of the model by number, from 0{last}",
            got=low if low < 0 else high,
            hint="Leave out samples that have no class.",
        )


def aim_at(number: int, output: Any) -> Any:
    """The target that speaks for a class: its score; of one score for two classes, it or less it.

    >>> import torch
    >>> aim_at(1, torch.zeros(1, 5)), aim_at(1, {"logits": torch.zeros(1, 5)})
    (1, ('logits', 1))
    >>> aim_at(1, torch.zeros(1, 1)), aim_at(0, torch.zeros(1))(torch.tensor([2.0, 3.0]))
    (0, tensor([-2., -3.]))
    """
    scores = scores_of(output)
    own: Any = number
    if scores is not None and scores.shape[1] == 1:
        own = _against if number == 0 else 0
    return own if isinstance(output, Tensor) else (LOGITS, own)


def _against(scores: Tensor) -> Tensor:
    """The opposite of the one score of each sample: what speaks for the first of two classes."""
    return -scores.flatten()
