"""The game that the players of an input play: the score where only some of them are there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from pellucid.background import Background
from pellucid.batching import wide
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.features import Players
from pellucid.structure import Inputs

# Of coalitions from one number up to another: who is there, (coalition, player), in which sample.
Pick: TypeAlias = Callable[[int, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Game:
    """Scores of the samples of a case where players are absent: replaced by the background.

        v(S) = mean over references b of f(x on the players of S, b elsewhere)

    `background` holds the references, each with one row for every sample; as a `Background` it
    may weigh them, or fill in what is absent from what is present. Rows of all samples,
    coalitions and references travel together in full batches.
    """

    case: Case
    players: Players
    background: Sequence[Inputs]

    def __post_init__(self) -> None:
        if not self.background:
            raise InputError("A background must have at least one row", found="none")

    def values(self, coalitions: Tensor, what: str = "") -> Tensor:
        """The scores of coalitions, of shape (sample, coalition), in double precision.

        `coalitions` has shape (sample or 1, coalition, player) and is true for those that are
        there; one row for all samples is enough where they have the same coalitions.
        """
        samples, count = len(self.case), coalitions.shape[1]

        def pick(start: int, stop: int) -> tuple[Tensor, Tensor]:
            places = torch.arange(start, stop)
            rows, numbers = places % samples, places // samples
            return coalitions[rows if len(coalitions) > 1 else 0, numbers], rows

        return self.scores(count * samples, pick, what).reshape(count, samples).T

    def scores(self, count: int, pick: Pick, what: str = "") -> Tensor:
        """The scores of so many coalitions, of shape (coalition,), in double precision.

        Coalitions are made when their batch is run: `pick(start, stop)` says who is there in those
        with these numbers, of shape (coalition, player), and of which sample each is.
        """
        case, references, shares = self.case, len(self.background), self._shares
        score = case.outcome.score  # the target is resolved before the first batch
        sums = torch.zeros(count, dtype=wide(score), device=score.device)

        def work(start: int, stop: int) -> None:
            first, flat = start // references, torch.arange(start, stop)
            there, rows = pick(first, (stop - 1) // references + 1)
            numbers = flat // references
            if references > 1:  # each coalition in several rows
                there, rows = (each.index_select(0, numbers - first) for each in (there, rows))
            point = self.point(there, rows, flat % references)
            found = case.moved(point, rows, fresh=True).outcome.score
            found = found.to(sums)
            if shares is not None:
                found = found * shares.to(found)[(flat % references).to(found.device)]
            sums.index_add_(0, numbers.to(sums.device), found)

        for _ in case.batcher.run(count * references, work, what):
            pass
        return sums / references if shares is None else sums

    def point(self, there: Tensor, rows: Tensor, references: Tensor) -> Inputs:
        """Inputs with players `there` (row, player) of samples `rows`, the rest from references."""
        leaves = []
        masks = self.players.present(there.to(self._kind), rows)
        if isinstance(self.background, Background) and self.background.filling is not None:
            own_leaves = [leaf[rows.to(leaf.device)] for leaf in self.case.inputs.leaves]
            return self.case.inputs.replace(self.background.filling(own_leaves, masks))
        for number, (leaf, mask) in enumerate(zip(self.case.inputs.leaves, masks, strict=True)):
            own = leaf if len(leaf) == 1 else leaf.index_select(0, rows.to(leaf.device))
            other = self._references(number, rows, references)
            if self._mixes[number]:
                leaves.append(torch.lerp(other, own, mask.to(leaf)))  # exact where the mask is 0, 1
            else:
                leaves.append(torch.where(mask.bool().to(leaf.device), own, other))
        return self.case.inputs.replace(leaves)

    def _references(self, number: int, rows: Tensor, references: Tensor) -> Tensor:
        """The reference of each row for one input; one row where all have the same."""
        table = self._tables[number]
        rows, references = rows.to(table.device), references.to(table.device)
        if len(table) == 1:
            return table[0] if table.shape[1] == 1 else table[0].index_select(0, rows)
        if table.shape[1] == 1:
            return table[:, 0].index_select(0, references)
        return table[references, rows]

    @cached_property
    def _shares(self) -> Tensor | None:
        """The weights of the references, which sum to one; `None` where they count alike."""
        weights = self.background.weights if isinstance(self.background, Background) else ()
        return torch.tensor(weights, dtype=torch.float64) if weights else None

    @cached_property
    def _tables(self) -> list[Tensor]:
        """The references for each input, (reference, sample, ...); one sample if all share them."""
        found = []
        for column in zip(*(each.leaves for each in self.background), strict=True):
            shared = all(len(t) == 1 or t.stride(0) == 0 for t in column)
            found.append(torch.stack([t[:1] if shared else t for t in column]))
        return found

    @cached_property
    def _mixes(self) -> list[bool]:
        """Whether an input may be mixed by weights of 0 and 1, which infinite numbers do not bear.

        That is faster than to choose, by far where one mask is for many channels.
        """
        return [
            leaf.is_floating_point() and bool((leaf.abs().amax() + table.abs().amax()).isfinite())
            for leaf, table in zip(self.case.inputs.leaves, self._tables, strict=True)
        ]

    @cached_property
    def _kind(self) -> Tensor:
        """A tensor of the type, and on the device, that masks are made in."""
        leaves = self.case.inputs.leaves
        floating = [leaf for leaf in leaves if leaf.is_floating_point()]
        return floating[0].new_empty(0) if floating else torch.empty(0, device=leaves[0].device)
