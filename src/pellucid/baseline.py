"""What the absence of information means: the point that an explanation starts from."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from pellucid.background import Background, blurred, centers, drawn, filled, mean_of_channels
from pellucid.errors import InputError, show
from pellucid.options import whole
from pellucid.seeding import seeded
from pellucid.structure import Inputs, Keys, Structure, children, label

BaselineLike: TypeAlias = "Baseline | float | Structure | None"
Kind: TypeAlias = Literal[
    "value", "tensor", "per_sample", "mean", "blur", "noise", "uniform", "token", "inpaint", "data"
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """A reference input, made for the inputs it stands against.

    | given | reference |
    |---|---|
    | `None`, `0.0`, a number | that value everywhere |
    | a tensor of one row, or of the shape of one sample | the same reference for every sample |
    | a tensor of several rows | a background that is averaged over |
    | tensors or numbers in the structure of the inputs | one of these for each input |
    | `Baseline.per_sample(tensor)` | one reference a sample |
    | `Baseline.mean()` | the mean of each sample's channel |
    | `Baseline.blur(sigma)` | the sample, blurred (sigma as a fraction of each axis) |
    | `Baseline.noise(scale, seed)` | Gaussian noise, scale times the sample's range |
    | `Baseline.uniform(seed)` | noise between the sample's least and greatest value |
    | `Baseline.token(id)` | this whole number, the id of a mask token |
    | `Baseline.inpaint()` | what is absent, filled in smoothly from what is present |
    | `Baseline.samples(data, count)` | a background of some rows of data |
    | `Baseline.kmeans(data, count)` | a background of centers of data, with their weights |

    Tensors have the layout of the inputs: where those have the batch on axis 1, so do the rows.
    `paths` lead to each of the `tensors` in the structure that was given, `weights` are those of
    their rows where these do not count alike. `data` are rows of another kind (a data frame, say),
    until it is known what inputs they are for.
    """

    kind: Kind = "value"
    value: float = 0.0
    tensors: tuple[Tensor, ...] = ()
    paths: tuple[Keys, ...] = ()
    seed: int = 0
    weights: tuple[float, ...] = ()
    data: Any = None

    @classmethod
    def of(cls, given: BaselineLike, name: str = "baseline") -> "Baseline":
        """Take any of the forms in the table above, given by the option of this name."""
        if isinstance(given, Baseline):
            return given
        if given is None:
            return cls()
        if isinstance(given, int | float) and not isinstance(given, bool):
            if not math.isfinite(given):
                raise InputError("A baseline must be finite", got=given)
            return cls(value=float(given))
        if _is_data(given):
            return cls(kind="data", data=given)
        if isinstance(given, Tensor | tuple | list | Mapping) or children(given):
            return cls._of_tensors("tensor", given)
        raise InputError(f"`{name}` must be a number, a tensor or a Baseline", got=given)

    @classmethod
    def per_sample(cls, tensor: Structure) -> "Baseline":
        """One reference for each sample, in the order of the batch."""
        return cls._of_tensors("per_sample", tensor)

    @classmethod
    def _of_tensors(cls, kind: Literal["tensor", "per_sample"], given: Structure) -> "Baseline":
        found = list(_tensors(given))
        if not found:
            raise InputError("A baseline must be made of tensors", got=given)
        return cls(
            kind=kind, tensors=tuple(t for _, t in found), paths=tuple(path for path, _ in found)
        )

    @classmethod
    def mean(cls) -> "Baseline":
        """The mean of every channel of each sample."""
        return cls(kind="mean")

    @classmethod
    def blur(cls, sigma: float = 0.1) -> "Baseline":
        """Each sample under a Gaussian whose width is a fraction of each spatial axis."""
        return cls(kind="blur", value=sigma)

    @classmethod
    def noise(cls, scale: float = 0.2, *, seed: int = 0) -> "Baseline":
        """Gaussian noise whose width is a fraction of each sample's range, the same each call."""
        return cls(kind="noise", value=scale, seed=whole(seed, "seed", least=None))

    @classmethod
    def uniform(cls, *, seed: int = 0) -> "Baseline":
        """Noise spread evenly from each sample's least to its greatest value, same each call."""
        return cls(kind="uniform", seed=whole(seed, "seed", least=None))

    @classmethod
    def token(cls, number: int) -> "Baseline":
        """The whole number that stands for absence, that of a mask token; other inputs get zero."""
        return cls(kind="token", value=whole(number, "number", least=None))

    @classmethod
    def inpaint(cls) -> "Baseline":
        """Absent parts of images and signals are filled in from what is present around them.

        Every absent element is the mean of its neighbours, nearly (harmonic inpainting); where
        nothing is present, the mean of the channel. For methods that leave out players.
        """
        return cls(kind="inpaint")

    @classmethod
    def samples(cls, data: Structure, count: int | None = None, *, seed: int = 0) -> "Baseline":
        """A background of `count` rows of data, drawn without putting back; of all, if `None`.

        `data` are tensors, arrays, a data frame or texts, as they may be given as a baseline.

        >>> Baseline.samples(torch.arange(6.0).reshape(3, 2), 2)
        Baseline.tensor([2, 2])
        """
        kept = None if count is None else whole(count, "count")
        return cls.of(drawn(data, kept, whole(seed, "seed", least=None)))

    @classmethod
    def kmeans(cls, data: Any, count: int = 10, *, seed: int = 0) -> "Baseline":
        """A background of `count` centers of data, each with the share of the rows that it is for.

        `data` has shape (row, ...), as an array, tensor or frame of numbers with the columns of the
        inputs; the centers are those of k-means. For methods that leave out players.

        >>> Baseline.kmeans(torch.tensor([[0.0], [0.0], [0.0], [8.0]]), 2).weights
        (0.75, 0.25)
        """
        found, shares = centers(data, whole(count, "count"), whole(seed, "seed", least=None))
        return replace(cls._of_tensors("tensor", found), weights=shares)

    def select(
        self, rows: Tensor, total: int, axes: Mapping[Keys, int | None] | None = None
    ) -> "Baseline":
        """The baseline of some of all samples; `axes` of the batch are those of the inputs."""
        if self.kind != "per_sample":
            return self
        found = [(axes or {}).get(path, 0) or 0 for path in self.paths]
        pairs = list(zip(self.tensors, found, strict=True))
        if any(t.ndim <= axis or t.shape[axis] != total for t, axis in pairs):
            raise InputError(
                f"A baseline per sample must have one row for each of the {total} samples",
                got=self.tensors,
            )
        kept = [t.index_select(axis, rows.to(t.device)) for t, axis in pairs]
        return replace(self, tensors=tuple(kept))

    @property
    def is_integer(self) -> bool:
        """Whether it says which integers stand for absence."""
        return self.kind == "token" or any(not t.is_floating_point() for t in self.tensors)

    @property
    def is_plain(self) -> bool:
        """Whether it is made of reference points that count alike, whatever is absent."""
        return self.kind != "inpaint" and not self.weights

    def check(self, inputs: Inputs) -> None:
        """Raise, before any run of the model, unless this is a baseline of these inputs."""
        if self.kind == "data":
            raise InputError(
                "`baseline` must be a number, a tensor or a Baseline",
                got=self.data,
                hint="Data frames and arrays are for inputs that are so too.",
            )
        if self.kind == "tensor":
            self._from_tensors(inputs)
        if self.kind == "per_sample":
            self._per_sample(inputs)
        for name, leaf in zip(inputs.labels(), inputs.leaves, strict=True):
            self._check_kind(name, leaf)
        schema, floating = inputs.schema, all(x.is_floating_point() for x in inputs.leaves)
        if self.kind == "token" and (floating or schema is not None):
            raise InputError(
                "A mask token must stand for ids of a tensor",
                got=inputs.leaves if schema is None else schema,
                hint="Of texts, words are removed if no baseline is given.",
            )
        if self.kind == "uniform" and schema is not None and schema.has_categories:
            raise InputError(
                "A baseline of a table with categories must be rows of data",
                found=repr(self),
                hint="Take Baseline.samples(data, count).",
            )

    def _check_kind(self, name: str, leaf: Tensor) -> None:
        """Raise unless an input can be absent in this way."""
        if self.kind == "inpaint" and not (leaf.is_floating_point() and 3 <= leaf.ndim <= 5):
            raise InputError(
                f"An inpainted baseline must be of images or signals: `{name}` of shape (batch, "
                "channel, ...)",
                got=leaf,
                hint="For tables take Baseline.mean() or rows of data, for ids Baseline.token(id).",
            )
        if self.weights and not leaf.is_floating_point():
            raise InputError(f"Centers must be those of numbers: `{name}`", got=leaf)

    def moved(self, axes: Mapping[Keys, int | None]) -> "Baseline":
        """The same with the samples first, from the axes that they have in the inputs."""
        if self.kind != "per_sample":
            return self
        pairs = zip(self.paths, self.tensors, strict=True)
        return replace(self, tensors=tuple(_first(t, axes.get(p) or 0) for p, t in pairs))

    def background(self, inputs: Inputs) -> list[Inputs]:
        """The references, each as one row for every sample; several where they are averaged."""
        if self.kind == "tensor":
            return Background(self._from_tensors(inputs), self.weights)
        if self.kind == "per_sample":
            return [inputs.replace(self._per_sample(inputs))]
        if self.kind == "inpaint":
            for name, leaf in zip(inputs.labels(), inputs.leaves, strict=True):
                self._check_kind(name, leaf)
            return Background(
                [inputs.replace([mean_of_channels(x) for x in inputs.leaves])], (), filled
            )
        return [inputs.replace([self._make(leaf) for leaf in inputs.leaves])]

    def single(self, inputs: Inputs) -> Inputs:
        """The one reference of each sample; an error where there are several."""
        return self.only(self.background(inputs))

    @staticmethod
    def only(background: list[Inputs]) -> Inputs:
        """The one reference of a background; an error where there are several."""
        if isinstance(background, Background) and background.filling is not None:
            raise InputError(
                "This method takes a baseline that does not depend on what is absent",
                found="Baseline.inpaint()",
                hint="For example Baseline.blur() or Baseline.mean().",
            )
        if len(background) > 1:
            raise InputError(
                "This method takes one reference a sample",
                found=f"a background of {len(background)} rows",
                hint="Pass one row, or Baseline.per_sample(tensor) for one row a sample.",
            )
        return background[0]

    def _make(self, leaf: Tensor) -> Tensor:
        if self.kind == "token":
            if leaf.is_floating_point() or leaf.dtype is torch.bool:
                return torch.zeros_like(leaf) if leaf.is_floating_point() else leaf
            return torch.full_like(leaf, int(self.value))
        if not leaf.is_floating_point():
            return leaf
        if self.kind == "value":
            return torch.full_like(leaf, self.value)
        if self.kind == "mean":
            return mean_of_channels(leaf)
        if self.kind == "blur":
            if leaf.ndim < 3:
                raise InputError(
                    "A blurred baseline must be of inputs with positions to blur over",
                    got=leaf,
                    hint="For tables take Baseline.mean() or rows of data.",
                )
            return blurred(leaf, self.value)
        generator = seeded(self.seed)
        flat = leaf.reshape(len(leaf), -1)
        low = flat.amin(1).reshape(-1, *[1] * (leaf.ndim - 1))
        spread = flat.amax(1).reshape(low.shape) - low
        if self.kind == "uniform":
            return low + spread * torch.rand(leaf.shape[1:], generator=generator).to(leaf)
        noise = torch.randn(leaf.shape[1:], generator=generator).to(leaf)
        return noise * (self.value * spread)

    def _from_tensors(self, inputs: Inputs) -> list[Inputs]:
        rows: set[int] = set()
        tables = []
        for name, leaf, given, axis in self._paired(inputs):
            table = given.expand(leaf.shape[1:]) if given.ndim == 0 else given
            table = table.unsqueeze(0) if table.shape == leaf.shape[1:] else _first(table, axis)
            if table.ndim == 0 or table.shape[1:] != leaf.shape[1:]:
                raise InputError(
                    f"The baseline of `{name}` must have the shape of one sample, "
                    f"{list(leaf.shape[1:])}, or of several",
                    got=given,
                )
            tables.append(table.to(leaf))
            rows.add(len(table))
        if len(rows) > 1:
            raise InputError("The baselines of all inputs must have the same number of rows")
        return [
            inputs.replace([t[i].expand_as(x) for t, x in zip(tables, inputs.leaves, strict=True)])
            for i in range(rows.pop())
        ]

    def _per_sample(self, inputs: Inputs) -> list[Tensor]:
        found = []
        for name, leaf, given, axis in self._paired(inputs):
            table = _first(given, axis)
            if table.shape != leaf.shape:
                raise InputError(
                    f"A baseline per sample must have the shape of `{name}`, {list(leaf.shape)}",
                    got=given,
                )
            found.append(table.to(leaf))
        return found

    def _paired(self, inputs: Inputs) -> list[tuple[str, Tensor, Tensor, int]]:
        """Label, input, baseline and batch axis of each input."""
        given = dict(zip(self.paths, self.tensors, strict=True))
        if len(given) == len(inputs.leaves) == 1:
            given = {inputs.paths[0]: self.tensors[0]}
        if set(given) != set(inputs.paths):
            raise InputError(
                "`baseline` must have the structure of the inputs, with one tensor for each of the "
                f"{len(inputs.leaves)} inputs, {_listed(inputs.paths, inputs.leaves)}",
                found=_listed(self.paths, self.tensors),
            )
        tensors = [given[path] for path in inputs.paths]
        return list(zip(inputs.labels(), inputs.leaves, tensors, inputs.axes, strict=True))

    def __repr__(self) -> str:
        if self.kind == "data":
            return f"Baseline.data({type(self.data).__name__} of {len(self.data)} rows)"
        if self.kind in ("tensor", "per_sample"):
            return f"Baseline.{self.kind}({', '.join(str(list(t.shape)) for t in self.tensors)})"
        if self.kind in ("mean", "inpaint"):
            return f"Baseline.{self.kind}()"
        value = {"uniform": f"seed={self.seed}", "token": int(self.value)}.get(
            self.kind, self.value
        )
        return f"Baseline.{self.kind}({value})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Baseline):
            return NotImplemented
        same = (self.kind, self.value, self.seed) == (other.kind, other.value, other.seed)
        return (
            same
            and self.data is other.data
            and self.weights == other.weights
            and len(self.tensors) == len(other.tensors)
            and all(torch.equal(a, b) for a, b in zip(self.tensors, other.tensors, strict=True))
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.value, self.seed))


def _is_data(given: Any) -> bool:
    """Whether this is a data frame, an array or texts, which only inputs say how to read."""
    if isinstance(given, list | tuple):
        return bool(given) and all(isinstance(each, str) for each in given)
    array = hasattr(given, "__array__") and hasattr(given, "__len__")
    return array and not isinstance(given, Tensor)


def _tensors(given: Any, path: Keys = ()) -> Iterator[tuple[Keys, Tensor]]:
    """Every tensor of a structure with its path; a number is a tensor that fits any shape."""
    if isinstance(given, int | float) and not isinstance(given, bool) and path:
        given = torch.tensor(float(given))
    if isinstance(given, Tensor):
        if not given.isfinite().all():
            raise InputError("A baseline must be finite", got=given)
        yield path, given
    elif given is not None and not children(given):
        raise InputError("A baseline must be made of tensors", got=given)
    for key, item in children(given):
        yield from _tensors(item, (*path, key))


def _listed(paths: tuple[Keys, ...], tensors: tuple[Tensor, ...]) -> str:
    """Write what there is at each path, in the layout that is used here."""
    pairs = zip(paths, tensors, strict=True)
    return ", ".join(f"`{label(path)}`: {show(tensor)}" for path, tensor in pairs)


def _first(tensor: Tensor, axis: int) -> Tensor:
    """The tensor with its batch axis first, if it has as many axes as that takes."""
    return tensor.movedim(axis, 0) if 0 < axis < tensor.ndim else tensor
