"""A trained network as a function of those of its parameters that examples have an influence on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils.parametrize import ParametrizationList

from pellucid.errors import InputError, ModelError, UnknownNameError
from pellucid.seeding import seeded
from pellucid.structure import Inputs, leaves
from pellucid.tape.paths import hooked

Chosen: TypeAlias = "str | Sequence[str] | Callable[[str], bool] | None"


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A network and the parameters theta of it that are asked about, by their `names`.

    `state` has all parameters and buffers by name, in the precision that is computed in: double
    where the network is in double precision, else single. Nothing is written to the network.
    """

    model: nn.Module
    names: tuple[str, ...]
    state: Mapping[str, Tensor]

    @cached_property
    def theta(self) -> Tensor:
        """The chosen parameters, as one vector (parameter,)."""
        return torch.cat([self.state[name].flatten() for name in self.names])

    @property
    def count(self) -> int:
        """How many numbers the chosen parameters are."""
        return sum(self.state[name].numel() for name in self.names)

    def parts(self, vectors: Tensor) -> dict[str, Tensor]:
        """Vectors (..., parameter) cut into the parameters by name: (..., *shape)."""
        shapes = [self.state[name].shape for name in self.names]
        cut = vectors.split([shape.numel() for shape in shapes], -1)
        ahead = vectors.shape[:-1]
        return {
            name: each.reshape(*ahead, *shape)
            for name, each, shape in zip(self.names, cut, shapes, strict=True)
        }

    def joined(self, parts: Mapping[str, Tensor], ahead: int = 1) -> Tensor:
        """What `parts` cuts, put together again; so many axes are ahead of the parameters'."""
        return torch.cat([parts[name].flatten(ahead) for name in self.names], -1)

    def call(self, theta: Tensor, inputs: Inputs) -> Any:
        """What the network returns with other chosen parameters."""
        return inputs.call(self.function(theta))

    def function(self, theta: Tensor) -> Callable[..., Any]:
        """The network with other chosen parameters, as a function."""
        state = {**self.state, **self.parts(theta)}
        return lambda *args, **kwargs: functional_call(self.model, state, args, kwargs)

    def slope(self, inputs: Inputs) -> Tensor:
        """The slope in theta (parameter,) of all numbers of an answer, by weights drawn once.

        It shows all that is made of the parameters, also where a loss is flat.
        """
        with torch.enable_grad():
            theta = self.theta.clone().requires_grad_()
            found, pulls = drawn(self.call(theta, inputs))
            if not found:
                return torch.zeros_like(theta)
            (slope,) = torch.autograd.grad(found, theta, pulls)
        return slope

    def placed(self, given: Any) -> Inputs:
        """Inputs on the device and in the precision of the parameters; integers stay integers."""
        like, inputs = self.theta, Inputs.of(given)
        kinds = [like.dtype if leaf.is_floating_point() else None for leaf in inputs.leaves]
        pairs = zip(inputs.leaves, kinds, strict=True)
        moved = [leaf.detach().to(like.device, kind) for leaf, kind in pairs]
        # What was made under inference_mode cannot be kept for a pass backwards; a copy can.
        return inputs.replace([leaf.clone() if leaf.is_inference() else leaf for leaf in moved])

    def at(self, state: Mapping[str, Tensor]) -> "Fitted":
        """The network with the weights of a checkpoint."""
        missing = [name for name in self.state if name not in state]
        known = [name for name in missing if name in dict(self.model.named_parameters())]
        if known:
            raise InputError(
                "A checkpoint must be a state dict of the model",
                found=f"one without {known[0]!r}, which has {list(state)[:4]}",
                hint="Save model.state_dict() while it is trained, and pass that.",
            )
        made = {}
        for name, own in self.state.items():
            new = state.get(name, own)
            if new.shape != own.shape:
                raise InputError(
                    f"A checkpoint must have the shapes of the model: {name!r} {list(own.shape)}",
                    got=new,
                )
            made[name] = new.detach().to(own)
        return replace(self, state=made)


def drawn(output: Any) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors of an answer that have a slope, and a weight for each of their numbers."""
    found = [leaf for _, leaf in leaves(output) if leaf.requires_grad]
    return found, [torch.randn(each.shape, generator=seeded(0)).to(each) for each in found]


def fitted(model: Any, parameters: Chosen, inputs: Any, *, last: bool) -> Fitted:
    """The network, with the parameters that are chosen, checked before any work.

    By default they are those of the last layer that runs and has some, if `last`, else all.
    """
    check_model(model)
    state = {n: _wide(t.detach()) for n, t in (*model.named_parameters(), *model.named_buffers())}
    names = [name for name, each in model.named_parameters() if each.is_floating_point()]
    trained = [name for name, each in model.named_parameters() if each.requires_grad]
    whole = Fitted(model=model, names=tuple(names), state=state)
    if parameters is None and last:
        found = _last(whole, inputs)
    elif parameters is None or parameters == "all":
        found = [name for name in names if name in trained] or names
    else:
        alike = {id(each): name for name, each in model.named_parameters()}
        every = model.named_parameters(remove_duplicate=False)
        found = _chosen(parameters, {n: alike[id(t)] for n, t in every if t.is_floating_point()})
    return replace(whole, names=tuple(found))


def check_model(model: Any) -> None:
    """Raise unless this is a torch module with parameters, whose answers are not random."""
    if not isinstance(model, nn.Module) or not any(True for _ in model.parameters()):
        raise InputError(
            "`model` must be a torch.nn.Module with parameters, which examples have influenced",
            got=model,
        )
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ModelError(
            "The model must be one of Python, whose parameters can be replaced while it runs",
            found=f"TorchScript, {type(model).__name__}",
            hint="Pass the module that was scripted or traced.",
        )
    for module in model.modules():
        if isinstance(module, _DropoutNd | _NormBase) and module.training:
            raise in_training(f"{type(module).__name__} in training mode")
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise ModelError(
                "Examples must not depend on the others of their batch",
                found=f"{type(module).__name__} without running statistics",
                hint="Train it with track_running_stats on.",
            )


def in_training(found: str) -> ModelError:
    """The error of a model whose answers are random, or depend on a batch, as while it trains."""
    return ModelError(
        "The model must be in evaluation mode, for its gradients to be those of each example",
        found=found,
        hint="Call its eval() first.",
    )


def _chosen(parameters: Chosen, names: Mapping[str, str]) -> list[str]:
    """Parameters by name, by the layer they are of, or by what a function says of their name.

    `names` has all that there are; of one with several names, each with the first of them.
    """
    if callable(parameters):
        found = [first for name, first in names.items() if parameters(name)]
        if not found:
            raise InputError(
                "`parameters` must choose at least one",
                found="a function that says no to all",
                hint=f"Their names: {', '.join([*names][:6])}{', ...' if len(names) > 6 else ''}.",
            )
        return list(dict.fromkeys(found))
    if not isinstance(parameters, str | Sequence):
        raise InputError(
            "`parameters` must be names of parameters or layers, or a function of the name",
            got=parameters,
        )
    wanted = [parameters] if isinstance(parameters, str) else list(parameters)
    layers = [name.rpartition(".")[0] for name in names]
    above = [
        ".".join(each.split(".")[: i + 1]) for each in layers for i in range(each.count(".") + 1)
    ]
    known = dict.fromkeys([*names, *(each for each in above if each)])
    for each in wanted or [""]:
        if each not in known:
            raise UnknownNameError("A parameter, or a layer with some,", each, known)
    found = [names[n] for n in names if any(n == w or n.startswith(f"{w}.") for w in wanted)]
    return list(dict.fromkeys(found))


def _last(whole: Fitted, inputs: Any) -> list[str]:
    """The parameters of the layer that runs last among those that have some of their own.

    Those that it shares with others count, and those that it is parametrized by.
    """
    names = {id(each): name for name, each in whole.model.named_parameters()}
    owned: dict[int, list[str]] = {}
    for layer in whole.model.modules():
        inner = getattr(layer, "parametrizations", None)
        held = [*layer._parameters.values(), *(inner.parameters() if inner is not None else ())]
        own = [names[id(each)] for each in held if each is not None]
        owned[id(layer)] = [name for name in whole.names if name in own]
    ran: list[int] = []

    def enter(module: nn.Module, args: Any) -> None:
        if owned.get(id(module)) and not isinstance(module, ParametrizationList):
            ran.append(id(module))

    with torch.no_grad(), hooked(enter, lambda *each: None):
        whole.call(whole.theta, whole.placed(inputs))
    return owned[ran[-1]] if ran else list(whole.names)


def _wide(tensor: Tensor) -> Tensor:
    """At least single precision, in which solving begins to make sense."""
    half = tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64)
    return tensor.float() if half else tensor
