"""The game that the players of an input play: the score where only some of them are there."""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from pellucid.background import Background, tables
from pellucid.batching import wide
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.features import Players
from pellucid.structure import Inputs
from pellucid.target import Target

# So many coalitions are made at once to give them a name.
NAMED = 4096
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
        return self.case.answered(
            count,
            lambda: self._name(count, pick),
            lambda aims: self._scores(count, pick, aims, what),
        )

    def _scores(self, count: int, pick: Pick, aims: Sequence[Target], what: str) -> Tensor:
        """The scores of coalitions for some targets, of shape (target, coalition)."""
        case, references, shares = self.case, len(self.background), self._shares
        score = case.outcome.score
        sums = torch.zeros(len(aims), count, dtype=wide(score), device=score.device)

        def work(start: int, stop: int) -> None:
            first, last = start // references, (stop - 1) // references + 1
            there, rows = pick(first, last)
            span = slice(start - first * references, stop - first * references)
            point = self.points(there, rows, span.start, span.stop)
            found = case.read(point, rows.repeat_interleave(references)[span], aims).to(sums)
            if shares is not None:
                found = found * shares.to(found).repeat(last - first)[span]
            if found.shape[1] == len(there) * references:  # whole coalitions
                sums[:, first:last] = found.reshape(len(aims), len(there), references).sum(2)
                return
            each = torch.arange(first, last, device=sums.device).repeat_interleave(references)
            sums.index_add_(1, each[span], found)

        batcher = case.batcher.forward(case.inputs.leaves[0], references)
        for _ in batcher.run(count * references, work, what):
            pass
        return sums / references if shares is None else sums

    def _name(self, count: int, pick: Pick) -> bytes:
        """What tells these coalitions from others, of this game and of any other of the case."""
        filling = getattr(self.background, "filling", None)
        found = hashlib.blake2b(repr(getattr(filling, "__qualname__", filling)).encode())
        shares = () if self._shares is None else (self._shares,)
        for table in (*self.players.labels, *self._tables, *shares):
            found.update(_bytes(table))
        for start in range(0, count, NAMED):
            for part in pick(start, min(count, start + NAMED)):
                found.update(_bytes(part))
        return found.digest()

    def points(self, there: Tensor, rows: Tensor, start: int, stop: int) -> Inputs:
        """Inputs with players `there` (coalition, player) of samples `rows`, the rest references.

        Each coalition meets each reference; of these, in order, those from `start` to `stop`.
        """
        blocks = [
            self._block(there[few], rows[few], span)
            for few, span in _blocks(start, stop, len(self.background))
        ]
        if len(blocks) == 1:
            return self.case.inputs.replace(blocks[0])
        return self.case.inputs.replace([torch.cat(column) for column in zip(*blocks, strict=True)])

    def point(self, there: Tensor, rows: Tensor, references: Tensor) -> Inputs:
        """Inputs with players `there` (row, player) of samples `rows`, the rest of one reference.

        `references` has the number of each row's.
        """
        return self.case.inputs.replace(self._mixed(there, rows, references))

    def _block(self, there: Tensor, rows: Tensor, span: slice) -> list[Tensor]:
        """Some coalitions with each of some references, (coalition times reference, ...)."""
        if len(self.background) == 1:
            return self._mixed(there, rows, torch.zeros_like(rows))
        masks = [mask[:, None] for mask in self.players.present(there.to(self._kind), rows)]
        mixed = []
        for number, mask in enumerate(masks):
            table = self._tables[number][span]
            if table.shape[1] > 1:
                table = table.index_select(1, rows.to(table.device))
            own = self._own(number, rows)[:, None]
            mixed.append(self._mix(number, own, table.transpose(0, 1), mask).flatten(0, 1))
        return mixed

    def _mixed(self, there: Tensor, rows: Tensor, references: Tensor) -> list[Tensor]:
        """For each input, the players that are there with one reference a row."""
        masks = self.players.present(there.to(self._kind), rows)
        if isinstance(self.background, Background) and self.background.filling is not None:
            own_leaves = [leaf[rows.to(leaf.device)] for leaf in self.case.inputs.leaves]
            return self.background.filling(own_leaves, masks)
        return [
            self._mix(
                number, self._own(number, rows), self._references(number, rows, references), mask
            )
            for number, mask in enumerate(masks)
        ]

    def _mix(self, number: int, own: Tensor, other: Tensor, mask: Tensor) -> Tensor:
        """One input where the mask is 1, another where it is 0."""
        if self._mixes[number]:
            return torch.lerp(other, own, mask.to(own))  # exact where the mask is 0 or 1
        return torch.where(mask.bool().to(own.device), own, other)

    def _own(self, number: int, rows: Tensor) -> Tensor:
        """One input of some samples; one row where there is but one sample."""
        leaf = self.case.inputs.leaves[number]
        return leaf if len(leaf) == 1 else leaf.index_select(0, rows.to(leaf.device))

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
        return tables(self.background)

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


def _bytes(tensor: Tensor) -> bytes:
    """What a tensor holds, with its shape."""
    shape = torch.tensor(tensor.shape).view(torch.uint8)
    held = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return torch.cat([shape, held]).numpy().tobytes()


def _blocks(start: int, stop: int, references: int) -> list[tuple[slice, slice]]:
    """Coalitions and references that make up consecutive rows: a rest, whole ones, a rest.

    >>> _blocks(1, 6, 2)
    [(slice(0, 1, None), slice(1, 2, None)), (slice(1, 3, None), slice(0, 2, None))]
    """
    cuts = sorted({start, *_within(start, stop, references), stop})
    made = []
    for a, b in itertools.pairwise(cuts):
        first, last = a // references, (b - 1) // references + 1
        made.append(
            (slice(first, last), slice(a - first * references, b - (last - 1) * references))
        )
    return made


def _within(start: int, stop: int, references: int) -> list[int]:
    """The first and the last row in between at which a coalition begins."""
    first, last = -(-start // references) * references, stop // references * references
    return [row for row in (first, last) if start < row < stop]
