"""Counterfactuals: nearest by known answers, honest of what was not found, within the budget."""

import functools
import importlib
import itertools
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import linprog
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from torch import Tensor, nn

import pellucid as pl
from pellucid.errors import (
    DisconnectedError,
    InputError,
    TargetError,
    TrainingModeWarning,
    UnknownNameError,
)
from pellucid.exemplar import Constraints, counterfactual
from tests.counting import Counting
from tests.test_untouched import Breaks, Watched
from tests.zoo.network import dense, normal, seeded

ROOM = "pellucid.exemplar.counterfactual"


def affine(width: int = 5, seed: int = 0) -> nn.Linear:
    """One score of a row."""
    weight, bias = normal(1, width, seed=seed), normal(1, seed=seed + 1)
    return dense(weight, bias.tolist())


def net(width: int = 4, classes: int = 3) -> nn.Sequential:
    """A smooth classifier."""
    made = nn.Sequential(nn.Linear(width, 12), nn.Tanh(), nn.Linear(12, classes)).double()
    return seeded(made, bias=True).eval()


def margins(model: nn.Linear, rows: Tensor, threshold: float) -> Tensor:
    return (model(rows).flatten() - threshold).detach()


@pytest.mark.parametrize("how", ["gradient", "growing"])
def test_a_linear_model_has_the_projection_on_its_boundary(how):
    model, rows = affine(), normal(2, 5, seed=3)
    found = counterfactual(model, rows, threshold=0.3, distance="l2", how=how, budget=800)
    weight = model.weight.detach().flatten()
    known = rows - (margins(model, rows, 0.3) / (weight @ weight))[:, None] * weight
    assert found.status == ("found",) * 2
    torch.testing.assert_close(found.counterfactuals, known, atol=1e-7, rtol=0)
    torch.testing.assert_close(found.distance, (rows - known).norm(dim=1), atol=1e-9, rtol=0)


@pytest.mark.parametrize("how", ["gradient", "growing"])
def test_a_step_that_overlooks_a_column_misses_the_projection(how, monkeypatch):
    """Both searches are seen by the law above."""
    module = importlib.import_module(f"pellucid.exemplar.counterfactual.{how}")
    right = module.nearest

    def blind(distance: Any, base: Tensor, chain: Tensor, slope: Tensor, needed: Tensor) -> Tensor:
        return right(distance, base, chain, slope * (torch.arange(slope.shape[1]) > 0), needed)

    monkeypatch.setattr(module, "nearest", blind)
    with pytest.raises(AssertionError):
        test_a_linear_model_has_the_projection_on_its_boundary(how)


SMOOTH = [lambda x: x - 0.3, lambda x: (3 * x).exp() - 2, lambda x: (40 * x - 9).tanh()]
STEEP = [lambda x: torch.where(x > 0.3, 1.0, -0.1), lambda x: torch.where(x > 0.999999, 1.0, -1e-9),
         lambda x: x**60 - 0.2, lambda x: torch.where(x > 0.3, torch.inf, torch.nan)]  # fmt: skip


def looks(function: Any, turns: int) -> int:
    """After how many looks it is known where a function crosses zero, as well as by halving."""
    between = importlib.import_module(f"{ROOM}.polish")._between
    share = torch.tensor([[0.0], [1.0]]).double()
    gains = function(share)
    count = 0
    while count < 99 and share[1] - share[0] > 2.0 ** (2 - turns):
        at = between(share, gains, count, 2.0 ** (1 - turns))
        end = int(function(at) > 0)
        share[end], gains[end] = at, function(at)
        count += 1
    return count


@pytest.mark.parametrize("turns", [13, 23, 35])
def test_where_an_answer_begins_is_found_in_few_looks(turns):
    """At most one more than halving takes, and few where gains are smooth."""
    assert max(looks(each, turns) for each in SMOOTH) <= 15
    assert max(looks(each, turns) for each in STEEP) <= turns - 1


@pytest.mark.parametrize("part", ["halves", "has no bound"])
def test_a_look_in_the_wrong_place_is_seen(part, monkeypatch):
    polish = importlib.import_module(f"{ROOM}.polish")
    right = polish._between
    wrong = {
        "halves": lambda share, *rest: share.mean(0),
        "has no bound": lambda share, gains, turn, least: right(share, gains, -99, least),
    }
    monkeypatch.setattr(polish, "_between", wrong[part])
    with pytest.raises(AssertionError):
        test_where_an_answer_begins_is_found_in_few_looks(35)


@pytest.mark.parametrize("how", ["gradient", "growing"])
@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_within_bounds_a_linear_model_has_the_optimum_of_a_solver(distance, how):
    model, rows = affine(4), normal(3, 4, seed=5).clamp(-1, 1)
    held = Constraints(ranges=(-1.5, 1.5), immutable=["2"])
    found = counterfactual(model, rows, threshold=0.2, distance=distance, constraints=held, how=how)
    least = [by_solver(model, row, 0.2, distance) for row in rows]
    assert found.samples == [i for i, each in enumerate(least) if each is not None]
    known = torch.tensor([each for each in least if each is not None])
    tolerance = 1e-6 if how == "gradient" else 1e-4
    torch.testing.assert_close(found.distance, known.double(), rtol=tolerance, atol=0)


def by_solver(model: nn.Linear, row: Tensor, threshold: float, distance: str) -> float | None:
    """The least distance to the other side in the box, with column 2 as it is; none if too far."""
    w, x = model.weight.detach().flatten().numpy(), row.numpy()
    margin = float(margins(model, row[None], threshold))
    box = [(-1.5 - v, 1.5 - v) if i != 2 else (0.0, 0.0) for i, v in enumerate(x)]
    if distance == "l1":  # in parts up and down, each with a price
        up, down = [(0, max(b, 0)) for _, b in box], [(0, max(-a, 0)) for a, _ in box]
        both = np.concatenate([w, -w])
        left = np.sign(margin) * both
        done = linprog(np.ones(8), A_ub=[left], b_ub=[-abs(margin)], bounds=up + down)
        return float(done.fun) if done.success else None
    low, high, way = *np.array(box).T, -np.sign(margin) * w
    few, many = 0.0, 1e6  # the multiplier of the margin, by halving
    for _ in range(200):
        middle = (few + many) / 2
        enough = way @ np.clip(middle * way, low, high) >= abs(margin)
        few, many = (few, middle) if enough else (middle, many)
    moved = np.clip(many * way, low, high)
    return float(np.linalg.norm(moved)) if many < 1e6 else None


def test_the_answers_decide_as_is_wanted():
    model, rows = net(), normal(6, 4, seed=1)
    before = model(rows).argmax(1)
    for how in ("gradient", "growing"):
        other = counterfactual(model, rows, how=how, budget=90)
        after = model(other.counterfactuals).argmax(1)
        assert (after != before[other.samples]).all()
        assert torch.equal(other.answers.after, after)
    wanted = counterfactual(model, rows, target=[2, 0, 1, 2, 0, 1], budget=90)
    after = model(wanted.counterfactuals).argmax(1)
    assert after.tolist() == [[2, 0, 1, 2, 0, 1][i] for i in wanted.samples]
    there = [i for i, each in enumerate(wanted.status) if each == "already"]
    assert there == (before == torch.tensor([2, 0, 1, 2, 0, 1])).nonzero().flatten().tolist()


def test_a_margin_and_a_probability_are_held():
    model, rows = net(classes=2), normal(4, 4, seed=2)
    target = pl.Target.probability(1)
    asked = {"target": target, "threshold": 0.6, "side": "above", "margin": 0.05}
    found = counterfactual(model, rows, how="gradient", budget=200, **asked)
    said = model(found.counterfactuals).softmax(1)[:, 1]
    torch.testing.assert_close(said, torch.full_like(said, 0.65), atol=1e-6, rtol=0)


def test_what_cannot_be_found_is_said_and_ends_within_the_budget():
    model = Counting(nn.Sequential(affine(), nn.Sigmoid()))
    found = counterfactual(model, normal(3, 5), threshold=2.0, side="above", budget=300)
    assert found.status == ("not_found",) * 3
    assert len(found) == 0
    assert found.counterfactuals.shape == (0, 5)
    assert "of 300 evaluations" in found.reasons[0]
    assert found.evaluations.forward == sum(model.calls)
    assert found.evaluations.forward + found.evaluations.backward <= 3 * 300 + 3
    assert "nothing was found" in found.text()
    assert found.to_frame()["status"].tolist() == ["not_found"] * 3


@pytest.mark.parametrize("budget", [1, 7, 60, 250])
def test_no_search_spends_more_than_its_budget(budget):
    table = pd.DataFrame(normal(40, 3).numpy(), columns=list("abc"))
    calls: list[int] = []

    def model(rows: pd.DataFrame) -> np.ndarray:
        calls.append(len(rows))
        return (rows["a"] * rows["b"] > 0.1).to_numpy(dtype=float)

    found = counterfactual(model, table[:4], threshold=0.5, data=table, budget=budget)
    spare = 4 + len(table) + len(found)  # the inputs, the data, and the answers twice
    assert sum(calls) == found.evaluations.forward <= 4 * budget + spare + len(found)


def test_what_may_not_change_is_no_search():
    model = Counting(net())
    found = counterfactual(
        model, normal(2, 4), target=1, constraints=Constraints(immutable=range(4))
    )
    assert set(found.reasons) <= {"", "none of its columns may change"}
    assert sum(model.calls) == 2


def test_several_answers_differ_and_the_nearest_comes_first():
    model, rows = net(), normal(2, 4, seed=4)
    found = counterfactual(model, rows, count=3, distance="l1", budget=160)
    one = counterfactual(model, rows, distance="l1", budget=160)
    for row in range(2):
        places = found.places(row)
        assert len(places) == 3
        for a, b in itertools.combinations(places, 2):
            apart = (found.counterfactuals[a] - found.counterfactuals[b]).abs().sum()
            assert apart > 0.02 * found.distance[a]
        assert found.distance[places].argmin() == 0
    first = torch.stack([found.distance[found.places(row)[0]] for row in range(2)])
    assert (first <= 1.05 * one.distance).all()


def test_answers_depend_on_no_other_row_nor_on_batches():
    model, rows = net(), normal(3, 4, seed=6)
    asked = {"how": "growing", "count": 2, "budget": 800}
    whole = counterfactual(model, rows, **asked)
    assert whole.status == ("found",) * 3
    part = counterfactual(model, rows[[2, 0]], **asked, batch_size=90)
    for row, old in enumerate([2, 0]):
        torch.testing.assert_close(
            part.counterfactuals[part.places(row)],
            whole.counterfactuals[whole.places(old)],
            atol=1e-9,
            rtol=0,
        )


def test_an_answer_that_depends_on_other_rows_is_found(monkeypatch):
    """Draws that differ by the number of rows break the law above."""
    growing = importlib.import_module("pellucid.exemplar.counterfactual.growing")
    drawn, count = growing.Draws.of, itertools.count()
    monkeypatch.setattr(
        growing.Draws, "of", lambda distance, n, seed, *rest: drawn(distance, n, next(count), *rest)
    )
    with pytest.raises(AssertionError):
        test_answers_depend_on_no_other_row_nor_on_batches()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_answers_have_the_type_of_the_inputs(dtype):
    model, rows = net().to(dtype), normal(4, 4).to(dtype)
    held = Constraints(ranges=(-1.7, 1.7))
    found = counterfactual(model, rows, constraints=held)
    assert found.counterfactuals.dtype is dtype
    assert (found.counterfactuals.double().abs() <= 1.7).all()  # 1.7 is in neither type
    assert len(found)
    assert (model(found.counterfactuals).argmax(1) != model(rows).argmax(1)[found.samples]).all()


def test_the_model_is_left_as_it_was():
    model, rows = net(), normal(3, 4)
    with Watched(model, rows):
        counterfactual(model, rows, count=2, budget=60)
    broken = Breaks(after=3)
    images = torch.rand(2, 1, 6, 6)
    broken.eval()
    with Watched(broken, images), pytest.raises(Breaks.HalfwayError):
        counterfactual(broken, images)


def test_a_sharp_model_without_slope_is_searched_from_random_points():
    """A step has no gradient anywhere but at the edge."""

    def step(rows: Tensor) -> Tensor:
        return (rows[:, 0] > 2).double() + 0 * rows.sum(1)

    rows = torch.zeros(2, 2).double()
    for how in ("gradient", "growing"):
        found = counterfactual(step, rows, threshold=0.5, how=how, distance="l1", budget=500)
        assert found.status == ("found", "found")
        torch.testing.assert_close(
            found.distance, torch.full((2,), 2.0).double(), rtol=0.02, atol=0
        )


@functools.cache
def forest() -> tuple[GradientBoostingClassifier, pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"income": rng.integers(20, 200, 300), "age": rng.integers(18, 80, 300),
         "debt": rng.gamma(2.0, 20.0, 300).round(2)}
    )  # fmt: skip
    good = np.where(table["income"] - table["debt"] + rng.normal(0, 8, 300) > 60, "good", "bad")
    return GradientBoostingClassifier(n_estimators=20, random_state=0).fit(table, good), table, good


def test_an_estimator_of_a_frame_is_told_of_in_its_own_words():
    model, table, _ = forest()
    ages = Constraints(immutable=["age"])
    found = counterfactual(
        model, table[:5], target="good", data=table, constraints=ages, budget=400
    )
    made = found.counterfactuals
    assert list(made.dtypes) == list(table.dtypes)
    assert set(made.index) <= set(table.index[:5])
    assert (model.predict(made) == "good").all()
    assert (made["age"] == table["age"].loc[made.index]).all()
    assert set(found.status) == {"found", "already"}
    row = found.samples[0]
    change = found.changes.iloc[0]
    said = f"had {change['column']} been {change['after']:g} (instead of {change['before']:g})"
    assert said in found.text(row)
    assert "would have said good (instead of bad)" in found.text(row)
    assert "already, as is wanted" in found.text(found.status.index("already"))
    assert found.plausibility.ge(0).all()
    assert found.plausibility.le(1).all()
    assert (found.changes.groupby("sample")["distance"].sum().to_numpy()
            == pytest.approx(found.distance.numpy()))  # fmt: skip
    # Numbers of few digits, where these decide.
    digits = found.changes.query("column == 'debt'")["after"].map(lambda x: len(f"{x:.9g}"))
    assert digits.empty or digits.median() <= 5


def test_distances_are_in_median_absolute_deviations():
    model, table, _ = forest()
    found = counterfactual(model, table[:3], data=table, budget=80)
    middle = table.median()
    unit = (table - middle).abs().median()
    changed = (found.counterfactuals - table.loc[found.counterfactuals.index]).abs() / unit
    assert changed.sum(axis=1).to_numpy() == pytest.approx(found.distance.numpy())


def test_a_regression_of_an_array_is_moved_past_a_threshold():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(120, 3))
    model = RandomForestRegressor(4, random_state=0).fit(rows, rows[:, 0] * 3 + rows[:, 1])
    found = counterfactual(model, rows[:4], threshold=1.0, side="above", data=rows, budget=120)
    assert isinstance(found.counterfactuals, np.ndarray)
    assert (model.predict(found.counterfactuals) > 1).all()
    assert {"found"} <= set(found.status) <= {"found", "already"}
    for sample, status in enumerate(found.status):
        assert (status == "already") == bool(model.predict(rows[sample : sample + 1]) > 1)


def test_images_are_changed_in_pixels():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    seeded(model.double(), bias=True).float()
    images = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[:, :2] = True
    found = counterfactual(
        model, images, constraints=Constraints(ranges=(0, 1), immutable=mask), budget=50
    )
    made = found.counterfactuals
    assert len(found)
    assert made.shape[1:] == images.shape[1:]
    assert (made >= 0).all()
    assert (made <= 1).all()
    assert torch.equal(made[:, :, :2], images[found.samples][:, :, :2])
    drawn = found.plot(row=found.samples[0])
    assert len(drawn.axes) == 3
    with pytest.raises(InputError, match="Changes must be those of columns"):
        _ = found.changes


def small_images() -> tuple[nn.Sequential, Tensor]:
    """A net on images of 64 pixels."""
    draw = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).double()
    return seeded(model, bias=True), torch.rand(3, 1, 8, 8, generator=draw, dtype=torch.float64)


@functools.cache
def near_images() -> pl.exemplar.Counterfactuals:
    """The answers for these along gradients."""
    held = Constraints(ranges=(0, 1))
    return counterfactual(*small_images(), how="gradient", constraints=held, budget=400)


def test_without_gradients_images_come_near_the_answer_with_them():
    model, images = small_images()
    held = Constraints(ranges=(0, 1))
    near = near_images()
    found = counterfactual(model, images, how="growing", constraints=held, budget=700)
    assert found.status == near.status == ("found",) * 3
    assert float((found.distance / near.distance).median()) < 1.25


@pytest.mark.parametrize("part", ["slope", "about"])
def test_a_slope_that_is_not_learned_is_far_from_it(part, monkeypatch):
    module = importlib.import_module(f"{ROOM}.growing")
    if part == "slope":
        right = module._slope
        monkeypatch.setattr(module, "_slope", lambda *given: right(*given[:-1], 0 * given[-1]))
    else:
        monkeypatch.setattr(module, "PROBED", 0.0)
    with pytest.raises(AssertionError):
        test_without_gradients_images_come_near_the_answer_with_them()


def test_rows_of_large_images_are_searched_block_by_block(monkeypatch):
    model, images = small_images()
    asked = {"how": "growing", "budget": 150, "constraints": Constraints(ranges=(0, 1))}
    whole = counterfactual(model, images, **asked)
    sizes: list[int] = []
    module = importlib.import_module(f"{ROOM}.growing")
    right = module.Draws.around

    def counted(draws: Any, distance: Any, chain: Tensor, *rest: float) -> Tensor:
        sizes.append(len(chain))
        return right(draws, distance, chain, *rest)

    monkeypatch.setattr(module, "MOST_NUMBERS", 1)
    monkeypatch.setattr(module.Draws, "around", counted)
    part = counterfactual(model, images, **asked)
    assert set(sizes) == {module.SHELL}
    assert whole.status == part.status
    torch.testing.assert_close(part.counterfactuals, whole.counterfactuals)


def test_what_has_no_gradient_is_searched_without_and_it_is_said():
    weights = normal(4, 2)  # which do have one
    weights.requires_grad_()
    counts = torch.tensor([[3, 1, 2, 0], [0, 1, 4, 4]])
    found = counterfactual(lambda x: x.double() @ weights, counts, budget=150)
    assert found.counterfactuals.dtype is torch.int64
    assert found.evaluations.backward == 0
    assert any("no gradient" in note for note in found.notes)
    flags = counts > 1
    best = counterfactual(lambda x: x.double() @ weights, flags, budget=300)
    every = torch.tensor(list(itertools.product([False, True], repeat=4)))
    classes = (every.double() @ weights).argmax(1)
    for row, flag in enumerate(flags):  # by all that there are
        other = classes != (flag.double() @ weights).argmax()
        least = (every != flag).sum(1)[other].min()
        assert best.distance[best.samples.index(row)] == least


def test_inference_mode_makes_no_difference():
    model, rows = net(), normal(2, 4)
    asked = {"how": "gradient", "budget": 90}
    whole = counterfactual(model, rows, **asked)
    with torch.inference_mode():
        again = counterfactual(model, rows.clone(), data=normal(9, 4).clone(), **asked)
        part = counterfactual(model, rows.clone(), **asked)
    assert again.status == ("found",) * 2
    torch.testing.assert_close(part.counterfactuals, whole.counterfactuals)


def test_a_model_in_training_mode_and_a_generator_are_left_as_they_were():
    body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2)).double()
    with pytest.warns(TrainingModeWarning), Watched(body, normal(3, 4)):
        counterfactual(body, normal(3, 4), how="gradient", budget=3)  # one turn of all rows
    maker = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.2)).double()
    model = net()
    with pytest.warns(TrainingModeWarning), Watched(maker, normal(3, 2)):
        counterfactual(model, normal(3, 4), generator=maker, code=normal(3, 2), budget=20)


def test_a_score_that_is_no_number_has_no_other_side():
    rows = torch.tensor([[-1.0, 0.0], [0.5, 0.0]]).double()
    found = counterfactual(lambda x: x[:, 0].log(), rows, threshold=0, how="growing", budget=300)
    assert found.status == ("not_found", "found")
    assert "not a number" in found.reasons[0]
    assert found.evaluations.forward <= 300 + 2 + 1  # of the other one alone


def test_an_answer_that_does_not_last_is_no_answer():
    """The model says 1 only of a batch of several, and answers are asked once more."""
    found = counterfactual(lambda x: torch.eye(2)[[int(len(x) > 1)] * len(x)], normal(1, 2))
    assert found.status == ("not_found",)
    assert "when the model was asked again" in found.reasons[0]


def test_rows_of_data_with_gaps_are_no_way_out_of_a_range():
    """What is missing in a row of data is the input's own, as far as that may stay."""
    table = pd.DataFrame({"a": [9.0, *[np.nan] * 9], "b": [0.0, *np.linspace(1, 2, 9)]})
    held = Constraints(ranges={"a": (0, 1)})

    def score(rows: pd.DataFrame) -> np.ndarray:
        return rows["b"].to_numpy()

    found = counterfactual(score, table[:1], threshold=0.5, data=table, constraints=held, budget=90)
    assert found.status == ("found",)
    assert found.counterfactuals["a"].tolist() == [1]


def test_numbers_are_told_in_digits_that_differ():
    rows = torch.tensor([[1.0, 0.0]]).double()
    text = counterfactual(lambda x: x[:, 0], rows, threshold=1, distance="l2", budget=90).text()
    had, was, said, now = re.findall(r"(?:been|of) ([\d.e+-]*\d)", text)
    assert float(had) > float(was) == float(now) == 1
    assert float(said) > 1


def test_an_input_that_does_not_exist_is_not_told_of():
    found = counterfactual(net(), normal(2, 4), how="gradient", budget=30)
    assert found.text(-1) == found.text(1) != found.text(0)
    assert found.places(-1) == found.places(1)
    for ask in (found.text, found.places, lambda row: found.plot(row=row)):
        with pytest.raises(InputError, match="`row` must be the number of one of the 2 inputs"):
            ask(2)


def test_what_was_not_found_says_how_much_was_missing():
    model, rows = affine(2), normal(2, 2)
    held = Constraints(ranges=(-3, 3))
    reach = float((3 * model.weight.abs().sum() + model.bias).detach())
    asked = {"threshold": reach + 0.25, "side": "above", "budget": 300}
    found = counterfactual(model, rows, constraints=held, **asked)
    assert found.status == ("not_found",) * 2
    assert all("the best was 0.25 short of it" in why for why in found.reasons)


def test_a_classifier_that_predicts_otherwise_than_it_scores_is_told_of():
    class Strict(GradientBoostingClassifier):
        """Says good only where it is nearly sure."""

        def predict(self, rows: Any) -> np.ndarray:
            return np.where(self.predict_proba(rows)[:, 1] > 0.9, "good", "bad")

    _, table, good = forest()
    model = Strict(n_estimators=5, random_state=0).fit(table, good)
    found = counterfactual(model, table[:8], target="good", data=table, budget=80)
    odd = int((model.predict(found.counterfactuals) != "good").sum())
    assert odd
    assert any(f"For {odd} of {len(found)} answers `predict` says" in note for note in found.notes)


def test_codes_of_a_generator_are_changed(monkeypatch):
    """With a linear generator the nearest code is known: the model of codes is linear, too."""
    spread = normal(6, 2, seed=1)
    model, codes = affine(6), 0.5 * normal(2, 2, seed=2)

    def generator(z: Tensor) -> Tensor:
        return z @ spread.T

    rows = generator(codes)
    weight = model.weight.detach().flatten() @ spread
    for prior in (0.0, 0.5):
        found = counterfactual(
            model, rows, threshold=0.1, generator=generator, code=codes, prior=prior, budget=100
        )
        center = codes / (1 + prior)
        side = margins(model, rows, 0.1)
        margin = margins(model, generator(center), 0.1)
        there = margin * side <= 0  # the prior is enough
        moved = center - (margin / (weight @ weight))[:, None] * weight
        nearest = torch.where(there[:, None], center, moved)
        torch.testing.assert_close(found.counterfactuals, generator(nearest), atol=1e-6, rtol=0)
        far = (nearest - codes).norm(dim=1)  # from the input's own code, with a prior, too
        torch.testing.assert_close(found.distance, far, atol=1e-6, rtol=0)
    monkeypatch.setattr(importlib.import_module(f"{ROOM}.code"), "STEPS", 110)
    monkeypatch.setattr(torch.optim, "Adam", None)  # which imports the whole compiler
    sought = counterfactual(model, rows, threshold=0.1, generator=generator, code=2, budget=60)
    assert sought.status == ("found",) * 2
    assert float(sought.notes[0].split("error of ")[1].rstrip(".")) < 0.05


def test_what_a_generator_makes_otherwise_by_itself_is_told_of():
    model, codes = affine(6), torch.zeros(3, 2).double()
    rows = normal(3, 6, seed=3)
    odd = margins(model, rows, 0.1) * margins(model, torch.zeros(1, 6).double(), 0.1) < 0
    assert 0 < int(odd.sum()) < 3
    asked = {"threshold": 0.1, "generator": lambda z: z @ torch.ones(2, 6).double(), "code": codes}
    found = counterfactual(model, rows, budget=60, **asked)
    assert any(f"For {int(odd.sum())} of 3 inputs" in note for note in found.notes)
    assert not found.distance[[found.samples.index(i) for i in odd.nonzero()]].any()


def test_columns_that_a_network_gets_standardised_stay_in_the_users_units():
    from sklearn.preprocessing import StandardScaler

    _, table, _ = forest()
    scaler = StandardScaler().fit(table)
    head = torch.tensor([[1.5, 0.0, -1.5], [-1.5, 0.0, 1.5]])
    model = nn.Sequential(nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.copy_(head)
    found = counterfactual(model, table[:4], data=table, scaling=scaler, budget=60)
    made = found.counterfactuals
    assert list(made.dtypes) == list(table.dtypes)
    assert len(made) == 4

    def said(rows: pd.DataFrame) -> Tensor:
        return model(torch.tensor(scaler.transform(rows), dtype=torch.float32)).argmax(1)

    assert (said(made) != said(table[:4])).all()
    pair = (table.mean().to_numpy(), table.std(ddof=0).to_numpy())
    again = counterfactual(model, table[:4], data=table, scaling=pair, budget=60)
    pd.testing.assert_frame_equal(again.counterfactuals, made)


def test_the_drawing_has_an_arrow_for_each_change():
    model, table, _ = forest()
    found = counterfactual(model, table[:2], data=table, count=2, budget=90)
    row = found.samples[0]
    drawn = found.plot(row=row)
    columns = found.changes.query("sample == @row")["column"].unique()
    assert sorted(each.get_text() for each in drawn.get_yticklabels()) == sorted(columns)
    arrows = [each for each in drawn.texts if not each.get_text()]
    assert len(arrows) == len(found.changes.query("sample == @row"))
    with pytest.raises(InputError, match="one of the 2 inputs"):
        found.plot(row=2)


def test_an_input_without_an_answer_is_not_drawn():
    found = counterfactual(net(), normal(2, 4), constraints=Constraints(immutable=range(4)))
    with pytest.raises(InputError, match=r"must have an answer .* which is not_found"):
        found.plot()


WRONG = {
    "how": ({"how": "magic"}, UnknownNameError, "Known: auto, gradient, growing"),
    "distance": ({"distance": "l3"}, UnknownNameError, "Did you mean 'l2'"),
    "mad": ({"distance": "mad"}, InputError, "`data` must be given"),
    "count": ({"count": 0}, InputError, "`count` must be a whole number"),
    "budget": ({"budget": 1.5}, InputError, "`budget` must be a whole number"),
    "margin": ({"margin": -1}, InputError, "`margin` must be a number of at least 0"),
    "side": ({"side": "above"}, InputError, "must be given with a `threshold`"),
    "sides": ({"threshold": 0, "side": "left"}, UnknownNameError, "above, below"),
    "score": ({"target": (1, 0)}, TargetError, "must come with a `threshold`"),
    "class": ({"target": 7}, TargetError, "from 0 to 2"),
    "names": ({"names": ["a"]}, InputError, "name each of the 4 columns"),
    "data": ({"data": torch.ones(3, 5)}, InputError, "rows of the shape of a sample"),
    "code": ({"code": 3}, InputError, "must come with a `generator`"),
    "scaling": ({"scaling": 3}, InputError, "must be a pair"),
    "zero": ({"scaling": (0, 0)}, InputError, "finite, and not zero"),
    "shapes": ({"scaling": ([1, 2], 1)}, InputError, "fit the shape of a sample"),
    "generator": (
        {"generator": lambda z: z[:, :2], "code": 3},
        InputError,
        "must make finite inputs",
    ),
    "sizes": ({"generator": nn.Linear(3, 4), "code": 2}, InputError, "It said: mat1 and mat2"),
    "constraints": ({"constraints": {"immutable": [0]}}, InputError, "must be Constraints"),
    "encoder": ({"generator": lambda z: z}, InputError, "a generator without `encode`"),
    "codes": ({"generator": lambda z: z, "code": torch.ones(5, 4)}, InputError, "one code for"),
    "prior": (
        {"generator": lambda z: z, "code": 4, "prior": 1.0, "distance": "l1"},
        InputError,
        "must be 'l2' with a `prior`",
    ),
    "sought": (
        {"generator": lambda z: z.detach(), "code": 4},
        DisconnectedError,
        "for codes to be sought",
    ),
    "infinite": ({"data": torch.full((3, 4), torch.inf)}, InputError, "`data` must be finite"),
    "both": ({"generator": lambda z: z, "code": 4, "scaling": (0, 1)}, InputError, "left out"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_asked_says_why(case):
    options, error, words = WRONG[case]
    with pytest.raises(error, match=words):
        counterfactual(net(), normal(2, 4), **options)


def test_what_cannot_be_searched_says_why():
    model, table, _ = forest()
    with pytest.raises(DisconnectedError, match="data frames or arrays"):
        counterfactual(model, table[:2], how="gradient")
    with pytest.raises(DisconnectedError, match="no gradient"):
        counterfactual(lambda x: x.detach(), normal(2, 4), how="gradient")
    with pytest.raises(TargetError, match="`threshold` must be given"):
        counterfactual(affine(), normal(2, 5))
    with pytest.raises(InputError, match="found texts|got texts"):
        counterfactual(lambda texts: np.ones(len(texts)), ["a text"], threshold=0)
    with pytest.raises(InputError, match=r"one tensor, array or data frame.*lambda x: model\(x, o"):
        counterfactual(net(), (normal(2, 4), normal(2, 4)))
    with pytest.raises(InputError, match=r"a batch axis, and at least one more.*unsqueeze\(0\)"):
        counterfactual(net(), normal(4))
    ids = torch.tensor([[1, 2], [3, 0]])
    with pytest.raises(InputError, match="Of token ids, which are no numbers"):
        counterfactual(nn.Sequential(nn.Embedding(4, 3), nn.Flatten(), nn.Linear(6, 2)), ids)
    with pytest.raises(InputError, match="`scaling` must be left out"):
        counterfactual(model, table[:2], scaling=(0, 1))
    words = table.assign(job="fixed")
    with pytest.raises(InputError, match=r"must hold numbers.*\['job'\]"):
        counterfactual(net(), words)
    from sklearn.decomposition import PCA

    with pytest.raises(InputError, match="scale every column of the table by itself"):
        counterfactual(net(3), table[:2], scaling=PCA(3).fit(table))
    free = counterfactual(lambda x: x.detach(), normal(2, 4), budget=100)
    assert any("no gradient" in note for note in free.notes)
