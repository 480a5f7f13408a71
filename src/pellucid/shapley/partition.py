"""Shapley values of players in groups, and of these groups in larger ones: Owen values."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.baseline import Baseline, BaselineLike
from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.features import FeaturesLike
from pellucid.features.tree import Tree, checked, halves, members
from pellucid.method import Attribution, Method, register
from pellucid.options import whole
from pellucid.shapley.exact import order_weights, sizes
from pellucid.shapley.play import Coalitions, Play, grouped, set_numbers
from pellucid.shapley.sampling import Orders, Ranks, checked_tolerance

# Differences that are listed, a coalition of each player beside those of the groups that it is in.
MOST = 2**20
# Entries, of one byte, in the table of coalitions and players; there are three more on the way.
MOST_HELD = 2**28
# So many coalitions are numbered at once.
NAMED = 2**13


@register("partition_shapley")
@dataclass(frozen=True, kw_only=True)
class PartitionShapley(Method):
    """Owen values: Shapley values of groups of players, shared within each group in the same way.

        R_i = mean of v(S + i) - v(S) over the orders of players in which no group is interrupted

    Axes: as for `exact_shapley`. `tree` says who belongs together: tuples of players, by number or
    name, and of such tuples, for all samples; left open, players are halved by where they are,
    again and again. Without `samples` the values are exact: a group of k joins with every
    coalition of the others in its group, 2^(k - 1), so that n players in halves take about n^2
    coalitions, not 2^n. With `samples`, which count orders, they are means over random ones,
    reversed in turn, with the standard errors, `tolerance` and `seed` of `shapley_sampling`.
    Laws: values sum to f(x) - mean f(baseline); an ignored player gets zero; over a tree with all
    players in one group they are Shapley values.
    Source: Owen (1977), Values of Games with a Priori Unions; Winter (1989), A Value for
    Cooperative Games with Levels Structure of Cooperation.

    >>> both = lambda x: (x[:, :1] * x[:, 1:2] + x[:, 2:])
    >>> PartitionShapley(tree=((0, 1), 2))(both, torch.tensor([[2.0, 3.0, 1.0]])).values
    tensor([[3., 3., 1.]])
    """

    answers: ClassVar[str] = "What does each part add, on average, where neighbors come together?"
    weakness: ClassVar[str] = "Depends on which parts are said to belong together."
    laws: ClassVar[frozenset[str]] = frozenset({"linear", "dummy", "invariant", "complete"})
    agnostic: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset()

    features: FeaturesLike = None
    baseline: BaselineLike = field(default_factory=Baseline)
    tree: Any = None
    samples: int | None = None
    tolerance: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", Baseline.of(self.baseline))
        object.__setattr__(self, "tree", frozen(self.tree))
        object.__setattr__(self, "tolerance", checked_tolerance(self.tolerance))
        object.__setattr__(self, "seed", whole(self.seed, "seed", least=None))
        if self.samples is not None:
            object.__setattr__(self, "samples", whole(self.samples, "samples"))
        elif self.tolerance is not None:
            raise InputError(
                "`tolerance` must come with `samples`, the most orders to draw",
                got=self.tolerance,
                hint="Without samples the values are exact.",
            )

    def attribute(self, case: Case) -> Attribution:
        """Go through the trees, or draw orders that follow them."""
        play = Play.of(case, self.features, self.baseline)
        trees = self._trees(play)
        if self.samples is not None:
            orders = Orders(play=play, keys=trees, ranks=tree_ranks, seed=self.seed)
            return orders.attribution(self.samples, self.tolerance, "partition_shapley")
        groups = grouped({row: tree for row, tree in trees.items() if play.counts[row]})
        differences = [Differences.of(tree) for tree in groups]
        asked = [
            (rows, each.coalitions) for rows, each in zip(groups.values(), differences, strict=True)
        ]
        values, empty = play.room(), play.whole.clone()
        scores = play.scores(asked, "partition_shapley")
        for rows, each, found in zip(groups.values(), differences, scores, strict=True):
            empty[rows] = found[:, 0]
            solved = each.values(torch.cat([found, play.whole[rows].unsqueeze(1)], 1))
            values[rows, : solved.shape[1]] = solved
        return play.attribution(values, empty)

    def _trees(self, play: Play) -> dict[int, Tree]:
        """The tree of each sample."""
        inputs, players = play.case.inputs, play.players
        if self.tree is None:
            return dict(enumerate(halves(players, inputs)))
        return dict(enumerate(checked(self.tree, players, inputs)))


def frozen(tree: Any) -> Any:
    """A tree that cannot be changed: tuples in the place of lists."""
    return tuple(map(frozen, tree)) if isinstance(tree, list | tuple) else tree


@dataclass(frozen=True, eq=False, kw_only=True)
class Differences:
    """What each player adds to the coalitions that an order along a tree may have before it.

    `table` holds coalitions, each once, nobody first and everyone last. Difference number d is
    that of `after[d]` and `before[d]`, counts `weights[d]`, and belongs to `player[d]`.
    """

    table: Tensor
    before: Tensor
    after: Tensor
    weights: Tensor
    player: Tensor

    @classmethod
    def of(cls, tree: Tree) -> "Differences":
        """Those of a tree, if they can be listed."""
        count = len(list(members(tree)))
        total = sum(_total(tree, 1))
        if total > MOST:
            raise InputError(
                f"Owen values are exact for trees of up to {MOST} differences",
                found=f"{count} players with {total:.3g}",
                hint="Take a tree of smaller groups, or `samples` random orders.",
            )
        if total * count > MOST_HELD:
            raise InputError(
                f"Owen values are exact where their table, who of the players is in which "
                f"coalition, has up to {MOST_HELD:.3g} entries, which take about 1 GB",
                found=f"{count} players with {total:.3g} coalitions, {total * count:.3g} entries",
                hint="Take `samples` random orders, or fewer players by `features`.",
            )
        nobody = torch.zeros(1, count, dtype=torch.bool)
        parts = list(_differences(tree, nobody, torch.ones(1, dtype=torch.float64)))
        player = torch.cat([torch.full((len(w),), i) for i, _, w in parts])
        weights = torch.cat([w for *_, w in parts])
        before = torch.cat([there for _, there, _ in parts])
        del parts  # as large as all coalitions
        table, places = _once(before, player)
        middle = 1 + len(before)
        return cls(
            table=table,
            before=places[1:middle],
            after=places[middle:-1],
            weights=weights,
            player=player,
        )

    @property
    def coalitions(self) -> Coalitions:
        """All but the last, whose score is known."""
        return Coalitions.of(self.table[:-1])

    def values(self, scores: Tensor) -> Tensor:
        """The values of players, (sample, player), from scores (sample, coalition) of the table."""
        added = (scores[:, self.after] - scores[:, self.before]) * self.weights
        found = torch.zeros(len(scores), self.table.shape[1], dtype=scores.dtype)
        return found.index_add_(1, self.player, added)


def _once(before: Tensor, player: Tensor) -> tuple[Tensor, Tensor]:
    """Nobody, coalitions, these with one player more, and everyone, none of them twice.

    Everyone stays last. The second is where each of them has gone.
    """
    numbers = set_numbers(before.shape[1])
    # In parts, since a product has eight times the size of the coalitions.
    own = torch.cat([(part * numbers).sum(1) for part in before.split(NAMED)])
    names = torch.cat([numbers[:1] * 0, own, own + numbers[player], numbers.sum(0, keepdim=True)])
    found, places = names.unique(return_inverse=True)
    first = torch.full((len(found),), len(names))
    first.scatter_reduce_(0, places, torch.arange(len(names)), "amin")
    ends = torch.tensor([int(places[0]), int(places[-1])])
    order = torch.arange(len(found))
    order = torch.cat([ends[:1], order[~torch.isin(order, ends)], ends[1:]])
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    asked = first[order[1:-1]] - 1
    table = before.new_zeros(len(order), before.shape[1])
    table[1:-1], table[-1] = before[asked % len(before)], True
    joined = (asked >= len(before)).nonzero().flatten()
    table[1 + joined, player[asked[joined] - len(before)]] = True
    return table, rank[places]


def _total(tree: Tree, above: int) -> Iterator[int]:
    """How many coalitions there are to add each player to."""
    if isinstance(tree, int):
        yield above
    else:
        for each in tree:
            yield from _total(each, above * 2 ** (len(tree) - 1))


def _differences(
    tree: Tree, there: Tensor, weights: Tensor
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Each player, with the coalitions (coalition, player) that it is added to, and their weights.

    `there` are those who may be there before the tree comes, as a whole, with such `weights`.
    """
    if isinstance(tree, int):
        yield tree, there, weights
        return
    groups = torch.zeros(len(tree), there.shape[1], dtype=torch.bool)
    for row, each in zip(groups, tree, strict=True):
        row[list(members(each))] = True
    shares = order_weights(len(tree))[sizes(len(tree) - 1)]
    bits = torch.arange(len(shares)).unsqueeze(1) >> torch.arange(len(tree) - 1) & 1
    for number, each in enumerate(tree):
        others = torch.cat([groups[:number], groups[number + 1 :]])
        joined = (bits.double() @ others.double()).bool()
        before = (there.unsqueeze(1) | joined).flatten(0, 1)
        yield from _differences(each, before, (weights.unsqueeze(1) * shares).flatten())


def tree_ranks(tree: Tree) -> Ranks:
    """All orders in which no group of a tree is interrupted are equally likely."""
    count = len(list(members(tree)))

    def ranks(generator: torch.Generator, orders: int) -> Tensor:
        found = torch.zeros(orders, count, dtype=torch.long)
        open_ = [tree]
        while open_:
            node = open_.pop()
            if isinstance(node, int) or not node:
                continue
            keys = torch.rand(orders, len(node), generator=generator, dtype=torch.float64)
            held = [list(members(each)) for each in node]
            lengths = torch.tensor([len(each) for each in held])
            order = keys.argsort(1)
            starts = lengths[order].cumsum(1) - lengths[order]
            first = torch.empty_like(starts).scatter_(1, order, starts)
            flat = torch.tensor([player for each in held for player in each])
            found[:, flat] += first.repeat_interleave(lengths, 1)
            open_ += node
        return found

    return ranks
