"""Which few explanations to look at, so as to see as much of a model as they can show."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.border.schema import EQUALS
from pellucid.errors import InputError
from pellucid.explanation import Explanation
from pellucid.options import whole

# Values smaller than this part of the largest are rounding.
NOTHING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Pick:
    """The samples to show, in the order in which they were chosen.

    `rows` are their numbers, `coverage` (choice,) the part of all importance that is covered with
    each, `importance` (feature,) that of each feature, of which `names` are the names.
    """

    rows: tuple[int, ...]
    coverage: Tensor
    importance: Tensor
    names: tuple[str, ...]


def submodular_pick(explanations: Explanation | Sequence[Explanation], budget: int = 5) -> Pick:
    """Choose samples whose explanations together show as many important features as they can.

        I_j = sqrt(sum over samples i of |w_ij|);  at each step the sample that adds most to
        c(V) = sum over features j, with w_ij not 0 for some i in V, of I_j

    Greedy, which is at least 1 - 1/e of the best. Explanations are of players: players of one name
    are one feature (a word that occurs twice counts with its sum), those without names are told
    apart by their number. Stops where nothing is left to cover; only sparse explanations (`k`)
    tell samples apart.
    Source: Ribeiro, Singh, Guestrin (2016), "Why Should I Trust You?", section 4 (SP-LIME).

    >>> x = torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 3.0, 1.0]])
    >>> from pellucid import explain
    >>> submodular_pick(explain(lambda x: x.sum(1, keepdim=True), x, "lime"), 2).rows
    (2, 0)
    """
    given = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    budget = whole(budget, "budget")
    weights, names = _weights(given)
    importance = weights.sum(0).sqrt()
    found = weights > NOTHING * weights.amax()
    rows: list[int] = []
    covered, coverage = torch.zeros(len(importance), dtype=torch.bool), []
    while len(rows) < min(budget, len(weights)):
        gains = ((found & ~covered).double() @ importance).tolist()
        best = max(range(len(gains)), key=gains.__getitem__)
        if gains[best] == 0:
            break
        rows.append(best)
        covered |= found[best]
        coverage.append(importance[covered].sum() / importance[found.any(0)].sum())
    return Pick(
        rows=tuple(rows),
        coverage=torch.stack(coverage) if coverage else torch.zeros(0, dtype=torch.float64),
        importance=importance,
        names=names,
    )


def _weights(explanations: list[Explanation]) -> tuple[Tensor, tuple[str, ...]]:
    """The size of each feature's value in every sample, (sample, feature), and its name."""
    places: dict[str, int] = {}
    cells: list[tuple[int, int, float]] = []
    total = 0
    for each in explanations:
        if not isinstance(each, Explanation) or each.players is None or each.features is None:
            raise InputError(
                "What is picked from must be explanations of players",
                got=getattr(each, "method", each),
                hint='For example pellucid.explain(model, inputs, "lime", k=5).',
            )
        for row, values in enumerate(each.players.cpu().double()):
            names = [name.partition(EQUALS)[0] for name in each.features.named(row)]
            pairs = zip(names, values.tolist(), strict=False)
            cells += [(total + row, places.setdefault(n, len(places)), v) for n, v in pairs]
        total += len(each)
    table = torch.zeros(total, len(places), dtype=torch.float64)
    if cells:
        rows, columns, values = zip(*cells, strict=True)
        table.index_put_(
            (torch.tensor(rows), torch.tensor(columns)),
            torch.tensor(values, dtype=torch.float64),
            accumulate=True,
        )
    return table.abs(), tuple(places)
