"""What trained models answer: the class of each sample, and how many are right."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.border.models import is_estimator
from pellucid.errors import ModelError
from pellucid.evaluate.retrain.data import Part, Taken, packed, placed
from pellucid.evaluate.retrain.ranking import CHUNK
from pellucid.evaluate.retrain.trainer import scores_in
from pellucid.structure import Inputs


def accuracy(model: Any, data: Taken, part: Part, inputs: Inputs) -> float:
    """The share of samples of a part whose class a model finds from these inputs of them."""
    found = predicted(model, data, inputs)
    return float((found == part.classes).double().mean())


def predicted(model: Any, data: Taken, inputs: Inputs) -> Tensor:
    """The number of the class that a model finds for each sample."""
    found = [
        _of_chunk(model, data, inputs.select(slice(start, start + CHUNK)))
        for start in range(0, inputs.rows, CHUNK)
    ]
    return torch.cat(found)


def _of_chunk(model: Any, data: Taken, inputs: Inputs) -> Tensor:
    if is_estimator(model):
        given = packed(inputs)
        answer = model.predict(given.cpu().numpy() if isinstance(given, Tensor) else given)
        return _classes(np.asarray(answer), data)
    with torch.no_grad():
        asked = inputs.schema is not None
        answer = model(packed(inputs)) if asked else placed(inputs, model).call(model)
        scores = _as_scores(answer)
    if scores.ndim == 1 or scores.shape[1] == 1:
        return (scores.reshape(-1) > 0).long()
    return scores.argmax(1)


def _as_scores(answer: Any) -> Tensor:
    found = torch.as_tensor(answer) if isinstance(answer, np.ndarray) else scores_in(answer)
    if found.ndim not in (1, 2) or not bool(found.isfinite().all()):
        raise ModelError("A classifier must return finite scores (sample, class)", got=found)
    return found.detach().cpu()


def _classes(answer: np.ndarray, data: Taken) -> Tensor:
    """Predicted labels as the numbers of classes."""
    if not data.known:
        return torch.as_tensor(answer).long()
    places = {label: place for place, label in enumerate(data.known)}
    return torch.tensor([places.get(label, -1) for label in answer.tolist()])
