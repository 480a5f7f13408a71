"""What rivals say elsewhere: of another model, at other points, of other classes.

All rivals are asked at once, so that they share the recording of a run; what has a row of its own
for each sample (a baseline, say) keeps it, whatever the batch.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.answer import ask_all
from pellucid.case import Case, Counter
from pellucid.errors import InputError, show
from pellucid.evaluate.trial import Trial
from pellucid.inside import inside
from pellucid.program import Program
from pellucid.remarks import Share
from pellucid.structure import Inputs, leaves, outline
from pellucid.target import Target

EMPTY_NOTE = "Maps of {} are zero everywhere."


def values_at(trial: Trial, case: Case, targets: Sequence[Target] = ()) -> list[list[list[Tensor]]]:
    """What each rival gives to each input at a case: for each target, for each rival.

    The target is that of the case if none is given. Evaluations are booked on the trial.
    """
    aims = list(targets) or [case.target]
    methods = [each.method for each in trial.rivals]
    parts = ask_all(methods, replace(case, counter=Counter()), aims)
    counter = trial.case.counter
    for part in parts:
        counter.forward += part.evaluations.forward
        counter.backward += part.evaluations.backward
        counter.calls += part.evaluations.calls
    found = [[leaf.detach() for leaf in part.attribution.values] for part in parts]
    columns = [found[start : start + len(methods)] for start in range(0, len(found), len(methods))]
    for column in columns:
        _check_shapes(trial, column)
    return columns


def own_values(trial: Trial) -> list[list[Tensor]]:
    """What each rival gives to each input here."""
    return [[leaf for _, leaf in leaves(each.values)] for each in trial.rivals]


def _check_shapes(trial: Trial, found: list[list[Tensor]]) -> None:
    """Raise where the values of a rival were changed after its method gave them."""
    for rival, own, there in zip(trial.rivals, own_values(trial), found, strict=True):
        if [leaf.shape[1:] for leaf in own] != [leaf.shape[1:] for leaf in there]:
            raise InputError(
                "Values must be as their method gives them to be held against its values elsewhere",
                found=f"{outline(rival.values)} by {rival.method.name}",
                hint="Judge the explanation before pool().",
            )


def empty(sizes: Tensor) -> Share:
    """How many maps are zero everywhere, from their sizes, of shape (sample,)."""
    return Share(text=EMPTY_NOTE, some=int((sizes == 0).sum()), of=len(sizes))


def here(trial: Trial, inputs: Inputs | None = None) -> Case:
    """The samples again, or other points in their place, with the target that was resolved."""
    taken = trial.plain.inputs if inputs is None else inputs
    return replace(trial.plain, inputs=taken, target=trial.case.outcome.target)


def with_model(case: Case, model: Callable[..., Any]) -> Case:
    """The same case of another model."""
    return replace(case, program=Program(inside(model, case.target.layer)))


def module_of(trial: Trial, why: str) -> nn.Module:
    """The model, whose layers are to be changed in a copy."""
    if isinstance(trial.model, nn.Module) and trial.plain.inputs.schema is None:
        return trial.model
    raise InputError(
        f"The model must be a torch.nn.Module that is called with tensors {why}",
        found=show(trial.model),
    )


def first_sample(trial: Trial) -> Inputs:
    """The first sample of the batch, in copies of its own."""
    return trial.plain.inputs.select(torch.tensor([0])).copied()


def copied(model: nn.Module) -> nn.Module:
    """A copy that shares nothing with the model."""
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            "The model must be one that copy.deepcopy can copy, for its layers to be changed",
            found=f"{type(error).__name__}: {error}",
        ) from error
