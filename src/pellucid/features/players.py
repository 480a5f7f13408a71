"""Players: the parts of an input that are there or not, each with one value of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

# The label of elements that belong to no player, and are always there.
NOBODY = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Players:
    """For every element of a batch of inputs, the player that it belongs to.

    `labels` has whole numbers for each input tensor, of a shape that broadcasts over it: a first
    axis of length one where all samples share their players, a channel axis of length one where
    channels go together. Players are counted from 0, through all input tensors; what is `NOBODY`'s
    is always there. `count` is the largest number of players of a sample; `names`, if there are
    any, hold one tuple for all samples or one for each.

    >>> Players(labels=(torch.tensor([[0, 0, 1]]),), count=2).spread(torch.tensor([[5.0, 7.0]]))
    [tensor([[5., 5., 7.]])]
    """

    labels: tuple[Tensor, ...]
    count: int
    names: tuple[tuple[str, ...], ...] = ()

    @property
    def shared(self) -> bool:
        """Whether all samples have the same players."""
        return all(len(each) == 1 for each in self.labels)

    @cached_property
    def counts(self) -> Tensor:
        """The number of players of each sample, of shape (sample,); (1,) where they are shared."""
        found = [each.reshape(len(each), -1).amax(1) + 1 for each in self.labels]
        return torch.stack(torch.broadcast_tensors(*found)).amax(0)

    @property
    def alive(self) -> Tensor:
        """Which players a sample has, of shape (sample or 1, player)."""
        return torch.arange(self.count, device=self.counts.device) < self.counts.unsqueeze(1)

    def select(self, rows: Tensor) -> "Players":
        """The players of some samples."""
        names = self.names
        if len(names) > 1:
            names = tuple(names[row] for row in rows.tolist())
        labels = [t if len(t) == 1 else t[rows.to(t.device)] for t in self.labels]
        return replace(self, labels=tuple(labels), names=names)

    def named(self, row: int) -> tuple[str, ...]:
        """The names of one sample's players; numbers where they have none."""
        if self.names:
            return self.names[row if len(self.names) > 1 else 0]
        counts = self.counts.tolist()
        return tuple(map(str, range(counts[row if len(counts) > 1 else 0])))

    def present(self, coalitions: Tensor, rows: Tensor) -> list[Tensor]:
        """For each input, which elements are there: 1 or 0, of the shape of the labels.

        `coalitions` (row, player) hold 1 for those that are there, row i of sample `rows[i]`.
        """
        everyone = coalitions.new_ones(len(coalitions), 1)
        table = torch.cat([coalitions, everyone], 1)  # the last is NOBODY's
        found = []
        for labels, places in zip(self.labels, self._places, strict=True):
            flat = places.to(table.device)
            if len(flat) == 1:
                made = table.index_select(1, flat[0])
            else:
                made = table.gather(1, flat[rows.to(flat.device)])
            found.append(made.reshape(len(coalitions), *labels.shape[1:]))
        return found

    def spread(self, values: Tensor) -> list[Tensor]:
        """For each input, the value (sample, player) of the player that an element belongs to."""
        padded = torch.cat([values, values.new_zeros(len(values), 1)], 1)
        found = []
        for labels, places in zip(self.labels, self._places, strict=True):
            flat = places.to(values.device).expand(len(values), -1)
            found.append(padded.gather(1, flat).reshape(len(values), *labels.shape[1:]))
        return found

    @cached_property
    def _places(self) -> list[Tensor]:
        """Where to read the value of each element, of shape (sample or 1, element), `count` last.

        Every batch of coalitions asks for it.
        """
        flat = [labels.reshape(len(labels), -1) for labels in self.labels]
        return [torch.where(each < 0, self.count, each) for each in flat]

    def _is(self, other: "Players") -> bool:
        """Whether two batches have the same players, by the same names."""
        return (
            self.names == other.names
            and self.shared
            and other.shared
            and all(torch.equal(a, b) for a, b in zip(self.labels, other.labels, strict=True))
        )

    @staticmethod
    def join(parts: "Sequence[Players]", rows: Sequence[int]) -> "Players":
        """The players of several batches, of so many samples each."""
        if all(parts[0]._is(part) for part in parts):
            return parts[0]
        count = max(part.count for part in parts)
        labels = [
            torch.cat(
                [each.expand(n, *each.shape[1:]) for each, n in zip(column, rows, strict=True)]
            )
            for column in zip(*(part.labels for part in parts), strict=True)
        ]
        names = [part.named(row) for part, n in zip(parts, rows, strict=True) for row in range(n)]
        named = any(part.names for part in parts)
        return Players(labels=tuple(labels), count=count, names=tuple(names) if named else ())
