"""What a few examples tell of a network, before any work."""

from collections.abc import Mapping
from dataclasses import replace
from random import Random

import torch
from torch import Tensor

from pellucid.errors import PellucidWarning, warn
from pellucid.exemplar.influence.fitted import in_training
from pellucid.exemplar.influence.objective import IGNORED, Batch, Objective
from pellucid.structure import Inputs, Keys, leaves

# Examples of the training set by whose losses it is told from one that is not the model's.
LOOKED_AT = 256
# Of these, so many run alone too.
ALONE = 8
# A loss of so many times that of a guess is far off.
FAR = 1.1
# Answers that differ by a smaller part of the largest are the same, but for rounding.
NEAR = 1e-3


def one_by_one(objective: Objective) -> tuple[Objective, str]:
    """The objective, and a note if each example must run alone, for its answer hangs on others.

    That is noticed by a few examples, whose answers are compared with those that they get alone.
    A network that answers twice otherwise is an error.
    """
    total = objective.data.rows
    rows = sorted({k * total // ALONE for k in range(ALONE)})
    inputs = objective.fitted.placed(objective.data.read(rows)[0])
    alone = [_answers(objective, inputs.select(slice(k, k + 1))) for k in range(len(rows))]
    if not _same(_answers(objective, inputs.select(slice(0, 1))), alone[0]):
        raise in_training("two answers to the same example, which differ")
    if len(rows) == 1 or objective.batch_size == 1:
        return objective, ""
    together = _answers(objective, inputs)
    if all(_same(together, each, k) for k, each in enumerate(alone)):
        return objective, ""
    note = (
        "What the network says of an example depends on the others of its batch: each is run "
        "alone, which takes longer."
    )
    return replace(objective, rows=1, batch_size=1), note


def worse_than_a_guess(objective: Objective) -> str:
    """Warn of a training set on which the model is worse than a guess, and say so."""
    total = objective.data.rows  # whose classes may take turns, so that even steps would mislead
    drawn = Random(0).sample(range(total), min(LOOKED_AT, total))
    some = objective.data.part(sorted(drawn))

    def losses(batch: Batch) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return objective.losses(objective.theta, batch.inputs, batch.labels), batch.labels

    found = list(objective.over(losses, data=some))
    mean = float(torch.cat([each for each, _ in found]).mean())
    guess = _guess(objective, [labels for _, labels in found])
    if not guess or not mean > FAR * guess:  # where labels are all alike, a guess has no loss
        return ""
    text = (
        f"The model is worse than a guess on `train`: its mean loss is {mean:.3g}, that of "
        f"one answer for all {guess:.3g}. Is it what the model was trained on, with inputs scaled "
        "and labels numbered as then?"
    )
    warn(text, PellucidWarning)
    return text


def _answers(objective: Objective, inputs: Inputs) -> dict[Keys, Tensor]:
    """The tensors with a row for each example in what the network says of some."""
    with torch.no_grad():
        output = objective.fitted.call(objective.theta, inputs)
    found = {path: leaf for path, leaf in leaves(output) if leaf.is_floating_point()}
    return {path: leaf for path, leaf in found.items() if leaf.shape[:1] == (inputs.rows,)}


def _same(ours: Mapping[Keys, Tensor], alone: Mapping[Keys, Tensor], row: int = 0) -> bool:
    """Whether a row of answers is what an example gets alone, of the tensors that both have."""
    pairs = [(ours[key][row : row + 1], alone[key]) for key in ours if key in alone]
    return all(a.shape == b.shape and _near(a, b) for a, b in pairs)


def _near(a: Tensor, b: Tensor) -> bool:
    """Whether numbers differ by rounding alone; what is no number, or infinite, is so in both."""
    size = b.abs().masked_fill(~b.isfinite(), 0.0)
    least = NEAR * float(size.max()) if b.numel() else 0.0
    return torch.allclose(a, b, rtol=0.0, atol=least, equal_nan=True)


def _guess(objective: Objective, labels: list[Tensor]) -> float | None:
    """The mean loss of the best answer that is the same for all examples, if that is known."""
    if objective.of_classes:
        flat = torch.cat([each.flatten() for each in labels])
        counts = flat[flat != IGNORED].unique(return_counts=True)[1].double()
        return float(-(counts / counts.sum() * (counts / counts.sum()).log()).sum())
    if objective.loss == "mse":
        wide = torch.cat([each.double().reshape(len(each), -1) for each in labels])
        return float(wide.var(0, correction=0).mean())
    return None
