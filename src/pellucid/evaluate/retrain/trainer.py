"""Ready trainers: of torch classifiers on tensors, and of estimators by their own `fit`."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from pellucid.border.models import is_estimator
from pellucid.errors import InputError, ModelError, show
from pellucid.evaluate.retrain.chance import chance
from pellucid.evaluate.retrain.data import Examples, known_labels, numbers, placed
from pellucid.options import number, one_of, whole
from pellucid.seeding import seeded
from pellucid.structure import Inputs, outline

Factory: TypeAlias = Callable[[], Any]


class Fit(Protocol):
    """Trains a model from the start: calls the factory, and fits what it makes to the samples."""

    def __call__(self, model_factory: Factory, data: Examples) -> Any:
        """The trained model."""


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": lambda params, **options: torch.optim.SGD(params, momentum=0.9, **options),
}


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Trains a torch classifier by the cross-entropy of its scores.

        L = -mean over samples of log softmax(f(x))_label

    The model returns scores before softmax, of shape (sample, class), or one score for the second
    of two classes, (sample,) or (sample, 1). Labels are the numbers of classes; words are classes
    in sorted order. Initial weights, the order of the samples and dropout are decided by the
    `seed`. With `patience`, a share of `holdout` is not trained on; training ends when the loss on
    it has not fallen for so many epochs, and its best weights are kept. "sgd" has a momentum of
    0.9.

    >>> x = torch.linspace(-1, 1, 40).reshape(40, 1)
    >>> model = Trainer(epochs=30, learning_rate=0.1)(
    ...     lambda: nn.Linear(1, 2), Examples(x, (x[:, 0] > 0).long()))
    >>> model(torch.tensor([[-1.0], [1.0]])).argmax(1)
    tensor([0, 1])
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: float = 0.0
    patience: int | None = None
    holdout: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        whole(self.epochs, "epochs")
        whole(self.batch_size, "batch_size")
        number(self.learning_rate, "learning_rate", "a number above 0", above=0)
        one_of(self.optimizer, "`optimizer`", OPTIMIZERS)
        number(self.weight_decay, "weight_decay", "a number from 0 on", least=0)
        if self.patience is not None:
            whole(self.patience, "patience")
        number(
            self.holdout, "holdout", "a share of the samples, between 0 and 1", above=0, most=0.9
        )
        whole(self.seed, "seed", least=None)

    def __call__(self, model_factory: Factory, data: Examples) -> nn.Module:
        """A model of the factory, trained on the samples, in evaluation mode."""
        inputs = Inputs.of(data.inputs)
        labels = numbers(data.labels, known_labels(data.labels), "train")
        with chance(self.seed), torch.inference_mode(False), torch.enable_grad():
            model = model_factory()
            if not isinstance(model, nn.Module):
                raise InputError("`model_factory` of a Trainer must make a torch module", got=model)
            self._train(model, inputs, labels)
        return model.eval()

    def _train(self, model: nn.Module, inputs: Inputs, labels: Tensor) -> None:
        trained, held = self._parts(len(labels))
        rows = trained[: self.batch_size]
        model.eval()
        with torch.no_grad():  # makes the parameters of lazy modules, which an optimizer must know
            check_scores(_scores(model, inputs, rows), labels)
        step = OPTIMIZERS[self.optimizer](
            model.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        best, kept, since = math.inf, None, 0
        for epoch in range(self.epochs):
            self._epoch(model, step, inputs, labels, trained, epoch)
            if self.patience is None:
                continue
            loss = self._held_loss(model, inputs, labels, held)
            since = 0 if loss < best else since + 1
            if loss < best:
                best, kept = loss, copy.deepcopy(model.state_dict())
            if since >= self.patience:
                break
        if kept is not None:
            model.load_state_dict(kept)

    def _parts(self, count: int) -> tuple[Tensor, Tensor]:
        """The samples to train on, and those that say when to stop."""
        order = torch.randperm(count, generator=seeded(self.seed, 1))
        held = 0 if self.patience is None else max(1, round(self.holdout * count))
        return order[held:].sort().values, order[:held]

    def _epoch(
        self,
        model: nn.Module,
        step: torch.optim.Optimizer,
        inputs: Inputs,
        labels: Tensor,
        trained: Tensor,
        epoch: int,
    ) -> None:
        model.train()
        order = trained[torch.randperm(len(trained), generator=seeded(self.seed, 2, epoch))]
        for rows in batches_of(order, self.batch_size):
            loss = loss_of(_scores(model, inputs, rows), labels[rows])
            if not bool(loss.isfinite()):
                raise ModelError(
                    "The loss of a training must stay finite",
                    found=f"{loss.item()} in epoch {epoch + 1}",
                    hint=f"Take a lower learning rate than {self.learning_rate}.",
                )
            step.zero_grad()
            loss.backward()
            step.step()

    def _held_loss(self, model: nn.Module, inputs: Inputs, labels: Tensor, held: Tensor) -> float:
        """The mean loss on the samples that are not trained on."""
        model.eval()
        with torch.no_grad():
            sums = [
                loss_of(_scores(model, inputs, rows), labels[rows]).item() * len(rows)
                for rows in held.split(self.batch_size)
            ]
        return sum(sums) / len(held)


@dataclass(frozen=True, kw_only=True)
class EstimatorFit:
    """Fits an estimator of scikit-learn's kind; every `random_state` of it gets the seed."""

    seed: int = 0

    def __call__(self, model_factory: Factory, data: Examples) -> Any:
        """The fitted estimator."""
        with chance(self.seed):
            model = model_factory()
            states = [k for k in _parameters(model) if k.rpartition("__")[2] == "random_state"]
            if states:
                model.set_params(**dict.fromkeys(states, self.seed % 2**32))
            model.fit(_as_arrays(data.inputs), np.asarray(data.labels))
        return model


def factory_of(given: Any) -> Factory:
    """What makes a new model each time: a function, or an estimator that is cloned."""
    if isinstance(given, nn.Module) or not (callable(given) or is_estimator(given)):
        raise InputError(
            "`model_factory` must make a new model each time it is called",
            found=type(given).__name__ if isinstance(given, nn.Module) else show(given),
            hint="Pass a function without arguments: lambda: Net().",
        )
    if is_estimator(given):
        from sklearn.base import clone

        return lambda: clone(given)
    factory: Factory = given
    first, second = made(factory), made(factory)
    if first is second or _held(first) & _held(second):
        raise InputError(
            "`model_factory` must make a new model each time it is called",
            found=f"the same {type(first).__name__}, or its weights, twice",
            hint="Build the network inside of the function: lambda: Net().",
        )
    return factory


def fit_of(fit: Any, factory: Factory, inputs: Inputs) -> Fit:
    """The trainer that is given, or the ready one for what the factory makes."""
    model = made(factory) if fit is None else None
    chosen = Trainer() if isinstance(model, nn.Module) else fit
    if isinstance(chosen, Trainer) and inputs.schema is not None:
        raise InputError(
            "A Trainer must be given tensors to train on",
            found=show(inputs.schema),
            hint="Convert them: torch.from_numpy(array).float(), or the ids of tokens. Or pass a "
            "fit(model_factory, data) that does, and returns a function of what the inputs are.",
        )
    if chosen is not None:
        if not callable(chosen):
            raise InputError("`fit` must be a function of model_factory and samples", got=fit)
        ready: Fit = chosen
        return ready
    if is_estimator(model):
        return EstimatorFit()
    raise InputError(
        "`fit` must be given for a model that is neither a torch module nor an estimator",
        got=model,
        hint="A function fit(model_factory, data) that returns the trained model.",
    )


def batches_of(order: Tensor, size: int) -> Iterator[Tensor]:
    """Rows in batches; a last one of one row, which batch norm refuses, joins the one before."""
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    yield from parts


def loss_of(scores: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy; of one score for the second of two classes, of its sigmoid."""
    wanted = labels.to(scores.device)
    if scores.ndim == 1 or scores.shape[1] == 1:
        return binary_cross_entropy_with_logits(scores.reshape(-1), wanted.to(scores))
    return cross_entropy(scores, wanted.long())


def check_scores(scores: Tensor, labels: Tensor) -> None:
    """Raise unless a model returns a score for every class, before softmax."""
    if scores.ndim not in (1, 2):
        raise ModelError("A classifier must return scores (sample, class)", got=scores)
    classes = 2 if scores.ndim == 1 or scores.shape[1] == 1 else scores.shape[1]
    if int(labels.max()) >= classes:
        raise InputError(
            f"Labels must be classes of the model, from 0 to {classes - 1}", got=int(labels.max())
        )
    sums = scores.sum(1) if scores.ndim == 2 and scores.shape[1] > 1 else scores.new_zeros(1)
    if bool((scores >= 0).all()) and bool(((sums - 1).abs() < 1e-4).all()):
        raise ModelError(
            "A classifier must return scores before softmax to be trained",
            found="probabilities, which add up to one",
            hint="Leave out the softmax at its end.",
        )


def _scores(model: nn.Module, inputs: Inputs, rows: Tensor) -> Tensor:
    """The scores of some samples, on the device of the model."""
    return scores_in(placed(inputs.select(rows), model).call(model))


def scores_in(output: Any) -> Tensor:
    """The scores in what a model returns: all of it, or its `logits`."""
    found = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if found is None and isinstance(output, dict):
        found = output.get("logits")
    if not isinstance(found, Tensor):
        raise ModelError(
            "A classifier must return a tensor of scores, or one that is called `logits`",
            found=outline(output),
            hint="Wrap it in a module that does.",
        )
    return found


def _as_arrays(inputs: Any) -> Any:
    return inputs.detach().cpu().numpy() if isinstance(inputs, Tensor) else inputs


def _parameters(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = model.get_params() if hasattr(model, "get_params") else {}
    return found


def made(factory: Factory) -> Any:
    """A model, made without a trace in global random states."""
    with chance(0):
        return factory()


def _held(model: Any) -> set[int]:
    """The parameters of a module, by identity."""
    return {id(p) for p in model.parameters()} if isinstance(model, nn.Module) else set()
