"""Decision trees: each split cuts the squared error most, and the best splits come first."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.inspect.surrogate.columns import Floats
from pellucid.inspect.surrogate.conditions import Bools, Condition, between, merged


@dataclass(frozen=True, kw_only=True)
class Node:
    """A place in a tree: the mean answer of the samples that come here, and what share they are.

    Samples of which `condition` holds go on to `left`, others to `right`; a leaf has none. `cut` is
    what the split takes off the squared error of all samples, as a share of it.
    """

    answer: tuple[float, ...]
    share: float
    condition: Condition | None = None
    left: int = 0
    right: int = 0
    cut: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DecisionTree:
    """A decision tree: nodes in the order in which the tree is read, the root first."""

    nodes: tuple[Node, ...]

    @property
    def size(self) -> int:
        """The number of leaves."""
        return sum(node.condition is None for node in self.nodes)

    @property
    def features(self) -> tuple[int, ...]:
        """The features that are read."""
        read = [node.condition.feature for node in self.nodes if node.condition is not None]
        return tuple(dict.fromkeys(read))

    def place(self, features: Floats) -> NDArray[np.int64]:
        """The leaf that each sample comes to, of shape (sample,)."""
        at = np.zeros(len(features), dtype=np.int64)
        for i, node in enumerate(self.nodes):
            if node.condition is not None:
                here = np.flatnonzero(at == i)
                goes = node.condition.holds(features[here])
                at[here] = np.where(goes, node.left, node.right)
        return at

    def answer(self, features: Floats) -> Floats:
        """What the tree says, of shape (sample, output)."""
        return np.array([node.answer for node in self.nodes])[self.place(features)]

    def reasons(self) -> dict[int, tuple[Condition, ...]]:
        """The conditions that lead to each leaf."""
        found: dict[int, tuple[Condition, ...]] = {0: ()}
        for i, node in enumerate(self.nodes):
            if node.condition is not None:
                taken = node.condition
                found[node.left] = (*found[i], taken)
                found[node.right] = (*found[i], Condition(feature=taken.feature, low=taken.high))
        return {i: merged(found[i]) for i, node in enumerate(self.nodes) if node.condition is None}

    def first(self, splits: int) -> "DecisionTree":
        """The tree of the first so many splits: at each step the one that cuts most."""
        kept: set[int] = set()
        open_nodes = [(-self.nodes[0].cut, 0)]
        while open_nodes and len(kept) < splits:
            _, i = heapq.heappop(open_nodes)
            node = self.nodes[i]
            if node.condition is not None:
                kept.add(i)
                for inner in (node.left, node.right):
                    heapq.heappush(open_nodes, (-self.nodes[inner].cut, inner))
        return DecisionTree(nodes=_only(self.nodes, kept))


def _only(nodes: Sequence[Node], kept: set[int]) -> tuple[Node, ...]:
    """The nodes that are left, numbered anew, if only some are split."""
    order: list[int] = []
    stack = [0]
    while stack:
        i = stack.pop()
        order.append(i)
        if i in kept:
            stack += [nodes[i].right, nodes[i].left]
    number = {old: new for new, old in enumerate(order)}
    return tuple(
        replace(nodes[i], left=number[nodes[i].left], right=number[nodes[i].right])
        if i in kept
        else replace(nodes[i], condition=None, left=0, right=0, cut=0.0)
        for i in order
    )


def grow(
    features: Floats, answers: Floats, *, most: int, depth: int, least: int, seed: int
) -> list[DecisionTree]:
    """Trees of 1, 2, ... leaves, each with one split more than the one before.

    Law: the tree of k leaves cuts the squared error by the split, of all that the leaves of the
    tree of k - 1 leaves allow, that cuts it most.
    Source: Breiman, Friedman, Olshen and Stone (1984), Classification and Regression Trees.
    """
    from sklearn.tree import DecisionTreeRegressor

    if most == 1 or len(features) < 2:
        return [DecisionTree(nodes=(_leaf(answers, 1.0),))]
    # Splits depend on the order of values alone; as ranks they are not rounded to single precision.
    ranks = np.stack([np.unique(x, return_inverse=True)[1] for x in features.T], axis=1)
    fitted = DecisionTreeRegressor(
        max_leaf_nodes=most, max_depth=depth, min_samples_leaf=least, random_state=seed
    ).fit(ranks, answers)
    whole = DecisionTree(nodes=_nodes(fitted.tree_, ranks, features, answers))
    return [whole.first(k) for k in range(whole.size)]


def _nodes(tree: Any, ranks: NDArray, features: Floats, answers: Floats) -> tuple[Node, ...]:
    """The nodes of a tree of scikit-learn, with thresholds between the values that they part."""
    total = _error(answers)
    nodes: list[Node] = []
    inside: dict[int, Bools] = {0: np.ones(len(features), dtype=bool)}
    for i in range(tree.node_count):
        here = inside.pop(i)
        leaf = _leaf(answers[here], here.mean())
        left, right = int(tree.children_left[i]), int(tree.children_right[i])
        if left < 0:
            nodes.append(leaf)
            continue
        feature = int(tree.feature[i])
        goes = ranks[:, feature] <= tree.threshold[i]
        inside[left], inside[right] = here & goes, here & ~goes
        values, parts = features[:, feature], (inside[left], inside[right])
        high = between(values[parts[0]].max(), values[parts[1]].min())
        cut = _error(answers[here]) - sum(_error(answers[part]) for part in parts)
        nodes.append(
            replace(
                leaf,
                condition=Condition(feature=feature, high=high),
                left=left,
                right=right,
                cut=cut / total if total > 0 else 0.0,
            )
        )
    return tuple(nodes)


def _leaf(answers: Floats, share: float) -> Node:
    return Node(answer=tuple(answers.mean(axis=0).tolist()), share=float(share))


def _error(answers: Floats) -> float:
    """The squared error of the mean."""
    return float(((answers - answers.mean(axis=0)) ** 2).sum())
