"""The gradients of single examples, as rows, or as the products of which those of layers are sums.

One row is as long as all parameters; what flows in and back through a layer is as long as its
sides. All that is asked of the gradients of a training set can be had from that.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.exemplar.influence.blocks import Block, Flow
from pellucid.exemplar.influence.fitted import Fitted

# So many vectors are multiplied with gradients at once.
VECTORS = 32


class Gradients(ABC):
    """The gradients of some examples: a matrix (sample, parameter), which need not be made."""

    @abstractmethod
    def rows(self) -> Tensor:
        """The matrix (sample, parameter)."""

    @abstractmethod
    def times(self, vectors: Tensor) -> Tensor:
        """The products with vectors (row, parameter): (row, sample)."""

    @abstractmethod
    def total(self) -> Tensor:
        """The sum over examples (parameter,)."""

    @abstractmethod
    def lengths(self) -> Tensor:
        """The Euclidean length of each (sample,)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows(Gradients):
    """Gradients written out."""

    matrix: Tensor

    def rows(self) -> Tensor:
        """The matrix itself."""
        return self.matrix

    def times(self, vectors: Tensor) -> Tensor:
        """One product of matrices."""
        return vectors @ self.matrix.T

    def total(self) -> Tensor:
        """The sum of its rows."""
        return self.matrix.sum(0)

    def lengths(self) -> Tensor:
        """The length of each row."""
        return self.matrix.norm(dim=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Flows(Gradients):
    """Gradients of layers, as what flows in and back through each: G = sum over places of b a^T."""

    fitted: Fitted
    blocks: Sequence[Block]
    flows: Sequence[Flow]

    def rows(self) -> Tensor:
        """The sums of products, layer beside layer."""
        return self._joined(matrices)

    def times(self, vectors: Tensor) -> Tensor:
        """b^T V a, summed over places and layers."""
        parts = [self._times(each) for each in vectors.split(VECTORS)]
        return torch.cat(parts)

    def _times(self, vectors: Tensor) -> Tensor:
        cut = self.fitted.parts(vectors)
        found = vectors.new_zeros(len(vectors), len(self.flows[0].a))
        for block, flow in zip(self.blocks, self.flows, strict=True):
            found += products(flow, block.matrices(cut))
        return found

    def total(self) -> Tensor:
        """One product of matrices a layer."""
        return self._joined(lambda flow: matrices(folded(flow)))[0]

    def lengths(self) -> Tensor:
        """|a| |b| where there is one place; else of the matrices."""
        return torch.stack([squares(flow) for flow in self.flows]).sum(0).sqrt()

    def _joined(self, made: Callable[[Flow], Tensor]) -> Tensor:
        parts: dict[str, Tensor] = {}
        for block, flow in zip(self.blocks, self.flows, strict=True):
            parts |= block.parts(made(flow))
        return self.fitted.joined(parts)


def matrices(flow: Flow) -> Tensor:
    """The gradient of each example (sample, out, in).

    >>> matrices(Flow(torch.tensor([[[2.0]]]), torch.tensor([[[3.0, 5.0]]]))).flatten().tolist()
    [6.0, 10.0]
    """
    return flow.b.mT @ flow.a


def folded(flow: Flow) -> Flow:
    """All examples as one, whose places are those of all."""
    return Flow(*(each.flatten(0, 1).unsqueeze(0) for each in flow))


def products(flow: Flow, vectors: Tensor) -> Tensor:
    """The gradient of each example times each of some matrices (row, out, in): (row, sample)."""
    if is_one_place(flow):
        return ((vectors @ flow.a[:, 0].T) * flow.b[:, 0].T).sum(1)
    return vectors.flatten(1) @ matrices(flow).flatten(1).T


def squares(flow: Flow, weights: Tensor | None = None) -> Tensor:
    """The sum of the squares of the entries of each gradient (sample,), by weights (out, in)."""
    if is_one_place(flow):  # a product of two numbers, whose squares come apart
        a, b = (each[:, 0].square() for each in flow)
        return a.sum(1) * b.sum(1) if weights is None else ((b @ weights) * a).sum(1)
    found = matrices(flow).square()
    return (found if weights is None else found * weights).sum((1, 2))


def square_total(flow: Flow) -> Tensor:
    """The sum over examples of the squares of the entries of their gradients (out, in)."""
    if is_one_place(flow):
        return flow.b[:, 0].square().T @ flow.a[:, 0].square()
    return matrices(flow).square().sum(0)


def is_one_place(flow: Flow) -> bool:
    """Whether gradients are single products, as those of a layer that reads one vector."""
    return flow.a.shape[1] == 1


def bytes_of(flows: Sequence[Flow], item: int, vectors: int) -> int:
    """The most that is held at once for one example, to make all of the above, in bytes.

    What flows is held twice over, and beside it the matrix of one layer, or its products.
    """
    flowing = sum(each[0].numel() for flow in flows for each in flow)
    beside = [
        vectors * flow.b.shape[2] if is_one_place(flow) else flow.a.shape[2] * flow.b.shape[2]
        for flow in flows
    ]
    return item * (3 * flowing + 2 * max(beside))
