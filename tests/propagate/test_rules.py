"""Relevance rules against their textbook versions, and where relevance goes."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.propagate.rules import Epsilon, Flat, Pass, ZPlus, stabilize
from tests import textbook, zoo
from tests.zoo.network import normal, seeded

RULES = {"epsilon": Epsilon(), "zplus": ZPlus(), "flat": Flat()}


def lrp(model: nn.Module, x: Tensor, k: int = 0, **options: object) -> pl.Explanation:
    return pl.explain(model, x, "lrp", target=k, **options)


def dense_net(bias: bool) -> nn.Sequential:
    return seeded(
        nn.Sequential(
            nn.Linear(4, 6, bias=bias), nn.ReLU(), nn.Linear(6, 5, bias=bias), nn.ReLU(),
            nn.Linear(5, 3, bias=bias),
        )
    )  # fmt: skip


def conv_net(bias: bool) -> nn.Sequential:
    return seeded(
        nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1, bias=bias),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(3, 4, 2, stride=1, bias=bias),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4, 3, bias=bias),
        )
    )


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("rule", RULES)
def test_one_rule_on_a_dense_network(rule, bias):
    net, x = dense_net(bias), normal(2, 4, seed=5)
    found = lrp(net, x, 1, rules=RULES[rule]).values
    for n in range(2):
        rules = dict.fromkeys((0, 2, 4), rule)
        expected = textbook.relevance(list(net), x[n : n + 1], 1, rules)
        assert_close(found[n : n + 1], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("rule", RULES)
def test_one_rule_on_a_convolutional_network(rule, bias):
    net, x = conv_net(bias), normal(2, 2, 6, 6, seed=5)
    found = lrp(net, x, 2, rules=RULES[rule]).values
    for n in range(2):
        rules = dict.fromkeys((0, 3, 7), rule)
        expected = textbook.relevance(list(net), x[n : n + 1], 2, rules)
        assert_close(found[n : n + 1], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_the_composite_epsilon_plus_flat(bias):
    net, x = conv_net(bias), normal(2, 2, 6, 6, seed=5)
    found = lrp(net, x, 2, composite="epsilon-plus-flat").values
    for n in range(2):
        expected = textbook.relevance(list(net), x[n : n + 1], 2, {0: "flat"}, conv_rule="zplus")
        assert_close(found[n : n + 1], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv1d(2, 4, 3, stride=2, padding=1),
        nn.Conv2d(4, 4, 3, groups=2, dilation=2),
        nn.Conv3d(2, 3, 2),
        nn.ConvTranspose2d(2, 3, 3, stride=2, output_padding=1),
        nn.ConvTranspose2d(4, 4, 2, groups=2),
        nn.Linear(5, 3),
    ],
    ids=repr,
)
@pytest.mark.parametrize("rule", ["epsilon", "zplus"])
def test_every_layer_with_weights(conv, rule):
    """One layer and a sum, so that every output gets its own value as relevance."""
    layer = seeded(conv)
    channels = getattr(layer, "in_channels", layer.weight.shape[1])
    shape = (1, channels, *(5,) * (layer.weight.ndim - 2)) if layer.weight.ndim > 2 else (1, 5)
    x = normal(*shape, seed=7)
    found = lrp(Summed(layer), x, rules=RULES[rule]).values
    matrix = textbook.matrix_of(lambda t: layer(t).detach(), x.shape[1:])
    z = layer(x).detach().flatten()
    # The sum shares by epsilon too: z_j / stabilize(sum z) * sum z.
    total = float(z.sum())
    arriving = z * total / (total + (1e-6 if total >= 0 else -1e-6))
    expected = getattr(textbook, f"{rule}_rule")(matrix, x.flatten(), arriving)
    assert_close(found.flatten(), expected, rtol=1e-7, atol=1e-9)


class Summed(nn.Module):
    """A layer, and the sum of what it gives as the only score."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).flatten(1).sum(1, keepdim=True)


class Block(nn.Module):
    """What a class the library has never seen may do with branches."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.stem = seeded(nn.Conv2d(2, 4, 3, padding=1, bias=False))
        self.a = seeded(nn.Conv2d(4, 4, 3, padding=1, bias=False), 1)
        self.b = seeded(nn.Conv2d(4, 4, 3, padding=1, bias=False), 2)
        self.up = seeded(nn.ConvTranspose2d(4, 4, 2, stride=2, bias=False), 3)
        self.head = seeded(nn.Linear(4, 3, bias=False), 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x).relu()
        out = getattr(self, self.how)(h)
        return F.linear(out.mean((2, 3)), self.head.weight[:, :1].expand(3, out.shape[1]))

    def residual(self, h: Tensor) -> Tensor:
        return (h + self.b(self.a(h).relu())).relu()

    def in_place(self, h: Tensor) -> Tensor:
        out = self.b(F.relu_(self.a(h)))
        out += h
        return F.relu_(out)

    def eight_deep(self, h: Tensor) -> Tensor:
        for _ in range(8):
            h = h + self.a(h).relu()
        return h

    def dense(self, h: Tensor) -> Tensor:
        first = torch.cat([h, self.a(h).relu()], 1)
        return torch.cat([first, self.b(first[:, 2:6])], 1)

    def stacked(self, h: Tensor) -> Tensor:
        return torch.stack([h, self.a(h), self.b(h)], 1).sum(1)

    def u_net(self, h: Tensor) -> Tensor:
        low = self.a(F.max_pool2d(h, 2)).relu()
        return torch.cat([self.up(low), h], 1)

    def difference(self, h: Tensor) -> Tensor:
        return self.a(h) - self.b(h)

    def split(self, h: Tensor) -> Tensor:
        left, right = h.chunk(2, 1)
        return torch.cat([right + left, left], 1)

    def twice(self, h: Tensor) -> Tensor:
        return h + h

    def written(self, h: Tensor) -> Tensor:
        out = self.a(h)
        out[:, :2] += h[:, 2:]
        out[:, 3] = h[:, 0]
        return out.relu()

    def scaled(self, h: Tensor) -> Tensor:
        return self.a(h / 3) * 0.5

    def pooled(self, h: Tensor) -> Tensor:
        return F.avg_pool2d(h, 3, 1, 1) + F.adaptive_max_pool2d(h, 8)

    def dropped(self, h: Tensor) -> Tensor:
        return F.dropout(F.pad(h, (1, 1, 1, 1)), 0.5, training=False)


BLOCKS = [name for name in vars(Block) if not name.startswith("_") and name not in ("forward",)]


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus-flat"])
@pytest.mark.parametrize("how", BLOCKS)
def test_relevance_is_conserved_without_biases(how, composite):
    found = lrp(Block(how), normal(2, 2, 8, 8, seed=3), 0, composite=composite)
    if composite == "epsilon":
        assert_close(found.values.flatten(1).sum(1), found.score, rtol=1e-4, atol=1e-5)
    # A unit without any positive contribution has no one to share with: z+ books what it got.
    total = float(found.values.sum()) + found.ledger.stabilizer + found.ledger.stopped
    assert total == pytest.approx(float(found.score.sum()), rel=1e-6)
    assert found.ledger.bias == pytest.approx(0, abs=1e-9)
    for row in found.ledger.rows:
        assert abs(row.rest) <= 1e-6 * found.ledger.largest, row


UNBIASED = [
    name
    for name in zoo.NETWORKS
    if not zoo.load(name).biased and name not in ("product", "maximum", "quadratic")
]


@pytest.mark.parametrize("name", UNBIASED)
def test_the_zoo_without_biases_conserves(name):
    net = zoo.load(name)
    found = pl.explain(net.model, net.inputs, "lrp", target=net.target, composite="epsilon")
    assert_close(found.values.flatten(1).sum(1), found.score, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", ["perceptron", "residual", "convolutional", "residual_image"])
def test_epsilon_without_biases_is_gradient_times_input(name):
    """On a ReLU network, as long as the stabilizer is small."""
    net = zoo.load(name)
    a = pl.explain(net.model, net.inputs, "lrp", target=0, rules=Epsilon(epsilon=1e-12))
    b = pl.explain(net.model, net.inputs, "gradient_x_input", target=0)
    assert_close(a.values, b.values, rtol=1e-3, atol=1e-5)


WITHOUT_RULE = {
    "product", "quadratic", "maximum", "training", "gated", "attention", "recurrent", "group_norm",
}  # fmt: skip
RELEVANT = [name for name in zoo.NETWORKS if name not in WITHOUT_RULE]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus-flat"])
@pytest.mark.parametrize("name", RELEVANT)
def test_the_ledger_sums_to_the_score(name, composite, dtype):
    net = zoo.load(name, dtype)
    found = pl.explain(net.model, net.inputs, "lrp", target=net.target, composite=composite)
    ledger = found.ledger
    assert abs(float(found.score.sum()) - ledger.total()) <= 1e-4 * ledger.largest
    assert abs(ledger.residual) <= 1e-4 * ledger.largest
    parts = found.values if isinstance(found.values, tuple) else [found.values]
    parts = parts[0].values() if isinstance(parts[0], dict) else parts
    assert float(sum(v.sum() for v in parts)) == pytest.approx(ledger.explained, rel=1e-4, abs=1e-5)


def test_the_ledger_says_what_each_operation_kept():
    net, x = dense_net(bias=True), normal(1, 4, seed=5)
    ledger = lrp(net, x, 1, composite="epsilon").ledger
    weighted = [row for row in ledger.rows if row.name == "addmm"]
    assert [row.path for row in weighted] == ["4", "2", "0"]
    assert all(row.rule == "Epsilon" for row in weighted)
    h = net[:4](x).detach()
    z = (h @ net[4].weight[1] + net[4].bias[1]).detach().item()
    assert weighted[0].relevance_out == pytest.approx(z)
    share = net[4].bias[1].item() / (z + (1e-6 if z >= 0 else -1e-6))
    assert weighted[0].bias == pytest.approx(share * z)
    for row in ledger.rows:
        absorbed = row.relevance_in + row.bias + row.stabilizer + row.stopped
        assert row.relevance_out == pytest.approx(absorbed, rel=1e-6, abs=1e-9)
    text = str(ledger)
    assert "addmm" in text
    assert "bias" in text


def test_batch_norm_is_folded_on_the_tape():
    net = zoo.load("batch_norm")
    conv, norm, *rest = net.model
    by_hand = nn.Sequential(textbook.fold(conv, norm), *rest)
    for composite in ("epsilon", "epsilon-plus-flat"):
        found = lrp(net.model, net.inputs, composite=composite)
        expected = lrp(by_hand, net.inputs, composite=composite)
        assert_close(found.values, expected.values, rtol=1e-8, atol=1e-10)
        assert any(row.rule == "Folded" for row in found.ledger.rows)


def test_batch_norm_that_two_operations_read_is_not_folded():
    conv, norm = seeded(nn.Conv2d(1, 2, 3, bias=False)), seeded(nn.BatchNorm2d(2), 1)
    norm.eval()
    norm.bias.data.zero_()

    def model(x: Tensor) -> Tensor:
        z = conv(x)
        return (norm(z) + z).relu().mean((2, 3))

    found = lrp(model, normal(2, 1, 5, 5, seed=3), composite="epsilon")
    assert_close(found.values.flatten(1).sum(1), found.score, rtol=1e-4, atol=1e-6)
    assert abs(found.ledger.residual) <= 1e-6


@pytest.mark.parametrize(("z", "expected"), [(0.0, 0.5), (-0.0, 0.5), (1.0, 1.5), (-1.0, -1.5)])
def test_the_stabilizer_keeps_the_sign_and_zero_counts_as_positive(z, expected):
    assert stabilize(torch.tensor([z]), 0.5).item() == expected


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_dead_units_stay_finite(rule, dtype):
    net = conv_net(bias=False).to(dtype)
    zeros = torch.zeros(2, 2, 6, 6, dtype=dtype)
    for x in (zeros, -zeros, zeros + 1e-30):
        assert lrp(net, x, rules=rule).values.isfinite().all()
    nn.init.constant_(net[3].weight, -1.0)
    assert lrp(net, zeros + 1, rules=rule).values.isfinite().all()


def test_epsilon_zero_divides_zero_by_zero_to_zero():
    net = dense_net(bias=False)
    assert lrp(net, torch.zeros(1, 4).double(), rules=Epsilon(epsilon=0.0)).values.abs().sum() == 0


def test_pass_hands_relevance_on():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    net[2].weight.data = torch.eye(2, 4).double()
    with pytest.raises(pl.errors.InputError, match=r"same shape.*; got .*Use epsilon there"):
        lrp(net, normal(1, 4, seed=1), rules=Pass())
