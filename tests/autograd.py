"""What autograd says: the reference for every walk whose rules are adjoints."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pellucid.structure import Inputs
from pellucid.target import Target


def gradient(model: Callable[..., Any], inputs: Any, target: Any = None) -> Any:
    """The gradient of the explained score, in the structure of the inputs; zeros where unused."""
    taken = Inputs.of(inputs)
    points = [
        leaf.detach().clone().requires_grad_(leaf.is_floating_point()) for leaf in taken.leaves
    ]
    with torch.enable_grad():
        # A view of a leaf may be written to, the leaf itself may not.
        output = taken.replace([point * 1 if point.requires_grad else point for point in points])
        output = before_softmax(output.call(model))
        aim = Target.of(target).resolve(output, taken.rows)
        score = aim.score(output, output).sum()
        found = torch.autograd.grad(score, points, allow_unused=True, materialize_grads=True)
    return taken.pack(found)


def before_softmax(output: Any) -> Any:
    """What a softmax at the end was made of, read from autograd's own graph."""
    if isinstance(output, Tensor) and type(output.grad_fn).__name__ == "SoftmaxBackward0":
        # Softmax only fixes the sum: its logarithm has the scores' differences, not the scores.
        raise NotImplementedError("Use the twin of a network that ends in a softmax.")
    return output
