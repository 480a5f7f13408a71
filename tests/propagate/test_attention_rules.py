"""Attention under both readings: weights as gates, and the rules of AttnLRP."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.propagate.composites import Composite
from pellucid.propagate.rules import (
    Epsilon,
    GradientTimesInput,
    NormIdentity,
    Share,
    TaylorSoftmax,
    Uniform,
)
from pellucid.propagate.rules.families import DEFAULTS, family
from pellucid.propagate.samples import Layout
from tests.zoo.network import normal, seeded

EPSILON = 1e-6
ATTNLRP = Composite(
    name="attention",
    entries=(
        ("product", Uniform()), ("matmul", Uniform()), ("softmax", TaylorSoftmax()),
        ("any", Epsilon()),
    ),
)  # fmt: skip
COMPOSITES = {"epsilon": "epsilon", "attnlrp": ATTNLRP}


def lrp(model, x: Tensor, composite: str | Composite = "epsilon", **options):
    return pl.explain(model, x, "lrp", composite=composite, **{"target": 0, **options})


def shared(rule, function, tensors: tuple[Tensor, ...], relevance: Tensor) -> Share:
    """What a rule gives the inputs of the last operation of a function."""
    tape = pl.record(function, tensors)
    operation = tape.operations[-1]
    rule = rule or DEFAULTS[family(operation)]
    rest = [None] * (len(operation.outputs) - 1)
    return rule.share(operation, [relevance, *rest], Layout())


# -- the propositions of AttnLRP, in loops


def stable(z: float) -> float:
    return z + (EPSILON if z >= 0 else -EPSILON)


def test_proposition_softmax():
    """R_i = x_i (R_i - s_i sum_j R_j), which is the Taylor expansion of every s_j at x."""
    x, relevance = normal(2, 4, seed=1), normal(2, 4, seed=2)
    found = shared(TaylorSoftmax(), lambda x: torch.softmax(x, -1), (x,), relevance)
    for n in range(2):
        s = x[n].softmax(0)
        jacobian = torch.autograd.functional.jacobian(lambda v: v.softmax(0), x[n])
        for i in range(4):
            written = x[n, i] * (relevance[n, i] - s[i] * relevance[n].sum())
            taylor = sum(jacobian[j, i] * x[n, i] / s[j] * relevance[n, j] for j in range(4))
            assert_close(found.signals[0][n, i], written, rtol=1e-12, atol=1e-12)
            assert_close(found.signals[0][n, i], taylor, rtol=1e-9, atol=1e-9)
    left = relevance.sum() - found.signals[0].sum()
    assert_close(found.stopped, left)
    assert abs(float(left)) > 0.1


def test_softmax_of_what_is_masked():
    x, mask = normal(1, 4, seed=1), torch.tensor([False, True, False, False])
    relevance = torch.tensor([[0.5, 0.0, 1.0, 0.2]]).double()
    masked = lambda x: torch.softmax(x.masked_fill(mask, -float("inf")), -1)  # noqa: E731
    found = shared(TaylorSoftmax(), masked, (x,), relevance)
    assert found.signals[0].isfinite().all()
    assert found.signals[0][0, 1] == 0


def test_proposition_matrix_product():
    """R_ji = sum_p A_ji V_ip / (2 O_jp) R_jp for the weights, and likewise for the values."""
    a, v = normal(2, 3, 4, seed=1), normal(2, 4, 5, seed=2)
    relevance = normal(2, 3, 5, seed=3)
    found = shared(Uniform(), torch.bmm, (a, v), relevance)
    of_a, of_v = torch.zeros_like(a), torch.zeros_like(v)
    for n in range(2):
        for j in range(3):
            for p in range(5):
                z = stable(float(sum(a[n, j, i] * v[n, i, p] for i in range(4))))
                for i in range(4):
                    part = a[n, j, i] * v[n, i, p] / (2 * z) * relevance[n, j, p]
                    of_a[n, j, i] += part
                    of_v[n, i, p] += part
    assert_close(found.signals[0], of_a, rtol=1e-9, atol=1e-12)
    assert_close(found.signals[1], of_v, rtol=1e-9, atol=1e-12)
    assert_close(of_a.sum() + of_v.sum() + found.stabilizer, relevance.sum())


def test_proposition_elementwise_product():
    a, b, relevance = (normal(3, 4, seed=s) for s in (1, 2, 3))
    found = shared(Uniform(), torch.mul, (a, b), relevance)
    assert_close(found.signals, [relevance / 2, relevance / 2])


def test_proposition_normalization():
    """x / g(x) hands relevance on: its Taylor expansion at zero with g held, whatever g is."""
    x, relevance = normal(3, 4, seed=1), normal(3, 4, seed=3)
    norm = lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)  # noqa: E731
    found = shared(Uniform(), norm, (x,), relevance)
    assert_close(found.signals[0], relevance)
    assert found.signals[1] is None


def test_proposition_activation_and_linear():
    x, relevance = normal(3, 4, seed=1), normal(3, 4, seed=3)
    model = nn.Sequential(seeded(nn.Linear(4, 4)), nn.GELU(), seeded(nn.Linear(4, 2), 1))
    found = lrp(model, x, ATTNLRP).values
    assert_close(found, lrp(model, x, "epsilon").values)
    assert shared(None, F.gelu, (x,), relevance).signals[0] is relevance


# -- attention as a whole


class Attention(nn.Module):
    """One head, written out, as a sum over all queries of one linear read-out."""

    def __init__(self, kernel: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v = (seeded(nn.Linear(3, 4, bias=False), s) for s in (1, 2, 3))
        self.head, self.kernel = seeded(nn.Linear(4, 2, bias=False), 4), kernel

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.kernel:
            out = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        else:
            out = torch.softmax(q @ k.mT / 2, -1) @ v
        return self.head(out).sum(1)


def slow_attention(model: Attention, x: Tensor, c: int, gates: bool) -> Tensor:
    """Relevance of the tokens of one sequence (token, feature), in loops over tokens."""
    q, k, v = (layer(x).detach() for layer in (model.q, model.k, model.v))
    scores = q @ k.T / 2
    s = scores.softmax(1)
    out, tokens = s @ v, len(x)
    out_relevance = out * model.head.weight[c].detach()
    share = 1.0 if gates else 0.5
    of_v, of_s = torch.zeros_like(v), torch.zeros_like(s)
    for j in range(tokens):
        for p in range(v.shape[1]):
            for i in range(tokens):
                part = s[j, i] * v[i, p] / stable(float(out[j, p])) * out_relevance[j, p]
                of_v[i, p] += share * part
                of_s[j, i] += (1 - share) * part
    of_q, of_k = torch.zeros_like(q), torch.zeros_like(k)
    for j in range(tokens):
        for i in range(tokens):
            r = scores[j, i] * (of_s[j, i] - s[j, i] * of_s[j].sum())
            for p in range(q.shape[1]):
                part = q[j, p] * k[i, p] / stable(float(2 * scores[j, i])) * r / 2
                of_q[j, p] += part
                of_k[i, p] += part
    found = torch.zeros_like(x)
    for layer, values, relevance in ((model.q, q, of_q), (model.k, k, of_k), (model.v, v, of_v)):
        for n in range(tokens):
            for o in range(values.shape[1]):
                ratio = relevance[n, o] / stable(float(values[n, o]))
                found[n] += x[n] * layer.weight[o].detach() * ratio
    return found


@pytest.mark.parametrize("kernel", [False, True], ids=["written out", "one kernel"])
@pytest.mark.parametrize("reading", COMPOSITES)
def test_attention_is_what_the_formulas_say(reading, kernel):
    model, x = Attention(kernel), normal(2, 5, 3, seed=7)
    found = lrp(model, x, COMPOSITES[reading], target=1)
    for n in range(2):
        expected = slow_attention(model, x[n], 1, reading == "epsilon")
        assert_close(found.values[n], expected, rtol=2e-4, atol=2e-5)
    ledger = found.ledger
    assert abs(ledger.residual) <= 1e-6 * ledger.largest
    assert (abs(ledger.stopped) > 1e-3) == (reading == "attnlrp")


def test_the_readings_differ():
    model, x = Attention(), normal(1, 5, 3, seed=7)
    a, b = (slow_attention(model, x[0], 1, gates) for gates in (True, False))
    assert (a - b).abs().max() > 0.05 * a.abs().max()


def test_attention_weights_are_gates_also_where_they_are_multiplied_by_hand():
    """(w[..., None] * v).sum is the same as w @ v."""
    query, x = normal(3, seed=1), normal(2, 5, 3, seed=7)
    value, head = seeded(nn.Linear(3, 4, bias=False)), seeded(nn.Linear(4, 2, bias=False), 1)

    def pooled(x: Tensor, by_hand: bool) -> Tensor:
        weights, v = (x @ query).softmax(1), value(x)
        if by_hand:
            return head((weights[..., None] * v).sum(1))
        return head((weights[:, None] @ v)[:, 0])

    a, b = (lrp(lambda x, by=by: pooled(x, by), x) for by in (True, False))
    assert_close(a.values, b.values, rtol=1e-4, atol=1e-5)
    assert_close(a.values.flatten(1).sum(1), a.score, rtol=1e-4, atol=1e-5)


def encoder(**options) -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, **options)
    made = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return unbiased(nn.Sequential(made, nn.Flatten(), nn.Linear(20, 2)))


def unbiased(model: nn.Module) -> nn.Module:
    for name, weight in model.double().eval().named_parameters():
        if "bias" in name:
            nn.init.zeros_(weight)
        elif weight.ndim > 1:
            nn.init.normal_(weight, std=weight.shape[-1] ** -0.5, generator=GENERATOR)
    return model


GENERATOR = torch.Generator().manual_seed(0)


class Self(nn.Module):
    """`nn.MultiheadAttention` of a sequence with itself, and a residual connection around it."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head, self.options = nn.Linear(4, 2), options

    def forward(self, x: Tensor) -> Tensor:
        return self.head((x + self.attention(x, x, x, **self.options)[0]).mean(1))


MASK = torch.full((5, 5), -float("inf")).triu(1)
BLOCKS = {
    "attention": lambda: unbiased(Self(need_weights=True)),
    "attention, fused": lambda: unbiased(Self(need_weights=False)),
    "attention, causal": lambda: unbiased(Self(attn_mask=MASK, need_weights=False)),
    "attention, masked twice": lambda: unbiased(
        Self(attn_mask=MASK, key_padding_mask=torch.eye(2, 5).flip(1) > 0)
    ),
    "encoder": lambda: encoder(),
    "encoder, norm first, gelu": lambda: encoder(norm_first=True, activation="gelu"),
}


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("reading", COMPOSITES)
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_conserve_without_biases(name, reading):
    """What the softmax rule of AttnLRP keeps is booked as stopped; nothing else is lost."""
    found = lrp(BLOCKS[name](), normal(2, 5, 4, seed=3), COMPOSITES[reading])
    ledger = found.ledger
    assert found.values.isfinite().all()
    total = found.values.flatten(1).sum(1) + ledger.each_of("stopped").to(found.values)
    assert_close(total, found.score, rtol=1e-4, atol=2e-5)
    assert abs(ledger.bias) < 1e-8
    assert (ledger.stopped == 0) == (reading == "epsilon")
    for row in ledger.rows:
        assert abs(row.rest) <= 1e-6 * ledger.largest, row


def test_identity_on_a_norm_hands_on_all():
    norm = nn.LayerNorm(4).double()
    nn.init.normal_(norm.bias)
    x, relevance = normal(3, 4, seed=1), normal(3, 4, seed=3)
    found = shared(NormIdentity(), norm, (x,), relevance)
    assert found.signals == [relevance, None, None]


# -- gradient times input, for what no rule is known


def test_gradient_times_input_is_epsilon_where_it_is_linear():
    w, x = normal(4, 3, seed=1), normal(2, 4, seed=2)
    relevance = normal(2, 3, seed=3)
    found = shared(GradientTimesInput(), lambda x: x @ w, (x,), relevance)
    z = x @ w
    expected = x * ((relevance / (z + EPSILON * z.sign())) @ w.T)
    assert_close(found.signals[0], expected, rtol=1e-9, atol=1e-12)
    assert abs(float(found.stopped)) < 1e-9


def test_gradient_times_input_books_what_it_leaves():
    x, relevance = normal(2, 4, seed=2).abs() + 0.5, normal(2, 4, seed=3)
    found = shared(GradientTimesInput(), lambda x: x**3, (x,), relevance)
    assert_close(found.signals[0], 3 * relevance, rtol=1e-4, atol=1e-6)
    assert_close(found.stopped, -2 * relevance.sum(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reading", COMPOSITES)
def test_a_differentiable_explanation_of_attention(reading):
    """The derivative of relevance along a line, against finite differences."""
    model, x = Attention(), normal(1, 5, 3, seed=7).requires_grad_()
    weights, line = normal(1, 5, 3, seed=8), normal(1, 5, 3, seed=9)

    def read(x: Tensor) -> Tensor:
        found = lrp(model, x, COMPOSITES[reading], differentiable=True)
        return (found.values * weights).sum()

    (gradient,) = torch.autograd.grad(read(x), x)
    finite = (read(x + 1e-6 * line) - read(x - 1e-6 * line)) / 2e-6
    assert_close((gradient * line).sum(), finite.detach(), rtol=1e-5, atol=1e-6)
