"""The loss that a network was trained by: its gradients by example, and its curvature.

J(theta) = 1/n  sum_i  L(z_i, theta)
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse_loss,
)

from pellucid.batching import Batcher, BatchSize, auto_rows, is_out_of_memory
from pellucid.errors import InputError, ModelError, UnknownNameError
from pellucid.evaluate.retrain.trainer import check_scores, scores_in
from pellucid.exemplar.influence.blocks import Block, Flow, blocks_of, flows
from pellucid.exemplar.influence.data import Labelled
from pellucid.exemplar.influence.fitted import Fitted
from pellucid.exemplar.influence.gradients import VECTORS, Flows, Gradients, Rows, bytes_of
from pellucid.structure import Inputs

LossOf: TypeAlias = Callable[[Any, Tensor], Tensor]
Curvature: TypeAlias = Literal["hessian", "gauss_newton"]

# What cross_entropy takes for no label.
IGNORED = -100


class Batch(NamedTuple):
    """Some examples: their numbers, inputs and labels."""

    rows: Sequence[int]
    inputs: Inputs
    labels: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """The mean loss over a training set, as a function of the chosen parameters of a network.

    `rows` is how many examples are worked on at once where each has a gradient of its own.
    """

    fitted: Fitted
    loss: "str | LossOf"
    data: Labelled
    rows: int
    batch_size: BatchSize = "auto"

    @property
    def theta(self) -> Tensor:
        """The chosen parameters (parameter,)."""
        return self.fitted.theta

    def batch(self, rows: Sequence[int], data: Labelled | None = None) -> Batch:
        """Some examples of the training set, or of other data."""
        inputs, labels = (data or self.data).read(rows)
        placed = self.fitted.placed(inputs)
        given = torch.zeros(placed.rows) if labels is None else labels
        if self.of_classes and labels is not None:
            check_labels(given, self.shape)
        if not self.of_classes and given.is_floating_point():
            given = given.to(self.theta.dtype)
        return Batch(rows, placed, given.to(self.theta.device))

    @cached_property
    def shape(self) -> torch.Size:
        """The shape of what the network returns for the first example, where there are classes."""
        with torch.no_grad():
            return scores_in(self.scores_of(self.data.read([0])[0])).shape

    def scores_of(self, inputs: Any) -> Any:
        """What the network returns for inputs."""
        return self.fitted.call(self.theta, self.fitted.placed(inputs))

    @property
    def of_classes(self) -> bool:
        """Whether labels are the numbers of classes."""
        return self.loss == "cross_entropy"

    def batches(self, what: str = "", *, alone: bool = False) -> Iterator[Batch]:
        """The whole training set; `alone` says that each example has a gradient of its own."""
        start = self.rows if alone else auto_rows(self.batch([0]).inputs.leaves[0], 1)
        batcher = Batcher(self.batch_size, start=start)
        yield from batcher.run(self.data.rows, lambda a, b: self.batch(range(a, b)), what)

    def losses(self, theta: Tensor, inputs: Inputs, labels: Tensor) -> Tensor:
        """The loss of each example (sample,)."""
        return self.of_output(self.fitted.call(theta, inputs), labels)

    def of_output(self, output: Any, labels: Tensor) -> Tensor:
        """The loss of each example (sample,), of what the network returned."""
        if callable(self.loss):
            return _checked(self.loss(output, labels), labels)
        scores = scores_in(output)
        if self.loss == "mse":
            wanted = labels.to(scores).reshape(len(labels), -1)
            return mse_loss(scores.reshape(len(labels), -1), wanted, reduction="none").mean(1)
        if scores.ndim == 1 or (scores.ndim == 2 and scores.shape[1] == 1):
            wanted = labels.to(scores)
            return binary_cross_entropy_with_logits(
                scores.reshape(-1), wanted.reshape(-1), reduction="none"
            )
        return (
            cross_entropy(scores, labels.long(), reduction="none").reshape(len(labels), -1).mean(1)
        )

    def scores(self, theta: Tensor, inputs: Inputs) -> Tensor:
        """What the network returns, where the curvature of the loss is taken: one tensor."""
        return self.read(self.fitted.call(theta, inputs))

    def read(self, output: Any) -> Tensor:
        """The one tensor of what the network returned."""
        return output if isinstance(output, Tensor) else scores_in(output)

    def check(self) -> None:
        """Raise unless the loss can be taken of what the network returns for an example."""
        first = self.batch([0])
        with torch.no_grad():
            output = self.fitted.call(self.theta, first.inputs)
            if self.of_classes:
                scores = scores_in(output)
                if first.labels.is_floating_point() and scores.ndim == 2 and scores.shape[1] > 1:
                    raise InputError(
                        "Labels must be the numbers of classes for loss='cross_entropy'",
                        got=first.labels,
                        hint="Convert them with labels.long(), or take loss='mse'.",
                    )
                check_scores(
                    scores.reshape(len(scores), scores.shape[1] if scores.ndim > 1 else 1, -1)[
                        ..., 0
                    ],
                    first.labels.reshape(-1)[:1],
                )
            self.of_output(output, first.labels)

    def gradients(self, batch: Batch) -> Gradients:
        """The gradient of the loss of each example: (sample, parameter)."""
        if self.blocks:
            (flow,) = flows(self.blocks, self, batch)
            return self._of_flow(flow)

        def of_one(leaves: tuple[Tensor, ...], label: Tensor) -> Tensor:
            one = batch.inputs.replace([leaf.unsqueeze(0) for leaf in leaves])
            return grad(lambda theta: self.losses(theta, one, label.unsqueeze(0))[0])(self.theta)

        return Rows(matrix=mapped(of_one, batch.inputs.leaves, batch.labels))

    def flowing(self, vectors: int) -> int:
        """The bytes that are held for an example, whose gradient is not written out."""
        (flow,) = flows(self.blocks, self, self.batch([0]))
        return bytes_of(flow, self.theta.element_size(), vectors)

    def _of_flow(self, flow: list[Flow]) -> Flows:
        return Flows(fitted=self.fitted, blocks=self.blocks, flows=flow)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The chosen layers, if all are of known kinds, and used as layers alone; else none.

        Then gradients of examples come from one run of the network; whether these are all of what
        the parameters do (a weight may be used elsewhere too) is looked at for one example.
        """
        found, strange = blocks_of(self.fitted)
        if strange:
            return ()
        first = self.batch([0])
        try:
            (flow,) = flows(found, self, first)
        except ModelError:
            return ()
        made = Flows(fitted=self.fitted, blocks=found, flows=flow).total()
        theta = self.theta.clone().requires_grad_()
        with torch.enable_grad():
            loss = self.losses(theta, first.inputs, first.labels).sum()
        (wanted,) = torch.autograd.grad(loss, theta)
        near = 1e-4 if wanted.dtype == torch.float32 else 1e-9
        same = float((made - wanted).norm()) <= near * float(wanted.norm())
        return tuple(found) if same else ()

    def product(self, vectors: Tensor, curvature: Curvature, batch: Batch) -> Tensor:
        """The sum over some examples of their curvature times each vector: (vector, parameter)."""
        theta = self.theta.clone().requires_grad_()
        with torch.enable_grad():
            if curvature == "gauss_newton":
                return self._gauss_newton(theta, vectors, batch)
            total = self.losses(theta, batch.inputs, batch.labels).sum()
            if not total.requires_grad:  # parameters that are not used
                return torch.zeros_like(vectors)
            (slope,) = torch.autograd.grad(total, theta, create_graph=True)
        return pulled(slope, theta, vectors)

    def _gauss_newton(self, theta: Tensor, vectors: Tensor, batch: Batch) -> Tensor:
        """J^T A J v, with the curvature A of the loss in the network's output alone.

        J v is the slope in u of (J^T u) v, so that no forward derivatives are needed.
        """
        scores = self.scores(theta, batch.inputs)
        if not scores.requires_grad:  # parameters that are not used
            return torch.zeros_like(vectors)
        u = torch.zeros_like(scores, requires_grad=True)
        (back,) = torch.autograd.grad(scores, theta, u, create_graph=True)
        moved = pulled(back, u, vectors)
        end = scores.detach().requires_grad_()
        loss = self.of_output(end, batch.labels).sum()
        (slope,) = torch.autograd.grad(loss, end, create_graph=True)
        return pulled(scores, theta, pulled(slope, end, moved))

    def bends(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Slope (sample, score) and curvature (sample, score, score) of the loss in the scores."""
        end = scores.detach().requires_grad_()
        with torch.enable_grad():
            loss = self.of_output(end, labels).sum()
            (slope,) = torch.autograd.grad(loss, end, create_graph=True)
            flat = slope.reshape(len(slope), -1)  # a score alone may have no axis of its own
            rows = [
                torch.autograd.grad(flat[:, c].sum(), end, retain_graph=True)[0].reshape(flat.shape)
                for c in range(flat.shape[1])
            ]
        return flat.detach(), torch.stack(rows, 1)

    def curved(self, vectors: Tensor, curvature: Curvature, what: str = "") -> Tensor:
        """The curvature of the mean loss times each vector: (vector, parameter)."""
        found = torch.zeros_like(vectors)
        for batch in self.batches(what):
            found += self.product(vectors, curvature, batch)
        return found / self.data.rows

    def jacobians(self, batch: Batch) -> Tensor:
        """How the scores of each example follow the parameters: (sample, score, parameter)."""
        width = self.scores(self.theta, batch.inputs)[0].numel()

        def of_one(leaves: tuple[Tensor, ...]) -> Tensor:
            one = batch.inputs.replace([leaf.unsqueeze(0) for leaf in leaves])
            return jacrev(lambda theta: self.scores(theta, one).flatten())(self.theta)

        if not self.blocks:
            return mapped(of_one, batch.inputs.leaves)
        like = self.scores(self.theta, batch.inputs)
        units = torch.eye(width).to(like).reshape(width, 1, *like.shape[1:]).expand(-1, *like.shape)
        drawn = flows(self.blocks, self, batch, list(units))
        return torch.stack([self._of_flow(flow).rows() for flow in drawn], 1)


def pulled(end: Tensor, start: Tensor, vectors: Tensor) -> Tensor:
    """The slope in `start` of the product of `end` with each of some vectors (vector, ...).

    All at once; or one by one, where torch has no rule for an operation.
    """
    options: dict[str, Any] = {"retain_graph": True, "materialize_grads": True}
    if not end.requires_grad:  # a loss that is linear, or a network that is
        return vectors.new_zeros(len(vectors), *start.shape)
    try:
        parts = vectors.split(VECTORS)
        found = [
            torch.autograd.grad(end, start, part, is_grads_batched=True, **options)[0]
            for part in parts
        ]
        return torch.cat(found)
    except (RuntimeError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
    return torch.stack([torch.autograd.grad(end, start, v, **options)[0] for v in vectors])


def mapped(function: Callable[..., Tensor], *columns: Any) -> Tensor:
    """What a function makes of each row, all at once; or one by one, where torch cannot.

    >>> mapped(lambda row: row.sum(), torch.ones(3, 2))
    tensor([2., 2., 2.])
    """
    try:
        found: Tensor = vmap(function)(*columns)
        return found
    except (RuntimeError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
    rows = [zip(*each, strict=True) if isinstance(each, tuple) else each for each in columns]
    return torch.stack([function(*row) for row in zip(*rows, strict=True)])


def loss_named(loss: Any) -> "str | LossOf":
    """A loss by name, or a function of the network's output and labels."""
    known = ("cross_entropy", "mse")
    if callable(loss) or loss in known:
        found: str | LossOf = loss
        return found
    raise UnknownNameError(
        "`loss`", loss, known, hint="Or a function(output, labels) -> (sample,)."
    )


def check_labels(labels: Tensor, shape: torch.Size) -> None:
    """Raise unless labels are classes of scores of this shape, one for each place of them.

    >>> check_labels(torch.tensor([0, 2]), torch.Size([1, 3]))
    >>> check_labels(torch.tensor([0, 3]), torch.Size([1, 3]))
    Traceback (most recent call last):
    pellucid.errors.InputError: Labels must be classes of the model, from 0 to 2; got 3.
    """
    alone = len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
    classes = 2 if alone else shape[1]
    places = torch.Size([]) if alone else shape[2:]
    if not alone and labels.shape[1:] != places:
        raise InputError(
            f"Labels must be one class for each {'place' if places else 'sample'} of the scores",
            got=labels,
            hint="Drop the axis: labels.squeeze(1)."
            if labels.shape[1:] == (1,)
            else "Number the classes, labels.argmax(1); or pass the loss of several labels as a "
            "function, loss=lambda output, labels: ....",
        )
    known = labels[labels != IGNORED]
    outside = known[(known < 0) | (known > classes - 1)]
    if len(outside):
        raise InputError(
            f"Labels must be classes of the model, from 0 to {classes - 1}", got=outside[0].item()
        )


def _checked(losses: Any, labels: Tensor) -> Tensor:
    if not isinstance(losses, Tensor) or losses.shape != (len(labels),):
        raise ModelError(
            "A callable `loss` must return the loss of each example (sample,)",
            got=losses,
            hint="Take reduction='none', and the mean over all axes but the first.",
        )
    return losses
