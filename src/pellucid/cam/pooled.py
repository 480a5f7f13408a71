"""CAM itself: the maps before a global average pooling, weighted as the last layer weights them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.batching import wide
from pellucid.cam.choice import Choice, settle
from pellucid.cam.gradcam import gradient_of, notes_on
from pellucid.cam.maps import Maps, Spot, Spots, distinct, find_maps
from pellucid.cam.upsample import render
from pellucid.case import Case
from pellucid.errors import ModelError
from pellucid.method import Attribution, Method, register
from pellucid.remarks import Remark, Share
from pellucid.tape.adjoints import is_training_norm, kind
from pellucid.tape.operations import Operation, Value
from pellucid.tape.record import Tape
from pellucid.tape.walk import carriers

AFFINE = {"weighted", "linear", "affine", "scale", "route"}
# What has no kind of its own, and is linear where one factor, or the mask, is a constant.
PRODUCTS = {"mv", "addmv", "baddbmm", "dot", "matmul", "linear", "native_dropout"}
# Of what moves elements, these choose by size.
CHOOSING = {"amax", "max", "sort", "topk", "unique"}
# These read the shape of a value and not its data.
BLIND = {
    "empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "new_empty",
    "new_zeros", "new_ones", "new_full", "zero", "fill",
}  # fmt: skip
LEAK = "The maps of CAM must sum to the score less its bias; those of {} do not."
# Roundings that a sum over maps may be off by; graphics cards round convolutions to ten bits.
SLACK = 10_000


@register("cam")
@dataclass(frozen=True, kw_only=True)
class CAM(Method):
    """The maps of a layer, weighted as the class is by the last layer after average pooling.

        R = sum over k of (w_k / positions) A_k,  for f = b + sum over k of w_k mean of A_k

    The paper's map divided by the number of positions, so that it sums to f - b. The head is read
    from the tape: whatever stands between maps and score must add up to a mean over all positions
    and one linear map, however it is written; contrasts and other linear targets count as a part
    of it. Otherwise an error names the operation that prevents it; so it does where a part of the
    input reaches the score by a path around the maps.
    Axes: values have shape (batch, 1, *spatial): the size of the input, interpolated, or of the
    layer's grid with `upsample=False`. `layer`, `layout` and `grid` are as for Grad-CAM.
    Laws: with `upsample=False` and `relu=False` complete: the map sums to the score less the bias
    (the score where the maps are zero), which a second run of the head alone computes.
    Source: Zhou et al. (2016), Learning Deep Features for Discriminative Localization.

    >>> net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
    ...                           torch.nn.Linear(1, 1, bias=False))
    >>> _ = torch.nn.init.constant_(net[2].weight, 4.0)
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1, bias=False), net)
    >>> _ = torch.nn.init.ones_(model[0].weight)
    >>> CAM(upsample=False)(model, torch.tensor([[[[1.0, 3.0]]]])).values
    tensor([[[[2., 6.]]]])
    """

    answers: ClassVar[str] = "How much does each position add to the score, after pooling?"
    weakness: ClassVar[str] = "Only for a head of average pooling and one linear layer."
    laws: ClassVar[frozenset[str]] = frozenset({"invariant"})
    smooth: ClassVar[bool] = True

    layer: str | None = None
    relu: bool = False
    upsample: bool = True
    layout: str | None = None
    grid: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        settle(self)

    def attribute(self, case: Case) -> Attribution:
        """One forward pass, and a walk through the head, which is checked."""
        spots = find_maps(case, Choice.of(self, pooled=True))
        for spot in spots:
            _check_whole(spot)
        signed: dict[Maps, Tensor] = {}
        for maps in distinct(spots):
            head = head_of(case.tape, [maps.value])
            _check_affine(head, maps)
            gradient = gradient_of(case, maps)
            _check_even(gradient, head, maps)
            signed[maps] = (gradient * maps.activations).sum(1, keepdim=True)
        expected = case.tape.score_value.tensor - score_without(case.tape, list(signed))
        answers = {maps: each.relu() if self.relu else each for maps, each in signed.items()}
        return Attribution(
            values=render(case.inputs.leaves, spots, answers, upsample=self.upsample),
            expected=expected if self._claims(spots) else None,
            notes=notes_on(spots, answers),
            leak=_leak(case.tape.score_value.tensor, signed, expected),
        )

    def _claims(self, spots: Spots) -> bool:
        """Whether the values are the maps themselves, each once."""
        used = [spot for spot in spots if spot is not None]
        return not (self.relu or self.upsample) and len(used) == len(distinct(spots))


def head_of(tape: Tape, maps: Collection[Value]) -> list[Operation]:
    """The operations that lead from maps to the score, in the order they ran."""
    reached, found = set(maps), []
    for operation in reversed(carriers(tape)):
        if any(value in reached for value in operation.slots):
            found.append(operation)
            reached.update(value for value in operation.outputs if value is not None)
    return found


def score_without(tape: Tape, without: Sequence[Maps]) -> Tensor:
    """The score if all these maps were zero, shape (sample,), by running the head once more."""
    known = {}
    for maps in without:
        known[maps.value] = maps.value.tensor.clone()
        maps.layout.maps(known[maps.value]).zero_()

    def read(value: Value) -> Tensor:
        return known[value] if value in known else value.tensor  # noqa: SIM401  # may compute

    with torch.no_grad():
        for operation in head_of(tape, list(known)):
            results = operation.again(read)
            for value, result in zip(operation.outputs, results, strict=True):
                if value is not None:
                    known[value] = result  # noqa: PERF403  # what is known is read on the way
    return known.get(tape.score_value, tape.score_value.tensor)


def _leak(score: Tensor, signed: dict[Maps, Tensor], expected: Tensor) -> Remark:
    """For how many samples maps, neither rectified nor resized, miss the sum beyond rounding."""
    parts = torch.cat([each.flatten(1).to(wide(each)) for each in signed.values()], 1)
    kinds = (expected.dtype, *(each.dtype for each in signed.values()))
    eps = max(torch.finfo(dtype).eps for dtype in kinds)
    size = parts.abs().sum(1) + score.abs() + expected.abs()
    off = (parts.sum(1) - expected).abs() > SLACK * eps * size
    return Share(text=LEAK, some=int(off.sum()), of=len(off))


def _check_whole(spot: Spot | None) -> None:
    if spot is not None and spot.around:
        raise ModelError(
            "CAM must find maps that all of the input passes on its way to the score",
            found=f"those of `{spot.maps.path}`, and a path around them through {spot.around}",
            hint='Use "gradcam", and name the part to look at by `layer=`.',
        )


def _check_affine(head: list[Operation], maps: Maps) -> None:
    for operation in head:
        if not _is_affine(operation):
            raise _refused(operation, maps, "which is not linear in the maps")


def _check_even(gradient: Tensor, head: list[Operation], maps: Maps) -> None:
    """Every position must count alike, up to rounding."""
    flat = gradient.flatten(2)
    spread = (flat - flat.mean(2, keepdim=True)).abs().amax((1, 2))
    if (spread <= 100 * torch.finfo(flat.dtype).eps * flat.abs().amax((1, 2))).all():
        return
    shape = maps.value.shape
    uneven = next((op for op in head if op.outputs and op.output.shape != shape), head[0])
    raise _refused(uneven, maps, "after which positions count differently")


def _is_affine(operation: Operation) -> bool:
    """Whether an operation is affine in its signals: no choice by size, no product of two."""
    if operation.name in CHOOSING or "max_pool" in operation.name or not _is_plain(operation):
        return False
    if is_training_norm(operation):  # its scale and shift are of the maps themselves
        return False
    if operation.name == "div" and operation.slots[-1].carries and len(operation.slots) > 1:
        return False
    constant = sum(value.carries for value in operation.slots) == 1
    return kind(operation) in AFFINE or (operation.name in PRODUCTS and constant)


def _is_plain(operation: Operation) -> bool:
    """Whether nothing that a signal depends on is read otherwise, as a mask made of it is."""
    return all(value.carries or _is_blind(value) for value in operation.slots)


def _is_blind(value: Value) -> bool:
    """Whether a value that carries no signal is the same for all data, as a dropout's mask is."""
    made = value.producer
    if value.carries or (made is None and value.depends):
        return False
    if made is None or made.name in BLIND or (made.name == "bernoulli" and made.mutates):
        return True
    return all(map(_is_blind, made.slots))


def _refused(operation: Operation, maps: Maps, why: str) -> ModelError:
    where = f" in `{operation.path}`" if operation.path else ""
    return ModelError(
        f"CAM must find a mean over all positions and one linear map between `{maps.path}` and the "
        "score",
        found=f"`{operation.name}`{where}, {why}",
        hint="Use Grad-CAM, which takes any head.",
    )
