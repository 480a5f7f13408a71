"""Work is cut into batches in one place: sizes, halving, memory and cost."""

from math import ceil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.batching import Batcher, is_out_of_memory
from pellucid.errors import IncompleteError, IncompleteWarning, InputError
from tests import zoo
from tests.counting import Counting, Limited, out_of_memory


def ranges(total: int, size: int | str, *, start: int = 1) -> list[tuple[int, int]]:
    return list(Batcher(size, start=start).run(total, lambda a, b: (a, b)))


@given(st.integers(1, 200), st.integers(1, 50))
def test_batches_cover_all_rows_in_order(total, size):
    found = ranges(total, size)
    assert [row for a, b in found for row in range(a, b)] == list(range(total))
    assert len(found) == ceil(total / size)
    assert all(b - a == size for a, b in found[:-1])


def test_auto_starts_where_it_is_told():
    assert ranges(5, "auto", start=2) == [(0, 2), (2, 4), (4, 5)]


@pytest.mark.parametrize("error", out_of_memory(), ids=lambda e: type(e).__name__)
def test_auto_halves_for_good_when_memory_runs_out(error):
    tried = []

    def work(start: int, stop: int) -> int:
        tried.append(stop - start)
        if stop - start > 3:
            raise error
        return stop - start

    assert list(Batcher("auto", start=16).run(7, work)) == [3, 3, 1]
    assert tried == [7, 3, 3, 1]


@pytest.mark.parametrize(("size", "most"), [(4, 2), ("auto", 0)])
def test_memory_errors_rise_where_halving_does_not_help(size, most):
    def work(start: int, stop: int) -> None:
        if stop - start > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        list(Batcher(size, start=4).run(8, work))


def test_other_errors_rise_at_once():
    calls = []

    def work(start: int, stop: int) -> None:
        calls.append(start)
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        list(Batcher("auto", start=8).run(8, work))
    assert calls == [0]


def test_what_is_out_of_memory():
    assert all(map(is_out_of_memory, out_of_memory()))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "all", True, None])
def test_a_size_that_is_none_is_refused(wrong):
    with pytest.raises(InputError, match='`batch_size` must be "auto" or a positive whole number'):
        pl.explain(nn.Linear(2, 1), torch.ones(1, 2), "saliency", batch_size=wrong)


def perceptron() -> nn.Module:
    return zoo.load("perceptron").model


INPUTS = torch.randn(10, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

SAMPLED = {
    "integrated_gradients": {"steps": 12},
    "smoothgrad": {"samples": 12},
    "interior_gradient": {"alpha": [0.25, 0.5, 0.75]},
}


@pytest.mark.parametrize("name", ["saliency", "gradient_x_input", "lrp"])
@pytest.mark.parametrize("size", [1, 3, 4, 10, 99])
def test_the_user_s_own_samples_are_cut(name, size):
    model = Counting(perceptron())
    found = pl.explain(model, INPUTS, name, target=1, batch_size=size)
    assert len(model.calls) == ceil(10 / size)
    assert max(model.calls) <= size
    assert found.evaluations.forward == sum(model.calls) == 10
    assert found.evaluations.calls == len(model.calls)


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("size", [1, 4, 7, 64, "auto"])
def test_cost_is_what_was_spent(name, size):
    model = Counting(perceptron())
    found = pl.explain(model, INPUTS, name, target=1, batch_size=size, **SAMPLED[name])
    assert size == "auto" or max(model.calls) <= size
    assert found.evaluations.forward == sum(model.calls)
    assert found.evaluations.calls == len(model.calls)


@pytest.mark.parametrize(("name", "draws"), [("integrated_gradients", 12), ("smoothgrad", 12)])
@pytest.mark.parametrize("size", [1, 4, 7])
def test_batches_of_points_are_full(name, draws, size):
    """One sample at twelve points: as many calls as batches, and one or two more."""
    model = Counting(perceptron())
    pl.explain(model, INPUTS[:1], name, target=1, batch_size=size, **SAMPLED[name])
    assert len([rows for rows in model.calls if rows == size]) >= draws // size
    assert len(model.calls) <= ceil(draws / size) + 2


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize("size", [1, 3, 7, 64])
def test_answers_do_not_depend_on_the_batch_size(name, size):
    model, options = perceptron(), SAMPLED[name]
    whole = pl.explain(model, INPUTS, name, **options)
    cut = pl.explain(model, INPUTS, name, batch_size=size, **options)
    assert_close(cut.values, whole.values, rtol=1e-5, atol=1e-10)
    assert_close(cut.score, whole.score, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("name", ["saliency", "lrp", *SAMPLED])
@pytest.mark.parametrize("error", out_of_memory()[:2], ids=lambda e: type(e).__name__)
def test_methods_survive_a_model_that_runs_out_of_memory(name, error):
    options = SAMPLED.get(name, {})
    limited = Limited(perceptron(), most=3, error=error)
    found = pl.explain(limited, INPUTS, name, **options)
    assert max(limited.calls) <= 3
    whole = pl.explain(perceptron(), INPUTS, name, **options)
    assert_close(found.values, whole.values, rtol=1e-5, atol=1e-10)
    with pytest.raises(type(error)):
        pl.explain(limited, INPUTS, name, batch_size=8, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("smoothgrad", {"samples": 300}),
        ("smoothgrad", {"samples": 300, "reduce": "variance"}),
        ("integrated_gradients", {"steps": 300}),
    ],
)
def test_many_points_need_the_memory_of_one_batch(name, options):
    model = Counting(perceptron())
    pl.explain(model, INPUTS, name, target=1, batch_size=20, **options)
    assert sum(model.calls) >= 3000
    # A call holds its inputs and outputs; the call before it may not be gone yet.
    assert model.most_alive <= 5 * 20


def test_long_work_shows_no_progress_where_there_is_no_terminal(capsys):
    pl.explain(perceptron(), INPUTS, "smoothgrad", samples=50, batch_size=5)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def answers(name: str, size: int | str, **options: object) -> pl.Explanation:
    options = {"target": lambda y: y[:, 0] ** 2 + 1} | options
    return pl.explain(perceptron(), INPUTS[:3], name, batch_size=size, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("integrated_gradients", {"tolerance": 1e-9}),
        ("integrated_gradients", {"tolerance": 1e-9, "baseline": INPUTS[5:8]}),
        ("integrated_gradients", {"steps": 5}),
        ("taylor", {}),
        ("taylor", {"target": 1}),
        ("lrp", {"target": 1}),
        ("gradient_shap", {"target": 1, "samples": 3, "baseline": INPUTS[5:8]}),
        ("smoothgrad", {"method": "taylor", "samples": 3}),
        ("smoothgrad", {"method": pl.IntegratedGradients(tolerance=1e-9), "samples": 2}),
    ],
)
@pytest.mark.filterwarnings("ignore::pellucid.errors.IncompleteWarning")
def test_what_is_said_does_not_depend_on_the_batch_size(name, options):
    whole = answers(name, "auto", **options)
    for size in (1, 2) if name == "lrp" else (2,):
        assert answers(name, size, **options).notes == whole.notes


def test_what_is_said_counts_all_samples():
    with pytest.warns(IncompleteWarning, match=r"none was found for 3 of 3 samples"):
        answers("taylor", 2)
    with pytest.raises(IncompleteError, match=r"none was found for 9 of 9 noisy copies.*steps\.$"):
        answers("smoothgrad", 2, method="taylor", samples=3, on_incomplete="raise")
