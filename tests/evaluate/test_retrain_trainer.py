"""The ready trainers learn, stop in time, and say what is wrong."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.errors import InputError, ModelError, UnknownNameError
from pellucid.evaluate import EstimatorFit, Examples, Split, Trainer
from pellucid.evaluate.retrain import chance
from pellucid.evaluate.retrain.trainer import batches_of, loss_of
from tests.evaluate.retraining import FEATURES, FIT, linear, table

DATA = Examples(*table(120))


def weights(model):
    return torch.cat([each.flatten() for each in model.state_dict().values()])


def test_steps_are_those_of_the_textbook():
    """Gradient descent with momentum, written out, on the same order of samples."""
    fit = Trainer(epochs=1, batch_size=120, optimizer="sgd", learning_rate=0.3)
    x, y = DATA
    with chance(0):
        start = linear()
    model = fit(linear, DATA)
    scores = x.numpy() @ start.weight.detach().numpy().T + start.bias.detach().numpy()
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    errors = (shares - np.eye(2)[y.numpy()]) / 120
    expected = start.weight.detach().numpy() - 0.3 * errors.T @ x.numpy()
    assert np.allclose(model.weight.detach().numpy(), expected, atol=1e-6)
    assert not model.training


def test_a_seed_decides_all_and_seeds_differ():
    drop = lambda: nn.Sequential(nn.Dropout(0.5), linear())  # noqa: E731
    torch.manual_seed(1)
    first = weights(FIT(drop, DATA))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(weights(FIT(drop, DATA)), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(weights(replace(FIT, seed=1)(drop, DATA)), first)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_it_learns_whatever_the_optimizer(optimizer):
    model = replace(FIT, optimizer=optimizer, weight_decay=1e-4)(linear, DATA)
    assert float((model(DATA.inputs).argmax(1) == DATA.labels).float().mean()) > 0.9


def test_patience_ends_a_training_that_gets_worse_and_keeps_the_best():
    """Labels are noise: the loss on held-out samples rises while the model learns by heart."""
    noise = torch.randint(2, (120,), generator=torch.Generator().manual_seed(4))
    calls = []

    class Counted(nn.Linear):
        def forward(self, x):
            if self.training:
                calls.append(len(x))
            return super().forward(x)

    fit = Trainer(epochs=200, learning_rate=0.1, patience=3, holdout=0.25)
    model = fit(lambda: Counted(FEATURES, 2), Examples(DATA.inputs, noise))
    epochs = len(calls) / 2
    assert epochs < 100
    assert sum(calls[:2]) == 90
    short = replace(fit, epochs=int(epochs) - 3)(
        lambda: Counted(FEATURES, 2), Examples(DATA.inputs, noise)
    )
    assert torch.equal(weights(model), weights(short))


def test_a_last_batch_of_one_joins_another():
    sizes = [len(each) for each in batches_of(torch.arange(65), 32)]
    assert sizes == [32, 33]
    normed = lambda: nn.Sequential(nn.BatchNorm1d(FEATURES), linear())  # noqa: E731
    rows = Examples(DATA.inputs[:65], DATA.labels[:65])
    assert not Trainer(epochs=1, batch_size=32)(normed, rows).training


def test_parameters_that_are_made_by_the_first_run_are_trained():
    model = FIT(lambda: nn.LazyLinear(2), DATA)
    assert float((model(DATA.inputs).argmax(1) == DATA.labels).float().mean()) > 0.9


def test_the_loss_of_one_score_is_that_of_two():
    scores, labels = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([1, 0, 0])
    two = torch.stack([torch.zeros(3), scores], 1)
    expected = -sum(
        math.log(1 / (1 + math.exp(-s if k else s)))
        for s, k in zip(scores.tolist(), labels, strict=True)
    )
    for found in (scores, scores[:, None], two):
        assert float(loss_of(found, labels)) == pytest.approx(expected / 3)


def test_models_of_several_inputs_and_of_dicts():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(FEATURES, 2)

        def forward(self, x, scale):
            return {"logits": self.head(x) * scale}

    data = Examples({"x": DATA.inputs, "scale": torch.ones(120, 1)}, DATA.labels)
    model = FIT(Two, data)
    found = model(DATA.inputs, torch.ones(1))["logits"].argmax(1)
    assert float((found == DATA.labels).float().mean()) > 0.9


BAD = {
    "probabilities": (
        lambda: nn.Sequential(linear(), nn.Softmax(1)),
        ModelError,
        r"must return scores before softmax to be trained; got probabilities",
    ),
    "too few classes": (
        lambda: nn.Linear(FEATURES, 1, bias=False),
        InputError,
        r"Labels must be classes of the model, from 0 to 1; got 2",
    ),
    "maps": (lambda: nn.Unflatten(1, (2, 3)), ModelError, r"scores \(sample, class\); got float32"),
    "a tuple": (lambda: nn.LSTM(FEATURES, 2), ModelError, r"one that is called `logits`; got \("),
    "no module": (
        lambda: len,
        InputError,
        r"must make a torch module; got <built-in function len>",
    ),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_a_model_that_cannot_be_trained_is_named(case):
    factory, kind, message = case
    labels = DATA.labels + 1 if "classes" in message else DATA.labels
    with pytest.raises(kind, match=message):
        FIT(factory, Examples(DATA.inputs, labels))


def test_a_training_that_diverges_is_named():
    class Exploding(nn.Linear):
        def forward(self, x):
            return super().forward(x) * (torch.inf if self.training else 1)

    with pytest.raises(
        ModelError, match=r"stay finite; got nan in epoch 1\. Take a lower .* 0\.1\."
    ):
        FIT(lambda: Exploding(FEATURES, 2), DATA)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"epochs": 0}, r"`epochs` must be a whole number, at least 1; got 0"),
        ({"batch_size": 1.5}, r"`batch_size` must be a whole number"),
        ({"learning_rate": -1}, r"`learning_rate` must be a number above 0; got -1"),
        ({"optimizer": "adan"}, r"`optimizer` must be one that exists.*Did you mean 'adam'"),
        ({"patience": 0}, r"`patience` must be"),
        ({"holdout": 1.0}, r"`holdout` must be a share"),
        ({"weight_decay": -1}, r"`weight_decay` must be"),
    ],
)
def test_options_are_checked_when_a_trainer_is_made(option, message):
    with pytest.raises((InputError, UnknownNameError), match=message):
        Trainer(**option)


def test_estimators_get_the_seed_wherever_they_take_one():
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    made = lambda: make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=0))  # noqa: E731
    found = [EstimatorFit(seed=seed)(made, DATA) for seed in (5, 5, 6)]
    states = [each[-1].random_state for each in found]
    assert states == [5, 5, 6]
    odds = [each.predict_proba(DATA.inputs.numpy()) for each in found]
    assert np.array_equal(odds[0], odds[1])
    assert not np.array_equal(odds[0], odds[2])


def test_chance_is_that_of_the_seed_in_all_three():
    import random

    def draws():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    with chance(3):
        first = draws()
    with chance(3):
        assert draws() == first
    with chance(4):
        assert all(a != b for a, b in zip(draws(), first, strict=True))


def test_split_keeps_pairs_together_and_loses_none():
    x, y = DATA
    found = Split.of(x, y, test=0.25, seed=2)
    assert (len(found.train.labels), len(found.test.labels)) == (90, 30)
    both = torch.cat([found.train.inputs, found.test.inputs])
    assert sorted(both[:, 1].tolist()) == sorted(x[:, 1].tolist())
    for part in (found.train, found.test):
        assert torch.equal((part.inputs[:, 0] > 0).long(), part.labels)
    again = Split.of(x, y, test=0.25, seed=3)
    assert not torch.equal(again.test.inputs, found.test.inputs)
    words = Split.of(["a b", "c", "d", "e f"], list("abab"), test=0.5)
    assert len(words.train.inputs) == 2
    assert all(isinstance(each, str) for each in words.train.inputs)
    with pytest.raises(InputError, match=r"`test` must be a share .*; got 2"):
        Split.of(x, y, test=2)
    with pytest.raises(
        InputError, match=r"Both parts of a split must have samples; got 0 to train"
    ):
        Split.of(x, y, test=1.0)
