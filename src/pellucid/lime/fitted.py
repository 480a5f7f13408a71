"""The local models of all samples of a batch, as many at a time as fit in memory."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from pellucid.lime.local import Local, Recipe, fit, repeated
from pellucid.lime.removal import Removal
from pellucid.lime.table import Table

Space: TypeAlias = Removal | Table

# As many numbers are held at once.
ELEMENTS = 2**23


def models(
    space: Space,
    scores: Tensor,
    used: Tensor,
    widths: Tensor,
    recipe: Recipe,
    rows: Tensor | None = None,
) -> Local:
    """The local models of some samples: scores (sample, 1 + draw), their own first.

    `used` (sample,) says how many draws each has made, `widths` (sample or 1,) are those of the
    kernel. Fits are repeated for errors if the recipe says so; where all coalitions are known, the
    errors are zero.
    """
    rows = torch.arange(len(scores)) if rows is None else rows
    parts, found = list(_parts(space, used[rows])), []
    for part in parts:
        chosen = rows[part]
        made = _part(space, scores[chosen], int(used[chosen[0]]), widths, recipe, chosen)
        found.append(made)
    return Local.join(found, torch.cat(parts).argsort())


def _parts(space: Space, used: Tensor) -> Iterator[Tensor]:
    """Positions of samples that have made as many draws, and fit in memory together."""
    size = max(1, space.features * max(space.features, int(used.max()) + 1))
    for number in used.unique():
        yield from (used == number).nonzero().squeeze(1).split(max(1, ELEMENTS // size))


def _part(
    space: Space, scores: Tensor, used: int, widths: Tensor, recipe: Recipe, rows: Tensor
) -> Local:
    near = space.near(rows, used)
    weights = near.weights(_of(widths, rows))
    own, alive = _of(space.own, rows), _of(space.alive, rows)
    scores = scores[:, : used + 1]
    local = fit(near, scores, weights, own, recipe)
    if recipe.runs < 2:
        return local
    exact = _of(space.exact, rows).expand(len(rows))
    if exact.all():
        return replace(local, error=torch.zeros_like(local.values), agreement=_ones(local))
    local = repeated(local, near, scores, weights, own, alive, recipe)
    return _certain(local, exact)


def _certain(local: Local, exact: Tensor) -> Local:
    """The same without errors where nothing was left to chance."""
    if local.error is None or local.agreement is None:
        return local
    error = torch.where(exact.unsqueeze(1), 0, local.error)
    return replace(local, error=error, agreement=torch.where(exact, 1, local.agreement))


def _ones(local: Local) -> Tensor:
    return torch.ones_like(local.fidelity)


def _of(table: Tensor, rows: Tensor) -> Tensor:
    """What belongs to some samples; one row is everyone's."""
    return table if len(table) == 1 else table[rows]
