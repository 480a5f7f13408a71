"""The loss that a network was trained by: its gradients by example, and its curvature.

J(theta) = 1/n  sum_i  L(z_i, theta)
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.func import grad, jacrev
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse_loss,
)

from pellucid.batching import Batcher, BatchSize, auto_rows
from pellucid.errors import InputError, ModelError, UnknownNameError
from pellucid.evaluate.retrain.trainer import check_scores, scores_in
from pellucid.exemplar.influence.blocks import Block, End, Flow, blocks_of, flows
from pellucid.exemplar.influence.data import Labelled
from pellucid.exemplar.influence.derivatives import mapped, pulled, twice_differentiable
from pellucid.exemplar.influence.fitted import Fitted, drawn
from pellucid.exemplar.influence.gradients import Flows, Gradients, Rows, bytes_of
from pellucid.structure import Inputs

T = TypeVar("T")
LossOf: TypeAlias = Callable[[Any, Tensor], Tensor]
Curvature: TypeAlias = Literal["hessian", "gauss_newton"]

# Examples by which it is found how a network makes use of its parameters.
LOOKS = 4
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

    def sized(self, rows: int) -> "Objective":
        """The same for so many examples at once; its layers are not looked at again."""
        made = replace(self, rows=rows)
        vars(made)["blocks"] = self.blocks
        return made

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

    def over(
        self,
        work: Callable[[Batch], T],
        what: str = "",
        *,
        alone: bool = False,
        data: Labelled | None = None,
    ) -> Iterator[T]:
        """What work makes of batches of the training set, or of other data, in order.

        `alone` says that each example has a gradient of its own.
        """
        batcher = Batcher(self.batch_size, start=self.rows if alone else self.together)
        of = data or self.data
        yield from batcher.run(of.rows, lambda a, b: work(self.batch(range(a, b), of)), what)

    @cached_property
    def together(self) -> int:
        """How many examples run at once, where they have no gradients of their own."""
        return auto_rows(self.batch([0]).inputs.leaves[0], 1)

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
        found = cross_entropy(scores, labels.long(), reduction="none", ignore_index=IGNORED)
        known = (labels != IGNORED).reshape(len(labels), -1)
        return found.reshape(len(labels), -1).sum(1) / known.sum(1).clamp(min=1)

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
            return self._of_flow(self._flow(batch))

        def of_one(leaves: tuple[Tensor, ...], label: Tensor) -> Tensor:
            one = batch.inputs.replace([leaf.unsqueeze(0) for leaf in leaves])
            return grad(lambda theta: self.losses(theta, one, label.unsqueeze(0))[0])(self.theta)

        return Rows(matrix=mapped(of_one, batch.inputs.leaves, batch.labels))

    def flowing(self, vectors: int) -> int:
        """The bytes that are held for an example, whose gradient is not written out."""
        return bytes_of(self._flow(self.batch([0])), self.theta.element_size(), vectors)

    def _flow(self, batch: Batch) -> list[Flow]:
        """What flows in, and back from the losses, through each block."""

        def losses(output: Any) -> list[End]:
            return [(self.of_output(output, batch.labels).sum(), None)]

        (flow,) = flows(self.blocks, self.fitted, batch.inputs, losses)
        return flow

    def flows_of(
        self, blocks: Sequence[Block], batch: Batch, pulls: Sequence[Tensor]
    ) -> Iterator[list[Flow]]:
        """What flows in, and back from the scores, through each block: a list for each pull."""

        def scores(output: Any) -> list[End]:
            return [(self.read(output), pull) for pull in pulls]

        yield from flows(blocks, self.fitted, batch.inputs, scores)

    def _of_flow(self, flow: list[Flow]) -> Flows:
        return Flows(fitted=self.fitted, blocks=self.blocks, flows=flow)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The chosen layers, if all are of known kinds, and used as layers alone; else none.

        Then gradients of examples come from one run of the network; whether these are all of what
        the parameters do (a weight may be used elsewhere too) is looked at for a few examples.
        """
        found, strange = blocks_of(self.fitted)
        rows = range(min(LOOKS, self.data.rows))
        if strange or not all(self._is_all(found, self.batch([row])) for row in rows):
            return ()
        return tuple(found)

    def _is_all(self, blocks: Sequence[Block], one: Batch) -> bool:
        """Whether the slope of an answer is what flows through layers, parameter by parameter."""
        wanted = self.fitted.slope(one.inputs)
        try:
            (flow,) = flows(blocks, self.fitted, one.inputs, lambda output: [drawn(output)])
        except ModelError:
            return False
        made = Flows(fitted=self.fitted, blocks=blocks, flows=flow).total()
        near = 1e-4 if wanted.dtype == torch.float32 else 1e-9
        least = 0.1 * float(wanted.norm())  # what rounding leaves of a part that is zero
        pairs = zip(*(self.fitted.parts(each).values() for each in (made, wanted)), strict=True)
        return all(float((a - b).norm()) <= near * max(float(b.norm()), least) for a, b in pairs)

    def product(self, vectors: Tensor, curvature: Curvature, batch: Batch) -> Tensor:
        """The sum over some examples of their curvature times each vector: (vector, parameter)."""
        with twice_differentiable(), torch.enable_grad():
            theta = self.theta.clone().requires_grad_()
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

    def curved(
        self,
        vectors: Tensor,
        curvature: Curvature,
        what: str = "",
        *,
        data: Labelled | None = None,
    ) -> Tensor:
        """The curvature of the mean loss, or that of other data, times vectors (vector, ...)."""
        found = torch.zeros_like(vectors)

        def work(batch: Batch) -> Tensor:
            return self.product(vectors, curvature, batch)

        for part in self.over(work, what, data=data):
            found += part
        return found / (data or self.data).rows

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
        made = self.flows_of(self.blocks, batch, list(units))
        return torch.stack([self._of_flow(flow).rows() for flow in made], 1)


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
