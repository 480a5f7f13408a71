"""The numbers that ascent moves, in place of the values of a dream themselves.

All of them can stand for every dream; they differ in which of them a step comes to first.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.fft import irfftn, rfftn
from torch.nn.functional import interpolate

from pellucid.errors import InputError
from pellucid.inspect.dreaming.layout import Layout
from pellucid.options import number, whole
from pellucid.registry import Kinds

# How red, green and blue go together in photographs (those of the gallery).
PHOTOGRAPHS = ((1.0, 0.87, 0.72), (0.87, 1.0, 0.94), (0.72, 0.94, 1.0))
# The names that interpolation has by the number of axes with positions.
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, kw_only=True)
class Parameterization(ABC):
    """How dreams (dream, ...) are made of numbers (dream, ...), and the numbers found of dreams.

    Law: dream(numbers(x)) is x.
    """

    def check(self, layout: Layout) -> None:
        """Raise unless dreams of this layout can be made."""
        return

    @abstractmethod
    def dream(self, numbers: Tensor, layout: Layout) -> Tensor:
        """The dreams that numbers stand for; autograd follows it."""

    @abstractmethod
    def numbers(self, x: Tensor, layout: Layout) -> Tensor:
        """Numbers that stand for given dreams."""


PARAMETERIZATIONS: Kinds[Parameterization] = Kinds(
    what="parameterization of dreams", kind=Parameterization, hint='For example "fourier".'
)


@PARAMETERIZATIONS.register("pixel")
@dataclass(frozen=True, kw_only=True)
class Pixel(Parameterization):
    """The values themselves."""

    def dream(self, numbers: Tensor, layout: Layout) -> Tensor:
        """The numbers are the dream."""
        return numbers

    def numbers(self, x: Tensor, layout: Layout) -> Tensor:
        """The dream is the numbers."""
        return x


@PARAMETERIZATIONS.register("fourier")
@dataclass(frozen=True, kw_only=True)
class Fourier(Parameterization):
    """Waves along the axes with positions, whose amplitude falls with their frequency f.

        x = F^-1(s(f) z),   s(f) proportional to 1 / max(f, 1 / length)^power,   mean of s^2 = 1

    A step that is equally long for every number then moves long waves most, as photographs have
    them. Numbers z have shape (dream, channel, *frequency, 2): real and imaginary parts.
    Source: Olah, Mordvintsev and Schubert (2017), Feature Visualization.
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        number(self.power, "power", "0 or more", least=0)

    def check(self, layout: Layout) -> None:
        """Raise unless there are positions."""
        layout.check_positions("Fourier")

    def dream(self, numbers: Tensor, layout: Layout) -> Tensor:
        """The sum of all waves."""
        waves = torch.view_as_complex(numbers.contiguous()) * self._scale(numbers, layout)
        axes = tuple(range(2, 2 + len(layout.sizes)))
        return layout.back(irfftn(waves, layout.sizes, axes, norm="ortho"))

    def numbers(self, x: Tensor, layout: Layout) -> Tensor:
        """The waves that a dream is the sum of."""
        waves = rfftn(layout.first(x), dim=tuple(range(2, x.ndim)), norm="ortho")
        return torch.view_as_real(waves / self._scale(x, layout))

    def _scale(self, like: Tensor, layout: Layout) -> Tensor:
        """The amplitude of each wave, of shape (*frequency)."""
        options: Any = {"device": like.device, "dtype": like.dtype}
        *others, last = layout.sizes
        axes = [torch.fft.fftfreq(n, **options) for n in others]
        axes.append(torch.fft.rfftfreq(last, **options))
        grid = torch.meshgrid(*axes, indexing="ij")
        lengths = sum((each.square() for each in grid), torch.zeros_like(grid[0])).sqrt()
        scale = lengths.clamp(min=1 / max(layout.sizes)) ** -self.power
        return scale / scale.square().mean().sqrt()


@PARAMETERIZATIONS.register("pyramid")
@dataclass(frozen=True, kw_only=True)
class Pyramid(Parameterization):
    """A sum of dreams at several sizes, each half of the one before, all enlarged to the first.

        x = sum over levels of enlarged(z_level)

    Numbers have shape (dream, number): those of all levels, one after the other.
    Source: Mordvintsev, Olah and Tyka (2015), Inceptionism: Going Deeper into Neural Networks.
    """

    levels: int = 4

    def __post_init__(self) -> None:
        whole(self.levels, "levels")

    def check(self, layout: Layout) -> None:
        """Raise unless these are signals, images or volumes."""
        layout.check_positions("Pyramid", 1, 3)

    def dream(self, numbers: Tensor, layout: Layout) -> Tensor:
        """The sum of all levels."""
        shapes = [(layout.channels, *sizes) for sizes in self._sizes(layout)]
        parts = numbers.split([math.prod(shape) for shape in shapes], 1)
        mode = LINEAR[len(layout.sizes)]
        first, *others = (p.reshape(-1, *s) for p, s in zip(parts, shapes, strict=True))
        grown = (interpolate(p, size=layout.sizes, mode=mode, align_corners=False) for p in others)
        return layout.back(sum(grown, first))

    def numbers(self, x: Tensor, layout: Layout) -> Tensor:
        """All of a dream at its own size, and nothing at the smaller ones."""
        own = layout.first(x).flatten(1)
        more = layout.channels * sum(math.prod(sizes) for sizes in self._sizes(layout)[1:])
        return torch.cat([own, own.new_zeros(len(own), more)], 1)

    def _sizes(self, layout: Layout) -> list[tuple[int, ...]]:
        halves = range(self.levels)
        return [tuple(max(1, size >> half) for size in layout.sizes) for half in halves]


@PARAMETERIZATIONS.register("decorrelated")
@dataclass(frozen=True, kw_only=True, eq=False)
class Decorrelated(Parameterization):
    """Channels that move together as in real data, over another parameterization.

        x at a position = C^(1/2) z at it

    C are the correlations of the channels, (channel, channel): by default those of red, green and
    blue in photographs; `Decorrelated.of(data)` measures them.
    Source: Olah, Mordvintsev and Schubert (2017), Feature Visualization.
    """

    inner: Parameterization = Fourier()
    correlations: Any = PHOTOGRAPHS

    def __post_init__(self) -> None:
        found = torch.as_tensor(self.correlations, dtype=torch.float64)
        square = found.ndim == 2 and found.shape[0] == found.shape[1]
        if not square or not torch.allclose(found, found.T) or not _is_positive(found):
            raise InputError(
                "`correlations` must be a symmetric, positive definite matrix (channel, channel)",
                got=self.correlations,
                hint="Decorrelated.of(data) measures that of data.",
            )

    @classmethod
    def of(
        cls, data: Tensor, channel_axis: int = 1, inner: Parameterization | None = None
    ) -> "Decorrelated":
        """Measure the correlations of the channels of data (sample, channel, ...).

        A tenth of a percent of what is not correlated keeps them apart where channels are equal.
        """
        rows = data.detach().double().movedim(channel_axis, 0).flatten(1)
        rows = (rows - rows.mean(1, keepdim=True)) / rows.std(1, keepdim=True).clamp(min=1e-12)
        found = 0.999 * rows @ rows.T / rows.shape[1] + 0.001 * torch.eye(len(rows))
        return cls(inner=inner or Fourier(), correlations=found.cpu())

    def check(self, layout: Layout) -> None:
        """Raise unless there is a correlation of every two channels."""
        self.inner.check(layout)
        if len(self.correlations) != layout.channels:
            raise InputError(
                f"The correlations of channels must be of the {layout.channels} of the dream",
                found=f"those of {len(self.correlations)}",
                hint="Decorrelated.of(data) measures those of data.",
            )

    def dream(self, numbers: Tensor, layout: Layout) -> Tensor:
        """What the inner parameterization makes, with its channels correlated."""
        return self._mixed(self.inner.dream(numbers, layout), 0.5, layout)

    def numbers(self, x: Tensor, layout: Layout) -> Tensor:
        """The numbers of the dream with its channels told apart."""
        return self.inner.numbers(self._mixed(x, -0.5, layout), layout)

    def _mixed(self, x: Tensor, power: float, layout: Layout) -> Tensor:
        values, vectors = torch.linalg.eigh(torch.as_tensor(self.correlations).double())
        root = (vectors * values**power @ vectors.T).to(x)
        axis = layout.channel_axis
        return (x.movedim(axis, -1) @ root).movedim(-1, axis)


ParameterizationLike: TypeAlias = str | Parameterization


def parameterization_of(given: ParameterizationLike) -> Parameterization:
    """Take one by name, with its defaults, or as it is made."""
    return PARAMETERIZATIONS.named(given)


def _is_positive(matrix: Tensor) -> bool:
    return bool((torch.linalg.eigvalsh(matrix) > 0).all())
