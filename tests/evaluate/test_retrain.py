"""Remove and retrain finds planted features, as the textbook says, and steps into no known trap."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import pellucid as pl
from pellucid.errors import InputError, ModelError, UnknownNameError
from pellucid.evaluate import Trainer, roar
from pellucid.evaluate.retrain import ranking as rankings
from pellucid.evaluate.retrain.plan import Plan
from pellucid.evaluate.retrain.ranking import Fill, Ranking, features_of, order, without
from pellucid.run.folder import RunFolder
from pellucid.seeding import seeded
from pellucid.structure import Inputs
from tests.evaluate.retraining import (
    FEATURES,
    FIT,
    Broken,
    Fixed,
    OfTarget,
    images,
    linear,
    picture_model,
    split,
    table,
)

FIRST = Fixed(values=(1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
LAST = Fixed(values=(-1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
PLANTED = {"knows": FIRST, "knows not": LAST}
ONE = 1 / FEATURES


def ask(methods=("gradient_x_input",), data=None, model=linear, **options):
    usual = {"fit": FIT, "seeds": 2, "percentages": [0.5], "proxies": [], "progress": False}
    return roar(model, data or split(), methods, **(usual | options))


# The protocol


def textbook(factory, data, fit, fraction, seeds, keep):
    """Accuracies of gradient times input and every seed, sample by sample and pixel by pixel."""
    (x, y), (xt, yt) = data
    first = replace(fit, seed=seeds[0])(factory, pl.evaluate.Examples(x, y))
    mean = np.stack([x[:, c].numpy().astype(np.float64).mean() for c in range(x.shape[1])])

    def removed(samples):
        made = samples.clone()
        for row in range(len(samples)):
            point = samples[row : row + 1].clone().requires_grad_()
            scores = first(point)
            scores[0, int(scores.argmax())].backward()
            shares = (point.grad * point)[0].sum(0).detach()
            places = sorted(
                ((float(shares[i, j]), i, j) for i in range(4) for j in range(4)), reverse=not keep
            )
            for _, i, j in places[: int(fraction * 16 + 0.5)]:
                for channel in range(samples.shape[1]):
                    made[row, channel, i, j] = mean[channel]
        return made

    found, left, tested = {}, removed(x), removed(xt)
    for seed in seeds:
        model = replace(fit, seed=seed)(factory, pl.evaluate.Examples(left, y))
        with torch.no_grad():
            found[seed] = float((model(tested).argmax(1) == yt).float().mean())
    return found


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("fraction", [0.3, 0.7])
def test_accuracies_are_those_of_the_textbook(keep, fraction):
    fit = Trainer(epochs=6, learning_rate=0.01, batch_size=16)
    found = ask(
        data=images(), model=picture_model, fit=fit, keep=keep, percentages=[fraction], seeds=[4, 9]
    )
    expected = textbook(picture_model, images(), fit, fraction, [4, 9], keep)
    assert found.accuracies("gradient_x_input", fraction) == pytest.approx(expected)
    assert len(set(expected.values()) | {0.0, 1.0}) > 2, "accuracies that could be anything"


def test_planted_features_are_found_and_the_random_ranking_lies_between():
    found = ask(PLANTED, percentages=[ONE, 0.5], seeds=3)
    knows, chance, not_ = (
        np.mean(list(found.accuracies(each, ONE).values()))
        for each in ("knows", "random", "knows not")
    )
    whole = np.mean(list(found.accuracies(None).values()))
    assert knows < 0.65
    assert knows < chance < not_
    assert not_ == pytest.approx(whole, abs=0.05)
    assert found.gain("knows").sign == 1
    assert found.gain("knows not").sign == -1
    assert found.verdicts()[0].startswith(
        "knows: better than a random ranking (accuracy on average"
    )
    assert found.verdicts(ONE)[0].startswith("knows: better than a random ranking (accuracy at 17%")


def test_to_keep_turns_it_round():
    found = ask(PLANTED, percentages=[0.5], seeds=3, keep=True)
    assert found.gain("knows").sign == 1
    assert found.gain("knows not").sign == -1
    assert np.mean(list(found.accuracies("knows not", 0.5).values())) < 0.65
    assert "points above random ranking" in found.verdicts()[0]


def test_a_broken_protocol_is_found(monkeypatch):
    """Mutants: the wrong end is removed; seeds all train alike; means are those of the samples."""
    right = Ranking.removed
    monkeypatch.setattr(
        Ranking,
        "removed",
        lambda self, part, *, keep, rows: right(self, part, keep=not keep, rows=rows),
    )
    with pytest.raises(AssertionError):
        test_planted_features_are_found_and_the_random_ranking_lies_between()
    monkeypatch.undo()
    monkeypatch.setattr(Plan, "fitted", lambda self, seed: replace(self.fit, seed=0))
    with pytest.raises(AssertionError):
        test_accuracies_are_those_of_the_textbook(keep=False, fraction=0.3)
    monkeypatch.undo()
    monkeypatch.setattr(rankings, "_mean", lambda leaf: leaf.mean((1, 2, 3), keepdim=True))
    with pytest.raises(AssertionError):
        test_means_are_those_of_the_channels_of_the_training_set()


def test_removal_without_training_again_runs_beside_it():
    found = ask(PLANTED, percentages=[ONE, 1.0])
    _, before = found.curve_before("knows")
    _, harmless = found.curve_before("knows not")
    assert before[0] == found.accuracies(None)[0]
    assert before[1] < 0.7 < harmless[1]
    assert before[2] == harmless[2]  # nothing is left
    assert {row.seed for row in found.before} == {0}


def test_the_label_leaks_by_the_pattern_and_that_is_measured():
    """Noise of which nothing can be learned: only the place of the hole tells the class."""
    x, y = table()
    noise = torch.randint(2, x.shape, generator=seeded(8)) * 2.0 - 1
    data = (noise[:160], y[:160]), (noise[160:], y[160:])
    model = lambda: nn.Sequential(nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, 2))  # noqa: E731
    fit = replace(FIT, epochs=40, learning_rate=0.02)
    options = {"percentages": [ONE], "target": "label", "leak": True}
    found = ask([OfTarget()], data, model, fit=fit, **options)
    assert np.mean(list(found.accuracies(None).values())) < 0.65
    assert found.leak("of_target") == 1.0
    assert found.leak("random") < 0.7
    assert np.mean(list(found.accuracies("of_target", ONE).values())) > 0.8
    assert any(note.startswith("The true label is explained") for note in found.notes)
    assert "pattern of what is removed alone is enough for: of_target 100.0%" in repr(found)


@pytest.mark.parametrize("target", ["predicted", "label"])
def test_the_explained_class_is_the_one_that_was_asked_for(target, tmp_path):
    x, y = table()
    data = (x[:160], y[:160]), (x[160:], 1 - y[160:])  # every prediction on the test set is wrong
    ask([OfTarget()], data, target=target, folder=tmp_path / "run")
    ranks = RunFolder(path=tmp_path / "run").tensors("maps/0.safetensors")
    first = (ranks["test.ranks"] == 0).int().argmax(1)
    wrong = float((first == 1 - y[160:]).double().mean())
    assert wrong == 1.0 if target == "label" else wrong < 0.2


# What is removed


def test_so_many_are_removed_one_within_the_next_and_nothing_else_is_changed():
    x = torch.rand(3, 2, 4, 4, generator=seeded(1)) + 1
    inputs, features = Inputs.of(x.clone()), features_of(None, Inputs.of(x))
    shares = torch.rand(3, 16, generator=seeded(2))
    alive = torch.ones(3, 16, dtype=torch.bool)
    ranking = Ranking(
        ranks=order(shares, alive, [seeded(n) for n in range(3)]), counts=torch.full((3,), 16)
    )
    fill, before = Fill.of(0.0, inputs, features), torch.zeros(3, 4, 4, dtype=torch.bool)
    for fraction in (0.1, 0.5, 0.7, 1.0):
        made = without(inputs, ranking, features, fill, fraction, keep=False).leaves[0]
        gone = (made == 0).all(1)
        assert gone.flatten(1).sum(1).tolist() == [int(fraction * 16 + 0.5)] * 3
        assert torch.equal(
            made[~gone.unsqueeze(1).expand_as(made)], x[~gone.unsqueeze(1).expand_as(x)]
        )
        assert (gone | ~before).all()
        least = without(inputs, ranking, features, fill, 1 - fraction, keep=True).leaves[0]
        assert not (gone & (least == 0).all(1)).any()  # what one removes the other keeps
        before = gone
    assert torch.equal(inputs.leaves[0], x)


def uneven(ranks):
    """How unevenly the first half of the ranks lies over the places."""
    return float((ranks < ranks.shape[1] // 2).double().mean(0).std())


def test_equal_players_go_in_random_order_and_not_from_the_corner():
    zeros, alive = torch.zeros(400, 16), torch.ones(400, 16, dtype=torch.bool)
    ranks = order(zeros, alive, [seeded(0, n) for n in range(400)])
    assert uneven(ranks) < 0.05
    by_place = zeros.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    assert uneven(by_place) > 0.4  # the mutant


def test_a_constant_map_is_counted_and_said():
    found = ask({"says nothing": Fixed(values=(1.0,) * FEATURES)})
    note = next(each for each in found.notes if each.startswith("says nothing"))
    assert (
        note == "says nothing: 240 maps are the same everywhere; their features go in random order."
    )
    assert not found.gain("says nothing", 0.5).sign


def test_means_are_those_of_the_channels_of_the_training_set():
    (x, _), _ = images()
    fill = Fill.of(None, Inputs.of(x), features_of(None, Inputs.of(x)))
    assert fill.means[0].flatten().tolist() == pytest.approx(
        [float(x[:, c].mean()) for c in (0, 1)]
    )
    table_ = Fill.of(None, Inputs.of(x.flatten(1)), features_of(None, Inputs.of(x.flatten(1))))
    assert torch.allclose(table_.means[0], x.flatten(1).mean(0, keepdim=True), atol=1e-6)


@pytest.mark.parametrize(
    "fill", [0.5, pl.Baseline.blur(), pl.Baseline.inpaint(), pl.Baseline.mean()]
)
def test_other_fills(fill):
    found = ask(data=images(), model=picture_model, fill=fill, percentages=[0.5], seeds=1)
    assert len(found.accuracies("random", 0.5)) == 1
    blurs = isinstance(fill, pl.Baseline) and fill.kind in ("blur", "inpaint")
    assert any("grainy" in note for note in found.notes) == blurs


# Other modalities and models


def test_token_ids():
    ids = torch.randint(2, 30, (300, 7), generator=seeded(3))
    y = torch.arange(300) % 2
    ids[torch.arange(300), torch.arange(300) % 5] = y  # 0 and 1 are the words that count

    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(31, 6)
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.embedding(x).mean(1))

    fit = Trainer(epochs=25, learning_rate=0.05)
    found = ask(
        data=((ids[:200], y[:200]), (ids[200:], y[200:])),
        model=Reader,
        fit=fit,
        fill=pl.Baseline.token(30),
        percentages=[0.3],
        seeds=3,
    )
    assert np.mean(list(found.accuracies(None).values())) > 0.9
    assert found.gain("gradient_x_input").mean > 0.1


def test_an_estimator_on_arrays_is_cloned_and_seeded():
    from sklearn.tree import DecisionTreeClassifier

    x, y = (each.numpy() for each in table(120))
    words = np.array(["no", "yes"])[y]
    tree = DecisionTreeClassifier(max_depth=2, splitter="random")
    found = roar(
        tree,
        ((x[:80], words[:80]), (x[80:], words[80:])),
        {"kernel": pl.KernelSHAP(samples=40)},
        percentages=[ONE],
        seeds=2,
        proxies=["selectivity"],
        progress=False,
    )
    assert not hasattr(tree, "tree_")
    assert not found.failures
    assert np.mean(list(found.accuracies(None).values())) > 0.8
    assert found.gain("kernel").mean > 0
    assert [row["error"] for row in found.proxies] == [""]


def test_an_estimator_on_a_frame_with_categories_and_one_on_texts():
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    y = np.arange(90) % 2
    frame = pd.DataFrame({"color": np.array(["red", "blue"])[y], "size": np.arange(90.0) % 7})
    columns = make_column_transformer((OneHotEncoder(), ["color"]), remainder="passthrough")
    options = {"percentages": [0.5], "seeds": 1, "proxies": [], "progress": False}
    kernel = {"kernel": pl.KernelSHAP(samples=40)}
    model = make_pipeline(columns, LogisticRegression())
    parts = (frame[:60], y[:60]), (frame[60:], y[60:])
    shap = {"kernel": pl.KernelSHAP(baseline=frame[:20], samples=8)}
    found = roar(model, parts, shap, **options)
    assert not found.failures
    assert found.accuracies(None)[0] == 1.0
    assert found.accuracies("kernel", 0.5)[0] < 0.7
    texts = [f"a {('bad', 'good')[k]} film" + " or so" * (n % 3) for n, k in enumerate(y.tolist())]
    reader = make_pipeline(CountVectorizer(), LogisticRegression())
    data = (texts[:60], y[:60]), (texts[60:], y[60:])
    found = roar(reader, data, kernel, **(options | {"percentages": [0.3]}))
    assert not found.failures
    assert found.accuracies(None)[0] == 1.0
    assert found.accuracies("kernel", 0.3)[0] < 0.7


def test_one_score_for_the_second_of_two_classes():
    found = ask(model=lambda: nn.Linear(FEATURES, 1), percentages=[ONE])
    assert np.mean(list(found.accuracies(None).values())) > 0.85
    assert np.mean(list(found.accuracies("gradient_x_input", ONE).values())) < 0.85


def test_a_function_that_trains_may_return_any_callable():
    def fit(factory, data):
        weights = data.inputs.T @ (2.0 * data.labels - 1)
        return lambda rows: torch.stack([-(rows @ weights), rows @ weights], 1)

    found = ask(["gradient_x_input"], fit=fit, percentages=[ONE])
    assert found.accuracies("gradient_x_input", ONE)[0] < 0.7 < found.accuracies(None)[0]


# Nothing global, and the same each time


def test_nothing_global_is_left_changed_and_nothing_global_decides():
    data = split(90)
    copies = [each.clone() for pair in data for each in pair]
    torch.manual_seed(5)
    first = ask(data=data, seeds=1)
    random.seed(1), np.random.seed(1), torch.manual_seed(11)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    again = ask(data=data, seeds=1)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, grad)
    assert all(
        torch.equal(a, b) for a, b in zip(copies, [t for pair in data for t in pair], strict=True)
    )
    assert [row[:4] for row in first.rows] == [row[:4] for row in again.rows]


def test_seeds_differ_and_may_be_named():
    found = ask(seeds=[7, 3], percentages=[0.5])
    assert found.seeds == (7, 3)
    alone = ask(seeds=[3], percentages=[0.5])
    assert alone.accuracies("random", 0.5)[3] == found.accuracies("random", 0.5)[3]
    assert "One seed says nothing" in " ".join(alone.notes)


# What fails


def test_a_method_that_fails_is_a_row_and_the_others_go_on():
    found = ask([Broken(), "gradient_x_input"], percentages=[0.5, 0.9])
    assert [row.rival for row in found.failures] == ["broken"] * 4
    assert found.failures[0].error == "RuntimeError: no map today"
    assert len(found.accuracies("gradient_x_input", 0.9)) == 2
    assert found.verdicts()[-1] == "broken: no accuracy to compare (RuntimeError: no map today)."
    assert found.gain("broken").seeds == 0


def test_maps_that_are_not_finite_fail():
    found = ask([Fixed(values=(float("nan"),) * FEATURES)])
    assert "Values must be finite to rank players by them; got 81920" not in found.failures[0].error
    assert "Values must be finite to rank players" in found.failures[0].error


def never(*args):
    raise AssertionError("trained")


LINEAR = linear()
BAD = {
    "one model": (
        lambda: ask(model=LINEAR),
        r"must make a new model .*; got Linear\. Pass a function",
    ),
    "the same model": (
        lambda: ask(model=lambda: LINEAR),
        r"new model .*; got the same Linear, or its",
    ),
    "no model": (lambda: ask(model=3), r"`model_factory` must make a new model .*; got 3\."),
    "no data": (
        lambda: ask(data=table()),
        r"`data` must be a Split, or .*; got \(float32\[240, 6\]",
    ),
    "labels of another length": (
        lambda: ask(data=((torch.ones(4, 6), torch.ones(3).long()), split()[1])),
        r"labels to train with must be one for each of 4 samples; got int64\[3\]",
    ),
    "labels that are numbers": (
        lambda: ask(data=((torch.ones(4, 6), torch.ones(4)), split()[1])),
        r"must be the numbers of classes, from 0 on; got float32\[4\].*regression",
    ),
    "one class": (
        lambda: ask(data=((torch.ones(4, 6), torch.ones(4).long()), split()[1])),
        r"at least two classes; got one, 1\.",
    ),
    "other shapes": (
        lambda: ask(data=(split()[0], (torch.ones(4, 5), torch.ones(4).long()))),
        r"must have one shape; got \[6\] and \[5\]",
    ),
    "labels never seen": (
        lambda: ask(data=((np.ones((4, 6)), list("abab")), (np.ones((1, 6)), ["c"]))),
        r"labels to test with must be among those to train with; got 'c'",
    ),
    "methods as one string": (
        lambda: ask("saliency"),
        r"`methods` must be a list .*Pass \['saliency'\]",
    ),
    "no method": (lambda: ask([]), r"`methods` must hold at least one method.*; got none"),
    "the random ranking": (lambda: ask({"random": "saliency"}), r"none called 'random'"),
    "an unknown method": (lambda: ask(["salience"]), r"Did you mean 'saliency'\?"),
    "percentages": (lambda: ask(percentages=[10]), r"`percentages` must be fractions .*; got 10\."),
    "twice the same": (lambda: ask(percentages=[0.1, 0.1]), r"each once; got \[0\.1, 0\.1\]"),
    "no seeds": (lambda: ask(seeds=0), r"`seeds` must be a whole number, at least 1; got 0"),
    "a target": (
        lambda: ask(target="labels"),
        r"`target` must be one that .*Did you mean 'label'\?",
    ),
    "a fit": (lambda: ask(fit=3), r"`fit` must be a function .*; got 3"),
    "nothing to fit": (
        lambda: ask(model=dict, fit=None),
        r"`fit` must be given for a model that is",
    ),
    "ids without a fill": (
        lambda: ask(data=((torch.ones(4, 6).long(), torch.arange(4) % 2),) * 2),
        r"`fill` must say which whole number .*; got int64\[4, 6\].*Baseline\.token\(id\)",
    ),
    "a leak of ids": (
        lambda: ask(
            data=((torch.ones(4, 6).long(), torch.arange(4) % 2),) * 2,
            fill=pl.Baseline.token(0),
            leak=True,
        ),
        r"`leak` must be asked of inputs that are numbers",
    ),
    "several fills": (
        lambda: ask(fill=torch.rand(3, 6)),
        r"one reference a sample; got a background",
    ),
    "a proxy that needs masks": (
        lambda: ask(proxies=["pointing_game"]),
        r"A proxy must be a metric",
    ),
    "a proxy that describes": (lambda: ask(proxies=["aopcc"]), r"A metric must be one that exists"),
    "a batch size": (lambda: ask(batch_size=0), r"`batch_size` must be"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_input_is_named_before_anything_is_trained(case, monkeypatch):
    call, message = case
    monkeypatch.setattr(Trainer, "_train", never)
    with pytest.raises((InputError, UnknownNameError), match=message):
        call()


def test_a_first_model_that_cannot_be_trained_is_an_error():
    def fit(factory, data):
        raise RuntimeError("no disk")

    with pytest.raises(
        ModelError, match=r"first model must be trained.*; got RuntimeError: no disk\."
    ):
        ask(fit=fit)
