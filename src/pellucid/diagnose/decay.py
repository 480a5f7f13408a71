"""How fast a map becomes another one as the input moves, at the input and at layers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.diagnose.study import Study, attributions, correlation, flat
from pellucid.method import Attribution
from pellucid.structure import Inputs


@dataclass(frozen=True, kw_only=True)
class Decay:
    """How the map at x + d * e is correlated with the map at x, for growing d.

        c(d) = corr(m(x), m(x + d * e)),  e ~ N(0, s^2),  s = the range of the sample

    `distances` d have shape (distance,); `correlation` has shape (sample, method, layer, draw,
    distance), with the input as its first layer, `None` in `layers`; it is not a number for a
    method that cannot be asked at a layer, and for a constant map. `change` is f(x + d * e) - f(x),
    of shape (sample, draw, distance).
    Source: Balduzzi et al. (2017), The Shattered Gradients Problem: If Resnets Are the Answer, Then
    What Is the Question?
    """

    distances: Tensor
    layers: tuple[str | None, ...]
    correlation: Tensor
    change: Tensor


def decay(study: Study, distances: Sequence[float]) -> Decay:
    """Ask every method again at points that are farther and farther away, along several lines."""
    case, many, depths = study.case, len(distances), study.depths
    asked = ("tape",) if len(depths) > 1 else ()
    at_input = _flat(attributions(study, study.base, depths))
    shape = (len(case), len(study.methods), len(depths), study.draws, many)
    found = torch.full(shape, torch.nan, dtype=torch.float64)
    change = torch.zeros(len(case), study.draws, many, dtype=torch.float64)
    score = case.outcome.score.cpu().double()

    def point(number: int, rows: Tensor) -> Inputs:
        return study.moved(number // many, rows, distances[number % many])

    for part, rows, numbers in case.stream(study.draws * many, point, "noise"):
        there = _flat(attributions(study, study.together(part, *asked), depths))
        draws, steps = numbers // many, numbers % many
        for m, line in enumerate(there):
            for k, values in enumerate(line):
                here = at_input[m][k]
                if here is not None and values is not None:
                    found[rows, m, k, draws, steps] = correlation(here[rows], values).double()
        with torch.no_grad():
            change[rows, draws, steps] = part.outcome.score.cpu().double() - score[rows]
    return Decay(
        distances=torch.tensor(distances, dtype=torch.float64),
        layers=depths,
        correlation=found,
        change=change,
    )


def _flat(found: list[list[Attribution | None]]) -> list[list[Tensor | None]]:
    return [[None if each is None else flat(each) for each in line] for line in found]
