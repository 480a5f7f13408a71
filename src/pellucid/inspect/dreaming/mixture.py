"""A mixture of Gaussians in the principal plane of the data, and one round Gaussian off it."""

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.options import number, whole
from pellucid.seeding import seeded


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    """log p(x) of a mixture whose covariances are full in a plane, and round off it.

        log p(x) = log sum_k w_k N(U (x - m); mu_k, S_k) + log N(|x - m - U'U (x - m)|; 0, v I)

    `plane` U (axis, element) has orthonormal rows and goes through `center` m (element,); `weights`
    (component,), `means` (component, axis), and `roots` (component, axis, axis) with
    roots @ roots' = S^-1; `off` is v. It is a density of all elements: it integrates to one.
    """

    center: Tensor
    plane: Tensor
    weights: Tensor
    means: Tensor
    roots: Tensor
    off: float
    converged: bool = True

    @property
    def said(self) -> str:
        """What it is, in words."""
        return f"mixture of {len(self.weights)} Gaussians in {len(self.plane)} dimensions"

    def log_prob(self, x: Tensor) -> Tensor:
        """The log density of rows (sample, element), of shape (sample,)."""
        away = x - self.center.to(x)
        plane = self.plane.to(x)
        found = _gaussians(away @ plane.T, *(t.to(x) for t in (self.means, self.roots)))
        inside = (found + self.weights.to(x).log()).logsumexp(1)
        left = len(self.center) - len(self.plane)
        if not left:
            return inside
        rest = (away - away @ plane.T @ plane).square().sum(1)
        return inside - 0.5 * (rest / self.off + left * math.log(2 * math.pi * self.off))

    def sample(self, count: int, seed: int) -> Tensor:
        """Rows that are drawn from it, of shape (sample, element)."""
        draw = seeded(seed)
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=draw)
        normal = torch.randn(count, len(self.plane), 1, generator=draw, dtype=self.means.dtype)
        spread = torch.linalg.solve(self.roots[chosen].transpose(1, 2), normal)[:, :, 0]
        noise = torch.randn(count, len(self.center), generator=draw, dtype=self.means.dtype)
        noise = (noise - noise @ self.plane.T @ self.plane) * math.sqrt(self.off)
        return self.center + (self.means[chosen] + spread) @ self.plane + noise


def _gaussians(z: Tensor, means: Tensor, roots: Tensor) -> Tensor:
    """Log N(z; mu_k, S_k), of shape (sample, component)."""
    white = torch.einsum("nka,kab->nkb", z[:, None] - means, roots)
    volume = roots.diagonal(dim1=1, dim2=2).log().sum(1)
    return volume - 0.5 * (white.square().sum(2) + means.shape[1] * math.log(2 * math.pi))


def fit_mixture(
    rows: Tensor,
    *,
    components: int = 10,
    rank: int = 60,
    shrinkage: float = 0.01,
    seed: int = 0,
) -> Mixture:
    """Fit a mixture to rows (sample, element) by principal components and scikit-learn's EM.

    `rank` is the most dimensions of the plane; no variance is less than `shrinkage` times the mean
    variance of the elements.
    """
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    share = number(shrinkage, "shrinkage", "a share of the variance, from 0 to 1", above=0, most=1)
    if whole(components, "components") > len(rows):
        raise InputError(
            f"`components` must be at most the {len(rows)} samples of the fit", got=components
        )
    table = rows.double().cpu()
    variance = float(table.var(0, correction=0).sum())
    least = share * variance / table.shape[1]
    axes = min(whole(rank, "rank"), *table.shape)
    pca = PCA(axes, random_state=seed % 2**32).fit(table.numpy())
    mixture = GaussianMixture(components, reg_covar=least, max_iter=300, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said in `converged`
        mixture.fit(pca.transform(table.numpy()))
    left = table.shape[1] - axes
    outside = (variance - float(pca.explained_variance_ratio_.sum()) * variance) / max(left, 1)
    return Mixture(
        center=torch.from_numpy(pca.mean_),
        plane=torch.from_numpy(pca.components_),
        weights=torch.from_numpy(mixture.weights_),
        means=torch.from_numpy(mixture.means_),
        roots=torch.from_numpy(mixture.precisions_cholesky_),
        off=max(outside, least),
        converged=bool(mixture.converged_),
    )
