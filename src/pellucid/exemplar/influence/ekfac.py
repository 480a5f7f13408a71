"""EK-FAC: the curvature of deep networks, layer by layer, in a basis where it is near diagonal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pellucid.errors import InputError, ModelError
from pellucid.exemplar.influence.blocks import Block, Flow, blocks_of, is_known
from pellucid.exemplar.influence.fitted import Fitted
from pellucid.exemplar.influence.gradients import Flows, Gradients, square_total, squares
from pellucid.exemplar.influence.objective import IGNORED, Batch, Objective
from pellucid.exemplar.influence.solver import SHARE, Inverse, Keep, Owned, Solved, Solver, owned
from pellucid.options import whole
from pellucid.remarks import Share
from pellucid.seeding import seeded

# Of losses whose curvature is taken as a matrix, the most scores of an example.
SCORES = 512
# The bytes of an entry of a factor while its eigenvectors are computed: double precision, the
# vectors, and what the divide and conquer of LAPACK works in, twice as large.
WORK = 5 * 8


@dataclass(frozen=True, kw_only=True)
class EKFAC(Solver):
    """Eigenvalue-corrected Kronecker factors, of the Gauss-Newton curvature of each layer.

        A = sum a a^T = U_A D_A U_A^T      B = sum b b^T = U_B D_B U_B^T
        lambda_jk = mean over examples of (U_B^T G U_A)_jk^2        G = sum over places of b a^T
        (H + damping)^-1 V  ~  U_B [ (U_B^T V U_A) / (lambda + damping) ] U_A^T

    Three passes over the training set, and memory for two square matrices a layer. b comes from
    labels that are drawn from what the network says, `draws` of them for each example, or "all":
    the exact mean over them, for which there is one pass backwards a score. Unless it is given,
    the damping of each layer is a tenth of its mean lambda. Layers are taken to have no curvature
    in common. Known are Linear, Conv1d and Conv2d; what else has parameters is left out unless it
    is asked for, which is an error.
    Source: George et al. (2018), Fast Approximate Natural Gradient Descent in a Kronecker-factored
    Eigenbasis; Grosse et al. (2023), Studying Large Language Model Generalization with Influence
    Functions.
    """

    last = False
    written: ClassVar[bool] = False

    draws: int | Literal["all"] = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draws != "all":
            whole(self.draws, "draws")
        whole(self.seed, "seed", least=None)

    def choose(self, fitted: Fitted, *, asked: bool) -> tuple[Fitted, str]:
        """Parameters of linear layers and convolutions; others are an error if asked for."""
        blocks, strange = blocks_of(fitted)
        if not strange:
            return fitted, ""
        if asked or not blocks:
            raise _unknown(fitted, strange[0])
        names = tuple(name for name in fitted.names if name not in strange)
        made = Fitted(model=fitted.model, names=names, state=fitted.state)
        note = Share(
            text="{} are of layers that EK-FAC does not know, such as "
            f"{strange[0]!r}; what examples have done to them is left out.",
            some=fitted.count - made.count,
            of=fitted.count,
            what="parameters",
        )
        return made, str(note)

    def bytes(self, fitted: Fitted) -> dict[str, int]:
        """Two factors a layer, with those of a batch or their vectors, and eigenvalues as well."""
        size = fitted.theta.element_size()
        blocks, _ = blocks_of(fitted)
        found = {
            f"the factors of {block.layer!r}": 2 * size * sum(n * n for n in block.sizes)
            for block in blocks
        }
        largest = max(n for block in blocks for n in block.sizes)
        return found | {
            "the eigenvalues": 3 * size * fitted.count,
            "the vectors of the largest factor": WORK * largest**2,
        }

    def prepare(self, objective: Objective, damping: float | None, keep: Keep) -> "Kronecker":
        """Two passes: the factors, and the eigenvalues in their basis."""
        blocks = objective.blocks
        if not blocks:
            first = objective.batch([0])
            one = [torch.ones_like(objective.scores(objective.theta, first.inputs))]
            next(objective.flows_of(blocks_of(objective.fitted)[0], first, one))
            raise ModelError(
                "Parameters must be used by their layers alone, for `ekfac`",
                found="gradients that do not come from what goes in and out of "
                f"{', '.join(repr(name) for name in objective.fitted.names[:3])}",
                hint="Name the parameters of layers that run, and whose weights are not used "
                "elsewhere as well; or take `tracin`.",
            )
        basis = keep("basis", lambda: self._basis(objective, blocks))
        values = keep("eigenvalues", lambda: self._eigenvalues(objective, blocks, basis))
        like = objective.theta
        rotated = [
            Rotated(
                block=block,
                left=basis[f"{block.layer}.out"].to(like),
                right=basis[f"{block.layer}.in"].to(like),
                values=values[block.layer].to(like),
                damping=damping,
            )
            for block in blocks
        ]
        for each in rotated:
            each.check()
        means = [each.amount for each in rotated]
        return Kronecker(
            objective=objective, damping=sum(means) / len(means), blocks=tuple(rotated)
        )

    def _basis(self, objective: Objective, blocks: Sequence[Block]) -> dict[str, Tensor]:
        """The eigenvectors of what goes in and of what comes back, of each layer."""

        def seen(block: Block, flow: Flow) -> dict[str, Tensor]:
            return {
                f"{block.layer}.in": _square(flow.a),
                f"{block.layer}.out": _square(flow.b),
            }

        sums = self._summed(objective, blocks, seen, "factors")
        return {name: _vectors(each) for name, each in sums.items()}

    def _eigenvalues(
        self, objective: Objective, blocks: Sequence[Block], basis: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The mean square of the gradient, along each pair of directions."""
        turned = {name: each.to(objective.theta) for name, each in basis.items()}

        def seen(block: Block, flow: Flow) -> dict[str, Tensor]:
            ins, outs = turned[f"{block.layer}.in"], turned[f"{block.layer}.out"]
            return {block.layer: square_total(Flow(flow.a @ ins, flow.b @ outs))}

        sums = self._summed(objective, blocks, seen, "eigenvalues")
        return {name: each / objective.data.rows for name, each in sums.items()}

    def _summed(
        self,
        objective: Objective,
        blocks: Sequence[Block],
        seen: Callable[[Block, Flow], dict[str, Tensor]],
        what: str,
    ) -> dict[str, Tensor]:
        """The sums over the training set, and over draws, of what is seen of flows."""
        sums: dict[str, Tensor] = {}

        def work(batch: Batch) -> dict[str, Tensor]:
            found: dict[str, Tensor] = {}
            for flow in objective.flows_of(blocks, batch, self.pulls(objective, batch)):
                for block, each in zip(blocks, flow, strict=True):
                    _add(found, seen(block, each))
            return found

        for found in objective.over(work, f"EK-FAC: {what}", alone=True):
            _add(sums, found)
        return sums

    def pulls(self, objective: Objective, batch: Batch) -> list[Tensor]:
        """Pulls at the scores whose squares have the curvature of the loss as their mean.

        Each is of shape (sample, ...) like the scores. Those of an example do not depend on its
        batch.
        """
        with torch.no_grad():
            scores = objective.scores(objective.theta, batch.inputs)
        if objective.of_classes and scores.ndim == 2 and scores.shape[1] > 1:
            return self._of_classes(scores, batch)
        return self._of_curvature(objective, scores, batch)

    def _of_classes(self, scores: Tensor, batch: Batch) -> list[Tensor]:
        """The slopes p - e_c, of classes that are drawn, or sqrt(p_c) (p - e_c) of all."""
        known = (batch.labels != IGNORED).to(scores).reshape(-1, 1)
        p = scores.softmax(1)
        classes = scores.shape[1]
        if self.draws == "all":
            units = torch.eye(classes).to(p)
            return [known * p[:, c : c + 1].sqrt() * (p - units[c]) for c in range(classes)]
        steps = p.double().cumsum(1).cpu()
        steps[:, -1] = 2.0  # whatever rounding has left
        drawn = (steps.unsqueeze(2) < self._uniform(batch).unsqueeze(1)).sum(1)  # (sample, draw)
        return [
            known * (p - torch.eye(classes)[drawn[:, k]].to(p)) / self.draws**0.5
            for k in range(self.draws)
        ]

    def _of_curvature(self, objective: Objective, scores: Tensor, batch: Batch) -> list[Tensor]:
        """R xi, of the root R of the curvature of each example's loss and of normal numbers xi."""
        count = scores[0].numel()
        if count > SCORES:
            raise InputError(
                f"A loss that is not a cross-entropy (sample, class) must be of at most {SCORES} "
                "scores an example, for `ekfac`",
                got=scores,
                hint="Take `tracin`, or a head with fewer.",
            )
        _, curved = objective.bends(scores, batch.labels)
        values, vectors = torch.linalg.eigh(curved)
        root = vectors * values.clamp(min=0).sqrt().unsqueeze(1)  # (sample, score, direction)
        if self.draws == "all":
            return [each.reshape(scores.shape) for each in root.unbind(2)]
        drawn = torch.stack(
            [
                torch.randn(count, self.draws, generator=seeded(self.seed, 1, row))
                for row in batch.rows
            ]
        ).to(root)
        return [each.reshape(scores.shape) for each in (root @ drawn / self.draws**0.5).unbind(2)]

    def _uniform(self, batch: Batch) -> Tensor:
        """Uniform numbers (sample, draw), each example's own."""
        draws = self.draws if isinstance(self.draws, int) else 1
        made = [
            torch.rand(draws, generator=seeded(self.seed, 0, row), dtype=torch.float64)
            for row in batch.rows
        ]
        return torch.stack(made)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rotated:
    """A layer in its basis: vectors on either side, and the eigenvalues (out, in)."""

    block: Block
    left: Tensor
    right: Tensor
    values: Tensor
    damping: float | None

    @property
    def amount(self) -> float:
        """The damping that is given, or a tenth of the mean eigenvalue."""
        return SHARE * float(self.values.mean()) if self.damping is None else self.damping

    def check(self) -> None:
        """Raise where a layer has no curvature, and no damping either."""
        smallest = torch.finfo(self.values.dtype).eps * float(self.values.max())
        if not float(self.values.min()) + self.amount > smallest:
            layer = self.block.layer or "the last layer"
            least = 1e-3 * float(self.values.max()) or 1e-6
            raise InputError(
                "The curvature of each layer must be above zero, with its damping",
                found=f"none in a direction of {layer!r}, with a damping of {self.amount:.3g}",
                hint=f"Give a `damping` of at least {least:.2g}, or leave out the layer.",
            )

    def turned(self, matrices: Tensor) -> Tensor:
        """Matrices (row, out, in) in the basis."""
        return self.left.T @ matrices @ self.right

    def solved(self, matrices: Tensor) -> Tensor:
        """The inverse times matrices (row, out, in)."""
        divided = self.turned(matrices) / (self.values + self.amount)
        return self.left @ divided @ self.right.T

    def own(self, flow: Flow) -> Tensor:
        """G^T (H + damping)^-1 G of each example (sample,)."""
        turned = Flow(flow.a @ self.right, flow.b @ self.left)
        return squares(turned, 1 / (self.values + self.amount))


@dataclass(frozen=True, kw_only=True, eq=False)
class Kronecker(Inverse):
    """The inverse of the curvature, layer by layer."""

    blocks: tuple[Rotated, ...]

    def solve(self, vectors: Tensor) -> Solved:
        """In the basis of each layer, where the curvature is a number for each direction."""
        parts = self.objective.fitted.parts(vectors)
        made: dict[str, Tensor] = {}
        for each in self.blocks:
            made |= each.block.parts(each.solved(each.block.matrices(parts)))
        found = self.objective.fitted.joined(made)
        return Solved(found, torch.full_like(found[:, 0], torch.nan), 0)

    def own(self, batch: Batch, gradients: Gradients) -> Owned:
        """g^T (H + damping)^-1 g of each example (sample,), layer by layer."""
        if not isinstance(gradients, Flows):
            return super().own(batch, gradients)
        pairs = zip(self.blocks, gradients.flows, strict=True)
        return owned(torch.stack([each.own(flow) for each, flow in pairs]).sum(0))


def _unknown(fitted: Fitted, name: str) -> ModelError:
    modules = dict(fitted.model.named_modules())
    known = [layer for layer, each in modules.items() if layer and is_known(each)]
    return ModelError(
        "`ekfac` must be asked about parameters of Linear, Conv1d and Conv2d layers, with one "
        "group and zeros around",
        found=f"{name!r}, of {type(modules[name.rpartition('.')[0]]).__name__}",
        hint=f"Layers known here: {', '.join(repr(each) for each in known[-3:])}. Or take `tracin`."
        if known
        else "Take `tracin`, or `cg` for few parameters.",
    )


def _add(sums: dict[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Add what is found to sums by name."""
    for name, each in found.items():
        sums[name] = sums[name].add_(each) if name in sums else each


def _square(rows: Tensor) -> Tensor:
    """The sum over examples and places of x x^T."""
    flat = rows.flatten(0, 1)
    return flat.T @ flat


def _vectors(factor: Tensor) -> Tensor:
    """The eigenvectors of a factor, in double precision where they are computed."""
    found: Tensor = torch.linalg.eigh(factor.double()).eigenvectors.to(factor)
    return found
