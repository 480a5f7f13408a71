"""Fewer and smaller changes that still decide: each is tried, and what does not decide is dropped.

Every step looks at the model's answer, so that it can only bring a row nearer to its input.
"""

import torch
from torch import Tensor

from pellucid.exemplar.counterfactual.distance import Best
from pellucid.exemplar.counterfactual.oracle import Oracle

# The changes that are made smaller one by one, the largest first.
MOST_SHRUNK = 8
# Turns to find how much of a change is needed: the first tries none of it, one is to spare, and the
# others halve what is open at the worst. Of a single change; of all, in float64 and coarser types.
ALONE = 13
EXACT, COARSE = 35, 23
# How far beyond the crossing of a straight line the next turn looks, as a part of what is open.
BEYOND = 0.1
# Significant digits that are tried, and how much longer a way may become by them.
DIGITS = (6, 5, 4, 3, 2)
LONGER = 1.05


def polish(oracle: Oracle, best: Best, live: Tensor) -> None:
    """Bring what was found for `live` chains (chain,) nearer: less of all, fewer, less of each."""
    space = best.measure.space
    shorten(oracle, best, live, COARSE if space.precision else EXACT)
    if space.few:
        sparsify(oracle, best, live)
        shrink(oracle, best, live)


def shorten(oracle: Oracle, best: Best, live: Tensor, turns: int) -> None:
    """Cut the way from the input to its row, along which the choices stay as they are found."""
    space = best.measure.space
    chain = (live & best.found & oracle.room(turns)).nonzero().flatten()
    goal = best.rows[chain]
    ways = torch.where(space.numeric, goal - space.start[chain], 0.0).nan_to_num(0.0)
    _cut(oracle, best, chain, goal, ways, turns)


def sparsify(oracle: Oracle, best: Best, live: Tensor) -> None:
    """Take back single changes while the row still decides, the one that saves most first."""
    space = best.measure.space
    active = live & best.found
    for _ in range(space.variables):
        chain = (active & oracle.room(space.variables)).nonzero().flatten()
        which = space.changed(best.rows[chain], space.start[chain])
        row, variable = which.nonzero().T
        single = torch.nn.functional.one_hot(variable, space.variables).bool()
        rows = space.project(space.revert(best.rows[chain][row], chain[row], single), chain[row])
        better = best.offer(rows, chain[row], oracle.gains(rows, chain[row]))
        active = torch.zeros_like(active)
        active[chain[row][better]] = True
        if not active.any():
            return


def shrink(oracle: Oracle, best: Best, live: Tensor) -> None:
    """Make the changes of single numbers smaller, one after the other."""
    space = best.measure.space
    for rank in range(MOST_SHRUNK):
        chain = (live & best.found & oracle.room(ALONE)).nonzero().flatten()
        goal = best.rows[chain]
        parts = ((goal - space.start[chain]).nan_to_num(0.0) / best.measure.unit).abs()
        parts = torch.where(space.numeric, parts, 0.0)
        if rank >= parts.shape[1]:
            return
        order = parts.argsort(dim=1, descending=True, stable=True)[:, rank]
        here = parts.gather(1, order[:, None]).squeeze(1) > 0
        if not here.any():
            return
        chain, goal, order = chain[here], goal[here], order[here]
        only = torch.nn.functional.one_hot(order, goal.shape[1]).double()
        ways = only * (goal - space.start[chain]).nan_to_num(0.0)
        _cut(oracle, best, chain, goal, ways, ALONE)


def tidy(oracle: Oracle, best: Best) -> None:
    """Round the numbers that change, away from the input, to as few digits as still decide."""
    space = best.measure.space
    rows, far = best.rows.clone(), best.distance.clone()
    for digits in DIGITS:
        chain = (best.found & oracle.room(1)).nonzero().flatten()
        short = space.project(_rounded(rows[chain], space.start[chain], digits), chain)
        short = torch.where(rows[chain] == space.start[chain], rows[chain], short)
        gains = oracle.gains(short, chain)
        known = best.measure(short, chain)
        good = (gains > 0) & (known <= LONGER * far[chain])
        best.rows[chain[good]], best.distance[chain[good]] = short[good], known[good]
        best.gains[chain[good]] = gains[good]


def _rounded(rows: Tensor, start: Tensor, digits: int) -> Tensor:
    """Numbers of so many significant digits, further from the start than they were."""
    size = rows.abs().clamp(min=1e-300).log10().floor()
    grid = 10.0 ** (digits - 1 - size)
    at = rows * grid
    away = torch.where(rows > start, at.ceil(), at.floor())
    near = torch.where((at - at.round()).abs() < 1e-9 * (1 + at.abs()), at.round(), away)
    return torch.where(rows == 0, rows, near / grid)


def _cut(oracle: Oracle, best: Best, chain: Tensor, goal: Tensor, ways: Tensor, turns: int) -> None:
    """Go back from each goal along its way (row, element), as far as it still decides."""
    space = best.measure.space
    share = torch.stack([torch.zeros(len(chain)), torch.ones(len(chain))]).double()
    known = torch.stack([torch.full_like(share[0], torch.nan), best.gains[chain]])
    live, least = (ways != 0).any(1), 2.0 ** (1 - turns)
    for turn in range(turns):
        at = live.nonzero().flatten()
        if not len(at):
            return
        # First none of it: often the way is not needed.
        part = (share[:, at], known[:, at])
        tried = share[0, at] if turn == 0 else _between(*part, turn - 1, least)
        back = goal[at] - (1 - tried)[:, None] * ways[at]
        rows = space.project(back, chain[at], outward=True)
        gains = oracle.gains(rows, chain[at])
        best.offer(rows, chain[at], gains)
        end = (gains > 0).long()
        share[end, at], known[end, at] = tried, gains
        live &= share[1] - share[0] > 2 * least


def _between(share: Tensor, gains: Tensor, turn: int, least: float) -> Tensor:
    """Where to look between what does not decide and what does, by their gains; both (2, row).

    As of Oliveira & Takahashi 2020, "An enhancement of the bisection method average performance
    preserving minmax optimality": beyond where a straight line crosses zero, by at least so much,
    and in the worst case one turn behind halving.
    """
    low, high = share
    middle, open_ = (low + high) / 2, high - low
    cross = (low * gains[1] - high * gains[0]) / (gains[1] - gains[0])
    cross = torch.where(cross.isfinite(), cross, middle)
    inward = (BEYOND * open_.square()).clamp(min=least)
    left = middle - cross
    near = torch.where(inward <= left.abs(), cross + left.sign() * inward, middle)
    reach = 2.0**-turn - open_ / 2
    return near.clamp(middle - reach, middle + reach)
