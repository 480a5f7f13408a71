"""Every law can fail: broken methods and rules, and the law that has to notice each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

import pellucid as pl
from pellucid.case import Case
from pellucid.method import Attribution, Method
from pellucid.propagate.linear import Linear
from pellucid.propagate.rules import Epsilon, Rule, Share
from tests import laws, zoo

Change = Callable[[Attribution, Case], Attribution]


@dataclass(frozen=True, kw_only=True)
class Mutant(Method):
    """A method whose answer is changed on the way out."""

    laws: ClassVar[frozenset[str]] = frozenset()

    method: Method
    change: Change

    def attribute(self, case: Case) -> Attribution:
        """What the method says, broken."""
        return self.change(self.method.attribute(case), case)

    @property
    def baseline(self) -> pl.Baseline:
        """That of the method, for the law that looks at it."""
        return getattr(self.method, "baseline", None)


def on_values(change: Callable[[Tensor], Tensor]) -> Change:
    return lambda found, case: replace(found, values=[change(v) for v in found.values])


def drop_first(values: Tensor) -> Tensor:
    kept = values.clone()
    kept.view(len(kept), -1)[:, 0] = 0
    return kept


def constant(values: Tensor) -> Tensor:
    return values + 0.01


def noise(values: Tensor) -> Tensor:
    return values + 0.01 * torch.randn_like(values)


def by_rank(values: Tensor) -> Tensor:
    return values + torch.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))


def with_batch(values: Tensor) -> Tensor:
    return values - values.mean(0, keepdim=True)


def of_output(found: Attribution, case: Case) -> Attribution:
    """Depends on how the network is written: on the number of operations it takes."""
    return replace(found, values=[v * (1 + 0.01 * len(case.tape)) for v in found.values])


def keep_graph(found: Attribution, case: Case) -> Attribution:
    return replace(found, values=[v.detach().requires_grad_() for v in found.values])


def scale_by_type(values: Tensor) -> Tensor:
    return values * (1.1 if values.dtype is torch.float32 else 1.0)


def only_alone(found: Attribution, case: Case) -> Attribution:
    """Another answer where the recording is shared."""
    return replace(found, values=[v * (2.0 if case.shared else 1.0) for v in found.values])


GRADIENT = pl.GradientXInput()
INTEGRATED = pl.IntegratedGradients()

# What is broken -> the method, how, a network that shows it, and the law that must fail.
MUTANTS: dict[str, tuple[Method, Change, str, str]] = {
    "sign flipped": (GRADIENT, on_values(torch.neg), "linear", "linear"),
    "sign flipped, in sum": (INTEGRATED, on_values(torch.neg), "perceptron", "complete"),
    "one feature dropped": (GRADIENT, on_values(drop_first), "affine", "linear"),
    "one player dropped, in sum": (
        pl.ExactShapley(),
        lambda found, case: replace(found, players=drop_first(found.players)),
        "perceptron",
        "complete",
    ),
    "one feature dropped, in sum": (INTEGRATED, on_values(drop_first), "quadratic", "complete"),
    "noise added": (GRADIENT, on_values(noise), "perceptron", "repeatable"),
    "noise added to what is ignored": (GRADIENT, on_values(noise), "unread", "dummy"),
    "a constant added to what is ignored": (GRADIENT, on_values(constant), "unread", "dummy"),
    "nothing found": (GRADIENT, on_values(torch.zeros_like), "unread", "dummy"),
    "baseline ignored": (
        pl.IntegratedGradients(baseline=0.5),
        lambda found, case: pl.IntegratedGradients().attribute(case),
        "perceptron",
        "complete",
    ),
    "baseline ignored, in a line": (
        pl.IntegratedGradients(baseline=0.5),
        lambda found, case: pl.IntegratedGradients().attribute(case),
        "linear",
        "linear",
    ),
    "the root is another": (
        pl.SimpleTaylor(),
        lambda found, case: replace(found, reference=[r + 0.1 for r in found.reference]),
        "affine",
        "linear",
    ),
    "the expected sum is made to fit": (
        INTEGRATED,
        lambda found, case: replace(
            found, values=[2 * v for v in found.values], expected=2 * found.expected
        ),
        "perceptron",
        "complete",
    ),
    "looks at how it is written": (GRADIENT, of_output, "deep_linear", "invariant"),
    "mean of the batch taken off": (GRADIENT, on_values(with_batch), "perceptron", "batched"),
    "position in the batch added": (GRADIENT, on_values(by_rank), "perceptron", "unordered"),
    "other numbers in single precision": (
        GRADIENT,
        on_values(scale_by_type),
        "perceptron",
        "precise",
    ),
    "type lost": (GRADIENT, on_values(lambda v: v.float()), "perceptron", "follows"),
    "axis lost": (GRADIENT, on_values(lambda v: v.flatten(1)[:, :-1]), "perceptron", "follows"),
    "not finite": (GRADIENT, on_values(lambda v: v / 0), "perceptron", "follows"),
    "graph kept": (GRADIENT, keep_graph, "perceptron", "follows"),
    "another answer in company": (GRADIENT, only_alone, "perceptron", "shared"),
}


@pytest.mark.parametrize("broken", MUTANTS)
def test_the_law_notices(broken):
    method, change, network, name = MUTANTS[broken]
    law = (laws.CLAIMED | laws.UNIVERSAL)[name]
    law(method, zoo.load(network))
    with pytest.raises(AssertionError):
        law(Mutant(method=method, change=change), zoo.load(network))


def test_every_law_has_a_mutant():
    assert {name for *_, name in MUTANTS.values()} == set(laws.CLAIMED | laws.UNIVERSAL)


def test_symmetry_and_the_known_gradient_notice():
    left = Mutant(method=pl.Saliency(), change=on_values(drop_first))
    with pytest.raises(AssertionError):
        laws.symmetric(left, zoo.load("symmetric"))
    with pytest.raises(AssertionError):
        laws.known_gradient(left, zoo.load("quadratic"))


# Rules


def conserves(rule: Rule, network: str = "residual") -> None:
    net = zoo.load(network)
    found = pl.explain(net.model, net.inputs, "lrp", target=0, rules=rule, on_incomplete="raise")
    torch.testing.assert_close(found.values.flatten(1).sum(1), found.score, rtol=1e-4, atol=1e-6)


@dataclass(frozen=True, kw_only=True)
class Doubled(Epsilon):
    """Hands on twice what it gets."""

    def share(self, linear: Linear, signal: Tensor) -> Share:
        found = super().share(linear, signal)
        return replace(found, signals=[2 * s for s in found.signals])


@dataclass(frozen=True, kw_only=True)
class Dropping(Epsilon):
    """Loses what the first input got."""

    def share(self, linear: Linear, signal: Tensor) -> Share:
        found = super().share(linear, signal)
        return replace(found, signals=[drop_first(s) for s in found.signals])


@dataclass(frozen=True, kw_only=True)
class Booking(Epsilon):
    """Books a bias that is not there, and gives that much less."""

    def share(self, linear: Linear, signal: Tensor) -> Share:
        found = super().share(linear, signal)
        lost = sum(0.1 * s.sum() for s in found.signals)
        return replace(found, signals=[0.9 * s for s in found.signals], bias=found.bias + lost)


def test_the_real_rule_conserves():
    conserves(Epsilon())


@pytest.mark.parametrize("rule", [Doubled(), Dropping()], ids=lambda rule: rule.name)
def test_relevance_that_is_made_or_lost_is_announced(rule):
    with pytest.raises(pl.errors.IncompleteError, match=rf"missing, .*rule {rule.name}"):
        conserves(rule)


def test_relevance_that_is_booked_for_no_reason_is_not_conserved():
    with pytest.raises(AssertionError):
        conserves(Booking())


def test_relevance_doubled_at_joins_is_announced(monkeypatch):
    """An addition that hands all to both, as a gradient does: the fault of many libraries."""
    from pellucid.propagate.rules.families import DEFAULTS
    from pellucid.propagate.rules.signals import Sum

    class ToBoth(Sum):
        def share(self, operation: object, signals: list[Tensor], layout: object) -> Share:
            return Share([signals[0] if value.depends else None for value in operation.slots])

    monkeypatch.setitem(DEFAULTS, "sum", ToBoth())
    with pytest.raises(pl.errors.IncompleteError, match=r"most of it at add .*rule Epsilon"):
        conserves(Epsilon())
    net = zoo.load("residual")
    with pytest.warns(pl.errors.IncompleteWarning, match=r"See explanation\.ledger"):
        found = pl.explain(net.model, net.inputs, "lrp", target=0)
    assert abs(found.ledger.residual) > 1e-3
    assert found.ledger.leak().name == "add"
    pl.explain(net.model, net.inputs, "lrp", target=0, on_incomplete="ignore")


# Family of operations without weights -> a network that has one, and the operation.
FAMILIES = {
    "product": ("gated", "mul"),
    "matmul": ("attention", "bmm"),
    "norm": ("attention", "native_layer_norm"),
    "scale": ("group_norm", "mul"),
    "activation": ("perceptron", "relu"),
}


@pytest.mark.parametrize("factor", [0.0, 2.0], ids=["lost", "doubled"])
@pytest.mark.parametrize("family", FAMILIES)
def test_relevance_doubled_or_lost_without_weights_is_announced(family, factor, monkeypatch):
    """Twice what arrives at a product, zeros behind a norm: the faults of other libraries."""
    from pellucid.propagate.rules.families import DEFAULTS

    network, name = FAMILIES[family]
    right = DEFAULTS[family]

    class Broken(type(right)):
        def share(self, *given: object) -> Share:
            found = right.share(*given)
            return replace(found, signals=[s if s is None else s * factor for s in found.signals])

    monkeypatch.setitem(DEFAULTS, family, Broken())
    net = zoo.load(network)
    with pytest.raises(pl.errors.IncompleteError, match=rf"missing, most of it at {name} "):
        conserves_somehow(net)
    monkeypatch.undo()
    conserves_somehow(net)


def conserves_somehow(net: zoo.Network) -> None:
    """Biases may keep a share, and say so."""
    method = pl.LRP(composite="epsilon")
    method(net.model, net.inputs, target=0, on_incomplete="raise")
