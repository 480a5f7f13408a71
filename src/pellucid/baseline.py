"""What the absence of information means: the point that an explanation starts from."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import conv1d

from pellucid.errors import InputError, show
from pellucid.structure import Inputs, Keys, Structure, children, label

BaselineLike: TypeAlias = "Baseline | float | Structure | None"


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

    Tensors have the layout of the inputs: where those have the batch on axis 1, so do the rows.
    `paths` lead to each of the `tensors` in the structure that was given.
    """

    kind: Literal["value", "tensor", "per_sample", "mean", "blur", "noise"] = "value"
    value: float = 0.0
    tensors: tuple[Tensor, ...] = ()
    paths: tuple[Keys, ...] = ()
    seed: int = 0

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
        return cls(kind="noise", value=scale, seed=seed)

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
        return any(not t.is_floating_point() for t in self.tensors)

    def check(self, inputs: Inputs) -> None:
        """Raise, before any run of the model, unless this is a baseline of these inputs."""
        if self.kind == "tensor":
            self._from_tensors(inputs)
        if self.kind == "per_sample":
            self._per_sample(inputs)

    def moved(self, axes: Mapping[Keys, int | None]) -> "Baseline":
        """The same with the samples first, from the axes that they have in the inputs."""
        if self.kind != "per_sample":
            return self
        pairs = zip(self.paths, self.tensors, strict=True)
        return replace(self, tensors=tuple(_first(t, axes.get(p) or 0) for p, t in pairs))

    def background(self, inputs: Inputs) -> list[Inputs]:
        """The references, each as one row for every sample; several where they are averaged."""
        if self.kind == "tensor":
            return self._from_tensors(inputs)
        if self.kind == "per_sample":
            return [inputs.replace(self._per_sample(inputs))]
        return [inputs.replace([self._make(leaf) for leaf in inputs.leaves])]

    def single(self, inputs: Inputs) -> Inputs:
        """The one reference of each sample; an error where there are several."""
        return self.only(self.background(inputs))

    @staticmethod
    def only(background: list[Inputs]) -> Inputs:
        """The one reference of a background; an error where there are several."""
        if len(background) > 1:
            raise InputError(
                "This method takes one reference a sample",
                found=f"a background of {len(background)} rows",
                hint="Pass one row, or Baseline.per_sample(tensor) for one row a sample.",
            )
        return background[0]

    def _make(self, leaf: Tensor) -> Tensor:
        if not leaf.is_floating_point():
            return leaf
        if self.kind == "value":
            return torch.full_like(leaf, self.value)
        if self.kind == "mean":
            axes = tuple(range(2, leaf.ndim)) or (1,)
            return leaf.mean(axes, keepdim=True).expand_as(leaf).contiguous()
        if self.kind == "blur":
            if leaf.ndim < 3:
                raise InputError(
                    "A blurred baseline must be of inputs with positions to blur over",
                    got=leaf,
                    hint="For tables take Baseline.mean() or rows of data.",
                )
            return _blur(leaf, self.value)
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(leaf.shape[1:], generator=generator).to(leaf)
        flat = leaf.reshape(len(leaf), -1)
        spread = flat.amax(1) - flat.amin(1)
        return noise * (self.value * spread).reshape(-1, *[1] * (leaf.ndim - 1))

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
        if self.kind in ("tensor", "per_sample"):
            return f"Baseline.{self.kind}({', '.join(str(list(t.shape)) for t in self.tensors)})"
        return f"Baseline.{self.kind}({'' if self.kind == 'mean' else self.value})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Baseline):
            return NotImplemented
        same = (self.kind, self.value, self.seed) == (other.kind, other.value, other.seed)
        return (
            same
            and len(self.tensors) == len(other.tensors)
            and all(torch.equal(a, b) for a, b in zip(self.tensors, other.tensors, strict=True))
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.value, self.seed))


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


def _blur(leaf: Tensor, sigma: float) -> Tensor:
    """Convolve every spatial axis with a Gaussian of width sigma times its length."""
    for axis in range(2, leaf.ndim):
        width = max(sigma * leaf.shape[axis], 1e-6)
        reach = min(int(3 * width) + 1, leaf.shape[axis] - 1)
        offsets = torch.arange(-reach, reach + 1, device=leaf.device, dtype=leaf.dtype)
        kernel = torch.exp(-0.5 * (offsets / width) ** 2)
        kernel = (kernel / kernel.sum()).reshape(1, 1, -1)
        moved = leaf.movedim(axis, -1)
        lines = moved.reshape(-1, 1, moved.shape[-1])
        padded = torch.nn.functional.pad(lines, (reach, reach), mode="replicate")
        leaf = conv1d(padded, kernel).reshape(moved.shape).movedim(-1, axis)
    return leaf.contiguous()
