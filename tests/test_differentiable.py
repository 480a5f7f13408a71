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
    ways = [normal(*each.shape, seed=9 + number) for number, each in enumerate(parameters)]
    found = (values(method, net, x) * weigh).sum()
    gradients = torch.autograd.grad(found, parameters, allow_unused=True)
    ends = []
    for sign in (1, -2):
        with torch.no_grad():
            for parameter, along in zip(parameters, ways, strict=True):
                parameter += sign * 1e-6 * along
        ends.append((values(method, net, x) * weigh).sum().item())
    pairs = zip(gradients, ways, strict=True)
    slope = sum(float((g * along).sum()) for g, along in pairs if g is not None)
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


class Around(nn.Module):
    """One operation between two layers."""

    def __init__(self, inside: object, width: int = 6) -> None:
        super().__init__()
        self.enter, self.head, self.inside = nn.Linear(4, 6), nn.Linear(width, 2), inside

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inside(self.enter(x)))


def over(h: Tensor) -> Tensor:
    """A write into a part of it."""
    h = h.clone()
    h[:, 1:3] = torch.relu(h[:, 1:3])
    return h


def image(h: Tensor) -> Tensor:
    return h.reshape(len(h), 1, 2, 3)


OPERATIONS = {
    "max": (lambda h: h.reshape(-1, 3, 2).max(-1)[0], 3),
    "amax": (lambda h: h.reshape(-1, 3, 2).amax(-1), 3),
    "prod": (lambda h: h.reshape(-1, 3, 2).prod(-1), 3),
    "sort": (lambda h: h.sort(1)[0], 6),
    "topk": (lambda h: h.topk(6, 1)[0], 6),
    "norm": (lambda h: h.reshape(-1, 3, 2).norm(dim=-1), 3),
    "std": (lambda h: h / h.std(1, keepdim=True), 6),
    "roll": (lambda h: h.roll(1, 1), 6),
    "index_select": (lambda h: h.index_select(1, torch.tensor([5, 4, 3, 2, 1, 0])), 6),
    "cumsum": (lambda h: h.cumsum(1), 6),
    "written over": (over, 6),
    "interpolate": (lambda h: nn.functional.interpolate(image(h), scale_factor=2).flatten(1), 24),
    "bilinear": (
        lambda h: nn.functional.interpolate(image(h), scale_factor=2, mode="bilinear").flatten(1),
        24,
    ),
    "reflect": (lambda h: nn.functional.pad(image(h), (1, 1, 1, 1), "reflect").flatten(1), 20),
    "adaptive": (lambda h: nn.functional.adaptive_avg_pool2d(image(h), (1, 2)).flatten(1), 2),
    "avg_pool3d": (
        lambda h: nn.functional.avg_pool3d(image(h)[:, None], (1, 2, 2), 1).flatten(1),
        2,
    ),
    "group norm": (lambda h: nn.functional.group_norm(h, 2), 6),
    "layer norm": (lambda h: nn.functional.layer_norm(h, (6,)), 6),
    "instance norm": (lambda h: nn.functional.instance_norm(h.reshape(-1, 2, 3)).flatten(1), 6),
    "log_softmax": (lambda h: nn.functional.log_softmax(h, 1), 6),
}


@pytest.mark.parametrize("composite", ["epsilon", "attnlrp"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_derivatives_through_operations_of_all_kinds(name, composite):
    inside, width = OPERATIONS[name]
    net, x = seeded(Around(inside, width)).eval(), normal(2, 4, seed=3)
    method, point = pl.LRP(composite=composite), x.clone().requires_grad_()
    along, weigh = normal(2, 4, seed=7), normal(2, 4, seed=8)
    (gradient,) = torch.autograd.grad((values(method, net, point) * weigh).sum(), point)
    expected = slope(method, net, x, along, weigh)
    assert (gradient * along).sum().item() == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_an_adjoint_that_is_not_followed_would_be_found(monkeypatch):
    """The fault that it guards against: an operation run again on detached values."""
    from pellucid.tape import operations

    right = operations._leaf
    monkeypatch.setattr(operations, "_leaf", lambda value, followed: right(value, followed=False))
    with pytest.raises(AssertionError):
        test_derivatives_through_operations_of_all_kinds("norm", "epsilon")


def test_a_model_that_trains_keeps_its_buffers_and_its_graph():
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)).double().train()
    x, before = normal(5, 4), net[1].running_mean.clone()
    with pytest.warns(pl.errors.TrainingModeWarning):
        _ = values(METHODS["lrp-epsilon"], net, x)
    assert torch.equal(net[1].running_mean, before)
    assert all(buffer.grad_fn is None for buffer in net.buffers())
    loss = net(x).square().sum()
    with pytest.warns(pl.errors.TrainingModeWarning):
        (loss + values(METHODS["lrp-epsilon"], net, x).square().sum()).backward()
    assert net[0].weight.grad.abs().sum() > 0


class Severed(nn.Module):
    """A parameter in memory into which the input is written."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.head = nn.Parameter(torch.randn(4)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        whole = torch.zeros(len(x), 3, 4, dtype=x.dtype)
        whole[:, 0] = self.token
        whole[:, 1:] = x
        return self.head(whole.softmax(1).tanh().mean(1))


def test_a_parameter_that_the_tape_loses_sight_of_is_told():
    net, x = seeded(Severed()), normal(2, 2, 4)
    options = {"target": 0, "differentiable": True, "on_incomplete": "ignore"}
    found = pl.explain(net, x, "lrp", **options)
    assert any("memory that holds parameters" in note for note in found.notes)
    found = pl.explain(net, x, "gradient_x_input", **options)
    assert not any("memory that holds parameters" in note for note in found.notes)
    (slope,) = torch.autograd.grad(found.values.square().sum(), net.token)
    assert slope.abs().sum() > 0


class Sevenfold(torch.autograd.Function):
    """A backward function that is not the derivative."""

    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(context: object, signal: Tensor) -> Tensor:
        return 7 * signal


def test_backward_functions_of_the_users_own_count():
    net, x = (lambda x: Sevenfold.apply(x).tanh()), normal(2, 3)
    plain = pl.explain(net, x, "saliency", target=0)
    found = pl.explain(net, x, "saliency", target=0, differentiable=True)
    assert_close(found.values.detach(), plain.values)
    assert plain.values.abs().max() > 2
