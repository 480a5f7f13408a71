"""Which samples to label next: those that the labelled ones leave most in the dark."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pellucid.batching import BatchSize
from pellucid.errors import InputError
from pellucid.exemplar.coverage import cover, covered
from pellucid.inspect.distances import nearest
from pellucid.inspect.representation import Pool, represent, represented, taken
from pellucid.method import Method, explain, named
from pellucid.options import one_of, whole
from pellucid.run.samples import Samples
from pellucid.seeding import seeded
from pellucid.structure import leaves
from pellucid.target.unit import channel_sums

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

How: TypeAlias = Literal["coverage", "uncertainty", "unlike", "explanation", "random"]
WAYS = get_args(How)

# How unlike the labelled samples one is, is its mean distance to so many of them.
NEAREST = 5
# So many samples are explained at a time, of which features are kept.
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
    how: How = "coverage",
    *,
    layer: str | None = None,
    method: "str | Method" = "gradient_x_input",
    pool: Pool = "auto",
    seed: int = 0,
    batch_size: BatchSize = "auto",
) -> Picks:
    """Pick the unlabelled samples whose labels would tell most.

    | how | picks |
    |---|---|
    | `"coverage"` | each time the sample farthest from all labelled and picked ones |
    | `"uncertainty"` | those with the largest entropy of the model's probabilities |
    | `"unlike"` | those with the largest mean distance to the 5 nearest labelled ones |
    | `"explanation"` | as "coverage", where the samples are their explanations, of length one |
    | `"random"` | any, what others have to beat |

    Distances are those of `represent(model, data, layer, pool)`; `model=None` takes the inputs. An
    explanation is what the `method` says of the predicted class, at the `layer` as sums of its
    channels, if one is given. `labelled` are inputs, or `None` where nothing has a label.
    Source: Lewis, Gale (1994), A Sequential Algorithm for Training Text Classifiers; Sener,
    Savarese (2018), Active Learning for Convolutional Neural Networks: A Core-Set Approach.

    >>> x = torch.tensor([[1.0], [2.0], [5.0], [9.0]])
    >>> picks = choose_to_label(None, torch.tensor([[0.0]]), x, 2)
    >>> picks.index.tolist(), picks.covered.tolist()
    ([3, 2], [4.25, 1.75, 0.75])
    """
    one_of(how, "`how` to choose", WAYS)
    found = picked(
        model, labelled, unlabelled, whole(count, "count"), how, layer=layer, method=method,
        pool=pool, seed=whole(seed, "seed", least=None), batch_size=batch_size,
    )  # fmt: skip
    index = torch.tensor(found.rows)
    far, near = _nearest(found.known, found.samples[found.rows])
    return Picks(
        how=how, index=index, score=found.score.cpu(), nearest=near, distance=far,
        covered=covered(found.known, found.samples, found.rows).cpu(),
        inputs=taken(unlabelled, index),
        nearest_inputs=None if labelled is None else taken(labelled, near),
    )  # fmt: skip


class Picked(NamedTuple):
    """The rows to label, what each was picked for, and labelled and other samples as features."""

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
    layer: str | None,
    method: "str | Method",
    pool: Pool,
    seed: int,
    batch_size: BatchSize,
) -> Picked:
    """Pick samples to label, of options that are checked."""
    scores = None
    if how == "explanation":
        read = _explainer(model, layer, method, batch_size)
        samples = read(unlabelled)
    else:
        read = partial(represent, model, layer=layer, pool=pool, batch_size=batch_size)
        seen = represented(model, unlabelled, layer, pool, batch_size=batch_size)
        samples, scores = seen.features, seen.scores
    known = samples.new_zeros(0, samples.shape[1]) if labelled is None else read(labelled)
    if count > len(samples):
        raise InputError(f"`count` must be at most the {len(samples)} samples there are", got=count)
    if how in ("coverage", "explanation"):
        rows, score = cover(known, samples, count)
        return Picked(rows, score, known, samples)
    if how == "random":
        rows = drawn(len(samples), count, seed)
        return Picked(rows, torch.zeros(count, dtype=torch.float64), known, samples)
    values = _unlike(known, samples) if how == "unlike" else _uncertain(scores, model)
    best = values.sort(descending=True, stable=True)
    return Picked(best.indices[:count].tolist(), best.values[:count], known, samples)


def drawn(total: int, count: int, seed: int) -> list[int]:
    """So many of all rows, at random."""
    found: list[int] = torch.randperm(total, generator=seeded(seed))[:count].tolist()
    return found


def _uncertain(scores: Tensor | None, model: Any) -> Tensor:
    if scores is None:
        raise InputError(
            "A model must return scores (sample, class) to be uncertain",
            found="no model" if model is None else "something else",
            hint='Take how="coverage", which needs none.',
        )
    return entropies(scores)


def entropies(scores: Tensor) -> Tensor:
    """The entropy of the probabilities of scores (sample, class), in nats: (sample,).

    H = -sum_k p_k log p_k,   p = softmax(scores); of one score, of its sigmoid

    >>> entropies(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    tensor([0.6931, 0.5822], dtype=torch.float64)
    """
    scores = scores.double()
    if scores.shape[1] == 1:
        scores = torch.cat([torch.zeros_like(scores), scores], 1)
    sums = scores.sum(1)
    given = bool((scores >= 0).all()) and bool(((sums - 1).abs() < 1e-4).all())
    chances = scores if given else scores.softmax(1)
    return -torch.xlogy(chances, chances).sum(1)


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
    model: Any, layer: str | None, method: "str | Method", batch_size: BatchSize
) -> Callable[[Any], Tensor]:
    """What makes rows (sample, feature) of length one of explanations."""
    if model is None:
        raise InputError("There must be a model to be explained", got=model)
    chosen = named(method, **({} if layer is None else {"at": layer}))

    def read(data: Any) -> Tensor:
        samples, found = Samples.of(data), []
        for start in range(0, samples.rows, ROWS):
            part = samples.read(start, min(start + ROWS, samples.rows))
            values = explain(
                model, part, chosen, batch_size=batch_size, on_incomplete="ignore"
            ).values
            if layer is not None:
                values = channel_sums(values)
            rows = torch.cat([leaf.flatten(1) for _, leaf in leaves(values)], 1)
            found.append(normalize(rows.to(torch.promote_types(rows.dtype, torch.float32))))
        return torch.cat(found)

    return read
