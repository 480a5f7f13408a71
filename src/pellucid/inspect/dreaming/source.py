"""What ascent moves, and the dreams that are made of it: inputs themselves, or codes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import InputError
from pellucid.inspect.dreaming.layout import Layout
from pellucid.inspect.dreaming.objective import Objective
from pellucid.inspect.dreaming.parameterization import Parameterization, Pixel
from pellucid.inspect.dreaming.start import (
    as_shape,
    as_taken,
    begun,
    class_means_of,
    example_of,
    mean_of,
    of_batch,
)
from pellucid.options import number

Maker = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """Numbers (dream, ...) to begin with, and `dream`, which makes inputs of them.

    `undo` finds the numbers of inputs; `like` is one input, of the type that the model is called
    with. Where `dream` is `None`, the numbers are the inputs.
    """

    layout: Layout
    like: Tensor
    numbers: Tensor
    dream: Maker | None = None
    undo: Maker | None = None
    in_code: bool = False

    def through(self, way: Parameterization) -> "Source":
        """The same inputs, made of the numbers of a parameterization."""
        way.check(self.layout)
        if isinstance(way, Pixel):
            return self
        return replace(
            self,
            numbers=way.numbers(self.numbers, self.layout),
            dream=lambda numbers: way.dream(numbers, self.layout),
            undo=lambda x: way.numbers(x, self.layout),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Beginning:
    """Where dreams begin, and what they are made of, as the user says it in `dream`."""

    shape: Any
    like: Any
    start: Any
    data: Any
    labels: Any
    noise: float | None
    generator: Maker | None
    code: Any
    channel_axis: int
    aims: Sequence[Objective]
    seeds: Sequence[int]

    def source(self, model: Callable[..., Any]) -> Source:
        """Inputs of a shape, or like one that is given; or codes, if there is a generator."""
        if self.noise is not None:
            number(self.noise, "noise", "a deviation, 0 or more", least=0)
        if self.generator is not None:
            return self._of_codes(self.generator, model)
        if self.code is not None:
            raise InputError("`code` must be given with a `generator`", found="none")
        found, dtype, device = example_of(model, self.shape, self.like, self.start, self.data)
        layout = Layout(shape=found, channel_axis=self.channel_axis)
        example = torch.zeros(1, *found, dtype=dtype, device=device)
        return Source(
            layout=layout, like=example, numbers=self._begun(layout, example, 0.1, self._mean)
        )

    def _of_codes(self, generator: Maker, model: Callable[..., Any]) -> Source:
        """Codes of a generator, whose inputs have the shape that is asked for, if any is."""
        found, dtype, device = _code_of(generator, self.code, self.start)
        one = torch.zeros(1, *found, dtype=dtype, device=device)
        codes = self._begun(Layout(shape=found), one, 1.0, _no_mean)
        wanted = None if self.shape is None else as_shape(self.shape)
        wanted = of_batch(self.like, "like")[0] if self.like is not None else wanted

        def dream(numbers: Tensor) -> Tensor:
            return _generated(generator, numbers.to(dtype), wanted)

        with torch.no_grad():
            example = dream(codes[:1])
        return Source(
            layout=Layout(shape=tuple(example.shape[1:]), channel_axis=self.channel_axis),
            like=as_taken(example, model) if self.like is None else example.to(self.like),
            numbers=codes,
            dream=lambda z: wide(dream(z)),
            in_code=True,
        )

    def _begun(
        self, layout: Layout, one: Tensor, noise: float, mean: Callable[[str, Layout], Tensor]
    ) -> Tensor:
        """The numbers to begin with, as wide as small steps need."""
        return begun(
            self.start,
            layout,
            self.seeds,
            like=wide(one),
            noise=noise if self.noise is None else self.noise,
            means=lambda which: mean(which, layout),
        )

    def _mean(self, which: str, layout: Layout) -> Tensor:
        """The mean of all data, or of those of the class of each dream."""
        if which == "mean":
            return mean_of(self.data, layout)
        return class_means_of(self.data, self.labels, self.aims, layout)


def _no_mean(which: str, layout: Layout) -> Tensor:
    raise InputError(
        "`start` in code space must be `zero`, `noise` or codes",
        got=which,
        hint="Of a generator that fit_generator made, start=generator.encode(data) or "
        "generator.codes_of(classes).",
    )


def wide(x: Tensor) -> Tensor:
    """Numbers in which small steps are not lost: single precision at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _code_of(
    generator: Maker, code: Any, start: Any
) -> tuple[tuple[int, ...], torch.dtype, torch.device]:
    """The shape of one code, with its type and device."""
    own = next(
        iter(generator.parameters() if isinstance(generator, nn.Module) else ()), torch.empty(0)
    )
    if isinstance(start, Tensor):
        found = of_batch(start if start.ndim > 1 else start[None], "start")
        return (found[0], own.dtype, own.device) if own.numel() else found
    given = getattr(generator, "code", None) if code is None else code
    if given is None:
        raise InputError(
            "The shape of a code must be known",
            found="neither `code` nor codes to start from",
            hint="For example code=64, or code=(100, 1, 1), as the generator takes them.",
        )
    return as_shape(given, "code"), own.dtype, own.device


def _generated(generator: Maker, codes: Tensor, wanted: tuple[int, ...] | None) -> Tensor:
    """What a generator makes of codes, if these are inputs."""
    try:
        found = generator(codes)
    except (RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            "`generator` must run on codes",
            got=codes,
            hint=f"It raised {type(error).__name__}: {str(error).strip().rstrip('.')}.",
        ) from error
    batch = isinstance(found, Tensor) and found.ndim > 1 and len(found) == len(codes)
    if not batch or not found.is_floating_point():
        raise InputError(
            f"`generator` must return one input for each of the {len(codes)} codes",
            got=found,
            hint="A floating-point tensor of shape (dream, ...).",
        )
    if wanted is not None and tuple(found.shape[1:]) != wanted:
        reshape = " Reshape them: lambda z: generator(z).reshape(-1, ...)."
        same = prod(found.shape[1:]) == prod(wanted)
        raise InputError(
            f"`generator` must return inputs of shape {list(wanted)}, as the model takes them",
            got=found,
            hint="Resize or crop them in a function around it." + (reshape if same else ""),
        )
    return found
