"""What is said of the classes of a table: a score, a contrast, a margin, a probability."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.batching import is_out_of_memory
from pellucid.errors import PellucidError, TargetError
from pellucid.structure import outline

Kind: TypeAlias = Literal[
    "predicted", "index", "contrast", "margin", "probability", "log_odds", "callable"
]


@dataclass(frozen=True)
class Choice:
    """One number of the classes of each sample (and cell).

    Tables have shape (sample, class) or (sample, class, cell); `classes` has one for all samples,
    or one for each. `what` they are is a class of the output, or a channel of a layer.
    """

    kind: Kind
    classes: tuple[int, ...]
    against: int | None
    what: str = "a class of the output"

    def read(self, table: Tensor) -> Tensor:
        """The number that is explained, of shape (sample,) or (sample, cell)."""
        picked = _pick(table, self.classes)
        if self.against is not None:
            return picked - _pick(table, (self.against,))
        if self.kind == "probability":
            return _pick(table.softmax(1), self.classes)
        if self.kind in ("log_odds", "margin"):
            others = table.scatter(1, _columns(table, self.classes), -torch.inf)
            return picked - (others.logsumexp(1) if self.kind == "log_odds" else others.amax(1))
        return picked

    def check(self, table: Tensor) -> Tensor:
        """Raise if a class does not exist, or if there is nothing it can be compared with."""
        width = table.shape[1]
        given = [*self.classes, *(() if self.against is None else (self.against,))]
        wrong = [k for k in given if not -width <= k < width]
        if wrong:
            raise TargetError(f"A target must be {self.what}, from 0 to {width - 1}", got=wrong[0])
        if width == 1 and self.kind in ("probability", "log_odds"):
            raise TargetError(
                "A probability by softmax must be of one of several classes",
                found="an output with one score a sample",
                hint="If that is the score before a sigmoid it is the log-odds: target=None. Its "
                "probability is target=lambda output: output.sigmoid().flatten().",
            )
        if width == 1 and self.kind == "margin":
            raise TargetError(
                "A margin must be that of one of several classes",
                found="an output with one score a sample",
                hint="Explain the score itself: target=None.",
            )
        if self.kind in ("probability", "log_odds") and _is_distribution(table):
            raise TargetError(
                "A probability by softmax must be made of scores",
                found="rows of an output that are probabilities already: they sum to one",
                hint="Explain them as they are: target=lambda output: output[:, 1].",
            )
        return table[:, 0]


def call(function: Callable[[Any], Tensor] | None, name: str, entry: Any) -> Tensor:
    """The score, of shape (sample,), that a function of the user's makes of an output."""
    if function is None:
        raise TargetError(
            f"The target `{name}` must be passed again as a callable",
            hint="Functions are not stored with an explanation.",
        )
    try:
        score = function(entry)
    except Exception as error:
        if isinstance(error, PellucidError) or is_out_of_memory(error):
            raise
        raise TargetError(
            f"The target `{name}` must run on the output",
            found=outline(entry),
            hint=f"It raised {type(error).__name__}: {str(error).strip().rstrip('.')}.",
        ) from error
    if not isinstance(score, Tensor) or score.ndim != 1:
        raise TargetError(
            "A callable target must return a tensor of shape (sample,)",
            got=score,
            hint="For example: lambda output: output[:, 3] - output[:, 1].",
        )
    return score


def _is_distribution(table: Tensor) -> bool:
    """Whether the classes of every sample are positive and sum to one."""
    data = table.detach()
    return bool((data >= 0).all()) and bool(((data.sum(1) - 1).abs() < 1e-3).all())


def _columns(table: Tensor, classes: tuple[int, ...]) -> Tensor:
    """For each sample (and cell) the class that is chosen, to gather along axis 1."""
    width = table.shape[1]
    columns = torch.tensor([k % width for k in classes], device=table.device)
    shape = (table.shape[0], 1, *table.shape[2:])
    return columns.reshape(-1, *[1] * (table.ndim - 1)).expand(shape)


def _pick(table: Tensor, classes: tuple[int, ...]) -> Tensor:
    return table.gather(1, _columns(table, classes)).squeeze(1)
