"""Labels, outputs, frames and trainers as users have them: the numbers are right for all."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid.errors import InputError, ModelError
from pellucid.evaluate import Trainer, roar
from pellucid.evaluate.metric import metrics
from pellucid.evaluate.retrain import data as parts
from pellucid.evaluate.retrain import run as runs
from pellucid.evaluate.retrain.answers import with_two_scores
from pellucid.evaluate.retrain.data import chunks_of
from pellucid.run.folder import RunFolder
from pellucid.structure import Inputs
from tests.evaluate.retraining import FEATURES, FIT, Broken, Fixed, OfTarget, linear, split, table

ONE = 1 / FEATURES
QUICK = replace(FIT, epochs=5, learning_rate=0.3)


def ask(methods=("gradient_x_input",), data=None, model=linear, **options):
    usual = {"fit": QUICK, "seeds": 2, "percentages": [ONE], "proxies": [], "progress": False}
    return roar(model, data or split(150), methods, **(usual | options))


def labelled(change):
    """The usual data, with labels in another form."""
    (x, y), (xt, yt) = split(150)
    return (x, change(y)), (xt, change(yt))


def numbers(found):
    return [row[:4] for row in found.rows]


# Labels

THREE = lambda: nn.Linear(FEATURES, 3)  # noqa: E731
LABELS = {
    "numbers of numpy": (lambda y: y.numpy(), linear, lambda y: y),
    "truth": (lambda y: y.numpy() > 0, linear, lambda y: y),
    "a series": (lambda y: pd.Series(y.numpy(), index=range(7, 7 + len(y))), linear, lambda y: y),
    "words": (lambda y: np.array(["no", "yes"])[y.numpy()], linear, lambda y: y),
    "from one on": (lambda y: y.numpy() + 1, THREE, lambda y: y + 1),
    "a class that is not there": (lambda y: (2 * y).tolist(), THREE, lambda y: 2 * y),
}


@pytest.mark.parametrize("case", LABELS.values(), ids=LABELS)
def test_labels_of_any_form_are_the_columns_of_the_scores(case):
    change, model, plain = case
    found, expected = (
        ask(data=labelled(each), model=model, target="label", seeds=1) for each in (change, plain)
    )
    assert numbers(found) == numbers(expected)
    assert found.accuracies(None)[0] > 0.85


def test_labels_that_are_taken_for_their_ranks_are_found(monkeypatch):
    """Mutant: the number of a class is its place among those that are there."""
    right = parts.known_labels
    monkeypatch.setattr(
        parts, "known_labels", lambda labels, sorts=False: right(labels, sorts=True)
    )
    with pytest.raises(AssertionError):
        test_labels_of_any_form_are_the_columns_of_the_scores(LABELS["from one on"])


@pytest.mark.parametrize("tensors", [True, False])
def test_an_estimator_sorts_its_labels_whatever_they_are(tensors):
    from sklearn.linear_model import LogisticRegression

    (x, y), (xt, yt) = split(120)
    data = (x, y + 1), (xt, yt + 1)
    if not tensors:
        data = tuple((a.numpy(), b.numpy()) for a, b in data)
    kernel = {"kernel": pl.KernelSHAP(samples=30)}
    options = {"model": LogisticRegression(), "fit": None, "data": data}
    label, predicted = (ask(kernel, **options, target=each) for each in ("label", "predicted"))
    for found in (label, predicted):
        assert not found.failures
        assert found.accuracies(None)[0] > 0.9
        assert found.accuracies("kernel", ONE)[0] < 0.75


def test_a_regressor_and_one_class_of_words_are_refused():
    from sklearn.linear_model import LinearRegression

    arrays = tuple((a.numpy(), b.numpy()) for a, b in split(60))
    with pytest.raises(ModelError, match=r"predict labels that it was trained with; got .*regress"):
        ask({"kernel": pl.KernelSHAP(samples=9)}, arrays, LinearRegression(), fit=None)
    x = torch.ones(4, FEATURES)
    with pytest.raises(InputError, match=r"at least two classes; got one, 'a'\."):
        ask(data=((x, pd.Series(["a"] * 4, dtype=object)), (x, ["a"] * 4)))


# What models return


class Named(nn.Module):
    """Scores of two classes, called `logits`."""

    def __init__(self):
        super().__init__()
        self.head = linear()

    def forward(self, x):
        return {"logits": self.head(x), "loss": None}


def test_an_output_with_logits_is_explained_as_its_logits():
    plain = lambda: nn.Sequential(linear())  # noqa: E731
    for options in ({}, {"target": "label"}, {"proxies": ["selectivity"]}):
        found, expected = ask(model=Named, **options), ask(model=plain, **options)
        assert numbers(found) == numbers(expected)
        assert found.proxies == expected.proxies


@pytest.mark.parametrize("flat", [False, True])
def test_of_one_score_the_class_is_explained_that_is_asked_for(flat, tmp_path):
    """Labels are turned round: what is asked for are then both classes of every sample."""
    model = (lambda: nn.Sequential(nn.Linear(FEATURES, 1), nn.Flatten(0))) if flat else None
    model = model or (lambda: nn.Linear(FEATURES, 1))
    x, y = table()
    data = (x[:160], y[:160]), (x[160:], 1 - y[160:])
    found = ask([OfTarget()], data, model, target="label", folder=tmp_path / "run")
    assert not found.failures
    ranks = RunFolder(path=tmp_path / "run").tensors("maps/0.safetensors")
    assert torch.equal((ranks["test.ranks"] == 0).int().argmax(1), 1 - y[160:])


def test_two_scores_have_the_softmax_that_is_the_sigmoid_of_one():
    model = nn.Linear(FEATURES, 1)
    inputs = Inputs.of(table(9)[0])
    one = model(inputs.leaves[0])
    two = with_two_scores(model, inputs)(inputs.leaves[0])
    assert torch.allclose(two.softmax(1)[:, 1:], one.sigmoid(), atol=1e-6)
    assert torch.allclose(two.softmax(1).sum(1), torch.ones(9))


# Frames


def test_gaps_in_a_frame_are_no_failure():
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder
    from sklearn.tree import DecisionTreeClassifier

    y = np.arange(120) % 2
    frame = pd.DataFrame(
        {
            "size": y + np.arange(120) % 7 / 10,
            "count": np.arange(120) % 5,
            "color": pd.Categorical(np.array(["red", "blue", "green"])[np.arange(120) % 3]),
        }
    )
    frame.loc[::9, "size"] = np.nan
    frame.loc[::11, "color"] = None
    filled = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    columns = make_column_transformer(
        (SimpleImputer(), ["size", "count"]), (filled, ["color"]), verbose_feature_names_out=False
    )
    model = make_pipeline(columns, DecisionTreeClassifier(max_depth=3))
    data = (frame[:80], y[:80]), (frame[80:], y[80:])
    kernel = {"kernel": pl.KernelSHAP(baseline=frame[:20], samples=8)}
    found = ask(kernel, data, model, fit=None, percentages=[0.34])
    assert not found.failures
    assert found.accuracies(None)[0] > 0.85
    assert found.accuracies("kernel", 0.34)[0] < 0.7


def test_the_pattern_alone_can_be_asked_of_tables_of_numbers():
    from sklearn.tree import DecisionTreeClassifier

    (x, y), (xt, yt) = (tuple(each.numpy() for each in pair) for pair in split(120))
    x[::7, 3] = np.nan
    kernel = {"kernel": pl.KernelSHAP(samples=30)}
    model = DecisionTreeClassifier(max_depth=2)
    found = ask(kernel, ((x, y), (xt, yt)), model, fit=None, leak=True)
    assert not [row for row in found.leaks if row.error]
    assert 0 < found.leak("kernel") < 1


def test_a_trainer_of_torch_takes_tensors_only():
    frame = pd.DataFrame(table(20)[0].numpy())
    labels = table(20)[1].numpy()
    for rows in (frame, frame.to_numpy()):
        with pytest.raises(InputError, match=r"A Trainer must be given tensors .*; got Schema\("):
            ask(data=((rows, labels), (rows, labels)))


# Trainers


def test_a_trainer_that_changes_its_data_changes_no_others():
    def careless(factory, data):
        model = QUICK(factory, data)
        data.inputs.zero_()
        return model

    assert numbers(ask(fit=careless)) == numbers(
        ask(fit=lambda factory, data: QUICK(factory, data))
    )


def test_a_trainer_that_returns_nothing_is_named():
    with pytest.raises(ModelError, match=r"got ModelError: `fit` must return the trained model;"):
        ask(fit=lambda factory, data: None)


def test_a_trainer_of_ones_own_has_gradients_whatever_the_user_turned_off():
    def fit(factory, data):
        model = factory()
        nn.functional.cross_entropy(model(data.inputs), data.labels).backward()
        return model

    with torch.no_grad():
        found = ask(fit=fit)
        assert not torch.is_grad_enabled()
    assert numbers(found) == numbers(ask(fit=fit))


@dataclass(frozen=True)
class Scaled:
    """Trains, and leaves something on the model that its weights do not hold."""

    seed: int = 0

    def __call__(self, factory, data):
        model = replace(QUICK, seed=self.seed)(factory, data)
        model.sign = -1.0
        return model


class Signed(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.sign = linear(), 1.0

    def forward(self, x):
        return self.sign * self.head(x)


def test_a_model_that_its_weights_do_not_restore_is_trained_again(tmp_path):
    whole = ask(model=Signed, fit=Scaled())
    assert 0.0 <= whole.accuracies(None)[0] < 0.2, "the sign is turned after the training"

    class Stop(BaseException):
        pass

    def stop(self, *args):
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.Run, "_maps", stop)
        with pytest.raises(Stop):
            ask(model=Signed, fit=Scaled(), folder=tmp_path / "run")
    again = ask(model=Signed, fit=Scaled(), folder=tmp_path / "run")
    assert numbers(again) == numbers(whole)
    assert [row[:4] for row in again.before] == [row[:4] for row in whole.before]
    ask(folder=tmp_path / "other")
    kept = [(tmp_path / each / "first.safetensors").exists() for each in ("run", "other")]
    assert kept == [False, True]


# What is said


def test_seeds_that_change_nothing_are_no_repetitions():
    """An estimator without chance: an interval of no width would call anything certain."""
    from sklearn.linear_model import LogisticRegression

    arrays = tuple((a.numpy(), b.numpy()) for a, b in split(120))
    kernel = {"kernel": pl.KernelSHAP(samples=30)}
    found = ask(kernel, arrays, LogisticRegression(), fit=None, seeds=3)
    assert not found.varies
    assert found.gain("kernel").seeds == 1
    assert np.isnan(found.gain("kernel").low)
    assert found.verdicts()[0].endswith("seeds that change nothing say not whether by chance.")
    assert any(note.startswith("Every seed gave the same accuracies") for note in found.notes)
    torch_ = ask(seeds=3)
    assert torch_.varies
    assert not any(note.startswith("Every seed") for note in torch_.notes)


def test_proxies_are_asked_of_samples_of_every_class():
    """Test data that are sorted: the first samples are all of one class."""
    (x, y), (xt, yt) = split()
    order = yt.argsort()
    seen = []

    @dataclass(frozen=True, kw_only=True)
    class Seen(metrics()["selectivity"]):
        def judge(self, trial):
            seen.append(trial.case.inputs.leaves[0][:, 0] > 0)
            return super().judge(trial)

    data = (x, y), (xt[order], yt[order])
    found = ask(data=data, proxies=[Seen()], proxy_samples=20)
    assert found.proxies[0]["error"] == ""
    assert len(seen[0]) == 20
    assert 2 < int(seen[0].sum()) < 18


def test_what_has_no_proxy_says_so():
    found = ask(["gradient_x_input", "saliency", Broken()], proxies=["road", "selectivity"])
    lines = [line for line in repr(found).splitlines() if line.startswith("  failed  road: ")]
    assert len(lines) == 1
    assert "must be images or signals" in lines[0]
    assert "selectivity" in repr(found).partition("rank agreement")[2]
    assert found.table().road.isna().all()


def test_a_method_that_fails_on_some_samples_alone_takes_no_others_with_it():
    @dataclass(frozen=True, kw_only=True)
    class Moody(Fixed):
        def attribute(self, case):
            if len(case.inputs.leaves[0]) == 7:
                raise RuntimeError("not seven")
            return super().attribute(case)

    methods = {"moody": Moody(values=(1.0,) * FEATURES), "good": "gradient_x_input"}
    found = ask(methods, proxies=["selectivity"], proxy_samples=7)
    errors = {row["rival"]: row["error"] for row in found.proxies}
    assert errors == {"moody": "RuntimeError: not seven", "good": ""}
    assert not found.failures


def test_large_samples_come_few_at_a_time():
    assert [len(each) for each in chunks_of(Inputs.of(torch.zeros(1100, 2)))] == [512, 512, 76]
    large = torch.zeros(1).expand(20, 3, 1024, 1024)
    sizes = [len(each) for each in chunks_of(Inputs(leaves=(large,), tree=large))]
    assert sizes == [2] * 10
    assert Trainer().batch_size == 64
