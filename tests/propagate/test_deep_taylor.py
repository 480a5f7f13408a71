"""Deep Taylor decomposition: its closed form, the roots behind the rules, and what it books."""

import re
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.propagate import rules
from pellucid.propagate.linear import Linear
from pellucid.propagate.rules import SumPlus
from tests import textbook, zoo
from tests.zoo.network import normal, seeded

LOW, HIGH = -1.5, 2.0


def explain(model: Callable[..., Tensor], x: Tensor, **options: object) -> pl.Explanation:
    return pl.explain(model, x, "deep_taylor", on_incomplete="raise", **{"target": 0, **options})


# The closed form for one hidden layer: f(x) = sum over j of max(0, sum over i of x_i w_ij + b_j)


class OneHidden(nn.Module):
    """Rectified detectors whose biases are not positive, summed up."""

    def __init__(self, inputs: int, hidden: int, *, bias: bool = True) -> None:
        super().__init__()
        self.hidden = seeded(nn.Linear(inputs, hidden))
        self.hidden.bias.data = -self.hidden.bias.data.abs() * bias

    def forward(self, x: Tensor) -> Tensor:
        return self.hidden(x).relu().sum(1, keepdim=True)


def directions(case: str, x: Tensor, w: Tensor) -> Tensor:
    """Where the root of a neuron with weights w is sought from x, in Montavon et al. (2017)."""
    if case == "any":
        return w
    if case == "positive":
        return torch.where(w > 0, x, 0)
    return torch.where(w > 0, x - LOW, x - HIGH)


CASES = ["any", "positive", "box"]


def inputs(case: str, seed: int) -> Tensor:
    x = normal(1, 5, seed=seed)
    return x.abs() if case == "positive" else x.clamp(LOW, HIGH)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("case", CASES)
def test_the_closed_form_of_one_hidden_layer(case, seed):
    """R_i = sum over j of v_i w_ij / (sum over i of v_i w_ij) x_j, v the direction of the root."""
    model = OneHidden(5, 7)
    x = inputs(case, seed)
    expected = torch.zeros(5, dtype=torch.float64)
    for w, b in zip(model.hidden.weight.detach(), model.hidden.bias.detach(), strict=True):
        activation = float((x[0] @ w + b).clamp(min=0))
        v = directions(case, x[0], w)
        for i in range(5):
            expected[i] += v[i] * w[i] / (v @ w) * activation
    if case == "positive":
        composite = pl.Composite(name="z+", entries=(("any", rules.ZPlus(bias=False)),))
        found = pl.LRP(composite=composite)(model, x, target=0).values
    else:
        options = {"low": LOW, "high": HIGH} if case == "box" else {}
        found = explain(model, x, **options).values
    assert_close(found[0], expected, rtol=1e-5, atol=1e-6)


def root_on_line(z: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
    """The point x - t v at which a neuron falls silent, found by halving, not by a formula."""
    low, high = 0.0, 1.0
    while z(x - high * v) > 0:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if z(x - middle * v) > 0 else (low, middle)
    return x - low * v


def first_order(z: Callable[[Tensor], Tensor], x: Tensor, root: Tensor, c: float) -> Tensor:
    """(x - root) times the gradient of c max(0, z) at the root, on the side where it is active."""
    point = root.clone().requires_grad_()
    (c * z(point)).backward()
    return (x - root) * point.grad


def shared(rule: rules.Rule, layer: nn.Linear, x: Tensor, r: Tensor) -> Tensor:
    (operation,) = (op for op in pl.record(layer, x).operations if op.name in ("addmm", "mm"))
    with torch.no_grad():
        return rule.share(Linear(operation=operation), r)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("case", CASES)
def test_rules_are_linear_terms_at_the_root_of_each_neuron(case, seed):
    layer, x = OneHidden(5, 20).hidden, inputs(case, seed)
    rule = {
        "any": rules.WSquare(),
        "positive": rules.ZPlus(bias=False, epsilon=0),
        "box": rules.ZBox(low=LOW, high=HIGH, epsilon=0),
    }[case]
    seen = 0
    for j, w in enumerate(layer.weight.detach()):
        z = lambda point, w=w, j=j: point @ w + layer.bias[j].detach()  # noqa: E731
        if z(x[0]) <= 0:
            continue
        seen += 1
        v, c = directions(case, x[0], w), 0.7
        root = root_on_line(z, x[0], v)
        assert abs(float(z(root))) < 1e-9
        if case != "any":  # the root is one that inputs may be
            low, high = (0, float("inf")) if case == "positive" else (LOW, HIGH)
            assert (root >= low - 1e-9).all()
            assert (root <= high + 1e-9).all()
        r = torch.zeros(1, 20, dtype=torch.float64)
        r[0, j] = c * z(x[0])
        found = shared(rule, layer, x, r).signals[0][0]
        assert_close(found, first_order(z, x[0], root, c), rtol=1e-9, atol=1e-10)
        assert float(found.sum()) == pytest.approx(float(r.sum()))
    assert seen > 0


# LRP-0, epsilon and gamma by the choice of the reference point (Montavon et al. 2019, section 3)


def reference(rule: rules.Rule, x: Tensor, w: Tensor, b: float) -> Tensor:
    """The point at which c max(0, z) is expanded so that its linear terms are those of a rule."""
    z = float(x @ w) + b
    if isinstance(rule, rules.Zero):
        return torch.zeros_like(x)
    if isinstance(rule, rules.Epsilon):
        return rule.epsilon / (z + rule.epsilon) * x
    return root_on_line(
        lambda point: point @ w + b * (point[0] / x[0]), x, x * (1 + rule.gamma * (w > 0))
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "rule",
    [
        rules.Zero(),
        rules.Epsilon(epsilon=0.4),
        rules.Epsilon(epsilon=3.0),
        rules.Gamma(gamma=0.25, epsilon=0),
        rules.Gamma(gamma=4.0, epsilon=0),
    ],
    ids=repr,
)
def test_lrp_rules_are_deep_taylor_at_a_reference_point(rule, seed):
    """R_i = (x_i - x~_i) dR/dx_i at x~, and what is missing is the term of order zero, R(x~)."""
    layer, x = seeded(nn.Linear(6, 8, bias=False), seed), normal(1, 6, seed=seed).abs()
    seen = 0
    for j, w in enumerate(layer.weight.detach()):
        z = lambda point, w=w: point @ w  # noqa: E731
        if z(x[0]) <= 0:
            continue
        seen += 1
        point, c = reference(rule, x[0], w, 0.0), 1.3
        r = torch.zeros(1, 8, dtype=torch.float64)
        r[0, j] = c * z(x[0])
        share = shared(rule, layer, x, r)
        assert_close(share.signals[0][0], first_order(z, x[0], point, c), rtol=1e-9, atol=1e-10)
        zeroth = c * float(z(point).clamp(min=0))
        kept = float(share.stabilizer) + float(share.stopped)
        assert kept == pytest.approx(zeroth, abs=1e-9)
        if isinstance(rule, rules.Gamma):
            assert zeroth == pytest.approx(0, abs=1e-9)  # it is a root
    assert seen > 0


def test_another_reference_point_is_another_rule():
    """What the test above looks at can fail: the root of z+ does not give gamma."""
    layer, x = seeded(nn.Linear(6, 8, bias=False)), normal(1, 6, seed=1).abs()
    r = layer(x).detach().clamp(min=0)
    gamma = shared(rules.Gamma(gamma=0.25, epsilon=0), layer, x, r).signals[0]
    plus = shared(rules.ZPlus(epsilon=0), layer, x, r).signals[0]
    assert (gamma - plus).abs().max() > 1e-2


# The whole walk


class Residual(nn.Module):
    """Convolutions, a batch norm, additions, differences, two kinds of pooling, a joint."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = seeded(nn.Conv2d(2, 4, 3, padding=1))
        self.norm = seeded(nn.BatchNorm2d(4), 1)
        self.a = seeded(nn.Conv2d(4, 4, 3, padding=1), 2)
        self.b = seeded(nn.Conv2d(4, 4, 3, padding=1), 3)
        self.head = seeded(nn.Linear(8, 3), 4)
        for layer in (self.stem, self.a, self.b, self.head):
            layer.weight.data *= 3  # so that biases do not decide alone

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.stem(x)).relu()
        h = F.max_pool2d(h, 2)
        h = (h + self.b(self.a(h).relu())).relu()
        h = (self.a(h) - 0.3 * h).relu()
        h = torch.cat([F.avg_pool2d(h, 2), F.adaptive_max_pool2d(h, 2)], 1)
        return self.head(F.adaptive_avg_pool2d(h, 1).flatten(1))


def images(n: int = 6) -> Tensor:
    return normal(n, 2, 8, 8, seed=5).clamp(LOW, HIGH)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("options", [{}, {"low": LOW, "high": HIGH}], ids=["w2", "box"])
@pytest.mark.parametrize("k", [0, 1, 2, (0, 2)], ids=str)
def test_values_are_not_negative_and_sum_to_the_positive_part_of_the_score(k, options, dtype):
    model, x = Residual().eval().to(dtype), images().to(dtype)
    found = explain(model, x, target=k, **options)
    positive = found.score.clamp(min=0)
    assert (found.values >= 0).all()
    assert_close(found.completeness.expected, positive)
    ledger = found.ledger
    absorbed = ledger.each_of("stabilizer") + ledger.each_of("bias") + ledger.each_of("stopped")
    tolerance = 1e-9 if dtype is torch.float64 else 1e-5
    total = found.values.double().flatten(1).sum(1) + absorbed
    assert_close(total, positive.double(), rtol=tolerance, atol=tolerance)
    assert float(ledger.each_of("bias").abs().sum()) == 0
    assert ledger.score == pytest.approx(float(positive.sum()))
    assert (found.values.flatten(1).sum(1)[found.score <= 0] == 0).all()


def test_scores_of_both_signs_were_among_them():
    """The test above sees something: positive scores, negative ones, and a part that is kept."""
    model = Residual().eval()
    scores = torch.cat([explain(model, images(), target=k).score for k in (0, 1, 2)])
    assert (scores > 0).any()
    assert (scores < 0).any()


def test_a_score_that_is_not_positive_is_a_note():
    model = Residual().eval()
    found = next(e for k in range(3) if (e := explain(model, images(), target=k)).score.min() < 0)
    count = int((found.score <= 0).sum())
    assert any(
        note.startswith(f"{count} of 6 samples have no positive score") for note in found.notes
    )


def test_what_a_unit_without_positive_inputs_got_is_booked():
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    model[0].weight.data[:] = torch.tensor([[1.0, 1.0]])
    model[0].bias.data[:] = 0
    model[2].weight.data[:] = -1.0  # only the bias makes the score positive
    model[2].bias.data[:] = 5.0
    found = explain(model, torch.tensor([[1.0, 1.0]]).double())
    assert found.score.item() == 3
    assert found.values.abs().sum() == 0
    assert found.ledger.stopped == pytest.approx(3)
    assert found.ledger.bias == found.ledger.stabilizer == 0
    assert any("and neurons without positive input 3;" in note for note in found.notes)


@pytest.mark.parametrize("name", ["perceptron", "convolutional", "residual_image", "batch_norm"])
def test_the_networks_of_the_zoo(name):
    net = zoo.load(name)
    with torch.no_grad():
        target = int(net.model(net.inputs)[0].argmax())
    found = explain(net.model, net.inputs, target=target)
    assert (found.values >= 0).all()
    assert (found.values.sum() > 0) == (found.score > 0).any()
    assert abs(found.ledger.residual) < 1e-9


def test_a_bias_that_is_written_out_is_a_bias():
    layer, last = seeded(nn.Linear(4, 6)), seeded(nn.Linear(6, 1), 1)
    written = lambda x: (x @ layer.weight.T + layer.bias).relu() @ last.weight.T + last.bias  # noqa: E731
    model, x = nn.Sequential(layer, nn.ReLU(), last), normal(8, 4, seed=2)
    found, expected = explain(written, x), explain(model, x)
    assert_close(found.values, expected.values, rtol=1e-9, atol=1e-12)
    assert expected.values.abs().sum() > 0


def test_a_batch_norm_is_folded():
    net = zoo.load("batch_norm")
    conv, norm, *rest = net.model
    by_hand = nn.Sequential(textbook.fold(conv, norm), *rest)
    assert_close(
        explain(net.model, net.inputs).values,
        explain(by_hand, net.inputs).values,
        rtol=1e-8,
        atol=0,
    )


def test_it_stops_at_a_layer():
    model, x = Residual().eval(), images()
    found = explain(model, x, at="norm")
    assert found.values.shape == (6, 4, 8, 8)
    assert (found.values >= 0).all()
    assert_close(found.values.flatten(1).sum(1), explain(model, x).values.flatten(1).sum(1))


def test_biases_are_ignored():
    """Hidden biases change activations and which units are active, but take no part."""
    model = nn.Sequential(seeded(nn.Linear(4, 6)), nn.ReLU(), seeded(nn.Linear(6, 1), 1))
    found = explain(model, normal(8, 4, seed=2))
    for row in found.ledger.rows:
        assert row.bias == 0


# Sums by positive contribution


def add(a: Tensor, b: Tensor) -> Tensor:
    return torch.add(a, b, alpha=2)


def sub(a: Tensor, b: Tensor) -> Tensor:
    return a - b


def rsub(a: Tensor, b: Tensor) -> Tensor:
    return torch.rsub(a, b, alpha=0.5)


SUMS = {
    "add": (add, (1, 2)),
    "sub": (sub, (1, -1)),
    "rsub": (rsub, (-0.5, 1)),
    "a number": (lambda a, b: (a + 3.0) + b, (1, 1)),
    "number minus": (lambda a, b: (1.0 - a) + b, (-1, 1)),
    "broadcast": (lambda a, b: a + b[:, :1], (1, 1)),
}


@pytest.mark.parametrize("name", SUMS)
def test_an_addition_shares_by_positive_contribution(name):
    function, (f, g) = SUMS[name]
    a, b = normal(3, 4, seed=1), normal(3, 4, seed=2)
    other = b[:, :1].expand(3, 4) if name == "broadcast" else b
    tape = pl.record(function, (a, b))
    operation = [op for op in tape.operations if len(op.slots) == 2][-1]
    inner = [op for op in tape.operations if op.name in ("add", "rsub") and len(op.slots) == 1]
    r = normal(3, 4, seed=3).abs()
    with torch.no_grad():
        share = SumPlus().share(operation, [r], _together())
    first = a * f
    if inner:
        with torch.no_grad():
            alone = SumPlus().share(inner[0], [r], _together())
        expected = torch.where(first > 0, r * first / (first + 1e-6), 0) if f < 0 else r
        assert_close(alone.signals[0], expected, rtol=1e-9, atol=1e-9)
        first = inner[0].output.tensor
    above, below = first.clamp(min=0), (other * g).clamp(min=0)
    total = above + below + 1e-6
    left, right = above / total * r, below / total * r
    if name == "broadcast":
        right = right.sum(1, keepdim=True)
    assert_close(share.signals[0], left, rtol=1e-9, atol=1e-12)
    assert_close(share.signals[1], right, rtol=1e-9, atol=1e-12)
    whole = left.sum() + right.sum() + share.stabilizer + share.stopped
    assert float(whole) == pytest.approx(float(r.sum()))


def _together() -> object:
    from pellucid.propagate.samples import Layout

    return Layout()


POOLS = {
    "mean": lambda x: x.mean((2, 3)),
    "sum": lambda x: x.sum(1),
    "average pooling": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, 3),
    "nearest": lambda x: F.interpolate(x, scale_factor=2.0),
    "bilinear": lambda x: F.interpolate(x, size=(7, 9), mode="bilinear"),
}


@pytest.mark.parametrize("name", POOLS)
def test_pooling_shares_by_positive_contribution(name):
    x = normal(1, 2, 6, 6, seed=1)
    (operation,) = pl.record(POOLS[name], x).operations
    dense = textbook.matrix_of(POOLS[name], x.shape[1:])
    assert (dense.weight >= 0).all()
    r = normal(*operation.output.shape, seed=2).abs()
    with torch.no_grad():
        share = SumPlus().share(operation, [r], _together())
    expected = textbook.zplus_rule(dense, x.flatten(), r.flatten())
    assert_close(share.signals[0].flatten(), expected, rtol=1e-9, atol=1e-9)


def test_plain_sums_would_give_negative_values(monkeypatch):
    """Why a sum needs a rule of its own here: a branch that is negative gets negative relevance."""
    layer = nn.Linear(2, 2, bias=False).double()
    layer.weight.data = torch.eye(2).double()

    def model(x: Tensor) -> Tensor:
        h = layer(x).relu()
        return (h[:, :1] - h[:, 1:]).relu()

    x = torch.tensor([[3.0, 2.0]]).double()
    assert_close(explain(model, x).values, torch.tensor([[1.0, 0.0]]).double(), rtol=1e-5, atol=0)
    monkeypatch.setattr(SumPlus, "share", lambda self, *given: rules.Sum().share(*given))
    assert_close(explain(model, x).values, torch.tensor([[3.0, -2.0]]).double(), rtol=1e-5, atol=0)


# Where the theory does not hold


class Gelus(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = seeded(nn.Linear(4, 8)), seeded(nn.Linear(8, 2), 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.gelu(self.a(x)) * torch.sigmoid(self.a(x)))


def test_operations_outside_of_the_theory_are_named():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pl.explain(Gelus(), normal(3, 4, seed=1), "deep_taylor", target=0)
    (note,) = (n for n in found.notes if "made for rectified neurons" in n)
    assert "a product of two signals at `mul` (operation" in note
    assert "another activation at `gelu` (operation" in note
    assert "and 1 more" in note
    assert "negative inputs at `addmm`" in note
    assert "layer `b`" in note


def test_a_network_of_rectifiers_needs_no_note():
    conv, more, head = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)
    for layer in (conv, more, head):
        seeded(layer)

    def model(x: Tensor) -> Tensor:
        h = F.avg_pool2d(torch.relu(conv(x)), 2)
        h = h[:, :, 1:-1, 1:-1] + more(h).clamp(min=0)  # of rectified neurons
        return head(F.max_pool2d(h, 2).flatten(1)) + 1.0

    assert not outside(explain(model, images()))


def outside(found: pl.Explanation) -> str:
    """The note on what the theory does not stand behind."""
    return "".join(note for note in found.notes if "made for rectified neurons" in note)


@pytest.mark.parametrize(
    ("between", "named"),
    [
        (lambda h, x: h.abs(), "another activation at `abs`"),
        (lambda h, x: F.relu6(20 * h), r"another activation at `(hardtanh|relu6)`"),
        (lambda h, x: torch.minimum(h.relu(), (-h).relu()), "a minimum at `minimum`"),
        (lambda h, x: h.relu().amin(1, keepdim=True).expand(-1, 4), "a minimum at `amin`"),
        (lambda h, x: h.relu() + x, "negative inputs at `add`"),
        (lambda h, x: F.avg_pool1d(h, 1), "negative inputs at `avg_pool"),
    ],
    ids=["abs", "relu6", "minimum", "amin", "addition", "pooling"],
)
def test_what_reads_or_makes_other_than_rectified_signals_is_named(between, named):
    enter, head = seeded(nn.Linear(4, 4)), seeded(nn.Linear(4, 2), 1)
    model = lambda x: head(between(enter(x), x).relu())  # noqa: E731
    assert re.search(named, outside(explain(model, normal(8, 4, seed=3))))


# Options


def test_bounds_come_together():
    with pytest.raises(pl.errors.InputError, match=r"must be given together; got only low=0\."):
        pl.DeepTaylor(low=0)
    with pytest.raises(pl.errors.InputError, match=r"must not be above `high`"):
        pl.DeepTaylor(low=1, high=0)
    with pytest.raises(pl.errors.InputError, match=r"must contain the input.*low=5 and high=6"):
        explain(Residual().eval(), images(), low=5, high=6)


def test_bounds_of_each_channel_are_saved(tmp_path):
    low, high = torch.tensor([-2.0, -1.5]), torch.tensor([2.0, 3.0])
    found = explain(Residual().eval(), images(), low=low, high=high)
    back = pl.load(found.save(tmp_path / "found.pellucid"))
    assert back == found
    assert back.method == pl.DeepTaylor(low=low, high=high)
    assert back.method != pl.DeepTaylor(low=low, high=high + 1)
    assert hash(back.method) == hash(pl.DeepTaylor(low=low, high=high))


def test_batches_have_the_answer_of_one():
    model, x = Residual().eval(), images()
    whole, cut = (explain(model, x, batch_size=n) for n in (6, 2))
    assert_close(cut.values, whole.values, rtol=1e-9, atol=1e-12)
    assert_close(cut.ledger.each, whole.ledger.each, rtol=1e-9, atol=1e-12)
    assert set(cut.notes) == set(whole.notes)
