"""A restricted Boltzmann machine of numbers: a product of experts over a Gaussian."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pellucid.inspect.dreaming.adam import Descent
from pellucid.options import number, whole
from pellucid.seeding import seeded

# Annealed importance sampling: temperatures from independent elements to the machine, and chains.
TEMPERATURES, WALKS = 500, 64


@dataclass(frozen=True, kw_only=True, eq=False)
class BoltzmannMachine:
    """log p(x) of a restricted Boltzmann machine whose elements are numbers, by its free energy.

        log p(x) = -|u|^2 / 2 + sum_j softplus(c_j + w_j u) - log Z,   u = (x - b) / s

    `center` b and `scale` s (element,), `weights` w (hidden, element), `biases` c (hidden,);
    `log_z` is estimated once, by annealed importance sampling, and does not move what is maximized.
    Source: Hinton (2002), Training Products of Experts by Minimizing Contrastive Divergence;
    Salakhutdinov and Murray (2008), On the Quantitative Analysis of Deep Belief Networks.
    """

    center: Tensor
    scale: Tensor
    weights: Tensor
    biases: Tensor
    log_z: float

    @property
    def said(self) -> str:
        """What it is, in words."""
        return f"Boltzmann machine of {len(self.biases)} hidden units"

    def log_prob(self, x: Tensor) -> Tensor:
        """The log density of rows (sample, element), of shape (sample,)."""
        u = (x - self.center.to(x)) / self.scale.to(x)
        return _height(u, self.weights.to(x), self.biases.to(x)) - self.log_z

    def sample(self, count: int, seed: int, steps: int = 1000) -> Tensor:
        """Rows at the end of chains of Gibbs steps, of shape (sample, element)."""
        draw = seeded(seed)
        u = _normal(count, len(self.center), draw, self.weights)
        for _ in range(steps):
            u = _gibbs(u, self.weights, self.biases, draw)
        return self.center + self.scale * u


def fit_boltzmann(
    rows: Tensor,
    *,
    hidden: int = 128,
    epochs: int = 60,
    rate: float = 3e-3,
    noise: float = 0.7,
    chains: int = 64,
    seed: int = 0,
) -> BoltzmannMachine:
    """Fit a machine to rows (sample, element) by persistent contrastive divergence, with Adam.

    `noise` is the deviation of an element that the hidden units leave, as a share of the deviation
    of all elements in the data. The step of the optimizer falls to zero.
    Source: Tieleman (2008), Training Restricted Boltzmann Machines using Approximations to the
    Likelihood Gradient.
    """
    share = number(noise, "noise", "a share of the deviation, above 0", above=0, most=1)
    whole(hidden, "hidden")
    table = rows.cpu().to(torch.promote_types(rows.dtype, torch.float32))
    draw, center = seeded(seed), table.mean(0)
    scale = (table - center).square().mean().sqrt() * share
    data = (table - center) / scale
    weights = 0.01 * _normal(hidden, data.shape[1], draw, data)
    biases = data.new_full((hidden,), -1.0)
    number(rate, "rate", "above 0", above=0)
    whole(epochs, "epochs")
    with torch.inference_mode(False), torch.no_grad():
        _train(data, weights, biases, epochs, rate, whole(chains, "chains"), draw)
    wide = weights.double(), biases.double()
    volume = len(center) * math.log(float(scale))
    return BoltzmannMachine(
        center=center.double(),
        scale=scale.double().expand_as(center).contiguous(),
        weights=wide[0],
        biases=wide[1],
        log_z=log_partition(*wide, seed=seed) + volume,
    )


def _train(
    data: Tensor,
    weights: Tensor,
    biases: Tensor,
    epochs: int,
    rate: float,
    chains: int,
    draw: torch.Generator,
) -> None:
    """Pull the free energy down at the data, and up where the chains have come to."""
    descent = Descent([weights, biases])
    walkers = data[torch.randint(len(data), (chains,), generator=draw)]
    for epoch in range(epochs):
        for chosen in torch.randperm(len(data), generator=draw).split(chains):
            walkers = _gibbs(walkers, weights, biases, draw)
            here, there = (_slope(u, weights, biases) for u in (data[chosen], walkers))
            slopes = [b - a for a, b in zip(here, there, strict=True)]
            descent.step(slopes, rate * (1 - epoch / epochs))


def log_partition(
    weights: Tensor,
    biases: Tensor,
    *,
    seed: int = 0,
    temperatures: int = TEMPERATURES,
    walks: int = WALKS,
) -> float:
    """Log of the integral of exp(-|u|^2 / 2 + sum_j softplus(c_j + w_j u)) du, estimated.

    Annealed importance sampling goes from weights of zero, where it is known, to these.
    """
    draw = seeded(seed, 1)
    u = _normal(walks, weights.shape[1], draw, weights)
    log_weight = torch.zeros(walks, dtype=weights.dtype)
    for rung in range(temperatures):
        below, above = rung / temperatures, (rung + 1) / temperatures
        log_weight += _height(u, above * weights, biases) - _height(u, below * weights, biases)
        u = _gibbs(u, above * weights, biases, draw)
    start = 0.5 * weights.shape[1] * math.log(2 * math.pi) + float(softplus(biases).sum())
    return start + float(log_weight.logsumexp(0)) - math.log(walks)


def _height(u: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    """Minus the free energy, of shape (sample,)."""
    return softplus(u @ weights.T + biases).sum(1) - 0.5 * u.square().sum(1)


def _slope(u: Tensor, weights: Tensor, biases: Tensor) -> tuple[Tensor, Tensor]:
    """The mean gradient of minus the free energy by weights and biases."""
    on = (u @ weights.T + biases).sigmoid()
    return on.T @ u / len(u), on.mean(0)


def _gibbs(u: Tensor, weights: Tensor, biases: Tensor, draw: torch.Generator) -> Tensor:
    """One step: hidden units are drawn, and from these the elements."""
    on = torch.bernoulli((u @ weights.T + biases).sigmoid(), generator=draw)
    return on @ weights + _normal(len(u), u.shape[1], draw, u)


def _normal(rows: int, columns: int, draw: torch.Generator, like: Tensor) -> Tensor:
    return torch.randn(rows, columns, generator=draw, dtype=like.dtype)
