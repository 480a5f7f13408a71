"""Shapley values and their relatives, slowly, from the definitions; and games as models."""

import math
from collections.abc import Callable, Iterator
from itertools import combinations, permutations, product
from typing import Any

import torch
from torch import Tensor

Score = Callable[[frozenset[int]], float]


class Play(torch.nn.Module):
    """A model that plays a game: a column that is one is a player who is there, zero one who isn't.

    It counts its rows and calls.
    """

    def __init__(self, score: Score, players: int) -> None:
        super().__init__()
        self.score, self.players = score, players
        self.calls: list[int] = []
        self.known: dict[frozenset[int], float] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        sets = [frozenset(row.nonzero().flatten().tolist()) for row in x]
        for each in sets:
            self.known.setdefault(each, float(self.score(each)))
        return torch.tensor([[self.known[each]] for each in sets], dtype=x.dtype)

    @property
    def inputs(self) -> Tensor:
        """The point at which everyone is there."""
        return torch.ones(1, self.players, dtype=torch.float64)


def random_game(players: int, seed: int) -> Play:
    """A game without any structure."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(2**players, generator=generator, dtype=torch.float64).tolist()
    return Play(lambda s: table[sum(2**i for i in s)], players)


def smooth_game(players: int, seed: int, degree: int = 5) -> Play:
    """A game whose interactions get weaker the more players they have."""
    generator = torch.Generator().manual_seed(seed)
    terms = {
        each: float(torch.randn((), generator=generator, dtype=torch.float64)) * 2.0**-size
        for size in range(1, degree + 1)
        for each in combinations(range(players), size)
    }
    return Play(lambda s: sum(w for each, w in terms.items() if s.issuperset(each)), players)


def others(players: int, *without: int) -> Iterator[frozenset[int]]:
    """All coalitions of the other players."""
    rest = [i for i in range(players) if i not in without]
    for size in range(len(rest) + 1):
        yield from map(frozenset, combinations(rest, size))


def shapley(v: Score, players: int) -> Tensor:
    """The sum over coalitions of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))."""
    out = torch.zeros(players, dtype=torch.float64)
    for i in range(players):
        for s in others(players, i):
            weight = math.factorial(len(s)) * math.factorial(players - len(s) - 1)
            out[i] += weight / math.factorial(players) * (v(s | {i}) - v(s))
    return out


def interactions(v: Score, players: int) -> Tensor:
    """Half of the Shapley interaction index of each pair; on the diagonal what it leaves."""
    out = torch.zeros(players, players, dtype=torch.float64)
    for i, j in permutations(range(players), 2):
        for s in others(players, i, j):
            weight = math.factorial(len(s)) * math.factorial(players - len(s) - 2)
            both = v(s | {i, j}) - v(s | {i}) - v(s | {j}) + v(s)
            out[i, j] += weight / math.factorial(players - 1) * both / 2
    return out + torch.diag(shapley(v, players) - out.sum(1))


def owen(v: Score, tree: Any, players: int) -> Tensor:
    """The mean of what a player adds, over all orders in which no group is interrupted."""
    out = torch.zeros(players, dtype=torch.float64)
    orders = list(_orders(tree))
    for order in orders:
        for place, i in enumerate(order):
            before = frozenset(order[:place])
            out[i] += (v(before | {i}) - v(before)) / len(orders)
    return out


def _orders(tree: Any) -> Iterator[tuple[int, ...]]:
    if isinstance(tree, int):
        yield (tree,)
        return
    for children in permutations(tree):
        for parts in product(*[list(_orders(each)) for each in children]):
            yield sum(parts, ())
