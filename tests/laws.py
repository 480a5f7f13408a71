"""The laws that methods claim, and those that hold for every method. Each raises where broken.

A law takes a method and a network of the zoo. Those of `CLAIMED` are checked where the method
claims them (`Method.laws`), those of `UNIVERSAL` for all.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close

import pellucid as pl
from pellucid.structure import Inputs, leaves
from tests.zoo.network import Network, cast

Law = Callable[[pl.Method, Network], None]


def again(method: pl.Method, net: Network, **options: Any) -> pl.Explanation:
    """Explain a network, and let incomplete answers through: the laws look for themselves."""
    return method(net.model, net.inputs, target=net.target, on_incomplete="ignore", **options)


explain = lru_cache(maxsize=64)(again)  # most laws begin with the same answer


def has_maps(name: str, net: Network) -> bool:
    """Whether a method finds the maps it needs in a network; those that need none always do."""
    if not pl.methods()[name].__module__.startswith("pellucid.cam"):
        return True
    return net.pooled if name == "cam" else net.maps


def has_few_players(net: Network) -> bool:
    """Whether all coalitions of the players of the inputs are soon scored, two in a batch."""
    return pl.Features.of(None).players(Inputs.of(net.inputs)).count <= 8


def parts(structure: Any) -> tuple[Tensor, ...]:
    """The tensors of a structure."""
    return tuple(leaf for _, leaf in leaves(structure))


def linear(method: pl.Method, net: Network) -> None:
    """On an affine model, each element gets its weight times its distance from the baseline."""
    found = explain(method, net)
    distance = net.inputs
    if found.baseline is not None:
        distance = distance - found.baseline.single(Inputs.of(net.inputs)).leaves[0]
    assert_close(found.values, net.gradient * distance, rtol=1e-4, atol=1e-5)


def dummy(method: pl.Method, net: Network) -> None:
    """What the model ignores gets zero, and what it does not ignore gets something."""
    found = explain(method, net).values
    for value, ignored in zip(parts(found), parts(net.ignored), strict=True):
        assert torch.equal(value[ignored], torch.zeros_like(value[ignored]))
    assert sum(float(value.abs().sum()) for value in parts(found)) > 0


def invariant(method: pl.Method, net: Network) -> None:
    """The same function written differently gets the same answer."""
    found = again(method, replace(net, model=net.twin))
    assert_close(found.values, explain(method, net).values, rtol=1e-5, atol=1e-8)


def complete(method: pl.Method, net: Network) -> None:
    """The values of each sample sum to the score less that of the baseline; both run here again."""
    found = explain(method, net)
    inputs = Inputs.of(net.inputs)
    baseline = getattr(method, "baseline", None)
    expected = score(net, inputs)
    if not inputs.leaves[0].is_floating_point():
        expected = found.completeness.expected  # a baseline of embeddings: see test_tokens.py
    elif baseline is not None:
        expected = expected - score(net, baseline.single(inputs))
    if found.players is not None:  # of several elements, which all show its value
        total = found.players.sum(1).to(expected)
    else:
        total = sum(value.flatten(1).sum(1) for value in parts(found.values))
    tolerance = getattr(method, "tolerance", None) or 1e-4
    assert_close(total, expected, rtol=tolerance, atol=1e-6)
    assert_close(found.completeness.explained, total, rtol=1e-6, atol=1e-8, check_dtype=False)
    assert_close(found.completeness.expected, expected, rtol=1e-6, atol=1e-8, check_dtype=False)


def score(net: Network, inputs: Inputs) -> Tensor:
    """The explained score at some inputs, of the class predicted at the network's own."""
    with torch.no_grad():
        model = (
            net.twin if isinstance(list(net.model.modules())[-1], torch.nn.Softmax) else net.model
        )
        here = Inputs.of(net.inputs)
        target = pl.Target.of(net.target).resolve(_fresh(here).call(model), here.rows)
        output = _fresh(inputs).call(model)
        return target.score(output, output)


def _fresh(inputs: Inputs) -> Inputs:
    """Copies, for a model that writes to its input."""
    return inputs.replace([leaf.clone() for leaf in inputs.leaves])


CLAIMED: dict[str, Law] = {
    "linear": linear,
    "dummy": dummy,
    "invariant": invariant,
    "complete": complete,
}


def follows(method: pl.Method, net: Network) -> None:
    """Values have the structure, shape, type and device of the inputs, and hold no graph."""
    found = explain(method, net)
    assert type(found.values) is type(net.inputs)
    for value, leaf in zip(parts(found.values), parts(net.inputs), strict=True):
        maps = value.shape == (len(leaf), 1, *leaf.shape[2:])
        assert value.shape == leaf.shape or maps
        assert value.dtype == (leaf.dtype if leaf.is_floating_point() else torch.float64)
        assert value.device == leaf.device
        assert not value.requires_grad
        assert value.isfinite().all()
    rows = len(parts(net.inputs)[0])
    assert found.score.shape == (rows,)
    assert not found.score.requires_grad
    assert not any(leaf.requires_grad for _, leaf in leaves(found.output))
    if found.completeness is not None:
        assert found.completeness.residual.shape == (rows,)
    if found.error is not None:
        assert [e.shape for e in parts(found.error)] == [v.shape for v in parts(found.values)]


def repeatable(method: pl.Method, net: Network) -> None:
    """The same seed gives the same answer, bit by bit, whatever else draws random numbers."""
    first = explain(method, net)
    torch.rand(3)
    second = again(method, net)
    assert_close(second.values, first.values, rtol=0, atol=0)
    assert_close(second.score, first.score, rtol=0, atol=0)


def batched(method: pl.Method, net: Network) -> None:
    """The batch size does not matter: of two samples one at a time, of more two."""
    whole = explain(method, net)
    cut = again(method, net, batch_size=1 if len(whole.score) == 2 else 2)
    assert_close(cut.values, whole.values, rtol=1e-5, atol=1e-7)
    assert_close(cut.score, whole.score, rtol=1e-5, atol=1e-7)


def unordered(method: pl.Method, net: Network) -> None:
    """The order of the samples does not matter, nor what else is in the batch."""
    whole = explain(method, net)
    inputs = Inputs.of(net.inputs)
    flipped = inputs.select(torch.arange(inputs.rows).flip(0))
    found = again(method, replace(net, inputs=flipped.pack(flipped.leaves)))
    for value, expected in zip(parts(found.values), parts(whole.values), strict=True):
        assert_close(value.flip(0), expected, rtol=1e-5, atol=1e-7)
    alone = inputs.select(slice(0, 1))
    found = again(method, replace(net, inputs=alone.pack(alone.leaves)))
    for value, expected in zip(parts(found.values), parts(whole.values), strict=True):
        assert_close(value, expected[:1], rtol=1e-5, atol=1e-7)


def precise(method: pl.Method, net: Network) -> None:
    """Single precision gives the answer of double precision."""
    double = explain(method, net).values
    single = again(
        method, cast(replace(net, model=deepcopy(net.model), twin=None), torch.float32)
    ).values
    for value, expected in zip(parts(single), parts(double), strict=True):
        assert value.dtype == torch.float32
        scale = max(1.0, float(expected.abs().max()))
        tolerance = getattr(method, "tolerance", None) or 1e-3
        assert_close(value.double() / scale, expected / scale, rtol=tolerance, atol=1e-4)


def shared(method: pl.Method, net: Network) -> None:
    """From the one recording of `compare` comes the answer of `explain`."""
    alone = explain(method, net)
    found = pl.compare(
        net.model, net.inputs, [method, "saliency"], target=net.target, on_incomplete="ignore"
    )[0]
    assert_close(found.values, alone.values, rtol=1e-5, atol=1e-7)
    assert_close(found.score, alone.score, rtol=1e-5, atol=1e-7)
    assert found.target == alone.target


UNIVERSAL: dict[str, Law] = {
    "follows": follows,
    "repeatable": repeatable,
    "batched": batched,
    "unordered": unordered,
    "precise": precise,
    "shared": shared,
}


def symmetric(method: pl.Method, net: Network) -> None:
    """Two elements that the model treats alike, and that are equal, get equal values."""
    (values,) = parts(explain(method, net).values)
    assert_close(values[:, 0], values[:, 1], rtol=1e-6, atol=1e-9)


def known_gradient(method: pl.Method, net: Network) -> None:
    """The gradient that was worked out by hand."""
    assert_close(explain(method, net).values, net.gradient, rtol=1e-8, atol=1e-10)
