"""What holds for every metric of the registry, on images, texts, signals and tables."""

import dataclasses
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.evaluate import Found, Metric, metrics
from tests.zoo.network import normal, seeded

SAMPLES = 4


@dataclass(frozen=True, eq=False)
class Case:
    """A model, inputs with one channel or one value a token, and what is important in them."""

    model: nn.Module
    inputs: Tensor
    masks: Tensor

    @property
    def given(self) -> dict[str, Any]:
        """What metrics may need."""
        return {"masks": self.masks, "labels": torch.arange(SAMPLES) % 3}


class Bag(nn.Module):
    """Scores of the mean embedding of ids."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.body, self.head = nn.Embedding(9, 4), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(self.embed(ids))).mean(1))


def made(kind: str) -> tuple[nn.Module, Tensor]:
    if kind == "image":
        layers = nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 144, 3)
        return nn.Sequential(*layers), normal(SAMPLES, 1, 12, 12, seed=3)
    if kind == "series":
        layers = nn.Conv1d(1, 3, 5, padding=2), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 20, 3)
        return nn.Sequential(*layers), normal(SAMPLES, 1, 20, seed=4)
    if kind == "table":
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), normal(
            SAMPLES, 6, seed=5
        )
    generator = torch.Generator().manual_seed(6)
    return Bag(), torch.randint(1, 9, (SAMPLES, 7), generator=generator)


@cache
def case(kind: str) -> Case:
    model, inputs = made(kind)
    size = (SAMPLES, *inputs.shape[2 if inputs.ndim > 2 else 1 :])
    masks = torch.rand(size, generator=torch.Generator().manual_seed(7)) > 0.6
    return Case(seeded(model).eval(), inputs, masks)


SOME = ("gradient_x_input", "saliency")
# Of what a metric is asked that is not defined for all methods.
METHODS = {"incompleteness": ("gradient_shap", "lrp")}


@cache
def explained(name: str, kind: str) -> list[pl.Explanation]:
    """The rivals of a metric."""
    here = case(kind)
    return list(pl.compare(here.model, here.inputs, list(METHODS.get(name, SOME))))


KINDS = ("image", "series", "table", "text")
# The least and the largest number that a metric may give.
FREE, SHARE, SIGNED, POSITIVE = (-math.inf, math.inf), (0, 1), (-1, 1), (0, math.inf)
RANGES = {
    "selectivity": FREE,
    "aopc": FREE,
    "abpc": FREE,
    "deletion": SHARE,
    "insertion": SHARE,
    "monotonicity": SHARE,
    "sensitivity_n": SIGNED,
    "faithfulness_correlation": SIGNED,
    "monotonicity_correlation": SIGNED,
    "infidelity": POSITIVE,
    "road": SHARE,
    "pointing_game": SHARE,
    "energy_inside": SHARE,
    "relevance_mass": SHARE,
    "relevance_rank": SHARE,
    "top_k_intersection": SHARE,
    "mask_auc": SHARE,
    "mask_precision": SHARE,
    "mask_iou": SHARE,
    "box_iou": SHARE,
    "entropy": POSITIVE,
    "effective_features": (1, math.inf),
    "sparseness": SHARE,
    "compressed_size": POSITIVE,
    "incompleteness": POSITIVE,
    "model_randomization": SIGNED,
    "efficient_randomization": FREE,
    "max_sensitivity": POSITIVE,
    "average_sensitivity": POSITIVE,
    "local_lipschitz": POSITIVE,
    "shift_sensitivity": POSITIVE,
    "class_sensitivity": SIGNED,
}
# Less work than usual, for speed.
LESS: dict[str, dict[str, Any]] = {
    "selectivity": {"draws": 4},
    "sensitivity_n": {"draws": 12, "sizes": (0.1, 0.5)},
    "faithfulness_correlation": {"draws": 12},
    "infidelity": {"draws": 12},
    "road": {"shares": (0.2, 0.6)},
}
# What a metric needs to be told of a kind of inputs.
NEEDED: dict[tuple[str, str], dict[str, Any]] = {
    ("road", "table"): {"baseline": 0.0, "features": None},
    ("road", "text"): {"baseline": 0.0, "features": None},
}

ASKED = [(name, kind) for name in metrics() for kind in KINDS]


def turns(which: int) -> list[Any]:
    """Each metric with two kinds of inputs, other ones for each law; the other two are slow."""
    slow = pytest.mark.slow
    return [
        pytest.param(name, kind, marks=() if (metric + which + place) % 4 < 2 else slow)
        for metric, name in enumerate(metrics())
        for place, kind in enumerate(KINDS)
    ]


def judge(name: str, kind: str, **options: Any) -> Metric:
    return metrics()[name](**{**LESS.get(name, {}), **NEEDED.get((name, kind), {}), **options})


def measured(
    metric: Metric, kind: str, rivals: list[pl.Explanation] | None = None, **options: Any
) -> list[pl.evaluate.Measurement]:
    here = case(kind)
    rivals = explained(metric.name, kind) if rivals is None else rivals
    return pl.evaluate.measure(here.model, rivals, metric, **{**here.given, **options})


def close(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        assert_close(one.values, other.values, rtol=1e-5, atol=1e-7, equal_nan=True)


def test_every_metric_has_a_range():
    assert set(RANGES) == set(metrics())


@pytest.mark.parametrize("name", metrics())
def test_every_metric_says_what_it_is(name):
    kind = metrics()[name]
    assert kind.answers.endswith("?")
    assert kind.weakness.endswith(".")
    assert kind.better in ("higher", "lower", "neither")
    assert kind.needs <= {"masks", "labels"}
    assert kind.ignores <= {"scale", "order", "sign"}
    assert "Source:" in (kind.__doc__ or "")
    assert repr(kind())


def finite(metric, kind):
    low, high = RANGES[metric.name]
    for found in measured(metric, kind):
        assert found.values.shape == (SAMPLES,)
        assert found.values.dtype is torch.float64
        assert bool(found.values.isfinite().all()), (found.method.name, found.values, found.notes)
        assert bool(((found.values >= low - 1e-9) & (found.values <= high + 1e-9)).all())
        for each in found.curves.values():
            assert each.y.shape == (SAMPLES, len(each.x))


@pytest.mark.parametrize(("name", "kind"), ASKED)
def test_a_number_for_each_sample(name, kind):
    finite(judge(name, kind), kind)


def same_in_batches(metric, kind):
    size = 1 if kind == "table" else 3  # of four samples
    close(measured(metric, kind, batch_size=size), measured(metric, kind))


@pytest.mark.parametrize(("name", "kind"), turns(0))
def test_batches_change_nothing(name, kind):
    same_in_batches(judge(name, kind), kind)


def same_in_any_order(metric, kind):
    here, order = case(kind), torch.tensor([3, 0, 1, 2])
    methods = list(METHODS.get(metric.name, SOME))
    turned = list(pl.compare(here.model, here.inputs[order], methods))
    given = {key: value[order] for key, value in here.given.items()}
    for one, other in zip(
        measured(metric, kind, turned, **given), measured(metric, kind), strict=True
    ):
        assert_close(one.values, other.values[order], rtol=1e-5, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize(("name", "kind"), turns(1))
def test_the_order_of_samples_changes_nothing(name, kind):
    same_in_any_order(judge(name, kind), kind)


def same_beside_others(metric, kind):
    together = measured(metric, kind)
    rivals = explained(metric.name, kind)
    close(measured(metric, kind, rivals[1:2]), together[1:2])
    close(measured(metric, kind, rivals[::-1]), together[::-1])


@pytest.mark.parametrize(("name", "kind"), turns(2))
def test_rivals_do_not_change_each_other(name, kind):
    same_beside_others(judge(name, kind), kind)


CHANGES = {
    "scale": lambda v: 4 * v,
    "sign": lambda v: -v,
    "order": lambda v: (v / v.abs().amax()).exp() * v.abs().amax(),
}
CLAIMS = [
    pytest.param(*turn.values, what, marks=turn.marks)
    for turn in turns(3)
    for what in sorted(metrics()[turn.values[0]].ignores)
]


def by_element(name: str, kind: str) -> Metric:
    """The metric with one player an element, of which alone a change of values keeps the order."""
    fields = {each.name for each in dataclasses.fields(metrics()[name])}
    options = (
        {"features": pl.Features.elements()} if "features" in fields and kind != "text" else {}
    )
    return judge(name, kind, **options)


def ignores(metric, kind, what):
    """Values of the first rival, a method of shares, are changed; of a text, those of its ids."""
    rival = explained(metric.name, kind)[0]
    changed = dataclasses.replace(rival, values=CHANGES[what](rival.values))
    close(measured(metric, kind, [changed]), measured(metric, kind, [rival]))


@pytest.mark.parametrize(("name", "kind", "what"), CLAIMS)
def test_what_a_metric_ignores(name, kind, what):
    ignores(by_element(name, kind), kind, what)


@pytest.mark.parametrize(("name", "kind"), [pair for pair in ASKED if pair[1] in ("image", "text")])
def test_the_model_and_all_random_numbers_stay_as_they_are(name, kind):
    here = case(kind)
    before = {key: value.clone() for key, value in here.model.state_dict().items()}
    attributes = [sorted(vars(module)) for module in here.model.modules()]
    torch.manual_seed(11)
    drawn = torch.get_rng_state().clone()
    inputs = here.inputs.clone()
    measured(judge(name, kind), kind)
    after = here.model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert [sorted(vars(module)) for module in here.model.modules()] == attributes
    assert not any(module.training for module in here.model.modules())
    assert all(p.grad is None and p.requires_grad for p in here.model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in here.model.modules())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert torch.equal(here.inputs, inputs)


@pytest.mark.parametrize("name", [name for name, kind in metrics().items() if kind.needs])
def test_what_is_needed_must_be_given(name):
    kind = metrics()[name]
    need = sorted(kind.needs)[0]
    with pytest.raises(InputError, match=f"{name} must have `{need}`"):
        measured(judge(name, "image"), "image", **{need: None})


BAD = {
    "not binary": ({"masks": torch.full((SAMPLES, 12, 12), 0.5)}, "masks"),
    "another size": ({"masks": torch.ones(SAMPLES, 5, 5).bool()}, "masks"),
    "too few samples": ({"masks": torch.ones(2, 12, 12).bool()}, "masks"),
    "labels of classes by name": ({"labels": torch.rand(SAMPLES)}, "labels"),
    "too few labels": ({"labels": torch.zeros(2).long()}, "labels"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_important_must_fit(what):
    given, name = BAD[what]
    with pytest.raises(InputError, match=f"`{name}`"):
        measured(judge("aopc", "image"), "image", **given)


def test_maps_must_be_numbers_of_the_same_inputs():
    found = explained("aopc", "image")
    spoiled = found[0].values.clone()
    spoiled[2, 0, 3, 3] = torch.nan
    with pytest.raises(InputError, match="Values must be finite to be judged") as info:
        measured(judge("aopc", "image"), "image", [dataclasses.replace(found[0], values=spoiled)])
    assert "1 that are not, by gradient_x_input" in str(info.value)
    other = pl.explain(case("image").model, case("image").inputs + 1, "saliency")
    with pytest.raises(InputError, match="judged together must be of the same inputs and target"):
        measured(judge("aopc", "image"), "image", [found[0], other])


# ------------------------------------------------------------------------ the laws can be broken


class Broken(Metric):
    """A copy of a metric with one fault; it is not of the registry."""

    name = "effective_features"

    def judge(self, trial: Any) -> list[Found]:
        own = pl.evaluate.named_metric("effective_features").judge(trial)
        values = torch.stack([found.values for found in own])
        return [Found(values=each) for each in self.fault(trial, values)]


class OfTheBatch(Broken):
    def fault(self, trial, values):
        return values - values.mean(1, keepdim=True)


class OfThePlace(Broken):
    def fault(self, trial, values):
        return values + trial.case.rows


class OfTheRivals(Broken):
    def fault(self, trial, values):
        return values / values.mean(0)


class OfTheScale(Broken):
    def fault(self, trial, values):
        return values + trial.relevance(None).abs().sum(2)


class NoNumber(Broken):
    def fault(self, trial, values):
        return values / 0 * 0


@pytest.mark.parametrize(
    ("fault", "law", "more"),
    [
        (OfTheBatch, same_in_batches, ()),
        (OfThePlace, same_in_any_order, ()),
        (OfTheRivals, same_beside_others, ()),
        (OfTheScale, ignores, ("scale",)),
        (OfTheScale, ignores, ("order",)),
        (NoNumber, finite, ()),
    ],
)
def test_a_broken_metric_breaks_its_law(fault, law, more):
    with pytest.raises(AssertionError):
        law(fault(), "image", *more)
