"""Surrogates of whole models: what was planted is found, counted, stored, drawn and worded."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier
from torch import nn

import pellucid as pl
from pellucid.errors import FileError, InputError, ModelError, UnknownNameError
from tests.counting import Counting

KINDS = ("tree", "rules", "linear")
DRAW = np.random.default_rng(0)
TABLE = torch.from_numpy(DRAW.uniform(size=(300, 4)))
NAMES = ["age", "income", "height", "debt"]
SEXES = ["female", "male", "other"]


def steps(x):
    """A tree of three leaves."""
    return torch.where(x[:, 0] <= 0.5, 1.0, torch.where(x[:, 2] <= 0.25, 2.0, 5.0))


def listed(x):
    """A list of two rules."""
    first = (x[:, 0] > 0.4) & (x[:, 1] <= 0.5)
    return torch.where(first, 3.0, torch.where(x[:, 2] > 0.75, 0.0, 1.0))


def line(x):
    """A linear model of two of the four columns."""
    return 2 - 3 * x[:, 1] + 0.5 * x[:, 3]


PLANTED = {"tree": (steps, 3), "rules": (listed, 2), "linear": (line, 2)}


def people(rows=240, seed=0):
    """A table of mixed columns, some with gaps."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": draw.uniform(18, 80, rows).round(1),
            "sex": draw.choice(SEXES, rows),
            "smoker": draw.choice([True, False], rows),
            "plan": pd.Categorical(draw.choice(["b", "a"], rows), ["b", "a"]),
        }
    )
    frame.loc[draw.uniform(size=rows) < 0.2, "age"] = np.nan
    return frame


# What was planted


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_the_kind_is_found_again(kind):
    model, size = PLANTED[kind]
    found = pl.fit_surrogate(model, TABLE, kind, size=size, names=NAMES, least=1)
    assert found.kind == kind
    assert found.size == size
    assert found.fidelity.r2 > (0.97 if kind == "rules" else 1 - 1e-9)
    assert found.fidelity.samples == 90
    assert found.trivial.r2 < 0.01
    torch.testing.assert_close(
        found.fidelity.r2, r2_score(*_held(model, found)), atol=1e-12, rtol=0
    )


def _held(model, found):
    """The answers of model and surrogate on the samples that were held out."""
    rows = torch.randperm(300, generator=torch.Generator().manual_seed(found.seed))[:90]
    return model(TABLE[rows]), found(TABLE[rows])


def test_the_splits_of_a_planted_tree_are_its_own():
    found = pl.fit_surrogate(steps, TABLE, size=3, names=NAMES)
    first, second = (node.condition for node in found.fitted.nodes if node.condition is not None)
    assert (first.feature, second.feature) == (0, 2)
    for condition, threshold in ((first, 0.5), (second, 0.25)):
        values = TABLE[:, condition.feature]
        assert ((values <= condition.high) != (values <= threshold)).sum() <= 2
    assert found.reads == ("age", "height")


def test_a_tree_of_scikit_learn_is_found_again():
    x, y = TABLE.numpy(), (TABLE[:, 1] > TABLE[:, 3]).numpy()
    model = DecisionTreeClassifier(max_leaf_nodes=5, random_state=0).fit(x, y)
    found = pl.fit_surrogate(model, x, size=5, depth=9, least=1)
    assert found.fidelity.r2 > 0.9
    assert found.fidelity.agreement > 0.95
    assert found.outputs == ("False", "True")


def test_the_weights_of_a_planted_line_are_its_own():
    frame = pl.fit_surrogate(line, TABLE, "linear", size=2, names=NAMES).to_frame()
    slopes = dict(zip(frame["column"], frame["answer"], strict=True))
    assert slopes == pytest.approx({"income": -3, "debt": 0.5, "intercept": 2})


# The fit and what is held out


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_held_out_does_not_change_the_fit(kind):
    rows = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:90]
    table = TABLE.clone()
    table[rows] = torch.rand(90, 4, dtype=torch.float64, generator=torch.Generator())

    def fitted(data):
        return pl.fit_surrogate(lambda x: listed(x) + line(x), data, kind, size=4).fitted

    assert fitted(table) == fitted(TABLE)
    table[torch.randperm(300)[:200]] *= 0.5
    assert fitted(table) != fitted(TABLE)


@pytest.mark.parametrize("kind", KINDS)
def test_the_curve_holds_the_smaller_ones_and_never_falls_on_what_was_fitted(kind):
    def model(x):
        return listed(x) + line(x)

    found = pl.fit_surrogate(model, TABLE, kind, size=6)
    smaller = pl.fit_surrogate(model, TABLE, kind, size=3)
    curve = found.curve.set_index("size")
    assert smaller.fidelity.r2 == pytest.approx(curve.loc[smaller.size, "r2"], abs=1e-12)
    assert curve["r2_fitted"].is_monotonic_increasing
    assert curve["r2_fitted"].iloc[0] == pytest.approx(0, abs=1e-12)
    assert curve.index[0] == (1 if kind == "tree" else 0)


def test_other_seeds_hold_out_others_and_the_same_seed_the_same():
    found = [pl.fit_surrogate(listed, TABLE, seed=seed, size=3) for seed in (1, 1, 2, -1)]
    assert found[0] == found[1]
    assert len({each.fidelity.r2 for each in found}) == 3


# Asking the model


@pytest.mark.parametrize(("size", "calls"), [(64, 5), (300, 1), ("auto", 1), (1, 300)])
def test_every_sample_is_asked_for_once_in_full_batches(size, calls):
    model = Counting(lambda x: steps(x))
    found = pl.fit_surrogate(model, TABLE, batch_size=size)
    assert len(model.calls) == calls
    assert sum(model.calls) == 300
    assert found.evaluations == (300, 0, calls)
    assert found == pl.fit_surrogate(model, TABLE, batch_size=size)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_do_not_change_the_answer(kind):
    one, other = (pl.fit_surrogate(listed, TABLE, kind, batch_size=n) for n in (7, 300))
    assert one.fitted == other.fitted
    assert one.steps == other.steps


def test_a_model_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).double()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.warns(pl.errors.TrainingModeWarning):
        pl.fit_surrogate(model, TABLE, batch_size=50)
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_answers_as_scores_probabilities_and_classes():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)).double()
    scores = net[0](TABLE).detach()
    wanted = {
        "scores": scores,
        "probabilities": scores.softmax(1),
        "classes": nn.functional.one_hot(scores.argmax(1), 3).double(),
    }
    for answers, values in wanted.items():
        found = pl.fit_surrogate(net, TABLE, answers=answers, size=1)
        held = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:90]
        seen = torch.ones(300, dtype=torch.bool).index_fill(0, held, False)
        torch.testing.assert_close(found(TABLE[:1])[0], values[seen].mean(0))
    assert found.classes


def test_a_target_is_one_answer():
    net = nn.Linear(4, 3).double()
    found = pl.fit_surrogate(net, TABLE, "linear", target=(2, 0), size=4)
    torch.testing.assert_close(found(TABLE), (net(TABLE)[:, 2] - net(TABLE)[:, 0]).detach())
    assert found.fidelity.agreement is None
    assert found.outputs == ("answer",)
    per_class = pl.fit_surrogate(net, TABLE, "linear", size=4)
    torch.testing.assert_close(per_class(TABLE), net(TABLE).detach())
    assert per_class.fidelity.agreement == 1


def test_images_are_read_through_a_table_that_describes_them():
    images = torch.rand(80, 1, 6, 6)
    bright = pd.DataFrame({"brightness": images.flatten(1).mean(1).numpy()})
    found = pl.fit_surrogate(lambda x: x.flatten(1).mean(1), images, "linear", table=bright, size=1)
    assert found.fidelity.r2 == pytest.approx(1)
    with pytest.raises(InputError, match=r"^A table must be a data frame, .*table=frame\)\.$"):
        pl.fit_surrogate(lambda x: x.flatten(1).mean(1), images)


# Columns


def test_categories_gaps_and_units_in_words():
    frame = people()

    def model(rows):
        young = np.where(rows["age"] <= 30.05, 1.0, 0.0)
        known = np.where(rows["sex"] == "other", 5.0, young)
        return np.where(rows["age"].isna(), 9.0, known)

    for kind in ("tree", "rules"):
        found = pl.fit_surrogate(model, frame, kind, size=4, units={"age": "years"}, least=1)
        assert found.fidelity.r2 > 0.98
        text = str(found)
        assert "sex = other" in text or "sex ≠ other" in text
        assert "age ≤ 30 years" in text or "age > 30 years" in text
        assert "age is missing" in text or "age is known" in text


@pytest.mark.parametrize(
    ("column", "yes", "no"), [("smoker", True, "False"), ("plan", "a", "b")], ids=str
)
def test_of_two_categories_the_other_is_named(column, yes, no):
    frame = people()
    found = pl.fit_surrogate(lambda rows: np.array(rows[column] == yes) * 1.0, frame, size=2)
    first = str(found).partition("\n\n")[2].split("\n")
    assert first[0] == f"{column} = {no}"
    assert first[1].startswith("├─ yes: 0 ")
    assert first[2].startswith("└─ no: 1 ")
    assert found.reads == (column,)
    assert torch.equal(found(frame) == 1, torch.from_numpy(np.array(frame[column] == yes)))


def test_rows_are_read_by_name_and_other_columns_are_left_out():
    frame = people()
    found = pl.fit_surrogate(
        lambda rows: np.array(rows["age"].fillna(40.0)), frame, "linear", size=2
    )
    mixed = frame[["plan", "sex", "age", "smoker"]].assign(more=1)
    assert torch.equal(found(mixed), found(frame))
    arrays = pl.fit_surrogate(line, TABLE, "linear", size=2)
    assert torch.equal(arrays(TABLE.numpy()), arrays(TABLE))


def test_estimators_pipelines_and_missing_values():
    frame = people()
    truth = (frame["age"].fillna(60) > 40).map({True: "old", False: "young"})
    forest = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["sex"]), remainder="drop"),
        RandomForestClassifier(5, random_state=0),
    ).fit(frame, truth)
    found = pl.fit_surrogate(forest, frame, size=3)
    assert found.outputs == ("old", "young")
    assert found.fidelity.r2 == pytest.approx(1)
    assert found.reads == ("sex",)
    boosted = HistGradientBoostingClassifier(max_iter=5).fit(frame[["age"]], truth)
    found = pl.fit_surrogate(boosted, frame[["age"]], "rules", answers="classes", size=3)
    assert found.fidelity.agreement > 0.95
    linear = LinearRegression().fit(TABLE[:, :2], TABLE[:, 0])
    assert pl.fit_surrogate(linear, TABLE[:, :2].numpy(), "linear").fidelity.r2 == pytest.approx(1)


# The small and the odd


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_model(kind):
    found = pl.fit_surrogate(lambda x: torch.full((len(x), 2), 0.3), TABLE, kind)
    assert found.size == (1 if kind == "tree" else 0)
    assert found.fidelity.r2 == 1
    assert found.fidelity == found.trivial
    assert "0.3" in str(found)
    assert found.reads == ()
    found.plot()


@pytest.mark.parametrize("kind", KINDS)
def test_one_column_and_few_rows(kind):
    found = pl.fit_surrogate(lambda x: x[:, 0], TABLE[:8, :1], kind, least=1)
    assert found.reads == ("column 0",)
    assert found.fidelity.r2 > 0.5
    constant = pl.fit_surrogate(lambda x: x[:, 0], torch.ones(8, 3), kind)
    assert constant.reads == ()


# Stored, worded and drawn


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", ["tensor", "frame"])
def test_it_comes_back_from_its_file(kind, columns, tmp_path):
    if columns == "tensor":
        rows, found = TABLE, pl.fit_surrogate(lambda x: x @ x[:3].T, TABLE, kind)
    else:
        rows = people()
        found = pl.fit_surrogate(lambda rows: np.array(rows["age"].fillna(0) ** 2), rows, kind)
    back = pl.Surrogate.load(found.save(tmp_path / "surrogate.safetensors"))
    assert back == found
    assert str(back) == str(found)
    assert torch.equal(back(rows), found(rows))


def test_files_of_something_else(tmp_path):
    path = tmp_path / "explanation.safetensors"
    pl.explain(nn.Linear(2, 2), torch.ones(1, 2), "saliency").save(path)
    with pytest.raises(FileError, match=r"must be a file of a surrogate .*; got 'a safetensors"):
        pl.Surrogate.load(path)


TEXTS = {
    "tree": """\
Decision tree of 3 leaves, fitted to scores of the model
on 90 samples held out: R² 1.000
the mean answer alone: R² ...

age ≤ 0.5 years
├─ yes: 1  (...%)
└─ no: height ≤ 0.25
   ├─ yes: 2  (...%)
   └─ no: 5  (...%)""",
    "rules": """\
Rule list of 2 rules, fitted to scores of the model
on 90 samples held out: R² ...
the mean answer alone: R² ...

if income ≤ 0.5 and age > 0.4 years: 3  (...%)
else if height > 0.75: 0  (...%)
else: 1  (...%)""",
    "linear": """\
Linear model of 2 terms, fitted to scores of the model
on 90 samples held out: R² 1.000
the mean answer alone: R² ...

           per unit...per sd
income           \N{MINUS SIGN}3...
debt           +0.5...
intercept        +2""",
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_reads_well(kind):
    model, size = PLANTED[kind]
    units = {"age": "years"}
    found = pl.fit_surrogate(model, TABLE, kind, size=size, names=NAMES, units=units)
    text = str(found)
    for wanted, line_ in zip(TEXTS[kind].split("\n"), text.split("\n"), strict=True):
        start, _, end = wanted.partition("...")
        assert line_.startswith(_rounded(start))
        assert line_.endswith(end)
    assert repr(found).startswith(f"Surrogate({kind}, {size} ")


def _rounded(text):
    """Thresholds lie anywhere between two values of the data."""
    return text.partition("≤ 0")[0].partition("> 0")[0]


def test_reasons_are_those_of_the_row():
    found = pl.fit_surrogate(steps, TABLE, size=3, names=NAMES)
    reasons = found.reasons(TABLE[:50])
    answers = found(TABLE[:50]).tolist()
    for reason, answer in zip(reasons, answers, strict=True):
        assert reason.count(" and ") == (0 if answer == 1 else 1)
    frame = found.to_frame()
    assert set(frame["conditions"]) == set(reasons)
    assert frame["share"].sum() == pytest.approx(1)
    with pytest.raises(InputError, match=r"^Reasons must be those of a tree or of rules; got a"):
        pl.fit_surrogate(line, TABLE, "linear").reasons(TABLE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_drawn_with_all_that_it_says(kind, dark):
    model = nn.Linear(4, 3).double()
    found = pl.fit_surrogate(model, TABLE, kind, size=3, names=NAMES, outputs=["a", "b", "c"])
    ax = found.plot(dark=dark)
    ax.figure.draw_without_rendering()
    texts = [each.get_text() for each in ax.texts] + [
        label.get_text() for label in ax.get_yticklabels()
    ]
    shown = " ".join(texts)
    assert all(name in shown for name in found.reads)
    assert "held out" in ax.get_xlabel()
    curve = found.plot_curve(dark=dark)
    (held, *_) = (each for each in curve.get_lines() if "R², held out" in str(each.get_label()))
    assert held.get_ydata().tolist() == found.curve["r2"].tolist()
    assert found.plot(ax=curve) is curve
    with pytest.raises(InputError, match=r"^`ax` must be axes of matplotlib; got 3\."):
        found.plot(ax=3)


# Bad input

BAD = {
    "kind": ({"kind": "forest"}, UnknownNameError, r"^`kind` of a surrogate must be one that exis"),
    "answers": ({"answers": "score"}, UnknownNameError, r"'score'\. Did you mean 'scores'\?$"),
    "size": ({"size": 0}, InputError, r"^`size` must be a whole number, at least 1; got 0\.$"),
    "depth": ({"depth": 1.5}, InputError, r"^`depth` must be a whole number, at least 1; got 1\.5"),
    "least": ({"least": None}, InputError, r"^`least` must be a whole number"),
    "seed": ({"seed": "a"}, InputError, r"^`seed` must be a whole number; got 'a'\.$"),
    "held_out": ({"held_out": 0}, InputError, r"^`held_out` must be a part of the data, between 0"),
    "all held out": (
        {"held_out": 1.0},
        InputError,
        r"^`data` must have at least 2 samples to fit and 2 to hold out; got 300 in all, and "
        r"held_out=1\. Pass more data: the model labels it",
    ),
    "names": ({"names": ["a"]}, InputError, r"^`names` must name each of the 4 columns; got \['a'"),
    "units": (
        {"names": NAMES, "units": {"agee": "years"}},
        UnknownNameError,
        r"^A column that `units` names must be one that exists; got 'agee'\. Did you mean 'age'",
    ),
    "outputs": ({"outputs": ["a", "b"]}, InputError, r"^`outputs` must name each of the 1 answers"),
    "table": ({"table": TABLE[:5]}, InputError, r"one row for each of the 300 samples; got 5\.$"),
    "one score": (
        {"answers": "classes"},
        InputError,
        r"^`answers` must be 'scores' where the",
    ),
    "batch": ({"batch_size": 0}, InputError, r"^`batch_size` must be"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_are_named(case):
    options, error, message = BAD[case]
    with pytest.raises(error, match=message):
        pl.fit_surrogate(steps, TABLE, **options)


def test_bad_data_and_models_are_named():
    with pytest.raises(InputError, match=r"at least 2 samples to fit.*; got 1 in all"):
        pl.fit_surrogate(steps, TABLE[:1])
    with pytest.raises(ModelError, match=r"^The model must return finite answers.*; got 300 that"):
        pl.fit_surrogate(lambda x: x[:, 0] * math.nan, TABLE)
    with pytest.raises(InputError, match=r"must be finite; got 1 values? that are NaN"):
        pl.fit_surrogate(steps, torch.where(TABLE[0, 0] == TABLE, torch.nan, TABLE))
    with pytest.raises(InputError, match=r"^`inputs` of a torch module must be tensors"):
        pl.fit_surrogate(nn.Linear(4, 2), people())
    many = pd.DataFrame({"name": [f"n{i}" for i in range(150)], "x": 1.0})
    with pytest.raises(InputError, match=r"^Column 'name' must have at most 100 categories.*150"):
        pl.fit_surrogate(lambda rows: np.array(rows["x"]), many)


def test_bad_rows_are_named():
    frame = people()
    found = pl.fit_surrogate(lambda rows: np.array(rows["age"].fillna(0)), frame)
    with pytest.raises(UnknownNameError, match=r"reads must be one that exists; got 'sex'"):
        found(frame.drop(columns="sex"))
    with pytest.raises(UnknownNameError, match=r"^A category of column 'sex' in `rows`.*'fmale'"):
        found(frame.assign(sex="fmale"))
    with pytest.raises(InputError, match=r"^`rows` must have the 4 columns of the fit; got"):
        pl.fit_surrogate(steps, TABLE)(TABLE[:, :2])
