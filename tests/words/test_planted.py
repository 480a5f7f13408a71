"""A planted word, and a planted moment of a signal, get the most relevance in trained nets."""

import functools

import pytest
import torch
from torch import nn

import pellucid as pl

VOCABULARY, LENGTH, PLANTED = 20, 12, 7
CHANNELS, POSITIONS, CHANNEL, WIDTH = 3, 40, 1, 4
METHODS = ["lrp", "gradient_x_input", "integrated_gradients"]
# The gradient through gates that are open or shut is next to nothing.
THROUGH_GATES = ["lrp", "integrated_gradients"]


class TextCNN(nn.Module):
    """Words, and two of them in a row; the strongest match of each filter."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.filters = nn.ModuleList(nn.Conv1d(8, 8, n) for n in (1, 2))
        self.head = nn.Linear(16, 2)

    def forward(self, ids):
        found = self.embedding(ids).mT
        return self.head(torch.cat([f(found).relu().amax(2) for f in self.filters], 1))


class TextLSTM(nn.Module):
    """The strongest that each state has been."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.lstm = nn.LSTM(8, 12, batch_first=True)
        self.head = nn.Linear(12, 2)

    def forward(self, ids):
        return self.head(self.lstm(self.embedding(ids))[0][:, -1])


class SignalCNN(nn.Sequential):
    """One layer of filters, and what of them is there on average."""

    def __init__(self):
        super().__init__(
            nn.Conv1d(CHANNELS, 8, 5, padding=2), nn.ReLU(),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2),
        )  # fmt: skip


class SignalLSTM(nn.Module):
    """The states on average."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(CHANNELS, 12, batch_first=True)
        self.head = nn.Linear(12, 2)

    def forward(self, signals):
        return self.head(self.lstm(signals.mT)[0].mean(1))


def texts(count, seed):
    """Texts of other words; every second has the planted one, once, at the place returned."""
    source = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, VOCABULARY - 1, (count, LENGTH), generator=source)
    ids += ids >= PLANTED
    places = torch.randint(0, LENGTH, (count,), generator=source)
    classes = torch.arange(count) % 2
    ids[torch.arange(count), places] = torch.where(
        classes == 1, PLANTED, ids[torch.arange(count), places]
    )
    return ids, classes, places


def signals(count, seed):
    """Noise; every second signal has a bump in one channel, at the place returned."""
    source = torch.Generator().manual_seed(seed)
    found = 0.5 * torch.randn(count, CHANNELS, POSITIONS, generator=source)
    places = torch.randint(0, POSITIONS - WIDTH, (count,), generator=source)
    classes = torch.arange(count) % 2
    for row in range(1, count, 2):
        found[row, CHANNEL, places[row] : places[row] + WIDTH] += 3
    return found, classes, places


@functools.cache
def trained(make, data, steps):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make()
    inputs, classes, _ = data(256, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), classes).backward()
        optimizer.step()
    tested, right, _ = data(200, seed=1)
    assert (model(tested).argmax(1) == right).float().mean() > 0.95, "there is something to explain"
    return model.eval().requires_grad_(False)


def explained(model, inputs, name):
    options = {"lrp": {"composite": "lstm" if hasattr(model, "lstm") else "epsilon"}}
    return pl.explain(
        model, inputs, name, target=(1, 0), on_incomplete="ignore", **options.get(name, {})
    )


@pytest.mark.parametrize(
    ("make", "steps", "name"),
    [
        *((TextCNN, 60, name) for name in METHODS),
        *((TextLSTM, 150, name) for name in THROUGH_GATES),
    ],
)
def test_the_planted_word_has_the_largest_value(make, steps, name):
    model = trained(make, texts, steps)
    ids, classes, places = texts(60, seed=2)
    found = explained(model, ids[classes == 1], name)
    assert (found.values.argmax(1) == places[classes == 1]).float().mean() > 0.9
    words = found.group([[f"word{i}" for i in row] for row in ids[classes == 1].tolist()])
    assert (words.top(1)["text"] == f"word{PLANTED}").mean() > 0.85


@pytest.mark.parametrize(
    ("make", "steps", "name"),
    [
        *((SignalCNN, 60, name) for name in METHODS),
        *((SignalLSTM, 100, name) for name in THROUGH_GATES),
    ],
)
def test_the_planted_moment_has_the_largest_values(make, steps, name):
    model = trained(make, signals, steps)
    inputs, classes, places = signals(60, seed=2)
    found = explained(model, inputs[classes == 1], name)
    windows = found.values[:, CHANNEL].unfold(1, WIDTH, 1).sum(2)
    near = (windows.argmax(1) - places[classes == 1]).abs() <= 1
    assert near.float().mean() > 0.9
    shares = found.values.clamp(min=0).sum(2)
    assert (shares.argmax(1) == CHANNEL).float().mean() > 0.9


def test_gates_hide_the_planted_word_from_the_gradient_alone():
    ids, classes, places = texts(60, seed=2)
    right = [
        (found.values.argmax(1) == places[classes == 1]).float().mean()
        for found in (
            explained(trained(TextLSTM, texts, 150), ids[classes == 1], name)
            for name in ("gradient_x_input", "lrp")
        )
    ]
    assert right[0] < 0.7 < right[1]


def test_a_net_that_was_not_trained_finds_nothing():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = TextCNN().requires_grad_(False)
    ids, classes, places = texts(60, seed=2)
    found = explained(model, ids[classes == 1], "lrp")
    assert (found.values.argmax(1) == places[classes == 1]).float().mean() < 0.5
