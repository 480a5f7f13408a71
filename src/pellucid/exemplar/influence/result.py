"""What influence is answered with: values of training examples, and how far to trust them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from pellucid.errors import InputError
from pellucid.exemplar.influence.data import Labelled
from pellucid.options import whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Top(NamedTuple):
    """The numbers of training examples (test, rank), the strongest first.

    Where fewer than asked for help, or harm, the others of a row are -1.
    """

    helpful: Tensor
    harmful: Tensor


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """How well the curvature was undone: by which damping, in how many steps, what is left of it.

    `residual` (test,), or of self-influence (train,), is the relative residual
    |v - (H + damping) s| / |v|, not a number where the way of solving knows none. `slope` is the
    length of the training set's mean gradient (with that of a weight decay, if a damping is given
    that explains it), as a part of the mean length of its gradients: zero at a minimum, which
    influence functions suppose. Where it is large, values rank examples, and are too large as
    amounts.
    """

    damping: float
    steps: int
    residual: Tensor
    slope: float

    @property
    def worst(self) -> float:
        """The largest residual; not a number where there is none."""
        return float(self.residual.max()) if len(self.residual) else math.nan

    def __str__(self) -> str:
        solved = "" if math.isnan(self.worst) else f", residual at most {self.worst:.1g}"
        steps = f" in {self.steps} steps" if self.steps > 1 else ""
        return f"damping {self.damping:.3g}{steps}{solved}; mean gradient {self.slope:.1%}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Influence:
    """How much each training example has helped each test example: `values` (test, train).

    A value above zero says that the training example helps: without it the loss of the test
    example would be higher by about so much, or the score that is asked about lower. Below zero it
    harms. `tested` (test,) are those losses or scores as they are, `losses` (train,) those of the
    training examples. `memory` is the estimate, in bytes, by which the work was planned.
    """

    values: Tensor
    tested: Tensor
    losses: Tensor
    how: str
    of: str
    parameters: tuple[str, ...]
    convergence: Convergence
    memory: int
    notes: tuple[str, ...] = ()
    train: Labelled = field(repr=False)
    test: Labelled = field(repr=False)

    def top(self, k: int = 5) -> Top:
        """The k training examples that help each test example most, and that harm it most."""
        return Top(_strongest(self.values, k), _strongest(-self.values, k))

    def to_frame(self, k: int | None = None) -> "pd.DataFrame":
        """One row a test and training example, the most helpful first; of k, those of `top`.

        Columns: test, train, influence, loss (of the training example), label (where known).
        """
        import pandas as pd

        if k is None:
            order = self.values.argsort(dim=1, descending=True, stable=True)
            pairs = [(t, i) for t, row in enumerate(order.tolist()) for i in row]
        else:
            best = self.top(k)
            pairs = [
                (t, i)
                for t in range(len(self.values))
                for i in [*best.helpful[t].tolist(), *reversed(best.harmful[t].tolist())]
                if i >= 0
            ]
        labels = _labels(self.train, [i for _, i in pairs])
        return pd.DataFrame(
            {
                "test": [t for t, _ in pairs],
                "train": [i for _, i in pairs],
                "influence": [float(self.values[t, i]) for t, i in pairs],
                "loss": [float(self.losses[i]) for _, i in pairs],
                **({} if labels is None else {"label": labels}),
            }
        )

    def plot(self, k: int = 4, **options: Any) -> "Figure":
        """Draw each test example with those that help and harm it most: see `plot.influence`."""
        from pellucid.plot.influence import influence

        return influence(self, k, **options)

    def __repr__(self) -> str:
        tests, trains = self.values.shape
        head = f"Influence of {trains} training examples on {self.of} of {tests}, {self.how}"
        return f"{head}\n{self.convergence}\n{self.to_frame(2).to_string(index=False)}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SelfInfluence:
    """How much each training example has done for itself: `values` (train,), never below zero.

    By about so much would its loss be higher if it had been left out. An example that only itself
    speaks for is unlike the others, or has a wrong label: `order` has the first suspects first.
    """

    values: Tensor
    losses: Tensor
    how: str
    parameters: tuple[str, ...]
    convergence: Convergence
    memory: int
    notes: tuple[str, ...] = ()
    train: Labelled = field(repr=False)

    @property
    def order(self) -> Tensor:
        """The numbers of training examples, the largest self-influence first: (train,)."""
        return self.values.argsort(descending=True, stable=True)

    def found(self, wrong: Tensor | Sequence[bool]) -> Tensor:
        """Of examples known to be wrong, the share among the first 1, 2, ... of the order."""
        known = torch.as_tensor(wrong)
        if known.dtype != torch.bool or known.shape != self.values.shape or not known.any():
            raise InputError(
                f"`wrong` must say of each of the {len(self.values)} training examples whether it "
                "is, and of one at least that it is",
                got=known,
            )
        return known[self.order.cpu()].double().cumsum(0) / known.sum()

    def to_frame(self, k: int | None = None) -> "pd.DataFrame":
        """One row a training example, the first suspect first: train, influence, loss, label."""
        import pandas as pd

        rows = self.order[: None if k is None else whole(k, "k")].tolist()
        labels = _labels(self.train, rows)
        return pd.DataFrame(
            {
                "train": rows,
                "influence": self.values[rows].tolist(),
                "loss": self.losses[rows].tolist(),
                **({} if labels is None else {"label": labels}),
            }
        )

    def plot(self, k: int = 12, **options: Any) -> "Figure":
        """Draw the first suspects with their labels: see `plot.self_influence`."""
        from pellucid.plot.influence import self_influence

        return self_influence(self, k, **options)

    def __repr__(self) -> str:
        head = f"SelfInfluence of {len(self.values)} training examples, {self.how}"
        return f"{head}\n{self.convergence}\n{self.to_frame(5).to_string(index=False)}"


def _strongest(values: Tensor, k: int) -> Tensor:
    """The places of the k largest values of each row that are above zero, else -1."""
    found = values.topk(min(whole(k, "k"), values.shape[1]), dim=1)
    return torch.where(found.values > 0, found.indices, -1)


def _labels(data: Labelled, rows: list[int]) -> list[Any] | None:
    labels = data.read(rows)[1] if rows else None
    return None if labels is None or labels.ndim > 1 else labels.tolist()
