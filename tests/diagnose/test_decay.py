"""Correlation of maps with distance and depth."""

import dataclasses

import pytest
import torch
from torch import nn

from pellucid.diagnose import diagnose_noise
from pellucid.diagnose.findings import jumps, steady
from pellucid.diagnose.study import correlation
from tests.diagnose import planted

FEW = {"alphas": [0, 1], "fractions": [0.5], "points": 4}


def gradient(model, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x)[:, 0].sum(), x)[0].flatten(1)


def pearson(a, b):
    return torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(a, b, strict=True)])


def test_correlations_are_those_of_the_textbook():
    torch.manual_seed(3)
    model, x = planted.perceptron(2), torch.randn(3, 4).double()
    distances = [0.05, 0.3]
    found = diagnose_noise(model, x, 0, ["saliency"], distances=distances, draws=3, **FEW).decay
    for draw in range(3):
        for k, distance in enumerate(distances):
            there = x + distance * planted.step(x, draw)
            expected = pearson(gradient(model, x), gradient(model, there))
            torch.testing.assert_close(found.correlation[:, 0, 0, draw, k], expected)
            change = (model(there) - model(x))[:, 0].detach()
            torch.testing.assert_close(found.change[:, draw, k], change)


def test_correlations_at_layers_are_those_of_the_textbook():
    torch.manual_seed(3)
    model, x = planted.perceptron(3), torch.randn(2, 4).double()
    found = diagnose_noise(
        model, x, 0, ["saliency"], distances=[0.2], layers=["3", "1"], draws=2, **FEW
    ).decay
    assert found.layers == (None, "1", "3")  # in the order in which they run
    there = x + 0.2 * planted.step(x, 1)
    for number, stop in ((1, 2), (2, 4)):
        maps = [gradient(model[stop:], model[:stop](point).detach()) for point in (x, there)]
        torch.testing.assert_close(found.correlation[:, 0, number, 1, 0], pearson(*maps))


def test_the_map_of_a_linear_model_stays():
    model, x = nn.Linear(6, 2).double(), torch.randn(2, 6).double()
    found = diagnose_noise(model, x, 1, ["saliency"])
    assert (found.decay.correlation == 1).all()
    assert not jumps(found, 0, 0)


def test_gradients_of_deep_networks_are_shattered():
    """Balduzzi et al.: with depth the gradient forgets, and with skip connections it does less."""

    class Skipping(nn.Module):
        def __init__(self, depth):
            super().__init__()
            self.first, self.last = nn.Linear(16, 60), nn.Linear(60, 1)
            self.layers = nn.ModuleList(nn.Linear(60, 60) for _ in range(depth))
            for layer in self.layers:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                layer.weight.data *= 0.1
            self.double()

        def forward(self, x):
            y = self.first(x)
            for layer in self.layers:
                y = y + layer(y).relu()
            return self.last(y)

    torch.manual_seed(0)
    x = torch.randn(4, 16).double()
    models = [planted.perceptron(1, entries=16), planted.perceptron(24, entries=16), Skipping(24)]
    means = [
        diagnose_noise(model, x, 0, ["saliency"], distances=[0.1], **FEW)
        .decay.correlation[:, 0, 0].mean().item()
        for model in models
    ]  # fmt: skip
    shallow, deep, skipping = means
    assert deep < 0.4 < 0.7 < shallow
    assert skipping > 0.9


def test_a_shattered_network_is_called_so():
    torch.manual_seed(0)
    found = diagnose_noise(planted.perceptron(40), torch.randn(1, 4).double(), 0, ["saliency"])
    k = steady(found, 0)
    change = found.decay.change[0].abs().mean(0)
    rise = (found.saturation.scores[0, -1] - found.saturation.scores[0, 0]).abs()
    assert (change[: k + 1] <= 0.1 * rise).all()
    assert jumps(found, 0, 0) == bool(found.decay.correlation[0, 0, 0, :, k].mean() < 0.5)


def waves(x):
    return torch.sin(3 * x.flatten(1)).sum(1, keepdim=True)


def even(x):
    """The same at the baseline and at the input, and nowhere else."""
    return (x.flatten(1).mean(1, keepdim=True) - 0.5).abs()


@pytest.mark.parametrize("model", [waves, even])
def test_no_map_jumps_while_the_score_stays_where_it_never_does(model):
    x = torch.rand(1, 1, 8, 8) * 6 if model is waves else torch.linspace(0, 2, 64).view(1, 1, 8, 8)
    found = diagnose_noise(model, x, 0, ["saliency"], distances=[0.5], **FEW)
    assert steady(found, 0) is None
    assert found.decay.correlation.mean() < 0.5 or model is even
    assert not jumps(found, 0, 0)
    assert "jumps" not in found.findings()[0]
    assert "At no distance does the score stay, so that this is not known." in found.findings()[2]
    found.plot().canvas.draw()


def test_a_score_that_only_comes_back_does_not_stay():
    """It is as at the input at the farthest distance again, and not between."""
    part = dataclasses.replace(
        (found := diagnose_noise(planted.perceptron(1), torch.randn(1, 4).double(), 0)).decay,
        change=torch.tensor([[[0.0, 0.0, 9.0, 9.0, 0.0]] * 4]),
    )
    assert steady(dataclasses.replace(found, decay=part), 0) == 1


def test_layers_are_found_that_all_of_the_signal_passes():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.left, self.right = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 8)
            self.join, self.head = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            y = self.stem(x).relu()
            return self.head(self.join(self.left(y).relu() + self.right(y).relu()).relu())

    found = diagnose_noise(Branching(), torch.randn(2, 3), 0, ["saliency"], **FEW).decay
    assert found.layers == (None, "stem", "join")
    assert found.correlation.isfinite().all()


def test_a_method_that_cannot_be_asked_at_layers_is_asked_at_the_input():
    model = planted.perceptron(2).float()
    found = diagnose_noise(model, torch.randn(1, 4), 0, ["saliency", "taylor"], **FEW).decay
    assert found.correlation[0, 0].isfinite().all()
    assert found.correlation[0, 1, 0].isfinite().all()
    assert found.correlation[0, 1, 1:].isnan().all()
    alone = diagnose_noise(model, torch.randn(1, 4), 0, ["taylor"], **FEW).decay
    assert alone.layers == (None,)


def test_correlation_is_pearsons():
    a, b = torch.randn(5, 30).double(), torch.randn(5, 30).double()
    torch.testing.assert_close(correlation(a, b), pearson(a, b))
    torch.testing.assert_close(correlation(a, 2 * a + 1), torch.ones(5).double())
    torch.testing.assert_close(correlation(a, -a), -torch.ones(5).double())
    assert correlation(torch.ones(1, 3), torch.tensor([[1.0, 2.0, 3.0]])).isnan()


def test_a_sample_without_a_range_is_moved_by_its_size():
    model = planted.perceptron(1, entries=3)
    x = torch.full((1, 3), 2.0).double()
    found = diagnose_noise(model, x, 0, ["saliency"], distances=[0.25], draws=2, **FEW).decay
    noise = torch.randn(3, generator=torch.Generator().manual_seed(1)).double()
    change = (model(x + 0.25 * 2 * noise) - model(x))[0, 0]
    torch.testing.assert_close(found.change[0, 1, 0], change.detach())


@pytest.mark.parametrize("seed", [1, 7])
def test_another_seed_is_another_line(seed):
    model, x = planted.perceptron(2), torch.randn(1, 4).double()
    here, there, again = (
        diagnose_noise(model, x, 0, ["saliency"], seed=s, **FEW).decay.change
        for s in (0, seed, seed)
    )
    assert torch.equal(there, again)
    assert not torch.equal(here, there)
