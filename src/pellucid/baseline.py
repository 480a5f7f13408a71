"""What the absence of information means: the point that an explanation starts from."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import conv1d

from pellucid.errors import InputError, UnknownNameError
from pellucid.structure import Inputs

BaselineLike: TypeAlias = (
    "Baseline | float | Tensor | tuple[Tensor, ...] | dict[str, Tensor] | None"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """A reference input, made for the inputs it stands against.

    | given | reference |
    |---|---|
    | `None`, `0.0`, a number | that value everywhere |
    | a tensor of one row, or of the shape of one sample | the same reference for every sample |
    | a tensor of several rows | a background that is averaged over |
    | `Baseline.per_sample(tensor)` | one reference a sample |
    | `Baseline.mean()` | the mean of each sample's channel |
    | `Baseline.blur(sigma)` | the sample, blurred (sigma as a fraction of each axis) |
    | `Baseline.noise(scale, seed)` | Gaussian noise, scale times the sample's range |
    """

    kind: Literal["value", "tensor", "per_sample", "mean", "blur", "noise"] = "value"
    value: float = 0.0
    tensors: tuple[Tensor, ...] = ()
    names: tuple[str, ...] | None = None
    seed: int = 0

    @classmethod
    def of(cls, given: BaselineLike) -> "Baseline":
        """Take any of the forms in the table above."""
        if isinstance(given, Baseline):
            return given
        if given is None:
            return cls()
        if isinstance(given, int | float) and not isinstance(given, bool):
            if not math.isfinite(given):
                raise InputError("A baseline must be finite", got=given)
            return cls(value=float(given))
        if isinstance(given, Tensor | tuple | list | dict):
            return cls(kind="tensor", tensors=_tensors(given), names=_names(given))
        raise InputError("`baseline` must be a number, a tensor or a Baseline", got=given)

    @classmethod
    def per_sample(cls, tensor: "Tensor | tuple[Tensor, ...] | dict[str, Tensor]") -> "Baseline":
        """One reference for each sample, in the order of the batch."""
        return cls(kind="per_sample", tensors=_tensors(tensor), names=_names(tensor))

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

    def background(self, inputs: Inputs) -> list[Inputs]:
        """The references, each as one row for every sample; several where they are averaged."""
        if self.kind == "tensor":
            return self._from_tensors(inputs)
        if self.kind == "per_sample":
            return [inputs.replace(self._per_sample(inputs))]
        return [inputs.replace([self._make(leaf) for leaf in inputs.leaves])]

    def single(self, inputs: Inputs) -> Inputs:
        """The one reference of each sample; an error where there are several."""
        background = self.background(inputs)
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
        for label, leaf, given in self._paired(inputs):
            table = given.unsqueeze(0) if given.shape == leaf.shape[1:] else given
            if table.shape[1:] != leaf.shape[1:]:
                raise InputError(
                    f"The baseline of `{label}` must have the shape of one sample, "
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
        for label, leaf, given in self._paired(inputs):
            if given.shape != leaf.shape:
                raise InputError(
                    f"A baseline per sample must have the shape of `{label}`, {list(leaf.shape)}",
                    got=given,
                )
        return [given.to(leaf) for _, leaf, given in self._paired(inputs)]

    def _paired(self, inputs: Inputs) -> list[tuple[str, Tensor, Tensor]]:
        """Label, input and baseline of each input; those of a dict go by their keywords."""
        tensors = self.tensors
        if self.names is not None and inputs.names is not None:
            given = dict(zip(self.names, self.tensors, strict=True))
            for name in inputs.names:
                if name not in given:
                    raise UnknownNameError("`baseline` for an input", name, given)
            tensors = tuple(given[name] for name in inputs.names)
        if len(tensors) != len(inputs.leaves):
            raise InputError(
                f"`baseline` must have one tensor for each of the {len(inputs.leaves)} inputs",
                found=f"{len(tensors)}",
            )
        return list(zip(inputs.labels(), inputs.leaves, tensors, strict=True))

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


def _tensors(given: "Tensor | tuple | list | dict") -> tuple[Tensor, ...]:
    items = given.values() if isinstance(given, dict) else given
    tensors = (given,) if isinstance(given, Tensor) else tuple(items)
    for item in tensors:
        if not isinstance(item, Tensor):
            raise InputError("A baseline must be made of tensors", got=item)
        if not item.isfinite().all():
            raise InputError("A baseline must be finite", got=item)
    return tensors


def _names(given: "Tensor | tuple | list | dict") -> tuple[str, ...] | None:
    return tuple(given) if isinstance(given, dict) else None


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
