"""Scores of references: one run a row where all samples share it, and the scores of each anyhow."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from tests.counting import Counting
from tests.zoo.network import normal, seeded

NET = seeded(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)))
X, ROWS = normal(3, 4, seed=2), normal(7, 4, seed=5)
CLASSES = [2, 0, 1]
TIMED = pl.Target.path(target=pl.Target.token(1, position=0), batch_axis=1)


def expected(model: nn.Module) -> Tensor:
    """f(x) minus the mean of f over the rows, each of the sample's own class."""
    with torch.no_grad():
        at, there = model(X), model(ROWS)
    return torch.stack([at[i, c] - there[:, c].mean() for i, c in enumerate(CLASSES)])


@pytest.mark.parametrize("size", [1, 2, 5, "auto"])
@pytest.mark.parametrize("name", ["gradient_shap", "integrated_gradients"])
def test_one_run_of_a_row_serves_every_sample_and_class(name, size):
    model = Counting(NET)
    options = {"samples": 4} if name == "gradient_shap" else {"steps": 4}
    found = pl.explain(
        model, X, name, target=CLASSES, baseline=ROWS, batch_size=size,
        on_incomplete="ignore", **options,
    )  # fmt: skip
    assert_close(found.completeness.expected, expected(NET))
    draws = 4 if name == "gradient_shap" else 4 * len(ROWS)
    batches = 1 if size == "auto" else -(-3 // size)
    assert found.evaluations.forward == sum(model.calls) == 3 * (draws + 1) + batches * len(ROWS)
    assert found.evaluations.calls == len(model.calls)


def test_a_softmax_at_the_end_is_left_out_there_too():
    model = nn.Sequential(NET, nn.Softmax(1))
    found = pl.explain(model, X, "gradient_shap", target=CLASSES, baseline=ROWS, samples=4)
    assert_close(found.completeness.expected, expected(NET))


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (NET, lambda y: y[:, 1] * 2),
        (lambda x: {"scores": NET(x), "table": torch.ones(7)}, pl.Target.path("scores", target=1)),
        (
            lambda x: NET(x).unsqueeze(0),
            pl.Target.path(target=pl.Target.token(1, position=0), batch_axis=1),
        ),
    ],
)
def test_any_target_reads_its_score(model, target):
    found = pl.explain(model, X, "gradient_shap", target=target, baseline=ROWS, samples=4)
    with torch.no_grad():
        whole = NET(X)[:, 1] - NET(ROWS)[:, 1].mean()
    factor = 2 if callable(target) else 1
    assert_close(found.completeness.expected, factor * whole)


def test_rows_that_samples_do_not_share_are_run_for_each():
    model = Counting(NET)
    found = pl.explain(
        model, X, "integrated_gradients", target=1, baseline=pl.Baseline.mean(), steps=3
    )
    with torch.no_grad():
        whole = NET(X)[:, 1] - NET(X.mean(1, keepdim=True).expand_as(X))[:, 1]
    assert_close(found.completeness.expected, whole)
    assert found.evaluations.forward == sum(model.calls) == 3 * (3 + 2)


def test_a_sample_that_is_its_own_reference_has_nothing_to_explain():
    found = pl.explain(NET, X, "integrated_gradients", target=1, baseline=X[:1])
    assert found.completeness.expected[0] == 0
    assert found.values[0].abs().max() == 0


def test_a_model_of_batch_statistics_is_run_on_whole_batches():
    model = nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2)).double()
    found = pl.explain(
        model.eval(), X, "integrated_gradients", target=0, steps=2, on_incomplete="ignore"
    )
    assert found.values.isfinite().all()
