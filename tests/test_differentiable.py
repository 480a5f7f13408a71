"""Explanations that autograd follows: their derivatives are right, and models learn from them."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.errors import InputError
from pellucid.tape import replay
from tests.zoo.network import normal, seeded

METHODS = {
    "saliency": pl.Saliency(),
    "saliency-squared": pl.Saliency(reduce="squared"),
    "gradient_x_input": pl.GradientXInput(),
    "integrated_gradients": pl.IntegratedGradients(steps=3),
    "interior_gradient": pl.InteriorGradient(alpha=0.3),
    "smoothgrad": pl.SmoothGrad(samples=2),
    "deep_taylor": pl.DeepTaylor(),
    **{f"lrp-{name}": pl.LRP(composite=name) for name in (
        "epsilon", "epsilon-plus-flat", "epsilon-alpha2-beta1", "epsilon-gamma-box", "attnlrp",
    )},
}  # fmt: skip


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(4, 2, 8, 0.0, "gelu", batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x).mean(1))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8, 4), nn.Tanh(),
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)),
    )  # fmt: skip


NETWORKS = {
    "convolutional": (convolutional, (2, 1, 6, 6)),
    "recurrent": (Recurrent, (2, 3, 3)),
    "attending": (Attending, (1, 3, 4)),
}


def made(name: str) -> tuple[nn.Module, Tensor]:
    make, shape = NETWORKS[name]
    return seeded(make()).eval(), normal(*shape, seed=3)


def values(method: pl.Method, net: nn.Module, x: Tensor) -> Tensor:
    return method(net, x, target=1, on_incomplete="ignore", differentiable=True).values


def slope(method: pl.Method, net: nn.Module, x: Tensor, along: Tensor, weigh: Tensor) -> float:
    """The derivative of the weighted values along a direction, by central differences."""
    step = 1e-6
    ends = [(values(method, net, x + sign * step * along) * weigh).sum() for sign in (1, -1)]
    return (ends[0] - ends[1]).item() / (2 * step)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("network", NETWORKS)
def test_derivatives_at_the_input_are_those_of_finite_differences(network, name):
    net, x = made(network)
    point = x.clone().requires_grad_()
    along, weigh = normal(*x.shape, seed=7), normal(*x.shape, seed=8)
    found = (values(METHODS[name], net, point) * weigh).sum()
    (gradient,) = torch.autograd.grad(found, point)
    expected = slope(METHODS[name], net, x, along, weigh)
    assert (gradient * along).sum().item() == pytest.approx(expected, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", ["saliency", "lrp-epsilon", "lrp-epsilon-gamma-box"])
@pytest.mark.parametrize("network", NETWORKS)
def test_derivatives_at_the_parameters_are_those_of_finite_differences(network, name):
    net, x = made(network)
    method, weigh = METHODS[name], normal(*x.shape, seed=8)
    parameters = list(net.parameters())
    found = (values(method, net, x) * weigh).sum()
    gradients = torch.autograd.grad(found, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        along, ends = normal(*parameter.shape, seed=9), []
        for sign in (1, -2):
            with torch.no_grad():
                parameter += sign * 1e-6 * along
            ends.append((values(method, net, x) * weigh).sum().item())
        with torch.no_grad():
            parameter += 1e-6 * along
        slope = 0.0 if gradient is None else float((gradient * along).sum())
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("network", NETWORKS)
def test_values_are_those_that_are_not_followed(network, name):
    net, x = made(network)
    plain = METHODS[name](net, x, target=1, on_incomplete="ignore")
    found = METHODS[name](net, x, target=1, on_incomplete="ignore", differentiable=True)
    assert found.values.requires_grad
    assert found.score.requires_grad
    assert not plain.values.requires_grad
    assert not found.inputs.requires_grad
    assert_close(found.values.detach(), plain.values)
    assert_close(found.score.detach(), plain.score)
    assert found.notes == plain.notes
    assert (found.ledger is None) == (plain.ledger is None)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_batches_are_followed_too():
    net, x = made("convolutional")
    found = pl.explain(net, x, "lrp", target=1, composite="epsilon", differentiable=True,
                       batch_size=1, on_incomplete="ignore")  # fmt: skip
    whole = values(METHODS["lrp-epsilon"], net, x)
    weights = [net[0].weight, net[5].weight]
    pairs = [torch.autograd.grad(v.square().sum(), weights) for v in (found.values, whole)]
    for one, other in zip(*pairs, strict=True):
        assert_close(one, other)


def test_a_model_learns_to_be_right_for_the_right_reasons():
    """The last feature gives the label away in training; a loss on its relevance forbids that."""
    x = normal(200, 4, seed=5)
    labels = (x[:, 0] > 0).long()
    leaky = torch.cat([x, (2.0 * labels - 1).unsqueeze(1).to(x)], 1)

    def relevance(net: nn.Module) -> Tensor:
        """That of the last feature, for the right class, as a part of all."""
        method = pl.LRP(composite="epsilon")
        found = method(
            net, leaky, target=labels.tolist(), on_incomplete="ignore", differentiable=True
        ).values
        return found[:, 4] / found.abs().sum(1)

    def trained(penalty: float) -> nn.Module:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2)).double()
        optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
        for _ in range(100):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(leaky), labels)
            if penalty:
                loss = loss + penalty * relevance(net).square().mean()
            loss.backward()
            optimizer.step()
        return net

    def honest(net: nn.Module) -> float:
        """The accuracy where the last feature says the opposite."""
        turned = torch.cat([leaky[:, :4], -leaky[:, 4:]], 1)
        return float((net(turned).argmax(1) == labels).float().mean())

    assert honest(trained(0.0)) < 0.6
    assert honest(trained(5.0)) > 0.9


def test_statistics_that_are_not_followed_would_be_found(monkeypatch):
    """Layer norm gives its deviation without a gradient; taken as a constant, slopes are wrong."""
    net, x = made("attending")
    along, weigh = normal(*x.shape, seed=7), normal(*x.shape, seed=8)
    point = x.clone().requires_grad_()

    def sloped() -> float:
        found = (values(METHODS["lrp-epsilon"], net, point) * weigh).sum()
        return float((torch.autograd.grad(found, point)[0] * along).sum())

    right = sloped()
    monkeypatch.setattr(replay, "_written_out", lambda function: None)
    assert sloped() != pytest.approx(right, rel=1e-2)


def test_a_method_that_cannot_be_followed_says_so():
    net, x = made("convolutional")
    with pytest.raises(InputError, match=r"differentiable.*got occlud|got gradcam.*saliency.*lrp"):
        pl.explain(net, x, "gradcam", differentiable=True)


def test_embeddings_are_taken_as_given():
    net = seeded(nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2)))
    ids = torch.tensor([[1, 5, 2]])
    found = pl.explain(net, ids, "lrp", target=0, differentiable=True, on_incomplete="ignore")
    assert any("embeddings, which are taken as given" in note for note in found.notes)
    (slope,) = torch.autograd.grad(found.values.square().sum(), net[2].weight)
    assert slope.abs().sum() > 0
