"""Which samples to label next: those that the labelled ones leave most in the dark."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from pellucid.batching import BatchSize
from pellucid.errors import InputError
from pellucid.exemplar.coverage import cover, covered
from pellucid.exemplar.uncertainty import diverse, doubts, entropies
from pellucid.inspect.distances import directions, nearest
from pellucid.inspect.passes import passes, stream
from pellucid.inspect.pools import Pool, of_layer
from pellucid.inspect.representation import Represented, represented
from pellucid.inspect.shown import check_order, is_table, taken, unpaired
from pellucid.method import Method, explain, named
from pellucid.options import one_of, whole
from pellucid.run.samples import Samples
from pellucid.seeding import seeded
from pellucid.structure import Inputs, leaves
from pellucid.target import Target

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

How: TypeAlias = Literal[
    "diverse", "coverage", "margin", "uncertainty", "unlike", "explanation", "random"
]
WAYS = get_args(How)
Space: TypeAlias = Literal["model", "inputs"]
# Ways that need scores (sample, class) of the model.
SCORED = ("diverse", "margin", "uncertainty")

# How unlike the labelled samples one is, is its mean distance to so many of them.
NEAREST = 5
# So many rows of a table are explained at a time, of which features are kept.
ROWS = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class Picks:
    """Samples to label, and what each adds.

    `index` are rows of the unlabelled data, (pick,), in the order in which to label them; `score`
    is what they were picked for. `nearest` is the labelled row that is nearest to each, at a
    `distance` (-1: there is none). `covered` is the mean distance of all unlabelled samples to the
    nearest labelled one, before and after each pick, (pick + 1,).
    """

    how: str
    index: Tensor
    score: Tensor
    nearest: Tensor
    distance: Tensor
    covered: Tensor
    inputs: Any = field(repr=False, default=None)
    nearest_inputs: Any = field(repr=False, default=None)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def adds(self) -> Tensor:
        """By how much each pick makes the mean distance smaller, (pick,)."""
        return self.covered[:-1] - self.covered[1:]

    def to_frame(self) -> "pd.DataFrame":
        """One row a pick, in the order in which to label them."""
        import pandas as pd

        return pd.DataFrame({
            "row": self.index.tolist(),
            "score": self.score.tolist(),
            "nearest": self.nearest.tolist(),
            "distance": self.distance.tolist(),
            "adds": self.adds.tolist(),
        })  # fmt: skip

    def plot(self, **options: Any) -> "Figure":
        """Draw what each pick adds, above the picks; options as in `plot.labelling`."""
        from pellucid.plot.labelling import draw_picks

        return draw_picks(self, **options)

    def __repr__(self) -> str:
        before, after = float(self.covered[0]), float(self.covered[-1])
        said = f"mean distance to a labelled sample {before:.4g}, then {after:.4g}"
        return f"Picks by {self.how}: {len(self)} samples to label; {said}"


def choose_to_label(
    model: Any,
    labelled: Any,
    unlabelled: Any,
    count: int,
    how: How | Literal["auto"] = "auto",
    *,
    features: Space = "model",
    layer: str | None = None,
    method: "str | Method" = "gradient_x_input",
    pool: Pool = "auto",
    seed: int = 0,
    batch_size: BatchSize = "auto",
) -> Picks:
    """Pick the unlabelled samples whose labels would tell most.

    | how | picks |
    |---|---|
    | `"auto"` | "diverse", where there is a model with scores of classes, or else "coverage" |
    | `"diverse"` | of the 10 x count smallest margins one from each of `count` groups (k-means) |
    | `"coverage"` | each time the sample farthest from all labelled and picked ones |
    | `"margin"` | those whose two largest probabilities differ least |
    | `"uncertainty"` | those with the largest entropy of the model's probabilities |
    | `"unlike"` | those with the largest mean distance to the 5 nearest labelled ones |
    | `"explanation"` | as "coverage", where the samples are their explanations, of length one |
    | `"random"` | any, what others have to beat |

    Distances are those of `represent(model, data, layer, pool)`, or with `features="inputs"`, and
    without a model, of the inputs. An explanation is what the `method` says of the predicted class,
    at the `layer`, if one is given, as `pool` makes rows of it. One score alone is that of the
    second class of two. `labelled` are inputs, or `None` where nothing has a label. Coverage goes
    to outliers first, and entropy to what a young model mixes up anyway: both can teach less than
    random picks, as `grow` measures.
    Source: Lewis, Gale (1994), A Sequential Algorithm for Training Text Classifiers; Sener,
    Savarese (2018), Active Learning for Convolutional Neural Networks: A Core-Set Approach;
    Zhdanov (2019), Diverse Mini-Batch Active Learning.

    >>> x = torch.tensor([[1.0], [2.0], [5.0], [9.0]])
    >>> picks = choose_to_label(None, torch.tensor([[0.0]]), x, 2)
    >>> picks.index.tolist(), picks.covered.tolist()
    ([3, 2], [4.25, 1.75, 0.75])
    """
    one_of(how, "`how` to choose", ("auto", *WAYS))
    one_of(features, "`features` to choose by", get_args(Space))
    if features == "inputs" and layer is not None and how != "explanation":
        raise InputError('`layer` must be left out with features="inputs"', got=layer)
    check_order(unlabelled, "Unlabelled samples")
    check_order(labelled, "Labelled samples")
    found = picked(
        model, labelled, unlabelled, whole(count, "count"), how, features=features, layer=layer,
        method=method, pool=pool, seed=whole(seed, "seed", least=None), batch_size=batch_size,
    )  # fmt: skip
    index = torch.tensor(found.rows)
    far, near = _nearest(found.known, found.samples[found.rows])
    return Picks(
        how=found.how, index=index, score=found.score.cpu(), nearest=near, distance=far,
        covered=covered(found.known, found.samples, found.rows).cpu(),
        inputs=taken(unlabelled, index),
        nearest_inputs=None if labelled is None else taken(labelled, near),
    )  # fmt: skip


class Picked(NamedTuple):
    """The rows to label, what each was picked for, and labelled and other samples as features."""

    how: str
    rows: list[int]
    score: Tensor
    known: Tensor
    samples: Tensor


def picked(
    model: Any,
    labelled: Any,
    unlabelled: Any,
    count: int,
    how: str,
    *,
    features: str,
    layer: str | None,
    method: "str | Method",
    pool: Pool,
    seed: int,
    batch_size: BatchSize,
) -> Picked:
    """Pick samples to label, of options that are checked."""
    on_inputs = features == "inputs"
    if how == "explanation":
        read = _explainer(model, layer, method, pool, batch_size)
    else:
        own, place = (None, None) if on_inputs else (model, layer)
        read = partial(represented, own, layer=place, pool=pool, batch_size=batch_size)
    first = read
    if on_inputs and model is not None and how in ("auto", *SCORED):
        first = partial(represented, model, layer=None, pool=pool, batch_size=batch_size,
                        of_inputs=True)  # fmt: skip
    seen = first(unlabelled)
    samples, scores = seen.features, seen.scores
    if count > len(samples):
        raise InputError(f"`count` must be at most the {len(samples)} samples there are", got=count)
    known = samples.new_zeros(0, samples.shape[1])
    if labelled is not None:
        known = read(labelled).features
    if how == "auto":
        how = "coverage" if scores is None else "diverse"
    rows, score = _ranked(how, scores, model, known, samples, count, seed)
    return Picked(how, rows, score, known, samples)


def _ranked(
    how: str,
    scores: Tensor | None,
    model: Any,
    known: Tensor,
    samples: Tensor,
    count: int,
    seed: int,
) -> tuple[list[int], Tensor]:
    """The rows that are picked, and what each was picked for."""
    if how in ("coverage", "explanation"):
        return cover(known, samples, count)
    if how == "random":
        return drawn(len(samples), count, seed), torch.zeros(count, dtype=torch.float64)
    if how == "diverse":
        return diverse(_known(scores, model), samples, count, seed)
    if how == "unlike":
        values = _unlike(known, samples)
    else:
        values = (doubts if how == "margin" else entropies)(_known(scores, model))
    best = values.sort(descending=True, stable=True)
    return best.indices[:count].tolist(), best.values[:count]


def drawn(total: int, count: int, seed: int) -> list[int]:
    """So many of all rows, at random."""
    found: list[int] = torch.randperm(total, generator=seeded(seed))[:count].tolist()
    return found


def _known(scores: Tensor | None, model: Any) -> Tensor:
    if scores is None:
        raise InputError(
            "A model must return scores (sample, class) to be uncertain",
            found="no model" if model is None else f"something else of {type(model).__name__}",
            hint='Take how="coverage", which needs none.',
        )
    return scores


def _unlike(known: Tensor, samples: Tensor) -> Tensor:
    if not len(known):
        raise InputError(
            "There must be labelled samples to be unlike",
            found="none",
            hint='Take how="coverage", which begins in the middle.',
        )
    return nearest(samples, known, min(NEAREST, len(known)))[0].mean(1)


def _nearest(known: Tensor, picked: Tensor) -> tuple[Tensor, Tensor]:
    """How far each pick is from the nearest labelled sample, and which that is."""
    if not len(known):
        nothing = torch.full((len(picked),), torch.inf, dtype=torch.float64)
        return nothing, torch.full((len(picked),), -1)
    far, near = nearest(picked, known, 1)
    return far[:, 0].cpu(), near[:, 0].cpu()


def _explainer(
    model: Any, layer: str | None, method: "str | Method", pool: Pool, batch_size: BatchSize
) -> Callable[[Any], Represented]:
    """What makes rows (sample, feature) of length one of explanations."""
    if model is None:
        raise InputError("There must be a model to be explained", got=model)
    chosen = named(method, **({} if layer is None else {"at": layer}))
    aims: list[Target | None] = []

    def rows_of(part: Any) -> Tensor:
        if not aims:  # the first batch tells
            aims.append(_aim(model, part))
        values = explain(
            model, part, chosen, target=aims[0], batch_size=batch_size, on_incomplete="ignore"
        ).values
        if layer is not None:
            values = of_layer(model, layer, pool, values, Inputs.of(part))
        rows = torch.cat([leaf.flatten(1) for _, leaf in leaves(values)], 1)
        return directions(rows).to(torch.promote_types(rows.dtype, torch.float32))

    def read(data: Any) -> Represented:
        data = unpaired(data)[0]
        if is_table(data):
            samples = Samples.of(data)
            starts = range(0, samples.rows, ROWS)
            found = [rows_of(samples.read(a, min(a + ROWS, samples.rows))) for a in starts]
        else:
            run = lambda start, inputs, labels: rows_of(inputs.pack(inputs.leaves))  # noqa: E731
            found = list(stream(data, run, batch_size=batch_size))
        return Represented(features=torch.cat(found))

    return read


def _aim(model: Any, part: Any) -> Target | None:
    """What is explained: the predicted class, which a model may name among other `logits`."""
    if is_table(part):
        return None
    output = next(passes(model, Inputs.of(part).select(slice(1)))).output
    return Target.path("logits") if isinstance(output, Mapping) and "logits" in output else None
