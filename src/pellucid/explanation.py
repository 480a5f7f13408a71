"""The immutable result of every method: values, what they explain, and the evidence for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from pellucid.errors import InputError, UnknownNameError
from pellucid.structure import Structure, leaves, transform
from pellucid.target import Target

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

    from pellucid.baseline import Baseline
    from pellucid.method import Method
    from pellucid.tape.ledger import Ledger

Pooling: TypeAlias = Literal["sum", "max", "abs_sum", "l2", "positive", "negative"]

# How a map of shape (batch, channel, ...) becomes one of shape (batch, 1, ...).
POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda v: v.sum(1, keepdim=True),
    "max": lambda v: v.amax(1, keepdim=True),
    "abs_sum": lambda v: v.abs().sum(1, keepdim=True),
    "l2": lambda v: v.norm(dim=1, keepdim=True),
    "positive": lambda v: v.clamp(min=0).sum(1, keepdim=True),
    "negative": lambda v: v.clamp(max=0).sum(1, keepdim=True),
}


class Evaluations(NamedTuple):
    """Model evaluations spent, counted in samples, and the calls of the model that held them."""

    forward: int = 0
    backward: int = 0
    calls: int = 0

    def __str__(self) -> str:
        return f"{self.forward} forward, {self.backward} backward"


@dataclass(frozen=True, eq=False)
class Completeness:
    """How far the values add up to what they explain, for each sample.

    `explained` is the sum of the values, `expected` what they should sum to; both have shape
    (sample,). `residual` is their difference, `relative` its size as a fraction of `expected`.
    """

    explained: Tensor
    expected: Tensor

    @property
    def residual(self) -> Tensor:
        """Expected - explained, of shape (sample,)."""
        return self.expected - self.explained

    @property
    def relative(self) -> Tensor:
        """|residual| / |expected|, of shape (sample,); 0/0 is 0."""
        size = self.residual.abs()
        return torch.where(size == 0, size, size / self.expected.abs())


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Explanation:
    """Which parts of the inputs carry a score, by one method, with the evidence for it.

    Axes: `values` have the structure, shape, dtype and device of the inputs (a map without
    channels of its own keeps the channel axis with length one); `score` has shape (sample,).
    `completeness` is `None` where the method claims no such law, `error` (standard errors, in the
    shape of the values) where nothing was sampled, `ledger` where nothing was propagated.
    """

    values: Structure
    inputs: Structure
    output: Any
    score: Tensor
    target: Target
    method: Method
    baseline: Baseline | None = None
    completeness: Completeness | None = None
    error: Structure | None = None
    evaluations: Evaluations = Evaluations()  # noqa: RUF009  # immutable
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    ledger: Ledger | None = None

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, row: int) -> Explanation:
        """One sample of the batch, still with a batch axis."""
        if not -len(self) <= row < len(self):
            raise InputError(f"A sample must be from 0 to {len(self) - 1}", got=row)
        index = torch.tensor([row % len(self)])
        keep = _selecting(index, len(self))
        whole = self.completeness
        return dataclasses.replace(
            self,
            values=transform(keep, self.values),
            inputs=transform(keep, self.inputs),
            output=transform(keep, self.output),
            score=keep(self.score),
            target=self.target.select(index),
            completeness=whole and Completeness(keep(whole.explained), keep(whole.expected)),
            error=transform(keep, self.error),
            ledger=self.ledger if len(self) == 1 else None,
        )

    def __iter__(self) -> Iterator[Explanation]:
        return (self[row] for row in range(len(self)))

    def pool(self, how: Pooling = "sum") -> Explanation:
        """Join the channels of every map: `sum`, `max`, `abs_sum`, `l2`, `positive`, `negative`.

        Maps of shape (batch, channel, ...) become (batch, 1, ...); tables stay as they are.
        """
        if how not in POOLINGS:
            raise UnknownNameError("`how` to pool channels", how, POOLINGS)
        pool = POOLINGS[how]
        return dataclasses.replace(
            self,
            values=transform(lambda v: pool(v) if v.ndim > 2 else v, self.values),
            error=None,
            notes=(*self.notes, f"Channels are pooled by {how}."),
        )

    def top(self, k: int = 10) -> pd.DataFrame:
        """The k elements of each sample with the largest absolute value, strongest first."""
        frame = self.to_frame()
        order = frame["value"].abs().sort_values(ascending=False, kind="stable").index
        ranked = frame.loc[order].groupby("sample", sort=True).head(k)
        return ranked.sort_values("sample", kind="stable").reset_index(drop=True)

    def to_numpy(self) -> np.ndarray | tuple[np.ndarray, ...] | dict[str, np.ndarray]:
        """The values as arrays, in the structure of the inputs; bfloat16 becomes float32."""
        return transform(_array, self.values)

    def to_frame(self) -> pd.DataFrame:
        """One row for each element: sample, input (where there are several), axes, value."""
        import pandas as pd

        frames = []
        for path, leaf in leaves(self.values):
            names = axis_names(leaf.ndim)
            index = pd.MultiIndex.from_product([range(n) for n in leaf.shape], names=names)
            frame = pd.DataFrame({"value": _array(leaf).ravel()}, index=index).reset_index()
            if path:
                frame.insert(1, "input", path[0])
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def plot(self, ax: Axes | None = None, *, row: int = 0, **options: Any) -> Axes:
        """Draw the map of one sample: see `pellucid.plot.draw` for the options."""
        from pellucid.plot import draw

        return draw(self, ax=ax, row=row, **options)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file with JSON metadata; `pellucid.load` gives it back equal."""
        from pellucid.archive import save

        return save(self, path)

    def _repr_html_(self) -> str:
        from pellucid.report import panel

        return panel(self)

    def __eq__(self, other: object) -> bool:
        """Equal in every tensor, bit by bit, and in every field but the seconds it took."""
        if not isinstance(other, Explanation):
            return NotImplemented
        from pellucid.archive import contents

        mine, theirs = contents(self), contents(other)
        mine[0]["seconds"] = theirs[0]["seconds"] = 0
        return (
            mine[0] == theirs[0]
            and mine[1].keys() == theirs[1].keys()
            and all(_same(mine[1][key], theirs[1][key]) for key in mine[1])
        )

    __hash__ = None  # type: ignore[assignment]  # tensors have no hash by value

    def __repr__(self) -> str:
        lines = [
            f"Explanation by {self.method!r}",
            f"  explains      {self.target!r}, score {_numbers(self.score)}",
            f"  values        {_shapes(self.values)}",
        ]
        if self.completeness is not None:
            explained = _numbers(self.completeness.explained)
            relative = _numbers(self.completeness.relative * 100)
            lines.append(f"  completeness  values sum to {explained}, {relative} % off")
        lines.append(f"  cost          {self.evaluations}, {self.seconds:.2f} s")
        lines += [f"  note          {note}" for note in self.notes]
        return "\n".join(lines)


def axis_names(ndim: int) -> list[str]:
    """Name the axes of an input by their number, batch first.

    >>> axis_names(4)
    ['sample', 'channel', 'height', 'width']
    """
    named = {
        1: [],
        2: ["feature"],
        3: ["channel", "position"],
        4: ["channel", "height", "width"],
        5: ["channel", "depth", "height", "width"],
    }
    return ["sample", *named.get(ndim, [f"axis {i}" for i in range(1, ndim)])]


def _array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()


def _selecting(index: Tensor, rows: int) -> Callable[[Tensor], Tensor]:
    """Select along the batch; tensors without a batch axis (a scalar loss) stay whole."""

    def keep(tensor: Tensor) -> Tensor:
        if tensor.ndim == 0 or tensor.shape[0] != rows:
            return tensor
        return tensor[index.to(tensor.device)]

    return keep


def _same(a: Tensor, b: Tensor) -> bool:
    return (
        a.dtype == b.dtype and a.shape == b.shape and bool(((a == b) | (a != a) & (b != b)).all())
    )


def _numbers(values: Tensor, most: int = 4) -> str:
    shown = ", ".join(f"{v:.4g}" for v in values[:most].tolist())
    return shown + (", ..." if len(values) > most else "")


def _shapes(tree: Any) -> str:
    from pellucid.structure import outline

    return outline(tree)
