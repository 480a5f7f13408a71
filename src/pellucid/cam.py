"""Class activation maps: where in the last grid of features the evidence lies."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.case import Case
from pellucid.errors import InputError
from pellucid.method import Attribution, Method, register
from pellucid.tape.adjoints import CONVOLUTIONS
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape
from pellucid.tape.walk import carriers, walk

# The operations themselves: the function that wraps them imports a computer algebra system first.
INTERPOLATION = {
    1: torch.ops.aten.upsample_linear1d,
    2: torch.ops.aten.upsample_bilinear2d,
    3: torch.ops.aten.upsample_trilinear3d,
}


@register("gradcam")
@dataclass(frozen=True, kw_only=True)
class GradCAM(Method):
    """Weight the feature maps of a layer by their mean gradient, and add them up.

        R = relu(sum over k of w_k A_k),  w_k = mean over positions of df/dA_k

    Axes: values have shape (batch, 1, *spatial): the size of the input, interpolated, or of the
    layer's grid with `upsample=False`. `layer=None` takes the last convolution's maps after what
    follows at the same size (norm, residual sum, activation). The backward walk stops there.
    Laws: on a global average pooling head it is CAM up to its scale.
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

    def attribute(self, case: Case) -> Attribution:
        """One forward pass, and a backward walk from the score to the layer."""
        tape = case.tape
        path, maps = find_maps(tape, self.layer)
        start = {tape.score_value: torch.ones_like(tape.score_value.tensor)}
        activations = maps.tensor
        with torch.no_grad():
            gradient = walk(tape, start, [maps], consume=not case.shared).get(maps)
        case.count(backward=len(case))
        if gradient is None:
            case.counter.note(f"The score does not depend on `{path}`; its map is zero.")
            gradient = torch.zeros_like(activations)
        weights = gradient.flatten(2).mean(2).reshape(*maps.shape[:2], *[1] * (gradient.ndim - 2))
        values = (weights * activations).sum(1, keepdim=True)
        values = values.relu() if self.relu else values
        return Attribution(
            values=[self._like(values, leaf) for leaf in case.inputs.leaves],
            notes=(f"The maps are those of `{path}`, {_size(values)}.",),
        )

    def _like(self, values: Tensor, leaf: Tensor) -> Tensor:
        """Interpolate to the size of an input; zeros for an input without such a grid."""
        if leaf.ndim != values.ndim:
            return torch.zeros(len(leaf), 1, *leaf.shape[2:], dtype=leaf.dtype, device=leaf.device)
        if not self.upsample:
            return values
        return INTERPOLATION[values.ndim - 2](values, list(leaf.shape[2:]), align_corners=False)


def find_maps(tape: Tape, layer: str | None) -> tuple[str, Value]:
    """The feature maps of a layer, (batch, channel, *spatial), and the name to call them by."""
    if layer is not None:
        maps = tape.layer(layer)
        if not 3 <= len(maps.shape) <= 5:
            raise InputError(
                f"The layer `{layer}` must return maps of shape (batch, channel, *spatial)",
                got=list(maps.shape),
                hint=f"Layers that do: {', '.join(suggest_layers(tape)[-5:])}.",
            )
        return layer, maps
    leading = carriers(tape)
    found = [op for op in leading if op.name in CONVOLUTIONS and _has_grid(op.output)]
    if not found:
        raise InputError(
            "Grad-CAM must find a convolution whose output has a grid of positions",
            found="a model without one",
            hint="Name a layer: GradCAM(layer=...).",
        )
    return _after(tape, leading[::-1], found[0].output)


def suggest_layers(tape: Tape) -> list[str]:
    """The layers that return maps with more than one position, in the order they ran."""
    return [path for path, values in tape.recorder.layers.items() if _has_grid(values[-1])]


def _after(tape: Tape, leading: list[Operation], maps: Value) -> tuple[str, Value]:
    """Follow maps through norms, residual sums and activations, as long as the shape stays."""
    reached, last, path = {maps}, maps, ""
    for operation in leading:
        if any(value in reached for value in operation.slots):
            for value in operation.outputs[:1]:
                if value is not None and value.shape == maps.shape:
                    reached.add(value)
                    last = value
    for layer, values in tape.recorder.layers.items():
        if last in values:
            path = layer
    return path or (last.producer.path if last.producer else "") or "the model", last


def _has_grid(value: Value) -> bool:
    spatial = value.shape[2:]
    return 1 <= len(spatial) <= 3 and spatial.numel() > 1


def _size(values: Tensor) -> str:
    return " x ".join(map(str, values.shape[2:]))
