"""The immutable result of every method: values, what they explain, and the evidence for them."""

from __future__ import annotations

import dataclasses
import operator
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from pellucid.errors import InputError, UnknownNameError
from pellucid.outputs import select_rows
from pellucid.pooling import POOLINGS, Pooling, channels_last
from pellucid.structure import (
    Keys,
    Structure,
    axis_names,
    batch_axes,
    leaves,
    outline,
    transform,
    transform_at,
)
from pellucid.target import Target

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

    from pellucid.baseline import Baseline
    from pellucid.border import Schema
    from pellucid.evaluate.localization.boxes import Boxes
    from pellucid.features import Players
    from pellucid.method import Method
    from pellucid.tape.ledger import Ledger
    from pellucid.words import Grouping, Unit


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
    shape of the values) where nothing was sampled, `ledger` where nothing was propagated. With
    `at`, the path of a layer, `values` is one tensor in the shape of what that layer returned.
    `batch_axis` says where the samples are in the inputs and their values, as for `explain`. With
    `grouping`, values of shape (sample, token) have become those of its words: see `group`. Where
    the method explains players, `players` (sample, player) has one value for each, `player_error`
    its standard error, and `features` says which elements are whose. `evidence` has what else a
    method measured of each sample, by name, with the samples on the first axis. `schema` says what
    the columns of a table mean, or the words of texts: `schema.decode(inputs)` gives them back.
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
    at: str | None = None
    batch_axis: Any = 0
    grouping: Grouping | None = None
    features: Players | None = None
    players: Tensor | None = None
    player_error: Tensor | None = None
    evidence: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    schema: Schema | None = None

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, row: int | slice) -> Explanation:
        """One sample of the batch, or a slice of them, still with a batch axis."""
        index = torch.tensor(self._rows(row))
        axes, whole = batch_axes(self.inputs, self.batch_axis), self.completeness
        ledger = self.ledger and self.ledger.select(index.tolist())
        target = self.target.select(index)
        return dataclasses.replace(
            self,
            values=self._rows_of(self.values, index),
            inputs=transform_at(lambda path, x: _kept(x, axes[path], index), self.inputs),
            output=select_rows(self.output, index, len(self), self.target.batch_axis),
            score=_kept(self.score, 0, index),
            target=target,
            completeness=whole
            and Completeness(_kept(whole.explained, 0, index), _kept(whole.expected, 0, index)),
            error=self._rows_of(self.error, index),
            baseline=self.baseline and self.baseline.select(index, len(self), axes),
            notes=tuple(
                target.note() if note and note == self.target.note() else note
                for note in self._notes_of(ledger)
            ),
            ledger=ledger,
            grouping=self.grouping and self.grouping.select(index.tolist()),
            features=self.features and self.features.select(index),
            players=None if self.players is None else _kept(self.players, 0, index),
            player_error=None if self.player_error is None else _kept(self.player_error, 0, index),
            evidence={name: _kept(each, 0, index) for name, each in self.evidence.items()},
        )

    def _rows(self, row: int | slice) -> list[int]:
        """The positions of the samples that are asked for."""
        try:
            found = range(len(self))[row]
        except TypeError as error:
            raise InputError("A sample must be a whole number or a slice", got=row) from error
        except IndexError as error:
            raise InputError(f"A sample must be from 0 to {len(self) - 1}", got=row) from error
        if isinstance(found, int):
            return [found]
        if not found:
            raise InputError("A slice must hold at least one sample", got=row)
        return list(found)

    def _notes_of(self, ledger: Ledger | None) -> tuple[str, ...]:
        """The notes, with what they say of the ledger said of that of some samples."""
        if ledger is None or self.ledger is None:
            return self.notes
        said, own = (self.method.judge(each, self.score.dtype) for each in (self.ledger, ledger))
        judged = (*said[0], said[1])
        notes = [note for note in self.notes if note not in judged]
        place = next((i for i, note in enumerate(self.notes) if note in said[0]), len(notes))
        notes[place:place] = own[0]
        return (*notes, own[1]) if own[1] else tuple(notes)

    def _rows_of(self, values: Structure, index: Tensor) -> Structure:
        """Some samples of the values, or of what has their layout."""
        axes = self.value_axes(values)
        return transform_at(lambda path, v: _kept(v, axes[path], index), values)

    def value_axes(self, values: Structure) -> dict[Keys, int | None]:
        """Where the samples are in the values: first, where they are those of a layer."""
        return batch_axes(values, self.batch_axis if self.at is None and values is not None else 0)

    def batch_first(self) -> Explanation:
        """The same with the samples on the first axis of every input and of its values.

        Inputs that all samples share, whose values are zero, are left out.
        """

        def first(tree: Any, axes: dict[Keys, int | None]) -> Any:
            return transform_at(lambda path, x: _moved_first(x, axes[path]), tree)

        if self.batch_axis == 0:
            return self
        baseline = self.baseline and self.baseline.moved(batch_axes(self.inputs, self.batch_axis))
        return dataclasses.replace(
            self,
            values=first(self.values, self.value_axes(self.values)),
            inputs=first(self.inputs, batch_axes(self.inputs, self.batch_axis)),
            error=first(self.error, self.value_axes(self.error)),
            baseline=baseline,
            batch_axis=0,
        )

    def __iter__(self) -> Iterator[Explanation]:
        return (self[row] for row in range(len(self)))

    def pool(self, how: Pooling = "sum", *, axis: int | None = None) -> Explanation:
        """Join the channels of every map: `sum`, `max`, `abs_sum`, `l2`, `positive`, `negative`.

        Maps of shape (batch, channel, ...) become (batch, 1, ...), images of shape (batch, height,
        width, 3) become (batch, height, width, 1); tables stay as they are. `axis` says where the
        channels are, counted with the samples on axis 0; it must where values at a layer have
        three axes, which may be those of a signal or of tokens.
        """
        if how not in POOLINGS:
            raise UnknownNameError("`how` to pool channels", how, POOLINGS)
        pool, axes = POOLINGS[how], self.value_axes(self.values)

        def pooled(keys: Keys, values: Tensor) -> Tensor:
            samples = axes[keys]
            if samples is None or values.ndim < 3:
                return values
            first = values.movedim(samples, 0)
            channels = self._channel_axis(first) if axis is None else _axis(first, axis)
            joined = pool(first.movedim(channels, 1)).movedim(1, channels)
            return joined.movedim(0, samples)

        return dataclasses.replace(
            self,
            values=transform_at(pooled, self.values),
            error=None,
            notes=(*self.notes, f"Channels are pooled by {how}."),
        )

    def group(self, tokens: Any, by: Unit = "word", **reading: Any) -> Explanation:
        """Sum the values of tokens to one for each word, or sentence.

        `tokens` are the strings of each sample's tokens, or a `pellucid.words.Grouping`; options
        are those of `Grouping.of`. Tables, plots and reports show the words.
        """
        from pellucid.words import Grouping, group

        made = tokens if isinstance(tokens, Grouping) else Grouping.of(tokens, by, **reading)
        return group(self, made)

    def top(self, k: int = 10) -> pd.DataFrame:
        """The k elements of each sample with the largest absolute value, strongest first."""
        try:
            wanted = -1 if isinstance(k, bool) else operator.index(k)
        except TypeError:
            wanted = -1
        if wanted < 0:
            raise InputError("`k` must be a whole number, 0 or more", found=repr(k))
        frame = self.to_frame()
        order = frame["value"].abs().sort_values(ascending=False, kind="stable").index
        ranked = frame.loc[order].groupby("sample", sort=True).head(k)
        return ranked.sort_values("sample", kind="stable").reset_index(drop=True)

    def boxes(self, threshold: float = 0.2, **options: Any) -> Boxes:
        """A box and a mask cut from every map: see `pellucid.evaluate.localization.boxes.cut`."""
        from pellucid.evaluate.localization.boxes import cut

        return cut(self, threshold, **options)

    def to_numpy(self) -> np.ndarray | tuple[np.ndarray, ...] | dict[str, np.ndarray]:
        """The values as arrays, in the structure of the inputs; bfloat16 becomes float32."""
        return transform(_array, self.values)

    def to_frame(self) -> pd.DataFrame:
        """One row for each element: sample, input (where there are several), axes, value."""
        import pandas as pd

        frames = []
        for path, leaf in leaves(self.batch_first().values):
            names = axis_names(
                leaf.ndim, inputs=self.at is None, channels_last=self._channel_axis_of(leaf) == -1
            )
            index = pd.MultiIndex.from_product([range(n) for n in leaf.shape], names=names)
            frame = pd.DataFrame({"value": _array(leaf).ravel()}, index=index).reset_index()
            if self.grouping is not None:
                frame = self.grouping.named(frame, path)
            elif self.schema is not None:
                frame = self.schema.entitle(frame, self.inputs)
            if path:
                frame.insert(1, "input", input_name(path))
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def by_player(self) -> pd.DataFrame:
        """One row for each player: sample, player, name, value, error; the strongest first."""
        from pellucid.features.table import table

        return table(self.features, self.players, self.player_error)

    def plot(self, ax: Axes | None = None, *, row: int = 0, **options: Any) -> Axes:
        """Draw the map of one sample: see `pellucid.plot.draw` for the options."""
        from pellucid.plot import draw

        return draw(self, ax=ax, row=row, **options)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file with JSON metadata; `pellucid.load` gives it back equal."""
        from pellucid.archive import save

        if not isinstance(path, str | os.PathLike):
            raise InputError("`path` must be a path", got=path)
        return save(self, path)

    def _repr_html_(self) -> str:
        from pellucid.report import panel

        return panel(self)

    def _channel_axis(self, values: Tensor) -> int:
        """Where the channels of values are that have the samples first; where that is known."""
        if self.at is not None and values.ndim == 3:
            raise InputError(
                "`axis` must say which of three axes at a layer are the channels",
                got=values,
                hint="pool(how, axis=1) for a signal, axis=2 for tokens of some features.",
            )
        return self._channel_axis_of(values)

    def _channel_axis_of(self, values: Tensor) -> int:
        return -1 if self.at is None and channels_last(values.shape[1:]) else 1

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
        kind = "operation" if ":" in (self.at or "") else "layer"
        where = "" if self.at is None else f" at {kind} `{self.at}`"
        where += "" if self.grouping is None else f", one a {self.grouping.unit}"
        lines = [
            f"Explanation by {self.method!r}",
            f"  explains      {self.target!r}, score {_numbers(self.score)}",
            f"  values        {outline(self.values)}{where}",
        ]
        if self.completeness is not None:
            explained = _numbers(self.completeness.explained)
            relative = _numbers((self.completeness.relative * 100).round(decimals=4))
            lines.append(f"  completeness  values sum to {explained}, {relative} % off")
        lines.append(f"  cost          {self.evaluations}, {self.seconds:.2f} s")
        lines += [f"  note          {note}" for note in self.notes]
        return "\n".join(lines)


def _array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()


def input_name(keys: Keys) -> str | int:
    """Name one of several inputs: by its keyword or position, or by all the keys to it.

    >>> input_name(("state", 0))
    'state.0'
    """
    return keys[0] if len(keys) == 1 else ".".join(map(str, keys))


def _axis(values: Tensor, axis: int) -> int:
    """An axis of values (sample, ...) that is not that of the samples."""
    if isinstance(axis, bool) or not isinstance(axis, int) or not 1 <= axis < values.ndim:
        raise InputError(f"`axis` must be from 1 to {values.ndim - 1}", got=axis)
    return axis


def _kept(tensor: Tensor, axis: int | None, index: Tensor) -> Tensor:
    """Select samples along their axis; what has none is shared by all of them."""
    return tensor if axis is None else tensor.index_select(axis, index.to(tensor.device))


def _moved_first(tensor: Tensor, axis: int | None) -> Tensor | None:
    return None if axis is None else tensor.movedim(axis, 0)


def _same(a: Tensor, b: Tensor) -> bool:
    return (
        a.dtype == b.dtype and a.shape == b.shape and bool(((a == b) | (a != a) & (b != b)).all())
    )


def _numbers(values: Tensor, most: int = 4) -> str:
    shown = ", ".join(f"{v:.4g}" for v in values[:most].tolist())
    return shown + (", ..." if len(values) > most else "")
