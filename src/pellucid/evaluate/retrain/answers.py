"""What trained models answer: the class of each sample, and how many are right."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.border.models import is_estimator
from pellucid.errors import ModelError, show
from pellucid.evaluate.retrain.data import Part, Taken, chunks_of, packed, placed
from pellucid.evaluate.retrain.trainer import scores_in
from pellucid.structure import Inputs


def accuracy(model: Any, data: Taken, part: Part, inputs: Inputs) -> float:
    """The share of samples of a part whose class a model finds from these inputs of them."""
    found = predicted(model, data, inputs)
    return float((found == part.classes).double().mean())


def predicted(model: Any, data: Taken, inputs: Inputs) -> Tensor:
    """The number of the class that a model finds for each sample."""
    found = [_of_chunk(model, data, inputs.select(rows)) for rows in chunks_of(inputs)]
    return torch.cat(found)


def scores_of(model: Any, inputs: Inputs) -> Tensor:
    """What a model that is called, and no estimator, says of some samples: (sample, class)."""
    with torch.no_grad():
        asked = inputs.schema is not None
        answer = model(packed(inputs)) if asked else placed(inputs, model).call(model)
    found = torch.as_tensor(answer) if isinstance(answer, np.ndarray) else scores_in(answer)
    if found.ndim not in (1, 2) or not bool(found.isfinite().all()):
        raise ModelError("A classifier must return finite scores (sample, class)", got=found)
    return found.detach().cpu()


def with_two_scores(model: Any, inputs: Inputs) -> Any:
    """A torch module that returns a tensor of scores, one for each class.

    Of one score s for the second of two classes -s/2 and s/2 are made, of which softmax is what
    sigmoid is of s, so that each class can be explained; of an output with `logits`, those. Nothing
    is done to a model of which that is so already.
    """
    if not isinstance(model, nn.Module) or inputs.schema is not None:
        return model
    with torch.no_grad():
        answer = placed(inputs.select(slice(1)), model).call(model)
    if not isinstance(answer, Tensor) or answer.ndim == 1 or answer.shape[1:] == (1,):
        model.register_forward_hook(_in_two)
    return model


def _in_two(module: nn.Module, given: Any, answer: Any) -> Tensor:
    found = scores_in(answer)
    if found.ndim == 1 or found.shape[1:] == (1,):
        half = found.reshape(-1, 1) / 2
        return torch.cat([-half, half], 1)
    return found


def _of_chunk(model: Any, data: Taken, inputs: Inputs) -> Tensor:
    if is_estimator(model):
        given = packed(inputs)
        answer = model.predict(given.cpu().numpy() if isinstance(given, Tensor) else given)
        return _classes(np.asarray(answer), data)
    scores = scores_of(model, inputs)
    if scores.ndim == 1 or scores.shape[1] == 1:
        return (scores.reshape(-1) > 0).long()
    return scores.argmax(1)


def _classes(answer: np.ndarray, data: Taken) -> Tensor:
    """Predicted labels as the numbers of classes."""
    known = data.known or range(int(data.train.classes.max()) + 1)
    places = {label: place for place, label in enumerate(known)}
    found = answer.reshape(-1).tolist()  # some estimators return a column
    strange = [label for label in found if label not in places]
    if strange:
        raise ModelError(
            "An estimator must predict labels that it was trained with",
            found=show(strange[0]),
            hint="Take a classifier; a regressor has no accuracy.",
        )
    return torch.tensor([places[label] for label in found])
