"""Evidence for single explanations: is it better than chance, does it read the model, is it stable?

What is found is kept in `explanation.evidence`, where reports look for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from pellucid.batching import BatchSize
from pellucid.errors import InputError
from pellucid.evaluate.faithfulness import Selectivity
from pellucid.evaluate.leaderboard.contest import asked
from pellucid.evaluate.leaderboard.pieces import Cell
from pellucid.evaluate.measure import measure
from pellucid.evaluate.random_ranking import RandomRanking
from pellucid.evaluate.randomization import ModelRandomization
from pellucid.evaluate.robustness import MaxSensitivity
from pellucid.explanation import Explanation
from pellucid.method import compare
from pellucid.options import whole

# An explanation above all of so many random rankings is so by chance in one of twenty cases.
RANKINGS = 19
STEPS = 25
NEIGHBORS = 5
RADIUS = 0.02

# The names under which evidence is kept.
FLIPPING, CHANCE = "selectivity", "random_selectivity"
SANITY, STABILITY = "top_layer_randomized", "max_sensitivity"
WORDS = {
    FLIPPING: "removing parts in its order",
    SANITY: "randomizing the top layer",
    STABILITY: "moving the input a little",
}


def evidence(
    model: Callable[..., Any],
    explanations: Explanation | Sequence[Explanation],
    *,
    rankings: int = RANKINGS,
    seed: int = 0,
    batch_size: BatchSize = "auto",
) -> list[Explanation]:
    """The same explanations with what speaks for each of them, sample by sample.

    | name in `evidence` | what it is |
    |---|---|
    | `selectivity` (sample,) | how much faster than by chance the score falls in its order |
    | `random_selectivity` (sample, ranking) | the same of random rankings of the same sample |
    | `top_layer_randomized` (sample,) | how alike the map stays if the top layer is random |
    | `max_sensitivity` (sample,) | how far the map moves if the input moves by 2 % of its range |

    They are those of the metrics `selectivity`, `model_randomization` and `max_sensitivity`. What
    cannot be found (a model without layers has none to randomize) is left out, and a note says why.

    >>> import pellucid as pl
    >>> model, x = torch.nn.Linear(4, 2), torch.rand(3, 4)
    >>> [found] = evidence(model, pl.explain(model, x, "gradient_x_input"), rankings=5)
    >>> sorted(found.evidence)
    ['max_sensitivity', 'random_selectivity', 'selectivity', 'top_layer_randomized']
    """
    given = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    if not given or not all(isinstance(each, Explanation) for each in given):
        raise InputError(
            "`explanations` must be an Explanation, or a list of them", got=explanations
        )
    draws = [RandomRanking(seed=seed + k) for k in range(whole(rankings, "rankings"))]
    made: dict[int, Explanation] = {}
    for places in _alike(given):
        some = [given[place] for place in places]
        made |= dict(zip(places, _judged(model, some, draws, batch_size), strict=True))
    return [made[place] for place in range(len(given))]


def _alike(given: list[Explanation]) -> list[list[int]]:
    """The places of explanations of the same scores, which are judged together."""
    found: list[list[int]] = []
    for place, each in enumerate(given):
        for group in found:
            first = given[group[0]]
            if first.target == each.target and first.inputs is each.inputs:
                group.append(place)
                break
        else:
            found.append([place])
    return found


def _judged(
    model: Callable[..., Any],
    some: list[Explanation],
    draws: list[RandomRanking],
    batch_size: BatchSize,
) -> list[Explanation]:
    """Explanations of the same scores with their evidence."""
    names = {
        FLIPPING: Selectivity(steps=STEPS),
        SANITY: ModelRandomization(layers=1),
        STABILITY: MaxSensitivity(samples=NEIGHBORS, radius=RADIUS),
    }
    judges = list(names.values())

    def ask(rivals: Sequence[int], metrics: list[int]) -> dict[tuple[int, int], Cell]:
        found = measure(
            model,
            [some[m] for m in rivals],
            [judges[k] for k in metrics],
            batch_size=batch_size,
        )
        pairs = [(m, k) for m in rivals for k in metrics]
        return {pair: Cell.of(each) for pair, each in zip(pairs, found, strict=True)}

    cells = asked(ask, range(len(some)), list(range(len(judges))))
    chance = None
    if any(not cells[m, 0].failure for m in range(len(some))):
        chance = _by_chance(model, some[0], draws, judges[0], batch_size)
    return [
        _with(each, {name: cells[m, k] for k, name in enumerate(names)}, chance)
        for m, each in enumerate(some)
    ]


def _by_chance(
    model: Callable[..., Any],
    like: Explanation,
    draws: list[RandomRanking],
    metric: Any,
    batch_size: BatchSize,
) -> torch.Tensor:
    """The selectivity of random rankings, of shape (sample, ranking)."""
    inputs = like.inputs if like.schema is None else like.schema.decode(like.inputs)
    maps = compare(
        model,
        inputs,
        draws,
        target=like.target,
        batch_axis=like.batch_axis,
        batch_size=batch_size,
        on_incomplete="ignore",
    )
    found = measure(model, maps, metric, batch_size=batch_size)
    return torch.stack([each.values for each in found], dim=1)


def _with(
    explanation: Explanation, cells: dict[str, Cell], chance: torch.Tensor | None
) -> Explanation:
    found = {name: cell.values for name, cell in cells.items() if not cell.failure}
    if FLIPPING in found and chance is not None:
        found[CHANCE] = chance
    notes = [
        f"There is no evidence from {WORDS[name]}: {cell.failure}"
        for name, cell in cells.items()
        if cell.failure
    ]
    return replace(
        explanation,
        evidence={**explanation.evidence, **found},
        notes=(*explanation.notes, *notes),
    )
