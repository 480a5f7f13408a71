"""Gradients of linear layers and convolutions, as sums of products of what goes in and comes back.

Of a layer with weights W the gradient of one example is a sum over places (positions of a
convolution, tokens, calls of a layer that is used twice) of  b a^T: what came in, a, with a one
where there is a bias, and what the loss pulls at what went out with, b.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

from pellucid.errors import ModelError
from pellucid.exemplar.influence.fitted import Fitted
from pellucid.structure import Inputs
from pellucid.tape.paths import hooked

# A tensor of an answer, or several, and what it is pulled with: with ones, if with nothing.
End: TypeAlias = "tuple[Tensor | Sequence[Tensor], Tensor | Sequence[Tensor] | None]"

LEAVE_OUT = "Leave out the layer: name the others as `parameters`."

KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d)


class Flow(NamedTuple):
    """What went in (sample, place, in) and what is pulled at what came out (sample, place, out)."""

    a: Tensor
    b: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """One layer: its weight, its bias, or both, by name."""

    layer: str
    module: Any
    weight: str | None
    bias: str | None

    @property
    def sizes(self) -> tuple[int, int]:
        """How much goes in, with the one of a bias, and how much comes out."""
        shape = self.module.weight.shape
        ins = shape[1:].numel() if self.weight else 0
        return ins + bool(self.bias), shape[0]

    def matrices(self, parts: dict[str, Tensor]) -> Tensor:
        """Parameters by name as matrices (row, out, in)."""
        found = []
        if self.weight:
            found.append(parts[self.weight].flatten(2))
        if self.bias:
            found.append(parts[self.bias].unsqueeze(2))
        return torch.cat(found, 2)

    def parts(self, matrices: Tensor) -> dict[str, Tensor]:
        """Matrices (row, out, in) as parameters by name, flat."""
        found = {}
        if self.weight:
            ins = self.sizes[0] - bool(self.bias)
            found[self.weight] = matrices[:, :, :ins].flatten(1)
        if self.bias:
            found[self.bias] = matrices[:, :, -1]
        return found

    def inward(self, x: Tensor) -> Tensor:
        """What goes in at each place: (sample, place, in)."""
        found = []
        if self.weight:
            found.append(patches(self.module, x))
        if self.bias:
            places = found[0].shape[1] if found else self._places(x)
            found.append(x.new_ones(len(x), places, 1))
        return torch.cat(found, 2)

    def outward(self, pulled: Tensor) -> Tensor:
        """What is pulled at what comes out, at each place: (sample, place, out)."""
        if isinstance(self.module, nn.Linear):
            return pulled.reshape(len(pulled), -1, pulled.shape[-1])
        return pulled.flatten(2).mT

    def _places(self, x: Tensor) -> int:
        return patches(self.module, x[:1]).shape[1]


def patches(module: Any, x: Tensor) -> Tensor:
    """What a linear layer or a convolution weighs at each place: (sample, place, in)."""
    if isinstance(module, nn.Linear):
        return x.reshape(len(x), -1, x.shape[-1])
    if isinstance(module, nn.Conv1d):
        x = x.unsqueeze(2)
    sides = [(0, 0)] * (4 - x.ndim) + _sides(module)
    flat = [n for side in reversed(sides) for n in side]
    one = (1,) if isinstance(module, nn.Conv1d) else ()
    return unfold(
        pad(x, flat),
        (*one, *module.kernel_size),
        dilation=(*one, *module.dilation),
        stride=(*one, *module.stride),
    ).mT


def _sides(module: Any) -> list[tuple[int, int]]:
    """How far a convolution looks over the edge, before and after, on each axis."""
    if module.padding == "valid":
        return [(0, 0)] * len(module.kernel_size)
    if module.padding == "same":
        reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        return [(n // 2, n - n // 2) for n in reach]
    return [(n, n) for n in module.padding]


def blocks_of(fitted: Fitted) -> tuple[list[Block], list[str]]:
    """The layers of the chosen parameters, and the parameters of layers of other kinds."""
    modules = dict(fitted.model.named_modules())
    held: dict[str, dict[str, str]] = {}
    strange = []
    for name in fitted.names:
        layer, _, own = name.rpartition(".")
        if own in ("weight", "bias") and is_known(modules[layer]):
            held.setdefault(layer, {})[own] = name
        else:
            strange.append(name)
    made = [
        Block(layer=name, module=modules[name], weight=own.get("weight"), bias=own.get("bias"))
        for name, own in held.items()
    ]
    return made, strange


def is_known(module: Any) -> bool:
    """Whether the gradient of a layer is a sum of products that is known here."""
    if not isinstance(module, KINDS) or type(module) not in KINDS:
        return False
    return isinstance(module, nn.Linear) or (module.groups == 1 and module.padding_mode == "zeros")


@contextmanager
def _watched(blocks: Sequence[Block], ins: list[Any], outs: list[Tensor]) -> Iterator[None]:
    """Keep what goes in and out of layers while a network runs, by block and tensor."""
    places = {id(block.module): place for place, block in enumerate(blocks)}

    def leave(module: nn.Module, args: Any, output: Any) -> Any:
        if id(module) not in places:
            return None
        if not args or not isinstance(args[0], Tensor):
            raise ModelError(
                "Layers must be called with their input first, by position, for `ekfac`",
                found=f"{blocks[places[id(module)]].layer!r}, which is not",
                hint=LEAVE_OUT,
            )
        ins.append((places[id(module)], args[0].detach()))
        outs.append(output)
        return output.clone()  # what a network writes over its output does not reach ours

    with hooked(lambda *each: None, leave):
        yield


def flows(
    blocks: Sequence[Block], fitted: Fitted, inputs: Inputs, ends: Callable[[Any], Iterable[End]]
) -> Iterator[list[Flow]]:
    """What flows in and back through each block: one list for each of the ends of an answer.

    `ends` makes of the answer tensors that are pulled at, and what they are pulled with.
    """
    ins: list[Any] = []
    outs: list[Tensor] = []
    theta = fitted.theta.clone().requires_grad_()
    with torch.enable_grad(), _watched(blocks, ins, outs):
        made = list(ends(fitted.call(theta, inputs)))
    _check(blocks, ins, inputs.rows)
    inward = [blocks[place].inward(x) for place, x in ins]
    for tensors, pulls in made:
        pulled = torch.autograd.grad(
            tensors, outs, pulls, retain_graph=len(made) > 1, materialize_grads=True
        )
        found: dict[int, list[tuple[Tensor, Tensor]]] = {}
        for (place, _), a, b in zip(ins, inward, pulled, strict=True):
            found.setdefault(place, []).append((a, blocks[place].outward(b)))
        yield [
            Flow(torch.cat([a for a, _ in each], 1), torch.cat([b for _, b in each], 1))
            for each in (found[place] for place in range(len(blocks)))
        ]


def _check(blocks: Sequence[Block], ins: Sequence[tuple[int, Tensor]], rows: int) -> None:
    """Raise unless each layer has run, on one row for each sample."""
    missing = set(range(len(blocks))) - {place for place, _ in ins}
    if missing:
        raise ModelError(
            "The layers that influence is asked about must run",
            found=f"{blocks[min(missing)].layer!r}, which did not",
            hint="Name layers that do as `parameters`.",
        )
    mixed = [place for place, x in ins if len(x) != rows]
    if mixed:
        raise ModelError(
            "Layers must have one row for each sample along their first axis, for `ekfac`",
            found=f"{blocks[mixed[0]].layer!r}, which does not",
            hint=f"{LEAVE_OUT} With the batch first, and no axis of tokens joined to it, it can "
            "stay.",
        )
