"""The scores of reference points, of which one run serves all samples where they are the same."""

import torch
from torch import Tensor

from pellucid.batching import wide
from pellucid.case import Case
from pellucid.outputs import select_rows
from pellucid.sharing import normalizes_by_batch
from pellucid.structure import Inputs


def scores_of(case: Case, references: list[Inputs]) -> Tensor:
    """The score of every sample's target at every reference, shape (reference, sample).

    A reference that is the same for all samples is run once, and its output read by the target of
    each. That needs a target that reads rows by itself: a callable gets outputs as they are.
    """
    alike = all(_is_one_row(leaf) for each in references for leaf in each.leaves)
    by_batch = normalizes_by_batch(case.program.model)
    one_run = alike and not by_batch and case.outcome.target.kind != "callable"
    found = _of_rows(case, references) if one_run else _of_each(case, references)
    score = case.outcome.score.to(found)
    return torch.stack([
        torch.where(_is_input(case, reference), score, row)
        for reference, row in zip(references, found, strict=True)
    ])  # fmt: skip


def _of_each(case: Case, references: list[Inputs]) -> Tensor:
    """One row of the model for each reference of each sample."""
    found = _room(case, references)
    points = case.stream(len(references), lambda i, rows: references[i].select(rows), "baselines")
    for part, rows, numbers in points:
        with torch.no_grad():
            found[numbers, rows] = part.outcome.score.to(found)
    return found


def _of_rows(case: Case, references: list[Inputs]) -> Tensor:
    """One row of the model for each reference."""
    target, found = case.outcome.target, _room(case, references)
    columns = zip(*(each.leaves for each in references), strict=True)
    rows = case.inputs.replace([torch.cat([leaf[:1] for leaf in column]) for column in columns])

    def work(start: int, stop: int) -> None:
        with torch.no_grad():
            raw, scores = case.program.run(rows.select(slice(start, stop)))
            case.count(forward=stop - start)
            read = target.before_softmax(raw, scores)
            for row in range(stop - start):
                index = torch.full((len(case),), row)
                output = select_rows(read, index, stop - start, target.batch_axis)
                found[start + row] = target.score(output, output).to(found)

    for _ in case.batcher.run(len(references), work, "baselines"):
        pass
    return found


def _room(case: Case, references: list[Inputs]) -> Tensor:
    score = case.outcome.score
    return torch.zeros(len(references), len(case), dtype=wide(score), device=score.device)


def _is_input(case: Case, reference: Inputs) -> Tensor:
    """Which samples are their own reference: their scores differ by nothing, not by rounding."""
    pairs = zip(case.inputs.leaves, reference.leaves, strict=True)
    same = [(leaf == other).reshape(len(case), -1).all(1) for leaf, other in pairs]
    return torch.stack(same).all(0)


def _is_one_row(leaf: Tensor) -> bool:
    """Whether all samples have the same."""
    return leaf.stride(0) == 0 or bool((leaf == leaf[:1]).all())
