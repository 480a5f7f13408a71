"""The nearest point on the other side of a linear model, within bounds: in closed form.

A search along gradients is a sequence of these, each at a point where the model was made linear.
"""

import torch
from torch import Tensor

from pellucid.exemplar.counterfactual.distance import Distance

# More turns than variables that reach their bound one after another have not been seen.
TURNS = 50


def nearest(
    distance: Distance, base: Tensor, chain: Tensor, slope: Tensor, needed: Tensor
) -> Tensor:
    """The rows nearest to `base` (row, element) whose linear gain is the one that is `needed`.

        min d(x, base)  such that  slope · (x - base) >= needed,  low <= x <= high

    For `l1` and `mad` it is the numbers with the largest slope a unit that change, one after the
    other; for `l2` all of them do, in proportion to their slope. Where no point is far enough, the
    farthest there is.
    """
    space = distance.space
    free = space.numeric & ~space.fixed[chain]
    slope = torch.where(free, slope, 0.0) + torch.where(space.numeric, 0.0, slope)
    bound = torch.where(slope > 0, space.high[chain], space.low[chain])
    most = torch.where(free & (slope != 0), slope * (bound - base), 0.0).clamp(min=0)
    gains, options = _choices(distance, base, chain, slope)
    capacity = torch.minimum(torch.cat([most, gains], 1), needed[:, None].clamp(min=0))
    worth = torch.where(free, slope.abs() * distance.unit, 0.0)
    if distance.how == "l2":
        taken = _spread(needed, capacity, worth.square(), gains)
    else:
        taken = _greedy(needed, capacity, torch.cat([worth, gains], 1))
    count = base.shape[1]
    steps = torch.where(slope != 0, taken[:, :count] / slope, 0.0)
    made = torch.where(free, base + steps, base)
    for i, choice in enumerate(space.choices):
        moved = taken[:, count + i, None] > 0
        made[:, choice.columns] = torch.where(
            moved, choice.options[options[:, i]], made[:, choice.columns]
        )
    return made


def _choices(
    distance: Distance, base: Tensor, chain: Tensor, slope: Tensor
) -> tuple[Tensor, Tensor]:
    """The gain of the best option of each choice, and which it is; shape (row, choice)."""
    gains, found = [], []
    for choice in distance.space.choices:
        own = (base[:, choice.columns] * slope[:, choice.columns]).sum(1, keepdim=True)
        each = slope[:, choice.columns] @ choice.options.T - own.nan_to_num(0.0)
        best = each.masked_fill(~choice.allowed[chain], -torch.inf).max(1)
        gains.append(best.values.clamp(min=0))
        found.append(best.indices)
    if not gains:
        return base.new_zeros(len(base), 0), torch.zeros(len(base), 0, dtype=torch.long)
    return torch.stack(gains, 1), torch.stack(found, 1)


def _greedy(needed: Tensor, capacity: Tensor, worth: Tensor) -> Tensor:
    """How much of the gain each variable brings, if those of the most worth come first."""
    order = worth.argsort(dim=1, descending=True, stable=True)
    sorted_ = capacity.gather(1, order)
    before = sorted_.cumsum(1) - sorted_
    taken = torch.minimum((needed[:, None] - before).clamp(min=0), sorted_)
    return torch.zeros_like(capacity).scatter(1, order, taken)


def _spread(needed: Tensor, capacity: Tensor, power: Tensor, gains: Tensor) -> Tensor:
    """How much each brings, if all numbers move with one multiplier until they reach a bound.

    A choice, which costs one, is taken where the multiplier times its gain is more than a half.
    """
    turn = torch.cat(
        [torch.where(power > 0, capacity[:, : power.shape[1]] / power, torch.inf), 0.5 / gains], 1
    )
    power = torch.cat([power, torch.zeros_like(gains)], 1)
    full = torch.zeros_like(turn, dtype=torch.bool)
    for _ in range(TURNS):
        rest = (needed - torch.where(full, capacity, 0.0).sum(1)).clamp(min=0)
        left = torch.where(full, 0.0, power).sum(1)
        much = torch.where(rest > 0, rest / left, 0.0)[:, None]
        more = ~full & (much > turn)
        if not more.any():
            break
        full = full | more
    part = torch.where(power > 0, much.nan_to_num(0.0, posinf=0.0) * power, 0.0)
    return torch.where(full, capacity, part)
