"""Maps weighted by their gradients: Grad-CAM, Grad-CAM++ and Layer-CAM."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.cam.choice import Choice, settle
from pellucid.cam.maps import Maps, Spots, distinct, find_maps, gradient_at
from pellucid.cam.upsample import render
from pellucid.case import Case
from pellucid.method import Attribution, Method, register

# From activations and gradients (batch, channel, *grid) to a map (batch, 1, *grid).
Combine = Callable[[Tensor, Tensor], Tensor]

ZERO_NOTE = "A map is zero everywhere: no channel of `{}` speaks for the score there."
UNREAD_NOTE = "The score reads no position of `{}`; its map is zero."
AROUND_NOTE = "Other paths from the input go around `{}`, through {}; its maps do not show them."
MOVED_NOTE = "Between the input and `{}` stands `{}`: the maps do not lie as the input does."
SHARED_NOTE = "The maps of `{}` are of several inputs together; each is given all of them."


@register("gradcam")
@dataclass(frozen=True, kw_only=True)
class GradCAM(Method):
    """Weight the feature maps of a layer by their mean gradient, and add them up.

        R = relu(sum over k of w_k A_k),  w_k = mean over positions of df/dA_k

    Axes: values have shape (batch, 1, *spatial): the size of the input, interpolated, or of the
    layer's grid with `upsample=False`. `layer=None` takes the last maps that all of an input
    passes, after norm, residual sum and activation and before pooling; of tokens, the last of
    which a patch counts. How a layer's output stands for positions is inferred; `layout` and
    `grid` choose where that is ambiguous. The backward walk stops at the maps. A map of an input
    that the model mirrors is mirrored back; a note tells of paths that go around the layer.
    Laws: on a global average pooling head, without the relu, it is CAM.
    Source: Selvaraju et al. (2017), Grad-CAM: Visual Explanations from Deep Networks.

    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.AdaptiveAvgPool2d(1),
    ...                           torch.nn.Flatten())
    >>> _ = [torch.nn.init.ones_(p) for p in net.parameters()]
    >>> GradCAM(upsample=False)(net, torch.ones(1, 1, 2, 2)).values
    tensor([[[[0.5000, 0.5000],
              [0.5000, 0.5000]]]])
    """

    answers: ClassVar[str] = "Roughly where is the evidence for this class?"
    weakness: ClassVar[str] = "As coarse as the last feature grid, and silent on fine detail."
    laws: ClassVar[frozenset[str]] = frozenset({"invariant"})
    smooth: ClassVar[bool] = True

    layer: str | None = None
    relu: bool = True
    upsample: bool = True
    layout: str | None = None
    grid: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        settle(self)

    def attribute(self, case: Case) -> Attribution:
        """One forward pass, and a backward walk from the score to the layer."""
        return _answer(case, mean_gradient, self)


@register("gradcam_plus_plus")
@dataclass(frozen=True, kw_only=True)
class GradCAMPlusPlus(Method):
    """Weight the maps by their positive gradients, so that several objects count alike.

        R = relu(sum over k of w_k A_k),  w_k = sum over positions of alpha relu(g),  g = df/dA_k
        alpha = g^2 / (2 g^2 + g^3 sum over positions of A_k) = 1 / (2 + g sum A_k);  0 if g = 0

    The weights are those of exp(f), the paper's choice, whose derivatives are powers of g where f
    is piecewise linear; the common factor exp(f), which only scales a map, is left out. Where maps
    with negative values make 2 + g sum A_k zero or negative, which rectified maps cannot, it is 2.
    Axes: values have shape (batch, 1, *spatial), or the layer's grid with `upsample=False`;
    options are as for Grad-CAM.
    Laws: a positive gradient of one channel, the same everywhere, gives a multiple of Grad-CAM.
    Source: Chattopadhay et al. (2018), Grad-CAM++: Generalized Gradient-Based Visual
    Explanations for Deep Convolutional Networks.

    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.Flatten(),
    ...                           torch.nn.Linear(2, 1))
    >>> _ = [torch.nn.init.ones_(p) for p in net.parameters()]
    >>> GradCAMPlusPlus(upsample=False)(net, torch.ones(1, 1, 1, 2)).values
    tensor([[[[0.6667, 0.6667]]]])
    """

    answers: ClassVar[str] = "Where is the evidence, if the class is there several times?"
    weakness: ClassVar[str] = "Leaves out what speaks against the class, in every channel."
    laws: ClassVar[frozenset[str]] = frozenset({"invariant"})
    smooth: ClassVar[bool] = True

    layer: str | None = None
    relu: bool = True
    upsample: bool = True
    layout: str | None = None
    grid: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        settle(self)

    def attribute(self, case: Case) -> Attribution:
        """One forward pass and one backward walk: the higher derivatives are powers of it."""
        return _answer(case, _of_the_exponential, self)


@register("layercam")
@dataclass(frozen=True, kw_only=True)
class LayerCAM(Method):
    """Weight each position of each map by its own positive gradient.

        R = relu(sum over k of relu(df/dA_k) A_k), position by position

    Axes: values have shape (batch, 1, *spatial), or the layer's grid with `upsample=False`;
    options are as for Grad-CAM. Early layers give fine maps.
    Laws: on a global average pooling head with positive weights it is CAM.
    Source: Jiang et al. (2021), LayerCAM: Exploring Hierarchical Class Activation Maps for
    Localization.

    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.Flatten(),
    ...                           torch.nn.Linear(2, 1))
    >>> _ = [torch.nn.init.ones_(p) for p in net.parameters()]
    >>> LayerCAM(upsample=False)(net, torch.tensor([[[[1.0, 2.0]]]])).values
    tensor([[[[2., 3.]]]])
    """

    answers: ClassVar[str] = "Where is the evidence, position by position, also in early layers?"
    weakness: ClassVar[str] = "As noisy as gradients are, where the layer is early."
    laws: ClassVar[frozenset[str]] = frozenset({"invariant"})
    smooth: ClassVar[bool] = True

    layer: str | None = None
    relu: bool = True
    upsample: bool = True
    layout: str | None = None
    grid: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        settle(self)

    def attribute(self, case: Case) -> Attribution:
        """One forward pass and one backward walk to the layer."""
        return _answer(case, _own_gradient, self)


def _answer(
    case: Case, combine: Combine, method: GradCAM | GradCAMPlusPlus | LayerCAM
) -> Attribution:
    spots = find_maps(case, Choice.of(method))
    answers = combined(case, spots, combine, relu=method.relu)
    values = render(case.inputs.leaves, spots, answers, upsample=method.upsample)
    return Attribution(values=values, notes=notes_on(spots, answers))


def combined(case: Case, spots: Spots, combine: Combine, *, relu: bool) -> dict[Maps, Tensor]:
    """Combine activations and gradients to one map (batch, 1, *grid) for each that was found."""
    answers = {}
    for maps in distinct(spots):
        values = combine(maps.activations, gradient_of(case, maps))
        answers[maps] = values.relu() if relu else values
    return answers


def gradient_of(case: Case, maps: Maps) -> Tensor:
    """The gradient of the score at maps, (batch, channel, *grid); zero, and a note, if unread."""
    gradient = maps.gradient
    if gradient is None:
        gradient = gradient_at(case.tape, maps.value)
        case.count(backward=len(case))
    if gradient is None:
        gradient = torch.zeros_like(maps.value.tensor)
    on_grid = maps.layout.maps(gradient)
    if not on_grid.any():
        case.counter.note(UNREAD_NOTE.format(maps.path))
    return on_grid


def notes_on(spots: Spots, answers: dict[Maps, Tensor]) -> tuple[str, ...]:
    """Which maps were taken, of what size, what they leave out, and whether one is dead."""
    notes = []
    found = [spot for spot in spots if spot is not None]
    for maps, values in answers.items():
        size = " x ".join(map(str, maps.layout.grid))
        notes.append(f"The maps are those of `{maps.path}`, {size}.")
        if not values.flatten(1).any(1).all():
            notes.append(ZERO_NOTE.format(maps.path))
        if sum(spot.maps is maps for spot in found) > 1:
            notes.append(SHARED_NOTE.format(maps.path))
    notes += [AROUND_NOTE.format(spot.maps.path, spot.around) for spot in found if spot.around]
    notes += [MOVED_NOTE.format(spot.maps.path, spot.moved) for spot in found if spot.moved]
    return tuple(notes)


def mean_gradient(activations: Tensor, gradient: Tensor) -> Tensor:
    """The maps with the mean of their gradient as weight, added up."""
    return summed(gradient.flatten(2).mean(2), activations)


def _of_the_exponential(activations: Tensor, gradient: Tensor) -> Tensor:
    total = activations.sum(tuple(range(2, activations.ndim)), keepdim=True)
    below = 2 + gradient * total
    # Of rectified maps the denominator is at least two where it counts, at positive gradients.
    alpha = 1 / torch.where(below > 0, below, 2)
    return summed((alpha * gradient.relu()).flatten(2).sum(2), activations)


def _own_gradient(activations: Tensor, gradient: Tensor) -> Tensor:
    return (gradient.relu() * activations).sum(1, keepdim=True)


def summed(weights: Tensor, activations: Tensor) -> Tensor:
    """Add up maps with one weight each (batch, channel)."""
    shape = (*weights.shape, *[1] * (activations.ndim - 2))
    return (weights.reshape(shape) * activations).sum(1, keepdim=True)
