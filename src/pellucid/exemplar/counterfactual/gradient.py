"""Search along gradients: at each point the model is made linear, and that problem is solved.

    x[k+1] = argmin d(x, input)  such that  m(x[k]) + grad m(x[k]) · (x - x[k]) >= 0,  constraints

This is the problem of Wachter, Mittelstadt & Russell 2017, "Counterfactual explanations without
opening the black box", with their penalty replaced by constraints that hold exactly; it is solved
step by step as in Croce & Hein 2020, "Minimally distorted adversarial examples with a fast adaptive
boundary attack": outside of the wanted side mostly from where the search is, inside of it from the
input again.
"""

import torch
from torch import Tensor

from pellucid.exemplar.counterfactual.distance import Best, Distance
from pellucid.exemplar.counterfactual.linear import nearest
from pellucid.exemplar.counterfactual.oracle import Oracle
from pellucid.seeding import seeded

# Turns at most; a chain that has found nothing in some of them goes on from a random point.
TURNS, AGAIN = 60, 12
# Evaluations of a turn: forward, backward, and the same row on its grid.
COST = 3
# A step goes so much further than the linear model asks for: from outside, and from inside.
BEYOND, ABOUT = 1.05, 1 + 1e-9
# How much of a step comes from the input, at most.
FROM_INPUT = 0.1
# So many turns without getting nearer end a search that has found something.
PATIENCE = 4
PROGRESS = 0.999


def climb(oracle: Oracle, best: Best, seed: int) -> None:
    """Search from every input; what is found is offered to `best`."""
    distance, space = best.measure, best.measure.space
    x = space.start.clone()
    waiting = torch.zeros(len(x), dtype=torch.long)
    lost = torch.zeros(len(x), dtype=torch.long)
    for turn in range(TURNS):
        chain = (oracle.room(COST) & (waiting < PATIENCE)).nonzero()
        chain = chain.flatten()
        if not len(chain):
            return
        at = x[chain]
        gains, slopes = oracle.slopes(at, chain)
        before = best.distance.clone()
        _offer_on_grid(oracle, best, at, chain, gains)
        nearer = best.distance < PROGRESS * before
        waiting = torch.where(best.found & ~nearer, waiting + 1, 0)
        moved = _next(distance, at, chain, gains, slopes, turn)
        idle = (moved == at).all(1) & (gains <= 0)
        stuck = ~best.found[chain] & (idle | (turn % AGAIN == AGAIN - 1))
        lost[chain[stuck]] += 1
        moved[stuck] = _kicked(distance, chain[stuck], lost[chain[stuck]], seed, turn)
        x[chain] = moved


def _offer_on_grid(oracle: Oracle, best: Best, rows: Tensor, chain: Tensor, gains: Tensor) -> None:
    """Offer the rows that decide, once they are where numbers may be."""
    decides = gains > 0
    rows, chain, gains = rows[decides], chain[decides], gains[decides]
    snapped = best.measure.space.project(rows, chain, outward=True)
    other = ((snapped != rows) & ~rows.isnan()).any(1)
    gains = gains.clone()
    gains[other] = oracle.gains(snapped[other], chain[other])
    best.offer(snapped, chain, gains)


def _next(
    distance: Distance, at: Tensor, chain: Tensor, gains: Tensor, slopes: Tensor, turn: int
) -> Tensor:
    """The next rows (row, element), within bounds, and not yet on their grids."""
    start = distance.space.start[chain]
    away = (slopes * (start - at).nan_to_num(0.0)).sum(1)
    beyond = torch.where(gains > 0, ABOUT, BEYOND)
    home = nearest(distance, start, chain, slopes, beyond * -(gains + away))
    reach = nearest(distance, at, chain, slopes, BEYOND * -gains)
    near, far = distance.between(reach, at), distance.between(home, start)
    share = (near / (near + far).clamp(min=1e-300)).clamp(max=FROM_INPUT)
    share = torch.where(gains > 0, 1.0, torch.where(gains + away < 0, share, 0.0))[:, None]
    mixed = torch.lerp(reach, home, share)
    made = torch.where(distance.space.numeric | (share == 1), mixed, reach)
    made = torch.where(at.isnan(), at, made)
    return _shortened(distance, at, made, turn)


def _shortened(distance: Distance, at: Tensor, made: Tensor, turn: int) -> Tensor:
    """Steps no longer than the row itself, or twice as long with each turn.

    Where a model saturates, its linear continuation asks for steps beyond all measure.
    """
    most = (1 + distance.between(at, torch.zeros_like(at))) * 2.0**turn
    share = (most / distance.between(made, at).clamp(min=1e-300)).clamp(max=1.0)[:, None]
    return torch.where(distance.space.numeric & (share < 1), torch.lerp(at, made, share), made)


def _kicked(distance: Distance, chain: Tensor, lost: Tensor, seed: int, turn: int) -> Tensor:
    """Random points about the inputs, further away each time: where there is no slope."""
    start = distance.space.start[chain]
    draw = torch.randn(start.shape[1], generator=seeded(seed, turn), dtype=torch.float64)
    far = 0.25 * 2.0 ** lost[:, None] * distance.unit
    return distance.space.project(start + far * draw, chain)
