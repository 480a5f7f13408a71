"""The game that the players of an input play: the score where only some of them are there."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.batching import wide
from pellucid.case import Case
from pellucid.features import Players
from pellucid.structure import Inputs


@dataclass(frozen=True, eq=False)
class Game:
    """Scores of the samples of a case where players are absent: replaced by the background.

        v(S) = mean over references b of f(x on the players of S, b elsewhere)

    `background` holds the references, each with one row for every sample. Rows of all samples,
    coalitions and references travel together in full batches.
    """

    case: Case
    players: Players
    background: Sequence[Inputs]

    def values(self, coalitions: Tensor, what: str = "") -> Tensor:
        """The scores of coalitions, of shape (sample, coalition), in double precision.

        `coalitions` has shape (sample or 1, coalition, player) and is true for those that are
        there; one row for all samples is enough where they have the same coalitions.
        """
        case, references = self.case, len(self.background)
        samples, count = len(case), coalitions.shape[1]
        score = case.outcome.score  # the target is resolved before the first batch
        sums = torch.zeros(count * samples, dtype=wide(score), device=score.device)

        def work(start: int, stop: int) -> None:
            flat = torch.arange(start, stop)
            place, reference = flat // references, flat % references
            row, coalition = place % samples, place // samples
            there = coalitions[row if len(coalitions) > 1 else 0, coalition]
            point = self.point(there, row, reference)
            found = case.moved(point, row).outcome.score
            sums.index_add_(0, place.to(sums.device), found.to(sums))

        for _ in case.batcher.run(count * samples * references, work, what):
            pass
        return sums.reshape(count, samples).T / references

    def point(self, there: Tensor, rows: Tensor, references: Tensor) -> Inputs:
        """Inputs with players `there` (row, player) of samples `rows`, the rest from references."""
        leaves = []
        masks = self.players.present(there.float(), rows)
        for number, (leaf, mask) in enumerate(zip(self.case.inputs.leaves, masks, strict=True)):
            own = leaf if len(leaf) == 1 else leaf[rows.to(leaf.device)]
            other = self._references(number, rows, references)
            if leaf.is_floating_point():
                leaves.append(torch.lerp(other, own, mask.to(leaf)))  # exact where the mask is 0, 1
            else:
                leaves.append(torch.where(mask.bool().to(leaf.device), own, other))
        return self.case.inputs.replace(leaves)

    def _references(self, number: int, rows: Tensor, references: Tensor) -> Tensor:
        """The reference of each row for one input; one row where all have the same."""
        found = [each.leaves[number] for each in self.background]
        if len(found) == 1:
            return found[0] if len(found[0]) == 1 else found[0][rows.to(found[0].device)]
        table = torch.stack(found)
        return table[references.to(table.device), rows.to(table.device)]
