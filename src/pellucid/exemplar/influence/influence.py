"""Which training examples carried a decision: influence functions and their cheap relatives.

The sign is decided here, once: above zero, a training example helps.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pellucid.batching import BatchSize
from pellucid.exemplar.influence.data import Labelled
from pellucid.exemplar.influence.fitted import Chosen
from pellucid.exemplar.influence.objective import LossOf
from pellucid.exemplar.influence.result import Influence, SelfInfluence
from pellucid.exemplar.influence.stage import Stage
from pellucid.exemplar.influence.task import MEMORY, How, Task
from pellucid.target import Target, TargetLike


def influence(
    model: Any,
    train: Any,
    test: Any,
    *,
    how: How = "exact",
    of: Literal["loss"] | TargetLike = "loss",
    loss: str | LossOf = "cross_entropy",
    parameters: Chosen = None,
    damping: float | None = None,
    checkpoints: Sequence[Any] = (),
    folder: Any = None,
    batch_size: BatchSize = "auto",
    memory: int = MEMORY,
) -> Influence:
    """Which training examples helped or harmed what a network says of others: (test, train).

        value = 1/n  g_test^T (H + damping I)^-1 g_i       g_i = gradient of the loss of example i

    Above zero a training example helps: if it had been left out, the loss of the test example would
    be higher by about the value, or the score that is asked about lower. Below zero it harms.

    `train` is (inputs, labels), or a data set or loader of such pairs, which is read part by part.
    `test` is the same; where influence `of` a score is asked for (any target: `None` for that of
    the predicted class, 3, (3, 1) ...), it is inputs alone. `loss` is what the model was trained
    by: "cross_entropy", "mse" (the mean over outputs) or a function(output, labels) -> (sample,).

    | how | undoes the curvature H | parameters, unless named |
    |---|---|---|
    | `exact` | by its Cholesky factor | last layer |
    | `newton` | that, without the example itself: exact for squared losses | last layer |
    | `cg` | by conjugate gradients | last layer |
    | `lissa` | by a series on random batches | last layer |
    | `ekfac` | layer by layer, in a Kronecker-factored basis: for deep networks | all it knows |
    | `tracin` | not at all: gradients at `checkpoints`, by learning rate (no 1/n) | all |
    | `representer` | as weight decay alone: a score is the sum of its values | last layer |

    Each is a name, or an object with options: `CG(tolerance=1e-3)`. `parameters` are names of
    parameters or layers, or a function of the name; "all" of them. A weight decay w of the training
    (w/2 |theta|^2 beside the mean loss) is a `damping` of w; unless given it is a tenth of the mean
    eigenvalue. A `folder` keeps what is found, and a run that was stopped goes on from there. What
    is held beside the network is planned before it starts to stay below `memory` bytes. Examples of
    whose batch the answer depends run alone, with a note.

    Amounts are right where the model is at a minimum of its loss. Elsewhere values still rank
    examples, but are too large as amounts, the more the further off: `convergence.slope` says how
    far, and a note where it is far. Values are in double precision where the model is, else in
    single. The model is not changed.
    Source: Koh and Liang (2017), Understanding Black-box Predictions via Influence Functions; of
    each way, see its class.

    >>> import torch
    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> y = 2 * x[:, 0] + torch.tensor([0.0, 0.1, -0.1, 1.0])
    >>> net = torch.nn.Linear(1, 1)
    >>> best = torch.linalg.lstsq(torch.cat([x, x**0], 1), y).solution
    >>> net.weight.data, net.bias.data = best[:1].reshape(1, 1), best[1:]
    >>> found = influence(net, (x, y), (x[3:], y[3:]), loss="mse", damping=0.0)
    >>> found.top(1).helpful.tolist()             # what it rests on most is itself
    [[3]]
    """
    target = None if isinstance(of, str) and of == "loss" else Target.of(of)
    data = Labelled.of(train, "train")
    tested = Labelled.of(test, "test") if target is None else Labelled.asked(test, data)
    task = Task.of(
        model, data, tested, how=how, loss=loss, parameters=parameters, damping=damping,
        checkpoints=checkpoints, batch_size=batch_size, memory=memory, target=target,
    )  # fmt: skip
    found = task.total(folder, f"influence {target!r}", Stage.influence)
    return Influence(
        values=found.values,
        tested=found.tested,
        losses=found.losses,
        convergence=found.convergence,
        of="the loss" if target is None else repr(target),
        test=tested,
        notes=task.notes(found.convergence),
        **task.said,
    )


def self_influence(
    model: Any,
    train: Any,
    *,
    how: How = "exact",
    loss: str | LossOf = "cross_entropy",
    parameters: Chosen = None,
    damping: float | None = None,
    checkpoints: Sequence[Any] = (),
    folder: Any = None,
    batch_size: BatchSize = "auto",
    memory: int = MEMORY,
) -> SelfInfluence:
    """How much each training example has lowered its own loss: large where labels are wrong.

        value_i = 1/n  g_i^T (H + damping I)^-1 g_i

    The options are those of `influence`. `cg` and `lissa` solve for every training example, which
    takes long.
    Source: Koh and Liang (2017), section 5.4; Pruthi et al. (2020), section 4.1.

    >>> import torch
    >>> x = torch.linspace(-1, 1, 20).reshape(20, 1)
    >>> y = 3 * x[:, 0]
    >>> y[13] = -2.0                              # a slip of the pen
    >>> net = torch.nn.Linear(1, 1)
    >>> best = torch.linalg.lstsq(torch.cat([x, x**0], 1), y).solution
    >>> net.weight.data, net.bias.data = best[:1].reshape(1, 1), best[1:]
    >>> self_influence(net, (x, y), loss="mse").order[:1].tolist()
    [13]
    """
    task = Task.of(
        model, train, None, how=how, loss=loss, parameters=parameters, damping=damping,
        checkpoints=checkpoints, batch_size=batch_size, memory=memory,
    )  # fmt: skip
    found = task.total(folder, "self-influence", Stage.own)
    return SelfInfluence(
        values=found.values,
        losses=found.losses,
        convergence=found.convergence,
        notes=task.notes(found.convergence),
        **task.said,
    )
