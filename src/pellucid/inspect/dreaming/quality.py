"""How good dreams are: as sure as real data, near to them, like them in detail, not all alike."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pellucid.errors import InputError
from pellucid.inspect.distances import blocks, nearest
from pellucid.inspect.dreaming.dreams import Dreams
from pellucid.inspect.dreaming.layout import Field, Layout
from pellucid.inspect.dreaming.objective import Objective
from pellucid.inspect.dreaming.reader import in_the_middle
from pellucid.inspect.dreaming.real import check_class, real_pairs
from pellucid.inspect.dreaming.spectrum import slope, spectra
from pellucid.inspect.passes import Pass, passes
from pellucid.options import number
from pellucid.target.unit import INSIDE

if TYPE_CHECKING:
    import pandas as pd

Key: TypeAlias = tuple[str, tuple[int, ...]]

# Sides of images that have a spectrum to speak of.
LEAST_SIDE = 4
COLUMNS = (
    "target", "run", "score", "real_score", "probability", "distance", "real_distance",
    "spectrum", "real_spectrum", "slope", "real_slope", "diversity",
)  # fmt: skip


def quality(
    dreams: Any,
    model: Callable[..., Any],
    data: Any,
    labels: Any = None,
    *,
    quantile: float = 0.999,
) -> "pd.DataFrame":
    """Judge dreams beside real data (sample, ...): a row for each, in the order of the dreams.

    | column | what it says |
    |---|---|
    | `target`, `run` | what was dreamed of, and in which of several `dreams` |
    | `score`, `real_score` | of the dream, and the quantile (99.9 %) of real data |
    | `probability` | of the class by softmax, where the target is one |
    | `distance`, `real_distance` | |d|_2 to the nearest real sample, and the median one of a real |
    | | sample to the nearest other |
    | `spectrum`, `real_spectrum` | decibels (RMS over radii) from the mean radial power spectrum |
    | | of real data, and the median of real samples |
    | `slope`, `real_slope` | a of power ~ 1 / frequency^a; photographs of nature have 2 |
    | `diversity` | mean distance of dreams of one target, over that of pairs of real samples |

    Real data are a tensor, or batches, perhaps with labels; those of the class that a target names,
    where there are `labels`, else all. Of the
    dream of a unit, the part that it sees is compared with the same part of real data.
    `dreams` are one result or several, with other seeds, say. What has positions, at least four on
    each axis, has a spectrum. A score beyond all real ones is one that the model never saw a reason
    for; a distance many times the real one is no input of this world.
    Source: Nguyen et al. (2016), Synthesizing the Preferred Inputs for Neurons in Neural Networks
    via Deep Generator Networks; Montavon, Samek and Mueller (2018), Methods for Interpreting and
    Understanding Deep Neural Networks.
    """
    several = list(dreams) if isinstance(dreams, list | tuple) else [dreams]
    made = [each for run, one in enumerate(several) for each in made_of(one, run)]
    if not made:
        raise InputError("`dreams` must hold at least one dream", got=dreams)
    return judged(made, model, data, labels, quantile=quantile)


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """One dream, what it was of, the run it comes from, and the part of it that a unit sees."""

    run: Hashable
    objective: Objective
    inputs: Tensor
    layout: Layout
    field: Field | None = None

    @property
    def key(self) -> Key:
        """What tells objectives apart: two functions may have one name."""
        return repr(self.objective), tuple(id(p.target.function) for p in self.objective.pieces)

    def shown(self, batch: Tensor) -> Tensor:
        """What is compared of a batch: the part that is seen, with its channels first."""
        return self.layout.first(self.layout.cut(batch, self.field))


def judged(
    made: Sequence[Made], model: Callable[..., Any], data: Any, labels: Any, *, quantile: float
) -> "pd.DataFrame":
    """The table of `quality`; dreams of one objective and run are beside each other in it."""
    import pandas as pd

    level = number(quantile, "quantile", "between 0 and 1", above=0, most=1)
    real, classes = real_pairs(data, labels)
    inputs = torch.stack([each.inputs for each in made]).to(real.device)
    if inputs.shape[1:] != real.shape[1:]:
        raise InputError(
            f"`data` must have the shape of the dreams, {list(inputs.shape[1:])}", got=real
        )
    objectives = {each.key: each.objective for each in made}
    asked = _asked(model, objectives, inputs)
    by_data = _asked(model, objectives, real.to(inputs.dtype))  # which is what the model takes
    rows: list[dict[str, Any]] = [{} for _ in made]
    for key, objective in objectives.items():
        places = [i for i, each in enumerate(made) if each.key == key]
        own = _rows_of(objective, real, classes)
        shown = made[places[0]].shown
        beside = _Real(shown(real[own]), by_data[key][0][own.cpu()], level)
        score, probability = (each[places] for each in asked[key])
        columns = {"score": score, "probability": probability}
        columns |= beside.judge(shown(inputs[places]))
        for n, place in enumerate(places):
            said = {"target": objective.words(), "run": made[place].run}
            rows[place] = said | {name: float(each[n]) for name, each in columns.items()}
            rows[place] |= beside.said
    return pd.DataFrame(rows, columns=list(COLUMNS))


class _Real:
    """Real samples that belong to a target, and what dreams of it are beside them."""

    def __init__(self, samples: Tensor, scores: Tensor, level: float) -> None:
        if len(samples) < 2:
            raise InputError(
                "There must be two real samples at least beside which a dream is judged",
                found=f"{len(samples)}",
            )
        self.samples, flat = samples, samples.flatten(1)
        self.has_spectrum = samples.ndim > 2 and min(samples.shape[2:]) >= LEAST_SIDE
        self.apart = _mean_distance(flat)
        beside = nearest(flat, flat, 2)[0][:, 1]
        self.said = {
            "real_score": float(scores.quantile(level)),
            "real_distance": float(beside.median()),
            "real_spectrum": math.nan,
            "real_slope": math.nan,
        }
        if self.has_spectrum:
            own = spectra(samples)
            self.typical = own.mean(0)
            self.said["real_spectrum"] = float(_decibels(own, self.typical).median())
            self.said["real_slope"] = float(slope(self.typical[None]))

    def judge(self, dreams: Tensor) -> dict[str, Tensor]:
        """Columns of dreams (dream, ...) of one target, each of shape (dream,)."""
        flat, unknown = dreams.flatten(1), torch.full((len(dreams),), math.nan)
        own = spectra(dreams) if self.has_spectrum else None
        alike = _mean_distance(flat) / self.apart if len(dreams) > 1 else math.nan
        return {
            "distance": nearest(flat, self.samples.flatten(1), 1)[0][:, 0],
            "spectrum": unknown if own is None else _decibels(own, self.typical),
            "slope": unknown if own is None else slope(own),
            "diversity": torch.full((len(dreams),), alike),
        }


def _decibels(own: Tensor, typical: Tensor) -> Tensor:
    return (own - typical).square().mean(1).sqrt()


def _mean_distance(flat: Tensor) -> float:
    """The mean distance of two different rows."""
    total = sum(float(block.sqrt().sum()) for _, block in blocks(flat, flat))
    return total / (len(flat) * (len(flat) - 1))


def made_of(dreams: Any, run: Hashable) -> list[Made]:
    """The dreams of a result, one by one."""
    if not isinstance(dreams, Dreams):
        raise InputError(
            "`dreams` must be what pellucid.inspect.dream returns, or several in a list", got=dreams
        )
    parts = zip(dreams.targets, dreams.inputs.detach(), dreams.fields, strict=True)
    return [
        Made(run=run, objective=objective, inputs=x, layout=dreams.layout, field=field)
        for objective, x, field in parts
    ]


def _rows_of(objective: Objective, real: Tensor, classes: Tensor | None) -> Tensor:
    """Which of the real samples belong to an objective, of shape (sample,)."""
    wanted = objective.asked_class
    if classes is None or wanted is None:
        return torch.ones(len(real), dtype=torch.bool, device=real.device)
    check_class(classes, wanted)
    return (classes == wanted).to(real.device)


def _asked(
    model: Callable[..., Any], objectives: Mapping[Key, Objective], data: Tensor
) -> dict[Key, tuple[Tensor, Tensor]]:
    """The score and the probability of each objective for every sample, each (sample,)."""
    pieces = [piece for each in objectives.values() for piece in each.pieces]
    layers = sorted({piece.target.layer for piece in pieces if piece.target.layer})
    found: dict[Key, list[tuple[Tensor, Tensor]]] = {key: [] for key in objectives}
    for part in passes(model, data, layers):
        for key, objective in objectives.items():
            found[key].append(_answer(objective, part))
    return {key: _joined(answers) for key, answers in found.items()}


def _answer(objective: Objective, part: Pass) -> tuple[Tensor, Tensor]:
    score = torch.zeros(len(part), dtype=torch.float64)
    probability = torch.full_like(score, math.nan)
    wanted = objective.asked_class
    for piece in objective.pieces:
        raw, scores = part.output, part.scores
        if piece.target.layer:
            raw = scores = {INSIDE: part.returned[piece.target.layer]}
        read = piece.target.before_softmax(raw, scores)
        target = in_the_middle(piece.target, read, len(part)).resolve(read, len(part))
        found = target.score(read, raw).double().cpu()
        score += piece.weight * (logsigmoid(found) if piece.log else found)
        table = target.table(read)
        if wanted is not None and table is not None and table.ndim == 2 and table.shape[1] > 1:
            probability = table.double().cpu().softmax(1)[:, wanted]
    return score, probability


def _joined(answers: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    score, probability = zip(*answers, strict=True)
    return torch.cat(score), torch.cat(probability)
