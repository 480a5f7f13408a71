"""Every method on every network: the laws it claims, and those that hold for all.

One cell can be run alone: pytest tests/test_laws.py -k "lrp and residual". It holds every law that
is claimed, and those of all methods in turn: every method meets every law, and so does every
network. The whole product, which takes minutes, is a slow test.
"""

import warnings
from collections.abc import Iterator
from functools import cache

import pytest
import torch

import pellucid as pl
from pellucid.errors import TrainingModeWarning
from pellucid.method import named
from tests import laws, zoo
from tests.fitted import ready

# Every registered method with its defaults, made cheap where it samples, and what else is worth it.
CHEAP = {
    "smoothgrad": {"samples": 6},
    "gradient_shap": {"samples": 6},
    "rise": {"samples": 8},
    "lime": {"samples": 120, "runs": 2},
    "shapley_sampling": {"samples": 4},
    "kernel_shap": {"samples": 250},
    "meaningful_perturbation": {"steps": 4},
    "extremal_perturbation": {"steps": 4},
}
METHODS: dict[str, pl.Method] = {name: named(name, **CHEAP.get(name, {})) for name in pl.methods()}
METHODS |= {
    "saliency-absolute": pl.Saliency(reduce="absolute"),
    "smoothgrad-variance": pl.SmoothGrad(samples=6, reduce="variance"),
    "smoothgrad-lrp": pl.SmoothGrad(samples=6, method=pl.LRP(composite="epsilon")),
    "integrated_gradients-baseline": pl.IntegratedGradients(baseline=0.1, tolerance=0.05),
    "interior_gradient-several": pl.InteriorGradient(alpha=[0.3, 0.6]),
    "lrp-epsilon": pl.LRP(composite="epsilon"),
    "lrp-plus-flat": pl.LRP(composite="epsilon-plus-flat"),
    "lrp-zplus": pl.LRP(rules=pl.rules.ZPlus()),
    "deeplift-reveal": pl.DeepLIFT(rule="reveal_cancel", baseline=0.1),
    "deeplift-paper": pl.DeepLIFT(rule="paper", baseline=0.1),
}
NETWORKS = {name: zoo.load(name) for name in zoo.NETWORKS}

# Too small to show more than the laws that methods claim.
SMALL = {"linear", "affine", "deep_linear", "product", "maximum", "two_ways", "zero_weight"}

# (method, network, law) -> why it cannot hold. A method stands for its variants as well, "*" for
# all. A row whose law holds after all fails, and has to go.
EXCEPTIONS: dict[tuple[str, str, str], str] = {
    ("*", "training", "batched"): "batch statistics are those of the batch",
    ("*", "training", "unordered"): "dropout hits other samples in another order",
    ("*", "training", "repeatable"): "dropout draws from the global generator",
    ("integrated_gradients", "training", "complete"): "every pass has another dropout",
    ("deeplift", "training", "complete"): "every pass has another dropout",
    ("deep_shap", "training", "complete"): "every pass has another dropout",
    ("exact_shapley", "training", "complete"): "every pass has another dropout",
    ("shapley_sampling", "training", "complete"): "every pass has another dropout",
    ("kernel_shap", "training", "complete"): "every pass has another dropout",
    ("partition_shapley", "training", "complete"): "every pass has another dropout",
    ("deeplift", "two_ways", "invariant"): "rescaled by one function of a sum, or by two",
    ("deep_shap", "two_ways", "invariant"): "rescaled by one function of a sum, or by two",
    ("deeplift-reveal", "maximum", "invariant"): "a maximum has a winner, parts of a - b have none",
    ("deeplift-paper", "maximum", "invariant"): "a maximum has a winner, parts of a - b have none",
    ("lrp-plus-flat", "*", "linear"): "flat does not look at the weights",
    ("lrp-zplus", "*", "linear"): "z+ does not look at negative contributions",
    ("lrp-plus-flat", "zero_weight", "dummy"): "flat does not look at the weights",
    ("lrp-zplus", "zero_weight", "dummy"): "no contribution to the score is positive",
    ("deep_taylor", "zero_weight", "dummy"): "the score is not positive",
    ("lrp-plus-flat", "deep_linear", "invariant"): "two layers in one give flat other outputs",
    ("lrp-zplus", "deep_linear", "invariant"): "two layers in one have other signs",
    ("guided_backprop", "zero_weight", "dummy"): "no positive signal gets to an active unit",
    ("guided_backprop", "residual_in_place", "invariant"): "the twin rectifies before it adds up",
    ("deconvnet", "residual_in_place", "invariant"): "the twin rectifies before it adds up",
    ("taylor", "reused", "invariant"): "the twin has more classes, so another decision boundary",
    ("taylor", "views", "precise"): "where a search ends that finds no root, rounding decides",
    ("lrp", "maximum", "invariant"): "a maximum has a winner, a sum of absolute values has none",
}

# What is alike gets the same from these only in expectation, or cannot get it.
UNEVEN = {
    "smoothgrad": "noise is drawn for each element",
    "rise": "bits are drawn for each element",
    "extremal_perturbation": "an area of one of two elements must choose",
}


def base(method: str) -> str:
    """The method that refuses or not: that which is smoothed, or of which this is a variant."""
    return "lrp" if method == "smoothgrad-lrp" else method.partition("-")[0]


def reason(method: str, network: str, law: str) -> str:
    """Why a law cannot hold in one cell; empty where it must."""
    for m in (method, base(method), "*"):
        for n in (network, "*"):
            if (m, n, law) in EXCEPTIONS:
                return EXCEPTIONS[m, n, law]
    return ""


def applies(method: str, network: str, law: str) -> bool:
    """Whether a law says anything about a cell."""
    net = NETWORKS[network]
    if not laws.has_maps(METHODS[method].name, net):
        return False  # refused with a sentence: see test_messages.py
    if base(method) == "exact_shapley" and not laws.has_few_players(net):
        return False  # takes too long, or is refused with a sentence: see shapley/test_exact.py
    if law in laws.UNIVERSAL:
        if "-" in method:
            return law == "batched" and network not in SMALL
        return law == "follows" or network not in SMALL
    if law not in METHODS[method].laws:
        return False
    known = {"linear": net.affine or None, "dummy": net.ignored, "invariant": net.twin}
    return known.get(law, True) is not None


LAWS = laws.CLAIMED | laws.UNIVERSAL
TURNS = [law for law in laws.UNIVERSAL if law != "follows"]


def is_due(method: str, network: str, law: str) -> bool:
    """Whether a law is of the quick run: one of five in turn, all else, and the exceptions."""
    if law not in TURNS or (method, network, law) in EXCEPTIONS:
        return True
    place = list(METHODS).index(method) + 2 * list(NETWORKS).index(network) + TURNS.index(law)
    return place % len(TURNS) == 0


def asked(method: str, network: str) -> list[str]:
    """The laws of the whole product that say something about a cell."""
    return [law for law in LAWS if applies(method, network, law)]


def cells() -> Iterator[object]:
    for method in METHODS:
        for network in NETWORKS:
            due = [law for law in asked(method, network) if is_due(method, network, law)]
            if due:
                yield pytest.param(method, network, due, id=f"{method}-{network}")


@cache
def fitted(method: str, network: str) -> pl.Method:
    """The method; with patterns of the network, if it walks by patterns."""
    net = NETWORKS[network]
    return ready(METHODS[method], net.model, net.inputs)


def holds(method: str, network: str, law: str) -> Exception | None:
    """What is wrong with one law in one cell, if anything."""
    torch.manual_seed(0)  # as if it were alone
    why = reason(method, network, law)
    try:
        LAWS[law](fitted(method, network), NETWORKS[network])
    except Exception as error:
        error.add_note(f"{law} of {method} on {network}")
        return None if why else error
    return AssertionError(f"{law} of {method} on {network} holds, though {why}") if why else None


def check(method: str, network: str, due: list[str]) -> None:
    with warnings.catch_warnings():
        if network == "training":
            warnings.simplefilter("ignore", TrainingModeWarning)
        broken = [holds(method, network, law) for law in due]
    if any(broken):
        raise ExceptionGroup("Laws are broken", [error for error in broken if error])


@pytest.mark.parametrize(("method", "network", "due"), list(cells()))
def test_what_a_method_claims_and_what_holds_for_all(method, network, due):
    check(method, network, due)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_law_in_every_cell(method):
    for network in NETWORKS:
        check(method, network, asked(method, network))


@pytest.mark.parametrize("all_of", [METHODS, NETWORKS], ids=["methods", "networks"])
def test_every_law_has_its_turn_with_all(all_of):
    """A method or a network that a law says something about meets it in the quick run too."""
    place = 0 if all_of is METHODS else 1
    product = [(m, n, law) for m in METHODS for n in NETWORKS for law in asked(m, n)]
    quick = {(cell[place], cell[2]) for cell in product if is_due(*cell)}
    assert quick == {(cell[place], cell[2]) for cell in product}


def test_a_broken_law_is_named_and_an_exception_that_is_none_too(monkeypatch):
    def breaks(method: pl.Method, net: object) -> None:
        assert method.name != "saliency"

    monkeypatch.setitem(LAWS, "shared", breaks)
    monkeypatch.setitem(EXCEPTIONS, ("gradient_x_input", "linear", "shared"), "it would be hard")
    with pytest.raises(ExceptionGroup) as info:
        check("saliency", "linear", ["follows", "shared"])
    assert info.value.exceptions[0].__notes__ == ["shared of saliency on linear"]
    with pytest.raises(ExceptionGroup) as info:
        check("gradient_x_input", "linear", ["follows", "shared"])
    assert "linear holds, though it would be hard" in str(info.value.exceptions[0])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_says_what_it_claims(method):
    made = METHODS[method]
    assert made.laws <= set(laws.CLAIMED)
    assert made.name in pl.methods()
    assert made.answers.endswith("?")
    assert made.weakness.endswith(".")


@pytest.mark.parametrize(
    "name", [name for name, net in NETWORKS.items() if net.gradient is not None]
)
def test_saliency_is_the_gradient_worked_out_by_hand(name):
    laws.known_gradient(pl.Saliency(), NETWORKS[name])


@pytest.mark.parametrize(
    "method",
    [
        m
        for m, method in METHODS.items()
        if m.partition("-")[0] not in UNEVEN and laws.has_maps(method.name, NETWORKS["symmetric"])
    ],
)
def test_what_is_alike_gets_the_same(method):
    laws.symmetric(fitted(method, "symmetric"), NETWORKS["symmetric"])


def test_no_exception_is_about_something_that_does_not_exist():
    for method, network, law in EXCEPTIONS:
        assert method in {"*", *METHODS}
        assert network in {"*", *NETWORKS}
        assert law in LAWS
