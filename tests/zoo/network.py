"""What a network of the zoo is, and what they are built of.

A network is a function that returns a `Network`: a model, inputs for it, and what is known about
it. Its docstring gives the closed form. All are in double precision; `load` casts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

NETWORKS: dict[str, Callable[[], "Network"]] = {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A model, inputs, and what is known.

    `gradient` is the gradient of the explained score, where there is a closed form, and `affine`
    says that it is the same everywhere; `ignored` is true where the score ignores an element;
    `twin` is the same function written in another way; `maps` says that there are feature maps for
    a CAM, `pooled` that their mean and one linear layer make the scores, `biased` that something is
    added besides what depends on the input.
    """

    model: nn.Module
    inputs: Any
    target: Any = 0
    gradient: Any = None
    affine: bool = False
    ignored: Any = None
    twin: nn.Module | None = None
    maps: bool = False
    pooled: bool = False
    biased: bool = True


def network(build: Callable[[], Network]) -> Callable[[], Network]:
    """Enter a network under the name of its function."""
    NETWORKS[build.__name__] = build
    return build


def load(name: str, dtype: torch.dtype = torch.float64) -> Network:
    """Build a network, in evaluation mode unless it is about training."""
    made = NETWORKS[name]()
    return cast(replace(made, model=made.model.train(name == "training")), dtype)


def cast(made: Network, dtype: torch.dtype) -> Network:
    """Change the precision of a network and of what is known about it."""
    twin = None if made.twin is None else made.twin.to(dtype).eval()
    known = {key: to(getattr(made, key), dtype) for key in ("inputs", "gradient")}
    return replace(made, model=made.model.to(dtype), twin=twin, **known)


def to(tree: Any, dtype: torch.dtype) -> Any:
    """Cast every floating-point tensor of a structure."""
    if isinstance(tree, Tensor):
        return tree.to(dtype) if tree.is_floating_point() else tree
    if isinstance(tree, tuple):
        return tuple(to(item, dtype) for item in tree)
    if isinstance(tree, dict):
        return {key: to(item, dtype) for key, item in tree.items()}
    return tree


def rows(*values: list[float]) -> Tensor:
    """Samples, one list each."""
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape: int, seed: int = 0, shift: float = 0.0) -> Tensor:
    """Normal numbers, the same in every call."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) + shift


def dense(weight: Tensor, bias: list[float] | None = None) -> nn.Linear:
    """A linear layer with these weights, of shape (out, in)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None).double()
    layer.weight.data.copy_(weight)
    if bias is not None:
        layer.bias.data.copy_(torch.tensor(bias))
    return layer


def seeded(module: nn.Module, seed: int = 0, bias: bool = True) -> nn.Module:
    """Fill a module with normal numbers scaled to its fan-in; biases small or zero."""
    module = module.double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3 * bias
        parameter.data.copy_(noise * scale)
    return module


class Lambda(nn.Module):
    """A function as a module, with layers of its own."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.function = function

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Any:
        return self.function(*self.layers.values(), *args, **kwargs)
