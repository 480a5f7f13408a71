"""Search without gradients: real rows that are decided so, spheres that grow, children.

Spheres about the input that grow until one holds a row that is decided otherwise are those of
Laugel, Lesot, Marsala, Renard & Detyniecki 2018, "Comparison-based inverse classification for
interpretability in machine learning". Random draws are the same for every input, so that an answer
does not depend on which others are asked for.
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.exemplar.counterfactual.best import Best
from pellucid.exemplar.counterfactual.distance import Distance
from pellucid.exemplar.counterfactual.linear import nearest
from pellucid.exemplar.counterfactual.oracle import Oracle
from pellucid.exemplar.counterfactual.polish import MOST_ALONE, polish
from pellucid.seeding import seeded

# Real rows that each input starts from, the nearest first.
STARTS = 8
# Inputs that are compared with all real rows at once.
BLOCK = 256
# Rows of a sphere; how much wider the next one is; the first one; how many, before they begin
# with the first one again.
SHELL, WIDER, FIRST, SPHERES = 48, 1.7, 0.1, 24
# Children of what was found, and how often.
CHILDREN, GENERATIONS = 24, 8
# Shares beyond the boundary of a linear model of children, and its ridge.
BEYOND, RIDGE = (1e-6, 0.05, 0.3), 1e-9
# The phases of the draws.
OF_SPHERES, OF_CHILDREN = 1, 2


def grow(oracle: Oracle, best: Best, real: Tensor | None, live: Tensor, seed: int) -> None:
    """Search about the inputs that are `live` (chain,), and from rows of data (row, element)."""
    _at_start(oracle, best, live)
    if real is not None:
        _from_real(oracle, best, real, live)
    _spheres(oracle, best, live, seed)
    polish(oracle, best, live)


def _at_start(oracle: Oracle, best: Best, live: Tensor) -> None:
    """What the constraints ask for anyway may be enough."""
    chain = (live & oracle.room(1)).nonzero().flatten()
    rows = best.measure.space.start[chain]
    best.offer(rows, chain, oracle.gains(rows, chain))


def _from_real(oracle: Oracle, best: Best, real: Tensor, live: Tensor) -> None:
    """The nearest real rows that decide, as far as the constraints let them in."""
    space, count = best.measure.space, min(STARTS, len(real))
    answers = oracle.answers(real, torch.zeros(len(real), dtype=torch.long))
    for chains in (live & oracle.room(count)).nonzero().flatten().split(BLOCK):
        far = best.measure.table(space.origin[chains], real)
        far = far.masked_fill(~oracle.goal.wants(answers, chains), torch.inf)
        near = far.topk(count, largest=False)
        who = chains[:, None].expand(-1, count)[near.values.isfinite()]
        rows = space.project(real[near.indices[near.values.isfinite()]], who)
        best.offer(rows, who, oracle.gains(rows, who))


def _spheres(oracle: Oracle, best: Best, live: Tensor, seed: int) -> None:
    """Look in wider and wider shells, until one holds an answer or is beyond the one there is."""
    for turn in itertools.count():
        inner = FIRST * WIDER ** (turn % SPHERES)
        outer = inner * WIDER
        beyond = (best.distance > inner) & (~best.found | (turn < SPHERES))
        chain = (live & oracle.room(SHELL) & beyond).nonzero().flatten()
        if not len(chain):
            return
        draws = Draws.of(best.measure, SHELL, seed, OF_SPHERES, turn)
        who = chain.repeat_interleave(SHELL)
        rows = draws.around(best.measure, who, inner, outer)
        best.offer(rows, who, oracle.gains(rows, who))


def breed(oracle: Oracle, best: Best, live: Tensor, seed: int) -> None:
    """Look between an answer and its input, with some other changes: the nearest go on."""
    for turn in range(GENERATIONS):
        need = CHILDREN + 1 + len(BEYOND)
        chain = (live & best.found & oracle.room(need)).nonzero().flatten()
        if not len(chain):
            break
        draws = Draws.of(best.measure, CHILDREN, seed, OF_CHILDREN, turn)
        who = chain.repeat_interleave(CHILDREN)
        parent = best.rows[chain]
        rows = draws.between(best.measure, who, best.rows[who], best.distance[who])
        gains = oracle.gains(rows, who)
        best.offer(rows, who, gains)
        _along(oracle, best, chain, parent, (rows, gains))
    polish(oracle, best, live)


def _along(
    oracle: Oracle, best: Best, chain: Tensor, parent: Tensor, children: tuple[Tensor, Tensor]
) -> None:
    """Go where a linear model of the gains of children, by least squares, has the boundary."""
    space, unit = best.measure.space, best.measure.unit
    if not space.numeric.any() or space.variables > MOST_ALONE:
        return
    own = oracle.gains(parent, chain)
    rows, gains = (each.reshape(len(chain), -1, *each.shape[1:]) for each in children)
    moves = torch.where(space.numeric, (rows - parent[:, None]).nan_to_num(0.0) / unit, 0.0)
    square = moves.mT @ moves
    ridge = RIDGE * square.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-300)
    square = square + ridge[:, None, None] * torch.eye(len(unit), dtype=square.dtype)
    slope = torch.linalg.solve(square, moves.mT @ (gains - own[:, None])[..., None])[..., 0] / unit
    start = torch.where(space.numeric, space.start[chain], parent)
    needed = -(own + (slope * (start - parent).nan_to_num(0.0)).sum(1))
    for beyond in BEYOND:
        aim = nearest(best.measure, start, chain, slope, needed + beyond * needed.abs())
        aimed = space.project(aim, chain, outward=True)
        best.offer(aimed, chain, oracle.gains(aimed, chain))


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """Random numbers of some rows: which variables change, which way, how far.

    `chosen` and `back` (draw, variable), `way` (draw, element), `share` (draw,), `option`
    (draw, choice).
    """

    chosen: Tensor
    back: Tensor
    way: Tensor
    share: Tensor
    option: Tensor

    @classmethod
    def of(cls, distance: Distance, count: int, seed: int, *numbers: int) -> "Draws":
        """Draw them; half of the rows change few variables, the others any number."""
        space, random = distance.space, seeded(seed, *numbers)
        few = torch.rand(count, 1, generator=random) ** 2
        few = few.clamp(min=1.5 / space.variables)

        def uniform(width: int) -> Tensor:
            return torch.rand(count, width, generator=random, dtype=torch.float64)

        return cls(
            chosen=uniform(space.variables) < few,
            back=uniform(space.variables) < 0.3,
            way=torch.randn(count, len(space.variable), generator=random, dtype=torch.float64),
            share=uniform(1).squeeze(1),
            option=uniform(len(space.choices)),
        )

    def around(self, distance: Distance, chain: Tensor, inner: float, outer: float) -> Tensor:
        """Rows at a distance between two, but for choices and bounds."""
        space = distance.space
        far = inner + (outer - inner) * self.share.repeat(self._times(chain))
        return self._moved(distance, chain, space.start[chain], far)

    def between(self, distance: Distance, chain: Tensor, found: Tensor, far: Tensor) -> Tensor:
        """Children of what was found: part of the way back, and a little aside."""
        space, times = distance.space, self._times(chain)
        back = self.back.repeat(times, 1)
        part = self.share.repeat(times)[:, None]
        whole = space.revert(found, chain, back)
        near = torch.where(space.numeric, torch.lerp(found, space.start[chain], 0.5 * part), found)
        base = torch.where((part > 0.5) & space.numeric, near, whole)
        aside = self._moved(distance, chain, base, 0.3 * far * part.squeeze(1))
        alone = (torch.arange(len(self.share)) % 2 == 0).repeat(times)[:, None]
        return torch.where(alone, space.project(base, chain), aside)

    def _moved(self, distance: Distance, chain: Tensor, base: Tensor, far: Tensor) -> Tensor:
        """The base with the chosen variables changed: numbers by so much, choices to any."""
        space, times = distance.space, self._times(chain)
        chosen = self.chosen.repeat(times, 1)[:, space.variable]
        way = torch.where(chosen & space.numeric, self.way.repeat(times, 1), 0.0)
        way = way * (~space.fixed[chain])
        power = 2 if distance.how == "l2" else 1
        length = torch.linalg.vector_norm(way, power, dim=1, keepdim=True).clamp(min=1e-12)
        rows = base + way / length * far[:, None] * distance.unit
        for i, choice in enumerate(space.choices):
            option = _any_allowed(choice.allowed[chain], self.option[:, i].repeat(times))
            picked = chosen[:, choice.columns]
            rows[:, choice.columns] = torch.where(
                picked, choice.options[option], base[:, choice.columns]
            )
        return space.project(rows, chain)

    def _times(self, chain: Tensor) -> int:
        return len(chain) // len(self.share)


def _any_allowed(allowed: Tensor, draw: Tensor) -> Tensor:
    """One of the options that are allowed (row, option), each as likely, by a draw in [0, 1)."""
    count = allowed.sum(1)
    rank = (draw * count).long() + 1
    return (allowed.cumsum(1) >= rank[:, None]).byte().argmax(1)
