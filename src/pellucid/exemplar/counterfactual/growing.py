"""Search without gradients: real rows that are decided so, spheres that grow, children.

Spheres about the input that grow until one holds a row that is decided otherwise are those of
Laugel, Lesot, Marsala, Renard & Detyniecki 2018, "Comparison-based inverse classification for
interpretability in machine learning". Random draws are the same for every input, so that an answer
does not depend on which others are asked for.
"""

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.exemplar.counterfactual.distance import Best, Distance
from pellucid.exemplar.counterfactual.linear import nearest
from pellucid.exemplar.counterfactual.oracle import Oracle
from pellucid.exemplar.counterfactual.polish import polish
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
# Points on the boundary of a linear model of children: the share of the way home to the input that
# each is sought from, and the share that it is beyond; of few variables, and of many, whose slope
# is found bit by bit. The ridge of that model.
AIMS = ((1.0, 1e-6), (1.0, 0.05), (1.0, 0.3))
AIMS_OF_MANY = ((1.0, 0.05), (0.3, 0.05), (0.1, 0.05))
RIDGE = 1e-9
# How coarse the noise of images is, of at least so many patches a side; and how long the steps are.
SCALES, FEWEST = (1, 2, 4, 8, 16, 32), 4
PROBED = 0.1
# Numbers of rows that are there at once.
MOST_NUMBERS = 4_000_000
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
    _, answers = oracle.judge(real, torch.zeros(len(real), dtype=torch.long))
    for chains in (live & oracle.room(count)).nonzero().flatten().split(BLOCK):
        far = best.measure.table(space.origin[chains], real)
        far = far.masked_fill(~oracle.goal.wants(answers, chains), torch.inf)
        near = far.topk(count, largest=False)
        who = chains[:, None].expand(-1, count)[near.values.isfinite()]
        rows = space.project(real[near.indices[near.values.isfinite()]], who)
        best.offer(rows, who, oracle.gains(rows, who))


def _spheres(oracle: Oracle, best: Best, live: Tensor, seed: int) -> None:
    """Look in wider and wider shells, until one holds an answer or is beyond the one there is.

    In the first ones there may be no other row: of whole numbers none is nearer than one.
    """
    space = best.measure.space
    for turn in range(SPHERES + oracle.limit // SHELL):
        inner = FIRST * WIDER ** (turn % SPHERES)
        outer = inner * WIDER
        beyond = (best.distance > inner) & (~best.found | (turn < SPHERES))
        chain = (live & oracle.room(SHELL) & beyond).nonzero().flatten()
        if not len(chain):
            return
        draws = Draws.of(best.measure, SHELL, seed, OF_SPHERES, turn)
        for part in chain.split(_block(best, SHELL)):
            who = part.repeat_interleave(SHELL)
            rows = draws.around(best.measure, who, inner, outer)
            other = space.changed(rows, space.start[who]).any(1)
            rows, who = rows[other], who[other]
            best.offer(rows, who, oracle.gains(rows, who))


def breed(oracle: Oracle, best: Best, live: Tensor, seed: int) -> None:
    """Look between an answer and its input, with some other changes: the nearest go on.

    Of many variables until the budget is spent, and, of pixels, where a linear model says.
    """
    slope = torch.zeros_like(best.rows)
    space = best.measure.space
    few = space.few
    aims = AIMS if few else AIMS_OF_MANY
    for turn in range(GENERATIONS) if few else itertools.count():
        need = CHILDREN + 1 + len(aims)
        chain = (live & best.found & oracle.room(need)).nonzero().flatten()
        if not len(chain):
            break
        draws = Draws.of(best.measure, CHILDREN, seed, OF_CHILDREN, turn)
        for part in chain.split(_block(best, CHILDREN)):
            who = part.repeat_interleave(CHILDREN)
            parent = best.rows[part]
            found, far = best.rows[who], best.distance[who]
            between = few or (space.names and turn % 2 == 1)
            rows = (draws.between if between else draws.about)(best.measure, who, found, far)
            gains = oracle.gains(rows, who)
            best.offer(rows, who, gains)
            if space.numeric.any():
                own = oracle.gains(parent, part)
                slope[part] = _slope(best, parent, own, rows, gains, slope[part])
                _aim(oracle, best, part, (parent, own, slope[part]), aims)
    polish(oracle, best, live)


def _slope(
    best: Best, parent: Tensor, own: Tensor, rows: Tensor, gains: Tensor, slope: Tensor
) -> Tensor:
    """The slope (chain, element) that fits the gains of children, and is nearest to the last one.

    As of Broyden 1965, "A class of methods for solving nonlinear simultaneous equations", for all
    children at once: what they say of few directions adds up from one generation to the next.
    """
    space, unit = best.measure.space, best.measure.unit
    rows, gains = (each.reshape(len(parent), -1, *each.shape[1:]) for each in (rows, gains))
    moves = torch.where(space.numeric, (rows - parent[:, None]).nan_to_num(0.0) / unit, 0.0)
    slope = torch.where(space.numeric, slope * unit, 0.0)
    wrong = (gains - own[:, None])[..., None] - moves @ slope[..., None]
    if moves.shape[1] > moves.shape[2]:  # the smaller of both systems
        square, right = moves.mT @ moves, moves.mT @ wrong
    else:
        square, right = moves @ moves.mT, wrong
    ridge = RIDGE * square.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-300)
    square = square + ridge[:, None, None] * torch.eye(square.shape[1], dtype=square.dtype)
    found = torch.linalg.solve(square, right)
    found = found if moves.shape[1] > moves.shape[2] else moves.mT @ found
    return (slope + found[..., 0]) / unit


def _aim(
    oracle: Oracle,
    best: Best,
    chain: Tensor,
    line: tuple[Tensor, Tensor, Tensor],
    aims: tuple[tuple[float, float], ...],
) -> None:
    """Go where a linear model, of its point, its gain there and its slope, has the boundary."""
    space, (parent, own, slope) = best.measure.space, line
    start = torch.where(space.numeric, space.start[chain], parent)
    for share, beyond in aims:
        base = torch.lerp(parent, start, share).where(~parent.isnan(), parent)
        needed = -(own + (slope * (base - parent).nan_to_num(0.0)).sum(1))
        aim = nearest(best.measure, base, chain, slope, needed + beyond * needed.abs())
        aimed = space.project(aim, chain, outward=True)
        best.offer(aimed, chain, oracle.gains(aimed, chain))


def _block(best: Best, rows: int) -> int:
    """How many chains have so many rows each at once."""
    return max(1, MOST_NUMBERS // (rows * best.rows.shape[1]))


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
        few = few.clamp(min=1.5 / space.variables) if space.names else torch.ones(count, 1)

        def uniform(width: int) -> Tensor:
            return torch.rand(count, width, generator=random, dtype=torch.float64)

        way = torch.randn(count, len(space.variable), generator=random, dtype=torch.float64)
        return cls(
            chosen=uniform(space.variables) < few,
            back=uniform(space.variables) < 0.3,
            way=smooth(way, space.shape),
            share=uniform(1).squeeze(1),
            option=uniform(len(space.choices)),
        )

    def around(self, distance: Distance, chain: Tensor, inner: float, outer: float) -> Tensor:
        """Rows at a distance between two, but for choices and bounds."""
        space = distance.space
        far = inner + (outer - inner) * self.share.repeat(self._times(chain))
        return self._moved(distance, chain, space.start[chain], far)

    def about(self, distance: Distance, chain: Tensor, found: Tensor, far: Tensor) -> Tensor:
        """Children of what was found that say which way to go: a little aside in all variables."""
        dense = replace(self, chosen=torch.ones_like(self.chosen))
        return dense._moved(distance, chain, found, PROBED * far)

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


def smooth(noise: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Noise (draw, element) of images or signals made coarse, of each draw more than of the last.

    Models see large patches rather than single pixels: Guo, Frank & Weinberger 2019, "Low frequency
    adversarial perturbation".
    """
    size = shape[1:]
    if not 1 <= len(size) <= 3:
        return noise
    made = noise.reshape(-1, *shape).clone()
    way = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    scales = [scale for scale in SCALES if min(size) // scale >= FEWEST] or [1]
    for i, scale in enumerate(scales):
        some = slice(i, None, len(scales))
        corner = (some, slice(None), *(slice(max(1, n // scale)) for n in size))
        made[some] = torch.nn.functional.interpolate(made[corner], size=size, mode=way)
    return made.flatten(1)


def _any_allowed(allowed: Tensor, draw: Tensor) -> Tensor:
    """One of the options that are allowed (row, option), each as likely, by a draw in [0, 1)."""
    count = allowed.sum(1)
    rank = (draw * count).long() + 1
    return (allowed.cumsum(1) >= rank[:, None]).byte().argmax(1)
