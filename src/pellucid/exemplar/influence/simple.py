"""Ways that need no curvature: gradients at checkpoints of the training, and representer points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pellucid.errors import FileError, InputError, ModelError
from pellucid.exemplar.influence.gradients import Gradients
from pellucid.exemplar.influence.objective import Batch, Objective
from pellucid.exemplar.influence.solver import Inverse, Keep, Owned, Solved, Solver, owned
from pellucid.options import number


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """The weights of a network at one time of its training, and the learning rate then.

    `state` is a state dict, or the path of a file with one, which is read when its turn comes.

    >>> net = nn.Linear(2, 2)
    >>> kept = Checkpoint.of(net, rate=0.1)
    >>> net.weight.data.zero_()
    tensor([[0., 0.],
            [0., 0.]])
    >>> bool(kept.load()["weight"].any()), kept.rate
    (True, 0.1)
    """

    state: Mapping[str, Tensor] | str | Path
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.state, Mapping | str | Path):
            raise InputError(
                "A checkpoint must be a state dict, the path of one, or Checkpoint(state=, rate=)",
                got=self.state,
                hint="Checkpoint.of(model, rate=0.1) copies the weights that a model has now.",
            )
        number(self.rate, "rate", "a learning rate, above 0", above=0)

    @classmethod
    def of(cls, given: Any, rate: float = 1.0) -> "Checkpoint":
        """Copy the weights of a module as they are now; or take what a checkpoint can be."""
        if isinstance(given, Checkpoint):
            return given
        if isinstance(given, nn.Module):
            state = {name: each.detach().clone() for name, each in given.state_dict().items()}
            return cls(state=state, rate=rate)
        if isinstance(given, tuple) and len(given) == 2:
            return cls(state=given[0], rate=given[1])
        return cls(state=given, rate=rate)

    def load(self) -> Mapping[str, Tensor]:
        """The state dict; a file of torch's is read as weights alone, which runs no code."""
        if isinstance(self.state, Mapping):
            return self.state
        path = Path(self.state)
        try:
            if path.suffix == ".safetensors":
                from safetensors.torch import load_file

                found: Any = load_file(path)
            else:
                found = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise FileError(
                f"{str(path)!r} must be a state dict, by torch.save or safetensors", got=error
            ) from error
        if not isinstance(found, Mapping):
            raise FileError(f"{str(path)!r} must hold a state dict", found=type(found).__name__)
        return found


@dataclass(frozen=True, kw_only=True)
class TracIn(Solver):
    """Products of gradients at checkpoints of the training, by their learning rates.

        value = sum over checkpoints k of  rate_k  g_test(theta_k)^T g_i(theta_k)

    It estimates by how much the steps that were taken on an example have lowered the loss of
    another one. Without checkpoints there is one, the model as it is, with a rate of 1.
    Source: Pruthi et al. (2020), Estimating Training Data Influence by Tracing Gradient Descent.
    """

    last = False
    shrinks: ClassVar[bool] = False
    written: ClassVar[bool] = False
    damps: ClassVar[bool] = False

    checkpoints: Sequence[Any] = ()

    def prepare(self, objective: Objective, damping: float | None, keep: Keep) -> "Same":
        """Nothing: there is no curvature."""
        return Same(objective=objective, damping=0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Same(Inverse):
    """Vectors as they are."""

    def solve(self, vectors: Tensor) -> Solved:
        """The vectors themselves."""
        return Solved(vectors, torch.full_like(vectors[:, 0], torch.nan), 0)

    def own(self, batch: Batch, gradients: Gradients) -> Owned:
        """The square of the length of each gradient (sample,)."""
        return owned(gradients.lengths().square())


@dataclass(frozen=True, kw_only=True)
class Representer(Solver):
    """The score as a sum over training examples, if the last layer was trained with weight decay.

        f(x_test) = sum_i  alpha_i  k(x_i, x_test)       alpha_i = -1/(n damping) dL_i / df_i

    with the kernel k of the features that the last layer reads. `damping` is the weight decay w of
    a training that lowers  mean loss + w/2 |theta|^2 ; unless given it is the one by which the last
    layer is most nearly stationary. Law: the values of a score sum to it, as far as the layer is
    stationary, of which the note says how far.
    Source: Yeh et al. (2018), Representer Point Selection for Explaining Deep Neural Networks.
    """

    written: ClassVar[bool] = False

    def prepare(self, objective: Objective, damping: float | None, keep: Keep) -> "Scaled":
        """Find the weight decay, and how far the layer is from stationary."""
        theta = objective.theta

        def mean() -> dict[str, Tensor]:
            parts = objective.over(
                lambda batch: objective.gradients(batch).total(), "mean gradient", alone=True
            )
            return {"gradient": sum(parts, torch.zeros_like(theta)) / objective.data.rows}

        slope = keep("gradient", mean)["gradient"].to(theta)
        fit = -float(slope @ theta) / float(theta.square().sum())
        decay = fit if damping is None else damping
        if not decay > 0:
            raise ModelError(
                "The last layer must have been trained with weight decay, for `representer`",
                found=f"one whose gradient is that of a weight decay of {fit:.3g}"
                if damping is None
                else f"a damping of {damping}",
                hint="Train it on with weight decay until its gradient vanishes, and give that as "
                "`damping`; or take `exact`.",
            )
        left = float((slope + decay * theta).norm() / (decay * theta).norm())
        return Scaled(objective=objective, damping=decay, left=left)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaled(Inverse):
    """Vectors divided by the weight decay; `left` is how far from stationary the layer is."""

    left: float

    def solve(self, vectors: Tensor) -> Solved:
        """Divide; what is left of the layer's own gradient stands for the residual."""
        return Solved(vectors / self.damping, torch.full_like(vectors[:, 0], self.left), 0)

    def own(self, batch: Batch, gradients: Gradients) -> Owned:
        """The square of the length of each gradient, divided (sample,)."""
        return owned(gradients.lengths().square() / self.damping, self.left)
