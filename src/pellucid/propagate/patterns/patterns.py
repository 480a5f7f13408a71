"""What was fitted, and which operation of a tape it belongs to."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.errors import InputError, show
from pellucid.propagate.patterns.affine import Affine
from pellucid.propagate.patterns.neurons import weights_of, wiring_of
from pellucid.propagate.patterns.quality import Quality

if TYPE_CHECKING:
    import pandas as pd

FIT = "pellucid.fit_patterns(model, batches)"
SINGLE = torch.finfo(torch.float32).eps


@dataclass(frozen=True, kw_only=True, eq=False)
class Fingerprint:
    """What tells the weights of one operation from others: kind, shapes and what they hold.

    `numbers` are projections of weight and bias, and `norm` the length of both. A model in
    another precision has the same weights, up to that precision.
    """

    key: tuple[Any, ...]
    numbers: Tensor
    norm: float
    precision: float

    @classmethod
    def of(cls, affine: Affine) -> "Fingerprint":
        """That of an operation, with its bias and the norm that is folded into it."""
        weight, bias, wiring = weights_of(affine), affine.bias, wiring_of(affine)
        wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
        rows = wide.flatten(0, -2) if wiring.key[0] == "dense" else wide.flatten(1)
        numbers = (rows @ _waves(rows.shape[1]).to(rows)).cpu().double()
        flat, norm = (_waves(len(numbers)).T @ numbers).flatten(), float(rows.norm())
        if bias is not None:
            shift = bias.detach().cpu().double().flatten()
            flat = torch.cat([flat, _waves(len(shift)).T @ shift])
            norm = math.hypot(norm, float(shift.norm()))
        return cls(
            key=(*wiring.key, bias is not None),
            numbers=flat,
            norm=norm,
            precision=torch.finfo(affine.linear.weight.dtype).eps,
        )

    def is_of(self, other: "Fingerprint") -> bool:
        """Whether the weights are the same, as far as the coarser precision can tell.

        In one precision they are the same numbers: only adding them up can differ by roundings,
        and that is done in single precision at least.
        """
        if self.key != other.key:
            return False
        each = (self.precision, other.precision)
        adding = 64 * max(min(eps, SINGLE) for eps in each)
        rounding = 2 * max(each) if each[0] != each[1] else 0.0
        return self.distance(other) <= (adding + rounding) * max(self.norm, other.norm)

    def distance(self, other: "Fingerprint") -> float:
        """How far apart the numbers of two of one kind and shape are."""
        return float((self.numbers - other.numbers).abs().max())

    def nearest(self, known: Iterable["Fingerprint"]) -> int | None:
        """Which of those known is of the same weights; of several, the most alike."""
        same = [(self.distance(each), i) for i, each in enumerate(known) if each.is_of(self)]
        return min(same)[1] if same else None


def _waves(size: int) -> Tensor:
    """Four directions that no weights are likely to be blind to, shape (size, 4)."""
    places = torch.arange(1, size + 1, dtype=torch.float64)
    return torch.cos(places.unsqueeze(1) * torch.tensor([0.7390851, 1.6180339, 2.2360679, 2.7182]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Pattern:
    """The patterns of one operation with weights, both of the shape of its weights.

    That is (head, out, in) of a dense layer, where head is one but for several matrices side by
    side; (out, in / groups, *kernel) of a convolution, (in, out / groups, *kernel) of a transposed
    one. A norm, or constants of one number for each output, that come next are part of the weights.
    `path` is the layer it ran in first. Operations with the same weights share one.
    """

    path: str
    operation: str
    fingerprint: Fingerprint
    linear: Tensor
    positive: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Shares:
    """What the first of two added signals has of each channel of their sum, by both estimators."""

    linear: Tensor
    positive: Tensor


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Patterns:
    """What each neuron of a model detects, learned from data by `pellucid.fit_patterns`.

    `patterns` has one entry for each operation with weights, `sums` one for each sum of two
    signals; `samples` says from how many inputs they were learned. `quality` is a table.

    >>> from pellucid import fit_patterns
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    >>> fit_patterns(net, [torch.randn(9, 2), torch.randn(9, 2)])
    Patterns(2 operations with weights, 18 samples)
    """

    patterns: tuple[Pattern, ...]
    sums: tuple[Shares, ...]
    samples: int
    qualities: tuple[Quality, ...] = ()

    @property
    def quality(self) -> "pd.DataFrame":
        """How well each estimator takes the signal out: one row a layer and estimator.

        rho = 1 - max over v of corr(y, v'd), where d = x - S(x) is what the estimate S of the
        signal leaves of the input x, and y = w'x + b the answer; `rho_rectified` is the same for
        max(y, 0). One is best: what is left says nothing of the answer. `filter` takes the weights
        themselves for the signal, as a gradient does, and `random` any direction.
        """
        import pandas as pd

        from pellucid.propagate.patterns.quality import COLUMNS

        return pd.DataFrame([vars(each) for each in self.qualities], columns=list(COLUMNS))

    def find(self, affine: Affine) -> Pattern:
        """The pattern of an operation; raise if none was fitted for its weights."""
        wanted = Fingerprint.of(affine)
        found = wanted.nearest(pattern.fingerprint for pattern in self.patterns)
        if found is not None:
            return self.patterns[found]
        operation = affine.operation
        same = any(pattern.fingerprint.key == wanted.key for pattern in self.patterns)
        raise InputError(
            "`patterns` must be fitted on the model that is explained",
            found=f"`{operation.name}` in `{operation.path or 'the model itself'}`, with "
            f"{'other weights of that shape' if same else 'weights of another shape'} than any of "
            f"the {len(self)} they were fitted for ({show(affine.linear.weight)})",
            hint=f"Fit them to this model: {FIT}.",
        )

    def share(self, number: int, channels: int) -> Shares | None:
        """Those of the sum that ran as the n-th; `None` if none like it was seen."""
        if number >= len(self.sums) or len(self.sums[number].linear) != channels:
            return None
        return self.sums[number]

    def save(self, path: str | Path) -> Path:
        """Write them to one file, without pickle."""
        from pellucid.propagate.patterns.file import save

        return save(self, path)

    @classmethod
    def load(cls, path: str | Path) -> "Patterns":
        """Read them back, equal to those that were saved; the tensors are on the CPU."""
        from pellucid.propagate.patterns.file import load

        return load(path)

    def __len__(self) -> int:
        return len(self.patterns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Patterns):
            return NotImplemented
        mine, theirs = _contents(self), _contents(other)
        same = mine[0] == theirs[0] and len(mine[1]) == len(theirs[1])
        return same and all(map(_is_equal, mine[1], theirs[1]))

    def __hash__(self) -> int:
        return hash((self.samples, tuple(each.fingerprint.key for each in self.patterns)))

    def __repr__(self) -> str:
        number = len(self)
        what = "operation" if number == 1 else "operations"
        return f"Patterns({number} {what} with weights, {self.samples} samples)"


def _contents(patterns: Patterns) -> tuple[Any, Sequence[Tensor]]:
    """All that patterns are: plain values, and tensors."""
    each = patterns.patterns
    prints = [(p.path, p.operation, p.fingerprint.key, p.fingerprint.norm) for p in each]
    tensors = [t for p in each for t in (p.linear, p.positive, p.fingerprint.numbers)]
    tensors += [t for s in patterns.sums for t in (s.linear, s.positive)]
    return (prints, patterns.samples, patterns.qualities), tensors


def _is_equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.cpu(), other.cpu())
