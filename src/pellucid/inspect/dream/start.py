"""Where dreams begin: at zero, noise, the mean of data, or a point of the user's."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.errors import InputError
from pellucid.inspect.dream.layout import Layout
from pellucid.options import one_of
from pellucid.run.samples import Samples
from pellucid.seeding import seeded

STARTS = ("zero", "noise", "mean")
# Rows of data that are read at once.
ROWS = 1024


def example_of(
    model: Callable[..., Any], shape: Any, like: Any, start: Any, data: Any
) -> tuple[tuple[int, ...], torch.dtype, torch.device]:
    """The shape of one dream, its type and device: as given, or those of what is given."""
    if shape is not None and like is not None:
        raise InputError("`shape` or `like` must be given, not both", found=f"{shape} and a tensor")
    if like is not None:
        return of_batch(like, "like")
    if shape is not None:
        found = next((p for p in _parameters(model) if p.is_floating_point()), torch.empty(0))
        return as_shape(shape), found.dtype, found.device
    if isinstance(start, Tensor):
        return of_batch(start, "start")
    if data is not None:
        samples = Samples.of(data)
        return of_batch(_tensor(samples.read(0, 1)), "data")
    raise InputError(
        "The shape of a dream must be known",
        found="neither `shape` nor `like`",
        hint="For example shape=(3, 224, 224), or like=inputs, a batch that the model takes.",
    )


def begun(
    start: Any,
    layout: Layout,
    seeds: Sequence[int],
    *,
    like: Tensor,
    data: Any = None,
    noise: float = 0.1,
) -> Tensor:
    """The first points of dreams, of shape (dream, ...), in the type and on the device of `like`.

    Noise is the same for dreams of the same seed, whatever the others are.
    """
    shape = (len(seeds), *layout.shape)
    if not isinstance(start, str) and not hasattr(start, "shape"):
        known = "`zero`, `noise`, `mean` or a tensor"
        raise InputError(f"`start` of a dream must be {known}", got=start)
    if not isinstance(start, str):
        given = torch.as_tensor(start).to(like)
        return _spread(given, shape)
    one_of(start, "`start` of a dream", STARTS)
    if start == "mean":
        return mean_of(data, layout).to(like).expand(shape).clone()
    if start == "zero":
        return like.new_zeros(shape)
    made = {seed: torch.randn(layout.shape, generator=seeded(seed, 0)) for seed in set(seeds)}
    return torch.stack([noise * made[seed] for seed in seeds]).to(like)


def mean_of(data: Any, layout: Layout) -> Tensor:
    """The mean of data of shape (sample, ...), in double precision, read part by part."""
    if data is None:
        raise InputError(
            'start="mean" must have data to take the mean of', found="none", hint="Pass data=."
        )
    samples, total = Samples.of(data), torch.zeros(layout.shape, dtype=torch.float64)
    for first in range(0, samples.rows, ROWS):
        part = _tensor(samples.read(first, min(first + ROWS, samples.rows)))
        if tuple(part.shape[1:]) != layout.shape:
            raise InputError(f"`data` must have samples of shape {list(layout.shape)}", got=part)
        total += part.detach().double().cpu().sum(0)
    return total / samples.rows


def _spread(given: Tensor, shape: tuple[int, ...]) -> Tensor:
    """One point for every dream, or one for all."""
    fits = tuple(given.shape) in (shape, shape[1:], (1, *shape[1:]))
    if not fits or not bool(given.isfinite().all()):
        raise InputError(
            f"`start` must be finite, and have the shape {list(shape)} or {list(shape[1:])}",
            got=given,
        )
    return given.detach().expand(shape).clone()


def of_batch(given: Any, name: str) -> tuple[tuple[int, ...], torch.dtype, torch.device]:
    """The shape of one sample of a batch, with its type and device."""
    if not isinstance(given, Tensor) or given.ndim < 2 or not given.is_floating_point():
        raise InputError(
            f"`{name}` must be a batch of floating-point inputs, of shape (sample, ...)",
            got=given,
            hint="One sample needs the axis: x.unsqueeze(0). Token ids have no slope: dream of "
            "embeddings, with lambda e: model(inputs_embeds=e).",
        )
    return tuple(given.shape[1:]), given.dtype, given.device


def as_shape(given: Any, name: str = "shape") -> tuple[int, ...]:
    """A shape, also of one number."""
    listed = [given] if isinstance(given, int) else given
    whole = isinstance(listed, list | tuple | torch.Size) and all(
        isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in listed
    )
    if not whole or not listed:
        raise InputError(
            f"`{name}` must be that of one dream, without the batch",
            got=given,
            hint="For example (3, 224, 224) for images.",
        )
    return tuple(listed)


def _tensor(part: Any) -> Tensor:
    found = torch.from_numpy(part) if isinstance(part, np.ndarray) else part
    if not isinstance(found, Tensor):
        raise InputError("`data` must be one tensor of shape (sample, ...)", got=part)
    return found if found.is_floating_point() else found.to(torch.get_default_dtype())


def _parameters(model: Any) -> list[Tensor]:
    return list(model.parameters()) if isinstance(model, nn.Module) else []
