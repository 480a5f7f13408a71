"""How alike two maps are: the similarities that checks of explanations are stated in.

A map is a list of tensors, one for each input, of shape (sample, channel, ...): see `maps`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import conv1d

from pellucid.batching import wide
from pellucid.errors import InputError, UnknownNameError
from pellucid.options import number
from pellucid.pooling import channels_last

Map: TypeAlias = Sequence[Tensor]
# What of a map is computed once, with the samples first.
Prepared: TypeAlias = list[Tensor]

# The width of the window in which structures are compared, and how far it reaches: Wang et al.'s.
WINDOW, REACH = 1.5, 5
# What keeps the quotients of SSIM from 0/0, as parts of the range of the values.
STABLE = (0.01, 0.03)
# Values share a rank that are so close, in units of the precision of the largest; of half
# precision, where that would leave a handful of ranks, as a part of the largest.
ROUNDING, COARSEST = 64, 1e-3


class Similarity(ABC):
    """How alike two maps are: `prepare` each of them once, then `compare` what comes out.

    It is at most 1, which two equal maps have, and not a number where it is not defined.
    """

    @property
    @abstractmethod
    def words(self) -> str:
        """What it is called on an axis."""

    @abstractmethod
    def prepare(self, found: Map) -> Prepared:
        """What there is to compute of one map alone."""

    @abstractmethod
    def compare(self, a: Prepared, b: Prepared) -> Tensor:
        """How alike two prepared maps are, of shape (sample,), in double precision."""

    def __call__(self, a: Map, b: Map) -> Tensor:
        """How alike two maps are, of shape (sample,)."""
        return self.compare(self.prepare(a), self.prepare(b))


@dataclass(frozen=True, kw_only=True)
class Correlation(Similarity):
    """The correlation of two maps: of their values (Pearson) or of the ranks of these (Spearman).

        r = sum_i (a_i - mean a)(b_i - mean b) / (|a - mean a| |b - mean b|)

    Values that are equal up to rounding share the mean of their ranks. With `absolute`, of the
    sizes of the values.
    Source: Adebayo et al. (2018), Sanity Checks for Saliency Maps, for ranks with and without
    absolute values.

    >>> a, b = torch.tensor([[[1.0, 2.0, 9.0]]]), torch.tensor([[[0.0, 1.0, 2.0]]])
    >>> round(float(Correlation(ranks=True)([a], [b])), 6), round(float(Correlation()([a], [b])), 6)
    (1.0, 0.917663)
    """

    ranks: bool = False
    absolute: bool = False

    @property
    def words(self) -> str:
        """What it is called on an axis."""
        return ("rank correlation" if self.ranks else "correlation") + (
            " of sizes" if self.absolute else ""
        )

    def prepare(self, found: Map) -> Prepared:
        """Values or ranks about their mean, of length one; not numbers for a constant map."""
        flat = _flat(found)
        flat = flat.abs() if self.absolute else flat
        spread = flat.amax(1) - flat.amin(1)
        made = ranks(_rounded(flat, found)) if self.ranks else flat
        made = made - made.mean(1, keepdim=True)
        made = made / made.norm(dim=1, keepdim=True)
        constant = ~(spread > 1e-12 * flat.abs().amax(1))  # also of what is not finite
        return [made.masked_fill(constant.unsqueeze(1), torch.nan)]

    def compare(self, a: Prepared, b: Prepared) -> Tensor:
        """The product of both."""
        return _product(a, b)


@dataclass(frozen=True, kw_only=True)
class Cosine(Similarity):
    """The cosine of the angle between two maps, a b / (|a| |b|)."""

    @property
    def words(self) -> str:
        """What it is called on an axis."""
        return "cosine"

    def prepare(self, found: Map) -> Prepared:
        """The values of length one; not numbers for a map of zeros."""
        flat = _flat(found)
        return [flat / flat.norm(dim=1, keepdim=True)]

    def compare(self, a: Prepared, b: Prepared) -> Tensor:
        """The product of both."""
        return _product(a, b)


@dataclass(frozen=True, kw_only=True)
class TopShare(Similarity):
    """Which part of the strongest elements of one map are among those of the other.

    The strongest are the `share` of all elements with the largest sizes; of equal ones the first.
    Source: Ghorbani, Abid and Zou (2019), Interpretation of Neural Networks Is Fragile.

    >>> a, b = torch.tensor([[[5.0, 4.0, 0.0, 1.0]]]), torch.tensor([[[5.0, 0.0, -6.0, 1.0]]])
    >>> TopShare(share=0.5)([a], [b])
    tensor([0.5000], dtype=torch.float64)
    """

    share: float = 0.1

    @property
    def words(self) -> str:
        """What it is called on an axis."""
        return "shared among the strongest"

    def __post_init__(self) -> None:
        found = number(self.share, "share", "a fraction of the elements", above=0, most=1)
        object.__setattr__(self, "share", found)

    def prepare(self, found: Map) -> Prepared:
        """One for each of the strongest, over their number; not numbers for a map of zeros."""
        flat = _flat(found).abs()
        count = max(1, round(self.share * flat.shape[1]))
        places = flat.argsort(dim=1, descending=True, stable=True)[:, :count]
        made = torch.zeros_like(flat).scatter_(1, places, count**-0.5)
        lost = ~((flat.amax(1) > 0) & flat.isfinite().all(1))
        return [made.masked_fill(lost.unsqueeze(1), torch.nan)]

    def compare(self, a: Prepared, b: Prepared) -> Tensor:
        """The number that both have, over the number of each."""
        return _product(a, b)


@dataclass(frozen=True, kw_only=True)
class StructuralSimilarity(Similarity):
    """The mean structural similarity (SSIM) of the sizes of two maps, each divided by its largest.

        SSIM = mean of (2 m_a m_b + c1)(2 s_ab + c2) / ((m_a^2 + m_b^2 + c1)(s_a^2 + s_b^2 + c2))

    with means m, variances s^2 and covariances s_ab under a Gaussian window of deviation 1.5 at
    each position (pixel, time or token), which at a border has only the weights inside;
    c1 = 0.01^2, c2 = 0.03^2. Columns of a table have no neighbors, and are taken in their order.
    Source: Wang, Bovik, Sheikh and Simoncelli (2004), Image Quality Assessment: From Error
    Visibility to Structural Similarity; of maps Adebayo et al. (2018).

    >>> a = torch.rand(2, 1, 8, 8)
    >>> StructuralSimilarity()([a], [3 * a]).allclose(torch.ones(2, dtype=torch.float64))
    True
    """

    @property
    def words(self) -> str:
        """What it is called on an axis."""
        return "SSIM"

    def prepare(self, found: Map) -> Prepared:
        """For each input the sizes, their means and variances, of shape (sample, 3, ...)."""
        made, largest = [], _flat(found).abs().amax(1)
        for leaf in found:
            size = leaf.to(wide(leaf)).abs()
            size = size / largest.reshape(-1, *[1] * (size.ndim - 1))
            mean = _smooth(size)
            made.append(torch.stack([size, mean, _smooth(size * size) - mean * mean], 1))
        return made

    def compare(self, a: Prepared, b: Prepared) -> Tensor:
        """The mean over all positions, of all inputs."""
        found = [_structure(x, y).flatten(1) for x, y in zip(a, b, strict=True)]
        return torch.cat(found, 1).mean(1).cpu()


def _structure(a: Tensor, b: Tensor) -> Tensor:
    """The structural similarity at each position."""
    (x, mean_x, var_x), (y, mean_y, var_y) = a.unbind(1), b.unbind(1)
    covariance = _smooth(x * y) - mean_x * mean_y
    light, contrast = (k * k for k in STABLE)
    above = (2 * mean_x * mean_y + light) * (2 * covariance + contrast)
    below = (mean_x.square() + mean_y.square() + light) * (var_x + var_y + contrast)
    return above / below


def _smooth(values: Tensor) -> Tensor:
    """Weighted means under a Gaussian along every axis after sample and channel."""
    window = torch.arange(-REACH, REACH + 1).to(values)
    window = torch.exp(-0.5 * (window / WINDOW) ** 2).reshape(1, 1, -1)
    for axis in range(2, values.ndim):
        lines = values.movedim(axis, -1)
        rows = lines.reshape(-1, 1, lines.shape[-1])
        there = conv1d(torch.ones_like(rows[:1]), window, padding=REACH)
        found = conv1d(rows, window, padding=REACH) / there
        values = found.reshape(lines.shape).movedim(-1, axis)
    return values


SIMILARITIES: dict[str, Similarity] = {
    "spearman": Correlation(ranks=True),
    "absolute_spearman": Correlation(ranks=True, absolute=True),
    "pearson": Correlation(),
    "absolute_pearson": Correlation(absolute=True),
    "cosine": Cosine(),
    "ssim": StructuralSimilarity(),
    "top_share": TopShare(),
}
SimilarityLike: TypeAlias = str | Similarity


def similarity_of(given: SimilarityLike) -> Similarity:
    """A similarity by its name, or as it is."""
    if isinstance(given, Similarity):
        return given
    if isinstance(given, str) and given in SIMILARITIES:
        return SIMILARITIES[given]
    raise UnknownNameError("`similarity`", given, SIMILARITIES)


def similarities_of(given: "SimilarityLike | Sequence[SimilarityLike]") -> dict[str, Similarity]:
    """One or several similarities by what they are called."""
    several = [given] if isinstance(given, str | Similarity) else list(given)
    if not several:
        raise InputError("`similarity` must name at least one", got=given)
    return {each if isinstance(each, str) else repr(each): similarity_of(each) for each in several}


def maps(values: Sequence[Tensor]) -> list[Tensor]:
    """The values of each input as a map of shape (sample, channel, ...).

    Channels of images and volumes are added up; those of a signal stay, since each may be a
    variable of its own. Columns of a table and tokens are positions of one channel. Of integers
    that no embedding reads there is nothing.
    """
    found = [_laid_out(leaf.detach()) for leaf in values if leaf.is_floating_point()]
    if not found:
        raise InputError("A map must have values that are real numbers to be compared", got=values)
    return found


def _laid_out(leaf: Tensor) -> Tensor:
    if leaf.ndim <= 2:
        return leaf.reshape(len(leaf), 1, -1)
    if leaf.ndim == 3:
        return leaf
    return leaf.sum(-1).unsqueeze(1) if channels_last(leaf.shape[1:]) else leaf.sum(1, keepdim=True)


def ranks(rows: Tensor) -> Tensor:
    """The ranks of each row's numbers, from 1, of shape (sample, element); equal ones share one.

    >>> ranks(torch.tensor([[0.5, 0.1, 0.5, 0.9]]))
    tensor([[2.5000, 1.0000, 2.5000, 4.0000]], dtype=torch.float64)
    """
    ordered, places = rows.sort(dim=1)
    count = rows.shape[1]
    numbers = torch.arange(count, device=rows.device).expand_as(places)
    new = torch.ones_like(places, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = torch.where(new, numbers, 0).cummax(1).values
    ends = torch.ones_like(new)
    ends[:, :-1] = new[:, 1:]
    last = torch.where(ends, numbers, count).flip(1).cummin(1).values.flip(1)
    middle = (first + last).to(wide(rows)) / 2 + 1
    return torch.empty_like(middle).scatter_(1, places, middle)


def _flat(found: Map) -> Tensor:
    """All values of each sample in a row, of shape (sample, element), in double precision."""
    return torch.cat([leaf.reshape(len(leaf), -1).to(wide(leaf)) for leaf in found], 1)


def _rounded(flat: Tensor, found: Map) -> Tensor:
    """Whole numbers, which are the same for values that rounding alone keeps apart."""
    least = min(ROUNDING * max(torch.finfo(leaf.dtype).eps for leaf in found), COARSEST)
    return (flat / (least * flat.abs().amax(1, keepdim=True))).round()


def _product(a: Prepared, b: Prepared) -> Tensor:
    """The inner product of what was prepared; of two of length one, from -1 to 1."""
    return (a[0] * b[0]).sum(1).clamp(-1, 1).cpu()
