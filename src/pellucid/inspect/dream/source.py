"""What ascent moves, and the dreams that are made of it: inputs themselves, or codes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import InputError
from pellucid.inspect.dream.layout import Layout
from pellucid.inspect.dream.parameterization import Parameterization, Pixel
from pellucid.inspect.dream.start import as_shape, begun, example_of, of_batch

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


def of_inputs(
    model: Callable[..., Any], *, shape: Any, like: Any, start: Any, data: Any, noise: float | None,
    channel_axis: int, seeds: Sequence[int],
) -> Source:  # fmt: skip
    """Inputs of a shape, or like one that is given."""
    found, dtype, device = example_of(model, shape, like, start, data)
    layout = Layout(shape=found, channel_axis=channel_axis)
    example = torch.zeros(1, *found, dtype=dtype, device=device)
    numbers = begun(
        start, layout, seeds, like=wide(example), data=data, noise=0.1 if noise is None else noise
    )
    return Source(layout=layout, like=example, numbers=numbers)


def of_codes(
    generator: Maker, *, code: Any, shape: Any, like: Any, start: Any, noise: float | None,
    channel_axis: int, seeds: Sequence[int],
) -> Source:  # fmt: skip
    """Codes of a generator, whose inputs have the shape that is asked for, if any is."""
    found, dtype, device = _code_of(generator, code, start)
    codes = begun(
        start,
        Layout(shape=found),
        seeds,
        like=wide(torch.zeros(1, *found, dtype=dtype, device=device)),
        noise=1.0 if noise is None else noise,
    )
    wanted = None if shape is None else as_shape(shape)
    wanted = of_batch(like, "like")[0] if like is not None else wanted

    def dream(numbers: Tensor) -> Tensor:
        return _generated(generator, numbers.to(dtype), wanted)

    with torch.no_grad():
        example = dream(codes[:1])
    layout = Layout(shape=tuple(example.shape[1:]), channel_axis=channel_axis)
    taken = example if like is None else example.to(like)
    return Source(
        layout=layout, like=taken, numbers=codes, dream=lambda z: wide(dream(z)), in_code=True
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
