"""The layers of a model in the order in which they run, and how their parameters are randomized."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule

from pellucid.errors import InputError, UnknownNameError
from pellucid.program import call
from pellucid.seeding import seeded
from pellucid.structure import Inputs
from pellucid.tape.record import flags

OWN_NOTE = "`{}` has no initializer: its parameters became normal numbers of their mean and spread."
ROOT = "the model"


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """What is randomized together: a layer, and the norms that run between it and the next.

    `number` counts from the output; `parts` are the modules by their paths, the layer first, and
    `tensors` the parameters of each; one that several modules share is only the last's.
    """

    number: int
    parts: dict[str, nn.Module]
    tensors: tuple[tuple[nn.Parameter, ...], ...]

    @property
    def path(self) -> str:
        """The path of the layer."""
        return next(iter(self.parts))

    @property
    def name(self) -> str:
        """What it is called."""
        return self.path or ROOT

    def restore(self, original: nn.Module) -> None:
        """Give its modules what those of the model hold that they are copies of."""
        with torch.no_grad():
            for path, module in self.parts.items():
                _copy_into(_held(module), _held(original.get_submodule(path)))


def _held(module: nn.Module) -> list[Tensor]:
    """The parameters and buffers of a module itself."""
    both = (*module._parameters.values(), *module._buffers.values())
    return [tensor for tensor in both if tensor is not None]


def _copy_into(tensors: Sequence[Tensor], contents: Sequence[Tensor]) -> None:
    for tensor, content in zip(tensors, contents, strict=True):
        tensor.copy_(content)


def steps_of(model: nn.Module, inputs: Inputs, layers: int | Sequence[str] | None) -> list[Step]:
    """The layers of a model with parameters, from the output to the input.

    A module that has only scales and offsets (tensors of one axis, as norms do) goes with the layer
    that ran before it. Those that never run by themselves go with what they are a part of.
    """
    names = {module: path for path, module in model.named_modules()}
    own = _own_tensors(names)
    times = _times(model, inputs)
    ordered = sorted(own, key=lambda module: _time(names[module], names, times))
    groups: list[list[nn.Module]] = []
    for module in ordered:
        if groups and all(tensor.ndim < 2 for tensor in own[module]):
            groups[-1].append(module)
        else:
            groups.append([module])
    found = [
        Step(
            number=number,
            parts={names[module]: module for module in group},
            tensors=tuple(own[module] for module in group),
        )
        for number, group in enumerate(reversed(groups))
    ]
    if not found:
        raise InputError("A model must have parameters to be randomized", got=model)
    return found if layers is None else _chosen(found, layers)


def _chosen(steps: list[Step], layers: int | Sequence[str]) -> list[Step]:
    """So many from the output on, or those that are the named layers, or parts of them."""
    if isinstance(layers, int):
        if layers > len(steps):
            raise InputError(
                f"`layers` must be at most the {len(steps)} that the model has", got=layers
            )
        return steps[:layers]
    for path in layers:
        if not any(_is_part(step.path, path) for step in steps):
            raise UnknownNameError("A layer with weights", path, [step.path for step in steps])
    return [step for step in steps if any(_is_part(step.path, path) for path in layers)]


def _is_part(path: str, of: str) -> bool:
    return path == of or path.startswith(f"{of}.") or not of


def _own_tensors(names: dict[nn.Module, str]) -> dict[nn.Module, tuple[nn.Parameter, ...]]:
    """The parameters of each module itself; one that several share is only the last's."""
    owner = {id(p): module for module in names for p in module._parameters.values()}
    found = {}
    for module in names:
        own = tuple(
            p for p in module._parameters.values() if p is not None and owner[id(p)] is module
        )
        if own:
            found[module] = own
    return found


def _times(model: nn.Module, inputs: Inputs) -> dict[nn.Module, int]:
    """When each module begins to run, the last time that it does."""
    found: dict[nn.Module, int] = {}
    number = iter(range(10**9))
    compiled = [name for name, module in model.named_modules() if isinstance(module, ScriptModule)]
    if compiled:
        raise InputError(
            "The calls of all modules must be seen for them to be randomized one after another",
            found=f"{compiled[0] or ROOT} in TorchScript",
            hint="Give the model as it was before it was scripted or traced.",
        )

    def enter(module: nn.Module, args: object) -> None:
        found[module] = next(number)

    hooks = [module.register_forward_pre_hook(enter) for module in model.modules()]
    try:
        with torch.no_grad(), flags(model):
            call(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _time(path: str, names: dict[nn.Module, str], times: dict[nn.Module, int]) -> int:
    """When a module runs; of one that does not, the time of what it is a part of."""
    modules = {name: module for module, name in names.items()}
    while modules[path] not in times:
        path = path.rpartition(".")[0]
    return times[modules[path]]


@dataclass(kw_only=True)
class Randomizer:
    """Gives the parameters of layers random numbers, the same for the same seed and draw."""

    how: Literal["initialize", "permute", "normal"]
    seed: int
    notes: list[str] = field(default_factory=list)

    def __call__(self, step: Step, draw: int) -> None:
        """Randomize what belongs to one layer."""
        for number, module in enumerate(step.parts.values()):
            tensors = step.tensors[number]
            generator = seeded(self.seed, draw, step.number, number)
            if self.how != "initialize":
                _fill(tensors, generator, permute=self.how == "permute")
            elif not _initialized(module, tensors, generator):
                note = OWN_NOTE.format(step.name)
                self.notes += [note] if note not in self.notes else []
                _fill(tensors, generator, permute=False)


@torch.no_grad()
def _fill(tensors: Sequence[Tensor], generator: torch.Generator, *, permute: bool) -> None:
    for tensor in tensors:
        plain = tensor.detach().reshape(-1).double().cpu()
        if permute:
            made = plain[torch.randperm(len(plain), generator=generator)]
        else:
            drawn = torch.randn(len(plain), generator=generator, dtype=torch.float64)
            made = plain.mean() + plain.std(correction=0) * drawn
        tensor.copy_(made.reshape(tensor.shape))


def _initialized(module: nn.Module, tensors: Sequence[Tensor], generator: torch.Generator) -> bool:
    """Whether a module has set all of its parameters anew, by the initializer that it has.

    One that also resets the modules that are parts of it leaves those as they were.
    """
    reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    if reset is None:
        return False
    inner = [tensor for part in module.modules() if part is not module for tensor in _held(part)]
    kept = [tensor.detach().clone() for tensor in inner]
    versions = [tensor._version for tensor in tensors]
    with _random_from(generator.initial_seed(), tensors), torch.no_grad():
        reset()
        _copy_into(inner, kept)
    return all(t._version > before for t, before in zip(tensors, versions, strict=True))


@contextmanager
def _random_from(seed: int, tensors: Sequence[Tensor]) -> Iterator[None]:
    """Torch's own generators from a seed, and as they were afterwards."""
    devices = sorted({tensor.device.index for tensor in tensors if tensor.is_cuda})
    with torch.random.fork_rng(devices=devices):
        torch.random.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(seed)
        yield
