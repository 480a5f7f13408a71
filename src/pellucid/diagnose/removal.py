"""Do the strong pixels of a map matter? Remove them, and others for comparison."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import torch
from torch import Tensor

from pellucid.baseline import Baseline, BaselineLike
from pellucid.diagnose.study import Players, Study, attributions
from pellucid.errors import InputError
from pellucid.method import Attribution, Method
from pellucid.seeding import seeded
from pellucid.structure import Inputs

# The width in which a map is smoothed, and how far it is moved, as fractions of an axis.
SMOOTH = 0.03
NEAR = 0.01

# One in twenty is the least that ranks among so many draws can tell.
LEAST_DRAWS = 19
# All orders are taken where there are no more than so many.
MOST_ORDERS = 64


@dataclass(frozen=True, kw_only=True)
class Removal:
    """How much the score drops without the first pixels of an order: f(x) - f(x without them).

    `fractions` of the pixels are removed, of shape (step,). `strongest` are those of each map,
    `smoothed` those of the map under a Gaussian, both of shape (sample, method, step); `moved` is
    the pattern of the strongest, moved by a few pixels, of shape (sample, method, draw, step);
    `random` are as many at random, at least 19 times, or all orders that there are of a few, if
    `complete`, of shape (sample, draw, step). Features of a table have no neighbors: then
    `smoothed` and `moved` are not numbers. `what` names one element, `by` says what takes its
    place.
    Source: Samek et al. (2017), Evaluating the Visualization of What a Deep Neural Network Has
    Learned, for the curve and its area, the mean over the steps.
    """

    fractions: Tensor
    strongest: Tensor
    smoothed: Tensor
    moved: Tensor
    random: Tensor
    complete: bool
    what: str
    by: str


def removal(
    study: Study, replacement: BaselineLike, baseline: Baseline, fractions: Sequence[float]
) -> Removal:
    """Remove more and more of the strongest, of their neighbors, and of random elements."""
    case, players = study.case, study.players
    made, by = _replacement(study, replacement, baseline)
    found = attributions(study, study.base, (None,))
    maps = [
        _strengths(players, method, each)
        for method, (each,) in zip(study.methods, found, strict=True)
        if each is not None
    ]
    counts = sorted({max(1, math.ceil(fraction * len(players))) for fraction in fractions})
    steps, rows = len(counts), len(case)
    every = _every_order(len(players), counts)
    others = every or _random_orders(study)
    ranks = [*_orders(study, maps), *(order.expand(rows, -1) for order in others)]
    drops = torch.zeros(rows, len(ranks), steps, dtype=torch.float64)

    def point(number: int, chosen: Tensor) -> Inputs:
        order, step = divmod(number, steps)
        masks = players.masks(ranks[order][chosen] < counts[step])
        return _replaced(case.inputs.select(chosen), made.select(chosen), masks)

    whole = case.outcome.score.cpu().double()
    for part, chosen, numbers in case.stream(len(ranks) * steps, point, "removal"):
        with torch.no_grad():
            score = part.outcome.score.cpu().double()
        drops[chosen, numbers // steps, numbers % steps] = whole[chosen] - score
    own, count = 2 + study.draws, len(maps)
    random, maps_own = drops[:, count * own :], drops[:, : count * own]
    split = maps_own.reshape(rows, count, own, steps)
    return Removal(
        fractions=torch.tensor(counts, dtype=torch.float64) / len(players),
        strongest=split[:, :, 0],
        smoothed=split[:, :, 1] if players.places else split[:, :, 1] * torch.nan,
        moved=split[:, :, 2:] if players.places else split[:, :, 2:] * torch.nan,
        random=random,
        complete=bool(every),
        what=players.name,
        by=by,
    )


def is_share(method: Method) -> bool:
    """Whether the values of a method are shares of the score, and not only how it would move."""
    return "linear" in method.laws


def _strengths(players: Players, method: Method, found: Attribution) -> list[Tensor]:
    """How strong each player is: its share of the score, or how far it moves the score."""
    parts = players.pool(found.values, signed=is_share(method))
    if [part.shape[1:] for part in parts] != list(players.grids):
        raise InputError(
            "`methods` must have a value for each element of the inputs",
            found=f"{method!r}, whose values have the shape "
            f"{', '.join(str(list(part.shape)) for part in parts)} without channels",
            hint="Maps of layers must be upsampled.",
        )
    return [part.cpu().double() for part in parts]


def _replacement(study: Study, given: BaselineLike, baseline: Baseline) -> tuple[Inputs, str]:
    """What takes the place of what is removed: its own blurred surroundings, where it has any."""
    blurs = study.players.places and study.case.embedded is None
    made = Baseline.of(given) if given is not None else Baseline.blur() if blurs else baseline
    words = {"blur": "a blurred copy", "mean": "the mean of the channel", "noise": "noise"}
    plain = "zero" if made == Baseline() else "the baseline"
    return study.case.reference(made), words.get(made.kind, plain)


def _replaced(inputs: Inputs, made: Inputs, masks: dict[int, Tensor]) -> Inputs:
    pairs = zip(inputs.leaves, made.leaves, strict=True)
    return inputs.replace([
        torch.where(masks[i].to(leaf.device), other, leaf) if i in masks else leaf
        for i, (leaf, other) in enumerate(pairs)
    ])  # fmt: skip


def _orders(study: Study, maps: list[list[Tensor]]) -> list[Tensor]:
    """In which order to remove: that of each map, of it smoothed and moved, (sample, player)."""
    players, found = study.players, []
    for one in maps:
        found.append(_ranks(one))
        found.append(_ranks([_smooth(part) for part in one] if players.places else one))
        for draw in range(study.draws):
            generator = seeded(study.seed, draw)
            found.append(
                _ranks([_move(part, generator) for part in one] if players.places else one)
            )
    return found


def _random_orders(study: Study) -> list[Tensor]:
    """Places of the players in random orders, each of shape (player,)."""
    generators = [
        seeded(study.seed, study.draws + draw) for draw in range(max(study.draws, LEAST_DRAWS))
    ]
    return [torch.randperm(len(study.players), generator=each) for each in generators]


def _every_order(count: int, steps: list[int]) -> list[Tensor]:
    """All orders that differ in what is gone after some step; none where they are too many."""
    if count > MOST_ORDERS:
        return []
    sizes = [b - a for a, b in pairwise([0, *steps])]
    left = [count - gone for gone in (0, *steps)]
    ways = math.prod(math.comb(n, size) for n, size in zip(left, sizes, strict=False))
    if not 1 < ways <= MOST_ORDERS:
        return []
    return [torch.tensor(order).argsort() for order in _chains(tuple(range(count)), sizes)]


def _chains(left: tuple[int, ...], sizes: list[int]) -> Iterator[tuple[int, ...]]:
    """Players in the order in which they go, so many at a time, in all ways."""
    if not sizes:
        yield left
        return
    for first in combinations(left, sizes[0]):
        rest = tuple(player for player in left if player not in first)
        for after in _chains(rest, sizes[1:]):
            yield (*first, *after)


def _ranks(parts: list[Tensor]) -> Tensor:
    """The place of each player in the order from the strongest on, shape (sample, player)."""
    strengths = torch.cat([part.reshape(len(part), -1) for part in parts], 1)
    return strengths.argsort(dim=1, descending=True, stable=True).argsort(dim=1)


def _smooth(part: Tensor) -> Tensor:
    """A map of shape (sample, *grid) under a Gaussian of at least one element."""
    width = max(SMOOTH, 1 / min(part.shape[1:]))
    return Baseline.blur(width).single(Inputs.of(part.unsqueeze(1))).leaves[0].squeeze(1)


def _move(part: Tensor, generator: torch.Generator) -> Tensor:
    """A map moved by a few elements on every axis, and round its ends; never by nothing."""
    shifts = []
    for size in part.shape[1:]:
        near = max(1, round(NEAR * size))
        step = min(int(torch.randint(near, 2 * near + 1, (), generator=generator)), size - 1)
        shifts.append(step * (1 - 2 * int(torch.randint(2, (), generator=generator))))
    return part.roll(shifts, list(range(1, part.ndim)))
