"""Every rule for operations with weights against its textbook version, and the laws it states."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

import pellucid as pl
from pellucid.propagate import rules
from pellucid.propagate.linear import Linear
from pellucid.propagate.rules import Rule, Share
from pellucid.tape.operations import Operation
from tests.propagate import matrix
from tests.zoo.network import normal, seeded

LOW, HIGH = -4.0, 4.5

# A rule, and its textbook version.
TEXTBOOK: dict[str, tuple[Rule, matrix.Rule]] = {
    "zero": (rules.Zero(), matrix.zero(bias=True)),
    "zero, no bias": (rules.Zero(bias=False), matrix.zero(bias=False)),
    "epsilon": (rules.Epsilon(), matrix.epsilon(1e-6, bias=True)),
    "epsilon 0.3": (rules.Epsilon(epsilon=0.3), matrix.epsilon(0.3, bias=True)),
    "epsilon, no bias": (rules.Epsilon(bias=False), matrix.epsilon(1e-6, bias=False)),
    "gamma": (rules.Gamma(), matrix.gamma(0.25, bias=True)),
    "gamma 2": (rules.Gamma(gamma=2), matrix.gamma(2, bias=True)),
    "gamma, no bias": (rules.Gamma(bias=False), matrix.gamma(0.25, bias=False)),
    "alpha 2": (rules.AlphaBeta(), matrix.alpha_beta(2, 1, bias=True)),
    "alpha 1": (rules.AlphaBeta(alpha=1, beta=0), matrix.alpha_beta(1, 0, bias=True)),
    "alpha 3.5": (rules.AlphaBeta(alpha=3.5, beta=2.5), matrix.alpha_beta(3.5, 2.5, bias=True)),
    "alpha 2, no bias": (rules.AlphaBeta(bias=False), matrix.alpha_beta(2, 1, bias=False)),
    "z+": (rules.ZPlus(), matrix.zplus(bias=True)),
    "z+, no bias": (rules.ZPlus(bias=False), matrix.zplus(bias=False)),
    "w2": (rules.WSquare(), matrix.by_weights(lambda w: w * w, bias=False)),
    "w2, bias": (rules.WSquare(bias=True), matrix.by_weights(lambda w: w * w, bias=True)),
}
LAYERS = {
    "dense": (lambda bias: nn.Linear(6, 4, bias=bias), (6,)),
    "conv1d": (lambda bias: nn.Conv1d(2, 3, 3, stride=2, padding=1, bias=bias), (2, 7)),
    "conv2d": (lambda bias: nn.Conv2d(2, 3, 3, padding=1, bias=bias), (2, 4, 5)),
    "conv3d": (lambda bias: nn.Conv3d(2, 2, 2, bias=bias), (2, 3, 3, 2)),
    "grouped": (lambda bias: nn.Conv2d(4, 6, 2, groups=2, bias=bias), (4, 3, 4)),
    "depthwise": (lambda bias: nn.Conv2d(3, 3, 3, groups=3, padding=1, bias=bias), (3, 4, 4)),
    "dilated": (lambda bias: nn.Conv2d(2, 2, 3, dilation=2, padding=2, bias=bias), (2, 5, 5)),
    "transposed1d": (lambda bias: nn.ConvTranspose1d(2, 3, 3, stride=2, bias=bias), (2, 4)),
    "transposed2d": (
        lambda bias: nn.ConvTranspose2d(2, 3, 3, stride=2, output_padding=1, bias=bias),
        (2, 3, 3),
    ),
    "transposed3d": (lambda bias: nn.ConvTranspose3d(2, 2, 2, bias=bias), (2, 2, 2, 2)),
    "transposed grouped": (
        lambda bias: nn.ConvTranspose2d(4, 6, 2, groups=2, bias=bias),
        (4, 2, 3),
    ),
}  # fmt: skip
SIGNS = {"any sign": lambda x: x, "not negative": lambda x: x.relu(), "zero": torch.zeros_like}


def operation_of(layer: nn.Module, x: Tensor) -> Operation:
    """The one operation of a layer that has weights."""
    (operation,) = (op for op in pl.record(layer, x).operations if op.name in WEIGHTED)
    return operation


def linear_of(layer: nn.Module, x: Tensor) -> Linear:
    """A layer as rules see it."""
    return Linear(operation=operation_of(layer, x))


@torch.no_grad()
def shared(rule: Rule, linear: Linear, r: Tensor) -> Share:
    """What a rule gives, as in a walk that nobody differentiates."""
    return rule.share(linear, r)


WEIGHTED = {"convolution", "addmm", "mm", "bmm"}


def made(name: str, *, bias: bool, seed: int) -> tuple[nn.Module, tuple[int, ...]]:
    make, shape = LAYERS[name]
    return seeded(make(bias), seed), shape


def check(rule: Rule, textbook: matrix.Rule, layer: nn.Module, x: Tensor, r: Tensor) -> None:
    """One call on two samples against one slow sum for each of them."""
    dense = matrix.unrolled(layer, x.shape[1:])
    check_against(dense, rule, textbook, linear_of(layer, x), x, r)


def check_against(
    dense: matrix.Dense, rule: Rule, textbook: matrix.Rule, linear: Linear, x: Tensor, r: Tensor
) -> None:
    """The same, where the sums of the layer are known."""
    found = shared(rule, linear, r.clone())
    bias = stabilizer = 0.0
    for n in range(len(x)):
        expected, by_bias, by_stabilizer = textbook(dense, x[n].flatten(), r[n].flatten())
        assert_close(found.signals[0][n].flatten(), expected, rtol=1e-9, atol=1e-9)
        bias, stabilizer = bias + by_bias, stabilizer + by_stabilizer
    assert float(found.bias) == pytest.approx(bias, rel=1e-8, abs=1e-8)
    kept = float(found.stabilizer) + float(found.stopped)
    assert kept == pytest.approx(stabilizer, rel=1e-8, abs=1e-8)
    assert isinstance(rule, rules.ZPlus | rules.AlphaBeta) or float(found.stopped) == 0


@pytest.mark.parametrize(("seed", "sign"), list(enumerate(SIGNS)))
@pytest.mark.parametrize("bias", [False, True], ids=["unbiased", "biased"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_rule_is_the_textbook_rule(name, bias, sign, seed):
    layer, shape = made(name, bias=bias, seed=seed)
    x = SIGNS[sign](normal(2, *shape, seed=seed + 10))
    r = normal(*layer(x).shape, seed=seed + 20)
    dense, operation = matrix.unrolled(layer, x.shape[1:]), operation_of(layer, x)
    for rule in TEXTBOOK:
        with named(rule):
            check_against(dense, *TEXTBOOK[rule], Linear(operation=operation), x, r)


@contextmanager
def named(rule: str) -> Iterator[None]:
    """Say which rule it is that fails."""
    try:
        yield
    except AssertionError as error:
        error.add_note(rule)
        raise


@pytest.mark.parametrize("bias", [False, True], ids=["unbiased", "biased"])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("counted", [False, True], ids=["without bias", "with bias"])
def test_flat_is_the_textbook_rule(counted, name, bias):
    layer, shape = made(name, bias=bias, seed=3)
    x = normal(2, *shape, seed=13)
    pattern = matrix.reads(layer, x.shape[1:])
    even = matrix.by_weights(lambda w: w, bias=counted and bias)

    def textbook(dense: matrix.Dense, x: Tensor, r: Tensor) -> matrix.Shared:
        return even(matrix.Dense(pattern, torch.ones_like(dense.bias)), x, r)

    check(rules.Flat(bias=counted), textbook, layer, x, normal(*layer(x).shape, seed=23))


BOUNDS = {
    "numbers": lambda shape: (LOW, HIGH),
    "channels": lambda shape: (LOW - torch.rand(shape[0]), HIGH + torch.rand(shape[0])),
    "one channel axis": lambda shape: (
        LOW - torch.rand(shape[0], *[1] * (len(shape) - 1)),
        HIGH,
    ),
    "a sample": lambda shape: (LOW - torch.rand(shape), HIGH + torch.rand(shape)),
    "a batch of one": lambda shape: (LOW - torch.rand(1, *shape), HIGH + torch.rand(1, *shape)),
}


@pytest.mark.parametrize("bias", [False, True], ids=["unbiased", "biased"])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("how", BOUNDS)
def test_the_box_rule_is_the_textbook_rule(how, name, bias):
    layer, shape = made(name, bias=bias, seed=4)
    x = normal(2, *shape, seed=14)
    torch.manual_seed(0)
    low, high = BOUNDS[how](shape)
    whole = []
    for bound in (low, high):
        bound = torch.as_tensor(bound, dtype=torch.float64)
        if how == "channels":
            bound = bound.reshape(-1, *[1] * (len(shape) - 1))
        whole.append(bound.expand(1, *shape).flatten())
    rule = rules.ZBox(low=low, high=high)
    check(rule, matrix.box(*whole), layer, x, normal(*layer(x).shape, seed=24))


def test_the_box_rule_takes_bounds_of_an_image_that_the_model_flattens():
    model = seeded(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
    x = normal(2, 3, 2, 2, seed=1)
    low, high = x.amin(0) - 1, x.amax(0) + 1
    found = pl.LRP(rules=rules.ZBox(low=low, high=high))(model, x, target=0).values
    flat = pl.LRP(rules=rules.ZBox(low=low.flatten(), high=high.flatten()))(model, x, target=0)
    assert_close(found, flat.values)
    assert (found.abs() > 0).all()


@pytest.mark.parametrize("name", ["dense", "conv1d", "conv2d"])
def test_a_box_without_bounds_spans_each_channel_of_a_sample(name):
    layer, shape = made(name, bias=True, seed=4)
    x = normal(2, *shape, seed=14)
    r = normal(*layer(x).shape, seed=24)
    found = shared(rules.ZBox(), linear_of(layer, x), r).signals[0]
    dense = matrix.unrolled(layer, x.shape[1:])
    for n in range(2):
        rows = x[n].reshape(-1, shape[-1]) if name == "dense" else x[n].flatten(1)
        low, high = (
            end.expand_as(rows).flatten() for end in (rows.amin(1, True), rows.amax(1, True))
        )
        expected, _, _ = matrix.box(low, high)(dense, x[n].flatten(), r[n].flatten())
        assert_close(found[n].flatten(), expected, rtol=1e-9, atol=1e-9)


# Broken rules: what the tests above have to notice.


@dataclass(frozen=True, kw_only=True)
class BiasInNumerator(rules.ZPlus):
    """Forgets the bias in the denominator."""

    def share(self, linear: Linear, signal: Tensor) -> Share:
        return replace(rules.ZPlus(bias=False).share(linear, signal), bias=signal.new_zeros(()))


@dataclass(frozen=True, kw_only=True)
class OneSided(rules.Gamma):
    """Gamma as first written: positive weights count more at every output."""

    def share(self, linear: Linear, signal: Tensor) -> Share:
        weight = linear.weight + self.gamma * linear.weight.clamp(min=0)
        ratio = signal / linear.forward(linear.x, weight, linear.bias)
        return Share([linear.backward(ratio, weight) * linear.x], linear.bias_share(ratio, None))


@dataclass(frozen=True, kw_only=True)
class OfWeights(rules.AlphaBeta):
    """Takes the sign of the weight for that of the contribution, as where inputs are positive."""

    def share(self, linear: Linear, signal: Tensor) -> Share:
        shared = 0
        for part, factor in (({"min": 0}, self.alpha), ({"max": 0}, -self.beta)):
            weight = linear.weight.clamp(**part)
            bias = linear.bias.clamp(**part)
            z = linear.forward(linear.x, weight, bias)
            shared = shared + linear.x * linear.backward(factor * signal / z, weight)
        return Share([shared])


MUTANTS = {
    "z+": BiasInNumerator(),
    "gamma": OneSided(),
    "alpha 2": OfWeights(),
    "zero": rules.Epsilon(epsilon=1e-3),
    "epsilon": rules.Epsilon(bias=False),
    "epsilon, no bias": rules.Epsilon(),
    "w2": rules.WSquare(bias=True),
    "w2, bias": rules.WSquare(),
    "gamma 2": rules.Gamma(gamma=1.9999),
    "alpha 1": rules.AlphaBeta(),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_not_the_textbook_rule(name):
    layer, shape = made("conv2d", bias=True, seed=0)
    x = normal(2, *shape, seed=10)
    r = normal(*layer(x).shape, seed=20)
    with pytest.raises(AssertionError):
        check(MUTANTS[name], TEXTBOOK[name][1], layer, x, r)
    check(*TEXTBOOK[name], layer, x, r)


# Laws


def total(share: Share) -> float:
    """All that a rule accounts for."""
    kept = sum(float(part) for part in (share.bias, share.stabilizer, share.stopped))
    return float(share.signals[0].sum()) + kept


EVERY = {name: rule for name, (rule, _) in TEXTBOOK.items()} | {
    "flat": rules.Flat(),
    "flat, bias": rules.Flat(bias=True),
    "box": rules.ZBox(low=-9, high=9),
}
LAYER_NAMES = st.sampled_from(sorted(LAYERS))
FAST = settings(max_examples=15, deadline=None)


@pytest.mark.parametrize("rule", EVERY)
@FAST
@given(
    name=LAYER_NAMES, bias=st.booleans(), seed=st.integers(0, 10**6), sign=st.sampled_from([*SIGNS])
)
def test_what_arrives_is_shared_or_booked(rule, name, bias, seed, sign):
    layer, shape = made(name, bias=bias, seed=seed)
    x = SIGNS[sign](normal(2, *shape, seed=seed + 1))
    r = normal(*layer(x).shape, seed=seed + 2)
    found = shared(EVERY[rule], linear_of(layer, x), r)
    scale = max(1.0, float(found.signals[0].abs().sum()), abs(float(found.bias)))
    assert total(found) == pytest.approx(float(r.sum()), abs=1e-9 * scale)
    if not bias or "no bias" in rule:
        assert float(found.bias) == 0


@pytest.mark.parametrize("rule", ["z+", "z+, no bias", "w2", "flat", "box", "alpha 1"])
@FAST
@given(name=LAYER_NAMES, seed=st.integers(0, 10**6))
def test_rules_of_deep_taylor_keep_the_sign(rule, name, seed):
    layer, shape = made(name, bias=True, seed=seed)
    x = normal(2, *shape, seed=seed + 1)
    r = normal(*layer(x).shape, seed=seed + 2).abs()
    linear = linear_of(layer, x)
    assert (shared(EVERY[rule], linear, r).signals[0] >= 0).all()
    assert (shared(EVERY[rule], linear, -r).signals[0] <= 0).all()


@FAST
@given(name=LAYER_NAMES, seed=st.integers(0, 10**6))
def test_gamma_lies_between_lrp_0_and_z_plus(name, seed):
    layer, shape = made(name, bias=True, seed=seed)
    linear = linear_of(layer, normal(2, *shape, seed=seed + 1))
    r = normal(*linear.output.shape, seed=seed + 2)
    none = shared(rules.Gamma(gamma=0), linear, r.clone()).signals
    assert_close(none, shared(rules.Epsilon(), linear, r.clone()).signals, rtol=1e-9, atol=1e-12)
    positive = torch.where(linear.output.tensor > 0, r, 0)
    much = shared(rules.Gamma(gamma=1e9, epsilon=0), linear, positive.clone()).signals
    assert_close(
        much, shared(rules.ZPlus(epsilon=0), linear, positive).signals, rtol=1e-5, atol=1e-6
    )


def test_alpha_one_is_z_plus():
    layer, shape = made("conv2d", bias=True, seed=5)
    linear = linear_of(layer, normal(2, *shape, seed=6))
    r = normal(*linear.output.shape, seed=7)
    one = shared(rules.AlphaBeta(alpha=1, beta=0), linear, r)
    assert torch.equal(one.signals[0], shared(rules.ZPlus(), linear, r).signals[0])


@pytest.mark.parametrize("rule", EVERY)
def test_samples_are_booked_apart(rule):
    """The numbers of a batch are those of each sample alone, also where blocks are many."""
    model = seeded(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), Summing()))
    x = normal(3, 3, 100, 100, seed=2)
    method = pl.LRP(rules=EVERY[rule])
    whole = method(model, x, target=0)
    assert whole.ledger.each is not None
    for n in range(3):
        alone = method(model, x[n : n + 1], target=0)
        assert_close(whole.values[n], alone.values[0], rtol=1e-9, atol=1e-12)
        assert_close(whole.ledger.each[n], alone.ledger.numbers[0], rtol=1e-9, atol=1e-9)


def test_rules_that_share_one_run_have_their_own_answers():
    """What is made once for a run does not go from one rule, or one score, to another."""
    model = seeded(
        nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3),
            nn.Flatten(), nn.Linear(12, 3),
        ).eval()
    )  # fmt: skip
    x = normal(2, 2, 6, 6, seed=3)
    methods = [pl.LRP(rules=rule) for rule in EVERY.values()]
    found = iter(pl.compare(model, x, methods, targets=[0, 2]))
    alone = {(m, k): m(model, x, target=k).values for m in methods for k in (0, 2)}
    for method, k in [(m, k) for k in (0, 2) for m in methods]:
        each = next(found)
        assert each.method == method
        assert_close(each.values, alone[method, k], rtol=1e-10, atol=1e-12)


class Summing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1, keepdim=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_alpha_beta_books_what_rounding_leaves_of_no_negative_part(dtype):
    """Where all contributions are positive, the difference z - z+ is rounding and no signal."""
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 8, 3, bias=False).to(dtype)
    layer.weight.data.abs_()
    x = torch.rand(2, 64, 6, 6).to(dtype)
    linear = linear_of(layer, x)
    r = torch.ones_like(linear.output.tensor)
    found = shared(rules.AlphaBeta(), linear, r)
    assert float(found.stabilizer) == pytest.approx(-float(r.sum()), rel=1e-2)
    assert float(found.signals[0].float().sum()) == pytest.approx(2 * float(r.sum()), rel=2e-2)


@pytest.mark.parametrize("name", ["dense", "conv2d", "transposed grouped"])
@pytest.mark.parametrize("rule", EVERY)
def test_rules_are_differentiable(rule, name):
    """What a rule gives may be part of a loss: its derivatives are those of finite differences."""
    layer, shape = made(name, bias=True, seed=1)
    x, linear = normal(2, *shape, seed=2), linear_of(layer, normal(2, *shape, seed=2))
    r = normal(*linear.output.shape, seed=3)

    def answer(point: Tensor, signal: Tensor, weight: Tensor) -> Tensor:
        at = linear_of(layer, x)
        x_value, weight_value, bias_value = at._slots
        if at.operation.name == "addmm":
            weight_value.keep(weight.T)
            z = point @ weight.T + bias_value.tensor
        else:
            weight_value.keep(weight)
            z = at.forward(point, weight, bias_value.tensor)
        x_value.keep(point)
        at.output.keep(z)
        share = EVERY[rule].share(at, signal)
        amounts = (share.bias, share.stabilizer, share.stopped)
        kept = (part for part in amounts if isinstance(part, Tensor))
        return share.signals[0] + sum(kept)

    given = [t.detach().clone().requires_grad_() for t in (x, r, layer.weight)]
    with torch.enable_grad():
        assert torch.autograd.gradcheck(answer, given, eps=1e-6, atol=1e-5, fast_mode=True)
    for before, after in zip((x, r, layer.weight), given, strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("rule", EVERY)
def test_nothing_of_the_run_is_written_over(rule):
    layer, shape = made("conv2d", bias=True, seed=1)
    linear = linear_of(layer, normal(2, *shape, seed=2))
    values = [v for v in linear._slots if v is not None] + [linear.output]
    before = [value.tensor.clone() for value in values]
    shared(EVERY[rule], linear, normal(*linear.output.shape, seed=3))
    for value, old in zip(values, before, strict=True):
        assert torch.equal(value.tensor, old)


# Bad input


REFUSED = {
    r"`alpha` - `beta` must be 1.*; got alpha=3 and beta=1\. .*alpha=2, beta=1": (
        lambda: rules.AlphaBeta(alpha=3)
    ),
    r"`beta` must be a number that is not negative; got -1": (
        lambda: rules.AlphaBeta(alpha=2, beta=-1)
    ),
    r"`alpha` must be a number of at least 1; got '2'": lambda: rules.AlphaBeta(alpha="2"),
    r"`gamma` must be a number that is not negative; got -0\.1": lambda: rules.Gamma(gamma=-0.1),
    r"`gamma` must be a number.*; got inf": lambda: rules.Gamma(gamma=float("inf")),
    r"`epsilon` must be a number that is not negative; got -1": lambda: rules.ZPlus(epsilon=-1),
    r"`epsilon` must be .*; got nan": lambda: rules.Epsilon(epsilon=float("nan")),
    r"must not be above `high`; got low=1 and high=0": lambda: rules.ZBox(low=1, high=0),
    r"`low` of a box must be a finite number.*; got 'dark'": lambda: rules.ZBox(low="dark", high=0),
    r"`high` of a box must be a finite.*; got inf": lambda: rules.ZBox(low=0, high=float("inf")),
    r"must not be above `high`; got low=0 to 2 and high=1": (
        lambda: rules.ZBox(low=torch.tensor([0.0, 2.0]), high=1)
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_options_that_cannot_be_are_refused(message):
    with pytest.raises(pl.errors.InputError, match=message):
        REFUSED[message]()


def test_a_box_that_does_not_contain_the_input_is_refused():
    model = seeded(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 2)))
    x = normal(1, 3, 4, 4, seed=1)
    rule = rules.ZBox(low=0, high=1)
    match = (
        r"must contain the input.*; got low=0 and high=1 for an input of -\d\S* to \d\S* at "
        r"`convolution` \(operation \d+, layer `0`\).*0 - mean"
    )
    with pytest.raises(pl.errors.InputError, match=match):
        pl.LRP(
            composite=pl.Composite(name="box", entries=(("first", rule), ("any", rules.Epsilon())))
        )(model, x)
    wrong = rules.ZBox(low=torch.zeros(5), high=1)
    with pytest.raises(
        pl.errors.InputError, match=r"one number for each channel.*float32\[5\] .*for"
    ):
        shared(wrong, linear_of(model[0], x), normal(1, 2, 2, 2, seed=2))


def test_inputs_at_the_edge_of_a_box_may_be_rounded():
    layer, shape = made("conv2d", bias=False, seed=0)
    x = normal(1, *shape, seed=1).clamp(-1, 1)
    r = normal(*layer(x).shape, seed=2)
    tight = shared(rules.ZBox(low=-0.99999, high=0.99999), linear_of(layer, x), r).signals[0]
    exact = shared(rules.ZBox(low=-1, high=1), linear_of(layer, x), r).signals[0]
    assert_close(tight, exact, rtol=1e-3, atol=1e-3)
    with pytest.raises(pl.errors.InputError, match="must contain"):
        shared(rules.ZBox(low=-0.99, high=0.99), linear_of(layer, x), r)


@pytest.mark.parametrize("rule", EVERY)
def test_rules_are_equal_by_value_and_can_be_saved(rule, tmp_path):
    model = seeded(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    found = pl.LRP(rules=EVERY[rule])(model, normal(2, 4, seed=1), target=0)
    back = pl.load(found.save(tmp_path / "found.pellucid"))
    assert back == found
    assert back.method == found.method
    assert back.method.rules == EVERY[rule]
    assert hash(back.method.rules) == hash(EVERY[rule])


def test_bounds_that_are_tensors_can_be_saved(tmp_path):
    low = torch.tensor([-4.0, -5.0, -6.0, -7.0])
    rule = rules.ZBox(low=low, high=4)
    model = nn.Linear(4, 2)
    found = pl.LRP(rules=rule)(model, torch.ones(1, 4), target=0)
    back = pl.load(found.save(tmp_path / "found.pellucid")).method.rules
    assert back == rule
    assert torch.equal(back.low, low)
    assert back != rules.ZBox(low=low - 1, high=4)
    assert back != rules.ZBox(low=-4, high=4)
    low.zero_()
    assert back == rule  # it has a copy of its own
