"""Neighbours of a row of a table, drawn column by column as the columns of data are."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from pellucid.baseline import Baseline
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.features import Players
from pellucid.lime.near import Near
from pellucid.seeding import seeded
from pellucid.structure import Inputs

Around = Literal["sample", "mean"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Draws of each column around the samples, independent of the others.

    A column of numbers is drawn from a normal distribution with the standard deviation that it has
    in the `data` (row, column), around the sample or around the mean of the data; its feature is
    the standardised number. With `bins`, and for categories and columns that are one player, the
    player's columns of a random row of the data are taken; its feature is one where that is in the
    bin, or the category, of the sample. Every sample gets the same random numbers.
    """

    inputs: Inputs
    players: Players
    data: Tensor
    categorical: tuple[int, ...]
    bins: int | None
    around: Around
    samples: int
    seed: int

    @property
    def features(self) -> int:
        """The number of players."""
        return self.players.count

    @property
    def draws(self) -> int:
        """How many draws are scored for each sample."""
        return self.samples

    @property
    def lengths(self) -> Tensor:
        """The same, (1,)."""
        return torch.tensor([self.samples])

    @property
    def counts(self) -> Tensor:
        """The number of players, (1,)."""
        return self.players.counts.cpu()

    @property
    def alive(self) -> Tensor:
        """All players are there, (1, player)."""
        return torch.ones(1, self.features, dtype=torch.bool)

    @property
    def exact(self) -> Tensor:
        """No number of draws is all of them, (1,)."""
        return torch.zeros(1, dtype=torch.bool)

    @cached_property
    def labels(self) -> Tensor:
        """The player of each column, (column,); -1 for one that stays as it is."""
        return self.players.labels[0][0].cpu()

    @cached_property
    def rows(self) -> Tensor:
        """The samples, (sample, column), in double precision."""
        return self.inputs.leaves[0].detach().cpu().double()

    @cached_property
    def table(self) -> Tensor:
        """The data as numbers of the inputs' kind, in double precision, (row, column)."""
        return self.data.detach().cpu().to(self.inputs.leaves[0].dtype).double()

    @cached_property
    def mean(self) -> Tensor:
        """The mean of each column."""
        return self.table.mean(0)

    @cached_property
    def deviation(self) -> Tensor:
        """The standard deviation of each column; one for a column that is constant."""
        found = self.table.std(0, correction=0)
        return torch.where(found > 1e-12 * self.mean.abs(), found, 1)

    @cached_property
    def constant(self) -> Tensor:
        """Which columns are the same in all of the data."""
        return (self.table == self.table[:1]).all(0)

    @cached_property
    def numeric(self) -> Tensor:
        """Which columns are drawn from a normal distribution, (column,)."""
        found = torch.ones_like(self.labels, dtype=torch.bool)
        found[list(self.categorical)] = False
        alone = torch.bincount(self.labels.clamp(min=0), minlength=self.features) == 1
        single = alone[self.labels.clamp(min=0)] & (self.labels >= 0)
        return found & single & (self.bins is None)

    @cached_property
    def _noise(self) -> Tensor:
        """Standard normal numbers, (draw, column); zero for a column that is constant."""
        generator = seeded(self.seed)
        shape = (self.samples, len(self.labels))
        found = torch.randn(shape, generator=generator, dtype=torch.float64)
        return torch.where(self.constant, 0, found)

    @cached_property
    def _picks(self) -> Tensor:
        """Which row of the data each column of a draw is from, (draw, column)."""
        generator = seeded(self.seed + 1_000_003)
        shape = (self.samples, self.features)
        picks = torch.randint(len(self.table), shape, generator=generator)
        return picks[:, self.labels.clamp(min=0)]

    def points(self, rows: Tensor, draws: Tensor) -> Tensor:
        """The columns of some draws of some samples, (row, column)."""
        own = self.rows[rows]
        center = own if self.around == "sample" else self.mean
        normal = center + self.deviation * self._noise[draws]
        places = torch.arange(len(self.labels))
        taken = self.table[self._picks[draws], places]
        found = torch.where(self.numeric, normal, taken)
        return torch.where(self.labels < 0, own, found)

    def scores(self, case: Case, _: Baseline, rows: Tensor, start: int, ends: Tensor) -> Tensor:
        """The scores of some samples' draws, (sample, draw), from one up to an end for all."""
        stop = int(ends.max())
        score = case.outcome.score  # the target is resolved before the first batch
        parts = []

        def work(first: int, last: int) -> None:
            flat = torch.arange(first, last)
            chosen = rows[flat % len(rows)]
            values = self.points(chosen, start + flat // len(rows))
            point = case.inputs.replace([values.to(case.inputs.leaves[0])])
            parts.append(case.moved(point, chosen).outcome.score)

        for _done in case.batcher.forward(case.inputs.leaves[0]).run(
            (stop - start) * len(rows), work, "lime"
        ):
            pass
        return torch.cat(parts).to(score.device).reshape(stop - start, len(rows)).T

    def near(self, rows: Tensor, used: int) -> Near:
        """The first draws of some samples; themselves first."""
        draws = torch.arange(used)
        flat = self.points(rows.repeat_interleave(used), draws.repeat(len(rows)))
        points = torch.cat(
            [self.rows[rows].unsqueeze(1), flat.reshape(len(rows), used, flat.shape[1])], 1
        )
        features = self._features(points, rows)
        own = self.own[rows].unsqueeze(1)
        moved = (features - own).square().sum(2).sqrt()
        return Near(features=features, distance=moved, mass=torch.ones_like(moved))

    @cached_property
    def own(self) -> Tensor:
        """The features of the samples themselves, (sample, player)."""
        rows = torch.arange(len(self.rows))
        return self._features(self.rows.unsqueeze(1), rows).squeeze(1)

    def _features(self, points: Tensor, rows: Tensor) -> Tensor:
        """The features of points (sample, draw, column) around some samples."""
        scaled = (points - self.mean) / self.deviation
        unlike = self._unlike(points, self.rows[rows].unsqueeze(1)).double()
        found = torch.where(self.numeric, scaled, unlike)
        places = torch.where(self.labels < 0, self.features, self.labels)
        joined = found.new_zeros(*points.shape[:2], self.features + 1)
        joined.index_add_(2, places, found)
        numeric = torch.zeros(self.features + 1, dtype=torch.bool)
        numeric[places] = self.numeric
        return torch.where(numeric, joined, (joined == 0).double())[:, :, : self.features]

    def _unlike(self, points: Tensor, own: Tensor) -> Tensor:
        """Whether each column is in another bin, or of another category, than the sample's."""
        gone = points.isnan(), own.isnan()
        other = (points != own) & ~(gone[0] & gone[1])  # missing is a category, and a bin
        if self.bins is None:
            return other
        marks = torch.arange(1, self.bins, dtype=torch.float64) / self.bins
        edges = torch.nanquantile(self.table, marks, dim=0).T.contiguous()
        binned = torch.ones_like(self.labels, dtype=torch.bool)
        binned[list(self.categorical)] = False
        apart = (_bin(edges, points) != _bin(edges, own)) | (gone[0] != gone[1])
        return torch.where(binned, apart, other)

    def unseen(self) -> Tensor:
        """Which samples have a category that is nowhere in the data, (sample,)."""
        found = torch.zeros(len(self.rows), dtype=torch.bool)
        for column in self.categorical:
            own, known = self.rows[:, column], self.table[:, column]
            found |= ~torch.isin(own, known) & ~(own.isnan() & known.isnan().any())
        return found


def _bin(edges: Tensor, points: Tensor) -> Tensor:
    """Between which edges (column, edge) points (..., column) lie."""
    flat = points.reshape(-1, points.shape[-1]).T.contiguous()
    return torch.searchsorted(edges, flat).T.reshape(points.shape)


def rows_of(data: Any) -> Any:
    """Rows of a table as a baseline keeps them; data frames and arrays become so at the border."""
    if not isinstance(data, Tensor):
        return data
    return Baseline(kind="tensor", tensors=(data,), paths=((),))


def check_table(inputs: Inputs, data: Any, bins: int | None) -> Tensor:
    """The data, (row, column), if they and the inputs are tables of the same columns."""
    leaves = inputs.leaves
    if len(leaves) != 1 or leaves[0].ndim != 2:
        raise InputError(
            "`data` must be given for one table, of shape (sample, column)",
            got=tuple(leaves) if len(leaves) > 1 else leaves[0],
            hint="What has another shape takes a `baseline`, for the players that are removed.",
        )
    table = data.tensors[0] if isinstance(data, Baseline) and data.tensors else data
    columns = leaves[0].shape[1]
    fits = isinstance(table, Tensor) and table.ndim == 2 and table.shape[1] == columns
    if not fits or not len(table):
        raise InputError(
            f"`data` must be rows of the same {columns} columns as the inputs", got=table
        )
    if bins is None and not (table.isfinite().all() and leaves[0].isfinite().all()):
        raise InputError(
            "Inputs and `data` must be finite where numbers are drawn from normal distributions",
            found="numbers that are missing or infinite",
            hint="With bins=4 numbers are drawn from the data, missing ones too.",
        )
    made: Tensor = table
    return made
