"""A data set as points of the plane, as a layer of a model sees it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pellucid.batching import BatchSize
from pellucid.errors import InputError, MissingExtraError
from pellucid.inspect.pools import Pool
from pellucid.inspect.representation import (
    known_labels,
    predicted_labels,
    represented,
)
from pellucid.inspect.tsne import affinities, perplexities, trustworthiness
from pellucid.options import number, one_of, whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

How: TypeAlias = Literal["pca", "tsne", "opentsne"]

# t-SNE looks at so many principal components, as in its paper.
COMPONENTS = 50
PERPLEXITY = 30.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding:
    """Samples as points (sample, 2), and how far the picture can be trusted.

    `trustworthiness` says whether the `neighbours` nearest points are near in the data as well.
    `explained` is the part of the variance on each axis (PCA), `perplexities` how many neighbours
    each sample has in effect (t-SNE). `labels` and what the model `predicted` are there if known.
    """

    points: Tensor
    how: str
    trustworthiness: float
    neighbours: int
    explained: Tensor | None = None
    perplexities: Tensor | None = None
    labels: tuple[Any, ...] | None = field(repr=False, default=None)
    predicted: tuple[Any, ...] | None = field(repr=False, default=None)
    data: Any = field(repr=False, default=None)

    def __len__(self) -> int:
        return len(self.points)

    @property
    def errors(self) -> Tensor | None:
        """Which samples the model gets wrong, (sample,); `None` where that is not known."""
        if self.labels is None or self.predicted is None:
            return None
        pairs = zip(self.labels, self.predicted, strict=True)
        return torch.tensor([label != found for label, found in pairs])

    @property
    def evidence(self) -> str:
        """In words, how far the picture can be trusted."""
        said = f"trustworthiness {self.trustworthiness:.3f} ({self.neighbours} neighbours)"
        if self.explained is not None:
            return f"{said}, {float(self.explained.sum()):.0%} of the variance"
        if self.perplexities is not None:
            low, high = self.perplexities.min(), self.perplexities.max()
            span = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
            return f"{said}, perplexity {span}"
        return said

    def to_frame(self) -> "pd.DataFrame":
        """One row a sample: its point, its label, and what the model says."""
        import pandas as pd

        columns = {"x": self.points[:, 0].tolist(), "y": self.points[:, 1].tolist()}
        known = {"label": self.labels, "predicted": self.predicted}
        return pd.DataFrame(columns | {k: list(v) for k, v in known.items() if v is not None})

    def plot(self, ax: "Axes | None" = None, **options: Any) -> "Axes":
        """Draw the points, or pictures in their place; options as in `plot.embedding`."""
        from pellucid.plot.embedding import draw_embedding

        return draw_embedding(self, ax, **options)

    def __repr__(self) -> str:
        return f"Embedding of {len(self)} samples by {self.how}: {self.evidence}"


def embed(
    model: Any,
    data: Any,
    layer: str | None = None,
    *,
    how: How = "pca",
    labels: Any = None,
    perplexity: float | None = None,
    neighbours: int = 5,
    seed: int = 0,
    pool: Pool = "auto",
    batch_size: BatchSize = "auto",
) -> Embedding:
    """Place the samples of a data set in the plane, by their features at a layer.

    "pca" takes the two directions of largest variance. "tsne" keeps neighbours together: of the
    affinities p(j|i) of the features and those q of the points, with heavy tails, it makes
    KL(p || q) small; `perplexity` is about the number of neighbours of each sample: 30, or a third
    of the samples. "opentsne" does the same for many samples, with pellucid[embedding]. Features
    are those of `represent(model, data, layer, pool)`; `model=None` takes the inputs themselves.

    Distances between clusters, and their sizes, mean little in t-SNE.
    Law: every row of p has the perplexity that is asked for, where samples are not copies.
    Source: Pearson (1901), On Lines and Planes of Closest Fit; van der Maaten, Hinton (2008),
    Visualizing Data using t-SNE.

    >>> x = torch.cat([torch.randn(20, 4), torch.randn(20, 4) + 9])
    >>> found = embed(None, x, labels=[0] * 20 + [1] * 20)
    >>> found.points.shape, bool(found.explained.sum() > 0.8)
    (torch.Size([40, 2]), True)
    """
    one_of(how, "`how` of embeddings", ("pca", "tsne", "opentsne"))
    seed, k = whole(seed, "seed", least=None), whole(neighbours, "neighbours")
    seen = represented(model, data, layer, pool, batch_size=batch_size)
    samples = seen.features
    _check_size(samples, k)
    known = known_labels(labels, seen, data)
    points, explained, held = _placed(samples, how, perplexity, seed)
    return Embedding(
        points=points,
        how=how,
        trustworthiness=trustworthiness(samples, points, k),
        neighbours=k,
        explained=explained,
        perplexities=held,
        labels=None if known is None else tuple(known),
        predicted=predicted_labels(seen, known),
        data=data,
    )


def _placed(
    samples: Tensor, how: str, perplexity: float | None, seed: int
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The points, the parts of the variance of PCA, and the perplexities of t-SNE."""
    array, explained, held = samples.cpu().double().numpy(), None, None
    array = array - array.mean(0)  # so that what all have in common takes no digits
    if how == "pca":
        array, explained = _pca(array, 2, seed)
    else:
        wanted = _perplexity(perplexity, len(samples))
        if array.shape[1] > COMPONENTS < len(array):
            array, _ = _pca(array, COMPONENTS, seed)
        held = perplexities(affinities(torch.from_numpy(array), wanted)[1])
        array = TSNES[how](array, wanted, seed % 2**32)
    return torch.from_numpy(np.array(array)).to(samples), explained, held


def _pca(array: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, Tensor]:
    """The coordinates on the first principal components, and their parts of the variance."""
    from sklearn.decomposition import PCA

    if array.shape[1] < count:  # of one feature, the second axis is empty
        array = np.concatenate([array, np.zeros((len(array), count - array.shape[1]))], 1)
    fit = PCA(count, random_state=seed % 2**32)
    with np.errstate(invalid="ignore"):  # samples that are all equal have no variance
        points = fit.fit_transform(array)
    return points, torch.from_numpy(np.nan_to_num(fit.explained_variance_ratio_))


def _tsne(array: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(array)


def _opentsne(array: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise MissingExtraError("t-SNE by openTSNE", extra="embedding") from error
    return np.asarray(TSNE(perplexity=perplexity, random_state=seed).fit(array))


TSNES: dict[str, Callable[[np.ndarray, float, int], np.ndarray]] = {
    "tsne": _tsne,
    "opentsne": _opentsne,
}


def _perplexity(given: float | None, total: int) -> float:
    """The perplexity that is asked for, if so many samples can have it."""
    most = (total - 1) / 3
    if given is None:
        return min(PERPLEXITY, most)
    must = f"at most {most:g} for {total} samples, a third of the others, and above 1"
    return number(given, "perplexity", must, above=1, most=most)


def _check_size(samples: Tensor, k: int) -> None:
    if len(samples) < 2 * k + 2:
        raise InputError(
            f"There must be at least {2 * k + 2} samples for a picture of them",
            found=f"{len(samples)} samples, with {k} `neighbours` to judge it by",
        )
    if bool((samples == samples[0]).all()):
        raise InputError(
            "Samples must differ in their features for a picture of them",
            found=f"{len(samples)} that are all alike",
            hint="Take another layer: this one may be dead, or the data copies of one sample.",
        )
