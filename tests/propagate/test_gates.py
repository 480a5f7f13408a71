"""Products of two signals: gates, scales and recurrent networks."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.propagate.composites import Composite
from pellucid.propagate.rules import Epsilon, Gate, Sum, Uniform
from pellucid.propagate.rules.factors import is_gate, is_scale
from tests.zoo.network import normal, seeded

TINY = 1e-12
# Stabilizers so small that a linear map in one step is the same as one in two.
EXACT = Composite(
    name="exact",
    entries=(("sum", Sum(epsilon=TINY)), ("any", Epsilon(epsilon=TINY))),
)
HALVES = Composite(name="halves", entries=(("product", Uniform()), ("any", Epsilon())))


def lrp(model, x: Tensor, composite: str | Composite = "epsilon", target: int = 0):
    return pl.explain(model, x, "lrp", target=target, composite=composite)


def rules_of(model, x: Tensor, name: str, composite: str | Composite = "epsilon") -> set[str]:
    """The rules that all operations of a name have."""
    return {row.rule for row in lrp(model, x, composite).ledger.rows if row.name == name}


# -- what a gate is


GATED = {
    "sigmoid": torch.sigmoid,
    "hard sigmoid": F.hardsigmoid,
    "hard sigmoid, written out": lambda z: F.relu6(z + 3) / 6,
    "hard sigmoid, clamped": lambda z: (z / 6 + 0.5).clamp(0, 1),
    "softmax": lambda z: z.softmax(-1),
    "softmax, written out": lambda z: z.exp() / z.exp().sum(-1, keepdim=True),
    "sigmoid, written out": lambda z: 1 / (1 + torch.exp(-z)),
    "one minus a gate": lambda z: 1 - torch.sigmoid(z),
    "a gate, negative": lambda z: -torch.sigmoid(z) + 1,
    "twice a gate": lambda z: 2 * torch.sigmoid(z),
    "a gate plus one": lambda z: torch.sigmoid(z) + 1,
    "a gate of gates": lambda z: torch.sigmoid(z) * torch.sigmoid(-z),
    "a gate that moved": lambda z: torch.sigmoid(z).flip(-1).roll(1, 0).view_as(z),
    "a gate of another type": lambda z: torch.sigmoid(z.float()).double(),
    "an averaged gate": lambda z: torch.sigmoid(z).mean(-1, keepdim=True).expand_as(z),
    "a chosen gate": lambda z: torch.sigmoid(z)[..., [0, 0, 1, 1]],
    "two gates side by side": lambda z: torch.cat(
        [torch.sigmoid(z[..., :2]), torch.sigmoid(z[..., 2:])], -1
    ),
    "renormalized": lambda z: z.softmax(-1) / z.softmax(-1).sum(-1, keepdim=True),
    "in place": lambda z: z.clone().sigmoid_(),
    "in place, in a part of memory": lambda z: torch.stack([z.clone(), z], -1)[..., 0].sigmoid_(),
    "dropped out": lambda z: F.dropout(torch.sigmoid(z), 0.5, training=True),
    "filled": lambda z: torch.sigmoid(z).masked_fill(z > 1, 0.0),
}
UNGATED = {
    "tanh": torch.tanh,
    "a signal": lambda z: z,
    "relu": torch.relu,
    "relu6": F.relu6,
    "silu, as in gated linear units of language models": F.silu,
    "a gate plus a signal": lambda z: torch.sigmoid(z) + z,
    "tanh, shifted": lambda z: torch.tanh(z) - 0.5,
}


class Product(nn.Module):
    """The product of a signal and what is made of another, in either order, summed."""

    def __init__(self, made, signal=torch.tanh, swapped: bool = False) -> None:
        super().__init__()
        self.made, self.signal, self.swapped = made, signal, swapped
        self.a, self.b = (seeded(nn.Linear(4, 4, bias=False), seed) for seed in (1, 2))

    def forward(self, x: Tensor) -> Tensor:
        factors = self.made(self.a(x[:, :4])), self.signal(self.b(x[:, 4:]))
        left, right = reversed(factors) if self.swapped else factors
        return (left * right).sum(1, keepdim=True)


@pytest.mark.parametrize("swapped", [False, True], ids=["gate first", "gate second"])
@pytest.mark.parametrize("name", GATED)
def test_a_gate_gets_nothing_and_what_it_gates_all(name, swapped):
    """A tanh on the other side, as in an LSTM, is no gate beside one."""
    torch.manual_seed(0)  # for dropout, which draws from the generator of torch
    found = lrp(Product(GATED[name], swapped=swapped), normal(3, 8, seed=5))
    assert not found.values[:, :4].any()
    assert_close(found.values[:, 4:].sum(1), found.score, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", UNGATED)
def test_without_a_gate_both_get_half(name):
    found = lrp(Product(UNGATED[name]), normal(3, 8, seed=5))
    half = found.score / 2
    assert_close(found.values[:, :4].sum(1), half, rtol=1e-4, atol=2e-5)
    assert_close(found.values[:, 4:].sum(1), half, rtol=1e-4, atol=2e-5)


def test_two_gates_share_alike():
    found = lrp(Product(torch.sigmoid, torch.sigmoid), normal(3, 8, seed=5))
    assert_close(found.values[:, :4].sum(1), found.score / 2, rtol=1e-4, atol=1e-5)


def test_the_uniform_rule_gives_gates_half():
    found = lrp(Product(torch.sigmoid), normal(3, 8, seed=5), HALVES)
    assert_close(found.values[:, :4].sum(1), found.score / 2, rtol=1e-4, atol=1e-5)


SCALES = {
    "divided": lambda a, b: a / b,
    "by a norm": lambda a, b: a / b.norm(dim=-1, keepdim=True),
    "times one through it": lambda a, b: a * b.reciprocal(),
    "times one through a root": lambda a, b: a * torch.rsqrt(b.pow(2).mean(-1, keepdim=True) + 0.1),
    "times a power": lambda a, b: b.pow(2).mean(-1, keepdim=True).pow(-0.5) * a,
    "one through it, scaled and moved": lambda a, b: a * (2 / b).unsqueeze(0).squeeze(0),
}


@pytest.mark.parametrize("composite", ["epsilon", HALVES], ids=["gates", "halves"])
@pytest.mark.parametrize("name", SCALES)
def test_what_divides_receives_nothing(name, composite):
    a, b = (seeded(nn.Linear(4, 4, bias=False), seed) for seed in (1, 2))
    model = lambda x: SCALES[name](a(x[:, :4]), b(x[:, 4:])).sum(1, keepdim=True)  # noqa: E731
    found = lrp(model, normal(3, 8, seed=5), composite)
    assert not found.values[:, 4:].any()
    assert_close(found.values[:, :4].sum(1), found.score, rtol=1e-4, atol=1e-5)


SELF = {
    "squared": lambda z: z * z,
    "power": lambda z: z**2,
    "silu": lambda z: z * torch.sigmoid(z),
    "mish": lambda z: z * torch.tanh(F.softplus(z)),
    "gelu": lambda z: 0.5 * z * (1 + torch.erf(z / 2**0.5)),
    "gelu by tanh": lambda z: 0.5 * z * (1 + torch.tanh(0.8 * (z + 0.0447 * z**3))),
    "hard swish": lambda z: z * F.relu6(z + 3) / 6,
    "silu, by division": lambda z: z / (1 + torch.exp(-z)),
    "rectifier by a mask": lambda z: z * (z > 0),
    "rectifier by a maximum": lambda z: torch.maximum(z, torch.zeros(())),
    "rectifier by absolutes": lambda z: (z + z.abs()) / 2,
    "softplus": lambda z: torch.log(1 + torch.exp(z)),
    "sigmoid by tanh": lambda z: 0.5 * torch.tanh(z) + 0.5,
    "stretched sigmoid": lambda z: 2 * torch.sigmoid(2 * z) - 1,
}
PLAIN = [f"F.{name}" for name in ("gelu", "silu", "mish", "elu", "softplus", "hardswish", "relu6")]
PLAIN += [
    f"torch.{name}"
    for name in ("relu", "sigmoid", "tanh", "exp", "sin", "cos", "erf", "abs", "atan", "expm1")
]


@pytest.mark.parametrize("name", [*SELF, *PLAIN])
def test_a_function_of_one_signal_hands_on_what_it_gets(name):
    """However it is written: elements of y = f(x) give all to their x."""
    room, _, function = name.partition(".")
    f = SELF.get(name) or getattr({"F": F, "torch": torch}[room], function)
    layer = seeded(nn.Linear(4, 5, bias=False))
    head = seeded(nn.Linear(5, 2, bias=False), 1)
    x = normal(3, 4, seed=5)
    found = lrp(lambda x: head(f(layer(x))), x).values
    z = layer(x).detach()
    relevance = f(z) * head.weight[0]
    expected = torch.einsum("nj,ji,ni->ni", relevance / z, layer.weight, x)
    assert_close(found, expected.detach(), rtol=1e-3, atol=2e-4)


def test_numbers_added_to_what_is_no_activation_are_biases():
    found = lrp(lambda x: (x + 1).sum(1, keepdim=True), torch.ones(1, 2).double())
    assert found.ledger.bias == pytest.approx(2.0, rel=1e-5)
    assert_close(found.values, torch.ones(1, 2).double(), rtol=1e-5, atol=0)


# -- recurrent networks, against the formulas of Arras et al. (2017) in slow loops


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    return part / (whole + torch.where(whole >= 0, TINY, -TINY))


def through_dense(weight: Tensor, x: Tensor, z: Tensor, relevance: Tensor) -> Tensor:
    """R_i = sum_j w_ji x_i / z_j R_j, where z has more than this one map."""
    out = torch.zeros_like(x)
    for j in range(len(z)):
        for i in range(len(x)):
            out[i] += ratio(weight[j, i] * x[i], z[j]) * relevance[j]
    return out


def slow_lstm(cell: nn.LSTM, head: nn.Linear, x: Tensor, k: int) -> Tensor:
    """Relevance of the steps of one sequence (step, feature), gates without any."""
    steps, hidden = len(x), cell.hidden_size
    w, u = cell.weight_ih_l0.detach(), cell.weight_hh_l0.detach()
    b = cell.bias_ih_l0.detach() + cell.bias_hh_l0.detach()
    h, c = [torch.zeros(hidden).double()], [torch.zeros(hidden).double()]
    inner, seen, new, kept = [], [], [], []
    for t in range(steps):
        z = w @ x[t] + u @ h[-1] + b
        i, f, g, o = z.split(hidden)
        inner.append(g)
        kept.append(torch.sigmoid(f) * c[-1])
        new.append(torch.sigmoid(i) * torch.tanh(g))
        c.append(kept[-1] + new[-1])
        h.append(torch.sigmoid(o) * torch.tanh(c[-1]))
        seen.append(z)
    score = head.weight[k] @ h[-1] + head.bias[k]
    to_h = ratio(head.weight[k].detach() * h[-1], score.detach()) * score.detach()
    to_c = torch.zeros(hidden).double()
    out = torch.zeros_like(x)
    rows = slice(2 * hidden, 3 * hidden)
    for t in reversed(range(steps)):
        to_c = to_c + to_h
        to_g = ratio(new[t], c[t + 1]) * to_c
        to_c = ratio(kept[t], c[t + 1]) * to_c
        out[t] = through_dense(w[rows], x[t], inner[t], to_g)
        to_h = through_dense(u[rows], h[t], inner[t], to_g)
    return out


def slow_gru(cell: nn.GRU, head: nn.Linear, x: Tensor, k: int) -> Tensor:
    """h' = (1 - z) n + z h,  n = tanh(W x + b + r (U h + c)); r and z are gates."""
    steps, hidden = len(x), cell.hidden_size
    w, u = cell.weight_ih_l0.detach(), cell.weight_hh_l0.detach()
    b, c = cell.bias_ih_l0.detach(), cell.bias_hh_l0.detach()
    h, read, back, new, kept = [torch.zeros(hidden).double()], [], [], [], []
    for t in range(steps):
        from_x, from_h = (w @ x[t] + b).split(hidden), (u @ h[-1] + c).split(hidden)
        r, z = (torch.sigmoid(from_x[i] + from_h[i]) for i in (0, 1))
        read.append((from_x[2], r * from_h[2], from_h[2]))
        new.append((1 - z) * torch.tanh(from_x[2] + r * from_h[2]))
        kept.append(z * h[-1])
        h.append(new[-1] + kept[-1])
        back.append(z)
    score = head.weight[k] @ h[-1] + head.bias[k]
    to_h = ratio(head.weight[k].detach() * h[-1], score.detach()) * score.detach()
    out = torch.zeros_like(x)
    rows = slice(2 * hidden, 3 * hidden)
    for t in reversed(range(steps)):
        to_n = ratio(new[t], h[t + 1]) * to_h
        to_h = ratio(kept[t], h[t + 1]) * to_h
        of_x, of_h, plain = read[t]
        whole = of_x + of_h
        out[t] = through_dense(w[rows], x[t], of_x, ratio(of_x, whole) * to_n)
        to_h = to_h + through_dense(u[rows], h[t], plain, ratio(of_h, whole) * to_n)
    return out


SLOW = {"LSTM": slow_lstm, "GRU": slow_gru}


class Last(nn.Module):
    """A recurrent layer, and a linear one on its last step."""

    def __init__(self, kind: str, **options) -> None:
        super().__init__()
        self.cell = seeded(getattr(nn, kind)(3, 4, batch_first=True, **options))
        width = 4 * (2 if options.get("bidirectional") else 1)
        self.head = seeded(nn.Linear(width, 2, bias=options.get("bias", True)), 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


@pytest.mark.parametrize("kind", SLOW)
def test_a_recurrent_layer_is_what_the_formulas_say(kind):
    model, x = Last(kind), normal(2, 5, 3, seed=3)
    found = lrp(model, x, EXACT, target=1).values
    for n in range(2):
        assert_close(found[n], SLOW[kind](model.cell, model.head, x[n], 1), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", SLOW)
def test_gates_without_the_rule_say_something_else(kind):
    """So that the test above can fail."""
    model, x = Last(kind), normal(2, 5, 3, seed=3)
    found = lrp(model, x, HALVES, target=1).values
    expected = SLOW[kind](model.cell, model.head, x[0], 1)
    assert (found[0] - expected).abs().max() > 0.01 * expected.abs().max()


@pytest.mark.parametrize("composite", ["epsilon", "lstm", HALVES], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"bidirectional": True}, {"num_layers": 2}], ids=["one", "both ways", "two"]
)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers_conserve_without_biases(kind, options, composite):
    model, x = Last(kind, bias=False, **options), normal(2, 5, 3, seed=3)
    found = lrp(model, x, composite)
    ledger = found.ledger
    kept = ledger.each_of("stabilizer").to(found.values)
    assert_close(found.values.flatten(1).sum(1) + kept, found.score, rtol=1e-9, atol=1e-9)
    assert abs(ledger.bias) < 1e-9
    if composite == "epsilon":
        assert_close(found.values.flatten(1).sum(1), found.score, rtol=1e-3, atol=1e-4)
        assert abs(ledger.residual) <= 1e-4 * ledger.largest


def test_a_packed_sequence_gives_its_padding_nothing():
    cell, head = seeded(nn.LSTM(3, 4, batch_first=True)), seeded(nn.Linear(4, 2), 1)

    def model(x: Tensor) -> Tensor:
        lengths = torch.tensor([5, 3])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return head(cell(packed)[1][0][-1])

    x = normal(2, 5, 3, seed=3)
    found = lrp(model, x, EXACT, target=1).values
    assert not found[1, 3:].any()
    for n, length in enumerate((5, 3)):
        expected = slow_lstm(cell, head, x[n, :length], 1)
        assert_close(found[n, :length], expected, rtol=1e-7, atol=1e-9)


def test_a_cell_that_is_called_step_by_step_is_the_same():
    model, x = Last("LSTM"), normal(2, 5, 3, seed=3)
    cell = nn.LSTMCell(3, 4).double()
    for name, weight in model.cell.named_parameters():
        getattr(cell, name.removesuffix("_l0")).data.copy_(weight)

    def stepwise(x: Tensor) -> Tensor:
        state = None
        for t in range(x.shape[1]):
            state = cell(x[:, t], state)
        return model.head(state[0])

    assert_close(lrp(stepwise, x, EXACT).values, lrp(model, x, EXACT).values, rtol=1e-7, atol=1e-9)


# -- blocks


class Squeezed(nn.Module):
    """Squeeze and excitation: channels weighted by a gate that looks at all of them."""

    def __init__(self, gate=torch.sigmoid) -> None:
        super().__init__()
        self.stem = seeded(nn.Conv2d(2, 4, 3, bias=False))
        self.down, self.up = (seeded(nn.Linear(*s, bias=False), 1) for s in ((4, 2), (2, 4)))
        self.head, self.gate = seeded(nn.Linear(4, 2, bias=False), 2), gate

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x).relu()
        weights = self.gate(self.up(self.down(h.mean((2, 3))).relu()))
        return self.head((h * weights[:, :, None, None]).mean((2, 3)))


@pytest.mark.parametrize("gate", [torch.sigmoid, F.hardsigmoid], ids=["sigmoid", "hard sigmoid"])
def test_squeeze_and_excitation_is_a_fixed_weighting(gate):
    model, x = Squeezed(gate), normal(2, 2, 6, 6, seed=3)
    found = lrp(model, x)
    assert_close(found.values.flatten(1).sum(1), found.score, rtol=1e-4, atol=1e-5)
    h = model.stem(x).relu()
    weights = gate(model.up(model.down(h.mean((2, 3))).relu())).detach()

    def fixed(x: Tensor) -> Tensor:
        rows = weights[: len(x), :, None, None]
        return model.head((model.stem(x).relu() * rows).mean((2, 3)))

    assert_close(found.values, lrp(fixed, x).values, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("unit", "gated"),
    [
        (lambda z: F.glu(z), True),
        (lambda z: torch.tanh(z[:, :4]) * torch.sigmoid(z[:, 4:]), True),
        (lambda z: F.silu(z[:, 4:]) * z[:, :4], False),  # as in Llama: no gate by the letter
        (lambda z: F.gelu(z[:, 4:]) * z[:, :4], False),
    ],
    ids=["GLU", "tanh and sigmoid", "SwiGLU", "GeGLU"],
)
def test_gated_linear_units(unit, gated):
    layer, head = seeded(nn.Linear(3, 8, bias=False)), seeded(nn.Linear(4, 2, bias=False), 1)

    def model(x: Tensor) -> Tensor:
        both = torch.cat([layer(x[:, :3])[:, :4], layer(x[:, 3:])[:, 4:]], 1)
        return head(unit(both))

    found = lrp(model, normal(2, 6, seed=3))
    share = found.score if gated else found.score / 2
    assert_close(found.values[:, :3].sum(1), share, rtol=1e-4, atol=2e-5)
    assert_close(found.values[:, 3:].sum(1), found.score - share, rtol=1e-4, atol=2e-5)


def test_gates_and_scales_are_told_by_what_made_them():
    tape = pl.record(
        lambda x: torch.sigmoid(x) * (1 / x.norm(dim=1, keepdim=True)), normal(1, 3, seed=0)
    )
    gate, scale = tape.operations[-1].slots
    assert (is_gate(gate), is_scale(gate)) == (True, False)
    assert (is_gate(scale), is_scale(scale)) == (False, True)


@pytest.mark.parametrize("rule", [Gate, Uniform, Sum])
def test_a_stabilizer_is_no_negative_number(rule):
    with pytest.raises(pl.errors.InputError, match=r"`epsilon` must be a number.*; got -1"):
        rule(epsilon=-1)
