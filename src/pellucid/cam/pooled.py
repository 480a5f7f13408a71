"""CAM itself: the maps before a global average pooling, weighted as the last layer weights them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.cam.gradcam import gradient_of, notes_on
from pellucid.cam.maps import Choice, Maps, Spots, distinct, find_maps
from pellucid.cam.upsample import render
from pellucid.case import Case
from pellucid.errors import ModelError
from pellucid.method import Attribution, Method, register
from pellucid.tape.adjoints import kind
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


@register("cam")
@dataclass(frozen=True, kw_only=True)
class CAM(Method):
    """The maps of a layer, weighted as the class is by the last layer after average pooling.

        R = sum over k of (w_k / positions) A_k,  for f = b + sum over k of w_k mean of A_k

    The paper's map divided by the number of positions, so that it sums to f - b. The head is read
    from the tape: whatever stands between maps and score must add up to a mean over all positions
    and one linear map, however it is written; contrasts and other linear targets count as a part
    of it. Otherwise an error names the operation that prevents it.
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
    grid: Sequence[int] | None = None

    def __post_init__(self) -> None:
        Choice.of(self)

    def attribute(self, case: Case) -> Attribution:
        """One forward pass, and a walk through the head, which is checked."""
        spots = find_maps(case, Choice.of(self, pooled=True))
        answers: dict[Maps, Tensor] = {}
        for maps in distinct(spots):
            head = head_of(case.tape, maps.value)
            _check_affine(head, maps)
            gradient = gradient_of(case, maps)
            _check_even(gradient, head, maps)
            values = (gradient * maps.activations).sum(1, keepdim=True)
            answers[maps] = values.relu() if self.relu else values
        shown = render(case.inputs.leaves, spots, answers, upsample=self.upsample)
        return Attribution(
            values=shown, expected=self._expected(case, spots), notes=notes_on(answers)
        )

    def _expected(self, case: Case, spots: Spots) -> Tensor | None:
        """The score less that without the maps, where the values are the maps themselves."""
        used = [spot.maps for spot in spots if spot is not None]
        if self.relu or self.upsample or len(used) > 1:
            return None
        return case.tape.score_value.tensor - score_without(case.tape, used[0])


def head_of(tape: Tape, maps: Value) -> list[Operation]:
    """The operations that lead from maps to the score, in the order they ran."""
    reached, found = {maps}, []
    for operation in reversed(carriers(tape)):
        if any(value in reached for value in operation.slots):
            found.append(operation)
            reached.update(value for value in operation.outputs if value is not None)
    return found


def score_without(tape: Tape, maps: Maps) -> Tensor:
    """The score if the maps were zero, shape (sample,), by running the head once more."""
    empty = maps.value.tensor.clone()
    maps.layout.maps(empty).zero_()
    known = {maps.value: empty}

    def read(value: Value) -> Tensor:
        return known[value] if value in known else value.tensor  # noqa: SIM401  # may compute

    with torch.no_grad():
        for operation in head_of(tape, maps.value):
            results = operation.again(read)
            for value, result in zip(operation.outputs, results, strict=True):
                if value is not None:
                    known[value] = result  # noqa: PERF403  # what is known is read on the way
    return known.get(tape.score_value, tape.score_value.tensor)


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
