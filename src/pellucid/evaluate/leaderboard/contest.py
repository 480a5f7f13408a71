"""The work behind a leaderboard: methods explain and metrics judge, part by part of the data.

What fails is taken out, with its reason, and all else goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.batching import BatchSize
from pellucid.errors import PellucidError, show
from pellucid.evaluate.leaderboard.pieces import Cell, Piece, Share
from pellucid.evaluate.measure import measure
from pellucid.evaluate.metric import Metric
from pellucid.explanation import Explanation
from pellucid.method import Method, compare
from pellucid.run.samples import Samples, aim_of, option_part, part_of
from pellucid.structure import leaves
from pellucid.target import TargetLike


@dataclass(frozen=True, kw_only=True, eq=False)
class Contest:
    """What is asked: all methods, the last of which is the random ranking, and all metrics."""

    model: Callable[..., Any]
    samples: Samples
    methods: Sequence[Method]
    metrics: Sequence[Metric]
    target: TargetLike
    masks: Any
    labels: Any
    batch_size: BatchSize

    def piece(self, start: int, stop: int, dead: set[tuple[int, int]]) -> Piece:
        """What is found on some samples, without the pairs of method and metric that are dead.

        A method of which all pairs are dead is not asked for maps. What goes wrong for the random
        ranking, which needs no map, is wrong with the model or the data, and is raised.
        """
        alive = [m for m in range(len(self.methods)) if not self._is_dead(m, dead)]
        found = self._explained(start, stop, alive)
        maps = {number: each for number, each in found.items() if isinstance(each, Explanation)}
        shares = {m: _share(each) for m, each in found.items()}
        cells = {
            (m, k): Cell(failure=share.failure)
            for m, share in shares.items()
            for k in range(len(self.metrics))
            if share.failure and (m, k) not in dead
        }
        cells |= self._judged(start, stop, maps, dead)
        return Piece(start=start, rows=stop - start, shares=shares, cells=cells)

    def _is_dead(self, method: int, dead: set[tuple[int, int]]) -> bool:
        pairs = {(method, metric) for metric in range(len(self.metrics))}
        return pairs <= dead and method != len(self.methods) - 1

    def _explained(
        self, start: int, stop: int, alive: list[int]
    ) -> dict[int, "Explanation | Exception"]:
        """The maps of all methods on one recording; on one each, where that fails for any."""
        inputs = self.samples.read(start, stop)
        aim = aim_of(self.target, start, stop, self.samples.rows)

        def ask(numbers: list[int]) -> list[Explanation]:
            chosen = [
                option_part(self.methods[number], start, stop, self.samples.rows)
                for number in numbers
            ]
            return compare(
                self.model,
                inputs,
                chosen,
                target=aim,
                batch_axis=self.samples.batch_axis,
                batch_size=self.batch_size,
                on_incomplete="ignore",
            )

        try:
            return dict(zip(alive, ask(alive), strict=True))
        except Exception:  # whatever a method does wrong: which one it is, each is asked below
            pass
        found: dict[int, Explanation | Exception] = {}
        (found[alive[-1]],) = ask(alive[-1:])
        for number in alive[:-1]:
            try:
                (found[number],) = ask([number])
            except Exception as error:
                found[number] = error
        return dict(sorted(found.items()))

    def _judged(
        self, start: int, stop: int, maps: dict[int, Explanation], dead: set[tuple[int, int]]
    ) -> dict[tuple[int, int], Cell]:
        """What metrics find, those that judge the same methods together."""
        total = self.samples.rows
        truth = {
            "masks": part_of(self.masks, start, stop, total, "masks"),
            "labels": part_of(self.labels, start, stop, total, "labels"),
        }
        judges = [option_part(each, start, stop, total) for each in self.metrics]
        together: dict[tuple[int, ...], list[int]] = {}
        for k in range(len(judges)):
            rivals = tuple(m for m in maps if (m, k) not in dead)
            if rivals:
                together.setdefault(rivals, []).append(k)

        def ask(rivals: Sequence[int], metrics: list[int]) -> dict[tuple[int, int], Cell]:
            found = measure(
                self.model,
                [maps[m] for m in rivals],
                [judges[k] for k in metrics],
                batch_size=self.batch_size,
                **truth,
            )
            pairs = [(m, k) for m in rivals for k in metrics]
            return {pair: Cell.of(each) for pair, each in zip(pairs, found, strict=True)}

        cells: dict[tuple[int, int], Cell] = {}
        for rivals, metrics in together.items():
            cells |= asked(ask, rivals, metrics)
        return cells


def asked(
    ask: Callable[[Sequence[int], list[int]], dict[tuple[int, int], Cell]],
    rivals: Sequence[int],
    metrics: list[int],
) -> dict[tuple[int, int], Cell]:
    """Ask of all at once; if that fails by metric, and then by rival, until it is known why."""
    try:
        return ask(rivals, metrics)
    except Exception as error:
        if len(rivals) == len(metrics) == 1:
            return {(rivals[0], metrics[0]): Cell(failure=reason(error))}
    parts = (
        [(rivals, [k]) for k in metrics] if len(metrics) > 1 else [((m,), metrics) for m in rivals]
    )
    found: dict[tuple[int, int], Cell] = {}
    for some, judges in parts:
        found |= asked(ask, some, judges)
    return found


def _share(found: "Explanation | Exception") -> Share:
    if not isinstance(found, Explanation):
        return Share(failure=reason(found))
    return Share(
        evaluations=found.evaluations,
        seconds=found.seconds,
        notes=found.notes,
        constant=int(_are_constant(found).sum()),
    )


def reason(error: Exception) -> str:
    """Why something failed, in a sentence."""
    return str(error) if isinstance(error, PellucidError) else show(error)


def _are_constant(found: Explanation) -> Tensor:
    """Which samples have a map that is the same everywhere, and so ranks nothing."""
    flat = [leaf.reshape(len(leaf), -1) for _, leaf in leaves(found.batch_first().values)]
    joined = torch.cat([each.double().cpu() for each in flat], dim=1)
    return joined.amax(1) == joined.amin(1)
