"""The expert of a dream: a density of the data, fitted once, that says how likely an input is."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pellucid.archive import Content, read, write
from pellucid.errors import InputError, UnknownNameError
from pellucid.inspect.dreaming.boltzmann import BoltzmannMachine, fit_boltzmann
from pellucid.inspect.dreaming.mixture import Mixture, fit_mixture
from pellucid.inspect.dreaming.real import real_data
from pellucid.options import number, one_of, whole
from pellucid.seeding import seeded

Model: TypeAlias = Mixture | BoltzmannMachine
FITS: dict[str, Callable[..., Model]] = {"mixture": fit_mixture, "rbm": fit_boltzmann}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Density:
    """How likely an input is among the data: log p(x), in nats, to be differentiated.

    `shape` is that of one sample. `fitted` and `held_out` are means of log p over the samples that
    it was fitted to, and over others; where they are far apart, it knows its samples by heart.

    >>> density = fit_density(torch.randn(200, 3, generator=seeded(0)), components=1)
    >>> density(torch.zeros(2, 3)).shape                       # the same as density.log_prob
    torch.Size([2])
    """

    model: Model
    shape: tuple[int, ...]
    fitted: float
    held_out: float

    def log_prob(self, x: Tensor) -> Tensor:
        """Log p(x), of shape (sample,), for inputs of shape (sample, ...).

        Device and type are those of the inputs; half precision is computed in single.
        """
        if tuple(x.shape[1:]) != self.shape or not x.is_floating_point():
            raise InputError(
                f"A density of samples of shape {list(self.shape)} must be given such inputs",
                got=x,
                hint="Fit one to data of that shape.",
            )
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return self.model.log_prob(wide.flatten(1)).to(x.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """The same as `log_prob`."""
        return self.log_prob(x)

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """Inputs that are drawn from it, of shape (sample, ...)."""
        rows = self.model.sample(whole(count, "count"), whole(seed, "seed", least=None))
        return rows.reshape(count, *self.shape)

    def save(self, path: str | Path) -> Path:
        """Write it to a safetensors file."""
        return write(DENSITY, self, path)

    @classmethod
    def load(cls, path: str | Path) -> "Density":
        """Read one back, the same as was saved."""
        return read(DENSITY, path)

    def __repr__(self) -> str:
        return (
            f"Density({self.model.said}, of {list(self.shape)}: log p {self.fitted:.1f} fitted, "
            f"{self.held_out:.1f} held out)"
        )


def fit_density(
    data: Any,
    kind: str = "mixture",
    *,
    holdout: float = 0.1,
    seed: int = 0,
    **options: Any,
) -> Density:
    """Fit a density p(x) to data of shape (sample, ...), on the CPU.

    | kind | options |
    |---|---|
    | `mixture` | `components` of Gaussians; `rank`, dimensions in which they are not round; |
    | | `shrinkage`, the least variance as a share of the elements' mean variance |
    | `rbm` | `hidden` units; `epochs`, `rate` and `chains` of the training; `noise`, the |
    | | deviation they leave, as a share of the data's: a restricted Boltzmann machine |

    A share of `holdout` is not fitted, and measures how far the density can be trusted elsewhere.

    >>> rows = torch.cat([torch.randn(80, 2) - 4, torch.randn(80, 2) + 4])
    >>> density = fit_density(rows, components=2)
    >>> bool(density(torch.full((1, 2), 4.0)) > density(torch.zeros(1, 2)))
    True
    """
    fit = FITS[one_of(kind, "`kind` of a density", FITS)]
    known = list(inspect.signature(fit).parameters)[1:-1]  # without the rows and the seed
    for name in options:
        if name not in known:
            raise UnknownNameError(f"An option of a density by {kind!r}", name, known)
    found = real_data(data, least=10)
    flat = found.flatten(1).cpu()
    flat = flat.to(torch.promote_types(flat.dtype, torch.float32))
    if not bool(flat.var(0).sum() > 0):
        raise InputError("`data` must have samples that differ", got=found)
    share = number(holdout, "holdout", "a share of the samples, between 0 and 1", above=0, most=0.9)
    order = torch.randperm(len(flat), generator=seeded(whole(seed, "seed", least=None)))
    held, kept = order.tensor_split([max(1, round(share * len(flat)))])
    model = fit(flat[kept], seed=seed, **options)
    return Density(
        model=model,
        shape=tuple(found.shape[1:]),
        fitted=float(model.log_prob(flat[kept].double()).mean()),
        held_out=float(model.log_prob(flat[held].double()).mean()),
    )


def _check(made: Density) -> None:
    """Raise for a density of which parts are missing, or do not fit together."""
    made.log_prob(torch.zeros(1, *made.shape))


DENSITY = Content(
    kind=Density,
    name="a density",
    how="density.save(path)",
    key="pellucid-density",
    format=1,
    check=_check,
)
