"""The survey of a model: what it has learned, by layer, by channel and by class."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pellucid.batching import BatchSize
from pellucid.errors import InputError
from pellucid.evaluate.leaderboard.learned import learned
from pellucid.inspect.activations import Activations, activations
from pellucid.inspect.layer_table import layers as layer_table
from pellucid.method import Method, named
from pellucid.options import whole
from pellucid.run.described import described
from pellucid.run.samples import Samples
from pellucid.run.stages import stages
from pellucid.survey.aim import check_labels, output_of
from pellucid.survey.choice import chosen_layers, spread
from pellucid.survey.classes import Classes
from pellucid.survey.units import AUTO, Layers
from pellucid.survey.views import ClassView, LayerView, Survey

# The range of values, and how layers answer, are those of so many images at most.
MOST_LOOKED_AT = 16
# All activations of so many are held at once, to see how they change with depth.
MOST_HELD = 4


def survey(
    model: Callable[..., Any],
    data: Any = None,
    layers: Sequence[str] | None = None,
    *,
    like: Tensor | None = None,
    units: int = 6,
    k: int = 9,
    recipe: str = AUTO,
    steps: int = 64,
    limits: tuple[Tensor, Tensor] | None = None,
    labels: Any = None,
    names: Sequence[str] = (),
    classes: int = 8,
    prototypes: int = 3,
    criticisms: int = 3,
    method: str | Method = "lrp",
    seed: int = 0,
    batch_size: BatchSize = "auto",
    folder: str | os.PathLike[str] | None = None,
) -> Survey:
    """Look at some channels of some layers of a model of images, and at its classes.

    Of each layer there are `units` channels, evenly by number, with the `k` patches that excite
    them most (`top_examples`), what of each does (deconvnet), a dream (`dream`, with its `recipe`
    and `steps`; "auto" is plain where units see little, else Fourier) and a filter (`filters`). Of
    each of the `classes` with most samples there are prototypes and criticisms
    (`exemplar.prototypes`, in the features of the last of the layers), and maps by `method`.
    Classes are told apart by `labels` (sample,), or by what the model predicts; `names` are theirs.
    Dreams stay within the `limits`, the lowest and highest values (channel, 1, 1) of an image: by
    default those of some of the data, or none.

    `data` are images (sample, channel, height, width), or `Samples` of such; without data, an image
    that is `like` theirs says their shape, and there are dreams alone. `layers` are paths, by
    default four from the first to the last convolution. What is found is kept in a `folder`, and a
    run that was stopped goes on from there. The model is not changed.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(),
    ...                           torch.nn.Linear(144, 2))
    >>> found = survey(net, torch.rand(6, 1, 8, 8), labels=[0, 0, 0, 1, 1, 1], units=2, steps=2)
    >>> found
    Survey of 2 channels of 1 layers, 2 classes, of 6 samples
    >>> found.layers[0].units[0].patches[0].shape
    torch.Size([1, 3, 3])
    """
    samples = None if data is None else Samples.of(data)
    example = _example(samples, like)
    chosen, means = chosen_layers(model, example, layers), named(method)
    output = output_of(model, example)
    known = None if labels is None or samples is None else _labels(labels, samples.rows, output)
    asked = Layers(
        model=model, samples=samples, example=example, units=whole(units, "units"),
        k=whole(k, "k"), recipe=recipe, steps=whole(steps, "steps"),
        limits=_limits(samples) if limits is None else limits,
        seed=whole(seed, "seed", least=None), batch_size=batch_size,
    )  # fmt: skip
    kinds = Classes(
        model=model, samples=samples or Samples.of(example), layer=chosen[-1], output=output,
        labels=known, names=names, most=whole(classes, "classes", least=0) if samples else 0,
        count=whole(prototypes, "prototypes"), criticisms=whole(criticisms, "criticisms", least=0),
        method=means, seed=seed, batch_size=batch_size,
    )  # fmt: skip
    options = [units, k, recipe, steps, limits, prototypes, criticisms, seed, means, known]
    return _together(asked, kinds, *_views(asked, kinds, chosen, options, folder))


def _together(
    asked: Layers, kinds: Classes, views: list[LayerView], of_classes: list[ClassView]
) -> Survey:
    """What was found of layers and of classes, with what is known of all operations."""
    model, samples = asked.model, asked.samples
    depth, why = _by_depth(model, samples)
    looked = None if samples is None else some(samples, MOST_LOOKED_AT)
    return Survey(
        layers=views, classes=of_classes, samples=samples.rows if samples else 0, depth=depth,
        notes=(*kinds.notes, *why), by="predictions" if kinds.labels is None else "labels",
        looked=looked.rows if looked else 0,
        table=layer_table(model, asked.example if looked is None else looked),
    )  # fmt: skip


def _views(
    asked: Layers, kinds: Classes, chosen: list[str], options: list[Any], folder: Any
) -> tuple[list[LayerView], list[ClassView]]:
    """What is found of layers and of classes, stage by stage."""
    of_layers = len(chosen) * (2 if asked.samples is None else 3)
    of_classes = 1 + kinds.most if kinds.most else 0
    settings = partial(_settings, asked, chosen, options)
    with stages(folder, settings, of_layers + of_classes, "survey") as run:
        views = asked.views(chosen, run)
        return views, kinds.views(run) if kinds.most else []


def _settings(asked: Layers, chosen: list[str], options: list[Any]) -> dict[str, Any]:
    """What decides the answers, as JSON."""
    return {
        "model": described(asked.model),
        "learned": learned(asked.model),
        "data": None if asked.samples is None else asked.samples.mark,
        "like": list(asked.example.shape),
        "layers": chosen,
        "options": [described(each) for each in options],
    }


def some(samples: Samples, most: int) -> Samples:
    """So many images at most, evenly spread: those of one class may stand together.

    >>> some(Samples.of(torch.arange(5.0)[:, None]), 3).read(0, 3)[:, 0]
    tensor([0., 2., 4.])
    """
    rows = spread(range(samples.rows), most)

    def read(start: int, stop: int) -> Tensor:
        return torch.cat([samples.read(row, row + 1) for row in rows[start:stop]])

    return Samples(rows=len(rows), read=read, mark=samples.mark)


def _by_depth(
    model: Callable[..., Any], samples: Samples | None
) -> tuple[Activations | None, tuple[str, ...]]:
    """The activations of a few samples, all of which are held; or a note on why there are none."""
    if samples is None:
        return None, ()
    try:
        few = some(samples, MOST_HELD)
        return activations(model, few.read(0, few.rows)), ()
    except InputError as error:
        return None, (f"Not shown by depth: {error}",)


def _example(samples: Samples | None, like: Tensor | None) -> Tensor:
    """One image, with the batch first."""
    if samples is None and like is None:
        raise InputError("A survey must have `data`, or an image that is `like` them", got=None)
    found = like[:1] if samples is None and isinstance(like, Tensor) else None
    found = found if samples is None else samples.read(0, 1)
    if not isinstance(found, Tensor) or found.ndim != 4 or not found.is_floating_point():
        raise InputError(
            "A survey must be of a model of images (sample, channel, height, width)",
            got=found,
            hint="Of other models, call pellucid.inspect in Python, part by part.",
        )
    return found


def _limits(samples: Samples | None) -> tuple[Tensor, Tensor] | None:
    """The lowest and the highest value of each channel (channel, 1, 1) in some of the images."""
    if samples is None:
        return None
    low, high = None, None
    looked = some(samples, MOST_LOOKED_AT)
    for row in range(looked.rows):
        found = looked.read(row, row + 1)
        least, most = found.amin((0, 2, 3)), found.amax((0, 2, 3))
        low = least if low is None else torch.minimum(low, least)
        high = most if high is None else torch.maximum(high, most)
    if low is None or high is None or bool((low >= high).any()):
        return None  # images of one value: there is no range
    return low[:, None, None], high[:, None, None]


def _labels(labels: Any, rows: int, output: Any) -> Tensor:
    """The classes of samples by number."""
    found = torch.as_tensor(labels)
    if found.shape != (rows,) or found.is_floating_point():
        raise InputError(
            f"`labels` must be one class by number for each of the {rows} samples", got=labels
        )
    check_labels(found, output)
    return found.long()
