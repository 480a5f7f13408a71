"""Where dreams begin: at zero, noise, the mean of data, or a point of the user's."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import InputError
from pellucid.inspect.dreaming.layout import Layout
from pellucid.inspect.dreaming.objective import Objective
from pellucid.inspect.dreaming.real import real_labels
from pellucid.inspect.passes import source_of, stream, taken
from pellucid.options import one_of
from pellucid.run.samples import Samples
from pellucid.seeding import seeded
from pellucid.structure import Inputs

STARTS = ("zero", "noise", "mean", "class_mean")


def example_of(
    model: Callable[..., Any], shape: Any, like: Any, start: Any, data: Any
) -> tuple[tuple[int, ...], torch.dtype, torch.device]:
    """The shape of one dream, its type and device: as given, or those of what is given."""
    if shape is not None and like is not None:
        raise InputError("`shape` or `like` must be given, not both", found=f"{shape} and a tensor")
    if like is not None:
        return of_batch(like, "like")
    if shape is not None:
        found = as_taken(torch.empty(0), model)
        return as_shape(shape), found.dtype, found.device
    if not isinstance(start, str) and hasattr(start, "shape"):
        return of_batch(torch.as_tensor(start), "start")
    if data is not None:
        source = source_of(data)
        first = source.read(0, 1) if isinstance(source, Samples) else _first_of(source)
        return of_batch(_tensor(taken(first)[0]), "data")
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
    noise: float,
    means: Callable[[str], Tensor],
) -> Tensor:
    """The first points of dreams, of shape (dream, ...), in the type and on the device of `like`.

    Noise is the same for dreams of the same seed, whatever the others are. `means` finds those of
    data, for a start that has one of these names.
    """
    shape = (len(seeds), *layout.shape)
    if not isinstance(start, str) and not hasattr(start, "shape"):
        known = f"{', '.join(f'`{each}`' for each in STARTS)} or a tensor"
        raise InputError(f"`start` of a dream must be {known}", got=start)
    if not isinstance(start, str):
        given = torch.as_tensor(start).to(like)
        return _spread(given, shape)
    one_of(start, "`start` of a dream", STARTS)
    if start in ("mean", "class_mean"):
        return means(start).to(like).expand(shape).clone()
    if start == "zero":
        return like.new_zeros(shape)
    made = {seed: torch.randn(layout.shape, generator=seeded(seed, 0)) for seed in set(seeds)}
    return torch.stack([noise * made[seed] for seed in seeds]).to(like)


def mean_of(data: Any, layout: Layout) -> Tensor:
    """The mean of data of shape (sample, ...), in double precision, read part by part."""
    rows, total = 0, torch.zeros(layout.shape, dtype=torch.float64)
    for x, _ in _parts(data, layout):
        total += x.sum(0)
        rows += len(x)
    return total / rows


def class_means_of(data: Any, labels: Any, aims: Sequence[Objective], layout: Layout) -> Tensor:
    """The mean of the data of the class that each dream is of, of shape (dream, ...)."""
    wanted = [aim.asked_class for aim in aims]
    vague = [aim for aim, k in zip(aims, wanted, strict=True) if k is None]
    if vague:
        raise InputError(
            'start="class_mean" must be used with targets that are classes of the output',
            found=vague[0].words(),
        )
    numbers = torch.tensor(wanted).unique()
    totals = torch.zeros(len(numbers), *layout.shape, dtype=torch.float64)
    counts = torch.zeros(len(numbers), dtype=torch.float64)
    start = 0
    known = None if labels is None else real_labels(labels)
    for x, own in _parts(data, layout):
        given = own if known is None else known[start : start + len(x)]
        belongs = (numbers[:, None] == real_labels(_labelled(given), len(x))).double()
        totals += torch.einsum("kn,n...->k...", belongs, x)
        counts += belongs.sum(1)
        start += len(x)
    if known is not None and len(known) != start:
        raise InputError(f"`labels` must be one for each of the {start} samples", got=labels)
    if not bool(counts.all()):
        raise InputError(
            "There must be a sample of each class to begin at its mean",
            found=f"none of class {int(numbers[counts == 0][0])}",
        )
    means = totals / counts.reshape(-1, *[1] * len(layout.shape))
    return means[torch.searchsorted(numbers, torch.tensor(wanted))]


def _labelled(given: Any) -> Any:
    if given is None:
        raise InputError(
            'start="class_mean" must know the class of each sample',
            found="`data` without them",
            hint="Pass labels=, or data whose batches are pairs (inputs, labels).",
        )
    return given


def _parts(data: Any, layout: Layout) -> Iterator[tuple[Tensor, Any]]:
    """Data part by part, as (sample, ...) in double precision, with labels if there are any."""
    if data is None:
        raise InputError(
            "A start at the mean of data must have some", found="none", hint="Pass data=."
        )
    for part, labels in stream(data, lambda start, inputs, labels: (inputs, labels)):
        x = _tensor(part).detach().double().cpu()
        if tuple(x.shape[1:]) != layout.shape:
            raise InputError(f"`data` must have samples of shape {list(layout.shape)}", got=x)
        yield x, labels


def _first_of(batches: Any) -> Any:
    """The first batch, of batches that can be gone through again."""
    if iter(batches) is batches:
        raise InputError(
            "The shape of a dream must be known",
            found="`data` that can be gone through only once",
            hint="Pass shape=, or like=, a batch that the model takes.",
        )
    return next(iter(batches))


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


def _tensor(part: Inputs) -> Tensor:
    """The one tensor of a batch, as numbers with a fraction."""
    if len(part.leaves) != 1:
        raise InputError(
            "`data` must be one tensor of shape (sample, ...)", got=part.pack(part.leaves)
        )
    (found,) = part.leaves
    return found if found.is_floating_point() else found.to(torch.get_default_dtype())


def as_taken(x: Tensor, model: Any) -> Tensor:
    """A tensor in the type and on the device of a model's weights, if it has any."""
    weights = model.parameters() if isinstance(model, nn.Module) else ()
    own = next((each for each in weights if each.is_floating_point()), None)
    return x if own is None else x.to(own.device, own.dtype)
